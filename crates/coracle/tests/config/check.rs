//! Values that are well-formed and still wrong: what is said, where, and what to do about it.

use coracle::Kind;
use coracle::config::{
    NamespaceKind, Process, Resources, Spec, check, check_process, check_resources, parse,
    template, warnings,
};
use serde_json::Value;

use crate::{FULL, full, inputs, told};

const REFUSED: &str = include_str!("../golden/refused.txt");

/// Sets, or with nothing removes, what a pointer leads to.
fn set(root: &mut Value, pointer: &str, value: &str) {
    let (parent, step) = pointer.rsplit_once('/').unwrap();
    let step = step.replace("~1", "/").replace("~0", "~");
    let value = (!value.is_empty()).then(|| serde_json::from_str(value).unwrap());
    match (root.pointer_mut(parent).expect(pointer), value) {
        (Value::Object(object), Some(value)) => drop(object.insert(step, value)),
        (Value::Object(object), None) => drop(object.remove(&step).unwrap()),
        (Value::Array(list), Some(value)) => match list.get_mut(step.parse::<usize>().unwrap()) {
            Some(element) => *element = value,
            None => list.push(value),
        },
        other => panic!("{pointer}: {other:?}"),
    }
}

/// The file with everything, with one change.
fn changed(pointer: &str, value: &str) -> Spec {
    let mut root = serde_json::from_str(FULL).unwrap();
    set(&mut root, pointer, value);
    Spec::parse(root.to_string().as_bytes()).unwrap()
}

/// `golden/refused.txt`: what to change in the file with everything, to what, and the error.
#[test]
fn what_is_wrong_is_refused_by_name() {
    let mut said = Vec::new();
    for change in inputs(REFUSED) {
        let (pointer, value) = change.split_once(' ').unwrap();
        let value = if value == "(removed)" { "" } else { value };
        let error = check(&changed(pointer, value)).expect_err(change);
        assert_eq!(error.get_kind(), Kind::Config);
        assert!(error.pointer().is_some() && error.advice().is_some(), "{error}");
        said.push(told(change, &error));
    }
    assert_eq!(said.join("\n"), REFUSED);
}

