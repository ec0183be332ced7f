//! The cgroup's limits (config-linux.md, Control groups). Whether a number is one that the kernel
//! takes depends on the kernel; it is asked.

use super::place::{Place, no_nul};
use crate::config::{BlockIo, Cpu, DeviceCgroup, HugepageLimit, Memory, Resources};
use crate::error::Result;

pub(super) fn check(place: &Place<'_>, resources: &Resources) -> Result<()> {
    devices(&place.key("devices"), &resources.devices)?;
    if let Some(it) = &resources.memory {
        memory(&place.key("memory"), it)?;
    }
    if let Some(it) = &resources.cpu {
        cpu(&place.key("cpu"), it)?;
    }
    if let Some(it) = &resources.block_io {
        block_io(&place.key("blockIO"), it)?;
    }
    hugepages(&place.key("hugepageLimits"), &resources.hugepage_limits)?;
    if let Some(network) = &resources.network {
        let place = place.key("network");
        let place = place.key("priorities");
        for (i, priority) in network.priorities.iter().enumerate() {
            let place = place.index(i);
            if priority.name.is_empty() {
                return Err(place
                    .key("name")
                    .refuse(&priority.name, "the network interface has no name")
                    .help("name one of the host, such as eth0"));
            }
            no_nul(&place.key("name"), &priority.name)?;
        }
    }
    let rdma = place.key("rdma");
    for (device, limit) in &resources.rdma {
        if limit.hca_handles.is_none() && limit.hca_objects.is_none() {
            return Err(rdma
                .key(device)
                .refuse(limit, "the RDMA device has no limit")
                .help("give hcaHandles, hcaObjects or both"));
        }
        no_nul(&rdma.key(device), device)?;
    }
    let unified = place.key("unified");
    for (file, value) in &resources.unified {
        let place = unified.key(file);
        no_nul(&place, file)?;
        no_nul(&place, value)?;
        if matches!(file.as_str(), "" | "." | "..") || file.contains('/') {
            return Err(place
                .refuse(value, "not the name of a cgroup file")
                .help("name a file of the cgroup itself, such as memory.high"));
        }
    }
    Ok(())
}

fn devices(place: &Place<'_>, rules: &[DeviceCgroup]) -> Result<()> {
    for (i, rule) in rules.iter().enumerate() {
        let place = place.index(i);
        let access = rule.access.as_deref().unwrap_or_default();
        if access.is_empty() || !access.bytes().all(|b| b"rwm".contains(&b)) {
            let place = place.key("access");
            let error = match &rule.access {
                Some(access) => place.refuse(access, "no such access to a device"),
                None => place.missing("the device rule has no access"),
            };
            return Err(error.help("some of r (read), w (write) and m (mknod), such as rwm"));
        }
        for (key, number) in [("major", rule.major), ("minor", rule.minor)] {
            if let Some(number) = number.filter(|number| *number < -1) {
                return Err(place
                    .key(key)
                    .refuse(&number, format!("no device has this {key} number"))
                    .help("leave it out to mean all"));
            }
        }
    }
    Ok(())
}

fn memory(place: &Place<'_>, memory: &Memory) -> Result<()> {
    let limits = [
        ("limit", memory.limit),
        ("reservation", memory.reservation),
        ("swap", memory.swap),
        ("kernel", memory.kernel),
        ("kernelTCP", memory.kernel_tcp),
    ];
    for (key, limit) in limits {
        if let Some(limit) = limit.filter(|limit| *limit < -1) {
            return Err(place
                .key(key)
                .refuse(&limit, "the limit is negative")
                .help("give bytes, or -1 for no limit"));
        }
    }
    if let (Some(limit), Some(swap)) = (memory.limit, memory.swap)
        && swap > 0
        && limit > swap
    {
        return Err(place
            .key("swap")
            .refuse(&swap, "memory+swap limit should be >= memory limit")
            .help(format!("swap counts memory and swap together; the memory limit is {limit}")));
    }
    if let Some(swappiness) = memory.swappiness.filter(|swappiness| *swappiness > 100) {
        return Err(place
            .key("swappiness")
            .refuse(&swappiness, "the swappiness is out of range")
            .help("it goes from 0 to 100"));
    }
    Ok(())
}

fn cpu(place: &Place<'_>, cpu: &Cpu) -> Result<()> {
    if let (Some(quota), Some(burst)) = (cpu.quota, cpu.burst)
        && quota > 0
        && burst > quota.unsigned_abs()
    {
        return Err(place
            .key("burst")
            .refuse(&burst, "the burst is larger than the quota")
            .help(format!("the quota is {quota}")));
    }
    if let Some(idle) = cpu.idle.filter(|idle| !(0..=1).contains(idle)) {
        return Err(place
            .key("idle")
            .refuse(&idle, "idle is neither 0 nor 1")
            .help("1 runs the container only when nothing else does"));
    }
    no_nul(&place.key("cpus"), cpu.cpus.as_deref().unwrap_or_default())?;
    no_nul(&place.key("mems"), cpu.mems.as_deref().unwrap_or_default())
}

fn block_io(place: &Place<'_>, block_io: &BlockIo) -> Result<()> {
    let weights = place.key("weightDevice");
    for (i, device) in block_io.weight_device.iter().enumerate() {
        let place = weights.index(i);
        if device.weight.is_none() && device.leaf_weight.is_none() {
            return Err(place
                .refuse(device, "the block device has no weight")
                .help("give weight, leafWeight or both"));
        }
        number(&place, device.major, device.minor)?;
    }
    let throttles = [
        ("throttleReadBpsDevice", &block_io.throttle_read_bps_device),
        ("throttleWriteBpsDevice", &block_io.throttle_write_bps_device),
        ("throttleReadIOPSDevice", &block_io.throttle_read_iops_device),
        ("throttleWriteIOPSDevice", &block_io.throttle_write_iops_device),
    ];
    for (key, devices) in throttles {
        let place = place.key(key);
        for (i, device) in devices.iter().enumerate() {
            number(&place.index(i), device.major, device.minor)?;
        }
    }
    Ok(())
}

fn number(place: &Place<'_>, major: i64, minor: i64) -> Result<()> {
    match [("major", major), ("minor", minor)].into_iter().find(|(_, number)| *number < 0) {
        Some((key, number)) => {
            let what = format!("no device has this {key} number");
            Err(place.key(key).refuse(&number, what).help("device numbers are not negative"))
        }
        None => Ok(()),
    }
}

fn hugepages(place: &Place<'_>, limits: &[HugepageLimit]) -> Result<()> {
    for (i, limit) in limits.iter().enumerate() {
        let size = &limit.page_size;
        let digits = ["KB", "MB", "GB"].iter().find_map(|unit| size.strip_suffix(unit));
        let right = |digits: &str| {
            !digits.is_empty()
                && !digits.starts_with('0')
                && digits.bytes().all(|b| b.is_ascii_digit())
        };
        if !digits.is_some_and(right) {
            return Err(place
                .index(i)
                .key("pageSize")
                .refuse(size, "no huge page has such a size")
                .help("write it in KB, MB or GB, such as 2MB"));
        }
    }
    Ok(())
}
