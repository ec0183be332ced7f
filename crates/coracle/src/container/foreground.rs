//! Being there for a container's process: its signals, its terminal, its end.

use std::os::fd::{AsFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{Pid, WaitOptions, WaitStatus, getpid, set_child_subreaper, wait};

use super::create::{Created, create};
use super::notify::Notify;
use super::relay::Relay;
use super::request::Request;
use super::{delete, listener, start};
use crate::error::{Context, Error, Result};
use crate::launch::{self, Child};
use crate::store::Store;
use crate::sys::signal;
use crate::wire::Message;

/// A process that somebody is there for. Dropped before its program was started, it is destroyed.
#[derive(Debug)]
pub struct Attached {
    child: Child,
    terminal: Option<OwnedFd>,
    started: bool,
}

impl Attached {
    pub(super) fn new(child: Child) -> Self {
        Self { child, terminal: None, started: false }
    }

    pub(super) fn child(&self) -> &Child {
        &self.child
    }

    /// The program runs, on this terminal.
    pub(super) fn started(&mut self, terminal: Option<OwnedFd>) {
        self.started = true;
        self.terminal = terminal;
    }

    /// The process's id on the host.
    pub fn pid(&self) -> u32 {
        self.child.pid
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        if !self.started {
            self.child.destroy();
        }
    }
}

/// Takes over this process's signals, before anything is made whose signals could be missed, and
/// becomes the parent of orphans (prctl(2), `PR_SET_CHILD_SUBREAPER`) unless told not to.
pub fn prepare_signals(subreaper: bool) -> Result<OwnedFd> {
    if subreaper {
        set_child_subreaper(Some(getpid())).what(|| "becoming a subreaper")?;
    }
    signal::take_all().what(|| "taking over signals")
}

/// `run`: makes and starts a container. Detached, it returns 0 once the program runs; else it is
/// there for the container until that ends, removes it unless `keep`, and returns its exit code,
/// or 128 and the signal that ended it.
pub fn run(
    store: &Store,
    request: &Request,
    keep: bool,
    signals: Option<&OwnedFd>,
    warn: &mut impl FnMut(&str),
) -> Result<i32> {
    let created = create(store, request, warn)?;
    attend(created, request, keep, signals, warn)
}

/// What `run` and `restore` do once the first process is there.
pub(super) fn attend(
    mut created: Created,
    request: &Request,
    keep: bool,
    signals: Option<&OwnedFd>,
    warn: &mut impl FnMut(&str),
) -> Result<i32> {
    let foreground = signals.filter(|_| !request.detached);
    let notify = created.notify.take();
    let created = &created;
    let result = begin(created, foreground.is_some()).and_then(|()| match (foreground, notify) {
        (Some(signals), notify) => finish(created, notify, signals),
        (None, None) => Ok(0),
        (None, Some(notify)) => {
            notify.await_ready(&created.child.pidfd, created.child.pid, warn);
            Ok(0)
        }
    });
    if result.is_err() {
        // A program that never ran leaves nothing behind, kept or not.
        created.child.destroy();
        request.handover.retract();
    }
    if result.is_err() || (foreground.is_some() && !keep) {
        created.entry.lock()?;
        delete::destroy(&created.entry, &created.record, warn)?;
    }
    result
}

/// Is there for the container until it ends. If that is because its program could not be started,
/// init has said so before.
fn finish(created: &Created, notify: Option<Notify>, signals: &OwnedFd) -> Result<i32> {
    let code = serve(&created.child, created.terminal.as_ref(), notify, signals)?;
    match created.child.hear()? {
        Some(Message::Failed(failure)) => {
            Err(launch::explain(&failure, &created.plan, &created.spec))
        }
        _ => Ok(code),
    }
}

/// Waits until the program runs, and runs the poststart hooks. There is no need to wait where the
/// program's end is waited for, which tells of its beginning.
fn begin(created: &Created, foreground: bool) -> Result<()> {
    let hooks = created.spec.hooks.as_ref().is_some_and(|hooks| !hooks.poststart.is_empty());
    if foreground && !hooks && !created.plan.has_listener() {
        return Ok(());
    }
    loop {
        match created.child.hear()? {
            None => break,
            Some(Message::Listener(descriptor)) => {
                let (spec, record) = (&created.spec, &created.record);
                listener::deliver(spec, record, "created", created.child.pid, &descriptor)?;
            }
            Some(Message::Failed(failure)) => {
                return Err(launch::explain(&failure, &created.plan, &created.spec));
            }
            Some(_) => return Err(Error::new("the container said something that makes no sense")),
        }
    }
    if hooks {
        start::poststart(&created.entry, &created.record)?;
    }
    Ok(())
}

/// Is there for a process until it ends; its exit code, or 128 and the signal that ended it.
pub fn attach(attached: &Attached, signals: &OwnedFd) -> Result<i32> {
    serve(&attached.child, attached.terminal.as_ref(), None, signals)
}

fn serve(
    child: &Child,
    terminal: Option<&OwnedFd>,
    mut notify: Option<Notify>,
    signals: &OwnedFd,
) -> Result<i32> {
    let mut relay = terminal.map(Relay::new).transpose()?;
    let code = loop {
        // Before its end is looked for: what it said last counts. This process is the one to watch.
        if let Some(notify) = &mut notify {
            // Whoever is not there any more needs not be told.
            let _ = notify.pass_on(std::process::id());
        }
        // Looked at first and after every event, so that no exit is missed however quick.
        if let Some(code) = reap(child)? {
            break code;
        }
        let mut files =
            vec![PollFd::new(&child.pidfd, PollFlags::IN), PollFd::new(signals, PollFlags::IN)];
        let watched = relay.as_ref().map(|relay| relay.watch(&mut files));
        files.extend(notify.as_ref().and_then(Notify::watch));
        match poll(&mut files, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(Error::new("waiting for the container").os(errno)),
        }
        let events: Vec<PollFlags> = files.iter().map(PollFd::revents).collect();
        drop(files);
        if let (Some(relay), Some(watched)) = (&mut relay, watched) {
            relay.serve(watched, &events);
        }
        while let Some(number) = signal::next(signals.as_fd()).what(|| "reading a signal")? {
            forward(number, child, relay.as_ref());
        }
    };
    if let Some(relay) = &mut relay {
        relay.drain();
    }
    Ok(code)
}

/// Takes the status of every child that has ended; the exit code if the container's is among them.
fn reap(child: &Child) -> Result<Option<i32>> {
    let own = i32::try_from(child.pid).ok().and_then(Pid::from_raw);
    loop {
        match wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) if Some(pid) == own => {
                if let Some(code) = exit_code(status) {
                    return Ok(Some(code));
                }
            }
            Ok(Some(_)) | Err(Errno::INTR) => {}
            Ok(None) => return Ok(None),
            Err(errno) => return Err(Error::new("waiting for the container").os(errno)),
        }
    }
}

fn exit_code(status: WaitStatus) -> Option<i32> {
    status.exit_status().or_else(|| status.terminating_signal().map(|signal| 128 + signal))
}

/// Passes a signal on, but for those that are about this process alone.
fn forward(number: i32, child: &Child, relay: Option<&Relay<'_>>) {
    match number {
        libc::SIGWINCH if relay.is_some() => {
            if let Some(relay) = relay {
                relay.resize();
            }
        }
        libc::SIGCHLD | libc::SIGURG | libc::SIGPIPE | libc::SIGTTIN | libc::SIGTTOU => {}
        _ => {
            // It may have ended just now, which shows at once.
            let _ = signal::send(child.pidfd.as_fd(), number);
        }
    }
}
