//! Attacks on container runtimes, replayed: the root file system, whatever is in it, every process
//! of the container and whoever shares a directory with it are hostile.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::format_push_string)]

mod attacker;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use coracle_tests::{
    Bundle, Call, Coracle, Mount, Outcome, Pty, Receiver, User, Value, controllers, eventually,
    json, need,
};
use rustix::fs::{CWD, RenameFlags, renameat_with};

/// Gives the process these capabilities in all sets.
fn with_capabilities(mut bundle: Bundle, names: &[&str]) -> Bundle {
    for set in ["bounding", "permitted", "effective", "inheritable", "ambient"] {
        bundle = bundle.set(&format!("/process/capabilities/{set}"), json!(names));
    }
    bundle
}

/// Leaves the mount at this destination out.
fn without_mount(bundle: Bundle, destination: &str) -> Bundle {
    let mounts = bundle.config()["mounts"].as_array().unwrap().iter();
    let rest: Vec<Value> =
        mounts.filter(|mount| mount["destination"] != destination).cloned().collect();
    bundle.set("/mounts", rest)
}

/// A hook that runs a shell script.
fn hook(script: &str) -> Value {
    json!({"path": "/bin/sh", "args": ["sh", "-c", script]})
}

fn exec(coracle: &Coracle, bundle: &Bundle, options: &[&str], command: &[&str]) -> Outcome {
    coracle.call(["exec"]).args(options).args([bundle.id()]).args(command).output()
}

/// All that is in a directory, with kind, mode and size: to see that nothing of it was touched.
fn listing(directory: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap().flatten() {
        let of = fs::symlink_metadata(entry.path()).unwrap();
        found.push(format!("{} {:o} {}", entry.path().display(), of.mode(), of.len()));
        if of.is_dir() {
            found.extend(listing(&entry.path()));
        }
    }
    found.sort();
    found
}

// The binary of the host.

/// The command from a copy that belongs to whoever runs it, which an attack may spoil.
fn from_a_copy(coracle: &Coracle) -> PathBuf {
    let copy = coracle.path().join("copy");
    fs::copy(coracle.binary(), &copy).unwrap();
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)).unwrap();
    if let Some(user) = coracle.user() {
        chown(&copy, Some(user.uid), Some(user.gid)).unwrap();
    }
    copy
}

fn call_copy(coracle: &Coracle, copy: &Path) -> Call {
    let mut call = Call::new([copy]).env("CORACLE_TEST", coracle.name());
    if let Some(user) = coracle.user() {
        call = call.user(Some(user.clone())).env("XDG_RUNTIME_DIR", coracle.path().join("xdg"));
    }
    call.args(["--root".as_ref(), coracle.state_directory().as_os_str()])
}

/// Shell: holds the executable of process $pid open as descriptor 5, says so, and then tries to
/// write it, directly and out of a user namespace of its own; halfway the process is let go, as
/// nobody can write what is being executed (ETXTBSY).
fn write_executable() -> String {
    let attack = attacker::arguments("write_descriptor_5").join(" ");
    format!(
        "exec 5</proc/$pid/exe && echo held; \
         for n in $(seq 100); do \
           (echo spoilt >> /proc/self/fd/5) 2>/dev/null && echo written; \
           if [ $((n % 10)) = 0 ]; then {attack}; unshare -U -r {attack}; fi; \
           if [ $n = 30 ] && [ -p /tmp/wait ]; then echo > /tmp/wait & fi; \
           sleep 0.01; \
         done; echo tried"
    )
}

