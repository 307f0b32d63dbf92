//! The receiving side.

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use super::message::{check_variant, take_all};
use super::{deadline, IntoIter, Iter, Message, Number, RecvError, RecvTimeoutError, TryIter, TryRecvError, Watched};
use crate::{Result, Wait, NEVER};

/// Receives the messages of a ring of `T`s; made by [`Ring::subscribe`](super::Ring::subscribe).
///
/// Each subscriber has a cursor of its own and receives every message. No other process slows it down, and unless the ring is
/// lossless, it slows down no other process. A subscriber that falls behind is told how many messages it lost, at the place of the
/// gap. It keeps the ring mapped.
///
/// ```
/// use data_pubsub_shared::typed::{RecvError, Ring};
///
/// let ring = Ring::<str>::builder().capacity(2).anonymous()?;
/// let mut subscriber = ring.subscribe();
/// ring.publisher()?.publish_all(&["one", "two", "three"])?;
/// assert_eq!(subscriber.recv(), Err(RecvError::Lagged(1)));
/// assert_eq!(subscriber.recv(), Ok("two".to_owned()));
/// assert_eq!((subscriber.lag(), subscriber.lost()), (1, 1));
/// # Ok::<(), data_pubsub_shared::Error>(())
/// ```
pub struct Subscriber<T: Message + ?Sized> {
    sub: crate::Subscriber,
    /// The number of lost messages that the caller has been told.
    told: u64,
    /// An error that ended a batch: the next call returns it.
    held: Option<TryRecvError>,
    carries: PhantomData<fn() -> Box<T>>,
}

impl<T: Message + ?Sized> Subscriber<T> {
    pub(super) fn new(sub: crate::Subscriber) -> Self {
        Subscriber { told: sub.overflow_count(), held: None, sub, carries: PhantomData }
    }

    /// Converts a subscriber of the crate's root into a typed one. Its losses so far are not reported again.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`](crate::ErrorKind::Argument) if the ring does not carry `T`s.
    ///
    /// ```
    /// use data_pubsub_shared::typed::Subscriber;
    /// use data_pubsub_shared::{Ring, Variant};
    ///
    /// let ring = Ring::anonymous(Variant::Int, 8, 0)?;
    /// let mut subscriber = Subscriber::<i64>::from_erased(ring.subscribe(false))?;
    /// ring.publish_int(3)?;
    /// assert_eq!(subscriber.try_recv(), Ok(3));
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    pub fn from_erased(sub: crate::Subscriber) -> Result<Self> {
        check_variant::<T>(sub.variant())?;
        Ok(Self::new(sub))
    }

    /// Receives the next message, without waiting.
    ///
    /// # Errors
    /// [`TryRecvError::Empty`] if there is no message, [`TryRecvError::Lagged`] at a gap (the next call returns the message after
    /// it), [`TryRecvError::InvalidUtf8`] for a `str` that is not UTF-8.
    ///
    /// ```
    /// use data_pubsub_shared::typed::{Ring, TryRecvError};
    ///
    /// let ring = Ring::<i64>::builder().capacity(8).anonymous()?;
    /// let mut subscriber = ring.subscribe();
    /// assert_eq!(subscriber.try_recv(), Err(TryRecvError::Empty));
    /// ring.publisher()?.publish(1)?;
    /// assert_eq!(subscriber.try_recv(), Ok(1));
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    #[inline]
    pub fn try_recv(&mut self) -> std::result::Result<T::Owned, TryRecvError> {
        let mut message = T::Owned::default();
        self.try_recv_into(&mut message).map(|()| message)
    }

