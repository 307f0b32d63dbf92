//! The protocol of all rings: any number of publishers, lock-free; any number of readers that write nothing. The values are the
//! messages of an integer ring, and the blocks that hold those of a string ring ([`crate::str_ring`]).
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
//! claims as many again at the end, and goes on. So a publish that returned is in the ring once, in its publisher's
//! order, however long that publisher was stopped; and no process waits for another. The tag only grows, so no stale
//! publisher can put back an older message: claim by ticket is Lamport's bakery, the sequence beside the value is that
//! of D. Vyukov's bounded queue, both without their waiting.

use std::ptr::NonNull;

use crate::cursor::{Cursor, Next, Patience, PIECE};
use crate::fault::fault_point;
use crate::layout::Header;
use crate::readers::Readers;
use crate::slot::{NarrowSlot, Slot, Stamped, VOID};
use crate::sync::Ordering::{Relaxed, SeqCst};
use crate::wait::monotonic_ns;

/// Laps by which a publisher or a reader may be late for its slot's tag still to be compared: a narrow one repeats after
/// 2^31, and is taken for a later one from half of that on.
const MAX_LAPS_LATE: u64 = 1 << 29;

/// Times that a reader looks for the newest message, where it is lapped meanwhile.
const MAX_TRIES: u32 = 16;

/// One integer ring, wherever its bytes live. Copying copies the pointers, not the ring.
pub(crate) struct SlotRing<S> {
    header: NonNull<Header>,
    slots: NonNull<S>,
    /// Capacity - 1; the capacity is a power of two.
    mask: u64,
    /// log2 of the capacity.
    shift: u32,
    /// Whom publishers wait for; None where the ring is not lossless.
    kept_for: Option<NonNull<Readers>>,
}

impl<S> Clone for SlotRing<S> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<S> Copy for SlotRing<S> {}

/// Positions that were claimed and are not committed yet.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Batch {
    pub(crate) next: u64,
    pub(crate) end: u64,
}

impl Batch {
    /// Positions that are left.
    pub(crate) fn remaining(&self) -> usize {
        self.end.wrapping_sub(self.next) as usize
    }

    /// The position to commit next.
    #[inline(always)]
    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    /// The position that was committed last.
    #[inline(always)]
    pub(crate) fn committed(&self) -> u64 {
        self.next.wrapping_sub(1)
    }
}

/// What became of a position whose claimant died.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Its claimant committed it.
    Committed,
    /// It did not, and never will.
    Open,
    /// The slot was overwritten since: there is no telling.
    Unknown,
}

impl Fate {
    /// That of the position with this `tag`, whose slot has the tag `seen`.
    pub(crate) fn of<S: Slot>(tag: u64, seen: u64) -> Fate {
        match S::compare(seen, tag) {
            0 => Fate::Committed,
            _ if seen == tag | VOID => Fate::Open,
            later if later > 0 => Fate::Unknown,
            _ => Fate::Open,
        }
    }
}

/// Whether the slot with the tag `seen` holds the lap just before that of `tag`, committed or void.
#[inline(always)]
fn follows<S: Slot>(tag: u64, seen: u64) -> bool {
    (1..=2).contains(&S::compare(tag, seen))
}

/// Laps between those of two tags, of which nothing was ever in the slot.
fn laps_between<S: Slot>(seen: u64, tag: u64) -> u64 {
    (S::compare(tag, seen & !VOID) / 2 - 1).max(0) as u64
}

impl SlotRing<NarrowSlot> {
    /// Whether `position` still holds the message that a reader found there, and has read up to its fence.
    #[inline(always)]
    pub(crate) fn still_holds(&self, position: u64) -> bool {
        self.slot(position).load_relaxed().tag == self.tag(position)
    }

    /// The value in the slot of `position`, or an older one.
    #[inline(always)]
    pub(crate) fn value_hint(&self, position: u64) -> u64 {
        self.slot(position).load_relaxed().value
    }
}

