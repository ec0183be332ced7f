//! Everything that will be done, as plain data, in order, before anything is done.
//!
//! [`build`] is a pure function of the specification, the caller's [`Options`] and what was found
//! out about the [`Host`]: it touches nothing, so it is tested without root, printed (`coracle
//! plan`) and explained. Each [`Step`] carries its [`Origin`], the line of config.json that asked
//! for it.

mod activation;
mod added;
mod around;
mod cgroup_mounts;
mod details;
mod devices;
mod mount;
mod mount_ids;
mod mount_options;
mod mounts;
mod net_devices;
mod origin;
mod process;
mod recipe;
mod resources;
mod share;
mod show;
mod step;

pub mod capability;
pub mod namespaces;

use std::collections::BTreeMap;
use std::ffi::CString;
use std::path::{Path, PathBuf};

pub use activation::Activation;
pub(crate) use activation::SOCKET as NOTIFY_SOCKET;
pub use added::{add, remove};
pub use mount::{Bind, Filesystem, FsOption, Mount, MountIds, Opener, Remount, Source, SourceLink};
pub use namespaces::{IdMap, IdMaps, Join, Namespaces};
pub use net_devices::NetDevice;
pub use origin::Origin;
pub use process::{ExecPlan, Program, exec};
pub use recipe::{Recipe, recipe};
pub use resources::Cgroup;
pub use step::{Action, Attribute, Capabilities, Device, DeviceKind, Identity, Scheduling, Step};

use crate::cgroup;
use crate::config::{self, NamespaceKind, Spec};
use crate::error::{Error, Result};
use crate::{resctrl, seccomp};

/// A container, ready to be made.
#[derive(Debug)]
pub struct Plan {
    /// The directory of the bundle, absolute.
    pub bundle: PathBuf,
    /// The directory of the root file system, absolute.
    pub rootfs: PathBuf,
    /// The namespaces to make and to join.
    pub namespaces: Namespaces,
    /// The network devices to move into its network namespace, once init is in that.
    pub net_devices: Vec<NetDevice>,
    /// The container's cgroup.
    pub cgroup: Cgroup,
    /// Its groups of resctrl.
    pub resctrl: Option<resctrl::Wanted>,
    /// What init does, in order.
    pub steps: Vec<Step>,
    /// What runs at the points that the steps and the container's later life have for hooks.
    pub hooks: Option<config::Hooks>,
    /// What it becomes.
    pub program: Program,
    /// Whether the process has a terminal.
    pub terminal: bool,
    /// Whether the runtime lacks the host's root.
    pub rootless: bool,
    /// What may be meant otherwise in the configuration.
    pub warnings: Vec<String>,
    /// `/process/oomScoreAdj`, with which the first process is born.
    pub oom_score_adj: Option<i64>,
    /// Whether the parent brings the loopback device of the network namespace up.
    pub loopback: bool,
}

/// What the caller asks for beside config.json.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The container's ID.
    pub id: String,
    /// The directory of the bundle, absolute.
    pub bundle: PathBuf,
    /// `--no-pivot`.
    pub no_pivot: bool,
    /// `--no-new-keyring`.
    pub no_new_keyring: bool,
    /// `--preserve-fds`: how many descriptors from 3 on the process keeps.
    pub preserve_fds: u32,
    /// What a service manager has for the container.
    pub activation: Activation,
}

/// What was found out about the host.
#[derive(Clone, Debug)]
pub struct Host {
    /// Whether the runtime lacks the host's root: an ordinary user, or root of a user namespace.
    pub rootless: bool,
    /// Whether the runtime is root, be it of a user namespace.
    pub root: bool,
    /// Whether the container gets a cgroup namespace of its own.
    pub cgroup_namespace: bool,
    /// Where cgroups are mounted.
    pub cgroups: cgroup::Layout,
    /// The cgroup below which systemd has its units, if that is to make the container's
    /// ([`cgroup::systemd_root`]).
    pub systemd_root: Option<String>,
    /// The capabilities that the runtime has (capabilities(7), permitted): bit n is capability n.
    pub capabilities: u64,
    /// The text of `/proc/self/cgroup`, if the runtime may not be allowed to make cgroups.
    pub own_cgroups: Option<String>,
}

impl Plan {
    /// Whether the parent has hooks to run while the container is made.
    pub fn has_runtime_hooks(&self) -> bool {
        self.steps.iter().any(|step| step.action == Action::RuntimeHooks)
    }

    /// Whether init has something to say or to ask on the way, beside a terminal.
    pub fn speaks(&self) -> bool {
        self.has_runtime_hooks()
            || self.has_listener()
            || !self.net_devices.is_empty()
            || self.steps.iter().any(Step::may_ask)
    }

