//! `/mounts` → mount steps (runtime-spec config.md, "Mounts").

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::ffi::{CStr, CString};
use std::path::Path;

use super::around::Around;
use super::mount::{Bind, Filesystem, FsOption, Mount, Opener, Remount, Source};
use super::mount_options::{self, Sorted};
use super::origin::Origin;
use super::step::{Action, Step};
use super::{cgroup_mounts, cstring, mount_ids, relative};
use crate::config::{self, NamespaceKind};
use crate::error::{Error, Result};
use crate::sys::mount::attr;

/// Steps for all mounts.
#[derive(Default)]
pub(super) struct Steps {
    /// The mounts, in order.
    pub(super) made: Vec<Step>,
    /// What can only be done once all that goes into the mounts is there.
    pub(super) last: Vec<Step>,
}

/// Plans all mounts.
pub(super) fn plan(mounts: &[config::Mount], around: &Around<'_>) -> Result<Steps> {
    let mut steps = Steps { made: Vec::with_capacity(mounts.len()), last: Vec::new() };
    // Which mount is the last one on each destination; most plans never ask.
    let last = OnceCell::new();
    let on_top = || {
        mounts
            .iter()
            .enumerate()
            .map(|(index, mount)| (mount.destination.as_str(), index))
            .collect()
    };
    for (index, mount) in mounts.iter().enumerate() {
        let covered = || {
            let last: &BTreeMap<&str, usize> = last.get_or_init(on_top);
            last.get(mount.destination.as_str()).is_some_and(|last| *last > index)
        };
        plan_one(mount, index, covered, around, &mut steps)?;
    }
    Ok(steps)
}

/// Appends the steps of mount `index`; `covered` tells whether a later one goes over it.
fn plan_one(
    mount: &config::Mount,
    index: usize,
    covered: impl Fn() -> bool,
    around: &Around<'_>,
    steps: &mut Steps,
) -> Result<()> {
    let origin = Origin::item("/mounts", index);
    let target = relative(&mount.destination, &format!("/mounts/{index}/destination"))?;
    if target.is_empty() {
        return Err(Error::new("a mount may not cover the container's root")
            .at(format!("/mounts/{index}/destination"), Some(format!("{:?}", mount.destination)))
            .help("name a directory below /"));
    }
    let mut sorted = mount_options::sort(&mount.options, index)?;
    refuse_copy_up(mount, &sorted, index)?;
    if sorted.remount {
        let action = Action::Remount(Box::new(remount(target, sorted)));
        steps.made.push(Step { origin, action });
        return Ok(());
    }
    let ids = mount_ids::plan(mount, index, &sorted, around)?;
    let kind = mount.kind.as_deref().unwrap_or_default();
    let source = match sorted.bind {
        Some(recursive) => Source::Bind(Bind {
            path: bind_source(mount, index, around.bundle)?,
            otherwise: None,
            recursive,
            link: sorted.link,
            opener: Opener::of_new(around.host.root && around.namespaces.has(NamespaceKind::User)),
            ids,
        }),
        None if kind == "cgroup" => {
            return cgroup_mounts::plan(&target, &origin, &sorted, around, &mut steps.made);
        }
        None if kind.is_empty() || kind == "none" || kind == "bind" => {
            return Err(Error::new("a mount needs a type, or the option bind or rbind")
                .at(format!("/mounts/{index}/type"), mount.kind.as_ref().map(|k| format!("{k:?}")))
                .help("add \"bind\" or \"rbind\" to its options, or name a file system type"));
        }
        None => Source::Filesystem(filesystem(mount, index, kind, &mut sorted, around)?),
    };
    // Device nodes, other mounts' directories and copies go into a tmpfs before it is closed.
    if kind == "tmpfs" && sorted.bind.is_none() && sorted.set & attr::RDONLY != 0 && !covered() {
        sorted.set &= !attr::RDONLY;
        let (target, set) = (target.clone(), attr::RDONLY);
        let action = Action::Attributes { target, set, clear: 0, recursive: false };
        steps.last.push(Step { origin: origin.clone(), action });
    }
    let action = Action::Mount(Box::new(Mount {
        target,
        on_link: sorted.on_link,
        source,
        set: sorted.set,
        clear: sorted.clear,
        recursive_set: sorted.recursive_set,
        recursive_clear: sorted.recursive_clear,
        propagation: sorted.propagation,
    }));
    steps.made.push(Step { origin, action });
    Ok(())
}

/// The option by which a file system gets an SELinux context (mount(8)): crun's annotation
/// `run.oci.mount_context_type` chooses another than `context`.
pub(super) fn context_option(annotations: &BTreeMap<String, String>) -> Result<CString> {
    const KEY: &str = "run.oci.mount_context_type";
    let kinds = [c"context", c"fscontext", c"defcontext", c"rootcontext"];
    let Some(kind) = annotations.get(KEY) else { return Ok(c"context".to_owned()) };
    let known = kinds.into_iter().find(|known| known.to_bytes() == kind.as_bytes());
    known.map(CStr::to_owned).ok_or_else(|| {
        Error::new("no such kind of SELinux context")
            .at(format!("/annotations/{KEY}"), Some(format!("{kind:?}")))
            .help("choose context, fscontext, defcontext or rootcontext")
    })
}

