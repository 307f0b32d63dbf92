//! What both roles stand on: the ring behind a handle, whatever its variant, and what keeps it mapped.

use std::ptr::NonNull;
use std::sync::Arc;

use crate::cursor::{Cursor, Next};
use crate::error::{Error, ErrorKind};
use crate::layout::{Geometry, Header, Variant, HEADER_LEN};
use crate::member::Members;
use crate::region::Region;
use crate::slot::{NarrowSlot, WideSlot};
use crate::slot_ring::SlotRing;
use crate::str_ring::StrRing;

/// What keeps a ring mapped: shared by its handle and the subscribers that came from it.
#[derive(Debug)]
pub(crate) struct Mapping {
    pub(crate) region: Region,
    pub(crate) geometry: Geometry,
    /// Of publishers of strings.
    pub(crate) members: Members,
}

impl Mapping {
    /// A mapped ring's pointers, and what keeps them good.
    pub(crate) fn new((region, geometry): (Region, Geometry)) -> (AnyRing, Arc<Mapping>) {
        let ring = AnyRing::new(&region, &geometry);
        (ring, Arc::new(Mapping { members: Members::new(region.source()), region, geometry }))
    }

    /// Whether the ring's file was removed, or another one took its path.
    pub(crate) fn is_gone(&self, ring: &AnyRing) -> bool {
        ring.header().is_gone() || self.region.is_elsewhere()
    }
}

/// The ring's pointers by variant. Whoever holds one also holds the [`Mapping`] that it points into.
#[derive(Clone, Copy)]
pub(crate) enum AnyRing {
    Int(SlotRing<WideSlot>),
    Int32(SlotRing<NarrowSlot>),
    Int16(SlotRing<NarrowSlot>),
    Str(StrRing),
    /// The values are the bits of 64-bit floating-point numbers.
    Num(SlotRing<WideSlot>),
}

impl AnyRing {
    pub(crate) fn new(region: &Region, geometry: &Geometry) -> AnyRing {
        let base = region.base();
        // SAFETY: the geometry was checked against the length that is mapped; the mapping starts on a page, so header, slots
        // and arena are aligned; it is never null.
        unsafe {
            let header = NonNull::new_unchecked(base.cast::<Header>());
            let slots = NonNull::new_unchecked(base.add(geometry.slots_at as usize));
            match geometry.variant {
                Variant::Int => AnyRing::Int(SlotRing::new(header, slots.cast(), geometry.capacity)),
                Variant::Num => AnyRing::Num(SlotRing::new(header, slots.cast(), geometry.capacity)),
                Variant::Int32 => AnyRing::Int32(SlotRing::new(header, slots.cast(), geometry.capacity)),
                Variant::Int16 => AnyRing::Int16(SlotRing::new(header, slots.cast(), geometry.capacity)),
                Variant::Str => {
                    let spares = NonNull::new_unchecked(base.add(HEADER_LEN as usize));
                    let blocks = NonNull::new_unchecked(base.add(geometry.arena_at as usize));
                    AnyRing::Str(StrRing::new(header, slots.cast(), spares.cast(), blocks.cast(), geometry))
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

    /// Wakes whoever sleeps until a message comes.
    #[inline(always)]
    pub(crate) fn wake_sleepers(&self) {
        self.header().wake.wake_sleepers();
    }

    /// What is at the cursor, with what holds no message any more passed.
    #[inline(always)]
    pub(crate) fn look(&self, cursor: &mut Cursor) -> Next<()> {
        match self {
            AnyRing::Int(ring) | AnyRing::Num(ring) => ring.look(cursor).map(drop),
            AnyRing::Int32(ring) | AnyRing::Int16(ring) => ring.look(cursor).map(drop),
            AnyRing::Str(ring) => ring.look(cursor).map(drop),
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
