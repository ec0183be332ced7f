//! One cgroup directory: its files, its processes, and the cgroups below it.

use std::cell::OnceCell;
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{self, AtFlags, FileType, Mode, OFlags};
use rustix::io;
use rustix::process::Pid;

use crate::{Errno, Error, Result};

/// Enough for every use of a directory but listing it, and cheaper than opening it for reading.
const PATH_ONLY: OFlags =
    OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// How long processes may take to end: some two seconds, for all hierarchies together.
pub(super) struct Patience(Duration);

impl Patience {
    pub(super) fn new() -> Self {
        Self(Duration::from_micros(100))
    }

    /// Sleeps, longer each time. Whether there is any left.
    fn wait(&mut self) -> bool {
        let left = self.0 <= Duration::from_secs(1);
        if left {
            std::thread::sleep(self.0);
            self.0 *= 2;
        }
        left
    }
}

/// A cgroup in one hierarchy, opened when it is first needed.
#[derive(Debug)]
pub(super) struct Dir {
    /// What the hierarchy controls; empty for version 2.
    pub(super) controllers: Vec<String>,
    pub(super) path: PathBuf,
    fd: OnceCell<OwnedFd>,
}

impl Dir {
    pub(super) fn new(controllers: Vec<String>, path: PathBuf) -> Self {
        Self { controllers, path, fd: OnceCell::new() }
    }

    pub(super) fn controls(&self, controller: &str) -> bool {
        self.controllers.iter().any(|name| name == controller)
    }

    /// The directory, opened with `O_PATH`.
    pub(super) fn fd(&self) -> Result<BorrowedFd<'_>, Errno> {
        if let Some(fd) = self.fd.get() {
            return Ok(fd.as_fd());
        }
        let fd = fs::open(&self.path, PATH_ONLY, Mode::empty())?;
        Ok(self.fd.get_or_init(|| fd).as_fd())
    }

    /// What one of its files says.
    pub(super) fn read(&self, file: &str) -> Result<String, Errno> {
        read(self.fd()?, file)
    }

    /// Writes to one of its files.
    pub(super) fn write(&self, file: &str, text: &str) -> Result<(), Errno> {
        io::write(self.open(file, OFlags::WRONLY)?, text.as_bytes()).map(drop)
    }

    /// Opens one of its files.
    pub(super) fn open(&self, file: &str, access: OFlags) -> Result<OwnedFd, Errno> {
        fs::openat(self.fd()?, file, access | OFlags::CLOEXEC, Mode::empty())
    }

    /// The processes in it and in all cgroups below it. None if it is gone.
    pub(super) fn procs(&self) -> Result<Vec<Pid>, Errno> {
        let mut pids = Vec::new();
        let top = match self.fd() {
            Err(Errno::NOENT) => return Ok(pids),
            top => top?,
        };
        let mut add = |cgroup: BorrowedFd<'_>| match procs(cgroup) {
            Ok(text) => {
                // A process outside of our pid namespace shows as 0.
                let found = text.lines().filter_map(|line| line.parse().ok());
                pids.extend(found.filter_map(Pid::from_raw));
                Ok(())
            }
            Err(Errno::NOENT | Errno::NODEV) => Ok(()),
            Err(errno) => Err(errno),
        };
        add(top)?;
        each_below(top, |cgroup, _, _| add(cgroup))?;
        Ok(pids)
    }

    /// Removes it and all cgroups below it. Processes that are ending hold it for a moment: it is
    /// tried again as long as there is patience.
    pub(super) fn remove(&self, patience: &mut Patience) -> Result<()> {
        let failed = |errno| Error::new(format!("removing {}", self.path.display())).os(errno);
        loop {
            match fs::rmdir(&self.path) {
                Ok(()) | Err(Errno::NOENT) => return Ok(()),
                Err(Errno::BUSY | Errno::NOTEMPTY) => {}
                // On a read-only mount, that is the answer even where there is nothing.
                Err(errno) => match fs::access(&self.path, fs::Access::EXISTS) {
                    Err(Errno::NOENT) => return Ok(()),
                    _ => return Err(failed(errno)),
                },
            }
            if !self.remove_below().map_err(failed)? && !patience.wait() {
                let pids = self.procs().unwrap_or_default();
                let pids: Vec<_> = pids.iter().map(Pid::to_string).collect();
                let busy = failed(Errno::BUSY);
                return Err(match pids.len() {
                    0 => busy,
                    _ => busy.because(format!("still in it: {}", pids.join(", "))),
                });
            }
        }
    }

    /// Removes the cgroups below it as far as that goes now. Whether there were any and all went.
    fn remove_below(&self) -> Result<bool, Errno> {
        let (mut removed, mut left) = (false, false);
        let walked = self.fd().and_then(|top| {
            each_below(top, |_, parent, name| {
                match fs::unlinkat(parent, name, AtFlags::REMOVEDIR) {
                    Ok(()) | Err(Errno::NOENT) => removed = true,
                    Err(Errno::BUSY | Errno::NOTEMPTY) => left = true,
                    Err(errno) => return Err(errno),
                }
                Ok(())
            })
        });
        match walked {
            Ok(()) | Err(Errno::NOENT | Errno::NODEV) => Ok(removed && !left),
            Err(errno) => Err(errno),
        }
    }
}

