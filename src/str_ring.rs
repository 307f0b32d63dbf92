//! String rings: one publisher at a time, under the lock; any number of lock-free readers that write nothing.
//!
//! A slot has a sequence (position + 1; 0 while it is being written) and says where in the arena its message lies. The
//! arena is circular and dense: a message takes its length rounded up to 8 at the head; one that does not fit before
//! the end starts at 0.
//!
//! # No byte of a current message is overwritten before its own slot was invalidated
//!
//! Let S = `msg_size` rounded up to 8, C the capacity, and A = (C + 1) * S the arena's length. Publishing position p
//! reuses the slot of p - C and first sets its sequence to 0. So it must not touch the bytes of p - C + 1 ..= p - 1.
//! Walk the circle from the first byte of the oldest of these to the last byte of p. The walk covers at most C messages,
//! C * S bytes, and a gap of less than S each time that it passes the arena's end. If it passes the end once at most, it
//! is shorter than C * S + S = A, so the head did not come round to where the walk began. If it passed the end twice, the
//! messages between the two passes would have filled the arena up to a place where the next one did not fit: more than
//! A - S = C * S bytes of messages, but there are not so many in the whole walk. So the slot's sequence alone guards the
//! bytes, whatever the sizes.
//!
//! # Seqlock
//!
//! The writer sets the sequence to 0, a release fence, writes the words, then sets the sequence with release; the reader
//! loads the sequence (acquire), copies, an acquire fence, and loads the sequence again. Shared bytes are read and
//! written as relaxed atomic words, since a racing plain copy would be undefined behaviour (H.-J. Boehm, "Can seqlocks
//! get along with programming language memory models?", 2012). The copy goes straight to where the caller wants it and
//! is worthless unless the second look agrees.
//!
//! A message exists from the moment that `write_pos` passes it. A holder that dies earlier leaves slots at and beyond
//! `write_pos` that nobody reads and that the next publisher simply writes again, from the same place in the arena on: it
//! begins where the last message that exists ends.

use std::ptr::NonNull;

use crate::cursor::{Cursor, Next, OPEN};
use crate::fault::fault_point;
use crate::layout::{round_up_8, Geometry, Header};
use crate::lock::{self, Interrupted};
use crate::sync::Ordering::{Acquire, Relaxed, Release};
use crate::sync::{fence, AtomicU64};

/// One position: which message, and where.
#[derive(Default)]
#[repr(C, align(16))]
pub(crate) struct StrSlot {
    /// Position + 1; 0 while the rest is being written.
    sequence: AtomicU64,
    /// The arena place in units of 8 bytes << 32 | UTF-8 flag << 31 | length in bytes.
    place: AtomicU64,
}

const UTF8: u64 = 1 << 31;

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
    pub fn new(slice: &[u8]) -> Self {
        Bytes { ptr: slice.as_ptr(), len: slice.len(), utf8: false }
    }

    /// The bytes of `text`, flagged as characters.
    pub fn text(text: &str) -> Self {
        Bytes { utf8: true, ..Bytes::new(text.as_bytes()) }
    }
}

/// A message that was found and can be copied, as long as nobody overwrites it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Found {
    position: u64,
    /// The first byte's place in the arena, a multiple of 8; checked.
    at: u64,
    /// Length in bytes; checked against the ring's `msg_size`.
    pub len: u32,
    /// Perl's UTF-8 flag, as the publisher gave it. Nothing makes it keep its word: the bytes may be anything.
    pub utf8: bool,
}

/// One string ring, wherever its bytes live. Copying copies the pointers, not the ring.
#[derive(Clone, Copy)]
pub(crate) struct StrRing {
    header: NonNull<Header>,
    slots: NonNull<StrSlot>,
    arena: NonNull<AtomicU64>,
    /// Capacity - 1; the capacity is a power of two.
    mask: u64,
    msg_size: u64,
    /// Bytes; a multiple of 8.
    arena_len: u64,
}

impl StrRing {
    /// # Safety
    /// `header`, and slots and arena as `geometry` says, must stay valid for as long as any copy of the result is used.
    pub(crate) unsafe fn new(
        header: NonNull<Header>,
        slots: NonNull<StrSlot>,
        arena: NonNull<AtomicU64>,
        geometry: &Geometry,
    ) -> Self {
        let Geometry { capacity, msg_size, arena_len, .. } = *geometry;
        debug_assert!(arena_len == (capacity + 1) * round_up_8(msg_size));
        StrRing { header, slots, arena, mask: capacity - 1, msg_size, arena_len }
    }

    #[inline(always)]
    pub(crate) fn header(&self) -> &Header {
        // SAFETY: valid while this ring is used, by the contract of `new`.
        unsafe { self.header.as_ref() }
    }

