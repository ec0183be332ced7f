//! `/linux/namespaces` → how the first process is made.

use std::ffi::CString;
use std::fmt::Write;

use super::cstring;
use crate::config::{self, NamespaceKind};
use crate::error::Result;

/// The namespaces of the container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Namespaces {
    /// `CLONE_NEW*` of those to make.
    pub new: u64,
    /// Those to join.
    pub join: Vec<Join>,
    /// The id maps of a new user namespace.
    pub id_maps: Option<IdMaps>,
    /// What is written to timens_offsets of a new time namespace (time_namespaces(7)).
    pub time_offsets: Option<String>,
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
const fn flag(value: i32) -> u64 {
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

/// Plans the namespaces of a specification.
pub(super) fn plan(linux: &config::Linux) -> Result<Namespaces> {
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
        let lines = |mappings: &[config::IdMapping]| {
            mappings
                .iter()
                .map(|m| IdMap { container: m.container_id, host: m.host_id, size: m.size })
                .collect()
        };
        plan.id_maps =
            Some(IdMaps { uids: lines(&linux.uid_mappings), gids: lines(&linux.gid_mappings) });
    }
    if plan.makes(NamespaceKind::Time) && !linux.time_offsets.is_empty() {
        let mut lines = String::new();
        for (clock, offset) in &linux.time_offsets {
            let _ = writeln!(lines, "{clock} {} {}", offset.secs, offset.nanosecs);
        }
        plan.time_offsets = Some(lines);
    }
    Ok(plan)
}
