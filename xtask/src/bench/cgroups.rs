//! The machine's cgroup hierarchies: which there are, a view with only one version of them, and
//! the removal of what a container left behind.

use std::fmt;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::{Pid, Signal, kill_process};

use crate::Outcome;

const ROOT: &str = "/sys/fs/cgroup";

/// A version of cgroups to see alone.
#[derive(Clone, Copy)]
pub(super) enum View {
    V1,
    V2,
}

impl View {
    /// `v1` or `v2`.
    pub(super) fn parse(text: &str) -> Outcome<Self> {
        match text {
            "v1" => Ok(Self::V1),
            "v2" => Ok(Self::V2),
            _ => Err("--cgroups takes v1 or v2".into()),
        }
    }

    /// Starts this program anew, with `arguments`, in a mount namespace of its own where only this
    /// version is mounted; returns only to say why it could not.
    pub(super) fn enter(self, arguments: &[String]) -> Outcome<()> {
        let mount = match self {
            Self::V1 => "! mountpoint -q $0/unified || umount $0/unified; exec \"$@\"",
            Self::V2 => "umount -R $0 && mount -t cgroup2 cgroup2 $0 && exec \"$@\"",
        };
        let error = Command::new("unshare")
            .args(["--mount", "sh", "-c", mount, ROOT])
            .arg(std::env::current_exe()?)
            .arg("bench")
            .args(arguments)
            .exec();
        Err(format!("unshare: {error}").into())
    }
}

/// The mounted hierarchies.
pub(super) struct Hierarchies {
    /// Each with its name, `unified` for that of version 2, and the directory it is mounted on.
    mounted: Vec<(String, PathBuf)>,
}

impl Hierarchies {
    /// Finds those below /sys/fs/cgroup (`proc_pid_mountinfo(5)`).
    pub(super) fn find() -> Outcome<Self> {
        let mut mounted: Vec<(String, PathBuf)> = Vec::new();
        for line in fs::read_to_string("/proc/self/mountinfo")?.lines() {
            let Some((mount, filesystem)) = line.split_once(" - ") else { continue };
            let (Some(point), Some(kind)) = (mount.split(' ').nth(4), filesystem.split(' ').next())
            else {
                continue;
            };
            let point = Path::new(point);
            if !point.starts_with(ROOT) || mounted.iter().any(|(_, other)| other == point) {
                continue;
            }
            match kind {
                "cgroup2" => mounted.push(("unified".to_owned(), point.to_owned())),
                "cgroup" => {
                    let name = point.file_name().unwrap_or_default().to_string_lossy();
                    mounted.push((name.into_owned(), point.to_owned()));
                }
                _ => {}
            }
        }
        if mounted.is_empty() {
            return Err(format!("no cgroup hierarchy is mounted below {ROOT}").into());
        }
        Ok(Self { mounted })
    }

    /// The name of each hierarchy and the directory of the cgroup `name` in it.
    pub(super) fn cgroups(&self, name: &str) -> impl Iterator<Item = (&str, PathBuf)> {
        self.mounted.iter().map(move |(hierarchy, point)| (hierarchy.as_str(), point.join(name)))
    }

    /// Kills whoever is left in the cgroup `name`, which must be our own, and removes it.
    pub(super) fn remove(&self, name: &str) {
        for (_, path) in self.cgroups(name) {
            let processes = fs::read_to_string(path.join("cgroup.procs")).unwrap_or_default();
            for process in processes.lines().filter_map(|line| line.parse().ok()) {
                if let Some(process) = Pid::from_raw(process) {
                    // One that is gone meanwhile is no loss.
                    let _ = kill_process(process, Signal::KILL);
                }
            }
        }
        for (_, path) in self.cgroups(name).filter(|(_, path)| path.exists()) {
            // The killed take a moment to leave.
            for _ in 0..100 {
                if fs::remove_dir(&path).is_ok() {
                    break;
                }
                std::thread::sleep(std::time::Duration::from_millis(10));
            }
        }
    }
}

impl fmt::Display for Hierarchies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unified = self.mounted.iter().any(|(name, _)| name == "unified");
        match (unified, self.mounted.len()) {
            (true, 1) => f.write_str("v2"),
            (true, count) => write!(f, "hybrid, {} hierarchies of v1 and one of v2", count - 1),
            (false, count) => write!(f, "v1, {count} hierarchies"),
        }
    }
}
