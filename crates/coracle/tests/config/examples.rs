//! The specification's own examples, and one file with everything.

use std::collections::BTreeSet;
use std::path::Path;

use coracle::config::{Spec, check, to_json, warnings};
use serde_json::Value;

use crate::schema::{Schema, pointers, specification};
use crate::{FULL, full};

#[test]
fn everything_survives_a_round_trip() {
    assert_eq!(String::from_utf8(to_json(&full()).unwrap()).unwrap(), FULL);
    check(&full()).unwrap();
}

#[test]
fn everything_is_really_everything() {
    let Some(specification) = specification() else { return };
    let schema = Schema::read(&specification);
    let value: Value = serde_json::from_str(FULL).unwrap();
    assert_eq!(schema.faults(&value), Vec::<String>::new());
    assert_eq!(schema.unknown(&value), Vec::<String>::new());

    let mut found = BTreeSet::new();
    pointers(&value, "", &mut found);
    let read = |at: &&String| {
        // What is kept without being read, and what only another scheduling policy has.
        let kept = ["/solaris/", "/windows/", "/vm/", "/zos/", "/freebsd/"];
        !kept.iter().any(|kept| at.starts_with(kept)) && *at != "/process/scheduler/priority"
    };
    let known = schema.properties();
    let missing: Vec<_> = known.iter().filter(read).filter(|at| !found.contains(*at)).collect();
    assert_eq!(missing, Vec::<&String>::new());
}

#[test]
fn everything_warns_of_what_is_deprecated_and_for_others() {
    let text = warnings(&full()).join("\n");
    assert_eq!(
        text,
        "prestart hooks are deprecated: use createRuntime [config.json: /hooks/prestart]\n\
         solaris is another platform: ignored [config.json: /solaris]\n\
         windows is another platform: ignored [config.json: /windows]\n\
         zos is another platform: ignored [config.json: /zos]\n\
         freebsd is another platform: ignored [config.json: /freebsd]\n\
         only Windows has this: ignored [config.json: /process/commandLine]\n\
         only Windows has this: ignored [config.json: /process/user/username]\n\
         the kernel has no nice value for this scheduling policy: ignored \
         [config.json: /process/scheduler/nice]\n\
         no flags of a personality are known: ignored [config.json: /linux/personality/flags]\n\
         limits of kernel memory are deprecated: ignored \
         [config.json: /linux/resources/memory/kernel]\n\
         limits of kernel memory are deprecated: ignored \
         [config.json: /linux/resources/memory/kernelTCP]"
    );
}

#[test]
fn good_examples_are_understood() {
    let Some(specification) = specification() else { return };
    let directory = specification.join("schema/test/config/good");
    // They are good by the schema; a container on Linux needs more.
    let no_mount_namespace = Some("/linux/namespaces");
    let old = Some("/ociVersion");
    let expected = [
        ("freebsd-example.json", Some("/hostname")), // without a UTS namespace
        ("freebsd-minimal.json", no_mount_namespace),
        ("linux-netdevice.json", Some("/linux/netDevices")), // without a network namespace
        ("linux-rdma.json", no_mount_namespace),
        ("minimal-for-start.json", no_mount_namespace),
        ("minimal.json", no_mount_namespace),
        ("spec-example.json", old),
        ("zos-example.json", old),
        ("zos-minimal.json", no_mount_namespace),
    ];
    let names: BTreeSet<_> = std::fs::read_dir(&directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(names, expected.iter().map(|(name, _)| (*name).to_owned()).collect());
    for (name, refused) in expected {
        let json = std::fs::read(directory.join(name)).unwrap();
        let mut spec = Spec::parse(&json).unwrap();
        let error = check(&spec).err();
        assert_eq!(error.as_ref().and_then(coracle::Error::pointer), refused, "{name}: {error:?}");
        // Nothing is lost in writing.
        assert_eq!(Spec::parse(&to_json(&spec).unwrap()).unwrap(), spec, "{name}");
        if name == "spec-example.json" {
            spec.oci_version = "1.0.0".into();
            check(&spec).unwrap();
        }
    }
}

#[test]
fn bad_examples_are_refused() {
    let Some(specification) = specification() else { return };
    let directory = specification.join("schema/test/config/bad");
    let pointer = |name: &str| {
        let json = std::fs::read(Path::new(&directory).join(name)).unwrap();
        let error = Spec::parse(&json).and_then(|spec| check(&spec)).unwrap_err();
        error.pointer().map(str::to_owned)
    };
    assert_eq!(pointer("invalid-json.json"), None);
    assert_eq!(pointer("linux-netdevice.json").as_deref(), Some("/linux/netDevices/eth0/name"));
    assert_eq!(
        pointer("linux-rdma.json").as_deref(),
        Some("/linux/resources/rdma/mlx5_1/hcaHandles")
    );
    // What is bad about it is in FreeBSD's part, which is kept unread; a mount namespace it lacks.
    assert_eq!(pointer("freebsd-vnet-disable.json").as_deref(), Some("/linux/namespaces"));
    // It lacks one as well: with it, what it is bad for shows.
    let json = std::fs::read_to_string(directory.join("linux-hugepage.json")).unwrap();
    let json = json.replace("\"linux\": {", "\"linux\": {\"namespaces\": [{\"type\": \"mount\"}],");
    let error = check(&Spec::parse(json.as_bytes()).unwrap()).unwrap_err();
    assert_eq!(error.pointer(), Some("/linux/resources/hugepageLimits/0/pageSize"));
}

/// The list that the table of docs/specification-1.3.md is held against. What is below other
/// platforms' parts is left out.
#[test]
fn the_list_of_fields_is_the_schema_s() {
    let Some(specification) = specification() else { return };
    let schema = Schema::read(&specification);
    let listed = include_str!("../../../../tests/data/fields.txt");
    let others = ["/solaris/", "/windows/", "/vm/", "/zos/", "/freebsd/"];
    let expected = ["config", "features", "state"].into_iter().flat_map(|kind| {
        let fields = schema.properties_of(kind).into_iter();
        let read = fields.filter(|field| !others.iter().any(|other| field.starts_with(other)));
        read.map(move |field| format!("{kind} {field}"))
    });
    assert_eq!(listed.lines().collect::<Vec<_>>(), expected.collect::<Vec<_>>());
}

/// Else what it has nothing against would say nothing.
#[test]
fn the_schema_knows_good_examples_from_bad_ones() {
    let Some(specification) = specification() else { return };
    let schema = Schema::read(&specification);
    for kind in ["config", "features", "state"] {
        for good in [true, false] {
            let name = if good { "good" } else { "bad" };
            let directory = specification.join("schema/test").join(kind).join(name);
            for entry in std::fs::read_dir(directory).unwrap() {
                let path = entry.unwrap().path();
                let value = serde_json::from_slice(&std::fs::read(&path).unwrap());
                let faults = value.map(|value| schema.faults_of(kind, &value));
                let right = faults.as_ref().is_ok_and(Vec::is_empty) == good;
                assert!(right, "{}: {faults:?}", path.display());
            }
        }
    }
}
