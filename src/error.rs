//! What can go wrong, as a kind for programs and a text for people.

use std::fmt;

/// Why a call failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum ErrorKind {
    /// The system refused; [`Error::os_code`] has its number.
    System = 1,
    /// An argument is out of its range.
    Argument = 2,
    /// The file is not a ring of this variant and version, or is damaged.
    Incompatible = 3,
    /// A message is longer than the ring's `msg_size`.
    TooLong = 4,
    /// A signal arrived (or may have) while the call was waiting or working; nothing was published, call again.
    Interrupted = 5,
    /// A lossless ring has no room, because a reader has not read what would be overwritten; nothing was published.
    Full = 6,
    /// A call would wait for a subscriber that only the calling thread can read.
    Deadlock = 7,
    /// A reader with this name lives.
    Busy = 8,
}

/// The result of a call of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// A failed call: its kind, the system's error number if it was the system's, and a text.
#[derive(Clone, Debug)]
pub struct Error {
    kind: ErrorKind,
    os_code: i32,
    text: String,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, text: impl Into<String>) -> Self {
        Error { kind, os_code: 0, text: text.into() }
    }

    /// An error of the system, in its own words alone.
    pub(crate) fn os(code: i32) -> Self {
        Error { kind: ErrorKind::System, os_code: code, text: os_text(code) }
    }

    /// An error of the system call `call`, with the text that the system has for `code`.
    pub(crate) fn from_os(call: impl fmt::Display, code: i32) -> Self {
        Error { kind: ErrorKind::System, os_code: code, text: format!("{}: {}", call, os_text(code)) }
    }

    /// The error that the last system call of this thread left behind.
    pub(crate) fn last_os(call: impl fmt::Display) -> Self {
        Self::from_os(call, last_os_code())
    }

    /// The same error, with what it is about in front.
    pub(crate) fn about(self, what: impl fmt::Display) -> Self {
        Error { text: format!("{}: {}", what, self.text), ..self }
    }

    pub(crate) fn too_long(length: usize, most: u64) -> Self {
        Self::new(ErrorKind::TooLong, format!("message too long ({} > {})", length, most))
    }

    /// What sort of failure this is.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The system's error number (`errno`), 0 unless the kind is [`ErrorKind::System`].
    pub fn os_code(&self) -> i32 {
        self.os_code
    }
}

/// Calls again after every [`ErrorKind::Interrupted`].
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

impl std::error::Error for Error {}

/// `errno` of this thread.
pub(crate) fn last_os_code() -> i32 {
    std::io::Error::last_os_error().raw_os_error().unwrap_or(0)
}

/// The system's words for `code`, without the number that Rust appends.
fn os_text(code: i32) -> String {
    let full = std::io::Error::from_raw_os_error(code).to_string();
    match full.rfind(" (os error") {
        Some(end) => full[..end].to_owned(),
        None => full,
    }
}
