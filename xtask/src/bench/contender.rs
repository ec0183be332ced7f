//! What is compared: runtimes, which share one command line, and the floor, which can only `run`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Pid, WaitOptions, waitpid};
use serde_json::{Value, json};

use super::cgroups::Hierarchies;
use super::command::{Runner, wait_for};
use crate::Outcome;

/// The exit status of the payload when it has an argument other than `pause`.
const PROOF: i32 = 42;

/// A runtime or the floor, with its bundles, its state and what was measured.
pub(super) struct Contender {
    pub(super) name: String,
    pub(super) program: PathBuf,
    /// The container's ID, which is its cgroup's name as well.
    pub(super) id: String,
    directory: PathBuf,
    /// The floor's arguments before the payload; a runtime has none.
    floor: Option<Vec<String>>,
    /// Times by operation.
    pub(super) samples: BTreeMap<&'static str, Vec<Duration>>,
    /// The largest resident sets of `run`, in KiB.
    pub(super) peak_rss: Vec<u64>,
}

impl Contender {
    /// A runtime, which will work in `directory`.
    pub(super) fn runtime(name: &str, program: &Path, id: String, directory: PathBuf) -> Self {
        Self {
            name: name.to_owned(),
            program: program.to_owned(),
            id,
            directory,
            floor: None,
            samples: BTreeMap::new(),
            peak_rss: Vec::new(),
        }
    }

    /// The floor, which is told everything that a runtime has to find out.
    pub(super) fn floor(
        program: &Path,
        id: String,
        directory: PathBuf,
        hierarchies: &Hierarchies,
    ) -> Self {
        let mut arguments = vec![text(&directory.join("rootfs"))];
        for (name, path) in hierarchies.cgroups(&id) {
            arguments.extend([name.to_owned(), text(&path)]);
        }
        arguments.push("--".to_owned());
        Self { floor: Some(arguments), ..Self::runtime("floor", program, id, directory) }
    }

    /// Whether this is the floor.
    pub(super) fn is_floor(&self) -> bool {
        self.floor.is_some()
    }

    /// Makes the root file system, with the payload in it, and a bundle for each way to call it.
    pub(super) fn prepare(&self, payload: &Path) -> Outcome<()> {
        let rootfs = self.directory.join("rootfs");
        // Or the first run would make the mount points, and the later ones find them.
        for directory in ["proc", "dev", "sys"] {
            fs::create_dir_all(rootfs.join(directory))?;
        }
        fs::copy(payload, rootfs.join("payload"))?;
        let mut config: Value = serde_json::from_str(include_str!("config.json"))?;
        config["root"]["path"] = json!(rootfs);
        config["linux"]["cgroupsPath"] = json!(format!("/{}", self.id));
        for (bundle, argument) in [("run", None), ("pause", Some("pause")), ("proof", Some("x"))] {
            config["process"]["args"] = ["/payload"].into_iter().chain(argument).collect();
            let bundle = self.directory.join(bundle);
            fs::create_dir_all(&bundle)?;
            fs::write(bundle.join("config.json"), serde_json::to_vec_pretty(&config)?)?;
        }
        Ok(())
    }

    /// Makes sure that it does what it will be measured at.
    pub(super) fn prove(&self, runner: &Runner) -> Outcome<()> {
        self.expect(runner, &self.run_arguments("proof"), PROOF)?;
        self.expect(runner, &self.run_arguments("run"), 0)?;
        if self.is_floor() {
            return Ok(());
        }
        let (_, process) = self.create(runner)?;
        self.perform(runner, "start", &[], 0)?;
        self.expect_status(runner, "running")?;
        self.perform(runner, "exec", &["/payload", "x"], PROOF)?;
        self.perform(runner, "kill", &["KILL"], 0)?;
        reap(process)?;
        self.expect_status(runner, "stopped")?;
        self.perform(runner, "delete", &[], 0)?;
        Ok(())
    }

    /// Measures `run`.
    pub(super) fn measure_run(&mut self, runner: &Runner) -> Outcome<()> {
        let time = self.expect(runner, &self.run_arguments("run"), 0)?;
        self.record("run", time);
        Ok(())
    }

    /// Measures every other operation, each once, in the order of a container's life.
    pub(super) fn measure_life(&mut self, runner: &Runner) -> Outcome<()> {
        let (time, process) = self.create(runner)?;
        self.record("create", time);
        self.measure(runner, "start", &[])?;
        self.measure(runner, "state", &[])?;
        self.measure(runner, "exec", &["/payload"])?;
        self.measure(runner, "kill", &["KILL"])?;
        reap(process)?;
        self.measure(runner, "delete", &[])
    }

    /// Measures what the command's own start takes, before it does anything.
    pub(super) fn measure_version(&mut self, runner: &Runner) -> Outcome<()> {
        let time = self.expect(runner, &["--version".to_owned()], 0)?;
        self.record("--version", time);
        Ok(())
    }

