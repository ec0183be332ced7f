//! Containers: made, started, looked at, signalled and removed.
//!
//! What clones a process ([`create()`], [`exec()`], [`add_mounts`], [`remove_mounts`]) must run in a
//! process with one thread, such as the coracle command; everything else works from anywhere.

mod checkpoint;
mod create;
mod delete;
mod events;
mod exec;
mod foreground;
mod handover;
mod kill;
mod listener;
mod matching;
mod mounts;
mod notify;
mod pause;
mod place;
mod processes;
mod record;
mod relay;
mod request;
mod restore;
mod shares;
mod start;
mod state;
mod undo;
mod update;

pub use checkpoint::{CheckpointRequest, checkpoint};
pub use create::{Created, create, prepare};
pub use delete::delete;
pub use events::{Event, EventKind, events, stats};
pub use exec::{ExecRequest, config, exec};
pub use foreground::{Attached, attach, prepare_signals, run};
pub use handover::Handover;
pub use kill::kill;
pub use matching::matching;
pub use mounts::{add_mounts, remove_mounts};
pub use pause::{pause, resume};
pub use processes::processes;
pub use request::Request;
pub use restore::{RestoreRequest, restore};
pub use shares::update_shares;
pub use start::{start, start_notifying};
pub use state::{State, Status, list, state};
pub use update::update;

pub use crate::criu::options::{CriuOptions, ManageCgroups, NetworkLock};

use rustix::process::geteuid;

use crate::cgroup;
use crate::error::{Context, Result};
use crate::plan::Host;

/// Looks at the host, as far as planning has to know it.
pub fn look_at_host() -> Result<Host> {
    let root = geteuid().is_root();
    let rootless = !root || in_user_namespace();
    let own_cgroups = rootless.then(|| std::fs::read_to_string("/proc/self/cgroup").ok()).flatten();
    let cgroups = cgroup::Layout::detect()?;
    let systemd_root = None;
    let held =
        rustix::thread::capabilities(None).what(|| "looking at the runtime's capabilities")?;
    let capabilities = held.permitted.bits();
    let cgroup_namespace = false;
    Ok(Host { rootless, root, cgroup_namespace, cgroups, systemd_root, capabilities, own_cgroups })
}

/// Whether this process is in a user namespace below the first, whose file has a number of its own
/// (the kernel's `PROC_USER_INIT_INO`).
pub fn in_user_namespace() -> bool {
    const FIRST: &str = "user:[4026531837]";
    std::fs::read_link("/proc/self/ns/user").is_ok_and(|link| link.as_os_str() != FIRST)
}

/// Whether a configuration has this word anywhere. Most have no hooks, and looking for the word
/// saves reading it all.
fn mentions(config: &[u8], word: &str) -> bool {
    config.windows(word.len()).any(|window| window == word.as_bytes())
}
