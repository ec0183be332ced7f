//! The process's share of the machine: its scheduling, the priority of its input and output, where
//! its memory comes from, and the machine that uname(2) names.

use super::origin::Origin;
use super::step::{Action, Step};
use crate::config::{
    self, IoPriority, IoPriorityClass, MemoryPolicy, MemoryPolicyFlag, MemoryPolicyMode,
    PersonalityDomain, Process, Scheduler, SchedulerFlag, SchedulerPolicy,
};
use crate::error::{Error, Result};
use crate::sys::schedule::Scheduling;

/// As many CPUs as a kernel can be built for (`CONFIG_NR_CPUS`).
const MOST_CPUS: u32 = 8192;

/// linux/personality.h
const PER_LINUX: u32 = 0;
const PER_LINUX32: u32 = 8;

/// As many memory nodes as a kernel can be built for (`CONFIG_NODES_SHIFT`).
const MOST_NODES: u32 = 1024;

/// Appends what is done before the process becomes its user: some of it takes privileges.
pub(super) fn plan(process: &Process, linux: &config::Linux, steps: &mut Vec<Step>) -> Result<()> {
    let mut push = |field, action| steps.push(Step { origin: Origin::field(field), action });
    if let Some(scheduler) = &process.scheduler {
        push("/process/scheduler", Action::Scheduling(Box::new(scheduling(scheduler))));
    }
    if let Some(priority) = process.io_priority {
        push("/process/ioPriority", Action::IoPriority(io_priority(priority)));
    }
    if let Some(policy) = &linux.memory_policy {
        push("/linux/memoryPolicy", memory_policy(policy)?);
    }
    if let Some(personality) = &linux.personality {
        let domain = match personality.domain {
            PersonalityDomain::Linux => PER_LINUX,
            PersonalityDomain::Linux32 => PER_LINUX32,
        };
        push("/linux/personality", Action::Personality(domain));
    }
    Ok(())
}

/// The CPUs of a list, bit n being CPU n; `None` if the list is not given or names none.
pub(super) fn cpus(list: Option<&str>, pointer: &str) -> Result<Option<Vec<u64>>> {
    let words = list.map(|list| bits(list, MOST_CPUS, pointer)).transpose()?;
    Ok(words.filter(|words| !words.is_empty()))
}

/// A list of numbers below `most` as bits.
fn bits(list: &str, most: u32, pointer: &str) -> Result<Vec<u64>> {
    let refuse = |why: String| Err(Error::new(why).at(pointer, Some(format!("{list:?}"))));
    let Some(ranges) = config::parse_list(list) else {
        return refuse("not a list of numbers and ranges".into());
    };
    let Some(greatest) = ranges.iter().map(|range| *range.end()).max() else {
        return Ok(Vec::new());
    };
    if greatest >= most {
        return refuse(format!("no kernel has a number {greatest} of these"));
    }
    let mut words = vec![0; greatest as usize / 64 + 1];
    for number in ranges.into_iter().flatten() {
        words[number as usize / 64] |= 1 << (number % 64);
    }
    Ok(words)
}

/// sched_setattr(2): the numbers of linux/sched.h.
fn scheduling(scheduler: &Scheduler) -> Scheduling {
    let policy = match scheduler.policy {
        SchedulerPolicy::Other => 0,
        SchedulerPolicy::Fifo => 1,
        SchedulerPolicy::Rr => 2,
        SchedulerPolicy::Batch => 3,
        SchedulerPolicy::Iso => 4,
        SchedulerPolicy::Idle => 5,
        SchedulerPolicy::Deadline => 6,
    };
    let flag = |flag: &SchedulerFlag| match flag {
        SchedulerFlag::ResetOnFork => 0x01,
        SchedulerFlag::Reclaim => 0x02,
        SchedulerFlag::DlOverrun => 0x04,
        SchedulerFlag::KeepPolicy => 0x08,
        SchedulerFlag::KeepParams => 0x10,
        SchedulerFlag::UtilClampMin => 0x20,
        SchedulerFlag::UtilClampMax => 0x40,
    };
    Scheduling {
        policy,
        flags: scheduler.flags.iter().map(flag).fold(0, |all, one| all | one),
        nice: scheduler.nice,
        priority: scheduler.priority.unsigned_abs(),
        runtime: scheduler.runtime,
        deadline: scheduler.deadline,
        period: scheduler.period,
        // The specification has flags for clamps and no values: those that clamp nothing.
        greatest_use: 1024,
        ..Scheduling::default()
    }
}

/// ioprio_set(2): the numbers of linux/ioprio.h.
fn io_priority(priority: IoPriority) -> u16 {
    let class = match priority.class {
        IoPriorityClass::Rt => 1,
        IoPriorityClass::Be => 2,
        IoPriorityClass::Idle => 3,
    };
    // The checks have seen that it is 0 to 7.
    class << 13 | u16::try_from(priority.priority & 7).unwrap_or(0)
}

/// set_mempolicy(2): the numbers of linux/mempolicy.h.
fn memory_policy(policy: &MemoryPolicy) -> Result<Action> {
    let mode = match policy.mode {
        MemoryPolicyMode::Default => 0,
        MemoryPolicyMode::Preferred => 1,
        MemoryPolicyMode::Bind => 2,
        MemoryPolicyMode::Interleave => 3,
        MemoryPolicyMode::Local => 4,
        MemoryPolicyMode::PreferredMany => 5,
        MemoryPolicyMode::WeightedInterleave => 6,
    };
    let flag = |flag: &MemoryPolicyFlag| match flag {
        MemoryPolicyFlag::NumaBalancing => 1 << 13,
        MemoryPolicyFlag::RelativeNodes => 1 << 14,
        MemoryPolicyFlag::StaticNodes => 1 << 15,
    };
    let mode = policy.flags.iter().map(flag).fold(mode, |all, one| all | one);
    let list = policy.nodes.as_deref().unwrap_or_default();
    Ok(Action::MemoryPolicy { mode, nodes: bits(list, MOST_NODES, "/linux/memoryPolicy/nodes")? })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn lists_become_bits() {
        let cpus = |list| cpus(Some(list), "/x");
        assert_eq!(cpus("0-2,64").unwrap(), Some(vec![0b111, 1]));
        assert_eq!(cpus("").unwrap(), None);
        assert_eq!(cpus("8191").unwrap().unwrap().len(), 128);
        assert_eq!(cpus("0-8192").unwrap_err().pointer(), Some("/x"));
    }

    #[test]
    fn classes_and_priorities_have_the_kernels_numbers() {
        let number = |class, priority| io_priority(IoPriority { class, priority });
        assert_eq!(number(IoPriorityClass::Rt, 7), 0x2007);
        assert_eq!(number(IoPriorityClass::Idle, 0), 0x6000);
    }
}
