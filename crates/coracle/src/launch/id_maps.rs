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
            file(pid, "setgroups", "deny").map_err(|error| error.at(GIDS, None))?;
        }
        directly(pid, "gid_map", &maps.gids, GIDS)?;
    } else {
        by_command("newgidmap", pid, &maps.gids, GIDS)?;
    }
    if privileged || own(&maps.uids, geteuid().as_raw()) {
        directly(pid, "uid_map", &maps.uids, UIDS)
    } else {
        by_command("newuidmap", pid, &maps.uids, UIDS)
    }
}

const UIDS: &str = "/linux/uidMappings";
const GIDS: &str = "/linux/gidMappings";

fn file(pid: u32, name: &str, text: &str) -> Result<()> {
    std::fs::write(format!("/proc/{pid}/{name}"), text).what(|| format!("writing {name}"))
}

/// Writes a map in the kernel's form, a line each.
fn directly(pid: u32, name: &str, maps: &[IdMap], pointer: &str) -> Result<()> {
    let lines = maps.iter().fold(String::new(), |mut text, map| {
        let _ = writeln!(text, "{map}");
        text
    });
    file(pid, name, &lines).map_err(|error| {
        if error.errno() != Some(Errno::PERM) {
            return error.at(pointer, None);
        }
        let own = std::fs::read_to_string(format!("/proc/self/{name}")).unwrap_or_default();
        match beyond(&own, maps) {
            Some(index) => error
                .at(format!("{pointer}/{index}"), Some(format!("\"{}\"", maps[index])))
                .help("root of a user namespace may map what is mapped there; see its uid_map"),
            None => error
                .at(pointer, None)
                .help("a user may map its own id, and subordinate ids (subuid(5))"),
        }
    })
}

/// The first range that is not wholly in one of the ranges of a user namespace with this map.
fn beyond(own: &str, maps: &[IdMap]) -> Option<usize> {
    let numbers = |line: &str| {
        let mut words = line.split_whitespace().map(|word| word.parse::<u64>().ok());
        let (first, _, size) = (words.next()??, words.next()??, words.next()??);
        Some((first, first + size))
    };
    let ranges: Vec<(u64, u64)> = own.lines().filter_map(numbers).collect();
    maps.iter().position(|map| {
        let (first, end) = (u64::from(map.host), u64::from(map.host) + u64::from(map.size));
        !ranges.iter().any(|range| range.0 <= first && end <= range.1)
    })
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
    fn a_range_beyond_the_own_user_namespace_is_found() {
        let map = |host, size| IdMap { container: 0, host, size };
        let own = "         0       1000          1\n         1     100000      65536\n";
        assert_eq!(beyond(own, &[map(0, 1), map(1, 65536)]), None);
        assert_eq!(beyond(own, &[map(0, 1), map(1, 65537)]), Some(1));
        assert_eq!(beyond(own, &[map(0, 2)]), Some(0), "not in one piece");
        assert_eq!(beyond("0 0 4294967295\n", &[map(4_294_967_294, 1)]), None);
    }

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
