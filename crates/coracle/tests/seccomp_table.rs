//! The numbers of system calls are those of the kernel's headers.
//!
//! Writing the table anew, from unpacked `linux-libc-dev` packages (the newest first; an older one
//! gives what the kernel has dropped since, such as 31-bit s390):
//!
//! ```text
//! CORACLE_UAPI=NEW/usr/lib/linux/uapi:OLD/usr/lib/linux/uapi \
//!     cargo test -p coracle --test seccomp_table -- --ignored
//! ```
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use coracle::config::SeccompArch;
use coracle::seccomp::number;

/// A column of the table: its architecture, the header's directory and file.
const COLUMNS: [(SeccompArch, &str, &str); 18] = [
    (SeccompArch::X86, "x86", "unistd_32.h"),
    (SeccompArch::X86_64, "x86", "unistd_64.h"),
    (SeccompArch::X32, "x86", "unistd_x32.h"),
    (SeccompArch::Arm, "arm", "unistd-eabi.h"),
    (SeccompArch::Aarch64, "arm64", "unistd_64.h"),
    (SeccompArch::Loongarch64, "loongarch", "unistd_64.h"),
    (SeccompArch::M68k, "m68k", "unistd_32.h"),
    (SeccompArch::Mips, "mips", "unistd_o32.h"),
    (SeccompArch::Mips64, "mips", "unistd_n64.h"),
    (SeccompArch::Mips64N32, "mips", "unistd_n32.h"),
    (SeccompArch::Parisc, "parisc", "unistd_32.h"),
    (SeccompArch::Parisc64, "parisc", "unistd_64.h"),
    (SeccompArch::Ppc, "powerpc", "unistd_32.h"),
    (SeccompArch::Ppc64, "powerpc", "unistd_64.h"),
    (SeccompArch::Riscv64, "riscv", "unistd_64.h"),
    (SeccompArch::S390, "s390", "unistd_32.h"),
    (SeccompArch::S390x, "s390", "unistd_64.h"),
    (SeccompArch::Sh, "sh", "unistd_32.h"),
];

/// What the numbers of an architecture start from.
fn base(arch: SeccompArch) -> u32 {
    match arch {
        SeccompArch::X32 => 0x4000_0000,
        SeccompArch::Mips => 4000,
        SeccompArch::Mips64 => 5000,
        SeccompArch::Mips64N32 => 6000,
        _ => 0,
    }
}

/// The private calls of 32-bit ARM (arch/arm/include/uapi/asm/unistd.h), from 0x0f0000.
const ARM: [(&str, u16); 6] = [
    ("breakpoint", 1),
    ("cacheflush", 2),
    ("usr26", 3),
    ("usr32", 4),
    ("set_tls", 5),
    ("get_tls", 6),
];

/// `#define __NR_name (base + number)`, of a header; the number without the base.
fn defined(header: &str) -> impl Iterator<Item = (&str, u16)> {
    header.lines().filter_map(|line| {
        let (name, value) = line.strip_prefix("#define __NR_")?.split_once(' ')?;
        let number = value.trim_end_matches(')').rsplit([' ', '(']).next()?.parse().ok()?;
        // Holes that MIPS gives names to.
        let hole = name.starts_with("reserved") || name.starts_with("unused");
        (!hole).then_some((name, number))
    })
}

#[test]
fn the_numbers_are_those_of_the_installed_headers() {
    let mut compared = 0;
    for (arch, directory, file) in COLUMNS {
        let paths = [
            PathBuf::from("/usr/lib/linux/uapi").join(directory).join("asm").join(file),
            Path::new("/usr/include/x86_64-linux-gnu/asm").join(file),
        ];
        let native = directory == "x86";
        let paths = if native { &paths[..] } else { &paths[..1] };
        let Some(header) = paths.iter().find_map(|path| std::fs::read_to_string(path).ok()) else {
            continue;
        };
        for (name, expected) in defined(&header) {
            let expected = base(arch) + u32::from(expected);
            assert_eq!(number(arch, name), Some(expected), "{name} of {arch:?}");
            compared += 1;
        }
    }
    if compared == 0 {
        coracle_tests::skipped("needs the kernel's headers (package linux-libc-dev)");
    }
}

