//! A slot of a ring: a tag and a value, which change together in one atomic exchange.
//!
//! The tag is `(lap + 1) << 1 | abandoned`, where `lap = position / capacity`. It says which lap the slot's content belongs to, so
//! a reader knows whether the value is the one it wants, an older or a newer one. The lowest bit marks an abandoned position.
//! Because the tag counts laps and not messages, the 32 bits of a narrow slot's tag last for 2^31 laps. Tags are compared
//! with wrapping signed arithmetic.

#[cfg(not(loom))]
use crate::sync::AtomicPair;
use crate::sync::AtomicU64;
use crate::sync::Ordering::{Relaxed, Release, SeqCst};

/// The bit of a tag that says that the position will never hold a message.
pub(crate) const ABANDONED: u64 = 1;

/// The content of a slot, as one atomic access sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamped {
    pub(crate) tag: u64,
    pub(crate) value: u64,
}

/// A slot for one message. All zeros is a slot that was never written.
pub(crate) trait Slot {
    /// The tag of a committed message of `lap`.
    fn tag(lap: u64) -> u64;

    /// Negative if `a` is the tag of an earlier lap than `b`, positive if it is of a later one.
    fn compare(a: u64, b: u64) -> i64;

    /// Tag and value as one exchange left them. SeqCst, so that a waiter's recheck is ordered after its `prepare_wait`; Acquire
    /// for the exchange that wrote them. Does not write.
    fn load(&self) -> Stamped;

    /// The likely content, as the expected value of an exchange. It may be out of date, or mix tag and value of two exchanges.
    /// Then the exchange fails, because it compares both.
    fn glance(&self) -> Stamped;

    /// Replaces `old` by `new`, or returns the actual content. SeqCst: the publisher's check for waiters comes after it.
    fn exchange(&self, old: Stamped, new: Stamped) -> Result<(), Stamped>;

    /// Stores `new` without an exchange. No other process may store to the slot at the same time, and exchanges must expect
    /// an earlier tag than that of the lap before. Release.
    fn put(&self, new: Stamped);

    /// Like [`put`](Self::put) of a tag that says that the value means nothing.
    fn mark(&self, tag: u64);

    /// Replaces two neighbouring slots in one exchange. Returns false and changes nothing if they are not as expected, or if this
    /// kind of slot cannot be exchanged in pairs.
    #[inline(always)]
    fn exchange_pair(_slots: &[Self; 2], _old: [Stamped; 2], _new: [Stamped; 2]) -> bool
    where
        Self: Sized,
    {
        false
    }

    /// Whether [`exchange_pair`](Self::exchange_pair) can ever succeed.
    const PAIRS: bool = false;
}

/// 64-bit tag, 64-bit value.
#[cfg(not(loom))]
#[derive(Default)]
#[repr(transparent)]
pub(crate) struct WideSlot(AtomicPair);

#[cfg(not(loom))]
impl WideSlot {
    #[inline(always)]
    fn unpack([tag, value]: [u64; 2]) -> Stamped {
        Stamped { tag, value }
    }
}

#[cfg(not(loom))]
impl Slot for WideSlot {
    #[inline(always)]
    fn tag(lap: u64) -> u64 {
        lap.wrapping_add(1) << 1
    }

    #[inline(always)]
    fn compare(a: u64, b: u64) -> i64 {
        a.wrapping_sub(b) as i64
    }

    /// [`AtomicPair::load`] requires that no earlier value returns: a slot's tag only grows.
    #[inline(always)]
    fn load(&self) -> Stamped {
        Self::unpack(self.0.load())
    }

    #[inline(always)]
    fn glance(&self) -> Stamped {
        Self::unpack(self.0.glance())
    }

    #[inline(always)]
    fn exchange(&self, old: Stamped, new: Stamped) -> Result<(), Stamped> {
        self.0.exchange([old.tag, old.value], [new.tag, new.value]).map_err(Self::unpack)
    }

    /// Until both words are stored, the tag is that of an abandoned position of the lap before: readers take it for that of an
    /// earlier lap, and exchanges fail.
    #[inline(always)]
    fn put(&self, new: Stamped) {
        self.0.store(new.tag.wrapping_sub(1), [new.tag, new.value]);
    }

