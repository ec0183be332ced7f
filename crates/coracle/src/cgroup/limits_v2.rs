//! Limits as version 2 of control groups has them (kernel documentation, cgroup-v2.rst). The
//! configuration speaks version 1; where it cannot be said in version 2, it is refused
//! (config-linux.md, "Unified").

use super::write::{Missing, Write, Writes, escape, nonzero, skip_zero};
use crate::config::{BlockIo, Cpu, Memory};
use crate::{Error, Result};

pub(super) fn memory(to: &mut Writes<'_>, memory: &Memory) -> Result<()> {
    let none = [
        ("swappiness", memory.swappiness.map(|value| value.to_string())),
        ("disableOOMKiller", memory.disable_oom_killer.filter(|&on| on).map(|on| on.to_string())),
        ("useHierarchy", memory.use_hierarchy.filter(|&on| !on).map(|on| on.to_string())),
    ];
    refuse_first("memory", none)?;
    swap(to, memory)?;
    if let Some(limit) = nonzero(memory.limit) {
        to.put("memory.max", or_max(limit), "memory/limit").given = limit.to_string();
    }
    if let Some(reservation) = nonzero(memory.reservation) {
        to.put("memory.low", or_max(reservation), "memory/reservation").given =
            reservation.to_string();
    }
    Ok(())
}

/// The configuration's limit is of memory and swap together, the kernel's of swap alone.
fn swap(to: &mut Writes<'_>, memory: &Memory) -> Result<()> {
    let refuse = |what: &'static str| {
        let given = memory.swap.map(|swap| swap.to_string());
        Error::new(what)
            .at("/linux/resources/memory/swap", given)
            .help("swap counts memory and swap together")
    };
    let (swap, field, given) = match (nonzero(memory.swap), nonzero(memory.limit)) {
        // As on version 1, where one limit does not go without the other.
        (None, Some(-1)) => (-1, "memory/limit", -1),
        (None, _) => return Ok(()),
        (Some(-1), _) => (-1, "memory/swap", -1),
        (Some(both), Some(-1)) => (both, "memory/swap", both),
        (Some(_), None) => return Err(refuse("unable to set swap limit without memory limit")),
        (Some(both), Some(limit)) if both < limit => {
            return Err(refuse("memory+swap limit should be >= memory limit"));
        }
        (Some(both), Some(limit)) => (both - limit, "memory/swap", both),
    };
    let write = to.put("memory.swap.max", or_max(swap), field);
    write.given = given.to_string();
    // Without the file there is no swap, or nobody counts it.
    if swap <= 0 {
        write.missing = Missing::Skip;
    }
    Ok(())
}

/// The smallest limit of memory, if it is to be compared with what is in use.
pub(super) fn check_usage(memory: &Memory) -> Option<u64> {
    let limits = [memory.limit, memory.swap].into_iter().flatten().filter(|&limit| limit > 0);
    limits.min().map(i64::unsigned_abs).filter(|_| memory.check_before_update == Some(true))
}

pub(super) fn cpu(to: &mut Writes<'_>, cpu: &Cpu) -> Result<()> {
    let none = [
        ("realtimePeriod", nonzero(cpu.realtime_period).map(|value| value.to_string())),
        ("realtimeRuntime", nonzero(cpu.realtime_runtime).map(|value| value.to_string())),
    ];
    refuse_first("cpu", none)?;
    if let Some(shares) = nonzero(cpu.shares) {
        to.put("cpu.weight", weight(shares), "cpu/shares").given = shares.to_string();
    }
    let (quota, period) = (nonzero(cpu.quota), nonzero(cpu.period));
    let quota_text = quota.filter(|&quota| quota > 0).map(|quota| quota.to_string());
    let quota_text = quota_text.as_deref().unwrap_or("max");
    match (quota, period) {
        (None, None) => {}
        (Some(quota), None) => {
            to.put("cpu.max", quota_text, "cpu/quota").given = quota.to_string();
        }
        (Some(quota), Some(period)) => {
            to.put("cpu.max", format_args!("{quota_text} {period}"), "cpu/quota").given =
                quota.to_string();
        }
        (None, Some(period)) => {
            to.put("cpu.max", format_args!("max {period}"), "cpu/period").given =
                period.to_string();
        }
    }
    if let Some(burst) = cpu.burst {
        skip_zero(to.put("cpu.max.burst", burst, "cpu/burst"));
    }
    // An idle cgroup has no weight to set.
    if let Some(idle) = cpu.idle {
        skip_zero(to.put("cpu.idle", idle, "cpu/idle"));
    }
    Ok(())
}

/// Shares as a weight: 2, 1024 (the default) and 262144 become 1, 100 (the default) and 10000,
/// and what is between lies on a curve of second degree between the logarithms. It is runc's since
/// 1.3.1, and crun's: schedulers compute with the result.
#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn weight(shares: u64) -> u64 {
    match shares {
        0..=2 => 1,
        262_144.. => 10_000,
        _ => {
            let log = (shares as f64).log2();
            let exponent = (log * log + 125.0 * log) / 612.0 - 7.0 / 34.0;
            10_f64.powf(exponent).ceil() as u64
        }
    }
}

