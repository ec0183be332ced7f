//! A container goes through the life that the runtime specification describes (runtime.md), and
//! an operation that does not fit its state changes nothing and says why.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;

use coracle_tests::{Coracle, Signal, Value, eventually, json, processes_rooted_at};

/// Goes on until it is killed; TERM does it.
const ENDLESS: &str = "trap 'exit 0' TERM; echo ready; while :; do sleep 0.01; done";

fn from_created_to_running_to_stopped_and_away(coracle: &Coracle) {
    let bundle = coracle.bundle().sh("echo ran; sleep 1000").set("/annotations/a.b", "c");
    let id = bundle.id();

    let created = coracle.create(&bundle);
    let state = coracle.state(id);
    assert_eq!(state["id"], id);
    assert_eq!(state["status"], "created");
    assert_eq!(state["bundle"], bundle.path().to_str().unwrap());
    assert_eq!(state["annotations"], json!({"a.b": "c"}));
    assert!(state["ociVersion"].as_str().unwrap().starts_with("1."));
    let pid = state["pid"].as_u64().expect("a created container has a process");
    assert!(fs::exists(format!("/proc/{pid}")).unwrap());
    assert_eq!(created.stdout_by_now(), "", "the program must not run before start");

    coracle.call(["start", id]).output().succeeds();
    eventually("the program runs", || created.stdout_by_now() == "ran\n");
    let state = coracle.state(id);
    assert_eq!((&state["status"], &state["pid"]), (&json!("running"), &json!(pid)));

    coracle.call(["kill", id, "KILL"]).output().succeeds();
    coracle.becomes(id, "stopped");
    assert_eq!(coracle.state(id)["pid"], 0);

    coracle.call(["delete", id]).output().succeeds();
    coracle.call(["state", id]).output().fails().says("does not exist");
    coracle.assert_nothing_left();
}

fn an_id_is_free_again_after_delete(coracle: &Coracle) {
    let bundle = coracle.bundle().sh("exit 3");
    for _ in 0..3 {
        coracle.create(&bundle);
        coracle.call(["start", bundle.id()]).output().succeeds();
        coracle.becomes(bundle.id(), "stopped");
        coracle.call(["delete", bundle.id()]).output().succeeds();
        coracle.assert_nothing_left();
    }
}

fn changes_to_the_bundle_after_create_have_no_effect(coracle: &Coracle) {
    let bundle = coracle.bundle().sh("echo first");
    let created = coracle.create(&bundle);
    let bundle = bundle.text("not even JSON");
    coracle.call(["start", bundle.id()]).output().succeeds();
    eventually("the first program runs", || created.stdout_by_now() == "first\n");
    coracle.becomes(bundle.id(), "stopped");
    coracle.call(["delete", bundle.id()]).output().succeeds();
}

fn of_two_creates_with_one_id_exactly_one_wins(coracle: &Coracle) {
    let bundle = coracle.bundle().sh("sleep 1000");
    for _ in 0..5 {
        let racers = [0; 4].map(|_| coracle.with_bundle("create", &bundle, &[]).spawn());
        let ended = racers.map(coracle_tests::Running::wait);
        let (won, lost): (Vec<_>, Vec<_>) = ended.into_iter().partition(|of| of.code == Some(0));
        assert_eq!(won.len(), 1, "{won:#?}\n{lost:#?}");
        for loser in lost {
            loser.fails().says("container with given ID already exists");
        }
        assert_eq!(coracle.status(bundle.id()), "created");
        coracle.delete(bundle.id());
        coracle.assert_nothing_left();
    }
}

fn start_is_for_created_containers_only(coracle: &Coracle) {
    let bundle = coracle.bundle().sh(ENDLESS);
    let created = coracle.start(&bundle);
    eventually("it runs", || created.stdout_by_now() == "ready\n");
    let pid = coracle.pid(bundle.id());
    let start = || coracle.call(["start", bundle.id()]).output();
    start().fails().says("cannot start an already running container");
    let state = coracle.state(bundle.id());
    assert_eq!((&state["status"], &state["pid"]), (&json!("running"), &json!(pid)));

    coracle.call(["kill", bundle.id()]).output().succeeds();
    coracle.becomes(bundle.id(), "stopped");
    start().fails().says("cannot start a container that has stopped");
    assert_eq!(coracle.status(bundle.id()), "stopped");
    coracle.delete(bundle.id());
}

