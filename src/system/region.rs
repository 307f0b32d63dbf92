//! Files, memfds and mappings: the only module that attaches to rings and maps them ([`crate::create`] creates files).
//!
//! The header is read with `pread`, not through the mapping, and exactly the file that was checked is mapped. A file that is
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
    /// The memfd, if it is kept, and whether the user may pass it on.
    memfd: Option<(OurFd, bool)>,
    /// The path as it was given; `None` for rings in memory.
    path: Option<PathBuf>,
    /// How to open the file again; `None` if there is no file, or it is read-only.
    source: Option<Source>,
}

/// How often a file may be created and removed by others before that is an error.
pub(crate) const TRIES: u32 = 1000;
/// The longest name of a memfd in bytes: the kernel prepends `memfd:`, and names have at most 255 bytes.
const MAX_NAME: usize = 249;
/// How long another process may take to initialise a file, in milliseconds.
const INITIALISING_MS: u32 = 5000;

impl Region {
    /// Attaches to the ring at `path`, or creates it if there is none. Without `creation` it only attaches.
    ///
    /// # Errors
    /// [`ErrorKind::Interrupted`] from time to time during a long creation: call it again with the same `draft`.
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

    /// Attaches to the ring at `path` read-only. It does not write to the file, whatever state it is in.
    pub(crate) fn open_read_only(path: &Path, variant: Variant) -> Result<(Region, Geometry)> {
        let name = c_path(path)?;
        let file = open_existing(&name, path, libc::O_RDONLY)?
            .ok_or_else(|| Error::from_os(format!("open({})", path.display()), libc::ENOENT))?;
        let (map, geometry) = map_read_only(&file, path, variant)?;
        Ok((Region::of_path(map, &file, path)?, geometry))
    }

    /// A new ring in memory, which is not in any file system. With `keep` its descriptor is kept, to be passed on.
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
            // A sandbox may forbid it, or the process may have no free descriptors.
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

    /// Attaches to the ring behind `fd`, which the caller keeps; read-only if `fd` is.
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

    /// A string ring and a lossless ring always keep their memfd, because publishers and readers open it again.
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

    /// The path as it was given; `None` for rings in memory.
    pub(crate) fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// Removes the file of this ring, unless another file has its path. It is fine if the file was removed before.
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

    /// Whether the file at the path was removed or replaced.
    pub(crate) fn is_elsewhere(&self) -> bool {
        match &self.source {
            Some(source) if self.path.is_some() => match std::fs::symlink_metadata(&source.path) {
                Ok(meta) => inode(&meta) != source.inode,
                Err(e) => matches!(e.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR)),
            },
            _ => false,
        }
    }

    /// The file that the path leads to now.
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

    /// The descriptor of a memfd that may be passed on; `None` for others, and if the program has closed it.
    pub(crate) fn memfd(&self) -> Option<RawFd> {
        self.memfd.as_ref().filter(|(_, passed_on)| *passed_on).and_then(|(fd, _)| fd.get())
    }

    /// How to open the file again.
    pub(crate) fn source(&self) -> Option<Source> {
        self.source.clone()
    }

    /// Maps all pages for writing now. If that fails, each is mapped at its first use, as usual.
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

/// On tmpfs, a hole takes room when its page is first read through a mapping, and raises SIGBUS if there is none. So all pages
/// are read now, without writing. On other file systems, reading a hole takes no room.
fn touch_holes(file: &File, map: &MmapRaw) -> Result<()> {
    let meta = file.metadata().map_err(|e| os_error("fstat", &e))?;
    if allocated(&meta) >= meta.size() || is_memfd(file) || !Volume::of(file).is_tmpfs() {
        return Ok(());
    }
    // SAFETY: advice on a mapping of our own; it changes nothing in it.
    let touched = unsafe { libc::madvise(map.as_mut_ptr().cast(), map.len(), libc::MADV_POPULATE_READ) } == 0;
    match if touched { 0 } else { last_os_code() } {
        libc::EFAULT | libc::ENOMEM => Err(Volume::of(file).no_space(meta.size(), libc::ENOSPC)),
        _ => Ok(()), // done, or a kernel before 5.14
    }
}

/// Zeroed memory without a descriptor, with a ring's header, shared with the children that this process forks.
fn map_anonymous(geometry: &Geometry) -> Result<MmapRaw> {
    let map = MmapRaw::from(options(geometry).map_anon().map_err(|e| map_error(geometry, &e))?);
    let identity = Identity::new(geometry).to_bytes();
    // SAFETY: replaces a private mapping of ours, which is not used yet, by shared memory of the same size; the new owner unmaps
    // either in the same way. The identity is shorter than the header page.
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

/// Opens the file at the path, which must be a regular file and not a link. `None` if there is no file.
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

/// The geometry of the ring in `file`, which is initialised first if it belongs to this user and its initialisation was not
/// finished. `None` if it has lost its name meanwhile; then the caller opens the path again.
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
        // The length is read after the header, because before the file may still have been empty.
        return checked(&header, file_len(file)?).map(Some);
    }
    let lock = FileLock::exclusive(file, path, &mut draft.waited)?;
    if let Some(header) = read_header(file)? {
        return checked(&header, file_len(file)?).map(Some);
    }
    let filled = fill_in_place(file, path, creation, draft);
    if matches!(&filled, Err(error) if error.kind() == ErrorKind::Interrupted) {
        // The lock stays with the duplicate of the descriptor, until that is closed.
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

/// The identity of a file that was completely initialised; `None` if it has no magic number, or is shorter than the header page.
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
    /// Waits for the lock, for as long as the initialisation of a file may take; then the other process appears to be stuck.
    ///
    /// # Errors
    /// [`ErrorKind::Interrupted`] after each millisecond, which `waited` counts: call it again.
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

/// Removes the ring file at `path`. It is fine if there is none.
///
/// # Errors
/// [`ErrorKind::System`] if it cannot be removed.
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
    // To tell processes that have it open. Without write permission, they find out by the path.
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

/// Marks a ring's file as removed, and wakes its waiters. A waiter that is just falling asleep rechecks after a second.
fn tell_that_it_is_gone(file: &File) -> Result<()> {
    match read_header(file)? {
        Some(header) if Identity::from_bytes(&header).is_readable() => {}
        _ => return Ok(()),
    }
    file.write_all_at(&GONE.to_ne_bytes(), GONE_AT).map_err(|e| os_error("pwrite", &e))?;
    let page = MmapOptions::new().len(HEADER_LEN as usize).map_raw(file).map_err(|e| os_error("mmap", &e))?;
    // SAFETY: within the page, and aligned; only the kernel accesses it, and returns an error if it cannot.
    futex_wake(unsafe { &*page.as_ptr().add(WAKE_AT as usize).cast::<AtomicU32>() }, i32::MAX);
    Ok(())
}

#[cfg(test)]
mod tests;
