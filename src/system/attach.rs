//! Opening a ring of any variant: its file says which one it is.

use std::os::unix::io::{AsRawFd, BorrowedFd, RawFd};
use std::path::Path;

use crate::error::{Error, ErrorKind, Result};
use crate::inspect::inspect;
use crate::layout::Variant;
use crate::options::Options;
use crate::ring::Ring;

/// How often a file is inspected again because it was replaced by a ring of another variant meanwhile.
const TRIES: u32 = 16;

impl Ring {
    /// Opens the ring at `path`, of any variant; [`variant`](Self::variant) returns which.
    ///
    /// # Errors
    /// [`ErrorKind::System`] if there is no such file, or a system call fails; [`ErrorKind::Incompatible`] if the file is not a
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

    /// As [`attach`](Self::attach), but read-only, as [`open_read_only`](Self::open_read_only).
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

    /// Opens the ring behind the descriptor `fd`, of any variant, as [`from_fd`](Self::from_fd).
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

    /// As `attach_fd`, for a number that may not be a descriptor.
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

/// Opens the ring as the variant that the file says. If it does not say one, it may be being created; then `open` waits for its
/// creator, or returns an error that says what is wrong with the file.
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
