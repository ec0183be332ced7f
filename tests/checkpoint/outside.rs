//! What is partly the host's: bind mounts, namespaces, files, connections.

use std::fs;
use std::io::Write;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use coracle_tests::{Coracle, copy_program, eventually, json, need};

use crate::saved::{COUNT, Counter, criu, images, restore, save};

#[test]
fn bind_mounts_come_back_from_the_host() {
    need!(criu());
    let coracle = need!(Coracle::as_root());
    let (directory, file) = (coracle.path().join("shared"), coracle.path().join("one-file"));
    fs::create_dir(&directory).unwrap();
    fs::write(directory.join("in"), "of the host\n").unwrap();
    fs::write(&file, "a file\n").unwrap();
    let bind = |source: &std::path::Path, target: &str, mode: &str| json!({ "destination": target, "type": "bind", "source": source, "options": ["bind", mode] });
    let mounted = |bundle: coracle_tests::Bundle| {
        let bundle = bundle.set("/mounts/-", bind(&directory, "/shared", "rw"));
        let bundle = bundle.set("/mounts/-", bind(&file, "/etc/one-file", "ro"));
        bundle.set("/mounts/-", bind(&directory, "/through/link", "ro"))
    };
    let counter = Counter::new(&coracle).with(mounted);
    // Where it is mounted is for a link of the image to say.
    fs::create_dir(counter.bundle().rootfs().join("real")).unwrap();
    std::os::unix::fs::symlink("real", counter.bundle().rootfs().join("through")).unwrap();
    counter.starts();
    counter.goes_on();
    save(&coracle, counter.id(), "one", &[]).succeeds();
    fs::write(directory.join("in"), "changed meanwhile\n").unwrap();
    restore(&counter, counter.id(), "one", &[]).succeeds();
    counter.goes_on();
    let script = "cat /shared/in /etc/one-file /real/link/in; echo back > /shared/out; \
                  echo x > /etc/one-file || echo read-only; echo x > /real/link/x || echo this too; \
                  cat /proc/timer_list; ls /sys/firmware; echo end";
    let seen = coracle.call(["exec", counter.id(), "sh", "-c", script]).output().succeeds();
    assert_eq!(
        seen.stdout,
        "changed meanwhile\na file\nchanged meanwhile\nread-only\nthis too\nend\n"
    );
    assert_eq!(fs::read_to_string(directory.join("out")).unwrap(), "back\n");
    coracle.delete(counter.id());
    coracle.assert_nothing_left();
}

#[test]
fn the_device_rules_hold_again() {
    need!(criu());
    let coracle = need!(Coracle::as_root());
    let counter = Counter::new(&coracle);
    counter.starts();
    counter.goes_on();
    let script =
        "mknod /tmp/disk b 254 0; cat /tmp/disk 2>&1; rm -f /tmp/disk; head -c 1 /dev/zero";
    let look = || coracle.call(["exec", counter.id(), "sh", "-c", script]).output().stdout;
    let before = look();
    save(&coracle, counter.id(), "one", &[]).succeeds();
    restore(&counter, counter.id(), "one", &[]).succeeds();
    assert_eq!(look(), before);
    assert!(before.contains("not permitted") || before.contains("can't open"), "{before}");
    coracle.delete(counter.id());
}

#[test]
fn a_network_namespace_may_be_made_anew() {
    need!(criu());
    let coracle = need!(Coracle::as_root());
    let counter = Counter::new(&coracle);
    counter.starts();
    counter.goes_on();
    let options = ["--empty-ns", "network"];
    save(&coracle, counter.id(), "one", &options).succeeds();
    restore(&counter, counter.id(), "one", &options).succeeds();
    counter.goes_on();
    let own = fs::read_link(format!("/proc/{}/ns/net", coracle.pid(counter.id()))).unwrap();
    assert_ne!(own, fs::read_link("/proc/self/ns/net").unwrap());
    coracle.delete(counter.id());
}

/// Saves a counter that does something before, which takes an option.
fn takes_option(before: &str, option: &str) {
    let coracle = need!(Coracle::as_root());
    let bundle = coracle.bundle().sh(&format!("{before}\n{COUNT}")).set("/root/readonly", false);
    let own = std::env::current_exe().unwrap();
    copy_program(&own, &bundle.rootfs().join("test"));
    let counter = Counter::of(&coracle, bundle, coracle.path().join("log"));
    counter.starts();
    counter.goes_on();
    save(&coracle, counter.id(), "without", &[]).fails().says("dump.log");
    counter.goes_on();
    save(&coracle, counter.id(), "with", &[option]).succeeds();
    assert!(images(&coracle, "with").join("inventory.img").exists());
    // Links are the one thing that only the saving has to do with.
    let options: &[&str] = if option == "--link-remap" { &[] } else { &[option] };
    restore(&counter, counter.id(), "with", options).succeeds();
    counter.goes_on();
    coracle.delete(counter.id());
    coracle.assert_nothing_left();
}

