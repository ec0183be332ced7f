//! `cargo xtask test`: everything that a change must pass, and nothing to install before it.

// Telling is its job.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod guests;
mod tally;

use std::env;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, geteuid, kill_process_group, pidfd_open};

use self::guests::Guests;
use self::tally::Tally;
use crate::criu;
use crate::packages::{self, Package};
use crate::validation::{self, Judgement};

/// Debian's packages that the tests need.
const PACKAGES: [Package; 3] = [
    ("busybox-static", "/bin/busybox"),
    ("strace", "/usr/bin/strace"),
    ("uidmap", "/usr/bin/newuidmap"),
];

/// Those that the engines are run with, and what these need: they are tested by name and in the
/// whole run.
const ENGINES: [Package; 15] = [
    ("aardvark-dns", "/usr/lib/podman/aardvark-dns"),
    ("buildah", "/usr/bin/buildah"),
    ("catatonit", "/usr/bin/catatonit"),
    ("conmon", "/usr/bin/conmon"),
    ("containerd", "/usr/bin/containerd"),
    ("containernetworking-plugins", "/usr/lib/cni/bridge"),
    ("crun", "/usr/bin/crun"),
    ("docker.io", "/usr/sbin/dockerd"),
    ("iproute2", "/sbin/ip"),
    ("iptables", "/usr/sbin/iptables"),
    ("netavark", "/usr/lib/podman/netavark"),
    ("podman", "/usr/bin/podman"),
    ("python3-grpcio", "/usr/lib/python3/dist-packages/grpc"),
    ("runc", "/usr/sbin/runc"),
    ("slirp4netns", "/usr/bin/slirp4netns"),
];

/// Those that the package's documents are tried with, in the whole run.
const READERS: [Package; 3] =
    [("fish", "/usr/bin/fish"), ("man-db", "/usr/bin/man"), ("zsh", "/usr/bin/zsh")];

/// The file of tests/ about engines.
const ENGINES_TEST: &str = "engines";

/// The file of tests/ about what is handed out.
const PACKAGING_TEST: &str = "packaging";

/// The name of the specification's validation programs.
const VALIDATION: &str = "validation";

/// The file of tests/ that needs CRIU.
const CHECKPOINT_TEST: &str = "checkpoint";

/// The user that rootless tests run as when all else runs as root. The tests know it by name.
const USER: &str = "coracle-test";

const A_MINUTE: Duration = Duration::from_mins(1);

