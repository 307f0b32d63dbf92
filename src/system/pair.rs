//! Two 8-byte words that are exchanged together. `std` has no such atomic, and locks of one process do not help in shared memory.
//!
//! The first word comes first in memory on hosts of either byte order. An exchange is SeqCst, and one instruction, or a pair of
//! linked ones. A load does not write, so that readers need no write access and do not take cache lines from publishers. Few CPUs
//! have 16-byte loads that promise this (x86-64 only with AVX, arm64 only with LSE2; without them, a load writes back what it has
//! read). Where they do not exist, a load is three loads: the first word, the second word, and the first word again.
//!
//! A store without an exchange is three stores, in order: a mark in the first word, the second word, the first word.
//!
//! *Why three loads are enough.* The caller promises that the first word never returns to an earlier value. Each exchange changes both
//! words at once, and all threads agree on the order of the exchanges. The three loads are done in order, so each of them sees
//! the pair as one of the exchanges left it, and not an older one than the load before. If the first and the third load
//! return the same first word, they see the same exchange, because no two exchanges store the same first word. The second load is
//! between them, so it sees that exchange, too. Otherwise the pair was exchanged meanwhile, and the load is repeated. If the
//! second load sees the second word of a store, the third load sees its mark, or the first word. So either the third load differs
//! from the first, or both see the mark, for which the second word has no meaning, or both see the first word, and the
//! second is the one before it.

#[cfg(miri)]
pub(crate) use interpreted::AtomicPair;
#[cfg(not(any(miri, target_arch = "x86_64")))]
pub(crate) use portable::AtomicPair;
#[cfg(all(target_arch = "x86_64", not(miri)))]
pub(crate) use x86_64::AtomicPair;

/// Calls `three_loads`, which returns the first word, the second word, and the first word again, until the first words are equal.
#[cfg(all(any(target_arch = "x86_64", target_arch = "aarch64"), not(miri)))]
#[inline(always)]
fn enclosed(three_loads: impl Fn() -> (u64, u64, u64)) -> [u64; 2] {
    loop {
        let (first, second, again) = three_loads();
        if first == again {
            return [first, second];
        }
    }
}

#[cfg(all(target_arch = "x86_64", not(miri)))]
mod x86_64 {
    use std::arch::asm;
    use std::cell::UnsafeCell;

    #[derive(Default)]
    #[repr(C, align(16))]
    pub(crate) struct AtomicPair(UnsafeCell<[u64; 2]>);

    // SAFETY: all methods are atomic.
    unsafe impl Sync for AtomicPair {}

    impl AtomicPair {
        #[inline(always)]
        pub(crate) fn load(&self) -> [u64; 2] {
            super::enclosed(|| {
                let (first, second, again): (u64, u64, u64);
                // SAFETY: reads 16 bytes that `self` borrows. x86-64 keeps loads in program order, and its plain loads are SeqCst.
                // The assembler block is opaque to the compiler, for which it is one atomic load that may fail.
                unsafe {
                    asm!(
                        "mov {first}, qword ptr [{pair}]",
                        "mov {second}, qword ptr [{pair} + 8]",
                        "mov {again}, qword ptr [{pair}]",
                        pair = in(reg) self,
                        first = out(reg) first,
                        second = out(reg) second,
                        again = lateout(reg) again,
                        options(nostack, preserves_flags, readonly),
                    );
                }
                (first, second, again)
            })
        }

        /// The likely words, as the expected value of an exchange. They may be out of date, and of two exchanges.
        #[inline(always)]
        pub(crate) fn glance(&self) -> [u64; 2] {
            let (first, second): (u64, u64);
            // SAFETY: reads 16 bytes that `self` borrows. For the compiler these are two atomic loads.
            unsafe {
                asm!(
                    "mov {first}, qword ptr [{pair}]",
                    "mov {second}, qword ptr [{pair} + 8]",
                    pair = in(reg) self,
                    first = out(reg) first,
                    second = lateout(reg) second,
                    options(nostack, preserves_flags, readonly),
                );
            }
            [first, second]
        }

