//! The architectures: how each numbers and passes system calls.

use super::call::{COLUMNS, Call, Multiplexed, NO};
use super::table::CALLS;
use crate::config::SeccompArch;

/// The slots that the table has, at least.
pub(super) const SLOTS: usize = slots();

const fn slots() -> usize {
    let mut most = 0;
    let mut i = 0;
    while i < CALLS.len() {
        let mut column = 0;
        while column < COLUMNS {
            let slot = CALLS[i].slots[column];
            if slot != NO && slot >= most {
                most = slot + 1;
            }
            column += 1;
        }
        i += 1;
    }
    most as usize
}

/// The first slot of the second block of numbers, for architectures that have one: x32's own calls
/// begin there, and 32-bit ARM's private ones are put there.
pub(super) const SECOND_BLOCK: usize = 512;

/// How an architecture numbers and passes system calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Abi {
    /// `AUDIT_ARCH_*` (linux/audit.h), which the kernel tells the filter.
    pub(super) audit: u32,
    /// Its column in the table.
    column: usize,
    /// What its numbers start from.
    pub(super) base: u32,
    /// The number of slot 512, where that does not follow from the base.
    pub(super) second_block: Option<u32>,
    /// Whether arguments have 64 bits that count. x32 and n32 pass 64, but mean 32.
    pub(super) wide: bool,
    /// Whether socketcall(2) and ipc(2) are there, under slots 102 and 117.
    multiplexes: bool,
}

const SOCKETCALL: u16 = 102;
const IPC: u16 = 117;

// linux/elf-em.h
const EM_386: u32 = 3;
const EM_68K: u32 = 4;
const EM_MIPS: u32 = 8;
const EM_PARISC: u32 = 15;
const EM_PPC: u32 = 20;
const EM_PPC64: u32 = 21;
const EM_S390: u32 = 22;
const EM_ARM: u32 = 40;
const EM_SH: u32 = 42;
const EM_X86_64: u32 = 62;
const EM_AARCH64: u32 = 183;
const EM_RISCV: u32 = 243;
const EM_LOONGARCH: u32 = 258;

// linux/audit.h: a machine with these is an AUDIT_ARCH.
const BITS_64: u32 = 0x8000_0000;
const LITTLE_ENDIAN: u32 = 0x4000_0000;
const N32: u32 = 0x2000_0000;

/// The bit that marks numbers of x32 (asm/unistd.h, `__X32_SYSCALL_BIT`).
pub(super) const X32: u32 = 0x4000_0000;

