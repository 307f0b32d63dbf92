//! The reading role: a [`Subscriber`] follows a ring at its own pace and knows what it lost.
//!
//! A subscriber that stands in the ring's table of readers says there how far it is: when it has found the ring empty, before
//! it sleeps, and after an eighth of the capacity, so that it costs nothing to speak of. One that has a name, or of which
//! publishers of a lossless ring need to know it, says so with each call.

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

/// Reads a ring. Messages that are overwritten before it reads them are counted as lost; no other process slows it
/// down, and it slows down no other. It keeps the ring mapped, and so outlives the handle that it came from.
pub struct Subscriber {
    ring: AnyRing,
    cursor: Cursor,
    /// From this position on something is to be done after a read: see `attend`.
    attend_at: u64,
    /// Where it has said that it stands.
    reported: u64,
    /// Its entry in the table of readers.
    seat: Option<Seat>,
    /// Where it stood, in a lossless ring, when publishers were last woken for it.
    woke_at: u64,
    spin: Spin,
    notifier: Notifier,
    /// For its own descriptor, and for sets.
    watches: Vec<Watch>,
    outlet: Outlet,
    /// Naps since a message was last found; of read-only rings.
    naps: u32,
    /// The last wait was cut short, or had lasted for a while: worth a look whether the ring is still there.
    waited: bool,
    mapping: Arc<Mapping>,
}

