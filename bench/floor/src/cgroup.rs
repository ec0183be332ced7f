//! The container's cgroups: one where there is only v2, one in every hierarchy otherwise.

use core::ffi::CStr;

use bare::general::{AT_FDCWD, AT_REMOVEDIR, O_DIRECTORY, O_PATH, O_WRONLY};

use crate::{Hierarchy, check, open};

/// The devices every container may use, as v1 writes them: mknod of all, use of our own.
const ALLOWED: [&[u8]; 11] = [
    b"c *:* m",
    b"b *:* m",
    b"c 1:3 rwm",
    b"c 1:5 rwm",
    b"c 1:7 rwm",
    b"c 1:8 rwm",
    b"c 1:9 rwm",
    b"c 5:0 rwm",
    b"c 5:1 rwm",
    b"c 5:2 rwm",
    b"c 136:* rwm",
];

/// The same as a program for v2. The context's fields are the access shifted over the type, the
/// major and the minor number (`struct bpf_cgroup_dev_ctx`); the result is whether to allow.
const ALLOWED_PROGRAM: [u64; 20] = [
    load(2, 0),
    load(3, 4),
    load(4, 8),
    when(EQUAL, 2, (MKNOD << 16) | BLOCK, 14),
    when(EQUAL, 2, (MKNOD << 16) | CHARACTER, 13),
    and(2, 0xffff),
    when(NOT_EQUAL, 2, CHARACTER, 9),
    when(EQUAL, 3, 136, 10),
    when(NOT_EQUAL, 3, 5, 1),
    when(NOT_GREATER, 4, 2, 8),
    when(NOT_EQUAL, 3, 1, 5),
    when(EQUAL, 4, 3, 6),
    when(EQUAL, 4, 5, 5),
    when(EQUAL, 4, 7, 4),
    when(EQUAL, 4, 8, 3),
    when(EQUAL, 4, 9, 2),
    set(0, 0),
    EXIT,
    set(0, 1),
    EXIT,
];
const MKNOD: u32 = 1;
const BLOCK: u32 = 1;
const CHARACTER: u32 = 2;

/// `BPF_JMP32 | BPF_K` with `BPF_JEQ`, `BPF_JNE`, `BPF_JLE` (`<linux/bpf.h>`).
const EQUAL: u8 = 0x16;
const NOT_EQUAL: u8 = 0x56;
const NOT_GREATER: u8 = 0xb6;
const EXIT: u64 = instruction(0x95, 0, 0, 0, 0);

const fn instruction(code: u8, to: u8, from: u8, offset: u16, value: u32) -> u64 {
    (code as u64)
        | (to as u64) << 8
        | (from as u64) << 12
        | (offset as u64) << 16
        | (value as u64) << 32
}

/// The context's 32 bits at `offset`.
const fn load(to: u8, offset: u16) -> u64 {
    instruction(0x61, to, 1, offset, 0)
}

const fn and(register: u8, value: u32) -> u64 {
    instruction(0x54, register, 0, 0, value)
}

const fn set(register: u8, value: u32) -> u64 {
    instruction(0xb7, register, 0, 0, value)
}

/// Skips `count` instructions when the comparison holds.
const fn when(comparison: u8, register: u8, value: u32, count: u16) -> u64 {
    instruction(comparison, register, 0, count, value)
}

/// Makes the directories and sets what a process needs before it joins; the descriptor of the
/// unified hierarchy's, if that is among them.
pub(crate) fn make(hierarchies: &[Hierarchy]) -> Option<i32> {
    let mut unified = None;
    // Devices are judged in the unified hierarchy only where there is no other.
    let alone = hierarchies.len() == 1;
    for &(name, path) in hierarchies {
        check(bare::mkdirat(AT_FDCWD, path, 0o755));
        if name == c"unified" {
            let cgroup = open(AT_FDCWD, path, O_PATH | O_DIRECTORY);
            if alone {
                let program = check(bare::load_device_program(&ALLOWED_PROGRAM));
                check(bare::attach_device_program(cgroup, program));
            }
            unified = Some(cgroup);
        } else if name == c"devices" {
            let cgroup = open(AT_FDCWD, path, O_PATH | O_DIRECTORY);
            write(cgroup, c"devices.deny", &[b"a"]);
            write(cgroup, c"devices.allow", &ALLOWED);
        } else if name == c"cpuset" {
            // A cpuset takes no process before it has processors and memory.
            let cgroup = open(AT_FDCWD, path, O_PATH | O_DIRECTORY);
            copy(cgroup, c"../cpuset.cpus", c"cpuset.cpus");
            copy(cgroup, c"../cpuset.mems", c"cpuset.mems");
        }
    }
    unified
}

/// Moves the calling process into the v1 cgroups: in the unified one it was born.
pub(crate) fn join(hierarchies: &[Hierarchy]) {
    for &(name, path) in hierarchies {
        if name != c"unified" {
            let cgroup = open(AT_FDCWD, path, O_PATH | O_DIRECTORY);
            write(cgroup, c"cgroup.procs", &[b"0"]);
        }
    }
}

/// Removes the directories.
pub(crate) fn remove(hierarchies: &[Hierarchy]) {
    for &(_, path) in hierarchies {
        check(bare::unlinkat(AT_FDCWD, path, AT_REMOVEDIR));
    }
}

fn write(directory: i32, name: &CStr, lines: &[&[u8]]) {
    let file = open(directory, name, O_WRONLY);
    for line in lines {
        check(bare::write(file, line));
    }
}

fn copy(directory: i32, from: &CStr, to: &CStr) {
    let mut text = [0; 256];
    let length = check(bare::read(open(directory, from, 0), &mut text));
    write(directory, to, &[text.get(..length.unsigned_abs() as usize).unwrap_or_default()]);
}
