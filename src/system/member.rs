//! The processes that publish strings or batches of numbers, and those that subscribe, and which of them have exited.
//!
//! A process that publishes these or subscribes is a *member* of one of two groups. It has a number, for which it holds a lock
//! on one byte of the ring's file, far beyond the file's end, as long as it lives. The lock is an open-file-description lock on
//! an open file of the process's own, which is kept open only by a mapping that `fork` does not copy. So the kernel releases the
//! lock exactly when the process's memory is released: when it exits, however that happens, or at `exec`; not when it closes
//! descriptors, and not when it forks. Other processes see the lock from any pid namespace, user or container. (LMDB's reader
//! table uses locks of the same kind.)
//!
//! A process that gets the lock of a member's number knows that no process is that member, and may recover what the member left
//! behind. A process that gets all locks of a group at once knows that the group has no members.
//!
//! Without such locks (the file cannot be opened again by its path, or there is no permission, or the file system has none), a
//! publisher is member 0, which is never taken for exited.

pub(crate) use self::kernel::{generation, tells_the_dead, Members};
pub(crate) use crate::inheritance::{Group, Inheritance, NoSpare, MAX_MEMBER};

mod kernel {
    use super::*;
    use crate::file::Source;
    use crate::file_lock::{Bytes, Kind};
    use crate::room::Volume;
    use crate::signals::{BlockedSignals, KeptErrno};
    use crate::sync::AtomicU32;
    use crate::sync::AtomicU64;
    use crate::sync::Ordering::{AcqRel, Acquire, Relaxed};
    use std::fs::File;
    use std::os::unix::io::AsRawFd;
    use std::ptr;
    use std::sync::atomic::{AtomicPtr, AtomicUsize};

    /// How long another process may hold all numbers. After that it was stopped, or it is hostile: locks that block ours need only
    /// the permission to read.
    const MAX_REFUSED_MS: u32 = 1000;
    /// How many numbers are tried before a pause.
    const TRIES: u32 = 64;
    const PAGE: usize = 4096;

    /// A mapping's membership.
    #[derive(Debug)]
    pub(crate) struct Members {
        group: Group,
        source: Option<Source>,
        /// (generation of the process) << 32 | its number. A forked child has another generation.
        state: AtomicU64,
        /// The mapping that keeps the lock, of the same generation; 0 if there is none.
        anchor: AtomicUsize,
        /// For how many milliseconds all numbers were taken.
        refused: AtomicU32,
    }

    /// The number of a member that has exited, held while its spares or its entry are recovered.
    #[derive(Debug)]
    pub(crate) struct Hold(File, Bytes);

    impl Drop for Hold {
        fn drop(&mut self) {
            // Unlocked explicitly, because a child that another thread forked meanwhile shares the open file.
            self.1.unlock(&self.0);
        }
    }

    impl Members {
        pub(crate) fn new(group: Group, source: Option<Source>) -> Self {
            Members { group, source, state: AtomicU64::new(0), anchor: AtomicUsize::new(0), refused: AtomicU32::new(0) }
        }

        /// This process's number, if it has one.
        #[inline(always)]
        pub(crate) fn number(&self) -> Option<u32> {
            // Acquire: a thread that sees the number also sees what `join` did.
            let state = self.state.load(Acquire);
            if (state >> 32) as u32 == generation() {
                return Some(state as u32);
            }
            None
        }

        /// Gets a number. Calls `put_in_order` while no other process can have that number. Fails if another process has all
        /// numbers for the moment, and then lets some time pass.
        #[cold]
        pub(crate) fn join(&self, put_in_order: impl Fn(Inheritance)) -> Result<u32, NoSpare> {
            let is_last_try = self.refused.load(Relaxed) >= MAX_REFUSED_MS;
            if let Some(number) = self.join_or_give_up(put_in_order, is_last_try) {
                return Ok(number);
            }
            // Relaxed: a counter of this process.
            self.refused.fetch_add(1, Relaxed);
            let _errno = KeptErrno::new();
            std::thread::sleep(std::time::Duration::from_millis(1));
            Err(NoSpare::Interrupted)
        }

