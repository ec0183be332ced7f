//! `pause` and `resume`.

use super::state::{Status, status};
use crate::cgroup::Cgroup;
use crate::error::{Error, Kind, Result};
use crate::store::Store;

/// Stops all processes of a container, and returns when they have stopped. They notice nothing.
///
/// # Errors
/// [`Kind::State`] with the words `container not running` unless it is created or running.
pub fn pause(store: &Store, id: &str) -> Result<()> {
    let entry = store.open(id)?;
    let record = entry.read()?;
    match status(&entry, &record) {
        Status::Created | Status::Running => {}
        other => return Err(not("container not running", other)),
    }
    Cgroup::from_paths(&record.cgroup_paths).freeze()
}

/// Lets them go on.
///
/// # Errors
/// [`Kind::State`] with the words `container not paused` unless it is.
pub fn resume(store: &Store, id: &str) -> Result<()> {
    let entry = store.open(id)?;
    let record = entry.read()?;
    match status(&entry, &record) {
        Status::Paused => {}
        other => return Err(not("container not paused", other)),
    }
    Cgroup::from_paths(&record.cgroup_paths).thaw()
}

/// The container is in no state for it.
pub(super) fn not(words: &'static str, status: Status) -> Error {
    Error::new(words).because(format!("it is {status}")).kind(Kind::State)
}
