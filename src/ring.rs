//! The publishing side: a [`Ring`] opens or makes a ring, publishes, reports statistics, and makes [`Subscriber`]s.

use std::os::unix::io::RawFd;
use std::path::Path;
use std::sync::Arc;

use crate::any_ring::{AnyRing, Mapping, Number};
use crate::cursor::Cursor;
use crate::error::{Error, ErrorKind, Result};
use crate::layout::Variant;
use crate::lossless::{pass_the_dead, wait_for_readers, wait_for_room};
use crate::member::NoSpare;
use crate::notify::Notifier;
use crate::packed::PIECE;
use crate::readers::{Name, Reader, Refused, Wanted};
use crate::role::Held;
use crate::stats::Stats;
use crate::str_ring::{Bytes, StrRing};
use crate::subscriber::{sit_down, Subscriber};
use crate::sync::Ordering::SeqCst;
use crate::sync::{AtomicU32, AtomicU64};
use crate::wait::NEVER;
use crate::waiting::Wait;

mod batch;
mod opening;

/// A handle on a shared ring: opens or makes it, publishes, reports statistics, and makes subscribers.
///
/// The mapping is released when the handle and all its subscribers have been dropped. The ring itself stays in its file, or in the
/// other processes that have it mapped.
pub struct Ring {
    ring: AnyRing,
    pub(crate) mapping: Arc<Mapping>,
    notifier: Notifier,
    read_only: bool,
    /// The spare block that this handle's publishers used last.
    home: AtomicU32,
    /// When a publisher that does not wait last looked for processes that have exited: readers of a lossless ring, or publishers.
    looked_at: AtomicU64,
    /// The lock that records what a bridge does with the ring.
    pub(crate) role: Option<Held>,
}

// SAFETY: all shared words are atomic, between threads as between processes.
unsafe impl Send for Ring {}
// SAFETY: as above; methods that change the handle itself take `&mut self`.
unsafe impl Sync for Ring {}

impl Ring {
    /// Returns the type of the ring's messages.
    ///
    /// ```
    /// # use data_pubsub_shared::{Ring, Variant};
    /// assert_eq!(Ring::anonymous(Variant::Num, 8, 0)?.variant(), Variant::Num);
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    pub fn variant(&self) -> Variant {
        self.mapping.geometry.variant
    }

    /// Whether this handle was opened for reading only.
    ///
    /// ```
    /// # use data_pubsub_shared::{Ring, Variant};
    /// assert!(!Ring::anonymous(Variant::Int, 8, 0)?.is_read_only());
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    pub fn is_read_only(&self) -> bool {
        self.read_only
    }

    /// Makes another handle on a mapped ring.
    pub(crate) fn on(ring: AnyRing, mapping: &Arc<Mapping>, notifier: Notifier, read_only: bool) -> Ring {
        let mapping = Arc::clone(mapping);
        Ring { ring, mapping, notifier, read_only, home: AtomicU32::new(0), looked_at: AtomicU64::new(0), role: None }
    }

    /// Removes the ring's file, even if the current directory has changed since it was opened. Does nothing if the file is already
    /// gone.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] on a ring without a path, [`ErrorKind::Incompatible`] if the path now leads to another file,
    /// [`ErrorKind::System`] if the system call fails.
    ///
    /// ```
    /// # use data_pubsub_shared::{Ring, Variant};
    /// let path = std::env::temp_dir().join(format!("removed-{}.ring", std::process::id()));
    /// let ring = Ring::open(Variant::Int, &path, 8, 0, 0o600)?;
    /// ring.unlink()?;
    /// assert!(!path.exists());
    /// ring.unlink()?; // already gone
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    pub fn unlink(&self) -> Result<()> {
        self.mapping.region.unlink()?;
        if !self.read_only {
            self.ring.header().remove();
        }
        Ok(())
    }

    /// Whether the ring's file was removed, or another file took its path: new processes can no longer open this ring. Always false
    /// for rings in memory.
    ///
    /// ```
    /// # use data_pubsub_shared::{Ring, Variant};
    /// let path = std::env::temp_dir().join(format!("replaced-{}.ring", std::process::id()));
    /// let ring = Ring::open(Variant::Int, &path, 8, 0, 0o600)?;
    /// assert!(!ring.is_gone());
    /// ring.unlink()?;
    /// assert!(ring.is_gone());
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    pub fn is_gone(&self) -> bool {
        self.mapping.is_gone(&self.ring)
    }

