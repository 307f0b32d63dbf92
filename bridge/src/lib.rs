//! The bridge: rings of [`data_pubsub_shared`] on many hosts, connected exactly once and in one order over a stream in a server.
//!
//! ```text
//!   backend      what a server must promise: the contract, its conformance test, and the servers
//!   entry        messages to the entries of a stream, and back
//!   state        what a direction must remember, in a file
//! ```

pub mod backend;
pub mod check;
pub mod config;
pub mod direction;
pub mod down;
pub mod entry;
pub mod load;
pub mod recovery;
pub mod report;
pub mod ring;
pub mod service;
pub mod state;
pub mod up;
