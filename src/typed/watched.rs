//! Subscribers in event loops.

use std::os::unix::io::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use super::{Message, Subscriber, TryRecvError};
use crate::Result;

/// A [`Subscriber`] with a file descriptor that is readable while there are messages to receive. Publishers need not know of it.
///
/// The descriptor is only for waiting, with `poll`, `epoll` or an event loop. Do not read from it: it is no longer readable once
/// [`try_recv`](Self::try_recv) has returned `Empty`. A small thread updates it. A forked child does not have that thread: there,
/// take the subscriber out with [`into_inner`](Self::into_inner) and watch it again.
///
/// ```
/// use data_pubsub_shared::typed::{Ring, TryRecvError};
/// use std::os::unix::io::AsRawFd;
///
/// let ring = Ring::<i64>::builder().capacity(8).anonymous()?;
/// let mut watched = ring.subscribe().watched()?;
/// let publisher = ring.publisher()?;
/// std::thread::spawn(move || publisher.publish(1));
///
/// let mut poll = libc::pollfd { fd: watched.as_raw_fd(), events: libc::POLLIN, revents: 0 };
/// assert_eq!(unsafe { libc::poll(&mut poll, 1, -1) }, 1);
/// assert_eq!(watched.try_recv(), Ok(1));
/// assert_eq!(watched.try_recv(), Err(TryRecvError::Empty));
/// # Ok::<(), data_pubsub_shared::Error>(())
/// ```
#[derive(Debug)]
pub struct Watched<T: Message + ?Sized> {
    subscriber: Subscriber<T>,
    /// A duplicate of the subscriber's descriptor, which stays open if that one is closed.
    fd: OwnedFd,
}

impl<T: Message + ?Sized> Watched<T> {
    pub(super) fn new(mut subscriber: Subscriber<T>) -> Result<Self> {
        let fd = subscriber.erased().watch()?;
        // SAFETY: the subscriber has just returned it as open.
        let duplicate = unsafe { BorrowedFd::borrow_raw(fd) }.try_clone_to_owned();
        let fd =
            duplicate.map_err(|e| crate::Error::from_os("fcntl(F_DUPFD_CLOEXEC)", e.raw_os_error().unwrap_or(0)))?;
        Ok(Watched { subscriber, fd })
    }

    /// As [`Subscriber::try_recv`].
    ///
    /// # Errors
    /// As [`Subscriber::try_recv`].
    ///
    /// ```
    /// # use data_pubsub_shared::typed::{Ring, TryRecvError};
    /// let mut watched = Ring::<i64>::builder().capacity(8).anonymous()?.subscribe().watched()?;
    /// assert_eq!(watched.try_recv(), Err(TryRecvError::Empty));
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    #[inline]
    pub fn try_recv(&mut self) -> std::result::Result<T::Owned, TryRecvError> {
        self.subscriber.try_recv()
    }

    /// As [`Subscriber::try_recv_into`].
    ///
    /// # Errors
    /// As [`Subscriber::try_recv`].
    ///
    /// ```
    /// # use data_pubsub_shared::typed::{Ring, TryRecvError};
    /// let mut watched = Ring::<str>::builder().capacity(8).anonymous()?.subscribe().watched()?;
    /// let mut message = String::new();
    /// assert_eq!(watched.try_recv_into(&mut message), Err(TryRecvError::Empty));
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    #[inline]
    pub fn try_recv_into(&mut self, message: &mut T::Owned) -> std::result::Result<(), TryRecvError> {
        self.subscriber.try_recv_into(message)
    }

    /// As [`Subscriber::try_recv_many`].
    ///
    /// # Errors
    /// As [`Subscriber::try_recv_many`].
    ///
    /// ```
    /// # use data_pubsub_shared::typed::{Ring, TryRecvError};
    /// let mut watched = Ring::<i64>::builder().capacity(8).anonymous()?.subscribe().watched()?;
    /// assert_eq!(watched.try_recv_many(&mut Vec::new(), 10), Err(TryRecvError::Empty));
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    pub fn try_recv_many(
        &mut self,
        buffer: &mut Vec<T::Owned>,
        limit: usize,
    ) -> std::result::Result<usize, TryRecvError> {
        self.subscriber.try_recv_many(buffer, limit)
    }

    /// Returns the subscriber, for its counts, lag and position.
    ///
    /// ```
    /// # use data_pubsub_shared::typed::Ring;
    /// let watched = Ring::<i64>::builder().capacity(8).anonymous()?.subscribe().watched()?;
    /// assert_eq!(watched.get_ref().lag(), 0);
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    pub fn get_ref(&self) -> &Subscriber<T> {
        &self.subscriber
    }

    /// Returns the subscriber. It keeps its thread and descriptor, so that it can be watched again.
    ///
    /// ```
    /// # use data_pubsub_shared::typed::Ring;
    /// let watched = Ring::<i64>::builder().capacity(8).anonymous()?.subscribe().watched()?;
    /// let subscriber = watched.into_inner();
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    pub fn into_inner(self) -> Subscriber<T> {
        self.subscriber
    }
}

impl<T: Message + ?Sized> AsFd for Watched<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl<T: Message + ?Sized> AsRawFd for Watched<T> {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}
