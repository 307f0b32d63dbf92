//! Exact reading: the positions of messages, and calls that stop at a gap instead of passing it. The base of [`crate::typed`], of
//! C's calls for one message, and of bindings of other languages.
//!
//! `take_*` read the message at the cursor, and never pass another position. If there is no message at the cursor,
//! [`Subscriber::advance`] moves to the next one and counts the messages lost on the way. So a caller knows of a loss between the
//! two messages where it occurred.

use super::Subscriber;
use crate::any_ring::{narrow, AnyRing};
use crate::cursor::Next;
use crate::error::Result;
use crate::layout::{round_up_8, Variant};

impl Subscriber {
    /// Returns the type of the ring's messages.
    ///
    /// ```
    /// use data_pubsub_shared::{Ring, Variant};
    ///
    /// let sub = Ring::anonymous(Variant::Int16, 8, 0)?.subscribe(false);
    /// assert_eq!(sub.variant(), Variant::Int16);
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    pub fn variant(&self) -> Variant {
        self.mapping.geometry.variant
    }

    /// Returns the maximum length of a message in bytes; 0 for rings of numbers.
    ///
    /// ```
    /// use data_pubsub_shared::{Ring, Variant};
    ///
    /// let sub = Ring::anonymous(Variant::Str, 8, 100)?.subscribe(false);
    /// assert_eq!(sub.msg_size(), 100);
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    pub fn msg_size(&self) -> u64 {
        self.mapping.geometry.msg_size
    }

    /// Returns the position before the cursor, that of the last message delivered, counted from the last clear; 0 if the ring was
    /// cleared since.
    ///
    /// ```
    /// use data_pubsub_shared::{Ring, Variant};
    ///
    /// let ring = Ring::anonymous(Variant::Int, 4, 0)?;
    /// let mut sub = ring.subscribe(true);
    /// ring.publish_ints(&[1, 2, 3, 4, 5, 6])?;
    /// assert_eq!((sub.poll_int()?, sub.last_position()), (Some(3), 2));
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    pub fn last_position(&self) -> u64 {
        self.cursor.next().saturating_sub(1).saturating_sub(self.ring.header().base())
    }

    /// Moves to the next message that the ring holds, without delivering it; [`overflow_count`](Self::overflow_count) then includes
    /// the messages lost before it. Returns `false` if there is no message now.
    ///
    /// ```
    /// use data_pubsub_shared::{Ring, Variant};
    ///
    /// let ring = Ring::anonymous(Variant::Int, 4, 0)?;
    /// let mut sub = ring.subscribe(true);
    /// assert!(!sub.advance());
    /// ring.publish_ints(&[1, 2, 3, 4, 5, 6])?;
    /// assert!(sub.advance());
    /// assert_eq!((sub.overflow_count(), sub.lag()), (2, 4));
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    pub fn advance(&mut self) -> bool {
        loop {
            match self.look() {
                Next::Ready(()) => return true,
                Next::Empty | Next::Claimed(_) => return false,
                Next::More => {}
            }
        }
    }

    /// Whether all messages before the absolute position `end` were read.
    pub(crate) fn has_passed(&self, end: u64) -> bool {
        self.cursor.room(self.ring.header(), end) == 0
    }

    /// Reads the integer at the cursor. Returns `None`, and passes nothing, if there is no message at the cursor:
    /// [`advance`](Self::advance) moves to the next message, if there is one.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`](crate::ErrorKind::Argument) on a ring of another type.
    ///
    /// ```
    /// use data_pubsub_shared::{Ring, Variant};
    ///
    /// let ring = Ring::anonymous(Variant::Int, 4, 0)?;
    /// let mut sub = ring.subscribe(true);
    /// ring.publish_ints(&[1, 2, 3, 4, 5, 6])?;
    /// assert_eq!((sub.take_int()?, sub.overflow_count()), (None, 0)); // overwritten
    /// assert!(sub.advance());
    /// assert_eq!((sub.take_int()?, sub.overflow_count()), (Some(3), 2));
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    #[inline(always)]
    pub fn take_int(&mut self) -> Result<Option<i64>> {
        let value = match &self.ring {
            AnyRing::Int(ring) => ring.at_hand(&self.cursor).map(|value| value as i64),
            AnyRing::Int32(ring) | AnyRing::Int16(ring) => ring.at_hand(&self.cursor).map(narrow),
            AnyRing::Str(_) | AnyRing::Num(_) => return Err(self.ring.mismatch()),
        };
        Ok(self.taken(value))
    }

