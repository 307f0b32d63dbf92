//! Opening and creating rings, and what can be asked of them.

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

/// A handle on a shared ring of `T`s: `i64`, `i32`, `i16`, `f64`, `str` or `[u8]`. Cloning it gives another handle on the same mapping.
///
/// The ring itself lives on in its file, or with the other processes that have it mapped.
///
/// ```
/// use data_pubsub_shared::typed::Ring;
///
/// let path = std::env::temp_dir().join(format!("typed-{}.ring", std::process::id()));
/// let ring = Ring::<i64>::builder().capacity(1024).open(&path)?;
/// let mut subscriber = ring.subscribe();
/// // In any other process, too:
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
    /// What a new ring is to be like.
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

    /// Opens the ring at `path`, which exists.
    ///
    /// # Errors
    /// [`ErrorKind::System`] where there is no file, or the system refuses; [`ErrorKind::Incompatible`] for a file that is not a
    /// ring of `T`s.
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

    /// Opens the ring at `path` for reading only. It needs no permission to write, and cannot harm the ring; its
    /// subscribers look for messages every 5 milliseconds at least, since they cannot ask to be woken.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    ///
    /// ```
    /// use data_pubsub_shared::typed::Ring;
    ///
    /// let path = std::env::temp_dir().join(format!("looking-{}.ring", std::process::id()));
    /// let ring = Ring::<i64>::builder().capacity(16).open(&path)?;
    /// let looking = Ring::<i64>::open_read_only(&path)?;
    /// let mut subscriber = looking.subscribe();
    /// assert!(looking.publisher().is_err());
    /// ring.publisher()?.publish(1)?;
    /// assert_eq!(subscriber.recv(), Ok(1));
    /// ring.unlink()?;
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    pub fn open_read_only(path: impl AsRef<Path>) -> Result<Self> {
        crate::Ring::open_read_only(T::VARIANT, path.as_ref()).map(Self::of)
    }

    /// Opens the ring behind a descriptor, as another process passed it on; it is duplicated. For reading only where `fd` is
    /// open for that alone.
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

    /// A typed handle in the place of one that is not.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] where the ring carries something else.
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

    /// The handle whose type does not say what it carries.
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

    /// A handle that publishes. Any number of them may publish at once, in any threads and processes.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] where the ring was opened for reading only.
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

    /// A subscriber to what is published from now on. It stands in the ring's table of readers where that has room; publishers of
    /// a lossless ring do not wait for one that does not ([`subscribe_with`](Self::subscribe_with) refuses instead).
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

    /// A subscriber that begins at the oldest message that the ring still holds.
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

    /// A subscriber by its wishes: with a name, whose place is kept while it is away; or one that publishers of a lossless ring do
    /// not wait for.
    ///
    /// # Errors
    /// [`ErrorKind::Busy`] where a subscriber of this name lives, or the table of readers has no room and that matters;
    /// [`ErrorKind::Argument`] for what is no name; [`ErrorKind::Incompatible`] where nobody could tell whether this reader of
    /// a lossless ring lives.
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

    /// The subscribers in the table of readers, in no order.
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

    /// Slots: so many messages the ring holds at most.
    ///
    /// ```
    /// # use data_pubsub_shared::typed::Ring;
    /// assert_eq!(Ring::<i64>::builder().capacity(1000).anonymous()?.capacity(), 1024);
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    pub fn capacity(&self) -> u64 {
        self.ring.capacity()
    }

    /// Positions claimed since the last clear: where the next message goes.
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

    /// What can be known without touching messages.
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

    /// The path as it was given; None for rings in memory.
    ///
    /// ```
    /// # use data_pubsub_shared::typed::Ring;
    /// assert_eq!(Ring::<i64>::builder().capacity(16).anonymous()?.path(), None);
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// ```
    pub fn path(&self) -> Option<&Path> {
        self.ring.path()
    }

    /// Discards, in one step, everything published before. Positions start at 0 again; subscribers go on with the next
    /// message, and nothing counts as lost.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] where the ring was opened for reading only.
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

    /// Removes the ring's file, and no other one; it may be gone already. Subscribers that wait are told that it is
    /// [`Gone`](super::RecvError::Gone), once they have read what is in it.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] on a ring without a path, [`ErrorKind::Incompatible`] where the path leads to another file by
    /// now, [`ErrorKind::System`] where the system refuses.
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

/// What a new ring is to be like, and the ways to create one. A ring that exists keeps its own sizes.
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
    /// Slots, 1 ..= 2^31, rounded up to a power of two, at least 2. Without a capacity only a ring that exists is opened.
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

    /// The permission bits of a file, whatever the umask; default 0600. The owner must be able to read and write.
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

    /// Whether publishers wait for readers, instead of overwriting what one of them has not read. A reader that has died is not
    /// waited for; one that is stopped is.
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

    /// For how long publishers of a lossless ring wait for a named reader that is away: whole milliseconds, up to 49 days.
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

    /// How many subscribers the table of readers has room for, 1 ..= 65,535; default 64; [`NO_READERS`](crate::NO_READERS): there
    /// is no table.
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

    /// Whether every page of the ring is mapped for this process when it is opened, instead of at the first message in it: costs
    /// some 100 ms a GiB. Linux 5.14 or later.
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

    /// Opens the ring at `path`, or creates it. Creation is atomic for whoever opens at the same time, and the file's disk
    /// space is reserved.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] for sizes out of range, [`ErrorKind::Incompatible`] for a file that is not a ring of `T`s,
    /// [`ErrorKind::System`] where the system refuses: no such directory, no permission, disk full, a symbolic link.
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
    /// [`ErrorKind::Argument`] for sizes out of range, [`ErrorKind::System`] where there is too little memory.
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

    /// Creates a ring in a memfd called `name` (for `/proc`; up to 249 bytes, no NUL among them): close-on-exec and sealed in
    /// its size. [`crate::Ring::as_memfd`] has its descriptor, to be passed on.
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
    /// The longest message in bytes, 1 ..= 2^31 - 1; default 256.
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

    /// How many publishers can be in the middle of a publish at once, 1 ..= 65,536; default: as many as fit into 4 MiB, 16 to 64.
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

    /// Whether each message has the wall-clock time and the process id of its publisher: 16 bytes more for each.
    /// [`Subscriber::stamp`] tells them.
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
