//! What init does, one [`Step`] after the other.

use std::ffi::CString;
use std::fmt;

use rustix::process::Resource;

use super::mount::{Mount, Opener, Remount, Source, attributes, propagation_name};
use super::origin::Origin;
pub use crate::lsm::Attribute;
use crate::seccomp::Program;
pub use crate::sys::schedule::Scheduling;

/// One thing that init does inside the new namespaces, and who asked for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The line of config.json that asked for it.
    pub origin: Origin,
    /// What to do.
    pub action: Action,
}

impl Step {
    /// Whether init may ask the parent for something to do it.
    pub fn may_ask(&self) -> bool {
        match &self.action {
            Action::Mount(mount) => match &mount.source {
                Source::Bind(bind) => bind.opener != Opener::Init || bind.ids.is_some(),
                Source::Filesystem(_) => false,
            },
            _ => false,
        }
    }
}

/// The closed set of things init can do. Paths inside the root file system are relative to it, and
/// are resolved below its descriptor only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Waits until the parent has written the id maps and put us into the cgroup.
    AwaitParent,
    /// Takes root's ids in the container's user namespace.
    BecomeRoot {
        /// 0, or the first that is mapped.
        uid: u32,
        /// 0, or the first that is mapped.
        gid: u32,
    },
    /// Becomes the leader of a new session (setsid(2)).
    NewSession,
    /// Joins a new session keyring of this name (keyrings(7)).
    SessionKeyring(CString),
    /// Leaves the runtime's cgroup namespace, once in the container's cgroup.
    CgroupNamespace,
    /// Brings the loopback device of a new network namespace up.
    Loopback,
    /// Sets the propagation of every mount of the new mount namespace: `MS_*` flags.
    Propagation(u64),
    /// Makes the root file system a mount of its own; all that follows happens below it.
    Root {
        /// The directory, as an absolute path of the host.
        path: CString,
        /// `MS_*` propagation that it has while mounts are made in it; 0: what it comes with.
        propagation: u64,
        /// The mount around it may be shared; pivot_root(2) does not want that.
        shared: bool,
    },
    /// Takes the root of the mount namespace that was joined.
    JoinedRoot,
    /// Mounts something.
    Mount(Box<Mount>),
    /// Changes a mount that is there, and its file system where that has options.
    Remount(Box<Remount>),
    /// Takes the mounts at these places away: all of them, or none where one is none.
    Unmount(Vec<CString>),
    /// Changes the attributes of a mount that is there.
    Attributes {
        /// Where it is mounted; empty for the root.
        target: CString,
        /// `MOUNT_ATTR_*` to set.
        set: u64,
        /// `MOUNT_ATTR_*` to clear.
        clear: u64,
        /// Also of all mounts below it.
        recursive: bool,
    },
    /// Makes a device node, or binds the host's where mknod is not allowed.
    Device(Device),
    /// Makes a symbolic link, if its target is there.
    Link {
        /// Where it is made.
        path: CString,
        /// What it contains.
        target: CString,
        /// Only if this path of the host's /proc exists.
        only_if: Option<CString>,
    },
    /// Opens the container's terminal, sends it to the parent, and binds it on /dev/console.
    Console {
        /// Rows and columns, if the configuration has them.
        size: Option<(u16, u16)>,
        /// Whether it becomes the container's /dev/console.
        bind: bool,
    },
    /// Writes a file below the host's /proc, which is still ours to see.
    WriteProc {
        /// The file, below /proc.
        path: CString,
        /// What is written.
        value: CString,
    },
    /// Sets the host name.
    Hostname(CString),
    /// Sets the NIS domain name.
    Domainname(CString),
    /// Has the parent run the hooks of the runtime namespace.
    RuntimeHooks,
    /// Runs the createContainer hooks.
    ContainerHooks,
    /// Runs the startContainer hooks.
    StartHooks,
    /// Makes a path read-only, if it is there.
    ReadonlyPath(CString),
    /// Hides a path, if it is there: a directory below an empty one, a file below /dev/null.
    MaskPath {
        /// The path.
        path: CString,
        /// The SELinux context of the empty directory.
        label: Option<CString>,
    },
    /// Makes the new root the root, and lets go of the old one.
    EnterRoot {
        /// Moves the mount and calls chroot(2) in place of pivot_root(2).
        no_pivot: bool,
    },
    /// Sets the propagation of the root: `MS_*` flags.
    RootPropagation(u64),
    /// Labels the process, from its next execve(2) on.
    Label {
        /// Where.
        attribute: Attribute,
        /// With what.
        label: String,
    },
    /// Allows all CPUs of the cpuset again: what allowed the runtime less means the runtime.
    AllCpus,
    /// Allows these CPUs: bit n is CPU n (sched_setaffinity(2)).
    Cpus(Vec<u64>),
    /// Sets policy and priority (sched_setattr(2)).
    Scheduling(Box<Scheduling>),
    /// Sets the class, in bits 13 to 15, and the priority of input and output (ioprio_set(2)).
    IoPriority(u16),
    /// Sets where memory is taken from (set_mempolicy(2)).
    MemoryPolicy {
        /// `MPOL_*` with `MPOL_F_*`.
        mode: u32,
        /// Bit n is node n.
        nodes: Vec<u64>,
    },
    /// Sets the execution domain: `PER_*` (personality(2)).
    Personality(u32),
    /// Sets a resource limit (setrlimit(2)).
    Rlimit {
        /// Of what.
        resource: Resource,
        /// The soft limit.
        soft: u64,
        /// The hard limit.
        hard: u64,
    },
    /// Sets the mask of file modes (umask(2)).
    Umask(u32),
    /// Forbids gaining privileges by execve(2).
    NoNewPrivileges,
    /// Becomes the user, with exactly these capabilities, and checks that it is so.
    User(Box<Identity>),
    /// Installs a system call filter.
    Seccomp(Box<Program>),
    /// Finds the user's home in the container's /etc/passwd for `HOME`.
    Home(u32),
    /// Makes a directory, if it is missing.
    Directory(CString),
    /// Changes into the working directory and checks that it is inside the root (CVE-2024-21626), or
    /// leaves both to [`Action::DirectoryAsUser`] where only the user may.
    WorkingDirectory(CString),
    /// Does what [`Action::WorkingDirectory`] was not allowed to.
    DirectoryAsUser(CString),
    /// Finds the program, as execvp(3) would.
    FindProgram,
    /// Says that all is made, and waits for the word to start.
    AwaitStart,
    /// Becomes the program.
    Execute,
}

