//! The container's first process, from its birth in the new namespaces to just before `execve`.

use core::ffi::CStr;

use bare::general::{
    AT_EMPTY_PATH, AT_FDCWD, AT_RECURSIVE, CAP_AUDIT_WRITE, CAP_KILL, CAP_LAST_CAP,
    CAP_NET_BIND_SERVICE, FSMOUNT_CLOEXEC, FSOPEN_CLOEXEC, MNT_DETACH, MOUNT_ATTR_NODEV,
    MOUNT_ATTR_NOEXEC, MOUNT_ATTR_NOSUID, MOUNT_ATTR_RDONLY, MOUNT_ATTR_STRICTATIME,
    MOVE_MOUNT_F_EMPTY_PATH, MS_BIND, MS_REC, MS_SLAVE, O_DIRECTORY, O_PATH, OPEN_TREE_CLOEXEC,
    OPEN_TREE_CLONE, RLIMIT_NOFILE, S_IFCHR, fsconfig_command,
};
use bare::option::{PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS};

use crate::{Hierarchy, check, open};

const PLAIN: u32 = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC;
const NO_DEVICES: u32 = PLAIN | MOUNT_ATTR_NODEV;
const CAPABILITIES: [u32; 3] = [CAP_AUDIT_WRITE, CAP_KILL, CAP_NET_BIND_SERVICE];

/// Makes of the calling process what the configuration says.
pub(crate) fn run(root: &CStr, hierarchies: &[Hierarchy]) {
    check(bare::umask(0));
    check(bare::mount(None, c"/", None, MS_SLAVE | MS_REC, None));
    check(bare::mount(Some(root), root, None, MS_BIND | MS_REC, None));
    let root = open(AT_FDCWD, root, O_PATH | O_DIRECTORY);

    attach(new(c"proc", c"proc", &[], 0), root, c"proc");
    dev(root);
    attach(new(c"sysfs", c"sysfs", &[], NO_DEVICES | MOUNT_ATTR_RDONLY), root, c"sys");
    cgroups(root, hierarchies);

    check(bare::fchdir(root));
    check(bare::pivot_root(c".", c"."));
    check(bare::umount2(c".", MNT_DETACH));
    check(bare::chdir(c"/"));
    check(bare::mount_setattr(AT_FDCWD, c"/", 0, MOUNT_ATTR_RDONLY));
    read_only_paths();
    masked_paths();

    check(bare::sethostname(b"bench"));
    check(bare::setrlimit(RLIMIT_NOFILE, 1024));
    check(bare::umask(0o022));
    privileges();
}

/// A new file system, mounted nowhere yet.
fn new(kind: &CStr, source: &CStr, options: &[(&CStr, Option<&CStr>)], attributes: u32) -> i32 {
    use fsconfig_command::{FSCONFIG_CMD_CREATE, FSCONFIG_SET_FLAG, FSCONFIG_SET_STRING};

    let context = check(bare::fsopen(kind, FSOPEN_CLOEXEC));
    let string = FSCONFIG_SET_STRING as u32;
    check(bare::fsconfig(context, string, Some(c"source"), Some(source), 0));
    for &(key, value) in options {
        let command = if value.is_some() { string } else { FSCONFIG_SET_FLAG as u32 };
        check(bare::fsconfig(context, command, Some(key), value, 0));
    }
    check(bare::fsconfig(context, FSCONFIG_CMD_CREATE as u32, None, None, 0));
    check(bare::fsmount(context, FSMOUNT_CLOEXEC, attributes))
}

fn attach(mount: i32, directory: i32, path: &CStr) {
    check(bare::move_mount(mount, c"", directory, path, MOVE_MOUNT_F_EMPTY_PATH));
}

/// A copy of a mount, mounted nowhere yet.
fn copy(path: &CStr) -> i32 {
    check(bare::open_tree(AT_FDCWD, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC))
}

