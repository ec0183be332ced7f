//! A cgroup that systemd makes, and the cgroups in one's own.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use rustix::process::{Pid, Signal, Uid, kill_process};

use super::device::DeviceRule;
use super::dir::{self, Dir};
use super::layout::{HYBRID, Layout, MOUNT};
use super::limits::Limits;
use super::location::{self, Location, Place};
use super::systemd::{NewUnit, Unit};
use super::{Cgroup, Request, Version, v1, v2};
use crate::error::Context;
use crate::{Error, Result};

/// What a unit is started with.
#[derive(Clone, Copy, Debug)]
pub struct Start<'a> {
    /// The unit.
    pub unit: &'a NewUnit,
    /// Where the container's cgroup is expected.
    pub location: &'a Location,
    /// A cgroup in it for the process and the limits (crun's `run.oci.systemd.subgroup`).
    pub subgroup: Option<&'a Path>,
    /// The limits, which become properties. They are not written into files yet.
    pub limits: &'a Limits,
    /// The device rules, likewise.
    pub devices: &'a [DeviceRule],
}

/// A cgroup in the container's, for one more process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubCgroup {
    /// The controllers, as version 1 calls them, in whose hierarchies it is; all, if none is named.
    pub controllers: Vec<String>,
    /// The path, counted from the container's.
    pub path: PathBuf,
}

impl Cgroup {
    /// Has systemd make the cgroup around a process. On an error the process is killed, and what was
    /// made is taken back.
    pub fn start(start: &Start<'_>, request: &Request<'_>, pid: Pid) -> Result<Self> {
        start.unit.start(pid, start.limits, start.devices, start.location.is_unified)?;
        let mut cgroup = Self {
            is_unified: start.location.is_unified,
            dirs: Vec::with_capacity(start.location.places.len()),
            made: Vec::new(),
            rootless: request.rootless,
            lenient: false,
            unit: Some(start.unit.unit().clone()),
        };
        match cgroup.fill_unit(start, request, pid) {
            Ok(()) => Ok(cgroup),
            Err(error) => {
                // As the first of its namespace it ignores systemd's SIGTERM, and stopping the unit
                // would take until systemd loses patience.
                _ = kill_process(pid, Signal::KILL);
                // The first error is the one to tell.
                _ = cgroup.undo();
                Err(error)
            }
        }
    }

    fn fill_unit(&mut self, start: &Start<'_>, request: &Request<'_>, pid: Pid) -> Result<()> {
        let text = pid.to_string();
        let found;
        let location = if start.unit.is_slice() {
            start.location
        } else {
            // The kernel knows where systemd has put it.
            let name = &start.unit.unit().name;
            let unit = start.location.of_process(&cgroups_of(pid)?);
            let unit = unit.filter(|found| found.ends_in(name)).ok_or_else(|| {
                Error::new(format!("systemd did not put process {pid} into {name}"))
                    .help("see systemctl status of that unit")
            })?;
            found = unit.below(start.subgroup);
            &found
        };
        for Place { hierarchy, dir } in &location.places {
            let dir = Dir::new(hierarchy.controllers.clone(), dir.clone());
            // Those that systemd keeps track in, it has made and filled. All others it may not
            // know of, or not have.
            let tracked = dir.controllers.is_empty() || dir.controls("name=systemd");
            let is_there = tracked && !start.unit.is_slice() && dir.fd().is_ok();
            if !is_there {
                dir::make_path(&hierarchy.mount, &dir.path, &mut self.made)
                    .what(|| format!("making the cgroup {}", dir.path.display()))?;
                if dir.controls("cpuset") {
                    v1::fill_cpuset(&hierarchy.mount, &dir)
                        .what(|| format!("copying the cpuset from above {}", dir.path.display()))?;
                }
                let entered = if dir.controllers.is_empty() {
                    v2::enter(&dir, &text)
                } else {
                    dir.write("cgroup.procs", &text)
                };
                entered.map_err(|errno| v2::entering(&dir, pid, errno))?;
            }
            if self.is_unified {
                let own = |name: &&&str| location.version(name) == Some(Version::V2);
                let needed: Vec<_> = request.controllers.iter().filter(own).copied().collect();
                v2::enable(&hierarchy.mount, &dir, &needed, request.every_controller)?;
            }
            self.dirs.push(dir);
        }
        Ok(())
    }

