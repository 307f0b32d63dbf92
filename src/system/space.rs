//! Reserves the disk space of a ring's file before it is mapped: a write to a mapping raises SIGBUS if the disk is full.
//!
//! The space is reserved in pieces of a few milliseconds, so that signals are handled, and is freed again if there is too little.

use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::os::unix::io::AsRawFd;

use crate::error::{last_os_code, Error, ErrorKind, Result};
use crate::file::{inode, os_error, Inode};
use crate::layout::Geometry;
use crate::region::map;
use crate::room::Volume;

/// How many bytes are reserved at a time: a few milliseconds of work.
const PIECE: u64 = 16 << 20;
/// The smallest piece: small enough to be reserved between two signals that follow each other quickly.
const LEAST_PIECE: u64 = 1 << 16;

/// The progress of the reservation for one file.
#[derive(Debug, Default)]
pub(crate) struct Space {
    /// The file.
    of: Option<Inode>,
    was_empty: bool,
    done: u64,
    /// The size of the next piece. It is halved when a signal interrupts the call, because some file systems then undo it.
    piece: u64,
}

impl Space {
    /// Whether the reservation was started for this file.
    pub(crate) fn is_of(&self, meta: &std::fs::Metadata) -> bool {
        self.of == Some(inode(meta)) && meta.size() > 0
    }

    /// Sets the size of a new file, which is all zeros then, and reserves its disk blocks, so that no later write can find the disk
    /// full.
    ///
    /// # Errors
    /// [`ErrorKind::Interrupted`] after each piece except the last: call it again.
    pub(crate) fn reserve(&mut self, file: &File, geometry: &Geometry) -> Result<()> {
        let meta = file.metadata().map_err(|e| os_error("fstat", &e))?;
        if !self.is_of(&meta) {
            check_file_size_limit("fallocate", geometry)?;
            Volume::of(file).check(geometry.total, geometry.total.saturating_sub(allocated(&meta)))?;
            if meta.size() == 0 {
                write_in_place(file);
            }
            file.set_len(geometry.total).map_err(|e| os_error("ftruncate", &e))?;
            *self = Space { of: Some(inode(&meta)), was_empty: meta.size() == 0, done: 0, piece: PIECE };
            // Before anything is reserved: there may not be enough address space to map the file.
            if let Err(error) = map(file, geometry) {
                self.give_back(file);
                return Err(error);
            }
        }
        let reserved = self.advance(file, geometry, 0);
        if matches!(&reserved, Err(error) if error.kind() != ErrorKind::Interrupted) {
            self.give_back(file);
        }
        reserved
    }

    /// Reserves the missing disk blocks of a ring's file: a copy may have holes where the original had zeros. The content is not
    /// changed.
    ///
    /// # Errors
    /// As [`reserve`](Self::reserve).
    pub(crate) fn fill_holes(&mut self, file: &File, geometry: &Geometry) -> Result<()> {
        let meta = file.metadata().map_err(|e| os_error("fstat", &e))?;
        let missing = geometry.total.saturating_sub(allocated(&meta));
        if !self.is_of(&meta) {
            if missing == 0 || is_memfd(file) {
                return Ok(());
            }
            let volume = Volume::of(file);
            if volume.never_compresses() {
                volume.check(geometry.total, missing)?;
            }
            *self = Space { of: Some(inode(&meta)), was_empty: false, done: 0, piece: PIECE };
        }
        self.advance(file, geometry, libc::FALLOC_FL_KEEP_SIZE)
    }

    /// Reserves the next piece.
    fn advance(&mut self, file: &File, geometry: &Geometry, flags: i32) -> Result<()> {
        let (at, len) = (self.done, self.piece.min(geometry.total - self.done));
        // SAFETY: fallocate on our own descriptor.
        let done = unsafe { libc::fallocate(file.as_raw_fd(), flags, at as libc::off_t, len as libc::off_t) } == 0;
        let full = |code| matches!(code, libc::ENOSPC | libc::EDQUOT);
        match if done { 0 } else { last_os_code() } {
            0 => {
                self.done += len;
                self.piece = (2 * self.piece).min(PIECE);
            }
            libc::EINTR => self.piece = (self.piece / 2).max(LEAST_PIECE),
            code if full(code) => return Err(Volume::of(file).no_space(geometry.total, code)),
            // The file system cannot reserve. Writing zeros does the same for a new file; an old one must not be overwritten.
            _ if flags & libc::FALLOC_FL_KEEP_SIZE != 0 => self.done = geometry.total,
            _ => match write_zeros(file, at, len).map_err(|e| e.raw_os_error().unwrap_or(libc::EIO)) {
                Ok(()) => self.done += len,
                Err(code) if full(code) => return Err(Volume::of(file).no_space(geometry.total, code)),
                Err(code) => return Err(Error::from_os(format!("write({} bytes)", geometry.total), code)),
            },
        }
        if self.done < geometry.total {
            return Err(Error::new(ErrorKind::Interrupted, "interrupted while the space for the ring is reserved"));
        }
        *self = Space::default();
        Ok(())
    }

    /// Truncates a file that was empty.
    fn give_back(&mut self, file: &File) {
        if std::mem::take(self).was_empty {
            let _ = file.set_len(0);
        }
    }
}

pub(crate) fn allocated(meta: &std::fs::Metadata) -> u64 {
    meta.blocks() * 512
}

/// Whether the file is a memfd with a sealed size, which is not on a file system that can be full.
pub(crate) fn is_memfd(file: &File) -> bool {
    // SAFETY: fcntl on our own descriptor.
    let seals = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GET_SEALS) };
    seals >= 0 && seals & libc::F_SEAL_SHRINK != 0
}

/// Turns copy-on-write off for this empty file (btrfs): otherwise a write to a reserved block needs a free one. Other file systems
/// refuse, and do not need it.
fn write_in_place(file: &File) {
    const FS_NOCOW_FL: libc::c_int = 0x0080_0000;
    let mut flags: libc::c_int = 0;
    // SAFETY: both calls take a pointer to an int, though their numbers encode a long; our own descriptor.
    unsafe {
        if libc::ioctl(file.as_raw_fd(), libc::FS_IOC_GETFLAGS, &mut flags) == 0 {
            flags |= FS_NOCOW_FL;
            libc::ioctl(file.as_raw_fd(), libc::FS_IOC_SETFLAGS, &flags);
        }
    }
}

/// Writes zeros, for file systems that cannot reserve.
fn write_zeros(file: &File, from: u64, len: u64) -> std::io::Result<()> {
    let zeros = vec![0u8; 1 << 16];
    let mut at = 0;
    while at < len {
        let n = zeros.len().min((len - at) as usize);
        file.write_all_at(&zeros[..n], from + at)?;
        at += n as u64;
    }
    Ok(())
}

/// Returns an error if the file would exceed the process's limit, because growing it would raise SIGXFSZ.
pub(crate) fn check_file_size_limit(call: &str, geometry: &Geometry) -> Result<()> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is valid for writes.
    let known = unsafe { libc::getrlimit(libc::RLIMIT_FSIZE, &mut limit) } == 0;
    if known && limit.rlim_cur != libc::RLIM_INFINITY && geometry.total > limit.rlim_cur {
        return Err(Error::from_os(format!("{}({} bytes)", call, geometry.total), libc::EFBIG));
    }
    Ok(())
}
