//! `update` changes the limits of a container: those that are asked for and no others, all or none.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;

use coracle_tests::{Coracle, Outcome, Value, controlled, has_controller, json, limit_of, skipped};

const SLEEP: &str = "sleep 1000";

/// Options, a controller, and by its version a file and what it then says.
type Row<'a> = (&'a [&'a str], &'a str, [&'a str; 2], [&'a str; 2]);

/// `update` with these options.
fn update(coracle: &Coracle, id: &str, options: &[&str]) -> Outcome {
    coracle.call(["update"]).args(options).args([id]).output()
}

fn limits_are_changed_by_options(coracle: &Coracle) {
    let bundle = coracle.bundle().sh(SLEEP);
    let id = bundle.id();
    coracle.create(&bundle);
    let pid = coracle.pid(id);
    let rows: [Row<'_>; 15] = [
        (&["--memory", "64m"], "memory", ["memory.limit_in_bytes", "memory.max"], ["67108864"; 2]),
        (
            &["--memory-swap", "96m"],
            "memory",
            ["memory.memsw.limit_in_bytes", "memory.swap.max"],
            ["100663296", "33554432"],
        ),
        // Both raised, then both lowered: the order of the writes has to change.
        (
            &["--memory", "128m", "--memory-swap", "256m"],
            "memory",
            ["memory.limit_in_bytes", "memory.max"],
            ["134217728"; 2],
        ),
        (
            &["--memory=33554432", "--memory-swap=64M"],
            "memory",
            ["memory.memsw.limit_in_bytes", "memory.swap.max"],
            ["67108864", "33554432"],
        ),
        (
            &["--memory", "-1"],
            "memory",
            ["memory.memsw.limit_in_bytes", "memory.swap.max"],
            ["9223372036854771712", "max"],
        ),
        (
            &["--memory-reservation", "1g"],
            "memory",
            ["memory.soft_limit_in_bytes", "memory.low"],
            ["1073741824"; 2],
        ),
        (&["--cpu-share", "2048"], "cpu", ["cpu.shares", "cpu.weight"], ["2048", "174"]),
        (
            &["--cpu-quota", "50000"],
            "cpu",
            ["cpu.cfs_quota_us", "cpu.max"],
            ["50000", "50000 100000"],
        ),
        (
            &["--cpu-period", "200000"],
            "cpu",
            ["cpu.cfs_period_us", "cpu.max"],
            ["200000", "50000 200000"],
        ),
        (&["-cpu-burst", "9000"], "cpu", ["cpu.cfs_burst_us", "cpu.max.burst"], ["9000"; 2]),
        // Below what may be saved up.
        (
            &["--cpu-quota", "5000", "--cpu-burst", "4000"],
            "cpu",
            ["cpu.cfs_quota_us", "cpu.max"],
            ["5000", "5000 200000"],
        ),
        (&["--cpu-idle", "1"], "cpu", ["cpu.idle"; 2], ["1"; 2]),
        (&["--cpuset-cpus", "0", "--cpuset-mems", "0"], "cpuset", ["cpuset.cpus"; 2], ["0"; 2]),
        (&["--pids-limit", "17"], "pids", ["pids.max"; 2], ["17"; 2]),
        (&["--pids-limit", "-1"], "pids", ["pids.max"; 2], ["max"; 2]),
    ];
    for (options, controller, files, expected) in rows {
        if !has_controller(controller) {
            skipped(&format!("needs the {controller} controller"));
            continue;
        }
        let told = update(coracle, id, options).succeeds();
        assert_eq!((told.stdout, told.stderr), (String::new(), String::new()));
        let unified = controlled(pid, controller).unwrap().1;
        let found = limit_of(pid, controller, files);
        assert_eq!(found, expected[usize::from(unified)], "{options:?} in {files:?}");
    }
    assert_eq!(coracle.status(id), "created");
    let told = update(coracle, id, &["--kernel-memory", "1m"]).succeeds();
    assert!(told.stderr.contains("kernel-memory is ignored"));
    for nonsense in [
        &["--memory", "1x"][..],
        &["--cpu-quota", "many"],
        &["--cpu-idle", "2"],
        &["--blkio-weight", "70000"],
        &["--l3-cache-schema", "L3:0=f"],
    ] {
        update(coracle, id, nonsense).fails();
    }
    coracle.delete(id);
    update(coracle, id, &["--memory", "64m"]).fails().says("does not exist");
}