    /// Publishes an integer, truncated to the variant's width like a C cast. In a lossless ring, waits for room.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] on a ring of another type and on a read-only handle; [`ErrorKind::Deadlock`] if it would wait for a
    /// subscriber that only this thread can read.
    ///
    /// ```
    /// # use data_pubsub_shared::{Ring, Variant};
    /// let ring = Ring::anonymous(Variant::Int16, 8, 0)?;
    /// ring.publish_int(65_537)?;
    /// assert_eq!(ring.subscribe(true).poll_int()?, Some(1)); // truncated to 16 bits
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    #[inline(always)]
    pub fn publish_int(&self, value: i64) -> Result<()> {
        while !self.try_publish_int(value)? {
            self.wait_for_room(1, NEVER, || false)?;
        }
        Ok(())
    }

    /// Like [`publish_int`](Self::publish_int), without waiting. Returns `false`, and publishes nothing, if a lossless ring has no
    /// room.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] on a ring of another type and on a read-only handle.
    ///
    /// ```
    /// # use data_pubsub_shared::{Options, Variant};
    /// let mut options = Options::new(2);
    /// options.lossless = true;
    /// let ring = options.anonymous(Variant::Int)?;
    /// let _reader = ring.subscribe(false);
    /// assert!(ring.try_publish_int(1)? && ring.try_publish_int(2)?);
    /// assert!(!ring.try_publish_int(3)?);
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    #[inline(always)]
    pub fn try_publish_int(&self, value: i64) -> Result<bool> {
        self.try_publish_number(Number::Int(value))
    }

    #[inline(always)]
    fn try_publish_number(&self, number: Number) -> Result<bool> {
        match self.publish_at_once(number) {
            Ok(()) => Ok(true),
            Err(claimed) => self.publish_anyway(claimed, number),
        }
    }

    /// The fast path of publishing a number. On `Err`, call [`publish_anyway`](Self::publish_anyway) with the error, the position
    /// that was claimed, if any.
    ///
    /// A function of its own, so that callers save and spill no registers before it: a locked instruction waits for all stores.
    #[inline(always)]
    pub(crate) fn publish_at_once(&self, number: Number) -> std::result::Result<(), Option<u64>> {
        if self.read_only {
            return Err(None);
        }
        self.ring.publish_at_once(number)?;
        self.ring.wake_sleepers();
        Ok(())
    }

    /// The slow path of publishing a number. Returns `Ok(false)`, and publishes nothing, if a lossless ring has no room.
    #[inline(never)]
    pub(crate) fn publish_anyway(&self, mut claimed: Option<u64>, number: Number) -> Result<bool> {
        self.check_writable()?;
        let is_disturbed = claimed.is_some();
        loop {
            if self.ring.publish_anyway(claimed.take(), number)? {
                self.ring.wake_sleepers();
                if is_disturbed {
                    self.revoked();
                }
                return Ok(true);
            }
            if !self.passes_the_dead(1) {
                return Ok(false);
            }
        }
    }

    /// Publishes a floating-point number with its exact bits: a NaN keeps its payload, and -0.0 its sign. In a lossless ring, waits
    /// for room.
    ///
    /// # Errors
    /// As [`publish_int`](Self::publish_int).
    ///
    /// ```
    /// # use data_pubsub_shared::{Ring, Variant};
    /// let ring = Ring::anonymous(Variant::Num, 8, 0)?;
    /// ring.publish_num(0.5)?;
    /// assert_eq!(ring.subscribe(true).poll_num()?, Some(0.5));
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    #[inline(always)]
    pub fn publish_num(&self, value: f64) -> Result<()> {
        while !self.try_publish_num(value)? {
            self.wait_for_room(1, NEVER, || false)?;
        }
        Ok(())
    }

    /// Like [`publish_num`](Self::publish_num), without waiting. Returns `false`, and publishes nothing, if a lossless ring has no
    /// room.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] on a ring of another type and on a read-only handle.
    ///
    /// ```
    /// # use data_pubsub_shared::{Options, Variant};
    /// let mut options = Options::new(2);
    /// options.lossless = true;
    /// let ring = options.anonymous(Variant::Num)?;
    /// let _reader = ring.subscribe(false);
    /// assert!(ring.try_publish_num(0.1)? && ring.try_publish_num(0.2)?);
    /// assert!(!ring.try_publish_num(0.3)?);
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    #[inline(always)]
    pub fn try_publish_num(&self, value: f64) -> Result<bool> {
        self.try_publish_number(Number::Num(value))
    }

