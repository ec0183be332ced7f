//! Mount options: which are the kernel's flags, which are ours, and which the file system's own
//! (runtime-spec config.md, "Linux mount options"; mount(8)).

use crate::config::RootfsPropagation;
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
    /// Read-only, of the mount and of a new file system.
    ReadOnly,
    /// `MS_*` propagation.
    Propagation(u64),
    /// A bind mount.
    Bind { recursive: bool },
    /// Changes a mount that is there.
    Remount,
    /// Known, and not carried out by this version.
    Unsupported,
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
        "ro" => Meaning::ReadOnly,
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
        "sync" => Meaning::Filesystem("sync"),
        "dirsync" => Meaning::Filesystem("dirsync"),
        "lazytime" => Meaning::Filesystem("lazytime"),
        "mand" => Meaning::Filesystem("mand"),
        "iversion" => Meaning::Filesystem("iversion"),
        "silent" => Meaning::Filesystem("silent"),
        "defaults" | "async" | "nolazytime" | "nomand" | "noiversion" | "loud" => Meaning::Nothing,
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
        "idmap" | "ridmap" | "tmpcopyup" | "copy-symlink" | "dest-nofollow" | "src-nofollow" => {
            Meaning::Unsupported
        }
        _ if option.starts_with("idmap=") || option.starts_with("ridmap=") => Meaning::Unsupported,
        _ => Meaning::Own,
    }
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
