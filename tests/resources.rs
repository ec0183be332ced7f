//! What `linux.resources` limits is limited, in the kernel's own files and in fact; what cannot be
//! is refused, with its place.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;

use coracle_tests::{
    Coracle, controlled, controllers, eventually, has_controller, json, limit_of, skipped,
};

const SLEEP: &str = "sleep 1000";

/// Whether the machine has a controller in a hierarchy of version 1.
fn is_legacy(controller: &str) -> bool {
    fs::exists(format!("/sys/fs/cgroup/{controller}/cgroup.procs")).unwrap()
}

/// A disk of this machine, by its numbers.
fn disk() -> Option<String> {
    let disks = fs::read_dir("/sys/block").ok()?.flatten();
    let mut disks = disks.filter(|disk| {
        let name = disk.file_name().into_string().unwrap();
        !["loop", "ram", "zram"].iter().any(|kind| name.starts_with(kind))
    });
    Some(fs::read_to_string(disks.next()?.path().join("dev")).ok()?.trim().to_owned())
}

fn each_limit_is_in_its_file(coracle: &Coracle) {
    let megabyte = 1 << 20;
    // Controller, resources, and by version the file and what it then says.
    let rows = [
        (
            "memory",
            json!({"memory": {"limit": 64 * megabyte, "swap": 96 * megabyte}}),
            ["memory.limit_in_bytes", "memory.max"],
            ["67108864", "67108864"],
        ),
        (
            "memory",
            json!({"memory": {"limit": 64 * megabyte, "swap": 96 * megabyte}}),
            ["memory.memsw.limit_in_bytes", "memory.swap.max"],
            ["100663296", "33554432"],
        ),
        (
            "memory",
            json!({"memory": {"limit": -1}}),
            ["memory.limit_in_bytes", "memory.max"],
            ["9223372036854771712", "max"],
        ),
        (
            "memory",
            json!({"memory": {"reservation": 32 * megabyte}}),
            ["memory.soft_limit_in_bytes", "memory.low"],
            ["33554432", "33554432"],
        ),
        ("cpu", json!({"cpu": {"shares": 512}}), ["cpu.shares", "cpu.weight"], ["512", "59"]),
        (
            "cpu",
            json!({"cpu": {"quota": 20000, "period": 50000}}),
            ["cpu.cfs_quota_us", "cpu.max"],
            ["20000", "20000 50000"],
        ),
        (
            "cpu",
            json!({"cpu": {"quota": 20000, "period": 50000}}),
            ["cpu.cfs_period_us", "cpu.max"],
            ["50000", "20000 50000"],
        ),
        (
            "cpu",
            json!({"cpu": {"quota": 20000, "burst": 7000}}),
            ["cpu.cfs_burst_us", "cpu.max.burst"],
            ["7000", "7000"],
        ),
        ("cpu", json!({"cpu": {"idle": 1}}), ["cpu.idle", "cpu.idle"], ["1", "1"]),
        (
            "cpuset",
            json!({"cpu": {"cpus": "0", "mems": "0"}}),
            ["cpuset.cpus", "cpuset.cpus"],
            ["0", "0"],
        ),
        (
            "cpuset",
            json!({"cpu": {"cpus": "0", "mems": "0"}}),
            ["cpuset.mems", "cpuset.mems"],
            ["0", "0"],
        ),
        ("pids", json!({"pids": {"limit": 33}}), ["pids.max", "pids.max"], ["33", "33"]),
        ("pids", json!({"pids": {"limit": 0}}), ["pids.max", "pids.max"], ["0", "0"]),
        ("pids", json!({"pids": {"limit": -1}}), ["pids.max", "pids.max"], ["max", "max"]),
        (
            "hugetlb",
            json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 4 * megabyte}]}),
            ["hugetlb.2MB.limit_in_bytes", "hugetlb.2MB.max"],
            ["4194304", "4194304"],
        ),
        (
            "hugetlb",
            json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 4 * megabyte}]}),
            ["hugetlb.2MB.rsvd.limit_in_bytes", "hugetlb.2MB.rsvd.max"],
            ["4194304", "4194304"],
        ),
    ];
    for (controller, resources, files, expected) in rows {
        if !has_controller(controller) {
            skipped(&format!("needs the {controller} controller"));
            continue;
        }
        if controller == "hugetlb" && coracle.user().is_some() {
            skipped("whether the user has huge pages delegated is not known");
            continue;
        }
        let bundle = coracle.bundle().sh(SLEEP).limited(&resources);
        coracle.create(&bundle);
        let pid = coracle.pid(bundle.id());
        let (_, unified) = controlled(pid, controller).unwrap();
        let found = limit_of(pid, controller, files);
        assert_eq!(found, expected[usize::from(unified)], "{resources} in {files:?}");
        coracle.delete(bundle.id());
    }
    coracle.assert_nothing_left();
}

