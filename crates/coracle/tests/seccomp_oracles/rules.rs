//! A profile read rule by rule, without anything that makes programs short.

use std::cmp::Reverse;
use std::collections::HashMap;

use coracle::config::{Seccomp, SeccompAction, SeccompArch, SeccompOp, SyscallArg};
use coracle::seccomp::number;

use super::{Call, audit};

/// The calls that socketcall(2) carries, by their numbers there, from 1.
const SOCKET: &str = "socket bind connect listen accept getsockname getpeername socketpair send \
    recv sendto recvfrom shutdown setsockopt getsockopt sendmsg recvmsg accept4 recvmmsg sendmmsg";
/// Those of ipc(2).
const IPC: [(&str, u64); 12] = [
    ("semop", 1),
    ("semget", 2),
    ("semctl", 3),
    ("semtimedop", 4),
    ("msgsnd", 11),
    ("msgrcv", 12),
    ("msgget", 13),
    ("msgctl", 14),
    ("shmat", 21),
    ("shmdt", 22),
    ("shmget", 23),
    ("shmctl", 24),
];

/// What a profile says, ready to be asked about many calls.
pub(super) struct Rules<'a> {
    profile: &'a Seccomp,
    architectures: Vec<SeccompArch>,
    /// By architecture and number.
    naming: HashMap<(usize, u32), Vec<Naming>>,
    /// By architecture, the newest call named, in each block of numbers.
    newest: HashMap<(usize, bool), u32>,
}

/// A rule that names a call, and the call's number in a carrier.
type Naming = (usize, Option<u64>);

impl<'a> Rules<'a> {
    pub(super) fn new(profile: &'a Seccomp, native: SeccompArch) -> Self {
        let mut architectures = vec![native];
        architectures.extend(&profile.architectures);
        let mut naming = HashMap::<_, Vec<_>>::new();
        let mut newest = HashMap::new();
        for arch in &architectures {
            for (i, rule) in profile.syscalls.iter().enumerate() {
                for name in &rule.names {
                    let direct = number(*arch, name).map(|number| (number, None));
                    for (number, carried) in direct.into_iter().chain(carrier(*arch, name)) {
                        let rules = naming.entry((*arch as usize, number)).or_default();
                        if !rules.contains(&(i, carried)) {
                            rules.push((i, carried));
                        }
                        let block = (*arch as usize, second_block(*arch, number));
                        let newest = newest.entry(block).or_insert(number);
                        *newest = number.max(*newest);
                    }
                }
            }
        }
        Self { profile, architectures, naming, newest }
    }

    /// Whether a rule for a call asks for arguments.
    pub(super) fn ask_for_arguments(&self, arch: SeccompArch, number: u32) -> bool {
        let naming = self.naming.get(&(arch as usize, number)).into_iter().flatten();
        naming
            .into_iter()
            .any(|(i, carried)| carried.is_some() || !self.profile.syscalls[*i].args.is_empty())
    }

    /// What the filter has to return for a call.
    pub(super) fn judge(&self, call: &Call) -> u32 {
        const X32: u32 = 0x4000_0000;
        let default = value(self.profile.default_action, self.profile.default_errno_ret);
        let of_x32 = call.audit == audit(SeccompArch::X86_64) && call.number >= X32;
        let listed = |arch: &&SeccompArch| {
            audit(**arch) == call.audit && (**arch == SeccompArch::X32) == of_x32
        };
        let Some(arch) = self.architectures.iter().find(listed) else {
            let skipped = call.number == u32::MAX && of_x32;
            let x86_64 = self.architectures.contains(&SeccompArch::X86_64);
            return if skipped && x86_64 { default } else { 0 };
        };
        let denies = !matches!(
            self.profile.default_action,
            SeccompAction::Allow | SeccompAction::Log | SeccompAction::Trace
        );
        if denies && self.is_newer(*arch, call.number) {
            return value(SeccompAction::Errno, Some(38));
        }
        let mut unconditional = None;
        let mut conditional = Vec::new();
        for (i, carried) in self.naming.get(&(*arch as usize, call.number)).into_iter().flatten() {
            let rule = &self.profile.syscalls[*i];
            let action = value(rule.action, rule.errno_ret);
            if action == default {
                continue;
            }
            for conditions in alternatives(*arch, &rule.args, *carried) {
                if conditions.is_empty() {
                    unconditional.get_or_insert(action);
                } else if conditions.iter().all(|of| of.holds(call.args[of.argument])) {
                    conditional.push((conditions, action));
                }
            }
        }
        conditional.sort_by_key(|of| order(&of.0));
        unconditional.or(conditional.first().map(|of| of.1)).unwrap_or(default)
    }

    fn is_newer(&self, arch: SeccompArch, number: u32) -> bool {
        let newest = |second| self.newest.get(&(arch as usize, second)).copied();
        if matches!(arch, SeccompArch::S390 | SeccompArch::S390x) && number == 0 {
            return newest(false).is_some();
        }
        let own = if second_block(arch, number) { newest(true) } else { None };
        own.or(newest(false)).is_some_and(|newest| number > newest)
    }
}

