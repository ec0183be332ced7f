//! `create`, and the first part of `run`.

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, FlockOperation, Mode, OFlags, flock, mkfifoat, openat};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with,
};
use rustix::process::{Pid, Uid};

use super::notify::Notify;
use super::record::{first_record, namespace_paths};
use super::request::Request;
use super::state::hook_state;
use super::undo::Undo;
use super::{handover, listener, notify, place};
use crate::cgroup::{self, Cgroup, Manager};
use crate::config::{self, Config, NamespaceKind, Spec};
use crate::error::{Context, Error, Result};
use crate::init::{Gate, HookFailed, Setup};
use crate::launch::net_devices;
use crate::launch::{self, Child, Sources, hooks};
use crate::lsm;
use crate::plan::{self, Action, Activation, Plan};
use crate::resctrl::Resctrl;
use crate::store::{self, Entry, Record, Store};
use crate::sys::shared::SharedPage;
use crate::wire::{Message, Operation};

/// A container that was made.
#[derive(Debug)]
pub struct Created {
    pub(super) entry: Entry,
    pub(super) record: Record,
    pub(super) child: Child,
    /// The terminal's master, unless it was sent to a socket.
    pub(super) terminal: Option<OwnedFd>,
    /// The way to a service manager, of a container that was started.
    pub(super) notify: Option<Notify>,
    pub(super) spec: Spec,
    pub(super) plan: Plan,
}

/// Reads, checks and plans a bundle, and touches nothing: what `create` begins with, and all that
/// `plan` does. Gives back config.json as written, its meaning, and the plan.
pub fn prepare(request: &Request) -> Result<(Vec<u8>, Spec, Plan)> {
    prepare_with(request, None)
}

/// The same, with the directory of the socket on which the container says that it is ready.
fn prepare_with(request: &Request, notify: Option<PathBuf>) -> Result<(Vec<u8>, Spec, Plan)> {
    let named = request.bundle.as_path();
    let named = if named.as_os_str().is_empty() { Path::new(".") } else { named };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = openat(CWD, named, flags, Mode::empty())
        .what(|| format!("opening the bundle {}", named.display()))?;
    // Absolute and without links, as the kernel knows it.
    let bundle = std::fs::read_link(format!("/proc/self/fd/{}", directory.as_raw_fd()))
        .what(|| "finding the path of the bundle")?;
    let Config { raw, mut spec } = match &request.config {
        None => Config::load(&directory, "config.json")?,
        Some(file) => {
            let file = std::path::absolute(file).what(|| "finding the configuration")?;
            Config::load(&directory, file)?
        }
    };
    listener::from_environment(&mut spec);
    config::check(&spec)?;
    let options = plan::Options {
        id: request.id.clone(),
        bundle,
        no_pivot: request.no_pivot,
        no_new_keyring: request.no_new_keyring,
        preserve_fds: request.preserve_fds,
        activation: Activation { notify, listen_fds: request.listen_fds },
    };
    let mut host = super::look_at_host()?;
    if request.manager == Manager::Systemd {
        host.systemd_root = Some(cgroup::systemd_root(host.rootless)?);
    }
    let no_cgroup = request.manager == Manager::Disabled;
    if no_cgroup {
        // What a cgroup mount shows then.
        host.own_cgroups = std::fs::read_to_string("/proc/self/cgroup").ok();
    }
    let plan = plan::build(&spec, &options, &host)?;
    if no_cgroup && !plan.cgroup.limits.is_empty() {
        return Err(Error::new("limits cannot be set without a cgroup")
            .at("/linux/resources", None)
            .help("take them out, or leave --cgroup-manager disabled out"));
    }
    Ok((raw, spec, plan))
}

