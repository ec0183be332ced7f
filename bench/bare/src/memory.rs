//! The functions a compiler takes for granted wherever it copies, fills or compares memory, and
//! which otherwise come with the C library (`memcpy(3)`, `memset(3)`, `memcmp(3)`, `strlen(3)`).
//!
//! A byte at a time: the programs here move a few dozen bytes in all.

#[unsafe(no_mangle)]
unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, length: usize) -> *mut u8 {
    for index in 0..length {
        // SAFETY: the caller vouches for `length` bytes behind both pointers.
        unsafe { *to.add(index) = *from.add(index) };
    }
    to
}

#[unsafe(no_mangle)]
unsafe extern "C" fn memset(to: *mut u8, value: i32, length: usize) -> *mut u8 {
    for index in 0..length {
        // SAFETY: the caller vouches for `length` bytes behind the pointer.
        unsafe { *to.add(index) = value.to_le_bytes()[0] };
    }
    to
}

#[unsafe(no_mangle)]
unsafe extern "C" fn memcmp(left: *const u8, right: *const u8, length: usize) -> i32 {
    for index in 0..length {
        // SAFETY: the caller vouches for `length` bytes behind both pointers.
        let (left, right) = unsafe { (*left.add(index), *right.add(index)) };
        if left != right {
            return i32::from(left) - i32::from(right);
        }
    }
    0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn strlen(string: *const u8) -> usize {
    let mut length = 0;
    // SAFETY: the caller vouches for a zero byte at the end of the string.
    while unsafe { *string.add(length) } != 0 {
        length += 1;
    }
    length
}
