//! What a validation program prints: lines of the Test Anything Protocol.

use serde_json::Value;

use super::table::Counts;

/// What one program found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Findings {
    passed: u64,
    skipped: u64,
    /// What each failing line says.
    pub(super) failures: Vec<String>,
}

impl Findings {
    /// Takes what it printed, and its exit code. A program without result lines has one result: it has
    /// passed unless it tells an error.
    pub(super) fn read(text: &str, code: Option<i32>) -> Self {
        let mut findings = Self::default();
        let mut error = None;
        for line in text.lines() {
            if let Some(what) = line.strip_prefix("not ok ") {
                // What the program itself cannot tell yet.
                if what.contains("# TODO") {
                    findings.skipped += 1;
                } else {
                    findings.failures.push(without_number(what).to_owned());
                }
            } else if let Some(what) = line.strip_prefix("ok ") {
                let counter = if what.contains("# SKIP") {
                    &mut findings.skipped
                } else {
                    &mut findings.passed
                };
                *counter += 1;
            } else if error.is_none() {
                error = told(line);
            }
        }
        if code != Some(0) {
            findings.failures.push(match code {
                Some(124) => "not done in time".to_owned(),
                Some(code) => format!("exit code {code}"),
                None => "killed".to_owned(),
            });
        } else if findings == Self::default() {
            match error {
                Some(error) => findings.failures.push(error),
                None => findings.passed = 1,
            }
        }
        findings
    }

    /// How many of each.
    pub(super) fn counts(&self) -> Counts {
        let failed = self.failures.iter().fold(0, |count, _| count + 1);
        Counts { passed: self.passed, failed, skipped: self.skipped }
    }
}

/// `12 - what` without the number.
fn without_number(line: &str) -> &str {
    line.split_once(" - ").map_or(line, |(_, what)| what)
}

/// The first line of the error that a line of data tells of.
fn told(line: &str) -> Option<String> {
    let data: Value = serde_json::from_str(line.trim()).ok()?;
    let error = data.as_object()?.get("error")?.as_str()?;
    error.lines().next().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::{Counts, Findings};

    #[test]
    fn results_are_counted() {
        let text =
            "TAP version 13\nok 1 - a\nok 2 # SKIP b\nnot ok 3 - c\nnot ok 4 - d # TODO\n1..4";
        let findings = Findings::read(text, Some(0));
        assert_eq!(findings.counts(), Counts { passed: 1, failed: 1, skipped: 2 });
        assert_eq!(findings.failures, ["c"]);
        assert_eq!(Findings::read(text, None).failures, ["c", "killed"]);
    }

    #[test]
    fn a_program_without_results_passes_unless_it_tells_an_error() {
        assert_eq!(Findings::read("1..0", Some(0)).counts().passed, 1);
        let told = Findings::read("  ---\n  {\"error\":\"a\\nb\"}\n  ...\n1..0", Some(0));
        assert_eq!(told.failures, ["a"]);
        assert_eq!(Findings::read("", Some(124)).failures, ["not done in time"]);
    }
}
