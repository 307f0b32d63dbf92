//! Inspects a ring's file from outside, for people and for programs that decide what to do with a file.
//!
//! The bytes are read by pread(2), not through a mapping, and are not written. So read permission is enough, the file may have any
//! content, and if it is truncated meanwhile that is an error and not a SIGBUS. An [`Excerpt`] interprets the bytes by the types
//! that the rings themselves use.

use std::fs::{File, Metadata, OpenOptions};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::ptr::NonNull;

use crate::error::{Error, ErrorKind, Result};
use crate::file::{c_path, inode, Source};
use crate::layout::{Geometry, Header, Identity, IdentityBytes, Variant, HEADER_LEN};
use crate::member::{Group, Members};
use crate::readers::{Entry, Reader, Readers};
use crate::room::Volume;
use crate::slot::{NarrowSlot, WideSlot};
use crate::spare::Spare;
use crate::stats::Stats;
use crate::sync::{AtomicU64, Line, Ordering::Acquire};

/// The state of the ring in a file. If the file is not a ring, only `file`, `has_magic`, `likely` and `reason` are valid.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Inspection {
    /// The variant; `None` if the file is not a ring of this layout version.
    pub variant: Option<Variant>,
    /// The statistics, as [`Ring::stats`](crate::Ring::stats).
    pub stats: Stats,
    /// The write position, counted from the creation of the ring.
    pub end: u64,
    /// The position of the last clear, counted from the creation of the ring.
    pub base: u64,
    /// The most messages that the ring may hold now.
    pub used: u64,
    /// Whether a process has published strings without a member's lock, so that other processes cannot see whether it has exited.
    pub unregistered: bool,
    /// The file.
    pub file: Facts,
    /// Whether it begins with the magic number of a ring.
    pub has_magic: bool,
    /// Whether it has the size of a ring, whatever it begins with.
    pub likely: bool,
    /// Why it cannot be opened as a ring; `None` if it can.
    pub reason: Option<String>,
}

/// The metadata of a file.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Facts {
    /// The size in bytes.
    pub size: u64,
    /// The bytes that have disk space.
    pub allocated: u64,
    /// Device and inode.
    pub inode: (u64, u64),
    /// A text that is unique to the file; see [`Ring::identity`](crate::Ring::identity).
    pub identity: String,
    /// Permission bits.
    pub mode: u32,
    /// The owner.
    pub uid: u32,
    /// Whether the path is that of a descriptor or mapping in /proc, as for rings without a path.
    pub by_descriptor: bool,
}

/// Inspects the file at `path`.
///
/// # Errors
/// [`ErrorKind::System`] if a system call fails, [`ErrorKind::Incompatible`] if it is not a regular file.
///
/// ```
/// # use data_pubsub_shared::{inspect, Ring, Variant};
/// let path = std::env::temp_dir().join(format!("inspected-{}.ring", std::process::id()));
/// let ring = Ring::open(Variant::Int, &path, 8, 0, 0o600)?;
/// ring.publish_int(1)?;
/// let seen = inspect(&path)?;
/// assert_eq!((seen.variant, seen.used), (Some(Variant::Int), 1));
/// ring.unlink()?;
/// # Ok::<(), data_pubsub_shared::Error>(())
/// ```
pub fn inspect(path: &Path) -> Result<Inspection> {
    Opened::new(path).map(|opened| opened.inspection)
}

/// The readers of the ring in the file at `path`, in no order, as [`Ring::readers`](crate::Ring::readers). With `waited_for`,
/// only those that publishers of a lossless ring wait for now. Entries of readers that have exited are not released.
///
/// # Errors
/// As [`inspect`]; [`ErrorKind::Incompatible`] if it is not a ring.
///
/// ```
/// # use data_pubsub_shared::{inspect_readers, Ring, SubscribeOptions, Variant};
/// let path = std::env::temp_dir().join(format!("inspected-readers-{}.ring", std::process::id()));
/// let ring = Ring::open(Variant::Int, &path, 8, 0, 0o600)?;
/// let _audit = ring.subscribe_with(&SubscribeOptions::named("audit"))?;
/// assert_eq!(inspect_readers(&path, false)?[0].name.as_deref(), Some("audit"));
/// ring.unlink()?;
/// # Ok::<(), data_pubsub_shared::Error>(())
/// ```
pub fn inspect_readers(path: &Path, waited_for: bool) -> Result<Vec<Reader>> {
    let Opened { file, geometry, inspection, .. } = Opened::new(path)?;
    let geometry =
        geometry.ok_or_else(|| Error::new(ErrorKind::Incompatible, inspection.reason.unwrap_or_default()))?;
    let copy = Excerpt::whole(&file, 0, geometry.spares_at as usize)?;
    let table = &copy.bytes()[HEADER_LEN as usize..];
    // SAFETY: a header page, followed by as many entries as the geometry says, aligned as in the file; both live until the end of
    // the call, and are only read.
    let readers = unsafe { Readers::new(NonNull::from(copy.header()), NonNull::from(table).cast(), &geometry) };
    let members = Members::new(Group::Readers, Some(Source::descriptor(&file)?));
    Ok(if waited_for { readers.waited_for(1, &members) } else { readers.list(&members, true) })
}

