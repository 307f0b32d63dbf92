//! Members of a model: each thread is a process of its own, and it is the model that says which of them died.

use std::cell::Cell;

use loom::sync::Mutex;

pub(crate) use crate::inheritance::{Group, Inheritance, NoSpare, MAX_MEMBER};

loom::thread_local! {
    static NUMBER: Cell<u32> = Cell::new(0);
}

#[derive(Debug)]
pub(crate) struct Members {
    /// A bit for each dead member whose lock nobody holds. The kernel, too, orders what one holder did before what the next does.
    dead: Mutex<u64>,
}

/// A dead member's number, held.
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

    /// The kernel lets go of the lock of `number`.
    pub(crate) fn dies(&self, number: u32) {
        *self.dead.lock().unwrap() |= 1 << number;
    }
}

/// The calling thread's number; 0: none.
pub(crate) fn current() -> u32 {
    NUMBER.with(Cell::get)
}

/// No thread is the fork of another.
pub(crate) fn generation() -> u32 {
    1
}

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        self.0.dies(self.1);
    }
}

/// The calling thread is member `number` from now on; 1 ..= 63.
#[cfg(test)]
pub(crate) fn become_member(number: u32) {
    NUMBER.with(|cell| cell.set(number));
}
