//! A subscriber's position in a ring, and the account of the positions that it has passed.
//!
//! Positions are `u64` and only grow. Users see position - base, where base is the position of the last clear. At all
//! times, messages delivered + `lost` + `filtered` + `skipped` = positions passed - abandoned positions - positions that a clear or
//! a seek skipped.

use std::sync::Arc;

use crate::filter::Filter;
use crate::layout::{Header, Stamp};
use crate::sync::Ordering::Acquire;

pub(crate) use crate::time::{CLAIM_TIMEOUT_NS, PIECE};

/// The claim timeout of a read-only reader. It cannot mark the slot, so it skips the position for itself and counts it as lost. The
/// publisher may still commit it, so the timeout is longer than [`CLAIM_TIMEOUT_NS`].
pub(crate) const READ_ONLY_CLAIM_TIMEOUT_NS: u64 = 100_000_000;

/// The state of the next position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next<T> {
    /// It holds a message, which is not yet counted as delivered.
    Ready(T),
    /// Nothing was published there yet.
    Empty,
    /// It is claimed and not committed. Look again at this time (nanoseconds of the monotonic clock), or after a wake-up.
    Claimed(u64),
    /// Unknown: a [`PIECE`] of positions without a message was passed. Check signals and deadlines, and look again.
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
    /// The write position when the claim was first seen. All claims below it are at least as old.
    seen_end: u64,
    /// When the claim timeout expires, in nanoseconds of the monotonic clock; 0: it has expired, and some of the positions up to
    /// `seen_end` are not abandoned yet.
    expires_at: u64,
}

/// The state of a reader's wait for a claimed position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClaimWait {
    /// It waits until this time, in nanoseconds of the monotonic clock.
    Until(u64),
    /// The claim timeout has expired, for all claimed positions below this one.
    Expired(u64),
}

/// A reader's private state.
#[derive(Clone, Debug)]
pub(crate) struct Cursor {
    /// The next position to read. Falls only by a seek.
    next: u64,
    lost: u64,
    /// `next` - delivered - `lost`: the start, plus all positions that were passed for other reasons.
    origin: u64,
    filtered: u64,
    skipped: u64,
    last: u64,
    stamp: Option<Stamp>,
    filter: Option<Arc<Filter>>,
    /// The fast path is allowed while `next - base` is below this. It is [`OPEN`], or 0 after a seek beyond the write position,
    /// where a narrow slot's tag of a lap long past could look like the one that is waited for.
    horizon: u64,
    /// The base at that seek. A clear since then ends the wait.
    seek_base: u64,
    claim: Option<Claim>,
    /// Where the reader resumed after a message was overwritten while it was copied; `u64::MAX` if it was not.
    resumed: u64,
    read_only: bool,
}

/// The `horizon` of a subscriber that may take the fast path.
const OPEN: u64 = u64::MAX >> 1;

impl Cursor {
    /// The cursor of a new reader with write access.
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

    /// The cursor of a new reader, of a read-only mapping if `read_only` is true.
    pub(crate) fn of_ring(next: u64, read_only: bool) -> Self {
        Cursor { read_only, ..Cursor::at(next) }
    }

    /// The same reader's cursor at `next`, in the same or another ring, with its account and filter.
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

    /// Whether the ring is mapped read-only.
    pub(crate) fn read_only(&self) -> bool {
        self.read_only
    }

    /// Messages that were overwritten before this subscriber read them; never decreases.
    pub(crate) fn lost(&self) -> u64 {
        self.lost
    }

    /// Messages that the filter has rejected; never decreases.
    pub(crate) fn filtered(&self) -> u64 {
        self.filtered
    }

    /// Positions that were skipped to get to a newer message; never decreases.
    pub(crate) fn skipped(&self) -> u64 {
        self.skipped
    }

    /// The position after the last message that was delivered; 0 if there was none.
    pub(crate) fn last(&self) -> u64 {
        self.last
    }

    /// The stamp of that message, for stamped rings.
    pub(crate) fn stamp(&self) -> Option<Stamp> {
        self.stamp
    }

    /// The filter of messages to deliver, for string rings; `None` delivers all.
    #[inline(always)]
    pub(crate) fn filter(&self) -> Option<&Arc<Filter>> {
        self.filter.as_ref()
    }

    /// Sets the filter.
    pub(crate) fn set_filter(&mut self, filter: Option<Arc<Filter>>) {
        self.filter = filter;
    }

    /// Messages that were delivered.
    pub(crate) fn delivered(&self) -> u64 {
        self.next.wrapping_sub(self.origin).wrapping_sub(self.lost)
    }

    /// Moves past `count` messages that were just delivered.
    #[inline(always)]
    pub(crate) fn pass_delivered(&mut self, count: u64) {
        self.next = self.next.wrapping_add(count);
        self.last = self.next;
    }

