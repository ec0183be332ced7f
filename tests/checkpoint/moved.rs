//! From one machine to another: `cargo xtask test` runs the first of these in one guest, and the
//! second in another, which it hands what the first has left.

use std::fs;
use std::path::Path;

use coracle_tests::{Call, Coracle, need};

use crate::saved::{Counter, criu, images, restore, save};

/// What goes over.
const MOVED: &str = "/root/moved";

/// Which machine this is (machine-id(5)).
fn machine() -> String {
    fs::read_to_string("/etc/machine-id").unwrap()
}

#[test]
#[ignore = "is run with the other guest's"]
fn it_leaves_this_machine() {
    need!(criu());
    let coracle = need!(Coracle::as_root());
    let counter = Counter::new(&coracle);
    counter.starts();
    counter.goes_on();
    save(&coracle, counter.id(), "one", &[]).succeeds();
    coracle.assert_nothing_left();
    fs::create_dir(MOVED).unwrap();
    let copy = Call::new(["cp", "-a"]).args([&images(&coracle, "one"), counter.log()]);
    copy.args([MOVED]).output().succeeds();
    fs::write(Path::new(MOVED).join("machine"), machine()).unwrap();
}

#[test]
#[ignore = "is run with what comes from the other guest"]
fn it_goes_on_on_another_machine() {
    need!(criu());
    let coracle = need!(Coracle::as_root());
    let moved = Path::new(MOVED);
    assert_ne!(fs::read_to_string(moved.join("machine")).unwrap(), machine());
    let counter = Counter::new(&coracle);
    fs::create_dir(coracle.path().join("images")).unwrap();
    let copy = Call::new(["cp", "-a"]).args([moved.join("one"), images(&coracle, "one")]);
    copy.output().succeeds();
    fs::copy(moved.join("log"), counter.log()).unwrap();
    let before = counter.text().lines().count();
    let id = counter.bundle().other_id("moved");
    restore(&counter, &id, "one", &[]).succeeds();
    counter.goes_on();
    assert!(counter.text().lines().count() > before);
    coracle.delete(&id);
    coracle.assert_nothing_left();
}
