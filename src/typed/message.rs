//! The types of messages, and the types that can be published as them. All traits are sealed, because the file format defines
//! the types of messages.

use std::fmt::Debug;

use super::error::TryRecvError;
use crate::layout::Variant;
use crate::str_ring::Bytes;
use crate::{Error, ErrorKind, Result, NEVER};

/// The type of a [`Ring`](super::Ring)'s messages: `i64`, `i32`, `i16`, `f64`, `str` or `[u8]`. Sealed.
///
/// ```
/// use data_pubsub_shared::typed::Message;
/// use data_pubsub_shared::Variant;
///
/// assert_eq!(<i16 as Message>::VARIANT, Variant::Int16);
/// assert_eq!(<str as Message>::VARIANT, <[u8] as Message>::VARIANT);
/// ```
pub trait Message: Carried + 'static {
    /// The type that a subscriber receives: the number itself, `String` or `Vec<u8>`.
    type Owned: Clone + Debug + Default + PartialEq + Send + Sync + 'static;

    /// The ring's variant. Rings of `str` and of `[u8]` have the same one.
    const VARIANT: Variant;

    #[doc(hidden)]
    fn take(sub: &mut crate::Subscriber, into: &mut Self::Owned) -> std::result::Result<bool, TryRecvError>;
}

/// A [`Message`] that is a number.
pub trait Number: Message<Owned = Self> + AsMessage<Self> + Copy + Debug + Default + PartialOrd + Send + Sync {}

/// A [`Message`] that is a string: `str` or `[u8]`.
pub trait Text: Message {
    #[doc(hidden)]
    fn bytes(&self) -> Bytes;
}

/// The types that can be published on a `Ring<T>`: the number itself; for `str` any `AsRef<str>`; for `[u8]` any `AsRef<[u8]>`.
/// Sealed.
pub trait AsMessage<T: ?Sized>: Sized {
    #[doc(hidden)]
    fn publish(&self, ring: &crate::Ring) -> Result<()>;

    #[doc(hidden)]
    fn try_publish(&self, ring: &crate::Ring) -> Result<bool>;

    #[doc(hidden)]
    fn publish_all(messages: &[Self], ring: &crate::Ring) -> Result<()>;
}

mod sealed {
    pub trait Carried {}
}
use sealed::Carried;

/// The reason why a mismatch of variants cannot occur here.
const CHECKED: &str = "the ring's variant was checked when it was opened";

macro_rules! numbers {
    ($($number:ty = $variant:ident, $take:ident, $publish:ident, $try_publish:ident;)+) => {
        $(
            impl Carried for $number {}
            impl Number for $number {}
            impl Message for $number {
                type Owned = $number;
                const VARIANT: Variant = Variant::$variant;

                #[inline(always)]
                fn take(sub: &mut crate::Subscriber, into: &mut $number) -> std::result::Result<bool, TryRecvError> {
                    match sub.$take().expect(CHECKED) {
                        Some(value) => *into = value as $number,
                        None => return Ok(false),
                    }
                    Ok(true)
                }
            }

            impl AsMessage<$number> for $number {
                #[inline(always)]
                fn publish(&self, ring: &crate::Ring) -> Result<()> {
                    ring.$publish((*self).into())
                }

                #[inline(always)]
                fn try_publish(&self, ring: &crate::Ring) -> Result<bool> {
                    ring.$try_publish((*self).into())
                }

                fn publish_all(numbers: &[$number], ring: &crate::Ring) -> Result<()> {
                    ring.publish_packed(bytes_of(numbers)).map(drop)
                }
            }
        )+
    };
}

numbers! {
    i64 = Int, take_int, publish_int, try_publish_int;
    i32 = Int32, take_int, publish_int, try_publish_int;
    i16 = Int16, take_int, publish_int, try_publish_int;
    f64 = Num, take_num, publish_num, try_publish_num;
}

fn bytes_of<T: Number>(numbers: &[T]) -> &[u8] {
    // SAFETY: numbers have no padding, so all their bytes are initialised; they stay borrowed.
    unsafe { std::slice::from_raw_parts(numbers.as_ptr().cast(), std::mem::size_of_val(numbers)) }
}

