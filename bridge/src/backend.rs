//! The server between the hosts, and what it must promise: the contract of a backend.
//!
//! A backend keeps streams. A stream is one sequence of entries from many origins; an origin is one ring on one host, whose
//! messages are numbered 1, 2, 3 ... For each origin the backend knows (epoch E, last number L, position P), where P is text
//! that means something to the sender alone: how far its ring was read behind the message L.
//!
//! Everything that the bridge guarantees follows from five promises.
//!
//! 1. *A fence.* [`begin`](Backend::begin) is one atomic, lasting step: it raises E of an origin above all epochs before, and
//!    says what L and P are. From then on each [`append`](Backend::append) with a smaller epoch fails as [`Failure::Fenced`],
//!    wherever it was on its way.
//! 2. *All or nothing, once.* An append puts those entries of its batch behind the stream's end whose first number is greater
//!    than L, and stores the batch's last number and position as L and P; or it does nothing. So a batch that comes twice
//!    is appended once. Both are lasting when it returns `Ok`, as far as the server's settings for its disk go.
//! 3. *Nothing beyond a hole.* An append whose first number is greater than max(L, acknowledged) + 1 fails as
//!    [`Failure::Hole`] and does nothing. The sender has several batches on their way at once. The server may refuse one of them
//!    (no memory, no replicas) and could take the next; the refused one would then lie below L when it comes again, and
//!    be taken for delivered. L alone is not enough: a server that has lost its data, or goes on from a copy, has an L below
//!    what it has acknowledged, and that is not sent again.
//! 4. *One order.* All readers of a stream get its entries in the same sequence, that of their [`Place`]s, which grow. An entry
//!    is read whole, unchanged, and after the append that brought it. Reading changes nothing.
//! 5. *The truth about what is gone.* [`ends`](Backend::ends) and [`origins`](Backend::origins) tell what was trimmed, and
//!    whether a place is still one of this stream, which it is not where the server was restored from an older copy.
//!
//! What a backend need not promise: that it is there. Calls fail with [`Failure::Lost`] while it is away, and then it is not known
//! whether they were carried out; [`connected`](Backend::connected) waits for its return. It connects by itself, again and again.
//! Of a backend that is many servers, one may be away with its streams; calls on these fail with [`Failure::Away`].
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

/// Where an entry is in its stream. Places of a stream only grow. For Redis these are the two numbers of an identifier; for
/// JetStream when the stream was created, and the sequence of a message with the entry's index in it.
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
    /// How many numbers the entry takes, 1 or more: one for each message, or for each lost one of a gap.
    pub takes: u64,
    /// The bytes.
    pub payload: Vec<u8>,
}

/// An entry as it is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where it is.
    pub place: Place,
    /// Who sent it.
    pub origin: String,
    /// In which epoch.
    pub epoch: u64,
    /// The number of its first message.
    pub number: u64,
    /// The kind of its content.
    pub kind: u8,
    /// The bytes of its content.
    pub payload: Vec<u8>,
}

/// What is read at a place: an entry, or why what is there is none.
pub type Read = Result<Entry, Malformed>;

/// Something in the stream that no bridge has put there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// Where it is.
    pub place: Place,
    /// What is wrong with it.
    pub why: String,
}

/// Who sends: one life of an origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sender {
    /// The stream's name.
    pub stream: String,
    /// The origin's name: no `#`, no whitespace, 1 to 200 bytes.
    pub origin: String,
    /// From [`Begun`].
    pub epoch: u64,
}

/// What a sender knows when it begins, and what is taken where the server does not know the origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The new epoch must be greater than this.
    pub epoch: u64,
    /// The last number that was acknowledged.
    pub number: u64,
    /// The position behind it, or an empty text.
    pub position: String,
}

/// The answer to [`Backend::begin`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Begun {
    /// The new epoch.
    pub epoch: u64,
    /// L: the last number in the stream.
    pub number: u64,
    /// P: the position behind it.
    pub position: String,
    /// Whether the server knew the origin; otherwise the two are those of the [`Claim`].
    pub known: bool,
}

/// Entries that are appended together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// The number of the first message, 1 or more.
    pub first: u64,
    /// The entries, at least one; each begins where the numbers of the one before it end.
    pub entries: Vec<Content>,
    /// The position behind the last message.
    pub position: String,
}

impl Batch {
    /// The number of the last message.
    pub fn last(&self) -> u64 {
        self.first - 1 + self.entries.iter().map(|entry| entry.takes).sum::<u64>()
    }

    /// Bytes of all payloads.
    pub fn bytes(&self) -> usize {
        self.entries.iter().map(|entry| entry.payload.len()).sum()
    }
}

