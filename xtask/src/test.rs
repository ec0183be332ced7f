//! `cargo xtask test`: everything that a change must pass, and nothing to install before it.

// Telling is its job.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::env;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, geteuid, kill_process_group, pidfd_open};

/// Debian's packages that the tests need, each with a file that tells that it is there.
const PACKAGES: [(&str, &str); 2] =
    [("busybox-static", "/bin/busybox"), ("uidmap", "/usr/bin/newuidmap")];

/// The user that rootless tests run as when all else runs as root. The tests know it by name.
const USER: &str = "coracle-test";

const A_MINUTE: Duration = Duration::from_mins(1);

/// Explains the command line.
pub(crate) fn usage() -> ExitCode {
    eprintln!("usage: cargo xtask test [--quick] [NAME]");
    eprintln!("  --quick  what a change is tried with: a binary built in seconds, no cargo-deny");
    eprintln!("  NAME     a file of tests/, such as lifecycle, or a part of a test's name");
    ExitCode::from(2)
}

/// Runs the tests.
pub(crate) fn main(args: &[String]) -> ExitCode {
    let quick = args.iter().any(|arg| arg == "--quick");
    let names: Vec<&str> =
        args.iter().map(String::as_str).filter(|&arg| arg != "--quick").collect();
    let name = match names[..] {
        [] => None,
        [name] if !name.starts_with('-') => Some(name),
        _ => return usage(),
    };

    let mut run = Run::new();
    run.prepare_machine();
    if name.is_none() {
        run.step("cargo fmt --check", A_MINUTE);
        run.step("cargo clippy --workspace --all-targets --no-deps -- -D warnings", A_MINUTE * 10);
    }
    let profile = if quick { "quick" } else { "release" };
    if run.step(&format!("cargo build --package coracle-cli --profile {profile}"), A_MINUTE * 10) {
        run.test(profile, name);
    }
    if !quick && name.is_none() {
        run.deny();
    }
    run.conclude()
}

/// One run, and how it has gone so far.
struct Run {
    workspace: PathBuf,
    /// Where Cargo puts what it builds for this machine: `target/TRIPLE`.
    built: PathBuf,
    passed: u64,
    failed: u64,
    skipped: u64,
}

impl Run {
    fn new() -> Self {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
        // This program is target/TRIPLE/debug/xtask.
        let own = env::current_exe().unwrap_or_default();
        Self {
            workspace: manifest.parent().unwrap_or(manifest).to_owned(),
            built: own.ancestors().nth(2).unwrap_or(Path::new("target")).to_owned(),
            passed: 0,
            failed: 0,
            skipped: 0,
        }
    }

    /// Installs what the tests need where that is ours to do; what is then missing, the tests
    /// that need it will say.
    fn prepare_machine(&mut self) {
        let missing: Vec<&str> = PACKAGES
            .iter()
            .filter(|(_, file)| !Path::new(file).exists())
            .map(|(package, _)| *package)
            .collect();
        let root = geteuid().is_root();
        if missing.is_empty() {
        } else if !root || !Path::new("/usr/bin/apt-get").exists() {
            self.skip(&format!("what needs these packages: {}", missing.join(", ")));
        } else {
            let install = format!("apt-get install -y -q {}", missing.join(" "));
            if !self.attempt(&install, A_MINUTE * 5) {
                self.attempt("apt-get update -q", A_MINUTE * 5);
                self.step(&install, A_MINUTE * 5);
            }
        }
        let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
        if root && !users.lines().any(|line| line.starts_with(&format!("{USER}:"))) {
            // Not --system: an ordinary user gets ranges in /etc/subuid and /etc/subgid.
            self.step(&format!("useradd --no-create-home {USER}"), A_MINUTE);
        }
    }

    /// Runs Cargo's tests and counts them.
    fn test(&mut self, profile: &str, name: Option<&str>) {
        let which = match name {
            Some(name)
                if [format!("tests/{name}.rs"), format!("tests/{name}/main.rs")]
                    .iter()
                    .any(|file| self.workspace.join(file).exists()) =>
            {
                format!("--package coracle-tests --test {name}")
            }
            // Named, Cargo would build tests of the programs without a standard library too.
            Some(name) => {
                format!("--workspace --exclude bare --exclude floor --exclude payload {name}")
            }
            None => "--workspace".to_owned(),
        };
        // Else Cargo would hide why a test was skipped.
        let words = format!("cargo test --no-fail-fast {which} -- --show-output");
        let mut command = self.command(&words);
        command.env("CORACLE_BIN", self.built.join(profile).join("coracle"));
        let failed_before = self.failed;
        let mut skipped = 0;
        // What a passing test printed interests nobody.
        let mut quiet = false;
        let ended = run(command, A_MINUTE * 20, |line| {
            quiet = line == "successes:" || quiet && !line.starts_with("failures:");
            if let Some(counts) = line.strip_prefix("test result: ") {
                self.passed += count(counts, "passed");
                self.failed += count(counts, "failed");
                self.skipped += count(counts, "ignored");
                quiet = false;
            } else if line.starts_with("skipped: ") {
                skipped += 1;
                return true;
            }
            !quiet
        });
        // A test that did not build, crashed or hung counts in no result line.
        if let Err(why) = ended
            && self.failed == failed_before
        {
            self.fail(&words, &why);
        }
        // Cargo took them for passed.
        self.passed = self.passed.saturating_sub(skipped);
        self.skipped += skipped;
    }