fn what_only_version_1_has_is_in_its_file(coracle: &Coracle) {
    if !is_legacy("memory") {
        return skipped("needs the memory controller in version 1");
    }
    let memory = json!({"memory": {
        "swappiness": 7, "disableOOMKiller": true, "kernel": 1 << 20, "kernelTCP": 1 << 20,
    }});
    let bundle = coracle.bundle().sh(SLEEP).limited(&memory);
    let told = coracle.create(&bundle);
    assert!(told.stderr.contains("kernel memory are deprecated"), "{}", told.stderr);
    let pid = coracle.pid(bundle.id());
    assert_eq!(limit_of(pid, "memory", ["memory.swappiness"; 2]), "7");
    let control = limit_of(pid, "memory", ["memory.oom_control"; 2]);
    assert!(control.contains("oom_kill_disable 1"), "{control}");
    assert_eq!(
        limit_of(pid, "memory", ["memory.kmem.tcp.limit_in_bytes"; 2]),
        "9223372036854771712"
    );
    coracle.delete(bundle.id());
}

fn real_time_is_limited_before_the_process_is_there(coracle: &Coracle) {
    if !fs::exists("/sys/fs/cgroup/cpu/cpu.rt_runtime_us").unwrap() {
        return skipped("needs real-time groups, in version 1");
    }
    let realtime = json!({"cpu": {"realtimeRuntime": 1000, "realtimePeriod": 500_000}});
    let bundle = coracle.bundle().sh(SLEEP).limited(&realtime);
    coracle.start(&bundle);
    let pid = coracle.pid(bundle.id());
    assert_eq!(limit_of(pid, "cpu", ["cpu.rt_runtime_us"; 2]), "1000");
    assert_eq!(limit_of(pid, "cpu", ["cpu.rt_period_us"; 2]), "500000");
    coracle.delete(bundle.id());
    let too_much = json!({"cpu": {"realtimeRuntime": 600_000, "realtimePeriod": 500_000}});
    let bundle = coracle.bundle().sh("true").limited(&too_much);
    coracle.run(&bundle).fails().says("/linux/resources/cpu/realtime");
    coracle.assert_nothing_left();
}

fn block_devices_are_limited(coracle: &Coracle) {
    let (true, Some(disk)) = (has_controller("blkio") || has_controller("io"), disk()) else {
        return skipped("needs a disk and the controller of block devices");
    };
    let (major, minor) = disk.split_once(':').unwrap();
    let device = |rate: u64| {
        let number = |text: &str| text.parse::<u64>().unwrap();
        json!([{"major": number(major), "minor": number(minor), "rate": rate}])
    };
    let bundle = coracle.bundle().sh(SLEEP).set(
        "/linux/resources/blockIO",
        json!({
            "throttleReadBpsDevice": device(1_000_448), "throttleWriteBpsDevice": device(2_000_896),
            "throttleReadIOPSDevice": device(3000), "throttleWriteIOPSDevice": device(4000),
        }),
    );
    coracle.create(&bundle);
    let pid = coracle.pid(bundle.id());
    if controlled(pid, "io").unwrap().1 {
        let expected = format!("{disk} rbps=1000448 wbps=2000896 riops=3000 wiops=4000");
        assert_eq!(limit_of(pid, "io", ["io.max"; 2]), expected);
    } else {
        for (file, rate) in [
            ("read_bps", 1_000_448),
            ("write_bps", 2_000_896),
            ("read_iops", 3000),
            ("write_iops", 4000),
        ] {
            let file = format!("blkio.throttle.{file}_device");
            assert_eq!(limit_of(pid, "io", [&file; 2]), format!("{disk} {rate}"));
        }
    }
    coracle.delete(bundle.id());

    let bundle = coracle.bundle().sh(SLEEP).set("/linux/resources/blockIO/weight", 200);
    coracle.create(&bundle);
    let (path, unified) = controlled(coracle.pid(bundle.id()), "io").unwrap();
    let files = if unified {
        [("io.bfq.weight", "default 200"), ("io.weight", "default 1920")]
    } else {
        [("blkio.weight", "200"), ("blkio.bfq.weight", "200")]
    };
    let said = files.iter().find_map(|(file, expected)| {
        Some((fs::read_to_string(path.join(file)).ok()?.lines().next()?.to_owned(), expected))
    });
    let (said, expected) = said.expect("a file of weights");
    assert_eq!(&said, expected);
    coracle.delete(bundle.id());
    coracle.assert_nothing_left();
}

