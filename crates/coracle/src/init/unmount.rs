//! Taking mounts away again. umount2(2) takes a path and no descriptor: a directory is gone into and
//! called `.`, a file is called by its name in its directory. A mount point cannot be renamed in
//! the namespace that it is mounted in, so what was checked is what is unmounted.

use std::ffi::{CStr, CString};
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, Mode, OFlags, StatxAttributes, StatxFlags, openat, statx};
use rustix::io::Errno;
use rustix::mount::{UnmountFlags, unmount};
use rustix::process::fchdir;

use super::failure::{Failed, Outcome};
use super::mounts::is_directory;
use super::root::Root;
use crate::wire::Operation;

/// Takes back what was mounted in a container that runs, as far as possible: the last one first.
pub(super) fn undo(root: &mut Root) {
    let added: Vec<_> = root.take_added().collect();
    for (path, mount) in added {
        // The error that led here is the one to tell.
        let _ = detach(root, &path, &mount);
    }
}

/// Takes the mounts at these paths away, no part of which may be a link: the container could make
/// one that leads to a mount that hides something from it.
pub(super) fn remove(root: &Root, paths: &[CString]) -> Outcome {
    let mut mounts = Vec::with_capacity(paths.len());
    for (path, index) in paths.iter().zip(0..) {
        let found = root
            .open_strictly(path, OFlags::PATH)
            .map_err(|errno| Failed::new(Operation::StrictMount, errno).detail(index))?;
        if identity(&found).is_none() {
            return Err(Failed::new(Operation::NoMount, Errno::INVAL).detail(index));
        }
        mounts.push((index, path, found));
    }
    for (index, path, mount) in mounts.iter().rev() {
        detach(root, path, mount)
            .map_err(|errno| Failed::new(Operation::Itself, errno).detail(*index))?;
    }
    Ok(())
}

/// Unmounts a mount, given the path that it was put at.
fn detach(root: &Root, path: &CStr, mount: &OwnedFd) -> Result<(), Errno> {
    if is_directory(mount).is_ok_and(|directory| directory) {
        fchdir(mount)?;
        return unmount(c".", UnmountFlags::DETACH);
    }
    let (parent, name) = root.parent(path)?;
    let found = openat(&parent, &name, OFlags::PATH | OFlags::NOFOLLOW, Mode::empty())?;
    if identity(mount).is_none() || identity(mount) != identity(&found) {
        return Err(Errno::INVAL);
    }
    fchdir(&parent)?;
    unmount(&name, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW)
}

/// The id of the mount that begins at a descriptor (statx(2), Linux 5.8).
fn identity(file: &OwnedFd) -> Option<u64> {
    let found = statx(file, c"", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID).ok()?;
    let begins = found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT);
    begins.then_some(found.stx_mnt_id)
}
