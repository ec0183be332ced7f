//! What the image has in place of /dev and /proc, and files that the runtime reads.

use std::fs;
use std::os::unix::fs::symlink;

use coracle_tests::{Bundle, Call, Coracle, Pty, Receiver, json, need};
use rustix::fs::CWD;

use crate::{hook, without_mount};

/// CVE-2025-31133: while the container is made, its /dev/null becomes a link to a file of proc, so
/// that this is put, writable, over the files to be masked.
#[test]
fn masks_are_the_null_device_whatever_dev_null_is() {
    let coracle = need!(Coracle::as_root());
    let bundle = without_mount(coracle.bundle(), "/dev").set("/root/readonly", false);
    let null = bundle.rootfs().join("dev/null");
    let script = format!("rm -f {0} && ln -s /proc/sys/kernel/core_pattern {0}", null.display());
    let bundle = bundle
        .set("/hooks/createRuntime/-", hook(&script))
        .set("/linux/maskedPaths", json!(["/proc/version", "/etc/passwd"]));
    let look = "readlink /dev/null; for f in /proc/version /etc/passwd; do stat -c %F,%t:%T $f; \
                (echo x > $f) 2>/dev/null; done; cat /etc/passwd";
    let told = coracle.run(&bundle.sh(look)).succeeds().stdout;
    let device = "character special file,1:3\n";
    assert_eq!(told, format!("/proc/sys/kernel/core_pattern\n{device}{device}"));

    // An image that brings it along from the beginning.
    let bundle = without_mount(coracle.bundle(), "/dev").sh("cat /proc/version");
    let bundle = bundle.set("/linux/maskedPaths", json!(["/proc/version"]));
    symlink("/proc/sys/kernel/core_pattern", bundle.rootfs().join("dev/null")).unwrap();
    assert_eq!(coracle.run(&bundle).stdout, "");
    coracle.assert_nothing_left();
}

/// CVE-2025-52565: /dev/console or /dev/pts/ptmx of the image decides which file becomes the
/// terminal, or what the terminal is put over.
#[test]
fn the_terminal_is_a_terminal_whatever_dev_console_is() {
    let coracle = need!(Coracle::as_root());
    let pattern = fs::read("/proc/sys/kernel/core_pattern").unwrap();
    let made = |bundle: Bundle| {
        let bundle = bundle.set("/process/terminal", true);
        let receiver = Receiver::new(coracle.path().join(format!("{}.sock", bundle.id())));
        let socket = receiver.path().to_str().unwrap();
        let outcome =
            coracle.with_bundle("create", &bundle, &["--console-socket", socket]).output();
        (bundle, receiver, outcome)
    };
    let look = "test -t 0 && echo terminal > /dev/console; \
                (echo broken > /proc/sys/kernel/core_pattern) 2>/dev/null || echo refused; \
                (echo broken > /proc/sys/vm/swappiness) 2>/dev/null || echo refused; \
                sleep 1000";
    for target in ["/proc/sys/kernel/core_pattern", "/proc/sys", "/proc/sysrq-trigger"] {
        let bundle = without_mount(coracle.bundle(), "/dev").sh(look);
        symlink(target, bundle.rootfs().join("dev/console")).unwrap();
        let (bundle, receiver, outcome) = made(bundle);
        if outcome.code == Some(0) {
            let mut terminal = Pty::from_emulator(receiver.receive().1);
            coracle.call(["start", bundle.id()]).output().succeeds();
            terminal.shows("refused");
        }
        coracle.delete(bundle.id());
        assert_eq!(fs::read("/proc/sys/kernel/core_pattern").unwrap(), pattern);
    }
    for file in ["fifo", "link", "device"] {
        let bundle = without_mount(coracle.bundle(), "/dev/pts");
        let bundle = without_mount(bundle, "/dev");
        let pts = bundle.rootfs().join("dev/pts");
        fs::create_dir(&pts).unwrap();
        let node = |kind, number| {
            rustix::fs::mknodat(CWD, pts.join("ptmx"), kind, 0o666.into(), number).unwrap();
        };
        match file {
            "fifo" => node(rustix::fs::FileType::Fifo, 0),
            "device" => node(rustix::fs::FileType::CharacterDevice, rustix::fs::makedev(1, 5)),
            _ => symlink("/proc/version", pts.join("ptmx")).unwrap(),
        }
        let (bundle, _receiver, outcome) = made(bundle.sh("sleep 1000"));
        outcome.fails();
        coracle.delete(bundle.id());
    }
    coracle.assert_nothing_left();
}

