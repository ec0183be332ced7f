//! Mounts of a container that runs: crun's `mounts add` and `mounts remove`.

use std::os::fd::OwnedFd;
use std::path::Path;

use super::kill::first_process;
use super::pause::not;
use super::state::{Status, status};
use crate::config::{self, Mount, NamespaceKind, Spec};
use crate::error::{Error, Result};
use crate::init::{Gate, Setup};
use crate::launch::{self, Child, Sources, Way};
use crate::plan::{self, Host, Program, Step, namespaces};
use crate::store::{Entry, Record, Store};
use crate::wire::Message;

/// Mounts these in a container that has not ended: all of them, or none.
///
/// What a destination is, the container decides: it is looked for inside its root only.
///
/// # Errors
/// [`Kind::State`](crate::Kind::State) with the words `container not running` if it has ended.
pub fn add_mounts(store: &Store, id: &str, mounts: &[Mount]) -> Result<()> {
    let running = Running::open(store, id)?;
    let spec = Spec { mounts: mounts.to_vec(), ..running.spec.clone() };
    config::check(&spec)?;
    let bundle = Path::new(running.record.bundle());
    let steps = plan::add(mounts, &spec, bundle, &running.host)?;
    running.perform(&steps, &spec)?;
    running.note(|record| record.config.mounts.extend(mounts.iter().map(Into::into)))
}

/// Takes the mounts away that are at these destinations, whatever else is said of them. No part of
/// a destination may be a link.
///
/// # Errors
/// [`Kind::State`](crate::Kind::State) with the words `container not running` if it has ended.
pub fn remove_mounts(store: &Store, id: &str, mounts: &[Mount]) -> Result<()> {
    let running = Running::open(store, id)?;
    let spec = Spec { mounts: mounts.to_vec(), ..running.spec.clone() };
    running.perform(&plan::remove(mounts, &spec)?, &spec)?;
    running.note(|record| {
        for mount in mounts {
            let there = &record.config.mounts;
            let last = there.iter().rposition(|other| other.destination == mount.destination);
            last.map(|index| record.config.mounts.remove(index));
        }
    })
}

/// A container that has not ended.
struct Running {
    entry: Entry,
    record: Record,
    first: OwnedFd,
    spec: Spec,
    host: Host,
}

impl Running {
    fn open(store: &Store, id: &str) -> Result<Self> {
        let entry = store.open(id)?;
        let record = entry.read()?;
        let status = status(&entry, &record);
        let first = match status {
            Status::Creating => None,
            _ => first_process(&record)?,
        };
        let Some(first) = first else { return Err(not("container not running", status)) };
        let spec = Spec::parse(&entry.read_config()?)?;
        Ok(Self { entry, record, first, spec, host: super::look_at_host()? })
    }

    /// Has a process do these steps in the container's mount namespace. It is not in the
    /// container's pid namespace, so that nobody there can lay hands on it.
    fn perform(&self, steps: &[Step], spec: &Spec) -> Result<()> {
        let user = self.user();
        let flag = |kind, wanted| if wanted { namespaces::flag_of(kind) } else { 0 };
        let flags = flag(NamespaceKind::Mount, true) | flag(NamespaceKind::User, user);
        let first = self.first.try_clone().map_err(|error| {
            Error::new("opening the container's first process").because(error.to_string())
        })?;
        let way = Way::to_process(first, self.record.init_process_pid, flags);
        let no_hooks = |_: &plan::Action| Ok(());
        let program = Program::default();
        let setup = Setup {
            steps,
            program: &program,
            preserve_fds: 0,
            says_ready: true,
            privileged_parent: false,
            awaits_maps: false,
            terminal_owner: None,
            oom_score_adj: None,
            last_words: None,
            hooks: &no_hooks,
        };
        let child = launch::spawn(&way, None, &setup, Gate::Parent)?;
        let outcome = self.serve(&child, steps, spec);
        child.destroy();
        outcome
    }

    /// Hears the process out until all is done, and gives it the sources.
    fn serve(&self, child: &Child, steps: &[Step], spec: &Spec) -> Result<()> {
        let user = self.user();
        let mut sources = if steps.iter().any(Step::may_ask) {
            Sources::of_running(&self.first, user, self.host.root)?
        } else {
            Sources::default()
        };
        child.tell(&Message::Continue)?;
        loop {
            match child.hear()? {
                Some(Message::NeedSource(step)) => sources.answer(child, steps, step)?,
                Some(Message::Ready) => return Ok(()),
                Some(Message::Failed(failure)) => {
                    return Err(launch::explain_steps(&failure, steps, &Program::default(), spec));
                }
                _ => return Err(Error::new("the process ended before it had mounted all")),
            }
        }
    }

    /// Whether the container has a user namespace.
    fn user(&self) -> bool {
        self.spec.namespace(NamespaceKind::User).is_some()
    }

    /// Keeps the record's list of mounts true, which monitoring tools read.
    fn note(&self, change: impl FnOnce(&mut Record)) -> Result<()> {
        self.entry.lock()?;
        let mut record = self.entry.read()?;
        change(&mut record);
        self.entry.write(&record)
    }
}
