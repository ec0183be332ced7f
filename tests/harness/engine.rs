//! The config.json files that engines wrote (tests/data/engines), filled in so that they can be
//! run here.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, lchown};
use std::path::{Path, PathBuf};

use rustix::process::{Resource, getrlimit};
use serde_json::{Value, json};

use crate::bundle::Bundle;
use crate::call::{Call, Running};
use crate::coracle::Coracle;
use crate::skip::Needs;

/// What a hook's program does: it keeps its arguments and what it is told of the container.
const HOOK: &str = "#!/bin/sh\n{ echo \"arguments: $*\"; cat; echo; } >>\"$0.calls\"\n";

/// A config.json as an engine wrote it.
#[derive(Clone, Copy, Debug)]
pub struct EngineConfig {
    /// `ENGINE-KIND`.
    pub name: &'static str,
    /// The file, with its placeholders.
    pub text: &'static str,
}

macro_rules! files {
    ($($name:literal),+ $(,)?) => {
        &[$(EngineConfig {
            name: $name,
            text: include_str!(concat!("../data/engines/", $name, ".json")),
        }),+]
    };
}

impl EngineConfig {
    /// All of them.
    pub const ALL: &'static [Self] = files![
        "buildah-gpu",
        "buildah-plain",
        "buildah-rootless",
        "buildah-user-namespace",
        "containerd-gpu",
        "containerd-plain",
        "containerd-privileged",
        "containerd-read-only",
        "containerd-rootless",
        "containerd-user-namespace",
        "docker-cgroup2",
        "docker-gpu",
        "docker-plain",
        "docker-privileged",
        "docker-read-only",
        "docker-rootless",
        "docker-user-namespace",
        "podman-cgroup2",
        "podman-gpu",
        "podman-plain",
        "podman-privileged",
        "podman-read-only",
        "podman-rootless",
        "podman-user-namespace",
    ];

    /// The one of this name.
    pub fn named(name: &str) -> Self {
        *Self::ALL.iter().find(|config| config.name == name).expect("a file of data/engines")
    }

    /// Whether an ordinary user's engine wrote it.
    pub fn is_rootless(&self) -> bool {
        self.name.ends_with("rootless")
    }

    /// Makes all that the file names on the host, for one bundle.
    pub fn fill(&self) -> Needs<EngineBundle> {
        let coracle = match self.name.rsplit_once('-') {
            Some((_, "rootless")) => Coracle::as_user()?,
            Some((_, "cgroup2")) => Coracle::on_cgroup2()?,
            _ => Coracle::as_root()?,
        };
        let within = self.is_rootless().then(|| UserNamespace::new(&coracle)).transpose()?;
        let bundle = coracle.bundle();
        let host = coracle.path().join("host");
        coracle.make_directory(&host, 0o755);
        let mut text = self
            .text
            .replace("@ROOT@", bundle.rootfs().to_str().unwrap())
            .replace("@HOST@", host.to_str().unwrap());
        let network = text.contains("@NETNS@").then(network_namespace);
        if let Some(network) = &network {
            text = text.replace("@NETNS@", &format!("/proc/{}/ns/net", network.pid()));
        }
        let mut config: Value = serde_json::from_str(&text).expect("an engine writes JSON");
        make_sources(&config, &coracle, &host);
        make_hooks(&config, &coracle, &host);
        own_the_root(&config, &bundle.rootfs());
        own_cgroup(&mut config, bundle.id());
        lower_limits(&mut config);
        only_own_capabilities(&mut config);
        only_possible_limits(&mut config, self);
        let bundle = bundle.set("", config);
        Ok(EngineBundle { bundle, host, within, network, coracle })
    }
}

/// A bundle with an engine's config.json, and what it stands on.
pub struct EngineBundle {
    /// The bundle.
    pub bundle: Bundle,
    /// What stands for the engine's directories.
    pub host: PathBuf,
    within: Option<UserNamespace>,
    network: Option<Running>,
    /// Last: it removes what the others are in.
    pub coracle: Coracle,
}

impl EngineBundle {
    /// A call of coracle from where the engine would make it.
    pub fn from_engine(&self, call: Call) -> Call {
        match &self.within {
            Some(namespace) => namespace.enter(call),
            None => call,
        }
    }

    /// The process that holds the network namespace which the file names, if it names one.
    pub fn network(&self) -> Option<u32> {
        self.network.as_ref().map(Running::pid)
    }

    /// The process that holds the ordinary user's engine's namespaces, if such an engine wrote it.
    pub fn namespaces(&self) -> Option<u32> {
        self.within.as_ref().map(|namespace| namespace.0.pid())
    }

    /// What the program of each hook was told, with the program's name.
    pub fn hook_calls(&self, hook: &Value) -> String {
        let path = hook["path"].as_str().unwrap();
        fs::read_to_string(format!("{path}.calls")).unwrap_or_default()
    }
}

/// The user and mount namespace that an ordinary user's engine runs itself in.
struct UserNamespace(Running);

