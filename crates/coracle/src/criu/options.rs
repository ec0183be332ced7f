//! What the caller of `checkpoint` and `restore` may choose.

use std::path::{Path, PathBuf};

use super::rpc;
use crate::config::Spec;

/// Where runc has CRIU look for a configuration that counts for every container.
const CONFIG: &str = "/etc/criu/runc.conf";

/// The annotation that names another.
const ANNOTATION: &str = "org.criu.config";

/// What `checkpoint` and `restore` have in common.
#[derive(Clone, Debug, Default)]
pub struct CriuOptions {
    /// The directory of the images; `checkpoint` in the working directory when empty.
    pub image_path: PathBuf,
    /// Where CRIU keeps its log and what it needs on the way; else with the images.
    pub work_path: Option<PathBuf>,
    /// TCP connections go with the container.
    pub tcp_established: bool,
    /// Unix sockets may be connected to what is outside.
    pub ext_unix_sk: bool,
    /// A terminal or session of the caller's may be used by the container.
    pub shell_job: bool,
    /// File locks go with the container.
    pub file_locks: bool,
    /// Images are relieved of what a later one has, too.
    pub auto_dedup: bool,
    /// Memory goes over when it is needed.
    pub lazy_pages: bool,
    /// The network namespace is not saved, and made empty.
    pub empty_network: bool,
    /// What CRIU does to cgroups; [`ManageCgroups::Soft`] if not said.
    pub manage_cgroups: Option<ManageCgroups>,
    /// How connections are kept quiet; CRIU's own way if not said.
    pub network_lock: Option<NetworkLock>,
}

/// What CRIU does to cgroups (criu(8), `--manage-cgroups`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ManageCgroups {
    /// Nothing.
    Ignore,
    /// Those that it makes get their limits back.
    Soft,
    /// All get their limits back.
    Full,
    /// As [`ManageCgroups::Full`], and none may exist before.
    Strict,
}

impl ManageCgroups {
    /// By its name.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "ignore" => Some(Self::Ignore),
            "soft" => Some(Self::Soft),
            "full" => Some(Self::Full),
            "strict" => Some(Self::Strict),
            _ => None,
        }
    }

    /// `criu_cg_mode`.
    fn number(self) -> i32 {
        match self {
            Self::Ignore => 0,
            Self::Soft => 3,
            Self::Full => 4,
            Self::Strict => 5,
        }
    }
}

/// How CRIU keeps connections quiet meanwhile (criu(8), `--network-lock`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NetworkLock {
    /// By rules of iptables.
    Iptables,
    /// By rules of nftables.
    Nftables,
    /// Not at all.
    Skip,
}

impl NetworkLock {
    /// By its name.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "iptables" => Some(Self::Iptables),
            "nftables" => Some(Self::Nftables),
            "skip" => Some(Self::Skip),
            _ => None,
        }
    }

    /// `criu_network_lock_method`.
    fn number(self) -> i32 {
        match self {
            Self::Iptables => 1,
            Self::Nftables => 2,
            Self::Skip => 3,
        }
    }
}

impl CriuOptions {
    /// In the words of the protocol, with what goes for every container. One that shares its cgroup
    /// has none to save: CRIU would take in all that are below it.
    pub(crate) fn to_rpc(&self, spec: &Spec, own_cgroup: bool) -> rpc::Options {
        #[allow(clippy::cast_possible_wrap)] // CLONE_NEWNET is positive
        let empty_ns = self.empty_network.then_some(libc::CLONE_NEWNET);
        let usual = if own_cgroup { ManageCgroups::Soft } else { ManageCgroups::Ignore };
        rpc::Options {
            tcp_established: self.tcp_established,
            ext_unix_sk: self.ext_unix_sk,
            shell_job: self.shell_job,
            file_locks: self.file_locks,
            auto_dedup: self.auto_dedup,
            lazy_pages: self.lazy_pages,
            empty_ns,
            manage_cgroups: true,
            manage_cgroups_mode: Some(self.manage_cgroups.unwrap_or(usual).number()),
            network_lock: self.network_lock.map(NetworkLock::number),
            config_file: config_file(spec),
            // All that helps to find out why it failed.
            log_level: Some(4),
            notify_scripts: true,
            orphan_pts_master: true,
            ..rpc::Options::default()
        }
    }
}

/// CRIU's own configuration for this container: the annotation's, where an empty one means none,
/// or the one for all.
fn config_file(spec: &Spec) -> Option<String> {
    match spec.annotations.get(ANNOTATION) {
        Some(named) => Some(named.clone()).filter(|path| !path.is_empty()),
        None => Path::new(CONFIG).exists().then(|| CONFIG.to_owned()),
    }
}