/// CVE-2019-5736: the container has `exec` execute /proc/self/exe, which is then the runtime's own
/// binary as a process of the container, and writes it.
fn the_binary_is_executed_inside_and_written(coracle: &Coracle) {
    let copy = from_a_copy(coracle);
    let before = fs::read(&copy).unwrap();
    let bundle = coracle.bundle();
    let script = format!(
        "mkfifo /tmp/wait; echo ready; pid=; while [ -z \"$pid\" ]; do sleep 0.01; \
         pid=$(grep -l '^/proc/self/exe' /proc/[0-9]*/cmdline 2>/dev/null | \
         sed 's,/proc/\\([0-9]*\\)/.*,\\1,' | head -n 1); done; \
         {}; sleep 1000",
        write_executable()
    );
    attacker::bring(&bundle);
    let bundle = bundle.sh(&script).set("/root/readonly", false);
    let create = call_copy(coracle, &copy).args(["create", "--bundle"]).args([bundle.path()]);
    let created = create.args([bundle.id()]).output().succeeds();
    call_copy(coracle, &copy).args(["start", bundle.id()]).output().succeeds();
    eventually("the container runs", || created.stdout_by_now().contains("ready"));
    // As a program of the container, it waits for somebody to write to the fifo.
    let inside = ["/proc/self/exe", "exec", "--process", "/tmp/wait", "x"];
    let victim = call_copy(coracle, &copy).args(["exec", "--detach", bundle.id()]).args(inside);
    victim.output().succeeds();
    eventually("the attack is over", || created.stdout_by_now().contains("tried"));
    let told = created.stdout_by_now();
    assert!(told.contains("held"), "the attack found nothing to attack: {told}");
    assert!(!told.contains("written"), "{told}");
    assert!(fs::read(&copy).unwrap() == before, "the binary was changed");
    coracle.delete(bundle.id());
}

#[test]
fn the_binary_cannot_be_written_by_a_container_that_executes_it() {
    the_binary_is_executed_inside_and_written(&need!(Coracle::as_root()));
}

#[test]
fn the_binary_cannot_be_written_by_a_container_that_executes_it_as_a_user() {
    the_binary_is_executed_inside_and_written(&need!(Coracle::as_user()));
}

/// CVE-2019-5736: the same by way of the first process while it waits for its start, in a container
/// that may trace.
#[test]
fn the_binary_cannot_be_written_through_the_first_process() {
    let coracle = need!(Coracle::as_root());
    let copy = from_a_copy(&coracle);
    let before = fs::read(&copy).unwrap();
    let bundle = with_capabilities(coracle.bundle().sh("sleep 1000"), &["CAP_SYS_PTRACE"]);
    attacker::bring(&bundle);
    let create = call_copy(&coracle, &copy).args(["create", "--bundle"]).args([bundle.path()]);
    create.args([bundle.id()]).output().succeeds();
    let script = format!("pid=1; {}", write_executable());
    let attack = call_copy(&coracle, &copy).args(["exec", "--detach", bundle.id(), "sh", "-c"]);
    let attack = attack.args([&script]).output().succeeds();
    eventually("it holds the executable", || attack.stdout_by_now().contains("held"));
    // While it runs, nobody can write it (ETXTBSY): this ends its last process.
    call_copy(&coracle, &copy).args(["start", bundle.id()]).output().succeeds();
    eventually("the attack is over", || attack.stdout_by_now().contains("tried"));
    let told = attack.stdout_by_now();
    assert!(!told.contains("written"), "{told}");
    assert!(fs::read(&copy).unwrap() == before, "the binary was changed");
    coracle.delete(bundle.id());
}

// Processes of the runtime among those of the container.

/// Watches the processes that `exec` makes from inside, as an attack does; what was seen of them.
fn watched(coracle: &Coracle, bundle: Bundle) -> String {
    attacker::bring(&bundle);
    let bundle = bundle.args(attacker::arguments("watch"));
    let started = coracle.start(&bundle);
    eventually("the attack is on", || started.stdout_by_now().contains("watching"));
    for _ in 0..40 {
        exec(coracle, &bundle, &[], &["true"]).succeeds();
    }
    let told = started.stdout_by_now();
    coracle.delete(bundle.id());
    assert!(told.contains("capabilities"), "the attack saw nothing: {told}");
    told
}

/// With a user namespace in which the container's root has every right over its processes.
fn in_user_namespace(coracle: &Coracle) -> Bundle {
    let bundle = with_capabilities(coracle.bundle(), &["CAP_SYS_PTRACE"]);
    if coracle.user().is_some() {
        return bundle;
    }
    let map = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
    bundle
        .set("/linux/namespaces/-", json!({"type": "user"}))
        .set("/linux/uidMappings", map.clone())
        .set("/linux/gidMappings", map)
}