    #[inline(always)]
    fn mark(&self, tag: u64) {
        self.0.store(tag, [tag, 0]);
    }
}

/// loom has no 16-byte word.
#[cfg(loom)]
pub(crate) type WideSlot = NarrowSlot;

/// 32-bit tag, 32-bit value (sign-extended by the reader).
#[derive(Default)]
#[repr(transparent)]
pub(crate) struct NarrowSlot(AtomicU64);

impl NarrowSlot {
    /// The shift of each half, so that the tag comes first in memory on hosts of either byte order.
    const TAG_AT: u32 = if cfg!(target_endian = "little") { 0 } else { 32 };
    const VALUE_AT: u32 = 32 - Self::TAG_AT;

    #[inline(always)]
    fn pack(s: Stamped) -> u64 {
        (s.tag & 0xffff_ffff) << Self::TAG_AT | (s.value & 0xffff_ffff) << Self::VALUE_AT
    }

    /// A load for seqlocks and hints, which need no more than the caller's fences.
    #[inline(always)]
    pub(crate) fn load_relaxed(&self) -> Stamped {
        Self::unpack(self.0.load(Relaxed))
    }

    #[inline(always)]
    fn unpack(bits: u64) -> Stamped {
        Stamped { tag: bits >> Self::TAG_AT & 0xffff_ffff, value: bits >> Self::VALUE_AT & 0xffff_ffff }
    }
}

impl Slot for NarrowSlot {
    #[inline(always)]
    fn tag(lap: u64) -> u64 {
        (lap.wrapping_add(1) << 1) & 0xffff_ffff
    }

    #[inline(always)]
    fn compare(a: u64, b: u64) -> i64 {
        i64::from((a as u32).wrapping_sub(b as u32) as i32)
    }

    #[inline(always)]
    fn load(&self) -> Stamped {
        Self::unpack(self.0.load(SeqCst))
    }

    /// Relaxed: the exchange checks it.
    #[inline(always)]
    fn glance(&self) -> Stamped {
        Self::unpack(self.0.load(Relaxed))
    }

    #[inline(always)]
    fn exchange(&self, old: Stamped, new: Stamped) -> Result<(), Stamped> {
        match self.0.compare_exchange(Self::pack(old), Self::pack(new), SeqCst, SeqCst) {
            Ok(_) => Ok(()),
            Err(seen) => Err(Self::unpack(seen)),
        }
    }

    #[inline(always)]
    fn put(&self, new: Stamped) {
        self.0.store(Self::pack(new), Release);
    }

    #[inline(always)]
    fn mark(&self, tag: u64) {
        self.put(Stamped { tag, value: 0 });
    }

    #[cfg(all(target_arch = "x86_64", not(miri), not(loom)))]
    const PAIRS: bool = true;