    /// Says which unit of systemd it is, for [`Cgroup::from_paths`].
    pub fn with_unit(mut self, unit: Option<Unit>) -> Self {
        self.unit = unit;
        self
    }

    /// The cgroup that a process is in; version 2 only.
    pub fn of_process(pid: Pid) -> Result<Self> {
        let text = cgroups_of(pid)?;
        let path = location::own_path(&[], &text).trim_start_matches('/');
        let mut cgroup = Self::from_paths(&BTreeMap::new());
        cgroup.dirs.push(Dir::new(Vec::new(), Path::new(MOUNT).join(path)));
        Ok(cgroup)
    }

    /// The cgroups in it that `exec --cgroup` names. They have to be there.
    pub fn below(mut self, subs: &[SubCgroup]) -> Result<Self> {
        for sub in subs {
            let named = |dir: &&mut Dir| {
                sub.controllers.is_empty()
                    || dir.controllers.iter().any(|name| {
                        sub.controllers.iter().any(|wanted| {
                            wanted == name || name.strip_prefix("name=") == Some(wanted)
                        })
                    })
            };
            let mut unknown = sub.controllers.iter().filter(|wanted| {
                !self.dirs.iter().any(|dir| {
                    dir.controllers
                        .iter()
                        .any(|name| name == *wanted || name.strip_prefix("name=") == Some(wanted))
                })
            });
            if let Some(unknown) = unknown.next() {
                return Err(Error::new(format!("unknown controller {unknown} in --cgroup")).help(
                    if self.is_unified {
                        "on cgroup version 2 there is one path for all: --cgroup PATH"
                    } else {
                        "controllers are those of version 1, such as cpu,cpuacct:PATH"
                    },
                ));
            }
            for dir in self.dirs.iter_mut().filter(named) {
                let path = dir.path.join(&sub.path);
                let below = Dir::new(dir.controllers.clone(), path);
                below.fd().map_err(|errno| {
                    Error::new(format!("opening the cgroup {}", below.path.display()))
                        .os(errno)
                        .help("--cgroup names one that is there, below the container's")
                })?;
                *dir = below;
            }
        }
        Ok(self)
    }

    /// Moves a process on into a cgroup in this one, which is made and given to `owner` to divide
    /// further (crun's `run.oci.delegate-cgroup`). Version 2 only.
    pub fn hand_on(&mut self, below: &Path, pid: Pid, owner: Option<Uid>) -> Result<()> {
        let Some(own) = self.dirs.first().filter(|_| self.is_unified) else {
            return Err(Error::new("a cgroup is delegated on version 2 only")
                .at("/annotations/run.oci.delegate-cgroup", None));
        };
        let dir = Dir::new(Vec::new(), own.path.join(below));
        dir::make_path(&own.path, &dir.path, &mut self.made)
            .what(|| format!("making the cgroup {}", dir.path.display()))?;
        v2::enter(&dir, &pid.to_string()).map_err(|errno| v2::entering(&dir, pid, errno))?;
        owner.map_or(Ok(()), |owner| v2::delegate(&dir, owner))
    }

    /// Enables controllers of version 2 that were not needed when the cgroup was made.
    pub(super) fn enable(&self, controllers: &[&str]) -> Result<()> {
        let Some(dir) = self.dirs.iter().find(|dir| dir.controllers.is_empty()) else {
            return Ok(());
        };
        let own = |name: &&&str| self.version(name) == Some(Version::V2);
        let needed: Vec<&str> = controllers.iter().filter(own).copied().collect();
        let mount = if self.is_unified { MOUNT } else { HYBRID };
        v2::enable(mount.as_ref(), dir, &needed, false)
    }
}