/// /dev and what is in it.
fn dev(root: i32) {
    let dev = new(
        c"tmpfs",
        c"tmpfs",
        &[(c"mode", Some(c"755")), (c"size", Some(c"65536k"))],
        MOUNT_ATTR_NOSUID | MOUNT_ATTR_STRICTATIME,
    );
    attach(dev, root, c"dev");
    for directory in [c"pts", c"shm", c"mqueue"] {
        check(bare::mkdirat(dev, directory, 0o755));
    }
    let pts = [
        (c"newinstance", None),
        (c"ptmxmode", Some(c"0666")),
        (c"mode", Some(c"0620")),
        (c"gid", Some(c"5")),
    ];
    attach(new(c"devpts", c"devpts", &pts, PLAIN), dev, c"pts");
    let shm = [(c"mode", Some(c"1777")), (c"size", Some(c"65536k"))];
    attach(new(c"tmpfs", c"shm", &shm, NO_DEVICES), dev, c"shm");
    attach(new(c"mqueue", c"mqueue", &[], NO_DEVICES), dev, c"mqueue");

    for (node, major, minor) in [
        (c"null", 1, 3),
        (c"zero", 1, 5),
        (c"full", 1, 7),
        (c"random", 1, 8),
        (c"urandom", 1, 9),
        (c"tty", 5, 0),
    ] {
        check(bare::mknodat(dev, node, S_IFCHR | 0o666, major << 8 | minor));
    }
    for (link, target) in [
        (c"fd", c"/proc/self/fd"),
        (c"stdin", c"/proc/self/fd/0"),
        (c"stdout", c"/proc/self/fd/1"),
        (c"stderr", c"/proc/self/fd/2"),
        (c"core", c"/proc/kcore"),
        (c"ptmx", c"pts/ptmx"),
    ] {
        check(bare::symlinkat(target, dev, link));
    }
}

/// /sys/fs/cgroup: the unified hierarchy where it is alone, the container's part of each v1
/// hierarchy otherwise.
///
/// The machine's mounts are copied: from Linux 6.18 on, a new mount of cgroup2 outside a cgroup
/// namespace takes the lock of all cgroup moves and with it an RCU grace period, some 10 ms.
fn cgroups(root: i32, hierarchies: &[Hierarchy]) {
    const PATH: &CStr = c"sys/fs/cgroup";
    if let [(name, _)] = hierarchies
        && *name == c"unified"
    {
        attach(read_only_copy(c"/sys/fs/cgroup"), root, PATH);
        return;
    }
    let directory = new(c"tmpfs", c"tmpfs", &[(c"mode", Some(c"755"))], NO_DEVICES);
    attach(directory, root, PATH);
    for &(name, path) in hierarchies {
        if name != c"unified" {
            check(bare::mkdirat(directory, name, 0o755));
            attach(read_only_copy(path), directory, name);
        }
    }
    check(bare::mount_setattr(directory, c"", AT_EMPTY_PATH, MOUNT_ATTR_RDONLY));
}

/// A copy of a mount that is fit for showing what is the machine's.
fn read_only_copy(path: &CStr) -> i32 {
    let mount = copy(path);
    check(bare::mount_setattr(mount, c"", AT_EMPTY_PATH, NO_DEVICES | MOUNT_ATTR_RDONLY));
    mount
}

fn read_only_paths() {
    for path in [c"/proc/bus", c"/proc/fs", c"/proc/irq", c"/proc/sys", c"/proc/sysrq-trigger"] {
        // A kernel need not have all of them.
        if bare::mount(Some(path), path, None, MS_BIND | MS_REC, None) == 0 {
            check(bare::mount_setattr(AT_FDCWD, path, AT_RECURSIVE, MOUNT_ATTR_RDONLY));
        }
    }
}

/// Files disappear under /dev/null, directories under one empty file system.
fn masked_paths() {
    let mut empty: Option<&CStr> = None;
    for path in [
        c"/proc/acpi",
        c"/proc/asound",
        c"/proc/kcore",
        c"/proc/keys",
        c"/proc/latency_stats",
        c"/proc/timer_list",
        c"/proc/timer_stats",
        c"/proc/sched_debug",
        c"/sys/firmware",
        c"/proc/scsi",
    ] {
        const NOT_A_DIRECTORY: isize = -20;
        if bare::mount(Some(c"/dev/null"), path, None, MS_BIND, None) != NOT_A_DIRECTORY {
            continue;
        }
        let mount = match empty {
            Some(first) => copy(first),
            None => new(c"tmpfs", c"tmpfs", &[], MOUNT_ATTR_RDONLY),
        };
        attach(mount, AT_FDCWD, path);
        empty = Some(path);
    }
}

/// The last steps, after which the process may do no more than the program.
fn privileges() {
    for capability in (0..=CAP_LAST_CAP).filter(|number| !CAPABILITIES.contains(number)) {
        check(bare::prctl(PR_CAPBSET_DROP, capability, 0, 0, 0));
    }
    check(bare::leave_groups());
    check(bare::setresgid(0, 0, 0));
    check(bare::setresuid(0, 0, 0));
    check(bare::capset(CAPABILITIES.iter().fold(0, |set, number| set | 1 << number)));
    for capability in CAPABILITIES {
        check(bare::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability, 0, 0));
    }
    check(bare::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
}
