//! String rings: slot rings whose values name blocks of bytes.
//!
//! The value in a slot names the block that holds the message with its length and its flag for characters. Claims, commits,
//! abandoned positions, clears and the rules for readers are those of [`crate::slot_ring`]; there are no locks. A publisher
//! writes the bytes to a spare block, which no other publisher may write to ([`crate::spare`]), claims a position, and exchanges
//! the block in its slot for its own. The old block is its next spare. So a publisher may be stopped for a week without tearing a
//! message: it finds its position abandoned, claims another, and commits the same block there.
//!
//! # Seqlock
//!
//! A reader loads the slot, copies the bytes, executes an acquire fence, and checks that the slot's tag is still the same. A
//! block is written to only after the exchange that took it out of its slot, and there is a release fence between that exchange
//! and the first byte. So a reader that has copied a new byte sees a new tag, and discards the copy. Tags never return to an
//! earlier value. Shared bytes are read and written as relaxed atomic words, since a racing plain copy would be undefined
//! behaviour (H.-J. Boehm, "Can seqlocks get along with programming language memory models?", 2012). The bytes are copied
//! directly to the caller's memory, and are only valid if the check succeeds.

use std::ptr::NonNull;

use crate::cursor::{Cursor, Next, PIECE};
use crate::fault::fault_point;
use crate::filter::Filter;
use crate::layout::{round_up_8, Geometry, Header, Stamp};
use crate::member::{Inheritance, Members, NoSpare};
use crate::readers::Readers;
use crate::slot::{NarrowSlot, Slot};
use crate::slot_ring::{Batch, Fate, SlotRing};
use crate::spare::{Bits, Ledger, Spare, Spares, Taken};
use crate::sync::Ordering::{Acquire, Relaxed, Release, SeqCst};
use crate::sync::{fence, AtomicU32, AtomicU64, Backoff, Line};
use crate::time::wall_ns;
use crate::wait::nap;

/// A message to publish. The bytes must stay valid and unchanged during the call.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Bytes {
    /// The first byte; any pointer if `len` is 0.
    pub ptr: *const u8,
    /// Length in bytes.
    pub len: usize,
    /// Perl's UTF-8 flag: the bytes are characters encoded in UTF-8. Readers check that.
    pub utf8: bool,
}

impl Bytes {
    /// The bytes of `slice`, not flagged as characters.
    ///
    /// ```
    /// # use data_pubsub_shared::Bytes;
    /// assert!(!Bytes::new(b"abc").utf8);
    /// ```
    pub fn new(slice: &[u8]) -> Self {
        Bytes { ptr: slice.as_ptr(), len: slice.len(), utf8: false }
    }

    /// The bytes of `text`, flagged as characters.
    ///
    /// ```
    /// # use data_pubsub_shared::Bytes;
    /// let text = Bytes::text("caf\u{e9}");
    /// assert_eq!((text.len, text.utf8), (5, true));
    /// ```
    pub fn text(text: &str) -> Self {
        Bytes { utf8: true, ..Bytes::new(text.as_bytes()) }
    }
}

/// A message that was found, and can be copied until a publisher overwrites it.
///
/// It is three words, so that it stays in registers. If a number and a flag were stored separately and then loaded as one word, the
/// CPU could not forward the stores to the load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    pub(crate) position: u64,
    /// The message's block, below the number of blocks.
    pub(crate) block: u64,
    /// The block's first word; its length is at most the ring's `msg_size`.
    pub(crate) word: u64,
}

impl Found {
    /// Length in bytes, at most the ring's `msg_size`.
    ///
    /// ```
    /// # use data_pubsub_shared::{Ring, Variant};
    /// let ring = Ring::anonymous(Variant::Str, 8, 100)?;
    /// ring.publish_str(b"hello")?;
    /// assert_eq!(ring.subscribe(true).find(u64::MAX)?.map(|found| found.len()), Some(5));
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    #[inline(always)]
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.word as u32 as usize
    }

    /// Perl's UTF-8 flag, as the publisher set it. The bytes may be invalid UTF-8 nevertheless.
    ///
    /// ```
    /// # use data_pubsub_shared::{Ring, Variant};
    /// let ring = Ring::anonymous(Variant::Str, 8, 100)?;
    /// ring.publish_str(b"hello")?;
    /// assert_eq!(ring.subscribe(true).find(u64::MAX)?.map(|found| found.utf8()), Some(false));
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    #[inline(always)]
    pub fn utf8(&self) -> bool {
        self.word & UTF8 != 0
    }
}

