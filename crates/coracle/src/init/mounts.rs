//! Making mounts with the descriptor-based mount API (fsopen(2), open_tree(2), move_mount(2)): a
//! mount is configured while it is attached nowhere, then attached to a descriptor that has been
//! checked, so that there is no moment at which a path could be swapped.

use std::ffi::CStr;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, fstat, fstatfs, open, statat};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags,
    OpenTreeFlags, UnmountFlags, fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsmount,
    fsopen, mount_change, move_mount, open_tree, unmount,
};

use super::failure::{Failed, Outcome, Part};
use super::root::Root;
use crate::plan::{FsOption, Mount, Source};
use crate::sys::mount::{MountAttr, attr, mount_setattr};
use crate::wire::Operation;

/// Gives every mount of the namespace this propagation.
pub(super) fn propagate_all(flags: u64) -> Outcome {
    mount_change("/", propagation_flags(flags)).part(Operation::Itself)
}

/// `MS_*` numbers as rustix's flags.
fn propagation_flags(flags: u64) -> MountPropagationFlags {
    #[allow(clippy::cast_possible_truncation)] // all MS_* propagation flags are below bit 21
    MountPropagationFlags::from_bits_truncate(flags as u32)
}

/// Makes the directory `path` of the host a mount of its own, on top of itself.
pub(super) fn make_root(path: &CStr, shared: bool) -> Result<Root, Failed> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_RECURSIVE;
    let place = open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .part(Operation::OpenSource)?;
    let tree =
        open_tree(&place, c"", flags | OpenTreeFlags::AT_EMPTY_PATH).part(Operation::MakeMount)?;
    if shared {
        // pivot_root(2) takes neither a shared root nor a shared mount around it.
        let private = [libc::MS_PRIVATE];
        propagate(&tree, &private)?;
        make_private_around(&place)?;
    }
    attach(&tree, &place)?;
    Ok(Root::new(tree))
}

/// Makes the mount that a directory is in private: the first directory upwards that
/// mount_setattr(2) takes for the root of a mount.
fn make_private_around(directory: &OwnedFd) -> Outcome {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let change = MountAttr { propagation: libc::MS_PRIVATE, ..MountAttr::default() };
    let mut here = directory.try_clone().map_err(|_| Errno::MFILE).part(Operation::OpenSource)?;
    loop {
        match mount_setattr(here.as_fd(), false, &change) {
            Err(Errno::INVAL) => {
                here = rustix::fs::openat(&here, c"..", flags, Mode::empty())
                    .part(Operation::OpenSource)?;
            }
            result => return result.part(Operation::SetAttributes),
        }
    }
}

