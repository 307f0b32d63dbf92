//! Sleeping on the words of many rings at once, by the best call that the kernel has.
//!
//! | | by | words | the kernel's work for a wake-up |
//! | --- | --- | --- | --- |
//! | queue | io_uring | any number | constant |
//! | vector | futex_waitv (Linux 5.16) | 127 | proportional to their number: each is compared and unqueued |
//! | single | futex | 1 | |
//!
//! Besides the rings' words there is a *bell*, a word private to this process, with which other threads interrupt the sleep. Such
//! a thread writes its request to the watcher's list before it changes the bell. The sleeper reads the bell before it reads
//! the list, and sleeps only if the bell has not changed since.
//!
//! The single form sleeps on the ring's word or, without a ring, on the bell. A thread that changes the bell must wake the
//! waiters of the ring, too.

use crate::futex::{futex_wait, has_waitv, Words, MAX_WORDS};
use crate::sync::AtomicU32;
use crate::sync::Ordering::SeqCst;
use crate::time::{give_way, SHORT_REST_NS};
use crate::uring::Uring;
use crate::wait::Sleep;

/// The bell's number; rings have other numbers.
pub(crate) const BELL: u64 = 0;

/// The words that a thread sleeps on: the bell, and those of rings, by numbers that are never reused.
pub(crate) enum MultiWait {
    Queue(Queue),
    Vector(Box<Vector>),
    Single(Box<Single>),
}

pub(crate) struct Queue {
    uring: Uring,
    /// Whether the bell's word is armed.
    bell: bool,
}

pub(crate) struct Vector {
    words: Words,
    /// The number of each of the words; the bell is the first.
    ids: [u64; MAX_WORDS],
    /// The ring whose wake-up ended the last sleep, until `next_woken` returns it.
    woken: Option<u64>,
    /// It is not known which word ended the last sleep, or there was no sleep yet.
    unknown: bool,
    /// Some rings were left out because there are more than `MAX_WORDS`.
    crowded: bool,
}

pub(crate) struct Single {
    /// The word of the ring, if there is one.
    word: Words,
}

impl MultiWait {
    pub(crate) fn new() -> Self {
        Self::queue().unwrap_or_else(Self::without_queue)
    }

    /// A queue, if the kernel has them.
    pub(crate) fn queue() -> Option<Self> {
        Uring::new().map(|uring| MultiWait::Queue(Queue { uring, bell: false }))
    }

    /// The best form that the kernel has besides the queue.
    pub(crate) fn without_queue() -> Self {
        if !has_waitv() {
            return MultiWait::Single(Box::new(Single { word: Words::new() }));
        }
        let ids = [BELL; MAX_WORDS];
        let mut vector = Vector { words: Words::new(), ids, woken: None, unknown: true, crowded: false };
        // A placeholder, until `sleep` gets the bell.
        vector.words.push(&AtomicU32::new(0), 0);
        MultiWait::Vector(Box::new(vector))
    }

    /// The most rings that it can sleep on.
    pub(crate) fn room(&self) -> u32 {
        match self {
            MultiWait::Queue(_) => u32::MAX,
            MultiWait::Vector(_) => MAX_WORDS as u32 - 1,
            MultiWait::Single(_) => 1,
        }
    }

    /// From now on, sleeps end if the word of the ring `id` changes from the expected value; with `None`, the ring is left out.
    /// `armed` is what this function returned for the ring the last time, or false if the ring was [woken](Self::next_woken) since.
    pub(crate) fn set(&mut self, id: u64, word: Option<(&AtomicU32, u32)>, armed: bool) -> bool {
        match (self, word) {
            // An armed word stays armed, whatever is expected now: its next wake-up is reported in any case.
            (MultiWait::Queue(queue), Some((word, expected))) if !armed => queue.uring.arm(id, word, expected),
            (MultiWait::Queue(_), _) => return armed || word.is_some(),
            (MultiWait::Vector(vector), word) => vector.set(id, word),
            (MultiWait::Single(single), word) => {
                single.word.clear();
                if let Some((word, expected)) = word {
                    single.word.push(word, expected);
                }
            }
        }
        word.is_some()
    }

    /// Removes the ring `id`, which was armed. Its number is not used again.
    pub(crate) fn forget(&mut self, id: u64) {
        match self {
            MultiWait::Queue(queue) => queue.uring.disarm(id),
            MultiWait::Vector(vector) => vector.set(id, None),
            MultiWait::Single(single) => single.word.clear(),
        }
    }

