//! System calls, each under its own name and with its own types. The result is the kernel's: an
//! error is its number, negative.

use core::arch::asm;
use core::ffi::CStr;

use linux_raw_sys::general::{
    self as kernel, __user_cap_data_struct, __user_cap_header_struct, clone_args, mount_attr,
    rlimit64, rusage,
};

use crate::Vector;

/// `BPF_PROG_LOAD`, `BPF_PROG_ATTACH`, `BPF_PROG_TYPE_CGROUP_DEVICE`, `BPF_CGROUP_DEVICE` and
/// `BPF_F_ALLOW_MULTI` of `<linux/bpf.h>`.
const BPF_PROG_LOAD: u32 = 5;
const BPF_PROG_ATTACH: u32 = 8;
const BPF_PROG_TYPE_CGROUP_DEVICE: u64 = 15;
const BPF_CGROUP_DEVICE: u64 = 6;
const BPF_F_ALLOW_MULTI: u64 = 2;

/// What may stand in a system call's register.
trait Argument {
    fn register(self) -> usize;
}

impl Argument for usize {
    fn register(self) -> usize {
        self
    }
}

impl Argument for u32 {
    fn register(self) -> usize {
        self as usize
    }
}

impl Argument for i32 {
    fn register(self) -> usize {
        // The kernel reads the low half, so that -1 and AT_FDCWD keep their sign.
        self.cast_unsigned() as usize
    }
}

impl Argument for &CStr {
    fn register(self) -> usize {
        self.as_ptr().expose_provenance()
    }
}

impl Argument for Option<&CStr> {
    fn register(self) -> usize {
        self.map_or(0, Argument::register)
    }
}

impl Argument for Vector {
    fn register(self) -> usize {
        self.address()
    }
}

/// A structure of the kernel's, to be read or filled.
struct Fields<'a, T>(&'a T);
struct FieldsMut<'a, T>(&'a mut T);

impl<T> Argument for Fields<'_, T> {
    fn register(self) -> usize {
        core::ptr::from_ref(self.0).expose_provenance()
    }
}

impl<T> Argument for FieldsMut<'_, T> {
    fn register(self) -> usize {
        core::ptr::from_mut(self.0).expose_provenance()
    }
}

