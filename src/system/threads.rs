//! Threads of this process's own, and which process this is.
//!
//! The thread is a bare one of the system's. `std::thread` leaves destructors for its thread-locals behind, in the new
//! thread and in the one that starts it, and libc keeps the library that they are in loaded until those threads end. A
//! host that unloads its perl with all that perl had loaded, and then begins again, as Apache does with mod_perl when it
//! starts, would find this library still there, linked to a perl that is gone.
//!
//! A forked child has none of its parent's threads, and perhaps locks that one of them held. So it forgets the registry as it
//! was, without looking into it; that is a few hundred bytes a fork.

use std::cell::{Cell, UnsafeCell};
use std::os::raw::c_void;
use std::sync::{Arc, Mutex};

use crate::error::{Error, Result};
use crate::signals::BlockedSignals;
use crate::sync::Ordering::Relaxed;
use crate::sync::{AtomicU32, AtomicU64};
use crate::watcher::{Registry, Watcher};

/// Bytes of a thread's stack: it calls nothing deep.
const STACK: usize = 64 * 1024;

/// A thread that runs a watcher.
pub(crate) struct Thread(libc::pthread_t);

impl Thread {
    /// Starts a thread that gets no signals. The watcher must live until it was joined.
    pub(crate) fn start(watcher: &Arc<Watcher>) -> Result<Thread> {
        let argument = Arc::as_ptr(watcher) as *mut c_void;
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
            0 => Ok(Thread(unsafe { thread.assume_init() })),
            code => Err(Error::from_os("pthread_create", code)),
        }
    }

    /// Returns when it has ended.
    pub(crate) fn join(self) {
        // SAFETY: a thread of this process that nothing else joins.
        unsafe { libc::pthread_join(self.0, std::ptr::null_mut()) };
    }
}

/// The thread's whole life, for C.
extern "C" fn main_of_thread(watcher: *mut c_void) -> *mut c_void {
    // SAFETY: no preconditions; a name that ends in NUL.
    unsafe { libc::pthread_setname_np(libc::pthread_self(), b"pubsub-watch\0".as_ptr().cast()) };
    // SAFETY: from `start`; it lives until this thread was joined.
    unsafe { &*watcher.cast::<Watcher>() }.run();
    std::ptr::null_mut()
}

struct OfProcess(UnsafeCell<Registry>);

// SAFETY: written only by a forked child before it has a second thread; otherwise a registry, which is made for threads.
unsafe impl Sync for OfProcess {}

static REGISTRY: OfProcess = OfProcess(UnsafeCell::new(Registry::of(Mutex::new(Vec::new()))));

/// Forks between this process and the one that watched first; a process id may come again, and in another namespace does.
static FORKS: AtomicU32 = AtomicU32::new(0);

extern "C" fn begin_as_child() {
    FORKS.fetch_add(1, Relaxed);
    // SAFETY: nobody borrows it: this is the child's only thread, and it was not in here when it forked.
    unsafe { REGISTRY.0.get().write(Registry::of(Mutex::new(Vec::new()))) };
}

/// The watchers of this process.
pub(crate) fn registry() -> &'static Registry {
    // SAFETY: see `OfProcess`.
    unsafe { &*REGISTRY.0.get() }
}

/// Which process this is. Forks are counted from the first call on, which comes before anything is watched.
pub(crate) fn this_process() -> u32 {
    /// 0: forks are not counted yet.
    static COUNTED: AtomicU32 = AtomicU32::new(0);
    // Relaxed: two that count at the same time count each fork twice, which does no harm.
    if COUNTED.load(Relaxed) == 0 {
        // SAFETY: the handler changes what is ours, in the one thread that a child has.
        if unsafe { libc::pthread_atfork(None, None, Some(begin_as_child)) } == 0 {
            COUNTED.store(1, Relaxed);
        }
    }
    FORKS.load(Relaxed)
}

/// Which thread of this process a thread is; the system's numbers come again.
pub(crate) type ThreadId = u64;

/// Which thread this is.
pub(crate) fn this_thread() -> ThreadId {
    static LAST: AtomicU64 = AtomicU64::new(0);
    thread_local! {
        /// 0: it has not asked yet. Nothing is to be done when the thread ends.
        static ID: Cell<u64> = const { Cell::new(0) };
    }
    ID.with(|id| {
        if id.get() == 0 {
            // Relaxed: nothing but a number of its own for each.
            id.set(LAST.fetch_add(1, Relaxed) + 1);
        }
        id.get()
    })
}
