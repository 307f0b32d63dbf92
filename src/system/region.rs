//! Files, memfds and mappings: the only place that attaches or maps anything ([`crate::create`] makes new files).
//!
//! Attaching reads the header with `pread`, never through the mapping, and maps exactly what was checked. A file that is
//! refused is not written to.

use std::ffi::CStr;
use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::os::unix::io::{AsRawFd, FromRawFd, RawFd};
use std::path::{Path, PathBuf};

use memmap2::{MmapOptions, MmapRaw};

use crate::create::{create, fill_in_place, write_header, Creation, Draft};
use crate::error::{last_os_code, uninterrupted, Error, ErrorKind, Result};
use crate::fd::{above_standard, duplicate, made, OurFd};
use crate::file::{c_path, inode, os_error, unusable, Source};
use crate::futex::futex_wake;
use crate::layout::{Geometry, Identity, IdentityBytes, Variant, GONE, GONE_AT, HEADER_LEN, WAKE_AT};
use crate::room::{check_memory, Volume};
use crate::signals::KeptErrno;
use crate::space::{allocated, check_file_size_limit, is_memfd};
use crate::sync::AtomicU32;

/// A mapped ring.
#[derive(Debug)]
pub(crate) struct Region {
    map: MmapRaw,
    /// The memfd, where it is kept; whether it is for passing on.
    memfd: Option<(OurFd, bool)>,
    /// The path as it was given; None for rings in memory.
    path: Option<PathBuf>,
    /// None where there is no file, or none for writing.
    source: Option<Source>,
}

/// Times that a path may appear and vanish under our hands before we say so.
pub(crate) const TRIES: u32 = 1000;
/// The longest name of a memfd in bytes: the kernel puts `memfd:` in front, and a file's name has 255.
const MAX_NAME: usize = 249;
/// How long another process may take to initialise a file, in milliseconds.
const INITIALISING_MS: u32 = 5000;

impl Region {
    /// Attaches to the ring at `path`, or makes it where there is none. Without `creation` only attaches.
    ///
    /// # Errors
    /// [`ErrorKind::Interrupted`] now and then during a long creation: call again with the same `draft`.
    pub(crate) fn open(
        path: &Path,
        variant: Variant,
        creation: Option<&Creation>,
        draft: &mut Draft,
    ) -> Result<(Region, Geometry)> {
        let name = c_path(path)?;
        for _ in 0..TRIES {
            let there = match draft.filling.take() {
                None => open_existing(&name, path, libc::O_RDWR)?,
                filling => filling,
            };
            match there {
                Some(file) => {
                    if let Some(geometry) = check_file(&file, path, variant, creation, draft)? {
                        draft.space.fill_holes(&file, &geometry).map_err(|e| e.about(path.display()))?;
                        let map = map(&file, &geometry).map_err(|e| e.about(path.display()))?;
                        return Ok((Region::of_path(map, &file, path)?, geometry));
                    }
                }
                None => {
                    let creation = creation.ok_or_else(|| {
                        Error::new(
                            ErrorKind::Argument,
                            format!("capacity is required to create a ring at {}", path.display()),
                        )
                    })?;
                    create(path, &name, creation, draft)?;
                }
            }
        }
        Err(Error::from_os(format!("open({})", path.display()), libc::EAGAIN))
    }

    /// Attaches to the ring at `path` for reading only, and writes nothing, whatever state it is in.
    pub(crate) fn open_read_only(path: &Path, variant: Variant) -> Result<(Region, Geometry)> {
        let name = c_path(path)?;
        let file = open_existing(&name, path, libc::O_RDONLY)?
            .ok_or_else(|| Error::from_os(format!("open({})", path.display()), libc::ENOENT))?;
        let (map, geometry) = map_read_only(&file, path, variant)?;
        Ok((Region::of_path(map, &file, path)?, geometry))
    }

