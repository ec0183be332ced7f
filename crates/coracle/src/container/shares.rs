//! `update --l3-cache-schema` and `--mem-bw-schema`.

use serde_json::Value;

use super::pause::not;
use super::state::{Status, status};
use super::update::member;
use crate::cgroup::Cgroup;
use crate::config::{self, IntelRdt};
use crate::error::{Error, Result};
use crate::resctrl::{self, Resctrl, Wanted};
use crate::store::{Record, Store};

/// Changes what a container may use of cache and memory bandwidth, by lines for `schemata`. One
/// that has no group of resctrl yet gets one.
///
/// # Errors
/// [`Kind::State`](crate::Kind::State) with the words `container not running` if it has ended. After
/// any error, the shares are as they were.
pub fn update_shares(
    store: &Store,
    id: &str,
    cache: Option<&str>,
    bandwidth: Option<&str>,
) -> Result<()> {
    let entry = store.open(id)?;
    entry.lock()?;
    let mut record = entry.read()?;
    match status(&entry, &record) {
        // This command's own lock makes a created one look as if somebody were at it.
        Status::Creating | Status::Created | Status::Running | Status::Paused => {}
        other @ Status::Stopped => return Err(not("container not running", other)),
    }
    let asked = IntelRdt {
        l3_cache_schema: cache.map(str::to_owned),
        mem_bw_schema: bandwidth.map(str::to_owned),
        ..IntelRdt::default()
    };
    let wanted = Wanted::new(&asked);
    match record.resctrl() {
        Some((group, _)) => resctrl::rewrite(group, &wanted),
        None => join(&mut record, &wanted),
    }
    .map_err(|error| error.in_file("update"))?;

    let mut stored: Value = config::parse(&entry.read_config()?, "config.json")?;
    let kept = member(member(&mut stored, "linux"), "intelRdt");
    for (key, line) in [("l3CacheSchema", cache), ("memBwSchema", bandwidth)] {
        if let Some(line) = line {
            *member(kept, key) = line.into();
        }
    }
    let bytes = serde_json::to_vec(&stored)
        .map_err(|error| Error::new("encoding the configuration").because(error.to_string()))?;
    entry.write_config(&bytes)?;
    entry.write(&record)
}

/// Makes a group for the container alone and puts all its processes into it.
fn join(record: &mut Record, wanted: &Wanted) -> Result<()> {
    let mut group = Resctrl::find()?.group(wanted, &record.id);
    let mut fill = || -> Result<()> {
        group.make()?;
        group.write_schemata()?;
        group.enter(record.init_process_pid)?;
        for pid in Cgroup::from_paths(&record.cgroup_paths).procs()? {
            // One that has ended meanwhile needs no share.
            let _ = group.enter(pid.as_raw_nonzero().get().unsigned_abs());
        }
        Ok(())
    };
    if let Err(error) = fill() {
        group.undo();
        return Err(error);
    }
    record.intel_rdt_path = group.directory().display().to_string();
    record.options.own_resctrl = true;
    Ok(())
}
