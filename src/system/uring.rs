//! A queue of io_uring: any number of words of shared memory for one thread to sleep on, each armed once.
//!
//! futex_waitv puts its words into the kernel's tables before a sleep and takes all out again after it. Here a word stays until a
//! wake-up takes it out, also while the thread is awake, and the queue then has the number that the word was armed by: a
//! wake-up costs the same however many words there are. What is armed and what was woken passes through memory that
//! the kernel shares; one system call hands over the first and sleeps for the second.
//!
//! The queue belongs to the thread that makes it: only that thread may use it, and the kernel does its part of the work when that
//! thread enters it, so that no other system call of the thread's is ever interrupted (`DEFER_TASKRUN`). It has no
//! descriptor, which a program could close or a forked child inherit: it is registered with the thread (`REGISTERED_FD_ONLY`), at
//! most 16 can be, and it ends with the thread at the latest. Its memory is ours (`NO_MMAP`), two pages that the
//! kernel keeps for itself as long as it uses them and that a forked child does not get.
//!
//! A word that is armed may be unmapped: the kernel notes which file or process and which offset it is, and reads the word once,
//! while it arms it. After that it only compares this with what is woken.
//!
//! Linux has that since 6.7. Before 6.15 a thread that slept here made its processor look as if it waited for a disk, and
//! whoever looks after the host would search for the cause: there it is as if there were none, and so it is under valgrind.

use std::os::raw::{c_int, c_long};
use std::ptr::{self, NonNull};

use crate::error::last_os_code;
use crate::futex::Known;
use crate::sync::AtomicU32;
use crate::sync::Ordering::{Acquire, Relaxed, Release};
use crate::time::{rest, SHORT_REST_NS};
use crate::wait::Sleep;

/// The `libc` crate of some Rust does not name them; newer system calls have one number on all processors.
const SYS_SETUP: c_long = 425;
const SYS_ENTER: c_long = 426;
const SYS_REGISTER: c_long = 427;

/// TASKRUN_FLAG, SINGLE_ISSUER, DEFER_TASKRUN, NO_MMAP, REGISTERED_FD_ONLY, NO_SQARRAY.
const SETUP: u32 = 1 << 9 | 1 << 12 | 1 << 13 | 1 << 14 | 1 << 15 | 1 << 16;
const FEATURE_NO_IOWAIT: u32 = 1 << 17;

/// GETEVENTS, EXT_ARG, REGISTERED_RING, NO_IOWAIT.
const ENTER: u32 = 1 | 1 << 3 | 1 << 4 | 1 << 7;

/// UNREGISTER_RING_FDS, by the ring's number among those of the thread.
const UNREGISTER: u32 = 21 | 1 << 31;

/// CQ_OVERFLOW and TASKRUN: the kernel has more for who enters it.
const MORE: u32 = 1 << 1 | 1 << 2;

const OP_CANCEL: u8 = 14;
const OP_FUTEX_WAIT: u8 = 51;
/// Of 32 bits; in whatever processes.
const FUTEX_32: i32 = 2;
const ANY_WAKER: u64 = 0xffff_ffff;
/// A cancellation that succeeds says nothing.
const SKIP_SUCCESS: u8 = 1 << 6;

/// Requests that can be handed over at once: with their room they fill one page of 4 KiB. The answers have twice the number.
const ENTRIES: u32 = 64;

/// The answers of cancellations that came too late.
const NOBODY: u64 = u64::MAX;

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

/// One of the two halves of the queue: a ring of which one side moves the head, the other the tail.
struct Half<T> {
    head: NonNull<AtomicU32>,
    tail: NonNull<AtomicU32>,
    mask: u32,
    entries: NonNull<T>,
}

