//! `create`, and the first part of `run`.

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, FlockOperation, Mode, OFlags, flock, mkfifoat, openat};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with,
};
use rustix::process::{Pid, Uid};

use super::handover::{self, Handover};
use super::state::hook_state;
use super::{delete, listener};
use crate::cgroup::{self, Cgroup};
use crate::config::{self, Config, Mount, NamespaceKind, Spec};
use crate::error::{Context, Error, Result};
use crate::init::{Gate, HookFailed, Setup};
use crate::launch::net_devices::{self, Moved};
use crate::launch::{self, Child, Sources, hooks};
use crate::lsm;
use crate::plan::{self, Action, Plan};
use crate::resctrl::{Group, Resctrl};
use crate::store::{self, Entry, Record, RecordConfig, RecordMount, RecordOptions, Store};
use crate::wire::Message;

/// What a caller asks for.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// The container's ID.
    pub id: String,
    /// The bundle's directory; relative to the working directory, which it is when empty.
    pub bundle: PathBuf,
    /// Where an engine wants to be told of the first process.
    pub handover: Handover,
    /// Enters the root by chroot(2).
    pub no_pivot: bool,
    /// Keeps the caller's session keyring.
    pub no_new_keyring: bool,
    /// How many descriptors from 3 on the process keeps.
    pub preserve_fds: u32,
    /// Starts the container at once, from this process: `run`.
    pub start: bool,
    /// Nobody here will serve a terminal: `create`, `run --detach`.
    pub detached: bool,
    /// The container stays in the runtime's own cgroup: crun's `--cgroup-manager disabled`.
    pub no_cgroup: bool,
}

/// A container that was made.
#[derive(Debug)]
pub struct Created {
    pub(super) entry: Entry,
    pub(super) record: Record,
    pub(super) child: Child,
    /// The terminal's master, unless it was sent to a socket.
    pub(super) terminal: Option<OwnedFd>,
    pub(super) spec: Spec,
    pub(super) plan: Plan,
}

