//! Every mount of config.json is made as it says, seen from inside, or refused with the line that
//! cannot be (runtime-spec config.md, "Mounts").

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::format_push_string)]

// Most of it is for those who look at the default configuration.
#[allow(dead_code)]
#[path = "../inside.rs"]
mod inside;
mod kernel;
mod options;
mod points;
mod propagation;
mod tmpfs;

use std::fs;
use std::path::Path;

use coracle_tests::{Bundle, Coracle, Value, eventually, json};

/// Adds a bind mount.
fn bind(bundle: Bundle, source: &Path, destination: &str, options: &[&str]) -> Bundle {
    let mut all = vec!["bind"];
    all.extend(options);
    with(bundle, json!({"destination": destination, "source": source, "options": all}))
}

/// Adds a tmpfs.
fn tmpfs(bundle: Bundle, destination: &str, options: &[&str]) -> Bundle {
    let mount = json!({
        "destination": destination, "type": "tmpfs", "source": "tmpfs", "options": options,
    });
    with(bundle, mount)
}

/// Adds a mount.
fn with(bundle: Bundle, mount: Value) -> Bundle {
    bundle.set("/mounts/-", mount)
}

/// A directory of the host with a file in it.
fn directory(coracle: &Coracle, name: &str) -> std::path::PathBuf {
    let path = coracle.home().join(name);
    coracle.make_directory(&path, 0o755);
    fs::write(path.join("file"), "of the host\n").unwrap();
    coracle.give(&path.join("file"));
    path
}

/// Runs a bundle that is refused, and looks for each of `words` in what is said.
#[track_caller]
fn refused(coracle: &Coracle, bundle: Bundle, words: &[&str]) {
    let mut outcome = coracle.run(&bundle.args(["true"])).fails();
    for word in words {
        outcome = outcome.says(word);
    }
    coracle.assert_nothing_left();
}

fn coracle_mounts(bundle: &Bundle) -> Vec<Value> {
    bundle.config()["mounts"].as_array().unwrap().clone()
}

/// A mount of the host that goes away with the test.
struct Mounted(std::path::PathBuf);

impl Mounted {
    fn tmpfs(path: &Path) -> Self {
        let flags = rustix::mount::MountFlags::empty();
        rustix::mount::mount("tmpfs", path, "tmpfs", flags, None).unwrap();
        Self(path.to_owned())
    }

    /// The directory itself, shared.
    fn shared(path: &Path) -> Self {
        rustix::mount::mount_bind(path, path).unwrap();
        rustix::mount::mount_change(path, rustix::mount::MountPropagationFlags::SHARED).unwrap();
        Self(path.to_owned())
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let path = self.0.clone();
        eventually("it is unmounted", || {
            rustix::mount::unmount(&path, rustix::mount::UnmountFlags::DETACH).is_ok()
        });
    }
}
