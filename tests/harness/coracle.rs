//! The command under test, with a state directory of its own.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{PermissionsExt, lchown};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock};

use serde_json::{Value, json};

use crate::bundle::{self, Bundle};
use crate::call::{Call, Outcome, Running};
use crate::delegation::Delegation;
use crate::host;
use crate::leaks;
use crate::scratch::{Scratch, copy_program};
use crate::skip::Needs;
use crate::user::User;

/// Runs what follows where /sys/fs/cgroup is cgroup v2 alone, as on most machines today.
const CGROUP2_VIEW: [&str; 6] = [
    "unshare",
    "-m",
    "sh",
    "-c",
    "umount -R /sys/fs/cgroup && mount -t cgroup2 cgroup2 /sys/fs/cgroup && exec \"$@\"",
    "sh",
];

/// Runs what follows where the network can be marked by version 1 hierarchies, which is all that they
/// can do beside those of devices and of the freezer. The rest is left to version 2, as on a hybrid of
/// systemd's. The user has a cgroup there, and is in it.
const NETWORK_VIEW: [&str; 6] = [
    "unshare",
    "-m",
    "sh",
    "-c",
    "umount -R /sys/fs/cgroup && mount -t tmpfs -o mode=755 none /sys/fs/cgroup && \
     cd /sys/fs/cgroup && mkdir unified && mount -t cgroup2 none unified || exit; \
     for one in devices freezer net_cls,net_prio; do \
         mkdir $one && mount -t cgroup -o $one none $one || exit; done; \
     own=net_cls,net_prio/$CORACLE_TEST-own; \
     mkdir -p $own && chown ${CORACLE_OWNER:-root} $own || exit; \
     (echo 0 > $own/cgroup.procs && cd / && exec \"$@\"); code=$?; \
     rmdir $own 2> /dev/null; exit $code",
    "sh",
];

/// Runs what follows in the user's session, where the controllers are delegated. As systemd asks for
/// it: a process may not move itself from one user's cgroups to another's.
const SESSION: [&str; 5] = ["systemd-run", "--user", "--scope", "--quiet", "--collect"];

/// The command, as a user, with directories of its own. All that its containers left is removed
/// when this is dropped, after a panic too.
pub struct Coracle {
    scratch: Scratch,
    binary: PathBuf,
    user: Option<User>,
    /// The user's subordinate ids, uids first: where they start, and how many.
    ranges: Option<[(u32, u32); 2]>,
    delegation: Option<Delegation>,
    view: &'static [&'static str],
    /// The runtime directory of the user's session.
    session: Option<String>,
    roots: Mutex<Vec<PathBuf>>,
}

impl Coracle {
    /// The command as root.
    pub fn as_root() -> Needs<Self> {
        if !rustix::process::geteuid().is_root() {
            return Err("needs root".into());
        }
        bundle::names().clone()?;
        Ok(Self::new(None))
    }

    /// The command as an ordinary user, whose containers have one id: what `spec --rootless` writes.
    pub fn as_single_user() -> Needs<Self> {
        bundle::names().clone()?;
        let user = User::ordinary()?;
        Ok(Self::new(Some(user)))
    }

    /// The same: for what the ids make no difference to.
    pub fn as_user() -> Needs<Self> {
        Self::as_single_user()
    }

    /// The command as an ordinary user, whose containers have a range of subordinate ids.
    pub fn as_ranged_user() -> Needs<Self> {
        let mut coracle = Self::as_single_user()?;
        if Call::new(["sh", "-c", "command -v newuidmap newgidmap"]).output().code != Some(0) {
            return Err("needs newuidmap (package uidmap)".into());
        }
        let user = coracle.user.as_ref().expect("it runs as a user");
        coracle.ranges = Some([user.subordinate_ids("subuid")?, user.subordinate_ids("subgid")?]);
        Ok(coracle)
    }

    /// The command as an ordinary user with subordinate ids, to whom a cgroup was delegated in each
    /// hierarchy.
    pub fn as_delegated_user() -> Needs<Self> {
        Self::as_ranged_user()?.delegated_to()
    }

    /// The same with one id.
    pub fn as_delegated_single_user() -> Needs<Self> {
        Self::as_single_user()?.delegated_to()
    }

