//! `cargo xtask vm`: a Debian with systemd, control group controllers and AppArmor, emulated, for
//! what the machine at hand does not have.
//!
//! The guest boots once and is saved when it is ready; each run goes on from there in a second, with
//! its files on a second disk, and everything that it writes is forgotten.

mod errand;
mod image;
mod options;
mod programs;
mod qemu;

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use rustix::process::geteuid;

pub(crate) use self::errand::Errand;
use self::options::Options;
use crate::Outcome;
use crate::packages::{self, Package};

/// Debian's packages that it needs, each with a file that tells that it is there.
pub(crate) const PACKAGES: [Package; 5] = [
    ("debian-archive-keyring", "/usr/share/keyrings/debian-archive-keyring.gpg"),
    ("e2fsprogs", "/sbin/mke2fs"),
    ("mmdebstrap", "/usr/bin/mmdebstrap"),
    ("qemu-system-x86", "/usr/bin/qemu-system-x86_64"),
    ("qemu-utils", "/usr/bin/qemu-img"),
];

/// A kernel to boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kernel {
    /// Debian's.
    Stable,
    /// The newest that Debian has for its stable release.
    Newest,
    /// Debian's, with SELinux in place of AppArmor.
    Selinux,
}

impl Kernel {
    /// The directory of its files in the image.
    fn files(self) -> &'static str {
        match self {
            Self::Stable | Self::Selinux => "stable",
            Self::Newest => "newest",
        }
    }

    /// What it is told besides what all are told.
    fn parameters(self) -> &'static str {
        match self {
            Self::Stable | Self::Newest => "",
            // The policy is loaded and labels are real; what it denies is noted and allowed.
            Self::Selinux => " security=selinux selinux=1 enforcing=0",
        }
    }
}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stable => "stable",
            Self::Newest => "newest",
            Self::Selinux => "selinux",
        })
    }
}

/// Runs a command in the guest; its exit code.
pub(crate) fn run(arguments: &[String]) -> Outcome<ExitCode> {
    let Some(options) = Options::parse(arguments)? else {
        print!("{}", options::USAGE);
        return Ok(ExitCode::SUCCESS);
    };
    if !geteuid().is_root() {
        return Err("making the guest needs root".into());
    }
    packages::install(&PACKAGES)?;
    let mut errand = Errand::new(options.kernel, options.limit, options.command)?;
    errand.bring_coracle(programs::coracle()?);
    errand.bring_tests(|_| true)?;
    for path in options.with {
        let name = path.file_name().ok_or("a file to bring needs a name")?;
        let place = PathBuf::from("root").join(name);
        errand.bring(path, place);
    }
    let code = errand.run([Box::new(io::stdout()), Box::new(io::stderr())])?;
    Ok(ExitCode::from(code))
}