/// Makes a container. With [`Request::start`] it is on its way to its program when this returns.
///
/// What may be meant otherwise in the configuration goes to `warn`.
///
/// # Errors
/// Whatever failed, nothing is left behind.
pub fn create(store: &Store, request: &Request, warn: &mut impl FnMut(&str)) -> Result<Created> {
    store::check_id(&request.id)?;
    let notify = request.notify_socket.as_ref().map(|_| store.notify_directory(&request.id));
    let notify = notify.transpose()?;
    let (bytes, spec, plan) = prepare_with(request, notify)?;
    for warning in &plan.warnings {
        warn(warning);
    }
    check_host(&spec, &plan, request)?;
    lsm::check(spec.process.as_ref(), spec.linux.as_ref())?;
    let console = request.handover.console()?;
    let group = match &plan.resctrl {
        Some(wanted) => Some(Resctrl::find()?.group(wanted, &request.id)),
        None => None,
    };
    let entry = store.reserve(&request.id)?;
    let record = first_record(&entry, &spec, &plan, request, group.as_ref());
    let mut undo = Undo::new(&entry, group, warn);
    entry.write(&record)?;
    if record.options.notify {
        notify::make_directory(&entry)?;
    }
    let gate = if request.start { Gate::Parent } else { gate(&entry)? };
    let way = launch::Way::new(&plan.namespaces)?;

    let made = undo.cgroup.insert(place::make(&plan, request.manager)?);
    if plan.cgroup.unit.is_none() {
        place::limit(made, &plan)?;
    }
    // Version 1 takes the rules one by one, beginning with none allowed: init's own nodes would
    // meet with that.
    let devices_first = !made.is_unified() && !made.is_absent();
    if devices_first {
        made.set_devices(&cgroup::effective_rules(&plan.cgroup.devices))?;
    }
    if let Some(group) = &mut undo.group {
        group.make()?;
        group.write_schemata()?;
    }

    // In a user namespace, nothing is a privilege over the host.
    let asks = plan.takes_share() && !plan.rootless && plan.namespaces.has(NamespaceKind::User);
    // With nothing to hear of on the way, the word to start can be waiting for init.
    let hands_on = plan.cgroup.delegate.as_deref();
    let at_once = request.start && !plan.terminal && !plan.speaks() && !asks && hands_on.is_none();
    let run_hooks = |action: &Action| container_hooks(action, &spec, &record, &plan);
    let setup = Setup {
        steps: &plan.steps,
        program: &plan.program,
        preserve_fds: request.kept_fds(),
        says_ready: !at_once,
        privileged_parent: asks,
        awaits_maps: plan.namespaces.id_maps.is_some(),
        terminal_owner: spec.process.as_ref().map(|process| process.user.uid),
        oom_score_adj: plan.oom_score_adj,
        last_words: last_words(&plan, &entry, request)?,
        hooks: &run_hooks,
    };
    let directory = made.dir_fd()?;
    let child = launch::spawn(&way, directory, &setup, gate)?;
    let child = undo.child.insert(child);
    // While init is at its mounts; what came before had to.
    entry.write_config(&bytes)?;
    if plan.loopback {
        launch::loopback::bring_up(child)?;
    }
    if let Some(maps) = &plan.namespaces.id_maps {
        child.map_ids(maps)?;
    }
    let pid = i32::try_from(child.pid).ok().and_then(Pid::from_raw).ok_or_else(vanished)?;
    place::enter(made, &plan, pid, child.born_in_cgroup)
        .map_err(|error| failure_of(child, &plan, &spec).unwrap_or(error))?;
    warn_if_untracked(made, &plan, undo.warn);
    if let Some(group) = &undo.group {
        group.enter(child.pid)?;
    }
    // While init is at its mounts: what is allowed counts from its program on, and init makes no
    // device that it then opens.
    if request.manager != Manager::Disabled && !devices_first {
        made.set_devices(&cgroup::effective_rules(&plan.cgroup.devices))?;
    }
    made.set_limits(&plan.cgroup.limits.tasks)?;
    let mut record = record;
    record.init_process_pid = child.pid;
    record.init_process_start = store::process_start(child.pid).unwrap_or_default();
    record.cgroup_paths = made.paths();
    record.namespace_paths = namespace_paths(child.pid);
    entry.write(&record)?;
    if !plan.net_devices.is_empty() {
        undo.devices = Some(net_devices::move_in(&plan.net_devices, child.pid)?);
    }
    child.tell(&Message::Continue)?;

    let terminal =
        if at_once { None } else { until_ready(child, console.as_ref(), &spec, &record, &plan)? };
    if let Some(below) = hands_on {
        made.hand_on(below, pid, plan.cgroup.owner.map(Uid::from_raw))?;
    }
    request.handover.announce(child)?;
    if let Some(path) = spec.annotations.get("run.oci.pidfd_receiver") {
        handover::send_pidfd(Path::new(path), child)?;
    }
    // The program may speak as soon as it is there.
    let notify = Notify::of_start(&entry, request, &mut undo.warn);
    child.tell(&Message::Start)?;
    undo.done = true;
    let child = undo.child.take();
    drop(undo);
    let Some(child) = child else { return Err(vanished()) };
    entry.unlock();
    Ok(Created { entry, record, child, terminal, notify, spec, plan })
}

