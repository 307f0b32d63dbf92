//! Rings on the heap, for tests: the algorithms do not know where their bytes live.

use std::ptr::NonNull;

use crate::layout::{Geometry, Header, Variant};
use crate::slot::{NarrowSlot, Slot};
use crate::slot_ring::SlotRing;
use crate::spare::Spare;
use crate::str_ring::StrRing;
use crate::sync::{AtomicU64, Line};

#[repr(align(16))]
struct Aligned<T>(T);

/// A ring's bytes. Leaked by its makers, so that copies of the ring are valid forever.
fn leak<T>(value: T) -> NonNull<T> {
    NonNull::from(Box::leak(Box::new(value)))
}

/// `count` values, aligned to 16 bytes where `T` has 8 or 16.
fn leak_many<T: Default>(count: u64) -> NonNull<T> {
    let pairs: Vec<Aligned<[T; 2]>> = (0..(count + 1) / 2).map(|_| Aligned(Default::default())).collect();
    NonNull::from(Box::leak(pairs.into_boxed_slice())).cast()
}

/// An integer ring of `capacity` slots whose first position is `start`.
pub(crate) fn slot_ring<S: Slot + Default>(capacity: u64, start: u64) -> SlotRing<S> {
    let header = Header::default();
    header.write_pos.store(start, crate::sync::Ordering::SeqCst);
    header.clear.base.store(start, crate::sync::Ordering::SeqCst);
    // SAFETY: leaked, and as many slots as said.
    unsafe { SlotRing::new(leak(header), leak_many(capacity), capacity) }
}

/// A string ring with that many spares.
pub(crate) fn str_ring(capacity: u64, msg_size: u64, publishers: u64) -> StrRing {
    let geometry = Geometry::new(Variant::Str, capacity, msg_size, publishers).unwrap();
    let spares: Vec<Line<Spare>> = (0..geometry.publishers).map(|_| Default::default()).collect();
    let spares = NonNull::from(&mut Box::leak(spares.into_boxed_slice())[0]);
    let (blocks, slots) = (leak_many::<AtomicU64>(geometry.arena_len / 8), leak_many::<NarrowSlot>(geometry.capacity));
    // SAFETY: leaked, and as large as the geometry says.
    unsafe { StrRing::new(leak(Header::default()), slots, spares, blocks, &geometry) }
}
