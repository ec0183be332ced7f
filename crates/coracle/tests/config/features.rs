//! What the runtime says that it can do.

use coracle::config::{self, Spec};
use coracle::features::features;
use serde_json::{Value, json};

use super::full;
use super::schema::{Schema, specification};

#[test]
fn the_schema_has_nothing_against_it() {
    let Some(specification) = specification() else { return };
    // features-linux.md has these, and the schema of 1.3 was not told.
    let newer = ["/linux/memoryPolicy", "/linux/intelRdt/schemata", "/linux/intelRdt/monitoring"];
    let mut faults = Schema::read(&specification).faults_of("features", &features());
    faults.retain(|fault| !newer.iter().any(|newer| fault.starts_with(newer)));
    assert!(faults.is_empty(), "{faults:#?}");
}

/// The strings of a list.
fn names<'a>(features: &'a Value, pointer: &str) -> Vec<&'a str> {
    let list = features.pointer(pointer).and_then(Value::as_array).expect(pointer);
    list.iter().map(|name| name.as_str().unwrap()).collect()
}

/// Reads and checks the full config.json with one value replaced.
fn accepts(pointer: &str, value: Value) {
    let mut spec = serde_json::to_value(full()).unwrap();
    *spec.pointer_mut(pointer).expect(pointer) = value;
    // Only some actions have one.
    spec["linux"]["seccomp"].as_object_mut().unwrap().remove("defaultErrnoRet");
    let parsed = Spec::parse(spec.to_string().as_bytes());
    parsed.and_then(|spec| config::check(&spec)).unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn every_name_that_is_told_is_read() {
    let features = features();
    for version in ["ociVersionMin", "ociVersionMax"] {
        accepts("/ociVersion", features[version].clone());
    }
    for capability in names(&features, "/linux/capabilities") {
        assert!(config::capability_number(capability).is_some(), "{capability}");
    }
    for (from, to) in [
        ("/linux/seccomp/actions", "/linux/seccomp/defaultAction"),
        ("/linux/seccomp/archs", "/linux/seccomp/architectures/0"),
    ] {
        for name in names(&features, from) {
            // It cannot decide about calls that it is not loaded for.
            if name != "SCMP_ACT_NOTIFY" {
                accepts(to, json!(name));
            }
        }
    }
    for operator in names(&features, "/linux/seccomp/operators") {
        accepts(
            "/linux/seccomp/syscalls/0/args",
            json!([{"index": 0, "value": 1, "valueTwo": 1, "op": operator}]),
        );
    }
    for mode in names(&features, "/linux/memoryPolicy/modes") {
        let none = ["MPOL_DEFAULT", "MPOL_LOCAL"].contains(&mode);
        let nodes = if none { Value::Null } else { json!("0") };
        let flags = names(&features, "/linux/memoryPolicy/flags");
        let flags = if none { Vec::new() } else { flags };
        accepts("/linux/memoryPolicy", json!({"mode": mode, "nodes": nodes, "flags": flags}));
    }
}
