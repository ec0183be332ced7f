//! Masked and read-only paths (runtime-spec config-linux.md, "Masked Paths", "Readonly Paths").

use std::ffi::CStr;
use std::os::fd::OwnedFd;

use rustix::fs::{CWD, FileType, OFlags, fstat};
use rustix::io::Errno;

use super::attributes;
use super::failure::{Failed, Outcome, Part};
use super::filesystem;
use super::mounts::{CloneFlags, attach, clone_tree, is_directory};
use super::root::Root;
use crate::sys::mount::attr;
use crate::wire::Operation;

/// Makes a path read-only by a read-only mount of itself on top; nothing to do where it is missing.
pub(super) fn make_readonly(root: &Root, path: &CStr) -> Outcome {
    let Some(target) = existing(root, path)? else { return Ok(()) };
    let tree = clone_tree(&target, c"", CloneFlags::RECURSIVE).part(Operation::MakeMount)?;
    match attributes::change(&tree, true, attr::RDONLY, 0) {
        // Before Linux 5.12 only the path itself, as every runtime of that time.
        Err(Errno::NOSYS) => {
            attach(&tree, &target)?;
            attributes::remount(&tree, attr::RDONLY, 0).part(Operation::SetAttributes)
        }
        result => {
            result.part(Operation::SetAttributes)?;
            attach(&tree, &target)
        }
    }
}

/// Opens a path of the container, if it is there.
fn existing(root: &Root, path: &CStr) -> Result<Option<OwnedFd>, Failed> {
    match root.open_below_mounts(path, OFlags::PATH) {
        Ok(target) => Ok(Some(target)),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(errno) => Err(Failed::new(Operation::OpenTarget, errno)),
    }
}

/// Hides paths: a directory below an empty read-only one, anything else below /dev/null.
#[derive(Default)]
pub(super) struct Masks {
    /// The first empty directory that was attached; others are clones of it.
    empty: Option<OwnedFd>,
}

impl Masks {
    /// Hides one path, by a directory with this SELinux context; nothing to do where it is missing.
    pub(super) fn hide(&mut self, root: &Root, path: &CStr, label: Option<&CStr>) -> Outcome {
        let Some(target) = existing(root, path)? else { return Ok(()) };
        if !is_directory(&target)? {
            return attach(&null_device()?, &target);
        }
        let clone = match &self.empty {
            Some(first) => clone_tree(first, c"", CloneFlags::NONE).part(Operation::MakeMount)?,
            None => filesystem::empty(label)?,
        };
        attach(&clone, &target)?;
        self.empty.get_or_insert(clone);
        Ok(())
    }
}

/// A detached mount of the host's null device, checked to be it: a container that could put
/// another file there would have it bound over /proc files writable (CVE-2025-31133).
fn null_device() -> Result<OwnedFd, Failed> {
    let tree = clone_tree(CWD, c"/dev/null", CloneFlags::NONE).part(Operation::NullDevice)?;
    let stat = fstat(&tree).part(Operation::NullDevice)?;
    let is_null = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice
        && stat.st_rdev == rustix::fs::makedev(1, 3);
    if is_null { Ok(tree) } else { Err(Failed::new(Operation::NullDevice, Errno::NODEV)) }
}
