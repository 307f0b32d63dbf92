//! Broadcast publish/subscribe between processes, over shared memory.
//!
//! Publishers in any process write into a ring in a shared mapping (a file, a memfd, or memory inherited over fork).
//! Every subscriber reads it with its own cursor at its own pace; nothing is consumed, old messages are overwritten, and
//! a subscriber that falls behind goes on at the oldest message still held and is told how many it lost.
//!
//! ```
//! use data_pubsub_shared::typed::Ring;
//!
//! let ring = Ring::<i64>::builder().capacity(1024).anonymous()?;
//! let mut subscriber = ring.subscribe();
//! let publisher = ring.publisher()?;
//! publisher.publish_all(&[1, 2, 3])?;
//! assert_eq!(subscriber.recv(), Ok(1));
//! assert_eq!((subscriber.try_recv(), subscriber.lag()), (Ok(2), 1));
//! # Ok::<(), data_pubsub_shared::Error>(())
//! ```
//!
//! Begin with [`typed`]. The types here in the root are what it and bindings of other languages are made of: a [`Ring`] whose
//! [`Variant`] is known at run time. Programs in C (`include/pubsub.h`), Perl, Python and Rust share rings with each other.
//!
//! ```
//! use data_pubsub_shared::{Ring, Variant, NEVER};
//!
//! let ring = Ring::anonymous(Variant::Int, 1024, 0)?;
//! let mut sub = ring.subscribe(false);
//! ring.publish_ints(&[1, 2, 3])?;
//! sub.wait(NEVER);
//! assert_eq!((sub.poll_int()?, sub.poll_int()?, sub.lag()), (Some(1), Some(2), 1));
//! # Ok::<(), data_pubsub_shared::Error>(())
//! ```
//!
//! # Features
//!
//! `tokio`: [`typed`] has an `AsyncSubscriber`, which is a stream. The crate without features takes Rust 1.63.
//!
//! # The whole picture
//!
//! ```text
//!   ffi          C's view: no logic, no panic gets out           <- include/pubsub.h
//!   typed        Rust's: rings whose type says what they carry
//!   ring         Ring: a handle, for all variants          subscriber   Subscriber: a reader, for all of them
//!   options      what a new ring is like                   stats        what a ring knows of itself
//!   set          waiting for several subscribers           watch        a descriptor for any publisher's messages
//!   slot_ring    claim, commit, void: lock-free            str_ring     the same with blocks of bytes, seqlock reads
//!   slot         tag and value in one exchange             spare        blocks to write into
//!   any_ring     what both roles stand on                  waiting      sleeping until a ring has a message
//!   readers      the table of them, and their names        lossless     publishers that wait for readers
//!   cursor       a reader's place and its account          wait         eventcount, spinning
//!   layout       the shared bytes                          notify       eventfds
//!   watcher      threads that watch rings                  multiwait    sleeping on many words at once
//!   driven       a set's own watcher                       inheritance  what publishers leave to each other
//!   packed       numbers as they lie in memory           filter       which strings a subscriber wants
//!   fault        points at which tests hurt a process      error        what can go wrong
//!   sync         the one seam to atomics
//!
//!   system       what needs an operating system; the models of models/ stand on their own
//!     region     memfds, mappings                            create     new files
//!     file       what region and create both need            space      its disk space
//!     fd         descriptors that others may close           signals    moments without them
//!     file_lock  locks on bytes behind the ring's end        role       what a bridge does with a ring
//!     member     who publishes, and who is dead              room       free space, memory limits
//!     inspect    a ring's file from outside                  check      whether it is sound
//!     threads    threads of our own, forks                   pair       two words in one exchange
//!     futex      sleeping on a word, or on up to 128         uring      on any number of them
//!     time       clock, naps, how patient to be
//! ```
//!
//! What holds whoever is killed or stopped, at any instant: no message is torn, delivered twice or silently lost; a
//! publish that returned is in the ring, once; a dead publisher costs readers 2 ms once; no subscriber sleeps forever
//! beside a message. Each module says why.

#![warn(missing_docs, unsafe_op_in_unsafe_fn, missing_debug_implementations)]
#![warn(clippy::undocumented_unsafe_blocks)]
#![cfg_attr(loom, allow(dead_code, unused_imports))]

#[cfg(not(all(target_os = "linux", target_pointer_width = "64")))]
compile_error!("futexes and memfds are Linux's, and positions have 64 bits: build for 64-bit Linux");

mod any_ring;
mod cursor;
mod driven;
mod error;
mod fault;
mod ffi;
mod filter;
mod inheritance;
mod layout;
mod lossless;
mod multiwait;
mod notify;
mod options;
mod packed;
mod readers;
mod ring;
mod set;
mod slot;
mod slot_ring;
mod spare;
mod stats;
mod str_ring;
mod subscriber;
mod sync;
/// What the others stand on; the models have their own.
#[cfg_attr(loom, path = "models/mod.rs")]
mod system;
#[cfg(not(loom))]
pub mod typed;
mod wait;
mod waiting;
mod watch;
mod watcher;

use system::*;

pub use error::{Error, ErrorKind, Result};
pub use layout::{Stamp, Variant};
pub use notify::Notifier;
pub use options::{Options, NO_READERS};
pub use readers::Reader;
pub use ring::{Ring, SubscribeOptions};
pub use set::{Member, Set};
pub use stats::Stats;
pub use str_ring::{Bytes, Found};
pub use subscriber::Subscriber;
pub use system::public::*;
pub use wait::{monotonic_ns, NEVER};
pub use waiting::Wait;
