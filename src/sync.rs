//! The one seam to atomics: `std` in production, and [`crate::pair`] for two words at once; `loom` when the models run.
//!
//! No other module uses the 32- and 64-bit atomics of `std`, so that a model checker sees every access to shared words:
//! `clippy.toml` forbids them. So the types here are types of their own.

#[cfg(not(loom))]
pub(crate) use std::sync::atomic::{fence, Ordering};

#[cfg(loom)]
pub(crate) use loom::sync::{Mutex, MutexGuard};
#[cfg(not(loom))]
pub(crate) use std::sync::{Mutex, MutexGuard};

/// The mutex, for threads that do not panic with it: a panic aborts.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// A type of `std` under another name, with all its methods.
#[cfg(not(loom))]
macro_rules! atomic {
    ($name:ident, $word:ty) => {
        #[repr(transparent)]
        #[derive(Debug, Default)]
        #[allow(clippy::disallowed_types)]
        pub(crate) struct $name(std::sync::atomic::$name);

        #[allow(clippy::disallowed_types)]
        impl $name {
            #[inline]
            pub(crate) const fn new(value: $word) -> Self {
                $name(std::sync::atomic::$name::new(value))
            }
        }

        #[allow(clippy::disallowed_types)]
        impl std::ops::Deref for $name {
            type Target = std::sync::atomic::$name;

            #[inline]
            fn deref(&self) -> &Self::Target {
                &self.0
            }
        }
    };
}

#[cfg(not(loom))]
atomic!(AtomicU32, u32);
#[cfg(not(loom))]
atomic!(AtomicU64, u64);

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
