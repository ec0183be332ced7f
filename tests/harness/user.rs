//! The ordinary user that rootless tests run as.

use std::path::PathBuf;

use crate::skip::Needs;

/// The name of the user that `cargo xtask test` creates when it runs as root.
const NAME: &str = "coracle-test";

/// An ordinary user of this machine.
#[derive(Clone, Debug)]
pub struct User {
    /// Log-in name.
    pub name: String,
    /// User ID.
    pub uid: u32,
    /// Group ID.
    pub gid: u32,
    /// Whether processes must change to it: this process is root.
    pub switch: bool,
}

impl User {
    /// The test user for root, and whoever runs the tests for anyone else.
    pub fn ordinary() -> Needs<Self> {
        let own = rustix::process::geteuid();
        let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
        let users = passwd.lines().filter_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?.to_owned();
            let uid = fields.nth(1)?.parse().ok()?;
            let gid = fields.next()?.parse().ok()?;
            Some(Self { name, uid, gid, switch: own.is_root() })
        });
        let wanted = |user: &Self| {
            if own.is_root() { user.name == NAME } else { user.uid == own.as_raw() }
        };
        users.into_iter().find(wanted).ok_or_else(|| format!("needs the user {NAME}"))
    }

    /// The first range of subordinate IDs in `file`, `/etc/subuid` or `/etc/subgid`: where it
    /// starts and how long it is (subuid(5)).
    pub fn subordinate_ids(&self, file: &str) -> Needs<(u32, u32)> {
        let text = std::fs::read_to_string(PathBuf::from("/etc").join(file)).unwrap_or_default();
        text.lines()
            .find_map(|line| {
                let mut fields = line.split(':');
                let owner = fields.next()?;
                let start = fields.next()?.parse().ok()?;
                let count = fields.next()?.parse().ok()?;
                (owner == self.name || owner == self.uid.to_string()).then_some((start, count))
            })
            .ok_or_else(|| format!("needs a range for {} in /etc/{file}", self.name))
    }
}
