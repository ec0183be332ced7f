//! Where `struct seccomp_data` (linux/seccomp.h) has what a filter looks at.

/// The number of the call.
pub(super) const NUMBER: u32 = 0;
/// The architecture, `AUDIT_ARCH_*`.
pub(super) const ARCHITECTURE: u32 = 4;
/// The first of six arguments of 64 bits each.
pub(super) const ARGUMENTS: u32 = 16;
