//! A mount of type `cgroup` → what shows the container its cgroup.

use std::ffi::CString;

use super::around::Around;
use super::mount::{Bind, Filesystem, FsOption, Mount, Source};
use super::mount_options::Sorted;
use super::namespaces::Namespaces;
use super::origin::Origin;
use super::step::{Action, Step};
use super::{Host, cstring};
use crate::cgroup;
use crate::config::{self, NamespaceKind, Spec};
use crate::error::Result;
use crate::sys::mount::attr;

/// Appends the steps of a `cgroup` mount: on v2 the file system itself; on v1 a tmpfs with the
/// container's directory of every hierarchy bound into it, and the usual links for those mounted
/// together.
pub(super) fn plan(
    target: &CString,
    origin: &Origin,
    sorted: &Sorted,
    around: &Around<'_>,
    steps: &mut Vec<Step>,
) -> Result<()> {
    let mut push = |action| steps.push(Step { origin: origin.clone(), action });
    let mount = |target: CString, source, set| {
        Action::Mount(Box::new(Mount {
            target,
            on_link: false,
            source,
            set,
            clear: sorted.clear,
            recursive_set: sorted.recursive_set,
            recursive_clear: sorted.recursive_clear,
            propagation: sorted.propagation.clone(),
        }))
    };
    if around.cgroup.unified() {
        push(mount(target.clone(), unified(around)?, sorted.set));
        return Ok(());
    }
    let mode =
        FsOption { index: None, key: CString::from(c"mode"), value: Some(CString::from(c"755")) };
    let tmpfs = Source::Filesystem(Filesystem {
        kind: CString::from(c"tmpfs"),
        source: Some(CString::from(c"tmpfs")),
        options: vec![mode],
        ..Filesystem::default()
    });
    push(mount(target.clone(), tmpfs, sorted.set & !attr::RDONLY));
    let base = target.to_string_lossy();
    for hierarchy in around.cgroup.mounts(around.host.own_cgroups.as_deref()) {
        let below = cstring(&format!("{base}/{}", hierarchy.name), "/mounts")?;
        let otherwise = hierarchy.own.map(|own| cstring(&own.to_string_lossy(), "/mounts"));
        let source = Source::Bind(Bind {
            path: cstring(&hierarchy.directory.to_string_lossy(), "/mounts")?,
            otherwise: otherwise.transpose()?,
            ..Bind::default()
        });
        push(mount(below, source, sorted.set));
        for link in hierarchy.links {
            push(Action::Link {
                path: cstring(&format!("{base}/{link}"), "/mounts")?,
                target: cstring(&hierarchy.name, "/mounts")?,
                only_if: None,
            });
        }
    }
    if sorted.set & attr::RDONLY != 0 {
        push(Action::Attributes {
            target: target.clone(),
            set: attr::RDONLY,
            clear: 0,
            recursive: false,
        });
    }
    Ok(())
}

/// The user of the host who gets the container's cgroup: whoever the process is there, where the
/// container has a namespace and a writable mount of version 2 of its own (runtime-spec
/// config-linux.md, "Cgroup ownership").
pub(super) fn owner(
    spec: &Spec,
    linux: &config::Linux,
    host: &Host,
    namespaces: &Namespaces,
    location: &cgroup::Location,
) -> Option<u32> {
    let writable = |mount: &config::Mount| {
        mount.kind.as_deref() == Some("cgroup")
            && mount.destination == "/sys/fs/cgroup"
            && !mount.options.iter().any(|option| option == "ro" || option == "rro")
    };
    let wanted = location.unified()
        && !host.rootless
        && namespaces.makes(NamespaceKind::Cgroup)
        && spec.mounts.iter().any(writable);
    if !wanted {
        return None;
    }
    let uid = spec.process.as_ref()?.user.uid;
    if !namespaces.has(NamespaceKind::User) {
        // Root has it already.
        return (uid != 0).then_some(uid);
    }
    linux.uid_mappings.iter().find_map(|map| {
        let offset = uid.checked_sub(map.container_id).filter(|offset| *offset < map.size)?;
        map.host_id.checked_add(offset)
    })
}

/// Version 2. Without a namespace a new mount would show the same as the host's, and set the flags
/// of its hierarchy anew (nsdelegate, memory_recursiveprot), which waits for an RCU grace period
/// besides.
fn unified(around: &Around<'_>) -> Result<Source> {
    let host = CString::from(c"/sys/fs/cgroup");
    if !around.host.cgroup_namespace {
        return Ok(Source::Bind(Bind { path: host, ..Bind::default() }));
    }
    // Where a new mount is refused, the container's own directory shows the same.
    let own = match around.cgroup.unified_directory() {
        Some(directory) => cstring(&directory.to_string_lossy(), "/mounts")?,
        None => host,
    };
    Ok(Source::Filesystem(Filesystem {
        kind: CString::from(c"cgroup2"),
        source: Some(CString::from(c"cgroup")),
        otherwise: Some(own),
        ..Filesystem::default()
    }))
}
