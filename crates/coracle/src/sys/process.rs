//! Making processes and programs: clone3(2), execve(2), unshare(2).

use std::ffi::{CStr, CString};
use std::mem::size_of;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::io::Errno;

use super::check;

/// `struct clone_args` of clone3(2), Linux 5.7's size (with `cgroup`).
#[repr(C, align(8))]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// What clone3 returned, seen from either side.
pub(crate) enum Cloned {
    /// In the new process.
    Child,
    /// In the one that called: the child's id as seen from here, and a descriptor for it.
    Parent { pid: u32, pidfd: OwnedFd },
}

/// Fails with EINVAL when this process has more than one thread (unshare(2), `CLONE_THREAD`).
///
/// A copy of a threaded process may hold a lock that nobody will ever give back.
pub(crate) fn assert_single_threaded() -> Result<(), Errno> {
    // SAFETY: CLONE_THREAD alone changes nothing; it only fails in a threaded process.
    check(libc::c_long::from(unsafe { libc::unshare(libc::CLONE_THREAD) }))?;
    Ok(())
}

/// clone3(2) without a stack of its own: the child goes on from here, as after fork(2), in new
/// namespaces (`CLONE_NEW*` in `flags`) and, if given, born into the cgroup v2 directory `cgroup`.
///
/// The caller is single-threaded (see [`assert_single_threaded`]).
#[allow(clippy::cast_sign_loss)] // descriptors and flags are not negative
pub(crate) fn clone3(flags: u64, cgroup: Option<BorrowedFd<'_>>) -> Result<Cloned, Errno> {
    let mut pidfd: i32 = -1;
    let mut args = CloneArgs {
        flags: flags | libc::CLONE_PIDFD as u64,
        pidfd: std::ptr::from_mut(&mut pidfd) as u64,
        // CLONE_PARENT takes its parent's exit signal and allows none of its own.
        exit_signal: if flags & libc::CLONE_PARENT as u64 == 0 { libc::SIGCHLD as u64 } else { 0 },
        ..CloneArgs::default()
    };
    if let Some(cgroup) = cgroup {
        /// Linux 5.7; libc's constant has too few bits for it.
        const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = cgroup.as_raw_fd() as u64;
    }
    // SAFETY: neither CLONE_VM nor a stack is asked for, so the child has a copy of all memory and
    // goes on on the same stack; `pidfd` outlives the call; the process has one thread, so no lock
    // is left held in the copy.
    let pid = check(unsafe {
        libc::syscall(libc::SYS_clone3, std::ptr::from_mut(&mut args), size_of::<CloneArgs>())
    })?;
    if pid == 0 {
        return Ok(Cloned::Child);
    }
    // SAFETY: with CLONE_PIDFD the kernel has stored a new descriptor there, which is ours.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // a pid_t above 0
    Ok(Cloned::Parent { pid: pid as u32, pidfd })
}

/// unshare(2): leaves namespaces. Only those that a single-threaded process may leave.
pub(crate) fn unshare(flags: i32) -> Result<(), Errno> {
    // SAFETY: the flags are CLONE_NEW* only; none of them touches memory or descriptors.
    check(libc::c_long::from(unsafe { libc::unshare(flags) }))?;
    Ok(())
}

/// setns(2): joins namespaces, by one namespace's descriptor or by a process's with all `flags`.
pub(crate) fn setns(fd: BorrowedFd<'_>, flags: i32) -> Result<(), Errno> {
    // SAFETY: the descriptor is borrowed for the call; no memory is touched.
    check(libc::c_long::from(unsafe { libc::setns(fd.as_raw_fd(), flags) }))?;
    Ok(())
}

/// A null-terminated array of pointers, as execve(2) takes it.
pub(super) fn pointers(strings: &[CString]) -> Vec<*const libc::c_char> {
    strings.iter().map(|s| s.as_ptr()).chain(std::iter::once(std::ptr::null())).collect()
}

/// execve(2). Returns only if it failed.
pub(crate) fn execve(path: &CStr, args: &[CString], env: &[CString]) -> Errno {
    let (args, env) = (pointers(args), pointers(env));
    // SAFETY: both arrays end in null and point to strings that outlive the call.
    let answer = unsafe { libc::execve(path.as_ptr(), args.as_ptr(), env.as_ptr()) };
    match check(libc::c_long::from(answer)) {
        Err(errno) => errno,
        // execve does not return success; the kernel would have replaced this code.
        Ok(_) => Errno::NOEXEC,
    }
}

/// Ends this process at once, without destructors or exit handlers, which belong to the parent.
pub(crate) fn exit(code: i32) -> ! {
    // SAFETY: _exit takes any integer and does not return.
    unsafe { libc::_exit(code) }
}

/// Closes every descriptor from `first` on but those in `keep` (close_range(2), Linux 5.9): what an
/// engine or our own parent left open must not reach the container (CVE-2024-21626).
///
/// For a new process that goes on with nothing but `keep`: whatever else its copy of the memory
/// owns is not used, nor dropped, any more.
pub(crate) fn close_all_from(first: u32, keep: &[BorrowedFd<'_>]) -> Result<(), Errno> {
    let close = |from: u32, to: u32| {
        // SAFETY: owners of the descriptors closed here are in memory that this process does not
        // use again, as the caller promises.
        check(unsafe { libc::syscall(libc::SYS_close_range, from, to, 0) }).map(drop)
    };
    #[allow(clippy::cast_sign_loss)] // an open descriptor is not negative
    let mut kept: Vec<u32> = keep.iter().map(|fd| fd.as_raw_fd() as u32).collect();
    kept.sort_unstable();
    let mut from = first;
    for fd in kept.into_iter().filter(|fd| *fd >= first) {
        if fd > from {
            close(from, fd - 1)?;
        }
        from = fd + 1;
    }
    close(from, u32::MAX)
}

/// The `CLONE_NEW*` of a namespace file (ioctl_ns(2), `NS_GET_NSTYPE`).
pub(crate) fn namespace_kind(fd: BorrowedFd<'_>) -> Result<i32, Errno> {
    /// `_IO(0xb7, 0x3)`.
    const NS_GET_NSTYPE: libc::c_ulong = 0xb703;
    // SAFETY: this request takes no argument and only answers a number; on another file it fails.
    let kind = check(libc::c_long::from(unsafe { libc::ioctl(fd.as_raw_fd(), NS_GET_NSTYPE) }))?;
    i32::try_from(kind).map_err(|_| Errno::INVAL)
}