/// CVE-2016-9962: a process of the container gets at one that is about to join it, with the host's
/// memory and descriptors.
#[test]
fn nothing_can_be_had_of_a_process_that_joins_a_user_namespace() {
    for coracle in [need!(Coracle::as_root()), need!(Coracle::as_user())] {
        let told = watched(&coracle, in_user_namespace(&coracle));
        let kinds = ["memory ", "cwd ", "root ", "descriptor "];
        let loot = |line: &&str| kinds.iter().any(|kind| line.starts_with(kind));
        let got: Vec<&str> = told.lines().filter(loot).collect();
        assert_eq!(got, Vec::<&str>::new());
    }
}

/// CVE-2016-9962: with CAP_SYS_PTRACE over the host's user namespace a container's process may
/// trace another in any case. It gains by it no descriptor of the host, and no capability that
/// breaks out.
#[test]
fn a_process_that_joins_brings_nothing_of_the_host_along() {
    let coracle = need!(Coracle::as_root());
    let told = watched(&coracle, with_capabilities(coracle.bundle(), &["CAP_SYS_PTRACE"]));
    // CHOWN, SETGID, SETUID, SETPCAP, SYS_PTRACE, SYS_RESOURCE.
    let allowed = 1_u64 | 1 << 6 | 1 << 7 | 1 << 8 | 1 << 19 | 1 << 24;
    for line in told.lines() {
        if let Some(mask) = line.strip_prefix("capabilities ") {
            let mask = u64::from_str_radix(mask, 16).unwrap();
            assert_eq!(mask & !allowed, 0, "{told}");
        }
        if let Some(file) = line.strip_prefix("descriptor ") {
            // The last is the container's, read for HOME.
            let harmless = ["socket:", "pipe:", "/dev/null", "/memfd:", "/etc/passwd"];
            assert!(harmless.iter().any(|start| file.starts_with(start)), "{told}");
        }
        if let Some(place) = line.strip_prefix("cwd ").or(line.strip_prefix("root ")) {
            assert_eq!(place, "/", "{told}");
        }
    }
}

/// CVE-2024-21626: a descriptor of a directory of the host that is open in the container's first
/// process, or in one that `exec` makes, is a way out: as the working directory, as part of the
/// program's path.
fn no_descriptor_leads_out(coracle: &Coracle) {
    let bundle = coracle.bundle().sh("sleep 1000");
    coracle.start(&bundle);
    let mut other = coracle.bundle().sh("pwd; ls");
    for number in 3..24 {
        let place = format!("/proc/self/fd/{number}");
        let out = format!("{place}/../../../../bin/busybox");
        exec(coracle, &bundle, &["--cwd", &place], &["true"]).fails();
        exec(coracle, &bundle, &["--cwd", &format!("{place}/..")], &["true"]).fails();
        exec(coracle, &bundle, &[], &[&out, "true"]).fails();
        other = other.set("/process/cwd", place.as_str());
        coracle.run(&other).fails();
    }
    let script = ["sh", "-c", "ls /proc/self/fd; readlink /proc/self/cwd"];
    let told = exec(coracle, &bundle, &[], &script).succeeds().stdout;
    // The fourth is the listing's own.
    assert_eq!(told, "0\n1\n2\n3\n/\n");
    coracle.delete(bundle.id());
}

#[test]
fn no_descriptor_leads_out_of_the_root() {
    no_descriptor_leads_out(&need!(Coracle::as_root()));
}

#[test]
fn no_descriptor_leads_out_of_the_root_as_a_user() {
    no_descriptor_leads_out(&need!(Coracle::as_user()));
}

/// Hooks that run in the container may be the image's own programs.
#[test]
fn hooks_in_the_container_get_nothing_of_the_host() {
    let coracle = need!(Coracle::as_root());
    let script = "ls -l /proc/self/fd | sed 's/.* //' > /tmp/seen; readlink /proc/self/cwd \
                  >> /tmp/seen; cat /proc/1/maps /proc/1/mem >> /tmp/seen 2>/dev/null; true";
    let hook = json!({"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/bin"]});
    let bundle = coracle.bundle().set("/hooks/startContainer/-", hook).set("/root/readonly", false);
    coracle.run(&bundle.sh("cat /tmp/seen")).succeeds().stdout.lines().for_each(|line| {
        let harmless = ["0", "3", "pipe:", "/dev/null", "/tmp/seen", "/proc/", "/", "socket:"];
        assert!(
            harmless.iter().any(|one| line == *one || one.len() > 1 && line.starts_with(one)),
            "{line}"
        );
    });
}