/// A block's first word is the message's length, with this flag if the bytes are characters.
const UTF8: u64 = 1 << 32;

/// The block that a value in the slot `index` names, and the value that names a block: block ^ index, so that zeroed slots name a
/// block each.
#[inline(always)]
pub(crate) fn named(value: u64, index: u64) -> u64 {
    value ^ index
}

/// The length in a block's first word.
#[inline(always)]
pub(crate) fn len_of(first: u64) -> u64 {
    first & !UTF8
}

/// How many positions ahead a batch prefetches blocks.
const AHEAD: u64 = 16;
/// Rings with at most this many slots are searched for blocks, and checked as a whole by each process that publishes alone. It
/// takes milliseconds.
const SMALL: u64 = 1 << 20;

/// How often `find_spare` naps before the caller must check signals.
const RESTS_PER_CALL: u32 = 16;

/// Pointers to the parts of one string ring, in any kind of memory. A copy is of the pointers, not of the ring.
#[derive(Clone, Copy)]
pub(crate) struct StrRing {
    pub(crate) ring: SlotRing<NarrowSlot, false>,
    spares: Spares,
    blocks: NonNull<AtomicU64>,
    msg_size: u64,
    /// The size of a block in words.
    block_words: u64,
    /// Whether the last two words of a block are the stamp of its message.
    stamped: bool,
}

impl StrRing {
    /// # Safety
    /// `header`, `readers`, and slots, spares and blocks as `geometry` says, must stay valid as long as any copy of the result.
    pub(crate) unsafe fn new(
        header: NonNull<Header>,
        slots: NonNull<NarrowSlot>,
        spares: NonNull<Line<Spare>>,
        blocks: NonNull<AtomicU64>,
        readers: NonNull<Readers>,
        geometry: &Geometry,
    ) -> Self {
        // SAFETY: the caller's contract.
        let (ring, spares) = unsafe {
            let ring = SlotRing::new(header, slots, readers, None);
            (ring, Spares::new(spares, geometry.publishers as u32, geometry.capacity))
        };
        let (msg_size, block_words) = (geometry.msg_size, geometry.block_len() / 8);
        StrRing { ring, spares, blocks, msg_size, block_words, stamped: geometry.stamped }
    }

    #[inline(always)]
    pub(crate) fn header(&self) -> &Header {
        self.ring.header()
    }

    /// A block's first word, and the words for the `len` bytes of its message.
    #[inline(always)]
    fn block(&self, block: u64, len: u64) -> (&AtomicU64, &[AtomicU64]) {
        debug_assert!(block < self.spares.blocks() && len <= self.msg_size);
        let (at, count) = ((block * self.block_words) as usize, (round_up_8(len) / 8) as usize);
        // SAFETY: the block exists and has room for the bytes (the callers check both); valid by the contract of `new`; atomic.
        unsafe {
            let first = self.blocks.as_ptr().add(at);
            (&*first, std::slice::from_raw_parts(first.add(1), count))
        }
    }

    /// The words of a block for its message's time and publisher.
    fn stamp(&self, block: u64) -> &[AtomicU64; 2] {
        debug_assert!(self.stamped && block < self.spares.blocks());
        // SAFETY: the last two words of a block that exists (the callers check it); valid by the contract of `new`; atomic.
        unsafe { &*self.blocks.as_ptr().add(((block + 1) * self.block_words - 2) as usize).cast::<[AtomicU64; 2]>() }
    }

    #[cold]
    fn write_stamp(&self, block: u64) {
        let [time, process] = self.stamp(block);
        time.store(wall_ns(), Relaxed);
        process.store(crate::process::this().pid.into(), Relaxed);
    }

    #[cold]
    fn read_stamp(&self, block: u64) -> Stamp {
        let [time_ns, pid] = self.stamp(block);
        Stamp { time_ns: time_ns.load(Relaxed), pid: pid.load(Relaxed) as u32 }
    }

