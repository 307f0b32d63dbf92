//! The reading side: a [`Subscriber`] reads a ring at its own pace and counts the messages that it lost.
//!
//! A subscriber with an entry in the ring's table of readers reports its position there: when it has found the ring empty, before
//! it sleeps, and after an eighth of the capacity, so that the cost is negligible. A named subscriber, or one of a lossless ring,
//! reports with each call.

use std::os::unix::io::RawFd;
use std::sync::Arc;

use crate::any_ring::{narrow, AnyRing, Mapping};
use crate::cursor::{Cursor, Next};
use crate::error::{Error, ErrorKind, Result};
use crate::layout::Header;
use crate::notify::Notifier;
use crate::process;
use crate::readers::{Readers, Refused, Seat, Wanted};
use crate::ring::held;
use crate::str_ring::Found;
use crate::sync::Ordering::{Relaxed, SeqCst};
use crate::wait::{monotonic_ns, Spin};
use crate::waiting::{sleep_for_message, Wait};
use crate::watch::{Outlet, Readiness, Watch};

mod exact;
mod selection;

/// Reads a ring. Messages that are overwritten before it reads them are counted as lost. No other process slows it down, and unless
/// the ring is lossless, it slows down no other process. It keeps the ring mapped, so it may outlive the handle that made it.
pub struct Subscriber {
    ring: AnyRing,
    cursor: Cursor,
    /// Reads that reach this position call `attend`.
    attend_at: u64,
    /// The position at the last report.
    reported: u64,
    /// Its entry in the table of readers.
    seat: Option<Seat>,
    /// Lossless rings: the position when it last woke publishers.
    woke_at: u64,
    spin: Spin,
    notifier: Notifier,
    /// Watches for its own descriptor and for sets.
    watches: Vec<Watch>,
    outlet: Outlet,
    /// Read-only rings: naps since a message was last found.
    naps: u32,
    /// The last wait was interrupted or lasted for a while: the next one checks whether the ring's file is still there.
    waited: bool,
    mapping: Arc<Mapping>,
}

// SAFETY: all shared words are atomic; methods that change the subscriber itself take `&mut self`.
unsafe impl Send for Subscriber {}
// SAFETY: as above.
unsafe impl Sync for Subscriber {}

impl std::fmt::Debug for Subscriber {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Subscriber")
            .field("mapping", &self.mapping)
            .field("cursor", &self.cursor)
            .finish_non_exhaustive()
    }
}

impl Subscriber {
    /// `seat` is its entry in the table of readers, if it has one.
    pub(crate) fn new(
        ring: AnyRing,
        cursor: Cursor,
        seat: Option<Seat>,
        notifier: Notifier,
        mapping: Arc<Mapping>,
    ) -> Self {
        let mut this = Subscriber {
            ring,
            attend_at: 0,
            reported: cursor.next(),
            woke_at: cursor.next(),
            cursor,
            seat,
            spin: Spin::new(),
            notifier,
            watches: Vec::new(),
            outlet: Outlet::default(),
            naps: 0,
            waited: false,
            mapping,
        };
        this.plan();
        this
    }

    /// Reads the next integer. Returns `None` if there is no message.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`](crate::ErrorKind::Argument) on a ring of another type.
    ///
    /// ```
    /// # use data_pubsub_shared::{Ring, Variant};
    /// let ring = Ring::anonymous(Variant::Int, 8, 0)?;
    /// let mut sub = ring.subscribe(false);
    /// assert_eq!(sub.poll_int()?, None);
    /// ring.publish_int(1)?;
    /// assert_eq!(sub.poll_int()?, Some(1));
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    #[inline(always)]
    pub fn poll_int(&mut self) -> Result<Option<i64>> {
        whatever_is_there(|| self.read_int())
    }

    /// The fast path of reading an integer: [`Next::More`], and no change, if the slow path is needed.
    #[inline(always)]
    pub(crate) fn read_int_at_once(&mut self) -> Next<i64> {
        let next = self.ring.glimpse_int(&self.cursor);
        self.pass(next)
    }

    /// Reads the next integer, for a caller that checks signals and deadlines after each [`Next::More`].
    #[inline(always)]
    pub(crate) fn read_int(&mut self) -> Result<Next<i64>> {
        let read = match &self.ring {
            AnyRing::Int(ring) => ring.read(&mut self.cursor).map(|value| value as i64),
            AnyRing::Int32(ring) | AnyRing::Int16(ring) => ring.read(&mut self.cursor).map(narrow),
            AnyRing::Str(_) | AnyRing::Num(_) => return Err(self.ring.mismatch()),
        };
        self.settle(matches!(read, Next::Ready(_)));
        Ok(read)
    }