/// A container that has the host's terminal for its standard input types into it, and the shell
/// from which it was started does what it says.
#[test]
fn the_terminal_of_the_host_cannot_be_typed_into() {
    let coracle = need!(Coracle::as_root());
    let bundle = coracle.bundle().args(attacker::arguments("type_into_the_terminal"));
    attacker::bring(&bundle);
    let mut terminal = Pty::new(24, 80);
    let running = terminal.spawn(coracle.with_bundle("run", &bundle, &[]));
    terminal.shows("TIOCSTI: ");
    running.wait().exits(0);
    let told = terminal.rest();
    assert!(!told.contains("done") && !told.contains("touch"), "{told}");
}

// Links and races in the root file system.

/// CVE-2019-19921, CVE-2023-27561, CVE-2023-28642: the image has a link where proc or sysfs goes,
/// to a directory that it fills itself.
#[test]
fn proc_and_sysfs_are_not_mounted_through_links() {
    let coracle = need!(Coracle::as_root());
    for name in ["proc", "sys"] {
        for target in ["tmp", "/tmp", "tmp/missing", "../../../../../tmp"] {
            let bundle = coracle.bundle().sh("exit 0").set("/root/readonly", false);
            fs::remove_dir(bundle.rootfs().join(name)).unwrap();
            symlink(target, bundle.rootfs().join(name)).unwrap();
            coracle.run(&bundle).fails();
            assert_eq!(listing(&bundle.rootfs().join("tmp")), Vec::<String>::new());
        }
    }
    coracle.assert_nothing_left();
}

/// CVE-2019-19921, with a container that shares the root directory: between the mount and the masks
/// it renames the mount point, and puts a directory of its own in its place.
#[test]
fn proc_stays_masked_whatever_becomes_of_its_mount_point() {
    let coracle = need!(Coracle::as_root());
    let bundle = coracle.bundle().set("/root/readonly", false);
    // A hook runs between the two: it stands for the other container.
    let script = format!(
        "cd {} && mv proc other && mkdir -p proc/sys/kernel && touch proc/version proc/sysrq-trigger",
        bundle.rootfs().display()
    );
    let bundle = bundle
        .set("/hooks/createRuntime/-", hook(&script))
        .set("/linux/maskedPaths/-", "/proc/version");
    let look = "cd /other && { stat -c %t:%T version; \
                (exec 3>>sys/kernel/core_pattern) && echo open; \
                (exec 3>>sysrq-trigger) && echo open; true; } 2>/dev/null";
    let told = coracle.run(&bundle.sh(look));
    assert!(!told.stdout.contains("open"), "{told:?}");
    assert!(told.code != Some(0) || told.stdout.starts_with("1:3\n"), "{told:?}");
    coracle.assert_nothing_left();
}

/// CVE-2021-30465, CVE-2024-45310: what a mount needs is made in the root file system and nowhere
/// else, whatever links lead out of it.
fn links_lead_nowhere(coracle: &Coracle) {
    let outside = coracle.path().join("outside");
    coracle.make_directory(&outside, 0o777);
    let source = coracle.path().join("source");
    fs::create_dir(&source).unwrap();
    fs::write(source.join("file"), "").unwrap();
    let up = format!("../../../../../../../..{}", outside.display());
    let links = [
        outside.to_str().unwrap().to_owned(),
        up.clone(),
        format!("/proc/1/root{}", outside.display()),
        format!("/proc/self/cwd/{up}"),
        "/proc/self/fd/3".into(),
        "/proc/self/root".into(),
    ];
    for link in links {
        let mut bundle = coracle.bundle().sh("exit 0");
        symlink(&link, bundle.rootfs().join("link")).unwrap();
        let last = bundle.config()["mounts"].as_array().unwrap().len();
        for (destination, source) in [
            ("/link", "source"),
            ("/link/new", "source"),
            ("/link/new/deep", "source"),
            ("/link", "source/file"),
            ("/link/file", "source/file"),
        ] {
            let mount = json!({"destination": destination, "type": "bind",
                               "source": coracle.path().join(source), "options": ["rbind"]});
            bundle = bundle.set(&format!("/mounts/{last}"), mount);
            // It may be refused, or made inside.
            drop(coracle.run(&bundle));
            assert_eq!(listing(&outside), Vec::<String>::new(), "{link} {destination}");
        }
        let bundle = bundle.remove(&format!("/mounts/{last}"));
        drop(coracle.run(&bundle.set("/process/cwd", "/link/new/deep/still")));
        assert_eq!(listing(&outside), Vec::<String>::new(), "{link} as working directory");
    }
    coracle.assert_nothing_left();
}

