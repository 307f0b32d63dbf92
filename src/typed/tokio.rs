//! Subscribers in a tokio runtime: the feature `tokio`.
#![allow(clippy::incompatible_msrv)] // tokio takes a later Rust than the crate without it

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

/// How often a waiting subscriber looks whether its ring is still there.
const STILL_THERE: Duration = Duration::from_secs(1);

/// A [`Subscriber`] whose waiting is asynchronous, and a [`Stream`] of messages and gaps; the feature `tokio`.
///
/// Dropping a future of [`recv`](Self::recv) loses no message.
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
    /// [`ErrorKind::System`](crate::ErrorKind::System) where there are no descriptors or threads left.
    ///
    /// # Panics
    /// Outside of a runtime, or where it lacks a driver.
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

    /// The next message.
    ///
    /// # Errors
    /// [`RecvError`]: a gap; or no message will come.
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

    /// The same for implementers of futures.
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
                    // A message that comes from here on makes the descriptor readable anew.
                    None => ready.clear_ready(),
                },
                // The runtime shuts down.
                Poll::Ready(Err(_)) => return Poll::Ready(Err(RecvError::Gone)),
                Poll::Pending => match self.still_there.poll_tick(context) {
                    Poll::Ready(_) if self.get_ref().is_gone() => {
                        // What was published before it went.
                        return Poll::Ready(received(self.watched.get_mut()).unwrap_or(Err(RecvError::Gone)));
                    }
                    Poll::Ready(_) => {}
                    Poll::Pending => return Poll::Pending,
                },
            }
        }
    }

    /// The subscriber, to be asked what it lost or how far it lags.
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

    /// The subscriber, no longer of the runtime.
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

/// None: there is no message now.
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