        /// Stores `new`, with `mark` as the first word meanwhile. Release. The caller promises that no other thread stores to the pair at
        /// the same time, and that exchanges meanwhile expect neither `mark` nor a later first word.
        #[inline(always)]
        pub(crate) fn store(&self, mark: u64, new: [u64; 2]) {
            // SAFETY: writes 16 bytes that `self` borrows, in a cell. x86-64 keeps stores in program order. For the compiler these
            // are atomic stores.
            unsafe {
                asm!(
                    "mov qword ptr [{pair}], {mark}",
                    "mov qword ptr [{pair} + 8], {second}",
                    "mov qword ptr [{pair}], {first}",
                    pair = in(reg) self.0.get(),
                    mark = in(reg) mark,
                    first = in(reg) new[0],
                    second = in(reg) new[1],
                    options(nostack, preserves_flags),
                );
            }
        }

        /// Replaces `old` by `new`, or returns the actual words.
        ///
        /// It is in assembler because `std::arch::x86_64::cmpxchg16b` is newer than Rust 1.63, and needs a compiler flag. Every
        /// x86-64 CPU since 2006 has the instruction.
        #[inline(always)]
        pub(crate) fn exchange(&self, old: [u64; 2], new: [u64; 2]) -> Result<(), [u64; 2]> {
            let (first, second): (u64, u64);
            let done: u8;
            // SAFETY: reads and writes 16 bytes that `self` borrows, aligned to 16, in a cell. `rbx` is reserved for the
            // compiler, and is restored. Only `{save}` and `{new}` may be `rbx` themselves, since all other registers are named.
            unsafe {
                asm!(
                    "mov {save}, rbx",
                    "mov rbx, {new}",
                    "lock cmpxchg16b xmmword ptr [rdi]",
                    "mov rbx, {save}",
                    "sete sil",
                    save = out(reg) _,
                    new = in(reg) new[0],
                    in("rcx") new[1],
                    inout("rax") old[0] => first,
                    inout("rdx") old[1] => second,
                    in("rdi") self.0.get(),
                    lateout("sil") done,
                    options(nostack),
                );
            }
            if done != 0 {
                Ok(())
            } else {
                Err([first, second])
            }
        }
    }
}

/// On other architectures, the exchange is that of portable-atomic, without locks.
#[cfg(not(any(miri, target_arch = "x86_64")))]
mod portable {
    portable_atomic::cfg_has_atomic_128! {
        use portable_atomic::{AtomicU128, Ordering::SeqCst};

        const _: () = assert!(AtomicU128::is_always_lock_free(), "16 bytes are exchanged under a lock on this target");

        #[derive(Default)]
        #[repr(transparent)]
        pub(crate) struct AtomicPair(AtomicU128);

        fn whole(words: [u64; 2]) -> u128 {
            // SAFETY: any 16 bytes are a number. The bytes keep their places in memory, whatever the byte order.
            unsafe { std::mem::transmute(words) }
        }

        fn words(whole: u128) -> [u64; 2] {
            // SAFETY: as above.
            unsafe { std::mem::transmute(whole) }
        }

        impl AtomicPair {
            #[cfg(target_arch = "aarch64")]
            #[inline(always)]
            pub(crate) fn load(&self) -> [u64; 2] {
                super::enclosed(|| {
                    let (first, second, again): (u64, u64, u64);
                    // SAFETY: reads 16 bytes that `self` borrows. A load-acquire is done before all later loads, and after all
                    // earlier store-releases (a SeqCst load of 8 bytes is this instruction). An exchange is one access of 16
                    // bytes, so a thread that has seen one of its words does not load an older other word afterwards. For the
                    // compiler the block is one atomic load that may fail.
                    unsafe {
                        std::arch::asm!(
                            "ldar {first}, [{pair}]",
                            "ldar {second}, [{second_at}]",
                            "ldar {again}, [{pair}]",
                            pair = in(reg) self,
                            second_at = in(reg) (self as *const Self).cast::<u64>().add(1),
                            first = out(reg) first,
                            second = out(reg) second,
                            again = lateout(reg) again,
                            options(nostack, preserves_flags, readonly),
                        );
                    }
                    (first, second, again)
                })
            }

            /// s390x and POWER have loads of 16 bytes that do not write.
            #[cfg(not(target_arch = "aarch64"))]
            #[inline(always)]
            pub(crate) fn load(&self) -> [u64; 2] {
                words(self.0.load(SeqCst))
            }

            /// The likely words, as the expected value of an exchange.
            #[inline(always)]
            pub(crate) fn glance(&self) -> [u64; 2] {
                self.load()
            }

            /// Stores `new`, with `mark` as the first word meanwhile. Release. The caller promises that no other thread stores to
            /// the pair at the same time, and that exchanges meanwhile expect neither `mark` nor a later first word.
            #[cfg(target_arch = "aarch64")]
            #[inline(always)]
            pub(crate) fn store(&self, mark: u64, new: [u64; 2]) {
                // SAFETY: writes 16 bytes that `self` borrows, in an atomic. A store-release is done after all earlier accesses.
                // For the compiler these are atomic stores.
                unsafe {
                    std::arch::asm!(
                        "stlr {mark}, [{pair}]",
                        "stlr {second}, [{second_at}]",
                        "stlr {first}, [{pair}]",
                        pair = in(reg) self,
                        second_at = in(reg) (self as *const Self).cast::<u64>().add(1),
                        mark = in(reg) mark,
                        first = in(reg) new[0],
                        second = in(reg) new[1],
                        options(nostack, preserves_flags),
                    );
                }
            }

            /// s390x and POWER have stores of 16 bytes.
            #[cfg(not(target_arch = "aarch64"))]
            #[inline(always)]
            pub(crate) fn store(&self, _mark: u64, new: [u64; 2]) {
                self.0.store(whole(new), SeqCst);
            }

            /// Replaces `old` by `new`, or returns the actual words.
            #[inline(always)]
            pub(crate) fn exchange(&self, old: [u64; 2], new: [u64; 2]) -> Result<(), [u64; 2]> {
                match self.0.compare_exchange(whole(old), whole(new), SeqCst, SeqCst) {
                    Ok(_) => Ok(()),
                    Err(seen) => Err(words(seen)),
                }
            }
        }
    }

