//! Sleeping until a ring has a message: on the eventcount, or by polling with naps on a read-only mapping.

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
    /// A signal was handled, or may have been: handle it and wait again.
    Interrupted = 2,
    /// There is no message, and there will be none: the ring's file was removed or replaced.
    Gone = 3,
}

/// Sleeps until there is a message at the cursor, the clock reaches `deadline`, or a signal was handled. `stop` is called
/// just before each sleep; if it returns true, the result is [`Wait::Interrupted`]. So it is if the cursor has passed messages and
/// the caller `tells` publishers about that: it must do so before it sleeps.
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
        // A read-only mapping cannot set W; it naps instead.
        let word = if cursor.read_only() { None } else { Some(ring.header().wake.prepare_wait()) };
        let next = ring.look(cursor);
        if next == Next::Ready(()) {
            return Wait::Ready;
        }
        let now = monotonic_ns();
        // As late as possible. A signal after this ends the sleep, unless it arrives in the nanoseconds before the sleep begins.
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
        // Also after MAX_SLEEP_NS or a nap, because a signal may have arrived just before the sleep began.
        if slept == Sleep::Interrupted
            // Messages that the filter rejects were passed. Publishers of a lossless ring may wait for the caller to say so.
            || cursor.filter().is_some()
            || word.is_none() && monotonic_ns() < deadline
            || (slept == Sleep::TimedOut && until == bound && bound < deadline)
        {
            return Wait::Interrupted;
        }
    }
}
