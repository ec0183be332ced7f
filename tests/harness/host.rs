//! What the machine has: each question names what a test needs. `cargo xtask vm` has all of it.

use std::fs;
use std::path::Path;

use crate::skip::Needs;
use crate::user::User;

/// cgroup v2 alone, with these controllers at its root.
pub fn cgroup2_with(controllers: &[&str]) -> Needs<()> {
    let text = fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").unwrap_or_default();
    let there: Vec<&str> = text.split_whitespace().collect();
    match controllers.iter().find(|name| !there.contains(name)) {
        Some(missing) => Err(format!("needs cgroup v2 with the {missing} controller (the guest)")),
        None => Ok(()),
    }
}

/// AppArmor enabled, and its parser.
pub fn apparmor() -> Needs<()> {
    let enabled = fs::read("/sys/module/apparmor/parameters/enabled").unwrap_or_default();
    if enabled.starts_with(b"Y") && Path::new("/sbin/apparmor_parser").exists() {
        Ok(())
    } else {
        Err("needs AppArmor and apparmor_parser (the guest)".into())
    }
}

/// SELinux with a policy loaded.
pub fn selinux() -> Needs<()> {
    // Without a policy there is one context, and it is no name of anything.
    let own = fs::read_to_string("/proc/self/attr/current").unwrap_or_default();
    if Path::new("/sys/fs/selinux/policy").exists() && own.contains(':') {
        Ok(())
    } else {
        Err("needs SELinux and a policy (the guest)".into())
    }
}

/// A system that systemd runs (`sd_booted(3)`).
pub fn systemd() -> Needs<()> {
    if Path::new("/run/systemd/system").is_dir() {
        Ok(())
    } else {
        Err("needs systemd as the first process (the guest)".into())
    }
}

/// The right to raise hard limits (`CAP_SYS_RESOURCE`).
pub fn may_raise_limits() -> Needs<()> {
    const CAP_SYS_RESOURCE: u32 = 24;
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:\t"));
    let set = line.and_then(|set| u64::from_str_radix(set, 16).ok()).unwrap_or_default();
    if set >> CAP_SYS_RESOURCE & 1 == 1 {
        Ok(())
    } else {
        Err("needs CAP_SYS_RESOURCE (the guest)".into())
    }
}

/// A running session of the user: its runtime directory.
pub fn session(user: &User) -> Needs<String> {
    let directory = format!("/run/user/{}", user.uid);
    if user.switch && Path::new(&directory).join("bus").exists() {
        Ok(directory)
    } else {
        Err(format!("needs root, and a session of {} (the guest)", user.name))
    }
}