        /// Like [`join`](Self::join), for a caller that can do without a number: returns `None` at once.
        #[cold]
        pub(crate) fn try_join(&self, put_in_order: impl Fn(Inheritance)) -> Option<u32> {
            self.join_or_give_up(put_in_order, false)
        }

        /// `None` if another process has all numbers; 0 instead if this is the last try.
        fn join_or_give_up(&self, put_in_order: impl Fn(Inheritance), is_last_try: bool) -> Option<u32> {
            let _errno = KeptErrno::new();
            // If a signal handler jumped out of here, all numbers would stay locked.
            let _signals = BlockedSignals::new();
            let (number, anchor) = match &self.source {
                None => (0, 0),
                Some(source) => match register(self.group, source, &put_in_order) {
                    Some(registered) => registered,
                    None if is_last_try => (0, 0),
                    None => return None,
                },
            };
            if number == 0 {
                // Before another thread can see this number and publish.
                put_in_order(Inheritance::Unregistered);
            }
            let was = self.state.load(Acquire);
            let now = u64::from(generation()) << 32 | u64::from(number);
            if was >> 32 != now >> 32 && self.state.compare_exchange(was, now, AcqRel, Acquire).is_ok() {
                // An anchor of the parent process is not mapped in this one.
                self.anchor.store(anchor, Relaxed);
                return Some(number);
            }
            // Another thread has joined first.
            unmap(anchor);
            Some(self.state.load(Acquire) as u32)
        }

        /// Locks the number of a member that has exited; `None` if it lives, or that is not known.
        pub(crate) fn hold(&self, number: u32) -> Option<Hold> {
            if number == 0 || number > MAX_MEMBER {
                return None;
            }
            let file = self.source.as_ref()?.reopen()?;
            let byte = Bytes::of_members(self.group, number, 1);
            match byte.lock(&file, Kind::Exclusive) {
                Ok(true) => Some(Hold(file, byte)),
                _ => None,
            }
        }

        /// Whether a process is that member now; `None` if that is not known.
        pub(crate) fn is_alive(&self, number: u32) -> Option<bool> {
            let _errno = KeptErrno::new();
            if number == 0 || number > MAX_MEMBER {
                return None;
            }
            let file = self.source.as_ref()?.reopen_to_look()?;
            Bytes::of_members(self.group, number, 1).is_locked(&file).ok()
        }
    }

    impl Drop for Members {
        fn drop(&mut self) {
            if (self.state.load(Relaxed) >> 32) as u32 == generation() {
                unmap(self.anchor.load(Relaxed));
            }
        }
    }

    /// Whether it can be seen that readers of the ring in `file` have exited, whatever namespace they live in.
    pub(crate) fn tells_the_dead(file: &File) -> bool {
        let members = Source::descriptor(file).map(|source| Members::new(Group::Readers, Some(source)));
        members.map_or(false, |members| members.join(|_| ()) != Ok(0))
    }

    /// A number and the mapping that keeps its lock; zeros if that is not possible; `None` if another process has all numbers.
    fn register(group: Group, source: &Source, put_in_order: &impl Fn(Inheritance)) -> Option<(u32, usize)> {
        let file = match source.reopen() {
            Some(file) => file,
            None => return Some((0, 0)),
        };
        let number = get_number(group, &file, put_in_order)?;
        let anchor = if number == 0 { 0 } else { anchor(&file) };
        let probe = Bytes::of_probe(random());
        let probed = anchor != 0 && probe.lock(&file, Kind::Exclusive) == Ok(true);
        drop(file);
        // On overlayfs and other stacked file systems, a mapping keeps the lower file open, and not the one that has the locks.
        if probed && source.reopen().map_or(false, |again| probe.is_locked(&again) == Ok(true)) {
            return Some((number, anchor));
        }
        unmap(anchor);
        Some((0, 0))
    }

