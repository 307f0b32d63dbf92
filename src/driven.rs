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
mod tests;
