//! `kill`.

use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open};

use crate::cgroup::Cgroup;
use crate::error::{Context, Error, Kind, Result};
use crate::store::{self, Record, Store};
use crate::sys::signal;

/// Sends a signal, by number, to a container's first process, or with `all` to all its processes.
///
/// # Errors
/// [`Kind::State`] with the words `container not running` if it has ended; with `all` that is none.
pub fn kill(store: &Store, id: &str, number: i32, all: bool) -> Result<()> {
    let entry = store.open(id)?;
    let record = entry.read()?;
    // Without a pid namespace the others do not end with the first.
    if all || (number == libc::SIGKILL && !record.options.own_pids) {
        let cgroup = Cgroup::from_paths(&record.cgroup_paths);
        if !cgroup.is_absent() {
            return kill_all(&cgroup, number);
        }
        if all && !record.options.own_pids {
            return Err(Error::new("the processes of the container cannot be told from others")
                .because("it has neither a cgroup nor a pid namespace of its own")
                .kind(Kind::State)
                .help("leave --all out for its first process alone"));
        }
    }
    let Some(pidfd) = first_process(&record)? else {
        if all {
            return Ok(());
        }
        return Err(Error::new("container not running")
            .because("no such process")
            .kind(Kind::State)
            .help(format!("its first process has ended; remove it: delete {id}")));
    };
    signal::send(pidfd.as_fd(), number).what(|| format!("sending signal {number}"))?;
    if number == libc::SIGKILL {
        // A frozen process dies when it is thawed.
        let cgroup = Cgroup::from_paths(&record.cgroup_paths);
        if cgroup.frozen().unwrap_or(false) {
            cgroup.thaw()?;
        }
    }
    Ok(())
}

fn kill_all(cgroup: &Cgroup, number: i32) -> Result<()> {
    if number == libc::SIGKILL {
        return cgroup.kill_all(Signal::KILL);
    }
    // Held still, none makes another one that the signal would miss. A user without a cgroup to freeze
    // has to do without that.
    let held = number != 0 && !cgroup.frozen()? && cgroup.freeze().is_ok();
    let signalled = signal_each(cgroup, number);
    if held {
        // On version 2 they may have died of it by now, and a unit goes with its last process.
        match cgroup.thaw() {
            Err(error) if !matches!(error.errno(), Some(Errno::NOENT | Errno::NODEV)) => {
                return Err(error);
            }
            _ => {}
        }
    }
    signalled
}

fn signal_each(cgroup: &Cgroup, number: i32) -> Result<()> {
    for pid in cgroup.procs()? {
        match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(pidfd) => match signal::send(pidfd.as_fd(), number) {
                Ok(()) | Err(Errno::SRCH) => {}
                Err(errno) => return Err(Error::new(format!("sending signal {number}")).os(errno)),
            },
            Err(Errno::SRCH) => {}
            Err(errno) => return Err(Error::new("opening a process").os(errno)),
        }
    }
    Ok(())
}

/// A descriptor for a container's first process; `None` if it has ended. The descriptor is opened
/// before the start time is compared, so that it cannot be another process of the same number.
pub(super) fn first_process(record: &Record) -> Result<Option<OwnedFd>> {
    let Some(pid) = i32::try_from(record.init_process_pid).ok().and_then(Pid::from_raw) else {
        return Ok(None);
    };
    match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(pidfd) => {
            let same =
                store::process_start(record.init_process_pid) == Some(record.init_process_start);
            Ok(same.then_some(pidfd))
        }
        Err(Errno::SRCH | Errno::INVAL) => Ok(None),
        Err(errno) => Err(Error::new("opening the container's first process").os(errno)),
    }
}
