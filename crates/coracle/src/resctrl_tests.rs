//! On an ordinary directory in place of resctrl: the kernel's part, making files in a new group, is
//! played by the test.

use std::sync::atomic::{AtomicU32, Ordering};

use super::*;

/// A directory that looks like resctrl, removed when dropped.
struct Fake(PathBuf);

impl Fake {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("coracle-resctrl-{}-{number}", std::process::id());
        let fake = Self(std::env::temp_dir().join(name));
        fs::create_dir(&fake.0).unwrap();
        fake.fill("");
        fake
    }

    /// Does what the kernel does for a new group.
    fn fill(&self, group: &str) {
        let group = self.0.join(group);
        fs::create_dir_all(group.join("mon_groups")).unwrap();
        for file in ["schemata", "tasks"] {
            fs::write(group.join(file), "").unwrap();
        }
    }

    fn schemata(&self, group: &str, text: &str) {
        fs::write(self.0.join(group).join("schemata"), text).unwrap();
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.0.join(path)).unwrap()
    }

    fn resctrl(&self) -> Resctrl {
        Resctrl::at(&self.0)
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn wanted(json: &str) -> Wanted {
    Wanted::new(&serde_json::from_str(json).unwrap())
}

#[test]
fn a_mounted_one_is_found() {
    let table = "22 1 0:20 / /sys rw - sysfs sysfs rw\n\
                 40 22 0:36 / /sys/fs/resctrl rw,nosuid shared:9 - resctrl resctrl rw\n";
    assert_eq!(mount_point(table), Some("/sys/fs/resctrl".into()));
    assert_eq!(mount_point("22 1 0:20 / /resctrl rw - tmpfs resctrl rw\n"), None);
}

#[test]
fn without_a_class_the_container_has_its_own() {
    let fake = Fake::new();
    let wanted = wanted(
        r#"{"l3CacheSchema": "L3:0=f", "memBwSchema": "MB:0=20",
        "schemata": ["L2:0=3", "MB:1=70"]}"#,
    );
    let mut group = fake.resctrl().group(&wanted, "one");
    group.make().unwrap();
    fake.fill("one");
    group.write_schemata().unwrap();
    group.enter(42).unwrap();
    // Cache first, bandwidth next, the others last.
    assert_eq!(fake.read("one/schemata"), "L3:0=f\nMB:0=20\nL2:0=3\nMB:1=70\n");
    assert_eq!(fake.read("one/tasks"), "42\n");
    assert_eq!(fake.read("tasks"), "");
    // One that is there is another's.
    let error = fake.resctrl().group(&wanted, "one").make().unwrap_err();
    assert!(error.to_string().contains("somebody's already"), "{error}");
}

#[test]
fn without_schemas_none_is_written() {
    let fake = Fake::new();
    let wanted = wanted("{}");
    let mut group = fake.resctrl().group(&wanted, "one");
    group.make().unwrap();
    // Not even opened: there is no such file.
    group.write_schemata().unwrap();
    assert_eq!(group.directory(), fake.0.join("one"));
}

#[test]
fn a_named_class_is_made_where_it_has_schemas_and_must_be_there_where_not() {
    let fake = Fake::new();
    let bare = wanted(r#"{"closID": "gold"}"#);
    let error = fake.resctrl().group(&bare, "one").make().unwrap_err();
    assert_eq!(error.pointer(), Some("/linux/intelRdt/closID"));
    assert!(!fake.0.join("gold").exists());

    let full = wanted(r#"{"closID": "gold", "schemata": ["L3:0=1"]}"#);
    let mut group = fake.resctrl().group(&full, "one");
    group.make().unwrap();
    fake.fill("gold");
    group.write_schemata().unwrap();
    assert_eq!(fake.read("gold/schemata"), "L3:0=1\n");

    let mut group = fake.resctrl().group(&bare, "two");
    group.make().unwrap();
    group.write_schemata().unwrap();
    group.enter(43).unwrap();
    assert_eq!(fake.read("gold/tasks"), "43\n");
    assert_eq!(fake.read("gold/schemata"), "L3:0=1\n");
}

#[test]
fn a_class_that_is_there_has_to_have_the_schemas() {
    let fake = Fake::new();
    fake.fill("gold");
    fake.schemata("gold", "    MB:0= 20;1=100\n    L3:0=007f0;1=0001f\n");
    for (json, matches) in [
        (r#"{"closID": "gold", "l3CacheSchema": "L3:0=7f0;1=1f"}"#, true),
        (r#"{"closID": "gold", "l3CacheSchema": "L3:0=7F0", "memBwSchema": "MB:0=20"}"#, true),
        (r#"{"closID": "gold", "l3CacheSchema": "L3:0=7f"}"#, false),
        (r#"{"closID": "gold", "l3CacheSchema": "L3:2=7f0"}"#, false),
        (r#"{"closID": "gold", "memBwSchema": "MB:0=2"}"#, false),
        // Those are for writing.
        (r#"{"closID": "gold", "schemata": ["MB:0=2"]}"#, true),
    ] {
        let wanted = wanted(json);
        let made = fake.resctrl().group(&wanted, "one").make();
        assert_eq!(made.is_ok(), matches, "{json}: {made:?}");
    }
}

#[test]
fn the_default_class_is_the_root() {
    let fake = Fake::new();
    let wanted = wanted(r#"{"closID": "/", "enableMonitoring": true}"#);
    let mut group = fake.resctrl().group(&wanted, "one");
    group.make().unwrap();
    fake.fill("mon_groups/one");
    group.enter(44).unwrap();
    assert_eq!(fake.read("tasks"), "44\n");
    assert_eq!(fake.read("mon_groups/one/tasks"), "44\n");
}

#[test]
fn what_was_made_is_undone_in_reverse_and_nothing_else() {
    let fake = Fake::new();
    fake.fill("gold");
    let wanted = wanted(r#"{"closID": "gold", "enableMonitoring": true}"#);
    let mut group = fake.resctrl().group(&wanted, "one");
    group.make().unwrap();
    assert!(fake.0.join("gold/mon_groups/one").is_dir());
    group.undo();
    assert!(!fake.0.join("gold/mon_groups/one").exists() && fake.0.join("gold").is_dir());
}

#[test]
fn delete_removes_what_is_the_container_s_alone() {
    let fake = Fake::new();
    let at = |path: &str| fake.0.join(path);
    for path in ["own", "gold", "gold/mon_groups", "gold/mon_groups/one"] {
        fs::create_dir(at(path)).unwrap();
    }
    remove(&at("own"), true, None).unwrap();
    assert!(!at("own").exists());
    remove(&at("own"), true, None).unwrap();
    remove(&at("gold"), false, Some(&at("gold/mon_groups/one"))).unwrap();
    assert!(!at("gold/mon_groups/one").exists() && at("gold").is_dir());
    remove(&at("gold"), false, None).unwrap();
    assert!(at("gold").is_dir());
}

#[test]
fn the_kernel_s_words_are_told() {
    let fake = Fake::new();
    fs::create_dir(fake.0.join("info")).unwrap();
    fs::write(fake.0.join("info/last_cmd_status"), "Out of CLOSIDs\n").unwrap();
    fs::remove_file(fake.0.join("tasks")).unwrap();
    let wanted = wanted(r#"{"closID": "/"}"#);
    let error = fake.resctrl().group(&wanted, "one").enter(1).unwrap_err();
    assert!(error.to_string().contains("Out of CLOSIDs"), "{error}");
}
