//! What is made of Debian's packages by a script: made once, kept in a cache, and made again when the
//! recipe changes.

use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::fs::{FlockOperation, flock};

use crate::Outcome;
use crate::packages;

/// A recipe.
pub(crate) struct Recipe<'a, C> {
    /// Where its script `build` is, and all that this needs. The script is given this directory, the
    /// one to make, and where this machine gets Debian's packages from.
    pub(crate) directory: &'a Path,
    /// What it makes, for people.
    pub(crate) product: &'a str,
    /// How long it may take.
    pub(crate) seconds: u32,
    /// What else makes a difference to what is made.
    pub(crate) circumstances: C,
}

/// Makes sure that the cache is there and that nobody else makes anything in it, for as long as the file
/// that is returned is open: whoever comes second finds it made.
pub(crate) fn lock(cache: &Path) -> Outcome<File> {
    fs::create_dir_all(cache)?;
    let lock = File::create(cache.join("lock"))?;
    flock(&lock, FlockOperation::LockExclusive)?;
    Ok(lock)
}

impl<C: Hash> Recipe<'_, C> {
    /// Finds what it makes in the cache, or makes it; its directory.
    pub(crate) fn ready(&self, cache: &Path) -> Outcome<PathBuf> {
        let directory = cache.join(self.key()?);
        if !directory.exists() {
            clear(cache)?;
            self.build(&directory)?;
        }
        Ok(directory)
    }

    /// Tells one recipe from another: a name for its directory.
    fn key(&self) -> Outcome<String> {
        let mut hasher = DefaultHasher::new();
        let mut files = fs::read_dir(self.directory)?.collect::<Result<Vec<_>, _>>()?;
        files.sort_by_key(fs::DirEntry::file_name);
        for file in files {
            (file.file_name(), fs::read(file.path())?).hash(&mut hasher);
        }
        self.circumstances.hash(&mut hasher);
        Ok(format!("{:016x}", hasher.finish()))
    }

    fn build(&self, directory: &Path) -> Outcome<()> {
        println!("making {} from Debian's packages", self.product);
        let unfinished = directory.with_extension("unfinished");
        let log = directory.with_extension("log");
        let status = Command::new("timeout")
            .args(["--kill-after=10", &self.seconds.to_string(), "sh"])
            .arg(self.directory.join("build"))
            .args([self.directory, &unfinished])
            .arg(packages::mirror()?)
            .stdin(Stdio::null())
            .stdout(File::create(&log)?)
            .stderr(File::options().append(true).open(&log)?)
            .status()?;
        if !status.success() {
            return Err(format!("{}: {status}; see {}", self.product, log.display()).into());
        }
        fs::rename(unfinished, directory)?;
        Ok(())
    }
}

/// Removes what older recipes made. Machines that run keep what they have open.
fn clear(cache: &Path) -> Outcome<()> {
    for entry in fs::read_dir(cache)?.flatten() {
        if entry.file_type()?.is_dir() {
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}
