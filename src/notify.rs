//! eventfds: a counter behind a descriptor, for programs that wait in `poll`, `epoll` or an event loop.
//!
//! Nothing here ever blocks, whatever descriptor the caller lends us.

use std::os::unix::io::RawFd;
use std::sync::Arc;

use crate::error::{last_os_code, Error, Result};
use crate::fd::{Fd, OurFd};

/// A descriptor to notify through: our own eventfd, closed when its last user goes, or one that the caller lends.
#[derive(Clone, Debug)]
pub(crate) enum EventFd {
    Own(Arc<OurFd>),
    /// `look_first`: it may block or break when written to; as it was when it was lent.
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

    /// Uses the caller's `fd`, which stays the caller's to close.
    pub(crate) fn borrowed(fd: RawFd) -> Result<Self> {
        // SAFETY: fcntl only looks at the number.
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

    /// Adds one to the counter. A full counter is as readable as it can be: fine.
    pub(crate) fn notify(&self) -> Result<()> {
        let fd = match self.ready(libc::POLLOUT)? {
            Some(fd) => fd,
            None => return Ok(()),
        };
        let one = 1u64.to_ne_bytes();
        // SAFETY: 8 bytes to read from.
        let result = unsafe { libc::write(fd, one.as_ptr().cast(), one.len()) };
        match if result < 0 { last_os_code() } else { 0 } {
            0 | libc::EAGAIN | libc::EINTR => Ok(()),
            code => Err(Error::from_os(format!("write(eventfd {})", fd), code)),
        }
    }

    /// Takes the counter and sets it to 0; None where it was 0.
    pub(crate) fn consume(&self) -> Result<Option<u64>> {
        let fd = match self.ready(libc::POLLIN)? {
            Some(fd) => fd,
            None => return Ok(None),
        };
        let mut count = [0u8; 8];
        // SAFETY: room for 8 bytes.
        let result = unsafe { libc::read(fd, count.as_mut_ptr().cast(), count.len()) };
        match if result < 0 { last_os_code() } else { 0 } {
            0 if result == 8 => Ok(Some(u64::from_ne_bytes(count))),
            0 | libc::EAGAIN | libc::EINTR => Ok(None),
            code => Err(Error::from_os(format!("read(eventfd {})", fd), code)),
        }
    }

    /// The number, where reading or writing, as `events` says, would neither block now nor raise SIGPIPE.
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
        // A socket whose peer has gone only hangs up, and can be written to; reading from what hangs up does no harm.
        let broken = if events == libc::POLLOUT { libc::POLLERR | libc::POLLHUP } else { libc::POLLERR };
        if poll.revents & (broken | libc::POLLNVAL) != 0 {
            let code = if poll.revents & broken != 0 { libc::EPIPE } else { libc::EBADF };
            return Err(Error::from_os(format!("poll(eventfd {})", fd), code));
        }
        Ok(if ready { Some(fd) } else { None })
    }
}

/// The descriptor through which a handle or a subscriber is told, and tells, that there is something to read; or none.
#[derive(Clone, Debug, Default)]
pub struct Notifier(Option<EventFd>);

impl Notifier {
    /// The descriptor's number, made by the first call where there is none, or where the program has closed it:
    /// non-blocking, close-on-exec.
    ///
    /// # Errors
    /// [`ErrorKind::System`](crate::ErrorKind::System) where there are no descriptors left.
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

    /// Uses `fd`, which stays the caller's to close; a negative number: none any more.
    ///
    /// # Errors
    /// [`ErrorKind::System`](crate::ErrorKind::System) where `fd` is not open.
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
            // The same number may be another file since it was lent last.
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

    /// Adds one to the counter, without blocking. False: there is no descriptor.
    ///
    /// # Errors
    /// [`ErrorKind::System`](crate::ErrorKind::System) where the descriptor was closed or is none to write to.
    ///
    /// ```
    /// # use data_pubsub_shared::Notifier;
    /// assert!(!Notifier::default().notify()?);
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    pub fn notify(&self) -> Result<bool> {
        self.0.as_ref().map_or(Ok(false), |eventfd| eventfd.notify().map(|()| true))
    }

    /// Takes the counter and sets it to 0, without blocking. None: it was 0, or there is no descriptor.
    ///
    /// # Errors
    /// [`ErrorKind::System`](crate::ErrorKind::System) where the descriptor was closed or is none to read from.
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
