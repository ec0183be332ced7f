//! The few system calls that are needed, raw. The result is the kernel's: an error is its number,
//! negative.

use core::arch::asm;
use core::mem::MaybeUninit;

/// System call numbers, from the kernel's tables.
#[cfg(target_arch = "x86_64")]
mod number {
    pub(super) const WRITE: usize = 1;
    pub(super) const CLOSE: usize = 3;
    pub(super) const FSTAT: usize = 5;
    pub(super) const SENDFILE: usize = 40;
    pub(super) const FCNTL: usize = 72;
    pub(super) const GETEUID: usize = 107;
    pub(super) const FSTATFS: usize = 138;
    pub(super) const EXIT_GROUP: usize = 231;
    pub(super) const OPENAT: usize = 257;
    pub(super) const MEMFD_CREATE: usize = 319;
    pub(super) const EXECVEAT: usize = 322;
    pub(super) const OPEN_TREE: usize = 428;
    pub(super) const MOUNT_SETATTR: usize = 442;
}

/// System call numbers, from the kernel's tables.
#[cfg(target_arch = "aarch64")]
mod number {
    pub(super) const FCNTL: usize = 25;
    pub(super) const FSTATFS: usize = 44;
    pub(super) const OPENAT: usize = 56;
    pub(super) const CLOSE: usize = 57;
    pub(super) const WRITE: usize = 64;
    pub(super) const SENDFILE: usize = 71;
    pub(super) const FSTAT: usize = 80;
    pub(super) const EXIT_GROUP: usize = 94;
    pub(super) const GETEUID: usize = 175;
    pub(super) const MEMFD_CREATE: usize = 279;
    pub(super) const EXECVEAT: usize = 281;
    pub(super) const OPEN_TREE: usize = 428;
    pub(super) const MOUNT_SETATTR: usize = 442;
}

/// A system call with up to five arguments.
///
/// # Safety
/// Pointers among the arguments are what that system call expects.
#[cfg(target_arch = "x86_64")]
#[allow(clippy::many_single_char_names)]
unsafe fn call(number: usize, a: usize, b: usize, c: usize, d: usize, e: usize) -> isize {
    let result;
    // SAFETY: the kernel's convention: it changes rax, rcx and r11 and whatever memory is named.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") number => result,
            in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d, in("r8") e,
            lateout("rcx") _, lateout("r11") _,
            options(nostack)
        );
    }
    result
}

/// A system call with up to five arguments.
///
/// # Safety
/// Pointers among the arguments are what that system call expects.
#[cfg(target_arch = "aarch64")]
#[allow(clippy::many_single_char_names)]
unsafe fn call(number: usize, a: usize, b: usize, c: usize, d: usize, e: usize) -> isize {
    let result;
    // SAFETY: the kernel's convention: it changes x0 and whatever memory is named.
    unsafe {
        asm!(
            "svc 0",
            in("x8") number, inlateout("x0") a => result,
            in("x1") b, in("x2") c, in("x3") d, in("x4") e,
            options(nostack)
        );
    }
    result
}

/// A small integer as a register has it; negative ones keep their sign.
fn register(value: isize) -> usize {
    value.cast_unsigned()
}

/// `AT_FDCWD`.
const CWD: isize = -100;
/// `AT_EMPTY_PATH`.
const EMPTY_PATH: usize = 0x1000;
/// `O_CLOEXEC` and the flags that have its value.
const CLOEXEC: usize = 0o2_000_000;

/// A string constant as the kernel takes it.
fn address(text: &'static [u8]) -> usize {
    text.as_ptr().addr()
}

/// openat(2) for reading; `path` ends in NUL.
pub(super) fn open(path: &'static [u8]) -> isize {
    // SAFETY: a constant string.
    unsafe { call(number::OPENAT, register(CWD), address(path), CLOEXEC, 0, 0) }
}

/// close(2).
pub(super) fn close(fd: isize) {
    // SAFETY: no pointers.
    unsafe { call(number::CLOSE, register(fd), 0, 0, 0, 0) };
}

/// geteuid(2).
pub(super) fn geteuid() -> isize {
    // SAFETY: no pointers.
    unsafe { call(number::GETEUID, 0, 0, 0, 0, 0) }
}

/// What fstatfs(2) fills in: fifteen words.
pub(super) struct Statfs(MaybeUninit<[i64; 15]>);

impl Statfs {
    pub(super) fn new() -> Self {
        Self(MaybeUninit::uninit())
    }

    /// `f_flags`.
    pub(super) fn flags(&self) -> i64 {
        // SAFETY: read only after the call filled it; inside the array.
        unsafe { self.0.as_ptr().cast::<i64>().add(10).read_volatile() }
    }
}

/// fstatfs(2).
pub(super) fn fstatfs(fd: isize, filesystem: &mut Statfs) -> isize {
    let place = filesystem.0.as_mut_ptr().expose_provenance();
    // SAFETY: room for all that the kernel writes.
    unsafe { call(number::FSTATFS, register(fd), place, 0, 0, 0) }
}

