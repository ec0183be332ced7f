//! Writes limits into the files of a cgroup, and says what the kernel has against one.

use std::borrow::Cow;

use super::dir::Dir;
use super::limits::Limits;
use super::write::{Missing, Version, Write};
use super::{Cgroup, lacks_right, location};
use crate::{Errno, Error, Kind, Result};

/// What to do where a disk has no weights.
const WEIGHTS: &str = "weights of block devices need an I/O scheduler that knows them, such as bfq";

/// What a file said before it was written to.
struct Old<'a> {
    dir: &'a Dir,
    file: &'a str,
    lines: Vec<String>,
}

impl Cgroup {
    /// Writes limits, in order.
    ///
    /// # Errors
    /// One that names the field, the value, the file and the kernel's answer. What was written
    /// before stays: the cgroup of a container that cannot be made goes as a whole.
    pub fn set_limits(&self, writes: &[Write]) -> Result<()> {
        self.write(writes.iter().collect(), |_, _| {})
    }

    /// Changes the limits of a cgroup in use. After an error, all are as they were.
    pub fn update_limits(&self, limits: &Limits) -> Result<()> {
        if self.is_absent() && !limits.is_empty() {
            return Err(Error::new("the container has no cgroup").kind(Kind::State).help(
                "a rootless runtime can set limits only below a cgroup delegated to its user",
            ));
        }
        self.enable(&limits.controllers())?;
        self.check_usage(limits)?;
        let mut old = Vec::new();
        let written =
            self.write(limits.writes().collect(), |dir, write| old.extend(before(dir, write)));
        written.and_then(|()| self.tell_systemd(limits)).map_err(|error| match restore(&old) {
            Ok(()) if old.is_empty() => error,
            Ok(()) => error.within("all limits are as they were"),
            Err(file) => error.within(&format!("{file} could not be set back")),
        })
    }

    /// Makes limits that the kernel has taken the unit's properties too, so that they last.
    fn tell_systemd(&self, limits: &Limits) -> Result<()> {
        let Some(unit) = &self.unit else { return Ok(()) };
        unit.set(limits, self.weight_after_idling(limits))?;
        // It has written its own idea of them, which may be coarser.
        self.write(limits.writes().collect(), |_, _| {})
    }

    /// The weight of one that is not idle any more, or never was: the unit has to be told, or systemd
    /// would make it idle again.
    fn weight_after_idling(&self, limits: &Limits) -> Option<u64> {
        let to = |file: &str| limits.writes().find(|write| write.file == file);
        let idle = to("cpu.idle").filter(|write| write.value == "0")?;
        if to("cpu.weight").is_some() {
            return None;
        }
        self.place(idle)?.read("cpu.weight").ok()?.trim_end().parse().ok()
    }

    /// The version of control groups that a controller, by its version 2 name, belongs to here.
    pub fn version(&self, controller: &str) -> Option<Version> {
        location::version(self.dirs.iter().map(|dir| &*dir.controllers), controller)
    }

    /// Refuses a limit of memory that is exceeded already: the kernel would kill.
    fn check_usage(&self, limits: &Limits) -> Result<()> {
        let (Some(limit), Some(dir)) = (limits.check_usage, self.dirs.first()) else {
            return Ok(());
        };
        // Where the usage is not known, nothing is known against the limit.
        let usage = dir.read("memory.current").ok().and_then(|text| text.trim_end().parse().ok());
        match usage {
            Some(usage) if limit <= usage => {
                let what = format!("rejecting memory limit {limit} <= usage {usage}");
                Err(Error::new(what)
                    .at("/linux/resources/memory/checkBeforeUpdate", Some("true".into()))
                    .help("the kernel would kill processes of the container"))
            }
            _ => Ok(()),
        }
    }