    /// Like [`try_recv`](Self::try_recv), but stores the message in `message`. A `String` or `Vec<u8>` is overwritten and keeps its
    /// allocation for the next message.
    ///
    /// # Errors
    /// As [`try_recv`](Self::try_recv). The content of `message` is unspecified then.
    ///
    /// ```
    /// use data_pubsub_shared::typed::Ring;
    ///
    /// let ring = Ring::<str>::builder().capacity(8).anonymous()?;
    /// let mut subscriber = ring.subscribe();
    /// ring.publisher()?.publish_all(&["a", "b", "c"])?;
    /// let (mut message, mut all) = (String::new(), String::new());
    /// while subscriber.try_recv_into(&mut message).is_ok() {
    ///     all += &message;
    /// }
    /// assert_eq!(all, "abc");
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    #[inline]
    pub fn try_recv_into(&mut self, message: &mut T::Owned) -> std::result::Result<(), TryRecvError> {
        loop {
            if self.is_untold() {
                return Err(self.untold());
            }
            if T::take(&mut self.sub, message)? {
                return Ok(());
            }
            if !self.sub.advance() && self.sub.overflow_count() == self.told {
                return Err(TryRecvError::Empty);
            }
        }
    }

    /// The error or loss that the caller has not been told yet.
    #[cold]
    fn untold(&mut self) -> TryRecvError {
        self.held.take().unwrap_or_else(|| {
            let lost = self.sub.overflow_count();
            TryRecvError::Lagged(lost - std::mem::replace(&mut self.told, lost))
        })
    }

    /// Appends messages to `buffer`, in order, until `limit` messages were received, a gap is reached, or there are no more
    /// messages. Returns how many were received; `Ok(0)` only for a `limit` of 0.
    ///
    /// # Errors
    /// As [`try_recv`](Self::try_recv), if no message was received before the error. Otherwise the next call returns the error.
    ///
    /// ```
    /// use data_pubsub_shared::typed::{Ring, TryRecvError};
    ///
    /// let ring = Ring::<str>::builder().capacity(4).anonymous()?;
    /// let mut subscriber = ring.subscribe();
    /// ring.publisher()?.publish_all(&["a", "b", "c"])?;
    /// let mut words = Vec::new();
    /// assert_eq!(subscriber.try_recv_many(&mut words, 2), Ok(2));
    /// assert_eq!(subscriber.try_recv_many(&mut words, 2), Ok(1));
    /// assert_eq!(subscriber.try_recv_many(&mut words, 2), Err(TryRecvError::Empty));
    /// assert_eq!(words, ["a", "b", "c"]);
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    pub fn try_recv_many(
        &mut self,
        buffer: &mut Vec<T::Owned>,
        limit: usize,
    ) -> std::result::Result<usize, TryRecvError> {
        let start = buffer.len();
        while buffer.len() - start < limit {
            match self.try_recv() {
                Ok(message) => buffer.push(message),
                Err(error) if buffer.len() == start => return Err(error),
                Err(error) => {
                    self.hold(error);
                    break;
                }
            }
        }
        Ok(buffer.len() - start)
    }

    /// Keeps an error for the next call. `Empty` is not kept: the next call checks again.
    fn hold(&mut self, error: TryRecvError) {
        self.held = Some(error).filter(|error| *error != TryRecvError::Empty);
    }

    /// Receives the next message, and sleeps until there is one. Signals do not end the wait.
    ///
    /// # Errors
    /// [`RecvError::Lagged`] at a gap, [`RecvError::Gone`] if there is no message and the ring's file was removed or replaced,
    /// [`RecvError::InvalidUtf8`] for a `str` that is not UTF-8.
    ///
    /// ```
    /// use data_pubsub_shared::typed::Ring;
    ///
    /// let ring = Ring::<i64>::builder().capacity(8).anonymous()?;
    /// let mut subscriber = ring.subscribe();
    /// let publisher = ring.publisher()?;
    /// std::thread::spawn(move || publisher.publish(5));
    /// assert_eq!(subscriber.recv(), Ok(5));
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    pub fn recv(&mut self) -> std::result::Result<T::Owned, RecvError> {
        let mut message = T::Owned::default();
        match self.recv_until(&mut message, NEVER)? {
            true => Ok(message),
            false => Err(RecvError::Gone), // the clock never reaches NEVER
        }
    }

