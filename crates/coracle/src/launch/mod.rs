//! The parent's half: makes the first process in its namespaces, maps its ids and puts it into its
//! cgroup, while it already works on its steps.
//!
//! The clone is one clone3(2) wherever the kernel allows it: the parent is single-threaded and the
//! child a copy-on-write copy, so nothing is serialised and nothing starts up twice. Where
//! namespaces are joined, or the clocks of a new one set, a short-lived process between the two does that and clones the first
//! process as our child (`CLONE_PARENT`), so that ours stay what they are.

mod explain;
pub(crate) mod hooks;
mod id_maps;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::process::{
    DumpableBehavior, Pid, PidfdFlags, WaitId, WaitIdOptions, geteuid, pidfd_open,
    set_dumpable_behavior, waitid,
};
use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities};

pub(crate) use explain::{explain, explain_steps};

use crate::config::Spec;
use crate::error::{Context, Error, Result};
use crate::init::{self, Gate, Setup};
use crate::plan::{Action, Namespaces, Step};
use crate::sys::process::{self, Cloned};
use crate::wire::{Failure, Message, Operation, Wire};
use crate::{procfs, share};

/// A namespace to join: its file, or a process's descriptor with all of `flags`.
pub(crate) struct Joined {
    /// What setns(2) is given.
    pub(crate) file: OwnedFd,
    /// `CLONE_NEW*`.
    pub(crate) flags: i32,
    /// The index to name in an error.
    pub(crate) index: u32,
}

/// The first process, in the middle of its steps.
#[derive(Debug)]
pub(crate) struct Child {
    /// Its id on the host.
    pub(crate) pid: u32,
    /// A descriptor for it.
    pub(crate) pidfd: OwnedFd,
    /// The conversation with it.
    pub(crate) wire: Wire,
    /// Whether it was born in the cgroup v2 directory.
    pub(crate) born_in_cgroup: bool,
}

/// Opens the namespaces that a plan joins, and checks that each is of the type it is given as.
pub(crate) fn open_namespaces(namespaces: &Namespaces) -> Result<Vec<Joined>> {
    namespaces
        .join
        .iter()
        .map(|join| {
            let pointer = format!("/linux/namespaces/{}/path", join.index);
            let value = || Some(format!("{:?}", join.path.to_string_lossy()));
            let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
            let file = openat(CWD, &join.path, flags, Mode::empty())
                .what(|| "opening a namespace")
                .map_err(|error| error.at(&pointer, value()))?;
            let kind = crate::sys::process::namespace_kind(file.as_fd()).unwrap_or(0);
            #[allow(clippy::cast_possible_truncation)] // CLONE_NEW* fit an int
            let wanted = join.kind as i32;
            if kind != wanted {
                return Err(Error::new("the file is not a namespace of this type")
                    .at(&pointer, value())
                    .help("give the path of a file such as /proc/PID/ns/net"));
            }
            Ok(Joined { file, flags: wanted, index: u32::try_from(join.index).unwrap_or(0) })
        })
        .collect()
}

/// Makes the process that does the steps of `setup`.
///
/// `new` are the `CLONE_NEW*` to make; `cgroup` a cgroup v2 directory to be born in, as far as the
/// kernel allows it.
pub(crate) fn spawn(
    joined: &[Joined],
    new: u64,
    cgroup: Option<BorrowedFd<'_>>,
    setup: &Setup<'_>,
    gate: Gate,
) -> Result<Child> {
    process::assert_single_threaded().map_err(|errno| {
        Error::new("a container cannot be made from a threaded process")
            .os(errno)
            .help("have the coracle command do it")
    })?;
    let (ours, theirs) = Wire::pair().what(|| "making a socket pair")?;
    // A cgroup namespace is made once inside the cgroup, by init.
    #[allow(clippy::cast_sign_loss)] // CLONE_NEWCGROUP is positive
    let new = new & !(libc::CLONE_NEWCGROUP as u64);
    if joined.is_empty() && setup.time_offsets.is_none() {
        let (cloned, born_in_cgroup) = clone(new, cgroup)?;
        return match cloned {
            Cloned::Child => {
                drop(ours);
                init::run(setup, theirs, gate, 0)
            }
            Cloned::Parent { pid, pidfd } => Ok(Child { pid, pidfd, wire: ours, born_in_cgroup }),
        };
    }
    // The one in between is born in the cgroup, and init with it.
    let (cloned, born_in_cgroup) = clone(0, cgroup)?;
    match cloned {
        Cloned::Child => {
            drop(ours);
            stage(joined, new, setup, theirs, gate)
        }
        Cloned::Parent { pidfd, .. } => {
            drop(theirs);
            staged(&pidfd, ours, born_in_cgroup, setup)
        }
    }
}

