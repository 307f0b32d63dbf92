//! A set's own watcher, driven by the thread that waits for the set: so a message wakes that thread itself, and no other.
//!
//! It takes a queue (see [`crate::multiwait`]), which the kernel ties to the thread that made it. Where the set is used in another
//! thread later, or the queue fails, a thread of the process takes the watcher over with all that is on its roll.

use std::mem::ManuallyDrop;
use std::sync::Arc;

use crate::multiwait::MultiWait;
use crate::signals::BlockedSignals;
use crate::threads::{this_process, this_thread, ThreadId};
use crate::wait::{Sleep, Spin};
use crate::waiting::Wait;
use crate::watch::Readiness;
use crate::watcher::{Driver, Watcher};

pub(crate) struct Driven {
    watcher: Arc<Watcher>,
    driver: ManuallyDrop<Driver>,
    /// Whose queue it is.
    thread: ThreadId,
    process: u32,
}

impl std::fmt::Debug for Driven {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Driven").finish_non_exhaustive()
    }
}

impl Driven {
    /// For this thread to drive. None: the kernel has no queue for it.
    pub(crate) fn new() -> Option<Driven> {
        let driver = ManuallyDrop::new(Driver::new(MultiWait::queue()?));
        let watcher = Arc::new(Watcher::driven_here());
        Some(Driven { watcher, driver, thread: this_thread(), process: this_process() })
    }

    pub(crate) fn watcher(&self) -> &Arc<Watcher> {
        &self.watcher
    }

    fn is_here(&self) -> bool {
        self.process == this_process() && self.thread == this_thread()
    }

    /// Whether this thread can drive it.
    pub(crate) fn is_usable(&self) -> bool {
        self.driver.words.is_queue() && self.is_here()
    }

    /// Sleeps until the readiness of those that it watches is raised, as [`Set::wait_watched`](crate::Set::wait_watched): to be
    /// called where it is usable.
    pub(crate) fn wait(
        &mut self,
        readiness: &Readiness,
        spin: &mut Spin,
        deadline: u64,
        stop: impl Fn() -> bool,
    ) -> Wait {
        let mut may_spin = deadline > 0;
        let mut is_over = false;
        loop {
            // Also where it does not sleep at all, because one of them has messages all the time: or it would never hear of the others.
            self.driver.words.exchange();
            // A handler that runs at once may read members, or never return here: not while something is locked.
            let signals = BlockedSignals::new();
            let turn = self.watcher.turn(&mut self.driver).filter(|_| self.driver.words.is_queue());
            let is_raised = readiness.is_raised();
            drop(signals);
            let turn = match turn {
                _ if is_raised => return Wait::Ready,
                Some(turn) => turn,
                None => return Wait::Interrupted,
            };
            if stop() || is_over {
                return Wait::Interrupted;
            }
            if turn.now >= deadline {
                return Wait::TimedOut;
            }
            if std::mem::take(&mut may_spin) {
                // Whether it found anything or not: nothing may be between the question whether to stop and the sleep.
                spin.until(|| self.driver.words.has_woken());
                continue;
            }
            let until = self.driver.until().min(deadline);
            let slept = self.watcher.sleep(&mut self.driver, turn, deadline);
            if slept == Sleep::Interrupted {
                return Wait::Interrupted;
            }
            // After a last look everywhere.
            is_over = slept == Sleep::TimedOut && until == self.driver.full_at();
        }
    }
}

