//! A subscriber's place in a ring and the account of what it passed.
//!
//! Positions are `u64` and never go back; what users see is position - base, where base is the position of the last
//! clear. At every moment: messages delivered + `lost` + `filtered` + `skipped` = positions passed, less those that never held a
//! message and less those that a clear or a seek passed.

use std::sync::Arc;

use crate::filter::Filter;
use crate::layout::Header;
use crate::str_ring::Stamp;
use crate::sync::Ordering::Acquire;

pub(crate) use crate::time::{PATIENCE_NS, PIECE};

/// As [`PATIENCE_NS`], for a reader that may not write and so cannot give up a claim for all: it skips the position for itself and
/// counts it as lost, because the publisher may yet commit it. So it is more patient.
pub(crate) const READ_ONLY_PATIENCE_NS: u64 = 100_000_000;

/// What the next position holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next<T> {
    /// A message; not yet counted as delivered.
    Ready(T),
    /// Nothing was published there yet.
    Empty,
    /// Claimed and not committed; look again when the monotonic clock shows this many nanoseconds, or when woken.
    Claimed(u64),
    /// Not known: a [`PIECE`] of positions was passed that hold nothing. Look again, after signals and deadlines.
    More,
}

impl<T> Next<T> {
    #[inline(always)]
    pub(crate) fn map<U>(self, f: impl FnOnce(T) -> U) -> Next<U> {
        match self {
            Next::Ready(value) => Next::Ready(f(value)),
            Next::Empty => Next::Empty,
            Next::Claimed(when) => Next::Claimed(when),
            Next::More => Next::More,
        }
    }
}

/// A claimed position that a reader waits for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Claim {
    pub(crate) position: u64,
    /// The write position when the claim was first seen: everything below is as old as this claim.
    pub(crate) seen_end: u64,
    /// Nanoseconds of the monotonic clock at which patience ends; 0: it has ended, and not all were given up yet.
    pub(crate) give_up_at: u64,
}

/// A reader's own; nobody else writes it. `slot_ring` moves it over what it delivers or finds void, and keeps the claim that it
/// waits for; `str_ring` moves it when a copy was whole, and says where it resumed; all else goes through methods.
#[derive(Clone, Debug)]
pub(crate) struct Cursor {
    /// The next position to read. Falls only by a seek.
    pub(crate) next: u64,
    /// Messages that were overwritten before this subscriber read them; never falls. Written here alone.
    pub(crate) lost: u64,
    /// The next position, had every position that was passed been a message, delivered or lost. Written here alone.
    origin: u64,
    /// Messages that were passed because this subscriber does not want them; never falls. Written here alone.
    pub(crate) filtered: u64,
    /// Positions that were passed to get to a newer message; never falls. Written here alone.
    pub(crate) skipped: u64,
    /// Behind the message that was delivered last; 0: none was.
    pub(crate) last: u64,
    /// Of that message. Stamped rings only.
    pub(crate) stamp: Option<Stamp>,
    /// Which messages are delivered; None: all. Strings only.
    pub(crate) filter: Option<Arc<Filter>>,
    /// The fast path is open while `next - base` is below this: everything ([`OPEN`]), or nothing (0) after a seek beyond the
    /// write position, where a narrow tag of a lap long past could look like the awaited one.
    pub(crate) horizon: u64,
    /// The base at that seek: a clear since then ends the waiting. Written here alone.
    pub(crate) seek_base: u64,
    /// What the reader waits for. Of slot rings' alone.
    pub(crate) claim: Option<Claim>,
    /// Where the reader resumed after a message was overwritten while it was copied; `u64::MAX`: nowhere. Strings only.
    pub(crate) resumed: u64,
    /// The ring is mapped for reading only: constant.
    pub(crate) read_only: bool,
}

/// `horizon` of a subscriber that may take the fast path.
pub(crate) const OPEN: u64 = u64::MAX >> 1;

