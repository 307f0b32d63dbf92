//! A queue of io_uring, with which one thread sleeps on any number of words of shared memory.
//!
//! futex_waitv queues its words in the kernel before a sleep, and unqueues all of them after it. Here a word stays armed until
//! its next wake-up, also while the thread is awake. The answer to a wake-up has the id that the word was armed with, so a
//! wake-up costs the same for any number of words. Requests and answers are in memory that is shared with the kernel; one system
//! call submits the requests and sleeps until there are answers.
//!
//! Only the thread that makes a queue may use it. The kernel completes requests only when that thread enters it, so it
//! does not interrupt other system calls (`DEFER_TASKRUN`). The queue has no descriptor, which a program could close or a forked
//! child inherit: it is registered with the thread (`REGISTERED_FD_ONLY`), of which a thread has at most 16, and is closed when the
//! thread exits, at the latest. Its memory is our own (`NO_MMAP`): two pages, which the kernel pins as long as it uses them, and
//! which forked children do not inherit.
//!
//! An armed word may be unmapped. The kernel reads the word once, while it arms it, and keeps the file or process and the offset to
//! compare them with those of wake-ups.
//!
//! Linux has this since 6.7. Before 6.15 a thread that slept here was counted as waiting for I/O, which would alarm operators, so
//! there it is not used. Nor is it under valgrind.

use std::os::raw::{c_int, c_long};
use std::ptr::{self, NonNull};

use crate::error::last_os_code;
use crate::futex::Known;
use crate::sync::AtomicU32;
use crate::sync::Ordering::{Acquire, Relaxed, Release};
use crate::time::{rest, SHORT_REST_NS};
use crate::wait::Sleep;

/// Old versions of the `libc` crate do not name them. New system calls have the same number on all architectures.
const SYS_SETUP: c_long = 425;
const SYS_ENTER: c_long = 426;
const SYS_REGISTER: c_long = 427;

/// TASKRUN_FLAG, SINGLE_ISSUER, DEFER_TASKRUN, NO_MMAP, REGISTERED_FD_ONLY, NO_SQARRAY.
const SETUP: u32 = 1 << 9 | 1 << 12 | 1 << 13 | 1 << 14 | 1 << 15 | 1 << 16;
const FEATURE_NO_IOWAIT: u32 = 1 << 17;

/// GETEVENTS, EXT_ARG, REGISTERED_RING, NO_IOWAIT.
const ENTER: u32 = 1 | 1 << 3 | 1 << 4 | 1 << 7;

/// UNREGISTER_RING_FDS, with the ring's number in the thread instead of a descriptor.
const UNREGISTER: u32 = 21 | 1 << 31;

/// CQ_OVERFLOW and TASKRUN: the kernel writes more answers when the thread enters it.
const MORE: u32 = 1 << 1 | 1 << 2;

const OP_CANCEL: u8 = 14;
const OP_FUTEX_WAIT: u8 = 51;
/// A futex of 32 bits, shared between processes.
const FUTEX_32: i32 = 2;
const ANY_WAKER: u64 = 0xffff_ffff;
/// There is no answer to a cancellation that succeeds.
const SKIP_SUCCESS: u8 = 1 << 6;

/// The number of requests that can be submitted at once. They fill one page of 4 KiB. There is room for twice as many answers.
const ENTRIES: u32 = 64;

/// The id of cancellations; their answers are ignored.
const CANCELLATION: u64 = u64::MAX;

#[repr(C)]
#[derive(Default)]
struct Offsets {
    words: [u32; 8],
    address: u64,
}

/// The kernel's `struct io_uring_params`.
#[repr(C)]
#[derive(Default)]
struct Params {
    entries: [u32; 2],
    flags: u32,
    thread: [u32; 2],
    features: u32,
    reserved: [u32; 4],
    requests: Offsets,
    answers: Offsets,
}

