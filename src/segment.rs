//! Segments of a ring of numbers: slots that a batch may write with plain stores.
//!
//! An exchange of a slot costs ten times as much as a store, and a batch that fills adjacent slots needs none of them, as long as
//! nobody else writes these slots. So the slots of a ring of numbers are divided into at most [`COUNT`] *segments* of at least 64
//! slots, each with one word in the header:
//!
//! ```text
//!   lap << 35 | owner << 19 | last << 11 | first << 3 | state << 1 | closed
//! ```
//!
//! `first` and `last` count *units*: slots, or groups of slots if a segment has more than 256.
//!
//! * *Open*: no slots of the segment are reserved. Publishers commit in it by exchanges.
//! * *Reserved*: a batch of the lap writes the units `first..=last`, which it has claimed, with plain stores. Readers treat these
//!   positions as claimed and not committed, whatever their slots hold. When all are written, the batch opens the segment again,
//!   and that commits them.
//! * *Revoked*: a reader has waited for the batch for longer than the claim timeout, or a publisher has come to the segment one or
//!   more laps later. The publisher of the batch was killed or stopped, or is slow. Its stores may still come, so nobody else uses
//!   these slots: in all laps up to that of the word, their positions are void. Readers pass them, and publishers that have claimed
//!   them use other positions. If the publisher goes on, it finds that it was revoked, marks the slots as abandoned and the word as
//!   void, and publishes these messages again at the end. If it has exited, a later batch of another process does the same
//!   for it, without publishing.
//! * *Void*: no stores will come any more. The positions stay void in the lap of the word, and are used in the next.
//!
//! The lap of a word never falls. Each publisher moves the word to its own lap before it commits in the segment, so a batch of an
//! earlier lap cannot reserve anything any more. A position is abandoned only after the segment is *closed* for the rest of
//! the lap, which means that nothing more is reserved in that lap. So a position is either committed or abandoned also where slots
//! are written with plain stores.
//!
//! A publisher of an earlier lap that was stopped just before its exchange is harmless: its exchange expects what the slot held
//! before. Either it comes first, and is overwritten, or it fails, because the first store of the batch changes the tag.
//!
//! A lossless ring has no segments: its publishers would wait for room that a stopped batch withholds.
//!
//! The word is the revocable form of the biased lock of K. Kawachiya and others (2002): who holds it needs no atomic operations,
//! and whoever takes it away pays.

use crate::sync::AtomicU64;
use crate::sync::Ordering::{Relaxed, SeqCst};

/// The most segments of a ring.
pub(crate) const COUNT: usize = if cfg!(loom) { 1 } else { 256 };
/// The fewest slots of a segment.
const MIN_SLOTS: u64 = if cfg!(loom) { 4 } else { 64 };
/// Rings with fewer slots have no segments: one revoked batch would be a large part of them.
const MIN_CAPACITY: u64 = if cfg!(loom) { 4 } else { 1024 };
/// The shortest run of slots for which the two exchanges of a reservation pay.
const MIN_RUN: u64 = if cfg!(loom) { 2 } else { 4 };
/// The longest run, unless a unit is longer: it becomes visible as a whole.
const MAX_RUN: u64 = 1024;
/// How many laps a publisher may be late before words cannot be compared.
pub(crate) const MAX_LAPS_LATE: u64 = 1 << 28;

const CLOSED: u64 = 1;
const STATE: u64 = 3 << 1;
const OPEN: u64 = 0;
const RESERVED: u64 = 1 << 1;
const REVOKED: u64 = 2 << 1;
const VOID: u64 = 3 << 1;
const FIRST_AT: u32 = 3;
const LAST_AT: u32 = 11;
const OWNER_AT: u32 = 19;
const LAP_AT: u32 = 35;
const UNITS: u64 = 256;
const OWNER: u64 = 0xffff;

/// How a ring is divided into segments and units: log2 of the slots of each.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Grid {
    segment: u32,
    unit: u32,
}

impl Grid {
    /// `None` if a ring of `capacity` slots, a power of two, has no segments.
    pub(crate) fn new(capacity: u64) -> Option<Grid> {
        if capacity < MIN_CAPACITY {
            return None;
        }
        let slots = (capacity / COUNT as u64).max(MIN_SLOTS);
        Some(Grid { segment: slots.trailing_zeros(), unit: (slots / UNITS).max(1).trailing_zeros() })
    }

    /// The index of the segment of the slot `index`.
    #[inline(always)]
    pub(crate) fn segment(self, index: u64) -> usize {
        (index >> self.segment) as usize
    }

    /// The index of the unit of the slot `index` in its segment.
    #[inline(always)]
    pub(crate) fn unit(self, index: u64) -> u64 {
        (index & ((1 << self.segment) - 1)) >> self.unit
    }

