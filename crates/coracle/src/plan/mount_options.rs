//! Mount options: which are the kernel's flags, which are ours, and which the file system's own
//! (runtime-spec config.md, "Linux mount options"; mount(8)).

use super::cstring;
use super::mount::{FsOption, SourceLink};
use crate::config::RootfsPropagation;
use crate::error::Result;
use crate::sys::mount::attr;

/// What one option string asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// Nothing: the default, or a flag that has none in the kernel's mount API.
    Nothing,
    /// Sets and clears `MOUNT_ATTR_*` of the mount.
    Attributes { set: u64, clear: u64 },
    /// The same, of it and all mounts below it.
    Recursive { set: u64, clear: u64 },
    /// A flag of the file system itself, by its name for fsconfig(2).
    Filesystem(&'static str),
    /// `MS_*` propagation.
    Propagation(u64),
    /// A bind mount.
    Bind { recursive: bool },
    /// Changes a mount that is there.
    Remount,
    /// An `MS_*` flag that only mount(2) takes.
    Legacy(u64),
    /// Gives a tmpfs a copy of what it covers.
    CopyUp,
    /// An ID-mapped mount.
    IdMap { recursive: bool },
    /// What a link as the source of a bind mount means.
    Link(SourceLink),
    /// Mounts on a link, and not on what it leads to.
    OnLink,
    /// Not known: the file system's own.
    Own,
}

/// The meaning of an option.
pub(super) fn meaning(option: &str) -> Meaning {
    use Meaning::{Attributes, Recursive};
    let on = |set| Attributes { set, clear: 0 };
    let off = |clear| Attributes { set: 0, clear };
    let all = |set| Recursive { set, clear: 0 };
    let none = |clear| Recursive { set: 0, clear };
    // An atime setting replaces the one before it, so the whole field is cleared.
    let atime = |set| Attributes { set, clear: attr::ATIME_MASK };
    let ratime = |set| Recursive { set, clear: attr::ATIME_MASK };
    match option {
        // The attribute API knows relatime as the absence of the other two.
        "relatime" | "atime" | "nostrictatime" => atime(0),
        "noatime" => atime(attr::NOATIME),
        "strictatime" | "norelatime" => atime(attr::STRICTATIME),
        "rrelatime" | "ratime" | "rnostrictatime" => ratime(0),
        "rnoatime" => ratime(attr::NOATIME),
        "rstrictatime" | "rnorelatime" => ratime(attr::STRICTATIME),
        "ro" => on(attr::RDONLY),
        "rw" => off(attr::RDONLY),
        "nosuid" => on(attr::NOSUID),
        "suid" => off(attr::NOSUID),
        "nodev" => on(attr::NODEV),
        "dev" => off(attr::NODEV),
        "noexec" => on(attr::NOEXEC),
        "exec" => off(attr::NOEXEC),
        "nodiratime" => on(attr::NODIRATIME),
        "diratime" => off(attr::NODIRATIME),
        "nosymfollow" => on(attr::NOSYMFOLLOW),
        "symfollow" => off(attr::NOSYMFOLLOW),
        "rro" => all(attr::RDONLY),
        "rrw" => none(attr::RDONLY),
        "rnosuid" => all(attr::NOSUID),
        "rsuid" => none(attr::NOSUID),
        "rnodev" => all(attr::NODEV),
        "rdev" => none(attr::NODEV),
        "rnoexec" => all(attr::NOEXEC),
        "rexec" => none(attr::NOEXEC),
        "rnodiratime" => all(attr::NODIRATIME),
        "rdiratime" => none(attr::NODIRATIME),
        "rnosymfollow" => all(attr::NOSYMFOLLOW),
        "rsymfollow" => none(attr::NOSYMFOLLOW),
        "sync" | "rsync" => Meaning::Filesystem("sync"),
        "dirsync" | "rdirsync" => Meaning::Filesystem("dirsync"),
        "lazytime" => Meaning::Filesystem("lazytime"),
        "mand" | "rmand" => Meaning::Filesystem("mand"),
        "iversion" => Meaning::Legacy(libc::MS_I_VERSION),
        // Fewer words in the kernel's log are nothing that anybody could see in a container.
        "silent" | "loud" | "defaults" | "async" | "rasync" | "nolazytime" | "nomand"
        | "rnomand" | "noiversion" => Meaning::Nothing,
        "shared" => Meaning::Propagation(libc::MS_SHARED),
        "slave" => Meaning::Propagation(libc::MS_SLAVE),
        "private" => Meaning::Propagation(libc::MS_PRIVATE),
        "unbindable" => Meaning::Propagation(libc::MS_UNBINDABLE),
        "rshared" => Meaning::Propagation(libc::MS_SHARED | libc::MS_REC),
        "rslave" => Meaning::Propagation(libc::MS_SLAVE | libc::MS_REC),
        "rprivate" => Meaning::Propagation(libc::MS_PRIVATE | libc::MS_REC),
        "runbindable" => Meaning::Propagation(libc::MS_UNBINDABLE | libc::MS_REC),
        "bind" => Meaning::Bind { recursive: false },
        "rbind" => Meaning::Bind { recursive: true },
        "remount" => Meaning::Remount,
        "tmpcopyup" => Meaning::CopyUp,
        "idmap" => Meaning::IdMap { recursive: false },
        "ridmap" => Meaning::IdMap { recursive: true },
        "copy-symlink" => Meaning::Link(SourceLink::Copy),
        "src-nofollow" => Meaning::Link(SourceLink::Bind),
        "dest-nofollow" => Meaning::OnLink,
        _ if option.starts_with("idmap=") => Meaning::IdMap { recursive: false },
        _ if option.starts_with("ridmap=") => Meaning::IdMap { recursive: true },
        _ => Meaning::Own,
    }
}

