//! Containers on disk: a directory each below the state root, with what was made for it.
//!
//! A record is written to a temporary file and renamed before the thing it describes becomes
//! visible, so that a runtime killed at any moment leaves something that `delete --force` can take
//! away. Readers take no lock. Whoever changes a container holds the lock on its directory.

mod record;

use std::ffi::OsStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{
    AtFlags, CWD, Dir, FlockOperation, Mode, OFlags, flock, fstat, mkdirat, open, openat, renameat,
    unlinkat,
};
use rustix::io::Errno;
use rustix::process::geteuid;

pub use self::record::{Record, RecordConfig, RecordMount, RecordOptions};
use crate::error::{Context, Error, Kind, Result};
use crate::sys::shared::SharedPage;

/// The state root: where the containers of one runtime are.
#[derive(Clone, Debug)]
pub struct Store {
    root: PathBuf,
}

/// The longest ID: the longest name of a file.
const LONGEST_ID: usize = 255;

/// The name of the record. Monitoring tools read it (cli.md, "Files").
const RECORD: &str = "state.json";

/// The specification as it was written.
const CONFIG: &str = "config.json";

/// There while a container is created and not started; locked by its init until then.
pub(crate) const FIFO: &str = "exec.fifo";

/// Where init listens for the word to start.
pub(crate) const SOCKET: &str = "init.sock";

/// What init has left to be found by `start`, which shares no memory with it.
const LAST_WORDS: &str = "init.words";

/// The directory with the socket on which the container says that it is ready.
pub(crate) const NOTIFY: &str = "notify";

/// Checks an ID: `[A-Za-z0-9_+.-]+`, not `.` or `..`.
pub fn check_id(id: &str) -> Result<()> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_+.-".contains(&byte);
    let bad = |why: String| {
        Error::new("invalid container ID format")
            .because(why)
            .help("use letters, digits, and any of _ + . -")
    };
    if id.is_empty() {
        return Err(bad("the ID is empty".into()));
    }
    if id.len() > LONGEST_ID {
        return Err(bad(format!(
            "the ID has {} bytes, at most {LONGEST_ID} are allowed",
            id.len()
        )));
    }
    if id == "." || id == ".." || !id.bytes().all(allowed) {
        return Err(bad(format!("{id:?}")));
    }
    Ok(())
}

impl Store {
    /// The store at this directory, which need not be there yet.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Its directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Takes an ID: makes its directory, locked.
    ///
    /// # Errors
    /// [`Kind::Exists`] if there is a container of this ID.
    pub(crate) fn reserve(&self, id: &str) -> Result<Entry> {
        check_id(id)?;
        let root = match self.open_root() {
            Err(Errno::NOENT) => {
                make_root(&self.root)
                    .what(|| format!("making the state directory {}", self.root.display()))?;
                self.open_root()
            }
            result => result,
        }
        .what(|| format!("opening the state directory {}", self.root.display()))?;
        match mkdirat(&root, id, Mode::from_raw_mode(0o711)) {
            Ok(()) => {}
            Err(Errno::EXIST) => {
                return Err(Error::new("container with given ID already exists")
                    .because(id.to_owned())
                    .kind(Kind::Exists)
                    .help(format!("choose another ID, or delete it: delete {id}")));
            }
            Err(errno) => {
                return Err(Error::new(format!("making {}/{id}", self.root.display())).os(errno));
            }
        }
        let directory =
            open_container(&root, id).what(|| format!("opening {}/{id}", self.root.display()))?;
        let entry = Entry { id: id.to_owned(), root, directory };
        entry.lock()?;
        Ok(entry)
    }

    /// Where a container of this ID has the socket on which it says that it is ready.
    pub(crate) fn notify_directory(&self, id: &str) -> Result<PathBuf> {
        std::path::absolute(self.root.join(id).join(NOTIFY)).what(|| "finding the state root")
    }

    /// Opens a container's directory.
    ///
    /// # Errors
    /// [`Kind::NoContainer`] if there is no container of this ID.
    pub(crate) fn open(&self, id: &str) -> Result<Entry> {
        check_id(id)?;
        let none = || {
            Error::new("container does not exist").because(id.to_owned()).kind(Kind::NoContainer)
        };
        let failed = |errno| match errno {
            Errno::NOENT | Errno::NOTDIR | Errno::LOOP => none(),
            _ => Error::new(format!("opening {}/{id}", self.root.display())).os(errno),
        };
        let root = self.open_root().map_err(failed)?;
        let directory = open_container(&root, id).map_err(failed)?;
        // It says which processes to kill and which cgroups to remove, and its owner can write it.
        let owner = fstat(&directory).map_err(failed)?.st_uid;
        if owner != 0 && owner != geteuid().as_raw() {
            return Err(Error::new(format!("container {id} is another user's"))
                .because(format!("{}/{id} belongs to user {owner}", self.root.display()))
                .kind(Kind::State)
                .help(
                    "what a user keeps of a container is not to be trusted: run this as that user",
                ));
        }
        Ok(Entry { id: id.to_owned(), root, directory })
    }

