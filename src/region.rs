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

use crate::create::{check_file_size_limit, create, fill_in_place, write_header, Creation};
use crate::error::{last_os_code, Error, ErrorKind, Result};
use crate::fd::{above_standard, duplicate, made, OurFd};
use crate::file::{boot_id, c_path, os_error, unusable};
use crate::layout::{BootId, Geometry, Identity, IdentityBytes, Variant, BOOT_ID_AT, HEADER_LEN, LOCK_AT};

/// A mapped ring.
#[derive(Debug)]
pub(crate) struct Region {
    map: MmapRaw,
    /// The memfd, where there is one.
    memfd: Option<OurFd>,
    path: Option<PathBuf>,
}

/// Times that a path may appear and vanish under our hands before we say so.
const TRIES: u32 = 1000;
/// The longest name of a memfd in bytes: the kernel puts `memfd:` in front, and a file's name has 255.
const MOST_NAME: usize = 249;
/// How long another process may take to initialise a file, in milliseconds.
const INITIALISING_MS: u32 = 5000;

impl Region {
    /// Attaches to the ring at `path`, or makes it where there is none. Without `creation` only attaches.
    pub(crate) fn open(path: &Path, variant: Variant, creation: Option<&Creation>) -> Result<(Region, Geometry)> {
        let name = c_path(path)?;
        for _ in 0..TRIES {
            match open_existing(&name, path, libc::O_RDWR)? {
                Some(file) => {
                    if let Some(geometry) = check_file(&file, path, variant, creation)? {
                        let region = Region::map(&file, &geometry)?;
                        return Ok((Region { path: Some(path.to_owned()), ..region }, geometry));
                    }
                }
                None => {
                    let creation = creation.ok_or_else(|| {
                        Error::new(
                            ErrorKind::Argument,
                            format!("capacity is required to create a ring at {}", path.display()),
                        )
                    })?;
                    if let Some(file) = create(path, &name, creation)? {
                        let region = Region::map(&file, &creation.geometry)?;
                        return Ok((Region { path: Some(path.to_owned()), ..region }, creation.geometry));
                    }
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
        check_regular(&file, path)?;
        let header = read_header(&file)?;
        let len = file_len(&file)?;
        let header = header.ok_or_else(|| unusable(path, len))?;
        let geometry = Geometry::from_header(&header, variant, len).map_err(|e| e.about(path.display()))?;
        let map = options(&geometry).map_raw_read_only(&file).map_err(|e| map_error(&geometry, &e))?;
        Ok((Region { map, memfd: None, path: Some(path.to_owned()) }, geometry))
    }

    /// A new ring in memory that has no name in any file system. `keep` keeps its descriptor, to be passed on.
    pub(crate) fn memory(name: &CStr, geometry: &Geometry, keep: bool) -> Result<Region> {
        let len = name.to_bytes().len();
        if len > MOST_NAME {
            let text = format!("name must be at most {} bytes, not {}", MOST_NAME, len);
            return Err(Error::new(ErrorKind::Argument, text));
        }
        // SAFETY: `name` is a C string.
        let fd = unsafe { libc::memfd_create(name.as_ptr(), libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING) };
        let file = made("memfd_create", fd)?;
        check_file_size_limit("ftruncate", geometry)?;
        file.set_len(geometry.total).map_err(|e| os_error("ftruncate", &e))?;
        write_header(&file, geometry)?;
        let seals = libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_SEAL;
        // SAFETY: fcntl on our own descriptor.
        if unsafe { libc::fcntl(file.as_raw_fd(), libc::F_ADD_SEALS, seals) } < 0 {
            return Err(Error::last_os("fcntl(F_ADD_SEALS)"));
        }
        let region = Region::map(&file, geometry)?;
        Ok(if keep { Region { memfd: Some(OurFd::of_file(file)?), ..region } } else { region })
    }

    /// Attaches to the ring behind `fd`, which stays the caller's.
    pub(crate) fn from_fd(fd: RawFd, variant: Variant) -> Result<(Region, Geometry)> {
        let file = duplicate(fd).map_err(|code| Error::from_os(format!("fcntl({}, F_DUPFD_CLOEXEC)", fd), code))?;
        let name = format!("descriptor {}", fd);
        let geometry =
            check_file(&file, Path::new(&name), variant, None)?.expect("only files that we fill lose their name");
        let region = Region::map(&file, &geometry)?;
        Ok((Region { memfd: Some(OurFd::of_file(file)?), ..region }, geometry))
    }

    fn map(file: &File, geometry: &Geometry) -> Result<Region> {
        let map = options(geometry).map_raw(file).map_err(|e| map_error(geometry, &e))?;
        Ok(Region { map, memfd: None, path: None })
    }

    /// The first mapped byte; page-aligned.
    pub(crate) fn base(&self) -> *mut u8 {
        self.map.as_mut_ptr()
    }

    /// The path as it was given; None for rings in memory.
    pub(crate) fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// The descriptor of a memfd; None for others, and where the program has closed it.
    pub(crate) fn memfd(&self) -> Option<RawFd> {
        self.memfd.as_ref().and_then(|fd| fd.get())
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

/// Opens what is at the path already: a regular file, no link. None where nothing is.
fn open_existing(name: &CStr, path: &Path, access: i32) -> Result<Option<File>> {
    let flags = access | libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY | libc::O_CLOEXEC;
    loop {
        // SAFETY: `name` is a C string.
        let fd = unsafe { libc::open(name.as_ptr(), flags) };
        if fd >= 0 {
            // SAFETY: a new descriptor that nobody else owns.
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
fn check_file(file: &File, path: &Path, variant: Variant, creation: Option<&Creation>) -> Result<Option<Geometry>> {
    check_regular(file, path)?;
    let checked =
        |header: &IdentityBytes, len| Geometry::from_header(header, variant, len).map_err(|e| e.about(path.display()));
    if let Some(header) = read_header(file)? {
        // The length after the header: before, the file may have been still empty.
        let geometry = checked(&header, file_len(file)?)?;
        if is_of_last_boot(&header) {
            let _lock = FileLock::exclusive(file, path)?;
            // Somebody may have been here while we waited.
            if read_header(file)?.map_or(false, |header| is_of_last_boot(&header)) {
                forget_last_boot(file)?;
            }
        }
        return Ok(Some(geometry));
    }
    let _lock = FileLock::exclusive(file, path)?;
    match read_header(file)? {
        Some(header) => checked(&header, file_len(file)?).map(Some),
        None => fill_in_place(file, path, creation),
    }
}

fn check_regular(file: &File, path: &Path) -> Result<()> {
    let meta = file.metadata().map_err(|e| os_error("fstat", &e))?;
    if !meta.file_type().is_file() {
        return Err(Error::new(ErrorKind::Incompatible, format!("{} is not a regular file", path.display())));
    }
    Ok(())
}

/// Nobody who could hold this ring's lock is left: the machine went down since.
fn is_of_last_boot(header: &IdentityBytes) -> bool {
    let boot_id = boot_id();
    boot_id != BootId::default() && Identity::from_bytes(header).boot_id != boot_id
}

fn file_len(file: &File) -> Result<u64> {
    file.metadata().map(|meta| meta.size()).map_err(|e| os_error("fstat", &e))
}

/// The identity of a file that somebody finished initialising; None where the magic number is missing, or the page for it.
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

/// Frees the lock of a ring whose users went down with the machine, and forgets their pid namespaces. The caller holds the
/// file's lock.
fn forget_last_boot(file: &File) -> Result<()> {
    let failed = |e: std::io::Error| os_error("pwrite", &e);
    file.write_all_at(&[0; 16], LOCK_AT).map_err(failed)?;
    let [a, b] = boot_id();
    file.write_all_at(&a.to_ne_bytes(), BOOT_ID_AT).map_err(failed)?;
    file.write_all_at(&b.to_ne_bytes(), BOOT_ID_AT + 8).map_err(failed)
}

/// `flock(LOCK_EX)`, held while alive.
struct FileLock<'a>(&'a File);

impl<'a> FileLock<'a> {
    /// Waits for as long as somebody may take to initialise a file, but not for one that was stopped while doing so.
    fn exclusive(file: &'a File, path: &Path) -> Result<Self> {
        for _ in 0..INITIALISING_MS {
            // SAFETY: flock on our own descriptor.
            if unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) } == 0 {
                return Ok(FileLock(file));
            }
            match last_os_code() {
                libc::EWOULDBLOCK => std::thread::sleep(std::time::Duration::from_millis(1)),
                libc::EINTR => {}
                code => return Err(Error::from_os(format!("flock({})", path.display()), code)),
            }
        }
        let text = format!("{} is being initialised by another process, which appears to be stuck", path.display());
        Err(Error::new(ErrorKind::Incompatible, text))
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
pub fn unlink(path: &Path) -> Result<()> {
    let name = c_path(path)?;
    // SAFETY: a C string.
    if unsafe { libc::unlink(name.as_ptr()) } < 0 && last_os_code() != libc::ENOENT {
        return Err(Error::last_os(format!("unlink({})", path.display())));
    }
    Ok(())
}
