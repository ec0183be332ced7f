//! What a process sees from inside a container, whoever runs it: each function takes the command
//! as root or as an ordinary user, and looks at the default configuration through the eyes of the
//! container's own process.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use coracle_tests::{Bundle, Coracle, Mount, eventually};

/// Runs a script to its successful end and returns what it printed.
#[track_caller]
pub(crate) fn look(coracle: &Coracle, bundle: Bundle, script: &str) -> String {
    coracle.run(&bundle.sh(script)).succeeds().stdout
}

/// The mounts of a container.
#[track_caller]
pub(crate) fn mounts(coracle: &Coracle, bundle: Bundle) -> Vec<Mount> {
    Mount::parse(&look(coracle, bundle, "cat /proc/self/mountinfo"))
}

/// The last mount on a path: the one that is seen.
#[track_caller]
pub(crate) fn mount_on<'a>(mounts: &'a [Mount], point: &str) -> &'a Mount {
    mounts
        .iter()
        .rfind(|mount| mount.point == point)
        .unwrap_or_else(|| panic!("nothing is mounted on {point}: {mounts:#?}"))
}

/// The strings of an array in the configuration.
pub(crate) fn strings(bundle: &Bundle, pointer: &str) -> Vec<String> {
    let items = bundle.config().pointer(pointer).and_then(|value| value.as_array()).unwrap();
    items.iter().map(|item| item.as_str().unwrap().to_owned()).collect()
}

/// The process is in exactly the new namespaces that config.json names, and alone in them.
pub(crate) fn namespaces_are_its_own(coracle: &Coracle) {
    let bundle = coracle.bundle();
    let config = bundle.config().clone();
    let told =
        look(coracle, bundle, "cd /proc/self/ns; for n in *; do echo $n $(readlink $n); done");
    let named = |kind: &str| {
        let list = config["linux"]["namespaces"].as_array().unwrap();
        list.iter().any(|namespace| namespace["type"] == kind)
    };
    for (kind, file) in [
        ("cgroup", "cgroup"),
        ("ipc", "ipc"),
        ("mount", "mnt"),
        ("network", "net"),
        ("pid", "pid"),
        ("user", "user"),
        ("uts", "uts"),
    ] {
        let outside = fs::read_link(format!("/proc/self/ns/{file}")).unwrap();
        let same = told.lines().any(|line| line == format!("{file} {}", outside.display()));
        assert_eq!(same, !named(kind), "the {kind} namespace: {told}");
    }

    // The loopback device of a new network namespace is down until somebody brings it up.
    let bundle = coracle.bundle().without_namespace("network");
    let bundle = bundle.set("/linux/namespaces/-", coracle_tests::json!({"type": "network"}));
    let told = look(coracle, bundle, "ifconfig lo");
    assert!(told.contains("UP LOOPBACK RUNNING"), "{told}");

    let told = look(coracle, coracle.bundle(), "echo $$; cd /proc; ls -d [0-9]*");
    assert!(told.starts_with("1\n1\n"), "it is the first of its processes: {told}");
    assert!(told.lines().count() <= 3, "only itself and ls are there: {told}");
}

/// The bundle's root is all there is: nothing of the host's tree is reachable or mounted.
pub(crate) fn the_old_root_is_gone(coracle: &Coracle) {
    let outside = coracle.home().join("outside");
    fs::write(&outside, "").unwrap();
    let script = format!(
        "ls /; test ! -e {0} && test ! -e /proc/1/root{0} && cd .. && pwd && \
         test ! -e ../../..{0} && echo unseen",
        outside.display()
    );
    let bundle = coracle.bundle();
    let rootfs = bundle.rootfs();
    let told = look(coracle, bundle, &script);
    let mut expected: Vec<_> = fs::read_dir(&rootfs)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    expected.sort();
    expected.extend(["/".to_owned(), "unseen".to_owned()]);
    assert_eq!(told.lines().collect::<Vec<_>>(), expected);
}

