//! Decisions by the value of a number, as balanced trees.

use super::assemble::{
    Assembler, JUMP_IF_ANY_BIT, JUMP_IF_EQUAL, JUMP_IF_GREATER_OR_EQUAL, Piece, Target,
};
use super::rule::KILL_THREAD;

/// How many single numbers may be asked for one by one before the range around them is decided.
const EXCEPTIONS: usize = 4;

/// Adds a piece, in the place of one that begins at the same number, unless it only goes on with
/// the last one.
pub(super) fn extend<N: PartialEq>(line: &mut Vec<Piece<N>>, start: N, target: Target) {
    line.pop_if(|last| last.0 == start);
    if line.last().is_none_or(|last| last.1 != target) {
        line.push((start, target));
    }
}

/// Decides by the word that is loaded.
pub(super) fn by_word(program: &mut Assembler, line: &[Piece<u32>]) -> Target {
    let mut segments = Vec::with_capacity(line.len());
    let mut rest = line;
    while !rest.is_empty() {
        let (segment, after) = rest.split_at(segment(rest));
        segments.push(segment);
        rest = after;
    }
    split(program, &segments)
}

/// How many pieces from the first on are one range with single numbers taken out: to ask for such
/// a number takes one instruction, for where it begins and ends two.
fn segment(line: &[Piece<u32>]) -> usize {
    let around = line[0].1;
    let mut end = 1;
    let mut exceptions = 0;
    for (i, pair) in line.windows(2).enumerate().skip(1) {
        let single = pair[1].0 - pair[0].0 == 1;
        if pair[0].1 != around {
            exceptions += 1;
            if !single || exceptions > EXCEPTIONS {
                break;
            }
        }
        if pair[1].1 == around {
            end = i + 2;
        }
    }
    end
}

fn split(program: &mut Assembler, segments: &[&[Piece<u32>]]) -> Target {
    match segments {
        // No line is empty.
        [] => Target::Return(KILL_THREAD),
        [segment] => {
            let around = segment[0].1;
            segment
                .iter()
                .rev()
                .filter(|piece| piece.1 != around)
                .fold(around, |no, piece| program.branch(JUMP_IF_EQUAL, piece.0, piece.1, no))
        }
        _ => {
            let (low, high) = segments.split_at(segments.len() / 2);
            let border = high[0][0].0;
            let yes = split(program, high);
            let no = split(program, low);
            program.branch(JUMP_IF_GREATER_OR_EQUAL, border, yes, no)
        }
    }
}

/// Loads a word and decides by it. Architectures mostly ask the same of the same word: what is
/// written already serves again.
pub(super) fn by_argument(program: &mut Assembler, word: u32, line: Vec<Piece<u32>>) -> Target {
    if let [(_, everywhere)] = line[..] {
        return everywhere;
    }
    if let Some(target) = program.written(word, &line) {
        return target;
    }
    let target = by_word(program, &line);
    let target = program.load(word, target);
    program.remember(word, line, target);
    target
}

/// Decides by an argument of 64 bits, whose low and high words are at these places.
pub(super) fn by_wide_argument(
    program: &mut Assembler,
    (low, high): (u32, u32),
    line: &[Piece<u64>],
) -> Target {
    let mut by_high = Vec::new();
    let mut before = None;
    for same_high in line.chunk_by(|one, two| one.0 >> 32 == two.0 >> 32) {
        let word = high_word(same_high[0].0);
        let mut by_low = Vec::with_capacity(same_high.len() + 1);
        if let (Some(before), 1..) = (before, low_word(same_high[0].0)) {
            by_low.push((0, before));
        }
        by_low.extend(same_high.iter().map(|piece| (low_word(piece.0), piece.1)));
        before = by_low.last().map(|piece| piece.1);
        let target = by_argument(program, low, by_low);
        extend(&mut by_high, word, target);
        if let (Some(before), Some(next)) = (before, word.checked_add(1)) {
            extend(&mut by_high, next, before);
        }
    }
    by_argument(program, high, by_high)
}

/// Decides by the bits of a mask in the word that is loaded.
pub(super) fn by_bits(
    program: &mut Assembler,
    (mask, value): (u32, u32),
    yes: Target,
    no: Target,
) -> Target {
    if mask == u32::MAX {
        program.branch(JUMP_IF_EQUAL, value, yes, no)
    } else if value == 0 {
        program.branch(JUMP_IF_ANY_BIT, mask, no, yes)
    } else if mask.is_power_of_two() {
        program.branch(JUMP_IF_ANY_BIT, mask, yes, no)
    } else {
        let target = program.branch(JUMP_IF_EQUAL, value, yes, no);
        program.and(mask, target)
    }
}

#[allow(clippy::cast_possible_truncation)]
pub(super) const fn low_word(number: u64) -> u32 {
    number as u32
}

#[allow(clippy::cast_possible_truncation)]
pub(super) const fn high_word(number: u64) -> u32 {
    (number >> 32) as u32
}
