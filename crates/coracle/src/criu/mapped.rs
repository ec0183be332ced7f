//! What is made for CRIU where only CRIU sees it.
//!
//! The container's ID-mapped mounts: CRIU would bind their sources, with the ids of the host. But who
//! binds an ID-mapped mount gets one like it (mount_setattr(2), `MOUNT_ATTR_IDMAP`), so it is told to
//! bind these. And a view of the images' directory, which is nobody's but root's: what becomes the
//! first process of a user namespace reads there too, at first with no id in it, then as its root.

use std::ffi::{CStr, CString, OsStr};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, chmodat, fstat, mkdirat, open, openat};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, fsconfig_create,
    fsconfig_set_string, fsmount, fsopen, move_mount,
};

use crate::error::{Context, Result};
use crate::init::clone_source;
use crate::launch::user_namespace;
use crate::plan::{Action, Bind, IdMaps, Plan, Source};
use crate::sys::mount::{MountAttr, attr, mount_setattr};

/// The ID-mapped mounts of a container, and where they are to be.
pub(crate) struct Mapped<'a> {
    /// A directory of the host's, which they cover.
    place: PathBuf,
    /// Each with the number of its user namespace.
    mounts: Vec<(&'a Bind, usize)>,
    /// User namespaces that stand for ids.
    namespaces: Vec<(Option<&'a IdMaps>, OwnedFd)>,
    /// The directory of the images, of a container with a user namespace.
    images: Option<Bind>,
}

/// The name of the images there.
const IMAGES: &CStr = c"images";

impl<'a> Mapped<'a> {
    /// Those of a plan, and of these images. Nothing is mounted yet.
    pub(crate) fn new(plan: &'a Plan, images: &Path, place: PathBuf) -> Result<Self> {
        let mut all = Self { place, mounts: Vec::new(), namespaces: Vec::new(), images: None };
        for step in &plan.steps {
            let Action::Mount(mount) = &step.action else { continue };
            let Source::Bind(bind @ Bind { ids: Some(ids), .. }) = &mount.source else { continue };
            let number = all.namespace(plan, ids.maps.as_ref());
            let number = number.map_err(|error| error.at(step.origin.to_string(), None))?;
            all.mounts.push((bind, number));
        }
        if plan.namespaces.id_maps.is_some() {
            let path = CString::new(images.as_os_str().as_bytes()).unwrap_or_default();
            all.images = Some(Bind { path, ..Bind::default() });
        }
        Ok(all)
    }

    /// The number of the user namespace with these ids, or with those of the container.
    fn namespace(&mut self, plan: &Plan, maps: Option<&'a IdMaps>) -> Result<usize> {
        let known = self.namespaces.iter().position(|(others, _)| *others == maps);
        let number = known.unwrap_or(self.namespaces.len());
        if known.is_none() {
            let made = namespace(plan, maps).what(|| "opening a user namespace for a mount")?;
            self.namespaces.push((maps, made));
        }
        Ok(number)
    }

    /// The directory of the images for CRIU, if it is another than that.
    pub(super) fn images(&self) -> Option<PathBuf> {
        self.images.as_ref().map(|_| self.place.join(OsStr::from_bytes(IMAGES.to_bytes())))
    }

    /// What CRIU is to bind in place of this source.
    pub(super) fn path(&self, bind: &Bind) -> Option<PathBuf> {
        let number = self.mounts.iter().position(|(other, _)| std::ptr::eq(*other, bind))?;
        Some(self.place.join(number.to_string()))
    }

    /// In CRIU's mount namespace: makes them.
    pub(super) fn make(&self) -> Result<(), Errno> {
        if self.mounts.is_empty() && self.images.is_none() {
            return Ok(());
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let covered = open(&self.place, flags, Mode::empty())?;
        let new = fsopen(c"tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
        fsconfig_create(&new)?;
        let place = fsmount(&new, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())?;
        attach(&place, &covered)?;
        for (number, (bind, namespace)) in self.mounts.iter().enumerate() {
            let name = CString::new(number.to_string()).unwrap_or_default();
            let tree = clone_source(bind)?;
            let recursive = bind.ids.as_ref().is_some_and(|ids| ids.recursive);
            self.map(&tree, recursive, *namespace)?;
            attach(&tree, &mount_point(&place, &name, &tree)?)?;
        }
        if let Some(bind) = &self.images {
            let images = clone_source(bind)?;
            // Without overlayfs the mode of the directory decides.
            let view = open_to_all(&place, &images).unwrap_or(images);
            attach(&view, &mount_point(&place, IMAGES, &view)?)?;
        }
        Ok(())
    }

    fn map(&self, tree: &OwnedFd, recursive: bool, namespace: usize) -> Result<(), Errno> {
        #[allow(clippy::cast_sign_loss)] // an open descriptor is not negative
        let userns_fd = self.namespaces[namespace].1.as_raw_fd() as u64;
        let change = MountAttr { set: attr::IDMAP, userns_fd, ..MountAttr::default() };
        mount_setattr(tree.as_fd(), recursive, &change)
    }
}

/// The user namespace with these ids, or with those of the container.
fn namespace(plan: &Plan, maps: Option<&IdMaps>) -> Result<OwnedFd, Errno> {
    // config.json was checked for that, and joined ones are refused.
    user_namespace(maps.or(plan.namespaces.id_maps.as_ref()).ok_or(Errno::INVAL)?)
}

/// A mount of overlayfs that shows a directory to whoever reaches it: its mode is that of the upper
/// one of two.
fn open_to_all(place: &OwnedFd, directory: &OwnedFd) -> Result<OwnedFd, Errno> {
    let everybody = Mode::RWXU | Mode::RGRP | Mode::XGRP | Mode::ROTH | Mode::XOTH;
    mkdirat(place, c"open", everybody)?;
    // Whatever the umask.
    chmodat(place, c"open", everybody, AtFlags::empty())?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let above = openat(place, c"open", flags, Mode::empty())?;
    let path = |file: &OwnedFd| format!("/proc/self/fd/{}", file.as_raw_fd());
    let new = fsopen(c"overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    let both = format!("{}:{}", path(&above), path(directory));
    fsconfig_set_string(&new, c"lowerdir", both)?;
    fsconfig_create(&new)?;
    fsmount(&new, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())
}

/// A new file or directory of this name, as what goes on it is.
fn mount_point(place: &OwnedFd, name: &CStr, tree: &OwnedFd) -> Result<OwnedFd, Errno> {
    let kind = FileType::from_raw_mode(fstat(tree)?.st_mode);
    if kind == FileType::Directory {
        mkdirat(place, name, Mode::RWXU)?;
    } else {
        openat(place, name, OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC, Mode::RUSR)?;
    }
    openat(place, name, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
}

fn attach(tree: &OwnedFd, place: &OwnedFd) -> Result<(), Errno> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(tree, c"", place, c"", flags)
}
