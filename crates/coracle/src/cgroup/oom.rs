//! Hearing of processes that the kernel killed because memory ran out.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::event::{EventfdFlags, PollFlags, eventfd};
use rustix::fs::OFlags;
use rustix::io;

use super::dir::Dir;
use super::figures::pairs;
use super::{Cgroup, Version};
use crate::error::Context;
use crate::{Errno, Result};

/// Watches a cgroup for running out of memory.
#[derive(Debug)]
pub struct OomWatch<'a> {
    dir: &'a Dir,
    source: Source,
}

#[derive(Debug)]
enum Source {
    /// An eventfd, told by the kernel (cgroup-v1/memory.rst, "OOM Control"). The watched file has
    /// to stay open.
    Eventfd { eventfd: OwnedFd, _control: OwnedFd },
    /// `memory.events`, which becomes ready when it changes, and the kills that it told of.
    File { events: OwnedFd, seen: u64 },
}

impl Cgroup {
    /// Begins to watch. None where nobody counts memory.
    pub fn watch_oom(&self) -> Result<Option<OomWatch<'_>>> {
        let what = || "watching for out-of-memory kills";
        match (self.version("memory"), self.dir("memory")) {
            (Some(Version::V1), Some(dir)) => {
                let source = eventfd_of(dir).what(what)?;
                Ok(Some(OomWatch { dir, source }))
            }
            (Some(Version::V2), Some(dir)) => {
                let events = match dir.open("memory.events", OFlags::RDONLY) {
                    Err(Errno::NOENT) => return Ok(None),
                    answer => answer.what(what)?,
                };
                let seen = kills(events.as_fd()).what(what)?;
                Ok(Some(OomWatch { dir, source: Source::File { events, seen } }))
            }
            _ => Ok(None),
        }
    }
}

fn eventfd_of(dir: &Dir) -> Result<Source, Errno> {
    let control = dir.open("memory.oom_control", OFlags::RDONLY)?;
    let eventfd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
    let line = format!("{} {}", eventfd.as_raw_fd(), control.as_raw_fd());
    dir.write("cgroup.event_control", &line)?;
    Ok(Source::Eventfd { eventfd, _control: control })
}

impl OomWatch<'_> {
    /// What to poll(2), and for what.
    pub fn poll(&self) -> (BorrowedFd<'_>, PollFlags) {
        match &self.source {
            Source::Eventfd { eventfd, .. } => (eventfd.as_fd(), PollFlags::IN),
            Source::File { events, .. } => (events.as_fd(), PollFlags::PRI),
        }
    }

    /// How often memory has run out since this was last asked. Does not wait.
    pub fn take(&mut self) -> Result<u64> {
        let taken = match &mut self.source {
            Source::Eventfd { eventfd, .. } => count(eventfd.as_fd(), self.dir),
            Source::File { events, seen } => match kills(events.as_fd()) {
                Ok(kills) => Ok(kills - std::mem::replace(seen, kills).min(kills)),
                Err(Errno::NODEV) => Ok(0),
                Err(errno) => Err(errno),
            },
        };
        taken.what(|| "watching for out-of-memory kills")
    }
}

/// The kernel also signals the end of the cgroup.
fn count(eventfd: BorrowedFd<'_>, dir: &Dir) -> Result<u64, Errno> {
    let mut count = [0; 8];
    match io::read(eventfd, &mut count) {
        Ok(_) => {}
        Err(Errno::AGAIN) => return Ok(0),
        Err(errno) => return Err(errno),
    }
    match dir.open("cgroup.event_control", OFlags::WRONLY) {
        Ok(_) => Ok(u64::from_ne_bytes(count)),
        Err(Errno::NOENT | Errno::NODEV) => Ok(0),
        Err(errno) => Err(errno),
    }
}

/// The number of kills in `memory.events`.
fn kills(events: BorrowedFd<'_>) -> Result<u64, Errno> {
    let mut text = [0; 1024];
    let length = io::pread(events, &mut text, 0)?;
    let text = String::from_utf8_lossy(&text[..length]);
    Ok(pairs(&text).find(|(name, _)| *name == "oom_kill").map_or(0, |(_, count)| count))
}
