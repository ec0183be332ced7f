//! Engines read what a runtime says: here each test plays an engine's part of it. What they look
//! for is a contract, though nobody wrote it down.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;

use coracle_tests::{Bundle, Call, Coracle, Outcome, Value, json, need};

/// Docker's exit code for a container that did not start: by the words, in any case.
fn docker(words: &str) -> i32 {
    let words = words.to_lowercase();
    let any = |all: &[&str]| all.iter().any(|one| words.contains(one));
    if any(&["permission denied", "is a directory"]) {
        126
    } else if any(&["executable file not found", "no such file or directory", "not a directory"]) {
        127
    } else {
        128
    }
}

/// podman's.
fn podman(words: &str) -> i32 {
    let any = |all: &[&str]| all.iter().any(|one| words.to_lowercase().contains(one));
    if any(&["permission denied", "operation not permitted"]) {
        126
    } else if any(&["executable file not found in", "no such file or directory", "open executable"])
    {
        127
    } else {
        125
    }
}

/// Whether containerd takes a failed kill for "it has ended already".
fn containerd_not_found(words: &str) -> bool {
    words.contains("container not running")
        || words.to_lowercase().contains("no such process")
        || words.contains("does not exist")
}

/// The last error of a log, as containerd reads it: it gives the file up at the first line that is
/// no object with a time of RFC 3339.
fn containerd_error(log: &str) -> Option<String> {
    let mut last = None;
    for line in log.lines() {
        let line: Value = line.parse().ok()?;
        let time = line["time"].as_str()?;
        let shape: String =
            time.chars().map(|letter| if letter.is_ascii_digit() { '0' } else { letter }).collect();
        assert!(shape.starts_with("0000-00-00T00:00:00") && shape.ends_with('Z'), "{time}");
        if line["level"] == "error" {
            last = line["msg"].as_str().map(str::to_owned);
        }
    }
    last
}

/// A call as an engine makes it; what its log then says.
fn logged(coracle: &Coracle, call: impl FnOnce(&[&str]) -> Call) -> (Outcome, String) {
    let log = coracle.path().join("engine.json");
    let _ = fs::remove_file(&log);
    let options = ["--log", log.to_str().unwrap(), "--log-format", "json"];
    let outcome = call(&options).output();
    (outcome, fs::read_to_string(&log).unwrap_or_default())
}

/// A program that cannot run, and what docker and podman make of it.
const PROGRAMS: &[(&str, i32, i32)] = &[
    ("no-such-program", 127, 127),
    ("/no/such/program", 127, 127),
    ("/etc/passwd/program", 127, 125),
    ("/tmp", 126, 126),
    ("/etc/passwd", 126, 126),
    ("/bin/without-interpreter", 127, 127),
];

fn bundle(coracle: &Coracle) -> Bundle {
    let script = "#!/no/such/interpreter\n";
    coracle.bundle().file("/bin/without-interpreter", 0o755, script)
}

#[test]
fn a_program_that_cannot_run_has_the_exit_code_that_engines_give() {
    let coracle = &need!(Coracle::as_root());
    let running = bundle(coracle).sh("sleep 1000");
    coracle.start(&running);
    for (program, by_docker, by_podman) in PROGRAMS {
        let made = bundle(coracle).args([program]);
        let create = |options: &[&str]| {
            coracle.call(options).args(["run", "--bundle"]).args([made.path()]).args([made.id()])
        };
        let exec = |options: &[&str]| coracle.call(options).args(["exec", running.id(), program]);
        let (started, start_log) = logged(coracle, create);
        let (executed, exec_log) = logged(coracle, exec);
        for (outcome, log) in [(started, start_log), (executed.exits(255), exec_log)] {
            let words = outcome.fails().stderr;
            let error = containerd_error(&log).expect("an error in the log");
            for text in [&words, &error] {
                assert_eq!(docker(text), *by_docker, "{program}: {text}");
                assert_eq!(podman(text), *by_podman, "{program}: {text}");
            }
            // podman takes the whole file for one object.
            let whole: Value = log.parse().unwrap_or_else(|error| panic!("{error}: {log}"));
            assert_eq!(whole["level"], "error");
        }
        let _ = coracle.call(["delete", "--force", made.id()]).output();
    }
    // What has nothing to do with the program is none of these.
    let broken = coracle.bundle().set("/linux/namespaces/-", json!({"type": "strange"}));
    let (outcome, _) = logged(coracle, |options| {
        coracle.call(options).args(["create", "--bundle"]).args([broken.path()]).args([broken.id()])
    });
    assert_eq!(docker(&outcome.fails().stderr), 128);
    coracle.delete(running.id());
    coracle.assert_nothing_left();
}

