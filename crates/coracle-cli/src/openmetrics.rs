//! Statistics as OpenMetrics text (the OpenMetrics specification, 1.0), for Prometheus and its
//! textfile collector: base units, one family after the other.
//!
//! Gauges and counters only: the older text format, which that collector reads, has no others that
//! would fit.

use std::fmt::{self, Write};

use coracle::cgroup::{Pressure, Stats};

/// A limit from here on is none: version 1 rounds "no limit" down to a page.
const NO_LIMIT: u64 = (i64::MAX as u64) & !0xffff;

/// Nanoseconds in a second.
const NANO: u64 = 1_000_000_000;

/// The whole text for one container.
pub(crate) fn text(id: &str, stats: &Stats) -> String {
    let mut out = Exposition { text: String::with_capacity(4096), id };
    cpu(&mut out, stats);
    memory(&mut out, stats);
    tasks(&mut out, stats);
    devices(&mut out, stats);
    huge_pages(&mut out, stats);
    pressure(&mut out, stats);
    shares(&mut out, stats);
    out.text.push_str("# EOF\n");
    out.text
}

fn cpu(out: &mut Exposition<'_>, stats: &Stats) {
    let usage = &stats.cpu.usage;
    for (name, help, time) in [
        ("cpu_usage", "CPU time used.", usage.total),
        ("cpu_user", "CPU time used in programs.", usage.user),
        ("cpu_system", "CPU time used in the kernel.", usage.kernel),
        (
            "cpu_throttled",
            "Time that the quota kept tasks waiting.",
            stats.cpu.throttling.throttled_time,
        ),
    ] {
        out.counter(name, "seconds", help, [(Labels::NONE, Value::Seconds(time, NANO))]);
    }
    for (name, help, count) in [
        ("cpu_periods", "Periods of the quota that have passed.", stats.cpu.throttling.periods),
        (
            "cpu_throttled_periods",
            "Periods in which the quota was used up.",
            stats.cpu.throttling.throttled_periods,
        ),
    ] {
        out.counter(name, "", help, [(Labels::NONE, Value::Number(count))]);
    }
}

fn memory(out: &mut Exposition<'_>, stats: &Stats) {
    let memory = &stats.memory;
    for (name, what, figures) in [
        ("memory", "Memory", &memory.usage),
        ("memory_and_swap", "Memory and swap together", &memory.swap),
    ] {
        out.gauge(
            &format!("{name}_usage"),
            "bytes",
            &format!("{what} in use."),
            [number(figures.usage)],
        );
        let help = format!("{what} that may be used.");
        out.gauge(&format!("{name}_limit"), "bytes", &help, limit(figures.limit));
        let peak = Some(figures.max).filter(|max| *max > 0).map(number);
        out.gauge(
            &format!("{name}_peak"),
            "bytes",
            &format!("{what}: the most that was in use."),
            peak,
        );
        let help = format!("{what}: how often the limit was hit.");
        out.counter(&format!("{name}_limit_hits"), "", &help, [number(figures.failcnt)]);
    }
    out.gauge("memory_cache", "bytes", "Memory in the page cache.", [number(memory.cache)]);
}

fn tasks(out: &mut Exposition<'_>, stats: &Stats) {
    out.gauge("tasks", "", "Processes and threads.", [number(stats.pids.current)]);
    let most = Some(stats.pids.limit).filter(|limit| *limit > 0).map(number);
    out.gauge("tasks_limit", "", "Processes and threads that there may be.", most);
}

fn devices(out: &mut Exposition<'_>, stats: &Stats) {
    for (name, unit, help, table) in [
        (
            "device",
            "bytes",
            "Bytes read from and written to block devices.",
            &stats.blkio.io_service_bytes_recursive,
        ),
        (
            "device_operations",
            "",
            "Operations on block devices.",
            &stats.blkio.io_serviced_recursive,
        ),
    ] {
        let rows = table.iter().filter(|entry| ["Read", "Write"].contains(&entry.op.as_str()));
        let rows = rows.map(|entry| {
            let device = format!("{}:{}", entry.major, entry.minor);
            let labels = [("device", device), ("operation", entry.op.to_lowercase())];
            (Labels(labels.to_vec()), Value::Number(entry.value))
        });
        out.counter(name, unit, help, rows);
    }
}

fn huge_pages(out: &mut Exposition<'_>, stats: &Stats) {
    let by_size = |of: fn(&coracle::cgroup::HugetlbStats) -> u64| {
        let rows = stats.hugetlb.iter();
        let rows = rows.map(move |(size, figures)| {
            (Labels(vec![("size", size.clone())]), Value::Number(of(figures)))
        });
        rows.collect::<Vec<_>>()
    };
    out.gauge("huge_pages_usage", "bytes", "Huge pages in use.", by_size(|of| of.usage));
    let help = "How often the limit of huge pages was hit.";
    out.counter("huge_pages_limit_hits", "", help, by_size(|of| of.failcnt));
}

