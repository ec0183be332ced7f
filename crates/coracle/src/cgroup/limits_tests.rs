//! Every field of `linux.resources` in both versions.
#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};

use super::{Limits, Missing, Version};
use crate::Result;

/// The version of a controller on a machine: of one version, or a hybrid of them.
type Machine = fn(&str) -> Option<Version>;

fn legacy(controller: &str) -> Option<Version> {
    (controller != "cgroup").then_some(Version::V1)
}

fn unified(controller: &str) -> Option<Version> {
    (!controller.starts_with("net_")).then_some(Version::V2)
}

fn hybrid(controller: &str) -> Option<Version> {
    match controller {
        "hugetlb" | "cgroup" => Some(Version::V2),
        "rdma" | "net_cls" => None,
        _ => Some(Version::V1),
    }
}

fn limits(machine: Machine, resources: &Value) -> Result<Limits> {
    let resources = serde_json::from_value(resources.clone()).unwrap();
    Limits::new(&resources, machine)
}

/// Each write as `FILE LINE`, with `?` where the file may be missing, and what is then written.
fn lines(machine: Machine, resources: &Value) -> Vec<String> {
    let limits = limits(machine, resources).unwrap();
    let show = |write: &super::Write| {
        let line = format!("{} {}", write.file, write.line(&write.value));
        match &write.missing {
            Missing::Refuse => line,
            Missing::Skip => format!("{line}?"),
            Missing::Instead(file, value) => format!("{line} | {file} {}", write.line(value)),
        }
    };
    limits.writes().map(show).collect()
}

#[track_caller]
fn refused(machine: Machine, resources: &Value, pointer: &str, words: &str) {
    let error = limits(machine, resources).unwrap_err();
    assert_eq!(error.pointer(), Some(pointer), "{error}");
    assert!(error.to_string().contains(words), "{error}");
    assert!(error.advice().is_some() || words.contains("cpu-shares"), "{error}");
}

#[test]
fn memory() {
    let one = json!({"memory": {
        "limit": 1000, "reservation": 500, "swap": 1500, "swappiness": 0,
        "disableOOMKiller": true, "kernel": 1, "kernelTCP": 1,
    }});
    assert_eq!(
        lines(legacy, &one),
        [
            "memory.limit_in_bytes 1000",
            "memory.memsw.limit_in_bytes 1500",
            "memory.soft_limit_in_bytes 500",
            "memory.swappiness 0",
            "memory.oom_control 1",
        ]
    );
    let two = json!({"memory": {"limit": 1000, "reservation": 500, "swap": 1500}});
    assert_eq!(lines(unified, &two), ["memory.swap.max 500", "memory.max 1000", "memory.low 500"]);
}

#[test]
fn memory_without_a_limit_and_zero_for_none() {
    let zero = json!({"memory": {"limit": 0, "reservation": 0, "swap": 0}});
    let unlimited = json!({"memory": {"limit": -1}});
    let swap_only = json!({"memory": {"limit": -1, "swap": 700}});
    let endless = json!({"memory": {"swap": -1}});
    for machine in [legacy, unified] as [Machine; 2] {
        assert!(limits(machine, &zero).unwrap().is_empty());
    }
    assert_eq!(
        lines(legacy, &unlimited),
        ["memory.limit_in_bytes -1", "memory.memsw.limit_in_bytes -1?"]
    );
    assert_eq!(lines(unified, &unlimited), ["memory.swap.max max?", "memory.max max"]);
    assert_eq!(lines(unified, &swap_only), ["memory.swap.max 700", "memory.max max"]);
    assert_eq!(lines(unified, &endless), ["memory.swap.max max?"]);
    assert_eq!(lines(legacy, &endless), ["memory.memsw.limit_in_bytes -1?"]);
    let none = json!({"memory": {"limit": 1000, "swap": 1000}});
    assert_eq!(lines(unified, &none), ["memory.swap.max 0?", "memory.max 1000"]);
}

#[test]
fn memory_that_version_2_cannot_have() {
    let at = |field: &str, value: Value| json!({"memory": {field: value}});
    let swap = "/linux/resources/memory/swap";
    refused(unified, &at("swap", json!(5)), swap, "without memory limit");
    refused(unified, &json!({"memory": {"swap": 5, "limit": 6}}), swap, "should be >=");
    for (field, value) in [
        ("swappiness", json!(3)),
        ("disableOOMKiller", json!(true)),
        ("useHierarchy", json!(false)),
    ] {
        let pointer = format!("/linux/resources/memory/{field}");
        refused(unified, &at(field, value), &pointer, "nothing like");
    }
    let usual = json!({"memory": {"disableOOMKiller": false, "useHierarchy": true}});
    assert!(limits(unified, &usual).unwrap().is_empty());
    assert_eq!(lines(legacy, &usual), ["memory.oom_control 0?", "memory.use_hierarchy 1?"]);
    assert!(limits(legacy, &usual).unwrap().controllers().is_empty());
}

