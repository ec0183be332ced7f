//! config.json: its types, how it is read and checked, and the one that `spec` writes.
//!
//! The types are the runtime specification's own, version 1.3, under its names: a Go field
//! `Linux.UIDMappings` is `linux.uid_mappings` here, and `type` is `kind`. What may be absent is
//! an `Option`, an empty `Vec` or an empty map; `null` and, as for every Go program, an empty
//! string count as absent. Unknown keys are ignored, as the specification demands.

mod capability;
mod check;
mod json;
mod linux;
mod list;
mod load;
mod parse;
mod process;
mod resources;
mod seccomp;
mod spec;
mod sysctl;
mod template;

pub use capability::{capability_names, capability_number};
pub use check::{capability_warnings, check, check_process, check_resources, warnings};
pub use linux::{
    Clock, Device, DeviceKind, IdMapping, IntelRdt, Linux, MemoryPolicy, MemoryPolicyFlag,
    MemoryPolicyMode, Namespace, NamespaceKind, NetDevice, Personality, PersonalityDomain,
    RootfsPropagation, TimeOffset,
};
pub use list::parse_list;
pub use load::Config;
pub use parse::parse;
pub use process::{
    Capabilities, ConsoleSize, CpuAffinity, IoPriority, IoPriorityClass, Process, Rlimit,
    Scheduler, SchedulerFlag, SchedulerPolicy, User,
};
pub use resources::{
    BlockIo, Cpu, DeviceCgroup, DeviceCgroupKind, HugepageLimit, InterfacePriority, Memory,
    Network, Pids, Rdma, Resources, ThrottleDevice, WeightDevice,
};
pub use seccomp::{
    Seccomp, SeccompAction, SeccompArch, SeccompFlag, SeccompOp, Syscall, SyscallArg,
};
pub use spec::{Hook, Hooks, Mount, Root, Spec};
pub use sysctl::sysctl_path;
pub use template::{template, to_json};

/// A type of which config.json has names.
pub trait Names {
    /// All names that are read, as they are written.
    fn names() -> &'static [&'static str];
}

/// The oldest version of the specification that is understood.
pub const OLDEST_VERSION: &str = "1.0.0";
/// The newest version of the specification that is understood whole.
pub const VERSION: &str = "1.3.0";
/// The minor number of [`VERSION`].
const NEWEST_MINOR: u64 = 3;
