//! What is about a container that saving and restoring may change: its profile of AppArmor, and how
//! its connections are kept quiet.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::Duration;

use coracle_tests::{Call, Coracle, eventually, host, json, need};

use crate::saved::{COUNT, Counter, criu, restore, save};

/// A profile that allows everything, loaded as long as this lives.
struct Profile(String);

impl Profile {
    fn load(name: &str) -> Self {
        let rules = "file, capability, network, mount, umount, pivot_root, signal, ptrace, unix,";
        let text = format!("profile {name} flags=(attach_disconnected) {{ {rules} }}\n");
        let parser = Call::new(["apparmor_parser", "--replace", "--skip-cache"]);
        parser.stdin_text(&text).output().succeeds();
        Self(text)
    }
}

impl Drop for Profile {
    fn drop(&mut self) {
        drop(Call::new(["apparmor_parser", "--remove"]).stdin_text(&self.0).output());
    }
}

#[test]
fn it_comes_back_under_another_profile_when_told() {
    need!(host::apparmor());
    need!(criu());
    let coracle = need!(Coracle::as_root());
    let [first, second] = ["first", "second"].map(|name| format!("{}-{name}", coracle.name()));
    let _loaded = [&first, &second].map(|name| Profile::load(name));
    let counter = Counter::new(&coracle)
        .with(|bundle| bundle.set("/process/apparmorProfile", first.as_str()));
    let own = || {
        let path = format!("/proc/{}/attr/current", coracle.pid(counter.id()));
        std::fs::read_to_string(path).unwrap()
    };
    counter.starts();
    counter.goes_on();
    assert_eq!(own(), format!("{first} (enforce)\n"));
    save(&coracle, counter.id(), "one", &["--leave-running"]).succeeds();
    coracle.delete(counter.id());
    std::fs::write(counter.log(), "").unwrap();
    restore(&counter, counter.id(), "one", &[]).succeeds();
    assert_eq!(own(), format!("{first} (enforce)\n"));
    coracle.delete(counter.id());
    let other = format!("apparmor:{second}");
    restore(&counter, counter.id(), "one", &["--lsm-profile", &other]).succeeds();
    assert_eq!(own(), format!("{second} (enforce)\n"));
    coracle.delete(counter.id());
    coracle.assert_nothing_left();
}

/// A network namespace with a link to it, as long as this lives.
struct Network(String);

impl Network {
    fn new(name: &str) -> Self {
        let script = "ip netns add $1 && ip link add coracle-lock type veth peer name eth0 netns $1 && \
                      ip address add 10.231.7.1/24 dev coracle-lock && ip link set coracle-lock up && \
                      ip -n $1 address add 10.231.7.2/24 dev eth0 && ip -n $1 link set eth0 up && \
                      ip -n $1 link set lo up";
        Call::new(["sh", "-c", script, "sh", name]).output().succeeds();
        Self(name.to_owned())
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        drop(Call::new(["ip", "link", "delete", "coracle-lock"]).output());
        drop(Call::new(["ip", "netns", "delete", &self.0]).output());
    }
}

/// Somebody outside writes to a container that is away: what it is told, or the answer of the
/// container when it is back.
fn answer(coracle: &Coracle, method: &str) -> std::io::Result<String> {
    let network = Network::new(&format!("{}-{method}", coracle.name()));
    let script = "mkfifo /tmp/in; exec 9<>/tmp/in; \
                  nc -l -p 1234 <&9 | while read word; do echo back $word >&9; done & \
                  until netstat -tln | grep -q :1234; do sleep 0.05; done";
    let bundle = coracle.bundle().sh(&format!("{script}\n{COUNT}"));
    let namespace = json!({ "type": "network", "path": format!("/run/netns/{}", network.0) });
    let bundle = bundle.set("/root/readonly", false).without_namespace("network");
    let bundle = bundle.set("/linux/namespaces/-", namespace);
    let counter = Counter::of(coracle, bundle, coracle.path().join(method));
    counter.starts();
    counter.goes_on();
    let mut stream = TcpStream::connect("10.231.7.2:1234")?;
    stream.set_read_timeout(Some(Duration::from_mins(1)))?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut ask = |word: &str| {
        stream.write_all(word.as_bytes())?;
        Ok::<_, std::io::Error>(())
    };
    let mut line = String::new();
    ask("one\n")?;
    reader.read_line(&mut line)?;
    assert_eq!(line, "back one\n");
    let options = ["--tcp-established", "--network-lock", method];
    let saved = save(coracle, counter.id(), method, &options);
    if saved.code != Some(0) {
        counter.goes_on();
        coracle.delete(counter.id());
        return Err(std::io::Error::other(saved.stderr));
    }
    ask("two\n")?;
    // It has arrived, and whatever is said to it.
    std::thread::sleep(Duration::from_millis(500));
    restore(&counter, counter.id(), method, &options).succeeds();
    counter.goes_on();
    line.clear();
    let told = reader.read_line(&mut line).map(|_| line);
    coracle.delete(counter.id());
    told
}

#[test]
fn a_locked_connection_goes_on_and_one_that_is_not_is_reset() {
    need!(host::systemd());
    need!(criu());
    let coracle = need!(Coracle::as_root());
    let told = ["nftables", "skip", "iptables"].map(|method| answer(&coracle, method));
    let [nftables, skip, iptables] = told;
    assert_eq!(nftables.unwrap(), "back two\n");
    assert!(skip.is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionReset));
    match iptables {
        Ok(line) => assert_eq!(line, "back two\n"),
        // Where there is no such program.
        Err(error) => assert!(error.to_string().contains("iptables"), "{error}"),
    }
    eventually("nothing is left", || coracle.leftovers().is_empty());
}