    /// The kernel judges each value against the others as they stand, a quota against the period
    /// and the limit of memory against that of memory and swap: what it refuses for that is tried
    /// again when the others are written. So no order has to be found for each way to change them.
    fn write<'a>(
        &'a self,
        mut writes: Vec<&'a Write>,
        mut before: impl FnMut(&'a Dir, &'a Write),
    ) -> Result<()> {
        loop {
            let mut refused = Vec::new();
            for &write in &writes {
                let Some(dir) = self.place(write) else {
                    if write.missing == Missing::Skip {
                        continue;
                    }
                    return Err(self.failed(None, write, Errno::NOENT));
                };
                before(dir, write);
                match write_one(dir, write) {
                    Ok(()) => {}
                    Err(Errno::INVAL) => refused.push(write),
                    Err(errno) => return Err(self.failed(Some(dir), write, errno)),
                }
            }
            match refused.first() {
                None => return Ok(()),
                Some(first) if refused.len() == writes.len() => {
                    return Err(self.failed(self.place(first), first, Errno::INVAL));
                }
                Some(_) => writes = refused,
            }
        }
    }

    /// The directory that a write goes to.
    fn place(&self, write: &Write) -> Option<&Dir> {
        let legacy = location::legacy_name(&write.controller);
        self.dirs.iter().find(|dir| match write.version {
            Version::V1 => dir.controls(legacy),
            Version::V2 => dir.controllers.is_empty(),
        })
    }

    fn failed(&self, dir: Option<&Dir>, write: &Write, errno: Errno) -> Error {
        let line = write.line(&write.value);
        let file = &write.file;
        let what = match dir {
            Some(dir) => format!("writing {line:?} to {}/{file}", dir.path.display()),
            None => format!("writing {line:?} to {file}"),
        };
        let error = Error::new(what).os(errno).at(write.pointer(), Some(write.given.clone()));
        let rootless = self.rootless || !rustix::process::geteuid().is_root();
        if rootless && lacks_right(errno) && errno != Errno::NOENT {
            return error.help(
                "a rootless runtime can set limits only below a cgroup delegated to its user",
            );
        }
        match (errno, dir) {
            (Errno::NOENT, Some(dir)) => error.help(lacking(dir, write)),
            (Errno::NOENT, None) => error.help("the container has no cgroup with that controller"),
            (Errno::BUSY, Some(dir)) if write.controller == "memory" => {
                match dir.read("memory.usage_in_bytes") {
                    Ok(usage) => error.because(format!("{} bytes are in use", usage.trim_end())),
                    Err(_) => error,
                }
            }
            (Errno::OPNOTSUPP, _) if write.controller == "io" => error.help(WEIGHTS),
            (Errno::NODEV, _) if write.controller == "io" => {
                error.help("it begins with the numbers of a whole disk, not of a partition")
            }
            _ => match accepts(write) {
                Some(words) => error.help(words),
                None => error,
            },
        }
    }
}

/// Writes one line, where the kernel has the file.
fn write_one(dir: &Dir, write: &Write) -> Result<(), Errno> {
    match (write_line(dir, &write.file, &write.line(&write.value)), &write.missing) {
        (Err(Errno::NOENT), Missing::Skip) => Ok(()),
        // The file of a scheduler that is there, but not this disk's.
        (Err(errno @ (Errno::NOENT | Errno::OPNOTSUPP)), Missing::Instead(file, value)) => {
            match write_line(dir, file, &write.line(value)) {
                Err(Errno::NOENT) => Err(errno),
                answer => answer,
            }
        }
        (answer, _) => answer,
    }
}

/// Writes a line, and again what the kernel forgets over it: with a new weight for all disks, bfq
/// drops those of single ones.
fn write_line(dir: &Dir, file: &str, line: &str) -> Result<(), Errno> {
    let of_one_disk = |line: &&str| line.split(' ').next().is_some_and(|word| word.contains(':'));
    let single = match file {
        "io.bfq.weight" if !of_one_disk(&line) => file,
        "blkio.bfq.weight" => "blkio.bfq.weight_device",
        _ => return dir.write(file, line),
    };
    let before = dir.read(single).unwrap_or_default();
    dir.write(file, line)?;
    before.lines().filter(of_one_disk).try_for_each(|line| dir.write(single, line))
}

/// What to write to undo a write that is to come, into whichever of its files.
fn before<'a>(dir: &'a Dir, write: &'a Write) -> impl Iterator<Item = Old<'a>> {
    let instead = match write.missing {
        Missing::Instead(file, _) => Some(file),
        _ => None,
    };
    let files = std::iter::once(&*write.file).chain(instead);
    files.filter_map(|file| before_in(dir, file, write))
}

/// The same in one file.
fn before_in<'a>(dir: &'a Dir, file: &'a str, write: &'a Write) -> Option<Old<'a>> {
    let text = dir.read(file).ok()?;
    let lines = match &write.key {
        Some(key) => vec![line_of(&text, key).unwrap_or_else(|| reset(file, key))],
        None if file == "memory.oom_control" => {
            text.lines().find_map(|line| line.strip_prefix("oom_kill_disable ")).map(str::to_owned)
        }
        .into_iter()
        .collect(),
        None if text.trim_end().is_empty() => vec!["\n".to_owned()],
        None => text.lines().map(str::to_owned).collect(),
    };
    Some(Old { dir, file, lines })
}

