//! Rings on the heap, for tests. The algorithms do not depend on the kind of memory.

use std::ptr::NonNull;

use crate::layout::{Geometry, Header, Variant};
use crate::options::Options;
use crate::readers::{Entry, Readers};
use crate::slot::{NarrowSlot, Slot};
use crate::slot_ring::SlotRing;
use crate::spare::Spare;
use crate::str_ring::StrRing;
use crate::sync::{AtomicU64, Line};

#[repr(align(16))]
struct Aligned<T>(T);

/// The bytes of a ring. They are leaked, so that copies of the ring are always valid.
fn leak<T>(value: T) -> NonNull<T> {
    NonNull::from(Box::leak(Box::new(value)))
}

/// `count` values, aligned to 16 bytes if `T` has 8 or 16.
fn leak_many<T: Default>(count: u64) -> NonNull<T> {
    let pairs: Vec<Aligned<[T; 2]>> = (0..(count + 1) / 2).map(|_| Aligned(Default::default())).collect();
    NonNull::from(Box::leak(pairs.into_boxed_slice())).cast()
}

/// An integer ring of `capacity` slots whose first position is `start`.
pub(crate) fn slot_ring<S: Slot + Default>(capacity: u64, start: u64) -> SlotRing<S> {
    let header = Header::default();
    header.write_pos.store(start, crate::sync::Ordering::SeqCst);
    header.clear.base.store(start, crate::sync::Ordering::SeqCst);
    let geometry = Geometry::new(Variant::Int, &Options { capacity, ..Options::default() }).unwrap();
    let header = leak(header);
    // SAFETY: leaked, and as many slots as said.
    unsafe { SlotRing::new(header, leak_many(geometry.capacity), readers(header, &geometry), geometry.grid()) }
}

/// A lossless ring with a table of that many readers.
pub(crate) fn lossless_ring<S: Slot + Default>(capacity: u64, count: u64, keep_ms: u32) -> (SlotRing<S>, Readers) {
    let wanted = Options { capacity, readers: count, keep_ms, lossless: true, ..Options::default() };
    let (header, geometry) = (leak(Header::default()), wanted.geometry(Variant::Int).unwrap());
    let readers = readers(header, &geometry);
    // SAFETY: leaked, and as many slots as said.
    unsafe { (SlotRing::new(header, leak_many(geometry.capacity), readers, geometry.grid()), *readers.as_ref()) }
}

fn readers(header: NonNull<Header>, geometry: &Geometry) -> NonNull<Readers> {
    let entries = leak_lines::<Entry>(geometry.readers);
    // SAFETY: leaked, and as many as the geometry says.
    leak(unsafe { Readers::new(header, entries, geometry) })
}

fn leak_lines<T: Default>(count: u64) -> NonNull<Line<T>> {
    let lines: Vec<Line<T>> = (0..count.max(1)).map(|_| Line(T::default())).collect();
    NonNull::from(&mut Box::leak(lines.into_boxed_slice())[0])
}

/// A string ring with this number of spares.
pub(crate) fn str_ring(capacity: u64, msg_size: u64, publishers: u64) -> StrRing {
    let wanted = Options { capacity, msg_size, publishers, ..Options::default() };
    let geometry = Geometry::new(Variant::Str, &wanted).unwrap();
    let (header, spares) = (leak(Header::default()), leak_lines::<Spare>(geometry.publishers));
    let (blocks, slots) = (leak_many::<AtomicU64>(geometry.arena_len / 8), leak_many::<NarrowSlot>(geometry.capacity));
    // SAFETY: leaked, and as large as the geometry says.
    unsafe { StrRing::new(header, slots, spares, blocks, readers(header, &geometry), &geometry) }
}
