//! What is kept of a container: `state.json`, with runc's keys.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::config::Mount;

/// What is kept of a container. The keys are runc's, for those who read them.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Record {
    /// The container's ID.
    pub id: String,
    /// Its first process, as the host counts; 0 before there is one.
    pub init_process_pid: u32,
    /// When that process started, in clock ticks since boot (proc(5), starttime): together with
    /// the pid this names one process for ever.
    pub init_process_start: u64,
    /// When the container was made, in RFC 3339, UTC.
    pub created: String,
    /// What monitoring tools want to know of the configuration.
    pub config: RecordConfig,
    /// Whether the runtime had no privileges over the host.
    pub rootless: bool,
    /// Controller to directory; `""` is cgroup v2.
    pub cgroup_paths: BTreeMap<String, String>,
    /// Namespace type (`NEWPID` …) to the file that stands for it.
    pub namespace_paths: BTreeMap<String, String>,
    /// What standard input, output and error of the first process were.
    #[serde(default)]
    pub external_descriptors: Vec<String>,
    /// The unit of systemd that is its cgroup, if there is one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub systemd_scope: String,
    /// The resctrl group, if there is one.
    #[serde(default)]
    pub intel_rdt_path: String,
    /// Its monitoring group, if it has one.
    #[serde(default)]
    pub intel_rdt_mon_path: String,
    /// What the caller asked for beside the configuration.
    #[serde(default)]
    pub options: RecordOptions,
}

/// How a container was made, as far as later commands have to know it.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct RecordOptions {
    /// `--no-pivot`.
    pub no_pivot: bool,
    /// `--no-new-keyring`.
    pub no_new_keyring: bool,
    /// `--preserve-fds`.
    pub preserve_fds: u32,
    /// How many sockets a service manager gave it to serve, before those.
    pub listen_fds: u32,
    /// Whether it can tell a service manager that it is ready.
    pub notify: bool,
    /// Whether it has a pid namespace that is not the runtime's: then the end of its first process
    /// is the end of all.
    pub own_pids: bool,
    /// Whether its unit is one of the user's instance of systemd.
    pub systemd_user: bool,
    /// Whether its resctrl group was made for it alone.
    pub own_resctrl: bool,
}

/// The part of the configuration that the record repeats.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct RecordConfig {
    /// The root file system, absolute.
    pub rootfs: String,
    /// Annotations as `key=value`, and `bundle=` with the bundle's directory.
    pub labels: Vec<String>,
    /// The host's side and the container's side of every mount.
    pub mounts: Vec<RecordMount>,
}

/// One mount of the configuration.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct RecordMount {
    /// Where it comes from.
    pub source: String,
    /// Where it is in the container.
    pub destination: String,
    /// The type of file system; `bind` for a bind mount.
    pub device: String,
}

impl From<&Mount> for RecordMount {
    fn from(mount: &Mount) -> Self {
        let bind = mount.options.iter().any(|option| option == "bind" || option == "rbind");
        let device = if bind { Some("bind") } else { mount.kind.as_deref() };
        Self {
            source: mount.source.clone().unwrap_or_default(),
            destination: mount.destination.clone(),
            device: device.unwrap_or_default().to_owned(),
        }
    }
}

impl Record {
    /// The bundle's directory.
    pub fn bundle(&self) -> &str {
        let label = self.config.labels.iter().find_map(|label| label.strip_prefix("bundle="));
        label.unwrap_or_default()
    }

    /// Its groups of resctrl, if there are any: the control group, the monitoring group.
    pub(crate) fn resctrl(&self) -> Option<(&Path, Option<&Path>)> {
        let [group, monitoring] = [&self.intel_rdt_path, &self.intel_rdt_mon_path]
            .map(|path| Some(Path::new(path)).filter(|_| !path.is_empty()));
        Some((group?, monitoring))
    }

    /// The annotations of the configuration.
    pub fn annotations(&self) -> BTreeMap<&str, &str> {
        let labels = self.config.labels.iter().filter(|label| !label.starts_with("bundle="));
        labels.filter_map(|label| label.split_once('=')).collect()
    }
}
