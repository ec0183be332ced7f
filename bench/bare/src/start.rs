//! From the kernel's jump to the entry point to the program's `main`.

use core::arch::naked_asm;
use core::ffi::{CStr, c_char};

/// Makes a function the program: it takes [`Arguments`] and returns the exit status.
#[macro_export]
macro_rules! program {
    ($main:path) => {
        #[unsafe(no_mangle)]
        fn bare_main(arguments: $crate::Arguments) -> u8 {
            $main(arguments)
        }
    };
}

unsafe extern "Rust" {
    /// Defined by [`program!`].
    safe fn bare_main(arguments: Arguments) -> u8;
}

/// What the kernel leaves on the stack of a new program: the count, the arguments, a null, the
/// environment, a null (System V ABI, "Initial Process Stack").
#[derive(Clone, Copy)]
pub struct Arguments {
    count: usize,
    first: *const *const c_char,
}

impl Arguments {
    /// The argument at `index`; 0 is the program's own name.
    pub fn get(self, index: usize) -> Option<&'static CStr> {
        if index >= self.count {
            return None;
        }
        // SAFETY: `index` is below the count the kernel gave, and each of these pointers names a
        // string with its terminating zero, on pages that stay for the life of the process.
        Some(unsafe { CStr::from_ptr(*self.first.add(index)) })
    }

    /// The arguments from `index` on.
    pub fn from(self, index: usize) -> Vector {
        Vector(self.first.wrapping_add(index.min(self.count)))
    }

    /// The environment.
    pub fn environment(self) -> Vector {
        Vector(self.first.wrapping_add(self.count + 1))
    }
}

/// Strings as `execve(2)` takes them: pointers, the last of them null.
#[derive(Clone, Copy)]
pub struct Vector(*const *const c_char);

impl Vector {
    /// The address of the first pointer.
    pub(crate) fn address(self) -> usize {
        self.0.expose_provenance()
    }
}

/// The entry point the linker looks for: hands the initial stack to Rust.
///
/// # Safety
///
/// Only the kernel may enter here, with the stack of a new program.
#[unsafe(naked)]
#[unsafe(no_mangle)]
unsafe extern "C" fn _start() -> ! {
    #[cfg(target_arch = "x86_64")]
    naked_asm!("xor ebp, ebp", "mov rdi, rsp", "and rsp, -16", "call {}", sym begin);
    #[cfg(target_arch = "aarch64")]
    naked_asm!("mov x29, xzr", "mov x30, xzr", "mov x0, sp", "b {}", sym begin);
}

extern "C" fn begin(stack: *const usize) -> ! {
    // SAFETY: `_start` passes the stack the kernel made, on which the count comes first and the
    // arguments' pointers right behind it.
    let arguments = unsafe { Arguments { count: *stack, first: stack.add(1).cast() } };
    crate::exit(bare_main(arguments))
}

/// The standard library, built to unwind, refers to this; these programs abort.
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() {}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    crate::exit(101)
}
