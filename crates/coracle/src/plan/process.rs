//! `/process` → the last steps, and the program.

use std::collections::{BTreeMap, HashSet};
use std::ffi::CString;

use super::namespaces::root_of;
use super::origin::Origin;
use super::step::{Action, Attribute, Identity, Step};
use super::{Host, capability, cstring, share};
use crate::config::{self, Spec};
use crate::error::{Error, Result};
use crate::seccomp;

/// What init becomes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Program {
    /// Its arguments; the first names the program. Empty when the specification has no process.
    pub args: Vec<CString>,
    /// Its environment, as `NAME=value`.
    pub env: Vec<CString>,
    /// Whether it is told its own id as `LISTEN_PID`.
    pub listens: bool,
}

/// Plans what is executed.
pub(super) fn program(spec: &Spec) -> Result<Program> {
    match &spec.process {
        Some(process) => program_of(process, "/process"),
        None => Ok(Program::default()),
    }
}

/// The program of a process object that stands at `pointer`.
fn program_of(process: &config::Process, pointer: &str) -> Result<Program> {
    let strings = |list: &[String], field: &str| {
        list.iter()
            .enumerate()
            .map(|(index, text)| cstring(text, &format!("{pointer}/{field}/{index}")))
            .collect::<Result<Vec<_>>>()
    };
    let (args, mut env) = (strings(&process.args, "args")?, strings(&process.env, "env")?);
    let mut last = last_of_each(&process.env);
    env.retain(|_| last.pop().unwrap_or(true));
    Ok(Program { args, env, listens: false })
}

/// Appends the steps that turn init into the process, privileges last.
pub(super) fn plan(
    spec: &Spec,
    linux: &config::Linux,
    host: &Host,
    grantable: u64,
    filter: Option<&seccomp::Program>,
    steps: &mut Vec<Step>,
) -> Result<()> {
    let default = |action| Step { origin: Origin::DEFAULT, action };
    let Some(process) = &spec.process else {
        // A container may be created without a process; it cannot be started.
        steps.push(Step { origin: Origin::field("/process"), action: Action::AwaitStart });
        return Ok(());
    };
    steps.push(default(Action::AllCpus));
    become_process(
        process,
        linux,
        setgroups(linux, &spec.annotations, host),
        grantable,
        filter,
        steps,
    )?;
    steps.push(default(Action::AwaitStart));
    if spec.hooks.as_ref().is_some_and(|hooks| !hooks.start_container.is_empty()) {
        let origin = Origin::field("/hooks/startContainer");
        steps.push(Step { origin, action: Action::StartHooks });
    }
    if process.no_new_privileges {
        steps.extend(filter.map(filter_step));
    }
    steps.push(Step { origin: Origin::field("/process/args"), action: Action::Execute });
    Ok(())
}

/// One more process of a running container.
#[derive(Debug)]
pub struct ExecPlan {
    /// What it does, in order.
    pub steps: Vec<Step>,
    /// What it becomes.
    pub program: Program,
    /// The CPUs that this process runs on from before the new one enters the cgroup: bit n is
    /// CPU n.
    pub initial_cpus: Option<Vec<u64>>,
    /// `/process/oomScoreAdj`, with which it is born.
    pub oom_score_adj: Option<i64>,
    /// What may be meant otherwise.
    pub warnings: Vec<String>,
}

