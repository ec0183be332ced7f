//! Where mounts come from and go to.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use crate::inside::{look, mount_on, mounts};
use crate::{bind, coracle_mounts, directory, refused, tmpfs};
use coracle_tests::{Coracle, json, need};

#[test]
fn a_missing_destination_is_made() {
    for coracle in [need!(Coracle::as_root()), need!(Coracle::as_user())] {
        let host = directory(&coracle, "host");
        let mut bundle = coracle.bundle();
        bundle = bind(bundle, &host, "/made/for/it", &[]);
        bundle = bind(bundle, &host.join("file"), "/also/made", &[]);
        // Deprecated, and counted from the root.
        bundle = bind(bundle, &host, "relative/./path", &[]);
        let script =
            "cat made/for/it/file also/made relative/path/file; stat -c %a /made /also/made";
        let told = look(&coracle, bundle, script);
        assert_eq!(told, "of the host\nof the host\nof the host\n755\n644\n");
    }
}

fn a_destination_below_an_earlier_mount_is_made_in_it(coracle: &Coracle) {
    let host = directory(coracle, "host");
    let bundle = tmpfs(coracle.bundle(), "/tmp", &["mode=700"]);
    let bundle = bind(bundle, &host, "/tmp/deep/down", &["ro"]);
    let bundle = bundle.set("/root/readonly", true);
    let rootfs = bundle.rootfs();
    let told = look(coracle, bundle, "cat /tmp/deep/down/file; stat -c %a /tmp; touch /tmp/x");
    assert_eq!(told, "of the host\n700\n");
    assert!(!rootfs.join("tmp/deep").exists());
}

fn links_on_the_way_are_followed_inside(coracle: &Coracle) {
    let host = directory(coracle, "host");
    let bundle = coracle.bundle();
    let rootfs = bundle.rootfs();
    fs::create_dir_all(rootfs.join("real/one")).unwrap();
    coracle.give(&rootfs.join("real"));
    symlink("/real", rootfs.join("absolute")).unwrap();
    symlink("../../../real/one", rootfs.join("home/relative")).unwrap();
    let bundle = bind(bundle, &host, "/absolute/two", &[]);
    let bundle = bind(bundle, &host, "/home/relative", &[]);
    let mounts = mounts(coracle, bundle);
    mount_on(&mounts, "/real/two");
    mount_on(&mounts, "/real/one");
}

/// As images have /etc/resolv.conf, a link to what is made when a system runs.
fn what_a_link_leads_to_is_made(coracle: &Coracle) {
    let host = directory(coracle, "host");
    let file = host.join("file");
    for (link, text, below, source, made) in [
        ("etc/resolv.conf", "../run/systemd/stub.conf", "", &file, "run/systemd/stub.conf"),
        ("etc/resolv.conf", "/run/systemd/stub.conf", "", &file, "run/systemd/stub.conf"),
        ("link", "../../../far/up", "", &host, "far/up"),
        ("link", "missing/../beside", "", &file, "beside"),
        ("link", "missing/../beside", "", &host, "beside"),
        ("link", "other", "", &host, "home/end"),
        ("link", "deep//./down", "", &host, "deep/down"),
        ("link", "/deep/down", "/a/b", &file, "deep/down/a/b"),
        ("link", "other", "/a/b", &host, "home/end/a/b"),
    ] {
        let bundle = coracle.bundle();
        let rootfs = bundle.rootfs();
        symlink(text, rootfs.join(link)).unwrap();
        symlink("/home/end", rootfs.join("other")).unwrap();
        let bundle = bind(bundle, source, &format!("/{link}{below}"), &[]);
        let mounts = mounts(coracle, bundle);
        mount_on(&mounts, &format!("/{made}"));
        assert_eq!(fs::read_link(rootfs.join(link)).unwrap(), Path::new(text));
        assert_eq!(rootfs.join(made).is_file(), source.is_file(), "{link} -> {text}");
    }
    coracle.assert_nothing_left();
}

fn links_in_a_circle_are_refused(coracle: &Coracle) {
    let host = directory(coracle, "host");
    for (link, text) in
        [("one", "two"), ("one", "one"), ("one", "two/x"), ("one", "/proc/self/cwd/x")]
    {
        for source in [host.clone(), host.join("file")] {
            let bundle = coracle.bundle();
            symlink(text, bundle.rootfs().join(link)).unwrap();
            symlink("one", bundle.rootfs().join("two")).unwrap();
            let bundle = bind(bundle, &source, "/one", &[]);
            let index = bundle.config()["mounts"].as_array().unwrap().len() - 1;
            let pointer = format!("/mounts/{index}/destination");
            refused(coracle, bundle, &["(ELOOP)", "in a circle", &pointer]);
        }
    }
    // A chain that the kernel would follow to its end, and one that it would not.
    for (length, ends) in [(39, true), (60, false)] {
        let bundle = coracle.bundle();
        for index in 0..length {
            symlink(format!("{}", index + 1), bundle.rootfs().join(index.to_string())).unwrap();
        }
        let bundle = bind(bundle, &host, "/0", &[]).sh("exit 0");
        assert_eq!(coracle.run(&bundle).code == Some(0), ends, "{length} links");
    }
}

fn directories_go_on_directories_and_files_on_files(coracle: &Coracle) {
    let host = directory(coracle, "host");
    let what = "not both directories or both files";
    refused(coracle, bind(coracle.bundle(), &host, "/etc/passwd", &[]), &[what]);
    refused(coracle, bind(coracle.bundle(), &host.join("file"), "/etc", &[]), &[what]);
    refused(coracle, tmpfs(coracle.bundle(), "/etc/passwd", &[]), &[what]);
    refused(coracle, bind(coracle.bundle(), &host, "/etc/passwd/below", &[]), &["(ENOTDIR)"]);
}

