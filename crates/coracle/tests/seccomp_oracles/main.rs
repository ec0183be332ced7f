//! Filters of system calls, judged decision by decision: by the rules themselves read one after
//! the other, by libseccomp, and by the kernel.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr)]
#![allow(clippy::cast_possible_truncation, clippy::format_push_string)]

mod generate;
mod kernel;
mod libseccomp;
mod machine;
mod measure;
mod program;
mod refusals;
mod rules;
mod specification;

use coracle::config::{Seccomp, SeccompArch};
use coracle::seccomp::{Program, UnknownCalls, compile};

/// The default profiles of Docker, Podman and containerd (which Kubernetes takes for its runtime's
/// default), on `x86_64`, without capabilities beyond an engine's usual ones.
const PROFILES: [(&str, &str); 3] = [
    ("docker", include_str!("../profiles/docker.json")),
    ("podman", include_str!("../profiles/podman.json")),
    ("containerd", include_str!("../profiles/containerd.json")),
];

fn profile(name: &str) -> Seccomp {
    let (_, text) = PROFILES.into_iter().find(|of| of.0 == name).unwrap();
    serde_json::from_str(text).unwrap()
}

fn program(profile: &Seccomp, native: SeccompArch) -> Program {
    compile(profile, native, UnknownCalls::Ignore).unwrap().0
}

/// What the kernel tells a filter of a system call.
#[derive(Clone, Copy, Debug)]
struct Call {
    /// `AUDIT_ARCH_*`.
    audit: u32,
    number: u32,
    args: [u64; 6],
}

/// `AUDIT_ARCH_*` (linux/audit.h).
fn audit(arch: SeccompArch) -> u32 {
    match arch {
        SeccompArch::X86 => 0x4000_0003,
        SeccompArch::X86_64 | SeccompArch::X32 => 0xc000_003e,
        SeccompArch::Arm => 0x4000_0028,
        SeccompArch::Aarch64 => 0xc000_00b7,
        SeccompArch::Loongarch64 => 0xc000_0102,
        SeccompArch::M68k => 0x0000_0004,
        SeccompArch::Mips => 0x0000_0008,
        SeccompArch::Mips64 => 0x8000_0008,
        SeccompArch::Mips64N32 => 0xa000_0008,
        SeccompArch::Mipsel => 0x4000_0008,
        SeccompArch::Mipsel64 => 0xc000_0008,
        SeccompArch::Mipsel64N32 => 0xe000_0008,
        SeccompArch::Ppc => 0x0000_0014,
        SeccompArch::Ppc64 => 0x8000_0015,
        SeccompArch::Ppc64le => 0xc000_0015,
        SeccompArch::S390 => 0x0000_0016,
        SeccompArch::S390x => 0x8000_0016,
        SeccompArch::Sh => 0x4000_002a,
        SeccompArch::Sheb => 0x0000_002a,
        SeccompArch::Parisc => 0x0000_000f,
        SeccompArch::Parisc64 => 0x8000_000f,
        SeccompArch::Riscv64 => 0xc000_00f3,
    }
}

/// All architectures of the specification.
const ARCHITECTURES: [SeccompArch; 23] = [
    SeccompArch::X86,
    SeccompArch::X86_64,
    SeccompArch::X32,
    SeccompArch::Arm,
    SeccompArch::Aarch64,
    SeccompArch::Loongarch64,
    SeccompArch::M68k,
    SeccompArch::Mips,
    SeccompArch::Mips64,
    SeccompArch::Mips64N32,
    SeccompArch::Mipsel,
    SeccompArch::Mipsel64,
    SeccompArch::Mipsel64N32,
    SeccompArch::Ppc,
    SeccompArch::Ppc64,
    SeccompArch::Ppc64le,
    SeccompArch::S390,
    SeccompArch::S390x,
    SeccompArch::Sh,
    SeccompArch::Sheb,
    SeccompArch::Parisc,
    SeccompArch::Parisc64,
    SeccompArch::Riscv64,
];

/// All numbers around those that an architecture has.
fn numbers(arch: SeccompArch) -> Vec<u32> {
    let base = match arch {
        SeccompArch::X32 => 0x4000_0000,
        SeccompArch::Mips | SeccompArch::Mipsel => 4000,
        SeccompArch::Mips64 | SeccompArch::Mipsel64 => 5000,
        SeccompArch::Mips64N32 | SeccompArch::Mipsel64N32 => 6000,
        _ => 0,
    };
    let mut numbers: Vec<u32> = (base..base + 600).collect();
    numbers.extend([0, 102, 117, 3999, 5999, 0x3fff_ffff, 0x4000_0000, 0x4000_0001, 0x7fff_ffff]);
    numbers.extend([0x8000_0000, 0xbfff_ffff, 0xc000_0000, u32::MAX - 1, u32::MAX]);
    if arch == SeccompArch::Arm {
        numbers.extend(0x000e_fffe..0x000f_0010);
    }
    numbers
}

/// The values at which a program's answers may change, for arguments of a call.
fn boundary_values(profile: &Seccomp) -> Vec<u64> {
    let mut values = vec![0, 1, 2, 5, u64::MAX, u64::from(u32::MAX), 1 << 32, 1 << 63];
    for arg in profile.syscalls.iter().flat_map(|rule| &rule.args) {
        for value in [arg.value, arg.value_two, arg.value & arg.value_two] {
            values.extend([value, !value, value.wrapping_add(1), value.wrapping_sub(1)]);
            values.extend([value.wrapping_add(1 << 32), value.wrapping_sub(1 << 32)]);
            values.extend([value & 0xffff_ffff, value >> 32]);
        }
    }
    values.sort_unstable();
    values.dedup();
    values
}
