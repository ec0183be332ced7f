//! Device rules as a BPF program (linux/bpf.h, `struct bpf_cgroup_dev_ctx`).

use super::device::{DeviceKind, Policy};
use crate::sys::bpf::Instruction;

// Classes, operations and sources of the BPF instruction set (RFC 9669).
const LOAD_WORD: u8 = 0x61;
const MOVE: u8 = 0xb4;
const MOVE_REGISTER: u8 = 0xbc;
const AND: u8 = 0x54;
const SHIFT_RIGHT: u8 = 0x74;
const JUMP: u8 = 0x05;
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
pub(super) fn compile(policy: &Policy) -> Vec<Instruction> {
    let mut program = vec![
        // u32 access_type: kind in the lower half, access in the upper one; u32 major, minor
        Instruction::new(LOAD_WORD, KIND, CONTEXT, 0, 0),
        Instruction::new(MOVE_REGISTER, ACCESS, KIND, 0, 0),
        Instruction::new(AND, KIND, 0, 0, 0xffff),
        Instruction::new(SHIFT_RIGHT, ACCESS, 0, 0, 16),
        Instruction::new(LOAD_WORD, MAJOR, CONTEXT, 4, 0),
        Instruction::new(LOAD_WORD, MINOR, CONTEXT, 8, 0),
    ];
    for rule in policy.rules.iter().rev() {
        let kind = match rule.kind {
            DeviceKind::All => continue,
            DeviceKind::Block => 1,
            DeviceKind::Char => 2,
        };
        // What must hold for the rule to be about the device; the kind always must.
        let conditions = [
            rule.minor.map(|number| (MINOR, number.cast_signed())),
            rule.major.map(|number| (MAJOR, number.cast_signed())),
            Some((KIND, kind)),
        ];
        let conditions = conditions.into_iter().flatten();
        // To the next rule: over the conditions still to come and four instructions.
        let beyond = (4..7).take(conditions.clone().count()).rev();
        program.extend(conditions.zip(beyond).map(|((register, value), beyond)| {
            Instruction::new(JUMP_IF_NOT_EQUAL, register, 0, beyond, value)
        }));
        let access = i32::from(rule.access.bits());
        program.extend(if rule.allow {
            [
                Instruction::new(AND, ACCESS, 0, 0, !access),
                Instruction::new(JUMP_IF_NOT_EQUAL, ACCESS, 0, 2, 0),
            ]
        } else {
            [
                Instruction::new(JUMP_IF_SET, ACCESS, 0, 1, access),
                Instruction::new(JUMP, 0, 0, 2, 0),
            ]
        });
        program.extend(decision(rule.allow));
    }
    program.extend(decision(policy.default_allow));
    program
}

/// Ends the program with its answer.
fn decision(allow: bool) -> [Instruction; 2] {
    [Instruction::new(MOVE, ANSWER, 0, 0, i32::from(allow)), Instruction::new(EXIT, 0, 0, 0, 0)]
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::super::device::tests::{decide, random_rules, randomness, requests};
    use super::super::device::{Access, DeviceRule};
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
                LOAD_WORD => {
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
            let program = compile(&Policy::new(&rules));
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
    fn a_rule_takes_no_more_than_it_must() {
        let rule = DeviceRule {
            allow: true,
            kind: DeviceKind::Char,
            major: Some(1),
            minor: None,
            access: Access::ALL,
        };
        assert_eq!(compile(&Policy::new(&[])).len(), 8);
        assert_eq!(compile(&Policy::new(&[rule])).len(), 14);
    }
}
