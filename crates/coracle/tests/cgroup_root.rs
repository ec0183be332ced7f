//! Control groups on the real kernel. As root, each test runs on what the machine has and again,
//! where that is not version 2 alone, in a mount namespace with such a view.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr)]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use coracle::cgroup::{
    Access, Cgroup, DeviceKind, DeviceRule, Layout, Location, Request, effective_rules,
};
use coracle::{Errno, Kind};
use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, Signal, Uid};

/// Set in the private view of version 2.
const VIEW: &str = "CORACLE_TEST_UNIFIED_VIEW";

fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("skipped: needs root");
    }
    root
}

fn is_unified() -> bool {
    Layout::detect().unwrap() == Layout::Unified
}

/// A cgroup of its own name, removed at the end whatever happens.
struct Group {
    location: Location,
    cgroup: Cgroup,
    children: Vec<Child>,
}

/// Where the test's cgroups are, below each hierarchy.
fn place(name: &str) -> String {
    format!("/coracle-test-{}-{name}", std::process::id())
}

fn locate(path: &str) -> Location {
    Layout::detect().unwrap().locate(Some(path), "id").unwrap()
}

impl Group {
    fn new(name: &str) -> Self {
        let location = locate(&format!("{}/inner", place(name)));
        let cgroup = Cgroup::make(&location, &Request::default()).unwrap();
        Self { location, cgroup, children: Vec::new() }
    }

    fn dirs(&self) -> Vec<PathBuf> {
        self.cgroup.paths().into_values().map(PathBuf::from).collect()
    }

    /// Starts a program and moves it in.
    fn sleep(&mut self) -> Pid {
        let child = Command::new("sleep").arg("1000").spawn().unwrap();
        let pid = Pid::from_child(&child);
        self.children.push(child);
        self.cgroup.enter(pid, false).unwrap();
        pid
    }

    /// Where processes are listed, frozen and signalled.
    fn main_dir(&self) -> PathBuf {
        let paths = self.cgroup.paths();
        paths.get("freezer").or(paths.get("")).unwrap().into()
    }

