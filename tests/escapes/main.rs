//! Attacks on container runtimes, replayed: the root file system, whatever is in it, every process
//! of the container and whoever shares a directory with it are hostile.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::format_push_string)]

mod attacker;
mod binary;
mod files;
mod links;
mod processes;
mod rights;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use coracle_tests::{Bundle, Coracle, Outcome, Value, json};

/// Gives the process these capabilities in all sets.
fn with_capabilities(mut bundle: Bundle, names: &[&str]) -> Bundle {
    for set in ["bounding", "permitted", "effective", "inheritable", "ambient"] {
        bundle = bundle.set(&format!("/process/capabilities/{set}"), json!(names));
    }
    bundle
}

/// Leaves the mount at this destination out.
fn without_mount(bundle: Bundle, destination: &str) -> Bundle {
    let mounts = bundle.config()["mounts"].as_array().unwrap().iter();
    let rest: Vec<Value> =
        mounts.filter(|mount| mount["destination"] != destination).cloned().collect();
    bundle.set("/mounts", rest)
}

/// A hook that runs a shell script.
fn hook(script: &str) -> Value {
    json!({"path": "/bin/sh", "args": ["sh", "-c", script]})
}

fn exec(coracle: &Coracle, bundle: &Bundle, options: &[&str], command: &[&str]) -> Outcome {
    coracle.call(["exec"]).args(options).args([bundle.id()]).args(command).output()
}

/// All that is in a directory, with kind, mode and size: to see that nothing of it was touched.
fn listing(directory: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap().flatten() {
        let of = fs::symlink_metadata(entry.path()).unwrap();
        found.push(format!("{} {:o} {}", entry.path().display(), of.mode(), of.len()));
        if of.is_dir() {
            found.extend(listing(&entry.path()));
        }
    }
    found.sort();
    found
}
