//! The shared bytes: one header page, the table of readers, then (strings only) the spares, then the slots, then (strings
//! only) the blocks.
//!
//! ```text
//!   0     identity    magic, version, variant, capacity, sizes, places    written by the creator, magic last
//!   128   publish     write_pos                                           written by publishers
//!   256   clear       base, abandoned_at_clear                            written by `clear`
//!   384   wake        eventcount word, sleepers                           written by sleeping readers and wakers
//!   512   events      recoveries, abandoned, leaked, unregistered, gone, unlisted, revoked    written at rare events
//!   640   limit       first position that may not be claimed, entries in use    written by joining readers and publishers
//!   768   room        eventcount word, sleepers                           written by sleeping publishers and wakers
//!   896   segments    256 words    numbers only, not lossless, from 1,024 slots on; see [`crate::segment`]
//!   4096  readers     readers * 128 bytes                                 see [`crate::readers`]
//!   ...   spares      publishers * 128 bytes                              Str only; see [`crate::spare`]
//!   ...   slots       capacity * 16 (Int, Num) or * 8 (Int32, Int16, Str) bytes
//!   ...   arena       (capacity + publishers) blocks of 8 + msg_size rounded up to 8 (+ 16: stamped) bytes    Str only
//! ```
//!
//! Words with different writers are on different 128-byte lines. Numbers are in the host's byte order; in a foreign byte order
//! the magic number does not match. A process that attaches checks the identity, copies it into its own [`Geometry`] and never
//! reads the identity again, so a peer that overwrites the header can corrupt messages but not addresses. In a new ring all
//! bytes but the identity are zero.

use crate::error::{Error, ErrorKind, Result};
use crate::options::{Options, NO_READERS};
use crate::segment::{Grid, Segments};
use crate::sync::Ordering::{Release, SeqCst};
use crate::sync::{fence, AtomicU32, AtomicU64, Line};

/// The bytes "PubSubSh".
const MAGIC: u64 = u64::from_ne_bytes(*b"PubSubSh");
const FOREIGN_MAGIC: u64 = MAGIC.swap_bytes();
/// The first bytes of a file of versions 0.x on CPAN, another implementation of this name.
const OTHER_MAGIC: &[u8] = b"1BSP";
/// Changes whenever the meaning of a shared byte changes.
const VERSION: u32 = 3;
/// Length of the header in bytes: one page.
pub(crate) const HEADER_LEN: u64 = 4096;
/// Maximum number of slots of a ring.
pub(crate) const MAX_CAPACITY: u64 = 1 << 31;
/// Maximum length of a message of a string ring, in bytes.
pub(crate) const MAX_MSG_SIZE: u64 = (1 << 31) - 1;
/// Maximum number of publishers of strings that can be in the middle of a publish at the same time.
pub(crate) const MAX_PUBLISHERS: u64 = 1 << 16;
/// The default number of spare blocks is the number that fits into `SPARE_BYTES`, limited to the range `SPARES`.
const SPARE_BYTES: u64 = 4 << 20;
const SPARES: (u64, u64) = (16, 64);
/// Length of a spare's entry in bytes.
const SPARE_LEN: u64 = 128;
/// Maximum and default number of entries of the table of readers.
pub(crate) const MAX_READERS: u64 = 65_535;
const USUAL_READERS: u64 = 64;
/// Length of a reader's entry in bytes.
const READER_LEN: u64 = 128;
/// Feature bit of the identity: publishers wait for readers.
const LOSSLESS: u32 = 1;
/// Feature bit of the identity: each message has a stamp, its publish time and the pid of its publisher.
const STAMPED: u32 = 2;
/// Length of a stamp in bytes.
const STAMP_LEN: u64 = 16;

/// The type of a ring's messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
#[non_exhaustive]
pub enum Variant {
    /// 64-bit integers, 16 bytes per slot.
    Int = 1,
    /// 32-bit integers, 8 bytes per slot.
    Int32 = 2,
    /// 16-bit integers, 8 bytes per slot.
    Int16 = 3,
    /// Strings of up to `msg_size` bytes, each with Perl's UTF-8 flag.
    Str = 4,
    /// 64-bit floating-point numbers, 16 bytes per slot.
    Num = 5,
}

