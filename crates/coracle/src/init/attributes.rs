//! Attributes and propagation of a mount: mount_setattr(2), and mount(2) on kernels before 5.12.

use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::fs::{StatVfsMountFlags, fstatvfs};
use rustix::io::Errno;
use rustix::mount::{MountFlags, MountPropagationFlags, mount_change, mount_remount};

use super::failure::{Outcome, Part};
use crate::sys::mount::{MountAttr, attr, mount_setattr};
use crate::wire::Operation;

/// The attributes that are a bit each; the rest is one field, of access times.
const BITS: [u64; 6] =
    [attr::RDONLY, attr::NOSUID, attr::NODEV, attr::NOEXEC, attr::NODIRATIME, attr::NOSYMFOLLOW];

/// Sets and clears `MOUNT_ATTR_*` of a mount, and with `recursive` of all below it. What is locked
/// for this user namespace (mount_namespaces(7)) stays as it is: a flag that may not be cleared
/// stays set.
pub(super) fn change(tree: &OwnedFd, recursive: bool, set: u64, clear: u64) -> Result<(), Errno> {
    if set | clear == 0 {
        return Ok(());
    }
    let apply = |set, clear| {
        let change = MountAttr { set, clear, ..MountAttr::default() };
        mount_setattr(tree.as_fd(), recursive, &change)
    };
    match apply(set, clear) {
        Err(Errno::PERM) if clear != 0 || set & attr::NODIRATIME != 0 => {}
        result => return result,
    }
    // One after the other, as only some may be locked; setting a flag is always allowed, but for
    // access times, which are locked as a whole.
    let on = set & !attr::ATIME_MASK & !attr::NODIRATIME;
    if on != 0 {
        apply(on, 0)?;
    }
    let times =
        (clear & attr::ATIME_MASK != 0).then_some((set & attr::ATIME_MASK, attr::ATIME_MASK));
    let directories = (set & attr::NODIRATIME != 0).then_some((attr::NODIRATIME, 0));
    let off = BITS.iter().filter(|bit| clear & **bit != 0).map(|bit| (0, *bit));
    for (set, clear) in off.chain(times).chain(directories) {
        match apply(set, clear) {
            Ok(()) | Err(Errno::PERM) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// The same by mount(2), of a mount that is attached.
pub(super) fn remount(mount: &OwnedFd, set: u64, clear: u64) -> Result<(), Errno> {
    let now = fstatvfs(mount)?.f_flag;
    let is = |flag| now.contains(flag);
    let mut current = 0;
    for (flag, bit) in [
        (StatVfsMountFlags::RDONLY, attr::RDONLY),
        (StatVfsMountFlags::NOSUID, attr::NOSUID),
        (StatVfsMountFlags::NODEV, attr::NODEV),
        (StatVfsMountFlags::NOEXEC, attr::NOEXEC),
        (StatVfsMountFlags::NODIRATIME, attr::NODIRATIME),
        (StatVfsMountFlags::NOATIME, attr::NOATIME),
    ] {
        if is(flag) {
            current |= bit;
        }
    }
    if !is(StatVfsMountFlags::NOATIME) && !is(StatVfsMountFlags::RELATIME) {
        current |= attr::STRICTATIME;
    }
    let place = by_descriptor(mount);
    let change = |attributes| {
        mount_remount(place.as_c_str(), MountFlags::BIND | legacy_flags(attributes), c"")
    };
    match change(current & !clear | set) {
        // Something that is locked; all that is set stays so.
        Err(Errno::PERM) if clear != 0 => change(current | set & !attr::ATIME_MASK),
        result => result,
    }
}

/// `MOUNT_ATTR_*` as mount(2) has them.
pub(super) fn legacy_flags(attributes: u64) -> MountFlags {
    /// Linux 5.10.
    const NOSYMFOLLOW: MountFlags = MountFlags::from_bits_retain(256);
    let mut flags = match attributes & attr::ATIME_MASK {
        attr::NOATIME => MountFlags::NOATIME,
        attr::STRICTATIME => MountFlags::STRICTATIME,
        _ => MountFlags::RELATIME,
    };
    for (bit, flag) in [
        (attr::RDONLY, MountFlags::RDONLY),
        (attr::NOSUID, MountFlags::NOSUID),
        (attr::NODEV, MountFlags::NODEV),
        (attr::NOEXEC, MountFlags::NOEXEC),
        (attr::NODIRATIME, MountFlags::NODIRATIME),
        (attr::NOSYMFOLLOW, NOSYMFOLLOW),
    ] {
        if attributes & bit != 0 {
            flags |= flag;
        }
    }
    flags
}

/// A path that leads to what a descriptor refers to, whatever is there by name.
pub(super) fn by_descriptor(file: &OwnedFd) -> CString {
    CString::new(format!("/proc/self/fd/{}", file.as_raw_fd())).unwrap_or_default()
}

/// Applies propagation changes (`MS_*`) in order, to a mount that is attached.
pub(super) fn propagate(mount: &OwnedFd, changes: &[u64]) -> Outcome {
    for flags in changes {
        let change = MountAttr { propagation: flags & !libc::MS_REC, ..MountAttr::default() };
        match mount_setattr(mount.as_fd(), flags & libc::MS_REC != 0, &change) {
            Err(Errno::NOSYS) => {
                mount_change(by_descriptor(mount).as_c_str(), propagation_flags(*flags))
            }
            result => result,
        }
        .part(Operation::SetAttributes)?;
    }
    Ok(())
}

/// Gives every mount of the namespace this propagation.
pub(super) fn propagate_all(flags: u64) -> Outcome {
    mount_change("/", propagation_flags(flags)).part(Operation::Itself)
}

/// `MS_*` numbers as rustix's flags.
fn propagation_flags(flags: u64) -> MountPropagationFlags {
    #[allow(clippy::cast_possible_truncation)] // all MS_* propagation flags are below bit 21
    MountPropagationFlags::from_bits_truncate(flags as u32)
}
