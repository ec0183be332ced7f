//! A command, the files that it needs, and one go of the guest for it.

use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use super::Kernel;
use super::image::{INPUT_SIZE, Image};
use super::programs;
use super::qemu::{Machine, Parts};
use crate::Outcome;

/// For the guest to find that it was saved, and to take the files.
const TO_BEGIN: Duration = Duration::from_mins(1);

/// For the last output to come when the command has ended.
const TO_DRAIN: Duration = Duration::from_secs(10);

/// What is to be done.
pub(crate) struct Errand {
    image: Image,
    limit: Duration,
    command: Vec<String>,
    /// Where this one keeps its files: `runs/PID-N` beside the images.
    directory: PathBuf,
    files: Vec<File>,
}

/// A file here, its place there, and whether its symbols stay here.
struct File {
    from: PathBuf,
    to: PathBuf,
    strip: bool,
}

impl Errand {
    /// A command, of program and arguments, that may take so long. Makes the guest, if there is none.
    pub(crate) fn new(kernel: Kernel, limit: Duration, command: Vec<String>) -> Outcome<Self> {
        // This program is target/TRIPLE/debug/xtask.
        let own = std::env::current_exe()?;
        let cache = own.ancestors().nth(3).ok_or("built in an odd place")?.join("vm");
        let image = Image::ready(&cache, kernel)?;
        let directory = cache.join(format!("run-{}", std::process::id()));
        Ok(Self { image, limit, command, directory, files: Vec::new() })
    }

    /// Brings a file to a place there, relative to the root directory.
    pub(crate) fn bring(&mut self, from: PathBuf, to: PathBuf) {
        self.files.push(File { from, to, strip: false });
    }

    /// Brings the command under test.
    pub(crate) fn bring_coracle(&mut self, from: PathBuf) {
        self.bring(from, "usr/local/bin/coracle".into());
    }

    /// Builds the black-box tests and brings those that are wanted.
    pub(crate) fn bring_tests(&mut self, wanted: impl Fn(&str) -> bool) -> Outcome<()> {
        for (name, from) in programs::tests()? {
            if wanted(&name) {
                let to = Path::new("opt/coracle/tests").join(name);
                self.files.push(File { from, to, strip: true });
            }
        }
        Ok(())
    }

    /// Carries it out; the command's exit code. What it writes to standard output and standard
    /// error goes to the sinks.
    pub(crate) fn run(&self, sinks: [Box<dyn Write + Send>; 2]) -> Outcome<u8> {
        let _ = fs::remove_dir_all(&self.directory);
        fs::create_dir_all(&self.directory)?;
        let code = self.carry_out(sinks);
        if code.is_ok() {
            let _ = fs::remove_dir_all(&self.directory);
        } else {
            // The console stays.
            let _ = fs::remove_dir_all(self.directory.join("files"));
            let _ = fs::remove_file(self.directory.join("input.raw"));
        }
        code
    }

    fn carry_out(&self, sinks: [Box<dyn Write + Send>; 2]) -> Outcome<u8> {
        let input = self.directory.join("input.raw");
        let size = self.pack(&input)?;
        let mut machine = Machine::start(&Parts {
            kernel: &self.image.kernel,
            parameters: self.image.parameters,
            disk: &self.image.disk,
            forget: true,
            input: &input,
            console: &self.directory.join("console"),
            saved: Some(&self.image.state),
        })?;
        let pumps = machine.pass_on(sinks).ok_or("no output")?;
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_secs();
        machine.say(&format!("{now} {}", size.div_ceil(1 << 20)))?;
        let started = machine.hear(Instant::now() + TO_BEGIN)?;
        if started != "started" {
            return Err(format!("the guest says {started:?} and does not start").into());
        }
        let line = machine.hear(Instant::now() + self.limit)?;
        let code = line.strip_prefix("exit ").and_then(|code| code.parse().ok());
        let code = code.ok_or_else(|| format!("the guest says {line:?} and no exit code"))?;
        machine.quit();
        for pump in pumps {
            let end = Instant::now() + TO_DRAIN;
            while !pump.is_finished() && Instant::now() < end {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        Ok(code)
    }

    /// Packs the files and the command; the size of the archive in bytes.
    fn pack(&self, archive: &Path) -> Outcome<u64> {
        let stage = self.directory.join("files");
        let place = |to: &Path| -> Outcome<PathBuf> {
            let place = stage.join(to);
            fs::create_dir_all(place.parent().ok_or("a file without a directory")?)?;
            Ok(place)
        };
        let mut names = vec![PathBuf::from("run/guest/command")];
        let words: String = self.command.iter().flat_map(|word| [word.as_str(), "\0"]).collect();
        fs::write(place(&names[0])?, words)?;
        for File { from, to, strip } in &self.files {
            let place = place(to)?;
            if *strip {
                let mut strip = Command::new("strip");
                strip.arg("-o").arg(&place).arg(from);
                succeed(strip)?;
            } else {
                symlink(fs::canonicalize(from)?, place)?;
            }
            names.push(to.clone());
        }
        let mut tar = Command::new("tar");
        tar.args(["--create", "--dereference", "--owner=0", "--group=0", "--directory"]);
        tar.arg(&stage).arg("--file").arg(archive).args(names);
        succeed(tar)?;
        let file = fs::File::options().write(true).open(archive)?;
        let size = file.metadata()?.len();
        if size > INPUT_SIZE {
            return Err(format!("{size} bytes of files are too many for the guest").into());
        }
        file.set_len(INPUT_SIZE)?;
        Ok(size)
    }
}

fn succeed(mut command: Command) -> Outcome<()> {
    let program = command.get_program().display().to_string();
    let status = command.stdin(Stdio::null()).status();
    match status.map_err(|error| format!("{program}: {error}"))? {
        status if status.success() => Ok(()),
        status => Err(format!("{program}: {status}").into()),
    }
}
