//! A descriptor that is readable while a subscriber has something to read, whoever published it.
//!
//! An eventfd is known only to processes that inherited it or were sent it; a futex to all, but no event loop waits for
//! one. So a watched subscriber has a small thread that does: it sleeps on the ring's eventcount as any subscriber, looks
//! from where its subscriber stands, and makes the subscriber's own eventfd readable. The subscriber, whenever it has
//! read, empties the eventfd if there is nothing more and leaves the looking to the thread again. Publishers do nothing
//! for it but wake a sleeper.
//!
//! ```text
//!   QUIET     --- the thread saw a message at the subscriber's position: eventfd := 1 --->  READABLE
//!   READABLE  --- the subscriber has read everything: eventfd := 0; wakes the thread   --->  QUIET
//!   any       --- the subscriber goes: wakes and joins the thread                      --->  STOP
//! ```
//!
//! All three change under one mutex, so that the eventfd never says what is true no more. A forked child has the
//! descriptor, but not the thread, and shares the counter with its parent: it closes its descriptor, and asks again.
//!
//! The thread is a bare one of the system's. `std::thread` leaves destructors for its thread-locals behind, in the new
//! thread and in the one that starts it, and libc keeps the library that they are in loaded until those threads end. A
//! host that unloads its perl with all that perl had loaded, and then begins again, as Apache does with mod_perl when it
//! starts, would find this library still there, linked to a perl that is gone.

use std::os::raw::c_void;
use std::os::unix::io::RawFd;
use std::sync::{Arc, Mutex, MutexGuard};

use crate::any_ring::{AnyRing, Mapping};
use crate::cursor::{Cursor, Next};
use crate::error::{Error, Result};
use crate::fd::Identity;
use crate::notify::EventFd;
use crate::signals::BlockedSignals;
use crate::sync::AtomicU32;
use crate::sync::Ordering::{Relaxed, SeqCst};
use crate::wait::{futex_wait, futex_wake, LONGEST_SLEEP_NS, NEVER};
use crate::waiting::{sleep_for_message, Wait};

const QUIET: u32 = 0;
const READABLE: u32 = 1;
const STOP: u32 = 2;

/// Bytes of the thread's stack: it calls nothing deep.
const STACK: usize = 64 * 1024;

/// What the subscriber's thread and the watching one have in common.
struct Shared {
    ring: AnyRing,
    eventfd: EventFd,
    /// Written under the mutex; a futex word, too.
    state: AtomicU32,
    /// Set when the place moved back, or where the thread does not wait; cleared by the thread, which then looks again.
    moved: AtomicU32,
    /// The subscriber's place, as it was when it last read.
    place: Mutex<Cursor>,
}

// SAFETY: a ring's pointers are good in every thread of the process while the mapping lives, which the watch holds for as
// long as its thread runs; the rest is made for two threads.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

impl Shared {
    /// The mutex is only held for a few stores and a system call that does not block; nobody panics with it.
    fn lock(&self) -> MutexGuard<'_, Cursor> {
        self.place.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// A subscriber's watcher. The thread borrows from it, and is joined before it goes; a forked child has nobody who borrows.
pub(crate) struct Watch {
    shared: Arc<Shared>,
    _mapping: Arc<Mapping>,
    thread: libc::pthread_t,
    /// The process whose thread it is: [`FORKS`] there.
    process: u32,
}

/// Forks between this process and the one that watched first; a process id may come again, and in another namespace does.
static FORKS: AtomicU32 = AtomicU32::new(0);

extern "C" fn count_fork() {
    FORKS.fetch_add(1, Relaxed);
}

/// Which process this is, where forks are counted from now on.
fn this_process() -> u32 {
    static COUNTED: Mutex<bool> = Mutex::new(false);
    let mut counted = COUNTED.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    if !*counted {
        // SAFETY: the handler changes an integer.
        *counted = unsafe { libc::pthread_atfork(None, None, Some(count_fork)) } == 0;
    }
    FORKS.load(Relaxed)
}

impl Watch {
    /// Starts watching from `cursor` on.
    pub(crate) fn start(ring: AnyRing, cursor: &Cursor, mapping: &Arc<Mapping>) -> Result<Watch> {
        let shared = Arc::new(Shared {
            ring,
            eventfd: EventFd::new()?,
            state: AtomicU32::new(QUIET),
            moved: AtomicU32::new(0),
            place: Mutex::new(cursor.clone()),
        });
        let process = this_process();
        let thread = start_thread(&shared)?;
        Ok(Watch { shared, _mapping: Arc::clone(mapping), thread, process })
    }

    /// The descriptor, in the process that started the watch; None in others, and where the program has closed it.
    pub(crate) fn fd(&self) -> Option<RawFd> {
        if self.is_ours() {
            return self.shared.eventfd.fd().get();
        }
        None
    }

    /// The file behind the descriptor, and behind its duplicates.
    pub(crate) fn file(&self) -> Identity {
        self.shared.eventfd.fd().file()
    }

    fn is_ours(&self) -> bool {
        self.process == FORKS.load(Relaxed)
    }

