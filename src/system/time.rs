//! The clock, short rests, and how much time and work a look may take.

use crate::wait::Sleep;

/// How long a claimed position may stay uncommitted before readers give it up. A publisher that is alive needs
/// nanoseconds; one that was only slow publishes again at the end, so this bounds a wait and decides nothing else.
pub(crate) const CLAIM_TIMEOUT_NS: u64 = 2_000_000;
/// Positions without a message that one look passes at most, and claims that it gives up: about a millisecond's work.
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

/// Nanoseconds since 1970, on the clock that people look at.
pub(crate) fn wall_ns() -> u64 {
    use std::time::{SystemTime, UNIX_EPOCH};
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64)
}

/// The shortest and the longest sleep of who cannot be woken, in nanoseconds.
const NAP_NS: (u64, u64) = (50_000, 5_000_000);

/// Of who cannot sleep as it should, in nanoseconds.
pub(crate) const SHORT_REST_NS: u64 = 5_000_000;

/// How long the next of a row of naps is, each longer than the last, in nanoseconds; `naps` counts them.
pub(crate) fn nap_ns(naps: &mut u32) -> u64 {
    let nanoseconds = (NAP_NS.0 << (*naps).min(16)).min(NAP_NS.1);
    *naps = naps.saturating_add(1);
    nanoseconds
}

/// The next of them, of at most `most` nanoseconds.
pub(crate) fn nap(naps: &mut u32, most: u64) -> Sleep {
    rest(nap_ns(naps).min(most))
}

/// Sleeps for so many nanoseconds, less than a second, or until a signal was handled.
pub(crate) fn rest(nanoseconds: u64) -> Sleep {
    let wanted = libc::timespec { tv_sec: 0, tv_nsec: nanoseconds as libc::c_long };
    // SAFETY: a timespec to read; what remains is not asked for.
    if unsafe { libc::nanosleep(&wanted, std::ptr::null_mut()) } == 0 {
        return Sleep::Woken;
    }
    Sleep::Interrupted
}

/// Lets others who wait for this processor go first.
pub(crate) fn give_way() {
    std::thread::yield_now();
}

/// A moment's rest between two looks.
#[inline(always)]
pub(crate) fn pause() {
    std::hint::spin_loop();
}

/// Processors that this process may use, as at the first call.
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
