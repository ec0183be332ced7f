//! A container's terminal: relayed to the caller's in the foreground, handed to the engine when
//! detached, and the caller's left as it was found.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use coracle_tests::{Bundle, Coracle, Pty, Receiver, Running, Signal};
use rustix::termios::{LocalModes, Termios};

/// A bundle whose process has a terminal.
fn on_terminal(coracle: &Coracle, script: &str) -> Bundle {
    coracle.bundle().set("/process/terminal", true).sh(script)
}

/// Starts `run` on the terminal.
fn run_on(pty: &Pty, coracle: &Coracle, bundle: &Bundle) -> Running {
    pty.spawn(coracle.with_bundle("run", bundle, &[]))
}

fn comparable(modes: &Termios) -> String {
    format!("{modes:?}")
}

fn the_process_has_a_terminal_of_its_own_that_controls_it(coracle: &Coracle) {
    let script = "tty; test -t 0 && test -t 1 && test -t 2 && echo all three; \
                  ls -l /dev/console; echo typed | cat > /dev/tty; stat -c %t:%T /proc/self/fd/0";
    let bundle = on_terminal(coracle, script);
    let mut pty = Pty::new(24, 80);
    run_on(&pty, coracle, &bundle).wait().exits(0);
    let shown = pty.rest();
    for expected in ["/dev/pts/0\r\n", "all three\r\n", "typed\r\n"] {
        assert!(shown.contains(expected), "{expected:?} is not in {shown:?}");
    }
    assert!(shown.contains("/dev/console"), "{shown:?}");
    coracle.assert_nothing_left();
}

fn the_console_is_the_terminal(coracle: &Coracle) {
    let bundle = on_terminal(coracle, "echo by way of the console > /dev/console");
    let mut pty = Pty::new(24, 80);
    run_on(&pty, coracle, &bundle).wait().exits(0);
    assert_eq!(pty.rest(), "by way of the console\r\n");
}

fn keys_go_through_raw(coracle: &Coracle) {
    let script = "trap 'echo interrupted' INT; echo ready; read line; echo got $line; \
                  while :; do sleep 0.01; done";
    let bundle = on_terminal(coracle, script);
    let mut pty = Pty::new(24, 80);
    let before = comparable(&pty.modes());
    let running = run_on(&pty, coracle, &bundle);
    pty.shows("ready\r\n");
    let raw = pty.modes();
    assert!(
        !raw.local_modes.intersects(
            LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG | LocalModes::IEXTEN
        )
    );

    pty.types("a line\r");
    // The echo is the inner terminal's, so it comes once.
    pty.shows("a line\r\ngot a line\r\n");
    pty.types("\x03");
    pty.shows("interrupted\r\n");
    coracle.call(["kill", bundle.id(), "KILL"]).output().succeeds();
    running.wait().exits(137);
    assert_eq!(comparable(&pty.modes()), before);
    coracle.assert_nothing_left();
}

fn the_window_size_is_passed_on_and_followed(coracle: &Coracle) {
    let script = "stty size; trap 'stty size' WINCH; echo ready; while :; do sleep 0.01; done";
    let bundle = on_terminal(coracle, script);
    let mut pty = Pty::new(33, 111);
    let running = run_on(&pty, coracle, &bundle);
    assert_eq!(pty.shows("ready\r\n"), "33 111\r\nready\r\n");
    for (rows, columns) in [(44, 123), (10, 20)] {
        pty.resize(rows, columns);
        pty.shows(&format!("{rows} {columns}\r\n"));
    }
    coracle.call(["kill", bundle.id(), "KILL"]).output().succeeds();
    running.wait().exits(137);
}

fn consolesize_is_for_a_terminal_without_one(coracle: &Coracle) {
    let bundle = on_terminal(coracle, "stty size").set("/process/consoleSize/height", 12);
    let bundle = bundle.set("/process/consoleSize/width", 34);
    let receiver = Receiver::new(coracle.path().join("console.sock"));
    let options = ["--detach", "--console-socket", receiver.path().to_str().unwrap()];
    coracle.with_bundle("run", &bundle, &options).output().succeeds();
    let (_, emulator) = receiver.receive();
    Pty::from_emulator(emulator).shows("12 34\r\n");
    coracle.becomes(bundle.id(), "stopped");
    coracle.delete(bundle.id());
}

fn the_caller_s_terminal_is_as_before_after_any_end(coracle: &Coracle) {
    let mut pty = Pty::new(24, 80);
    let before = comparable(&pty.modes());

    run_on(&pty, coracle, &on_terminal(coracle, "exit 3")).wait().exits(3);
    assert_eq!(comparable(&pty.modes()), before, "after an exit");

    let missing = on_terminal(coracle, "").args(["no-such-program"]);
    run_on(&pty, coracle, &missing).wait().fails();
    assert_eq!(comparable(&pty.modes()), before, "after an error");

    for signal in [Signal::TERM, Signal::HUP, Signal::INT] {
        let bundle = on_terminal(
            coracle,
            "trap 'exit 9' TERM HUP INT; echo ready; \
                                            while :; do sleep 0.01; done",
        );
        let running = run_on(&pty, coracle, &bundle);
        pty.shows("ready\r\n");
        assert_ne!(comparable(&pty.modes()), before);
        running.signal(signal);
        running.wait().exits(9);
        assert_eq!(comparable(&pty.modes()), before, "after {signal:?}");
    }
    coracle.assert_nothing_left();
}