    /// Publishes the numbers that are stored one after the other in `bytes`, in the host's byte order and without alignment, each 8
    /// bytes (`Int`, `Num`), 4 (`Int32`) or 2 (`Int16`) wide. They are published in batches of 8192, or of the ring's capacity if
    /// that is less; the numbers of a batch are adjacent in the ring. Returns how many numbers were published. In a lossless ring,
    /// waits for room.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] if the length is not a multiple of that width, on a string ring, and on a read-only handle;
    /// [`ErrorKind::Deadlock`] if it would wait for a subscriber that only this thread can read: some of the numbers may have been
    /// published.
    ///
    /// ```
    /// # use data_pubsub_shared::{Ring, Variant};
    /// let ring = Ring::anonymous(Variant::Int32, 8, 0)?;
    /// let numbers: Vec<u8> = [7i32, 8].iter().flat_map(|number| number.to_ne_bytes()).collect();
    /// assert_eq!(ring.publish_packed(&numbers)?, 2);
    /// assert_eq!(ring.subscribe(true).poll_int()?, Some(7));
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    pub fn publish_packed(&self, bytes: &[u8]) -> Result<usize> {
        let mut done = 0;
        loop {
            done += self.try_publish_packed(&bytes[done * self.ring.packed_width()?..])?;
            let left = bytes.len() / self.ring.packed_width()? - done;
            if left == 0 {
                return Ok(done);
            }
            self.wait_for_room((left as u64).min(self.capacity()).min(PIECE as u64), NEVER, || false)?;
        }
    }

    /// Like [`publish_packed`](Self::publish_packed), without waiting. Returns how many numbers were published; a lossless ring may
    /// have no room for all of them.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] as for [`publish_packed`](Self::publish_packed).
    ///
    /// ```
    /// # use data_pubsub_shared::{Options, Variant};
    /// let mut options = Options::new(2);
    /// options.lossless = true;
    /// let ring = options.anonymous(Variant::Int16)?;
    /// let _reader = ring.subscribe(false);
    /// assert_eq!((ring.try_publish_packed(&[0; 4])?, ring.try_publish_packed(&[0; 2])?), (2, 0));
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    pub fn try_publish_packed(&self, bytes: &[u8]) -> Result<usize> {
        self.check_writable()?;
        loop {
            let count = self.ring.publish_packed(bytes, self.owner(bytes.len()))?;
            if count != 0 || bytes.is_empty() || !self.passes_the_dead(1) {
                return Ok(count);
            }
        }
    }

    /// To be called if there is no room for `n` messages. Returns whether exited readers were the cause; publishers no longer wait
    /// for them then.
    #[cold]
    #[inline(never)]
    fn passes_the_dead(&self, n: u64) -> bool {
        pass_the_dead(&self.ring, &self.mapping, n, &self.looked_at)
    }

    /// Publishes integers at adjacent positions, in order. Returns how many. In a lossless ring, waits for room for all of them.
    ///
    /// The batch is split in two if readers or later publishers could not wait for this publisher, or if another publisher, which
    /// was stopped or killed in the middle of a batch, withholds slots.
    ///
    /// # Errors
    /// As [`publish_int`](Self::publish_int); also [`ErrorKind::Argument`] for more values than the capacity of a lossless ring, or
    /// than 2^31.
    ///
    /// ```
    /// # use data_pubsub_shared::{Ring, Variant};
    /// let ring = Ring::anonymous(Variant::Int, 8, 0)?;
    /// assert_eq!(ring.publish_ints(&[1, 2, 3])?, 3);
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    pub fn publish_ints(&self, values: &[i64]) -> Result<usize> {
        while !self.try_publish_ints(values)? {
            self.wait_for_room(values.len() as u64, NEVER, || false)?;
        }
        Ok(values.len())
    }

    /// Like [`publish_ints`](Self::publish_ints), without waiting. Returns `false`, and publishes nothing, if a lossless ring has
    /// no room for all of them.
    ///
    /// # Errors
    /// As [`publish_ints`](Self::publish_ints).
    ///
    /// ```
    /// # use data_pubsub_shared::{Options, Variant};
    /// let mut options = Options::new(2);
    /// options.lossless = true;
    /// let ring = options.anonymous(Variant::Int)?;
    /// let _reader = ring.subscribe(false);
    /// assert!(ring.try_publish_ints(&[1])? && !ring.try_publish_ints(&[2, 3])?);
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    pub fn try_publish_ints(&self, values: &[i64]) -> Result<bool> {
        if let AnyRing::Num(_) = self.ring {
            return Err(self.ring.mismatch());
        }
        let mut batch = match self.claim(values.len()) {
            Err(error) if error.kind() == ErrorKind::Full => return Ok(false),
            claimed => claimed?,
        };
        self.put(&mut batch, values)?;
        self.wake();
        Ok(true)
    }