/// Plans a process that joins a container made from `linux`; `user`: it has a user namespace;
/// `keyring_of`: its ID, unless the process keeps the caller's session keyring; `annotations`: its
/// own, some of which are for the runtime.
pub fn exec(
    process: &config::Process,
    linux: &config::Linux,
    user: bool,
    keyring_of: Option<&str>,
    annotations: &BTreeMap<String, String>,
    host: &Host,
) -> Result<ExecPlan> {
    let default = |action| Step { origin: Origin::DEFAULT, action };
    // What is written to the host's /proc is written before the container's is seen, by the process
    // in between; a new process inherits it.
    let labels = labels(process);
    let mut steps: Vec<Step> = labels.key.filter(|_| keyring_of.is_some()).into_iter().collect();
    steps.extend(labels.exec);
    steps.push(default(Action::AwaitParent));
    let affinity = process.exec_cpu_affinity.clone().unwrap_or_default();
    let initial = share::cpus(affinity.initial.as_deref(), "/process/execCPUAffinity/initial")?;
    match share::cpus(affinity.last.as_deref(), "/process/execCPUAffinity/final")? {
        Some(cpus) => {
            let origin = Origin::field("/process/execCPUAffinity/final");
            steps.push(Step { origin, action: Action::Cpus(cpus) });
        }
        None if initial.is_none() => steps.push(default(Action::AllCpus)),
        // What becomes of the initial ones is the kernel's to say.
        None => {}
    }
    if user {
        steps.push(default(become_root(linux)));
    }
    steps.push(default(Action::NewSession));
    if let Some(id) = keyring_of {
        // The container's, made with it: else the process would hold the caller's and its keys.
        steps.push(super::session_keyring(id)?);
    }
    if process.terminal {
        steps.push(default(Action::JoinedRoot));
        let size = console_size(process);
        let action = Action::Console { size, bind: false };
        steps.push(Step { origin: Origin::field("/process/terminal"), action });
    }
    let filter = super::filter(linux, annotations)?.map(|(program, _)| program);
    let grantable = super::grantable(user, host);
    let setgroups = setgroups(linux, annotations, host);
    become_process(process, linux, setgroups, grantable, filter.as_ref(), &mut steps)?;
    steps.push(default(Action::AwaitStart));
    if process.no_new_privileges {
        steps.extend(filter.as_ref().map(filter_step));
    }
    steps.push(Step { origin: Origin::field("/process/args"), action: Action::Execute });
    let program = program_of(process, "/process")?;
    let mut warnings = config::capability_warnings(process);
    if let Some(sets) = &process.capabilities {
        warnings.extend(capability::withheld(sets, grantable));
    }
    let oom_score_adj = process.oom_score_adj;
    Ok(ExecPlan { steps, program, initial_cpus: initial, oom_score_adj, warnings })
}

/// The step that installs a filter.
fn filter_step(program: &seccomp::Program) -> Step {
    let action = Action::Seccomp(Box::new(program.clone()));
    Step { origin: Origin::field("/linux/seccomp"), action }
}

/// Taking root's ids in the container's user namespace.
pub(super) fn become_root(linux: &config::Linux) -> Action {
    let (uid, gid) = (root_of(&linux.uid_mappings), root_of(&linux.gid_mappings));
    Action::BecomeRoot { uid, gid }
}

/// Rows and columns of the terminal, if they are given; more than the kernel can say is the most
/// that it can.
pub(super) fn console_size(process: &config::Process) -> Option<(u16, u16)> {
    let most = |value: u64| u16::try_from(value).unwrap_or(u16::MAX);
    process.console_size.as_ref().map(|size| (most(size.height), most(size.width)))
}

/// Of each variable, from the last to the first, whether the program gets it: not if it appears
/// again, because getenv(3) would find the former, and `exec --env` adds to what there is; nor a
/// `HOME` that is empty, which is looked up.
fn last_of_each(env: &[String]) -> Vec<bool> {
    let mut seen = HashSet::with_capacity(env.len());
    env.iter()
        .rev()
        .map(|variable| {
            let name = variable.split_once('=').map_or(variable.as_str(), |(name, _)| name);
            seen.insert(name) && variable != "HOME="
        })
        .collect()
}

/// Whether the environment says where home is.
fn names_home(env: &[String]) -> bool {
    env.iter()
        .rev()
        .find_map(|variable| variable.strip_prefix("HOME="))
        .is_some_and(|h| !h.is_empty())
}

