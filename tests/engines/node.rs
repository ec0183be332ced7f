//! A machine within the machine: what an engine and its daemons may set up, and break, at will.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use coracle_tests::{
    Call, Coracle, Needs, Running, Scratch, User, clear, copy_program, end_unmounted_hierarchies,
    eventually, has_controller,
};

use crate::compare::Place;
use crate::programs::{PATH, PATIENCE, program};

/// A runtime as an engine's configuration names it.
#[derive(Clone)]
pub(crate) struct Runtime {
    /// What the engine calls it.
    pub(crate) name: &'static str,
    /// The executable.
    pub(crate) path: PathBuf,
    /// Whether it is the command under test, and takes the place of what is at `path`.
    pub(crate) in_place: bool,
}

impl Runtime {
    /// The command under test.
    pub(crate) fn coracle() -> Needs<Self> {
        let path = Coracle::as_root()?.binary().to_owned();
        Ok(Self { name: "coracle", path, in_place: false })
    }

    /// The runtime that engines bring.
    pub(crate) fn runc() -> Needs<Self> {
        Ok(Self { name: "runc", path: program("runc", "runc")?, in_place: false })
    }

    /// The command under test where the runtime `name` is installed, and under that name.
    pub(crate) fn in_place_of(name: &'static str) -> Needs<Self> {
        Ok(Self { name, path: program(name, name)?, in_place: true })
    }
}

/// New mount, PID, network, UTS, IPC and cgroup namespaces. Whatever was started in it ends with
/// its first process; its mounts, bridges and firewall rules go with the namespaces, its files with
/// the directory, and its cgroups are all below one of its own.
pub(crate) struct Node {
    first: Option<Running>,
    pid: u32,
    scratch: Scratch,
    runtime: Runtime,
    user: Option<User>,
}

impl Node {
    /// Sets a node up whose engines are to use `runtime`, and are root's or an ordinary user's.
    pub(crate) fn new(mut runtime: Runtime, user: Option<User>) -> Self {
        let scratch = Scratch::new();
        let directory = scratch.path();
        for name in ["home", "work", "xdg", "networks"] {
            let path = directory.join(name);
            fs::create_dir(&path).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
            if let Some(User { uid, gid, .. }) = user {
                chown(&path, Some(uid), Some(gid)).unwrap();
            }
        }
        // A user may not reach where it was built.
        let copy = directory.join("coracle");
        if let Ok(built) = Runtime::coracle() {
            copy_program(&built.path, &copy);
        }
        if runtime.name == "coracle" {
            runtime.path.clone_from(&copy);
        }
        let image = include_str!("image.sh");
        Call::new(["sh", "-c", image]).within(directory).output().succeeds();
        for file in ["subuid", "subgid"] {
            // Ranges for the engines themselves (`--userns=auto`), besides the users'.
            let users = fs::read_to_string(Path::new("/etc").join(file)).unwrap_or_default();
            let text = format!("{users}containers:1000000:1000000\nroot:3000000:200000\n");
            fs::write(directory.join(file), text).unwrap();
        }
        fs::write(directory.join("containers.conf"), containers_conf(&runtime, directory)).unwrap();

        end_unmounted_hierarchies();
        let cgroups = cgroup_trees();
        let write = |name: &str, text: &str| fs::write(directory.join(name), text).unwrap();
        write("node.sh", include_str!("node.sh"));
        write("step.sh", include_str!("step.sh"));
        write("enter.sh", &enter_cgroups(&cgroups, scratch.name()));
        let first = Call::new(["sh".as_ref(), directory.join("enter.sh").as_os_str()])
            // The nodes must not outlive a run that is killed.
            .args(["setpriv", "--pdeathsig=KILL", "unshare", "-mpnuiC"])
            .args(["--fork", "--kill-child", "--mount-proc", "sh"])
            .args([directory.join("node.sh").as_os_str(), scratch.name().as_ref()])
            .args([directory])
            .args([cgroups.iter().map(Tree::line).collect::<Vec<_>>().join("\n")])
            .spawn();
        eventually("the node is set up", || {
            assert!(coracle_tests::is_alive(first.pid()), "no node: {}", first.stderr());
            directory.join("ready").exists()
        });
        let children = format!("/proc/{0}/task/{0}/children", first.pid());
        let pid = fs::read_to_string(children).unwrap().trim().parse().unwrap();
        let node = Self { first: Some(first), pid, scratch, runtime, user };
        node.delegate(&cgroups);
        if node.runtime.in_place {
            node.call(["mount", "--bind"]).args([&copy, &node.runtime.path]).output().succeeds();
        }
        node
    }

    /// With cgroup v2 alone, a cgroup that passes controllers on may hold no process itself
    /// (`cgroups(7)`, "no internal processes").
    fn delegate(&self, cgroups: &[Tree]) {
        let [Tree { point, kind, .. }] = cgroups else { return };
        if kind != "cgroup2" {
            return;
        }
        let top = Path::new(point).join(self.name());
        fs::create_dir(top.join("init")).unwrap();
        let enter = enter_cgroups(cgroups, &format!("{}/init", self.name()));
        fs::write(self.path().join("enter.sh"), enter).unwrap();
        for pid in fs::read_to_string(top.join("cgroup.procs")).unwrap().lines() {
            fs::write(top.join("init/cgroup.procs"), pid).unwrap();
        }
        for one in fs::read_to_string(top.join("cgroup.controllers")).unwrap().split_whitespace() {
            fs::write(top.join("cgroup.subtree_control"), format!("+{one}")).unwrap();
        }
    }

