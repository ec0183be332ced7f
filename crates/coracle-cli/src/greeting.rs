//! The program of the walk-through's container: says hello, and what it sees from inside.
//!
//! It is this same binary, called `hello`, so that the bundle needs no download and no compiler.

use std::fmt::Write;
use std::fs;

/// Prints the greeting; the exit code.
pub(crate) fn greet() -> u8 {
    let mut text = String::from("Hello from inside a container!\n\n");
    let mut row = |name: &str, value: &str| {
        let _ = writeln!(text, "  {name:<15}{value}");
    };
    row("pid", &std::process::id().to_string());
    row("hostname", fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim());
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let field = |key: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(key));
        line.and_then(|rest| rest.strip_prefix(':')).unwrap_or_default().trim().to_owned()
    };
    let first = |ids: String| ids.split_ascii_whitespace().next().unwrap_or_default().to_owned();
    row("user", &format!("uid {}, gid {}", first(field("Uid")), first(field("Gid"))));
    for (key, name) in [
        ("CapBnd", "bounding"),
        ("CapEff", "effective"),
        ("CapInh", "inheritable"),
        ("CapPrm", "permitted"),
        ("CapAmb", "ambient"),
    ] {
        let mask = u64::from_str_radix(&field(key), 16).unwrap_or(0);
        let names: Vec<_> = coracle::plan::capability::names(mask).collect();
        row(name, &names.join(" "));
    }
    row("new privileges", if field("NoNewPrivs") == "1" { "forbidden" } else { "possible" });
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    row("mounts", &places(&mounts).join(" "));
    row(
        "root",
        match fs::write("/.coracle", "") {
            Ok(()) => {
                let _ = fs::remove_file("/.coracle");
                "writable"
            }
            Err(error) if error.kind() == std::io::ErrorKind::ReadOnlyFilesystem => "read-only",
            Err(_) => "not writable",
        },
    );
    crate::log::say(&text, true);
    0
}

/// Where something is mounted, without what only covers a path.
fn places(mountinfo: &str) -> Vec<String> {
    mountinfo
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .filter(|place| {
            !["/proc/", "/sys/firmware", "/sys/fs/cgroup/"]
                .iter()
                .any(|covered| place.starts_with(covered))
        })
        .map(str::to_owned)
        .collect()
}
