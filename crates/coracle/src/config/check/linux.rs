//! What only Linux has (config-linux.md), but for namespaces and what needs one.

use super::place::{Place, absolute, no_nul};
use super::process::IDS;
use super::{resources, seccomp};
use crate::config::{
    Device, DeviceKind, IntelRdt, Linux, MemoryPolicy, MemoryPolicyMode, NamespaceKind, Spec,
    parse_list, sysctl_path,
};
use crate::error::Result;

pub(super) fn check(place: &Place<'_>, spec: &Spec, linux: &Linux) -> Result<()> {
    sysctl(&place.key("sysctl"), linux)?;
    devices(&place.key("devices"), &linux.devices)?;
    paths(&place.key("maskedPaths"), &linux.masked_paths)?;
    paths(&place.key("readonlyPaths"), &linux.readonly_paths)?;
    no_nul(&place.key("mountLabel"), linux.mount_label.as_deref().unwrap_or_default())?;
    if let Some(path) = &linux.cgroups_path {
        cgroups_path(&place.key("cgroupsPath"), path)?;
    }
    if let Some(limits) = &linux.resources {
        resources::check(&place.key("resources"), limits)?;
    }
    if let Some(filter) = &linux.seccomp {
        // crun's annotation names the listener as well.
        let listener = spec.annotations.contains_key("run.oci.seccomp.receiver");
        seccomp::check(&place.key("seccomp"), filter, listener)?;
    }
    if let Some(rdt) = &linux.intel_rdt {
        intel_rdt(&place.key("intelRdt"), rdt)?;
    }
    if let Some(policy) = &linux.memory_policy {
        memory_policy(&place.key("memoryPolicy"), policy)?;
    }
    Ok(())
}

/// /proc/sys is the host's but for what some namespace has a copy of.
fn sysctl(place: &Place<'_>, linux: &Linux) -> Result<()> {
    for (name, value) in &linux.sysctl {
        let place = place.key(name);
        no_nul(&place, name)?;
        no_nul(&place, value)?;
        let Some(path) = sysctl_path(name) else {
            return Err(place
                .refuse(value, "not the name of a kernel parameter")
                .help("write it with dots, such as net.ipv4.ip_forward"));
        };
        let namespace = match path.as_str() {
            "kernel/hostname" => {
                return Err(place
                    .refuse(value, "the host name has a field of its own")
                    .help("set /hostname instead"));
            }
            "kernel/domainname" => NamespaceKind::Uts,
            "kernel/msgmax"
            | "kernel/msgmnb"
            | "kernel/msgmni"
            | "kernel/sem"
            | "kernel/shmall"
            | "kernel/shmmax"
            | "kernel/shmmni"
            | "kernel/shm_rmid_forced" => NamespaceKind::Ipc,
            path if path.starts_with("fs/mqueue/") => NamespaceKind::Ipc,
            path if path.starts_with("net/") => NamespaceKind::Network,
            _ => {
                return Err(place
                    .refuse(value, "this kernel parameter is the host's: no namespace has its own")
                    .help("set it on the host"));
            }
        };
        if linux.namespace(namespace).is_none() {
            return Err(place
                .refuse(
                    value,
                    format!("this kernel parameter needs a namespace of type {namespace}"),
                )
                .help(format!("add {{\"type\": \"{namespace}\"}} to /linux/namespaces")));
        }
    }
    Ok(())
}

