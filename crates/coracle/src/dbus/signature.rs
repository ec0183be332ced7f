//! Type signatures (D-Bus Specification, "Type System").

/// How deep types may be nested: the specification's limit of arrays and of structs together.
const DEEPEST: usize = 64;

/// The length of the first complete type of a signature; `None` if there is none.
pub(super) fn first(signature: &str) -> Option<usize> {
    complete(signature.as_bytes(), 0, false)
}

/// Whether a text is one complete type.
pub(super) fn is_single(signature: &str) -> bool {
    first(signature) == Some(signature.len())
}

fn complete(signature: &[u8], depth: usize, in_array: bool) -> Option<usize> {
    if depth > DEEPEST {
        return None;
    }
    match signature.first()? {
        b'y' | b'b' | b'n' | b'q' | b'i' | b'u' | b'x' | b't' | b'd' | b's' | b'o' | b'g'
        | b'v' => Some(1),
        b'a' => Some(1 + complete(&signature[1..], depth + 1, true)?),
        b'(' => {
            let mut end = 1;
            while *signature.get(end)? != b')' {
                end += complete(&signature[end..], depth + 1, false)?;
            }
            (end > 1).then_some(end + 1)
        }
        b'{' if in_array => {
            // The key is of a basic type.
            let key = signature.get(1).filter(|key| !b"av({".contains(key));
            key?;
            let end = 2 + complete(signature.get(2..)?, depth + 1, false)?;
            (*signature.get(end)? == b'}').then_some(end + 1)
        }
        _ => None,
    }
}

/// What a value of the type begins at a multiple of, in bytes.
pub(super) fn alignment(signature: &str) -> usize {
    match signature.as_bytes().first() {
        Some(b'n' | b'q') => 2,
        Some(b'b' | b'i' | b'u' | b's' | b'o' | b'a') => 4,
        Some(b'x' | b't' | b'd' | b'(' | b'{') => 8,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_complete_or_not() {
        for good in ["y", "as", "a(ss)", "a{sv}", "a(sa(sv))", "(i(ii))", "v", "aay", "a{s(ii)}"] {
            assert!(is_single(good), "{good}");
        }
        for bad in ["", "a", "(", "()", "{sv}", "a{sv", "a{vs}", "a{s}", "ss", "z", "a{(i)s}", "(i"]
        {
            assert!(!is_single(bad), "{bad}");
        }
        assert_eq!(first("uoss"), Some(1));
        assert!(!is_single(&("a".repeat(70) + "y")));
    }
}
