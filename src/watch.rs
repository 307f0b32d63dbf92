//! Watched subscribers: while a subscriber has messages to read, its descriptor is readable, or a thread that waits for a set
//! is awake.
//!
//! Publishers in other processes cannot know an eventfd of this process, and event loops cannot wait for a futex. So a watcher
//! (see [`crate::watcher`]) does: a thread of this process, or the thread that waits for a set. It sleeps on the eventcounts of
//! many rings, looks for a message at each subscriber's position, and raises the [`Readiness`] that the subscriber belongs
//! to. After each read, the subscriber lowers the readiness if it has read everything, and leaves it to the watcher to look for
//! more. Publishers only wake the waiters of the ring.
//!
//! ```text
//!   quiet     --- the watcher finds a message at the subscriber's position, and raises the readiness  --->  readable
//!   readable  --- the subscriber has read everything, lowers the readiness, and tells the watcher     --->  quiet
//! ```
//!
//! After it has raised the readiness, the watcher stays armed on the ring's word until the next message is published. Most
//! messages are read one at a time, and then the subscriber need not tell the watcher. After that message the watcher leaves the
//! ring alone until the subscriber is quiet again.
//!
//! Both sides change the state with the subscriber's place locked, so the readiness is never out of date. A forked child
//! inherits the descriptor, whose counter it shares with its parent, but not the thread. It closes its copy and makes a new one.

use std::os::unix::io::RawFd;
use std::sync::Arc;

use crate::any_ring::AnyRing;
use crate::cursor::{Cursor, Next};
use crate::error::Result;
use crate::fd::Identity;
use crate::layout::WakeLine;
use crate::notify::EventFd;
use crate::sync::Ordering::{Relaxed, SeqCst};
use crate::sync::{lock, AtomicU32, Mutex};
use crate::threads::{registry, this_process};
use crate::time::nap_ns;
use crate::wait::NEVER;
use crate::watcher::Watcher;

/// Which subscribers of a set have messages to read, or whether a single one has; and the waiters for that.
#[derive(Debug)]
pub(crate) struct Readiness {
    level: Mutex<Level>,
    /// For threads that wait without a descriptor.
    pub(crate) wake: WakeLine,
    /// The process that made it; see [`this_process`].
    process: u32,
}

#[derive(Debug, Default)]
struct Level {
    /// The keys of the subscribers that are readable. It has capacity for all, because watcher threads must not allocate.
    readable: Vec<usize>,
    /// The number of subscribers that report here.
    members: usize,
    /// Readable while one of them is. Made on demand.
    eventfd: Option<EventFd>,
    /// The watcher, if the thread that waits for the set drives it; `None` if a thread of the process does.
    driven: Option<Arc<Watcher>>,
}

impl Readiness {
    fn new() -> Self {
        Readiness { level: Mutex::default(), wake: WakeLine::default(), process: this_process() }
    }

    /// Members that are added from now on are watched by `watcher`, or by a thread of the process's own if that is `None`.
    pub(crate) fn drive_by(&self, watcher: Option<&Arc<Watcher>>) {
        lock(&self.level).driven = watcher.map(Arc::clone);
    }

    /// Makes room for one more member.
    fn admit(&self) {
        let level = &mut *lock(&self.level);
        level.members += 1;
        level.readable.reserve(level.members - level.readable.len());
    }

    pub(crate) fn has_members(&self) -> bool {
        lock(&self.level).members > 0
    }

    fn dismiss(&self) {
        lock(&self.level).members -= 1;
    }

    fn raise(&self, key: usize) {
        let mut level = lock(&self.level);
        level.readable.push(key);
        if level.readable.len() == 1 {
            level.tell();
        }
        drop(level);
        self.wake.wake_sleepers();
    }

    fn lower(&self, key: usize) {
        let mut level = lock(&self.level);
        let at = level.readable.iter().position(|&other| other == key);
        level.readable.swap_remove(at.expect("it was raised"));
        if let (true, Some(eventfd)) = (level.readable.is_empty(), &level.eventfd) {
            // It fails if the program has closed the descriptor. Then nothing waits for it.
            let _ = eventfd.consume();
        }
    }

    /// Whether a member is readable.
    pub(crate) fn is_raised(&self) -> bool {
        !lock(&self.level).readable.is_empty()
    }

    /// The keys of the members that are readable.
    pub(crate) fn readable(&self) -> Vec<usize> {
        lock(&self.level).readable.clone()
    }
}

impl Level {
    fn tell(&self) {
        if let Some(eventfd) = &self.eventfd {
            // As for `consume` above.
            let _ = eventfd.notify();
        }
    }
}

/// The readiness that a subscriber or a set has asked for, and the descriptor that shows it.
#[derive(Debug, Default)]
pub(crate) struct Outlet {
    readiness: Option<Arc<Readiness>>,
    /// The file of the last descriptor, also after it was closed.
    file: Option<Identity>,
}

