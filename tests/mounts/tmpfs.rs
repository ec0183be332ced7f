//! What a tmpfs gets of the directory that it covers.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::fs::chown;
use std::os::unix::fs::lchown;
use std::os::unix::fs::symlink;
use std::path::Path;

use crate::inside::look;
use crate::{refused, tmpfs, with};
use coracle_tests::{Call, Coracle, json, need};

fn a_read_only_tmpfs_is_closed_at_the_end(coracle: &Coracle) {
    let bundle = coracle.bundle();
    let config = bundle.config().clone();
    let dev = config["mounts"].as_array().unwrap().iter().position(|m| m["destination"] == "/dev");
    let bundle = bundle.set(&format!("/mounts/{}/options/-", dev.unwrap()), "ro");
    let bundle = tmpfs(bundle, "/tmp", &["ro"]);
    let bundle = tmpfs(bundle, "/tmp/below", &["mode=700"]);
    let script = "touch /dev/x /tmp/x 2>&1; echo a > /dev/null; ls /dev/zero; touch /tmp/below/x";
    let told = look(coracle, bundle, script);
    assert_eq!(told.matches("Read-only file system").count(), 2, "{told}");
    assert!(told.ends_with("/dev/zero\n"), "{told}");
}

fn a_tmpfs_has_the_mode_of_what_it_covers(coracle: &Coracle) {
    let bundle = coracle.bundle();
    fs::set_permissions(bundle.rootfs().join("root"), fs::Permissions::from_mode(0o700)).unwrap();
    let bundle = tmpfs(bundle, "/root", &[]);
    let bundle = tmpfs(bundle, "/home", &["mode=751"]);
    let bundle = tmpfs(bundle, "/tmp", &[]);
    // Where there was nothing, its own.
    let bundle = tmpfs(bundle, "/new/one", &[]);
    let modes = look(coracle, bundle, "stat -c %a /root /home /tmp /new/one");
    assert_eq!(modes, "700\n751\n1777\n1777\n");
}

/// A tree of everything that a directory can have.
fn fill(directory: &Path) {
    fs::create_dir_all(directory.join("sub/empty")).unwrap();
    fs::write(directory.join("sub/large"), vec![b'x'; 300_000]).unwrap();
    fs::write(directory.join("file"), "text\n").unwrap();
    symlink("/etc/shadow", directory.join("link")).unwrap();
    symlink("..", directory.join("sub/up")).unwrap();
    let node = directory.join("fifo");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &node,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o620),
        0,
    )
    .unwrap();
    fs::set_permissions(directory.join("file"), fs::Permissions::from_mode(0o4711)).unwrap();
    fs::set_permissions(directory.join("sub"), fs::Permissions::from_mode(0o2755)).unwrap();
}

/// What a tree is: path, type and mode, owner, size and time.
const LIST: &str = "cd /data && find . ! -type d | sort | xargs stat -c '%n %F %a %u:%g %s %Y' && \
     find . -type d | sort | xargs stat -c '%n %F %a %u:%g' && readlink link && readlink sub/up";

fn tmpcopyup_copies_what_was_there(coracle: &Coracle) {
    let bundle = coracle.bundle();
    let data = bundle.rootfs().join("data");
    fill(&data);
    fs::write(bundle.rootfs().join("etc/shadow"), "secret").unwrap();
    lchown(data.join("link"), Some(7), Some(8)).unwrap();
    for name in ["file", "sub", ""] {
        chown(data.join(name), Some(1000), Some(1001)).unwrap();
    }
    fs::set_permissions(data.join("file"), fs::Permissions::from_mode(0o4711)).unwrap();
    fs::set_permissions(data.join("sub"), fs::Permissions::from_mode(0o2755)).unwrap();
    let old = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000);
    fs::File::options()
        .write(true)
        .open(data.join("sub/large"))
        .unwrap()
        .set_modified(old)
        .unwrap();
    let plain = look(coracle, bundle.set("/root/readonly", true), LIST);
    assert!(plain.contains("./sub/large regular file 644 0:0 300000 1000000\n"), "{plain}");

    let bundle = coracle.bundle();
    let other = bundle.rootfs().join("data");
    let copied = Call::new(["cp", "-a", data.to_str().unwrap(), other.to_str().unwrap()]);
    copied.output().succeeds();
    let bundle = tmpfs(bundle, "/data", &["tmpcopyup", "size=16m"]);
    assert_eq!(look(coracle, bundle, LIST), plain);

    let bundle = tmpfs(coracle.bundle(), "/data", &["tmpcopyup", "ro"]);
    let to = bundle.rootfs().join("data");
    Call::new(["cp", "-a", data.to_str().unwrap(), to.to_str().unwrap()]).output().succeeds();
    let (name, flags) = ("trusted.coracle", rustix::fs::XattrFlags::empty());
    rustix::fs::setxattr(to.join("file"), name, b"value", flags).unwrap();
    let bundle = bundle.sh("sleep 1000");
    coracle.start(&bundle);
    let inside = format!("/proc/{}/root/data/file", coracle.pid(bundle.id()));
    let mut value = [0; 16];
    let copy = fs::File::open(&inside).unwrap();
    let length = rustix::fs::fgetxattr(&copy, name, &mut value[..]).unwrap();
    assert_eq!(&value[..length], b"value");
    assert_eq!(copy.metadata().unwrap().uid(), 1000);
    assert!(fs::write(&inside, "").is_err(), "it is read-only");
    coracle.delete(bundle.id());

    let mount = json!({"destination": "/data", "type": "ramfs", "options": ["tmpcopyup"]});
    refused(coracle, with(coracle.bundle(), mount), &["only a tmpfs", "/options/0"]);
}

#[test]
fn tmpcopyup_as_an_ordinary_user() {
    let coracle = need!(Coracle::as_user());
    let bundle = coracle.bundle();
    let data = bundle.rootfs().join("data");
    fill(&data);
    Call::new(["chown", "-Rh", &coracle.user().unwrap().name, data.to_str().unwrap()])
        .output()
        .succeeds();
    // Another's, which the user namespace does not know.
    chown(data.join("sub/empty"), Some(0), Some(0)).unwrap();
    let bundle = tmpfs(bundle, "/data", &["tmpcopyup"]);
    let told = look(&coracle, bundle, "cd data; cat file; wc -c < sub/large; ls; readlink link");
    assert_eq!(told, "text\n300000\nfifo\nfile\nlink\nsub\n/etc/shadow\n");
}

coracle_tests::tests! {
    as_root, as_ranged_user, as_single_user =>
        a_read_only_tmpfs_is_closed_at_the_end,
        a_tmpfs_has_the_mode_of_what_it_covers;
    as_root =>
        tmpcopyup_copies_what_was_there;
}