    /// A number that other threads and processes are unlikely to draw at the same time.
    fn random() -> u32 {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let mut random = [0u8; 4];
        // SAFETY: room for 4 bytes; if it fails they stay zero, which will do.
        unsafe { libc::getrandom(random.as_mut_ptr().cast(), random.len(), 0) };
        u32::from_ne_bytes(random).wrapping_add(NEXT.fetch_add(1, Relaxed))
    }

    /// Locks a number that no process has; 0 if the file system has no such locks, or if an unrelated lock is on the file; `None` if
    /// another process has all numbers.
    fn get_number(group: Group, file: &File, put_in_order: &impl Fn(Inheritance)) -> Option<u32> {
        let start = random();
        let nth = |i: u32| start.wrapping_add(i) % MAX_MEMBER + 1;
        let members = |first, count| Bytes::of_members(group, first, count);
        // `None` if there are no locks.
        let lock = |first, count| members(first, count).lock(file, Kind::Exclusive).ok();
        match lock(1, MAX_MEMBER) {
            None => return Some(0),
            Some(true) => {
                put_in_order(Inheritance::All { in_memory: Volume::of(file).is_in_memory() });
                let number = nth(0);
                members(1, number - 1).unlock(file);
                members(number + 1, MAX_MEMBER - number).unlock(file);
                return Some(number);
            }
            Some(false) => {}
        }
        for number in (0..TRIES).map(nth) {
            match lock(number, 1) {
                None => return Some(0),
                Some(true) => {
                    put_in_order(Inheritance::Of(number));
                    return Some(number);
                }
                Some(false) => {}
            }
        }
        if members(nth(0), 1).is_locked_by_strangers(file) {
            return Some(0);
        }
        None
    }

    /// A mapping that keeps the open file, and is not copied by `fork`; 0 if there can be none.
    fn anchor(file: &File) -> usize {
        // SAFETY: a new mapping without access.
        let at = unsafe { libc::mmap(ptr::null_mut(), PAGE, libc::PROT_NONE, libc::MAP_SHARED, file.as_raw_fd(), 0) };
        if at == libc::MAP_FAILED {
            return 0;
        }
        // SAFETY: our own mapping.
        if unsafe { libc::madvise(at, PAGE, libc::MADV_DONTFORK) } < 0 {
            unmap(at as usize);
            return 0;
        }
        at as usize
    }

    fn unmap(anchor: usize) {
        if anchor != 0 {
            // SAFETY: made by `anchor` in this process, and not used again.
            unsafe { libc::munmap(anchor as *mut libc::c_void, PAGE) };
        }
    }

    /// A page that the kernel clears in forked children.
    static FORKED: AtomicPtr<AtomicU32> = AtomicPtr::new(ptr::null_mut());

    /// A number that differs between this process and those that it was forked from; never 0.
    #[inline(always)]
    pub(crate) fn generation() -> u32 {
        let page = FORKED.load(Acquire);
        if !page.is_null() {
            // SAFETY: a mapping that is never unmapped.
            let generation = unsafe { (*page).load(Relaxed) };
            if generation != 0 {
                return generation;
            }
        }
        new_generation()
    }

    #[cold]
    #[inline(never)]
    fn new_generation() -> u32 {
        static LAST: AtomicU32 = AtomicU32::new(0);
        let page = forked_page();
        // SAFETY: as in `generation`.
        let word = unsafe { &*page };
        let new = LAST.fetch_add(1, Relaxed).wrapping_add(1).max(1);
        match word.compare_exchange(0, new, Relaxed, Relaxed) {
            Ok(_) => new,
            Err(other) => other,
        }
    }