/// Declares calls whose arguments are what the kernel takes, in its order.
macro_rules! calls {
    ($($(#[$doc:meta])* $name:ident($($argument:ident: $type:ty),*) = $number:ident;)*) => {$(
        $(#[$doc])*
        #[inline]
        pub fn $name($($argument: $type),*) -> isize {
            call(kernel::$number, &[$($argument.register()),*])
        }
    )*};
}

calls! {
    /// `chdir(2)`.
    chdir(path: &CStr) = __NR_chdir;
    /// `dup3(2)`.
    dup3(from: i32, to: i32, flags: u32) = __NR_dup3;
    /// `execve(2)`; returns only to say why it failed.
    execve(path: &CStr, arguments: Vector, environment: Vector) = __NR_execve;
    /// `fchdir(2)`.
    fchdir(directory: i32) = __NR_fchdir;
    /// `fsconfig(2)` with a string as the value, or none.
    fsconfig(
        context: i32, command: u32, key: Option<&CStr>, value: Option<&CStr>, number: i32
    ) = __NR_fsconfig;
    /// `fsmount(2)`.
    fsmount(context: i32, flags: u32, attributes: u32) = __NR_fsmount;
    /// `fsopen(2)`.
    fsopen(kind: &CStr, flags: u32) = __NR_fsopen;
    /// `mkdirat(2)`.
    mkdirat(directory: i32, path: &CStr, mode: u32) = __NR_mkdirat;
    /// `mknodat(2)`.
    mknodat(directory: i32, path: &CStr, mode: u32, device: u32) = __NR_mknodat;
    /// `mount(2)`.
    mount(
        source: Option<&CStr>, target: &CStr, kind: Option<&CStr>, flags: u32, data: Option<&CStr>
    ) = __NR_mount;
    /// `move_mount(2)`.
    move_mount(
        from: i32, from_path: &CStr, to: i32, to_path: &CStr, flags: u32
    ) = __NR_move_mount;
    /// `open_tree(2)`.
    open_tree(directory: i32, path: &CStr, flags: u32) = __NR_open_tree;
    /// `openat(2)` of what exists.
    openat(directory: i32, path: &CStr, flags: u32) = __NR_openat;
    /// `pivot_root(2)`.
    pivot_root(new: &CStr, old: &CStr) = __NR_pivot_root;
    /// `prctl(2)`.
    prctl(option: u32, first: u32, second: u32, third: u32, fourth: u32) = __NR_prctl;
    /// `setresgid(2)`.
    setresgid(real: u32, effective: u32, saved: u32) = __NR_setresgid;
    /// `setresuid(2)`.
    setresuid(real: u32, effective: u32, saved: u32) = __NR_setresuid;
    /// `symlinkat(2)`.
    symlinkat(target: &CStr, directory: i32, path: &CStr) = __NR_symlinkat;
    /// `umask(2)`.
    umask(mask: u32) = __NR_umask;
    /// `umount2(2)`.
    umount2(target: &CStr, flags: u32) = __NR_umount2;
    /// `unlinkat(2)`.
    unlinkat(directory: i32, path: &CStr, flags: u32) = __NR_unlinkat;
}

/// `capset(2)` of this thread: the same set as effective, permitted and inheritable, of which only
/// the capabilities below 32 can be asked for.
pub fn capset(capabilities: u32) -> isize {
    let header = __user_cap_header_struct { version: kernel::_LINUX_CAPABILITY_VERSION_3, pid: 0 };
    let set =
        |set: u32| __user_cap_data_struct { effective: set, permitted: set, inheritable: set };
    let sets = [set(capabilities), set(0)];
    call(kernel::__NR_capset, &[Fields(&header).register(), Fields(&sets).register()])
}

/// `clone3(2)` as a fork with new namespaces, into `cgroup` (a directory's descriptor) if given.
pub fn clone3(namespaces: u32, cgroup: Option<i32>) -> isize {
    let into = if cgroup.is_some() { kernel::CLONE_INTO_CGROUP } else { 0 };
    let arguments = clone_args {
        flags: u64::from(namespaces) | into,
        pidfd: 0,
        child_tid: 0,
        parent_tid: 0,
        exit_signal: kernel::SIGCHLD.into(),
        stack: 0,
        stack_size: 0,
        tls: 0,
        set_tid: 0,
        set_tid_size: 0,
        cgroup: cgroup.unwrap_or(0).cast_unsigned().into(),
    };
    call(kernel::__NR_clone3, &[Fields(&arguments).register(), size_of::<clone_args>()])
}

/// `exit_group(2)`.
pub fn exit(status: u8) -> ! {
    loop {
        call(kernel::__NR_exit_group, &[status.into()]);
    }
}

/// `mount_setattr(2)`, setting and clearing nothing but these attributes.
pub fn mount_setattr(directory: i32, path: &CStr, flags: u32, set: u32) -> isize {
    let attributes = mount_attr { attr_set: set.into(), attr_clr: 0, propagation: 0, userns_fd: 0 };
    call(
        kernel::__NR_mount_setattr,
        &[
            directory.register(),
            path.register(),
            flags.register(),
            Fields(&attributes).register(),
            size_of::<mount_attr>(),
        ],
    )
}

/// Waits for a signal (`ppoll(2)` of nothing, without an end).
pub fn pause() -> isize {
    call(kernel::__NR_ppoll, &[0, 0, 0, 0, 0])
}

/// `prlimit64(2)` of this process, soft and hard limit alike.
pub fn setrlimit(resource: u32, limit: u64) -> isize {
    let limit = rlimit64 { rlim_cur: limit, rlim_max: limit };
    call(kernel::__NR_prlimit64, &[0, resource.register(), Fields(&limit).register(), 0])
}

/// `read(2)`.
pub fn read(file: i32, buffer: &mut [u8]) -> isize {
    let address = buffer.as_mut_ptr().expose_provenance();
    call(kernel::__NR_read, &[file.register(), address, buffer.len()])
}

/// `setgroups(2)` to no groups.
pub fn leave_groups() -> isize {
    call(kernel::__NR_setgroups, &[0, 0])
}

/// `sethostname(2)`.
pub fn sethostname(name: &[u8]) -> isize {
    call(kernel::__NR_sethostname, &[name.as_ptr().expose_provenance(), name.len()])
}

/// Waits for a child's end (`wait4(2)`): its status and what it and its own children used.
pub fn wait4(process: i32) -> (u32, rusage) {
    let mut status = 0_u32;
    // SAFETY: the structure holds numbers only, for which zero is a value.
    let mut usage: rusage = unsafe { core::mem::zeroed() };
    call(
        kernel::__NR_wait4,
        &[
            process.register(),
            FieldsMut(&mut status).register(),
            0,
            FieldsMut(&mut usage).register(),
        ],
    );
    (status, usage)
}

/// `write(2)`.
pub fn write(file: i32, bytes: &[u8]) -> isize {
    call(kernel::__NR_write, &[file.register(), bytes.as_ptr().expose_provenance(), bytes.len()])
}

/// Loads a program that judges a cgroup's use of devices (`bpf(2)`, `BPF_PROG_LOAD`).
pub fn load_device_program(instructions: &[u64]) -> isize {
    let attributes = [
        BPF_PROG_TYPE_CGROUP_DEVICE | (instructions.len() as u64) << 32,
        instructions.as_ptr().expose_provenance() as u64,
        c"".as_ptr().expose_provenance() as u64,
    ];
    bpf(BPF_PROG_LOAD, &attributes)
}

/// Puts such a program before a cgroup's processes (`bpf(2)`, `BPF_PROG_ATTACH`).
pub fn attach_device_program(cgroup: i32, program: i32) -> isize {
    let (cgroup, program) = (u64::from(cgroup.cast_unsigned()), u64::from(program.cast_unsigned()));
    bpf(BPF_PROG_ATTACH, &[cgroup | program << 32, BPF_CGROUP_DEVICE | BPF_F_ALLOW_MULTI << 32])
}

fn bpf<const N: usize>(command: u32, attributes: &[u64; N]) -> isize {
    call(
        kernel::__NR_bpf,
        &[command.register(), Fields(attributes).register(), size_of::<[u64; N]>()],
    )
}

/// The one way into the kernel.
#[inline]
fn call(number: u32, arguments: &[usize]) -> isize {
    let register = |index: usize| arguments.get(index).copied().unwrap_or(0);
    let result: isize;
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the registers are those of the kernel's convention on x86-64, which changes no
    // others than rax, rcx and r11. The functions of this module, the only callers, pass what the
    // call takes: every address is that of a reference which outlives the call.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") number as usize => result,
            in("rdi") register(0), in("rsi") register(1), in("rdx") register(2),
            in("r10") register(3), in("r8") register(4), in("r9") register(5),
            lateout("rcx") _, lateout("r11") _, options(nostack),
        );
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: as above, with the convention of arm64, which changes no other register than x0.
    unsafe {
        asm!(
            "svc 0",
            in("x8") number as usize, inlateout("x0") register(0) => result,
            in("x1") register(1), in("x2") register(2), in("x3") register(3),
            in("x4") register(4), in("x5") register(5), options(nostack),
        );
    }
    result
}
