//! Signals: models have none.

pub(crate) struct BlockedSignals;

impl BlockedSignals {
    pub(crate) fn new() -> Self {
        BlockedSignals
    }
}
