//! Which control group hierarchies this machine has.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use rustix::fs::statfs;

use crate::error::Context;
use crate::{Errno, Result};

/// Where hierarchies are mounted: file-hierarchy(7), and what every engine expects.
pub(super) const MOUNT: &str = "/sys/fs/cgroup";

/// The version 2 mount beside version 1 ones, as systemd makes it.
pub(super) const HYBRID: &str = "/sys/fs/cgroup/unified";

/// statfs(2): `CGROUP2_SUPER_MAGIC`.
const CGROUP2_MAGIC: u64 = 0x6367_7270;

/// The controllers of version 1 (cgroups(7) and later ones). Mount options that are none of these
/// are flags, such as `xattr` and `clone_children`.
const CONTROLLERS: [&str; 16] = [
    "blkio",
    "cpu",
    "cpuacct",
    "cpuset",
    "debug",
    "devices",
    "dmem",
    "freezer",
    "hugetlb",
    "memory",
    "misc",
    "net_cls",
    "net_prio",
    "perf_event",
    "pids",
    "rdma",
];

/// What is mounted at `/sys/fs/cgroup`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Layout {
    /// One hierarchy, version 2 (cgroups(7)), mounted at `/sys/fs/cgroup`.
    Unified,
    /// Version 1: a hierarchy for each set of controllers. Hybrid: a version 2 hierarchy beside
    /// them.
    Legacy {
        /// The version 1 hierarchies, in the order in which they were mounted.
        hierarchies: Vec<Hierarchy>,
        /// The version 2 hierarchy, if one is mounted at `/sys/fs/cgroup/unified`.
        unified: Option<Hierarchy>,
    },
}

/// One mounted hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hierarchy {
    /// The controllers, such as `cpu` and `cpuacct`, or the name, such as `name=systemd`; empty
    /// for version 2.
    pub controllers: Vec<String>,
    /// Where it is mounted.
    pub mount: PathBuf,
    /// Which cgroup of the hierarchy is seen there: `/`, or a deeper one inside a container.
    pub root: PathBuf,
}

impl Layout {
    /// Looks at `/sys/fs/cgroup`: one statfs(2) on version 2, else `/proc/self/mountinfo` is read.
    ///
    /// A machine without control groups counts as one without hierarchies.
    pub fn detect() -> Result<Self> {
        match statfs(MOUNT) {
            #[allow(clippy::cast_sign_loss)] // Its type differs between architectures.
            Ok(stat) if stat.f_type as u64 == CGROUP2_MAGIC => return Ok(Self::Unified),
            Ok(_) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(errno).what(|| format!("looking at {MOUNT}")),
        }
        let mountinfo = std::fs::read_to_string("/proc/self/mountinfo")
            .what(|| "reading /proc/self/mountinfo")?;
        Ok(Self::from_mountinfo(&mountinfo))
    }

    /// Reads the text of `/proc/self/mountinfo`.
    fn from_mountinfo(mountinfo: &str) -> Self {
        let mut hierarchies: Vec<Hierarchy> = Vec::new();
        let mut unified = None;
        for line in mountinfo.lines() {
            let Some((hierarchy, version)) = parse(line) else { continue };
            if version == 2 {
                if hierarchy.mount == Path::new(HYBRID) {
                    unified = Some(hierarchy);
                }
                continue;
            }
            // A later mount hides an earlier one in the same place.
            hierarchies.retain(|earlier| earlier.mount != hierarchy.mount);
            match hierarchies.iter_mut().find(|known| known.controllers == hierarchy.controllers) {
                // A second mount of the same hierarchy: keep the one in the usual place.
                Some(known) if usual(known) || !usual(&hierarchy) => {}
                Some(known) => *known = hierarchy,
                None => hierarchies.push(hierarchy),
            }
        }
        // Mounts elsewhere are other programs' business, unless there are no others.
        if hierarchies.iter().any(usual) {
            hierarchies.retain(usual);
        }
        Self::Legacy { hierarchies, unified }
    }
}

fn usual(hierarchy: &Hierarchy) -> bool {
    hierarchy.mount.starts_with(MOUNT)
}