#[test]
fn usage_is_compared_on_version_2() {
    let check = json!({"memory": {"limit": 900, "swap": 1000, "checkBeforeUpdate": true}});
    assert_eq!(limits(unified, &check).unwrap().check_usage, Some(900));
    assert_eq!(limits(legacy, &check).unwrap().check_usage, None);
    let unlimited = json!({"memory": {"limit": -1, "checkBeforeUpdate": true}});
    assert_eq!(limits(unified, &unlimited).unwrap().check_usage, None);
}

#[test]
fn cpu() {
    let all = json!({"cpu": {
        "shares": 1024, "quota": 20000, "period": 50000, "burst": 1000, "idle": 1,
        "cpus": "0-1", "mems": "0",
    }});
    assert_eq!(
        lines(legacy, &all),
        [
            "cpu.shares 1024",
            "cpu.cfs_period_us 50000",
            "cpu.cfs_quota_us 20000",
            "cpu.cfs_burst_us 1000",
            "cpu.idle 1",
            "cpuset.cpus 0-1",
            "cpuset.mems 0",
        ]
    );
    assert_eq!(
        lines(unified, &all),
        [
            "cpu.weight 100",
            "cpu.max 20000 50000",
            "cpu.max.burst 1000",
            "cpu.idle 1",
            "cpuset.cpus 0-1",
            "cpuset.mems 0",
        ]
    );
    let max = |quota: Value| lines(unified, &json!({"cpu": quota}));
    assert_eq!(max(json!({"quota": -1})), ["cpu.max max"]);
    assert_eq!(max(json!({"quota": 5000})), ["cpu.max 5000"]);
    assert_eq!(max(json!({"period": 5000})), ["cpu.max max 5000"]);
    assert_eq!(max(json!({"quota": -1, "period": 5000})), ["cpu.max max 5000"]);
    assert_eq!(max(json!({"burst": 0, "idle": 0})), ["cpu.max.burst 0?", "cpu.idle 0?"]);
    for machine in [legacy, unified] as [Machine; 2] {
        let zero = json!({"cpu": {"shares": 0, "quota": 0, "period": 0, "cpus": "", "mems": "",
            "realtimeRuntime": 0, "realtimePeriod": 0}});
        assert!(limits(machine, &zero).unwrap().is_empty());
    }
}

#[test]
fn cpu_time_that_cannot_be() {
    let realtime = json!({"cpu": {"realtimeRuntime": 950, "realtimePeriod": 1000}});
    assert_eq!(lines(legacy, &realtime), ["cpu.rt_period_us 1000", "cpu.rt_runtime_us 950"]);
    refused(unified, &realtime, "/linux/resources/cpu/realtimePeriod", "nothing like");
    let shares = |shares: u64| json!({"cpu": {"shares": shares}});
    let pointer = "/linux/resources/cpu/shares";
    refused(legacy, &shares(1), pointer, "the minimum allowed cpu-shares is 2");
    refused(legacy, &shares(262_145), pointer, "the maximum allowed cpu-shares is 262144");
    assert_eq!(lines(unified, &shares(1)), ["cpu.weight 1"]);
    assert_eq!(lines(unified, &shares(262_145)), ["cpu.weight 10000"]);
}

#[test]
fn tasks_are_limited_last() {
    for (limit, value) in [(-1, "max"), (0, "0"), (7, "7")] {
        for machine in [legacy, unified] as [Machine; 2] {
            let resources = json!({"pids": {"limit": limit}, "cpu": {"shares": 2}});
            let limits = limits(machine, &resources).unwrap();
            assert_eq!(limits.first.len(), 1);
            assert_eq!(limits.tasks[0].value, value);
            assert_eq!(limits.tasks[0].pointer(), "/linux/resources/pids/limit");
            assert_eq!(limits.controllers(), ["cpu", "pids"]);
        }
    }
    assert!(limits(unified, &json!({"pids": {}})).unwrap().is_empty());
}

