//! The C interface of the core; `include/pubsub.h` documents every function. This module only converts arguments and results.
//!
//! Pointers come from this module or are documented in the header. A panic aborts, because it must not unwind into C. A handle
//! may be used by one thread at a time, like C's `FILE` without locking.

#![allow(missing_docs, clippy::missing_safety_doc)]

use std::ffi::{CStr, OsStr};
use std::os::raw::{c_char, c_int, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::{ptr, slice};

use crate::any_ring::Number;
use crate::create::Draft;
use crate::cursor::Next;
use crate::error::{Error, ErrorKind, Result};
use crate::layout::Variant;
use crate::notify::Notifier;
use crate::options::Options;
use crate::readers::{Reader, MAX_NAME};
use crate::ring::{Ring, SubscribeOptions};
use crate::set::{Member, Set};
use crate::slot_ring::Batch;
use crate::stats::Stats;
use crate::str_ring::{Bytes, Found};
use crate::subscriber::Subscriber;
use crate::waiting::Wait;

#[cfg(all(test, not(loom)))]
mod layout;
mod messages;

/// Size of the buffer for an error's text, in bytes.
const TEXT_LEN: usize = 1024;

/// `ps_error`: the kind (0: no error), `errno` of the failed system call (or 0), and a NUL-terminated text.
#[repr(C)]
pub struct Failure {
    kind: c_int,
    os_code: c_int,
    text: [c_char; TEXT_LEN],
}

/// Stores `error`, if there is one, in `failure`, which must be writable or null. Returns true if there is no error.
pub(crate) unsafe fn report(failure: *mut Failure, error: Option<&Error>) -> bool {
    // SAFETY: the caller's contract.
    if let (Some(failure), Some(error)) = (unsafe { failure.as_mut() }, error) {
        let text = shortened(error.to_string(), TEXT_LEN - 1);
        failure.kind = error.kind() as c_int;
        failure.os_code = error.os_code();
        for (to, from) in failure.text.iter_mut().zip(text.as_bytes().iter().chain(&[0])) {
            *to = *from as c_char;
        }
    }
    error.is_none()
}

/// Shortens a text to at most `most` bytes. It omits the middle, where paths are, and keeps the cause at the end.
fn shortened(text: String, most: usize) -> String {
    const GAP: &str = "...";
    if text.len() <= most {
        return text;
    }
    let kept = most - GAP.len();
    let (mut head, mut tail) = (kept / 2, text.len() - kept / 2);
    while !text.is_char_boundary(head) {
        head -= 1;
    }
    while !text.is_char_boundary(tail) {
        tail += 1;
    }
    [&text[..head], GAP, &text[tail..]].concat()
}

/// Returns a pointer to the boxed value, or null after storing the error in `failure`.
pub(crate) unsafe fn give<T>(result: Result<T>, failure: *mut Failure) -> *mut T {
    match result {
        Ok(value) => Box::into_raw(Box::new(value)),
        Err(error) => {
            // SAFETY: the caller's contract.
            unsafe { report(failure, Some(&error)) };
            std::ptr::null_mut()
        }
    }
}

fn variant(number: u32) -> Result<Variant> {
    Variant::from_number(number)
        .ok_or_else(|| Error::new(ErrorKind::Argument, format!("variant must be 1 to 5, not {}", number)))
}

/// The slice for a pointer and a count from C. If the count is 0, the pointer may be anything, null included.
unsafe fn items<'a, T>(first: *const T, count: usize) -> &'a [T] {
    if count == 0 {
        return &[];
    }
    // SAFETY: the caller's contract: `count` readable items.
    unsafe { slice::from_raw_parts(first, count) }
}

pub(crate) unsafe fn path<'a>(bytes: *const c_char, len: usize) -> &'a Path {
    // SAFETY: the caller's contract: `len` readable bytes.
    Path::new(OsStr::from_bytes(unsafe { items(bytes.cast(), len) }))
}

#[no_mangle]
pub unsafe extern "C" fn ps_ring_open(
    number: u32,
    bytes: *const c_char,
    len: usize,
    options: &Options,
    failure: *mut Failure,
) -> *mut Ring {
    // SAFETY: `len` readable bytes and a writable error, as documented.
    unsafe { give(variant(number).and_then(|v| options.open(v, path(bytes, len))), failure) }
}

#[no_mangle]
pub extern "C" fn ps_draft_new() -> *mut Draft {
    Box::into_raw(Box::default())
}

#[no_mangle]
pub unsafe extern "C" fn ps_draft_free(draft: *mut Draft) {
    // SAFETY: from `ps_draft_new`, and not used again.
    drop(unsafe { Box::from_raw(draft) });
}

#[no_mangle]
pub unsafe extern "C" fn ps_ring_open_some(
    number: u32,
    bytes: *const c_char,
    len: usize,
    options: &Options,
    draft: &mut Draft,
    failure: *mut Failure,
) -> *mut Ring {
    // SAFETY: `len` readable bytes and a writable error, as documented.
    unsafe {
        let open = |v| options.open_some(v, path(bytes, len), draft);
        give(variant(number).and_then(open), failure)
    }
}

#[no_mangle]
pub unsafe extern "C" fn ps_ring_anonymous(number: u32, options: &Options, failure: *mut Failure) -> *mut Ring {
    // SAFETY: a writable error, as documented.
    unsafe { give(variant(number).and_then(|v| options.anonymous(v)), failure) }
}

#[no_mangle]
pub unsafe extern "C" fn ps_ring_memfd(
    number: u32,
    name: *const c_char,
    options: &Options,
    failure: *mut Failure,
) -> *mut Ring {
    // SAFETY: a C string and a writable error, as documented.
    unsafe { give(variant(number).and_then(|v| options.memfd(v, CStr::from_ptr(name))), failure) }
}

#[no_mangle]
pub unsafe extern "C" fn ps_ring_from_fd(number: u32, fd: c_int, failure: *mut Failure) -> *mut Ring {
    // SAFETY: a writable error, as documented.
    unsafe { give(variant(number).and_then(|v| Ring::from_number(v, fd)), failure) }
}

#[no_mangle]
pub unsafe extern "C" fn ps_ring_open_read_only(
    number: u32,
    bytes: *const c_char,
    len: usize,
    failure: *mut Failure,
) -> *mut Ring {
    // SAFETY: `len` readable bytes and a writable error, as documented.
    unsafe { give(variant(number).and_then(|v| Ring::open_read_only(v, path(bytes, len))), failure) }
}

#[no_mangle]
pub unsafe extern "C" fn ps_ring_free(ring: *mut Ring) {
    if !ring.is_null() {
        // SAFETY: from one of the functions above, and not used again.
        drop(unsafe { Box::from_raw(ring) });
    }
}

#[no_mangle]
pub unsafe extern "C" fn ps_ring_is_gone(ring: &Ring) -> bool {
    ring.is_gone()
}

#[no_mangle]
pub unsafe extern "C" fn ps_ring_reopen(ring: &mut Ring, failure: *mut Failure) -> bool {
    // SAFETY: a writable error, as documented.
    unsafe { report(failure, ring.reopen().err().as_ref()) }
}

#[no_mangle]
pub unsafe extern "C" fn ps_sub_is_gone(sub: &Subscriber) -> bool {
    sub.is_gone()
}

#[no_mangle]
pub unsafe extern "C" fn ps_sub_reopen(sub: &mut Subscriber, failure: *mut Failure) -> bool {
    // SAFETY: a writable error, as documented.
    unsafe { report(failure, sub.reopen().err().as_ref()) }
}

#[no_mangle]
pub unsafe extern "C" fn ps_ring_unlink(ring: &Ring, failure: *mut Failure) -> bool {
    // SAFETY: a writable error, as documented.
    unsafe { report(failure, ring.unlink().err().as_ref()) }
}

#[no_mangle]
pub unsafe extern "C" fn ps_ring_read_only(ring: &Ring) -> bool {
    ring.is_read_only()
}

#[no_mangle]
pub unsafe extern "C" fn ps_unlink(bytes: *const c_char, len: usize, failure: *mut Failure) -> bool {
    // SAFETY: `len` readable bytes and a writable error, as documented.
    unsafe { report(failure, crate::region::unlink(path(bytes, len)).err().as_ref()) }
}

// All functions below take a live handle, as documented.

#[no_mangle]
pub unsafe extern "C" fn ps_publish_int(ring: &Ring, value: i64, failure: *mut Failure) -> bool {
    match ring.publish_at_once(Number::Int(value)) {
        Ok(()) => true,
        // SAFETY: a writable error, as documented.
        Err(claimed) => unsafe { publish_int_anyway(ring, claimed, value, failure) },
    }
}

#[inline(never)]
unsafe fn publish_int_anyway(ring: &Ring, claimed: Option<u64>, value: i64, failure: *mut Failure) -> bool {
    // SAFETY: as above.
    unsafe { say_whether(ring.publish_anyway(claimed, Number::Int(value)), failure) }
}

/// Returns whether the message was published; if not, stores the error, [`ErrorKind::Full`] if there was no room.
unsafe fn say_whether(published: Result<bool>, failure: *mut Failure) -> bool {
    match published {
        Ok(true) => true,
        Ok(false) => full(failure),
        // SAFETY: a writable error, as documented.
        Err(error) => unsafe { report(failure, Some(&error)) },
    }
}

#[cold]
fn full(failure: *mut Failure) -> bool {
    // SAFETY: a writable error, as documented.
    unsafe { report(failure, Some(&crate::ring::full())) }
}

/// Returns how the wait ended, or -1 after storing the error.
unsafe fn waited(how: Result<Wait>, failure: *mut Failure) -> c_int {
    match how {
        Ok(how) => how as c_int,
        Err(error) => {
            // SAFETY: a writable error, as documented.
            unsafe { report(failure, Some(&error)) };
            -1
        }
    }
}

/// Whether `signalled` points to a number that is not 0. It may be null. Signal handlers may write the number at any moment, so
/// it is read as volatile.
unsafe fn is_set(signalled: *const c_int) -> bool {
    // SAFETY: the caller's contract.
    !signalled.is_null() && unsafe { signalled.read_volatile() } != 0
}

#[no_mangle]
pub unsafe extern "C" fn ps_wait_for_room(
    ring: &Ring,
    count: usize,
    deadline: u64,
    signalled: *const c_int,
    failure: *mut Failure,
) -> c_int {
    // SAFETY: as documented.
    unsafe { waited(ring.wait_for_room(count as u64, deadline, || is_set(signalled)), failure) }
}

#[no_mangle]
pub unsafe extern "C" fn ps_wait_for_readers(
    ring: &Ring,
    deadline: u64,
    signalled: *const c_int,
    failure: *mut Failure,
) -> c_int {
    // SAFETY: as documented.
    unsafe { waited(ring.wait_for_readers(deadline, || is_set(signalled)), failure) }
}

/// `ps_reader`: a [`Reader`] for C.
#[repr(C)]
pub struct CReader {
    name: [c_char; MAX_NAME + 1],
    position: u64,
    lag: u64,
    lost: u64,
    delivered: u64,
    since: u64,
    pid: u32,
    alive: c_int,
    waits: bool,
    lossy: bool,
}

impl From<Reader> for CReader {
    fn from(reader: Reader) -> CReader {
        let Reader { position, lag, lost, delivered, since, pid, waits, lossy, .. } = reader;
        let mut name = [0; MAX_NAME + 1];
        // A corrupt name may have become longer: each invalid byte was replaced by the 3 bytes of U+FFFD.
        let text = shortened(reader.name.unwrap_or_default(), MAX_NAME);
        name.iter_mut().zip(text.bytes()).for_each(|(to, from)| *to = from as c_char);
        let alive = reader.alive.map_or(-1, c_int::from);
        CReader { name, position, lag, lost, delivered, since, pid, alive, waits, lossy }
    }
}

#[no_mangle]
pub unsafe extern "C" fn ps_readers(ring: &Ring, waited_for: bool, count: &mut usize) -> *mut CReader {
    give_readers(if waited_for { ring.waiting_for() } else { ring.readers() }, count)
}

pub(crate) fn give_readers(readers: Vec<Reader>, count: &mut usize) -> *mut CReader {
    let readers: Box<[CReader]> = readers.into_iter().map(CReader::from).collect();
    *count = readers.len();
    Box::into_raw(readers).cast()
}

#[no_mangle]
pub unsafe extern "C" fn ps_readers_free(readers: *mut CReader, count: usize) {
    // SAFETY: from `give_readers`, with the count from there, and not used again.
    drop(unsafe { Box::from_raw(ptr::slice_from_raw_parts_mut(readers, count)) });
}

#[no_mangle]
pub unsafe extern "C" fn ps_forget(ring: &Ring, name: *const c_char, len: usize, failure: *mut Failure) -> c_int {
    // SAFETY: `len` readable bytes and a writable error, as documented.
    unsafe {
        match utf8(name, len).and_then(|name| ring.forget(name)) {
            Ok(there_was) => there_was.into(),
            Err(error) => {
                report(failure, Some(&error));
                -1
            }
        }
    }
}

unsafe fn utf8<'a>(name: *const c_char, len: usize) -> Result<&'a str> {
    // SAFETY: the caller's contract: `len` readable bytes.
    std::str::from_utf8(unsafe { items(name.cast(), len) })
        .map_err(|_| Error::new(ErrorKind::Argument, "name is not UTF-8"))
}

#[no_mangle]
pub unsafe extern "C" fn ps_publish_num(ring: &Ring, value: f64, failure: *mut Failure) -> bool {
    match ring.publish_at_once(Number::Num(value)) {
        Ok(()) => true,
        // SAFETY: a writable error, as documented.
        Err(claimed) => unsafe { publish_num_anyway(ring, claimed, value, failure) },
    }
}

#[inline(never)]
unsafe fn publish_num_anyway(ring: &Ring, claimed: Option<u64>, value: f64, failure: *mut Failure) -> bool {
    // SAFETY: as above.
    unsafe { say_whether(ring.publish_anyway(claimed, Number::Num(value)), failure) }
}

#[no_mangle]
pub unsafe extern "C" fn ps_publish_packed(
    ring: &Ring,
    bytes: *const c_void,
    len: usize,
    failure: *mut Failure,
) -> i64 {
    // SAFETY: `len` readable bytes, as documented.
    match ring.try_publish_packed(unsafe { items(bytes.cast(), len) }) {
        Ok(count) => count as i64,
        Err(error) => {
            // SAFETY: a writable error, as documented.
            unsafe { report(failure, Some(&error)) };
            -1
        }
    }
}

#[no_mangle]
pub unsafe extern "C" fn ps_claim(ring: &Ring, count: usize, batch: &mut Batch, failure: *mut Failure) -> bool {
    match ring.claim(count) {
        Ok(claimed) => {
            *batch = claimed;
            true
        }
        Err(error) => {
            *batch = Batch::default();
            // SAFETY: a writable error, as documented.
            unsafe { report(failure, Some(&error)) }
        }
    }
}

#[no_mangle]
pub unsafe extern "C" fn ps_put(
    ring: &Ring,
    batch: &mut Batch,
    values: *const i64,
    count: usize,
    failure: *mut Failure,
) -> bool {
    // SAFETY: `count` readable values and a writable error, as documented.
    unsafe { report(failure, ring.put(batch, items(values, count)).err().as_ref()) }
}

#[no_mangle]
pub unsafe extern "C" fn ps_wake(ring: &Ring) {
    ring.wake();
}

#[no_mangle]
pub unsafe extern "C" fn ps_publish_strs(
    ring: &Ring,
    messages: *const Bytes,
    count: usize,
    failure: *mut Failure,
) -> bool {
    // SAFETY: `count` readable messages and a writable error, as documented.
    unsafe {
        match ring.publish_strs(items(messages, count)) {
            Ok(()) => true,
            Err(error) => report(failure, Some(&error)),
        }
    }
}

#[no_mangle]
pub unsafe extern "C" fn ps_check_strs(
    ring: &Ring,
    messages: *const Bytes,
    count: usize,
    failure: *mut Failure,
) -> bool {
    // SAFETY: `count` readable messages and a writable error, as documented.
    unsafe { report(failure, ring.check_strs(items(messages, count)).err().as_ref()) }
}

#[no_mangle]
pub unsafe extern "C" fn ps_subscribe(ring: &Ring, all: bool) -> *mut Subscriber {
    Box::into_raw(Box::new(ring.subscribe_anyhow(all, crate::process::thread())))
}

#[no_mangle]
pub unsafe extern "C" fn ps_subscribe_with(
    ring: &Ring,
    all: bool,
    lossy: bool,
    name: *const c_char,
    len: usize,
    failure: *mut Failure,
) -> *mut Subscriber {
    // SAFETY: null, or `len` readable bytes, and a writable error, as documented.
    unsafe {
        let name = if name.is_null() { Ok(None) } else { utf8(name, len).map(Some) };
        // A handle is used by one thread at a time, and usually by the same one.
        let subscribe = |name| ring.subscribe_in(&SubscribeOptions { all, lossy, name }, crate::process::thread());
        give(name.and_then(subscribe), failure)
    }
}

#[no_mangle]
pub unsafe extern "C" fn ps_sub_release(sub: &mut Subscriber) {
    sub.release();
}

#[no_mangle]
pub unsafe extern "C" fn ps_sub_name(sub: &Subscriber, name: &mut [c_char; MAX_NAME + 1]) -> usize {
    let text = sub.name().unwrap_or_default();
    name.fill(0);
    name.iter_mut().zip(text.bytes()).for_each(|(to, from)| *to = from as c_char);
    text.len()
}

#[no_mangle]
pub unsafe extern "C" fn ps_clear(ring: &Ring, failure: *mut Failure) -> bool {
    // SAFETY: a writable error, as documented.
    unsafe { report(failure, ring.clear().err().as_ref()) }
}

#[no_mangle]
pub unsafe extern "C" fn ps_sync(ring: &Ring, failure: *mut Failure) -> bool {
    // SAFETY: a writable error, as documented.
    unsafe { report(failure, ring.sync().err().as_ref()) }
}

#[no_mangle]
pub unsafe extern "C" fn ps_stats(ring: &Ring, stats: &mut Stats) {
    *stats = ring.stats();
}

#[no_mangle]
pub unsafe extern "C" fn ps_write_pos(ring: &Ring) -> u64 {
    ring.write_pos()
}

#[no_mangle]
pub unsafe extern "C" fn ps_path(ring: &Ring, len: &mut usize) -> *const c_char {
    match ring.path() {
        Some(path) => {
            *len = path.as_os_str().len();
            path.as_os_str().as_bytes().as_ptr().cast()
        }
        None => std::ptr::null(),
    }
}

#[no_mangle]
pub unsafe extern "C" fn ps_memfd(ring: &Ring) -> c_int {
    ring.as_memfd().unwrap_or(-1)
}

#[no_mangle]
pub unsafe extern "C" fn ps_ring_notifier(ring: &mut Ring) -> &mut Notifier {
    ring.notifier()
}

#[no_mangle]
pub unsafe extern "C" fn ps_sub_notifier(sub: &mut Subscriber) -> &mut Notifier {
    sub.notifier()
}

#[no_mangle]
pub unsafe extern "C" fn ps_notifier_make(notifier: &mut Notifier, failure: *mut Failure) -> c_int {
    match notifier.make() {
        Ok(fd) => fd,
        Err(error) => {
            // SAFETY: a writable error, as documented.
            unsafe { report(failure, Some(&error)) };
            -1
        }
    }
}

#[no_mangle]
pub unsafe extern "C" fn ps_notifier_lend(notifier: &mut Notifier, fd: c_int, failure: *mut Failure) -> bool {
    // SAFETY: a writable error, as documented.
    unsafe { report(failure, notifier.lend(fd).err().as_ref()) }
}

#[no_mangle]
pub unsafe extern "C" fn ps_notifier_fd(notifier: &Notifier) -> c_int {
    notifier.fd().unwrap_or(-1)
}

#[no_mangle]
pub unsafe extern "C" fn ps_notifier_notify(notifier: &Notifier, failure: *mut Failure) -> c_int {
    match notifier.notify() {
        Ok(told) => told.into(),
        Err(error) => {
            // SAFETY: a writable error, as documented.
            unsafe { report(failure, Some(&error)) };
            -1
        }
    }
}

#[no_mangle]
pub unsafe extern "C" fn ps_notifier_consume(notifier: &Notifier, count: &mut u64, failure: *mut Failure) -> c_int {
    match notifier.consume() {
        Ok(taken) => {
            *count = taken.unwrap_or(0);
            taken.is_some().into()
        }
        Err(error) => {
            // SAFETY: a writable error, as documented.
            unsafe { report(failure, Some(&error)) };
            -1
        }
    }
}

#[no_mangle]
pub unsafe extern "C" fn ps_sub_free(sub: *mut Subscriber) {
    if !sub.is_null() {
        // SAFETY: from `ps_subscribe`, and not used again.
        drop(unsafe { Box::from_raw(sub) });
    }
}

/// The result for C: 1, a message; 0, no message; -1, an error; 2, not known yet: handle signals and call again.
unsafe fn hand_over<T>(next: Result<Next<T>>, take: impl FnOnce(T), failure: *mut Failure) -> c_int {
    match next {
        Ok(Next::Ready(value)) => {
            take(value);
            1
        }
        Ok(Next::Empty | Next::Claimed(_)) => 0,
        Ok(Next::More) => 2,
        Err(error) => {
            // SAFETY: a writable error, as documented.
            unsafe { report(failure, Some(&error)) };
            -1
        }
    }
}

#[no_mangle]
pub unsafe extern "C" fn ps_poll_int(sub: &mut Subscriber, value: &mut i64, failure: *mut Failure) -> c_int {
    match sub.read_int_at_once() {
        Next::Ready(read) => {
            *value = read;
            1
        }
        Next::Empty => 0,
        // SAFETY: a writable error, as documented.
        _ => unsafe { poll_int_anyway(sub, value, failure) },
    }
}

#[inline(never)]
unsafe fn poll_int_anyway(sub: &mut Subscriber, value: &mut i64, failure: *mut Failure) -> c_int {
    // SAFETY: as above.
    unsafe { hand_over(sub.read_int(), |read| *value = read, failure) }
}

#[no_mangle]
pub unsafe extern "C" fn ps_poll_num(sub: &mut Subscriber, value: &mut f64, failure: *mut Failure) -> c_int {
    match sub.read_num_at_once() {
        Next::Ready(read) => {
            *value = read;
            1
        }
        Next::Empty => 0,
        // SAFETY: a writable error, as documented.
        _ => unsafe { poll_num_anyway(sub, value, failure) },
    }
}

#[inline(never)]
unsafe fn poll_num_anyway(sub: &mut Subscriber, value: &mut f64, failure: *mut Failure) -> c_int {
    // SAFETY: as above.
    unsafe { hand_over(sub.read_num(), |read| *value = read, failure) }
}

/// The slice of `count` values that C provides for results. If `count` is 0, the pointer may be anything.
///
/// # Safety
/// `first` must be writable for `count` values. C may leave them uninitialised: use it only for types without invalid values, and
/// write before reading.
unsafe fn room<'a, T>(first: *mut T, count: usize) -> &'a mut [T] {
    if count == 0 {
        return &mut [];
    }
    // SAFETY: the caller's contract.
    unsafe { slice::from_raw_parts_mut(first, count) }
}

/// The result of a batch for C: the number of messages; -1, an error; -2, not known yet: handle signals and call again.
unsafe fn hand_over_all(read: Result<(usize, bool)>, failure: *mut Failure) -> i64 {
    match read {
        Ok((0, true)) => -2,
        Ok((count, _)) => count as i64,
        Err(error) => {
            // SAFETY: a writable error, as documented.
            unsafe { report(failure, Some(&error)) };
            -1
        }
    }
}

#[no_mangle]
pub unsafe extern "C" fn ps_poll_packed(
    sub: &mut Subscriber,
    values: *mut c_void,
    len: usize,
    end: u64,
    failure: *mut Failure,
) -> i64 {
    // SAFETY: room for `len` bytes and a writable error, as documented.
    unsafe { hand_over_all(sub.read_packed(room(values.cast(), len), end), failure) }
}

#[no_mangle]
pub unsafe extern "C" fn ps_poll_ints(
    sub: &mut Subscriber,
    values: *mut i64,
    count: usize,
    end: u64,
    failure: *mut Failure,
) -> i64 {
    // SAFETY: room for `count` values and a writable error, as documented.
    unsafe { hand_over_all(sub.read_ints(room(values, count), end), failure) }
}

/// `ps_found`.
#[repr(C)]
pub struct CFound {
    position: u64,
    block: u64,
    len: u32,
    utf8: bool,
}

impl CFound {
    #[inline(always)]
    fn set(&mut self, found: Found) {
        self.position = found.position;
        self.block = found.block;
        self.len = found.len() as u32;
        self.utf8 = found.utf8();
    }
}

#[no_mangle]
pub unsafe extern "C" fn ps_find(sub: &mut Subscriber, end: u64, found: &mut CFound, failure: *mut Failure) -> c_int {
    if let Some(next) = sub.at_hand(end) {
        found.set(next);
        return 1;
    }
    // SAFETY: a writable error, as documented.
    unsafe { find_further(sub, end, found, failure) }
}

/// The slow path of `ps_find`, a function of its own, so that the fast path saves no registers.
#[cold]
#[inline(never)]
unsafe fn find_further(sub: &mut Subscriber, end: u64, found: &mut CFound, failure: *mut Failure) -> c_int {
    // SAFETY: a writable error, as documented.
    unsafe { hand_over(sub.look_for(end), |next| found.set(next), failure) }
}

#[no_mangle]
pub unsafe extern "C" fn ps_copy(sub: &mut Subscriber, found: &CFound, to: *mut c_char) -> bool {
    let found = Found { position: found.position, block: found.block, word: found.len.into() };
    // SAFETY: the result of the last `ps_find`, and room for it, as documented.
    unsafe { sub.copy(&found, to.cast()) }
}

#[no_mangle]
pub unsafe extern "C" fn ps_is_utf8(bytes: *const c_char, len: usize) -> bool {
    // SAFETY: `len` readable bytes, as documented.
    std::str::from_utf8(unsafe { slice::from_raw_parts(bytes.cast(), len) }).is_ok()
}

#[no_mangle]
pub unsafe extern "C" fn ps_end(sub: &Subscriber) -> u64 {
    sub.end()
}

#[no_mangle]
pub unsafe extern "C" fn ps_wait(sub: &mut Subscriber, deadline: u64, signalled: *const c_int) -> Wait {
    // SAFETY: null, or readable during the call, as documented.
    sub.wait_unless(deadline, || unsafe { is_set(signalled) })
}

#[no_mangle]
pub unsafe extern "C" fn ps_watch(sub: &mut Subscriber, first: *mut bool, failure: *mut Failure) -> c_int {
    // SAFETY: as documented.
    unsafe { descriptor(sub.watch_anew(), first, failure) }
}

/// Returns the descriptor, and stores in `first` whether this call made it; or returns -1 after storing the error.
unsafe fn descriptor(watched: Result<(c_int, bool)>, first: *mut bool, failure: *mut Failure) -> c_int {
    match watched {
        Ok((fd, anew)) => {
            // SAFETY: writable or null, as documented.
            if let Some(first) = unsafe { first.as_mut() } {
                *first = anew;
            }
            fd
        }
        Err(error) => {
            // SAFETY: a writable error, as documented.
            unsafe { report(failure, Some(&error)) };
            -1
        }
    }
}

#[no_mangle]
pub unsafe extern "C" fn ps_is_watched_by(sub: &Subscriber, fd: c_int) -> bool {
    sub.is_watched_by(fd)
}

#[no_mangle]
pub unsafe extern "C" fn ps_is_ready(sub: &mut Subscriber) -> bool {
    sub.is_ready()
}

#[no_mangle]
pub extern "C" fn ps_set_new() -> *mut Set {
    Box::into_raw(Box::default())
}

#[no_mangle]
pub unsafe extern "C" fn ps_set_free(set: *mut Set) {
    if !set.is_null() {
        // SAFETY: from `ps_set_new`, and not used again.
        drop(unsafe { Box::from_raw(set) });
    }
}

/// The slice of members for a pointer and a count from C. If the count is 0, the pointer may be anything.
unsafe fn members<'a>(first: *mut Member<'a>, count: usize) -> &'a mut [Member<'a>] {
    if count == 0 {
        return &mut [];
    }
    // SAFETY: the caller's contract: `count` live handles, no two of them the same.
    unsafe { slice::from_raw_parts_mut(first, count) }
}

