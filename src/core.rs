//! What both roles stand on: the ring behind a handle, whatever its variant, and sleeping until it has a message.

use std::ptr::NonNull;

use crate::cursor::{Cursor, Next};
use crate::error::{Error, ErrorKind};
use crate::slot_ring::SlotRing;
use crate::layout::{Geometry, Header, Variant, HEADER_LEN};
use crate::member::Members;
use crate::region::Region;
use crate::slot::{NarrowSlot, WideSlot};
use crate::str_ring::StrRing;
use crate::wait::{monotonic_ns, nap, Sleep, LONGEST_SLEEP_NS};

/// What keeps a ring mapped: shared by its handle and the subscribers that came from it.
#[derive(Debug)]
pub(crate) struct Mapping {
    pub(crate) region: Region,
    pub(crate) geometry: Geometry,
    /// Of publishers of strings.
    pub(crate) members: Members,
}

/// The ring's pointers by variant. Whoever holds one also holds the [`Mapping`] that it points into.
#[derive(Clone, Copy)]
pub(crate) enum Core {
    Int(SlotRing<WideSlot>),
    Int32(SlotRing<NarrowSlot>),
    Int16(SlotRing<NarrowSlot>),
    Str(StrRing),
}

impl Core {
    pub(crate) fn new(region: &Region, geometry: &Geometry) -> Core {
        let base = region.base();
        // SAFETY: the geometry was checked against the length that is mapped; the mapping starts on a page, so header, slots
        // and arena are aligned; it is never null.
        unsafe {
            let header = NonNull::new_unchecked(base.cast::<Header>());
            let slots = NonNull::new_unchecked(base.add(geometry.slots_at as usize));
            match geometry.variant {
                Variant::Int => Core::Int(SlotRing::new(header, slots.cast(), geometry.capacity)),
                Variant::Int32 => Core::Int32(SlotRing::new(header, slots.cast(), geometry.capacity)),
                Variant::Int16 => Core::Int16(SlotRing::new(header, slots.cast(), geometry.capacity)),
                Variant::Str => {
                    let spares = NonNull::new_unchecked(base.add(HEADER_LEN as usize));
                    let blocks = NonNull::new_unchecked(base.add(geometry.arena_at as usize));
                    Core::Str(StrRing::new(header, slots.cast(), spares.cast(), blocks.cast(), geometry))
                }
            }
        }
    }

    #[inline(always)]
    pub(crate) fn header(&self) -> &Header {
        match self {
            Core::Int(ring) => ring.header(),
            Core::Int32(ring) | Core::Int16(ring) => ring.header(),
            Core::Str(ring) => ring.header(),
        }
    }

    /// Wakes whoever sleeps until a message comes.
    #[inline(always)]
    pub(crate) fn wake_sleepers(&self) {
        self.header().wake.wake_sleepers();
    }

    #[cold]
    pub(crate) fn mismatch(&self) -> Error {
        let held = if matches!(self, Core::Str(_)) { "strings" } else { "integers" };
        Error::new(ErrorKind::Argument, format!("this ring carries {}", held))
    }
}

/// How a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Wait {
    /// The deadline passed and there is no message.
    TimedOut = 0,
    /// There is a message.
    Ready = 1,
    /// A signal was handled, or may have been: look after it and wait again.
    Interrupted = 2,
}

/// What is at the cursor, with what holds no message any more passed.
#[inline(always)]
pub(crate) fn look(core: &Core, cursor: &mut Cursor) -> Next<()> {
    match core {
        Core::Int(ring) => ring.look(cursor).map(drop),
        Core::Int32(ring) | Core::Int16(ring) => ring.look(cursor).map(drop),
        Core::Str(ring) => ring.look(cursor).map(drop),
    }
}

/// Sleeps until there is a message at the cursor, the clock reaches `deadline`, or a signal was handled; or `stop`, asked
/// between announcement and sleep: then as if a signal had come.
pub(crate) fn sleep_for_message(
    core: &Core,
    cursor: &mut Cursor,
    deadline: u64,
    naps: &mut u32,
    stop: impl Fn() -> bool,
) -> Wait {
    loop {
        // Who may not write cannot announce itself, and looks from time to time.
        let word = if cursor.read_only { None } else { Some(core.header().wake.announce()) };
        let next = look(core, cursor);
        if next == Next::Ready(()) {
            return Wait::Ready;
        }
        let now = monotonic_ns();
        // As late as can be: what is set after this ends a sleep, but for the nanoseconds until that begins.
        if stop() {
            return Wait::Interrupted;
        }
        if now >= deadline {
            return Wait::TimedOut;
        }
        if next == Next::More {
            return Wait::Interrupted;
        }
        let bound = now + LONGEST_SLEEP_NS;
        let until = match next {
            Next::Claimed(when) => when.max(now),
            _ => bound,
        };
        let most = until.min(deadline).min(bound) - now;
        let slept = match word {
            Some(word) => core.header().wake.sleep(word, most),
            None => nap(naps, most),
        };
        if look(core, cursor) == Next::Ready(()) {
            return Wait::Ready;
        }
        // After a whole slice, too: a signal may have come just before the sleep began. A nap is a slice.
        if slept == Sleep::Interrupted
            || word.is_none() && monotonic_ns() < deadline
            || (slept == Sleep::TimedOut && until == bound && bound < deadline)
        {
            return Wait::Interrupted;
        }
    }
}
