//! What was measured on: a time says little without it.

use std::fmt;
use std::fs;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::cgroups::Hierarchies;

/// How often a static glibc executes CPUID before `main` (counted with 2.36).
const CPUID_OF_A_STATIC_START: u32 = 68;

/// The machine.
pub(super) struct Machine {
    processor: String,
    processors: usize,
    /// Whether the processor says that it is a hypervisor's.
    virtualized: bool,
    kernel: String,
    cgroups: String,
    /// One CPUID, on x86 only.
    cpuid: Option<Duration>,
    /// The first load average when the benchmark began.
    load: String,
}

impl Machine {
    /// Looks at the machine.
    pub(super) fn describe(hierarchies: &Hierarchies) -> Self {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let field = |name: &str| {
            let line = cpuinfo.lines().find(|line| line.starts_with(name))?;
            Some(line.split_once(": ")?.1)
        };
        let kernel = rustix::system::uname();
        let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
        Self {
            processor: field("model name").unwrap_or(std::env::consts::ARCH).to_owned(),
            processors: std::thread::available_parallelism().map_or(1, usize::from),
            virtualized: field("flags")
                .is_some_and(|flags| flags.split(' ').any(|flag| flag == "hypervisor")),
            kernel: kernel.release().to_string_lossy().into_owned(),
            cgroups: hierarchies.to_string(),
            cpuid: cpuid(),
            load: load.split(' ').next().unwrap_or_default().to_owned(),
        }
    }

    /// The same for programs.
    pub(super) fn to_json(&self) -> Value {
        json!({
            "processor": self.processor,
            "processors": self.processors,
            "virtualized": self.virtualized,
            "kernel": self.kernel,
            "cgroups": self.cgroups,
            "cpuid_ns": self.cpuid.map(super::nanoseconds),
            "load": self.load,
        })
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.virtualized { "virtual machine" } else { "bare metal" };
        let Self { processor, processors, kernel, cgroups, load, .. } = self;
        writeln!(f, "machine  {processor}, {processors} processors, {kind}, load {load}")?;
        writeln!(f, "kernel   Linux {kernel}; cgroups {cgroups}")?;
        let Some(cpuid) = self.cpuid else { return Ok(()) };
        let start = cpuid * CPUID_OF_A_STATIC_START;
        writeln!(
            f,
            "CPUID    {:.2} µs, made {CPUID_OF_A_STATIC_START} times by a static glibc program as it \
             starts: {:.2} ms (floor and payload make none)",
            cpuid.as_secs_f64() * 1e6,
            start.as_secs_f64() * 1e3,
        )
    }
}

/// What one CPUID takes: a trap to the hypervisor in most virtual machines.
#[cfg(target_arch = "x86_64")]
fn cpuid() -> Option<Duration> {
    const COUNT: u32 = 1000;
    let once = || {
        let start = Instant::now();
        for _ in 0..COUNT {
            std::hint::black_box(std::arch::x86_64::__cpuid(0));
        }
        start.elapsed() / COUNT
    };
    (0..5).map(|_| once()).min()
}

#[cfg(not(target_arch = "x86_64"))]
fn cpuid() -> Option<Duration> {
    None
}