/// The kernel's `struct io_uring_sqe`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Request {
    opcode: u8,
    flags: u8,
    priority: u16,
    fd: i32,
    address_2: u64,
    address: u64,
    len: u32,
    operation_flags: u32,
    id: u64,
    more: [u32; 2],
    address_3: u64,
    padding: u64,
}

/// The kernel's `struct io_uring_cqe`.
#[repr(C)]
#[derive(Clone, Copy)]
struct Answer {
    id: u64,
    result: i32,
    flags: u32,
}

/// The kernel's `struct io_uring_getevents_arg`.
#[repr(C)]
struct Timeout {
    signals: [u64; 2],
    time: *const libc::timespec,
}

/// One of the two rings of a queue. The consumer moves the head, and the producer the tail.
struct Half<T> {
    head: NonNull<AtomicU32>,
    tail: NonNull<AtomicU32>,
    mask: u32,
    entries: NonNull<T>,
}

impl<T: Copy> Half<T> {
    /// # Safety
    ///
    /// `words` and `entries` are offsets into the pages, as returned by the kernel when it set them up.
    unsafe fn new(pages: &Pages, words: [u32; 8], entries: usize) -> Half<T> {
        let [head, tail, mask, ..] = words.map(|at| pages.at(at as usize).cast::<AtomicU32>());
        // SAFETY: by the contract; the kernel aligns them, and no page is at address 0.
        unsafe {
            Half {
                head: NonNull::new_unchecked(head),
                tail: NonNull::new_unchecked(tail),
                mask: (*mask).load(Relaxed),
                entries: NonNull::new_unchecked(pages.at(entries).cast()),
            }
        }
    }

    fn head(&self) -> &AtomicU32 {
        // SAFETY: in pages that are mapped as long as the queue owns them.
        unsafe { self.head.as_ref() }
    }

    fn tail(&self) -> &AtomicU32 {
        // SAFETY: as above.
        unsafe { self.tail.as_ref() }
    }

    fn entry(&self, position: u32) -> *mut T {
        // SAFETY: the mask keeps it within the entries.
        unsafe { self.entries.as_ptr().add((position & self.mask) as usize) }
    }
}

pub(crate) struct Uring {
    /// Its number in the thread; `None` if another thread drops it.
    index: Option<u32>,
    /// Unmapped when the queue is dropped.
    _pages: Pages,
    flags: NonNull<AtomicU32>,
    requests: Half<Request>,
    answers: Half<Answer>,
    failed: bool,
}

// SAFETY: it owns the memory that it points to. The caller promises that only the thread that made it uses it, and the kernel
// refuses other threads.
unsafe impl Send for Uring {}

impl Uring {
    /// A queue for this thread; `None` if the kernel does not have them or a seccomp filter forbids them.
    pub(crate) fn new() -> Option<Uring> {
        if is_valgrind() {
            return None;
        }
        let pages = Pages::new()?;
        let mut params = Params { flags: SETUP, ..Params::default() };
        params.requests.address = pages.at(pages.size) as u64;
        params.answers.address = pages.at(0) as u64;
        // SAFETY: the parameters are valid for reads and writes; there are pages for both halves.
        let index = unsafe { libc::syscall(SYS_SETUP, ENTRIES, &mut params) };
        let index = u32::try_from(index).ok()?;
        let [_, _, _, _, flags, ..] = params.requests.words;
        let [_, _, _, _, _, entries, ..] = params.answers.words;
        // SAFETY: the offsets are the kernel's, into the pages that it has set up, and aligned by it.
        let (requests, answers, flags) = unsafe {
            (
                Half::new(&pages, params.requests.words, pages.size),
                Half::new(&pages, params.answers.words, entries as usize),
                NonNull::new_unchecked(pages.at(flags as usize).cast()),
            )
        };
        let uring = Uring { index: Some(index), _pages: pages, flags, requests, answers, failed: false };
        if params.features & FEATURE_NO_IOWAIT == 0 {
            return None;
        }
        Some(uring)
    }

