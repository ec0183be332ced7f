//! The statistics of version 2 of control groups (kernel documentation, cgroup-v2.rst), in the
//! terms of version 1.

use super::dir::Dir;
use super::figures::{
    BlkioEntry, BlkioStats, MemoryUsage, Pressure, PressureTimes, Stats, device, huge_pages, list,
    number, pairs, text,
};
use crate::Errno;

/// Adds what the hierarchy counts. Beside hierarchies of version 1, it is asked for what those
/// cannot tell only.
pub(super) fn add(dir: &Dir, alone: bool, stats: &mut Stats) -> Result<(), Errno> {
    stats.cpu.psi = pressure(&text(dir, "cpu.pressure")?);
    stats.memory.psi = pressure(&text(dir, "memory.pressure")?);
    stats.blkio.psi = pressure(&text(dir, "io.pressure")?);
    hugetlb(dir, stats)?;
    if !alone {
        return Ok(());
    }
    cpu(&text(dir, "cpu.stat")?, stats);
    stats.cpuset.cpus = list(&text(dir, "cpuset.cpus.effective")?);
    stats.cpuset.mems = list(&text(dir, "cpuset.mems.effective")?);
    memory(dir, stats)?;
    pids(dir, stats)?;
    io(&text(dir, "io.stat")?, &mut stats.blkio);
    Ok(())
}

fn cpu(text: &str, stats: &mut Stats) {
    let nanoseconds = |microseconds: u64| microseconds.saturating_mul(1000);
    for (name, count) in pairs(text) {
        match name {
            "usage_usec" => stats.cpu.usage.total = nanoseconds(count),
            "user_usec" => stats.cpu.usage.user = nanoseconds(count),
            "system_usec" => stats.cpu.usage.kernel = nanoseconds(count),
            "nr_periods" => stats.cpu.throttling.periods = count,
            "nr_throttled" => stats.cpu.throttling.throttled_periods = count,
            "throttled_usec" => stats.cpu.throttling.throttled_time = nanoseconds(count),
            _ => {}
        }
    }
}

fn memory(dir: &Dir, stats: &mut Stats) -> Result<(), Errno> {
    let memory = &mut stats.memory;
    memory.raw = pairs(&text(dir, "memory.stat")?).map(|(k, v)| (k.to_owned(), v)).collect();
    memory.cache = memory.raw.get("file").copied().unwrap_or(0);
    let event = |text: &str, event: &str| {
        pairs(text).find(|(name, _)| *name == event).map_or(0, |(_, count)| count)
    };
    let usage = |prefix: &str| -> Result<MemoryUsage, Errno> {
        Ok(MemoryUsage {
            limit: number(dir, &format!("{prefix}.max"))?,
            usage: number(dir, &format!("{prefix}.current"))?,
            max: number(dir, &format!("{prefix}.peak"))?,
            failcnt: event(&text(dir, &format!("{prefix}.events"))?, "max"),
        })
    };
    memory.usage = usage("memory")?;
    let swap = usage("memory.swap")?;
    // Version 1 counts both together; two peaks make no peak of the sum.
    memory.swap = MemoryUsage {
        limit: swap.limit.saturating_add(memory.usage.limit),
        usage: swap.usage.saturating_add(memory.usage.usage),
        max: 0,
        failcnt: swap.failcnt,
    };
    Ok(())
}

/// Without the controller, processes can still be counted.
fn pids(dir: &Dir, stats: &mut Stats) -> Result<(), Errno> {
    let current = text(dir, "pids.current")?;
    stats.pids.current = match current.trim_end().parse() {
        Ok(current) => current,
        Err(_) => dir.procs()?.len() as u64,
    };
    let limit = number(dir, "pids.max")?;
    stats.pids.limit = if limit == u64::MAX { 0 } else { limit };
    Ok(())
}

