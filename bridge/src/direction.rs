//! What both directions of a bridge have in common: what they are told, what they say about themselves, how they wait.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, sleep_until};
use tracing::warn;

use crate::backend::{Failure, Health};
use crate::ring::{Open, RingFile};

/// How many messages were lost, by reason.
pub type Lost = BTreeMap<String, u64>;

/// Why messages are lost. The stream may have other words, of other programs.
pub const REASONS: [(&str, &str); 7] = [
    ("overrun", "their ring was overrun before they could be sent"),
    ("restart", "their ring was overrun while the bridge was not running"),
    ("replaced", "their ring was replaced; how many it still held is not known"),
    ("trimmed", "the stream was trimmed before they could be read"),
    ("backend", "the server has lost them"),
    ("rejected", "they do not fit"),
    ("indeterminate", "after a restart it was not clear whether they had been delivered"),
];

/// Those for which nothing is lost on the way up.
pub const ONLY_DOWN: [&str; 3] = ["trimmed", "backend", "indeterminate"];

/// The sentence for a reason.
pub fn because(reason: &str) -> &str {
    REASONS.iter().find(|(word, _)| *word == reason).map_or(reason, |(_, sentence)| sentence)
}

/// What is known of a direction, for people and programs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Status {
    /// `up` or `down`.
    pub direction: String,
    /// The ring's path.
    pub ring: String,
    /// The stream; several are joined by commas.
    pub stream: String,
    /// The server.
    pub server: String,
    /// Whether it is at work: it has its ring and its state file. Otherwise `error` says why not.
    pub running: bool,
    /// Whether the server is there, and does what it is asked.
    pub connected: bool,
    /// What is wrong now; null where all is well.
    pub error: Option<String>,
    /// Messages: sent and acknowledged (up), published (down), by this process.
    pub forwarded: u64,
    /// The same per second, during the last second.
    pub rate: u64,
    /// Lost messages by reason, since the state file was begun.
    pub lost: Lost,
    /// Messages of the ring that were not taken out yet (up).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lag: Option<u64>,
    /// How old the entry was that was read last, in seconds, while there is more to read (down).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lag_seconds: Option<f64>,
    /// Batches without an answer (up).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub in_flight: Option<u64>,
    /// Its name in the stream (up).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
    /// The current epoch (up).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epoch: Option<u64>,
    /// The last number that was acknowledged (up).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub number: Option<u64>,
    /// The entry read last, by stream (down).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub places: Option<BTreeMap<String, String>>,
    /// How many origins it knows (down).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origins: Option<u64>,
    /// Messages left out because they came twice, since the state file was begun (down).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duplicates: Option<u64>,
    /// Entries left out because they could not be understood, by this process (down).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub malformed: Option<u64>,
    /// Messages left out by a filter, by this process.
    pub filtered: u64,
    /// How often it has begun again after something went wrong.
    pub restarts: u64,
}

/// How a direction is told to end, and tells how it is.
#[derive(Clone, Debug)]
pub struct Control {
    stop: watch::Receiver<bool>,
    status: Arc<Mutex<Status>>,
    /// Batches that all senders to one server may have in memory together.
    pub batches: Arc<Semaphore>,
    /// How long the last messages may take when it is to end.
    pub farewell: Duration,
}

impl Control {
    /// Ends when `stop` says true.
    pub fn new(stop: watch::Receiver<bool>, status: Status, batches: Arc<Semaphore>) -> Control {
        Control { stop, status: Arc::new(Mutex::new(status)), batches, farewell: Duration::from_secs(5) }
    }

    /// Whether it is to end.
    pub fn is_stopping(&self) -> bool {
        *self.stop.borrow()
    }

    /// Returns when it is to end. May be dropped.
    pub async fn stopping(&self) {
        let mut stop = self.stop.clone();
        // Who would say so is gone: that is an end, too.
        let _ = stop.wait_for(|stop| *stop).await;
    }

    /// The status, to be changed.
    pub fn status(&self) -> MutexGuard<'_, Status> {
        self.status.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Waits so long, or until it is to end.
    pub async fn pause(&self, duration: Duration) {
        tokio::select! {
            () = tokio::time::sleep(duration) => {}
            () = self.stopping() => {}
        }
    }
}

/// Pauses that double, up to a greatest one, each between half and one and a half of that, so that not all come at once.
#[derive(Debug)]
pub struct Backoff {
    first: Duration,
    greatest: Duration,
    failures: u32,
}

impl Backoff {
    /// From `first` to `greatest`.
    pub fn new(first: Duration, greatest: Duration) -> Backoff {
        Backoff { first, greatest, failures: 0 }
    }

    /// It works.
    pub fn reset(&mut self) {
        self.failures = 0;
    }

    /// It does not: how long to wait.
    pub fn pause(&mut self) -> Duration {
        let doubled = self.first.saturating_mul(1 << self.failures.min(16)).min(self.greatest);
        self.failures += 1;
        doubled.mul_f64(0.5 + random_fraction())
    }
}