    /// Whether threads of this process can have queues, as of the first call.
    pub(crate) fn is_available() -> bool {
        static KNOWN: Known = Known::not_yet();
        KNOWN.or_ask(|| Uring::new().is_some())
    }

    /// Arms the word. There will be one answer, `id`: at its next wake-up, or at once if its value is not `expected`. The word
    /// may be unmapped at any time.
    pub(crate) fn arm(&mut self, id: u64, word: &AtomicU32, expected: u32) {
        self.request(Request {
            opcode: OP_FUTEX_WAIT,
            fd: FUTEX_32,
            address: word as *const AtomicU32 as u64,
            address_2: u64::from(expected),
            address_3: ANY_WAKER,
            id,
            ..Request::default()
        });
    }

    /// Disarms the word that was armed with `id`, unless it was answered.
    pub(crate) fn disarm(&mut self, id: u64) {
        self.request(Request {
            opcode: OP_CANCEL,
            flags: SKIP_SUCCESS,
            fd: -1,
            address: id,
            id: CANCELLATION,
            ..Request::default()
        });
    }

    fn request(&mut self, request: Request) {
        // Relaxed: only this thread moves the tail.
        let tail = self.requests.tail().load(Relaxed);
        if self.pending() > self.requests.mask {
            self.enter(0, 0);
            if self.pending() > self.requests.mask {
                self.failed = true;
                return;
            }
        }
        // SAFETY: an entry that is free, because the kernel has read it or never got it.
        unsafe { self.requests.entry(tail).write(request) };
        // Release: after the entry.
        self.requests.tail().store(tail.wrapping_add(1), Release);
    }

    /// The number of requests that are not submitted yet.
    fn pending(&self) -> u32 {
        // Acquire: the kernel has read the entries before the head.
        self.requests.tail().load(Relaxed).wrapping_sub(self.requests.head().load(Acquire))
    }

    /// The id of the next answer.
    pub(crate) fn next(&mut self) -> Option<u64> {
        loop {
            let head = self.answers.head().load(Relaxed);
            // Acquire: the entries before the tail are written.
            if head == self.answers.tail().load(Acquire) {
                return None;
            }
            // SAFETY: an entry that the kernel has written, and does not reuse until the head has passed it.
            let answer = unsafe { self.answers.entry(head).read() };
            // Release: after the entry was read.
            self.answers.head().store(head.wrapping_add(1), Release);
            if answer.id == CANCELLATION {
                continue;
            }
            // EFAULT: the word was unmapped before it was armed.
            if !matches!(-answer.result, 0 | libc::EAGAIN | libc::ECANCELED | libc::EFAULT) {
                self.failed = true;
            }
            return Some(answer.id);
        }
    }

    /// Whether there are answers to requests that were submitted, including those that the kernel has not written yet.
    pub(crate) fn has_answers(&self) -> bool {
        self.has_more() || self.answers.head().load(Relaxed) != self.answers.tail().load(Relaxed)
    }

    /// Whether the kernel will write answers when this thread enters it.
    fn has_more(&self) -> bool {
        // SAFETY: in the queue's pages. Relaxed: a hint; entering the kernel orders the answers.
        unsafe { self.flags.as_ref() }.load(Relaxed) & MORE != 0
    }

    /// Whether answers may be missing, now or later.
    pub(crate) fn has_failed(&self) -> bool {
        self.failed
    }

    /// Submits pending requests, and lets the kernel write its answers, without sleeping.
    pub(crate) fn exchange(&mut self) {
        if self.pending() > 0 || self.has_more() {
            self.enter(0, 0);
        }
    }

    /// Submits pending requests, and sleeps until there is an answer, for at most `nanoseconds`.
    pub(crate) fn sleep(&mut self, nanoseconds: u64) -> Sleep {
        match self.enter(1, nanoseconds) {
            _ if self.has_answers() => Sleep::Woken,
            libc::ETIME => Sleep::TimedOut,
            // If requests were submitted, the kernel returns their number, and not how the sleep ended.
            0 | libc::EINTR => Sleep::Interrupted,
            _ => rest(nanoseconds.min(SHORT_REST_NS)),
        }
    }

