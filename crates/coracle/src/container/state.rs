//! `state` and `list`.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use crate::cgroup::Cgroup;
use crate::config::VERSION;
use crate::error::Result;
use crate::store::{self, Entry, Record, Store};

/// Where a container is in its life (runtime.md, "State").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Being made.
    Creating,
    /// Made; its program was not started.
    Created,
    /// Its program runs.
    Running,
    /// Its processes are frozen.
    Paused,
    /// Its first process has ended.
    Stopped,
}

impl Status {
    /// The name in JSON and tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Creating => "creating",
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The state of a container, as `state` prints it: the specification's keys, and runc's.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct State {
    /// The version of the specification that this follows.
    pub oci_version: &'static str,
    /// The container's ID.
    pub id: String,
    /// The first process's id on the host; 0 when it has ended.
    pub pid: u32,
    /// Where it is in its life.
    pub status: Status,
    /// The bundle's directory.
    pub bundle: String,
    /// The root file system.
    pub rootfs: String,
    /// When it was made, in RFC 3339, UTC.
    pub created: String,
    /// The annotations of its configuration.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// The unit of systemd that is its cgroup: crun's.
    #[serde(rename = "systemd-scope", skip_serializing_if = "Option::is_none")]
    pub systemd_scope: Option<String>,
    /// The user who owns it; `list` fills it in.
    pub owner: String,
}

/// The state of one container.
pub fn state(store: &Store, id: &str) -> Result<State> {
    let entry = store.open(id)?;
    let record = entry.read()?;
    let status = status(&entry, &record);
    Ok(describe(&record, status))
}

/// The states of all containers, in the order of their IDs. What cannot be read is passed over,
/// and told to `warn`.
pub fn list(store: &Store, mut warn: impl FnMut(&str)) -> Result<Vec<State>> {
    let mut states = Vec::new();
    for id in store.ids()? {
        let one = store.open(&id).and_then(|entry| {
            let record = entry.read()?;
            let mut state = describe(&record, status(&entry, &record));
            state.owner = owner(&entry);
            Ok(state)
        });
        match one {
            Ok(state) => states.push(state),
            Err(error) => warn(&error.to_string()),
        }
    }
    Ok(states)
}

/// Where a container is in its life, by what the kernel says of its first process.
pub(super) fn status(entry: &Entry, record: &Record) -> Status {
    let alive = record.init_process_pid != 0
        && store::process_start(record.init_process_pid) == Some(record.init_process_start);
    if !alive {
        let making = record.init_process_pid == 0 && entry.is_locked();
        return if making { Status::Creating } else { Status::Stopped };
    }
    // A created one can be paused, too.
    if Cgroup::from_paths(&record.cgroup_paths).frozen().unwrap_or(false) {
        return Status::Paused;
    }
    if entry.awaits_start() {
        return if entry.is_locked() { Status::Creating } else { Status::Created };
    }
    Status::Running
}

fn describe(record: &Record, status: Status) -> State {
    let annotations = record.annotations();
    State {
        oci_version: VERSION,
        id: record.id.clone(),
        pid: if status == Status::Stopped { 0 } else { record.init_process_pid },
        status,
        bundle: record.bundle().to_owned(),
        rootfs: record.config.rootfs.clone(),
        created: record.created.clone(),
        annotations: annotations.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect(),
        systemd_scope: Some(record.systemd_scope.clone()).filter(|name| !name.is_empty()),
        owner: String::new(),
    }
}

/// The name of the user whose container it is, or `#uid` if there is none.
fn owner(entry: &Entry) -> String {
    let Ok(stat) = rustix::fs::fstat(entry.directory()) else { return String::new() };
    let table = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let name = table.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(stat.st_uid)).then(|| name.to_owned())
    });
    name.unwrap_or_else(|| format!("#{}", stat.st_uid))
}

/// The state of a container as the specification has it (runtime.md, "State"): what hooks read from
/// their standard input, and part of what a seccomp listener is sent.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct HookState<'a> {
    oci_version: &'static str,
    id: &'a str,
    status: &'a str,
    #[serde(skip_serializing_if = "is_zero")]
    pid: u32,
    bundle: &'a str,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<&'a str, &'a str>,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // as serde calls it
fn is_zero(pid: &u32) -> bool {
    *pid == 0
}

/// The state of a container with this status and first process.
pub(super) fn hook_state<'a>(record: &'a Record, status: &'a str, pid: u32) -> HookState<'a> {
    HookState {
        oci_version: VERSION,
        id: &record.id,
        status,
        pid,
        bundle: record.bundle(),
        annotations: record.annotations(),
    }
}

impl HookState<'_> {
    /// As JSON.
    pub(super) fn to_json(&self) -> Vec<u8> {
        // A map of strings always encodes.
        serde_json::to_vec(self).unwrap_or_default()
    }
}
