//! Futexes of a model: who sleeps is woken by a wake-up or never.

use std::cell::Cell;
use std::sync::Arc;

use loom::sync::{Condvar, Mutex};

use crate::sync::{AtomicU32, Ordering::Relaxed};
use crate::wait::Sleep;

/// Who sleeps, and on which word, the longest sleeper first. The kernel, too, compares and sleeps under a lock that
/// wakers take.
struct Kernel(Mutex<Vec<(usize, Arc<Condvar>)>>);

loom::lazy_static! {
    static ref KERNEL: Kernel = Kernel(Mutex::new(Vec::new()));
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
    sleepers.push((place, Arc::clone(&bell)));
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
            Some(i) => sleepers.remove(i).1.notify_one(),
            None => break,
        }
    }
}

/// Words that one thread can sleep on at once.
pub(crate) const MAX_WORDS: usize = 4;

thread_local! {
    static HAS_WAITV: Cell<bool> = const { Cell::new(true) };
}

/// Whether threads of the models to come can sleep on several words.
#[cfg(test)]
pub(crate) fn give_waitv(has: bool) {
    HAS_WAITV.with(|cell| cell.set(has));
}

pub(crate) fn has_waitv() -> bool {
    HAS_WAITV.with(Cell::get)
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

    pub(crate) fn expect(&mut self, at: usize, expected: u32) {
        self.words[at].1 = expected;
    }

    pub(crate) fn swap_remove(&mut self, at: usize) {
        self.words.swap_remove(at);
    }

    pub(crate) fn remove_first(&mut self) {
        self.words.remove(0);
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
        sleepers.extend(self.words.iter().map(|&(word, _)| (word as usize, Arc::clone(&bell))));
        sleepers = bell.wait(sleepers).unwrap();
        // Whoever woke us has taken that word's entry away.
        let is_left = |word: *const AtomicU32| {
            sleepers.iter().any(|(place, other)| *place == word as usize && Arc::ptr_eq(other, &bell))
        };
        self.woken = self.words.iter().position(|&(word, _)| !is_left(word)).filter(|_| self.len() > 1);
        sleepers.retain(|(_, other)| !Arc::ptr_eq(other, &bell));
        Sleep::Woken
    }
}
