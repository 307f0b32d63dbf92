//! Statistics of a ring, read from its header.

use crate::layout::{Geometry, Header};
use crate::sync::Ordering::Relaxed;

/// Sizes and counts of a ring. Reading them touches no message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
#[non_exhaustive]
pub struct Stats {
    /// Number of slots.
    pub capacity: u64,
    /// Maximum length of a message in bytes; 0 for rings of numbers.
    pub msg_size: u64,
    /// Size of the arena in bytes; 0 for rings of numbers.
    pub arena_len: u64,
    /// Size of the mapping in bytes.
    pub mmap_size: u64,
    /// Positions claimed since the last clear.
    pub write_pos: u64,
    /// Messages published since the last clear. Claims of publishers that are in the middle of a publish are included.
    pub publish_ok: u64,
    /// Spare blocks taken over from publishers of strings that exited in the middle of a publish.
    pub recoveries: u64,
    /// Positions abandoned since the ring was made: their publisher claimed them and exited, or was so slow that it published at
    /// another position.
    pub abandoned: u64,
    /// Sleeping subscribers. A subscriber that was killed in its sleep counts until the next wake-up.
    pub sub_waiters: u64,
    /// Number of publishers that can be in the middle of a publish of strings at the same time; 0 for rings of numbers.
    pub publishers: u64,
    /// Spare blocks whose place is unknown. They are recovered when a process publishes while no other process does.
    pub leaked: u64,
    /// Number of entries of the table of readers.
    pub readers: u64,
    /// Subscribers for which the table of readers had no room, counted since the ring was made.
    pub unlisted: u64,
    /// How long publishers of a lossless ring wait for a named reader that is away, in milliseconds.
    pub keep_ms: u32,
    /// Whether publishers wait for readers.
    pub lossless: bool,
    /// Whether each message carries its publish time and the pid of its publisher.
    pub stamped: bool,
}

impl Stats {
    pub(crate) fn read(header: &Header, geometry: &Geometry) -> Stats {
        let Geometry { capacity, msg_size, publishers, readers, lossless, keep_ms, stamped, arena_len, total, .. } =
            *geometry;
        // Relaxed: statistics.
        let abandoned = header.events.abandoned.load(Relaxed);
        let write_pos = header.published();
        let since_clear = abandoned.saturating_sub(header.clear.abandoned.load(Relaxed));
        Stats {
            capacity,
            msg_size,
            arena_len,
            mmap_size: total,
            write_pos,
            publish_ok: write_pos.saturating_sub(since_clear),
            recoveries: header.events.recoveries.load(Relaxed),
            abandoned,
            sub_waiters: header.wake.sleepers().into(),
            publishers,
            leaked: header.events.leaked.load(Relaxed),
            readers,
            unlisted: header.events.unlisted.load(Relaxed),
            keep_ms,
            lossless,
            stamped,
        }
    }
}
