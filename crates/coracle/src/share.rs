//! What a process gets of the machine beyond its cgroup: limits, scheduling, priorities.
//!
//! More than it has takes a privilege over the host. A process in a user namespace does not have
//! it, nor does one that gave its own up before it entered a container; then its parent, which may
//! have it, does for it what it is not allowed to do for itself.

use rustix::io::Errno;
use rustix::process::{Pid, Resource, Rlimit};

use crate::plan::Action;
use crate::sys::schedule;

/// Does one of these steps for a process, `None` being this one. Any other action is EINVAL.
pub(crate) fn apply(action: &Action, of: Option<Pid>) -> Result<(), Errno> {
    let pid = of.map_or(0, |pid| pid.as_raw_nonzero().get());
    match action {
        Action::Rlimit { resource, soft, hard } => limit(*resource, *soft, *hard, of),
        Action::Scheduling(scheduling) => schedule::set_scheduling(pid, scheduling),
        // It leads a session, and so a process group of its own number.
        Action::IoPriority(priority) => schedule::set_io_priority(pid, *priority),
        _ => Err(Errno::INVAL),
    }
}

/// prlimit(2).
fn limit(resource: Resource, soft: u64, hard: u64, of: Option<Pid>) -> Result<(), Errno> {
    // RLIM_INFINITY, all ones, is how both config.json and the kernel say "no limit".
    let limit = |value| (value != u64::MAX).then_some(value);
    let new = Rlimit { current: limit(soft), maximum: limit(hard) };
    match of {
        None => rustix::process::setrlimit(resource, new),
        Some(_) => rustix::process::prlimit(of, resource, new).map(drop),
    }
}
