//! The contract of a backend: what the server between the hosts must promise.
//!
//! A backend keeps streams. A stream is one sequence of entries from many origins. An origin is one ring on one host, whose
//! messages are numbered 1, 2, 3 ... For each origin the backend stores its epoch E, its last number L and its position P. P is a
//! text that only the sender interprets: the position in its ring after the message L.
//!
//! All guarantees of the bridge follow from five promises.
//!
//! 1. *A fence.* [`begin`](Backend::begin) is one atomic, durable step: it raises E of an origin above all earlier epochs, and
//!    returns L and P. From then on each [`append`](Backend::append) with a lower epoch fails as [`Failure::Fenced`], even if
//!    it was sent before.
//! 2. *All or nothing, once.* An append adds those entries of its batch whose first number is greater than L to the end of the
//!    stream, and stores the batch's last number and position as L and P; or it has no effect. So a batch that is sent twice
//!    is appended once. All of this is durable when it returns `Ok`, as far as the server's persistence settings allow.
//! 3. *No holes.* An append whose first number is greater than max(L, acknowledged) + 1 fails as [`Failure::Hole`] and has no
//!    effect. The sender has several batches in flight. The server may refuse one of them (out of memory, too few replicas) and
//!    could accept the next; when the refused batch is sent again, its numbers would be below L, and it would be taken for a
//!    duplicate. L alone is not enough: if a server has lost its data, or was restored from a copy, its L is lower than the last
//!    number that it has acknowledged, and acknowledged messages are not sent again.
//! 4. *One order.* All readers of a stream get its entries in the same sequence, that of their [`Place`]s, which grow. An entry
//!    is read completely, unchanged, and after its append. Reading has no side effects.
//! 5. *Known losses.* [`ends`](Backend::ends) and [`origins`](Backend::origins) tell what was trimmed, and whether a place still
//!    belongs to this stream; it does not if the server was restored from an older copy.
//!
//! A backend need not promise to be available. Calls fail with [`Failure::Lost`] while it is down, and then it is not known
//! whether they were executed; [`connected`](Backend::connected) waits until it is up again. It reconnects by itself, again and
//! again. If a backend consists of several servers, one of them may be down with its streams; calls for these fail with
//! [`Failure::Away`].
//!
//! [`conformance`] checks all of this against any backend.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub mod conformance;
mod keeper;
pub mod memory;
pub mod nats;
pub mod redis;
pub mod server;
mod tls;

/// The place of an entry in its stream. Places of a stream only grow. For Redis it is the two numbers of an entry's id; for
/// JetStream it is the time at which the stream was created, and a message's sequence with the index of the entry in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Place(pub u64, pub u64);

impl Place {
    /// Before all entries.
    pub const START: Place = Place(0, 0);
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.0, self.1)
    }
}

impl FromStr for Place {
    type Err = String;

    /// `A-B` or `A`, which is `A-0`.
    fn from_str(text: &str) -> Result<Place, String> {
        let number = |digits: &str| {
            let all_digits = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
            all_digits.then(|| digits.parse().ok()).flatten()
        };
        let (major, minor) = text.split_once('-').unwrap_or((text, "0"));
        match (number(major), number(minor)) {
            (Some(major), Some(minor)) => Ok(Place(major, minor)),
            _ => Err(format!("'{text}' is not the identifier of an entry")),
        }
    }
}

/// The content of an entry: `docs/stream-format.md` has the kinds, which are letters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// One of `i I m M u U g`.
    pub kind: u8,
    /// How many numbers the entry takes, 1 or more: one for each message, or for each lost message of a gap.
    pub takes: u64,
    /// The bytes.
    pub payload: Vec<u8>,
}

