//! Shares of cache and memory bandwidth: groups of a resctrl file system (config-linux.md,
//! "IntelRdt"; the kernel's Documentation/filesystems/resctrl.rst).
//!
//! A control group is a directory: lines written to its `schemata` say what it may use, a process
//! id written to its `tasks` puts a process, and all that it makes later, into it. A monitoring
//! group is a directory below its `mon_groups`.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::config::IntelRdt;
use crate::error::{Context, Error, Result};

/// What a container wants of resctrl.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The class of service to be in, `/` being the default one; `None` for one of its own.
    pub class: Option<String>,
    /// Lines for `schemata`, in order, each with the JSON pointer that asks for it.
    pub lines: Vec<(String, String)>,
    /// How many of the first lines a class that is there has to have already.
    pub given: usize,
    /// Whether it gets a monitoring group.
    pub monitoring: bool,
}

impl Wanted {
    /// What `linux.intelRdt` asks for.
    pub fn new(rdt: &IntelRdt) -> Self {
        let fields = [("l3CacheSchema", &rdt.l3_cache_schema), ("memBwSchema", &rdt.mem_bw_schema)];
        let mut lines: Vec<_> = fields
            .into_iter()
            .filter_map(|(field, line)| Some((format!("/linux/intelRdt/{field}"), line.clone()?)))
            .collect();
        let given = lines.len();
        let schemata = rdt.schemata.iter().enumerate();
        lines.extend(
            schemata
                .map(|(index, line)| (format!("/linux/intelRdt/schemata/{index}"), line.clone())),
        );
        Self { class: rdt.clos_id.clone(), lines, given, monitoring: rdt.enable_monitoring }
    }
}

/// A mounted resctrl file system.
#[derive(Clone, Debug)]
pub struct Resctrl {
    root: PathBuf,
}

impl Resctrl {
    /// The one that is mounted in this mount namespace.
    ///
    /// # Errors
    /// If there is none.
    pub fn find() -> Result<Self> {
        let table = fs::read_to_string("/proc/self/mountinfo").what(|| "reading mountinfo")?;
        mount_point(&table).map(|root| Self { root }).ok_or_else(|| {
            Error::new("no resctrl file system is mounted").at("/linux/intelRdt", None).help(
                "mount it, where the machine has it: mount -t resctrl resctrl /sys/fs/resctrl",
            )
        })
    }

    /// The one at this directory.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The group of container `id`, which need not be there yet.
    pub fn group<'a>(&self, wanted: &'a Wanted, id: &str) -> Group<'a> {
        let directory = match wanted.class.as_deref() {
            Some("/") => self.root.clone(),
            Some(class) => self.root.join(class),
            None => self.root.join(id),
        };
        let monitoring = wanted.monitoring.then(|| directory.join("mon_groups").join(id));
        Group { wanted, root: self.root.clone(), directory, monitoring, made: Vec::new() }
    }
}

/// The first mount point of type resctrl in a table of mounts (proc(5), mountinfo).
fn mount_point(table: &str) -> Option<PathBuf> {
    table.lines().find_map(|line| {
        let (mount, filesystem) = line.split_once(" - ")?;
        filesystem.starts_with("resctrl ").then(|| mount.split(' ').nth(4).map(PathBuf::from))?
    })
}

/// The group of a container.
#[derive(Debug)]
pub struct Group<'a> {
    wanted: &'a Wanted,
    root: PathBuf,
    directory: PathBuf,
    monitoring: Option<PathBuf>,
    made: Vec<PathBuf>,
}

