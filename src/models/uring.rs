//! Queues of a model: a word stays armed while the queue's thread is awake, and each wake-up is answered once.

use std::collections::VecDeque;
use std::sync::Arc;

use loom::sync::{Condvar, Mutex};

use crate::futex::{has_queues, Answers, Sleeper, KERNEL};
use crate::sync::{AtomicU32, Ordering::Relaxed};
use crate::wait::Sleep;

enum Request {
    Arm(u64, *const AtomicU32, u32),
    Disarm(u64),
}

pub(crate) struct Uring {
    /// Requests not passed to the kernel yet.
    requests: Vec<Request>,
    /// Answers that are still in the kernel.
    answers: Arc<Answers>,
    fetched: VecDeque<u64>,
}

impl Uring {
    pub(crate) fn new() -> Option<Uring> {
        let answers = || Arc::new(Answers { ids: Mutex::new(Vec::new()), bell: Condvar::new() });
        has_queues().then(|| Uring { requests: Vec::new(), answers: answers(), fetched: VecDeque::new() })
    }

    pub(crate) fn is_available() -> bool {
        has_queues()
    }

    pub(crate) fn arm(&mut self, id: u64, word: &AtomicU32, expected: u32) {
        self.requests.push(Request::Arm(id, word, expected));
    }

    pub(crate) fn disarm(&mut self, id: u64) {
        self.requests.push(Request::Disarm(id));
    }

    pub(crate) fn next(&mut self) -> Option<u64> {
        self.fetched.pop_front()
    }

    pub(crate) fn has_answers(&self) -> bool {
        !self.fetched.is_empty()
    }

    pub(crate) fn has_failed(&self) -> bool {
        false
    }

    pub(crate) fn exchange(&mut self) {
        self.enter(false);
    }

    pub(crate) fn sleep(&mut self, nanoseconds: u64) -> Sleep {
        self.enter(nanoseconds > 0);
        if self.has_answers() {
            Sleep::Woken
        } else {
            Sleep::TimedOut
        }
    }

    fn enter(&mut self, sleeps: bool) {
        let mut sleepers = KERNEL.0.lock().unwrap();
        for request in self.requests.drain(..) {
            match request {
                // SAFETY: a model frees no ring before its threads have ended.
                Request::Arm(id, word, expected) if unsafe { &*word }.load(Relaxed) == expected => {
                    assert!(!sleepers.iter().any(|(_, other)| is_of(other, &self.answers, Some(id))), "armed twice");
                    sleepers.push((word as usize, Sleeper::Armed(Arc::clone(&self.answers), id)));
                }
                Request::Arm(id, ..) => self.answers.ids.lock().unwrap().push(id),
                Request::Disarm(id) => sleepers.retain(|(_, other)| !is_of(other, &self.answers, Some(id))),
            }
        }
        while sleeps && self.answers.ids.lock().unwrap().is_empty() {
            sleepers = self.answers.bell.wait(sleepers).unwrap();
        }
        self.fetched.extend(self.answers.ids.lock().unwrap().drain(..));
    }

    pub(crate) fn abandon(self) {}
}

/// Whether `sleeper` is armed in this queue, under this number or, with `None`, any number.
fn is_of(sleeper: &Sleeper, queue: &Arc<Answers>, id: Option<u64>) -> bool {
    matches!(sleeper, Sleeper::Armed(other, by) if Arc::ptr_eq(other, queue) && id.map_or(true, |id| id == *by))
}

impl Drop for Uring {
    fn drop(&mut self) {
        KERNEL.0.lock().unwrap().retain(|(_, other)| !is_of(other, &self.answers, None));
    }
}