impl Outlet {
    /// The readiness of this process, if there is one; a forked child drops its parent's.
    pub(crate) fn readiness(&mut self) -> Option<&Arc<Readiness>> {
        if self.readiness.as_ref().map_or(false, |readiness| readiness.process != this_process()) {
            self.readiness = None;
        }
        self.readiness.as_ref()
    }

    /// The readiness of this process; made if there is none.
    pub(crate) fn make(&mut self) -> Arc<Readiness> {
        match self.readiness() {
            Some(readiness) => Arc::clone(readiness),
            None => Arc::clone(self.readiness.insert(Arc::new(Readiness::new()))),
        }
    }

    /// Drops the readiness.
    pub(crate) fn close(&mut self) {
        self.readiness = None;
    }

    /// The descriptor, and whether this call made it, because there was none or the program had closed it.
    pub(crate) fn descriptor(&mut self) -> Result<(RawFd, bool)> {
        let readiness = self.make();
        let mut level = lock(&readiness.level);
        if let Some(fd) = level.eventfd.as_ref().and_then(|eventfd| eventfd.fd().get()) {
            return Ok((fd, false));
        }
        let eventfd = EventFd::new()?;
        let fd = eventfd.fd().number();
        self.file = Some(eventfd.fd().file());
        level.eventfd = Some(eventfd);
        if !level.readable.is_empty() {
            level.tell();
        }
        Ok((fd, true))
    }

    /// Whether `fd` is the last descriptor or a duplicate of it, and not a later file with the same number.
    pub(crate) fn is(&self, fd: RawFd) -> bool {
        self.file.map_or(false, |file| file.is(fd))
    }
}

/// The state that a subscriber shares with its watcher.
pub(crate) struct Watched {
    ring: AnyRing,
    readiness: Arc<Readiness>,
    /// Its key in `readiness`, unique there.
    key: usize,
    /// 1 while `readiness` has its key among the readable ones. Changed with the place locked.
    readable: AtomicU32,
    place: Mutex<Place>,
}

// SAFETY: a ring's pointers are valid in every thread of the process while the ring is mapped, and the subscriber keeps it mapped
// as long as it has the watch. The rest is behind locks and atomics.
unsafe impl Send for Watched {}
// SAFETY: as above.
unsafe impl Sync for Watched {}

/// The subscriber's position, and what the watcher waits for there.
struct Place {
    /// The subscriber's cursor after its last read, which the watcher then moves past abandoned positions and messages that the
    /// filter rejects.
    cursor: Cursor,
    /// The ring's word as `prepare_wait` returned it, while the watcher sleeps on it.
    armed: Option<u32>,
    /// The subscriber's position after its last read.
    settled: u64,
    /// When to look again without a wake-up, in nanoseconds of the monotonic clock.
    look_at: u64,
    /// The number of naps since the last message, for read-only rings.
    naps: u32,
}

impl Watched {
    /// Called by the watcher: looks for a message if the ring may have changed, or if `full` is true. Returns the word to sleep
    /// on, if any, with its expected value, and when to look again at the latest.
    pub(crate) fn pass(&self, now: u64, full: bool) -> (Option<(&AtomicU32, u32)>, u64) {
        let wake = &self.ring.header().wake;
        let mut place = lock(&self.place);
        // SeqCst: in one total order with `prepare_wait` and wake-ups.
        let unchanged = place.armed == Some(wake.word.load(SeqCst));
        if self.is_readable() {
            if !unchanged {
                self.disarm(&mut place);
            }
            place.look_at = NEVER;
        } else if full || now >= place.look_at || !unchanged && !place.cursor.read_only() {
            self.disarm(&mut place);
            self.look(&mut place, now);
        }
        (place.armed.map(|word| (&wake.word, word)), place.look_at)
    }

    fn look(&self, place: &mut Place, now: u64) {
        let read_only = place.cursor.read_only();
        if !read_only {
            let wake = &self.ring.header().wake;
            let word = wake.prepare_wait();
            wake.begin_sleep();
            place.armed = Some(word);
        }
        let next = self.ring.look(&mut place.cursor);
        place.look_at = when_to_look(&next);
        if self.is_worth_a_read(&next, place) {
            place.naps = 0;
            self.become_readable();
        } else if read_only {
            place.look_at = place.look_at.min(now + nap_ns(&mut place.naps));
        }
    }

    /// Whether the subscriber should read: there is a message, or the watcher has passed so many rejected messages that publishers
    /// of a lossless ring may wait for the subscriber to say so.
    fn is_worth_a_read(&self, next: &Next<()>, place: &Place) -> bool {
        let passed = place.cursor.next().saturating_sub(place.settled);
        *next == Next::Ready(()) || place.cursor.filter().is_some() && self.ring.is_kept(passed)
    }

    /// The watcher does not sleep on the ring's word any more.
    fn disarm(&self, place: &mut Place) {
        if let Some(word) = place.armed.take() {
            self.ring.header().wake.end_sleep(word);
        }
    }