#[no_mangle]
pub unsafe extern "C" fn ps_set_add(set: &mut Set, member: &mut Member<'_>, failure: *mut Failure) -> bool {
    // SAFETY: a writable error, as documented.
    unsafe { report(failure, set.add(Member { sub: member.sub, key: member.key }).err().as_ref()) }
}

#[no_mangle]
pub unsafe extern "C" fn ps_set_remove(set: &mut Set, sub: &mut Subscriber) {
    set.remove(sub);
}

#[no_mangle]
pub extern "C" fn ps_set_max_direct() -> usize {
    Set::max_direct()
}

#[no_mangle]
pub unsafe extern "C" fn ps_set_wait(
    set: &mut Set,
    first: *mut Member<'_>,
    count: usize,
    deadline: u64,
    signalled: *const c_int,
    which: &mut usize,
) -> Wait {
    // SAFETY: as documented, and as in `ps_wait`.
    let (how, woken) = unsafe {
        set.wait_direct(members(first, count), deadline, || !signalled.is_null() && signalled.read_volatile() != 0)
    };
    *which = woken.unwrap_or(usize::MAX);
    how
}

#[no_mangle]
pub unsafe extern "C" fn ps_set_watch_all(
    set: &mut Set,
    first: *mut Member<'_>,
    count: usize,
    failure: *mut Failure,
) -> bool {
    // SAFETY: as documented.
    unsafe { report(failure, set.watch_all(members(first, count)).err().as_ref()) }
}

