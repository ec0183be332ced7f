//! seccomp(2): filters of system calls.

use std::os::fd::{FromRawFd, OwnedFd, RawFd};

use rustix::io::Errno;

use super::check;

// linux/seccomp.h
const SET_MODE_FILTER: libc::c_long = 1;
const GET_ACTION_AVAIL: libc::c_long = 2;
const FILTER_FLAG_NEW_LISTENER: u32 = 1 << 3;

/// One instruction of classic BPF: `struct sock_filter` (linux/filter.h).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// Class, operation and source.
    pub code: u16,
    /// How many instructions a jump leaves out when its condition holds.
    pub jt: u8,
    /// How many it leaves out when not.
    pub jf: u8,
    /// A constant: where to load from, what to compare with, how far to jump, what to return.
    pub k: u32,
}

/// `struct sock_fprog`.
#[repr(C)]
struct Program {
    len: u16,
    filter: *const Instruction,
}

/// Puts this thread, and what it starts, under a filter; `flags` are `SECCOMP_FILTER_FLAG_*`.
///
/// With the flag for a new listener its descriptor comes back, close-on-exec. EACCES without both
/// no-new-privileges and `CAP_SYS_ADMIN`, EINVAL for a program that does not pass the kernel's
/// checks or a flag that it does not know.
pub(crate) fn set_filter(program: &[Instruction], flags: u32) -> Result<Option<OwnedFd>, Errno> {
    let program = Program {
        len: u16::try_from(program.len()).map_err(|_| Errno::INVAL)?,
        filter: program.as_ptr(),
    };
    // SAFETY: the instructions outlive the call, which copies them.
    let answer = check(unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            SET_MODE_FILTER,
            libc::c_ulong::from(flags),
            &raw const program,
        )
    })?;
    if flags & FILTER_FLAG_NEW_LISTENER == 0 {
        return Ok(None);
    }
    let listener = RawFd::try_from(answer).map_err(|_| Errno::BADF)?;
    // SAFETY: the kernel has just made it for us.
    Ok(Some(unsafe { OwnedFd::from_raw_fd(listener) }))
}

/// Whether the kernel knows an action: `SECCOMP_RET_*` (Linux 4.14).
pub(crate) fn action_is_available(action: u32) -> Result<bool, Errno> {
    // SAFETY: the number outlives the call, which only reads it.
    let answer = check(unsafe {
        libc::syscall(libc::SYS_seccomp, GET_ACTION_AVAIL, 0_u64, &raw const action)
    });
    match answer {
        Ok(_) => Ok(true),
        Err(Errno::OPNOTSUPP) => Ok(false),
        Err(errno) => Err(errno),
    }
}
