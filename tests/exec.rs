//! Another process in a container that lives.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;

use coracle_tests::{Bundle, Coracle, Outcome, Receiver, eventually, json, need};

/// A container that goes on.
fn endless(coracle: &Coracle) -> Bundle {
    let bundle = coracle.bundle().sh("sleep 1000");
    coracle.start(&bundle);
    bundle
}

fn exec(coracle: &Coracle, bundle: &Bundle, options: &[&str], command: &[&str]) -> Outcome {
    coracle.call(["exec"]).args(options).args([bundle.id()]).args(command).output()
}

#[test]
fn the_command_runs_inside_and_its_exit_code_is_exec_s() {
    let coracle = need!(Coracle::as_root());
    let bundle = endless(&coracle);
    let told = exec(&coracle, &bundle, &[], &["sh", "-c", "cat /proc/1/cmdline; hostname; exit 7"]);
    let host = bundle.config()["hostname"].as_str().unwrap();
    assert_eq!(told.exits(7).stdout, format!("sleep\x001000\0{host}\n"));
    exec(&coracle, &bundle, &[], &["sh", "-c", "kill -TERM $$"]).exits(143);
    // All behind the ID is the command's.
    let told = exec(&coracle, &bundle, &[], &["echo", "--cwd", "-t", "--help"]);
    assert_eq!(told.stdout, "--cwd -t --help\n");
    coracle.delete(bundle.id());
    coracle.assert_nothing_left();
}

#[test]
fn a_filter_is_installed_whether_privileges_can_be_gained_or_not() {
    let coracle = need!(Coracle::as_root());
    for forbidden in [true, false] {
        let filter = json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": [],
                            "syscalls": [{"names": ["sethostname"], "action": "SCMP_ACT_ERRNO"}]});
        let bundle = coracle
            .bundle()
            .sh("sleep 1000")
            .set("/linux/seccomp", filter)
            .set("/process/noNewPrivileges", forbidden);
        coracle.start(&bundle);
        let look = ["grep", "-E", "^(NoNewPrivs|Seccomp):", "/proc/self/status"];
        let told = exec(&coracle, &bundle, &[], &look).succeeds().stdout;
        assert_eq!(told, format!("NoNewPrivs:\t{}\nSeccomp:\t2\n", u8::from(forbidden)));
        coracle.delete(bundle.id());
    }
}

#[test]
fn every_namespace_and_the_cgroup_are_the_container_s() {
    let coracle = need!(Coracle::as_root());
    let bundle = endless(&coracle);
    for namespace in ["pid", "net", "ipc", "uts", "mnt"] {
        let link = format!("/proc/{}/ns/{namespace}", coracle.pid(bundle.id()));
        let own = fs::read_link(link).unwrap();
        let inside = format!("/proc/self/ns/{namespace}");
        let told = exec(&coracle, &bundle, &[], &["readlink", &inside]).succeeds();
        assert_eq!(told.stdout.trim(), own.to_str().unwrap());
    }
    let cgroups = |told: Outcome| told.succeeds().stdout;
    let own = cgroups(exec(&coracle, &bundle, &[], &["cat", "/proc/1/cgroup"]));
    let other = cgroups(exec(&coracle, &bundle, &[], &["cat", "/proc/self/cgroup"]));
    assert_eq!(own, other);
    coracle.delete(bundle.id());
}

#[test]
fn environment_directory_and_user_can_be_given() {
    let coracle = need!(Coracle::as_root());
    let bundle = endless(&coracle);
    let options = ["--env", "A=1", "-e", "B=two words", "--cwd", "/tmp", "--user", "1000:5"];
    let script = "echo $A,$B; pwd; id -u; id -g; echo $HOME";
    let told = exec(&coracle, &bundle, &options, &["sh", "-c", script]).succeeds();
    assert_eq!(told.stdout, "1,two words\n/tmp\n1000\n5\n/home\n");
    // What is not given is as in config.json.
    let told = exec(&coracle, &bundle, &[], &["sh", "-c", "echo $PATH; pwd; id -u"]).succeeds();
    let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    assert_eq!(told.stdout, format!("{path}\n/\n0\n"));
    coracle.delete(bundle.id());
}

