//! Threads of a model, and its only process.

use std::sync::Arc;

use loom::sync::Mutex;
use loom::thread::JoinHandle;

use crate::error::Result;
use crate::watcher::{Registry, Watcher};

pub(crate) struct Thread(JoinHandle<()>);

impl Thread {
    pub(crate) fn start(watcher: &Arc<Watcher>) -> Result<Thread> {
        let watcher = Arc::clone(watcher);
        Ok(Thread(loom::thread::spawn(move || watcher.run())))
    }

    pub(crate) fn join(self) {
        self.0.join().unwrap();
    }
}

loom::lazy_static! {
    static ref REGISTRY: Registry = Registry::of(Mutex::new(Vec::new()));
}

pub(crate) fn registry() -> &'static Registry {
    &REGISTRY
}

pub(crate) fn this_process() -> u32 {
    0
}

pub(crate) type ThreadId = loom::thread::ThreadId;

pub(crate) fn this_thread() -> ThreadId {
    loom::thread::current().id()
}