/// Since 1970, as this host's clock says; nothing before that.
pub fn since_1970() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Between 0 and 1.
pub fn random_fraction() -> f64 {
    use std::hash::{BuildHasher, RandomState};
    // Each has new random keys.
    (RandomState::new().hash_one(0u8) >> 11) as f64 / (1u64 << 53) as f64
}

/// Says the same thing once, until something else was said or all is well.
#[derive(Debug, Default)]
pub struct Said(Option<String>);

impl Said {
    /// Whether this is news.
    pub fn is_news(&mut self, text: &str) -> bool {
        let is_news = self.0.as_deref() != Some(text);
        if is_news {
            self.0 = Some(text.to_owned());
        }
        is_news
    }

    /// All is well.
    pub fn clear(&mut self) {
        self.0 = None;
    }
}

/// What is wrong with a direction: its server refuses, its state file cannot be written, its ring is gone.
#[derive(Debug)]
pub struct Trouble {
    backoff: Backoff,
    said: Said,
    /// What the server last refused; none since it did what it was asked.
    refusal: Option<String>,
    /// Why the state file cannot be written.
    state: Option<String>,
    /// Since when the ring's file is not there.
    gone: Option<Instant>,
}

impl Default for Trouble {
    fn default() -> Self {
        let backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(5));
        Trouble { backoff, said: Said::default(), refusal: None, state: None, gone: None }
    }
}

impl Trouble {
    /// The server did what it was asked.
    pub fn is_over(&mut self) {
        self.backoff.reset();
        self.said.clear();
        self.refusal = None;
    }

    /// The server did not, which is said once: how long to wait before the next attempt.
    pub fn with_server(&mut self, failure: &Failure) -> Duration {
        // What is lost with the connection is said by the backend, once for all.
        if !matches!(failure, Failure::Lost(_)) {
            let text = failure.to_string();
            if self.said.is_news(&text) {
                warn!("{text}; trying again");
            }
            self.refusal = Some(text);
        }
        self.backoff.pause()
    }

    /// What became of writing the state file. True: that is news.
    pub fn with_state(&mut self, written: std::io::Result<()>) -> bool {
        let error = written.err().map(|error| error.to_string());
        let is_news = error != self.state;
        if is_news {
            if let Some(text) = &error {
                warn!("{text}");
            }
            self.state = error;
        }
        is_news
    }

    /// How long to wait before something is tried again that is none of the server's.
    pub fn pause(&mut self) -> Duration {
        self.backoff.pause()
    }

    /// Something that is left out: whether it is to be said.
    pub fn is_news(&mut self, text: &str) -> bool {
        self.said.is_news(text)
    }

    /// Whether the ring's file is gone, or is another one. Looks each second: one that is not there may be about to be made again, and is
    /// gone when it is missed for a second.
    pub fn is_ring_gone(&mut self, open: &Open, file: &RingFile) -> bool {
        if !open.ring.is_gone() {
            self.gone = None;
            return false;
        }
        let since = *self.gone.get_or_insert_with(Instant::now);
        file.path.exists() || since.elapsed() >= Duration::from_millis(900)
    }

    /// Into the status.
    pub fn show(&self, status: &mut Status, health: Health, has_begun: bool) {
        status.connected = has_begun && health.connected && self.refusal.is_none();
        status.error = health.error.or_else(|| self.refusal.clone()).or_else(|| self.state.clone());
    }
}

/// Something to be done each second.
#[derive(Debug)]
pub struct Ticks(Instant);

impl Ticks {
    const EACH: Duration = Duration::from_secs(1);

    /// The first one at once.
    pub fn new() -> Ticks {
        Ticks(Instant::now())
    }

    /// Waits for the next. May be dropped.
    pub async fn tick(&mut self) {
        sleep_until(self.0).await;
        self.0 = Instant::now() + Self::EACH;
    }
}

impl Default for Ticks {
    fn default() -> Self {
        Ticks::new()
    }
}

/// Counts losses, and says so once a second, because in an overload there is news a thousand times a second.
#[derive(Debug, Default)]
pub struct Losses {
    /// Since the state file was begun.
    pub total: Lost,
    news: Lost,
}

impl Losses {
    /// Goes on from what the state file says.
    pub fn from(total: Lost) -> Losses {
        Losses { total, news: Lost::new() }
    }

    /// Counts some; 0 where it is not known how many.
    pub fn count(&mut self, reason: &str, count: u64) {
        for counts in [&mut self.total, &mut self.news] {
            match counts.get_mut(reason) {
                Some(known) => *known += count,
                None => drop(counts.insert(reason.to_owned(), count)),
            }
        }
    }

    /// Says what there is to say.
    pub fn say(&mut self) {
        for (reason, count) in std::mem::take(&mut self.news) {
            tracing::warn!("lost {count} messages: {}", because(&reason));
        }
    }
}
