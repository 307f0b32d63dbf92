//! loom's atomics with SeqCst.
//!
//! loom treats a SeqCst access as AcqRel and implements the total order only for SeqCst *fences*. So each SeqCst access gets a
//! fence here, either before it or after it: compilers implement SeqCst in these two ways. Both are correct, but a missing SeqCst
//! on the reading side of a pair shows only with fences before, and on the writing side only with fences after. So every model
//! runs with both.
//!
//! loom chooses the points at which to switch threads by the last access to each atomic. So it overlooks that a store races with
//! another thread's load if the storing thread loaded the same word in between. Therefore each load first writes a shadow of its
//! word, which no thread reads: this makes loads race with loads, and loom sees them all.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

pub(crate) use loom::sync::atomic::{fence, Ordering};

/// The place of the fence of a SeqCst access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fences {
    Before,
    After,
}

thread_local! {
    /// One value for all threads of a model, because loom runs them on one thread of the operating system.
    static FENCES: Cell<Fences> = const { Cell::new(Fences::Before) };
    static SHADOWS: RefCell<Shadows> = RefCell::default();
}

/// The shadows of this execution, and the index of the shadow of each atomic, by its address.
#[derive(Default)]
struct Shadows {
    all: Vec<Rc<loom::sync::atomic::AtomicBool>>,
    owners: HashMap<usize, usize>,
}

/// Maximum number of words that a model may load.
#[cfg(test)]
const MAX_SHADOWS: usize = 56;

/// To be called at the start of an execution, before there are threads.
#[cfg(test)]
pub(crate) fn make_shadows() {
    let new = || Rc::new(loom::sync::atomic::AtomicBool::new(false));
    let all = std::iter::repeat_with(new).take(MAX_SHADOWS).collect();
    SHADOWS.with(|shadows| *shadows.borrow_mut() = Shadows { all, owners: HashMap::new() });
}

/// Lets loom see that the atomic at `address` is about to be loaded.
fn touch(address: usize) {
    let shadow = SHADOWS.with(|shadows| {
        let shadows = &mut *shadows.borrow_mut();
        let next = shadows.owners.len();
        Rc::clone(&shadows.all[*shadows.owners.entry(address).or_insert(next)])
    });
    // Relaxed: the shadow orders nothing.
    shadow.store(true, Ordering::Relaxed);
}

/// Sets the place of the fences for the following models.
#[cfg(test)]
pub(crate) fn put_fences(fences: Fences) {
    FENCES.with(|cell| cell.set(fences));
}

#[track_caller]
fn fenced<T>(ordering: Ordering, access: impl FnOnce() -> T) -> T {
    let fences = FENCES.with(Cell::get);
    if ordering == Ordering::SeqCst && fences == Fences::Before {
        fence(Ordering::SeqCst);
    }
    let result = access();
    if ordering == Ordering::SeqCst && fences == Fences::After {
        fence(Ordering::SeqCst);
    }
    result
}

macro_rules! atomic {
    ($name:ident, $int:ty) => {
        #[derive(Debug, Default)]
        pub(crate) struct $name(loom::sync::atomic::$name);

        #[allow(dead_code)]
        impl $name {
            #[track_caller]
            pub(crate) fn new(value: $int) -> Self {
                $name(loom::sync::atomic::$name::new(value))
            }

            #[track_caller]
            pub(crate) fn load(&self, ordering: Ordering) -> $int {
                touch(self as *const Self as usize);
                fenced(ordering, || self.0.load(ordering))
            }

            #[track_caller]
            pub(crate) fn store(&self, value: $int, ordering: Ordering) {
                fenced(ordering, || self.0.store(value, ordering))
            }

            #[track_caller]
            pub(crate) fn swap(&self, value: $int, ordering: Ordering) -> $int {
                fenced(ordering, || self.0.swap(value, ordering))
            }

            #[track_caller]
            pub(crate) fn fetch_add(&self, value: $int, ordering: Ordering) -> $int {
                fenced(ordering, || self.0.fetch_add(value, ordering))
            }

            #[track_caller]
            pub(crate) fn fetch_or(&self, value: $int, ordering: Ordering) -> $int {
                fenced(ordering, || self.0.fetch_or(value, ordering))
            }

            #[track_caller]
            pub(crate) fn fetch_max(&self, value: $int, ordering: Ordering) -> $int {
                fenced(ordering, || self.0.fetch_max(value, ordering))
            }

            #[track_caller]
            pub(crate) fn fetch_update(
                &self,
                set: Ordering,
                fetch: Ordering,
                update: impl FnMut($int) -> Option<$int>,
            ) -> Result<$int, $int> {
                fenced(set, || self.0.fetch_update(set, fetch, update))
            }

            #[track_caller]
            pub(crate) fn compare_exchange(
                &self,
                old: $int,
                new: $int,
                success: Ordering,
                failure: Ordering,
            ) -> Result<$int, $int> {
                fenced(success, || self.0.compare_exchange(old, new, success, failure))
            }
        }
    };
}

atomic!(AtomicU32, u32);
atomic!(AtomicU64, u64);
