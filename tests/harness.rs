//! The harness itself: what the other tests take for granted.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use coracle_tests::{Call, Coracle, Mount, need};

#[test]
fn a_call_keeps_both_streams_and_the_exit_code() {
    let ended = Call::new(["sh", "-c", "cat; echo out; echo err >&2; exit 9"]).output();
    assert_eq!((ended.stdout.as_str(), ended.stderr.as_str()), ("out\n", "err\n"));
    assert_eq!(ended.code, Some(9));
}

#[test]
fn mountinfo_is_understood() {
    let text = "36 35 98:0 /mnt1 /mnt2 rw,noatime shared:4 master:1 - ext3 /dev/root rw,errors=x";
    let mount = &Mount::parse(text)[0];
    assert_eq!((mount.id, mount.parent), (36, 35));
    assert_eq!(mount.propagation, "shared:4 master:1");
    assert_eq!((mount.kind.as_str(), mount.source.as_str()), ("ext3", "/dev/root"));
    assert!(mount.has("noatime") && mount.has("errors=x") && !mount.has("noat"));
}

#[test]
fn leaks_are_found_and_cleared() {
    let coracle = need!(Coracle::as_root());
    let bundle = coracle.bundle().sh("sleep 1000");
    coracle.start(&bundle);
    let found = coracle.leftovers().join("\n");
    for kind in ["state: ", "cgroup: ", "process: "] {
        assert!(found.contains(kind), "{kind} is not in\n{found}");
    }
    let name = coracle.name().to_owned();
    drop(coracle);
    for file in std::fs::read_dir("/proc").unwrap().flatten() {
        let command = std::fs::read(file.path().join("cmdline")).unwrap_or_default();
        assert!(!String::from_utf8_lossy(&command).contains(&name));
    }
}
