//! A mount as a step has it: what is mounted, on what, and how.

use std::ffi::{CStr, CString};
use std::fmt;

/// A mount to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Where, relative to the root.
    pub target: CString,
    /// Mounts on a link at the end of the target, and not on what it leads to.
    pub on_link: bool,
    /// What.
    pub source: Source,
    /// `MOUNT_ATTR_*` to set.
    pub set: u64,
    /// `MOUNT_ATTR_*` to clear, of a bind mount.
    pub clear: u64,
    /// `MOUNT_ATTR_*` to set on all mounts below.
    pub recursive_set: u64,
    /// `MOUNT_ATTR_*` to clear on all mounts below.
    pub recursive_clear: u64,
    /// `MS_*` propagation changes, in order.
    pub propagation: Vec<u64>,
}

impl Mount {
    /// The type of a new file system without options of its own.
    pub(crate) fn plain_filesystem(&self) -> Option<&CStr> {
        match &self.source {
            Source::Filesystem(new) if new.options.is_empty() => Some(&new.kind),
            _ => None,
        }
    }
}

/// A change of a mount that is there. What it does not name stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remount {
    /// Where it is mounted, relative to the root.
    pub target: CString,
    /// Options of its file system, in order.
    pub options: Vec<FsOption>,
    /// `MOUNT_ATTR_*` to set.
    pub set: u64,
    /// `MOUNT_ATTR_*` to clear.
    pub clear: u64,
    /// `MOUNT_ATTR_*` to set on all mounts below.
    pub recursive_set: u64,
    /// `MOUNT_ATTR_*` to clear on all mounts below.
    pub recursive_clear: u64,
    /// `MS_*` propagation changes, in order.
    pub propagation: Vec<u64>,
}

/// What a mount shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A new file system.
    Filesystem(Filesystem),
    /// A path of the host.
    Bind(Bind),
}

/// A new file system.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filesystem {
    /// Its type, as in /proc/filesystems.
    pub kind: CString,
    /// Its source, a device or a name.
    pub source: Option<CString>,
    /// Its own options, in order.
    pub options: Vec<FsOption>,
    /// `MS_*` flags that only mount(2) takes.
    pub legacy: u64,
    /// Only on a directory of exactly this path, without links: proc and sysfs (CVE-2019-19921).
    pub strict: bool,
    /// Gets the mode of the directory that it goes on, if that was there before, unless an option
    /// sets one: tmpfs.
    pub inherits_mode: bool,
    /// Gets a copy of what is in the directory that it goes on.
    pub copy_up: bool,
    /// The host's mount to bind where the kernel refuses a new one (EPERM, EBUSY).
    pub otherwise: Option<CString>,
}

/// A path of the host, shown in the container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bind {
    /// The absolute path.
    pub path: CString,
    /// Another, where that is missing.
    pub otherwise: Option<CString>,
    /// With the mounts below it.
    pub recursive: bool,
    /// What a link at the end of the path means.
    pub link: SourceLink,
    /// Who opens it.
    pub opener: Opener,
    /// Shows files with other owners; the parent makes such a mount.
    pub ids: Option<MountIds>,
}

/// Who opens the source of a bind mount.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Opener {
    /// Whoever mounts it.
    #[default]
    Init,
    /// The parent, where init, as root of a user namespace, may not reach it.
    ParentIfDenied,
    /// The parent: who mounts it does not see the host's files.
    Parent,
}

impl Opener {
    /// For a container that is being made: `user` tells whether root makes it with a user namespace.
    pub(super) fn of_new(user: bool) -> Self {
        if user { Self::ParentIfDenied } else { Self::Init }
    }
}

/// What a link at the end of a bind mount's source means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SourceLink {
    /// What it leads to is bound.
    #[default]
    Follow,
    /// The link itself is bound.
    Bind,
    /// A link like it is made in the container.
    Copy,
}

/// The ids of an ID-mapped mount (mount_setattr(2), `MOUNT_ATTR_IDMAP`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MountIds {
    /// From the file system's ids to those of the host; `None`: as the container's user namespace.
    pub maps: Option<super::IdMaps>,
    /// Also of the mounts below it.
    pub recursive: bool,
}

impl Mount {
    /// The SELinux context that everything of a new file system has.
    pub fn label(&self) -> Option<&CString> {
        let Source::Filesystem(new) = &self.source else { return None };
        let own = new
            .options
            .iter()
            .find(|option| option.index.is_none() && option.key.to_bytes().ends_with(b"context"));
        own.and_then(|option| option.value.as_ref())
    }
}

/// One option of a file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FsOption {
    /// Its index among the mount's options in config.json.
    pub index: Option<usize>,
    /// Its name.
    pub key: CString,
    /// Its value, if it has one.
    pub value: Option<CString>,
}

impl FsOption {
    /// The SELinux context that everything of a file system has.
    pub(crate) fn context(label: &CStr) -> Self {
        Self { index: None, key: CString::from(c"context"), value: Some(label.to_owned()) }
    }
}

impl fmt::Display for Mount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let target = self.target.to_string_lossy();
        match &self.source {
            Source::Filesystem(new) => {
                write!(f, "mounting {} on /{target}", new.kind.to_string_lossy())
            }
            Source::Bind(bind) => {
                write!(f, "binding {} on /{target}", bind.path.to_string_lossy())
            }
        }
    }
}

/// The name of a mount propagation, as config.json and mount(8) spell it.
pub(super) fn propagation_name(flags: u64) -> String {
    let recursive = if flags & libc::MS_REC != 0 { "r" } else { "" };
    let kind = match flags & !libc::MS_REC {
        libc::MS_SHARED => "shared",
        libc::MS_SLAVE => "slave",
        libc::MS_UNBINDABLE => "unbindable",
        _ => "private",
    };
    format!("{recursive}{kind}")
}

/// Mount attributes as mount(8) spells them.
pub(super) fn attributes(set: u64, clear: u64) -> String {
    use crate::sys::mount::attr;
    let mut names = Vec::new();
    for (bit, on, off) in [
        (attr::RDONLY, "ro", "rw"),
        (attr::NOSUID, "nosuid", "suid"),
        (attr::NODEV, "nodev", "dev"),
        (attr::NOEXEC, "noexec", "exec"),
        (attr::NODIRATIME, "nodiratime", "diratime"),
        (attr::NOSYMFOLLOW, "nosymfollow", "symfollow"),
    ] {
        if set & bit != 0 {
            names.push(on);
        } else if clear & bit != 0 {
            names.push(off);
        }
    }
    match set & attr::ATIME_MASK {
        attr::NOATIME => names.push("noatime"),
        attr::STRICTATIME => names.push("strictatime"),
        _ => {}
    }
    names.join(",")
}
