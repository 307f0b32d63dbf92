//! The bridge: rings of [`data_pubsub_shared`] on many hosts, connected exactly once and in one order over a stream in a server.
//!
//! ```text
//!   config       the file that says what to do          check      whether it would work
//!   service      all bridges of a file, in one process  report     what they say about themselves
//!   up, down     the two directions                     direction  what both have in common
//!   recovery     what a killed process has left in IN   state      what a direction must remember, in a file
//!   ring         a ring's file, and sleeping beside it  load       messages on their way into a ring
//!   entry        messages to the entries of a stream, and back  file  read up to a limit, replaced as a whole
//!   backend      what a server must promise: the contract, its conformance test, and the servers
//! ```
//!
//! The manual of the program is `lib/Data/PubSub/Shared/Bridge.pod`.

pub mod backend;
pub mod check;
pub mod config;
pub mod direction;
pub mod down;
pub mod entry;
pub mod file;
pub mod load;
pub mod recovery;
pub mod report;
pub mod ring;
pub mod service;
pub mod state;
pub mod up;
