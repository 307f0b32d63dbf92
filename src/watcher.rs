//! Who watches rings: a thread for all rings of the process, or whoever waits for a set, while it waits.
//!
//! A watcher sleeps on the words of the rings on its roll (see [`crate::multiwait`]) and looks at those alone that were
//! woken, or that became *due* because their subscriber asked for it. It goes over the whole roll when it does not know who that is, when
//! time is up for one, and once a second, and then looks everywhere: a publisher may have been killed before it woke anybody.
//!
//! What is watched is borrowed: it leaves the roll, locked, before it goes. So who drives the watcher holds the roll while
//! it passes. The kernel may still have the word of one that has left, and is told at the next turn; that word's number never comes
//! again, so nobody takes it for another's.

use std::sync::Arc;

use crate::error::Result;
use crate::multiwait::{MultiWait, BELL};
use crate::sync::Ordering::SeqCst;
use crate::sync::{lock, AtomicU32, Mutex};
use crate::threads::{this_thread, Thread, ThreadId};
use crate::wait::{futex_wait, futex_wake, monotonic_ns, Sleep, MAX_SLEEP_NS};
use crate::watch::Watched;

/// Rings that are watched together, and what others tell their watcher.
pub(crate) struct Watcher {
    /// Changes when there is something new on the roll.
    bell: AtomicU32,
    roll: Mutex<Roll>,
    /// Rings that its thread can sleep on at once; 0 while that is not known.
    room: AtomicU32,
}

#[derive(Default)]
struct Roll {
    /// By their numbers, which never come again.
    seats: Vec<Seat>,
    last_id: u64,
    /// Who is to be passed. There is room for all, so that the thread allocates nothing.
    due: Vec<u64>,
    /// Who has left, and may be slept on.
    left: Vec<u64>,
    /// The thread of the program's that drives it, which is not asleep while it rings; none where a thread of its own does.
    driven_by: Option<ThreadId>,
    stop: bool,
}

struct Seat {
    id: u64,
    watched: *const Watched,
    /// Whether the watcher sleeps on the ring's word.
    armed: bool,
    /// Whether it is among those that are due.
    due: bool,
}

// SAFETY: what is watched is made for two threads, and stays until it has left the roll.
unsafe impl Send for Watcher {}
// SAFETY: as above.
unsafe impl Sync for Watcher {}

impl std::fmt::Debug for Watcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watcher").finish_non_exhaustive()
    }
}

impl Watcher {
    /// For a thread of its own, which says how much room there is.
    fn new() -> Self {
        Watcher { bell: AtomicU32::new(0), roll: Mutex::default(), room: AtomicU32::new(0) }
    }

    /// For this thread to drive.
    pub(crate) fn driven_here() -> Self {
        let roll = Roll { driven_by: Some(this_thread()), ..Roll::default() };
        Watcher { roll: Mutex::new(roll), ..Self::new() }
    }

    /// Has the watcher pass what is watched under this number.
    pub(crate) fn ring_for(&self, id: u64, watched: &Watched) {
        self.ring(|roll| roll.call(id));
        if self.room.load(SeqCst) == 1 {
            watched.wake_by_ring();
        }
    }

    /// Changes the roll, then the bell, and wakes all waiters of the bell: an abandoned queue has it armed until its thread ends.
    fn ring(&self, change: impl FnOnce(&mut Roll)) {
        let mut roll = lock(&self.roll);
        change(&mut roll);
        let is_awake = roll.driven_by == Some(this_thread());
        drop(roll);
        if !is_awake {
            self.bell.fetch_add(1, SeqCst);
            futex_wake(&self.bell, i32::MAX);
        }
    }

    /// Puts it on the roll, for it to be passed soon. Its number there.
    fn add(&self, watched: &Watched) -> u64 {
        let mut id = BELL;
        self.ring(|roll| {
            roll.last_id += 1;
            id = roll.last_id;
            roll.seats.push(Seat { id, watched, armed: false, due: false });
            roll.due.reserve(roll.seats.len() - roll.due.len());
            roll.call(id);
        });
        id
    }

    fn has_room(&self) -> bool {
        lock(&self.roll).seats.len() < self.room.load(SeqCst) as usize
    }

    /// True: that was the last.
    fn remove(&self, id: u64) -> bool {
        let roll = &mut *lock(&self.roll);
        if let Some(at) = roll.seat_of(id) {
            let seat = roll.seats.remove(at);
            if seat.armed {
                roll.left.push(id);
            }
            if seat.due {
                roll.due.retain(|&other| other != id);
            }
        }
        roll.seats.is_empty()
    }

    /// The thread: no Perl, no signals. Returns when it is stopped.
    pub(crate) fn run(&self) {
        let mut driver = Driver::new(MultiWait::new());
        self.room.store(driver.words.room(), SeqCst);
        futex_wake(&self.room, 1);
        while let Some(turn) = self.turn(&mut driver) {
            self.sleep(&mut driver, turn, u64::MAX);
        }
    }

