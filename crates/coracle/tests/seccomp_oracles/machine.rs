//! A machine for classic BPF as the kernel has it for seccomp(2) (kernel/seccomp.c,
//! `seccomp_check_filter`, and net/core/filter.c, `bpf_check_classic`).

use coracle::seccomp::Program;

use super::Call;

/// Runs a program on a call.
pub(super) fn run(program: &Program, call: &Call) -> u32 {
    let little_endian = call.audit & 0x4000_0000 != 0;
    let mut data = [0_u32; 16];
    data[0] = call.number;
    data[1] = call.audit;
    for (i, arg) in call.args.into_iter().enumerate() {
        let (low, high) = (arg as u32, (arg >> 32) as u32);
        let (first, second) = if little_endian { (low, high) } else { (high, low) };
        data[4 + 2 * i] = first;
        data[5 + 2 * i] = second;
    }
    let mut accumulator = 0;
    let mut at = 0;
    loop {
        let instruction = program.instructions[at];
        let k = instruction.k;
        at += 1;
        let jumps = match instruction.code {
            0x20 => {
                assert_eq!(k % 4, 0);
                accumulator = data[k as usize / 4];
                continue;
            }
            0x54 => {
                accumulator &= k;
                continue;
            }
            0x05 => {
                at += k as usize;
                continue;
            }
            0x06 => return k,
            0x15 => accumulator == k,
            0x25 => accumulator > k,
            0x35 => accumulator >= k,
            0x45 => accumulator & k != 0,
            code => panic!("instruction {code:#x}"),
        };
        at += usize::from(if jumps { instruction.jt } else { instruction.jf });
    }
}

/// What the kernel checks when a program is loaded.
pub(super) fn check(program: &Program) {
    let instructions = &program.instructions;
    assert!(!instructions.is_empty() && instructions.len() <= 4096);
    for (i, instruction) in instructions.iter().enumerate() {
        let left = instructions.len() - i - 1;
        match instruction.code {
            0x20 => assert!(instruction.k < 64 && instruction.k % 4 == 0),
            0x05 => assert!((instruction.k as usize) < left),
            0x15 | 0x25 | 0x35 | 0x45 => {
                assert!(usize::from(instruction.jt.max(instruction.jf)) < left);
            }
            0x54 | 0x06 => {}
            code => panic!("instruction {code:#x}"),
        }
    }
    assert_eq!(instructions.last().unwrap().code, 0x06);
}
