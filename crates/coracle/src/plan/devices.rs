//! Device nodes and links: the specification's defaults and `/linux/devices`.

use std::ffi::CString;

use super::origin::Origin;
use super::step::{Action, Device, DeviceKind, Step};
use super::{cstring, relative};
use crate::config;
use crate::error::{Error, Result};

/// config-linux.md, "Default Devices". /dev/ptmx is a link; /dev/console comes with a terminal.
const DEFAULT: [(&str, u32, u32); 6] = [
    ("dev/null", 1, 3),
    ("dev/zero", 1, 5),
    ("dev/full", 1, 7),
    ("dev/random", 1, 8),
    ("dev/urandom", 1, 9),
    ("dev/tty", 5, 0),
];

/// The links that programs expect beside them (runtime-linux.md, "/dev symbolic links"): path,
/// target, and the file of the host's /proc that must be there.
const LINKS: [(&str, &str, Option<&str>); 6] = [
    ("dev/fd", "/proc/self/fd", None),
    ("dev/stdin", "/proc/self/fd/0", None),
    ("dev/stdout", "/proc/self/fd/1", None),
    ("dev/stderr", "/proc/self/fd/2", None),
    ("dev/core", "/proc/kcore", Some("kcore")),
    ("dev/ptmx", "pts/ptmx", None),
];

/// Appends the steps for devices and links. `bind`: the host's nodes are bound, because mknod(2)
/// of a device is not allowed in a user namespace.
pub(super) fn plan(spec: &config::Spec, bind: bool, steps: &mut Vec<Step>) -> Result<()> {
    // Where /dev is the host's or another's, bound whole, its nodes are there already, and making
    // them would change the source.
    if bound_dev(spec) {
        return Ok(());
    }
    let linux = spec.linux.as_ref();
    let configured = linux.map_or(&[][..], |linux| &linux.devices);
    for (path, major, minor) in DEFAULT {
        // One that the configuration describes itself comes from there, with its mode and owner.
        if configured.iter().any(|device| device.path.strip_prefix('/') == Some(path))
            || mounted(spec, path)
        {
            continue;
        }
        steps.push(Step {
            origin: Origin::DEFAULT,
            action: Action::Device(Device {
                path: cstring(path, "")?,
                kind: DeviceKind::Char,
                major,
                minor,
                mode: 0o666,
                uid: 0,
                gid: 0,
                bind,
            }),
        });
    }
    for (index, device) in configured.iter().enumerate() {
        if mounted(spec, device.path.trim_start_matches('/')) {
            continue;
        }
        let action = Action::Device(one(device, index, bind)?);
        steps.push(Step { origin: Origin::item("/linux/devices", index), action });
    }
    for (path, target, only_if) in LINKS {
        if mounted(spec, path) {
            continue;
        }
        steps.push(Step {
            origin: Origin::DEFAULT,
            action: Action::Link {
                path: cstring(path, "")?,
                target: cstring(target, "")?,
                only_if: only_if.map(|path| cstring(path, "")).transpose()?,
            },
        });
    }
    Ok(())
}

/// Whether a mount takes the place of what would be made there, as in `-v /dev/urandom:/dev/random`:
/// one that no later mount on /dev hides.
fn mounted(spec: &config::Spec, path: &str) -> bool {
    let place = |mount: &config::Mount| mount.destination.trim_matches('/') == path;
    let dev = |mount: &config::Mount| mount.destination.trim_matches('/') == "dev";
    spec.mounts.iter().rev().take_while(|mount| !dev(mount)).any(place)
}

/// Whether the last mount on /dev is a bind mount.
fn bound_dev(spec: &config::Spec) -> bool {
    spec.mounts
        .iter()
        .rev()
        .find(|mount| mount.destination.trim_end_matches('/') == "/dev")
        .is_some_and(|mount| mount.options.iter().any(|o| o == "bind" || o == "rbind"))
}

/// One configured device.
fn one(device: &config::Device, index: usize, bind: bool) -> Result<Device> {
    let pointer = |field: &str| format!("/linux/devices/{index}/{field}");
    let kind = match device.kind {
        config::DeviceKind::Char | config::DeviceKind::Unbuffered => DeviceKind::Char,
        config::DeviceKind::Block => DeviceKind::Block,
        config::DeviceKind::Fifo => DeviceKind::Fifo,
    };
    let number = |value: Option<i64>, field: &str| match value {
        None if kind == DeviceKind::Fifo => Ok(0),
        None => Err(Error::new("a device needs its numbers").at(pointer(field), None)),
        Some(value) => u32::try_from(value).map_err(|_| {
            Error::new("not a device number").at(pointer(field), Some(value.to_string()))
        }),
    };
    let path: CString = relative(&device.path, &pointer("path"))?;
    Ok(Device {
        path,
        kind,
        major: number(device.major, "major")?,
        minor: number(device.minor, "minor")?,
        mode: device.file_mode.unwrap_or(0o666) & 0o7777,
        uid: device.uid.unwrap_or(0),
        gid: device.gid.unwrap_or(0),
        bind: bind && kind != DeviceKind::Fifo,
    })
}