    /// Sleeps until a ring's word or the bell has changed, for at most `nanoseconds`. `rung` is the value of the bell before the
    /// caller read the list.
    pub(crate) fn sleep(&mut self, bell: &AtomicU32, rung: u32, nanoseconds: u64) -> Sleep {
        match self {
            MultiWait::Queue(queue) => {
                if !queue.bell {
                    queue.uring.arm(BELL, bell, rung);
                    queue.bell = true;
                }
                queue.uring.sleep(nanoseconds)
            }
            MultiWait::Vector(vector) => vector.sleep(bell, rung, nanoseconds),
            MultiWait::Single(single) if single.word.len() == 0 => futex_wait(bell, rung, nanoseconds),
            // W was set on the ring's word before this load of the bell, so a thread that rings later wakes this sleep by the ring.
            MultiWait::Single(_) if bell.load(SeqCst) != rung => Sleep::Woken,
            MultiWait::Single(single) => single.word.sleep(nanoseconds),
        }
    }

    /// Arms words and collects wake-ups without sleeping. Does nothing in other forms than the queue.
    pub(crate) fn exchange(&mut self) {
        if let MultiWait::Queue(queue) = self {
            queue.uring.exchange();
        }
    }

    /// Whether there are wake-ups of a queue to collect.
    pub(crate) fn has_woken(&self) -> bool {
        matches!(self, MultiWait::Queue(queue) if queue.uring.has_answers())
    }

    /// The next ring that was woken, also between two sleeps. Each wake-up is returned once.
    pub(crate) fn next_woken(&mut self) -> Option<u64> {
        match self {
            MultiWait::Queue(queue) => loop {
                match queue.uring.next() {
                    Some(BELL) => queue.bell = false,
                    woken => return woken,
                }
            },
            MultiWait::Vector(vector) => vector.woken.take(),
            MultiWait::Single(_) => None,
        }
    }

    /// Whether the kernel has refused a call or may have lost wake-ups. Then it must be replaced by one
    /// [without a queue](Self::without_queue).
    pub(crate) fn has_failed(&self) -> bool {
        matches!(self, MultiWait::Queue(queue) if queue.uring.has_failed())
    }

    pub(crate) fn is_queue(&self) -> bool {
        matches!(self, MultiWait::Queue(_))
    }

    /// Drops it in another thread than the one that made it.
    pub(crate) fn abandon(self) {
        if let MultiWait::Queue(queue) = self {
            queue.uring.abandon();
        }
    }

    /// Whether rings that [`next_woken`](Self::next_woken) does not return may have changed, too.
    pub(crate) fn may_be_any(&self) -> bool {
        match self {
            MultiWait::Queue(_) => false,
            MultiWait::Vector(vector) => vector.unknown,
            MultiWait::Single(_) => true,
        }
    }
}

impl Vector {
    fn set(&mut self, id: u64, word: Option<(&AtomicU32, u32)>) {
        let count = self.words.len();
        let at = (1..count).find(|&at| self.ids[at] == id);
        match (at, word) {
            (Some(at), Some((_, expected))) => self.words.expect(at, expected),
            (Some(at), None) => {
                self.words.swap_remove(at);
                self.ids[at] = self.ids[count - 1];
            }
            (None, Some((word, expected))) if count < MAX_WORDS => {
                self.ids[count] = id;
                self.words.push(word, expected);
            }
            (None, Some(_)) => self.crowded = true,
            (None, None) => {}
        }
    }

    fn sleep(&mut self, bell: &AtomicU32, rung: u32, nanoseconds: u64) -> Sleep {
        if !self.unknown {
            // Yield first: the subscriber that was made readable may need this CPU, and the kernel takes a while to check all
            // words.
            give_way();
        }
        self.words.put(0, bell, rung);
        let slept = self.words.sleep(if self.crowded { nanoseconds.min(SHORT_REST_NS) } else { nanoseconds });
        let woken = self.words.woken().map(|at| self.ids[at]);
        // After this all rings are set again, so those that are left out set `crowded` again.
        self.unknown = woken.is_none() || std::mem::take(&mut self.crowded);
        self.woken = woken.filter(|&id| id != BELL);
        slept
    }
}
