//! Network devices go into the container as they are, and come back from one that is not made.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::format_push_string)]

mod held;

use coracle_tests::{Bundle, Call, Coracle, Outcome, json, need};
use held::{Held, joining, look_through, mapped, new};

/// The runtime in a network of its own, with these virtual devices, each of which has a peer.
fn host(devices: &[&str]) -> Held {
    let held = Held::by_root(&["--net"]);
    for device in devices {
        held.run(&[
            "ip",
            "link",
            "add",
            "name",
            device,
            "type",
            "veth",
            "peer",
            "name",
            &format!("{device}p"),
        ]);
        held.run(&["ip", "link", "set", &format!("{device}p"), "up"]);
    }
    held
}

/// A command of the runtime, there.
fn there(host: &Held, call: Call) -> Call {
    call.through(["nsenter", "--net", "--target", &host.pid().to_string()])
}

fn run(coracle: &Coracle, host: &Held, bundle: &Bundle) -> Outcome {
    there(host, coracle.with_bundle("run", bundle, &[])).output()
}

/// What `ip addr` says of a device, without numbers that are the kernel's.
fn described(host: &Held, device: &str) -> String {
    let told = host.run(&["ip", "-o", "addr", "show", "dev", device]);
    told.lines().filter_map(|line| Some(line.split_once(' ')?.1.to_owned() + "\n")).collect()
}

#[test]
fn a_device_keeps_what_it_is() {
    let coracle = need!(Coracle::as_root());
    let host = host(&["dev0"]);
    host.run(&["ip", "link", "set", "dev0", "mtu", "1400", "address", "02:00:00:00:00:07"]);
    host.run(&["ip", "link", "set", "dev0", "up"]);
    for address in [
        &["10.9.8.7/24", "broadcast", "10.9.8.255", "label", "dev0:a"][..],
        &["10.1.1.1", "peer", "10.1.1.2/32"],
        &["2001:db8::7/64"],
        &["10.2.2.2/24", "scope", "link"],
        &["10.3.3.3/24", "valid_lft", "1000", "preferred_lft", "1000"],
    ] {
        host.run(&[&["ip", "addr", "add", "dev", "dev0"], address].concat());
    }
    let script = "ip -o addr show dev inside0; ip link show dev inside0; ip -o link | wc -l";
    let bundle = coracle.bundle().set("/linux/netDevices", json!({"dev0": {"name": "inside0"}}));
    let told = run(&coracle, &host, &bundle.sh(script)).succeeds().stdout;
    for kept in [
        "inet 10.9.8.7/24 brd 10.9.8.255 scope global inside0:a",
        "inet 10.1.1.1 peer 10.1.1.2/32 scope global inside0",
        "inet6 2001:db8::7/64 scope global",
        "mtu 1400",
        "02:00:00:00:00:07",
        ",UP",
    ] {
        assert!(told.contains(kept), "{kept}: {told}");
    }
    assert!(!told.contains("10.2.2.2") && !told.contains("10.3.3.3"), "{told}");
    assert!(told.ends_with("\n2\n"), "beside lo: {told}");
    let tentative =
        told.lines().find(|line| line.contains("scope global") && line.contains("tent"));
    assert_eq!(tentative, None, "it can be used at once: {told}");
    // It ends with the namespace.
    assert!(!host.run(&["ip", "-o", "link"]).contains("dev0@"));
    coracle.assert_nothing_left();
}

#[test]
fn without_a_name_it_keeps_its_own_and_goes_up() {
    for on_the_way in [false, true] {
        let coracle = need!(Coracle::as_root());
        let host = host(&["dev0"]);
        let mut bundle = coracle.bundle().set("/linux/netDevices", json!({"dev0": {}}));
        if on_the_way {
            // createContainer hooks see it.
            let hook = json!({"path": "/bin/sh", "args": ["sh", "-c", "ip link show dev0"]});
            bundle = bundle.set("/hooks/createContainer/-", hook);
        }
        let told = run(&coracle, &host, &bundle.sh("ip -o link show dev0")).succeeds().stdout;
        assert!(told.contains("dev0@") && told.contains(",UP"), "{told}");
        coracle.assert_nothing_left();
    }
}

#[test]
fn the_kernel_numbers_by_a_template() {
    let coracle = need!(Coracle::as_root());
    let host = host(&["a", "b", "c"]);
    let joined = Held::by_root(&["--net"]);
    joined.run(&["ip", "link", "add", "eth1", "type", "veth", "peer", "name", "b"]);
    let devices = json!({"a": {"name": "eth%d"}, "b": {"name": "eth%d"}, "c": {"name": "eth%d"}});
    let bundle = joining(coracle.bundle(), "network", &joined.path("network"))
        .set("/linux/netDevices", devices)
        .sh("ls /sys/class/net");
    let told = run(&coracle, &host, &bundle).succeeds().stdout;
    assert_eq!(told, "b\neth0\neth1\neth2\neth3\nlo\n");
    coracle.assert_nothing_left();
}

