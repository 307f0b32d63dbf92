//! Threads that are killed at a fault injection point.

use std::cell::Cell;
use std::panic::{catch_unwind, resume_unwind, AssertUnwindSafe};

/// The payload with which a killed thread unwinds.
struct Killed;

loom::thread_local! {
    static DIES_AT: Cell<&'static str> = Cell::new("");
}

/// Passes the point `name`, or is killed there.
pub(crate) fn pass(name: &str) {
    if DIES_AT.with(Cell::get) == name {
        DIES_AT.with(|point| point.set(""));
        resume_unwind(Box::new(Killed));
    }
}

/// Calls `action`, which is cut short as if the thread were killed when it reaches `point`. Returns whether it reached `point`.
#[cfg(test)]
pub(crate) fn killed_at(point: &'static str, action: impl FnOnce()) -> bool {
    DIES_AT.with(|cell| cell.set(point));
    let result = catch_unwind(AssertUnwindSafe(action));
    DIES_AT.with(|cell| cell.set(""));
    match result {
        Ok(()) => false,
        Err(why) if why.is::<Killed>() => true,
        Err(why) => resume_unwind(why),
    }
}
