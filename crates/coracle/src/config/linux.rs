//! What only Linux has (config-linux.md), but for cgroups and seccomp.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::json::{absent, is_absent, map, names, objects, text};
use super::{Resources, Seccomp};

/// What only Linux has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self", rename_all = "camelCase")]
pub struct Linux {
    /// The user IDs of a new user namespace.
    #[serde(default, deserialize_with = "absent", skip_serializing_if = "is_absent")]
    pub uid_mappings: Vec<IdMapping>,
    /// The group IDs of a new user namespace.
    #[serde(default, deserialize_with = "absent", skip_serializing_if = "is_absent")]
    pub gid_mappings: Vec<IdMapping>,
    /// Kernel parameters to set, by dotted name (sysctl(8)).
    #[serde(default, deserialize_with = "map", skip_serializing_if = "is_absent")]
    pub sysctl: BTreeMap<String, String>,
    /// The cgroup's limits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
    /// The cgroup: absolute is from the cgroup mount point, relative from where the runtime
    /// chooses; for systemd `SLICE:PREFIX:NAME`.
    #[serde(default, deserialize_with = "text", skip_serializing_if = "Option::is_none")]
    pub cgroups_path: Option<String>,
    /// Namespaces to make or join; those not named are the runtime's own.
    #[serde(default, deserialize_with = "absent", skip_serializing_if = "is_absent")]
    pub namespaces: Vec<Namespace>,
    /// Device nodes besides the default ones.
    #[serde(default, deserialize_with = "absent", skip_serializing_if = "is_absent")]
    pub devices: Vec<Device>,
    /// Network devices to move into the container, by their name on the host.
    #[serde(default, deserialize_with = "map", skip_serializing_if = "is_absent")]
    pub net_devices: BTreeMap<String, NetDevice>,
    /// The system call filter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seccomp: Option<Seccomp>,
    /// How mounts below the root spread to and from the host.
    #[serde(
        default,
        deserialize_with = "super::json::name_or_empty",
        skip_serializing_if = "Option::is_none"
    )]
    pub rootfs_propagation: Option<RootfsPropagation>,
    /// Absolute paths in the container that cannot be read.
    #[serde(default, deserialize_with = "absent", skip_serializing_if = "is_absent")]
    pub masked_paths: Vec<String>,
    /// Absolute paths in the container that are read-only.
    #[serde(default, deserialize_with = "absent", skip_serializing_if = "is_absent")]
    pub readonly_paths: Vec<String>,
    /// The `SELinux` context of the container's mounts.
    #[serde(default, deserialize_with = "text", skip_serializing_if = "Option::is_none")]
    pub mount_label: Option<String>,
    /// Shares of cache and memory bandwidth (resctrl).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub intel_rdt: Option<IntelRdt>,
    /// The NUMA memory policy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_policy: Option<MemoryPolicy>,
    /// The execution domain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub personality: Option<Personality>,
    /// What a new time namespace's clocks differ by.
    #[serde(default, deserialize_with = "map", skip_serializing_if = "is_absent")]
    pub time_offsets: BTreeMap<Clock, TimeOffset>,
}

impl Linux {
    /// The namespace of a kind to make or join; without, it is the runtime's own.
    pub fn namespace(&self, kind: NamespaceKind) -> Option<&Namespace> {
        self.namespaces.iter().find(|namespace| namespace.kind == kind)
    }
}

/// A range of IDs (`user_namespaces(7)`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub struct IdMapping {
    /// The first ID in the container.
    #[serde(rename = "containerID")]
    pub container_id: u32,
    /// The first ID on the host.
    #[serde(rename = "hostID")]
    pub host_id: u32,
    /// How many.
    pub size: u32,
}

/// A namespace to make, or to join at a path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self", rename_all = "camelCase")]
pub struct Namespace {
    /// What it isolates.
    #[serde(rename = "type")]
    pub kind: NamespaceKind,
    /// The namespace to join, an absolute path on the host; without, a new one is made.
    #[serde(default, deserialize_with = "text", skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
}

/// What a namespace isolates (namespaces(7)).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(remote = "Self", rename_all = "lowercase")]
pub enum NamespaceKind {
    /// Process IDs.
    Pid,
    /// Network devices, addresses, ports.
    Network,
    /// Mount points.
    Mount,
    /// System V IPC and POSIX message queues.
    Ipc,
    /// The host and the NIS domain name.
    Uts,
    /// User and group IDs, and what capabilities are good for.
    User,
    /// The root of the visible cgroup hierarchy.
    Cgroup,
    /// Boot and monotonic clocks.
    Time,
}

impl NamespaceKind {
    /// Its name in config.json.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pid => "pid",
            Self::Network => "network",
            Self::Mount => "mount",
            Self::Ipc => "ipc",
            Self::Uts => "uts",
            Self::User => "user",
            Self::Cgroup => "cgroup",
            Self::Time => "time",
        }
    }
}

impl fmt::Display for NamespaceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A device node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self", rename_all = "camelCase")]
pub struct Device {
    /// Where, an absolute path in the container.
    pub path: String,
    /// What it is.
    #[serde(rename = "type")]
    pub kind: DeviceKind,
    /// The major number; a FIFO has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub major: Option<i64>,
    /// The minor number; a FIFO has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub minor: Option<i64>,
    /// The permission bits. Some engines add the bits of the file's type.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file_mode: Option<u32>,
    /// The owner, an ID in the container.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// The group, an ID in the container.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gid: Option<u32>,
}

/// What a device node is, by its letter in mknod(1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub enum DeviceKind {
    /// A block device.
    #[serde(rename = "b")]
    Block,
    /// A character device.
    #[serde(rename = "c")]
    Char,
    /// An unbuffered character device, to the kernel the same.
    #[serde(rename = "u")]
    Unbuffered,
    /// A FIFO.
    #[serde(rename = "p")]
    Fifo,
}

