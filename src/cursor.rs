//! A subscriber's place in a ring and the account of what it passed.
//!
//! Positions are `u64` and never go back; what users see is position - base, where base is the position of the last
//! clear. At every moment: messages delivered + `lost` + `filtered` + `skipped` = positions passed, less those that never held a
//! message and less those that a clear or a seek passed.

use std::sync::Arc;

use crate::filter::Filter;
use crate::layout::{Header, Stamp};
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
struct Claim {
    position: u64,
    /// The write position when the claim was first seen: everything below is as old as this claim.
    seen_end: u64,
    /// Nanoseconds of the monotonic clock at which patience ends; 0: it has ended, and not all were given up yet.
    give_up_at: u64,
}

/// How long a reader waits for a position that is claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Patience {
    /// Until then: nanoseconds of the monotonic clock.
    Until(u64),
    /// No longer; nor for anything else from the next position up to this one.
    Ended(u64),
}

/// A reader's own; nobody else writes it.
#[derive(Clone, Debug)]
pub(crate) struct Cursor {
    /// The next position to read. Falls only by a seek.
    next: u64,
    lost: u64,
    /// The next position, had every position that was passed been a message, delivered or lost.
    origin: u64,
    filtered: u64,
    skipped: u64,
    last: u64,
    stamp: Option<Stamp>,
    filter: Option<Arc<Filter>>,
    /// The fast path is open while `next - base` is below this: everything ([`OPEN`]), or nothing (0) after a seek beyond the
    /// write position, where a narrow tag of a lap long past could look like the awaited one.
    horizon: u64,
    /// The base at that seek: a clear since then ends the waiting.
    seek_base: u64,
    claim: Option<Claim>,
    /// Where the reader resumed after a message was overwritten while it was copied; `u64::MAX`: nowhere.
    resumed: u64,
    read_only: bool,
}

/// `horizon` of a subscriber that may take the fast path.
const OPEN: u64 = u64::MAX >> 1;

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

    /// The next position to read.
    #[inline(always)]
    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    /// The ring is mapped for reading only.
    pub(crate) fn read_only(&self) -> bool {
        self.read_only
    }

    /// Messages that were overwritten before this subscriber read them; never falls.
    pub(crate) fn lost(&self) -> u64 {
        self.lost
    }

    /// Messages that were passed because this subscriber does not want them; never falls.
    pub(crate) fn filtered(&self) -> u64 {
        self.filtered
    }

    /// Positions that were passed to get to a newer message; never falls.
    pub(crate) fn skipped(&self) -> u64 {
        self.skipped
    }

    /// The position behind the message that was delivered last; 0: none was.
    pub(crate) fn last(&self) -> u64 {
        self.last
    }

    /// Of that message. Stamped rings only.
    pub(crate) fn stamp(&self) -> Option<Stamp> {
        self.stamp
    }

    /// Which messages are delivered; None: all. Strings only.
    #[inline(always)]
    pub(crate) fn filter(&self) -> Option<&Arc<Filter>> {
        self.filter.as_ref()
    }

    /// From now on those are.
    pub(crate) fn set_filter(&mut self, filter: Option<Arc<Filter>>) {
        self.filter = filter;
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

    /// Moves over the message at `position`, which was just delivered.
    #[inline(always)]
    pub(crate) fn pass_copied(&mut self, position: u64, stamp: Option<Stamp>) {
        self.next = position;
        self.pass_delivered(1);
        if stamp.is_some() {
            self.stamp = stamp;
        }
    }

    /// Nothing was delivered yet, of the ring where it stands now.
    pub(crate) fn forget_last(&mut self) {
        (self.last, self.stamp) = (0, None);
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
    #[inline(always)]
    pub(crate) fn position(&self, header: &Header) -> u64 {
        let base = header.base();
        if self.horizon == 0 && base != self.seek_base {
            return base;
        }
        self.next.max(base)
    }

    /// Whether the fast path is open, for a ring whose last clear was at `base`.
    #[inline(always)]
    pub(crate) fn is_open(&self, base: u64) -> bool {
        self.next.wrapping_sub(base) < self.horizon
    }

    /// What lies at the cursor is claimed, so a wait for a message ahead is over. False: a clear came since the last look at
    /// it, and the wait ended there.
    pub(crate) fn arrive(&mut self, header: &Header) -> bool {
        if self.horizon != OPEN && header.base() != self.seek_base {
            return false;
        }
        self.horizon = OPEN;
        true
    }

    /// What lies at the cursor is claimed and not committed, at the time `now`, and so may be all up to `end`.
    pub(crate) fn await_claim(&mut self, now: u64, end: u64) -> Patience {
        let is_old = |claim: &Claim| (self.read_only || claim.give_up_at == 0) && self.next < claim.seen_end;
        match self.claim {
            Some(claim) if claim.position == self.next || is_old(&claim) => {
                if now < claim.give_up_at {
                    return Patience::Until(claim.give_up_at);
                }
                // Whatever else was claimed when this wait began has waited as long.
                self.claim = Some(Claim { give_up_at: 0, ..claim });
                Patience::Ended(claim.seen_end)
            }
            _ => {
                let give_up_at = now + if self.read_only { READ_ONLY_PATIENCE_NS } else { PATIENCE_NS };
                self.claim = Some(Claim { position: self.next, seen_end: end, give_up_at });
                Patience::Until(give_up_at)
            }
        }
    }

    /// All that was waited for is given up.
    pub(crate) fn end_wait(&mut self) {
        self.claim = None;
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
    #[inline(always)]
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

    /// The message at the cursor was overwritten while it was copied: skips to `oldest`, or to `middle` where that happened at the
    /// place of the last resumption.
    pub(crate) fn resume(&mut self, oldest: u64, middle: u64) {
        let again = self.resumed == self.next;
        self.skip_lost(oldest);
        if again && middle > self.next {
            self.skip_lost(middle);
        }
        self.resumed = self.next;
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
