//! A failure that came back as numbers, made into an error for people.

use std::ffi::CString;
use std::fmt::Write;

use rustix::io::Errno;

use super::way::Joined;
use crate::config::Spec;
use crate::error::{Error, Kind, errno_text};
use crate::plan::{Action, Attribute, Identity, Mount, Plan, Program, Source, Step};
use crate::wire::{Failure, Operation};

/// Explains a failed step of a plan.
pub(crate) fn explain(failure: &Failure, plan: &Plan, spec: &Spec) -> Error {
    explain_steps(failure, &plan.steps, &plan.program, spec)
}

/// Explains a failed step.
pub(crate) fn explain_steps(
    failure: &Failure,
    steps: &[Step],
    program: &Program,
    spec: &Spec,
) -> Error {
    match steps.get(failure.step as usize) {
        Some(Step { action: Action::FindProgram | Action::Execute, .. }) => {
            let error = of_program(failure, program);
            match (failure.operation, failure.errno, label(steps)) {
                (Operation::Exec, Errno::PERM | Errno::ACCESS, Some(label)) => error.help(format!(
                    "SELinux may forbid the runtime to start it as {label}, which is \
                     /process/selinuxLabel; the kernel's log has what it denied (avc)"
                )),
                _ => error,
            }
        }
        Some(step) => of_step(failure, step, spec),
        None => stage(failure),
    }
}

/// The SELinux context that the program is to have.
fn label(steps: &[Step]) -> Option<String> {
    steps.iter().find_map(|step| match &step.action {
        Action::Label { attribute: Attribute::SelinuxExec, label } => Some(label.clone()),
        _ => None,
    })
}

/// Explains a failure before the first step.
fn stage(failure: &Failure) -> Error {
    if failure.operation == Operation::Ended {
        return Error::new("the process ended before its program was started")
            .because(failure.operation.words())
            .at("/linux/seccomp", None)
            .help(
                "the filter has to allow what leads to the program, such as execve; or see the \
                 kernel's log for an out-of-memory kill, and /linux/resources/memory",
            );
    }
    let error = Error::new("starting the container's first process")
        .because(failure.operation.words())
        .os(failure.errno);
    match (failure.operation, failure.errno) {
        (Operation::JoinNamespace, Errno::SRCH) if failure.detail == Joined::PROCESS => {
            error.help("the container's first process has just ended")
        }
        (Operation::JoinNamespace, _) if failure.detail == Joined::PROCESS => error,
        (Operation::JoinNamespace, errno) => {
            let error = error.at(format!("/linux/namespaces/{}", failure.detail), None);
            match errno {
                Errno::PERM => error.help(
                    "it belongs to a user namespace in which the runtime has no rights; join that \
                     too, or run as root",
                ),
                _ => error,
            }
        }
        (Operation::SetClocks, Errno::RANGE) => error
            .at("/linux/timeOffsets", None)
            .help("no clock may be set to before 0 or beyond some 146 years"),
        (Operation::SetClocks, _) => error.at("/linux/timeOffsets", None),
        (Operation::MakeNamespace | Operation::Clone, errno) => super::clone_help(error, errno),
        _ => error,
    }
}