    /// Measures the largest resident set of `run`, by the program `peak-rss`.
    pub(super) fn measure_peak_rss(&mut self, runner: &Runner, peak_rss: &Path) -> Outcome<()> {
        let mut arguments = self.run_arguments("run");
        arguments.insert(0, text(&self.program));
        let said = runner.output(peak_rss, &arguments)?;
        let peak = said.trim().parse().map_err(|_| format!("peak-rss said {said:?}"))?;
        self.peak_rss.push(peak);
        Ok(())
    }

    /// Whether `tries` containers in a row run with no more memory than `bytes`.
    pub(super) fn runs_within(&self, runner: &Runner, bytes: u64, tries: usize) -> Outcome<bool> {
        let run = fs::read(self.directory.join("run/config.json"))?;
        let mut config: Value = serde_json::from_slice(&run)?;
        config["linux"]["resources"]["memory"]["limit"] = json!(bytes);
        let bundle = self.directory.join("limited");
        fs::create_dir_all(&bundle)?;
        fs::write(bundle.join("config.json"), serde_json::to_vec(&config)?)?;
        for _ in 0..tries {
            let ran = self.expect(runner, &self.run_arguments("limited"), 0).is_ok();
            if !ran {
                self.remove(runner);
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Removes the container, whatever state it is in.
    pub(super) fn remove(&self, runner: &Runner) {
        if !self.is_floor() {
            // There may be nothing to remove, and one that cannot do it is left to the caller.
            let _ = runner.run(&self.program, &self.arguments(&["delete", "--force", &self.id]));
        }
    }

    /// The version it says it is.
    pub(super) fn version(&self, runner: &Runner) -> Option<String> {
        if self.is_floor() {
            return None;
        }
        let said = runner.output(&self.program, &["--version".to_owned()]).ok()?;
        Some(said.lines().next()?.to_owned())
    }

    fn create(&self, runner: &Runner) -> Outcome<(Duration, Pid)> {
        let bundle = text(&self.directory.join("pause"));
        let pid_file = self.directory.join("pid");
        let create =
            ["create", "--bundle", &bundle, "--pid-file", &text(&pid_file), self.id.as_str()];
        let time = self.expect(runner, &self.arguments(&create), 0)?;
        let process = fs::read_to_string(&pid_file)?;
        let process = process.trim().parse().ok().and_then(Pid::from_raw);
        Ok((time, process.ok_or("create wrote no process ID into the pid file")?))
    }

    /// The operation on the container, with what comes behind its ID.
    fn perform(
        &self,
        runner: &Runner,
        operation: &str,
        behind: &[&str],
        status: i32,
    ) -> Outcome<Duration> {
        let arguments = [&[operation, &self.id], behind].concat();
        self.expect(runner, &self.arguments(&arguments), status)
    }

    fn measure(
        &mut self,
        runner: &Runner,
        operation: &'static str,
        behind: &[&str],
    ) -> Outcome<()> {
        let time = self.perform(runner, operation, behind, 0)?;
        self.record(operation, time);
        Ok(())
    }

    fn record(&mut self, operation: &'static str, time: Duration) {
        self.samples.entry(operation).or_default().push(time);
    }

    fn expect(&self, runner: &Runner, arguments: &[String], status: i32) -> Outcome<Duration> {
        let (time, found) = runner.run(&self.program, arguments)?;
        if found == status {
            return Ok(time);
        }
        let (command, words) = (arguments.join(" "), runner.last_words());
        Err(format!("status {found}, not {status}, from `{command}`: {words}").into())
    }

    fn expect_status(&self, runner: &Runner, status: &str) -> Outcome<()> {
        let said = runner.output(&self.program, &self.arguments(&["state", &self.id]))?;
        let state: Value = serde_json::from_str(&said)?;
        if state["status"] == status {
            return Ok(());
        }
        Err(format!("a {status} container's state is {}", state["status"]).into())
    }

    fn run_arguments(&self, bundle: &str) -> Vec<String> {
        if let Some(arguments) = &self.floor {
            let argument = (bundle == "proof").then_some("x");
            let payload = ["/payload"].into_iter().chain(argument).map(str::to_owned);
            return arguments.iter().cloned().chain(payload).collect();
        }
        self.arguments(&["run", "--bundle", &text(&self.directory.join(bundle)), &self.id])
    }

    fn arguments(&self, arguments: &[&str]) -> Vec<String> {
        let global = ["--root".to_owned(), text(&self.directory.join("state"))];
        global.into_iter().chain(arguments.iter().map(|&argument| argument.to_owned())).collect()
    }
}

/// Waits for the end of a container's first process, whose parent is gone and which is ours now.
fn reap(process: Pid) -> Outcome<()> {
    wait_for(process)?;
    // Somebody else's, if the container was not made by a child of ours.
    let _ = waitpid(Some(process), WaitOptions::NOHANG);
    Ok(())
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