#[test]
fn nothing_is_made_outside_of_the_root() {
    links_lead_nowhere(&need!(Coracle::as_root()));
}

#[test]
fn nothing_is_made_outside_of_the_root_as_a_user() {
    links_lead_nowhere(&need!(Coracle::as_user()));
}

/// Exchanges two paths as fast as it can while `run` runs, as a container does that shares them.
fn exchanging(one: &Path, other: &Path, run: impl FnOnce()) {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let racer = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let _ = renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE);
            }
        });
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run));
        done.store(true, Ordering::Relaxed);
        racer.join().unwrap();
        outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
}

/// CVE-2021-30465, CVE-2024-45310: another container exchanges a directory of a shared volume for a
/// link that leads out, while a mount below it is made.
#[test]
fn nothing_is_made_outside_of_the_root_in_a_race() {
    let coracle = need!(Coracle::as_root());
    let outside = coracle.path().join("outside");
    let volume = coracle.path().join("volume");
    let source = coracle.path().join("source");
    for directory in [&outside, &volume, &source, &volume.join("directory")] {
        fs::create_dir(directory).unwrap();
    }
    symlink(&outside, volume.join("link")).unwrap();
    let bind = |source: &Path, destination: &str| json!({"destination": destination, "type": "bind", "source": source, "options": ["rbind"]});
    let bundle = coracle
        .bundle()
        .set("/mounts/-", bind(&volume, "/volume"))
        .set("/mounts/-", bind(&source, "/volume/directory/a/b/c"))
        .set("/linux/devices/-", json!({"path": "/volume/directory/d/e/node", "type": "p"}))
        .sh("cat /proc/self/mountinfo");
    exchanging(&volume.join("directory"), &volume.join("link"), || {
        for _ in 0..60 {
            let told = coracle.run(&bundle);
            for mount in Mount::parse(&told.stdout) {
                assert!(!mount.root.contains("outside"), "{mount:?}");
            }
            assert_eq!(listing(&outside), Vec::<String>::new());
            for name in ["directory", "link"] {
                let _ = fs::remove_dir_all(volume.join(name).join("a"));
                let _ = fs::remove_dir_all(volume.join(name).join("d"));
            }
        }
    });
    coracle.assert_nothing_left();
}

/// The owner and the mode of a device must not go to a file of the host, to which another container
/// that shares the directory makes a link of the same name.
#[test]
fn a_device_s_mode_goes_to_the_device_in_a_race() {
    let coracle = need!(Coracle::as_root());
    let secret = coracle.path().join("secret");
    fs::write(&secret, "").unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    let device = json!({"path": "/shared/node", "type": "p", "fileMode": 0o666, "uid": 1000});
    let bundle = coracle.bundle().sh("exit 0").set("/linux/devices/-", device);
    let shared = bundle.rootfs().join("shared");
    fs::create_dir(&shared).unwrap();
    symlink(&secret, shared.join("link")).unwrap();
    rustix::fs::mknodat(CWD, shared.join("node"), rustix::fs::FileType::Fifo, 0o666.into(), 0)
        .unwrap();
    exchanging(&shared.join("node"), &shared.join("link"), || {
        for _ in 0..150 {
            drop(coracle.run(&bundle));
            let of = fs::metadata(&secret).unwrap();
            assert_eq!((of.uid(), of.mode() & 0o777), (0, 0o600));
        }
    });
    coracle.assert_nothing_left();
}

// /dev.

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

// /proc.

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

// Privileges.

