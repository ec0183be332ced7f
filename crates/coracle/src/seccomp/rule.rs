//! Rules of config.json, as an architecture has them.

use std::cmp::Ordering;

use super::abi::Abi;
use crate::config::{Seccomp, SeccompAction, SeccompOp, Syscall, SyscallArg};
use crate::error::{Error, Kind, Result};

// linux/seccomp.h, SECCOMP_RET_*.
pub(super) const KILL_PROCESS: u32 = 0x8000_0000;
pub(super) const KILL_THREAD: u32 = 0;
pub(super) const TRAP: u32 = 0x0003_0000;
pub(super) const ERRNO: u32 = 0x0005_0000;
pub(super) const NOTIFY: u32 = 0x7fc0_0000;
pub(super) const TRACE: u32 = 0x7ff0_0000;
pub(super) const LOG: u32 = 0x7ffc_0000;
pub(super) const ALLOW: u32 = 0x7fff_0000;

/// The bits of a returned value that are the action (`SECCOMP_RET_ACTION_FULL`).
pub(super) const ACTION: u32 = 0xffff_0000;

/// What a filter returns to have the call fail with ENOSYS.
pub(super) const NO_SUCH_CALL: u32 = ERRNO | 0x26;

/// Whether an action lets calls happen. A tracer counts: it can answer for calls that it does not
/// know (runc).
pub(super) fn is_permissive(action: u32) -> bool {
    action == ALLOW || action == LOG || action & ACTION == TRACE
}

/// The value that a filter returns for an action. `at` is where the number of the error is, should
/// it be wrong.
pub(super) fn action(
    action: SeccompAction,
    errno: Option<u32>,
    at: impl Fn() -> String,
) -> Result<u32> {
    /// "The default is EPERM" (config-linux.md).
    const EPERM: u32 = 1;
    let (value, greatest) = match action {
        SeccompAction::Kill | SeccompAction::KillThread => (KILL_THREAD, None),
        SeccompAction::KillProcess => (KILL_PROCESS, None),
        SeccompAction::Trap => (TRAP, None),
        // MAX_ERRNO of linux/err.h: the kernel takes no more.
        SeccompAction::Errno => (ERRNO, Some(4095)),
        SeccompAction::Trace => (TRACE, Some(0xffff)),
        SeccompAction::Allow => (ALLOW, None),
        SeccompAction::Log => (LOG, None),
        SeccompAction::Notify => (NOTIFY, None),
    };
    match (greatest, errno) {
        (None, None) => Ok(value),
        (Some(_), None) => Ok(value | EPERM),
        (Some(greatest), Some(errno)) if errno <= greatest => Ok(value | errno),
        (Some(greatest), Some(errno)) => {
            Err(refuse("the error number is out of range", at(), &errno)
                .help(format!("it goes from 0 to {greatest}")))
        }
        (None, Some(errno)) => Err(refuse("this action has no error number", at(), &errno)
            .help("only SCMP_ACT_ERRNO and SCMP_ACT_TRACE have one")),
    }
}

/// An error about a value.
pub(super) fn refuse(
    why: &'static str,
    pointer: String,
    value: &(impl serde::Serialize + ?Sized),
) -> Error {
    Error::new(why).kind(Kind::Config).at(pointer, serde_json::to_string(value).ok())
}

/// A rule, and what all its calls have in common.
pub(super) struct Rule<'a> {
    /// Its place in the list.
    pub(super) index: usize,
    pub(super) names: &'a [String],
    /// `SECCOMP_RET_*` with its number.
    pub(super) action: u32,
    args: &'a [SyscallArg],
    /// Whether each condition is a rule for itself: as soon as two are about one argument (runc).
    split: bool,
}

impl<'a> Rule<'a> {
    pub(super) fn new(index: usize, rule: &'a Syscall) -> Result<Self> {
        let at = |rest: &str| format!("/linux/seccomp/syscalls/{index}/{rest}");
        let mut split = false;
        for (i, arg) in rule.args.iter().enumerate() {
            if arg.index > 5 {
                let why = "no system call has that many arguments";
                return Err(refuse(why, at(&format!("args/{i}/index")), &arg.index)
                    .help("they are counted from 0 to 5"));
            }
            split |= rule.args[..i].iter().any(|before| before.index == arg.index);
        }
        if rule.action == SeccompAction::Notify
            && let Some(i) = rule.names.iter().position(|name| name == "write")
        {
            let why = "SCMP_ACT_NOTIFY cannot be used for the write syscall";
            return Err(refuse(why, at(&format!("names/{i}")), "write")
                .help("its listener could wait for a write that waits for the listener"));
        }
        let action = action(rule.action, rule.errno_ret, || at("errnoRet"))?;
        Ok(Self { index, names: &rule.names, action, args: &rule.args, split })
    }

    /// Whether it matches its calls whatever their arguments.
    pub(super) fn is_unconditional(&self, abi: &Abi) -> bool {
        let always = |arg: &SyscallArg| Condition::new(arg, abi.wide).is_none();
        if self.split { self.args.iter().any(always) } else { self.args.iter().all(always) }
    }

