//! The library in a program with threads.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::thread;

use coracle::container::{self, Request, Status};
use coracle::embed::Runtime;
use coracle_tests::{Coracle, eventually, json, need};

#[test]
fn containers_are_started_from_eight_threads_at_once() {
    let coracle = need!(Coracle::as_root());
    let runtime = Runtime::new(coracle.binary(), coracle.state_directory());
    let bundles: Vec<_> = (0..8).map(|n| coracle.bundle().sh(&format!("exit {n}"))).collect();
    thread::scope(|scope| {
        for bundle in &bundles {
            let runtime = &runtime;
            scope.spawn(move || {
                for round in 0..5 {
                    let id = format!("{}-{round}", bundle.id());
                    let request = Request {
                        id: id.clone(),
                        bundle: bundle.path().to_owned(),
                        ..Request::default()
                    };
                    runtime.create(&request).unwrap();
                    let store = runtime.store();
                    assert_eq!(container::state(store, &id).unwrap().status, Status::Created);
                    container::start(store, &id, |_| {}).unwrap();
                    eventually("it ends", || {
                        container::state(store, &id).unwrap().status == Status::Stopped
                    });
                    container::delete(store, &id, false, |warning| panic!("{warning}")).unwrap();
                }
            });
        }
    });
    assert!(container::list(runtime.store(), |warning| panic!("{warning}")).unwrap().is_empty());
    coracle.assert_nothing_left();
}

#[test]
fn an_embedder_gets_the_error_whole() {
    let coracle = need!(Coracle::as_root());
    let runtime = Runtime::new(coracle.binary(), coracle.state_directory());
    let bundle =
        coracle.bundle().set("/process/cwd", "relative").set("/process/args", json!(["sh"]));
    let request = Request {
        id: bundle.id().to_owned(),
        bundle: bundle.path().to_owned(),
        ..Request::default()
    };
    let error = runtime.create(&request).unwrap_err().to_string();
    assert!(error.contains("/process/cwd"), "{error}");
    coracle.assert_nothing_left();
}

/// A process with threads must not be cloned; the library says so and makes nothing.
#[test]
fn a_threaded_process_is_not_cloned() {
    let coracle = need!(Coracle::as_root());
    let bundle = coracle.bundle().sh("exit 0");
    let runtime = Runtime::new(coracle.binary(), coracle.state_directory());
    let request = Request {
        id: bundle.id().to_owned(),
        bundle: bundle.path().to_owned(),
        ..Request::default()
    };
    // This is the test's own thread beside the first.
    let error = container::create(runtime.store(), &request, &mut |_| {}).unwrap_err();
    assert!(error.to_string().contains("threaded"), "{error}");
    coracle.assert_nothing_left();
}
