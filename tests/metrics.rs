//! `events --stats --format openmetrics`, read by a parser that takes nothing but what the
//! OpenMetrics specification (1.0) allows; and shares of cache and bandwidth, told and changed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use coracle_tests::{Bundle, Call, Coracle, Value, json, need};

/// A family: its type, its unit, and its samples by their label sets.
#[derive(Default)]
struct Family {
    kind: String,
    unit: String,
    help: String,
    samples: BTreeMap<Vec<(String, String)>, f64>,
}

/// Reads an exposition, and panics where it is none.
fn parse(text: &str) -> BTreeMap<String, Family> {
    let body = text.strip_suffix("# EOF\n").expect("it ends in # EOF");
    assert!(!body.contains("# EOF"), "nothing follows the end");
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    let mut current = String::new();
    for line in body.split_terminator('\n') {
        assert!(!line.is_empty() && !line.ends_with(' ') && !line.contains('\r'), "{line:?}");
        if let Some(rest) = line.strip_prefix("# ") {
            let mut words = rest.splitn(3, ' ');
            let (key, name, value) =
                (words.next().unwrap(), words.next().unwrap(), words.next().unwrap());
            assert!(is_name(name) && !name.ends_with("_total"), "{line}");
            if current != name {
                assert!(!families.contains_key(name), "{name} is interleaved with another");
                name.clone_into(&mut current);
            }
            let family = families.entry(name.to_owned()).or_default();
            assert!(family.samples.is_empty(), "metadata comes before samples: {line}");
            let slot = match key {
                "TYPE" => {
                    assert!(["gauge", "counter"].contains(&value), "{line}");
                    &mut family.kind
                }
                "UNIT" => {
                    assert!(name.ends_with(&format!("_{value}")), "the unit ends the name: {line}");
                    &mut family.unit
                }
                "HELP" => &mut family.help,
                _ => panic!("{line}"),
            };
            assert!(slot.is_empty(), "twice: {line}");
            value.clone_into(slot);
            continue;
        }
        let (name, rest) = line.split_once('{').unwrap_or_else(|| panic!("{line}"));
        let family = families.get_mut(&current).expect("a family begins with its type");
        let suffix = if family.kind == "counter" { "_total" } else { "" };
        assert_eq!(name, format!("{current}{suffix}"), "{line}");
        let (labels, value) = labels(rest);
        let number: f64 = value.parse().unwrap_or_else(|_| panic!("{line}"));
        assert!(number.is_finite() && (number >= 0.0 || family.kind == "gauge"), "{line}");
        let names: BTreeSet<&String> = labels.iter().map(|(name, _)| name).collect();
        assert_eq!(names.len(), labels.len(), "a label stands twice: {line}");
        assert!(family.samples.insert(labels, number).is_none(), "a sample stands twice: {line}");
    }
    for (name, family) in &families {
        assert!(!family.kind.is_empty() && !family.help.is_empty(), "{name}");
        assert!(!family.samples.is_empty(), "{name}");
    }
    families
}

/// metricname = metricname-initial-char 0*metricname-char
fn is_name(text: &str) -> bool {
    let first = |letter: char| letter.is_ascii_alphabetic() || "_:".contains(letter);
    text.starts_with(first) && text.chars().all(|l| first(l) || l.is_ascii_digit())
}

/// The labels up to the closing brace, and the value after one space.
fn labels(text: &str) -> (Vec<(String, String)>, &str) {
    let mut labels = Vec::new();
    let mut rest = text;
    loop {
        let (name, after) = rest.split_once("=\"").expect("a label");
        assert!(is_name(name) && !name.contains(':'), "{text}");
        let mut value = String::new();
        let mut letters = after.char_indices();
        let end = loop {
            match letters.next().expect("the label's end") {
                (at, '"') => break at,
                (_, '\\') => match letters.next().unwrap().1 {
                    'n' => value.push('\n'),
                    letter @ ('"' | '\\') => value.push(letter),
                    other => panic!("\\{other}: {text}"),
                },
                (_, letter) => value.push(letter),
            }
        };
        labels.push((name.to_owned(), value));
        rest = &after[end + 1..];
        match rest.strip_prefix(',') {
            Some(more) => rest = more,
            None => return (labels, rest.strip_prefix("} ").expect("a value")),
        }
    }
}