impl Drop for Driven {
    fn drop(&mut self) {
        // A forked child has nothing of it.
        if self.process == this_process() {
            // SAFETY: nobody uses it after this.
            let driver = unsafe { ManuallyDrop::take(&mut self.driver) };
            if !self.is_here() {
                driver.words.abandon();
            }
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::sync::AtomicU32;
    use crate::uring::Uring;
    use crate::{Member, Ring, Set, Subscriber, Variant, NEVER};

    fn rings(count: usize) -> (Vec<Ring>, Vec<Subscriber>) {
        let rings: Vec<_> = (0..count).map(|_| Ring::anonymous(Variant::Int, 8, 0).unwrap()).collect();
        let subs = rings.iter().map(|ring| ring.subscribe(false)).collect();
        (rings, subs)
    }

    fn members(subs: &mut [Subscriber]) -> Vec<Member<'_>> {
        subs.iter_mut().enumerate().map(|(key, sub)| Member { sub, key }).collect()
    }

    /// A message on the last ring, published while the set waits, or just before.
    fn wakes(set: &mut Set, rings: &[Ring], subs: &mut [Subscriber], value: i64) {
        std::thread::scope(|scope| {
            scope.spawn(|| rings[rings.len() - 1].publish_int(value).unwrap());
            while set.wait(&mut members(subs), NEVER).unwrap() != Wait::Ready {}
        });
        assert_eq!(subs[subs.len() - 1].poll_int().unwrap(), Some(value));
    }

    #[test]
    fn a_set_may_go_from_thread_to_thread() {
        let (rings, mut subs) = rings(20);
        let mut set = Set::new();
        wakes(&mut set, &rings, &mut subs, 1);
        assert_eq!(set.is_watched(), Uring::is_available());
        std::thread::scope(|scope| {
            scope.spawn(|| {
                assert!(!set.is_watched(), "not by this thread");
                (2..9).for_each(|value| wakes(&mut set, &rings, &mut subs, value));
                assert!(!Uring::is_available() || set.is_watched());
            });
        });
        (9..20).for_each(|value| wakes(&mut set, &rings, &mut subs, value));
        // Whoever says nothing of another thread first is not left waiting either.
        let mut set = Set::new();
        set.watch_all(&mut members(&mut subs)).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                rings[3].publish_int(1).unwrap();
                while set.wait_watched(NEVER, || false) != Wait::Ready {}
                assert_eq!(set.ready(), [3]);
                assert_eq!(subs[3].poll_int().unwrap(), Some(1));
                // The thread that has it now has the kernel watch all of them.
                for sub in &subs {
                    while armed_on(&sub.header().wake.word) == 0 {
                        std::thread::yield_now();
                    }
                }
            });
        });
    }

    #[test]
    fn one_that_is_not_read_does_not_hide_others() {
        let (rings, mut subs) = rings(20);
        let mut set = Set::new();
        set.watch_all(&mut members(&mut subs)).unwrap();
        rings[0].publish_int(1).unwrap();
        while set.wait_watched(NEVER, || false) != Wait::Ready {}
        // The kernel answers this thread's own publish at once; what is looked at once a second only takes many more waits.
        let enough = if Uring::is_available() { 10 } else { usize::MAX };
        for at in [5, 7] {
            // Read, and armed again though nobody sleeps.
            for value in 1..=2 {
                rings[at].publish_int(value).unwrap();
                let mut wait_finds = || set.wait_watched(NEVER, || false) == Wait::Ready && set.ready().contains(&at);
                assert!((0..enough).any(|_| wait_finds()), "the kernel was not told of ring {at}");
                assert_eq!(subs[at].poll_int().unwrap(), Some(value));
            }
        }
    }

    /// Who sleeps on the word, in whatever way; wakes them.
    fn armed_on(word: *const AtomicU32) -> i64 {
        // SAFETY: the kernel only looks at the address.
        unsafe { libc::syscall(libc::SYS_futex, word, libc::FUTEX_WAKE, i32::MAX) }
    }

    #[test]
    fn members_come_and_go() {
        let (rings, mut subs) = rings(20);
        let mut set = Set::new();
        set.watch_all(&mut members(&mut subs)).unwrap();
        for round in 0..1_000 {
            let ring = Ring::anonymous(Variant::Int32, 2, 0).unwrap();
            let mut guest = ring.subscribe(false);
            set.add(Member { sub: &mut guest, key: 1_000 + round }).unwrap();
            assert_eq!(set.wait_watched(1, || false), Wait::TimedOut);
            ring.publish_int(1).unwrap();
            if round % 2 == 0 {
                while set.wait_watched(NEVER, || false) != Wait::Ready {}
                assert_eq!(set.ready(), [1_000 + round]);
            }
            let word: *const AtomicU32 = &guest.header().wake.word;
            drop(guest);
            assert_eq!(set.ready(), []);
            // The second tells the kernel what the first has noticed.
            (0..2).for_each(|_| assert_eq!(set.wait_watched(1, || false), Wait::TimedOut));
            assert!(armed_on(word) == 0 || !Uring::is_available(), "the kernel has nothing of one that left");
        }
        rings[19].publish_int(1).unwrap();
        while set.wait_watched(NEVER, || false) != Wait::Ready {}
        assert_eq!(set.ready(), [19]);
        // Also more of them than the thread, which may be slow, ever hears of.
        set.hand_over().unwrap();
        for key in 20..1_000 {
            let mut guest = rings[0].subscribe(false);
            set.add(Member { sub: &mut guest, key }).unwrap();
        }
        assert_eq!(subs[19].poll_int().unwrap(), Some(1));
        rings[18].publish_int(1).unwrap();
        while set.wait_watched(NEVER, || false) != Wait::Ready {}
        assert_eq!(set.ready(), [18]);
        subs.clear();
        assert_eq!(set.wait_watched(NEVER, || false), Wait::Gone);
    }

    #[test]
    fn many_sets_of_one_thread() {
        let (rings, mut subs) = rings(200);
        let mut sets: Vec<_> = (0..20).map(|_| Set::new()).collect();
        for round in 0..3 {
            for (i, set) in sets.iter_mut().enumerate() {
                let own = 10 * i..10 * i + 10;
                wakes(set, &rings[own.clone()], &mut subs[own], round);
            }
        }
    }
}
