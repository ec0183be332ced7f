//! Device nodes and links.

use std::ffi::{CStr, CString};
use std::os::fd::{AsRawFd, OwnedFd};

use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, OFlags, StatxFlags, Uid, chmodat, chownat, fstat, mknodat,
    openat, statx, symlinkat, unlinkat,
};
use rustix::io::Errno;

use super::failure::{Failed, Outcome, Part};
use super::mounts;
use super::root::Root;
use crate::plan::{Device, DeviceKind};
use crate::wire::Operation;

/// The file type of a device.
fn file_type(kind: DeviceKind) -> FileType {
    match kind {
        DeviceKind::Char => FileType::CharacterDevice,
        DeviceKind::Block => FileType::BlockDevice,
        DeviceKind::Fifo => FileType::Fifo,
    }
}

/// Makes a node, or binds the host's.
pub(super) fn make(root: &Root, device: &Device) -> Outcome {
    let kind = file_type(device.kind);
    let number = rustix::fs::makedev(device.major, device.minor);
    if device.bind {
        return bind(root, device, kind, number);
    }
    let (parent, name) = root.parent(&device.path).part(Operation::OpenTarget)?;
    let mode = Mode::from_raw_mode(device.mode);
    match mknodat(&parent, &name, kind, mode, number) {
        Ok(()) if device.uid == 0 && device.gid == 0 => return Ok(()),
        // One that is there serves if it is this device.
        Ok(()) | Err(Errno::EXIST) => {}
        // No right to make devices: the host's own will do (config-linux.md, "Devices").
        Err(Errno::PERM) if kind != FileType::Fifo => return bind(root, device, kind, number),
        Err(errno) => return Err(Failed::new(Operation::MakeNode, errno)),
    }
    let node = open_node(&parent, &name, kind, number)?;
    // A mount of its own is the host's node, whose owner and mode are not the container's to set.
    if mount_id(&node)? != mount_id(&parent)? {
        return Ok(());
    }
    let stat = fstat(&node).part(Operation::OpenTarget)?;
    if (stat.st_uid, stat.st_gid) != (device.uid, device.gid) {
        let (uid, gid) = (Uid::from_raw(device.uid), Gid::from_raw(device.gid));
        chownat(&node, c"", Some(uid), Some(gid), AtFlags::EMPTY_PATH).part(Operation::SetOwner)?;
    } else if Mode::from_raw_mode(stat.st_mode) == mode {
        return Ok(());
    }
    // Changing the owner may have cleared bits of the mode. fchmod(2) refuses this kind of
    // descriptor, and by its name the node may be a link by now.
    let path = format!("/proc/self/fd/{}", node.as_raw_fd());
    chmodat(CWD, path, mode, AtFlags::empty()).part(Operation::SetMode)
}

/// The mount that a file is on (statx(2), Linux 5.8).
fn mount_id(file: &OwnedFd) -> Result<u64, Failed> {
    statx(file, c"", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID)
        .map(|found| found.stx_mnt_id)
        .part(Operation::OpenTarget)
}

/// Binds the host's node on the device's path.
fn bind(root: &Root, device: &Device, kind: FileType, number: u64) -> Outcome {
    let path = [b"/", device.path.to_bytes()].concat();
    let tree = match mounts::host_device(&CString::new(path).unwrap_or_default(), kind, number) {
        Err(failed) => match known_as(device) {
            Some(other) => mounts::host_device(&other, kind, number)?,
            None => return Err(failed),
        },
        tree => tree?,
    };
    let (parent, name) = root.parent(&device.path).part(Operation::OpenTarget)?;
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    match openat(&parent, &name, flags, Mode::from_raw_mode(0o644)) {
        Ok(made) => return mounts::attach(&tree, &made),
        Err(Errno::EXIST) => {}
        Err(errno) => return Err(Failed::new(Operation::OpenTarget, errno)),
    }
    // What an earlier container left to bind on may be there, or the device.
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let there = openat(&parent, &name, flags, Mode::empty()).part(Operation::OpenTarget)?;
    let stat = fstat(&there).part(Operation::OpenTarget)?;
    let found = FileType::from_raw_mode(stat.st_mode);
    let empty = found == FileType::RegularFile && stat.st_size == 0;
    if empty || found == kind && stat.st_rdev == number {
        mounts::attach(&tree, &there)
    } else {
        Err(Failed::new(Operation::OtherNode, Errno::EXIST))
    }
}

/// The path of the host's node, as the kernel names the device in its uevents.
fn known_as(device: &Device) -> Option<CString> {
    let kind = if device.kind == DeviceKind::Block { "block" } else { "char" };
    let path = format!("/sys/dev/{kind}/{}:{}/uevent", device.major, device.minor);
    let text = std::fs::read_to_string(path).ok()?;
    let name = text.lines().find_map(|line| line.strip_prefix("DEVNAME="))?;
    CString::new(format!("/dev/{name}")).ok()
}

/// Opens a node that is there, checked to be this device: somebody who shares the directory may
/// have put another file, or a link to one of the host's, in its place.
fn open_node(
    parent: &OwnedFd,
    name: &CStr,
    kind: FileType,
    number: u64,
) -> Result<OwnedFd, Failed> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let node = openat(parent, name, flags, Mode::empty()).part(Operation::OpenTarget)?;
    let stat = fstat(&node).part(Operation::OpenTarget)?;
    let same = FileType::from_raw_mode(stat.st_mode) == kind
        && (kind == FileType::Fifo || stat.st_rdev == number);
    if same { Ok(node) } else { Err(Failed::new(Operation::OtherNode, Errno::EXIST)) }
}

/// Makes a link. One that is there stays, but for /dev/ptmx, which must be the container's own.
pub(super) fn link(root: &Root, path: &CStr, target: &CStr, only_if: Option<&CStr>) -> Outcome {
    if let Some(needed) = only_if {
        let host = [b"/proc/", needed.to_bytes()].concat();
        if !mounts::exists_on_host(&CString::new(host).unwrap_or_default()) {
            return Ok(());
        }
    }
    let (parent, name) = root.parent(path).part(Operation::OpenTarget)?;
    match symlinkat(target, &parent, &name) {
        Err(Errno::EXIST) if path == c"dev/ptmx" => {
            unlinkat(&parent, &name, AtFlags::empty()).part(Operation::MakeLink)?;
            symlinkat(target, &parent, &name).part(Operation::MakeLink)
        }
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(errno) => Err(Failed::new(Operation::MakeLink, errno)),
    }
}