/// Nothing is mounted but what config.json asks for.
pub(crate) fn no_mount_is_there_uncalled_for(coracle: &Coracle) {
    let bundle = coracle.bundle();
    let mut expected = BTreeSet::from(["/".to_owned()]);
    for mount in bundle.config()["mounts"].as_array().unwrap() {
        expected.insert(mount["destination"].as_str().unwrap().to_owned());
    }
    for list in ["/linux/maskedPaths", "/linux/readonlyPaths"] {
        expected.extend(strings(&bundle, list).into_iter().filter(|path| Path::new(path).exists()));
    }
    let may_bind = coracle.user().is_some();
    for mount in mounts(coracle, bundle) {
        let point = mount.point.as_str();
        // v1 has a mount for each controller, and an ordinary user's /sys is the host's.
        let part_of_sys =
            point.starts_with("/sys/fs/cgroup/") || may_bind && point.starts_with("/sys/");
        // An ordinary user may not make device nodes.
        let device = may_bind
            && ["null", "zero", "full", "random", "urandom", "tty"]
                .iter()
                .any(|name| point == format!("/dev/{name}"));
        assert!(expected.contains(point) || part_of_sys || device, "{mount:?}");
        assert!(!mount.propagation.contains("shared:"), "{mount:?}");
        if point == "/" {
            assert!(mount.root.ends_with("/rootfs"), "{mount:?}");
        }
    }
}

/// The devices and links that every container has (config-linux.md, "Default Devices").
pub(crate) fn default_devices_are_there(coracle: &Coracle) {
    let script = "cd /dev; ls; stat -c '%n %t:%T %a %F' null zero full random urandom tty; \
                  for l in fd stdin stdout stderr ptmx; do echo $l $(readlink $l); done; \
                  readlink core; stat -c %t:%T ptmx; stat -L -c '%t:%T %a' ptmx; \
                  head -c 4 zero | wc -c; cat null; head -c 8 urandom | wc -c";
    let told = look(coracle, coracle.bundle(), &format!("{{ {script}; }} 2>&1"));
    let core = Path::new("/proc/kcore").exists();
    let mut expected = String::new();
    for name in ["core", "fd", "full", "mqueue", "null", "ptmx", "pts", "random", "shm", "stderr"] {
        if name != "core" || core {
            expected += &format!("{name}\n");
        }
    }
    expected += "stdin\nstdout\ntty\nurandom\nzero\n";
    for (name, numbers) in [
        ("null", "1:3"),
        ("zero", "1:5"),
        ("full", "1:7"),
        ("random", "1:8"),
        ("urandom", "1:9"),
        ("tty", "5:0"),
    ] {
        expected += &format!("{name} {numbers} 666 character special file\n");
    }
    for (name, number) in [("stdin", 0), ("stdout", 1), ("stderr", 2)] {
        if name == "stdin" {
            expected += "fd /proc/self/fd\n";
        }
        expected += &format!("{name} /proc/self/fd/{number}\n");
    }
    expected += "ptmx pts/ptmx\n";
    if core {
        expected += "/proc/kcore\n";
    }
    expected += "0:0\n5:2 666\n4\n8\n";
    assert_eq!(told, expected);
}

