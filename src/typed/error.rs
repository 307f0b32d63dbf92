//! Errors of the receiving calls.

use std::fmt;
use std::string::FromUtf8Error;

/// Why [`Subscriber::try_recv`](super::Subscriber::try_recv) returns no message.
///
/// ```
/// use data_pubsub_shared::typed::{Ring, TryRecvError};
///
/// let mut subscriber = Ring::<i64>::builder().capacity(8).anonymous()?.subscribe();
/// assert_eq!(subscriber.try_recv(), Err(TryRecvError::Empty));
/// # Ok::<(), data_pubsub_shared::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TryRecvError {
    /// There is no message now.
    Empty,
    /// This number of messages was overwritten before this subscriber read them. The next call returns the message after the gap.
    Lagged(u64),
    /// `Subscriber<str>` only: the message is not UTF-8. It counts as delivered, and the error contains its bytes.
    InvalidUtf8(FromUtf8Error),
}

/// Why [`Subscriber::recv`](super::Subscriber::recv) returns no message.
///
/// ```
/// use data_pubsub_shared::typed::{RecvError, Ring};
///
/// let ring = Ring::<i64>::builder().capacity(2).anonymous()?;
/// let mut subscriber = ring.subscribe();
/// ring.publisher()?.publish_all(&[1, 2, 3])?;
/// assert_eq!(subscriber.recv(), Err(RecvError::Lagged(1)));
/// assert_eq!(subscriber.recv(), Ok(2));
/// # Ok::<(), data_pubsub_shared::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RecvError {
    /// As [`TryRecvError::Lagged`].
    Lagged(u64),
    /// There is no message, and none will come: the ring's file was removed or replaced.
    Gone,
    /// As [`TryRecvError::InvalidUtf8`].
    InvalidUtf8(FromUtf8Error),
}

/// Why [`Subscriber::recv_timeout`](super::Subscriber::recv_timeout) returns no message.
///
/// ```
/// use data_pubsub_shared::typed::{RecvTimeoutError, Ring};
/// use std::time::Duration;
///
/// let mut subscriber = Ring::<i64>::builder().capacity(8).anonymous()?.subscribe();
/// assert_eq!(subscriber.recv_timeout(Duration::from_millis(1)), Err(RecvTimeoutError::Timeout));
/// # Ok::<(), data_pubsub_shared::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RecvTimeoutError {
    /// The timeout has passed, and there is no message.
    Timeout,
    /// As [`TryRecvError::Lagged`].
    Lagged(u64),
    /// As [`RecvError::Gone`].
    Gone,
    /// As [`TryRecvError::InvalidUtf8`].
    InvalidUtf8(FromUtf8Error),
}

impl TryRecvError {
    /// The same error for a call that waits; `None` if such a call goes on waiting.
    pub(super) fn final_error(self) -> Option<RecvError> {
        match self {
            TryRecvError::Empty => None,
            TryRecvError::Lagged(count) => Some(RecvError::Lagged(count)),
            TryRecvError::InvalidUtf8(error) => Some(RecvError::InvalidUtf8(error)),
        }
    }
}

impl From<RecvError> for RecvTimeoutError {
    fn from(error: RecvError) -> Self {
        match error {
            RecvError::Lagged(count) => RecvTimeoutError::Lagged(count),
            RecvError::Gone => RecvTimeoutError::Gone,
            RecvError::InvalidUtf8(error) => RecvTimeoutError::InvalidUtf8(error),
        }
    }
}

impl fmt::Display for RecvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RecvError::Lagged(count) => write!(f, "{} messages were overwritten before they were read", count),
            RecvError::Gone => f.write_str("the ring's file was removed or replaced"),
            RecvError::InvalidUtf8(error) => write!(f, "the message is not UTF-8: {}", error),
        }
    }
}

impl fmt::Display for TryRecvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.clone().final_error() {
            Some(error) => error.fmt(f),
            None => f.write_str("there is no message now"),
        }
    }
}

impl fmt::Display for RecvTimeoutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RecvTimeoutError::Timeout => f.write_str("no message came in time"),
            RecvTimeoutError::Lagged(count) => RecvError::Lagged(*count).fmt(f),
            RecvTimeoutError::Gone => RecvError::Gone.fmt(f),
            RecvTimeoutError::InvalidUtf8(error) => RecvError::InvalidUtf8(error.clone()).fmt(f),
        }
    }
}

macro_rules! with_source {
    ($($error:ident)+) => {
        $(
            impl std::error::Error for $error {
                fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
                    match self {
                        $error::InvalidUtf8(error) => Some(error),
                        _ => None,
                    }
                }
            }
        )+
    };
}

with_source! { TryRecvError RecvError RecvTimeoutError }
