//! Who this thread is to the kernel, and the entry of its robust list that the kernel looks at when it dies.
//!
//! A task has one robust list, and it is libc's; we never register one. Once per thread, and again in a forked child, we
//! make libc surely register it, by locking and unlocking a robust mutex of our own, ask the kernel where it is, and from
//! then on borrow its pending entry for the nanoseconds of a publish, putting back what stood there.
//!
//! Where the kernel gives no robust list, the holder of a lock notes its pid namespace, and who waits for long asks
//! whether the holder still lives: within the same namespace only, because elsewhere the id means somebody else.

use crate::layout::LockLine;
use crate::sync::AtomicU32;
use crate::sync::Ordering::Relaxed;

#[cfg(not(loom))]
pub(crate) use kernel::{is_gone, note_namespace, Me, Pending};
#[cfg(loom)]
pub(crate) use model::{is_gone, note_namespace, Me, Pending};

#[cfg(not(loom))]
mod kernel {
    use super::*;
    use crate::sync::{compiler_fence, Ordering};
    use std::cell::{Cell, UnsafeCell};
    use std::mem::MaybeUninit;
    use std::ptr;
    use std::sync::Once;

    /// `struct robust_list_head` of the kernel.
    #[repr(C)]
    pub(super) struct ListHead {
        next: *mut libc::c_void,
        futex_offset: libc::c_long,
        pending: *mut libc::c_void,
    }

    /// What stood in the pending entry.
    pub(crate) type Pending = *mut libc::c_void;

    /// The calling thread.
    #[derive(Clone, Copy)]
    pub(crate) struct Me {
        id: u32,
        /// Whether the kernel looks at `head` when this thread dies.
        watched: bool,
        head: *mut ListHead,
    }

    thread_local! {
        static ME: Cell<Me> = const { Cell::new(Me { id: 0, watched: false, head: ptr::null_mut() }) };
        /// Where a thread that nobody watches writes its pending entry.
        static UNWATCHED: UnsafeCell<ListHead> = const {
            UnsafeCell::new(ListHead { next: ptr::null_mut(), futex_offset: 0, pending: ptr::null_mut() })
        };
    }

    /// In a forked child the thread that forked has another id.
    extern "C" fn forget_me() {
        let _ = ME.try_with(|me| me.set(Me { id: 0, watched: false, head: ptr::null_mut() }));
    }

    impl Me {
        #[inline(always)]
        pub(crate) fn current() -> Me {
            let me = ME.with(Cell::get);
            if me.id == 0 {
                return Me::find_out();
            }
            me
        }

        #[cold]
        #[inline(never)]
        fn find_out() -> Me {
            static AT_FORK: Once = Once::new();
            // SAFETY: the handler touches only a thread-local of plain data.
            AT_FORK.call_once(|| unsafe {
                libc::pthread_atfork(None, None, Some(forget_me));
            });
            let registered = register();
            // SAFETY: gettid has no preconditions.
            let id = unsafe { libc::syscall(libc::SYS_gettid) } as u32;
            let me = Me { id, watched: !registered.is_null(), head: registered };
            let me = if me.watched { me } else { Me { head: UNWATCHED.with(UnsafeCell::get), ..me } };
            ME.with(|cell| cell.set(me));
            me
        }

        #[inline(always)]
        pub(crate) fn id(self) -> u32 {
            self.id
        }

        #[inline(always)]
        pub(crate) fn is_watched(self) -> bool {
            self.watched
        }

        /// Tells the kernel that this thread is about to take, holds or releases `word`.
        #[inline(always)]
        pub(crate) fn set_pending(self, word: &AtomicU32) -> Pending {
            // SAFETY: `head` is this thread's list head (libc's or our own), valid while the thread lives; only this
            // thread and, when it dies, the kernel use it.
            unsafe {
                let outer = ptr::read_volatile(ptr::addr_of!((*self.head).pending));
                let entry = (word as *const AtomicU32 as usize).wrapping_sub((*self.head).futex_offset as usize);
                ptr::write_volatile(ptr::addr_of_mut!((*self.head).pending), entry as *mut libc::c_void);
                // The kernel reads it in this thread's own order: only the compiler must keep to that.
                compiler_fence(Ordering::SeqCst);
                outer
            }
        }

        /// The thread has nothing to do with the word any more.
        #[inline(always)]
        pub(crate) fn restore_pending(self, outer: Pending) {
            compiler_fence(Ordering::SeqCst);
            // SAFETY: as in `set_pending`.
            unsafe { ptr::write_volatile(ptr::addr_of_mut!((*self.head).pending), outer) };
        }
    }

