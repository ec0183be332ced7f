//! What the name of a step leaves out, for whoever reads the plan.

use super::capability;
use super::mount::{
    Bind, Filesystem, FsOption, Mount, MountIds, Source, attributes, propagation_name,
};
use super::step::{Action, Device, DeviceKind, Identity, Scheduling};

/// What there is to say about a step beside its name.
pub(super) fn details(action: &Action) -> Option<String> {
    let text = match action {
        Action::Mount(mount) => mounting(mount),
        Action::Remount(remount) => {
            let mut said = listed(attributes(remount.set, remount.clear));
            said.extend(remount.options.iter().map(option));
            said.extend(below(remount.recursive_set, remount.recursive_clear));
            said.extend(remount.propagation.iter().map(|flags| propagation_name(*flags)));
            said.join(",")
        }
        Action::Device(device) => node(device),
        Action::Console { size: Some((rows, columns)), .. } => {
            format!("{rows} rows, {columns} columns")
        }
        Action::Cpus(cpus) => numbers(cpus),
        Action::Scheduling(scheduling) => schedule(scheduling),
        Action::IoPriority(priority) => {
            let classes = ["none", "real time", "best effort", "idle"];
            let class = classes.get(usize::from(priority >> 13)).unwrap_or(&"unknown");
            format!("{class}, priority {}", priority & 0x1fff)
        }
        Action::MemoryPolicy { mode, nodes } => {
            format!("mode {mode:#x}, nodes {}", numbers(nodes))
        }
        Action::Personality(domain) => format!("domain {domain:#x}"),
        Action::User(identity) => user(identity),
        Action::Seccomp(program) => format!("flags {:#x}", program.flags),
        _ => String::new(),
    };
    (!text.is_empty()).then_some(text)
}

/// As mknod(1) names it.
fn node(device: &Device) -> String {
    let kind = match device.kind {
        DeviceKind::Char => "c",
        DeviceKind::Block => "b",
        DeviceKind::Fifo => "p",
    };
    let Device { major, minor, mode, uid, gid, .. } = device;
    format!("{kind} {major}:{minor} mode {mode:04o} of {uid}:{gid}")
}

fn mounting(mount: &Mount) -> String {
    let mut said = listed(attributes(mount.set, mount.clear));
    match &mount.source {
        Source::Filesystem(new) => filesystem(new, &mut said),
        Source::Bind(bind) => binding(bind, &mut said),
    }
    said.extend(below(mount.recursive_set, mount.recursive_clear));
    said.extend(mount.propagation.iter().map(|flags| propagation_name(*flags)));
    if mount.on_link {
        said.push("on a link itself".into());
    }
    said.join(",")
}

fn filesystem(new: &Filesystem, said: &mut Vec<String>) {
    said.extend(new.options.iter().map(option));
    if new.legacy != 0 {
        said.push(format!("flags {:#x}", new.legacy));
    }
    if new.copy_up {
        said.push("tmpcopyup".into());
    }
    if let Some(source) = new.source.as_ref().filter(|source| **source != new.kind) {
        said.push(format!("source {}", source.to_string_lossy()));
    }
}

fn binding(bind: &Bind, said: &mut Vec<String>) {
    if bind.recursive {
        said.push("with the mounts below it".into());
    }
    if let Some(MountIds { maps, recursive }) = &bind.ids {
        let scope = if *recursive { "ridmap" } else { "idmap" };
        said.push(match maps {
            None => format!("{scope} of the container"),
            Some(maps) => {
                let ranges = |lines: &[super::IdMap]| {
                    lines.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
                };
                format!("{scope} uids {} gids {}", ranges(&maps.uids), ranges(&maps.gids))
            }
        });
    }
}

/// Attributes of the mounts below.
fn below(set: u64, clear: u64) -> Option<String> {
    let names = attributes(set, clear);
    (!names.is_empty()).then(|| format!("below too: {names}"))
}

/// Names as a list of one or none.
fn listed(names: String) -> Vec<String> {
    if names.is_empty() { Vec::new() } else { vec![names] }
}

/// An option of a file system.
fn option(option: &FsOption) -> String {
    let key = option.key.to_string_lossy();
    match &option.value {
        Some(value) => format!("{key}={}", value.to_string_lossy()),
        None => key.into_owned(),
    }
}

/// The numbers of the bits that are set.
fn numbers(words: &[u64]) -> String {
    let set = |n: &usize| words[n / 64] >> (n % 64) & 1 == 1;
    let numbers = (0..words.len() * 64).filter(set).map(|n| n.to_string());
    numbers.collect::<Vec<_>>().join(" ")
}

fn schedule(it: &Scheduling) -> String {
    let policies = ["OTHER", "FIFO", "RR", "BATCH", "ISO", "IDLE", "DEADLINE"];
    let policy = policies.get(it.policy as usize).unwrap_or(&"?");
    let mut said = vec![format!("SCHED_{policy}")];
    let numbers = [
        ("nice", it.nice.into()),
        ("priority", it.priority.into()),
        ("runtime", i128::from(it.runtime)),
        ("deadline", it.deadline.into()),
        ("period", it.period.into()),
    ];
    let given = numbers.iter().filter(|(_, number)| *number != 0);
    said.extend(given.map(|(name, number)| format!("{name} {number}")));
    if it.flags != 0 {
        said.push(format!("flags {:#x}", it.flags));
    }
    said.join(", ")
}

fn user(identity: &Identity) -> String {
    let mut said = Vec::new();
    if let Some(groups) = identity.groups.as_ref().filter(|groups| !groups.is_empty()) {
        let groups: Vec<_> = groups.iter().map(ToString::to_string).collect();
        said.push(format!("also in groups {}", groups.join(" ")));
    }
    let sets = &identity.capabilities;
    let names = |mask| capability::names(mask).collect::<Vec<_>>().join(" ");
    let all = [sets.effective, sets.inheritable, sets.permitted, sets.ambient];
    said.push(if all.iter().all(|set| *set == sets.bounding) {
        format!("all five capability sets: {}", names(sets.bounding))
    } else {
        format!(
            "bounding: {}; effective: {}; inheritable: {}; permitted: {}; ambient: {}",
            names(sets.bounding),
            names(sets.effective),
            names(sets.inheritable),
            names(sets.permitted),
            names(sets.ambient)
        )
    });
    said.join("; ")
}
