//! `delete`.

use std::os::fd::{AsFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::Signal;

use super::kill::first_process;
use super::place::cgroup_of;
use super::state::{Status, hook_state, status};
use crate::cgroup::Cgroup;
use crate::config::Spec;
use crate::error::{Error, Kind, Result};
use crate::launch::hooks;
use crate::resctrl;
use crate::store::{Entry, Record, Store};
use crate::sys::signal;

/// How long a killed process may take to end, in seconds.
const PATIENCE: i64 = 10;

/// Removes a container: one that has stopped or was not started, with `force` any. Warnings, such
/// as of a poststop hook that failed, go to `warn`.
pub fn delete(store: &Store, id: &str, force: bool, mut warn: impl FnMut(&str)) -> Result<()> {
    let entry = match store.open(id) {
        // What is to be removed is not there: with force that is as wanted.
        Err(error) if force && error.get_kind() == Kind::NoContainer => return Ok(()),
        result => result?,
    };
    let record = match entry.read() {
        // Nothing says what else there is: a start that was killed in its first moment.
        Err(_) if force => return entry.remove(),
        result => result?,
    };
    match status(&entry, &record) {
        Status::Stopped | Status::Created => {}
        status if force => {
            if status == Status::Creating {
                end(&record);
            }
        }
        status => {
            return Err(Error::new(format!(
                "cannot delete container {id} that is not stopped: {status}"
            ))
            .kind(Kind::State)
            .help(format!("stop it first (kill {id} KILL), or add --force")));
        }
    }
    entry.lock()?;
    destroy(&entry, &record, &mut warn)
}

/// Ends all processes of a container and removes what was made for it.
pub(super) fn destroy(entry: &Entry, record: &Record, warn: &mut impl FnMut(&str)) -> Result<()> {
    end(record);
    let cgroup = cgroup_of(record);
    if !cgroup.is_absent() {
        // Without a pid namespace of its own, some may have outlived the first process; with one, only
        // what somebody else has put there is left to hinder.
        let kill = || cgroup.kill_all(Signal::KILL);
        if !record.options.own_pids && !cgroup.procs().unwrap_or_default().is_empty() {
            kill()?;
        }
        cgroup.remove().or_else(|_| kill().and_then(|()| cgroup.remove()))?;
    }
    if let Some((group, monitoring)) = record.resctrl() {
        resctrl::remove(group, record.options.own_resctrl, monitoring)?;
    }
    let config = entry.read_config().unwrap_or_default();
    entry.remove()?;
    poststop(&config, record, warn);
    Ok(())
}

/// Kills a container's first process and waits until it is gone.
pub(super) fn end(record: &Record) {
    if let Ok(Some(pidfd)) = first_process(record) {
        let _ = signal::send(pidfd.as_fd(), libc::SIGKILL);
        let cgroup = Cgroup::from_paths(&record.cgroup_paths);
        if cgroup.frozen().unwrap_or(false) {
            let _ = cgroup.thaw();
        }
        await_end(&pidfd);
    }
}

/// Waits for a process to end, but not for ever.
fn await_end(pidfd: &OwnedFd) {
    let limit = Timespec { tv_sec: PATIENCE, tv_nsec: 0 };
    let mut files = [PollFd::new(pidfd, PollFlags::IN)];
    while poll(&mut files, Some(&limit)) == Err(rustix::io::Errno::INTR) {}
}

/// Runs the poststop hooks. One that fails is warned of, and the others run (runtime.md, step 13).
pub(super) fn poststop(config: &[u8], record: &Record, warn: &mut impl FnMut(&str)) {
    // Most have none, and this saves reading it all.
    if !super::mentions(config, "poststop") {
        return;
    }
    let Ok(spec) = Spec::parse(config) else { return };
    let list = spec.hooks.as_ref().map_or(&[][..], |hooks| &hooks.poststop);
    let state = hook_state(record, "stopped", 0).to_json();
    for hook in list {
        let one = std::slice::from_ref(hook);
        let bundle = record.bundle().as_ref();
        let ran = hooks::run(one, "poststop", &state, bundle, &spec.annotations);
        if let Err((_, error)) = ran {
            warn(&error.to_string());
        }
    }
}
