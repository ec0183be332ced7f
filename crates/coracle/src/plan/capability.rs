//! Capability sets as the kernel has them: bit n is capability n (capabilities(7)).

use super::step::Capabilities;
use crate::config::{self, capability_names, capability_number};

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

/// The five sets, less what cannot be granted. The bounding set only limits: what is not there is
/// not there.
pub(super) fn sets(sets: &config::Capabilities, grantable: u64) -> Capabilities {
    Capabilities {
        bounding: mask(&sets.bounding),
        effective: mask(&sets.effective) & grantable,
        inheritable: mask(&sets.inheritable) & grantable,
        permitted: mask(&sets.permitted) & grantable,
        ambient: mask(&sets.ambient) & grantable,
    }
}

/// Sentences about what is asked for and cannot be granted, one for each capability. No error: the
/// runtime itself may be in a container (config.md, "Linux Process").
pub(super) fn withheld(sets: &config::Capabilities, grantable: u64) -> Vec<String> {
    let mut told = 0;
    let mut warnings = Vec::new();
    for (set, names) in sets.sets() {
        for (index, name) in names.iter().enumerate() {
            let Some(bit) = capability_number(name).map(|number| 1 << number) else { continue };
            if (grantable | told) & bit == 0 {
                told |= bit;
                warnings.push(format!(
                    "{name} cannot be granted: the runtime does not have it itself \
                     [config.json: /process/capabilities/{set}/{index}]"
                ));
            }
        }
    }
    warnings
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
