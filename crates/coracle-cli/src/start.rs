//! `main` as the C library calls it, in place of the standard library's: that one looks for the
//! stack's bounds in /proc/self/maps and installs a handler to tell of an overflow, in every call.
#![allow(unsafe_code, reason = "the C library finds main by its name")]

use std::os::fd::{BorrowedFd, IntoRawFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags, open};

/// Where the program begins.
///
/// # Safety
/// The arguments are not looked at: the standard library has had them from the C library already.
#[unsafe(no_mangle)]
extern "C" fn main(_argc: libc::c_int, _argv: *const *const libc::c_char) -> libc::c_int {
    open_standard_files();
    // A reader who went away is an error to handle, not the end in the middle of something.
    // SAFETY: ignoring is a valid disposition.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
    crate::run()
}

/// Puts /dev/null where standard input, output or error was closed by the caller: the next file
/// opened would have its number, and be written to as such.
fn open_standard_files() {
    // SAFETY: whether they are open is what is asked; poll(2) answers POLLNVAL for those that are
    // not.
    let standard = [0, 1, 2].map(|number| unsafe { BorrowedFd::borrow_raw(number) });
    let mut files = standard.map(|file| PollFd::from_borrowed_fd(file, PollFlags::empty()));
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    if poll(&mut files, Some(&now)).is_ok_and(|closed| closed > 0) {
        let closed = files.iter().filter(|file| file.revents().contains(PollFlags::NVAL));
        for _ in closed {
            // The lowest free number is the closed one.
            if let Ok(file) = open("/dev/null", OFlags::RDWR, Mode::empty()) {
                let _ = file.into_raw_fd();
            }
        }
    }
}