    /// Sleeps until a lossless ring has room for `count` messages, the monotonic clock reaches `deadline` (nanoseconds, as
    /// [`monotonic_ns`](crate::monotonic_ns) returns it, or [`NEVER`]), a signal was handled, or `stop` returns true; `stop` is
    /// called before each sleep. Another publisher may take the room before the caller does. Returns at once for a ring that is not
    /// lossless.
    ///
    /// # Errors
    /// [`ErrorKind::Deadlock`] if `deadline` is [`NEVER`] and it would wait for a subscriber that only this thread can read;
    /// [`ErrorKind::Argument`] if `count` is more than the capacity of a lossless ring.
    ///
    /// ```
    /// # use data_pubsub_shared::{Options, Variant, Wait};
    /// let mut options = Options::new(2);
    /// options.lossless = true;
    /// let ring = options.anonymous(Variant::Int)?;
    /// assert_eq!(ring.wait_for_room(1, 0, || false)?, Wait::Ready);
    /// let reader = std::thread::spawn({
    ///     let mut sub = ring.subscribe(false);
    ///     ring.publish_ints(&[1, 2])?;
    ///     move || sub.poll_int()
    /// });
    /// assert_eq!(ring.wait_for_room(1, data_pubsub_shared::NEVER, || false)?, Wait::Ready);
    /// assert_eq!(reader.join().unwrap()?, Some(1));
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    #[cold]
    pub fn wait_for_room(&self, count: u64, deadline: u64, stop: impl Fn() -> bool) -> Result<Wait> {
        self.check_fits(count)?;
        match self.mapping.readers.lossless {
            true => wait_for_room(&self.ring, &self.mapping, count, deadline, stop),
            false => Ok(Wait::Ready),
        }
    }

    /// Sleeps until the readers have read all messages published so far; `deadline`, `stop` and the result are those of
    /// [`wait_for_room`](Self::wait_for_room). In a lossless ring it waits for the readers in the table that are not lossy, in
    /// other rings for all readers in the table. It does not wait for a reader whose process has exited.
    ///
    /// # Errors
    /// [`ErrorKind::Deadlock`] if `deadline` is [`NEVER`] and it would wait for a subscriber that only this thread can read;
    /// [`ErrorKind::Argument`] on a read-only handle.
    ///
    /// ```
    /// # use data_pubsub_shared::{monotonic_ns, Ring, Variant, Wait};
    /// let ring = Ring::anonymous(Variant::Int, 8, 0)?;
    /// let mut sub = ring.subscribe(false);
    /// ring.publish_int(1)?;
    /// let reading = std::thread::spawn(move || (sub.poll_int(), sub.poll_int()).0);
    /// assert_eq!(ring.wait_for_readers(monotonic_ns() + 60_000_000_000, || false)?, Wait::Ready);
    /// assert_eq!(reading.join().unwrap()?, Some(1));
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    pub fn wait_for_readers(&self, deadline: u64, stop: impl Fn() -> bool) -> Result<Wait> {
        self.check_writable()?;
        wait_for_readers(&self.ring, &self.mapping, deadline, stop)
    }

    /// Returns the readers that publishers of a lossless ring have to wait for now; empty if there is room for a message.
    ///
    /// ```
    /// # use data_pubsub_shared::{Options, Variant};
    /// let mut options = Options::new(2);
    /// options.lossless = true;
    /// let ring = options.anonymous(Variant::Int)?;
    /// let _reader = ring.subscribe(false);
    /// assert_eq!(ring.waiting_for(), []);
    /// ring.publish_ints(&[1, 2])?;
    /// assert_eq!(ring.waiting_for()[0].lag, 2);
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    pub fn waiting_for(&self) -> Vec<Reader> {
        self.mapping.readers.waited_for(1, &self.mapping.reading)
    }

