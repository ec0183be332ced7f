//! What is expected of each program: the table of docs/validation.md.

use std::fmt;

use crate::Outcome;

/// The document.
const DOCUMENT: &str = include_str!("../../../docs/validation.md");

/// How many results of each kind a program has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) passed: u64,
    pub(super) failed: u64,
    pub(super) skipped: u64,
}

/// Whose the failures are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// There are none.
    Nobody,
    /// The program asks for what the specification does not, or coracle decides otherwise: every run
    /// has them.
    Always,
    /// Something is missing where it runs: a run has them, or passes.
    Machine,
    /// A race within the program: it may fail, and passes when it is run often enough.
    Chance,
}

/// A row.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) program: &'static str,
    /// What it makes of coracle; of a race, how it ends when it is won.
    pub(super) counts: Counts,
    pub(super) cause: Cause,
    /// The reason.
    pub(super) why: &'static str,
}

/// All rows.
///
/// # Errors
///
/// A line that is no row.
pub(super) fn rows() -> Outcome<Vec<Row>> {
    let table = DOCUMENT.lines().skip_while(|line| !line.starts_with("| Program |"));
    let lines = table.skip(2).take_while(|line| line.starts_with('|'));
    let rows = lines.map(|line| row(line).ok_or_else(|| format!("no row of results: {line}")));
    let rows = rows.collect::<Result<Vec<_>, _>>()?;
    if rows.is_empty() { Err("docs/validation.md has no table".into()) } else { Ok(rows) }
}

fn row(line: &'static str) -> Option<Row> {
    let cells: Vec<&str> = line.split('|').map(str::trim).collect();
    let ["", program, passed, failed, skipped, _runc, why, ""] = cells[..] else { return None };
    let counts = Counts {
        passed: passed.parse().ok()?,
        failed: failed.parse().ok()?,
        skipped: skipped.parse().ok()?,
    };
    let cause = match why.split_once(':').map(|(cause, _)| cause) {
        None if why.is_empty() => Cause::Nobody,
        Some("suite" | "deliberate") => Cause::Always,
        Some("machine") => Cause::Machine,
        Some("chance") => Cause::Chance,
        _ => return None,
    };
    Some(Row { program, counts, cause, why })
}

impl Row {
    /// Whether the row is at one with itself: what fails has a reason.
    fn is_sound(&self) -> bool {
        match self.cause {
            Cause::Nobody | Cause::Chance => self.counts.failed == 0,
            Cause::Always | Cause::Machine => self.counts.failed > 0,
        }
    }

    /// What a run with these counts says, with the lines that failed.
    pub(super) fn judge(&self, found: Counts, failures: &[String]) -> Judgement {
        if !self.is_sound() {
            return Judgement::Failed(
                "its row has failures without a cause, or the reverse".into(),
            );
        }
        let as_told = found == self.counts;
        match self.cause {
            Cause::Machine if as_told => Judgement::Skipped(self.why.to_owned()),
            // What was missing is there.
            Cause::Machine if found.failed == 0 && found.passed > 0 => Judgement::Passed,
            _ if as_told => Judgement::Passed,
            _ => {
                let told = format!("{found} in place of {}", self.counts);
                let lines = [told].into_iter().chain(failures.iter().cloned());
                Judgement::Failed(lines.collect::<Vec<_>>().join("\n  "))
            }
        }
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }
}

/// What a program's run comes to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Judgement {
    /// It is as the table says.
    Passed,
    /// Why it could not be tried.
    Skipped(String),
    /// What is not as the table says.
    Failed(String),
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

    use super::{Counts, Judgement, row, rows};

    #[test]
    fn every_row_has_a_reason_for_what_fails() {
        for row in rows().unwrap() {
            assert!(row.is_sound(), "{row:?}");
        }
    }

    #[test]
    fn a_run_is_as_the_table_says_or_fails() {
        let counts = |passed, failed| Counts { passed, failed, skipped: 0 };
        let failed = |judged: Judgement| matches!(judged, Judgement::Failed(_));
        for line in ["| a | 3 | 0 | 0 | 3/0/0 | |", "| a | 3 | 0 | 0 | 3/0/0 | chance: b |"] {
            let row = row(line).unwrap();
            assert_eq!(row.judge(counts(3, 0), &[]), Judgement::Passed);
            assert!(failed(row.judge(counts(4, 0), &[])), "the table lies");
            assert!(failed(row.judge(counts(3, 1), &[])));
        }
        let suite = row("| a | 3 | 1 | 0 | 3/1/0 | suite: b |").unwrap();
        assert_eq!(suite.judge(counts(3, 1), &[]), Judgement::Passed);
        assert!(failed(suite.judge(counts(2, 2), &[])));
        assert!(failed(suite.judge(counts(4, 0), &[])), "the table lies");
        let machine = row("| a | 3 | 1 | 0 | 3/1/0 | machine: no b |").unwrap();
        assert_eq!(
            machine.judge(counts(3, 1), &[]),
            Judgement::Skipped("machine: no b".to_owned())
        );
        assert_eq!(machine.judge(counts(9, 0), &[]), Judgement::Passed);
        assert!(failed(machine.judge(counts(2, 2), &[])));
        assert!(failed(row("| a | 3 | 1 | 0 | | chance: b |").unwrap().judge(counts(3, 1), &[])));
        assert!(row("| a | 3 | 1 | 0 | | whatever: b |").is_none());
        assert!(row("| a | x | 1 | 0 | | |").is_none());
    }
}
