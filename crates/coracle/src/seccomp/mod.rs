//! Filters of system calls: a profile of config.json as a program for the kernel (seccomp(2)).
//!
//! Every call of every process in a container runs through the program, and the kernel checks and
//! translates it at every start. So it is a balanced decision tree for each architecture, over the
//! ranges of call numbers that have one answer: Docker's default profile takes 234 instructions,
//! and 1,293 in libseccomp's form of a tree, which takes the kernel four times as long to load. It
//! keeps to instructions that the kernel can follow for a number alone (kernel/seccomp.c,
//! `seccomp_is_const_allow`, Linux 5.11): calls that are allowed whatever their arguments then run
//! no filter at all.
//!
//! A profile means here what it means to runc and libseccomp, whose names it uses:
//!
//! - The machine's own architecture is always judged, asked for or not. Calls of an architecture
//!   that is not listed kill the thread; so do those of x32, which come under the same
//!   `AUDIT_ARCH_X86_64` with a bit of their own, except that -1, to which a tracer sets the number
//!   of a call that is not to happen, gets the default action.
//! - A name that an architecture lacks is left out there.
//! - All conditions of a rule must hold; but if two are about one argument, each is a rule.
//! - A rule without conditions decides its calls, whatever others say, and the first one does.
//!   Conditional ones are tried from the more specific to the less.
//! - `SCMP_CMP_MASKED_EQ` masks both what it compares and what it compares with. Where arguments
//!   have 32 bits, only so many of a value count.
//! - Where the default denies, calls newer than the newest named get ENOSYS.
//! - socketcall(2) and ipc(2) are judged by the call they carry, where an architecture has them.
//!   Of its arguments, that call's first one is not judged there.
//!
//! ```
//! use coracle::config::{Seccomp, SeccompArch};
//! use coracle::seccomp::{UnknownCalls, compile};
//!
//! let profile: Seccomp = serde_json::from_str(
//!     r#"{
//!         "defaultAction": "SCMP_ACT_ALLOW",
//!         "syscalls": [{ "names": ["swapon", "swapoff"], "action": "SCMP_ACT_ERRNO" }]
//!     }"#,
//! )?;
//! let (program, warnings) = compile(&profile, SeccompArch::X86_64, UnknownCalls::Ignore)?;
//! assert_eq!(program.instructions.len(), 10);
//! assert!(warnings.is_empty());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod abi;
mod arguments;
mod assemble;
mod call;
mod calls;
mod constant;
mod rule;
mod show;
mod table;
mod tree;
mod word;

use std::os::fd::OwnedFd;

use crate::config::{Seccomp, SeccompAction, SeccompArch, SeccompFlag};
use crate::error::{Errno, Error, Kind, Result, plain};
use crate::sys;
pub use crate::sys::seccomp::Instruction;
use abi::Abi;
use assemble::{Assembler, JUMP_IF_EQUAL, Target};
use calls::Calls;
pub(crate) use constant::check_executes;
use rule::Rule;

/// A filter, ready for the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// Classic BPF, for this machine's byte order.
    pub instructions: Vec<Instruction>,
    /// `SECCOMP_FILTER_FLAG_*`.
    pub flags: u32,
    /// Whether a listener decides some calls: loading gives its descriptor.
    pub uses_notify: bool,
}

/// What becomes of names that are no system call on any architecture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnknownCalls {
    /// They are left out, with a warning.
    Ignore,
    /// They are an error (the annotation `run.oci.seccomp_fail_unknown_syscall`).
    Refuse,
}

/// The most instructions that the kernel takes (`BPF_MAXINSNS` of linux/`bpf_common.h`).
const MOST: usize = 4096;

/// Makes the program for a profile, and sentences to log about it. `native` is the machine's
/// architecture: see [`native`].
pub fn compile(
    profile: &Seccomp,
    native: SeccompArch,
    unknown: UnknownCalls,
) -> Result<(Program, Vec<String>)> {
    let uses_notify = rule::notifies(profile)?;
    let default = rule::action(profile.default_action, profile.default_errno_ret, || {
        String::from("/linux/seccomp/defaultErrnoRet")
    })?;
    let rules = profile.syscalls.iter().enumerate().map(|(i, rule)| Rule::new(i, rule));
    let rules = rules.collect::<Result<Vec<_>>>()?;

    let mut architectures = Vec::with_capacity(1 + profile.architectures.len());
    for arch in std::iter::once(native).chain(profile.architectures.iter().copied()) {
        let abi = Abi::of(arch);
        if !architectures.iter().any(|known: &Calls| known.abi == abi) {
            architectures.push(Calls::new(abi));
        }
    }
    let mut warnings = Vec::new();
    let mut near = 0;
    for rule in &rules {
        for (i, name) in rule.names.iter().enumerate() {
            if let Some(call) = abi::find(name, &mut near) {
                for calls in &mut architectures {
                    calls.add(call, rule, default);
                }
            } else {
                let pointer = format!("/linux/seccomp/syscalls/{}/names/{i}", rule.index);
                if unknown == UnknownCalls::Refuse {
                    return Err(rule::refuse("there is no such system call", pointer, name)
                        .help("without run.oci.seccomp_fail_unknown_syscall it is left out"));
                }
                let text = format!("{} is no known system call: ignored", plain(name));
                warnings.push(format!("{text} [config.json: {pointer}]"));
            }
        }
    }
    let instructions = write(&mut architectures, &rules, default)?;
    if instructions.len() > MOST {
        let length = instructions.len();
        return Err(Error::new("the profile is too long for the kernel")
            .because(format!("its program has {length} instructions, more than {MOST}"))
            .kind(Kind::Config)
            .at("/linux/seccomp/syscalls", None)
            .help("conditions on arguments take most of them: leave some out"));
    }
    let flags = flags(profile.flags.as_deref(), uses_notify);
    Ok((Program { instructions, flags, uses_notify }, warnings))
}

