//! Several subscribers as one: waits for the first message of any, and has one descriptor for all.
//!
//! A thread sleeps on the rings of a few subscribers itself, announced at each of them before each sleep. More of them are *watched*
//! for the set's readiness: so it is known who raised it, and nobody need look at all. The caller does that itself (see
//! [`crate::driven`]); or threads do (see [`crate::watcher`]), and it sleeps until they raise it. They do where the kernel has
//! no queues, and once the set was asked for its descriptor.
//!
//! The subscribers stay the caller's, who reads them as ever; a set only knows who belongs to it by what a member carries.

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
    /// Who watches the members for the outlet, where it is no thread of the process's own.
    driven: Option<Box<Driven>>,
    spin: Spin,
    /// The last wait lasted for a while: worth a look whether the rings are still there.
    waited: bool,
}

/// A member of a set.
#[derive(Debug)]
#[repr(C)]
pub struct Member<'a> {
    /// A subscriber that reads for nobody else meanwhile.
    pub sub: &'a mut Subscriber,
    /// What the caller knows it by; always the same, and no other member's.
    pub key: usize,
}

impl Default for Set {
    fn default() -> Self {
        Self::new()
    }
}

/// Members that are waited for without more ado: all are announced and taken back in less time than a wake-up takes.
const FEW: usize = 8;

/// What was found by going over all members.
#[derive(Default)]
struct Round {
    ready: bool,
    /// There is more to pass before it is known.
    more: bool,
    /// Members that cannot be woken, and so look again soon.
    naps: bool,
    /// All rings are gone.
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

    /// Makes the subscriber a member: to be called before it is among those of other calls, if the set
    /// [`is_watched`](Self::is_watched).
    ///
    /// # Errors
    /// [`ErrorKind::System`](crate::ErrorKind::System) where there are no threads left.
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

    /// The subscriber is no member any more.
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

    /// Members whom [`wait_direct`](Self::wait_direct) is for: with more, [`wait`](Self::wait) has them watched.
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

    /// Sleeps until a member has a message ([`Subscriber::is_ready`] says which ones have), the monotonic clock reaches
    /// `deadline` (nanoseconds; [`NEVER`](crate::NEVER)), or a signal was handled. [`Wait::Gone`]: all their rings are
    /// gone, and nothing is left to read; at once, where there are no members.
    ///
    /// # Errors
    /// [`ErrorKind::System`](crate::ErrorKind::System) where there are no threads left: with more than
    /// [`max_direct`](Self::max_direct) members, where the kernel has no queues.
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

    /// The same for at most [`max_direct`](Self::max_direct) members, which need not be watched for that; `stop` is asked just before each
    /// sleep, and if it says so, it is as if a signal had come. Where a member's message ended a sleep, also which one it was.
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
            // As late as can be: what is set after this ends a sleep, but for the nanoseconds until that begins.
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
            // After a whole slice, too: a signal may have come just before the sleep began. A nap is a slice.
            if slept == Sleep::Interrupted || self.waited || round.naps {
                return (Wait::Interrupted, None);
            }
        }
    }

    /// Looks a while, at one member after the other.
    fn spin(&mut self, members: &mut [Member<'_>]) -> bool {
        let mut at = 0;
        !members.is_empty()
            && self.spin.until(|| {
                at = (at + 1) % members.len();
                members[at].sub.is_ready()
            })
    }

    /// Has all members watched for the set: by whoever calls [`wait_watched`](Self::wait_watched), or by threads.
    ///
    /// # Errors
    /// [`ErrorKind::System`](crate::ErrorKind::System) where there are no threads left.
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

    /// This process's; a forked child lets go of its parent's.
    fn readiness(&mut self) -> Option<Arc<Readiness>> {
        let readiness = self.outlet.readiness().map(Arc::clone);
        if readiness.is_none() {
            self.driven = None;
        }
        readiness
    }

    /// Has threads of the process's own watch the members from now on.
    pub(crate) fn hand_over(&mut self) -> Result<()> {
        if let (Some(readiness), Some(driven)) = (self.readiness(), &self.driven) {
            readiness.drive_by(None);
            registry().adopt(driven.watcher())?;
        }
        self.driven = None;
        Ok(())
    }

    /// Whether the members are watched, in this process; and not by whoever waits in another thread.
    ///
    /// ```
    /// # use data_pubsub_shared::Set;
    /// assert!(!Set::new().is_watched());
    /// ```
    pub fn is_watched(&mut self) -> bool {
        self.readiness().is_some() && self.driven.as_ref().map_or(true, |driven| driven.is_usable())
    }

    /// As [`wait`](Self::wait), for a set whose members are watched, however many there are; [`ready`](Self::ready) says
    /// who was found to have messages. After a second without any it is as if a signal had come: worth a look whether their
    /// rings are still there, which this does not know. [`Wait::Gone`] where no member is watched.
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

    /// The keys of members that are watched and were found to have messages; [`Subscriber::is_ready`] says whether that is
    /// still so.
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

    /// A descriptor that is readable while a member has messages to read, whoever publishes them; as
    /// [`Subscriber::watch`].
    ///
    /// # Errors
    /// [`ErrorKind::System`](crate::ErrorKind::System) where there are no descriptors or threads left.
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

    /// The same, and whether this call has made it.
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

/// Goes over all members before a sleep on the words of their rings, where they announce themselves.
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
            // Asked after the announcement: who removes the ring wakes its sleepers.
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
