//! Signals and `errno`: models have none.

pub(crate) struct KeptErrno;

impl KeptErrno {
    pub(crate) fn new() -> Self {
        KeptErrno
    }
}

pub(crate) struct BlockedSignals;

impl BlockedSignals {
    pub(crate) fn new() -> Self {
        BlockedSignals
    }
}