    /// Receives the next message, and sleeps until there is one, for at most `timeout`. With a timeout of 0 it does not sleep.
    ///
    /// # Errors
    /// [`RecvTimeoutError::Timeout`] if the timeout has passed; otherwise as [`recv`](Self::recv).
    ///
    /// ```
    /// use data_pubsub_shared::typed::{Ring, RecvTimeoutError};
    /// use std::time::Duration;
    ///
    /// let ring = Ring::<i64>::builder().capacity(8).anonymous()?;
    /// let mut subscriber = ring.subscribe();
    /// assert_eq!(subscriber.recv_timeout(Duration::ZERO), Err(RecvTimeoutError::Timeout));
    /// ring.publisher()?.publish(5)?;
    /// assert_eq!(subscriber.recv_timeout(Duration::from_secs(1)), Ok(5));
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    pub fn recv_timeout(&mut self, timeout: Duration) -> std::result::Result<T::Owned, RecvTimeoutError> {
        let mut message = T::Owned::default();
        match self.recv_until(&mut message, deadline(timeout))? {
            true => Ok(message),
            false => Err(RecvTimeoutError::Timeout),
        }
    }

    /// Like [`try_recv_into`](Self::try_recv_into), and sleeps until there is a message. Returns `false` if the clock has reached
    /// `deadline`.
    fn recv_until(&mut self, message: &mut T::Owned, deadline: u64) -> std::result::Result<bool, RecvError> {
        loop {
            match self.try_recv_into(message).map_err(TryRecvError::final_error) {
                Ok(()) => return Ok(true),
                Err(Some(error)) => return Err(error),
                Err(None) => {}
            }
            match self.sub.wait(deadline) {
                Wait::Ready | Wait::Interrupted => {}
                // Messages may have been lost during the wait.
                Wait::TimedOut | Wait::Gone if self.sub.overflow_count() != self.told => {}
                Wait::TimedOut => return Ok(false),
                Wait::Gone => return Err(RecvError::Gone),
            }
        }
    }

