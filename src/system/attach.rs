//! Opening a ring without knowing what it carries: its file says that.

use std::os::unix::io::{AsRawFd, BorrowedFd, RawFd};
use std::path::Path;

use crate::error::{Error, ErrorKind, Result};
use crate::inspect::inspect;
use crate::layout::Variant;
use crate::options::Options;
use crate::ring::Ring;

/// Looks at a file that may be replaced by rings of other variants meanwhile.
const TRIES: u32 = 16;

impl Ring {
    /// Opens the ring at `path`, whatever it carries; [`variant`](Self::variant) says what that is.
    ///
    /// # Errors
    /// [`ErrorKind::System`] where there is no file or the system refuses, [`ErrorKind::Incompatible`] for a file that is not a
    /// ring.
    ///
    /// ```
    /// use data_pubsub_shared::{Ring, Variant};
    ///
    /// let path = std::env::temp_dir().join(format!("attach-{}.ring", std::process::id()));
    /// let made = Ring::open(Variant::Int16, &path, 64, 0, 0o600)?;
    /// let found = Ring::attach(&path)?;
    /// assert_eq!((found.variant(), found.capacity()), (Variant::Int16, 64));
    /// made.unlink()?;
    /// assert!(Ring::attach(&path).is_err());
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    pub fn attach(path: &Path) -> Result<Ring> {
        attach(path, |variant| Options::default().open(variant, path))
    }

    /// The same, for reading only, as [`open_read_only`](Self::open_read_only).
    ///
    /// # Errors
    /// As [`attach`](Self::attach).
    ///
    /// ```
    /// # use data_pubsub_shared::{Ring, Variant};
    /// let path = std::env::temp_dir().join(format!("attach-only-{}.ring", std::process::id()));
    /// let ring = Ring::open(Variant::Num, &path, 8, 0, 0o600)?;
    /// let looking = Ring::attach_read_only(&path)?;
    /// assert_eq!((looking.variant(), looking.is_read_only()), (Variant::Num, true));
    /// ring.unlink()?;
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    pub fn attach_read_only(path: &Path) -> Result<Ring> {
        attach(path, |variant| Ring::open_read_only(variant, path))
    }

    /// Opens the ring behind `fd`, whatever it carries, as [`from_fd`](Self::from_fd).
    ///
    /// # Errors
    /// As [`from_fd`](Self::from_fd).
    ///
    /// ```
    /// # use data_pubsub_shared::{Ring, Variant};
    /// use std::os::unix::io::AsFd;
    ///
    /// let path = std::env::temp_dir().join(format!("attach-fd-{}.ring", std::process::id()));
    /// let ring = Ring::open(Variant::Num, &path, 8, 0, 0o600)?;
    /// let file = std::fs::File::open(&path).unwrap();
    /// assert_eq!(Ring::attach_fd(file.as_fd())?.variant(), Variant::Num);
    /// ring.unlink()?;
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    pub fn attach_fd(fd: BorrowedFd<'_>) -> Result<Ring> {
        Self::attach_number(fd.as_raw_fd())
    }

    /// The same, of a number that may be no descriptor.
    pub(crate) fn attach_number(fd: RawFd) -> Result<Ring> {
        let of_process = format!("/proc/self/fd/{}", fd);
        found(Path::new(&of_process), |variant| Ring::from_number(variant, fd))
    }
}

fn attach(path: &Path, open: impl Fn(Variant) -> Result<Ring>) -> Result<Ring> {
    match std::fs::symlink_metadata(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            Err(Error::from_os(format!("open({})", path.display()), libc::ENOENT))
        }
        _ => found(path, open),
    }
}

/// Opens with the variant that the file has. Where it says none it may be in the hands of its creator, for whom `open` waits;
/// what else is wrong with it `open` says, too.
fn found(path: &Path, open: impl Fn(Variant) -> Result<Ring>) -> Result<Ring> {
    let look = || inspect(path).ok().and_then(|seen| seen.variant).unwrap_or(Variant::Int);
    let mut variant = look();
    for _ in 0..TRIES {
        match open(variant) {
            Err(error) if error.kind() == ErrorKind::Incompatible => match look() {
                same if same == variant => return Err(error),
                other => variant = other,
            },
            result => return result,
        }
    }
    open(variant)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::io::AsFd;

    #[test]
    fn each_variant_is_found_by_path_and_by_descriptor() {
        let dir = crate::testfile::TestDir::new();
        for variant in Variant::ALL {
            let path = dir.path().join(format!("{:?}", variant));
            Ring::open(variant, &path, 8, 8, 0o600).unwrap();
            let looking = Ring::attach_read_only(&path).unwrap();
            assert_eq!((Ring::attach(&path).unwrap().variant(), looking.variant()), (variant, variant));
            assert!(looking.is_read_only());
            let file = std::fs::File::open(&path).unwrap();
            assert_eq!(Ring::attach_fd(file.as_fd()).unwrap().variant(), variant);
        }
    }

    #[test]
    fn what_is_no_ring_is_refused_by_name() {
        let dir = crate::testfile::TestDir::new();
        let path = dir.path().join("other");
        let kind_of = |path: &Path| Ring::attach(path).unwrap_err();
        let none = kind_of(&path);
        assert_eq!((none.kind(), none.os_code()), (ErrorKind::System, libc::ENOENT));
        std::fs::write(&path, vec![7u8; 8192]).unwrap();
        for (error, part) in [(kind_of(&path), "other"), (kind_of(Path::new("/")), "/")] {
            assert!(error.kind() != ErrorKind::Argument && error.to_string().contains(part), "{}", error);
        }
        assert_eq!(Ring::attach_number(-1).unwrap_err().os_code(), libc::EBADF);
    }
}