/// Explains the command line.
pub(crate) fn usage() -> ExitCode {
    eprintln!("usage: cargo xtask test [--quick] [NAME]");
    eprintln!(
        "  --quick  what a change is tried with: a binary built in seconds, no package, no cargo-deny"
    );
    eprintln!("  NAME     a file of tests/, such as lifecycle, or a part of a test's name;");
    eprintln!("           or validation: the specification's own programs");
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

    let whole = name.is_none() && !quick;
    let engines = whole || name == Some(ENGINES_TEST);
    let packaging = whole || !quick && name == Some(PACKAGING_TEST);
    let mut run = Run::new();
    let mut packages = PACKAGES.to_vec();
    for (wanted, more) in [(engines, &ENGINES[..]), (packaging, &READERS)] {
        packages.extend(more.iter().filter(|_| wanted));
    }
    run.prepare_machine(&packages);
    if whole || name == Some(CHECKPOINT_TEST) {
        run.provide_criu();
    }
    if name.is_none() {
        run.step("cargo fmt --check", A_MINUTE);
        run.step("cargo clippy --workspace --all-targets --no-deps -- -D warnings", A_MINUTE * 10);
        // Not among all targets, since it is not among those that are tested.
        let engines = format!("cargo clippy -p coracle-tests --test {ENGINES_TEST} --no-deps");
        run.step(&format!("{engines} -- -D warnings"), A_MINUTE * 10);
    }
    let profile = if quick { "quick" } else { "release" };
    if run.step(&format!("cargo build --package coracle-cli --profile {profile}"), A_MINUTE * 10) {
        // It is built with flags of its own, and twice, to be the same.
        if packaging && run.step("cargo xtask dist --check", A_MINUTE * 15) {
            run.dist = Some(run.workspace.join("target/dist"));
        }
        if name != Some(VALIDATION) {
            run.test(profile, name);
        }
        if engines && name.is_none() {
            run.test(profile, Some(ENGINES_TEST));
        }
        if name == Some(VALIDATION) || whole {
            run.validate(profile);
        }
        let guests = run.guests(profile);
        guests.test(quick, name, &mut run.tally);
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
    /// What is handed out, if it was built in this run.
    dist: Option<PathBuf>,
    /// The directory of a CRIU that is newer than the machine's.
    criu: Option<PathBuf>,
    tally: Tally,
}

impl Run {
    fn new() -> Self {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
        // This program is target/TRIPLE/debug/xtask.
        let own = env::current_exe().unwrap_or_default();
        Self {
            workspace: manifest.parent().unwrap_or(manifest).to_owned(),
            built: own.ancestors().nth(2).unwrap_or(Path::new("target")).to_owned(),
            dist: None,
            criu: None,
            tally: Tally::default(),
        }
    }

    /// Installs what the tests need where that is ours to do; what is then missing, the tests
    /// that need it will say.
    fn prepare_machine(&mut self, packages: &[Package]) {
        let root = geteuid().is_root();
        if root && Path::new("/usr/bin/apt-get").exists() {
            if let Err(error) = packages::install(packages) {
                self.tally.fail("the packages", &error.to_string());
            }
        } else {
            let missing = packages::missing(packages);
            if !missing.is_empty() {
                self.tally.skip(&format!("what needs these packages: {}", missing.join(", ")));
            }
        }
        let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
        if root && !users.lines().any(|line| line.starts_with(&format!("{USER}:"))) {
            // Not --system: an ordinary user gets ranges in /etc/subuid and /etc/subgid.
            self.step(&format!("useradd --no-create-home {USER}"), A_MINUTE);
        }
    }

    /// Has the tests find a CRIU that works; without it they find the machine's, or none.
    fn provide_criu(&mut self) {
        if !geteuid().is_root() || !Path::new("/usr/bin/apt-get").exists() {
            return self.tally.skip("criu: unpacking it needs root on a Debian system");
        }
        // Beside target/TRIPLE.
        match criu::directory(&self.built.with_file_name("criu")) {
            Ok(directory) => self.criu = Some(directory),
            Err(error) => self.tally.skip(&format!("criu: it cannot be unpacked: {error}")),
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
        if let Some(dist) = &self.dist {
            command.env("CORACLE_DIST", dist);
        }
        if let Some(criu) = &self.criu {
            let path = env::var_os("PATH").unwrap_or_default();
            let path = env::join_paths([criu.clone()].into_iter().chain(env::split_paths(&path)));
            command.env("PATH", path.unwrap_or_default());
        }
        let failed_before = self.tally.failed;
        let ended = run(command, A_MINUTE * 20, |line| self.tally.hears(line));
        // A test that did not build, crashed or hung counts in no result line.
        if let Err(why) = ended
            && self.tally.failed == failed_before
        {
            self.tally.fail(&words, &why);
        }
    }

    fn guests(&self, profile: &str) -> Guests {
        Guests {
            coracle: self.built.join(profile).join("coracle"),
            dist: self.dist.clone(),
            scratch: self.built.join("moved"),
        }
    }

    /// Runs the specification's validation programs and counts them.
    fn validate(&mut self, profile: &str) {
        if !geteuid().is_root() || !Path::new("/usr/bin/apt-get").exists() {
            self.tally.skip("the validation programs: building them needs root on a Debian system");
            return;
        }
        println!("     Running the specification's validation programs");
        let target = self.built.parent().unwrap_or(&self.built);
        let suite = match validation::Suite::ready(target) {
            Ok(suite) => suite,
            Err(error) => return self.tally.fail("the validation programs", &error.to_string()),
        };
        let coracle = self.built.join(profile).join("coracle");
        suite.run(&coracle, &mut |program, judged| match judged {
            Judgement::Passed => {
                println!("validation {program} ... ok");
                self.tally.passed += 1;
            }
            Judgement::Skipped(why) => self.tally.skip(&format!("validation {program}: {why}")),
            Judgement::Failed(why) => self.tally.fail(&format!("validation {program}"), &why),
        });
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
                self.tally.skip(&format!("cargo deny: it cannot be installed: {why}"));
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
            self.tally.fail(words, &why);
        }
    }

    /// The last line, for people and for machines.
    fn conclude(&self) -> ExitCode {
        let Tally { passed, failed, skipped, .. } = self.tally;
        println!("{passed} passed, {failed} failed, {skipped} skipped");
        if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }

    /// A step that must succeed; whether it did.
    fn step(&mut self, words: &str, limit: Duration) -> bool {
        let ended = run(self.command(words), limit, |_| true);
        if let Err(why) = &ended {
            self.tally.fail(words, why);
        }
        ended.is_ok()
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
