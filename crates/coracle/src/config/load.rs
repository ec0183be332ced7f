//! config.json on disk.

use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags};

use super::Spec;
use crate::error::{Context, Errno, Error, Kind, Result};

/// The longest file that is read: whoever writes the bundle must not be able to use up the
/// machine's memory.
const LONGEST: u64 = 64 << 20;

/// A config.json as it stands on disk and as it is understood.
#[derive(Clone, Debug)]
pub struct Config {
    /// The file's bytes.
    pub raw: Vec<u8>,
    /// What they say. Its form is right; nothing else has been checked.
    pub spec: Spec,
}

impl Config {
    /// Reads the file at `path`, usually `config.json`, from the directory `bundle`.
    ///
    /// A FIFO or a device in its place neither blocks nor is read.
    pub fn load(bundle: impl AsFd, path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let raw = read(bundle, path)?;
        let spec = super::parse(&raw, name(path))?;
        Ok(Self { raw, spec })
    }
}

/// Reads a regular file of a bearable length, relative to a directory.
fn read(directory: impl AsFd, path: &Path) -> Result<Vec<u8>> {
    let reading = || format!("reading {}", path.display());
    // Without NONBLOCK, opening a FIFO waits for somebody to write to it.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = match rustix::fs::openat(directory, path, flags, Mode::empty()) {
        // These are runc's words, and programs look for them.
        Err(Errno::NOENT) => {
            let what = format!("JSON specification file {} not found", path.display());
            return Err(Error::new(what)
                .kind(Kind::Config)
                .help("a bundle is a directory with this file: `coracle spec` writes one"));
        }
        opened => opened.what(reading)?,
    };
    let stat = rustix::fs::fstat(&file).what(reading)?;
    let refuse = |because: &'static str| Error::new(reading()).because(because).kind(Kind::Config);
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(refuse("not a regular file"));
    }
    let too_long = || refuse("longer than 64 MiB");
    let length = u64::try_from(stat.st_size).unwrap_or(0);
    if length > LONGEST {
        return Err(too_long());
    }
    // One byte more than it has, so that its end is seen without growing the buffer.
    let mut raw = Vec::with_capacity(usize::try_from(length).unwrap_or(0) + 1);
    loop {
        let read = match rustix::io::read(&file, rustix::buffer::spare_capacity(&mut raw)) {
            Err(Errno::INTR) => continue,
            read => read.what(reading)?,
        };
        if read == 0 {
            return Ok(raw);
        }
        if raw.len() as u64 > LONGEST {
            return Err(too_long());
        }
        if raw.len() == raw.capacity() {
            // It grew since.
            raw.reserve(64 << 10);
        }
    }
}

/// The file's name, as errors give it.
fn name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}
