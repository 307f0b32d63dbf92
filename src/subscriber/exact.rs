//! What a reader of single messages asks besides: what the ring carries, and where a message stood.

use super::Subscriber;
use crate::layout::Variant;

impl Subscriber {
    /// What the ring carries.
    pub fn variant(&self) -> Variant {
        self.mapping.geometry.variant
    }

    /// The longest message in bytes; 0 for integers.
    pub fn msg_size(&self) -> u64 {
        self.mapping.geometry.msg_size
    }

    /// The position of the message that was delivered last, counted from the last clear; 0 where that came later.
    pub(crate) fn last_position(&self) -> u64 {
        self.cursor.next.saturating_sub(1).saturating_sub(self.ring.header().base())
    }
}
