//! The memory of a model's ring: with the normal layout, and a loom atomic in the place of each word.

use std::alloc::{alloc_zeroed, dealloc, Layout};
use std::ffi::CStr;
use std::mem::size_of;
use std::os::unix::io::RawFd;
use std::path::Path;

use crate::create::{Creation, Draft};
use crate::error::{Error, ErrorKind, Result};
use crate::layout::{Geometry, Header, Variant, HEADER_LEN};
use crate::sync::AtomicU64;

#[derive(Debug)]
pub(crate) struct Region {
    bytes: *mut u8,
    layout: Layout,
}

fn no_files<T>() -> Result<T> {
    Err(Error::new(ErrorKind::Argument, "a model has no files"))
}

const WORD: usize = 8;
const _: () = assert!(size_of::<AtomicU64>() == WORD && size_of::<Header>() <= HEADER_LEN as usize);

impl Region {
    pub(crate) fn open(_: &Path, _: Variant, _: Option<&Creation>, _: &mut Draft) -> Result<(Region, Geometry)> {
        no_files()
    }

    pub(crate) fn open_read_only(_: &Path, _: Variant) -> Result<(Region, Geometry)> {
        no_files()
    }

    pub(crate) fn memory(_: &CStr, geometry: &Geometry, _: bool) -> Result<Region> {
        let layout = Layout::from_size_align(geometry.total as usize, HEADER_LEN as usize).expect("a small ring");
        // SAFETY: the size is not 0; all writes are within it (asserted above) and aligned.
        unsafe {
            let bytes = alloc_zeroed(layout);
            assert!(!bytes.is_null());
            bytes.cast::<Header>().write(Header::default());
            for at in (HEADER_LEN as usize..layout.size()).step_by(WORD) {
                bytes.add(at).cast::<AtomicU64>().write(AtomicU64::new(0));
            }
            Ok(Region { bytes, layout })
        }
    }

    pub(crate) fn from_fd(_: RawFd, _: Variant) -> Result<(Region, Geometry, bool)> {
        no_files()
    }

    pub(crate) fn base(&self) -> *mut u8 {
        self.bytes
    }

    pub(crate) fn path(&self) -> Option<&Path> {
        None
    }

    pub(crate) fn prefault(&self) {}

    pub(crate) fn memfd(&self) -> Option<RawFd> {
        None
    }

    pub(crate) fn unlink(&self) -> Result<()> {
        no_files()
    }

    pub(crate) fn is_elsewhere(&self) -> bool {
        false
    }

    pub(crate) fn reopen(&self, _: Variant, _: bool) -> Result<(Region, Geometry)> {
        no_files()
    }

    pub(crate) fn source(&self) -> Option<()> {
        None
    }

    pub(crate) fn sync(&self) -> Result<()> {
        Ok(())
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: allocated by `memory`. loom's atomics are numbers and need no drop.
        unsafe { dealloc(self.bytes, self.layout) };
    }
}

/// Has the signature of the normal function.
///
/// # Errors
/// Always: a model has no files.
pub fn unlink(_: &Path) -> Result<()> {
    no_files()
}
