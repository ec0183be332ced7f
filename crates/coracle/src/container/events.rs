//! `events`.

use std::ops::ControlFlow;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use serde::Serialize;

use super::kill::first_process;
use super::pause::not;
use super::state::Status;
use crate::cgroup::{Cgroup, OomWatch, Stats};
use crate::error::{Context, Result};
use crate::resctrl_stats;
use crate::store::{Record, Store};

/// Something to tell of a container, in the form of runc's `events` (cli.md).
#[derive(Clone, Debug, Serialize)]
pub struct Event<'a> {
    /// What it is.
    #[serde(rename = "type")]
    pub kind: EventKind,
    /// The container's ID.
    pub id: &'a str,
    /// What it has used; with [`EventKind::Stats`] only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<Box<Stats>>,
}

/// What there is to tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum EventKind {
    /// What the container has used until now.
    Stats,
    /// Memory ran out, and the kernel killed a process for it.
    Oom,
}

/// What a container has used until now.
///
/// # Errors
/// [`Kind::State`](crate::Kind::State) with the words `container not running` if it has ended.
pub fn stats<'a>(store: &Store, id: &'a str) -> Result<Event<'a>> {
    let (record, cgroup, _) = open(store, id)?;
    stats_of(&record, &cgroup, id)
}

/// Tells what a container has used every `interval`, and when memory runs out, until its first
/// process ends or `tell` breaks off.
///
/// # Errors
/// [`Kind::State`](crate::Kind::State) with the words `container not running` if it has ended.
pub fn events(
    store: &Store,
    id: &str,
    interval: Duration,
    mut tell: impl FnMut(&Event<'_>) -> ControlFlow<()>,
) -> Result<()> {
    let (record, cgroup, first) = open(store, id)?;
    let mut watch = cgroup.watch_oom()?;
    let mut next = Instant::now() + interval;
    loop {
        let ended = wait(&first, watch.as_ref(), next)?;
        let kills = watch.as_mut().map_or(Ok(0), OomWatch::take)?;
        for _ in 0..kills {
            if tell(&Event { kind: EventKind::Oom, id, data: None }).is_break() {
                return Ok(());
            }
        }
        if ended {
            return Ok(());
        }
        if Instant::now() >= next {
            if tell(&stats_of(&record, &cgroup, id)?).is_break() {
                return Ok(());
            }
            next += interval;
        }
    }
}

fn open(store: &Store, id: &str) -> Result<(Record, Cgroup, OwnedFd)> {
    let record = store.open(id)?.read()?;
    match first_process(&record)? {
        Some(first) => {
            let cgroup = Cgroup::from_paths(&record.cgroup_paths);
            Ok((record, cgroup, first))
        }
        None => Err(not("container not running", Status::Stopped)),
    }
}

fn stats_of<'a>(record: &Record, cgroup: &Cgroup, id: &'a str) -> Result<Event<'a>> {
    let mut stats = cgroup.stats()?;
    if let Some((group, monitoring)) = record.resctrl() {
        stats.intel_rdt = resctrl_stats::read(group, monitoring);
    }
    Ok(Event { kind: EventKind::Stats, id, data: Some(Box::new(stats)) })
}

/// Waits until there is something to look at. Whether the first process has ended.
fn wait(first: &OwnedFd, watch: Option<&OomWatch<'_>>, until: Instant) -> Result<bool> {
    let mut files = vec![PollFd::new(first, PollFlags::IN)];
    if let Some((fd, interest)) = watch.map(OomWatch::poll) {
        files.push(PollFd::from_borrowed_fd(fd, interest));
    }
    let left = until.saturating_duration_since(Instant::now());
    // An interval that is too long for the kernel is as good as none.
    let left = Timespec::try_from(left).ok();
    match poll(&mut files, left.as_ref()) {
        Ok(_) | Err(Errno::INTR) => {}
        Err(errno) => return Err(errno).what(|| "waiting for events"),
    }
    Ok(!files[0].revents().is_empty())
}