    portable_atomic::cfg_no_atomic_128! {
        compile_error!(
            "this processor, or this Rust for it, cannot exchange 16 bytes without a lock: \
             build for x86-64 or arm64, for s390x with Rust 1.84 or for ppc64le with Rust 1.95"
        );

        // So that this is the only error message.
        #[derive(Default)]
        pub(crate) struct AtomicPair(());

        impl AtomicPair {
            pub(crate) fn load(&self) -> [u64; 2] {
                unreachable!()
            }

            pub(crate) fn glance(&self) -> [u64; 2] {
                unreachable!()
            }

            pub(crate) fn store(&self, _mark: u64, _new: [u64; 2]) {
                unreachable!()
            }

            pub(crate) fn exchange(&self, _old: [u64; 2], _new: [u64; 2]) -> Result<(), [u64; 2]> {
                unreachable!()
            }
        }
    }
}

/// Miri does not interpret assembler. It runs a single process, for which a lock is enough.
#[cfg(miri)]
mod interpreted {
    use std::sync::{Mutex, MutexGuard};

    #[derive(Default)]
    #[repr(C, align(16))]
    pub(crate) struct AtomicPair(std::cell::UnsafeCell<[u64; 2]>);

    // SAFETY: both methods hold the lock.
    unsafe impl Sync for AtomicPair {}

    static LOCK: Mutex<()> = Mutex::new(());

    impl AtomicPair {
        fn locked(&self) -> (MutexGuard<'_, ()>, *mut [u64; 2]) {
            (LOCK.lock().unwrap(), self.0.get())
        }

        pub(crate) fn load(&self) -> [u64; 2] {
            let (_lock, pair) = self.locked();
            // SAFETY: a borrowed cell, under the lock.
            unsafe { *pair }
        }

        pub(crate) fn glance(&self) -> [u64; 2] {
            self.load()
        }

        pub(crate) fn store(&self, _mark: u64, new: [u64; 2]) {
            let (_lock, pair) = self.locked();
            // SAFETY: as above.
            unsafe { *pair = new };
        }

