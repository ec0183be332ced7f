//! `/linux/cgroupsPath` and `/linux/resources` → the container's cgroup.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::{Host, Options};
use crate::cgroup::{self, DeviceRule};
use crate::config;
use crate::error::Result;

/// What is made in the cgroup hierarchy.
#[derive(Debug)]
pub struct Cgroup {
    /// Where.
    pub location: cgroup::Location,
    /// What systemd is to start, if that makes it.
    pub unit: Option<cgroup::NewUnit>,
    /// A cgroup in the unit's, which is the container's.
    pub subgroup: Option<PathBuf>,
    /// A cgroup in the container's, which its process is handed on to.
    pub delegate: Option<PathBuf>,
    /// The device rules, in the order of the configuration; those of the default devices come
    /// with them.
    pub devices: Vec<DeviceRule>,
    /// What is written into its files.
    pub limits: cgroup::Limits,
    /// The user of the host who gets the directory, to divide it further.
    pub owner: Option<u32>,
    /// Whether the configuration asks for a cgroup or a limit, so that doing without is an error.
    pub required: bool,
}

/// Where the cgroup goes and what it allows.
pub(super) fn cgroup(
    linux: &config::Linux,
    annotations: &BTreeMap<String, String>,
    options: &Options,
    host: &Host,
) -> Result<Cgroup> {
    let path = linux.cgroups_path.as_deref();
    let sub_cgroup = |key: &str| cgroup::annotated(annotations, key, &host.cgroups);
    let delegate = sub_cgroup("run.oci.delegate-cgroup")?;
    let (unit, subgroup, location) = match &host.systemd_root {
        Some(root) => {
            let unit = cgroup::NewUnit::plan(path, &options.id, host.rootless, annotations)?;
            let location = host.cgroups.locate_unit(root, &unit)?;
            let subgroup = sub_cgroup("run.oci.systemd.subgroup")?;
            (Some(unit), subgroup.clone(), location.below(subgroup.as_deref()))
        }
        None => (None, None, host.cgroups.locate(path, &options.id)?),
    };
    let rules = linux.resources.as_ref().map_or(&[][..], |r| &r.devices);
    let devices = rules
        .iter()
        .enumerate()
        .map(|(index, rule)| {
            DeviceRule::from_config(rule)
                .map_err(|error| error.at(format!("/linux/resources/devices/{index}"), None))
        })
        .collect::<Result<_>>()?;
    let limits = match &linux.resources {
        Some(resources) => {
            cgroup::Limits::new(resources, |controller| location.version(controller))?
        }
        None => cgroup::Limits::default(),
    };
    let required = linux.cgroups_path.is_some();
    Ok(Cgroup { location, unit, subgroup, delegate, devices, limits, owner: None, required })
}
