//! Sets of subscribers: waits for the first message on any of several rings, and has one descriptor for all of them.
//!
//! If a set has only a few members, a waiting thread sleeps on the words of their rings, and sets W on each of them before each
//! sleep. Larger sets are *watched* (see [`crate::watch`]): the readiness knows which members have messages, so a wait need not
//! look at all of them. The waiting thread drives the watcher itself (see [`crate::driven`]). If the kernel has no queues of
//! io_uring, or if the set has a descriptor, a thread of the process drives it (see [`crate::watcher`]), and the waiting thread
//! sleeps on the readiness.
//!
//! The caller keeps the subscribers and reads them as usual. A set does not store them.

use std::os::unix::io::RawFd;
use std::sync::Arc;

use crate::cursor::Next;
use crate::driven::Driven;
use crate::error::Result;
use crate::futex::{has_waitv, Words, MAX_WORDS};
use crate::subscriber::Subscriber;
use crate::threads::registry;
use crate::time::{nap_ns, rest, SHORT_REST_NS};
use crate::uring::Uring;
use crate::wait::{monotonic_ns, Sleep, Spin, MAX_SLEEP_NS};
use crate::waiting::Wait;
use crate::watch::{Outlet, Readiness};

/// Waits for several subscribers at once, of rings of any variant. It does not own them: calls take those that belong to
/// it, each once and each with a key of its own.
///
/// ```
/// use data_pubsub_shared::{Member, Ring, Set, Variant, Wait, NEVER};
///
/// let rings = [Ring::anonymous(Variant::Int, 8, 0)?, Ring::anonymous(Variant::Str, 8, 64)?];
/// let (mut a, mut b) = (rings[0].subscribe(false), rings[1].subscribe(false));
/// let mut set = Set::new();
/// rings[0].publish_int(7)?;
/// assert_eq!(set.wait(&mut [Member { sub: &mut a, key: 0 }, Member { sub: &mut b, key: 1 }], NEVER)?, Wait::Ready);
/// assert!(a.is_ready() && !b.is_ready());
/// # Ok::<(), data_pubsub_shared::Error>(())
/// ```
#[derive(Debug)]
pub struct Set {
    outlet: Outlet,
    /// The watcher, if the waiting thread drives it.
    driven: Option<Box<Driven>>,
    spin: Spin,
    /// The last sleep took `MAX_SLEEP_NS`, so the next one first checks whether the rings still exist.
    waited: bool,
}

/// A member of a set.
#[derive(Debug)]
#[repr(C)]
pub struct Member<'a> {
    /// The subscriber.
    pub sub: &'a mut Subscriber,
    /// The caller's name for it: the same in every call, and different from those of other members.
    pub key: usize,
}

impl Default for Set {
    fn default() -> Self {
        Self::new()
    }
}

/// The largest set that is not watched if the kernel has queues: to set W on so many words takes less time than a wake-up.
const FEW: usize = 8;

/// The result of a look at all members.
#[derive(Default)]
struct Round {
    ready: bool,
    /// A member has passed many positions without finding a message, and there are more.
    more: bool,
    /// A member has a read-only ring, so the sleep is a nap.
    naps: bool,
    /// The files of all rings were removed or replaced.
    gone: bool,
    until: u64,
}

impl Set {
    /// A set without members.
    ///
    /// ```
    /// # use data_pubsub_shared::{Set, Wait};
    /// assert_eq!(Set::new().wait(&mut [], 0)?, Wait::Gone); // no member has a ring that may still get messages
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    pub fn new() -> Self {
        Set { outlet: Outlet::default(), driven: None, spin: Spin::new(), waited: false }
    }

    /// Adds a member. If the set [`is_watched`](Self::is_watched), this must be called before the member is passed to other calls.
    ///
    /// # Errors
    /// [`ErrorKind::System`](crate::ErrorKind::System) if a thread is needed and cannot be started.
    ///
    /// ```
    /// # use data_pubsub_shared::{Member, Ring, Set, Variant};
    /// let ring = Ring::anonymous(Variant::Int, 8, 0)?;
    /// let mut sub = ring.subscribe(false);
    /// let mut set = Set::new();
    /// set.watch_all(&mut [])?;
    /// set.add(Member { sub: &mut sub, key: 7 })?;
    /// ring.publish_int(1)?;
    /// set.wait_watched(data_pubsub_shared::NEVER, || false);
    /// assert_eq!(set.ready(), [7]);
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    pub fn add(&mut self, Member { sub, key }: Member<'_>) -> Result<()> {
        match self.readiness() {
            Some(readiness) => sub.watch_for(&readiness, key),
            None => Ok(()),
        }
    }

