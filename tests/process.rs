//! What the process of a container gets of the machine, looked at from inside and in the kernel's
//! own files: scheduling, priorities, memory policy, personality, limits, labels, clocks.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::path::Path;

use coracle_tests::{Bundle, Call, Coracle, Value, json, need};

/// A container that goes on.
fn endless(coracle: &Coracle, bundle: Bundle) -> Bundle {
    let bundle = bundle.sh("sleep 1000");
    coracle.start(&bundle);
    bundle
}

/// `chrt --pid` or `ionice --pid` of a process.
fn ask(program: &str, pid: u32) -> String {
    Call::new([program, "-p", &pid.to_string()]).output().succeeds().stdout
}

/// Skips where a program of util-linux is missing.
fn program(name: &str) -> Result<(), String> {
    let found = Path::new("/usr/bin").join(name).exists();
    found.then_some(()).ok_or_else(|| format!("needs {name} (package util-linux)"))
}

/// Asserts that `create` refuses this with these words and leaves nothing.
#[track_caller]
fn refused(coracle: &Coracle, bundle: &Bundle, words: &[&str]) {
    let mut told = coracle.with_bundle("create", bundle, &[]).output().fails();
    for word in words {
        told = told.says(word);
    }
    coracle.assert_nothing_left();
}

#[test]
fn every_scheduling_policy() {
    let coracle = need!(Coracle::as_root());
    need!(program("chrt"));
    for (scheduler, told) in [
        (json!({"policy": "SCHED_OTHER", "nice": -7}), "SCHED_OTHER"),
        (json!({"policy": "SCHED_BATCH", "nice": 5}), "SCHED_BATCH"),
        (json!({"policy": "SCHED_IDLE"}), "SCHED_IDLE"),
        (json!({"policy": "SCHED_FIFO", "priority": 3}), "SCHED_FIFO"),
        (
            json!({"policy": "SCHED_RR", "priority": 4, "flags": ["SCHED_FLAG_RESET_ON_FORK"]}),
            "SCHED_RR|SCHED_RESET_ON_FORK",
        ),
        (
            json!({"policy": "SCHED_DEADLINE", "runtime": 1_000_000, "deadline": 10_000_000,
                   "period": 20_000_000, "flags": ["SCHED_FLAG_RECLAIM", "SCHED_FLAG_DL_OVERRUN"]}),
            "SCHED_DEADLINE",
        ),
    ] {
        let nice = scheduler["nice"].as_i64().unwrap_or_default();
        let priority = scheduler["priority"].as_i64().unwrap_or(0);
        let bundle = coracle.bundle().set("/process/scheduler", scheduler.clone());
        // Where groups have shares of real time (CONFIG_RT_GROUP_SCHED), a new one has none.
        let bundle = if Path::new("/sys/fs/cgroup/cpu/cpu.rt_runtime_us").exists() {
            bundle.set("/linux/resources/cpu/realtimeRuntime", 10_000)
        } else {
            bundle
        };
        let bundle = endless(&coracle, bundle);
        let pid = coracle.pid(bundle.id());
        let text = ask("chrt", pid);
        assert!(text.contains(&format!("policy: {told}\n")), "{scheduler}: {text}");
        assert!(text.contains(&format!("priority: {priority}\n")), "{scheduler}: {text}");
        if told == "SCHED_DEADLINE" {
            assert!(text.contains("1000000/10000000/20000000"), "{text}");
        }
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
        if scheduler.get("nice").is_some() {
            assert_eq!(fields[16], nice.to_string(), "{scheduler}");
        }
        coracle.delete(bundle.id());
    }
    coracle.assert_nothing_left();
}

fn scheduling_that_the_kernel_refuses(coracle: &Coracle) {
    let clamp = json!({"policy": "SCHED_OTHER", "flags": ["SCHED_FLAG_UTIL_CLAMP_MIN"]});
    if coracle.run(&coracle.bundle().sh("exit 0").set("/process/scheduler", clamp.clone())).code
        != Some(0)
    {
        let bundle = coracle.bundle().set("/process/scheduler", clamp);
        refused(coracle, &bundle, &["/process/scheduler", "CONFIG_UCLAMP_TASK"]);
    }
    let iso = json!({"policy": "SCHED_ISO"});
    let bundle = coracle.bundle().set("/process/scheduler", iso);
    refused(coracle, &bundle, &["/process/scheduler/policy", "SCHED_ISO"]);
}

