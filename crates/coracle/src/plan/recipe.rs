//! By which calls the first process comes into its namespaces.
//!
//! The kernel gives a few ways, and each combination of new and joined namespaces allows one:
//!
//! | what is asked for | who does what |
//! |---|---|
//! | all new | one clone3(2) |
//! | some joined | a stage joins them with setns(2), then clones |
//! | joined ones that the host owns, with a new user namespace | the stage joins before the clone: the capability over them is gone once the user namespace is entered |
//! | a joined user namespace, with new ones | the stage joins it before the clone, so that it owns what is new: for what the host owns, proc could not be mounted |
//! | a new time namespace | the stage makes it and sets its clocks, which only a process outside it may (time_namespaces(7)); with a new user namespace, in that |
//!
//! The stage clones with `CLONE_PARENT`, so that the first process is the runtime's child, and
//! ends.

use super::namespaces::flag;

/// The calls of one start, in the order of its fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recipe {
    /// What the stage joins, in order: indices of the list that [`recipe`] was given.
    pub join: Vec<usize>,
    /// `CLONE_NEW*` that the stage makes for itself (unshare(2)).
    pub unshare: u64,
    /// `CLONE_NEW*` of the clone. A cgroup namespace is not among them: it shows the cgroup that
    /// its maker is in as its root, so the first process makes it, once it is there.
    pub clone: u64,
}

impl Recipe {
    /// Whether a short-lived process stands between the runtime and the first process.
    pub fn staged(&self) -> bool {
        !self.join.is_empty() || self.unshare != 0
    }
}

/// Picks the calls for the namespaces `new` to make (`CLONE_NEW*`) and those to join, one flag for
/// each. `privileged`: the runtime has `CAP_SYS_ADMIN` in its own user namespace.
///
/// ```
/// use coracle::plan::recipe;
/// let (user, net) = (0x1000_0000, 0x4000_0000);
/// // The host's root may join both, but only in this order.
/// assert_eq!(recipe(0, &[user, net], true).join, [1, 0]);
/// // An ordinary user has no rights before the user namespace is joined.
/// assert_eq!(recipe(0, &[user, net], false).join, [0, 1]);
/// ```
pub fn recipe(new: u64, join: &[u64], privileged: bool) -> Recipe {
    const USER: u64 = flag(libc::CLONE_NEWUSER);
    const TIME: u64 = flag(libc::CLONE_NEWTIME);
    const CGROUP: u64 = flag(libc::CLONE_NEWCGROUP);
    let mut order: Vec<usize> = (0..join.len()).collect();
    order.sort_by_key(|index| (join[*index] == USER) == privileged);
    let unshare = if new & TIME == 0 { 0 } else { new & (TIME | USER) };
    Recipe { join: order, unshare, clone: new & !unshare & !CGROUP }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::namespaces::KINDS;

    /// Flags by the names of config.json.
    fn flags(names: &str) -> Vec<u64> {
        let flag = |name| KINDS.iter().find(|(.., known)| *known == name).map(|(_, flag, _)| *flag);
        names.split_whitespace().filter_map(flag).collect()
    }

    fn set(names: &str) -> u64 {
        flags(names).into_iter().fold(0, |all, flag| all | flag)
    }

    /// The names of flags, in the order that KINDS has.
    fn names(flags: u64) -> String {
        let held = KINDS.iter().filter(|(_, flag, _)| flags & flag != 0);
        held.map(|(.., name)| *name).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn each_combination_has_its_recipe() {
        // new, joined, privileged; joined in order, unshared, cloned
        #[rustfmt::skip]
        let table = [
            // direct
            ("mount", "", true, "", "", "mount"),
            ("pid network ipc uts mount", "", true, "", "", "pid network ipc uts mount"),
            ("pid mount cgroup", "", true, "", "", "pid mount"),
            ("pid network mount user cgroup", "", false, "", "", "pid network mount user"),
            // joined
            ("pid mount", "network ipc uts", true, "network ipc uts", "", "pid mount"),
            ("", "pid network mount cgroup", true, "pid network mount cgroup", "", ""),
            // what the host owns, with a new user namespace
            ("pid mount user", "network ipc", true, "network ipc", "", "pid mount user"),
            // a joined user namespace: last for whom the others are open before
            ("pid mount", "user network", true, "network user", "", "pid mount"),
            ("pid mount", "network user ipc uts", true, "network ipc uts user", "", "pid mount"),
            ("pid mount cgroup", "user", true, "user", "", "pid mount"),
            // and first for whom they are not
            ("pid mount", "network ipc user uts", false, "user network ipc uts", "", "pid mount"),
            ("mount", "pid user", false, "user pid", "", "mount"),
            // time
            ("mount time", "", true, "", "time", "mount"),
            ("pid mount user time", "", false, "", "user time", "pid mount"),
            ("mount user time", "network", true, "network", "user time", "mount"),
            ("mount time", "user", true, "user", "time", "mount"),
            ("mount", "time user", true, "time user", "", "mount"),
        ];
        for (new, join, privileged, joined, unshare, clone) in table {
            let kinds = flags(join);
            let told = recipe(set(new), &kinds, privileged);
            let order: Vec<String> = told.join.iter().map(|index| names(kinds[*index])).collect();
            let staged = told.staged();
            let told = (order.join(" "), names(told.unshare), names(told.clone), staged);
            let staged = !joined.is_empty() || !unshare.is_empty();
            let wanted = (joined.to_owned(), unshare.to_owned(), clone.to_owned(), staged);
            assert_eq!(told, wanted, "new: {new}; joined: {join}; privileged: {privileged}");
        }
    }
}
