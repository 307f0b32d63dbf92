//! Opening and creating rings, and their sizes and statistics.

use std::ffi::CString;
use std::fmt;
use std::marker::PhantomData;
use std::os::unix::io::BorrowedFd;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::message::check_variant;
use super::{Message, Publisher, Subscriber, Text};
use crate::{Error, ErrorKind, Options, Reader, Result, Stats, SubscribeOptions};

/// A handle on a shared ring of `T`s: `i64`, `i32`, `i16`, `f64`, `str` or `[u8]`. A clone is another handle on the same mapping.
///
/// The ring itself stays in its file, or in the other processes that have it mapped, after the handle is dropped.
///
/// ```
/// use data_pubsub_shared::typed::Ring;
///
/// let path = std::env::temp_dir().join(format!("typed-{}.ring", std::process::id()));
/// let ring = Ring::<i64>::builder().capacity(1024).open(&path)?;
/// let mut subscriber = ring.subscribe();
/// // In this or any other process:
/// Ring::<i64>::open(&path)?.publisher()?.publish(42)?;
/// assert_eq!(subscriber.recv(), Ok(42));
/// ring.unlink()?;
/// # Ok::<(), data_pubsub_shared::Error>(())
/// ```
pub struct Ring<T: Message + ?Sized> {
    ring: Arc<crate::Ring>,
    carries: PhantomData<fn(Box<T>) -> Box<T>>,
}

impl<T: Message + ?Sized> Ring<T> {
    /// Returns a builder, to create a ring.
    ///
    /// ```
    /// use data_pubsub_shared::typed::Ring;
    ///
    /// let ring = Ring::<i16>::builder().capacity(100).anonymous()?;
    /// assert_eq!(ring.capacity(), 128);
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    pub fn builder() -> Builder<T> {
        Builder { options: Options::default(), carries: PhantomData }
    }

