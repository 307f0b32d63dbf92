//! The publishing role: a [`Ring`] opens or makes a ring, publishes, looks in, and hands out [`Subscriber`]s.

use std::ffi::CStr;
use std::os::unix::io::{AsRawFd, BorrowedFd, RawFd};
use std::path::Path;
use std::sync::Arc;

use crate::any_ring::{AnyRing, Mapping};
use crate::cursor::Cursor;
use crate::error::{Error, ErrorKind, Result};
use crate::layout::{Geometry, Variant};
use crate::member::NoSpare;
use crate::notify::Notifier;
use crate::options::Options;
use crate::region::Region;
use crate::role::Held;
use crate::slot_ring::Batch;
use crate::stats::Stats;
use crate::str_ring::Bytes;
use crate::subscriber::Subscriber;
use crate::sync::AtomicU32;
use crate::sync::Ordering::SeqCst;

/// A handle on a shared ring: opens or makes it, publishes, looks in, and hands out subscribers.
///
/// Dropping it unmaps the ring once its last subscriber is gone, too; the ring itself lives on in its file or with the
/// other processes that map it.
pub struct Ring {
    ring: AnyRing,
    pub(crate) mapping: Arc<Mapping>,
    notifier: Notifier,
    read_only: bool,
    /// Where this handle's publishers found a spare block the last time.
    home: AtomicU32,
    /// Holds the lock that says what a bridge does with the ring.
    pub(crate) role: Option<Held>,
}

// SAFETY: everything shared is atomic, between threads as between processes.
unsafe impl Send for Ring {}
// SAFETY: as above; what changes the handle itself takes `&mut self`.
unsafe impl Sync for Ring {}

impl Ring {
    /// Opens the ring at `path`, or makes it with `capacity` slots (1 ..= 2^31, rounded up to a power of two), for `Str`
    /// messages of up to `msg_size` bytes (1 ..= 2^31 - 1), and exactly the permission bits `mode`.
    ///
    /// A ring that exists keeps its own capacity and message size; with a `capacity` of 0 only such a one is opened.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] for sizes out of range, [`ErrorKind::Incompatible`] for a file that is no ring of this
    /// variant, [`ErrorKind::System`] where the system refuses: no such folder, no permission, disk full, a symbolic link.
    pub fn open(variant: Variant, path: &Path, capacity: u64, msg_size: u64, mode: u32) -> Result<Ring> {
        Options { capacity, msg_size, mode, ..Options::default() }.open(variant, path)
    }