    /// Prefetches the first two cache lines of a block that will be written or read soon. Short messages may lie on two lines, and
    /// the CPU prefetches the rest of longer ones itself. `block` may be any number.
    #[inline(always)]
    fn prefetch(&self, block: u64) {
        #[cfg(all(target_arch = "x86_64", not(miri), not(loom)))]
        {
            use std::arch::x86_64::{_mm_prefetch, _MM_HINT_T0};
            let first = self.blocks.as_ptr().wrapping_add((block.wrapping_mul(self.block_words)) as usize).cast::<i8>();
            // SAFETY: prefetches do not access memory.
            unsafe {
                _mm_prefetch::<_MM_HINT_T0>(first);
                _mm_prefetch::<_MM_HINT_T0>(first.wrapping_add(64));
            }
        }
        #[cfg(not(all(target_arch = "x86_64", not(miri), not(loom))))]
        let _ = block;
    }

    /// Prefetches the block that the slot of `position` names now.
    #[inline(always)]
    fn prefetch_slot(&self, position: u64) {
        self.prefetch(named(self.ring.value_hint(position), self.ring.slot_index(position)));
    }

    /// Prefetches a block for a reader that reads on after `position`.
    #[inline(always)]
    pub(crate) fn prefetch_ahead(&self, position: u64) {
        self.prefetch_slot(position.wrapping_add(AHEAD));
    }

    pub(crate) fn msg_size(&self) -> u64 {
        self.msg_size
    }

    /// Publishes `messages` at consecutive positions, in order: all of them or, on an error, none. The caller has checked the
    /// lengths, and wakes waiters. `home` is the index of the spare that the publisher used last. Returns how many messages there
    /// was room for: all, unless the ring is lossless; otherwise usually none.
    ///
    /// # Safety
    /// Each message's bytes must be readable.
    #[inline(always)]
    pub(crate) unsafe fn publish(
        &self,
        messages: &[Bytes],
        members: &Members,
        home: &AtomicU32,
    ) -> Result<usize, NoSpare> {
        if messages.is_empty() {
            return Ok(0);
        }
        let member = match members.number() {
            Some(member) => member,
            None => self.join(members, home)?,
        };
        // Relaxed: a hint.
        let index = home.load(Relaxed);
        let mut taken = match self.spares.take(index, member) {
            Some(taken) => taken,
            None => self.find_spare(index, member, members, home)?,
        };
        let count = if messages.len() == 1 {
            // SAFETY: the caller vouches for the bytes.
            unsafe { self.write(taken.block, &messages[0]) };
            match self.ring.claim(1) {
                Some(mut batch) => {
                    fault_point!("after-claim");
                    self.commit(&mut batch, &mut taken).into()
                }
                None => 0,
            }
        } else {
            // SAFETY: the caller vouches for the bytes.
            unsafe { self.publish_batch(messages, &mut taken, member, members, home) }
        };
        // The next publish will write to it.
        self.prefetch(taken.block);
        taken.give_back();
        Ok(count)
    }

    /// # Safety
    /// The message's bytes must be readable.
    #[inline(always)]
    unsafe fn write(&self, block: u64, message: &Bytes) {
        debug_assert!(message.len as u64 <= self.msg_size);
        // Release: a reader that sees one of the words below also sees the exchange that took the block out of its slot. Meets the
        // acquire fence in `copy`.
        fence(Release);
        // SAFETY: the caller vouches for the bytes.
        unsafe {
            let (first, words) = self.block(block, message.len as u64);
            first.store(message.len as u64 | if message.utf8 { UTF8 } else { 0 }, Relaxed);
            write_words(words, message);
        }
        if self.stamped {
            self.write_stamp(block);
        }
        fault_point!("written");
    }

    /// Commits the block of `taken`. Returns false if the position was abandoned and there is no room for another.
    #[inline(always)]
    fn commit(&self, batch: &mut Batch, taken: &mut Taken<'_>) -> bool {
        let block = taken.block;
        let displaced = self.ring.exchange(
            batch,
            |index| block ^ index,
            |position, old| taken.intend(position, named(old, self.ring.slot_index(position))),
        );
        if let Some(displaced) = displaced {
            taken.exchanged(named(displaced, self.ring.slot_index(batch.committed())));
        }
        displaced.is_some()
    }

