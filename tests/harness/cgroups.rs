//! The cgroup trees of this machine, v1 and v2.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::call::{Call, PATIENCE};
use crate::mounts::{self, Mount};

/// The mounted cgroup trees.
pub(crate) fn trees() -> Vec<Mount> {
    mounts::of_host().into_iter().filter(|mount| mount.kind.starts_with("cgroup")).collect()
}

/// `(controllers, path)` of each cgroup that a process is in; the controllers are empty for v2
/// (`proc_pid_cgroup(5)`).
pub fn of_process(pid: u32) -> Vec<(String, String)> {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    text.lines()
        .filter_map(|line| {
            let mut fields = line.splitn(3, ':').skip(1);
            Some((fields.next()?.to_owned(), fields.next()?.to_owned()))
        })
        .collect()
}

/// The directories that a process's cgroups are on this machine, each with its controllers.
pub fn controllers(pid: u32) -> Vec<(String, PathBuf)> {
    let trees = trees();
    of_process(pid)
        .into_iter()
        .filter_map(|(names, path)| {
            let tree = trees.iter().find(|tree| match names.as_str() {
                "" => tree.kind == "cgroup2",
                names => tree.kind == "cgroup" && tree.super_options.ends_with(names),
            })?;
            Some((names, Path::new(&tree.point).join(path.trim_start_matches('/'))))
        })
        .collect()
}

/// Takes away the v1 hierarchies that are not mounted here. Such a one stays for as long as a cgroup in
/// it was dying when its last mount ended, and in everybody's `/proc/self/cgroup`, where engines stumble
/// over it: after a test's own mount, or after CRIU, which mounts all controllers that there are.
/// Another mount, and its end, takes it away.
#[track_caller]
pub fn end_unmounted_hierarchies() {
    for _ in 0..PATIENCE.as_secs() {
        // The kernel takes its time, also for what was mounted here last.
        let end = Instant::now() + Duration::from_secs(1);
        let mut left = unmounted_hierarchies();
        while !left.is_empty() && Instant::now() < end {
            thread::sleep(Duration::from_millis(10));
            left = unmounted_hierarchies();
        }
        if left.is_empty() {
            return;
        }
        for names in left {
            let named = if names.starts_with("name=") { "none," } else { "" };
            let options = format!("{named}{names}");
            Call::new(["unshare", "-m", "mount", "-t", "cgroup", "-o", &options, "none", "/tmp"])
                .output();
        }
    }
    panic!("there still are hierarchies without a mount: {:?}", unmounted_hierarchies());
}

fn unmounted_hierarchies() -> Vec<String> {
    let trees = trees();
    let mounted = |names: &str| trees.iter().any(|tree| tree.super_options.ends_with(names));
    let all = of_process(std::process::id()).into_iter().map(|(names, _)| names);
    all.filter(|names| !names.is_empty() && !mounted(names)).collect()
}

/// Whether a v1 hierarchy or the v2 tree has the controller.
pub fn has_controller(name: &str) -> bool {
    trees().iter().any(|tree| match tree.kind.as_str() {
        "cgroup" => tree.super_options.split(',').any(|one| one == name),
        _ => fs::read_to_string(Path::new(&tree.point).join("cgroup.controllers"))
            .is_ok_and(|text| text.split_whitespace().any(|one| one == name)),
    })
}

/// The directory of a process's cgroup in the hierarchy that has a controller, by its v2 name, and
/// whether that is v2.
pub fn controlled(pid: u32, controller: &str) -> Option<(PathBuf, bool)> {
    let all = controllers(pid);
    let legacy = if controller == "io" { "blkio" } else { controller };
    if let Some((_, path)) =
        all.iter().find(|(names, _)| names.split(',').any(|name| name == legacy))
    {
        return Some((path.clone(), false));
    }
    let (_, path) = all.iter().find(|(names, _)| names.is_empty())?;
    let enabled = fs::read_to_string(path.join("cgroup.controllers")).ok()?;
    enabled.split_whitespace().any(|name| name == controller).then(|| (path.clone(), true))
}

/// What a process's cgroup says of a limit: the file of v1, or that of v2.
#[track_caller]
pub fn limit_of(pid: u32, controller: &str, files: [&str; 2]) -> String {
    let (path, unified) = controlled(pid, controller).expect(controller);
    let file = path.join(files[usize::from(unified)]);
    let text = fs::read_to_string(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    text.trim_end().to_owned()
}

/// Every cgroup whose name starts with `prefix`, at the top of a tree, below this process's own or in
/// one of `others`.
pub(crate) fn starting_with(prefix: &str, others: &[PathBuf]) -> Vec<PathBuf> {
    let mut parents: Vec<PathBuf> = trees().into_iter().map(|tree| tree.point.into()).collect();
    parents.extend(others.iter().flat_map(|other| [other.clone(), other.join("session")]));
    parents.extend(controllers(std::process::id()).into_iter().map(|(_, path)| path));
    parents.sort();
    parents.dedup();
    parents
        .iter()
        .filter_map(|parent| fs::read_dir(parent).ok())
        .flat_map(Iterator::flatten)
        .map(|entry| entry.path())
        .filter(|path| {
            path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix))
        })
        .collect()
}

/// Removes a cgroup and those below it, as far as they are empty.
pub(crate) fn remove(cgroup: &Path) {
    for entry in fs::read_dir(cgroup).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove(&entry.path());
        }
    }
    let _ = fs::remove_dir(cgroup);
}

/// What version 2 has nothing for, and the place that each is refused with.
pub fn lacking_on_version_2() -> [(Value, &'static str); 8] {
    [
        (json!({"memory": {"swappiness": 1}}), "/linux/resources/memory/swappiness = 1"),
        (json!({"memory": {"disableOOMKiller": true}}), "/memory/disableOOMKiller = true"),
        (json!({"memory": {"useHierarchy": false}}), "/memory/useHierarchy = false"),
        (json!({"cpu": {"realtimeRuntime": 1}}), "/linux/resources/cpu/realtimeRuntime = 1"),
        (json!({"cpu": {"realtimePeriod": 1}}), "/linux/resources/cpu/realtimePeriod = 1"),
        (json!({"blockIO": {"leafWeight": 10}}), "/linux/resources/blockIO/leafWeight = 10"),
        (json!({"network": {"classID": 1}}), "the net_cls controller"),
        (
            json!({"network": {"priorities": [{"name": "lo", "priority": 1}]}}),
            "the net_prio controller",
        ),
    ]
}