    /// Whether `readiness` has its key among the readable ones.
    fn is_readable(&self) -> bool {
        // Relaxed: decisions are made with the place locked.
        self.readable.load(Relaxed) != 0
    }

    fn become_readable(&self) {
        self.readable.store(1, Relaxed);
        self.readiness.raise(self.key);
    }

    fn become_quiet(&self) {
        self.readable.store(0, Relaxed);
        self.readiness.lower(self.key);
    }

    /// Called by the subscriber after it has read or moved. Returns whether the watcher must look at it again.
    fn settle(&self, cursor: &Cursor) -> bool {
        let mut place = lock(&self.place);
        place.cursor = cursor.clone();
        place.settled = cursor.next();
        let next = self.ring.look(&mut place.cursor);
        let look_at = when_to_look(&next);
        let ready = self.is_worth_a_read(&next, &place);
        let was_readable = self.is_readable();
        if ready != was_readable {
            if ready {
                self.become_readable();
            } else {
                self.become_quiet();
            }
        }
        let sooner = !ready && look_at < place.look_at;
        // A nap in progress keeps its end. Otherwise the claimed position that the watcher waited for may have been passed.
        if !place.cursor.read_only() || was_readable {
            place.look_at = look_at;
        } else {
            place.look_at = place.look_at.min(look_at);
        }
        if was_readable && !ready && place.armed.is_none() {
            place.look_at = 0;
            return true;
        }
        sooner
    }

    /// The subscriber is dropped or stops being watched. The watcher has already forgotten it.
    fn leave(&self) {
        if self.is_readable() {
            self.become_quiet();
        }
        self.disarm(&mut lock(&self.place));
        self.readiness.dismiss();
    }

    /// Wakes a watcher that sleeps on this ring's word alone. On a read-only ring it naps and cannot be woken.
    pub(crate) fn wake_by_ring(&self) {
        if !lock(&self.place).cursor.read_only() {
            self.ring.wake_sleepers();
        }
    }
}

fn when_to_look(next: &Next<()>) -> u64 {
    match next {
        Next::Claimed(when) => *when,
        Next::More => 0,
        Next::Ready(()) | Next::Empty => NEVER,
    }
}

/// The subscriber's side. The watcher borrows `watched` and forgets it before it is dropped; in a forked child there is no
/// watcher. The owner keeps the ring mapped.
pub(crate) struct Watch {
    watched: Arc<Watched>,
    watcher: Arc<Watcher>,
    /// Its number in the watcher's list.
    id: u64,
    /// The process of the watcher.
    process: u32,
}

impl Watch {
    /// Starts watching from `cursor` on. The caller must keep the ring mapped as long as the watch lives.
    ///
    /// Fails if a thread is needed and cannot be started.
    pub(crate) fn start(ring: AnyRing, cursor: &Cursor, readiness: &Arc<Readiness>, key: usize) -> Result<Watch> {
        let process = this_process();
        readiness.admit();
        let place = Place { cursor: cursor.clone(), settled: cursor.next(), armed: None, look_at: NEVER, naps: 0 };
        let watched = Arc::new(Watched {
            ring,
            readiness: Arc::clone(readiness),
            key,
            readable: AtomicU32::new(0),
            place: Mutex::new(place),
        });
        watched.settle(cursor);
        lock(&watched.place).look_at = 0;
        let driven = lock(&readiness.level).driven.clone();
        match registry().enlist(&watched, driven) {
            Ok((watcher, id)) => Ok(Watch { watched, watcher, id, process }),
            Err(error) => {
                watched.leave();
                Err(error)
            }
        }
    }

    /// Whether this process started it; false in a forked child.
    pub(crate) fn is_ours(&self) -> bool {
        self.process == this_process()
    }

    /// Whether it reports to `readiness`.
    pub(crate) fn serves(&self, readiness: &Arc<Readiness>) -> bool {
        Arc::ptr_eq(&self.watched.readiness, readiness)
    }

    /// Starts another watch with the same key and readiness, of `ring` from `cursor` on.
    pub(crate) fn again(&self, ring: AnyRing, cursor: &Cursor) -> Result<Watch> {
        Watch::start(ring, cursor, &self.watched.readiness, self.watched.key)
    }

    /// Moves the subscriber's cursor past the positions that the watcher has passed. The cursor must not have moved back since
    /// the last `settle`.
    pub(crate) fn catch_up(&self, cursor: &mut Cursor) {
        let place = lock(&self.watched.place);
        if place.cursor.next() > cursor.next() {
            *cursor = place.cursor.clone();
        }
    }

    /// To be called after the subscriber has read or moved: updates the readiness.
    pub(crate) fn settle(&self, cursor: &Cursor) {
        if self.watched.settle(cursor) {
            self.watcher.ring_for(self.id, &self.watched);
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // A forked child has no watcher. Descriptors close themselves, unless their numbers belong to other files by now.
        if self.is_ours() {
            registry().dismiss(&self.watcher, self.id, &self.watched);
            self.watched.leave();
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