#[test]
fn a_user_namespace_gets_what_the_host_s_root_may_give() {
    let coracle = need!(Coracle::as_root());
    need!(program("chrt"));
    let map = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
    for offset in [false, true] {
        let bundle = coracle
            .bundle()
            .set("/linux/namespaces/-", json!({"type": "user"}))
            .set("/linux/uidMappings", map.clone())
            .set("/linux/gidMappings", map.clone())
            .set("/process/scheduler", json!({"policy": "SCHED_OTHER", "nice": -5}))
            .set("/process/ioPriority", json!({"class": "IOPRIO_CLASS_RT", "priority": 2}))
            .set("/process/oomScoreAdj", 10)
            .sh("cut -d' ' -f19 /proc/self/stat; cat /proc/self/oom_score_adj; ionice -p $$; ulimit -Hn; ulimit -Sn");
        let bundle = if offset {
            bundle
                .set("/linux/namespaces/-", json!({"type": "time"}))
                .set("/linux/timeOffsets/boottime/secs", 1_000_000_000)
        } else {
            bundle
        };
        rustix::fs::chmod(bundle.path(), rustix::fs::Mode::from_raw_mode(0o755)).unwrap();
        let told = coracle.run(&bundle).succeeds().stdout;
        assert_eq!(told, "-5\n10\nrealtime: prio 2\n1024\n1024\n");
        // exec, too: its process gives its own privileges up before it joins.
        let bundle = endless(&coracle, bundle);
        let script = "cut -d' ' -f19 /proc/self/stat; cat /proc/self/oom_score_adj; ionice -p $$";
        let told = coracle.call(["exec", bundle.id(), "sh", "-c", script]).output().succeeds();
        assert_eq!(told.stdout, "-5\n10\nrealtime: prio 2\n");
        coracle.delete(bundle.id());
    }
    coracle.assert_nothing_left();
}

fn limits_are_raised_by_who_may(coracle: &Coracle) {
    // With CAP_SYS_RESOURCE any hard limit can be had, also where the container's root cannot.
    let hard = Call::new(["sh", "-c", "ulimit -Hn"]).output().succeeds().stdout;
    let hard: u64 = hard.trim().parse().unwrap();
    let capable = Call::new(["sh", "-c", &format!("ulimit -n {}", hard + 1)]).output();
    if capable.code != Some(0) {
        coracle_tests::skipped("needs CAP_SYS_RESOURCE");
        let limit = json!([{"type": "RLIMIT_NOFILE", "hard": hard + 1, "soft": 10}]);
        let bundle = coracle.bundle().set("/process/rlimits", limit);
        refused(coracle, &bundle, &["/process/rlimits/0", "RLIMIT_NOFILE", "CAP_SYS_RESOURCE"]);
        return;
    }
    let map = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
    let bundle = coracle
        .bundle()
        .set("/linux/namespaces/-", json!({"type": "user"}))
        .set("/linux/uidMappings", map.clone())
        .set("/linux/gidMappings", map)
        .set(
            "/process/rlimits",
            json!([{"type": "RLIMIT_NOFILE", "hard": hard + 1, "soft": hard + 1}]),
        );
    let bundle = endless(coracle, bundle);
    let script = "ulimit -Hn; ulimit -Sn";
    let told = coracle.call(["exec", bundle.id(), "sh", "-c", script]).output().succeeds();
    assert_eq!(told.stdout, format!("{0}\n{0}\n", hard + 1));
    coracle.delete(bundle.id());
}

fn the_priority_of_input_and_output_is_the_process_group_s(coracle: &Coracle) {
    for (class, priority, told) in [
        ("IOPRIO_CLASS_RT", 0, "realtime: prio 0"),
        ("IOPRIO_CLASS_BE", 7, "best-effort: prio 7"),
        ("IOPRIO_CLASS_IDLE", 0, "idle"),
    ] {
        let bundle = coracle
            .bundle()
            .set("/process/ioPriority", json!({"class": class, "priority": priority}))
            .sh("ionice -p $$; sh -c 'ionice -p $$'");
        let said = coracle.run(&bundle).succeeds().stdout;
        assert_eq!(said, format!("{told}\n{told}\n"));
    }
}