    /// A new ring in memory that has no name in any file system. `keep` keeps its descriptor, to be passed on.
    pub(crate) fn memory(name: &CStr, geometry: &Geometry, keep: bool) -> Result<Region> {
        let len = name.to_bytes().len();
        if len > MAX_NAME {
            let text = format!("name must be at most {} bytes, not {}", MAX_NAME, len);
            return Err(Error::new(ErrorKind::Argument, text));
        }
        check_memory(geometry.total)?;
        // SAFETY: `name` is a C string.
        let fd = unsafe { libc::memfd_create(name.as_ptr(), libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING) };
        if fd < 0 && (keep || geometry.lossless) {
            return Err(Error::last_os("memfd_create"));
        }
        if fd < 0 {
            // A sandbox may refuse it, and we may have no descriptors left.
            return Ok(Region { map: map_anonymous(geometry)?, memfd: None, path: None, source: None });
        }
        let file = made("memfd_create", fd)?;
        check_file_size_limit("ftruncate", geometry)?;
        file.set_len(geometry.total).map_err(|e| os_error("ftruncate", &e))?;
        write_header(&file, geometry)?;
        let seals = libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_SEAL;
        // SAFETY: fcntl on our own descriptor.
        if unsafe { libc::fcntl(file.as_raw_fd(), libc::F_ADD_SEALS, seals) } < 0 {
            return Err(Error::last_os("fcntl(F_ADD_SEALS)"));
        }
        Region::of_memfd(map(&file, geometry)?, file, geometry, keep)
    }

    /// Attaches to the ring behind `fd`, which stays the caller's; for reading only where it is open for that alone.
    pub(crate) fn from_fd(fd: RawFd, variant: Variant) -> Result<(Region, Geometry, bool)> {
        let file = duplicate(fd).map_err(|code| Error::from_os(format!("fcntl({}, F_DUPFD_CLOEXEC)", fd), code))?;
        let name = format!("descriptor {}", fd);
        let name = Path::new(&name);
        // SAFETY: fcntl on our own descriptor.
        let read_only = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GETFL) } & libc::O_ACCMODE == libc::O_RDONLY;
        let (map, geometry) = if read_only {
            map_read_only(&file, name, variant)?
        } else {
            let mut draft = Draft::default();
            let geometry =
                check_file(&file, name, variant, None, &mut draft)?.expect("only files that we fill lose their name");
            uninterrupted(|| draft.space.fill_holes(&file, &geometry)).map_err(|e| e.about(name.display()))?;
            (map(&file, &geometry)?, geometry)
        };
        Ok((Region::of_memfd(map, file, &geometry, true)?, geometry, read_only))
    }

    fn of_path(map: MmapRaw, file: &File, path: &Path) -> Result<Region> {
        Ok(Region { map, memfd: None, path: Some(path.to_owned()), source: Some(Source::path(file, path)?) })
    }

    /// A ring of strings, and a lossless one, keeps its memfd in any case: publishers and readers open it once more.
    fn of_memfd(map: MmapRaw, file: File, geometry: &Geometry, passed_on: bool) -> Result<Region> {
        let source = Some(Source::descriptor(&file)?);
        let keep = passed_on || geometry.variant == Variant::Str || geometry.lossless;
        let memfd = if keep { Some((OurFd::of_file(file)?, passed_on)) } else { None };
        Ok(Region { map, memfd, path: None, source })
    }

    /// The first mapped byte; page-aligned.
    pub(crate) fn base(&self) -> *mut u8 {
        self.map.as_mut_ptr()
    }

    /// The path as it was given; None for rings in memory.
    pub(crate) fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// Removes the file of this ring, and no other; that it is gone already is fine.
    pub(crate) fn unlink(&self) -> Result<()> {
        let home = match &self.source {
            Some(source) if self.path.is_some() => source,
            _ => return Err(Error::new(ErrorKind::Argument, "this ring has no path")),
        };
        match std::fs::symlink_metadata(&home.path) {
            Ok(meta) if inode(&meta) == home.inode => unlink(&home.path),
            Ok(meta) => {
                let what = if meta.is_file() { "another ring" } else { "no ring file" };
                Err(Error::new(ErrorKind::Incompatible, format!("{} is {} now", home.path.display(), what)))
            }
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(e) => Err(os_error(&format!("lstat({})", home.path.display()), &e)),
        }
    }

    /// Whether the path leads to another file by now, or to none.
    pub(crate) fn is_elsewhere(&self) -> bool {
        match &self.source {
            Some(source) if self.path.is_some() => match std::fs::symlink_metadata(&source.path) {
                Ok(meta) => inode(&meta) != source.inode,
                Err(e) => matches!(e.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR)),
            },
            _ => false,
        }
    }

    /// What the path leads to now.
    pub(crate) fn reopen(&self, variant: Variant, read_only: bool) -> Result<(Region, Geometry)> {
        let (given, source) = match (&self.path, &self.source) {
            (Some(given), Some(source)) => (given, source),
            _ => return Err(Error::new(ErrorKind::Argument, "this ring has no path")),
        };
        if matches!(std::fs::symlink_metadata(&source.path), Err(e) if e.kind() == std::io::ErrorKind::NotFound) {
            return Err(Error::from_os(format!("open({})", source.path.display()), libc::ENOENT));
        }
        let (region, geometry) = if read_only {
            Region::open_read_only(&source.path, variant)?
        } else {
            uninterrupted(|| Region::open(&source.path, variant, None, &mut Draft::default()))?
        };
        Ok((Region { path: Some(given.clone()), ..region }, geometry))
    }

    /// The descriptor of a memfd that is for passing on; None for others, and where the program has closed it.
    pub(crate) fn memfd(&self) -> Option<RawFd> {
        self.memfd.as_ref().filter(|(_, passed_on)| *passed_on).and_then(|(fd, _)| fd.get())
    }

    /// How to open it once more.
    pub(crate) fn source(&self) -> Option<Source> {
        self.source.clone()
    }

    /// Maps every page for writing now; where that cannot be done, each comes with its first use, as without.
    pub(crate) fn prefault(&self) {
        let _errno = KeptErrno::new();
        // SAFETY: advice on a mapping of our own; it changes nothing in it.
        unsafe { libc::madvise(self.map.as_mut_ptr().cast(), self.map.len(), libc::MADV_POPULATE_WRITE) };
    }

    /// Writes the mapping to its file and waits for the disk.
    pub(crate) fn sync(&self) -> Result<()> {
        self.map.flush().map_err(|e| os_error("msync", &e))
    }
}

