//! Lossless rings: publishers claim no position whose slot a reader still needs, and sleep until there is room.
//!
//! What may be claimed is written down once for many claims. The *limit* is the smallest position of a reader that must not
//! be skipped + the capacity, as it was when somebody last looked; positions below it may be claimed. A publisher that comes to
//! the limit looks through the table and raises it. It never falls, so a claim that rests on an old one is safe. It is raised
//! by an eighth of the capacity at a time, so that who joins later finds most of what the slots hold still kept.
//!
//! ```text
//!   claim    p, n: room(limit, p) >= n, and write_pos: p -> p + n                            compare-exchange
//!   raise    word; end = write_pos; smallest position in the table, at most end;
//!            word -> (that + capacity, at most end + an eighth of that, the same epoch)      compare-exchange
//!   join     entry: JOINING;  word: epoch + 1, limit L is read with it;                      fetch_add
//!            position = the write position, or the oldest held, at least L - capacity;  entry: HERE
//! ```
//!
//! Why a reader that joins loses nothing: whoever raises the limit after the reader's epoch read the word after that, so it
//! sees the entry (JOINING: the limit stays), or its position. Whoever read the word before fails, because the epoch is
//! another one now. So no limit but L and earlier, lower ones come from tables without the reader, and L - capacity is not
//! above its position. A seek backwards joins again.
//!
//! Publishers sleep on an eventcount of their own ([`crate::wait`]), which readers look at when they have reported a
//! position. No sleep is longer than [`LOOK_NS`], after which a publisher looks whether those that it waits for live. So a dead
//! reader holds nobody up for longer, nor does a wake-up that died with its reader.

use crate::any_ring::{AnyRing, Mapping};
use crate::error::{Error, ErrorKind, Result};
use crate::fault::fault_point;
use crate::member::Members;
use crate::readers::{Reader, Readers};
use crate::sync::AtomicU64;
use crate::sync::Ordering::{AcqRel, Acquire, Relaxed, SeqCst};
use crate::time::nap;
use crate::wait::{monotonic_ns, Sleep, Spin, NEVER};
use crate::waiting::Wait;

/// A publisher that waits looks so often whether the readers that it waits for live, in nanoseconds.
const LOOK_NS: u64 = 20_000_000;

/// Bits of the limit's word for the epoch. The other 40 have the lower bits of the limit, which is never further from the write
/// position than a capacity.
const EPOCH_BITS: u32 = 24;
const ONE_EPOCH: u64 = 1;
const EPOCH: u64 = (1 << EPOCH_BITS) - 1;

impl Readers {
    /// Positions from `next` on that may be claimed under the limit in `word`; None where that is no limit for this position.
    #[inline(always)]
    fn room(&self, word: u64, next: u64) -> Option<u64> {
        let distance = (word >> EPOCH_BITS).wrapping_sub(next) << EPOCH_BITS;
        let room = (distance as i64 >> EPOCH_BITS) as u64;
        if room <= self.capacity {
            return Some(room);
        }
        None
    }

    /// Whether `n` positions from `next` on may be claimed, which is the write position, or was.
    #[inline(always)]
    pub(crate) fn has_room(&self, next: u64, n: u64) -> bool {
        // Acquire: what readers have read was read before it is overwritten.
        let word = self.header().limit.word.load(Acquire);
        self.room(word, next).map_or(false, |room| room >= n)
    }

    /// Looks through the table, and raises the limit as far as that allows, for `n` positions and some more.
    #[cold]
    #[inline(never)]
    pub(crate) fn raise_limit(&self, n: u64) {
        let header = self.header();
        loop {
            let word = header.limit.word.load(Acquire);
            fault_point!("limit-seen");
            let end = header.write_pos.load(SeqCst);
            let most = end.wrapping_add(n.max(self.capacity / 8));
            let limit = self.smallest_needed(self.floor(word, end), end).wrapping_add(self.capacity).min(most);
            let raised = limit << EPOCH_BITS | word & EPOCH;
            // Claims that were made meanwhile, under a limit that somebody else raised, are below that one.
            if self.room(word, end).map_or(false, |room| room >= limit.wrapping_sub(end)) {
                return;
            }
            // Release: the positions that were seen, for who claims.
            if header.limit.word.compare_exchange(word, raised, AcqRel, Acquire).is_ok() {
                return;
            }
        }
    }

    /// The smallest position that a reader may have under the limit in `word`.
    fn floor(&self, word: u64, end: u64) -> u64 {
        // A word that is no limit was scribbled there.
        let limit = end.saturating_add(self.room(word, end).unwrap_or(0));
        limit.saturating_sub(self.capacity)
    }

    /// A reader joins: a limit that does not know it is not raised any more. Returns the smallest position that is surely kept.
    pub(crate) fn enter(&self) -> u64 {
        let header = self.header();
        let mut word = header.limit.word.load(Acquire);
        loop {
            let next = word & !EPOCH | word.wrapping_add(ONE_EPOCH) & EPOCH;
            // AcqRel: after the entry; before the positions of those that join later.
            match header.limit.word.compare_exchange(word, next, AcqRel, Acquire) {
                Ok(_) => break,
                Err(now) => word = now,
            }
        }
        // After the word: the write position may have passed the limit of a word that is older.
        self.floor(word, header.write_pos.load(SeqCst))
    }

