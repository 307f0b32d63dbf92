//! Reading a selection: strings by prefix, or only the newest message. Also position and stamp of the last message.

use std::sync::Arc;

use super::Subscriber;
use crate::any_ring::AnyRing;
use crate::error::Result;
use crate::filter::Filter;
use crate::layout::Stamp;
use crate::ring::Ring;
use crate::str_ring::Bytes;

impl Subscriber {
    /// From now on, delivers only strings that begin with one of `prefixes`; if `prefixes` is empty, delivers all messages. Other
    /// messages are not copied, wake no call of this subscriber and do not make its descriptor readable;
    /// [`filtered`](Self::filtered) counts them.
    ///
    /// Strings are compared by their characters; [`Bytes::utf8`] tells whether the bytes of a prefix are UTF-8.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`](crate::ErrorKind::Argument) on a ring of another type.
    ///
    /// # Safety
    /// The bytes of each prefix must be readable during the call.
    ///
    /// ```
    /// # use data_pubsub_shared::{Bytes, Ring, Variant};
    /// let ring = Ring::anonymous(Variant::Str, 8, 100)?;
    /// let mut sub = ring.subscribe(false);
    /// // SAFETY: a borrowed slice.
    /// unsafe { sub.set_prefixes(&[Bytes::new(b"alarm/")])? };
    /// ring.publish_str(b"debug/x")?;
    /// ring.publish_str(b"alarm/fire")?;
    /// assert_eq!(sub.poll_str()?, Some((b"alarm/fire".to_vec(), false)));
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    pub unsafe fn set_prefixes(&mut self, prefixes: &[Bytes]) -> Result<()> {
        if !matches!(self.ring, AnyRing::Str(_)) {
            return Err(self.ring.mismatch());
        }
        let bytes = |prefix: &Bytes| match prefix.len {
            // The pointer may be anything, null included.
            0 => &[][..],
            // SAFETY: the caller guarantees that the bytes are readable.
            len => unsafe { std::slice::from_raw_parts(prefix.ptr, len) },
        };
        let filter = || Arc::new(Filter::new(prefixes.iter().map(|prefix| (bytes(prefix), prefix.utf8))));
        self.cursor.set_filter(if prefixes.is_empty() { None } else { Some(filter()) });
        self.attend(false);
        Ok(())
    }

    /// Returns the number of messages that were passed because they begin with none of the [prefixes](Self::set_prefixes).
    ///
    /// ```
    /// # use data_pubsub_shared::{Bytes, Ring, Variant};
    /// let ring = Ring::anonymous(Variant::Str, 8, 100)?;
    /// let mut sub = ring.subscribe(false);
    /// // SAFETY: a borrowed slice.
    /// unsafe { sub.set_prefixes(&[Bytes::new(b"alarm/")])? };
    /// ring.publish_str(b"debug/x")?;
    /// ring.publish_str(b"alarm/fire")?;
    /// sub.poll_str()?;
    /// assert_eq!((sub.filtered(), sub.overflow_count()), (1, 0));
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    pub fn filtered(&self) -> u64 {
        self.cursor.filtered()
    }

    /// Moves to the newest message that was not read yet, if there is one; with [prefixes](Self::set_prefixes), to the newest that
    /// begins with one of them. The positions before it count as [`skipped`](Self::skipped), not as lost.
    ///
    /// ```
    /// # use data_pubsub_shared::{Ring, Variant};
    /// let ring = Ring::anonymous(Variant::Int, 8, 0)?;
    /// let mut sub = ring.subscribe(false);
    /// ring.publish_ints(&[1, 2, 3])?;
    /// sub.skip_to_newest();
    /// assert_eq!(sub.poll_int()?, Some(3));
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    pub fn skip_to_newest(&mut self) {
        self.ring.skip_to_newest(&mut self.cursor);
        self.settle(true);
    }

    /// Returns the number of positions that [`skip_to_newest`](Self::skip_to_newest) has skipped.
    ///
    /// ```
    /// # use data_pubsub_shared::{Ring, Variant};
    /// let ring = Ring::anonymous(Variant::Int, 8, 0)?;
    /// let mut sub = ring.subscribe(false);
    /// ring.publish_ints(&[1, 2, 3])?;
    /// sub.skip_to_newest();
    /// assert_eq!(sub.skipped(), 2);
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    pub fn skipped(&self) -> u64 {
        self.cursor.skipped()
    }

    /// Returns the position of the last message delivered, counted from the last clear; `None` if no message was delivered, or
    /// the ring was cleared since.
    ///
    /// ```
    /// # use data_pubsub_shared::{Ring, Variant};
    /// let ring = Ring::anonymous(Variant::Int, 8, 0)?;
    /// let mut sub = ring.subscribe(false);
    /// assert_eq!(sub.position(), None);
    /// ring.publish_int(1)?;
    /// sub.poll_int()?;
    /// assert_eq!(sub.position(), Some(0));
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    pub fn position(&self) -> Option<u64> {
        self.cursor.last().checked_sub(1)?.checked_sub(self.ring.header().base())
    }

    /// Returns the publish time of the last message delivered and the pid of its publisher; `None` if no message was delivered,
    /// or the ring is not stamped.
    ///
    /// ```
    /// # use data_pubsub_shared::{Options, Variant};
    /// let mut options = Options::new(8);
    /// options.stamped = true;
    /// let ring = options.anonymous(Variant::Str)?;
    /// ring.publish_str(b"hello")?;
    /// let mut sub = ring.subscribe(true);
    /// sub.poll_str()?;
    /// assert_eq!(sub.stamp().map(|stamp| stamp.pid), Some(std::process::id()));
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    pub fn stamp(&self) -> Option<Stamp> {
        self.cursor.stamp()
    }

    /// Makes another handle on the ring that this subscriber reads, with the subscriber's notifier.
    ///
    /// ```
    /// # use data_pubsub_shared::{Ring, Variant};
    /// let ring = Ring::anonymous(Variant::Int, 8, 0)?;
    /// let mut sub = ring.subscribe(false);
    /// sub.ring().publish_int(1)?;
    /// assert_eq!(sub.poll_int()?, Some(1));
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    pub fn ring(&self) -> Ring {
        Ring::on(self.ring, &self.mapping, self.notifier.clone(), self.cursor.read_only())
    }
}
