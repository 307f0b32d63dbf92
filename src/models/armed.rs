//! Threads that die at a fault point.

use std::cell::Cell;
use std::panic::{catch_unwind, resume_unwind, AssertUnwindSafe};

/// What a killed thread unwinds with.
struct Killed;

loom::thread_local! {
    static DIES_AT: Cell<&'static str> = Cell::new("");
}

/// Passes the point `name`, or dies there.
pub(crate) fn pass(name: &str) {
    if DIES_AT.with(Cell::get) == name {
        DIES_AT.with(|point| point.set(""));
        resume_unwind(Box::new(Killed));
    }
}

/// Does `deed` as a thread that is killed when it comes to `point` does it. Whether it came there.
#[cfg(test)]
pub(crate) fn killed_at(point: &'static str, deed: impl FnOnce()) -> bool {
    DIES_AT.with(|cell| cell.set(point));
    let result = catch_unwind(AssertUnwindSafe(deed));
    DIES_AT.with(|cell| cell.set(""));
    match result {
        Ok(()) => false,
        Err(why) if why.is::<Killed>() => true,
        Err(why) => resume_unwind(why),
    }
}