    /// Returns an iterator over messages and gaps that sleeps until the next message arrives. It ends when the ring's file was
    /// removed or replaced and all messages in it were read.
    ///
    /// ```
    /// use data_pubsub_shared::typed::Ring;
    ///
    /// let ring = Ring::<i64>::builder().capacity(8).anonymous()?;
    /// let mut subscriber = ring.subscribe();
    /// ring.publisher()?.publish_all(&[1, 2, 3])?;
    /// let sum: i64 = subscriber.iter().take(3).map(Result::unwrap).sum();
    /// assert_eq!(sum, 6);
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    pub fn iter(&mut self) -> Iter<'_, T> {
        Iter::new(self)
    }

    /// Returns an iterator over the messages published so far, and gaps among them. It does not sleep.
    ///
    /// ```
    /// use data_pubsub_shared::typed::{RecvError, Ring};
    ///
    /// let ring = Ring::<i64>::builder().capacity(2).anonymous()?;
    /// let mut subscriber = ring.subscribe();
    /// ring.publisher()?.publish_all(&[1, 2, 3])?;
    /// let all: Vec<_> = subscriber.try_iter().collect();
    /// assert_eq!(all, [Err(RecvError::Lagged(1)), Ok(2), Ok(3)]);
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    pub fn try_iter(&mut self) -> TryIter<'_, T> {
        let end = self.sub.end();
        TryIter::new(self, end)
    }

    /// Whether all messages before `end` (see [`crate::Subscriber::end`]) were read.
    pub(super) fn has_passed(&self, end: u64) -> bool {
        self.sub.has_passed(end)
    }

    /// Adds a file descriptor that is readable while there are messages, for `poll`, `epoll` and event loops.
    ///
    /// # Errors
    /// [`ErrorKind::System`](crate::ErrorKind::System) if there are no descriptors or threads left.
    ///
    /// ```
    /// use data_pubsub_shared::typed::Ring;
    /// use std::os::unix::io::AsRawFd;
    ///
    /// let ring = Ring::<i64>::builder().capacity(8).anonymous()?;
    /// let mut watched = ring.subscribe().watched()?;
    /// ring.publisher()?.publish(1)?;
    /// assert!(watched.as_raw_fd() >= 0);
    /// assert_eq!(watched.try_recv(), Ok(1));
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    pub fn watched(self) -> Result<Watched<T>> {
        Watched::new(self)
    }

    /// Returns the subscriber as the type of the crate's root, for calls that only that one has. Messages that it loses during such
    /// calls are reported by the next receiving call.
    ///
    /// ```
    /// use data_pubsub_shared::typed::Ring;
    ///
    /// let ring = Ring::<i64>::builder().capacity(8).anonymous()?;
    /// let mut subscriber = ring.subscribe();
    /// assert!(!subscriber.erased().advance());
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    pub fn erased(&mut self) -> &mut crate::Subscriber {
        &mut self.sub
    }

    /// Like [`erased`](Self::erased), by shared reference.
    pub(super) fn as_erased(&self) -> &crate::Subscriber {
        &self.sub
    }

    /// Whether a loss or an error must be returned before the next message.
    pub(super) fn is_untold(&self) -> bool {
        self.sub.overflow_count() != self.told || self.held.is_some()
    }

    /// Returns the number of messages published and not yet received, including those already overwritten.
    ///
    /// ```
    /// # use data_pubsub_shared::typed::Ring;
    /// let ring = Ring::<i64>::builder().capacity(8).anonymous()?;
    /// let subscriber = ring.subscribe();
    /// ring.publisher()?.publish_all(&[1, 2])?;
    /// assert_eq!(subscriber.lag(), 2);
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    pub fn lag(&self) -> u64 {
        self.sub.lag()
    }

    /// Returns the number of messages that were overwritten before this subscriber read them.
    ///
    /// ```
    /// # use data_pubsub_shared::typed::Ring;
    /// let ring = Ring::<i64>::builder().capacity(2).anonymous()?;
    /// let mut subscriber = ring.subscribe();
    /// ring.publisher()?.publish_all(&[1, 2, 3, 4])?;
    /// assert!(subscriber.try_recv().is_err());
    /// assert_eq!(subscriber.lost(), 2);
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    pub fn lost(&self) -> u64 {
        self.sub.overflow_count()
    }

    /// Returns the position of the next message to receive, counted from the last clear.
    ///
    /// ```
    /// # use data_pubsub_shared::typed::Ring;
    /// let ring = Ring::<i64>::builder().capacity(8).anonymous()?;
    /// ring.publisher()?.publish_all(&[1, 2])?;
    /// assert_eq!(ring.subscribe().position(), 2);
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    pub fn position(&self) -> u64 {
        self.sub.cursor()
    }

    /// Moves to `position`, counted from the last clear (0 ..= 2^63 - 1). Beyond the write position, the subscriber waits until
    /// that position is published. Before the oldest message that the ring holds, the overwritten messages count as lost.
    ///
    /// ```
    /// # use data_pubsub_shared::typed::Ring;
    /// let ring = Ring::<i64>::builder().capacity(8).anonymous()?;
    /// let mut subscriber = ring.subscribe();
    /// ring.publisher()?.publish_all(&[10, 11, 12])?;
    /// subscriber.seek(1);
    /// assert_eq!(subscriber.try_recv(), Ok(11));
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    pub fn seek(&mut self, position: u64) {
        self.sub.seek(position);
    }

    /// Moves to the write position: only messages published from now on are received. Messages passed by do not count as lost.
    ///
    /// ```
    /// # use data_pubsub_shared::typed::{Ring, TryRecvError};
    /// let ring = Ring::<i64>::builder().capacity(8).anonymous()?;
    /// let mut subscriber = ring.subscribe();
    /// ring.publisher()?.publish(10)?;
    /// subscriber.skip_to_end();
    /// assert_eq!(subscriber.try_recv(), Err(TryRecvError::Empty));
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    pub fn skip_to_end(&mut self) {
        self.sub.reset();
    }

    /// Moves to the oldest message that the ring holds; messages already received are received again.
    ///
    /// ```
    /// # use data_pubsub_shared::typed::Ring;
    /// let ring = Ring::<i64>::builder().capacity(8).anonymous()?;
    /// let mut subscriber = ring.subscribe();
    /// ring.publisher()?.publish(10)?;
    /// assert_eq!(subscriber.try_recv(), Ok(10));
    /// subscriber.rewind();
    /// assert_eq!(subscriber.try_recv(), Ok(10));
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    pub fn rewind(&mut self) {
        self.sub.reset_oldest();
    }

    /// Whether the ring's file was removed, or another file took its path. Always false for rings in memory.
    ///
    /// ```
    /// # use data_pubsub_shared::typed::Ring;
    /// let path = std::env::temp_dir().join(format!("gone-{}.ring", std::process::id()));
    /// let ring = Ring::<i64>::builder().capacity(8).open(&path)?;
    /// let subscriber = ring.subscribe();
    /// ring.unlink()?;
    /// assert!(subscriber.is_gone());
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    pub fn is_gone(&self) -> bool {
        self.sub.is_gone()
    }

    /// Switches to the ring that the path leads to now, at its oldest message. The counts of this subscriber continue.
    ///
    /// # Errors
    /// As [`Ring::open`](super::Ring::open) and [`Ring::subscribe_with`](super::Ring::subscribe_with);
    /// [`ErrorKind::Argument`](crate::ErrorKind::Argument) if the ring has no path. On an error the subscriber still reads the old
    /// ring.
    ///
    /// ```
    /// # use data_pubsub_shared::typed::Ring;
    /// let path = std::env::temp_dir().join(format!("reopen-{}.ring", std::process::id()));
    /// let ring = Ring::<i64>::builder().capacity(8).open(&path)?;
    /// let mut subscriber = ring.subscribe();
    /// ring.unlink()?;
    /// let next = Ring::<i64>::builder().capacity(8).open(&path)?;
    /// next.publisher()?.publish(1)?;
    /// subscriber.reopen()?;
    /// assert_eq!(subscriber.try_recv(), Ok(1));
    /// next.unlink()?;
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    pub fn reopen(&mut self) -> Result<()> {
        self.sub.reopen()
    }
}

