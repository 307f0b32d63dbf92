//! Receiving less than everything: by prefix, or the newest alone; and what is known of the message that was received last.

use super::{Message, Subscriber, Text, TryRecvError};
use crate::{Bytes, Stamp};

impl<T: Message + ?Sized> Subscriber<T> {
    /// Goes to the newest message, if there is one that was not received yet: it is the next one. What is passed counts as
    /// [`skipped`](Self::skipped) and not as lost.
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

    /// The newest message that was not received yet, and everything before it is passed: for those who show a state, and need no
    /// history.
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

    /// Messages that [`skip_to_newest`](Self::skip_to_newest) and [`latest`](Self::latest) passed, in all.
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

    /// The position of the message that was received last, counted from the last clear; None where there was none, or a clear
    /// came since.
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
    /// From now on only messages are received that begin with one of the prefixes; with none, all are. The others are passed without
    /// being copied, wake nobody, and are counted in [`filtered`](Self::filtered).
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
        // SAFETY: they are borrowed for longer than the call.
        unsafe { self.erased().set_prefixes(&prefixes) }.expect("a ring of strings, as its type says");
    }

    /// Messages that were passed because they begin with none of the [prefixes](Self::set_prefixes).
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

    /// Who published the message that was received last, and when; None where there was none, or the ring is not
    /// [stamped](super::Builder::stamped).
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