    /// Opens the existing ring at `path`.
    ///
    /// # Errors
    /// [`ErrorKind::System`] if there is no file, or a system call fails; [`ErrorKind::Incompatible`] if the file is not a ring of
    /// `T`s.
    ///
    /// ```
    /// use data_pubsub_shared::typed::Ring;
    ///
    /// let error = Ring::<str>::open("/nowhere/news.ring").unwrap_err();
    /// assert_eq!(error.to_string(), "open(/nowhere/news.ring): No such file or directory");
    /// ```
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        match Options::default().open(T::VARIANT, path) {
            Err(error) if error.kind() == ErrorKind::Argument && !path.exists() => {
                Err(Error::from_os(format!("open({})", path.display()), libc::ENOENT))
            }
            result => result.map(Self::of),
        }
    }

    /// Opens the ring at `path` for reading only. Needs no write permission, and cannot change the ring. Publishers do not wake its
    /// subscribers: a subscriber that waits polls at least every 5 milliseconds.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    ///
    /// ```
    /// use data_pubsub_shared::typed::Ring;
    ///
    /// let path = std::env::temp_dir().join(format!("read-only-{}.ring", std::process::id()));
    /// let ring = Ring::<i64>::builder().capacity(16).open(&path)?;
    /// let read_only = Ring::<i64>::open_read_only(&path)?;
    /// let mut subscriber = read_only.subscribe();
    /// assert!(read_only.publisher().is_err());
    /// ring.publisher()?.publish(1)?;
    /// assert_eq!(subscriber.recv(), Ok(1));
    /// ring.unlink()?;
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    pub fn open_read_only(path: impl AsRef<Path>) -> Result<Self> {
        crate::Ring::open_read_only(T::VARIANT, path.as_ref()).map(Self::of)
    }

    /// Opens the ring in the file of `fd`, for instance a descriptor received from another process. The descriptor is duplicated.
    /// If it is open for reading only, so is the ring.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    ///
    /// ```
    /// use data_pubsub_shared::typed::Ring;
    /// use std::os::unix::io::AsFd;
    ///
    /// let path = std::env::temp_dir().join(format!("passed-{}.ring", std::process::id()));
    /// let ring = Ring::<i64>::builder().capacity(16).open(&path)?;
    /// let file = std::fs::File::open(&path).unwrap();
    /// ring.unlink()?;
    /// let same = Ring::<i64>::from_fd(file.as_fd())?;
    /// ring.publisher()?.publish(7)?;
    /// assert_eq!(same.subscribe_oldest().recv(), Ok(7));
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    pub fn from_fd(fd: BorrowedFd<'_>) -> Result<Self> {
        crate::Ring::from_fd(T::VARIANT, fd).map(Self::of)
    }

    /// Converts a handle of the crate's root into a typed one.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] if the ring does not carry `T`s.
    ///
    /// ```
    /// use data_pubsub_shared::typed::Ring;
    /// use data_pubsub_shared::Variant;
    ///
    /// let erased = data_pubsub_shared::Ring::anonymous(Variant::Int32, 16, 0)?;
    /// let ring = Ring::<i32>::from_erased(erased)?;
    /// assert!(Ring::<i64>::from_erased(data_pubsub_shared::Ring::anonymous(Variant::Int32, 16, 0)?).is_err());
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    pub fn from_erased(ring: crate::Ring) -> Result<Self> {
        check_variant::<T>(ring.variant())?;
        Ok(Self::of(ring))
    }

    fn of(ring: crate::Ring) -> Self {
        Ring { ring: Arc::new(ring), carries: PhantomData }
    }

    /// Returns the handle as the type of the crate's root, for calls that only that one has.
    ///
    /// ```
    /// use data_pubsub_shared::typed::Ring;
    /// use data_pubsub_shared::Variant;
    ///
    /// let ring = Ring::<str>::builder().capacity(16).anonymous()?;
    /// assert_eq!(ring.erased().variant(), Variant::Str);
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    pub fn erased(&self) -> &crate::Ring {
        &self.ring
    }

    /// Makes a publisher. Any number of publishers, in any threads and processes, may publish at the same time.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] if the ring was opened for reading only.
    ///
    /// ```
    /// use data_pubsub_shared::typed::Ring;
    ///
    /// let publisher = Ring::<i64>::builder().capacity(16).anonymous()?.publisher()?;
    /// publisher.publish(1)?;
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    pub fn publisher(&self) -> Result<Publisher<T>> {
        if self.ring.is_read_only() {
            return Err(Error::new(ErrorKind::Argument, "this ring is read-only"));
        }
        Ok(Publisher::new(Arc::clone(&self.ring)))
    }

    /// Makes a subscriber that receives messages published from now on.
    ///
    /// The subscriber gets an entry in the ring's table of readers, unless the table is full or the ring was opened for reading
    /// only. Publishers of a lossless ring do not wait for a subscriber without an entry;
    /// [`subscribe_with`](Self::subscribe_with) fails instead.
    ///
    /// ```
    /// use data_pubsub_shared::typed::{Ring, TryRecvError};
    ///
    /// let ring = Ring::<i64>::builder().capacity(16).anonymous()?;
    /// ring.publisher()?.publish(1)?;
    /// assert_eq!(ring.subscribe().try_recv(), Err(TryRecvError::Empty));
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    pub fn subscribe(&self) -> Subscriber<T> {
        Subscriber::new(self.ring.subscribe(false))
    }

    /// Makes a subscriber that starts at the oldest message that the ring still holds; otherwise like
    /// [`subscribe`](Self::subscribe).
    ///
    /// ```
    /// use data_pubsub_shared::typed::Ring;
    ///
    /// let ring = Ring::<i64>::builder().capacity(16).anonymous()?;
    /// ring.publisher()?.publish(1)?;
    /// assert_eq!(ring.subscribe_oldest().try_recv(), Ok(1));
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    pub fn subscribe_oldest(&self) -> Subscriber<T> {
        Subscriber::new(self.ring.subscribe(true))
    }

    /// Makes a subscriber as `options` say. A named subscriber continues where the last subscriber of that name stopped;
    /// publishers of a lossless ring do not wait for a lossy one.
    ///
    /// # Errors
    /// - [`ErrorKind::Busy`] if a subscriber of this name is alive, or the table of readers is full: only lossy subscribers
    ///   without a name, and those of rings that are not lossless, need no entry.
    /// - [`ErrorKind::Argument`] if the name is not 1 to 47 bytes without a NUL, and for a name if the ring was opened for reading
    ///   only.
    /// - [`ErrorKind::Incompatible`] if other processes could not tell whether this reader of a lossless ring is alive.
    ///
    /// ```
    /// use data_pubsub_shared::typed::Ring;
    /// use data_pubsub_shared::SubscribeOptions;
    ///
    /// let ring = Ring::<i64>::builder().capacity(16).anonymous()?;
    /// let audit = SubscribeOptions::named("audit");
    /// let mut subscriber = ring.subscribe_with(&audit)?;
    /// assert!(ring.subscribe_with(&audit).is_err());
    /// ring.publisher()?.publish_all(&[1, 2])?;
    /// assert_eq!(subscriber.recv(), Ok(1));
    /// drop(subscriber);
    /// assert_eq!(ring.subscribe_with(&audit)?.recv(), Ok(2));
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    pub fn subscribe_with(&self, options: &SubscribeOptions<'_>) -> Result<Subscriber<T>> {
        self.ring.subscribe_with(options).map(Subscriber::new)
    }

    /// Returns the subscribers in the table of readers, in no particular order.
    ///
    /// ```
    /// # use data_pubsub_shared::typed::Ring;
    /// let ring = Ring::<i64>::builder().capacity(16).anonymous()?;
    /// let subscriber = ring.subscribe();
    /// ring.publisher()?.publish(1)?;
    /// assert_eq!(ring.readers()[0].lag, 1);
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    pub fn readers(&self) -> Vec<Reader> {
        self.ring.readers()
    }

    /// Returns the number of slots, a power of two: the maximum number of messages that the ring holds.
    ///
    /// ```
    /// # use data_pubsub_shared::typed::Ring;
    /// assert_eq!(Ring::<i64>::builder().capacity(1000).anonymous()?.capacity(), 1024);
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    pub fn capacity(&self) -> u64 {
        self.ring.capacity()
    }

    /// Returns the number of positions claimed since the last clear: the position of the next message.
    ///
    /// ```
    /// # use data_pubsub_shared::typed::Ring;
    /// let ring = Ring::<i64>::builder().capacity(16).anonymous()?;
    /// ring.publisher()?.publish_all(&[5, 6])?;
    /// assert_eq!(ring.write_position(), 2);
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    pub fn write_position(&self) -> u64 {
        self.ring.write_pos()
    }

    /// Returns sizes and counts of the ring.
    ///
    /// ```
    /// # use data_pubsub_shared::typed::Ring;
    /// let ring = Ring::<i64>::builder().capacity(16).anonymous()?;
    /// ring.publisher()?.publish(5)?;
    /// assert_eq!(ring.stats().publish_ok, 1);
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    pub fn stats(&self) -> Stats {
        self.ring.stats()
    }

    /// Returns the path as it was given; `None` for rings in memory.
    ///
    /// ```
    /// # use data_pubsub_shared::typed::Ring;
    /// assert_eq!(Ring::<i64>::builder().capacity(16).anonymous()?.path(), None);
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    pub fn path(&self) -> Option<&Path> {
        self.ring.path()
    }

    /// Discards all messages published so far, in one atomic step. Positions start at 0 again. Subscribers continue with the next
    /// message; the discarded messages do not count as lost.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] if the ring was opened for reading only.
    ///
    /// ```
    /// # use data_pubsub_shared::typed::{Ring, TryRecvError};
    /// let ring = Ring::<i64>::builder().capacity(16).anonymous()?;
    /// let mut subscriber = ring.subscribe();
    /// ring.publisher()?.publish(5)?;
    /// ring.clear()?;
    /// assert_eq!(subscriber.try_recv(), Err(TryRecvError::Empty));
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    pub fn clear(&self) -> Result<()> {
        self.ring.clear()
    }

    /// Removes the ring's file. Does nothing if the file is already gone. Subscribers that wait return
    /// [`Gone`](super::RecvError::Gone) once they have read the remaining messages.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] on a ring without a path, [`ErrorKind::Incompatible`] if the path now leads to another file,
    /// [`ErrorKind::System`] if the system call fails.
    ///
    /// ```
    /// # use data_pubsub_shared::typed::{RecvError, Ring};
    /// let path = std::env::temp_dir().join(format!("unlink-{}.ring", std::process::id()));
    /// let ring = Ring::<i64>::builder().capacity(16).open(&path)?;
    /// let mut subscriber = ring.subscribe();
    /// ring.publisher()?.publish(1)?;
    /// ring.unlink()?;
    /// assert_eq!(subscriber.recv(), Ok(1));
    /// assert_eq!(subscriber.recv(), Err(RecvError::Gone));
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    pub fn unlink(&self) -> Result<()> {
        self.ring.unlink()
    }
}

