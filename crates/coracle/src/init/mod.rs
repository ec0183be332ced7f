//! The child's half: from the clone to execve, one step of the plan after the other.
//!
//! This runs in the new process, in the new namespaces, on a copy of the parent's memory. It
//! decides nothing: the plan says what to do, and what cannot be known before (the kind of a bind
//! source, whether a path is there, whether mknod is allowed) is judged here on descriptors. A step
//! that fails goes back whole, as numbers, and the process ends.

mod attributes;
mod console;
mod copy_up;
mod devices;
mod failure;
mod filesystem;
mod identity;
mod masks;
mod mounts;
mod outside;
mod pivot;
mod program;
mod root;
mod target;
mod unmount;

use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::Mode;
use rustix::io::Errno;

use failure::{Failed, Outcome, Part};
use masks::Masks;
pub(crate) use mounts::clone_source;
pub(crate) use outside::Outside;
pub(crate) use root::Root;

use crate::plan::{Action, Program, Step};
use crate::sys;
use crate::sys::shared::SharedPage;
use crate::wire::{Failure, Message, Operation, Wire};

/// As many CPUs as a kernel can be built for (`CONFIG_NR_CPUS`).
const MOST_CPUS: usize = 8192;

/// What init needs beside the steps.
pub(crate) struct Setup<'a> {
    /// The steps.
    pub(crate) steps: &'a [Step],
    /// What is executed at the end.
    pub(crate) program: &'a Program,
    /// How many descriptors from 3 on the program keeps.
    pub(crate) preserve_fds: u32,
    /// Whether the parent wants to hear that all is made; else the word to start is on its way.
    pub(crate) says_ready: bool,
    /// Whether the parent listens, and may have privileges over the host that init lacks.
    pub(crate) privileged_parent: bool,
    /// Whether ids have to be mapped before the process may hide from its own parent.
    pub(crate) awaits_maps: bool,
    /// Who will run on the terminal, for its owner.
    pub(crate) terminal_owner: Option<u32>,
    /// The badness to the out-of-memory killer that it is born with.
    pub(crate) oom_score_adj: Option<i64>,
    /// Where it leaves what it cannot say under its system call filter, if it has one.
    pub(crate) last_words: Option<SharedPage>,
    /// Runs a list of hooks inside the container.
    pub(crate) hooks: &'a dyn Fn(&Action) -> Result<(), HookFailed>,
}

/// A hook that failed inside the container: its index, and what there is to say.
pub(crate) struct HookFailed {
    /// Its index in its list.
    pub(crate) index: u32,
    /// Why.
    pub(crate) words: Vec<u8>,
}

/// Where the word to start comes from.
pub(crate) enum Gate {
    /// From the parent, over the wire: `run` and `exec`.
    Parent,
    /// From whoever connects to this socket later: `create`. The lock on exec.fifo, held until
    /// execve, tells `state` that the container was not started yet.
    Listener {
        /// The listening socket.
        socket: OwnedFd,
        /// The locked exec.fifo.
        lock: OwnedFd,
    },
}

/// Does the first steps as far as they are inherited by a process that is not made yet, and take
/// the host's /proc. How many there are.
pub(crate) fn run_early(setup: &Setup<'_>) -> Result<usize, Failure> {
    let mut done = 0;
    for step in setup.steps {
        let Action::Label { attribute, label } = &step.action else { break };
        attribute
            .set(label)
            .map_err(|errno| Failed::new(Operation::Itself, errno).in_step(done))?;
        done += 1;
    }
    Ok(done as usize)
}

/// Does all the steps but the first `done`. Never returns: it becomes the program, or ends after
/// saying why not.
pub(crate) fn run(setup: &Setup<'_>, wire: Wire, gate: Gate, outside: Outside, done: usize) -> ! {
    let mut init = Init {
        setup,
        wire,
        gate: Some(gate),
        outside,
        listener_lock: None,
        root: None,
        masks: Masks::default(),
        path: None,
        home: None,
        directory_pending: false,
        umask: Mode::empty(),
        done,
    };
    if let Err((step, failed)) = init.all() {
        if let Some(root) = &mut init.root {
            unmount::undo(root);
        }
        // If even this does not arrive, it is found where it was left.
        let _ = init.wire.send(&Message::Failed(failed.in_step(step)));
    }
    sys::process::exit(1)
}