/// What fstat(2) fills in: eighteen words at most.
pub(super) struct Stat(MaybeUninit<[u32; 36]>);

impl Stat {
    #[cfg(target_arch = "x86_64")]
    const MODE: usize = 6;
    #[cfg(target_arch = "x86_64")]
    const UID: usize = 7;
    #[cfg(target_arch = "aarch64")]
    const MODE: usize = 4;
    #[cfg(target_arch = "aarch64")]
    const UID: usize = 6;

    pub(super) fn new() -> Self {
        Self(MaybeUninit::uninit())
    }

    /// `st_mode`.
    pub(super) fn mode(&self) -> u32 {
        // SAFETY: read only after the call filled it; inside the array.
        unsafe { self.0.as_ptr().cast::<u32>().add(Self::MODE).read_volatile() }
    }

    /// `st_uid`.
    pub(super) fn uid(&self) -> u32 {
        // SAFETY: read only after the call filled it; inside the array.
        unsafe { self.0.as_ptr().cast::<u32>().add(Self::UID).read_volatile() }
    }
}

/// fstat(2).
pub(super) fn fstat(fd: isize, stat: &mut Stat) -> isize {
    let place = stat.0.as_mut_ptr().expose_provenance();
    // SAFETY: room for all that the kernel writes.
    unsafe { call(number::FSTAT, register(fd), place, 0, 0, 0) }
}

/// fcntl(2), `F_GET_SEALS`.
pub(super) fn get_seals(fd: isize) -> isize {
    const F_GET_SEALS: usize = 1034;
    // SAFETY: no pointers.
    unsafe { call(number::FCNTL, register(fd), F_GET_SEALS, 0, 0, 0) }
}

/// fcntl(2), `F_ADD_SEALS`: no change of contents or size, and no change of that.
pub(super) fn seal_all(fd: isize) -> isize {
    const F_ADD_SEALS: usize = 1033;
    // SAFETY: no pointers.
    unsafe { call(number::FCNTL, register(fd), F_ADD_SEALS, 0b1111, 0, 0) }
}

/// open_tree(2): a detached mount of an open file.
pub(super) fn clone_mount(fd: isize) -> isize {
    const OPEN_TREE_CLONE: usize = 1;
    let flags = OPEN_TREE_CLONE | CLOEXEC | EMPTY_PATH;
    // SAFETY: a constant string.
    unsafe { call(number::OPEN_TREE, register(fd), address(b"\0"), flags, 0, 0) }
}

/// mount_setattr(2): read-only.
pub(super) fn make_read_only(tree: isize) -> isize {
    /// `struct mount_attr`: set, clear, propagation, user namespace.
    static RDONLY: [u64; 4] = [1, 0, 0, 0];
    let change = RDONLY.as_ptr().addr();
    // SAFETY: a constant string, and a constant struct of the size given.
    unsafe { call(number::MOUNT_SETATTR, register(tree), address(b"\0"), EMPTY_PATH, change, 32) }
}

/// memfd_create(2), to be sealed and executed.
pub(super) fn memory_file() -> isize {
    const ALLOW_SEALING_CLOEXEC: usize = 3;
    /// Linux 6.3: wanted where vm.memfd_noexec asks for it; unknown before.
    const MFD_EXEC: usize = 0x10;
    let name = address(b"coracle\0");
    // SAFETY: a constant string.
    unsafe {
        let file = call(number::MEMFD_CREATE, name, ALLOW_SEALING_CLOEXEC | MFD_EXEC, 0, 0, 0);
        if file >= 0 {
            return file;
        }
        call(number::MEMFD_CREATE, name, ALLOW_SEALING_CLOEXEC, 0, 0, 0)
    }
}

/// sendfile(2) from where `from` stands; 0 at its end.
pub(super) fn copy_some(to: isize, from: isize) -> isize {
    const MOST: usize = 0x7fff_f000;
    // SAFETY: no pointers.
    unsafe { call(number::SENDFILE, register(to), register(from), 0, MOST, 0) }
}

/// execveat(2) of an open file. Comes back only with an error.
///
/// # Safety
/// `argv` and `envp` are arrays of strings that end in null.
pub(super) unsafe fn execute(fd: isize, argv: *const *const u8, envp: *const *const u8) -> isize {
    let empty = address(b"\0");
    // SAFETY: as promised, and a constant string.
    unsafe { call(number::EXECVEAT, register(fd), empty, argv.addr(), envp.addr(), EMPTY_PATH) }
}

/// write(2) to standard error.
pub(super) fn write_error(text: &'static [u8]) {
    // SAFETY: a constant string of this length.
    unsafe { call(number::WRITE, 2, address(text), text.len(), 0, 0) };
}

/// exit_group(2).
pub(super) fn exit(code: usize) -> ! {
    loop {
        // SAFETY: no pointers; it does not return.
        unsafe { call(number::EXIT_GROUP, code, 0, 0, 0, 0) };
    }
}
