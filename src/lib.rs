//! Broadcast publish/subscribe between processes, over shared memory.
//!
//! Publishers in any process write into a ring in a shared mapping (a file, a memfd, or memory inherited over fork). Every
//! subscriber reads it with its own cursor at its own pace. Reading removes nothing; old messages are overwritten. A subscriber
//! that falls behind continues at the oldest message that the ring still holds and is told how many it lost.
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
//! Begin with [`typed`]. It and the bindings of other languages are built on the types in the root: a [`Ring`] whose [`Variant`] is
//! known at run time. Programs in C (`include/pubsub.h`), Perl, Python and Rust share rings with each other.
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
//! `tokio`: adds `AsyncSubscriber`, a stream, to [`typed`]. Without features the crate needs Rust 1.63.
//!
//! # Source map
//!
//! ```text
//!   ffi          C interface: no logic, no panic gets out        <- include/pubsub.h
//!   typed        Rust interface: rings typed by their messages
//!   ring         Ring: a handle, for all variants          subscriber   Subscriber: a reader, for all variants
//!   options      options of a new ring                     stats        sizes and counts of a ring
//!   set          waiting for several subscribers           watch        a descriptor for any publisher's messages
//!   slot_ring    claim, commit, abandon: lock-free         str_ring     the same with blocks of bytes, seqlock reads
//!   slot         tag and value in one exchange             spare        blocks to write into
//!   segment      slots that a batch may write without exchanges
//!   any_ring     a ring of any variant, and its mapping    waiting      sleeping until a ring has a message
//!   readers      the table of readers, and their names     lossless     publishers that wait for readers
//!   cursor       a reader's position and its counts        wait         eventcount, spinning
//!   layout       the shared bytes                          notify       eventfds
//!   watcher      threads that watch rings                  multiwait    sleeping on many words at once
//!   driven       a set's own watcher                       inheritance  member numbers, recovery of earlier members
//!   packed       numbers in arrays of bytes                filter       prefixes that a subscriber selects
//!   fault        fault injection points                    error        errors
//!   sync         the only source of atomics
//!
//!   system       all that needs an operating system; models/ replaces it in the models
//!     region     memfds, mappings                            create     new files
//!     file       shared by region and create                 space      disk space of files
//!     fd         descriptors that others may close           signals    blocking signals
//!     file_lock  locks on bytes behind the ring's end        role       what a bridge does with a ring
//!     member     members, and whether they are alive         room       free space, memory limits
//!     inspect    a ring's file from outside                  check      whether a ring's file is sound
//!     threads    threads of this crate, forks                pair       two words in one exchange
//!     futex      sleeping on a word, or on up to 128         uring      sleeping on any number of words
//!     time       clock, naps, claim timeouts
//! ```
//!
//! Guarantees, even if processes are killed or stopped at any instant: no message is torn, delivered twice or silently lost; a
//! message whose publish has returned is in the ring, once; a killed publisher delays readers by 2 ms once; no subscriber sleeps
//! forever beside a message. Each module says why.

#![warn(missing_docs, unsafe_op_in_unsafe_fn, missing_debug_implementations)]
#![warn(clippy::undocumented_unsafe_blocks)]
#![cfg_attr(loom, allow(dead_code, unused_imports))]

#[cfg(not(all(target_os = "linux", target_pointer_width = "64")))]
compile_error!("this crate needs futexes, memfds and 64-bit positions: build it for 64-bit Linux");

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
mod segment;
mod set;
mod slot;
mod slot_ring;
mod spare;
mod stats;
mod str_ring;
mod subscriber;
mod sync;
/// The interface to the operating system; the models replace it.
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