/// A mount's options, sorted by what they are.
#[derive(Debug, Default)]
pub(super) struct Sorted {
    /// `MOUNT_ATTR_*` to set.
    pub(super) set: u64,
    /// `MOUNT_ATTR_*` to clear.
    pub(super) clear: u64,
    /// `MOUNT_ATTR_*` to set on all mounts below.
    pub(super) recursive_set: u64,
    /// `MOUNT_ATTR_*` to clear on all mounts below.
    pub(super) recursive_clear: u64,
    /// `MS_*` propagation, in order.
    pub(super) propagation: Vec<u64>,
    /// A bind mount, and whether with the mounts below.
    pub(super) bind: Option<bool>,
    /// Changes an earlier mount.
    pub(super) remount: bool,
    /// `MS_*` flags that only mount(2) takes.
    pub(super) legacy: u64,
    /// The index of `tmpcopyup`.
    pub(super) copy_up: Option<usize>,
    /// `idmap` or `ridmap`.
    pub(super) id_map: Option<IdMapOption>,
    /// What a link as the source means.
    pub(super) link: SourceLink,
    /// Mounts on a link.
    pub(super) on_link: bool,
    /// The file system's own options.
    pub(super) own: Vec<FsOption>,
}

/// The option `idmap` or `ridmap`.
#[derive(Debug)]
pub(super) struct IdMapOption {
    /// Its index among the options.
    pub(super) index: usize,
    /// Whether it is `ridmap`.
    pub(super) recursive: bool,
    /// What is behind its `=`.
    pub(super) ranges: Option<String>,
}

/// Sorts the options of mount `mount`.
pub(super) fn sort(options: &[String], mount: usize) -> Result<Sorted> {
    let mut sorted = Sorted::default();
    for (index, option) in options.iter().enumerate() {
        // What comes later overrides what came before.
        let apply = |set: &mut u64, clear: &mut u64, on: u64, off: u64| {
            *set = *set & !off | on;
            *clear = *clear & !on | off;
        };
        let mut own = |key: &str, value: Option<&str>| {
            let pointer = || format!("/mounts/{mount}/options/{index}");
            let key = cstring(key, &pointer())?;
            let value = value.map(|value| cstring(value, &pointer())).transpose()?;
            sorted.own.push(FsOption { index: Some(index), key, value });
            Ok(())
        };
        match meaning(option) {
            Meaning::Nothing => {}
            Meaning::Attributes { set, clear } => {
                apply(&mut sorted.set, &mut sorted.clear, set, clear);
            }
            Meaning::Recursive { set, clear } => {
                apply(&mut sorted.recursive_set, &mut sorted.recursive_clear, set, clear);
                // What was asked of the one mount before is overridden as well.
                sorted.set &= !(set | clear);
                sorted.clear &= !(set | clear);
            }
            Meaning::Filesystem(flag) => own(flag, None)?,
            Meaning::Legacy(flag) => sorted.legacy |= flag,
            Meaning::Propagation(flags) => sorted.propagation.push(flags),
            Meaning::Bind { recursive } => sorted.bind = Some(recursive),
            Meaning::Remount => sorted.remount = true,
            Meaning::CopyUp => sorted.copy_up = Some(index),
            Meaning::IdMap { recursive } => {
                let ranges = option.split_once('=').map(|(_, ranges)| ranges.to_owned());
                sorted.id_map = Some(IdMapOption { index, recursive, ranges });
            }
            Meaning::Link(link) => sorted.link = link,
            Meaning::OnLink => sorted.on_link = true,
            Meaning::Own => match option.split_once('=') {
                Some((key, value)) => own(key, Some(value))?,
                None if option.is_empty() => {}
                None => own(option, None)?,
            },
        }
    }
    Ok(sorted)
}

