//! Where a container's cgroup is, before anything is made.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use super::layout::{Hierarchy, MOUNT};
use super::systemd::NewUnit;
use super::{Layout, Version};
use crate::error::Context;
use crate::{Error, Result};

/// The directories of a container's cgroup: one for each hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    pub(super) places: Vec<Place>,
    /// Whether version 2 is all there is.
    pub(super) is_unified: bool,
}

/// The container's directory in one hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) hierarchy: Hierarchy,
    pub(super) dir: PathBuf,
}

/// What a container without a cgroup namespace sees of one version 1 hierarchy: its own part,
/// mounted below `/sys/fs/cgroup`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LegacyMount {
    /// The name of the directory to mount on, such as `cpu,cpuacct` or `systemd`.
    pub name: String,
    /// The container's cgroup on the host.
    pub directory: PathBuf,
    /// The hierarchy's controllers, or `name=systemd`: the options of a fresh mount of it.
    pub controllers: Vec<String>,
    /// Symbolic links to `name`, for controllers mounted together, such as `cpu`.
    pub links: Vec<String>,
    /// The runtime's own cgroup: what is shown where the container could not get one.
    pub own: Option<PathBuf>,
}

impl Layout {
    /// Finds the place for `linux.cgroupsPath` as runc does: an absolute one counts from where a
    /// hierarchy is mounted; a relative one, or the container's ID where there is none, from the
    /// runtime's own cgroup (version 1) or from the parent of that (version 2, where a cgroup
    /// with processes in it can't hand controllers on). `/proc/self/cgroup` is read for a relative
    /// one only. `..` does not lead out.
    pub fn locate(&self, cgroups_path: Option<&str>, id: &str) -> Result<Location> {
        let cgroups_path = cgroups_path.filter(|path| !path.is_empty());
        let own = if cgroups_path.is_some_and(|path| path.starts_with('/')) {
            String::new()
        } else {
            std::fs::read_to_string("/proc/self/cgroup").what(|| "reading /proc/self/cgroup")?
        };
        let path = cgroups_path.unwrap_or(id);
        Location::resolve(self, path, &own).ok_or_else(|| {
            Error::new("the path names no cgroup below the root of the hierarchy")
                .at("/linux/cgroupsPath", cgroups_path.map(|path| format!("{path:?}")))
                .help("name one, such as /engine/NAME, or leave it out")
        })
    }

    /// Where a unit of systemd is that has its units below `root`.
    pub fn locate_unit(&self, root: &str, unit: &NewUnit) -> Result<Location> {
        if unit.unit().user && *self != Self::Unified {
            return Err(Error::new("the user's systemd makes cgroups on version 2 only")
                .help("use the cgroupfs manager"));
        }
        Location::resolve(self, &format!("{root}{}", unit.path()), "").ok_or_else(|| {
            Error::new("the unit has no cgroup of its own").at("/linux/cgroupsPath", None)
        })
    }
}

impl Location {
    /// `own` is the text of `/proc/self/cgroup`. None if the path has no component left.
    fn resolve(layout: &Layout, path: &str, own: &str) -> Option<Self> {
        let inner = clean(path);
        if inner.as_os_str().is_empty() {
            return None;
        }
        // An absolute path does not depend on where the runtime is.
        let own = if path.starts_with('/') { "" } else { own };
        let legacy = |hierarchy: &Hierarchy| {
            let dir = hierarchy.mount.join(below_mount(hierarchy, own)).join(&inner);
            Place { hierarchy: hierarchy.clone(), dir }
        };
        Some(match layout {
            Layout::Unified => {
                let hierarchy =
                    Hierarchy { controllers: Vec::new(), mount: MOUNT.into(), root: "/".into() };
                let mut base = clean(own_cgroup(&hierarchy, own));
                base.pop();
                let dir = hierarchy.mount.join(base).join(inner);
                Self { places: vec![Place { hierarchy, dir }], is_unified: true }
            }
            Layout::Legacy { hierarchies, unified } => Self {
                places: hierarchies.iter().chain(unified).map(legacy).collect(),
                is_unified: false,
            },
        })
    }

    /// Where a process is by its `/proc/PID/cgroup`: in the hierarchy that systemd keeps track in,
    /// and in the same place of all others.
    pub(super) fn of_process(&self, text: &str) -> Option<Self> {
        let track = ["name=systemd".to_owned()];
        let path = own_path(if self.is_unified { &[] } else { &track }, text);
        let below = |place: &Place| {
            let root = place.hierarchy.root.strip_prefix("/").ok()?;
            let path = clean(path);
            // Outside of what the mount shows, it is in the same place of our own part.
            let path = path.strip_prefix(root).unwrap_or(&path);
            let dir = place.hierarchy.mount.join(path);
            Some(Place { hierarchy: place.hierarchy.clone(), dir })
        };
        let places = self.places.iter().map(below).collect::<Option<_>>()?;
        Some(Self { places, is_unified: self.is_unified })
    }