fn delete_leaves_a_running_container_unharmed(coracle: &Coracle) {
    let bundle = coracle.bundle().sh(ENDLESS);
    let created = coracle.start(&bundle);
    eventually("it runs", || created.stdout_by_now() == "ready\n");
    let pid = coracle.pid(bundle.id());
    let words = format!("cannot delete container {} that is not stopped: running", bundle.id());
    coracle.call(["delete", bundle.id()]).output().fails().says(&words);
    assert_eq!((coracle.status(bundle.id()).as_str(), coracle.pid(bundle.id())), ("running", pid));

    coracle.call(["delete", "--force", bundle.id()]).output().succeeds();
    assert!(!fs::exists(format!("/proc/{pid}/root")).unwrap());
    coracle.assert_nothing_left();
}

fn delete_takes_a_created_container(coracle: &Coracle) {
    for options in [&["delete"][..], &["delete", "--force"], &["delete", "-f"]] {
        let bundle = coracle.bundle();
        coracle.create(&bundle);
        coracle.call(options).args([bundle.id()]).output().succeeds();
        coracle.assert_nothing_left();
    }
}

fn an_unknown_container_does_not_exist(coracle: &Coracle) {
    for command in ["state", "start", "kill", "delete"] {
        coracle.call([command, "nobody"]).output().fails().says("does not exist");
    }
    coracle.call(["exec", "nobody", "true"]).output().fails().says("does not exist");
    for force in ["--force", "-f"] {
        coracle.call(["delete", force, "nobody"]).output().succeeds();
    }
    coracle.assert_nothing_left();
}

fn kill_takes_names_and_numbers(coracle: &Coracle) {
    for (signal, number) in
        [("TERM", 15), ("SIGHUP", 1), ("2", 2), ("usr1", 10), ("sigquit", 3), ("35", 35)]
    {
        let script = "for s in 1 2 3 10 15 35; do trap \"echo $s; exit 0\" $s; done; echo ready; \
                      while :; do sleep 0.01; done";
        let bundle = coracle.bundle().sh(script);
        let created = coracle.start(&bundle);
        eventually("it listens", || created.stdout_by_now() == "ready\n");
        coracle.call(["kill", bundle.id(), signal]).output().succeeds();
        let heard = format!("ready\n{number}\n");
        eventually(&format!("{signal} arrives"), || created.stdout_by_now() == heard);
        coracle.delete(bundle.id());
    }
}

fn kill_refuses_what_is_no_signal(coracle: &Coracle) {
    let bundle = coracle.bundle().sh("sleep 1000");
    coracle.start(&bundle);
    for signal in ["SIGNOTHING", "-1", "1000"] {
        coracle.call(["kill", bundle.id(), signal]).output().fails();
    }
    assert_eq!(coracle.status(bundle.id()), "running");
    coracle.delete(bundle.id());
}

fn kill_is_for_what_lives(coracle: &Coracle) {
    let bundle = coracle.bundle().sh("exit 0");
    coracle.create(&bundle);
    coracle.call(["kill", bundle.id(), "KILL"]).output().succeeds();
    coracle.becomes(bundle.id(), "stopped");
    coracle.call(["kill", bundle.id(), "KILL"]).output().fails().says("container not running");
    coracle.call(["kill", bundle.id(), "0"]).output().fails().says("container not running");
    coracle.call(["delete", bundle.id()]).output().succeeds();
    coracle.assert_nothing_left();
}

fn kill_all_reaches_processes_without_a_pid_namespace(coracle: &Coracle) {
    let bundle = coracle.bundle().without_namespace("pid").sh("sleep 1000 & sleep 1000");
    coracle.start(&bundle);
    let rootfs = bundle.rootfs();
    eventually("both run", || processes_rooted_at(&[&rootfs]).len() >= 2);
    coracle.call(["kill", "--all", bundle.id(), "KILL"]).output().succeeds();
    eventually("all die", || processes_rooted_at(&[&rootfs]).is_empty());
    coracle.delete(bundle.id());
    coracle.assert_nothing_left();
}

fn run_ends_as_the_process_does(coracle: &Coracle) {
    for (script, code) in
        [("exit 0", 0), ("exit 255", 255), ("kill -9 $$; sleep 1000", 137), ("exit 126", 126)]
    {
        // A namespace's first process is not to be killed from inside: so none here.
        let bundle = coracle.bundle().without_namespace("pid").sh(script);
        coracle.run(&bundle).exits(code);
        coracle.assert_nothing_left();
    }
}

fn two_hundred_runs_in_a_row_end_with_their_own_code(coracle: &Coracle) {
    std::thread::scope(|threads| {
        for first in [1, 2] {
            let bundle = coracle.bundle();
            threads.spawn(move || {
                let mut bundle = bundle;
                for code in (first..=200).step_by(2) {
                    bundle = bundle.args(["sh", "-c", &format!("exit {code}")]);
                    coracle.run(&bundle).exits(code);
                }
            });
        }
    });
    coracle.assert_nothing_left();
}

