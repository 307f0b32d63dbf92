//! Sleeping on a word of shared memory, and waking whoever does, in any process.

use crate::sync::AtomicU32;
use crate::wait::Sleep;

/// Sleeps while `word` is `expected`, for at most `nanoseconds`. Works across processes.
pub(crate) fn futex_wait(word: &AtomicU32, expected: u32, nanoseconds: u64) -> Sleep {
    let timeout = libc::timespec {
        tv_sec: (nanoseconds / 1_000_000_000) as libc::time_t,
        tv_nsec: (nanoseconds % 1_000_000_000) as libc::c_long,
    };
    // SAFETY: `word` and `timeout` outlive the call; the kernel reads both.
    let result =
        unsafe { libc::syscall(libc::SYS_futex, word as *const AtomicU32, libc::FUTEX_WAIT, expected, &timeout) };
    match if result == 0 { 0 } else { crate::error::last_os_code() } {
        libc::ETIMEDOUT => Sleep::TimedOut,
        libc::EINTR => Sleep::Interrupted,
        _ => Sleep::Woken,
    }
}

/// Wakes up to `most` sleepers on `word`, in all processes.
pub(crate) fn futex_wake(word: &AtomicU32, most: i32) {
    // SAFETY: the kernel only looks at the address.
    unsafe { libc::syscall(libc::SYS_futex, word as *const AtomicU32, libc::FUTEX_WAKE, most) };
}
