//! String rings: slot rings whose values name blocks of bytes.
//!
//! A slot's value says which block its message lies in, how long it is, and whether it is characters. Claims, commits,
//! abandoned positions, clears and readers' rules are those of [`crate::slot_ring`], and nobody takes a lock. A publisher
//! writes the bytes into a spare block, which nobody else may touch ([`crate::spare`]), claims a position, and exchanges the
//! slot's old block for its own: the old one is its spare now. So a publisher that was stopped for a week tears
//! nothing: it finds its position gone, claims another, and commits the same block there.
//!
//! # Seqlock
//!
//! A reader loads the slot, copies the bytes, an acquire fence, and looks at the slot's tag again. A block is written to only
//! after the exchange that took it out of its slot; between that exchange and the first byte stands a release fence. So
//! whoever has copied one of the new bytes sees the new tag, and throws the copy away. Tags never return to an earlier value. Shared
//! bytes are read and written as relaxed atomic words, since a racing plain copy would be undefined behaviour (H.-J. Boehm,
//! "Can seqlocks get along with programming language memory models?", 2012). The copy goes straight to where the caller
//! wants it and is worthless unless the second look agrees.

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

/// A message to publish: bytes that the caller keeps valid and unchanged during the call.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Bytes {
    /// The first byte; may be anything if `len` is 0.
    pub ptr: *const u8,
    /// Length in bytes.
    pub len: usize,
    /// Perl's UTF-8 flag: the bytes are characters. A promise to readers, which do not rely on it.
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

/// A message that was found and can be copied, as long as no publisher overwrites it.
///
/// Three words, so that it stays in registers: what is written as a number and a flag and then copied as one word makes the
/// processor wait until the writes have reached its cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    pub(crate) position: u64,
    /// The message's block; checked.
    pub(crate) block: u64,
    /// The block's first word; checked against the ring's `msg_size`.
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

    /// Perl's UTF-8 flag, as the publisher gave it. Nothing makes it keep its word: the bytes may be anything.
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

/// A block's first word: the length, and this flag where the bytes are characters.
const UTF8: u64 = 1 << 32;

/// The block that the value of the slot `index` names, and the value that names a block: its difference to the index, so
/// that 0 names the slot's own first block.
#[inline(always)]
pub(crate) fn named(value: u64, index: u64) -> u64 {
    value ^ index
}

/// The length that a block's first word says.
#[inline(always)]
pub(crate) fn len_of(first: u64) -> u64 {
    first & !UTF8
}

/// Positions ahead of which a batch asks for the blocks that it will write to.
const AHEAD: u64 = 16;
/// Rings of so many slots are searched for blocks, and swept thoroughly whenever a process publishes alone; it takes
/// milliseconds.
const SMALL: u64 = 1 << 20;

/// Looks for a spare before a rest, and rests before the caller looks after signals.
const RESTS_PER_CALL: u32 = 16;

/// One string ring, wherever its bytes live. Copying copies the pointers, not the ring.
#[derive(Clone, Copy)]
pub(crate) struct StrRing {
    pub(crate) ring: SlotRing<NarrowSlot>,
    spares: Spares,
    blocks: NonNull<AtomicU64>,
    msg_size: u64,
    /// Words of a block.
    block_words: u64,
    /// The last two of them are the stamp of its message.
    stamped: bool,
}