    #[inline(always)]
    fn slot(&self, position: u64) -> &StrSlot {
        // SAFETY: the mask keeps the index below the capacity; valid by the contract of `new`.
        unsafe { &*self.slots.as_ptr().add((position & self.mask) as usize) }
    }

    /// The words of a message of `len` bytes at byte `at` of the arena.
    #[inline(always)]
    fn words(&self, at: u64, len: u64) -> &[AtomicU64] {
        debug_assert!(at % 8 == 0 && at + round_up_8(len) <= self.arena_len);
        // SAFETY: within the arena (the callers check `at` and `len`), valid by the contract of `new`, atomic.
        unsafe {
            std::slice::from_raw_parts(self.arena.as_ptr().add((at / 8) as usize), (round_up_8(len) / 8) as usize)
        }
    }

    pub(crate) fn msg_size(&self) -> u64 {
        self.msg_size
    }

    /// Publishes `messages`, next to each other and in order: all of them or, on an error, none. The lengths must have
    /// been checked. The caller wakes sleepers.
    ///
    /// # Safety
    /// Each message's bytes must be readable.
    #[inline(always)]
    pub(crate) unsafe fn publish(&self, messages: &[Bytes]) -> Result<(), Interrupted> {
        let header = self.header();
        let guard = lock::acquire(&header.lock)?;
        // Relaxed: only the lock's holder writes it.
        let mut position = header.write_pos.load(Relaxed);
        let mut head = self.end_of_last(position);
        fault_point!("locked");
        for message in messages {
            let len = message.len as u64;
            debug_assert!(len <= self.msg_size);
            let room = round_up_8(len);
            if head > self.arena_len - room {
                head = 0;
            }
            let slot = self.slot(position);
            slot.sequence.store(0, Relaxed);
            // Release: the 0 is seen before any of the words below; meets the acquire fence in `copy`.
            fence(Release);
            // SAFETY: the caller vouches for the bytes.
            unsafe { write_words(self.words(head, len), message) };
            slot.place.store((head / 8) << 32 | if message.utf8 { UTF8 } else { 0 } | len, Relaxed);
            fault_point!("mid-slot");
            position = position.wrapping_add(1);
            // Release: whoever sees the sequence sees place and bytes; meets the acquire in `look`.
            slot.sequence.store(position, Release);
            head += room;
        }
        fault_point!("before-commit");
        // Release: whoever sees the position sees its slot.
        header.write_pos.store(position, Release);
        fault_point!("before-unlock");
        drop(guard);
        fault_point!("after-unlock");
        Ok(())
    }

    /// The arena place behind the last message below `position`, which is the write position. It is not stored anywhere: a
    /// holder that dies between two stores would leave one that belongs to another position, and with it a gap or an
    /// overlap. The caller holds the lock.
    #[inline(always)]
    fn end_of_last(&self, position: u64) -> u64 {
        let slot = self.slot(position.wrapping_sub(1));
        let place = slot.place.load(Relaxed);
        let end = (place >> 32) * 8 + round_up_8(place & (UTF8 - 1));
        // Another sequence: a dead holder's batch went once round and left no message at all, or this is the first.
        if slot.sequence.load(Relaxed) == position && end <= self.arena_len {
            return end;
        }
        0
    }

    /// Moves the cursor over everything that is lost, and says what is there then. Never [`Next::Claimed`].
    #[inline(always)]
    pub(crate) fn look(&self, cursor: &mut Cursor) -> Next<Found> {
        loop {
            // Relaxed: a reader that misses a clear of this moment reads as if it had come before it.
            if cursor.next < self.header().clear.base.load(Relaxed) {
                cursor.pass_clear(self.header());
            }
            if cursor.next >= cursor.known_end {
                // Acquire: meets the release in `publish`.
                cursor.known_end = self.header().write_pos.load(Acquire);
                if cursor.horizon != OPEN {
                    // It was sent ahead to wait for a message; a clear ends that, whether or not the message came later.
                    cursor.pass_clear(self.header());
                }
                if cursor.next >= cursor.known_end {
                    return Next::Empty;
                }
                cursor.horizon = OPEN;
            }
            let slot = self.slot(cursor.next);
            if slot.sequence.load(Acquire) == cursor.next + 1 {
                let place = slot.place.load(Relaxed);
                let len = (place & (UTF8 - 1)) as u32;
                let at = (place >> 32) * 8;
                if u64::from(len) <= self.msg_size && at + round_up_8(len.into()) <= self.arena_len {
                    return Next::Ready(Found { position: cursor.next, at, len, utf8: place & UTF8 != 0 });
                }
                // Overwritten between the two loads, or scribbled over: either way not this message.
            }
            self.skip_overwritten(cursor);
        }
    }

