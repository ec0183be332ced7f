//! Names of resource limits (getrlimit(2)).

/// In the order of the kernel's numbers on every architecture this builds for.
const NAMES: [&str; 16] = [
    "RLIMIT_CPU",
    "RLIMIT_FSIZE",
    "RLIMIT_DATA",
    "RLIMIT_STACK",
    "RLIMIT_CORE",
    "RLIMIT_RSS",
    "RLIMIT_NPROC",
    "RLIMIT_NOFILE",
    "RLIMIT_MEMLOCK",
    "RLIMIT_AS",
    "RLIMIT_LOCKS",
    "RLIMIT_SIGPENDING",
    "RLIMIT_MSGQUEUE",
    "RLIMIT_NICE",
    "RLIMIT_RTPRIO",
    "RLIMIT_RTTIME",
];

/// The number of `RLIMIT_*`, if there is such a limit.
pub fn number(name: &str) -> Option<u32> {
    NAMES.iter().position(|known| *known == name).and_then(|n| u32::try_from(n).ok())
}

/// The name of limit `number`.
pub fn name(number: u32) -> &'static str {
    NAMES.get(number as usize).copied().unwrap_or("RLIMIT_?")
}
