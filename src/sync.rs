//! The one seam to atomics: `std` in life, and [`crate::pair`] for two words at once; `loom` when the models run.
//!
//! No other module names an atomic type's home, so that a model checker sees every access.

#[cfg(not(loom))]
pub(crate) use std::sync::atomic::{fence, AtomicU32, AtomicU64, Ordering};

#[cfg(loom)]
pub(crate) use crate::atomic::{fence, AtomicU32, AtomicU64, Ordering};

#[cfg(not(loom))]
pub(crate) use crate::pair::AtomicPair;

#[cfg(not(loom))]
pub(crate) use crossbeam_utils::Backoff;

/// In a model who waits sleeps at once.
#[cfg(loom)]
pub(crate) struct Backoff;

#[cfg(loom)]
impl Backoff {
    pub(crate) fn new() -> Self {
        Backoff
    }

    pub(crate) fn is_completed(&self) -> bool {
        true
    }

    pub(crate) fn snooze(&self) {}

    pub(crate) fn reset(&self) {}
}

/// A value alone on its cache lines: 128 bytes, because processors fetch lines in pairs.
///
/// `crossbeam_utils::CachePadded` would differ from one kind of processor to the next; shared bytes have one layout.
#[repr(C, align(128))]
#[derive(Debug, Default)]
pub(crate) struct Line<T>(pub(crate) T);

impl<T> std::ops::Deref for Line<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}