/// Reads, checks and plans a bundle, and touches nothing: what `create` begins with, and all that
/// `plan` does. Gives back config.json as written, its meaning, and the plan.
pub fn prepare(request: &Request) -> Result<(Vec<u8>, Spec, Plan)> {
    let named = request.bundle.as_path();
    let named = if named.as_os_str().is_empty() { Path::new(".") } else { named };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = openat(CWD, named, flags, Mode::empty())
        .what(|| format!("opening the bundle {}", named.display()))?;
    // Absolute and without links, as the kernel knows it.
    let bundle = std::fs::read_link(format!("/proc/self/fd/{}", directory.as_raw_fd()))
        .what(|| "finding the path of the bundle")?;
    let Config { raw, spec } = Config::load(&directory, "config.json")?;
    config::check(&spec)?;
    let options = plan::Options {
        id: request.id.clone(),
        bundle,
        no_pivot: request.no_pivot,
        no_new_keyring: request.no_new_keyring,
        preserve_fds: request.preserve_fds,
    };
    let mut host = super::look_at_host()?;
    if request.no_cgroup {
        // What a cgroup mount shows then.
        host.own_cgroups = std::fs::read_to_string("/proc/self/cgroup").ok();
    }
    let plan = plan::build(&spec, &options, &host)?;
    if request.no_cgroup && !plan.cgroup.limits.is_empty() {
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
    let (bytes, spec, plan) = prepare(request)?;
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
    let mut undo =
        Undo { entry: &entry, cgroup: None, group, child: None, devices: None, done: false, warn };
    entry.write(&record)?;
    let gate = if request.start { Gate::Parent } else { gate(&entry)? };
    let way = launch::Way::new(&plan.namespaces)?;

    let wanted = cgroup::Request {
        rootless: plan.rootless,
        path_given: plan.cgroup.required,
        controllers: &plan.cgroup.limits.controllers(),
        // For `events`, `update`, and engines that read the files themselves.
        every_controller: true,
    };
    let made = if request.no_cgroup {
        Cgroup::from_paths(&std::collections::BTreeMap::new())
    } else {
        Cgroup::make(&plan.cgroup.location, &wanted)?
    };
    let made = undo.cgroup.insert(made);
    made.set_limits(&plan.cgroup.limits.first)?;
    if let Some(uid) = plan.cgroup.owner {
        made.delegate(Uid::from_raw(uid))?;
    }
    if let Some(group) = &mut undo.group {
        group.make()?;
        group.write_schemata()?;
    }

    // In a user namespace, nothing is a privilege over the host.
    let asks = plan.takes_share() && !plan.rootless && plan.namespaces.has(NamespaceKind::User);
    // With nothing to hear of on the way, the word to start can be waiting for init.
    let at_once = request.start && !plan.terminal && !plan.speaks() && !asks;
    let run_hooks = |action: &Action| container_hooks(action, &spec, &record, &plan);
    let setup = Setup {
        steps: &plan.steps,
        program: &plan.program,
        preserve_fds: request.preserve_fds,
        says_ready: !at_once,
        privileged_parent: asks,
        awaits_maps: plan.namespaces.id_maps.is_some(),
        terminal_owner: spec.process.as_ref().map(|process| process.user.uid),
        oom_score_adj: plan.oom_score_adj,
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
    if let Some(pid) = i32::try_from(child.pid).ok().and_then(Pid::from_raw) {
        made.enter(pid, child.born_in_cgroup)?;
    }
    if let Some(group) = &undo.group {
        group.enter(child.pid)?;
    }
    // While init is at its mounts: what is allowed counts from its program on, and init makes no
    // device that it then opens.
    if !request.no_cgroup {
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
    request.handover.announce(child)?;
    child.tell(&Message::Start)?;
    undo.done = true;
    let child = undo.child.take();
    drop(undo);
    let Some(child) = child else { return Err(vanished()) };
    entry.unlock();
    Ok(Created { entry, record, child, terminal, spec, plan })
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

/// Init ended without a word: something killed it.
fn vanished() -> Error {
    Error::new("the container's first process ended before its program was started")
        .because("it was killed")
        .help("see the kernel's log for an out-of-memory kill, and /linux/resources/memory")
}

/// What only the host can tell, asked before anything is made.
fn check_host(spec: &Spec, plan: &Plan, request: &Request) -> Result<()> {
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
    handover::check_preserved(request.preserve_fds)
}

/// What goes on record before anything else is made: all that has to be undone.
fn first_record(
    entry: &Entry,
    spec: &Spec,
    plan: &Plan,
    request: &Request,
    group: Option<&Group<'_>>,
) -> Record {
    let mut labels: Vec<String> =
        spec.annotations.iter().map(|(key, value)| format!("{key}={value}")).collect();
    labels.push(format!("bundle={}", plan.bundle.display()));
    let text =
        |path: Option<&Path>| path.map_or_else(String::new, |path| path.display().to_string());
    let mount = |mount: &Mount| {
        let bind = mount.options.iter().any(|option| option == "bind" || option == "rbind");
        let device = if bind { Some("bind") } else { mount.kind.as_deref() };
        RecordMount {
            source: mount.source.clone().unwrap_or_default(),
            destination: mount.destination.clone(),
            device: device.unwrap_or_default().to_owned(),
        }
    };
    Record {
        id: entry.id().to_owned(),
        created: store::timestamp(),
        config: RecordConfig {
            rootfs: plan.rootfs.to_string_lossy().into_owned(),
            labels,
            mounts: spec.mounts.iter().map(mount).collect(),
        },
        rootless: plan.rootless,
        cgroup_paths: plan.cgroup.location.paths(),
        options: RecordOptions {
            no_pivot: request.no_pivot,
            no_new_keyring: request.no_new_keyring,
            preserve_fds: request.preserve_fds,
            own_pids: plan.namespaces.makes(NamespaceKind::Pid),
            own_resctrl: plan.resctrl.as_ref().is_some_and(|wanted| wanted.class.is_none()),
        },
        intel_rdt_path: text(group.map(Group::directory)),
        intel_rdt_mon_path: text(group.and_then(Group::monitoring)),
        ..Record::default()
    }
}

/// The namespace files of the first process, under runc's names.
fn namespace_paths(pid: u32) -> std::collections::BTreeMap<String, String> {
    const NAMES: [(&str, &str); 8] = [
        ("NEWPID", "pid"),
        ("NEWNET", "net"),
        ("NEWIPC", "ipc"),
        ("NEWUTS", "uts"),
        ("NEWNS", "mnt"),
        ("NEWUSER", "user"),
        ("NEWCGROUP", "cgroup"),
        ("NEWTIME", "time"),
    ];
    NAMES.iter().map(|(key, file)| ((*key).into(), format!("/proc/{pid}/ns/{file}"))).collect()
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
fn runtime_hooks(spec: &Spec, record: &Record, plan: &Plan) -> Result<()> {
    let Some(all) = &spec.hooks else { return Ok(()) };
    let state = hook_state(record, "creating", record.init_process_pid).to_json();
    for (list, kind) in [(&all.prestart, "prestart"), (&all.create_runtime, "createRuntime")] {
        hooks::run(list, kind, &state, &plan.bundle).map_err(|(_, error)| error)?;
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
    hooks::run(list, kind, &state, directory).map_err(|(index, error)| HookFailed {
        index: u32::try_from(index).unwrap_or(0),
        words: error.summary().into_bytes(),
    })
}

/// Takes back what was made, in reverse, unless it was all made.
struct Undo<'a> {
    entry: &'a Entry,
    cgroup: Option<Cgroup>,
    group: Option<Group<'a>>,
    child: Option<Child>,
    devices: Option<Moved>,
    done: bool,
    warn: &'a mut dyn FnMut(&str),
}

impl Drop for Undo<'_> {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        // The first error is the one to tell; what cannot be undone shows in `list`.
        let begun = self.child.is_some();
        if let Some(devices) = &mut self.devices {
            devices.back();
        }
        if let Some(child) = &self.child {
            child.destroy();
        }
        if let Some(cgroup) = &mut self.cgroup {
            let _ = cgroup.undo();
        }
        if let Some(group) = &mut self.group {
            group.undo();
        }
        // A container that existed is followed by its poststop hooks (runtime.md, "Lifecycle"):
        // they undo what other hooks did.
        let kept = begun.then(|| (self.entry.read_config(), self.entry.read()));
        let _ = self.entry.remove();
        if let Some((Ok(config), Ok(record))) = kept {
            delete::poststop(&config, &record, &mut self.warn);
        }
    }
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