    /// Reads the next floating-point number, with the exact bits that were published. Returns `None` if there is no message.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`](crate::ErrorKind::Argument) on a ring of another type.
    ///
    /// ```
    /// # use data_pubsub_shared::{Ring, Variant};
    /// let ring = Ring::anonymous(Variant::Num, 8, 0)?;
    /// ring.publish_num(-0.0)?;
    /// assert_eq!(ring.subscribe(true).poll_num()?.map(f64::to_bits), Some((-0.0f64).to_bits()));
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    #[inline(always)]
    pub fn poll_num(&mut self) -> Result<Option<f64>> {
        whatever_is_there(|| self.read_num())
    }

    /// The fast path of reading a floating-point number, as [`read_int_at_once`](Self::read_int_at_once).
    #[inline(always)]
    pub(crate) fn read_num_at_once(&mut self) -> Next<f64> {
        let next = self.ring.glimpse_num(&self.cursor);
        self.pass(next)
    }

    /// Passes the message that the fast path has read.
    #[inline(always)]
    fn pass<T>(&mut self, next: Next<T>) -> Next<T> {
        match next {
            Next::Ready(_) => {
                self.cursor.pass_delivered(1);
                self.settle(true);
            }
            Next::Empty => self.settle(false),
            Next::Claimed(_) | Next::More => {}
        }
        next
    }

    /// Reads the next floating-point number, for a caller that checks signals and deadlines after each [`Next::More`].
    #[inline(always)]
    pub(crate) fn read_num(&mut self) -> Result<Next<f64>> {
        let read = match &self.ring {
            AnyRing::Num(ring) => ring.read(&mut self.cursor).map(f64::from_bits),
            _ => return Err(self.ring.mismatch()),
        };
        self.settle(matches!(read, Next::Ready(_)));
        Ok(read)
    }

    /// Reads integers into `out`, in order, until there are no more messages, `out` is full, or it has read as many as there are
    /// positions before `end` (see [`end`](Self::end)). A reader that is lapped during the call may read later messages. Returns
    /// how many integers were read.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`](crate::ErrorKind::Argument) on a ring of another type.
    ///
    /// ```
    /// # use data_pubsub_shared::{Ring, Variant};
    /// let ring = Ring::anonymous(Variant::Int, 8, 0)?;
    /// ring.publish_ints(&[1, 2, 3])?;
    /// let (mut sub, mut out) = (ring.subscribe(true), [0; 8]);
    /// let end = sub.end();
    /// assert_eq!(sub.poll_ints(&mut out, end)?, 3);
    /// assert_eq!(out[..3], [1, 2, 3]);
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    #[inline]
    pub fn poll_ints(&mut self, out: &mut [i64], end: u64) -> Result<usize> {
        let mut count = 0;
        loop {
            let (read, more) = self.read_ints(&mut out[count..], end)?;
            count += read;
            if !more {
                return Ok(count);
            }
        }
    }

    /// Like [`poll_ints`](Self::poll_ints); also returns whether it ended with [`Next::More`].
    #[inline]
    pub(crate) fn read_ints(&mut self, out: &mut [i64], end: u64) -> Result<(usize, bool)> {
        let room = self.cursor.room(self.ring.header(), end).min(out.len() as u64) as usize;
        let (out, cursor) = (&mut out[..room], &mut self.cursor);
        let result = match &self.ring {
            AnyRing::Int(ring) => ring.read_all(cursor, out, |value| value as i64),
            AnyRing::Int32(ring) | AnyRing::Int16(ring) => ring.read_all(cursor, out, narrow),
            AnyRing::Str(_) | AnyRing::Num(_) => return Err(self.ring.mismatch()),
        };
        self.settle(result.0 == room && room != 0 && self.cursor.next() < end);
        Ok(result)
    }

    /// Reads numbers into `out`, in the format of [`Ring::publish_packed`](crate::Ring::publish_packed), until there are no more
    /// messages, `out` is full, or it has read as many as there are positions before `end` (see [`end`](Self::end)). Returns how
    /// many numbers were read.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`](crate::ErrorKind::Argument) on a string ring.
    ///
    /// ```
    /// # use data_pubsub_shared::{Ring, Variant};
    /// let ring = Ring::anonymous(Variant::Int16, 8, 0)?;
    /// ring.publish_ints(&[1, 2])?;
    /// let (mut sub, mut out) = (ring.subscribe(true), [0; 100]);
    /// let end = sub.end();
    /// assert_eq!(sub.poll_packed(&mut out, end)?, 2);
    /// assert_eq!(out[2..4], 2i16.to_ne_bytes());
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    pub fn poll_packed(&mut self, out: &mut [u8], end: u64) -> Result<usize> {
        let (mut at, mut count) = (0, 0);
        loop {
            let (read, more) = self.read_packed(&mut out[at..], end)?;
            count += read;
            at += read * self.ring.packed_width()?;
            if !more {
                return Ok(count);
            }
        }
    }

    /// Like [`poll_packed`](Self::poll_packed); also returns whether it ended with [`Next::More`].
    #[inline]
    pub(crate) fn read_packed(&mut self, out: &mut [u8], end: u64) -> Result<(usize, bool)> {
        let width = self.ring.packed_width()?;
        let room = self.cursor.room(self.ring.header(), end).min((out.len() / width) as u64) as usize;
        let result = self.ring.read_packed(&mut self.cursor, &mut out[..room * width]);
        self.settle(result.0 == room && room != 0 && self.cursor.next() < end);
        Ok(result)
    }