/// The line of a file about one device.
fn line_of(text: &str, key: &str) -> Option<String> {
    let about = |line: &&str| line.split(' ').next() == Some(key);
    text.lines().find(about).map(str::to_owned)
}

/// The line that takes a device's limit away.
fn reset(file: &str, key: &str) -> String {
    let none = match file {
        "io.max" => "rbps=max wbps=max riops=max wiops=max",
        "io.weight" | "io.bfq.weight" | "blkio.bfq.weight_device" => "default",
        "rdma.max" => "hca_handle=max hca_object=max",
        _ => "0",
    };
    format!("{key} {none}")
}

/// Writes back what files said, the last first, and again as long as one more of them takes it. The
/// name of one that does not.
fn restore<'a>(old: &[Old<'a>]) -> Result<(), &'a str> {
    let mut left: Vec<&Old<'a>> = old.iter().rev().collect();
    loop {
        let before = left.len();
        left.retain(|old| {
            old.lines.iter().any(|line| !is_back(write_line(old.dir, old.file, line)))
        });
        match left.first() {
            None => return Ok(()),
            Some(first) if left.len() == before => return Err(first.file),
            Some(_) => {}
        }
    }
}

/// Whether a line is as it was: a scheduler that is not the disk's had nothing to change.
fn is_back(written: Result<(), Errno>) -> bool {
    matches!(written, Ok(()) | Err(Errno::OPNOTSUPP))
}

/// What to do where the kernel has no such file.
fn lacking(dir: &Dir, write: &Write) -> Cow<'static, str> {
    match &*write.controller {
        "memory" if write.field == "memory/swap" => {
            "this kernel does not count swap; boot it with swapaccount=1".into()
        }
        "hugetlb" => match sizes(dir) {
            sizes if sizes.is_empty() => "this machine has no huge pages".into(),
            sizes => format!("this machine's huge pages are of {}", sizes.join(" and ")).into(),
        },
        "io" if write.file.contains("leaf_weight") => {
            "the scheduler that knew leaf weights left Linux with 5.0: take it out".into()
        }
        "io" if write.file.contains("weight") => WEIGHTS.into(),
        _ => "this kernel has no such file: take the limit out".into(),
    }
}

/// The sizes of huge pages, by the names of the files.
pub(super) fn sizes(dir: &Dir) -> Vec<String> {
    let names = std::fs::read_dir(&dir.path).into_iter().flatten().flatten();
    let names = names.filter_map(|entry| entry.file_name().into_string().ok());
    let mut sizes: Vec<String> = names
        .filter_map(|name| Some(name.strip_prefix("hugetlb.")?.split('.').next()?.to_owned()))
        .collect();
    sizes.sort();
    sizes.dedup();
    sizes
}

/// What the kernel takes for a field.
fn accepts(write: &Write) -> Option<&'static str> {
    Some(match &*write.field {
        "memory/limit" | "memory/reservation" => "bytes, or -1 for no limit",
        "memory/swap" => "bytes of memory and swap together, not below limit; -1 for no limit",
        "memory/swappiness" => "0 to 100",
        "memory/disableOOMKiller" => "only below a cgroup that has use_hierarchy",
        "memory/useHierarchy" => "this kernel knows nothing but true",
        "cpu/quota" => "microseconds, at least 1000; -1 for no limit; not beyond the cgroup above",
        "cpu/period" => "microseconds, 1000 to 1000000",
        "cpu/burst" => "microseconds, at most the quota",
        "cpu/idle" => "0 or 1",
        "cpu/shares" => "none, while the cgroup is idle",
        "cpu/realtimeRuntime" | "cpu/realtimePeriod" => {
            "microseconds of time that the cgroup above has to give: set its realtimeRuntime first"
        }
        "cpu/cpus" => "processors that are online and that the cgroup above has, such as 0-3,7",
        "cpu/mems" => "memory nodes that are online and that the cgroup above has, such as 0",
        "pids/limit" => "a number of tasks; -1 for no limit",
        "blockIO/weight" => "10 to 1000",
        field if field.starts_with("blockIO/weightDevice/") => "10 to 1000",
        field if field.starts_with("blockIO/throttle") => {
            "bytes or operations a second, more than 1"
        }
        field if field.starts_with("hugepageLimits/") => "bytes, a whole number of pages",
        field if field.starts_with("network/priorities/") => "a priority and a known interface",
        field if field.starts_with("unified/") => {
            "what the kernel's cgroup-v2.rst says of that file, within the cgroup above"
        }
        field if field.starts_with("rdma/") => "limits of a device that there is",
        _ => return None,
    })
}