impl StrRing {
    /// # Safety
    /// `header`, `readers`, and slots, spares and blocks as `geometry` says, must stay valid for as long as any copy of the result is used.
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
            let ring = SlotRing::new(header, slots, readers);
            (ring, Spares::new(spares, geometry.publishers as u32, geometry.capacity))
        };
        let (msg_size, block_words) = (geometry.msg_size, geometry.block_len() / 8);
        StrRing { ring, spares, blocks, msg_size, block_words, stamped: geometry.stamped }
    }

    #[inline(always)]
    pub(crate) fn header(&self) -> &Header {
        self.ring.header()
    }

    /// A block's first word, and those for the `len` bytes of its message.
    #[inline(always)]
    fn block(&self, block: u64, len: u64) -> (&AtomicU64, &[AtomicU64]) {
        debug_assert!(block < self.spares.blocks() && len <= self.msg_size);
        let (at, count) = ((block * self.block_words) as usize, (round_up_8(len) / 8) as usize);
        // SAFETY: within the block, and there is such a block (the callers check both), valid by the contract of `new`, atomic.
        unsafe {
            let first = self.blocks.as_ptr().add(at);
            (&*first, std::slice::from_raw_parts(first.add(1), count))
        }
    }

    /// Where a block has the time and the process of its message's publisher.
    fn stamp(&self, block: u64) -> &[AtomicU64; 2] {
        debug_assert!(self.stamped && block < self.spares.blocks());
        // SAFETY: the last two words of a block that there is (the callers check it), valid by the contract of `new`, atomic.
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

    /// Asks the processor for a block that will be written or read soon: two lines of it, because the shortest messages may
    /// lie on two, and for longer ones it sees itself what comes next. Any number will do.
    #[inline(always)]
    fn prefetch(&self, block: u64) {
        #[cfg(all(target_arch = "x86_64", not(miri), not(loom)))]
        {
            use std::arch::x86_64::{_mm_prefetch, _MM_HINT_T0};
            let first = self.blocks.as_ptr().wrapping_add((block.wrapping_mul(self.block_words)) as usize).cast::<i8>();
            // SAFETY: hints, which access nothing.
            unsafe {
                _mm_prefetch::<_MM_HINT_T0>(first);
                _mm_prefetch::<_MM_HINT_T0>(first.wrapping_add(64));
            }
        }
        #[cfg(not(all(target_arch = "x86_64", not(miri), not(loom))))]
        let _ = block;
    }

    /// The same for the block that the slot of `position` names now.
    #[inline(always)]
    fn prefetch_slot(&self, position: u64) {
        self.prefetch(named(self.ring.value_hint(position), self.ring.slot_index(position)));
    }

    /// For a reader that is going to read what follows `position`, too.
    #[inline(always)]
    pub(crate) fn prefetch_ahead(&self, position: u64) {
        self.prefetch_slot(position.wrapping_add(AHEAD));
    }

    pub(crate) fn msg_size(&self) -> u64 {
        self.msg_size
    }

    /// Publishes `messages`, next to each other and in order: all of them or, on an error, none. The lengths must have been
    /// checked. `home` is where the publisher found a spare the last time. The caller wakes sleepers. Returns how many there
    /// was room for: all, unless the ring is lossless; and none, as a rule, if not all.
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
        // The next publish writes there.
        self.prefetch(taken.block);
        taken.give_back();
        Ok(count)
    }

    /// # Safety
    /// The message's bytes must be readable.
    #[inline(always)]
    unsafe fn write(&self, block: u64, message: &Bytes) {
        debug_assert!(message.len as u64 <= self.msg_size);
        // Release: the exchange that took the block out of its slot is seen before any of the words below; meets the acquire
        // fence in `copy`.
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

    /// False: the position is gone, and there is no room for another.
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

    /// Two messages at a time where there is another spare: neighbouring slots are exchanged in one go. Returns how many there
    /// was room for.
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
        // Once a position is gone, and there is no room for what is left, it is the caller who waits.
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

    /// This process's first publish: it becomes a member, and undoes what dead ones left behind.
    #[cold]
    #[inline(never)]
    fn join(&self, members: &Members, home: &AtomicU32) -> Result<u32, NoSpare> {
        let member = members.join(|what| match what {
            Inheritance::Of(member) => {
                self.recover(member);
            }
            Inheritance::All { in_memory } => self.sweep(!in_memory || self.ring.capacity() <= SMALL),
            Inheritance::Nobody => self.header().events.say_unregistered(),
        })?;
        // Those that nobody needs are undone now and then, too: the longer one waits, the less is known.
        self.recover_dead(member, members);
        // Relaxed: a hint. Everybody begins elsewhere.
        home.store(member % self.spares.count(), Relaxed);
        Ok(member)
    }

    /// Undoes what `member`, who is dead, left in the middle. The caller holds its number.
    pub(crate) fn recover(&self, member: u32) -> bool {
        self.spares.recover(member, &self.header().events, self)
    }

    /// Whether the entries of dead publishers gave a spare more.
    fn recover_dead(&self, but: u32, members: &Members) -> bool {
        let dead = |holder| holder != but && members.hold(holder).map_or(false, |_held| self.recover(holder));
        (0..self.spares.count()).filter_map(|index| self.spares.holder(index)).filter(|holder| dead(*holder)).count()
            > 0
    }

    /// The usual spare is busy: another one, or that of a dead publisher.
    #[cold]
    #[inline(never)]
    fn find_spare(&self, home: u32, member: u32, members: &Members, hint: &AtomicU32) -> Result<Taken<'_>, NoSpare> {
        let count = self.spares.count();
        let backoff = Backoff::new();
        let mut rests = 0;
        loop {
            // Not all from the same one on: those that were displaced by one publisher would displace each other.
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
                    // After many tries: what a dead publisher left says nothing any more.
                    let is_dead = |holder| holder != member && members.hold(holder).is_some();
                    let damaged =
                        (0..count).all(|index| is_lost(index) || self.spares.holder(index).map_or(false, is_dead));
                    return Err(if damaged { NoSpare::Damaged } else { NoSpare::Interrupted });
                }
                nap(&mut rests, u64::MAX);
            }
        }
    }

    /// In the middle of a batch the spare turned out to be no block: a writer corrupted a slot.
    #[cold]
    #[inline(never)]
    fn replace<'a>(&'a self, taken: &mut Taken<'a>, member: u32, members: &Members, home: &AtomicU32) {
        self.header().events.leaked.fetch_add(1, Relaxed);
        // Without any, it goes on in the block that is lost to another slot: what comes of that is the scribbler's affair.
        let mut block = taken.block % self.spares.blocks();
        while taken.block >= self.spares.blocks() {
            match self.find_spare(taken.index(), member, members, home) {
                Ok(other) => std::mem::replace(taken, other).give_back(),
                Err(NoSpare::Interrupted) => {}
                Err(NoSpare::Damaged) => std::mem::swap(&mut taken.block, &mut block),
            }
        }
    }

    /// No member publishes, and none will until this is over: recovers the dead, and if a block leaked then, or with
    /// `thorough` in any case, makes each block be named once.
    ///
    /// Somebody without a number may begin at any moment. It says so first. So what was read before that was not seen to be
    /// said is from before: a block that nothing named then is named by nothing now; and nothing is changed but what
    /// is still as it was read.
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
            self.ring.void_slot(*index, *value, block ^ index);
        }
        // Relaxed: a statistic.
        events.leaked.store(0, Relaxed);
    }

    /// The message at the cursor, if there is one, with what is lost passed.
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

    /// That message, if it is simply there, and the reader wants all.
    #[inline(always)]
    pub(crate) fn at_hand(&self, cursor: &Cursor) -> Option<Found> {
        if cursor.filter().is_some() {
            return None;
        }
        self.found(cursor.next(), self.ring.at_hand(cursor)?)
    }

    /// Whether the reader wants the message. One that was overwritten meanwhile is wanted: `copy` finds that out, and counts it.
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

    /// Moves the cursor to the newest message that the reader wants, if there is one.
    pub(crate) fn skip_to_newest(&self, cursor: &mut Cursor) {
        let filter = cursor.filter().cloned();
        self.ring.skip_to_newest(cursor, |position, value| {
            let found = self.found(position, value);
            found.map_or(false, |found| filter.as_ref().map_or(true, |filter| self.passes(filter, &found)))
        });
    }

    /// Moves the cursor over what holds no message any more, and what the reader does not want, and says what is there then.
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

    /// What `value`, which stands at `position`, names; None where a writer corrupted slot or block.
    #[inline(always)]
    fn found(&self, position: u64, value: u64) -> Option<Found> {
        let block = named(value, self.ring.slot_index(position));
        if block >= self.spares.blocks() {
            return None;
        }
        // Relaxed: it is a length that the ring can have, or else refused; `copy` finds out whether it is this message's.
        let first = self.block(block, 0).0.load(Relaxed);
        if len_of(first) <= self.msg_size {
            return Some(Found { position, block, word: first });
        }
        None
    }

    /// Copies the message that `peek` or `look` found and counts it as delivered. False: it was overwritten meanwhile; what is
    /// at `to` is worthless, and the loss is counted.
    ///
    /// # Safety
    /// `found` came from this ring; `to` has room for its length rounded up to 8 bytes.
    #[inline(always)]
    pub(crate) unsafe fn copy(&self, cursor: &mut Cursor, found: &Found, to: *mut u8) -> bool {
        // SAFETY: the caller vouches for the room.
        unsafe { read_words(self.block(found.block, found.len() as u64).1, to) };
        let stamp = if self.stamped { Some(self.read_stamp(found.block)) } else { None };
        fault_point!("mid-copy");
        // Acquire: the words above are read before the tag below; meets the release fence in `write`.
        fence(Acquire);
        if !self.ring.still_holds(found.position) {
            self.resume(cursor, found.position);
            return false;
        }
        cursor.pass_copied(found.position, stamp);
        true
    }

    /// The message at `position` was overwritten while it was copied. The oldest that is held is the next to be
    /// overwritten: a reader that had already resumed there goes on in the middle of what is held, or it would be lapped
    /// in mid-copy again and again. Whatever it does, it stays behind the write position.
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