/// The root of the mount namespace that was joined.
pub(super) fn joined_root() -> Result<Root, Failed> {
    open(c"/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map(Root::new)
        .part(Operation::Itself)
}

/// Attaches a detached mount on what `target` refers to.
pub(super) fn attach(mount: &OwnedFd, target: &OwnedFd) -> Outcome {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(mount, c"", target, c"", flags).part(Operation::Attach)
}

/// Makes one mount of the plan; a file system that was `made` before is only attached.
pub(super) fn make(root: &mut Root, mount: &Mount, made: Option<OwnedFd>) -> Outcome {
    match &mount.source {
        Source::Filesystem { kind, source, options, strict } => {
            let new = match made {
                Some(made) => {
                    change(&made, false, mount.set, 0)?;
                    made
                }
                None => match filesystem(kind, source.as_deref(), options, mount.set) {
                    // Not of a network that another user namespace owns.
                    Err(failed) if failed.is_denied() && kind.as_c_str() == c"sysfs" => {
                        host_sys(mount.set).ok_or(failed)?
                    }
                    result => result?,
                },
            };
            let target = if *strict {
                strict_directory(root, &mount.target)?
            } else {
                root.directory(&mount.target).part(Operation::OpenTarget)?
            };
            attach(&new, &target)?;
            propagate(&new, &mount.propagation)?;
            root.mounted(&mount.target, strict.then_some(new));
        }
        Source::Bind { path, otherwise, recursive } => {
            let tree = match (clone_tree(CWD, path, *recursive), otherwise) {
                (Err(Errno::NOENT), Some(other)) => clone_tree(CWD, other, *recursive),
                (result, _) => result,
            }
            .part(Operation::OpenSource)?;
            let target = if is_directory(&tree)? {
                root.directory(&mount.target)
            } else {
                root.file(&mount.target)
            }
            .part(Operation::OpenTarget)?;
            if is_directory(&tree)? != is_directory(&target)? {
                return Err(Failed::new(Operation::KindOfTarget, Errno::NOTDIR));
            }
            change(&tree, false, mount.set, mount.clear)?;
            change(&tree, true, mount.recursive_set, mount.recursive_clear)?;
            attach(&tree, &target)?;
            propagate(&tree, &mount.propagation)?;
            let kernel = is_kernel(&tree).part(Operation::OpenSource)?;
            root.mounted(&mount.target, kernel.then_some(tree));
        }
    }
    Ok(())
}

/// A new file system, mounted nowhere yet.
pub(super) fn filesystem(
    kind: &CStr,
    source: Option<&CStr>,
    options: &[FsOption],
    attributes: u64,
) -> Result<OwnedFd, Failed> {
    let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC).part(Operation::OpenFilesystem)?;
    let failed = |operation, detail, errno| {
        Failed::new(operation, errno).detail(detail).words(kernel_words(&context))
    };
    if let Some(source) = source.filter(|source| !source.is_empty()) {
        fsconfig_set_string(context.as_fd(), c"source", source)
            .map_err(|errno| failed(Operation::SetSource, 0, errno))?;
    }
    for option in options {
        match &option.value {
            Some(value) => {
                fsconfig_set_string(context.as_fd(), option.key.as_c_str(), value.as_c_str())
            }
            None => fsconfig_set_flag(context.as_fd(), option.key.as_c_str()),
        }
        .map_err(|errno| {
            let index = option.index.and_then(|index| u32::try_from(index).ok());
            failed(Operation::SetOption, index.map_or(0, |index| index + 1), errno)
        })?;
    }
    fsconfig_create(context.as_fd())
        .map_err(|errno| failed(Operation::CreateFilesystem, 0, errno))?;
    #[allow(clippy::cast_possible_truncation)] // every MOUNT_ATTR_* is below bit 22
    let attributes = MountAttrFlags::from_bits_retain(attributes as u32);
    fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)
        .map_err(|errno| failed(Operation::MakeMount, 0, errno))
}

/// The host's /sys with these attributes, in place of a sysfs that may not be made.
fn host_sys(attributes: u64) -> Option<OwnedFd> {
    let tree = clone_tree(CWD, c"/sys", true).ok()?;
    change(&tree, true, attributes, 0).ok()?;
    Some(tree)
}

/// What the kernel says about a failed fsconfig(2): a line such as `e tmpfs: Bad value for 'mode'`.
fn kernel_words(context: &OwnedFd) -> Vec<u8> {
    let mut line = [0; 512];
    match rustix::io::read(context, &mut line) {
        Ok(length) => {
            let line = &line[..length];
            line.strip_prefix(b"e ").unwrap_or(line).trim_ascii().to_vec()
        }
        Err(_) => Vec::new(),
    }
}

/// A directory for proc or sysfs: no part of its path may be a link, or the image decides where
/// /proc is not (CVE-2019-19921).
fn strict_directory(root: &Root, target: &CStr) -> Result<OwnedFd, Failed> {
    let target = match root.open_strictly(target, OFlags::PATH) {
        Err(Errno::NOENT) => {
            root.directory(target).part(Operation::OpenTarget)?;
            // What was made may be a link by now.
            root.open_strictly(target, OFlags::PATH)
        }
        result => result,
    }
    .part(Operation::StrictTarget)?;
    if is_directory(&target)? {
        Ok(target)
    } else {
        Err(Failed::new(Operation::StrictTarget, Errno::NOTDIR))
    }
}

/// A detached copy of the mounts at a path.
fn clone_tree<Fd: AsFd>(directory: Fd, path: &CStr, recursive: bool) -> Result<OwnedFd, Errno> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    if path.is_empty() {
        flags |= OpenTreeFlags::AT_EMPTY_PATH;
    }
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    open_tree(directory, path, flags)
}

