//! Futexes of a model: who sleeps is woken by a wake-up or never.

use std::cell::Cell;
use std::sync::Arc;

use loom::sync::{Condvar, Mutex};

use crate::sync::{AtomicU32, Ordering::Relaxed};
use crate::wait::Sleep;

/// Who sleeps, and on which word, the longest sleeper first. The kernel, too, compares and sleeps under a lock that
/// wakers take.
pub(crate) struct Kernel(pub(crate) Mutex<Vec<(usize, Sleeper)>>);

/// Whom a wake-up wakes.
pub(crate) enum Sleeper {
    Thread(Arc<Condvar>),
    /// What a queue has armed by this number; its thread may be awake.
    Armed(Arc<Answers>, u64),
}

/// What a queue was answered, and its thread has not fetched yet. Changed with the kernel locked.
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
    /// Calls of `futex_wake` in this execution: loom runs all threads of a model on one thread of the operating system.
    static WAKES: Cell<u32> = const { Cell::new(0) };
}

/// How often `futex_wake` was called in this execution.
#[cfg(test)]
pub(crate) fn wakes() -> u32 {
    WAKES.with(Cell::get)
}

/// To be called before there are threads, so that no thread learns anything from another by making the kernel.
#[cfg(test)]
pub(crate) fn boot() {
    assert!(KERNEL.0.lock().unwrap().is_empty());
    WAKES.with(|wakes| wakes.set(0));
}

/// Sleeps while `word` is `expected`; time does not pass, so only a sleep of no length times out.
pub(crate) fn futex_wait(word: &AtomicU32, expected: u32, nanoseconds: u64) -> Sleep {
    let mut sleepers = KERNEL.0.lock().unwrap();
    // Relaxed: a change that a waker made before it took the kernel's lock is seen; one that made it later will wake us.
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

/// Words that one thread can sleep on at once.
pub(crate) const MAX_WORDS: usize = 4;

/// The best way in which threads of the models to come can sleep on several words.
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

/// Words to sleep on, each with what it is expected to be.
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

    /// Sleeps while all are as expected; time does not pass.
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
        // Whoever woke us has taken that word's entry away.
        let is_left = |word: *const AtomicU32| {
            sleepers.iter().any(|(place, other)| *place == word as usize && other.is_thread(&bell))
        };
        self.woken = self.words.iter().position(|&(word, _)| !is_left(word)).filter(|_| self.len() > 1);
        sleepers.retain(|(_, other)| !other.is_thread(&bell));
        Sleep::Woken
    }
}