#[test]
fn a_name_that_is_taken_is_refused_before_anything_moves() {
    let coracle = need!(Coracle::as_root());
    let host = host(&["a", "b"]);
    host.run(&["ip", "addr", "add", "10.0.0.1/24", "dev", "a"]);
    let before = described(&host, "a");
    let joined = Held::by_root(&["--net"]);
    joined.run(&["ip", "link", "add", "taken", "type", "veth", "peer", "name", "other"]);
    let base = || joining(coracle.bundle(), "network", &joined.path("network")).sh("exit 0");
    for (devices, place) in [
        (json!({"a": {}, "b": {"name": "taken"}}), "/linux/netDevices/b/name"),
        (json!({"a": {}, "b": {"name": "lo"}}), "/linux/netDevices/b/name"),
        (json!({"a": {}, "not-there": {}}), "/linux/netDevices/not-there"),
    ] {
        let bundle = base().set("/linux/netDevices", devices);
        let told = run(&coracle, &host, &bundle).fails();
        assert!(told.stderr.contains(place), "{told:?}");
        assert_eq!(described(&host, "a"), before);
        coracle.assert_nothing_left();
    }
}

#[test]
fn what_cannot_be_moved_is_told_and_the_rest_comes_back() {
    let coracle = need!(Coracle::as_root());
    let host = host(&["a"]);
    host.run(&["ip", "addr", "add", "10.0.0.1/24", "dev", "a"]);
    let before = described(&host, "a");
    let bundle =
        coracle.bundle().set("/linux/netDevices", json!({"a": {"name": "x"}, "lo": {"name": "y"}}));
    let told = run(&coracle, &host, &bundle.sh("exit 0")).fails();
    assert!(told.stderr.contains("/linux/netDevices/lo"), "{told:?}");
    assert_eq!(described(&host, "a"), before);
    coracle.assert_nothing_left();
}

#[test]
fn a_start_that_fails_gives_them_back() {
    let coracle = need!(Coracle::as_root());
    let host = host(&["up0", "down0"]);
    host.run(&["ip", "addr", "add", "2001:db8::1/64", "dev", "up0", "nodad"]);
    host.run(&["ip", "addr", "add", "10.0.0.1/24", "dev", "up0", "label", "up0:x"]);
    host.run(&["ip", "addr", "add", "10.0.0.2/24", "dev", "down0"]);
    host.run(&["ip", "link", "set", "up0", "up"]);
    let before = [described(&host, "up0"), described(&host, "down0")];
    let settled = || {
        // Link-local addresses come and go with a state of their own.
        ["up0", "down0"].map(|device| global(&described(&host, device)))
    };
    let devices = json!({"up0": {"name": "eth0"}, "down0": {}});
    let failing = json!({"path": "/bin/false"});
    let base = || coracle.bundle().set("/linux/netDevices", devices.clone());
    let joined = Held::by_root(&["--net"]);
    for bundle in [
        base().args(["/no/such/program"]),
        base().set("/hooks/createRuntime/-", failing.clone()).sh("exit 0"),
        base().set("/hooks/createContainer/-", failing.clone()).sh("exit 0"),
        base()
            .set("/process/user/uid", 0)
            .set("/linux/sysctl", json!({"net.none": "1"}))
            .sh("exit 0"),
        joining(base(), "network", &joined.path("network")).args(["/no/such/program"]),
    ] {
        for command in ["run", "create"] {
            there(&host, coracle.with_bundle(command, &bundle, &[])).output().fails();
            assert_eq!(settled(), before.each_ref().map(|told| global(told)));
            coracle.assert_nothing_left();
        }
    }
}

/// The lines of addresses that are global.
fn global(described: &str) -> String {
    let lines = described.lines().filter(|line| line.contains("scope global"));
    lines.map(|line| line.replace(" nodad", "") + "\n").collect()
}