impl<T: Number> Subscriber<T> {
    /// Fills `out` from its beginning, in order, until it is full, a gap is reached, or there are no more messages. Returns how
    /// many were received; `Ok(0)` only if `out` is empty.
    ///
    /// # Errors
    /// As [`try_recv`](Self::try_recv), if no message was received before the error. Otherwise the next call returns the error.
    ///
    /// ```
    /// # use data_pubsub_shared::typed::{Ring, TryRecvError};
    /// let ring = Ring::<i32>::builder().capacity(4).anonymous()?;
    /// let mut subscriber = ring.subscribe();
    /// ring.publisher()?.publish_all(&[1, 2, 3, 4, 5])?;
    /// let mut out = [0; 10];
    /// assert_eq!(subscriber.try_recv_slice(&mut out), Err(TryRecvError::Lagged(1)));
    /// assert_eq!(subscriber.try_recv_slice(&mut out), Ok(4));
    /// assert_eq!(out[..4], [2, 3, 4, 5]);
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    pub fn try_recv_slice(&mut self, out: &mut [T]) -> std::result::Result<usize, TryRecvError> {
        let mut count = 0;
        while count < out.len() {
            match (self.is_untold(), count) {
                (true, 0) => return Err(self.untold()),
                (true, _) => break, // the next call returns it
                (false, _) => {}
            }
            let taken = take_all(&mut self.sub, &mut out[count..]);
            count += taken;
            if taken == 0 && !self.sub.advance() && self.sub.overflow_count() == self.told {
                return if count == 0 { Err(TryRecvError::Empty) } else { Ok(count) };
            }
        }
        Ok(count)
    }
}

impl<T: Message + ?Sized> IntoIterator for Subscriber<T> {
    type Item = std::result::Result<T::Owned, RecvError>;
    type IntoIter = IntoIter<T>;

    fn into_iter(self) -> IntoIter<T> {
        IntoIter::new(self)
    }
}

impl<'a, T: Message + ?Sized> IntoIterator for &'a mut Subscriber<T> {
    type Item = std::result::Result<T::Owned, RecvError>;
    type IntoIter = Iter<'a, T>;

    fn into_iter(self) -> Iter<'a, T> {
        self.iter()
    }
}

impl<T: Message + ?Sized> fmt::Debug for Subscriber<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Subscriber").field(&self.sub).finish()
    }
}
