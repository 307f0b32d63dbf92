//! What both directions of a bridge have in common: control, status, and waiting.

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

/// The reasons for losses. A stream may have other reasons, from other programs.
pub const REASONS: [(&str, &str); 7] = [
    ("overrun", "their ring was overrun before they could be sent"),
    ("restart", "their ring was overrun while the bridge was not running"),
    ("replaced", "their ring was replaced; how many it still held is not known"),
    ("trimmed", "the stream was trimmed before they could be read"),
    ("backend", "the server has lost them"),
    ("rejected", "they do not fit"),
    ("indeterminate", "after a restart it was not clear whether they had been delivered"),
];

/// Reasons that are not losses in the direction up.
pub const ONLY_DOWN: [&str; 3] = ["trimmed", "backend", "indeterminate"];

/// The sentence for a reason.
pub fn because(reason: &str) -> &str {
    REASONS.iter().find(|(word, _)| *word == reason).map_or(reason, |(_, sentence)| sentence)
}

/// The status of a direction, for people and programs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Status {
    /// `up` or `down`.
    pub direction: String,
    /// The ring's path.
    pub ring: String,
    /// The stream; if there are several, they are joined by commas.
    pub stream: String,
    /// The server.
    pub server: String,
    /// Whether it works: it has its ring and its state file. Otherwise `error` says why not.
    pub running: bool,
    /// Whether the server is connected and accepts requests.
    pub connected: bool,
    /// The present error; null if there is none.
    pub error: Option<String>,
    /// How many messages were sent and acknowledged (up) or published (down) by this process.
    pub forwarded: u64,
    /// How many of them in the last second.
    pub rate: u64,
    /// Lost messages by reason, since the state file was created.
    pub lost: Lost,
    /// Messages of the ring that were not read yet (up).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lag: Option<u64>,
    /// The age in seconds of the entry that was read last, while there are more to read (down).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lag_seconds: Option<f64>,
    /// Batches in flight (up).
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
    /// The number of known origins (down).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origins: Option<u64>,
    /// Messages that were skipped because they were duplicates, since the state file was created (down).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duplicates: Option<u64>,
    /// Malformed entries that were skipped by this process (down).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub malformed: Option<u64>,
    /// Messages that the filter has rejected in this process.
    pub filtered: u64,
    /// How often it has restarted after an error.
    pub restarts: u64,
}

/// Control and status of a direction.
#[derive(Clone, Debug)]
pub struct Control {
    stop: watch::Receiver<bool>,
    status: Arc<Mutex<Status>>,
    /// A limit for the batches that all senders to one server have in memory.
    pub batches: Arc<Semaphore>,
    /// How long sending the last messages may take when it is to end.
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

    /// Waits until it is to end. It may be dropped.
    pub async fn stopping(&self) {
        let mut stop = self.stop.clone();
        // If the sender was dropped, it is to end, too.
        let _ = stop.wait_for(|stop| *stop).await;
    }

    /// The status, to be changed.
    pub fn status(&self) -> MutexGuard<'_, Status> {
        self.status.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Waits for this time, or until it is to end.
    pub async fn pause(&self, duration: Duration) {
        tokio::select! {
            () = tokio::time::sleep(duration) => {}
            () = self.stopping() => {}
        }
    }
}

/// Exponential backoff with jitter: pauses double up to a maximum, and each is between half and one and a half times as long.
#[derive(Debug)]
pub struct Backoff {
    first: Duration,
    greatest: Duration,
    failures: u32,
}

impl Backoff {
    /// Pauses from `first` to `greatest`.
    pub fn new(first: Duration, greatest: Duration) -> Backoff {
        Backoff { first, greatest, failures: 0 }
    }

    /// Resets it, after a success.
    pub fn reset(&mut self) {
        self.failures = 0;
    }

    /// The next pause, after a failure.
    pub fn pause(&mut self) -> Duration {
        let doubled = self.first.saturating_mul(1 << self.failures.min(16)).min(self.greatest);
        self.failures += 1;
        doubled.mul_f64(0.5 + random_fraction())
    }
}

