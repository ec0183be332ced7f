//! Where a container's cgroup is, before anything is made.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::Layout;
use crate::Result;

/// The directories of a container's cgroup: one for each hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {}

/// What a container without a cgroup namespace sees of one version 1 hierarchy: its own part,
/// mounted below `/sys/fs/cgroup`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LegacyMount {
    /// The name of the directory to mount on, such as `cpu,cpuacct` or `systemd`.
    pub name: String,
    /// The container's cgroup on the host.
    pub source: PathBuf,
    /// The hierarchy's controllers, or `name=systemd`: the options of a fresh mount of it.
    pub controllers: Vec<String>,
    /// Symbolic links to `name` for controllers mounted together, such as `cpu`.
    pub links: Vec<String>,
}

impl Location {
    /// Finds the place for `linux.cgroupsPath`: an absolute one counts from where the hierarchy is
    /// mounted; a relative one, or the container's ID where there is none, from the runtime's own
    /// cgroup (version 1) or from the parent of it (version 2, where a cgroup with processes can
    /// not hand controllers on). `/proc/self/cgroup` is read for a relative one only.
    ///
    /// Paths are cleaned: `..` does not lead out.
    pub fn find(layout: &Layout, cgroups_path: Option<&str>, id: &str) -> Result<Self> {
        let _ = (layout, cgroups_path, id);
        todo!()
    }

    /// Controller to directory, as `cgroup_paths` in state.json has it: `""` is version 2.
    pub fn paths(&self) -> BTreeMap<String, String> {
        todo!()
    }

    /// The container's directory in the version 2 hierarchy, where that is the only one.
    pub fn unified(&self) -> Option<&std::path::Path> {
        todo!()
    }

    /// What to mount for a `cgroup` mount on version 1; empty on version 2.
    pub fn legacy_mounts(&self) -> Vec<LegacyMount> {
        todo!()
    }
}
