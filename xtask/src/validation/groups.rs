//! The programs about control groups, which all use the same names of groups.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

/// Where control groups are.
const TREES: &str = "/sys/fs/cgroup";

/// The groups that they make, at the top of a tree or below our own group there.
const NAMES: [&str; 2] = ["cgrouptest", "testdir"];

/// Whether a program uses these names.
pub(super) fn uses(program: &str) -> bool {
    program.starts_with("linux_cgroups_") || program == "delete_only_create_resources"
}

/// Why they cannot be run here, if so.
pub(super) fn missing() -> Option<&'static str> {
    let there = Path::new(TREES).join("pids/tasks").exists();
    (!there).then_some("machine: version 1 of control groups is not here")
}

/// Has `run` run programs while nobody else on this machine does, and removes the groups that they
/// leave.
pub(super) fn one_by_one(programs: &[&str], run: impl Fn(&[&str])) {
    // Another checkout's programs are waited for.
    let trees = File::open(TREES);
    let _ = trees.as_ref().map(|trees| flock(trees, FlockOperation::LockExclusive));
    let before = theirs();
    run(programs);
    // The deepest first. An empty group can be removed, and no other.
    for group in theirs().iter().rev().filter(|group| !before.contains(*group)) {
        let _ = fs::remove_dir(group);
    }
}

/// The groups with these names, and all below them.
fn theirs() -> BTreeSet<PathBuf> {
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let own = own.lines().filter_map(|line| line.splitn(3, ':').nth(2)?.strip_prefix('/'));
    let parents: BTreeSet<&str> = own.chain([""]).collect();
    let mut found = BTreeSet::new();
    for tree in below(Path::new(TREES)) {
        let mut todo: Vec<PathBuf> = parents
            .iter()
            .flat_map(|parent| NAMES.map(|name| tree.join(parent).join(name)))
            .filter(|group| group.is_dir())
            .collect();
        while let Some(group) = todo.pop() {
            todo.extend(below(&group));
            found.insert(group);
        }
    }
    found
}

fn below(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let directories = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    directories.map(|entry| entry.path()).collect()
}
