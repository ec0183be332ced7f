//! `cargo xtask test validation`: the validation programs of the specification's own tools (OCI
//! runtime-tools), run with coracle, and compared with the table of docs/validation.md.

mod groups;
mod table;
mod tap;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;

pub(crate) use self::table::Judgement;
use self::table::{Cause, Row};
use self::tap::Findings;
use crate::Outcome;
use crate::packages::{self, Package};
use crate::recipe::{self, Recipe};

/// Debian's packages that building the programs needs.
const PACKAGES: [Package; 2] = [
    ("debian-archive-keyring", "/usr/share/keyrings/debian-archive-keyring.gpg"),
    ("mmdebstrap", "/usr/bin/mmdebstrap"),
];

/// How they are built, and what is built with them.
const RECIPE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/validation/recipe");

/// For Debian's packages to come, and for the compiler.
const TO_BUILD: u32 = 900;

/// Runs one program in namespaces of its own.
const RUN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/validation/run");

/// For one program.
const SECONDS: &str = "60";

/// How often a race is run until it is won: by what was measured, nine of ten are won at the fourth.
const TRIES: usize = 10;

/// What is no program of its own, beside the archive of a root file system.
const INSIDE: &str = "runtimetest";

/// The programs, ready to run, and what is expected of them.
pub(crate) struct Suite {
    directory: PathBuf,
    names: Vec<String>,
    rows: Vec<Row>,
}

impl Suite {
    /// Finds or builds the programs, below `target`. Needs root on a Debian system.
    ///
    /// # Errors
    ///
    /// Why they cannot be had here.
    pub(crate) fn ready(target: &Path) -> Outcome<Self> {
        packages::install(&PACKAGES)?;
        let cache = target.join("validation");
        let _lock = recipe::lock(&cache)?;
        let recipe = Recipe {
            directory: Path::new(RECIPE),
            product: "the validation programs",
            seconds: TO_BUILD,
            circumstances: (),
        };
        let directory = recipe.ready(&cache)?.join("programs");
        let mut names = Vec::new();
        for entry in fs::read_dir(&directory)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if name != INSIDE && !name.contains('.') {
                names.push(name);
            }
        }
        names.sort();
        Ok(Self { directory, names, rows: table::rows()? })
    }

    /// Runs them all with the command at this absolute path, outside of /tmp, and tells of each.
    pub(crate) fn run(&self, coracle: &Path, tell: &mut (dyn FnMut(&str, Judgement) + Send)) {
        for row in self.rows.iter().filter(|row| !self.names.iter().any(|n| n == row.program)) {
            tell(row.program, Judgement::Failed("there is no such program".to_owned()));
        }
        let tell = Mutex::new(tell);
        let run = |names: &[&str]| {
            for name in names {
                let judged = self.judge(name, coracle);
                if let Ok(mut tell) = tell.lock() {
                    tell(name, judged);
                }
            }
        };
        let names = self.names.iter().map(String::as_str);
        let (alone, together): (Vec<&str>, Vec<&str>) = names.partition(|name| groups::uses(name));
        let halves = together.split_at(together.len() / 2);
        // They wait most of their time.
        std::thread::scope(|scope| {
            scope.spawn(|| groups::one_by_one(&alone, run));
            scope.spawn(|| run(halves.0));
            scope.spawn(|| run(halves.1));
        });
    }

    fn judge(&self, name: &str, coracle: &Path) -> Judgement {
        let Some(row) = self.rows.iter().find(|row| row.program == name) else {
            return Judgement::Failed("docs/validation.md has no row for it".to_owned());
        };
        if let Some(missing) = groups::missing().filter(|_| groups::uses(name)) {
            return Judgement::Skipped(missing.to_owned());
        }
        let judge = || match self.findings(name, coracle) {
            Ok(findings) => row.judge(findings.counts(), &findings.failures),
            Err(error) => Judgement::Failed(error.to_string()),
        };
        let mut judged = judge();
        if row.cause != Cause::Chance {
            return judged;
        }
        for _ in 1..TRIES {
            match judged {
                Judgement::Failed(_) => judged = judge(),
                _ => return judged,
            }
        }
        match judged {
            // Fast machines lose some races always.
            Judgement::Failed(how) => {
                Judgement::Skipped(format!("{} {TRIES} times of {TRIES}: {how}", row.why))
            }
            judged => judged,
        }
    }

    fn findings(&self, name: &str, coracle: &Path) -> Outcome<Findings> {
        // What it prints stays there for whoever wants to know.
        let log = self.directory.with_file_name(format!("{name}.tap"));
        let status = Command::new("unshare")
            .args(["--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", RUN])
            .args([name, SECONDS])
            .current_dir(&self.directory)
            .env("RUNTIME", coracle)
            .stdin(Stdio::null())
            .stdout(File::create(&log)?)
            .stderr(File::options().append(true).open(&log)?)
            .status()?;
        let text = String::from_utf8_lossy(&fs::read(&log)?).into_owned();
        Ok(Findings::read(&text, status.code()))
    }
}