fn memory_beyond_the_limit_ends_in_a_kill(coracle: &Coracle) {
    if !has_controller("memory") {
        return skipped("needs the memory controller");
    }
    let limit = json!({"memory": {"limit": 16 << 20, "swap": 16 << 20}});
    let bundle = coracle.bundle().args(["tail", "/dev/zero"]).limited(&limit);
    coracle.run(&bundle).exits(137);
    coracle.assert_nothing_left();
}

fn a_fork_bomb_is_held(coracle: &Coracle) {
    if !has_controller("pids") {
        return skipped("needs the pids controller");
    }
    let bomb = "while :; do sleep 1000 & echo one more; done";
    let bundle = coracle.bundle().sh(bomb).set("/linux/resources/pids/limit", 10);
    let told = coracle.run(&bundle).fails().says("fork");
    let count = told.stdout.lines().count();
    assert!(count <= 9, "{count} processes beside the first one, of 10 in all");
    coracle.assert_nothing_left();
}

fn a_limit_of_no_task_lets_the_first_one_live(coracle: &Coracle) {
    if !has_controller("pids") {
        return skipped("needs the pids controller");
    }
    let bundle = coracle.bundle().sh("echo alone; (true); echo not reached");
    let bundle = bundle.set("/linux/resources/pids/limit", 0);
    let told = coracle.run(&bundle).fails();
    assert_eq!(told.stdout, "alone\n");
}

fn processors_and_their_time_are_limited(coracle: &Coracle) {
    if !has_controller("cpuset") || !has_controller("cpu") {
        return skipped("needs the controllers cpu and cpuset");
    }
    let cpu = json!({"cpu": {"cpus": "0", "quota": 2000, "period": 20000}});
    let script = "grep Cpus_allowed_list /proc/self/status; while :; do :; done";
    let bundle = coracle.bundle().sh(script).limited(&cpu);
    let id = bundle.id();
    let started = coracle.start(&bundle);
    eventually("it says where it runs", || started.stdout_by_now() == "Cpus_allowed_list:\t0\n");
    eventually("it is throttled", || {
        let counts = limit_of(coracle.pid(id), "cpu", ["cpu.stat"; 2]);
        let throttled = counts.lines().find_map(|line| line.strip_prefix("nr_throttled "));
        throttled.unwrap().parse::<u64>().unwrap() > 2
    });
    coracle.delete(id);
}

