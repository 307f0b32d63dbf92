//! Signals: none in a model.

pub(crate) struct BlockedSignals;

impl BlockedSignals {
    pub(crate) fn new() -> Self {
        BlockedSignals
    }
}
