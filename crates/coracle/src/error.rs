//! One error type for the whole library: what was being done, why it failed, which line of
//! config.json asked for it, and what to do.
//!
//! ```
//! use coracle::{Errno, Error};
//! let error = Error::new("mounting tmpfs on /dev/shm")
//!     .os(Errno::INVAL)
//!     .at("/mounts/3/options/3", Some("\"mode=1x777\"".into()))
//!     .help("mode takes an octal number, such as mode=1777");
//! assert_eq!(
//!     error.to_string(),
//!     "mounting tmpfs on /dev/shm: invalid argument (EINVAL) \
//!      [config.json: /mounts/3/options/3 = \"mode=1x777\"] \
//!      [help: mode takes an octal number, such as mode=1777]"
//! );
//! ```

use std::borrow::Cow;
use std::fmt;

pub use rustix::io::Errno;

/// `Result` with this library's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What a caller may want to tell apart without reading the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Kind {
    /// Any failure with no kind of its own.
    #[default]
    Other,
    /// The configuration asks for something invalid or unsupported.
    Config,
    /// No container has this ID.
    NoContainer,
    /// A container with this ID exists already.
    Exists,
    /// The container is not in a state that allows the operation.
    State,
    /// The program to run was not found or may not be executed.
    Program,
}

/// Why something failed, and where in config.json it was asked for.
pub struct Error(Box<Inner>);

struct Inner {
    kind: Kind,
    what: Cow<'static, str>,
    errno: Option<Errno>,
    cause: Option<Cow<'static, str>>,
    file: Cow<'static, str>,
    pointer: Option<String>,
    value: Option<String>,
    help: Option<Cow<'static, str>>,
}

impl Error {
    /// An error in doing `what`: a phrase such as `mounting proc on /proc`, or a whole sentence
    /// where there is no cause to add.
    pub fn new(what: impl Into<Cow<'static, str>>) -> Self {
        Self(Box::new(Inner {
            kind: Kind::Other,
            what: what.into(),
            errno: None,
            cause: None,
            file: Cow::Borrowed("config.json"),
            pointer: None,
            value: None,
            help: None,
        }))
    }

    /// Adds the error number that the kernel answered.
    pub fn os(mut self, errno: Errno) -> Self {
        self.0.errno = Some(errno);
        self
    }

    /// Adds a reason in words; with an error number too, it stands before it.
    pub fn because(mut self, cause: impl Into<Cow<'static, str>>) -> Self {
        self.0.cause = Some(cause.into());
        self
    }

    /// Names the place in config.json as a JSON pointer (RFC 6901), and the value found there as
    /// JSON text.
    pub fn at(mut self, pointer: impl Into<String>, value: Option<String>) -> Self {
        self.0.pointer = Some(pointer.into());
        self.0.value = value;
        self.0.kind = if self.0.kind == Kind::Other { Kind::Config } else { self.0.kind };
        self
    }

    /// Names the file that the JSON pointer leads into, where it is not config.json.
    pub fn in_file(mut self, file: impl Into<Cow<'static, str>>) -> Self {
        self.0.file = file.into();
        self
    }

    /// Says what the reader can do about it.
    pub fn help(mut self, help: impl Into<Cow<'static, str>>) -> Self {
        self.0.help = Some(help.into());
        self
    }

    /// Sets the kind.
    pub fn kind(mut self, kind: Kind) -> Self {
        self.0.kind = kind;
        self
    }

    /// Puts `outer: ` before what was being done.
    pub fn within(mut self, outer: &str) -> Self {
        self.0.what = Cow::Owned(format!("{outer}: {}", self.0.what));
        self
    }

    /// The kind of error.
    pub fn get_kind(&self) -> Kind {
        self.0.kind
    }

    /// The kernel's error number, if the kernel refused.
    pub fn errno(&self) -> Option<Errno> {
        self.0.errno
    }

    /// The JSON pointer into config.json, if the error comes from there.
    pub fn pointer(&self) -> Option<&str> {
        self.0.pointer.as_deref()
    }

    /// What was being done and why it failed, in one line, without place and help.
    pub fn summary(&self) -> String {
        let mut text = plain(&self.0.what);
        if let Some(cause) = &self.0.cause {
            text.push_str(": ");
            text.push_str(&plain(cause));
        }
        if let Some(errno) = self.0.errno {
            text.push_str(": ");
            text.push_str(&errno_text(errno));
        }
        text
    }

    /// The place in config.json with its value, such as `/process/cwd = "tmp"`.
    pub fn place(&self) -> Option<String> {
        let pointer = self.0.pointer.as_deref()?;
        let shown = if pointer.is_empty() { "/".into() } else { plain(pointer) };
        Some(match &self.0.value {
            Some(value) => format!("{}: {shown} = {}", self.0.file, shorten(value, 200)),
            None => format!("{}: {shown}", self.0.file),
        })
    }

    /// What to do about it.
    pub fn advice(&self) -> Option<&str> {
        self.0.help.as_deref()
    }
}

/// One line, for logs.
impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.summary())?;
        if let Some(place) = self.place() {
            write!(f, " [{place}]")?;
        }
        if let Some(help) = self.advice() {
            write!(f, " [help: {help}]")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Error({self})")
    }
}

impl std::error::Error for Error {}

