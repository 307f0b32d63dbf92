//! Sleeping and waking: an eventcount over one futex word, and the clock that bounds every wait.
//!
//! ```text
//!   word = epoch << 2 | K << 1 | W        W: there may be a waiter        K: a wake-up was started
//!
//!   sleep   w = fetch_or(W) | W;  recheck the ring;  if it is still empty: futex_wait(w), at most 1 s;  repeat
//!   wake    after a commit: load; if neither W nor K is set: done
//!           W: exchange for (epoch + 1, K, no W);  futex_wake all;  exchange that for the same without K
//!           K alone: futex_wake all;  exchange for the same without K
//! ```
//!
//! A waiter sets W before it rechecks the ring. A publisher commits before it loads the word. All four are in one total
//! order, so at least one of the two sees the other. Every wake-up changes the word, so a waiter that set W before the wake-up
//! and calls futex_wait after it does not sleep. A burst of publishes makes one system call per sleep, because the first
//! clears W. K covers a waker that is killed between its exchange and its futex_wake: the next publisher sees K and
//! wakes in its place. If a publisher is killed between commit and exchange, waiters recheck after 1 s at most. A killed
//! waiter leaves W set, which costs the next publisher one system call.
//!
//! Only W starts a new epoch. If W is clear, no waiter has prepared since the last epoch started, so a publisher that sees K
//! alone wakes and clears K in the same epoch. A slow waker that set K then finds nothing left to do. If the publisher
//! started an epoch of its own, it would set K again just before the slow waker clears it, the next publisher would see that
//! K and do the same, and wake-ups would cause wake-ups while no waiter sleeps. So a publisher makes at most one
//! system call per prepared wait, and two publishers make at most two per sleep.
//!
//! This is the eventcount of D. P. Reed and R. K. Kanodia (1979), in D. Vyukov's form with a waiters' bit. K is an addition
//! for processes that are killed.

use crate::fault::fault_point;
use crate::layout::WakeLine;
use crate::sync::AtomicU64;
use crate::sync::Ordering::{Relaxed, SeqCst};
use crate::time::cpus;

pub(crate) use crate::futex::{futex_wait, futex_wake};
pub use crate::time::monotonic_ns;
pub(crate) use crate::time::{nap, pause};

const W: u32 = 1;
const K: u32 = 2;
const EPOCH: u32 = 4;

/// The longest sleep, in nanoseconds. It bounds the delay if a publisher is killed before it wakes the waiters.
pub(crate) const MAX_SLEEP_NS: u64 = 1_000_000_000;

/// A deadline that is never reached.
pub const NEVER: u64 = u64::MAX;

/// Whether `period_ns` have passed since this last returned true for `last`. Threads that ask at the same time may all get true.
pub(crate) fn is_due(last: &AtomicU64, period_ns: u64) -> bool {
    let now = monotonic_ns();
    // Relaxed: a hint.
    let is_due = now.saturating_sub(last.load(Relaxed)) >= period_ns;
    if is_due {
        last.store(now, Relaxed);
    }
    is_due
}

/// How a sleep ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sleep {
    /// It was woken, or the word had already changed, or the wake-up was spurious.
    Woken,
    TimedOut,
    /// A signal was handled.
    Interrupted,
}

impl WakeLine {
    /// Wakes all waiters. To be called after a commit. Without waiters it neither writes nor makes a system call.
    #[inline(always)]
    pub(crate) fn wake_sleepers(&self) {
        fault_point!("before-wake");
        // SeqCst, and the commit before it is, or is followed by, a SeqCst exchange. Meets `prepare_wait`.
        let seen = self.word.load(SeqCst);
        if seen & (W | K) != 0 {
            self.wake(seen);
        }
    }

    #[cold]
    #[inline(never)]
    fn wake(&self, mut seen: u32) {
        while seen & W != 0 {
            let waking = (seen & !(W | K)).wrapping_add(EPOCH) | K;
            match self.word.compare_exchange(seen, waking, SeqCst, SeqCst) {
                Ok(_) => {
                    fault_point!("wake-marked");
                    seen = waking;
                }
                Err(now) => seen = now,
            }
        }
        if seen & K != 0 {
            // Relaxed: a statistic. All waiters are about to be woken.
            self.sleepers.store(0, Relaxed);
            futex_wake(&self.word, i32::MAX);
            fault_point!("wake-sent");
            // If the word has changed, either another waker has finished, or there is a new waiter for the next publisher to wake.
            let _ = self.word.compare_exchange(seen, seen & !K, SeqCst, SeqCst);
        }
    }