fn of_step(failure: &Failure, step: &Step, spec: &Spec) -> Error {
    let mut cause = failure.operation.words().to_owned();
    if !failure.words.is_empty() {
        if !cause.is_empty() {
            cause.push_str(": ");
        }
        let _ = write!(cause, "{}", String::from_utf8_lossy(&failure.words));
    }
    let mut error = Error::new(step.action.to_string());
    if !cause.is_empty() {
        error = error.because(cause);
    }
    if failure.operation != Operation::Hook {
        error = error.os(failure.errno);
    }
    if let Some(mut pointer) = step.origin.pointer() {
        let mut value = None;
        match (&step.action, failure.operation) {
            (Action::Mount(_) | Action::Remount(_), Operation::SetOption) if failure.detail > 0 => {
                let option = failure.detail - 1;
                value = option_text(spec, &pointer, option as usize);
                let _ = write!(pointer, "/options/{option}");
            }
            (Action::Mount(mount), Operation::SetOption) if mount.label().is_some() => {
                "/linux/mountLabel".clone_into(&mut pointer);
                value = mount.label().map(|label| format!("{:?}", label.to_string_lossy()));
            }
            (Action::Mount(_), Operation::OpenFilesystem) => {
                value = mount_of(spec, &pointer).and_then(|mount| quoted(mount.kind.as_ref()));
                pointer.push_str("/type");
            }
            (Action::Mount(_), Operation::MapIds)
                if mount_of(spec, &pointer).is_some_and(|m| !m.uid_mappings.is_empty()) =>
            {
                pointer.push_str("/uidMappings");
            }
            (Action::Mount(_), Operation::OpenSource) => {
                value = mount_of(spec, &pointer).and_then(|mount| quoted(mount.source.as_ref()));
                pointer.push_str("/source");
            }
            (
                Action::Mount(_) | Action::Remount(_),
                Operation::OpenTarget
                | Operation::StrictTarget
                | Operation::KindOfTarget
                | Operation::OverProc
                | Operation::NoMount,
            ) => {
                value = mount_of(spec, &pointer).map(|mount| format!("{:?}", mount.destination));
                pointer.push_str("/destination");
            }
            (Action::Unmount(paths), _) => {
                value = paths.get(failure.detail as usize).map(|path| format!("{path:?}"));
                let _ = write!(pointer, "/{}/destination", failure.detail);
            }
            (Action::Hostname(name) | Action::Domainname(name), _) => {
                value = Some(format!("{:?}", name.to_string_lossy()));
            }
            (Action::WorkingDirectory(path) | Action::DirectoryAsUser(path), _) => {
                value = Some(format!("{:?}", path.to_string_lossy()));
            }
            (Action::User(identity), operation) => {
                let (below, shown) = of_user(operation, identity);
                below.clone_into(&mut pointer);
                value = shown;
            }
            (Action::Label { label, .. }, _) => value = Some(format!("{label:?}")),
            (Action::ContainerHooks | Action::StartHooks, Operation::Hook) => {
                let _ = write!(pointer, "/{}", failure.detail);
            }
            _ => {}
        }
        error = error.at(pointer, value);
    }
    match help(failure, &step.action) {
        Some(help) => error.help(help),
        None => error,
    }
}

/// The part of `/process` that a step of becoming the user is about, and its value.
fn of_user(operation: Operation, identity: &Identity) -> (&'static str, Option<String>) {
    match operation {
        Operation::SetUid => ("/process/user/uid", Some(identity.uid.to_string())),
        Operation::SetGid => ("/process/user/gid", Some(identity.gid.to_string())),
        Operation::SetGroups => ("/process/user/additionalGids", None),
        Operation::SetCapabilities => ("/process/capabilities", None),
        Operation::DropBounding => ("/process/capabilities/bounding", None),
        Operation::SetAmbient => ("/process/capabilities/ambient", None),
        _ => ("/process/user", None),
    }
}

/// The mount that a pointer such as `/mounts/3` means.
fn mount_of<'a>(spec: &'a Spec, pointer: &str) -> Option<&'a crate::config::Mount> {
    let index = pointer.strip_prefix("/mounts/")?.parse::<usize>().ok()?;
    spec.mounts.get(index)
}

fn option_text(spec: &Spec, pointer: &str, option: usize) -> Option<String> {
    quoted(mount_of(spec, pointer)?.options.get(option))
}

fn quoted(text: Option<&String>) -> Option<String> {
    text.map(|text| format!("{text:?}"))
}

