//! Namespaces, and what needs one of its own (config-linux.md).

use std::collections::BTreeMap;

use super::place::{Place, absolute, no_nul};
use crate::config::{Clock, IdMapping, Linux, NamespaceKind, NetDevice, Spec, TimeOffset, User};
use crate::error::Result;

/// As many ranges of IDs a user namespace can have (`user_namespaces(7)`).
const MOST_MAPPINGS: usize = 340;

pub(super) fn check(place: &Place<'_>, spec: &Spec) -> Result<()> {
    if let Some(linux) = &spec.linux {
        let place = place.key("linux");
        list(&place.key("namespaces"), linux)?;
    }
    names(place, spec)?;
    let user = spec.process.as_ref().map(|process| &process.user);
    let place_of_user = place.key("process");
    let place_of_user = place_of_user.key("user");
    let place = place.key("linux");
    if let Some(linux) = &spec.linux {
        ids(&place, linux)?;
        if let Some(user) = user {
            mapped(&place_of_user, user, linux)?;
        }
        time(&place, linux)?;
        devices(&place.key("netDevices"), linux, &linux.net_devices)?;
    }
    // Every mount would be the host's.
    if spec.namespace(NamespaceKind::Mount).is_none() {
        return Err(place
            .key("namespaces")
            .missing("a container needs a mount namespace")
            .help("add {\"type\": \"mount\"}"));
    }
    Ok(())
}

/// The host name and the domain name, which are the host's without a UTS namespace.
fn names(place: &Place<'_>, spec: &Spec) -> Result<()> {
    for (key, name) in [("hostname", &spec.hostname), ("domainname", &spec.domainname)] {
        let (place, Some(name)) = (place.key(key), name) else { continue };
        no_nul(&place, name)?;
        if spec.namespace(NamespaceKind::Uts).is_none() {
            return Err(place
                .refuse(name, format!("unable to set {key} without a private UTS namespace"))
                .help("add {\"type\": \"uts\"} to /linux/namespaces"));
        }
        if name.len() > 64 {
            return Err(place
                .refuse(name, "the name is too long")
                .help("the kernel keeps up to 64 bytes"));
        }
    }
    Ok(())
}

fn list(place: &Place<'_>, linux: &Linux) -> Result<()> {
    for (i, namespace) in linux.namespaces.iter().enumerate() {
        let place = place.index(i);
        if linux.namespaces[..i].iter().any(|other| other.kind == namespace.kind) {
            return Err(place
                .key("type")
                .refuse(&namespace.kind, "this namespace appears twice")
                .help("keep one of the two"));
        }
        if let Some(path) = &namespace.path {
            absolute(&place.key("path"), path)?;
        }
    }
    Ok(())
}

/// The mappings of a user namespace. To one that is joined they may be told, as engines do; those
/// that it has are used.
fn ids(place: &Place<'_>, linux: &Linux) -> Result<()> {
    let namespace = linux.namespace(NamespaceKind::User);
    for (key, list) in [("uidMappings", &linux.uid_mappings), ("gidMappings", &linux.gid_mappings)]
    {
        let place = place.key(key);
        match namespace {
            None if !list.is_empty() => {
                return Err(place
                    .refuse(list, "IDs are mapped, but there is no user namespace")
                    .help("add {\"type\": \"user\"} to /linux/namespaces"));
            }
            Some(namespace) if namespace.path.is_none() && list.is_empty() => {
                return Err(place
                    .missing(format!("a new user namespace needs {key}"))
                    .help("such as {\"containerID\": 0, \"hostID\": 100000, \"size\": 65536}"));
            }
            _ => mappings(&place, list)?,
        }
    }
    Ok(())
}

/// What the kernel would refuse of an `uid_map` or `gid_map`.
pub(super) fn mappings(place: &Place<'_>, mappings: &[IdMapping]) -> Result<()> {
    if mappings.len() > MOST_MAPPINGS {
        return Err(place
            .missing("too many ranges of IDs")
            .help(format!("the kernel takes up to {MOST_MAPPINGS}")));
    }
    for (i, mapping) in mappings.iter().enumerate() {
        let place = place.index(i);
        if mapping.size == 0 {
            return Err(place
                .key("size")
                .refuse(&mapping.size, "the range of IDs is empty")
                .help("size is how many IDs are mapped"));
        }
        let ends = |id: u32| id.checked_add(mapping.size).is_some();
        if !ends(mapping.container_id) || !ends(mapping.host_id) {
            return Err(place
                .refuse(mapping, "the range goes beyond the greatest ID")
                .help("IDs go up to 4294967294"));
        }
        let overlaps = |of: fn(&IdMapping) -> u32| {
            mappings[..i].iter().any(|other| {
                of(other) < of(mapping) + mapping.size && of(mapping) < of(other) + other.size
            })
        };
        if overlaps(|mapping| mapping.container_id) {
            return Err(place
                .refuse(mapping, "an ID of the container is mapped twice")
                .help("ranges must not overlap"));
        }
        if overlaps(|mapping| mapping.host_id) {
            return Err(place
                .refuse(mapping, "an ID of the host is mapped twice")
                .help("ranges must not overlap"));
        }
    }
    Ok(())
}