impl Variant {
    /// All variants, in the order of their numbers.
    pub const ALL: [Variant; 5] = [Variant::Int, Variant::Int32, Variant::Int16, Variant::Str, Variant::Num];

    /// Returns the variant with this number, or `None` if there is none.
    ///
    /// ```
    /// # use data_pubsub_shared::Variant;
    /// assert_eq!((Variant::from_number(4), Variant::from_number(9)), (Some(Variant::Str), None));
    /// ```
    pub fn from_number(number: u32) -> Option<Self> {
        Variant::ALL.iter().copied().find(|v| *v as u32 == number)
    }

    fn with_article(self) -> String {
        format!("{} {:?} ring", if matches!(self, Variant::Str | Variant::Num) { "a" } else { "an" }, self)
    }

    fn slot_len(self) -> u64 {
        match self {
            Variant::Int | Variant::Num => 16,
            Variant::Int32 | Variant::Int16 | Variant::Str => 8,
        }
    }
}

/// The publish time of a message and the pid of its publisher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stamp {
    /// The publisher's wall clock, in nanoseconds since 1970-01-01 00:00 UTC.
    pub time_ns: u64,
    /// The pid of the publisher, in its own pid namespace.
    pub pid: u32,
}

impl Stamp {
    /// Returns [`time_ns`](Self::time_ns) as a [`SystemTime`](std::time::SystemTime).
    ///
    /// ```
    /// # use data_pubsub_shared::{Options, Variant};
    /// let mut options = Options::new(8);
    /// options.stamped = true;
    /// let ring = options.anonymous(Variant::Str)?;
    /// ring.publish_str(b"hello")?;
    /// let mut sub = ring.subscribe(true);
    /// sub.poll_str()?;
    /// assert!(sub.stamp().expect("of the last message").time() <= std::time::SystemTime::now());
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    pub fn time(&self) -> std::time::SystemTime {
        std::time::UNIX_EPOCH + std::time::Duration::from_nanos(self.time_ns)
    }
}

/// Sizes and offsets of one ring, in bytes. Every address in the mapping is computed from a checked copy of this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Geometry {
    pub(crate) variant: Variant,
    /// Slots; a power of two, 2 ..= 2^31.
    pub(crate) capacity: u64,
    /// Maximum length of a message in bytes, 1 ..= 2^31 - 1; 0 for numbers.
    pub(crate) msg_size: u64,
    /// Publishers that can be in the middle of a publish at once, each with a spare block, 1 ..= 65,536; 0 for numbers.
    pub(crate) publishers: u64,
    /// Entries of the table of readers, 0 ..= 65,535.
    pub(crate) readers: u64,
    /// Whether publishers wait for readers. `readers` is then at least 1.
    pub(crate) lossless: bool,
    /// Lossless rings: how long publishers wait for a named reader that is away, in milliseconds.
    pub(crate) keep_ms: u32,
    /// Strings: whether each message has a stamp, its publish time and the pid of its publisher.
    pub(crate) stamped: bool,
    pub(crate) spares_at: u64,
    pub(crate) slots_at: u64,
    /// A multiple of 64, so that blocks share as few cache lines as they can.
    pub(crate) arena_at: u64,
    /// Length of `capacity + publishers` blocks; 0 for numbers.
    pub(crate) arena_len: u64,
    /// Length of the file and of the mapping.
    pub(crate) total: u64,
}

