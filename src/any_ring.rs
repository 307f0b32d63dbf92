//! The base of [`crate::Ring`] and [`crate::Subscriber`]: a ring of any variant, and the mapping that it points into.

use std::ptr::NonNull;
use std::sync::Arc;

use crate::cursor::{Cursor, Next};
use crate::error::{Error, ErrorKind, Result};
use crate::layout::{Geometry, Header, Variant, HEADER_LEN};
use crate::member::{Group, Members};
use crate::readers::Readers;
use crate::region::Region;
use crate::segment::Word;
use crate::slot::{NarrowSlot, WideSlot};
use crate::slot_ring::SlotRing;
use crate::str_ring::StrRing;

/// A mapped ring, shared by its handle and the subscribers made from it. Dropping the last reference unmaps the ring.
#[derive(Debug)]
pub(crate) struct Mapping {
    pub(crate) region: Region,
    pub(crate) geometry: Geometry,
    /// In an `Arc`, so that its address stays the same: the ring points to it.
    pub(crate) readers: Arc<Readers>,
    /// The member locks of publishers of strings and of batches.
    pub(crate) members: Members,
    /// The member locks of subscribers.
    pub(crate) reading: Members,
}

impl Mapping {
    /// Returns the ring's pointers, and the mapping that they are valid for.
    pub(crate) fn new((region, geometry): (Region, Geometry)) -> (AnyRing, Arc<Mapping>) {
        let base = region.base();
        // SAFETY: the geometry was checked against the mapped length; the mapping starts on a page and is never null.
        let readers = unsafe {
            let entries = NonNull::new_unchecked(base.add(HEADER_LEN as usize));
            Arc::new(Readers::new(NonNull::new_unchecked(base.cast()), entries.cast(), &geometry))
        };
        let ring = AnyRing::new(&region, &geometry, NonNull::from(&*readers));
        let [members, reading] = [Group::Publishers, Group::Readers].map(|group| Members::new(group, region.source()));
        (ring, Arc::new(Mapping { members, reading, readers, region, geometry }))
    }

    /// Whether the ring's file was removed, or another one took its path.
    pub(crate) fn is_gone(&self, ring: &AnyRing) -> bool {
        ring.header().is_gone() || self.region.is_elsewhere()
    }
}

/// The ring's pointers by variant. The owner of an `AnyRing` also holds the [`Mapping`] that it points into.
#[derive(Clone, Copy)]
pub(crate) enum AnyRing {
    Int(SlotRing<WideSlot>),
    Int32(SlotRing<NarrowSlot>),
    Int16(SlotRing<NarrowSlot>),
    Str(StrRing),
    /// The values are the bits of 64-bit floating-point numbers.
    Num(SlotRing<WideSlot>),
}

/// The value of a narrow slot.
#[inline(always)]
pub(crate) fn narrow(value: u64) -> i64 {
    i64::from(value as u32 as i32)
}

/// A message of a ring of numbers.
#[derive(Clone, Copy)]
pub(crate) enum Number {
    Int(i64),
    Num(f64),
}

impl AnyRing {
    fn new(region: &Region, geometry: &Geometry, readers: NonNull<Readers>) -> AnyRing {
        let base = region.base();
        // SAFETY: the geometry was checked against the mapped length; the mapping starts on a page, so header, slots and arena
        // are aligned; it is never null.
        unsafe {
            let header = NonNull::new_unchecked(base.cast::<Header>());
            let part = |at: u64| NonNull::new_unchecked(base.add(at as usize));
            let (slots, grid) = (part(geometry.slots_at), geometry.grid());
            match geometry.variant {
                Variant::Int => AnyRing::Int(SlotRing::new(header, slots.cast(), readers, grid)),
                Variant::Num => AnyRing::Num(SlotRing::new(header, slots.cast(), readers, grid)),
                Variant::Int32 => AnyRing::Int32(SlotRing::new(header, slots.cast(), readers, grid)),
                Variant::Int16 => AnyRing::Int16(SlotRing::new(header, slots.cast(), readers, grid)),
                Variant::Str => {
                    let (spares, blocks) = (part(geometry.spares_at), part(geometry.arena_at));
                    AnyRing::Str(StrRing::new(header, slots.cast(), spares.cast(), blocks.cast(), readers, geometry))
                }
            }
        }
    }

    #[inline(always)]
    pub(crate) fn header(&self) -> &Header {
        match self {
            AnyRing::Int(ring) | AnyRing::Num(ring) => ring.header(),
            AnyRing::Int32(ring) | AnyRing::Int16(ring) => ring.header(),
            AnyRing::Str(ring) => ring.header(),
        }
    }

    /// Wakes all subscribers that sleep until a message arrives.
    #[inline(always)]
    pub(crate) fn wake_sleepers(&self) {
        self.header().wake.wake_sleepers();
    }