impl<T: Copy> Half<T> {
    /// # Safety
    ///
    /// `words` and `entries` are offsets into the pages, as the kernel that has set them up gave them.
    unsafe fn new(pages: &Pages, words: [u32; 8], entries: usize) -> Half<T> {
        let [head, tail, mask, ..] = words.map(|at| pages.at(at as usize).cast::<AtomicU32>());
        // SAFETY: as the caller says; the kernel aligns them, and no page is at address 0.
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
        // SAFETY: in pages that stay mapped as long as the queue has them.
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
    /// Its number among those of the thread; none where another thread ends it.
    index: Option<u32>,
    /// Unmapped with it.
    _pages: Pages,
    flags: NonNull<AtomicU32>,
    requests: Half<Request>,
    answers: Half<Answer>,
    failed: bool,
}

// SAFETY: what it points to is its own. That only the thread that made it uses it is the caller's promise; the kernel refuses
// others.
unsafe impl Send for Uring {}

impl Uring {
    /// A queue of this thread's; none where the kernel, or whoever filters its calls, has none for it.
    pub(crate) fn new() -> Option<Uring> {
        if is_valgrind() {
            return None;
        }
        let pages = Pages::new()?;
        let mut params = Params { flags: SETUP, ..Params::default() };
        params.requests.address = pages.at(pages.size) as u64;
        params.answers.address = pages.at(0) as u64;
        // SAFETY: parameters to read and to write; pages for both halves.
        let index = unsafe { libc::syscall(SYS_SETUP, ENTRIES, &mut params) };
        let index = u32::try_from(index).ok()?;
        let [_, _, _, _, flags, ..] = params.requests.words;
        let [_, _, _, _, _, entries, ..] = params.answers.words;
        // SAFETY: the offsets are the kernel's, into the pages that it has set up; aligned as it aligns them.
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

    /// Whether threads have one at all: as at the first call.
    pub(crate) fn is_available() -> bool {
        static KNOWN: Known = Known::not_yet();
        KNOWN.or_ask(|| Uring::new().is_some())
    }

    /// Arms the word: its next wake-up, or that it is not as expected, is answered once, by `id`. The word may be unmapped at any time.
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

    /// The word that was armed by `id` is no more, unless it was answered.
    pub(crate) fn disarm(&mut self, id: u64) {
        self.request(Request {
            opcode: OP_CANCEL,
            flags: SKIP_SUCCESS,
            fd: -1,
            address: id,
            id: NOBODY,
            ..Request::default()
        });
    }

    fn request(&mut self, request: Request) {
        // Relaxed: only this thread moves the tail, and the head moves while it is in the kernel.
        let tail = self.requests.tail().load(Relaxed);
        if self.pending() > self.requests.mask {
            self.enter(0, 0);
            if self.pending() > self.requests.mask {
                self.failed = true;
                return;
            }
        }
        // SAFETY: an entry that the kernel has read, or never had.
        unsafe { self.requests.entry(tail).write(request) };
        // Release: the entry comes first.
        self.requests.tail().store(tail.wrapping_add(1), Release);
    }

    /// Requests that the kernel has not got yet.
    fn pending(&self) -> u32 {
        // Acquire: the kernel has read what is before the head.
        self.requests.tail().load(Relaxed).wrapping_sub(self.requests.head().load(Acquire))
    }

    /// An answer, by its `id`.
    pub(crate) fn next(&mut self) -> Option<u64> {
        loop {
            let head = self.answers.head().load(Relaxed);
            // Acquire: with the tail the entries before it.
            if head == self.answers.tail().load(Acquire) {
                return None;
            }
            // SAFETY: an entry that the kernel has written, and leaves alone until the head has passed it.
            let answer = unsafe { self.answers.entry(head).read() };
            // Release: it was read.
            self.answers.head().store(head.wrapping_add(1), Release);
            if answer.id == NOBODY {
                continue;
            }
            // EFAULT: unmapped before it was armed.
            if !matches!(-answer.result, 0 | libc::EAGAIN | libc::ECANCELED | libc::EFAULT) {
                self.failed = true;
            }
            return Some(answer.id);
        }
    }

    /// Whether there are answers to what it has got, here or in the kernel.
    pub(crate) fn has_answers(&self) -> bool {
        self.has_more() || self.answers.head().load(Relaxed) != self.answers.tail().load(Relaxed)
    }

    /// Whether the kernel has answers for who enters it.
    fn has_more(&self) -> bool {
        // SAFETY: in the queue's pages. Relaxed: a hint; entering the kernel orders the rest.
        unsafe { self.flags.as_ref() }.load(Relaxed) & MORE != 0
    }

    /// Answers may be missing, or not come any more.
    pub(crate) fn has_failed(&self) -> bool {
        self.failed
    }

    /// Hands over what is pending and has the kernel write its answers, without sleeping.
    pub(crate) fn exchange(&mut self) {
        if self.pending() > 0 || self.has_more() {
            self.enter(0, 0);
        }
    }

    /// The same, and sleeps until there is an answer, for at most `nanoseconds`.
    pub(crate) fn sleep(&mut self, nanoseconds: u64) -> Sleep {
        match self.enter(1, nanoseconds) {
            _ if self.has_answers() => Sleep::Woken,
            libc::ETIME => Sleep::TimedOut,
            // Where requests were taken over, the kernel says that, and not how the sleep ended.
            0 | libc::EINTR => Sleep::Interrupted,
            _ => rest(nanoseconds.min(SHORT_REST_NS)),
        }
    }

    /// The system's error number, or 0.
    fn enter(&mut self, answers: u32, nanoseconds: u64) -> c_int {
        let time = crate::futex::timespec(nanoseconds);
        let timeout = Timeout { signals: [0; 2], time: &time };
        let size = std::mem::size_of::<Timeout>();
        // SAFETY: times outlive the call; the kernel finds out whether it can read the words.
        let result = unsafe {
            libc::syscall(SYS_ENTER, self.index.unwrap_or(u32::MAX), self.pending(), answers, ENTER, &timeout, size)
        };
        let code = if result < 0 { last_os_code() } else { 0 };
        // Otherwise the kernel has no memory for it, or has forgotten answers; or the program has forbidden itself the call since.
        self.failed |= !matches!(code, 0 | libc::ETIME | libc::EINTR);
        code
    }

    /// Ends it in another thread than the one that made it: what the kernel has of it ends with that thread.
    pub(crate) fn abandon(mut self) {
        self.index = None;
    }
}

/// Whether the program runs under valgrind, which does not know that a thread may sleep in `io_uring_enter` and stops all others meanwhile.
fn is_valgrind() -> bool {
    // SAFETY: a name. It is of what valgrind loads into every program.
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
            // SAFETY: one entry to read.
            unsafe { libc::syscall(SYS_REGISTER, index, UNREGISTER, &ring, 1) };
        }
    }
}

/// Two pages of memory: one for both halves' words and the answers, one for the requests.
struct Pages {
    base: NonNull<u8>,
    /// Of each.
    size: usize,
}

impl Pages {
    fn new() -> Option<Pages> {
        // SAFETY: no preconditions.
        let size = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).ok()?;
        // SAFETY: new memory. What a child does not get, it cannot unmap either.
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
        // SAFETY: ours, and nobody has it any more; the kernel keeps for itself what it still needs.
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