/// The steps from a process in its namespaces to one with the right limits, user, capabilities and
/// directory, which has found its program.
fn become_process(
    process: &config::Process,
    linux: &config::Linux,
    setgroups: Setgroups,
    grantable: u64,
    filter: Option<&seccomp::Program>,
    steps: &mut Vec<Step>,
) -> Result<()> {
    let at = |field, action| Step { origin: Origin::field(field), action };
    let default = |action| Step { origin: Origin::DEFAULT, action };
    let user = &process.user;

    for (index, limit) in process.rlimits.iter().enumerate() {
        let Some(resource) = limit.resource() else {
            return Err(Error::new("unknown resource limit")
                .at(format!("/process/rlimits/{index}/type"), Some(format!("{:?}", limit.kind)))
                .help("see getrlimit(2) for the names"));
        };
        let action = Action::Rlimit { resource, soft: limit.soft, hard: limit.hard };
        steps.push(Step { origin: Origin::item("/process/rlimits", index), action });
    }
    share::plan(process, linux, steps)?;
    steps.push(match user.umask {
        Some(mask) => at("/process/user/umask", Action::Umask(mask & 0o777)),
        None => default(Action::Umask(0o022)),
    });
    if !names_home(&process.env) {
        steps.push(default(Action::Home(user.uid)));
    }
    if process.no_new_privileges {
        steps.push(at("/process/noNewPrivileges", Action::NoNewPrivileges));
    }
    let keeps_groups = setgroups == Setgroups::Kept;
    if setgroups == Setgroups::Forbidden && !user.additional_gids.is_empty() {
        return Err(Error::new("additional groups cannot be set: this user namespace forbids it")
            .at("/process/user/additionalGids", Some(format!("{:?}", user.additional_gids)))
            .help("map a range of subordinate ids (newgidmap), or take the groups out"));
    }
    let sets = process.capabilities.as_ref().map(|sets| capability::sets(sets, grantable));
    let identity = Identity {
        uid: user.uid,
        gid: user.gid,
        groups: (setgroups == Setgroups::Allowed || !user.additional_gids.is_empty())
            .then(|| user.additional_gids.clone()),
        keeps_groups,
        capabilities: sets.unwrap_or_default(),
    };
    // Before the filter, which may forbid the calls for it.
    let cwd = cstring(&process.cwd, "/process/cwd")?;
    steps.push(at("/process/cwd", Action::WorkingDirectory(cwd.clone())));
    // Without no-new-privileges it takes CAP_SYS_ADMIN, so it comes just before that goes, and what
    // follows has to pass it; with, it comes last of all (seccomp(2)).
    if !process.no_new_privileges {
        steps.extend(filter.map(filter_step));
    }
    steps.push(at("/process/user", Action::User(Box::new(identity))));
    steps.push(at("/process/cwd", Action::DirectoryAsUser(cwd)));
    steps.push(at("/process/args/0", Action::FindProgram));
    Ok(())
}

/// The steps that label a process.
#[derive(Default)]
pub(super) struct Labels {
    /// What its session keyring gets.
    pub(super) key: Option<Step>,
    /// What it gets with its program.
    pub(super) exec: Vec<Step>,
}

/// The labels of a process.
pub(super) fn labels(process: &config::Process) -> Labels {
    let step = |field, attribute, label: &Option<String>| {
        let label = label.clone().filter(|label| !label.is_empty())?;
        Some(Step { origin: Origin::field(field), action: Action::Label { attribute, label } })
    };
    let (apparmor, selinux) = (&process.apparmor_profile, &process.selinux_label);
    Labels {
        key: step("/process/selinuxLabel", Attribute::SelinuxKey, selinux),
        exec: [
            step("/process/apparmorProfile", Attribute::AppArmorExec, apparmor),
            step("/process/selinuxLabel", Attribute::SelinuxExec, selinux),
        ]
        .into_iter()
        .flatten()
        .collect(),
    }
}

/// Whether the container's user namespace lets root change its groups (user_namespaces(7)).
#[derive(Clone, Copy, PartialEq, Eq)]
enum Setgroups {
    Allowed,
    /// It is another's user namespace: nobody knows before it is joined.
    Unknown,
    Forbidden,
    /// The runtime's groups are to stay.
    Kept,
}

/// An unprivileged caller that maps only itself has to give setgroups(2) up.
fn setgroups(
    linux: &config::Linux,
    annotations: &BTreeMap<String, String>,
    host: &Host,
) -> Setgroups {
    let keep = annotations.get("run.oci.keep_original_groups");
    if keep.is_some_and(|value| value != "0" && value != "false") {
        return Setgroups::Kept;
    }
    let sizes = linux.gid_mappings.iter().map(|mapping| u64::from(mapping.size));
    match sizes.sum() {
        _ if !host.rootless => Setgroups::Allowed,
        0 => Setgroups::Unknown,
        1 => Setgroups::Forbidden,
        _ => Setgroups::Allowed,
    }
}