    /// A new ring without a name, shared with the children that this process forks.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn anonymous(variant: Variant, capacity: u64, msg_size: u64) -> Result<Ring> {
        Options { capacity, msg_size, ..Options::default() }.anonymous(variant)
    }

    /// A new ring in a memfd called `name` (for `/proc`; up to 249 bytes), close-on-exec and sealed in its size.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn memfd(variant: Variant, name: &CStr, capacity: u64, msg_size: u64) -> Result<Ring> {
        Options { capacity, msg_size, ..Options::default() }.memfd(variant, name)
    }

    /// Opens the ring at `path` for reading only: subscribers and looking in, no publishing. Needs no permission to write,
    /// and cannot harm the ring. Its subscribers are not woken but look every 5 milliseconds at least.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_read_only(variant: Variant, path: &Path) -> Result<Ring> {
        Ok(Ring { read_only: true, ..Region::open_read_only(path, variant).map(Ring::from)? })
    }

    /// Opens the ring behind `fd`, which is duplicated and stays the caller's: for reading only, as
    /// [`open_read_only`](Self::open_read_only) does, where `fd` is open for reading only.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn from_fd(variant: Variant, fd: BorrowedFd<'_>) -> Result<Ring> {
        Self::from_number(variant, fd.as_raw_fd())
    }

    /// The same, of a number that may be no descriptor.
    pub(crate) fn from_number(variant: Variant, fd: RawFd) -> Result<Ring> {
        let (region, geometry, read_only) = Region::from_fd(fd, variant)?;
        Ok(Ring { read_only, ..Ring::from((region, geometry)) })
    }

    /// Whether the ring was opened for reading only.
    pub fn is_read_only(&self) -> bool {
        self.read_only
    }

    /// Removes the ring's file, also where the current directory is another now; that it is gone already is fine.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] on a ring without a path, [`ErrorKind::Incompatible`] where the path leads to another file by
    /// now, [`ErrorKind::System`] where the system refuses.
    pub fn unlink(&self) -> Result<()> {
        self.mapping.region.unlink()?;
        if !self.read_only {
            self.ring.header().remove();
        }
        Ok(())
    }

    /// Whether somebody removed the ring's file, or another one took its path: new processes do not come to this ring any
    /// more. Never true for rings in memory.
    pub fn is_gone(&self) -> bool {
        self.mapping.is_gone(&self.ring)
    }

    /// Goes on with the ring that the path leads to now. Subscribers made before stay with the old one.
    ///
    /// # Errors
    /// As [`open`](Self::open) without a capacity; [`ErrorKind::Argument`] where the ring has no path. The handle is as it
    /// was then.
    pub fn reopen(&mut self) -> Result<()> {
        let found = self.mapping.region.reopen(self.mapping.geometry.variant, self.read_only)?;
        *self = Ring { read_only: self.read_only, notifier: std::mem::take(&mut self.notifier), ..Ring::from(found) };
        Ok(())
    }

    /// Publishes an integer, cut to the variant's width as a C cast does.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] on a ring of another variant and on a read-only one.
    #[inline(always)]
    pub fn publish_int(&self, value: i64) -> Result<()> {
        self.check_writable()?;
        match &self.ring {
            AnyRing::Int(ring) => ring.publish(value as u64),
            AnyRing::Int32(ring) => ring.publish(value as u64),
            AnyRing::Int16(ring) => ring.publish(value as i16 as u64),
            AnyRing::Str(_) | AnyRing::Num(_) => return Err(self.ring.mismatch()),
        }
        self.ring.wake_sleepers();
        Ok(())
    }

    /// Publishes a floating-point number, bit by bit as it is: a NaN with its payload, -0.0 with its sign.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] on a ring of another variant and on a read-only one.
    #[inline(always)]
    pub fn publish_num(&self, value: f64) -> Result<()> {
        self.check_writable()?;
        match &self.ring {
            AnyRing::Num(ring) => ring.publish(value.to_bits()),
            _ => return Err(self.ring.mismatch()),
        }
        self.ring.wake_sleepers();
        Ok(())
    }

    /// Publishes numbers that lie one behind the other in `bytes`, in the host's byte order and without alignment: each of 8
    /// bytes (`Int`, `Num`), 4 (`Int32`) or 2 (`Int16`). They are adjacent in the ring, in pieces of 8192 or as many as the
    /// ring has slots. Returns how many.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] where the length is no multiple of that width, on a string ring, and on a read-only one.
    pub fn publish_packed(&self, bytes: &[u8]) -> Result<usize> {
        self.check_writable()?;
        self.ring.publish_packed(bytes)
    }

    /// Publishes integers next to each other, in order. Returns how many.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] on a ring of another variant and on a read-only one.
    pub fn publish_ints(&self, values: &[i64]) -> Result<usize> {
        let mut batch = self.claim(values.len())?;
        self.put(&mut batch, values);
        self.wake();
        Ok(values.len())
    }

    #[inline(always)]
    fn check_writable(&self) -> Result<()> {
        if self.read_only {
            return Err(refused("this ring is read-only".to_owned()));
        }
        Ok(())
    }

    /// Claims positions for `count` integers. All must be put, and then sleepers woken.
    ///
    /// # Errors
    /// As [`publish_ints`](Self::publish_ints); [`ErrorKind::Argument`] for more than [`MOST_CLAIMED`], too.
    #[inline]
    pub(crate) fn claim(&self, count: usize) -> Result<Batch> {
        self.check_writable()?;
        if count > MOST_CLAIMED {
            return Err(refused(format!("count must be at most {}, not {}", MOST_CLAIMED, count)));
        }
        match &self.ring {
            AnyRing::Int(ring) => Ok(ring.claim(count as u64)),
            AnyRing::Int32(ring) | AnyRing::Int16(ring) => Ok(ring.claim(count as u64)),
            AnyRing::Str(_) | AnyRing::Num(_) => Err(self.ring.mismatch()),
        }
    }

    /// Commits the next values of a claim on this ring, and no more than it has positions left.
    #[inline]
    pub(crate) fn put(&self, batch: &mut Batch, values: &[i64]) {
        let count = values.len().min(batch.remaining());
        match &self.ring {
            AnyRing::Int(ring) => ring.put_all(batch, count, |i| values[i] as u64),
            AnyRing::Int32(ring) => ring.put_all(batch, count, |i| values[i] as u64),
            AnyRing::Int16(ring) => ring.put_all(batch, count, |i| values[i] as i16 as u64),
            AnyRing::Str(_) | AnyRing::Num(_) => {}
        }
    }

    /// Wakes whoever sleeps until a message comes; nobody where this handle cannot have published one.
    #[inline(always)]
    pub(crate) fn wake(&self) {
        if !self.read_only {
            self.ring.wake_sleepers();
        }
    }

    /// Publishes byte strings next to each other, in order: all, or on an error none.
    ///
    /// # Errors
    /// [`ErrorKind::TooLong`] where one is longer than `msg_size`, [`ErrorKind::Interrupted`] where all spare
    /// blocks have been in use for a while (call again, signals handled), [`ErrorKind::Incompatible`] where somebody scribbled
    /// on all of them, [`ErrorKind::Argument`] on an integer ring.
    ///
    /// # Safety
    /// The bytes of each message must be readable and unchanged during the call.
    #[inline(always)]
    pub unsafe fn publish_strs(&self, messages: &[Bytes]) -> Result<()> {
        self.check_writable()?;
        let ring = match &self.ring {
            AnyRing::Str(ring) => ring,
            other => return Err(other.mismatch()),
        };
        for message in messages {
            if message.len as u64 > ring.msg_size() {
                return Err(Error::too_long(message.len, ring.msg_size()));
            }
        }
        // SAFETY: the caller vouches for the bytes.
        match unsafe { ring.publish(messages, &self.mapping.members, &self.home) } {
            Ok(()) => {
                self.ring.wake_sleepers();
                Ok(())
            }
            Err(NoSpare::Interrupted) => {
                Err(Error::new(ErrorKind::Interrupted, "interrupted while waiting for a spare block"))
            }
            Err(NoSpare::Damaged) => Err(Error::new(
                ErrorKind::Incompatible,
                "the ring is damaged: it has no spare block left; it is put in order when one process opens it and publishes alone",
            )),
        }
    }

    /// Publishes one byte string, and waits for a spare block whatever signals arrive.
    ///
    /// # Errors
    /// As [`publish_strs`](Self::publish_strs), but never [`ErrorKind::Interrupted`].
    pub fn publish_str(&self, message: &[u8]) -> Result<()> {
        loop {
            // SAFETY: a borrowed slice.
            match unsafe { self.publish_strs(&[Bytes::new(message)]) } {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                result => return result,
            }
        }
    }

    /// A subscriber to what is published from now on; with `all`, from the oldest message that is still held.
    pub fn subscribe(&self, all: bool) -> Subscriber {
        let header = self.ring.header();
        let end = header.write_pos.load(SeqCst);
        let start = if all { header.oldest(end, self.mapping.geometry.capacity) } else { end };
        let cursor = Cursor::of_ring(start, self.read_only);
        Subscriber::new(self.ring, cursor, self.notifier.clone(), Arc::clone(&self.mapping))
    }

    /// Discards, in one step, everything published before. Users' positions start at 0 again.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] on a read-only ring.
    pub fn clear(&self) -> Result<()> {
        self.check_writable()?;
        self.ring.header().clear();
        Ok(())
    }

    /// Slots of the ring.
    pub fn capacity(&self) -> u64 {
        self.mapping.geometry.capacity
    }

    /// The longest message in bytes; 0 for integers.
    pub fn msg_size(&self) -> u64 {
        self.mapping.geometry.msg_size
    }

    /// Positions claimed since the last clear.
    pub fn write_pos(&self) -> u64 {
        self.ring.header().published()
    }

    /// The path as it was given; None for rings in memory.
    pub fn path(&self) -> Option<&Path> {
        self.mapping.region.path()
    }

    /// The descriptor to pass on, of a ring made by [`memfd`](Self::memfd) or [`from_fd`](Self::from_fd), unless the program
    /// has closed it.
    pub fn as_memfd(&self) -> Option<RawFd> {
        self.mapping.region.memfd()
    }

    /// Writes the ring to its file and waits for the disk.
    ///
    /// # Errors
    /// [`ErrorKind::System`] where `msync` fails.
    pub fn sync(&self) -> Result<()> {
        self.mapping.region.sync()
    }

    /// What can be known without touching messages.
    pub fn stats(&self) -> Stats {
        Stats::read(self.ring.header(), &self.mapping.geometry)
    }

    /// The position of the last clear, as those count that are never set back.
    pub fn base(&self) -> u64 {
        self.ring.header().base()
    }

    /// Who publishes, and the ring of a string variant, for tests.
    #[cfg(test)]
    #[allow(dead_code)]
    pub(crate) fn inner(&self) -> (&crate::member::Members, &crate::str_ring::StrRing) {
        match &self.ring {
            AnyRing::Str(ring) => (&self.mapping.members, ring),
            _ => unreachable!("a ring of strings"),
        }
    }

    /// The descriptor that event loops watch; subscribers take it over as it stands when they subscribe.
    pub fn notifier(&mut self) -> &mut Notifier {
        &mut self.notifier
    }
}

impl std::fmt::Debug for Ring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ring").field("mapping", &self.mapping).field("stats", &self.stats()).finish_non_exhaustive()
    }
}

impl From<(Region, Geometry)> for Ring {
    fn from(mapped: (Region, Geometry)) -> Ring {
        let (ring, mapping) = Mapping::new(mapped);
        Ring { ring, mapping, notifier: Notifier::default(), read_only: false, home: AtomicU32::new(0), role: None }
    }
}

/// Positions of one claim: as many as the largest ring has.
const MOST_CLAIMED: usize = 1 << 31;

#[cold]
fn refused(why: String) -> Error {
    Error::new(ErrorKind::Argument, why)
}