/// Some of what a container leaves behind cannot be found.
fn warn_if_untracked(cgroup: &Cgroup, plan: &Plan, warn: &mut dyn FnMut(&str)) {
    if cgroup.is_absent() && !plan.namespaces.makes(NamespaceKind::Pid) {
        warn(
            "without a cgroup and a pid namespace of its own, what outlives the container's first \
             process is not found; have a cgroup delegated to you, or add the namespace",
        );
    }
}

/// Serves init until everything is made; its terminal, if it has one and no socket takes it.
fn until_ready(
    child: &Child,
    console: Option<&OwnedFd>,
    spec: &Spec,
    record: &Record,
    plan: &Plan,
) -> Result<Option<OwnedFd>> {
    let mut terminal = None;
    let mut sources = Sources::default();
    loop {
        match child.hear()? {
            Some(Message::Console(master)) => terminal = handover::deliver(console, master)?,
            Some(Message::RuntimeHooks) => {
                runtime_hooks(spec, record, plan)?;
                child.tell(&Message::HooksDone)?;
            }
            Some(Message::Listener(descriptor)) => {
                listener::deliver(spec, record, "creating", child.pid, &descriptor)?;
            }
            Some(Message::NeedSource(step)) => sources.answer(child, &plan.steps, step)?,
            Some(Message::Delegate(step)) => {
                child
                    .do_step(step, &plan.steps)
                    .map_err(|failure| launch::explain(&failure, plan, spec))?;
                child.tell(&Message::Continue)?;
            }
            Some(Message::Ready) => return Ok(terminal),
            Some(Message::Failed(failure)) => return Err(launch::explain(&failure, plan, spec)),
            Some(_) | None => return Err(vanished()),
        }
    }
}

/// Where init leaves what its filter does not let it say: `start` finds that in a file.
fn last_words(plan: &Plan, entry: &Entry, request: &Request) -> Result<Option<SharedPage>> {
    if !plan.is_filtered() {
        return Ok(None);
    }
    if request.start {
        return SharedPage::anonymous().map(Some).what(|| "mapping memory");
    }
    // Without it a start succeeds as soon as the process is gone.
    Ok(entry.last_words(true))
}

/// What init has to say of itself once its parent has failed: that may be why.
fn failure_of(child: &Child, plan: &Plan, spec: &Spec) -> Option<Error> {
    child.destroy();
    loop {
        match child.hear() {
            Ok(Some(Message::Failed(failure))) => {
                // That it did not end of itself is known.
                let tells = failure.operation != Operation::Ended;
                return tells.then(|| launch::explain(&failure, plan, spec));
            }
            Ok(Some(_)) => {}
            Ok(None) | Err(_) => return None,
        }
    }
}

/// Init ended without a word, and without a filter to keep it from speaking.
fn vanished() -> Error {
    Error::new("the container's first process ended before its program was started")
        .because("it was killed")
        .help("see the kernel's log for an out-of-memory kill, and /linux/resources/memory")
}

