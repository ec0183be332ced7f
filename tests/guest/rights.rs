//! What takes a right that not every root has.

use coracle_tests::{Coracle, host, json, need};

#[test]
fn hard_limits_are_raised() {
    let coracle = need!(Coracle::as_root());
    need!(host::may_raise_limits());
    let own = rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum;
    let more = own.unwrap_or(1000) + 1000;
    let limits = json!([{"type": "RLIMIT_NOFILE", "soft": more, "hard": more}]);
    let bundle = coracle.bundle().sh("ulimit -Hn").set("/process/rlimits", limits);
    assert_eq!(coracle.run(&bundle).succeeds().stdout, format!("{more}\n"));
    let bundle = bundle.sh("sleep 1000");
    coracle.start(&bundle);
    let exec = coracle.call(["exec", bundle.id(), "sh", "-c", "ulimit -Sn"]).output();
    assert_eq!(exec.succeeds().stdout, format!("{more}\n"));
    coracle.delete(bundle.id());
}

#[test]
fn an_ordinary_user_raises_none_and_is_told() {
    let coracle = need!(Coracle::as_user());
    let limits = json!([{"type": "RLIMIT_NOFILE", "soft": 9_000_000, "hard": 9_000_000}]);
    let bundle = coracle.bundle().sh("true").set("/process/rlimits", limits);
    coracle.run(&bundle).fails().says("/process/rlimits/0");
    coracle.assert_nothing_left();
}