impl Group<'_> {
    /// The control group's directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The monitoring group's directory, if it has one.
    pub fn monitoring(&self) -> Option<&Path> {
        self.monitoring.as_deref()
    }

    /// Makes the directories that are missing, and looks at what is there.
    ///
    /// # Errors
    /// A class without lines has to be there, one that is there has to have the lines for cache and
    /// bandwidth, and one for the container alone must not be there.
    pub fn make(&mut self) -> Result<()> {
        let class = self.wanted.class.as_ref();
        let value = || class.map(|class| format!("{class:?}"));
        let at = |error: Error| error.at("/linux/intelRdt/closID", value());
        let there = self.directory.is_dir();
        match class {
            Some(_) if there => self.compare()?,
            Some(_) if self.wanted.lines.is_empty() => {
                return Err(at(Error::new("there is no such class of service"))
                    .help("make it, or say in schemata what it is to have"));
            }
            None if there => {
                let name = self.directory.display();
                return Err(at(Error::new(format!(
                    "the resctrl group {name} is somebody's already"
                )))
                .help("choose another ID, or name the class in closID"));
            }
            _ => self.make_directory(&self.directory.clone()).map_err(at)?,
        }
        match self.monitoring.clone() {
            Some(monitoring) => self
                .make_directory(&monitoring)
                .map_err(|error| error.at("/linux/intelRdt/enableMonitoring", Some("true".into()))),
            None => Ok(()),
        }
    }

    fn make_directory(&mut self, path: &Path) -> Result<()> {
        let full = fs::create_dir(path).what(|| format!("making {}", path.display()));
        full.map_err(|error| {
            let error = self.explain(error);
            if error.errno() == Some(rustix::io::Errno::NOSPC) {
                error.help("the machine has no more groups to give")
            } else {
                error
            }
        })?;
        self.made.push(path.to_owned());
        Ok(())
    }

    /// Whether a class that is there has the lines that are asked for.
    fn compare(&self) -> Result<()> {
        let given = &self.wanted.lines[..self.wanted.given];
        if given.is_empty() {
            return Ok(());
        }
        let file = self.directory.join("schemata");
        let text = fs::read_to_string(&file).what(|| format!("reading {}", file.display()))?;
        match given.iter().find(|(_, line)| !has_line(&text, line)) {
            Some((pointer, line)) => Err(Error::new("the class of service has another schema")
                .because(text.trim().replace('\n', ", "))
                .at(pointer, Some(format!("{line:?}")))
                .help("name another class in closID, or what this one has")),
            None => Ok(()),
        }
    }

    /// Writes the lines: the cache's first, bandwidth next, the others last.
    pub fn write_schemata(&self) -> Result<()> {
        if self.wanted.lines.is_empty() {
            return Ok(());
        }
        let path = self.directory.join("schemata");
        let what = || format!("writing {}", path.display());
        let mut file = OpenOptions::new().append(true).open(&path).what(what)?;
        for (pointer, line) in &self.wanted.lines {
            file.write_all(format!("{line}\n").as_bytes()).what(what).map_err(|error| {
                self.explain(error)
                    .at(pointer, Some(format!("{line:?}")))
                    .help("info/ in the resctrl file system tells what the machine has to share")
            })?;
        }
        Ok(())
    }

    /// Puts a process into the groups.
    pub fn enter(&self, pid: u32) -> Result<()> {
        enter(&self.directory, self.monitoring(), pid).map_err(|error| self.explain(error))
    }

    /// Removes what [`make`](Self::make) made, in reverse.
    pub fn undo(&mut self) {
        while let Some(path) = self.made.pop() {
            let _ = fs::remove_dir(path);
        }
    }

    /// Adds the kernel's own words for what it refused.
    fn explain(&self, error: Error) -> Error {
        match fs::read_to_string(self.root.join("info/last_cmd_status")) {
            Ok(words) if !matches!(words.trim(), "" | "ok") => {
                error.because(words.trim().to_owned())
            }
            _ => error,
        }
    }
}

/// Writes lines into the `schemata` of a group that is there: all of them, or none.
pub fn rewrite(directory: &Path, wanted: &Wanted) -> Result<()> {
    let path = directory.join("schemata");
    let before = fs::read_to_string(&path).what(|| format!("reading {}", path.display()))?;
    // Its root is found for the kernel's own words only.
    let root = directory.parent().unwrap_or(directory).to_owned();
    let directory = directory.to_owned();
    let group = Group { wanted, root, directory, monitoring: None, made: Vec::new() };
    group.write_schemata().inspect_err(|_| {
        for line in before.lines() {
            let _ = OpenOptions::new()
                .append(true)
                .open(&path)
                .and_then(|mut file| file.write_all(format!("{}\n", line.trim()).as_bytes()));
        }
    })
}

/// Puts a process into groups that are there.
pub fn enter(directory: &Path, monitoring: Option<&Path>, pid: u32) -> Result<()> {
    // The control group first: a monitoring group takes only what is in its own.
    for group in std::iter::once(directory).chain(monitoring) {
        let path = group.join("tasks");
        OpenOptions::new()
            .append(true)
            .open(&path)
            .and_then(|mut file| file.write_all(format!("{pid}\n").as_bytes()))
            .what(|| format!("writing {}", path.display()))
            .map_err(|error| error.at("/linux/intelRdt", None))?;
    }
    Ok(())
}

/// Removes the groups of a container that is no more: its monitoring group, and its control group if
/// that was made for it alone. What is gone already is no error.
pub fn remove(directory: &Path, own: bool, monitoring: Option<&Path>) -> Result<()> {
    // A monitoring group goes with its control group.
    let doomed = if own { Some(directory) } else { monitoring };
    match doomed.map(|path| (path, fs::remove_dir(path))) {
        None | Some((_, Ok(()))) => Ok(()),
        Some((_, Err(error))) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Some((path, Err(error))) => Err(error).what(|| format!("removing {}", path.display())),
    }
}

/// Whether the text of `schemata` has what a line says: `MB:0=20` in `MB:0=20;1=100`. Numbers are
/// compared without leading zeros, resources without the spaces that align them.
fn has_line(text: &str, line: &str) -> bool {
    let split = |line: &str| {
        let (resource, domains) = line.split_once(':')?;
        let domains = domains.split(';').filter_map(|domain| {
            let (number, share) = domain.split_once('=')?;
            let share = share.trim().trim_start_matches('0').to_lowercase();
            Some((number.trim().to_owned(), share))
        });
        Some((resource.trim().to_owned(), domains.collect::<Vec<_>>()))
    };
    let Some((resource, wanted)) = split(line) else { return false };
    text.lines().filter_map(split).any(|(other, there)| {
        other == resource && wanted.iter().all(|domain| there.contains(domain))
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
#[path = "resctrl_tests.rs"]
mod tests;
