//! What planning a mount has to know beside the mount.

use std::path::Path;

use super::Host;
use super::namespaces::Namespaces;
use crate::{cgroup, config};

/// What mounts depend on beside themselves.
pub(super) struct Around<'a> {
    /// The directory of the bundle.
    pub(super) bundle: &'a Path,
    /// The host.
    pub(super) host: &'a Host,
    /// The container's cgroup.
    pub(super) cgroup: &'a cgroup::Location,
    /// The container's namespaces.
    pub(super) namespaces: &'a Namespaces,
    /// The rest of `/linux`.
    pub(super) linux: &'a config::Linux,
}
