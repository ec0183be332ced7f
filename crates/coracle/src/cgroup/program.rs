//! Device rules as a BPF program (linux/bpf.h, `struct bpf_cgroup_dev_ctx`).
//!
//! The kernel checks a program when it is loaded, in time that grows with its length and branches,
//! and every start pays for that: rules that may change places share their tests. The default
//! devices of a container take 29 instructions so, and load in 30 µs; one rule after the other it
//! was 80 and 110 µs.

use super::device::{Access, DeviceKind, DeviceRule, Policy};
use crate::Errno;
use crate::sys::bpf::Instruction;

// Classes, operations and sources of the BPF instruction set (RFC 9669), all on 32 bits.
const LOAD: u8 = 0x61;
const MOVE: u8 = 0xb4;
const MOVE_REGISTER: u8 = 0xbc;
const AND: u8 = 0x54;
const SHIFT_RIGHT: u8 = 0x74;
const JUMP: u8 = 0x05;
const JUMP_IF_EQUAL: u8 = 0x16;
const JUMP_IF_SET: u8 = 0x46;
const JUMP_IF_NOT_EQUAL: u8 = 0x56;
const EXIT: u8 = 0x95;

// Registers: the answer, the context, and what we keep.
const ANSWER: u8 = 0;
const CONTEXT: u8 = 1;
const KIND: u8 = 2;
const ACCESS: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;

/// The program: from the last rule to the first, an allowing one strikes its access off what is
/// asked for, until nothing is left; a denying one ends it if it is about any of the rest.
///
/// Of some ten thousand rules, one would have to jump too far: E2BIG.
pub(super) fn compile(policy: &Policy) -> Result<Vec<Instruction>, Errno> {
    let mut program = Program::default();
    // u32 access_type: the kind in the lower half, the access in the upper one; u32 major, minor
    program.push(LOAD, KIND, CONTEXT, 0, 0);
    program.push(MOVE_REGISTER, ACCESS, KIND, 0, 0);
    program.push(AND, KIND, 0, 0, 0xffff);
    program.push(SHIFT_RIGHT, ACCESS, 0, 0, 16);
    program.push(LOAD, MAJOR, CONTEXT, 4, 0);
    program.push(LOAD, MINOR, CONTEXT, 8, 0);
    let mut rules = policy.rules.clone();
    rules.reverse();
    for alike in rules.chunk_by_mut(|one, next| one.allow == next.allow) {
        // Neighbours that say the same have no order among them.
        alike.sort_by_key(|rule| (rule.kind == DeviceKind::Block, rule.major, rule.minor));
        for of_kind in alike.chunk_by(|one, next| one.kind == next.kind) {
            program.of_kind(of_kind)?;
        }
    }
    program.end(policy.default_allow)
}

/// A program that is being written. Jumps go forward only.
#[derive(Default)]
struct Program {
    code: Vec<Instruction>,
    /// The jumps to the ends that allow and deny.
    allowing: Vec<usize>,
    denying: Vec<usize>,
}

impl Program {
    fn push(&mut self, code: u8, destination: u8, source: u8, offset: i16, immediate: i32) {
        self.code.push(Instruction::new(code, destination, source, offset, immediate));
    }

    /// A conditional jump to somewhere: [`Program::land`] says where.
    fn jump(&mut self, condition: u8, register: u8, value: u32) -> usize {
        self.push(condition, register, 0, 0, value.cast_signed());
        self.code.len() - 1
    }

    /// Makes a jump lead to the next instruction.
    fn land(&mut self, jump: usize) -> Result<(), Errno> {
        let distance = self.code.len() - jump - 1;
        self.code[jump].offset = i16::try_from(distance).map_err(|_| Errno::TOOBIG)?;
        Ok(())
    }

    /// A conditional jump to an end.
    fn decide(&mut self, allow: bool, condition: u8, register: u8, value: u32) {
        let jump = self.jump(condition, register, value);
        if allow { self.allowing.push(jump) } else { self.denying.push(jump) }
    }

    /// Rules for one kind of device that all allow or all deny, sorted by number.
    fn of_kind(&mut self, rules: &[DeviceRule]) -> Result<(), Errno> {
        let kind = if rules[0].kind == DeviceKind::Block { 1 } else { 2 };
        let other_kind = self.jump(JUMP_IF_NOT_EQUAL, KIND, kind);
        for of_major in rules.chunk_by(|one, next| one.major == next.major) {
            let major = of_major[0].major;
            let other_major = major.map(|major| self.jump(JUMP_IF_NOT_EQUAL, MAJOR, major));
            for rule in of_major {
                self.rule(rule)?;
            }
            other_major.map_or(Ok(()), |jump| self.land(jump))?;
        }
        self.land(other_kind)
    }

