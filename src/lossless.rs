//! Lossless rings: publishers claim no position whose slot a reader still needs, and sleep until there is room.
//!
//! Publishers do not read the table of readers for each claim. They share a *limit*: positions below it may be claimed. It is the
//! capacity + the smallest position of a reader that is not lossy, as of the last scan of the table. A publisher that reaches the
//! limit scans the table and raises it. The limit never falls, so a claim under an old limit is safe. It is raised by an eighth of
//! the capacity at a time, so that a reader that joins later still finds most of the messages in the slots protected.
//!
//! ```text
//!   claim    p, n: room(limit, p) >= n, and write_pos: p -> p + n                            compare-exchange
//!   raise    word; end = write_pos; smallest position in the table, at most end;
//!            word -> (that + capacity, at most end + an eighth of that, the same epoch)      compare-exchange
//!   join     entry: JOINING;  word: epoch + 1, limit L is read with it;                      compare-exchange
//!            position = the write position, or the oldest held, at least L - capacity;  entry: HERE
//! ```
//!
//! A reader that joins loses nothing: a publisher that read the word after the reader raised the epoch sees the reader's entry
//! (if it is JOINING, the limit stays) or its position. A publisher that read the word before fails to raise the limit, because
//! the epoch has changed. So only L and earlier, lower limits come from tables without the reader, and its position is at least
//! L - capacity. A seek backwards joins again.
//!
//! Publishers sleep on an eventcount of their own ([`crate::wait`]), which readers check when they have reported a position. A
//! publisher sleeps for at most [`LOOK_NS`] and then checks whether the readers that it waits for are alive. So an exited reader
//! delays publishers by no more than that, even if it was killed before it sent a wake-up.

use crate::any_ring::{AnyRing, Mapping};
use crate::error::{Error, ErrorKind, Result};
use crate::fault::fault_point;
use crate::member::Members;
use crate::readers::{Reader, Readers};
use crate::sync::AtomicU64;
use crate::sync::Ordering::{AcqRel, Acquire, SeqCst};
use crate::time::nap;
use crate::wait::{is_due, monotonic_ns, Sleep, Spin, NEVER};
use crate::waiting::Wait;

/// Interval at which a waiting publisher checks whether the readers that it waits for are alive, in nanoseconds.
const LOOK_NS: u64 = 20_000_000;

/// Number of epoch bits in the limit's word. The other 40 bits hold the lower bits of the limit: enough, because the limit is never
/// further from the write position than the capacity.
const EPOCH_BITS: u32 = 24;
const ONE_EPOCH: u64 = 1;
const EPOCH: u64 = (1 << EPOCH_BITS) - 1;

impl Readers {
    /// The number of positions from `next` on that may be claimed under the limit in `word`; `None` if `word` holds no limit that
    /// is valid for this position.
    #[inline(always)]
    fn room(&self, word: u64, next: u64) -> Option<u64> {
        let distance = (word >> EPOCH_BITS).wrapping_sub(next) << EPOCH_BITS;
        let room = (distance as i64 >> EPOCH_BITS) as u64;
        if room <= self.capacity {
            return Some(room);
        }
        None
    }

    /// Whether `n` positions from `next` on may be claimed; `next` is the write position or an earlier one.
    #[inline(always)]
    pub(crate) fn has_room(&self, next: u64, n: u64) -> bool {
        // Acquire: readers have finished reading the slots below the limit before they are overwritten. Meets the Release in
        // `raise_limit`.
        let word = self.header().limit.word.load(Acquire);
        self.room(word, next).map_or(false, |room| room >= n)
    }

    /// Scans the table of readers, and raises the limit for `n` positions and some more, as far as the readers' positions allow.
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
            // Another publisher may have raised the limit since, and others may have claimed below it: it is high enough then.
            if self.room(word, end).map_or(false, |room| room >= limit.wrapping_sub(end)) {
                return;
            }
            // Release: passes the readers' positions seen here on to the publishers that claim below the limit.
            if header.limit.word.compare_exchange(word, raised, AcqRel, Acquire).is_ok() {
                return;
            }
        }
    }

    /// The smallest position that a reader may have under the limit in `word`.
    fn floor(&self, word: u64, end: u64) -> u64 {
        // A word that is not a valid limit is corruption.
        let limit = end.saturating_add(self.room(word, end).unwrap_or(0));
        limit.saturating_sub(self.capacity)
    }

    /// A reader joins: from now on no publisher raises the limit without its entry. Returns the smallest position that publishers
    /// surely keep.
    pub(crate) fn enter(&self) -> u64 {
        let header = self.header();
        let mut word = header.limit.word.load(Acquire);
        loop {
            let next = word & !EPOCH | word.wrapping_add(ONE_EPOCH) & EPOCH;
            // AcqRel: after this reader's entry, and before the positions of readers that join later.
            match header.limit.word.compare_exchange(word, next, AcqRel, Acquire) {
                Ok(_) => break,
                Err(now) => word = now,
            }
        }
        // Read after the word: the write position may have passed the limit of an older word.
        self.floor(word, header.write_pos.load(SeqCst))
    }

    /// The smallest position that a reader may have now, and the position that all readers must have reached for `aim`.
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
            // If another publisher took the room, the limit may be raised again.
            if now == end {
                return self.has_room(end, n);
            }
            end = now;
        }
    }

    /// Whether every reader that publishers wait for has read all messages before `end`.
    fn have_read(&self, end: u64) -> bool {
        let (floor, least) = self.needed_for(Aim::Read(end));
        self.smallest_needed(floor, least) == least
    }
}

/// The condition that a publisher waits for.
#[derive(Clone, Copy)]
enum Aim {
    /// Room for this number of positions.
    Room(u64),
    /// Readers have read all messages before this position.
    Read(u64),
}

/// Sleeps until `n` positions may be claimed, the monotonic clock reaches `deadline`, a signal was handled, or `stop` returns true.
///
/// # Errors
/// [`ErrorKind::Deadlock`] if it waits for a reader of the calling thread without a deadline.
pub(crate) fn wait_for_room(
    ring: &AnyRing,
    mapping: &Mapping,
    n: u64,
    deadline: u64,
    stop: impl Fn() -> bool,
) -> Result<Wait> {
    wait_for(ring, mapping, Aim::Room(n), deadline, stop)
}

/// Like [`wait_for_room`], until readers have read all messages published so far.
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
    // A short spin, without checks of the clock and signals.
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
        // Readers of rings that are not lossless send no wake-ups.
        let slept = if readers.lossless { line.sleep(word, most) } else { nap(&mut naps, most) };
        if slept == Sleep::Interrupted {
            return Ok(Wait::Interrupted);
        }
    }
}

/// For a publisher that does not wait: releases the entries of exited readers that keep it from claiming `n` positions. Returns
/// whether there were any. Does nothing if a thread checked less than [`LOOK_NS`] ago, as recorded in `looked_at`.
pub(crate) fn pass_the_dead(ring: &AnyRing, mapping: &Mapping, n: u64, looked_at: &AtomicU64) -> bool {
    is_due(looked_at, LOOK_NS) && look_after(mapping, ring, Aim::Room(n), 0).unwrap_or(false)
}

/// Releases the entries of exited readers among those that `aim` waits for. Returns whether there were any.
fn look_after(mapping: &Mapping, ring: &AnyRing, aim: Aim, deadline: u64) -> Result<bool> {
    let readers = &mapping.readers;
    let (floor, least) = readers.needed_for(aim);
    let members = &mapping.reading;
    // If the ring's file was removed, its locks no longer tell who is alive; only pids do.
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
        // Other publishers may have checked just before.
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