// SAFETY: everything shared is atomic; what is the subscriber's own takes `&mut self`.
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
    /// `seat` is its entry in the table of readers, where it has one.
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

    /// The next integer, if there is one.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`](crate::ErrorKind::Argument) on a ring of another variant.
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

    /// The same where that is simple; [`Next::More`] where it is not, and nothing has happened.
    #[inline(always)]
    pub(crate) fn read_int_at_once(&mut self) -> Next<i64> {
        let next = self.ring.glimpse_int(&self.cursor);
        self.pass(next)
    }

    /// The same, for a caller that looks after other things where there is [`Next::More`] to pass.
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

    /// The next floating-point number, if there is one, bit by bit as it was published.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`](crate::ErrorKind::Argument) on a ring of another variant.
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

    /// As [`read_int_at_once`](Self::read_int_at_once).
    #[inline(always)]
    pub(crate) fn read_num_at_once(&mut self) -> Next<f64> {
        let next = self.ring.glimpse_num(&self.cursor);
        self.pass(next)
    }

    /// After a glimpse.
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

    /// The same, for a caller that looks after other things where there is [`Next::More`] to pass.
    #[inline(always)]
    pub(crate) fn read_num(&mut self) -> Result<Next<f64>> {
        let read = match &self.ring {
            AnyRing::Num(ring) => ring.read(&mut self.cursor).map(f64::from_bits),
            _ => return Err(self.ring.mismatch()),
        };
        self.settle(matches!(read, Next::Ready(_)));
        Ok(read)
    }

    /// Reads integers into `out`, in order, as many as there are, and no more than there are positions up to `end` (see
    /// [`end`](Self::end)): a reader that is lapped meanwhile gets as many, but later ones. Returns how many.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`](crate::ErrorKind::Argument) on a ring of another variant.
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

    /// The same, and whether it ended because there is [`Next::More`] to pass.
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

    /// Reads numbers into `out` as [`Ring::publish_packed`](crate::Ring::publish_packed) takes them, as many as there are and
    /// as have room, and no more than there are positions up to `end`. Returns how many numbers.
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

    /// The same, and whether it ended because there is [`Next::More`] to pass.
    #[inline]
    pub(crate) fn read_packed(&mut self, out: &mut [u8], end: u64) -> Result<(usize, bool)> {
        let width = self.ring.packed_width()?;
        let room = self.cursor.room(self.ring.header(), end).min((out.len() / width) as u64) as usize;
        let result = self.ring.read_packed(&mut self.cursor, &mut out[..room * width]);
        self.settle(result.0 == room && room != 0 && self.cursor.next() < end);
        Ok(result)
    }

    /// The next string message before position `end`: how long it is; to be [`copy`](Self::copy)-ed next. None where there
    /// is none.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`](crate::ErrorKind::Argument) on an integer ring.
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

    /// The same, for a caller that looks after other things where there is [`Next::More`] to pass.
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

    /// What the thread has passed that watches need not be passed again, and may be overwritten by now.
    fn catch_up(&mut self) {
        for watch in self.watches.iter().filter(|watch| watch.is_ours()) {
            watch.catch_up(&mut self.cursor);
        }
    }

    /// The next string message before position `end`, where nothing has to be passed or waited for: otherwise, ask
    /// [`look_for`](Self::look_for).
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

    /// Copies the message that [`find`](Self::find) found to `to`, and counts it as delivered. False: it was overwritten
    /// meanwhile, what is at `to` is worthless, and the loss is counted; find again, before the [`end`](Self::end) as it
    /// is then, because in a busy ring the next may be overwritten as well.
    ///
    /// # Safety
    /// `found` is the result of the last `find` of this subscriber; `to` has room for its length rounded up to 8 bytes.
    ///
    /// ```
    /// # use data_pubsub_shared::{Ring, Variant};
    /// let ring = Ring::anonymous(Variant::Str, 8, 100)?;
    /// let mut sub = ring.subscribe(false);
    /// ring.publish_str(b"hello")?;
    /// let found = sub.find(u64::MAX)?.expect("one is there");
    /// let mut bytes = [0; 104]; // `msg_size` rounded up to 8
    /// // SAFETY: found by the call before, and there is room.
    /// assert!(unsafe { sub.copy(&found, bytes.as_mut_ptr()) });
    /// assert_eq!(&bytes[..found.len()], b"hello");
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    #[inline(always)]
    pub unsafe fn copy(&mut self, found: &Found, to: *mut u8) -> bool {
        match &self.ring {
            // SAFETY: the caller vouches for both.
            AnyRing::Str(ring) if unsafe { ring.copy(&mut self.cursor, found, to) } => {
                self.settle(true);
                true
            }
            _ => false,
        }
    }

    /// The next message of a string ring, if there is one, with Perl's UTF-8 flag as the publisher gave it: the bytes may be
    /// anything all the same, so convert them with [`String::from_utf8`] and not unchecked. None, too, where all that there
    /// was was overwritten while it was copied.
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
            // SAFETY: just found, and the room is there; a copy that was whole has written `len` bytes.
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

    /// Where a `drain` that begins now ends: the write position, as an inner position.
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

    /// Sleeps until there is a message, the monotonic clock reaches `deadline` (nanoseconds; [`NEVER`](crate::NEVER)),
    /// or a signal was handled.
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

    /// The same; `stop` is asked just before each sleep, and if it says so, it is as if a signal had come.
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
        // Looking passes what is not wanted, or was abandoned.
        if self.has_moved() {
            self.attend(false);
        }
        let (ring, cursor) = (&self.ring, &mut self.cursor);
        // The header is read each time, the path after a while.
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
        // A nap is short, so that not each of them asks the file system.
        self.waited = how == Wait::Interrupted && (!cursor.read_only() || self.naps % 256 == 0);
        if how != Wait::Interrupted {
            self.naps = 0;
        }
        // The caller need not come back soon.
        if how != Wait::Ready && self.has_moved() {
            self.attend(false);
        }
        how
    }

    /// Whether nothing will come any more: somebody removed the ring's file, or another one took its path. Never true for
    /// rings in memory. Messages that were published before can still be read.
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

    /// Goes on with the ring that the path leads to now, at its oldest message. What this subscriber lost so far stays in its
    /// account. A descriptor of [`watch`](Self::watch) must be asked for anew.
    ///
    /// # Errors
    /// As [`Ring::open`](crate::Ring::open) without a capacity; [`ErrorKind::Argument`](crate::ErrorKind::Argument) where
    /// the ring has no path. The subscriber is as it was then.
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
        // Sets have their members watched as before; the subscriber's own descriptor goes.
        let own = self.outlet.readiness().cloned();
        let is_own = |watch: &Watch| own.as_ref().map_or(false, |own| watch.serves(own));
        let for_sets = self.watches.iter().filter(|watch| watch.is_ours() && !is_own(watch));
        let watches = for_sets.map(|watch| watch.again(ring, &cursor)).collect::<Result<_>>()?;
        let wanted = self.seat.as_ref().map(|seat| seat.wanted);
        // First: it may be the same ring, and the name is held by one at a time.
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
        // The old ones go before the ring that they watch.
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

    /// A descriptor of this subscriber's own that is readable while it has messages to read, whoever publishes them. The
    /// first call starts the thread that keeps it so; in a forked child, or where the program has closed it, it is another
    /// one, whatever its number, and an inherited one is closed. It stays the subscriber's.
    ///
    /// # Errors
    /// [`ErrorKind::System`](crate::ErrorKind::System) where there are no descriptors or threads left.
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

    /// The same, and whether this call has made it.
    pub(crate) fn watch_anew(&mut self) -> Result<(RawFd, bool)> {
        let readiness = self.outlet.make();
        self.watch_for(&readiness, 0)?;
        self.outlet.descriptor()
    }

    /// Whether `fd` is the descriptor of the last watch, or a duplicate of it; and not what got its number afterwards.
    pub(crate) fn is_watched_by(&self, fd: RawFd) -> bool {
        self.outlet.is(fd)
    }

    /// Has this subscriber be among the readable there while it has messages to read.
    pub(crate) fn watch_for(&mut self, readiness: &Arc<Readiness>, key: usize) -> Result<()> {
        if !self.watches.iter().any(|watch| watch.serves(readiness)) {
            self.watches.retain(Watch::is_ours);
            self.watches.push(Watch::start(self.ring, &self.cursor, readiness, key)?);
            self.plan();
        }
        Ok(())
    }

    /// No more.
    pub(crate) fn forget(&mut self, readiness: &Arc<Readiness>) {
        self.watches.retain(|watch| !watch.serves(readiness));
        self.plan();
    }

    /// After each read: `ready` where it got all that it asked for.
    #[inline(always)]
    fn settle(&mut self, ready: bool) {
        if self.cursor.next() >= self.attend_at || !ready && self.cursor.next() != self.reported {
            self.attend(ready);
        }
    }

    /// A watched subscriber's descriptor says what is true, and its entry in the table of readers where it stands. `ready`: it goes
    /// on reading, most likely.
    #[cold]
    #[inline(never)]
    fn attend(&mut self, ready: bool) {
        if !self.watches.is_empty() {
            self.settle_watches();
        }
        self.report(ready);
        self.plan();
    }

    /// Those who watch are told what is true.
    fn settle_watches(&mut self) {
        if self.watches.iter().all(Watch::is_ours) {
            self.watches.iter().for_each(|watch| watch.settle(&self.cursor));
        } else {
            // A forked child lets go of what is its parent's.
            self.watches.retain(Watch::is_ours);
            self.outlet.readiness();
        }
    }

    /// Whether there is something to say before it sleeps: for a forked child, that it is there.
    fn has_moved(&self) -> bool {
        let lossless = self.mapping.readers.lossless;
        self.cursor.next() != self.reported
            || lossless && self.cursor.next() != self.woke_at
            || self.seat.as_ref().map_or(false, |seat| !seat.is_ours())
    }

    /// When to attend next.
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
        // A seek, or a clear that ended the waiting for a message ahead.
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
            // Not for each message: a publisher that was woken needs room to be worth it.
            if next.wrapping_sub(self.woke_at) >= if ready { eighth(&readers) } else { 1 } {
                self.woke_at = next;
                readers.wake_publishers();
            }
        }
    }

    /// The entry is the parent's, of which this process is a fork, or somebody scribbled on it. The name is the parent's, too.
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

    /// The name under which it is in the table of readers.
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

    /// Leaves the table of readers now, and reads on without being known there: publishers of a lossless ring do not wait for it any
    /// more. A named one keeps its place for the next that subscribes by that name.
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

    /// Whether there is a message to read. False, too, while a publisher is in the middle of the next one, or many positions
    /// have to be passed first: [`wait`](Self::wait) sees to that.
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

    /// What is at the cursor. Where that has moved, those who watch do not know it yet: a clear, too, tells nobody.
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

    /// Counts naps since a message was last found.
    pub(crate) fn naps(&mut self) -> &mut u32 {
        &mut self.naps
    }

    /// Messages published and not yet read.
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

    /// Messages that were overwritten before this subscriber read them.
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

    /// Slots of the ring.
    ///
    /// ```
    /// # use data_pubsub_shared::{Ring, Variant};
    /// assert_eq!(Ring::anonymous(Variant::Int, 8, 0)?.subscribe(false).capacity(), 8);
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    pub fn capacity(&self) -> u64 {
        self.mapping.geometry.capacity
    }

    /// The next position to read, counted from the last clear.
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

    /// Goes to a position counted from the last clear (at most 2^63 - 1). Beyond the write position: waits for that
    /// message. Before the oldest that is held: what was overwritten counts as lost when it is passed.
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

    /// Goes to the write position: only what is published from now on.
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

    /// Goes to the oldest message that is still held.
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

    /// Positions claimed since the last clear.
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

    /// The descriptor that event loops watch: the handle's, as it stood when this subscriber was made, or a lent one.
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

/// What `read` finds, where there may be many positions to pass first.
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

/// How far a reader moves before it says so.
fn eighth(readers: &Readers) -> u64 {
    (readers.capacity / 8).max(1)
}

/// Takes an entry in the table of readers. The cursor is at the oldest message, and goes where `start` says; but a name that was there
/// before goes on where it stopped. None where the table has no room, which only matters to readers of lossless rings.
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
        // After the limit was read: see `lossless`.
        let end = header.write_pos.load(SeqCst);
        let oldest = header.oldest(end, readers.capacity).max(floor).min(end);
        stopped_at.filter(|position| *position <= end).unwrap_or_else(|| start(oldest))
    });
    cursor.seek(ring.header(), start);
    Ok(Some(seat))
}
