//! Spare blocks, to which publishers of strings write before a message is in the ring.
//!
//! A ring of C slots and P spares has C + P blocks. Each block is named by exactly one slot or one spare's entry. This is the whole
//! invariant; because of it, a publisher in the middle of a publish may write to the block of its entry.
//!
//! ```text
//!   take     entry: idle, block b  ->  busy, member m, block b                                    compare-exchange
//!            the message's bytes into b; a position p
//!   commit   entry: about to exchange (p, o)                                                      stores
//!            slot of p: (older tag, block o)  ->  (p's tag, block b)                              compare-exchange
//!            entry: busy, m, block o                                                              store
//!   return   entry: idle, block o                                                                 store
//! ```
//!
//! Idle entries belong to no publisher, so a ring needs only as many as there are publishers in the middle of a publish at once. A
//! publisher that is killed there leaves its entry busy. A process that holds the number of that member (see [`crate::member`];
//! only one process can hold it, and no process is that member meanwhile) recovers the entry. The outcome of p says which block is
//! the spare: o if p was committed, b if it was not. If the slot was overwritten since, the other block is named by a
//! slot or an idle entry. If b is found there, o is the spare, and vice versa. One sighting is enough, however fast names move,
//! because no slot and no entry ever names the spare. If the ring is too large to be searched, or neither block is found, the
//! entry stays busy until a process publishes alone and collects the blocks without a name.

use std::ptr::NonNull;

use crate::fault::fault_point;
use crate::layout::EventLine;
use crate::member::MAX_MEMBER;
use crate::slot_ring::Fate;
use crate::sync::Ordering::{Acquire, Relaxed, Release};
use crate::sync::{AtomicU64, Line};

/// An entry. While it is busy, only its holder writes it.
#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct Spare {
    /// (block ^ the entry's first block) << 32 | member << 2 | state. So all zeros is idle, with a block of its own.
    word: AtomicU64,
    /// 1 + the position that the holder is about to commit; 0 if there was none yet.
    position: AtomicU64,
    /// The block in the slot of that position.
    displaced: AtomicU64,
}

/// How often a block is searched for that publishers may be moving meanwhile.
const SEARCHES: u32 = if cfg!(loom) { 1 } else { 8 };

const IDLE: u64 = 0;
const BUSY: u64 = 1;
/// It has no block.
const LEAKED: u64 = 2;
/// The bits of member and state.
const OWNER: u64 = 0xffff_ffff;

/// What a ring's slots tell about a publisher that was killed.
pub(crate) trait Ledger {
    /// The outcome of its claim of `position`.
    fn fate(&self, position: u64) -> Fate;

    /// The first of `blocks` that is found in a slot, if any.
    fn find(&self, blocks: [u64; 2]) -> Option<u64>;
}

/// A pointer to the spares of one ring.
#[derive(Clone, Copy)]
pub(crate) struct Spares {
    entries: NonNull<Line<Spare>>,
    count: u32,
    /// The block of the first entry, which is the number of slots.
    first: u64,
}

/// An entry, busy with this publisher.
pub(crate) struct Taken<'a> {
    spare: &'a Spare,
    /// Member and state as in `word`.
    owner: u64,
    own: u64,
    index: u32,
    /// The block that the publisher may write into; below the number of blocks.
    pub(crate) block: u64,
}

impl Spares {
    /// # Safety
    /// `count` entries at `entries` must stay valid for as long as any copy of the result is used.
    pub(crate) unsafe fn new(entries: NonNull<Line<Spare>>, count: u32, first: u64) -> Self {
        debug_assert!(count > 0 && first < 1 << 32);
        Spares { entries, count, first }
    }

    pub(crate) fn count(&self) -> u32 {
        self.count
    }

    /// The number of all blocks, including those that slots name.
    pub(crate) fn blocks(&self) -> u64 {
        self.first + u64::from(self.count)
    }

    #[inline(always)]
    fn entry(&self, index: u32) -> &Spare {
        debug_assert!(index < self.count);
        // SAFETY: below the count (the callers see to that), valid by the contract of `new`.
        unsafe { &(*self.entries.as_ptr().add(index as usize)).0 }
    }