impl<T: Message + ?Sized> Clone for Ring<T> {
    fn clone(&self) -> Self {
        Ring { ring: Arc::clone(&self.ring), carries: PhantomData }
    }
}

impl<T: Message + ?Sized> fmt::Debug for Ring<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Ring").field(&self.ring).finish()
    }
}

/// Creates rings: first the options of the new ring, then a call that creates it. An existing ring keeps its own sizes.
///
/// ```
/// use data_pubsub_shared::typed::Ring;
///
/// let path = std::env::temp_dir().join(format!("builder-{}.ring", std::process::id()));
/// let ring = Ring::<str>::builder().capacity(4096).message_size(1000).publishers(8).mode(0o660).open(&path)?;
/// assert_eq!(ring.stats().msg_size, 1000);
/// ring.unlink()?;
/// # Ok::<(), data_pubsub_shared::Error>(())
/// ```
#[must_use]
pub struct Builder<T: Message + ?Sized> {
    options: Options,
    carries: PhantomData<fn(Box<T>) -> Box<T>>,
}

impl<T: Message + ?Sized> Builder<T> {
    /// Number of slots, 1 ..= 2^31, rounded up to a power of two, at least 2. Without a capacity, [`open`](Self::open) opens only
    /// an existing ring.
    ///
    /// ```
    /// # use data_pubsub_shared::typed::Ring;
    /// assert_eq!(Ring::<i64>::builder().capacity(1).anonymous()?.capacity(), 2);
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    pub fn capacity(mut self, slots: u64) -> Self {
        self.options.capacity = slots;
        self
    }

