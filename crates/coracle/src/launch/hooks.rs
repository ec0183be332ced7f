//! Hooks (runtime-spec config.md, "POSIX-platform Hooks").

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::config::Hook;
use crate::error::{Context, Error, Result};

/// Runs hooks one after the other; the state goes to each one's standard input. Stops at the first
/// that fails, and says its index.
pub(crate) fn run(
    hooks: &[Hook],
    kind: &str,
    state: &[u8],
    bundle: &Path,
) -> Result<(), (usize, Error)> {
    for (index, hook) in hooks.iter().enumerate() {
        run_one(hook, state, bundle).map_err(|error| {
            (index, error.at(format!("/hooks/{kind}/{index}"), Some(format!("{:?}", hook.path))))
        })?;
    }
    Ok(())
}

/// Runs one hook, within its time.
fn run_one(hook: &Hook, state: &[u8], bundle: &Path) -> Result<()> {
    let mut command = Command::new(&hook.path);
    if let Some((name, rest)) = hook.args.split_first() {
        command.arg0(name).args(rest);
    }
    let env = hook.env.iter().filter_map(|variable| variable.split_once('='));
    command
        .env_clear()
        .envs(env)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    if bundle.is_dir() {
        command.current_dir(bundle);
    }
    let mut child = command.spawn().what(|| format!("running hook {}", hook.path))?;
    if let Some(mut stdin) = child.stdin.take() {
        // A hook need not read its state; a state larger than a pipe is not to be expected.
        let _ = stdin.write_all(state);
    }
    let limit = hook.timeout.and_then(|seconds| u64::try_from(seconds).ok());
    if let Some(seconds) = limit
        && !ends_within(&child, Duration::from_secs(seconds))?
    {
        let _ = child.kill();
        let _ = child.wait();
        return Err(Error::new(format!("hook {} did not end within {seconds} s", hook.path))
            .help("raise its timeout, or find out what it waits for"));
    }
    let output = child.wait_with_output().what(|| format!("waiting for hook {}", hook.path))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(Error::new(format!("hook {} failed", hook.path)).because(format!(
        "{}{}{said}",
        output.status,
        if said.is_empty() { "" } else { ": " }
    )))
}

/// Whether a child ends in time.
fn ends_within(child: &Child, limit: Duration) -> Result<bool> {
    let what = || "waiting for a hook";
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let Some(pid) = pid else { return Ok(true) };
    let pidfd = pidfd_open(pid, PidfdFlags::empty()).what(what)?;
    let end = Instant::now() + limit;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let left = Timespec {
            tv_sec: left.as_secs().try_into().unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        };
        let mut files = [PollFd::new(&pidfd, PollFlags::IN)];
        match poll(&mut files, Some(&left)) {
            Ok(0) => return Ok(false),
            Ok(_) => return Ok(true),
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(Error::new(what()).os(errno)),
        }
    }
}
