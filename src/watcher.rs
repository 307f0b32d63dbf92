//! Watchers look for messages in the rings of watched subscribers (see [`crate::watch`]). A thread of the process drives a
//! watcher for all rings, or the thread that waits for a set drives one for the set.
//!
//! A watcher sleeps on the words of all rings on its list (see [`crate::multiwait`]), and then looks only at rings that were
//! woken, or that are *due* because their subscriber asked for it. It goes through the whole list if it does not know which ones
//! these are, and when it is time to look at one without a wake-up. Once a second it looks at all rings, because a publisher may
//! have been killed before it woke its waiters.
//!
//! The list borrows its subscribers. A subscriber removes its entry before it is dropped, and the driver holds the lock of the
//! list while it looks at entries. The kernel may have the word of a removed entry armed until the driver's next turn; its number
//! is not used again, so a wake-up is not mistaken for another entry's.

use std::sync::Arc;

use crate::error::Result;
use crate::multiwait::{MultiWait, BELL};
use crate::sync::Ordering::SeqCst;
use crate::sync::{lock, AtomicU32, Mutex};
use crate::threads::{this_thread, Thread, ThreadId};
use crate::wait::{futex_wait, futex_wake, monotonic_ns, Sleep, MAX_SLEEP_NS};
use crate::watch::Watched;

/// A list of watched subscribers, and the requests of other threads to its driver.
pub(crate) struct Watcher {
    /// Changes when an entry of the list is added or becomes due.
    bell: AtomicU32,
    list: Mutex<List>,
    /// How many rings its thread can sleep on; 0 while that is not known.
    room: AtomicU32,
}

#[derive(Default)]
struct List {
    /// Sorted by their numbers, which are not used again.
    entries: Vec<Entry>,
    last_id: u64,
    /// The numbers of entries to look at. It has capacity for all, because watcher threads must not allocate.
    due: Vec<u64>,
    /// The numbers of removed entries that may still be armed.
    left: Vec<u64>,
    /// The thread of the program that drives it. It need not be woken by a ring of its own. `None` if a thread of the process's
    /// does.
    driven_by: Option<ThreadId>,
    stop: bool,
}

struct Entry {
    id: u64,
    watched: *const Watched,
    /// What [`MultiWait::set`] returned for it.
    armed: bool,
    /// Whether `due` has its number.
    due: bool,
}

// SAFETY: watched subscribers may be used by two threads, and live until their entries are removed.
unsafe impl Send for Watcher {}
// SAFETY: as above.
unsafe impl Sync for Watcher {}

impl std::fmt::Debug for Watcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watcher").finish_non_exhaustive()
    }
}

impl Watcher {
    /// A watcher for a thread of its own, which sets `room`.
    fn new() -> Self {
        Watcher { bell: AtomicU32::new(0), list: Mutex::default(), room: AtomicU32::new(0) }
    }

    /// A watcher for this thread to drive.
    pub(crate) fn driven_here() -> Self {
        let list = List { driven_by: Some(this_thread()), ..List::default() };
        Watcher { list: Mutex::new(list), ..Self::new() }
    }

    /// Makes the entry with this number due, and wakes the driver.
    pub(crate) fn ring_for(&self, id: u64, watched: &Watched) {
        self.ring(|list| list.make_due(id));
        if self.room.load(SeqCst) == 1 {
            watched.wake_by_ring();
        }
    }

    /// Changes the list, then the bell, and wakes all waiters of the bell: an abandoned queue has it armed until its thread ends.
    fn ring(&self, change: impl FnOnce(&mut List)) {
        let mut list = lock(&self.list);
        change(&mut list);
        let is_awake = list.driven_by == Some(this_thread());
        drop(list);
        if !is_awake {
            self.bell.fetch_add(1, SeqCst);
            futex_wake(&self.bell, i32::MAX);
        }
    }

    /// Adds an entry, which is due. Returns its number.
    fn add(&self, watched: &Watched) -> u64 {
        let mut id = BELL;
        self.ring(|list| {
            list.last_id += 1;
            id = list.last_id;
            list.entries.push(Entry { id, watched, armed: false, due: false });
            list.due.reserve(list.entries.len() - list.due.len());
            list.make_due(id);
        });
        id
    }

    fn has_room(&self) -> bool {
        lock(&self.list).entries.len() < self.room.load(SeqCst) as usize
    }

    /// Removes an entry. Returns whether it was the last.
    fn remove(&self, id: u64) -> bool {
        let list = &mut *lock(&self.list);
        if let Some(at) = list.index_of(id) {
            let entry = list.entries.remove(at);
            if entry.armed {
                list.left.push(id);
            }
            if entry.due {
                list.due.retain(|&other| other != id);
            }
        }
        list.entries.is_empty()
    }

    /// The function of a watcher's thread, which runs no Perl code and gets no signals. Returns when the watcher is stopped.
    pub(crate) fn run(&self) {
        let mut driver = Driver::new(MultiWait::new());
        self.room.store(driver.words.room(), SeqCst);
        futex_wake(&self.room, 1);
        while let Some(turn) = self.turn(&mut driver) {
            self.sleep(&mut driver, turn, u64::MAX);
        }
    }