    /// This thread's robust list; null where the kernel has none.
    fn register() -> *mut ListHead {
        let mut head: *mut ListHead = ptr::null_mut();
        let mut len: usize = 0;
        // SAFETY: the mutex and its attributes are initialised before and destroyed after use, in this frame; the kernel
        // writes `head` and `len`.
        let result = unsafe {
            let mut attributes = MaybeUninit::<libc::pthread_mutexattr_t>::uninit();
            libc::pthread_mutexattr_init(attributes.as_mut_ptr());
            libc::pthread_mutexattr_setpshared(attributes.as_mut_ptr(), libc::PTHREAD_PROCESS_SHARED);
            libc::pthread_mutexattr_setrobust(attributes.as_mut_ptr(), libc::PTHREAD_MUTEX_ROBUST);
            let mut mutex = MaybeUninit::<libc::pthread_mutex_t>::uninit();
            if libc::pthread_mutex_init(mutex.as_mut_ptr(), attributes.as_ptr()) == 0 {
                libc::pthread_mutex_lock(mutex.as_mut_ptr());
                libc::pthread_mutex_unlock(mutex.as_mut_ptr());
                libc::pthread_mutex_destroy(mutex.as_mut_ptr());
            }
            libc::pthread_mutexattr_destroy(attributes.as_mut_ptr());
            libc::syscall(libc::SYS_get_robust_list, 0, &mut head, &mut len)
        };
        if result == 0 && len == std::mem::size_of::<ListHead>() {
            head
        } else {
            ptr::null_mut()
        }
    }

    /// The number of this process's pid namespace; 0 where `/proc` does not say.
    fn pid_namespace() -> u64 {
        use std::os::unix::fs::MetadataExt;
        std::fs::metadata("/proc/self/ns/pid").map_or(0, |meta| meta.ino())
    }

    /// Notes where a holder that the kernel does not watch can be asked for.
    #[cold]
    pub(crate) fn note_namespace(line: &LockLine) {
        line.namespace.store(pid_namespace(), Relaxed);
    }

    /// Whether thread `id`, a holder that the kernel does not watch, surely exists no more.
    #[cold]
    pub(crate) fn is_gone(id: u32, line: &LockLine) -> bool {
        let namespace = line.namespace.load(Relaxed);
        if namespace == 0 || namespace != pid_namespace() {
            return false;
        }
        // SAFETY: signal 0 only asks.
        let result = unsafe { libc::kill(id as libc::pid_t, 0) };
        result == -1 && crate::error::last_os_code() == libc::ESRCH
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn the_kernel_watches_each_thread_and_the_entry_is_put_back() {
            let word = AtomicU32::new(0);
            let me = Me::current();
            assert!(me.is_watched());
            let outer = me.set_pending(&word);
            assert!(outer.is_null());
            me.restore_pending(outer);
            let other = std::thread::spawn(|| Me::current().id()).join().unwrap();
            assert_ne!(other, me.id());
            assert_eq!(Me::current().id(), me.id());
        }

        #[test]
        fn only_a_dead_holder_of_our_own_namespace_is_gone() {
            let line = LockLine::default();
            let nobody = 0x3fff_fffe;
            assert!(!is_gone(nobody, &line), "no namespace noted");
            note_namespace(&line);
            assert!(is_gone(nobody, &line));
            assert!(!is_gone(Me::current().id(), &line));
            line.namespace.store(1, Relaxed);
            assert!(!is_gone(nobody, &line), "another namespace");
        }
    }
}

/// Threads of a model do not die.
#[cfg(loom)]
mod model {
    use super::*;

    pub(crate) type Pending = ();

    #[derive(Clone, Copy)]
    pub(crate) struct Me(u32);

    loom::thread_local! {
        static ME: Me = Me({
            use std::sync::atomic::{AtomicU32, Ordering};
            static LAST: AtomicU32 = AtomicU32::new(0);
            LAST.fetch_add(1, Ordering::Relaxed) % 1000 + 1
        });
    }

    impl Me {
        pub(crate) fn current() -> Me {
            ME.with(|me| *me)
        }

        pub(crate) fn id(self) -> u32 {
            self.0
        }

        pub(crate) fn is_watched(self) -> bool {
            true
        }

        pub(crate) fn set_pending(self, _: &AtomicU32) -> Pending {}

        pub(crate) fn restore_pending(self, (): Pending) {}
    }

    pub(crate) fn note_namespace(_: &LockLine) {}

    pub(crate) fn is_gone(_: u32, _: &LockLine) -> bool {
        false
    }
}