fn a_limit_that_cannot_be_is_refused_with_its_place(coracle: &Coracle) {
    let hybrid = is_legacy("memory");
    let rows = [
        ("cpuset", json!({"cpu": {"cpus": "900-901"}}), "/linux/resources/cpu/cpus = \"900-901\""),
        ("cpuset", json!({"cpu": {"cpus": "900-901"}}), "cpuset.cpus"),
        ("cpuset", json!({"cpu": {"cpus": "900-901"}}), "help: processors that are online"),
        ("cpu", json!({"cpu": {"quota": 5}}), "/linux/resources/cpu/quota = 5"),
        ("cpu", json!({"cpu": {"quota": 5}}), "EINVAL"),
        ("pids", json!({"pids": {"limit": i64::MAX}}), "/linux/resources/pids/limit"),
        ("hugetlb", json!({"hugepageLimits": [{"pageSize": "3MB", "limit": 3}]}), "pages are of"),
        ("memory", json!({"memory": {"limit": 5, "swap": 4}}), "/linux/resources/memory/swap = 4"),
        ("pids", json!({"unified": {"../pids.max": "1"}}), "not the name of a cgroup file"),
        ("pids", json!({"unified": {"nonesuch.max": "1"}}), "nonesuch controller"),
        ("pids", json!({"unified": {"cgroup.nonesuch": "1"}}), "cgroup.nonesuch"),
        ("pids", json!({"network": {"classID": 1}}), "net_cls controller"),
        ("pids", json!({"rdma": {"none": {"hcaHandles": 1}}}), "rdma"),
    ];
    for (controller, resources, words) in rows {
        if !has_controller(controller) {
            skipped(&format!("needs the {controller} controller"));
            continue;
        }
        let bundle = coracle.bundle().sh("true").limited(&resources);
        coracle.with_bundle("create", &bundle, &[]).output().fails().says(words);
    }
    if hybrid {
        let bundle = coracle.bundle().sh("true").limited(&json!({"unified": {"memory.high": "1"}}));
        coracle.run(&bundle).fails().says("version 1");
    }
    coracle.assert_nothing_left();
}

fn a_value_that_the_kernel_refuses_is_named_with_what_the_file_takes(coracle: &Coracle) {
    // Controller, resources, field and value, by version the file, and what it takes.
    let rows = [
        (
            "cpu",
            json!({"cpu": {"period": 7}}),
            "/linux/resources/cpu/period = 7",
            ["cpu.cfs_period_us", "cpu.max"],
            "help: microseconds, 1000 to 1000000",
        ),
        (
            "cpu",
            json!({"cpu": {"quota": 5}}),
            "/linux/resources/cpu/quota = 5",
            ["cpu.cfs_quota_us", "cpu.max"],
            "help: microseconds, at least 1000",
        ),
        (
            "cpuset",
            json!({"cpu": {"mems": "77"}}),
            "/linux/resources/cpu/mems = \"77\"",
            ["cpuset.mems"; 2],
            "help: memory nodes that are online",
        ),
        (
            "pids",
            json!({"pids": {"limit": i64::MAX}}),
            "/linux/resources/pids/limit = 9223372036854775807",
            ["pids.max"; 2],
            "help: a number of tasks; -1 for no limit",
        ),
        (
            "io",
            json!({"blockIO": {"throttleReadBpsDevice": [{"major": 500, "minor": 0, "rate": 4096}]}}),
            "/linux/resources/blockIO/throttleReadBpsDevice/0",
            ["blkio.throttle.read_bps_device", "io.max"],
            "help: it begins with the numbers of a whole disk",
        ),
    ];
    for (controller, resources, field, files, help) in rows {
        let legacy = if controller == "io" { "blkio" } else { controller };
        if !has_controller(controller) && !has_controller(legacy) {
            skipped(&format!("needs the {controller} controller"));
            continue;
        }
        let bundle = coracle.bundle().sh("true").limited(&resources);
        let told = coracle.run(&bundle).fails().stderr;
        let file = format!("/{}", files[usize::from(!is_legacy(legacy))]);
        for part in [field, &file, help] {
            assert!(told.contains(part), "{part} is not in\n{told}");
        }
    }
    coracle.assert_nothing_left();
}

fn the_plan_shows_each_write(coracle: &Coracle) {
    let resources = json!({"cpu": {"idle": 1}, "pids": {"limit": 5}});
    let bundle = coracle.bundle().sh("true").limited(&resources);
    let told = coracle.call(["plan", "--bundle"]).args([bundle.path()]).output().succeeds().stdout;
    let line = |field: &str| {
        let mut lines = told.lines();
        lines.find(|line| line.contains(field)).unwrap_or_else(|| panic!("{told}")).to_owned()
    };
    assert!(line("/linux/resources/cpu/idle").ends_with("writing 1 to cpu.idle"));
    assert!(line("/linux/resources/pids/limit").ends_with("writing 5 to pids.max"));
}

