//! `/process` → the last steps, and the program.

use std::collections::BTreeMap;
use std::ffi::CString;

use super::namespaces::root_of;
use super::origin::Origin;
use super::step::{Action, Attribute, Capabilities, Identity, Step};
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
    Ok(Program { args: strings(&process.args, "args")?, env: strings(&process.env, "env")? })
}

/// Appends the steps that turn init into the process, privileges last.
pub(super) fn plan(
    spec: &Spec,
    linux: &config::Linux,
    host: &Host,
    filter: Option<&seccomp::Program>,
    steps: &mut Vec<Step>,
) -> Result<()> {
    let default = |action| Step { origin: Origin::DEFAULT, action };
    let Some(process) = &spec.process else {
        // A container may be created without a process; it cannot be started.
        steps.push(default(Action::AwaitStart));
        return Ok(());
    };
    steps.push(default(Action::AllCpus));
    become_process(process, linux, setgroups(linux, host), filter, steps)?;
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
    become_process(process, linux, setgroups(linux, host), filter.as_ref(), &mut steps)?;
    steps.push(default(Action::AwaitStart));
    if process.no_new_privileges {
        steps.extend(filter.as_ref().map(filter_step));
    }
    steps.push(Step { origin: Origin::field("/process/args"), action: Action::Execute });
    let program = program_of(process, "/process")?;
    let oom_score_adj = process.oom_score_adj;
    Ok(ExecPlan { steps, program, initial_cpus: initial, oom_score_adj })
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

/// The steps from a process in its namespaces to one with the right limits, user, capabilities and
/// directory, which has found its program.
fn become_process(
    process: &config::Process,
    linux: &config::Linux,
    setgroups: Setgroups,
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
    if !process.env.iter().any(|variable| variable.starts_with("HOME=")) {
        steps.push(default(Action::Home(user.uid)));
    }
    if process.no_new_privileges {
        steps.push(at("/process/noNewPrivileges", Action::NoNewPrivileges));
    }
    if setgroups == Setgroups::Forbidden && !user.additional_gids.is_empty() {
        return Err(Error::new("additional groups cannot be set: this user namespace forbids it")
            .at("/process/user/additionalGids", Some(format!("{:?}", user.additional_gids)))
            .help("map a range of subordinate ids (newgidmap), or take the groups out"));
    }
    let sets = process.capabilities.as_ref().map(|sets| Capabilities {
        bounding: capability::mask(&sets.bounding),
        effective: capability::mask(&sets.effective),
        inheritable: capability::mask(&sets.inheritable),
        permitted: capability::mask(&sets.permitted),
        ambient: capability::mask(&sets.ambient),
    });
    let identity = Identity {
        uid: user.uid,
        gid: user.gid,
        groups: (setgroups == Setgroups::Allowed || !user.additional_gids.is_empty())
            .then(|| user.additional_gids.clone()),
        capabilities: sets.unwrap_or_default(),
    };
    let cwd = cstring(&process.cwd, "/process/cwd")?;
    steps.push(at("/process/cwd", Action::WorkingDirectory(cwd.clone())));
    // Without no-new-privileges it takes CAP_SYS_ADMIN, so it comes just before that goes, and what
    // follows has to pass it; with, it comes last of all (seccomp(2)).
    if !process.no_new_privileges {
        steps.extend(filter.map(filter_step));
    }
    steps.push(at("/process/user", Action::User(Box::new(identity))));
    steps.push(at("/process/cwd", Action::CheckDirectory(cwd)));
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
}

/// An unprivileged caller that maps only itself has to give setgroups(2) up.
fn setgroups(linux: &config::Linux, host: &Host) -> Setgroups {
    let sizes = linux.gid_mappings.iter().map(|mapping| u64::from(mapping.size));
    match sizes.sum() {
        _ if !host.rootless => Setgroups::Allowed,
        0 => Setgroups::Unknown,
        1 => Setgroups::Forbidden,
        _ => Setgroups::Allowed,
    }
}