/// The time since 1970, from this host's clock; zero if that is before 1970.
pub fn since_1970() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// A random number between 0 and 1.
pub fn random_fraction() -> f64 {
    use std::hash::{BuildHasher, RandomState};
    // Each `RandomState` has new random keys.
    (RandomState::new().hash_one(0u8) >> 11) as f64 / (1u64 << 53) as f64
}

/// Suppresses a message that is the same as the last one, until there was another or the problem is over.
#[derive(Debug, Default)]
pub struct Said(Option<String>);

impl Said {
    /// Whether this message is new.
    pub fn is_news(&mut self, text: &str) -> bool {
        let is_news = self.0.as_deref() != Some(text);
        if is_news {
            self.0 = Some(text.to_owned());
        }
        is_news
    }

    /// The problem is over.
    pub fn clear(&mut self) {
        self.0 = None;
    }
}

/// The present problems of a direction: its server refuses requests, its state file cannot be written, or its ring was removed.
#[derive(Debug)]
pub struct Trouble {
    backoff: Backoff,
    said: Said,
    /// The server's last refusal; `None` after a success.
    refusal: Option<String>,
    /// Why the state file cannot be written.
    state: Option<String>,
    /// Since when the ring's file is missing.
    gone: Option<Instant>,
}

impl Default for Trouble {
    fn default() -> Self {
        let backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(5));
        Trouble { backoff, said: Said::default(), refusal: None, state: None, gone: None }
    }
}

impl Trouble {
    /// A request succeeded.
    pub fn is_over(&mut self) {
        self.backoff.reset();
        self.said.clear();
        self.refusal = None;
    }

    /// A request failed, which is logged once. Returns how long to wait before the next attempt.
    pub fn with_server(&mut self, failure: &Failure) -> Duration {
        // The backend logs a lost connection once for all directions.
        if !matches!(failure, Failure::Lost(_)) {
            let text = failure.to_string();
            if self.said.is_news(&text) {
                warn!("{text}; trying again");
            }
            self.refusal = Some(text);
        }
        self.backoff.pause()
    }

    /// The result of writing the state file. Returns whether it is new.
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

    /// How long to wait before something is tried again that does not involve the server.
    pub fn pause(&mut self) -> Duration {
        self.backoff.pause()
    }

    /// Whether a skipped entry is to be logged.
    pub fn is_news(&mut self, text: &str) -> bool {
        self.said.is_news(text)
    }

    /// Whether the ring's file was removed or replaced. It is called each second, and a file counts as removed after it was
    /// missing for a second, because it may be about to be created again.
    pub fn is_ring_gone(&mut self, open: &Open, file: &RingFile) -> bool {
        if !open.ring.is_gone() {
            self.gone = None;
            return false;
        }
        let since = *self.gone.get_or_insert_with(Instant::now);
        file.path.exists() || since.elapsed() >= Duration::from_millis(900)
    }

    /// Writes them to the status.
    pub fn show(&self, status: &mut Status, health: Health, has_begun: bool) {
        status.connected = has_begun && health.connected && self.refusal.is_none();
        status.error = health.error.or_else(|| self.refusal.clone()).or_else(|| self.state.clone());
    }
}

/// A timer for each second.
#[derive(Debug)]
pub struct Ticks(Instant);

impl Ticks {
    const EACH: Duration = Duration::from_secs(1);

    /// A timer whose first tick is at once.
    pub fn new() -> Ticks {
        Ticks(Instant::now())
    }

    /// Waits for the next tick. It may be dropped.
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

/// Counts losses, and logs them once a second, because there are many of them in an overload.
#[derive(Debug, Default)]
pub struct Losses {
    /// Losses since the state file was created.
    pub total: Lost,
    news: Lost,
}

impl Losses {
    /// Continues the counts of the state file.
    pub fn from(total: Lost) -> Losses {
        Losses { total, news: Lost::new() }
    }

    /// Counts losses; 0 if their number is not known.
    pub fn count(&mut self, reason: &str, count: u64) {
        for counts in [&mut self.total, &mut self.news] {
            match counts.get_mut(reason) {
                Some(known) => *known += count,
                None => drop(counts.insert(reason.to_owned(), count)),
            }
        }
    }

    /// Logs the losses since the last call.
    pub fn say(&mut self) {
        for (reason, count) in std::mem::take(&mut self.news) {
            tracing::warn!("lost {count} messages: {}", because(&reason));
        }
    }
}
