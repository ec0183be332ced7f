//! What a hostile container runs where a shell cannot do it or is too slow: the executable of the
//! tests itself, which needs nothing of the root file system as it is static. Each attack is a test
//! that only runs where it is asked for by name.

// Attacks need system calls that no honest library offers.
#![allow(unsafe_code, clippy::print_stdout, clippy::zombie_processes)]

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use coracle_tests::{Bundle, copy_program};

/// Where it is in the container.
const PLACE: &str = "/attacker";

/// Puts it into a bundle's root file system.
pub(crate) fn bring(bundle: &Bundle) {
    let own = std::env::current_exe().unwrap();
    copy_program(&own, &bundle.rootfs().join(PLACE.trim_start_matches('/')));
}

/// The arguments that run an attack.
pub(crate) fn arguments(name: &str) -> [String; 6] {
    let name = format!("attacker::{name}");
    [PLACE, "--ignored", "--exact", "--nocapture", "--test-threads=1", &name].map(str::to_owned)
}

/// Looks at every new process from its first moment on, until the container is killed: prints the
/// capabilities that it was seen with, and all that can be had of it as long as it is not yet the
/// container's own program.
#[test]
#[ignore = "runs in a container"]
fn watch() {
    println!("watching");
    let own = fs::read_link("/proc/1/exe").unwrap();
    let program = Path::new("/bin/busybox");
    // A thread has a number too, and this one's is the greatest so far.
    let thread = fs::read_link("/proc/thread-self").unwrap();
    let mut last: u32 = thread.file_name().unwrap().to_str().unwrap().parse().unwrap();
    loop {
        // Process numbers are given out in order.
        for pid in last + 1..last + 40 {
            let Ok(status) = fs::read_to_string(format!("/proc/{pid}/status")) else { continue };
            let mut seen = String::new();
            let mut at = Some(status);
            while let Some(status) = at {
                let permitted = status.lines().find(|line| line.starts_with("CapPrm"));
                let permitted = permitted.unwrap_or_default().to_owned();
                if permitted != seen {
                    println!("capabilities {}", permitted.rsplit('\t').next().unwrap());
                    seen = permitted;
                }
                if let Ok(exe) = fs::read_link(format!("/proc/{pid}/exe"))
                    && exe != program
                    && exe != own
                {
                    loot(pid);
                }
                at = fs::read_to_string(format!("/proc/{pid}/status")).ok();
            }
            last = pid;
        }
    }
}

/// Prints what can be had of a process.
fn loot(pid: u32) {
    if fs::File::open(format!("/proc/{pid}/mem")).is_ok() {
        println!("memory of {pid}");
    }
    for link in ["cwd", "root"] {
        if let Ok(target) = fs::read_link(format!("/proc/{pid}/{link}")) {
            println!("{link} {}", target.display());
        }
    }
    for file in fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten() {
        if let Ok(target) = fs::read_link(file.path()) {
            println!("descriptor {}", target.display());
        }
    }
}

/// Types into the terminal on standard input as if somebody sat there (ioctl_tty(2), TIOCSTI),
/// after an attempt to make it its own (TIOCSCTTY).
#[test]
#[ignore = "runs in a container"]
fn type_into_the_terminal() {
    let told = |name, answer| {
        let outcome =
            if answer == 0 { "done".into() } else { io::Error::last_os_error().to_string() };
        println!("{name}: {outcome}");
    };
    // SAFETY: requests with an integer, and with a pointer to one readable byte.
    unsafe {
        told("TIOCSCTTY", libc::ioctl(0, libc::TIOCSCTTY, 0));
        told("TIOCSCTTY by force", libc::ioctl(0, libc::TIOCSCTTY, 1));
        for byte in b"touch /tmp/typed\n" {
            told("TIOCSTI", libc::ioctl(0, libc::TIOCSTI, std::ptr::from_ref(byte)));
        }
    }
}

/// Makes the mount that descriptor 5 is on writable (mount_setattr(2)), in a user namespace of its
/// own where it has all capabilities, and then writes to the file.
#[test]
#[ignore = "runs in a container"]
fn write_descriptor_5() {
    let clear: [u64; 4] = [0, 1, 0, 0];
    // SAFETY: a static path, and a struct of the size given.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            5,
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            clear.as_ptr(),
            size_of_val(&clear),
        )
    };
    if answer == 0 {
        println!("made writable");
    }
    let file = fs::File::options().append(true).open("/proc/self/fd/5");
    match file.and_then(|mut file| file.write_all(b"spoilt")) {
        Ok(()) => println!("written"),
        Err(error) => println!("refused: {error}"),
    }
}
