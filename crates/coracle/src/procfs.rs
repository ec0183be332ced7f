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

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::print_stdout)]
mod tests {
    use rustix::mount::{MountPropagationFlags, mount, mount_bind, mount_change};

    use super::*;

    /// Does something in a mount namespace of a thread's own.
    fn among_other_mounts(work: impl FnOnce() + Send + 'static) {
        let thread = std::thread::spawn(|| {
            if crate::sys::process::unshare(libc::CLONE_NEWNS).is_err() {
                return println!("skipped: needs the right to make a mount namespace");
            }
            mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).unwrap();
            work();
        });
        thread.join().unwrap();
    }

    #[test]
    fn a_file_below_proc_is_written_and_read() {
        let text = read_file("self/coredump_filter").unwrap();
        let text = String::from_utf8(text).unwrap();
        write(None, "coredump_filter", &format!("0x{}", text.trim())).unwrap();
        assert_eq!(read_file("self/coredump_filter").unwrap(), text.as_bytes());
        assert_eq!(write(None, "no-such-file", "x"), Err(Errno::NOENT));
    }

    #[test]
    fn what_is_mounted_over_a_file_is_not_written() {
        among_other_mounts(|| {
            let file = format!("/proc/{}/coredump_filter", std::process::id());
            mount_bind("/dev/null", file).unwrap();
            assert_eq!(write(None, "coredump_filter", "0x33"), Err(Errno::XDEV));
        });
    }

    #[test]
    fn a_proc_that_is_none_or_a_part_of_one_is_refused() {
        among_other_mounts(|| {
            mount_bind("/proc/sys", "/proc").unwrap();
            assert_eq!(write(None, "coredump_filter", "0x33"), Err(Errno::NOTDIR));
            mount("none", "/proc", "tmpfs", rustix::mount::MountFlags::empty(), None).unwrap();
            assert_eq!(write(None, "coredump_filter", "0x33"), Err(Errno::NOTDIR));
        });
    }

    #[test]
    fn no_link_leads_out() {
        assert_eq!(write_file("self/root/etc/passwd", b"x"), Err(Errno::LOOP));
        assert!(write_file("../etc/passwd", b"x").is_err());
    }
}