impl Abi {
    pub(super) const fn of(arch: SeccompArch) -> Self {
        /// The machine is `EM_*`, with the bits that go with it.
        const fn abi(column: usize, machine: u32) -> Abi {
            Abi {
                audit: machine,
                column,
                base: 0,
                second_block: None,
                wide: machine & BITS_64 != 0 && machine & N32 == 0,
                multiplexes: false,
            }
        }
        const fn little(column: usize, machine: u32) -> Abi {
            abi(column, machine | LITTLE_ENDIAN)
        }
        const fn multiplexes(abi: Abi) -> Abi {
            Abi { multiplexes: true, ..abi }
        }
        const fn mips(column: usize, flags: u32, base: u32) -> Abi {
            Abi { base, multiplexes: base == 4000, ..abi(column, EM_MIPS | flags) }
        }
        match arch {
            SeccompArch::X86 => multiplexes(little(0, EM_386)),
            SeccompArch::X86_64 => little(1, EM_X86_64 | BITS_64),
            SeccompArch::X32 => Abi {
                base: X32,
                second_block: Some(X32 + 512),
                wide: false,
                ..little(2, EM_X86_64 | BITS_64)
            },
            SeccompArch::Arm => Abi { second_block: Some(0x000f_0000), ..little(3, EM_ARM) },
            SeccompArch::Aarch64 => little(4, EM_AARCH64 | BITS_64),
            SeccompArch::Loongarch64 => little(5, EM_LOONGARCH | BITS_64),
            SeccompArch::M68k => multiplexes(abi(6, EM_68K)),
            SeccompArch::Mips => mips(7, 0, 4000),
            SeccompArch::Mipsel => mips(7, LITTLE_ENDIAN, 4000),
            SeccompArch::Mips64 => mips(8, BITS_64, 5000),
            SeccompArch::Mipsel64 => mips(8, BITS_64 | LITTLE_ENDIAN, 5000),
            SeccompArch::Mips64N32 => mips(9, BITS_64 | N32, 6000),
            SeccompArch::Mipsel64N32 => mips(9, BITS_64 | N32 | LITTLE_ENDIAN, 6000),
            SeccompArch::Parisc => abi(10, EM_PARISC),
            SeccompArch::Parisc64 => abi(11, EM_PARISC | BITS_64),
            SeccompArch::Ppc => multiplexes(abi(12, EM_PPC)),
            SeccompArch::Ppc64 => multiplexes(abi(13, EM_PPC64 | BITS_64)),
            SeccompArch::Ppc64le => multiplexes(little(13, EM_PPC64 | BITS_64)),
            SeccompArch::Riscv64 => little(14, EM_RISCV | BITS_64),
            SeccompArch::S390 => multiplexes(abi(15, EM_S390)),
            SeccompArch::S390x => multiplexes(abi(16, EM_S390 | BITS_64)),
            SeccompArch::Sh => multiplexes(little(17, EM_SH)),
            SeccompArch::Sheb => multiplexes(abi(17, EM_SH)),
        }
    }

    /// The slot of a call, unless the architecture lacks it.
    pub(super) fn slot(&self, call: &Call) -> Option<usize> {
        let slot = call.slots[self.column];
        (slot != NO).then_some(usize::from(slot))
    }

    /// The slot of the call that carries a multiplexed one, and the number there.
    pub(super) fn carrier(&self, call: &Call) -> Option<(usize, u8)> {
        match call.multiplexed {
            Multiplexed::Socket(number) if self.multiplexes => {
                Some((usize::from(SOCKETCALL), number))
            }
            Multiplexed::Ipc(number) if self.multiplexes => Some((usize::from(IPC), number)),
            _ => None,
        }
    }

    /// The number of a slot.
    pub(super) fn number(&self, slot: usize) -> u32 {
        // A slot is a u16 in the table.
        let number = |slot| u32::try_from(slot).unwrap_or(u32::MAX);
        match self.second_block {
            Some(start) if slot >= SECOND_BLOCK => start + number(slot - SECOND_BLOCK),
            _ => self.base + number(slot),
        }
    }

    /// Whether its numbers are beside those of another architecture, under the same `AUDIT_ARCH_*`.
    pub(super) fn shares_numbers(&self) -> bool {
        self.base == X32
    }

    /// Whether numbers that the kernel does not know become 0.
    pub(super) fn is_s390(&self) -> bool {
        self.audit & !BITS_64 == EM_S390
    }

    /// Where `struct seccomp_data` has the words of an argument: the low one, and the high one.
    pub(super) fn words(&self, argument: u8) -> (u32, u32) {
        let first = super::word::ARGUMENTS + 8 * u32::from(argument);
        if self.audit & LITTLE_ENDIAN == 0 { (first + 4, first) } else { (first, first + 4) }
    }
}

/// Finds a call by its name. Profiles are mostly sorted, and name most calls there are: the search
/// begins at the place `near`, where the last one ended, and moves it.
pub(super) fn find(name: &str, near: &mut usize) -> Option<&'static Call> {
    const NEIGHBOURS: usize = 4;
    for (i, call) in CALLS.iter().enumerate().skip(*near).take(NEIGHBOURS) {
        if call.name == name {
            *near = i + 1;
            return Some(call);
        }
    }
    let i = CALLS.binary_search_by(|call| call.name.cmp(name)).ok()?;
    *near = i + 1;
    Some(&CALLS[i])
}
