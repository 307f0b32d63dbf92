//! The publishing side.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use super::{deadline, AsMessage, Message};
use crate::{Result, Wait};

/// Publishes to a ring of `T`s; made by [`Ring::publisher`](super::Ring::publisher). Several threads and clones may publish at the
/// same time.
///
/// A publisher takes no lock, and waits for subscribers only in a [lossless](super::Builder::lossless) ring. A publisher that is
/// killed or stopped, at any instant, blocks no other process.
///
/// ```
/// use data_pubsub_shared::typed::Ring;
///
/// let ring = Ring::<i64>::builder().capacity(64).anonymous()?;
/// let mut subscriber = ring.subscribe();
/// let publisher = ring.publisher()?;
/// std::thread::scope(|scope| {
///     for i in 0..4 {
///         let publisher = &publisher;
///         scope.spawn(move || publisher.publish(i).unwrap());
///     }
/// });
/// let mut all: Vec<i64> = subscriber.try_iter().map(Result::unwrap).collect();
/// all.sort_unstable();
/// assert_eq!(all, [0, 1, 2, 3]);
/// # Ok::<(), data_pubsub_shared::Error>(())
/// ```
pub struct Publisher<T: Message + ?Sized> {
    ring: Arc<crate::Ring>,
    carries: PhantomData<fn(Box<T>)>,
}

impl<T: Message + ?Sized> Publisher<T> {
    pub(super) fn new(ring: Arc<crate::Ring>) -> Self {
        Publisher { ring, carries: PhantomData }
    }

    /// Publishes a message and wakes the subscribers that wait for one. The message is a number; for a ring of `str` any
    /// `AsRef<str>`; for a ring of `[u8]` any `AsRef<[u8]>`. In a lossless ring, waits for room.
    ///
    /// # Errors
    /// - [`ErrorKind::TooLong`](crate::ErrorKind::TooLong) if the message is longer than the ring's message size.
    /// - [`ErrorKind::Incompatible`](crate::ErrorKind::Incompatible) if the ring is damaged.
    /// - [`ErrorKind::Deadlock`](crate::ErrorKind::Deadlock) if it would wait for a subscriber that only this thread can read.
    ///
    /// Publishing a number never fails in a ring that is not lossless.
    ///
    /// ```
    /// use data_pubsub_shared::typed::Ring;
    ///
    /// let ring = Ring::<[u8]>::builder().capacity(16).anonymous()?;
    /// let mut subscriber = ring.subscribe();
    /// let publisher = ring.publisher()?;
    /// publisher.publish(b"bytes")?;
    /// publisher.publish(vec![1, 2, 3])?;
    /// publisher.publish("text")?;
    /// assert_eq!(subscriber.try_recv(), Ok(b"bytes".to_vec()));
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    #[inline]
    pub fn publish(&self, message: impl AsMessage<T>) -> Result<()> {
        message.publish(&self.ring)
    }

    /// Like [`publish`](Self::publish), without waiting for room. Returns `false`, and publishes nothing, if a lossless ring has no
    /// room.
    ///
    /// # Errors
    /// As [`publish`](Self::publish).
    ///
    /// ```
    /// use data_pubsub_shared::typed::Ring;
    ///
    /// let ring = Ring::<i64>::builder().capacity(2).lossless(true).anonymous()?;
    /// let mut subscriber = ring.subscribe();
    /// let publisher = ring.publisher()?;
    /// assert_eq!((publisher.try_publish(1)?, publisher.try_publish(2)?, publisher.try_publish(3)?), (true, true, false));
    /// assert_eq!(subscriber.try_recv(), Ok(1));
    /// assert!(publisher.try_publish(3)?);
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    #[inline]
    pub fn try_publish(&self, message: impl AsMessage<T>) -> Result<bool> {
        message.try_publish(&self.ring)
    }

    /// Publishes messages at adjacent positions, in order, and then wakes subscribers. Numbers are published in batches of 8192,
    /// or of the ring's capacity if that is less; the numbers of a batch are adjacent, unless readers could not wait for
    /// this publisher, or another one withholds slots (see [`Ring::publish_ints`](crate::Ring::publish_ints)).
    ///
    /// # Errors
    /// As [`publish`](Self::publish); [`ErrorKind::Argument`](crate::ErrorKind::Argument) for more strings than the capacity of a
    /// lossless ring. On an error nothing was published, except on `Deadlock`: some of the messages may have been published.
    ///
    /// ```
    /// use data_pubsub_shared::typed::Ring;
    ///
    /// let ring = Ring::<str>::builder().capacity(16).message_size(5).anonymous()?;
    /// let mut subscriber = ring.subscribe();
    /// let publisher = ring.publisher()?;
    /// publisher.publish_all(&["one", "two"])?;
    /// assert!(publisher.publish_all(&["three", "fourteen"]).is_err());
    /// assert_eq!(subscriber.try_iter().map(Result::unwrap).collect::<Vec<_>>(), ["one", "two"]);
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    #[inline]
    pub fn publish_all<M: AsMessage<T>>(&self, messages: &[M]) -> Result<()> {
        M::publish_all(messages, &self.ring)
    }

    /// Waits until the readers have read all messages published so far, for at most `timeout`. Returns `false` if the timeout has
    /// passed. In a lossless ring it waits for the readers in the table that are not lossy, in other rings for all readers in the
    /// table. It does not wait for readers whose process has exited.
    ///
    /// # Errors
    /// [`ErrorKind::Deadlock`](crate::ErrorKind::Deadlock) if it would wait forever (`Duration::MAX`) for a subscriber that only
    /// this thread can read.
    ///
    /// ```
    /// use data_pubsub_shared::typed::Ring;
    /// use std::time::Duration;
    ///
    /// let ring = Ring::<i64>::builder().capacity(8).anonymous()?;
    /// let mut subscriber = ring.subscribe();
    /// let publisher = ring.publisher()?;
    /// publisher.publish(1)?;
    /// let reading = std::thread::spawn(move || (subscriber.recv(), subscriber.try_recv()));
    /// assert!(publisher.wait_for_readers(Duration::from_secs(60))?);
    /// assert_eq!(reading.join().unwrap().0, Ok(1));
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    pub fn wait_for_readers(&self, timeout: Duration) -> Result<bool> {
        let deadline = deadline(timeout);
        loop {
            match self.ring.wait_for_readers(deadline, || false)? {
                Wait::Ready => return Ok(true),
                Wait::TimedOut => return Ok(false),
                _ => {}
            }
        }
    }
}

impl<T: Message + ?Sized> Clone for Publisher<T> {
    fn clone(&self) -> Self {
        Publisher::new(Arc::clone(&self.ring))
    }
}

impl<T: Message + ?Sized> fmt::Debug for Publisher<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Publisher").field(&self.ring).finish()
    }
}
