//! Making rings, and opening existing ones.

use std::ffi::CStr;
use std::os::unix::io::{AsRawFd, BorrowedFd, RawFd};
use std::path::Path;

use super::Ring;
use crate::any_ring::Mapping;
use crate::create::{Creation, Draft};
use crate::error::{uninterrupted, Result};
use crate::layout::{Geometry, Header, Variant};
use crate::notify::Notifier;
use crate::options::Options;
use crate::region::Region;
use crate::stats::Stats;

impl Options {
    pub(crate) fn geometry(&self, variant: Variant) -> Result<Geometry> {
        Geometry::new(variant, self)
    }

    /// Returns the sizes that a new ring with these options has; all counts are 0.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`](crate::ErrorKind::Argument) if a size is out of its range.
    ///
    /// ```
    /// # use data_pubsub_shared::{Options, Variant};
    /// assert_eq!(Options::new(1000).sizes(Variant::Int)?.capacity, 1024);
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    pub fn sizes(&self, variant: Variant) -> Result<Stats> {
        Ok(Stats::read(&Header::default(), &self.geometry(variant)?))
    }

    /// Checks whether a new ring with these options could be created at `path` now: the sizes, the mode, and the free space. Creates
    /// nothing, and ignores a file that exists at `path`.
    ///
    /// # Errors
    /// As [`Ring::open`] when it creates a ring.
    ///
    /// ```
    /// # use data_pubsub_shared::{Options, Variant};
    /// let path = std::env::temp_dir().join(format!("not-made-{}.ring", std::process::id()));
    /// Options::new(8).check_new(Variant::Int, &path)?;
    /// let mut options = Options::new(1 << 31);
    /// options.msg_size = (1 << 31) - 1;
    /// assert_eq!(options.check_new(Variant::Str, &path).unwrap_err().os_code(), 28); // ENOSPC
    /// assert!(!path.exists());
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    pub fn check_new(&self, variant: Variant, path: &Path) -> Result<()> {
        self.creation(variant)?.check_room(path)
    }

    fn creation(&self, variant: Variant) -> Result<Creation> {
        Creation::new(self.geometry(variant)?, self.mode)
    }

    /// Opens the ring at `path`, or makes it with these options.
    ///
    /// # Errors
    /// As [`Ring::open`].
    ///
    /// ```
    /// # use data_pubsub_shared::{Options, Variant};
    /// let path = std::env::temp_dir().join(format!("options-{}.ring", std::process::id()));
    /// let mut options = Options::new(8);
    /// options.mode = 0o640;
    /// let ring = options.open(Variant::Int, &path)?;
    /// ring.unlink()?;
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    pub fn open(&self, variant: Variant, path: &Path) -> Result<Ring> {
        let mut draft = Draft::default();
        uninterrupted(|| self.open_some(variant, path, &mut draft))
    }

    /// Like [`open`](Self::open), but a long creation returns [`ErrorKind::Interrupted`](crate::ErrorKind::Interrupted) now and
    /// then, so that the caller can handle signals. Call again with the same arguments and the same `draft` to continue.
    pub(crate) fn open_some(&self, variant: Variant, path: &Path, draft: &mut Draft) -> Result<Ring> {
        let creation = match self.capacity {
            0 => None,
            _ => Some(self.creation(variant)?),
        };
        Region::open(path, variant, creation.as_ref(), draft).map(|mapped| self.ring(mapped))
    }

    /// Makes a ring without a name, shared with the children that this process forks.
    ///
    /// # Errors
    /// As [`Ring::open`].
    ///
    /// ```
    /// # use data_pubsub_shared::{Options, Variant};
    /// let mut options = Options::new(8);
    /// options.stamped = true;
    /// let ring = options.anonymous(Variant::Str)?;
    /// assert!(ring.stats().stamped);
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    pub fn anonymous(&self, variant: Variant) -> Result<Ring> {
        self.in_memory(variant, unnamed(), false)
    }

    /// Makes a ring in a memfd. `name` (up to 249 bytes) is what `/proc` shows. The memfd is close-on-exec, and its size is sealed.
    ///
    /// # Errors
    /// As [`Ring::open`].
    ///
    /// ```
    /// # use data_pubsub_shared::{Options, Variant};
    /// let name = std::ffi::CString::new("ticks").unwrap();
    /// assert!(Options::new(8).memfd(Variant::Int, &name)?.as_memfd().is_some());
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    pub fn memfd(&self, variant: Variant, name: &CStr) -> Result<Ring> {
        self.in_memory(variant, name, true)
    }

    fn in_memory(&self, variant: Variant, name: &CStr, keep: bool) -> Result<Ring> {
        let geometry = self.geometry(variant)?;
        Ok(self.ring((Region::memory(name, &geometry, keep)?, geometry)))
    }

    fn ring(&self, mapped: (Region, Geometry)) -> Ring {
        if self.prefault {
            mapped.0.prefault();
        }
        Ring::from(mapped)
    }
}

fn unnamed() -> &'static CStr {
    CStr::from_bytes_with_nul(b"pubsub\0").expect("ends in NUL")
}

