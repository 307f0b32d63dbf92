//! Segments of a ring of numbers: what they mean for its positions, and batches that store in slots that they have reserved. The
//! states of a segment, and why they are enough, are in [`crate::segment`].

use super::*;
use crate::segment::{self, Place, Segment, Word};

impl<S: Slot, const SEGMENTS: bool> SlotRing<S, SEGMENTS> {
    /// The segment of `position`, and how the ring is divided; `None` if it has no segments.
    #[inline(always)]
    pub(super) fn segment(&self, position: u64) -> Option<(Grid, &Segment)> {
        let grid = self.grid.filter(|_| SEGMENTS)?;
        Some((grid, self.header().segments.at(grid.segment(position & self.mask))))
    }

    #[inline(always)]
    pub(super) fn seat(&self, grid: Grid, position: u64) -> Place {
        Place { lap: position >> self.shift, unit: grid.unit(position & self.mask) }
    }

    /// Whether the segment of `position` is open in its lap, or there is none. Readers call it after they have loaded the slot.
    #[inline(always)]
    pub(super) fn is_open_for(&self, position: u64) -> bool {
        self.segment(position).map_or(true, |(_, segment)| segment.is_open(position >> self.shift))
    }

    /// What the segment of `position` means for it. To be called after its slot was loaded.
    pub(super) fn access(&self, position: u64) -> Access {
        match self.segment(position) {
            Some((grid, segment)) => segment.load().access(self.seat(grid, position)),
            None => Access::Free,
        }
    }

    /// Whether the message `seen` in the slot of `position` is committed.
    #[cold]
    #[inline(never)]
    pub(super) fn confirms(&self, position: u64, seen: Stamped) -> bool {
        match self.access(position) {
            Access::Free => true,
            Access::Stale => self.slot(position).load() == seen,
            Access::Reserved | Access::Void => false,
        }
    }

    /// Before `position` is committed, or abandoned if `closing`: whether it is void, that is, it will never hold a message. Moves the
    /// word of its segment to its lap.
    #[cold]
    #[inline(never)]
    pub(super) fn is_void(&self, position: u64, closing: bool) -> bool {
        match self.segment(position) {
            Some((grid, segment)) if !self.is_too_late(position) => self.move_on(grid, segment, position, closing),
            _ => false,
        }
    }

    /// Whether `position` is so old that the laps of words cannot be compared with its own. It was lapped then.
    #[inline(always)]
    fn is_too_late(&self, position: u64) -> bool {
        let behind = self.behind(position);
        behind < 1 << 63 && behind >> self.shift >= segment::MAX_LAPS_LATE
    }

    /// Moves the word of a segment to the lap of `position`. Returns whether `position` is void.
    fn move_on(&self, grid: Grid, segment: &Segment, position: u64, closing: bool) -> bool {
        let first = position & !(grid.slots() - 1);
        let entered = segment.enter(grid, self.seat(grid, position), closing, |later, unit| {
            let other = first.wrapping_add((later as u64) << self.shift).wrapping_add(grid.slots_of(unit));
            // As in `behind`.
            self.header().write_pos.load(SeqCst).wrapping_sub(other) as i64 > 0
        });
        if entered.revoked != 0 {
            self.count_abandoned(grid.slots_of(entered.revoked));
            // Relaxed: a hint.
            self.header().events.revoked.fetch_add(1, Relaxed);
        }
        entered.is_void
    }

    /// Commits the next values of `batch`, at most `most`, with plain stores to the slots of one segment. Returns how many: 0 if
    /// it cannot reserve them. Returns `None` if they were revoked meanwhile.
    #[inline(always)]
    pub(super) fn store_run(
        &self,
        batch: &mut Batch,
        most: usize,
        owner: u32,
        value: impl Fn(usize) -> u64,
    ) -> Option<usize> {
        let position = batch.next;
        let (grid, segment) = match self.segment(position) {
            Some(found) => found,
            None => return Some(0),
        };
        let count = grid.run(position & self.mask, batch.end.wrapping_sub(position).min(most as u64));
        if count == 0 || self.is_too_late(position) {
            return Some(0);
        }
        let Place { lap, unit } = self.seat(grid, position);
        let last = grid.unit((position & self.mask) + count - 1);
        let reservation = match segment.reserve(lap, unit, last, owner) {
            Some(reservation) => reservation,
            None => return Some(0),
        };
        fault_point!("reserved");
        let tag = self.tag(position);
        // SAFETY: a run ends with its segment; slots are atomic.
        let slots = unsafe { std::slice::from_raw_parts(self.place(position), count as usize) };
        for (i, slot) in slots.iter().enumerate() {
            let seen = slot.glance().tag;
            if !follows::<S>(tag, seen) {
                self.count_abandoned(laps_between::<S>(seen, tag));
            }
            slot.put(Stamped { tag, value: value(i) });
            fault_point!("stored");
        }
        batch.next = position.wrapping_add(count);
        if segment.complete(reservation) {
            return Some(count as usize);
        }
        batch.owed += count;
        self.give_back(grid, segment, reservation.units(), position & self.mask);
        None
    }

    /// Marks revoked slots as abandoned, in the segment of the slot `index`, and says that no more stores will come to them. Only the
    /// publisher that reserved them may call this, or, if it has exited, whoever holds its member number.
    #[cold]
    pub(super) fn give_back(&self, grid: Grid, segment: &Segment, units: Word, index: u64) -> bool {
        let first = index & !(grid.slots() - 1);
        let done = segment.give_back(units, |word| {
            let tag = S::tag(self.lap_of(word)) | ABANDONED;
            for slot in grid.slots_of(units.first())..grid.slots_of(units.last() + 1) {
                self.slot(first + slot).mark(tag);
            }
        });
        if done {
            // Relaxed: a hint. A process that was killed in between has not counted.
            let _ = self.header().events.revoked.fetch_update(Relaxed, Relaxed, |n| n.checked_sub(1));
        }
        done
    }

    /// The lap of a word, which has only some bits of it.
    fn lap_of(&self, word: Word) -> u64 {
        let now = self.header().write_pos.load(SeqCst) >> self.shift;
        now.wrapping_add(word.later_by(now) as u64)
    }

    /// Gives back what publishers that have exited had reserved: in the segments for whose word `hold` returns something, which is
    /// kept meanwhile.
    #[cold]
    pub(crate) fn recover<H>(&self, hold: impl Fn(Word) -> Option<H>) {
        let grid = match self.grid {
            Some(grid) => grid,
            None => return,
        };
        let revoked = &self.header().events.revoked;
        // Relaxed: a hint, which is counted anew.
        let mut expected = revoked.load(Relaxed);
        let mut left = 0;
        for first in (0..self.capacity()).step_by(grid.slots() as usize) {
            let segment = self.header().segments.at(grid.segment(first));
            let word = segment.load();
            if word.is_reserved() && word.is_sound(grid) {
                if let Some(_held) = hold(word) {
                    // The first of these positions, in the lap of the word.
                    let position = (self.lap_of(word) << self.shift).wrapping_add(first + grid.slots_of(word.first()));
                    if self.move_on(grid, segment, position, true) && self.give_back(grid, segment, word, first) {
                        expected = expected.saturating_sub(1);
                    }
                }
            }
            left += u64::from(segment.load().is_revoked());
        }
        // Unless others have counted meanwhile.
        let _ = revoked.compare_exchange(expected, left, Relaxed, Relaxed);
    }

    /// The number of segments.
    pub(crate) fn segments(&self) -> u64 {
        self.grid.map_or(0, |grid| self.capacity() / grid.slots())
    }
}
