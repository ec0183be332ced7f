//! keyrings(7): session keyrings.

use std::ffi::CStr;

use rustix::io::Errno;

use super::check;

/// Joins a new session keyring of this name and lets its owner search it (keyctl(2),
/// `KEYCTL_JOIN_SESSION_KEYRING`, `KEYCTL_SETPERM`).
///
/// The caller's keyring, with its keys, would otherwise be possessed by the container.
pub(crate) fn join_session_keyring(name: &CStr) -> Result<(), Errno> {
    /// keyctl_describe(3): the owner may search.
    const USER_SEARCH: libc::c_ulong = 0x0008_0000;
    /// keyctl_setperm(3): what a new session keyring has: possessor all, user view, read, link.
    const DEFAULT: libc::c_ulong = 0x3f13_0000;
    // SAFETY: the name outlives the call; the kernel copies it.
    let key = check(unsafe {
        libc::syscall(
            libc::SYS_keyctl,
            libc::c_ulong::from(libc::KEYCTL_JOIN_SESSION_KEYRING),
            name.as_ptr(),
        )
    })?;
    // SAFETY: only integers are passed.
    check(unsafe {
        libc::syscall(
            libc::SYS_keyctl,
            libc::c_ulong::from(libc::KEYCTL_SETPERM),
            key,
            DEFAULT | USER_SEARCH,
        )
    })?;
    Ok(())
}
