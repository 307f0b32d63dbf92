//! Reads a stream: each reader has a consumer on the server, and requests messages from it as long as it has room.

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::Message as Delivered;
use async_nats::jetstream::consumer::{self, DeliverPolicy};
use async_nats::{StatusCode, Subscriber};
use futures_util::{FutureExt, StreamExt};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::connecting::{Denials, Live};
use super::format::{self, HEADER, INDEX_BITS, Note};
use super::{Failure, Place, Result, Stream};
use crate::backend::{Malformed, Read, Reader};

/// How many messages are requested at once.
const MOST: u64 = 256;
/// The maximum size of a request's messages in bytes, unless one is longer.
const BYTES: usize = 4 << 20;
/// How long a request waits for messages.
const EXPIRES: Duration = Duration::from_secs(2);
/// After how much longer a request counts as expired without an answer: the server drops some expired requests silently.
const GRACE: Duration = Duration::from_millis(500);
/// The size in bytes of the entries that a reader gets at once.
const CHUNK: usize = 2 << 20;
/// The timeout for the first attempt to create a consumer. A cluster may assign it to a server that is down, without an answer. The
/// timeout doubles with each attempt.
const MAKING: Duration = Duration::from_millis(500);
/// After this time without a request, the server removes a consumer.
const FORGOTTEN: Duration = Duration::from_secs(60);
/// The interval of checks for a stream that does not exist yet.
const LOOK_EACH: Duration = Duration::from_millis(100);

/// A message from a consumer.
pub(super) struct Brought {
    pub sequence: u64,
    pub origin: Option<String>,
    pub note: Option<Note>,
    pub message: async_nats::Message,
    /// When the server stored it.
    pub time: time::OffsetDateTime,
    /// How many messages are after it.
    pub pending: u64,
}

impl Brought {
    /// No other message had its sequence and this time, which the server takes in nanoseconds.
    pub fn stamp(&self) -> u64 {
        u64::try_from(self.time.unix_timestamp_nanos()).unwrap_or(0)
    }
}

/// Where a consumer starts, and which messages it delivers.
pub(super) enum From {
    Sequence(u64),
    Time(time::OffsetDateTime),
    /// The last message of each origin.
    Last,
}

/// A consumer of this process.
pub(super) struct Consumer {
    live: Arc<Live>,
    stream: Stream,
    name: String,
    subscriber: Subscriber,
    denials: Denials,
    inbox: String,
    /// The number of the last request; answers to earlier ones are ignored.
    question: u64,
    /// When that request expires, if it waits.
    over: Instant,
    /// The consumer's sequence of the last message.
    number: u64,
    /// How many of the requested messages are missing.
    asked: u64,
    /// How many messages it had when it was created.
    pub pending: u64,
}

impl Drop for Consumer {
    fn drop(&mut self) {
        let (live, stream, name) = (Arc::clone(&self.live), self.stream.name.clone(), self.name.clone());
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            // Otherwise the server would remove it later.
            runtime.spawn(async move {
                let subject = format!("$JS.API.CONSUMER.DELETE.{stream}.{name}");
                let _ = live.bounded(live.client.publish(subject, "".into())).await;
            });
        }
    }
}

impl Consumer {
    pub async fn new(live: &Arc<Live>, stream: &Stream, from: &From, headers_only: bool) -> Result<Consumer> {
        let mut config = json!({
            "ack_policy": "none", "replay_policy": "instant", "mem_storage": true, "num_replicas": 1,
            "inactive_threshold": FORGOTTEN.as_nanos() as u64, "headers_only": headers_only,
        });
        let is_filtered = matches!(from, From::Last);
        let policy = match from {
            From::Sequence(first) => DeliverPolicy::ByStartSequence { start_sequence: *first },
            From::Time(then) => DeliverPolicy::ByStartTime { start_time: *then },
            From::Last => DeliverPolicy::LastPerSubject,
        };
        if is_filtered {
            config["filter_subject"] = stream.subject("*").into();
        }
        if let (Value::Object(config), Ok(Value::Object(policy))) = (&mut config, serde_json::to_value(policy)) {
            config.extend(policy);
        }
        let inbox = live.client.new_inbox();
        let subscriber = live.bounded(live.client.subscribe(format!("{inbox}.*"))).await?;
        let filter = if is_filtered { format!(".{}", stream.subject("*")) } else { String::new() };
        let mut time = MAKING;
        let (name, made) = loop {
            let name = format!("bridge-{:016x}", (crate::direction::random_fraction() * u64::MAX as f64) as u64);
            config["name"] = name.as_str().into();
            let what = format!("CONSUMER.CREATE.{}.{name}{filter}", stream.name);
            let ask = json!({"stream_name": stream.name, "config": config});
            let answer = live.api_within::<consumer::Info>(&what, &ask, time).await?;
            if let Some(made) = answer {
                break (name, made.map_err(|refusal| refusal.failure(&stream.shown))?);
            }
            time *= 2;
            if time > live.settings.timeout {
                return Err(live.owes_an_answer().await);
            }
        };
        Ok(Consumer {
            live: Arc::clone(live),
            stream: stream.clone(),
            name,
            subscriber,
            denials: live.denials(),
            inbox,
            question: 0,
            over: Instant::now(),
            number: 0,
            asked: 0,
            pending: made.num_pending,
        })
    }