    /// The command as a user with subordinate ids and a delegated cgroup, where cgroups are v2 alone.
    pub fn as_delegated_user_on_cgroup2() -> Needs<Self> {
        Self::as_delegated_user()?.seeing_cgroup2()
    }

    /// The same with one id.
    pub fn as_delegated_single_user_on_cgroup2() -> Needs<Self> {
        Self::as_delegated_single_user()?.seeing_cgroup2()
    }

    fn delegated_to(mut self) -> Needs<Self> {
        let user = self.user.as_ref().expect("it runs as a user");
        let name = self.name().replace("-test-", "-delegated-");
        self.delegation = Some(Delegation::new(&name, user)?);
        Ok(self)
    }

    fn seeing_cgroup2(mut self) -> Needs<Self> {
        self.view = Self::on_cgroup2()?.view;
        Ok(self)
    }

    /// The command as an ordinary user in their session.
    pub fn in_session() -> Needs<Self> {
        let mut coracle = Self::as_user()?;
        let user = coracle.user.as_ref().ok_or("needs an ordinary user")?;
        coracle.session = Some(host::session(user)?);
        coracle.view = &SESSION;
        Ok(coracle)
    }

    /// The command as root, where cgroups are v2 alone.
    pub fn on_cgroup2() -> Needs<Self> {
        let mut coracle = Self::as_root()?;
        if Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
            return Ok(coracle);
        }
        let tried = Call::new(CGROUP2_VIEW).args(["true"]).output();
        if tried.code != Some(0) {
            return Err(format!("needs to mount cgroup2: {}", tried.stderr.trim()));
        }
        coracle.view = &CGROUP2_VIEW;
        Ok(coracle)
    }

    /// The command as root, where version 1 has hierarchies to mark the network with.
    pub fn with_network_marks() -> Needs<Self> {
        Self::as_root()?.in_network_view()
    }

    /// The same for an ordinary user, to whom a cgroup in them is delegated.
    pub fn as_delegated_user_with_network_marks() -> Needs<Self> {
        Self::as_delegated_user()?.in_network_view()
    }

    fn in_network_view(mut self) -> Needs<Self> {
        let tried = Call::new(NETWORK_VIEW).args(["true"]).env("CORACLE_TEST", self.name());
        let tried = tried.output();
        if tried.code != Some(0) {
            return Err(format!("needs net_cls and net_prio: {}", tried.stderr.trim()));
        }
        self.view = &NETWORK_VIEW;
        Ok(self)
    }

    fn new(user: Option<User>) -> Self {
        let mut coracle = Self {
            scratch: Scratch::new(),
            binary: built().clone(),
            view: &[],
            ranges: None,
            delegation: None,
            session: None,
            user,
            roots: Mutex::default(),
        };
        coracle.give(coracle.path());
        for (name, mode) in [("run", 0o711), ("home", 0o755), ("xdg", 0o700), ("bundles", 0o755)] {
            coracle.make_directory(&coracle.path().join(name), mode);
        }
        if coracle.user.is_none() {
            return coracle;
        }
        // The user may not reach where it was built, root's home for instance.
        let copy = coracle.path().join(built().file_name().unwrap());
        copy_program(built(), &copy);
        coracle.binary = copy;
        coracle
    }

    /// A directory of the user's for whatever the test needs.
    pub fn path(&self) -> &Path {
        self.scratch.path()
    }

    /// The user's home directory.
    pub fn home(&self) -> PathBuf {
        self.path().join("home")
    }

    /// The directory that containers are kept in.
    pub fn state_directory(&self) -> PathBuf {
        self.path().join("run")
    }

    /// The executable.
    pub fn binary(&self) -> &Path {
        &self.binary
    }

    /// The user that it runs as, if that is not root.
    pub fn user(&self) -> Option<&User> {
        self.user.as_ref()
    }

    /// The name that all its containers' IDs and cgroups start with.
    pub fn name(&self) -> &str {
        self.scratch.name()
    }

    /// Makes a directory that belongs to the user.
    pub fn make_directory(&self, path: &Path, mode: u32) {
        fs::create_dir(path).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        self.give(path);
    }

    /// Makes a path the user's.
    pub fn give(&self, path: &Path) {
        if let Some(user) = self.user.as_ref().filter(|user| user.switch) {
            lchown(path, Some(user.uid), Some(user.gid)).unwrap();
        }
    }

    /// Makes what is in a directory the user's.
    fn give_all(&self, directory: &Path) {
        for entry in fs::read_dir(directory).unwrap().flatten() {
            if entry.file_type().unwrap().is_dir() {
                self.give_all(&entry.path());
            }
            self.give(&entry.path());
        }
    }

    /// A bundle with the configuration that `spec` writes for this user, but for a terminal, and
    /// for root a cgroup path that the cleaning knows.
    pub fn bundle(&self) -> Bundle {
        let count = {
            let mut roots = self.roots.lock().unwrap();
            let count = roots.len();
            roots.push(self.path().join(format!("bundles/{count}/rootfs")));
            count
        };
        let directory = self.path().join(format!("bundles/{count}"));
        let rootfs = directory.join("rootfs");
        self.make_directory(&directory, 0o755);
        self.make_directory(&rootfs, 0o755);
        bundle::make_rootfs(&rootfs);
        self.give_all(&rootfs);

        let rootless: &[&str] = if self.user.is_some() { &["--rootless"] } else { &[] };
        let spec = self.bare().args(["spec", "--bundle"]).args([&directory]).args(rootless);
        spec.output().succeeds();
        let id = format!("{}-{count}", self.name());
        let bundle = Bundle::new(directory, id).set("/process/terminal", false);
        if let (Some(user), Some([uids, gids])) = (&self.user, self.ranges) {
            let map = |own: u32, (first, count): (u32, u32)| {
                json!([
                    {"containerID": 0, "hostID": own, "size": 1},
                    {"containerID": 1, "hostID": first, "size": count},
                ])
            };
            return bundle
                .set("/linux/uidMappings", map(user.uid, uids))
                .set("/linux/gidMappings", map(user.gid, gids));
        }
        if self.user.is_some() {
            return bundle;
        }
        let cgroup = format!("/{}", bundle.id());
        bundle.set("/linux/cgroupsPath", cgroup)
    }

    /// The user's cgroups, in which its containers have theirs.
    pub fn delegated(&self) -> &[PathBuf] {
        self.delegation.as_ref().map_or(&[], Delegation::cgroups)
    }

    /// Whether limits can be set: by root, or in cgroups that are the user's.
    pub fn has_cgroups(&self) -> bool {
        self.user.is_none() || self.delegation.is_some()
    }

    /// Whether containers have more than one id.
    pub fn has_ids(&self) -> bool {
        self.user.is_none() || self.ranges.is_some()
    }

    /// Counts another root directory among those whose processes are the test's.
    pub fn watch(&self, rootfs: PathBuf) {
        self.roots.lock().unwrap().push(rootfs);
    }

    /// The command without any argument, in this user's environment.
    pub fn bare(&self) -> Call {
        let mut user = self.user.clone();
        let view: Vec<String> = self.view.iter().map(|word| (*word).to_owned()).collect();
        // A session is entered by its user, all else by root.
        let (of_root, of_user) =
            if self.session.is_some() { (Vec::new(), view) } else { (view, Vec::new()) };
        let mut start = self.delegation.as_ref().map_or_else(Vec::new, Delegation::enter);
        start.extend(of_root);
        if let Some(user) = user.take_if(|_| !start.is_empty()) {
            let (uid, gid) = (format!("--reuid={}", user.uid), format!("--regid={}", user.gid));
            start.extend(["setpriv".into(), uid, gid, "--clear-groups".into()]);
        }
        start.extend(of_user);
        let call =
            Call::new(start).args([&self.binary]).env("CORACLE_TEST", self.name()).user(user);
        let Some(user) = &self.user else { return call };
        let call =
            call.env("CORACLE_OWNER", &user.name).env("USER", &user.name).env("HOME", self.home());
        match &self.session {
            Some(directory) => call
                .env("XDG_RUNTIME_DIR", directory)
                .env("DBUS_SESSION_BUS_ADDRESS", format!("unix:path={directory}/bus")),
            None => call.env("XDG_RUNTIME_DIR", self.path().join("xdg")),
        }
    }

    /// `cat` of a file as the command sees it, by root.
    pub fn cat(&self, file: &Path) -> Call {
        let call = Call::new(self.view).args(["cat"]).args([file]);
        call.env("CORACLE_TEST", self.name())
    }

    /// The command with its state directory and these arguments.
    pub fn call<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Call {
        self.bare().args(["--root".as_ref(), self.state_directory().as_os_str()]).args(args)
    }

    /// `COMMAND --bundle DIR OPTIONS ID`.
    pub fn with_bundle(&self, command: &str, bundle: &Bundle, options: &[&str]) -> Call {
        self.call([command, "--bundle"]).args([bundle.path()]).args(options).args([bundle.id()])
    }

    /// `run` in the foreground, to the end.
    pub fn run(&self, bundle: &Bundle) -> Outcome {
        self.with_bundle("run", bundle, &[]).output()
    }

    /// `run` in the foreground, going on.
    pub fn spawn(&self, bundle: &Bundle) -> Running {
        self.with_bundle("run", bundle, &[]).spawn()
    }

    /// `create`, which succeeds.
    #[track_caller]
    pub fn create(&self, bundle: &Bundle) -> Outcome {
        self.with_bundle("create", bundle, &[]).output().succeeds()
    }

    /// `create` and `start`, which succeed. What the container prints is `create`'s.
    #[track_caller]
    pub fn start(&self, bundle: &Bundle) -> Outcome {
        let created = self.create(bundle);
        self.call(["start", bundle.id()]).output().succeeds();
        created
    }

    /// What `state` says, which succeeds.
    #[track_caller]
    pub fn state(&self, id: &str) -> Value {
        let told = self.call(["state", id]).output().succeeds();
        serde_json::from_str(&told.stdout).expect("state writes JSON")
    }

    /// The status in `state`.
    #[track_caller]
    pub fn status(&self, id: &str) -> String {
        self.state(id)["status"].as_str().expect("a status").to_owned()
    }

    /// The process ID in `state`.
    #[track_caller]
    pub fn pid(&self, id: &str) -> u32 {
        let pid = self.state(id)["pid"].as_u64().expect("a process ID");
        u32::try_from(pid).unwrap()
    }

    /// Waits for the status to become this.
    #[track_caller]
    pub fn becomes(&self, id: &str, status: &str) {
        crate::eventually(&format!("{id} becomes {status}"), || self.status(id) == status);
    }

    /// `delete --force`, which succeeds.
    #[track_caller]
    pub fn delete(&self, id: &str) {
        self.call(["delete", "--force", id]).output().succeeds();
    }

    /// What containers of this runner left: state, cgroups, mounts and processes, one line each.
    pub fn leftovers(&self) -> Vec<String> {
        let roots = self.roots.lock().unwrap();
        let roots: Vec<&Path> = roots.iter().map(PathBuf::as_path).collect();
        leaks::leftovers(self.name(), &self.state_directory(), &roots, self.delegated())
    }

    /// Asserts that nothing of its containers is left.
    #[track_caller]
    pub fn assert_nothing_left(&self) {
        let left = self.leftovers();
        assert!(left.is_empty(), "left behind:\n{}", left.join("\n"));
    }
}

