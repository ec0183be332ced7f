//! The first instructions of the coracle command: before the C library starts, it makes sure that
//! no container can ever write the binary it was started from.
//!
//! A process that is about to enter a container still is this binary. A container that makes us
//! execute its `/proc/self/exe`, or opens the one of a process it can see, holds the file on the
//! host, and as root it could write it (CVE-2019-5736). So a command that enters containers executes
//! itself again from something that cannot be written:
//!
//! 1. Nothing to do where it already is so, or where the file is root's and we are not: no user
//!    namespace of ours maps the host's root.
//! 2. A detached read-only mount of the file (open_tree(2), mount_setattr(2); Linux 5.12). Its only
//!    descriptor is closed by execve, which dissolves the mount: nobody can clear the flag any more,
//!    and a write is refused with EROFS.
//! 3. A sealed copy in memory (memfd_create(2)) for those who may not make mounts.
//!
//! Done here, this costs one more execve and not a second start of the C library, most of whose
//! time, in a virtual machine, goes into CPUID. If it cannot be done, nothing is run.
//!
//! Nothing is relocated and no C library is set up while this runs: no function of it may be called,
//! so the crate is `no_std`, and `no_builtins` keeps the compiler from calling memcpy and its kin;
//! no static may hold an address.
#![no_std]
#![no_builtins]
#![allow(unsafe_code, reason = "raw system calls, before there is anything safe to stand on")]

mod call;

use call::{Stat, Statfs};

// ELF entry: the stack holds argc, argv, envp (System V ABI, "Process Initialization"); rdx is for
// _start, which is the C library's and gets everything as it was.
#[cfg(target_arch = "x86_64")]
core::arch::global_asm!(
    ".globl coracle_entry",
    ".type coracle_entry, @function",
    "coracle_entry:",
    "mov rdi, rsp",
    "push rdx",
    "sub rsp, 8",
    "call {seal}",
    "add rsp, 8",
    "pop rdx",
    "jmp _start",
    seal = sym seal,
);

#[cfg(target_arch = "aarch64")]
core::arch::global_asm!(
    ".globl coracle_entry",
    ".type coracle_entry, %function",
    "coracle_entry:",
    "mov x19, x0",
    "mov x0, sp",
    "bl {seal}",
    "mov x0, x19",
    "b _start",
    seal = sym seal,
);

/// The commands that enter containers, as little-endian bytes of their names.
const ENTERING: [u64; 4] = [word(b"create"), word(b"run"), word(b"exec"), word(b"restore")];

/// Up to eight bytes as one number.
const fn word(name: &[u8]) -> u64 {
    let mut value = 0;
    let mut index = 0;
    while index < name.len() {
        value |= (name[index] as u64) << (8 * index);
        index += 1;
    }
    value
}

/// Executes the command again from something unwritable, if it enters containers and is not there
/// yet.
///
/// # Safety
/// `stack` is what the kernel left at the start of the process.
unsafe extern "C" fn seal(stack: *const usize) {
    // SAFETY: argc, then argc pointers to strings, null, the environment's pointers, null.
    let (argv, envp) = unsafe {
        let argv = stack.add(1).cast::<*const u8>();
        (argv, argv.add(*stack + 1))
    };
    // SAFETY: argv ends in null.
    if !unsafe { enters_a_container(argv) } {
        return;
    }
    let exe = call::open(c"/proc/self/exe".to_bytes_with_nul());
    if exe < 0 {
        give_up();
    }
    if is_safe(exe) {
        call::close(exe);
        return;
    }
    // SAFETY: argv and envp are the kernel's own arrays, unchanged.
    unsafe {
        execute_read_only_mount(exe, argv, envp);
        execute_sealed_copy(exe, argv, envp);
    }
    give_up();
}

/// Whether any argument is the name of a command that enters containers. That another argument has
/// the same name costs an execve and nothing else.
///
/// # Safety
/// `argv` is an array of strings that ends in null.
unsafe fn enters_a_container(argv: *const *const u8) -> bool {
    let mut index = 1;
    // SAFETY: as promised, up to the null.
    unsafe {
        if (*argv).is_null() {
            return false;
        }
        loop {
            let argument = *argv.add(index);
            if argument.is_null() {
                return false;
            }
            let mut name = 0u64;
            let mut length = 0;
            while length < 8 && *argument.add(length) != 0 {
                name |= u64::from(*argument.add(length)) << (8 * length);
                length += 1;
            }
            if length < 8 && ENTERING.contains(&name) {
                return true;
            }
            index += 1;
        }
    }
}

/// Whether no container could write this file.
fn is_safe(exe: isize) -> bool {
    /// statfs(2): mounted read-only.
    const ST_RDONLY: i64 = 1;
    /// fcntl(2): no more writing.
    const F_SEAL_WRITE: isize = 8;
    let mut filesystem = Statfs::new();
    if call::fstatfs(exe, &mut filesystem) == 0 && filesystem.flags() & ST_RDONLY != 0 {
        return true;
    }
    let seals = call::get_seals(exe);
    if seals >= 0 && seals & F_SEAL_WRITE != 0 {
        return true;
    }
    let mut stat = Stat::new();
    // Ours to hand out only if we are root, or it is not root's alone.
    call::geteuid() != 0
        && call::fstat(exe, &mut stat) == 0
        && stat.uid() == 0
        && stat.mode() & 0o022 == 0
}

/// Comes back only if it cannot be done.
///
/// # Safety
/// `argv` and `envp` are arrays of strings that end in null.
unsafe fn execute_read_only_mount(exe: isize, argv: *const *const u8, envp: *const *const u8) {
    let tree = call::clone_mount(exe);
    if tree < 0 {
        return;
    }
    if call::make_read_only(tree) == 0 {
        // SAFETY: as promised.
        unsafe { call::execute(tree, argv, envp) };
    }
    call::close(tree);
}

/// Comes back only if it cannot be done.
///
/// # Safety
/// `argv` and `envp` are arrays of strings that end in null.
unsafe fn execute_sealed_copy(exe: isize, argv: *const *const u8, envp: *const *const u8) {
    let copy = call::memory_file();
    if copy < 0 {
        return;
    }
    loop {
        match call::copy_some(copy, exe) {
            0 => break,
            count if count < 0 => return,
            _ => {}
        }
    }
    if call::seal_all(copy) == 0 {
        // SAFETY: as promised.
        unsafe { call::execute(copy, argv, envp) };
    }
}

/// Runs nothing that could be turned against the host.
fn give_up() -> ! {
    const WHY: &[u8] = b"error: cannot keep containers from writing this program's own file\n  \
        help: this takes /proc, and the right to make a mount (root) or a sealed file in memory\n";
    call::write_error(WHY);
    call::exit(1)
}