    /// Whether a process in it may open a file, with the shell's redirection.
    fn opens(&mut self, redirection: &str, file: &Path) -> bool {
        let script = format!("read _; exec 3{redirection}\"$1\"");
        let mut child = Command::new("sh")
            .args(["-c", &script, "sh"])
            .arg(file)
            .stdin(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        self.cgroup.enter(Pid::from_child(&child), false).unwrap();
        child.stdin.take().unwrap().write_all(b"\n").unwrap();
        child.wait().unwrap().success()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Not by way of what is tested.
        for child in &mut self.children {
            _ = child.kill();
        }
        if let Some(file) = self.cgroup.paths().get("freezer") {
            _ = std::fs::write(Path::new(file).join("freezer.state"), "THAWED");
        }
        for child in &mut self.children {
            _ = child.wait();
        }
        _ = self.cgroup.undo();
    }
}

fn state(pid: Pid) -> String {
    std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap()
}

#[test]
fn all_of_this_on_version_2_alone() {
    if !is_root() || is_unified() {
        return;
    }
    let view = "umount -R /sys/fs/cgroup && mount -t cgroup2 cgroup2 /sys/fs/cgroup && exec \"$@\"";
    let status = Command::new("unshare")
        .args(["-m", "sh", "-c", view, "sh"])
        .arg(std::env::current_exe().unwrap())
        .args(["--nocapture", "--test-threads=2"])
        .env(VIEW, "1")
        .status()
        .unwrap();
    assert!(status.success());
}

#[test]
fn the_view_is_the_one_asked_for() {
    if std::env::var_os(VIEW).is_some() {
        assert!(is_unified());
    }
}

#[test]
fn what_was_made_is_removed_and_nothing_else() {
    if !is_root() {
        return;
    }
    let mut one = Group::new("made");
    let two = locate(&format!("{}/other", place("made")));
    let mut two = Cgroup::make(&two, &Request::default()).unwrap();
    let dirs = one.dirs();
    assert!(!dirs.is_empty() && dirs.iter().all(|dir| dir.is_dir()));
    assert_eq!(one.cgroup.paths(), one.location.paths());

    // The directory above is still in use by the other.
    one.cgroup.undo().unwrap();
    assert!(dirs.iter().all(|dir| !dir.exists() && dir.parent().unwrap().exists()));
    // The second did not make it.
    two.undo().unwrap();
    assert!(dirs.iter().all(|dir| dir.parent().unwrap().exists()));
    for dir in dirs {
        _ = std::fs::remove_dir(dir.parent().unwrap());
    }
}

#[test]
fn processes_enter_and_are_killed_with_those_below() {
    if !is_root() {
        return;
    }
    let mut group = Group::new("kill");
    let (first, second) = (group.sleep(), group.sleep());
    for line in state(first).lines() {
        let inside = line.ends_with(&format!("{}/inner", place("kill")));
        // The machine's version 1 hierarchies are not in the private view.
        assert!(inside || is_unified() && !line.starts_with("0::"), "{line}");
    }
    let below = group.main_dir().join("below/deep");
    std::fs::create_dir_all(&below).unwrap();
    std::fs::write(below.join("cgroup.procs"), second.to_string()).unwrap();

    let mut pids = group.cgroup.procs().unwrap();
    pids.sort_by_key(|pid| pid.as_raw_nonzero());
    let mut expected = [first, second];
    expected.sort_by_key(|pid| pid.as_raw_nonzero());
    assert_eq!(pids, expected);

    // Another command comes with the paths only.
    let again = Cgroup::from_paths(&group.cgroup.paths());
    assert_eq!(again.paths(), group.cgroup.paths());
    again.kill_all(Signal::KILL).unwrap();
    for child in &mut group.children {
        assert!(!child.wait().unwrap().success());
    }
    assert!(again.procs().unwrap().is_empty());
    again.remove().unwrap();
    assert!(group.dirs().iter().all(|dir| !dir.exists()));

    // Gone is gone.
    let gone = Cgroup::from_paths(&group.cgroup.paths());
    gone.remove().unwrap();
    gone.kill_all(Signal::KILL).unwrap();
    gone.kill_all(Signal::TERM).unwrap();
    assert!(gone.procs().unwrap().is_empty());
    assert!(!gone.frozen().unwrap());
}

#[test]
fn born_in_the_version_2_directory() {
    if !is_root() {
        return;
    }
    let mut group = Group::new("born");
    let unified = group.cgroup.paths().get("").cloned();
    assert_eq!(group.cgroup.dir_fd().unwrap().is_some(), unified.is_some());
    let child = Command::new("sleep").arg("1000").spawn().unwrap();
    let pid = Pid::from_child(&child);
    group.children.push(child);
    group.cgroup.enter(pid, true).unwrap();
    for line in state(pid).lines().filter(|line| line.ends_with(&place("born"))) {
        assert!(!line.starts_with("0::"), "{line}");
    }
}

#[test]
fn a_frozen_container_is_still_signalled_and_killed() {
    if !is_root() {
        return;
    }
    let mut group = Group::new("freeze");
    assert!(!group.cgroup.frozen().unwrap());
    group.cgroup.freeze().unwrap();
    assert!(group.cgroup.frozen().unwrap());
    group.cgroup.thaw().unwrap();

    group.sleep();
    let again = Cgroup::from_paths(&group.cgroup.paths());
    again.freeze().unwrap();
    again.freeze().unwrap();
    assert!(group.cgroup.frozen().unwrap());
    // It gets the signal when it runs again.
    again.kill_all(Signal::TERM).unwrap();
    assert!(again.frozen().unwrap());
    again.thaw().unwrap();
    assert!(!again.frozen().unwrap());
    assert!(!group.children[0].wait().unwrap().success());

    group.sleep();
    again.freeze().unwrap();
    again.kill_all(Signal::KILL).unwrap();
    assert!(!group.children[1].wait().unwrap().success());
    again.thaw().unwrap();

    // Signals to a running one leave it running.
    group.sleep();
    again.kill_all(Signal::HUP).unwrap();
    assert!(!group.children[2].wait().unwrap().success());
    assert!(!again.frozen().unwrap());
}

#[test]
fn a_frozen_parent_is_not_a_frozen_container() {
    if !is_root() {
        return;
    }
    let group = Group::new("parent");
    let above = Cgroup::from_paths(&locate(&place("parent")).paths());
    above.freeze().unwrap();
    assert!(!group.cgroup.frozen().unwrap());
    above.thaw().unwrap();
}

#[test]
fn a_cgroup_in_use_is_refused() {
    if !is_root() {
        return;
    }
    let mut group = Group::new("used");
    let location = group.location.clone();
    let make = || Cgroup::make(&location, &Request::default());
    // Existing and empty will do, and stays.
    let mut reused = make().unwrap();
    reused.undo().unwrap();
    assert!(group.main_dir().exists());

    group.cgroup.freeze().unwrap();
    let error = make().unwrap_err();
    assert_eq!(error.summary(), "container's cgroup unexpectedly frozen");
    group.cgroup.thaw().unwrap();

    let pid = group.sleep();
    let error = make().unwrap_err();
    assert_eq!(error.summary(), "container's cgroup is not empty: 1 process(es) found");
    assert!(group.dirs().iter().all(|dir| dir.exists()));

    // One below counts too.
    let below = group.main_dir().join("below");
    std::fs::create_dir(&below).unwrap();
    std::fs::write(below.join("cgroup.procs"), pid.to_string()).unwrap();
    let error = make().unwrap_err();
    assert_eq!(error.summary(), "container's cgroup is not empty: 1 process(es) found");
}

#[test]
fn removing_names_who_is_still_there() {
    if !is_root() {
        return;
    }
    let mut group = Group::new("busy");
    let pid = group.sleep();
    let error = group.cgroup.remove().unwrap_err();
    assert_eq!(error.errno(), Some(Errno::BUSY));
    assert!(error.to_string().contains(&format!("still in it: {pid}")), "{error}");
}

#[test]
fn however_deep_a_container_nests_cgroups_they_are_removed() {
    if !is_root() {
        return;
    }
    let group = Group::new("deep");
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut dir = rustix::fs::open(group.main_dir(), flags, Mode::empty()).unwrap();
    let name = "a".repeat(50);
    for _ in 0..200 {
        rustix::fs::mkdirat(&dir, &name, Mode::RWXU).unwrap();
        rustix::fs::mkdirat(&dir, "other", Mode::RWXU).unwrap();
        dir = rustix::fs::openat(&dir, &name, flags, Mode::empty()).unwrap();
    }
    assert!(group.cgroup.procs().unwrap().is_empty());
    group.cgroup.remove().unwrap();
    assert!(!group.main_dir().exists());
}

fn rule(allow: bool, kind: DeviceKind, number: Option<(u32, u32)>, access: Access) -> DeviceRule {
    let (major, minor) = number.unzip();
    DeviceRule { allow, kind, major, minor, access }
}

#[test]
fn devices_follow_the_rules_and_their_replacement() {
    if !is_root() {
        return;
    }
    let mut group = Group::new("devices");
    let nodes = std::env::temp_dir().join(place("nodes").trim_start_matches('/'));
    std::fs::create_dir(&nodes).unwrap();
    let node = |name: &str, major, minor| {
        let path = nodes.join(name);
        let mode = Mode::from_raw_mode(0o600);
        let device = rustix::fs::makedev(major, minor);
        let kind = rustix::fs::FileType::CharacterDevice;
        rustix::fs::mknodat(rustix::fs::CWD, &path, kind, mode, device).unwrap();
        path
    };
    let (null, kmsg) = (node("null", 1, 3), node("kmsg", 1, 11));
    let deny = rule(false, DeviceKind::All, None, Access::ALL);
    let read = rule(true, DeviceKind::Char, Some((1, 11)), Access::READ);

    let mut check = |rules: &[DeviceRule], expected: [bool; 3]| {
        group.cgroup.set_devices(&effective_rules(rules)).unwrap();
        let seen = [group.opens("<>", &null), group.opens("<", &kmsg), group.opens(">", &kmsg)];
        assert_eq!(seen, expected, "{rules:?}");
    };
    // A new privileged one first: no program is needed yet.
    check(&[rule(true, DeviceKind::All, None, Access::ALL)], [true, true, true]);
    check(&[deny], [true, false, false]);
    check(&[deny, read], [true, true, false]);
    check(&[], [true, false, false]);
    check(
        &[
            rule(true, DeviceKind::All, None, Access::ALL),
            rule(false, DeviceKind::Char, Some((1, 11)), Access::WRITE),
        ],
        [true, true, false],
    );
    check(&[rule(true, DeviceKind::All, None, Access::ALL)], [true, true, true]);

    // All memory devices but one: version 1 can't.
    let memory =
        DeviceRule { minor: None, ..rule(true, DeviceKind::Char, Some((1, 0)), Access::ALL) };
    let but = DeviceRule { allow: false, ..read };
    if is_unified() {
        check(&[deny, memory, but], [true, false, true]);
    } else {
        let error = group.cgroup.set_devices(&[deny, memory, but]).unwrap_err();
        assert_eq!(error.get_kind(), Kind::Config, "{error}");
    }

    // A later command replaces them, too.
    let again = Cgroup::from_paths(&group.cgroup.paths());
    again.set_devices(&effective_rules(&[deny, read])).unwrap();
    assert!(group.opens("<", &kmsg));
    assert!(!group.opens(">", &kmsg));
    std::fs::remove_dir_all(nodes).unwrap();
}

#[test]
fn the_kernel_takes_every_program() {
    if !is_root() || !is_unified() {
        return;
    }
    let group = Group::new("programs");
    // Repeatable numbers below a bound (xorshift).
    let mut state = 0x1234_5678_u32;
    let mut random = move |below: u32| {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        (state >> 8) % below
    };
    let access = ["r", "w", "m", "rw", "rm", "wm", "rwm"].map(|text| Access::parse(text).unwrap());
    let kinds = [DeviceKind::Char, DeviceKind::Block, DeviceKind::Char, DeviceKind::All];
    for _ in 0..1000 {
        let rules: Vec<_> = (0..random(8))
            .map(|_| DeviceRule {
                allow: random(3) > 0,
                kind: kinds[random(4) as usize],
                major: [None, Some(1), Some(u32::MAX)][random(3) as usize],
                minor: [None, Some(1), Some(u32::MAX)][random(3) as usize],
                access: access[random(7) as usize],
            })
            .collect();
        group.cgroup.set_devices(&rules).unwrap_or_else(|error| panic!("{error}: {rules:?}"));
    }
}

#[test]
fn a_cpuset_can_be_entered() {
    if !is_root() {
        return;
    }
    let group = Group::new("cpuset");
    let Some(dir) = group.cgroup.paths().get("cpuset").cloned() else {
        eprintln!("skipped: no version 1 cpuset");
        return;
    };
    for file in ["cpuset.cpus", "cpuset.mems"] {
        let read = |dir: &Path| std::fs::read_to_string(dir.join(file)).unwrap();
        let top = read(Path::new(&dir).ancestors().nth(2).unwrap());
        assert_eq!(read(Path::new(&dir)), top);
    }
}

#[test]
fn controllers_are_enabled_where_asked() {
    if !is_root() || !is_unified() {
        return;
    }
    let path = |name: &str| locate(&format!("{}/inner", place(name)));
    let controllers = |location: &Location| {
        let dir = location.unified_directory().unwrap();
        std::fs::read_to_string(dir.join("cgroup.controllers")).unwrap()
    };
    let top = std::fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").unwrap();
    let Some(one) = top.split_whitespace().next() else {
        eprintln!("skipped: no controllers");
        return;
    };
    let location = path("enable");
    let names = [one];
    let request = Request { controllers: &names, ..Request::default() };
    let mut cgroup = Cgroup::make(&location, &request).unwrap();
    assert_eq!(controllers(&location).trim(), one);
    cgroup.undo().unwrap();

    let location = path("every");
    let request = Request { every_controller: true, ..Request::default() };
    let mut cgroup = Cgroup::make(&location, &request).unwrap();
    assert_eq!(controllers(&location), top);
    cgroup.undo().unwrap();

    let location = path("lacking");
    let request = Request { controllers: &["nonesuch"], ..Request::default() };
    let error = Cgroup::make(&location, &request).unwrap_err();
    assert!(error.to_string().contains("the nonesuch controller"), "{error}");
    assert!(!location.unified_directory().unwrap().parent().unwrap().exists());

    // A cgroup with processes in it can't hand controllers on.
    let mut group = Group::new("full");
    group.sleep();
    let location = locate(&format!("{}/inner/below", place("full")));
    let request = Request { controllers: &names, ..Request::default() };
    let error = Cgroup::make(&location, &request).unwrap_err();
    if one == "hugetlb" || one == "memory" {
        assert_eq!(error.errno(), Some(Errno::BUSY), "{error}");
    }
    assert!(!location.unified_directory().unwrap().exists());
}

#[test]
fn a_user_is_given_the_directory_and_the_files_to_manage_it() {
    use std::os::unix::fs::MetadataExt;
    if !is_root() {
        return;
    }
    let group = Group::new("owner");
    group.cgroup.delegate(Uid::from_raw(4321)).unwrap();
    let owner = |file: &str| std::fs::metadata(group.main_dir().join(file)).unwrap().uid();
    let given = if is_unified() { 4321 } else { 0 };
    assert_eq!(owner(""), given);
    assert_eq!(owner("cgroup.procs"), given);
    if is_unified() {
        assert_eq!(owner("cgroup.subtree_control"), given);
        assert_eq!(owner("cgroup.max.depth"), 0);
    }
}

/// The rest of the next test, as another user.
const ROOTLESS: &str = "CORACLE_TEST_ROOTLESS";

#[test]
fn a_rootless_runtime_without_rights_does_without() {
    use std::os::unix::process::CommandExt;
    if std::env::var_os(ROOTLESS).is_some() {
        let location = locate(&place("rootless"));
        let rootless = Request { rootless: true, ..Request::default() };
        let mut cgroup = Cgroup::make(&location, &rootless).unwrap();
        assert!(cgroup.is_absent() && cgroup.paths().is_empty());
        assert!(cgroup.dir_fd().unwrap().is_none());
        cgroup.enter(rustix::process::getpid(), false).unwrap();
        cgroup.set_devices(&effective_rules(&[])).unwrap();
        assert_eq!(cgroup.freeze().unwrap_err().get_kind(), Kind::State);
        assert_eq!(cgroup.kill_all(Signal::TERM).unwrap_err().get_kind(), Kind::State);
        cgroup.remove().unwrap();

        for request in [
            Request { path_given: true, ..rootless },
            Request { controllers: &["pids"], ..rootless },
            Request::default(),
        ] {
            let error = Cgroup::make(&location, &request).unwrap_err();
            assert_eq!(error.errno(), Some(Errno::ACCESS), "{error}");
            assert_eq!(error.advice().is_some(), request.rootless);
        }
    } else if is_root() {
        // Under the root directory, where others may not look, it could not run itself.
        let copy = std::env::temp_dir().join(place("runner").trim_start_matches('/'));
        coracle_tests::copy_program(&std::env::current_exe().unwrap(), &copy);
        let output = Command::new(&copy)
            .args(["--exact", "a_rootless_runtime_without_rights_does_without"])
            .env(ROOTLESS, "1")
            .current_dir("/")
            .uid(65534)
            .gid(65534)
            .output();
        std::fs::remove_file(&copy).unwrap();
        let output = output.unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    }
}