/// A device node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Where, relative to the root.
    pub path: CString,
    /// Block, character or fifo.
    pub kind: DeviceKind,
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
    /// Permission bits.
    pub mode: u32,
    /// Owner in the container.
    pub uid: u32,
    /// Group in the container.
    pub gid: u32,
    /// Binds the host's node of the same path: a user namespace may not make any.
    pub bind: bool,
}

/// The kinds of node that mknod(2) makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceKind {
    /// A character device: `c`, `u`.
    Char,
    /// A block device: `b`.
    Block,
    /// A named pipe: `p`.
    Fifo,
}

/// Who the process is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// User id in the container.
    pub uid: u32,
    /// Group id in the container.
    pub gid: u32,
    /// Supplementary groups; `None`: none are asked for, and the user namespace may forbid to drop
    /// those that the caller has (user_namespaces(7), setgroups).
    pub groups: Option<Vec<u32>>,
    /// Keeps the runtime's own supplementary groups, whatever is asked for: crun's
    /// `run.oci.keep_original_groups`.
    pub keeps_groups: bool,
    /// The five capability sets.
    pub capabilities: Capabilities,
}

/// The five capability sets as bit masks (capabilities(7)): bit n is capability n.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// The limit of what execve(2) can give.
    pub bounding: u64,
    /// What the kernel checks.
    pub effective: u64,
    /// What survives into a file's inheritable set.
    pub inheritable: u64,
    /// What may become effective.
    pub permitted: u64,
    /// What a program without file capabilities keeps over execve(2).
    pub ambient: u64,
}