    /// Whether init takes what may be a privilege over the host.
    pub fn takes_share(&self) -> bool {
        self.steps.iter().any(|step| {
            matches!(
                step.action,
                Action::Rlimit { .. } | Action::Scheduling(_) | Action::IoPriority(_)
            )
        })
    }

    /// Whether a system call filter comes before the program.
    pub(crate) fn is_filtered(&self) -> bool {
        self.steps.iter().any(|step| matches!(step.action, Action::Seccomp(_)))
    }

    /// Whether the system call filter gives a descriptor to hand to a listener.
    pub fn has_listener(&self) -> bool {
        self.steps.iter().any(|step| match &step.action {
            Action::Seccomp(program) => program.uses_notify,
            _ => false,
        })
    }
}

/// Plans a container. The specification has passed [`config::check`].
pub fn build(spec: &Spec, options: &Options, host: &Host) -> Result<Plan> {
    let none = config::Linux::default();
    let linux = spec.linux.as_ref().unwrap_or(&none);
    refuse_unsupported(spec)?;
    let rootfs = rootfs(spec, &options.bundle)?;
    let namespaces = namespaces::plan(linux, &spec.mounts)?;
    let host = Host { cgroup_namespace: namespaces.has(NamespaceKind::Cgroup), ..host.clone() };
    let mut cgroup = resources::cgroup(linux, &spec.annotations, options, &host)?;
    cgroup.owner = cgroup_mounts::owner(spec, linux, &host, &namespaces, &cgroup.location);
    let (filter, said) = filter(linux, &spec.annotations)?.unzip();
    let mut warnings = config::warnings(spec);
    warnings.extend(mounts::without_effect(&spec.mounts));
    let grantable = grantable(namespaces.has(NamespaceKind::User), &host);
    if let Some(sets) = spec.process.as_ref().and_then(|process| process.capabilities.as_ref()) {
        warnings.extend(capability::withheld(sets, grantable));
    }
    warnings.extend(said.into_iter().flatten());
    let mut steps = steps(spec, linux, options, &host, &namespaces, &cgroup, &rootfs)?;
    process::plan(spec, linux, &host, grantable, filter.as_ref(), &mut steps)?;
    let mut program = process::program(spec)?;
    options.activation.tell(&mut program)?;
    let loopback = parent_brings_loopback_up(&namespaces, &host);
    let terminal = spec.process.as_ref().is_some_and(|process| process.terminal);
    Ok(Plan {
        bundle: options.bundle.clone(),
        rootfs,
        namespaces,
        net_devices: net_devices::plan(linux),
        cgroup,
        resctrl: linux.intel_rdt.as_ref().map(resctrl::Wanted::new),
        steps,
        hooks: spec.hooks.clone(),
        program,
        terminal,
        rootless: host.rootless,
        warnings,
        oom_score_adj: spec.process.as_ref().and_then(|process| process.oom_score_adj),
        loopback,
    })
}

/// The capabilities that a process can be given: who enters a user namespace has all of them there
/// (user_namespaces(7)).
fn grantable(user_namespace: bool, host: &Host) -> u64 {
    if user_namespace { u64::MAX } else { host.capabilities }
}

/// The absolute directory of the root file system.
fn rootfs(spec: &Spec, bundle: &Path) -> Result<PathBuf> {
    match &spec.root {
        Some(root) => Ok(bundle.join(&root.path)),
        None => Err(Error::new("a container needs a root file system")
            .at("/root", None)
            .help("add \"root\": {\"path\": \"rootfs\"}")),
    }
}

