//! Integer rings: any number of publishers, lock-free; any number of readers that write nothing.
//!
//! A publisher claims positions with one fetch-and-add and commits each with one exchange of its slot (tag and value
//! together, see [`crate::slot`]). A reader finds at its cursor's slot
//!
//! * its own lap's tag: the message;
//! * its own lap's tag with `void`: a position that was given up; it goes on;
//! * a later tag: it was lapped; it goes on at the oldest message still held and counts the rest as lost;
//! * an earlier tag, at or above `write_pos`: nothing yet;
//! * an earlier tag, below `write_pos`: claimed and not committed. Usually for nanoseconds; but the claimant may be dead
//!   or stopped. After [`PATIENCE_NS`] the reader exchanges the slot to void. Whoever wins that exchange, all agree.
//!
//! A publisher that finds its position void, or lapped, has not published there: it voids what else it claimed with it,
//! claims as many anew at the end, and goes on. So a publish that returned stands in the ring once, in its publisher's
//! order, however long that publisher was stopped; and nobody waits for anybody. The tag only grows, so no stale
//! publisher can put back an older message: claim by ticket is Lamport's bakery, the sequence beside the value is that
//! of D. Vyukov's bounded queue, both without their waiting.

use std::ptr::NonNull;

use crate::cursor::{Claim, Cursor, Next, OPEN, PATIENCE_NS};
use crate::fault::fault_point;
use crate::layout::Header;
use crate::slot::{Slot, Stamped, VOID};
use crate::sync::Ordering::{Relaxed, SeqCst};
use crate::wait::monotonic_ns;

/// One integer ring, wherever its bytes live. Copying copies the pointers, not the ring.
pub(crate) struct IntRing<S> {
    header: NonNull<Header>,
    slots: NonNull<S>,
    /// Capacity - 1; the capacity is a power of two.
    mask: u64,
    /// log2 of the capacity.
    shift: u32,
}

impl<S> Clone for IntRing<S> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<S> Copy for IntRing<S> {}

/// Positions that were claimed and are not committed yet.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Batch {
    next: u64,
    end: u64,
}

impl<S: Slot> IntRing<S> {
    /// # Safety
    /// `header` and `capacity` slots at `slots` must stay valid for as long as any copy of the result is used;
    /// `capacity` is a power of two, at least 2; the slots are aligned to 16 bytes.
    pub(crate) unsafe fn new(header: NonNull<Header>, slots: NonNull<S>, capacity: u64) -> Self {
        debug_assert!(capacity.is_power_of_two() && capacity >= 2);
        IntRing { header, slots, mask: capacity - 1, shift: capacity.trailing_zeros() }
    }

    #[inline(always)]
    pub(crate) fn header(&self) -> &Header {
        // SAFETY: valid while this ring is used, by the contract of `new`.
        unsafe { self.header.as_ref() }
    }

    #[inline(always)]
    fn slot(&self, position: u64) -> &S {
        let index = (position & self.mask) as usize;
        // SAFETY: the mask keeps the index below the capacity; the slots are valid by the contract of `new`.
        unsafe { &*self.slots.as_ptr().add(index) }
    }

    #[inline(always)]
    fn tag(&self, position: u64) -> u64 {
        S::tag(position >> self.shift)
    }

    fn capacity(&self) -> u64 {
        self.mask + 1
    }

    /// Publishes one value. The caller wakes sleepers.
    #[inline(always)]
    pub(crate) fn publish(&self, value: u64) {
        let mut batch = self.claim(1);
        fault_point!("after-claim");
        self.put(&mut batch, value);
    }

    /// Claims `n` positions that stand next to each other. They must all be put.
    #[inline(always)]
    pub(crate) fn claim(&self, n: u64) -> Batch {
        // Relaxed: only the number matters. A reader that saw a commit (Acquire) sees its claim, which came before it.
        let next = self.header().write_pos.fetch_add(n, Relaxed);
        Batch { next, end: next.wrapping_add(n) }
    }

    /// Commits `value` at the next position of `batch`.
    #[inline(always)]
    pub(crate) fn put(&self, batch: &mut Batch, value: u64) {
        debug_assert!(batch.next != batch.end);
        while !self.commit(batch.next, value) {
            self.claim_anew(batch);
        }
        batch.next = batch.next.wrapping_add(1);
    }

    /// Commits `count` values: `value(i)` is called once for each `i`, in order.
    #[inline(always)]
    pub(crate) fn put_all(&self, batch: &mut Batch, count: usize, mut value: impl FnMut(usize) -> u64) {
        let mut i = 0;
        while i < count {
            fault_point!("between-slots");
            if S::PAIRS && batch.next & 1 == 0 && count - i >= 2 {
                let pair = [value(i), value(i + 1)];
                i += 2;
                if self.commit_pair(batch.next, pair) {
                    batch.next = batch.next.wrapping_add(2);
                } else {
                    self.put(batch, pair[0]);
                    self.put(batch, pair[1]);
                }
            } else {
                self.put(batch, value(i));
                i += 1;
            }
        }
    }

