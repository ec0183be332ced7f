//! The container's root file system, below a descriptor.
//!
//! Every path of the container is resolved by the kernel below this descriptor (openat2(2),
//! `RESOLVE_IN_ROOT`), links and `..` included, so that no link of the image and no race with a
//! process that shares it can lead out (CVE-2019-19921, CVE-2021-30465 and their kin). What was
//! opened is then checked and used by descriptor, never opened again by name.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use rustix::fs::{Mode, OFlags, ResolveFlags, fstat, openat, openat2};
use rustix::io::Errno;

/// The root file system.
pub(super) struct Root {
    directory: OwnedFd,
    /// The proc and sysfs mounted in it, by where.
    kernel: Vec<(CString, OwnedFd)>,
}

/// How often a resolution is tried again that the kernel gave up because of a rename beside it
/// (openat2(2), EAGAIN).
const ATTEMPTS: usize = 128;

impl Root {
    /// What all paths are resolved below.
    pub(super) fn new(directory: OwnedFd) -> Self {
        Self { directory, kernel: Vec::new() }
    }

    /// Keeps what was mounted at `path` if that is proc or sysfs; forgets what is covered by it.
    ///
    /// Another container that has the same directory for its root can rename the mount point, and
    /// make one of its own of that name: what is to be hidden or made read-only would be looked for
    /// there, and proc would stay open under its new name.
    pub(super) fn mounted(&mut self, path: &CStr, kernel: Option<OwnedFd>) {
        self.kernel.retain(|(at, _)| at.as_c_str() != path);
        if let Some(mount) = kernel {
            self.kernel.push((path.to_owned(), mount));
        }
    }

    /// Whether proc and sysfs are still where they were mounted.
    pub(super) fn is_intact(&self) -> Result<bool, Errno> {
        for (path, mount) in &self.kernel {
            let (mount, found) = (fstat(mount)?, fstat(self.open_strictly(path, OFlags::PATH)?)?);
            if (mount.st_dev, mount.st_ino) != (found.st_dev, found.st_ino) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Opens what is there, in proc and sysfs by way of what was mounted.
    pub(super) fn open_below_mounts(&self, path: &CStr, flags: OFlags) -> Result<OwnedFd, Errno> {
        let how = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let inside = self.kernel.iter().find_map(|(at, mount)| {
            let rest = path.to_bytes().strip_prefix(at.to_bytes())?.strip_prefix(b"/")?;
            let leaves = rest.split(|byte| *byte == b'/').any(|part| part == b"..");
            if leaves { None } else { Some((mount, CString::new(rest).ok()?)) }
        });
        match inside {
            Some((mount, rest)) => resolve(mount, &rest, flags, how),
            None => resolve(&self.directory, path, flags, how),
        }
    }

    /// Opens what is there. An empty path is the root itself.
    pub(super) fn open(&self, path: &CStr, flags: OFlags) -> Result<OwnedFd, Errno> {
        let how = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        resolve(&self.directory, path, flags, how)
    }

    /// Opens what is there if no part of the path is a link.
    pub(super) fn open_strictly(&self, path: &CStr, flags: OFlags) -> Result<OwnedFd, Errno> {
        resolve(&self.directory, path, flags, ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS)
    }

    /// Opens a directory, made with its parents (mode 0755) where it is missing.
    pub(super) fn directory(&self, path: &CStr) -> Result<OwnedFd, Errno> {
        match self.open(path, OFlags::PATH) {
            Err(Errno::NOENT) => self.make_directories(path),
            result => result,
        }
    }

    fn make_directories(&self, path: &CStr) -> Result<OwnedFd, Errno> {
        let bytes = path.to_bytes();
        let mut parent = self.open(c"", OFlags::PATH)?;
        let ends = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
        let mut start = 0;
        for end in ends.chain(std::iter::once(bytes.len())) {
            let so_far = CString::new(&bytes[..end]).map_err(|_| Errno::INVAL)?;
            parent = match self.open(&so_far, OFlags::PATH | OFlags::DIRECTORY) {
                Err(Errno::NOENT) => {
                    let name = CString::new(&bytes[start..end]).map_err(|_| Errno::INVAL)?;
                    match rustix::fs::mkdirat(&parent, &name, Mode::from_raw_mode(0o755)) {
                        Ok(()) | Err(Errno::EXIST) => {}
                        Err(errno) => return Err(errno),
                    }
                    // A link that leads nowhere is there and still cannot be opened.
                    self.open(&so_far, OFlags::PATH | OFlags::DIRECTORY)?
                }
                result => result?,
            };
            start = end + 1;
        }
        Ok(parent)
    }

    /// Opens a file, made empty (mode 0644) with its parents where it is missing.
    pub(super) fn file(&self, path: &CStr) -> Result<OwnedFd, Errno> {
        match self.open(path, OFlags::PATH) {
            Err(Errno::NOENT) => {}
            result => return result,
        }
        let (parent, name) = self.parent(path)?;
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match openat(&parent, &name, flags, Mode::from_raw_mode(0o644)) {
            Ok(_) | Err(Errno::EXIST) => self.open(path, OFlags::PATH),
            Err(errno) => Err(errno),
        }
    }

    /// The directory that a path's last part is in, made where it is missing, and that part.
    pub(super) fn parent(&self, path: &CStr) -> Result<(OwnedFd, CString), Errno> {
        let path = PathBuf::from(std::ffi::OsStr::new(path.to_str().map_err(|_| Errno::INVAL)?));
        let name = path.file_name().ok_or(Errno::INVAL)?;
        let directory = path.parent().map(|p| p.as_os_str().as_encoded_bytes()).unwrap_or_default();
        let directory = CString::new(directory).map_err(|_| Errno::INVAL)?;
        let name = CString::new(name.as_encoded_bytes()).map_err(|_| Errno::INVAL)?;
        Ok((self.directory(&directory)?, name))
    }
}

/// openat2(2), again where it gave up because of a rename beside it. An empty path is `root`.
fn resolve(
    root: &OwnedFd,
    path: &CStr,
    flags: OFlags,
    how: ResolveFlags,
) -> Result<OwnedFd, Errno> {
    let path = if path.is_empty() { c"." } else { path };
    let flags = flags | OFlags::CLOEXEC;
    for _ in 1..ATTEMPTS {
        match openat2(root, path, flags, Mode::empty(), how) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            result => return result,
        }
    }
    openat2(root, path, flags, Mode::empty(), how)
}

impl AsFd for Root {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }
}
