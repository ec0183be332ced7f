//! Another process in a container that lives.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::path::{Path, PathBuf};

use coracle_tests::{
    Bundle, Coracle, Outcome, Receiver, Value, controlled, controllers, eventually, json,
};

/// A container that goes on.
fn endless(coracle: &Coracle) -> Bundle {
    let bundle = coracle.bundle().sh("sleep 1000");
    coracle.start(&bundle);
    bundle
}

fn exec(coracle: &Coracle, bundle: &Bundle, options: &[&str], command: &[&str]) -> Outcome {
    coracle.call(["exec"]).args(options).args([bundle.id()]).args(command).output()
}

fn the_command_runs_inside_and_its_exit_code_is_exec_s(coracle: &Coracle) {
    let bundle = endless(coracle);
    let told = exec(coracle, &bundle, &[], &["sh", "-c", "cat /proc/1/cmdline; hostname; exit 7"]);
    let host = bundle.config()["hostname"].as_str().unwrap();
    assert_eq!(told.exits(7).stdout, format!("sleep\x001000\0{host}\n"));
    exec(coracle, &bundle, &[], &["sh", "-c", "kill -TERM $$"]).exits(143);
    // All behind the ID is the command's.
    let told = exec(coracle, &bundle, &[], &["echo", "--cwd", "-t", "--help"]);
    assert_eq!(told.stdout, "--cwd -t --help\n");
    coracle.delete(bundle.id());
    coracle.assert_nothing_left();
}

fn a_filter_is_installed_whether_privileges_can_be_gained_or_not(coracle: &Coracle) {
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
        let told = exec(coracle, &bundle, &[], &look).succeeds().stdout;
        assert_eq!(told, format!("NoNewPrivs:\t{}\nSeccomp:\t2\n", u8::from(forbidden)));
        coracle.delete(bundle.id());
    }
}

fn every_namespace_and_the_cgroup_are_the_container_s(coracle: &Coracle) {
    let bundle = endless(coracle);
    for namespace in ["pid", "net", "ipc", "uts", "mnt"] {
        let link = format!("/proc/{}/ns/{namespace}", coracle.pid(bundle.id()));
        let own = fs::read_link(link).unwrap();
        let inside = format!("/proc/self/ns/{namespace}");
        let told = exec(coracle, &bundle, &[], &["readlink", &inside]).succeeds();
        assert_eq!(told.stdout.trim(), own.to_str().unwrap());
    }
    let cgroups = |told: Outcome| told.succeeds().stdout;
    let own = cgroups(exec(coracle, &bundle, &[], &["cat", "/proc/1/cgroup"]));
    let other = cgroups(exec(coracle, &bundle, &[], &["cat", "/proc/self/cgroup"]));
    assert_eq!(own, other);
    coracle.delete(bundle.id());
}

fn environment_directory_and_user_can_be_given(coracle: &Coracle) {
    let bundle = endless(coracle);
    let options = ["--env", "A=1", "-e", "B=two words", "--cwd", "/tmp", "--user", "1000:5"];
    let script = "echo $A,$B; pwd; id -u; id -g; echo $HOME";
    let told = exec(coracle, &bundle, &options, &["sh", "-c", script]).succeeds();
    assert_eq!(told.stdout, "1,two words\n/tmp\n1000\n5\n/home\n");
    // What is given takes the place of what config.json says.
    let path = ["--env", "PATH=/usr/no:/bin", "-e", "TERM=x", "-e", "TERM=y"];
    let told = exec(coracle, &bundle, &path, &["env"]).succeeds().stdout;
    let mut lines: Vec<_> = told.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["HOME=/root", "PATH=/usr/no:/bin", "TERM=y"]);
    // What is empty is not given.
    let empty = ["--cwd=", "--user=", "--apparmor=", "--process-label="];
    let told = exec(coracle, &bundle, &empty, &["sh", "-c", "pwd; id -u"]).succeeds();
    assert_eq!(told.stdout, "/\n0\n");
    // What is not given is as in config.json.
    let told = exec(coracle, &bundle, &[], &["sh", "-c", "echo $PATH; pwd; id -u"]).succeeds();
    let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    assert_eq!(told.stdout, format!("{path}\n/\n0\n"));
    coracle.delete(bundle.id());
}

fn privileges_are_those_of_the_configuration(coracle: &Coracle) {
    let bundle = endless(coracle);
    let status = |of: &str| {
        let script = format!("grep -E '^(Cap|NoNewPrivs|Seccomp)' /proc/{of}/status");
        exec(coracle, &bundle, &[], &["sh", "-c", &script]).succeeds().stdout
    };
    assert_eq!(status("1"), status("self"));
    let limit = exec(coracle, &bundle, &[], &["sh", "-c", "ulimit -n"]).succeeds();
    assert_eq!(limit.stdout, "1024\n");
    coracle.delete(bundle.id());
}

