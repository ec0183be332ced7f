//! What version 2 of control groups does its own way (kernel documentation, cgroup-v2.rst).

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{self, AtFlags, OFlags};
use rustix::io;
use rustix::process::{Pid, Resource, Rlimit, Uid, getrlimit, setrlimit};

use super::device::{DeviceRule, Policy};
use super::dir::Dir;
use super::program;
use crate::error::Context;
use crate::sys::bpf;
use crate::{Errno, Error, Result};

/// Enables controllers in every cgroup from the mount down to the parent, so that the container's
/// has their files; `every` other one too, as far as that goes.
pub(super) fn enable(mount: &Path, dir: &Dir, controllers: &[&str], every: bool) -> Result<()> {
    if controllers.is_empty() && !every {
        return Ok(());
    }
    let reading =
        |errno| Error::new(format!("reading the controllers of {}", dir.path.display())).os(errno);
    let present = dir.read("cgroup.controllers").map_err(reading)?;
    let mut missing: Vec<&str> = controllers.to_vec();
    let available;
    if every {
        let top = Dir::new(Vec::new(), mount.to_owned());
        available = top.read("cgroup.controllers").map_err(reading)?;
        missing.extend(available.split_whitespace());
    }
    let has = |controllers: &str, name: &str| controllers.split_whitespace().any(|one| one == name);
    missing.retain(|name| !has(&present, name));
    if missing.is_empty() {
        return Ok(());
    }
    let mut refused = Vec::new();
    let above: Vec<&Path> =
        dir.path.ancestors().skip(1).take_while(|path| path.starts_with(mount)).collect();
    for path in above.into_iter().rev() {
        enable_in(&Dir::new(Vec::new(), path.to_owned()), &missing, &mut refused);
    }
    if controllers.is_empty() {
        return Ok(());
    }
    let present = dir.read("cgroup.controllers").map_err(reading)?;
    let Some(lacking) = controllers.iter().find(|name| !has(&present, name)) else {
        return Ok(());
    };
    let error = Error::new(format!("enabling the {lacking} controller for {}", dir.path.display()))
        .at("/linux/resources", None);
    let top = Dir::new(Vec::new(), mount.to_owned());
    if !has(&top.read("cgroup.controllers").map_err(reading)?, lacking) {
        return Err(error.because("the machine or the cgroup above lacks it"));
    }
    // What one cgroup refuses, those below it do not have: the lowest other answer counts, since
    // the first may be about a cgroup that hands the controller on already.
    let of_it = |(name, errno): &&(&str, Errno)| name == lacking && *errno != Errno::NOENT;
    Err(match refused.iter().rfind(of_it) {
        None => error.because("the machine or the cgroup above lacks it"),
        Some((_, Errno::BUSY)) => error.os(Errno::BUSY).help(
            "a cgroup above it has processes in it, and so can't hand controllers on; choose \
             another linux.cgroupsPath",
        ),
        Some((_, Errno::ACCESS | Errno::PERM)) => error.os(Errno::ACCESS).help(
            "the cgroup above is another's: have this controller delegated to you (systemd: \
             Delegate=), or leave the limit out",
        ),
        // cgroup-v2.rst, "Threads".
        Some((_, Errno::OPNOTSUPP)) => error.os(Errno::OPNOTSUPP).help(
            "a cgroup above it is threaded, where only such limits hold as are kept for single \
             threads (cpu, cpuset, pids); choose another linux.cgroupsPath",
        ),
        Some((_, errno)) => error.os(*errno),
    })
}

/// Enables controllers in one cgroup, together or, if that fails, as many as it lets.
fn enable_in<'a>(dir: &Dir, controllers: &[&'a str], refused: &mut Vec<(&'a str, Errno)>) {
    let file = "cgroup.subtree_control";
    let all: Vec<String> = controllers.iter().map(|name| format!("+{name}")).collect();
    if dir.write(file, &all.join(" ")).is_ok() {
        return;
    }
    for (name, word) in controllers.iter().zip(&all) {
        if let Err(errno) = dir.write(file, word) {
            refused.push((name, errno));
        }
    }
}

/// Moves a process in.
pub(super) fn enter(dir: &Dir, pid: &str) -> Result<(), Errno> {
    match dir.write("cgroup.procs", pid) {
        // Below a threaded cgroup, only a threaded one takes processes (cgroup-v2.rst, "Threads").
        Err(Errno::OPNOTSUPP) => {
            dir.write("cgroup.type", "threaded")?;
            dir.write("cgroup.procs", pid)
        }
        answer => answer,
    }
}

/// Says why a process may not go in: what the kernel has against it shows in the type of the cgroup
/// (cgroup-v2.rst, "Threads" and "No Internal Process Constraint").
pub(super) fn entering(dir: &Dir, pid: Pid, errno: Errno) -> Error {
    let error = Error::new(format!("moving process {pid} into {}", dir.path.display())).os(errno);
    if !dir.controllers.is_empty() {
        return error;
    }
    let kind = dir.read("cgroup.type").unwrap_or_default();
    match (errno, kind.trim_end()) {
        (Errno::OPNOTSUPP, "domain invalid" | "threaded") => error
            .at("/linux/cgroupsPath", None)
            .because(format!("the cgroup is {:?}", kind.trim_end()))
            .help("a cgroup above it is threaded, and takes threads only: choose another place"),
        (Errno::BUSY, "domain threaded") => error
            .because("the cgroup is the root of threaded ones".to_owned())
            .help("remove the threaded cgroups below it"),
        (Errno::BUSY, _) => error.at("/linux/cgroupsPath", None).help(
            "it hands controllers on to cgroups below it, and so takes no processes itself; \
             choose one of those",
        ),
        _ => error,
    }
}

