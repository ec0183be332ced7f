//! The statistics of version 1 of control groups (kernel documentation, cgroup-v1/).

use super::dir::Dir;
use super::figures::{
    BlkioEntry, MemoryUsage, Stats, device, huge_pages, list, number, pairs, text,
};
use crate::Errno;

/// Adds what one hierarchy counts.
pub(super) fn add(dir: &Dir, stats: &mut Stats) -> Result<(), Errno> {
    for controller in &dir.controllers {
        match controller.as_str() {
            "cpu" => throttling(dir, stats)?,
            "cpuacct" => cpu(dir, stats)?,
            "cpuset" => cpuset(dir, stats)?,
            "memory" => memory(dir, stats)?,
            "pids" => {
                stats.pids.current = number(dir, "pids.current")?;
                let limit = number(dir, "pids.max")?;
                stats.pids.limit = if limit == u64::MAX { 0 } else { limit };
            }
            "blkio" => blkio(dir, stats)?,
            "hugetlb" => hugetlb(dir, stats)?,
            _ => {}
        }
    }
    Ok(())
}

fn throttling(dir: &Dir, stats: &mut Stats) -> Result<(), Errno> {
    for (name, count) in pairs(&text(dir, "cpu.stat")?) {
        match name {
            "nr_periods" => stats.cpu.throttling.periods = count,
            "nr_throttled" => stats.cpu.throttling.throttled_periods = count,
            "throttled_time" => stats.cpu.throttling.throttled_time = count,
            _ => {}
        }
    }
    Ok(())
}

fn cpu(dir: &Dir, stats: &mut Stats) -> Result<(), Errno> {
    let usage = &mut stats.cpu.usage;
    usage.total = number(dir, "cpuacct.usage")?;
    usage.user = number(dir, "cpuacct.usage_user")?;
    usage.kernel = number(dir, "cpuacct.usage_sys")?;
    let numbers = |text: &str| text.split_whitespace().filter_map(|n| n.parse().ok()).collect();
    usage.percpu = numbers(&text(dir, "cpuacct.usage_percpu")?);
    usage.percpu_user = numbers(&text(dir, "cpuacct.usage_percpu_user")?);
    usage.percpu_kernel = numbers(&text(dir, "cpuacct.usage_percpu_sys")?);
    Ok(())
}

fn cpuset(dir: &Dir, stats: &mut Stats) -> Result<(), Errno> {
    let set = &mut stats.cpuset;
    set.cpus = list(&text(dir, "cpuset.cpus")?);
    set.mems = list(&text(dir, "cpuset.mems")?);
    let flags = [
        (&mut set.cpu_exclusive, "cpuset.cpu_exclusive"),
        (&mut set.mem_hardwall, "cpuset.mem_hardwall"),
        (&mut set.mem_exclusive, "cpuset.mem_exclusive"),
        (&mut set.memory_migrate, "cpuset.memory_migrate"),
        (&mut set.memory_spread_page, "cpuset.memory_spread_page"),
        (&mut set.memory_spread_slab, "cpuset.memory_spread_slab"),
        (&mut set.memory_pressure, "cpuset.memory_pressure"),
        (&mut set.sched_load_balance, "cpuset.sched_load_balance"),
    ];
    for (flag, file) in flags {
        *flag = number(dir, file)?;
    }
    let level = text(dir, "cpuset.sched_relax_domain_level")?;
    set.sched_relax_domain_level = level.trim_end().parse().unwrap_or(0);
    Ok(())
}

