//! Files that cannot be read: what is said, where, and what to do about it.

use coracle::Kind;
use coracle::config::{Process, Spec, parse};

use crate::{inputs, told};

const UNREADABLE: &str = include_str!("../golden/unreadable.txt");

fn error(json: impl AsRef<[u8]>) -> coracle::Error {
    Spec::parse(json.as_ref()).unwrap_err()
}

/// `golden/unreadable.txt`: what stands in the file, and the error.
#[test]
fn what_cannot_be_read_is_explained() {
    let mut said = Vec::new();
    for json in inputs(UNREADABLE) {
        let error = error(json);
        assert_eq!(error.get_kind(), Kind::Config);
        said.push(told(json, &error));
    }
    assert_eq!(said.join("\n"), UNREADABLE);
}

#[test]
fn an_empty_file_is_called_empty() {
    assert_eq!(error("").to_string(), "reading config.json: the file is empty");
    assert_eq!(error(" \n\t").to_string(), "reading config.json: the file is empty");
}

#[test]
fn other_encodings_are_called_so() {
    assert_eq!(
        error("\u{feff}{}").to_string(),
        "reading config.json: it begins with a byte order mark \
         [help: save it as plain UTF-8, without a byte order mark]"
    );
    let wide: Vec<u8> = "{}".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let wide = [b"\xff\xfe", wide.as_slice()].concat();
    assert_eq!(
        error(wide).to_string(),
        "reading config.json: not UTF-8: byte 0 is no text [help: save it as plain UTF-8]"
    );
    assert_eq!(
        error(b"{\"hostname\": \"caf\xe9\"}").to_string(),
        "reading config.json: not UTF-8: byte 17 is no text [help: save it as plain UTF-8]"
    );
}

#[test]
fn syntax_errors_name_line_and_column() {
    assert_eq!(
        error("{\"ociVersion\": \"1.0.0\",\n  \"hostname\": \"a\",}\n").to_string(),
        "reading config.json: not valid JSON at line 2, column 19: trailing comma \
         [help: look near `\"hostname\": \"a\",}`]"
    );
    assert_eq!(
        error("{\"hostname\": \"a\nb\"}").to_string(),
        "reading config.json: not valid JSON at line 2, column 0: \
         a line break or another control character in a string [help: look near `b\"}`]"
    );
}

#[test]
fn deep_nesting_is_called_so() {
    let json = format!("{{\"ociVersion\": \"1.0.0\", \"vm\": {}", "[".repeat(1000));
    assert!(error(json).summary().contains("nested more than 128 levels deep"));
}

#[test]
fn long_values_are_shortened() {
    let json = format!("{{\"ociVersion\": [{}1]}}", "1,".repeat(10_000));
    assert!(error(json).to_string().len() < 500);
}

#[test]
fn null_and_empty_are_absent() {
    let absent = Spec::parse(
        br#"{"ociVersion": "1.3.0", "process": {"cwd": "/", "user": {}}, "root": {"path": "r"},
            "linux": {"namespaces": [{"type": "mount"}]}}"#,
    );
    let null = Spec::parse(
        br#"{"ociVersion": "1.3.0", "hostname": "", "mounts": null, "hooks": null, "vm": null,
            "annotations": null, "root": {"path": "r", "readonly": null},
            "process": {"cwd": "/", "user": null, "args": null, "terminal": null,
                "capabilities": null, "apparmorProfile": "", "oomScoreAdj": null},
            "linux": {"namespaces": [{"type": "mount", "path": ""}], "sysctl": null,
                "resources": null, "cgroupsPath": "", "maskedPaths": [], "timeOffsets": {},
                "rootfsPropagation": ""}}"#,
    );
    assert_eq!(null.unwrap(), absent.unwrap());
}

#[test]
fn parts_are_read_by_themselves() {
    let process: Process = parse(br#"{"cwd": "/", "args": ["id"]}"#, "process.json").unwrap();
    assert_eq!(process.args, ["id"]);
    let error = parse::<Process>(b"{\"cwd\": 1}", "process.json").unwrap_err();
    assert_eq!(
        error.to_string(),
        "reading process.json: a string is expected, not a number \
         [process.json: /cwd = 1] [help: put it in quotes: \"1\"]"
    );
}
