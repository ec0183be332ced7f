//! The parent's half: makes the first process in its namespaces, maps its ids and puts it into its
//! cgroup, while it already works on its steps.
//!
//! The clone is one clone3(2) wherever the kernel allows it: the parent is single-threaded and the
//! child a copy-on-write copy, so nothing is serialised and nothing starts up twice. Where it does
//! not ([`recipe`](crate::plan::recipe)), a short-lived process between the two goes the [`Way`]
//! and clones the first process as our child (`CLONE_PARENT`), so that our own namespaces stay
//! what they are.

mod explain;
pub(crate) mod hooks;
mod id_maps;
pub(crate) mod loopback;
pub(crate) mod net_devices;
mod netlink;
mod sources;
mod way;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, WaitId, WaitIdOptions, geteuid, pidfd_open, waitid};
use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities};

pub(crate) use explain::{explain, explain_steps};
pub(crate) use sources::{Sources, user_namespace};
pub(crate) use way::Way;

use crate::config::Spec;
use crate::error::{Context, Error, Result};
use crate::init::{self, Gate, Outside, Setup};
use crate::plan::{Action, Step};
use crate::sys::process::{self, Cloned};
use crate::wire::{Failure, Message, Operation, Wire};
use crate::{procfs, share};

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
    /// What it said before the process in between had told its id: first in, first out.
    early: RefCell<VecDeque<Message>>,
}

/// Makes the process that does the steps of `setup`, in its namespaces.
///
/// `cgroup` is a cgroup v2 directory to be born in, as far as the kernel allows it.
pub(crate) fn spawn(
    way: &Way,
    cgroup: Option<BorrowedFd<'_>>,
    setup: &Setup<'_>,
    gate: Gate,
) -> Result<Child> {
    let _score = setup.oom_score_adj.map(OomScore::set).transpose()?;
    process::assert_single_threaded().map_err(|errno| {
        Error::new("a container cannot be made from a threaded process")
            .os(errno)
            .help("have the coracle command do it")
    })?;
    let (mut ours, mut theirs) = Wire::pair().what(|| "making a socket pair")?;
    if let Some(last_words) = setup.last_words {
        ours.leave(last_words);
        theirs.leave(last_words);
    }
    if !way.staged() {
        let outside = Outside::make(&way.outside);
        let (cloned, born_in_cgroup) = clone(way.clone, cgroup)?;
        return match cloned {
            Cloned::Child => {
                drop(ours);
                init::run(setup, theirs, gate, outside, 0)
            }
            Cloned::Parent { pid, pidfd } => {
                Ok(Child { pid, pidfd, wire: ours, born_in_cgroup, early: RefCell::default() })
            }
        };
    }
    // The one in between is born in the cgroup, and init with it.
    let (cloned, born_in_cgroup) = clone(0, cgroup)?;
    match cloned {
        Cloned::Child => {
            drop(ours);
            stage(way, setup, theirs, gate)
        }
        Cloned::Parent { pidfd, .. } => {
            drop(theirs);
            staged(&pidfd, ours, born_in_cgroup, setup)
        }
    }
}

/// This process's own badness to the out-of-memory killer (proc(5), oom_score_adj), changed while it
/// clones: a process in a user namespace, or one that cannot be traced, may not set it any more.
struct OomScore {
    before: String,
}

impl OomScore {
    const FILE: &str = "/proc/self/oom_score_adj";

    fn set(score: i64) -> Result<Self> {
        let before = std::fs::read_to_string(Self::FILE).what(|| "reading oom_score_adj")?;
        procfs::write(None, "oom_score_adj", &score.to_string())
            .what(|| "setting oom_score_adj")
            .map_err(|error| {
            error.at("/process/oomScoreAdj", Some(score.to_string())).help(
                "lowering it takes CAP_SYS_RESOURCE on the host; ask for more, or leave it out",
            )
        })?;
        Ok(Self { before })
    }
}

impl Drop for OomScore {
    fn drop(&mut self) {
        // In the child it is not: that goes on inside init::run, which does not come back.
        let _ = std::fs::write(Self::FILE, self.before.trim_end());
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
        errno => clone_help(error, errno),
    }
}

/// What can be done where namespaces cannot be made.
fn clone_help(error: Error, errno: Errno) -> Error {
    let help = match errno {
        Errno::PERM => {
            "an ordinary user needs a user namespace: spec --rootless writes such a configuration"
        }
        Errno::NOSPC | Errno::USERS => "the limit of namespaces is reached; see /proc/sys/user",
        Errno::INVAL => "this kernel was built without one of these namespaces",
        _ => return error,
    };
    error.at("/linux/namespaces", None).help(help)
}

