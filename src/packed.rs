//! Packed numbers: batches of any length as bytes, in the host's byte order.
//!
//! Batches are published in pieces, each small enough to be committed before the claim timeout of readers.

use crate::any_ring::AnyRing;
use crate::cursor::Cursor;
use crate::error::{Error, ErrorKind, Result};
use crate::slot::Slot;
use crate::slot_ring::SlotRing;

/// The most positions of one claim.
pub(crate) const PIECE: usize = 8192;

impl AnyRing {
    /// The size of a number in bytes.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] on a string ring.
    #[inline(always)]
    pub(crate) fn packed_width(&self) -> Result<usize> {
        match self {
            AnyRing::Int(_) | AnyRing::Num(_) => Ok(8),
            AnyRing::Int32(_) => Ok(4),
            AnyRing::Int16(_) => Ok(2),
            AnyRing::Str(_) => Err(self.mismatch()),
        }
    }

    /// Publishes the numbers in `bytes`, and wakes waiters after each piece. Returns how many: a lossless ring may not have room
    /// for all. `owner` is that of [`SlotRing::put_all`].
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] on a string ring, and if the length is not a multiple of the size of a number.
    pub(crate) fn publish_packed(&self, bytes: &[u8], owner: Option<u32>) -> Result<usize> {
        let width = self.packed_width()?;
        if bytes.len() % width != 0 {
            let text = format!("{} bytes are not a whole number of values of {} bytes", bytes.len(), width);
            return Err(Error::new(ErrorKind::Argument, text));
        }
        Ok(match self {
            AnyRing::Int(ring) | AnyRing::Num(ring) => self.put_packed(ring, bytes, owner, u64::from_ne_bytes),
            AnyRing::Int32(ring) => self.put_packed(ring, bytes, owner, |value| u32::from_ne_bytes(value).into()),
            AnyRing::Int16(ring) => self.put_packed(ring, bytes, owner, |value| i16::from_ne_bytes(value) as u64),
            AnyRing::Str(_) => 0,
        })
    }

    fn put_packed<S: Slot, const N: usize>(
        &self,
        ring: &SlotRing<S>,
        bytes: &[u8],
        owner: Option<u32>,
        value: impl Fn([u8; N]) -> u64,
    ) -> usize {
        let mut done = 0;
        for piece in bytes.chunks(N * PIECE.min(ring.capacity() as usize)) {
            let count = piece.len() / N;
            let mut batch = match ring.claim(count as u64) {
                Some(batch) => batch,
                None => break,
            };
            let put = ring.put_all(&mut batch, count, owner, |i| {
                let mut bytes = [0; N];
                bytes.copy_from_slice(&piece[i * N..(i + 1) * N]);
                value(bytes)
            });
            self.wake_sleepers();
            done += put;
            if put != count {
                break;
            }
        }
        done
    }

    /// Delivers messages to `out`, whose length is a multiple of the size of a number. Returns how many, and whether it stopped at
    /// [`Next::More`](crate::cursor::Next::More).
    #[inline]
    pub(crate) fn read_packed(&self, cursor: &mut Cursor, out: &mut [u8]) -> (usize, bool) {
        match self {
            AnyRing::Int(ring) | AnyRing::Num(ring) => ring.read_all(cursor, whole(out), u64::to_ne_bytes),
            AnyRing::Int32(ring) => ring.read_all(cursor, whole(out), |value| (value as u32).to_ne_bytes()),
            AnyRing::Int16(ring) => ring.read_all(cursor, whole(out), |value| (value as u16).to_ne_bytes()),
            AnyRing::Str(_) => (0, false),
        }
    }

    /// Delivers messages to `out` until the next position does not simply hold one. Returns how many.
    #[inline]
    pub(crate) fn take_packed(&self, cursor: &mut Cursor, out: &mut [u8]) -> usize {
        match self {
            AnyRing::Int(ring) | AnyRing::Num(ring) => ring.take_all(cursor, whole(out), u64::to_ne_bytes),
            AnyRing::Int32(ring) => ring.take_all(cursor, whole(out), |value| (value as u32).to_ne_bytes()),
            AnyRing::Int16(ring) => ring.take_all(cursor, whole(out), |value| (value as u16).to_ne_bytes()),
            AnyRing::Str(_) => 0,
        }
    }
}

/// The bytes as arrays of N bytes, without a remainder.
fn whole<const N: usize>(bytes: &mut [u8]) -> &mut [[u8; N]] {
    // SAFETY: within `bytes`, which stay borrowed; arrays of bytes are aligned anywhere.
    unsafe { std::slice::from_raw_parts_mut(bytes.as_mut_ptr().cast(), bytes.len() / N) }
}