/// What only the host can tell, asked before anything is made.
pub(super) fn check_host(spec: &Spec, plan: &Plan, request: &Request) -> Result<()> {
    let shown = || Some(format!("{:?}", spec.root.as_ref().map_or("", |root| &root.path)));
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let stat = openat(CWD, &plan.rootfs, flags, Mode::empty()).and_then(rustix::fs::fstat);
    match stat {
        Err(errno) => {
            return Err(Error::new("the root file system cannot be opened")
                .os(errno)
                .at("/root/path", shown())
                .help("make the directory and unpack an image in it"));
        }
        Ok(stat) if FileType::from_raw_mode(stat.st_mode) != FileType::Directory => {
            return Err(Error::new("the root file system is not a directory")
                .os(Errno::NOTDIR)
                .at("/root/path", shown())
                .help("unpack the image into a directory and name that"));
        }
        Ok(_) => {}
    }
    // `start` says so of a container that was created without one.
    if request.start && spec.process.is_none() {
        return Err(Error::new("config.json has no process to start")
            .at("/process", None)
            .help("add \"process\" with \"args\" and \"cwd\""));
    }
    if request.detached && plan.terminal && request.handover.console_socket.is_none() {
        return Err(Error::new(
            "cannot allocate tty if runc will detach without setting console socket",
        )
        .at("/process/terminal", Some("true".into()))
        .help("give --console-socket, or set terminal to false"));
    }
    if !plan.terminal && request.handover.console_socket.is_some() {
        return Err(Error::new(
            "cannot use console socket if runc will not detach or allocate tty",
        )
        .at("/process/terminal", Some("false".into()))
        .help("leave --console-socket out, or set terminal to true"));
    }
    handover::check_preserved(request.kept_fds())
}

/// The fifo whose lock says "created", and the socket on which init awaits the word to start.
fn gate(entry: &Entry) -> Result<Gate> {
    let what = || "making what the container awaits its start on";
    let mode = Mode::from_raw_mode(0o600);
    mkfifoat(entry.directory(), store::FIFO, mode).what(what)?;
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let lock = openat(entry.directory(), store::FIFO, flags, Mode::empty()).what(what)?;
    flock(&lock, FlockOperation::NonBlockingLockExclusive).what(what)?;
    let socket =
        socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
            .what(what)?;
    let before = rustix::process::umask(Mode::from_raw_mode(0o077));
    let bound = bind(&socket, &socket_address(entry)?);
    rustix::process::umask(before);
    bound.what(what)?;
    listen(&socket, 8).what(what)?;
    Ok(Gate::Listener { socket, lock })
}

/// Init's socket, by way of the directory's descriptor: a path may be longer than the 107 bytes
/// that an address takes (unix(7)).
pub(super) fn socket_address(entry: &Entry) -> Result<SocketAddrUnix> {
    let path = format!("/proc/self/fd/{}/{}", entry.directory().as_raw_fd(), store::SOCKET);
    SocketAddrUnix::new(path).what(|| "naming the container's socket")
}

/// Runs prestart and createRuntime hooks, in the runtime's namespaces.
pub(super) fn runtime_hooks(spec: &Spec, record: &Record, plan: &Plan) -> Result<()> {
    let Some(all) = &spec.hooks else { return Ok(()) };
    let state = hook_state(record, "creating", record.init_process_pid).to_json();
    for (list, kind) in [(&all.prestart, "prestart"), (&all.create_runtime, "createRuntime")] {
        hooks::run(list, kind, &state, &plan.bundle, &spec.annotations)
            .map_err(|(_, error)| error)?;
    }
    Ok(())
}

/// Runs createContainer or startContainer hooks, as init, inside the container.
fn container_hooks(
    action: &Action,
    spec: &Spec,
    record: &Record,
    plan: &Plan,
) -> Result<(), HookFailed> {
    let Some(all) = &spec.hooks else { return Ok(()) };
    let (list, kind, status, directory) = match action {
        // The bundle is not to be seen from here, and what has its path is another directory.
        Action::StartHooks => (&all.start_container, "startContainer", "created", Path::new("/")),
        _ => (&all.create_container, "createContainer", "creating", plan.bundle.as_path()),
    };
    let state = hook_state(record, status, std::process::id()).to_json();
    // The files for their output are the host's, which startContainer hooks do not see.
    let none = std::collections::BTreeMap::new();
    let annotations = if status == "creating" { &spec.annotations } else { &none };
    hooks::run(list, kind, &state, directory, annotations).map_err(|(index, error)| HookFailed {
        index: u32::try_from(index).unwrap_or(0),
        words: error.summary().into_bytes(),
    })
}

impl Created {
    /// The container's ID.
    pub fn id(&self) -> &str {
        self.entry.id()
    }

    /// The first process's id on the host.
    pub fn pid(&self) -> u32 {
        self.child.pid
    }
}
