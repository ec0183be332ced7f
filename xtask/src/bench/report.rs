//! What was measured, as a table, as JSON and as a verdict.

use std::fmt::{self, Write as _};
use std::fs;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::contender::Contender;

/// The operations in the order of the table.
const OPERATIONS: [&str; 8] =
    ["run", "create", "start", "state", "exec", "kill", "delete", "--version"];

/// The project's promises: in this operation, the median is at most this many times the other's.
const BARS: [(&str, f64, &str); 3] =
    [("run", 2.0, "floor"), ("run", 0.6, "crun"), ("state", 0.5, "crun")];

/// A promise, and the ratio found, if both were measured.
pub(super) struct Verdict {
    operation: &'static str,
    bar: f64,
    other: &'static str,
    found: Option<f64>,
}

impl Verdict {
    /// Whether the promise is kept.
    pub(super) fn passed(&self) -> bool {
        self.found.is_some_and(|found| found <= self.bar)
    }

    /// The same for programs.
    pub(super) fn to_json(&self) -> Value {
        json!({
            "operation": self.operation,
            "other": self.other,
            "bar": self.bar,
            "found": self.found,
            "passed": self.passed(),
        })
    }
}

/// The tables: one for each operation, one for sizes.
pub(super) fn tables(contenders: &[Contender]) -> Result<String, fmt::Error> {
    let mut text = String::new();
    for operation in OPERATIONS {
        write_operation(&mut text, contenders, operation)?;
    }
    writeln!(text, "{:<12}{:>12}{:>14}", "size", "binary KiB", "peak RSS KiB")?;
    for contender in contenders {
        let binary = binary_size(contender) / 1024;
        let peak = percentile(&contender.peak_rss, 50).unwrap_or(0);
        writeln!(text, "  {:<10}{binary:>12}{peak:>14}", contender.name)?;
    }
    Ok(text)
}

fn write_operation(text: &mut String, contenders: &[Contender], operation: &str) -> fmt::Result {
    let of = |name| named(contenders, name).and_then(|one| median(one, operation));
    let (floor, ours) = (of("floor"), of("coracle"));
    write!(text, "{operation:<12}{:>10}{:>10}{:>10}", "median ms", "p99 ms", "÷coracle")?;
    if floor.is_some() {
        write!(text, "{:>10}{:>10}", "÷floor", "−floor ms")?;
    }
    writeln!(text)?;
    for contender in contenders {
        let Some(middle) = median(contender, operation) else { continue };
        let high = percentile(&contender.samples[operation], 99).unwrap_or_default();
        let over = ours.map_or("-".to_owned(), |ours| format!("{:.2}", ratio(middle, ours)));
        write!(text, "  {:<10}{:>10}{:>10}{over:>10}", contender.name, ms(middle), ms(high))?;
        if let Some(floor) = floor {
            let rest = middle.saturating_sub(floor);
            write!(text, "{:>10.2}{:>10}", ratio(middle, floor), ms(rest))?;
        }
        writeln!(text)?;
    }
    writeln!(text)
}

/// Everything, with each sample in nanoseconds.
pub(super) fn to_json(contenders: &[Contender], versions: &[Option<String>]) -> Value {
    let one = |(contender, version): (&Contender, &Option<String>)| {
        let operations: Map<String, Value> = contender
            .samples
            .iter()
            .map(|(operation, samples)| {
                let value = json!({
                    "median_ns": percentile(samples, 50).map(super::nanoseconds),
                    "p99_ns": percentile(samples, 99).map(super::nanoseconds),
                    "samples_ns":
                        samples.iter().copied().map(super::nanoseconds).collect::<Vec<_>>(),
                });
                ((*operation).to_owned(), value)
            })
            .collect();
        json!({
            "name": contender.name,
            "program": contender.program,
            "version": version,
            "binary_bytes": binary_size(contender),
            "peak_rss_kib": percentile(&contender.peak_rss, 50),
            "operations": operations,
        })
    };
    contenders.iter().zip(versions).map(one).collect()
}

/// Holds coracle against the project's promises.
pub(super) fn judge(contenders: &[Contender]) -> Vec<Verdict> {
    let verdict = |(operation, bar, other)| {
        let of = |name| named(contenders, name).and_then(|one| median(one, operation));
        let found = of("coracle").zip(of(other)).map(|(ours, theirs)| ratio(ours, theirs));
        Verdict { operation, bar, other, found }
    };
    BARS.into_iter().map(verdict).collect()
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { operation, bar, other, found } = self;
        let word = if self.passed() { "PASS" } else { "FAIL" };
        write!(f, "{word}  {operation} is at most {bar:.1} times {other}: ")?;
        match found {
            Some(found) => write!(f, "{found:.2}"),
            None => f.write_str("not measured"),
        }
    }
}

fn named<'a>(contenders: &'a [Contender], name: &str) -> Option<&'a Contender> {
    contenders.iter().find(|contender| contender.name == name)
}

fn median(contender: &Contender, operation: &str) -> Option<Duration> {
    percentile(contender.samples.get(operation)?, 50)
}

/// The smallest sample that `percent` of all are not above (nearest rank).
fn percentile<T: Ord + Copy>(samples: &[T], percent: usize) -> Option<T> {
    let mut sorted = samples.to_vec();
    sorted.sort_unstable();
    sorted.get((sorted.len() * percent).div_ceil(100).saturating_sub(1)).copied()
}

fn ratio(one: Duration, other: Duration) -> f64 {
    one.as_secs_f64() / other.as_secs_f64()
}

fn ms(time: Duration) -> String {
    format!("{:.2}", time.as_secs_f64() * 1e3)
}

fn binary_size(contender: &Contender) -> u64 {
    fs::metadata(&contender.program).map_or(0, |metadata| metadata.len())
}

#[cfg(test)]
mod tests {
    use super::percentile;

    #[test]
    fn percentiles_are_nearest_ranks() {
        let samples: Vec<u32> = (1..=200).rev().collect();
        assert_eq!(percentile(&samples, 50), Some(100));
        assert_eq!(percentile(&samples, 99), Some(198));
        assert_eq!(percentile(&[7], 99), Some(7));
        assert_eq!(percentile::<u32>(&[], 50), None);
    }
}
