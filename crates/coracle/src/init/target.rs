//! What a mount goes on: found or made below the root's descriptor, and judged before anything is
//! mounted there.

use std::ffi::CStr;
use std::os::fd::OwnedFd;

use rustix::fs::{FileType, OFlags, PROC_SUPER_MAGIC, Stat, fstat, fstatfs};
use rustix::io::Errno;

use super::failure::{Failed, Outcome, Part};
use super::root::Root;
use crate::wire::Operation;

/// The inode number of the root of every procfs.
const PROC_ROOT: u64 = 1;

/// Files in /proc that a container may be given substitutes of, as lxcfs makes them. All else
/// there is the kernel's word, on which the runtime and security modules rely (CVE-2019-16884).
///
/// Not net/dev, which runc lets pass: since Linux 5.0 whatever is mounted in /proc/net is gone as
/// soon as somebody looks.
const SUBSTITUTES: [&CStr; 10] = [
    c"cpuinfo",
    c"diskstats",
    c"meminfo",
    c"stat",
    c"swaps",
    c"uptime",
    c"loadavg",
    c"slabinfo",
    c"sys/kernel/ns_last_pid",
    c"sys/crypto/fips_enabled",
];

/// Opens what a directory, or any other file, is mounted on, made where it is missing.
pub(super) fn open(
    root: &Root,
    path: &CStr,
    directory: bool,
    on_link: bool,
) -> Result<OwnedFd, Failed> {
    let there = if on_link {
        match root.open(path, OFlags::PATH | OFlags::NOFOLLOW) {
            Err(Errno::NOENT) => None,
            result => Some(result),
        }
    } else {
        None
    };
    let made = || if directory { root.directory(path) } else { root.file(path) };
    let target = there.unwrap_or_else(made).part(Operation::OpenTarget)?;
    let found = kind(&stat(&target)?) == FileType::Directory;
    if found != directory {
        let errno = if found { Errno::ISDIR } else { Errno::NOTDIR };
        return Err(Failed::new(Operation::KindOfTarget, errno));
    }
    Ok(target)
}

/// A directory for proc or sysfs: no part of its path may be a link, or the image decides where
/// /proc is not (CVE-2019-19921).
pub(super) fn strict_directory(root: &Root, path: &CStr) -> Result<OwnedFd, Failed> {
    let target = match root.open_strictly(path, OFlags::PATH) {
        Err(Errno::NOENT) => {
            root.directory(path).part(Operation::OpenTarget)?;
            // What was made may be a link by now.
            root.open_strictly(path, OFlags::PATH)
        }
        result => result,
    }
    .part(Operation::StrictTarget)?;
    if kind(&stat(&target)?) == FileType::Directory {
        Ok(target)
    } else {
        Err(Failed::new(Operation::StrictTarget, Errno::NOTDIR))
    }
}

/// Refuses to mount on or in /proc what is not a procfs, but for [`SUBSTITUTES`]. What the path
/// says does not count, only where it led to.
pub(super) fn keep_proc(root: &Root, target: &OwnedFd, path: &CStr, is_proc: bool) -> Outcome {
    let refused = Err(Failed::new(Operation::OverProc, Errno::PERM));
    let target_stat = stat(target)?;
    if in_proc(target)? {
        let on_root = target_stat.st_ino == PROC_ROOT;
        let allowed = on_root && is_proc || substituted(root, &target_stat, path);
        return if allowed { Ok(()) } else { refused };
    }
    if is_proc || kind(&target_stat) != FileType::Directory {
        return Ok(());
    }
    // Where no procfs is yet.
    match root.open(c"proc", OFlags::PATH) {
        Ok(proc) if same(&stat(&proc)?, &target_stat) => refused,
        _ => Ok(()),
    }
}

/// Whether a mount shows all of a procfs.
pub(super) fn is_whole_proc(mount: &OwnedFd) -> Result<bool, Failed> {
    Ok(in_proc(mount)? && stat(mount)?.st_ino == PROC_ROOT)
}

/// Whether something is one of the files that may be substituted, in the procfs on /proc.
fn substituted(root: &Root, target: &Stat, path: &CStr) -> bool {
    let name =
        |path: &CStr| path.to_bytes().rsplit(|byte| *byte == b'/').next().map(<[u8]>::to_vec);
    let Ok(proc) = root.open_strictly(c"proc", OFlags::PATH) else { return false };
    if !is_whole_proc(&proc).unwrap_or(false) {
        return false;
    }
    let proc = Root::new(proc);
    SUBSTITUTES.iter().filter(|file| name(file) == name(path)).any(|file| {
        proc.open(file, OFlags::PATH).is_ok_and(|file| fstat(file).is_ok_and(|s| same(&s, target)))
    })
}

/// Whether something is in a procfs.
fn in_proc(file: &OwnedFd) -> Result<bool, Failed> {
    Ok(fstatfs(file).part(Operation::OpenTarget)?.f_type == PROC_SUPER_MAGIC)
}

fn same(one: &Stat, other: &Stat) -> bool {
    (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino)
}

fn stat(file: &OwnedFd) -> Result<Stat, Failed> {
    fstat(file).part(Operation::OpenTarget)
}

fn kind(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}
