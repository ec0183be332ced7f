//! The container's root file system, below a descriptor.
//!
//! Every path of the container is resolved by the kernel below this descriptor (openat2(2),
//! `RESOLVE_IN_ROOT`), links and `..` included, so that no link of the image and no race with a
//! process that shares it can lead out (CVE-2019-19921, CVE-2021-30465 and their kin). What was
//! opened is then checked and used by descriptor, never opened again by name.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use rustix::fs::{Mode, OFlags, ResolveFlags, openat, openat2};
use rustix::io::Errno;

/// The root file system.
pub(super) struct Root(OwnedFd);

/// How often a resolution is tried again that the kernel gave up because of a rename beside it
/// (openat2(2), EAGAIN).
const ATTEMPTS: usize = 128;

impl Root {
    /// What all paths are resolved below.
    pub(super) fn new(directory: OwnedFd) -> Self {
        Self(directory)
    }

    /// Opens what is there. An empty path is the root itself.
    pub(super) fn open(&self, path: &CStr, flags: OFlags) -> Result<OwnedFd, Errno> {
        self.resolve(path, flags, ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS)
    }

    /// Opens what is there if no part of the path is a link.
    pub(super) fn open_strictly(&self, path: &CStr, flags: OFlags) -> Result<OwnedFd, Errno> {
        self.resolve(path, flags, ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS)
    }

    fn resolve(&self, path: &CStr, flags: OFlags, how: ResolveFlags) -> Result<OwnedFd, Errno> {
        let path = if path.is_empty() { c"." } else { path };
        let flags = flags | OFlags::CLOEXEC;
        for _ in 1..ATTEMPTS {
            match openat2(&self.0, path, flags, Mode::empty(), how) {
                Err(Errno::AGAIN | Errno::INTR) => {}
                result => return result,
            }
        }
        openat2(&self.0, path, flags, Mode::empty(), how)
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

impl AsFd for Root {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
