//! What happens to the calls of one architecture.

use super::abi::{Abi, SECOND_BLOCK, SLOTS};
use super::arguments;
use super::assemble::{Assembler, Piece, Target};
use super::call::Call;
use super::rule::{NO_SUCH_CALL, Rule, is_permissive};
use super::tree::extend;
use crate::error::Result;

/// What the rules say of the calls of one architecture.
pub(super) struct Calls {
    pub(super) abi: Abi,
    /// The value that a filter returns for each slot, where an unconditional rule says it. One
    /// that comes later changes nothing, nor do conditional ones (libseccomp).
    decided: [Option<u32>; SLOTS],
    /// What conditional rules say, as they come.
    conditional: Vec<Conditional>,
    /// In each block of numbers, the slot after the last one named.
    named: [usize; 2],
}

struct Conditional {
    slot: usize,
    /// The place of the rule among all.
    rule: usize,
    /// The number under which the call is multiplexed.
    number: Option<u8>,
}

impl Calls {
    pub(super) fn new(abi: Abi) -> Self {
        let named = [0, SECOND_BLOCK];
        Self { abi, decided: [None; SLOTS], conditional: Vec::new(), named }
    }

    /// Takes in what a rule says of a call.
    pub(super) fn add(&mut self, call: &Call, rule: &Rule<'_>, default: u32) {
        if let Some(slot) = self.abi.slot(call) {
            self.add_to(slot, None, rule, default);
        }
        if let Some((slot, number)) = self.abi.carrier(call) {
            self.add_to(slot, Some(number), rule, default);
        }
    }

    fn add_to(&mut self, slot: usize, number: Option<u8>, rule: &Rule<'_>, default: u32) {
        let block = self.abi.second_block.is_some() && slot >= SECOND_BLOCK;
        let named = &mut self.named[usize::from(block)];
        *named = (slot + 1).max(*named);
        if rule.action == default {
            // It decides nothing, not even before another rule (runc).
        } else if number.is_none() && rule.is_unconditional(&self.abi) {
            self.decided[slot].get_or_insert(rule.action);
        } else {
            self.conditional.push(Conditional { slot, rule: rule.index, number });
        }
    }

    /// Writes the decisions that need arguments, and says by number what happens to each call.
    ///
    /// Where the default denies, calls newer than the newest that the profile names get ENOSYS, or
    /// C libraries newer than the profile would not fall back to what it allows (runc). Each block
    /// of numbers has a newest of its own.
    pub(super) fn line(
        &mut self,
        program: &mut Assembler,
        rules: &[Rule<'_>],
        default: u32,
    ) -> Result<Vec<Piece<u32>>> {
        let newer = if is_permissive(default) { default } else { NO_SUCH_CALL };
        let first = if self.abi.shares_numbers() { self.abi.base } else { 0 };
        let mut line = vec![(first, Target::Return(default))];
        self.conditional.sort_by_key(|conditional| conditional.slot);
        let mut conditional = self.conditional.chunk_by(|one, two| one.slot == two.slot).peekable();
        for (first, named) in [0, SECOND_BLOCK].into_iter().zip(self.named) {
            for slot in first..named {
                let conditional = conditional.next_if(|of| of[0].slot == slot);
                let target = if let Some(value) = self.decided[slot] {
                    Target::Return(value)
                } else if let Some(conditional) = conditional {
                    let mut alternatives = Vec::with_capacity(conditional.len());
                    for of in conditional {
                        rules[of.rule].alternatives(&self.abi, of.number, &mut alternatives);
                    }
                    arguments::decide(program, &self.abi, alternatives, Target::Return(default))?
                } else {
                    Target::Return(default)
                };
                extend(&mut line, self.abi.number(slot), target);
            }
            if first < named {
                extend(&mut line, self.abi.number(named - 1) + 1, Target::Return(newer));
            }
        }
        if self.abi.is_s390() && self.named[0] > 0 && newer == NO_SUCH_CALL {
            // Call 0 says that the number is in a register. Where the kernel does not know that one,
            // the filter sees the 0 (runc).
            let after = line.iter().find(|piece| piece.0 == 1).map_or(line[0].1, |piece| piece.1);
            line.retain(|piece| piece.0 > 1);
            line.splice(0..0, [(0, Target::Return(newer)), (1, after)]);
        }
        Ok(line)
    }
}
