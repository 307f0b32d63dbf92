//! Roles of bridges: not in a model.

pub(crate) type Held = ();