    /// True: `value` stands at `position`. False: the position is void or was lapped; nothing happened.
    #[inline(always)]
    fn commit(&self, position: u64, value: u64) -> bool {
        let tag = self.tag(position);
        let slot = self.slot(position);
        let mut seen = slot.load();
        while S::compare(seen.tag, tag) < 0 {
            // Stopped here for so many laps that a narrow tag came round, we still fail: the whole slot must be as seen.
            match slot.exchange(seen, Stamped { tag, value }) {
                Ok(()) => return true,
                Err(now) => seen = now,
            }
        }
        false
    }

    /// Two commits in one exchange, from an even position on; false where that did not work, and nothing happened.
    #[inline(always)]
    fn commit_pair(&self, position: u64, values: [u64; 2]) -> bool {
        let tag = self.tag(position);
        // SAFETY: an even index below the capacity, which is even: its neighbour exists, too.
        let slots = unsafe { &*(self.slot(position) as *const S).cast::<[S; 2]>() };
        let old = [slots[0].load(), slots[1].load()];
        let new = [Stamped { tag, value: values[0] }, Stamped { tag, value: values[1] }];
        S::compare(old[0].tag, tag) < 0 && S::compare(old[1].tag, tag) < 0 && S::exchange_pair(slots, old, new)
    }

    /// The next position of `batch` is gone: gives up the others, so that no reader waits for them, and claims as many
    /// at the end, so that the batch still stands together.
    #[cold]
    fn claim_anew(&self, batch: &mut Batch) {
        let remaining = batch.end.wrapping_sub(batch.next);
        for i in 1..remaining {
            self.give_up(batch.next.wrapping_add(i));
        }
        *batch = self.claim(remaining);
    }

    /// Marks `position` void unless it is committed, void or lapped already.
    fn give_up(&self, position: u64) {
        let tag = self.tag(position);
        let slot = self.slot(position);
        let mut seen = slot.load();
        while S::compare(seen.tag, tag) < 0 {
            match slot.exchange(seen, Stamped { tag: tag | VOID, value: 0 }) {
                Ok(()) => {
                    // Relaxed: a statistic.
                    self.header().lock.abandoned.fetch_add(1, Relaxed);
                    return;
                }
                Err(now) => seen = now,
            }
        }
    }

    /// Delivers the next message, if there is one: the fast path touches one slot and the rarely written base.
    #[inline(always)]
    pub(crate) fn read(&self, cursor: &mut Cursor) -> Option<u64> {
        if cursor.next.wrapping_sub(self.header().base()) <= cursor.horizon {
            let seen = self.slot(cursor.next).load();
            if seen.tag == self.tag(cursor.next) {
                cursor.next += 1;
                return Some(seen.value);
            }
        }
        self.read_slow(cursor)
    }

    #[cold]
    fn read_slow(&self, cursor: &mut Cursor) -> Option<u64> {
        match self.look(cursor) {
            Next::Ready(value) => {
                cursor.next += 1;
                Some(value)
            }
            Next::Empty | Next::Claimed(_) => None,
        }
    }

    /// Moves the cursor over everything that holds no message any more, and says what is there then.
    pub(crate) fn look(&self, cursor: &mut Cursor) -> Next<u64> {
        loop {
            let base = cursor.pass_clear(self.header());
            let seen = self.slot(cursor.next).load();
            // After the slot: a claim comes before its commit, so what was committed lies below this.
            let end = self.header().write_pos.load(SeqCst);
            if cursor.next >= end {
                return Next::Empty;
            }
            cursor.horizon = OPEN;
            if end - cursor.next > self.capacity() {
                cursor.skip_lost((end - self.capacity()).max(base));
                continue;
            }
            let tag = self.tag(cursor.next);
            if seen.tag == tag {
                return Next::Ready(seen.value);
            }
            if seen.tag == tag | VOID {
                cursor.next += 1;
            } else if S::compare(seen.tag, tag) > 0 {
                // A later lap's message although `write_pos` has not gone so far: somebody scribbled on the ring.
                cursor.skip_lost(cursor.next + 1);
            } else if let Some(when) = self.await_claim(cursor, end) {
                return Next::Claimed(when);
            }
        }
    }

    /// The position at the cursor is claimed. Returns until when to be patient; None once patience has ended and the
    /// claim is given up.
    #[cold]
    fn await_claim(&self, cursor: &mut Cursor, end: u64) -> Option<u64> {
        let now = monotonic_ns();
        match cursor.claim {
            Some(claim) if claim.position == cursor.next => {
                if now < claim.give_up_at {
                    return Some(claim.give_up_at);
                }
                // Whatever else was claimed when this wait began has waited as long.
                for position in claim.position..claim.seen_end.min(claim.position + self.capacity()) {
                    self.give_up(position);
                }
                cursor.claim = None;
                None
            }
            _ => {
                let give_up_at = now + PATIENCE_NS;
                cursor.claim = Some(Claim { position: cursor.next, seen_end: end, give_up_at });
                Some(give_up_at)
            }
        }
    }
}
