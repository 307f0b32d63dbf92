//! The error of every call of this crate: a kind for programs and a text for people.

use std::fmt;
use std::io;
use std::sync::Arc;

/// Why a call failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A system call failed; [`Error::os_code`] returns its `errno`.
    System = 1,
    /// An argument is out of its range.
    Argument = 2,
    /// The file is not a ring of this variant and version, or is damaged.
    Incompatible = 3,
    /// A message is longer than the ring's `msg_size`.
    TooLong = 4,
    /// A signal arrived, or may have arrived, during the call. Nothing was published; call again.
    Interrupted = 5,
    /// A lossless ring has no room, because a reader has not read the messages that would be overwritten. Nothing was published.
    Full = 6,
    /// The call would wait for a subscriber that only the calling thread can read.
    Deadlock = 7,
    /// A live reader has this name, or the table of readers is full.
    Busy = 8,
}

/// The result of a call of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// A failed call: its kind, its text, and the `errno` of the system call if one failed.
///
/// For [`ErrorKind::System`], [`source`](std::error::Error::source) returns the [`io::Error`] of that system call. Every error
/// converts into an [`io::Error`].
///
/// ```
/// use data_pubsub_shared::{ErrorKind, Ring, Variant};
///
/// let error = Ring::open(Variant::Int, "/nowhere/ticks.ring".as_ref(), 16, 0, 0o600).unwrap_err();
/// assert_eq!((error.kind(), error.os_code()), (ErrorKind::System, libc::ENOENT));
/// assert_eq!(std::io::Error::from(error).kind(), std::io::ErrorKind::NotFound);
/// ```
#[derive(Clone, Debug)]
pub struct Error {
    kind: ErrorKind,
    text: String,
    system: Option<Arc<io::Error>>,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, text: impl Into<String>) -> Self {
        Error { kind, text: text.into(), system: None }
    }

    /// A system error with only the system's text for `code`.
    pub(crate) fn os(code: i32) -> Self {
        Error {
            kind: ErrorKind::System,
            text: os_text(code),
            system: Some(Arc::new(io::Error::from_raw_os_error(code))),
        }
    }

    /// An error of the system call `call`, with the system's text for `code`.
    pub(crate) fn from_os(call: impl fmt::Display, code: i32) -> Self {
        Self::os(code).about(call)
    }

    /// The error of the last system call of this thread, from `errno`.
    pub(crate) fn last_os(call: impl fmt::Display) -> Self {
        Self::from_os(call, last_os_code())
    }

    /// The same error with `what`, its subject, before its text.
    pub(crate) fn about(self, what: impl fmt::Display) -> Self {
        Error { text: format!("{}: {}", what, self.text), ..self }
    }

    pub(crate) fn too_long(length: usize, most: u64) -> Self {
        Self::new(ErrorKind::TooLong, format!("message too long ({} > {})", length, most))
    }

    /// The kind of this failure.
    ///
    /// ```
    /// # use data_pubsub_shared::{ErrorKind, Ring, Variant};
    /// assert_eq!(Ring::anonymous(Variant::Int, 0, 0).unwrap_err().kind(), ErrorKind::Argument);
    /// ```
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The `errno` of the failed system call; 0 unless the kind is [`ErrorKind::System`].
    ///
    /// ```
    /// # use data_pubsub_shared::{Ring, Variant};
    /// let error = Ring::open_read_only(Variant::Int, "/nowhere/ring".as_ref()).unwrap_err();
    /// assert_eq!(error.os_code(), libc::ENOENT);
    /// ```
    pub fn os_code(&self) -> i32 {
        self.system.as_ref().and_then(|system| system.raw_os_error()).unwrap_or(0)
    }
}

/// Repeats `call` as long as it fails with [`ErrorKind::Interrupted`].
pub(crate) fn uninterrupted<T>(mut call: impl FnMut() -> Result<T>) -> Result<T> {
    loop {
        match call() {
            Err(error) if error.kind == ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.system.as_deref().map(|system| system as _)
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> io::Error {
        let kind = match (error.kind, &error.system) {
            (ErrorKind::System, Some(system)) => system.kind(),
            (ErrorKind::Argument | ErrorKind::TooLong, _) => io::ErrorKind::InvalidInput,
            (ErrorKind::Interrupted, _) => io::ErrorKind::Interrupted,
            (ErrorKind::Full, _) => io::ErrorKind::WouldBlock,
            (ErrorKind::Deadlock | ErrorKind::Busy, _) => io::ErrorKind::Other,
            _ => io::ErrorKind::InvalidData,
        };
        io::Error::new(kind, error)
    }
}

/// `errno` of this thread.
pub(crate) fn last_os_code() -> i32 {
    io::Error::last_os_error().raw_os_error().unwrap_or(0)
}

/// The system's text for `code`, without the number that Rust appends.
fn os_text(code: i32) -> String {
    let full = io::Error::from_raw_os_error(code).to_string();
    match full.rfind(" (os error") {
        Some(end) => full[..end].to_owned(),
        None => full,
    }
}