    /// The fast path of publishing a number. On `Err`, call [`publish_anyway`](Self::publish_anyway) with the error, the position
    /// that was claimed, if any.
    #[inline(always)]
    pub(crate) fn publish_at_once(&self, number: Number) -> std::result::Result<(), Option<u64>> {
        match (self, number) {
            (AnyRing::Int(ring), Number::Int(value)) => ring.publish_at_once(value as u64),
            (AnyRing::Int32(ring), Number::Int(value)) => ring.publish_at_once(value as u64),
            (AnyRing::Int16(ring), Number::Int(value)) => ring.publish_at_once(value as i16 as u64),
            (AnyRing::Num(ring), Number::Num(value)) => ring.publish_at_once(value.to_bits()),
            _ => Err(None),
        }
    }

    /// The slow path of publishing a number. Returns `Ok(false)`, and publishes nothing, if a lossless ring has no room.
    pub(crate) fn publish_anyway(&self, claimed: Option<u64>, number: Number) -> Result<bool> {
        match (self, number) {
            (AnyRing::Int(ring), Number::Int(value)) => Ok(ring.publish_anyway(claimed, value as u64)),
            (AnyRing::Int32(ring), Number::Int(value)) => Ok(ring.publish_anyway(claimed, value as u64)),
            (AnyRing::Int16(ring), Number::Int(value)) => Ok(ring.publish_anyway(claimed, value as i16 as u64)),
            (AnyRing::Num(ring), Number::Num(value)) => Ok(ring.publish_anyway(claimed, value.to_bits())),
            _ => Err(self.mismatch()),
        }
    }

    /// The fast path of reading an integer: [`Next::More`] if the slow path is needed.
    #[inline(always)]
    pub(crate) fn glimpse_int(&self, cursor: &Cursor) -> Next<i64> {
        match self {
            AnyRing::Int(ring) => ring.glimpse(cursor).map(|value| value as i64),
            AnyRing::Int32(ring) | AnyRing::Int16(ring) => ring.glimpse(cursor).map(narrow),
            AnyRing::Str(_) | AnyRing::Num(_) => Next::More,
        }
    }

    /// The fast path of reading a floating-point number: [`Next::More`] if the slow path is needed.
    #[inline(always)]
    pub(crate) fn glimpse_num(&self, cursor: &Cursor) -> Next<f64> {
        match self {
            AnyRing::Num(ring) => ring.glimpse(cursor).map(f64::from_bits),
            _ => Next::More,
        }
    }

    /// Moves the cursor over positions that hold no message, and returns the state of the position where it stops.
    #[inline(always)]
    pub(crate) fn look(&self, cursor: &mut Cursor) -> Next<()> {
        match self {
            AnyRing::Int(ring) | AnyRing::Num(ring) => ring.look(cursor).map(drop),
            AnyRing::Int32(ring) | AnyRing::Int16(ring) => ring.look(cursor).map(drop),
            AnyRing::Str(ring) => ring.look(cursor).map(drop),
        }
    }

    /// The number of segments; see [`crate::segment`].
    #[inline(always)]
    pub(crate) fn segments(&self) -> u64 {
        match self {
            AnyRing::Int(ring) | AnyRing::Num(ring) => ring.segments(),
            AnyRing::Int32(ring) | AnyRing::Int16(ring) => ring.segments(),
            AnyRing::Str(_) => 0,
        }
    }

    /// See [`SlotRing::recover`].
    pub(crate) fn recover<H>(&self, hold: impl Fn(Word) -> Option<H>) {
        match self {
            AnyRing::Int(ring) | AnyRing::Num(ring) => ring.recover(hold),
            AnyRing::Int32(ring) | AnyRing::Int16(ring) => ring.recover(hold),
            AnyRing::Str(_) => {}
        }
    }

    /// Whether publishers may be waiting for a reader that has passed `passed` positions since it last told its place.
    pub(crate) fn is_kept(&self, passed: u64) -> bool {
        match self {
            AnyRing::Str(ring) => ring.ring.is_kept(passed),
            _ => false,
        }
    }

    /// Moves the cursor to the newest message that the reader wants, if there is one.
    pub(crate) fn skip_to_newest(&self, cursor: &mut Cursor) {
        match self {
            AnyRing::Int(ring) | AnyRing::Num(ring) => ring.skip_to_newest(cursor, |_, _| true),
            AnyRing::Int32(ring) | AnyRing::Int16(ring) => ring.skip_to_newest(cursor, |_, _| true),
            AnyRing::Str(ring) => ring.skip_to_newest(cursor),
        }
    }

    #[cold]
    pub(crate) fn mismatch(&self) -> Error {
        let held = match self {
            AnyRing::Str(_) => "strings",
            AnyRing::Num(_) => "floating-point numbers",
            _ => "integers",
        };
        Error::new(ErrorKind::Argument, format!("this ring carries {}", held))
    }
}