/// In a new user namespace, the process can only have IDs that exist there.
fn mapped(place: &Place<'_>, user: &User, linux: &Linux) -> Result<()> {
    if linux.namespace(NamespaceKind::User).is_none_or(|namespace| namespace.path.is_some()) {
        return Ok(());
    }
    let exists = |list: &[IdMapping], id: u32| {
        list.iter().any(|mapping| {
            id.checked_sub(mapping.container_id).is_some_and(|offset| offset < mapping.size)
        })
    };
    if !exists(&linux.uid_mappings, user.uid) {
        return Err(place
            .key("uid")
            .refuse(&user.uid, "cannot set uid to unmapped user in user namespace")
            .help("map it in /linux/uidMappings"));
    }
    if !exists(&linux.gid_mappings, user.gid) {
        return Err(place
            .key("gid")
            .refuse(&user.gid, "cannot set gid to unmapped group in user namespace")
            .help("map it in /linux/gidMappings"));
    }
    let place = place.key("additionalGids");
    for (i, gid) in user.additional_gids.iter().enumerate() {
        if !exists(&linux.gid_mappings, *gid) {
            return Err(place
                .index(i)
                .refuse(gid, "cannot add unmapped group in user namespace")
                .help("map it in /linux/gidMappings"));
        }
    }
    Ok(())
}

fn time(place: &Place<'_>, linux: &Linux) -> Result<()> {
    let place = place.key("timeOffsets");
    let offsets: &BTreeMap<Clock, TimeOffset> = &linux.time_offsets;
    if offsets.is_empty() {
        return Ok(());
    }
    match linux.namespace(NamespaceKind::Time) {
        None => {
            return Err(place
                .refuse(offsets, "clocks have offsets, but there is no time namespace")
                .help("add {\"type\": \"time\"} to /linux/namespaces"));
        }
        Some(namespace) if namespace.path.is_some() => {
            return Err(place
                .refuse(offsets, "the clocks of a time namespace that is joined cannot be set")
                .help("leave timeOffsets out, or the namespace's path"));
        }
        Some(_) => {}
    }
    for (clock, offset) in offsets {
        if offset.nanosecs >= 1_000_000_000 {
            let clock = clock.to_string();
            let place = place.key(&clock);
            return Err(place
                .key("nanosecs")
                .refuse(&offset.nanosecs, "the nanoseconds make a second or more")
                .help("they go up to 999999999; add the rest to secs"));
        }
    }
    Ok(())
}

fn devices(place: &Place<'_>, linux: &Linux, devices: &BTreeMap<String, NetDevice>) -> Result<()> {
    if devices.is_empty() {
        return Ok(());
    }
    if linux.namespace(NamespaceKind::Network).is_none() {
        return Err(place
            .refuse(devices, "unable to move network devices without a NET namespace")
            .help("add {\"type\": \"network\"} to /linux/namespaces"));
    }
    let mut taken: BTreeMap<&String, usize> = BTreeMap::new();
    for (name, device) in devices {
        *taken.entry(device.name.as_ref().unwrap_or(name)).or_default() += 1;
    }
    for (name, device) in devices {
        let place = place.key(name);
        if !is_interface(name) {
            return Err(place.refuse(device, "no network device has such a name").help(INTERFACE));
        }
        let Some(new) = &device.name else { continue };
        let place = place.key("name");
        if !is_interface(new) {
            return Err(place.refuse(new, "no network device has such a name").help(INTERFACE));
        }
        if taken[new] > 1 && !new.contains("%d") {
            return Err(place
                .refuse(new, "two network devices would have this name in the container")
                .help("a name with %d in it gets a number from the kernel"));
        }
    }
    Ok(())
}

const INTERFACE: &str = "up to 15 bytes, without spaces, slashes and colons";

/// Whether the kernel would take it for the name of a network device.
fn is_interface(name: &str) -> bool {
    !matches!(name, "" | "." | "..")
        && name.len() < 16
        && !name.bytes().any(|b| b == b'/' || b == b':' || b == 0 || b.is_ascii_whitespace())
}
