//! Descriptors that are kept between calls. The program may close them, and reuse their numbers.
//!
//! A daemon closes all descriptors, and then opens its log, which gets a number that was ours. So each number is kept together
//! with the identity of its file, which is checked before the descriptor is used, returned or closed.
//!
//! `fstat` distinguishes files by their inodes, but all eventfds have the same. The ids of eventfds in `/proc/self/fdinfo` are
//! reused, as numbers are, and kcmp(2) needs a second descriptor, which a daemon closes, too. So each eventfd gets a mark: the
//! signal that fcntl(2) stores with an open file for `O_ASYNC`, which eventfds do not support. Eventfds of other code do not have
//! one. It is the cheapest system call to check: half of an `fstat`.

use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::raw::c_int;
use std::os::unix::io::{AsRawFd, FromRawFd, IntoRawFd, RawFd};

use crate::error::{last_os_code, Error, Result};
use crate::file::os_error;
use crate::sync::AtomicU32;
use crate::sync::Ordering::Relaxed;

/// The `libc` crate does not name them. They are the same on all 64-bit architectures.
const F_SETSIG: c_int = 10;
const F_GETSIG: c_int = 11;

/// The mark of eventfds that the program made and lends us. It is the same for all, because several processes may mark one.
const LENT: c_int = 3;
/// The marks of our own eventfds range from this to 64, the last signal. They are a prime number of marks, so that a program that
/// makes dozens of eventfds at a time does not give a reused number the same mark again.
const FIRST_MARK: u32 = 4;
const MARKS: u32 = 61;

/// The identity of the file behind a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Identity {
    Mark(c_int),
    Inode { device: u64, number: u64 },
}

impl Identity {
    /// Of an open descriptor that is not an eventfd.
    fn of(fd: RawFd) -> Result<Self> {
        let mut stat = MaybeUninit::<libc::stat>::uninit();
        // SAFETY: `stat` is valid for writes.
        if unsafe { libc::fstat(fd, stat.as_mut_ptr()) } < 0 {
            return Err(Error::last_os(format!("fstat({})", fd)));
        }
        // SAFETY: fstat has initialised it.
        let stat = unsafe { stat.assume_init() };
        Ok(Identity::Inode { device: stat.st_dev, number: stat.st_ino })
    }

    /// Of an eventfd, which gets the mark `new` if it does not have one yet.
    fn of_eventfd(fd: RawFd, new: c_int) -> Result<Self> {
        if mark(fd) == 0 {
            // SAFETY: fcntl changes an integer that is not used otherwise.
            unsafe { libc::fcntl(fd, F_SETSIG, new) };
        }
        match mark(fd) {
            0 | -1 => Identity::of(fd),
            mark => Ok(Identity::Mark(mark)),
        }
    }

    /// Whether `fd` is a descriptor of this file.
    pub(crate) fn is(self, fd: RawFd) -> bool {
        match self {
            Identity::Mark(own) => mark(fd) == own,
            Identity::Inode { .. } => Identity::of(fd).map_or(false, |found| found == self),
        }
    }
}

/// The mark of an eventfd: 0 if it has none, -1 if the descriptor is not open.
fn mark(fd: RawFd) -> c_int {
    // SAFETY: fcntl only reads.
    unsafe { libc::fcntl(fd, F_GETSIG) }
}

/// The number of a descriptor and the identity of its file. It does not own the descriptor.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fd {
    number: RawFd,
    file: Identity,
}

impl Fd {
    /// Of an open descriptor, and whether it is certainly an eventfd.
    pub(crate) fn note(number: RawFd) -> Result<(Self, bool)> {
        let link = std::fs::read_link(format!("/proc/self/fd/{}", number));
        let is_eventfd = link.map_or(false, |target| target.as_os_str() == "anon_inode:[eventfd]");
        let file = if is_eventfd { Identity::of_eventfd(number, LENT) } else { Identity::of(number) };
        Ok((Fd { number, file: file? }, is_eventfd))
    }

    /// The number, if it is still of the same file.
    #[inline]
    pub(crate) fn get(&self) -> Option<RawFd> {
        if self.file.is(self.number) {
            return Some(self.number);
        }
        None
    }

    pub(crate) fn number(&self) -> RawFd {
        self.number
    }

    pub(crate) fn file(&self) -> Identity {
        self.file
    }
}

/// A descriptor of our own. It is closed when this is dropped, unless the program has closed it.
#[derive(Debug)]
pub(crate) struct OurFd(Fd);