fn a_process_file_says_it_all(coracle: &Coracle) {
    let bundle = endless(coracle);
    let file = coracle.path().join("process.json");
    let process = json!({
        "user": {"uid": 1000, "gid": 1000, "additionalGids": [5], "umask": 0o27},
        "args": ["sh", "-c", "id -u; id -G; umask; pwd; echo $X; grep CapEff /proc/self/status"],
        "env": ["X=y", "PATH=/bin"],
        "cwd": "/etc",
        "capabilities": {},
    });
    fs::write(&file, process.to_string()).unwrap();
    for option in ["--process", "-p"] {
        let told = exec(coracle, &bundle, &[option, file.to_str().unwrap()], &[]).succeeds();
        assert_eq!(told.stdout, "1000\n1000 5\n0027\n/etc\ny\nCapEff:\t0000000000000000\n");
    }
    // But for capabilities: where it names none at all, those of the container.
    let capabilities = |sets: Option<Value>| {
        let mut process = json!({
            "args": ["grep", "CapBnd", "/proc/self/status"], "env": ["PATH=/bin"], "cwd": "/",
        });
        if let Some(sets) = sets {
            process["capabilities"] = sets;
        }
        fs::write(&file, process.to_string()).unwrap();
        exec(coracle, &bundle, &["-p", file.to_str().unwrap()], &[]).succeeds().stdout
    };
    let own = exec(coracle, &bundle, &[], &["grep", "CapBnd", "/proc/1/status"]).succeeds().stdout;
    assert_eq!(capabilities(None), own);
    assert_ne!(capabilities(Some(json!({}))), own);
    coracle.delete(bundle.id());
}

fn a_detached_command_goes_on(coracle: &Coracle) {
    let bundle = endless(coracle);
    let file = coracle.path().join("pid");
    let options = ["--detach", "--pid-file", file.to_str().unwrap()];
    let told = exec(coracle, &bundle, &options, &["sh", "-c", "echo on; sleep 1000"]).succeeds();
    eventually("it goes on", || told.stdout_by_now() == "on\n");
    let pid = fs::read_to_string(&file).unwrap();
    assert!(pid.bytes().all(|byte| byte.is_ascii_digit()), "{pid:?}");
    let root = fs::read_link(format!("/proc/{pid}/ns/mnt")).unwrap();
    let own = fs::read_link(format!("/proc/{}/ns/mnt", coracle.pid(bundle.id()))).unwrap();
    assert_eq!(root, own);
    coracle.delete(bundle.id());
    coracle.assert_nothing_left();
}

fn a_terminal_for_the_command(coracle: &Coracle) {
    let bundle = endless(coracle);
    let receiver = Receiver::new(coracle.path().join("console.sock"));
    let options = ["--tty", "--detach", "--console-socket", receiver.path().to_str().unwrap()];
    exec(coracle, &bundle, &options, &["sh", "-c", "test -t 0 && echo a terminal"]).succeeds();
    let (_, emulator) = receiver.receive();
    coracle_tests::Pty::from_emulator(emulator).shows("a terminal");
    coracle.delete(bundle.id());
}

fn it_works_before_start_and_not_after_the_end(coracle: &Coracle) {
    let bundle = coracle.bundle().sh("exit 0");
    coracle.create(&bundle);
    assert_eq!(exec(coracle, &bundle, &[], &["echo", "early"]).succeeds().stdout, "early\n");
    assert_eq!(coracle.status(bundle.id()), "created");
    coracle.call(["start", bundle.id()]).output().succeeds();
    coracle.becomes(bundle.id(), "stopped");
    let late = exec(coracle, &bundle, &[], &["echo", "late"]);
    late.exits(255).says("cannot exec in a stopped container");
    coracle.call(["delete", bundle.id()]).output().succeeds();
}

fn a_missing_program_is_named(coracle: &Coracle) {
    let bundle = endless(coracle);
    let file = coracle.path().join("pid");
    let options = ["--pid-file", file.to_str().unwrap()];
    for (program, words) in [
        ("no-such-program", "executable file not found in $PATH"),
        ("/no/such/program", "no such file or directory"),
        ("/etc/passwd", "permission denied"),
    ] {
        let told =
            exec(coracle, &bundle, &options, &[program]).exits(255).says(program).says(words);
        told.says("exec failed: unable to start container process: exec: ");
        assert!(!file.exists(), "a command that did not start has no process ID");
    }
    coracle.call(["exec", bundle.id()]).output().fails();
    assert_eq!(coracle.status(bundle.id()), "running");
    coracle.delete(bundle.id());
    coracle.assert_nothing_left();
}

/// The directory of a container's cgroup in the version 2 tree, seen from here.
fn directory(coracle: &Coracle, id: &str) -> PathBuf {
    let all = controllers(coracle.pid(id));
    all.into_iter().find(|(names, _)| names.is_empty()).expect("a version 2 tree").1
}

/// Makes a cgroup, which is the user's.
fn make(coracle: &Coracle, cgroup: &Path) {
    fs::create_dir(cgroup).unwrap();
    for file in ["", "cgroup.procs"] {
        coracle.give(&cgroup.join(file));
    }
}

