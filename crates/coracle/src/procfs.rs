//! Writing to the host's /proc.
//!
//! A write that ends up in another file of /proc, or in none, looks as if it had succeeded while
//! the limit or the label that it was to set is missing (CVE-2025-52881, CVE-2019-16884). So the
//! file is opened below a directory that is checked to be the root of a procfs, across no mount,
//! and by no link that could lead elsewhere.

use std::os::fd::OwnedFd;

use rustix::fs::{
    CWD, Mode, OFlags, PROC_SUPER_MAGIC, ResolveFlags, fstat, fstatfs, openat, openat2,
};
use rustix::io::Errno;
use rustix::process::Pid;

/// The inode of a procfs's root (the kernel's `PROC_ROOT_INO`).
const ROOT_INODE: u64 = 1;

/// The host's /proc: ENOTDIR where that is something else.
fn root() -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = openat(CWD, c"/proc", flags, Mode::empty())?;
    let is_root = fstatfs(&root)?.f_type == PROC_SUPER_MAGIC && fstat(&root)?.st_ino == ROOT_INODE;
    if is_root { Ok(root) } else { Err(Errno::NOTDIR) }
}

/// Opens a file below /proc. EXDEV where something else is mounted over it.
fn open(path: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
    let how = ResolveFlags::BENEATH | ResolveFlags::NO_XDEV | ResolveFlags::NO_MAGICLINKS;
    openat2(root()?, path, flags | OFlags::CLOEXEC, Mode::empty(), how)
}

/// Writes a text to a file of a process's directory, `None` being this process's.
pub(crate) fn write(of: Option<Pid>, file: &str, text: &str) -> Result<(), Errno> {
    let path = match of {
        None => format!("self/{file}"),
        Some(pid) => format!("{}/{file}", pid.as_raw_nonzero()),
    };
    write_file(&path, text.as_bytes())
}

/// Writes to a file below /proc, in one write(2), as the kernel wants it.
pub(crate) fn write_file(path: &str, bytes: &[u8]) -> Result<(), Errno> {
    match rustix::io::write(open(path, OFlags::WRONLY)?, bytes)? {
        written if written == bytes.len() => Ok(()),
        _ => Err(Errno::IO),
    }
}

/// Reads the beginning of a file below /proc.
pub(crate) fn read_file(path: &str) -> Result<Vec<u8>, Errno> {
    let mut text = vec![0; 4096];
    let length = rustix::io::read(open(path, OFlags::RDONLY)?, &mut text)?;
    text.truncate(length);
    Ok(text)
}