/// A file that was inspected.
pub(crate) struct Opened {
    pub(crate) file: File,
    pub(crate) geometry: Option<Geometry>,
    /// The header page, padded with zeros if the file is shorter.
    pub(crate) page: Excerpt,
    pub(crate) inspection: Inspection,
}

impl Opened {
    pub(crate) fn new(path: &Path) -> Result<Opened> {
        let (file, by_descriptor) = open(path)?;
        let meta = metadata(&file)?;
        if !meta.is_file() {
            let what = if meta.is_dir() { "is a directory" } else { "is not a regular file" };
            return Err(Error::new(ErrorKind::Incompatible, what));
        }
        let (page, _) = Excerpt::read(&file, 0, HEADER_LEN as usize)?;
        // After the header, because the file may be growing while it is created.
        let meta = metadata(&file)?;
        let inspection = inspection(&page, &meta, by_descriptor);
        let geometry = identity(&page).ring(meta.size()).ok();
        Ok(Opened { file, geometry, page, inspection })
    }
}

fn metadata(file: &File) -> Result<Metadata> {
    file.metadata().map_err(|e| system(&e))
}

fn system(error: &std::io::Error) -> Error {
    Error::os(error.raw_os_error().unwrap_or(libc::EIO))
}

fn identity(page: &Excerpt) -> Identity {
    let mut bytes: IdentityBytes = [0; std::mem::size_of::<IdentityBytes>()];
    bytes.iter_mut().zip(page.bytes()).for_each(|(to, from)| *to = *from);
    Identity::from_bytes(&bytes)
}

fn inspection(page: &Excerpt, meta: &Metadata, by_descriptor: bool) -> Inspection {
    let (header, identity) = (page.header(), identity(page));
    let inode = inode(meta);
    let found =
        if meta.size() < HEADER_LEN { Err("too small for a ring file".to_owned()) } else { identity.ring(meta.size()) };
    let mut inspection = Inspection {
        variant: None,
        stats: Stats::default(),
        end: 0,
        base: 0,
        used: 0,
        unregistered: false,
        file: Facts {
            size: meta.size(),
            allocated: meta.blocks().saturating_mul(512),
            inode: (inode.device, inode.number),
            identity: inode.to_string(),
            mode: meta.mode() & 0o7777,
            uid: meta.uid(),
            by_descriptor,
        },
        has_magic: identity.has_magic(),
        likely: identity.geometry(meta.size()).is_ok(),
        reason: None,
    };
    match found {
        Ok(geometry) => {
            let stats = Stats::read(header, &geometry);
            inspection.variant = Some(geometry.variant);
            // Acquire and Relaxed: as for rings; a copy does not change.
            inspection.end = header.write_pos.load(Acquire);
            inspection.base = header.base();
            inspection.used = stats.write_pos.min(geometry.capacity);
            inspection.unregistered = header.events.has_unregistered();
            inspection.stats = stats;
        }
        Err(reason) => inspection.reason = Some(reason),
    }
    inspection
}

/// Opens a file for reading, and returns whether by a descriptor in /proc. Symbolic links are refused, as by the constructors of
/// rings; descriptors and mappings in /proc are not symbolic links, though they look like it.
fn open(path: &Path) -> Result<(File, bool)> {
    c_path(path)?;
    let open = |flags| {
        let flags = flags | libc::O_NONBLOCK | libc::O_NOCTTY;
        OpenOptions::new().read(true).custom_flags(flags).open(path)
    };
    match open(libc::O_NOFOLLOW) {
        Ok(file) => Ok((file, false)),
        Err(e) if e.raw_os_error() != Some(libc::ELOOP) => Err(system(&e)),
        Err(_) if is_procs(path) => open(0).map(|file| (file, true)).map_err(|e| system(&e)),
        Err(e) => Err(Error::new(system(&e).kind(), "symbolic links are refused")),
    }
}

