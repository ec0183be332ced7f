//! `ps`.

use super::pause::not;
use super::state::{Status, status};
use crate::cgroup::Cgroup;
use crate::error::{Error, Kind, Result};
use crate::store::Store;

/// The processes of a container, by their ids in the caller's pid namespace, in the kernel's order.
///
/// # Errors
/// [`Kind::State`] with the words `container not running` if it has ended, and left no processes
/// that live on.
pub fn processes(store: &Store, id: &str) -> Result<Vec<i32>> {
    let entry = store.open(id)?;
    let record = entry.read()?;
    let status = status(&entry, &record);
    let cgroup = Cgroup::from_paths(&record.cgroup_paths);
    let pids = cgroup.procs()?;
    if pids.is_empty() && status == Status::Stopped {
        return Err(not("container not running", status));
    }
    if cgroup.is_absent() {
        return Err(Error::new("the container has no cgroup to count its processes in")
            .kind(Kind::State)
            .help("have a part of the cgroup tree delegated to your user"));
    }
    Ok(pids.into_iter().map(|pid| pid.as_raw_nonzero().get()).collect())
}
