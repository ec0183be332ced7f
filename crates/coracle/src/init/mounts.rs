//! Making mounts with the descriptor-based mount API (fsopen(2), open_tree(2), move_mount(2)): a
//! mount is configured while it is attached nowhere, then attached to a descriptor that has been
//! checked, so that there is no moment at which a path could be swapped.

use std::ffi::CStr;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, fstat, fstatfs, open, readlinkat, statat, symlinkat,
};
use rustix::io::Errno;
use rustix::mount::{
    MountPropagationFlags, MoveMountFlags, OpenTreeFlags, mount_change, move_mount, open_tree,
};

use super::attributes::{self, by_descriptor};
use super::copy_up::copy_up;
use super::failure::{Failed, Outcome, Part};
use super::filesystem;
use super::root::Root;
use super::target;
use crate::plan::{Bind, Filesystem, Mount, Opener, Remount, Source, SourceLink};
use crate::sys::mount::{MountAttr, attr, mount_setattr};
use crate::wire::Operation;

/// How much open_tree(2) clones.
pub(super) struct CloneFlags;

impl CloneFlags {
    /// One mount.
    pub(super) const NONE: OpenTreeFlags = OpenTreeFlags::empty();
    /// With all mounts below it.
    pub(super) const RECURSIVE: OpenTreeFlags = OpenTreeFlags::AT_RECURSIVE;
}

/// Makes the directory `path` of the host a mount of its own, on top of itself, with this
/// propagation (`MS_*`, or 0 for what it comes with). pivot_root(2) wants neither it nor the mount
/// around it shared.
pub(super) fn make_root(path: &CStr, propagation: u64, shared: bool) -> Result<Root, Failed> {
    let place = open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .part(Operation::OpenSource)?;
    let tree = clone_tree(&place, c"", CloneFlags::RECURSIVE).part(Operation::MakeMount)?;
    if shared {
        make_private_around(&place)?;
    }
    attach(&tree, &place)?;
    if propagation != 0 {
        attributes::propagate(&tree, &[propagation])?;
    }
    Ok(Root::new(tree))
}

