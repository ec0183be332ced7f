//! Connections within a container.

use coracle_tests::{Coracle, Outcome, need, skipped};

use crate::saved::{COUNT, Counter, criu, restore, save};

/// A listener and somebody who is connected to it, before the counting.
fn connected(coracle: &Coracle) -> Counter<'_> {
    let script = "mkfifo /tmp/in; exec 9<>/tmp/in; nc -l -p 1234 <&9 >/dev/null & \
                  until netstat -tln | grep -q :1234; do sleep 0.05; done; \
                  (while :; do sleep 1; done) | nc 127.0.0.1 1234 >/dev/null & \
                  until netstat -tn | grep -q ESTABLISHED; do sleep 0.05; done";
    let bundle = coracle.bundle().sh(&format!("{script}\n{COUNT}")).set("/root/readonly", false);
    Counter::of(coracle, bundle, coracle.path().join("log"))
}

fn connections(coracle: &Coracle, id: &str) -> usize {
    let table = coracle.call(["exec", id, "netstat", "-tan"]).output().succeeds();
    table.stdout.matches("ESTABLISHED").count()
}

/// Linux 6.16 does not tell SO_PASSCRED of sockets that cannot have it, which CRIU 4.1 takes for a
/// failure.
fn knows_no_sockets(saved: &Outcome) -> bool {
    let knows_none = saved.stderr.contains("Can't get 1:16 opt");
    if knows_none {
        skipped("this criu does not know this kernel's sockets");
    }
    knows_none
}

/// Saves one, with its connections only when told, and restores it.
fn goes(option: &str, left: usize) {
    let coracle = need!(Coracle::as_root());
    let counter = connected(&coracle);
    counter.starts();
    counter.goes_on();
    assert_eq!(connections(&coracle, counter.id()), 2);
    save(&coracle, counter.id(), "without", &[]).fails().says("dump.log");
    counter.goes_on();
    let saved = save(&coracle, counter.id(), "with", &["--tcp-established"]);
    if knows_no_sockets(&saved) {
        return;
    }
    saved.succeeds();
    restore(&counter, counter.id(), "with", &[option]).succeeds();
    counter.goes_on();
    assert_eq!(connections(&coracle, counter.id()), left);
    coracle.delete(counter.id());
}

#[test]
fn they_go_with_it_when_told() {
    need!(criu());
    goes("--tcp-established", 2);
}

#[test]
fn they_come_back_closed_when_told() {
    need!(criu());
    goes("--tcp-close", 0);
}
