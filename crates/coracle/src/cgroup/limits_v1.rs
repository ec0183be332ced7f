//! Limits as version 1 of control groups has them (kernel documentation, cgroup-v1/).

use super::write::{Missing, Write, Writes, nonzero, skip_zero};
use crate::config::{BlockIo, Cpu, Memory, Network};
use crate::{Error, Result};

/// What the kernel makes of shares beyond, without a word.
const SHARES: std::ops::RangeInclusive<u64> = 2..=262_144;

pub(super) fn memory(to: &mut Writes<'_>, memory: &Memory) {
    let limit = nonzero(memory.limit);
    if let Some(limit) = limit {
        to.put("memory.limit_in_bytes", limit, "memory/limit");
    }
    let swap = "memory.memsw.limit_in_bytes";
    match (nonzero(memory.swap), limit) {
        // Without a limit of memory, one of memory and swap from before would be in the way.
        (None, Some(-1)) => to.put(swap, -1, "memory/limit").missing = Missing::Skip,
        (None, _) => {}
        (Some(-1), _) => to.put(swap, -1, "memory/swap").missing = Missing::Skip,
        (Some(limit), _) => _ = to.put(swap, limit, "memory/swap"),
    }
    if let Some(reservation) = nonzero(memory.reservation) {
        to.put("memory.soft_limit_in_bytes", reservation, "memory/reservation");
    }
    if let Some(swappiness) = memory.swappiness {
        to.put("memory.swappiness", swappiness, "memory/swappiness");
    }
    // Both are inherited from the cgroup above; but what is so everywhere needs no controller.
    let switches = [
        (memory.disable_oom_killer, "memory.oom_control", "memory/disableOOMKiller", false),
        (memory.use_hierarchy, "memory.use_hierarchy", "memory/useHierarchy", true),
    ];
    for (on, file, field, usual) in switches {
        if let Some(on) = on {
            let write = to.put(file, u8::from(on), field);
            write.given = on.to_string();
            if on == usual {
                write.missing = Missing::Skip;
            }
        }
    }
}

pub(super) fn cpu(to: &mut Writes<'_>, cpu: &Cpu) -> Result<()> {
    if let Some(period) = nonzero(cpu.realtime_period) {
        to.put("cpu.rt_period_us", period, "cpu/realtimePeriod");
    }
    if let Some(runtime) = nonzero(cpu.realtime_runtime) {
        to.put("cpu.rt_runtime_us", runtime, "cpu/realtimeRuntime");
    }
    if let Some(shares) = nonzero(cpu.shares) {
        if !SHARES.contains(&shares) {
            let (which, bound) = if shares < *SHARES.start() {
                ("minimum", SHARES.start())
            } else {
                ("maximum", SHARES.end())
            };
            return Err(Error::new(format!("the {which} allowed cpu-shares is {bound}"))
                .at("/linux/resources/cpu/shares", Some(shares.to_string()))
                .help("1024 is a usual share; 0 leaves it as it is"));
        }
        to.put("cpu.shares", shares, "cpu/shares");
    }
    if let Some(period) = nonzero(cpu.period) {
        to.put("cpu.cfs_period_us", period, "cpu/period");
    }
    if let Some(quota) = nonzero(cpu.quota) {
        to.put("cpu.cfs_quota_us", quota, "cpu/quota");
    }
    if let Some(burst) = cpu.burst {
        skip_zero(to.put("cpu.cfs_burst_us", burst, "cpu/burst"));
    }
    // An idle cgroup has no shares to set.
    if let Some(idle) = cpu.idle {
        skip_zero(to.put("cpu.idle", idle, "cpu/idle"));
    }
    Ok(())
}

pub(super) fn block_io(to: &mut Writes<'_>, block_io: &BlockIo) {
    if let Some(weight) = nonzero(block_io.weight) {
        to.put("blkio.weight", weight, "blockIO/weight").missing =
            Missing::Instead("blkio.bfq.weight", weight.to_string());
    }
    if let Some(weight) = nonzero(block_io.leaf_weight) {
        to.put("blkio.leaf_weight", weight, "blockIO/leafWeight");
    }
    for (index, device) in block_io.weight_device.iter().enumerate() {
        let key = format!("{}:{}", device.major, device.minor);
        if let Some(weight) = nonzero(device.weight) {
            let field = format!("blockIO/weightDevice/{index}/weight");
            let write = to.put("blkio.weight_device", weight, field);
            write.key = Some(key.clone());
            write.missing = Missing::Instead("blkio.bfq.weight_device", weight.to_string());
        }
        if let Some(weight) = nonzero(device.leaf_weight) {
            let field = format!("blockIO/weightDevice/{index}/leafWeight");
            to.put("blkio.leaf_weight_device", weight, field).key = Some(key);
        }
    }
    let throttles = [
        (&block_io.throttle_read_bps_device, "read_bps_device", "throttleReadBpsDevice"),
        (&block_io.throttle_write_bps_device, "write_bps_device", "throttleWriteBpsDevice"),
        (&block_io.throttle_read_iops_device, "read_iops_device", "throttleReadIOPSDevice"),
        (&block_io.throttle_write_iops_device, "write_iops_device", "throttleWriteIOPSDevice"),
    ];
    for (devices, file, field) in throttles {
        for (index, device) in devices.iter().enumerate() {
            let field = format!("blockIO/{field}/{index}/rate");
            to.put(format!("blkio.throttle.{file}"), device.rate, field).key =
                Some(format!("{}:{}", device.major, device.minor));
        }
    }
}

/// Version 2 has nothing like it: there, firewalls match the cgroup itself.
pub(super) fn network(all: &mut Vec<Write>, network: &Network) {
    if let Some(class) = network.class_id {
        Writes::new("net_cls", all).put("net_cls.classid", class, "network/classID");
    }
    let mut to = Writes::new("net_prio", all);
    for (index, interface) in network.priorities.iter().enumerate() {
        let field = format!("network/priorities/{index}/priority");
        to.put("net_prio.ifpriomap", interface.priority, field).key = Some(interface.name.clone());
    }
}