impl Geometry {
    /// Computes the geometry of a new ring. Fails with [`ErrorKind::Argument`] if an option is out of its range.
    pub(crate) fn new(variant: Variant, wanted: &Options) -> Result<Self> {
        let argument = |text: String| Err(Error::new(ErrorKind::Argument, text));
        let Options { capacity, msg_size, publishers, readers, lossless, keep_ms, stamped, .. } = *wanted;
        if !(1..=MAX_CAPACITY).contains(&capacity) {
            return argument(format!("capacity must be an integer from 1 to {}, not {}", MAX_CAPACITY, capacity));
        }
        let stringy = variant == Variant::Str;
        if stringy && !(1..=MAX_MSG_SIZE).contains(&msg_size) {
            return argument(format!("msg_size must be an integer from 1 to {}, not {}", MAX_MSG_SIZE, msg_size));
        }
        if publishers > MAX_PUBLISHERS {
            return argument(format!("publishers must be an integer from 1 to {}, not {}", MAX_PUBLISHERS, publishers));
        }
        let readers = match readers {
            0 => USUAL_READERS,
            NO_READERS => 0,
            n if n <= MAX_READERS => n,
            n => return argument(format!("readers must be an integer from 0 to {}, not {}", MAX_READERS, n)),
        };
        if lossless && readers == 0 {
            return argument("a lossless ring needs a table of readers: readers must not be 0".to_owned());
        }
        if keep_ms != 0 && !lossless {
            return argument("keep is for lossless rings".to_owned());
        }
        if stamped && !stringy {
            return argument("stamped is for rings of strings".to_owned());
        }
        let capacity = capacity.next_power_of_two().max(2);
        let block_len = block_len(msg_size, stamped);
        let (msg_size, publishers) = match (stringy, publishers) {
            (false, _) => (0, 0),
            (true, 0) => (msg_size, (SPARE_BYTES / block_len).clamp(SPARES.0, SPARES.1)),
            (true, n) => (msg_size, n),
        };
        // At most 2^31 slots, 2^16 spares and readers, and blocks of 2^31 bytes: none of these numbers reaches 2^63.
        let spares_at = HEADER_LEN + readers * READER_LEN;
        let slots_at = spares_at + publishers * SPARE_LEN;
        let arena_at = (slots_at + capacity * variant.slot_len() + 63) & !63;
        let arena_len = if stringy { (capacity + publishers) * block_len } else { 0 };
        let total = if stringy { arena_at + arena_len } else { slots_at + capacity * variant.slot_len() };
        Ok(Geometry {
            variant,
            capacity,
            msg_size,
            publishers,
            readers,
            lossless,
            keep_ms,
            stamped,
            spares_at,
            slots_at,
            arena_at,
            arena_len,
            total,
        })
    }

    /// The segments of the ring, if it has some. A lossless ring has none: its publishers would wait where slots are withheld.
    pub(crate) fn grid(&self) -> Option<Grid> {
        Grid::new(self.capacity).filter(|_| self.variant != Variant::Str && !self.lossless)
    }

    /// Length of a block in bytes: a word, the longest message, and its stamp.
    pub(crate) fn block_len(&self) -> u64 {
        block_len(self.msg_size, self.stamped)
    }

    /// Reads the geometry from the first bytes of a file of `file_len` bytes, and checks every value. Fails with
    /// [`ErrorKind::Incompatible`] if the file is not a ring of this variant and version, or is damaged.
    pub(crate) fn from_header(bytes: &IdentityBytes, variant: Variant, file_len: u64) -> Result<Self> {
        let identity = Identity::from_bytes(bytes);
        let is_ours = identity.has_magic() && identity.version == VERSION;
        let reason = match identity.ring(file_len) {
            Ok(geometry) if geometry.variant == variant => return Ok(geometry),
            Err(reason) if !is_ours || identity.variant == variant as u32 => reason,
            _ => match Variant::from_number(identity.variant) {
                Some(held) => format!("holds {}, opened as {:?}", held.with_article(), variant),
                None => format!("holds a ring of unknown variant {}, opened as {:?}", identity.variant, variant),
            },
        };
        Err(Error::new(ErrorKind::Incompatible, format!("invalid or incompatible: {}", reason)))
    }
}

/// `n` rounded up to a multiple of 8.
pub(crate) const fn round_up_8(n: u64) -> u64 {
    (n + 7) & !7
}

const fn block_len(msg_size: u64, stamped: bool) -> u64 {
    8 + round_up_8(msg_size) + if stamped { STAMP_LEN } else { 0 }
}