#[test]
#[ignore = "writes the table"]
fn write_the_table() {
    let roots = std::env::var("CORACLE_UAPI").expect("CORACLE_UAPI names unpacked headers");
    let mut calls = BTreeMap::<String, [Option<u16>; COLUMNS.len()]>::new();
    for root in roots.split(':') {
        for (column, (_, directory, file)) in COLUMNS.into_iter().enumerate() {
            let path = Path::new(root).join(directory).join("asm").join(file);
            let Ok(header) = std::fs::read_to_string(path) else { continue };
            for (name, number) in defined(&header) {
                calls.entry(name.to_owned()).or_default()[column].get_or_insert(number);
            }
        }
    }
    let column = |arch| COLUMNS.iter().position(|column| column.0 == arch).unwrap();
    for (name, number) in ARM {
        // The second block of slots: see `Abi::second_block`.
        calls.entry(name.to_owned()).or_default()[column(SeccompArch::Arm)] = Some(512 + number);
    }
    for numbers in calls.values_mut() {
        // From here on, a call has the same number everywhere; 31-bit s390 had them all while it
        // was there.
        if let Some(number @ 424..) = numbers[column(SeccompArch::S390x)] {
            numbers[column(SeccompArch::S390)].get_or_insert(number);
        }
    }
    let mut text = String::from(TOP);
    for (arch, ..) in COLUMNS {
        writeln!(text, "/// - `{arch:?}`").unwrap();
    }
    writeln!(text, "#[rustfmt::skip]").unwrap();
    writeln!(text, "pub(super) static CALLS: [Call; {}] = [", calls.len()).unwrap();
    for (name, numbers) in &calls {
        write!(text, "    call(\"{name}\", {}, [", multiplexed(name)).unwrap();
        for (i, number) in numbers.iter().enumerate() {
            let separator = if i == 0 { "" } else { ", " };
            match number {
                Some(number) => write!(text, "{separator}{number}").unwrap(),
                None => write!(text, "{separator}NO").unwrap(),
            }
        }
        writeln!(text, "]),").unwrap();
    }
    writeln!(text, "];").unwrap();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/seccomp/table.rs");
    std::fs::write(path, text).unwrap();
}

const TOP: &str = "\
//! The numbers of the system calls of Linux 7.2 on every architecture, by name.
//!
//! Written by `tests/seccomp_table.rs` from the kernel's headers; not to be edited.

use super::call::{Call, Multiplexed, NO, call};
use Multiplexed::{Ipc, No, Socket};

/// All system calls, sorted by name. The columns:
///
";

/// Which of the calls that carry many others carries this one, on some architectures, and under
/// which number (linux/net.h, `SYS_SOCKET` …; linux/ipc.h, `SEMOP` …).
fn multiplexed(name: &str) -> String {
    const SOCKET: [&str; 20] = [
        "socket",
        "bind",
        "connect",
        "listen",
        "accept",
        "getsockname",
        "getpeername",
        "socketpair",
        "send",
        "recv",
        "sendto",
        "recvfrom",
        "shutdown",
        "setsockopt",
        "getsockopt",
        "sendmsg",
        "recvmsg",
        "accept4",
        "recvmmsg",
        "sendmmsg",
    ];
    const IPC: [(&str, u32); 12] = [
        ("semop", 1),
        ("semget", 2),
        ("semctl", 3),
        ("semtimedop", 4),
        ("msgsnd", 11),
        ("msgrcv", 12),
        ("msgget", 13),
        ("msgctl", 14),
        ("shmat", 21),
        ("shmdt", 22),
        ("shmget", 23),
        ("shmctl", 24),
    ];
    if let Some(i) = SOCKET.iter().position(|of| *of == name) {
        format!("Socket({})", i + 1)
    } else if let Some((_, number)) = IPC.iter().find(|(of, _)| *of == name) {
        format!("Ipc({number})")
    } else {
        String::from("No")
    }
}
