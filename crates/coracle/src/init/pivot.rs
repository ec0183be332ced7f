//! Entering the container's root.

use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;
use rustix::mount::{MountPropagationFlags, UnmountFlags, mount_change, unmount};

use super::failure::{Failed, Outcome, Part};
use super::filesystem;
use super::mounts::attach;
use super::root::Root;
use crate::wire::Operation;

/// Makes the container's root the root of this mount namespace, and lets go of the host's.
pub(super) fn enter(root: &Root, no_pivot: bool) -> Outcome {
    if !root.is_intact().part(Operation::StrictTarget)? {
        return Err(Failed::new(Operation::StrictTarget, Errno::XDEV));
    }
    rustix::process::fchdir(root).part(Operation::ChangeDirectory)?;
    if no_pivot {
        return enter_by_chroot();
    }
    // pivot_root(2), "pivot_root(".", ".")": the old root ends up mounted over the new one, and is
    // reached by a descriptor from before: "." does not lead across to what was mounted on it.
    let old = open(c"/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .part(Operation::Pivot)?;
    rustix::process::pivot_root(c".", c".").part(Operation::Pivot)?;
    rustix::process::fchdir(&old).part(Operation::DetachOld)?;
    // Detaching must not reach the host through a shared mount. The container's own mounts keep
    // the propagation that was asked for.
    mount_change(c".", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)
        .part(Operation::DetachOld)?;
    unmount(c".", UnmountFlags::DETACH).part(Operation::DetachOld)?;
    rustix::process::chdir(c"/").part(Operation::ChangeDirectory)
}

/// The way for a root that pivot_root(2) refuses, such as the initial ramfs. The host's mounts stay
/// in the namespace below ours, and what has the capability can get out of a chroot, so that at
/// least no /proc or /sys of the host is among them.
fn enter_by_chroot() -> Outcome {
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let cwd = rustix::process::getcwd(Vec::new()).part(Operation::ChangeDirectory)?;
    let inside = cwd.to_string_lossy();
    for line in table.lines().rev() {
        let mut fields = line.split(' ');
        let place = fields.nth(4).unwrap_or_default();
        let kind = line.split(" - ").nth(1).and_then(|rest| rest.split(' ').next());
        let hidden = matches!(kind, Some("proc" | "sysfs"));
        if hidden && !std::path::Path::new(place).starts_with(&*inside) {
            match unmount(place, UnmountFlags::DETACH) {
                Ok(()) => {}
                // Locked or busy in a user namespace: hide it.
                Err(Errno::INVAL | Errno::PERM) => {
                    let empty = filesystem::empty(None)?;
                    let target = open(place, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
                        .part(Operation::DetachOld)?;
                    attach(&empty, &target)?;
                }
                Err(errno) => return Err(Failed::new(Operation::DetachOld, errno)),
            }
        }
    }
    rustix::mount::mount_move(c".", c"/").part(Operation::MoveRoot)?;
    rustix::process::chroot(c".").part(Operation::ChangeRoot)?;
    rustix::process::chdir(c"/").part(Operation::ChangeDirectory)
}
