//! Capability sets as the kernel has them: bit n is capability n (capabilities(7)).

use crate::config::{capability_names, capability_number};

/// The names of the capabilities in a mask, in the kernel's order; unknown bits are left out.
pub fn names(mask: u64) -> impl Iterator<Item = &'static str> {
    let all = capability_names().iter().enumerate();
    all.filter(move |(bit, _)| mask & (1 << bit) != 0).map(|(_, name)| *name)
}

/// The mask of a list of names. Names that the kernel does not have are left out; the checks warn
/// of them, as runc does.
pub fn mask(names: &[String]) -> u64 {
    names.iter().filter_map(|name| capability_number(name)).fold(0, |mask, bit| mask | 1 << bit)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_default_set_has_the_kernels_numbers() {
        let names = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"].map(String::from);
        assert_eq!(super::mask(&names), 0x2000_0420);
        assert_eq!(
            super::names(0x2000_0420).collect::<Vec<_>>(),
            ["CAP_KILL", "CAP_NET_BIND_SERVICE", "CAP_AUDIT_WRITE"]
        );
    }
}