    /// Whether the directories have this name.
    pub(super) fn ends_in(&self, name: &str) -> bool {
        self.places.iter().all(|place| place.dir.file_name().is_some_and(|last| last == name))
    }

    /// The same, with a directory below each if there is to be one.
    pub fn below(mut self, inner: Option<&Path>) -> Self {
        let Some(inner) = inner else { return self };
        self.places.iter_mut().for_each(|place| place.dir.push(inner));
        self
    }

    /// Controller to directory, as `cgroup_paths` in state.json has it: `""` is version 2.
    pub fn paths(&self) -> BTreeMap<String, String> {
        path_map(self.places.iter().map(|place| (&*place.hierarchy.controllers, &*place.dir)))
    }

    /// The version of control groups that a controller, by its version 2 name, belongs to here.
    pub fn version(&self, controller: &str) -> Option<Version> {
        version(self.places.iter().map(|place| &*place.hierarchy.controllers), controller)
    }

    /// Whether there is one hierarchy, of version 2.
    pub fn unified(&self) -> bool {
        self.is_unified
    }

    /// The container's directory in the version 2 hierarchy, where that is the only one.
    pub fn unified_directory(&self) -> Option<&Path> {
        self.places.first().filter(|_| self.is_unified).map(|place| &*place.dir)
    }

    /// What to mount for a `cgroup` mount on version 1; empty on version 2. `own` is the text of
    /// `/proc/self/cgroup` of a runtime that may not be allowed to make cgroups.
    pub fn mounts(&self, own: Option<&str>) -> Vec<LegacyMount> {
        let mount = |place: &Place| {
            let controllers = place.hierarchy.controllers.clone();
            let name = place.hierarchy.mount.file_name()?.to_str()?.to_owned();
            let links = if controllers.len() > 1 {
                controllers.iter().filter(|&controller| *controller != name).cloned().collect()
            } else {
                Vec::new()
            };
            let own = own.map(|own| place.hierarchy.mount.join(below_mount(&place.hierarchy, own)));
            Some(LegacyMount { name, directory: place.dir.clone(), controllers, links, own })
        };
        self.places
            .iter()
            .filter(|place| !place.hierarchy.controllers.is_empty())
            .filter_map(mount)
            .collect()
    }
}

/// The directories.
impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, place) in self.places.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}{}", place.dir.display())?;
        }
        Ok(())
    }
}

/// The version of the hierarchy to look for a controller in: a version 1 one that has it, else the
/// version 2 one, of whose controllers nothing is known before the cgroup is made. `cgroup` stands
/// for the core of version 2.
pub(super) fn version<'a>(
    hierarchies: impl Iterator<Item = &'a [String]> + Clone,
    controller: &str,
) -> Option<Version> {
    let name = legacy_name(controller);
    if hierarchies.clone().any(|names| names.iter().any(|one| one == name)) {
        return Some(Version::V1);
    }
    let legacy_only = ["net_cls", "net_prio"].contains(&controller);
    let unified = hierarchies.into_iter().any(<[String]>::is_empty);
    (unified && !legacy_only).then_some(Version::V2)
}

/// The version 1 name of a controller.
pub(super) fn legacy_name(controller: &str) -> &str {
    if controller == "io" { "blkio" } else { controller }
}

/// Makes the map of runc's state.json.
pub(super) fn path_map<'a>(
    dirs: impl Iterator<Item = (&'a [String], &'a Path)>,
) -> BTreeMap<String, String> {
    let mut map = BTreeMap::new();
    for (controllers, dir) in dirs {
        let dir = dir.to_string_lossy().into_owned();
        if controllers.is_empty() {
            map.insert(String::new(), dir);
        } else {
            map.extend(controllers.iter().map(|controller| (controller.clone(), dir.clone())));
        }
    }
    map
}

/// The path relative to the root, without `.`, `..` and empty components: `..` stops at the root.
fn clean(path: &str) -> PathBuf {
    let mut clean = PathBuf::new();
    for component in path.split('/') {
        match component {
            "" | "." => {}
            ".." => _ = clean.pop(),
            name => clean.push(name),
        }
    }
    clean
}

/// The runtime's own cgroup in a hierarchy.
fn own_cgroup<'a>(hierarchy: &Hierarchy, own: &'a str) -> &'a str {
    own_path(&hierarchy.controllers, own)
}

/// The path in the hierarchy of these controllers, from lines `ID:CONTROLLERS:PATH` (cgroups(7)).
pub(super) fn own_path<'a>(controllers: &[String], own: &'a str) -> &'a str {
    let first = controllers.first().map_or("", String::as_str);
    own.lines()
        .filter_map(|line| line.split_once(':')?.1.split_once(':'))
        .find(|(controllers, _)| controllers.split(',').any(|controller| controller == first))
        .map_or("/", |(_, path)| path)
}

