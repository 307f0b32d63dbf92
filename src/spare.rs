//! Spare blocks: what publishers of strings write into before a message is in the ring.
//!
//! A ring of C slots and P spares has C + P blocks. Each is named by one slot or by one spare's entry, and by no other: that
//! is the whole invariant, and whoever is in the middle of a publish may write into the block of its entry because of it.
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
//! No entry belongs to anybody while it is idle, so there need be no more of them than publishers in the middle of a
//! publish. A publisher that dies there leaves its entry busy. Whoever holds the dead member's number (see
//! [`crate::member`]; so it is one process, and no process is that member meanwhile) can tell where the spare block is from what
//! became of p: committed, then it is o; not, then it is b. If the slot was overwritten since, the other of the two is somewhere
//! in the ring: where a slot or an idle entry names it, this one is the spare. (Nothing names the spare, and nothing will.
//! What is seen once decides, however fast the others move.) In a ring that is too large to be searched, or where the other
//! one could not be found, the entry stays as it is until a process publishes alone, and looks which blocks nothing names.

use std::ptr::NonNull;

use crate::fault::fault_point;
use crate::layout::EventLine;
use crate::member::MAX_MEMBER;
use crate::slot_ring::Fate;
use crate::sync::Ordering::{Acquire, Relaxed, Release};
use crate::sync::{AtomicU64, Line};

/// An entry. Only its holder writes it while it is busy.
#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct Spare {
    /// Block ^ the entry's first block, << 32 | member << 2 | state. So that all zero is idle, with a block of its own.
    word: AtomicU64,
    /// The position that the holder is about to commit + 1; 0: there was none yet.
    position: AtomicU64,
    /// The block in the slot of that position.
    displaced: AtomicU64,
}

/// Searches for a block that others may be moving just then.
const SEARCHES: u32 = if cfg!(loom) { 1 } else { 8 };

const IDLE: u64 = 0;
const BUSY: u64 = 1;
/// Without a block.
const LEAKED: u64 = 2;
/// Member and state.
const OWNER: u64 = 0xffff_ffff;

/// What a ring's slots say of a publisher that died.
pub(crate) trait Ledger {
    /// What became of a position that it had claimed.
    fn fate(&self, position: u64) -> Fate;

    /// One of two blocks that a slot names now; None where none was found.
    fn find(&self, blocks: [u64; 2]) -> Option<u64>;
}

