//! Rings typed by their messages: [`Ring<i64>`], [`Ring<i32>`], [`Ring<i16>`], [`Ring<f64>`], [`Ring<str>`] and [`Ring<[u8]>`].
//!
//! ```
//! use data_pubsub_shared::typed::{Ring, TryRecvError};
//!
//! let ring = Ring::<str>::builder().capacity(1024).message_size(200).anonymous()?;
//! let mut subscriber = ring.subscribe();
//! let publisher = ring.publisher()?;
//! publisher.publish("hello")?;
//! assert_eq!(subscriber.try_recv(), Ok("hello".to_owned()));
//! assert_eq!(subscriber.try_recv(), Err(TryRecvError::Empty));
//! # Ok::<(), data_pubsub_shared::Error>(())
//! ```
//!
//! # Lagging
//!
//! A ring holds as many messages as its capacity, and publishers do not wait for subscribers. A subscriber that falls further
//! behind loses the oldest messages. It learns of the loss at the place of the gap: the call that would return the first message
//! after the gap returns `Lagged(n)` instead, once, and the next call returns that message.
//!
//! ```
//! use data_pubsub_shared::typed::{Ring, TryRecvError};
//!
//! let ring = Ring::<i32>::builder().capacity(4).anonymous()?;
//! let mut subscriber = ring.subscribe();
//! ring.publisher()?.publish_all(&[1, 2, 3, 4, 5, 6])?;
//! assert_eq!(subscriber.try_recv(), Err(TryRecvError::Lagged(2)));
//! assert_eq!(subscriber.try_recv(), Ok(3));
//! # Ok::<(), data_pubsub_shared::Error>(())
//! ```
//!
//! In a [lossless](Builder::lossless) ring, publishers wait instead, for each subscriber in its table of readers.
//!
//! # Waiting
//!
//! [`Subscriber::recv`] and [`Subscriber::recv_timeout`] block the thread, [`Watched`] has a file descriptor for event loops,
//! and with the feature `tokio` `AsyncSubscriber` is a stream. A [`Set`] waits for several subscribers at once.
//!
//! # Receiving less
//!
//! [`Subscriber::set_prefixes`] selects strings by their first characters; [`Subscriber::latest`] returns the newest message.
//!
//! # Rings typed at run time
//!
//! The types in the crate's root are for rings whose variant is known only at run time. [`Ring::erased`] and [`Ring::from_erased`]
//! convert between both.

mod error;
mod iter;
mod message;
mod publisher;
mod ring;
mod selection;
mod set;
mod subscriber;
#[cfg(feature = "tokio")]
mod tokio;
mod watched;

/// The time of the monotonic clock after `timeout`, in nanoseconds.
fn deadline(timeout: std::time::Duration) -> u64 {
    let nanoseconds = u64::try_from(timeout.as_nanos()).unwrap_or(crate::NEVER);
    crate::monotonic_ns().saturating_add(nanoseconds)
}

pub use self::error::{RecvError, RecvTimeoutError, TryRecvError};
pub use self::iter::{IntoIter, Iter, TryIter};
pub use self::message::{AsMessage, Message, Number, Text};
pub use self::publisher::Publisher;
pub use self::ring::{Builder, Ring};
pub use self::set::{Member, Set};
pub use self::subscriber::Subscriber;
#[cfg(feature = "tokio")]
pub use self::tokio::AsyncSubscriber;
pub use self::watched::Watched;

#[cfg(test)]
mod tests;