    /// The message at the cursor is gone: a loss, and with it all that was overwritten meanwhile.
    #[cold]
    fn skip_overwritten(&self, cursor: &mut Cursor) {
        // Anew, or a scribbled one that a publisher replaced since would be read up to, position by position.
        cursor.known_end = self.header().write_pos.load(Acquire);
        let oldest = self.header().oldest(cursor.known_end, self.mask + 1);
        cursor.skip_lost(oldest.max(cursor.next + 1));
    }

    /// Copies the message that `look` found and counts it as delivered. False: it was overwritten meanwhile; what is at
    /// `to` is worthless, the cursor stands where it stood, and `look` will count the loss.
    ///
    /// # Safety
    /// `found` came from this ring's `look`; `to` has room for its length rounded up to 8 bytes.
    #[inline(always)]
    pub(crate) unsafe fn copy(&self, cursor: &mut Cursor, found: &Found, to: *mut u8) -> bool {
        // SAFETY: the caller vouches for the room.
        unsafe { read_words(self.words(found.at, found.len.into()), to) };
        // Acquire: the words above are read before the sequence below; meets the release fence in `publish`.
        fence(Acquire);
        if self.slot(found.position).sequence.load(Relaxed) != found.position + 1 {
            return false;
        }
        cursor.next = found.position + 1;
        true
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

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::heap;

    /// What message `position` of a test holds: its bytes say which it is and where they belong.
    fn message(position: u64, len: usize) -> Vec<u8> {
        (0..len as u64).map(|i| (position.wrapping_mul(31) + i * 7) as u8).collect()
    }

    fn publish(ring: &StrRing, messages: &[Vec<u8>]) {
        let messages: Vec<Bytes> = messages.iter().map(|m| Bytes::new(m)).collect();
        // SAFETY: borrowed vectors.
        unsafe { ring.publish(&messages) }.unwrap();
    }

    /// Everything from `cursor` on.
    fn read_all(ring: &StrRing, cursor: &mut Cursor) -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        while let Next::Ready(found) = ring.look(cursor) {
            let mut bytes = vec![0u8; round_up_8(found.len.into()) as usize];
            // SAFETY: just found, and the room is there.
            if unsafe { ring.copy(cursor, &found, bytes.as_mut_ptr()) } {
                bytes.truncate(found.len as usize);
                all.push(bytes);
            }
        }
        all
    }

    #[test]
    fn the_last_messages_survive_whatever_their_sizes() {
        for (capacity, msg_size) in [(2, 1), (2, 8), (2, 64), (2, 61), (4, 24), (8, 9), (16, 100)] {
            let ring = heap::str_ring(capacity, msg_size);
            let mut random = 0x9e37_79b9_7f4a_7c15u64;
            let mut lens = Vec::new();
            for position in 0..4000u64 {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                // Often the extremes: they leave the largest gaps and pack the most.
                let len = match random % 4 {
                    0 => msg_size,
                    1 => msg_size.min(random >> 8 & 8),
                    _ => (random >> 16) % (msg_size + 1),
                } as usize;
                lens.push(len);
                publish(&ring, &[message(position, len)]);
                let oldest = (position + 1).saturating_sub(capacity);
                let expected: Vec<Vec<u8>> = (oldest..=position).map(|p| message(p, lens[p as usize])).collect();
                assert_eq!(
                    read_all(&ring, &mut Cursor::at(oldest)),
                    expected,
                    "{} x {}, {}",
                    capacity,
                    msg_size,
                    position
                );
            }
        }
    }

    #[test]
    fn a_reader_that_is_lapped_counts_what_it_lost() {
        let ring = heap::str_ring(4, 16);
        let mut cursor = Cursor::at(0);
        let all: Vec<Vec<u8>> = (0..10).map(|p| message(p, 16)).collect();
        publish(&ring, &all);
        assert_eq!(read_all(&ring, &mut cursor), all[6..]);
        assert_eq!((cursor.next, cursor.lost), (10, 6));
    }

    #[test]
    fn what_a_dead_holder_left_behind_is_written_again_and_never_read() {
        for dead in 1..=9 {
            let ring = heap::str_ring(4, 16);
            publish(&ring, &(0..6).map(|p| message(p, 16)).collect::<Vec<_>>());
            // Somebody had written slots and bytes of some more, died before their commit, and the kernel freed the lock.
            let header = ring.header();
            publish(&ring, &vec![vec![0xdd; 16]; dead]);
            header.write_pos.store(6, Relaxed);
            header.lock.word.store(0x4000_0000, Relaxed);
            // What it had not overwritten is still there, now and while others publish.
            let mut cursor = Cursor::at(2);
            let held: Vec<_> = (2 + dead.min(4) as u64..6).map(|p| message(p, 16)).collect();
            assert_eq!(read_all(&ring, &mut cursor.clone()), held);
            for position in 6..20 {
                publish(&ring, &[message(position, 16)]);
                let oldest = (position - 3).max(2 + dead.min(4) as u64);
                let whole: Vec<_> = (oldest..=position).map(|p| message(p, 16)).collect();
                assert_eq!(read_all(&ring, &mut Cursor::at(oldest)), whole, "{} of a dead holder, {}", dead, position);
            }
            assert_eq!(read_all(&ring, &mut cursor).len() as u64 + cursor.lost, 18);
            assert_eq!(header.lock.recoveries.load(Relaxed), 1);
        }
    }

