//! What attaching to files and making them have in common: names, errors, and which start of the machine this is.

use std::ffi::CString;
use std::fs::{File, Metadata};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::sync::Once;

use crate::error::{Error, ErrorKind, Result};
use crate::layout::{BootId, Identity, IdentityBytes, HEADER_LEN};
use crate::sync::{AtomicU64, Ordering::Relaxed};

pub(crate) fn c_path(path: &Path) -> Result<CString> {
    CString::new(path.as_os_str().as_bytes())
        .map_err(|_| Error::new(ErrorKind::Argument, format!("path {:?} contains a NUL byte", path)))
}

pub(crate) fn os_error(call: &str, error: &std::io::Error) -> Error {
    Error::from_os(call, error.raw_os_error().unwrap_or(libc::EIO))
}

/// Device and inode: which file this is, whatever its names.
pub(crate) fn inode(meta: &Metadata) -> (u64, u64) {
    (meta.dev(), meta.ino())
}

/// Why a regular file without a magic number is no ring.
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

/// Which start of the machine this is; zero where the system does not say.
pub(crate) fn boot_id() -> BootId {
    static ONCE: Once = Once::new();
    static KNOWN: [AtomicU64; 2] = [AtomicU64::new(0), AtomicU64::new(0)];
    ONCE.call_once(|| {
        let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let digits: String = text.chars().filter(char::is_ascii_hexdigit).collect();
        for (i, word) in KNOWN.iter().enumerate() {
            let part = digits.get(16 * i..16 * i + 16).and_then(|part| u64::from_str_radix(part, 16).ok());
            word.store(part.unwrap_or(0), Relaxed);
        }
    });
    [KNOWN[0].load(Relaxed), KNOWN[1].load(Relaxed)]
}