    /// Slots of a segment.
    pub(crate) fn slots(self) -> u64 {
        1 << self.segment
    }

    /// Slots of so many units.
    #[inline(always)]
    pub(crate) fn slots_of(self, units: u64) -> u64 {
        units << self.unit
    }

    /// Units of a segment.
    #[inline(always)]
    fn units(self) -> u64 {
        1 << (self.segment - self.unit)
    }

    /// How many of `n` slots from the slot `index` on can be reserved together, in units of the same segment; 0 if that does not pay.
    ///
    /// The last unit of a segment is never reserved. So there are always slots that no stopped batch can withhold.
    #[inline(always)]
    pub(crate) fn run(self, index: u64, n: u64) -> u64 {
        let rest = (self.slots() - (index & (self.slots() - 1))).saturating_sub(1 << self.unit);
        let run = n.min(rest).min(MAX_RUN.max(1 << self.unit)) >> self.unit << self.unit;
        if run < MIN_RUN || index & ((1 << self.unit) - 1) != 0 {
            return 0;
        }
        run
    }
}

/// A position, for its segment.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    pub(crate) lap: u64,
    /// The index of its unit in the segment.
    pub(crate) unit: u64,
}

/// The words of all segments, in the header.
#[derive(Debug)]
#[repr(transparent)]
pub(crate) struct Segments([Segment; COUNT]);

impl Segments {
    /// The segment `index`, below [`COUNT`].
    #[inline(always)]
    pub(crate) fn at(&self, index: usize) -> &Segment {
        debug_assert!(index < COUNT);
        &self.0[index % COUNT]
    }
}

impl Default for Segments {
    fn default() -> Self {
        Segments([(); COUNT].map(|()| Segment::default()))
    }
}

/// The word of a segment. All zeros is a segment that was never used.
#[derive(Debug, Default)]
#[repr(transparent)]
pub(crate) struct Segment(AtomicU64);

/// What the word of a segment says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Word(u64);

/// The reserved units of a batch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reservation(Word);

/// What the word of its segment means for a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Its slot says what it holds.
    Free,
    /// The same, but what was loaded may have been stored by a batch that was revoked and has given its slots back since. Then
    /// the slot has changed.
    Stale,
    /// Claimed, and not committed.
    Reserved,
    /// It will never hold a message.
    Void,
}

impl Word {
    #[inline(always)]
    fn open(lap: u64) -> Word {
        Word(lap << LAP_AT)
    }

    #[inline(always)]
    fn reserved(lap: u64, first: u64, last: u64, owner: u32) -> Word {
        Word(lap << LAP_AT | u64::from(owner) << OWNER_AT | last << LAST_AT | first << FIRST_AT | RESERVED)
    }

    /// The same units, revoked in `lap`.
    fn revoked(self, lap: u64) -> Word {
        Word(Word::open(lap).0 | self.0 & (((1 << LAP_AT) - 1) & !(STATE | CLOSED)) | REVOKED)
    }

    pub(crate) fn bits(self) -> u64 {
        self.0
    }

    fn state(self) -> u64 {
        self.0 & STATE
    }

    pub(crate) fn first(self) -> u64 {
        self.0 >> FIRST_AT & (UNITS - 1)
    }

    pub(crate) fn last(self) -> u64 {
        self.0 >> LAST_AT & (UNITS - 1)
    }

    /// The member number of the publisher of the reserved units; 0 if it has none.
    pub(crate) fn owner(self) -> u32 {
        (self.0 >> OWNER_AT & OWNER) as u32
    }

    /// The number of reserved units.
    pub(crate) fn count(self) -> u64 {
        self.last().wrapping_sub(self.first()).wrapping_add(1)
    }

    /// By how many laps the word is later than `lap`.
    #[inline(always)]
    pub(crate) fn later_by(self, lap: u64) -> i64 {
        (self.0 >> LAP_AT << LAP_AT).wrapping_sub(lap << LAP_AT) as i64 >> LAP_AT
    }

    pub(crate) fn is_revoked(self) -> bool {
        self.state() == REVOKED
    }

    /// Whether a batch may still store to slots.
    pub(crate) fn is_reserved(self) -> bool {
        matches!(self.state(), RESERVED | REVOKED)
    }

    /// Whether a publisher can have left this word.
    pub(crate) fn is_sound(self, grid: Grid) -> bool {
        match self.state() {
            OPEN => self.0 & ((1 << LAP_AT) - 1) & !CLOSED == 0,
            _ => self.first() <= self.last() && self.last() < grid.units(),
        }
    }

    fn has(self, unit: u64) -> bool {
        self.state() != OPEN && (self.first()..=self.last()).contains(&unit)
    }

