//! What engines write is what coracle runs: each config.json that one of them made is run, and
//! what it says is looked for in the container.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use coracle::config::{capability_number, sysctl_path};
use coracle_tests::{
    Coracle, EngineBundle, EngineConfig, Mount, Value, eventually, limit_of, need,
};

/// Each fact under a title; what follows the script in the arguments are paths to look at.
const LOOK: &str = r#"
echo "== status"; cat /proc/self/status
echo "== ids"; cat /proc/self/uid_map /proc/self/gid_map
echo "== host"; hostname
echo "== directory"; pwd
echo "== umask"; umask
echo "== score"; cat /proc/self/oom_score_adj
echo "== limits"; cat /proc/self/limits
echo "== environment"; env
echo "== mounts"; cat /proc/self/mountinfo
echo "== namespaces"; for kind in pid net mnt ipc uts user cgroup; do
    echo "$kind $(readlink /proc/self/ns/$kind)"; done
echo "== written"; touch /written 2>/dev/null && echo yes
echo "== looked"; for path; do
    if [ -f "$path" ]; then echo "$path $(cat "$path")"
    else echo "$path $(stat -c "%F %t %T" "$path")"; fi; done
echo "== end"
"#;

macro_rules! runs {
    ($($test:ident $name:literal)+) => {
        $(#[test] fn $test() { runs($name); })+

        #[test]
        fn every_file_is_run() {
            let run = BTreeSet::from([$($name),+]);
            assert_eq!(run, EngineConfig::ALL.iter().map(|config| config.name).collect());
            let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/engines");
            let kept = fs::read_dir(data).unwrap().filter_map(|entry| {
                Some(entry.unwrap().file_name().to_str()?.strip_suffix(".json")?.to_owned())
            });
            assert_eq!(run, kept.collect::<BTreeSet<_>>().iter().map(String::as_str).collect());
        }
    };
}

runs! {
    buildah_gpu "buildah-gpu"
    buildah_plain "buildah-plain"
    buildah_rootless "buildah-rootless"
    buildah_user_namespace "buildah-user-namespace"
    containerd_gpu "containerd-gpu"
    containerd_plain "containerd-plain"
    containerd_privileged "containerd-privileged"
    containerd_read_only "containerd-read-only"
    containerd_rootless "containerd-rootless"
    containerd_user_namespace "containerd-user-namespace"
    docker_cgroup2 "docker-cgroup2"
    docker_gpu "docker-gpu"
    docker_plain "docker-plain"
    docker_privileged "docker-privileged"
    docker_read_only "docker-read-only"
    docker_rootless "docker-rootless"
    docker_user_namespace "docker-user-namespace"
    podman_cgroup2 "podman-cgroup2"
    podman_gpu "podman-gpu"
    podman_plain "podman-plain"
    podman_privileged "podman-privileged"
    podman_read_only "podman-read-only"
    podman_rootless "podman-rootless"
    podman_user_namespace "podman-user-namespace"
}

/// Creates, starts and deletes a container as its engine would, then runs it for its exit code.
fn runs(name: &str) {
    let mut made = need!(EngineConfig::named(name).fill());
    let paths = looked_at(made.bundle.config());
    let args: Vec<&str> =
        ["sh", "-c", LOOK, "sh"].into_iter().chain(paths.iter().map(String::as_str)).collect();
    made.bundle = made.bundle.args(args);
    let (coracle, bundle) = (&made.coracle, &made.bundle);
    let call = |words: &[&str]| made.from_engine(coracle.call(words)).output();

    let path = bundle.path().to_str().unwrap();
    let created = call(&["create", "--bundle", path, bundle.id()]).succeeds();
    let state: Value = call(&["state", bundle.id()]).succeeds().stdout.parse().unwrap();
    assert_eq!(state["status"], "created");
    limits_are_set(&made, coracle, &state);
    call(&["start", bundle.id()]).succeeds();
    eventually("the container ends", || {
        let state: Value = call(&["state", bundle.id()]).succeeds().stdout.parse().unwrap();
        state["status"] == "stopped"
    });
    call(&["delete", bundle.id()]).succeeds();
    coracle.assert_nothing_left();

    let told = created.stdout_by_now();
    let facts = facts(&told);
    is_as_written(bundle.config(), &facts, &made);
    hooks_were_called(&made);

    call(&["run", "--bundle", path, bundle.id()]).exits(0);
    coracle.assert_nothing_left();
}

/// The files and device nodes in the container that the configuration brings.
fn looked_at(config: &Value) -> Vec<String> {
    let devices = list(&config["linux"]["devices"]).map(|device| text(&device["path"]).to_owned());
    let files = bound_files(config).into_iter().map(str::to_owned);
    let parameters = config["linux"]["sysctl"].as_object().into_iter().flatten();
    let parameters =
        parameters.map(|(name, _)| format!("/proc/sys/{}", sysctl_path(name).unwrap()));
    devices.chain(files).chain(parameters).collect()
}

/// The destinations of bind mounts whose source is a file.
fn bound_files(config: &Value) -> Vec<&str> {
    list(&config["mounts"])
        .filter(|mount| mount["source"].as_str().is_some_and(|it| Path::new(it).is_file()))
        .map(|mount| text(&mount["destination"]))
        .collect()
}

/// The script's output by titles.
fn facts(told: &str) -> BTreeMap<&str, &str> {
    assert!(told.ends_with("== end\n"), "{told}");
    told.split("== ").skip(1).filter_map(|part| part.split_once('\n')).collect()
}

/// Compares the container with its configuration.
fn is_as_written(config: &Value, facts: &BTreeMap<&str, &str>, made: &EngineBundle) {
    let (process, linux) = (&config["process"], &config["linux"]);
    let status: BTreeMap<&str, &str> = facts["status"]
        .lines()
        .filter_map(|line| line.split_once(":\t"))
        .map(|(key, value)| (key, value.trim()))
        .collect();
    capabilities_are(config, &status);
    let no_new = u8::from(process["noNewPrivileges"] == true).to_string();
    assert_eq!(status["NoNewPrivs"], no_new);
    let filter = if linux["seccomp"].is_null() { "0" } else { "2" };
    assert_eq!(status["Seccomp"], filter);

    let user = &process["user"];
    assert_eq!(status["Uid"].split('\t').next(), Some(user["uid"].to_string().as_str()));
    assert_eq!(status["Gid"].split('\t').next(), Some(user["gid"].to_string().as_str()));
    let groups: BTreeSet<String> = list(&user["additionalGids"]).map(Value::to_string).collect();
    let has: BTreeSet<_> = status["Groups"].split_whitespace().map(str::to_owned).collect();
    assert_eq!(has, groups);
    let umask = user["umask"].as_u64().unwrap_or(0o022);
    assert_eq!(facts["umask"].trim(), format!("{umask:04o}"));
    if let Some(score) = process["oomScoreAdj"].as_i64() {
        assert_eq!(facts["score"].trim(), score.to_string());
    }
    assert_eq!(facts["directory"].trim(), text(&process["cwd"]));
    if let Some(name) = config["hostname"].as_str() {
        assert_eq!(facts["host"].trim(), name);
    }
    for variable in list(&process["env"]) {
        assert!(facts["environment"].lines().any(|line| line == text(variable)), "{variable}");
    }
    for limit in list(&process["rlimits"]) {
        let title = match text(&limit["type"]) {
            "RLIMIT_NOFILE" => "Max open files",
            "RLIMIT_NPROC" => "Max processes",
            other => panic!("{other}"),
        };
        let line = facts["limits"].lines().find(|line| line.starts_with(title)).unwrap();
        let numbers: Vec<&str> = line[title.len()..].split_whitespace().collect();
        let wanted = [limit["soft"].to_string(), limit["hard"].to_string()];
        assert_eq!(numbers[..2], wanted, "{title}");
    }

    mounts_are(config, facts["mounts"]);
    let read_only = config["root"]["readonly"] == true;
    assert_eq!(facts["written"].trim() == "yes", !read_only);
    looked_at_is(config, facts["looked"]);
    namespaces_are(config, facts, made.network());
}

/// Compares the capabilities, of which there may be fewer on this machine.
fn capabilities_are(config: &Value, status: &BTreeMap<&str, &str>) {
    let own = fs::read_to_string("/proc/self/status").unwrap();
    let own = own.lines().find_map(|line| line.strip_prefix("CapBnd:\t")).unwrap();
    // A new user namespace has all.
    let all = user_namespace(config).is_some();
    let own = if all { u64::MAX } else { u64::from_str_radix(own, 16).unwrap() };
    let wanted = |set: &str| {
        list(&config["process"]["capabilities"][set])
            .filter_map(|name| capability_number(text(name)))
            .fold(0_u64, |mask, number| mask | 1 << number)
    };
    for (set, key) in [
        ("bounding", "CapBnd"),
        ("effective", "CapEff"),
        ("permitted", "CapPrm"),
        ("inheritable", "CapInh"),
        ("ambient", "CapAmb"),
    ] {
        let mut wanted_here = wanted(set) & own;
        if set == "ambient" {
            // What is not inheritable cannot be: buildah asks for it all the same.
            wanted_here &= wanted("inheritable") & wanted("permitted");
        }
        let has = u64::from_str_radix(status[key], 16).unwrap();
        assert_eq!(has, wanted_here, "{set}: {has:x} is not {wanted_here:x}");
    }
}

/// Each mount point is one, read-only where that is asked for.
fn mounts_are(config: &Value, told: &str) {
    let mounts = Mount::parse(told);
    for mount in list(&config["mounts"]) {
        let destination = text(&mount["destination"]);
        let found = mounts.iter().rfind(|it| it.point == destination);
        let found = found.unwrap_or_else(|| panic!("{destination} is no mount: {told}"));
        if list(&mount["options"]).any(|option| option == "ro") {
            assert!(found.has("ro"), "{found:?}");
        }
    }
}

/// Bound files have their content, device nodes their numbers, kernel parameters their value.
fn looked_at_is(config: &Value, told: &str) {
    let lines: BTreeMap<&str, &str> =
        told.lines().filter_map(|line| line.split_once(' ')).collect();
    for file in bound_files(config) {
        assert!(lines[file] == file || lines[file] == "library", "{file}: {}", lines[file]);
    }
    for device in list(&config["linux"]["devices"]) {
        let kind = if device["type"] == "b" { "block" } else { "character" };
        let (major, minor) = (&device["major"], &device["minor"]);
        let (major, minor) = (major.as_u64().unwrap(), minor.as_u64().unwrap());
        let mut wanted = format!("{kind} special file {major:x} {minor:x}");
        if device["path"] == "/dev/ptmx" {
            // Always that of the container's own devpts.
            wanted = "symbolic link 0 0".into();
        }
        assert_eq!(lines[text(&device["path"])], wanted);
    }
    for (name, value) in config["linux"]["sysctl"].as_object().into_iter().flatten() {
        let path = format!("/proc/sys/{}", sysctl_path(name).unwrap());
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(words(lines[path.as_str()]), words(text(value)), "{name}");
    }
}

/// Its namespaces are new, or those that it names.
fn namespaces_are(config: &Value, facts: &BTreeMap<&str, &str>, network: Option<u32>) {
    let link = |pid: &str, kind: &str| {
        fs::read_link(format!("/proc/{pid}/ns/{kind}")).unwrap().display().to_string()
    };
    for namespace in list(&config["linux"]["namespaces"]) {
        let kind = match text(&namespace["type"]) {
            "network" => "net",
            "mount" => "mnt",
            other => other,
        };
        let mut told = facts["namespaces"].lines().filter_map(|told| told.split_once(' '));
        let (_, inside) = told.find(|(name, _)| *name == kind).unwrap();
        assert_ne!(inside, link("self", kind), "{kind}");
        if !namespace["path"].is_null() {
            assert_eq!(inside, link(&network.unwrap().to_string(), kind), "{kind}");
        }
    }
    if user_namespace(config).is_some() {
        let map = |key: &str| {
            list(&config["linux"][key])
                .map(|it| format!("{} {} {}", it["containerID"], it["hostID"], it["size"]))
                .collect::<Vec<_>>()
        };
        let wanted = [map("uidMappings"), map("gidMappings")].concat();
        let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(facts["ids"].lines().map(words).collect::<Vec<_>>(), wanted);
    }
}

/// The cgroup of the process that waits for its start has the limits.
fn limits_are_set(made: &EngineBundle, coracle: &Coracle, state: &Value) {
    if coracle.user().is_some() {
        return;
    }
    let pid = u32::try_from(state["pid"].as_u64().unwrap()).unwrap();
    let resources = &made.bundle.config()["linux"]["resources"];
    let limits = [
        ("/memory/limit", "memory", ["memory.limit_in_bytes", "memory.max"]),
        ("/pids/limit", "pids", ["pids.max", "pids.max"]),
    ];
    for (pointer, controller, files) in limits {
        let wanted = resources.pointer(pointer).and_then(Value::as_u64);
        // The machine's cgroup v2 may have no controllers.
        if let Some(wanted) =
            wanted.filter(|_| coracle_tests::controlled(pid, controller).is_some())
        {
            assert_eq!(limit_of(pid, controller, files), wanted.to_string());
        }
    }
}

/// Each hook was called with its arguments and told of the container.
fn hooks_were_called(made: &EngineBundle) {
    let hooks = made.bundle.config()["hooks"].as_object().into_iter().flatten();
    for hook in hooks.flat_map(|(_, hooks)| list(hooks)) {
        let calls = made.hook_calls(hook);
        let args: Vec<&str> = list(&hook["args"]).skip(1).map(text).collect();
        assert!(calls.contains(&format!("arguments: {}\n", args.join(" "))), "{hook}: {calls}");
        assert!(calls.contains(made.bundle.id()), "{hook}: {calls}");
    }
}

fn user_namespace(config: &Value) -> Option<&Value> {
    list(&config["linux"]["namespaces"]).find(|namespace| namespace["type"] == "user")
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}
