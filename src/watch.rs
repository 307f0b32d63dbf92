//! Watched subscribers: a descriptor, or a sleeper on a set, is told while they have something to read, whoever published it.
//!
//! An eventfd is known only to processes that inherited it or were sent it; a futex to all, but no event loop waits for
//! one. So a thread of this process does, or whoever waits for a set (see [`crate::watcher`]): it sleeps on the eventcounts of many rings at once, looks
//! from where each subscriber stands, and raises the [`Readiness`] that the subscriber belongs to. The subscriber, whenever it
//! has read, lowers it if there is nothing more and leaves the looking to the thread again. Publishers do nothing for it
//! but wake a sleeper.
//!
//! ```text
//!   quiet     --- the thread saw a message at the subscriber's position: raises the readiness  --->  readable
//!   readable  --- the subscriber has read everything: lowers it, and tells the thread          --->  quiet
//! ```
//!
//! The thread stays on a ring's word when it has raised the readiness, until the next message comes: most are read one by
//! one, and then nobody needs to tell it. After that one it leaves the ring alone until the subscriber is quiet again.
//!
//! Both change with the place of the subscriber locked, so that readiness never says what is true no more: the thread looks
//! from where the subscriber stands now. A forked child has the descriptor, but not the thread, and shares the counter with
//! its parent: it closes its descriptor, and asks again.

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

/// Which subscribers, of one or of a set, have something to read; and who is told of it.
#[derive(Debug)]
pub(crate) struct Readiness {
    level: Mutex<Level>,
    /// Of those who sleep until there is something to read, without a descriptor.
    pub(crate) wake: WakeLine,
    /// The process that it serves; see [`this_process`].
    process: u32,
}

#[derive(Debug, Default)]
struct Level {
    /// The keys of those that are readable. There is room for all, so that the thread allocates nothing.
    readable: Vec<usize>,
    /// Who may become so.
    members: usize,
    /// Readable while one is. Made when it is asked for.
    eventfd: Option<EventFd>,
    /// Who watches them, where it is no thread of the process's own.
    driven: Option<Arc<Watcher>>,
}

impl Readiness {
    fn new() -> Self {
        Readiness { level: Mutex::default(), wake: WakeLine::default(), process: this_process() }
    }

    /// From now on its members are watched by this, or by threads.
    pub(crate) fn drive_by(&self, watcher: Option<&Arc<Watcher>>) {
        lock(&self.level).driven = watcher.map(Arc::clone);
    }

    /// Makes room for one more.
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
            // Fails where the program has closed it: nobody waits for it then.
            let _ = eventfd.consume();
        }
    }

    /// Whether one of them is readable.
    pub(crate) fn is_raised(&self) -> bool {
        !lock(&self.level).readable.is_empty()
    }

    /// The keys of those that are.
    pub(crate) fn readable(&self) -> Vec<usize> {
        lock(&self.level).readable.clone()
    }
}

impl Level {
    fn tell(&self) {
        if let Some(eventfd) = &self.eventfd {
            // As above.
            let _ = eventfd.notify();
        }
    }
}

/// The readiness that a subscriber or a set has asked for, and the descriptor that shows it.
#[derive(Debug, Default)]
pub(crate) struct Outlet {
    readiness: Option<Arc<Readiness>>,
    /// The file of the last descriptor, also when that has gone.
    file: Option<Identity>,
}

impl Outlet {
    /// This process's; a forked child lets go of its parent's.
    pub(crate) fn readiness(&mut self) -> Option<&Arc<Readiness>> {
        if self.readiness.as_ref().map_or(false, |readiness| readiness.process != this_process()) {
            self.readiness = None;
        }
        self.readiness.as_ref()
    }

    /// The same, made where there is none.
    pub(crate) fn make(&mut self) -> Arc<Readiness> {
        match self.readiness() {
            Some(readiness) => Arc::clone(readiness),
            None => Arc::clone(self.readiness.insert(Arc::new(Readiness::new()))),
        }
    }

    /// Nobody asks for it any more.
    pub(crate) fn close(&mut self) {
        self.readiness = None;
    }

    /// The descriptor, and whether this call has made it: there was none yet, or the program has closed it.
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

    /// Whether `fd` is the last descriptor, or a duplicate of it; and not what got its number afterwards.
    pub(crate) fn is(&self, fd: RawFd) -> bool {
        self.file.map_or(false, |file| file.is(fd))
    }
}

