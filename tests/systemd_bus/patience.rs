//! A bus, or a systemd, that does not do its part: the error comes in bounded time, says what was
//! waited for, and leaves nothing.

use std::os::unix::net::UnixStream;

use coracle_tests::{Coracle, Running, eventually, need};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use crate::bus::{Answer, Bus, Said, bundle, obedient};

/// The greeting, as far as nothing is wrong with it.
const GREETING: &[u8] = b"DATA\r\nOK 0123456789abcdef\r\n";

/// The beginning of an answer with so long a body.
fn header(body: u32) -> Vec<u8> {
    let mut bytes = vec![b'l', 2, 1, 1];
    for number in [body, 9, 8] {
        bytes.extend(number.to_le_bytes());
    }
    bytes
}

/// More than the half minute that systemd may take.
fn long(call: coracle_tests::Call) -> Running {
    call.patience(std::time::Duration::from_mins(2)).spawn()
}

/// A container that is being made against a bus which answers so; what that runs on.
fn creating(answer: impl Fn(&Said) -> Answer + Send + 'static) -> (Coracle, Running) {
    let coracle = Coracle::as_root().unwrap();
    let (bundle, _) = bundle(&coracle);
    let running = long(Bus::new(&coracle, answer).create(&coracle, &bundle));
    (coracle, running)
}

/// A container that is being made against a bus that listens and takes no connection.
fn knocking() -> (Coracle, Running, Vec<UnixStream>) {
    let coracle = Coracle::as_root().unwrap();
    let (bundle, _) = bundle(&coracle);
    let path = coracle.path().join("bus");
    let address = SocketAddrUnix::new(&path).unwrap();
    let flags = SocketFlags::CLOEXEC;
    let new =
        || rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None).unwrap();
    let listener = new();
    rustix::net::bind(&listener, &address).unwrap();
    rustix::net::listen(&listener, 0).unwrap();
    let mut held = vec![UnixStream::from(listener)];
    loop {
        let socket = new();
        rustix::io::ioctl_fionbio(&socket, true).unwrap();
        match rustix::net::connect(&socket, &address) {
            Ok(()) => held.push(socket.into()),
            Err(errno) => break assert_eq!(errno, rustix::io::Errno::AGAIN),
        }
    }
    let bus = Bus { path, said: std::sync::Arc::default() };
    let running = long(bus.create(&coracle, &bundle));
    (coracle, running, held)
}

/// All at once: each takes half a minute.
#[test]
fn whoever_is_silent_is_given_up_and_told() {
    need!(Coracle::as_root());
    let silent = creating(|_| Answer::Silence);
    let endless = creating(|_| Answer::Endless);
    let chatter = creating(|_| Answer::Chatter);
    // A message that is announced, and of which the most never comes.
    let partial = creating(|_| Answer::Bytes(header(100 << 20)));
    let (deaf, deafly, _held) = knocking();

    // The unit cannot be stopped, but its cgroup can be removed.
    let coracle = Coracle::as_root().unwrap();
    let (of_deleted, unit) = bundle(&coracle);
    let obey = obedient(&unit, false);
    let bus = Bus::new(&coracle, move |said| match said.member.as_str() {
        "StopUnit" => Answer::Endless,
        _ => obey(said),
    });
    bus.create(&coracle, &of_deleted).output().succeeds();
    let deleting = long(bus.call(&coracle, &["delete", "--force", of_deleted.id()]));

    for ((coracle, running), words) in [
        (silent, "the bus's greeting did not come in time"),
        (endless, "the end of the job did not come in time"),
        (chatter, "the end of the job did not come in time"),
        (partial, "an answer did not come in time"),
    ] {
        let told = running.wait().fails();
        assert!(told.stderr.contains("having systemd start"), "{told:?}");
        assert!(told.stderr.contains(words), "{words}: {told:?}");
        assert!(told.stderr.contains("systemctl list-jobs"), "{told:?}");
        eventually("all is gone", || coracle.leftovers().is_empty());
    }
    deafly.wait().fails().says("the bus cannot be reached").says("systemctl status dbus");
    eventually("all is gone", || deaf.leftovers().is_empty());
    deleting.wait().succeeds();
    coracle.assert_nothing_left();
}

#[test]
fn what_is_not_dbus_is_told_at_once() {
    type Says = fn(&Said) -> Answer;

    need!(Coracle::as_root());
    let answers: [(Says, &str); 10] = [
        (|_| Answer::Bytes(b"what is this, if not garbage?".repeat(9)), "not D-Bus"),
        // Longer than a message may be; it is not waited for.
        (|_| Answer::Bytes(header(u32::MAX)), "not D-Bus"),
        // Of the other order of bytes, and of a version to come: nothing else is wrong with them.
        (|_| Answer::Bytes([b"B\x02\0\x01", &[0; 12][..]].concat()), "not D-Bus"),
        (|_| Answer::Bytes([b"l\x02\0\x02", &[0; 12][..]].concat()), "not D-Bus"),
        // A greeting without an end.
        (|_| Answer::LastWords(vec![b'x'; 5000]), "not D-Bus"),
        // An answer whose fields are none.
        (|_| Answer::Bytes([header(0), vec![0xff; 8]].concat()), "not D-Bus"),
        (|_| Answer::LastWords([GREETING, &header(100)[..9]].concat()), "the bus hung up"),
        (|_| Answer::LastWords([GREETING, &header(100), &[0; 50]].concat()), "the bus hung up"),
        (|_| Answer::LastWords(b"DATA\r\nOK 01".into()), "the bus hung up"),
        (|_| Answer::LastWords(b"REJECTED EXTERNAL\r\n".into()), "REJECTED EXTERNAL"),
    ];
    for (answer, words) in answers {
        let (coracle, running) = creating(answer);
        running.wait().fails().says("having systemd start").says(words);
        eventually("all is gone", || coracle.leftovers().is_empty());
    }
}
