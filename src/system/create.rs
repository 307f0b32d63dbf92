//! Creating a ring file: complete, or not at all.
//!
//! A new ring is built in a file that other processes cannot see: a file without a name (`O_TMPFILE`) gets its disk blocks, its
//! mode and its header with the magic number, and is then linked to the path. If another process was first, our file is dropped.
//! In both cases the caller then attaches to the path, as other processes do: on some file systems (FUSE), one file has several
//! inodes with pages of their own. If a creator is killed at any point, no incomplete ring remains.
//!
//! If the file system has no files without a name, the ring is built under a temporary name, and locked (`flock`) by its creator. A
//! temporary file without a lock is of a creator that was killed, and the next creator removes it. If the file system cannot
//! give a file a second name either, or if the user created the file before (empty, or all zeros and of exactly the right
//! size), it is initialised in place, under `flock`. The magic number is written last, so if a creator is killed, the
//! next one initialises the file again.
//!
//! Reserving the space of a large ring takes seconds. It is done in pieces, and the caller may handle signals after each of them: a
//! [`Draft`] keeps the progress until the next call.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::os::unix::io::AsRawFd;
use std::path::{Path, PathBuf};

use crate::error::{last_os_code, uninterrupted, Error, ErrorKind, Result};
use crate::fault::fault_point;
use crate::fd::above_standard;
use crate::file::{c_path, inode, os_error, unusable};
use crate::layout::{Geometry, Identity, IdentityBytes};
use crate::member::tells_the_dead;
use crate::region::{FileLock, TRIES};
use crate::room::Volume;
use crate::space::Space;

/// The parameters of a ring to create.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Creation {
    pub(crate) geometry: Geometry,
    /// The permission bits of the file, regardless of the umask.
    pub(crate) mode: u32,
}

impl Creation {
    /// Returns an error for a mode without read and write permission for the owner, who could not open the ring again.
    pub(crate) fn new(geometry: Geometry, mode: u32) -> Result<Creation> {
        if mode & 0o600 != 0o600 {
            let text = format!("mode must let the owner read and write (0600), not {:04o}", mode);
            return Err(Error::new(ErrorKind::Argument, text));
        }
        Ok(Creation { geometry, mode })
    }

    /// Returns an error if the file system at `path` has no room for the ring now.
    pub(crate) fn check_room(&self, path: &Path) -> Result<()> {
        // O_PATH, because a directory need not be readable to create files in it.
        let opened =
            std::fs::OpenOptions::new().read(true).custom_flags(libc::O_PATH | libc::O_CLOEXEC).open(folder(path));
        let directory = opened.map_err(|e| os_error("open", &e).about(path.display()))?;
        let total = self.geometry.total;
        Volume::of(&directory).check(total, total).map_err(|e| e.about(path.display()))
    }
}

/// The progress of an interrupted [`Ring::open`](crate::Ring::open); the next call with the same arguments continues it.
#[derive(Debug, Default)]
pub struct Draft {
    made: Option<Made>,
    /// A file that is initialised in place, locked.
    pub(crate) filling: Option<File>,
    pub(crate) space: Space,
    /// For how many milliseconds it has waited for a file's lock.
    pub(crate) waited: u32,
}

/// A new file that does not have its final name yet.
#[derive(Debug)]
struct Made {
    file: File,
    path: PathBuf,
    temporary: Option<Temporary>,
    total: u64,
    creator: u32,
}

/// The temporary name of a file that its creator has locked. It is removed when this is dropped.
#[derive(Debug)]
struct Temporary(PathBuf, u32);

impl Drop for Temporary {
    fn drop(&mut self) {
        // Except in a child that was forked meanwhile.
        if self.1 == std::process::id() {
            let _ = std::fs::remove_file(&self.0);
        }
    }
}

/// The directory of a path.
fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

fn open_new(at: &Path, flags: i32) -> std::io::Result<File> {
    std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(flags & libc::O_EXCL != 0)
        .mode(0o600)
        .custom_flags(flags | libc::O_CLOEXEC)
        .open(at)
        .and_then(above_standard)
}

