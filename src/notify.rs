//! eventfds: a counter behind a descriptor, for programs that wait in `poll`, `epoll` or an event loop.
//!
//! None of these calls blocks, whatever descriptor the caller lends.

use std::os::unix::io::RawFd;
use std::sync::Arc;

use crate::error::{last_os_code, Error, Result};
use crate::fd::{Fd, OurFd};

/// A descriptor for notifications: an eventfd of our own, which is closed when its last user is dropped, or one that the caller
/// lends.
#[derive(Clone, Debug)]
pub(crate) enum EventFd {
    Own(Arc<OurFd>),
    /// A lent descriptor. `look_first` says that a write to it may block or raise SIGPIPE, as of when it was lent.
    Borrowed {
        fd: Fd,
        look_first: bool,
    },
}

impl EventFd {
    /// A new eventfd: counter 0, non-blocking, close-on-exec.
    pub(crate) fn new() -> Result<Self> {
        Ok(EventFd::Own(Arc::new(OurFd::eventfd()?)))
    }

    /// Uses `fd`, which the caller closes.
    pub(crate) fn borrowed(fd: RawFd) -> Result<Self> {
        // SAFETY: fcntl only uses the number.
        let flags = unsafe { libc::fcntl(fd, libc::F_GETFL) };
        if flags < 0 {
            return Err(Error::last_os(format!("fcntl({}, F_GETFL)", fd)));
        }
        let (fd, is_eventfd) = Fd::note(fd)?;
        Ok(EventFd::Borrowed { fd, look_first: !is_eventfd || flags & libc::O_NONBLOCK == 0 })
    }

    pub(crate) fn fd(&self) -> &Fd {
        match self {
            EventFd::Own(fd) => fd,
            EventFd::Borrowed { fd, .. } => fd,
        }
    }

    /// Adds one to the counter. It is fine if the counter is full, because then it is readable.
    pub(crate) fn notify(&self) -> Result<()> {
        let fd = match self.ready(libc::POLLOUT)? {
            Some(fd) => fd,
            None => return Ok(()),
        };
        let one = 1u64.to_ne_bytes();
        // SAFETY: 8 bytes, valid for reads.
        let result = unsafe { libc::write(fd, one.as_ptr().cast(), one.len()) };
        match if result < 0 { last_os_code() } else { 0 } {
            0 | libc::EAGAIN | libc::EINTR => Ok(()),
            code => Err(Error::from_os(format!("write(eventfd {})", fd), code)),
        }
    }

    /// Returns the counter and sets it to 0; `None` if it was 0.
    pub(crate) fn consume(&self) -> Result<Option<u64>> {
        let fd = match self.ready(libc::POLLIN)? {
            Some(fd) => fd,
            None => return Ok(None),
        };
        let mut count = [0u8; 8];
        // SAFETY: 8 bytes, valid for writes.
        let result = unsafe { libc::read(fd, count.as_mut_ptr().cast(), count.len()) };
        match if result < 0 { last_os_code() } else { 0 } {
            0 if result == 8 => Ok(Some(u64::from_ne_bytes(count))),
            0 | libc::EAGAIN | libc::EINTR => Ok(None),
            code => Err(Error::from_os(format!("read(eventfd {})", fd), code)),
        }
    }

    /// The descriptor's number, if reading or writing, as `events` says, would not block now, and not raise SIGPIPE.
    fn ready(&self, events: i16) -> Result<Option<RawFd>> {
        let fd = self
            .fd()
            .get()
            .ok_or_else(|| Error::from_os(format!("eventfd {} has been closed", self.fd().number()), libc::EBADF))?;
        if !matches!(self, EventFd::Borrowed { look_first: true, .. }) {
            return Ok(Some(fd));
        }
        let mut poll = libc::pollfd { fd, events, revents: 0 };
        // SAFETY: one pollfd, and no waiting.
        let ready = unsafe { libc::poll(&mut poll, 1, 0) } > 0;
        // If the peer of a socket was closed, poll reports POLLHUP and POLLOUT, but a write raises SIGPIPE. A read does not.
        let broken = if events == libc::POLLOUT { libc::POLLERR | libc::POLLHUP } else { libc::POLLERR };
        if poll.revents & (broken | libc::POLLNVAL) != 0 {
            let code = if poll.revents & broken != 0 { libc::EPIPE } else { libc::EBADF };
            return Err(Error::from_os(format!("poll(eventfd {})", fd), code));
        }
        Ok(if ready { Some(fd) } else { None })
    }
}