    #[test]
    fn a_clear_ends_the_wait_for_a_message_ahead() {
        let ring = heap::str_ring(16, 8);
        let mut cursor = Cursor::at(0);
        cursor.seek(ring.header(), 9);
        publish(&ring, &[message(0, 8), message(1, 8), message(2, 8)]);
        ring.header().clear();
        let all: Vec<_> = (3..13).map(|p| message(p, 8)).collect();
        publish(&ring, &all);
        assert_eq!(cursor.room(ring.header(), 13), 10, "as a drain counts");
        assert_eq!(read_all(&ring, &mut cursor), all, "though the awaited one has come, too");
        assert_eq!((cursor.next, cursor.lost), (13, 0));
    }

    #[test]
    fn a_write_position_that_was_far_ahead_for_a_moment_is_not_read_up_to() {
        let ring = heap::str_ring(4, 16);
        publish(&ring, &[message(0, 16)]);
        let mut cursor = Cursor { known_end: 1 << 20, ..Cursor::at(0) };
        assert_eq!(read_all(&ring, &mut cursor), [message(0, 16)]);
        assert_eq!((cursor.next, cursor.lost), (2, 1), "not a million positions");
    }

    #[test]
    fn nothing_overflows_where_a_scribbled_position_comes_round() {
        let ring = heap::str_ring(4, 16);
        ring.header().write_pos.store(u64::MAX - 1, Relaxed);
        for position in 0..6 {
            publish(&ring, &[message(position, 16)]);
        }
        assert_eq!(read_all(&ring, &mut Cursor::at(0)), (2..6).map(|p| message(p, 16)).collect::<Vec<_>>());
    }

    #[test]
    fn a_slot_that_somebody_scribbled_over_is_a_loss_and_no_more() {
        let ring = heap::str_ring(4, 16);
        publish(&ring, &[message(0, 16), message(1, 16)]);
        ring.slot(0).place.store(u64::MAX, Relaxed);
        let mut cursor = Cursor::at(0);
        assert_eq!(read_all(&ring, &mut cursor), [message(1, 16)]);
        assert_eq!(cursor.lost, 1);
        ring.slot(1).place.store(u64::MAX, Relaxed);
        publish(&ring, &[message(2, 16)]);
        assert_eq!(read_all(&ring, &mut cursor), [message(2, 16)]);
    }

    #[test]
    fn a_place_that_no_message_can_have_is_a_loss() {
        let ring = heap::str_ring(4, 16);
        let last_word = ring.arena_len / 8 - 1;
        // Longer than any message, though within the arena; and beyond the arena's end, though not too long.
        for place in [17, (last_word << 32) | 16, ((last_word + 1) << 32) | 1] {
            let mut cursor = Cursor::at(ring.header().write_pos.load(Relaxed));
            publish(&ring, &[message(0, 16), message(1, 16)]);
            ring.slot(cursor.next).place.store(place, Relaxed);
            assert_eq!(read_all(&ring, &mut cursor), [message(1, 16)], "{:x}", place);
            assert_eq!(cursor.lost, 1);
        }
    }

    #[test]
    fn readers_see_whole_messages_beside_a_writer_in_a_hurry() {
        let ring = heap::str_ring(2, 64);
        let total = 200_000u64;
        struct Shared(StrRing);
        // SAFETY: leaked, atomic.
        unsafe impl Sync for Shared {}
        let shared = &Shared(ring);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(move || {
                    let (ring, mut cursor, mut delivered) = (shared.0, Cursor::at(0), 0);
                    while cursor.next < total {
                        if let Next::Ready(found) = ring.look(&mut cursor) {
                            let mut bytes = [0u8; 64];
                            let position = cursor.next;
                            // SAFETY: just found, and the room is there.
                            if unsafe { ring.copy(&mut cursor, &found, bytes.as_mut_ptr()) } {
                                delivered += 1;
                                assert_eq!(bytes[..found.len as usize], message(position, position as usize % 65)[..]);
                            }
                        }
                    }
                    assert_eq!(delivered + cursor.lost, total);
                });
            }
            scope.spawn(move || {
                for position in 0..total {
                    publish(&shared.0, &[message(position, position as usize % 65)]);
                }
            });
        });
    }
}