    /// Reads the floating-point number at the cursor, as [`take_int`](Self::take_int) does.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`](crate::ErrorKind::Argument) on a ring of another type.
    ///
    /// ```
    /// use data_pubsub_shared::{Ring, Variant};
    ///
    /// let ring = Ring::anonymous(Variant::Num, 4, 0)?;
    /// let mut sub = ring.subscribe(true);
    /// ring.publish_num(1.5)?;
    /// assert_eq!((sub.take_num()?, sub.take_num()?), (Some(1.5), None));
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    #[inline(always)]
    pub fn take_num(&mut self) -> Result<Option<f64>> {
        let value = match &self.ring {
            AnyRing::Num(ring) => ring.at_hand(&self.cursor).map(f64::from_bits),
            _ => return Err(self.ring.mismatch()),
        };
        Ok(self.taken(value))
    }

    #[inline(always)]
    fn taken<T>(&mut self, value: Option<T>) -> Option<T> {
        if value.is_some() {
            self.cursor.pass_delivered(1);
            self.settle(true);
        }
        value
    }

    /// Reads numbers from the cursor on into `out`, in the format of [`Ring::publish_packed`](crate::Ring::publish_packed), until
    /// `out` is full or a position has no message to read. Returns how many numbers were read; 0 may mean that
    /// [`advance`](Self::advance) is needed.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`](crate::ErrorKind::Argument) on a string ring.
    ///
    /// ```
    /// use data_pubsub_shared::{Ring, Variant};
    ///
    /// let ring = Ring::anonymous(Variant::Int16, 4, 0)?;
    /// let mut sub = ring.subscribe(true);
    /// ring.publish_ints(&[1, 2, 3])?;
    /// let mut out = [0; 100];
    /// assert_eq!(sub.take_packed(&mut out)?, 3);
    /// assert_eq!(out[..2], 1i16.to_ne_bytes());
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    pub fn take_packed(&mut self, out: &mut [u8]) -> Result<usize> {
        let width = self.ring.packed_width()?;
        let room = out.len() / width * width;
        let count = self.ring.take_packed(&mut self.cursor, &mut out[..room]);
        self.settle(count != 0);
        Ok(count)
    }

    /// Reads the string at the cursor into `into`, which is overwritten, and returns its UTF-8 flag. Returns `None`, with `into`
    /// empty, if there is no message at the cursor, or if it was overwritten while it was copied and counts as lost:
    /// [`advance`](Self::advance) may find another message. With [prefixes](Self::set_prefixes), other messages are passed first.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`](crate::ErrorKind::Argument) on a ring of numbers.
    ///
    /// ```
    /// use data_pubsub_shared::{Ring, Variant};
    ///
    /// let ring = Ring::anonymous(Variant::Str, 4, 100)?;
    /// let mut sub = ring.subscribe(true);
    /// let mut bytes = Vec::new();
    /// assert_eq!(sub.take_str(&mut bytes)?, None);
    /// ring.publish_str(b"hello")?;
    /// assert_eq!(sub.take_str(&mut bytes)?, Some(false));
    /// assert_eq!(bytes, b"hello");
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    #[inline]
    pub fn take_str(&mut self, into: &mut Vec<u8>) -> Result<Option<bool>> {
        into.clear();
        if !matches!(self.ring, AnyRing::Str(_)) {
            return Err(self.ring.mismatch());
        }
        let found = match (self.at_hand(u64::MAX), self.cursor.filter()) {
            (Some(found), _) => found,
            (None, None) => return Ok(None),
            // With prefixes: pass the messages that begin with none of them.
            (None, Some(_)) => match self.look_for(u64::MAX)? {
                Next::Ready(found) => found,
                _ => return Ok(None),
            },
        };
        into.reserve(round_up_8(found.len() as u64) as usize);
        // SAFETY: `found` is the result of the last search, and the bytes are reserved; a successful copy has written all of them.
        unsafe {
            if !self.copy(&found, into.as_mut_ptr()) {
                return Ok(None);
            }
            into.set_len(found.len());
        }
        Ok(Some(found.utf8()))
    }
}