/// What a reader can do, where that is known.
fn help(failure: &Failure, action: &Action) -> Option<&'static str> {
    match (action, failure.operation, failure.errno) {
        (_, Operation::Attach, Errno::ACCESS) => Some(
            "a security module forbids it; AppArmor does unless the profile that the runtime runs \
             under has the rule: mount options=(rw, move)",
        ),
        (Action::Mount(mount), operation, errno) => {
            let option = mount_option(mount, operation, failure.detail);
            mount_help(mount, option, operation, errno)
        }
        (Action::Remount(_), Operation::NoMount | Operation::OpenTarget, _) => {
            Some("remount changes a mount that is made before it, or of the image's root")
        }
        (Action::Seccomp(_), Operation::SendListener, _) => {
            Some("the profile has to allow sendmsg for the listener to be reached")
        }
        (Action::Seccomp(_), _, Errno::ACCESS) => {
            Some("without noNewPrivileges this takes CAP_SYS_ADMIN")
        }
        (Action::Rlimit { .. }, _, Errno::PERM) => {
            Some("raising a hard limit takes CAP_SYS_RESOURCE; ask for less")
        }
        (Action::WriteProc { .. }, _, Errno::XDEV | Errno::NOTDIR) => {
            Some("something is mounted over the files of /proc")
        }
        (Action::Label { attribute, .. }, _, errno) => label_help(*attribute, errno),
        (Action::Scheduling(_), _, Errno::PERM) => Some(
            "it takes CAP_SYS_NICE, and with groups of real-time tasks realtimeRuntime in \
             /linux/resources/cpu; SCHED_DEADLINE takes all CPUs of a cpuset that shares none",
        ),
        (Action::Scheduling(_), _, Errno::BUSY) => {
            Some("the CPUs have promised too much time to other tasks already; ask for less")
        }
        (Action::Scheduling(_), _, Errno::OPNOTSUPP | Errno::TOOBIG) => {
            Some("this kernel has no utilization clamps (CONFIG_UCLAMP_TASK)")
        }
        (Action::IoPriority(_), _, Errno::PERM) => {
            Some("IOPRIO_CLASS_RT takes CAP_SYS_NICE on the host")
        }
        (Action::MemoryPolicy { .. }, _, Errno::INVAL) => {
            Some("the nodes have to be there and in the cpuset, and the mode to allow the flags")
        }
        (Action::MemoryPolicy { .. }, _, Errno::NOSYS) => {
            Some("this kernel was built without memory policies (CONFIG_NUMA)")
        }
        (Action::Cpus(_), _, Errno::INVAL) => {
            Some("none of these CPUs is there and in the container's cpuset")
        }
        (Action::User(_), Operation::SetCapabilities | Operation::SetAmbient, Errno::PERM) => {
            Some("a capability that the runtime does not have itself cannot be given")
        }
        (Action::User(_), Operation::SetUid | Operation::SetGid, Errno::INVAL) => {
            Some("the id is not mapped in the container's user namespace")
        }
        (Action::User(_), Operation::SetGroups, Errno::PERM) => {
            Some("the user namespace forbids it: take additionalGids out")
        }
        (Action::BecomeRoot { .. }, Operation::SetUid | Operation::SetGid, Errno::INVAL) => {
            Some("the user namespace has no root; tell its mappings in uidMappings and gidMappings")
        }
        (Action::Root { .. }, _, Errno::ACCESS) => {
            Some("the container's root has to be able to reach it: see namei -l")
        }
        (Action::Root { .. }, _, Errno::NOENT | Errno::NOTDIR) => {
            Some("root.path is a directory, absolute or relative to the bundle")
        }
        (Action::Hostname(_) | Action::Domainname(_), _, Errno::PERM) => Some(
            "its uts namespace belongs to a user namespace that it is not in: leave the name out",
        ),
        (Action::EnterRoot { no_pivot: false }, Operation::Pivot, Errno::INVAL) => {
            Some("on a root in a ramfs, --no-pivot is the way")
        }
        (Action::Device(_), Operation::OpenSource, Errno::NOENT | Errno::NODEV) => Some(
            "a user namespace makes no devices, it gets the host's; there has to be one of these \
             numbers",
        ),
        (Action::Device(_), Operation::OtherNode, _) => {
            Some("remove the file from the root file system, or take the device out")
        }
        _ => None,
    }
}

fn label_help(attribute: Attribute, errno: Errno) -> Option<&'static str> {
    match (attribute, errno) {
        (Attribute::AppArmorExec, Errno::NOENT) => {
            Some("no such profile is loaded: load it with apparmor_parser")
        }
        (Attribute::SelinuxExec | Attribute::SelinuxKey, Errno::INVAL) => {
            Some("the policy has no such context")
        }
        (_, Errno::IO) => {
            Some("the kernel took it and does not have it: /proc is not what it seems")
        }
        (_, Errno::XDEV | Errno::NOTDIR) => Some("something is mounted over the files of /proc"),
        _ => None,
    }
}

/// The name of the option that a failure is about.
fn mount_option(mount: &Mount, operation: Operation, detail: u32) -> Option<&[u8]> {
    let Source::Filesystem(new) = &mount.source else { return None };
    if operation != Operation::SetOption {
        return None;
    }
    let index = usize::try_from(detail.checked_sub(1)?).ok()?;
    let option = new.options.iter().find(|option| option.index == Some(index))?;
    Some(option.key.as_bytes())
}