    fn forked_page() -> *mut AtomicU32 {
        extern "C" fn clear() {
            let page = FORKED.load(Relaxed);
            if !page.is_null() {
                // SAFETY: as in `generation`.
                unsafe { (*page).store(0, Relaxed) };
            }
        }
        let known = FORKED.load(Acquire);
        if !known.is_null() {
            return known;
        }
        let (access, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: a new mapping.
        let page = unsafe { libc::mmap(ptr::null_mut(), PAGE, access, flags, -1, 0) };
        assert!(page != libc::MAP_FAILED, "no memory for a page");
        // Before another thread can use it and fork.
        // SAFETY: our own mapping; the handler only writes to the page in use.
        unsafe {
            if libc::madvise(page, PAGE, libc::MADV_WIPEONFORK) < 0 {
                libc::pthread_atfork(None, None, Some(clear)); // before Linux 4.14
            }
        }
        if let Err(known) = FORKED.compare_exchange(ptr::null_mut(), page.cast(), AcqRel, Acquire) {
            // SAFETY: made above, and not shared.
            unsafe { libc::munmap(page, PAGE) };
            return known;
        }
        page.cast()
    }

    #[cfg(test)]
    mod tests {
        use super::*;
        use std::cell::Cell;

        fn lock(file: &File, first: u32, count: u32) -> Option<bool> {
            Bytes::of_members(Group::Publishers, first, count).lock(file, Kind::Exclusive).ok()
        }

        fn ring_file() -> (File, Members) {
            // SAFETY: a C string.
            let fd = unsafe { libc::memfd_create(b"test\0".as_ptr().cast(), libc::MFD_CLOEXEC) };
            // SAFETY: a new descriptor, which is owned only here.
            let file: File = unsafe { std::os::unix::io::FromRawFd::from_raw_fd(fd) };
            file.set_len(PAGE as u64).unwrap();
            let members = another(&file);
            (file, members)
        }

        fn another(file: &File) -> Members {
            Members::new(Group::Publishers, Some(Source::descriptor(file).unwrap()))
        }

        #[test]
        fn the_first_is_alone_and_the_second_is_not() {
            let (file, first) = ring_file();
            let asked = Cell::new(None);
            assert_eq!(first.number(), None);
            let number = first.join(|who| asked.set(Some(who))).unwrap();
            let all = Inheritance::All { in_memory: true };
            assert_eq!((asked.take(), first.number()), (Some(all), Some(number)));
            let second = another(&file);
            let other = second.join(|who| asked.set(Some(who))).unwrap();
            assert_eq!(asked.take(), Some(Inheritance::Of(other)));
            assert!(number != other && number != 0 && other != 0);
            assert!(second.hold(number).is_none() && first.hold(other).is_none(), "both live");
            assert_eq!([number, other].map(|n| first.is_alive(n)), [Some(true); 2], "its own, too");
            drop(second);
            assert_eq!([number, other, 0].map(|n| first.is_alive(n)), [Some(true), Some(false), None]);
            let hold = first.hold(other);
            assert!(hold.is_some(), "it is gone");
            assert!(another(&file).hold(other).is_none(), "one at a time");
            drop(hold);
            drop(first);
            another(&file).join(|who| asked.set(Some(who))).unwrap();
            assert_eq!(asked.take(), Some(all), "it is the only member");
        }

        #[test]
        fn a_forked_child_has_no_number_yet() {
            let (_file, members) = ring_file();
            let number = members.join(|_| ()).unwrap();
            let mut status = -1;
            // SAFETY: the child does nothing but look, and leaves; our own child.
            unsafe {
                let child = libc::fork();
                if child == 0 {
                    libc::_exit(members.number().is_some().into());
                }
                libc::waitpid(child, &mut status, 0);
            }
            assert_eq!((status, members.number()), (0, Some(number)));
        }

        #[test]
        fn who_was_alone_has_one_number_afterwards() {
            let (file, members) = ring_file();
            let number = members.join(|_| ()).unwrap();
            let all = Source::descriptor(&file).unwrap().reopen().unwrap();
            assert_eq!(lock(&all, 1, number - 1), Some(true));
            assert_eq!(lock(&all, number, 1), Some(false));
            assert_eq!(lock(&all, number + 1, MAX_MEMBER - number), Some(true));
        }

        #[test]
        fn a_number_outlives_the_descriptors_and_ends_with_the_process_not_with_its_children() {
            let (file, members) = ring_file();
            let (mut pipe, mut done) = ([0; 2], [0; 2]);
            // SAFETY: room for two descriptors each; the child does nothing but what may be done after a fork, and leaves.
            let parent = unsafe {
                assert_eq!((libc::pipe(pipe.as_mut_ptr()), libc::pipe(done.as_mut_ptr())), (0, 0));
                libc::fork()
            };
            if parent == 0 {
                let number = members.join(|_| ()).unwrap();
                // SAFETY: as above.
                unsafe {
                    libc::write(pipe[1], ptr::addr_of!(number).cast(), 4);
                    if libc::fork() != 0 {
                        libc::pause();
                    }
                    libc::close(done[1]);
                    libc::read(done[0], ptr::addr_of!(number) as *mut libc::c_void, 1);
                    libc::_exit(0);
                }
            }
            let mut number = 0u32;
            // SAFETY: a number to read into; our own child.
            unsafe { libc::read(pipe[0], ptr::addr_of_mut!(number).cast(), 4) };
            let here = another(&file);
            assert!(here.hold(number).is_none(), "it lives");
            assert_eq!(members.number(), None, "what a child does is its own");
            // SAFETY: our own child, and our own descriptors.
            unsafe {
                libc::kill(parent, libc::SIGKILL);
                libc::waitpid(parent, ptr::null_mut(), 0);
                assert!(here.hold(number).is_some(), "its child lives on, and is not it");
                for fd in [pipe[0], pipe[1], done[0], done[1]] {
                    libc::close(fd);
                }
            }
        }

        #[test]
        fn who_has_all_numbers_for_long_keeps_nobody_from_publishing() {
            let (file, members) = ring_file();
            // As a sweep does that was stopped.
            let stopped = Source::descriptor(&file).unwrap().reopen().unwrap();
            assert_eq!(lock(&stopped, 1, MAX_MEMBER), Some(true));
            assert_eq!(members.join(|_| panic!("it may not touch anything")), Err(NoSpare::Interrupted));
            members.refused.store(MAX_REFUSED_MS, Relaxed);
            assert_eq!(members.join(|what| assert_eq!(what, Inheritance::Unregistered)), Ok(0));
        }

        #[test]
        fn without_a_file_there_is_no_number() {
            let members = Members::new(Group::Publishers, None);
            let asked = Cell::new(None);
            let ask = |what| {
                assert_eq!(members.number(), None, "it has no number before the ring says that it is unregistered");
                asked.set(Some(what));
            };
            assert_eq!(members.join(ask).unwrap(), 0);
            assert_eq!(asked.take(), Some(Inheritance::Unregistered));
            assert_eq!(members.number(), Some(0));
            assert!(members.hold(1).is_none() && members.hold(0).is_none());
        }

        #[test]
        fn what_strangers_lock_has_no_numbers_and_is_not_waited_for() {
            let (file, members) = ring_file();
            let (_, reader) = (ring_file(), Source::descriptor(&file).unwrap().reopen().unwrap());
            // As `lockf` of a backup does: the whole file, for reading.
            Bytes::of_everything().lock(&reader, Kind::Shared).unwrap();
            assert_eq!(members.join(|what| assert_eq!(what, Inheritance::Unregistered)), Ok(0));
            drop(reader);
            let all = Source::descriptor(&file).unwrap().reopen().unwrap();
            assert_eq!(lock(&all, 1, MAX_MEMBER), Some(true));
            let another = another(&file);
            assert_eq!(another.join(|_| ()), Err(NoSpare::Interrupted), "it puts the ring in order");
            drop(all);
            assert_ne!(another.join(|_| ()), Ok(0));
        }

        #[test]
        fn a_child_forked_beside_it_does_not_keep_a_hold() {
            let (_file, members) = ring_file();
            let hold = members.hold(9).unwrap();
            let inherited = hold.0.try_clone().unwrap();
            drop(hold);
            assert!(members.hold(9).is_some());
            drop(inherited);
        }
    }
}