/// Whether a descriptor refers to a directory.
fn is_directory(fd: &OwnedFd) -> Result<bool, Failed> {
    let stat = fstat(fd).part(Operation::OpenTarget)?;
    Ok(FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
}

/// Whether a mount shows proc or sysfs.
fn is_kernel(mount: &OwnedFd) -> Result<bool, Errno> {
    /// linux/magic.h.
    const SYSFS_MAGIC: rustix::fs::FsWord = 0x6265_6572;
    let kind = fstatfs(mount)?.f_type;
    Ok(kind == rustix::fs::PROC_SUPER_MAGIC || kind == SYSFS_MAGIC)
}

/// Sets and clears attributes; where a flag may not be cleared because it was locked for this user
/// namespace (mount_namespaces(7)), it stays set.
fn change(tree: &OwnedFd, recursive: bool, set: u64, clear: u64) -> Outcome {
    if set | clear == 0 {
        return Ok(());
    }
    let mut change = MountAttr { set, clear, ..MountAttr::default() };
    match mount_setattr(tree.as_fd(), recursive, &change) {
        Err(Errno::PERM) if clear & !attr::ATIME_MASK != 0 => {
            change.clear &= attr::ATIME_MASK;
            mount_setattr(tree.as_fd(), recursive, &change)
        }
        result => result,
    }
    .part(Operation::SetAttributes)
}

/// Applies propagation changes in order.
fn propagate(mount: &OwnedFd, changes: &[u64]) -> Outcome {
    for flags in changes {
        let change = MountAttr { propagation: flags & !libc::MS_REC, ..MountAttr::default() };
        mount_setattr(mount.as_fd(), flags & libc::MS_REC != 0, &change)
            .part(Operation::SetAttributes)?;
    }
    Ok(())
}

/// Changes the attributes of a mount that is there.
pub(super) fn set_attributes(
    root: &Root,
    target: &CStr,
    set: u64,
    clear: u64,
    recursive: bool,
) -> Outcome {
    let target = root.open(target, OFlags::PATH).part(Operation::OpenTarget)?;
    change(&target, recursive, set, clear)
}

/// Makes a path read-only by a read-only mount of itself on top; nothing to do where it is missing.
pub(super) fn make_readonly(root: &Root, path: &CStr) -> Outcome {
    let Some(target) = existing(root, path)? else { return Ok(()) };
    let tree = clone_tree(&target, c"", true).part(Operation::MakeMount)?;
    change(&tree, true, attr::RDONLY, 0)?;
    attach(&tree, &target)
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
    /// Hides one path; nothing to do where it is missing.
    pub(super) fn hide(&mut self, root: &Root, path: &CStr) -> Outcome {
        let Some(target) = existing(root, path)? else { return Ok(()) };
        if !is_directory(&target)? {
            return attach(&null_device()?, &target);
        }
        let clone = match &self.empty {
            Some(first) => clone_tree(first, c"", false).part(Operation::MakeMount)?,
            None => filesystem(c"tmpfs", Some(c"tmpfs"), &[], attr::RDONLY)?,
        };
        attach(&clone, &target)?;
        self.empty.get_or_insert(clone);
        Ok(())
    }
}

/// A detached mount of the host's null device, checked to be it: a container that could put
/// another file there would have it bound over /proc files writable (CVE-2025-31133).
fn null_device() -> Result<OwnedFd, Failed> {
    let tree = clone_tree(CWD, c"/dev/null", false).part(Operation::NullDevice)?;
    let stat = fstat(&tree).part(Operation::NullDevice)?;
    let is_null = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice
        && stat.st_rdev == rustix::fs::makedev(1, 3);
    if is_null { Ok(tree) } else { Err(Failed::new(Operation::NullDevice, Errno::NODEV)) }
}

/// A detached mount of the host's node at `path`, checked to be this device.
pub(super) fn host_device(path: &CStr, kind: FileType, device: u64) -> Result<OwnedFd, Failed> {
    let tree = clone_tree(CWD, path, false).part(Operation::OpenSource)?;
    let stat = fstat(&tree).part(Operation::OpenSource)?;
    if FileType::from_raw_mode(stat.st_mode) == kind && stat.st_rdev == device {
        Ok(tree)
    } else {
        Err(Failed::new(Operation::OtherNode, Errno::NODEV))
    }
}

/// Attaches a detached file on a path of the container, made empty where it is missing.
pub(super) fn attach_file(root: &Root, file: &OwnedFd, path: &CStr) -> Outcome {
    let target = root.file(path).part(Operation::OpenTarget)?;
    if is_directory(&target)? {
        return Err(Failed::new(Operation::KindOfTarget, Errno::ISDIR));
    }
    attach(file, &target)
}

/// A detached mount of an open file, such as a terminal.
pub(super) fn clone_file(file: &OwnedFd) -> Result<OwnedFd, Failed> {
    clone_tree(file, c"", false).part(Operation::MakeMount)
}

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
                    let empty = filesystem(c"tmpfs", Some(c"tmpfs"), &[], attr::RDONLY)?;
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

/// Whether a path of the host exists.
pub(super) fn exists_on_host(path: &CStr) -> bool {
    statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW).is_ok()
}