fn exec_runs_on_the_cpus_that_it_is_told(coracle: &Coracle) {
    if std::thread::available_parallelism().map_or(1, usize::from) < 2 {
        return coracle_tests::skipped("needs two CPUs");
    }
    let allowed = "grep Cpus_allowed_list /proc/self/status";
    let with = |affinity: Value| {
        let bundle = coracle.bundle().set("/process/execCPUAffinity", affinity);
        let bundle = endless(coracle, bundle);
        let told = coracle.call(["exec", bundle.id(), "sh", "-c", allowed]).output();
        // It is not for the first process.
        let first = fs::read_to_string(format!("/proc/{}/status", coracle.pid(bundle.id())));
        let last = Call::new(["nproc"]).output().stdout.trim().parse::<u32>().unwrap() - 1;
        assert!(first.unwrap().contains(&format!("Cpus_allowed_list:\t0-{last}\n")));
        coracle.delete(bundle.id());
        told
    };
    let list = |list: &str| format!("Cpus_allowed_list:\t{list}\n");
    assert_eq!(with(json!({"initial": "0", "final": "1"})).succeeds().stdout, list("1"));
    assert_eq!(with(json!({"final": "0"})).succeeds().stdout, list("0"));
    assert_eq!(with(json!({"initial": "1"})).succeeds().stdout, list("1"));
    let told = with(json!({"final": "4000"})).exits(255);
    told.says("/process/execCPUAffinity/final").says("cpuset");
    let told = with(json!({"initial": "4000"})).exits(255);
    told.says("/process/execCPUAffinity/initial");
}

#[test]
fn cpus_that_only_the_runtime_is_kept_from_are_the_container_s() {
    let coracle = need!(Coracle::as_root());
    need!(program("taskset"));
    let script = "grep Cpus_allowed_list /proc/self/status";
    let bundle = coracle.bundle().sh(script);
    let free = coracle.run(&bundle).succeeds().stdout;
    let bound = ["taskset", "-c", "0"];
    let run = coracle.with_bundle("run", &bundle, &[]).through(bound).output().succeeds();
    assert_eq!(run.stdout, free);
    let bundle = endless(&coracle, bundle);
    let exec = coracle.call(["exec", bundle.id(), "sh", "-c", script]).through(bound);
    assert_eq!(exec.output().succeeds().stdout, free);
    coracle.delete(bundle.id());
}

fn the_memory_policy_shows_in_numa_maps(coracle: &Coracle) {
    if !Path::new("/proc/self/numa_maps").exists() {
        return coracle_tests::skipped("needs a kernel with CONFIG_NUMA");
    }
    for (policy, told) in [
        (json!({"mode": "MPOL_DEFAULT"}), "default"),
        (json!({"mode": "MPOL_BIND", "nodes": "0"}), "bind:0"),
        (
            json!({"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"]}),
            "bind=static:0",
        ),
        (json!({"mode": "MPOL_INTERLEAVE", "nodes": "0"}), "interleave:0"),
        (json!({"mode": "MPOL_WEIGHTED_INTERLEAVE", "nodes": "0"}), "weighted interleave:0"),
        (
            json!({"mode": "MPOL_INTERLEAVE", "nodes": "0", "flags": ["MPOL_F_RELATIVE_NODES"]}),
            "interleave=relative:0",
        ),
        (
            json!({"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_NUMA_BALANCING"]}),
            "bind=balancing:0",
        ),
        (json!({"mode": "MPOL_PREFERRED", "nodes": "0"}), "prefer:0"),
        (json!({"mode": "MPOL_PREFERRED_MANY", "nodes": "0"}), "prefer (many):0"),
        (json!({"mode": "MPOL_LOCAL"}), "local"),
    ] {
        let bundle = coracle
            .bundle()
            .set("/linux/memoryPolicy", policy.clone())
            .sh("grep -c . /proc/self/numa_maps; cat /proc/self/numa_maps");
        let said = coracle.run(&bundle);
        if said.stderr.contains("(EINVAL)") && told != "bind:0" {
            // A mode or flag that this kernel does not have yet.
            said.fails().says("/linux/memoryPolicy");
            continue;
        }
        let said = said.succeeds().stdout;
        assert!(said.contains(&format!(" {told} ")), "{policy}: {said}");
    }
    let policy = json!({"mode": "MPOL_BIND", "nodes": "1023"});
    let bundle = coracle.bundle().set("/linux/memoryPolicy", policy);
    refused(coracle, &bundle, &["/linux/memoryPolicy", "invalid argument"]);
}