    /// Publishes a batch. With a second spare, it exchanges two neighbouring slots at once. Returns how many messages there was
    /// room for.
    ///
    /// # Safety
    /// Each message's bytes must be readable.
    #[inline(never)]
    unsafe fn publish_batch<'a>(
        &'a self,
        messages: &[Bytes],
        one: &mut Taken<'a>,
        member: u32,
        members: &Members,
        home: &AtomicU32,
    ) -> usize {
        let other = (one.index() + 1) % self.spares.count();
        let mut two = if NarrowSlot::PAIRS { self.spares.take(other, member) } else { None };
        let (claimed, mut batch) = match self.ring.claim(messages.len() as u64) {
            Some(batch) => (true, batch),
            None => (false, Batch::default()),
        };
        let mut has_room = claimed;
        fault_point!("after-claim");
        // If positions were abandoned and there is no room for the rest, the caller waits.
        while has_room && batch.remaining() != 0 {
            let left = &messages[messages.len() - batch.remaining()..];
            if one.block >= self.spares.blocks() {
                self.replace(one, member, members, home);
            }
            self.prefetch_slot(batch.next().wrapping_add(AHEAD));
            // SAFETY: the caller vouches for the bytes.
            unsafe { self.write(one.block, &left[0]) };
            has_room = match &mut two {
                Some(two) if left.len() > 1 && batch.next() & 1 == 0 => {
                    if two.block >= self.spares.blocks() {
                        self.replace(two, member, members, home);
                    }
                    self.prefetch_slot(batch.next().wrapping_add(AHEAD + 1));
                    // SAFETY: as above.
                    unsafe { self.write(two.block, &left[1]) };
                    self.commit_pair(&mut batch, one, two)
                        || self.commit(&mut batch, one) && self.commit(&mut batch, two)
                }
                _ => self.commit(&mut batch, one),
            };
        }
        if let Some(two) = two {
            two.give_back();
        }
        match claimed {
            true => messages.len() - batch.remaining(),
            false => 0,
        }
    }

    #[inline(always)]
    fn commit_pair(&self, batch: &mut Batch, one: &mut Taken<'_>, two: &mut Taken<'_>) -> bool {
        let position = batch.next();
        let index = self.ring.slot_index(position);
        let displaced = self.ring.exchange_pair(batch, [one.block ^ index, two.block ^ (index + 1)], |old| {
            one.intend(position, named(old[0], index));
            two.intend(position + 1, named(old[1], index + 1));
        });
        match displaced {
            Some(old) => {
                one.exchanged(named(old[0], index));
                two.exchanged(named(old[1], index + 1));
                true
            }
            None => false,
        }
    }

    /// This process's first publish: it becomes a member, and recovers the spares of publishers that were killed.
    #[cold]
    #[inline(never)]
    fn join(&self, members: &Members, home: &AtomicU32) -> Result<u32, NoSpare> {
        let member = members.join(|what| match what {
            Inheritance::Of(member) => {
                self.recover(member);
            }
            Inheritance::All { in_memory } => self.sweep(!in_memory || self.ring.capacity() <= SMALL),
            Inheritance::Unregistered => self.header().events.say_unregistered(),
        })?;
        // Also if no spare is needed now: later, less may be known about them.
        self.recover_dead(member, members);
        // Relaxed: a hint. Publishers start at different spares.
        home.store(member % self.spares.count(), Relaxed);
        Ok(member)
    }

    /// Recovers the spares of `member`, whose process was killed. The caller holds its number.
    pub(crate) fn recover(&self, member: u32) -> bool {
        self.spares.recover(member, &self.header().events, self)
    }

    /// Recovers the spares of publishers that were killed. Returns whether there were any.
    fn recover_dead(&self, but: u32, members: &Members) -> bool {
        let dead = |holder| holder != but && members.hold(holder).map_or(false, |_held| self.recover(holder));
        (0..self.spares.count()).filter_map(|index| self.spares.holder(index)).filter(|holder| dead(*holder)).count()
            > 0
    }

    /// Takes another spare, because the usual one is busy, or recovers one of a publisher that was killed.
    #[cold]
    #[inline(never)]
    fn find_spare(&self, home: u32, member: u32, members: &Members, hint: &AtomicU32) -> Result<Taken<'_>, NoSpare> {
        let count = self.spares.count();
        let backoff = Backoff::new();
        let mut rests = 0;
        loop {
            // Members start at different spares, or those that one publisher displaced would displace each other.
            let start = home.wrapping_add(member);
            for index in (0..count).map(|i| start.wrapping_add(i) % count) {
                if let Some(taken) = self.spares.take(index, member) {
                    hint.store(index, Relaxed);
                    return Ok(taken);
                }
            }
            if !backoff.is_completed() {
                backoff.snooze();
                continue;
            }
            if !self.recover_dead(member, members) {
                let unregistered = self.header().events.has_unregistered();
                let is_lost = |index| self.spares.is_lost(index, unregistered);
                if (0..count).all(is_lost) {
                    return Err(NoSpare::Damaged);
                }
                if rests == RESTS_PER_CALL {
                    // After many tries: the spares of killed publishers could not be recovered.
                    let is_dead = |holder| holder != member && members.hold(holder).is_some();
                    let damaged =
                        (0..count).all(|index| is_lost(index) || self.spares.holder(index).map_or(false, is_dead));
                    return Err(if damaged { NoSpare::Damaged } else { NoSpare::Interrupted });
                }
                nap(&mut rests, u64::MAX);
            }
        }
    }

    /// Replaces the spare in the middle of a batch: it is not a valid block, because a writer corrupted a slot.
    #[cold]
    #[inline(never)]
    fn replace<'a>(&'a self, taken: &mut Taken<'a>, member: u32, members: &Members, home: &AtomicU32) {
        self.header().events.leaked.fetch_add(1, Relaxed);
        // If there is no other spare, it goes on with a block that another slot may name, too. The ring is corrupt already.
        let mut block = taken.block % self.spares.blocks();
        while taken.block >= self.spares.blocks() {
            match self.find_spare(taken.index(), member, members, home) {
                Ok(other) => std::mem::replace(taken, other).give_back(),
                Err(NoSpare::Interrupted) => {}
                Err(NoSpare::Damaged) => std::mem::swap(&mut taken.block, &mut block),
            }
        }
    }

    /// Recovers all spares. If a block has leaked, or if `thorough` is true, also makes sure that each block is named once. The
    /// caller knows that no member publishes until this returns.
    ///
    /// A publisher without a member's number may start at any time, but says so first (`has_unregistered`). If it has not said so
    /// after all names were read, they are from before its start: a block without a name then has none now. And a
    /// name is only changed if it is still as it was read.
    #[cold]
    pub(crate) fn sweep(&self, thorough: bool) {
        let events = &self.header().events;
        if events.has_unregistered() {
            return;
        }
        let whole = self.spares.recover_all(events, self);
        if whole && !thorough {
            return;
        }
        let mut seen = Bits::new(self.spares.blocks());
        let values = (0..self.ring.capacity()).map(|index| (index, self.ring.value_at(index)));
        let mut is_wrong = |block| block >= self.spares.blocks() || seen.set(block);
        let slots: Vec<(u64, u64)> = values.filter(|(index, value)| is_wrong(named(*value, *index))).collect();
        let entries = self.spares.without(&mut seen);
        if events.has_unregistered() {
            return;
        }
        let mut free = (0..self.spares.blocks()).filter(|block| !seen.get(*block));
        // There are as many blocks as slots and entries.
        for ((index, word), block) in entries.iter().zip(&mut free) {
            self.spares.endow(*index, *word, block);
        }
        for ((index, value), block) in slots.iter().zip(free) {
            self.ring.abandon_slot(*index, *value, block ^ index);
        }
        // Relaxed: a statistic.
        events.leaked.store(0, Relaxed);
    }

    /// The message at the cursor, if there is one, after positions that were lost are passed.
    #[inline(always)]
    pub(crate) fn peek(&self, cursor: &mut Cursor) -> Next<Found> {
        match self.ring.peek(cursor) {
            Next::Ready(value) => match self.found(cursor.next(), value) {
                Some(found) if self.is_wanted(cursor, &found) => Next::Ready(found),
                _ => self.look(cursor),
            },
            Next::Empty => Next::Empty,
            Next::Claimed(when) => Next::Claimed(when),
            Next::More => Next::More,
        }
    }

    /// The message at the cursor, if the fast path finds one and there is no filter.
    #[inline(always)]
    pub(crate) fn at_hand(&self, cursor: &Cursor) -> Option<Found> {
        if cursor.filter().is_some() {
            return None;
        }
        self.found(cursor.next(), self.ring.at_hand(cursor)?)
    }

    /// Whether the filter accepts the message. A message that was overwritten meanwhile is accepted, so that `copy` counts it as
    /// lost.
    #[inline(always)]
    fn is_wanted(&self, cursor: &Cursor, found: &Found) -> bool {
        match cursor.filter() {
            None => true,
            Some(filter) => self.passes(filter, found),
        }
    }

    #[inline(never)]
    fn passes(&self, filter: &Filter, found: &Found) -> bool {
        let words = self.block(found.block, found.len() as u64).1;
        let begins = |prefix: &[u8]| {
            let is_same = |(part, word): (&[u8], &AtomicU64)| word.load(Relaxed).to_ne_bytes().starts_with(part);
            prefix.len() <= found.len() && prefix.chunks(8).zip(words).all(is_same)
        };
        if filter.wants(found.utf8(), begins) {
            return true;
        }
        // Acquire: as in `copy`.
        fence(Acquire);
        !self.ring.still_holds(found.position)
    }

    /// Moves the cursor to the newest message that the filter accepts, if there is one.
    pub(crate) fn skip_to_newest(&self, cursor: &mut Cursor) {
        let filter = cursor.filter().cloned();
        self.ring.skip_to_newest(cursor, |position, value| {
            let found = self.found(position, value);
            found.map_or(false, |found| filter.as_ref().map_or(true, |filter| self.passes(filter, &found)))
        });
    }

    /// Moves the cursor past positions without a message and past messages that the filter rejects. Returns the state of the next
    /// position.
    #[cold]
    #[inline(never)]
    pub(crate) fn look(&self, cursor: &mut Cursor) -> Next<Found> {
        for _ in 0..PIECE {
            let value = match self.ring.look(cursor) {
                Next::Ready(value) => value,
                Next::Empty => return Next::Empty,
                Next::Claimed(when) => return Next::Claimed(when),
                Next::More => break,
            };
            match self.found(cursor.next(), value) {
                Some(found) if self.is_wanted(cursor, &found) => return Next::Ready(found),
                Some(_) => cursor.pass_unwanted(),
                None => cursor.skip_lost(cursor.next() + 1),
            }
        }
        Next::More
    }

    /// The message that `value`, in the slot of `position`, names; `None` if a writer corrupted the slot or the block.
    #[inline(always)]
    fn found(&self, position: u64, value: u64) -> Option<Found> {
        let block = named(value, self.ring.slot_index(position));
        if block >= self.spares.blocks() {
            return None;
        }
        // Relaxed: the length is checked here, and `copy` checks whether it is this message's.
        let first = self.block(block, 0).0.load(Relaxed);
        if len_of(first) <= self.msg_size {
            return Some(Found { position, block, word: first });
        }
        None
    }

    /// Copies the message that `peek` or `look` found, and counts it as delivered. Returns false if it was overwritten meanwhile:
    /// then the bytes at `to` are invalid, and the message is counted as lost.
    ///
    /// # Safety
    /// `found` came from this ring; `to` has room for its length rounded up to 8 bytes.
    #[inline(always)]
    pub(crate) unsafe fn copy(&self, cursor: &mut Cursor, found: &Found, to: *mut u8) -> bool {
        // SAFETY: the caller vouches for the room.
        unsafe { read_words(self.block(found.block, found.len() as u64).1, to) };
        let stamp = if self.stamped { Some(self.read_stamp(found.block)) } else { None };
        fault_point!("mid-copy");
        // Acquire: the words above are read before the tag below. Meets the release fence in `write`.
        fence(Acquire);
        if !self.ring.still_holds(found.position) {
            self.resume(cursor, found.position);
            return false;
        }
        cursor.pass_copied(found.position, stamp);
        true
    }

    /// The message at `position` was overwritten while it was copied. The reader resumes at the oldest message, which is also the
    /// next to be overwritten. If that has just happened before, it resumes in the middle of the messages that are held, or it
    /// could be lapped during each copy. It always stays behind the write position.
    #[cold]
    fn resume(&self, cursor: &mut Cursor, position: u64) {
        cursor.pass_clear(self.header());
        if cursor.next() != position {
            return;
        }
        let (end, capacity) = (self.header().write_pos.load(SeqCst), self.ring.capacity());
        let oldest = self.header().oldest(end, capacity).max(position + 1);
        cursor.resume(oldest, end.saturating_sub(capacity / 2));
    }
}