fn run_forwards_signals(coracle: &Coracle) {
    let script = "for s in HUP INT QUIT TERM USR1 USR2 WINCH; do trap \"echo $s.\" $s; done; \
                  echo ready; while :; do sleep 0.01; done";
    let bundle = coracle.bundle().sh(script);
    let running = coracle.spawn(&bundle);
    running.prints("ready");
    for (signal, name) in [
        (Signal::HUP, "HUP"),
        (Signal::INT, "INT"),
        (Signal::QUIT, "QUIT"),
        (Signal::TERM, "TERM"),
        (Signal::USR1, "USR1"),
        (Signal::USR2, "USR2"),
        (Signal::WINCH, "WINCH"),
    ] {
        running.signal(signal);
        running.prints(&format!("{name}.\n"));
    }
    coracle.call(["kill", bundle.id(), "KILL"]).output().succeeds();
    running.wait().exits(137);
    coracle.assert_nothing_left();
}

fn run_leaves_no_process_behind(coracle: &Coracle) {
    // Without a pid namespace, nothing but the runtime ends the child.
    let bundle = coracle.bundle().without_namespace("pid").sh("sleep 1000 & exit 4");
    coracle.run(&bundle).exits(4);
    coracle.assert_nothing_left();
    let bundle = coracle.bundle().sh("sleep 1000 & exit 5");
    coracle.run(&bundle).exits(5);
    coracle.assert_nothing_left();
}

fn run_reaps_what_the_container_orphans(coracle: &Coracle) {
    // The inner shell dies at once, its child a little later: `run` is the nearest to reap it.
    let script = "(sleep 0.01 & ) ; echo ready; sleep 1000";
    let bundle = coracle.bundle().without_namespace("pid").sh(script);
    let running = coracle.spawn(&bundle);
    running.prints("ready");
    let children = || {
        fs::read_to_string(format!("/proc/{0}/task/{0}/children", running.pid()))
            .unwrap()
            .split_whitespace()
            .count()
    };
    eventually("only the container's first process is left", || children() == 1);
    coracle.call(["kill", bundle.id(), "KILL"]).output().succeeds();
    running.wait().exits(137);
    coracle.assert_nothing_left();
}

fn run_keep_and_run_detach(coracle: &Coracle) {
    let bundle = coracle.bundle().sh("exit 6");
    coracle.with_bundle("run", &bundle, &["--keep"]).output().exits(6);
    assert_eq!(coracle.status(bundle.id()), "stopped");
    coracle.call(["delete", bundle.id()]).output().succeeds();
    coracle.assert_nothing_left();

    for detach in ["--detach", "-d"] {
        let bundle = coracle.bundle().sh(ENDLESS);
        let detached = coracle.with_bundle("run", &bundle, &[detach]).output().succeeds();
        assert_eq!(coracle.status(bundle.id()), "running");
        eventually("it goes on", || detached.stdout_by_now() == "ready\n");
        coracle.call(["kill", bundle.id(), "TERM"]).output().succeeds();
        coracle.becomes(bundle.id(), "stopped");
        coracle.call(["delete", bundle.id()]).output().succeeds();
        coracle.assert_nothing_left();
    }
}

fn run_passes_standard_streams_on(coracle: &Coracle) {
    let bundle = coracle.bundle().sh("cat; echo err >&2");
    let ended = coracle.with_bundle("run", &bundle, &[]).stdin_text("given\n").output();
    assert_eq!((ended.stdout.as_str(), ended.stderr.as_str()), ("given\n", "err\n"));
}

fn a_missing_program_is_found_out_by_create(coracle: &Coracle) {
    for (program, words) in [
        ("no-such-program", "executable file not found in $PATH"),
        ("/no/such/program", "no such file or directory"),
    ] {
        let bundle = coracle.bundle().args([program]);
        for command in ["create", "run"] {
            let told = coracle.with_bundle(command, &bundle, &[]).output().exits(1);
            told.says(program).says(words);
            coracle.assert_nothing_left();
        }
    }
}

