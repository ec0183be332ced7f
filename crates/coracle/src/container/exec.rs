//! `exec`: one more process in a running container.

use rustix::io::Errno;
use rustix::process::Pid;

use super::foreground::Attached;
use super::handover::{self, Handover};
use super::kill::first_process;
use super::listener;
use super::place::cgroup_of;
use super::state::{Status, status};
use crate::cgroup::{Cgroup, SubCgroup};
use crate::config::{NamespaceKind, Process, Spec};
use crate::error::{Context, Error, Kind, Result};
use crate::init::{Gate, Setup};
use crate::launch::{self, Way};
use crate::lsm;
use crate::plan::{self, namespaces};
use crate::resctrl;
use crate::store::Store;
use crate::sys::schedule::set_affinity;
use crate::sys::shared::SharedPage;
use crate::wire::Message;

/// What to run in which container.
#[derive(Clone, Debug, Default)]
pub struct ExecRequest {
    /// The container's ID.
    pub id: String,
    /// The process, as config.json would describe it.
    pub process: Process,
    /// Where an engine wants to be told of the process.
    pub handover: Handover,
    /// How many descriptors from 3 on the process keeps.
    pub preserve_fds: u32,
    /// The cgroups in the container's that it goes into; into that itself if none is named.
    pub cgroups: Vec<SubCgroup>,
    /// Into a paused container too: it begins when that is resumed.
    pub ignore_paused: bool,
}

/// The configuration of a container, as it was when it was made.
pub fn config(store: &Store, id: &str) -> Result<Spec> {
    let entry = store.open(id)?;
    Spec::parse(&entry.read_config()?)
}

/// Starts a process in a container: joins its namespaces by the descriptor of its first process,
/// in one setns(2). Returns once the program runs.
///
/// What may be meant otherwise in its description goes to `warn`.
pub fn exec(store: &Store, request: &ExecRequest, mut warn: impl FnMut(&str)) -> Result<Attached> {
    let entry = store.open(&request.id)?;
    let record = entry.read()?;
    let status = status(&entry, &record);
    check_status(status, request.ignore_paused)?;
    let Some(first) = first_process(&record)? else {
        return Err(Error::new(STOPPED).kind(Kind::State));
    };
    crate::config::check_process(&request.process, "/process")
        .map_err(|error| error.in_file("exec"))?;
    lsm::check(Some(&request.process), None).map_err(|error| error.in_file("exec"))?;
    let spec = Spec::parse(&entry.read_config()?)?;
    let linux = spec.linux.clone().unwrap_or_default();
    let flags = linux.namespaces.iter().fold(0, |all, n| all | namespaces::flag_of(n.kind));
    let user = linux.namespaces.iter().any(|n| n.kind == NamespaceKind::User);
    let host = super::look_at_host()?;
    let keyring_of = (!record.options.no_new_keyring).then_some(record.id.as_str());
    let plan = plan::exec(&request.process, &linux, user, keyring_of, &spec.annotations, &host)?;
    plan.warnings.iter().for_each(|warning| warn(warning));
    handover::check_preserved(request.preserve_fds)?;
    let console = request.handover.console()?;

    let way = Way::to_process(first, record.init_process_pid, flags);
    let filtered = linux.seccomp.is_some();
    let no_hooks = |_: &plan::Action| Ok(());
    let setup = Setup {
        steps: &plan.steps,
        program: &plan.program,
        preserve_fds: request.preserve_fds,
        says_ready: true,
        privileged_parent: true,
        awaits_maps: false,
        terminal_owner: Some(request.process.user.uid),
        oom_score_adj: plan.oom_score_adj,
        last_words: filtered.then(SharedPage::anonymous).transpose().what(|| "mapping memory")?,
        hooks: &no_hooks,
    };
    plan.initial_cpus.as_deref().map(run_on).transpose()?;
    let cgroup = cgroup_of(&record).below(&request.cgroups)?;
    // A cgroup that is gone is looked for once the process is there.
    let directory = match cgroup.dir_fd() {
        Err(error) if error.errno() == Some(Errno::NOENT) => None,
        directory => directory?,
    };
    let spawned = launch::spawn(&way, directory, &setup, Gate::Parent);
    // Until execve, init has the runtime's memory, and its owner may not look into it.
    let child = spawned.map_err(|error| match error.errno() {
        Some(Errno::PERM) if status == Status::Created => error
            .help("before its start, an ordinary user may not join a container: start it first"),
        _ => error,
    })?;
    let mut attached = Attached::new(child);
    let explain = |failure| {
        let error = launch::explain_steps(&failure, &plan.steps, &plan.program, &spec);
        // The filter is the container's.
        let own = !error.pointer().is_some_and(|at| at.starts_with("/linux"));
        if own { error.in_file("exec") } else { error }
    };
    let child = attached.child();
    if let Some(pid) = i32::try_from(child.pid).ok().and_then(Pid::from_raw) {
        join(cgroup, pid, child.born_in_cgroup, record.init_process_pid, request)?;
    }
    if let Some((group, monitoring)) = record.resctrl() {
        resctrl::enter(group, monitoring, child.pid)?;
    }
    child.tell(&Message::Continue)?;
    let mut terminal = None;
    loop {
        match child.hear()? {
            Some(Message::Console(master)) => {
                terminal = handover::deliver(console.as_ref(), master)?;
            }
            Some(Message::Listener(descriptor)) => {
                listener::deliver(&spec, &record, "running", child.pid, &descriptor)?;
            }
            Some(Message::Delegate(step)) => {
                child.do_step(step, &plan.steps).map_err(explain)?;
                child.tell(&Message::Continue)?;
            }
            Some(Message::Ready) => break,
            Some(Message::Failed(failure)) => return Err(explain(failure)),
            Some(_) | None => {
                return Err(Error::new("the process ended before its program started"));
            }
        }
    }
    request.handover.announce(child)?;
    child.tell(&Message::Start)?;
    loop {
        match child.hear()? {
            None => break,
            Some(Message::Listener(descriptor)) => {
                listener::deliver(&spec, &record, "running", child.pid, &descriptor)?;
            }
            Some(Message::Failed(failure)) => {
                request.handover.retract();
                return Err(explain(failure));
            }
            Some(_) => return Err(Error::new("the process said something that makes no sense")),
        }
    }
    attached.started(terminal);
    Ok(attached)
}