    /// Finds the next string before position `end` (see [`end`](Self::end); `u64::MAX`: without a limit), to be copied by
    /// [`copy`](Self::copy). Returns `None` if there is no message.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`](crate::ErrorKind::Argument) on a ring of numbers.
    ///
    /// ```
    /// # use data_pubsub_shared::{Ring, Variant};
    /// let ring = Ring::anonymous(Variant::Str, 8, 100)?;
    /// let mut sub = ring.subscribe(false);
    /// ring.publish_str(b"hello")?;
    /// assert_eq!(sub.find(u64::MAX)?.map(|found| found.len()), Some(5));
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    #[inline(always)]
    pub fn find(&mut self, end: u64) -> Result<Option<Found>> {
        whatever_is_there(|| self.look_for(end))
    }

    /// Like [`find`](Self::find), for a caller that checks signals and deadlines after each [`Next::More`].
    #[inline(always)]
    pub(crate) fn look_for(&mut self, end: u64) -> Result<Next<Found>> {
        if self.cursor.filter().is_some() {
            self.catch_up();
        }
        let ring = match &self.ring {
            AnyRing::Str(ring) => ring,
            _ => return Err(self.ring.mismatch()),
        };
        if self.cursor.room(ring.header(), end) == 0 {
            self.settle(false);
            return Ok(Next::Empty);
        }
        let next = ring.peek(&mut self.cursor);
        if end != u64::MAX {
            ring.prefetch_ahead(self.cursor.next());
        }
        if !matches!(next, Next::Ready(_)) {
            self.settle(false);
        }
        Ok(next)
    }

    /// Moves the cursor over the messages that the watching thread has already passed: they need not be compared again, and may be
    /// overwritten by now.
    fn catch_up(&mut self) {
        for watch in self.watches.iter().filter(|watch| watch.is_ours()) {
            watch.catch_up(&mut self.cursor);
        }
    }

    /// The fast path of finding a string before position `end`: `None` if [`look_for`](Self::look_for) is needed.
    #[inline(always)]
    pub(crate) fn at_hand(&self, end: u64) -> Option<Found> {
        match &self.ring {
            AnyRing::Str(ring) if self.cursor.room(ring.header(), end) != 0 => {
                if end != u64::MAX {
                    ring.prefetch_ahead(self.cursor.next());
                }
                ring.at_hand(&self.cursor)
            }
            _ => None,
        }
    }

    /// Copies the message that [`find`](Self::find) found to `to`, and counts it as delivered. Returns false if the message was
    /// overwritten during the copy: the bytes at `to` are then invalid, and the message counts as lost. To try again, call `find`
    /// with the current [`end`](Self::end), so that the loop ends: in a busy ring the next message may be overwritten as well.
    ///
    /// # Safety
    /// `found` must be the result of the last `find` of this subscriber; `to` must have room for its length rounded up to 8 bytes.
    ///
    /// ```
    /// # use data_pubsub_shared::{Ring, Variant};
    /// let ring = Ring::anonymous(Variant::Str, 8, 100)?;
    /// let mut sub = ring.subscribe(false);
    /// ring.publish_str(b"hello")?;
    /// let found = sub.find(u64::MAX)?.expect("a message was published");
    /// let mut bytes = [0; 104]; // `msg_size` rounded up to 8
    /// // SAFETY: found by the call before, and there is room.
    /// assert!(unsafe { sub.copy(&found, bytes.as_mut_ptr()) });
    /// assert_eq!(&bytes[..found.len()], b"hello");
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    #[inline(always)]
    pub unsafe fn copy(&mut self, found: &Found, to: *mut u8) -> bool {
        match &self.ring {
            // SAFETY: the caller guarantees both.
            AnyRing::Str(ring) if unsafe { ring.copy(&mut self.cursor, found, to) } => {
                self.settle(true);
                true
            }
            _ => false,
        }
    }

    /// Reads the next string, with Perl's UTF-8 flag as the publisher set it. Convert the bytes with [`String::from_utf8`], also if
    /// the flag is set: a publisher can set it for bytes that are not UTF-8. Returns `None` if there is no message, or if all
    /// messages were overwritten while they were copied.
    ///
    /// # Errors
    /// As [`find`](Self::find).
    ///
    /// ```
    /// # use data_pubsub_shared::{Ring, Variant};
    /// let ring = Ring::anonymous(Variant::Str, 8, 100)?;
    /// ring.publish_str(b"hello")?;
    /// assert_eq!(ring.subscribe(true).poll_str()?, Some((b"hello".to_vec(), false)));
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    pub fn poll_str(&mut self) -> Result<Option<(Vec<u8>, bool)>> {
        let (mut bytes, mut end) = (Vec::new(), u64::MAX);
        while let Some(found) = self.find(end)? {
            let len = found.len();
            bytes.reserve(crate::layout::round_up_8(len as u64) as usize);
            // SAFETY: `found` is the result of the last `find`, and the bytes are reserved; a successful copy has written `len`
            // bytes.
            unsafe {
                if self.copy(&found, bytes.as_mut_ptr()) {
                    bytes.set_len(len);
                    return Ok(Some((bytes, found.utf8())));
                }
            }
            end = end.min(self.end());
        }
        Ok(None)
    }

