//! The first process's way into its cgroup, whoever makes that.

use std::collections::BTreeMap;

use rustix::process::{Pid, Uid};

use crate::cgroup::{self, Cgroup, Manager, Start, Unit};
use crate::error::Result;
use crate::plan::Plan;
use crate::store::Record;

/// The cgroup of a container that there is.
pub(super) fn cgroup_of(record: &Record) -> Cgroup {
    let name = Some(record.systemd_scope.clone()).filter(|name| !name.is_empty());
    let unit = name.map(|name| Unit { name, user: record.options.systemd_user });
    Cgroup::from_paths(&record.cgroup_paths).with_unit(unit)
}

/// Makes the cgroup, as far as that goes before there is a process: systemd wants a living one.
pub(super) fn make(plan: &Plan, manager: Manager) -> Result<Cgroup> {
    if manager == Manager::Disabled || plan.cgroup.unit.is_some() {
        return Ok(Cgroup::from_paths(&BTreeMap::new()));
    }
    let controllers = plan.cgroup.limits.controllers();
    Cgroup::make(&plan.cgroup.location, &wanted(plan, &controllers))
}

/// Writes the limits of a cgroup that was made, and gives it to whom it is for.
pub(super) fn limit(made: &Cgroup, plan: &Plan) -> Result<()> {
    made.set_limits(&plan.cgroup.limits.first)?;
    plan.cgroup.owner.map_or(Ok(()), |uid| made.delegate(Uid::from_raw(uid)))
}

/// Moves the first process in; one that was `born` there is there.
pub(super) fn enter(made: &mut Cgroup, plan: &Plan, pid: Pid, born: bool) -> Result<()> {
    let Some(unit) = &plan.cgroup.unit else { return made.enter(pid, born) };
    let start = Start {
        unit,
        location: &plan.cgroup.location,
        subgroup: plan.cgroup.subgroup.as_deref(),
        limits: &plan.cgroup.limits,
        devices: &cgroup::effective_rules(&plan.cgroup.devices),
    };
    let controllers = plan.cgroup.limits.controllers();
    *made = Cgroup::start(&start, &wanted(plan, &controllers), pid)?;
    limit(made, plan)
}

fn wanted<'a>(plan: &Plan, controllers: &'a [&'a str]) -> cgroup::Request<'a> {
    cgroup::Request {
        rootless: plan.rootless,
        path_given: plan.cgroup.required,
        controllers,
        // For `events`, `update`, and engines that read the files themselves.
        every_controller: true,
    }
}
