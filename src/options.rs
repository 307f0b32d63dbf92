//! Options of a new ring; [`crate::ring`] makes it.

/// Options of a new ring. An existing ring keeps its own sizes.
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
    /// Number of slots, 1 ..= 2^31, rounded up to a power of two, at least 2. With 0, only an existing ring is opened.
    pub capacity: u64,
    /// Strings: maximum length of a message in bytes, 1 ..= 2^31 - 1.
    pub msg_size: u64,
    /// Strings: number of publishers that can be in the middle of a publish at the same time, 1 ..= 65,536. 0 means as many as fit
    /// into 4 MiB, but 16 to 64.
    pub publishers: u64,
    /// Number of entries of the table of readers, 1 ..= 65,535. 0 means 64, [`NO_READERS`] no table.
    pub readers: u64,
    /// Permission bits of the file; the umask is ignored.
    pub mode: u32,
    /// Lossless rings: how long publishers wait for a named reader that is away, in milliseconds.
    pub keep_ms: u32,
    /// Publishers wait for the readers in the table, instead of overwriting messages that a reader has not read.
    pub lossless: bool,
    /// Maps all pages of the ring for this process when it is opened, instead of at the first access to each. This costs some 100
    /// ms per GiB, and saves the page faults of the first lap. Needs Linux 5.14 or later.
    pub prefault: bool,
    /// Strings: each message carries its wall-clock publish time and the pid of its publisher, in 16 more bytes per message.
    pub stamped: bool,
}

/// The value of [`Options::readers`] for a ring without a table of readers.
pub const NO_READERS: u64 = u64::MAX;

impl Default for Options {
    /// Capacity 0 (only an existing ring is opened), messages of up to 256 bytes, mode 0600; all other options are 0 or false.
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
    /// Options with this capacity and the default of every other option.
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