fn options(geometry: &Geometry) -> MmapOptions {
    let mut options = MmapOptions::new();
    options.len(geometry.total as usize);
    options
}

fn map_error(geometry: &Geometry, error: &std::io::Error) -> Error {
    os_error(&format!("mmap({} bytes)", geometry.total), error)
}

/// Maps a file of this geometry.
pub(crate) fn map(file: &File, geometry: &Geometry) -> Result<MmapRaw> {
    options(geometry).map_raw(file).map_err(|e| map_error(geometry, &e))
}

/// Maps the ring in `file` for reading only.
fn map_read_only(file: &File, path: &Path, variant: Variant) -> Result<(MmapRaw, Geometry)> {
    check_regular(file, path)?;
    let about = |e: Error| e.about(path.display());
    let header = read_header(file).map_err(about)?.ok_or_else(|| unusable(file, path))?;
    let geometry = Geometry::from_header(&header, variant, file_len(file)?).map_err(about)?;
    let map = options(&geometry).map_raw_read_only(file).map_err(|e| about(map_error(&geometry, &e)))?;
    touch_holes(file, &map).map_err(about)?;
    Ok((map, geometry))
}

/// On a tmpfs a hole takes room when its page is first looked at through a mapping, and SIGBUS where there is none. So all
/// pages are looked at now; that writes nothing. Elsewhere a hole is read for nothing.
fn touch_holes(file: &File, map: &MmapRaw) -> Result<()> {
    let meta = file.metadata().map_err(|e| os_error("fstat", &e))?;
    if allocated(&meta) >= meta.size() || is_memfd(file) || !Volume::of(file).is_tmpfs() {
        return Ok(());
    }
    // SAFETY: advice on a mapping of our own; it changes nothing in it.
    let touched = unsafe { libc::madvise(map.as_mut_ptr().cast(), map.len(), libc::MADV_POPULATE_READ) } == 0;
    match if touched { 0 } else { last_os_code() } {
        libc::EFAULT | libc::ENOMEM => Err(Volume::of(file).no_space(meta.size(), libc::ENOSPC)),
        _ => Ok(()), // touched, or a kernel before 5.14
    }
}