impl UserNamespace {
    fn new(coracle: &Coracle) -> Needs<Self> {
        let words = ["unshare", "--user", "--map-root-user", "--map-auto", "--mount", "sh", "-c"];
        let holder = Call::new(words)
            .args(["echo held; exec sleep 1000"])
            .user(coracle.user().cloned())
            .spawn();
        let said = || holder.stdout().contains("held");
        for _ in 0..1000 {
            if said() || !crate::is_alive(holder.pid()) {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        if said() {
            Ok(Self(holder))
        } else {
            Err(format!("needs unshare --map-auto: {}", holder.stderr().trim()))
        }
    }

    fn enter(&self, call: Call) -> Call {
        let target = self.0.pid().to_string();
        let words =
            ["nsenter", "--user", "--preserve-credentials", "--mount", "--target", &target, "--"];
        call.through(words)
    }
}

/// A network namespace, as an engine would have made it.
fn network_namespace() -> Running {
    let holder = Call::new(["unshare", "--net", "sh", "-c", "echo held; exec sleep 1000"]).spawn();
    holder.prints("held");
    holder
}

/// What is bound from the engine's directories: files by the names that files have, each with its
/// place in the container as text, and directories.
fn make_sources(config: &Value, coracle: &Coracle, host: &Path) {
    for mount in config["mounts"].as_array().unwrap() {
        let destination = mount["destination"].as_str().unwrap();
        let Some(source) = mount["source"].as_str().map(Path::new) else { continue };
        if !source.starts_with(host) {
            continue;
        }
        let name = destination.rsplit('/').next().unwrap();
        let file = name.contains('.') || ["hosts", "hostname", "passwd", "group"].contains(&name);
        make_parents(source, coracle, host);
        if !file && !source.exists() {
            coracle.make_directory(source, 0o755);
        } else if file {
            fs::write(source, format!("{destination}\n")).unwrap();
            coracle.give(source);
        }
    }
}

fn make_parents(path: &Path, coracle: &Coracle, host: &Path) {
    let parent = path.parent().unwrap();
    if parent != host && !parent.exists() {
        make_parents(parent, coracle, host);
        coracle.make_directory(parent, 0o755);
    }
}

fn make_hooks(config: &Value, coracle: &Coracle, host: &Path) {
    for hook in config["hooks"]
        .as_object()
        .into_iter()
        .flatten()
        .flat_map(|(_, list)| list.as_array().expect("a list of hooks"))
    {
        let path = Path::new(hook["path"].as_str().unwrap());
        assert!(path.starts_with(host), "{} is nobody's", path.display());
        make_parents(path, coracle, host);
        fs::write(path, HOOK).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
        coracle.give(path);
    }
}

/// An engine gives the root file system to the container's root.
fn own_the_root(config: &Value, rootfs: &Path) {
    let first = |key: &str| {
        let mapping = &config["linux"][key][0];
        mapping["hostID"].as_u64().map(|id| u32::try_from(id).unwrap())
    };
    if let (Some(uid), Some(gid)) = (first("uidMappings"), first("gidMappings")) {
        chown(rootfs, Some(uid), Some(gid)).unwrap();
        for entry in fs::read_dir(rootfs).unwrap() {
            lchown(entry.unwrap().path(), Some(uid), Some(gid)).unwrap();
        }
    }
}

/// Adjusted: the cgroup is named so that it is found if it is left behind.
fn own_cgroup(config: &mut Value, id: &str) {
    if let Some(path) = config["linux"].get_mut("cgroupsPath") {
        *path = json!(format!("/{id}"));
    }
}

/// Adjusted: hard limits are no higher than this process's own, which only CAP_SYS_RESOURCE raises.
fn lower_limits(config: &mut Value) {
    for limit in config["process"]["rlimits"].as_array_mut().into_iter().flatten() {
        let own = match limit["type"].as_str().unwrap() {
            "RLIMIT_NOFILE" => getrlimit(Resource::Nofile).maximum,
            "RLIMIT_NPROC" => getrlimit(Resource::Nproc).maximum,
            "RLIMIT_CORE" => getrlimit(Resource::Core).maximum,
            other => panic!("{other}: whose is it?"),
        };
        for key in ["soft", "hard"] {
            let wanted = limit[key].as_u64().unwrap();
            limit[key] = wanted.min(own.unwrap_or(u64::MAX)).into();
        }
    }
}

/// Adjusted: a machine without CAP_SYS_RESOURCE cannot give it, but in a new user namespace.
fn only_own_capabilities(config: &mut Value) {
    const SYS_RESOURCE: u32 = 24;
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let own = status.lines().find_map(|line| line.strip_prefix("CapBnd:\t")).unwrap();
    let has = u64::from_str_radix(own, 16).unwrap() >> SYS_RESOURCE & 1 == 1;
    if has || config["linux"]["uidMappings"].is_array() {
        return;
    }
    for (_, set) in config["process"]["capabilities"].as_object_mut().into_iter().flatten() {
        set.as_array_mut().unwrap().retain(|name| name != "CAP_SYS_RESOURCE");
    }
}

/// Adjusted: where nobody has delegated a cgroup, or cgroup v2 lacks the controllers, there are no
/// limits.
fn only_possible_limits(config: &mut Value, file: &EngineConfig) {
    let unified =
        ["/sys/fs/cgroup/cgroup.controllers", "/sys/fs/cgroup/unified/cgroup.controllers"];
    let controllers = unified.iter().find_map(|path| fs::read_to_string(path).ok());
    let controllers = controllers.unwrap_or_default();
    let Some(resources) = config["linux"]["resources"].as_object_mut() else { return };
    if file.is_rootless() {
        resources.retain(|name, _| name == "devices");
    } else if file.name.ends_with("cgroup2") {
        let has = |name: &str| controllers.split_whitespace().any(|one| one == name);
        resources
            .retain(|name, _| !["cpu", "memory", "pids"].contains(&name.as_str()) || has(name));
    }
}
