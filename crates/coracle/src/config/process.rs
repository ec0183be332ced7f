//! The program to run and what it runs as (config.md, Process).

use rustix::process::Resource;
use serde::{Deserialize, Serialize};

use super::json::{absent, is_absent, names, objects, text};

/// The program to run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self", rename_all = "camelCase")]
pub struct Process {
    /// Whether it gets a terminal of its own.
    #[serde(default, deserialize_with = "absent", skip_serializing_if = "is_absent")]
    pub terminal: bool,
    /// The terminal's size; ignored without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub console_size: Option<ConsoleSize>,
    /// The user it runs as.
    #[serde(default, deserialize_with = "absent")]
    pub user: User,
    /// The program and its arguments (execvp(3)).
    #[serde(default, deserialize_with = "absent", skip_serializing_if = "is_absent")]
    pub args: Vec<String>,
    /// Windows' form of `args`; kept, not read.
    #[serde(default, deserialize_with = "text", skip_serializing_if = "Option::is_none")]
    pub command_line: Option<String>,
    /// Its environment, `NAME=value` each.
    #[serde(default, deserialize_with = "absent", skip_serializing_if = "is_absent")]
    pub env: Vec<String>,
    /// Its working directory, an absolute path in the container.
    pub cwd: String,
    /// Its capabilities; without, it keeps none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capabilities: Option<Capabilities>,
    /// Its resource limits.
    #[serde(default, deserialize_with = "absent", skip_serializing_if = "is_absent")]
    pub rlimits: Vec<Rlimit>,
    /// Whether execve(2) can give it no more privileges (`PR_SET_NO_NEW_PRIVS`).
    #[serde(default, deserialize_with = "absent", skip_serializing_if = "is_absent")]
    pub no_new_privileges: bool,
    /// The name of its `AppArmor` profile.
    #[serde(default, deserialize_with = "text", skip_serializing_if = "Option::is_none")]
    pub apparmor_profile: Option<String>,
    /// How readily it is killed when memory runs out: -1000 (never) to 1000
    /// (`proc_pid_oom_score_adj(5)`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oom_score_adj: Option<i64>,
    /// How it is scheduled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scheduler: Option<Scheduler>,
    /// Its `SELinux` label.
    #[serde(default, deserialize_with = "text", skip_serializing_if = "Option::is_none")]
    pub selinux_label: Option<String>,
    /// The priority of its input and output.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub io_priority: Option<IoPriority>,
    /// The CPUs that `exec` runs on; not the container's first process.
    #[serde(rename = "execCPUAffinity", default, skip_serializing_if = "Option::is_none")]
    pub exec_cpu_affinity: Option<CpuAffinity>,
}

/// A terminal's size, in characters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self", rename_all = "camelCase")]
pub struct ConsoleSize {
    /// Lines.
    pub height: u64,
    /// Columns.
    pub width: u64,
}

/// A user, by IDs of the container's user namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self", rename_all = "camelCase")]
pub struct User {
    /// The user ID.
    #[serde(default, deserialize_with = "absent")]
    pub uid: u32,
    /// The group ID.
    #[serde(default, deserialize_with = "absent")]
    pub gid: u32,
    /// The umask(2); without, the runtime's own stays.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub umask: Option<u32>,
    /// Supplementary group IDs.
    #[serde(default, deserialize_with = "absent", skip_serializing_if = "is_absent")]
    pub additional_gids: Vec<u32>,
    /// Windows' user name; kept, not read.
    #[serde(default, deserialize_with = "text", skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
}

/// Sets of capabilities by name, such as `CAP_CHOWN` (capabilities(7)). Names that this kernel
/// does not know are no error.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self", rename_all = "camelCase")]
pub struct Capabilities {
    /// What execve(2) may give at most.
    #[serde(default, deserialize_with = "absent", skip_serializing_if = "is_absent")]
    pub bounding: Vec<String>,
    /// What the kernel asks for.
    #[serde(default, deserialize_with = "absent", skip_serializing_if = "is_absent")]
    pub effective: Vec<String>,
    /// What a program with inheritable file capabilities gets.
    #[serde(default, deserialize_with = "absent", skip_serializing_if = "is_absent")]
    pub inheritable: Vec<String>,
    /// What can be made effective.
    #[serde(default, deserialize_with = "absent", skip_serializing_if = "is_absent")]
    pub permitted: Vec<String>,
    /// What is kept across execve(2) by a user other than root.
    #[serde(default, deserialize_with = "absent", skip_serializing_if = "is_absent")]
    pub ambient: Vec<String>,
}

/// A resource limit (setrlimit(2)).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self", rename_all = "camelCase")]
pub struct Rlimit {
    /// The resource, such as `RLIMIT_NOFILE`.
    #[serde(rename = "type")]
    pub kind: String,
    /// What the soft limit can be raised to.
    pub hard: u64,
    /// What the kernel enforces; the unit is the resource's.
    pub soft: u64,
}