    /// Judges the licences and origins of the libraries.
    fn deny(&mut self) {
        let tools = self.built.join("tools");
        let program = tools.join("bin/cargo-deny");
        let here = |words: &str| {
            Command::new("sh").args(["-c", words]).output().is_ok_and(|of| of.status.success())
        };
        if !here("command -v cargo-deny") && !program.exists() {
            let mut install = self.command("cargo install --locked cargo-deny --root");
            // Not in the workspace: its flags are not for other programs.
            install
                .arg(&tools)
                .current_dir(env::temp_dir())
                .env("CARGO_TARGET_DIR", tools.join("target"));
            if let Err(why) = run(install, A_MINUTE * 15, |_| true) {
                self.skip(&format!("cargo deny: it cannot be installed: {why}"));
                return;
            }
        }
        let path = env::join_paths(
            env::split_paths(&env::var_os("PATH").unwrap_or_default()).chain([tools.join("bin")]),
        );
        let words = "cargo deny check bans licenses sources";
        let mut command = self.command(words);
        command.env("PATH", path.unwrap_or_default());
        if let Err(why) = run(command, A_MINUTE * 5, |_| true) {
            self.fail(words, &why);
        }
    }

    /// The last line, for people and for machines.
    fn conclude(&self) -> ExitCode {
        println!("{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped);
        if self.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }

    /// A step that must succeed; whether it did.
    fn step(&mut self, words: &str, limit: Duration) -> bool {
        let ended = run(self.command(words), limit, |_| true);
        if let Err(why) = &ended {
            self.fail(words, why);
        }
        ended.is_ok()
    }

    /// A step that may fail; whether it did not.
    fn attempt(&self, words: &str, limit: Duration) -> bool {
        run(self.command(words), limit, |_| true).is_ok()
    }

    fn command(&self, words: &str) -> Command {
        println!("$ {words}");
        let mut words = words.split(' ');
        let program = words.next().unwrap_or_default();
        let mut command = match program {
            "cargo" => Command::new(env::var_os("CARGO").unwrap_or("cargo".into())),
            other => Command::new(other),
        };
        command.args(words).current_dir(&self.workspace).env("DEBIAN_FRONTEND", "noninteractive");
        command
    }

    fn fail(&mut self, what: &str, why: &str) {
        println!("failed: {what}: {why}");
        self.failed += 1;
    }

    fn skip(&mut self, what: &str) {
        println!("skipped: {what}");
        self.skipped += 1;
    }
}

/// Runs a command without standard input, in a process group that is killed when the time is up,
/// and passes on what it prints: those lines that `show` says are to be shown.
fn run(
    mut command: Command,
    limit: Duration,
    mut show: impl FnMut(&str) -> bool,
) -> Result<(), String> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).process_group(0);
    let mut child = command.spawn().map_err(|error| error.to_string())?;
    let pid = Pid::from_child(&child);
    let pidfd = pidfd_open(pid, PidfdFlags::empty()).map_err(|error| error.to_string())?;
    let watch = std::thread::spawn(move || {
        let limit = Timespec::try_from(limit).ok();
        let ended = poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], limit.as_ref()) == Ok(1);
        if !ended {
            let _ = kill_process_group(pid, Signal::KILL);
        }
        ended
    });
    if let Some(stdout) = child.stdout.take() {
        for text in BufReader::new(stdout).lines().map_while(Result::ok) {
            if show(&text) {
                println!("{text}");
            }
        }
    }
    let status = child.wait().map_err(|error| error.to_string())?;
    match watch.join() {
        Ok(true) if status.success() => Ok(()),
        Ok(true) => Err(status.to_string()),
        _ => Err(format!("not done after {} s", limit.as_secs())),
    }
}

/// The number before `word` in a result line such as `ok. 3 passed; 0 failed; 1 ignored; …`.
fn count(counts: &str, word: &str) -> u64 {
    let number =
        |part: &str| part.trim().strip_suffix(word)?.trim_end().rsplit(' ').next()?.parse().ok();
    counts.split(';').find_map(number).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::count;

    #[test]
    fn result_lines_are_counted() {
        let line = "FAILED. 12 passed; 3 failed; 1 ignored; 0 measured; 0 filtered out";
        assert_eq!(
            ["passed", "failed", "ignored", "x"].map(|word| count(line, word)),
            [12, 3, 1, 0]
        );
    }
}
