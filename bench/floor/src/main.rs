//! `floor ROOTFS [HIERARCHY CGROUP]… -- PROGRAM [ARGUMENT…]`: a container of the benchmark's
//! configuration (`config.json` beside `xtask/src/bench`) at the price the kernel asks for it.
//!
//! Only the system calls which that configuration cannot do without are made, one after the
//! other, each path and number known beforehand: nothing is parsed, looked for, checked, locked,
//! stored or cleaned up after a failure, which ends the program with the error's number. What a
//! runtime takes longer is its own.
//!
//! A HIERARCHY is `unified` or the name of a v1 hierarchy under /sys/fs/cgroup, and CGROUP the
//! directory to make in it for the container.
#![no_std]
#![no_main]

mod cgroup;
mod init;

use bare::{Arguments, general as kernel};
use core::ffi::CStr;

bare::program!(main);

/// A hierarchy's name and the cgroup to make in it.
type Hierarchy = (&'static CStr, &'static CStr);

fn main(arguments: Arguments) -> u8 {
    let Some(root) = arguments.get(1) else { return 2 };
    let mut hierarchies: [Hierarchy; 16] = [(c"", c""); 16];
    let mut count = 0;
    let program = loop {
        let index = 2 + 2 * count;
        let (Some(name), Some(next)) = (arguments.get(index), arguments.get(index + 1)) else {
            return 2;
        };
        if name == c"--" {
            break index + 1;
        }
        hierarchies[count] = (name, next);
        count += 1;
    };
    let hierarchies = &hierarchies[..count];

    let unified = cgroup::make(hierarchies);
    let namespaces = kernel::CLONE_NEWPID
        | kernel::CLONE_NEWNET
        | kernel::CLONE_NEWIPC
        | kernel::CLONE_NEWUTS
        | kernel::CLONE_NEWNS;
    let process = check(bare::clone3(namespaces, unified));
    if process == 0 {
        cgroup::join(hierarchies);
        init::run(root, hierarchies);
        let path = arguments.get(program).unwrap_or(c"");
        check(bare::execve(path, arguments.from(program), arguments.environment()));
    }
    let (status, _) = bare::wait4(process);
    cgroup::remove(hierarchies);
    let signal = status & 0x7f;
    let code = if signal == 0 { status >> 8 & 0xff } else { 128 + signal };
    u8::try_from(code).unwrap_or(1)
}

/// A call's result, if it is one; an error ends the program.
fn check(result: isize) -> i32 {
    match i32::try_from(result) {
        Ok(value) if value >= 0 => value,
        _ => bare::exit(u8::try_from(-result).unwrap_or(255)),
    }
}

/// Opens a file for its reading, writing or place, never to be seen by the program.
fn open(directory: i32, path: &CStr, flags: u32) -> i32 {
    check(bare::openat(directory, path, flags | kernel::O_CLOEXEC))
}