/// Makes a directory and, as needed, those above it down from `mount`, which exists; what is made
/// is added to `made`. Whether it is new.
pub(super) fn make_path(mount: &Path, path: &Path, made: &mut Vec<PathBuf>) -> Result<bool, Errno> {
    const MODE: Mode = Mode::from_raw_mode(0o755);
    let mut answer = fs::mkdir(path, MODE);
    if answer == Err(Errno::NOENT) {
        let parent = path.parent().filter(|parent| parent.starts_with(mount) && path != mount);
        make_path(mount, parent.ok_or(Errno::NOENT)?, made)?;
        answer = fs::mkdir(path, MODE);
    }
    match answer {
        Ok(()) => {
            made.push(path.to_owned());
            Ok(true)
        }
        Err(Errno::EXIST) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// Reads a whole file.
pub(super) fn read(dir: BorrowedFd<'_>, file: &str) -> Result<String, Errno> {
    let file = fs::openat(dir, file, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let mut text = Vec::with_capacity(256);
    while io::read(&file, rustix::buffer::spare_capacity(&mut text))? > 0 {
        text.reserve(256);
    }
    String::from_utf8(text).map_err(|_| Errno::ILSEQ)
}

/// The text of `cgroup.procs`.
fn procs(cgroup: BorrowedFd<'_>) -> Result<String, Errno> {
    match read(cgroup, "cgroup.procs") {
        // A threaded cgroup has threads only (cgroups(7), "Thread mode").
        Err(Errno::OPNOTSUPP) => read(cgroup, "cgroup.threads"),
        answer => answer,
    }
}

/// Visits the cgroups below `top`, inner ones first, with their parent and their name there.
///
/// A container that may make cgroups can nest them deeper than our stack, our descriptors or a
/// path name would last, and would so become impossible to remove: one descriptor at a time.
fn each_below(
    top: BorrowedFd<'_>,
    mut visit: impl FnMut(BorrowedFd<'_>, BorrowedFd<'_>, &CStr) -> Result<(), Errno>,
) -> Result<(), Errno> {
    // On the way from `top` to `here`: what is still to be entered at each level, and the names.
    let mut ahead = vec![children(top)?];
    let mut names: Vec<CString> = Vec::new();
    let mut here: Option<OwnedFd> = None;
    while let Some(siblings) = ahead.last_mut() {
        let current = here.as_ref().map_or(top, AsFd::as_fd);
        if let Some(name) = siblings.pop() {
            let child = match fs::openat(current, &name, PATH_ONLY, Mode::empty()) {
                Err(Errno::NOENT) => continue,
                child => child?,
            };
            ahead.push(children(child.as_fd())?);
            names.push(name);
            here = Some(child);
        } else {
            ahead.pop();
            let Some(name) = names.pop() else { break };
            let parent = fs::openat(current, "..", PATH_ONLY, Mode::empty())?;
            visit(current, parent.as_fd(), &name)?;
            here = Some(parent);
        }
    }
    Ok(())
}

/// The names of the cgroups in a cgroup.
fn children(cgroup: BorrowedFd<'_>) -> Result<Vec<CString>, Errno> {
    // The kernel counts directories in the link count: most cgroups have none.
    if fs::fstat(cgroup)?.st_nlink <= 2 {
        return Ok(Vec::new());
    }
    let listing = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut names = Vec::new();
    for entry in fs::Dir::new(fs::openat(cgroup, ".", listing, Mode::empty())?)? {
        let entry = entry?;
        let name = entry.file_name();
        if entry.file_type() == FileType::Directory && name != c"." && name != c".." {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}