/// Whether the last component of the path is in /proc, where only the kernel makes links.
fn is_procs(path: &Path) -> bool {
    let link = OpenOptions::new().read(true).custom_flags(libc::O_PATH | libc::O_NOFOLLOW).open(path);
    link.map_or(false, |link| Volume::of(&link).is_proc())
}

/// The alignment of an [`Excerpt`].
const CHUNK: usize = 128;

#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(C, align(128))]
struct Chunk([u8; CHUNK]);

/// A copy of bytes of a ring's file, aligned as in the file.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Excerpt {
    chunks: Vec<Chunk>,
    len: usize,
}

/// Types that may be read from a copy.
///
/// # Safety
/// They must consist of integers and atomic integers, for which all bytes are valid, and have an alignment of at most 128.
pub(crate) unsafe trait Shared {}

// SAFETY: all of them are integers.
unsafe impl Shared for Header {}
// SAFETY: as above.
unsafe impl Shared for Line<Spare> {}
// SAFETY: as above.
unsafe impl Shared for Line<Entry> {}
// SAFETY: as above.
unsafe impl Shared for WideSlot {}
// SAFETY: as above.
unsafe impl Shared for NarrowSlot {}
// SAFETY: as above.
unsafe impl Shared for AtomicU64 {}

impl Excerpt {
    /// Copies `len` bytes from `at` on. Also returns how many of them the file has; the others are zeros.
    pub(crate) fn read(file: &File, at: u64, len: usize) -> Result<(Excerpt, usize)> {
        let mut copy = Excerpt { chunks: vec![Chunk([0; CHUNK]); (len + CHUNK - 1) / CHUNK], len };
        let mut got = 0;
        while got < len {
            match file.read_at(&mut copy.bytes_mut()[got..], at + got as u64) {
                Ok(0) => break,
                Ok(n) => got += n,
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(e) => return Err(system(&e)),
            }
        }
        Ok((copy, got))
    }

    /// Copies `len` bytes from `at` on, all of which the file must have.
    pub(crate) fn whole(file: &File, at: u64, len: usize) -> Result<Excerpt> {
        match Excerpt::read(file, at, len)? {
            (copy, got) if got == len => Ok(copy),
            _ => Err(Error::new(ErrorKind::Incompatible, "the file was truncated meanwhile")),
        }
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: the bytes of the vector, borrowed with it; all values are valid.
        unsafe { std::slice::from_raw_parts_mut(self.chunks.as_mut_ptr().cast(), self.len) }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: as above.
        unsafe { std::slice::from_raw_parts(self.chunks.as_ptr().cast(), self.len) }
    }

    /// As many `T` as fit.
    pub(crate) fn all<T: Shared>(&self) -> &[T] {
        assert!(std::mem::align_of::<T>() <= CHUNK);
        // SAFETY: the bytes exist, are borrowed for as long, are aligned (asserted), and are valid values of T (see `Shared`). They
        // are never written to.
        unsafe { std::slice::from_raw_parts(self.chunks.as_ptr().cast(), self.len / std::mem::size_of::<T>()) }
    }