impl Rlimit {
    /// The resource that `kind` names, if there is one.
    pub fn resource(&self) -> Option<Resource> {
        Some(match self.kind.strip_prefix("RLIMIT_")? {
            "AS" => Resource::As,
            "CORE" => Resource::Core,
            "CPU" => Resource::Cpu,
            "DATA" => Resource::Data,
            "FSIZE" => Resource::Fsize,
            "LOCKS" => Resource::Locks,
            "MEMLOCK" => Resource::Memlock,
            "MSGQUEUE" => Resource::Msgqueue,
            "NICE" => Resource::Nice,
            "NOFILE" => Resource::Nofile,
            "NPROC" => Resource::Nproc,
            "RSS" => Resource::Rss,
            "RTPRIO" => Resource::Rtprio,
            "RTTIME" => Resource::Rttime,
            "SIGPENDING" => Resource::Sigpending,
            "STACK" => Resource::Stack,
            _ => return None,
        })
    }
}

/// How the process is scheduled (`sched_setattr(2)`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self", rename_all = "camelCase")]
pub struct Scheduler {
    /// The scheduling policy.
    pub policy: SchedulerPolicy,
    /// For `Other` and `Batch`: -20 (most favoured) to 19.
    #[serde(default, deserialize_with = "absent", skip_serializing_if = "is_absent")]
    pub nice: i32,
    /// For `Fifo` and `Rr`: 1 to 99 (most favoured).
    #[serde(default, deserialize_with = "absent", skip_serializing_if = "is_absent")]
    pub priority: i32,
    /// Flags.
    #[serde(default, deserialize_with = "absent", skip_serializing_if = "is_absent")]
    pub flags: Vec<SchedulerFlag>,
    /// For `Deadline`: how long it may run in a period, in nanoseconds.
    #[serde(default, deserialize_with = "absent", skip_serializing_if = "is_absent")]
    pub runtime: u64,
    /// For `Deadline`: by when it must have run, from the period's start, in nanoseconds.
    #[serde(default, deserialize_with = "absent", skip_serializing_if = "is_absent")]
    pub deadline: u64,
    /// For `Deadline`: the period's length, in nanoseconds.
    #[serde(default, deserialize_with = "absent", skip_serializing_if = "is_absent")]
    pub period: u64,
}

/// A scheduling policy (sched(7)).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub enum SchedulerPolicy {
    /// Time sharing, the default.
    #[serde(rename = "SCHED_OTHER")]
    Other,
    /// Real time, first in, first out.
    #[serde(rename = "SCHED_FIFO")]
    Fifo,
    /// Real time, round robin.
    #[serde(rename = "SCHED_RR")]
    Rr,
    /// Time sharing for work that uses much CPU.
    #[serde(rename = "SCHED_BATCH")]
    Batch,
    /// Reserved: no kernel has it.
    #[serde(rename = "SCHED_ISO")]
    Iso,
    /// For what runs when nothing else does.
    #[serde(rename = "SCHED_IDLE")]
    Idle,
    /// Real time, earliest deadline first.
    #[serde(rename = "SCHED_DEADLINE")]
    Deadline,
}

/// A flag of `sched_setattr(2)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub enum SchedulerFlag {
    /// Children start with the default policy.
    #[serde(rename = "SCHED_FLAG_RESET_ON_FORK")]
    ResetOnFork,
    /// A deadline task may use time that others leave.
    #[serde(rename = "SCHED_FLAG_RECLAIM")]
    Reclaim,
    /// A deadline task gets SIGXCPU when it overruns.
    #[serde(rename = "SCHED_FLAG_DL_OVERRUN")]
    DlOverrun,
    /// The policy stays as it is.
    #[serde(rename = "SCHED_FLAG_KEEP_POLICY")]
    KeepPolicy,
    /// The parameters stay as they are.
    #[serde(rename = "SCHED_FLAG_KEEP_PARAMS")]
    KeepParams,
    /// The least utilization is set.
    #[serde(rename = "SCHED_FLAG_UTIL_CLAMP_MIN")]
    UtilClampMin,
    /// The greatest utilization is set.
    #[serde(rename = "SCHED_FLAG_UTIL_CLAMP_MAX")]
    UtilClampMax,
}

/// The priority of input and output (`ioprio_set(2)`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self", rename_all = "camelCase")]
pub struct IoPriority {
    /// The scheduling class.
    pub class: IoPriorityClass,
    /// Within the class: 0 (most favoured) to 7.
    #[serde(default, deserialize_with = "absent")]
    pub priority: i32,
}

/// A class of input and output scheduling (`ioprio_set(2)`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub enum IoPriorityClass {
    /// Before everyone else.
    #[serde(rename = "IOPRIO_CLASS_RT")]
    Rt,
    /// Best effort, the default.
    #[serde(rename = "IOPRIO_CLASS_BE")]
    Be,
    /// When nobody else needs the disk.
    #[serde(rename = "IOPRIO_CLASS_IDLE")]
    Idle,
}

/// The CPUs that `exec` uses, as lists such as `0-3,7`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self", rename_all = "camelCase")]
pub struct CpuAffinity {
    /// Before it enters the container's cgroup.
    #[serde(default, deserialize_with = "text", skip_serializing_if = "Option::is_none")]
    pub initial: Option<String>,
    /// After it has.
    #[serde(rename = "final")]
    #[serde(default, deserialize_with = "text", skip_serializing_if = "Option::is_none")]
    pub last: Option<String>,
}

objects!(Process, ConsoleSize, User, Capabilities, Rlimit, Scheduler, IoPriority, CpuAffinity);
names!(SchedulerPolicy, SchedulerFlag, IoPriorityClass);