/// A device of the image may not stand in for one that was asked for.
#[test]
fn a_node_of_the_image_is_not_taken_for_another() {
    let coracle = need!(Coracle::as_root());
    let bundle = without_mount(coracle.bundle().sh("exit 0"), "/dev");
    let full = bundle.rootfs().join("dev/full");
    let memory = rustix::fs::makedev(1, 1);
    rustix::fs::mknodat(CWD, full, rustix::fs::FileType::CharacterDevice, 0o666.into(), memory)
        .unwrap();
    coracle.run(&bundle).fails().says("another file is there");
    coracle.assert_nothing_left();
}

/// CVE-2019-16884, CVE-2025-52881: a volume over /proc has the runtime write its settings, labels
/// among them, to files of the volume in place of the kernel's.
#[test]
fn what_is_written_to_proc_is_not_written_to_a_volume() {
    let coracle = need!(Coracle::as_root());
    let fake = coracle.path().join("fake");
    for directory in ["self", "sys/kernel", "sys/net/ipv4"] {
        fs::create_dir_all(fake.join(directory)).unwrap();
    }
    for file in ["self/oom_score_adj", "sys/kernel/shmmni", "sys/net/ipv4/ip_forward"] {
        fs::write(fake.join(file), "untouched").unwrap();
    }
    let over =
        json!({"destination": "/proc", "type": "bind", "source": fake, "options": ["rbind"]});
    let bundle = coracle
        .bundle()
        .sh("sleep 1000")
        .set("/process/oomScoreAdj", 321)
        .set("/linux/sysctl", json!({"net.ipv4.ip_forward": "1", "kernel.shmmni": "42"}))
        .set("/mounts/-", over);
    let created = coracle.with_bundle("create", &bundle, &[]).output();
    // To refuse it is fine as well.
    if created.code == Some(0) {
        let pid = coracle.pid(bundle.id());
        let score = fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).unwrap();
        assert_eq!(score, "321\n");
        let enter = ["nsenter", "-n", "-i", "-t", &pid.to_string(), "cat"].map(str::to_owned);
        let files = ["/proc/sys/net/ipv4/ip_forward", "/proc/sys/kernel/shmmni"];
        assert_eq!(Call::new(enter).args(files).output().succeeds().stdout, "1\n42\n");
    }
    for file in ["self/oom_score_adj", "sys/kernel/shmmni", "sys/net/ipv4/ip_forward"] {
        assert_eq!(fs::read_to_string(fake.join(file)).unwrap(), "untouched");
    }
    coracle.delete(bundle.id());
    coracle.assert_nothing_left();
}

/// An /etc/passwd that never ends, or that waits for somebody, must not hold the runtime up.
#[test]
fn etc_passwd_may_be_anything() {
    let coracle = need!(Coracle::as_root());
    for target in ["fifo", "/dev/zero", "/proc/self/fd/3", "/proc/1/mem", "/etc", "/etc/passwd"] {
        let bundle = coracle.bundle().sh("echo $HOME");
        let passwd = bundle.rootfs().join("etc/passwd");
        fs::remove_file(&passwd).unwrap();
        if target == "fifo" {
            rustix::fs::mknodat(CWD, &passwd, rustix::fs::FileType::Fifo, 0o666.into(), 0).unwrap();
        } else {
            symlink(target, &passwd).unwrap();
        }
        assert_eq!(coracle.run(&bundle).succeeds().stdout, "/\n", "{target}");
    }
}