fn hooks_run_at_their_time_and_read_the_state(coracle: &Coracle) {
    let order = |at: &str, file: &str| {
        let script = format!("echo {at} >> {file}; cat > {file}.{at}");
        json!({"path": "/bin/sh", "args": ["sh", "-c", script]})
    };
    let bundle = coracle.bundle().set("/root/readonly", false).sh("echo program >> /tmp/order");
    let outside = bundle.rootfs().join("tmp/order");
    let mut bundle = bundle;
    for at in ["prestart", "createRuntime", "createContainer", "poststart", "poststop"] {
        bundle = bundle.set(&format!("/hooks/{at}/-"), order(at, outside.to_str().unwrap()));
    }
    let bundle = bundle.set("/hooks/startContainer/-", order("startContainer", "/tmp/order"));
    let told = || fs::read_to_string(&outside).unwrap_or_default();

    coracle.create(&bundle);
    assert_eq!(told(), "prestart\ncreateRuntime\ncreateContainer\n");
    coracle.call(["start", bundle.id()]).output().succeeds();
    coracle.becomes(bundle.id(), "stopped");
    coracle.call(["delete", bundle.id()]).output().succeeds();
    let order = told();
    let (before, after) = order.split_once("startContainer\n").expect("it ran");
    assert_eq!(before, "prestart\ncreateRuntime\ncreateContainer\n");
    // `start` returns to its caller and the program runs at the same time.
    assert!(
        ["program\npoststart\npoststop\n", "poststart\nprogram\npoststop\n"].contains(&after),
        "{after}"
    );

    for (at, status) in [
        ("prestart", "creating"),
        ("createRuntime", "creating"),
        ("createContainer", "creating"),
        ("startContainer", "created"),
        ("poststart", "running"),
        ("poststop", "stopped"),
    ] {
        let state = fs::read_to_string(outside.with_file_name(format!("order.{at}"))).unwrap();
        let state: Value = state.parse().expect("a hook reads JSON");
        assert_eq!((&state["id"], &state["status"]), (&json!(bundle.id()), &json!(status)), "{at}");
    }
    coracle.assert_nothing_left();
}

fn a_hook_may_ask_for_the_state(coracle: &Coracle) {
    let bundle = coracle.bundle();
    let file = coracle.path().join("state");
    let script = format!(
        "{} --root {} state {} > {}",
        coracle.binary().display(),
        coracle.state_directory().display(),
        bundle.id(),
        file.display()
    );
    let bundle = bundle.set(
        "/hooks/createRuntime/-",
        json!({"path": "/bin/sh", "args": ["sh", "-c", script], "timeout": 10}),
    );
    coracle.create(&bundle);
    let state: Value = fs::read_to_string(file).unwrap().parse().unwrap();
    assert_eq!(state["status"], "creating");
    coracle.delete(bundle.id());
}

fn a_failing_hook_undoes_the_creation(coracle: &Coracle) {
    for at in ["prestart", "createRuntime", "createContainer"] {
        let hook = json!({"path": "/bin/sh", "args": ["sh", "-c", "echo oh no >&2; exit 3"]});
        let bundle = coracle.bundle().set(&format!("/hooks/{at}/-"), hook);
        coracle.with_bundle("create", &bundle, &[]).output().fails().says(at);
        coracle.assert_nothing_left();
    }
}

fn one_bundle_serves_many_containers(coracle: &Coracle) {
    let bundle = coracle.bundle().remove("/linux/cgroupsPath").sh("sleep 1000");
    let ids = ["one", "two"].map(|suffix| bundle.other_id(suffix));
    for id in &ids {
        coracle
            .call(["run", "--detach", "--bundle"])
            .args([bundle.path()])
            .args([id])
            .output()
            .succeeds();
    }
    assert_ne!(coracle.pid(&ids[0]), coracle.pid(&ids[1]));
    coracle.delete(&ids[0]);
    assert_eq!(coracle.status(&ids[1]), "running");
    coracle.delete(&ids[1]);
    coracle.assert_nothing_left();
}

coracle_tests::tests! {
    as_root, as_ranged_user, as_single_user, as_delegated_user, as_delegated_single_user,
    as_delegated_user_on_cgroup2, as_delegated_single_user_on_cgroup2 =>
        from_created_to_running_to_stopped_and_away,
        of_two_creates_with_one_id_exactly_one_wins,
        delete_leaves_a_running_container_unharmed,
        run_ends_as_the_process_does,
        a_failing_hook_undoes_the_creation;
    as_root, as_ranged_user, as_single_user, as_delegated_user =>
        an_id_is_free_again_after_delete,
        changes_to_the_bundle_after_create_have_no_effect,
        start_is_for_created_containers_only,
        delete_takes_a_created_container,
        an_unknown_container_does_not_exist,
        kill_takes_names_and_numbers,
        kill_refuses_what_is_no_signal,
        kill_is_for_what_lives,
        run_forwards_signals,
        run_reaps_what_the_container_orphans,
        run_keep_and_run_detach,
        run_passes_standard_streams_on,
        a_missing_program_is_found_out_by_create,
        hooks_run_at_their_time_and_read_the_state,
        a_hook_may_ask_for_the_state,
        one_bundle_serves_many_containers;
    as_root, on_cgroup2, as_delegated_user, as_delegated_single_user,
    as_delegated_user_on_cgroup2, as_delegated_single_user_on_cgroup2 =>
        kill_all_reaches_processes_without_a_pid_namespace,
        run_leaves_no_process_behind;
    as_root => two_hundred_runs_in_a_row_end_with_their_own_code;
}
