//! Sleeping on words of shared memory, and waking the waiters in all processes.

use std::os::raw::c_long;

use crate::sync::AtomicU32;
use crate::sync::Ordering::Relaxed;
use crate::time::{monotonic_ns, rest, SHORT_REST_NS};
use crate::wait::Sleep;

/// Sleeps while `word` is `expected`, for at most `nanoseconds`. Works across processes.
pub(crate) fn futex_wait(word: &AtomicU32, expected: u32, nanoseconds: u64) -> Sleep {
    let timeout = timespec(nanoseconds);
    // SAFETY: `word` and `timeout` outlive the call; the kernel reads both.
    let result =
        unsafe { libc::syscall(libc::SYS_futex, word as *const AtomicU32, libc::FUTEX_WAIT, expected, &timeout) };
    match if result == 0 { 0 } else { crate::error::last_os_code() } {
        libc::ETIMEDOUT => Sleep::TimedOut,
        libc::EINTR => Sleep::Interrupted,
        _ => Sleep::Woken,
    }
}

/// Wakes up to `most` waiters of `word`, in all processes.
pub(crate) fn futex_wake(word: &AtomicU32, most: i32) {
    // SAFETY: the kernel only looks at the address.
    unsafe { libc::syscall(libc::SYS_futex, word as *const AtomicU32, libc::FUTEX_WAKE, most) };
}

/// The most words that one thread can sleep on.
pub(crate) const MAX_WORDS: usize = 128;

/// Old versions of the `libc` crate do not name it. New system calls have the same number on all architectures.
const SYS_FUTEX_WAITV: c_long = 449;
const FUTEX_32: u32 = 2;

/// Whether the kernel has a feature and lets this process use it, checked once.
pub(crate) struct Known(AtomicU32);

impl Known {
    const NO: u32 = 1;
    const YES: u32 = 2;

    pub(crate) const fn not_yet() -> Self {
        Known(AtomicU32::new(0))
    }

    /// The result of the first call of `ask`.
    pub(crate) fn or_ask(&self, ask: impl FnOnce() -> bool) -> bool {
        // Relaxed: all threads get the same answer.
        match self.0.load(Relaxed) {
            Self::YES => true,
            Self::NO => false,
            _ => {
                let has = ask();
                self.0.store(if has { Self::YES } else { Self::NO }, Relaxed);
                has
            }
        }
    }
}

/// Whether this process can use futex_waitv (Linux 5.16; a seccomp filter may forbid it), as of the first call.
pub(crate) fn has_waitv() -> bool {
    static KNOWN: Known = Known::not_yet();
    KNOWN.or_ask(|| {
        // SAFETY: no words, which is an invalid argument if the call exists.
        let result = unsafe { libc::syscall(SYS_FUTEX_WAITV, 0usize, 0u32, 0u32, 0usize, 0) };
        result < 0 && crate::error::last_os_code() == libc::EINVAL
    })
}

/// The kernel's `struct futex_waitv`.
#[repr(C)]
#[derive(Clone, Copy)]
struct Word {
    expected: u64,
    address: u64,
    flags: u32,
    reserved: u32,
}

/// Words to sleep on, at most [`MAX_WORDS`], each with its expected value. It does not allocate memory.
pub(crate) struct Words {
    words: [Word; MAX_WORDS],
    count: usize,
    woken: Option<usize>,
}

impl Words {
    pub(crate) fn new() -> Self {
        Words {
            words: [Word { expected: 0, address: 0, flags: FUTEX_32, reserved: 0 }; MAX_WORDS],
            count: 0,
            woken: None,
        }
    }

    pub(crate) fn clear(&mut self) {
        self.count = 0;
    }

    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// Adds a word. It may be unmapped before the sleep, which then returns at once, or during it.
    pub(crate) fn push(&mut self, word: &AtomicU32, expected: u32) {
        let (expected, address) = (u64::from(expected), word as *const AtomicU32 as u64);
        self.words[self.count] = Word { expected, address, ..self.words[self.count] };
        self.count += 1;
    }

    /// The index of a word that ended the last sleep, if that is known. Others may have changed, too.
    pub(crate) fn woken(&self) -> Option<usize> {
        self.woken
    }

    /// Replaces the word at index `at`.
    pub(crate) fn put(&mut self, at: usize, word: &AtomicU32, expected: u32) {
        self.words[at].address = word as *const AtomicU32 as u64;
        self.expect(at, expected);
    }

    /// Changes the expected value of the word at index `at`.
    pub(crate) fn expect(&mut self, at: usize, expected: u32) {
        self.words[at].expected = u64::from(expected);
    }

    /// Removes the word at index `at`; the last one takes its index.
    pub(crate) fn swap_remove(&mut self, at: usize) {
        self.count -= 1;
        self.words[at] = self.words[self.count];
    }

    /// Sleeps while all words have their expected values, for at most `nanoseconds`, less than 2^63. More than one word needs
    /// [`has_waitv`].
    pub(crate) fn sleep(&mut self, nanoseconds: u64) -> Sleep {
        self.woken = None;
        let relative = timespec(nanoseconds);
        let until = timespec(monotonic_ns() + nanoseconds);
        // SAFETY: words and times outlive the calls; the kernel checks whether it can read the words.
        let result = unsafe {
            match self.count {
                0 => return rest(nanoseconds.min(LONG_REST_NS)),
                1 => libc::syscall(
                    libc::SYS_futex,
                    self.words[0].address,
                    libc::FUTEX_WAIT,
                    self.words[0].expected,
                    &relative,
                ),
                count => {
                    libc::syscall(SYS_FUTEX_WAITV, self.words.as_ptr(), count, 0u32, &until, libc::CLOCK_MONOTONIC)
                }
            }
        };
        self.woken = usize::try_from(result).ok().filter(|_| self.count > 1);
        match if result >= 0 { 0 } else { crate::error::last_os_code() } {
            0 | libc::EAGAIN | libc::EFAULT => Sleep::Woken,
            libc::ETIMEDOUT => Sleep::TimedOut,
            libc::EINTR => Sleep::Interrupted,
            // The kernel is out of memory, or a seccomp filter forbids the call now. Do not spin.
            _ => rest(nanoseconds.min(SHORT_REST_NS)),
        }
    }
}

/// The length of a sleep without words, in nanoseconds.
const LONG_REST_NS: u64 = 999_999_999;

pub(crate) fn timespec(nanoseconds: u64) -> libc::timespec {
    libc::timespec {
        tv_sec: (nanoseconds / 1_000_000_000) as libc::time_t,
        tv_nsec: (nanoseconds % 1_000_000_000) as libc::c_long,
    }
}
