//! The directories that CRIU reads and writes, and what its log says when it failed.

use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::options::CriuOptions;
use super::pages;
use super::rpc::Response;
use crate::error::{Context, Error, Result};

/// Where the images are if the caller does not say.
const DEFAULT: &str = "checkpoint";

/// What the standard descriptors were at the checkpoint: a list of strings, as runc has it.
const DESCRIPTORS: &str = "descriptors.json";

/// What every checkpoint has.
const INVENTORY: &str = "inventory.img";

/// How many of the log's errors an error repeats.
const ERRORS: usize = 3;

/// The directories of one call.
pub(crate) struct Images {
    path: PathBuf,
    work: Option<PathBuf>,
    log: &'static str,
}

impl Images {
    /// Those to write to, made where they are missing; CRIU logs to the file `log`.
    pub(crate) fn make(options: &CriuOptions, log: &'static str) -> Result<Self> {
        let images = Self { path: path(options), work: options.work_path.clone(), log };
        make(&images.path)?;
        images.work.as_deref().map_or(Ok(()), make)?;
        Ok(images)
    }

    /// Those of a checkpoint that is there.
    ///
    /// # Errors
    /// If it is none, or lacks pages of its memory.
    pub(crate) fn existing(options: &CriuOptions, log: &'static str) -> Result<Self> {
        let images = Self { path: path(options), work: options.work_path.clone(), log };
        std::fs::metadata(images.path.join(INVENTORY))
            .what(|| format!("{} is no checkpoint: looking for {INVENTORY}", images.path.display()))
            .map_err(|error| error.help("give --image-path the directory that checkpoint wrote"))?;
        pages::check(&images.path)?;
        images.work.as_deref().map_or(Ok(()), make)?;
        Ok(images)
    }

    /// The directory with the images.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether nobody but its owner comes to them.
    pub(crate) fn are_private(&self) -> bool {
        std::fs::metadata(&self.path).is_ok_and(|directory| directory.mode().trailing_zeros() >= 6)
    }

    /// The directory for CRIU's log and whatever else it needs, if that is another.
    pub(crate) fn work(&self) -> Option<&Path> {
        self.work.as_deref()
    }

    /// The name of the log there.
    pub(crate) fn log(&self) -> &'static str {
        self.log
    }

    /// Keeps what the standard descriptors were.
    pub(crate) fn write_descriptors(&self, descriptors: &[String]) -> Result<()> {
        let path = self.path.join(DESCRIPTORS);
        // A list of strings always encodes.
        let text = serde_json::to_vec(descriptors).unwrap_or_default();
        std::fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&path)
            .and_then(|mut file| file.write_all(&text))
            .what(|| format!("writing {}", path.display()))
    }

    /// What the standard descriptors were; nothing where a checkpoint of another runtime does not
    /// say.
    pub(crate) fn descriptors(&self) -> Result<Vec<String>> {
        let path = self.path.join(DESCRIPTORS);
        match std::fs::read(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
            text => serde_json::from_slice(&text.what(|| format!("reading {}", path.display()))?)
                .map_err(|error| {
                    Error::new(format!("{} is damaged", path.display())).because(error.to_string())
                }),
        }
    }

    /// Why CRIU failed: what it answered, and the errors at the end of its log.
    pub(crate) fn explain(&self, what: &'static str, response: &Response) -> Error {
        let error = self.with_log(Error::new(what));
        match response.errno {
            Some(number) if number > 0 => error.os(Errno::from_raw_os_error(number)),
            _ => error,
        }
    }

    /// Adds the errors at the end of CRIU's log, and where that is.
    pub(crate) fn with_log(&self, error: Error) -> Error {
        let directory = self.work.as_ref().unwrap_or(&self.path);
        let log = directory.join(self.log);
        let text = std::fs::read(&log).unwrap_or_default();
        let said = last_errors(&String::from_utf8_lossy(&text));
        let error = if said.is_empty() { error } else { error.because(said) };
        error.help(format!("criu's log is {}", log.display()))
    }
}

/// The last lines of a log that are errors, without the time and the place in CRIU's source. That it
/// failed is known, and that it may not raise a limit of its own is no reason.
fn last_errors(log: &str) -> String {
    let errors: Vec<&str> = log
        .lines()
        .filter_map(|line| line.split_once("Error (")?.1.split_once("): "))
        .map(|(_, words)| words.trim())
        .filter(|words| !words.ends_with("FAILED.") && !words.starts_with("rlimit: "))
        .collect();
    errors[errors.len().saturating_sub(ERRORS)..].join("; ")
}

fn path(options: &CriuOptions) -> PathBuf {
    let given = &options.image_path;
    if given.as_os_str().is_empty() { DEFAULT.into() } else { given.clone() }
}

/// Makes a directory for nobody but us: memory of the container's will be in it.
fn make(path: &Path) -> Result<()> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .what(|| format!("making the directory {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::last_errors;

    #[test]
    fn the_log_s_errors_are_told_without_their_places() {
        let log = "(00.01) Dumping\n(00.02) Error (criu/util.c:1533): rlimit: Can't\n(00.02) Error (criu/a.c:1): first\n\
                   (00.03) Error (criu/a.c:12): second (x)\nWarn  (criu/b.c:2): other\n\
                   (00.04) Error (criu/c.c:3): third\n(00.05) Error (criu/d.c:4): fourth\n\
                   (00.06) Error (criu/cr-dump.c:2111): Dumping FAILED.\n";
        assert_eq!(last_errors(log), "second (x); third; fourth");
        assert_eq!(last_errors(""), "");
    }
}
