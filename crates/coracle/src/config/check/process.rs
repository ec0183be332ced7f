//! The program to run (config.md, Process).

use super::place::{Place, absolute, no_nul, no_nuls};
use crate::config::{
    Capabilities, IoPriority, Process, Rlimit, Scheduler, SchedulerPolicy, User, capability_number,
    parse_list,
};
use crate::error::Result;

pub(super) fn check(place: &Place<'_>, process: &Process) -> Result<()> {
    args(&place.key("args"), &process.args)?;
    env(&place.key("env"), &process.env)?;
    absolute(&place.key("cwd"), &process.cwd)?;
    user(&place.key("user"), &process.user)?;
    if let Some(sets) = &process.capabilities {
        capabilities(&place.key("capabilities"), sets)?;
    }
    rlimits(&place.key("rlimits"), &process.rlimits)?;
    let size = process.console_size.filter(|_| process.terminal);
    if let Some(size) = size.filter(|size| size.height.max(size.width) > u64::from(u16::MAX)) {
        return Err(place
            .key("consoleSize")
            .refuse(&size, "no terminal is that large")
            .help("lines and columns go up to 65535"));
    }
    if let Some(score) = process.oom_score_adj.filter(|score| !(-1000..=1000).contains(score)) {
        return Err(place
            .key("oomScoreAdj")
            .refuse(&score, "the score is out of range")
            .help("it goes from -1000 (never killed) to 1000 (killed first)"));
    }
    if let Some(it) = &process.scheduler {
        scheduler(&place.key("scheduler"), it)?;
    }
    if let Some(it) = &process.io_priority {
        io_priority(&place.key("ioPriority"), *it)?;
    }
    if let Some(affinity) = &process.exec_cpu_affinity {
        let place = place.key("execCPUAffinity");
        for (key, list) in [("initial", &affinity.initial), ("final", &affinity.last)] {
            if let Some(list) = list.as_deref().filter(|list| parse_list(list).is_none()) {
                return Err(place
                    .key(key)
                    .refuse(list, "not a list of CPUs")
                    .help("write numbers and ranges, such as 0-3,7"));
            }
        }
    }
    for (key, label) in
        [("apparmorProfile", &process.apparmor_profile), ("selinuxLabel", &process.selinux_label)]
    {
        no_nul(&place.key(key), label.as_deref().unwrap_or_default())?;
    }
    Ok(())
}

fn args(place: &Place<'_>, args: &[String]) -> Result<()> {
    let help = "name the program to run, such as [\"sh\"]";
    match args.first() {
        None => return Err(place.refuse(args, "args must not be empty").help(help)),
        Some(program) if program.is_empty() => {
            return Err(place.index(0).refuse(program, "the program has no name").help(help));
        }
        Some(_) => {}
    }
    no_nuls(place, args)
}

fn env(place: &Place<'_>, env: &[String]) -> Result<()> {
    for (i, entry) in env.iter().enumerate() {
        let place = place.index(i);
        no_nul(&place, entry)?;
        let because = match entry.split_once('=') {
            None => "invalid environment variable: missing '='",
            Some(("", _)) => "invalid environment variable: name cannot be empty",
            Some(_) => continue,
        };
        return Err(place.refuse(entry, because).help("write NAME=value"));
    }
    Ok(())
}

/// What IDs there are.
pub(super) const IDS: &str = "IDs go up to 4294967294";

fn user(place: &Place<'_>, user: &User) -> Result<()> {
    // The kernel keeps the greatest ID for "no change" (setresuid(2)).
    let ids = [("uid", user.uid), ("gid", user.gid)];
    if let Some((key, id)) = ids.into_iter().find(|(_, id)| *id == u32::MAX) {
        return Err(place.key(key).refuse(&id, "nobody can have this ID").help(IDS));
    }
    if let Some(i) = user.additional_gids.iter().position(|id| *id == u32::MAX) {
        let place = place.key("additionalGids");
        return Err(place.index(i).refuse(&u32::MAX, "nobody can have this ID").help(IDS));
    }
    if let Some(umask) = user.umask.filter(|umask| *umask > 0o7777) {
        return Err(place
            .key("umask")
            .refuse(&umask, "the umask has bits that no file mode has")
            .help("JSON has decimal numbers only: the octal 0022 is 18"));
    }
    Ok(())
}