/// The steps from the clone to the container's root, in the only order that works; each group says
/// why it is where it is.
fn steps(
    spec: &Spec,
    linux: &config::Linux,
    options: &Options,
    host: &Host,
    namespaces: &Namespaces,
    cgroup: &Cgroup,
    rootfs: &Path,
) -> Result<Vec<Step>> {
    let mut steps = Vec::with_capacity(64);
    let default = |action| Step { origin: Origin::DEFAULT, action };
    let at = |field, action| Step { origin: Origin::field(field), action };
    let cgroup_namespace = namespaces.makes(NamespaceKind::Cgroup);

    let around = around::Around {
        bundle: &options.bundle,
        host,
        cgroup: &cgroup.location,
        namespaces,
        linux,
    };
    let mut mounts = mounts::plan(&spec.mounts, &around)?;
    let opener = Opener::of_new(host.root && namespaces.has(NamespaceKind::User));
    mounts.made.extend(options.activation.mount(opener)?);

    // systemd makes a cgroup around the living process, and on version 1 mounts show it.
    let awaits_cgroup = cgroup.unit.is_some() && !cgroup.location.unified();
    // In a new user namespace nothing is allowed before the ids are mapped, a cgroup namespace
    // shows the cgroup in which it is made as its root, hooks may look at the container, its
    // network devices included, and the parent answers one question after the other.
    let early = namespaces.id_maps.is_some()
        || cgroup_namespace
        || awaits_cgroup
        || has_runtime_hooks(spec)
        || !linux.net_devices.is_empty()
        || mounts.made.iter().any(Step::may_ask);
    if early {
        steps.push(default(Action::AwaitParent));
    }
    if namespaces.has(NamespaceKind::User) {
        steps.push(at("/linux/namespaces", process::become_root(linux)));
    }
    if cgroup_namespace {
        steps.push(at("/linux/namespaces", Action::CgroupNamespace));
    }
    steps.push(default(Action::NewSession));
    let labels = spec.process.as_ref().map(process::labels).unwrap_or_default();
    if !options.no_new_keyring {
        steps.extend(labels.key);
        steps.push(session_keyring(&options.id)?);
    }

    // Whoever owns the network namespace may bring its loopback device up; the parent does, if it can.
    if namespaces.makes(NamespaceKind::Network) && !parent_brings_loopback_up(namespaces, host) {
        steps.push(default(Action::Loopback));
    }

    // The root file system and all in it, below its descriptor; the host is still visible.
    let propagation = linux.rootfs_propagation.map(mount_options::propagation);
    let way = mount_options::on_the_way_to(propagation, namespaces.has(NamespaceKind::User));
    steps.push(match propagation {
        Some(_) => at("/linux/rootfsPropagation", Action::Propagation(way.host)),
        None => default(Action::Propagation(way.host)),
    });
    let path = cstring(&rootfs.to_string_lossy(), "/root/path")?;
    let root = Action::Root { path, propagation: way.root, shared: way.shared };
    steps.push(at("/root/path", root));
    steps.extend(mounts.made);
    let label = linux.mount_label.as_deref().filter(|label| !label.is_empty());
    let label = label.map(|label| cstring(label, "/linux/mountLabel")).transpose()?;
    if let Some(label) = &label {
        mounts::label(label, &mounts::context_option(&spec.annotations)?, &mut steps);
    }
    devices::plan(spec, host.rootless || namespaces.has(NamespaceKind::User), &mut steps)?;
    if let Some(process) = spec.process.as_ref().filter(|process| process.terminal) {
        let size = process::console_size(process);
        steps.push(at("/process/terminal", Action::Console { size, bind: true }));
    }

    if let Some(process) = &spec.process {
        let path = relative(&process.cwd, "/process/cwd")?;
        if !path.is_empty() {
            steps.push(at("/process/cwd", Action::Directory(path)));
        }
    }

    steps.extend(mounts.last);

    // While the host's /proc is there to write to. It shows the sysctls of our own namespaces.
    sysctls(linux, &mut steps)?;
    if let Some(name) = spec.hostname.as_deref().filter(|name| !name.is_empty()) {
        steps.push(at("/hostname", Action::Hostname(cstring(name, "/hostname")?)));
    }
    if let Some(name) = spec.domainname.as_deref().filter(|name| !name.is_empty()) {
        steps.push(at("/domainname", Action::Domainname(cstring(name, "/domainname")?)));
    }

    // After the hooks, which may mount below these paths; before the pivot, so that the /dev/null
    // put over a file is the host's and not one that the image brought (CVE-2025-31133).
    hooks(spec, &mut steps);
    for (index, path) in linux.readonly_paths.iter().enumerate() {
        let path = relative(path, &format!("/linux/readonlyPaths/{index}"))?;
        let origin = Origin::item("/linux/readonlyPaths", index);
        steps.push(Step { origin, action: Action::ReadonlyPath(path) });
    }
    for (index, path) in linux.masked_paths.iter().enumerate() {
        let path = relative(path, &format!("/linux/maskedPaths/{index}"))?;
        let origin = Origin::item("/linux/maskedPaths", index);
        let action = Action::MaskPath { path, label: label.clone() };
        steps.push(Step { origin, action });
    }
    if spec.root.as_ref().is_some_and(|root| root.readonly) {
        let set = crate::sys::mount::attr::RDONLY;
        let action =
            Action::Attributes { target: CString::default(), set, clear: 0, recursive: false };
        steps.push(at("/root/readonly", action));
    }
    // While the host's /proc is there; after the hooks, which are the host's programs.
    steps.extend(labels.exec);
    steps.push(default(Action::EnterRoot { no_pivot: options.no_pivot }));
    if let Some(flags) = propagation {
        steps.push(at("/linux/rootfsPropagation", Action::RootPropagation(flags)));
    }

    // The process itself. Without the words of the parent above, wait for the cgroup here.
    if !early {
        steps.push(default(Action::AwaitParent));
    }
    Ok(steps)
}

