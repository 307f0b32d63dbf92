//! What a ring knows of itself without looking at its messages.

use crate::layout::{Geometry, Header};
use crate::sync::Ordering::Relaxed;

/// What can be known about a ring without touching its messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
#[non_exhaustive]
pub struct Stats {
    /// Slots.
    pub capacity: u64,
    /// The longest message in bytes; 0 for integers.
    pub msg_size: u64,
    /// Bytes of the arena; 0 for integers.
    pub arena_len: u64,
    /// Bytes mapped.
    pub mmap_size: u64,
    /// Positions claimed since the last clear.
    pub write_pos: u64,
    /// Messages published since the last clear; while others publish, it includes what they have claimed.
    pub publish_ok: u64,
    /// Spare blocks taken over from publishers of strings that died in the middle of a publish.
    pub recoveries: u64,
    /// Positions given up since the ring was made: claimed, but their publisher died or published elsewhere.
    pub abandoned: u64,
    /// Subscribers asleep, as far as is known.
    pub sub_waiters: u64,
    /// Publishers of strings that can be in the middle of a publish at once; 0 for integers.
    pub publishers: u64,
    /// Spare blocks of which nobody knows where they are, until a process publishes while no other does.
    pub leaked: u64,
    /// Entries of the table of readers.
    pub readers: u64,
    /// Subscribers for which that table had no room, since the ring was made.
    pub unlisted: u64,
    /// For how many milliseconds publishers of a lossless ring wait for a named reader that is away.
    pub keep_ms: u32,
    /// Whether publishers wait for readers.
    pub lossless: bool,
    /// Whether each message has the time and the process of its publisher.
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
