//! A ring's file, looked at from outside: for people, and for programs that decide what to do with a file.
//!
//! The bytes come by pread(2), never through a mapping, and nothing is written. So a file that one may only read is enough,
//! any bytes will do, and one that is truncated meanwhile costs an error instead of a SIGBUS. What the bytes mean is known
//! to the types that the rings themselves use: an [`Excerpt`] is looked at through them.

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

/// What a file says about the ring in it. Where there is none, only `file`, `has_magic`, `likely` and `reason` mean anything.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Inspection {
    /// None: there is no ring of this layout version in it.
    pub variant: Option<Variant>,
    /// As the ring itself says.
    pub stats: Stats,
    /// The write position, as those count that are never set back.
    pub end: u64,
    /// The position of the last clear, likewise.
    pub base: u64,
    /// Messages that the ring holds at most.
    pub used: u64,
    /// A process has published strings without a member's lock, so that no other one can tell whether it lives.
    pub unregistered: bool,
    /// The file.
    pub file: Facts,
    /// It begins as a ring does.
    pub has_magic: bool,
    /// It has the sizes of a ring, whatever it begins with.
    pub likely: bool,
    /// Why it is no ring that can be opened; None if it is one.
    pub reason: Option<String>,
}

/// What the system says about a file.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Facts {
    /// Bytes.
    pub size: u64,
    /// Bytes that have space on the disk.
    pub allocated: u64,
    /// Device and inode.
    pub inode: (u64, u64),
    /// A text that no other file has; see [`Ring::identity`](crate::Ring::identity).
    pub identity: String,
    /// Permission bits.
    pub mode: u32,
    /// The owner.
    pub uid: u32,
    /// The path names a process's descriptor, or the file behind a mapping: so one sees rings that have no path.
    pub by_descriptor: bool,
}

/// Looks at the file at `path`.
///
/// # Errors
/// [`ErrorKind::System`] where the system refuses, [`ErrorKind::Incompatible`] for what is no regular file.
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

/// The readers of the ring in the file at `path`, in no order, as [`Ring::readers`](crate::Ring::readers) says; `waited_for`: those that
/// publishers of a lossless ring wait for now. None are released.
///
/// # Errors
/// As [`inspect`]; [`ErrorKind::Incompatible`] where there is no ring in it.
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
    // SAFETY: a header page, and behind it, aligned as in the file, as many entries as the geometry says; both are kept until the end
    // of the call, and only looked at.
    let readers = unsafe { Readers::new(NonNull::from(copy.header()), NonNull::from(table).cast(), &geometry) };
    let members = Members::new(Group::Readers, Some(Source::descriptor(&file)?));
    Ok(if waited_for { readers.waited_for(1, &members) } else { readers.list(&members, true) })
}

/// A file that was looked at.
pub(crate) struct Opened {
    pub(crate) file: File,
    pub(crate) geometry: Option<Geometry>,
    /// The header page, with zeros where the file ends before.
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
        // After the header: the file may be growing, in the hands of its creator.
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
            // Acquire and Relaxed: as everywhere; nothing else changes a copy.
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

/// Opens a file for reading; true: by the descriptor of a process. Symbolic links are refused, as the rings' own constructors
/// do; descriptors and mappings are no such links, though they look like it.
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

/// Whether the last name of the path stands in /proc, where nobody but the kernel makes links.
fn is_procs(path: &Path) -> bool {
    let link = OpenOptions::new().read(true).custom_flags(libc::O_PATH | libc::O_NOFOLLOW).open(path);
    link.map_or(false, |link| Volume::of(&link).is_proc())
}

/// As many bytes as an [`Excerpt`] is aligned to.
const CHUNK: usize = 128;

#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(C, align(128))]
struct Chunk([u8; CHUNK]);

/// Bytes of a ring's file as they were a moment ago, in memory of our own that is aligned as they are in the file.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Excerpt {
    chunks: Vec<Chunk>,
    len: usize,
}

/// What may be looked at in a copy.
///
/// # Safety
/// Nothing but integers and atomic ones, so that all bytes are a value, and an alignment of at most 128.
pub(crate) unsafe trait Shared {}

// SAFETY: integers, all of them.
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
    /// `len` bytes from `at` on; and how many of them the file has. The others are zero.
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

    /// The same, where the file must have all of them.
    pub(crate) fn whole(file: &File, at: u64, len: usize) -> Result<Excerpt> {
        match Excerpt::read(file, at, len)? {
            (copy, got) if got == len => Ok(copy),
            _ => Err(Error::new(ErrorKind::Incompatible, "the file was truncated meanwhile")),
        }
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as many bytes as there are, of which all values are fine, borrowed as the vector is.
        unsafe { std::slice::from_raw_parts_mut(self.chunks.as_mut_ptr().cast(), self.len) }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: as above.
        unsafe { std::slice::from_raw_parts(self.chunks.as_ptr().cast(), self.len) }
    }

    /// As many `T` as fit.
    pub(crate) fn all<T: Shared>(&self) -> &[T] {
        assert!(std::mem::align_of::<T>() <= CHUNK);
        // SAFETY: the bytes are there, are borrowed for as long, are aligned (asserted) and are values of T (see `Shared`). The
        // callers get no way to change them: nobody stores into what was copied.
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
            (8, word(7), "layout version 7, and this library reads 2"),
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