    /// Enters the kernel. Returns the system's error number, or 0.
    fn enter(&mut self, answers: u32, nanoseconds: u64) -> c_int {
        let time = crate::futex::timespec(nanoseconds);
        let timeout = Timeout { signals: [0; 2], time: &time };
        let size = std::mem::size_of::<Timeout>();
        // SAFETY: the times outlive the call; the kernel checks whether it can read the words.
        let result = unsafe {
            libc::syscall(SYS_ENTER, self.index.unwrap_or(u32::MAX), self.pending(), answers, ENTER, &timeout, size)
        };
        let code = if result < 0 { last_os_code() } else { 0 };
        // Other errors: the kernel is out of memory, or has lost answers, or a seccomp filter forbids the call now.
        self.failed |= !matches!(code, 0 | libc::ETIME | libc::EINTR);
        code
    }

    /// Drops it in another thread than the one that made it. The kernel closes it when that thread exits.
    pub(crate) fn abandon(mut self) {
        self.index = None;
    }
}

/// Whether the program runs under valgrind, which does not know that `io_uring_enter` may sleep, and stops all other threads
/// meanwhile.
fn is_valgrind() -> bool {
    // SAFETY: a C string: a symbol of a library that valgrind loads into all programs.
    !unsafe { libc::dlsym(libc::RTLD_DEFAULT, b"_vgnU_freeres\0".as_ptr().cast()) }.is_null()
}

impl Drop for Uring {
    fn drop(&mut self) {
        /// The kernel's `struct io_uring_rsrc_update`.
        #[repr(C)]
        struct Registered {
            index: u32,
            reserved: u32,
            data: u64,
        }
        if let Some(index) = self.index {
            let ring = Registered { index, reserved: 0, data: 0 };
            // SAFETY: one entry, valid for reads.
            unsafe { libc::syscall(SYS_REGISTER, index, UNREGISTER, &ring, 1) };
        }
    }
}

/// Two pages of memory: one for the words of both rings and the answers, and one for the requests.
struct Pages {
    base: NonNull<u8>,
    /// The size of each page in bytes.
    size: usize,
}

