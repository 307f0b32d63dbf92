//! Threads behind descriptors: not in a model.

use std::os::unix::io::RawFd;
use std::sync::Arc;

use crate::any_ring::{AnyRing, Mapping};
use crate::cursor::Cursor;
use crate::error::{Error, ErrorKind, Result};
use crate::fd::Identity;

pub(crate) struct Watch;

impl Watch {
    pub(crate) fn start(_: AnyRing, _: &Cursor, _: &Arc<Mapping>) -> Result<Watch> {
        Err(Error::new(ErrorKind::Argument, "a model has no descriptors"))
    }

    pub(crate) fn fd(&self) -> Option<RawFd> {
        None
    }

    pub(crate) fn file(&self) -> Identity {
        Identity
    }

    pub(crate) fn settle(&self, _: &mut Cursor) -> bool {
        false
    }
}
