//! Which line of config.json asked for a step.

use std::fmt;

/// The JSON pointer (RFC 6901) that a step comes from, or `default` where nobody asked.
///
/// ```
/// use coracle::plan::Origin;
/// assert_eq!(Origin::item("/mounts", 3).to_string(), "/mounts/3");
/// assert_eq!(Origin::key("/linux/sysctl", "net.ipv4.ip_forward").to_string(),
///            "/linux/sysctl/net.ipv4.ip_forward");
/// assert_eq!(Origin::DEFAULT.to_string(), "default");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    base: &'static str,
    last: Last,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Last {
    Nothing,
    Index(usize),
    Key(Box<str>),
}

impl Origin {
    /// What the runtime does of itself or because the specification tells it to.
    pub const DEFAULT: Self = Self { base: "", last: Last::Nothing };

    /// A field, such as `/hostname`.
    pub const fn field(pointer: &'static str) -> Self {
        Self { base: pointer, last: Last::Nothing }
    }

    /// An element of an array, such as `/mounts` and 3.
    pub const fn item(array: &'static str, index: usize) -> Self {
        Self { base: array, last: Last::Index(index) }
    }

    /// A member of an object whose keys are not known beforehand.
    pub fn key(object: &'static str, key: &str) -> Self {
        Self { base: object, last: Last::Key(key.into()) }
    }

    /// Whether config.json says nothing of it.
    pub fn is_default(&self) -> bool {
        self.base.is_empty()
    }

    /// The pointer as a string, if config.json asked for it.
    pub fn pointer(&self) -> Option<String> {
        (!self.is_default()).then(|| self.to_string())
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_default() {
            return f.write_str("default");
        }
        f.write_str(self.base)?;
        match &self.last {
            Last::Nothing => Ok(()),
            Last::Index(index) => write!(f, "/{index}"),
            Last::Key(key) => write!(f, "/{}", key.replace('~', "~0").replace('/', "~1")),
        }
    }
}
