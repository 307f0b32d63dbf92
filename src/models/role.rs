//! Roles of bridges: models have none.

pub(crate) type Held = ();