#[test]
fn one_that_is_gone_is_known_to_be_gone() {
    let coracle = &need!(Coracle::as_root());
    let bundle = coracle.bundle().sh("exit 0");
    let id = bundle.id();
    for command in ["state", "start", "kill", "delete", "pause", "resume", "ps", "update"] {
        let told = coracle.call([command, id]).output().fails();
        assert!(told.stderr.contains("does not exist"), "{command}: {}", told.stderr);
    }
    coracle.call(["exec", id, "true"]).output().exits(255).says("does not exist");
    coracle.call(["delete", "--force", id]).output().succeeds();

    coracle.start(&bundle);
    coracle.becomes(id, "stopped");
    for signal in ["KILL", "15"] {
        let (outcome, log) =
            logged(coracle, |options| coracle.call(options).args(["kill", id, signal]));
        let words = outcome.fails().stderr;
        assert!(containerd_not_found(&words), "{words}");
        assert!(containerd_not_found(&containerd_error(&log).unwrap()), "{log}");
        // containerd and CRI-O each look for their own of the two.
        assert!(words.contains("container not running") && words.contains("no such process"));
    }
    coracle.call(["kill", "--all", id, "KILL"]).output().succeeds();
    coracle.delete(id);
}

/// runc's words, which tools look for.
#[test]
fn a_wrong_state_is_told_in_runc_s_words() {
    let coracle = &need!(Coracle::as_root());
    let bundle = coracle.bundle().sh("sleep 1000");
    let id = bundle.id();
    let says = |words: &[&str], text: &str| {
        coracle.call(words).output().fails().says(text);
    };
    coracle.create(&bundle);
    coracle
        .with_bundle("create", &bundle, &[])
        .output()
        .fails()
        .says("container with given ID already exists");
    coracle.call(["pause", id]).output().succeeds();
    says(&["start", id], "cannot start a container in the paused state");
    coracle.call(["resume", id]).output().succeeds();
    coracle.call(["start", id]).output().succeeds();
    says(&["start", id], "cannot start an already running container");
    says(&["delete", id], &format!("cannot delete container {id} that is not stopped: running"));
    says(&["resume", id], "container not paused");
    coracle.call(["pause", id]).output().succeeds();
    says(&["pause", id], "container not running");
    let words = "cannot exec in a paused container (use --ignore-paused to override)";
    says(&["exec", id, "true"], words);
    says(&["delete", id], "that is not stopped: paused");
    coracle.call(["resume", id]).output().succeeds();
    coracle.call(["kill", id, "KILL"]).output().succeeds();
    coracle.becomes(id, "stopped");
    says(&["start", id], "cannot start a container that has stopped");
    says(&["exec", id, "true"], "cannot exec in a stopped container");
    says(&["pause", id], "container not running");
    says(&["update", "--pids-limit", "5", id], "container not running");
    coracle.call(["delete", id]).output().succeeds();

    let call = coracle.call(["create", "--bundle"]).args([bundle.path()]);
    call.args(["not/an/id"]).output().fails().says("invalid container ID format");
    fs::remove_file(bundle.path().join("config.json")).unwrap();
    let create = coracle.with_bundle("create", &bundle, &[]).output().fails();
    create.says("JSON specification file config.json not found");
}

/// go-runc and CRI-O read both streams of some calls together, and a warning among JSON is no JSON.
#[test]
fn nothing_is_on_standard_error_where_a_call_succeeds() {
    let coracle = &need!(Coracle::as_root());
    let mounts = coracle.path().join("mounts.json");
    let mount = json!([{"destination": "/tmp", "type": "tmpfs"}]);
    fs::write(&mounts, mount.to_string()).unwrap();
    let mounts = mounts.to_str().unwrap();
    for name in ["coracle", "runc", "crun"] {
        let program = coracle.path().join(name);
        if !program.exists() {
            symlink(coracle.binary(), &program).unwrap();
        }
        let bundle = coracle.bundle().sh("sleep 1000");
        let short = coracle.bundle().sh("exit 0");
        let (path, id) = (bundle.path().to_str().unwrap(), bundle.id());
        let call = |words: &[&str]| {
            let call = Call::new([program.as_os_str(), "--root".as_ref()]);
            let told = call.args([coracle.state_directory()]).args(words).output().succeeds();
            assert_eq!(told.stderr, "", "{name} {words:?}");
            told.stdout
        };
        let json = |words: &[&str]| {
            call(words).parse::<Value>().unwrap_or_else(|e| panic!("{words:?}: {e}"))
        };
        call(&["--version"]);
        json(&["features"]);
        call(&["plan", "--bundle", path]);
        call(&["create", "--bundle", path, id]);
        call(&["start", id]);
        json(&["state", id]);
        json(&["list", "--format", "json"]);
        json(&["ps", "--format", "json", id]);
        json(&["events", "--stats", id]);
        call(&["list"]);
        call(&["list", "-q"]);
        call(&["exec", id, "true"]);
        call(&["exec", "--detach", id, "true"]);
        call(&["update", "--pids-limit", "100", id]);
        call(&["mounts", "add", id, mounts]);
        call(&["mounts", "remove", id, mounts]);
        call(&["pause", id]);
        call(&["resume", id]);
        call(&["kill", id, "KILL"]);
        coracle.becomes(id, "stopped");
        call(&["delete", id]);
        call(&["delete", "--force", id]);
        call(&["run", "--bundle", short.path().to_str().unwrap(), short.id()]);
        call(&["run", "--detach", "--bundle", short.path().to_str().unwrap(), short.id()]);
        coracle.becomes(short.id(), "stopped");
        call(&["delete", short.id()]);
        let file = coracle.path().join(format!("{name}.json"));
        call(&["spec", "--file", file.to_str().unwrap()]);
    }
    coracle.assert_nothing_left();
}