fn mount_help(
    mount: &Mount,
    option: Option<&[u8]>,
    operation: Operation,
    errno: Errno,
) -> Option<&'static str> {
    match (&mount.source, operation, errno) {
        (_, Operation::Attach, Errno::NOSPC) => {
            Some("the kernel takes no more mounts for one container; see /proc/sys/fs/mount-max")
        }
        (Source::Filesystem(_), Operation::OpenFilesystem, Errno::NODEV) => {
            Some("this kernel has no such file system; see /proc/filesystems")
        }
        (_, Operation::SetOption, Errno::INVAL) if matches!(option, Some(b"uid" | b"gid")) => {
            Some("the id has to be a number that is mapped in the container's user namespace")
        }
        (_, Operation::SetOption, Errno::INVAL) => {
            Some("the file system does not know this option, or not this value of it")
        }
        (Source::Bind(_), Operation::OpenSource, Errno::NOENT) => {
            Some("make the file or directory on the host, or take the mount out")
        }
        (Source::Bind(_), Operation::OpenSource, Errno::ACCESS) => {
            Some("root of the container's user namespace may not reach it; see each directory's x")
        }
        (Source::Bind(_), Operation::OpenSource, Errno::INVAL) => Some(
            "a mount that is unbindable, or has mounts below it that hide something, binds only \
             with rbind or not at all",
        ),
        (_, Operation::StrictTarget, _) => {
            Some("proc and sysfs go on an ordinary directory that no link leads to")
        }
        (_, Operation::OpenTarget, Errno::LOOP) => {
            Some("links of the image lead in a circle, or through a process's files in /proc")
        }
        (_, Operation::LongOptions, _) => Some(
            "fsconfig(2) takes options of 255 bytes at most, and mount(2), which is left then, a \
             page of them: use shorter paths",
        ),
        (_, Operation::OverProc, _) => Some(
            "on /proc goes a mount of type proc, and in it only on files such as /proc/cpuinfo or \
             /proc/meminfo",
        ),
        (_, Operation::OpenTarget, Errno::ROFS) => Some(
            "the mount point is missing and the file system is read-only: make it in the image",
        ),
        (_, Operation::KindOfTarget, _) => {
            Some("a directory goes on a directory, a file on a file")
        }
        (_, Operation::MapIds, Errno::INVAL) => Some(
            "the file system has to support ID-mapped mounts, and the ids have to be mapped once",
        ),
        (_, Operation::MapIds, Errno::PERM | Errno::ACCESS) => {
            Some("only root of the host may make an ID-mapped mount")
        }
        (_, Operation::MapIds | Operation::Recursive, Errno::NOSYS) => {
            Some("this takes mount_setattr(2): Linux 5.12")
        }
        (
            Source::Filesystem(_),
            Operation::CreateFilesystem | Operation::MakeMount,
            Errno::PERM,
        ) => Some(
            "a user namespace mounts proc, sysfs, mqueue and cgroup only with such a namespace of \
             its own, and file systems of disks not at all: mount those on the host and bind them",
        ),
        _ => None,
    }
}

/// A program that was not found or could not be executed, in the words that engines look for
/// (cli.md, "Text they match").
fn of_program(failure: &Failure, program: &Program) -> Error {
    let name = program.args.first().map(|name| name.to_string_lossy().into_owned());
    let name = name.unwrap_or_default();
    let reason = match failure.operation {
        Operation::NotInPath | Operation::NoProcess => failure.operation.words().to_owned(),
        Operation::StatProgram => format!("stat {name}: {}", errno_text(failure.errno)),
        // What execve(2) answers, and what podman makes exit code 126 of.
        Operation::ProgramIsDirectory => {
            format!("permission denied: {}", errno_text(failure.errno))
        }
        _ => errno_text(failure.errno).into_owned(),
    };
    let error = Error::new("unable to start container process")
        .because(format!("exec: {name:?}: {reason}"))
        .at("/process/args/0", Some(format!("{name:?}")))
        .kind(Kind::Program);
    match (failure.operation, failure.errno) {
        (Operation::Exec, Errno::TOOBIG) => {
            let length =
                |list: &[CString]| list.iter().map(|text| text.count_bytes()).sum::<usize>();
            let of_env = length(&program.env) > length(&program.args);
            error.at(if of_env { "/process/env" } else { "/process/args" }, None).help(
                "the kernel takes 128 KiB a string, and of arguments and environment together a \
                 quarter of RLIMIT_STACK, at most 6 MiB",
            )
        }
        (Operation::NotInPath, _) => {
            error.help("give its path in the container, or set PATH in /process/env")
        }
        (Operation::StatProgram, Errno::NOENT) => {
            error.help("the path is looked up inside the root file system")
        }
        (Operation::ProgramNotExecutable, _) => error.help("chmod +x it, in the root file system"),
        (Operation::Exec, Errno::NOSYS) => {
            error.help("the system call filter refuses execve: see /linux/seccomp")
        }
        (Operation::Exec, Errno::NOENT) => {
            error.help("the file is there; its interpreter or dynamic loader is not")
        }
        (Operation::Exec, Errno::NOEXEC) => {
            error.help("it is not a program for this machine, or a script without #!")
        }
        (Operation::NoProcess, _) => error.help("add \"process\" with \"args\" and \"cwd\""),
        _ => error,
    }
}
