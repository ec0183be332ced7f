//! Profiles and arguments by chance, the same ones each time.

use coracle::config::{Seccomp, SeccompAction, SeccompArch, SeccompOp, Syscall, SyscallArg};

/// xorshift64* (Vigna, "An experimental exploration of Marsaglia's xorshift generators").
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Below a limit.
    pub(super) fn below(&mut self, limit: usize) -> usize {
        (self.next() >> 16) as usize % limit
    }

    pub(super) fn one_in(&mut self, chances: usize) -> bool {
        self.below(chances) == 0
    }

    pub(super) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}

/// Calls in every part of the tables, with all that is special: multiplexed ones and their
/// carriers, x32's own, ARM's private ones, the first, the newest, and one that does not exist.
const NAMES: &[&str] = &[
    "read",
    "write",
    "open",
    "close",
    "stat",
    "ioctl",
    "clone",
    "execve",
    "personality",
    "kill",
    "uname",
    "ptrace",
    "socket",
    "socketpair",
    "connect",
    "accept4",
    "sendmmsg",
    "socketcall",
    "shmget",
    "shmat",
    "semtimedop",
    "msgctl",
    "ipc",
    "rt_sigaction",
    "pwritev2",
    "set_tls",
    "cacheflush",
    "mmap",
    "mmap2",
    "getuid32",
    "openat2",
    "clone3",
    "faccessat2",
    "futex_waitv",
    "open_tree_attr",
    "swapcontext",
    "s390_pci_mmio_read",
    "setup",
    "no_such_call",
];

const ACTIONS: [SeccompAction; 9] = [
    SeccompAction::Allow,
    SeccompAction::Errno,
    SeccompAction::Kill,
    SeccompAction::KillProcess,
    SeccompAction::KillThread,
    SeccompAction::Trap,
    SeccompAction::Trace,
    SeccompAction::Log,
    SeccompAction::Notify,
];

const OPS: [SeccompOp; 7] = [
    SeccompOp::Ne,
    SeccompOp::Lt,
    SeccompOp::Le,
    SeccompOp::Eq,
    SeccompOp::Ge,
    SeccompOp::Gt,
    SeccompOp::MaskedEq,
];

/// A value near those that are special.
pub(super) fn argument(random: &mut Random) -> u64 {
    let value = match random.below(8) {
        0..3 => random.below(6) as u64,
        3 => u64::from(u32::MAX),
        4 => 1 << random.below(64),
        5 => (random.below(4) as u64) << 32 | random.below(4) as u64,
        6 => u64::MAX,
        _ => random.next(),
    };
    if random.one_in(4) {
        value.wrapping_add(random.below(3) as u64).wrapping_sub(1)
    } else {
        value
    }
}

fn action(random: &mut Random, name: Option<&str>) -> (SeccompAction, Option<u32>) {
    let action = random.pick(&ACTIONS);
    let errno = [None, Some(0), Some(1), Some(38), Some(4095)];
    match action {
        // Not for the default action, and not for write.
        SeccompAction::Notify if name.is_none_or(|name| name == "write") => {
            (SeccompAction::Errno, None)
        }
        SeccompAction::Errno | SeccompAction::Trace => (action, random.pick(&errno)),
        _ => (action, None),
    }
}

fn arg(random: &mut Random) -> SyscallArg {
    SyscallArg {
        index: random.pick(&[0, 0, 0, 1, 1, 2, 5]),
        value: argument(random),
        value_two: argument(random),
        op: random.pick(&OPS),
    }
}

/// A profile, and the machine it is for.
pub(super) fn profile(
    random: &mut Random,
    architectures: &[SeccompArch],
) -> (Seccomp, SeccompArch) {
    let (default_action, default_errno_ret) = action(random, None);
    let mut profile = Seccomp {
        default_action,
        default_errno_ret,
        architectures: Vec::new(),
        flags: None,
        listener_path: None,
        listener_metadata: None,
        syscalls: Vec::new(),
    };
    for _ in 0..random.below(4) {
        profile.architectures.push(random.pick(architectures));
    }
    for _ in 0..random.below(12) {
        let name = random.pick(NAMES);
        let mut names = vec![name.to_owned()];
        for _ in 0..random.below(4) {
            let other = random.pick(NAMES);
            if other != "write" {
                names.push(other.to_owned());
            }
        }
        // Often many rules for one call.
        if random.one_in(2) {
            names = vec![random.pick(&["clone", "socket", "shmget", "read"]).to_owned()];
        }
        let (action, errno_ret) = action(random, names.first().map(String::as_str));
        let args = if random.one_in(3) { 0 } else { random.below(4) };
        let args = (0..args).map(|_| arg(random)).collect();
        profile.syscalls.push(Syscall { names, action, errno_ret, args });
    }
    (profile, random.pick(architectures))
}
