//! Who this thread is to the kernel, and the entry of its robust list that the kernel looks at when it dies.
//!
//! A task has one robust list, and it is libc's; we never register one. Once per thread, and again in a forked child, we
//! make libc surely register it, by locking and unlocking a robust mutex of our own, ask the kernel where it is, and from
//! then on borrow its pending entry for the nanoseconds of a publish, putting back what stood there.
//!
//! The kernel can be unable to help: it may give no robust list, or a scribbled word may name an owner that never was. So
//! who has waited for two seconds asks whether the owner lives and has this ring mapped at all. Nobody asks where holders
//! come from several pid namespaces, because there the id may mean somebody else: before it takes the lock, each makes
//! sure that the ring knows its namespace.

use crate::layout::LockLine;
use crate::sync::AtomicU32;

#[cfg(not(loom))]
pub(crate) use kernel::{is_surely_gone, Me, Pending};
#[cfg(loom)]
pub(crate) use model::{is_surely_gone, Me, Pending};

#[cfg(not(loom))]
mod kernel {
    use super::*;
    use crate::sync::compiler_fence;
    use crate::sync::Ordering::{self, Relaxed};
    use crate::wait::monotonic_ns;
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
        /// The number of its pid namespace; `SEVERAL` where `/proc` is not of this namespace.
        namespace: u64,
        /// What the kernel looks at when this thread dies; `UNWATCHED` where it does not.
        head: *mut ListHead,
    }

    /// Holders of several pid namespaces, or of one that cannot be asked about.
    const SEVERAL: u64 = u64::MAX;
    /// No thread has a greater id (`PID_MAX_LIMIT` of a 64-bit kernel).
    const GREATEST_ID: u32 = 4 * 1024 * 1024;

    const NOBODY: Me = Me { id: 0, namespace: 0, head: ptr::null_mut() };

    thread_local! {
        static ME: Cell<Me> = const { Cell::new(NOBODY) };
        static UNWATCHED: UnsafeCell<ListHead> = const {
            UnsafeCell::new(ListHead { next: ptr::null_mut(), futex_offset: 0, pending: ptr::null_mut() })
        };
        /// The owner that this thread waits for, the word, and since when.
        static AWAITED: Cell<(u32, usize, u64)> = const { Cell::new((0, 0, 0)) };
    }

    /// In a forked child the thread that forked has another id.
    extern "C" fn forget_me() {
        let _ = ME.try_with(|me| me.set(NOBODY));
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
            let head = if registered.is_null() { UNWATCHED.with(UnsafeCell::get) } else { registered };
            // SAFETY: gettid has no preconditions.
            let id = unsafe { libc::syscall(libc::SYS_gettid) } as u32;
            let me = Me { id, namespace: pid_namespace(id), head };
            ME.with(|cell| cell.set(me));
            me
        }

        #[inline(always)]
        pub(crate) fn id(self) -> u32 {
            self.id
        }

        /// Makes the ring know, before this thread takes its lock, from which pid namespace it comes.
        #[inline(always)]
        pub(crate) fn note_namespace(self, line: &LockLine) {
            let known = line.namespace.load(Relaxed);
            if known != self.namespace && known != SEVERAL {
                self.add_namespace(line);
            }
        }

        #[cold]
        #[inline(never)]
        fn add_namespace(self, line: &LockLine) {
            // Relaxed: taking the lock releases it.
            match line.namespace.compare_exchange(0, self.namespace, Relaxed, Relaxed) {
                Err(known) if known != self.namespace => line.namespace.store(SEVERAL, Relaxed),
                _ => {}
            }
        }

        /// Whether another thread that wants this lock may have the same id.
        pub(crate) fn may_have_a_namesake(self, line: &LockLine) -> bool {
            line.namespace.load(Relaxed) != self.namespace || self.namespace == SEVERAL
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

    #[cfg(test)]
    impl Me {
        /// What the kernel would look at if this thread died now.
        pub(crate) fn pending(self) -> Pending {
            // SAFETY: as in `set_pending`.
            unsafe { ptr::read_volatile(ptr::addr_of!((*self.head).pending)) }
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

    /// The number of the pid namespace of this thread, whose id there is `id`; `SEVERAL` where `/proc` has other ids.
    fn pid_namespace(id: u32) -> u64 {
        use std::os::unix::fs::MetadataExt;
        let own = format!("{}/task/{}", std::process::id(), id);
        match (std::fs::read_link("/proc/thread-self"), std::fs::metadata("/proc/self/ns/pid")) {
            (Ok(link), Ok(namespace)) if link.as_os_str() == own.as_str() => namespace.ino(),
            _ => SEVERAL,
        }
    }

    /// How long one owner may be waited for without a question, in nanoseconds.
    const UNQUESTIONED_NS: u64 = 2_000_000_000;

    /// Whether `owner`, which the caller sees in the word, has been waited for long enough and is certainly not there: no
    /// thread has such an id, or all holders are of our own pid namespace, and it is not there or has not mapped this ring.
    #[cold]
    pub(crate) fn is_surely_gone(owner: u32, line: &LockLine) -> bool {
        let (now, word) = (monotonic_ns(), &line.word as *const AtomicU32 as usize);
        match AWAITED.with(Cell::get) {
            (same, there, since) if (same, there) == (owner, word) => {
                if now - since < UNQUESTIONED_NS {
                    return false;
                }
            }
            _ => {
                AWAITED.with(|cell| cell.set((owner, word, now)));
                return false;
            }
        }
        AWAITED.with(|cell| cell.set((0, 0, 0)));
        // 0: nobody ever made its namespace known, and so nobody took the lock.
        let (known, own) = (line.namespace.load(Relaxed), Me::current().namespace);
        let of_here = own != SEVERAL && (known == 0 || known == own);
        owner > GREATEST_ID || of_here && !has_mapped(owner, word)
    }

    /// Whether thread `id` exists and has mapped the file that is mapped here at `address`; true in doubt.
    fn has_mapped(id: u32, address: usize) -> bool {
        let ours = match std::fs::read_to_string("/proc/self/maps") {
            Ok(maps) => {
                maps.lines().find(|line| range_of(line).map_or(false, |r| r.contains(&address))).and_then(file_of)
            }
            Err(_) => return true,
        };
        match std::fs::read_to_string(format!("/proc/{}/maps", id)) {
            Ok(maps) => ours.map_or(true, |ours| maps.lines().any(|line| file_of(line).as_ref() == Some(&ours))),
            Err(_) => exists(id),
        }
    }

    /// Whether there is a thread `id`. A `/proc` that hides other users' processes does not say.
    fn exists(id: u32) -> bool {
        // SAFETY: signal 0 is none.
        let result = unsafe { libc::kill(id as libc::pid_t, 0) };
        result == 0 || std::io::Error::last_os_error().raw_os_error() != Some(libc::ESRCH)
    }

    /// The addresses of a line of `/proc/PID/maps`.
    fn range_of(line: &str) -> Option<std::ops::Range<usize>> {
        let (from, to) = line.split(' ').next()?.split_once('-')?;
        Some(usize::from_str_radix(from, 16).ok()?..usize::from_str_radix(to, 16).ok()?)
    }

    /// Device and inode of such a line.
    fn file_of(line: &str) -> Option<(String, String)> {
        let mut fields = line.split_ascii_whitespace().skip(3);
        Some((fields.next()?.to_owned(), fields.next()?.to_owned()))
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn the_kernel_watches_each_thread_and_the_entry_is_put_back() {
            let word = AtomicU32::new(0);
            let me = Me::current();
            assert_ne!(me.head, UNWATCHED.with(UnsafeCell::get));
            let outer = me.set_pending(&word);
            assert!(outer.is_null());
            let entry = me.pending();
            assert!(!entry.is_null());
            // A lock within a lock of libc's, as it were.
            let inner = me.set_pending(&AtomicU32::new(0));
            assert!(inner == entry && me.pending() != entry);
            me.restore_pending(inner);
            assert_eq!(me.pending(), entry);
            me.restore_pending(outer);
            assert!(me.pending().is_null());
            let other = std::thread::spawn(|| Me::current().id()).join().unwrap();
            assert_ne!(other, me.id());
            assert_eq!(Me::current().id(), me.id());
        }

        #[test]
        fn a_forked_child_is_somebody_else() {
            let me = Me::current();
            // SAFETY: the child looks who it is and leaves.
            let pid = unsafe { libc::fork() };
            if pid == 0 {
                let own = Me::current();
                // SAFETY: neither has preconditions.
                unsafe {
                    let right = own.id() == libc::syscall(libc::SYS_gettid) as u32 && own.id() != me.id();
                    libc::_exit(if right && own.pending().is_null() { 0 } else { 1 });
                }
            }
            let mut status = -1;
            // SAFETY: room for the status.
            assert_eq!(unsafe { libc::waitpid(pid, &mut status, 0) }, pid);
            assert_eq!(status, 0);
        }

        /// As if this thread had waited for `owner` for three seconds.
        fn is_gone_after_a_while(owner: u32, line: &LockLine) -> bool {
            let word = &line.word as *const AtomicU32 as usize;
            AWAITED.with(|cell| cell.set((owner, word, monotonic_ns() - 3_000_000_000)));
            is_surely_gone(owner, line)
        }

        #[test]
        fn only_who_was_waited_for_and_is_not_there_is_gone() {
            let (line, nobody) = (LockLine::default(), GREATEST_ID);
            assert!(!is_surely_gone(nobody, &line), "just seen");
            assert!(!is_surely_gone(nobody, &line), "seen a moment ago");
            assert!(is_gone_after_a_while(nobody, &line));
            assert!(!is_surely_gone(nobody, &line), "asked once");
            Me::current().note_namespace(&line);
            assert!(is_gone_after_a_while(nobody, &line));
            assert!(!is_gone_after_a_while(Me::current().id(), &line));
            // As where `/proc` hides it.
            assert!(exists(1) && exists(Me::current().id()) && !exists(nobody));
        }

        #[test]
        fn where_holders_are_of_several_namespaces_nobody_is_gone() {
            let (me, elsewhere) = (Me::current(), LockLine::default());
            elsewhere.namespace.store(1, Relaxed);
            assert!(!is_gone_after_a_while(GREATEST_ID, &elsewhere), "another namespace");
            assert!(me.may_have_a_namesake(&elsewhere));
            let (both, unknown) = (LockLine::default(), LockLine::default());
            Me { namespace: 1, ..me }.note_namespace(&both);
            me.note_namespace(&both);
            Me { namespace: SEVERAL, ..me }.note_namespace(&unknown);
            me.note_namespace(&unknown);
            for line in [both, unknown] {
                assert!(!is_gone_after_a_while(GREATEST_ID, &line));
                assert!(is_gone_after_a_while(GREATEST_ID + 1, &line), "no thread has this id anywhere");
                assert!(me.may_have_a_namesake(&line));
            }
            let ours = LockLine::default();
            me.note_namespace(&ours);
            assert!(!me.may_have_a_namesake(&ours));
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

        pub(crate) fn note_namespace(self, _: &LockLine) {}

        pub(crate) fn may_have_a_namesake(self, _: &LockLine) -> bool {
            false
        }

        pub(crate) fn set_pending(self, _: &AtomicU32) -> Pending {}

        pub(crate) fn restore_pending(self, (): Pending) {}
    }

    pub(crate) fn is_surely_gone(_: u32, _: &LockLine) -> bool {
        false
    }
}
