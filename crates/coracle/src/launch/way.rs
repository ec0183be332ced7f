//! The way into the namespaces: a [`Recipe`] with the files that it needs.

use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{CWD, Mode, OFlags, fstatfs, openat, stat};
use rustix::io::Errno;
use rustix::process::{DumpableBehavior, WaitId, WaitIdOptions, set_dumpable_behavior, waitid};
use rustix::thread::{CapabilitySet, capabilities};

use crate::config::NamespaceKind;
use crate::error::{Context, Error, Result};
use crate::init::Outside;
use crate::plan::namespaces::{self, flag_of};
use crate::plan::{Join, Namespaces, Recipe, recipe};
use crate::sys::process::{self, Cloned};
use crate::wire::{Message, Operation, Wire};

/// How the first process comes into its namespaces.
#[derive(Debug, Default)]
pub(crate) struct Way {
    /// What is joined, in order.
    joined: Vec<Joined>,
    /// `CLONE_NEW*` that the process in between makes for itself.
    unshare: u64,
    /// `CLONE_NEW*` of the clone.
    pub(super) clone: u64,
    /// What is written to timens_offsets.
    clock_offsets: Option<CString>,
    /// The file systems that are made before the user namespace is entered.
    pub(super) outside: Vec<&'static std::ffi::CStr>,
}

/// What setns(2) is given.
#[derive(Debug)]
pub(super) struct Joined {
    /// A namespace, or a process's descriptor.
    file: OwnedFd,
    /// `CLONE_NEW*`.
    flags: u64,
    /// The index in `/linux/namespaces`, or [`Joined::PROCESS`].
    index: u32,
}

impl Joined {
    /// In place of an index: all those of a process.
    pub(super) const PROCESS: u32 = u32::MAX;
}

/// What failed in the process in between: the operation, what it is about, the kernel's answer.
type Failed = (Operation, u32, Errno);

impl Way {
    /// Opens the namespaces that are joined, checks that each is what it is given as, and picks the
    /// recipe.
    pub(crate) fn new(namespaces: &Namespaces) -> Result<Self> {
        let mut joined = Vec::with_capacity(namespaces.join.len());
        for join in &namespaces.join {
            joined.extend(open(join)?);
        }
        let kinds: Vec<u64> = joined.iter().map(|join| join.flags).collect();
        let Recipe { join, unshare, clone } = recipe(namespaces.new, &kinds, is_privileged(&kinds));
        let place = |index| join.iter().position(|other| *other == index);
        let mut in_order: Vec<(usize, Joined)> = joined.into_iter().enumerate().collect();
        in_order.sort_by_key(|(index, _)| place(*index));
        Ok(Self {
            joined: in_order.into_iter().map(|(_, join)| join).collect(),
            unshare,
            clone,
            clock_offsets: namespaces.clock_offsets.clone(),
            outside: namespaces.outside.clone(),
        })
    }

    /// Into the namespaces, all those in `flags`, that process `pid` is in.
    pub(crate) fn to_process(pidfd: OwnedFd, pid: u32, flags: u64) -> Self {
        let user = flag_of(NamespaceKind::User);
        let is_own = || match (stat("/proc/self/ns/user"), stat(format!("/proc/{pid}/ns/user"))) {
            (Ok(own), Ok(that)) => (own.st_dev, own.st_ino) == (that.st_dev, that.st_ino),
            _ => false,
        };
        // setns(2) does not let a process into the user namespace that it is in.
        let flags = if flags & user != 0 && is_own() { flags & !user } else { flags };
        Self {
            joined: vec![Joined { file: pidfd, flags, index: Joined::PROCESS }],
            ..Self::default()
        }
    }

    /// Whether a process in between has to go it.
    pub(super) fn staged(&self) -> bool {
        !self.joined.is_empty() || self.unshare != 0
    }

    /// Goes it, up to the clone; gives back what was made on the way. With `hide`, nobody in a
    /// namespace that is joined can trace this process or what it clones (CVE-2016-9962).
    pub(super) fn enter(&self, hide: bool) -> Result<Outside, Failed> {
        let clocks = |errno| (Operation::SetClocks, 0, errno);
        // Opened while its owner is still somebody this process may be.
        let offsets = match &self.clock_offsets {
            None => None,
            Some(lines) => {
                let flags = OFlags::WRONLY | OFlags::CLOEXEC;
                let file = openat(CWD, c"/proc/self/timens_offsets", flags, Mode::empty());
                Some((file.map_err(clocks)?, lines))
            }
        };
        if hide {
            set_dumpable_behavior(DumpableBehavior::NotDumpable)
                .map_err(|errno| (Operation::Undumpable, 0, errno))?;
        }
        for join in &self.joined {
            process::setns(join.file.as_fd(), as_int(join.flags))
                .map_err(|errno| (Operation::JoinNamespace, join.index, errno))?;
        }
        let outside = self.make_outside();
        if self.unshare != 0 {
            process::unshare(as_int(self.unshare))
                .map_err(|errno| (Operation::MakeNamespace, 0, errno))?;
        }
        if let Some((file, lines)) = offsets {
            let bytes = lines.to_bytes();
            match rustix::io::write(&file, bytes) {
                Ok(written) if written == bytes.len() => {}
                Ok(_) => return Err(clocks(Errno::IO)),
                Err(errno) => return Err(clocks(errno)),
            }
        }
        Ok(outside)
    }

