//! `tmpcopyup`: a tmpfs gets what the image has in the directory that it covers.
//!
//! All of it goes by descriptor, from one directory into the other, and no link is followed: the
//! image is a stranger's, and another container may be changing it. Other mounts are not entered.

use std::ffi::CStr;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{
    AtFlags, Dir, FileType, Gid, Mode, OFlags, ResolveFlags, Stat, Timespec, Timestamps, Uid,
    XattrFlags, chownat, fchmod, fchown, fgetxattr, flistxattr, flistxattr_query, fsetxattr, fstat,
    futimens, mkdirat, mknodat, openat, openat2, readlinkat, statat, symlinkat, utimensat,
};
use rustix::io::Errno;

use super::failure::{Outcome, Part};
use crate::wire::Operation;

/// The longest list of names, and the longest value, of extended attributes (xattr(7)).
const LONGEST_ATTRIBUTE: usize = 65536;

/// Copies what is in the directory `from`, known by an `O_PATH` descriptor, into `to`.
pub(super) fn copy_up(from: &OwnedFd, to: &OwnedFd) -> Outcome {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat(from, c".", flags, Mode::empty())
        .and_then(|from| Ok((fstat(&from)?, from, openat(to, c".", flags, Mode::empty())?)))
        .and_then(|(stat, from, to)| {
            copy_all(&from, &to)?;
            copy_owner(&to, &stat)?;
            copy_xattrs(&from, &to)?;
            futimens(&to, &times(&stat))
        })
        .part(Operation::CopyUp)
}

/// Copies every entry of a directory.
fn copy_all(from: &OwnedFd, to: &OwnedFd) -> Result<(), Errno> {
    for entry in Dir::read_from(from)? {
        let entry = entry?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        match copy_one(from, to, name) {
            // It went away while we were looking.
            Err(Errno::NOENT) => {}
            result => result?,
        }
    }
    Ok(())
}

/// Copies one entry, and what is below it.
fn copy_one(from: &OwnedFd, to: &OwnedFd, name: &CStr) -> Result<(), Errno> {
    let stat = statat(from, name, AtFlags::SYMLINK_NOFOLLOW)?;
    let mode = Mode::from_raw_mode(stat.st_mode & 0o7777);
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => {
            mkdirat(to, name, Mode::RWXU)?;
            let copy = open_copied(to, name, OFlags::RDONLY | OFlags::DIRECTORY)?;
            copy_owner(&copy, &stat)?;
            match open_copied(from, name, OFlags::RDONLY | OFlags::DIRECTORY) {
                // Something is mounted there; the directory is enough.
                Err(Errno::XDEV) => {}
                result => {
                    let source = result?;
                    copy_all(&source, &copy)?;
                    copy_xattrs(&source, &copy)?;
                }
            }
            finish(&copy, &stat, mode)
        }
        FileType::RegularFile => {
            let source = match open_copied(from, name, OFlags::RDONLY | OFlags::NONBLOCK) {
                // Something is mounted there, and shall not be covered by a copy.
                Err(Errno::XDEV) => return Ok(()),
                result => result?,
            };
            if FileType::from_raw_mode(fstat(&source)?.st_mode) != FileType::RegularFile {
                return Err(Errno::NOENT);
            }
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
            let copy = openat(to, name, flags, Mode::RUSR | Mode::WUSR)?;
            let (mut source, mut copy) = (File::from(source), File::from(copy));
            std::io::copy(&mut source, &mut copy)
                .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
            copy_owner(&copy, &stat)?;
            copy_xattrs(&source, &copy)?;
            finish(&copy, &stat, mode)
        }
        FileType::Symlink => {
            let text = readlinkat(from, name, Vec::new())?;
            symlinkat(&text, to, name)?;
            finish_at(to, name, &stat)
        }
        kind => {
            match mknodat(to, name, kind, mode, stat.st_rdev) {
                // Root of a user namespace cannot make devices, nor could it use them.
                Err(Errno::PERM) => return Ok(()),
                result => result?,
            }
            finish_at(to, name, &stat)
        }
    }
}

/// Opens an entry of a directory, no link and not what is mounted there.
fn open_copied(directory: &OwnedFd, name: &CStr, flags: OFlags) -> Result<OwnedFd, Errno> {
    let how = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    openat2(directory, name, flags | OFlags::CLOEXEC, Mode::empty(), how)
}

/// Mode and times, after the owner and the extended attributes: a new owner clears bits of the
/// mode and the capabilities of a file.
fn finish(copy: impl AsFd, stat: &Stat, mode: Mode) -> Result<(), Errno> {
    fchmod(&copy, mode)?;
    futimens(&copy, &times(stat))
}

/// Owner and times of what cannot be opened.
fn finish_at(directory: &OwnedFd, name: &CStr, stat: &Stat) -> Result<(), Errno> {
    let (uid, gid) = owner(stat);
    unless_unmapped(chownat(directory, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW))?;
    utimensat(directory, name, &times(stat), AtFlags::SYMLINK_NOFOLLOW)
}

fn copy_owner(copy: impl AsFd, stat: &Stat) -> Result<(), Errno> {
    let (uid, gid) = owner(stat);
    unless_unmapped(fchown(copy, uid, gid))
}

fn owner(stat: &Stat) -> (Option<Uid>, Option<Gid>) {
    (Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)))
}

/// An owner that the user namespace does not know cannot be given; the copy stays its root's.
fn unless_unmapped(changed: Result<(), Errno>) -> Result<(), Errno> {
    match changed {
        Err(Errno::INVAL | Errno::PERM) => Ok(()),
        result => result,
    }
}

#[allow(clippy::cast_possible_wrap)] // the kernel's nanoseconds are below 1,000,000,000
fn times(stat: &Stat) -> Timestamps {
    Timestamps {
        last_access: Timespec { tv_sec: stat.st_atime, tv_nsec: stat.st_atime_nsec as _ },
        last_modification: Timespec { tv_sec: stat.st_mtime, tv_nsec: stat.st_mtime_nsec as _ },
    }
}

/// Extended attributes, as far as a tmpfs and the user namespace take them.
fn copy_xattrs(from: impl AsFd, to: impl AsFd) -> Result<(), Errno> {
    // Most files have none, and asking for the length alone tells.
    let length = match flistxattr_query(&from) {
        Err(Errno::OPNOTSUPP) => 0,
        result => result?,
    };
    if length == 0 {
        return Ok(());
    }
    let mut names = vec![0; LONGEST_ATTRIBUTE];
    let length = flistxattr(&from, names.as_mut_slice())?;
    let mut value = vec![0; LONGEST_ATTRIBUTE];
    for name in names[..length].split_inclusive(|byte| *byte == 0) {
        let Ok(name) = CStr::from_bytes_with_nul(name) else { continue };
        let length = match fgetxattr(&from, name, value.as_mut_slice()) {
            Err(Errno::NODATA) => continue,
            result => result?,
        };
        match fsetxattr(&to, name, &value[..length], XattrFlags::empty()) {
            Ok(()) | Err(Errno::OPNOTSUPP | Errno::PERM | Errno::ACCESS) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}