/// Whether an option is none that the runtime knows, and so a file system's own.
pub(super) fn is_own(option: &str) -> bool {
    matches!(meaning(option), Meaning::Own)
}

/// The `MS_*` flags of `linux.rootfsPropagation`.
pub(super) fn propagation(kind: RootfsPropagation) -> u64 {
    match kind {
        RootfsPropagation::Shared => libc::MS_SHARED,
        RootfsPropagation::RShared => libc::MS_SHARED | libc::MS_REC,
        RootfsPropagation::Slave => libc::MS_SLAVE,
        RootfsPropagation::RSlave => libc::MS_SLAVE | libc::MS_REC,
        RootfsPropagation::Private => libc::MS_PRIVATE,
        RootfsPropagation::RPrivate => libc::MS_PRIVATE | libc::MS_REC,
        RootfsPropagation::Unbindable => libc::MS_UNBINDABLE,
        RootfsPropagation::RUnbindable => libc::MS_UNBINDABLE | libc::MS_REC,
    }
}

/// What leads to a propagation of the root.
pub(super) struct Propagation {
    /// `MS_*` for every mount that came from the host, before anything else.
    pub(super) host: u64,
    /// `MS_*` for the root while mounts are made in it; 0: as the host's.
    pub(super) root: u64,
    /// Whether the host's mounts may still be shared then.
    pub(super) shared: bool,
}

/// The way to a propagation of the root. Only a shared one leaves the host's mounts as they are,
/// so that a bind mount can be a peer of the host's; the root itself joins a group of its own
/// later ("this does not mean that it's shared with the host"), and until then nothing that is
/// mounted in it may reach the host. In another `user_namespace` there are no peers of the host's
/// (mount_namespaces(7)), and to share its copies would only have what is mounted in a bound /sys
/// hide the host's cgroups before they are bound. What is unbindable could not be bound; it becomes
/// so at the end.
pub(super) fn on_the_way_to(propagation: Option<u64>, user_namespace: bool) -> Propagation {
    const DOWNSTREAM: u64 = libc::MS_SLAVE | libc::MS_REC;
    const ALONE: u64 = libc::MS_PRIVATE | libc::MS_REC;
    match propagation.map(|flags| (flags & !libc::MS_REC, flags)) {
        Some((libc::MS_SHARED, _)) if user_namespace => {
            Propagation { host: DOWNSTREAM, root: ALONE, shared: false }
        }
        Some((libc::MS_SHARED, flags)) => Propagation { host: flags, root: ALONE, shared: true },
        None | Some((libc::MS_SLAVE, _)) => {
            Propagation { host: DOWNSTREAM, root: 0, shared: false }
        }
        Some((_, flags)) if flags & libc::MS_REC != 0 => {
            Propagation { host: ALONE, root: 0, shared: false }
        }
        Some(_) => Propagation { host: DOWNSTREAM, root: libc::MS_PRIVATE, shared: false },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_required_option_of_the_specification_is_known() {
        for option in [
            "async",
            "atime",
            "bind",
            "defaults",
            "dev",
            "diratime",
            "dirsync",
            "exec",
            "iversion",
            "lazytime",
            "loud",
            "noatime",
            "nodev",
            "nodiratime",
            "noexec",
            "noiversion",
            "nolazytime",
            "norelatime",
            "nostrictatime",
            "nosuid",
            "nosymfollow",
            "private",
            "rbind",
            "relatime",
            "remount",
            "ro",
            "rprivate",
            "rshared",
            "rslave",
            "runbindable",
            "rw",
            "shared",
            "silent",
            "slave",
            "strictatime",
            "suid",
            "symfollow",
            "sync",
            "unbindable",
            "rro",
            "rrw",
            "rnosuid",
            "rnoatime",
        ] {
            assert_ne!(meaning(option), Meaning::Own, "{option}");
        }
        assert_eq!(meaning("mode=755"), Meaning::Own);
    }

    #[test]
    fn a_later_atime_replaces_an_earlier_one() {
        let Meaning::Attributes { set, clear } = meaning("strictatime") else {
            unreachable!("strictatime is an attribute")
        };
        assert_eq!((set, clear), (attr::STRICTATIME, attr::ATIME_MASK));
    }
}
