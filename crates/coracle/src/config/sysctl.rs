//! The names of kernel parameters (sysctl(8)).

/// Where below /proc/sys the kernel parameter `name` is, such as `net/ipv4/ip_forward`; `None` if
/// the name is not well-formed or leads elsewhere.
///
/// A name is written with dots or with slashes; whichever comes first separates, and the other
/// stands for the separator within a part: `net.ipv4.conf.eno2/100.rp_filter` is
/// `net/ipv4/conf/eno2.100/rp_filter`.
pub fn sysctl_path(name: &str) -> Option<String> {
    let path: String = match name.find(['.', '/']).map(|i| name.as_bytes()[i]) {
        Some(b'/') => name.to_owned(),
        _ => name
            .chars()
            .map(|letter| match letter {
                '.' => '/',
                '/' => '.',
                other => other,
            })
            .collect(),
    };
    let inside =
        path.split('/').all(|part| !matches!(part, "" | "." | "..") && !part.contains('\0'));
    inside.then_some(path)
}

#[cfg(test)]
mod tests {
    use super::sysctl_path;

    #[test]
    fn names_become_paths() {
        let path = |name| sysctl_path(name).unwrap_or_default();
        assert_eq!(path("net.ipv4.ip_forward"), "net/ipv4/ip_forward");
        assert_eq!(path("net/ipv4/ip_forward"), "net/ipv4/ip_forward");
        assert_eq!(path("net.ipv4.conf.eno2/100.rp_filter"), "net/ipv4/conf/eno2.100/rp_filter");
        assert_eq!(path("net/ipv4/conf/eno2.100/rp_filter"), "net/ipv4/conf/eno2.100/rp_filter");
    }

    #[test]
    fn no_name_leads_elsewhere() {
        for bad in [
            "",
            ".",
            "..",
            "/",
            "/kernel/core_pattern",
            "net..kernel",
            "net.",
            ".net",
            "net/../kernel/core_pattern",
            "net.//.kernel.core_pattern",
            "net/ipv4/",
            "net/./x",
            "net/x\0",
        ] {
            assert_eq!(sysctl_path(bad), None, "{bad}");
        }
    }
}