/// Whether the parent has hooks to run while the container is made.
fn has_runtime_hooks(spec: &Spec) -> bool {
    let Some(hooks) = &spec.hooks else { return false };
    !hooks.prestart.is_empty() || !hooks.create_runtime.is_empty()
}

/// The hooks that run before the pivot.
fn hooks(spec: &Spec, steps: &mut Vec<Step>) {
    let Some(hooks) = &spec.hooks else { return };
    if has_runtime_hooks(spec) {
        let origin = Origin::field("/hooks/createRuntime");
        steps.push(Step { origin, action: Action::RuntimeHooks });
    }
    if !hooks.create_container.is_empty() {
        let origin = Origin::field("/hooks/createContainer");
        steps.push(Step { origin, action: Action::ContainerHooks });
    }
}

/// The kernel parameters.
fn sysctls(linux: &config::Linux, steps: &mut Vec<Step>) -> Result<()> {
    for (key, value) in &linux.sysctl {
        let Some(path) = config::sysctl_path(key).map(|path| format!("sys/{path}")) else {
            return Err(Error::new("not the name of a kernel parameter")
                .at(format!("/linux/sysctl/{key}"), Some(format!("{value:?}"))));
        };
        let value = cstring(value, "/linux/sysctl")?;
        let action = match path.as_str() {
            // Root of a user namespace may set it, but not write this file.
            "sys/kernel/domainname" => Action::Domainname(value),
            _ => Action::WriteProc { path: cstring(&path, "/linux/sysctl")?, value },
        };
        steps.push(Step { origin: Origin::key("/linux/sysctl", key), action });
    }
    Ok(())
}

/// The system call filter, and what is to be said about its profile.
fn filter(
    linux: &config::Linux,
    annotations: &BTreeMap<String, String>,
) -> Result<Option<(seccomp::Program, Vec<String>)>> {
    let Some(profile) = &linux.seccomp else { return Ok(None) };
    // crun's: a name that no architecture has is an error, and not only worth a warning.
    let strict = annotations.get("run.oci.seccomp_fail_unknown_syscall");
    let unknown = if strict.is_some_and(|value| value != "0") {
        seccomp::UnknownCalls::Refuse
    } else {
        seccomp::UnknownCalls::Ignore
    };
    let compiled = seccomp::compile(profile, seccomp::native(), unknown)?;
    seccomp::check_executes(profile, &compiled.0, seccomp::native())?;
    Ok(Some(compiled))
}

/// Whether a mount option is known and carried out, and is no file system's own.
pub fn knows_mount_option(option: &str) -> bool {
    !mount_options::is_own(option)
}

/// Whether the parent brings the loopback device up, which saves init the time.
fn parent_brings_loopback_up(namespaces: &Namespaces, host: &Host) -> bool {
    namespaces.makes(NamespaceKind::Network)
        && !namespaces.has(NamespaceKind::User)
        && !host.rootless
}

/// Joins the session keyring of a container.
fn session_keyring(id: &str) -> Result<Step> {
    let action = Action::SessionKeyring(cstring(&format!("_ses.{id}"), "")?);
    Ok(Step { origin: Origin::DEFAULT, action })
}

/// Nothing that the configuration asks for is silently left out: what this version does not carry
/// out is refused.
fn refuse_unsupported(spec: &Spec) -> Result<()> {
    // The container would be isolated by less than it asks for.
    let key = "run.oci.seccomp_bpf_data";
    let profile = spec.linux.as_ref().and_then(|linux| linux.seccomp.as_ref());
    if let (Some(value), None) = (spec.annotations.get(key), profile) {
        return Err(Error::new("a system call filter in BPF is not loaded")
            .at(format!("/annotations/{key}"), Some(format!("{value:?}")))
            .help("describe it in /linux/seccomp"));
    }
    if spec.vm.is_some() {
        return Err(Error::new("this runtime makes no virtual machines").at("/vm", None).help(
            "take it out, if the container can do without, or use a runtime that makes them",
        ));
    }
    Ok(())
}

/// A string for the kernel. The checks refuse NUL with a better pointer; this holds the line.
fn cstring(text: &str, pointer: &str) -> Result<CString> {
    CString::new(text).map_err(|_| {
        Error::new("a NUL byte cannot be passed to the kernel")
            .at(pointer, Some(format!("{text:?}")))
            .help("take the \\u0000 out")
    })
}

/// A path of the container relative to its root: without leading, doubled and trailing slashes.
/// Whatever `..` and links it has are resolved below the root's descriptor, never here.
fn relative(path: &str, pointer: &str) -> Result<CString> {
    let parts = path.split('/').filter(|part| !part.is_empty() && *part != ".");
    let mut clean = String::with_capacity(path.len());
    for part in parts {
        if !clean.is_empty() {
            clean.push('/');
        }
        clean.push_str(part);
    }
    cstring(&clean, pointer)
}