    /// Makes the file systems of the namespaces that have been joined.
    fn make_outside(&self) -> Outside {
        let pid = flag_of(NamespaceKind::Pid);
        if self.joined.iter().all(|join| join.flags != pid) {
            return Outside::make(&self.outside);
        }
        // A pid namespace is joined by what is cloned next, and proc shows its maker's.
        let (of_children, own): (Vec<_>, Vec<_>) =
            self.outside.iter().copied().partition(|kind| *kind == c"proc");
        let mut outside = Outside::make(&own);
        for kind in of_children {
            if let Some(mount) = proc_of_children() {
                outside.add(kind, mount);
            }
        }
        outside
    }
}

/// A proc of the pid namespace that new processes of this one are in, made by such a process.
fn proc_of_children() -> Option<OwnedFd> {
    let (ours, theirs) = Wire::pair().ok()?;
    match process::clone3(0, None).ok()? {
        Cloned::Child => {
            if let Some(mount) = Outside::make(&[c"proc"]).take(c"proc") {
                let _ = theirs.send(&Message::Filesystem(mount));
            }
            process::exit(0)
        }
        Cloned::Parent { pidfd, .. } => {
            drop(theirs);
            let message = ours.receive();
            let _ = waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED);
            match message {
                Ok(Some(Message::Filesystem(mount))) => Some(mount),
                _ => None,
            }
        }
    }
}

#[allow(clippy::cast_possible_truncation)] // CLONE_NEW* fit an int
fn as_int(flags: u64) -> i32 {
    flags as i32
}

/// Whether this process may join what its own user namespace owns. Asked only where the answer
/// makes a difference.
fn is_privileged(kinds: &[u64]) -> bool {
    kinds.contains(&flag_of(NamespaceKind::User))
        && capabilities(None).is_ok_and(|held| held.effective.contains(CapabilitySet::SYS_ADMIN))
}

/// Opens a namespace that is to be joined, and checks that it is of the type it is given as; `None`
/// if this process is in it and need not join.
fn open(join: &Join) -> Result<Option<Joined>> {
    /// `NSFS_MAGIC` of linux/magic.h.
    const NSFS: u64 = 0x6e73_6673;
    let refused = |error: Error| {
        let pointer = format!("/linux/namespaces/{}/path", join.index);
        error.at(pointer, Some(format!("{:?}", join.path.to_string_lossy())))
    };
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = openat(CWD, &join.path, flags, Mode::empty())
        .what(|| "opening a namespace")
        .map_err(|error| refused(with_help(error)))?;
    #[allow(clippy::cast_sign_loss)] // a magic number
    let is_namespace = fstatfs(&file).is_ok_and(|of| of.f_type as u64 == NSFS);
    // Asked only of namespaces: to a device the number may mean something else.
    let kind = if is_namespace { process::namespace_kind(file.as_fd()) } else { Err(Errno::INVAL) };
    let Ok(kind) = kind else {
        return Err(refused(Error::new("the file is not a namespace"))
            .help("give the path of a file such as /proc/PID/ns/net"));
    };
    if kind != as_int(join.kind) {
        let found = namespaces::KINDS.iter().find(|(_, flag, _)| as_int(*flag) == kind);
        return Err(refused(
            Error::new("the file is not a namespace of this type")
                .because(format!("it is of type {}", found.map_or("unknown", |(_, _, name)| name))),
        )
        .help("give the path of a file such as /proc/PID/ns/net"));
    }
    let own = |path: &str| match (stat(path), rustix::fs::fstat(&file)) {
        (Ok(own), Ok(that)) => (own.st_dev, own.st_ino) == (that.st_dev, that.st_ino),
        _ => false,
    };
    // setns(2) does not let a process into the user namespace that it is in.
    if join.kind == flag_of(NamespaceKind::User) && own("/proc/self/ns/user") {
        return Ok(None);
    }
    // Entering the container's root would change the root of every process there.
    let of_mounts = join.kind == flag_of(NamespaceKind::Mount);
    if of_mounts && ["/proc/self/ns/mnt", "/proc/1/ns/mnt"].into_iter().any(own) {
        return Err(refused(Error::new("the container would be given the host's own mounts"))
            .help("leave the path out for a new mount namespace"));
    }
    let index = u32::try_from(join.index).unwrap_or(0);
    Ok(Some(Joined { file, flags: join.kind, index }))
}

/// Says what a path that cannot be opened usually is.
fn with_help(error: Error) -> Error {
    match error.errno() {
        Some(Errno::NOENT | Errno::NOTDIR) => {
            error.help("the process is gone that had it, or nothing is mounted there")
        }
        Some(Errno::ACCESS | Errno::PERM) => {
            error.help("the namespaces of a process are for those who may trace it (ptrace(2))")
        }
        _ => error,
    }
}