    /// Permission bits of the file; the umask is ignored. Default: 0600. The owner must be able to read and write.
    ///
    /// ```
    /// # use data_pubsub_shared::typed::Ring;
    /// use std::os::unix::fs::PermissionsExt;
    ///
    /// let path = std::env::temp_dir().join(format!("mode-{}.ring", std::process::id()));
    /// let ring = Ring::<i64>::builder().capacity(16).mode(0o664).open(&path)?;
    /// assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o664);
    /// ring.unlink()?;
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    pub fn mode(mut self, bits: u32) -> Self {
        self.options.mode = bits;
        self
    }

    /// Whether publishers wait for readers, instead of overwriting messages that a reader has not read. Default: false.
    /// Publishers do not wait for a reader whose process has exited, but they do wait for one that is stopped.
    ///
    /// ```
    /// # use data_pubsub_shared::typed::Ring;
    /// let ring = Ring::<i64>::builder().capacity(2).lossless(true).anonymous()?;
    /// let (mut subscriber, publisher) = (ring.subscribe(), ring.publisher()?);
    /// std::thread::spawn(move || (0..100).for_each(|i| publisher.publish(i).unwrap()));
    /// assert!((0..100).all(|i| subscriber.recv() == Ok(i)));
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    pub fn lossless(mut self, lossless: bool) -> Self {
        self.options.lossless = lossless;
        self
    }

    /// How long publishers of a lossless ring wait for a named reader that is away, in whole milliseconds, up to 49 days.
    /// Default: 0.
    ///
    /// ```
    /// # use data_pubsub_shared::typed::Ring;
    /// use std::time::Duration;
    ///
    /// let ring = Ring::<i64>::builder().capacity(16).lossless(true).keep(Duration::from_secs(5)).anonymous()?;
    /// assert_eq!(ring.stats().keep_ms, 5000);
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    pub fn keep(mut self, time: Duration) -> Self {
        self.options.keep_ms = u32::try_from(time.as_millis()).unwrap_or(u32::MAX);
        self
    }

    /// Number of entries of the table of readers, 1 ..= 65,535, or [`NO_READERS`](crate::NO_READERS) for no table. Default: 64.
    ///
    /// ```
    /// # use data_pubsub_shared::typed::Ring;
    /// assert_eq!(Ring::<i64>::builder().capacity(16).readers(8).anonymous()?.stats().readers, 8);
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    pub fn readers(mut self, count: u64) -> Self {
        self.options.readers = count;
        self
    }

    /// Whether all pages of the ring are mapped for this process when it is opened, instead of at the first access to each. Costs
    /// some 100 ms per GiB. Default: false. Needs Linux 5.14 or later.
    ///
    /// ```
    /// # use data_pubsub_shared::typed::Ring;
    /// let ring = Ring::<i64>::builder().capacity(16).prefault(true).anonymous()?;
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    pub fn prefault(mut self, prefault: bool) -> Self {
        self.options.prefault = prefault;
        self
    }

