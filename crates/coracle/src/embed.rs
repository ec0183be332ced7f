//! Containers from a program of your own, threads and all.
//!
//! A process is cloned safely only from one with a single thread, and an engine's memory and binary
//! must not be seen in a container. So what makes processes is done by the coracle command, which
//! this calls; everything else works on the same state, here.
//!
//! ```no_run
//! use coracle::container::{self, Request};
//! use coracle::embed::Runtime;
//!
//! # fn main() -> coracle::Result<()> {
//! let runtime = Runtime::new("/usr/bin/coracle", "/run/engine");
//! let request = Request { id: "web".into(), bundle: "/bundles/web".into(), ..Request::default() };
//! runtime.create(&request)?;
//! container::start(runtime.store(), "web", |warning| eprintln!("{warning}"))?;
//! println!("{}", container::state(runtime.store(), "web")?.pid);
//! # Ok(())
//! # }
//! ```

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::cgroup::Manager;
use crate::container::{Handover, Request};
use crate::error::{Context, Error, Result};
use crate::store::Store;

/// The coracle command, and where the containers made with it are.
#[derive(Clone, Debug)]
pub struct Runtime {
    program: PathBuf,
    store: Store,
}

impl Runtime {
    /// The command at `program`, with containers below `root`.
    pub fn new(program: impl Into<PathBuf>, root: impl Into<PathBuf>) -> Self {
        Self { program: program.into(), store: Store::new(root) }
    }

    /// The containers, for the functions of [`container`](crate::container) that work in any
    /// process: [`start`](crate::container::start), [`state`](crate::container::state),
    /// [`kill`](crate::container::kill), [`delete`](crate::container::delete) and more.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Makes a container, as `create` does. Its standard input, output and error are this
    /// process's; those of [`Runtime::create_with`] are chosen.
    ///
    /// # Errors
    /// What the command says: nothing is left behind then.
    pub fn create(&self, request: &Request) -> Result<()> {
        self.create_with(request, |_| {})
    }

    /// Makes a container, after `prepare` has changed how the command is called: its standard
    /// streams, its environment, its user.
    ///
    /// # Errors
    /// What the command says: nothing is left behind then.
    pub fn create_with(&self, request: &Request, prepare: impl FnOnce(&mut Command)) -> Result<()> {
        let mut command = Command::new(&self.program);
        command.arg("--root").arg(self.store.root());
        // Standard error may be the container's, so errors take a way of their own.
        let log = tell_tale()?;
        command.arg("--log").arg(&log.path).args(["--log-format", "json"]);
        let manager = match request.manager {
            Manager::Files => "cgroupfs",
            Manager::Systemd => "systemd",
            Manager::Disabled => "disabled",
        };
        command.args(["--cgroup-manager", manager]);
        command.arg("create");
        if !request.bundle.as_os_str().is_empty() {
            command.arg("--bundle").arg(&request.bundle);
        }
        if let Some(config) = &request.config {
            command.arg("--config").arg(config);
        }
        arguments(&mut command, &request.handover);
        if request.no_pivot {
            command.arg("--no-pivot");
        }
        if request.no_new_keyring {
            command.arg("--no-new-keyring");
        }
        if request.preserve_fds > 0 {
            command.args(["--preserve-fds", &request.preserve_fds.to_string()]);
        }
        command.arg(&request.id).stdin(Stdio::null());
        // A service's own are not its containers'.
        for variable in ["LISTEN_FDS", "LISTEN_PID", "NOTIFY_SOCKET"] {
            command.env_remove(variable);
        }
        if let Some(manager) = &request.notify_socket {
            command.env("NOTIFY_SOCKET", manager);
        }
        prepare(&mut command);
        let what = || format!("running {}", self.program.display());
        let status = command.status().what(what)?;
        if status.success() {
            return Ok(());
        }
        let said = log.last_error();
        Err(Error::new(
            said.unwrap_or_else(|| format!("{} create: {status}", self.program.display())),
        ))
    }
}

/// The options for where an engine wants to be told of a new process.
fn arguments(command: &mut Command, handover: &Handover) {
    let options = [
        ("--console-socket", &handover.console_socket),
        ("--pidfd-socket", &handover.pidfd_socket),
        ("--pid-file", &handover.pid_file),
    ];
    for (option, path) in options {
        if let Some(path) = path {
            command.args([OsStr::new(option), path.as_os_str()]);
        }
    }
}

/// A log file in memory that the command can open by a path.
struct TellTale {
    file: std::os::fd::OwnedFd,
    path: PathBuf,
}

/// Makes one. It is not inherited: the path leads to this process's descriptor.
fn tell_tale() -> Result<TellTale> {
    use std::os::fd::AsRawFd;
    let file = rustix::fs::memfd_create("coracle log", rustix::fs::MemfdFlags::CLOEXEC)
        .what(|| "making a log in memory")?;
    let path = format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd()).into();
    Ok(TellTale { file, path })
}

impl TellTale {
    /// The message of the last error line.
    fn last_error(&self) -> Option<String> {
        let text = std::fs::read_to_string(&self.path).ok()?;
        let _ = &self.file;
        text.lines().rev().find_map(|line| {
            let line: serde_json::Value = serde_json::from_str(line).ok()?;
            let message = line["msg"].as_str()?;
            (line["level"] == "error").then(|| message.to_owned())
        })
    }
}
