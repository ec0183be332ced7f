//! The container's control group: made, entered, frozen, killed and removed, on version 2, on
//! version 1 and on hybrids of the two, by ourselves or by systemd.
//!
//! [`Layout`] says what the machine has, [`Location`] where the container's directories are (both
//! without changing anything), and [`Cgroup`] is the cgroup itself, a directory in each hierarchy.

mod apply;
mod device;
mod dir;
mod figures;
mod layout;
mod limits;
mod limits_v1;
mod limits_v2;
mod location;
mod oom;
mod program;
mod scope;
mod stats;
mod stats_v1;
mod stats_v2;
mod systemd;
mod v1;
mod v2;
mod write;

pub use device::{Access, DeviceKind, DeviceRule, effective_rules};
pub use figures::{
    BlkioEntry, BlkioStats, CmtStats, CpuStats, CpuUsage, CpusetStats, HugetlbStats, IntelRdtStats,
    L3CacheInfo, MbmStats, MemBwInfo, MemoryStats, MemoryUsage, PidsStats, Pressure, PressureTimes,
    Stats, Throttling,
};
pub use layout::{Hierarchy, Layout};
pub use limits::Limits;
pub use location::{LegacyMount, Location};
pub use oom::OomWatch;
pub use scope::{Start, SubCgroup, annotated};
pub use systemd::{NewUnit, Unit, systemd_root};
pub use write::{Missing, Version, Write};

use std::collections::BTreeMap;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

use rustix::process::{Pid, Signal, Uid, kill_process};

use crate::error::Context;
use crate::{Errno, Error, Kind, Result};
use dir::{Dir, Patience};

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
pub struct Cgroup {
    is_unified: bool,
    dirs: Vec<Dir>,
    /// What [`Cgroup::make`] made, outer directories first.
    made: Vec<PathBuf>,
    rootless: bool,
    /// What may not be done is left out.
    lenient: bool,
    /// The unit of systemd that it is.
    unit: Option<Unit>,
}

/// Who makes the containers' cgroups.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Manager {
    /// The runtime, in the file systems.
    #[default]
    Files,
    /// systemd, as it is asked over D-Bus.
    Systemd,
    /// Nobody: containers stay in the runtime's own (crun's `disabled`).
    Disabled,
}

impl Cgroup {
    /// Makes the cgroup; what was made is removed again on an error.
    ///
    /// Refused if it exists and has processes in it or is frozen.
    pub fn make(location: &Location, request: &Request<'_>) -> Result<Self> {
        let mut cgroup = Self {
            is_unified: location.is_unified,
            dirs: Vec::with_capacity(location.places.len()),
            made: Vec::new(),
            rootless: request.rootless,
            lenient: request.rootless && !request.path_given,
            unit: None,
        };
        match cgroup.fill(location, request) {
            Ok(()) => Ok(cgroup),
            Err(error) => {
                // The first error is the one to tell.
                _ = cgroup.undo();
                Err(error)
            }
        }
    }

    fn fill(&mut self, location: &Location, request: &Request<'_>) -> Result<()> {
        for location::Place { hierarchy, dir } in &location.places {
            let optional = self.lenient && !needs(location, hierarchy, request);
            let new = match dir::make_path(&hierarchy.mount, dir, &mut self.made) {
                Ok(new) => new,
                Err(errno) if optional && lacks_right(errno) => continue,
                Err(errno) => return Err(making(dir, errno, request)),
            };
            let dir = Dir::new(hierarchy.controllers.clone(), dir.clone());
            let what = || format!("opening {}", dir.path.display());
            dir.fd().what(what)?;
            if !new && (self.is_unified || dir.controls("devices") || dir.controls("freezer")) {
                unused(&dir)?;
            }
            if hierarchy.controllers.is_empty() {
                let own = |name: &&&str| location.version(name) == Some(Version::V2);
                let needed: Vec<_> = request.controllers.iter().filter(own).copied().collect();
                let every = request.every_controller && self.is_unified;
                v2::enable(&hierarchy.mount, &dir, &needed, every)?;
            } else if dir.controls("cpuset") {
                v1::fill_cpuset(&hierarchy.mount, &dir)
                    .what(|| format!("copying the cpuset from above {}", dir.path.display()))?;
            }
            self.dirs.push(dir);
        }
        Ok(())
    }

