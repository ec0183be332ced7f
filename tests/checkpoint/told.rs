//! What CRIU is told, option by option: something that is not CRIU writes it down, and fails. The
//! numbers are those of CRIU's `rpc.proto`.

use std::fs;
use std::io::{Read, Write};
use std::path::PathBuf;

use coracle_tests::{Bundle, Call, Coracle, Outcome, need};

use crate::saved::images;

/// Stands in for CRIU: in a directory for PATH, with what it is told.
struct Listener<'a> {
    coracle: &'a Coracle,
    bundle: Bundle,
    directory: PathBuf,
}

impl<'a> Listener<'a> {
    /// One that says that it is this version, with a container that runs.
    fn of_version(coracle: &'a Coracle, version: [u8; 3]) -> Self {
        let bundle = coracle.bundle().sh("sleep 1000");
        coracle.start(&bundle);
        let directory = coracle.path().join("bin");
        fs::create_dir(&directory).unwrap();
        let own = std::env::current_exe().unwrap();
        let script = format!(
            "#!/bin/sh\nTOLD={}/told VERSION='{version:?}' exec {} --ignored --exact \
             told::listen <&$2\n",
            directory.display(),
            own.display()
        );
        let path = directory.join("criu");
        fs::write(&path, script).unwrap();
        Call::new(["chmod", "755"]).args([path]).output().succeeds();
        Self { coracle, bundle, directory }
    }

    fn calls(&self, call: Call) -> Outcome {
        let path = std::env::var("PATH").unwrap();
        call.env("PATH", format!("{}:{path}", self.directory.display())).output()
    }

    /// `checkpoint`, which fails.
    fn saves(&self, options: &[&str]) -> Outcome {
        let call = self.coracle.call(["checkpoint", "--image-path"]);
        let call = call.args([images(self.coracle, "one")]).args(options);
        self.calls(call.args([self.bundle.id()])).fails()
    }

    /// `restore`, which fails, of something that looks like images.
    fn restores(&self, options: &[&str]) -> Outcome {
        let images = images(self.coracle, "one");
        fs::create_dir_all(&images).unwrap();
        fs::write(images.join("inventory.img"), "").unwrap();
        let call = self.coracle.call(["restore", "--detach", "--bundle"]);
        let call = call.args([self.bundle.path()]).args(["--image-path"]).args([images]);
        self.calls(call.args(options).args([self.bundle.other_id("again")])).fails()
    }

    /// The lines that it was told last.
    fn told(&self) -> Vec<String> {
        let told = fs::read_to_string(self.directory.join("told")).unwrap();
        told.lines().map(str::to_owned).collect()
    }
}

/// Calls with and without options, and looks for the one line that makes the difference.
fn each(calls: impl Fn(&[&str]), told: impl Fn() -> Vec<String>, options: &[(&[&str], &str)]) {
    calls(&[]);
    let usual = told();
    for (words, line) in options {
        calls(words);
        let told = told();
        assert!(told.iter().any(|one| one == line), "{words:?}: no {line} in {told:#?}");
        assert!(!usual.iter().any(|one| one == line), "{words:?}: {line} is usual");
    }
}

const SHARED: [(&[&str], &str); 14] = [
    (&["--ext-unix-sk"], "4=1"),
    (&["--tcp-established"], "5=1"),
    (&["--shell-job"], "7=1"),
    (&["--file-locks"], "8=1"),
    (&["--auto-dedup"], "16=1"),
    (&["--manage-cgroups-mode", "ignore"], "34=0"),
    (&["--manage-cgroups-mode", "full"], "34=4"),
    (&["--manage-cgroups-mode", "strict"], "34=5"),
    (&["--empty-ns", "network"], "38=1073741824"),
    (&["--lazy-pages"], "48=1"),
    (&["--network-lock", "iptables"], "64=1"),
    (&["--network-lock", "nftables"], "64=2"),
    (&["--network-lock", "skip"], "64=3"),
    (&["--manage-cgroups-mode=full", "--work-path=/tmp"], "34=4"),
];

#[test]
fn options_of_checkpoint_reach_it() {
    let coracle = need!(Coracle::as_root());
    let listener = Listener::of_version(&coracle, [4, 1, 1]);
    let calls = |words: &[&str]| drop(listener.saves(words).says("criu could not save"));
    each(calls, || listener.told(), &SHARED);
    fs::create_dir(images(&coracle, "before")).unwrap();
    let more: [(&[&str], &str); 6] = [
        (&["--leave-running"], "3=1"),
        (&["--page-server", "127.0.0.1:27"], "11=\\n\\t127.0.0.1\\x10\\x1b"),
        (&["--parent-path", "../before"], "14=../before"),
        (&["--link-remap"], "18=1"),
        (&["--tcp-skip-in-flight"], "46=1"),
        (&["--pre-dump"], "15=1"),
    ];
    each(calls, || listener.told(), &more);
    let told = listener.told();
    // CRIU_REQ_TYPE_PRE_DUMP, and the mode that leaves limits to the runtime.
    assert!(told.contains(&"kind=4".into()) && told.contains(&"34=3".into()), "{told:?}");
    assert_eq!(coracle.status(listener.bundle.id()), "running");
    coracle.delete(listener.bundle.id());
    coracle.assert_nothing_left();
}

