//! Sleeping on the words of many rings at once, in the best way that the kernel has.
//!
//! | | by | words | the kernel's work for a wake-up |
//! | --- | --- | --- | --- |
//! | queue | io_uring | any number | the same however many there are |
//! | vector | futex_waitv (Linux 5.16) | 127 | grows with their number: all are compared and taken off the tables |
//! | single | futex | 1 | |
//!
//! Beside the rings there is a *bell*, a word of this process alone, by which others interrupt the sleep. Who has a ring to say
//! something for writes that down before it rings; the sleeper reads the bell before it reads what was written down, and
//! sleeps only while the bell is as it was then.
//!
//! In the single form the sleeper is on the ring's word or, where there is none, on its bell; who rings the bell wakes the
//! ring's sleepers, too.

use crate::futex::{futex_wait, has_waitv, Words, MAX_WORDS};
use crate::sync::AtomicU32;
use crate::sync::Ordering::SeqCst;
use crate::time::{give_way, SHORT_REST_NS};
use crate::uring::Uring;
use crate::wait::Sleep;

/// What the bell is known by; rings have other numbers.
pub(crate) const BELL: u64 = 0;

/// What a thread sleeps on: the bell, and rings by numbers that never come again.
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
    /// By index into the words; the bell's is the first.
    ids: [u64; MAX_WORDS],
    /// Who ended the last sleep, until it is asked for.
    woken: Option<u64>,
    /// Who that was is not known, or there was none yet.
    unknown: bool,
    /// There were more than have room.
    crowded: bool,
}

pub(crate) struct Single {
    /// The ring's, if any.
    word: Words,
}

impl MultiWait {
    pub(crate) fn new() -> Self {
        Self::queue().unwrap_or_else(Self::without_queue)
    }

    /// A queue, where the kernel has them.
    pub(crate) fn queue() -> Option<Self> {
        Uring::new().map(|uring| MultiWait::Queue(Queue { uring, bell: false }))
    }

    /// The best of the others.
    pub(crate) fn without_queue() -> Self {
        if !has_waitv() {
            return MultiWait::Single(Box::new(Single { word: Words::new() }));
        }
        let ids = [BELL; MAX_WORDS];
        let mut vector = Vector { words: Words::new(), ids, woken: None, unknown: true, crowded: false };
        // Its own place, until the bell itself is known.
        vector.words.push(&AtomicU32::new(0), 0);
        MultiWait::Vector(Box::new(vector))
    }

    /// Rings that there is room for.
    pub(crate) fn room(&self) -> u32 {
        match self {
            MultiWait::Queue(_) => u32::MAX,
            MultiWait::Vector(_) => MAX_WORDS as u32 - 1,
            MultiWait::Single(_) => 1,
        }
    }

    /// From now on the ring `id` is slept on while its word is as expected, or not at all. `armed`: what this said last of it,
    /// false after it was [woken](Self::next_woken); returns that for the next time.
    pub(crate) fn set(&mut self, id: u64, word: Option<(&AtomicU32, u32)>, armed: bool) -> bool {
        match (self, word) {
            // What is armed stays so, whatever is expected now: all that matters is its next wake-up.
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

    /// The ring `id`, which was armed, is not slept on any more, and never again.
    pub(crate) fn forget(&mut self, id: u64) {
        match self {
            MultiWait::Queue(queue) => queue.uring.disarm(id),
            MultiWait::Vector(vector) => vector.set(id, None),
            MultiWait::Single(single) => single.word.clear(),
        }
    }

    /// Sleeps until a ring or the bell has changed, for at most `nanoseconds`. `rung`: the bell as it was before the
    /// sleeper read what was written down.
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
            // The ring's word was announced before the bell is asked: who rings from here on wakes the ring's sleepers.
            MultiWait::Single(_) if bell.load(SeqCst) != rung => Sleep::Woken,
            MultiWait::Single(single) => single.word.sleep(nanoseconds),
        }
    }

    /// Tells the kernel what is to be slept on, and learns who was woken, without sleeping: of a queue.
    pub(crate) fn exchange(&mut self) {
        if let MultiWait::Queue(queue) = self {
            queue.uring.exchange();
        }
    }

    /// Whether [`exchange`](Self::exchange) would learn of one, of those that it told of: of a queue.
    pub(crate) fn has_woken(&self) -> bool {
        matches!(self, MultiWait::Queue(queue) if queue.uring.has_answers())
    }

    /// A ring that was woken, also while nobody slept; each wake-up once.
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

    /// The kernel refuses its part of it, or may have lost wake-ups: to be replaced by one [without a queue](Self::without_queue).
    pub(crate) fn has_failed(&self) -> bool {
        matches!(self, MultiWait::Queue(queue) if queue.uring.has_failed())
    }

    pub(crate) fn is_queue(&self) -> bool {
        matches!(self, MultiWait::Queue(_))
    }

    /// Ends it in another thread than the one that made it.
    pub(crate) fn abandon(self) {
        if let MultiWait::Queue(queue) = self {
            queue.uring.abandon();
        }
    }

    /// Whether others than those that were woken may have changed, too.
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
            // Whoever waits for the one that woke us may wait for this processor, and the kernel takes a while to look at all words.
            give_way();
        }
        self.words.put(0, bell, rung);
        let slept = self.words.sleep(if self.crowded { nanoseconds.min(SHORT_REST_NS) } else { nanoseconds });
        let woken = self.words.woken().map(|at| self.ids[at]);
        // Who has no room says so again when all are looked at.
        self.unknown = woken.is_none() || std::mem::take(&mut self.crowded);
        self.woken = woken.filter(|&id| id != BELL);
        slept
    }
}
