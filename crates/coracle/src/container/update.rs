//! `update`.

use serde_json::{Map, Value};

use super::pause::not;
use super::place::cgroup_of;
use super::state::{Status, status};
use crate::cgroup::Limits;
use crate::config::{self, Resources, Spec};
use crate::error::{Error, Result};
use crate::store::{Entry, Record, Store};

/// Changes the limits of a container that has not ended. What `changes` leaves out stays as it is,
/// and so do devices. The configuration that is kept with the container is changed too.
///
/// # Errors
/// [`Kind::State`](crate::Kind::State) with the words `container not running` if it has ended. After
/// any error, all limits are as they were.
pub fn update(store: &Store, id: &str, changes: &Resources) -> Result<()> {
    let entry = store.open(id)?;
    let record = entry.read()?;
    match status(&entry, &record) {
        Status::Created | Status::Running | Status::Paused => {}
        other => return Err(not("container not running", other)),
    }
    entry.lock()?;
    // What is wrong is wrong with the changes, whose names are the same.
    change(&entry, &record, changes).map_err(|error| error.in_file("update"))
}

fn change(entry: &Entry, record: &Record, changes: &Resources) -> Result<()> {
    let mut stored: Value = config::parse(&entry.read_config()?, "config.json")?;
    let changes = complete(changes);
    let added = serde_json::to_value(&changes).map_err(|error| encoding(&error))?;
    merge(member(member(&mut stored, "linux"), "resources"), added);
    let bytes = serde_json::to_vec(&stored).map_err(|error| encoding(&error))?;
    let spec = Spec::parse(&bytes)?;
    let resources = spec.linux.and_then(|linux| linux.resources).unwrap_or_default();
    config::check_resources(&resources, "/linux/resources")?;

    let cgroup = cgroup_of(record);
    let limits = Limits::new(&changed(changes, &resources), |name| cgroup.version(name))?;
    cgroup.update_limits(&limits)?;
    entry.write_config(&bytes)
}

/// The changes with what they imply.
fn complete(changes: &Resources) -> Resources {
    let mut changes = changes.clone();
    changes.devices.clear();
    // A limit of memory and swap together does not outlive that of memory.
    if let Some(memory) = &mut changes.memory
        && memory.limit == Some(-1)
        && memory.swap.is_none_or(|swap| swap == 0)
    {
        memory.swap = Some(-1);
    }
    changes
}

/// The changes with the values beside them that go into the same file, or that they are counted
/// from, on version 2.
fn changed(mut changes: Resources, all: &Resources) -> Resources {
    if let (Some(memory), Some(all)) = (&mut changes.memory, &all.memory) {
        if memory.limit.is_some() || memory.swap.is_some() {
            (memory.limit, memory.swap) = (all.limit, all.swap);
        }
        memory.check_before_update = all.check_before_update;
    }
    if let (Some(cpu), Some(all)) = (&mut changes.cpu, &all.cpu)
        && (cpu.quota.is_some() || cpu.period.is_some())
    {
        (cpu.quota, cpu.period) = (all.quota, all.period);
    }
    changes
}

/// A member of an object, made as needed.
pub(super) fn member<'a>(value: &'a mut Value, key: &str) -> &'a mut Value {
    let object = match value {
        Value::Object(object) => object,
        other => {
            *other = Value::Object(Map::new());
            return member(other, key);
        }
    };
    object.entry(key).or_insert(Value::Null)
}

/// Puts one JSON value over another: objects member by member, all else as a whole. Keys that the
/// specification does not know stay.
fn merge(under: &mut Value, over: Value) {
    match (under, over) {
        (Value::Object(under), Value::Object(over)) => {
            for (key, value) in over {
                merge(under.entry(key).or_insert(Value::Null), value);
            }
        }
        (under, over) => *under = over,
    }
}

fn encoding(error: &serde_json::Error) -> Error {
    Error::new("encoding the configuration").because(error.to_string())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn resources(value: Value) -> Resources {
        serde_json::from_value(value).unwrap_or_default()
    }

    #[test]
    fn changes_go_over_what_was_there() {
        let mut stored = json!({"linux": {"resources": {
            "memory": {"limit": 5, "x": 1}, "unknown": true, "hugepageLimits": [1, 2],
        }}});
        let changes = json!({"memory": {"limit": 6}, "hugepageLimits": [3], "pids": {"limit": 1}});
        merge(member(member(&mut stored, "linux"), "resources"), changes);
        let expected = json!({"linux": {"resources": {
            "memory": {"limit": 6, "x": 1}, "unknown": true, "hugepageLimits": [3],
            "pids": {"limit": 1},
        }}});
        assert_eq!(stored, expected);

        let mut empty = json!({"linux": null});
        merge(member(member(&mut empty, "linux"), "resources"), json!({"pids": {"limit": 1}}));
        assert_eq!(empty, json!({"linux": {"resources": {"pids": {"limit": 1}}}}));
    }

    #[test]
    fn no_limit_of_memory_means_none_of_swap() {
        let memory = |value| complete(&resources(json!({"memory": value}))).memory;
        assert_eq!(memory(json!({"limit": -1})).and_then(|memory| memory.swap), Some(-1));
        assert_eq!(memory(json!({"limit": -1, "swap": 7})).and_then(|memory| memory.swap), Some(7));
        assert_eq!(memory(json!({"limit": 5})).and_then(|memory| memory.swap), None);
    }

    #[test]
    fn what_is_written_together_is_taken_together() {
        let all = resources(json!({
            "memory": {"limit": 5, "swap": 9, "reservation": 2}, "cpu": {"quota": 7, "period": 8, "shares": 3},
        }));
        let cut = |value| changed(resources(value), &all);
        let memory = cut(json!({"memory": {"swap": 9}})).memory.unwrap_or_default();
        assert_eq!((memory.limit, memory.swap, memory.reservation), (Some(5), Some(9), None));
        let cpu = cut(json!({"cpu": {"period": 8}})).cpu.unwrap_or_default();
        assert_eq!((cpu.quota, cpu.period, cpu.shares), (Some(7), Some(8), None));
        let cpu = cut(json!({"cpu": {"shares": 3}})).cpu.unwrap_or_default();
        assert_eq!((cpu.quota, cpu.period), (None, None));
    }
}