/// A network device to move into the container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self", rename_all = "camelCase")]
pub struct NetDevice {
    /// Its name there; without, that on the host.
    #[serde(default, deserialize_with = "text", skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// How mounts spread (`mount_namespaces(7)`); with an `r`, those below as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self", rename_all = "lowercase")]
pub enum RootfsPropagation {
    /// Both ways.
    Shared,
    /// Both ways, below as well.
    RShared,
    /// From the host to the container.
    Slave,
    /// From the host to the container, below as well.
    RSlave,
    /// Not at all.
    Private,
    /// Not at all, below as well.
    RPrivate,
    /// Not at all, and not to be bound elsewhere.
    Unbindable,
    /// Not at all, and not to be bound elsewhere, below as well.
    RUnbindable,
}

/// Shares of cache and memory bandwidth (resctrl).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self", rename_all = "camelCase")]
pub struct IntelRdt {
    /// The class of service: a directory of resctrl, `/` being the default one; without, one is
    /// made for the container.
    #[serde(
        rename = "closID",
        default,
        deserialize_with = "text",
        skip_serializing_if = "Option::is_none"
    )]
    pub clos_id: Option<String>,
    /// Lines of the `schemata` file, after the two below.
    #[serde(default, deserialize_with = "absent", skip_serializing_if = "is_absent")]
    pub schemata: Vec<String>,
    /// The line for the level 3 cache.
    #[serde(default, deserialize_with = "text", skip_serializing_if = "Option::is_none")]
    pub l3_cache_schema: Option<String>,
    /// The line for memory bandwidth.
    #[serde(default, deserialize_with = "text", skip_serializing_if = "Option::is_none")]
    pub mem_bw_schema: Option<String>,
    /// Whether the container gets a monitoring group.
    #[serde(default, deserialize_with = "absent", skip_serializing_if = "is_absent")]
    pub enable_monitoring: bool,
}

/// A NUMA memory policy (`set_mempolicy(2)`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self", rename_all = "camelCase")]
pub struct MemoryPolicy {
    /// The mode.
    pub mode: MemoryPolicyMode,
    /// Memory nodes, a list such as `0-3,7`.
    #[serde(default, deserialize_with = "text", skip_serializing_if = "Option::is_none")]
    pub nodes: Option<String>,
    /// Flags of the mode.
    #[serde(default, deserialize_with = "absent", skip_serializing_if = "is_absent")]
    pub flags: Vec<MemoryPolicyFlag>,
}

/// A mode of `set_mempolicy(2)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub enum MemoryPolicyMode {
    /// The system's default; no nodes.
    #[serde(rename = "MPOL_DEFAULT")]
    Default,
    /// Only from these nodes.
    #[serde(rename = "MPOL_BIND")]
    Bind,
    /// In turn from these nodes.
    #[serde(rename = "MPOL_INTERLEAVE")]
    Interleave,
    /// In turn from these nodes, by their weight.
    #[serde(rename = "MPOL_WEIGHTED_INTERLEAVE")]
    WeightedInterleave,
    /// From the first of these nodes if it can be.
    #[serde(rename = "MPOL_PREFERRED")]
    Preferred,
    /// From these nodes if it can be.
    #[serde(rename = "MPOL_PREFERRED_MANY")]
    PreferredMany,
    /// From the node that the CPU belongs to; no nodes.
    #[serde(rename = "MPOL_LOCAL")]
    Local,
}

/// A flag of `set_mempolicy(2)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub enum MemoryPolicyFlag {
    /// The kernel may move pages nearer to their user.
    #[serde(rename = "MPOL_F_NUMA_BALANCING")]
    NumaBalancing,
    /// The nodes count within those that the cpuset allows.
    #[serde(rename = "MPOL_F_RELATIVE_NODES")]
    RelativeNodes,
    /// The nodes are not remapped when the cpuset changes.
    #[serde(rename = "MPOL_F_STATIC_NODES")]
    StaticNodes,
}

/// An execution domain (personality(2)).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self", rename_all = "camelCase")]
pub struct Personality {
    /// The domain.
    pub domain: PersonalityDomain,
    /// Flags; the specification knows none yet.
    #[serde(default, deserialize_with = "absent", skip_serializing_if = "is_absent")]
    pub flags: Vec<String>,
}

/// The domain of a personality.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self", rename_all = "UPPERCASE")]
pub enum PersonalityDomain {
    /// The machine's own.
    Linux,
    /// uname(2) names a 32-bit machine.
    Linux32,
}

/// A clock of a time namespace (`time_namespaces(7)`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(remote = "Self", rename_all = "lowercase")]
pub enum Clock {
    /// Since boot, time asleep included.
    Boottime,
    /// Since boot.
    Monotonic,
}

impl fmt::Display for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Boottime => "boottime",
            Self::Monotonic => "monotonic",
        })
    }
}

/// What a clock of the container is ahead of the host's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self", rename_all = "camelCase")]
pub struct TimeOffset {
    /// Seconds.
    #[serde(default, deserialize_with = "absent", skip_serializing_if = "is_absent")]
    pub secs: i64,
    /// Nanoseconds, added to the seconds.
    #[serde(default, deserialize_with = "absent", skip_serializing_if = "is_absent")]
    pub nanosecs: u32,
}

objects!(
    Linux,
    IdMapping,
    Namespace,
    Device,
    NetDevice,
    IntelRdt,
    MemoryPolicy,
    Personality,
    TimeOffset,
);
names!(
    NamespaceKind,
    DeviceKind,
    RootfsPropagation,
    MemoryPolicyMode,
    MemoryPolicyFlag,
    PersonalityDomain,
    Clock
);
