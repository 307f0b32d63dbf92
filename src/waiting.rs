//! Sleeping until a ring has a message, by the eventcount or, where that cannot be written to, by naps.

use crate::any_ring::AnyRing;
use crate::cursor::{Cursor, Next};
use crate::wait::{monotonic_ns, nap, Sleep, MAX_SLEEP_NS};

/// How a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
#[non_exhaustive]
pub enum Wait {
    /// The deadline passed and there is no message.
    TimedOut = 0,
    /// There is a message.
    Ready = 1,
    /// A signal was handled, or may have been: look after it and wait again.
    Interrupted = 2,
    /// There is no message, and none will come: somebody removed the ring's file, or replaced it.
    Gone = 3,
}

/// Sleeps until there is a message at the cursor, the clock reaches `deadline`, or a signal was handled; or `stop`, asked
/// between announcement and sleep: then as if a signal had come. A caller that `tells` publishers what it passed is not left asleep
/// before it has done so: it is as if a signal had come, too.
pub(crate) fn sleep_for_message(
    ring: &AnyRing,
    cursor: &mut Cursor,
    deadline: u64,
    naps: &mut u32,
    tells: bool,
    stop: impl Fn() -> bool,
) -> Wait {
    let start = cursor.next();
    loop {
        // Who may not write cannot announce itself, and looks from time to time.
        let word = if cursor.read_only() { None } else { Some(ring.header().wake.prepare_wait()) };
        let next = ring.look(cursor);
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
        if next == Next::More || tells && cursor.next() != start {
            return Wait::Interrupted;
        }
        let bound = now + MAX_SLEEP_NS;
        let until = match next {
            Next::Claimed(when) => when.max(now),
            _ => bound,
        };
        let most = until.min(deadline).min(bound) - now;
        let slept = match word {
            Some(word) => ring.header().wake.sleep(word, most),
            None => nap(naps, most),
        };
        if ring.look(cursor) == Next::Ready(()) {
            return Wait::Ready;
        }
        // After a whole slice, too: a signal may have come just before the sleep began. A nap is a slice.
        if slept == Sleep::Interrupted
            // What is not wanted was passed: the caller says so where publishers wait for it.
            || cursor.filter().is_some()
            || word.is_none() && monotonic_ns() < deadline
            || (slept == Sleep::TimedOut && until == bound && bound < deadline)
        {
            return Wait::Interrupted;
        }
    }
}