#[test]
fn statistics_as_open_metrics() {
    for coracle in [need!(Coracle::as_root()), need!(Coracle::on_cgroup2())] {
        let bundle = coracle.bundle().sh("sleep 1000");
        coracle.start(&bundle);
        let id = bundle.id();
        let told = coracle.call(["events", "--stats", "--format", "openmetrics", id]).output();
        let told = told.succeeds();
        assert_eq!(told.stderr, "");
        let families = parse(&told.stdout);
        for (name, family) in &families {
            assert!(name.starts_with("coracle_container_"), "{name}");
            for labels in family.samples.keys() {
                assert_eq!(labels[0], ("id".to_owned(), id.to_owned()), "{name}");
            }
        }
        let value = |name: &str| {
            let family = &families[&format!("coracle_container_{name}")];
            *family.samples.values().next().unwrap()
        };
        assert_eq!(families["coracle_container_cpu_usage_seconds"].unit, "seconds");
        assert!((value("tasks") - 1.0).abs() < 0.5);
        assert!(!families.contains_key("coracle_container_memory_limit_bytes"), "there is none");
        coracle.delete(id);
    }
}

/// Prometheus' own judgement, where it is installed.
#[test]
fn promtool_takes_it() {
    let coracle = need!(Coracle::as_root());
    if !fs::exists("/usr/bin/promtool").unwrap() {
        return coracle_tests::skipped("needs promtool (package prometheus)");
    }
    let bundle = coracle.bundle().sh("sleep 1000");
    coracle.start(&bundle);
    let told = coracle.call(["events", "--stats", "--format=openmetrics", bundle.id()]).output();
    let file = coracle.path().join("metrics.prom");
    fs::write(&file, told.succeeds().stdout).unwrap();
    let check = "promtool check metrics < \"$0\"";
    Call::new(["sh", "-c", check]).args([&file]).output().succeeds();
    coracle.delete(bundle.id());
}

#[test]
fn other_forms_are_refused() {
    let coracle = need!(Coracle::as_root());
    coracle.call(["events", "--format", "openmetrics", "x"]).output().fails().says("--stats");
    coracle
        .call(["events", "--stats", "--format", "xml", "x"])
        .output()
        .fails()
        .says("invalid format option");
}

/// A container whose record says that it is in a group of resctrl, which is an ordinary directory.
fn with_group(coracle: &Coracle) -> (Bundle, std::path::PathBuf) {
    let bundle = coracle.bundle().sh("sleep 1000");
    coracle.start(&bundle);
    let root = coracle.path().join("resctrl");
    let group = root.join("group");
    fs::create_dir_all(&group).unwrap();
    fs::write(group.join("schemata"), "L3:0=fffff\n").unwrap();
    let file = coracle.state_directory().join(bundle.id()).join("state.json");
    let mut record: Value = fs::read_to_string(&file).unwrap().parse().unwrap();
    record["intel_rdt_path"] = json!(group);
    fs::write(&file, record.to_string()).unwrap();
    (bundle, group)
}

#[test]
fn shares_of_cache_and_bandwidth_are_changed_and_told() {
    let coracle = need!(Coracle::as_root());
    let (bundle, group) = with_group(&coracle);
    let id = bundle.id();
    let update = |options: &[&str]| coracle.call(["update"]).args(options).args([id]).output();
    update(&["--l3-cache-schema", "L3:0=f", "--mem-bw-schema", "MB:0=20"]).succeeds();
    // The kernel would put them together; an ordinary file keeps them as written.
    let written = fs::read_to_string(group.join("schemata")).unwrap();
    assert_eq!(written, "L3:0=fffff\nL3:0=f\nMB:0=20\n");
    let config = coracle.state_directory().join(id).join("config.json");
    let config: Value = fs::read_to_string(config).unwrap().parse().unwrap();
    assert_eq!(
        config["linux"]["intelRdt"],
        json!({"l3CacheSchema": "L3:0=f", "memBwSchema": "MB:0=20"})
    );

    let told = coracle.call(["events", "--stats", id]).output().succeeds().stdout;
    let told: Value = told.parse().unwrap();
    assert_eq!(told["data"]["intel_rdt"]["mem_bw_schema"], "MB:0=20");

    fs::remove_file(group.join("schemata")).unwrap();
    update(&["--l3-cache-schema", "L3:0=1"]).fails().says("schemata");
    fs::remove_dir(&group).unwrap();
    coracle.delete(id);
}

#[test]
fn without_resctrl_shares_are_refused() {
    let coracle = need!(Coracle::as_root());
    if fs::read_to_string("/proc/self/mountinfo").unwrap().contains(" - resctrl ") {
        return coracle_tests::skipped("needs a machine without resctrl");
    }
    let bundle = coracle.bundle().sh("sleep 1000");
    coracle.start(&bundle);
    let id = bundle.id();
    let told = coracle.call(["update", "--mem-bw-schema", "MB:0=20", id]).output();
    told.fails().says("no resctrl file system is mounted");
    coracle.delete(id);
}