    /// Opens the ring at `path`, or creates it. Creation is atomic: if several processes open the path at the same time, one of
    /// them creates the ring and all get the same ring. The file's disk space is reserved.
    ///
    /// # Errors
    /// - [`ErrorKind::Argument`] if a size is out of its range.
    /// - [`ErrorKind::Incompatible`] if the file is not a ring of `T`s.
    /// - [`ErrorKind::System`] if a system call fails: no such directory, no permission, disk full, a symbolic link.
    ///
    /// ```
    /// # use data_pubsub_shared::typed::Ring;
    /// let path = std::env::temp_dir().join(format!("open-{}.ring", std::process::id()));
    /// let ring = Ring::<i64>::builder().capacity(16).open(&path)?;
    /// assert!(Ring::<str>::builder().capacity(16).open(&path).is_err());
    /// ring.unlink()?;
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    pub fn open(self, path: impl AsRef<Path>) -> Result<Ring<T>> {
        self.options.open(T::VARIANT, path.as_ref()).map(Ring::of)
    }

    /// Creates a ring without a name, for the threads of this process and the children that it forks.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] if a size is out of its range, [`ErrorKind::System`] if there is too little memory.
    ///
    /// ```
    /// # use data_pubsub_shared::typed::Ring;
    /// let ring = Ring::<i64>::builder().capacity(16).anonymous()?;
    /// assert!(Ring::<i64>::builder().anonymous().is_err());
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    pub fn anonymous(self) -> Result<Ring<T>> {
        self.options.anonymous(T::VARIANT).map(Ring::of)
    }

    /// Creates a ring in a memfd. `name` (up to 249 bytes without a NUL) is what `/proc` shows. The memfd is close-on-exec, and its
    /// size is sealed. [`crate::Ring::as_memfd`] returns its descriptor, to pass to other processes.
    ///
    /// # Errors
    /// As [`anonymous`](Self::anonymous).
    ///
    /// ```
    /// # use data_pubsub_shared::typed::Ring;
    /// let ring = Ring::<i64>::builder().capacity(16).memfd("ticks")?;
    /// assert!(ring.erased().as_memfd().is_some());
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    pub fn memfd(self, name: &str) -> Result<Ring<T>> {
        let name = CString::new(name).map_err(|_| Error::new(ErrorKind::Argument, "name must not contain NUL"))?;
        self.options.memfd(T::VARIANT, &name).map(Ring::of)
    }
}

impl<T: Text + ?Sized> Builder<T> {
    /// Maximum length of a message in bytes, 1 ..= 2^31 - 1. Default: 256.
    ///
    /// ```
    /// # use data_pubsub_shared::typed::Ring;
    /// let ring = Ring::<str>::builder().capacity(16).message_size(3).anonymous()?;
    /// assert!(ring.publisher()?.publish("four").is_err());
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    pub fn message_size(mut self, bytes: u64) -> Self {
        self.options.msg_size = bytes;
        self
    }

    /// Number of publishers that can be in the middle of a publish at the same time, 1 ..= 65,536. Each has a spare block of the
    /// message size. Default: as many as fit into 4 MiB, but 16 to 64.
    ///
    /// ```
    /// # use data_pubsub_shared::typed::Ring;
    /// let ring = Ring::<str>::builder().capacity(16).publishers(2).anonymous()?;
    /// assert_eq!(ring.stats().publishers, 2);
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    pub fn publishers(mut self, count: u64) -> Self {
        self.options.publishers = count;
        self
    }

    /// Whether each message carries its wall-clock publish time and the pid of its publisher, in 16 more bytes per message.
    /// Default: false. [`Subscriber::stamp`] returns both.
    ///
    /// ```
    /// # use data_pubsub_shared::typed::Ring;
    /// assert!(Ring::<str>::builder().capacity(16).stamped(true).anonymous()?.stats().stamped);
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    pub fn stamped(mut self, stamped: bool) -> Self {
        self.options.stamped = stamped;
        self
    }
}

impl<T: Message + ?Sized> Clone for Builder<T> {
    fn clone(&self) -> Self {
        Builder { options: self.options, carries: PhantomData }
    }
}

impl<T: Message + ?Sized> fmt::Debug for Builder<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Builder").field(&self.options).finish()
    }
}