/// Zeroed memory without a descriptor, shared with the children that this process forks, and a ring's header in it.
fn map_anonymous(geometry: &Geometry) -> Result<MmapRaw> {
    let map = MmapRaw::from(options(geometry).map_anon().map_err(|e| map_error(geometry, &e))?);
    let identity = Identity::new(geometry).to_bytes();
    // SAFETY: puts shared memory into the place of a private mapping of ours that nobody has looked at, and as much as that
    // has; the new owner unmaps both alike. The identity is shorter than the header page.
    unsafe {
        let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS | libc::MAP_FIXED;
        let at = map.as_mut_ptr().cast();
        if libc::mmap(at, map.len(), libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0) == libc::MAP_FAILED {
            return Err(map_error(geometry, &std::io::Error::last_os_error()));
        }
        std::ptr::copy_nonoverlapping(identity.as_ptr(), map.as_mut_ptr(), identity.len());
    }
    Ok(map)
}

/// Opens what is at the path already: a regular file, no link. None where nothing is.
fn open_existing(name: &CStr, path: &Path, access: i32) -> Result<Option<File>> {
    let flags = access | libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY | libc::O_CLOEXEC;
    loop {
        // SAFETY: `name` is a C string.
        let fd = unsafe { libc::open(name.as_ptr(), flags) };
        if fd >= 0 {
            // SAFETY: a new descriptor, which is owned only here.
            let file = above_standard(unsafe { File::from_raw_fd(fd) });
            return file.map(Some).map_err(|e| os_error(&format!("open({})", path.display()), &e));
        }
        match last_os_code() {
            libc::ENOENT => return Ok(None),
            libc::EINTR => continue,
            libc::ELOOP => {
                return Err(Error::from_os(
                    format!("open({}): symbolic links are refused", path.display()),
                    libc::ELOOP,
                ))
            }
            code => return Err(Error::from_os(format!("open({})", path.display()), code)),
        }
    }
}

/// The geometry of the ring in `file`, which is initialised first if it is ours and nobody finished that. None: it lost
/// its name meanwhile, look again.
fn check_file(
    file: &File,
    path: &Path,
    variant: Variant,
    creation: Option<&Creation>,
    draft: &mut Draft,
) -> Result<Option<Geometry>> {
    check_regular(file, path)?;
    let checked =
        |header: &IdentityBytes, len| Geometry::from_header(header, variant, len).map_err(|e| e.about(path.display()));
    if let Some(header) = read_header(file).map_err(|e| e.about(path.display()))? {
        // The length after the header: before, the file may have been still empty.
        return checked(&header, file_len(file)?).map(Some);
    }
    let lock = FileLock::exclusive(file, path, &mut draft.waited)?;
    if let Some(header) = read_header(file)? {
        return checked(&header, file_len(file)?).map(Some);
    }
    let filled = fill_in_place(file, path, creation, draft);
    if matches!(&filled, Err(error) if error.kind() == ErrorKind::Interrupted) {
        // The lock stays: with the descriptor's twin, until that is closed.
        draft.filling = Some(file.try_clone().map_err(|e| os_error("dup", &e))?);
        std::mem::forget(lock);
    }
    filled
}

fn check_regular(file: &File, path: &Path) -> Result<()> {
    let meta = file.metadata().map_err(|e| os_error("fstat", &e))?;
    if !meta.file_type().is_file() {
        return Err(Error::new(ErrorKind::Incompatible, format!("{} is not a regular file", path.display())));
    }
    Ok(())
}

fn file_len(file: &File) -> Result<u64> {
    file.metadata().map(|meta| meta.size()).map_err(|e| os_error("fstat", &e))
}

