//! Hooks (runtime-spec config.md, "POSIX-platform Hooks").

use std::collections::BTreeMap;
use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{CWD, MemfdFlags, Mode, OFlags, memfd_create, openat};
use rustix::io::{Errno, pread, pwrite};
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, WaitIdStatus, kill_process_group, pidfd_open,
    waitid,
};

use crate::config::Hook;
use crate::error::{Context, Error, Result};
use crate::sys::spawn::Spawn;

/// As much of what a failed hook said as an error repeats, in bytes.
const WORDS: usize = 512;

/// Runs hooks one after the other; the state goes to each one's standard input. Stops at the first
/// that fails, and says its index.
///
/// They run in `directory`: the bundle, where the host's files are seen, else the root.
///
/// `annotations` are the container's: crun's `run.oci.hooks.stdout` and `run.oci.hooks.stderr` name
/// files of the host that the hooks' output is appended to.
pub(crate) fn run(
    hooks: &[Hook],
    kind: &str,
    state: &[u8],
    directory: &Path,
    annotations: &BTreeMap<String, String>,
) -> Result<(), (usize, Error)> {
    if hooks.is_empty() {
        return Ok(());
    }
    let file = |name: &str| annotations.get(name).map(|path| open(path)).transpose();
    let files = [file("run.oci.hooks.stdout"), file("run.oci.hooks.stderr")];
    let [stdout, stderr] = files;
    let files = [stdout.map_err(|error| (0, error))?, stderr.map_err(|error| (0, error))?];
    for (index, hook) in hooks.iter().enumerate() {
        run_one(hook, state, directory, &files).map_err(|error| {
            (index, error.at(format!("/hooks/{kind}/{index}"), Some(format!("{:?}", hook.path))))
        })?;
    }
    Ok(())
}

/// Runs one hook, within its time.
fn run_one(
    hook: &Hook,
    state: &[u8],
    directory: &Path,
    [stdout, stderr]: &[Option<OwnedFd>; 2],
) -> Result<()> {
    let what = || format!("running hook {}", hook.path);
    // Files and no pipes: a hook need not read what it is given, and what it starts and leaves
    // behind may hold on to its output.
    let input = memory().and_then(|file| pwrite(&file, state, 0).map(|_| file)).what(what)?;
    let output = memory().what(what)?;
    let directory = if directory.is_dir() { directory } else { Path::new("/") };
    let strings =
        |list: &[String]| list.iter().map(|text| string(text)).collect::<Result<Vec<_>>>();
    let path = string(&hook.path)?;
    let mut args = strings(&hook.args)?;
    if args.is_empty() {
        args.push(path.clone());
    }
    let spawn = Spawn {
        path: &path,
        args: &args,
        env: &strings(&hook.env)?,
        directory: &CString::new(directory.as_os_str().as_bytes()).unwrap_or_default(),
        input: input.as_fd(),
        output: stdout.as_ref().unwrap_or(&output).as_fd(),
        error: stderr.as_ref().unwrap_or(&output).as_fd(),
    };
    let pid = spawn.start().what(what)?;
    let Some(pid) = Pid::from_raw(pid) else { return Err(Error::new(what()).os(Errno::SRCH)) };
    let status = wait(pid, hook).what(what)?;
    let Some(status) = status else {
        let seconds = hook.timeout.unwrap_or_default();
        return Err(Error::new(format!("hook {} did not end within {seconds} s", hook.path))
            .help("raise its timeout, or find out what it waits for"));
    };
    let ended = match (status.exit_status(), status.terminating_signal()) {
        (Some(0), _) => return Ok(()),
        (Some(code), _) => format!("exit status {code}"),
        (None, signal) => format!("ended by signal {}", signal.unwrap_or_default()),
    };
    let said = words(&output);
    let colon = if said.is_empty() { "" } else { ": " };
    Err(Error::new(format!("hook {} failed", hook.path)).because(format!("{ended}{colon}{said}")))
}

/// A file that output is appended to.
fn open(path: &str) -> Result<OwnedFd> {
    let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE | OFlags::NOCTTY | OFlags::CLOEXEC;
    openat(CWD, path, flags, Mode::from_raw_mode(0o600))
        .what(|| format!("opening {path} for the output of hooks"))
}

/// A file in memory.
fn memory() -> Result<OwnedFd, Errno> {
    memfd_create(c"hook", MemfdFlags::CLOEXEC)
}

/// The checks refuse NUL with a better pointer; this holds the line.
fn string(text: &str) -> Result<CString> {
    CString::new(text).map_err(|_| Error::new("a NUL byte cannot be passed to a hook"))
}

/// What a hook wrote to standard output and error: the end of it, where errors are.
fn words(output: &OwnedFd) -> String {
    let length = rustix::fs::fstat(output).map_or(0, |stat| stat.st_size.unsigned_abs());
    let mut bytes = [0; WORDS];
    let read = pread(output, &mut bytes, length.saturating_sub(WORDS as u64)).unwrap_or(0);
    String::from_utf8_lossy(&bytes[..read]).trim().to_owned()
}

/// Waits for a hook's end. If that does not come in time, ends its process group: `None`.
fn wait(pid: Pid, hook: &Hook) -> Result<Option<WaitIdStatus>, Errno> {
    let limit = hook.timeout.and_then(|seconds| u64::try_from(seconds).ok());
    let mut in_time = true;
    if let Some(seconds) = limit {
        let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
        in_time = ends_within(&pidfd, Duration::from_secs(seconds));
        if !in_time {
            // Not reaped yet, so the group is nobody else's.
            let _ = kill_process_group(pid, Signal::KILL);
        }
    }
    loop {
        match waitid(WaitId::Pid(pid), WaitIdOptions::EXITED) {
            Err(Errno::INTR) => {}
            result => return result.map(|status| status.filter(|_| in_time)),
        }
    }
}

/// Whether a process ends in time.
fn ends_within(pidfd: &OwnedFd, limit: Duration) -> bool {
    let begin = Instant::now();
    loop {
        let left = limit.saturating_sub(begin.elapsed());
        let left = Timespec {
            tv_sec: left.as_secs().try_into().unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        };
        match poll(&mut [PollFd::new(pidfd, PollFlags::IN)], Some(&left)) {
            Err(Errno::INTR) => {}
            Ok(0) | Err(_) => return false,
            Ok(_) => return true,
        }
    }
}
