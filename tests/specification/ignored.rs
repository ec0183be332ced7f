//! Whatever config.json says has an effect that can be seen before anything is done: another plan,
//! as `coracle plan` prints it, or a warning.

use std::collections::BTreeSet;

use coracle::cgroup::{Hierarchy, Layout};
use coracle::config::{self, Spec};
use coracle::plan::{self, Host, Options};
use coracle_tests::{Value, json};

use crate::{fields, table};

/// A config.json with every field that the specification has.
const FULL: &str = include_str!("../../crates/coracle/tests/golden/full.json");

/// The plan of a configuration and all warnings about it, or why there is none.
fn outcome(config: &Value, cgroups: &Layout) -> Result<String, String> {
    let host = Host {
        rootless: false,
        root: true,
        cgroup_namespace: false,
        cgroups: cgroups.clone(),
        capabilities: u64::MAX,
        own_cgroups: None,
        systemd_root: None,
    };
    let options = Options { id: "ID".into(), bundle: "/bundle".into(), ..Options::default() };
    let spec = Spec::parse(config.to_string().as_bytes());
    let plan = spec.and_then(|spec| {
        config::check(&spec)?;
        plan::build(&spec, &options, &host)
    });
    plan.map(|plan| format!("{plan}\n{}", plan.warnings.join("\n"))).map_err(|e| e.to_string())
}

/// A machine with every controller in a hierarchy of version 1.
fn version_1() -> Layout {
    let names = [
        "blkio", "cpu", "cpuset", "devices", "freezer", "hugetlb", "memory", "net_cls", "net_prio",
        "pids", "rdma",
    ];
    let hierarchies = names.map(|name| Hierarchy {
        controllers: vec![name.to_owned()],
        mount: format!("/sys/fs/cgroup/{name}").into(),
        root: "/".into(),
    });
    Layout::Legacy { hierarchies: hierarchies.into(), unified: None }
}

/// The full configuration without these fields.
fn full_without(fields: &[&str]) -> Value {
    let mut config: Value = serde_json::from_str(FULL).unwrap();
    for field in fields {
        let (parent, name) = field.rsplit_once('/').unwrap();
        let parent = config.pointer_mut(parent).unwrap().as_object_mut().unwrap();
        parent.remove(name).expect(field);
    }
    config
}

/// What is tried: a configuration that can be carried out, and for which machine.
fn good() -> Vec<(Value, Layout)> {
    // Each version of cgroups has limits that the other cannot have.
    let legacy = full_without(&["/vm", "/linux/resources/unified"]);
    let unified = full_without(&[
        "/vm",
        "/linux/resources/memory/swappiness",
        "/linux/resources/memory/useHierarchy",
        "/linux/resources/memory/disableOOMKiller",
        "/linux/resources/cpu/realtimePeriod",
        "/linux/resources/cpu/realtimeRuntime",
        "/linux/resources/blockIO/leafWeight",
        "/linux/resources/blockIO/weightDevice",
        "/linux/resources/network",
    ]);
    let mut shared_time = legacy.clone();
    shared_time["process"]["scheduler"] = json!({"policy": "SCHED_OTHER", "nice": 5});
    // What is permitted can be another capability only if it is not effective.
    shared_time["process"]["capabilities"]["effective"].as_array_mut().unwrap().pop();
    let mut real_time = legacy.clone();
    real_time["process"]["scheduler"] = json!({"policy": "SCHED_RR", "priority": 10});
    // A label is for new file systems, and a type is free to choose where it is not there yet.
    let new = json!({"destination": "/tmp", "type": "tmpfs", "source": "scratch"});
    real_time["mounts"].as_array_mut().unwrap().push(new);
    real_time["linux"]["namespaces"].as_array_mut().unwrap().pop();
    real_time["linux"].as_object_mut().unwrap().remove("timeOffsets");
    vec![
        (legacy, version_1()),
        (unified, Layout::Unified),
        (shared_time, version_1()),
        (real_time, version_1()),
    ]
}

/// Other good values of fields that not any text or number is good for.
const OTHERS: [(&str, &str); 23] = [
    ("/linux/devices/*/type", "b"),
    ("/linux/memoryPolicy/flags", "MPOL_F_RELATIVE_NODES"),
    ("/linux/memoryPolicy/mode", "MPOL_BIND"),
    ("/linux/memoryPolicy/nodes", "1"),
    ("/linux/namespaces/*/type", "time"),
    ("/linux/personality/domain", "LINUX"),
    ("/linux/resources/devices/*/access", "m"),
    ("/linux/resources/devices/*/type", "b"),
    ("/linux/resources/hugepageLimits/*/pageSize", "1GB"),
    ("/linux/rootfsPropagation", "private"),
    ("/linux/seccomp/architectures", "SCMP_ARCH_AARCH64"),
    ("/linux/seccomp/defaultAction", "SCMP_ACT_TRACE"),
    ("/linux/seccomp/flags", "SECCOMP_FILTER_FLAG_SPEC_ALLOW"),
    ("/linux/seccomp/syscalls/*/action", "SCMP_ACT_LOG"),
    ("/linux/seccomp/syscalls/*/args/*/op", "SCMP_CMP_GT"),
    ("/mounts/*/options", "noexec"),
    ("/ociVersion", "1.4.0"),
    ("/process/ioPriority/class", "IOPRIO_CLASS_IDLE"),
    ("/process/rlimits/*/type", "RLIMIT_STACK"),
    ("/process/scheduler/flags", "SCHED_FLAG_DL_OVERRUN"),
    ("/process/scheduler/policy", "SCHED_BATCH"),
    ("/process/scheduler/policy", "SCHED_FIFO"),
    ("/process/capabilities/bounding", "CAP_KILL"),
];