    async fn ask(&mut self, waits: bool) -> Result<()> {
        let bytes = BYTES.max(self.live.client.max_payload() * 2);
        let mut ask = json!({"batch": MOST, "max_bytes": bytes});
        if waits {
            ask["expires"] = (EXPIRES.as_nanos() as u64).into();
        } else {
            ask["no_wait"] = true.into();
        }
        let subject = self.next_subject();
        self.asked = MOST;
        self.question += 1;
        self.over = Instant::now() + if waits { EXPIRES + GRACE } else { self.live.settings.timeout };
        let client = &self.live.client;
        self.live.bounded(client.publish_with_reply(subject, self.answers(), ask.to_string().into())).await
    }

    fn next_subject(&self) -> String {
        format!("$JS.API.CONSUMER.MSG.NEXT.{}.{}", self.stream.name, self.name)
    }

    /// The subject for the server's answers to the last request.
    fn answers(&self) -> String {
        format!("{}.{}", self.inbox, self.question)
    }

    fn lost(&self, why: &str) -> Failure {
        Failure::Lost(format!("{}: stream {}: {why}", self.live.settings.name, self.stream.shown))
    }

    /// The next message; waits until there is one. It may be dropped without loss.
    async fn next(&mut self) -> Result<Brought> {
        loop {
            if let Some(brought) = self.ask_for_next(true).await? {
                return Ok(brought);
            }
        }
    }

    /// The next message, if there is one now.
    pub async fn next_if_any(&mut self) -> Result<Option<Brought>> {
        self.ask_for_next(false).await
    }

    /// The next message; `None` if the server has none now, or if none arrived while the request waited.
    async fn ask_for_next(&mut self, waits: bool) -> Result<Option<Brought>> {
        if self.asked == 0 {
            self.ask(waits).await?;
        }
        let subject = self.next_subject();
        loop {
            let message = tokio::select! {
                biased;
                message = self.subscriber.next() => message,
                failure = self.live.broken() => return Err(failure),
                words = self.denials.of(&subject) => return Err(self.live.denial(&words)),
                () = tokio::time::sleep_until(self.over), if waits => {
                    self.asked = 0;
                    return Ok(None);
                }
                () = tokio::time::sleep_until(self.over) => return Err(self.lost("no answer in time (timeout)")),
            };
            let message = message.ok_or_else(|| self.lost("the connection was closed"))?;
            let brought = self.brought(message)?;
            if brought.is_some() || self.asked == 0 {
                return Ok(brought);
            }
        }
    }

    /// The next message, if it has arrived.
    fn at_hand(&mut self) -> Result<Option<Brought>> {
        while let Some(Some(message)) = self.subscriber.next().now_or_never() {
            if let Some(brought) = self.brought(message)? {
                return Ok(Some(brought));
            }
        }
        Ok(None)
    }