#[no_mangle]
pub unsafe extern "C" fn ps_set_is_watched(set: &mut Set) -> bool {
    set.is_watched()
}

#[no_mangle]
pub unsafe extern "C" fn ps_set_wait_watched(set: &mut Set, deadline: u64, signalled: *const c_int) -> Wait {
    // SAFETY: as in `ps_wait`.
    set.wait_watched(deadline, || !signalled.is_null() && unsafe { signalled.read_volatile() } != 0)
}

#[no_mangle]
pub unsafe extern "C" fn ps_set_ready(set: &mut Set, keys: *mut usize, room: usize) -> usize {
    let ready = set.ready();
    for (i, key) in ready.iter().take(room).enumerate() {
        // SAFETY: room for as many, as documented.
        unsafe { keys.add(i).write(*key) };
    }
    ready.len()
}

#[no_mangle]
pub unsafe extern "C" fn ps_set_watch(
    set: &mut Set,
    subs: *mut Member<'_>,
    count: usize,
    first: *mut bool,
    failure: *mut Failure,
) -> c_int {
    // SAFETY: as documented.
    unsafe { descriptor(set.watch_anew(members(subs, count)), first, failure) }
}

#[no_mangle]
pub unsafe extern "C" fn ps_set_is_watched_by(set: &Set, fd: c_int) -> bool {
    set.is_watched_by(fd)
}

