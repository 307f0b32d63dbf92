//! Threads that run watchers, the registry of watchers, and the identity of this process and its threads.
//!
//! Threads are started with pthread_create. `std::thread` registers destructors of thread-locals, in the new thread and in the one
//! that starts it, and libc keeps their library loaded until those threads end. A program that unloads perl with all its modules
//! and loads it again, as Apache does with mod_perl when it starts, would find this library still loaded, and linked to the
//! unloaded perl.
//!
//! A forked child does not have its parent's threads, but may have locks that one of them held. So it forgets the parent's registry
//! without looking into it, and leaks a few hundred bytes per fork.

use std::cell::{Cell, UnsafeCell};
use std::os::raw::c_void;
use std::sync::{Arc, Mutex};

use crate::error::{Error, Result};
use crate::signals::BlockedSignals;
use crate::sync::Ordering::Relaxed;
use crate::sync::{AtomicU32, AtomicU64};
use crate::watcher::{Registry, Watcher};

/// The size of a thread's stack in bytes. Its calls are shallow.
const STACK: usize = 64 * 1024;

/// A thread that runs a watcher.
pub(crate) struct Thread(libc::pthread_t);

impl Thread {
    /// Starts a thread with all signals blocked. The watcher must live until the thread is joined.
    pub(crate) fn start(watcher: &Arc<Watcher>) -> Result<Thread> {
        let argument = Arc::as_ptr(watcher) as *mut c_void;
        let signals = BlockedSignals::new();
        let mut thread = std::mem::MaybeUninit::<libc::pthread_t>::uninit();
        let mut start = |attributes| {
            // SAFETY: the attributes are initialised, or null; there is room for the thread's name; the function takes this
            // argument.
            unsafe { libc::pthread_create(thread.as_mut_ptr(), attributes, main_of_thread, argument) }
        };
        let mut attributes = std::mem::MaybeUninit::<libc::pthread_attr_t>::uninit();
        // SAFETY: the attributes are initialised, used and destroyed in this order.
        let mut code = unsafe {
            libc::pthread_attr_init(attributes.as_mut_ptr());
            libc::pthread_attr_setstacksize(attributes.as_mut_ptr(), STACK);
            let code = start(attributes.as_ptr());
            libc::pthread_attr_destroy(attributes.as_mut_ptr());
            code
        };
        if code == libc::EINVAL {
            // The thread-locals of all loaded libraries may not fit into such a small stack.
            code = start(std::ptr::null());
        }
        drop(signals);
        match code {
            // SAFETY: the thread was started, so its id was written.
            0 => Ok(Thread(unsafe { thread.assume_init() })),
            code => Err(Error::from_os("pthread_create", code)),
        }
    }

    /// Waits until it has ended.
    pub(crate) fn join(self) {
        // SAFETY: a thread of this process that is joined once.
        unsafe { libc::pthread_join(self.0, std::ptr::null_mut()) };
    }
}

/// The thread's function.
extern "C" fn main_of_thread(watcher: *mut c_void) -> *mut c_void {
    // SAFETY: no preconditions; a name that ends in NUL.
    unsafe { libc::pthread_setname_np(libc::pthread_self(), b"pubsub-watch\0".as_ptr().cast()) };
    // SAFETY: passed by `start`; it lives until this thread is joined.
    unsafe { &*watcher.cast::<Watcher>() }.run();
    std::ptr::null_mut()
}

struct OfProcess(UnsafeCell<Registry>);

// SAFETY: a forked child writes it before it has a second thread; the registry itself has a lock.
unsafe impl Sync for OfProcess {}

static REGISTRY: OfProcess = OfProcess(UnsafeCell::new(Registry::of(Mutex::new(Vec::new()))));

/// The number of forks between this process and the one that watched first. Pids are reused, and are not unique across namespaces.
static FORKS: AtomicU32 = AtomicU32::new(0);

extern "C" fn begin_as_child() {
    FORKS.fetch_add(1, Relaxed);
    // SAFETY: it is not borrowed: this is the child's only thread, and it was not in here when it forked.
    unsafe { REGISTRY.0.get().write(Registry::of(Mutex::new(Vec::new()))) };
}

/// The watchers of this process.
pub(crate) fn registry() -> &'static Registry {
    // SAFETY: see `OfProcess`.
    unsafe { &*REGISTRY.0.get() }
}

/// A number for this process among its ancestors and descendants. Forks are counted from the first call on, which comes before the
/// first subscriber is watched.
pub(crate) fn this_process() -> u32 {
    /// 0 until forks are counted.
    static COUNTED: AtomicU32 = AtomicU32::new(0);
    // Relaxed: if two threads install the handler, each fork is counted twice, which does no harm.
    if COUNTED.load(Relaxed) == 0 {
        // SAFETY: the handler changes only our own data, in the only thread of a child.
        if unsafe { libc::pthread_atfork(None, None, Some(begin_as_child)) } == 0 {
            COUNTED.store(1, Relaxed);
        }
    }
    FORKS.load(Relaxed)
}

/// A number for each thread of this process. The kernel's thread ids are reused.
pub(crate) type ThreadId = u64;

/// The number of this thread.
pub(crate) fn this_thread() -> ThreadId {
    static LAST: AtomicU64 = AtomicU64::new(0);
    thread_local! {
        /// 0 until the first call. It has no destructor.
        static ID: Cell<u64> = const { Cell::new(0) };
    }
    ID.with(|id| {
        if id.get() == 0 {
            // Relaxed: the numbers only have to be unique.
            id.set(LAST.fetch_add(1, Relaxed) + 1);
        }
        id.get()
    })
}