fn devices(place: &Place<'_>, devices: &[Device]) -> Result<()> {
    for (i, device) in devices.iter().enumerate() {
        let place = place.index(i);
        absolute(&place.key("path"), &device.path)?;
        // A device number of the kernel has 12 and 20 bits; it would cut off the rest.
        let numbers = [("major", device.major, 0xfff), ("minor", device.minor, 0xf_ffff)];
        for (key, number, greatest) in numbers {
            match number {
                None if device.kind == DeviceKind::Fifo => {}
                None => {
                    return Err(place
                        .key(key)
                        .missing(format!("the device has no {key} number"))
                        .help("only a FIFO, of type p, has none"));
                }
                Some(number) if !(0..=greatest).contains(&number) => {
                    return Err(place
                        .key(key)
                        .refuse(&number, format!("the device's {key} number is out of range"))
                        .help(format!("it goes from 0 to {greatest}")));
                }
                Some(_) => {}
            }
        }
        for (key, id) in [("uid", device.uid), ("gid", device.gid)] {
            // The kernel keeps the greatest ID for "no change" (chown(2)).
            if let Some(id) = id.filter(|id| *id == u32::MAX) {
                return Err(place.key(key).refuse(&id, "nobody can have this ID").help(IDS));
            }
        }
        if let Some(mode) = device.file_mode.filter(|mode| *mode > 0o177_777) {
            return Err(place
                .key("fileMode")
                .refuse(&mode, "the mode has bits that no file mode has")
                .help("JSON has decimal numbers only: the octal 0666 is 438"));
        }
    }
    Ok(())
}

fn paths(place: &Place<'_>, paths: &[String]) -> Result<()> {
    paths.iter().enumerate().try_for_each(|(i, path)| absolute(&place.index(i), path))
}

/// A path may go up, but not above where it starts.
fn cgroups_path(place: &Place<'_>, path: &str) -> Result<()> {
    no_nul(place, path)?;
    let mut depth = 0_usize;
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => match depth.checked_sub(1) {
                Some(up) => depth = up,
                None => {
                    return Err(place
                        .refuse(path, "the path leads out of the cgroup hierarchy")
                        .help("remove the leading `..`"));
                }
            },
            _ => depth += 1,
        }
    }
    Ok(())
}

/// Each string becomes a line of a file, and the class a directory.
fn intel_rdt(place: &Place<'_>, rdt: &IntelRdt) -> Result<()> {
    let line = |place: &Place<'_>, text: &str| {
        no_nul(place, text)?;
        if text.contains('\n') {
            return Err(place
                .refuse(text, "a line of resctrl contains a line break")
                .help("give each line an element of schemata"));
        }
        Ok(())
    };
    if let Some(class) = &rdt.clos_id {
        let place = place.key("closID");
        line(&place, class)?;
        if class != "/" && (matches!(class.as_str(), "." | "..") || class.contains('/')) {
            return Err(place
                .refuse(class, "not the name of a class of service")
                .help("name a directory of resctrl, or / for the default class"));
        }
    }
    let lines = place.key("schemata");
    for (i, text) in rdt.schemata.iter().enumerate() {
        line(&lines.index(i), text)?;
    }
    line(&place.key("l3CacheSchema"), rdt.l3_cache_schema.as_deref().unwrap_or_default())?;
    if let Some(schema) = &rdt.mem_bw_schema {
        let place = place.key("memBwSchema");
        line(&place, schema)?;
        if !schema.starts_with("MB:") {
            return Err(place
                .refuse(schema, "not a schema of memory bandwidth")
                .help("it begins with MB:, such as MB:0=50"));
        }
    }
    Ok(())
}

/// What `set_mempolicy(2)` would answer with EINVAL to.
fn memory_policy(place: &Place<'_>, policy: &MemoryPolicy) -> Result<()> {
    use MemoryPolicyMode::{Default, Local, Preferred};

    let place = place.key("nodes");
    let Some(text) = &policy.nodes else {
        return if matches!(policy.mode, Default | Local | Preferred) {
            Ok(())
        } else {
            Err(place.missing("this memory policy needs nodes").help("name them, such as 0-3,7"))
        };
    };
    if parse_list(text).is_none_or(|list| list.is_empty()) {
        return Err(place
            .refuse(text, "not a list of memory nodes")
            .help("write numbers and ranges, such as 0-3,7"));
    }
    if matches!(policy.mode, Default | Local) {
        return Err(place.refuse(text, "this memory policy has no nodes").help("leave them out"));
    }
    Ok(())
}