/// Moves a new process into the container's cgroup. Where that takes none, because it was divided
/// or left, the first process knows a better one: on version 2, where there is but one to know.
fn join(mut cgroup: Cgroup, pid: Pid, born: bool, first: u32, request: &ExecRequest) -> Result<()> {
    let entered = cgroup.enter(pid, born);
    let Err(error) = entered else { return Ok(()) };
    let elsewhere = [Errno::BUSY, Errno::OPNOTSUPP, Errno::NOENT, Errno::NODEV];
    let may = request.cgroups.is_empty()
        && cgroup.is_unified()
        && error.errno().is_some_and(|errno| elsewhere.contains(&errno));
    let first = i32::try_from(first).ok().and_then(Pid::from_raw).filter(|_| may);
    match first.map(Cgroup::of_process) {
        Some(Ok(mut other)) => other.enter(pid, false).map_err(|_| error),
        _ => Err(error),
    }
}

/// Refuses what has no process to join.
fn check_status(status: Status, ignore_paused: bool) -> Result<()> {
    let words = match status {
        Status::Created | Status::Running => return Ok(()),
        Status::Paused if ignore_paused => return Ok(()),
        Status::Paused => "cannot exec in a paused container (use --ignore-paused to override)",
        Status::Creating => "cannot exec in a container that is being created",
        Status::Stopped => STOPPED,
    };
    Err(Error::new(words).kind(Kind::State))
}

const STOPPED: &str = "cannot exec in a stopped container";

/// Keeps this process, and what it makes, on these CPUs: the container's other ones are not
/// disturbed on the way into its cgroup.
fn run_on(cpus: &[u64]) -> Result<()> {
    set_affinity(cpus).what(|| "setting the CPU affinity").map_err(|error| {
        error
            .at("/process/execCPUAffinity/initial", None)
            .in_file("exec")
            .help("none of these CPUs is there and allowed to the runtime")
    })
}
