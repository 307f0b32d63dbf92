//! The clocks, short sleeps, and the limits for claims and looks.

use crate::wait::Sleep;

/// How long a position may stay claimed before readers abandon it. A running publisher needs nanoseconds. If it was only slow, it
/// publishes at another position, so this timeout bounds the wait of readers and affects nothing else.
pub(crate) const CLAIM_TIMEOUT_NS: u64 = 2_000_000;
/// How often a handle looks for batches of publishers that have exited, in nanoseconds.
pub(crate) const RECOVERY_NS: u64 = 20_000_000;
/// The most positions without a message that one look passes, and the most claims that it abandons: about a millisecond of work.
pub(crate) const PIECE: u64 = 1 << 16;
/// The monotonic clock in nanoseconds.
///
/// ```
/// # use data_pubsub_shared::monotonic_ns;
/// assert!(monotonic_ns() <= monotonic_ns());
/// ```
pub fn monotonic_ns() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` is a timespec to write to; this clock always exists.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut now) };
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// The wall clock, in nanoseconds since 1970.
pub(crate) fn wall_ns() -> u64 {
    use std::time::{SystemTime, UNIX_EPOCH};
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64)
}

/// The shortest and the longest nap, in nanoseconds. A nap is a sleep without wake-up.
const NAP_NS: (u64, u64) = (50_000, 5_000_000);

/// The length of a sleep in place of one that has failed, in nanoseconds.
pub(crate) const SHORT_REST_NS: u64 = 5_000_000;

/// The length of the next nap in nanoseconds, with exponential backoff; `naps` counts them.
pub(crate) fn nap_ns(naps: &mut u32) -> u64 {
    let nanoseconds = (NAP_NS.0 << (*naps).min(16)).min(NAP_NS.1);
    *naps = naps.saturating_add(1);
    nanoseconds
}

/// Sleeps for the next nap, for at most `most` nanoseconds.
pub(crate) fn nap(naps: &mut u32, most: u64) -> Sleep {
    rest(nap_ns(naps).min(most))
}

/// Sleeps for so many nanoseconds, less than a second, or until a signal was handled.
pub(crate) fn rest(nanoseconds: u64) -> Sleep {
    let wanted = libc::timespec { tv_sec: 0, tv_nsec: nanoseconds as libc::c_long };
    // SAFETY: a timespec to read; the remaining time is not returned.
    if unsafe { libc::nanosleep(&wanted, std::ptr::null_mut()) } == 0 {
        return Sleep::Woken;
    }
    Sleep::Interrupted
}

/// Lets other threads that wait for this CPU run first.
pub(crate) fn give_way() {
    std::thread::yield_now();
}

/// A short pause between two looks of a spinning thread.
#[inline(always)]
pub(crate) fn pause() {
    std::hint::spin_loop();
}

/// The number of CPUs that this process may use, as of the first call.
pub(crate) fn cpus() -> usize {
    use std::sync::atomic::{AtomicUsize, Ordering};
    static KNOWN: AtomicUsize = AtomicUsize::new(0);
    match KNOWN.load(Ordering::Relaxed) {
        0 => {
            let n = std::thread::available_parallelism().map_or(1, |n| n.get());
            KNOWN.store(n, Ordering::Relaxed);
            n
        }
        n => n,
    }
}