    /// The IDs of all containers, in the order of their names. Files that are not containers are
    /// passed over.
    pub(crate) fn ids(&self) -> Result<Vec<String>> {
        let root = match self.open_root() {
            Err(Errno::NOENT) => return Ok(Vec::new()),
            result => result.what(|| format!("opening {}", self.root.display()))?,
        };
        let mut ids: Vec<String> = Dir::read_from(&root)
            .what(|| format!("reading {}", self.root.display()))?
            .filter_map(std::result::Result::ok)
            .filter_map(|entry| entry.file_name().to_str().ok().map(str::to_owned))
            .filter(|name| check_id(name).is_ok())
            .collect();
        ids.sort_unstable();
        Ok(ids)
    }

    /// The state root itself may be behind a link.
    fn open_root(&self) -> Result<OwnedFd, Errno> {
        openat(CWD, &self.root, DIRECTORY, Mode::empty())
    }
}

/// Makes the state root and what leads to it; nobody else may list it.
fn make_root(root: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o711).create(root)
}

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// Opens the directory of a container. A link in its place leads to what is no container's, and
/// deleting that must not empty it.
fn open_container(root: &OwnedFd, id: &str) -> Result<OwnedFd, Errno> {
    openat(root, id, DIRECTORY | OFlags::NOFOLLOW, Mode::empty())
}

/// A container's directory.
#[derive(Debug)]
pub(crate) struct Entry {
    id: String,
    root: OwnedFd,
    directory: OwnedFd,
}

impl Entry {
    /// The container's ID.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// The directory.
    pub(crate) fn directory(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }

    /// Locks the container for a change; waits a moment for somebody who only looks.
    pub(crate) fn lock(&self) -> Result<()> {
        for _ in 0..50 {
            match flock(&self.directory, FlockOperation::NonBlockingLockExclusive) {
                Err(Errno::WOULDBLOCK | Errno::INTR) => {
                    std::thread::sleep(Duration::from_millis(2));
                }
                result => return result.what(|| format!("locking container {}", self.id)),
            }
        }
        Err(Error::new(format!("container {} is being changed by another command", self.id))
            .kind(Kind::State)
            .help("try again when it is done"))
    }

    /// Gives the lock back.
    pub(crate) fn unlock(&self) {
        // Cannot fail on a descriptor that is open; closing it gives the lock back all the same.
        let _ = flock(&self.directory, FlockOperation::Unlock);
    }

    /// Whether somebody is changing the container right now, this process included.
    pub(crate) fn is_locked(&self) -> bool {
        // A lock belongs to an open file description: asking on the one that may hold it would
        // give it away (flock(2)).
        openat(&self.directory, ".", DIRECTORY, Mode::empty()).is_ok_and(|other| locked(&other))
    }

    /// Whether the container is created and waits for the word to start: exec.fifo is there, and
    /// init has it locked.
    pub(crate) fn awaits_start(&self) -> bool {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        openat(&self.directory, FIFO, flags, Mode::empty()).is_ok_and(|fifo| locked(&fifo))
    }

    /// Reads the record.
    ///
    /// # Errors
    /// [`Kind::NoContainer`] if there is none yet.
    pub(crate) fn read(&self) -> Result<Record> {
        let bytes = self.read_file(RECORD).map_err(|errno| match errno {
            Errno::NOENT => Error::new("container does not exist")
                .because(format!("{} has no {RECORD}", self.id))
                .kind(Kind::NoContainer)
                .help(format!("remove what is left of it: delete --force {}", self.id)),
            _ => Error::new(format!("reading {RECORD} of container {}", self.id)).os(errno),
        })?;
        serde_json::from_slice(&bytes).map_err(|error| {
            Error::new(format!("{RECORD} of container {} is damaged", self.id))
                .because(error.to_string())
                .help(format!("remove the container: delete --force {}", self.id))
        })
    }

    /// Reads the specification as it was written.
    pub(crate) fn read_config(&self) -> Result<Vec<u8>> {
        self.read_file(CONFIG).what(|| format!("reading {CONFIG} of container {}", self.id))
    }

    fn read_file(&self, name: &str) -> Result<Vec<u8>, Errno> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(&self.directory, name, flags, Mode::empty())?;
        let size = usize::try_from(fstat(&file)?.st_size).unwrap_or(0);
        let mut bytes = Vec::with_capacity(size + 1);
        loop {
            bytes.reserve(4096);
            match rustix::io::read(&file, rustix::buffer::spare_capacity(&mut bytes)) {
                Ok(0) => return Ok(bytes),
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
        }
    }

