//! POSIX extended regular expressions (regcomp(3)).

use std::ffi::{CStr, CString};
use std::mem::MaybeUninit;

use rustix::io::Errno;

/// A compiled expression.
pub(crate) struct Pattern(Box<libc::regex_t>);

impl Pattern {
    /// Compiles it.
    ///
    /// # Errors
    /// EINVAL for what is no expression.
    pub(crate) fn new(text: &CStr) -> Result<Self, Errno> {
        let mut compiled = Box::new(MaybeUninit::<libc::regex_t>::zeroed());
        let flags = libc::REG_EXTENDED | libc::REG_NOSUB;
        // SAFETY: the text ends in zero; the place is writable, and initialized on success. It does
        // not move while it is in its box.
        let answer = unsafe { libc::regcomp(compiled.as_mut_ptr(), text.as_ptr(), flags) };
        if answer != 0 {
            return Err(Errno::INVAL);
        }
        // SAFETY: regcomp has succeeded.
        Ok(Self(unsafe { compiled.assume_init() }))
    }

    /// Whether some part of the text matches.
    pub(crate) fn matches(&self, text: &str) -> bool {
        let Ok(text) = CString::new(text) else { return false };
        // SAFETY: the expression is compiled, the text ends in zero, and no place for parts of it
        // is given.
        unsafe { libc::regexec(&raw const *self.0, text.as_ptr(), 0, std::ptr::null_mut(), 0) == 0 }
    }
}

impl Drop for Pattern {
    fn drop(&mut self) {
        // SAFETY: it is compiled, and not used again.
        unsafe { libc::regfree(&raw mut *self.0) }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::Pattern;

    #[test]
    fn parts_of_names_match() {
        let web = Pattern::new(c"^web-[0-9]+$|db").unwrap();
        for (name, matches) in
            [("web-1", true), ("web-", false), ("a-web-1", false), ("mydb2", true), ("", false)]
        {
            assert_eq!(web.matches(name), matches, "{name}");
        }
        assert!(Pattern::new(c"(").is_err());
    }
}