impl Ledger for StrRing {
    fn fate(&self, position: u64) -> Fate {
        self.ring.fate(position)
    }

    fn find(&self, blocks: [u64; 2]) -> Option<u64> {
        let capacity = self.ring.capacity();
        let found = |index| Some(named(self.ring.value_at(index), index)).filter(|block| blocks.contains(block));
        (0..if capacity <= SMALL { capacity } else { 0 }).find_map(found)
    }
}

/// Writes the bytes of `message` to `words`, which are as many as it needs.
///
/// # Safety
/// The bytes must be readable.
#[inline(always)]
unsafe fn write_words(words: &[AtomicU64], message: &Bytes) {
    let whole = message.len / 8;
    for (i, word) in words[..whole].iter().enumerate() {
        // SAFETY: 8 * i + 8 <= len.
        word.store(unsafe { message.ptr.add(8 * i).cast::<u64>().read_unaligned() }, Relaxed);
    }
    if let Some(last) = words.get(whole) {
        // SAFETY: by the contract. There are bytes after the last whole word.
        last.store(unsafe { last_word(message) }, Relaxed);
    }
}

/// The bytes after the last whole word of a message, padded with zeros. They are loaded in few large pieces: if single bytes were
/// stored and then loaded as a word, the CPU could not forward the stores to the load.
///
/// # Safety
/// The bytes must be readable.
#[inline(always)]
unsafe fn last_word(message: &Bytes) -> u64 {
    let (ptr, len) = (message.ptr, message.len);
    // SAFETY: each read lies within the `len` bytes.
    unsafe {
        let word = if len >= 8 {
            // The last 8 bytes, without those that are in the word before.
            u64::from_le(ptr.add(len - 8).cast::<u64>().read_unaligned()) >> (64 - len % 8 * 8)
        } else if len >= 4 {
            let low = u32::from_le(ptr.cast::<u32>().read_unaligned());
            let high = u32::from_le(ptr.add(len - 4).cast::<u32>().read_unaligned());
            u64::from(low) | u64::from(high) << (len * 8 - 32)
        } else {
            let at = |i: usize| u64::from(*ptr.add(i)) << (8 * i);
            at(0) | at(len / 2) | at(len - 1)
        };
        word.to_le()
    }
}

/// # Safety
/// `to` must have room for all `words`.
#[inline(always)]
unsafe fn read_words(words: &[AtomicU64], to: *mut u8) {
    for (i, word) in words.iter().enumerate() {
        // SAFETY: by the contract.
        unsafe { to.add(8 * i).cast::<u64>().write_unaligned(word.load(Relaxed)) };
    }
}

#[cfg(test)]
impl StrRing {
    /// Checks that each block is named by exactly one slot or spare, except for those that have leaked, while there are no
    /// publishers.
    pub(crate) fn check_blocks(&self) {
        let mut seen = Bits::new(self.spares.blocks());
        let slots = (0..self.ring.capacity()).map(|i| named(self.ring.value_at(i), i));
        let spares = (0..self.spares.count()).filter_map(|i| self.spares.idle_block(i));
        let mut count = 0;
        for block in slots.chain(spares) {
            assert!(!seen.set(block), "block {} is named twice", block);
            count += 1;
        }
        assert_eq!(count + self.header().events.leaked.load(Relaxed), self.spares.blocks());
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