impl OurFd {
    /// A new eventfd: counter 0, non-blocking, close-on-exec.
    pub(crate) fn eventfd() -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        // SAFETY: no preconditions.
        let file = made("eventfd", unsafe { libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC) })?;
        // Relaxed: a counter.
        let mark = FIRST_MARK + NEXT.fetch_add(1, Relaxed) % MARKS;
        let identity = Identity::of_eventfd(file.as_raw_fd(), mark as c_int)?;
        Ok(OurFd(Fd { number: file.into_raw_fd(), file: identity }))
    }

    pub(crate) fn of_file(file: File) -> Result<Self> {
        let identity = Identity::of(file.as_raw_fd())?;
        Ok(OurFd(Fd { number: file.into_raw_fd(), file: identity }))
    }
}

impl std::ops::Deref for OurFd {
    type Target = Fd;

    fn deref(&self) -> &Fd {
        &self.0
    }
}

impl Drop for OurFd {
    fn drop(&mut self) {
        if let Some(number) = self.get() {
            // SAFETY: it is still the file that we opened, and is not used after its owner was dropped.
            unsafe { libc::close(number) };
        }
    }
}

/// The result of a system call that makes a descriptor.
pub(crate) fn made(call: &str, fd: RawFd) -> Result<File> {
    if fd < 0 {
        return Err(Error::last_os(call));
    }
    // SAFETY: a new descriptor, which is owned only here.
    above_standard(unsafe { File::from_raw_fd(fd) }).map_err(|e| os_error(call, &e))
}

/// The same file with a number of 3 or more. If a program has closed its standard error, warnings are written to the file that gets
/// number 2.
pub(crate) fn above_standard(file: File) -> io::Result<File> {
    if file.as_raw_fd() > libc::STDERR_FILENO {
        return Ok(file);
    }
    duplicate(file.as_raw_fd()).map_err(io::Error::from_raw_os_error)
}

/// A duplicate of `fd`, close-on-exec, with a number of 3 or more; or the system's error number.
pub(crate) fn duplicate(fd: RawFd) -> std::result::Result<File, i32> {
    // SAFETY: fcntl only uses the number.
    let own = unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, libc::STDERR_FILENO + 1) };
    if own < 0 {
        return Err(last_os_code());
    }
    // SAFETY: a new descriptor, which is owned only here.
    Ok(unsafe { File::from_raw_fd(own) })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Puts the file behind `from` in the place of `to`, as a close and the next open do.
    fn replace(from: &impl AsRawFd, to: RawFd) {
        // SAFETY: two numbers of ours.
        assert_eq!(unsafe { libc::dup2(from.as_raw_fd(), to) }, to);
    }

    /// A number that no other test gets: dropped or closed by its test.
    fn high(file: File) -> File {
        static NEXT: AtomicU32 = AtomicU32::new(500);
        let least = NEXT.fetch_add(1, Relaxed) as c_int;
        // SAFETY: as in `duplicate`.
        unsafe { File::from_raw_fd(libc::fcntl(file.as_raw_fd(), libc::F_DUPFD_CLOEXEC, least)) }
    }

    fn file_behind(own: &OurFd) -> File {
        duplicate(own.number()).unwrap()
    }

    #[test]
    fn a_number_that_is_another_files_is_not_closed() {
        let other = File::open("/dev/null").unwrap();
        for own in [OurFd::eventfd().unwrap(), OurFd::of_file(File::open("/").unwrap()).unwrap()] {
            let number = high(file_behind(&own)).into_raw_fd();
            let own = OurFd(Fd { number, file: own.file });
            assert_eq!(own.get(), Some(number));
            replace(&other, number);
            assert_eq!(own.get(), None);
            drop(own);
            assert!(Identity::of(other.as_raw_fd()).unwrap().is(number), "still open");
            // SAFETY: of this test.
            unsafe { libc::close(number) };
        }
    }

    #[test]
    fn eventfds_are_told_apart() {
        let own: Vec<_> = (0..20).map(|_| OurFd::eventfd().unwrap()).collect();
        for (i, a) in own.iter().enumerate() {
            assert!(own.iter().enumerate().all(|(j, b)| a.file().is(b.number()) == (i == j)));
        }
        // SAFETY: no preconditions.
        let made = || made("eventfd", unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) }).unwrap();
        let strange = made();
        assert!(own.iter().all(|own| !own.file().is(strange.as_raw_fd())));
        let (noted, is_eventfd) = Fd::note(strange.as_raw_fd()).unwrap();
        assert!(is_eventfd && noted.get() == Some(strange.as_raw_fd()));
        let (again, _) = Fd::note(made().as_raw_fd()).unwrap();
        assert_eq!(again.file(), noted.file(), "the first mark stays, also of two at the same time");
        assert_eq!(Fd::note(own[0].number()).unwrap().0.file(), own[0].file(), "a mark stays");
    }

    #[test]
    fn a_duplicate_is_the_same_file() {
        let own = OurFd::eventfd().unwrap();
        assert!(own.file().is(file_behind(&own).as_raw_fd()));
        assert!(duplicate(-1).is_err() && Fd::note(-1).is_err());
    }
}
