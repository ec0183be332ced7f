//! The system calls that rustix lacks, and the only `unsafe` in the library.
//!
//! Everything here is a thin wrapper: one call, checked arguments, an [`Errno`](rustix::io::Errno)
//! back. Each block says in its SAFETY line why the call keeps Rust's rules.
#![allow(unsafe_code)]

pub(crate) mod bpf;
pub(crate) mod keyring;
pub(crate) mod mount;
pub(crate) mod network;
pub(crate) mod pattern;
pub(crate) mod process;
pub(crate) mod schedule;
pub(crate) mod seccomp;
pub(crate) mod shared;
pub(crate) mod signal;
pub(crate) mod spawn;

use rustix::io::Errno;

/// Turns the answer of `libc::syscall` and its kind, -1 and `errno`, into a result.
fn check(answer: libc::c_long) -> Result<libc::c_long, Errno> {
    if answer == -1 {
        // SAFETY: __errno_location points to this thread's errno for as long as it lives.
        Err(Errno::from_raw_os_error(unsafe { *libc::__errno_location() }))
    } else {
        Ok(answer)
    }
}
