//! A watcher that is driven by the thread that waits for a set, so that a message wakes that thread and no other.
//!
//! It needs a queue of io_uring (see [`crate::multiwait`]), which the kernel ties to the thread that made it. If the set is later
//! used in another thread, or the queue fails, a thread of the process takes over the watcher with its list.

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
    /// The thread that made the queue.
    thread: ThreadId,
    process: u32,
}

impl std::fmt::Debug for Driven {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Driven").finish_non_exhaustive()
    }
}

impl Driven {
    /// A watcher for this thread to drive; `None` if the kernel has no queue for it.
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

    /// Sleeps until `readiness` is raised, as [`Set::wait_watched`](crate::Set::wait_watched). Must be called only if
    /// [`is_usable`](Self::is_usable).
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
            // Also if this call will not sleep: while one member always has messages, the others would never be noticed.
            self.driver.words.exchange();
            // A signal handler may read members or jump out of here, so none must run while the list is locked.
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
                // Start over even if it found nothing: no time may pass between `stop` and the sleep.
                spin.until(|| self.driver.words.has_woken());
                continue;
            }
            let until = self.driver.until().min(deadline);
            let slept = self.watcher.sleep(&mut self.driver, turn, deadline);
            if slept == Sleep::Interrupted {
                return Wait::Interrupted;
            }
            // Return after one more turn, which looks at all members.
            is_over = slept == Sleep::TimedOut && until == self.driver.full_at();
        }
    }
}

impl Drop for Driven {
    fn drop(&mut self) {
        // A forked child does not inherit the queue.
        if self.process == this_process() {
            // SAFETY: it is not used after this.
            let driver = unsafe { ManuallyDrop::take(&mut self.driver) };
            if !self.is_here() {
                driver.words.abandon();
            }
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
