//! What a new ring is to be like, and the ways to make one.

use std::ffi::CStr;
use std::path::Path;

use crate::create::{Creation, Draft};
use crate::error::{uninterrupted, Result};
use crate::layout::{Geometry, Header, Variant};
use crate::region::Region;
use crate::ring::Ring;
use crate::stats::Stats;

/// What a new ring is like. A ring that exists keeps its own sizes.
///
/// ```
/// use data_pubsub_shared::{Options, Variant};
///
/// let ring = Options { capacity: 1000, msg_size: 80, publishers: 4, ..Options::default() }.anonymous(Variant::Str)?;
/// assert_eq!((ring.capacity(), ring.stats().publishers), (1024, 4));
/// # Ok::<(), data_pubsub_shared::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Options {
    /// Slots, 1 ..= 2^31, rounded up to a power of two, at least 2; 0: only a ring that exists is opened.
    pub capacity: u64,
    /// Strings: the longest message in bytes, 1 ..= 2^31 - 1.
    pub msg_size: u64,
    /// Strings: how many publishers can be in the middle of a publish at once, 1 ..= 65,536; 0: as many as fit into 4 MiB,
    /// 16 ..= 64.
    pub publishers: u64,
    /// How many subscribers the table of readers has room for, 1 ..= 65,535; 0: 64; [`NO_READERS`]: there is no table.
    pub readers: u64,
    /// A file's permission bits, whatever the umask.
    pub mode: u32,
    /// Lossless rings: for how many milliseconds publishers wait for a named reader that is away.
    pub keep_ms: u32,
    /// Publishers wait for the readers of the table, instead of overwriting what one of them has not read.
    pub lossless: bool,
    /// Maps every page of the ring for this process now, new or not, instead of at the first message in it: costs some 100 ms a
    /// GiB, and spares the first lap its page faults. Linux 5.14 or later.
    pub prefault: bool,
    /// Strings: each message has the wall-clock time and the process id of its publisher; 16 bytes more for each.
    pub stamped: bool,
}

/// No table of readers.
pub const NO_READERS: u64 = u64::MAX;

impl Default for Options {
    /// No capacity, messages of 256 bytes, as many publishers and readers as is usual, mode 0600, not lossless.
    fn default() -> Self {
        Options {
            capacity: 0,
            msg_size: 256,
            publishers: 0,
            readers: 0,
            mode: 0o600,
            keep_ms: 0,
            lossless: false,
            prefault: false,
            stamped: false,
        }
    }
}

impl Options {
    pub(crate) fn geometry(&self, variant: Variant) -> Result<Geometry> {
        Geometry::new(variant, self)
    }

    /// What a new ring of these will say of itself.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`](crate::ErrorKind::Argument) for sizes out of range.
    pub fn sizes(&self, variant: Variant) -> Result<Stats> {
        Ok(Stats::read(&Header::default(), &self.geometry(variant)?))
    }

    /// Opens the ring at `path`, or makes it.
    ///
    /// # Errors
    /// As [`Ring::open`].
    pub fn open(&self, variant: Variant, path: &Path) -> Result<Ring> {
        let mut draft = Draft::default();
        uninterrupted(|| self.open_some(variant, path, &mut draft))
    }

    /// As [`open`](Self::open), but a long creation returns now and then with [`ErrorKind::Interrupted`](crate::ErrorKind::Interrupted), so that the caller
    /// can look after signals; the next call with the same arguments and the same `draft` goes on there.
    pub(crate) fn open_some(&self, variant: Variant, path: &Path, draft: &mut Draft) -> Result<Ring> {
        let creation = match self.capacity {
            0 => None,
            _ => Some(Creation::new(self.geometry(variant)?, self.mode)?),
        };
        Region::open(path, variant, creation.as_ref(), draft).map(|mapped| self.ring(mapped))
    }

    /// A new ring without a name, shared with the children that this process forks.
    ///
    /// # Errors
    /// As [`Ring::open`].
    pub fn anonymous(&self, variant: Variant) -> Result<Ring> {
        self.in_memory(variant, unnamed(), false)
    }

    /// A new ring in a memfd called `name` (for `/proc`; up to 249 bytes), close-on-exec and sealed in its size.
    ///
    /// # Errors
    /// As [`Ring::open`].
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
