//! The protocol of all rings: any number of lock-free publishers, and any number of readers, which do not write. In an integer ring
//! the values are the messages; in a string ring they name the blocks that hold the messages ([`crate::str_ring`]).
//!
//! A publisher claims positions with one fetch-and-add, and commits each of them with one exchange of its slot (tag and value
//! together, see [`crate::slot`]). In the slot at its cursor, a reader finds one of these:
//!
//! * the tag of the cursor's lap: the message;
//! * that tag with the bit for an abandoned position: the reader passes it;
//! * a later tag: the reader was lapped; it skips to the oldest message still held, and counts the messages in between as lost;
//! * an earlier tag, and the cursor is at `write_pos` or above: there is no message yet;
//! * an earlier tag, and the cursor is below `write_pos`: the position is claimed and not committed. Usually that lasts for
//!   nanoseconds, but its publisher may have been killed or stopped. After [`CLAIM_TIMEOUT_NS`] the reader marks the slot as
//!   abandoned. Either this exchange or the publisher's succeeds, so all processes agree on the outcome.
//!
//! A publisher that finds its position abandoned or lapped has not published there. It abandons the rest of its claim, claims as
//! many positions at the end, and goes on. So a message whose publish has returned is in the ring once, in the order of its
//! publisher, however long that publisher was stopped, and no process waits for another. Tags only grow, so a publisher that was
//! stopped cannot replace a newer message. Claims are the tickets of L. Lamport's bakery algorithm, and the tag beside the value is
//! the sequence number of D. Vyukov's bounded queue, both without waiting.

use std::ptr::NonNull;

use crate::cursor::{ClaimWait, Cursor, Next, PIECE};
use crate::fault::fault_point;
use crate::layout::Header;
use crate::readers::Readers;
use crate::segment::{Access, Grid};
use crate::slot::{NarrowSlot, Slot, Stamped, ABANDONED};
use crate::sync::Ordering::{Relaxed, SeqCst};
use crate::wait::monotonic_ns;

mod reserving;

/// How many laps a publisher or reader may be late before tags cannot be compared: those of narrow slots repeat after 2^31 laps,
/// and from half of that on an earlier tag looks like a later one.
const MAX_LAPS_LATE: u64 = 1 << 29;

/// How often a reader looks for the newest message if it is lapped while it does so.
const MAX_TRIES: u32 = 16;

/// Pointers to the parts of one ring, in any kind of memory. A copy is of the pointers, not of the ring.
///
/// `SEGMENTS` says whether it may have segments. A ring of strings has none, and does not look for them.
pub(crate) struct SlotRing<S, const SEGMENTS: bool = true> {
    header: NonNull<Header>,
    slots: NonNull<S>,
    /// How the ring is divided into segments, if it is.
    grid: Option<Grid>,
    /// Capacity - 1; the capacity is a power of two.
    mask: u64,
    /// log2 of the capacity.
    shift: u32,
    /// The readers that publishers wait for; `None` if the ring is not lossless.
    kept_for: Option<NonNull<Readers>>,
}

impl<S, const SEGMENTS: bool> Clone for SlotRing<S, SEGMENTS> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<S, const SEGMENTS: bool> Copy for SlotRing<S, SEGMENTS> {}

/// Positions that are claimed and not committed yet.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Batch {
    pub(crate) next: u64,
    pub(crate) end: u64,
    /// Positions to be claimed after `end`, in place of void ones.
    pub(crate) owed: u64,
}

impl Batch {
    /// A batch of `n` positions from `next` on.
    #[inline(always)]
    fn new(next: u64, n: u64) -> Batch {
        Batch { next, end: next.wrapping_add(n), owed: 0 }
    }

    /// The number of messages that are left.
    pub(crate) fn remaining(&self) -> usize {
        self.end.wrapping_sub(self.next).wrapping_add(self.owed) as usize
    }

    /// The next position to commit.
    #[inline(always)]
    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    /// The last position that was committed.
    #[inline(always)]
    pub(crate) fn committed(&self) -> u64 {
        self.next.wrapping_sub(1)
    }
}

/// The outcome of a claim whose publisher was killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// The position was committed.
    Committed,
    /// It was not committed.
    Open,
    /// It is not known, because the slot was overwritten since.
    Unknown,
}

