//! Disk space for a ring's file, before anybody writes to it through a mapping, where a full disk would be a SIGBUS.
//!
//! It is reserved in pieces of some milliseconds, so that signals are looked after, and given back where there is too little.

use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::os::unix::io::AsRawFd;

use crate::error::{last_os_code, Error, ErrorKind, Result};
use crate::file::{inode, os_error, Inode};
use crate::layout::Geometry;
use crate::region::map;
use crate::room::Volume;

/// Bytes reserved at a time: some milliseconds of work.
const PIECE: u64 = 16 << 20;
/// The least piece: one that a signal of every instant cannot keep from getting done.
const LEAST_PIECE: u64 = 1 << 16;

/// How far the reservation of one file's space has come.
#[derive(Debug, Default)]
pub(crate) struct Space {
    /// The file.
    of: Option<Inode>,
    was_empty: bool,
    done: u64,
    /// How much to take next. A kernel that undoes what a signal interrupts gets less each time.
    piece: u64,
}

impl Space {
    /// Whether this is the file that `reserve` began with.
    pub(crate) fn is_of(&self, meta: &std::fs::Metadata) -> bool {
        self.of == Some(inode(meta)) && meta.size() > 0
    }

    /// Gives a new file its size, all zero, in one step, and then its disk blocks, so that no later write can find the disk
    /// full.
    ///
    /// # Errors
    /// [`ErrorKind::Interrupted`] after each piece but the last: call again.
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
            // While nothing is reserved yet and nobody knows the file: there may be no addresses for it.
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

    /// Gives a ring's file the disk blocks that it lacks: one that was copied may have holes where it was zero. Bytes that are
    /// there stay as they are.
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
            // It cannot reserve, for whatever reason. Writing can, but what an old file holds is not ours to write.
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

    /// A file that was empty is empty again.
    fn give_back(&mut self, file: &File) {
        if std::mem::take(self).was_empty {
            let _ = file.set_len(0);
        }
    }
}

pub(crate) fn allocated(meta: &std::fs::Metadata) -> u64 {
    meta.blocks() * 512
}

/// Memory that is on no file system that could be full: its size is sealed.
pub(crate) fn is_memfd(file: &File) -> bool {
    // SAFETY: fcntl on our own descriptor.
    let seals = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GET_SEALS) };
    seals >= 0 && seals & libc::F_SEAL_SHRINK != 0
}

/// Asks a file system that writes changed blocks to new places (btrfs) not to do so with this empty file: on a full disk it
/// would have none. Others refuse, and need not be asked.
fn write_in_place(file: &File) {
    const FS_NOCOW_FL: libc::c_int = 0x0080_0000;
    let mut flags: libc::c_int = 0;
    // SAFETY: both calls take a pointer to an int, whatever their numbers say; our own descriptor.
    unsafe {
        if libc::ioctl(file.as_raw_fd(), libc::FS_IOC_GETFLAGS, &mut flags) == 0 {
            flags |= FS_NOCOW_FL;
            libc::ioctl(file.as_raw_fd(), libc::FS_IOC_SETFLAGS, &flags);
        }
    }
}

/// For file systems that cannot reserve.
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