/// The descriptor with which a handle or a subscriber notifies, and is notified of, new messages; or none.
#[derive(Clone, Debug, Default)]
pub struct Notifier(Option<EventFd>);

impl Notifier {
    /// The number of the descriptor. An eventfd (non-blocking, close-on-exec) is made if there is no descriptor, or the program has
    /// closed it.
    ///
    /// # Errors
    /// [`ErrorKind::System`](crate::ErrorKind::System) if no descriptor is free.
    ///
    /// ```
    /// # use data_pubsub_shared::Notifier;
    /// let mut notifier = Notifier::default();
    /// assert_eq!(notifier.make()?, notifier.make()?);
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    pub fn make(&mut self) -> Result<RawFd> {
        match self.fd() {
            Some(fd) => Ok(fd),
            None => Ok(self.0.insert(EventFd::new()?).fd().number()),
        }
    }

    /// Uses `fd`, which the caller closes. A negative number removes the descriptor.
    ///
    /// # Errors
    /// [`ErrorKind::System`](crate::ErrorKind::System) if `fd` is not open.
    ///
    /// ```
    /// # use data_pubsub_shared::Notifier;
    /// let (mut mine, mut yours) = (Notifier::default(), Notifier::default());
    /// yours.lend(mine.make()?)?;
    /// yours.notify()?;
    /// assert_eq!(mine.consume()?, Some(1));
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    pub fn lend(&mut self, fd: RawFd) -> Result<()> {
        let own = matches!(self.0, Some(EventFd::Own(_))) && self.fd() == Some(fd);
        if fd < 0 {
            self.0 = None;
        } else if !own {
            // The same number may be of another file since it was lent last.
            self.0 = Some(EventFd::borrowed(fd)?);
        }
        Ok(())
    }

    /// The descriptor's number, if there is one and the program has not closed it.
    ///
    /// ```
    /// # use data_pubsub_shared::Notifier;
    /// assert_eq!(Notifier::default().fd(), None);
    /// ```
    pub fn fd(&self) -> Option<RawFd> {
        self.0.as_ref().and_then(|eventfd| eventfd.fd().get())
    }

    /// Adds one to the counter, without blocking. Returns false if there is no descriptor.
    ///
    /// # Errors
    /// [`ErrorKind::System`](crate::ErrorKind::System) if the descriptor was closed or cannot be written to.
    ///
    /// ```
    /// # use data_pubsub_shared::Notifier;
    /// assert!(!Notifier::default().notify()?);
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    pub fn notify(&self) -> Result<bool> {
        self.0.as_ref().map_or(Ok(false), |eventfd| eventfd.notify().map(|()| true))
    }

    /// Returns the counter and sets it to 0, without blocking; `None` if it was 0, or there is no descriptor.
    ///
    /// # Errors
    /// [`ErrorKind::System`](crate::ErrorKind::System) if the descriptor was closed or cannot be read from.
    ///
    /// ```
    /// # use data_pubsub_shared::Notifier;
    /// let mut notifier = Notifier::default();
    /// notifier.make()?;
    /// notifier.notify()?;
    /// notifier.notify()?;
    /// assert_eq!((notifier.consume()?, notifier.consume()?), (Some(2), None));
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    pub fn consume(&self) -> Result<Option<u64>> {
        self.0.as_ref().map_or(Ok(None), EventFd::consume)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_until_consumed_and_never_blocks() {
        let own = EventFd::new().unwrap();
        assert_eq!(own.consume().unwrap(), None);
        own.notify().unwrap();
        own.notify().unwrap();
        assert_eq!(own.consume().unwrap(), Some(2));
        // A lent one that blocks, empty and then full to the brim.
        // SAFETY: no preconditions; closed at the end.
        let fd = unsafe { libc::eventfd(0, 0) };
        let lent = EventFd::borrowed(fd).unwrap();
        assert_eq!(lent.consume().unwrap(), None);
        let brim = (u64::MAX - 1).to_ne_bytes();
        // SAFETY: 8 bytes; our own descriptor.
        assert_eq!(unsafe { libc::write(fd, brim.as_ptr().cast(), 8) }, 8);
        lent.notify().unwrap();
        assert_eq!(lent.consume().unwrap(), Some(u64::MAX - 1));
        // SAFETY: ours.
        unsafe { libc::close(fd) };
        assert!(lent.notify().is_err() && EventFd::borrowed(fd).is_err());
    }
}