fn a_missing_source_is_told(coracle: &Coracle) {
    let bundle = bind(coracle.bundle(), Path::new("/not/there"), "/tmp", &[]);
    let index = bundle.config()["mounts"].as_array().unwrap().len() - 1;
    let pointer = format!("/mounts/{index}/source = \"/not/there\"");
    refused(coracle, bundle, &[&pointer, "no such file or directory", "make the file"]);
}

fn a_source_may_be_relative_to_the_bundle(coracle: &Coracle) {
    let bundle = coracle.bundle();
    fs::write(bundle.path().join("beside"), "beside\n").unwrap();
    let bundle = bind(bundle, Path::new("beside"), "/tmp/beside", &[]);
    assert_eq!(look(coracle, bundle, "cat /tmp/beside"), "beside\n");
}

fn links_as_sources_and_destinations(coracle: &Coracle) {
    let host = directory(coracle, "host");
    symlink("file", host.join("link")).unwrap();
    let link = host.join("link");

    let bundle = bind(coracle.bundle(), &link, "/tmp/followed", &[]);
    let bundle = bind(bundle, &link, "/tmp/copied", &["copy-symlink"]);
    let bundle = bind(bundle, &host.join("file"), "/tmp/file", &["copy-symlink"]);
    let bundle = bind(bundle, &link, "/tmp/bound", &["src-nofollow"]);
    let script = "cat tmp/followed tmp/file; readlink tmp/copied; readlink tmp/bound";
    assert_eq!(look(coracle, bundle, script), "of the host\nof the host\nfile\nfile\n");

    let bundle = bind(coracle.bundle(), &link, "/etc/passwd", &["copy-symlink"]);
    refused(coracle, bundle, &["another file is there"]);

    let bundle = coracle.bundle().file("/etc/target", 0o644, "target\n");
    symlink("target", bundle.rootfs().join("etc/over")).unwrap();
    let bundle = bind(bundle, &host.join("file"), "/etc/over", &["dest-nofollow"]);
    assert_eq!(look(coracle, bundle, "cat /etc/over /etc/target"), "of the host\ntarget\n");
}

fn a_thousand_mounts(coracle: &Coracle) {
    let host = directory(coracle, "host");
    let bundle = coracle.bundle();
    let mut mounts = coracle_mounts(&bundle);
    for index in 0..1000 {
        let source = if index % 2 == 0 { host.clone() } else { host.join("file") };
        mounts.push(json!({
            "destination": format!("/home/{index}"), "source": source, "options": ["bind", "ro"],
        }));
    }
    let bundle = bundle.set("/mounts", mounts);
    // With fewer descriptors than mounts.
    let bundle = bundle.set("/process/rlimits", json!([]));
    let bundle = bundle.sh("grep -c ' /home/' /proc/self/mountinfo; cat /home/999 /home/0/file");
    let call = coracle.with_bundle("run", &bundle, &[]);
    let told = call.through(["sh", "-c", "ulimit -n 64; exec \"$@\"", "sh"]).output().succeeds();
    assert_eq!(told.stdout, "1000\nof the host\nof the host\n");
    coracle.assert_nothing_left();
}

fn masked_and_read_only_paths_of_every_kind(coracle: &Coracle) {
    let host = directory(coracle, "host");
    let bundle = coracle.bundle().set("/root/readonly", false);
    let bundle = bundle
        .file("/etc/hidden", 0o644, "secret\n")
        .file("/srv/data/file", 0o644, "secret\n")
        .file("/srv/fixed/file", 0o644, "fixed\n");
    let rootfs = bundle.rootfs();
    symlink("/etc/hidden", rootfs.join("etc/alias")).unwrap();
    symlink("nowhere", rootfs.join("etc/dangling")).unwrap();
    symlink("../../srv/fixed", rootfs.join("etc/fixed")).unwrap();
    // Mounted twice; the one that is seen counts.
    let bundle = tmpfs(bundle, "/mnt", &[]);
    let bundle = bind(bundle, &host, "/mnt", &[]);
    let masked = ["/etc/alias", "/etc/dangling", "/srv/data", "/not/there", "/etc/hidden/below"];
    let bundle = bundle.set("/linux/maskedPaths", masked.to_vec());
    let fixed = ["/etc/fixed", "/mnt", "/etc/passwd", "/etc/dangling", "/not/there", "/etc/fixed"];
    let bundle = bundle.set("/linux/readonlyPaths", fixed.to_vec());
    let script = "cat /etc/hidden /etc/alias; ls -A /srv/data; cat /srv/fixed/file /mnt/file; \
                  exec 2>&1; for f in /srv/data/x /srv/fixed/x /mnt/x /etc/passwd; do \
                  echo x > $f; done; echo x > /etc/free && ls -d /not /etc/nowhere";
    let outcome = coracle.run(&bundle.sh(script)).exits(1);
    let told = outcome.stdout;
    assert!(told.starts_with("fixed\nof the host\n"), "{told}");
    assert_eq!(told.matches("Read-only file system").count(), 4, "{told}");
    assert_eq!(told.matches("No such file").count(), 2, "{told}");
    assert!(!told.contains("secret"), "{told}");
}

coracle_tests::tests! {
    as_root, as_ranged_user, as_single_user =>
        what_a_link_leads_to_is_made,
        a_destination_below_an_earlier_mount_is_made_in_it,
        links_on_the_way_are_followed_inside,
        links_in_a_circle_are_refused,
        directories_go_on_directories_and_files_on_files,
        a_missing_source_is_told,
        a_source_may_be_relative_to_the_bundle,
        links_as_sources_and_destinations,
        a_thousand_mounts,
        masked_and_read_only_paths_of_every_kind;
}
