//! What `events --stats` tells, key by key: each is there, of its type, and what the kernel's own file
//! says; and state.json says where that file is, for those who read it themselves.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use coracle_tests::{
    Bundle, Call, Coracle, Disk, Value, controllers, eventually, has_controller, json, need,
    skipped,
};

/// Where a number comes from.
#[derive(Clone, Copy)]
enum Source {
    /// The only number in a file.
    File(&'static str),
    /// The number behind a name in a file.
    Line(&'static str, &'static str),
    /// The same in microseconds, told in nanoseconds.
    Time(&'static str, &'static str),
    /// The sum of two files: version 1 counts memory and swap together.
    Sum(&'static str, &'static str),
    /// Numbers in a file.
    Numbers(&'static str),
    /// A list such as `0-1`.
    List(&'static str),
    /// This version does not count it: zero, or left out.
    Nothing,
}
use Source::{File, Line, List, Nothing, Numbers, Sum, Time};

/// Every figure of one container: where it is told, the controller that has it, and where version 1
/// and version 2 count it. A limit that the kernel calls `max` is the greatest number.
const FIGURES: [(&str, &str, Source, Source); 43] = [
    ("/cpu/usage/total", "cpuacct", File("cpuacct.usage"), Time("cpu.stat", "usage_usec")),
    ("/cpu/usage/kernel", "cpuacct", File("cpuacct.usage_sys"), Time("cpu.stat", "system_usec")),
    ("/cpu/usage/user", "cpuacct", File("cpuacct.usage_user"), Time("cpu.stat", "user_usec")),
    ("/cpu/usage/percpu", "cpuacct", Numbers("cpuacct.usage_percpu"), Nothing),
    ("/cpu/usage/percpu_kernel", "cpuacct", Numbers("cpuacct.usage_percpu_sys"), Nothing),
    ("/cpu/usage/percpu_user", "cpuacct", Numbers("cpuacct.usage_percpu_user"), Nothing),
    (
        "/cpu/throttling/periods",
        "cpu",
        Line("cpu.stat", "nr_periods"),
        Line("cpu.stat", "nr_periods"),
    ),
    (
        "/cpu/throttling/throttledPeriods",
        "cpu",
        Line("cpu.stat", "nr_throttled"),
        Line("cpu.stat", "nr_throttled"),
    ),
    (
        "/cpu/throttling/throttledTime",
        "cpu",
        Line("cpu.stat", "throttled_time"),
        Time("cpu.stat", "throttled_usec"),
    ),
    ("/cpuset/cpus", "cpuset", List("cpuset.cpus"), List("cpuset.cpus.effective")),
    ("/cpuset/mems", "cpuset", List("cpuset.mems"), List("cpuset.mems.effective")),
    ("/cpuset/cpu_exclusive", "cpuset", File("cpuset.cpu_exclusive"), Nothing),
    ("/cpuset/mem_hardwall", "cpuset", File("cpuset.mem_hardwall"), Nothing),
    ("/cpuset/mem_exclusive", "cpuset", File("cpuset.mem_exclusive"), Nothing),
    ("/cpuset/memory_migrate", "cpuset", File("cpuset.memory_migrate"), Nothing),
    ("/cpuset/memory_spread_page", "cpuset", File("cpuset.memory_spread_page"), Nothing),
    ("/cpuset/memory_spread_slab", "cpuset", File("cpuset.memory_spread_slab"), Nothing),
    ("/cpuset/memory_pressure", "cpuset", File("cpuset.memory_pressure"), Nothing),
    ("/cpuset/sched_load_balance", "cpuset", File("cpuset.sched_load_balance"), Nothing),
    ("/memory/cache", "memory", Line("memory.stat", "cache"), Line("memory.stat", "file")),
    ("/memory/usage/limit", "memory", File("memory.limit_in_bytes"), File("memory.max")),
    ("/memory/usage/usage", "memory", File("memory.usage_in_bytes"), File("memory.current")),
    ("/memory/usage/max", "memory", File("memory.max_usage_in_bytes"), File("memory.peak")),
    ("/memory/usage/failcnt", "memory", File("memory.failcnt"), Line("memory.events", "max")),
    (
        "/memory/swap/limit",
        "memory",
        File("memory.memsw.limit_in_bytes"),
        Sum("memory.max", "memory.swap.max"),
    ),
    (
        "/memory/swap/usage",
        "memory",
        File("memory.memsw.usage_in_bytes"),
        Sum("memory.current", "memory.swap.current"),
    ),
    ("/memory/swap/max", "memory", File("memory.memsw.max_usage_in_bytes"), Nothing),
    (
        "/memory/swap/failcnt",
        "memory",
        File("memory.memsw.failcnt"),
        Line("memory.swap.events", "max"),
    ),
    ("/memory/kernel/limit", "memory", File("memory.kmem.limit_in_bytes"), Nothing),
    ("/memory/kernel/usage", "memory", File("memory.kmem.usage_in_bytes"), Nothing),
    ("/memory/kernel/max", "memory", File("memory.kmem.max_usage_in_bytes"), Nothing),
    ("/memory/kernel/failcnt", "memory", File("memory.kmem.failcnt"), Nothing),
    ("/memory/kernelTCP/limit", "memory", File("memory.kmem.tcp.limit_in_bytes"), Nothing),
    ("/memory/kernelTCP/usage", "memory", File("memory.kmem.tcp.usage_in_bytes"), Nothing),
    ("/memory/kernelTCP/max", "memory", File("memory.kmem.tcp.max_usage_in_bytes"), Nothing),
    ("/memory/kernelTCP/failcnt", "memory", File("memory.kmem.tcp.failcnt"), Nothing),
    ("/pids/current", "pids", File("pids.current"), File("pids.current")),
    ("/pids/limit", "pids", File("pids.max"), File("pids.max")),
    ("/hugetlb/2MB/usage", "hugetlb", Nothing, File("hugetlb.2MB.rsvd.current")),
    ("/hugetlb/2MB/failcnt", "hugetlb", Nothing, Line("hugetlb.2MB.events", "max")),
    ("/cpu/psi/some/total", "pressure", Nothing, Line("cpu.pressure", "some")),
    ("/memory/psi/some/total", "pressure", Nothing, Line("memory.pressure", "some")),
    ("/blkio/psi/some/total", "pressure", Nothing, Line("io.pressure", "some")),
];

/// The directories of a container, by controller, from state.json; `""` is version 2.
fn places(coracle: &Coracle, id: &str) -> BTreeMap<String, PathBuf> {
    let record = coracle.state_directory().join(id).join("state.json");
    let record: Value = fs::read_to_string(record).unwrap().parse().unwrap();
    assert_eq!(record["init_process_pid"], coracle.pid(id));
    let paths = record["cgroup_paths"].as_object().expect("an object");
    paths.iter().map(|(name, path)| (name.clone(), path.as_str().unwrap().into())).collect()
}

fn number(text: &str) -> u64 {
    if text == "max" { u64::MAX } else { text.parse().unwrap_or_else(|_| panic!("{text:?}")) }
}

/// What the kernel says, or nothing where it has no such file.
fn kernel(directory: &Path, from: Source) -> Option<Value> {
    let read = |file: &str| {
        let text = fs::read_to_string(directory.join(file)).ok()?;
        Some(text.trim_end().to_owned())
    };
    let line = |file: &str, name: &str| {
        let text = read(file)?;
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
        // Of pressure, the last word: total=N.
        let word = line.rsplit([' ', '=']).next()?;
        Some(number(word))
    };
    Some(match from {
        File(file) => number(&read(file)?).into(),
        Line(file, name) => line(file, name)?.into(),
        Time(file, name) => (line(file, name)? * 1000).into(),
        Sum(one, other) => number(&read(one)?).saturating_add(number(&read(other)?)).into(),
        Numbers(file) => read(file)?.split_whitespace().map(number).collect(),
        List(file) => {
            let ends = |range: &str| {
                let (first, last) = range.split_once('-').unwrap_or((range, range));
                number(first)..=number(last)
            };
            read(file)?.split(',').flat_map(ends).collect()
        }
        Nothing => return None,
    })
}

/// The figures, which the command tells.
#[track_caller]
fn told(coracle: &Coracle, id: &str) -> Value {
    let told = coracle.call(["events", "--stats", id]).output().succeeds();
    assert_eq!(told.stderr, "", "go-runc reads both");
    let event: Value = told.stdout.parse().expect("JSON");
    let keys: Vec<_> = event.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["type", "id", "data"]);
    assert_eq!((&event["type"], &event["id"]), (&json!("stats"), &json!(id)));
    event["data"].clone()
}

/// A container that has used some of everything and now stands still, and its files with it.
fn still(coracle: &Coracle, disk: Option<&Disk>) -> Bundle {
    // Once, on a busy machine, none of the writes was counted. A kernel without memory at hand for a cgroup's
    // counters counts the first writes for the parent (bio_associate_blkg, 6.18); that it was this is a guess.
    let script = "write() { [ ! -d /disk ] || \
                  dd if=/dev/zero of=/disk/it bs=64k count=16 oflag=direct 2> /dev/null || exit; }; \
                  write; timeout 1 sh -c 'while :; do :; done'; write; \
                  sleep 1000 & echo ready; wait";
    let mut bundle = coracle.bundle().sh(script).set("/root/readonly", false).limited(&json!({
        "memory": {"limit": 64 << 20, "swap": 96 << 20},
        "cpu": {"quota": 30_000, "period": 100_000, "cpus": "0"},
        "pids": {"limit": 20},
    }));
    if let Some(disk) = disk {
        let mount = json!({
            "destination": "/disk", "type": "bind", "source": disk.path(), "options": ["rbind"],
        });
        bundle = bundle.set("/mounts/-", mount);
    }
    let started = coracle.start(&bundle);
    eventually("it has used some", || started.stdout_by_now() == "ready\n");
    coracle.call(["pause", bundle.id()]).output().succeeds();
    bundle
}

fn each_figure_is_the_kernel_s(coracle: &Coracle) {
    if ["memory", "cpu", "cpuset", "pids"].iter().any(|name| !has_controller(name)) {
        return skipped("needs the controllers of memory, cpu, cpuset and pids");
    }
    let bundle = still(coracle, None);
    let id = bundle.id();
    let places = places(coracle, id);
    let mut compared = BTreeSet::new();
    for (pointer, controller, legacy, unified) in FIGURES {
        let (directory, from) = match (places.get(controller), places.get("")) {
            (Some(directory), _) => (directory, legacy),
            (None, Some(directory)) => (directory, unified),
            (None, None) => continue,
        };
        // Beside version 1, the version 2 tree has what that cannot tell only.
        eventually(pointer, || {
            let before = kernel(directory, from);
            let stats = told(coracle, id);
            let value = stats.pointer(pointer);
            if kernel(directory, from) != before {
                return false;
            }
            match (&before, value) {
                (Some(expected), Some(value)) => {
                    // Without a limit of tasks, the key is left out.
                    assert_eq!(value, expected, "{pointer}");
                    compared.insert(pointer);
                }
                (Some(expected), None) => assert!(
                    *expected == json!(0) || *expected == json!([]),
                    "{pointer} is left out, and not {expected}: {stats}"
                ),
                (None, value) => {
                    let nothing = value.is_none_or(|value| *value == json!(0));
                    assert!(nothing, "{pointer}: the kernel has none: {stats}");
                }
            }
            true
        });
    }
    for pointer in [
        "/cpu/usage/total",
        "/cpu/usage/user",
        "/cpu/throttling/periods",
        "/cpuset/cpus",
        "/memory/usage/limit",
        "/memory/usage/usage",
        "/memory/swap/limit",
        "/pids/current",
        "/pids/limit",
    ] {
        assert!(compared.contains(pointer), "{pointer} was not compared: {compared:?}");
    }
    every_line_of_memory(&told(coracle, id), places.get("memory").or(places.get("")).unwrap());
    coracle.delete(id);
    coracle.assert_nothing_left();
}

/// `raw` is memory.stat, name for name; those that stand still are compared.
fn every_line_of_memory(stats: &Value, directory: &Path) {
    let text = fs::read_to_string(directory.join("memory.stat")).unwrap();
    let lines: BTreeMap<&str, u64> = text
        .lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(name, value)| (name, number(value)))
        .collect();
    let raw = stats["memory"]["raw"].as_object().unwrap();
    assert!(raw.keys().map(String::as_str).eq(lines.keys().copied()), "{raw:?}");
    for name in ["pgfault", "pgmajfault"] {
        assert_eq!(raw[name], lines[name], "{name}");
    }
}

/// What has no number of its own in a file, by its type.
fn every_key_has_its_type(coracle: &Coracle) {
    let bundle = coracle.bundle().sh("sleep 1000");
    coracle.start(&bundle);
    let stats = told(coracle, bundle.id());
    let keys: Vec<&String> = stats.as_object().unwrap().keys().collect();
    let expected =
        ["cpu", "cpuset", "memory", "pids", "blkio", "hugetlb", "intel_rdt", "network_interfaces"];
    assert_eq!(keys, expected);
    for pointer in ["/cpu/usage", "/cpu/throttling", "/memory/usage", "/memory/swap"] {
        assert!(stats.pointer(pointer).unwrap().is_object(), "{pointer}");
    }
    for (pointer, ..) in FIGURES {
        let lists = ["percpu", "/cpus", "/mems"];
        match stats.pointer(pointer) {
            Some(Value::Array(items)) => {
                assert!(lists.iter().any(|list| pointer.contains(list)), "{pointer}");
                assert!(items.iter().all(Value::is_u64), "{pointer}: {items:?}");
            }
            Some(value) => assert!(value.is_u64(), "{pointer}: {value}"),
            None => {}
        }
    }
    assert!(stats["cpuset"]["sched_relax_domain_level"].is_i64());
    assert!(stats["intel_rdt"].is_object() && stats["hugetlb"].is_object());
    assert!(stats["network_interfaces"].is_null());
    for resource in ["cpu", "memory", "blkio"] {
        let Some(psi) = stats[resource].get("psi") else { continue };
        for (kind, time) in [("some", "avg10"), ("some", "avg60"), ("full", "avg300")] {
            assert!(psi[kind][time].is_f64(), "{resource} {kind} {time}: {psi}");
        }
        assert!(psi["some"]["total"].is_u64() && psi["full"]["total"].is_u64(), "{psi}");
    }
    for page in stats["hugetlb"].as_object().unwrap().values() {
        assert!(page["failcnt"].is_u64(), "{page}");
    }
    coracle.delete(bundle.id());
}

/// The tables of block devices, which take a disk that was written to.
#[test]
fn what_was_written_to_a_disk_is_told() {
    let coracle = need!(Coracle::as_root());
    if !has_controller("blkio") && !has_controller("io") || !has_controller("memory") {
        return skipped("needs the controllers of memory and of block devices");
    }
    let disk = need!(Disk::new());
    let bundle = still(&coracle, Some(&disk));
    let stats = told(&coracle, bundle.id());
    let (major, minor) = disk.numbers();
    let count = |table: &str, op: &str| {
        let entries = stats["blkio"][table].as_array().unwrap_or_else(|| panic!("{stats}"));
        let mut entries = entries.iter().filter(|entry| entry["op"] == op);
        let of_disk = |entry: &&Value| {
            entry.get("major").map_or(0, |it| it.as_u64().unwrap()) == major
                && entry.get("minor").map_or(0, |it| it.as_u64().unwrap()) == minor
        };
        entries.find(of_disk).unwrap_or_else(|| panic!("{stats}"))["value"].as_u64().unwrap()
    };
    assert!(count("ioServiceBytesRecursive", "Write") >= 1 << 20, "{stats}");
    assert!(count("ioServicedRecursive", "Write") >= 16, "{stats}");
    coracle.delete(bundle.id());
    coracle.assert_nothing_left();
}

/// Where other programs look, such as cAdvisor and those that speak for docker.
fn the_cgroup_is_where_the_record_says(coracle: &Coracle) {
    let bundle = coracle.bundle().sh("sleep 1000").set("/linux/resources/pids/limit", 20);
    let id = bundle.id();
    coracle.start(&bundle);
    let pid = coracle.pid(id);
    let places = places(coracle, id);
    let in_kernel: BTreeSet<PathBuf> =
        controllers(pid).into_iter().map(|(_, directory)| directory).collect();
    // A private view has its own mount of what is elsewhere on the machine.
    let seen = |path: &Path| {
        let below = path.strip_prefix("/sys/fs/cgroup").unwrap();
        let hybrid = Path::new("/sys/fs/cgroup/unified").join(below);
        if path.exists() { path.to_owned() } else { hybrid }
    };
    assert!(!places.is_empty());
    for (controller, path) in &places {
        let path = seen(path);
        assert!(
            in_kernel.contains(&path),
            "{controller}: {} is none of {in_kernel:?}",
            path.display()
        );
        let procs = fs::read_to_string(path.join("cgroup.procs")).unwrap();
        assert!(procs.lines().any(|line| line == pid.to_string()), "{controller}: {procs}");
    }
    for (controller, file) in
        [("memory", "memory.usage_in_bytes"), ("cpuacct", "cpuacct.usage"), ("pids", "pids.max")]
    {
        if let Some(path) = places.get(controller) {
            assert!(number(fs::read_to_string(path.join(file)).unwrap().trim_end()) > 0, "{file}");
        }
    }
    if places.len() == 1 && has_controller("memory") {
        let path = seen(&places[""]);
        let files: &[&str] = if path.join("memory.current").exists() {
            &["memory.current", "pids.max"]
        } else {
            &[]
        };
        assert!(path.join("cpu.stat").exists());
        for file in files {
            assert!(number(fs::read_to_string(path.join(file)).unwrap().trim_end()) > 0, "{file}");
        }
    }
    coracle.delete(id);
    coracle.assert_nothing_left();
}

/// Every pointer in a value, but what is below `raw`, which is the kernel's.
fn pointers(value: &Value, at: &str, found: &mut BTreeMap<String, String>) {
    let kind = match value {
        Value::Object(fields) if !at.ends_with("/raw") => {
            for (key, value) in fields {
                pointers(value, &format!("{at}/{key}"), found);
            }
            "object"
        }
        Value::Object(_) => "object",
        Value::Array(_) => "array",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Bool(_) => "bool",
        Value::Null => "null",
    };
    found.insert(at.to_owned(), kind.to_owned());
}

/// runc itself, where it is installed: no key of its is missing, nor of another type; and of a
/// container that stands still it tells the same.
#[test]
fn runc_tells_the_same() {
    let coracle = need!(Coracle::as_root());
    if !has_controller("memory") || !fs::exists("/usr/sbin/runc").unwrap() {
        return skipped("needs the memory controller, and runc");
    }
    let bundle = still(&coracle, None);
    let ours = told(&coracle, bundle.id());
    coracle.delete(bundle.id());

    let root = coracle.path().join("runc");
    let runc = |words: &[&str]| {
        let call = Call::new(["/usr/sbin/runc", "--root"]).args([&root]).args(words);
        call.env("CORACLE_TEST", coracle.name())
    };
    let id = format!("{}-runc", bundle.id());
    let bundle = bundle.set("/linux/cgroupsPath", format!("/{id}"));
    let directory = bundle.path().to_str().unwrap();
    let started = runc(&["run", "--detach", "--bundle", directory, &id]).output();
    if started.code != Some(0) {
        return skipped(&format!("runc cannot run here: {}", started.stderr.trim()));
    }
    eventually("it has used some", || started.stdout_by_now() == "ready\n");
    runc(&["pause", &id]).output().succeeds();
    let theirs = runc(&["events", "--stats", &id]).output().succeeds().stdout;
    runc(&["delete", "--force", &id]).output().succeeds();
    let theirs: Value = theirs.parse().unwrap();
    let theirs = theirs["data"].clone();

    let (mut own, mut other) = (BTreeMap::new(), BTreeMap::new());
    pointers(&ours, "", &mut own);
    pointers(&theirs, "", &mut other);
    // Left out where they are zero, as every number and every table of the moment may be.
    let moments =
        ["/cpu/throttling/", "/memory/cache", "/memory/kernel", "/blkio/", "/usage", "/max"];
    let missing: Vec<_> = other
        .iter()
        .filter(|(pointer, kind)| own.get(*pointer) != Some(kind))
        .filter(|(pointer, _)| {
            own.contains_key(*pointer) || !moments.iter().any(|part| pointer.contains(part))
        })
        .collect();
    assert!(missing.is_empty(), "runc alone has {missing:?}\nours: {ours}\nruncs: {theirs}");
    // On version 2, it says nothing of processors.
    let cpus = if theirs["cpuset"].get("cpus").is_some() { "/cpuset" } else { "/pids" };
    for pointer in ["/pids", cpus, "/memory/usage/limit", "/memory/swap/limit"] {
        assert_eq!(ours.pointer(pointer), theirs.pointer(pointer), "{pointer}");
    }
}

coracle_tests::tests! {
    as_root, as_delegated_user => each_figure_is_the_kernel_s;
    as_root, on_cgroup2, as_delegated_user, as_delegated_user_on_cgroup2 =>
        every_key_has_its_type;
    as_root, as_delegated_user => the_cgroup_is_where_the_record_says;
}
