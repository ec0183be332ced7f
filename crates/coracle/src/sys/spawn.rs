//! posix_spawn(3): programs of the host, started from a process that may have threads or be about
//! to become a container's.

use std::ffi::{CStr, CString};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::Errno;

use super::process::pointers;

/// A program to start.
pub(crate) struct Spawn<'a> {
    /// Its file.
    pub(crate) path: &'a CStr,
    /// Its arguments, the first being its name.
    pub(crate) args: &'a [CString],
    /// Its environment, exactly.
    pub(crate) env: &'a [CString],
    /// Its working directory.
    pub(crate) directory: &'a CStr,
    /// Its standard input.
    pub(crate) input: BorrowedFd<'a>,
    /// Its standard output.
    pub(crate) output: BorrowedFd<'a>,
    /// Its standard error.
    pub(crate) error: BorrowedFd<'a>,
}

impl Spawn<'_> {
    /// Starts it as the leader of a process group, with these three descriptors and no other, no
    /// signal blocked, ignored or handled. Its process id; the error number of execve(2) if that
    /// failed.
    pub(crate) fn start(&self) -> Result<i32, Errno> {
        let mut actions = Actions::new()?;
        actions.directory(self.directory)?;
        // All are above 2: the command makes sure that those are open when it starts.
        for (from, to) in [(self.input, 0), (self.output, 1), (self.error, 2)] {
            actions.duplicate(from, to)?;
        }
        actions.close_from(3)?;
        let attributes = Attributes::new()?;
        let (args, env) = (pointers(self.args), pointers(self.env));
        let mut pid = 0;
        // SAFETY: both arrays end in null and point to strings that outlive the call, as do the
        // actions and attributes, which were initialized.
        errno(unsafe {
            libc::posix_spawn(
                &raw mut pid,
                self.path.as_ptr(),
                &raw const actions.0,
                &raw const attributes.0,
                args.as_ptr().cast(),
                env.as_ptr().cast(),
            )
        })?;
        Ok(pid)
    }
}

/// These functions return an error number, and leave `errno` alone.
fn errno(answer: libc::c_int) -> Result<(), Errno> {
    if answer == 0 { Ok(()) } else { Err(Errno::from_raw_os_error(answer)) }
}

struct Actions(libc::posix_spawn_file_actions_t);

impl Actions {
    fn new() -> Result<Self, Errno> {
        let mut actions = MaybeUninit::uninit();
        // SAFETY: the function initializes what it is given, or fails.
        errno(unsafe { libc::posix_spawn_file_actions_init(actions.as_mut_ptr()) })?;
        // SAFETY: it did not fail.
        Ok(Self(unsafe { actions.assume_init() }))
    }

    fn directory(&mut self, path: &CStr) -> Result<(), Errno> {
        // SAFETY: the actions are initialized; the path is copied.
        errno(unsafe { libc::posix_spawn_file_actions_addchdir_np(&raw mut self.0, path.as_ptr()) })
    }

    fn duplicate(&mut self, from: BorrowedFd<'_>, to: i32) -> Result<(), Errno> {
        // SAFETY: the actions are initialized; descriptors are numbers here.
        errno(unsafe {
            libc::posix_spawn_file_actions_adddup2(&raw mut self.0, from.as_raw_fd(), to)
        })
    }

    fn close_from(&mut self, first: i32) -> Result<(), Errno> {
        // SAFETY: the actions are initialized.
        errno(unsafe { libc::posix_spawn_file_actions_addclosefrom_np(&raw mut self.0, first) })
    }
}

impl Drop for Actions {
    fn drop(&mut self) {
        // SAFETY: initialized, and not used again.
        unsafe { libc::posix_spawn_file_actions_destroy(&raw mut self.0) };
    }
}

struct Attributes(libc::posix_spawnattr_t);

impl Attributes {
    fn new() -> Result<Self, Errno> {
        #[allow(clippy::cast_possible_truncation)] // all three are below bit 4
        const FLAGS: i16 = (libc::POSIX_SPAWN_SETPGROUP
            | libc::POSIX_SPAWN_SETSIGMASK
            | libc::POSIX_SPAWN_SETSIGDEF) as i16;
        let (mut attributes, mut none) = (MaybeUninit::uninit(), MaybeUninit::uninit());
        let mut all = MaybeUninit::uninit();
        // SAFETY: the function initializes what it is given, or fails.
        errno(unsafe { libc::posix_spawnattr_init(attributes.as_mut_ptr()) })?;
        // SAFETY: it did not fail.
        let mut attributes = Self(unsafe { attributes.assume_init() });
        let to = &raw mut attributes.0;
        // SAFETY: the attributes are initialized; the sets are filled before they are read, and
        // copied.
        unsafe {
            libc::sigemptyset(none.as_mut_ptr());
            libc::sigfillset(all.as_mut_ptr());
            errno(libc::posix_spawnattr_setsigmask(to, none.as_ptr()))?;
            errno(libc::posix_spawnattr_setsigdefault(to, all.as_ptr()))?;
            // Group 0: a new one, of its own number.
            errno(libc::posix_spawnattr_setpgroup(to, 0))?;
            errno(libc::posix_spawnattr_setflags(to, FLAGS))?;
        }
        Ok(attributes)
    }
}

impl Drop for Attributes {
    fn drop(&mut self) {
        // SAFETY: initialized, and not used again.
        unsafe { libc::posix_spawnattr_destroy(&raw mut self.0) };
    }
}
