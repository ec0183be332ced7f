//! A unit's name, where its cgroup is, and what it is started with, as far as config.json says.

use std::collections::BTreeMap;
use std::fmt;

use super::annotations;
use crate::dbus::{Bus, Value};
use crate::{Error, Result};

/// A unit that there is: its name, and whose systemd has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unit {
    /// The name, such as `cri-containerd-ID.scope`.
    pub name: String,
    /// Whether it belongs to the calling user's instance of systemd, and not to the machine's.
    pub user: bool,
}

/// A unit to be started.
#[derive(Clone, Debug, PartialEq)]
pub struct NewUnit {
    pub(super) unit: Unit,
    /// The slice that it is in.
    pub(super) slice: String,
    pub(super) description: String,
    /// What annotations ask for.
    pub(super) properties: Vec<(String, Value)>,
}

/// The ending of a slice's name.
const SLICE: &str = ".slice";

/// A unit's name has no more bytes.
const LONGEST: usize = 255;

impl Unit {
    pub(super) fn bus(&self) -> Bus {
        if self.user { Bus::User } else { Bus::System }
    }
}

impl NewUnit {
    /// The unit that `linux.cgroupsPath` names as `SLICE:PREFIX:NAME`, or runc's default. A name
    /// that ends in `.slice` is a slice itself; all others become a scope, `PREFIX-NAME.scope`.
    /// `user` is for a runtime without the host's root.
    pub fn plan(
        cgroups_path: Option<&str>,
        id: &str,
        user: bool,
        annotations: &BTreeMap<String, String>,
    ) -> Result<Self> {
        let path = cgroups_path.filter(|path| !path.is_empty());
        let wrong = |what: String| {
            Error::new(what)
                .at("/linux/cgroupsPath", path.map(|path| format!("{path:?}")))
                .help("systemd takes SLICE:PREFIX:NAME, such as system.slice:runc:web; a path in the file system is for the cgroupfs manager")
        };
        let parts: Vec<&str> = path.map_or_else(Vec::new, |path| path.split(':').collect());
        let (slice, prefix, name) = match parts[..] {
            [] => ("", "runc", id),
            [slice, prefix, name] => (slice, prefix, name),
            _ => {
                return Err(wrong(
                    "expected cgroupsPath to be of format \"slice:prefix:name\" for systemd cgroups"
                        .to_owned(),
                ));
            }
        };
        let slice = match (slice, user) {
            ("", true) => "user.slice",
            ("", false) => "system.slice",
            (slice, _) => slice,
        };
        let unit =
            if name.ends_with(SLICE) { name.to_owned() } else { format!("{prefix}-{name}.scope") };
        let known = |c: char| c.is_ascii_alphanumeric() || ":-_.\\".contains(c);
        if unit.len() > LONGEST || !unit.chars().all(known) {
            return Err(wrong(format!("{unit:?} is no name of a systemd unit")));
        }
        let is_slice = |name: &str| expand(name).is_some();
        if let Some(bad) = [slice, &unit]
            .into_iter()
            .find(|name| (*name == slice || name.ends_with(SLICE)) && !is_slice(name))
        {
            return Err(wrong(format!("invalid slice name: {bad}")));
        }
        Ok(Self {
            slice: slice.to_owned(),
            description: format!("libcontainer container {name}"),
            properties: annotations::properties(annotations)?,
            unit: Unit { name: unit, user },
        })
    }

    /// Which unit it becomes.
    pub fn unit(&self) -> &Unit {
        &self.unit
    }

    /// Its cgroup, counted from that of its systemd: each slice is in those whose names its own
    /// begins with (systemd.slice(5)).
    pub fn path(&self) -> String {
        let slice = |name| expand(name).unwrap_or_default();
        if self.is_slice() {
            slice(&self.unit.name)
        } else {
            format!("{}/{}", slice(&self.slice), self.unit.name)
        }
    }

    /// Whether it is a slice, which takes processes but is not given them.
    pub(in super::super) fn is_slice(&self) -> bool {
        self.unit.name.ends_with(SLICE)
    }
}

/// `having systemd start runc-ID.scope in system.slice`
impl fmt::Display for NewUnit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whose = if self.unit.user { "the user's systemd" } else { "systemd" };
        write!(f, "having {whose} start {} in {}", self.unit.name, self.slice)
    }
}

/// The path of a slice's cgroup: `a-b.slice` is `/a.slice/a-b.slice`, `-.slice` the root, "".
fn expand(slice: &str) -> Option<String> {
    let name = slice.strip_suffix(SLICE)?;
    let mut path = String::new();
    if name == "-" {
        return Some(path);
    }
    for (end, _) in name.match_indices('-').chain([(name.len(), "")]) {
        let outer = &name[..end];
        let part = outer.rsplit('-').next().filter(|part| !part.is_empty())?;
        if part.contains('/') {
            return None;
        }
        path.extend(["/", outer, SLICE]);
    }
    Some(path)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn plan(path: &str, user: bool) -> Result<NewUnit> {
        NewUnit::plan(Some(path), "ID", user, &BTreeMap::new())
    }

    #[test]
    fn names_and_places_are_runc_s() {
        for (path, user, name, slice, place) in [
            ("", false, "runc-ID.scope", "system.slice", "/system.slice/runc-ID.scope"),
            ("", true, "runc-ID.scope", "user.slice", "/user.slice/runc-ID.scope"),
            (":cri:x", false, "cri-x.scope", "system.slice", "/system.slice/cri-x.scope"),
            ("-.slice:a:b", false, "a-b.scope", "-.slice", "/a-b.scope"),
            (
                "kubepods-burstable-pod_1.slice:cri-containerd:x",
                false,
                "cri-containerd-x.scope",
                "kubepods-burstable-pod_1.slice",
                "/kubepods.slice/kubepods-burstable.slice/\
                 kubepods-burstable-pod_1.slice/cri-containerd-x.scope",
            ),
            ("a.slice::x", true, "-x.scope", "a.slice", "/a.slice/-x.scope"),
            ("a.slice:p:a-b.slice", false, "a-b.slice", "a.slice", "/a.slice/a-b.slice"),
        ] {
            let planned = plan(path, user).unwrap();
            let unit = Unit { name: name.to_owned(), user };
            assert_eq!((&planned.unit, &*planned.slice), (&unit, slice), "{path}");
            assert_eq!(planned.path(), place, "{path}");
        }
        assert_eq!(
            plan("a.slice:b:c", false).unwrap().to_string(),
            "having systemd start b-c.scope in a.slice"
        );
    }

    #[test]
    fn what_is_no_name_is_refused_with_its_place() {
        let long = format!("a.slice:b:{}", "c".repeat(250));
        for path in [
            "/a/b",
            "a.slice:b",
            "a.slice:b:c:d",
            "a:b:c",
            "-a.slice:b:c",
            "a--b.slice:b:c",
            "a-.slice:b:c",
            ".slice:b:c",
            "a/b.slice:b:c",
            "a.slice:b:c d",
            "a.slice:b:-c.slice",
            "a.slice:b':c",
            &long,
        ] {
            let error = plan(path, false).unwrap_err();
            assert_eq!(error.pointer(), Some("/linux/cgroupsPath"), "{path}");
        }
        // An ID may have it, a unit may not.
        assert!(NewUnit::plan(None, "a+b", false, &BTreeMap::new()).is_err());
    }
}