#[no_mangle]
pub unsafe extern "C" fn ps_now() -> u64 {
    crate::wait::monotonic_ns()
}

#[no_mangle]
pub unsafe extern "C" fn ps_lag(sub: &Subscriber) -> u64 {
    sub.lag()
}

#[no_mangle]
pub unsafe extern "C" fn ps_overflow_count(sub: &Subscriber) -> u64 {
    sub.overflow_count()
}

#[no_mangle]
pub unsafe extern "C" fn ps_filtered(sub: &Subscriber) -> u64 {
    sub.filtered()
}

#[no_mangle]
pub unsafe extern "C" fn ps_skipped(sub: &Subscriber) -> u64 {
    sub.skipped()
}

#[no_mangle]
pub unsafe extern "C" fn ps_position(sub: &Subscriber, position: &mut u64) -> bool {
    match sub.position() {
        Some(found) => {
            *position = found;
            true
        }
        None => false,
    }
}

#[no_mangle]
pub unsafe extern "C" fn ps_stamp(sub: &Subscriber, time_ns: &mut u64, pid: &mut u32) -> bool {
    match sub.stamp() {
        Some(stamp) => {
            (*time_ns, *pid) = (stamp.time_ns, stamp.pid);
            true
        }
        None => false,
    }
}

#[no_mangle]
pub unsafe extern "C" fn ps_skip_to_newest(sub: &mut Subscriber) {
    sub.skip_to_newest();
}