impl Pages {
    fn new() -> Option<Pages> {
        // SAFETY: no preconditions.
        let size = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).ok()?;
        // SAFETY: new memory. A forked child does not inherit it, and so cannot unmap it either.
        let base = unsafe {
            let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
            let base = libc::mmap(ptr::null_mut(), 2 * size, access, kind, -1, 0);
            if base == libc::MAP_FAILED {
                return None;
            }
            libc::madvise(base, 2 * size, libc::MADV_DONTFORK);
            NonNull::new(base.cast())?
        };
        Some(Pages { base, size })
    }

    fn at(&self, offset: usize) -> *mut u8 {
        // SAFETY: within the two pages; the kernel's offsets are.
        unsafe { self.base.as_ptr().add(offset) }
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: our own pages, which are not used any more; the kernel has pinned those that it needs.
        unsafe { libc::munmap(self.base.as_ptr().cast(), 2 * self.size) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::futex::futex_wake;
    use crate::wait::{monotonic_ns, MAX_SLEEP_NS};

    fn answers(uring: &mut Uring) -> Vec<u64> {
        uring.exchange();
        let mut all = Vec::new();
        while uring.has_answers() {
            all.extend(std::iter::from_fn(|| uring.next()));
            uring.exchange();
        }
        all.sort_unstable();
        all
    }

    fn words(count: u64) -> Vec<AtomicU32> {
        (0..count).map(|_| AtomicU32::new(7)).collect()
    }

    #[test]
    fn each_wake_up_is_answered_once_also_while_nobody_sleeps() {
        let mut uring = match Uring::new() {
            Some(uring) => uring,
            None => return,
        };
        let words = words(3);
        (1..).zip(&words).for_each(|(id, word)| uring.arm(id, word, 7));
        assert_eq!(answers(&mut uring), []);
        futex_wake(&words[1], 1);
        futex_wake(&words[1], 1);
        assert!(uring.has_answers());
        assert_eq!(uring.sleep(MAX_SLEEP_NS), Sleep::Woken);
        assert_eq!((uring.next(), uring.next()), (Some(2), None));
        let start = monotonic_ns();
        assert_eq!(uring.sleep(1_000_000), Sleep::TimedOut);
        assert!(monotonic_ns() - start >= 1_000_000);
        uring.arm(9, &words[1], 6);
        assert_eq!(uring.sleep(MAX_SLEEP_NS), Sleep::Woken, "it was not as expected");
        assert_eq!(answers(&mut uring), [9]);
        std::thread::scope(|scope| {
            scope.spawn(|| futex_wake(&words[2], 1));
            // The waker may come first.
            while uring.next() != Some(3) {
                uring.sleep(MAX_SLEEP_NS);
            }
        });
        assert!(!uring.has_failed());
    }

    #[test]
    fn more_words_than_requests_and_answers_have_room_for() {
        let mut uring = match Uring::new() {
            Some(uring) => uring,
            None => return,
        };
        const COUNT: u64 = 1_000;
        let words = words(COUNT);
        (0..COUNT).zip(&words).for_each(|(id, word)| uring.arm(id, word, 7));
        assert_eq!(answers(&mut uring), []);
        words.iter().for_each(|word| futex_wake(word, 1));
        assert!(answers(&mut uring).into_iter().eq(0..COUNT));
        (0..COUNT).zip(&words).for_each(|(id, word)| uring.arm(id, word, 8));
        assert!(answers(&mut uring).into_iter().eq(0..COUNT));
        assert!(!uring.has_failed());
    }

    #[test]
    fn what_was_disarmed_is_not_woken() {
        let mut uring = match Uring::new() {
            Some(uring) => uring,
            None => return,
        };
        let word = AtomicU32::new(7);
        for id in 0..10_000 {
            uring.arm(id, &word, 7);
            uring.disarm(id);
        }
        uring.disarm(99_999);
        uring.arm(1 << 40, &word, 7);
        let cancelled = answers(&mut uring);
        futex_wake(&word, i32::MAX);
        assert_eq!(answers(&mut uring), [1 << 40], "after {} cancellations", cancelled.len());
        assert!(!uring.has_failed());
    }

    #[test]
    fn a_word_may_be_unmapped() {
        let mut uring = match Uring::new() {
            Some(uring) => uring,
            None => return,
        };
        let (armed, pending) = (Pages::new().unwrap(), Pages::new().unwrap());
        // SAFETY: two words at the beginning of pages of zeros.
        let [before, after] = [&armed, &pending].map(|pages| unsafe { &*pages.at(0).cast::<AtomicU32>() });
        uring.arm(1, before, 0);
        assert_eq!(answers(&mut uring), []);
        uring.arm(2, after, 0);
        drop((armed, pending));
        assert_eq!(answers(&mut uring), [2], "where it is armed after that");
        assert!(!uring.has_failed());
        uring.disarm(1);
        assert_eq!(answers(&mut uring), [1]);
    }

    /// The kernel has room for 16 queues of a thread.
    #[test]
    fn a_queue_that_is_dropped_makes_room() {
        if !Uring::is_available() {
            return;
        }
        for _ in 0..40 {
            drop(Uring::new().unwrap());
        }
        let all: Vec<_> = std::iter::from_fn(Uring::new).collect();
        assert!((1..=16).contains(&all.len()), "{}", all.len());
        drop(all);
        assert!(Uring::new().is_some());
    }

    #[test]
    fn a_queue_may_end_in_another_thread() {
        if let Some(mut uring) = Uring::new() {
            let word = AtomicU32::new(7);
            uring.arm(1, &word, 7);
            uring.exchange();
            std::thread::spawn(move || uring.abandon()).join().unwrap();
            futex_wake(&word, 1);
        }
    }
}
