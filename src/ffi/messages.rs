//! C functions for one message at a time, of any variant, and for batches that take several steps in [`super`].

use std::os::raw::c_char;
use std::os::raw::c_int;

use super::{hand_over, items, report, Failure};
use crate::cursor::Next;
use crate::error::{Error, ErrorKind, Result};
use crate::layout::{round_up_8, Variant};
use crate::ring::Ring;
use crate::str_ring::{Bytes, Found};
use crate::subscriber::Subscriber;

/// The ABI version, which is also in the library's name. It changes when programs compiled with an older header stop working.
const ABI: u32 = 1;

/// `ps_message`.
#[derive(Debug)]
#[repr(C)]
pub struct Message {
    pub(super) to: *mut c_char,
    pub(super) room: usize,
    pub(super) len: usize,
    pub(super) integer: i64,
    pub(super) num: f64,
    pub(super) position: u64,
    pub(super) lost: u64,
    pub(super) utf8: bool,
}

impl Message {
    /// Reads the next message of `sub`; a string goes to `to`.
    ///
    /// # Safety
    /// `to` must have `room` writable bytes.
    unsafe fn read(&mut self, sub: &mut Subscriber) -> Result<Next<()>> {
        let next = match sub.variant() {
            // SAFETY: the caller's contract.
            Variant::Str => unsafe { self.read_str(sub)? },
            Variant::Num => sub.read_num()?.map(|num| self.num = num),
            Variant::Int | Variant::Int32 | Variant::Int16 => sub.read_int()?.map(|integer| self.integer = integer),
        };
        if next == Next::Ready(()) {
            self.position = sub.last_position();
            self.lost = sub.overflow_count();
        }
        Ok(next)
    }

    /// # Safety
    /// As [`read`](Self::read).
    unsafe fn read_str(&mut self, sub: &mut Subscriber) -> Result<Next<()>> {
        let found = match sub.look_for(u64::MAX)? {
            Next::Ready(found) => found,
            other => return Ok(other.map(drop)),
        };
        self.len = found.len();
        if self.len > self.room {
            let text = format!("message too long ({} > {} bytes of room)", self.len, self.room);
            return Err(Error::new(ErrorKind::TooLong, text));
        }
        self.utf8 = found.utf8();
        // SAFETY: checked above that there is room for the message.
        Ok(if unsafe { self.copy(sub, &found) } { Next::Ready(()) } else { Next::More })
    }

    /// Copies the message, by way of a buffer if `to` has no room for whole words, which the core copies.
    ///
    /// # Safety
    /// `found` must be the result of the last search, and `to` must have room for its length.
    unsafe fn copy(&mut self, sub: &mut Subscriber, found: &Found) -> bool {
        let words = round_up_8(self.len as u64) as usize;
        if words <= self.room {
            // SAFETY: there is room for the length rounded up.
            return unsafe { sub.copy(found, self.to.cast()) };
        }
        let mut whole = vec![0u8; words];
        // SAFETY: as above; `to` has room for the length.
        unsafe {
            let copied = sub.copy(found, whole.as_mut_ptr());
            std::ptr::copy_nonoverlapping(whole.as_ptr(), self.to.cast(), self.len);
            copied
        }
    }
}

#[no_mangle]
pub unsafe extern "C" fn ps_read(sub: &mut Subscriber, message: &mut Message, failure: *mut Failure) -> c_int {
    // SAFETY: `room` writable bytes, and a writable error, as documented.
    unsafe { hand_over(message.read(sub), drop, failure) }
}

#[no_mangle]
pub unsafe extern "C" fn ps_publish_ints(ring: &Ring, values: *const i64, count: usize, failure: *mut Failure) -> bool {
    // SAFETY: `count` readable values, as documented.
    let values = unsafe { items(values, count) };
    let published = match ring.variant() {
        Variant::Num => ring.publish_ints(&[]).map(drop), // fails and names the ring's type
        _ => ring.claim(count).and_then(|mut batch| ring.put(&mut batch, values)),
    };
    ring.wake();
    // SAFETY: a writable error, as documented.
    unsafe { report(failure, published.err().as_ref()) }
}

#[no_mangle]
pub unsafe extern "C" fn ps_publish_str(
    ring: &Ring,
    ptr: *const c_char,
    len: usize,
    utf8: bool,
    failure: *mut Failure,
) -> bool {
    // SAFETY: `len` readable bytes and a writable error, as documented.
    unsafe { report(failure, ring.publish_strs(&[Bytes { ptr: ptr.cast(), len, utf8 }]).err().as_ref()) }
}

#[no_mangle]
pub unsafe extern "C" fn ps_sub_variant(sub: &Subscriber) -> u32 {
    sub.variant() as u32
}

#[no_mangle]
pub unsafe extern "C" fn ps_sub_msg_size(sub: &Subscriber) -> u64 {
    sub.msg_size()
}

#[no_mangle]
pub extern "C" fn ps_version() -> *const c_char {
    concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast()
}

#[no_mangle]
pub extern "C" fn ps_abi() -> u32 {
    ABI
}