impl<S: Slot> SlotRing<S> {
    /// # Safety
    /// `header`, `readers` and as many slots at `slots` as the capacity says must stay valid for as long as any copy of the
    /// result is used; the capacity is a power of two, at least 2; the slots are aligned to 16 bytes.
    pub(crate) unsafe fn new(header: NonNull<Header>, slots: NonNull<S>, readers: NonNull<Readers>) -> Self {
        // SAFETY: the caller's contract.
        let Readers { capacity, lossless, .. } = unsafe { *readers.as_ref() };
        debug_assert!(capacity.is_power_of_two() && capacity >= 2);
        let kept_for = Some(readers).filter(|_| lossless);
        SlotRing { header, slots, mask: capacity - 1, shift: capacity.trailing_zeros(), kept_for }
    }

    #[inline(always)]
    pub(crate) fn header(&self) -> &Header {
        // SAFETY: valid while this ring is used, by the contract of `new`.
        unsafe { self.header.as_ref() }
    }

    /// Where the slot of `position` is. The pointer is good for all slots.
    #[inline(always)]
    fn place(&self, position: u64) -> *const S {
        let index = (position & self.mask) as usize;
        // SAFETY: the mask keeps the index below the capacity; the slots are valid by the contract of `new`.
        unsafe { self.slots.as_ptr().add(index) }
    }

    #[inline(always)]
    fn slot(&self, position: u64) -> &S {
        // SAFETY: as above; slots are atomic.
        unsafe { &*self.place(position) }
    }

    #[inline(always)]
    fn tag(&self, position: u64) -> u64 {
        S::tag(position >> self.shift)
    }

    pub(crate) fn capacity(&self) -> u64 {
        self.mask + 1
    }

    /// Publishes one value where nothing is in the way; the caller wakes sleepers. Err: what [`publish_anyway`](Self::publish_anyway)
    /// goes on with: the position that was claimed for it, or None.
    #[inline(always)]
    pub(crate) fn publish_at_once(&self, value: u64) -> Result<(), Option<u64>> {
        if self.kept_for.is_some() {
            return Err(None);
        }
        // Relaxed: as in `claim`.
        let position = self.header().write_pos.fetch_add(1, Relaxed);
        fault_point!("after-claim");
        match self.commit_at_once(position, value, |_| ()) {
            Some(_) => Ok(()),
            None => Err(Some(position)),
        }
    }

    /// The same whatever is in the way. False: there is no room, and nothing happened.
    #[inline(never)]
    pub(crate) fn publish_anyway(&self, claimed: Option<u64>, value: u64) -> bool {
        let mut batch = match claimed {
            Some(next) => Batch { next, end: next.wrapping_add(1) },
            None => match self.claim(1) {
                Some(batch) => {
                    fault_point!("after-claim");
                    batch
                }
                None => return false,
            },
        };
        self.put(&mut batch, value)
    }

    /// The one and the other.
    #[cfg(test)]
    pub(crate) fn publish(&self, value: u64) -> bool {
        self.publish_at_once(value).map_or_else(|claimed| self.publish_anyway(claimed, value), |()| true)
    }

    /// Claims `n` positions that stand next to each other. They must all be put. None: a lossless ring has no room for them.
    #[inline(always)]
    pub(crate) fn claim(&self, n: u64) -> Option<Batch> {
        let next = match self.kept_for {
            // Relaxed: only the number matters. A reader that saw a commit (Acquire) sees its claim, which came before it.
            None => self.header().write_pos.fetch_add(n, Relaxed),
            // SAFETY: valid by the contract of `new`.
            Some(readers) => self.claim_kept(n, unsafe { readers.as_ref() })?,
        };
        Some(Batch { next, end: next.wrapping_add(n) })
    }

    /// The same where readers say what may be overwritten.
    #[inline]
    fn claim_kept(&self, n: u64, readers: &Readers) -> Option<u64> {
        let write_pos = &self.header().write_pos;
        let mut next = write_pos.load(Relaxed);
        loop {
            if !readers.has_room(next, n) {
                readers.raise_limit(n);
                let now = write_pos.load(Relaxed);
                // Where another took the room, the limit may be raised for us, too.
                if now == next && !readers.has_room(next, n) {
                    return None;
                }
                next = now;
                continue;
            }
            // Relaxed: as in `claim`. The limit is safe however old it is.
            match write_pos.compare_exchange(next, next.wrapping_add(n), Relaxed, Relaxed) {
                Ok(_) => return Some(next),
                Err(now) => next = now,
            }
        }
    }

