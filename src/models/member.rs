//! Members of a model: each thread is a process of its own, and the model sets which of them have exited.

use std::cell::Cell;

use loom::sync::Mutex;

pub(crate) use crate::inheritance::{Group, Inheritance, NoSpare, MAX_MEMBER};

loom::thread_local! {
    static NUMBER: Cell<u32> = Cell::new(0);
}

#[derive(Debug)]
pub(crate) struct Members {
    /// A bit for each exited member whose lock is free. Like a lock of the kernel, the mutex orders the writes of one holder before
    /// the reads of the next.
    dead: Mutex<u64>,
}

/// The lock of an exited member's number.
#[derive(Debug)]
pub(crate) struct Hold<'a>(&'a Members, u32);

impl Members {
    pub(crate) fn new(_: Group, _: Option<()>) -> Self {
        Members { dead: Mutex::new(0) }
    }

    pub(crate) fn number(&self) -> Option<u32> {
        Some(NUMBER.with(Cell::get))
    }

    pub(crate) fn join(&self, _: impl Fn(Inheritance)) -> Result<u32, NoSpare> {
        unreachable!("every thread has a number")
    }

    pub(crate) fn try_join(&self, _: impl Fn(Inheritance)) -> Option<u32> {
        unreachable!("every thread has a number")
    }

    pub(crate) fn hold(&self, number: u32) -> Option<Hold<'_>> {
        let mut dead = self.dead.lock().unwrap();
        if number == 0 || *dead >> number & 1 == 0 {
            return None;
        }
        *dead &= !(1 << number);
        Some(Hold(self, number))
    }

    pub(crate) fn is_alive(&self, number: u32) -> Option<bool> {
        Some(*self.dead.lock().unwrap() >> number & 1 == 0)
    }

    /// Member `number` exits: its lock is free.
    pub(crate) fn dies(&self, number: u32) {
        *self.dead.lock().unwrap() |= 1 << number;
    }
}

/// The calling thread's number; 0 if it has none.
pub(crate) fn current() -> u32 {
    NUMBER.with(Cell::get)
}

/// The same for all threads: none is the fork of another.
pub(crate) fn generation() -> u32 {
    1
}

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        self.0.dies(self.1);
    }
}

/// Makes the calling thread member `number`, 1 ..= 63.
#[cfg(test)]
pub(crate) fn become_member(number: u32) {
    NUMBER.with(|cell| cell.set(number));
}