fn an_ordinary_user_is_told_who_could_allow_limits(coracle: &Coracle) {
    coracle.run(&coracle.bundle().sh("exit 7")).exits(7);
    let harmless = json!({"memory": {"limit": 0, "disableOOMKiller": false}, "cpu": {"shares": 0}});
    coracle.run(&coracle.bundle().sh("exit 7").limited(&harmless)).exits(7);
    if !is_legacy("memory") {
        return skipped("whether the user has delegated controllers is not known");
    }
    let limited = coracle.bundle().sh("true").limited(&json!({"memory": {"limit": 1 << 26}}));
    coracle.run(&limited).fails().says("delegated to its user");
    coracle.assert_nothing_left();
}

fn version_2_alone_is_limited(coracle: &Coracle) {
    let files = json!({"unified": {"cgroup.max.depth": "3", "cgroup.max.descendants": "4"}});
    let mut bundle = coracle.bundle().sh(SLEEP).limited(&files);
    let huge = coracle_tests::has_controller("hugetlb");
    if huge {
        let limits = json!([{"pageSize": "2MB", "limit": 4 << 20}]);
        bundle = bundle.set("/linux/resources/hugepageLimits", limits);
    }
    let id = bundle.id();
    coracle.start(&bundle);
    let pid = coracle.pid(id);
    let (_, path) = controllers(pid).into_iter().find(|(names, _)| names.is_empty()).unwrap();
    let read = |file: &str| fs::read_to_string(path.join(file)).unwrap().trim_end().to_owned();
    assert_eq!(
        (read("cgroup.max.depth"), read("cgroup.max.descendants")),
        ("3".into(), "4".into())
    );
    if huge {
        assert_eq!(read("hugetlb.2MB.max"), "4194304");
        assert_eq!(read("hugetlb.2MB.rsvd.max"), "4194304");
        let change = json!({
            "hugepageLimits": [{"pageSize": "2MB", "limit": 2 << 20}],
            "unified": {"cgroup.max.depth": "5"},
        });
        coracle.call(["update", "-r", "-", id]).stdin_text(&change.to_string()).output().succeeds();
        assert_eq!(
            (read("hugetlb.2MB.max"), read("cgroup.max.depth")),
            ("2097152".into(), "5".into())
        );
        let bad = json!({
            "hugepageLimits": [{"pageSize": "2MB", "limit": 8 << 20}],
            "unified": {"cgroup.max.depth": "-5"},
        });
        let told = coracle.call(["update", "-r", "-", id]).stdin_text(&bad.to_string()).output();
        told.fails().says("all limits are as they were");
        assert_eq!(
            (read("hugetlb.2MB.max"), read("cgroup.max.depth")),
            ("2097152".into(), "5".into())
        );
    }
    coracle.delete(id);

    for (resources, words) in [
        (json!({"memory": {"swappiness": 1}}), "/linux/resources/memory/swappiness = 1"),
        (json!({"cpu": {"realtimeRuntime": 1}}), "/linux/resources/cpu/realtimeRuntime"),
        (json!({"network": {"classID": 1}}), "net_cls"),
        (json!({"unified": {"nonesuch.max": "1"}}), "nonesuch controller"),
    ] {
        let bundle = coracle.bundle().sh("true").limited(&resources);
        coracle.run(&bundle).fails().says(words);
    }
    coracle.assert_nothing_left();
}

coracle_tests::tests! {
    as_root, as_delegated_user, as_delegated_single_user =>
        what_only_version_1_has_is_in_its_file,
        block_devices_are_limited,
        memory_beyond_the_limit_ends_in_a_kill,
        a_fork_bomb_is_held,
        a_limit_of_no_task_lets_the_first_one_live,
        processors_and_their_time_are_limited,
        a_value_that_the_kernel_refuses_is_named_with_what_the_file_takes,
        each_limit_is_in_its_file,
        the_plan_shows_each_write;
    on_cgroup2, as_delegated_user_on_cgroup2, as_delegated_single_user_on_cgroup2 =>
        version_2_alone_is_limited;
    as_ranged_user, as_single_user => an_ordinary_user_is_told_who_could_allow_limits;
    as_root =>
        a_limit_that_cannot_be_is_refused_with_its_place,
        real_time_is_limited_before_the_process_is_there;
}
