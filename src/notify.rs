//! eventfds: a counter behind a descriptor, for programs that wait in `poll`, `epoll` or an event loop.
//!
//! Nothing here ever blocks, whatever descriptor the caller lends us.

use std::fs::File;
use std::os::unix::io::{AsRawFd, FromRawFd, RawFd};
use std::sync::Arc;

use crate::error::{last_os_code, Error, Result};

/// A descriptor to notify through: our own eventfd, closed when its last user goes, or one that the caller lends.
#[derive(Clone, Debug)]
pub(crate) enum EventFd {
    Own(Arc<File>),
    /// `look_first`: it may block or break when written to; as it was when it was lent.
    Borrowed {
        fd: RawFd,
        look_first: bool,
    },
}

/// Whether an eventfd is surely what `fd` is.
pub(crate) fn is_eventfd(fd: RawFd) -> bool {
    let link = std::fs::read_link(format!("/proc/self/fd/{}", fd));
    link.map_or(false, |target| target.as_os_str() == "anon_inode:[eventfd]")
}

impl EventFd {
    /// A new eventfd: counter 0, non-blocking, close-on-exec.
    pub(crate) fn new() -> Result<Self> {
        // SAFETY: no preconditions.
        let fd = unsafe { libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC) };
        if fd < 0 {
            return Err(Error::last_os("eventfd"));
        }
        // SAFETY: a new descriptor that nobody else owns.
        Ok(EventFd::Own(Arc::new(unsafe { File::from_raw_fd(fd) })))
    }

    /// Uses the caller's `fd`, which stays the caller's to close.
    pub(crate) fn borrowed(fd: RawFd) -> Result<Self> {
        // SAFETY: fcntl only looks at the number.
        let flags = unsafe { libc::fcntl(fd, libc::F_GETFL) };
        if flags < 0 {
            return Err(Error::last_os(format!("fcntl({}, F_GETFL)", fd)));
        }
        Ok(EventFd::Borrowed { fd, look_first: !is_eventfd(fd) || flags & libc::O_NONBLOCK == 0 })
    }

    pub(crate) fn fd(&self) -> RawFd {
        match self {
            EventFd::Own(file) => file.as_raw_fd(),
            EventFd::Borrowed { fd, .. } => *fd,
        }
    }

    /// Adds one to the counter. A full counter is as readable as it can be: fine.
    pub(crate) fn notify(&self) -> Result<()> {
        if !self.is_ready(libc::POLLOUT)? {
            return Ok(());
        }
        let one = 1u64.to_ne_bytes();
        // SAFETY: 8 bytes to read from.
        let result = unsafe { libc::write(self.fd(), one.as_ptr().cast(), one.len()) };
        match if result < 0 { last_os_code() } else { 0 } {
            0 | libc::EAGAIN | libc::EINTR => Ok(()),
            code => Err(Error::from_os(format!("write(eventfd {})", self.fd()), code)),
        }
    }

    /// Takes the counter and sets it to 0; None where it was 0.
    pub(crate) fn consume(&self) -> Result<Option<u64>> {
        if !self.is_ready(libc::POLLIN)? {
            return Ok(None);
        }
        let mut count = [0u8; 8];
        // SAFETY: room for 8 bytes.
        let result = unsafe { libc::read(self.fd(), count.as_mut_ptr().cast(), count.len()) };
        match if result < 0 { last_os_code() } else { 0 } {
            0 if result == 8 => Ok(Some(u64::from_ne_bytes(count))),
            0 | libc::EAGAIN | libc::EINTR => Ok(None),
            code => Err(Error::from_os(format!("read(eventfd {})", self.fd()), code)),
        }
    }

    /// Whether reading or writing, as `events` says, would neither block now nor raise SIGPIPE.
    fn is_ready(&self, events: i16) -> Result<bool> {
        let fd = match *self {
            EventFd::Borrowed { fd, look_first: true } => fd,
            _ => return Ok(true),
        };
        let mut poll = libc::pollfd { fd, events, revents: 0 };
        // SAFETY: one pollfd, and no waiting.
        let ready = unsafe { libc::poll(&mut poll, 1, 0) } > 0;
        if poll.revents & (libc::POLLERR | libc::POLLNVAL) != 0 {
            let code = if poll.revents & libc::POLLERR != 0 { libc::EPIPE } else { libc::EBADF };
            return Err(Error::from_os(format!("poll(eventfd {})", fd), code));
        }
        Ok(ready)
    }
}

/// The descriptor through which a handle or a subscriber is told, and tells, that there is something to read; or none.
#[derive(Clone, Debug, Default)]
pub struct Notifier(Option<EventFd>);

impl Notifier {
    /// The descriptor's number, made by the first call where there is none: non-blocking, close-on-exec.
    ///
    /// # Errors
    /// [`ErrorKind::System`](crate::ErrorKind::System) where there are no descriptors left.
    pub fn make(&mut self) -> Result<RawFd> {
        match &self.0 {
            Some(eventfd) => Ok(eventfd.fd()),
            None => Ok(self.0.insert(EventFd::new()?).fd()),
        }
    }

    /// Uses `fd`, which stays the caller's to close; a negative number: none any more.
    ///
    /// # Errors
    /// [`ErrorKind::System`](crate::ErrorKind::System) where `fd` is not open.
    pub fn lend(&mut self, fd: RawFd) -> Result<()> {
        if fd < 0 {
            self.0 = None;
        } else if self.fd() != Some(fd) {
            self.0 = Some(EventFd::borrowed(fd)?);
        }
        Ok(())
    }

    /// The descriptor's number, if there is one.
    pub fn fd(&self) -> Option<RawFd> {
        self.0.as_ref().map(EventFd::fd)
    }

    /// Adds one to the counter, without blocking. False: there is no descriptor.
    ///
    /// # Errors
    /// [`ErrorKind::System`](crate::ErrorKind::System) where the descriptor was closed or is none to write to.
    pub fn notify(&self) -> Result<bool> {
        self.0.as_ref().map_or(Ok(false), |eventfd| eventfd.notify().map(|()| true))
    }

    /// Takes the counter and sets it to 0, without blocking. None: it was 0, or there is no descriptor.
    ///
    /// # Errors
    /// [`ErrorKind::System`](crate::ErrorKind::System) where the descriptor was closed or is none to read from.
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
