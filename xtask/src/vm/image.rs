//! The guest's disk, kernels and saved states: made once, and again when what they are made of
//! changes.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::Kernel;
use super::qemu::{Machine, Parts};
use crate::Outcome;
use crate::recipe::{self, Recipe};

/// The recipe, and beside it what it copies into the guest.
const RECIPE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/vm/guest");

/// The size of the second disk. It is part of the saved machine.
pub(super) const INPUT_SIZE: u64 = 1 << 30;

/// For Debian's packages to come and be installed.
const TO_BUILD: u32 = 1200;

/// For the emulated machine to boot.
const TO_BOOT: Duration = Duration::from_mins(4);

/// How often it may be tried.
const BOOTS: usize = 3;

/// What a guest starts from.
pub(super) struct Image {
    /// Where all of this is.
    pub(super) directory: PathBuf,
    /// Directory with vmlinuz and initrd.
    pub(super) kernel: PathBuf,
    /// More for the kernel's command line.
    pub(super) parameters: &'static str,
    /// The disk as it was when the state was saved.
    pub(super) disk: PathBuf,
    /// The machine, saved when it was ready for a command.
    pub(super) state: PathBuf,
}

impl Image {
    /// Finds it below `cache`, or makes it.
    pub(super) fn ready(cache: &Path, kernel: Kernel) -> Outcome<Self> {
        let _lock = recipe::lock(cache)?;
        // What one version of QEMU saves another may not read.
        let version = Command::new("qemu-system-x86_64").arg("--version").output();
        let version = version.map_err(|error| format!("qemu-system-x86_64: {error}"))?.stdout;
        let recipe = Recipe {
            directory: Path::new(RECIPE),
            product: "the guest",
            seconds: TO_BUILD,
            circumstances: (super::qemu::MACHINE, version),
        };
        let directory = recipe.ready(cache)?;
        let image = Self {
            kernel: directory.join(kernel.files()),
            parameters: kernel.parameters(),
            disk: directory.join(format!("{kernel}.qcow2")),
            state: directory.join(format!("{kernel}.state")),
            directory,
        };
        if !image.state.exists() {
            println!("booting the guest; further runs go on from there");
            // A kernel rewrites its own code as it boots, and emulation on several processors at
            // times executes half of that: it panics. No test is part of a boot.
            for left in (0..BOOTS).rev() {
                match image.boot() {
                    Err(error) if left > 0 => println!("once more: {error}"),
                    booted => {
                        booted?;
                        break;
                    }
                }
            }
        }
        Ok(image)
    }

    /// Boots it and saves the machine when it is ready.
    fn boot(&self) -> Outcome<()> {
        let _ = fs::remove_file(&self.disk);
        let backing = self.directory.join("disk.raw");
        let mut create = Command::new("qemu-img");
        create
            .args(["create", "-q", "-f", "qcow2", "-F", "raw", "-b"])
            .args([&backing, &self.disk]);
        run(create)?;
        let input = self.directory.join("empty.raw");
        File::create(&input)?.set_len(INPUT_SIZE)?;
        let mut machine = Machine::start(&Parts {
            kernel: &self.kernel,
            parameters: self.parameters,
            disk: &self.disk,
            forget: false,
            input: &input,
            console: &self.state.with_extension("console"),
            saved: None,
        })?;
        let line = machine.hear(Instant::now() + TO_BOOT)?;
        if line != "ready" {
            return Err(format!("the guest says {line:?} instead of being ready").into());
        }
        let unfinished = self.state.with_extension("unfinished");
        machine.save(&unfinished)?;
        machine.quit();
        fs::rename(&unfinished, &self.state)?;
        Ok(())
    }
}

fn run(mut command: Command) -> Outcome<()> {
    let program = command.get_program().display().to_string();
    let status =
        command.stdin(Stdio::null()).status().map_err(|error| format!("{program}: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("{program}: {status}").into()) }
}
