//! Limits and device rules as properties of a unit (systemd.resource-control(5),
//! org.freedesktop.systemd1(5)).

use super::super::device::{Access, DeviceKind, DeviceRule, Policy};
use super::super::limits::Limits;
use super::super::write::{Missing, Version, Write};
use crate::dbus::Value;

/// Properties by name.
pub(super) type Properties = Vec<(&'static str, Value)>;

/// What systemd calls no limit.
const INFINITY: u64 = u64::MAX;

/// The kernel's period of CPU time where none is given, in microseconds.
const PERIOD: u64 = 100_000;

/// The share of CPU time.
const WEIGHT: &str = "CPUWeight";

/// Since which version of systemd there is such a property, or such a value of it (systemd's NEWS):
/// those that are as old as cgroup v2 is there have none. The files have the values anyway.
pub(super) fn since(name: &str, value: &Value) -> Option<u16> {
    match name {
        // Zero of it means idle. Every other version would write its own idea of the weight, and so end
        // what the file alone says.
        WEIGHT if *value == Value::Uint64(0) => Some(252),
        "AllowedCPUs" | "AllowedMemoryNodes" => Some(244),
        "CPUQuotaPeriodUSec" => Some(242),
        "MemoryMin" => Some(240),
        "CollectMode" => Some(236),
        _ => None,
    }
}

/// The limits that systemd knows. A value that cannot be understood is left to the kernel, whose
/// answer then is the error.
pub(super) fn limits(limits: &Limits) -> Properties {
    let mut properties = Properties::new();
    let (mut quota, mut period, mut idle) = (None, None, false);
    for write in limits.writes().filter(|write| write.key.is_none()) {
        match (write.version, &*write.file) {
            (Version::V2, "cpu.max") => {
                let mut words = write.value.split_whitespace();
                quota = words.next().map(str::to_owned);
                period = words.next().and_then(|word| word.parse().ok());
            }
            (Version::V2, "cpu.idle") => idle = write.value.trim() == "1",
            (Version::V1, "cpu.cfs_quota_us") => quota = Some(write.value.clone()),
            (Version::V1, "cpu.cfs_period_us") => period = write.value.parse().ok(),
            _ => properties.extend(limit(write)),
        }
    }
    let disks: Vec<Value> = limits.writes().filter_map(disk_weight).collect();
    if !disks.is_empty() {
        properties.push(("IODeviceWeight", Value::Array("(st)".into(), disks)));
    }
    if idle {
        properties.retain(|(name, _)| *name != WEIGHT);
        properties.push((WEIGHT, Value::Uint64(0)));
    }
    if let Some(period) = period {
        properties.push(("CPUQuotaPeriodUSec", Value::Uint64(period)));
    }
    if quota.is_some() || period.is_some() {
        let quota = quota.and_then(|text| text.parse::<u64>().ok()).filter(|&quota| quota > 0);
        let second = quota.map_or(INFINITY, |quota| per_second(quota, period.unwrap_or(PERIOD)));
        properties.push(("CPUQuotaPerSecUSec", Value::Uint64(second)));
    }
    properties
}

/// A share of CPU time that the kernel has of itself.
pub(super) fn weight(weight: u64) -> (&'static str, Value) {
    (WEIGHT, Value::Uint64(weight))
}

/// Microseconds of CPU time in a second. systemd keeps a whole number of hundredths, which must not
/// be less than what was asked for, or cgroups below could not have it all.
fn per_second(quota: u64, period: u64) -> u64 {
    const HUNDREDTH: u64 = 10_000;
    let exact = u128::from(quota) * 1_000_000 / u128::from(period.max(1));
    u64::try_from(exact)
        .map_or(INFINITY, |exact| exact.saturating_add(HUNDREDTH - 1) / HUNDREDTH)
        .saturating_mul(HUNDREDTH)
}

/// One file's property.
fn limit(write: &Write) -> Option<(&'static str, Value)> {
    let name = match (write.version, &*write.file) {
        (Version::V2, "memory.max") => "MemoryMax",
        (Version::V2, "memory.high") => "MemoryHigh",
        (Version::V2, "memory.low") => "MemoryLow",
        (Version::V2, "memory.min") => "MemoryMin",
        (Version::V2, "memory.swap.max") => "MemorySwapMax",
        (Version::V1, "memory.limit_in_bytes") => "MemoryLimit",
        (Version::V2, "cpu.weight") => WEIGHT,
        (Version::V1, "cpu.shares") => "CPUShares",
        (Version::V2, "io.weight" | "io.bfq.weight") => "IOWeight",
        (Version::V1, "blkio.weight") => "BlockIOWeight",
        (_, "pids.max") => "TasksMax",
        (_, "cpuset.cpus") => "AllowedCPUs",
        (_, "cpuset.mems") => "AllowedMemoryNodes",
        _ => return None,
    };
    let value = match name {
        "AllowedCPUs" | "AllowedMemoryNodes" => Value::bytes(mask(&write.value)?),
        "IOWeight" => {
            // Its own scale is that of io.weight; a default for all devices may say so.
            let text = match &write.missing {
                Missing::Instead(_, value) => value,
                _ => &write.value,
            };
            Value::Uint64(text.trim().trim_start_matches("default").trim_start().parse().ok()?)
        }
        _ => match write.value.trim() {
            "max" | "-1" => Value::Uint64(INFINITY),
            number => Value::Uint64(number.parse().ok()?),
        },
    };
    // None at all can be had of the kernel only.
    let zero = value == Value::Uint64(0);
    let takes_zero = ["MemoryLow", "MemoryMin", "MemorySwapMax"].contains(&name);
    (!zero || takes_zero).then_some((name, value))
}

/// The weight of a single disk, on systemd's scale. It would not last in the file alone, since bfq
/// forgets it with each weight for all disks, which systemd writes whenever it likes.
fn disk_weight(write: &Write) -> Option<Value> {
    let (Version::V2, "io.bfq.weight", Some(disk), Missing::Instead(_, weight)) =
        (write.version, &*write.file, &write.key, &write.missing)
    else {
        return None;
    };
    let weight = Value::Uint64(weight.parse().ok()?);
    Some(Value::Struct(vec![Value::Text(format!("/dev/block/{disk}")), weight]))
}

/// A list of numbers, such as `0-3,7`, as bits from the lowest byte on.
fn mask(text: &str) -> Option<Vec<u8>> {
    /// More than any kernel's CPUs.
    const MOST: usize = 1 << 16;
    let mut bytes = Vec::new();
    for range in text.trim().split(',').filter(|range| !range.trim().is_empty()) {
        let (from, to) = range.split_once('-').unwrap_or((range, range));
        let (from, to): (usize, usize) = (from.trim().parse().ok()?, to.trim().parse().ok()?);
        if to >= MOST || from > to {
            return None;
        }
        bytes.resize(bytes.len().max(to / 8 + 1), 0);
        (from..=to).for_each(|bit| bytes[bit / 8] |= 1 << (bit % 8));
    }
    Some(bytes)
}

/// The device rules. systemd allows what it lists and denies all else; what cannot be said so, it
/// leaves alone. `drivers` is the text of `/proc/devices`.
pub(super) fn devices(rules: &[DeviceRule], drivers: &str) -> Properties {
    let policy = Policy::new(rules);
    let listed = (!policy.default_allow).then(|| policy.exceptions().ok()).flatten();
    let (word, listed) = match listed {
        Some(listed) => ("strict", listed),
        None => ("auto", Vec::new()),
    };
    // Of two entries about the same devices, the last would be the only one.
    let mut allowed: Vec<(String, Access)> = Vec::new();
    for rule in &listed {
        let Some(name) = node(rule, drivers) else { continue };
        match allowed.iter_mut().find(|(known, _)| *known == name) {
            Some((_, access)) => *access = access.with(rule.access),
            None => allowed.push((name, rule.access)),
        }
    }
    let pair = |(name, access): (String, Access)| {
        Value::Struct(vec![Value::Text(name), Value::Text(access.letters())])
    };
    let allowed = allowed.into_iter().map(pair).collect();
    vec![("DevicePolicy", Value::text(word)), ("DeviceAllow", Value::Array("(ss)".into(), allowed))]
}

/// What systemd calls the devices of a rule.
fn node(rule: &DeviceRule, drivers: &str) -> Option<String> {
    let (kind, section) = match rule.kind {
        DeviceKind::Char => ("char", "Character devices:"),
        DeviceKind::Block => ("block", "Block devices:"),
        DeviceKind::All => return None,
    };
    match (rule.major, rule.minor) {
        (Some(major), Some(minor)) => Some(format!("/dev/{kind}/{major}:{minor}")),
        (None, None) => Some(format!("{kind}-*")),
        // By the driver's name; without a driver there is no such device.
        (Some(major), None) => {
            let mut lines = drivers.lines().skip_while(|line| *line != section).skip(1);
            lines.by_ref().take_while(|line| !line.is_empty()).find_map(|line| {
                let (number, name) = line.trim_start().split_once(' ')?;
                (number.parse() == Ok(major)).then(|| format!("{kind}-{name}"))
            })
        }
        (None, Some(_)) => None,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cgroup::effective_rules;

    fn properties(resources: serde_json::Value, version: Version) -> Properties {
        let resources = serde_json::from_value(resources).unwrap();
        limits(&Limits::new(&resources, |_| Some(version)).unwrap())
    }

    #[test]
    fn limits_of_version_2_are_properties() {
        let number = Value::Uint64;
        let resources = json!({
            "memory": {"limit": 1000, "reservation": 500, "swap": 1500},
            "cpu": {"shares": 1024, "quota": 12_345, "period": 50_000, "cpus": "0-1,9", "mems": "0"},
            "pids": {"limit": 7},
            "blockIO": {"weight": 500},
        });
        let mut found = properties(resources, Version::V2);
        found.sort_by_key(|(name, _)| *name);
        assert_eq!(
            found,
            [
                ("AllowedCPUs", Value::bytes([3, 2])),
                ("AllowedMemoryNodes", Value::bytes([1])),
                ("CPUQuotaPerSecUSec", number(250_000)),
                ("CPUQuotaPeriodUSec", number(50_000)),
                ("CPUWeight", number(100)),
                ("IOWeight", number(4950)),
                ("MemoryLow", number(500)),
                ("MemoryMax", number(1000)),
                ("MemorySwapMax", number(500)),
                ("TasksMax", number(7)),
            ]
        );
        let unified = json!({"unified": {
            "memory.high": "max", "memory.min": "0", "memory.max": " 5000\n", "io.weight": "default 200",
            "cpu.max": "max 20000", "cpuset.cpus": "", "memory.oom.group": "1", "pids.max": "0",
            "cpu.weight": "heavy",
        }});
        let mut found = properties(unified, Version::V2);
        found.sort_by_key(|(name, _)| *name);
        assert_eq!(
            found,
            [
                ("AllowedCPUs", Value::bytes([])),
                ("CPUQuotaPerSecUSec", number(INFINITY)),
                ("CPUQuotaPeriodUSec", number(20_000)),
                ("IOWeight", number(200)),
                ("MemoryHigh", number(INFINITY)),
                ("MemoryMax", number(5000)),
                ("MemoryMin", number(0)),
            ]
        );
    }

    #[test]
    fn a_disk_has_a_weight_of_its_own() {
        let device = json!({"major": 8, "minor": 16, "weight": 100});
        let found = properties(json!({"blockIO": {"weightDevice": [device]}}), Version::V2);
        let entry = Value::Struct(vec![Value::text("/dev/block/8:16"), Value::Uint64(910)]);
        assert_eq!(found, [("IODeviceWeight", Value::Array("(st)".into(), vec![entry]))]);
    }

    #[test]
    fn an_idle_one_has_no_weight() {
        let idle = json!({"cpu": {"shares": 512, "idle": 1}});
        assert_eq!(properties(idle, Version::V2), [("CPUWeight", Value::Uint64(0))]);
        let busy = json!({"cpu": {"shares": 512, "idle": 0}});
        assert_eq!(properties(busy, Version::V2), [("CPUWeight", Value::Uint64(59))]);
        assert_eq!(properties(json!({"cpu": {"idle": 1}}), Version::V1), []);
    }

    #[test]
    fn limits_of_version_1_are_properties() {
        let resources = json!({
            "memory": {"limit": -1, "reservation": 500},
            "cpu": {"shares": 512, "quota": 50_000, "period": 100_000},
            "pids": {"limit": -1},
            "blockIO": {"weight": 500},
        });
        let found = properties(resources, Version::V1);
        let number = Value::Uint64;
        assert_eq!(
            found,
            [
                ("MemoryLimit", number(INFINITY)),
                ("CPUShares", number(512)),
                ("BlockIOWeight", number(500)),
                ("TasksMax", number(INFINITY)),
                ("CPUQuotaPeriodUSec", number(100_000)),
                ("CPUQuotaPerSecUSec", number(500_000)),
            ]
        );
    }

    #[test]
    fn a_quota_is_rounded_up_to_hundredths() {
        for (quota, period, second) in [
            (100_000, 100_000, 1_000_000),
            (33_333, 100_000, 340_000),
            (1, 1_000_000, 10_000),
            (u64::MAX, 1, u64::MAX),
        ] {
            assert_eq!(per_second(quota, period), second, "{quota} {period}");
        }
    }

    #[test]
    fn masks_are_lists() {
        assert_eq!(mask(" 0-2 , 8\n"), Some(vec![7, 1]));
        for bad in ["x", "3-1", "1-", "99999999"] {
            assert_eq!(mask(bad), None, "{bad}");
        }
    }

    #[test]
    fn devices_are_named_as_systemd_knows_them() {
        let drivers = "Character devices:\n  1 mem\n136 pts\n\nBlock devices:\n  8 sd\n136 x\n";
        let rule =
            |allow, kind, major, minor, access| DeviceRule { allow, kind, major, minor, access };
        let none = rule(false, DeviceKind::All, None, None, Access::ALL);
        let disk = rule(true, DeviceKind::Block, Some(8), None, Access::READ);
        let any = rule(true, DeviceKind::Char, None, None, Access::READ);
        let found = devices(&effective_rules(&[none, disk, any]), drivers);
        assert_eq!(found[0], ("DevicePolicy", Value::text("strict")));
        let Value::Array(_, allowed) = &found[1].1 else { return };
        let allowed: Vec<String> = allowed
            .iter()
            .map(|entry| match entry {
                Value::Struct(pair) => {
                    format!("{} {}", pair[0].as_text().unwrap(), pair[1].as_text().unwrap())
                }
                _ => String::new(),
            })
            .collect();
        for wanted in ["char-* rm", "block-* m", "/dev/char/1:3 rwm", "char-pts rwm", "block-sd r"]
        {
            assert!(allowed.iter().any(|one| one == wanted), "{wanted}: {allowed:?}");
        }
        let all = rule(true, DeviceKind::All, None, None, Access::ALL);
        let found =
            devices(&[all, rule(false, DeviceKind::Char, Some(1), Some(1), Access::ALL)], "");
        assert_eq!(found[0], ("DevicePolicy", Value::text("auto")));
        assert_eq!(found[1], ("DeviceAllow", Value::Array("(ss)".into(), Vec::new())));
    }
}