    /// Takes the entry `index`, if it is idle.
    #[inline(always)]
    pub(crate) fn take(&self, index: u32, member: u32) -> Option<Taken<'_>> {
        let spare = self.entry(index);
        let word = spare.word.load(Relaxed);
        let own = self.first + u64::from(index);
        let (block, owner) = (word >> 32 ^ own, u64::from(member) << 2 | BUSY);
        // Acquire: meets the release of the publisher that returned it. So a reader that sees new bytes in the block also sees the
        // exchange that took it out of its slot.
        if word & OWNER == IDLE
            && block < self.blocks()
            && spare.word.compare_exchange(word, word | owner, Acquire, Relaxed).is_ok()
        {
            fault_point!("spare-taken");
            return Some(Taken { spare, owner, own, index, block });
        }
        None
    }

    /// Recovers the entries of `member`, whose process was killed; the caller holds its number. Returns whether there were any.
    pub(crate) fn recover(&self, member: u32, events: &EventLine, ledger: &impl Ledger) -> bool {
        let mut any = false;
        for index in 0..self.count {
            // Acquire: for `position` and `displaced`, which the member stored before this word.
            let word = self.entry(index).word.load(Acquire);
            if word & OWNER == u64::from(member) << 2 | BUSY {
                any |= self.recover_entry(index, word, events, ledger);
            }
        }
        any
    }

    fn recover_entry(&self, index: u32, word: u64, events: &EventLine, ledger: &impl Ledger) -> bool {
        let spare = self.entry(index);
        let own = self.first + u64::from(index);
        let block = match self.block_left(index, word >> 32 ^ own, ledger) {
            Some(block) if block < self.blocks() => block,
            _ => return false,
        };
        // If the next holder is killed before it has a position, `block_left` must find this block.
        spare.displaced.store(block, Relaxed);
        fault_point!("recovering");
        // Release: meets the acquire in `take`. A store is enough, because only the holder of the member's number writes a busy
        // entry.
        spare.word.store((block ^ own) << 32 | IDLE, Release);
        // Relaxed: a statistic.
        events.recoveries.fetch_add(1, Relaxed);
        true
    }

    /// The block of a busy entry whose holder was killed or stopped; `mine` is the one in the entry's word.
    fn block_left(&self, index: u32, mine: u64, ledger: &impl Ledger) -> Option<u64> {
        let spare = self.entry(index);
        let displaced = spare.displaced.load(Relaxed);
        let position = match spare.position.load(Relaxed) {
            0 => return Some(mine),
            // It was killed after the entry had been updated for its last commit, or before the first commit of this publish.
            _ if mine == displaced => return Some(mine),
            next => next - 1,
        };
        match ledger.fate(position) {
            Fate::Committed => Some(displaced),
            Fate::Open => Some(mine),
            Fate::Unknown => (0..SEARCHES)
                .find_map(|_| ledger.find([mine, displaced]).or_else(|| self.find([mine, displaced])))
                .map(|found| if found == mine { displaced } else { mine }),
        }
    }

    /// The first of `blocks` that is found in an idle entry, if any. The word of a busy entry may be out of date.
    fn find(&self, blocks: [u64; 2]) -> Option<u64> {
        let idle = |index| {
            let word = self.entry(index).word.load(Acquire);
            Some(word >> 32 ^ (self.first + u64::from(index))).filter(|_| word & OWNER == IDLE)
        };
        (0..self.count).filter_map(idle).find(|block| blocks.contains(block))
    }

    /// The member that holds the entry `index`; `None` if the entry is not busy, or its holder has no number.
    pub(crate) fn holder(&self, index: u32) -> Option<u32> {
        let word = self.entry(index).word.load(Relaxed);
        let member = ((word & OWNER) >> 2) as u32;
        if word & 3 == BUSY && member != 0 {
            return Some(member);
        }
        None
    }

    /// Whether this entry will never be returned. `unregistered` says whether there may be publishers without a number.
    pub(crate) fn is_lost(&self, index: u32, unregistered: bool) -> bool {
        let word = self.entry(index).word.load(Relaxed);
        let member = ((word & OWNER) >> 2) as u32;
        match word & 3 {
            IDLE => word & OWNER != IDLE || self.block_of(index).is_none(),
            // A holder without a block takes another entry.
            BUSY => member > MAX_MEMBER || member == 0 && !unregistered || self.block_of(index).is_none(),
            _ => true,
        }
    }

    /// Recovers all entries while there are no members. Returns whether each entry has a block of its own now.
    pub(crate) fn recover_all(&self, events: &EventLine, ledger: &impl Ledger) -> bool {
        let mut whole = true;
        for index in 0..self.count {
            let word = self.entry(index).word.load(Acquire);
            if word & OWNER == BUSY && events.has_unregistered() {
                return true; // a publisher without a number has just taken it
            }
            if word & 3 == BUSY && !self.recover_entry(index, word, events, ledger) {
                self.entry(index).word.store(LEAKED, Relaxed);
            }
            whole &= self.block_of(index).is_some();
        }
        whole
    }

    /// The content of the entry `index`, in a ring that is not in use.
    #[cfg(not(loom))]
    pub(crate) fn content(&self, index: u32, ledger: &impl Ledger) -> Content {
        let spare = self.entry(index);
        let word = spare.word.load(Acquire);
        let block = word >> 32 ^ (self.first + u64::from(index));
        let member = ((word & OWNER) >> 2) as u32;
        match word & 3 {
            IDLE if word & OWNER == IDLE => Content::Idle(block),
            BUSY if member <= MAX_MEMBER => Content::Busy { member, left: self.block_left(index, block, ledger) },
            LEAKED => Content::Leaked,
            _ => Content::Scribbled,
        }
    }

    /// The block that an entry names.
    fn block_of(&self, index: u32) -> Option<u64> {
        self.block_in(index, self.entry(index).word.load(Relaxed))
    }

    fn block_in(&self, index: u32, word: u64) -> Option<u64> {
        let block = word >> 32 ^ (self.first + u64::from(index));
        if word & 3 == LEAKED || word & 3 == 3 || block >= self.blocks() {
            return None;
        }
        Some(block)
    }

    #[cfg(test)]
    pub(crate) fn idle_block(&self, index: u32) -> Option<u64> {
        assert_ne!(self.entry(index).word.load(Relaxed) & 3, BUSY);
        self.block_of(index)
    }

    /// The entries without a block of their own, with their words. `named` has a bit for each block that a slot names; this sets
    /// the bits of the blocks that entries name.
    pub(crate) fn without(&self, named: &mut Bits) -> Vec<(u32, u64)> {
        let words = (0..self.count).map(|index| (index, self.entry(index).word.load(Acquire)));
        words.filter(|(index, word)| self.block_in(*index, *word).map_or(true, |block| named.set(block))).collect()
    }

    /// Gives the entry `index` a block without a name, if its word, which has no block, has not changed.
    pub(crate) fn endow(&self, index: u32, word: u64, block: u64) {
        let spare = self.entry(index);
        let own = self.first + u64::from(index);
        // No publisher takes a leaked entry.
        if spare.word.compare_exchange(word, LEAKED, Relaxed, Relaxed).is_ok() {
            spare.displaced.store(block, Relaxed);
            spare.word.store((block ^ own) << 32 | IDLE, Release);
        }
    }
}

