//! What a container left behind.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::process::{Pid, Signal, kill_process};

use crate::{cgroups, mounts};

/// Everything that belongs to a test and is still there, one line each: state, cgroups, mounts and
/// processes. `name` is the scratch directory's; cgroups may be in `delegated` ones, too.
pub(crate) fn leftovers(
    name: &str,
    state: &Path,
    roots: &[&Path],
    delegated: &[PathBuf],
) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(state).into_iter().flatten().flatten() {
        found.push(format!("state: {}", entry.path().display()));
    }
    for cgroup in cgroups::starting_with(name, delegated) {
        found.push(format!("cgroup: {}", cgroup.display()));
    }
    for mount in mounts::of_host().iter().filter(|mount| mount.mentions(name)) {
        found.push(format!("mount: {mount:?}"));
    }
    for pid in processes(name, roots) {
        found.push(format!("process: {pid}: {}", command_line(pid)));
    }
    found
}

/// Kills the processes that belong to a test, or have one of `roots` as root directory, and removes
/// its cgroups. `name` is the scratch directory's.
pub fn clear(name: &str, roots: &[&Path], delegated: &[PathBuf]) {
    for pid in processes(name, roots) {
        if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, Signal::KILL);
        }
    }
    // A cgroup is busy until its last process is reaped.
    for _ in 0..100 {
        let left = cgroups::starting_with(name, delegated);
        if left.is_empty() {
            break;
        }
        for cgroup in &left {
            cgroups::remove(cgroup);
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

/// The processes, but this one, that belong to the test `name`: by cgroup, command line or
/// environment, or because their root directory is one of `roots`.
fn processes(name: &str, roots: &[&Path]) -> Vec<u32> {
    let mut found = processes_rooted_at(roots);
    for pid in all() {
        let marked = ["cmdline", "environ", "cgroup"].iter().any(|file| {
            fs::read(format!("/proc/{pid}/{file}"))
                .is_ok_and(|text| contains(&text, name.as_bytes()))
        });
        if marked && !found.contains(&pid) {
            found.push(pid);
        }
    }
    found
}

/// The processes whose root directory is one of `roots`, in whatever mount namespace.
pub fn processes_rooted_at(roots: &[&Path]) -> Vec<u32> {
    let identity = |path: &Path| fs::metadata(path).map(|of| (of.dev(), of.ino())).ok();
    let wanted: Vec<_> = roots.iter().filter_map(|root| identity(root)).collect();
    all()
        .filter(|pid| {
            identity(Path::new(&format!("/proc/{pid}/root")))
                .is_some_and(|root| wanted.contains(&root))
        })
        .collect()
}

/// All living processes but this one. One that only waits to be reaped is not the container's
/// doing: its parent is alive and would be found, or is this machine's first process.
fn all() -> impl Iterator<Item = u32> {
    fs::read_dir("/proc")
        .expect("proc is mounted")
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|&pid| pid != std::process::id() && is_alive(pid))
}

/// Whether a process is neither gone nor waiting to be reaped (`proc_pid_stat(5)`).
pub fn is_alive(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with(['Z', 'X']))
}

fn command_line(pid: u32) -> String {
    let text = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&text).replace('\0', " ")
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}