    /// Returns the subscribers in the table of readers, in no particular order.
    ///
    /// ```
    /// # use data_pubsub_shared::{Ring, Variant};
    /// let ring = Ring::anonymous(Variant::Int, 8, 0)?;
    /// let _sub = ring.subscribe(false);
    /// assert_eq!(ring.readers()[0].pid, std::process::id());
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    pub fn readers(&self) -> Vec<Reader> {
        self.mapping.readers.list(&self.mapping.reading, self.read_only)
    }

    /// Removes the reader of this name from the table. Its subscriber must have been dropped, or its process must have exited.
    /// Returns `false` if the table has no reader of this name.
    ///
    /// # Errors
    /// [`ErrorKind::Busy`] if the reader is alive; [`ErrorKind::Argument`] if `name` is not 1 to 47 bytes without a NUL, and on a
    /// read-only handle.
    ///
    /// ```
    /// # use data_pubsub_shared::{Ring, SubscribeOptions, Variant};
    /// let ring = Ring::anonymous(Variant::Int, 8, 0)?;
    /// let audit = ring.subscribe_with(&SubscribeOptions::named("audit"))?;
    /// assert!(ring.forget("audit").is_err()); // it is alive
    /// drop(audit);
    /// assert!(ring.forget("audit")?);
    /// assert!(!ring.forget("audit")?);
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    pub fn forget(&self, name: &str) -> Result<bool> {
        self.check_writable()?;
        self.mapping.readers.forget(Name::new(name)?, &self.mapping.reading).map_err(|refused| match refused {
            Refused::Held(pid) => held(name, pid),
            Refused::Full | Refused::Unknowable => unreachable!("forget takes no entry"),
        })
    }

    #[inline(always)]
    fn check_fits(&self, count: u64) -> Result<()> {
        if count > self.capacity() && self.mapping.readers.lossless {
            let why = format!("{} messages at once never fit a lossless ring of capacity {}", count, self.capacity());
            return Err(refused(why));
        }
        Ok(())
    }

    #[inline(always)]
    fn check_writable(&self) -> Result<()> {
        if self.read_only {
            return Err(refused("this ring is read-only".to_owned()));
        }
        Ok(())
    }

    /// Wakes all subscribers that sleep until a message arrives. Does nothing on a read-only handle, which cannot publish.
    #[inline(always)]
    pub(crate) fn wake(&self) {
        if !self.read_only {
            self.ring.wake_sleepers();
        }
    }

    /// Publishes byte strings at adjacent positions, in order. On an error nothing was published, except on
    /// [`ErrorKind::Deadlock`].
    ///
    /// # Errors
    /// - [`ErrorKind::TooLong`] if a message is longer than `msg_size`.
    /// - [`ErrorKind::Interrupted`] if all spare blocks have been in use for a while: handle signals and call again.
    /// - [`ErrorKind::Full`] if a lossless ring has no room; see [`wait_for_room`](Self::wait_for_room).
    /// - [`ErrorKind::Incompatible`] if all spare blocks were lost because another process corrupted the ring.
    /// - [`ErrorKind::Argument`] on a ring of numbers, on a read-only handle, and for more messages than the capacity of a lossless
    ///   ring.
    /// - [`ErrorKind::Deadlock`] if only a part of the messages had room, and the rest would wait for a subscriber that only this
    ///   thread can read.
    ///
    /// # Safety
    /// The bytes of each message must be readable and unchanged during the call.
    ///
    /// ```
    /// # use data_pubsub_shared::{Bytes, Ring, Variant};
    /// let ring = Ring::anonymous(Variant::Str, 8, 100)?;
    /// // SAFETY: both strings are borrowed for longer than the call.
    /// unsafe { ring.publish_strs(&[Bytes::new(b"bytes"), Bytes::text("caf\u{e9}")])? };
    /// assert_eq!(ring.subscribe(true).poll_str()?, Some((b"bytes".to_vec(), false)));
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    #[inline(always)]
    pub unsafe fn publish_strs(&self, messages: &[Bytes]) -> Result<()> {
        let ring = self.check_strs(messages)?;
        self.check_fits(messages.len() as u64)?;
        loop {
            // SAFETY: the caller guarantees that the bytes are readable and unchanged.
            return match unsafe { ring.publish(messages, &self.mapping.members, &self.home) } {
                Ok(count) if count == messages.len() => {
                    self.ring.wake_sleepers();
                    Ok(())
                }
                Ok(0) if self.passes_the_dead(messages.len() as u64) => continue,
                Ok(0) => Err(full()),
                Ok(count) => {
                    self.ring.wake_sleepers();
                    // SAFETY: as above.
                    unsafe { self.publish_rest(&messages[count..]) }
                }
                Err(NoSpare::Interrupted) => {
                    Err(Error::new(ErrorKind::Interrupted, "interrupted while waiting for a spare block"))
                }
                Err(NoSpare::Damaged) => Err(Error::new(
                    ErrorKind::Incompatible,
                    "the ring is damaged: it has no spare block left; it recovers when one process opens it and publishes alone",
                )),
            };
        }
    }

