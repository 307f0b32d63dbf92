//! Subscribers in a tokio runtime: the feature `tokio`.
#![allow(clippy::incompatible_msrv)] // tokio needs a later Rust than the crate without it

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_core::Stream;
use tokio::io::unix::AsyncFd;
use tokio::io::Interest;
use tokio::time::{interval, Interval, MissedTickBehavior};

use super::{Message, RecvError, Subscriber, TryRecvError, Watched};
use crate::{Error, Result};

/// Interval at which a waiting subscriber checks whether its ring is gone.
const STILL_THERE: Duration = Duration::from_secs(1);

/// A [`Subscriber`] that waits asynchronously, and a [`Stream`] of messages and gaps. Needs the feature `tokio`.
///
/// [`recv`](Self::recv) is cancel safe: dropping its future loses no message.
///
/// ```
/// use data_pubsub_shared::typed::{AsyncSubscriber, Ring};
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// let ring = Ring::<str>::builder().capacity(64).anonymous()?;
/// let mut subscriber = AsyncSubscriber::new(ring.subscribe())?;
/// let publisher = ring.publisher()?;
/// std::thread::spawn(move || publisher.publish("hello"));
/// assert_eq!(subscriber.recv().await, Ok("hello".to_owned()));
/// # Ok::<(), data_pubsub_shared::Error>(())
/// # }).unwrap();
/// ```
#[derive(Debug)]
pub struct AsyncSubscriber<T: Message + ?Sized> {
    watched: AsyncFd<Watched<T>>,
    still_there: Interval,
}

impl<T: Message + ?Sized> AsyncSubscriber<T> {
    /// Registers a subscriber with the current runtime, whose I/O and time drivers must be enabled.
    ///
    /// # Errors
    /// [`ErrorKind::System`](crate::ErrorKind::System) if there are no descriptors or threads left.
    ///
    /// # Panics
    /// Panics outside of a runtime, and if the runtime's I/O or time driver is not enabled.
    ///
    /// ```
    /// use data_pubsub_shared::typed::{AsyncSubscriber, Ring};
    ///
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// let subscriber = AsyncSubscriber::new(Ring::<i64>::builder().capacity(64).anonymous()?.subscribe())?;
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn new(subscriber: Subscriber<T>) -> Result<Self> {
        let watched = AsyncFd::with_interest(subscriber.watched()?, Interest::READABLE)
            .map_err(|e| Error::from_os("epoll_ctl", e.raw_os_error().unwrap_or(0)))?;
        let mut still_there = interval(STILL_THERE);
        still_there.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Ok(AsyncSubscriber { watched, still_there })
    }

    /// Receives the next message, and waits for it.
    ///
    /// # Errors
    /// [`RecvError::Lagged`] at a gap, [`RecvError::Gone`] if there is no message and the ring's file was removed or replaced (or
    /// the runtime shuts down), [`RecvError::InvalidUtf8`] for a `str` that is not UTF-8.
    ///
    /// ```
    /// use data_pubsub_shared::typed::{AsyncSubscriber, RecvError, Ring};
    ///
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// let ring = Ring::<i64>::builder().capacity(2).anonymous()?;
    /// let mut subscriber = AsyncSubscriber::new(ring.subscribe())?;
    /// ring.publisher()?.publish_all(&[1, 2, 3])?;
    /// assert_eq!(subscriber.recv().await, Err(RecvError::Lagged(1)));
    /// assert_eq!(subscriber.recv().await, Ok(2));
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// # }).unwrap();
    /// ```
    pub async fn recv(&mut self) -> std::result::Result<T::Owned, RecvError> {
        poll_fn(|context| self.poll_recv(context)).await
    }

    /// Like [`recv`](Self::recv), for implementations of `Future::poll`.
    ///
    /// ```
    /// use data_pubsub_shared::typed::{AsyncSubscriber, Ring};
    ///
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// let mut subscriber = AsyncSubscriber::new(Ring::<i64>::builder().capacity(2).anonymous()?.subscribe())?;
    /// std::future::poll_fn(|context| {
    ///     assert!(subscriber.poll_recv(context).is_pending());
    ///     std::task::Poll::Ready(())
    /// }).await;
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn poll_recv(&mut self, context: &mut Context<'_>) -> Poll<std::result::Result<T::Owned, RecvError>> {
        loop {
            if let Some(received) = received(self.watched.get_mut()) {
                return Poll::Ready(received);
            }
            match self.watched.poll_read_ready_mut(context) {
                Poll::Ready(Ok(mut ready)) => match received(ready.get_inner_mut()) {
                    Some(received) => return Poll::Ready(received),
                    // A message that arrives from here on makes the descriptor readable again.
                    None => ready.clear_ready(),
                },
                // The runtime shuts down.
                Poll::Ready(Err(_)) => return Poll::Ready(Err(RecvError::Gone)),
                Poll::Pending => match self.still_there.poll_tick(context) {
                    Poll::Ready(_) if self.get_ref().is_gone() => {
                        // Receive the messages that were published before the file was removed.
                        return Poll::Ready(received(self.watched.get_mut()).unwrap_or(Err(RecvError::Gone)));
                    }
                    Poll::Ready(_) => {}
                    Poll::Pending => return Poll::Pending,
                },
            }
        }
    }

    /// Returns the subscriber, for its counts, lag and position.
    ///
    /// ```
    /// use data_pubsub_shared::typed::{AsyncSubscriber, Ring};
    ///
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// let subscriber = AsyncSubscriber::new(Ring::<i64>::builder().capacity(2).anonymous()?.subscribe())?;
    /// assert_eq!(subscriber.get_ref().lag(), 0);
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn get_ref(&self) -> &Subscriber<T> {
        self.watched.get_ref().get_ref()
    }

    /// Removes the subscriber from the runtime and returns it.
    ///
    /// ```
    /// use data_pubsub_shared::typed::{AsyncSubscriber, Ring};
    ///
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// let subscriber = AsyncSubscriber::new(Ring::<i64>::builder().capacity(2).anonymous()?.subscribe())?;
    /// let mut subscriber = subscriber.into_inner();
    /// assert!(subscriber.try_recv().is_err());
    /// # Ok::<(), data_pubsub_shared::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn into_inner(self) -> Subscriber<T> {
        self.watched.into_inner().into_inner()
    }
}

/// Receives the next message or error; `None` if there is no message now.
fn received<T: Message + ?Sized>(watched: &mut Watched<T>) -> Option<std::result::Result<T::Owned, RecvError>> {
    watched.try_recv().map_or_else(|error: TryRecvError| error.final_error().map(Err), |message| Some(Ok(message)))
}

impl<T: Message + ?Sized> Stream for AsyncSubscriber<T> {
    type Item = std::result::Result<T::Owned, RecvError>;

    /// Ends when the ring's file was removed or replaced and everything in it was read.
    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_recv(context).map(|received| match received {
            Err(RecvError::Gone) => None,
            item => Some(item),
        })
    }
}