fn limits_are_changed_by_a_file_and_kept_with_the_container(coracle: &Coracle) {
    if !has_controller("pids") || !has_controller("cpu") {
        return skipped("needs the controllers cpu and pids");
    }
    let bundle = coracle.bundle().sh(SLEEP).set("/linux/resources/x-unknown", 5);
    let id = bundle.id();
    coracle.start(&bundle);
    let pid = coracle.pid(id);
    let file = coracle.path().join("resources.json");
    fs::write(&file, r#"{"pids": {"limit": 21}, "cpu": {"shares": 512}, "devices": []}"#).unwrap();
    let file = file.to_str().unwrap();
    update(coracle, id, &["--resources", file, "--pids-limit", "99"]).succeeds();
    assert_eq!(limit_of(pid, "pids", ["pids.max"; 2]), "21");
    let text = json!({"pids": {"limit": 22}}).to_string();
    coracle.call(["update", "-r", "-", id]).stdin_text(&text).output().succeeds();
    assert_eq!(limit_of(pid, "pids", ["pids.max"; 2]), "22");

    let kept = fs::read_to_string(coracle.state_directory().join(id).join("config.json")).unwrap();
    let kept: Value = kept.parse().unwrap();
    let resources = &kept["linux"]["resources"];
    assert_eq!(resources["pids"], json!({"limit": 22}));
    assert_eq!(resources["cpu"], json!({"shares": 512}));
    assert_eq!(resources["x-unknown"], 5);
    assert_eq!(resources["devices"], bundle.config()["linux"]["resources"]["devices"]);

    fs::write(file, "{\"pids\": {\"limit\": \"many\"}}").unwrap();
    update(coracle, id, &["-r", file]).fails().says("/pids/limit");
    update(coracle, id, &["-r", "/nonesuch"]).fails().says("/nonesuch");
    coracle.call(["kill", id, "KILL"]).output().succeeds();
    coracle.becomes(id, "stopped");
    update(coracle, id, &["--pids-limit", "5"]).fails().says("container not running");
    coracle.delete(id);
}

fn an_update_that_fails_changes_nothing(coracle: &Coracle) {
    if !["memory", "cpu", "cpuset", "pids"].into_iter().all(has_controller) {
        return skipped("needs the controllers cpu, cpuset, memory and pids");
    }
    let limits = json!({
        "memory": {"limit": 64 << 20, "swap": 64 << 20}, "cpu": {"shares": 512, "quota": 50000},
        "pids": {"limit": 9},
    });
    let bundle = coracle.bundle().sh(SLEEP).limited(&limits);
    let id = bundle.id();
    coracle.start(&bundle);
    let pid = coracle.pid(id);
    let all = || {
        [
            limit_of(pid, "memory", ["memory.limit_in_bytes", "memory.max"]),
            limit_of(pid, "memory", ["memory.memsw.limit_in_bytes", "memory.swap.max"]),
            limit_of(pid, "cpu", ["cpu.shares", "cpu.weight"]),
            limit_of(pid, "cpu", ["cpu.cfs_quota_us", "cpu.max"]),
            limit_of(pid, "cpuset", ["cpuset.cpus"; 2]),
            limit_of(pid, "pids", ["pids.max"; 2]),
        ]
    };
    let kept = || fs::read(coracle.state_directory().join(id).join("config.json")).unwrap();
    let (before, kept_before) = (all(), kept());
    let changes = [
        "--memory",
        "128m",
        "--memory-swap",
        "256m",
        "--cpu-share",
        "100",
        "--cpu-quota",
        "20000",
        "--cpuset-cpus",
        "900",
        "--pids-limit",
        "30",
    ];
    let told = update(coracle, id, &changes).fails().says("all limits are as they were");
    assert!(told.stderr.contains("/linux/resources/cpu/cpus = \"900\""), "{}", told.stderr);
    assert_eq!(all(), before);
    assert_eq!(kept(), kept_before);
    coracle.delete(id);
}

fn less_memory_than_is_in_use_is_refused(coracle: &Coracle) {
    let bundle = coracle.bundle().sh(SLEEP);
    let id = bundle.id();
    coracle.start(&bundle);
    let Some((_, unified)) = controlled(coracle.pid(id), "memory") else {
        return skipped("needs the memory controller");
    };
    // A kernel without swap finds nothing to free in anonymous memory.
    let change = json!({"memory": {"limit": 4096, "checkBeforeUpdate": true}}).to_string();
    let told = coracle.call(["update", "-r", "-", id]).stdin_text(&change).output().fails();
    let words = if unified { "rejecting memory limit" } else { "bytes are in use" };
    assert!(told.stderr.contains(words), "{}", told.stderr);
    let limit = limit_of(coracle.pid(id), "memory", ["memory.limit_in_bytes", "memory.max"]);
    assert_ne!(limit, "4096");
    assert_eq!(coracle.status(id), "running");
    coracle.delete(id);
}

coracle_tests::tests! {
    as_root, as_delegated_user, as_delegated_single_user =>
        limits_are_changed_by_options,
        limits_are_changed_by_a_file_and_kept_with_the_container,
        an_update_that_fails_changes_nothing,
        less_memory_than_is_in_use_is_refused;
}
