//! What of a container is not in its images, because it is the host's: bind mounts, the null device
//! over masked files, namespaces that were joined, and the standard descriptors. Each gets a name
//! when it is saved, and under that name something to stand for it when it is restored. The names
//! are runc's, so that images can go from one to the other.

use std::ffi::CStr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};

use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, openat, stat};

use super::mapped::Mapped;
use super::rpc::{ExternalMount, InheritFd, JoinNamespace, Options};
use crate::error::{Context, Error, Result};
use crate::init::Root;
use crate::plan::{Action, Bind, Plan, Source, SourceLink, Step};

/// Stands for every masked file.
const NULL: &str = "/dev/null";

/// The namespaces that CRIU takes from outside: flag, name in /proc/PID/ns, name in the images.
const NAMESPACES: [(i32, &str, &str); 2] =
    [(libc::CLONE_NEWNET, "net", "extRootNetNS"), (libc::CLONE_NEWPID, "pid", "extRootPidNS")];

/// Those that it joins before it restores: flag, name.
const JOINED: [(i32, &str); 3] =
    [(libc::CLONE_NEWIPC, "ipc"), (libc::CLONE_NEWUTS, "uts"), (libc::CLONE_NEWTIME, "time")];

/// The major numbers of pseudoterminals (linux/major.h, `UNIX98_PTY_SLAVE_MAJOR`).
const TERMINALS: std::ops::Range<u32> = 136..144;

/// A mount of the host's in the container.
struct OfHost<'a> {
    /// Where, as the configuration has it, absolute.
    target: String,
    bind: Option<&'a Bind>,
}

/// The mounts of the plan that are the host's.
fn mounts(steps: &[Step]) -> impl Iterator<Item = OfHost<'_>> {
    let absolute = |path: &CStr| format!("/{}", path.to_string_lossy());
    steps.iter().filter_map(move |step| match &step.action {
        Action::Mount(mount) => match &mount.source {
            Source::Bind(bind) => {
                Some(OfHost { target: absolute(&mount.target), bind: Some(bind) })
            }
            Source::Filesystem(_) => None,
        },
        Action::Device(device) if device.bind => {
            Some(OfHost { target: absolute(&device.path), bind: None })
        }
        _ => None,
    })
}

/// What CRIU cannot restore.
///
/// # Errors
/// The line of config.json that asks for it.
pub(crate) fn check(plan: &Plan) -> Result<()> {
    let Some((_, pointer)) = joined(plan, libc::CLONE_NEWUSER) else { return Ok(()) };
    Err(Error::new("no container can be restored into a user namespace of another")
        .because("criu has no id in it, and cannot read the images there")
        .at(pointer, None)
        .help("take path out, and give uidMappings and gidMappings as they are in that one"))
}

/// Names the mounts and namespaces of a process that is to be saved, whose root is `root`.
pub(crate) fn save(plan: &Plan, root: &Root, pid: u32, options: &mut Options) -> Result<()> {
    for mount in mounts(&plan.steps) {
        // Where it really is, which links of the image may decide.
        if let Some((key, _)) = find(root, &mount.target) {
            options.ext_mnt.push(ExternalMount { key, val: mount.target });
        }
    }
    for step in &plan.steps {
        let Action::MaskPath { path, .. } = &step.action else { continue };
        match find(root, &path.to_string_lossy()) {
            Some((key, kind)) if kind != FileType::Directory => {
                options.ext_mnt.push(ExternalMount { key, val: NULL.into() });
            }
            _ => {}
        }
    }
    for (flag, file, name) in NAMESPACES {
        if joined(plan, flag).is_some() {
            let path = format!("/proc/{pid}/ns/{file}");
            let inode = stat(path.as_str()).what(|| format!("looking at {path}"))?.st_ino;
            options.external.push(format!("{file}[{inode}]:{name}"));
        }
    }
    Ok(())
}

/// Where a path of the container leads, and what is there.
fn find(root: &Root, path: &str) -> Option<(String, FileType)> {
    let path = std::ffi::CString::new(path.trim_start_matches('/')).ok()?;
    let file = root.open(&path, OFlags::PATH).ok()?;
    let kind = FileType::from_raw_mode(fstat(&file).ok()?.st_mode);
    // The kernel tells the path in the container's mount namespace, as far as its root.
    let link = std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).ok()?;
    Some((link.into_os_string().into_string().ok()?, kind))
}

/// Gives what was named by [`save`] something to stand for it. The descriptors given back are to
/// stay open until CRIU has them.
pub(crate) fn restore(
    plan: &Plan,
    mapped: &Mapped<'_>,
    options: &mut Options,
) -> Result<Vec<OwnedFd>> {
    for OfHost { target, bind } in mounts(&plan.steps) {
        let made = bind.and_then(|bind| mapped.path(bind));
        let made = made.map(|path| path.to_string_lossy().into_owned());
        let val = made.unwrap_or_else(|| bind.map_or_else(|| target.clone(), source));
        options.ext_mnt.push(ExternalMount { key: target, val });
    }
    options.ext_mnt.push(ExternalMount { key: NULL.into(), val: NULL.into() });
    let mut files = Vec::new();
    for (flag, _, name) in NAMESPACES {
        let Some((path, pointer)) = joined(plan, flag) else { continue };
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let file = openat(CWD, path, flags, Mode::empty())
            .what(|| format!("opening the namespace {}", path.to_string_lossy()))
            .map_err(|error| error.at(pointer, None))?;
        options.inherit_fd.push(InheritFd { key: name.into(), fd: file.as_raw_fd() });
        files.push(file);
    }
    for (flag, name) in JOINED {
        if let Some((path, _)) = joined(plan, flag) {
            let ns_file = path.to_string_lossy().into_owned();
            options.join_ns.push(JoinNamespace { ns: name.into(), ns_file });
        }
    }
    Ok(files)
}