    /// Returns the write position as an absolute position, which a clear does not reset: the `end` of a drain that begins now.
    ///
    /// ```
    /// # use data_pubsub_shared::{Ring, Variant};
    /// let ring = Ring::anonymous(Variant::Int, 8, 0)?;
    /// let mut sub = ring.subscribe(false);
    /// ring.publish_int(1)?;
    /// let end = sub.end();
    /// ring.publish_int(2)?;
    /// assert_eq!(sub.poll_ints(&mut [0; 8], end)?, 1);
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    #[inline]
    pub fn end(&self) -> u64 {
        self.ring.header().write_pos.load(crate::sync::Ordering::Acquire)
    }

    /// Sleeps until there is a message, the monotonic clock reaches `deadline` (nanoseconds, as
    /// [`monotonic_ns`](crate::monotonic_ns) returns it, or [`NEVER`](crate::NEVER)), a signal was handled, or the ring's file was
    /// removed.
    ///
    /// ```
    /// # use data_pubsub_shared::{monotonic_ns, Ring, Variant, Wait};
    /// let ring = Ring::anonymous(Variant::Int, 8, 0)?;
    /// let mut sub = ring.subscribe(false);
    /// assert_eq!(sub.wait(monotonic_ns() + 1_000_000), Wait::TimedOut);
    /// ring.publish_int(1)?;
    /// assert_eq!(sub.wait(monotonic_ns() + 1_000_000), Wait::Ready);
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    pub fn wait(&mut self, deadline: u64) -> Wait {
        self.wait_unless(deadline, || false)
    }

    /// Like [`wait`](Self::wait). `stop` is called just before each sleep; if it returns true, the result is
    /// [`Wait::Interrupted`].
    ///
    /// ```
    /// # use data_pubsub_shared::{Ring, Variant, Wait, NEVER};
    /// let ring = Ring::anonymous(Variant::Int, 8, 0)?;
    /// assert_eq!(ring.subscribe(false).wait_unless(NEVER, || true), Wait::Interrupted);
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    pub fn wait_unless(&mut self, deadline: u64, stop: impl Fn() -> bool) -> Wait {
        self.attend(false);
        let (ring, cursor) = (&self.ring, &mut self.cursor);
        let mut next = Next::Empty;
        self.spin.until(|| {
            next = ring.look(cursor);
            matches!(next, Next::Ready(()) | Next::More)
        });
        match next {
            Next::Ready(()) => {
                self.naps = 0;
                return Wait::Ready;
            }
            Next::More if monotonic_ns() < deadline => return Wait::Interrupted,
            Next::More => return Wait::TimedOut,
            Next::Empty | Next::Claimed(_) => {}
        }
        // `look` has passed filtered and abandoned positions.
        if self.has_moved() {
            self.attend(false);
        }
        let (ring, cursor) = (&self.ring, &mut self.cursor);
        // The header is checked each time, the path only after a long wait.
        let is_gone = || ring.header().is_gone();
        if next == Next::Empty && (is_gone() || self.waited && self.mapping.is_gone(ring)) {
            return Wait::Gone;
        }
        let seat = self.seat.as_ref().filter(|seat| seat.is_ours());
        let say = |sleeps| seat.iter().for_each(|seat| self.mapping.readers.say(seat, sleeps, 0));
        say(true);
        let tells = self.mapping.readers.lossless;
        let how = sleep_for_message(ring, cursor, deadline, &mut self.naps, tells, || stop() || is_gone());
        say(false);
        // Naps are short: check the file system only after 256 of them.
        self.waited = how == Wait::Interrupted && (!cursor.read_only() || self.naps % 256 == 0);
        if how != Wait::Interrupted {
            self.naps = 0;
        }
        // The next call may come late.
        if how != Wait::Ready && self.has_moved() {
            self.attend(false);
        }
        how
    }

    /// Whether the ring's file was removed, or another file took its path: new publishers can no longer open this ring. Always
    /// false for rings in memory. Messages in the ring can still be read.
    ///
    /// ```
    /// # use data_pubsub_shared::{Ring, Variant};
    /// let path = std::env::temp_dir().join(format!("sub-gone-{}.ring", std::process::id()));
    /// let ring = Ring::open(Variant::Int, &path, 8, 0, 0o600)?;
    /// let sub = ring.subscribe(false);
    /// ring.unlink()?;
    /// assert!(sub.is_gone());
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    pub fn is_gone(&self) -> bool {
        self.mapping.is_gone(&self.ring)
    }