/// Adds to a kernel error what was being done.
pub trait Context<T> {
    /// Turns the error number into an [`Error`] about `what`.
    fn what<W: Into<Cow<'static, str>>>(self, what: impl FnOnce() -> W) -> Result<T>;
}

impl<T> Context<T> for std::result::Result<T, Errno> {
    fn what<W: Into<Cow<'static, str>>>(self, what: impl FnOnce() -> W) -> Result<T> {
        self.map_err(|errno| Error::new(what()).os(errno))
    }
}

impl<T> Context<T> for std::io::Result<T> {
    fn what<W: Into<Cow<'static, str>>>(self, what: impl FnOnce() -> W) -> Result<T> {
        self.map_err(|error| match Errno::from_io_error(&error) {
            Some(errno) => Error::new(what()).os(errno),
            None => Error::new(what()).because(error.to_string()),
        })
    }
}

/// A text that may come from the configuration as it can stand in a message: on one line, nothing
/// in it that a terminal would act on, and not too long.
pub(crate) fn plain(text: &str) -> String {
    const MOST: usize = 1000;
    let mut plain = String::with_capacity(text.len().min(MOST));
    for letter in shorten(text, MOST).chars() {
        if letter.is_control() {
            plain.extend(letter.escape_default());
        } else {
            plain.push(letter);
        }
    }
    plain
}

/// A long value is of no use in an error; its beginning is.
fn shorten(value: &str, most: usize) -> Cow<'_, str> {
    if value.len() <= most {
        return Cow::Borrowed(value);
    }
    let end = (0..=most).rev().find(|&i| value.is_char_boundary(i)).unwrap_or(0);
    Cow::Owned(format!("{}… ({} bytes)", &value[..end], value.len()))
}

/// The kernel's words for an error number, lower case as engines match them, and its name:
/// `no such file or directory (ENOENT)`.
pub fn errno_text(errno: Errno) -> Cow<'static, str> {
    let text = std::io::Error::from(errno).to_string();
    // "No such file or directory (os error 2)"
    let words = text.rsplit_once(" (os error").map_or(text.as_str(), |(words, _)| words);
    let mut lower = String::with_capacity(words.len() + 16);
    let mut letters = words.chars();
    if let Some(first) = letters.next() {
        lower.extend(first.to_lowercase());
    }
    lower.push_str(letters.as_str());
    match NAMES.iter().find(|(number, _)| *number == errno) {
        Some((_, name)) => Cow::Owned(format!("{lower} ({name})")),
        None => Cow::Owned(format!("{lower} (errno {})", errno.raw_os_error())),
    }
}

/// errno(3): the names of those that a runtime meets.
const NAMES: &[(Errno, &str)] = &[
    (Errno::PERM, "EPERM"),
    (Errno::NOENT, "ENOENT"),
    (Errno::SRCH, "ESRCH"),
    (Errno::INTR, "EINTR"),
    (Errno::IO, "EIO"),
    (Errno::NXIO, "ENXIO"),
    (Errno::TOOBIG, "E2BIG"),
    (Errno::NOEXEC, "ENOEXEC"),
    (Errno::BADF, "EBADF"),
    (Errno::CHILD, "ECHILD"),
    (Errno::AGAIN, "EAGAIN"),
    (Errno::NOMEM, "ENOMEM"),
    (Errno::ACCESS, "EACCES"),
    (Errno::FAULT, "EFAULT"),
    (Errno::NOTBLK, "ENOTBLK"),
    (Errno::BUSY, "EBUSY"),
    (Errno::EXIST, "EEXIST"),
    (Errno::XDEV, "EXDEV"),
    (Errno::NODEV, "ENODEV"),
    (Errno::NOTDIR, "ENOTDIR"),
    (Errno::ISDIR, "EISDIR"),
    (Errno::INVAL, "EINVAL"),
    (Errno::NFILE, "ENFILE"),
    (Errno::MFILE, "EMFILE"),
    (Errno::NOTTY, "ENOTTY"),
    (Errno::TXTBSY, "ETXTBSY"),
    (Errno::FBIG, "EFBIG"),
    (Errno::NOSPC, "ENOSPC"),
    (Errno::ROFS, "EROFS"),
    (Errno::MLINK, "EMLINK"),
    (Errno::PIPE, "EPIPE"),
    (Errno::RANGE, "ERANGE"),
    (Errno::NAMETOOLONG, "ENAMETOOLONG"),
    (Errno::NOSYS, "ENOSYS"),
    (Errno::NOTEMPTY, "ENOTEMPTY"),
    (Errno::LOOP, "ELOOP"),
    (Errno::NODATA, "ENODATA"),
    (Errno::OVERFLOW, "EOVERFLOW"),
    (Errno::USERS, "EUSERS"),
    (Errno::NOTSOCK, "ENOTSOCK"),
    (Errno::OPNOTSUPP, "EOPNOTSUPP"),
    (Errno::ADDRINUSE, "EADDRINUSE"),
    (Errno::CONNREFUSED, "ECONNREFUSED"),
    (Errno::CONNRESET, "ECONNRESET"),
    (Errno::TIMEDOUT, "ETIMEDOUT"),
    (Errno::STALE, "ESTALE"),
    (Errno::DQUOT, "EDQUOT"),
];
