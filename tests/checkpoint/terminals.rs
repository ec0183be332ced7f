//! Containers with a terminal.

use coracle_tests::{Bundle, Coracle, Pty, Receiver, eventually, need};

use crate::saved::{criu, images, save};

/// Tells what it is told, and how often that was.
fn echoing(coracle: &Coracle) -> Bundle {
    let script = "i=0; stty -echo; echo ready; \
                  while read line; do i=$((i+1)); echo \"$i: $line\"; done";
    coracle.bundle().set("/process/terminal", true).sh(script)
}

/// Starts it detached, and has it told something.
fn started(coracle: &Coracle, bundle: &Bundle) -> Pty {
    let receiver = Receiver::new(coracle.path().join("console.sock"));
    let options = ["--detach", "--console-socket", receiver.path().to_str().unwrap()];
    coracle.with_bundle("run", bundle, &options).output().succeeds();
    let mut pty = Pty::from_emulator(receiver.receive().1);
    pty.shows("ready\r\n");
    pty.types("one\r");
    pty.shows("1: one\r\n");
    pty
}

#[test]
fn the_terminal_comes_back_over_the_console_socket() {
    need!(criu());
    let coracle = need!(Coracle::as_root());
    let bundle = echoing(&coracle);
    let before = started(&coracle, &bundle);
    save(&coracle, bundle.id(), "one", &[]).succeeds();
    drop(before);

    let receiver = Receiver::new(coracle.path().join("other.sock"));
    let options = ["--detach", "--console-socket", receiver.path().to_str().unwrap()];
    let call = coracle.call(["restore", "--bundle"]).args([bundle.path()]);
    let call = call.args(["--image-path"]).args([images(&coracle, "one")]);
    call.args(options).args([bundle.id()]).output().succeeds();
    let mut pty = Pty::from_emulator(receiver.receive().1);
    pty.types("two\r");
    pty.shows("2: two\r\n");
    let look = ["sh", "-c", "echo by way of the console > /dev/console; tty < /dev/console"];
    coracle.call(["exec", bundle.id()]).args(look).output().succeeds();
    pty.shows("by way of the console\r\n");
    coracle.delete(bundle.id());
    coracle.assert_nothing_left();
}

#[test]
fn the_terminal_is_relayed_to_the_caller_s() {
    need!(criu());
    let coracle = need!(Coracle::as_root());
    let bundle = echoing(&coracle);
    let before = started(&coracle, &bundle);
    save(&coracle, bundle.id(), "one", &["--shell-job"]).succeeds();
    drop(before);

    let mut pty = Pty::new(24, 80);
    let modes = format!("{:?}", pty.modes());
    let call = coracle.call(["restore", "--shell-job", "--bundle"]).args([bundle.path()]);
    let call = call.args(["--image-path"]).args([images(&coracle, "one")]).args([bundle.id()]);
    let running = pty.spawn(call);
    eventually("it is back", || coracle.call(["state", bundle.id()]).output().code == Some(0));
    coracle.becomes(bundle.id(), "running");
    pty.types("two\r");
    pty.shows("2: two\r\n");
    coracle.call(["kill", bundle.id(), "KILL"]).output().succeeds();
    running.wait().exits(137);
    assert_eq!(format!("{:?}", pty.modes()), modes);
    coracle.assert_nothing_left();
}

#[test]
fn a_detached_one_needs_a_socket() {
    need!(criu());
    let coracle = need!(Coracle::as_root());
    let bundle = echoing(&coracle);
    let _before = started(&coracle, &bundle);
    save(&coracle, bundle.id(), "one", &[]).succeeds();
    let call = coracle.call(["restore", "--detach", "--bundle"]).args([bundle.path()]);
    let call = call.args(["--image-path"]).args([images(&coracle, "one")]).args([bundle.id()]);
    call.output().fails().says("without setting console socket");
    coracle.assert_nothing_left();
}