/// What is being done, as an error names it: `mounting proc on /proc`.
impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |c: &CString| c.to_string_lossy().into_owned();
        match self {
            Self::AwaitParent => f.write_str("waiting for id maps and cgroup"),
            Self::BecomeRoot { .. } => f.write_str("becoming root of the user namespace"),
            Self::NewSession => f.write_str("starting a session"),
            Self::SessionKeyring(name) => write!(f, "joining session keyring {}", text(name)),
            Self::CgroupNamespace => f.write_str("entering a new cgroup namespace"),
            Self::Loopback => f.write_str("bringing the loopback device up"),
            Self::Propagation(flags) => {
                write!(f, "making all mounts {}", propagation_name(*flags))
            }
            Self::Root { path, .. } => write!(f, "mounting root file system {}", text(path)),
            Self::JoinedRoot => f.write_str("opening the container's root"),
            Self::Mount(mount) => mount.fmt(f),
            Self::Remount(remount) => write!(f, "remounting /{}", text(&remount.target)),
            Self::Unmount(_) => f.write_str("taking mounts away"),
            Self::Attributes { target, set, clear, .. } => {
                write!(f, "changing mount /{} to {}", text(target), attributes(*set, *clear))
            }
            Self::Device(device) => write!(
                f,
                "{} device /{}",
                if device.bind { "binding" } else { "making" },
                text(&device.path)
            ),
            Self::Link { path, target, .. } => {
                write!(f, "linking /{} to {}", text(path), text(target))
            }
            Self::Console { .. } => f.write_str("opening the terminal"),
            Self::WriteProc { path, value } => {
                write!(f, "writing {:?} to /proc/{}", text(value), text(path))
            }
            Self::Hostname(name) => write!(f, "setting hostname {}", text(name)),
            Self::Domainname(name) => write!(f, "setting domainname {}", text(name)),
            Self::RuntimeHooks => f.write_str("running createRuntime hooks"),
            Self::ContainerHooks => f.write_str("running createContainer hooks"),
            Self::StartHooks => f.write_str("running startContainer hooks"),
            Self::ReadonlyPath(path) => write!(f, "making /{} read-only", text(path)),
            Self::MaskPath { path, .. } => write!(f, "masking /{}", text(path)),
            Self::EnterRoot { no_pivot: false } => f.write_str("entering the root by pivot_root"),
            Self::EnterRoot { no_pivot: true } => f.write_str("entering the root by chroot"),
            Self::RootPropagation(flags) => {
                write!(f, "making the root {}", propagation_name(*flags))
            }
            Self::Label { attribute: Attribute::AppArmorExec, label } => {
                write!(f, "applying AppArmor profile {label}")
            }
            Self::Label { attribute: Attribute::SelinuxExec, label } => {
                write!(f, "applying SELinux label {label}")
            }
            Self::Label { attribute: Attribute::SelinuxKey, label } => {
                write!(f, "applying SELinux label {label} to keys")
            }
            Self::AllCpus => f.write_str("allowing all CPUs"),
            Self::Cpus(_) => f.write_str("setting the CPU affinity"),
            Self::Scheduling(_) => f.write_str("setting the scheduling policy"),
            Self::IoPriority(_) => f.write_str("setting the priority of input and output"),
            Self::MemoryPolicy { .. } => f.write_str("setting the memory policy"),
            Self::Personality(_) => f.write_str("setting the personality"),
            Self::Rlimit { resource, soft, hard } => {
                let name = format!("{resource:?}").to_uppercase();
                write!(f, "setting RLIMIT_{name} to {soft}:{hard}")
            }
            Self::Umask(mask) => write!(f, "setting umask {mask:04o}"),
            Self::NoNewPrivileges => f.write_str("setting no-new-privileges"),
            Self::User(identity) => {
                write!(f, "becoming user {}:{}", identity.uid, identity.gid)
            }
            Self::Seccomp(program) => {
                write!(
                    f,
                    "installing a seccomp filter of {} instructions",
                    program.instructions.len()
                )
            }
            Self::Home(uid) => write!(f, "finding the home of user {uid}"),
            Self::Directory(path) => write!(f, "making directory /{}", text(path)),
            Self::WorkingDirectory(path) => write!(f, "changing to directory {}", text(path)),
            Self::DirectoryAsUser(path) => {
                write!(f, "changing to directory {} where only the user may", text(path))
            }
            Self::FindProgram => f.write_str("finding the program"),
            Self::AwaitStart => f.write_str("waiting for start"),
            Self::Execute => f.write_str("executing the program"),
        }
    }
}
