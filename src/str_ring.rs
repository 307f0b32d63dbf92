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
mod tests;