    /// Looks at all rings that may have changed. Returns `None` if the watcher is stopped.
    pub(crate) fn turn(&self, driver: &mut Driver) -> Option<Turn> {
        let rung = self.bell.load(SeqCst);
        let now = monotonic_ns();
        let full = now >= driver.full_at;
        if full {
            driver.full_at = now + MAX_SLEEP_NS;
        }
        let list = &mut *lock(&self.list);
        if list.stop {
            return None;
        }
        if driver.words.has_failed() {
            driver.words = MultiWait::without_queue();
            self.room.store(driver.words.room(), SeqCst);
            list.disarm_all();
        }
        list.left.drain(..).for_each(|id| driver.words.forget(id));
        while let Some(id) = driver.words.next_woken() {
            // Unless the entry was removed since.
            if let Some(at) = list.index_of(id) {
                list.entries[at].armed = false;
                list.make_due(id);
            }
        }
        if full || now >= driver.until || driver.words.may_be_any() {
            driver.until = driver.full_at;
            list.due.clear();
            (0..list.entries.len()).for_each(|at| list.entries[at].pass(now, full, driver));
        }
        while let Some(id) = list.due.pop() {
            if let Some(at) = list.index_of(id) {
                list.entries[at].pass(now, false, driver);
            }
        }
        Some(Turn { rung, now })
    }

    /// Sleeps after a turn until there may be work for the next one, or the clock reaches `deadline`.
    pub(crate) fn sleep(&self, driver: &mut Driver, Turn { rung, now }: Turn, deadline: u64) -> Sleep {
        let until = driver.until.min(deadline);
        if until <= now {
            return Sleep::TimedOut;
        }
        driver.words.sleep(&self.bell, rung, until - now)
    }
}

/// The bell and the clock at the beginning of a turn.
#[derive(Clone, Copy)]
pub(crate) struct Turn {
    rung: u32,
    pub(crate) now: u64,
}

/// The private state of the thread that drives a watcher.
pub(crate) struct Driver {
    pub(crate) words: MultiWait,
    /// When to go through the list without a wake-up.
    until: u64,
    /// When to look at all rings.
    full_at: u64,
}

impl Driver {
    pub(crate) fn new(words: MultiWait) -> Self {
        Driver { words, until: 0, full_at: 0 }
    }

    /// When a sleep must end.
    pub(crate) fn until(&self) -> u64 {
        self.until
    }

    /// When it looks at all rings next.
    pub(crate) fn full_at(&self) -> u64 {
        self.full_at
    }
}

impl List {
    /// Notes that the kernel does not have any of their words armed.
    fn disarm_all(&mut self) {
        self.entries.iter_mut().for_each(|entry| entry.armed = false);
    }

    fn index_of(&self, id: u64) -> Option<usize> {
        self.entries.binary_search_by_key(&id, |entry| entry.id).ok()
    }

    /// Makes the entry due, if it is still on the list.
    fn make_due(&mut self, id: u64) {
        if let Some(at) = self.index_of(id) {
            if !std::mem::replace(&mut self.entries[at].due, true) {
                self.due.push(id);
            }
        }
    }
}

impl Entry {
    fn pass(&mut self, now: u64, full: bool, driver: &mut Driver) {
        self.due = false;
        // SAFETY: it is on the list, which is locked.
        let (word, look_at) = unsafe { &*self.watched }.pass(now, full);
        driver.until = driver.until.min(look_at);
        self.armed = driver.words.set(self.id, word, self.armed);
    }
}

/// The watchers of this process that have threads.
pub(crate) struct Registry(Mutex<Vec<(Arc<Watcher>, Thread)>>);

impl Registry {
    pub(crate) const fn of(running: Mutex<Vec<(Arc<Watcher>, Thread)>>) -> Self {
        Registry(running)
    }

    /// Adds an entry to a watcher: to `driven`, or to one that has a thread and room, or to a new one. Returns the watcher and the
    /// entry's number.
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

    /// Starts a thread for a watcher that a thread of the program has driven until now.
    pub(crate) fn adopt(&self, watcher: &Arc<Watcher>) -> Result<()> {
        let mut running = lock(&self.0);
        let mut list = lock(&watcher.list);
        list.left.clear();
        list.disarm_all();
        // From now on, threads ring. Until the new thread sleeps, that has no effect, and need not.
        list.driven_by = None;
        drop(list);
        Self::start(&mut running, Arc::clone(watcher)).map(|_| ())
    }

    /// Starts a watcher's thread, and waits until it has set `room`.
    fn start(running: &mut Vec<(Arc<Watcher>, Thread)>, watcher: Arc<Watcher>) -> Result<Arc<Watcher>> {
        let thread = Thread::start(&watcher)?;
        while watcher.room.load(SeqCst) == 0 {
            futex_wait(&watcher.room, 0, MAX_SLEEP_NS);
        }
        running.push((Arc::clone(&watcher), thread));
        Ok(watcher)
    }

    /// Removes an entry. After this the watcher does not access `watched`. Its thread ends with the last entry.
    pub(crate) fn dismiss(&self, watcher: &Arc<Watcher>, id: u64, watched: &Watched) {
        let mut running = lock(&self.0);
        if !watcher.remove(id) {
            return;
        }
        if let Some(at) = running.iter().position(|(other, _)| Arc::ptr_eq(other, watcher)) {
            let (_, thread) = running.swap_remove(at);
            drop(running);
            lock(&watcher.list).stop = true;
            watcher.ring_for(id, watched);
            thread.join();
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
