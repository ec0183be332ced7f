//! Namespaces that somebody else has, to be joined, and configurations that do.

#![allow(dead_code)] // each test file needs some of it

use std::fs;

use coracle_tests::{Bundle, Call, Coracle, Running, User, eventually, json};

/// The types of config.json and their files in /proc/PID/ns.
pub(crate) const FILES: [(&str, &str); 8] = [
    ("pid", "pid"),
    ("network", "net"),
    ("mount", "mnt"),
    ("ipc", "ipc"),
    ("uts", "uts"),
    ("user", "user"),
    ("cgroup", "cgroup"),
    ("time", "time"),
];

/// The file in /proc/PID/ns of a type.
pub(crate) fn file_of(kind: &str) -> &'static str {
    FILES.iter().find(|(known, _)| *known == kind).unwrap().1
}

/// A process in namespaces of its own, until this is dropped.
pub(crate) struct Held {
    /// unshare(1), which takes its child with it.
    outer: Running,
    pid: u32,
}

impl Held {
    /// Has root make namespaces with these flags of unshare(1).
    pub(crate) fn by_root(flags: &[&str]) -> Self {
        Self::by(None, flags)
    }

    /// Has a user make them.
    pub(crate) fn by(user: Option<User>, flags: &[&str]) -> Self {
        let call = Call::new(["unshare", "--fork", "--kill-child"]).args(flags);
        let outer = call.args(["sh", "-c", "echo here; exec sleep 1000"]).user(user).spawn();
        outer.prints("here");
        let children = format!("/proc/{0}/task/{0}/children", outer.pid());
        let child = || fs::read_to_string(&children).unwrap().trim().parse().ok();
        eventually("it has a child", || child().is_some());
        Self { pid: child().unwrap(), outer }
    }

    /// Has whoever the command runs as make namespaces with these flags, an ordinary user in a user
    /// namespace of its own, with the IDs of its containers.
    pub(crate) fn of(coracle: &Coracle, flags: &[&str]) -> Self {
        let own: &[&str] = match (coracle.user(), coracle.has_ids()) {
            (None, _) => &[],
            (_, true) => &["--user", "--map-root-user", "--map-auto"],
            (_, false) => &["--user", "--map-root-user"],
        };
        Self::by(coracle.user().cloned(), &[own, flags].concat())
    }

    /// Has root make namespaces with these flags, and a user namespace with the IDs of [`mapped`].
    pub(crate) fn mapped(flags: &[&str]) -> Self {
        let held = Self::by_root(&[&["--user"], flags].concat());
        for file in ["uid_map", "gid_map"] {
            fs::write(format!("/proc/{}/{file}", held.pid), "0 200000 65536").unwrap();
        }
        held
    }

    /// The process.
    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// Whether it still runs.
    pub(crate) fn is_alive(&self) -> bool {
        coracle_tests::is_alive(self.pid)
    }

    /// The file of a namespace.
    pub(crate) fn path(&self, kind: &str) -> String {
        format!("/proc/{}/ns/{}", self.pid, file_of(kind))
    }

    /// What that is a link to.
    pub(crate) fn link(&self, kind: &str) -> String {
        fs::read_link(self.path(kind)).unwrap().to_str().unwrap().to_owned()
    }

    /// Runs a command in all the namespaces, as root there, and returns what it printed.
    #[track_caller]
    pub(crate) fn run(&self, command: &[&str]) -> String {
        let target = self.pid.to_string();
        let call =
            Call::new(["nsenter", "--target", &target, "--net", "--ipc", "--uts", "--mount"]);
        call.args(command).output().succeeds().stdout
    }
}

/// Has a bundle join a namespace of this type.
pub(crate) fn joining(bundle: Bundle, kind: &str, path: &str) -> Bundle {
    let bundle = bundle.without_namespace(kind);
    bundle.set("/linux/namespaces/-", json!({"type": kind, "path": path}))
}

/// Has a bundle join a namespace of this type, and for an ordinary user the user namespace that it
/// belongs to: without that nobody but root may.
pub(crate) fn joining_of(coracle: &Coracle, bundle: Bundle, kind: &str, held: &Held) -> Bundle {
    joining(with_user_of(coracle, bundle, held), kind, &held.path(kind))
}

/// Has an ordinary user's bundle join the user namespace, whose mappings are there already.
pub(crate) fn with_user_of(coracle: &Coracle, bundle: Bundle, held: &Held) -> Bundle {
    if coracle.user().is_none() || bundle.config().pointer("/linux/uidMappings").is_none() {
        return bundle;
    }
    let bundle = bundle.remove("/linux/uidMappings").remove("/linux/gidMappings");
    joining(bundle, "user", &held.path("user"))
}

/// Has a bundle make a new namespace of this type.
pub(crate) fn new(bundle: Bundle, kind: &str) -> Bundle {
    let bundle = bundle.without_namespace(kind);
    bundle.set("/linux/namespaces/-", json!({"type": kind}))
}

/// A bundle with a new user namespace of 65,536 IDs, whose root file system is that root's.
pub(crate) fn mapped(coracle: &Coracle) -> Bundle {
    if coracle.user().is_some() {
        return coracle.bundle().set("/root/readonly", false);
    }
    let map = json!([{"containerID": 0, "hostID": 200_000, "size": 65536}]);
    let bundle = coracle
        .bundle()
        .set("/root/readonly", false)
        .set("/linux/namespaces/-", json!({"type": "user"}))
        .set("/linux/uidMappings", map.clone())
        .set("/linux/gidMappings", map);
    Call::new(["chown", "-hR", "200000:200000"]).args([bundle.rootfs()]).output().succeeds();
    bundle
}

/// Runs a script to its successful end and returns what it printed.
#[track_caller]
pub(crate) fn look(coracle: &Coracle, bundle: Bundle, script: &str) -> String {
    coracle.run(&bundle.sh(script)).succeeds().stdout
}

/// The same, by a command that runs the runtime.
#[track_caller]
pub(crate) fn look_through(
    coracle: &Coracle,
    bundle: Bundle,
    script: &str,
    through: &[&str],
) -> String {
    let bundle = bundle.sh(script);
    coracle.with_bundle("run", &bundle, &[]).through(through).output().succeeds().stdout
}
