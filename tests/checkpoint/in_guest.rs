//! What CRIU can do on some kernels only, and with systemd and an engine. `cargo xtask test` runs this
//! file in the guest too.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod connections;
mod guarded;
mod memory;
mod moved;
mod saved;

use std::path::Path;

use coracle_tests::{Call, Coracle, Outcome, eventually, host, need, of_process};
use saved::{COUNT, Counter, criu, images};

#[test]
fn in_a_scope_of_systemd_s() {
    need!(host::systemd());
    need!(criu());
    let coracle = need!(Coracle::as_root());
    let counter = Counter::new(&coracle).with(|bundle| bundle.remove("/linux/cgroupsPath"));
    let scope = format!("runc-{}.scope", counter.id());
    let in_scope = || {
        let cgroups = of_process(coracle.pid(counter.id()));
        assert!(cgroups.iter().all(|(_, path)| path.ends_with(&scope)), "{cgroups:?}");
    };
    let output = || std::fs::File::options().append(true).create(true).open(counter.log()).unwrap();
    let call = |command: &str| {
        let call = coracle.call(["--systemd-cgroup", command, "--detach", "--bundle"]);
        call.args([counter.bundle().path()]).stdout(output())
    };
    call("run").args([counter.id()]).output().succeeds();
    counter.goes_on();
    in_scope();
    let call_checkpoint = coracle.call(["checkpoint", "--image-path"]);
    call_checkpoint.args([images(&coracle, "one")]).args([counter.id()]).output().succeeds();
    let call = call("restore").args(["--image-path"]).args([images(&coracle, "one")]);
    call.args([counter.id()]).output().succeeds();
    counter.goes_on();
    in_scope();
    coracle.delete(counter.id());
    coracle.assert_nothing_left();
}

/// podman, with the command under test.
fn podman(coracle: &Coracle, args: &[&str]) -> Outcome {
    let call = Call::new(["podman", "--runtime"]).args([coracle.binary()]);
    call.args(args).output().succeeds()
}

#[test]
fn by_podman() {
    need!(host::systemd());
    need!(criu());
    let coracle = need!(Coracle::as_root());
    if !Path::new("/usr/bin/podman").exists() {
        return coracle_tests::skipped("needs podman");
    }
    let bundle = coracle.bundle();
    let image = format!("{}-image", coracle.name());
    let script = "tar -C \"$1\" -c . | podman import - \"$2\"";
    let call = Call::new(["sh", "-c", script, "sh"]).args([bundle.rootfs()]);
    call.args([&image]).output().succeeds();
    let name = bundle.id();
    podman(&coracle, &["run", "--detach", "--name", name, &image, "/bin/sh", "-c", COUNT]);
    let counted = || {
        let logs = podman(&coracle, &["logs", name]).stdout;
        let numbers: Vec<u64> = logs.lines().filter_map(|line| line.parse().ok()).collect();
        assert!(numbers.windows(2).all(|pair| pair[0] + 1 == pair[1]), "{logs}");
        numbers.len()
    };
    eventually("it counts", || counted() > 3);
    podman(&coracle, &["container", "checkpoint", name]);
    let before = counted();
    podman(&coracle, &["container", "restore", name]);
    eventually("it counts on", || counted() > before + 3);
    let export = coracle.path().join("exported.tar.gz");
    let export = export.to_str().unwrap();
    podman(&coracle, &["container", "checkpoint", "--export", export, name]);
    podman(&coracle, &["rm", "--force", name]);
    podman(&coracle, &["container", "restore", "--import", export]);
    eventually("it counts elsewhere", || counted() > 3);
    podman(&coracle, &["rm", "--force", "--time", "0", name]);
    podman(&coracle, &["rmi", "--force", &image]);
}
