//! From `linux.resources` to what is written into which file of a cgroup, before anything is
//! (config-linux.md, "Control groups").
//!
//! A pure function: what depends on the kernel, such as a file that it may lack, is a closed set of
//! conditions on the [`Write`]. Devices are apart: [`super::DeviceRule`].

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::write::{Missing, Version, Write, Writes, escape};
use super::{limits_v1, limits_v2};
use crate::config::{Cpu, HugepageLimit, Rdma, Resources};
use crate::{Error, Result};

/// The limits of a container, in the order in which they are written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// What is written while the cgroup is still empty.
    pub first: Vec<Write>,
    /// The number of tasks, which is limited once the first process is in: with a limit of none,
    /// it could not be made there.
    pub tasks: Vec<Write>,
    /// Refuse a memory limit that is already exceeded: `memory.checkBeforeUpdate`. Version 1 does
    /// so itself.
    pub check_usage: Option<u64>,
}

impl Limits {
    /// Limits for a machine that has each controller, asked for by its version 2 name, in the
    /// given version; `cgroup` asks for the version 2 hierarchy itself.
    pub fn new(resources: &Resources, version: impl Fn(&str) -> Option<Version>) -> Result<Self> {
        let mut limits = Self::default();
        let legacy = |controller| version(controller) == Some(Version::V1);
        let all = &mut limits.first;
        if let Some(memory) = &resources.memory {
            let mut to = Writes::new("memory", all);
            if legacy("memory") {
                limits_v1::memory(&mut to, memory);
            } else {
                limits_v2::memory(&mut to, memory)?;
                limits.check_usage = limits_v2::check_usage(memory);
            }
        }
        if let Some(cpu) = &resources.cpu {
            let mut to = Writes::new("cpu", all);
            if legacy("cpu") {
                limits_v1::cpu(&mut to, cpu)?;
            } else {
                limits_v2::cpu(&mut to, cpu)?;
            }
            cpuset(&mut Writes::new("cpuset", all), cpu);
        }
        if let Some(block_io) = &resources.block_io {
            let mut to = Writes::new("io", all);
            if legacy("io") {
                limits_v1::block_io(&mut to, block_io);
            } else {
                limits_v2::block_io(&mut to, block_io)?;
            }
        }
        let suffix = if legacy("hugetlb") { "limit_in_bytes" } else { "max" };
        hugetlb(&mut Writes::new("hugetlb", all), &resources.hugepage_limits, suffix);
        if let Some(network) = &resources.network {
            limits_v1::network(all, network);
        }
        rdma(&mut Writes::new("rdma", all), &resources.rdma);
        for (file, value) in &resources.unified {
            limits_v2::unified(all, file, value)?;
        }
        if let Some(limit) = resources.pids.and_then(|pids| pids.limit) {
            let value = if limit < 0 { "max".to_owned() } else { limit.to_string() };
            let mut to = Writes::new("pids", &mut limits.tasks);
            to.put("pids.max", value, "pids/limit").given = limit.to_string();
        }
        limits.place(version)?;
        Ok(limits)
    }

    /// Finds the hierarchy of each write.
    fn place(&mut self, version: impl Fn(&str) -> Option<Version>) -> Result<()> {
        for writes in [&mut self.first, &mut self.tasks] {
            writes.retain(|write| {
                write.missing != Missing::Skip || version(&write.controller).is_some()
            });
            for write in writes {
                let unified = write.field.starts_with("unified/");
                write.version = match version(&write.controller) {
                    Some(Version::V1) if unified => return Err(unplaced(write, true)),
                    Some(version) => version,
                    None => return Err(unplaced(write, false)),
                };
            }
        }
        Ok(())
    }

    /// All writes, in order.
    pub fn writes(&self) -> impl Iterator<Item = &Write> {
        self.first.iter().chain(&self.tasks)
    }

    /// Whether nothing is limited.
    pub fn is_empty(&self) -> bool {
        self.first.is_empty() && self.tasks.is_empty()
    }

    /// The controllers that they need, by their version 2 names, each once.
    /// What [may be missing](Missing::Skip) needs none.
    pub fn controllers(&self) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        for write in self.writes() {
            let needed = write.missing != Missing::Skip && write.controller != "cgroup";
            if needed && !names.contains(&&*write.controller) {
                names.push(&write.controller);
            }
        }
        names
    }
}

/// The lists are the same in both versions.
fn cpuset(to: &mut Writes<'_>, cpu: &Cpu) {
    let lists = [(&cpu.cpus, "cpuset.cpus", "cpu/cpus"), (&cpu.mems, "cpuset.mems", "cpu/mems")];
    for (list, file, field) in lists {
        if let Some(list) = list {
            to.put(file, list, field).given = format!("{list:?}");
        }
    }
}

/// Limits what is reserved and what is used: where only use is limited, a process is killed when
/// it uses what it was promised.
fn hugetlb(to: &mut Writes<'_>, limits: &[HugepageLimit], suffix: &str) {
    for (index, limit) in limits.iter().enumerate() {
        let field = format!("hugepageLimits/{index}/limit");
        let size = &limit.page_size;
        to.put(format!("hugetlb.{size}.{suffix}"), limit.limit, field.clone());
        // Before Linux 5.7 there is no such file.
        to.put(format!("hugetlb.{size}.rsvd.{suffix}"), limit.limit, field).missing = Missing::Skip;
    }
}

/// The same in both versions.
fn rdma(to: &mut Writes<'_>, devices: &BTreeMap<String, Rdma>) {
    for (device, limit) in devices {
        let counts = [("hca_handle", limit.hca_handles), ("hca_object", limit.hca_objects)];
        let counts = counts.iter().filter_map(|(name, count)| Some((name, (*count)?)));
        let value: Vec<_> = counts.map(|(name, count)| format!("{name}={count}")).collect();
        let write = to.put("rdma.max", value.join(" "), format!("rdma/{}", escape(device)));
        write.key = Some(device.clone());
        write.given = serde_json::to_string(limit).unwrap_or_default();
    }
}

/// No hierarchy has the file, or one of the other version has its controller.
fn unplaced(write: &Write, other_version: bool) -> Error {
    const FIELDS: &str = "unified sets files of version 2: use the other fields of resources";
    match &*write.controller {
        name if other_version => {
            let what = format!("the {name} controller is in a hierarchy of cgroup version 1");
            refused(write, what).help(FIELDS)
        }
        "cgroup" => {
            refused(write, "this machine has control groups of version 1 only").help(FIELDS)
        }
        name => {
            let help = match name {
                "net_cls" | "net_prio" => "version 1 of control groups has it only: take it out",
                _ => "this machine cannot set this limit: take it out",
            };
            refused(write, format!("no cgroup hierarchy has the {name} controller")).help(help)
        }
    }
}

/// An error about what is asked for.
fn refused(write: &Write, what: impl Into<Cow<'static, str>>) -> Error {
    Error::new(what).at(write.pointer(), Some(write.given.clone()))
}

#[cfg(test)]
#[path = "limits_tests.rs"]
mod tests;
