//! Which control group hierarchies this machine has.

use std::path::PathBuf;

use crate::Result;

/// What is mounted at `/sys/fs/cgroup`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Layout {
    /// One hierarchy, version 2 (cgroups(7)), mounted at `/sys/fs/cgroup`.
    Unified,
    /// Version 1: a hierarchy for each set of controllers; hybrid: a version 2 hierarchy beside
    /// them.
    Legacy {
        /// The version 1 hierarchies, in the order in which they are mounted.
        hierarchies: Vec<Hierarchy>,
        /// Whether version 2 is mounted at `/sys/fs/cgroup/unified`.
        hybrid: bool,
    },
}

/// One version 1 hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hierarchy {
    /// Its controllers, such as `cpu` and `cpuacct`, or its name, such as `name=systemd`.
    pub controllers: Vec<String>,
    /// Where it is mounted.
    pub mount: PathBuf,
    /// Which cgroup of the hierarchy the mount shows: `/`, or a deeper one inside a container.
    pub root: PathBuf,
}

impl Layout {
    /// Looks at `/sys/fs/cgroup`: one statfs(2) on version 2, else `/proc/self/mountinfo` is read.
    pub fn detect() -> Result<Self> {
        todo!()
    }
}