#[test]
fn block_devices() {
    let all = json!({"blockIO": {
        "weight": 500,
        "weightDevice": [{"major": 8, "minor": 0, "weight": 300}],
        "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 600}],
        "throttleWriteBpsDevice": [{"major": 8, "minor": 16, "rate": 0}],
        "throttleReadIOPSDevice": [{"major": 8, "minor": 0, "rate": 3}],
        "throttleWriteIOPSDevice": [{"major": 8, "minor": 16, "rate": 4}],
    }});
    assert_eq!(
        lines(legacy, &all),
        [
            "blkio.weight 500 | blkio.bfq.weight 500",
            "blkio.weight_device 8:0 300 | blkio.bfq.weight_device 8:0 300",
            "blkio.throttle.read_bps_device 8:0 600",
            "blkio.throttle.write_bps_device 8:16 0",
            "blkio.throttle.read_iops_device 8:0 3",
            "blkio.throttle.write_iops_device 8:16 4",
        ]
    );
    assert_eq!(
        lines(unified, &all),
        [
            "io.bfq.weight 500 | io.weight 4950",
            "io.bfq.weight 8:0 300 | io.weight 8:0 2930",
            "io.max 8:0 rbps=600",
            "io.max 8:16 wbps=max",
            "io.max 8:0 riops=3",
            "io.max 8:16 wiops=4",
        ]
    );
    assert_eq!(limits(legacy, &all).unwrap().controllers(), ["io"]);
    let leaf = json!({"blockIO": {
        "leafWeight": 10, "weightDevice": [{"major": 8, "minor": 0, "leafWeight": 20}],
    }});
    assert_eq!(lines(legacy, &leaf), ["blkio.leaf_weight 10", "blkio.leaf_weight_device 8:0 20"]);
    refused(unified, &leaf, "/linux/resources/blockIO/leafWeight", "nothing like");
    let device = json!({"blockIO": leaf["blockIO"]["weightDevice"].clone()});
    let device = json!({"blockIO": {"weightDevice": device["blockIO"]}});
    let pointer = "/linux/resources/blockIO/weightDevice/0/leafWeight";
    refused(unified, &device, pointer, "nothing like");
}

#[test]
fn huge_pages_as_reserved_and_as_used() {
    let two = json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 4}]});
    assert_eq!(
        lines(legacy, &two),
        ["hugetlb.2MB.limit_in_bytes 4", "hugetlb.2MB.rsvd.limit_in_bytes 4?"]
    );
    for machine in [unified, hybrid] as [Machine; 2] {
        assert_eq!(lines(machine, &two), ["hugetlb.2MB.max 4", "hugetlb.2MB.rsvd.max 4?"]);
    }
    let limits = limits(hybrid, &two).unwrap();
    assert!(limits.writes().all(|write| write.version == Version::V2));
    assert_eq!(limits.first[0].pointer(), "/linux/resources/hugepageLimits/0/limit");
}

#[test]
fn the_network_is_marked_on_version_1() {
    let network = json!({"network": {
        "classID": 1_048_577, "priorities": [{"name": "eth0", "priority": 5}],
    }});
    assert_eq!(lines(legacy, &network), ["net_cls.classid 1048577", "net_prio.ifpriomap eth0 5"]);
    for machine in [unified, hybrid] as [Machine; 2] {
        let pointer = "/linux/resources/network/classID";
        refused(machine, &network, pointer, "no cgroup hierarchy has the net_cls controller");
    }
}

#[test]
fn rdma_devices() {
    let rdma =
        json!({"rdma": {"mlx/1": {"hcaHandles": 3, "hcaObjects": 10}, "x": {"hcaObjects": 1}}});
    for machine in [legacy, unified] as [Machine; 2] {
        let expected = ["rdma.max mlx/1 hca_handle=3 hca_object=10", "rdma.max x hca_object=1"];
        assert_eq!(lines(machine, &rdma), expected);
    }
    refused(hybrid, &rdma, "/linux/resources/rdma/mlx~11", "the rdma controller");
}

#[test]
fn any_file_of_version_2() {
    let files = json!({"unified": {
        "io.max": "259:0 rbps=2 wiops=1\n253:0 rbps=2\n", "cgroup.max.depth": "3", "x.y": "",
    }});
    assert_eq!(
        lines(unified, &files),
        ["cgroup.max.depth 3", "io.max 259:0 rbps=2 wiops=1", "io.max 253:0 rbps=2", "x.y "]
    );
    assert_eq!(limits(unified, &files).unwrap().controllers(), ["io", "x"]);
    let pointer = "/linux/resources/unified/cgroup.max.depth";
    refused(legacy, &files, pointer, "version 1 only");
    let memory = json!({"unified": {"memory.high": "5"}});
    refused(hybrid, &memory, "/linux/resources/unified/memory.high", "cgroup version 1");
    for name in ["../x.y", "..", ".x", "a/b.c", "noname"] {
        let error = limits(unified, &json!({"unified": {name: "1"}})).unwrap_err();
        assert!(error.to_string().contains("not the name of a cgroup file"), "{error}");
    }
}
