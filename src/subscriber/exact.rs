//! Exact reading: what a message's place was, and how to stop at a gap instead of passing it. [`crate::typed`], C's calls for one
//! message and bindings of other languages are made of it.
//!
//! `take_*` read what is at the cursor and move nowhere else; where that is not simply there, [`Subscriber::advance`] goes
//! to the next message and counts what was lost on the way. So a loss is known between the two messages where it belongs.

use super::Subscriber;
use crate::any_ring::{narrow, AnyRing};
use crate::cursor::Next;
use crate::error::Result;
use crate::layout::{round_up_8, Variant};

impl Subscriber {
    /// What the ring carries.
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

    /// The longest message in bytes; 0 for numbers.
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

    /// The position of the message that was delivered last, counted from the last clear; 0 where that came later.
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

    /// Goes to the next message that the ring holds and delivers nothing; what was lost before it is in
    /// [`overflow_count`](Self::overflow_count) then. False where there is no message now.
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

    /// Whether nothing that stands before the inner position `end` is left to read.
    pub(crate) fn has_passed(&self, end: u64) -> bool {
        self.cursor.room(self.ring.header(), end) == 0
    }

    /// The integer at the cursor, if it is simply there; otherwise [`advance`](Self::advance) finds the next one, if there is
    /// one. Passes nothing and loses nothing.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`](crate::ErrorKind::Argument) on a string ring.
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

    /// The floating-point number at the cursor, as [`take_int`](Self::take_int).
    ///
    /// # Errors
    /// [`ErrorKind::Argument`](crate::ErrorKind::Argument) on a ring of another variant.
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

    /// Numbers from the cursor on, as many as are simply there and fit into `out`, in the form of
    /// [`Ring::publish_packed`](crate::Ring::publish_packed). Passes nothing and loses nothing. Returns how many numbers.
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

    /// The string at the cursor, in the place of what `into` holds, if it is simply there: Some, with its flag as the publisher
    /// gave it. Passes nothing; a message that was overwritten while it was copied is lost, and `into` is empty.
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
            // What is not wanted is passed.
            (None, Some(_)) => match self.look_for(u64::MAX)? {
                Next::Ready(found) => found,
                _ => return Ok(None),
            },
        };
        into.reserve(round_up_8(found.len() as u64) as usize);
        // SAFETY: just found, and the room is there; a copy that was whole has written as many bytes.
        unsafe {
            if !self.copy(&found, into.as_mut_ptr()) {
                return Ok(None);
            }
            into.set_len(found.len());
        }
        Ok(Some(found.utf8()))
    }
}