/// Whether a number is one of x32's own calls, or private to 32-bit ARM.
fn second_block(arch: SeccompArch, number: u32) -> bool {
    match arch {
        SeccompArch::X32 => number >= 0x4000_0000 + 512,
        SeccompArch::Arm => number >= 0x000f_0000,
        _ => false,
    }
}

fn carrier(arch: SeccompArch, name: &str) -> Option<(u32, Option<u64>)> {
    let socket = SOCKET.split_whitespace().position(|of| of == name).map(|i| (102, i as u64 + 1));
    let ipc = IPC.into_iter().find(|of| of.0 == name).map(|of| (117, of.1));
    let base = match arch {
        SeccompArch::Mips | SeccompArch::Mipsel => 4000,
        SeccompArch::X86
        | SeccompArch::M68k
        | SeccompArch::Ppc
        | SeccompArch::Ppc64
        | SeccompArch::Ppc64le
        | SeccompArch::S390
        | SeccompArch::S390x
        | SeccompArch::Sh
        | SeccompArch::Sheb => 0,
        _ => return None,
    };
    socket.or(ipc).map(|(number, carried)| (base + number, Some(carried)))
}

#[derive(Clone, Debug)]
struct Condition {
    argument: usize,
    op: SeccompOp,
    value: u64,
    two: u64,
    bits: u64,
}

impl Condition {
    fn holds(&self, argument: u64) -> bool {
        let argument = argument & self.bits;
        let value = self.value & self.bits;
        match self.op {
            SeccompOp::Ne => argument != value,
            SeccompOp::Lt => argument < value,
            SeccompOp::Le => argument <= value,
            SeccompOp::Eq => argument == value,
            SeccompOp::Ge => argument >= value,
            SeccompOp::Gt => argument > value,
            SeccompOp::MaskedEq => argument & value == self.two & value,
        }
    }
}

/// The lists of conditions of a rule; without those that always hold.
fn alternatives(
    arch: SeccompArch,
    args: &[SyscallArg],
    carried: Option<u64>,
) -> Vec<Vec<Condition>> {
    let wide = audit(arch) & 0xa000_0000 == 0x8000_0000 && arch != SeccompArch::X32;
    let bits = if wide { u64::MAX } else { 0xffff_ffff };
    let mut all: Vec<Condition> = args
        .iter()
        .map(|arg| Condition {
            argument: arg.index as usize,
            op: arg.op,
            value: arg.value,
            two: arg.value_two,
            bits,
        })
        .collect();
    all.sort_by_key(|condition| condition.argument);
    let twice = all.windows(2).any(|pair| pair[0].argument == pair[1].argument);
    let lists =
        if twice { all.into_iter().map(|condition| vec![condition]).collect() } else { vec![all] };
    let finish = |mut list: Vec<Condition>| {
        if let Some(value) = carried {
            list.retain(|condition| condition.argument != 0);
            let op = SeccompOp::Eq;
            list.insert(0, Condition { argument: 0, op, value, two: 0, bits });
        }
        list.retain(|of| of.op != SeccompOp::MaskedEq || of.value & of.bits != 0);
        list
    };
    lists.into_iter().map(finish).collect()
}

/// What comes first decides: see the documentation of `coracle::seccomp`.
fn order(conditions: &[Condition]) -> Vec<(Reverse<usize>, u8, u64, u64)> {
    let of_one = |of: &Condition| {
        let value = of.value & of.bits;
        let masked = of.two & value;
        let (class, value, detail) = match of.op {
            SeccompOp::Eq => (0, !value, 0),
            SeccompOp::MaskedEq if value == of.bits => (0, !masked, 0),
            SeccompOp::MaskedEq => (0, !masked, !value),
            SeccompOp::Ne => (0, !value, u64::MAX),
            SeccompOp::Lt => (1, value, 0),
            SeccompOp::Le => (1, value, 1),
            SeccompOp::Gt => (2, !value, 0),
            SeccompOp::Ge => (2, !value, 1),
        };
        (Reverse(of.argument), class, value, detail)
    };
    let mut order: Vec<_> = conditions.iter().map(of_one).collect();
    // Of two lists that begin alike, the longer one first.
    order.push((Reverse(0), u8::MAX, 0, 0));
    order
}

/// `SECCOMP_RET_*` (linux/seccomp.h) with its number.
pub(super) fn value(action: SeccompAction, errno: Option<u32>) -> u32 {
    match action {
        SeccompAction::Kill | SeccompAction::KillThread => 0,
        SeccompAction::KillProcess => 0x8000_0000,
        SeccompAction::Trap => 0x0003_0000,
        SeccompAction::Errno => 0x0005_0000 | errno.unwrap_or(1),
        SeccompAction::Trace => 0x7ff0_0000 | errno.unwrap_or(1),
        SeccompAction::Allow => 0x7fff_0000,
        SeccompAction::Log => 0x7ffc_0000,
        SeccompAction::Notify => 0x7fc0_0000,
    }
}