    /// Switches to the ring that the path leads to now, at its oldest message. The counts of this subscriber continue. The
    /// descriptor of [`watch`](Self::watch) is closed; call `watch` again.
    ///
    /// # Errors
    /// As [`Ring::open`](crate::Ring::open) without a capacity; [`ErrorKind::Argument`](crate::ErrorKind::Argument) if the ring has
    /// no path; those of [`subscribe_with`](crate::Ring::subscribe_with). On an error the subscriber still reads the old ring.
    ///
    /// ```
    /// # use data_pubsub_shared::{Ring, Variant};
    /// let path = std::env::temp_dir().join(format!("sub-again-{}.ring", std::process::id()));
    /// let ring = Ring::open(Variant::Int, &path, 8, 0, 0o600)?;
    /// let mut sub = ring.subscribe(false);
    /// ring.unlink()?;
    /// let next = Ring::open(Variant::Int, &path, 8, 0, 0o600)?;
    /// next.publish_int(2)?;
    /// sub.reopen()?;
    /// assert_eq!(sub.poll_int()?, Some(2));
    /// next.unlink()?;
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    pub fn reopen(&mut self) -> Result<()> {
        let (variant, read_only) = (self.mapping.geometry.variant, self.cursor.read_only());
        let (ring, mapping) = Mapping::new(self.mapping.region.reopen(variant, read_only)?);
        let header = ring.header();
        let oldest = header.oldest(header.write_pos.load(crate::sync::Ordering::Acquire), mapping.geometry.capacity);
        let mut cursor = self.cursor.moved_to(oldest);
        cursor.forget_last();
        // Watches for sets are renewed; the subscriber's own descriptor is closed.
        let own = self.outlet.readiness().cloned();
        let is_own = |watch: &Watch| own.as_ref().map_or(false, |own| watch.serves(own));
        let for_sets = self.watches.iter().filter(|watch| watch.is_ours() && !is_own(watch));
        let watches = for_sets.map(|watch| watch.again(ring, &cursor)).collect::<Result<_>>()?;
        let wanted = self.seat.as_ref().map(|seat| seat.wanted);
        // Before the new entry is taken: it may be the same ring, and a name has one reader at a time.
        self.release();
        let seat = match wanted.map(|wanted| sit_down(&ring, &mapping, wanted, &mut cursor, |oldest| oldest)) {
            Some(Err(error)) => {
                let (wanted, next) = (wanted.unwrap_or_default(), self.cursor.next());
                self.seat = sit_down(&self.ring, &self.mapping, wanted, &mut self.cursor.clone(), |_| next)?;
                self.plan();
                return Err(error);
            }
            seat => seat.and_then(Result::ok).flatten(),
        };
        // The old watches are dropped before the ring that they watch.
        self.watches = watches;
        self.outlet.close();
        self.ring = ring;
        self.cursor = cursor;
        self.mapping = mapping;
        self.seat = seat;
        (self.spin, self.naps, self.waited) = (Spin::new(), 0, false);
        self.plan();
        Ok(())
    }

    /// Returns a descriptor that is readable while this subscriber has messages to read, for `poll` and event loops. Publishers
    /// need not know of it: the first call starts a thread that watches the ring. The subscriber owns the descriptor.
    ///
    /// In a forked child, or if the program has closed the descriptor, the call makes another one; the child's copy of its parent's
    /// descriptor is closed.
    ///
    /// # Errors
    /// [`ErrorKind::System`](crate::ErrorKind::System) if there are no descriptors or threads left.
    ///
    /// ```
    /// # use data_pubsub_shared::{Ring, Variant};
    /// let ring = Ring::anonymous(Variant::Int, 8, 0)?;
    /// let mut sub = ring.subscribe(false);
    /// let fd = sub.watch()?;
    /// assert_eq!(sub.watch()?, fd);
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    pub fn watch(&mut self) -> Result<RawFd> {
        self.watch_anew().map(|(fd, _)| fd)
    }

    /// Like [`watch`](Self::watch); also returns whether this call made the descriptor.
    pub(crate) fn watch_anew(&mut self) -> Result<(RawFd, bool)> {
        let readiness = self.outlet.make();
        self.watch_for(&readiness, 0)?;
        self.outlet.descriptor()
    }

    /// Whether `fd` is the descriptor of the last [`watch`](Self::watch), or a duplicate of it; false if it was closed and another
    /// file got its number.
    pub(crate) fn is_watched_by(&self, fd: RawFd) -> bool {
        self.outlet.is(fd)
    }

    /// Makes `readiness` list this subscriber under `key` while it has messages to read.
    pub(crate) fn watch_for(&mut self, readiness: &Arc<Readiness>, key: usize) -> Result<()> {
        if !self.watches.iter().any(|watch| watch.serves(readiness)) {
            self.watches.retain(Watch::is_ours);
            self.watches.push(Watch::start(self.ring, &self.cursor, readiness, key)?);
            self.plan();
        }
        Ok(())
    }

