//! What needs an operating system: files and memory, descriptors and locks, clock, futexes and threads.
//!
//! This is the seam between the rings and all that. `--cfg loom` puts `models/` in its place, with modules and names as here
//! but for those that look at files from outside; so no other module asks which of the two it stands on, except for the
//! atomics of [`crate::sync`] and the width of a slot.

#[cfg(feature = "fault")]
pub(crate) mod armed;
mod attach;
pub(crate) mod check;
pub(crate) mod create;
pub(crate) mod fd;
pub(crate) mod ffi_of_files;
pub(crate) mod file;
pub(crate) mod file_lock;
pub(crate) mod futex;
#[cfg(test)]
pub(crate) mod heap;
pub(crate) mod inspect;
pub(crate) mod member;
pub(crate) mod pair;
pub(crate) mod process;
pub(crate) mod region;
pub(crate) mod role;
pub(crate) mod room;
pub(crate) mod signals;
pub(crate) mod space;
#[cfg(test)]
pub(crate) mod testfile;
pub(crate) mod threads;
pub(crate) mod time;
pub(crate) mod uring;

/// What the crate offers of these.
pub mod public {
    pub use super::check::{check, Report};
    pub use super::file_lock::Role;
    pub use super::inspect::{inspect, inspect_readers, Facts, Inspection};
    pub use super::region::unlink;
    pub use super::role::Claimed;
}
