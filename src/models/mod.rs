//! Replaces [`crate::system`] when loom explores the core: atomics, memory, and a kernel that puts threads to sleep.
//!
//! All other code is that of a normal build, driven through [`Ring`](crate::Ring) and [`Subscriber`](crate::Subscriber). Built by
//! `xt/loom/Cargo.toml` with `--cfg loom`; never part of a normal build.
//!
//! loom has no 16-byte atomic, so wide slots are narrow here; they differ only in width. Time does not pass. A claim timeout has
//! passed when a reader checks the claim a second time, so loom tries every moment for it. No sleep times out, so a lost wake-up is
//! a deadlock, which loom reports.

#[cfg(feature = "fault")]
pub(crate) mod armed;
pub(crate) mod atomic;
pub(crate) mod create;
pub(crate) mod fd;
pub(crate) mod futex;
pub(crate) mod member;
pub(crate) mod process;
pub(crate) mod region;
pub(crate) mod role;
pub(crate) mod signals;
#[cfg(test)]
mod tests;
pub(crate) mod threads;
pub(crate) mod time;
pub(crate) mod uring;

/// The part of the public interface that is in these modules.
pub mod public {
    pub use super::region::unlink;
}