/// The path of the host that is bound.
fn source(bind: &Bind) -> String {
    let path = match &bind.otherwise {
        Some(other) if stat(&bind.path).is_err() => other,
        _ => &bind.path,
    };
    path.to_string_lossy().into_owned()
}

/// The path of a namespace that the container joined, and where it is asked for.
fn joined(plan: &Plan, flag: i32) -> Option<(&CStr, String)> {
    let join = plan.namespaces.join.iter().find(|join| i32::try_from(join.kind) == Ok(flag))?;
    Some((&join.path, format!("/linux/namespaces/{}/path", join.index)))
}

/// Makes the mount points that a root file system lacks in which the container was never made, below
/// the root's descriptor. What is in a mount comes with that.
pub(crate) fn make_mount_points(plan: &Plan) -> Result<()> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = openat(CWD, &plan.rootfs, flags, Mode::empty())
        .what(|| format!("opening {}", plan.rootfs.display()))?;
    let root = Root::new(directory);
    let mut made: Vec<&[u8]> = Vec::new();
    for step in &plan.steps {
        let Action::Mount(mount) = &step.action else { continue };
        let path = mount.target.to_bytes();
        let inside = |above: &&[u8]| {
            path.strip_prefix(*above).is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
        };
        if path.is_empty() || made.iter().any(inside) {
            continue;
        }
        made.push(path);
        let directory = match &mount.source {
            Source::Filesystem(_) => true,
            Source::Bind(Bind { link: SourceLink::Copy, .. }) => continue,
            Source::Bind(bind) => std::fs::metadata(source(bind))
                .what(|| format!("looking at {}", source(bind)))
                .map_err(|error| error.at(step.origin.to_string(), None))?
                .is_dir(),
        };
        let there =
            if directory { root.directory(&mount.target) } else { root.file(&mount.target) };
        there
            .what(|| format!("making the mount point /{}", mount.target.to_string_lossy()))
            .map_err(|error| error.at(step.origin.to_string(), None))?;
    }
    Ok(())
}

/// Names those of the standard descriptors, which were `descriptors` at the container's start, that
/// one of these processes has from the host: files, such as the host's /dev/null, and terminals.
/// Pipes have their own names. Gives back the names of all.
pub(crate) fn save_descriptors(
    descriptors: &[String],
    pids: impl Iterator<Item = u32>,
    options: &mut Options,
) -> Vec<String> {
    let mut names = descriptors.to_vec();
    for pid in pids {
        // A process that ends meanwhile has none.
        let mounts = std::fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap_or_default();
        for number in 0..3 {
            let link = format!("/proc/{pid}/fd/{number}");
            let Ok(path) = std::fs::read_link(&link) else { continue };
            let places =
                || (0..).zip(descriptors).filter(|(_, name)| path.as_os_str() == name.as_str());
            if places().next().is_none() || !path.is_absolute() {
                continue;
            }
            let Some(name) = outside_file(pid, number, &mounts) else { continue };
            for (index, _) in places() {
                names[index].clone_from(&name);
            }
            if !options.external.contains(&name) {
                options.external.push(name);
            }
        }
    }
    names
}

/// CRIU's name for a descriptor of a process, if it is of a mount that is none of these, those of
/// the container.
fn outside_file(pid: u32, number: u32, mounts: &str) -> Option<String> {
    let info = std::fs::read_to_string(format!("/proc/{pid}/fdinfo/{number}")).ok()?;
    let mount = info.lines().find_map(|line| line.strip_prefix("mnt_id:"))?.trim();
    if mounts.lines().any(|line| line.split(' ').next() == Some(mount)) {
        return None;
    }
    let found = std::fs::metadata(format!("/proc/{pid}/fd/{number}")).ok()?;
    if TERMINALS.contains(&rustix::fs::major(found.rdev())) && found.file_type().is_char_device() {
        return Some(format!("tty[{:x}:{:x}]", found.rdev(), found.dev()));
    }
    Some(format!("file[{:x}:{:x}]", mount.parse::<u32>().ok()?, found.ino()))
}

/// Has these files stand for the standard descriptors of the images.
pub(crate) fn restore_descriptors(
    descriptors: &[String],
    files: &[OwnedFd],
    options: &mut Options,
) {
    for (name, file) in descriptors.iter().zip(files) {
        let known = options.inherit_fd.iter().any(|inherited| inherited.key == *name);
        if !known && ["pipe:[", "file[", "tty["].iter().any(|kind| name.starts_with(kind)) {
            options.inherit_fd.push(InheritFd { key: name.clone(), fd: file.as_raw_fd() });
        }
    }
}

/// What the standard descriptors of this process are, as they will be those of a container.
pub(crate) fn standard_descriptors() -> Vec<String> {
    let name = |number| std::fs::read_link(format!("/proc/self/fd/{number}"));
    (0..3).map_while(|number| Some(name(number).ok()?.to_string_lossy().into_owned())).collect()
}
