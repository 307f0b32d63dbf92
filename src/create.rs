//! Making a ring file: whole, or not at all.
//!
//! A new ring is built where nobody sees it and appears whole: a nameless file (`O_TMPFILE`) gets its mode, its disk blocks
//! and its header, the magic number with it, and is then linked into place. If somebody else was first, ours is dropped
//! and theirs attached. So a creator killed at any instant leaves nothing half made. Only a file that its owner made
//! beforehand, empty or all zero and of exactly the right size, is filled in place, under `flock`; the magic number is
//! written last, so whoever is killed there leaves a file that the next one fills.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::os::unix::io::AsRawFd;
use std::path::{Path, PathBuf};

use crate::error::{last_os_code, Error, Result};
use crate::fault::fault_point;
use crate::fd::above_standard;
use crate::file::{boot_id, c_path, os_error, unusable};
use crate::layout::{Geometry, Identity, IdentityBytes};

/// How a ring that is not there yet is to be made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Creation {
    pub(crate) geometry: Geometry,
    /// Permission bits of the file, whatever the umask.
    pub(crate) mode: u32,
}

/// Makes a whole ring under `path`. None: somebody else was first.
pub(crate) fn create(path: &Path, name: &CStr, creation: &Creation) -> Result<Option<File>> {
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let opened = |flags: i32, at: &Path| {
        std::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(flags & libc::O_EXCL != 0)
            .mode(0o600)
            .custom_flags(flags | libc::O_CLOEXEC)
            .open(at)
    };
    let failed = |e: std::io::Error| os_error(&format!("open({})", path.display()), &e);
    match opened(libc::O_TMPFILE, folder) {
        Ok(file) => {
            let file = above_standard(file).map_err(failed)?;
            build(&file, creation)?;
            let own = CString::new(format!("/proc/self/fd/{}", file.as_raw_fd())).expect("no NUL in a number");
            fault_point!("before-link");
            // SAFETY: two C strings.
            let linked = unsafe {
                libc::linkat(libc::AT_FDCWD, own.as_ptr(), libc::AT_FDCWD, name.as_ptr(), libc::AT_SYMLINK_FOLLOW)
            };
            match if linked == 0 { 0 } else { last_os_code() } {
                0 => return Ok(Some(file)),
                libc::EEXIST => return Ok(None),
                _ => {} // no /proc, or no links from nameless files: by a name of our own, below
            }
        }
        Err(e) => match e.raw_os_error().unwrap_or(0) {
            libc::EOPNOTSUPP | libc::EISDIR | libc::EINVAL => {}
            code => return Err(Error::from_os(format!("open({})", path.display()), code)),
        },
    }
    let temporary = temporary_name(folder);
    let file = opened(libc::O_EXCL, &temporary).map_err(failed)?;
    let placed = above_standard(file).map_err(failed).and_then(|file| {
        build(&file, creation)?;
        Ok(if place(&temporary, path)? { Some(file) } else { None })
    });
    let _ = std::fs::remove_file(&temporary);
    placed
}

/// A name that nobody else uses.
fn temporary_name(folder: &Path) -> PathBuf {
    let mut random = [0u8; 8];
    // SAFETY: room for 8 bytes. A failure leaves zeros, and `O_EXCL` still keeps us apart from others.
    unsafe { libc::getrandom(random.as_mut_ptr().cast(), random.len(), 0) };
    folder.join(format!(".pubsub-{}-{:016x}", std::process::id(), u64::from_ne_bytes(random)))
}

/// Gives the finished file `temporary` the name `path`, unless something has it. False: something has.
fn place(temporary: &Path, path: &Path) -> Result<bool> {
    let linked = match std::fs::hard_link(temporary, path) {
        // A file system without links: rename, which must not replace.
        Err(e) if matches!(e.raw_os_error(), Some(libc::EPERM) | Some(libc::EOPNOTSUPP)) => {
            let (from, to) = (c_path(temporary)?, c_path(path)?);
            // SAFETY: two C strings.
            let renamed = unsafe {
                libc::syscall(
                    libc::SYS_renameat2,
                    libc::AT_FDCWD,
                    from.as_ptr(),
                    libc::AT_FDCWD,
                    to.as_ptr(),
                    libc::RENAME_NOREPLACE,
                )
            };
            if renamed == 0 {
                Ok(())
            } else {
                Err(std::io::Error::last_os_error())
            }
        }
        other => other,
    };
    match linked {
        Ok(()) => Ok(true),
        Err(e) if e.raw_os_error() == Some(libc::EEXIST) => Ok(false),
        Err(e) => Err(os_error(&format!("link({})", path.display()), &e)),
    }
}