    /// Ends [`watch_for`](Self::watch_for).
    pub(crate) fn forget(&mut self, readiness: &Arc<Readiness>) {
        self.watches.retain(|watch| !watch.serves(readiness));
        self.plan();
    }

    /// To be called after each read; `ready` if the read returned as much as it was asked for.
    #[inline(always)]
    fn settle(&mut self, ready: bool) {
        if self.cursor.next() >= self.attend_at || !ready && self.cursor.next() != self.reported {
            self.attend(ready);
        }
    }

    /// Updates a watched subscriber's descriptors and its entry in the table of readers. `ready`: the subscriber is likely to go on
    /// reading.
    #[cold]
    #[inline(never)]
    fn attend(&mut self, ready: bool) {
        if !self.watches.is_empty() {
            self.settle_watches();
        }
        self.report(ready);
        self.plan();
    }

    /// Updates the descriptors of all watches.
    fn settle_watches(&mut self) {
        if self.watches.iter().all(Watch::is_ours) {
            self.watches.iter().for_each(|watch| watch.settle(&self.cursor));
        } else {
            // A forked child drops its parent's watches.
            self.watches.retain(Watch::is_ours);
            self.outlet.readiness();
        }
    }

    /// Whether there is something to report before it sleeps. In a forked child there is: the child needs its own entry.
    fn has_moved(&self) -> bool {
        let lossless = self.mapping.readers.lossless;
        self.cursor.next() != self.reported
            || lossless && self.cursor.next() != self.woke_at
            || self.seat.as_ref().map_or(false, |seat| !seat.is_ours())
    }

    /// Sets the position at which to call [`attend`](Self::attend) next.
    fn plan(&mut self) {
        let readers = *self.mapping.readers;
        self.attend_at = match &self.seat {
            _ if !self.watches.is_empty() => 0,
            Some(seat) if readers.lossless || seat.wanted.name.is_some() => 0,
            Some(_) => self.cursor.next().saturating_add(eighth(&readers)),
            None => u64::MAX,
        };
    }

    fn report(&mut self, ready: bool) {
        let readers = *self.mapping.readers;
        // A seek backwards, or a clear while the cursor was beyond the write position.
        if self.cursor.next() < self.reported {
            if let Some(seat) = self.seat.as_mut().filter(|seat| seat.is_ours()) {
                readers.go_back(seat, self.cursor.next());
            }
        }
        let (next, lost, delivered) = (self.cursor.next(), self.cursor.lost(), self.cursor.delivered());
        self.reported = next;
        let seat = match &self.seat {
            Some(seat) if seat.is_ours() && readers.report(seat, next, lost, delivered) => seat,
            Some(_) => return self.sit_down_anew(),
            None => return,
        };
        if readers.lossless && !seat.wanted.lossy {
            readers.say(seat, false, process::thread());
            // Not for each message: a wake-up is worth its price only if the publisher finds some room.
            if next.wrapping_sub(self.woke_at) >= if ready { eighth(&readers) } else { 1 } {
                self.woke_at = next;
                readers.wake_publishers();
            }
        }
    }

    /// Takes another entry, because the present one belongs to the parent of this forked process, or is corrupt. A forked child
    /// does not keep the name, which is its parent's.
    #[cold]
    fn sit_down_anew(&mut self) {
        if let Some(old) = self.seat.take() {
            if old.is_ours() {
                self.mapping.readers.give_up(&old);
            }
            let wanted = Wanted { name: if old.is_ours() { old.wanted.name } else { None }, ..old.wanted };
            let next = self.cursor.next();
            let mut cursor = self.cursor.clone();
            self.seat = sit_down(&self.ring, &self.mapping, wanted, &mut cursor, |_| next).unwrap_or(None);
        }
    }

    /// Returns the subscriber's name in the table of readers; `None` if it has none.
    ///
    /// ```
    /// # use data_pubsub_shared::{Ring, SubscribeOptions, Variant};
    /// let ring = Ring::anonymous(Variant::Int, 8, 0)?;
    /// let sub = ring.subscribe_with(&SubscribeOptions::named("audit"))?;
    /// assert_eq!(sub.name().as_deref(), Some("audit"));
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    pub fn name(&self) -> Option<String> {
        self.seat.as_ref().and_then(|seat| seat.wanted.name).and_then(|name| name.text())
    }

    /// Leaves the table of readers. The subscriber can still read, but publishers of a lossless ring no longer wait for it. The
    /// position of a named subscriber is kept for the next one of that name.
    ///
    /// ```
    /// # use data_pubsub_shared::{Ring, Variant};
    /// let ring = Ring::anonymous(Variant::Int, 8, 0)?;
    /// let mut sub = ring.subscribe(false);
    /// sub.release();
    /// ring.publish_int(1)?;
    /// assert_eq!((ring.readers().len(), sub.poll_int()?), (0, Some(1)));
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    pub fn release(&mut self) {
        if self.seat.as_ref().map_or(false, |seat| seat.is_ours()) {
            self.report(true);
        }
        if let Some(seat) = self.seat.take().filter(|seat| seat.is_ours()) {
            self.mapping.readers.leave(&seat);
        }
        self.plan();
    }

