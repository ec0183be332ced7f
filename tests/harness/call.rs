//! Runs a command to its end, or to the end of the test's patience.

use std::ffi::{OsStr, OsString};
use std::fmt::{self, Write as _};
use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::FileExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, kill_process_group, pidfd_open};

use crate::leaks::is_alive;
use crate::user::User;

/// No command of a test takes a second; one that hangs must not take the run with it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Between two looks at something that is waited for.
const PAUSE: Duration = Duration::from_millis(2);

/// A command to be run: in a process group of its own, standard input from /dev/null, standard
/// output and error kept in memory. Those are files and not pipes, because a container goes on
/// holding them when the command that created it is gone.
pub struct Call {
    words: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    directory: Option<OsString>,
    user: Option<User>,
    stdin: Stdio,
    stdout: Option<Stdio>,
    stderr: Option<Stdio>,
    own_session: bool,
    patience: Duration,
}

impl Call {
    /// A command from its program and arguments.
    pub fn new<S: AsRef<OsStr>>(words: impl IntoIterator<Item = S>) -> Self {
        Self {
            words: words.into_iter().map(|word| word.as_ref().to_owned()).collect(),
            environment: Vec::new(),
            directory: None,
            user: None,
            stdin: Stdio::null(),
            stdout: None,
            stderr: None,
            own_session: false,
            patience: PATIENCE,
        }
    }

    /// Adds arguments.
    pub fn args<S: AsRef<OsStr>>(mut self, words: impl IntoIterator<Item = S>) -> Self {
        self.words.extend(words.into_iter().map(|word| word.as_ref().to_owned()));
        self
    }

    /// Puts a command that runs the rest of its arguments before this one, such as `setsid`.
    pub fn through<S: AsRef<OsStr>>(mut self, words: impl IntoIterator<Item = S>) -> Self {
        self.words.splice(0..0, words.into_iter().map(|word| word.as_ref().to_owned()));
        self
    }

    /// Changes to the directory first.
    pub fn within(mut self, directory: impl AsRef<Path>) -> Self {
        self.directory = Some(directory.as_ref().into());
        self
    }

    /// Sets a variable of the environment.
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.environment.push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Runs as the user.
    pub fn user(mut self, user: Option<User>) -> Self {
        self.user = user;
        self
    }

    /// Makes the terminal on its standard input the controlling one of a new session, as a log-in
    /// shell's is.
    pub fn in_session(mut self) -> Self {
        self.own_session = true;
        self.through(["setsid", "--ctty"])
    }

    /// Gives it this standard input.
    pub fn stdin(mut self, stdin: impl Into<Stdio>) -> Self {
        self.stdin = stdin.into();
        self
    }

    /// Gives it the text as standard input, which ends there.
    pub fn stdin_text(self, text: &str) -> Self {
        let mut file = memory();
        file.write_all(text.as_bytes()).unwrap();
        std::io::Seek::rewind(&mut file).unwrap();
        self.stdin(file)
    }

    /// Gives it this standard output instead of keeping it.
    pub fn stdout(mut self, stdout: impl Into<Stdio>) -> Self {
        self.stdout = Some(stdout.into());
        self
    }

    /// Gives it this standard error instead of keeping it.
    pub fn stderr(mut self, stderr: impl Into<Stdio>) -> Self {
        self.stderr = Some(stderr.into());
        self
    }

    /// Allows it more time than a command of coracle's gets.
    pub fn patience(mut self, limit: Duration) -> Self {
        self.patience = limit;
        self
    }

    /// Starts it.
    pub fn spawn(self) -> Running {
        let (stdout, stderr) = (memory(), memory());
        let mut command = Command::new(&self.words[0]);
        command
            .args(&self.words[1..])
            .envs(self.environment)
            .stdin(self.stdin)
            .stdout(self.stdout.unwrap_or_else(|| stdout.try_clone().unwrap().into()))
            .stderr(self.stderr.unwrap_or_else(|| stderr.try_clone().unwrap().into()));
        if !self.own_session {
            // The leader of a group could not begin a session, and setsid would fork.
            command.process_group(0);
        }
        if let Some(directory) = self.directory {
            command.current_dir(directory);
        }
        if let Some(user) = self.user.filter(|user| user.switch) {
            command.uid(user.uid).gid(user.gid);
        }
        let what = format!("{:?}", self.words);
        let child = command.spawn().unwrap_or_else(|error| panic!("{what}: {error}"));
        Running { child, what, stdout, stderr, patience: self.patience, ended: false }
    }

    /// Runs it to its end.
    pub fn output(self) -> Outcome {
        self.spawn().wait()
    }
}