#[test]
fn options_of_restore_reach_it() {
    let coracle = need!(Coracle::as_root());
    let listener = Listener::of_version(&coracle, [4, 1, 1]);
    coracle.delete(listener.bundle.id());
    let calls = |words: &[&str]| drop(listener.restores(words).says("criu could not restore"));
    each(calls, || listener.told(), &SHARED);
    let more: [(&[&str], &str); 3] = [
        (&["--tcp-close"], "52=1"),
        (&["--lsm-profile", "apparmor:other"], "53=apparmor:other"),
        (
            &["--lsm-mount-context", "system_u:object_r:container_file_t:s0"],
            "63=system_u:object_r:container_file_t:s0",
        ),
    ];
    each(calls, || listener.told(), &more);
    // What has no effect is taken, and a page server is for the saving.
    calls(&["--no-pivot", "--no-subreaper"]);
    listener.restores(&["--page-server", "127.0.0.1:27"]).says("--page-server");
    coracle.assert_nothing_left();
}

#[test]
fn an_old_one_is_refused_what_it_does_not_know() {
    let coracle = need!(Coracle::as_root());
    let ancient = Listener::of_version(&coracle, [2, 12, 0]);
    let refused = ancient.saves(&[]).says("this version of criu is too old");
    refused.says("2.12").says("install criu 3.0 or newer");
    assert_eq!(coracle.status(ancient.bundle.id()), "running");
    coracle.delete(ancient.bundle.id());
    ancient.restores(&[]).says("this version of criu is too old");
    coracle.assert_nothing_left();
}

#[test]
fn one_that_knows_no_labels_or_lazy_pages_is_refused_those() {
    let coracle = need!(Coracle::as_root());
    let old = Listener::of_version(&coracle, [3, 15, 0]);
    old.saves(&["--status-fd", "2"]).says("it is version 3.15").says("3.15.4 or newer");
    coracle.delete(old.bundle.id());
    for option in [["--lsm-profile", "apparmor:x"], ["--lsm-mount-context", "x"]] {
        old.restores(&option).says("criu cannot change security labels").says("3.16");
    }
    coracle.assert_nothing_left();
}

/// A message's fields: number and value, a length's bytes with their escapes.
fn fields(mut bytes: &[u8]) -> Vec<(u64, Result<u64, Vec<u8>>)> {
    fn varint(bytes: &mut &[u8]) -> u64 {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = bytes[0];
            *bytes = &bytes[1..];
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                break;
            }
        }
        value
    }
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes);
        let number = varint(&mut bytes);
        let value = if key & 7 == 2 {
            let (value, rest) = bytes.split_at(usize::try_from(number).unwrap());
            bytes = rest;
            Err(value.to_vec())
        } else {
            Ok(number)
        };
        fields.push((key >> 3, value));
    }
    fields
}

/// The stand-in itself. Standard input is the socket.
#[test]
#[ignore = "stands in for criu"]
fn listen() {
    let mut socket = fs::File::from(rustix::io::dup(rustix::stdio::stdin()).unwrap());
    let version = std::env::var("VERSION").unwrap();
    let version: Vec<u8> = version
        .trim_matches(['[', ']'])
        .split(", ")
        .map(|number| number.parse().unwrap())
        .collect();
    let mut bytes = vec![0; 1 << 16];
    loop {
        let length = socket.read(&mut bytes).unwrap();
        let request = fields(&bytes[..length]);
        let Some((_, Ok(kind))) = request.iter().find(|(number, _)| *number == 1) else { return };
        let kind = u8::try_from(*kind).unwrap();
        // CRIU_REQ_TYPE_VERSION.
        if kind == 10 {
            let [major, minor, sublevel] = version[..] else { panic!("{version:?}") };
            let answer = [8, 10, 16, 1, 82, 6, 8, major, 16, minor, 32, sublevel];
            socket.write_all(&answer).unwrap();
            continue;
        }
        let mut told = format!("kind={kind}\n");
        for (number, value) in request {
            let (2, Err(options)) = (number, value) else { continue };
            for (number, value) in fields(&options) {
                let value = match value {
                    Ok(value) => value.to_string(),
                    Err(bytes) => bytes.escape_ascii().to_string(),
                };
                told.extend([number.to_string().as_str(), "=", &value, "\n"]);
            }
        }
        fs::write(std::env::var("TOLD").unwrap(), told).unwrap();
        // Not a success.
        socket.write_all(&[8, kind, 16, 0]).unwrap();
    }
}
