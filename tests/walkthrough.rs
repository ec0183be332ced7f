//! The first container, word for word as the documentation has it: by hand, and by `coracle hello`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use coracle_tests::{Call, Coracle, Outcome, Pty, copy_program, need};

/// What the program of the walk-through prints first.
const GREETING: &str = "Hello from inside a container!";

/// The steps, typed in an empty directory. COMMAND is coracle or another name for it.
const BY_HAND: &str = "\
mkdir hello
cd hello
mkdir rootfs
tar -C rootfs -xf hello-world.tar
COMMAND spec
sed -i 's;\"sh\";\"/hello\";' config.json
COMMAND run container1";

/// Every walk-through names its container container1, and so its cgroup: one at a time.
fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An archive with one static program, /hello, and the command where PATH leads to.
fn prepare(coracle: &Coracle) {
    let path = coracle.path().join("path");
    fs::create_dir(&path).unwrap();
    copy_program(coracle.binary(), &path.join("coracle"));
    std::os::unix::fs::symlink("coracle", path.join("runc")).unwrap();
    let content = coracle.path().join("content");
    fs::create_dir(&content).unwrap();
    copy_program(coracle.binary(), &content.join("hello"));
    let archive = coracle.path().join("hello-world.tar");
    let tar = ["tar", "-c", "-f", archive.to_str().unwrap(), "-C", content.to_str().unwrap()];
    Call::new(tar).args(["hello"]).output().succeeds();
}

/// A shell that reads the script in the user's home directory, and finds the command in PATH. For
/// root in a mount namespace with a /run of its own: containers are kept there by default.
fn shell(coracle: &Coracle, script: &str) -> Call {
    let archive = coracle.path().join("hello-world.tar");
    let script = script.replace("hello-world.tar", archive.to_str().unwrap());
    let path = format!(
        "{}:{}",
        coracle.path().join("path").display(),
        std::env::var("PATH").unwrap_or_default()
    );
    let mut call = Call::new(["sh", "-e", "-c", &script])
        .within(coracle.home())
        .env("PATH", path)
        .env("HOME", coracle.home())
        .env("XDG_RUNTIME_DIR", coracle.path().join("xdg"))
        .env("CORACLE_TEST", coracle.name())
        .user(coracle.user().cloned());
    if coracle.user().is_none() {
        let own_run = "mount -t tmpfs tmpfs /run && exec \"$@\"";
        call = call.through(["unshare", "-m", "sh", "-c", own_run, "sh"]);
    }
    call
}

#[track_caller]
fn assert_greeted(told: &str) {
    assert!(told.contains(GREETING), "{told}");
}

/// Whether a cgroup of the walk-through's container is left.
fn assert_no_cgroup_left() {
    for (_, cgroup) in coracle_tests::controllers(std::process::id()) {
        let left = cgroup.join("container1");
        assert!(!left.exists(), "{}", left.display());
    }
}

#[test]
fn by_hand_as_root() {
    let coracle = need!(Coracle::as_root());
    let _alone = alone();
    prepare(&coracle);
    for command in ["coracle", "runc"] {
        let script = BY_HAND.replace("COMMAND", command);
        let run = || shell(&coracle, &script).output().succeeds();
        // config.json asks for a terminal; /dev/null is none.
        assert_greeted(&run().stdout);
        fs::remove_dir_all(coracle.home().join("hello")).unwrap();
    }
    assert_no_cgroup_left();
    coracle.assert_nothing_left();
}

#[test]
fn by_hand_with_a_pipe_or_a_terminal() {
    let coracle = need!(Coracle::as_root());
    let _alone = alone();
    prepare(&coracle);
    let script = BY_HAND.replace("COMMAND", "coracle");

    let (reader, writer) = std::io::pipe().unwrap();
    let ended = shell(&coracle, &script).stdin(reader).output().succeeds();
    drop(writer);
    assert_greeted(&ended.stdout);
    fs::remove_dir_all(coracle.home().join("hello")).unwrap();

    let piped = "(COMMANDS) | cat".replace("COMMANDS", &script);
    assert_greeted(&shell(&coracle, &piped).output().succeeds().stdout);
    fs::remove_dir_all(coracle.home().join("hello")).unwrap();

    let mut pty = Pty::new(24, 80);
    pty.spawn(shell(&coracle, &script)).wait().exits(0);
    assert_greeted(&pty.rest());
    coracle.assert_nothing_left();
}

#[test]
fn by_hand_as_an_ordinary_user() {
    let coracle = need!(Coracle::as_user());
    let _alone = alone();
    prepare(&coracle);
    let script = BY_HAND.replace("COMMAND spec", "COMMAND spec --rootless");
    let script = script.replace("COMMAND", "coracle");
    assert_greeted(&shell(&coracle, &script).output().succeeds().stdout);
    coracle.assert_nothing_left();
}

/// `coracle hello` shows what it does as commands that a person could type, and what the container
/// sees.
fn hello(coracle: &Coracle) -> Outcome {
    prepare(coracle);
    let told = shell(coracle, "coracle hello").output().succeeds();
    for step in ["mkdir", "spec", "sed -i 's;\"sh\";\"/hello\";' config.json", "run container1"] {
        let shown = told.stdout.lines().any(|line| line.starts_with("$ ") && line.contains(step));
        assert!(shown, "{step}: {}", told.stdout);
    }
    assert_greeted(&told.stdout);
    let row = |name: &str| {
        let mut rows = told.stdout.lines().map(str::trim_start);
        let row = rows.find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| {
            panic!("{name} is not in {}", told.stdout);
        });
        row.trim().to_owned()
    };
    assert_eq!(row("pid"), "1");
    assert_ne!(row("hostname"), fs::read_to_string("/proc/sys/kernel/hostname").unwrap().trim());
    for set in ["bounding", "effective", "inheritable", "permitted", "ambient"] {
        let names = row(set);
        for capability in ["AUDIT_WRITE", "KILL", "NET_BIND_SERVICE"] {
            assert!(names.contains(capability), "{set}: {names}");
        }
    }
    for mount in ["/proc", "/dev/pts", "/sys"] {
        assert!(row("mounts").split_whitespace().any(|place| place == mount), "{mount}");
    }
    assert_eq!(row("root"), "read-only");
    let bundle = coracle.home().join("hello");
    assert!(bundle.join("config.json").is_file() && bundle.join("rootfs/hello").is_file());
    coracle.assert_nothing_left();
    told
}

#[test]
fn hello_as_root() {
    let coracle = need!(Coracle::as_root());
    let _alone = alone();
    hello(&coracle);
    // Once more over what is there.
    let again = shell(&coracle, "coracle hello").output().succeeds();
    assert_greeted(&again.stdout);
    assert_no_cgroup_left();
}

#[test]
fn hello_as_an_ordinary_user() {
    let coracle = need!(Coracle::as_user());
    let _alone = alone();
    let told = hello(&coracle);
    assert!(told.stdout.contains("spec --rootless"), "{}", told.stdout);
    assert!(Path::new(&coracle.home()).join("hello/rootfs").is_dir());
}
