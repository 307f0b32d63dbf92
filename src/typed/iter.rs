//! Iterators over messages and gaps.

use super::{Message, RecvError, Subscriber, TryRecvError};

type Item<T> = Result<<T as Message>::Owned, RecvError>;

/// The iterator of [`Subscriber::iter`]: sleeps until the next message arrives, and ends when the ring is gone.
#[derive(Debug)]
pub struct Iter<'a, T: Message + ?Sized>(&'a mut Subscriber<T>);

/// The iterator of [`Subscriber::into_iter`](IntoIterator::into_iter): like [`Iter`], but owns the subscriber.
#[derive(Debug)]
pub struct IntoIter<T: Message + ?Sized>(Subscriber<T>);

/// The iterator of [`Subscriber::try_iter`]: ends at the last message that was published before it was made.
#[derive(Debug)]
pub struct TryIter<'a, T: Message + ?Sized> {
    subscriber: &'a mut Subscriber<T>,
    end: u64,
}

impl<'a, T: Message + ?Sized> Iter<'a, T> {
    pub(super) fn new(subscriber: &'a mut Subscriber<T>) -> Self {
        Iter(subscriber)
    }
}

impl<T: Message + ?Sized> IntoIter<T> {
    pub(super) fn new(subscriber: Subscriber<T>) -> Self {
        IntoIter(subscriber)
    }
}

impl<'a, T: Message + ?Sized> TryIter<'a, T> {
    pub(super) fn new(subscriber: &'a mut Subscriber<T>, end: u64) -> Self {
        TryIter { subscriber, end }
    }
}

fn next<T: Message + ?Sized>(subscriber: &mut Subscriber<T>) -> Option<Item<T>> {
    match subscriber.recv() {
        Err(RecvError::Gone) => None,
        item => Some(item),
    }
}

impl<T: Message + ?Sized> Iterator for Iter<'_, T> {
    type Item = Item<T>;

    fn next(&mut self) -> Option<Item<T>> {
        next(self.0)
    }
}

impl<T: Message + ?Sized> Iterator for IntoIter<T> {
    type Item = Item<T>;

    fn next(&mut self) -> Option<Item<T>> {
        next(&mut self.0)
    }
}

impl<T: Message + ?Sized> Iterator for TryIter<'_, T> {
    type Item = Item<T>;

    fn next(&mut self) -> Option<Item<T>> {
        if self.subscriber.has_passed(self.end) {
            return None;
        }
        self.subscriber
            .try_recv()
            .map_or_else(|error: TryRecvError| error.final_error().map(Err), |message| Some(Ok(message)))
    }
}