/// CVE-2022-29162: capabilities in the inheritable set, which a program with inheritable file
/// capabilities would get back.
#[test]
fn exec_gives_no_inheritable_capabilities_uncalled_for() {
    let coracle = need!(Coracle::as_root());
    let bundle =
        coracle.bundle().sh("sleep 1000").set("/process/capabilities/inheritable", json!([]));
    coracle.start(&bundle);
    let look = ["grep", "-E", "CapInh|CapAmb", "/proc/self/status"];
    let told = exec(&coracle, &bundle, &["--cap", "CAP_SYS_ADMIN"], &look).succeeds().stdout;
    assert_eq!(told, "CapInh:\t0000000000000000\nCapAmb:\t0000000000000000\n");
    coracle.delete(bundle.id());
}

/// The greatest ID means "no change" to setresuid(2): whoever gets it would stay root.
#[test]
fn the_id_that_changes_nothing_is_refused() {
    let coracle = need!(Coracle::as_root());
    let bundle = coracle.bundle().sh("sleep 1000");
    coracle.start(&bundle);
    for user in ["4294967295", "4294967295:4294967295", "1000:4294967295", "-1"] {
        exec(&coracle, &bundle, &["--user", user], &["id"]).fails();
    }
    coracle.delete(bundle.id());
    for field in ["uid", "gid"] {
        let bundle = coracle.bundle().sh("id").set(&format!("/process/user/{field}"), u32::MAX);
        coracle.run(&bundle).fails();
    }
}

/// CVE-2023-25809: an ordinary user's container that sees the host's cgroups may not write those
/// that are the user's.
#[test]
fn cgroups_of_the_user_cannot_be_written_from_inside() {
    let coracle = need!(Coracle::as_user());
    let user = coracle.user().unwrap();
    // One in each tree that is the user's own, as a session's is.
    let name = format!("{}-own", coracle.name());
    for (_, own) in controllers(std::process::id()) {
        let own = own.join(&name);
        fs::create_dir(&own).unwrap();
        chown(&own, Some(user.uid), Some(user.gid)).unwrap();
    }
    let look = format!(
        "find /sys/fs/cgroup -name {name} | while read own; do \
           mkdir $own/below 2>/dev/null && echo made $own/below; done; ls /sys/fs/cgroup"
    );
    let told = coracle.run(&coracle.bundle().sh(&look)).succeeds().stdout;
    assert!(!told.contains("made") && !told.is_empty(), "{told}");
}

// State.

/// What is kept of a container names processes to be killed and hooks to be run, and init waits on
/// a socket there for the word to start: all of it is for its owner only.
#[test]
fn other_users_get_nothing_of_the_state() {
    let coracle = need!(Coracle::as_root());
    let user = need!(User::ordinary());
    let bundle = coracle.bundle().sh("sleep 1000");
    coracle.create(&bundle);
    let state = coracle.state_directory().join(bundle.id());
    let as_user = |script: &str| {
        let call = Call::new(["sh", "-c", script, "sh"]).args([&state]);
        call.user(Some(user.clone())).output()
    };
    as_user("ls \"$1\"").fails();
    as_user("cat \"$1/state.json\"").fails();
    as_user("cat \"$1/config.json\"").fails();
    as_user("echo > \"$1/new\"").fails();
    let of = fs::symlink_metadata(state.join("init.sock")).unwrap();
    assert_eq!(of.mode() & 0o077, 0, "others may connect");
    coracle.delete(bundle.id());
}

/// A link that was put where the pid file goes leads the number nowhere else.
#[test]
fn a_pid_file_is_not_written_through_a_link() {
    let coracle = need!(Coracle::as_root());
    let bundle = coracle.bundle().sh("sleep 1000");
    let secret = coracle.path().join("secret");
    fs::write(&secret, "untouched").unwrap();
    let place = coracle.path().join("pids");
    fs::create_dir(&place).unwrap();
    for name in ["pid", ".pid"] {
        symlink(&secret, place.join(name)).unwrap();
    }
    let option = place.join("pid");
    let options = ["--pid-file", option.to_str().unwrap()];
    coracle.with_bundle("create", &bundle, &options).output().succeeds();
    assert_eq!(fs::read_to_string(&secret).unwrap(), "untouched");
    assert_eq!(fs::read_to_string(&option).unwrap(), coracle.pid(bundle.id()).to_string());
    coracle.delete(bundle.id());
}
