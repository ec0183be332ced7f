//! Where in config.json a check looks.

use std::borrow::Cow;
use std::fmt;

use serde::Serialize;

use crate::error::{Error, Kind, Result};

/// A place in config.json. The steps to it stay on the stack and become a JSON pointer when an
/// error needs one, so that a good file costs no allocation.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    parent: Option<&'a Place<'a>>,
    step: Step<'a>,
}

#[derive(Clone, Copy)]
enum Step<'a> {
    /// The pointer of the part that is checked, empty for a whole config.json.
    Start(&'a str),
    Key(&'a str),
    Index(usize),
}

impl<'a> Place<'a> {
    /// Where a check starts.
    pub(super) fn start(pointer: &'a str) -> Self {
        Self { parent: None, step: Step::Start(pointer) }
    }

    /// The value of a key of the object here.
    pub(super) fn key(&'a self, key: &'a str) -> Self {
        Self { parent: Some(self), step: Step::Key(key) }
    }

    /// An element of the array here.
    pub(super) fn index(&'a self, index: usize) -> Self {
        Self { parent: Some(self), step: Step::Index(index) }
    }

    /// An error about the value here.
    pub(super) fn refuse(
        &self,
        value: &(impl Serialize + ?Sized),
        what: impl Into<Cow<'static, str>>,
    ) -> Error {
        Error::new(what).kind(Kind::Config).at(self.to_string(), serde_json::to_string(value).ok())
    }

    /// An error about a value that should be here.
    pub(super) fn missing(&self, what: impl Into<Cow<'static, str>>) -> Error {
        Error::new(what).kind(Kind::Config).at(self.to_string(), None)
    }
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(parent) = self.parent {
            parent.fmt(f)?;
        }
        match self.step {
            Step::Start(pointer) => f.write_str(pointer),
            Step::Key(key) => write!(f, "/{}", key.replace('~', "~0").replace('/', "~1")),
            Step::Index(index) => write!(f, "/{index}"),
        }
    }
}

/// Refuses a NUL byte: the kernel would take the string to end there.
pub(super) fn no_nul(place: &Place<'_>, text: &str) -> Result<()> {
    if text.as_bytes().contains(&0) {
        return Err(place.refuse(text, "a string contains a NUL byte").help("remove `\\u0000`"));
    }
    Ok(())
}

/// [`no_nul`] for all of an array.
pub(super) fn no_nuls(place: &Place<'_>, texts: &[String]) -> Result<()> {
    texts.iter().enumerate().try_for_each(|(i, text)| no_nul(&place.index(i), text))
}

/// Refuses what is no absolute path.
pub(super) fn absolute(place: &Place<'_>, path: &str) -> Result<()> {
    if !path.starts_with('/') {
        return Err(place
            .refuse(path, "the path is not absolute")
            .help("it has to begin with a slash"));
    }
    no_nul(place, path)
}
