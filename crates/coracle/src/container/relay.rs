//! Between the container's terminal and ours: what is typed, what is shown, and the size.
//!
//! Where ours is a terminal it is in raw mode meanwhile, and given back as it was at any end. Where
//! it is none (a pipe, /dev/null) bytes go through all the same, and the end of input is passed on
//! as the terminal's end-of-file character.

use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;
use rustix::stdio::{stdin, stdout};
use rustix::termios::{
    OptionalActions, Termios, isatty, tcgetattr, tcgetwinsize, tcsetattr, tcsetwinsize,
};

use crate::error::{Context, Result};

/// The end-of-file character of a terminal that nobody has changed: Ctrl-D.
const END_OF_FILE: u8 = 4;

/// The two directions.
pub(super) struct Relay<'a> {
    master: &'a OwnedFd,
    input: Input,
    /// How our terminal was, if it is one.
    before: Option<Termios>,
    /// Whether the container's side has been closed by all.
    closed: bool,
}

/// The places of a poll list that belong to a relay.
#[derive(Clone, Copy, Default)]
pub(super) struct Watched {
    master: Option<usize>,
    input: Option<usize>,
}

/// What was read from standard input and not yet taken by the terminal.
struct Input {
    buffer: Vec<u8>,
    open: bool,
}

impl<'a> Relay<'a> {
    pub(super) fn new(master: &'a OwnedFd) -> Result<Self> {
        let what = || "setting up the terminal";
        let flags = fcntl_getfl(master).what(what)?;
        fcntl_setfl(master, flags | OFlags::NONBLOCK).what(what)?;
        let before = if isatty(stdin()) { Some(tcgetattr(stdin()).what(what)?) } else { None };
        if let Some(before) = &before {
            let mut raw = before.clone();
            raw.make_raw();
            tcsetattr(stdin(), OptionalActions::Now, &raw).what(what)?;
        }
        let input = Input { buffer: Vec::new(), open: true };
        Ok(Self { master, input, before, closed: false })
    }

    /// Adds what is waited for, and says at which places: the master and standard input. What is
    /// closed is left out, as poll(2) would answer it for ever.
    pub(super) fn watch<'f>(&'f self, files: &mut Vec<PollFd<'f>>) -> Watched {
        let mut watched = Watched::default();
        if !self.closed {
            let mut wanted = PollFlags::IN;
            if !self.input.buffer.is_empty() {
                wanted |= PollFlags::OUT;
            }
            watched.master = Some(files.len());
            files.push(PollFd::new(self.master, wanted));
            if self.input.open && self.input.buffer.is_empty() {
                watched.input = Some(files.len());
                files.push(PollFd::from_borrowed_fd(stdin(), PollFlags::IN));
            }
        }
        watched
    }

    /// Moves what is there to be moved.
    pub(super) fn serve(&mut self, watched: Watched, events: &[PollFlags]) {
        let happened = |place: Option<usize>| {
            place.and_then(|place| events.get(place)).is_some_and(|events| !events.is_empty())
        };
        if happened(watched.input) {
            self.read_input();
        }
        if !self.input.buffer.is_empty() {
            self.write_input();
        }
        if happened(watched.master) {
            self.show();
        }
    }

    fn read_input(&mut self) {
        if !self.input.open || !self.input.buffer.is_empty() {
            return;
        }
        let mut chunk = [0; 4096];
        match rustix::io::read(stdin(), &mut chunk) {
            Ok(0) => {
                self.input.open = false;
                self.input.buffer.push(END_OF_FILE);
            }
            Ok(count) => self.input.buffer.extend_from_slice(&chunk[..count]),
            Err(Errno::INTR | Errno::AGAIN) => {}
            // In the background of our terminal, or it is gone.
            Err(_) => self.input.open = false,
        }
    }

    fn write_input(&mut self) {
        match rustix::io::write(self.master, &self.input.buffer) {
            Ok(count) => {
                self.input.buffer.drain(..count);
            }
            Err(Errno::INTR | Errno::AGAIN) => {}
            Err(_) => {
                self.input.buffer.clear();
                self.input.open = false;
            }
        }
    }

    /// Shows one piece of output; `false` when there is none for now.
    fn show(&mut self) -> bool {
        let mut chunk = [0; 16384];
        match rustix::io::read(self.master, &mut chunk) {
            Ok(count) if count > 0 => {
                write_all(stdout(), &chunk[..count]);
                true
            }
            Err(Errno::INTR) => true,
            Err(Errno::AGAIN) => false,
            // EIO: the last one who had the other side open has closed it.
            Ok(_) | Err(_) => {
                self.closed = true;
                false
            }
        }
    }

    /// Shows what is left when the process has ended.
    pub(super) fn drain(&mut self) {
        while !self.closed && self.show() {}
    }

    /// Our terminal has another size now.
    pub(super) fn resize(&self) {
        adopt_size(self.master);
    }
}

/// Gives the container's terminal the size of ours, if ours is one: at once when it is made, so
/// that the program finds it right, and whenever it changes.
pub(super) fn adopt_size(master: &OwnedFd) {
    if let Ok(size) = tcgetwinsize(stdin()).or_else(|_| tcgetwinsize(stdout())) {
        let _ = tcsetwinsize(master, size);
    }
}

impl Drop for Relay<'_> {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            let _ = tcsetattr(stdin(), OptionalActions::Now, before);
        }
    }
}

/// Writes all of it, or as much as the reader takes.
fn write_all(file: BorrowedFd<'_>, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        match rustix::io::write(file, bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => {
                let mut files = [PollFd::from_borrowed_fd(file, PollFlags::OUT)];
                let _ = rustix::event::poll(&mut files, None);
            }
            Err(_) => return,
        }
    }
}
