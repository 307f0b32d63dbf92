//! The atomics of all other modules: those of `std`, and [`crate::pair`] for two words; in models, those of `loom`.
//!
//! `clippy.toml` forbids the 32- and 64-bit atomics of `std` elsewhere, so that the model checker sees every access to shared
//! words. For the same reason these are types of their own.

#[cfg(not(loom))]
pub(crate) use std::sync::atomic::{fence, Ordering};

#[cfg(loom)]
pub(crate) use loom::sync::{Mutex, MutexGuard};
#[cfg(not(loom))]
pub(crate) use std::sync::{Mutex, MutexGuard};

/// Locks a mutex. It is never poisoned, because a panic aborts the process.
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

/// In models, threads do not spin before they sleep.
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

/// A value on cache lines of its own: 128 bytes, because CPUs fetch lines in pairs.
///
/// `crossbeam_utils::CachePadded` is not used, because its size differs between architectures, and the layout must not.
#[repr(C, align(128))]
#[derive(Debug, Default)]
pub(crate) struct Line<T>(pub(crate) T);

impl<T> std::ops::Deref for Line<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}