/// Masked paths show nothing: an empty read-only directory, or what /dev/null shows.
pub(crate) fn masked_paths_are_empty(coracle: &Coracle) {
    let bundle = coracle
        .bundle()
        .file("/etc/secret", 0o644, "secret")
        .file("/home/secrets/one", 0o644, "secret")
        .set("/linux/maskedPaths/-", "/etc/secret")
        .set("/linux/maskedPaths/-", "/home/secrets")
        .set("/linux/maskedPaths/-", "/not/there");
    let masked = strings(&bundle, "/linux/maskedPaths");
    let script = format!(
        "for p in {}; do \
           if test -d $p; then echo $p directory $(ls -A $p | wc -l); touch $p/x && echo written; \
           elif test -e $p; then echo $p file $(wc -c < $p) $(stat -c %t:%T $p); fi; done 2>&1",
        masked.join(" ")
    );
    let told = look(coracle, bundle, &script);
    for path in masked.iter().filter(|path| path.contains("secret") || Path::new(path).exists()) {
        let file = format!("{path} file 0 1:3\n");
        let directory = format!("{path} directory 0\n");
        assert!(told.contains(&file) || told.contains(&directory), "{path}: {told}");
    }
    assert!(told.contains("/etc/secret file 0") && told.contains("/home/secrets directory 0"));
    assert!(!told.contains("written"), "{told}");
    assert!(!told.contains("/not/there"), "a path that is not there stays away: {told}");
}

/// Read-only paths are mounts with the flag `ro`, and writing there fails.
pub(crate) fn read_only_paths_are(coracle: &Coracle) {
    let bundle = coracle
        .bundle()
        .set("/root/readonly", false)
        .set("/linux/readonlyPaths/-", "/etc")
        .set("/linux/readonlyPaths/-", "/not/there");
    let paths = strings(&bundle, "/linux/readonlyPaths");
    let script = "cat /proc/self/mountinfo; exec 2>&1; touch /tmp/x && echo /tmp is writable; \
                  touch /etc/x; echo a > /etc/passwd; echo h > /proc/sysrq-trigger; \
                  echo 1 > /proc/sys/vm/drop_caches; test ! -e /not && echo not made";
    let told = look(coracle, bundle, script);
    let mounts: Vec<_> = told.lines().filter(|line| line.contains(" - ")).collect();
    let mounts = Mount::parse(&mounts.join("\n"));
    for path in paths.iter().filter(|path| Path::new(path).exists()) {
        let mount = mount_on(&mounts, path);
        assert!(mount.options.starts_with("ro,"), "{mount:?}");
    }
    assert!(told.contains("/tmp is writable\n"), "{told}");
    let refused = 3 + usize::from(Path::new("/proc/sysrq-trigger").exists());
    assert_eq!(told.matches("Read-only file system").count(), refused, "{told}");
    assert!(told.ends_with("not made\n"), "{told}");
}

/// The root file system can be written to only where config.json says so.
pub(crate) fn the_root_is_read_only_or_not(coracle: &Coracle) {
    let script = "touch /new /etc/new 2>&1; echo data 2>/dev/null > /etc/passwd || echo refused";
    let told = look(coracle, coracle.bundle(), script);
    assert_eq!(told.matches("Read-only file system").count(), 2, "{told}");
    assert!(told.contains("refused"), "{told}");
    let options = mounts(coracle, coracle.bundle());
    assert!(mount_on(&options, "/").options.starts_with("ro"));

    let bundle = coracle.bundle().set("/root/readonly", false);
    let rootfs = bundle.rootfs();
    assert_eq!(look(coracle, bundle, script), "");
    assert!(rootfs.join("new").exists());
}

/// Its own host name, and domain name where given.
pub(crate) fn names_are_its_own(coracle: &Coracle) {
    let outside = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let bundle = coracle.bundle().set("/hostname", "inside").set("/domainname", "a.domain");
    let script = "hostname; cat /proc/sys/kernel/hostname /proc/sys/kernel/domainname";
    assert_eq!(look(coracle, bundle, script), "inside\ninside\na.domain\n");
    assert_eq!(fs::read_to_string("/proc/sys/kernel/hostname").unwrap(), outside);
}