fn the_last_words_are_not_lost(coracle: &Coracle) {
    let bundle = on_terminal(coracle, "i=0; while [ $i -lt 3000 ]; do i=$((i+1)); echo $i; done");
    let mut pty = Pty::new(24, 80);
    let running = run_on(&pty, coracle, &bundle);
    pty.shows("\r\n2999\r\n3000\r\n");
    running.wait().exits(0);
}

fn without_a_terminal_at_the_caller_the_process_has_one_all_the_same(coracle: &Coracle) {
    let script = "test -t 0 && test -t 1 && test -t 2 && echo on a terminal; exit 4";
    // /dev/null.
    let bundle = on_terminal(coracle, script);
    let ended = coracle.run(&bundle).exits(4);
    assert_eq!(ended.stdout.trim_end(), "on a terminal");
    // A file, or a pipe, that ends.
    let bundle = on_terminal(coracle, "read line; echo got $line; exit 5");
    let call = coracle.with_bundle("run", &bundle, &[]).stdin_text("a line\n");
    let ended = call.output().exits(5);
    assert!(ended.stdout.trim_end().ends_with("got a line"), "{:?}", ended.stdout);
    let (reader, writer) = std::io::pipe().unwrap();
    let running = coracle.with_bundle("run", &bundle, &[]).stdin(reader).spawn();
    std::io::Write::write_all(&mut &writer, b"through a pipe\n").unwrap();
    let ended = running.wait().exits(5);
    assert!(ended.stdout.trim_end().ends_with("got through a pipe"), "{:?}", ended.stdout);
    drop(writer);
    coracle.assert_nothing_left();
}

fn a_console_socket_gets_the_terminal(coracle: &Coracle) {
    let bundle = on_terminal(coracle, "echo ready; read line; echo got $line; stty size");
    let receiver = Receiver::new(coracle.path().join("console.sock"));
    let options = ["--console-socket", receiver.path().to_str().unwrap()];
    let created = coracle.with_bundle("create", &bundle, &options).output().succeeds();
    let (message, emulator) = receiver.receive();
    assert!((1..4096).contains(&message.len()), "{message:?}");
    let mut pty = Pty::from_emulator(emulator);
    pty.resize(21, 43);
    coracle.call(["start", bundle.id()]).output().succeeds();
    pty.shows("ready\r\n");
    pty.types("from the engine\n");
    pty.shows("got from the engine\r\n21 43\r\n");
    coracle.becomes(bundle.id(), "stopped");
    assert_eq!(created.stdout_by_now(), "");
    coracle.call(["delete", bundle.id()]).output().succeeds();
    coracle.assert_nothing_left();
}

fn a_terminal_that_nobody_could_hold_is_refused(coracle: &Coracle) {
    let bundle = on_terminal(coracle, "sleep 1000");
    for (command, options) in [("create", &[][..]), ("run", &["--detach"])] {
        let told = coracle.with_bundle(command, &bundle, options).output().fails();
        assert!(told.stderr.contains("console"), "{}", told.stderr);
        coracle.assert_nothing_left();
    }
    // The other way round, and a socket that is not there.
    let receiver = Receiver::new(coracle.path().join("console.sock"));
    let socket = ["--console-socket", receiver.path().to_str().unwrap()];
    let plain = coracle.bundle().sh("sleep 1000");
    coracle.with_bundle("create", &plain, &socket).output().fails();
    let socket = ["--console-socket", "/no/such/socket"];
    coracle.with_bundle("create", &bundle, &socket).output().fails().says("/no/such/socket");
    coracle.assert_nothing_left();
}

fn exec_on_a_terminal_is_relayed_too(coracle: &Coracle) {
    let bundle = coracle.bundle().sh("sleep 1000");
    coracle.start(&bundle);
    let mut pty = Pty::new(25, 77);
    let before = comparable(&pty.modes());
    let script = "stty size; read line; echo got $line; exit 6";
    let call = coracle.call(["exec", "-t", bundle.id(), "sh", "-c", script]);
    let running = pty.spawn(call);
    pty.shows("25 77\r\n");
    pty.types("hi\r");
    pty.shows("got hi\r\n");
    running.wait().exits(6);
    assert_eq!(comparable(&pty.modes()), before);
    coracle.delete(bundle.id());
}

coracle_tests::tests! {
    as_root, as_ranged_user, as_single_user =>
        the_process_has_a_terminal_of_its_own_that_controls_it,
        the_console_is_the_terminal,
        keys_go_through_raw,
        the_window_size_is_passed_on_and_followed,
        consolesize_is_for_a_terminal_without_one,
        the_caller_s_terminal_is_as_before_after_any_end,
        the_last_words_are_not_lost,
        without_a_terminal_at_the_caller_the_process_has_one_all_the_same,
        a_console_socket_gets_the_terminal,
        a_terminal_that_nobody_could_hold_is_refused,
        exec_on_a_terminal_is_relayed_too;
}
