//! A terminal, as its emulator holds it.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{Termios, Winsize, tcgetattr, tcgetwinsize, tcsetwinsize};

use crate::call::{Call, Running};

const PATIENCE: Duration = Duration::from_secs(20);

/// Both sides of a pseudo-terminal. The program's side is held too, so that what a command did to
/// it can be looked at after the command has ended.
pub struct Pty {
    emulator: OwnedFd,
    program: Option<OwnedFd>,
    shown: String,
}

impl Pty {
    /// A new terminal.
    pub fn new(rows: u16, columns: u16) -> Self {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let emulator = openpt(flags).expect("a pseudo-terminal");
        grantpt(&emulator).unwrap();
        unlockpt(&emulator).unwrap();
        let program = ioctl_tiocgptpeer(&emulator, flags).unwrap();
        let pty = Self { emulator, program: Some(program), shown: String::new() };
        pty.resize(rows, columns);
        pty
    }

    /// The emulator's side of a terminal that a container has made.
    pub fn from_emulator(emulator: OwnedFd) -> Self {
        Self { emulator, program: None, shown: String::new() }
    }

    /// Starts a command on the terminal, which controls it as a log-in shell's does.
    pub fn spawn(&self, call: Call) -> Running {
        let program = || self.program().try_clone().unwrap();
        call.in_session().stdin(program()).stdout(program()).stderr(program()).spawn()
    }

    /// Changes the window size.
    pub fn resize(&self, rows: u16, columns: u16) {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&self.emulator, size).unwrap();
    }

    /// The window size, rows first.
    pub fn size(&self) -> (u16, u16) {
        let size = tcgetwinsize(&self.emulator).unwrap();
        (size.ws_row, size.ws_col)
    }

    /// The terminal's modes.
    pub fn modes(&self) -> Termios {
        tcgetattr(self.program()).unwrap()
    }

    /// Types.
    pub fn types(&self, text: &str) {
        let mut rest = text.as_bytes();
        while !rest.is_empty() {
            let written = rustix::io::write(&self.emulator, rest).unwrap();
            rest = &rest[written..];
        }
    }

    /// Waits for the terminal to show `text`, and takes what is up to there and the text itself
    /// away.
    #[track_caller]
    pub fn shows(&mut self, text: &str) -> String {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(at) = self.shown.find(text) {
                let rest = self.shown.split_off(at + text.len());
                return std::mem::replace(&mut self.shown, rest);
            }
            let left = end.saturating_duration_since(Instant::now());
            assert!(self.read(left), "should have shown {text:?}, but showed {:?}", self.shown);
        }
    }

    /// Everything that was shown and not taken yet, without waiting for more.
    pub fn rest(&mut self) -> String {
        while self.read(Duration::ZERO) {}
        std::mem::take(&mut self.shown)
    }

    /// Reads once; whether there was anything.
    fn read(&mut self, limit: Duration) -> bool {
        let limit = Timespec::try_from(limit).unwrap();
        let mut ready = [PollFd::new(&self.emulator, PollFlags::IN)];
        if poll(&mut ready, Some(&limit)).unwrap() == 0 {
            return false;
        }
        let mut bytes = [0; 4096];
        // EIO: the last program has closed its side.
        let count = rustix::io::read(&self.emulator, &mut bytes).unwrap_or(0);
        self.shown.push_str(&String::from_utf8_lossy(&bytes[..count]));
        count > 0
    }

    fn program(&self) -> &OwnedFd {
        self.program.as_ref().expect("a terminal of the test's own")
    }
}
