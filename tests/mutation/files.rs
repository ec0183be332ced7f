//! The configurations that are changed, each in parts: a system call filter is most of a file, and
//! nothing else in it depends on the filter.

use coracle::Result;
use coracle::cgroup::{Hierarchy, Layout};
use coracle::config::{Spec, check};
use coracle::plan::{self, Host, Options, Plan};
use coracle_tests::{EngineConfig, Value, json};

/// One with everything that the specification has.
const FULL: &str = include_str!("../../crates/coracle/tests/golden/full.json");
/// What `coracle spec` writes.
const DEFAULT: &str = include_str!("../../crates/coracle/tests/golden/template.json");

/// A configuration, and which part of it is changed.
pub(crate) struct Part {
    /// The file's name.
    pub(crate) name: &'static str,
    /// The file without what does not matter to the part.
    pub(crate) config: Value,
    /// Where the part begins, a JSON pointer.
    pub(crate) within: &'static str,
}

/// The parts of all files.
pub(crate) fn parts() -> Vec<Part> {
    let engines = EngineConfig::ALL.iter().map(|config| (config.name, config.text));
    let files = engines.chain([("full", FULL), ("full-cgroup2", FULL), ("default", DEFAULT)]);
    files.flat_map(|(name, text)| parts_of(name, text)).collect()
}

fn parts_of(name: &'static str, text: &str) -> Vec<Part> {
    let text = text.replace("@ROOT@", "/bundle/rootfs").replace("@HOST@", "/host");
    let mut config: Value = text.replace("@NETNS@", "/proc/1/ns/net").parse().unwrap();
    let linux = config["linux"].as_object_mut().unwrap();
    let filter = linux.shift_remove("seccomp").map(|filter| {
        let mut config: Value = DEFAULT.parse().unwrap();
        config["linux"]["seccomp"] = filter;
        Part { name, config, within: "/linux/seccomp" }
    });
    filter.into_iter().chain([Part { name, config: possible(name, config), within: "" }]).collect()
}

/// Takes out of the file with everything what one machine cannot have all of: limits of the other
/// cgroup version, and virtual machines.
fn possible(name: &str, mut config: Value) -> Value {
    let gone: &[&str] = match name {
        "full" => &["unified"],
        "full-cgroup2" => &["network", "memory", "cpu", "blockIO"],
        _ => return config,
    };
    config.as_object_mut().unwrap().shift_remove("vm");
    let resources = config["linux"]["resources"].as_object_mut().unwrap();
    resources.retain(|field, _| !gone.contains(&field.as_str()));
    config
}

/// The file with everything, but for what a machine may lack: an engine's file to fill in. No plan
/// needs these to be there, and every one has tests of its own that know whether they are.
pub(crate) fn runnable_full(name: &'static str) -> EngineConfig {
    let mut config = possible(name, FULL.parse().unwrap());
    let remove = |config: &mut Value, parent: &str, keys: &[&str]| {
        let parent = config.pointer_mut(parent).unwrap().as_object_mut().unwrap();
        for key in keys {
            parent.shift_remove(*key);
        }
    };
    remove(&mut config, "/process", &["apparmorProfile", "selinuxLabel", "scheduler"]);
    remove(&mut config, "/linux", &["mountLabel", "intelRdt", "netDevices", "memoryPolicy"]);
    remove(&mut config, "/linux/resources", &["rdma", "blockIO", "hugepageLimits", "network"]);
    remove(&mut config, "/linux/namespaces/0", &["path"]);
    remove(&mut config, "/linux/seccomp", &["defaultErrnoRet", "listenerPath", "listenerMetadata"]);
    // Their programs would have to be in the root file system, and the container's root's.
    remove(&mut config, "/hooks", &["startContainer", "createContainer"]);
    config["process"]["oomScoreAdj"] = 500.into();
    config["process"]["rlimits"][1] = json!({"type": "RLIMIT_CORE", "soft": 0, "hard": 0});
    config["process"]["cwd"] = "/".into();
    config["root"]["path"] = "@ROOT@".into();
    config["mounts"][1]["source"] = "@HOST@/data".into();
    for (name, hooks) in config["hooks"].as_object_mut().unwrap() {
        for hook in hooks.as_array_mut().unwrap() {
            hook["path"] = format!("@HOST@/{name}").into();
        }
    }
    config["linux"]["timeOffsets"]["monotonic"]["secs"] = 10.into();
    let filter = &mut config["linux"]["seccomp"];
    filter["defaultAction"] = "SCMP_ACT_ALLOW".into();
    filter["flags"] = json!(["SECCOMP_FILTER_FLAG_LOG"]);
    filter["syscalls"].as_array_mut().unwrap().retain(|rule| rule["action"] != "SCMP_ACT_NOTIFY");
    let resources = &mut config["linux"]["resources"];
    if name == "full" {
        let cpu = json!({"shares": 1024, "quota": 500_000, "period": 500_000, "cpus": "0"});
        resources["cpu"] = cpu;
    } else {
        resources["unified"] = json!({"cgroup.max.depth": "5"});
        remove(&mut config, "/linux/resources", &["pids"]);
    }
    EngineConfig { name, text: config.to_string().leak() }
}

/// Reads, checks and plans a configuration.
pub(crate) fn plan(text: &str, host: &Host) -> Result<(Spec, Plan)> {
    let spec = Spec::parse(text.as_bytes())?;
    check(&spec)?;
    let options = Options { id: "id".into(), bundle: "/bundle".into(), ..Options::default() };
    let plan = plan::build(&spec, &options, host)?;
    Ok((spec, plan))
}

/// A machine with every controller there is, each in a hierarchy of its own, or in one.
pub(crate) fn host(name: &str) -> Host {
    let names = [
        "blkio", "cpu", "cpuacct", "cpuset", "devices", "freezer", "hugetlb", "memory", "net_cls",
        "net_prio", "pids", "rdma",
    ];
    let hierarchy = |name: &&str| Hierarchy {
        controllers: vec![(*name).to_owned()],
        mount: format!("/sys/fs/cgroup/{name}").into(),
        root: "/".into(),
    };
    let legacy =
        || Layout::Legacy { hierarchies: names.iter().map(hierarchy).collect(), unified: None };
    Host {
        rootless: name.ends_with("rootless"),
        root: true,
        cgroup_namespace: false,
        cgroups: if name.ends_with("cgroup2") { Layout::Unified } else { legacy() },
        systemd_root: None,
        capabilities: u64::MAX,
        own_cgroups: None,
    }
}