/// The content of an entry; see [`Spares::content`].
#[cfg(not(loom))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// Idle, with this block; it may be any number if a writer corrupted it.
    Idle(u64),
    /// Held by a publisher, with this block; `None` if it is not known which one.
    Busy {
        member: u32,
        left: Option<u64>,
    },
    Leaked,
    Scribbled,
}

impl Taken<'_> {
    /// Its index.
    #[inline(always)]
    pub(crate) fn index(&self) -> u32 {
        self.index
    }

    /// Must be called before each exchange of the slot of `position`, which has the block `displaced`.
    #[inline(always)]
    pub(crate) fn intend(&self, position: u64, displaced: u64) {
        // In this order: with the old position and the new block, `recover` would take that block for the spare.
        self.spare.position.store(position.wrapping_add(1), Relaxed);
        // Release: after the position. The exchange, which is SeqCst, comes after both.
        self.spare.displaced.store(displaced, Release);
        fault_point!("before-exchange");
    }

    /// The slot names this publisher's block now, and `displaced` is the spare. If that is not a valid block, because a writer
    /// corrupted the slot, it becomes a leak in `give_back`.
    #[inline(always)]
    pub(crate) fn exchanged(&mut self, displaced: u64) {
        fault_point!("exchanged");
        self.block = displaced;
        // Release: after the exchange, for a process that recovers the entry.
        self.spare.word.store((displaced ^ self.own) << 32 | self.owner, Release);
    }

    #[cfg(all(test, not(loom)))]
    pub(crate) fn corrupt(self, word: u64) {
        self.spare.word.store(word, Relaxed);
    }

    /// Returns the entry at the end of a publish.
    #[inline(always)]
    pub(crate) fn give_back(self) {
        fault_point!("before-return");
        // Release: meets the acquire in `take`.
        self.spare.word.store((self.block ^ self.own) << 32 | IDLE, Release);
    }
}

/// A bit for each block.
pub(crate) struct Bits(Vec<u64>);

impl Bits {
    pub(crate) fn new(count: u64) -> Self {
        Bits(vec![0; (count / 64 + 1) as usize])
    }

    pub(crate) fn get(&self, i: u64) -> bool {
        self.0[(i / 64) as usize] >> (i % 64) & 1 != 0
    }

    /// Sets a bit. Returns whether it was set before.
    pub(crate) fn set(&mut self, i: u64) -> bool {
        let was = self.get(i);
        self.0[(i / 64) as usize] |= 1 << (i % 64);
        was
    }
}
