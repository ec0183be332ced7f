//! What Rust's test programs print: counted, and cut down to what interests.

use std::io::{self, Write};

/// Tests counted so far.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) passed: u64,
    pub(super) failed: u64,
    pub(super) skipped: u64,
    /// Skipped tests that the next result line takes for passed.
    in_disguise: u64,
    /// Within what passing tests have printed, which interests nobody.
    quiet: bool,
}

impl Tally {
    /// Takes a line that a test program printed; whether to show it.
    pub(super) fn hears(&mut self, line: &str) -> bool {
        self.quiet = line == "successes:" || self.quiet && !line.starts_with("failures:");
        if let Some(counts) = line.strip_prefix("test result: ") {
            self.passed += count(counts, "passed").saturating_sub(self.in_disguise);
            self.in_disguise = 0;
            self.failed += count(counts, "failed");
            self.skipped += count(counts, "ignored");
            self.quiet = false;
        } else if line.starts_with("skipped: ") {
            self.skipped += 1;
            self.in_disguise += 1;
            return true;
        }
        !self.quiet
    }

    /// Says and counts a failure of what is no test program.
    pub(super) fn fail(&mut self, what: &str, why: &str) {
        println!("failed: {what}: {why}");
        self.failed += 1;
    }

    /// Says and counts what cannot be tried here.
    pub(super) fn skip(&mut self, what: &str) {
        println!("skipped: {what}");
        self.skipped += 1;
    }
}

/// The number before `word` in a result line such as `ok. 3 passed; 0 failed; 1 ignored; …`.
fn count(counts: &str, word: &str) -> u64 {
    let number =
        |part: &str| part.trim().strip_suffix(word)?.trim_end().rsplit(' ').next()?.parse().ok();
    counts.split(';').find_map(number).unwrap_or(0)
}

/// Hands on what is written to it line by line.
pub(super) struct Lines<F> {
    hears: F,
    begun: Vec<u8>,
}

impl<F: FnMut(&str)> Lines<F> {
    pub(super) fn new(hears: F) -> Self {
        Self { hears, begun: Vec::new() }
    }
}

impl<F: FnMut(&str)> Write for Lines<F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.begun.extend_from_slice(bytes);
        while let Some(end) = self.begun.iter().position(|&byte| byte == b'\n') {
            let line: Vec<u8> = self.begun.drain(..=end).collect();
            (self.hears)(&String::from_utf8_lossy(&line[..end]));
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::{Lines, Tally, count};

    #[test]
    fn result_lines_are_counted() {
        let line = "FAILED. 12 passed; 3 failed; 1 ignored; 0 measured; 0 filtered out";
        assert_eq!(
            ["passed", "failed", "ignored", "x"].map(|word| count(line, word)),
            [12, 3, 1, 0]
        );
    }

    #[test]
    fn skipped_tests_have_not_passed_and_what_passing_ones_print_is_left_out() {
        let mut tally = Tally::default();
        let mut shown = Vec::new();
        let text = "successes:\nnoise\nskipped: a: no b\nnoise\n\
                    test result: ok. 3 passed; 0 failed; 0 ignored\nrest";
        let mut lines = Lines::new(|line: &str| {
            if tally.hears(line) {
                shown.push(line.to_owned());
            }
        });
        // However it comes.
        text.as_bytes().chunks(7).for_each(|part| drop(lines.write(part)));
        assert_eq!(shown, ["skipped: a: no b", "test result: ok. 3 passed; 0 failed; 0 ignored"]);
        assert_eq!((tally.passed, tally.failed, tally.skipped), (2, 0, 1));
    }
}