#[test]
fn privileges_are_those_of_the_configuration() {
    let coracle = need!(Coracle::as_root());
    let bundle = endless(&coracle);
    let status = |of: &str| {
        let script = format!("grep -E '^(Cap|NoNewPrivs|Seccomp)' /proc/{of}/status");
        exec(&coracle, &bundle, &[], &["sh", "-c", &script]).succeeds().stdout
    };
    assert_eq!(status("1"), status("self"));
    let limit = exec(&coracle, &bundle, &[], &["sh", "-c", "ulimit -n"]).succeeds();
    assert_eq!(limit.stdout, "1024\n");
    coracle.delete(bundle.id());
}

#[test]
fn a_process_file_says_it_all() {
    let coracle = need!(Coracle::as_root());
    let bundle = endless(&coracle);
    let file = coracle.path().join("process.json");
    let process = json!({
        "user": {"uid": 1000, "gid": 1000, "additionalGids": [5], "umask": 0o27},
        "args": ["sh", "-c", "id -u; id -G; umask; pwd; echo $X; grep CapEff /proc/self/status"],
        "env": ["X=y", "PATH=/bin"],
        "cwd": "/etc",
    });
    fs::write(&file, process.to_string()).unwrap();
    for option in ["--process", "-p"] {
        let told = exec(&coracle, &bundle, &[option, file.to_str().unwrap()], &[]).succeeds();
        assert_eq!(told.stdout, "1000\n1000 5\n0027\n/etc\ny\nCapEff:\t0000000000000000\n");
    }
    coracle.delete(bundle.id());
}

#[test]
fn a_detached_command_goes_on() {
    let coracle = need!(Coracle::as_root());
    let bundle = endless(&coracle);
    let file = coracle.path().join("pid");
    let options = ["--detach", "--pid-file", file.to_str().unwrap()];
    let told = exec(&coracle, &bundle, &options, &["sh", "-c", "echo on; sleep 1000"]).succeeds();
    eventually("it goes on", || told.stdout_by_now() == "on\n");
    let pid = fs::read_to_string(&file).unwrap();
    assert!(pid.bytes().all(|byte| byte.is_ascii_digit()), "{pid:?}");
    let root = fs::read_link(format!("/proc/{pid}/ns/mnt")).unwrap();
    let own = fs::read_link(format!("/proc/{}/ns/mnt", coracle.pid(bundle.id()))).unwrap();
    assert_eq!(root, own);
    coracle.delete(bundle.id());
    coracle.assert_nothing_left();
}

#[test]
fn a_terminal_for_the_command() {
    let coracle = need!(Coracle::as_root());
    let bundle = endless(&coracle);
    let receiver = Receiver::new(coracle.path().join("console.sock"));
    let options = ["--tty", "--detach", "--console-socket", receiver.path().to_str().unwrap()];
    exec(&coracle, &bundle, &options, &["sh", "-c", "test -t 0 && echo a terminal"]).succeeds();
    let (_, emulator) = receiver.receive();
    coracle_tests::Pty::from_emulator(emulator).shows("a terminal");
    coracle.delete(bundle.id());
}

#[test]
fn it_works_before_start_and_not_after_the_end() {
    let coracle = need!(Coracle::as_root());
    let bundle = coracle.bundle().sh("exit 0");
    coracle.create(&bundle);
    assert_eq!(exec(&coracle, &bundle, &[], &["echo", "early"]).succeeds().stdout, "early\n");
    assert_eq!(coracle.status(bundle.id()), "created");
    coracle.call(["start", bundle.id()]).output().succeeds();
    coracle.becomes(bundle.id(), "stopped");
    let late = exec(&coracle, &bundle, &[], &["echo", "late"]);
    late.exits(255).says("cannot exec in a stopped container");
    coracle.call(["delete", bundle.id()]).output().succeeds();
}

#[test]
fn a_missing_program_is_named() {
    let coracle = need!(Coracle::as_root());
    let bundle = endless(&coracle);
    let file = coracle.path().join("pid");
    let options = ["--pid-file", file.to_str().unwrap()];
    for (program, words) in [
        ("no-such-program", "executable file not found in $PATH"),
        ("/no/such/program", "no such file or directory"),
        ("/etc/passwd", "permission denied"),
    ] {
        exec(&coracle, &bundle, &options, &[program]).exits(255).says(program).says(words);
        assert!(!file.exists(), "a command that did not start has no process ID");
    }
    coracle.call(["exec", bundle.id()]).output().fails();
    assert_eq!(coracle.status(bundle.id()), "running");
    coracle.delete(bundle.id());
    coracle.assert_nothing_left();
}
