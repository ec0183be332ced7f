//! Ways for the memory: in parts, and over a network.

use std::fs;
use std::net::TcpListener;

use coracle_tests::{Call, Coracle, eventually, need, skipped};

use crate::saved::{Counter, criu, feature, images, restore, save};

/// A port that nobody listens on.
fn port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Whether somebody listens on a port, asked without connecting (proc(5), `/proc/net/tcp`).
fn listens(port: u16) -> bool {
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    let table = table + &fs::read_to_string("/proc/net/tcp6").unwrap_or_default();
    table.lines().any(|line| line.contains(&format!(":{port:04X} ")) && line.contains(" 0A "))
}

#[test]
fn in_two_parts() {
    need!(feature("mem_dirty_track"));
    let coracle = need!(Coracle::as_root());
    let counter = Counter::new(&coracle);
    counter.starts();
    counter.goes_on();
    save(&coracle, counter.id(), "first", &["--pre-dump"]).succeeds();
    assert_eq!(coracle.status(counter.id()), "running");
    counter.goes_on();
    let options = ["--parent-path", "../first", "--auto-dedup"];
    save(&coracle, counter.id(), "second", &options).succeeds();
    assert!(images(&coracle, "second").join("parent").is_symlink());
    let pages = images(&coracle, "first").join("pages-1.img");
    let whole = fs::read(&pages).unwrap();
    fs::write(&pages, &whole[..whole.len() - 1]).unwrap();
    let refused = restore(&counter, counter.id(), "second", &[]).fails();
    refused.says("parent/pages-1.img is cut off");
    fs::write(&pages, whole).unwrap();
    restore(&counter, counter.id(), "second", &[]).succeeds();
    counter.goes_on();
    coracle.delete(counter.id());
}

#[test]
fn the_first_part_has_to_be_there_and_relative() {
    need!(criu());
    let coracle = need!(Coracle::as_root());
    let counter = Counter::new(&coracle);
    counter.starts();
    save(&coracle, counter.id(), "one", &["--parent-path", "/tmp"]).fails().says("relative");
    let missing = save(&coracle, counter.id(), "one", &["--parent-path", "../none"]).fails();
    missing.says("invalid parent path");
    assert_eq!(coracle.status(counter.id()), "running");
    coracle.delete(counter.id());
}

#[test]
fn over_a_page_server() {
    need!(criu());
    let coracle = need!(Coracle::as_root());
    let counter = Counter::new(&coracle);
    counter.starts();
    counter.goes_on();
    let kept = images(&coracle, "one");
    fs::create_dir_all(&kept).unwrap();
    let port = port();
    let server = Call::new(["criu", "page-server", "--address", "127.0.0.1", "--port"])
        .args([port.to_string()])
        .args(["--images-dir".as_ref(), kept.as_os_str()])
        .spawn();
    eventually("the page server listens", || listens(port));
    let address = format!("127.0.0.1:{port}");
    save(&coracle, counter.id(), "one", &["--page-server", &address]).succeeds();
    server.wait().succeeds();
    restore(&counter, counter.id(), "one", &[]).succeeds();
    counter.goes_on();
    coracle.delete(counter.id());
}

#[test]
fn when_it_is_needed() {
    need!(feature("uffd-noncoop"));
    let coracle = need!(Coracle::as_root());
    let counter = Counter::new(&coracle);
    counter.starts();
    counter.goes_on();
    let port = port();
    let address = format!("127.0.0.1:{port}");
    let status = coracle.path().join("status");
    let kept = images(&coracle, "one");
    // The shell hands the descriptor on, as an engine does.
    let saving = coracle
        .call(["checkpoint", "--lazy-pages", "--page-server", &address, "--status-fd", "9"])
        .args(["--image-path".as_ref(), kept.as_os_str(), counter.id().as_ref()])
        .through(["sh", "-c", &format!("exec \"$@\" 9>{}", status.display()), "sh"])
        .spawn();
    eventually("its pages can be fetched", || fs::read(&status).is_ok_and(|told| told == b"\0"));
    let work = coracle.path().join("work");
    fs::create_dir(&work).unwrap();
    let fetching = Call::new(["criu", "lazy-pages", "--page-server", "--address", "127.0.0.1"])
        .args(["--port".to_owned(), port.to_string()])
        .args(["--images-dir".as_ref(), kept.as_os_str()])
        .args(["--work-dir".as_ref(), work.as_os_str()])
        .spawn();
    eventually("the pages are offered", || work.join("lazy-pages.socket").exists());
    let other = Counter::writing_to(&coracle, counter.log());
    let options = ["--lazy-pages", "--work-path", work.to_str().unwrap()];
    let options = [&["--detach"], &options[..]].concat();
    let restoring = other.restoring(other.id(), "one", &options).spawn();
    let saved = saving.wait();
    if saved.stderr.contains("page-pipe: splice") {
        drop(restoring);
        return skipped("criu cannot serve lazy pages on this kernel");
    }
    saved.succeeds();
    restoring.wait().succeeds();
    fetching.wait().succeeds();
    counter.goes_on();
    coracle.delete(other.id());
    coracle.assert_nothing_left();
}

#[test]
fn the_status_descriptor_has_to_be_open_for_writing() {
    let coracle = need!(Coracle::as_root());
    let call = |number: &str| coracle.call(["checkpoint", "--status-fd", number, "none"]);
    call("77").output().fails().says("invalid --status-fd argument 77");
    let reading = call("9").through(["sh", "-c", "exec \"$@\" 9</dev/null", "sh"]);
    reading.output().fails().says("invalid --status-fd argument 9");
}