    /// The cgroup of an existing container, from [`Cgroup::paths`]. Touches nothing: each operation
    /// opens what it needs. A cgroup that is gone counts as one without processes.
    pub fn from_paths(paths: &BTreeMap<String, String>) -> Self {
        let mut dirs: Vec<Dir> = Vec::with_capacity(paths.len());
        for (controller, path) in paths {
            let named = !controller.is_empty();
            let same = |dir: &&mut Dir| named && dir.path == Path::new(path);
            match dirs.iter_mut().find(same) {
                Some(dir) => dir.controllers.push(controller.clone()),
                None => dirs.push(Dir::new(
                    named.then(|| controller.clone()).into_iter().collect(),
                    path.into(),
                )),
            }
        }
        let is_unified = paths.keys().all(String::is_empty);
        Self { is_unified, dirs, made: Vec::new(), rootless: false, lenient: false, unit: None }
    }

    /// Controller to directory, as `cgroup_paths` in state.json has it: `""` is version 2.
    pub fn paths(&self) -> BTreeMap<String, String> {
        location::path_map(self.dirs.iter().map(|dir| (&*dir.controllers, &*dir.path)))
    }

    /// Whether there is no cgroup at all (rootless). All operations then do nothing, but freezing
    /// and signalling, which fail.
    pub fn is_absent(&self) -> bool {
        self.dirs.is_empty()
    }

    /// Whether version 2 is all there is.
    pub fn is_unified(&self) -> bool {
        self.is_unified
    }

