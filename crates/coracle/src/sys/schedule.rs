//! Where and when a process runs and where its memory is: sched_setattr(2), sched_setaffinity(2),
//! ioprio_set(2), set_mempolicy(2), personality(2).

use std::mem::size_of;

use rustix::io::Errno;

use super::check;

/// `struct sched_attr` of sched_setattr(2), Linux 5.3's size (with utilization clamps).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scheduling {
    /// The structure's size, which the call fills in.
    pub(crate) size: u32,
    /// `SCHED_*`.
    pub policy: u32,
    /// `SCHED_FLAG_*`.
    pub flags: u64,
    /// Nice value, of the policies that share time.
    pub nice: i32,
    /// Static priority, of the real-time policies.
    pub priority: u32,
    /// Nanoseconds that a deadline task may run in a period.
    pub runtime: u64,
    /// Nanoseconds from the period's start by which it has had them.
    pub deadline: u64,
    /// Nanoseconds of a period.
    pub period: u64,
    /// The least utilization, of 1024.
    pub least_use: u32,
    /// The greatest utilization, of 1024.
    pub greatest_use: u32,
}

/// sched_setattr(2) of a process, 0 being this one.
#[allow(clippy::cast_possible_truncation)] // 56 bytes
pub(crate) fn set_scheduling(pid: i32, scheduling: &Scheduling) -> Result<(), Errno> {
    let scheduling = Scheduling { size: size_of::<Scheduling>() as u32, ..*scheduling };
    // SAFETY: the structure has the size that it says and outlives the call, which reads it.
    check(unsafe { libc::syscall(libc::SYS_sched_setattr, pid, &raw const scheduling, 0) })?;
    Ok(())
}

/// sched_setaffinity(2) of this process: bit n of the words is CPU n. CPUs that are not there, or
/// not in the process's cpuset, count for nothing; EINVAL if no other is left.
pub(crate) fn set_affinity(cpus: &[u64]) -> Result<(), Errno> {
    // SAFETY: the words outlive the call, which reads no more than it is told there are.
    check(unsafe {
        libc::syscall(libc::SYS_sched_setaffinity, 0, size_of_val(cpus), cpus.as_ptr())
    })?;
    Ok(())
}

/// ioprio_set(2) of a process group, 0 being this process's: the class in bits 13 to 15, the
/// priority in it below.
pub(crate) fn set_io_priority(group: i32, priority: u16) -> Result<(), Errno> {
    /// linux/ioprio.h
    const WHO_PROCESS_GROUP: libc::c_long = 2;
    // SAFETY: only integers are passed.
    check(unsafe {
        libc::syscall(
            libc::SYS_ioprio_set,
            WHO_PROCESS_GROUP,
            libc::c_long::from(group),
            libc::c_long::from(priority),
        )
    })?;
    Ok(())
}

/// set_mempolicy(2) of this process: a mode with its flags, and nodes, of which bit n is node n.
pub(crate) fn set_memory_policy(mode: u32, nodes: &[u64]) -> Result<(), Errno> {
    // The kernel takes one bit less than it is told there are (set_mempolicy(2), "BUGS").
    let bits = if nodes.is_empty() { 0 } else { nodes.len() * 64 + 1 };
    let words = if nodes.is_empty() { std::ptr::null() } else { nodes.as_ptr() };
    // SAFETY: the words outlive the call. It reads the whole words that hold `bits - 1` bits.
    check(unsafe {
        libc::syscall(libc::SYS_set_mempolicy, libc::c_ulong::from(mode), words, bits)
    })?;
    Ok(())
}

/// personality(2) of this process.
pub(crate) fn set_personality(domain: u32) -> Result<(), Errno> {
    // SAFETY: only an integer is passed.
    check(libc::c_long::from(unsafe { libc::personality(libc::c_ulong::from(domain)) }))?;
    Ok(())
}
