//! The C interface to rings' files: the part of [`crate::ffi`] that the models do not include.

#![allow(missing_docs, clippy::missing_safety_doc)]

use std::ffi::CString;
use std::os::raw::{c_char, c_int};

use crate::check::Report;
use crate::ffi::{give, give_readers, path, report, CReader, Failure};
use crate::inspect::Inspection;
use crate::ring::Ring;
use crate::stats::Stats;

const IDENTITY_LEN: usize = 96;
const REASON_LEN: usize = 160;

/// `ps_header` of the C header.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct FileHeader {
    pub(crate) stats: Stats,
    pub(crate) end: u64,
    pub(crate) base: u64,
    pub(crate) used: u64,
    pub(crate) size: u64,
    pub(crate) allocated: u64,
    pub(crate) device: u64,
    pub(crate) inode: u64,
    pub(crate) variant: u32,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) unregistered: bool,
    pub(crate) has_magic: bool,
    pub(crate) likely: bool,
    pub(crate) by_descriptor: bool,
    pub(crate) identity: [c_char; IDENTITY_LEN],
    pub(crate) reason: [c_char; REASON_LEN],
}

/// Copies as much of the text as there is room for, and a NUL. All texts here are ASCII.
fn put<const LEN: usize>(to: &mut [c_char; LEN], text: &str) {
    *to = [0; LEN];
    to[..LEN - 1].iter_mut().zip(text.as_bytes()).for_each(|(to, from)| *to = *from as c_char);
}

impl From<&Inspection> for FileHeader {
    fn from(seen: &Inspection) -> FileHeader {
        let mut header = FileHeader {
            stats: seen.stats,
            end: seen.end,
            base: seen.base,
            used: seen.used,
            size: seen.file.size,
            allocated: seen.file.allocated,
            device: seen.file.inode.0,
            inode: seen.file.inode.1,
            variant: seen.variant.map_or(0, |variant| variant as u32),
            mode: seen.file.mode,
            uid: seen.file.uid,
            unregistered: seen.unregistered,
            has_magic: seen.has_magic,
            likely: seen.likely,
            by_descriptor: seen.file.by_descriptor,
            identity: [0; IDENTITY_LEN],
            reason: [0; REASON_LEN],
        };
        put(&mut header.identity, &seen.file.identity);
        put(&mut header.reason, seen.reason.as_deref().unwrap_or(""));
        header
    }
}

#[no_mangle]
pub unsafe extern "C" fn ps_ring_attach(
    bytes: *const c_char,
    len: usize,
    read_only: bool,
    failure: *mut Failure,
) -> *mut Ring {
    let open = if read_only { Ring::attach_read_only } else { Ring::attach };
    // SAFETY: `len` readable bytes and a writable error, as documented.
    unsafe { give(open(path(bytes, len)), failure) }
}

#[no_mangle]
pub unsafe extern "C" fn ps_ring_attach_fd(fd: c_int, failure: *mut Failure) -> *mut Ring {
    // SAFETY: a writable error, as documented.
    unsafe { give(Ring::attach_number(fd), failure) }
}

#[no_mangle]
pub unsafe extern "C" fn ps_ring_variant(ring: &Ring) -> u32 {
    ring.variant() as u32
}

#[no_mangle]
pub unsafe extern "C" fn ps_inspect(
    bytes: *const c_char,
    len: usize,
    header: &mut FileHeader,
    failure: *mut Failure,
) -> bool {
    // SAFETY: `len` readable bytes and a writable error, as documented.
    unsafe {
        match crate::inspect::inspect(path(bytes, len)) {
            Ok(seen) => {
                *header = FileHeader::from(&seen);
                true
            }
            Err(error) => report(failure, Some(&error)),
        }
    }
}

#[no_mangle]
pub unsafe extern "C" fn ps_inspect_readers(
    bytes: *const c_char,
    len: usize,
    waited_for: bool,
    count: &mut usize,
    failure: *mut Failure,
) -> *mut CReader {
    // SAFETY: `len` readable bytes and a writable error, as documented.
    unsafe {
        match crate::inspect::inspect_readers(path(bytes, len), waited_for) {
            Ok(readers) => give_readers(readers, count),
            Err(error) => {
                report(failure, Some(&error));
                std::ptr::null_mut()
            }
        }
    }
}

/// A report, with its texts as C strings.
#[derive(Debug)]
pub struct Texts {
    problems: Vec<CString>,
    notes: Vec<CString>,
}

#[no_mangle]
pub unsafe extern "C" fn ps_check(
    bytes: *const c_char,
    len: usize,
    all: bool,
    header: &mut FileHeader,
    checked: &mut u64,
    failure: *mut Failure,
) -> *mut Texts {
    // SAFETY: `len` readable bytes and a writable error, as documented.
    unsafe {
        let texts = crate::check::check(path(bytes, len), all).map(|found: Report| {
            let c = |texts: Vec<String>| texts.into_iter().map(|t| CString::new(t).expect("no NUL in it")).collect();
            *header = FileHeader::from(&found.inspection);
            *checked = found.checked.unwrap_or(0);
            Texts { problems: c(found.problems), notes: c(found.notes) }
        });
        give(texts, failure)
    }
}

fn nth(texts: &[CString], i: usize) -> *const c_char {
    texts.get(i).map_or(std::ptr::null(), |text| text.as_ptr())
}

#[no_mangle]
pub unsafe extern "C" fn ps_report_problem(texts: &Texts, i: usize) -> *const c_char {
    nth(&texts.problems, i)
}

#[no_mangle]
pub unsafe extern "C" fn ps_report_note(texts: &Texts, i: usize) -> *const c_char {
    nth(&texts.notes, i)
}

#[no_mangle]
pub unsafe extern "C" fn ps_report_free(texts: *mut Texts) {
    // SAFETY: it was returned by `ps_check`, and is not used again.
    drop(unsafe { Box::from_raw(texts) });
}

#[no_mangle]
pub unsafe extern "C" fn ps_identity(ring: &Ring, text: &mut [c_char; IDENTITY_LEN]) {
    put(text, &ring.identity().unwrap_or_default());
}