/// Mode, disk blocks, header.
fn build(file: &File, creation: &Creation) -> Result<()> {
    // SAFETY: fchmod on our own descriptor.
    if unsafe { libc::fchmod(file.as_raw_fd(), creation.mode as libc::mode_t) } < 0 {
        return Err(Error::last_os("fchmod"));
    }
    reserve(file, &creation.geometry)?;
    write_header(file, &creation.geometry)
}

/// Gives the file its size, all zero, in one step, and then its disk blocks, so that no later write can find the disk full.
fn reserve(file: &File, geometry: &Geometry) -> Result<()> {
    check_file_size_limit("fallocate", geometry)?;
    file.set_len(geometry.total).map_err(|e| os_error("ftruncate", &e))?;
    loop {
        // SAFETY: fallocate on our own descriptor.
        if unsafe { libc::fallocate(file.as_raw_fd(), 0, 0, geometry.total as libc::off_t) } == 0 {
            return Ok(());
        }
        match last_os_code() {
            libc::EINTR => {}
            libc::EOPNOTSUPP | libc::ENOSYS => return write_zeros(file, geometry.total),
            code => return Err(Error::from_os(format!("fallocate({} bytes)", geometry.total), code)),
        }
    }
}

/// For file systems that cannot reserve.
fn write_zeros(file: &File, len: u64) -> Result<()> {
    let zeros = vec![0u8; 1 << 16];
    let mut at = 0;
    while at < len {
        let n = zeros.len().min((len - at) as usize);
        file.write_all_at(&zeros[..n], at).map_err(|e| os_error(&format!("write({} bytes)", len), &e))?;
        at += n as u64;
    }
    Ok(())
}

/// Growing a file beyond the process's limit would raise SIGXFSZ: makes an error of it.
pub(crate) fn check_file_size_limit(call: &str, geometry: &Geometry) -> Result<()> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is there to be written to.
    let known = unsafe { libc::getrlimit(libc::RLIMIT_FSIZE, &mut limit) } == 0;
    if known && limit.rlim_cur != libc::RLIM_INFINITY && geometry.total > limit.rlim_cur {
        return Err(Error::from_os(format!("{}({} bytes)", call, geometry.total), libc::EFBIG));
    }
    Ok(())
}

/// Writes the identity, the magic number last.
pub(crate) fn write_header(file: &File, geometry: &Geometry) -> Result<()> {
    let bytes = Identity::new(geometry, boot_id()).to_bytes();
    let write =
        |from: usize, to: usize| file.write_all_at(&bytes[from..to], from as u64).map_err(|e| os_error("pwrite", &e));
    write(8, bytes.len())?;
    fault_point!("mid-header");
    write(0, 8)
}

/// Initialises a file without a magic number: ours, and empty or all zero and of exactly the right size. The caller holds
/// the file's lock. None: it lost its name meanwhile.
pub(crate) fn fill_in_place(file: &File, path: &Path, creation: Option<&Creation>) -> Result<Option<Geometry>> {
    let meta = file.metadata().map_err(|e| os_error("fstat", &e))?;
    let usable = match creation {
        // SAFETY: geteuid has no preconditions.
        Some(creation) if meta.uid() == unsafe { libc::geteuid() } => Some(creation),
        _ => None,
    };
    let creation = match usable {
        Some(creation) if meta.size() == 0 => creation,
        Some(creation) if meta.size() == creation.geometry.total && is_blank(file, meta.size())? => creation,
        _ => return Err(unusable(path, meta.size())),
    };
    if let Err(error) = reserve(file, &creation.geometry) {
        if meta.size() == 0 {
            let _ = file.set_len(0);
        }
        return Err(error);
    }
    write_header(file, &creation.geometry)?;
    // Somebody may have removed it while we waited: then a ring that others open would be another file.
    let same = match std::fs::symlink_metadata(path) {
        Ok(named) => (named.dev(), named.ino()) == (meta.dev(), meta.ino()),
        Err(_) => false,
    };
    Ok(if same { Some(creation.geometry) } else { None })
}

/// Whether the file is all zero but for what a creator killed in mid-header left behind its missing magic number.
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
