//! What attaching to files and creating them have in common: names, errors, and the identity of files.

use std::ffi::CString;
use std::fmt;
use std::fs::{File, Metadata};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::os::unix::io::AsRawFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use crate::error::{Error, ErrorKind, Result};
use crate::fd::above_standard;
use crate::layout::{Identity, IdentityBytes, HEADER_LEN};

pub(crate) fn c_path(path: &Path) -> Result<CString> {
    CString::new(path.as_os_str().as_bytes())
        .map_err(|_| Error::new(ErrorKind::Argument, format!("path {:?} contains a NUL byte", path)))
}

pub(crate) fn os_error(call: &str, error: &std::io::Error) -> Error {
    Error::from_os(call, error.raw_os_error().unwrap_or(libc::EIO))
}

/// The identity of a file: its inode, and when that was created, because inode numbers are reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Inode {
    pub(crate) device: u64,
    pub(crate) number: u64,
    /// Since 1970; zero if the file system does not record it.
    birth: Duration,
}

pub(crate) fn inode(meta: &Metadata) -> Inode {
    let birth = meta.created().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
    Inode { device: meta.dev(), number: meta.ino(), birth }
}

impl fmt::Display for Inode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:", self.device, self.number)?;
        match self.birth.as_secs() {
            0 => f.write_str("0"),
            seconds => write!(f, "{}.{:09}", seconds, self.birth.subsec_nanos()),
        }
    }
}

/// Why a regular file without a magic number is not a ring.
pub(crate) fn unusable(file: &File, path: &Path) -> Error {
    let len = file.metadata().map_or(0, |meta| meta.size());
    let mut bytes = [0; std::mem::size_of::<IdentityBytes>()];
    let unfinished = file.read_exact_at(&mut bytes, 0).is_ok() && Identity::from_bytes(&bytes).is_unfinished();
    let text = if len < HEADER_LEN {
        format!("too small for a ring file ({} bytes)", len)
    } else if unfinished {
        "invalid or incompatible: a ring file that its creator did not finish; remove it to make a new one".to_owned()
    } else {
        "invalid or incompatible: not a ring file".to_owned()
    };
    Error::new(ErrorKind::Incompatible, text).about(path.display())
}

/// The file of a ring, and how to open it again.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    /// An absolute path, valid after a change of the current directory.
    pub(crate) path: PathBuf,
    /// The file at the path, which may be removed and created again.
    pub(crate) inode: Inode,
}

impl Source {
    /// `file`, which was opened by `path`.
    pub(crate) fn path(file: &File, path: &Path) -> Result<Self> {
        let meta = file.metadata().map_err(|e| os_error("fstat", &e))?;
        // If the current directory was removed, only the path as it was given may lead to the file.
        let folder = std::env::current_dir().unwrap_or_default();
        Ok(Source { path: folder.join(path), inode: inode(&meta) })
    }

    /// `file`, by its descriptor, as long as that is open.
    pub(crate) fn descriptor(file: &File) -> Result<Self> {
        Self::path(file, Path::new(&format!("/proc/self/fd/{}", file.as_raw_fd())))
    }

    /// Opens the file again for reading and writing; `None` if it cannot be found any more.
    pub(crate) fn reopen(&self) -> Option<File> {
        self.open_again(true)
    }

    /// Opens the file again for reading.
    pub(crate) fn reopen_to_look(&self) -> Option<File> {
        self.open_again(false)
    }

    fn open_again(&self, write: bool) -> Option<File> {
        let flags = libc::O_NONBLOCK | libc::O_NOCTTY | libc::O_CLOEXEC;
        let opened = std::fs::OpenOptions::new().read(true).write(write).custom_flags(flags).open(&self.path);
        opened
            .and_then(above_standard)
            .ok()
            .filter(|file| file.metadata().map_or(false, |meta| inode(&meta) == self.inode))
    }
}
