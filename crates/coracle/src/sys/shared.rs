//! A page of memory that processes share: writing to it takes no system call.

use std::os::fd::AsRawFd;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

use rustix::fs::ftruncate;
use rustix::io::Errno;

const SIZE: usize = 4096;

/// What is in it: all zero to begin with.
#[repr(C)]
#[derive(Debug)]
struct Page {
    length: AtomicUsize,
    bytes: [AtomicU8; SIZE - size_of::<AtomicUsize>()],
}

/// A few bytes that this process, those that are copied from it and those that map the same file
/// have in common. They stay mapped until the process ends or executes a program.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SharedPage(&'static Page);

impl SharedPage {
    /// One that only copies of this process have.
    pub(crate) fn anonymous() -> Result<Self, Errno> {
        Self::map(libc::MAP_ANONYMOUS, -1)
    }

    /// One that whoever opens the file has as well; it is made long enough. ENODEV where the file
    /// system shares no memory.
    pub(crate) fn of_file(file: &OwnedFd) -> Result<Self, Errno> {
        ftruncate(file, SIZE as u64)?;
        Self::map(0, file.as_raw_fd())
    }

    fn map(flags: i32, file: i32) -> Result<Self, Errno> {
        let access = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: the kernel chooses a place where nothing is mapped.
        let place = unsafe {
            libc::mmap(std::ptr::null_mut(), SIZE, access, libc::MAP_SHARED | flags, file, 0)
        };
        if place == libc::MAP_FAILED {
            // SAFETY: __errno_location points to this thread's errno for as long as it lives.
            return Err(Errno::from_raw_os_error(unsafe { *libc::__errno_location() }));
        }
        // SAFETY: it is SIZE bytes, aligned to a page and never unmapped; any bytes are a Page, and
        // all of it is atomic, as other processes write to it.
        Ok(Self(unsafe { &*place.cast::<Page>() }))
    }

    /// Puts bytes in the place of what is there, as many as have room.
    pub(crate) fn write(self, bytes: &[u8]) {
        self.0.length.store(0, Ordering::Release);
        for (place, byte) in self.0.bytes.iter().zip(bytes) {
            place.store(*byte, Ordering::Relaxed);
        }
        self.0.length.store(bytes.len().min(self.0.bytes.len()), Ordering::Release);
    }

    /// What is there.
    pub(crate) fn read(self) -> Vec<u8> {
        let length = self.0.length.load(Ordering::Acquire);
        self.0.bytes.iter().take(length).map(|byte| byte.load(Ordering::Relaxed)).collect()
    }
}