#[test]
fn file_locks_go_with_it_when_told() {
    need!(criu());
    let before = "/test --ignored --exact outside::hold_a_lock >/dev/null & \
                  until [ -s /tmp/lock ]; do sleep 0.05; done";
    takes_option(before, "--file-locks");
}

/// In the container, whose busybox cannot.
#[test]
#[ignore = "runs in a container"]
fn hold_a_lock() {
    let mut file = fs::File::create("/tmp/lock").unwrap();
    file.lock().unwrap();
    file.write_all(b"locked").unwrap();
    loop {
        std::thread::sleep(std::time::Duration::from_secs(1));
    }
}

#[test]
fn open_files_without_a_name_get_one_when_told() {
    need!(criu());
    takes_option("exec 9>/tmp/one; ln /tmp/one /tmp/two; rm /tmp/one", "--link-remap");
}

#[test]
fn connections_to_sockets_of_the_host_go_with_it_when_told() {
    need!(criu());
    let coracle = need!(Coracle::as_root());
    let name = SocketAddr::from_abstract_name(coracle.name()).unwrap();
    let socket = UnixDatagram::bind_addr(&name).unwrap();
    let script = format!(
        "SOCKET={} /test --ignored --exact outside::speak_to_the_host >/dev/null & \
         until [ -s /tmp/spoken ]; do sleep 0.05; done\n{COUNT}",
        coracle.name()
    );
    // The kernel tells of sockets of one network namespace only.
    let bundle = coracle.bundle().sh(&script).set("/root/readonly", false);
    let bundle = bundle.without_namespace("network");
    copy_program(&std::env::current_exe().unwrap(), &bundle.rootfs().join("test"));
    let counter = Counter::of(&coracle, bundle, coracle.path().join("log"));
    counter.starts();
    counter.goes_on();
    save(&coracle, counter.id(), "without", &[]).fails().says("dump.log");
    counter.goes_on();
    save(&coracle, counter.id(), "with", &["--ext-unix-sk"]).succeeds();
    // All that was said before.
    socket.set_nonblocking(true).unwrap();
    while socket.recv(&mut [0; 16]).is_ok() {}
    restore(&counter, counter.id(), "with", &["--ext-unix-sk"]).succeeds();
    counter.goes_on();
    eventually("it is heard again", || socket.recv(&mut [0; 16]).is_ok());
    coracle.delete(counter.id());
    coracle.assert_nothing_left();
}

/// In the container: sends something to a socket of the host's, over and over.
#[test]
#[ignore = "runs in a container"]
fn speak_to_the_host() {
    let name = std::env::var("SOCKET").unwrap();
    let socket = UnixDatagram::unbound().unwrap();
    socket.connect_addr(&SocketAddr::from_abstract_name(name).unwrap()).unwrap();
    loop {
        socket.send(b"spoken").unwrap();
        fs::write("/tmp/spoken", "once").unwrap();
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

#[test]
fn the_caller_s_pipes_take_the_place_of_those_before() {
    need!(criu());
    let coracle = need!(Coracle::as_root());
    let bundle = coracle.bundle().sh(COUNT);
    // A pipe to a file, as conmon has it.
    let piped = |command: &str, log: &str| {
        let log = coracle.path().join(log);
        let script = format!("{{ \"$@\"; }} 2>&1 </dev/null | cat >{} &", log.display());
        let call = match command {
            "run" => coracle.with_bundle("run", &bundle, &["--detach"]),
            _ => coracle
                .call(["restore", "--detach", "--bundle"])
                .args([bundle.path()])
                .args(["--image-path"])
                .args([images(&coracle, "one")])
                .args([bundle.id()]),
        };
        call.through(["sh", "-c", &script, "sh"]).output().succeeds();
        eventually("it counts", || {
            fs::read_to_string(&log).is_ok_and(|text| text.lines().count() > 5)
        });
        log
    };
    let first = piped("run", "first");
    save(&coracle, bundle.id(), "one", &[]).succeeds();
    let second = piped("restore", "second");
    let last: u64 = fs::read_to_string(first).unwrap().lines().last().unwrap().parse().unwrap();
    let next = fs::read_to_string(second).unwrap().lines().next().unwrap().parse();
    assert_eq!(next, Ok(last + 1));
    coracle.delete(bundle.id());
    coracle.assert_nothing_left();
}