    /// Returns the ring of strings. Fails with [`ErrorKind::TooLong`] if a message is longer than `msg_size`, and with
    /// [`ErrorKind::Argument`] on a ring of numbers or a read-only handle.
    #[inline(always)]
    pub(crate) fn check_strs(&self, messages: &[Bytes]) -> Result<&StrRing> {
        self.check_writable()?;
        let ring = match &self.ring {
            AnyRing::Str(ring) => ring,
            other => return Err(other.mismatch()),
        };
        for message in messages {
            if message.len as u64 > ring.msg_size() {
                return Err(Error::too_long(message.len, ring.msg_size()));
            }
        }
        Ok(ring)
    }

    /// Publishes the remaining messages of a batch whose first messages were published. Waits for a spare block and for room.
    ///
    /// # Safety
    /// As for [`publish_strs`](Self::publish_strs).
    #[cold]
    unsafe fn publish_rest(&self, messages: &[Bytes]) -> Result<()> {
        loop {
            // SAFETY: the caller guarantees that the bytes are readable and unchanged.
            match unsafe { self.publish_strs(messages) } {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::Full => {
                    self.wait_for_room(messages.len() as u64, NEVER, || false)?;
                }
                result => return result,
            }
        }
    }

    /// Publishes one byte string. Waits for a spare block, and for room in a lossless ring, even if signals arrive.
    ///
    /// # Errors
    /// As [`publish_strs`](Self::publish_strs), but never [`ErrorKind::Interrupted`] or [`ErrorKind::Full`];
    /// [`ErrorKind::Deadlock`] if it would wait for a subscriber that only this thread can read.
    ///
    /// ```
    /// # use data_pubsub_shared::{Ring, Variant};
    /// let ring = Ring::anonymous(Variant::Str, 8, 100)?;
    /// ring.publish_str(b"hello")?;
    /// assert!(ring.publish_str(&[0; 101]).is_err());
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    pub fn publish_str(&self, message: &[u8]) -> Result<()> {
        // SAFETY: the bytes are borrowed for the whole call.
        unsafe { self.publish_rest(&[Bytes::new(message)]) }
    }

    /// Makes a subscriber that reads from the next message to be published, or with `all` from the oldest message that the ring
    /// still holds.
    ///
    /// The subscriber gets an entry in the table of readers unless the table is full or the handle is read-only. Publishers of a
    /// lossless ring do not wait for a subscriber without an entry; [`subscribe_with`](Self::subscribe_with) fails instead.
    ///
    /// ```
    /// # use data_pubsub_shared::{Ring, Variant};
    /// let ring = Ring::anonymous(Variant::Int, 8, 0)?;
    /// ring.publish_int(1)?;
    /// let (mut from_now, mut from_oldest) = (ring.subscribe(false), ring.subscribe(true));
    /// assert_eq!((from_now.poll_int()?, from_oldest.poll_int()?), (None, Some(1)));
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    pub fn subscribe(&self, all: bool) -> Subscriber {
        self.subscribe_anyhow(all, 0)
    }

    /// Like [`subscribe`](Self::subscribe), for a reader that stays in one thread; see [`subscribe_in`](Self::subscribe_in).
    pub(crate) fn subscribe_anyhow(&self, all: bool, thread: u64) -> Subscriber {
        let subscribe = |lossy| self.subscribe_in(&SubscribeOptions { all, lossy, name: None }, thread);
        subscribe(false).or_else(|_| subscribe(true)).expect("a lossy reader needs no entry")
    }