    /// Commits `value` at the next position of `batch`. False: that is gone, and a lossless ring has no room for what is left of
    /// the batch; nothing happened, and it may be tried again.
    #[inline(always)]
    pub(crate) fn put(&self, batch: &mut Batch, value: u64) -> bool {
        self.exchange(batch, |_| value, |_, _| ()).is_some()
    }

    /// Commits a value at the next position of `batch`, and returns the one that stood there; None as in [`put`](Self::put). A
    /// position may turn out to be gone, so there may be several tries: `value` is told the index of the slot; `intend` is
    /// told position and old value just before each.
    #[inline(always)]
    pub(crate) fn exchange(
        &self,
        batch: &mut Batch,
        value: impl Fn(u64) -> u64,
        mut intend: impl FnMut(u64, u64),
    ) -> Option<u64> {
        debug_assert!(batch.next != batch.end);
        loop {
            let position = batch.next;
            if let Some(old) = self.commit(position, value(position & self.mask), |old| intend(position, old)) {
                batch.next = position.wrapping_add(1);
                return Some(old);
            }
            if !self.claim_anew(batch) {
                return None;
            }
        }
    }

    /// Commits `count` values, or as many as there is room for, and returns how many. `value(i)` is asked for each `i`, in
    /// order.
    #[inline(always)]
    pub(crate) fn put_all(&self, batch: &mut Batch, count: usize, value: impl Fn(usize) -> u64) -> usize {
        let mut i = 0;
        while i < count {
            fault_point!("between-slots");
            let pair = S::PAIRS && batch.next & 1 == 0 && count - i >= 2;
            if pair && self.exchange_pair(batch, [value(i), value(i + 1)], |_| ()).is_some() {
                i += 2;
                continue;
            }
            if !self.put(batch, value(i)) {
                break;
            }
            i += 1;
        }
        i
    }

    /// Some: `value` stands at `position`, in the place of that. None: the position is void or was lapped; nothing happened.
    #[inline(always)]
    fn commit(&self, position: u64, value: u64, mut intend: impl FnMut(u64)) -> Option<u64> {
        match self.commit_at_once(position, value, &mut intend) {
            Some(old) => Some(old),
            None => self.commit_slow(position, Stamped { tag: self.tag(position), value }, intend),
        }
    }

    /// The same where the slot is simply the last lap's. None: it is not, or not any more.
    #[inline(always)]
    fn commit_at_once(&self, position: u64, value: u64, intend: impl FnOnce(u64)) -> Option<u64> {
        let tag = self.tag(position);
        let slot = self.slot(position);
        let seen = slot.glance();
        if follows::<S>(tag, seen.tag) {
            intend(seen.value);
            if slot.exchange(seen, Stamped { tag, value }).is_ok() {
                return Some(seen.value);
            }
        }
        None
    }

    /// The same where it is not.
    #[cold]
    #[inline(never)]
    fn commit_slow(&self, position: u64, new: Stamped, mut intend: impl FnMut(u64)) -> Option<u64> {
        let slot = self.slot(position);
        let mut seen = slot.load();
        while self.is_older(seen.tag, new.tag, position) || (seen.tag != new.tag | VOID && !self.is_lapped(position)) {
            // A publisher that was stopped here for so many laps that a narrow tag came round fails all the same: the whole
            // slot must be as it was seen.
            intend(seen.value);
            match slot.exchange(seen, new) {
                Ok(()) => {
                    self.count_abandoned(laps_between::<S>(seen.tag, new.tag));
                    return Some(seen.value);
                }
                Err(now) => seen = now,
            }
        }
        None
    }