/// clone3(2), born into the cgroup if that is allowed: it is EACCES outside a delegated subtree
/// and EBUSY where the cgroup hands controllers on.
fn clone(new: u64, cgroup: Option<BorrowedFd<'_>>) -> Result<(Cloned, bool)> {
    if let Some(directory) = cgroup {
        match process::clone3(new, Some(directory)) {
            Err(Errno::ACCESS | Errno::BUSY | Errno::INVAL | Errno::OPNOTSUPP | Errno::PERM) => {}
            result => return Ok((result.map_err(|errno| clone_failed(new, errno))?, true)),
        }
    }
    Ok((process::clone3(new, None).map_err(|errno| clone_failed(new, errno))?, false))
}

/// Says what usually keeps a process from being made in new namespaces.
fn clone_failed(new: u64, errno: Errno) -> Error {
    let error = Error::new("making a process in new namespaces").os(errno);
    #[allow(clippy::cast_sign_loss)] // CLONE_NEWUSER is positive
    let user = new & libc::CLONE_NEWUSER as u64 != 0;
    match errno {
        Errno::PERM if user => error.at("/linux/namespaces", None).help(
            "this host forbids user namespaces to ordinary users; see \
             kernel.apparmor_restrict_unprivileged_userns and kernel.unprivileged_userns_clone",
        ),
        Errno::PERM => error.at("/linux/namespaces", None).help(
            "an ordinary user needs a user namespace: spec --rootless writes such a configuration",
        ),
        Errno::NOSPC | Errno::USERS => error
            .at("/linux/namespaces", None)
            .help("the limit of namespaces is reached; see /proc/sys/user"),
        Errno::INVAL => error
            .at("/linux/namespaces", None)
            .help("this kernel was built without one of these namespaces"),
        _ => error,
    }
}

/// The process in between: joins, clones init as its own sibling, says its pid and ends.
fn stage(joined: &[Joined], new: u64, setup: &Setup<'_>, wire: Wire, gate: Gate) -> ! {
    let end = |failure| -> ! {
        let _ = wire.send(&Message::Failed(failure));
        process::exit(1)
    };
    let fail = |operation, detail, errno| -> ! {
        end(Failure { step: Failure::STAGE, operation, detail, errno, words: Vec::new() })
    };
    // In the host's namespaces, and while our files in its /proc are our own.
    let done = match init::run_early(setup) {
        Ok(done) => done,
        Err(failure) => end(failure),
    };
    // Soon among processes that may be hostile, and until execve with the runtime's memory and
    // privileges: nothing of it may be traced or looked into by them (CVE-2016-9962). A new process
    // inherits it. Only an unprivileged parent has to wait until the ids are mapped, as it could
    // not open our /proc files to do so.
    if (!setup.awaits_maps || geteuid().is_root())
        && let Err(errno) = set_dumpable_behavior(DumpableBehavior::NotDumpable)
    {
        fail(Operation::Undumpable, 0, errno);
    }
    // Without privileges only the user namespace can be joined first, which then allows the rest;
    // with them, what the host owns has to be joined before it. So whatever is refused the first
    // time is tried again at the end.
    let user_last = |join: &&Joined| join.flags == libc::CLONE_NEWUSER;
    let mut refused = Vec::new();
    for join in joined.iter().filter(|join| !user_last(join)) {
        match process::setns(join.file.as_fd(), join.flags) {
            Err(Errno::PERM) => refused.push(join),
            Err(errno) => fail(Operation::JoinNamespace, join.index, errno),
            Ok(()) => {}
        }
    }
    for join in joined.iter().filter(user_last).chain(refused) {
        if let Err(errno) = process::setns(join.file.as_fd(), join.flags) {
            fail(Operation::JoinNamespace, join.index, errno);
        }
    }
    // Once a process is in a time namespace its clocks cannot be set any more, and the one that
    // makes the namespace is not in it yet, but what it clones is. It takes the privilege over the
    // user namespace that the other belongs to.
    let mut new = new;
    if let Some(offsets) = setup.time_offsets {
        let made = libc::CLONE_NEWTIME | libc::CLONE_NEWUSER;
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // CLONE_NEW* fit an int
        let now = new as i32 & made;
        let set =
            process::unshare(now).and_then(|()| procfs::write(None, "timens_offsets", offsets));
        if let Err(errno) = set {
            fail(Operation::SetClocks, 0, errno);
        }
        #[allow(clippy::cast_sign_loss)] // CLONE_NEW* are positive
        {
            new &= !(made as u64);
        }
    }
    // What is cloned next may be seen by the container's processes at once. `joined` is closed by
    // this, and never dropped.
    if let Err(errno) = init::close_others(setup.preserve_fds, &wire, Some(&gate)) {
        fail(Operation::CloseFiles, 0, errno);
    }
    if let Err(errno) = shed_capabilities(setup.steps) {
        fail(Operation::SetCapabilities, 0, errno);
    }
    #[allow(clippy::cast_sign_loss)] // CLONE_PARENT is positive
    match process::clone3(new | libc::CLONE_PARENT as u64, None) {
        Ok(Cloned::Child) => init::run(setup, wire, gate, done),
        Ok(Cloned::Parent { pid, .. }) => {
            let sent = wire.send(&Message::Staged(pid));
            process::exit(i32::from(sent.is_err()))
        }
        Err(errno) => fail(Operation::Clone, 0, errno),
    }
}