    /// A header page, or the beginning of one.
    pub(crate) fn header(&self) -> &Header {
        &self.all::<Header>()[0]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::io::AsRawFd;

    use crate::options::Options;
    use crate::ring::SubscribeOptions;
    use crate::testfile::TestRing;

    #[test]
    fn it_says_what_the_ring_says() {
        for variant in Variant::ALL {
            let (ring, file) = TestRing::new(variant, 8);
            file.publish(&ring, 11);
            ring.clear().unwrap();
            file.publish(&ring, 3);
            let seen = inspect(file.path()).unwrap();
            assert_eq!((seen.variant, seen.stats, seen.reason), (Some(variant), ring.stats(), None));
            assert_eq!((seen.end, seen.base, seen.used, seen.has_magic), (14, 11, 3, true));
            assert_eq!((seen.file.mode, seen.file.size), (0o600, ring.stats().mmap_size));
            assert_eq!((Some(seen.file.identity), ring.base()), (ring.identity(), 11));
        }
    }

    #[test]
    fn it_says_who_reads_as_the_ring_says() {
        let wanted = Options { capacity: 4, lossless: true, keep_ms: 1 << 30, ..Options::default() };
        let (_, file) = TestRing::new(Variant::Int, 4);
        std::fs::remove_file(file.path()).unwrap();
        let ring = wanted.open(Variant::Int, file.path()).unwrap();
        let named = |name| SubscribeOptions { name, ..SubscribeOptions::default() };
        let (_one, two) = (ring.subscribe(false), ring.subscribe_with(&named(Some("two"))).unwrap());
        let look = |waited_for| inspect_readers(file.path(), waited_for).unwrap();
        assert_eq!((look(false), look(true)), (ring.readers(), vec![]));
        ring.publish_ints(&[1, 2, 3, 4]).unwrap();
        drop(two);
        assert_eq!((look(false), look(true)), (ring.readers(), ring.waiting_for()));
        assert_eq!(look(true).iter().map(|reader| (reader.alive, reader.lag)).max(), Some((Some(true), 4)));
        let copy = file.damaged(&[(0, b"Q")]);
        assert_eq!(inspect_readers(copy.path(), false).unwrap_err().to_string(), "not a ring file");
        copy.set_len(HEADER_LEN);
        assert!(inspect_readers(copy.path(), false).is_err());
    }

    #[test]
    fn each_damage_of_the_header_has_its_reason() {
        let (_ring, file) = TestRing::new(Variant::Str, 8);
        let long = |n: u64| n.to_ne_bytes().to_vec();
        let word = |n: u32| n.to_ne_bytes().to_vec();
        for (at, bytes, expected) in [
            (0, b"Q".to_vec(), "not a ring file"),
            (8, word(7), "layout version 7, and this library reads 3"),
            (12, word(9), "unknown variant 9"),
            (12, word(1), "message size 16"),
            (16, long(0), "capacity 0"),
            (16, long(9), "capacity 9"),
            (16, long(1 << 32), "capacity 4294967296"),
            (24, long(0), "message size 0"),
            (24, long(1 << 31), "message size 2147483648"),
            (32, long(0), "0 publishers"),
            (32, long(1 << 17), "131072 publishers"),
            (40, long(1), "slots_at is 1, and should be"),
            (48, long(1), "arena_at is 1, and should be"),
            (56, long(1), "arena_len is 1, and should be"),
            (64, long(1), "total is 1, and should be"),
        ] {
            let copy = file.damaged(&[(at, &bytes)]);
            let seen = inspect(copy.path()).unwrap();
            let reason = seen.reason.unwrap_or_default();
            assert!(reason.contains(expected), "{}: {:?}", expected, reason);
            assert_eq!(
                (seen.variant, seen.has_magic, seen.likely),
                (None, at != 0, at == 0 || at == 8),
                "{}",
                expected
            );
        }
    }

    #[test]
    fn files_of_any_length_and_any_bytes_have_a_reason() {
        let (ring, file) = TestRing::new(Variant::Int, 8);
        let total = ring.stats().mmap_size;
        for len in [0, 1, 71, 72, 128, 639, 4095, 4096, total - 1, total + 1] {
            let copy = file.damaged(&[]);
            copy.set_len(len);
            let seen = inspect(copy.path()).unwrap();
            let expected = if len < 4096 { "too small for a ring file" } else { "wrong size" };
            assert!(seen.reason.as_deref().unwrap_or("").contains(expected), "{}: {:?}", len, seen.reason);
        }
        let noise: Vec<u8> = (0..9000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        let copy = file.damaged(&[(0, &noise)]);
        assert_eq!(inspect(copy.path()).unwrap().reason.unwrap(), "not a ring file");
    }

    #[test]
    fn links_are_refused_but_those_of_the_kernel() {
        let (_ring, file) = TestRing::new(Variant::Int, 8);
        let link = file.path().with_extension("link");
        std::os::unix::fs::symlink(file.path(), &link).unwrap();
        let refused = inspect(&link).unwrap_err();
        std::fs::remove_file(&link).unwrap();
        assert_eq!(refused.to_string(), "symbolic links are refused");
        let open = File::open(file.path()).unwrap();
        for folder in ["/proc/self/fd", "/dev/fd", "/proc/thread-self/fd"] {
            if Path::new(folder).exists() {
                let seen = inspect(&Path::new(folder).join(open.as_raw_fd().to_string())).unwrap();
                assert!(seen.reason.is_none() && seen.file.by_descriptor, "{}", folder);
            }
        }
        for (path, text) in
            [("/", "is a directory"), ("/dev/null", "is not a regular file"), ("/nowhere/at/all", "No such file")]
        {
            assert!(inspect(Path::new(path)).unwrap_err().to_string().starts_with(text), "{}", path);
        }
    }
}
