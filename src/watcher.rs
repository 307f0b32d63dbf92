//! Threads that watch rings, each as many as the kernel lets it sleep on at once.
//!
//! A watcher sleeps in futex_waitv on the words of up to 127 rings and on one of its own, its bell. The kernel tells by which
//! word it was woken, and compares the others when it sleeps again: so a message makes it look at one ring alone. Where
//! the bell rang, something else has changed, or time is up, it goes over all that it watches. It does so after a second at the
//! latest, and then looks everywhere: a publisher may have been killed before it woke anybody.
//!
//! Kernels before 5.16, and sandboxes that do not know the call, have no futex_waitv. There each watcher has one ring, and
//! sleeps on the ring's word alone while that is quiet, otherwise on its bell; who rings the bell wakes the ring's sleepers,
//! too.
//!
//! What is watched is borrowed: it leaves the roll, locked, before it goes. So the thread holds the roll while it passes.
//! The kernel may still have the address of a word that is not mapped any more; it only compares addresses then.

use std::sync::Arc;

use crate::error::Result;
use crate::futex::{has_waitv, Words, MAX_WORDS};
use crate::sync::Ordering::SeqCst;
use crate::sync::{lock, AtomicU32, Mutex};
use crate::threads::Thread;
use crate::time::give_way;
use crate::wait::{futex_wake, monotonic_ns, LONGEST_SLEEP_NS};
use crate::watch::Watched;

/// One thread's work, and what others tell it.
pub(crate) struct Watcher {
    /// Changes when the thread is to pass again.
    bell: AtomicU32,
    roll: Mutex<Roll>,
    /// Whether the thread can sleep on several words.
    many: bool,
}

struct Roll {
    watched: Vec<*const Watched>,
    stop: bool,
}

// SAFETY: what is watched is made for two threads, and stays until it has left the roll.
unsafe impl Send for Watcher {}
// SAFETY: as above.
unsafe impl Sync for Watcher {}

impl Watcher {
    fn new() -> Self {
        let roll = Roll { watched: Vec::new(), stop: false };
        Watcher { bell: AtomicU32::new(0), roll: Mutex::new(roll), many: has_waitv() }
    }

    /// Rings that one thread watches at most.
    fn room(&self) -> usize {
        if self.many {
            MAX_WORDS - 1
        } else {
            1
        }
    }

    /// Has the thread pass again, for the sake of what it watches there.
    pub(crate) fn ring_for(&self, watched: &Watched) {
        self.ring();
        if !self.many {
            watched.wake_by_ring();
        }
    }

    fn ring(&self) {
        self.bell.fetch_add(1, SeqCst);
        futex_wake(&self.bell, 1);
    }

    /// False: there is no room.
    fn add(&self, watched: &Watched) -> bool {
        let mut roll = lock(&self.roll);
        let has_room = roll.watched.len() < self.room();
        if has_room {
            roll.watched.push(watched);
        }
        has_room
    }

    /// True: that was the last, and the thread ends.
    fn remove(&self, watched: &Watched) -> bool {
        let mut roll = lock(&self.roll);
        roll.watched.retain(|&other| !std::ptr::eq(other, watched));
        roll.stop = roll.watched.is_empty();
        roll.stop
    }

    /// The thread: no Perl, no signals. Returns when the roll is empty again.
    pub(crate) fn run(&self) {
        let mut bed = Bed { words: Words::new(), owners: [std::ptr::null(); MAX_WORDS], until: 0 };
        let mut full_at = 0;
        loop {
            let bell = self.bell.load(SeqCst);
            let now = monotonic_ns();
            let full = now >= full_at;
            if full {
                full_at = now + LONGEST_SLEEP_NS;
            }
            let roll = lock(&self.roll);
            if roll.stop {
                return;
            }
            let is_known = now < bed.until && roll.pass_woken(now, &mut bed);
            if !is_known {
                roll.pass(now, full, (&self.bell, bell), &mut bed);
                bed.until = bed.until.min(full_at);
            }
            drop(roll);
            if is_known {
                // Whoever waits for it may wait for this processor, and the kernel takes a while to look at all words.
                give_way();
            }
            if !self.many && bed.words.len() > 1 {
                bed.words.remove_first();
                // Announced before it is asked: who rings from here on wakes the ring's sleepers.
                if self.bell.load(SeqCst) != bell {
                    continue;
                }
            }
            if bed.until > now {
                bed.words.sleep(bed.until - now);
            }
        }
    }
}

/// What a watcher sleeps on: its bell, and words of those whom it watches.
struct Bed {
    words: Words,
    /// Whose they are; null for the bell, which is on no roll.
    owners: [*const Watched; MAX_WORDS],
    /// When to look again although nobody woke.
    until: u64,
}

impl Roll {
    /// Passes the one whose word woke the thread, and leaves the rest to the kernel. False: who it was is not known.
    fn pass_woken(&self, now: u64, bed: &mut Bed) -> bool {
        let (at, watched) = match bed.words.woken() {
            // Not those that have left since.
            Some(at) if self.watched.contains(&bed.owners[at]) => (at, bed.owners[at]),
            _ => return false,
        };
        // SAFETY: on the roll, which is locked.
        let (word, look_at) = unsafe { &*watched }.pass(now, false);
        bed.until = bed.until.min(look_at);
        match word {
            Some((_, expected)) => bed.words.expect(at, expected),
            None => {
                bed.words.swap_remove(at);
                bed.owners[at] = bed.owners[bed.words.len()];
            }
        }
        true
    }

    /// Passes everything that is watched, and collects the words to sleep on.
    fn pass(&self, now: u64, full: bool, (bell, rung): (&AtomicU32, u32), bed: &mut Bed) {
        bed.words.clear();
        bed.words.push(bell, rung);
        bed.until = u64::MAX;
        for &watched in &self.watched {
            // SAFETY: on the roll, which is locked.
            let (word, look_at) = unsafe { &*watched }.pass(now, full);
            bed.until = bed.until.min(look_at);
            if let Some((word, expected)) = word {
                bed.owners[bed.words.len()] = watched;
                bed.words.push(word, expected);
            }
        }
    }
}

/// The watchers of this process, each with its thread.
pub(crate) struct Registry(Mutex<Vec<(Arc<Watcher>, Thread)>>);

impl Registry {
    pub(crate) const fn of(running: Mutex<Vec<(Arc<Watcher>, Thread)>>) -> Self {
        Registry(running)
    }

    /// Has a watcher take care of what is watched, one that has room or a new one.
    pub(crate) fn enlist(&self, watched: &Watched) -> Result<Arc<Watcher>> {
        let mut running = lock(&self.0);
        if let Some((watcher, _)) = running.iter().find(|(watcher, _)| watcher.add(watched)) {
            watcher.ring();
            return Ok(Arc::clone(watcher));
        }
        let watcher = Arc::new(Watcher::new());
        watcher.add(watched);
        let thread = Thread::start(&watcher)?;
        running.push((Arc::clone(&watcher), thread));
        Ok(watcher)
    }

    /// The watcher forgets what is watched before this returns. With the last its thread ends, too.
    pub(crate) fn dismiss(&self, watcher: &Arc<Watcher>, watched: &Watched) {
        let mut running = lock(&self.0);
        if !watcher.remove(watched) {
            return;
        }
        let at = running.iter().position(|(other, _)| Arc::ptr_eq(other, watcher));
        let thread = at.map(|at| running.swap_remove(at).1);
        drop(running);
        watcher.ring_for(watched);
        if let Some(thread) = thread {
            thread.join();
        }
    }
}