    /// The directory in the version 2 hierarchy, for `CLONE_INTO_CGROUP`; none on plain version 1.
    pub fn dir_fd(&self) -> Result<Option<BorrowedFd<'_>>> {
        let unified = self.dirs.iter().find(|dir| dir.controllers.is_empty());
        unified.map(|dir| dir.fd().what(|| format!("opening {}", dir.path.display()))).transpose()
    }

    /// Moves a process in. One that was `born` in [`Cgroup::dir_fd`] is moved on version 1 only.
    ///
    /// A rootless runtime that may not, on version 1 and with no path asked for, loses that
    /// hierarchy from [`Cgroup::paths`].
    pub fn enter(&mut self, pid: Pid, born: bool) -> Result<()> {
        let text = pid.to_string();
        let mut lost = Vec::new();
        for (index, dir) in self.dirs.iter().enumerate() {
            let entered = match dir.controllers.is_empty() {
                true if born => continue,
                true => v2::enter(dir, &text),
                false => dir.write("cgroup.procs", &text),
            };
            match entered {
                Ok(()) => {}
                Err(errno) if self.lenient && !self.is_unified && lacks_right(errno) => {
                    lost.push(index);
                }
                Err(errno) => match &self.unit {
                    // Between its own cgroups and others, a user may not move a process; systemd
                    // may.
                    Some(unit) if self.is_unified && lacks_right(errno) => {
                        unit.attach(&dir.path, pid)?;
                    }
                    _ => return Err(v2::entering(dir, pid, errno)),
                },
            }
        }
        for index in lost.into_iter().rev() {
            self.dirs.remove(index);
        }
        Ok(())
    }

    /// Allows and denies devices; the last rule that matches decides, and what none matches is
    /// denied. Replaces what was set before. A rootless runtime may not do this: no error then.
    pub fn set_devices(&self, rules: &[DeviceRule]) -> Result<()> {
        let set = match self.dir("devices") {
            Some(dir) if self.is_unified => v2::set_devices(dir, rules),
            Some(dir) => v1::set_devices(dir, rules),
            None => Err(Error::new("setting the device rules")
                .because("no hierarchy has the devices controller")),
        };
        if self.rootless { Ok(()) } else { set }
    }

    /// Gives the version 2 directory to a user, with the files that the kernel lists for that in
    /// `/sys/kernel/cgroup/delegate` (runtime-spec, "Cgroup ownership"). Does nothing on version 1,
    /// where that is not safe.
    pub fn delegate(&self, owner: Uid) -> Result<()> {
        if self.is_unified {
            self.dirs.iter().try_for_each(|dir| v2::delegate(dir, owner))?;
        }
        Ok(())
    }

    /// Stops every process, and returns when all have stopped. Where that takes more than some
    /// seconds, lets them run again: ETIMEDOUT.
    pub fn freeze(&self) -> Result<()> {
        self.freezer(v2::freeze, v1::freeze).map_err(|error| match error.errno() {
            Some(Errno::TIMEDOUT) => Error::new("freezing the container")
                .because("not all of its processes have stopped")
                .os(Errno::TIMEDOUT)
                .help("one may be in an uninterruptible sleep, such as on a disk that is gone"),
            _ => error.within("freezing the container"),
        })
    }

    /// Lets the processes run again.
    pub fn thaw(&self) -> Result<()> {
        self.freezer(v2::thaw, v1::thaw).map_err(|error| error.within("thawing the container"))
    }

    /// Whether this cgroup was frozen; that one above it was does not count.
    pub fn frozen(&self) -> Result<bool> {
        match self.dir("freezer") {
            Some(dir) => {
                frozen(dir).what(|| format!("reading the state of {}", dir.path.display()))
            }
            None => Ok(false),
        }
    }

    /// The processes in it and in the cgroups below it.
    pub fn procs(&self) -> Result<Vec<Pid>> {
        // All hierarchies have the same ones, but this is the one that can hold them still.
        match self.dir("freezer").or(self.dirs.first()) {
            Some(dir) => {
                dir.procs().what(|| format!("listing the processes in {}", dir.path.display()))
            }
            None => Ok(Vec::new()),
        }
    }

    /// Sends a signal to every process in it and in the cgroups below it. Processes made meanwhile
    /// get it too, except where there is no freezer. SIGKILL thaws.
    pub fn kill_all(&self, signal: Signal) -> Result<()> {
        if self.is_absent() {
            return Err(no_cgroup());
        }
        if let (true, Signal::KILL, Some(dir)) = (self.is_unified, signal, self.dirs.first()) {
            match v2::kill(dir) {
                Ok(()) => return Ok(()),
                Err(Errno::NOENT | Errno::NODEV) => {}
                Err(errno) => {
                    let what = format!("killing the processes in {}", dir.path.display());
                    return Err(Error::new(what).os(errno));
                }
            }
        }
        let frozen_before = self.frozen()?;
        let still = frozen_before || self.freeze().is_ok();
        let signalled = self.signal_each(signal, still);
        // A process of a frozen version 1 cgroup dies only when it runs again.
        if still && (!frozen_before || signal == Signal::KILL) {
            match self.thaw() {
                Err(error) if !matches!(error.errno(), Some(Errno::NOENT | Errno::NODEV)) => {
                    return Err(error);
                }
                _ => {}
            }
        }
        signalled
    }

    fn signal_each(&self, signal: Signal, still: bool) -> Result<()> {
        // Unless they hold still, a killed process may have made another just before.
        let passes = if signal == Signal::KILL && !still { 10 } else { 1 };
        for _ in 0..passes {
            let pids = self.procs()?;
            if pids.is_empty() {
                break;
            }
            for pid in pids {
                match kill_process(pid, signal) {
                    Ok(()) | Err(Errno::SRCH) => {}
                    Err(errno) => {
                        return Err(Error::new(format!("signalling process {pid}")).os(errno));
                    }
                }
            }
        }
        Ok(())
    }

    /// Removes it with the cgroups below it; waits some two seconds for processes that are ending,
    /// and then names them. No error if it is gone.
    ///
    /// A unit is stopped. Where systemd cannot be asked, it notices that the cgroup is gone.
    pub fn remove(&self) -> Result<()> {
        let stopped = self.unit.as_ref().map_or(Ok(()), Unit::stop);
        // Each hierarchy is tried, whatever becomes of the others.
        let mut patience = Patience::new();
        let removed =
            self.dirs.iter().map(|dir| dir.remove(&mut patience)).fold(Ok(()), Result::and);
        removed.map_err(|error| stopped.err().unwrap_or(error))
    }

    /// Removes what [`Cgroup::make`] made, directories above it included unless others use them,
    /// when a start fails.
    pub fn undo(&mut self) -> Result<()> {
        let mut patience = Patience::new();
        let mut answer = self.unit.as_ref().map_or(Ok(()), Unit::stop);
        for path in std::mem::take(&mut self.made).into_iter().rev() {
            if let Some(dir) = self.dirs.iter().find(|dir| dir.path == path) {
                answer = answer.and(dir.remove(&mut patience));
            } else if let Err(errno) = rustix::fs::rmdir(&path)
                && ![Errno::NOENT, Errno::BUSY, Errno::NOTEMPTY].contains(&errno)
            {
                let error = Error::new(format!("removing {}", path.display())).os(errno);
                answer = answer.and(Err(error));
            }
        }
        answer
    }

    /// The directory in the hierarchy that has a controller; on version 2 there is but one.
    fn dir(&self, controller: &str) -> Option<&Dir> {
        self.dirs.iter().find(|dir| self.is_unified || dir.controls(controller))
    }

    fn freezer(
        &self,
        unified: fn(&Dir) -> Result<(), Errno>,
        legacy: fn(&Dir) -> Result<(), Errno>,
    ) -> Result<()> {
        match self.dir("freezer") {
            Some(dir) if self.is_unified => unified(dir).what(|| dir.path.display().to_string()),
            Some(dir) => legacy(dir).what(|| dir.path.display().to_string()),
            None if self.is_absent() => Err(no_cgroup()),
            None => Err(Error::new("no hierarchy has the freezer controller")),
        }
    }
}

