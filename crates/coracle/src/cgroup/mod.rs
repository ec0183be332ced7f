//! The container's control group: made, entered, frozen, killed and removed, on version 2, on
//! version 1 and on hybrids of the two.

mod device;
mod layout;
mod location;

pub use device::{Access, DeviceKind, DeviceRule, effective_rules};
pub use layout::{Hierarchy, Layout};
pub use location::{LegacyMount, Location};

use std::collections::BTreeMap;
use std::os::fd::BorrowedFd;

use rustix::process::{Pid, Signal, Uid};

use crate::Result;

/// How a cgroup is to be made.
#[derive(Clone, Copy, Debug, Default)]
pub struct Request<'a> {
    /// The runtime may lack the right to make cgroups. If it does, and neither a path nor a
    /// controller was asked for, the container has none.
    pub rootless: bool,
    /// `linux.cgroupsPath` was given: then lacking the right is an error.
    pub path_given: bool,
    /// The controllers that the limits need, by their version 2 names (`io` for `blkio`). Version
    /// 2: they are enabled down the path, or it is an error.
    pub controllers: &'a [&'a str],
    /// Version 2: enable every other available controller too, as far as that goes, as runc does:
    /// `stats` has their numbers then, even without limits.
    pub every_controller: bool,
}

/// A container's cgroup: a directory in each hierarchy, or none where a rootless runtime may not
/// make any.
#[derive(Debug)]
pub struct Cgroup {}

impl Cgroup {
    /// Makes the cgroup; what was made is removed again on an error.
    ///
    /// Refused if it exists and has processes in it or is frozen.
    pub fn make(location: &Location, request: &Request<'_>) -> Result<Self> {
        let _ = (location, request);
        todo!()
    }

    /// The cgroup of an existing container, from [`Cgroup::paths`]. Touches nothing: each operation
    /// opens what it needs. A cgroup that is gone counts as one without processes.
    pub fn from_paths(paths: &BTreeMap<String, String>) -> Self {
        let _ = paths;
        todo!()
    }

    /// Controller to directory, as `cgroup_paths` in state.json has it: `""` is version 2.
    pub fn paths(&self) -> BTreeMap<String, String> {
        todo!()
    }

    /// Whether there is no cgroup at all (rootless). All operations then do nothing, but freezing
    /// and signalling, which fail.
    pub fn is_absent(&self) -> bool {
        todo!()
    }

    /// The directory in the version 2 hierarchy, for `CLONE_INTO_CGROUP`; none on plain version 1.
    pub fn dir_fd(&self) -> Result<Option<BorrowedFd<'_>>> {
        todo!()
    }

    /// Moves a process in. One that was `born` in [`Cgroup::dir_fd`] is moved on version 1 only.
    ///
    /// A rootless runtime that may not, on version 1 and with no path asked for, loses that
    /// hierarchy from [`Cgroup::paths`].
    pub fn enter(&mut self, pid: Pid, born: bool) -> Result<()> {
        let _ = (pid, born);
        todo!()
    }

    /// Allows and denies devices, by the last rule that matches; what none matches is denied.
    /// Replaces what was set before. Rootless runtimes may not do this, and don't.
    pub fn set_devices(&self, rules: &[DeviceRule]) -> Result<()> {
        let _ = rules;
        todo!()
    }

    /// Gives the version 2 directory to a user, with the files that the kernel lists for that in
    /// `/sys/kernel/cgroup/delegate` (runtime-spec, "Cgroup ownership").
    pub fn delegate(&self, owner: Uid) -> Result<()> {
        let _ = owner;
        todo!()
    }

    /// Stops every process, and returns when all have stopped.
    pub fn freeze(&self) -> Result<()> {
        todo!()
    }

    /// Lets the processes run again.
    pub fn thaw(&self) -> Result<()> {
        todo!()
    }

    /// Whether this cgroup was frozen; that one above it was does not count.
    pub fn frozen(&self) -> Result<bool> {
        todo!()
    }

    /// The processes in it and in the cgroups below it.
    pub fn procs(&self) -> Result<Vec<Pid>> {
        todo!()
    }

    /// Sends a signal to every process in it and in the cgroups below it.
    pub fn kill_all(&self, signal: Signal) -> Result<()> {
        let _ = signal;
        todo!()
    }

    /// Removes it with the cgroups below it; waits a little for processes that are ending. No
    /// error if it is gone.
    pub fn remove(&self) -> Result<()> {
        todo!()
    }

    /// Removes what [`Cgroup::make`] made, parents included, when a start fails.
    pub fn undo(&mut self) -> Result<()> {
        todo!()
    }
}