/// What is not in the plan, and why, with the test that shows the effect.
const ELSEWHERE: [(&str, &str); 6] = [
    // Kept, and shown by `state`.
    ("/annotations", "lifecycle::from_created_to_running_to_stopped_and_away"),
    // Of a bind mount only, where "the type is a dummy" (config.md, Mounts).
    // For `exec` alone.
    ("/process/execCPUAffinity/final", "process::exec_runs_on_the_cpus_that_it_is_told"),
    ("/process/execCPUAffinity/initial", "process::exec_runs_on_the_cpus_that_it_is_told"),
    // Where a listener is told once the filter is in place.
    ("/linux/seccomp/listenerMetadata", "seccomp::the_listener_is_told_by_start"),
    ("/linux/seccomp/listenerPath", "seccomp::the_listener_is_told_by_start"),
    // Refused with all that it has.
    ("/vm", "process::other_platforms_are_kept_and_warned_of_and_a_virtual_machine_is_refused"),
];

/// Other values of a field of this value.
fn others(value: &Value) -> Vec<Value> {
    match value {
        Value::Bool(value) => vec![json!(!value)],
        Value::Number(number) => match (number.as_u64(), number.as_i64()) {
            (Some(n), _) => vec![json!(n.wrapping_add(1)), json!(n.wrapping_sub(1)), json!(n / 2)],
            (_, Some(n)) => vec![json!(n + 1), json!(n - 1)],
            _ => Vec::new(),
        },
        Value::String(text) => {
            vec![json!(format!("{text}1")), json!(format!("{text}/x"))]
        }
        _ => Vec::new(),
    }
}

/// The pointers of all values that are no arrays and no objects.
fn leaves(value: &Value, at: &str, all: &mut Vec<String>) {
    let below: Vec<(String, &Value)> = match value {
        Value::Object(object) => object
            .iter()
            .map(|(key, value)| (key.replace('~', "~0").replace('/', "~1"), value))
            .collect(),
        Value::Array(list) => {
            list.iter().enumerate().map(|(index, value)| (index.to_string(), value)).collect()
        }
        _ => return all.push(at.to_owned()),
    };
    for (key, value) in below {
        leaves(value, &format!("{at}/{key}"), all);
    }
}

/// The field that a pointer leads into, as the list of fields has it.
fn field_of(pointer: &str) -> &'static str {
    let parts: Vec<&str> = pointer.split('/').collect();
    let is = |field: &&str| {
        let field: Vec<&str> = field.split('/').collect();
        field.len() <= parts.len()
            && field.iter().zip(&parts).all(|(field, part)| *field == "*" || field == part)
    };
    // The last one goes the deepest.
    fields("config").filter(is).max_by_key(|field| field.len()).expect(pointer)
}

/// Whether a warning is about this value or what it is in.
fn warned_of(text: &str, pointer: &str) -> bool {
    let mut place = pointer;
    while !place.is_empty() {
        if text.contains(&format!("[config.json: {place}]")) {
            return true;
        }
        place = place.rsplit_once('/').map_or("", |(parent, _)| parent);
    }
    false
}

#[test]
fn no_field_is_ignored_in_silence() {
    let mut heard = BTreeSet::new();
    for (config, cgroups) in good() {
        let before = outcome(&config, &cgroups).unwrap_or_else(|error| panic!("{error}"));
        let mut pointers = Vec::new();
        leaves(&config, "", &mut pointers);
        for pointer in pointers {
            let field = field_of(&pointer);
            if heard.contains(field) {
                continue;
            }
            let known = OTHERS.iter().filter(|(of, _)| *of == field).map(|(_, value)| json!(value));
            let value = config.pointer(&pointer).unwrap();
            let changes = known.chain(others(value)).any(|other| {
                let mut config = config.clone();
                *config.pointer_mut(&pointer).unwrap() = other;
                outcome(&config, &cgroups).is_ok_and(|after| after != before)
            });
            if changes || warned_of(&before, &pointer) {
                heard.insert(field);
            }
        }
    }
    let has_fields = |of: &str| fields("config").any(|field| field.starts_with(&format!("{of}/")));
    let leaves = fields("config").filter(|field| !has_fields(field));
    let elsewhere = |field: &str| ELSEWHERE.iter().any(|(of, _)| *of == field);
    let silent: Vec<_> = leaves.filter(|field| heard.contains(field) == elsewhere(field)).collect();
    assert!(silent.is_empty(), "ignored, or heard and named in ELSEWHERE: {silent:#?}");
    for (_, test) in ELSEWHERE {
        table::exists(test).unwrap();
    }
}
