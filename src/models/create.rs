//! How files are made: not in a model.

use crate::layout::Geometry;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Creation {
    pub(crate) geometry: Geometry,
    pub(crate) mode: u32,
}

#[derive(Debug, Default)]
pub struct Draft;