/// Refuses a cgroup that someone else uses: its processes would get this container's limits and
/// signals; in a frozen one, the container would never start.
fn unused(dir: &Dir) -> Result<()> {
    let what = || format!("looking into {}", dir.path.display());
    if !dir.controllers.is_empty() || v2::populated(dir).what(what)? {
        let count = dir.procs().what(what)?.len();
        if count > 0 {
            return Err(Error::new(format!(
                "container's cgroup is not empty: {count} process(es) found"
            ))
            .help(format!("they are in {}", dir.path.display())));
        }
    }
    if frozen(dir).what(what)? {
        return Err(Error::new("container's cgroup unexpectedly frozen")
            .help(format!("it is {}", dir.path.display())));
    }
    Ok(())
}

fn frozen(dir: &Dir) -> Result<bool, Errno> {
    if dir.controllers.is_empty() { v2::frozen(dir) } else { v1::frozen(dir) }
}

/// Whether the kernel's answer means that a rootless runtime may not do this.
fn lacks_right(errno: Errno) -> bool {
    [Errno::ACCESS, Errno::PERM, Errno::ROFS, Errno::NOENT].contains(&errno)
}

/// Whether a limit needs this hierarchy. The version 2 one of a hybrid tends to be for keeping
/// track only.
fn needs(location: &Location, hierarchy: &Hierarchy, request: &Request<'_>) -> bool {
    request.controllers.iter().any(|&controller| match hierarchy.controllers.as_slice() {
        [] => location.version(controller) == Some(Version::V2),
        names => names.iter().any(|name| name == location::legacy_name(controller)),
    })
}

fn making(dir: &Path, errno: Errno, request: &Request<'_>) -> Error {
    let mut error = Error::new(format!("making the cgroup {}", dir.display())).os(errno);
    if request.path_given {
        error = error.at("/linux/cgroupsPath", None);
    }
    if !request.rootless || !lacks_right(errno) {
        error
    } else if request.path_given {
        error
            .at("/linux/cgroupsPath", None)
            .help("without linux.cgroupsPath and limits, a rootless container can do without")
    } else {
        error
            .at("/linux/resources", None)
            .help("a rootless runtime can set limits only below a cgroup delegated to its user")
    }
}

fn no_cgroup() -> Error {
    Error::new("the container has no cgroup").kind(Kind::State)
}