/// A file in memory. Others may open it by its /proc path, as they could a terminal.
fn memory() -> File {
    memfd_create("standard stream", MemfdFlags::CLOEXEC).expect("memfd_create").into()
}

fn all_of(file: &File) -> String {
    // Not by reading on: the offset is shared with whoever still writes.
    let mut text = vec![0; usize::try_from(file.metadata().unwrap().len()).unwrap()];
    let read = file.read_at(&mut text, 0).unwrap();
    String::from_utf8_lossy(&text[..read]).into_owned()
}

/// A command that runs. Its process group is killed when this is dropped.
pub struct Running {
    child: Child,
    what: String,
    stdout: File,
    stderr: File,
    patience: Duration,
    ended: bool,
}

impl Running {
    /// Its process ID.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends it (and not its children) a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(self.raw_pid(), signal).unwrap();
    }

    /// What it has written to standard output so far.
    pub fn stdout(&self) -> String {
        all_of(&self.stdout)
    }

    /// What it has written to standard error so far.
    pub fn stderr(&self) -> String {
        all_of(&self.stderr)
    }

    /// Waits for standard output to contain `text`.
    #[track_caller]
    pub fn prints(&self, text: &str) {
        let start = Instant::now();
        while !self.stdout().contains(text) {
            assert!(
                start.elapsed() < self.patience && is_alive(self.pid()),
                "{} should have printed {text:?}\n--- stdout\n{}\n--- stderr\n{}",
                self.what,
                self.stdout(),
                self.stderr()
            );
            std::thread::sleep(PAUSE);
        }
    }

    /// Waits for its end.
    pub fn wait(mut self) -> Outcome {
        let pidfd = pidfd_open(self.raw_pid(), PidfdFlags::empty()).expect("pidfd_open");
        let limit = Timespec::try_from(self.patience).unwrap();
        let mut ready = [PollFd::new(&pidfd, PollFlags::IN)];
        let ended = poll(&mut ready, Some(&limit)).expect("poll");
        assert!(
            ended == 1,
            "{} did not end within {:?}\n{}\n{}",
            self.what,
            self.patience,
            self.stdout(),
            self.stderr()
        );
        let status = self.child.wait().unwrap();
        self.ended = true;
        Outcome {
            code: status.code(),
            signal: status.signal(),
            stdout: self.stdout(),
            stderr: self.stderr(),
            what: std::mem::take(&mut self.what),
            later: self.stdout.try_clone().unwrap(),
        }
    }

    fn raw_pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.ended {
            let _ = kill_process_group(self.raw_pid(), Signal::KILL);
            let _ = kill_process(self.raw_pid(), Signal::KILL);
            let _ = self.child.wait();
        }
    }
}

/// How a command ended, and what it said.
pub struct Outcome {
    /// Its exit code, unless a signal ended it.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// Standard output until its end.
    pub stdout: String,
    /// Standard error until its end.
    pub stderr: String,
    what: String,
    later: File,
}

impl Outcome {
    /// Asserts that it ended with 0.
    #[track_caller]
    pub fn succeeds(self) -> Self {
        assert!(self.code == Some(0), "should have succeeded: {}", self.told());
        self
    }

    /// Asserts that it ended, of itself, with another exit code than 0.
    #[track_caller]
    pub fn fails(self) -> Self {
        assert!(
            self.code.is_some_and(|code| code != 0),
            "should have failed cleanly: {}",
            self.told()
        );
        self
    }

    /// Asserts that it ended with this exit code.
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert!(self.code == Some(code), "should have exited with {code}: {}", self.told());
        self
    }

    /// Asserts that standard error has the text in it.
    #[track_caller]
    pub fn says(self, text: &str) -> Self {
        assert!(self.stderr.contains(text), "should have said {text:?}: {}", self.told());
        self
    }

    /// Standard output with what a container that lives on has written since.
    pub fn stdout_by_now(&self) -> String {
        all_of(&self.later)
    }

    fn told(&self) -> String {
        let mut told = format!("{} ended with ", self.what);
        let _ = match (self.code, self.signal) {
            (Some(code), _) => write!(told, "exit code {code}"),
            (_, signal) => write!(told, "signal {signal:?}"),
        };
        let _ = write!(told, "\n--- stdout\n{}\n--- stderr\n{}", self.stdout, self.stderr);
        told
    }
}

impl fmt::Debug for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.told())
    }
}

/// Waits until something holds. The limit is for hangs, not for slow machines.
#[track_caller]
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < PATIENCE, "waited in vain: {what}");
        std::thread::sleep(PAUSE);
    }
}