impl Cursor {
    /// Of a reader that may write, and has lost nothing yet.
    pub(crate) fn at(next: u64) -> Self {
        Cursor {
            next,
            lost: 0,
            origin: next,
            filtered: 0,
            skipped: 0,
            last: 0,
            stamp: None,
            filter: None,
            horizon: OPEN,
            seek_base: 0,
            claim: None,
            resumed: u64::MAX,
            read_only: false,
        }
    }

    /// The same for a ring that is mapped for reading only, if `read_only` says so.
    pub(crate) fn of_ring(next: u64, read_only: bool) -> Self {
        Cursor { read_only, ..Cursor::at(next) }
    }

    /// The same reader at `next`, there or in another ring, with its account and its wishes.
    pub(crate) fn moved_to(&self, next: u64) -> Self {
        Cursor {
            lost: self.lost,
            origin: next.wrapping_sub(self.next.wrapping_sub(self.origin)),
            filtered: self.filtered,
            skipped: self.skipped,
            last: self.last,
            stamp: self.stamp,
            filter: self.filter.clone(),
            read_only: self.read_only,
            ..Cursor::at(next)
        }
    }

    /// Messages that were delivered.
    pub(crate) fn delivered(&self) -> u64 {
        self.next.wrapping_sub(self.origin).wrapping_sub(self.lost)
    }

    /// Moves over the `count` messages that were just delivered.
    #[inline(always)]
    pub(crate) fn pass_delivered(&mut self, count: u64) {
        self.next = self.next.wrapping_add(count);
        self.last = self.next;
    }

    /// Moves over a message that is not wanted.
    #[inline(always)]
    pub(crate) fn pass_unwanted(&mut self) {
        self.filtered += 1;
        self.pass_to(self.next + 1);
    }

    /// Moves to a newer message.
    pub(crate) fn skip_to(&mut self, position: u64) {
        self.skipped = self.skipped.saturating_add(position.saturating_sub(self.next));
        self.pass_to(position);
    }

    /// Goes to `position` without counting what lies between; beyond the write position means waiting for it.
    pub(crate) fn seek(&mut self, header: &Header, position: u64) {
        let ahead = position > header.write_pos.load(Acquire);
        let horizon = if ahead { 0 } else { OPEN };
        *self = Cursor { horizon, seek_base: header.base(), ..self.moved_to(position) };
    }

    /// The next position to read, with the last clear seen.
    pub(crate) fn position(&self, header: &Header) -> u64 {
        let base = header.base();
        if self.horizon == 0 && base != self.seek_base {
            return base;
        }
        self.next.max(base)
    }

    /// Moves over what a clear discarded. Returns the base.
    pub(crate) fn pass_clear(&mut self, header: &Header) -> u64 {
        self.pass_to(self.position(header));
        let base = header.base();
        if base != self.seek_base {
            self.seek_base = base;
            self.horizon = OPEN;
        }
        base
    }

    /// Moves over positions that hold no message.
    pub(crate) fn pass_to(&mut self, position: u64) {
        self.origin = self.origin.wrapping_add(position.wrapping_sub(self.next));
        self.next = position;
    }

    /// Messages published and not yet read.
    pub(crate) fn lag(&self, header: &Header) -> u64 {
        header.write_pos.load(Acquire).saturating_sub(self.position(header))
    }

    /// Positions from the next one up to `end`.
    #[inline(always)]
    pub(crate) fn room(&self, header: &Header, end: u64) -> u64 {
        // After a seek ahead, a clear may have ended the waiting there.
        let next = if self.horizon == OPEN { self.next } else { self.position(header) };
        end.saturating_sub(next)
    }

    /// Skips to `oldest`, counting what is passed as lost.
    pub(crate) fn skip_lost(&mut self, oldest: u64) {
        debug_assert!(oldest > self.next);
        // More than all positions together: where a writer corrupts the write position again and again.
        self.lost = self.lost.saturating_add(oldest - self.next);
        if self.resumed == self.next {
            self.resumed = oldest;
        }
        self.next = oldest;
    }
}

#[cfg(test)]
mod tests;