/// Gives up what neither the program nor the steps to it need, where there is no root to be made:
/// dumpable or not, a process of the container with CAP_SYS_PTRACE may trace the one that is to
/// become the program, and would take these capabilities over.
fn shed_capabilities(steps: &[Step]) -> Result<(), Errno> {
    let makes_root = steps.iter().any(|step| matches!(step.action, Action::Root { .. }));
    let user = steps.iter().find_map(|step| match &step.action {
        Action::User(identity) => Some(identity.capabilities),
        _ => None,
    });
    let (false, Some(sets)) = (makes_root, user) else { return Ok(()) };
    // A filter that is installed while privileges are held takes this one (seccomp(2)).
    let filter = steps
        .iter()
        .take_while(|step| !matches!(step.action, Action::User(_)))
        .any(|step| matches!(step.action, Action::Seccomp(_)));
    let filter = if filter { CapabilitySet::SYS_ADMIN } else { CapabilitySet::empty() };
    let program = sets.bounding | sets.permitted | sets.effective | sets.inheritable | sets.ambient;
    let steps = CapabilitySet::SETPCAP
        | CapabilitySet::SETUID
        | CapabilitySet::SETGID
        | CapabilitySet::CHOWN;
    let keep = CapabilitySet::from_bits_retain(program) | steps | filter;
    let held = capabilities(None)?;
    let kept = CapabilitySets {
        effective: held.effective & keep,
        permitted: held.permitted & keep,
        inheritable: held.inheritable & keep,
    };
    set_capabilities(None, kept)
}

/// Waits for the process in between, and takes over the child that it made.
fn staged(stage: &OwnedFd, wire: Wire, born_in_cgroup: bool, setup: &Setup<'_>) -> Result<Child> {
    let failed = |what: &'static str| Error::new(what);
    // The first message is the stage's or a failure of it; init says nothing before we speak.
    let message = wire.receive().what(|| "talking to the new process")?;
    let _ = waitid(WaitId::PidFd(stage.as_fd()), WaitIdOptions::EXITED);
    match message {
        Some(Message::Staged(pid)) => {
            let raw = i32::try_from(pid).ok().and_then(Pid::from_raw);
            let Some(raw) = raw else { return Err(failed("the new process has no id")) };
            let pidfd = pidfd_open(raw, PidfdFlags::empty()).what(|| "opening the new process")?;
            Ok(Child { pid, pidfd, wire, born_in_cgroup })
        }
        Some(Message::Failed(failure)) => {
            Err(explain_steps(&failure, setup.steps, setup.program, &Spec::default()))
        }
        _ => Err(failed("the new process ended before it had joined its namespaces")),
    }
}

impl Child {
    /// Writes the id maps of its new user namespace.
    pub(crate) fn map_ids(&self, maps: &crate::plan::IdMaps) -> Result<()> {
        id_maps::write(self.pid, maps)
    }

    /// Does for it a step that it may not do itself.
    pub(crate) fn do_step(&self, number: u32, steps: &[Step]) -> Result<(), Failure> {
        let pid = i32::try_from(self.pid).ok().and_then(Pid::from_raw);
        let done = match (steps.get(number as usize), pid) {
            (Some(step), Some(pid)) => share::apply(&step.action, Some(pid)),
            _ => Err(Errno::INVAL),
        };
        done.map_err(|errno| Failure {
            step: number,
            operation: Operation::Itself,
            detail: 0,
            errno,
            words: Vec::new(),
        })
    }

    /// Tells it something. That it is gone already shows when it is listened to.
    pub(crate) fn tell(&self, message: &Message) -> Result<()> {
        match self.wire.send(message) {
            Ok(()) | Err(Errno::PIPE | Errno::CONNRESET) => Ok(()),
            Err(errno) => Err(Error::new("talking to the container's first process").os(errno)),
        }
    }

    /// What it says next; `None` once it has become the program, or is gone.
    pub(crate) fn hear(&self) -> Result<Option<Message>> {
        self.wire.receive().what(|| "listening to the container's first process")
    }

    /// Ends it and takes its status, so that nothing is left of it.
    pub(crate) fn destroy(&self) {
        let _ = crate::sys::signal::send(self.pidfd.as_fd(), libc::SIGKILL);
        let _ = waitid(WaitId::PidFd(self.pidfd.as_fd()), WaitIdOptions::EXITED);
    }
}