/// The state of a process on its way to the container's.
struct Init<'a> {
    setup: &'a Setup<'a>,
    wire: Wire,
    gate: Option<Gate>,
    outside: Outside,
    /// Held, not used: execve gives it back.
    listener_lock: Option<OwnedFd>,
    root: Option<Root>,
    masks: Masks,
    path: Option<CString>,
    home: Option<CString>,
    /// The working directory is still to be entered, as the user.
    directory_pending: bool,
    /// The caller's mask of file modes, for hooks that run on the host's files.
    umask: Mode,
    /// How many steps were done before this process was made.
    done: usize,
}

/// Closes every descriptor but the standard ones, those that the program keeps, the wire, the
/// gate's and those of file systems.
pub(crate) fn close_others(
    preserve_fds: u32,
    wire: &Wire,
    gate: Option<&Gate>,
    outside: &Outside,
) -> Result<(), Errno> {
    let mut keep = vec![wire.as_fd()];
    keep.extend(outside.descriptors());
    if let Some(Gate::Listener { socket, lock }) = gate {
        keep.extend([socket.as_fd(), lock.as_fd()]);
    }
    sys::process::close_all_from(preserve_fds.saturating_add(3), &keep)
}

impl Init<'_> {
    fn all(&mut self) -> Result<(), (u32, Failed)> {
        self.prepare().map_err(|failed| (Failure::STAGE, failed))?;
        for (step, number) in self.setup.steps.iter().zip(0..).skip(self.done) {
            self.perform(number, &step.action).map_err(|failed| (number, failed))?;
        }
        Ok(())
    }

    /// What holds whatever the plan says.
    fn prepare(&mut self) -> Outcome {
        sys::signal::reset();
        self.umask = rustix::process::umask(Mode::empty());
        close_others(self.setup.preserve_fds, &self.wire, self.gate.as_ref(), &self.outside)
            .part(Operation::CloseFiles)?;
        if self.setup.awaits_maps { Ok(()) } else { identity::forbid_tracing() }
    }

    fn root(&self) -> Result<&Root, Failed> {
        // The plan makes the root before anything in it.
        self.root.as_ref().ok_or(Failed::new(Operation::Itself, Errno::NOENT))
    }

    #[allow(clippy::too_many_lines)] // an arm for each action, a line or few each
    fn perform(&mut self, number: u32, action: &Action) -> Outcome {
        match action {
            Action::AwaitParent => self.await_message(|m| matches!(m, Message::Continue)),
            Action::BecomeRoot { uid, gid } => identity::become_root(*uid, *gid),
            Action::NewSession => rustix::process::setsid().map(drop).part(Operation::Itself),
            Action::SessionKeyring(name) => match sys::keyring::join_session_keyring(name) {
                // A kernel without keyrings has none to leak.
                Err(Errno::NOSYS) => Ok(()),
                result => result.part(Operation::Itself),
            },
            Action::CgroupNamespace => {
                sys::process::unshare(libc::CLONE_NEWCGROUP).part(Operation::Itself)
            }
            Action::Loopback => sys::network::loopback_up().part(Operation::Itself),
            Action::Propagation(flags) | Action::RootPropagation(flags) => {
                attributes::propagate_all(*flags)
            }
            Action::Root { path, propagation, shared } => {
                self.root = Some(mounts::make_root(path, *propagation, *shared)?);
                Ok(())
            }
            Action::JoinedRoot => {
                self.root = Some(mounts::joined_root()?);
                Ok(())
            }
            Action::Mount(mount) => {
                let root =
                    self.root.as_mut().ok_or(Failed::new(Operation::Itself, Errno::NOENT))?;
                let made = mount.plain_filesystem().and_then(|kind| self.outside.take(kind));
                mounts::make(root, mount, made, || ask_source(&self.wire, number))
            }
            Action::Remount(change) => mounts::remount(self.root()?, change),
            Action::Unmount(paths) => unmount::remove(self.root()?, paths),
            Action::Attributes { target, set, clear, recursive } => {
                mounts::set_attributes(self.root()?, target, *set, *clear, *recursive)
            }
            Action::Device(device) => devices::make(self.root()?, device),
            Action::Link { path, target, only_if } => {
                devices::link(self.root()?, path, target, only_if.as_deref())
            }
            Action::Console { size, bind } => {
                let owner = self.setup.terminal_owner;
                console::open(self.root()?, *size, *bind, owner, &self.wire)
            }
            Action::WriteProc { path, value } => {
                crate::procfs::write_file(&path.to_string_lossy(), value.to_bytes())
                    .part(Operation::WriteFile)
            }
            Action::Label { attribute, label } => attribute.set(label).part(Operation::Itself),
            // Whatever went wrong, what the runtime was allowed is allowed still.
            Action::AllCpus => {
                let _ = sys::schedule::set_affinity(&[u64::MAX; MOST_CPUS / 64]);
                Ok(())
            }
            Action::Cpus(cpus) => sys::schedule::set_affinity(cpus).part(Operation::Itself),
            Action::MemoryPolicy { mode, nodes } => {
                sys::schedule::set_memory_policy(*mode, nodes).part(Operation::Itself)
            }
            Action::Personality(domain) => {
                sys::schedule::set_personality(*domain).part(Operation::Itself)
            }
            Action::Hostname(name) => {
                rustix::system::sethostname(name.to_bytes()).part(Operation::Itself)
            }
            Action::Domainname(name) => {
                rustix::system::setdomainname(name.to_bytes()).part(Operation::Itself)
            }
            Action::RuntimeHooks => {
                self.wire.send(&Message::RuntimeHooks).part(Operation::Talk)?;
                self.await_message(|m| matches!(m, Message::HooksDone))
            }
            Action::ContainerHooks => {
                // They still see the host's files.
                rustix::process::umask(self.umask);
                let outcome = self.run_hooks(action);
                rustix::process::umask(Mode::empty());
                outcome
            }
            Action::StartHooks => self.run_hooks(action),
            Action::ReadonlyPath(path) => masks::make_readonly(self.root()?, path),
            Action::MaskPath { path, label } => {
                let root =
                    self.root.as_ref().ok_or(Failed::new(Operation::Itself, Errno::NOENT))?;
                self.masks.hide(root, path, label.as_deref())
            }
            Action::EnterRoot { no_pivot } => {
                pivot::enter(self.root()?, *no_pivot)?;
                // The masks' descriptor and the root's are not needed any more.
                self.masks = Masks::default();
                self.root = None;
                Ok(())
            }
            Action::Rlimit { .. } | Action::Scheduling(_) | Action::IoPriority(_) => {
                self.take_share(number, action)
            }
            Action::Umask(mask) => {
                rustix::process::umask(Mode::from_raw_mode(*mask));
                Ok(())
            }
            Action::NoNewPrivileges => {
                rustix::thread::set_no_new_privs(true).part(Operation::Itself)
            }
            Action::User(user) => identity::become_user(user),
            Action::Seccomp(program) => self.filter(program),
            Action::Home(uid) => {
                self.home = Some(program::home(*uid));
                Ok(())
            }
            Action::Directory(path) => {
                self.root()?.directory(path).map(drop).part(Operation::Itself)
            }
            Action::WorkingDirectory(path) => match rustix::process::chdir(path.as_c_str()) {
                // The user may be allowed what root is not, as on NFS.
                Err(Errno::ACCESS) => {
                    self.directory_pending = true;
                    Ok(())
                }
                result => result.part(Operation::Itself).and_then(|()| check_directory()),
            },
            Action::DirectoryAsUser(path) if self.directory_pending => {
                rustix::process::chdir(path.as_c_str()).part(Operation::Itself)?;
                check_directory()
            }
            Action::DirectoryAsUser(_) => Ok(()),
            Action::FindProgram => {
                self.path = Some(program::find(self.setup.program)?);
                Ok(())
            }
            Action::AwaitStart => self.await_start(),
            Action::Execute => {
                let path = self.path.as_deref().unwrap_or_default();
                self.wire.executing();
                Err(program::execute(path, self.setup.program, self.home.as_deref()))
            }
        }
    }

    /// Takes a share of the machine, or has the parent give what only that may.
    fn take_share(&self, number: u32, action: &Action) -> Outcome {
        match crate::share::apply(action, None) {
            Err(Errno::PERM | Errno::ACCESS) if self.setup.privileged_parent => {
                self.wire.send(&Message::Delegate(number)).part(Operation::Talk)?;
                self.await_message(|m| matches!(m, Message::Continue))
            }
            result => result.part(Operation::Itself),
        }
    }

    fn run_hooks(&self, action: &Action) -> Outcome {
        (self.setup.hooks)(action).map_err(|failed| {
            Failed::new(Operation::Hook, Errno::CANCELED).detail(failed.index).words(failed.words)
        })
    }

    /// Waits for a word of the parent; without a parent there is nobody to be a container for.
    fn await_message(&self, expected: impl Fn(&Message) -> bool) -> Outcome {
        match self.wire.receive().part(Operation::Talk)? {
            Some(message) if expected(&message) => Ok(()),
            Some(_) => Err(Failed::new(Operation::Talk, Errno::PROTO)),
            None => sys::process::exit(1),
        }
    }

    /// From here on every call has to pass the filter.
    fn filter(&self, program: &crate::seccomp::Program) -> Outcome {
        match program.load().part(Operation::Itself)? {
            Some(listener) => {
                self.wire.send(&Message::Listener(listener)).part(Operation::SendListener)
            }
            None => Ok(()),
        }
    }

    fn await_start(&mut self) -> Outcome {
        if self.setup.says_ready {
            self.wire.send(&Message::Ready).part(Operation::Talk)?;
        }
        self.await_message(|m| matches!(m, Message::Start))?;
        let Some(Gate::Listener { socket, lock }) = self.gate.take() else { return Ok(()) };
        self.listener_lock = Some(lock);
        loop {
            let flags = rustix::net::SocketFlags::CLOEXEC;
            let connection = match rustix::net::accept_with(&socket, flags) {
                Err(Errno::INTR | Errno::CONNABORTED) => continue,
                result => result.part(Operation::Talk)?,
            };
            self.wire.move_to(connection);
            // Whoever connects without a word of sense does not start the container.
            if matches!(self.wire.receive(), Ok(Some(Message::Start))) {
                break;
            }
        }
        if self.setup.program.args.is_empty() {
            return Err(Failed::new(Operation::NoProcess, Errno::NOENT));
        }
        Ok(())
    }
}

/// A working directory outside the root has no path that leads there (getcwd(2)): the way out that
/// a leaked descriptor of a host directory gives (CVE-2024-21626). The answer is about the directory, and
/// the same for every user: no permission has a part in it.
fn check_directory() -> Outcome {
    let cwd = rustix::process::getcwd(Vec::new()).part(Operation::Itself)?;
    if cwd.to_bytes().starts_with(b"/") {
        Ok(())
    } else {
        Err(Failed::new(Operation::OutsideRoot, Errno::NOENT))
    }
}

/// Has the parent open the source of the bind mount that is this step.
fn ask_source(wire: &Wire, step: u32) -> Result<OwnedFd, Failed> {
    wire.send(&Message::NeedSource(step)).part(Operation::Talk)?;
    match wire.receive().part(Operation::Talk)? {
        Some(Message::Source(tree)) => Ok(tree),
        Some(Message::Refused(operation, errno)) => Err(Failed::new(operation, errno)),
        Some(_) => Err(Failed::new(Operation::Talk, Errno::PROTO)),
        None => sys::process::exit(1),
    }
}