/// The identity of a file that was fully initialised; None where the magic number is missing, or the page for it.
fn read_header(file: &File) -> Result<Option<IdentityBytes>> {
    if file_len(file)? < HEADER_LEN {
        return Ok(None);
    }
    let mut bytes = [0; std::mem::size_of::<IdentityBytes>()];
    match file.read_exact_at(&mut bytes, 0) {
        Ok(()) if Identity::from_bytes(&bytes).is_unwritten() => Ok(None),
        Ok(()) => Ok(Some(bytes)),
        Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => Ok(None),
        Err(e) => Err(os_error("pread", &e)),
    }
}

/// `flock(LOCK_EX)`, held while alive.
pub(crate) struct FileLock<'a>(&'a File);

impl<'a> FileLock<'a> {
    /// Waits for as long as somebody may take to initialise a file, but not for one that was stopped while doing so.
    ///
    /// # Errors
    /// [`ErrorKind::Interrupted`] after each millisecond, counted in `waited`: call again.
    pub(crate) fn exclusive(file: &'a File, path: &Path, waited: &mut u32) -> Result<Self> {
        // SAFETY: flock on our own descriptor.
        if unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) } == 0 {
            *waited = 0;
            return Ok(FileLock(file));
        }
        match last_os_code() {
            libc::EINTR => {}
            libc::EWOULDBLOCK if *waited < INITIALISING_MS => {
                std::thread::sleep(std::time::Duration::from_millis(1));
                *waited += 1;
            }
            libc::EWOULDBLOCK => {
                let text =
                    format!("{} is being initialised by another process, which appears to be stuck", path.display());
                return Err(Error::new(ErrorKind::Incompatible, text));
            }
            code => return Err(Error::from_os(format!("flock({})", path.display()), code)),
        }
        Err(Error::new(ErrorKind::Interrupted, "interrupted while another process initialises the file"))
    }
}

impl Drop for FileLock<'_> {
    fn drop(&mut self) {
        // SAFETY: flock on our own descriptor.
        unsafe { libc::flock(self.0.as_raw_fd(), libc::LOCK_UN) };
    }
}

/// Removes the ring file at `path`; that it is gone already is fine.
///
/// # Errors
/// [`ErrorKind::System`] where the system refuses for another reason.
///
/// ```
/// # use data_pubsub_shared::{unlink, Ring, Variant};
/// let path = std::env::temp_dir().join(format!("unlinked-{}.ring", std::process::id()));
/// let ring = Ring::open(Variant::Int, &path, 8, 0, 0o600)?;
/// unlink(&path)?;
/// assert!(ring.is_gone());
/// # Ok::<(), data_pubsub_shared::Error>(())
/// ```
pub fn unlink(path: &Path) -> Result<()> {
    let name = c_path(path)?;
    // To tell those who have it open. Without the right to write they find out by the path.
    let file = open_existing(&name, path, libc::O_RDWR).unwrap_or(None);
    // SAFETY: a C string.
    if unsafe { libc::unlink(name.as_ptr()) } < 0 && last_os_code() != libc::ENOENT {
        return Err(Error::last_os(format!("unlink({})", path.display())));
    }
    if let Some(file) = file {
        let _ = tell_that_it_is_gone(&file);
    }
    Ok(())
}

/// Marks a ring's file, and wakes whoever sleeps on it. Whoever falls asleep just then looks again after a second.
fn tell_that_it_is_gone(file: &File) -> Result<()> {
    match read_header(file)? {
        Some(header) if Identity::from_bytes(&header).is_readable() => {}
        _ => return Ok(()),
    }
    file.write_all_at(&GONE.to_ne_bytes(), GONE_AT).map_err(|e| os_error("pwrite", &e))?;
    let page = MmapOptions::new().len(HEADER_LEN as usize).map_raw(file).map_err(|e| os_error("mmap", &e))?;
    // SAFETY: within the page, and aligned; nobody but the kernel looks at it, which reports what it cannot read.
    futex_wake(unsafe { &*page.as_ptr().add(WAKE_AT as usize).cast::<AtomicU32>() }, i32::MAX);
    Ok(())
}

#[cfg(test)]
mod tests;