    /// Whether there is a message to read. Also false while a publisher is in the middle of publishing the next message, and if
    /// many positions without a message are before it: call [`wait`](Self::wait) then.
    ///
    /// ```
    /// # use data_pubsub_shared::{Ring, Variant};
    /// let ring = Ring::anonymous(Variant::Int, 8, 0)?;
    /// let mut sub = ring.subscribe(false);
    /// assert!(!sub.is_ready());
    /// ring.publish_int(1)?;
    /// assert!(sub.is_ready());
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    pub fn is_ready(&mut self) -> bool {
        self.look() == Next::Ready(())
    }

    /// Moves the cursor over positions that hold no message, and returns the state of the position where it stops. Updates watches
    /// and entry if the cursor has moved, for instance because of a clear.
    pub(crate) fn look(&mut self) -> Next<()> {
        let next = self.ring.look(&mut self.cursor);
        if next == Next::Ready(()) {
            self.naps = 0;
        } else if self.has_moved() {
            self.attend(false);
        }
        next
    }

    pub(crate) fn header(&self) -> &Header {
        self.ring.header()
    }

    pub(crate) fn is_read_only(&self) -> bool {
        self.cursor.read_only()
    }

    /// The number of naps since a message was last found.
    pub(crate) fn naps(&mut self) -> &mut u32 {
        &mut self.naps
    }

    /// Returns the number of messages published and not yet read.
    ///
    /// ```
    /// # use data_pubsub_shared::{Ring, Variant};
    /// let ring = Ring::anonymous(Variant::Int, 8, 0)?;
    /// let sub = ring.subscribe(false);
    /// ring.publish_ints(&[1, 2])?;
    /// assert_eq!(sub.lag(), 2);
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    pub fn lag(&self) -> u64 {
        self.cursor.lag(self.ring.header())
    }

    /// Returns the number of messages that were overwritten before this subscriber read them.
    ///
    /// ```
    /// # use data_pubsub_shared::{Ring, Variant};
    /// let ring = Ring::anonymous(Variant::Int, 2, 0)?;
    /// let mut sub = ring.subscribe(false);
    /// ring.publish_ints(&[1, 2, 3])?;
    /// assert_eq!((sub.poll_int()?, sub.overflow_count()), (Some(2), 1));
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    pub fn overflow_count(&self) -> u64 {
        self.cursor.lost()
    }

    /// Whether messages are being lost now: the lag exceeds the capacity.
    ///
    /// ```
    /// # use data_pubsub_shared::{Ring, Variant};
    /// let ring = Ring::anonymous(Variant::Int, 2, 0)?;
    /// let sub = ring.subscribe(false);
    /// ring.publish_ints(&[1, 2])?;
    /// assert!(!sub.has_overflow());
    /// ring.publish_int(3)?;
    /// assert!(sub.has_overflow());
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    pub fn has_overflow(&self) -> bool {
        self.lag() > self.mapping.geometry.capacity
    }

    /// Returns the number of slots of the ring.
    ///
    /// ```
    /// # use data_pubsub_shared::{Ring, Variant};
    /// assert_eq!(Ring::anonymous(Variant::Int, 8, 0)?.subscribe(false).capacity(), 8);
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    pub fn capacity(&self) -> u64 {
        self.mapping.geometry.capacity
    }

    /// Returns the next position to read, counted from the last clear.
    ///
    /// ```
    /// # use data_pubsub_shared::{Ring, Variant};
    /// let ring = Ring::anonymous(Variant::Int, 8, 0)?;
    /// ring.publish_ints(&[1, 2])?;
    /// assert_eq!((ring.subscribe(false).cursor(), ring.subscribe(true).cursor()), (2, 0));
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    pub fn cursor(&self) -> u64 {
        let header = self.ring.header();
        self.cursor.position(header).saturating_sub(header.base())
    }

    /// Moves to `position`, counted from the last clear (0 ..= 2^63 - 1). Beyond the write position, the subscriber waits until
    /// that position is published. Before the oldest message that the ring holds, the overwritten messages count as lost at the
    /// next read.
    ///
    /// ```
    /// # use data_pubsub_shared::{Ring, Variant};
    /// let ring = Ring::anonymous(Variant::Int, 8, 0)?;
    /// ring.publish_ints(&[10, 11, 12])?;
    /// let mut sub = ring.subscribe(false);
    /// sub.seek(1);
    /// assert_eq!(sub.poll_int()?, Some(11));
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    pub fn seek(&mut self, position: u64) {
        let header = self.ring.header();
        self.cursor.seek(header, header.base().saturating_add(position));
        self.attend(false);
    }