impl SubCgroup {
    /// Reads what `--cgroup` was given: `PATH` once, or `CONTROLLER[,CONTROLLER]:PATH` as often as
    /// need be.
    pub fn parse<'a>(words: impl IntoIterator<Item = &'a str>) -> Result<Vec<Self>> {
        let mut subs: Vec<Self> = Vec::new();
        for word in words {
            let wrong = |what: &'static str| {
                Error::new(format!("invalid --cgroup {word:?}"))
                    .because(what)
                    .help("it takes PATH, or CONTROLLER[,CONTROLLER]:PATH")
            };
            let (controllers, path) = match word.split_once(':') {
                Some((controllers, path)) => {
                    (controllers.split(',').map(str::to_owned).collect(), path)
                }
                None => (Vec::new(), word),
            };
            if controllers.iter().any(String::is_empty) || path.contains(':') {
                return Err(wrong("a controller is missing"));
            }
            let known = |one: &String| subs.iter().any(|sub| sub.controllers.contains(one));
            if controllers.iter().any(known) {
                return Err(wrong("a controller is there twice"));
            }
            let alone = |sub: &Self| sub.controllers.is_empty();
            if subs.iter().any(alone) || !subs.is_empty() && controllers.is_empty() {
                return Err(wrong("one path for all controllers stands alone"));
            }
            let path = relative(path).ok_or_else(|| wrong("not a sub cgroup path"))?;
            subs.push(Self { controllers, path });
        }
        Ok(subs)
    }
}

/// The cgroup in another one that an annotation names, which version 2 alone has.
pub fn annotated(
    annotations: &BTreeMap<String, String>,
    key: &str,
    layout: &Layout,
) -> Result<Option<PathBuf>> {
    let Some(path) = annotations.get(key).filter(|path| !path.is_empty()) else { return Ok(None) };
    let wrong = |what: &'static str| {
        Err(Error::new(what).at(format!("/annotations/{key}"), Some(format!("{path:?}"))))
    };
    match relative(path) {
        _ if *layout != Layout::Unified => wrong("this needs cgroup version 2"),
        Some(clean) if !clean.as_os_str().is_empty() => Ok(Some(clean)),
        _ => wrong("the path names no cgroup below the container's"),
    }
}

/// A path below another one; none if it leads out. Slashes in front count for nothing.
fn relative(path: &str) -> Option<PathBuf> {
    let mut clean = PathBuf::new();
    for component in Path::new(path).components() {
        match component {
            Component::Normal(name) => clean.push(name),
            Component::RootDir | Component::CurDir => {}
            Component::ParentDir | Component::Prefix(_) => return None,
        }
    }
    Some(clean)
}

/// Which cgroups a process is in (cgroups(7), /proc/PID/cgroup).
fn cgroups_of(pid: Pid) -> Result<String> {
    std::fs::read_to_string(format!("/proc/{pid}/cgroup"))
        .what(|| format!("reading the cgroups of process {pid}"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn sub_cgroups_are_paths_with_or_without_controllers() {
        let sub = |controllers: &[&str], path: &str| SubCgroup {
            controllers: controllers.iter().map(|&name| name.to_owned()).collect(),
            path: path.into(),
        };
        let parse = |words: &[&str]| SubCgroup::parse(words.iter().copied());
        assert_eq!(parse(&[]).unwrap(), []);
        assert_eq!(parse(&["/a/./b"]).unwrap(), [sub(&[], "a/b")]);
        assert_eq!(parse(&["/"]).unwrap(), [sub(&[], "")]);
        assert_eq!(
            parse(&["cpu,cpuacct:x", "pids:y"]).unwrap(),
            [sub(&["cpu", "cpuacct"], "x"), sub(&["pids"], "y")]
        );
        for bad in [
            &["../x"][..],
            &["a/../../b"],
            &["a", "b"],
            &["cpu:a", "b"],
            &["cpu:a", "cpu:b"],
            &[":a"],
            &["a:b:c"],
        ] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }
}
