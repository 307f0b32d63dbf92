//! Waiting for several subscribers at once.

use std::os::unix::io::BorrowedFd;
use std::time::Duration;

use super::{deadline, Message, Subscriber};
use crate::{Result, Wait, NEVER};

/// A member of a [`Set`]: a [`Subscriber`] of a ring of any type. Sealed.
pub trait Member: sealed::Erased {}

impl<T: Message + ?Sized> Member for Subscriber<T> {}

mod sealed {
    pub trait Erased {
        fn parts(&mut self) -> (&mut crate::Subscriber, bool);
    }

    impl<T: super::Message + ?Sized> Erased for super::Subscriber<T> {
        /// The subscriber, and whether it has a loss or an error that was not returned yet.
        fn parts(&mut self) -> (&mut crate::Subscriber, bool) {
            let is_untold = self.is_untold();
            (self.erased(), is_untold)
        }
    }
}

/// Waits for several subscribers at once, of rings of any type. The set does not own its members: each call takes all of them, each
/// once.
///
/// ```
/// use data_pubsub_shared::typed::{Ring, Set, TryRecvError};
/// use data_pubsub_shared::Wait;
///
/// let ticks = Ring::<f64>::builder().capacity(8).anonymous()?;
/// let news = Ring::<str>::builder().capacity(8).anonymous()?;
/// let (mut tick, mut headline) = (ticks.subscribe(), news.subscribe());
/// let publisher = news.publisher()?;
/// std::thread::spawn(move || publisher.publish("hello"));
///
/// let mut set = Set::new();
/// assert_eq!(set.wait(&mut [&mut tick, &mut headline])?, Wait::Ready);
/// assert_eq!(tick.try_recv(), Err(TryRecvError::Empty));
/// assert_eq!(headline.try_recv(), Ok("hello".to_owned()));
/// # Ok::<(), data_pubsub_shared::Error>(())
/// ```
#[derive(Debug, Default)]
pub struct Set(crate::Set);

impl Set {
    /// Makes a set without members.
    ///
    /// ```
    /// use data_pubsub_shared::typed::Set;
    /// use data_pubsub_shared::Wait;
    ///
    /// assert_eq!(Set::new().wait(&mut [])?, Wait::Gone); // no message will arrive
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    pub fn new() -> Self {
        Self::default()
    }

    /// Sleeps until a member has a message or an error to receive with `try_recv`, and returns [`Wait::Ready`]. Returns
    /// [`Wait::Gone`] if the rings of all members are gone. Signals do not end the wait.
    ///
    /// # Errors
    /// [`ErrorKind::System`](crate::ErrorKind::System) if there are no threads left. Threads are needed for sets of more than 128
    /// members (before Linux 5.16: more than one member) if io_uring is forbidden or Linux is older than 6.15.
    ///
    /// ```
    /// # use data_pubsub_shared::typed::{Ring, Set};
    /// # use data_pubsub_shared::Wait;
    /// let ring = Ring::<i64>::builder().capacity(8).anonymous()?;
    /// let (mut a, mut b) = (ring.subscribe(), ring.subscribe());
    /// ring.publisher()?.publish(1)?;
    /// assert_eq!(Set::new().wait(&mut [&mut a, &mut b])?, Wait::Ready);
    /// assert_eq!((a.try_recv(), b.try_recv()), (Ok(1), Ok(1)));
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    pub fn wait(&mut self, members: &mut [&mut dyn Member]) -> Result<Wait> {
        self.wait_until(members, NEVER)
    }

    /// Like [`wait`](Self::wait), for at most `timeout`. Returns [`Wait::TimedOut`] if that has passed.
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    ///
    /// ```
    /// # use data_pubsub_shared::typed::{Ring, Set};
    /// # use data_pubsub_shared::Wait;
    /// use std::time::Duration;
    ///
    /// let mut subscriber = Ring::<i64>::builder().capacity(8).anonymous()?.subscribe();
    /// assert_eq!(Set::new().wait_timeout(&mut [&mut subscriber], Duration::from_millis(1))?, Wait::TimedOut);
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    pub fn wait_timeout(&mut self, members: &mut [&mut dyn Member], timeout: Duration) -> Result<Wait> {
        self.wait_until(members, deadline(timeout))
    }

    fn wait_until(&mut self, members: &mut [&mut dyn Member], deadline: u64) -> Result<Wait> {
        loop {
            if members.iter_mut().any(|member| member.parts().1) {
                return Ok(Wait::Ready);
            }
            match self.0.wait(&mut erased(members), deadline)? {
                Wait::Interrupted => {}
                // Messages may have been lost during the wait.
                Wait::TimedOut | Wait::Gone if members.iter_mut().any(|member| member.parts().1) => {}
                how => return Ok(how),
            }
        }
    }

    /// Returns a descriptor that is readable while a member has messages, for `poll`, `epoll` and event loops. Wait for it, but
    /// do not read from it. Threads of this process update it. Call `watch` again with all members after one was added, and in a
    /// forked child.
    ///
    /// # Errors
    /// [`ErrorKind::System`](crate::ErrorKind::System) if there are no descriptors or threads left.
    ///
    /// ```
    /// # use data_pubsub_shared::typed::{Ring, Set};
    /// use std::os::unix::io::AsRawFd;
    ///
    /// let ring = Ring::<i64>::builder().capacity(8).anonymous()?;
    /// let (mut subscriber, mut set) = (ring.subscribe(), Set::new());
    /// let fd = set.watch(&mut [&mut subscriber])?.as_raw_fd();
    /// ring.publisher()?.publish(1)?;
    /// let mut poll = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
    /// assert_eq!(unsafe { libc::poll(&mut poll, 1, -1) }, 1);
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    pub fn watch(&mut self, members: &mut [&mut dyn Member]) -> Result<BorrowedFd<'_>> {
        let fd = self.0.watch(&mut erased(members))?;
        // SAFETY: the set keeps it open, and is borrowed.
        Ok(unsafe { BorrowedFd::borrow_raw(fd) })
    }

    /// Removes a member: its messages no longer make the set's [descriptor](Self::watch) readable. A subscriber that is dropped
    /// need not be removed.
    ///
    /// ```
    /// # use data_pubsub_shared::typed::{Ring, Set};
    /// let ring = Ring::<i64>::builder().capacity(8).anonymous()?;
    /// let (mut subscriber, mut set) = (ring.subscribe(), Set::new());
    /// set.watch(&mut [&mut subscriber])?;
    /// set.remove(&mut subscriber);
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    pub fn remove(&mut self, member: &mut dyn Member) {
        self.0.remove(member.parts().0);
    }
}

/// The members without their types. The keys tell which members are ready; no caller here asks for that.
fn erased<'a>(members: &'a mut [&mut dyn Member]) -> Vec<crate::Member<'a>> {
    let numbered = members.iter_mut().enumerate();
    numbered.map(|(key, member)| crate::Member { sub: member.parts().0, key }).collect()
}