/// The runtime's own cgroup, counted from what the mount shows. In a container that sees the
/// host's paths in /proc, but only its own part of the hierarchy, that is shorter.
fn below_mount(hierarchy: &Hierarchy, own: &str) -> PathBuf {
    let own = clean(own_cgroup(hierarchy, own));
    let root = hierarchy.root.strip_prefix("/").unwrap_or(&hierarchy.root);
    own.strip_prefix(root).map(Path::to_owned).unwrap_or_default()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const OWN: &str = "\
12:cpu,cpuacct:/host/box/shell
4:memory:/shell
1:name=systemd:/user.slice/session-1.scope
0::/user.slice/user-1000.slice/session-1.scope
";

    fn hierarchy(controllers: &[&str], mount: &str, root: &str) -> Hierarchy {
        Hierarchy {
            controllers: controllers.iter().map(|&name| name.to_owned()).collect(),
            mount: mount.into(),
            root: root.into(),
        }
    }

    fn hybrid() -> Layout {
        Layout::Legacy {
            hierarchies: vec![
                hierarchy(&["cpu", "cpuacct"], "/sys/fs/cgroup/cpu,cpuacct", "/host/box"),
                hierarchy(&["memory"], "/sys/fs/cgroup/memory", "/"),
                hierarchy(&["name=systemd"], "/sys/fs/cgroup/systemd", "/"),
            ],
            unified: Some(hierarchy(&[], "/sys/fs/cgroup/unified", "/")),
        }
    }

    fn unified(path: &str) -> Option<String> {
        let location = Location::resolve(&Layout::Unified, path, OWN)?;
        Some(location.unified_directory()?.to_str()?.to_owned())
    }

    #[test]
    fn unified_paths() {
        for (path, dir) in [
            ("/machine/abc", Some("/sys/fs/cgroup/machine/abc")),
            ("abc", Some("/sys/fs/cgroup/user.slice/user-1000.slice/abc")),
            ("./a//b/", Some("/sys/fs/cgroup/user.slice/user-1000.slice/a/b")),
            ("../../../../etc", Some("/sys/fs/cgroup/user.slice/user-1000.slice/etc")),
            ("/../../etc/../x", Some("/sys/fs/cgroup/x")),
            ("/", None),
            ("/a/..", None),
            ("..", None),
        ] {
            assert_eq!(unified(path).as_deref(), dir, "{path}");
        }
    }

    #[test]
    fn the_runtime_at_the_root_or_outside_of_its_namespace() {
        for own in ["0::/\n", "0::/shell\n", "0::/../../other\n", ""] {
            let location = Location::resolve(&Layout::Unified, "abc", own).unwrap();
            assert_eq!(
                location.unified_directory(),
                Some(Path::new("/sys/fs/cgroup/abc")),
                "{own:?}"
            );
        }
    }

    #[test]
    fn legacy_paths() {
        let paths = |path| {
            let location = Location::resolve(&hybrid(), path, OWN).unwrap();
            assert!(!location.unified());
            location.paths().into_iter().collect::<Vec<_>>()
        };
        let pairs = |pairs: [(&str, &str); 5]| pairs.map(|(k, v)| (k.to_owned(), v.to_owned()));
        assert_eq!(
            paths("/docker/abc"),
            pairs([
                ("", "/sys/fs/cgroup/unified/docker/abc"),
                ("cpu", "/sys/fs/cgroup/cpu,cpuacct/docker/abc"),
                ("cpuacct", "/sys/fs/cgroup/cpu,cpuacct/docker/abc"),
                ("memory", "/sys/fs/cgroup/memory/docker/abc"),
                ("name=systemd", "/sys/fs/cgroup/systemd/docker/abc"),
            ])
        );
        assert_eq!(
            paths("../abc"),
            pairs([
                ("", "/sys/fs/cgroup/unified/user.slice/user-1000.slice/session-1.scope/abc"),
                ("cpu", "/sys/fs/cgroup/cpu,cpuacct/shell/abc"),
                ("cpuacct", "/sys/fs/cgroup/cpu,cpuacct/shell/abc"),
                ("memory", "/sys/fs/cgroup/memory/shell/abc"),
                ("name=systemd", "/sys/fs/cgroup/systemd/user.slice/session-1.scope/abc"),
            ])
        );
    }

    #[test]
    fn legacy_mounts_link_controllers_that_share_a_hierarchy() {
        let location = Location::resolve(&hybrid(), "/abc", "").unwrap();
        let shown: Vec<_> = location
            .mounts(None)
            .into_iter()
            .map(|mount| (mount.name, mount.controllers.join(","), mount.links.join(" ")))
            .collect();
        let row = |a: &str, b: &str, c: &str| (a.to_owned(), b.to_owned(), c.to_owned());
        assert_eq!(
            shown,
            [
                row("cpu,cpuacct", "cpu,cpuacct", "cpu cpuacct"),
                row("memory", "memory", ""),
                row("systemd", "name=systemd", ""),
            ]
        );
        assert!(Location::resolve(&Layout::Unified, "/abc", "").unwrap().mounts(None).is_empty());
    }

    #[test]
    fn the_root_is_refused_by_name() {
        let error = Layout::Unified.locate(Some("/.."), "abc").unwrap_err();
        assert_eq!(error.pointer(), Some("/linux/cgroupsPath"));
    }
}
