//! Id maps of a new user namespace (user_namespaces(7)).

use std::fmt::Write;
use std::process::{Command, Stdio};

use rustix::io::Errno;
use rustix::process::{getegid, geteuid};

use crate::error::{Context, Error, Result};
use crate::plan::{IdMap, IdMaps};

/// Writes both maps of process `pid`: directly where that is allowed, else by newuidmap(1) and
/// newgidmap(1), which know the subordinate ids of a user (subuid(5)).
pub(super) fn write(pid: u32, maps: &IdMaps) -> Result<()> {
    let own =
        |lines: &[IdMap], id: u32| matches!(lines, [only] if only.size == 1 && only.host == id);
    let privileged = geteuid().is_root();
    if privileged || own(&maps.gids, getegid().as_raw()) {
        if !privileged {
            // Without privileges a group map is allowed only once groups cannot be dropped.
            file(pid, "setgroups", "deny", "/linux/gidMappings")?;
        }
        file(pid, "gid_map", &lines(&maps.gids), "/linux/gidMappings")?;
    } else {
        by_command("newgidmap", pid, &maps.gids, "/linux/gidMappings")?;
    }
    if privileged || own(&maps.uids, geteuid().as_raw()) {
        file(pid, "uid_map", &lines(&maps.uids), "/linux/uidMappings")
    } else {
        by_command("newuidmap", pid, &maps.uids, "/linux/uidMappings")
    }
}

/// The kernel's form: a line each.
fn lines(maps: &[IdMap]) -> String {
    maps.iter().fold(String::new(), |mut text, map| {
        let _ = writeln!(text, "{map}");
        text
    })
}

fn file(pid: u32, name: &str, text: &str, pointer: &str) -> Result<()> {
    std::fs::write(format!("/proc/{pid}/{name}"), text).what(|| format!("writing {name}")).map_err(
        |error| {
            let refused = error.errno() == Some(Errno::PERM);
            let error = error.at(pointer, Some(format!("{:?}", text.trim_end())));
            if refused {
                error.help(
                    "a user may map its own id, and subordinate ids (subuid(5)); root of a user \
                     namespace the ids that are mapped there",
                )
            } else {
                error
            }
        },
    )
}

fn by_command(command: &str, pid: u32, maps: &[IdMap], pointer: &str) -> Result<()> {
    let mut call = Command::new(command);
    call.arg(pid.to_string()).stdin(Stdio::null());
    for map in maps {
        for number in [map.container, map.host, map.size] {
            call.arg(number.to_string());
        }
    }
    let output = call.output().what(|| format!("running {command}")).map_err(|error| {
        error.at(pointer, None).help("install the package uidmap, or map only your own id")
    })?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let pointer = match named(&said, maps) {
        Some(index) => format!("{pointer}/{index}"),
        None => pointer.to_owned(),
    };
    Err(Error::new(format!("{command} refused the map"))
        .because(said.trim().to_owned())
        .at(pointer, None)
        .help("see /etc/subuid and /etc/subgid for the ids you may map"))
}

/// The range that newuidmap(1) complains of: `uid range [0-65536) -> [1000-66536) not allowed`.
fn named(said: &str, maps: &[IdMap]) -> Option<usize> {
    maps.iter().position(|map| {
        let end = |first: u32| u64::from(first) + u64::from(map.size);
        said.contains(&format!(
            "[{}-{}) -> [{}-{})",
            map.container,
            end(map.container),
            map.host,
            end(map.host)
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_range_that_is_refused_is_found() {
        let map = |container, host, size| IdMap { container, host, size };
        let maps = [map(0, 1000, 1), map(1, 100_000, 65536), map(65537, u32::MAX - 1, 1)];
        let said = |range| format!("newuidmap: uid range {range} not allowed\n");
        assert_eq!(named(&said("[0-1) -> [1000-1001)"), &maps), Some(0));
        assert_eq!(named(&said("[1-65537) -> [100000-165536)"), &maps), Some(1));
        assert_eq!(named(&said("[65537-65538) -> [4294967294-4294967295)"), &maps), Some(2));
        assert_eq!(named("newuidmap: no such process", &maps), None);
    }
}