impl Fate {
    /// The outcome for the position with this `tag` if its slot has the tag `seen`.
    pub(crate) fn of<S: Slot>(tag: u64, seen: u64) -> Fate {
        match S::compare(seen, tag) {
            0 => Fate::Committed,
            _ if seen == tag | ABANDONED => Fate::Open,
            later if later > 0 => Fate::Unknown,
            _ => Fate::Open,
        }
    }
}

/// Whether `seen` is a tag of the lap before that of `tag`, committed or abandoned.
#[inline(always)]
fn follows<S: Slot>(tag: u64, seen: u64) -> bool {
    (1..=2).contains(&S::compare(tag, seen))
}

/// The number of laps between those of two tags, which were never in the slot.
fn laps_between<S: Slot>(seen: u64, tag: u64) -> u64 {
    (S::compare(tag, seen & !ABANDONED) / 2 - 1).max(0) as u64
}

impl SlotRing<NarrowSlot, false> {
    /// Whether `position` still held the message that a reader found there when the reader passed its fence.
    #[inline(always)]
    pub(crate) fn still_holds(&self, position: u64) -> bool {
        self.slot(position).load_relaxed().tag == self.tag(position)
    }

    /// The value in the slot of `position`; it may be out of date.
    #[inline(always)]
    pub(crate) fn value_hint(&self, position: u64) -> u64 {
        self.slot(position).load_relaxed().value
    }
}

impl<S: Slot, const SEGMENTS: bool> SlotRing<S, SEGMENTS> {
    /// # Safety
    /// `header`, `readers` and as many slots at `slots` as the capacity says must stay valid for as long as any copy of the
    /// result is used; the capacity is a power of two, at least 2; the slots are aligned to 16 bytes.
    pub(crate) unsafe fn new(
        header: NonNull<Header>,
        slots: NonNull<S>,
        readers: NonNull<Readers>,
        grid: Option<Grid>,
    ) -> Self {
        // SAFETY: the caller's contract.
        let Readers { capacity, lossless, .. } = unsafe { *readers.as_ref() };
        debug_assert!(capacity.is_power_of_two() && capacity >= 2);
        let kept_for = Some(readers).filter(|_| lossless);
        SlotRing { header, slots, grid, mask: capacity - 1, shift: capacity.trailing_zeros(), kept_for }
    }

    #[inline(always)]
    pub(crate) fn header(&self) -> &Header {
        // SAFETY: valid while this ring is used, by the contract of `new`.
        unsafe { self.header.as_ref() }
    }

    /// A pointer to the slot of `position`, which may be used for all slots.
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

    /// Publishes one value on the fast path; the caller wakes waiters. An `Err` has the argument for
    /// [`publish_anyway`](Self::publish_anyway): the position that was claimed, if any.
    #[inline(always)]
    pub(crate) fn publish_at_once(&self, value: u64) -> Result<(), Option<u64>> {
        if self.kept_for.is_some() {
            return Err(None);
        }
        // Relaxed: as in `claim`.
        let position = self.header().write_pos.fetch_add(1, Relaxed);
        fault_point!("after-claim");
        if self.is_open_for(position) && self.commit_at_once(position, value, |_| ()).is_some() {
            return Ok(());
        }
        Err(Some(position))
    }

