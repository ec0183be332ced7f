//! What `spec` writes.

use coracle::config::{Spec, check, template, to_json, warnings};

use crate::schema::{Schema, specification};

const ROOT: &str = include_str!("../golden/template.json");
const ROOTLESS: &str = include_str!("../golden/template-rootless.json");

fn json(rootless: Option<(u32, u32)>) -> String {
    String::from_utf8(to_json(&template(rootless)).unwrap()).unwrap()
}

#[test]
fn templates_are_as_they_were() {
    assert_eq!(json(None), ROOT);
    assert_eq!(json(Some((1000, 1001))), ROOTLESS);
}

#[test]
fn templates_are_good() {
    for json in [ROOT, ROOTLESS] {
        let spec = Spec::parse(json.as_bytes()).unwrap();
        check(&spec).unwrap();
        assert_eq!(warnings(&spec), Vec::<String>::new());
    }
}

#[test]
fn templates_match_the_schema() {
    let Some(specification) = specification() else { return };
    let schema = Schema::read(&specification);
    for json in [ROOT, ROOTLESS] {
        let value = serde_json::from_str(json).unwrap();
        assert_eq!(schema.faults(&value), Vec::<String>::new());
        assert_eq!(schema.unknown(&value), Vec::<String>::new());
    }
}

/// Tutorials set the program with `sed 's;"sh";"/hello";'`.
#[test]
fn the_program_stands_alone_in_its_line() {
    assert_eq!(ROOT.matches("\"sh\"").count(), 1);
    assert!(ROOT.contains("\n\t\t\t\"sh\"\n"));
    let edited = ROOT.replace("\"sh\"", "\"/hello\"");
    let process = Spec::parse(edited.as_bytes()).unwrap().process.unwrap();
    assert_eq!(process.args, ["/hello"]);
}
