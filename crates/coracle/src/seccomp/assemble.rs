//! Writes a program of classic BPF from its end to its beginning.
//!
//! Its jumps go forward only, and a conditional one no further than 255 instructions. Written
//! backward, every target is known when the jump to it is written, and what is too far away gets a
//! nearer copy (of a return) or a stepping stone (to anything else) right there.

use crate::sys::seccomp::Instruction;

// Classes, operations and sources (linux/bpf_common.h).
pub(super) const LOAD: u16 = 0x20;
pub(super) const AND: u16 = 0x54;
pub(super) const JUMP: u16 = 0x05;
pub(super) const JUMP_IF_EQUAL: u16 = 0x15;
pub(super) const JUMP_IF_GREATER_OR_EQUAL: u16 = 0x35;
pub(super) const JUMP_IF_ANY_BIT: u16 = 0x45;
pub(super) const RETURN: u16 = 0x06;

/// Where a jump leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// The end, with this value.
    Return(u32),
    /// An instruction that is written already: how many there were with it.
    At(usize),
}

/// From a number on, up to the next piece: where to go. The first begins where the numbers do.
pub(super) type Piece<N> = (N, Target);

/// A program, its last instruction first.
#[derive(Default)]
pub(super) struct Assembler {
    reversed: Vec<Instruction>,
    /// Where each value is returned, the last one written.
    returns: Vec<(u32, usize)>,
    /// Decisions by a word, and where they are.
    decisions: Vec<(u32, Vec<Piece<u32>>, Target)>,
}

impl Assembler {
    fn push(&mut self, code: u16, jt: u8, jf: u8, k: u32) -> usize {
        self.reversed.push(Instruction { code, jt, jf, k });
        self.reversed.len()
    }

    /// Loads a word, then goes on; not where there is nothing to look at.
    pub(super) fn load(&mut self, word: u32, then: Target) -> Target {
        let Target::At(place) = then else { return then };
        self.next(place);
        Target::At(self.push(LOAD, 0, 0, word))
    }

    /// Clears all bits but those of the mask, then goes on.
    pub(super) fn and(&mut self, mask: u32, then: Target) -> Target {
        let Target::At(place) = then else { return then };
        self.next(place);
        Target::At(self.push(AND, 0, 0, mask))
    }

    /// Goes one way or the other by what is loaded.
    pub(super) fn branch(&mut self, code: u16, k: u32, yes: Target, no: Target) -> Target {
        if yes == no {
            return yes;
        }
        // The other way may need an instruction in between.
        let yes = self.reach(yes, 254);
        let no = self.reach(no, 255);
        let place = self.reversed.len() + 1;
        let distance = |target: usize| {
            let distance = place - target - 1;
            debug_assert!(distance <= 255, "reach() has seen to it");
            u8::try_from(distance).unwrap_or(u8::MAX)
        };
        let (jt, jf) = (distance(yes), distance(no));
        Target::At(self.push(code, jt, jf, k))
    }

    /// A place for a target that the next instruction but `far` more can jump to.
    fn reach(&mut self, target: Target, far: usize) -> usize {
        let written = self.reversed.len();
        match target {
            Target::At(place) if written - place <= far => place,
            Target::At(place) => self.jump(place),
            Target::Return(value) => {
                let known = self.returns.iter_mut().find(|known| known.0 == value);
                match known {
                    Some((_, place)) if written - *place <= far => *place,
                    Some((_, place)) => {
                        *place = written + 1;
                        self.push(RETURN, 0, 0, value)
                    }
                    None => {
                        self.returns.push((value, written + 1));
                        self.push(RETURN, 0, 0, value)
                    }
                }
            }
        }
    }

    /// Makes a place the next instruction.
    fn next(&mut self, place: usize) {
        if place != self.reversed.len() {
            self.jump(place);
        }
    }

    fn jump(&mut self, place: usize) -> usize {
        // A program of more than 4,096 instructions is refused in the end.
        let distance = u32::try_from(self.reversed.len() - place).unwrap_or(u32::MAX);
        self.push(JUMP, 0, 0, distance)
    }

    /// Where a decision by a word is written, if it is.
    pub(super) fn written(&self, word: u32, line: &[Piece<u32>]) -> Option<Target> {
        let mut known = self.decisions.iter();
        known.find(|known| known.0 == word && known.1 == line).map(|known| known.2)
    }

    /// Remembers where a decision by a word is written.
    pub(super) fn remember(&mut self, word: u32, line: Vec<Piece<u32>>, at: Target) {
        self.decisions.push((word, line, at));
    }

    /// The program, beginning at a target.
    pub(super) fn finish(mut self, start: Target) -> Vec<Instruction> {
        match start {
            Target::At(place) => self.next(place),
            Target::Return(value) => drop(self.push(RETURN, 0, 0, value)),
        }
        self.reversed.reverse();
        self.reversed
    }
}