/// One line of mountinfo, if it is a cgroup mount: `ID PARENT DEV ROOT MOUNT OPTIONS [TAG]... -
/// TYPE SOURCE SUPER-OPTIONS`.
fn parse(line: &str) -> Option<(Hierarchy, u8)> {
    let (mount, filesystem) = line.split_once(" - ")?;
    let mut filesystem = filesystem.split(' ');
    let version = match filesystem.next()? {
        "cgroup" => 1,
        "cgroup2" => 2,
        _ => return None,
    };
    let options = filesystem.nth(1)?;
    let mut mount = mount.split(' ').skip(3);
    let root = PathBuf::from(unescape(mount.next()?).into_owned());
    let mount = PathBuf::from(unescape(mount.next()?).into_owned());
    let controllers: Vec<String> = options
        .split(',')
        .filter(|option| {
            version == 1 && (CONTROLLERS.contains(option) || option.starts_with("name="))
        })
        .map(str::to_owned)
        .collect();
    (version == 2 || !controllers.is_empty())
        .then_some((Hierarchy { controllers, mount, root }, version))
}

/// Undoes the octal escapes for blank, tab, newline and backslash.
fn unescape(field: &str) -> Cow<'_, str> {
    if !field.contains('\\') {
        return Cow::Borrowed(field);
    }
    let plain = [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")];
    Cow::Owned(plain.iter().fold(field.to_owned(), |text, (octal, byte)| text.replace(octal, byte)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hierarchy(controllers: &[&str], mount: &str, root: &str) -> Hierarchy {
        Hierarchy {
            controllers: controllers.iter().map(|&name| name.to_owned()).collect(),
            mount: mount.into(),
            root: root.into(),
        }
    }

    #[test]
    fn hybrid_with_controllers_mounted_together() {
        let text = "\
21 1 8:1 / / rw - ext4 /dev/sda1 rw
31 23 0:28 / /sys/fs/cgroup ro,nosuid shared:9 - tmpfs tmpfs ro,mode=755
32 31 0:29 / /sys/fs/cgroup/unified rw shared:10 - cgroup2 cgroup2 rw,nsdelegate
33 31 0:30 / /sys/fs/cgroup/systemd rw shared:11 - cgroup cgroup rw,xattr,name=systemd
34 31 0:31 / /sys/fs/cgroup/cpu,cpuacct rw shared:12 - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/cpuset rw master:1 shared:13 - cgroup cgroup rw,cpuset,clone_children
";
        assert_eq!(
            Layout::from_mountinfo(text),
            Layout::Legacy {
                hierarchies: vec![
                    hierarchy(&["name=systemd"], "/sys/fs/cgroup/systemd", "/"),
                    hierarchy(&["cpu", "cpuacct"], "/sys/fs/cgroup/cpu,cpuacct", "/"),
                    hierarchy(&["cpuset"], "/sys/fs/cgroup/cpuset", "/"),
                ],
                unified: Some(hierarchy(&[], "/sys/fs/cgroup/unified", "/")),
            }
        );
    }

    #[test]
    fn a_hierarchy_mounted_twice_counts_once_where_it_is_expected() {
        let text = "\
1 0 0:30 / /mnt/other/pids rw - cgroup cgroup rw,pids
2 0 0:31 / /mnt/other/elogind rw - cgroup cgroup rw,name=elogind
3 0 0:30 /box /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids
4 0 0:30 / /srv/pids rw - cgroup cgroup rw,pids
";
        assert_eq!(
            Layout::from_mountinfo(text),
            Layout::Legacy {
                hierarchies: vec![hierarchy(&["pids"], "/sys/fs/cgroup/pids", "/box")],
                unified: None,
            }
        );
    }

    #[test]
    fn a_later_mount_hides_an_earlier_one() {
        let text = "\
1 0 0:30 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids
2 0 0:31 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,freezer
";
        assert_eq!(
            Layout::from_mountinfo(text),
            Layout::Legacy {
                hierarchies: vec![hierarchy(&["freezer"], "/sys/fs/cgroup/pids", "/")],
                unified: None,
            }
        );
    }

    #[test]
    fn mounts_elsewhere_serve_where_there_are_no_others() {
        let text = "1 0 0:30 / /my\\040cgroups/pids rw - cgroup none rw,pids\nnonsense\n";
        assert_eq!(
            Layout::from_mountinfo(text),
            Layout::Legacy {
                hierarchies: vec![hierarchy(&["pids"], "/my cgroups/pids", "/")],
                unified: None,
            }
        );
    }
}