fn a_cgroup_in_the_container_s_can_be_chosen(coracle: &Coracle) {
    let bundle = coracle.bundle().sh("sleep 1000");
    coracle.start(&bundle);
    let own = directory(coracle, bundle.id());
    make(coracle, &own.join("sub"));
    let exec = |cgroup: &[&str]| {
        let words = [&["exec"], cgroup, &[bundle.id(), "cat", "/proc/self/cgroup"]].concat();
        coracle.call(words).output()
    };
    let told = exec(&["--cgroup", "sub"]).succeeds().stdout;
    assert!(told.ends_with(&format!("/{}/sub\n", bundle.id())), "{told}");
    let told = exec(&["--cgroup=/"]).succeeds().stdout;
    assert!(told.ends_with(&format!("/{}\n", bundle.id())), "{told}");
    exec(&["--cgroup", "none"]).fails().says("no such file");
    exec(&["--cgroup", "../sub"]).fails().says("not a sub cgroup path");
    exec(&["--cgroup", "pids:sub"]).fails().says("unknown controller pids");
    exec(&["--cgroup", "sub", "--cgroup", "sub"]).fails().says("stands alone");
    coracle.delete(bundle.id());
    coracle.assert_nothing_left();
}

fn a_cgroup_can_be_chosen_for_each_controller_of_version_1(coracle: &Coracle) {
    let bundle = coracle.bundle().sh("sleep 1000");
    coracle.start(&bundle);
    let pid = coracle.pid(bundle.id());
    let Some((own, false)) = controlled(pid, "pids") else {
        coracle_tests::skipped("needs the pids controller of version 1");
        return;
    };
    make(coracle, &own.join("sub"));
    let words = ["exec", "--cgroup", "pids:sub", bundle.id(), "cat", "/proc/self/cgroup"];
    let told = coracle.call(words).output().succeeds().stdout;
    for (controller, path) in [(":pids:/", "/sub"), (":freezer:/", "")] {
        let line = told.lines().find(|line| line.contains(controller)).unwrap();
        assert!(line.ends_with(&format!("/{}{path}", bundle.id())), "{told}");
    }
    coracle.delete(bundle.id());
    coracle.assert_nothing_left();
}

fn where_the_container_has_divided_its_cgroup_the_first_process_shows_the_way(coracle: &Coracle) {
    let bundle = coracle.bundle().sh("sleep 1000");
    coracle.start(&bundle);
    let pid = coracle.pid(bundle.id());
    let own = directory(coracle, bundle.id());
    let inner = own.join("inner");
    make(coracle, &inner);
    for pid in fs::read_to_string(own.join("cgroup.procs")).unwrap().lines() {
        fs::write(inner.join("cgroup.procs"), pid).unwrap();
    }
    let available = fs::read_to_string(own.join("cgroup.controllers")).unwrap();
    let Some(controller) = available.split_whitespace().next() else {
        coracle_tests::skipped("needs a controller of version 2");
        return;
    };
    fs::write(own.join("cgroup.subtree_control"), format!("+{controller}")).unwrap();
    let words = ["exec", bundle.id(), "cat", "/proc/self/cgroup"];
    let told = coracle.call(words).output().succeeds().stdout;
    assert!(told.ends_with(&format!("/{}/inner\n", bundle.id())), "{told}");
    let words = ["exec", "--cgroup", "/", bundle.id(), "true"];
    coracle.call(words).output().fails().says("hands controllers on");
    fs::write(own.join("cgroup.subtree_control"), format!("-{controller}")).unwrap();

    // One that somebody has moved the container out of, and removed.
    let moved = own.with_file_name(format!("{}-moved", bundle.id()));
    make(coracle, &moved);
    fs::write(moved.join("cgroup.procs"), pid.to_string()).unwrap();
    eventually("the cgroup is empty", || fs::remove_dir(&inner).is_ok());
    fs::remove_dir(&own).unwrap();
    let words = ["exec", bundle.id(), "cat", "/proc/self/cgroup"];
    let told = coracle.call(words).output().succeeds().stdout;
    assert!(told.ends_with(&format!("/{}-moved\n", bundle.id())), "{told}");
    coracle.delete(bundle.id());
    eventually("its processes end", || fs::remove_dir(&moved).is_ok());
    coracle.assert_nothing_left();
}

coracle_tests::tests! {
    as_root, as_ranged_user, as_single_user, as_delegated_user =>
        the_command_runs_inside_and_its_exit_code_is_exec_s,
        a_filter_is_installed_whether_privileges_can_be_gained_or_not,
        every_namespace_and_the_cgroup_are_the_container_s,
        privileges_are_those_of_the_configuration,
        a_detached_command_goes_on,
        a_terminal_for_the_command,
        a_missing_program_is_named;
    on_cgroup2, as_delegated_user_on_cgroup2, as_delegated_single_user_on_cgroup2 =>
        a_cgroup_in_the_container_s_can_be_chosen,
        where_the_container_has_divided_its_cgroup_the_first_process_shows_the_way;
    as_root, as_delegated_user, as_delegated_single_user =>
        a_cgroup_can_be_chosen_for_each_controller_of_version_1;
    as_root, as_ranged_user =>
        environment_directory_and_user_can_be_given,
        a_process_file_says_it_all;
    as_root =>
        it_works_before_start_and_not_after_the_end;
}
