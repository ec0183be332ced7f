//! bpf(2): the device programs of version 2 control groups (`BPF_PROG_TYPE_CGROUP_DEVICE`).

use std::mem::size_of;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use rustix::io::Errno;

use super::check;

// linux/bpf.h
const PROG_LOAD: libc::c_int = 5;
const PROG_ATTACH: libc::c_int = 8;
const PROG_DETACH: libc::c_int = 9;
const PROG_GET_FD_BY_ID: libc::c_int = 13;
const PROG_QUERY: libc::c_int = 16;
const PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const CGROUP_DEVICE: u32 = 6;
const F_ALLOW_MULTI: u32 = 1 << 1;
const F_REPLACE: u32 = 1 << 2;

/// One instruction: `struct bpf_insn`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Instruction {
    /// Class, operation and source.
    pub(crate) code: u8,
    registers: u8,
    /// Where to jump, counted from the next instruction, or where to load from.
    pub(crate) offset: i16,
    /// A constant.
    pub(crate) immediate: i32,
}

impl Instruction {
    pub(crate) const fn new(
        code: u8,
        destination: u8,
        source: u8,
        offset: i16,
        immediate: i32,
    ) -> Self {
        // Two bit fields of a byte: their order follows the byte order.
        let registers = if cfg!(target_endian = "little") {
            source << 4 | destination
        } else {
            destination << 4 | source
        };
        Self { code, registers, offset, immediate }
    }

    /// The destination and the source register.
    #[cfg(test)]
    pub(crate) const fn registers(self) -> (u8, u8) {
        let (high, low) = (self.registers >> 4, self.registers & 15);
        if cfg!(target_endian = "little") { (low, high) } else { (high, low) }
    }
}

/// The part of `union bpf_attr` for `BPF_PROG_LOAD`.
#[repr(C)]
struct Load {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
    prog_name: [u8; 16],
    prog_ifindex: u32,
    expected_attach_type: u32,
}

/// The part of `union bpf_attr` for `BPF_PROG_ATTACH` and `BPF_PROG_DETACH`.
#[repr(C)]
struct Attach {
    target_fd: RawFd,
    program_fd: RawFd,
    kind: u32,
    flags: u32,
    replaced_fd: RawFd,
}

/// The part of `union bpf_attr` for `BPF_PROG_QUERY`.
#[repr(C)]
struct Query {
    target_fd: RawFd,
    kind: u32,
    flags: u32,
    attach_flags: u32,
    prog_ids: u64,
    prog_cnt: u32,
    /// To the alignment of the whole; the kernel wants it zero.
    padding: u32,
}

/// Loads a device program; it lives as long as it is attached or the descriptor is open.
pub(crate) fn load_device_program(program: &[Instruction]) -> Result<OwnedFd, Errno> {
    let mut prog_name = [0; 16];
    prog_name[..15].copy_from_slice(b"coracle_devices");
    let mut attr = Load {
        prog_type: PROG_TYPE_CGROUP_DEVICE,
        insn_cnt: u32::try_from(program.len()).map_err(|_| Errno::TOOBIG)?,
        insns: program.as_ptr() as u64,
        license: c"Apache-2.0".as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log_buf: 0,
        kern_version: 0,
        prog_flags: 0,
        prog_name,
        prog_ifindex: 0,
        expected_attach_type: CGROUP_DEVICE,
    };
    // SAFETY: the instructions and the licence outlive the call, which only reads them.
    let fd = unsafe { bpf(PROG_LOAD, &mut attr) }?;
    owned(fd)
}

/// The IDs of the device programs attached to a cgroup itself, not to those above it.
pub(crate) fn attached_device_programs(cgroup: BorrowedFd<'_>) -> Result<Vec<u32>, Errno> {
    // The kernel attaches no more than 64 to one cgroup.
    let mut ids = [0_u32; 64];
    let mut attr = Query {
        target_fd: cgroup.as_raw_fd(),
        kind: CGROUP_DEVICE,
        flags: 0,
        attach_flags: 0,
        prog_ids: ids.as_mut_ptr() as u64,
        prog_cnt: 64,
        padding: 0,
    };
    // SAFETY: `ids` has room for the number of IDs given, and outlives the call.
    unsafe { bpf(PROG_QUERY, &mut attr) }?;
    Ok(ids.iter().take(attr.prog_cnt as usize).copied().collect())
}

/// Opens a loaded program by its ID.
pub(crate) fn open_program(id: u32) -> Result<OwnedFd, Errno> {
    // prog_id, next_id, open_flags
    let mut attr = [id, 0, 0];
    // SAFETY: only integers are passed.
    let fd = unsafe { bpf(PROG_GET_FD_BY_ID, &mut attr) }?;
    owned(fd)
}

/// Attaches a program to a cgroup beside others, or in the place of one, at once (Linux 5.6).
/// A device is usable if all programs, and those of the cgroups above, allow it.
pub(crate) fn attach_device_program(
    cgroup: BorrowedFd<'_>,
    program: BorrowedFd<'_>,
    replaced: Option<BorrowedFd<'_>>,
) -> Result<(), Errno> {
    let mut attr = Attach {
        target_fd: cgroup.as_raw_fd(),
        program_fd: program.as_raw_fd(),
        kind: CGROUP_DEVICE,
        flags: F_ALLOW_MULTI | if replaced.is_some() { F_REPLACE } else { 0 },
        replaced_fd: replaced.map_or(0, |program| program.as_raw_fd()),
    };
    // SAFETY: only integers are passed.
    unsafe { bpf(PROG_ATTACH, &mut attr) }.map(drop)
}

/// Detaches a program from a cgroup.
pub(crate) fn detach_device_program(
    cgroup: BorrowedFd<'_>,
    program: BorrowedFd<'_>,
) -> Result<(), Errno> {
    let mut attr = Attach {
        target_fd: cgroup.as_raw_fd(),
        program_fd: program.as_raw_fd(),
        kind: CGROUP_DEVICE,
        flags: 0,
        replaced_fd: 0,
    };
    // SAFETY: only integers are passed.
    unsafe { bpf(PROG_DETACH, &mut attr) }.map(drop)
}

/// # Safety
///
/// `attr` is the beginning of `union bpf_attr` for `command`, without uninitialised bytes, and its
/// pointers are good for as long as the call takes.
unsafe fn bpf<T>(command: libc::c_int, attr: &mut T) -> Result<libc::c_long, Errno> {
    // SAFETY: the kernel takes what lies beyond the size given for zero; the rest is the caller's.
    check(unsafe {
        libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attr), size_of::<T>())
    })
}

fn owned(fd: libc::c_long) -> Result<OwnedFd, Errno> {
    let fd = RawFd::try_from(fd).map_err(|_| Errno::BADF)?;
    // SAFETY: the kernel has just made it for us (close-on-exec, as bpf(2) always does).
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