    /// Adds what it says of one of its calls to the alternatives there. A call that is multiplexed
    /// has its number in the first argument of its carrier, whatever the rule says of that one:
    /// what it said is about the call's own, which the filter does not see (libseccomp).
    pub(super) fn alternatives(&self, abi: &Abi, number: Option<u8>, into: &mut Vec<Alternative>) {
        let mut add = |args: &mut dyn Iterator<Item = &SyscallArg>| {
            let number = number.map(Condition::carried);
            let of_call = args
                .filter(|arg| number.is_none() || arg.index != 0)
                .filter_map(|arg| Condition::new(arg, abi.wide));
            let mut conditions: Vec<_> = of_call.chain(number).collect();
            conditions.sort_by_key(|condition| condition.argument);
            into.push(Alternative { conditions, action: self.action, rule: self.index });
        };
        if self.split {
            self.args.iter().for_each(|arg| add(&mut std::iter::once(arg)));
        } else {
            add(&mut self.args.iter());
        }
    }
}

/// Conditions that must all hold, and what happens then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Alternative {
    /// By argument, at most one for each.
    pub(super) conditions: Vec<Condition>,
    /// `SECCOMP_RET_*` with its number.
    pub(super) action: u32,
    /// The rule it comes from.
    pub(super) rule: usize,
}

impl Alternative {
    /// Which is tried first, where the specification has no word: as libseccomp does, the more
    /// specific one. Without this, a profile that works with other runtimes, allowing a range and
    /// denying a value in it, would change its meaning.
    pub(super) fn order(&self, other: &Self) -> Ordering {
        for (one, two) in self.conditions.iter().zip(&other.conditions) {
            let order = one.order(two);
            if order.is_ne() {
                return order;
            }
        }
        other.conditions.len().cmp(&self.conditions.len())
    }
}

/// A condition that can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Condition {
    /// From 0 to 5.
    pub(super) argument: u8,
    pub(super) test: Test,
}

/// What is asked of an argument. Where 32 bits count, the numbers have no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Test {
    NotEqual(u64),
    Less(u64),
    LessOrEqual(u64),
    Equal(u64),
    GreaterOrEqual(u64),
    Greater(u64),
    /// The bits of the mask, and what they equal.
    Masked(u64, u64),
}

impl Condition {
    /// None for a mask without bits: as in libseccomp, the value compared with is masked too.
    fn new(arg: &SyscallArg, wide: bool) -> Option<Self> {
        let bits = if wide { u64::MAX } else { u64::from(u32::MAX) };
        let value = arg.value & bits;
        let test = match arg.op {
            SeccompOp::Ne => Test::NotEqual(value),
            SeccompOp::Lt => Test::Less(value),
            SeccompOp::Le => Test::LessOrEqual(value),
            SeccompOp::Eq => Test::Equal(value),
            SeccompOp::Ge => Test::GreaterOrEqual(value),
            SeccompOp::Gt => Test::Greater(value),
            SeccompOp::MaskedEq if value == 0 => return None,
            SeccompOp::MaskedEq if value == bits => Test::Equal(arg.value_two & bits),
            SeccompOp::MaskedEq => Test::Masked(value, arg.value_two & value),
        };
        // Rule::new has refused what does not fit.
        Some(Self { argument: u8::try_from(arg.index).ok()?, test })
    }

    /// The carrier's own argument names this call.
    fn carried(number: u8) -> Self {
        Self { argument: 0, test: Test::Equal(u64::from(number)) }
    }

    fn order(&self, other: &Self) -> Ordering {
        let by_argument = other.argument.cmp(&self.argument);
        by_argument.then_with(|| self.test.specificity().cmp(&other.test.specificity()))
    }
}

impl Test {
    /// The less, the more specific: values, then ranges from below, then those from above; among
    /// them, by the value, so that the smaller range comes first. No two tests are alike.
    fn specificity(self) -> (u8, u64, u64) {
        match self {
            Self::Equal(value) => (0, !value, 0),
            Self::Masked(mask, value) => (0, !value, !mask),
            Self::NotEqual(value) => (0, !value, u64::MAX),
            Self::Less(value) => (1, value, 0),
            Self::LessOrEqual(value) => (1, value, 1),
            Self::Greater(value) => (2, !value, 0),
            Self::GreaterOrEqual(value) => (2, !value, 1),
        }
    }

    /// Whether it holds for the value of an argument.
    pub(super) fn holds(self, argument: u64) -> bool {
        match self {
            Self::NotEqual(value) => argument != value,
            Self::Less(value) => argument < value,
            Self::LessOrEqual(value) => argument <= value,
            Self::Equal(value) => argument == value,
            Self::GreaterOrEqual(value) => argument >= value,
            Self::Greater(value) => argument > value,
            Self::Masked(mask, value) => argument & mask == value,
        }
    }

    /// The values from which on its answer is another; those of a mask are too many to tell.
    pub(super) fn borders(self) -> [Option<u64>; 2] {
        match self {
            Self::Equal(value) | Self::NotEqual(value) => [Some(value), value.checked_add(1)],
            Self::Less(value) | Self::GreaterOrEqual(value) => [Some(value), None],
            Self::LessOrEqual(value) | Self::Greater(value) => [value.checked_add(1), None],
            Self::Masked(..) => [None, None],
        }
    }
}

/// Whether the profile names a listener's action: the default one may not be it, since nobody
/// could hand the listener its descriptor.
pub(super) fn notifies(filter: &Seccomp) -> Result<bool> {
    if filter.default_action == SeccompAction::Notify {
        let why = "SCMP_ACT_NOTIFY cannot be used as default action";
        let at = String::from("/linux/seccomp/defaultAction");
        return Err(refuse(why, at, &filter.default_action).help("name system calls in a rule"));
    }
    Ok(filter.syscalls.iter().any(|rule| rule.action == SeccompAction::Notify))
}