/// Line 0 of the header, as it is stored in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Identity {
    magic: u64,
    version: u32,
    variant: u32,
    capacity: u64,
    msg_size: u64,
    publishers: u64,
    slots_at: u64,
    arena_at: u64,
    arena_len: u64,
    total: u64,
    readers: u64,
    features: u32,
    keep_ms: u32,
}

const IDENTITY_LEN: usize = std::mem::size_of::<Identity>();
/// The bytes of an [`Identity`].
pub(crate) type IdentityBytes = [u8; IDENTITY_LEN];

impl Identity {
    pub(crate) fn new(geometry: &Geometry) -> Self {
        Identity {
            magic: MAGIC,
            version: VERSION,
            variant: geometry.variant as u32,
            capacity: geometry.capacity,
            msg_size: geometry.msg_size,
            publishers: geometry.publishers,
            slots_at: geometry.slots_at,
            arena_at: geometry.arena_at,
            arena_len: geometry.arena_len,
            total: geometry.total,
            readers: geometry.readers,
            features: if geometry.lossless { LOSSLESS } else { 0 } | if geometry.stamped { STAMPED } else { 0 },
            keep_ms: geometry.keep_ms,
        }
    }

    pub(crate) fn from_bytes(bytes: &IdentityBytes) -> Self {
        // SAFETY: all fields are integers without padding (asserted below), so every pattern of bytes is a valid value.
        unsafe { std::mem::transmute_copy(bytes) }
    }

    pub(crate) fn to_bytes(self) -> IdentityBytes {
        // SAFETY: as above.
        unsafe { std::mem::transmute(self) }
    }

    /// Whether the magic number and the version are those of this library.
    pub(crate) fn is_readable(&self) -> bool {
        self.magic == MAGIC && self.version == VERSION
    }

    /// Whether the magic number is missing: no process has finished initialising this file.
    pub(crate) fn is_unwritten(&self) -> bool {
        self.magic == 0
    }

    /// Whether only the magic number is missing from a complete header: its creator was killed before it wrote that.
    pub(crate) fn is_unfinished(&self) -> bool {
        self.is_unwritten() && self.version == VERSION && self.geometry(self.total).is_ok()
    }

    pub(crate) fn has_magic(&self) -> bool {
        self.magic == MAGIC
    }

    /// Returns the geometry of the ring in a file of this identity and length, or the reason why it is not a ring of this version.
    pub(crate) fn ring(&self, file_len: u64) -> std::result::Result<Geometry, String> {
        if !self.has_magic() {
            return Err(match self.magic {
                FOREIGN_MAGIC => "a ring file of a host with another byte order".to_owned(),
                magic if magic.to_ne_bytes().starts_with(OTHER_MAGIC) => {
                    "a ring file of Data::PubSub::Shared 0.x, another implementation (magic \"1BSP\")".to_owned()
                }
                _ => "not a ring file".to_owned(),
            });
        }
        if self.version != VERSION {
            return Err(format!("layout version {}, and this library reads {}", self.version, VERSION));
        }
        self.geometry(file_len)
    }

    /// Like [`ring`](Self::ring), without a check of the magic number and the version.
    pub(crate) fn geometry(&self, file_len: u64) -> std::result::Result<Geometry, String> {
        let variant = Variant::from_number(self.variant).ok_or_else(|| format!("unknown variant {}", self.variant))?;
        let inconsistent = |what: String| Err(format!("inconsistent header: {}", what));
        let or_none = |most: u64| if variant == Variant::Str { 1..=most } else { 0..=0 };
        if !self.capacity.is_power_of_two() || !(2..=MAX_CAPACITY).contains(&self.capacity) {
            return inconsistent(format!("capacity {}", self.capacity));
        }
        if !or_none(MAX_MSG_SIZE).contains(&self.msg_size) {
            return inconsistent(format!("message size {}", self.msg_size));
        }
        if !or_none(MAX_PUBLISHERS).contains(&self.publishers) {
            return inconsistent(format!("{} publishers", self.publishers));
        }
        if self.readers > MAX_READERS {
            return inconsistent(format!("{} readers", self.readers));
        }
        if self.features & !(LOSSLESS | STAMPED) != 0 {
            return inconsistent(format!("features {:#x}", self.features));
        }
        let wanted = Options {
            capacity: self.capacity,
            msg_size: self.msg_size,
            publishers: self.publishers,
            readers: if self.readers == 0 { NO_READERS } else { self.readers },
            lossless: self.features & LOSSLESS != 0,
            stamped: self.features & STAMPED != 0,
            keep_ms: self.keep_ms,
            ..Options::default()
        };
        let geometry = Geometry::new(variant, &wanted).or_else(|error| inconsistent(error.to_string()))?;
        let right = Identity::new(&geometry);
        for (name, is, should_be) in [
            ("slots_at", self.slots_at, right.slots_at),
            ("arena_at", self.arena_at, right.arena_at),
            ("arena_len", self.arena_len, right.arena_len),
            ("total", self.total, right.total),
        ] {
            if is != should_be {
                return inconsistent(format!("{} is {}, and should be {}", name, is, should_be));
            }
        }
        if geometry.total != file_len {
            return Err(format!("wrong size: the ring has {} bytes, the file {}", geometry.total, file_len));
        }
        Ok(geometry)
    }
}