    /// Makes a subscriber as `options` say: whether publishers of a lossless ring wait for it, and its name. A named subscriber
    /// continues where the last subscriber of that name stopped.
    ///
    /// ```
    /// use data_pubsub_shared::{Options, SubscribeOptions, Variant};
    ///
    /// let mut options = Options::new(8);
    /// options.lossless = true;
    /// let ring = options.anonymous(Variant::Int)?;
    /// let mut audit = ring.subscribe_with(&SubscribeOptions::named("audit"))?;
    /// ring.publish_ints(&[1, 2])?;
    /// assert_eq!((audit.poll_int()?, ring.readers()[0].lag), (Some(1), 1));
    /// drop(audit);
    /// let mut audit = ring.subscribe_with(&SubscribeOptions::named("audit"))?;
    /// assert_eq!(audit.poll_int()?, Some(2));
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    ///
    /// # Errors
    /// - [`ErrorKind::Busy`] if a reader of this name is alive, or the table of readers is full: only lossy subscribers without a
    ///   name, and those of rings that are not lossless, need no entry.
    /// - [`ErrorKind::Argument`] if the name is not 1 to 47 bytes without a NUL, and for a name on a read-only handle.
    /// - [`ErrorKind::Incompatible`] if other processes could not tell whether this reader of a lossless ring is alive.
    pub fn subscribe_with(&self, options: &SubscribeOptions<'_>) -> Result<Subscriber> {
        self.subscribe_in(options, 0)
    }

    /// Like [`subscribe_with`](Self::subscribe_with), for a reader that stays in the thread with this number; 0 for a reader that
    /// may move to another thread.
    pub(crate) fn subscribe_in(&self, options: &SubscribeOptions<'_>, thread: u64) -> Result<Subscriber> {
        let header = self.ring.header();
        let end = || header.write_pos.load(SeqCst);
        let start = |oldest| if options.all { oldest } else { end() };
        let name = options.name.map(Name::new).transpose()?;
        let wanted = Wanted { name, lossy: options.lossy, thread };
        let oldest = header.oldest(end(), self.mapping.geometry.capacity);
        let mut cursor = Cursor::of_ring(start(oldest), self.read_only);
        let seat = sit_down(&self.ring, &self.mapping, wanted, &mut cursor, start)?;
        Ok(Subscriber::new(self.ring, cursor, seat, self.notifier.clone(), Arc::clone(&self.mapping)))
    }

    /// Discards all messages published so far, in one atomic step. Positions that users see start at 0 again.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] on a read-only handle.
    ///
    /// ```
    /// # use data_pubsub_shared::{Ring, Variant};
    /// let ring = Ring::anonymous(Variant::Int, 8, 0)?;
    /// let mut sub = ring.subscribe(false);
    /// ring.publish_int(1)?;
    /// ring.clear()?;
    /// assert_eq!((sub.poll_int()?, ring.write_pos(), sub.overflow_count()), (None, 0, 0));
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    pub fn clear(&self) -> Result<()> {
        self.check_writable()?;
        self.ring.header().clear();
        Ok(())
    }

    /// Returns the number of slots, a power of two.
    ///
    /// ```
    /// # use data_pubsub_shared::{Ring, Variant};
    /// assert_eq!(Ring::anonymous(Variant::Int, 1000, 0)?.capacity(), 1024);
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    pub fn capacity(&self) -> u64 {
        self.mapping.geometry.capacity
    }

    /// Returns the maximum length of a message in bytes; 0 for rings of numbers.
    ///
    /// ```
    /// # use data_pubsub_shared::{Ring, Variant};
    /// assert_eq!(Ring::anonymous(Variant::Str, 8, 100)?.msg_size(), 100);
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    pub fn msg_size(&self) -> u64 {
        self.mapping.geometry.msg_size
    }

    /// Returns the number of positions claimed since the last clear.
    ///
    /// ```
    /// # use data_pubsub_shared::{Ring, Variant};
    /// let ring = Ring::anonymous(Variant::Int, 8, 0)?;
    /// ring.publish_ints(&[1, 2])?;
    /// assert_eq!(ring.write_pos(), 2);
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    pub fn write_pos(&self) -> u64 {
        self.ring.header().published()
    }

    /// Returns the path as it was given; `None` for rings in memory.
    ///
    /// ```
    /// # use data_pubsub_shared::{Ring, Variant};
    /// assert_eq!(Ring::anonymous(Variant::Int, 8, 0)?.path(), None);
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    pub fn path(&self) -> Option<&Path> {
        self.mapping.region.path()
    }

    /// Returns the descriptor of a ring made by [`memfd`](Self::memfd) or [`from_fd`](Self::from_fd), to pass to other processes;
    /// `None` for other rings, and if the program has closed it.
    ///
    /// ```
    /// # use data_pubsub_shared::{Ring, Variant};
    /// assert_eq!(Ring::anonymous(Variant::Int, 8, 0)?.as_memfd(), None);
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    pub fn as_memfd(&self) -> Option<RawFd> {
        self.mapping.region.memfd()
    }

