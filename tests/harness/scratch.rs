//! Directories that go away with the test.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::mount::{UnmountFlags, unmount};

use crate::mounts;

/// A directory of a test's own under the system's temporary directory. Its name,
/// `coracle-test-PID-NNNN`, is unique on the machine, begins no other, and marks everything that
/// belongs to the test.
pub struct Scratch {
    path: PathBuf,
}

impl Scratch {
    /// Makes the directory, passable for every user.
    #[allow(clippy::new_without_default)] // it makes a directory, which no default should
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path =
            std::env::temp_dir().join(format!("coracle-test-{}-{count:04}", std::process::id()));
        // A killed run whose process number came round again may have left one.
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir(&path).expect("the temporary directory must be writable");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        Self { path }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its unique name.
    pub fn name(&self) -> &str {
        self.path.file_name().unwrap().to_str().unwrap()
    }
}

/// Copies a program that is to be executed. By another process: a descriptor of this one that is
/// open for writing could be inherited by a child that some other test is just making, and executing
/// the copy would fail with ETXTBSY.
pub fn copy_program(from: &Path, to: &Path) {
    let status = std::process::Command::new("cp").arg(from).arg(to).status();
    assert!(status.is_ok_and(|status| status.success()), "cp {} failed", from.display());
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // The last mounted lies on top.
        for mount in mounts::of_host().iter().rev().filter(|mount| mount.mentions(self.name())) {
            let _ = unmount(&mount.point, UnmountFlags::DETACH);
        }
        let _ = std::fs::remove_dir_all(&self.path);
    }
}