impl Drop for Coracle {
    fn drop(&mut self) {
        // The command's own way first, then by force: the test may be about either failing.
        for entry in fs::read_dir(self.state_directory()).into_iter().flatten().flatten() {
            let delete =
                self.call(["delete".as_ref(), "--force".as_ref(), entry.file_name().as_os_str()]);
            drop(std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| delete.output())));
        }
        let roots = self
            .roots
            .lock()
            .map_or_else(|broken| broken.into_inner().clone(), |roots| roots.clone());
        let roots: Vec<&Path> = roots.iter().map(PathBuf::as_path).collect();
        leaks::clear(self.name(), &roots, self.delegated());
    }
}

/// The executable under test.
fn built() -> &'static PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        if let Some(named) = std::env::var_os("CORACLE_BIN") {
            return named.into();
        }
        // This test is target/TRIPLE/PROFILE/deps/TEST.
        let test = std::env::current_exe().unwrap();
        let triple = test.ancestors().nth(3).expect("tests are run by Cargo");
        let built = ["quick", "release"].map(|profile| triple.join(profile).join("coracle"));
        let age = |path: &PathBuf| fs::metadata(path).and_then(|of| of.modified()).ok();
        built
            .into_iter()
            .filter(|path| path.exists())
            .max_by_key(age)
            .expect("build it first: `cargo build --profile quick`, or `cargo xtask test --quick`")
    })
}
