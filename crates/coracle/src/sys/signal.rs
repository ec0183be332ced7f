//! Signals: masks, descriptors and sending by number.

use std::mem::{MaybeUninit, size_of};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::io::Errno;

use super::check;

/// Blocks every signal and returns a descriptor that delivers them (signalfd(2)), non-blocking.
pub(crate) fn take_all() -> Result<OwnedFd, Errno> {
    let mut all = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: sigfillset initialises the set; sigprocmask and signalfd only read it; the
    // descriptor is new and ours.
    unsafe {
        libc::sigfillset(all.as_mut_ptr());
        check(libc::c_long::from(libc::sigprocmask(
            libc::SIG_BLOCK,
            all.as_ptr(),
            std::ptr::null_mut(),
        )))?;
        let fd = check(libc::c_long::from(libc::signalfd(
            -1,
            all.as_ptr(),
            libc::SFD_CLOEXEC | libc::SFD_NONBLOCK,
        )))?;
        #[allow(clippy::cast_possible_truncation)] // a descriptor is an int
        Ok(OwnedFd::from_raw_fd(fd as i32))
    }
}

/// The number of the next signal waiting on a descriptor of [`take_all`], if there is one.
pub(crate) fn next(fd: BorrowedFd<'_>) -> Result<Option<i32>, Errno> {
    let mut info = MaybeUninit::<libc::signalfd_siginfo>::zeroed();
    // SAFETY: the buffer is writable for its size; the kernel writes whole records only, and any
    // bytes are a valid signalfd_siginfo.
    let answer = check(unsafe {
        libc::read(fd.as_raw_fd(), info.as_mut_ptr().cast(), size_of::<libc::signalfd_siginfo>())
            as libc::c_long
    });
    match answer {
        Ok(0) | Err(Errno::AGAIN | Errno::INTR) => Ok(None),
        // SAFETY: zeroed before, and filled by the kernel.
        Ok(_) => Ok(i32::try_from(unsafe { info.assume_init() }.ssi_signo).ok()),
        Err(errno) => Err(errno),
    }
}

/// Gives every signal its default action and unblocks all: what a program expects at its start.
///
/// An engine may have started us with signals ignored or blocked, and both survive execve(2).
pub(crate) fn reset() {
    // SAFETY: SIG_DFL is a valid disposition for each number; those that cannot be changed
    // (SIGKILL, SIGSTOP, the C library's own) are refused without effect. The set is initialised
    // by sigemptyset before it is read.
    unsafe {
        for number in 1..=64 {
            libc::signal(number, libc::SIG_DFL);
        }
        let mut none = MaybeUninit::<libc::sigset_t>::uninit();
        libc::sigemptyset(none.as_mut_ptr());
        libc::sigprocmask(libc::SIG_SETMASK, none.as_ptr(), std::ptr::null_mut());
    }
}

/// pidfd_send_signal(2) with any signal number, real-time ones too; 0 only asks.
pub(crate) fn send(pidfd: BorrowedFd<'_>, number: i32) -> Result<(), Errno> {
    // SAFETY: integers and a null siginfo, which the call allows.
    check(unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            number,
            std::ptr::null::<libc::siginfo_t>(),
            0,
        )
    })?;
    Ok(())
}