    /// What became of `position` with regard to the message that its claimant was to commit there.
    pub(crate) fn fate(&self, position: u64) -> Fate {
        if self.behind(position) >> self.shift >= MAX_LAPS_LATE {
            return Fate::Unknown;
        }
        Fate::of::<S>(self.tag(position), self.slot(position).load().tag)
    }

    /// Whether the slot of `position`, whose tag is to become `tag`, holds that of an earlier lap. A caller that is so late
    /// that tags cannot tell was lapped, whatever is there.
    fn is_older(&self, seen: u64, tag: u64, position: u64) -> bool {
        S::compare(seen, tag) < 0 && self.behind(position) >> self.shift < MAX_LAPS_LATE
    }

    /// Whether somebody claimed the same slot for a later lap. If nobody did, a later tag in the slot is none: somebody
    /// scribbled on the ring, and a publisher mends it.
    #[cold]
    #[inline(never)]
    fn is_lapped(&self, position: u64) -> bool {
        self.behind(position) > self.capacity()
    }

    /// How far `position` is behind what is claimed now.
    fn behind(&self, position: u64) -> u64 {
        // SeqCst, after the slot was loaded: a claim comes before its commit.
        self.header().write_pos.load(SeqCst).wrapping_sub(position)
    }

    /// Commits two values in one exchange, from an even position on, and returns those that stood there; None where that did
    /// not work, and nothing happened. `intend` is told the old values just before.
    #[inline(always)]
    pub(crate) fn exchange_pair(
        &self,
        batch: &mut Batch,
        values: [u64; 2],
        intend: impl FnOnce([u64; 2]),
    ) -> Option<[u64; 2]> {
        let position = batch.next;
        debug_assert!(position & 1 == 0 && batch.end.wrapping_sub(position) >= 2);
        let tag = self.tag(position);
        // SAFETY: an even index below the capacity, which is even: its neighbour exists, too.
        let slots = unsafe { &*self.place(position).cast::<[S; 2]>() };
        let old = [slots[0].glance(), slots[1].glance()];
        let new = [Stamped { tag, value: values[0] }, Stamped { tag, value: values[1] }];
        if follows::<S>(tag, old[0].tag) && follows::<S>(tag, old[1].tag) {
            intend([old[0].value, old[1].value]);
            if S::exchange_pair(slots, old, new) {
                batch.next = position.wrapping_add(2);
                return Some([old[0].value, old[1].value]);
            }
        }
        None
    }

    /// The next position of `batch` is gone: gives up the others, so that no reader waits for them, and claims as many
    /// at the end, so that the batch still stands together. False: there is no room for them.
    #[cold]
    #[inline(never)]
    fn claim_anew(&self, batch: &mut Batch) -> bool {
        let remaining = batch.end.wrapping_sub(batch.next);
        for i in 1..remaining {
            self.give_up(batch.next.wrapping_add(i));
        }
        match self.claim(remaining) {
            Some(claimed) => *batch = claimed,
            None => return false,
        }
        true
    }

    /// Marks `position` void unless it is committed, void or lapped already.
    fn give_up(&self, position: u64) {
        let tag = self.tag(position);
        let slot = self.slot(position);
        let mut seen = slot.load();
        while self.is_older(seen.tag, tag, position) || (seen.tag | VOID != tag | VOID && !self.is_lapped(position)) {
            // The value stays: in a string ring it names a block.
            match slot.exchange(seen, Stamped { tag: tag | VOID, value: seen.value }) {
                Ok(()) => return self.count_abandoned(1 + laps_between::<S>(seen.tag, tag)),
                Err(now) => seen = now,
            }
        }
    }

    /// Counts positions that will never hold a message: each once, by who exchanges its slot to void, or to a later lap
    /// while it was uncommitted.
    fn count_abandoned(&self, positions: u64) {
        if positions != 0 {
            // Relaxed: a statistic.
            self.header().events.abandoned.fetch_add(positions, Relaxed);
        }
    }

    /// Delivers the next message, if there is one.
    #[inline(always)]
    pub(crate) fn read(&self, cursor: &mut Cursor) -> Next<u64> {
        let next = self.peek(cursor);
        if let Next::Ready(_) = next {
            cursor.pass_delivered(1);
        }
        next
    }