fn the_personality_names_the_machine(coracle: &Coracle) {
    let script = "uname -m; cat /proc/self/personality";
    let with = |domain: &str| {
        let bundle = coracle.bundle().set("/linux/personality/domain", domain).sh(script);
        let told = coracle.run(&bundle).succeeds().stdout;
        let bundle = endless(coracle, bundle);
        let exec = coracle.call(["exec", bundle.id(), "sh", "-c", script]).output().succeeds();
        assert_eq!(exec.stdout, told);
        coracle.delete(bundle.id());
        told
    };
    assert!(with("LINUX").ends_with("\n00000000\n"));
    let told = with("LINUX32");
    assert!(told.ends_with("\n00000008\n"), "{told}");
    if cfg!(target_arch = "x86_64") {
        assert!(told.starts_with("i686\n"), "{told}");
    }
}

fn labels_without_their_module_are_refused(coracle: &Coracle) {
    let apparmor = fs::read_to_string("/sys/module/apparmor/parameters/enabled");
    let selinux = fs::read_to_string("/proc/filesystems").unwrap().contains("selinuxfs");
    let context = "system_u:object_r:container_file_t:s0";
    let bundle = endless(coracle, coracle.bundle());
    let exec = |option: &str, label: &str| {
        coracle.call(["exec", option, label, bundle.id(), "true"]).output()
    };
    if apparmor.is_ok_and(|text| text.starts_with('Y')) {
        coracle_tests::skipped("needs a kernel without AppArmor");
    } else {
        let place = "/process/apparmorProfile = \"no-such-profile\"";
        let bundle = coracle.bundle().set("/process/apparmorProfile", "no-such-profile");
        coracle.with_bundle("create", &bundle, &[]).output().fails().says(place).says("AppArmor");
        exec("--apparmor", "no-such-profile").exits(255).says(place).says("AppArmor");
        // What everybody is without AppArmor.
        let bundle = coracle.bundle().set("/process/apparmorProfile", "unconfined").sh("exit 0");
        coracle.run(&bundle).succeeds();
    }
    if selinux {
        coracle_tests::skipped("needs a kernel without SELinux");
    } else {
        for place in ["/process/selinuxLabel", "/linux/mountLabel"] {
            let bundle = coracle.bundle().set(place, context);
            let told = coracle.with_bundle("create", &bundle, &[]).output().fails();
            told.says(&format!("{place} = \"{context}\"")).says("SELinux");
        }
        let place = format!("/process/selinuxLabel = \"{context}\"");
        exec("--process-label", context).exits(255).says(&place).says("SELinux");
    }
    coracle.delete(bundle.id());
    coracle.assert_nothing_left();
}

#[test]
fn clocks_of_a_time_namespace() {
    for coracle in [Coracle::as_root(), Coracle::as_user()] {
        let coracle = need!(coracle);
        let host: f64 = uptime(&fs::read_to_string("/proc/uptime").unwrap());
        let bundle = coracle
            .bundle()
            .set("/linux/namespaces/-", json!({"type": "time"}))
            .set("/linux/timeOffsets/boottime", json!({"secs": 1_000_000, "nanosecs": 5}))
            .set("/linux/timeOffsets/monotonic", json!({"secs": 2_000_000}));
        let script = "cat /proc/uptime; grep . /proc/self/timens_offsets; \
                      readlink /proc/self/ns/time";
        let check = |told: &str| {
            let lines: Vec<&str> = told.lines().collect();
            assert!(uptime(lines[0]) >= host + 1_000_000.0, "{told}");
            let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
            assert_eq!(words(lines[1]), ["monotonic", "2000000", "0"]);
            assert_eq!(words(lines[2]), ["boottime", "1000000", "5"]);
            lines[3].to_owned()
        };
        let bundle = bundle.sh(script);
        check(&coracle.run(&bundle).succeeds().stdout);
        // exec sees the same clocks, before start as well.
        let bundle = bundle.sh("sleep 1000");
        coracle.create(&bundle);
        let exec = || coracle.call(["exec", bundle.id(), "sh", "-c", script]).output().succeeds();
        // An ordinary user may look into the first process only once it is the container's.
        let early = coracle.user().is_none().then(|| check(&exec().stdout));
        coracle.call(["start", bundle.id()]).output().succeeds();
        let late = check(&exec().stdout);
        assert_eq!(early.as_ref().unwrap_or(&late), &late);
        coracle.delete(bundle.id());
        coracle.assert_nothing_left();
    }
}