    /// Writes the ring to its file and waits until the disk has it (`msync`).
    ///
    /// # Errors
    /// [`ErrorKind::System`] if `msync` fails.
    ///
    /// ```
    /// # use data_pubsub_shared::{Ring, Variant};
    /// let path = std::env::temp_dir().join(format!("synced-{}.ring", std::process::id()));
    /// let ring = Ring::open(Variant::Int, &path, 8, 0, 0o600)?;
    /// ring.publish_int(1)?;
    /// ring.sync()?;
    /// ring.unlink()?;
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    pub fn sync(&self) -> Result<()> {
        self.mapping.region.sync()
    }

    /// Returns sizes and counts of the ring.
    ///
    /// ```
    /// # use data_pubsub_shared::{Ring, Variant};
    /// let ring = Ring::anonymous(Variant::Int, 8, 0)?;
    /// ring.publish_int(1)?;
    /// assert_eq!((ring.stats().publish_ok, ring.stats().abandoned), (1, 0));
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    pub fn stats(&self) -> Stats {
        Stats::read(self.ring.header(), &self.mapping.geometry)
    }

    /// Returns the absolute position of the last clear; absolute positions are never reset.
    ///
    /// ```
    /// # use data_pubsub_shared::{Ring, Variant};
    /// let ring = Ring::anonymous(Variant::Int, 8, 0)?;
    /// ring.publish_ints(&[1, 2])?;
    /// ring.clear()?;
    /// assert_eq!(ring.base(), 2);
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    pub fn base(&self) -> u64 {
        self.ring.header().base()
    }

    /// The members that publish, and the ring of strings, for tests.
    #[cfg(test)]
    #[allow(dead_code)]
    pub(crate) fn inner(&self) -> (&crate::member::Members, &crate::str_ring::StrRing) {
        match &self.ring {
            AnyRing::Str(ring) => (&self.mapping.members, ring),
            _ => unreachable!("a ring of strings"),
        }
    }

    /// Returns the notifier: the eventfd that event loops watch. A subscriber gets a copy of its state at the time of its
    /// subscription.
    ///
    /// ```
    /// # use data_pubsub_shared::{Ring, Variant};
    /// let mut ring = Ring::anonymous(Variant::Int, 8, 0)?;
    /// ring.notifier().make()?;
    /// let mut sub = ring.subscribe(false);
    /// ring.publish_int(1)?;
    /// ring.notifier().notify()?;
    /// assert_eq!(sub.notifier().consume()?, Some(1));
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    pub fn notifier(&mut self) -> &mut Notifier {
        &mut self.notifier
    }
}

impl std::fmt::Debug for Ring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ring").field("mapping", &self.mapping).field("stats", &self.stats()).finish_non_exhaustive()
    }
}

/// Maximum number of positions of one claim: the maximum capacity of a ring.
const MAX_CLAIMED: usize = 1 << 31;

/// Options of [`Ring::subscribe_with`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SubscribeOptions<'a> {
    /// Start at the oldest message that the ring still holds. Default: start at the next message to be published.
    pub all: bool,
    /// Publishers of a lossless ring do not wait for this subscriber.
    pub lossy: bool,
    /// A name, 1 to 47 bytes without a NUL. The table of readers keeps the position of a named subscriber after it was dropped or
    /// its process exited; the next subscriber of this name continues there, and ignores `all`.
    pub name: Option<&'a str>,
}

impl<'a> SubscribeOptions<'a> {
    /// Options with this name and the default of every other option.
    ///
    /// ```
    /// # use data_pubsub_shared::SubscribeOptions;
    /// let mut options = SubscribeOptions::named("audit");
    /// options.all = true;
    /// assert!(!options.lossy);
    /// ```
    pub fn named(name: &'a str) -> Self {
        SubscribeOptions { name: Some(name), ..SubscribeOptions::default() }
    }
}

#[cold]
pub(crate) fn held(name: &str, pid: u32) -> Error {
    Error::new(ErrorKind::Busy, format!("reader {:?} lives in process {}", name, pid))
}

#[cold]
pub(crate) fn full() -> Error {
    Error::new(ErrorKind::Full, "the ring is full: a reader has not read the messages that would be overwritten")
}

#[cold]
fn refused(why: String) -> Error {
    Error::new(ErrorKind::Argument, why)
}

#[cfg(all(test, not(loom)))]
mod tests;
