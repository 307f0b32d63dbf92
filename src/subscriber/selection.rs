//! Asking for less than everything: by prefix, or the newest alone; and where what was delivered stood.

use std::sync::Arc;

use super::Subscriber;
use crate::any_ring::AnyRing;
use crate::error::Result;
use crate::filter::Filter;
use crate::layout::Stamp;
use crate::ring::Ring;
use crate::str_ring::Bytes;

impl Subscriber {
    /// From now on only strings are delivered that begin with one of the prefixes; with none, everything is. The others are passed
    /// without being copied, and counted in [`filtered`](Self::filtered); nothing wakes or is readable for them.
    ///
    /// Strings are compared by their characters: [`Bytes::utf8`] says what the bytes of a prefix are.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`](crate::ErrorKind::Argument) on a ring of another variant.
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
            // The pointer may be anything.
            0 => &[][..],
            // SAFETY: the caller vouches for the bytes.
            len => unsafe { std::slice::from_raw_parts(prefix.ptr, len) },
        };
        let filter = || Arc::new(Filter::new(prefixes.iter().map(|prefix| (bytes(prefix), prefix.utf8))));
        self.cursor.set_filter(if prefixes.is_empty() { None } else { Some(filter()) });
        self.attend(false);
        Ok(())
    }

    /// Messages that were passed because they begin with none of the [prefixes](Self::set_prefixes).
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

    /// Goes to the newest message (with [prefixes](Self::set_prefixes): that is wanted), if there is one that was not read yet:
    /// it is what is read next. What is passed counts as [`skipped`](Self::skipped) and not as lost.
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

    /// Positions that [`skip_to_newest`](Self::skip_to_newest) passed.
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

    /// The position of the message that was delivered last, counted from the last clear; None where there was none, or a clear
    /// came since.
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

    /// Who published the message that was delivered last, and when; None where there was none, or the ring is not stamped.
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

    /// Another handle on the ring that this subscriber reads, with the subscriber's notifier.
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
