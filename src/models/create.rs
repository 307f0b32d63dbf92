//! Creation of files: models have no files.

use std::path::Path;

use crate::error::Result;
use crate::layout::Geometry;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Creation {
    pub(crate) geometry: Geometry,
    pub(crate) mode: u32,
}

impl Creation {
    pub(crate) fn new(geometry: Geometry, mode: u32) -> Result<Creation> {
        Ok(Creation { geometry, mode })
    }

    pub(crate) fn check_room(&self, _: &Path) -> Result<()> {
        Ok(())
    }
}

#[derive(Debug, Default)]
pub struct Draft;