    /// Passes what may have changed. None: it is to stop.
    pub(crate) fn turn(&self, driver: &mut Driver) -> Option<Turn> {
        let rung = self.bell.load(SeqCst);
        let now = monotonic_ns();
        let full = now >= driver.full_at;
        if full {
            driver.full_at = now + MAX_SLEEP_NS;
        }
        let roll = &mut *lock(&self.roll);
        if roll.stop {
            return None;
        }
        if driver.words.has_failed() {
            driver.words = MultiWait::without_queue();
            self.room.store(driver.words.room(), SeqCst);
            roll.disarm_all();
        }
        roll.left.drain(..).for_each(|id| driver.words.forget(id));
        while let Some(id) = driver.words.next_woken() {
            // Not those that have left since.
            if let Some(at) = roll.seat_of(id) {
                roll.seats[at].armed = false;
                roll.call(id);
            }
        }
        if full || now >= driver.until || driver.words.may_be_any() {
            driver.until = driver.full_at;
            roll.due.clear();
            (0..roll.seats.len()).for_each(|at| roll.seats[at].pass(now, full, driver));
        }
        while let Some(id) = roll.due.pop() {
            if let Some(at) = roll.seat_of(id) {
                roll.seats[at].pass(now, false, driver);
            }
        }
        Some(Turn { rung, now })
    }

    /// Sleeps after a turn until there may be something for the next one, or the clock reaches `deadline`.
    pub(crate) fn sleep(&self, driver: &mut Driver, Turn { rung, now }: Turn, deadline: u64) -> Sleep {
        let until = driver.until.min(deadline);
        if until <= now {
            return Sleep::TimedOut;
        }
        driver.words.sleep(&self.bell, rung, until - now)
    }
}

/// A watcher's bell and the clock, as they were when a turn began.
#[derive(Clone, Copy)]
pub(crate) struct Turn {
    rung: u32,
    pub(crate) now: u64,
}

/// What the thread that drives a watcher keeps for itself.
pub(crate) struct Driver {
    pub(crate) words: MultiWait,
    /// When to go over all although nobody woke.
    until: u64,
    /// When to look everywhere.
    full_at: u64,
}

impl Driver {
    pub(crate) fn new(words: MultiWait) -> Self {
        Driver { words, until: 0, full_at: 0 }
    }

    /// How long a sleep may last.
    pub(crate) fn until(&self) -> u64 {
        self.until
    }

    /// When it looks everywhere next.
    pub(crate) fn full_at(&self) -> u64 {
        self.full_at
    }
}

impl Roll {
    /// No kernel has a word of theirs any more.
    fn disarm_all(&mut self) {
        self.seats.iter_mut().for_each(|seat| seat.armed = false);
    }

    fn seat_of(&self, id: u64) -> Option<usize> {
        self.seats.binary_search_by_key(&id, |seat| seat.id).ok()
    }

    /// Makes it due, if it is still there.
    fn call(&mut self, id: u64) {
        if let Some(at) = self.seat_of(id) {
            if !std::mem::replace(&mut self.seats[at].due, true) {
                self.due.push(id);
            }
        }
    }
}

impl Seat {
    fn pass(&mut self, now: u64, full: bool, driver: &mut Driver) {
        self.due = false;
        // SAFETY: on the roll, which is locked.
        let (word, look_at) = unsafe { &*self.watched }.pass(now, full);
        driver.until = driver.until.min(look_at);
        self.armed = driver.words.set(self.id, word, self.armed);
    }
}

/// The watchers of this process that have a thread.
pub(crate) struct Registry(Mutex<Vec<(Arc<Watcher>, Thread)>>);

impl Registry {
    pub(crate) const fn of(running: Mutex<Vec<(Arc<Watcher>, Thread)>>) -> Self {
        Registry(running)
    }

    /// Has a watcher take care of what is watched: `driven`, or one with a thread that has room, or a new one. It, and the number there.
    pub(crate) fn enlist(&self, watched: &Watched, driven: Option<Arc<Watcher>>) -> Result<(Arc<Watcher>, u64)> {
        let mut running = lock(&self.0);
        let found =
            driven.or_else(|| running.iter().map(|(watcher, _)| watcher).find(|it| it.has_room()).map(Arc::clone));
        let watcher = match found {
            Some(watcher) => watcher,
            None => Self::start(&mut running, Arc::new(Watcher::new()))?,
        };
        let id = watcher.add(watched);
        Ok((watcher, id))
    }

    /// Has a thread drive a watcher that a thread of the program's drove, and does not any more.
    pub(crate) fn adopt(&self, watcher: &Arc<Watcher>) -> Result<()> {
        let mut running = lock(&self.0);
        let mut roll = lock(&watcher.roll);
        roll.left.clear();
        roll.disarm_all();
        // Nobody is asleep yet, and who rings from now on may ring in vain.
        roll.driven_by = None;
        drop(roll);
        Self::start(&mut running, Arc::clone(watcher)).map(|_| ())
    }

    /// Returns when it is known how much room its thread has.
    fn start(running: &mut Vec<(Arc<Watcher>, Thread)>, watcher: Arc<Watcher>) -> Result<Arc<Watcher>> {
        let thread = Thread::start(&watcher)?;
        while watcher.room.load(SeqCst) == 0 {
            futex_wait(&watcher.room, 0, MAX_SLEEP_NS);
        }
        running.push((Arc::clone(&watcher), thread));
        Ok(watcher)
    }

    /// The watcher forgets what is watched before this returns. With the last its thread ends, too.
    pub(crate) fn dismiss(&self, watcher: &Arc<Watcher>, id: u64, watched: &Watched) {
        let mut running = lock(&self.0);
        if !watcher.remove(id) {
            return;
        }
        if let Some(at) = running.iter().position(|(other, _)| Arc::ptr_eq(other, watcher)) {
            let (_, thread) = running.swap_remove(at);
            drop(running);
            lock(&watcher.roll).stop = true;
            watcher.ring_for(id, watched);
            thread.join();
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