/// Line 3: the eventcount on which subscribers sleep; see [`crate::wait`].
#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct WakeLine {
    /// `epoch << 2 | K << 1 | W`.
    pub(crate) word: AtomicU32,
    /// Number of sleepers, only for `stats`. A sleeper that was killed counts until the next wake-up.
    pub(crate) sleepers: AtomicU32,
}

/// A value that is unlikely to appear by corruption.
pub(crate) const UNREGISTERED: u64 = u64::from_ne_bytes(*b"no locks");

/// Line 4: counters of rare events.
#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct EventLine {
    /// Spares taken over from publishers that exited in the middle of a publish.
    pub(crate) recoveries: AtomicU64,
    /// Abandoned positions: a publisher claimed them and did not commit.
    pub(crate) abandoned: AtomicU64,
    /// Blocks whose place is unknown; see [`crate::spare`].
    pub(crate) leaked: AtomicU64,
    /// [`UNREGISTERED`] once a process without a member number has published: others cannot tell whether it lives.
    pub(crate) unregistered: AtomicU64,
    /// [`GONE`] once a process removed the ring's file.
    pub(crate) gone: AtomicU64,
    /// Subscribers for which the table of readers had no room.
    pub(crate) unlisted: AtomicU64,
    /// Segments with revoked slots, about; see [`crate::segment`].
    pub(crate) revoked: AtomicU64,
}

/// Line 5: the limit of claims in a lossless ring; see [`crate::lossless`].
#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct LimitLine {
    /// `limit << 24 | epoch`.
    pub(crate) word: AtomicU64,
    /// Only the first `used` entries of the table of readers were ever used.
    pub(crate) used: AtomicU32,
}

/// A value that is unlikely to appear by corruption.
pub(crate) const GONE: u64 = u64::from_ne_bytes(*b"unlinked");
/// Offsets in the file: of the word that holds [`GONE`], and of the word on which subscribers sleep.
pub(crate) const GONE_AT: u64 = 512 + 4 * 8;
pub(crate) const WAKE_AT: u64 = 384;

impl EventLine {
    /// A publisher without a member number must call this before it changes anything else in the ring.
    pub(crate) fn say_unregistered(&self) {
        // SeqCst, as the exchanges of slots are.
        self.unregistered.store(UNREGISTERED, SeqCst);
        // Release: a process that sees an entry taken by this one also sees the store above.
        fence(Release);
    }

    /// Whether a publisher without a member number may exist.
    pub(crate) fn has_unregistered(&self) -> bool {
        self.unregistered.load(SeqCst) == UNREGISTERED
    }
}

/// Line 2: what `clear` writes.
#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct ClearLine {
    /// The position of the last clear, the 0 that users count from; never falls, never above `write_pos`.
    pub(crate) base: AtomicU64,
    /// `abandoned` at that moment.
    pub(crate) abandoned: AtomicU64,
}

