//! A container that counts, and what saves and restores it.

use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use coracle_tests::{Bundle, Call, Coracle, Needs, Outcome, eventually};

/// Counts on standard output, in memory only.
pub(crate) const COUNT: &str = "i=0; while :; do i=$((i+1)); echo $i; sleep 0.02; done";

/// Whether CRIU works here.
pub(crate) fn criu() -> Needs<()> {
    let found = Call::new(["sh", "-c", "command -v criu"]).output();
    if found.code != Some(0) {
        return Err("needs criu".into());
    }
    let check = Call::new(["criu", "check"]).output();
    if check.code == Some(0) {
        return Ok(());
    }
    let why = check.stderr.lines().rev().find(|line| line.contains("Error")).unwrap_or_default();
    Err(format!("criu does not work on this kernel: {why}"))
}

/// Whether CRIU and the kernel have a feature (criu(8), `check --feature`).
pub(crate) fn feature(name: &str) -> Needs<()> {
    criu()?;
    match Call::new(["criu", "check", "--feature", name]).output().code {
        Some(0) => Ok(()),
        _ => Err(format!("needs criu's feature {name}")),
    }
}

/// Where a checkpoint of this name is.
pub(crate) fn images(coracle: &Coracle, name: &str) -> PathBuf {
    coracle.path().join("images").join(name)
}

/// `checkpoint`.
pub(crate) fn save(coracle: &Coracle, id: &str, name: &str, options: &[&str]) -> Outcome {
    let call = coracle.call(["checkpoint", "--image-path"]).args([images(coracle, name)]);
    call.args(options).args([id]).output()
}

/// `restore --detach`, with the counter's standard output.
pub(crate) fn restore(counter: &Counter<'_>, id: &str, name: &str, options: &[&str]) -> Outcome {
    counter.restoring(id, name, &[&["--detach"], options].concat()).output()
}

/// A container that counts into a file of the host.
pub(crate) struct Counter<'a> {
    coracle: &'a Coracle,
    bundle: Bundle,
    log: PathBuf,
}

impl<'a> Counter<'a> {
    pub(crate) fn new(coracle: &'a Coracle) -> Self {
        Self::writing_to(coracle, &coracle.path().join("log"))
    }

    pub(crate) fn writing_to(coracle: &'a Coracle, log: &Path) -> Self {
        Self::of(coracle, coracle.bundle().sh(COUNT), log.to_owned())
    }

    /// One that does something else.
    pub(crate) fn of(coracle: &'a Coracle, bundle: Bundle, log: PathBuf) -> Self {
        Self { coracle, bundle, log }
    }

    /// Changes the bundle.
    pub(crate) fn with(self, change: impl FnOnce(Bundle) -> Bundle) -> Self {
        Self { bundle: change(self.bundle), ..self }
    }

    pub(crate) fn bundle(&self) -> &Bundle {
        &self.bundle
    }

    pub(crate) fn id(&self) -> &str {
        self.bundle.id()
    }

    pub(crate) fn log(&self) -> &Path {
        &self.log
    }

    /// Its standard output: a file that is appended to, so that CRIU does not mind its size.
    fn output(&self) -> Stdio {
        OpenOptions::new().append(true).create(true).open(&self.log).unwrap().into()
    }

    /// Creates and starts it.
    #[track_caller]
    pub(crate) fn starts(&self) {
        let create = self.coracle.with_bundle("create", &self.bundle, &[]);
        create.stdout(self.output()).stderr(Stdio::null()).output().succeeds();
        self.coracle.call(["start", self.id()]).output().succeeds();
    }

    /// `restore`.
    pub(crate) fn restoring(&self, id: &str, name: &str, options: &[&str]) -> Call {
        let call = self.coracle.call(["restore", "--bundle"]).args([self.bundle.path()]);
        let call = call.args(["--image-path"]).args([images(self.coracle, name)]);
        call.args(options).args([id]).stdout(self.output())
    }

    /// What it has written.
    pub(crate) fn text(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits until it has counted on, and looks whether all the numbers are there, each once.
    #[track_caller]
    pub(crate) fn goes_on(&self) {
        let numbers =
            || -> Vec<u64> { self.text().lines().filter_map(|line| line.parse().ok()).collect() };
        let before = numbers().len();
        eventually("it counts on", || numbers().len() > before + 3);
        let all = numbers();
        assert!(all.iter().zip(1..).all(|(number, expected)| *number == expected), "{all:?}");
    }
}