/// Writes the bytes of `message` to `words`, which have just room for them.
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
        // SAFETY: by the contract; there are bytes after the whole words.
        last.store(unsafe { last_word(message) }, Relaxed);
    }
}

/// The bytes after the last whole word of a message whose length is no multiple of 8, and zeros. Read as whole words, too:
/// copying single bytes to a word makes the processor wait until it can load them together.
///
/// # Safety
/// The bytes must be readable.
#[inline(always)]
unsafe fn last_word(message: &Bytes) -> u64 {
    let (ptr, len) = (message.ptr, message.len);
    // SAFETY: each read lies within the `len` bytes.
    unsafe {
        let word = if len >= 8 {
            // The last 8 bytes, without those that the word before has.
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
    /// In a quiet ring each block is named by one slot or one spare, and by no other; but for those that leaked.
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
mod tests {
    use super::*;
    use crate::heap;
    use crate::slot::VOID;

    /// What message `position` of a test holds: its bytes say which it is and where they belong.
    fn message(position: u64, len: usize) -> Vec<u8> {
        (0..len as u64).map(|i| (position.wrapping_mul(31) + i * 7) as u8).collect()
    }

    fn members() -> Members {
        let members = Members::new(crate::member::Group::Publishers, None);
        members.join(|_| ()).unwrap();
        members
    }

    fn publish(ring: &StrRing, messages: &[Vec<u8>]) {
        let messages: Vec<Bytes> = messages.iter().map(|m| Bytes::new(m)).collect();
        // SAFETY: borrowed vectors.
        unsafe { ring.publish(&messages, &members(), &AtomicU32::new(0)) }.unwrap();
    }

    /// Everything from `cursor` on.
    fn read_all(ring: &StrRing, cursor: &mut Cursor) -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        loop {
            match ring.look(cursor) {
                Next::Ready(found) => {
                    let mut bytes = vec![0u8; round_up_8(found.len() as u64) as usize];
                    // SAFETY: just found, and the room is there.
                    if unsafe { ring.copy(cursor, &found, bytes.as_mut_ptr()) } {
                        bytes.truncate(found.len());
                        all.push(bytes);
                    }
                }
                Next::Claimed(when) => {
                    while crate::wait::monotonic_ns() < when {
                        std::hint::spin_loop();
                    }
                }
                Next::More => {}
                Next::Empty => return all,
            }
        }
    }

    #[test]
    fn the_last_messages_survive_whatever_their_sizes() {
        for (capacity, msg_size) in [(2, 1), (2, 8), (2, 64), (2, 61), (4, 24), (8, 9), (16, 100)] {
            let ring = heap::str_ring(capacity, msg_size, 3);
            let mut random = 0x9e37_79b9_7f4a_7c15u64;
            let mut lens = Vec::new();
            let mut position = 0;
            while position < 4000u64 {
                let mut batch = Vec::new();
                for _ in 0..random % 5 % capacity + 1 {
                    random ^= random << 13;
                    random ^= random >> 7;
                    random ^= random << 17;
                    let len = (random >> 16) % (msg_size + 1);
                    batch.push(message(position, len as usize));
                    lens.push(len as usize);
                    position += 1;
                }
                publish(&ring, &batch);
                let oldest = position.saturating_sub(capacity);
                let expected: Vec<Vec<u8>> = (oldest..position).map(|p| message(p, lens[p as usize])).collect();
                let context = format!("{} x {}, {}", capacity, msg_size, position);
                assert_eq!(read_all(&ring, &mut Cursor::at(oldest)), expected, "{}", context);
            }
            ring.check_blocks();
        }
    }

    #[test]
    fn a_reader_that_is_lapped_counts_what_it_lost() {
        let ring = heap::str_ring(4, 16, 2);
        let mut cursor = Cursor::at(0);
        let all: Vec<Vec<u8>> = (0..10).map(|p| message(p, 16)).collect();
        publish(&ring, &all);
        assert_eq!(read_all(&ring, &mut cursor), all[6..]);
        assert_eq!((cursor.next(), cursor.lost()), (10, 6));
    }

    /// As member 7, who dies after so many steps of publishing `messages`.
    fn die_publishing(ring: &StrRing, messages: &[Vec<u8>], steps: u32) {
        let left = std::cell::Cell::new(steps);
        let step = || left.replace(left.get().saturating_sub(1)) == 0;
        let mut taken = ring.spares.take(0, 7).unwrap();
        if step() {
            return;
        }
        let mut batch = ring.ring.claim(messages.len() as u64).unwrap();
        for bytes in messages {
            // SAFETY: a borrowed vector.
            unsafe { ring.write(taken.block, &Bytes::new(bytes)) };
            if step() {
                return;
            }
            let block = taken.block;
            let intend = |position: u64, old: u64| taken.intend(position, named(old, ring.ring.slot_index(position)));
            if left.get() == 0 {
                return intend(batch.next(), ring.ring.value_at(batch.next()));
            }
            let displaced = ring.ring.exchange(&mut batch, |index| block ^ index, intend);
            step();
            if step() {
                return;
            }
            taken.exchanged(named(displaced.unwrap(), ring.ring.slot_index(batch.committed())));
        }
        panic!("it was to die");
    }

    #[test]
    fn what_a_dead_publisher_had_is_taken_over_wherever_it_died() {
        for (steps, laps) in (0..10).flat_map(|steps| (0..3).map(move |laps| (steps, laps))) {
            let ring = heap::str_ring(4, 16, 2);
            publish(&ring, &(0..6).map(|p| message(p, 16)).collect::<Vec<_>>());
            die_publishing(&ring, &[vec![0xdd; 16], vec![0xee; 16], vec![0xff; 16]], steps);
            let mut cursor = Cursor::at(6);
            // Others go on with the other spare, and may lap it before anybody takes over.
            for position in 0..laps * 4 {
                publish_as(&ring, 8, 1, &[message(position, 16)]);
            }
            let events = &ring.header().events;
            assert!(ring.recover(7) && !ring.recover(7), "also where its last slot was overwritten");
            assert_eq!((events.recoveries.load(Relaxed), events.leaked.load(Relaxed)), (1, 0));
            ring.check_blocks();
            for bytes in read_all(&ring, &mut cursor) {
                assert!(bytes.iter().all(|b| *b == bytes[0] && *b >= 0xdd) || (0..12).any(|p| bytes == message(p, 16)));
            }
        }
    }

    #[test]
    fn who_dies_with_a_spare_that_was_taken_over_leaves_it_decidable() {
        let ring = heap::str_ring(4, 16, 2);
        die_publishing(&ring, &[vec![0xdd; 16]], 2);
        assert!(ring.recover(7));
        // The block that the first was about to displace is in the hands of another meanwhile, and where it was is a later lap.
        let mut busy = ring.spares.take(1, 8).unwrap();
        let mut batch = ring.ring.claim(4).unwrap();
        assert!((1..5).all(|_| ring.commit(&mut batch, &mut busy)));
        assert_eq!(busy.block, 0);
        let _ = ring.spares.take(0, 9).unwrap();
        assert!(ring.recover(9), "nothing has to be found");
        busy.give_back();
        ring.check_blocks();
    }

    fn publish_as(ring: &StrRing, member: u32, index: u32, messages: &[Vec<u8>]) {
        let mut taken = ring.spares.take(index, member).unwrap();
        let mut batch = ring.ring.claim(messages.len() as u64).unwrap();
        for bytes in messages {
            // SAFETY: a borrowed vector.
            unsafe { ring.write(taken.block, &Bytes::new(bytes)) };
            ring.commit(&mut batch, &mut taken);
        }
        taken.give_back();
    }

    #[test]
    fn a_publisher_that_was_stopped_commits_the_same_block_later() {
        let ring = heap::str_ring(2, 16, 2);
        let mut stopped = ring.spares.take(0, 7).unwrap();
        // SAFETY: a borrowed vector.
        unsafe { ring.write(stopped.block, &Bytes::new(b"late")) };
        let mut batch = ring.ring.claim(1).unwrap();
        let others: Vec<_> = (1..8).map(|p| message(p, 16)).collect();
        others.iter().for_each(|m| publish_as(&ring, 8, 1, std::slice::from_ref(m)));
        ring.commit(&mut batch, &mut stopped);
        stopped.give_back();
        assert_eq!(read_all(&ring, &mut Cursor::at(7)), [others[6].clone(), b"late".to_vec()]);
        ring.check_blocks();
    }

    #[test]
    fn all_spares_busy_with_the_living_is_an_interruption() {
        let ring = heap::str_ring(2, 16, 2);
        let (one, two) = (ring.spares.take(0, 7).unwrap(), ring.spares.take(1, 0).unwrap());
        // SAFETY: a borrowed slice.
        let publish = || unsafe { ring.publish(&[Bytes::new(b"x")], &members(), &AtomicU32::new(0)) };
        assert!(publish().is_err());
        assert_eq!(ring.header().write_pos.load(Relaxed), 0, "nothing was claimed");
        two.give_back();
        publish().unwrap();
        one.give_back();
        ring.check_blocks();
    }

    /// A writer that publishes some messages while one is copied, and some between two copies.
    #[test]
    fn a_reader_that_is_lapped_in_mid_copy_goes_on_ahead_of_the_writer() {
        for (capacity, in_copy, between) in
            [(2, 1, 0), (4, 1, 0), (4, 2, 0), (64, 1, 0), (64, 17, 0), (4, 1, 1), (64, 3, 5)]
        {
            let ring = heap::str_ring(capacity, 16, 1);
            let publish_some = |n: u64| (0..n).for_each(|i| publish(&ring, &[message(i, 16)]));
            publish_some(capacity);
            let mut cursor = Cursor::at(0);
            let mut tries = Vec::new();
            let got = loop {
                let found = match ring.look(&mut cursor) {
                    Next::Ready(found) => found,
                    other => panic!("{:?}", other),
                };
                tries.push(found.position);
                publish_some(in_copy);
                // SAFETY: just found, and the room is there.
                if unsafe { ring.copy(&mut cursor, &found, [0u8; 16].as_mut_ptr()) } || tries.len() == 9 {
                    break found.position;
                }
                publish_some(between);
            };
            let middle = 2 * in_copy + between + capacity / 2;
            // First where it stood, then at the oldest, then in the middle: with two slots that is the newest.
            assert_eq!(tries, [0, in_copy + between, middle], "capacity {}", capacity);
            assert_eq!((got, cursor.next(), cursor.lost()), (middle, middle + 1, middle), "capacity {}", capacity);
            // Once a copy was whole, the next that is not is a first one.
            publish_some(capacity);
            cursor.pass_to(ring.header().write_pos.load(Relaxed) - capacity);
            if let Next::Ready(found) = ring.look(&mut cursor) {
                publish_some(1);
                // SAFETY: as above.
                assert!(!unsafe { ring.copy(&mut cursor, &found, [0u8; 16].as_mut_ptr()) });
                assert_eq!(cursor.next(), found.position + 1, "the oldest");
            }
        }
    }

    #[test]
    fn a_clear_while_a_message_is_copied_and_overwritten_is_no_loss() {
        let ring = heap::str_ring(2, 16, 1);
        publish(&ring, &[message(0, 16)]);
        let mut cursor = Cursor::at(0);
        let found = match ring.look(&mut cursor) {
            Next::Ready(found) => found,
            other => panic!("{:?}", other),
        };
        ring.header().clear();
        publish(&ring, &[message(1, 16), message(2, 16)]);
        // SAFETY: just found, and the room is there.
        assert!(!unsafe { ring.copy(&mut cursor, &found, [0u8; 16].as_mut_ptr()) });
        assert_eq!((cursor.next(), cursor.lost()), (1, 0));
        assert_eq!(read_all(&ring, &mut cursor), [message(1, 16), message(2, 16)]);
    }

    #[test]
    fn a_clear_ends_the_wait_for_a_message_ahead() {
        let ring = heap::str_ring(16, 8, 1);
        let mut cursor = Cursor::at(0);
        cursor.seek(ring.header(), 9);
        publish(&ring, &[message(0, 8), message(1, 8), message(2, 8)]);
        ring.header().clear();
        let all: Vec<_> = (3..13).map(|p| message(p, 8)).collect();
        publish(&ring, &all);
        assert_eq!(cursor.room(ring.header(), 13), 10, "as a drain counts");
        assert_eq!(read_all(&ring, &mut cursor), all, "though the awaited one has come, too");
        assert_eq!((cursor.next(), cursor.lost()), (13, 0));
    }

    #[test]
    fn a_slot_that_somebody_scribbled_over_is_a_loss_and_no_more() {
        let ring = heap::str_ring(4, 16, 3);
        publish(&ring, &[message(0, 16), message(1, 16)]);
        ring.ring.scribble(0, 0xffff_ffff);
        let mut cursor = Cursor::at(0);
        assert_eq!(read_all(&ring, &mut cursor), [message(1, 16)]);
        assert_eq!(cursor.lost(), 1);
        // Whoever displaces it in a batch goes on with another spare.
        let all: Vec<_> = (2..8).map(|p| message(p, 16)).collect();
        publish(&ring, &all);
        assert_eq!(read_all(&ring, &mut cursor), all[2..]);
        assert_eq!(ring.header().events.leaked.load(Relaxed), 1);
        ring.sweep(false);
        ring.check_blocks();
    }

    #[test]
    fn a_length_that_no_message_can_have_is_a_loss() {
        let ring = heap::str_ring(4, 16, 1);
        for length in [17, 1 << 33, u64::MAX] {
            let mut cursor = Cursor::at(ring.header().write_pos.load(Relaxed));
            publish(&ring, &[message(0, 16), message(1, 16)]);
            let index = ring.ring.slot_index(cursor.next());
            ring.block(named(ring.ring.value_at(index), index), 0).0.store(length, Relaxed);
            assert_eq!(read_all(&ring, &mut cursor), [message(1, 16)], "{:x}", length);
            assert_eq!(cursor.lost(), 1);
        }
    }

    #[test]
    fn spares_that_somebody_scribbled_over_are_not_used() {
        let ring = heap::str_ring(4, 16, 4);
        let spoilt = [0, 1, 2].map(|i| ring.spares.take(i, 9).unwrap());
        spoilt.into_iter().enumerate().for_each(|(i, taken)| taken.scribble([u64::MAX, 2, 0xff << 40][i]));
        let all: Vec<_> = (0..9).map(|p| message(p, 16)).collect();
        all.iter().for_each(|one| publish(&ring, std::slice::from_ref(one)));
        assert_eq!(read_all(&ring, &mut Cursor::at(5)), all[5..]);
        publish(&ring, &all);
        assert_eq!(read_all(&ring, &mut Cursor::at(14)), all[5..]);
        ring.sweep(false);
        ring.check_blocks();
    }

    #[test]
    fn a_file_that_saw_the_machine_go_down_is_made_whole() {
        let ring = heap::str_ring(4, 16, 3);
        let all: Vec<_> = (0..7).map(|p| message(p, 16)).collect();
        publish(&ring, &all);
        // Slots from other moments than the others: two that name the block of a third, one that names none.
        for (slot, block) in [(1, 0), (2, 0), (3, 1 << 20)] {
            let third = named(ring.ring.value_at(0), 0);
            ring.ring.scribble(slot, if block == 0 { third ^ slot } else { block });
        }
        ring.sweep(true);
        ring.check_blocks();
        let mut cursor = Cursor::at(3);
        assert_eq!(read_all(&ring, &mut cursor), [all[4].clone()], "what cannot be told apart is gone");
        publish(&ring, &all);
        assert_eq!(read_all(&ring, &mut cursor), all[3..]);
        ring.check_blocks();
    }

    #[test]
    fn a_ring_without_spares_says_so() {
        let ring = heap::str_ring(4, 16, 4);
        let spoilt = [0, 1, 2, 3].map(|i| ring.spares.take(i, 9).unwrap());
        // Without a block, of no state, busy with a member that nobody can be, and with a living one that has no block.
        let words = [2, u64::MAX, 70_000 << 2 | 1, 1 << 60 | 9 << 2 | 1];
        spoilt.into_iter().zip(words).for_each(|(taken, word)| taken.scribble(word));
        let (members, home) = (Members::new(crate::member::Group::Publishers, None), AtomicU32::new(0));
        members.join(|_| ()).unwrap();
        // SAFETY: a borrowed slice.
        let publish = || unsafe { ring.publish(&[Bytes::new(b"x")], &members, &home) };
        assert_eq!(publish(), Err(NoSpare::Damaged));
        ring.sweep(true);
        assert_eq!(publish(), Ok(1));
        ring.check_blocks();
    }

    #[test]
    fn nobody_sweeps_where_somebody_unknown_may_publish() {
        let ring = heap::str_ring(4, 16, 2);
        ring.header().events.say_unregistered();
        let _taken = ring.spares.take(0, 0).unwrap();
        ring.sweep(false);
        assert!(ring.spares.take(0, 1).is_none(), "it may be in the middle of a publish");
    }

    #[test]
    fn a_given_up_position_keeps_its_block() {
        let ring = heap::str_ring(2, 16, 2);
        die_publishing(&ring, &[vec![1; 16], vec![2; 16]], 1);
        assert!(read_all(&ring, &mut Cursor::at(0)).is_empty());
        assert_eq!(ring.ring.tag_at(0), NarrowSlot::tag(0) | VOID);
        assert!(ring.recover(7));
        ring.check_blocks();
    }

    #[test]
    fn readers_see_whole_messages_beside_writers_in_a_hurry() {
        let ring = heap::str_ring(2, 64, 2);
        let each = 100_000u64;
        struct Shared(StrRing);
        // SAFETY: leaked, atomic.
        unsafe impl Sync for Shared {}
        let shared = &Shared(ring);
        let members = members();
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(move || {
                    let (ring, mut cursor, mut delivered) = (shared.0, Cursor::at(0), 0);
                    while cursor.next() < 2 * each {
                        if let Next::Ready(found) = ring.look(&mut cursor) {
                            let mut bytes = [0u8; 64];
                            // SAFETY: just found, and the room is there.
                            if unsafe { ring.copy(&mut cursor, &found, bytes.as_mut_ptr()) } {
                                delivered += 1;
                                let id = u64::from_ne_bytes(bytes[..8].try_into().unwrap());
                                assert_eq!(bytes[8..found.len()], message(id, id as usize % 57)[..]);
                            }
                        }
                    }
                    let voids = ring.header().events.abandoned.load(Relaxed);
                    let passed = delivered + cursor.lost();
                    assert!(passed <= cursor.next() && cursor.next() <= passed + voids);
                });
            }
            for who in 0..2 {
                let (home, members) = (AtomicU32::new(who), &members);
                scope.spawn(move || {
                    for id in 0..each {
                        let bytes: Vec<u8> = [&id.to_ne_bytes()[..], &message(id, id as usize % 57)].concat();
                        // SAFETY: a borrowed vector.
                        while unsafe { shared.0.publish(&[Bytes::new(&bytes)], members, &home) }.is_err() {}
                    }
                });
            }
        });
        shared.0.check_blocks();
    }
}