    /// Writes the record, whole or not at all.
    pub(crate) fn write(&self, record: &Record) -> Result<()> {
        let bytes = serde_json::to_vec(record)
            .map_err(|error| Error::new("encoding the record").because(error.to_string()))?;
        self.write_file(RECORD, &bytes)
    }

    /// Keeps the specification as it was written.
    pub(crate) fn write_config(&self, bytes: &[u8]) -> Result<()> {
        self.write_file(CONFIG, bytes)
    }

    fn write_file(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let what = || format!("writing {name} of container {}", self.id);
        let temporary = format!(".{name}");
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC;
        let file =
            openat(&self.directory, &temporary, flags, Mode::from_raw_mode(0o600)).what(what)?;
        let mut rest = bytes;
        while !rest.is_empty() {
            match rustix::io::write(&file, rest) {
                Ok(count) => rest = &rest[count..],
                Err(Errno::INTR) => {}
                Err(errno) => return Err(Error::new(what()).os(errno)),
            }
        }
        renameat(&self.directory, &temporary, &self.directory, name).what(what)
    }

    /// The page in which init leaves what it cannot say, made if `make`; `None` if there is none, or
    /// the file system shares no memory.
    pub(crate) fn last_words(&self, make: bool) -> Option<SharedPage> {
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let flags = if make { flags | OFlags::CREATE | OFlags::EXCL } else { flags };
        let mode = Mode::from_raw_mode(0o600);
        let file = openat(&self.directory, LAST_WORDS, flags, mode).ok()?;
        SharedPage::of_file(&file).ok()
    }

    /// Says that the container was started.
    pub(crate) fn mark_started(&self) {
        for name in [FIFO, SOCKET, LAST_WORDS] {
            // Init's lock is gone, so a fifo left behind says nothing.
            let _ = unlinkat(&self.directory, name, AtFlags::empty());
        }
    }

    /// Removes the directory and all in it.
    pub(crate) fn remove(&self) -> Result<()> {
        let what = || format!("removing the state of container {}", self.id);
        for entry in Dir::read_from(&self.directory).what(what)? {
            let entry = entry.what(what)?;
            let name = entry.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            match unlinkat(&self.directory, name, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                // What is below it is of the container's own making, if it could lift the read-only
                // mount of it. No other directory is ours to remove.
                Err(Errno::ISDIR) if name.to_bytes() == NOTIFY.as_bytes() => {
                    let path =
                        PathBuf::from(format!("/proc/self/fd/{}", self.directory.as_raw_fd()));
                    std::fs::remove_dir_all(path.join(OsStr::from_bytes(name.to_bytes())))
                        .what(what)?;
                }
                Err(errno) => return Err(Error::new(what()).os(errno)),
            }
        }
        match unlinkat(&self.root, self.id.as_str(), AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(Error::new(what()).os(errno)),
        }
    }
}

/// Whether somebody holds the exclusive lock of a file.
fn locked(file: &OwnedFd) -> bool {
    match flock(file, FlockOperation::NonBlockingLockShared) {
        Ok(()) => {
            let _ = flock(file, FlockOperation::Unlock);
            false
        }
        Err(errno) => errno == Errno::WOULDBLOCK,
    }
}

/// Now, as the record has it.
pub(crate) fn timestamp() -> String {
    humantime::format_rfc3339_nanos(SystemTime::now()).to_string()
}

/// When a process started (proc(5), field 22 of stat), or `None` if it has ended or is a zombie.
pub(crate) fn process_start(pid: u32) -> Option<u64> {
    let mut path = [0u8; 32];
    let path = {
        use std::io::Write;
        let mut cursor = std::io::Cursor::new(&mut path[..]);
        write!(cursor, "/proc/{pid}/stat").ok()?;
        let length = usize::try_from(cursor.position()).ok()?;
        path.get(..length)?
    };
    let file = open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let mut line = [0u8; 1024];
    let length = rustix::io::read(&file, &mut line).ok()?;
    // The name may contain anything, spaces and parentheses too; what follows the last one does not.
    let line = &line[..length];
    let after = line.iter().rposition(|byte| *byte == b')')? + 2;
    let mut fields = line.get(after..)?.split(|byte| *byte == b' ');
    if matches!(fields.next()?, b"Z" | b"X" | b"x") {
        return None;
    }
    std::str::from_utf8(fields.nth(18)?).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_file_names_and_nothing_else() {
        for good in ["a", "container1", "A_b+c.d-e", "...", "0"] {
            assert!(check_id(good).is_ok(), "{good}");
        }
        let long = "x".repeat(256);
        for bad in ["", ".", "..", "a/b", "a b", "é", "a\n", "../x", long.as_str()] {
            let error = check_id(bad).map_err(|error| error.to_string());
            assert!(error.is_err_and(|e| e.contains("invalid container ID format")), "{bad}");
        }
    }

    #[test]
    fn a_process_is_known_by_its_start() {
        assert!(process_start(std::process::id()).is_some());
        assert_eq!(process_start(u32::MAX), None);
    }
}