    /// Announces that the caller is about to sleep. It must recheck the ring before it calls `sleep` with the returned word.
    #[inline]
    pub(crate) fn prepare_wait(&self) -> u32 {
        self.word.fetch_or(W, SeqCst) | W
    }

    /// Sleeps for at most `nanoseconds`, until a wake-up that is later than the `prepare_wait` that returned `word`.
    pub(crate) fn sleep(&self, word: u32, nanoseconds: u64) -> Sleep {
        self.begin_sleep();
        let how = futex_wait(&self.word, word, nanoseconds);
        self.end_sleep(word);
        how
    }

    /// Counts a waiter that is about to sleep on this word by another call.
    pub(crate) fn begin_sleep(&self) {
        // Relaxed: a statistic. Wakers set it to 0, so `end_sleep` subtracts only if there was no wake-up.
        self.sleepers.fetch_add(1, Relaxed);
    }

    /// Undoes `begin_sleep`; `word` is what `prepare_wait` returned.
    pub(crate) fn end_sleep(&self, word: u32) {
        if self.word.load(Relaxed) / EPOCH == word / EPOCH {
            let _ = self.sleepers.fetch_update(Relaxed, Relaxed, |n| n.checked_sub(1));
        }
    }

    /// The number of waiters, a statistic.
    pub(crate) fn sleepers(&self) -> u32 {
        self.sleepers.load(Relaxed)
    }
}

/// Adaptive spinning before a sleep: longer after it paid off, shorter after it did not.
///
/// A wake-up takes tens of microseconds from process to process, and costs the publisher time, too. Spinning pays if the
/// next message comes sooner than that. While it pays, a subscriber that found nothing in a round yields its CPU: if there are
/// more subscribers than CPUs, those that have caught up let the publisher and the others run, and none of them needs a wake-up.
/// From time to time it spins for the longest time whatever it learned: if two processes answer each other, spinning
/// starts to pay only once one of them does it.
#[derive(Clone, Debug)]
pub(crate) struct Spin {
    /// Rounds in the next wait.
    rounds: u32,
    /// Whether the last wait ended while it was spinning.
    paid: bool,
    waits: u32,
}

/// Looks in a round, which takes one or two microseconds with its pauses.
const LOOKS: u32 = 64;
const MAX_ROUNDS: u32 = 32;
/// One wait of so many spins for `MAX_ROUNDS`.
const EXPLORE: u32 = 16;
/// If a yield takes longer than this, in nanoseconds, the CPU is busy. Then it is better to sleep, since the scheduler prefers
/// processes that it wakes.
const LONG_YIELD_NS: u64 = 500_000;

impl Spin {
    pub(crate) fn new() -> Self {
        Spin { rounds: MAX_ROUNDS, paid: false, waits: 0 }
    }

    /// Calls `look` until it returns true, for a while. Returns whether it did.
    pub(crate) fn until(&mut self, mut look: impl FnMut() -> bool) -> bool {
        if cpus() < 2 {
            return false;
        }
        self.waits = self.waits.wrapping_add(1);
        let rounds = if self.waits % EXPLORE == 0 { MAX_ROUNDS } else { self.rounds };
        for _ in 0..rounds {
            for _ in 0..LOOKS {
                if look() {
                    self.rounds = (rounds * 2).min(MAX_ROUNDS);
                    self.paid = true;
                    return true;
                }
                pause();
            }
            if self.paid {
                let start = monotonic_ns();
                std::thread::yield_now();
                if monotonic_ns() - start > LONG_YIELD_NS && !look() {
                    break;
                }
            }
        }
        self.rounds = (self.rounds / 2).max(1);
        self.paid = false;
        false
    }
}

#[cfg(test)]
mod tests;
