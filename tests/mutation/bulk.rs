//! Files that are broken as a whole, and files with very much in them.

use std::time::Duration;

use coracle::config::Spec;
use coracle_tests::{Bundle, Coracle, need};

use crate::files;
use crate::judge::is_readable;

#[test]
fn a_file_that_ends_early_is_refused() {
    for part in files::parts() {
        let text = part.config.to_string();
        for fiftieth in 0..50 {
            let cut = &text.as_bytes()[..text.len() * fiftieth / 50];
            let error = Spec::parse(cut).expect_err("it is not whole");
            let name = format!("{}, {fiftieth} of 50: {error}", part.name);
            is_readable(&error.to_string()).unwrap_or_else(|why| panic!("{name}: {why}"));
            let words = if cut.is_empty() { "the file is empty" } else { "the file ends inside" };
            assert!(error.summary().contains(words), "{name}");
        }
    }
}

#[test]
fn a_file_in_another_encoding_is_refused() {
    for part in files::parts() {
        let text = part.config.to_string();
        let says = |json: &[u8], words: &str| {
            let error = Spec::parse(json).expect_err(words);
            assert!(error.summary().contains(words), "{}: {error}", part.name);
            assert!(error.advice().is_some_and(|help| help.contains("UTF-8")), "{error}");
        };
        says(&[b"\xef\xbb\xbf", text.as_bytes()].concat(), "byte order mark");
        let wide: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        says(&[b"\xff\xfe", wide.as_slice()].concat(), "not UTF-8");
        let mut broken = text.into_bytes();
        let quote = broken.iter().position(|byte| *byte == b'"').unwrap();
        broken.insert(quote + 1, 0xff);
        says(&broken, "not UTF-8");
    }
}

/// How much is very much.
const MANY: usize = 100_000;

/// A JSON array.
fn array(count: usize, one: impl Fn(usize) -> String) -> String {
    format!("[{}]", (0..count).map(one).collect::<Vec<_>>().join(","))
}

/// A JSON object.
fn object(count: usize, one: impl Fn(usize) -> String) -> String {
    format!("{{{}}}", (0..count).map(one).collect::<Vec<_>>().join(","))
}

/// The default bundle with this text as the value at a place.
fn bundle_with(coracle: &Coracle, pointer: &str, text: &str) -> Bundle {
    const MARK: &str = "@@HERE@@";
    let bundle = coracle.bundle().set(pointer, MARK);
    let config = bundle.config().to_string().replacen(&format!("\"{MARK}\""), text, 1);
    bundle.text(config)
}

