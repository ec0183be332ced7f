//! What goes on record of a container as it is made.

use std::path::Path;

use super::request::Request;
use crate::config::{NamespaceKind, Spec};
use crate::criu::external;
use crate::plan::Plan;
use crate::resctrl::Group;
use crate::store::{self, Entry, Record, RecordConfig, RecordOptions};

/// What goes on record before anything else is made: all that has to be undone.
pub(super) fn first_record(
    entry: &Entry,
    spec: &Spec,
    plan: &Plan,
    request: &Request,
    group: Option<&Group<'_>>,
) -> Record {
    let mut labels: Vec<String> =
        spec.annotations.iter().map(|(key, value)| format!("{key}={value}")).collect();
    labels.push(format!("bundle={}", plan.bundle.display()));
    let text =
        |path: Option<&Path>| path.map_or_else(String::new, |path| path.display().to_string());
    Record {
        id: entry.id().to_owned(),
        created: store::timestamp(),
        config: RecordConfig {
            rootfs: plan.rootfs.to_string_lossy().into_owned(),
            labels,
            mounts: spec.mounts.iter().map(Into::into).collect(),
        },
        rootless: plan.rootless,
        cgroup_paths: plan.cgroup.location.paths(),
        options: RecordOptions {
            no_pivot: request.no_pivot,
            no_new_keyring: request.no_new_keyring,
            preserve_fds: request.preserve_fds,
            listen_fds: request.listen_fds,
            notify: request.notify_socket.is_some(),
            own_pids: plan.namespaces.makes(NamespaceKind::Pid),
            systemd_user: plan.cgroup.unit.as_ref().is_some_and(|unit| unit.unit().user),
            own_resctrl: plan.resctrl.as_ref().is_some_and(|wanted| wanted.class.is_none()),
        },
        systemd_scope: plan
            .cgroup
            .unit
            .as_ref()
            .map_or_else(String::new, |u| u.unit().name.clone()),
        intel_rdt_path: text(group.map(Group::directory)),
        intel_rdt_mon_path: text(group.and_then(Group::monitoring)),
        external_descriptors: if plan.terminal {
            Vec::new()
        } else {
            external::standard_descriptors()
        },
        ..Record::default()
    }
}

/// The namespace files of the first process, under runc's names.
pub(super) fn namespace_paths(pid: u32) -> std::collections::BTreeMap<String, String> {
    const NAMES: [(&str, &str); 8] = [
        ("NEWPID", "pid"),
        ("NEWNET", "net"),
        ("NEWIPC", "ipc"),
        ("NEWUTS", "uts"),
        ("NEWNS", "mnt"),
        ("NEWUSER", "user"),
        ("NEWCGROUP", "cgroup"),
        ("NEWTIME", "time"),
    ];
    NAMES.iter().map(|(key, file)| ((*key).into(), format!("/proc/{pid}/ns/{file}"))).collect()
}
