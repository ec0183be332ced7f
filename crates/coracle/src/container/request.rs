//! What `create`, `run` and `restore` are asked for.

use std::ffi::OsString;
use std::path::PathBuf;

use super::handover::Handover;
use crate::cgroup::Manager;

/// What a caller asks for.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// The container's ID.
    pub id: String,
    /// The bundle's directory; relative to the working directory, which it is when empty.
    pub bundle: PathBuf,
    /// The configuration, if it is not config.json in the bundle.
    pub config: Option<PathBuf>,
    /// Where an engine wants to be told of the first process.
    pub handover: Handover,
    /// Enters the root by chroot(2).
    pub no_pivot: bool,
    /// Keeps the caller's session keyring.
    pub no_new_keyring: bool,
    /// How many descriptors from 3 on the process keeps, behind those that it serves.
    pub preserve_fds: u32,
    /// How many descriptors from 3 on are sockets to serve (sd_listen_fds(3)).
    pub listen_fds: u32,
    /// The socket of a service manager that is told when the container is ready (sd_notify(3)): a
    /// path, or `@` and an abstract name.
    pub notify_socket: Option<OsString>,
    /// Starts the container at once, from this process: `run`.
    pub start: bool,
    /// Nobody here will serve a terminal: `create`, `run --detach`.
    pub detached: bool,
    /// Who makes its cgroup.
    pub manager: Manager,
}

impl Request {
    /// How many descriptors from 3 on the process keeps in all.
    pub(super) fn kept_fds(&self) -> u32 {
        self.listen_fds.saturating_add(self.preserve_fds)
    }
}