/// What capset(2) would answer with EPERM to. Names that nobody knows are no error.
fn capabilities(place: &Place<'_>, sets: &Capabilities) -> Result<()> {
    let missing = sets
        .effective
        .iter()
        .position(|name| capability_number(name).is_some() && !sets.permitted.contains(name));
    let Some(i) = missing else { return Ok(()) };
    Err(place
        .key("effective")
        .index(i)
        .refuse(&sets.effective[i], "a capability that is not permitted cannot be effective")
        .help("add it to permitted as well"))
}

fn rlimits(place: &Place<'_>, rlimits: &[Rlimit]) -> Result<()> {
    for (i, rlimit) in rlimits.iter().enumerate() {
        let place = place.index(i);
        if rlimit.resource().is_none() {
            return Err(place
                .key("type")
                .refuse(&rlimit.kind, "no such resource limit")
                .help("getrlimit(2) lists them, such as RLIMIT_NOFILE"));
        }
        if rlimits[..i].iter().any(|other| other.kind == rlimit.kind) {
            return Err(place
                .key("type")
                .refuse(&rlimit.kind, "this resource is limited twice")
                .help("keep one of the two"));
        }
        if rlimit.soft > rlimit.hard {
            return Err(place
                .key("soft")
                .refuse(&rlimit.soft, "the soft limit is higher than the hard limit")
                .help(format!("the hard limit is {}", rlimit.hard)));
        }
    }
    Ok(())
}

/// What `sched_setattr(2)` would answer with EINVAL to.
fn scheduler(place: &Place<'_>, it: &Scheduler) -> Result<()> {
    use SchedulerPolicy::{Deadline, Fifo, Iso, Rr};

    if it.policy == Iso {
        return Err(place
            .key("policy")
            .refuse(&it.policy, "no kernel has this scheduling policy")
            .help("use SCHED_OTHER"));
    }
    if !(-20..=19).contains(&it.nice) {
        return Err(place
            .key("nice")
            .refuse(&it.nice, "the nice value is out of range")
            .help("it goes from -20 (most favoured) to 19"));
    }
    let priorities = if matches!(it.policy, Fifo | Rr) { 1..=99 } else { 0..=0 };
    if !priorities.contains(&it.priority) {
        return Err(place
            .key("priority")
            .refuse(&it.priority, "the scheduling policy has no such priority")
            .help("SCHED_FIFO and SCHED_RR have 1 to 99, all others 0"));
    }
    let times = [("runtime", it.runtime), ("deadline", it.deadline), ("period", it.period)];
    if it.policy != Deadline {
        return match times.into_iter().find(|(_, time)| *time != 0) {
            Some((key, time)) => Err(place
                .key(key)
                .refuse(&time, "the scheduling policy has no such time")
                .help("runtime, deadline and period are for SCHED_DEADLINE")),
            None => Ok(()),
        };
    }
    let period = if it.period == 0 { it.deadline } else { it.period };
    if it.runtime < 1024 || it.runtime > it.deadline || it.deadline > period {
        return Err(place
            .refuse(it, "the times of SCHED_DEADLINE do not fit")
            .help("1024 ns <= runtime <= deadline <= period"));
    }
    Ok(())
}

fn io_priority(place: &Place<'_>, it: IoPriority) -> Result<()> {
    if !(0..=7).contains(&it.priority) {
        return Err(place
            .key("priority")
            .refuse(&it.priority, "the priority is out of range")
            .help("it goes from 0 (most favoured) to 7"));
    }
    Ok(())
}