    /// The smallest position that a reader may have now; and the one that all must have come to for `aim`.
    fn needed_for(&self, aim: Aim) -> (u64, u64) {
        let header = self.header();
        // Rings that are not lossless have no limit.
        let word = header.limit.word.load(Acquire);
        let end = header.write_pos.load(SeqCst);
        let floor = if self.lossless { self.floor(word, end) } else { 0 };
        match aim {
            Aim::Room(n) => (floor, end.saturating_add(n).saturating_sub(self.capacity)),
            Aim::Read(end) => (floor, end),
        }
    }

    /// The readers that keep publishers from claiming `n` positions.
    pub(crate) fn waited_for(&self, n: u64, members: &Members) -> Vec<Reader> {
        let mut found = Vec::new();
        if self.lossless {
            let (floor, least) = self.needed_for(Aim::Room(n));
            self.hold_up(floor, least, |held| found.extend(held.describe(members)));
        }
        found
    }

    fn looks_at_room(&self, n: u64) -> bool {
        let write_pos = &self.header().write_pos;
        let mut end = write_pos.load(SeqCst);
        loop {
            if self.has_room(end, n) {
                return true;
            }
            self.raise_limit(n);
            let now = write_pos.load(SeqCst);
            // Where another took the room, the limit may be raised for us, too.
            if now == end {
                return self.has_room(end, n);
            }
            end = now;
        }
    }

    /// Whether every reader that must not be skipped has read all up to `end`.
    fn have_read(&self, end: u64) -> bool {
        let (floor, least) = self.needed_for(Aim::Read(end));
        self.smallest_needed(floor, least) == least
    }
}

/// What a publisher waits for.
#[derive(Clone, Copy)]
enum Aim {
    /// Room for so many positions.
    Room(u64),
    /// That readers have read up to this position.
    Read(u64),
}

/// Sleeps until `n` positions may be claimed, the clock reaches `deadline`, a signal was handled, or `stop` says so.
///
/// # Errors
/// [`ErrorKind::Deadlock`] where it waits for a reader of the calling thread, and without a deadline.
pub(crate) fn wait_for_room(
    ring: &AnyRing,
    mapping: &Mapping,
    n: u64,
    deadline: u64,
    stop: impl Fn() -> bool,
) -> Result<Wait> {
    wait_for(ring, mapping, Aim::Room(n), deadline, stop)
}

/// The same until readers have read all that is published now.
pub(crate) fn wait_for_readers(
    ring: &AnyRing,
    mapping: &Mapping,
    deadline: u64,
    stop: impl Fn() -> bool,
) -> Result<Wait> {
    let end = ring.header().write_pos.load(SeqCst);
    wait_for(ring, mapping, Aim::Read(end), deadline, stop)
}

fn wait_for(ring: &AnyRing, mapping: &Mapping, aim: Aim, deadline: u64, stop: impl Fn() -> bool) -> Result<Wait> {
    let readers = &mapping.readers;
    let line = &readers.header().room;
    let is_reached = || match aim {
        Aim::Room(n) => readers.looks_at_room(n),
        Aim::Read(end) => readers.have_read(end),
    };
    // Not for long, without a look at clock and signals.
    if is_reached() || readers.are_few() && Spin::new().until(is_reached) {
        return Ok(Wait::Ready);
    }
    let mut naps = 0;
    let mut look_at = monotonic_ns();
    loop {
        let word = line.prepare_wait();
        fault_point!("room-announced");
        if is_reached() {
            return Ok(Wait::Ready);
        }
        let now = monotonic_ns();
        if now >= look_at {
            look_at = now.saturating_add(LOOK_NS);
            if look_after(mapping, ring, aim, deadline)? {
                continue;
            }
        }
        if stop() {
            return Ok(Wait::Interrupted);
        }
        if now >= deadline {
            return Ok(Wait::TimedOut);
        }
        let most = deadline.min(look_at) - now;
        // Readers of other rings wake nobody.
        let slept = if readers.lossless { line.sleep(word, most) } else { nap(&mut naps, most) };
        if slept == Sleep::Interrupted {
            return Ok(Wait::Interrupted);
        }
    }
}

/// For who tries and does not wait: releases the entries of dead readers that leave no room for `n`, unless somebody looked
/// just now. Whether there were any.
pub(crate) fn pass_the_dead(ring: &AnyRing, mapping: &Mapping, n: u64, looked_at: &AtomicU64) -> bool {
    let now = monotonic_ns();
    // Relaxed: threads that look at once do no harm.
    if now.saturating_sub(looked_at.load(Relaxed)) < LOOK_NS {
        return false;
    }
    looked_at.store(now, Relaxed);
    look_after(mapping, ring, Aim::Room(n), now).unwrap_or(false)
}

/// Releases the entries of dead readers among those that are waited for. Whether there were any.
fn look_after(mapping: &Mapping, ring: &AnyRing, aim: Aim, deadline: u64) -> Result<bool> {
    let readers = &mapping.readers;
    let (floor, least) = readers.needed_for(aim);
    let members = &mapping.reading;
    // Of a ring that is gone nobody knows who lives, unless by its pid.
    let is_gone = mapping.is_gone(ring);
    let (mut any, mut own) = (false, false);
    readers.hold_up(floor, least, |held| {
        own |= held.is_this_thread();
        if held.is_dead(members, is_gone) {
            held.release();
            any = true;
        }
    });
    if any {
        // Others may have looked just before.
        readers.wake_publishers();
    }
    if own && deadline == NEVER {
        return Err(Error::new(
            ErrorKind::Deadlock,
            "would wait forever for this process's own subscriber, which is read in this thread",
        ));
    }
    Ok(any)
}