/// Writes the program: one section for each `AUDIT_ARCH_*`.
fn write(
    architectures: &mut [Calls],
    rules: &[Rule<'_>],
    default: u32,
) -> Result<Vec<Instruction>> {
    let foreign = Target::Return(rule::KILL_THREAD);
    let mut program = Assembler::default();
    let mut sections = Vec::with_capacity(architectures.len());
    while let Some(i) = architectures
        .iter()
        .rposition(|calls| !sections.iter().any(|(audit, _)| *audit == calls.abi.audit))
    {
        let audit = architectures[i].abi.audit;
        let of_section = architectures.iter_mut().filter(|calls| calls.abi.audit == audit);
        let (mut line, mut shared) = (Vec::new(), Vec::new());
        for calls in of_section {
            let part = if calls.abi.shares_numbers() { &mut shared } else { &mut line };
            *part = calls.line(&mut program, rules, default)?;
        }
        if audit == Abi::of(SeccompArch::X86_64).audit {
            if line.is_empty() {
                line.push((0, foreign));
            }
            if shared.is_empty() {
                shared.extend([(abi::X32, foreign), (u32::MAX, Target::Return(default))]);
            }
        }
        for (start, target) in shared {
            tree::extend(&mut line, start, target);
        }
        let by_number = tree::by_word(&mut program, &line);
        sections.push((audit, program.load(word::NUMBER, by_number)));
    }
    let by_architecture = sections.into_iter().fold(foreign, |others, (audit, section)| {
        program.branch(JUMP_IF_EQUAL, audit, section, others)
    });
    let start = program.load(word::ARCHITECTURE, by_architecture);
    Ok(program.finish(start))
}

/// Without flags, the mitigation of speculative store bypass stays off, as with runc: it costs
/// programs under a filter much, and Linux 5.16 has given it up as a default.
fn flags(asked: Option<&[SeccompFlag]>, uses_notify: bool) -> u32 {
    // linux/seccomp.h, SECCOMP_FILTER_FLAG_*
    const TSYNC: u32 = 1 << 0;
    const LOG: u32 = 1 << 1;
    const SPEC_ALLOW: u32 = 1 << 2;
    const NEW_LISTENER: u32 = 1 << 3;
    const TSYNC_ESRCH: u32 = 1 << 4;
    const WAIT_KILLABLE_RECV: u32 = 1 << 5;
    let Some(asked) = asked else {
        return if uses_notify { SPEC_ALLOW | NEW_LISTENER } else { SPEC_ALLOW };
    };
    asked.iter().fold(if uses_notify { NEW_LISTENER } else { 0 }, |flags, flag| {
        flags
            | match flag {
                // With a listener the kernel wants both; the second makes failure an error number.
                SeccompFlag::Tsync => TSYNC | TSYNC_ESRCH,
                SeccompFlag::Log => LOG,
                SeccompFlag::SpecAllow => SPEC_ALLOW,
                // EINVAL without a listener, where there is nothing to wait for.
                SeccompFlag::WaitKillableRecv if uses_notify => WAIT_KILLABLE_RECV,
                SeccompFlag::WaitKillableRecv => 0,
            }
    })
}

impl Program {
    /// Puts this thread, and what it starts, under the filter. The descriptor is the listener's,
    /// close-on-exec, where the filter has one.
    ///
    /// EACCES without both no-new-privileges and `CAP_SYS_ADMIN`; EINVAL if the kernel does not
    /// know a flag; EBUSY if there is a listener already. Allocates nothing.
    pub fn load(&self) -> Result<Option<OwnedFd>, Errno> {
        sys::seccomp::set_filter(&self.instructions, self.flags)
    }
}

/// Whether the running kernel knows an action (`SECCOMP_GET_ACTION_AVAIL`). What it does not know
/// it takes for [`SeccompAction::KillProcess`].
pub fn is_available(action: SeccompAction) -> Result<bool, Errno> {
    let value = rule::action(action, None, String::new).map_err(|_| Errno::INVAL)?;
    sys::seccomp::action_is_available(value & rule::ACTION)
}

/// The number of a system call, as the kernel shows it to a filter.
pub fn number(arch: SeccompArch, name: &str) -> Option<u32> {
    let abi = Abi::of(arch);
    let call = abi::find(name, &mut 0)?;
    abi.slot(call).map(|slot| abi.number(slot))
}

/// The architecture that this library is built for.
pub const fn native() -> SeccompArch {
    cfg_select! {
        all(target_arch = "x86_64", target_pointer_width = "32") => { SeccompArch::X32 }
        target_arch = "x86_64" => { SeccompArch::X86_64 }
        target_arch = "x86" => { SeccompArch::X86 }
        target_arch = "arm" => { SeccompArch::Arm }
        target_arch = "aarch64" => { SeccompArch::Aarch64 }
        target_arch = "loongarch64" => { SeccompArch::Loongarch64 }
        target_arch = "m68k" => { SeccompArch::M68k }
        all(target_arch = "powerpc64", target_endian = "little") => { SeccompArch::Ppc64le }
        target_arch = "powerpc64" => { SeccompArch::Ppc64 }
        target_arch = "powerpc" => { SeccompArch::Ppc }
        target_arch = "riscv64" => { SeccompArch::Riscv64 }
        target_arch = "s390x" => { SeccompArch::S390x }
    }
}
