//! Older versions of systemd are asked for nothing but what they know, and for all of that.

use std::sync::{Arc, Mutex};

use coracle_tests::{Bundle, Coracle, Value, host, json, need};

use crate::bus::{Answer, Bus, Said, bundle, obedient};

/// Properties, and the first version of systemd that has them (its NEWS).
const SINCE: [(&str, u16); 16] = [
    ("CPUShares", 206),
    ("CPUQuotaPerSecUSec", 213),
    ("TasksMax", 227),
    ("IOWeight", 230),
    ("MemoryMax", 231),
    ("MemoryHigh", 231),
    ("MemoryLow", 231),
    ("CPUWeight", 232),
    ("MemorySwapMax", 232),
    ("CollectMode", 236),
    ("MemoryMin", 240),
    ("CPUQuotaPeriodUSec", 242),
    ("AllowedCPUs", 244),
    ("AllowedMemoryNodes", 244),
    // None has these.
    ("CPUBurst", u16::MAX),
    ("NoSuchThing", u16::MAX),
];

/// Some of `SINCE`.
type Known = Vec<(&'static str, u16)>;

/// The properties of `SINCE` that a call sets.
fn properties(said: &Said) -> Known {
    let mut found: Vec<_> =
        SINCE.into_iter().filter(|(name, _)| said.mentions(&format!("{name}\0"))).collect();
    found.sort_unstable();
    found
}

/// A systemd of a version, with the properties of each call that it carried out.
struct Old {
    bus: Bus,
    set: Arc<Mutex<Vec<Known>>>,
}

impl Old {
    fn new(coracle: &Coracle, version: u16, unit: &str, unified: bool) -> Self {
        let obey = obedient(unit, unified);
        let set: Arc<Mutex<Vec<_>>> = Arc::default();
        let log = Arc::clone(&set);
        let bus = Bus::new(coracle, move |said| {
            let asked = properties(said);
            // It looks at them in their order, and stops at the first that it does not know.
            let unknown = asked.iter().filter(|(_, since)| *since > version);
            let first = unknown.min_by_key(|(name, _)| said.position(&format!("{name}\0")));
            if let Some((name, _)) = first {
                let words = format!("Cannot set property {name}, or unknown property.");
                return Answer::Refuse("org.freedesktop.DBus.Error.PropertyReadOnly", words);
            }
            if ["StartTransientUnit", "SetUnitProperties"].contains(&said.member.as_str()) {
                log.lock().unwrap().push(asked);
            }
            obey(said)
        });
        Self { bus, set }
    }

    /// The properties that it was last told.
    fn told(&self) -> Known {
        self.set.lock().unwrap().pop().unwrap()
    }
}

/// Has each version make, change and delete a container, and compares what it is told with what the
/// newest is.
fn each_version(make: impl Fn() -> Coracle, unified: bool, limits: &Value, least: &[&str]) {
    let mut all = Vec::new();
    // The newest; Ubuntu's of 22.04 and 20.04, Debian's of 10, RHEL's of 8 and 7 with its kind.
    for version in [257, 249, 245, 243, 241, 239, 235] {
        let coracle = make();
        let (bundle, unit) = bundle(&coracle);
        let bundle: Bundle = bundle.limited(limits);
        let old = Old::new(&coracle, version, &unit, unified);
        old.bus.create(&coracle, &bundle).output().succeeds();
        let told = old.told();
        if all.is_empty() {
            all.clone_from(&told);
            for name in least {
                assert!(all.iter().any(|(known, _)| known == name), "{name}: {all:?}");
            }
        }
        let known: Vec<_> = all.iter().copied().filter(|(_, since)| *since <= version).collect();
        assert_eq!(told, known, "version {version}");

        let words = ["update", "--cpu-quota", "20000", "--cpuset-cpus", "0", bundle.id()];
        old.bus.call(&coracle, &words).output().succeeds();
        let told = old.told();
        assert!(told.contains(&("CPUQuotaPerSecUSec", 213)), "version {version}: {told:?}");
        assert_eq!(told.contains(&("AllowedCPUs", 244)), version >= 244, "version {version}");
        old.bus.call(&coracle, &["delete", "--force", bundle.id()]).output().succeeds();
        coracle.assert_nothing_left();
    }
}

#[test]
fn an_older_systemd_is_told_what_it_knows() {
    need!(Coracle::as_root());
    if std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
        return coracle_tests::skipped("needs cgroup v1");
    }
    let limits = json!({
        "memory": {"limit": 64 << 20},
        "cpu": {"shares": 512, "quota": 50_000, "period": 100_000, "cpus": "0", "mems": "0"},
        "pids": {"limit": 100},
    });
    let least = [
        "CPUShares",
        "CPUQuotaPerSecUSec",
        "TasksMax",
        "CollectMode",
        "CPUQuotaPeriodUSec",
        "AllowedCPUs",
        "AllowedMemoryNodes",
    ];
    each_version(|| Coracle::as_root().unwrap(), false, &limits, &least);
}

#[test]
fn an_older_systemd_is_told_what_it_knows_on_cgroup2() {
    need!(Coracle::as_root());
    need!(host::cgroup2_with(&["memory", "cpu", "cpuset", "pids"]));
    let limits = json!({
        "memory": {"limit": 64 << 20, "reservation": 32 << 20, "swap": 96 << 20},
        "cpu": {"shares": 512, "quota": 50_000, "period": 100_000, "cpus": "0", "mems": "0"},
        "pids": {"limit": 100},
        "unified": {"memory.high": "50331648", "memory.min": "1048576"},
    });
    let least = [
        "CPUWeight",
        "MemoryMax",
        "MemoryMin",
        "MemorySwapMax",
        "CollectMode",
        "CPUQuotaPeriodUSec",
        "AllowedCPUs",
        "AllowedMemoryNodes",
    ];
    each_version(|| Coracle::as_root().unwrap(), true, &limits, &least);
}

#[test]
fn what_an_annotation_asks_for_is_not_left_out() {
    let coracle = need!(Coracle::as_root());
    let (bundle, unit) = bundle(&coracle);
    let key = "org.systemd.property.CollectMode";
    let bundle = bundle.set("/annotations", json!({ key: "'inactive'" }));
    let old = Old::new(&coracle, 235, &unit, false);
    old.bus.create(&coracle, &bundle).output().fails().says(&format!("/annotations/{key}"));
    coracle.assert_nothing_left();
}