    /// Delivers messages into `out`, made by `message`, as many as there are and have room. Returns how many, and whether it ended
    /// because there is [`Next::More`] to pass.
    #[inline(always)]
    pub(crate) fn read_all<T>(&self, cursor: &mut Cursor, out: &mut [T], message: impl Fn(u64) -> T) -> (usize, bool) {
        let mut count = 0;
        while count < out.len() {
            let run = self.read_run(cursor, &mut out[count..], &message);
            count += run;
            if run == 0 {
                match self.read(cursor) {
                    Next::Ready(value) => out[count] = message(value),
                    other => return (count, other == Next::More),
                }
                count += 1;
            }
        }
        (count, false)
    }

    /// The same as long as they are at hand: passes nothing. Returns how many.
    #[inline]
    pub(crate) fn take_all<T>(&self, cursor: &mut Cursor, out: &mut [T], message: impl Fn(u64) -> T) -> usize {
        let mut count = 0;
        loop {
            match self.read_run(cursor, &mut out[count..], &message) {
                0 => return count,
                run => count += run,
            }
        }
    }

    /// The same for those that are at hand, up to the end of the slots: [`at_hand`](Self::at_hand) for each, with what does not change
    /// looked up once. A clear meanwhile is missed by the rest of them, as one is that comes between two of `at_hand`'s loads.
    #[inline(always)]
    fn read_run<T>(&self, cursor: &mut Cursor, out: &mut [T], message: impl Fn(u64) -> T) -> usize {
        if !self.is_open(cursor) {
            return 0;
        }
        let (index, tag) = (self.slot_index(cursor.next()), self.tag(cursor.next()));
        let room = (self.capacity() - index).min(out.len() as u64) as usize;
        // SAFETY: from `index`, which is below the capacity, to the last slot at most; slots are atomic.
        let slots = unsafe { std::slice::from_raw_parts(self.place(cursor.next()), room) };
        let mut count = 0;
        for (slot, place) in slots.iter().zip(out) {
            let seen = slot.load();
            if seen.tag != tag {
                break;
            }
            *place = message(seen.value);
            count += 1;
        }
        if count != 0 {
            cursor.pass_delivered(count as u64);
        }
        count
    }

    /// The message at the cursor, if there is one.
    #[inline(always)]
    pub(crate) fn peek(&self, cursor: &mut Cursor) -> Next<u64> {
        match self.glimpse(cursor) {
            Next::More => self.look(cursor),
            known => known,
        }
    }

    /// The same where that is simple: touches one slot and the rarely written base, and the write position where nothing is there.
    #[inline(always)]
    pub(crate) fn glimpse(&self, cursor: &Cursor) -> Next<u64> {
        if self.is_open(cursor) {
            if let Some(value) = self.at(cursor.next()) {
                return Next::Ready(value);
            }
            // SeqCst, after the slot: a claim comes before its commit.
            if cursor.next() == self.header().write_pos.load(SeqCst) {
                return Next::Empty;
            }
        }
        Next::More
    }

    /// That message, if it is simply there.
    #[inline(always)]
    pub(crate) fn at_hand(&self, cursor: &Cursor) -> Option<u64> {
        if self.is_open(cursor) {
            return self.at(cursor.next());
        }
        None
    }

    #[inline(always)]
    fn is_open(&self, cursor: &Cursor) -> bool {
        // Relaxed: a reader that misses a clear of this moment reads as if it had come before it.
        cursor.is_open(self.header().clear.base.load(Relaxed))
    }

    /// The message of `position`, if its slot holds that.
    #[inline(always)]
    fn at(&self, position: u64) -> Option<u64> {
        let seen = self.slot(position).load();
        if seen.tag == self.tag(position) {
            return Some(seen.value);
        }
        None
    }

    /// The value in the slot of `position`, whatever message it belongs to.
    #[inline(always)]
    pub(crate) fn value_at(&self, position: u64) -> u64 {
        self.slot(position).load().value
    }