/// Of what the kernel counts, the times: whoever reads them works shares out of any two.
fn pressure(out: &mut Exposition<'_>, stats: &Stats) {
    let all = [("cpu", &stats.cpu.psi), ("memory", &stats.memory.psi), ("io", &stats.blkio.psi)];
    let rows = all.into_iter().filter_map(|(resource, psi)| Some((resource, psi.as_ref()?)));
    let rows = rows.flat_map(|(resource, psi): (_, &Pressure)| {
        [("some", psi.some), ("full", psi.full)].map(|(tasks, times)| {
            let labels = [("resource", resource.to_owned()), ("tasks", tasks.to_owned())];
            (Labels(labels.to_vec()), Value::Seconds(times.total, 1_000_000))
        })
    });
    let help = "Time in which some or all tasks waited for a resource.";
    out.counter("pressure_waiting", "seconds", help, rows);
}

fn shares(out: &mut Exposition<'_>, stats: &Stats) {
    let domain = |(index, value): (usize, u64)| {
        (Labels(vec![("domain", index.to_string())]), Value::Number(value))
    };
    let rdt = &stats.intel_rdt;
    let cache = rdt.cmt_stats.iter().map(|node| node.llc_occupancy).enumerate().map(domain);
    out.gauge("cache_occupancy", "bytes", "Cache of the last level in use.", cache);
    let all = rdt.mbm_stats.iter().map(|node| node.mbm_total_bytes).enumerate().map(domain);
    out.counter("memory_traffic", "bytes", "Bytes moved between memory and cache.", all);
    let local = rdt.mbm_stats.iter().map(|node| node.mbm_local_bytes).enumerate().map(domain);
    out.counter("memory_traffic_local", "bytes", "Of those, with memory of the same node.", local);
}

fn number(value: u64) -> (Labels, Value) {
    (Labels::NONE, Value::Number(value))
}

fn limit(value: u64) -> Option<(Labels, Value)> {
    (value > 0 && value < NO_LIMIT).then(|| number(value))
}

/// Labels beside the container's ID.
struct Labels(Vec<(&'static str, String)>);

impl Labels {
    const NONE: Self = Self(Vec::new());
}

/// A sample's value.
#[derive(Clone, Copy)]
enum Value {
    Number(u64),
    /// In parts of a second, and how many make one.
    Seconds(u64, u64),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Number(number) => number.fmt(f),
            Self::Seconds(parts, of) => {
                let digits = of.ilog10() as usize;
                let text = format!("{}.{:0digits$}", parts / of, parts % of);
                f.write_str(text.trim_end_matches('0').trim_end_matches('.'))
            }
        }
    }
}

/// The text as it grows.
struct Exposition<'a> {
    text: String,
    id: &'a str,
}

impl Exposition<'_> {
    fn gauge(
        &mut self,
        name: &str,
        unit: &str,
        help: &str,
        rows: impl IntoIterator<Item = (Labels, Value)>,
    ) {
        self.family("gauge", name, unit, help, rows);
    }

    fn counter(
        &mut self,
        name: &str,
        unit: &str,
        help: &str,
        rows: impl IntoIterator<Item = (Labels, Value)>,
    ) {
        self.family("counter", name, unit, help, rows);
    }

    /// One family; without a sample it is left out.
    fn family(
        &mut self,
        kind: &str,
        name: &str,
        unit: &str,
        help: &str,
        rows: impl IntoIterator<Item = (Labels, Value)>,
    ) {
        let mut rows = rows.into_iter().peekable();
        if rows.peek().is_none() {
            return;
        }
        let unit_suffix = if unit.is_empty() { String::new() } else { format!("_{unit}") };
        let name = format!("coracle_container_{name}{unit_suffix}");
        let _ = writeln!(self.text, "# TYPE {name} {kind}");
        if !unit.is_empty() {
            let _ = writeln!(self.text, "# UNIT {name} {unit}");
        }
        let _ = writeln!(self.text, "# HELP {name} {help}");
        let total = if kind == "counter" { "_total" } else { "" };
        for (labels, value) in rows {
            // An ID, a device, a size of pages: nothing in them has to be escaped.
            let _ = write!(self.text, "{name}{total}{{id=\"{}\"", self.id);
            for (label, text) in &labels.0 {
                let _ = write!(self.text, ",{label}=\"{text}\"");
            }
            let _ = writeln!(self.text, "}} {value}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Value;

    #[test]
    fn seconds_are_exact() {
        for (parts, of, text) in [
            (0, 1_000_000_000, "0"),
            (1, 1_000_000_000, "0.000000001"),
            (1_500_000_000, 1_000_000_000, "1.5"),
            (10_000_000, 1_000_000, "10"),
            (u64::MAX, 1_000_000_000, "18446744073.709551615"),
        ] {
            assert_eq!(Value::Seconds(parts, of).to_string(), text);
        }
    }
}