/// Lines such as `8:0 rbytes=90112 wbytes=0 rios=22 wios=0 dbytes=0 dios=0`.
fn io(text: &str, blkio: &mut BlkioStats) {
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let Some((major, minor)) = words.next().and_then(device) else { continue };
        for (name, value) in words.filter_map(|word| word.split_once('=')) {
            let (table, op) = match name {
                "rbytes" => (&mut blkio.io_service_bytes_recursive, "Read"),
                "wbytes" => (&mut blkio.io_service_bytes_recursive, "Write"),
                "rios" => (&mut blkio.io_serviced_recursive, "Read"),
                "wios" => (&mut blkio.io_serviced_recursive, "Write"),
                _ => continue,
            };
            let Ok(value) = value.parse() else { continue };
            table.push(BlkioEntry { major, minor, op: op.to_owned(), value });
        }
    }
}

fn hugetlb(dir: &Dir, stats: &mut Stats) -> Result<(), Errno> {
    for prefix in huge_pages(dir) {
        let size = prefix.trim_start_matches("hugetlb.").to_owned();
        let reserved = text(dir, &format!("{prefix}.rsvd.current"))?;
        let entry = stats.hugetlb.entry(size).or_default();
        entry.usage = match reserved.trim_end().parse() {
            Ok(reserved) => reserved,
            Err(_) => number(dir, &format!("{prefix}.current"))?,
        };
        let events = text(dir, &format!("{prefix}.events"))?;
        entry.failcnt = pairs(&events).find(|(name, _)| *name == "max").map_or(0, |(_, n)| n);
    }
    Ok(())
}

/// Lines such as `some avg10=0.00 avg60=0.12 avg300=0.00 total=1234`. Where the kernel keeps no
/// count, there is no text.
fn pressure(text: &str) -> Option<Pressure> {
    let mut pressure = Pressure::default();
    for line in text.lines() {
        let mut words = line.split(' ');
        let times = match words.next()? {
            "some" => &mut pressure.some,
            "full" => &mut pressure.full,
            _ => continue,
        };
        *times = times_of(words);
    }
    (!text.is_empty()).then_some(pressure)
}

fn times_of<'a>(words: impl Iterator<Item = &'a str>) -> PressureTimes {
    let mut times = PressureTimes::default();
    for (name, value) in words.filter_map(|word| word.split_once('=')) {
        match name {
            "avg10" => times.avg10 = value.parse().unwrap_or(0.0),
            "avg60" => times.avg60 = value.parse().unwrap_or(0.0),
            "avg300" => times.avg300 = value.parse().unwrap_or(0.0),
            "total" => times.total = value.parse().unwrap_or(0),
            _ => {}
        }
    }
    times
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pressure_is_read() {
        let text = "some avg10=1.50 avg60=0.12 avg300=0.00 total=1234\n\
                    full avg10=0.00 avg60=0.00 avg300=0.00 total=9\n";
        let pressure = pressure(text).unwrap_or_default();
        let some = PressureTimes { avg10: 1.5, avg60: 0.12, avg300: 0.0, total: 1234 };
        assert_eq!(pressure.some, some);
        assert_eq!(pressure.full.total, 9);
        assert_eq!(super::pressure(""), None);
    }

    #[test]
    fn times_become_nanoseconds() {
        let mut stats = Stats::default();
        cpu(
            "usage_usec 5\nuser_usec 3\nsystem_usec 2\nnr_throttled 1\nthrottled_usec 4\n",
            &mut stats,
        );
        assert_eq!((stats.cpu.usage.total, stats.cpu.usage.user), (5000, 3000));
        assert_eq!(stats.cpu.throttling.throttled_time, 4000);
    }

    #[test]
    fn devices_go_into_the_tables_of_version_1() {
        let mut blkio = BlkioStats::default();
        io("8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0\nnonsense\n", &mut blkio);
        let values = |table: &[BlkioEntry]| {
            table.iter().map(|e| (e.op.clone(), e.value)).collect::<Vec<_>>()
        };
        let pair = |a, b| vec![("Read".to_owned(), a), ("Write".to_owned(), b)];
        assert_eq!(values(&blkio.io_service_bytes_recursive), pair(1, 2));
        assert_eq!(values(&blkio.io_serviced_recursive), pair(3, 4));
    }
}