/// What the subscriber's thread and the watching one have in common.
pub(crate) struct Watched {
    ring: AnyRing,
    readiness: Arc<Readiness>,
    /// What the readiness knows it by; no other of its has it.
    key: usize,
    /// 1 while it is among the readable there. Changed with the place locked.
    readable: AtomicU32,
    place: Mutex<Place>,
}

// SAFETY: a ring's pointers are good in every thread of the process while the mapping lives, which the subscriber holds for as
// long as it has the watch; the rest is made for two threads.
unsafe impl Send for Watched {}
// SAFETY: as above.
unsafe impl Sync for Watched {}

/// Where the subscriber stands, and what the thread waits for there.
struct Place {
    /// The subscriber's, as it was when it last read; from there on the thread may have passed what holds no message, or none
    /// that is wanted.
    cursor: Cursor,
    /// The ring's word on which the thread sleeps: as it was announced.
    armed: Option<u32>,
    /// Where the subscriber itself stands.
    settled: u64,
    /// When to look again although nobody woke: nanoseconds of the monotonic clock.
    look_at: u64,
    /// Naps since there was a message; of read-only rings.
    naps: u32,
}

impl Watched {
    /// What the thread does with it, time and again: looks where it may have changed, or where `full` says so. The word to
    /// sleep on, if any, and when to look again at the latest.
    pub(crate) fn pass(&self, now: u64, full: bool) -> (Option<(&AtomicU32, u32)>, u64) {
        let wake = &self.ring.header().wake;
        let mut place = lock(&self.place);
        // SeqCst: one of those in the order that `prepare_wait` speaks of.
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

    /// Whether the subscriber is to read. Also where much was passed that it does not want, and publishers of a lossless ring may be waiting
    /// until it says so.
    fn is_worth_a_read(&self, next: &Next<()>, place: &Place) -> bool {
        let passed = place.cursor.next().saturating_sub(place.settled);
        *next == Next::Ready(()) || place.cursor.filter().is_some() && self.ring.is_kept(passed)
    }

    /// The thread sleeps on the ring's word no more.
    fn disarm(&self, place: &mut Place) {
        if let Some(word) = place.armed.take() {
            self.ring.header().wake.end_sleep(word);
        }
    }

    /// Whether it is among the readable.
    fn is_readable(&self) -> bool {
        // Relaxed: only with the place locked does it decide anything.
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

    /// What the subscriber does when it has read or moved. True: the thread is to pass again.
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
        // A nap that is under way ends as it would have. Otherwise what the thread waited for may be behind us.
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

    /// The subscriber goes, and no thread passes here any more.
    fn leave(&self) {
        if self.is_readable() {
            self.become_quiet();
        }
        self.disarm(&mut lock(&self.place));
        self.readiness.dismiss();
    }

    /// Wakes a thread that sleeps on the ring's word alone. One that may not write naps, and nobody can wake it.
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

/// A subscriber's side of it. The thread borrows what is watched, and is told before that goes; a forked child has nobody who
/// borrows. Whoever has one keeps the ring mapped.
pub(crate) struct Watch {
    watched: Arc<Watched>,
    watcher: Arc<Watcher>,
    /// The watcher's number for it.
    id: u64,
    /// The process whose thread it is.
    process: u32,
}

impl Watch {
    /// Starts watching from `cursor` on. The caller keeps the ring mapped for as long as the watch lives.
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

    /// Whether it is this process's, and not one that it inherited.
    pub(crate) fn is_ours(&self) -> bool {
        self.process == this_process()
    }

    /// Whether it is told there.
    pub(crate) fn serves(&self, readiness: &Arc<Readiness>) -> bool {
        Arc::ptr_eq(&self.watched.readiness, readiness)
    }

    /// The same for another ring, from `cursor` on.
    pub(crate) fn again(&self, ring: AnyRing, cursor: &Cursor) -> Result<Watch> {
        Watch::start(ring, cursor, &self.watched.readiness, self.watched.key)
    }

    /// Moves the subscriber, which has not moved back since it settled, over what the thread has passed: what it does not want, above all.
    pub(crate) fn catch_up(&self, cursor: &mut Cursor) {
        let place = lock(&self.watched.place);
        if place.cursor.next() > cursor.next() {
            *cursor = place.cursor.clone();
        }
    }
    /// To be called when the subscriber has read or moved: makes the readiness say what is true now.
    pub(crate) fn settle(&self, cursor: &Cursor) {
        if self.watched.settle(cursor) {
            self.watcher.ring_for(self.id, &self.watched);
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // In a forked child there is no thread. Descriptors close themselves, unless their numbers are other files' by now.
        if self.is_ours() {
            registry().dismiss(&self.watcher, self.id, &self.watched);
            self.watched.leave();
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