/// Reads numbers from the cursor on, until `out` is full or a position needs [`advance`](crate::Subscriber::advance). Returns how
/// many.
#[inline]
pub(super) fn take_all<T: Number>(sub: &mut crate::Subscriber, out: &mut [T]) -> usize {
    // SAFETY: as above; and every pattern of bytes is a valid number.
    let bytes = unsafe { std::slice::from_raw_parts_mut(out.as_mut_ptr().cast(), std::mem::size_of_val(out)) };
    sub.take_packed(bytes).expect(CHECKED)
}

impl Carried for [u8] {}
impl Text for [u8] {
    fn bytes(&self) -> Bytes {
        Bytes::new(self)
    }
}
impl Message for [u8] {
    type Owned = Vec<u8>;
    const VARIANT: Variant = Variant::Str;

    #[inline]
    fn take(sub: &mut crate::Subscriber, into: &mut Vec<u8>) -> std::result::Result<bool, TryRecvError> {
        Ok(sub.take_str(into).expect(CHECKED).is_some())
    }
}

impl Carried for str {}
impl Text for str {
    fn bytes(&self) -> Bytes {
        Bytes::text(self)
    }
}
impl Message for str {
    type Owned = String;
    const VARIANT: Variant = Variant::Str;

    #[inline]
    fn take(sub: &mut crate::Subscriber, into: &mut String) -> std::result::Result<bool, TryRecvError> {
        let mut bytes = std::mem::take(into).into_bytes();
        let taken = sub.take_str(&mut bytes).expect(CHECKED).is_some();
        // Checked also if the publisher's flag says UTF-8: the bytes may be anything.
        *into = String::from_utf8(bytes).map_err(TryRecvError::InvalidUtf8)?;
        Ok(taken)
    }
}

impl<B: AsRef<str>> AsMessage<str> for B {
    fn publish(&self, ring: &crate::Ring) -> Result<()> {
        publish_bytes(ring, &[Bytes::text(self.as_ref())])
    }

    fn try_publish(&self, ring: &crate::Ring) -> Result<bool> {
        try_publish_bytes(ring, &[Bytes::text(self.as_ref())])
    }

    fn publish_all(messages: &[Self], ring: &crate::Ring) -> Result<()> {
        publish_bytes(ring, &messages.iter().map(|text| Bytes::text(text.as_ref())).collect::<Vec<_>>())
    }
}

impl<B: AsRef<[u8]>> AsMessage<[u8]> for B {
    fn publish(&self, ring: &crate::Ring) -> Result<()> {
        publish_bytes(ring, &[Bytes::new(self.as_ref())])
    }

    fn try_publish(&self, ring: &crate::Ring) -> Result<bool> {
        try_publish_bytes(ring, &[Bytes::new(self.as_ref())])
    }

    fn publish_all(messages: &[Self], ring: &crate::Ring) -> Result<()> {
        publish_bytes(ring, &messages.iter().map(|bytes| Bytes::new(bytes.as_ref())).collect::<Vec<_>>())
    }
}

/// Publishes messages, and waits for room in a lossless ring.
fn publish_bytes(ring: &crate::Ring, messages: &[Bytes]) -> Result<()> {
    while !try_publish_bytes(ring, messages)? {
        ring.wait_for_room(messages.len() as u64, NEVER, || false)?;
    }
    Ok(())
}

/// Publishes messages, and waits for spare blocks, even if signals arrive. Returns `false`, and publishes nothing, if a lossless
/// ring has no room.
fn try_publish_bytes(ring: &crate::Ring, messages: &[Bytes]) -> Result<bool> {
    loop {
        // SAFETY: the callers borrow the slices during the call.
        match unsafe { ring.publish_strs(messages) } {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) if error.kind() == ErrorKind::Full => return Ok(false),
            result => return result.map(|()| true),
        }
    }
}

/// Fails with [`ErrorKind::Argument`] if the variant `found` is not that of `T`.
pub(super) fn check_variant<T: Message + ?Sized>(found: Variant) -> Result<()> {
    if found == T::VARIANT {
        return Ok(());
    }
    let text = format!("this ring carries {:?}, and {:?} was expected", found, T::VARIANT);
    Err(Error::new(ErrorKind::Argument, text))
}
