//! Futexes of a model: only a wake-up ends a sleep.

use std::cell::Cell;
use std::sync::Arc;

use loom::sync::{Condvar, Mutex};

use crate::sync::{AtomicU32, Ordering::Relaxed};
use crate::wait::Sleep;

/// The sleepers and the addresses of their words, the longest sleeper first. As in the kernel, a sleeper compares its word and
/// enters the list under a lock that wakers take.
pub(crate) struct Kernel(pub(crate) Mutex<Vec<(usize, Sleeper)>>);

/// A sleeper that a wake-up wakes.
pub(crate) enum Sleeper {
    Thread(Arc<Condvar>),
    /// A word that a queue has armed under this number. The queue's thread may be awake.
    Armed(Arc<Answers>, u64),
}

/// The answers of a queue that its thread has not fetched yet. Changed only with the kernel locked.
pub(crate) struct Answers {
    pub(crate) ids: Mutex<Vec<u64>>,
    pub(crate) bell: Condvar,
}

impl Sleeper {
    fn wake(self) {
        match self {
            Sleeper::Thread(bell) => bell.notify_one(),
            Sleeper::Armed(answers, id) => {
                answers.ids.lock().unwrap().push(id);
                answers.bell.notify_one();
            }
        }
    }

    fn is_thread(&self, bell: &Arc<Condvar>) -> bool {
        matches!(self, Sleeper::Thread(other) if Arc::ptr_eq(other, bell))
    }
}

loom::lazy_static! {
    pub(crate) static ref KERNEL: Kernel = Kernel(Mutex::new(Vec::new()));
}

thread_local! {
    /// Number of calls of `futex_wake` in this execution. loom runs all threads of a model on one thread of the operating system.
    static WAKES: Cell<u32> = const { Cell::new(0) };
}

/// The number of calls of `futex_wake` in this execution.
#[cfg(test)]
pub(crate) fn wakes() -> u32 {
    WAKES.with(Cell::get)
}

/// Makes the kernel. To be called before there are threads, so that its initialisation orders no thread after another.
#[cfg(test)]
pub(crate) fn boot() {
    assert!(KERNEL.0.lock().unwrap().is_empty());
    WAKES.with(|wakes| wakes.set(0));
}

/// Sleeps while `word` is `expected`. Time does not pass, so only a sleep of 0 nanoseconds times out.
pub(crate) fn futex_wait(word: &AtomicU32, expected: u32, nanoseconds: u64) -> Sleep {
    let mut sleepers = KERNEL.0.lock().unwrap();
    // Relaxed: the change of a waker that took the kernel's lock before is seen; a waker that takes it later wakes this thread.
    if word.load(Relaxed) != expected {
        return Sleep::Woken;
    }
    if nanoseconds == 0 {
        return Sleep::TimedOut;
    }
    let (place, bell) = (word as *const AtomicU32 as usize, Arc::new(Condvar::new()));
    sleepers.push((place, Sleeper::Thread(Arc::clone(&bell))));
    drop(bell.wait(sleepers).unwrap());
    Sleep::Woken
}

/// Wakes up to `most` sleepers on `word`, the longest first.
pub(crate) fn futex_wake(word: &AtomicU32, most: i32) {
    WAKES.with(|wakes| wakes.set(wakes.get() + 1));
    let mut sleepers = KERNEL.0.lock().unwrap();
    let place = word as *const AtomicU32 as usize;
    for _ in 0..most {
        match sleepers.iter().position(|sleeper| sleeper.0 == place) {
            Some(i) => sleepers.remove(i).1.wake(),
            None => break,
        }
    }
}

/// Maximum number of words that one thread can sleep on at the same time.
pub(crate) const MAX_WORDS: usize = 4;

/// The best way to sleep on several words that the following models have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Queue,
    Vector,
    Single,
}

thread_local! {
    static WAY: Cell<Way> = const { Cell::new(Way::Queue) };
}

#[cfg(test)]
pub(crate) fn give(way: Way) {
    WAY.with(|cell| cell.set(way));
}

pub(crate) fn has_queues() -> bool {
    WAY.with(Cell::get) == Way::Queue
}

pub(crate) fn has_waitv() -> bool {
    WAY.with(Cell::get) != Way::Single
}

/// Words to sleep on, each with its expected value.
pub(crate) struct Words {
    words: Vec<(*const AtomicU32, u32)>,
    woken: Option<usize>,
}

impl Words {
    pub(crate) fn new() -> Self {
        Words { words: Vec::new(), woken: None }
    }

    pub(crate) fn clear(&mut self) {
        self.words.clear();
    }

    pub(crate) fn len(&self) -> usize {
        self.words.len()
    }

    pub(crate) fn push(&mut self, word: &AtomicU32, expected: u32) {
        assert!(self.len() < MAX_WORDS);
        self.words.push((word, expected));
    }

    pub(crate) fn woken(&self) -> Option<usize> {
        self.woken
    }

    pub(crate) fn put(&mut self, at: usize, word: &AtomicU32, expected: u32) {
        self.words[at] = (word, expected);
    }

    pub(crate) fn expect(&mut self, at: usize, expected: u32) {
        self.words[at].1 = expected;
    }

    pub(crate) fn swap_remove(&mut self, at: usize) {
        self.words.swap_remove(at);
    }

    /// Sleeps while all words have their expected values. Time does not pass.
    pub(crate) fn sleep(&mut self, nanoseconds: u64) -> Sleep {
        assert!(self.len() == 1 || has_waitv());
        self.woken = None;
        let mut sleepers = KERNEL.0.lock().unwrap();
        // SAFETY: a model frees no ring before its threads have ended.
        if self.words.iter().any(|&(word, expected)| unsafe { &*word }.load(Relaxed) != expected) {
            return Sleep::Woken;
        }
        if nanoseconds == 0 {
            return Sleep::TimedOut;
        }
        let bell = Arc::new(Condvar::new());
        sleepers.extend(self.words.iter().map(|&(word, _)| (word as usize, Sleeper::Thread(Arc::clone(&bell)))));
        sleepers = bell.wait(sleepers).unwrap();
        // The waker has removed the entry of the word that it woke.
        let is_left = |word: *const AtomicU32| {
            sleepers.iter().any(|(place, other)| *place == word as usize && other.is_thread(&bell))
        };
        self.woken = self.words.iter().position(|&(word, _)| !is_left(word)).filter(|_| self.len() > 1);
        sleepers.retain(|(_, other)| !other.is_thread(&bell));
        Sleep::Woken
    }
}