    /// Removes a member.
    ///
    /// ```
    /// # use data_pubsub_shared::{Member, Ring, Set, Variant};
    /// let ring = Ring::anonymous(Variant::Int, 8, 0)?;
    /// let mut sub = ring.subscribe(false);
    /// let mut set = Set::new();
    /// set.watch_all(&mut [Member { sub: &mut sub, key: 7 }])?;
    /// set.remove(&mut sub);
    /// ring.publish_int(1)?;
    /// assert!(set.ready().is_empty());
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    pub fn remove(&mut self, sub: &mut Subscriber) {
        if let Some(readiness) = self.readiness() {
            sub.forget(&readiness);
        }
    }

    /// The most members that [`wait_direct`](Self::wait_direct) can wait for; [`wait`](Self::wait) watches the members of larger
    /// sets.
    ///
    /// ```
    /// # use data_pubsub_shared::Set;
    /// assert!([1, 8, 128].contains(&Set::max_direct()));
    /// ```
    pub fn max_direct() -> usize {
        if Uring::is_available() {
            FEW
        } else if has_waitv() {
            MAX_WORDS
        } else {
            1
        }
    }

    /// Sleeps until a member has a message ([`Subscriber::is_ready`] says which), the monotonic clock reaches `deadline` (in
    /// nanoseconds, or [`NEVER`](crate::NEVER)), or a signal was handled. Returns [`Wait::Gone`] if the files of all rings were
    /// removed or replaced and all messages were read, and for a set without members.
    ///
    /// # Errors
    /// [`ErrorKind::System`](crate::ErrorKind::System) if a thread is needed and cannot be started: for more than
    /// [`max_direct`](Self::max_direct) members, on kernels without queues of io_uring.
    ///
    /// ```
    /// # use data_pubsub_shared::{monotonic_ns, Member, Ring, Set, Variant, Wait};
    /// let ring = Ring::anonymous(Variant::Int, 8, 0)?;
    /// let mut sub = ring.subscribe(false);
    /// let mut set = Set::new();
    /// let mut members = [Member { sub: &mut sub, key: 0 }];
    /// assert_eq!(set.wait(&mut members, monotonic_ns() + 1_000_000)?, Wait::TimedOut);
    /// ring.publish_int(1)?;
    /// assert_eq!(set.wait(&mut members, monotonic_ns() + 1_000_000)?, Wait::Ready);
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    pub fn wait(&mut self, members: &mut [Member<'_>], deadline: u64) -> Result<Wait> {
        if members.len() <= Self::max_direct() {
            return Ok(self.wait_direct(members, deadline, || false).0);
        }
        self.watch_all(members)?;
        if members.iter_mut().any(|member| member.sub.is_ready()) {
            return Ok(Wait::Ready);
        }
        let how = self.wait_watched(deadline, || false);
        let gone = how == Wait::Interrupted && members.iter().all(|member| member.sub.is_gone());
        Ok(if gone { Wait::Gone } else { how })
    }

    /// As [`wait`](Self::wait), for at most [`max_direct`](Self::max_direct) members, which are not watched for that. `stop` is
    /// called just before each sleep; if it returns true, the result is [`Wait::Interrupted`]. Also returns the index of the member
    /// whose message ended a sleep, if that is known.
    ///
    /// ```
    /// # use data_pubsub_shared::{Member, Ring, Set, Variant, Wait, NEVER};
    /// let ring = Ring::anonymous(Variant::Int, 8, 0)?;
    /// let mut sub = ring.subscribe(false);
    /// let mut set = Set::new();
    /// let mut members = [Member { sub: &mut sub, key: 0 }];
    /// assert_eq!(set.wait_direct(&mut members, NEVER, || true).0, Wait::Interrupted);
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    pub fn wait_direct(
        &mut self,
        members: &mut [Member<'_>],
        deadline: u64,
        stop: impl Fn() -> bool,
    ) -> (Wait, Option<usize>) {
        if members.iter_mut().any(|member| member.sub.is_ready()) || deadline > 0 && self.spin(members) {
            return (Wait::Ready, None);
        }
        let mut words = Words::new();
        loop {
            let now = monotonic_ns();
            words.clear();
            let round = go_over(members, now, &mut words);
            if round.ready {
                return (Wait::Ready, None);
            }
            if round.gone || self.waited && members.iter().all(|member| member.sub.is_gone()) {
                return (Wait::Gone, None);
            }
            // As late as possible. A signal after this ends the sleep, unless it arrives in the nanoseconds before the sleep
            // begins.
            if stop() || round.more && now < deadline {
                return (Wait::Interrupted, None);
            }
            if now >= deadline {
                return (Wait::TimedOut, None);
            }
            let bound = now + MAX_SLEEP_NS;
            let until = round.until.max(now).min(bound).min(deadline);
            let all_on_words = words.len() == members.len();
            let slept = words.sleep(until - now);
            let woken = words.woken().filter(|_| all_on_words).filter(|&at| members[at].sub.is_ready());
            if woken.is_some() {
                return (Wait::Ready, woken);
            }
            self.waited = slept == Sleep::TimedOut && until == bound;
            // Also after MAX_SLEEP_NS or a nap, because a signal may have arrived just before the sleep began.
            if slept == Sleep::Interrupted || self.waited || round.naps {
                return (Wait::Interrupted, None);
            }
        }
    }

    /// Spins for a while, looking at one member after the other.
    fn spin(&mut self, members: &mut [Member<'_>]) -> bool {
        let mut at = 0;
        !members.is_empty()
            && self.spin.until(|| {
                at = (at + 1) % members.len();
                members[at].sub.is_ready()
            })
    }

    /// Starts watching all members for [`wait_watched`](Self::wait_watched).
    ///
    /// # Errors
    /// [`ErrorKind::System`](crate::ErrorKind::System) if a thread is needed and cannot be started.
    ///
    /// ```
    /// # use data_pubsub_shared::{Member, Ring, Set, Variant};
    /// let ring = Ring::anonymous(Variant::Int, 8, 0)?;
    /// let mut sub = ring.subscribe(false);
    /// let mut set = Set::new();
    /// set.watch_all(&mut [Member { sub: &mut sub, key: 0 }])?;
    /// assert!(set.is_watched());
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    pub fn watch_all(&mut self, members: &mut [Member<'_>]) -> Result<()> {
        if self.readiness().is_none() {
            self.driven = Driven::new().map(Box::new);
            self.outlet.make().drive_by(self.driven.as_ref().map(|driven| driven.watcher()));
        } else if !self.is_watched() {
            self.hand_over()?;
        }
        let readiness = self.outlet.make();
        members.iter_mut().try_for_each(|member| member.sub.watch_for(&readiness, member.key))
    }

    /// The readiness of this process, if there is one; a forked child drops its parent's.
    fn readiness(&mut self) -> Option<Arc<Readiness>> {
        let readiness = self.outlet.readiness().map(Arc::clone);
        if readiness.is_none() {
            self.driven = None;
        }
        readiness
    }

    /// From now on a thread of the process's own watches the members.
    pub(crate) fn hand_over(&mut self) -> Result<()> {
        if let (Some(readiness), Some(driven)) = (self.readiness(), &self.driven) {
            readiness.drive_by(None);
            registry().adopt(driven.watcher())?;
        }
        self.driven = None;
        Ok(())
    }

    /// Whether the members are watched in this process, and not by another thread that waits for the set.
    ///
    /// ```
    /// # use data_pubsub_shared::Set;
    /// assert!(!Set::new().is_watched());
    /// ```
    pub fn is_watched(&mut self) -> bool {
        self.readiness().is_some() && self.driven.as_ref().map_or(true, |driven| driven.is_usable())
    }

    /// As [`wait`](Self::wait), for a set of any size whose members are watched; [`ready`](Self::ready) says which members have
    /// messages. After a second without a message it returns [`Wait::Interrupted`], so that the caller can check whether the
    /// rings still exist. Returns [`Wait::Gone`] if no member is watched.
    ///
    /// ```
    /// # use data_pubsub_shared::{Member, Ring, Set, Variant, Wait, NEVER};
    /// let ring = Ring::anonymous(Variant::Int, 8, 0)?;
    /// let mut sub = ring.subscribe(false);
    /// let mut set = Set::new();
    /// set.watch_all(&mut [Member { sub: &mut sub, key: 3 }])?;
    /// ring.publish_int(1)?;
    /// assert_eq!(set.wait_watched(NEVER, || false), Wait::Ready);
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    pub fn wait_watched(&mut self, deadline: u64, stop: impl Fn() -> bool) -> Wait {
        let readiness = match self.readiness().filter(|readiness| readiness.has_members()) {
            Some(readiness) => readiness,
            None => return Wait::Gone,
        };
        if let Some(driven) = self.driven.as_mut().filter(|driven| driven.is_usable()) {
            return driven.wait(&readiness, &mut self.spin, deadline, stop);
        }
        if self.hand_over().is_err() {
            rest(SHORT_REST_NS);
            return Wait::Interrupted;
        }
        if deadline > 0 && self.spin.until(|| readiness.is_raised()) {
            return Wait::Ready;
        }
        loop {
            let word = readiness.wake.prepare_wait();
            if readiness.is_raised() {
                return Wait::Ready;
            }
            let now = monotonic_ns();
            if stop() {
                return Wait::Interrupted;
            }
            if now >= deadline {
                return Wait::TimedOut;
            }
            let slept = readiness.wake.sleep(word, MAX_SLEEP_NS.min(deadline - now));
            if slept == Sleep::Interrupted || slept == Sleep::TimedOut && deadline - now > MAX_SLEEP_NS {
                return Wait::Interrupted;
            }
        }
    }

    /// The keys of the watched members that have messages. Messages may be overwritten meanwhile; [`Subscriber::is_ready`] checks.
    ///
    /// ```
    /// # use data_pubsub_shared::{Member, Ring, Set, Variant};
    /// let ring = Ring::anonymous(Variant::Int, 8, 0)?;
    /// let mut sub = ring.subscribe(false);
    /// let mut set = Set::new();
    /// set.watch_all(&mut [Member { sub: &mut sub, key: 3 }])?;
    /// assert_eq!(set.ready(), []);
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    pub fn ready(&mut self) -> Vec<usize> {
        self.readiness().map_or(Vec::new(), |readiness| readiness.readable())
    }

    /// A descriptor that is readable while a member has messages to read, as [`Subscriber::watch`].
    ///
    /// # Errors
    /// [`ErrorKind::System`](crate::ErrorKind::System) if no descriptor is free or a thread cannot be started.
    ///
    /// ```
    /// # use data_pubsub_shared::{Member, Ring, Set, Variant};
    /// let ring = Ring::anonymous(Variant::Int, 8, 0)?;
    /// let mut sub = ring.subscribe(false);
    /// let mut set = Set::new();
    /// assert!(set.watch(&mut [Member { sub: &mut sub, key: 0 }])? >= 0);
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    pub fn watch(&mut self, members: &mut [Member<'_>]) -> Result<RawFd> {
        self.watch_anew(members).map(|(fd, _)| fd)
    }

    /// As [`watch`](Self::watch), and whether this call made the descriptor.
    pub(crate) fn watch_anew(&mut self, members: &mut [Member<'_>]) -> Result<(RawFd, bool)> {
        self.hand_over()?;
        self.outlet.make();
        self.watch_all(members)?;
        self.outlet.descriptor()
    }

    /// Whether `fd` is the descriptor of the last watch, or a duplicate of it.
    pub(crate) fn is_watched_by(&self, fd: RawFd) -> bool {
        self.outlet.is(fd)
    }
}

/// Looks at all members before a sleep, and pushes the words of their rings, with W set.
fn go_over(members: &mut [Member<'_>], now: u64, words: &mut Words) -> Round {
    let mut round = Round { gone: true, until: u64::MAX, ..Round::default() };
    for Member { sub, .. } in members {
        if !sub.is_read_only() {
            let wake = &sub.header().wake;
            words.push(&wake.word, wake.prepare_wait());
        }
        match sub.look() {
            Next::Ready(()) => round.ready = true,
            Next::Claimed(when) => round.until = round.until.min(when),
            Next::More => round.more = true,
            // Checked after W is set: the process that removes the file wakes all waiters.
            Next::Empty if sub.header().is_gone() => continue,
            Next::Empty => {}
        }
        round.gone = false;
        if sub.is_read_only() {
            round.naps = true;
            round.until = round.until.min(now + nap_ns(sub.naps()));
        }
    }
    round
}