/// The process in between: goes the way, clones init as its own sibling, says its pid and ends.
fn stage(way: &Way, setup: &Setup<'_>, wire: Wire, gate: Gate) -> ! {
    // In the host's namespaces, whose /proc it takes.
    let done = match init::run_early(setup) {
        Ok(done) => done,
        Err(failure) => give_up(&wire, failure),
    };
    // Soon among processes that may be hostile, and until execve with the runtime's memory and
    // privileges: nothing of it may be traced or looked into by them (CVE-2016-9962). A new process
    // inherits it. Only an unprivileged parent has to wait until the ids are mapped, as it could
    // not open our /proc files to do so.
    let hide = !setup.awaits_maps || geteuid().is_root();
    let outside = match way.enter(hide) {
        Ok(outside) => outside,
        Err((operation, detail, errno)) => {
            give_up(&wire, Failure::of_stage(operation, detail, errno))
        }
    };
    // What is cloned next may be seen by the container's processes at once. The namespaces of `way`
    // are closed by this, and never dropped.
    if let Err(errno) = init::close_others(setup.preserve_fds, &wire, Some(&gate), &outside) {
        give_up(&wire, Failure::of_stage(Operation::CloseFiles, 0, errno));
    }
    if let Err(errno) = shed_capabilities(setup.steps) {
        give_up(&wire, Failure::of_stage(Operation::SetCapabilities, 0, errno));
    }
    #[allow(clippy::cast_sign_loss)] // CLONE_PARENT is positive
    match process::clone3(way.clone | libc::CLONE_PARENT as u64, None) {
        Ok(Cloned::Child) => init::run(setup, wire, gate, outside, done),
        Ok(Cloned::Parent { pid, .. }) => {
            let sent = wire.send(&Message::Staged(pid));
            process::exit(i32::from(sent.is_err()))
        }
        Err(errno) => give_up(&wire, Failure::of_stage(Operation::Clone, 0, errno)),
    }
}

/// Says what failed in the process in between, and ends it.
fn give_up(wire: &Wire, failure: Failure) -> ! {
    let _ = wire.send(&Message::Failed(failure));
    process::exit(1)
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
    let (early, message) = until_staged(&wire).what(|| "talking to the new process")?;
    let _ = waitid(WaitId::PidFd(stage.as_fd()), WaitIdOptions::EXITED);
    match message {
        Some(Message::Staged(pid)) => {
            let raw = i32::try_from(pid).ok().and_then(Pid::from_raw);
            let Some(raw) = raw else { return Err(failed("the new process has no id")) };
            let pidfd = pidfd_open(raw, PidfdFlags::empty()).what(|| "opening the new process")?;
            Ok(Child { pid, pidfd, wire, born_in_cgroup, early: RefCell::new(early) })
        }
        Some(Message::Failed(failure)) => {
            Err(explain_steps(&failure, setup.steps, setup.program, &Spec::default()))
        }
        _ => Err(failed("the new process ended before it had joined its namespaces")),
    }
}

/// Listens until the process in between has told the id of init or failed, and keeps what init says
/// before: it runs from its clone on, and may have a terminal to hand over by then.
fn until_staged(wire: &Wire) -> Result<(VecDeque<Message>, Option<Message>), Errno> {
    let mut early = VecDeque::new();
    loop {
        match wire.receive()? {
            last @ (None | Some(Message::Staged(_) | Message::Failed(_))) => {
                return Ok((early, last));
            }
            Some(message) => early.push_back(message),
        }
    }
}

impl Child {
    /// A child of ours that nobody here has made: it says nothing.
    pub(crate) fn silent(pid: u32) -> Result<Self> {
        let what = || "opening the restored process";
        let raw = i32::try_from(pid).ok().and_then(Pid::from_raw);
        let Some(raw) = raw else { return Err(Error::new(what()).os(Errno::SRCH)) };
        let pidfd = pidfd_open(raw, PidfdFlags::empty()).what(what)?;
        let (wire, _) = Wire::pair().what(what)?;
        Ok(Self { pid, pidfd, wire, born_in_cgroup: false, early: RefCell::default() })
    }

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
        if let Some(message) = self.early.borrow_mut().pop_front() {
            return Ok(Some(message));
        }
        self.wire.receive().what(|| "listening to the container's first process")
    }

    /// Ends it and takes its status, so that nothing is left of it.
    pub(crate) fn destroy(&self) {
        let _ = crate::sys::signal::send(self.pidfd.as_fd(), libc::SIGKILL);
        let _ = waitid(WaitId::PidFd(self.pidfd.as_fd()), WaitIdOptions::EXITED);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn init_may_speak_before_the_process_in_between() {
        let (ours, theirs) = Wire::pair().unwrap();
        for message in [Message::RuntimeHooks, Message::Delegate(3), Message::Staged(7)] {
            theirs.send(&message).unwrap();
        }
        theirs.send(&Message::Ready).unwrap();
        let (early, last) = until_staged(&ours).unwrap();
        assert!(matches!(last, Some(Message::Staged(7))));
        let early: Vec<Message> = early.into();
        assert!(matches!(early[..], [Message::RuntimeHooks, Message::Delegate(3)]));
        assert!(matches!(ours.receive(), Ok(Some(Message::Ready))));
    }
}