/// The header page. In a new ring everything but the identity is zero.
#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct Header {
    /// Never read through a mapping: see [`Identity`]. Atomic, because other processes may change it, with `pwrite` too.
    identity: Line<[AtomicU64; 11]>,
    /// Next position to claim; only publishers add to it; never falls.
    pub(crate) write_pos: Line<AtomicU64>,
    pub(crate) clear: Line<ClearLine>,
    pub(crate) wake: Line<WakeLine>,
    pub(crate) events: Line<EventLine>,
    pub(crate) limit: Line<LimitLine>,
    /// The eventcount on which publishers of a lossless ring sleep.
    pub(crate) room: Line<WakeLine>,
    pub(crate) segments: Line<Segments>,
}

const _: () = {
    assert!(IDENTITY_LEN == 88 && std::mem::size_of::<Header>() <= HEADER_LEN as usize);
    assert!(std::mem::size_of::<usize>() == 8);
    // Computed by hand: `offset_of!` is newer than the minimum Rust version.
    assert!(GONE_AT as usize + 24 == 4 * 128 + std::mem::size_of::<EventLine>() && WAKE_AT as usize == 3 * 128);
};

impl Header {
    /// Whether a process removed the ring's file through this library.
    pub(crate) fn is_gone(&self) -> bool {
        // SeqCst: after the announcement of a sleep; meets the store in `remove`.
        self.events.gone.load(crate::sync::Ordering::SeqCst) == GONE
    }

    /// Records that the ring's file was removed, and wakes all sleeping subscribers.
    pub(crate) fn remove(&self) {
        // SeqCst: before the check for sleepers.
        self.events.gone.store(GONE, crate::sync::Ordering::SeqCst);
        self.wake.wake_sleepers();
    }

    /// The oldest position that the ring holds when the next position to claim is `write_pos`.
    pub(crate) fn oldest(&self, write_pos: u64, capacity: u64) -> u64 {
        write_pos.saturating_sub(capacity).max(self.base())
    }

    /// The position of the last clear. A value above the write position is corruption and is read as 0.
    pub(crate) fn base(&self) -> u64 {
        // Acquire: meets the fetch_max in `clear`, so that no write position is seen below the one that it saw. A caller that
        // misses a concurrent clear acts as if the clear had come later.
        let base = self.clear.base.load(crate::sync::Ordering::Acquire);
        if base > self.write_pos.load(crate::sync::Ordering::Acquire) {
            return 0;
        }
        base
    }

    /// Positions claimed since the last clear.
    pub(crate) fn published(&self) -> u64 {
        let base = self.base();
        self.write_pos.load(crate::sync::Ordering::Acquire).saturating_sub(base)
    }

    /// The bytes in use, as (offset, length). All other bytes of the page stay 0.
    pub(crate) fn used(&self) -> [(usize, usize); 8] {
        fn part<T>(header: &Header, part: &T) -> (usize, usize) {
            let (from, at): (*const Header, *const T) = (header, part);
            (at as usize - from as usize, std::mem::size_of::<T>())
        }
        [
            part(self, &*self.identity),
            part(self, &*self.write_pos),
            part(self, &*self.clear),
            part(self, &*self.wake),
            part(self, &*self.events),
            part(self, &*self.limit),
            part(self, &*self.room),
            part(self, &*self.segments),
        ]
    }