/// Changes after which the file is still good.
const GOOD: &[(&str, &str)] = &[
    ("/process", ""),
    ("/ociVersion", r#""1.0.2-dev""#),
    ("/ociVersion", r#""1.99.0""#),
    ("/root/path", r#""./rootfs""#),
    ("/root/path", r#""../rootfs""#),
    ("/root/path", r#""/var/lib/rootfs""#),
    ("/process/env/0", r#""EMPTY=""#),
    ("/process/env/0", r#""MANY=a=b""#),
    ("/process/args/1", r#""""#),
    ("/process/capabilities/bounding/0", r#""CAP_OF_TOMORROW""#),
    ("/process/rlimits/0/hard", "18446744073709551615"),
    ("/process/scheduler", r#"{"policy": "SCHED_RR", "priority": 99}"#),
    ("/process/scheduler", r#"{"policy": "SCHED_BATCH", "nice": -20}"#),
    ("/process/scheduler/period", ""),
    ("/mounts/0/destination", r#""proc""#),
    ("/mounts/1/options", r#"["remount", "bind", "ro"]"#),
    ("/mounts/0/options", r#"["idmap"]"#),
    ("/linux/namespaces/5/path", r#""/proc/1/ns/user""#),
    ("/linux/uidMappings/1", r#"{"containerID": 65536, "hostID": 5, "size": 1}"#),
    ("/linux/sysctl/kernel.domainname", r#""example.test""#),
    ("/linux/sysctl/net~1ipv4~1ip_forward", r#""0""#),
    ("/linux/sysctl/fs.mqueue.msg_max", r#""100""#),
    ("/linux/devices/0/fileMode", "8630"),
    ("/linux/devices/0/type", r#""u""#),
    ("/linux/netDevices/eth0/name", r#""eth%d""#),
    ("/linux/cgroupsPath", r#""system.slice:engine:name""#),
    ("/linux/cgroupsPath", r#""/a/../b""#),
    ("/linux/intelRdt/closID", r#""/""#),
    ("/linux/memoryPolicy", r#"{"mode": "MPOL_LOCAL"}"#),
    ("/linux/resources/pids/limit", "0"),
    ("/linux/resources/memory/swap", "-1"),
    ("/linux/seccomp/syscalls/3/errnoRet", ""),
    ("/linux/unknown", r#"{"a": [1, 2]}"#),
    ("/unknown", "1e99"),
];

#[test]
fn what_is_unusual_is_not_wrong() {
    for (pointer, value) in GOOD {
        if let Err(error) = check(&changed(pointer, value)) {
            panic!("{pointer}: {error}");
        }
    }
}

#[test]
fn the_size_of_no_terminal_is_ignored() {
    let mut spec = full();
    let process = spec.process.as_mut().unwrap();
    process.terminal = false;
    process.console_size.as_mut().unwrap().width = u64::MAX;
    check(&spec).unwrap();
}

#[test]
fn an_id_mapped_mount_needs_mappings_from_somewhere() {
    let mut spec = template(None);
    spec.mounts[0].options.push("idmap".into());
    let error = check(&spec).unwrap_err();
    assert_eq!(error.pointer(), Some("/mounts/0/uidMappings"));
    check(&changed("/mounts/0/options", r#"["idmap"]"#)).unwrap();
}

#[test]
fn another_runtimes_annotation_names_the_listener() {
    let mut spec = changed("/linux/seccomp/listenerPath", "");
    spec.annotations.insert("run.oci.seccomp.receiver".into(), "/run/agent.sock".into());
    check(&spec).unwrap();
}

#[test]
fn a_joined_user_namespace_may_have_any_ids() {
    let mut spec = full();
    let linux = spec.linux.as_mut().unwrap();
    let user = linux.namespaces.iter_mut().find(|n| n.kind == NamespaceKind::User).unwrap();
    user.path = Some("/proc/1/ns/user".into());
    linux.uid_mappings.clear();
    linux.gid_mappings.clear();
    spec.process.as_mut().unwrap().user.uid = 70000;
    check(&spec).unwrap();
}

#[test]
fn parts_are_checked_by_themselves() {
    let process: Process = parse(br#"{"cwd": "/", "args": []}"#, "process.json").unwrap();
    let error = check_process(&process, "").unwrap_err().in_file("process.json");
    assert_eq!(error.place().unwrap(), "process.json: /args = []");

    let resources: Resources = parse(br#"{"memory": {"limit": -3}}"#, "limits.json").unwrap();
    let error = check_resources(&resources, "/linux/resources").unwrap_err();
    assert_eq!(error.place().unwrap(), "config.json: /linux/resources/memory/limit = -3");
}

#[test]
fn warnings_name_the_place() {
    let warn = |pointer, value| {
        let known = warnings(&full());
        let all = warnings(&changed(pointer, value));
        all.into_iter().filter(|warning| !known.contains(warning)).collect::<Vec<_>>().join("\n")
    };
    assert_eq!(
        warn("/ociVersion", r#""1.4.0""#),
        "version 1.4.0 is newer than 1.3: what it adds is ignored [config.json: /ociVersion]"
    );
    assert_eq!(warn("/ociVersion", r#""1.3.9""#), "");
    assert_eq!(
        warn("/process/capabilities/ambient/1", r#""CAP_OF_TOMORROW""#),
        "CAP_OF_TOMORROW is no known capability: ignored \
         [config.json: /process/capabilities/ambient/1]"
    );
    assert_eq!(
        warn("/mounts/0/destination", r#""proc""#),
        "the relative destination proc is deprecated: taken as /proc \
         [config.json: /mounts/0/destination]"
    );
}