impl Ring {
    /// Opens the ring at `path`, or makes it with `capacity` slots (1 ..= 2^31, rounded up to a power of two), messages of up to
    /// `msg_size` bytes (`Str` only; 1 ..= 2^31 - 1), and exactly the permission bits `mode`.
    ///
    /// An existing ring keeps its own capacity and message size. With a `capacity` of 0, only an existing ring is opened.
    ///
    /// # Errors
    /// - [`ErrorKind::Argument`](crate::ErrorKind::Argument) if a size is out of its range.
    /// - [`ErrorKind::Incompatible`](crate::ErrorKind::Incompatible) if the file is not a ring of this variant and version.
    /// - [`ErrorKind::System`](crate::ErrorKind::System) if a system call fails: no such directory, no permission, disk full, a
    ///   symbolic link.
    ///
    /// ```
    /// # use data_pubsub_shared::{Ring, Variant};
    /// let path = std::env::temp_dir().join(format!("sizes-{}.ring", std::process::id()));
    /// let ring = Ring::open(Variant::Str, &path, 1000, 100, 0o600)?;
    /// assert_eq!((ring.capacity(), ring.msg_size()), (1024, 100));
    /// assert_eq!(Ring::open(Variant::Str, &path, 0, 0, 0)?.capacity(), 1024);
    /// ring.unlink()?;
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    pub fn open(variant: Variant, path: &Path, capacity: u64, msg_size: u64, mode: u32) -> Result<Ring> {
        Options { capacity, msg_size, mode, ..Options::default() }.open(variant, path)
    }

    /// Makes a ring without a name, shared with the children that this process forks.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    ///
    /// ```
    /// # use data_pubsub_shared::{Ring, Variant};
    /// assert_eq!(Ring::anonymous(Variant::Int32, 5, 0)?.capacity(), 8);
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    pub fn anonymous(variant: Variant, capacity: u64, msg_size: u64) -> Result<Ring> {
        Options { capacity, msg_size, ..Options::default() }.anonymous(variant)
    }

    /// Makes a ring in a memfd. `name` (up to 249 bytes) is what `/proc` shows. The memfd is close-on-exec, and its size is sealed.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    ///
    /// ```
    /// # use data_pubsub_shared::{Ring, Variant};
    /// let name = std::ffi::CString::new("ticks").unwrap();
    /// let ring = Ring::memfd(Variant::Int, &name, 8, 0)?;
    /// assert!(ring.as_memfd().is_some());
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    pub fn memfd(variant: Variant, name: &CStr, capacity: u64, msg_size: u64) -> Result<Ring> {
        Options { capacity, msg_size, ..Options::default() }.memfd(variant, name)
    }

    /// Opens the ring at `path` for reading only: to subscribe and to read statistics, not to publish. Needs no write permission,
    /// and cannot change the ring. Publishers do not wake its subscribers: a subscriber that waits polls at least every 5
    /// milliseconds.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    ///
    /// ```
    /// # use data_pubsub_shared::{Ring, Variant};
    /// let path = std::env::temp_dir().join(format!("only-{}.ring", std::process::id()));
    /// let ring = Ring::open(Variant::Int, &path, 8, 0, 0o600)?;
    /// let reading = Ring::open_read_only(Variant::Int, &path)?;
    /// ring.publish_int(1)?;
    /// assert_eq!(reading.subscribe(true).poll_int()?, Some(1));
    /// assert!(reading.publish_int(2).is_err());
    /// ring.unlink()?;
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    pub fn open_read_only(variant: Variant, path: &Path) -> Result<Ring> {
        Ok(Ring { read_only: true, ..Region::open_read_only(path, variant).map(Ring::from)? })
    }

    /// Opens the ring in the file of `fd`. The descriptor is duplicated; the caller keeps its own. If `fd` is open for reading
    /// only, the ring is opened as by [`open_read_only`](Self::open_read_only).
    ///
    /// # Errors
    /// As [`open`](Self::open).
    ///
    /// ```
    /// # use data_pubsub_shared::{Ring, Variant};
    /// use std::os::unix::io::AsFd;
    ///
    /// let path = std::env::temp_dir().join(format!("by-fd-{}.ring", std::process::id()));
    /// let ring = Ring::open(Variant::Int, &path, 8, 0, 0o600)?;
    /// let file = std::fs::File::open(&path).unwrap();
    /// ring.unlink()?;
    /// ring.publish_int(1)?;
    /// assert_eq!(Ring::from_fd(Variant::Int, file.as_fd())?.subscribe(true).poll_int()?, Some(1));
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    pub fn from_fd(variant: Variant, fd: BorrowedFd<'_>) -> Result<Ring> {
        Self::from_number(variant, fd.as_raw_fd())
    }

    /// Like [`from_fd`](Self::from_fd), for a number that may not be an open descriptor.
    pub(crate) fn from_number(variant: Variant, fd: RawFd) -> Result<Ring> {
        let (region, geometry, read_only) = Region::from_fd(fd, variant)?;
        Ok(Ring { read_only, ..Ring::from((region, geometry)) })
    }

    /// Switches to the ring that the path leads to now. Existing subscribers keep reading the old ring.
    ///
    /// # Errors
    /// As [`open`](Self::open) without a capacity; [`ErrorKind::Argument`](crate::ErrorKind::Argument) if the ring has no path.
    /// On an error the handle is unchanged.
    ///
    /// ```
    /// # use data_pubsub_shared::{Ring, Variant};
    /// let path = std::env::temp_dir().join(format!("again-{}.ring", std::process::id()));
    /// let mut ring = Ring::open(Variant::Int, &path, 8, 0, 0o600)?;
    /// ring.unlink()?;
    /// let next = Ring::open(Variant::Int, &path, 16, 0, 0o600)?;
    /// ring.reopen()?;
    /// assert_eq!(ring.capacity(), 16);
    /// next.unlink()?;
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    pub fn reopen(&mut self) -> Result<()> {
        let found = self.mapping.region.reopen(self.mapping.geometry.variant, self.read_only)?;
        *self = Ring { read_only: self.read_only, notifier: std::mem::take(&mut self.notifier), ..Ring::from(found) };
        Ok(())
    }
}

impl From<(Region, Geometry)> for Ring {
    fn from(mapped: (Region, Geometry)) -> Ring {
        let (ring, mapping) = Mapping::new(mapped);
        Ring::on(ring, &mapping, Notifier::default(), false)
    }
}
