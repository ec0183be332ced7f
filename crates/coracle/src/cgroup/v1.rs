//! What version 1 of control groups does its own way (kernel documentation, cgroup-v1/).

use std::path::Path;
use std::time::Duration;

use rustix::fs::OFlags;
use rustix::io;

use super::device::{DeviceRule, Policy};
use super::dir::Dir;
use crate::error::Context;
use crate::{Errno, Error, Result};

/// Gives a cpuset the processors and memory nodes of the one above it, where it has none: no
/// process could enter it (cpusets.rst). The ones above it come first.
pub(super) fn fill_cpuset(mount: &Path, dir: &Dir) -> Result<(), Errno> {
    const FILES: [&str; 2] = ["cpuset.cpus", "cpuset.mems"];
    let [cpus, mems] = FILES.map(|file| dir.read(file));
    let empty = [cpus?, mems?].map(|text| text.trim_end().is_empty());
    let Some(parent) = dir.path.parent().filter(|path| path.starts_with(mount)) else {
        return Ok(());
    };
    if empty == [false, false] {
        return Ok(());
    }
    let parent = Dir::new(Vec::new(), parent.to_owned());
    fill_cpuset(mount, &parent)?;
    for (file, empty) in FILES.into_iter().zip(empty) {
        if empty {
            dir.write(file, parent.read(file)?.trim_end())?;
        }
    }
    Ok(())
}

/// Whether the freezer was told to freeze this cgroup itself.
pub(super) fn frozen(freezer: &Dir) -> Result<bool, Errno> {
    match freezer.read("freezer.self_freezing") {
        Ok(text) => Ok(text.trim_end() == "1"),
        Err(Errno::NOENT | Errno::NODEV) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// Asks for all processes to stop, and waits until they have.
///
/// While processes keep coming, by fork or from other cgroups, the kernel may stay at `FREEZING`
/// until asked again, or for ever: letting them run for a moment helps.
pub(super) fn freeze(freezer: &Dir) -> Result<(), Errno> {
    for attempt in 1..=1000_u32 {
        freezer.write(STATE, "FROZEN")?;
        match freezer.read(STATE) {
            Ok(state) if state.trim_end() == "FROZEN" => return Ok(()),
            Ok(_) => {}
            Err(errno) => {
                _ = thaw(freezer);
                return Err(errno);
            }
        }
        if attempt % 64 == 0 {
            thaw(freezer)?;
        }
        // Most are done by the first look or a moment later; a slow machine gets some 5 s.
        if attempt > 8 {
            std::thread::sleep(Duration::from_millis(if attempt % 64 == 0 { 20 } else { 5 }));
        }
    }
    _ = thaw(freezer);
    Err(Errno::TIMEDOUT)
}

/// Lets the processes run again.
pub(super) fn thaw(freezer: &Dir) -> Result<(), Errno> {
    freezer.write(STATE, "THAWED")
}

const STATE: &str = "freezer.state";

/// Writes the rules: everything is denied or allowed, then come the exceptions.
///
/// One line has to allow all that an open asks for: `r` by one and `w` by another that are about
/// different sets of devices don't make `rw`, as they do on version 2.
pub(super) fn set_devices(devices: &Dir, rules: &[DeviceRule]) -> Result<()> {
    let policy = Policy::new(rules);
    let exceptions = policy.exceptions()?;
    let (default, other) = if policy.default_allow {
        ("devices.allow", "devices.deny")
    } else {
        ("devices.deny", "devices.allow")
    };
    let what = || format!("setting the device rules of {}", devices.path.display());
    devices.write(default, "a").what(what)?;
    if exceptions.is_empty() {
        return Ok(());
    }
    let file = devices.open(other, OFlags::WRONLY).what(what)?;
    for rule in exceptions {
        let line = rule.line();
        io::write(&file, line.as_bytes())
            .map_err(|errno| Error::new(what()).because(format!("{other} `{line}`")).os(errno))?;
    }
    Ok(())
}
