//! What a new ring is to be like; [`crate::ring`] makes it.

/// What a new ring is like. A ring that exists keeps its own sizes.
///
/// ```
/// use data_pubsub_shared::{Options, Variant};
///
/// let mut options = Options::new(1000);
/// options.msg_size = 80;
/// options.publishers = 4;
/// let ring = options.anonymous(Variant::Str)?;
/// assert_eq!((ring.capacity(), ring.stats().publishers), (1024, 4));
/// # Ok::<(), data_pubsub_shared::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
#[non_exhaustive]
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
    /// So many slots, and everything else as usual.
    ///
    /// ```
    /// # use data_pubsub_shared::Options;
    /// let options = Options::new(8);
    /// assert_eq!((options.capacity, options.msg_size, options.mode), (8, 256, 0o600));
    /// ```
    pub fn new(capacity: u64) -> Self {
        Options { capacity, ..Options::default() }
    }
}