#[no_mangle]
pub unsafe extern "C" fn ps_set_prefixes(
    sub: &mut Subscriber,
    prefixes: *const Bytes,
    count: usize,
    failure: *mut Failure,
) -> bool {
    // SAFETY: `count` readable prefixes and a writable error, as documented.
    unsafe { report(failure, sub.set_prefixes(items(prefixes, count)).err().as_ref()) }
}

#[no_mangle]
pub unsafe extern "C" fn ps_sub_ring(sub: &Subscriber) -> *mut Ring {
    Box::into_raw(Box::new(sub.ring()))
}

#[no_mangle]
pub unsafe extern "C" fn ps_has_overflow(sub: &Subscriber) -> bool {
    sub.has_overflow()
}

#[no_mangle]
pub unsafe extern "C" fn ps_cursor(sub: &Subscriber) -> u64 {
    sub.cursor()
}

#[no_mangle]
pub unsafe extern "C" fn ps_seek(sub: &mut Subscriber, position: u64) {
    sub.seek(position);
}

#[no_mangle]
pub unsafe extern "C" fn ps_reset(sub: &mut Subscriber, oldest: bool) {
    if oldest {
        sub.reset_oldest();
    } else {
        sub.reset();
    }
}

#[no_mangle]
pub unsafe extern "C" fn ps_sub_write_pos(sub: &Subscriber) -> u64 {
    sub.write_pos()
}

#[no_mangle]
pub unsafe extern "C" fn ps_sub_capacity(sub: &Subscriber) -> u64 {
    sub.capacity()
}

#[no_mangle]
pub unsafe extern "C" fn ps_base(ring: &Ring) -> u64 {
    ring.base()
}

#[no_mangle]
pub unsafe extern "C" fn ps_sizes(number: u32, options: &Options, stats: &mut Stats, failure: *mut Failure) -> bool {
    match variant(number).and_then(|v| options.sizes(v)) {
        Ok(sizes) => {
            *stats = sizes;
            true
        }
        // SAFETY: a writable error, as documented.
        Err(error) => unsafe { report(failure, Some(&error)) },
    }
}