    /// One rule, given that kind and major number match.
    fn rule(&mut self, rule: &DeviceRule) -> Result<(), Errno> {
        let access = u32::from(rule.access.bits());
        match rule.minor {
            Some(minor) if rule.access == Access::ALL => {
                self.decide(rule.allow, JUMP_IF_EQUAL, MINOR, minor);
                return Ok(());
            }
            None if rule.access == Access::ALL => {
                self.decide(rule.allow, JUMP, 0, 0);
                return Ok(());
            }
            _ => {}
        }
        let other_minor = rule.minor.map(|minor| self.jump(JUMP_IF_NOT_EQUAL, MINOR, minor));
        if rule.allow {
            self.push(AND, ACCESS, 0, 0, (!access).cast_signed());
            self.decide(true, JUMP_IF_EQUAL, ACCESS, 0);
        } else {
            self.decide(false, JUMP_IF_SET, ACCESS, access);
        }
        other_minor.map_or(Ok(()), |jump| self.land(jump))
    }

    /// Both ends, first the one for what no rule has decided. The kernel refuses a program with a
    /// part that nothing leads to.
    fn end(mut self, default_allow: bool) -> Result<Vec<Instruction>, Errno> {
        for allow in [default_allow, !default_allow] {
            let jumps = std::mem::take(if allow { &mut self.allowing } else { &mut self.denying });
            if jumps.is_empty() && allow != default_allow {
                continue;
            }
            for jump in jumps {
                self.land(jump)?;
            }
            self.push(MOVE, ANSWER, 0, 0, i32::from(allow));
            self.push(EXIT, 0, 0, 0, 0);
        }
        Ok(self.code)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::super::device::effective_rules;
    use super::super::device::tests::{decide, random_rules, randomness, requests};
    use super::*;

    /// Runs a program on `struct bpf_cgroup_dev_ctx`.
    fn run(program: &[Instruction], context: [u32; 3]) -> bool {
        let mut registers = [0_u32; 6];
        let mut at = 0;
        loop {
            let instruction = program[at];
            let (destination, source) = instruction.registers();
            let (destination, source) = (usize::from(destination), usize::from(source));
            let constant = instruction.immediate.cast_unsigned();
            at += 1;
            let jumps = match instruction.code {
                LOAD => {
                    assert_eq!(source, usize::from(CONTEXT));
                    registers[destination] =
                        context[usize::try_from(instruction.offset).unwrap() / 4];
                    false
                }
                MOVE => {
                    registers[destination] = constant;
                    false
                }
                MOVE_REGISTER => {
                    registers[destination] = registers[source];
                    false
                }
                AND => {
                    registers[destination] &= constant;
                    false
                }
                SHIFT_RIGHT => {
                    registers[destination] >>= constant;
                    false
                }
                JUMP => true,
                JUMP_IF_EQUAL => registers[destination] == constant,
                JUMP_IF_SET => registers[destination] & constant != 0,
                JUMP_IF_NOT_EQUAL => registers[destination] != constant,
                EXIT => return registers[usize::from(ANSWER)] != 0,
                code => panic!("instruction {code:#x}"),
            };
            if jumps {
                at += usize::try_from(instruction.offset).unwrap();
            }
        }
    }

    #[test]
    fn the_program_decides_as_the_rules_say() {
        let mut random = randomness();
        for _ in 0..2000 {
            let rules = random_rules(&mut random);
            let program = compile(&Policy::new(&rules)).unwrap();
            for (kind, major, minor, access) in requests() {
                let kind_bits = if kind == DeviceKind::Char { 2 } else { 1 };
                let asked = u32::from(access.bits()) << 16 | kind_bits;
                assert_eq!(
                    run(&program, [asked, major, minor]),
                    decide(&rules, kind, major, minor, access),
                    "{rules:?} {kind:?} {major}:{minor} {access:?}"
                );
            }
        }
    }

    #[test]
    fn a_default_container_has_a_short_program() {
        let deny_all = DeviceRule {
            allow: false,
            kind: DeviceKind::All,
            major: None,
            minor: None,
            access: Access::ALL,
        };
        let rules = effective_rules(&[deny_all]);
        let program = compile(&Policy::new(&rules)).unwrap();
        assert_eq!(program.len(), 29);
    }

    #[test]
    fn too_many_rules_are_refused() {
        let rule = |minor| DeviceRule {
            allow: true,
            kind: DeviceKind::Char,
            major: Some(1),
            minor: Some(minor),
            access: Access::ALL,
        };
        let policy = |count| Policy { default_allow: false, rules: (0..count).map(rule).collect() };
        assert!(compile(&policy(30_000)).is_ok());
        assert_eq!(compile(&policy(40_000)), Err(Errno::TOOBIG));
    }
}
