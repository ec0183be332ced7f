//! Many containers side by side: made, limited, changed, frozen, listed and deleted, and nothing of
//! them left over.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use coracle_tests::{Bundle, Coracle, Value, has_controller, json, limit_of, need};

const COUNT: usize = 500;

/// Callers at once.
const CALLERS: usize = 8;

/// Calls `work` with every number below `COUNT`, from several threads.
fn side_by_side(work: impl Fn(usize) + Sync) {
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..CALLERS {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    if index >= COUNT {
                        break;
                    }
                    work(index);
                }
            });
        }
    });
}

/// Writes a bundle of its own for every container, all on the root file system of `model`.
fn bundles(coracle: &Coracle, model: &Bundle) -> Vec<PathBuf> {
    let bundle = |index| {
        let mut config = model.config().clone();
        config["root"]["path"] = json!(model.rootfs());
        config["linux"]["cgroupsPath"] = json!(format!("/{}", id(model, index)));
        let directory = coracle.path().join(format!("many-{index}"));
        fs::create_dir(&directory).unwrap();
        fs::write(directory.join("config.json"), config.to_string()).unwrap();
        directory
    };
    (0..COUNT).map(bundle).collect()
}

fn id(model: &Bundle, index: usize) -> String {
    model.other_id(&index.to_string())
}

/// What `list` says of each container, as (ID, status).
fn listed(coracle: &Coracle) -> Vec<(String, String)> {
    let told = coracle.call(["list", "--format", "json"]).output().succeeds().stdout;
    let told: Value = serde_json::from_str(&told).unwrap();
    let text = |of: &Value, key: &str| of[key].as_str().unwrap().to_owned();
    told.as_array()
        .map(|all| all.iter().map(|one| (text(one, "id"), text(one, "status"))).collect())
        .unwrap_or_default()
}

/// Whether all are listed, each once, with this status.
#[track_caller]
fn assert_all(coracle: &Coracle, model: &Bundle, status: &str) {
    let listed = listed(coracle);
    assert_eq!(listed.len(), COUNT);
    let ids: BTreeSet<&str> = listed.iter().map(|(id, _)| id.as_str()).collect();
    assert!((0..COUNT).all(|index| ids.contains(id(model, index).as_str())));
    let other = listed.iter().find(|(_, found)| found != status);
    assert_eq!(other, None, "all are to be {status}");
}

#[test]
fn five_hundred_containers_live_side_by_side() {
    let coracle = need!(Coracle::as_root());
    let mut model = coracle.bundle().sh("exec sleep 1000");
    let pids = has_controller("pids");
    if pids {
        model = model.limited(&json!({"pids": {"limit": 20}}));
    }
    let bundles = bundles(&coracle, &model);
    let perform = |operation: &str, options: &[&str], index: usize| {
        let id = id(&model, index);
        coracle.call([operation]).args(options).args([id]).output().succeeds();
    };
    let pids = has_controller("pids");

    side_by_side(|index| {
        let bundle = bundles[index].to_str().unwrap();
        perform("create", &["--bundle", bundle], index);
        perform("start", &[], index);
    });
    assert_all(&coracle, &model, "running");
    if pids {
        side_by_side(|index| {
            // Some are made stricter than others, so that nobody gets his neighbour's limit.
            let limit = (30 + index).to_string();
            perform("update", &["--pids-limit", &limit], index);
            let pid = coracle.pid(&id(&model, index));
            assert_eq!(limit_of(pid, "pids", ["pids.max"; 2]), limit);
        });
    }
    side_by_side(|index| perform("pause", &[], index));
    assert_all(&coracle, &model, "paused");
    side_by_side(|index| perform("resume", &[], index));
    assert_all(&coracle, &model, "running");
    side_by_side(|index| perform("delete", &["--force"], index));
    assert_eq!(listed(&coracle), []);
    coracle.assert_nothing_left();
}