/// Only a new tmpfs is empty and can be filled.
fn refuse_copy_up(mount: &config::Mount, sorted: &Sorted, index: usize) -> Result<()> {
    let new_tmpfs = mount.kind.as_deref() == Some("tmpfs") && sorted.bind.is_none();
    match sorted.copy_up {
        Some(option) if sorted.remount || !new_tmpfs => {
            Err(Error::new("only a tmpfs can get a copy of what it covers")
                .at(format!("/mounts/{index}/options/{option}"), Some("\"tmpcopyup\"".into()))
                .help("take tmpcopyup out, or mount a tmpfs"))
        }
        _ => Ok(()),
    }
}

/// Sentences about options of bind mounts that are a file system's own: it has one already, and
/// the kernel does not look at them (mount(2), `MS_BIND`). A misspelt `nosuid` is among them.
pub(super) fn without_effect(mounts: &[config::Mount]) -> impl Iterator<Item = String> {
    let binds = mounts.iter().enumerate().filter(|(_, mount)| mount.has("bind", "rbind"));
    binds.flat_map(|(index, mount)| {
        let options = mount.options.iter().enumerate();
        let own = options.filter(|(_, text)| !text.is_empty() && mount_options::is_own(text));
        own.map(move |(option, text)| {
            format!(
                "{text} is no option of a bind mount: ignored \
                 [config.json: /mounts/{index}/options/{option}]"
            )
        })
    })
}

/// Gives the file systems that are made an SELinux context. Those that the kernel fills have their
/// own.
pub(super) fn label(label: &CStr, key: &CStr, steps: &mut [Step]) {
    for step in steps {
        let Action::Mount(mount) = &mut step.action else { continue };
        let Source::Filesystem(new) = &mut mount.source else { continue };
        let kernels = ["proc", "sysfs", "cgroup2", "mqueue"];
        if !kernels.iter().any(|kernels| new.kind.to_bytes() == kernels.as_bytes()) {
            new.options.push(FsOption { key: key.to_owned(), ..FsOption::context(label) });
        }
    }
}

/// A change of an earlier mount. With `bind`, it is of the mount alone and not of its file system,
/// as with mount(8). Flags that it does not name stay: to lose nosuid by a remount that asks for
/// "ro" is what nobody means.
fn remount(target: CString, sorted: Sorted) -> Remount {
    Remount {
        target,
        options: if sorted.bind.is_some() { Vec::new() } else { sorted.own },
        set: sorted.set,
        clear: sorted.clear,
        recursive_set: sorted.recursive_set,
        recursive_clear: sorted.recursive_clear,
        propagation: sorted.propagation,
    }
}

/// The absolute path of what is bound.
fn bind_source(mount: &config::Mount, index: usize, bundle: &Path) -> Result<CString> {
    let pointer = format!("/mounts/{index}/source");
    let Some(path) = mount.source.as_deref().filter(|source| !source.is_empty()) else {
        return Err(Error::new("a bind mount needs a source")
            .at(pointer, None)
            .help("name the file or directory of the host to show in the container"));
    };
    cstring(&bundle.join(path).to_string_lossy(), &pointer)
}

/// A new file system.
fn filesystem(
    mount: &config::Mount,
    index: usize,
    kind: &str,
    sorted: &mut Sorted,
    around: &Around<'_>,
) -> Result<Filesystem> {
    let source = mount
        .source
        .as_deref()
        .map(|source| cstring(source, &format!("/mounts/{index}/source")))
        .transpose()?;
    let mut options = std::mem::take(&mut sorted.own);
    // The kernel's own file systems are shared with others or written to by us; any other, such as
    // one on a disk, is to know that it is read-only.
    let internal = ["proc", "sysfs", "tmpfs", "devpts", "mqueue", "cgroup", "cgroup2"];
    if sorted.set & attr::RDONLY != 0 && !internal.contains(&kind) {
        options.push(FsOption { index: None, key: CString::from(c"ro"), value: None });
    }
    let copy_up = sorted.copy_up.is_some();
    // A new sysfs, proc or mqueue shows the namespace of whoever mounts it, and root of a user
    // namespace may mount it only with one of its own.
    let otherwise = match kind {
        "sysfs" if !around.namespaces.makes(NamespaceKind::Network) => Some(c"/sys"),
        "proc" if !around.namespaces.has(NamespaceKind::Pid) => Some(c"/proc"),
        "mqueue" if !around.namespaces.makes(NamespaceKind::Ipc) => Some(c"/dev/mqueue"),
        _ => None,
    };
    Ok(Filesystem {
        kind: cstring(kind, &format!("/mounts/{index}/type"))?,
        source,
        strict: matches!(kind, "proc" | "sysfs"),
        inherits_mode: kind == "tmpfs" && !options.iter().any(|o| o.key.as_c_str() == c"mode"),
        options,
        legacy: sorted.legacy,
        copy_up,
        otherwise: otherwise.map(CString::from),
    })
}