/// Makes sure that there is a complete ring at `path`: ours, or that of another process.
pub(crate) fn create(path: &Path, name: &CStr, creation: &Creation, draft: &mut Draft) -> Result<()> {
    let ours =
        |made: &Made| made.path == path && made.total == creation.geometry.total && made.creator == std::process::id();
    let mut nameless = true;
    loop {
        let made = match draft.made.take().filter(ours) {
            Some(made) => made,
            None => {
                draft.space = Space::default();
                Made::new(path, creation, nameless)?
            }
        };
        if let Err(error) = build(&made.file, creation, &mut draft.space) {
            if error.kind() == ErrorKind::Interrupted {
                draft.made = Some(made);
            }
            return Err(error.about(path.display()));
        }
        fault_point!("before-link");
        match made.place(name) {
            0 | libc::EEXIST => return Ok(()),
            // There is no /proc, or a file without a name cannot be linked.
            _ if made.temporary.is_none() => nameless = false,
            code => {
                drop(made); // frees its space
                return create_in_place(path, creation, code);
            }
        }
    }
}

impl Made {
    fn new(path: &Path, creation: &Creation, nameless: bool) -> Result<Made> {
        let made = |file, temporary| Made {
            file,
            path: path.to_owned(),
            temporary,
            total: creation.geometry.total,
            creator: std::process::id(),
        };
        // Whatever the reason: a temporary name works, or fails for the same reason.
        if let (true, Ok(file)) = (nameless, open_new(folder(path), libc::O_TMPFILE)) {
            return Ok(made(file, None));
        }
        remove_leftovers(folder(path));
        for _ in 0..TRIES {
            let at = temporary_name(folder(path));
            match open_new(&at, libc::O_EXCL) {
                // A process that removes leftovers may have removed it before we locked it. Then `place` finds no file.
                Ok(file) if try_lock(&file) == libc::EWOULDBLOCK => {}
                Ok(file) => return Ok(made(file, Some(Temporary(at, std::process::id())))),
                Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(os_error(&format!("open({})", path.display()), &e)),
            }
        }
        Err(Error::from_os(format!("open({})", path.display()), libc::EAGAIN))
    }

    /// Gives the finished file its name, unless the name exists (EEXIST). Returns the system's error number, or 0.
    fn place(&self, name: &CStr) -> i32 {
        let (own, flags) = match &self.temporary {
            Some(Temporary(at, _)) => (c_path(at), 0),
            None => (c_path(Path::new(&format!("/proc/self/fd/{}", self.file.as_raw_fd()))), libc::AT_SYMLINK_FOLLOW),
        };
        let own: CString = match own {
            Ok(own) => own,
            Err(_) => return libc::EINVAL,
        };
        // SAFETY: two C strings.
        let linked = unsafe { libc::linkat(libc::AT_FDCWD, own.as_ptr(), libc::AT_FDCWD, name.as_ptr(), flags) };
        let refused = if linked == 0 { 0 } else { last_os_code() };
        if matches!(refused, 0 | libc::EEXIST) || self.temporary.is_none() {
            return refused;
        }
        // The file system or a policy does not allow links. Rename it without replacing a file.
        // SAFETY: two C strings.
        let renamed = unsafe {
            libc::syscall(
                libc::SYS_renameat2,
                libc::AT_FDCWD,
                own.as_ptr(),
                libc::AT_FDCWD,
                name.as_ptr(),
                libc::RENAME_NOREPLACE,
            )
        };
        match if renamed == 0 { 0 } else { last_os_code() } {
            renamed @ (0 | libc::EEXIST) => renamed,
            _ => refused,
        }
    }
}

/// Creates the file under its final name, because it cannot get a second one (that was the error `code`).
fn create_in_place(path: &Path, creation: &Creation, code: i32) -> Result<()> {
    let file = match open_new(path, libc::O_EXCL) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => return Ok(()),
        Err(_) => return Err(Error::from_os(format!("link({})", path.display()), code)),
    };
    let mut draft = Draft::default();
    let locked = uninterrupted(|| FileLock::exclusive(&file, path, &mut draft.waited));
    let filled = locked.and_then(|_lock| uninterrupted(|| fill_in_place(&file, path, Some(creation), &mut draft)));
    if filled.is_err() && leads_to(path, &file) {
        let _ = std::fs::remove_file(path);
    }
    filled.map(|_| ())
}

const TEMPORARY: &str = ".pubsub-";

/// A unique temporary name.
fn temporary_name(folder: &Path) -> PathBuf {
    let mut random = [0u8; 8];
    // SAFETY: room for 8 bytes. If it fails they stay zero; `O_EXCL` detects a name that exists.
    unsafe { libc::getrandom(random.as_mut_ptr().cast(), random.len(), 0) };
    folder.join(format!("{}{}-{:016x}", TEMPORARY, std::process::id(), u64::from_ne_bytes(random)))
}

fn is_temporary_name(name: &str) -> bool {
    let digits = |text: &str, radix| !text.is_empty() && text.chars().all(|c| c.is_digit(radix));
    match name.strip_prefix(TEMPORARY).and_then(|rest| rest.split_once('-')) {
        Some((process, random)) => digits(process, 10) && random.len() == 16 && digits(random, 16),
        None => false,
    }
}

