//! The container's root file system, below a descriptor.
//!
//! Every path of the container is resolved by the kernel below this descriptor (openat2(2),
//! `RESOLVE_IN_ROOT`), links and `..` included, so that no link of the image and no race with a
//! process that shares it can lead out (CVE-2019-19921, CVE-2021-30465 and their kin). What was
//! opened is then checked and used by descriptor, never opened again by name.

use std::ffi::{CStr, CString};
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use rustix::fs::{Mode, OFlags, ResolveFlags, fstat, mkdirat, openat, openat2, readlinkat};
use rustix::io::Errno;

/// The root file system.
pub(crate) struct Root {
    directory: OwnedFd,
    /// The proc and sysfs mounted in it, by where.
    kernel: Vec<(CString, OwnedFd)>,
    /// Every mount in it, by where, in order; kept where they may have to go again.
    added: Option<Vec<(CString, OwnedFd)>>,
}

/// How often a resolution is tried again that the kernel gave up because of a rename beside it
/// (openat2(2), EAGAIN).
const ATTEMPTS: usize = 128;

/// As many links to nowhere as one path may lead through; the kernel follows as many others
/// (path_resolution(7)).
const MOST_LINKS: usize = 40;

/// Makes the last part of a path in a directory, unless there is something of that name.
type Make = fn(&OwnedFd, &CStr) -> Result<(), Errno>;

/// How far a path was made.
enum Made {
    /// To its end, which is this.
    All(OwnedFd),
    /// To a link that leads nowhere; this path goes on where it leads.
    UpToLink(Vec<u8>),
}

impl Root {
    /// What all paths are resolved below.
    pub(crate) fn new(directory: OwnedFd) -> Self {
        Self { directory, kernel: Vec::new(), added: None }
    }

    /// The root of a container that runs: what is mounted there stays only if all of it can be.
    pub(super) fn joined(directory: OwnedFd) -> Self {
        Self { directory, kernel: Vec::new(), added: Some(Vec::new()) }
    }

    /// What was mounted in the root of a container that runs, by where, the last one first.
    pub(super) fn take_added(&mut self) -> impl Iterator<Item = (CString, OwnedFd)> {
        self.added.take().into_iter().flatten().rev()
    }

    /// Keeps what was mounted at `path` if that is proc or sysfs (`kernel`) or may have to go again;
    /// forgets what is covered by it.
    ///
    /// Another container that has the same directory for its root can rename the mount point, and
    /// make one of its own of that name: what is to be hidden or made read-only would be looked for
    /// there, and proc would stay open under its new name.
    pub(super) fn mounted(&mut self, path: &CStr, mount: OwnedFd, kernel: bool) {
        self.kernel.retain(|(at, _)| at.as_c_str() != path);
        if let Some(added) = &mut self.added {
            added.push((path.to_owned(), mount));
        } else if kernel {
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
    pub(crate) fn open(&self, path: &CStr, flags: OFlags) -> Result<OwnedFd, Errno> {
        let how = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        resolve(&self.directory, path, flags, how)
    }

    /// Opens what is there if no part of the path is a link.
    pub(super) fn open_strictly(&self, path: &CStr, flags: OFlags) -> Result<OwnedFd, Errno> {
        resolve(&self.directory, path, flags, ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS)
    }

    /// Opens a directory, made with its parents (mode 0755) where it is missing. What a link on the
    /// way leads to is made too.
    pub(crate) fn directory(&self, path: &CStr) -> Result<OwnedFd, Errno> {
        match self.open(path, OFlags::PATH) {
            Err(Errno::NOENT) => self.make(path, make_directory),
            result => result,
        }
    }

    /// Opens a file, made empty (mode 0644) with its parents where it is missing. What a link on the
    /// way leads to is made too.
    pub(crate) fn file(&self, path: &CStr) -> Result<OwnedFd, Errno> {
        match self.open(path, OFlags::PATH) {
            Err(Errno::NOENT) => self.make(path, make_file),
            result => result,
        }
    }

    /// Makes what is missing of a path, with `last` for its last part.
    ///
    /// A link to nowhere has to be read, and its text takes the place of its name in the path. It is
    /// never followed by this process: the new path, too, is resolved by the kernel below the root,
    /// so that whatever it says, and whatever it is exchanged for meanwhile, all stays inside.
    fn make(&self, path: &CStr, last: Make) -> Result<OwnedFd, Errno> {
        let mut path = path.to_bytes().to_vec();
        for _ in 0..=MOST_LINKS {
            match self.make_up_to_link(&path, last)? {
                Made::All(found) => return Ok(found),
                Made::UpToLink(instead) => path = instead,
            }
        }
        Err(Errno::LOOP)
    }

    fn make_up_to_link(&self, path: &[u8], last: Make) -> Result<Made, Errno> {
        let mut found = self.open(c"", OFlags::PATH)?;
        let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
        let mut start = 0;
        for end in ends.chain(std::iter::once(path.len())) {
            let so_far = CString::new(&path[..end]).map_err(|_| Errno::INVAL)?;
            let (make, flags) = if end == path.len() {
                (last, OFlags::PATH)
            } else {
                (make_directory as Make, OFlags::PATH | OFlags::DIRECTORY)
            };
            let opened = match self.open(&so_far, flags) {
                Err(Errno::NOENT) => {
                    let name = CString::new(&path[start..end]).map_err(|_| Errno::INVAL)?;
                    make(&found, &name)?;
                    match self.open(&so_far, flags) {
                        // A link that leads nowhere is there, and still cannot be opened.
                        Err(Errno::NOENT) => return splice(&found, &name, path, start..end),
                        result => result,
                    }
                }
                result => result,
            };
            found = opened?;
            start = end + 1;
        }
        Ok(Made::All(found))
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

fn make_directory(parent: &OwnedFd, name: &CStr) -> Result<(), Errno> {
    match mkdirat(parent, name, Mode::from_raw_mode(0o755)) {
        Err(Errno::EXIST) => Ok(()),
        result => result,
    }
}

fn make_file(parent: &OwnedFd, name: &CStr) -> Result<(), Errno> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match openat(parent, name, flags, Mode::from_raw_mode(0o644)) {
        Ok(_) | Err(Errno::EXIST) => Ok(()),
        Err(errno) => Err(errno),
    }
}

/// Puts what the link `name` in `parent` says in its place in `path`.
fn splice(parent: &OwnedFd, name: &CStr, path: &[u8], place: Range<usize>) -> Result<Made, Errno> {
    let text = match readlinkat(parent, name, Vec::new()) {
        Ok(text) => text,
        // It is no link any more, or gone: somebody is at work beside us.
        Err(Errno::INVAL | Errno::NOENT) => return Ok(Made::UpToLink(path.to_vec())),
        Err(errno) => return Err(errno),
    };
    let text = text.to_bytes();
    // What the link is in; an absolute one begins at the root.
    let before = if text.starts_with(b"/") { &[][..] } else { &path[..place.start] };
    Ok(Made::UpToLink([before, text, &path[place.end..]].concat()))
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