/// Very much of each thing, where it goes, and as JSON text.
fn very_much() -> Vec<(&'static str, String)> {
    let name = |index: usize| format!("\"n{index}\"");
    let path = |index: usize| format!("\"/m/{index}\"");
    let tmpfs = |index| {
        let of_tmpfs = r#""type": "tmpfs", "source": "t", "options": ["ro"]"#;
        format!("{{\"destination\": \"/m/{index}\", {of_tmpfs}}}")
    };
    let filter =
        |calls: String| format!("{{\"defaultAction\": \"SCMP_ACT_ALLOW\", \"syscalls\": {calls}}}");
    let call = |index: usize| format!(r#"{{"names": ["n{index}"], "action": "SCMP_ACT_KILL"}}"#);
    let condition = |index: usize| {
        let args = format!(r#"[{{"index": 0, "value": {index}, "op": "SCMP_CMP_EQ"}}]"#);
        format!(r#"{{"names": ["write"], "action": "SCMP_ACT_ERRNO", "args": {args}}}"#)
    };
    let names = array(MANY, name);
    vec![
        ("/mounts", array(MANY, tmpfs)),
        ("/mounts", array(MANY, |_| tmpfs(0))),
        ("/process/env", array(MANY, |index| format!("\"N{index}=v\""))),
        ("/process/args", names.clone()),
        ("/process/user/additionalGids", array(MANY, |gid| gid.to_string())),
        ("/process/capabilities/bounding", array(MANY, name)),
        (
            "/process/rlimits",
            array(MANY, |_| r#"{"type": "RLIMIT_CORE", "soft": 0, "hard": 0}"#.into()),
        ),
        ("/hooks/poststop", array(MANY, |_| r#"{"path": "/bin/true"}"#.into())),
        ("/annotations", object(MANY, |index| format!("\"n{index}\": \"v\""))),
        ("/linux/namespaces", array(MANY, |_| r#"{"type": "pid"}"#.into())),
        (
            "/linux/uidMappings",
            array(MANY, |id| format!(r#"{{"containerID": {id}, "hostID": {id}, "size": 1}}"#)),
        ),
        ("/linux/sysctl", object(MANY, |index| format!("\"net.n{index}\": \"v\""))),
        (
            "/linux/devices",
            array(MANY, |index| {
                format!(r#"{{"path": "/dev/d{index}", "type": "c", "major": 1, "minor": {index}}}"#)
            }),
        ),
        (
            "/linux/netDevices",
            object(MANY, |index| format!(r#""n{index}": {{"name": "x{index}"}}"#)),
        ),
        ("/linux/maskedPaths", array(MANY, path)),
        ("/linux/readonlyPaths", array(MANY, path)),
        (
            "/linux/resources/devices",
            array(MANY, |index| {
                format!(
                    r#"{{"allow": true, "type": "c", "major": {index}, "minor": {index}, "access": "r"}}"#
                )
            }),
        ),
        ("/linux/resources/unified", object(MANY, |index| format!("\"cpu.n{index}\": \"v\""))),
        ("/linux/seccomp", filter(array(MANY, call))),
        ("/linux/seccomp", filter(array(MANY, condition))),
        ("/linux/seccomp", filter(format!(r#"[{{"names": {names}, "action": "SCMP_ACT_KILL"}}]"#))),
        ("/unknown", array(10 * MANY, |_| "[]".into())),
    ]
}

#[test]
fn very_much_of_anything_is_planned_or_refused() {
    let coracle = need!(Coracle::as_root());
    let told = crate::on_all(&very_much(), |(pointer, text)| {
        let bundle = bundle_with(&coracle, pointer, text);
        let outcome = coracle.call(["plan", "--bundle"]).args([bundle.path()]).output();
        let refused = outcome.stderr.contains(&format!("config.json: {pointer}"));
        let answered = outcome.code == Some(0) || outcome.code == Some(1) && refused;
        (*pointer, answered, outcome)
    });
    for (pointer, answered, outcome) in told {
        assert!(answered, "{pointer}: {:.1000}", outcome.stderr);
    }
}

#[test]
fn more_than_the_kernel_takes_is_refused_by_its_place() {
    let coracle = need!(Coracle::as_root());
    let long = "x".repeat(10_000_000);
    for (pointer, text, words) in [
        (
            "/process/env",
            format!("[\"PATH=/bin\", \"LONG={long}\"]"),
            "argument list too long (E2BIG)",
        ),
        (
            "/process/env",
            format!(
                "[\"PATH=/bin\", {}",
                &array(MANY, |index| format!("\"N{index}={}\"", &long[..100]))[1..]
            ),
            "argument list too long (E2BIG)",
        ),
        (
            "/process/args",
            format!("[\"true\", \"{}\"]", &long[..200_000]),
            "argument list too long (E2BIG)",
        ),
        ("/process/user/additionalGids", array(MANY, |gid| gid.to_string()), "setting the groups"),
        ("/process/cwd", format!("\"/{}\"", &long[..10_000]), "file name too long (ENAMETOOLONG)"),
    ] {
        let bundle = bundle_with(&coracle, pointer, &text);
        let told = coracle.run(&bundle).fails().says(words);
        let told = told.says(&format!("config.json: {pointer}"));
        assert!(told.stderr.len() < 5000, "{pointer}: {} bytes of error", told.stderr.len());
        coracle.assert_nothing_left();
    }
}

/// The kernel has a limit (proc(5), /proc/sys/fs/mount-max), by default as many.
#[test]
fn as_many_mounts_as_the_kernel_takes_are_made() {
    let coracle = need!(Coracle::as_root());
    let mount = |index| {
        let of_tmpfs = r#""type": "tmpfs", "source": "t", "options": ["ro"]"#;
        format!("{{\"destination\": \"/m/{index}\", {of_tmpfs}}}")
    };
    let bundle = bundle_with(&coracle, "/mounts", &array(MANY, mount));
    let call = coracle.with_bundle("run", &bundle, &[]).patience(Duration::from_mins(5));
    let told = call.output();
    if told.code != Some(0) {
        let told = told.exits(1).says("no space left on device (ENOSPC)").says("fs/mount-max");
        let (_, place) = told.stderr.split_once("config.json: /mounts/").unwrap();
        let index: usize = place.lines().next().unwrap().parse().unwrap();
        let limit = std::fs::read_to_string("/proc/sys/fs/mount-max").unwrap();
        let limit: usize = limit.trim().parse().unwrap();
        assert!(index <= limit && limit - index < 1000, "{index} of {limit}");
    }
    coracle.assert_nothing_left();
}

#[test]
fn what_is_too_long_to_be_read_is_not() {
    let coracle = need!(Coracle::as_root());
    let text = format!("\"{}\"", "x".repeat(65 << 20));
    let bundle = bundle_with(&coracle, "/annotations/long", &text);
    coracle.run(&bundle).fails().says("longer than 64 MiB");
    coracle.assert_nothing_left();
}