    /// Discards everything published before this call, in one store.
    pub(crate) fn clear(&self) {
        use crate::sync::Ordering::{Acquire, Relaxed};
        // Relaxed: statistics, exact once the ring is quiet.
        self.clear.abandoned.store(self.events.abandoned.load(Relaxed), Relaxed);
        let end = self.write_pos.load(SeqCst);
        // Acquire, as in `base`.
        let base = self.clear.base.load(Acquire);
        if base > self.write_pos.load(Acquire) {
            // Corruption. Only a corrupt value may be replaced by a lower one.
            let _ = self.clear.base.compare_exchange(base, end, SeqCst, SeqCst);
        }
        // fetch_max: two clears at once leave the later position.
        self.clear.base.fetch_max(end, SeqCst);
        // Publishers may be waiting for readers of the messages that were discarded.
        self.room.wake_sleepers();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn geometry(variant: Variant, capacity: u64, msg_size: u64, publishers: u64) -> Result<Geometry> {
        Geometry::new(variant, &Options { capacity, msg_size, publishers, ..Options::default() })
    }

    #[test]
    fn capacity_is_rounded_up_to_a_power_of_two() {
        for (asked, got) in [(1, 2), (2, 2), (3, 4), (1000, 1024), (MAX_CAPACITY, MAX_CAPACITY)] {
            assert_eq!(geometry(Variant::Int16, asked, 0, 0).unwrap().capacity, got);
        }
        assert!(geometry(Variant::Int, 0, 0, 0).is_err());
        assert!(geometry(Variant::Int, MAX_CAPACITY + 1, 0, 0).is_err());
    }

    #[test]
    fn the_number_of_spares_is_as_requested_or_fits_a_few_megabytes() {
        for (msg_size, asked, got) in
            [(8, 0, 64), (1 << 17, 0, 31), (1 << 30, 0, 16), (1 << 20, 3, 3), (8, 1 << 16, 1 << 16)]
        {
            let geometry = geometry(Variant::Str, 4, msg_size, asked).unwrap();
            assert_eq!((geometry.publishers, geometry.arena_len), (got, (4 + got) * (msg_size + 8)));
        }
        assert!(geometry(Variant::Str, 4, 8, MAX_PUBLISHERS + 1).is_err());
        assert_eq!(geometry(Variant::Int, 4, 8, 7).unwrap().publishers, 0);
    }

    #[test]
    fn a_lossless_ring_has_a_table_of_readers() {
        let asked = |readers, lossless, keep_ms| {
            Geometry::new(Variant::Int, &Options { capacity: 4, readers, lossless, keep_ms, ..Options::default() })
        };
        for (readers, got) in [(0, 64), (1, 1), (NO_READERS, 0), (MAX_READERS, MAX_READERS)] {
            let geometry = asked(readers, false, 0).unwrap();
            assert_eq!((geometry.readers, geometry.slots_at), (got, HEADER_LEN + got * READER_LEN));
        }
        assert!(asked(2, true, 7).is_ok());
        assert!(asked(NO_READERS, true, 0).is_err() && asked(MAX_READERS + 1, false, 0).is_err());
        assert!(asked(2, false, 7).is_err());
    }

    #[test]
    fn no_geometry_overflows() {
        let most = geometry(Variant::Str, MAX_CAPACITY, MAX_MSG_SIZE, MAX_PUBLISHERS).unwrap();
        assert!(most.total < 1 << 63 && most.arena_len == (MAX_CAPACITY + MAX_PUBLISHERS) * ((1 << 31) + 8));
    }

    #[test]
    fn the_lines_of_the_header_have_the_documented_offsets() {
        assert_eq!(
            Header::default().used(),
            [(0, 88), (128, 8), (256, 16), (384, 8), (512, 56), (640, 16), (768, 8), (896, 2048)]
        );
    }

    #[test]
    fn a_flipped_bit_of_the_identity_is_noticed_or_moves_nothing() {
        let geometry = geometry(Variant::Str, 64, 100, 0).unwrap();
        let good = Identity::new(&geometry).to_bytes();
        assert_eq!(Geometry::from_header(&good, Variant::Str, geometry.total).unwrap(), geometry);
        for bit in 0..IDENTITY_LEN * 8 {
            let mut bad = good;
            bad[bit / 8] ^= 1 << (bit % 8);
            // These can differ without a change of any offset: the message size, within its rounding to 8, whether the ring is
            // lossless, and `keep_ms`.
            let Geometry { msg_size, lossless, keep_ms, .. } = geometry;
            let resized = |read: Geometry| Geometry { msg_size, lossless, keep_ms, ..read } == geometry;
            let harmless = |read: Geometry| read != geometry && resized(read);
            assert!(Geometry::from_header(&bad, Variant::Str, geometry.total).map_or(true, harmless), "bit {}", bit);
        }
        assert!(Geometry::from_header(&good, Variant::Int, geometry.total).is_err());
        assert!(Geometry::from_header(&good, Variant::Str, geometry.total + 1).is_err());
    }
}