    /// Two slots are 16 bytes. If they are aligned to 16 bytes, x86-64 can exchange them together. All other accesses to them are
    /// of 8 bytes; the memory model of x86-64 orders those with this one as with any locked instruction. Rust's memory model has no
    /// atomic accesses of different sizes to the same bytes, so this one is in assembler: to the compiler it is two
    /// atomic exchanges of 8 bytes that no other access came between.
    #[cfg(all(target_arch = "x86_64", not(miri), not(loom)))]
    #[inline(always)]
    fn exchange_pair(slots: &[Self; 2], old: [Stamped; 2], new: [Stamped; 2]) -> bool {
        let at: *const [Self; 2] = slots;
        debug_assert_eq!(at as usize % 16, 0);
        // SAFETY: the two slots are 16 bytes, aligned (asserted; the ring starts on a page and pairs start at even
        // indices), and stay borrowed for the call.
        let both = unsafe { &*at.cast::<AtomicPair>() };
        both.exchange(old.map(Self::pack), new.map(Self::pack)).is_ok()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn laps_are_ordered<S: Slot>(around: u64) {
        for lap in around.wrapping_sub(3)..around.wrapping_add(3) {
            let (here, next) = (S::tag(lap), S::tag(lap.wrapping_add(1)));
            assert_eq!(S::compare(here, here), 0);
            assert!(S::compare(here, here | ABANDONED) < 0 && S::compare(here | ABANDONED, next) < 0);
            assert!(S::compare(next, here) > 0);
        }
    }

    #[test]
    fn tags_of_later_laps_compare_greater_across_every_wrap() {
        for around in [3, 1 << 30, (1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 32, 1 << 62] {
            laps_are_ordered::<NarrowSlot>(around);
            laps_are_ordered::<WideSlot>(around);
        }
    }

    fn exchanges_only_what_is_expected<S: Slot>(slot: &S) {
        let (empty, first) = (Stamped { tag: 0, value: 0 }, Stamped { tag: 2, value: 0xffff_fffe });
        assert_eq!(slot.load(), empty);
        assert_eq!(slot.exchange(first, empty), Err(empty));
        assert_eq!(slot.exchange(empty, first), Ok(()));
        assert_eq!(slot.load(), first);
    }

    #[test]
    fn tag_and_value_change_together() {
        exchanges_only_what_is_expected(&WideSlot::default());
        exchanges_only_what_is_expected(&NarrowSlot::default());
    }

    fn is_whole_or_of_an_earlier_lap<S: Slot + Default + Sync>() {
        const LAPS: u64 = if cfg!(miri) { 20 } else { 200_000 };
        let value = |tag: u64| tag.wrapping_mul(0x9e37_79b9) & 0xffff_ffff;
        let (slot, start) = (&S::default(), &std::sync::Barrier::new(2));
        std::thread::scope(|scope| {
            scope.spawn(move || {
                start.wait();
                loop {
                    let seen = slot.load();
                    let is_committed = seen.tag & ABANDONED == 0 && seen.tag != 0;
                    assert!(!is_committed || seen.value == value(seen.tag), "{:?}", seen);
                    if seen.tag == S::tag(LAPS) {
                        break;
                    }
                }
            });
            start.wait();
            for tag in (0..=LAPS).map(S::tag) {
                slot.put(Stamped { tag, value: value(tag) });
            }
        });
        slot.mark(S::tag(LAPS) | ABANDONED);
        assert_eq!(slot.load().tag, S::tag(LAPS) | ABANDONED);
    }

    #[test]
    fn a_slot_that_is_stored_is_whole_or_of_an_earlier_lap() {
        is_whole_or_of_an_earlier_lap::<WideSlot>();
        is_whole_or_of_an_earlier_lap::<NarrowSlot>();
    }

    /// Programs in other languages read slots as bytes.
    #[test]
    fn the_tag_comes_first_in_memory() {
        let (empty, new) = (Stamped { tag: 0, value: 0 }, Stamped { tag: 6, value: 7 });
        let (wide, narrow) = (WideSlot::default(), NarrowSlot::default());
        assert_eq!((wide.exchange(empty, new), narrow.exchange(empty, new)), (Ok(()), Ok(())));
        // SAFETY: initialised slots of that many bytes, which nothing else has.
        unsafe {
            assert_eq!(std::ptr::read((&wide as *const WideSlot).cast::<[u64; 2]>()), [6, 7]);
            assert_eq!(std::ptr::read((&narrow as *const NarrowSlot).cast::<[u32; 2]>()), [6, 7]);
        }
    }

    #[test]
    fn a_pair_changes_as_one_or_not_at_all() {
        #[repr(align(16))]
        struct Aligned([NarrowSlot; 2]);
        let pair = Aligned([NarrowSlot(AtomicU64::new(0)), NarrowSlot(AtomicU64::new(0))]);
        let stamped = |tag, value| Stamped { tag, value };
        let empty = [stamped(0, 0); 2];
        let new = [stamped(2, 7), stamped(2, 8)];
        if NarrowSlot::PAIRS {
            let held = || [pair.0[0].load(), pair.0[1].load()];
            for other in [stamped(4, 0), stamped(0, 9)] {
                for wrong in [[other, empty[1]], [empty[0], other]] {
                    assert!(!NarrowSlot::exchange_pair(&pair.0, wrong, new));
                    assert_eq!(held(), empty);
                }
            }
            assert!(NarrowSlot::exchange_pair(&pair.0, empty, new));
            assert_eq!(held(), new);
            assert!(!NarrowSlot::exchange_pair(&pair.0, empty, new));
            assert_eq!(held(), new);
        }
    }
}