/// Whether any process is in it or below it.
pub(super) fn populated(dir: &Dir) -> Result<bool, Errno> {
    Ok(dir.read("cgroup.events")?.lines().any(|line| line == "populated 1"))
}

/// Whether it is frozen itself, or about to be.
pub(super) fn frozen(dir: &Dir) -> Result<bool, Errno> {
    match dir.read("cgroup.freeze") {
        Ok(text) => Ok(text.trim_end() == "1"),
        // Before Linux 5.2 there is no such file.
        Err(Errno::NOENT | Errno::NODEV) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// Asks for all processes to stop, and waits until they have.
pub(super) fn freeze(dir: &Dir) -> Result<(), Errno> {
    let events = dir.open("cgroup.events", OFlags::RDONLY)?;
    dir.write("cgroup.freeze", "1")?;
    wait_frozen(events.as_fd()).inspect_err(|_| _ = thaw(dir))
}

/// Lets the processes run again.
pub(super) fn thaw(dir: &Dir) -> Result<(), Errno> {
    dir.write("cgroup.freeze", "0")
}

/// A process in an uninterruptible sleep holds the others up.
fn wait_frozen(events: BorrowedFd<'_>) -> Result<(), Errno> {
    let end = Instant::now() + Duration::from_secs(10);
    let mut text = [0; 256];
    loop {
        let length = io::pread(events, &mut text, 0)?;
        if text[..length].split(|&byte| byte == b'\n').any(|line| line == b"frozen 1") {
            return Ok(());
        }
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Errno::TIMEDOUT);
        }
        let left = Timespec::try_from(left).map_err(|_| Errno::INVAL)?;
        match poll(&mut [PollFd::from_borrowed_fd(events, PollFlags::PRI)], Some(&left)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

/// Kills every process in it and below it, at once; frozen ones and new ones too. ENOENT before
/// Linux 5.14.
pub(super) fn kill(dir: &Dir) -> Result<(), Errno> {
    dir.write("cgroup.kill", "1")
}

/// Gives the directory to a user, with the files that may go with it.
pub(super) fn delegate(dir: &Dir, owner: Uid) -> Result<()> {
    let files = std::fs::read_to_string("/sys/kernel/cgroup/delegate");
    // Before Linux 4.15, or without sysfs.
    let files = files.as_deref().unwrap_or("cgroup.procs\ncgroup.threads\ncgroup.subtree_control");
    for file in std::iter::once("").chain(files.lines()) {
        let flags = if file.is_empty() { AtFlags::EMPTY_PATH } else { AtFlags::SYMLINK_NOFOLLOW };
        match dir.fd().and_then(|fd| fs::chownat(fd, file, Some(owner), None, flags)) {
            // The list is of all controllers' files, those that are off included.
            Err(Errno::NOENT) if !file.is_empty() => {}
            answer => answer
                .what(|| format!("giving {} to user {owner}", dir.path.join(file).display()))?,
        }
    }
    Ok(())
}

/// Attaches the rules as a BPF program, in the place of those attached before.
pub(super) fn set_devices(dir: &Dir, rules: &[DeviceRule]) -> Result<()> {
    let policy = Policy::new(rules);
    attach(dir, &policy).what(|| format!("setting the device rules of {}", dir.path.display()))
}

fn attach(dir: &Dir, policy: &Policy) -> Result<(), Errno> {
    let cgroup = dir.fd()?;
    let old = bpf::attached_device_programs(cgroup)?;
    if policy.allows_all() && old.is_empty() {
        return Ok(());
    }
    let program = load(&program::compile(policy)?)?;
    let old = old.into_iter().filter_map(|id| match bpf::open_program(id) {
        // Detached meanwhile, or a security module keeps it from us: it can but deny more.
        Err(Errno::NOENT | Errno::ACCESS | Errno::PERM) => None,
        opened => Some(opened),
    });
    let old = old.collect::<Result<Vec<_>, _>>()?;
    let mut old = old.iter();
    // One goes at once, so that there is no moment without rules nor with both; others, such as
    // another manager's, once the new rules hold.
    bpf::attach_device_program(cgroup, program.as_fd(), old.next().map(AsFd::as_fd))?;
    for program in old {
        match bpf::detach_device_program(cgroup, program.as_fd()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// Before Linux 5.11, programs count against `RLIMIT_MEMLOCK`, which tends to be small.
fn load(program: &[bpf::Instruction]) -> Result<OwnedFd, Errno> {
    match bpf::load_device_program(program) {
        Err(Errno::PERM) => {}
        answer => return answer,
    }
    let before = getrlimit(Resource::Memlock);
    let raised = setrlimit(Resource::Memlock, Rlimit { current: None, maximum: None })
        .or_else(|_| setrlimit(Resource::Memlock, Rlimit { current: before.maximum, ..before }));
    if raised.is_err() {
        return Err(Errno::PERM);
    }
    let loaded = bpf::load_device_program(program);
    // The container would inherit it.
    setrlimit(Resource::Memlock, before)?;
    loaded
}