pub(super) fn block_io(to: &mut Writes<'_>, block_io: &BlockIo) -> Result<()> {
    refuse_first(
        "blockIO",
        [("leafWeight", nonzero(block_io.leaf_weight).map(|w| w.to_string()))],
    )?;
    if let Some(weight) = nonzero(block_io.weight) {
        to.put("io.bfq.weight", weight, "blockIO/weight").missing =
            Missing::Instead("io.weight", io_weight(weight).to_string());
    }
    for (index, device) in block_io.weight_device.iter().enumerate() {
        let leaf = nonzero(device.leaf_weight).map(|weight| weight.to_string());
        refuse_first(&format!("blockIO/weightDevice/{index}"), [("leafWeight", leaf)])?;
        if let Some(weight) = nonzero(device.weight) {
            let field = format!("blockIO/weightDevice/{index}/weight");
            let write = to.put("io.bfq.weight", weight, field);
            write.key = Some(format!("{}:{}", device.major, device.minor));
            write.missing = Missing::Instead("io.weight", io_weight(weight).to_string());
        }
    }
    let throttles = [
        (&block_io.throttle_read_bps_device, "rbps", "throttleReadBpsDevice"),
        (&block_io.throttle_write_bps_device, "wbps", "throttleWriteBpsDevice"),
        (&block_io.throttle_read_iops_device, "riops", "throttleReadIOPSDevice"),
        (&block_io.throttle_write_iops_device, "wiops", "throttleWriteIOPSDevice"),
    ];
    for (devices, name, field) in throttles {
        for (index, device) in devices.iter().enumerate() {
            let field = format!("blockIO/{field}/{index}/rate");
            // No limit, on version 1.
            let value = match device.rate {
                0 => format!("{name}=max"),
                rate => format!("{name}={rate}"),
            };
            let write = to.put("io.max", value, field);
            write.key = Some(format!("{}:{}", device.major, device.minor));
            write.given = device.rate.to_string();
        }
    }
    Ok(())
}

/// From 10 to 1000 to 1 to 10000, linearly, as runc and crun do it.
fn io_weight(weight: u16) -> u64 {
    1 + u64::from(weight).saturating_sub(10) * 9999 / 990
}

/// Any file of version 2, a line at a time.
pub(super) fn unified(all: &mut Vec<Write>, file: &str, value: &str) -> Result<()> {
    let field = format!("unified/{}", escape(file));
    let given = serde_json::to_string(value).unwrap_or_default();
    let Some((controller, _)) =
        file.split_once('.').filter(|_| !file.starts_with('.') && !file.contains('/'))
    else {
        return Err(Error::new("not the name of a cgroup file")
            .at(format!("/linux/resources/{field}"), Some(given))
            .help("name a file of the cgroup itself, such as memory.high"));
    };
    let mut to = Writes::new(controller.to_owned(), all);
    // An empty value is a line, too: it empties a list.
    for line in value.trim_end_matches('\n').split('\n') {
        to.put(file.to_owned(), line, field.clone()).given.clone_from(&given);
    }
    Ok(())
}

/// Refuses the first field that asks for what version 2 does not have.
fn refuse_first<const N: usize>(
    object: &str,
    fields: [(&'static str, Option<String>); N],
) -> Result<()> {
    for (field, value) in fields {
        if let Some(value) = value {
            return Err(Error::new(format!("cgroup version 2 has nothing like {field}"))
                .at(format!("/linux/resources/{object}/{field}"), Some(value))
                .help("take it out on this machine"));
        }
    }
    Ok(())
}

/// -1 is no limit.
fn or_max(limit: i64) -> String {
    if limit < 0 { "max".to_owned() } else { limit.to_string() }
}

#[cfg(test)]
mod tests {
    use super::{io_weight, weight};

    #[test]
    fn shares_become_weights_that_keep_the_ends_and_the_default() {
        let pairs = [
            (0, 1),
            (1, 1),
            (2, 1),
            (3, 2),
            (10, 4),
            (100, 17),
            (512, 59),
            (1024, 100),
            (2048, 174),
            (10_000, 627),
            (262_143, 10_000),
            (262_144, 10_000),
            (u64::MAX, 10_000),
        ];
        for (shares, expected) in pairs {
            assert_eq!(weight(shares), expected, "{shares}");
        }
        let mut before = 0;
        for shares in 0..=262_144 {
            let weight = weight(shares);
            assert!(weight >= before, "{shares}");
            before = weight;
        }
    }

    #[test]
    fn block_weights_become_weights() {
        for (given, expected) in [(1, 1), (10, 1), (100, 910), (500, 4950), (1000, 10_000)] {
            assert_eq!(io_weight(given), expected, "{given}");
        }
    }
}