    /// Handles a message, or the server's answer to a request.
    fn brought(&mut self, message: async_nats::Message) -> Result<Option<Brought>> {
        let status = message.status.unwrap_or(StatusCode::OK);
        if status != StatusCode::OK {
            let words = message.description.as_ref().map_or_else(String::new, ToString::to_string);
            let is_over = status == StatusCode::TIMEOUT
                || status == StatusCode::NOT_FOUND
                || words.to_lowercase().contains("maxbytes")
                || words.to_lowercase().contains("batch completed");
            if is_over {
                if message.subject.as_str() == self.answers() {
                    self.asked = 0;
                }
                return Ok(None);
            }
            if status == StatusCode::IDLE_HEARTBEAT {
                return Ok(None);
            }
            return Err(self.lost(&format!("the server ended the consumer: {status} {words}")));
        }
        let delivered = Delivered { context: async_nats::jetstream::new(self.live.client.clone()), message };
        let (sequence, number, pending, time) = {
            let info = delivered.info().map_err(|error| self.lost(&error.to_string()))?;
            (info.stream_sequence, info.consumer_sequence, info.pending, info.published)
        };
        if number != self.number + 1 {
            return Err(self.lost("a message was lost on its way"));
        }
        self.number = number;
        self.asked = self.asked.saturating_sub(1);
        let message = delivered.message;
        let header = message.headers.as_ref().and_then(|headers| headers.get(HEADER));
        let note = header.and_then(|value| Note::parse(value.as_str()));
        let origin = self.stream.origin(&message.subject);
        Ok(Some(Brought { sequence, origin, note, message, time, pending }))
    }
}

/// Reads one stream.
#[derive(Debug)]
pub struct NatsReader {
    answers: mpsc::Receiver<Result<Vec<Read>>>,
}

impl Reader for NatsReader {
    async fn next(&mut self) -> Result<Vec<Read>> {
        let gone = || Err(Failure::Lost("the connection was closed".to_owned()));
        self.answers.recv().await.unwrap_or_else(gone)
    }
}

/// Reads the entries after a place.
pub(super) fn start(live: Arc<Live>, stream: Stream, after: Place) -> NatsReader {
    // One batch in use, and one that waits.
    let (answers, receiver) = mpsc::channel(2);
    tokio::spawn(async move {
        let read = read(&live, &stream, after, &answers);
        let failure = tokio::select! {
            failure = read => failure,
            () = answers.closed() => return,
        };
        let _ = answers.send(Err(failure)).await;
    });
    NatsReader { answers: receiver }
}

async fn read(live: &Arc<Live>, stream: &Stream, after: Place, answers: &mpsc::Sender<Result<Vec<Read>>>) -> Failure {
    match try_read(live, stream, after, answers).await {
        Ok(never) => never,
        Err(failure) => failure,
    }
}

async fn try_read(
    live: &Arc<Live>,
    stream: &Stream,
    after: Place,
    answers: &mpsc::Sender<Result<Vec<Read>>>,
) -> Result<Failure> {
    let info = loop {
        if let Some(info) = stream.info(live).await? {
            break info;
        }
        tokio::time::sleep(LOOK_EACH).await;
    };
    let era = super::era(&info);
    // The rest of a message that was read in part.
    let sequence = if after.0 == era { after.1 >> INDEX_BITS } else { 1 };
    let first = sequence.clamp(1, info.state.last_sequence + 1);
    let mut consumer = Consumer::new(live, stream, &From::Sequence(first), false).await?;
    loop {
        let mut reads = Vec::new();
        let mut bytes = 0;
        let mut next = Some(consumer.next().await?);
        while let Some(brought) = next {
            bytes += brought.message.payload.len() + 64;
            reads.extend(reads_of(era, &brought).into_iter().filter(|read| place_of(read) > after));
            next = if bytes < CHUNK { consumer.at_hand()? } else { None };
        }
        if !reads.is_empty() && answers.send(Ok(reads)).await.is_err() {
            return Ok(Failure::Lost("the reader was dropped".to_owned()));
        }
    }
}

fn place_of(read: &Read) -> Place {
    match read {
        Ok(entry) => entry.place,
        Err(malformed) => malformed.place,
    }
}

/// The entries of a message; none, if it is a marker.
fn reads_of(era: u64, brought: &Brought) -> Vec<Read> {
    let place = Place(era, brought.sequence << INDEX_BITS);
    let malformed = |why: &str| vec![Err(Malformed { place, why: why.to_owned() })];
    let (Some(origin), Some(note)) = (&brought.origin, &brought.note) else {
        return malformed("a message without the header of a bridge");
    };
    match format::entries(place, origin, note, brought.stamp(), &brought.message.payload) {
        Ok(entries) => entries.into_iter().map(Ok).collect(),
        Err(why) => malformed(why),
    }
}
