//! The string rings' lock: one futex word that survives its owner.
//!
//! The word follows the kernel's robust-futex protocol (its `robust-futex-ABI` document): the owner's thread id,
//! `FUTEX_WAITERS`, `FUTEX_OWNER_DIED`. While a thread locks, holds and unlocks, the pending entry of its robust list
//! points at the word (see [`crate::robust`]). Whatever way the owner goes (SIGKILL, exec, a crash), the kernel then sets
//! `FUTEX_OWNER_DIED`, clears the id and wakes a waiter; the next owner counts a recovery and has nothing to repair,
//! because a message counts only from the last store of its publication on. Thread ids that are used again do no harm:
//! only the dying task itself compares them. A stopped owner is never robbed; one that never was, because somebody
//! scribbled on the word, is found out after two seconds.
//!
//! A released lock goes to whoever comes first, not to whoever waits longest: on few processors handing over would
//! make every publish wait for a context switch.

use crate::layout::LockLine;
use crate::robust::{self, Me};
use crate::sync::Backoff;
use crate::sync::Ordering::{AcqRel, Acquire, Relaxed, SeqCst};
use crate::wait::{futex_wait, futex_wake, Sleep};

const OWNER: u32 = 0x3fff_ffff;
const OWNER_DIED: u32 = 0x4000_0000;
const WAITERS: u32 = 0x8000_0000;

/// The longest sleep in nanoseconds; a wake-up that died with its waker heals by it. After each in vain the caller looks after
/// signals, because one may have come just before the sleep.
const LONGEST_SLEEP_NS: u64 = 40_000_000;

/// The lock could not be had yet, and signals may have to be handled. Nothing was changed.
#[derive(Debug)]
pub(crate) struct Interrupted;

/// The lock, held; dropping it unlocks.
pub(crate) struct Guard<'a> {
    line: &'a LockLine,
    me: Me,
    /// What stood in the pending entry before.
    outer: robust::Pending,
}

/// Acquires the lock of `line`.
#[inline(always)]
pub(crate) fn acquire(line: &LockLine) -> Result<Guard<'_>, Interrupted> {
    let me = Me::current();
    me.note_namespace(line);
    let outer = me.set_pending(&line.word);
    // Acquire: meets the exchange of the last owner's unlock. Release: who sees the owner sees its namespace.
    if line.word.compare_exchange(0, me.id(), AcqRel, Relaxed).is_err() {
        me.restore_pending(outer);
        acquire_slow(line, me)?;
    }
    Ok(Guard { line, me, outer })
}

/// Returns with the lock taken and the pending entry set.
#[cold]
#[inline(never)]
fn acquire_slow(line: &LockLine, me: Me) -> Result<(), Interrupted> {
    let word = &line.word;
    // Who slept cannot know whether others still do, and so takes the lock with WAITERS set.
    let mut others = 0;
    let backoff = Backoff::new();
    loop {
        let seen = word.load(Relaxed);
        if seen & OWNER == 0 {
            let outer = me.set_pending(word);
            if word.compare_exchange(seen, me.id() | seen & WAITERS | others, AcqRel, Relaxed).is_ok() {
                if seen & OWNER_DIED != 0 {
                    // Relaxed: a statistic.
                    line.recoveries.fetch_add(1, Relaxed);
                }
                return Ok(());
            }
            me.restore_pending(outer);
        } else if !backoff.is_completed() {
            backoff.snooze();
        } else if seen & WAITERS != 0 || word.compare_exchange(seen, seen | WAITERS, Relaxed, Relaxed).is_ok() {
            others = WAITERS;
            let slept = futex_wait(word, seen | WAITERS, LONGEST_SLEEP_NS);
            if slept == Sleep::Woken {
                backoff.reset();
                continue;
            }
            // Acquire: the owner made its namespace known before it took the lock.
            let still = word.load(Acquire) & OWNER == seen & OWNER;
            if still && robust::is_surely_gone(seen & OWNER, line) {
                // As the kernel would have done, unless something changed at last.
                let _ = word.compare_exchange(seen | WAITERS, WAITERS | OWNER_DIED, SeqCst, Relaxed);
            }
            return Err(Interrupted);
        }
    }
}

impl Drop for Guard<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        let word = &self.line.word;
        // SeqCst: releases to the next owner; and a sleeper's exchange of this same word (see `order_after_unlock`)
        // comes before it and is seen by the look for sleepers that follows, or after it and sees the message.
        let seen = word.swap(0, SeqCst);
        if seen & WAITERS != 0 {
            return self.wake_next();
        }
        self.me.restore_pending(self.outer);
    }
}

impl Guard<'_> {
    /// Wakes one that waits and ends the unlock.
    #[cold]
    #[inline(never)]
    fn wake_next(&self) {
        // Should this thread die first, the kernel wakes one instead: it looks at the pending entry. But to the kernel the
        // word is still ours if the next owner has our id in another namespace.
        let namesake = self.me.may_have_a_namesake(self.line);
        if namesake {
            self.me.restore_pending(self.outer);
        }
        futex_wake(&self.line.word, 1);
        if !namesake {
            self.me.restore_pending(self.outer);
        }
    }
}

/// Orders what the caller did before this after every unlock that came earlier, and before every later one.
///
/// Both sides exchange the lock's word, and exchanges of one word have one order: this is what a SeqCst fence in every
/// publish would do, paid by those who are about to sleep.
pub(crate) fn order_after_unlock(line: &LockLine) {
    line.word.fetch_or(0, SeqCst);
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_next_owner_counts_a_death() {
        let line = LockLine::default();
        line.word.store(OWNER_DIED, SeqCst);
        drop(acquire(&line).unwrap());
        assert_eq!((line.word.load(SeqCst), line.recoveries.load(SeqCst)), (0, 1));
        drop(acquire(&line).unwrap());
        assert_eq!(line.recoveries.load(SeqCst), 1);
    }

    #[test]
    fn who_does_not_get_the_lock_has_nothing_pending() {
        let line = LockLine::default();
        let me = Me::current();
        line.word.store(me.id(), SeqCst);
        assert!(acquire(&line).is_err(), "after a sleep");
        assert!(me.pending().is_null());
        line.word.store(0, SeqCst);
        let guard = acquire(&line).unwrap();
        assert!(!me.pending().is_null());
        drop(guard);
        assert!(me.pending().is_null());
    }

    #[test]
    fn threads_exclude_each_other() {
        struct Counter(std::cell::UnsafeCell<u64>, LockLine);
        // SAFETY: the cell is only touched under the lock.
        unsafe impl Sync for Counter {}
        let counter = Counter(Default::default(), LockLine::default());
        let counter = &counter;
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(move || {
                    for _ in 0..50_000 {
                        let _guard = acquire(&counter.1).unwrap();
                        // SAFETY: the lock is held.
                        unsafe { *counter.0.get() += 1 };
                    }
                });
            }
        });
        // SAFETY: all threads have ended.
        assert_eq!(unsafe { *counter.0.get() }, 200_000);
        assert_eq!((counter.1.word.load(SeqCst), counter.1.recoveries.load(SeqCst)), (0, 0));
    }
}
