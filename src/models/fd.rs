//! Descriptors: models have none.

use std::os::unix::io::RawFd;

use crate::error::{Error, ErrorKind, Result};

fn no_descriptors<T>() -> Result<T> {
    Err(Error::new(ErrorKind::Argument, "a model has no descriptors"))
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Identity;

impl Identity {
    pub(crate) fn is(self, _: RawFd) -> bool {
        false
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Fd {}

impl Fd {
    pub(crate) fn note(_: RawFd) -> Result<(Self, bool)> {
        no_descriptors()
    }

    pub(crate) fn get(&self) -> Option<RawFd> {
        match *self {}
    }

    pub(crate) fn number(&self) -> RawFd {
        match *self {}
    }

    pub(crate) fn file(&self) -> Identity {
        match *self {}
    }
}

#[derive(Debug)]
pub(crate) enum OurFd {}

impl OurFd {
    pub(crate) fn eventfd() -> Result<Self> {
        no_descriptors()
    }
}

impl std::ops::Deref for OurFd {
    type Target = Fd;

    fn deref(&self) -> &Fd {
        match *self {}
    }
}