#[test]
fn in_a_joined_namespace_they_stay() {
    let coracle = need!(Coracle::as_root());
    let host = host(&["dev0"]);
    let joined = Held::by_root(&["--net"]);
    let bundle = joining(coracle.bundle(), "network", &joined.path("network"))
        .set("/linux/netDevices", json!({"dev0": {"name": "eth0"}}))
        .sh("sleep 1000");
    there(&host, coracle.with_bundle("create", &bundle, &[])).output().succeeds();
    coracle.call(["start", bundle.id()]).output().succeeds();
    assert!(joined.run(&["ip", "-o", "link"]).contains("eth0@"));
    coracle.delete(bundle.id());
    // The runtime does not own the namespace (config-linux.md, "Namespace Lifecycle").
    assert!(joined.run(&["ip", "-o", "link"]).contains("eth0@"));
    coracle.assert_nothing_left();
}

#[test]
fn they_need_a_network_namespace() {
    let coracle = need!(Coracle::as_root());
    let host = host(&["dev0"]);
    let devices = json!({"dev0": {}});
    let bundle = coracle.bundle().without_namespace("network").sh("exit 0");
    let told = run(&coracle, &host, &bundle.set("/linux/netDevices", devices.clone())).fails();
    assert!(told.stderr.contains("without a NET namespace"), "{told:?}");
    // The runtime's own is none.
    let bundle = joining(coracle.bundle(), "network", &host.path("network")).sh("exit 0");
    let told = run(&coracle, &host, &bundle.set("/linux/netDevices", devices)).fails();
    assert!(told.stderr.contains("the runtime's own"), "{told:?}");
    coracle.assert_nothing_left();
}

#[test]
fn a_user_namespace_gets_them_too() {
    let coracle = need!(Coracle::as_root());
    let host = host(&["dev0"]);
    host.run(&["ip", "addr", "add", "10.0.0.1/24", "dev", "dev0"]);
    let bundle = mapped(&coracle).set("/linux/netDevices", json!({"dev0": {}}));
    let told = run(&coracle, &host, &bundle.sh("ip -o addr show dev dev0")).succeeds().stdout;
    assert!(told.contains("10.0.0.1/24"), "{told}");
    coracle.assert_nothing_left();
}

/// The host's network is root's, its devices too.
fn an_ordinary_user_has_none_to_give(coracle: &Coracle) {
    let joined = Held::of(coracle, &["--net"]);
    for bundle in [
        new(coracle.bundle(), "network"),
        held::joining_of(coracle, coracle.bundle(), "network", &joined),
    ] {
        let bundle = bundle.set("/linux/netDevices", json!({"lo": {"name": "x"}})).sh("exit 0");
        let told = coracle.run(&bundle).fails().says("/linux/netDevices");
        told.says("help: ").says("user namespace that owns both");
        coracle.assert_nothing_left();
    }
    let bundle = coracle.bundle().without_namespace("network").sh("exit 0");
    let bundle = bundle.set("/linux/netDevices", json!({"lo": {}}));
    coracle.run(&bundle).fails().says("without a NET namespace");
    coracle.assert_nothing_left();
}

/// But in a user namespace of its own it is root.
fn but_in_a_user_namespace_of_its_own(coracle: &Coracle) {
    let host = Held::of(coracle, &["--net"]);
    let pid = host.pid().to_string();
    let inside = ["nsenter", "--preserve-credentials", "--user", "--net", "--target", &pid];
    let add = ["ip", "link", "add", "dev0", "type", "veth", "peer", "name", "dev1"];
    let as_user = |words: &[&str]| {
        Call::new(inside).args(words).user(coracle.user().cloned()).output().succeeds()
    };
    as_user(&add);
    as_user(&["ip", "addr", "add", "10.0.0.1/24", "dev", "dev0"]);
    let own = json!({"containerID": 0, "hostID": 0, "size": 1});
    let more = json!({"containerID": 1, "hostID": 1, "size": 99});
    let map = if coracle.has_ids() { json!([own, more]) } else { json!([own]) };
    let base = || {
        new(coracle.bundle(), "network")
            .set("/linux/uidMappings", map.clone())
            .set("/linux/gidMappings", map.clone())
    };
    // From a start that fails it comes back.
    let bundle = base().set("/linux/netDevices", json!({"dev0": {}})).args(["/no/such/program"]);
    coracle.with_bundle("run", &bundle, &[]).through(inside).output().fails();
    assert!(as_user(&["ip", "-o", "addr", "show", "dev", "dev0"]).stdout.contains("10.0.0.1/24"));
    coracle.assert_nothing_left();

    let bundle = base().set("/linux/netDevices", json!({"dev0": {"name": "eth0"}}));
    let told = look_through(coracle, bundle, "ip -o addr show dev eth0", &inside);
    assert!(told.contains("10.0.0.1/24"), "{told}");
    coracle.assert_nothing_left();
}

coracle_tests::tests! {
    as_ranged_user, as_single_user =>
        an_ordinary_user_has_none_to_give,
        but_in_a_user_namespace_of_its_own;
}
