//! A process without a C library: its first instruction, its system calls and its end.
//!
//! The programs of the benchmark are made of this, because a C library's own start would be
//! measured with them: a static glibc asks the processor about itself 68 times (`CPUID`) before
//! `main`, and in a virtual machine each of these is an exit to the hypervisor.
//!
//! ```ignore
//! #![no_std]
//! #![no_main]
//!
//! bare::program!(main);
//!
//! fn main(arguments: bare::Arguments) -> u8 {
//!     arguments.get(1).is_some().into()
//! }
//! ```
//!
//! Such a binary is linked with `-nostartfiles -static -no-pie` by its build script and is not
//! part of `cargo test`, whose harness needs the standard library.
#![no_std]
// Or the loops in `memory` would be compiled into calls of themselves.
#![no_builtins]
#![allow(unsafe_code, reason = "the entry point and system calls are all this crate is")]

mod call;
mod memory;
mod start;

pub use call::*;
pub use linux_raw_sys::{general, prctl as option};
pub use start::{Arguments, Vector};
