//! One line that is to be written into a file of a cgroup, and how it is put down for later.

use std::borrow::Cow;
use std::fmt;

/// The version of control groups that a controller belongs to on this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// A hierarchy of its own, or with few others (kernel documentation, cgroup-v1/).
    V1,
    /// The one hierarchy (kernel documentation, cgroup-v2.rst).
    V2,
}

/// One line to be written into a file of a cgroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// The controller, by its version 2 name: `io` for `blkio`. `cgroup` for the core.
    pub controller: Cow<'static, str>,
    /// Whose hierarchy.
    pub version: Version,
    /// The file's name.
    pub file: Cow<'static, str>,
    /// What the line begins with, where the file has one for each device or interface: `8:0`.
    pub key: Option<String>,
    /// The value.
    pub value: String,
    /// The field that asks for it, as a JSON pointer below `/linux/resources`: `memory/limit`.
    pub field: Cow<'static, str>,
    /// What is written in that field, as JSON.
    pub given: String,
    /// What if the kernel has no such file.
    pub missing: Missing,
}

/// What to do where the kernel lacks a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Missing {
    /// It is an error.
    Refuse,
    /// Nothing: without the file, it is as wanted.
    Skip,
    /// Write this value to this file.
    Instead(&'static str, String),
}

impl Write {
    /// The JSON pointer into config.json.
    pub fn pointer(&self) -> String {
        format!("/linux/resources/{}", self.field)
    }

    /// The line for the kernel.
    pub(super) fn line(&self, value: &str) -> String {
        match &self.key {
            Some(key) => format!("{key} {value}"),
            None => value.to_owned(),
        }
    }
}

/// What is written to where.
impl fmt::Display for Write {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "writing {} to {}", self.line(&self.value), self.file)?;
        match &self.missing {
            Missing::Refuse => Ok(()),
            Missing::Skip => f.write_str(", if there is one"),
            Missing::Instead(file, value) => write!(f, ", or {} to {file}", self.line(value)),
        }
    }
}

/// What an older kernel has no file for is as good as zero there.
pub(super) fn skip_zero(write: &mut Write) {
    if write.value == "0" {
        write.missing = Missing::Skip;
    }
}

/// A value in which zero, as with runc, says as much as leaving it out.
pub(super) fn nonzero<T: Default + PartialEq>(value: Option<T>) -> Option<T> {
    value.filter(|value| *value != T::default())
}

/// A key as a part of a JSON pointer.
pub(super) fn escape(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

/// Where one controller's writes go.
pub(super) struct Writes<'a> {
    controller: Cow<'static, str>,
    all: &'a mut Vec<Write>,
}

impl<'a> Writes<'a> {
    pub(super) fn new(controller: impl Into<Cow<'static, str>>, all: &'a mut Vec<Write>) -> Self {
        Self { controller: controller.into(), all }
    }

    /// Adds a line; the field has the same number in it, unless that is changed.
    pub(super) fn put(
        &mut self,
        file: impl Into<Cow<'static, str>>,
        value: impl fmt::Display,
        field: impl Into<Cow<'static, str>>,
    ) -> &mut Write {
        let value = value.to_string();
        let write = Write {
            controller: self.controller.clone(),
            version: Version::V2,
            file: file.into(),
            key: None,
            given: value.clone(),
            value,
            field: field.into(),
            missing: Missing::Refuse,
        };
        self.all.push_mut(write)
    }
}