/// The spares of one ring. Copying copies the pointer.
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

    /// All blocks, those in slots included.
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
        // Acquire: meets the release of who returned it. Its block is out of every slot, for whoever sees our bytes in it.
        if word & OWNER == IDLE
            && block < self.blocks()
            && spare.word.compare_exchange(word, word | owner, Acquire, Relaxed).is_ok()
        {
            fault_point!("spare-taken");
            return Some(Taken { spare, owner, own, index, block });
        }
        None
    }

    /// Puts the entries of `member`, who is dead, in order; the caller holds its number. True: there is a spare more.
    pub(crate) fn recover(&self, member: u32, events: &EventLine, ledger: &impl Ledger) -> bool {
        let mut any = false;
        for index in 0..self.count {
            // Acquire: what the dead one stored before this word.
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
        // For who recovers the next holder, should that die before it has a position of its own.
        spare.displaced.store(block, Relaxed);
        fault_point!("recovering");
        // Release: to who takes it. No exchange: only who holds the member's number writes a busy entry.
        spare.word.store((block ^ own) << 32 | IDLE, Release);
        // Relaxed: a statistic.
        events.recoveries.fetch_add(1, Relaxed);
        true
    }

    /// The block that a publisher has which stopped for good, or for now; `mine` is the one in the entry's word.
    fn block_left(&self, index: u32, mine: u64, ledger: &impl Ledger) -> Option<u64> {
        let spare = self.entry(index);
        let displaced = spare.displaced.load(Relaxed);
        let position = match spare.position.load(Relaxed) {
            0 => return Some(mine),
            // It died after its last commit was in the books, or before the first of this publish.
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

    /// One of two blocks that an idle entry names now. A busy one's word may be out of date.
    fn find(&self, blocks: [u64; 2]) -> Option<u64> {
        let idle = |index| {
            let word = self.entry(index).word.load(Acquire);
            Some(word >> 32 ^ (self.first + u64::from(index))).filter(|_| word & OWNER == IDLE)
        };
        (0..self.count).filter_map(idle).find(|block| blocks.contains(block))
    }

    /// The member in the middle of a publish with the entry `index`; None where there is none, or nobody can know it.
    pub(crate) fn holder(&self, index: u32) -> Option<u32> {
        let word = self.entry(index).word.load(Relaxed);
        let member = ((word & OWNER) >> 2) as u32;
        if word & 3 == BUSY && member != 0 {
            return Some(member);
        }
        None
    }

    /// Whether nobody will ever return this entry. `unregistered`: there may be publishers without a number.
    pub(crate) fn is_lost(&self, index: u32, unregistered: bool) -> bool {
        let word = self.entry(index).word.load(Relaxed);
        let member = ((word & OWNER) >> 2) as u32;
        match word & 3 {
            IDLE => word & OWNER != IDLE || self.block_of(index).is_none(),
            // Who has no block to return looks for another one itself.
            BUSY => member > MAX_MEMBER || member == 0 && !unregistered || self.block_of(index).is_none(),
            _ => true,
        }
    }

    /// Without any member: recovers the dead. Whether every entry has a block of its own now.
    pub(crate) fn recover_all(&self, events: &EventLine, ledger: &impl Ledger) -> bool {
        let mut whole = true;
        for index in 0..self.count {
            let word = self.entry(index).word.load(Acquire);
            if word & OWNER == BUSY && events.has_unregistered() {
                return true; // its holder came just now: it said so before it took this
            }
            if word & 3 == BUSY && !self.recover_entry(index, word, events, ledger) {
                self.entry(index).word.store(LEAKED, Relaxed);
            }
            whole &= self.block_of(index).is_some();
        }
        whole
    }

    /// What the entry `index` of a ring in which nothing happens says.
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

    /// Entries without a block of their own, and their words. `named` has a bit for each block that a slot names, and gets
    /// one for each that an entry names.
    pub(crate) fn without(&self, named: &mut Bits) -> Vec<(u32, u64)> {
        let words = (0..self.count).map(|index| (index, self.entry(index).word.load(Acquire)));
        words.filter(|(index, word)| self.block_in(*index, *word).map_or(true, |block| named.set(block))).collect()
    }

    /// Gives the entry `index` a block that nothing names, if its word is still that one, which says that it has none.
    pub(crate) fn endow(&self, index: u32, word: u64, block: u64) {
        let spare = self.entry(index);
        let own = self.first + u64::from(index);
        // Nobody takes it meanwhile.
        if spare.word.compare_exchange(word, LEAKED, Relaxed, Relaxed).is_ok() {
            spare.displaced.store(block, Relaxed);
            spare.word.store((block ^ own) << 32 | IDLE, Release);
        }
    }
}

/// What an entry says; see [`Spares::content`].
#[cfg(not(loom))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// Any number, where a writer corrupted it; so below.
    Idle(u64),
    /// In the hands of a publisher, with this block; None: there is no telling which one it is.
    Busy {
        member: u32,
        left: Option<u64>,
    },
    Leaked,
    Scribbled,
}

impl Taken<'_> {
    /// Where it was found.
    #[inline(always)]
    pub(crate) fn index(&self) -> u32 {
        self.index
    }

    /// To be called before each exchange of the slot of `position`, which has the block `displaced`.
    #[inline(always)]
    pub(crate) fn intend(&self, position: u64, displaced: u64) {
        // In this order: with the old position beside the new block, `recover` would take the latter for a spare.
        self.spare.position.store(position.wrapping_add(1), Relaxed);
        // Release: not before the position. The exchange, which is SeqCst, comes after both.
        self.spare.displaced.store(displaced, Release);
        fault_point!("before-exchange");
    }

    /// The slot names this publisher's block now, and `displaced` is the spare. One that is no block, because somebody
    /// scribbled on the slot, ends in `give_back` as a leak.
    #[inline(always)]
    pub(crate) fn exchanged(&mut self, displaced: u64) {
        fault_point!("exchanged");
        self.block = displaced;
        // Release: after the exchange, for who recovers.
        self.spare.word.store((displaced ^ self.own) << 32 | self.owner, Release);
    }

    #[cfg(all(test, not(loom)))]
    pub(crate) fn scribble(self, word: u64) {
        self.spare.word.store(word, Relaxed);
    }

    /// The publish is over.
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

    /// Sets a bit; true: it was set already.
    pub(crate) fn set(&mut self, i: u64) -> bool {
        let was = self.get(i);
        self.0[(i / 64) as usize] |= 1 << (i % 64);
        was
    }
}
