//! `/linux/namespaces` → how the first process is made.

use std::ffi::{CStr, CString};
use std::fmt::{self, Write};

use super::cstring;
use crate::config::{self, NamespaceKind};
use crate::error::{Error, Result};

/// The namespaces of the container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Namespaces {
    /// `CLONE_NEW*` of those to make.
    pub new: u64,
    /// Those to join. A mount namespace is treated as a new one is: the container's root becomes
    /// the root of whatever runs there, as with runc.
    pub join: Vec<Join>,
    /// The id maps of a new user namespace.
    pub id_maps: Option<IdMaps>,
    /// What is written to timens_offsets of a new time namespace (time_namespaces(7)).
    pub clock_offsets: Option<CString>,
    /// File systems that only the owner of a namespace may mount, which root of the new user
    /// namespace is not: they are made before that is entered.
    pub outside: Vec<&'static CStr>,
}

/// A namespace to join.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Join {
    /// `CLONE_NEW*` of its type.
    pub kind: u64,
    /// The file that stands for it.
    pub path: CString,
    /// Its index in `/linux/namespaces`.
    pub index: usize,
}

/// What is written to uid_map and gid_map (user_namespaces(7)).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IdMaps {
    /// Lines of uid_map.
    pub uids: Vec<IdMap>,
    /// Lines of gid_map.
    pub gids: Vec<IdMap>,
}

/// One line of an id map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdMap {
    /// First id in the container.
    pub container: u32,
    /// First id on the host.
    pub host: u32,
    /// How many.
    pub size: u32,
}

impl From<&config::IdMapping> for IdMap {
    fn from(map: &config::IdMapping) -> Self {
        Self { container: map.container_id, host: map.host_id, size: map.size }
    }
}

/// Every kind, its flag and its name in config.json, which is also its short name in
/// `/proc/PID/ns` but for two.
pub const KINDS: [(NamespaceKind, u64, &str); 8] = [
    (NamespaceKind::Pid, flag(libc::CLONE_NEWPID), "pid"),
    (NamespaceKind::Network, flag(libc::CLONE_NEWNET), "network"),
    (NamespaceKind::Ipc, flag(libc::CLONE_NEWIPC), "ipc"),
    (NamespaceKind::Uts, flag(libc::CLONE_NEWUTS), "uts"),
    (NamespaceKind::Mount, flag(libc::CLONE_NEWNS), "mount"),
    (NamespaceKind::User, flag(libc::CLONE_NEWUSER), "user"),
    (NamespaceKind::Cgroup, flag(libc::CLONE_NEWCGROUP), "cgroup"),
    (NamespaceKind::Time, flag(libc::CLONE_NEWTIME), "time"),
];

/// A clone flag as the 64 bits of clone3(2).
#[allow(clippy::cast_sign_loss)] // no CLONE_NEW* has the sign bit
pub(super) const fn flag(value: i32) -> u64 {
    value as u64
}

/// The `CLONE_NEW*` flag of a kind.
pub fn flag_of(kind: NamespaceKind) -> u64 {
    KINDS.iter().find(|(known, ..)| *known == kind).map_or(0, |(_, flag, _)| *flag)
}

impl Namespaces {
    /// Whether the container has a namespace of this kind that is not the runtime's.
    pub fn has(&self, kind: NamespaceKind) -> bool {
        let flag = flag_of(kind);
        self.new & flag != 0 || self.join.iter().any(|join| join.kind == flag)
    }

    /// Whether a namespace of this kind is made for the container.
    pub fn makes(&self, kind: NamespaceKind) -> bool {
        self.new & flag_of(kind) != 0
    }
}

/// The id that is root's in a user namespace with these mappings: 0, or the first there is.
pub(super) fn root_of(mappings: &[config::IdMapping]) -> u32 {
    let maps_zero = mappings.iter().any(|map| map.container_id == 0);
    mappings.first().filter(|_| !maps_zero).map_or(0, |first| first.container_id)
}

/// Plans the namespaces of a specification.
pub(super) fn plan(linux: &config::Linux, mounts: &[config::Mount]) -> Result<Namespaces> {
    let mut plan = Namespaces::default();
    for (index, namespace) in linux.namespaces.iter().enumerate() {
        let kind = flag_of(namespace.kind);
        match namespace.path.as_deref().filter(|path| !path.is_empty()) {
            None => plan.new |= kind,
            Some(path) => plan.join.push(Join {
                kind,
                path: cstring(path, &format!("/linux/namespaces/{index}/path"))?,
                index,
            }),
        }
    }
    if plan.makes(NamespaceKind::User) {
        let uids = id_map(&linux.uid_mappings, "/linux/uidMappings")?;
        let gids = id_map(&linux.gid_mappings, "/linux/gidMappings")?;
        plan.id_maps = Some(IdMaps { uids, gids });
        for (kind, owner) in [
            (c"proc", NamespaceKind::Pid),
            (c"sysfs", NamespaceKind::Network),
            (c"mqueue", NamespaceKind::Ipc),
        ] {
            let asked = mounts.iter().any(|mount| {
                mount.kind.as_deref().is_some_and(|asked| asked.as_bytes() == kind.to_bytes())
            });
            if asked && !plan.makes(owner) {
                plan.outside.push(kind);
            }
        }
    }
    if plan.makes(NamespaceKind::Time) && !linux.time_offsets.is_empty() {
        let mut lines = String::new();
        for (clock, offset) in &linux.time_offsets {
            let _ = writeln!(lines, "{clock} {} {}", offset.secs, offset.nanosecs);
        }
        plan.clock_offsets = Some(cstring(&lines, "/linux/timeOffsets")?);
    }
    Ok(plan)
}

/// One of the two maps. The kernel takes it in one write of less than a page
/// (user_namespaces(7)), which ends before the number of lines does where ids are long.
fn id_map(mappings: &[config::IdMapping], pointer: &str) -> Result<Vec<IdMap>> {
    const PAGE: usize = 4096;
    let map: Vec<IdMap> = mappings.iter().map(IdMap::from).collect();
    let length: usize = map.iter().map(|line| line.to_string().len() + 1).sum();
    if length >= PAGE {
        return Err(Error::new("the id map is too long")
            .because(format!("{length} bytes"))
            .at(pointer, None)
            .help(format!("the kernel takes less than {PAGE} bytes; join ranges that adjoin")));
    }
    Ok(map)
}

/// As the kernel reads it: first id inside, first id outside, count.
impl fmt::Display for IdMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.container, self.host, self.size)
    }
}