/// The first number of /proc/uptime.
fn uptime(text: &str) -> f64 {
    text.split(' ').next().unwrap().parse().unwrap()
}

fn a_time_namespace_without_offsets_has_the_host_s_clocks(coracle: &Coracle) {
    let bundle = coracle
        .bundle()
        .set("/linux/namespaces/-", json!({"type": "time"}))
        .sh("readlink /proc/self/ns/time; cat /proc/uptime");
    let told = coracle.run(&bundle).succeeds().stdout;
    let (namespace, clock) = told.split_once('\n').unwrap();
    assert_ne!(namespace, fs::read_link("/proc/self/ns/time").unwrap().to_str().unwrap());
    assert!(uptime(clock) <= uptime(&fs::read_to_string("/proc/uptime").unwrap()));
}

fn clocks_that_cannot_be(coracle: &Coracle) {
    let bundle = coracle
        .bundle()
        .set("/linux/namespaces/-", json!({"type": "time"}))
        .set("/linux/timeOffsets/boottime/secs", -1_000_000_000_000_i64);
    refused(coracle, &bundle, &["/linux/timeOffsets"]);
}

#[test]
fn how_readily_it_is_killed() {
    for coracle in [Coracle::as_root(), Coracle::as_user()] {
        let coracle = need!(coracle);
        let bundle = coracle.bundle().set("/process/oomScoreAdj", 123);
        let bundle = bundle.sh("cat /proc/self/oom_score_adj");
        assert_eq!(coracle.run(&bundle).succeeds().stdout, "123\n");
        let bundle = endless(&coracle, bundle);
        let cat = ["exec", bundle.id(), "cat", "/proc/self/oom_score_adj"];
        assert_eq!(coracle.call(cat).output().succeeds().stdout, "123\n");
        coracle.delete(bundle.id());
    }
}

fn shares_of_cache_without_resctrl_are_refused(coracle: &Coracle) {
    if fs::read_to_string("/proc/self/mountinfo").unwrap().contains(" - resctrl ") {
        return coracle_tests::skipped("needs a machine without resctrl");
    }
    let bundle = coracle.bundle().set("/linux/intelRdt/closID", "gold");
    refused(coracle, &bundle, &["/linux/intelRdt", "no resctrl file system is mounted"]);
}

fn other_platforms_are_kept_and_warned_of_and_a_virtual_machine_is_refused(coracle: &Coracle) {
    let bundle = coracle
        .bundle()
        .set("/windows", json!({"layerFolders": ["C:"]}))
        .set("/zos", json!({}))
        .set("/process/user/username", "Administrator")
        .sh("sleep 1000");
    let told = coracle.create(&bundle);
    for place in ["/windows", "/zos", "/process/user/username"] {
        assert!(told.stderr.contains(&format!("[config.json: {place}]")), "{place}");
    }
    let kept = fs::read_to_string(coracle.state_directory().join(bundle.id()).join("config.json"));
    let kept: Value = kept.unwrap().parse().unwrap();
    assert_eq!(kept["windows"]["layerFolders"][0], "C:");
    coracle.delete(bundle.id());

    let bundle = coracle.bundle().set("/vm", json!({"kernel": {"path": "/boot/vmlinuz"}}));
    refused(coracle, &bundle, &["/vm", "virtual machines"]);
}

coracle_tests::tests! {
    as_root, as_ranged_user, as_single_user =>
        limits_are_raised_by_who_may,
        exec_runs_on_the_cpus_that_it_is_told,
        the_memory_policy_shows_in_numa_maps,
        the_personality_names_the_machine,
        labels_without_their_module_are_refused,
        a_time_namespace_without_offsets_has_the_host_s_clocks,
        clocks_that_cannot_be,
        shares_of_cache_without_resctrl_are_refused,
        other_platforms_are_kept_and_warned_of_and_a_virtual_machine_is_refused;
    as_root =>
        scheduling_that_the_kernel_refuses,
        the_priority_of_input_and_output_is_the_process_group_s;
}