/// An entry as it is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its place.
    pub place: Place,
    /// Its origin.
    pub origin: String,
    /// The epoch in which it was sent.
    pub epoch: u64,
    /// The number of its first message.
    pub number: u64,
    /// The kind of its content.
    pub kind: u8,
    /// The bytes of its content.
    pub payload: Vec<u8>,
    /// Distinguishes it from another entry that the server had at this place before it was restored from a copy; 0 if that is not
    /// known, or no place is given twice.
    pub stamp: u64,
}

/// The content of a place: an entry, or something else.
pub type Read = Result<Entry, Malformed>;

/// Something in the stream that is not from a bridge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// Where it is.
    pub place: Place,
    /// A text that says what is wrong with it.
    pub why: String,
}

/// A sender: an origin in one epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sender {
    /// The stream's name.
    pub stream: String,
    /// The origin's name: no `#`, no whitespace, 1 to 200 bytes.
    pub origin: String,
    /// From [`Begun`].
    pub epoch: u64,
}

/// What a sender knows when it begins. The server uses it if it does not know the origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The new epoch must be greater than this.
    pub epoch: u64,
    /// The last number that was acknowledged.
    pub number: u64,
    /// The position after it, or an empty text.
    pub position: String,
}

/// The answer to [`Backend::begin`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Begun {
    /// The new epoch.
    pub epoch: u64,
    /// L: the last number in the stream.
    pub number: u64,
    /// P: the position after it.
    pub position: String,
    /// Whether the server knew the origin; otherwise L and P are those of the [`Claim`].
    pub known: bool,
}

/// Entries that are appended together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// The number of the first message, 1 or more.
    pub first: u64,
    /// The entries, at least one; each begins where the numbers of the one before it end.
    pub entries: Vec<Content>,
    /// The position after the last message.
    pub position: String,
}

impl Batch {
    /// The number of the last message.
    pub fn last(&self) -> u64 {
        self.first - 1 + self.entries.iter().map(|entry| entry.takes).sum::<u64>()
    }

    /// The size of all payloads in bytes.
    pub fn bytes(&self) -> usize {
        self.entries.iter().map(|entry| entry.payload.len()).sum()
    }
}

/// The sender of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// The origin.
    pub origin: String,
    /// The epoch.
    pub epoch: u64,
    /// The number of the first message of the entry, or of the batch that it was appended in.
    pub first: u64,
    /// As [`Entry::stamp`].
    pub stamp: u64,
}

/// The state of a stream at one instant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ends {
    /// The oldest entry that is held; `None` in an empty stream.
    pub first: Option<Place>,
    /// The newest entry that is held.
    pub newest: Option<Place>,
    /// The last entry that was ever appended, even if it was trimmed; [`Place::START`] if none is known.
    pub last: Place,
    /// Whether the requested place may belong to this stream. False if it certainly does not: it is after `last`, or it is not
    /// before `first` and holds no entry.
    pub continues: bool,
    /// The entry at the requested place, if that is known. A server that was restored from a copy may give a place a second time.
    pub at: Option<Sent>,
    /// How much older it is than the newest entry, if that is known; if it was trimmed, how much older the oldest entry is.
    pub behind: Option<Duration>,
}

/// What the server knows of all origins at one instant.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Origins {
    /// As [`Ends::newest`], at the same instant.
    pub newest: Option<Place>,
    /// As [`Ends::last`], at the same instant.
    pub last: Place,
    /// Origin, epoch, last number.
    pub numbers: Vec<(String, u64, u64)>,
}

/// How much of a stream is kept, approximately. Without a limit, all of it is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Limits {
    /// At least this number of messages.
    pub messages: Option<u64>,
    /// Messages that are younger than this.
    pub age: Option<Duration>,
    /// At most this number of bytes of the server's memory or disk.
    pub bytes: Option<u64>,
}

