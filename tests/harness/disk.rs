//! Disks whose I/O the kernel can limit.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::call::Call;
use crate::scratch::Scratch;
use crate::skip::Needs;

/// A directory on a disk, and not where temporary files may be in memory. It is removed when this is
/// dropped.
pub struct Disk {
    directory: PathBuf,
    numbers: (u64, u64),
}

impl Disk {
    /// Makes the directory.
    pub fn new() -> Needs<Self> {
        let directory = PathBuf::from("/var/tmp").join(Scratch::new().name());
        fs::create_dir(&directory).unwrap();
        let device = fs::metadata(&directory).unwrap().dev();
        let numbers = (rustix::fs::major(device).into(), rustix::fs::minor(device).into());
        let disk = Self { directory, numbers };
        // A partition has no queue of its own to be limited.
        if fs::exists(format!("/sys/dev/block/{}:{}/queue", numbers.0, numbers.1)).unwrap() {
            Ok(disk)
        } else {
            Err("needs /var/tmp on a whole disk (the guest)".into())
        }
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.directory
    }

    /// The disk's major and minor number.
    pub fn numbers(&self) -> (u64, u64) {
        self.numbers
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// A disk of the test's own: a file behind a loop device, with an I/O scheduler of the test's choice.
/// It goes when this is dropped.
pub struct LoopDisk {
    _file: Disk,
    device: PathBuf,
    numbers: (u64, u64),
}

impl LoopDisk {
    /// Makes the disk.
    pub fn new(scheduler: &str) -> Needs<Self> {
        let file = Disk::new()?;
        let path = file.path().join("disk");
        fs::File::create(&path).and_then(|disk| disk.set_len(16 << 20)).unwrap();
        let made = Call::new(["losetup", "--find", "--show"]).args([&path]).output();
        if made.code != Some(0) {
            return Err(format!("needs a loop device: {}", made.stderr.trim()));
        }
        let device = PathBuf::from(made.stdout.trim());
        let number = fs::metadata(&device).unwrap().rdev();
        let numbers = (rustix::fs::major(number).into(), rustix::fs::minor(number).into());
        let disk = Self { _file: file, device, numbers };
        let queue = format!("/sys/dev/block/{}:{}/queue/scheduler", numbers.0, numbers.1);
        match fs::write(&queue, scheduler) {
            Ok(()) => Ok(disk),
            Err(error) => Err(format!("needs the I/O scheduler {scheduler}: {error}")),
        }
    }

    /// The disk's major and minor number.
    pub fn numbers(&self) -> (u64, u64) {
        self.numbers
    }
}

impl Drop for LoopDisk {
    fn drop(&mut self) {
        let _ = Call::new(["losetup", "--detach"]).args([&self.device]).output();
    }
}