/// Removes temporary files of this user's creators that were killed. Their lock tells: it is released whenever a process exits. A
/// pid would not, because it may be reused, or of another namespace.
fn remove_leftovers(folder: &Path) {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(_) => return,
    };
    for entry in entries.flatten().filter(|entry| entry.file_name().to_str().map_or(false, is_temporary_name)) {
        let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY | libc::O_CLOEXEC;
        let file = match std::fs::OpenOptions::new().read(true).custom_flags(flags).open(entry.path()) {
            Ok(file) => file,
            Err(_) => continue,
        };
        // SAFETY: geteuid has no preconditions.
        let ours = |meta: std::fs::Metadata| meta.is_file() && meta.uid() == unsafe { libc::geteuid() };
        if file.metadata().map_or(false, ours) && try_lock(&file) == 0 && leads_to(&entry.path(), &file) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

/// `flock(LOCK_EX)` without waiting; the lock is held until the file is closed. Returns the system's error number, or 0.
fn try_lock(file: &File) -> i32 {
    // SAFETY: flock on our own descriptor.
    match unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) } {
        0 => 0,
        _ => last_os_code(),
    }
}

/// Whether `path` leads to this file.
fn leads_to(path: &Path, file: &File) -> bool {
    match (std::fs::symlink_metadata(path), file.metadata()) {
        (Ok(named), Ok(own)) => inode(&named) == inode(&own),
        _ => false,
    }
}

/// Reserves the disk blocks, and sets mode and header.
fn build(file: &File, creation: &Creation, space: &mut Space) -> Result<()> {
    space.reserve(file, &creation.geometry)?;
    // SAFETY: fchmod on our own descriptor.
    if unsafe { libc::fchmod(file.as_raw_fd(), creation.mode as libc::mode_t) } < 0 {
        return Err(Error::last_os("fchmod"));
    }
    write_header(file, &creation.geometry)
}

/// Writes the identity, the magic number last.
pub(crate) fn write_header(file: &File, geometry: &Geometry) -> Result<()> {
    if geometry.lossless && !tells_the_dead(file) {
        return Err(Error::new(
            ErrorKind::Incompatible,
            "a lossless ring needs a file system with open-file-description locks that hold as long as a mapping does, as tmpfs (/dev/shm), ext4 and xfs have them",
        ));
    }
    let bytes = Identity::new(geometry).to_bytes();
    let write =
        |from: usize, to: usize| file.write_all_at(&bytes[from..to], from as u64).map_err(|e| os_error("pwrite", &e));
    write(8, bytes.len())?;
    fault_point!("mid-header");
    write(0, 8)
}

/// Initialises a file without a magic number, which must belong to this user, and be empty or all zeros and of exactly the right
/// size. The caller holds the file's lock. Returns `None` if the file has lost its name meanwhile.
pub(crate) fn fill_in_place(
    file: &File,
    path: &Path,
    creation: Option<&Creation>,
    draft: &mut Draft,
) -> Result<Option<Geometry>> {
    let meta = file.metadata().map_err(|e| os_error("fstat", &e))?;
    // SAFETY: geteuid has no preconditions.
    let ours = meta.uid() == unsafe { libc::geteuid() };
    let blank = || Ok(draft.space.is_of(&meta) || is_blank(file, meta.size())?);
    let creation = match creation {
        Some(creation) if ours && meta.size() == 0 => creation,
        Some(creation) if ours && meta.size() == creation.geometry.total && blank()? => creation,
        _ => return Err(unusable(file, path)),
    };
    build(file, creation, &mut draft.space).map_err(|e| e.about(path.display()))?;
    // It may have been removed while we waited. Then other processes would open another file.
    Ok(if leads_to(path, file) { Some(creation.geometry) } else { None })
}

/// Whether the file is all zeros, except for the part of a header that a creator wrote before it was killed.
fn is_blank(file: &File, len: u64) -> Result<bool> {
    let mut buffer = vec![0u8; 1 << 16];
    let mut at = std::mem::size_of::<IdentityBytes>() as u64;
    while at < len {
        let want = buffer.len().min((len - at) as usize);
        match file.read_at(&mut buffer[..want], at) {
            Ok(0) => return Ok(false),
            Ok(n) if buffer[..n].iter().any(|byte| *byte != 0) => return Ok(false),
            Ok(n) => at += n as u64,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => return Err(os_error("pread", &e)),
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests;