    /// To be called when the subscriber has read or moved: makes the descriptor say what is true now. False: this is
    /// another process's watch.
    pub(crate) fn settle(&self, cursor: &mut Cursor) -> bool {
        if !self.is_ours() {
            return false;
        }
        let mut place = self.shared.lock();
        let back = cursor.is_before(&place);
        *place = cursor.clone();
        let next = self.shared.ring.look(&mut place);
        let ready = next == Next::Ready(());
        *place = cursor.clone();
        match self.shared.state.load(Relaxed) {
            READABLE if !ready => {
                let _ = self.shared.eventfd.consume();
                self.shared.state.store(QUIET, SeqCst);
                drop(place);
                futex_wake(&self.shared.state, 1);
            }
            QUIET if ready => self.shared.set_readable(),
            // The thread looks further: what is to be passed may end at a claim that is to be waited for.
            QUIET if back || next == Next::More => {
                self.shared.moved.store(1, SeqCst);
                if !place.read_only {
                    self.shared.ring.wake_sleepers();
                }
            }
            _ => {}
        }
        true
    }
}

impl Shared {
    /// The caller holds the mutex.
    fn set_readable(&self) {
        self.state.store(READABLE, SeqCst);
        let _ = self.eventfd.notify();
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if !self.is_ours() {
            // There is no thread here to join. The descriptor closes itself, unless its number is another file's by now.
            return;
        }
        let read_only = {
            let place = self.shared.lock();
            self.shared.state.store(STOP, SeqCst);
            place.read_only
        };
        futex_wake(&self.shared.state, 1);
        // Who may not write has a thread that naps, and wakes nobody.
        if !read_only {
            self.shared.ring.wake_sleepers();
        }
        // SAFETY: a thread of this process that nothing else joins.
        unsafe { libc::pthread_join(self.thread, std::ptr::null_mut()) };
    }
}

/// The thread: no Perl, no signals.
fn run(shared: &Shared) {
    let ring = &shared.ring;
    let mut naps = 0;
    loop {
        match shared.state.load(SeqCst) {
            STOP => return,
            READABLE => {
                futex_wait(&shared.state, READABLE, LONGEST_SLEEP_NS);
            }
            _ => {
                shared.moved.store(0, SeqCst);
                let start = shared.lock().clone();
                let mut cursor = start.clone();
                let stop = || shared.state.load(SeqCst) != QUIET || shared.moved.load(SeqCst) != 0;
                let mut how = Wait::Interrupted;
                // A read-only thread keeps its patience with a claim from nap to nap.
                while how == Wait::Interrupted && !stop() {
                    how = sleep_for_message(ring, &mut cursor, NEVER, &mut naps, stop);
                }
                naps = 0;
                let place = shared.lock();
                let mut now = place.clone();
                let patient = start.read_only && start.next == now.next;
                // Also where the subscriber has more to pass: this thread has given up what was claimed there.
                let mut is_worth_a_read = || matches!(ring.look(&mut now), Next::Ready(()) | Next::More);
                if how == Wait::Ready && shared.state.load(Relaxed) == QUIET && (patient || is_worth_a_read()) {
                    shared.set_readable();
                }
            }
        }
    }
}

/// The thread's whole life, for C.
extern "C" fn main_of_thread(shared: *mut c_void) -> *mut c_void {
    // SAFETY: no preconditions; a name that ends in NUL.
    unsafe { libc::pthread_setname_np(libc::pthread_self(), b"pubsub-watch\0".as_ptr().cast()) };
    // SAFETY: from `start_thread`; the watch keeps it until it has joined this thread.
    run(unsafe { &*shared.cast::<Shared>() });
    std::ptr::null_mut()
}

/// Starts a thread that gets no signals. What it borrows must live until it was joined.
fn start_thread(shared: &Arc<Shared>) -> Result<libc::pthread_t> {
    let argument = Arc::as_ptr(shared) as *mut c_void;
    let signals = BlockedSignals::new();
    let mut thread = std::mem::MaybeUninit::<libc::pthread_t>::uninit();
    let mut start = |attributes| {
        // SAFETY: attributes that are initialised, or null; room for the thread's name; a function that takes the argument.
        unsafe { libc::pthread_create(thread.as_mut_ptr(), attributes, main_of_thread, argument) }
    };
    let mut attributes = std::mem::MaybeUninit::<libc::pthread_attr_t>::uninit();
    // SAFETY: initialised, used, destroyed, in this order.
    let mut code = unsafe {
        libc::pthread_attr_init(attributes.as_mut_ptr());
        libc::pthread_attr_setstacksize(attributes.as_mut_ptr(), STACK);
        let code = start(attributes.as_ptr());
        libc::pthread_attr_destroy(attributes.as_mut_ptr());
        code
    };
    if code == libc::EINVAL {
        // The thread-locals of all that is loaded do not fit into so small a stack.
        code = start(std::ptr::null());
    }
    drop(signals);
    match code {
        // SAFETY: it was started, so its name was written.
        0 => Ok(unsafe { thread.assume_init() }),
        code => Err(Error::from_os("pthread_create", code)),
    }
}

#[cfg(test)]
mod tests;
