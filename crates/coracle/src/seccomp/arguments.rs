//! Decisions by the arguments of a call.

use std::collections::BTreeSet;

use super::abi::Abi;
use super::assemble::{Assembler, Target};
use super::rule::{Alternative, Condition, Test};
use super::tree::{self, extend};
use crate::error::{Error, Kind, Result};

/// Writes what the alternatives say; where none of them matches, `otherwise` happens.
pub(super) fn decide(
    program: &mut Assembler,
    abi: &Abi,
    mut alternatives: Vec<Alternative>,
    otherwise: Target,
) -> Result<Target> {
    alternatives.sort_by(Alternative::order);
    for pair in alternatives.windows(2) {
        if pair[0].conditions == pair[1].conditions && pair[0].action != pair[1].action {
            return Err(contradiction(&pair[0], &pair[1]));
        }
    }
    // Backward, as programs are written.
    let alike = alternatives
        .chunk_by(|one, two| one.on_a_line().is_some() && one.on_a_line() == two.on_a_line());
    let mut chunks: Vec<_> = alike.collect();
    chunks.reverse();
    Ok(chunks.into_iter().fold(otherwise, |otherwise, alike| match alike[0].on_a_line() {
        Some(argument) => {
            let tests: Vec<_> =
                alike.iter().map(|of| (of.conditions[0].test, Target::Return(of.action))).collect();
            by_value(program, abi, argument, &tests, otherwise)
        }
        None => alike.iter().rev().fold(otherwise, |otherwise, of| {
            of.conditions.iter().rev().fold(Target::Return(of.action), |yes, condition| {
                by_condition(program, abi, *condition, yes, otherwise)
            })
        }),
    }))
}

impl Alternative {
    /// The argument it asks for, if it asks for nothing else and not for bits: then it parts the
    /// values of the argument into a few ranges.
    fn on_a_line(&self) -> Option<u8> {
        match self.conditions[..] {
            [Condition { test: Test::Masked(..), .. }] => None,
            [Condition { argument, .. }] => Some(argument),
            _ => None,
        }
    }
}

fn by_condition(
    program: &mut Assembler,
    abi: &Abi,
    condition: Condition,
    yes: Target,
    no: Target,
) -> Target {
    let Test::Masked(mask, value) = condition.test else {
        return by_value(program, abi, condition.argument, &[(condition.test, yes)], no);
    };
    let (low, high) = abi.words(condition.argument);
    let mut target = yes;
    for (word, mask, value) in [
        (low, tree::low_word(mask), tree::low_word(value)),
        (high, tree::high_word(mask), tree::high_word(value)),
    ] {
        if mask != 0 {
            let bits = tree::by_bits(program, (mask, value), target, no);
            target = program.load(word, bits);
        }
    }
    target
}

/// Goes where the first test leads that holds for an argument.
fn by_value(
    program: &mut Assembler,
    abi: &Abi,
    argument: u8,
    tests: &[(Test, Target)],
    otherwise: Target,
) -> Target {
    let greatest = if abi.wide { u64::MAX } else { u64::from(u32::MAX) };
    // What a test says changes at its own borders only.
    let mut changes: Vec<(u64, usize)> = Vec::with_capacity(3 * tests.len());
    for (index, (test, _)) in tests.iter().enumerate() {
        let borders = test.borders().into_iter().flatten().chain([0]);
        changes.extend(borders.filter(|border| *border <= greatest).map(|border| (border, index)));
    }
    changes.sort_unstable();
    let (mut holding, mut line) = (BTreeSet::new(), Vec::with_capacity(changes.len() + 1));
    extend(&mut line, 0, otherwise);
    for at in changes.chunk_by(|one, two| one.0 == two.0) {
        let border = at[0].0;
        for &(_, index) in at {
            if tests[index].0.holds(border) {
                holding.insert(index);
            } else {
                holding.remove(&index);
            }
        }
        let target = holding.first().map_or(otherwise, |&first| tests[first].1);
        if border == 0 {
            line.clear();
        }
        extend(&mut line, border, target);
    }
    let (low, high) = abi.words(argument);
    if abi.wide {
        return tree::by_wide_argument(program, (low, high), &line);
    }
    let line = line.into_iter().map(|(start, target)| (tree::low_word(start), target)).collect();
    tree::by_argument(program, low, line)
}

/// Other runtimes refuse such a profile as well: libseccomp's EEXIST.
fn contradiction(one: &Alternative, two: &Alternative) -> Error {
    let (first, later) = (one.rule.min(two.rule), one.rule.max(two.rule));
    let why = "two rules say different things about the same call with the same arguments";
    Error::new(why)
        .kind(Kind::Config)
        .at(format!("/linux/seccomp/syscalls/{later}"), None)
        .help(format!("the other one is /linux/seccomp/syscalls/{first}"))
}