    /// Publishes one value on the slow path. Returns false, without any effect, if a lossless ring has no room.
    #[inline(never)]
    pub(crate) fn publish_anyway(&self, claimed: Option<u64>, value: u64) -> bool {
        let mut batch = match claimed {
            Some(next) => Batch::new(next, 1),
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

    /// Both of these.
    #[cfg(test)]
    pub(crate) fn publish(&self, value: u64) -> bool {
        self.publish_at_once(value).map_or_else(|claimed| self.publish_anyway(claimed, value), |()| true)
    }

    /// Claims `n` consecutive positions, all of which must be committed. Returns `None` if a lossless ring has no room for them.
    #[inline(always)]
    pub(crate) fn claim(&self, n: u64) -> Option<Batch> {
        let next = match self.kept_for {
            // Relaxed: only the number matters. A reader that sees a commit (Acquire) also sees the claim before it.
            None => self.header().write_pos.fetch_add(n, Relaxed),
            // SAFETY: valid by the contract of `new`.
            Some(readers) => self.claim_kept(n, unsafe { readers.as_ref() })?,
        };
        Some(Batch::new(next, n))
    }

    /// Claims positions in a lossless ring.
    #[inline]
    fn claim_kept(&self, n: u64, readers: &Readers) -> Option<u64> {
        let write_pos = &self.header().write_pos;
        let mut next = write_pos.load(Relaxed);
        loop {
            if !readers.has_room(next, n) {
                readers.raise_limit(n);
                let now = write_pos.load(Relaxed);
                // If another publisher took the room, it may have raised the limit for this claim, too.
                if now == next && !readers.has_room(next, n) {
                    return None;
                }
                next = now;
                continue;
            }
            // Relaxed: as in `claim`. A limit is safe however old it is.
            match write_pos.compare_exchange(next, next.wrapping_add(n), Relaxed, Relaxed) {
                Ok(_) => return Some(next),
                Err(now) => next = now,
            }
        }
    }

    /// Commits `value` at the next position of `batch`. Returns false, without any effect, if that position was abandoned and a
    /// lossless ring has no room for the rest of the batch. Then the caller may try again.
    #[inline(always)]
    pub(crate) fn put(&self, batch: &mut Batch, value: u64) -> bool {
        self.exchange(batch, |_| value, |_, _| ()).is_some()
    }

    /// Commits a value at the next position of `batch`, and returns the value that it replaced, or `None` as [`put`](Self::put).
    /// There may be several tries if positions were abandoned. For each of them, `value` gets the index of the slot and returns
    /// the value; `intend` gets position and old value just before the exchange.
    #[inline(always)]
    pub(crate) fn exchange(
        &self,
        batch: &mut Batch,
        value: impl Fn(u64) -> u64,
        mut intend: impl FnMut(u64, u64),
    ) -> Option<u64> {
        debug_assert!(batch.remaining() != 0);
        loop {
            if SEGMENTS && batch.next == batch.end {
                *batch = self.claim(batch.owed)?;
            }
            let position = batch.next;
            if !self.is_open_for(position) && self.is_void(position, false) {
                self.count_abandoned(1);
                batch.next = position.wrapping_add(1);
                batch.owed += 1;
                continue;
            }
            if let Some(old) = self.commit(position, value(position & self.mask), |old| intend(position, old)) {
                batch.next = position.wrapping_add(1);
                return Some(old);
            }
            if !self.claim_again(batch) {
                return None;
            }
        }
    }

    /// Commits `count` values, `value(i)` for each `i` in order. Returns how many there was room for. `owner` is the member number
    /// with which it may reserve slots; `None` if it must not.
    #[inline(always)]
    pub(crate) fn put_all(
        &self,
        batch: &mut Batch,
        count: usize,
        mut owner: Option<u32>,
        value: impl Fn(usize) -> u64,
    ) -> usize {
        let mut i = 0;
        while i < count {
            fault_point!("between-slots");
            if let Some(member) = owner {
                match self.store_run(batch, count - i, member, |k| value(i + k)) {
                    Some(0) => {}
                    Some(stored) => {
                        i += stored;
                        continue;
                    }
                    // So that two batches, a lap apart, cannot revoke each other again and again.
                    None => owner = None,
                }
            }
            let pair = S::PAIRS && self.grid.is_none() && batch.next & 1 == 0 && batch.remaining().min(count - i) >= 2;
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

    /// Commits `value` at `position`, and returns the value that it replaced. Returns `None`, without any effect, if the position
    /// was abandoned or lapped.
    #[inline(always)]
    fn commit(&self, position: u64, value: u64, mut intend: impl FnMut(u64)) -> Option<u64> {
        match self.commit_at_once(position, value, &mut intend) {
            Some(old) => Some(old),
            None => self.commit_slow(position, Stamped { tag: self.tag(position), value }, intend),
        }
    }

    /// Commits `value` if the slot has a tag of the last lap; otherwise returns `None`.
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

    /// Commits `new` whatever the slot holds.
    #[cold]
    #[inline(never)]
    fn commit_slow(&self, position: u64, new: Stamped, mut intend: impl FnMut(u64)) -> Option<u64> {
        let slot = self.slot(position);
        let mut seen = slot.load();
        while self.is_older(seen.tag, new.tag, position)
            || (seen.tag != new.tag | ABANDONED && !self.is_lapped(position))
        {
            // If a publisher was stopped here for so many laps that a narrow tag has come round, the exchange still fails,
            // because it compares the whole slot.
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

    /// The outcome of the claim of `position`.
    pub(crate) fn fate(&self, position: u64) -> Fate {
        if self.behind(position) >> self.shift >= MAX_LAPS_LATE {
            return Fate::Unknown;
        }
        Fate::of::<S>(self.tag(position), self.slot(position).load().tag)
    }

    /// Whether `seen`, in the slot of `position`, is of an earlier lap than `tag`. False if the caller is so late that tags
    /// cannot be compared: then it was lapped.
    fn is_older(&self, seen: u64, tag: u64, position: u64) -> bool {
        S::compare(seen, tag) < 0 && self.behind(position) >> self.shift < MAX_LAPS_LATE
    }

    /// Whether the slot of `position` was claimed for a later lap. If it was not, a later tag in the slot is corrupt, and a
    /// publisher overwrites it.
    #[cold]
    #[inline(never)]
    fn is_lapped(&self, position: u64) -> bool {
        self.behind(position) > self.capacity()
    }

    /// How far `position` is behind the write position.
    fn behind(&self, position: u64) -> u64 {
        // SeqCst, after the slot was loaded: a claim comes before its commit.
        self.header().write_pos.load(SeqCst).wrapping_sub(position)
    }

    /// Commits two values in one exchange, at an even position and the next, and returns the values that they replaced. Returns
    /// `None`, without any effect, if that fails. `intend` gets the old values just before.
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
        // SAFETY: the index is even and below the capacity, which is even, so its neighbour exists, too.
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

    /// The next position of `batch` was abandoned or lapped. Abandons the others, so that no reader waits for them, and claims as
    /// many at the end, so that the rest of the batch stays consecutive. Returns false if there is no room for them.
    #[cold]
    #[inline(never)]
    fn claim_again(&self, batch: &mut Batch) -> bool {
        let remaining = batch.end.wrapping_sub(batch.next);
        for i in 1..remaining {
            if !self.abandon(batch.next.wrapping_add(i)) {
                self.count_abandoned(1);
            }
        }
        match self.claim(remaining) {
            Some(claimed) => *batch = Batch { owed: batch.owed, ..claimed },
            None => return false,
        }
        true
    }

    /// Marks `position` as abandoned unless it is committed, abandoned or lapped. Returns false if it is void.
    fn abandon(&self, position: u64) -> bool {
        if self.is_void(position, true) {
            return false;
        }
        let tag = self.tag(position);
        let slot = self.slot(position);
        let mut seen = slot.load();
        while self.is_older(seen.tag, tag, position)
            || (seen.tag | ABANDONED != tag | ABANDONED && !self.is_lapped(position))
        {
            // The value is kept: in a string ring it names a block.
            match slot.exchange(seen, Stamped { tag: tag | ABANDONED, value: seen.value }) {
                Ok(()) => {
                    self.count_abandoned(1 + laps_between::<S>(seen.tag, tag));
                    break;
                }
                Err(now) => seen = now,
            }
        }
        true
    }

    /// Counts abandoned positions. Each is counted once: by the exchange that marks its slot, by the one that replaces it by a
    /// later lap before it was committed, by the one that revokes its batch, or, if it is void, by its publisher. The
    /// count is exact as long as no publisher is a lap late: a batch that overwrites without exchanges may count a position that is
    /// committed at that moment, and a void position whose publisher comes a lap late is not counted.
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

    /// Delivers messages to `out`, converted by `message`, as many as there are and fit. Returns how many, and whether it stopped
    /// at [`Next::More`].
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

    /// Delivers messages to `out` until the next position does not simply hold one. Returns how many.
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

    /// As `take_all`, up to the last slot of the lap: [`at_hand`](Self::at_hand) for each, with the tag and the base loaded once.
    /// A clear meanwhile is not seen, as one between the two loads of `at_hand` is not.
    #[inline(always)]
    fn read_run<T>(&self, cursor: &mut Cursor, out: &mut [T], message: impl Fn(u64) -> T) -> usize {
        if !self.is_open(cursor) {
            return 0;
        }
        let (index, tag) = (self.slot_index(cursor.next()), self.tag(cursor.next()));
        let run = self.grid.map_or(self.capacity() - index, |grid| grid.slots() - index % grid.slots());
        let room = run.min(out.len() as u64) as usize;
        // SAFETY: from `index`, which is below the capacity, at most to the last slot; slots are atomic.
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
        if !self.is_open_for(cursor.next()) {
            let committed = |at: &u64| self.at(*at).is_some();
            count = (cursor.next()..cursor.next() + count as u64).take_while(committed).count();
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

    /// As `peek`, on the fast path: loads one slot and the base, which is rarely written; also the write position if there is no
    /// message. Returns [`Next::More`] if the fast path does not apply.
    #[inline(always)]
    pub(crate) fn glimpse(&self, cursor: &Cursor) -> Next<u64> {
        if self.is_open(cursor) {
            if let Some(value) = self.at(cursor.next()) {
                return Next::Ready(value);
            }
            // SeqCst, after the load of the slot: a claim comes before its commit.
            if cursor.next() == self.header().write_pos.load(SeqCst) {
                return Next::Empty;
            }
        }
        Next::More
    }

    /// The message at the cursor, if the fast path finds one.
    #[inline(always)]
    pub(crate) fn at_hand(&self, cursor: &Cursor) -> Option<u64> {
        if self.is_open(cursor) {
            return self.at(cursor.next());
        }
        None
    }

    #[inline(always)]
    fn is_open(&self, cursor: &Cursor) -> bool {
        // Relaxed: a reader that does not see a clear reads as if it came before the clear.
        cursor.is_open(self.header().clear.base.load(Relaxed))
    }

    /// The message at `position`, if its slot holds it and its segment is not used in another way.
    #[inline(always)]
    fn at(&self, position: u64) -> Option<u64> {
        let seen = self.slot(position).load();
        if seen.tag == self.tag(position) && (self.is_open_for(position) || self.confirms(position, seen)) {
            return Some(seen.value);
        }
        None
    }

    /// The value in the slot of `position`, of whatever lap.
    #[inline(always)]
    pub(crate) fn value_at(&self, position: u64) -> u64 {
        self.slot(position).load().value
    }

    /// Replaces the value `old` in the slot `index` by `value`, and marks the position as abandoned, if the slot still has that
    /// value.
    pub(crate) fn abandon_slot(&self, index: u64, old: u64, value: u64) {
        let slot = self.slot(index);
        let mut seen = slot.load();
        // A slot that was never written has no position to abandon.
        let abandoned = |tag: u64| if tag == 0 { 0 } else { tag | ABANDONED };
        while seen.value == old {
            match slot.exchange(seen, Stamped { tag: abandoned(seen.tag), value }) {
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
    pub(crate) fn corrupt(&self, position: u64, value: u64) {
        let seen = self.slot(position).load();
        self.slot(position).exchange(seen, Stamped { value, ..seen }).unwrap();
    }

    #[inline(always)]
    pub(crate) fn slot_index(&self, position: u64) -> u64 {
        position & self.mask
    }

    /// Moves the cursor past positions without a message, at most a [`PIECE`] of them. Returns the state of the next position.
    pub(crate) fn look(&self, cursor: &mut Cursor) -> Next<u64> {
        for _ in 0..PIECE {
            let base = cursor.pass_clear(self.header());
            let seen = self.slot(cursor.next()).load();
            let access = self.access(cursor.next());
            // After these loads: a claim comes before its commit, so a committed position lies below this.
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
            let held = match access {
                Access::Free => seen.tag,
                Access::Stale if self.slot(cursor.next()).load() != seen => continue,
                Access::Stale => seen.tag,
                // As if it had not been committed, or had been abandoned.
                Access::Reserved => tag.wrapping_sub(2),
                Access::Void => tag | ABANDONED,
            };
            if held == tag {
                return Next::Ready(seen.value);
            }
            if held == tag | ABANDONED {
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

    /// Moves the cursor to the newest message for which `wanted(position, value)` returns true, if there is one among the last
    /// [`PIECE`] positions.
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

    /// The position at the cursor is claimed. Returns when the claim timeout expires, or `None` after it has expired and the
    /// position is abandoned, with other claims that are as old.
    #[cold]
    fn await_claim(&self, cursor: &mut Cursor, end: u64) -> Option<u64> {
        let seen_end = match cursor.await_claim(monotonic_ns(), end) {
            ClaimWait::Until(when) => return Some(when),
            ClaimWait::Expired(seen_end) => seen_end,
        };
        if cursor.read_only() {
            cursor.skip_lost(cursor.next() + 1);
            return None;
        }
        // There is at most a lap of them.
        let piece = cursor.next().saturating_add(self.capacity().min(PIECE)).min(seen_end);
        for position in cursor.next()..piece {
            self.abandon(position);
        }
        if piece >= seen_end {
            cursor.end_wait();
        }
        None
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
