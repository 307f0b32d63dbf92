//! The one seam to atomics: `std` and `portable-atomic` in life, `loom` when the models run.
//!
//! No other module names an atomic type's home, so that a model checker sees every access.

#[cfg(not(loom))]
pub(crate) use std::sync::atomic::{compiler_fence, fence, AtomicU32, AtomicU64, Ordering};

#[cfg(loom)]
pub(crate) use loom::sync::atomic::{fence, AtomicU32, AtomicU64, Ordering};

/// loom runs everything on one thread of the operating system: there is no compiler to hold back.
#[cfg(loom)]
pub(crate) fn compiler_fence(_: Ordering) {}

#[cfg(not(loom))]
pub(crate) use portable_atomic::AtomicU128;

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
