//! `start`.

use std::ffi::OsStr;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with};

use super::create::socket_address;
use super::kill::first_process;
use super::listener;
use super::notify::Notify;
use super::state::{Status, hook_state, status};
use crate::config::Spec;
use crate::error::{Context, Error, Kind, Result};
use crate::launch::{self, hooks};
use crate::plan::{self, Activation, Plan};
use crate::store::{self, Entry, Record, Store};
use crate::wire::{Message, Operation, Wire};

/// Starts a created container: returns once its program runs.
///
/// A container one of whose hooks fails is removed, and followed by its poststop hooks (runtime.md,
/// "Lifecycle"). What goes wrong with those goes to `warn`.
pub fn start(store: &Store, id: &str, warn: impl FnMut(&str)) -> Result<()> {
    start_notifying(store, id, None, warn)
}

/// Starts a created container, and tells a service manager when it is ready: `manager` is its
/// socket, a path or `@` and an abstract name (sd_notify(3)). Returns once the container has said
/// that it is ready, or has ended.
pub fn start_notifying(
    store: &Store,
    id: &str,
    manager: Option<&OsStr>,
    mut warn: impl FnMut(&str),
) -> Result<()> {
    let entry = store.open(id)?;
    entry.lock()?;
    let record = entry.read()?;
    let refused = |words: &'static str| Err(Error::new(words).kind(Kind::State));
    match status(&entry, &record) {
        // This command's own lock makes it look as if somebody were at it.
        Status::Created | Status::Creating => {}
        Status::Running => return refused("cannot start an already running container"),
        Status::Paused => return refused("cannot start a container in the paused state"),
        Status::Stopped => return refused("cannot start a container that has stopped"),
    }
    let manager = manager.filter(|_| record.options.notify);
    let notify = manager.and_then(|manager| Notify::open(&entry, manager, &mut warn));
    let wire = Wire::from_socket(reach(&entry)?, entry.last_words(false));
    wire.send(&Message::Start).what(|| "telling the container to start")?;
    loop {
        match wire.receive().what(|| "listening to the container")? {
            // execve has closed it.
            None => break,
            Some(Message::Failed(failure)) => {
                entry.mark_started();
                let (spec, plan) = plan_again(&entry, &record)?;
                if failure.operation == Operation::Hook {
                    super::delete::destroy(&entry, &record, &mut warn)?;
                }
                return Err(launch::explain(&failure, &plan, &spec));
            }
            Some(Message::Listener(descriptor)) => {
                let (spec, _) = plan_again(&entry, &record)?;
                let pid = record.init_process_pid;
                listener::deliver(&spec, &record, "created", pid, &descriptor).inspect_err(
                    // Its calls would wait for ever for somebody to decide.
                    |_| super::delete::end(&record),
                )?;
            }
            Some(_) => {}
        }
    }
    entry.mark_started();
    entry.unlock();
    poststart(&entry, &record).or_else(|error| {
        entry.lock()?;
        super::delete::destroy(&entry, &record, &mut warn)?;
        Err(error)
    })?;
    if let (Some(notify), Some(first)) = (notify, first_process(&record)?) {
        notify.await_ready(&first, record.init_process_pid, &mut warn);
    }
    Ok(())
}

/// Connects to the waiting init.
fn reach(entry: &Entry) -> Result<std::os::fd::OwnedFd> {
    let what = || "reaching the container's first process";
    let socket =
        socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
            .what(what)?;
    match connect(&socket, &socket_address(entry)?) {
        Ok(()) => Ok(socket),
        Err(Errno::CONNREFUSED | Errno::NOENT) => {
            Err(Error::new("cannot start an already running container").kind(Kind::State))
        }
        Err(errno) => Err(Error::new(what()).os(errno)),
    }
}

/// The plan of an existing container, made again: only an error has use for it.
pub(super) fn plan_again(entry: &Entry, record: &Record) -> Result<(Spec, Plan)> {
    let spec = Spec::parse(&entry.read_config()?)?;
    let notify = if record.options.notify { Some(store::NOTIFY.into()) } else { None };
    let options = plan::Options {
        id: record.id.clone(),
        bundle: record.bundle().into(),
        no_pivot: record.options.no_pivot,
        no_new_keyring: record.options.no_new_keyring,
        preserve_fds: record.options.preserve_fds,
        activation: Activation { notify, listen_fds: record.options.listen_fds },
    };
    // The steps are the same, whoever made its cgroup.
    let plan = plan::build(&spec, &options, &super::look_at_host()?)?;
    Ok((spec, plan))
}

/// Runs the poststart hooks. A container one of which fails is to be removed (runtime.md, step 9).
pub(super) fn poststart(entry: &Entry, record: &Record) -> Result<()> {
    let bytes = entry.read_config()?;
    // Most have none, and this saves reading it all.
    if !super::mentions(&bytes, "poststart") {
        return Ok(());
    }
    let spec = Spec::parse(&bytes)?;
    let list = spec.hooks.as_ref().map_or(&[][..], |hooks| &hooks.poststart);
    let state = hook_state(record, "running", record.init_process_pid).to_json();
    let bundle = record.bundle().as_ref();
    hooks::run(list, "poststart", &state, bundle, &spec.annotations).map_err(|(_, error)| error)
}
