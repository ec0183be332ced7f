//! A failed part of a step, on its way to becoming a message.

use rustix::io::Errno;

use crate::wire::{Failure, Operation};

/// What failed within a step.
#[derive(Debug)]
pub(super) struct Failed {
    operation: Operation,
    errno: Errno,
    detail: u32,
    words: Vec<u8>,
}

/// What most parts of steps give back.
pub(super) type Outcome = Result<(), Failed>;

impl Failed {
    /// A failure of this operation.
    pub(super) fn new(operation: Operation, errno: Errno) -> Self {
        Self { operation, errno, detail: 0, words: Vec::new() }
    }

    /// Whether something is there that may not be used.
    pub(super) fn is_denied(&self) -> bool {
        self.errno == Errno::ACCESS || self.errno == Errno::PERM
    }

    /// Whether the kernel refuses to make a new mount, where an old one may serve.
    pub(super) fn is_refused(&self) -> bool {
        self.errno == Errno::PERM || self.errno == Errno::BUSY
    }

    /// Whether a security module keeps a new file system from being mounted by the mount API.
    pub(super) fn is_forbidden(&self) -> bool {
        let mounting = matches!(self.operation, Operation::MakeMount | Operation::Attach);
        mounting && self.errno == Errno::ACCESS
    }

    /// Adds a number that it is about.
    pub(super) fn detail(mut self, detail: u32) -> Self {
        self.detail = detail;
        self
    }

    /// Adds words of the kernel, or of a hook.
    pub(super) fn words(mut self, words: Vec<u8>) -> Self {
        self.words = words;
        self
    }

    /// The message that tells of it.
    pub(super) fn in_step(self, step: u32) -> Failure {
        Failure {
            step,
            operation: self.operation,
            detail: self.detail,
            errno: self.errno,
            words: self.words,
        }
    }
}

/// Names the part of a step that an error number is about.
pub(super) trait Part<T> {
    /// Turns an error number into a failure of `operation`.
    fn part(self, operation: Operation) -> Result<T, Failed>;
}

impl<T> Part<T> for Result<T, Errno> {
    fn part(self, operation: Operation) -> Result<T, Failed> {
        self.map_err(|errno| Failed::new(operation, errno))
    }
}
