//! Time of a model, which does not pass.

use crate::wait::Sleep;

/// A claim timeout may pass at any moment.
pub(crate) const CLAIM_TIMEOUT_NS: u64 = 0;

/// Every batch may look.
pub(crate) const RECOVERY_NS: u64 = 0;

/// Small, so that a search ends in the middle of a few positions.
pub(crate) const PIECE: u64 = 2;

/// Always 0: time does not pass in a model.
pub fn monotonic_ns() -> u64 {
    0
}

/// Counts a nap of 0 nanoseconds.
pub(crate) fn nap_ns(naps: &mut u32) -> u64 {
    *naps += 1;
    0
}

pub(crate) fn wall_ns() -> u64 {
    0
}

/// Ends at once.
pub(crate) fn nap(naps: &mut u32, _: u64) -> Sleep {
    *naps += 1;
    pause();
    Sleep::Woken
}

pub(crate) const SHORT_REST_NS: u64 = 1;

/// Ends at once.
pub(crate) fn rest(_: u64) -> Sleep {
    pause();
    Sleep::Woken
}

pub(crate) fn give_way() {}

pub(crate) fn pause() {
    loom::thread::yield_now();
}

pub(crate) fn cpus() -> usize {
    1
}