/// Who sent an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// The origin.
    pub origin: String,
    /// In which epoch.
    pub epoch: u64,
    /// The number of the first message of the entry, or of those that were appended together with it.
    pub first: u64,
}

/// The state of a stream at one instant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ends {
    /// The oldest entry that is still there; none in an empty stream.
    pub first: Option<Place>,
    /// The newest entry that is still there.
    pub newest: Option<Place>,
    /// The last entry that was ever appended, also where it is gone; [`Place::START`] where none is known.
    pub last: Place,
    /// Whether the place that was asked for may be one of this stream. False where it certainly is none: it is behind `last`,
    /// or not before `first` and no entry is there.
    pub continues: bool,
    /// What is at the place that was asked for, if that can be told. A server that was restored from a copy may give a place a second time.
    pub at: Option<Sent>,
    /// How much older it is than the newest entry, if that can be told; where it is gone, how much the oldest one is.
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

/// How much of a stream is kept, roughly. What none of these says is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Limits {
    /// At least so many messages.
    pub messages: Option<u64>,
    /// Those that are younger than this.
    pub age: Option<Duration>,
    /// At most so many bytes of the server's memory or disk.
    pub bytes: Option<u64>,
}

/// Why a call came to nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The connection broke, or no answer came in time: what was asked may have been done. The text says where and why.
    Lost(String),
    /// As `Lost`, of the part of the server alone that has this stream; the connection to the others is good.
    Away(String),
    /// The server said no, and did nothing; later it may say yes. The text has its words, and the remedy where one is known.
    Refused(String),
    /// As `Refused`: this user has no permission for that.
    Denied(String),
    /// As `Refused`: the server has no room. Trimming may help.
    Full(String),
    /// A batch before this one was refused, and must come first.
    Hole,
    /// A later epoch has begun.
    Fenced,
    /// An operator has to change something: the key of the stream is something else, for instance.
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

/// How the connection is, for the status.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Health {
    /// Whether calls can be made, and the server has answered the last ones in time.
    pub connected: bool,
    /// The last thing that went wrong with the connection; none while it is well.
    pub error: Option<String>,
    /// Connections that were lost so far.
    pub lost: u64,
}

/// A server that keeps streams. The module says what it must promise. One value serves all bridges to one server, from
/// many tasks at once; a future that is dropped takes nothing back.
pub trait Backend: Send + Sync + 'static {
    /// Reads one stream.
    type Reader: Reader;

    /// Returns once calls can be made. May be dropped at any time.
    fn connected(&self) -> impl Future<Output = ()> + Send;

    /// How the connection is. Never waits.
    fn health(&self) -> Health;

    /// How many batches one sender may have on their way at once, 1 or more.
    fn window(&self) -> usize;

    /// The most bytes of payloads in a batch. A message that is longer can never be sent.
    fn batch_bytes(&self) -> usize;

    /// Begins a new epoch of an origin; promise 1.
    fn begin(&self, stream: &str, origin: &str, claim: &Claim) -> impl Future<Output = Result<Begun>> + Send;

    /// Appends a batch; promises 2 and 3. `acknowledged` is the last number for which the sender has got an `Ok`. Batches of one
    /// sender whose futures are first polled one after the other reach the server in that order, as long as none fails.
    fn append(&self, sender: &Sender, batch: &Batch, acknowledged: u64) -> impl Future<Output = Result<()>> + Send;

    /// Begins to read behind a place; promise 4.
    fn read(&self, stream: &str, after: Place) -> impl Future<Output = Result<Self::Reader>> + Send;

    /// The state of a stream, and whether a place is one of it; promise 5.
    fn ends(&self, stream: &str, place: Place) -> impl Future<Output = Result<Ends>> + Send;

    /// What the server knows of all origins of a stream. May be as long as they are many.
    fn origins(&self, stream: &str) -> impl Future<Output = Result<Origins>> + Send;

    /// Trims a stream to its limits. `messages_per_entry` is what the caller has seen, 1.0 or more. Also called where the server
    /// is full.
    fn trim(&self, stream: &str, limits: &Limits, messages_per_entry: f64) -> impl Future<Output = Result<()>> + Send;

    /// Says that an origin is alive though it has nothing to send, and forgets those that have not said anything for longer
    /// than `idle`. Returns how many were forgotten. Does nothing where that costs nothing.
    fn tend(&self, sender: &Sender, idle: Duration) -> impl Future<Output = Result<u64>> + Send;
}

/// Reads one stream from a place on.
pub trait Reader: Send + 'static {
    /// The next entries, in order, a bounded number of bytes of them; waits until there are some. May be dropped while it waits,
    /// without loss. After a failure nothing more comes: begin to read again.
    fn next(&mut self) -> impl Future<Output = Result<Vec<Read>>> + Send;
}