    /// What it means for a position. The slot must have been loaded before the word.
    pub(crate) fn access(self, place: Place) -> Access {
        let later = self.later_by(place.lap);
        match self.state() {
            RESERVED if later == 0 && self.has(place.unit) => Access::Reserved,
            REVOKED | VOID if later >= 0 && self.has(place.unit) => Access::Void,
            _ if later > 0 => Access::Stale,
            _ => Access::Free,
        }
    }
}

impl Segment {
    /// SeqCst, so that a waiter's recheck is ordered after its `prepare_wait`; Acquire for the exchange that stored it.
    #[inline(always)]
    pub(crate) fn load(&self) -> Word {
        Word(self.0.load(SeqCst))
    }

    #[cfg(test)]
    pub(crate) fn scribble(&self, bits: u64) {
        self.0.store(bits, SeqCst);
    }

    fn exchange(&self, old: Word, new: Word) -> bool {
        self.0.compare_exchange(old.0, new.0, SeqCst, Relaxed).is_ok()
    }

    /// Whether all positions of `lap` may be committed in the segment.
    #[inline(always)]
    pub(crate) fn is_open(&self, lap: u64) -> bool {
        self.load().0 & !CLOSED == Word::open(lap).0
    }

    /// Reserves the units `first..=last` for a batch of `lap`, which has claimed them, of the member `owner`.
    #[inline(always)]
    pub(crate) fn reserve(&self, lap: u64, first: u64, last: u64, owner: u32) -> Option<Reservation> {
        let seen = self.load();
        let later = seen.later_by(lap);
        if seen.is_reserved() || later > 0 || later == 0 && seen.0 & (CLOSED | STATE) != 0 {
            return None;
        }
        let reserved = Word::reserved(lap, first, last, owner);
        if self.exchange(seen, reserved) {
            return Some(Reservation(reserved));
        }
        None
    }

    /// Commits the reserved slots, all of which have been written. Returns false if they were revoked; then the caller must
    /// [`give_back`](Self::give_back) them.
    #[inline(always)]
    pub(crate) fn complete(&self, reservation: Reservation) -> bool {
        let Reservation(reserved) = reservation;
        let open = reserved.0 >> LAP_AT << LAP_AT;
        // SeqCst: the publisher's check for waiters comes after it.
        self.exchange(reserved, Word(open)) || self.exchange(Word(reserved.0 | CLOSED), Word(open | CLOSED))
    }

    /// Says that no stores to the revoked slots of this reservation will come any more. `abandon` marks the slots as
    /// abandoned in the lap of the word that it gets; it may be called again. Returns false if they are not revoked.
    #[cold]
    pub(crate) fn give_back(&self, units: Word, mut abandon: impl FnMut(Word)) -> bool {
        loop {
            let seen = self.load();
            if seen.revoked(0) != units.revoked(0) || !seen.is_revoked() {
                return false;
            }
            abandon(seen);
            if self.exchange(seen, Word(seen.0 | VOID)) {
                return true;
            }
        }
    }

    /// Moves the word to the lap of `place`, and closes the segment in that lap if `closing`, so that the position may be
    /// committed, or abandoned if `closing`. Revokes what is in the way. `is_claimed` tells whether the first
    /// position of a unit was claimed, so many laps after `place`.
    #[cold]
    #[inline(never)]
    pub(crate) fn enter(
        &self,
        grid: Grid,
        place: Place,
        closing: bool,
        is_claimed: impl Fn(i64, u64) -> bool,
    ) -> Entered {
        let Place { lap, unit } = place;
        let open = Word(Word::open(lap).0 | if closing { CLOSED } else { 0 });
        let mut revoked = 0;
        loop {
            let seen = self.load();
            let (later, state) = (seen.later_by(lap), seen.state());
            let is_done = Entered { is_void: state != RESERVED && seen.has(unit), revoked };
            let latest = if state == RESERVED { seen.last() } else { 0 };
            let new = match state {
                // No publisher has left this word.
                _ if !seen.is_sound(grid) || later > 0 && !is_claimed(later, latest) => open,
                _ if later > 0 => return is_done,
                RESERVED if later == 0 && !seen.has(unit) => Word(seen.0 | open.0 & CLOSED),
                // What is closed stays closed for the rest of the lap.
                RESERVED if later == 0 => Word(seen.revoked(lap).0 | seen.0 & CLOSED),
                RESERVED | REVOKED if later < 0 => seen.revoked(lap),
                _ if later < 0 => open,
                _ => Word(seen.0 | open.0 & CLOSED),
            };
            if new == seen {
                return is_done;
            }
            if self.exchange(seen, new) && state == RESERVED && new.is_revoked() {
                revoked += seen.count();
            }
        }
    }
}

/// The result of [`Segment::enter`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entered {
    /// The position will never hold a message.
    pub(crate) is_void: bool,
    /// How many units this call has revoked.
    pub(crate) revoked: u64,
}

impl Reservation {
    pub(crate) fn units(self) -> Word {
        self.0
    }
}
