//! The program against servers as they are deployed: with users, TLS, Sentinels, in clusters, and all of them with what may be wrong.

#[path = "../common/mod.rs"]
mod common;

mod cluster;
mod copies;
mod disasters;
mod jetstream;
mod limits;
mod operators;
mod secure;
mod sentinel;