    /// Its directory, which has the same path inside.
    pub(crate) fn path(&self) -> &Path {
        self.scratch.path()
    }

    /// The process ID of its first process.
    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// A command in it, in its working directory.
    pub(crate) fn call<S: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = S>) -> Call {
        let work = self.path().join("work");
        let mut inside: Vec<String> = ["nsenter", "--all", "--target"].map(Into::into).to_vec();
        inside.push(self.pid.to_string());
        inside.push(format!("--wd={}", work.display()));
        if let Some(user) = &self.user {
            inside.push(format!("--setuid={}", user.uid));
            inside.push(format!("--setgid={}", user.gid));
        }
        let call = Call::new(["sh".as_ref(), self.path().join("enter.sh").as_os_str()])
            .args(["timeout", "-k", "5", PATIENCE])
            .args(inside)
            .args(words)
            .env("CONTAINERS_CONF", self.path().join("containers.conf"))
            .env("RUNTIME", &self.runtime.path)
            .env("D", self.path())
            .env("PATH", PATH)
            .env("HOME", self.path().join("home"))
            .patience(Duration::from_mins(2));
        match &self.user {
            None => call,
            Some(user) => {
                call.env("USER", &user.name).env("XDG_RUNTIME_DIR", self.path().join("xdg"))
            }
        }
    }
}

impl Place for Node {
    fn name(&self) -> &str {
        self.scratch.name()
    }

    fn runtime(&self) -> (&str, &Path) {
        (self.runtime.name, &self.runtime.path)
    }

    fn sh(&self, line: &str) -> Call {
        self.call(["sh", "-c", &format!(". $D/step.sh; {line}")])
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // Its first process takes all others of the namespace with it.
        drop(self.first.take());
        clear(self.name(), &[], &[]);
    }
}

/// A mounted tree of cgroups.
struct Tree {
    point: String,
    kind: String,
    options: String,
}

impl Tree {
    fn line(&self) -> String {
        format!("{} {} {}", self.point, self.kind, self.options)
    }
}

/// The trees of this machine, without what a cgroup namespace may not say when it mounts them.
fn cgroup_trees() -> Vec<Tree> {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    let fields = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    fields
        .filter(|fields| fields[2].starts_with("cgroup"))
        .map(|fields| {
            let common = ["rw", "nosuid", "nodev", "noexec", "relatime", "xattr", "clone_children"];
            let mut options: Vec<&str> = fields[3]
                .split(',')
                .filter(|one| !common.contains(one) && !one.starts_with("release_agent"))
                .collect();
            if options.iter().any(|one| one.starts_with("name=")) {
                options.insert(0, "none");
            }
            Tree { point: fields[1].into(), kind: fields[2].into(), options: options.join(",") }
        })
        .collect()
}

/// A script that makes a cgroup in every tree, enters it and executes its arguments.
fn enter_cgroups(trees: &[Tree], name: &str) -> String {
    use std::fmt::Write as _;

    let mut script = String::from("set -e\n");
    for Tree { point, .. } in trees {
        let cgroup = format!("{point}/{name}");
        let _ = writeln!(script, "[ -d {cgroup} ] || mkdir {cgroup}");
        for file in ["cpuset.cpus", "cpuset.mems"] {
            // A cpuset of v1 begins empty, and holds nobody then.
            let _ = writeln!(
                script,
                "[ ! -f {point}/tasks -o ! -f {cgroup}/{file} ] || cat {point}/{file} >{cgroup}/{file}"
            );
        }
        let _ = writeln!(script, "echo $$ >{cgroup}/cgroup.procs");
    }
    script + "exec \"$@\""
}

/// What podman and buildah are told. This machine may not raise limits, so that their defaults
/// could not be set; and without a pids controller its limit could not.
fn containers_conf(runtime: &Runtime, directory: &Path) -> String {
    let pids_limit = if has_controller("pids") { 2048 } else { 0 };
    let Runtime { name, path, .. } = runtime;
    format!(
        "[containers]\n\
         default_ulimits = [\"nofile=4096:4096\", \"nproc=2048:2048\"]\n\
         pids_limit = {pids_limit}\n\
         log_driver = \"k8s-file\"\n\
         [engine]\n\
         cgroup_manager = \"cgroupfs\"\n\
         events_logger = \"file\"\n\
         runtime = \"{name}\"\n\
         runtime_supports_json = [\"{name}\"]\n\
         runtime_supports_nocgroup = [\"coracle\"]\n\
         [engine.runtimes]\n\
         {name} = [\"{}\"]\n\
         [network]\n\
         network_config_dir = \"{}/networks\"\n",
        path.display(),
        directory.display()
    )
}
