//! What the core stands on when loom explores it, in the place of [`crate::system`]: atomics, memory, and a kernel that puts
//! threads to sleep.
//!
//! Everything else is the code that runs in life, driven through [`Ring`](crate::Ring) and
//! [`Subscriber`](crate::Subscriber). Built by `xt/loom/Cargo.toml` with `--cfg loom`; never part of a normal build.
//!
//! loom knows no 16-byte word, so that the wide slot is the narrow one here; what differs between them is the width. Time
//! stands still: a reader's patience ends at its second look, so loom tries every moment at which it may end, and no sleep
//! ever ends by itself, so a wake-up that is lost is a deadlock, which loom reports.

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

/// What the crate offers of these.
pub mod public {
    pub use super::region::unlink;
}