/// The five capability sets, and that no more can be had.
pub(crate) fn capabilities_are_limited(coracle: &Coracle) {
    let script = "grep -E '^(Cap|NoNewPrivs)' /proc/self/status";
    let told = look(coracle, coracle.bundle(), script);
    let mut expected = String::new();
    for set in ["Inh", "Prm", "Eff", "Bnd", "Amb"] {
        // CAP_KILL (5), CAP_NET_BIND_SERVICE (10), CAP_AUDIT_WRITE (29).
        expected += &format!("Cap{set}:\t0000000020000420\n");
    }
    assert_eq!(told, format!("{expected}NoNewPrivs:\t1\n"));

    let bundle = coracle.bundle().remove("/process/capabilities");
    let bundle = bundle.set("/process/noNewPrivileges", false);
    let told = look(coracle, bundle, script);
    assert_eq!(told.matches("0000000000000000").count(), 5, "{told}");
    assert!(told.ends_with("NoNewPrivs:\t0\n"), "{told}");
}

/// Limits, the environment, and the directory of the process are as written.
pub(crate) fn the_process_is_as_described(coracle: &Coracle) {
    let limits = look(coracle, coracle.bundle(), "grep 'open files' /proc/self/limits");
    let words: Vec<&str> = limits.split_whitespace().collect();
    assert_eq!(words[3..5], ["1024", "1024"], "{limits}");

    let environment = |bundle: Bundle| {
        let told = coracle.run(&bundle.args(["env"])).succeeds().stdout;
        let mut lines: Vec<_> = told.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    assert_eq!(environment(coracle.bundle()), ["HOME=/root", path, "TERM=xterm"]);
    let given = ["A=1", "EMPTY=", "HOME=/elsewhere", "PATH=/bin", "Z= two  words "];
    let bundle = coracle.bundle().set("/process/env", given.to_vec());
    assert_eq!(environment(bundle), given);

    // The last of each name counts, and a home that is empty is looked up.
    let given = vec!["A=1", "HOME=/x", "PATH=/no", "A=2", "HOME=", "PATH=/bin"];
    let bundle = coracle.bundle().set("/process/env", given);
    assert_eq!(environment(bundle), ["A=2", "HOME=/root", "PATH=/bin"]);

    let bundle = coracle.bundle().set("/process/oomScoreAdj", 500);
    assert_eq!(look(coracle, bundle, "cat /proc/self/oom_score_adj"), "500\n");

    let bundle = coracle.bundle().set("/process/cwd", "/etc");
    assert_eq!(look(coracle, bundle, "pwd; ls passwd"), "/etc\npasswd\n");
    let bundle = coracle.bundle().set("/process/cwd", "/not/yet/there");
    assert_eq!(look(coracle, bundle, "pwd"), "/not/yet/there\n");

    let bundle = coracle.bundle().set("/process/user/umask", 0o027);
    assert_eq!(look(coracle, bundle, "umask; echo $0"), "0027\nsh\n");
    let bundle = coracle.bundle().args(["sh", "-c", "echo \"$@\"", "sh", "a b", "", "$c"]);
    assert_eq!(coracle.run(&bundle).succeeds().stdout, "a b  $c\n");
}

/// A life from create to delete.
pub(crate) fn a_life_is_lived(coracle: &Coracle) {
    let bundle = coracle.bundle().sh("echo started; sleep 1000");
    let created = coracle.create(&bundle);
    assert_eq!(coracle.status(bundle.id()), "created");
    coracle.call(["start", bundle.id()]).output().succeeds();
    eventually("it starts", || created.stdout_by_now() == "started\n");
    let told = coracle.call(["exec", bundle.id(), "sh", "-c", "echo too; exit 3"]).output();
    assert_eq!(told.exits(3).stdout, "too\n");
    let listed = coracle.call(["list", "--quiet"]).output().succeeds().stdout;
    assert_eq!(listed, format!("{}\n", bundle.id()));
    coracle.call(["kill", bundle.id(), "KILL"]).output().succeeds();
    coracle.becomes(bundle.id(), "stopped");
    coracle.call(["delete", bundle.id()]).output().succeeds();
    coracle.assert_nothing_left();
}