/// Why a call failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The connection broke, or there was no answer in time. The request may have been executed. The text says where and why.
    Lost(String),
    /// As `Lost`, but only for the server that has this stream; the connections to other servers work.
    Away(String),
    /// The server refused the request, which had no effect; later it may accept it. The text has its words, and a remedy if one
    /// is known.
    Refused(String),
    /// As `Refused`: this user does not have the permission.
    Denied(String),
    /// As `Refused`: the server is full. Trimming may help.
    Full(String),
    /// An earlier batch was refused, and must be sent first.
    Hole,
    /// A later epoch has begun: another sender has taken over the origin.
    Fenced,
    /// An operator must change something; for instance, the key of the stream holds another type.
    Hopeless(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Lost(text)
            | Failure::Away(text)
            | Failure::Refused(text)
            | Failure::Denied(text)
            | Failure::Full(text)
            | Failure::Hopeless(text) => f.write_str(text),
            Failure::Hole => f.write_str("an earlier batch was refused, and must come first"),
            Failure::Fenced => f.write_str("fenced: a newer instance of this bridge has taken over"),
        }
    }
}

impl std::error::Error for Failure {}

/// The result of a backend's call.
pub type Result<T, E = Failure> = std::result::Result<T, E>;

/// The state of the connection, for the status.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Health {
    /// Whether calls can be made, and the server has answered the last ones in time.
    pub connected: bool,
    /// The last error of the connection; `None` while it works.
    pub error: Option<String>,
    /// How many connections were lost so far.
    pub lost: u64,
}

/// A server that keeps streams; the module's page has its contract. One value serves all bridges to one server, from many tasks at
/// once. Dropping a future does not cancel its request.
pub trait Backend: Send + Sync + 'static {
    /// Reads one stream.
    type Reader: Reader;

    /// Returns once calls can be made. May be dropped at any time.
    fn connected(&self) -> impl Future<Output = ()> + Send;

    /// The state of the connection. Does not wait.
    fn health(&self) -> Health;

    /// How many batches of one sender may be in flight at once, 1 or more.
    fn window(&self) -> usize;

    /// The maximum size of a batch's payloads in bytes. Longer messages cannot be sent.
    fn batch_bytes(&self) -> usize;

    /// Begins a new epoch of an origin; promise 1.
    fn begin(&self, stream: &str, origin: &str, claim: &Claim) -> impl Future<Output = Result<Begun>> + Send;

    /// Appends a batch; promises 2 and 3. `acknowledged` is the last number for which the sender has received an `Ok`. Batches of
    /// one sender reach the server in the order in which their futures are first polled, as long as none fails.
    fn append(&self, sender: &Sender, batch: &Batch, acknowledged: u64) -> impl Future<Output = Result<()>> + Send;

    /// Starts reading after a place; promise 4.
    fn read(&self, stream: &str, after: Place) -> impl Future<Output = Result<Self::Reader>> + Send;

    /// The state of a stream, and whether a place belongs to it; promise 5.
    fn ends(&self, stream: &str, place: Place) -> impl Future<Output = Result<Ends>> + Send;

    /// The state of all origins of a stream. Its size is proportional to their number.
    fn origins(&self, stream: &str) -> impl Future<Output = Result<Origins>> + Send;

    /// Trims a stream to its limits. `messages_per_entry` is the average that the caller has seen, 1.0 or more. Also called when
    /// the server is full.
    fn trim(&self, stream: &str, limits: &Limits, messages_per_entry: f64) -> impl Future<Output = Result<()>> + Send;

    /// Reports that an origin is alive though it has nothing to send, and removes origins that have not reported for longer than
    /// `idle`. Returns how many were removed. It does nothing if idle origins cost the backend nothing.
    fn tend(&self, sender: &Sender, idle: Duration) -> impl Future<Output = Result<u64>> + Send;
}

/// A reader of one stream.
pub trait Reader: Send + 'static {
    /// The next entries, in order, of a limited total size; waits until there are some. It may be dropped while it waits, without
    /// loss. After a failure, the caller must start reading again.
    fn next(&mut self) -> impl Future<Output = Result<Vec<Read>>> + Send;
}