    /// No message is in the slot `index` any more, but `value`, if it had the value `old` until now.
    pub(crate) fn void_slot(&self, index: u64, old: u64, value: u64) {
        let slot = self.slot(index);
        let mut seen = slot.load();
        // A slot that was never written has no lap that could be void.
        let void = |tag: u64| if tag == 0 { 0 } else { tag | VOID };
        while seen.value == old {
            match slot.exchange(seen, Stamped { tag: void(seen.tag), value }) {
                Ok(()) => return,
                Err(now) => seen = now,
            }
        }
    }

    #[cfg(all(test, not(loom)))]
    pub(crate) fn tag_at(&self, position: u64) -> u64 {
        self.slot(position).load().tag
    }

    #[cfg(all(test, not(loom)))]
    pub(crate) fn scribble(&self, position: u64, value: u64) {
        let seen = self.slot(position).load();
        self.slot(position).exchange(seen, Stamped { value, ..seen }).unwrap();
    }

    #[inline(always)]
    pub(crate) fn slot_index(&self, position: u64) -> u64 {
        position & self.mask
    }

    /// Moves the cursor over what holds no message any more, a [`PIECE`] at most, and says what is there then.
    pub(crate) fn look(&self, cursor: &mut Cursor) -> Next<u64> {
        for _ in 0..PIECE {
            let base = cursor.pass_clear(self.header());
            let seen = self.slot(cursor.next()).load();
            // After the slot: a claim comes before its commit, so what was committed lies below this.
            let end = self.header().write_pos.load(SeqCst);
            if cursor.next() >= end {
                return Next::Empty;
            }
            if !cursor.arrive(self.header()) {
                continue;
            }
            if end - cursor.next() > self.capacity() {
                cursor.skip_lost((end - self.capacity()).max(base));
                continue;
            }
            let tag = self.tag(cursor.next());
            if seen.tag == tag {
                return Next::Ready(seen.value);
            }
            if seen.tag == tag | VOID {
                cursor.pass_to(cursor.next() + 1);
            } else if let Some(when) = self.await_claim(cursor, end) {
                return Next::Claimed(when);
            }
        }
        Next::More
    }

    /// See [`AnyRing::is_kept`](crate::any_ring::AnyRing::is_kept).
    pub(crate) fn is_kept(&self, passed: u64) -> bool {
        self.kept_for.is_some() && passed >= (self.capacity() / 4).max(1)
    }

    /// Moves the cursor to the newest message for which `wanted` says so of its position and value, if there is one among the
    /// last [`PIECE`].
    pub(crate) fn skip_to_newest(&self, cursor: &mut Cursor, wanted: impl Fn(u64, u64) -> bool) {
        for _ in 0..MAX_TRIES {
            let base = cursor.pass_clear(self.header());
            let end = self.header().write_pos.load(SeqCst);
            if cursor.next() >= end {
                return;
            }
            if !cursor.arrive(self.header()) {
                continue;
            }
            let oldest = end.saturating_sub(self.capacity().min(PIECE)).max(cursor.next()).max(base);
            for position in (oldest..end).rev() {
                if self.at(position).map_or(false, |value| wanted(position, value)) {
                    return cursor.skip_to(position);
                }
            }
            if !self.is_lapped(oldest) {
                return;
            }
        }
    }

    /// The position at the cursor is claimed. Returns until when to be patient; None once patience has ended and the
    /// claim is given up, with others that are as old.
    #[cold]
    fn await_claim(&self, cursor: &mut Cursor, end: u64) -> Option<u64> {
        let seen_end = match cursor.await_claim(monotonic_ns(), end) {
            Patience::Until(when) => return Some(when),
            Patience::Ended(seen_end) => seen_end,
        };
        if cursor.read_only() {
            cursor.skip_lost(cursor.next() + 1);
            return None;
        }
        // No more than a lap of it is there.
        let piece = cursor.next().saturating_add(self.capacity().min(PIECE)).min(seen_end);
        for position in cursor.next()..piece {
            self.give_up(position);
        }
        if piece >= seen_end {
            cursor.end_wait();
        }
        None
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
