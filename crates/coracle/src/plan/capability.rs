//! Capability names (capabilities(7)) and their numbers.

/// In the kernel's order: the index is the capability's number.
const NAMES: [&str; 41] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

/// The number of a capability, with or without `CAP_`, in any case; `None` if there is none of
/// this name.
pub fn number(name: &str) -> Option<u32> {
    let bare = |s: &str| s.get(..4).is_some_and(|p| p.eq_ignore_ascii_case("CAP_"));
    let rest = if bare(name) { &name[4..] } else { name };
    let found = NAMES.iter().position(|known| known[4..].eq_ignore_ascii_case(rest))?;
    u32::try_from(found).ok()
}

/// The names of the capabilities in a mask, in the kernel's order; unknown bits are left out.
pub fn names(mask: u64) -> impl Iterator<Item = &'static str> {
    NAMES.into_iter().enumerate().filter(move |(bit, _)| mask & (1 << bit) != 0).map(|(_, n)| n)
}

/// The mask of a list of names. Names that this kernel interface does not have are left out; the
/// checks warn of them, as runc does.
pub fn mask(names: &[String]) -> u64 {
    names.iter().filter_map(|name| number(name)).fold(0, |mask, bit| mask | 1 << bit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_set_has_the_kernels_numbers() {
        let names = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"].map(String::from);
        assert_eq!(mask(&names), 0x2000_0420);
        assert_eq!(
            super::names(0x2000_0420).collect::<Vec<_>>(),
            ["CAP_KILL", "CAP_NET_BIND_SERVICE", "CAP_AUDIT_WRITE"]
        );
    }

    #[test]
    fn names_are_found_in_any_spelling_and_no_other() {
        assert_eq!(number("kill"), Some(5));
        assert_eq!(number("cap_Kill"), Some(5));
        assert_eq!(number("CAP_CHECKPOINT_RESTORE"), Some(40));
        assert_eq!(number("CAP_"), None);
        assert_eq!(number("CAP_COFFEE"), None);
    }
}