    /// Moves past the message at `position`, which was just delivered.
    #[inline(always)]
    pub(crate) fn pass_copied(&mut self, position: u64, stamp: Option<Stamp>) {
        self.next = position;
        self.pass_delivered(1);
        if stamp.is_some() {
            self.stamp = stamp;
        }
    }

    /// Forgets the last message, which was of another ring.
    pub(crate) fn forget_last(&mut self) {
        (self.last, self.stamp) = (0, None);
    }

    /// Moves past a message that the filter rejects.
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

    /// Moves to `position` without counting the positions in between. It may lie beyond the write position, to wait for it.
    pub(crate) fn seek(&mut self, header: &Header, position: u64) {
        let ahead = position > header.write_pos.load(Acquire);
        let horizon = if ahead { 0 } else { OPEN };
        *self = Cursor { horizon, seek_base: header.base(), ..self.moved_to(position) };
    }

    /// The next position to read, after the last clear.
    #[inline(always)]
    pub(crate) fn position(&self, header: &Header) -> u64 {
        let base = header.base();
        if self.horizon == 0 && base != self.seek_base {
            return base;
        }
        self.next.max(base)
    }

    /// Whether the fast path is allowed in a ring whose last clear was at `base`.
    #[inline(always)]
    pub(crate) fn is_open(&self, base: u64) -> bool {
        self.next.wrapping_sub(base) < self.horizon
    }

    /// Ends a wait for a position ahead, because it is claimed now. Returns false if a clear has ended the wait before.
    pub(crate) fn arrive(&mut self, header: &Header) -> bool {
        if self.horizon != OPEN && header.base() != self.seek_base {
            return false;
        }
        self.horizon = OPEN;
        true
    }

    /// Notes that the position at the cursor is claimed and not committed at the time `now`, as may be all others below `end`.
    pub(crate) fn await_claim(&mut self, now: u64, end: u64) -> ClaimWait {
        let is_old = |claim: &Claim| (self.read_only || claim.expires_at == 0) && self.next < claim.seen_end;
        match self.claim {
            Some(claim) if claim.position == self.next || is_old(&claim) => {
                if now < claim.expires_at {
                    return ClaimWait::Until(claim.expires_at);
                }
                // All positions that were claimed when this wait began have timed out, too.
                self.claim = Some(Claim { expires_at: 0, ..claim });
                ClaimWait::Expired(claim.seen_end)
            }
            _ => {
                let expires_at = now + if self.read_only { READ_ONLY_CLAIM_TIMEOUT_NS } else { CLAIM_TIMEOUT_NS };
                self.claim = Some(Claim { position: self.next, seen_end: end, expires_at });
                ClaimWait::Until(expires_at)
            }
        }
    }

    /// All positions that the reader waited for are abandoned.
    pub(crate) fn end_wait(&mut self) {
        self.claim = None;
    }

    /// Moves past positions that a clear has discarded. Returns the base.
    pub(crate) fn pass_clear(&mut self, header: &Header) -> u64 {
        self.pass_to(self.position(header));
        let base = header.base();
        if base != self.seek_base {
            self.seek_base = base;
            self.horizon = OPEN;
        }
        base
    }

    /// Moves past positions without a message.
    pub(crate) fn pass_to(&mut self, position: u64) {
        self.origin = self.origin.wrapping_add(position.wrapping_sub(self.next));
        self.next = position;
    }

    /// The number of messages that were published and not yet read.
    #[inline(always)]
    pub(crate) fn lag(&self, header: &Header) -> u64 {
        header.write_pos.load(Acquire).saturating_sub(self.position(header))
    }

    /// The number of positions from the next one up to `end`.
    #[inline(always)]
    pub(crate) fn room(&self, header: &Header, end: u64) -> u64 {
        // After a seek ahead, a clear may have ended the wait.
        let next = if self.horizon == OPEN { self.next } else { self.position(header) };
        end.saturating_sub(next)
    }

    /// The message at the cursor was overwritten while it was copied: skips to `oldest`, or to `middle` if the cursor has resumed
    /// there before.
    pub(crate) fn resume(&mut self, oldest: u64, middle: u64) {
        let again = self.resumed == self.next;
        self.skip_lost(oldest);
        if again && middle > self.next {
            self.skip_lost(middle);
        }
        self.resumed = self.next;
    }

    /// Skips to `oldest`, and counts the positions in between as lost.
    pub(crate) fn skip_lost(&mut self, oldest: u64) {
        debug_assert!(oldest > self.next);
        // The sum overflows only if a writer corrupts the write position again and again.
        self.lost = self.lost.saturating_add(oldest - self.next);
        if self.resumed == self.next {
            self.resumed = oldest;
        }
        self.next = oldest;
    }
}

#[cfg(test)]
mod tests;
