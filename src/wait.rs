//! Sleeping and waking: an eventcount over one futex word, and the clock that bounds every wait.
//!
//! ```text
//!   word = epoch << 2 | K << 1 | W        W: someone may sleep        K: a wake-up has been started
//!
//!   sleep   w = fetch_or(W) | W;  look at the ring again;  still nothing: futex_wait(w), at most 1 s;  again
//!   wake    after a commit: load; neither W nor K: done
//!           W: exchange for (epoch + 1, K, no W);  futex_wake all;  exchange that for the same without K
//!           K alone: futex_wake all;  exchange for the same without K
//! ```
//!
//! The sleeper announces itself before its last look, the publisher commits before it looks for sleepers, all in one
//! total order: at least one of them sees the other. Any wake-up changes the word, so a sleeper that was announced before
//! it and calls futex_wait after it does not sleep. A burst of publishes makes one system call per sleep, because the
//! first takes W away. K is there because a waker may be killed between its exchange and its futex_wake: the next
//! publisher sees K and finishes the job. A publisher killed between commit and exchange is healed by the bound of 1 s.
//! A killed sleeper leaves W behind, which the next publisher pays for once.
//!
//! Only W begins an epoch. Without W nobody was announced since the last one began, so a publisher that sees K alone
//! wakes and takes K away in that same epoch: then the waker that set K, if it is only slow, finds nothing left to do. If
//! it began an epoch of its own, it would put a K in the place of the one that the first is about to take away, which
//! the next publisher would see and replace in its turn: wake-ups that beget wake-ups, with no waiter asleep. So each
//! publisher makes one system call per announcement at most: two publishers two per sleep.
//!
//! The idea is the eventcount of D. P. Reed and R. K. Kanodia (1979), in the form with a waiters' bit that D. Vyukov gave
//! it; K is ours, for processes that die.

use crate::fault::fault_point;
use crate::layout::WakeLine;
use crate::sync::Ordering::{Relaxed, SeqCst};
use crate::time::cpus;

pub(crate) use crate::futex::{futex_wait, futex_wake};
pub use crate::time::monotonic_ns;
pub(crate) use crate::time::{nap, pause};

const W: u32 = 1;
const K: u32 = 2;
const EPOCH: u32 = 4;

/// No sleep is longer, in nanoseconds, so that a wake-up that died with its waker heals.
pub(crate) const MAX_SLEEP_NS: u64 = 1_000_000_000;

/// A deadline that never comes.
pub const NEVER: u64 = u64::MAX;

/// How a sleep ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sleep {
    /// Woken, or the word had changed already; or for no reason at all, as futexes may.
    Woken,
    TimedOut,
    /// A signal was handled.
    Interrupted,
}

impl WakeLine {
    /// To be called after a commit: wakes whoever sleeps. Neither a write nor a system call where nobody does.
    #[inline(always)]
    pub(crate) fn wake_sleepers(&self) {
        fault_point!("before-wake");
        // SeqCst, and the commit before it is (or is followed by) a SeqCst exchange: meets `prepare_wait`.
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
            // Relaxed: a statistic. All who sleep are about to be woken.
            self.sleepers.store(0, Relaxed);
            futex_wake(&self.word, i32::MAX);
            fault_point!("wake-sent");
            // If it changed meanwhile, another waker has finished, or there is a new sleeper: the next publisher's affair.
            let _ = self.word.compare_exchange(seen, seen & !K, SeqCst, SeqCst);
        }
    }

    /// Says that the caller is about to sleep. The ring must be looked at again before `sleep`.
    #[inline]
    pub(crate) fn prepare_wait(&self) -> u32 {
        self.word.fetch_or(W, SeqCst) | W
    }

    /// Sleeps until a wake-up later than the announcement that gave `word`, for at most `nanoseconds`.
    pub(crate) fn sleep(&self, word: u32, nanoseconds: u64) -> Sleep {
        self.begin_sleep();
        let how = futex_wait(&self.word, word, nanoseconds);
        self.end_sleep(word);
        how
    }

    /// Counts one who is about to sleep here in some other way.
    pub(crate) fn begin_sleep(&self) {
        // Relaxed: a statistic, set to 0 by wakers and so taken back only where none came.
        self.sleepers.fetch_add(1, Relaxed);
    }

    /// Takes that back; `word` is of the announcement.
    pub(crate) fn end_sleep(&self, word: u32) {
        if self.word.load(Relaxed) / EPOCH == word / EPOCH {
            let _ = self.sleepers.fetch_update(Relaxed, Relaxed, |n| n.checked_sub(1));
        }
    }

    /// How many sleep, as far as is known.
    pub(crate) fn sleepers(&self) -> u32 {
        self.sleepers.load(Relaxed)
    }
}

/// How long to look before sleeping: longer after it paid off, shorter after it did not.
///
/// A wake-up takes tens of microseconds from one process to the other, and the publisher pays for it, too: looking is worth
/// while where the next message is about as near. While it pays, a subscriber that found nothing in a round of looks
/// offers the processor to others: where there are more subscribers than processors, those that have caught up so let
/// the publisher and those that have not go on, and nobody has to be woken. Every now and then it looks for long
/// whatever it learned, because two processes that answer each other find out that looking pays only when one of them does.
#[derive(Clone, Debug)]
pub(crate) struct Spin {
    /// Rounds of looks in the next wait.
    rounds: u32,
    /// Whether the last wait ended by looking.
    paid: bool,
    waits: u32,
}

/// Looks in a round; with their pauses one or two microseconds.
const LOOKS: u32 = 64;
const MAX_ROUNDS: u32 = 32;
/// One wait in so many looks for long.
const EXPLORE: u32 = 16;
/// Somebody else has work to do for longer than this, in nanoseconds: better to sleep, and be preferred when woken.
const LONG_YIELD_NS: u64 = 500_000;

impl Spin {
    pub(crate) fn new() -> Self {
        Spin { rounds: MAX_ROUNDS, paid: false, waits: 0 }
    }

    /// Looks a while. True as soon as `look` is.
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