fn memory(dir: &Dir, stats: &mut Stats) -> Result<(), Errno> {
    let memory = &mut stats.memory;
    memory.raw = pairs(&text(dir, "memory.stat")?).map(|(k, v)| (k.to_owned(), v)).collect();
    memory.cache = memory.raw.get("cache").copied().unwrap_or(0);
    let kinds = [
        (&mut memory.usage, "memory"),
        (&mut memory.swap, "memory.memsw"),
        (&mut memory.kernel, "memory.kmem"),
        (&mut memory.kernel_tcp, "memory.kmem.tcp"),
    ];
    for (usage, prefix) in kinds {
        *usage = MemoryUsage {
            limit: number(dir, &format!("{prefix}.limit_in_bytes"))?,
            usage: number(dir, &format!("{prefix}.usage_in_bytes"))?,
            max: number(dir, &format!("{prefix}.max_usage_in_bytes"))?,
            failcnt: number(dir, &format!("{prefix}.failcnt"))?,
        };
    }
    Ok(())
}

fn hugetlb(dir: &Dir, stats: &mut Stats) -> Result<(), Errno> {
    for prefix in huge_pages(dir) {
        let size = prefix.trim_start_matches("hugetlb.").to_owned();
        let reserved = format!("{prefix}.rsvd");
        let known = !text(dir, &format!("{reserved}.usage_in_bytes"))?.is_empty();
        let prefix = if known { reserved } else { prefix };
        let entry = stats.hugetlb.entry(size).or_default();
        entry.usage = number(dir, &format!("{prefix}.usage_in_bytes"))?;
        entry.max = number(dir, &format!("{prefix}.max_usage_in_bytes"))?;
        entry.failcnt = number(dir, &format!("{prefix}.failcnt"))?;
    }
    Ok(())
}

/// The scheduler's own counts where it keeps some, else those of throttling.
fn blkio(dir: &Dir, stats: &mut Stats) -> Result<(), Errno> {
    let blkio = &mut stats.blkio;
    let bfq = "blkio.bfq";
    if !entries(&text(dir, "blkio.bfq.io_serviced_recursive")?).is_empty() {
        let tables = [
            (&mut blkio.io_service_bytes_recursive, "io_service_bytes_recursive"),
            (&mut blkio.io_serviced_recursive, "io_serviced_recursive"),
            (&mut blkio.io_queue_recursive, "io_queued_recursive"),
            (&mut blkio.io_service_time_recursive, "io_service_time_recursive"),
            (&mut blkio.io_wait_time_recursive, "io_wait_time_recursive"),
            (&mut blkio.io_merged_recursive, "io_merged_recursive"),
            (&mut blkio.io_time_recursive, "time_recursive"),
            (&mut blkio.sectors_recursive, "sectors_recursive"),
        ];
        for (table, file) in tables {
            *table = entries(&text(dir, &format!("{bfq}.{file}"))?);
        }
        return Ok(());
    }
    blkio.io_service_bytes_recursive =
        entries(&text(dir, "blkio.throttle.io_service_bytes_recursive")?);
    blkio.io_serviced_recursive = entries(&text(dir, "blkio.throttle.io_serviced_recursive")?);
    Ok(())
}

/// Lines such as `8:0 Read 4096`; the sum at the end has no device.
fn entries(text: &str) -> Vec<BlkioEntry> {
    let entry = |line: &str| {
        let mut words = line.split_whitespace();
        let (major, minor) = device(words.next()?)?;
        let word = words.next()?;
        let (op, value) = match words.next() {
            Some(value) => (word.to_owned(), value),
            None => (String::new(), word),
        };
        Some(BlkioEntry { major, minor, op, value: value.parse().ok()? })
    };
    text.lines().filter_map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::entries;

    #[test]
    fn counts_of_block_devices() {
        let text = "8:0 Read 4096\n8:0 Total 4096\n253:1 7\nTotal 4096\n";
        let found: Vec<_> =
            entries(text).into_iter().map(|e| (e.major, e.minor, e.op, e.value)).collect();
        assert_eq!(
            found,
            [
                (8, 0, "Read".to_owned(), 4096),
                (8, 0, "Total".to_owned(), 4096),
                (253, 1, String::new(), 7),
            ]
        );
    }
}