    /// Moves to the write position: only messages published from now on are read.
    ///
    /// ```
    /// # use data_pubsub_shared::{Ring, Variant};
    /// let ring = Ring::anonymous(Variant::Int, 8, 0)?;
    /// ring.publish_ints(&[10, 11])?;
    /// let mut sub = ring.subscribe(true);
    /// sub.reset();
    /// assert_eq!(sub.poll_int()?, None);
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    pub fn reset(&mut self) {
        let end = self.end();
        self.cursor.seek(self.ring.header(), end);
        self.attend(false);
    }

    /// Moves to the oldest message that the ring still holds.
    ///
    /// ```
    /// # use data_pubsub_shared::{Ring, Variant};
    /// let ring = Ring::anonymous(Variant::Int, 8, 0)?;
    /// ring.publish_ints(&[10, 11])?;
    /// let mut sub = ring.subscribe(false);
    /// sub.reset_oldest();
    /// assert_eq!(sub.poll_int()?, Some(10));
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    pub fn reset_oldest(&mut self) {
        let header = self.ring.header();
        let oldest = header.oldest(self.end(), self.mapping.geometry.capacity);
        self.cursor.seek(header, oldest);
        self.attend(false);
    }

    /// Returns the number of positions claimed since the last clear.
    ///
    /// ```
    /// # use data_pubsub_shared::{Ring, Variant};
    /// let ring = Ring::anonymous(Variant::Int, 8, 0)?;
    /// let sub = ring.subscribe(false);
    /// ring.publish_int(1)?;
    /// assert_eq!(sub.write_pos(), 1);
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    pub fn write_pos(&self) -> u64 {
        self.ring.header().published()
    }

    /// Returns the notifier: the eventfd of the handle, as it was when this subscriber was made, or one that was lent to it.
    ///
    /// ```
    /// # use data_pubsub_shared::{Ring, Variant};
    /// let ring = Ring::anonymous(Variant::Int, 8, 0)?;
    /// assert_eq!(ring.subscribe(false).notifier().fd(), None); // the handle has none
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    pub fn notifier(&mut self) -> &mut Notifier {
        &mut self.notifier
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        self.release();
    }
}

/// Calls `read` until it returns something else than [`Next::More`]; `None` if there is no message.
#[inline(always)]
fn whatever_is_there<T>(mut read: impl FnMut() -> Result<Next<T>>) -> Result<Option<T>> {
    loop {
        match read()? {
            Next::Ready(found) => return Ok(Some(found)),
            Next::Empty | Next::Claimed(_) => return Ok(None),
            Next::More => {}
        }
    }
}

/// The number of positions after which a reader reports its position.
fn eighth(readers: &Readers) -> u64 {
    (readers.capacity / 8).max(1)
}

/// Takes an entry in the table of readers and moves the cursor: to the position where the last reader of this name stopped, or
/// else to the result of `start`, called with the oldest position that is surely held. Returns `None` if the reader needs no
/// entry and the table is full or the ring is read-only.
///
/// # Errors
/// As [`Ring::subscribe_with`](crate::Ring::subscribe_with).
pub(crate) fn sit_down(
    ring: &AnyRing,
    mapping: &Mapping,
    wanted: Wanted,
    cursor: &mut Cursor,
    start: impl FnOnce(u64) -> u64,
) -> Result<Option<Seat>> {
    let readers = &mapping.readers;
    let needs_seat = readers.lossless && !wanted.lossy;
    if cursor.read_only() {
        if let Some(name) = wanted.name.and_then(|name| name.text()) {
            let why = format!("name {:?}: readers of a ring that is open for reading only are not listed", name);
            return Err(Error::new(ErrorKind::Argument, why));
        }
        return Ok(None);
    }
    let (mut seat, stopped_at) = match readers.take(wanted, &mapping.reading) {
        Ok(taken) => taken,
        Err(Refused::Full) => {
            // Relaxed: a statistic.
            readers.header().events.unlisted.fetch_add(1, Relaxed);
            if wanted.name.is_none() && !needs_seat {
                return Ok(None);
            }
            let why = match mapping.geometry.readers {
                0 => "this ring has no table of readers".to_owned(),
                n => format!("the table of readers is full ({})", n),
            };
            return Err(Error::new(ErrorKind::Busy, why));
        }
        Err(Refused::Held(pid)) => {
            let name = wanted.name.and_then(|name| name.text()).unwrap_or_default();
            return Err(held(&name, pid));
        }
        Err(Refused::Unknowable) => {
            return Err(Error::new(
                ErrorKind::Incompatible,
                "publishers of this lossless ring could not tell whether this reader lives: its file was removed, or its file system has no locks",
            ));
        }
    };
    let start = readers.arrive(&mut seat, |floor| {
        let header = ring.header();
        // Read after the limit: see `lossless`.
        let end = header.write_pos.load(SeqCst);
        let oldest = header.oldest(end, readers.capacity).max(floor).min(end);
        stopped_at.filter(|position| *position <= end).unwrap_or_else(|| start(oldest))
    });
    cursor.seek(ring.header(), start);
    Ok(Some(seat))
}
