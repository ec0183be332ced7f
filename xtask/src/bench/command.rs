//! One command of a contender: started, waited for, timed.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::Outcome;

/// Longer than this nothing here may take.
const PATIENCE: Timespec = Timespec { tv_sec: 20, tv_nsec: 0 };

/// Starts commands, with nothing in the environment but PATH, and keeps what they say.
pub(super) struct Runner {
    said: PathBuf,
}

impl Runner {
    /// Keeps in `said` what a command says on standard error.
    pub(super) fn new(said: PathBuf) -> Self {
        Self { said }
    }

    /// Runs `program` to its end: the time from before its start to after its end, and its exit
    /// status. The standard library starts it with `posix_spawn`, which copies no page table.
    pub(super) fn run(&self, program: &Path, arguments: &[String]) -> Outcome<(Duration, i32)> {
        let mut command = self.command(program, arguments)?;
        let start = Instant::now();
        let mut child =
            command.spawn().map_err(|error| format!("{}: {error}", program.display()))?;
        if let Err(error) = wait_for(Pid::from_child(&child)) {
            child.kill()?;
            child.wait()?;
            return Err(format!("{}: {error}", program.display()).into());
        }
        let status = child.wait()?;
        Ok((start.elapsed(), status.code().unwrap_or(-1)))
    }

    /// What a command writes to standard output, whether or not it succeeds.
    pub(super) fn output(&self, program: &Path, arguments: &[String]) -> Outcome<String> {
        let output = self.command(program, arguments)?.stdout(Stdio::piped()).output()?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// The last line of what the last command said.
    pub(super) fn last_words(&self) -> String {
        let said = fs::read_to_string(&self.said).unwrap_or_default();
        said.lines().next_back().unwrap_or("without a word").to_owned()
    }

    fn command(&self, program: &Path, arguments: &[String]) -> Outcome<Command> {
        let mut command = Command::new(program);
        command
            .args(arguments)
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&self.said)?);
        Ok(command)
    }
}

/// Waits until a process has ended, without reaping it.
pub(super) fn wait_for(process: Pid) -> Outcome<()> {
    let process = match pidfd_open(process, PidfdFlags::empty()) {
        Err(Errno::SRCH) => return Ok(()),
        opened => opened?,
    };
    loop {
        match poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&PATIENCE)) {
            Ok(0) => return Err("did not end in time".into()),
            Err(Errno::INTR) => {}
            Ok(_) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}