/// Makes the mount that a directory is in private: the first directory upwards that is the root of
/// a mount.
fn make_private_around(directory: &OwnedFd) -> Outcome {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let change = MountAttr { propagation: libc::MS_PRIVATE, ..MountAttr::default() };
    let mut here = directory.try_clone().map_err(|_| Errno::MFILE).part(Operation::OpenSource)?;
    loop {
        let changed = match mount_setattr(here.as_fd(), false, &change) {
            Err(Errno::NOSYS) => {
                mount_change(by_descriptor(&here).as_c_str(), MountPropagationFlags::PRIVATE)
            }
            result => result,
        };
        match changed {
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
        .map(Root::joined)
        .part(Operation::Itself)
}

/// Attaches a detached mount on what `target` refers to.
pub(super) fn attach(mount: &OwnedFd, target: &OwnedFd) -> Outcome {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(mount, c"", target, c"", flags).part(Operation::Attach)
}

/// Makes one mount of the plan. A file system that was `made` before is only attached; `ask` has
/// the parent open the source of a bind mount.
pub(super) fn make(
    root: &mut Root,
    mount: &Mount,
    made: Option<OwnedFd>,
    ask: impl Fn() -> Result<OwnedFd, Failed>,
) -> Outcome {
    match &mount.source {
        Source::Filesystem(new) => {
            let made = make_new(root, mount, new, made)?;
            root.mounted(&mount.target, made, new.strict);
        }
        Source::Bind(bind) => {
            if bind.link == SourceLink::Copy && copy_link(root, mount, bind)? {
                return Ok(());
            }
            let tree = open_source(bind, ask)?;
            let directory = is_directory(&tree)?;
            let target = target::open(root, &mount.target, directory, mount.on_link)?;
            let whole_proc = target::is_whole_proc(&tree)?;
            target::keep_proc(root, &target, &mount.target, whole_proc)?;
            let kernel = is_kernel(&tree).part(Operation::OpenSource)?;
            let settled = settle(&tree, &target, mount);
            // Also where the last part of it failed.
            root.mounted(&mount.target, tree, kernel);
            return settled;
        }
    }
    Ok(())
}

/// Whether a mount shows proc or sysfs.
fn is_kernel(mount: &OwnedFd) -> Result<bool, Errno> {
    /// linux/magic.h.
    const SYSFS_MAGIC: rustix::fs::FsWord = 0x6265_6572;
    let kind = fstatfs(mount)?.f_type;
    Ok(kind == rustix::fs::PROC_SUPER_MAGIC || kind == SYSFS_MAGIC)
}

/// Mounts a new file system, and gives back the mount.
fn make_new(
    root: &Root,
    mount: &Mount,
    new: &Filesystem,
    made: Option<OwnedFd>,
) -> Result<OwnedFd, Failed> {
    // The mode of a directory that is made only now is nobody's wish.
    let inherits = new.inherits_mode && root.open(&mount.target, OFlags::PATH).is_ok();
    let target = if new.strict {
        target::strict_directory(root, &mount.target)?
    } else {
        target::open(root, &mount.target, true, mount.on_link)?
    };
    let is_proc = new.kind.as_c_str() == c"proc";
    target::keep_proc(root, &target, &mount.target, is_proc)?;
    if let Some(made) = made {
        settle(&made, &target, mount)?;
        return Ok(made);
    }
    let inherited = if inherits {
        Some(fstat(&target).part(Operation::OpenTarget)?.st_mode & 0o7777)
    } else {
        None
    };
    let by_path = || make_by_path(root, mount, new, inherited, &target);
    if filesystem::needs_legacy(new) {
        return by_path();
    }
    match make_detached(mount, new, inherited, &target) {
        // AppArmor's rules by which a container may mount, say, proc are about mount(2): they do
        // not match a mount that comes from nowhere.
        Err(failed) if failed.is_forbidden() => by_path().map_err(|_| failed),
        result => result,
    }
}

/// Makes and attaches a new file system by mount(2), on the directory `target`, which has the mode
/// `inherited` if the file system is to have it.
fn make_by_path(
    root: &Root,
    mount: &Mount,
    new: &Filesystem,
    inherited: Option<u32>,
    target: &OwnedFd,
) -> Result<OwnedFd, Failed> {
    filesystem::make_legacy(new, inherited, mount.set, target)?;
    // A mount is not known by a descriptor of what it covers.
    let made = if new.strict {
        let made = target::strict_directory(root, &mount.target)?;
        // Another container that shares the directory may have renamed it meanwhile.
        if !is_kernel(&made).part(Operation::OpenTarget)? {
            return Err(Failed::new(Operation::StrictTarget, Errno::STALE));
        }
        made
    } else {
        target::open(root, &mount.target, true, mount.on_link)?
    };
    if new.copy_up {
        copy_up(target, &made)?;
    }
    change_attached(&made, true, mount.recursive_set, mount.recursive_clear)?;
    attributes::propagate(&made, &mount.propagation)?;
    Ok(made)
}

/// Makes a new file system, attached nowhere, and attaches it then.
fn make_detached(
    mount: &Mount,
    new: &Filesystem,
    inherited: Option<u32>,
    target: &OwnedFd,
) -> Result<OwnedFd, Failed> {
    // A copy goes in before the directory is closed.
    let closed = if new.copy_up { mount.set & attr::RDONLY } else { 0 };
    let made = match (filesystem::make(new, inherited, mount.set & !closed), &new.otherwise) {
        (Err(failed), Some(host)) if failed.is_refused() => {
            // The mounts below what the host has cannot be left out, as they may hide something,
            // and shall allow no more than it.
            let Ok(tree) = clone_tree(CWD, host, CloneFlags::RECURSIVE) else { return Err(failed) };
            attributes::change(&tree, true, mount.set, 0).part(Operation::SetAttributes)?;
            settle(&tree, target, mount)?;
            return Ok(tree);
        }
        (made, _) => made?,
    };
    if new.copy_up {
        copy_up(target, &made)?;
        change_attached(&made, false, closed, 0)?;
    }
    change_attached(&made, true, mount.recursive_set, mount.recursive_clear)?;
    attach(&made, target)?;
    attributes::propagate(&made, &mount.propagation)?;
    Ok(made)
}

/// Gives a bind mount its attributes, attaches it, and gives it its propagation.
fn settle(tree: &OwnedFd, target: &OwnedFd, mount: &Mount) -> Outcome {
    // What is asked of the one mount is meant for it, and wins.
    let changed = attributes::change(tree, true, mount.recursive_set, mount.recursive_clear)
        .and_then(|()| attributes::change(tree, false, mount.set, mount.clear));
    match changed {
        // Before Linux 5.12: once it is attached, and not of the mounts below it.
        Err(Errno::NOSYS) if mount.recursive_set | mount.recursive_clear == 0 => {
            attach(tree, target)?;
            attributes::remount(tree, mount.set, mount.clear).part(Operation::SetAttributes)?;
        }
        Err(Errno::NOSYS) => return Err(Failed::new(Operation::Recursive, Errno::NOSYS)),
        result => {
            result.part(Operation::SetAttributes)?;
            attach(tree, target)?;
        }
    }
    attributes::propagate(tree, &mount.propagation)
}

/// A detached mount of a bind mount's source.
fn open_source(bind: &Bind, ask: impl Fn() -> Result<OwnedFd, Failed>) -> Result<OwnedFd, Failed> {
    if bind.ids.is_some() || bind.opener == Opener::Parent {
        return ask();
    }
    match (clone_source(bind), &bind.otherwise) {
        (Err(Errno::ACCESS), _) if bind.opener == Opener::ParentIfDenied => ask(),
        (Err(Errno::NOENT), Some(other)) => {
            clone_tree(CWD, other, CloneFlags::NONE).part(Operation::OpenSource)
        }
        (result, _) => result.part(Operation::OpenSource),
    }
}

/// A detached copy of the mounts at a bind mount's source.
pub(crate) fn clone_source(bind: &Bind) -> Result<OwnedFd, Errno> {
    let mut flags = if bind.recursive { CloneFlags::RECURSIVE } else { CloneFlags::NONE };
    if bind.link == SourceLink::Bind {
        flags |= OpenTreeFlags::AT_SYMLINK_NOFOLLOW;
    }
    clone_tree(CWD, &bind.path, flags)
}

/// Makes a link in the container like the one that is the source; whether there was one.
fn copy_link(root: &Root, mount: &Mount, bind: &Bind) -> Result<bool, Failed> {
    let text = match readlinkat(CWD, &bind.path, Vec::new()) {
        Err(Errno::INVAL) => return Ok(false),
        result => result.part(Operation::OpenSource)?,
    };
    let (parent, name) = root.parent(&mount.target).part(Operation::OpenTarget)?;
    match symlinkat(&text, &parent, &name) {
        Err(Errno::EXIST) => {
            let there = readlinkat(&parent, &name, Vec::new());
            if there.is_ok_and(|there| there == text) {
                Ok(true)
            } else {
                Err(Failed::new(Operation::OtherNode, Errno::EXIST))
            }
        }
        result => result.part(Operation::MakeLink).map(|()| true),
    }
}

/// A detached copy of the mounts at a path.
pub(super) fn clone_tree<Fd: AsFd>(
    directory: Fd,
    path: &CStr,
    flags: OpenTreeFlags,
) -> Result<OwnedFd, Errno> {
    let mut flags = flags | OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    if path.is_empty() {
        flags |= OpenTreeFlags::AT_EMPTY_PATH;
    }
    open_tree(directory, path, flags)
}

/// Whether a descriptor refers to a directory.
pub(super) fn is_directory(fd: &OwnedFd) -> Result<bool, Failed> {
    let stat = fstat(fd).part(Operation::OpenTarget)?;
    Ok(FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
}

/// Changes a mount that is there.
pub(super) fn remount(root: &Root, change: &Remount) -> Outcome {
    let mount = root.open(&change.target, OFlags::PATH).part(Operation::OpenTarget)?;
    if !change.options.is_empty() {
        filesystem::reconfigure(&mount, &change.options)?;
    }
    change_attached(&mount, true, change.recursive_set, change.recursive_clear)?;
    change_attached(&mount, false, change.set, change.clear)?;
    attributes::propagate(&mount, &change.propagation)
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
    change_attached(&target, recursive, set, clear)
}

fn change_attached(mount: &OwnedFd, recursive: bool, set: u64, clear: u64) -> Outcome {
    match attributes::change(mount, recursive, set, clear) {
        Err(Errno::NOSYS) if recursive => Err(Failed::new(Operation::Recursive, Errno::NOSYS)),
        Err(Errno::NOSYS) => attributes::remount(mount, set, clear).part(Operation::SetAttributes),
        Err(Errno::INVAL) => Err(Failed::new(Operation::NoMount, Errno::INVAL)),
        result => result.part(Operation::SetAttributes),
    }
}

/// A detached mount of the host's node at `path`, checked to be this device.
pub(super) fn host_device(path: &CStr, kind: FileType, device: u64) -> Result<OwnedFd, Failed> {
    let tree = clone_tree(CWD, path, CloneFlags::NONE).part(Operation::OpenSource)?;
    let stat = fstat(&tree).part(Operation::OpenSource)?;
    if FileType::from_raw_mode(stat.st_mode) == kind && stat.st_rdev == device {
        Ok(tree)
    } else {
        Err(Failed::new(Operation::OtherNode, Errno::NODEV))
    }
}

/// Attaches a detached file on a path of the container, made empty where it is missing.
pub(super) fn attach_file(root: &Root, file: &OwnedFd, path: &CStr) -> Outcome {
    let target = target::open(root, path, false, false)?;
    attach(file, &target)
}

/// A detached mount of an open file, such as a terminal.
pub(super) fn clone_file(file: &OwnedFd) -> Result<OwnedFd, Failed> {
    clone_tree(file, c"", CloneFlags::NONE).part(Operation::MakeMount)
}

/// Whether a path of the host exists.
pub(super) fn exists_on_host(path: &CStr) -> bool {
    statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW).is_ok()
}