/// What an engine wanted and cannot have is told, and nothing is left of the try.
#[test]
fn files_and_sockets_that_cannot_be_used() {
    let coracle = &need!(Coracle::as_root());
    let path = |name: &str| coracle.path().join(name).to_str().unwrap().to_owned();
    fs::write(path("file"), "").unwrap();
    // A name with nobody behind it any more.
    drop(UnixListener::bind(path("dead.sock")).unwrap());
    let bundle = coracle.bundle().sh("exit 0");
    let fails = |options: &[&str], words: &str| {
        for command in ["create", "run"] {
            coracle.with_bundle(command, &bundle, options).output().fails().says(words);
            coracle.assert_nothing_left();
        }
    };
    fails(&["--pid-file", &path("none/pid")], "none/pid");
    fails(&["--pid-file", "/proc/version"], "/proc/version");
    for socket in ["file", "dead.sock", "none.sock"] {
        fails(&["--pidfd-socket", &path(socket)], socket);
    }
    let terminal = coracle.bundle().set("/process/terminal", true).sh("exit 0");
    for socket in ["file", "dead.sock", "none.sock"] {
        let options = ["--console-socket", &path(socket)];
        coracle.with_bundle("create", &terminal, &options).output().fails().says(socket);
        coracle.assert_nothing_left();
    }
    // One who takes the connection and goes away has the terminal closed, and no more.
    let listener = UnixListener::bind(path("leaves.sock")).unwrap();
    let leaves = std::thread::spawn(move || drop(listener.accept()));
    let options = ["--console-socket", &path("leaves.sock")];
    let _ = coracle.with_bundle("create", &terminal, &options).output();
    leaves.join().unwrap();
    let _ = coracle.call(["delete", "--force", terminal.id()]).output();
    coracle.assert_nothing_left();

    // Without its log a call goes on, and says so.
    for log in [path("none/log"), "/".to_owned(), "journald:".to_owned()] {
        let told = coracle.call(["--log", &log, "run", "--bundle"]);
        let told = told.args([bundle.path()]).args([bundle.id()]).output().succeeds();
        assert!(told.stderr.contains("cannot write the log") || log == "journald:", "{told:?}");
    }
    coracle.assert_nothing_left();
}

/// What an earlier release has written can be listed, signalled and removed.
#[test]
fn state_of_an_earlier_release_is_read() {
    let coracle = &need!(Coracle::as_root());
    let state = coracle.state_directory();
    let bundle = coracle.bundle();
    let sleeper = Call::new(["sleep", "1000"]).spawn();
    let start = |pid: u32| {
        let text = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let (_, fields) = text.rsplit_once(") ").unwrap();
        fields.split(' ').nth(19).unwrap().to_owned()
    };
    let write = |id: &str, pid: u32, start: &str| {
        let text = include_str!("data/state-0.1.json")
            .replace("{pid}", &pid.to_string())
            .replace("{start}", start)
            .replace("{bundle}", bundle.path().to_str().unwrap())
            .replace("{cgroup}", bundle.id())
            .replace("{id}", id);
        fs::create_dir_all(state.join(id)).unwrap();
        fs::write(state.join(id).join("state.json"), text).unwrap();
        fs::copy(bundle.path().join("config.json"), state.join(id).join("config.json")).unwrap();
    };
    let (ended, alive) = (bundle.other_id("ended"), bundle.other_id("alive"));
    write(&ended, u32::MAX >> 2, "1");
    write(&alive, sleeper.pid(), &start(sleeper.pid()));
    let listed = coracle.call(["list", "--format", "json"]).output().succeeds();
    assert_eq!(listed.stderr, "");
    let listed: Value = listed.stdout.parse().unwrap();
    assert_eq!(listed.as_array().unwrap().len(), 2);
    let told = coracle.state(&ended);
    assert_eq!((&told["status"], &told["pid"]), (&json!("stopped"), &json!(0)));
    assert_eq!(told["annotations"], json!({"org.example": "kept"}));
    assert_eq!(told["bundle"], bundle.path().to_str().unwrap());
    assert_eq!(told["created"], "2024-05-06T07:08:09.048520844Z");
    assert_eq!(coracle.status(&alive), "running");
    coracle.call(["delete", &ended]).output().succeeds();
    coracle.call(["delete", &alive]).output().fails();
    coracle.call(["kill", &alive, "TERM"]).output().succeeds();
    assert_eq!(sleeper.wait().signal, Some(15));
    coracle.becomes(&alive, "stopped");
    coracle.call(["delete", &alive]).output().succeeds();
    coracle.assert_nothing_left();
}
