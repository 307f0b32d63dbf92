//! Receiving a selection: strings by prefix, or only the newest message. Also position and stamp of the last message.

use super::{Message, Subscriber, Text, TryRecvError};
use crate::{Bytes, Stamp};

impl<T: Message + ?Sized> Subscriber<T> {
    /// Moves to the newest message that was not received yet, if there is one. The messages before it count as
    /// [`skipped`](Self::skipped), not as lost.
    ///
    /// ```
    /// # use data_pubsub_shared::typed::Ring;
    /// let ring = Ring::<i64>::builder().capacity(8).anonymous()?;
    /// let mut subscriber = ring.subscribe();
    /// ring.publisher()?.publish_all(&[1, 2, 3])?;
    /// subscriber.skip_to_newest();
    /// assert_eq!((subscriber.try_recv(), subscriber.skipped()), (Ok(3), 2));
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    pub fn skip_to_newest(&mut self) {
        self.erased().skip_to_newest();
    }

    /// Receives the newest message that was not received yet, and skips the messages before it. For programs that show a state and
    /// need no history.
    ///
    /// # Errors
    /// As [`try_recv`](Self::try_recv).
    ///
    /// ```
    /// # use data_pubsub_shared::typed::{Ring, TryRecvError};
    /// let ring = Ring::<f64>::builder().capacity(8).anonymous()?;
    /// let mut subscriber = ring.subscribe();
    /// ring.publisher()?.publish_all(&[20.1, 20.4, 20.2])?;
    /// assert_eq!(subscriber.latest(), Ok(20.2));
    /// assert_eq!(subscriber.latest(), Err(TryRecvError::Empty));
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    pub fn latest(&mut self) -> std::result::Result<T::Owned, TryRecvError> {
        self.skip_to_newest();
        self.try_recv()
    }

    /// Returns the number of messages that [`skip_to_newest`](Self::skip_to_newest) and [`latest`](Self::latest) have skipped.
    ///
    /// ```
    /// # use data_pubsub_shared::typed::Ring;
    /// let ring = Ring::<i64>::builder().capacity(2).anonymous()?;
    /// let mut subscriber = ring.subscribe();
    /// ring.publisher()?.publish_all(&[1, 2, 3, 4])?;
    /// assert_eq!(subscriber.latest(), Ok(4));
    /// assert_eq!((subscriber.skipped(), subscriber.lost()), (3, 0));
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    pub fn skipped(&self) -> u64 {
        self.as_erased().skipped()
    }

    /// Returns the position of the last message received, counted from the last clear; `None` if no message was received, or the
    /// ring was cleared since.
    ///
    /// ```
    /// # use data_pubsub_shared::typed::Ring;
    /// let ring = Ring::<i64>::builder().capacity(8).anonymous()?;
    /// let mut subscriber = ring.subscribe();
    /// ring.publisher()?.publish_all(&[10, 11])?;
    /// assert_eq!(subscriber.last_position(), None);
    /// assert_eq!((subscriber.latest(), subscriber.last_position()), (Ok(11), Some(1)));
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    pub fn last_position(&self) -> Option<u64> {
        self.as_erased().position()
    }
}

impl<T: Text + ?Sized> Subscriber<T> {
    /// From now on, receives only messages that begin with one of `prefixes`; if `prefixes` is empty, receives all messages. Other
    /// messages are not copied and do not wake this subscriber; [`filtered`](Self::filtered) counts them.
    ///
    /// ```
    /// # use data_pubsub_shared::typed::Ring;
    /// let ring = Ring::<str>::builder().capacity(8).anonymous()?;
    /// let mut subscriber = ring.subscribe();
    /// subscriber.set_prefixes(&["alarm/", "error/"]);
    /// ring.publisher()?.publish_all(&["debug/x", "error/y", "debug/z", "alarm/w"])?;
    /// assert_eq!(subscriber.try_recv().as_deref(), Ok("error/y"));
    /// assert_eq!(subscriber.try_recv().as_deref(), Ok("alarm/w"));
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    pub fn set_prefixes<P: AsRef<T>>(&mut self, prefixes: &[P]) {
        let prefixes: Vec<Bytes> = prefixes.iter().map(|prefix| prefix.as_ref().bytes()).collect();
        // SAFETY: the prefixes are borrowed for longer than the call.
        unsafe { self.erased().set_prefixes(&prefixes) }.expect("a ring of strings, as its type says");
    }

    /// Returns the number of messages that were passed because they begin with none of the [prefixes](Self::set_prefixes).
    ///
    /// ```
    /// # use data_pubsub_shared::typed::Ring;
    /// let ring = Ring::<[u8]>::builder().capacity(8).anonymous()?;
    /// let mut subscriber = ring.subscribe();
    /// subscriber.set_prefixes(&[b"\x01"]);
    /// ring.publisher()?.publish_all(&[b"\x00a", b"\x01b"])?;
    /// assert_eq!(subscriber.try_recv(), Ok(b"\x01b".to_vec()));
    /// assert_eq!((subscriber.filtered(), subscriber.lost()), (1, 0));
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    pub fn filtered(&self) -> u64 {
        self.as_erased().filtered()
    }

    /// Returns the publish time of the last message received and the pid of its publisher; `None` if no message was received, or
    /// the ring is not [stamped](super::Builder::stamped).
    ///
    /// ```
    /// # use data_pubsub_shared::typed::Ring;
    /// let ring = Ring::<str>::builder().capacity(8).stamped(true).anonymous()?;
    /// let mut subscriber = ring.subscribe();
    /// ring.publisher()?.publish("hello")?;
    /// assert_eq!(subscriber.stamp(), None);
    /// assert_eq!(subscriber.recv().as_deref(), Ok("hello"));
    /// let stamp = subscriber.stamp().expect("of the message just received");
    /// assert_eq!(stamp.pid, std::process::id());
    /// assert!(stamp.time().elapsed().is_ok());
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    pub fn stamp(&self) -> Option<Stamp> {
        self.as_erased().stamp()
    }
}