        pub(crate) fn exchange(&self, old: [u64; 2], new: [u64; 2]) -> Result<(), [u64; 2]> {
            let (_lock, pair) = self.locked();
            // SAFETY: as above.
            let seen = unsafe { *pair };
            if seen != old {
                return Err(seen);
            }
            // SAFETY: as above.
            unsafe { *pair = new };
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::AtomicPair;
    use std::sync::Barrier;

    #[test]
    fn both_words_are_exchanged_or_none_and_who_fails_sees_what_is_there() {
        let pair = AtomicPair::default();
        let words = [0x0102_0304_0506_0708, 0x1112_1314_1516_1718];
        assert_eq!(pair.load(), [0, 0]);
        for wrong in [[1, 0], [0, 1], [1 << 63, 0], [0, 1 << 63]] {
            assert_eq!(pair.exchange(wrong, words), Err([0, 0]));
        }
        assert_eq!(pair.exchange([0, 0], words), Ok(()));
        assert_eq!((pair.load(), pair.glance()), (words, words));
        assert_eq!(pair.exchange([0, 0], [0, 0]), Err(words));
    }

    #[test]
    fn the_first_word_comes_first_in_memory() {
        let pair = AtomicPair::default();
        assert_eq!(pair.exchange([0, 0], [1, 2]), Ok(()));
        assert_eq!(std::mem::size_of::<AtomicPair>(), 16);
        // SAFETY: an initialised pair is two words, and this one is not shared.
        assert_eq!(unsafe { std::ptr::read((&pair as *const AtomicPair).cast::<[u64; 2]>()) }, [1, 2]);
    }

    #[test]
    #[cfg(not(miri))]
    fn a_load_needs_no_right_to_write() {
        let page = memmap2::MmapOptions::new().len(4096).map_anon().unwrap().make_read_only().unwrap();
        // SAFETY: a page of zeros, which is a valid pair and is not written to.
        let pair = unsafe { &*page.as_ptr().cast::<AtomicPair>() };
        assert_eq!(pair.load(), [0, 0]);
    }

    #[test]
    #[cfg(all(any(target_arch = "x86_64", target_arch = "aarch64"), not(miri)))]
    fn what_two_exchanges_left_is_loaded_again() {
        let loads = std::cell::RefCell::new(vec![(5, 6, 5), (3, 4, 5), (1, 4, 3), (1, 2, 3)]);
        assert_eq!(super::enclosed(|| loads.borrow_mut().pop().unwrap()), [5, 6]);
        assert!(loads.borrow().is_empty());
    }

    #[test]
    fn a_store_is_in_order_and_leaves_both_words() {
        let pair = AtomicPair::default();
        pair.store(1, [2, 3]);
        assert_eq!(pair.load(), [2, 3]);
        pair.store(5, [5, 0]);
        assert_eq!(pair.load(), [5, 0]);
    }

    #[test]
    fn readers_beside_stores_see_a_mark_or_both_words_of_one_of_them() {
        const COUNT: u64 = if cfg!(miri) { 20 } else { 200_000 };
        let (pair, start) = (&AtomicPair::default(), &Barrier::new(3));
        let second = |first: u64| first.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(move || {
                    start.wait();
                    let mut last = 0;
                    while last < 2 * COUNT {
                        let seen = pair.load();
                        assert!(seen[0] % 2 == 1 || seen[1] == second(seen[0]), "{:?}", seen);
                        assert!(seen[0] >= last, "{} after {}", seen[0], last);
                        last = seen[0];
                    }
                });
            }
            start.wait();
            for first in (2..=2 * COUNT).step_by(2) {
                pair.store(first - 1, [first, second(first)]);
            }
        });
    }

    #[test]
    fn readers_beside_exchanges_see_both_words_of_one_of_them() {
        const EACH: u64 = if cfg!(miri) { 20 } else { 20_000 };
        let (pair, start) = (&AtomicPair::default(), &Barrier::new(4));
        let of = |n: u64| [n, n.wrapping_mul(0x9e37_79b9_7f4a_7c15)];
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(move || {
                    start.wait();
                    for _ in 0..EACH {
                        let mut seen = pair.load();
                        while let Err(now) = pair.exchange(seen, of(seen[0] + 1)) {
                            assert_eq!(now, of(now[0]));
                            seen = now;
                        }
                    }
                });
                scope.spawn(move || {
                    start.wait();
                    let mut last = 0;
                    while last < 2 * EACH {
                        let seen = pair.load();
                        assert_eq!(seen, of(seen[0]));
                        assert!(seen[0] >= last, "{} after {}", seen[0], last);
                        last = seen[0];
                    }
                });
            }
        });
        assert_eq!(pair.load(), of(2 * EACH));
    }
}
