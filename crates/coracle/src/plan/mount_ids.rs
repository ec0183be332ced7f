//! The ids of an ID-mapped mount: `uidMappings` and `gidMappings` of the mount, crun's option
//! `idmap=uids=0-1000-10#10-2000-5;gids=…`, or those of the container.

use super::around::Around;
use super::mount::MountIds;
use super::mount_options::{IdMapOption, Sorted};
use super::namespaces::{IdMap, IdMaps};
use crate::config::{self, IdMapping, NamespaceKind};
use crate::error::{Error, Result};

/// The ids of mount `index`, if it is to have any of its own.
pub(super) fn plan(
    mount: &config::Mount,
    index: usize,
    sorted: &Sorted,
    around: &Around<'_>,
) -> Result<Option<MountIds>> {
    let given = !mount.uid_mappings.is_empty();
    let option = sorted.id_map.as_ref();
    if !given && option.is_none() {
        return Ok(None);
    }
    let pointer = match option {
        Some(option) => format!("/mounts/{index}/options/{}", option.index),
        None => format!("/mounts/{index}/uidMappings"),
    };
    if sorted.bind.is_none() {
        return Err(Error::new("only a bind mount can be ID-mapped")
            .because("a new file system belongs to the container's user namespace already")
            .at(pointer, option.map(|_| "\"idmap\"".into()))
            .help("take the mapping out, or bind a directory of the host"));
    }
    if around.host.rootless && !around.host.root {
        return Err(Error::new("an ordinary user cannot have an ID-mapped mount")
            .because("mapping the ids of a file system takes CAP_SYS_ADMIN where it was mounted")
            .at(pointer, None)
            .help("only root of the host may make an ID-mapped mount; take the mapping out"));
    }
    let recursive = option.is_some_and(|option| option.recursive);
    let lines = |mappings: &[IdMapping]| mappings.iter().map(IdMap::from).collect();
    let maps = if given {
        Some(IdMaps { uids: lines(&mount.uid_mappings), gids: lines(&mount.gid_mappings) })
    } else {
        match option.and_then(|option| option.ranges.as_deref().map(|ranges| (option, ranges))) {
            Some((option, ranges)) => Some(
                parse(ranges, &around.linux.uid_mappings, &around.linux.gid_mappings)
                    .ok_or_else(|| refuse(option, ranges, &pointer))?,
            ),
            None if around.namespaces.has(NamespaceKind::User) => None,
            None => {
                return Err(Error::new("the ID-mapped mount has no mappings")
                    .at(pointer, None)
                    .help("give uidMappings and gidMappings, or use a user namespace"));
            }
        }
    };
    Ok(Some(MountIds { maps, recursive }))
}

fn refuse(option: &IdMapOption, ranges: &str, pointer: &str) -> Error {
    let name = if option.recursive { "ridmap" } else { "idmap" };
    Error::new("the option has no id ranges that can be used")
        .at(pointer, Some(format!("\"{name}={ranges}\"")))
        .help(
            "write idmap=uids=FROM-TO-COUNT;gids=FROM-TO-COUNT, more ranges after #; with @ before \
             FROM, TO is an id of the container",
        )
}

/// Reads `uids=RANGES;gids=RANGES`. Half of it that is missing is as in the container.
fn parse(text: &str, uids: &[IdMapping], gids: &[IdMapping]) -> Option<IdMaps> {
    let lines = |mappings: &[IdMapping]| mappings.iter().map(IdMap::from).collect::<Vec<_>>();
    let mut maps = IdMaps { uids: lines(uids), gids: lines(gids) };
    for part in text.split(';') {
        match part.split_once('=')? {
            ("uids", list) => maps.uids = ranges(list, uids)?,
            ("gids", list) => maps.gids = ranges(list, gids)?,
            _ => return None,
        }
    }
    (!maps.uids.is_empty() && !maps.gids.is_empty()).then_some(maps)
}

/// Reads `FROM-TO-COUNT#FROM-TO-COUNT`.
fn ranges(text: &str, container: &[IdMapping]) -> Option<Vec<IdMap>> {
    text.split('#').map(|range| one_range(range, container)).collect()
}

/// Reads `FROM-TO-COUNT`. With `@` before it, `TO` counts in the container, and all of the range
/// has to lie in one of its mappings.
fn one_range(text: &str, container: &[IdMapping]) -> Option<IdMap> {
    let (relative, text) = match text.strip_prefix('@') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let mut numbers = text.split('-').map(|number| number.parse::<u32>().ok());
    let (from, to, size) = (numbers.next()??, numbers.next()??, numbers.next()??);
    if numbers.next().is_some() || size == 0 {
        return None;
    }
    let host = if relative {
        container.iter().find_map(|map| {
            let offset = to.checked_sub(map.container_id)?;
            let fits = offset.checked_add(size)? <= map.size;
            fits.then(|| map.host_id.checked_add(offset)).flatten()
        })?
    } else {
        to
    };
    Some(IdMap { container: from, host, size })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn own() -> Vec<IdMapping> {
        vec![
            IdMapping { container_id: 0, host_id: 1000, size: 1 },
            IdMapping { container_id: 1, host_id: 100_000, size: 50 },
        ]
    }

    #[test]
    fn ranges_are_read_as_written() {
        let maps = parse("uids=0-1-10#10-11-10;gids=0-100-10", &[], &[]).unwrap();
        let line = |container, host, size| IdMap { container, host, size };
        assert_eq!(maps.uids, [line(0, 1, 10), line(10, 11, 10)]);
        assert_eq!(maps.gids, [line(0, 100, 10)]);
    }

    #[test]
    fn ranges_may_count_in_the_container() {
        let maps = parse("uids=@0-5-2", &own(), &own()).unwrap();
        assert_eq!(maps.uids, [IdMap { container: 0, host: 100_004, size: 2 }]);
        assert_eq!(maps.gids.len(), 2);
        assert_eq!(parse("uids=@0-0-2;gids=0-0-1", &own(), &own()), None);
        assert_eq!(parse("uids=@0-49-5;gids=0-0-1", &own(), &own()), None);
    }

    #[test]
    fn what_is_no_range_is_refused() {
        for text in [
            "",
            "uids",
            "uids=",
            "uids=1",
            "uids=1-2",
            "uids=1-2-0",
            "uids=1-2-3-4",
            "uids=a-2-3",
            "uids=0-4294967296-1",
            "ids=0-0-1",
            "uids=0-0-1;",
            "uids=-1-0-1",
        ] {
            assert_eq!(parse(text, &own(), &own()), None, "{text}");
        }
        assert_eq!(parse("uids=0-0-1", &[], &[]), None, "there are no group ids");
    }
}
