//! The backend for NATS JetStream: one server, or a cluster.
//!
//! A stream NAME of the bridge is the JetStream stream of that name, with the subjects `pubsub.NAME.ORIGIN`. The entries of a batch
//! are one message of their origin's subject, whose header also has the epoch, L and P of the origin ([`format`]). So the last
//! message of a subject is the state of the origin. The *fence* is the server's check of the last message
//! (`Nats-Expected-Last-Subject-Sequence`): a sender names the message that it believes to be the last one, and is refused if there
//! is a later one. A new epoch begins with a message without entries, a *marker*, so batches of an older epoch that are still in
//! flight are refused. The sequence of a message in flight is not known, so each sender has one batch in flight.
//!
//! If the last message of a subject were lost, so would be the state of the origin. So only [`trim`](Backend::trim) may remove
//! messages: the stream refuses new ones when it is full (`discard: new`), and before the last message of an idle origin is
//! trimmed, its state is appended to the stream again, as a marker.
//!
//! A place is when the stream was created, in microseconds since 1970, and the sequence of a message and the index of an entry in
//! it. Sequences begin again in a stream that was removed and created again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::stream::{Config, DiscardPolicy, Info, RawMessage, RetentionPolicy};
use serde::Deserialize;
use serde_json::{Value, json};
use time::OffsetDateTime;

use super::keeper::{Keeper, lock};
use super::{Backend, Batch, Begun, Claim, Ends, Failure, Health, Limits, Origins, Place, Result, Sender, Sent};

mod check;
mod connecting;
mod errors;
mod format;
mod reading;

pub use connecting::{Login, Settings, Tls};
pub use reading::NatsReader;

use connecting::{Live, Reply};
use format::{HEADER, INDEX_BITS, Note, escape, unescape};
use reading::{Brought, Consumer, From};

/// The maximum size of a batch in bytes before the server's limit is known: far below the default limit of servers.
const BATCH_BYTES: usize = 512 << 10;
/// After a stream was removed, it is created again only after this time. A server first forgets the name of a removed stream, and
/// then removes its files. If a new stream of that name exists by then, it loses its files, and never accepts a message again.
/// The server does not tell when it has finished.
const REMOVAL: Duration = Duration::from_secs(1);
/// How often to request messages that the stream has; the pauses in between grow.
const BEHIND: u32 = 8;
/// How often to repeat a call if other senders append to the same subject.
const ATTEMPTS: usize = 1000;

/// A server; clones share its connection, which is closed with the last one.
#[derive(Clone, Debug)]
pub struct Nats {
    keeper: Arc<Keeper<Settings>>,
    heads: Arc<Mutex<HashMap<(String, String), Slot>>>,
    /// How many entries and messages were appended, by stream.
    appended: Arc<Mutex<HashMap<String, (u64, u64)>>>,
}

/// The head of an origin, if it is known; locked during appends.
type Slot = Arc<tokio::sync::Mutex<Option<Head>>>;

/// The server's state of an origin: the last message of its subject.
#[derive(Clone, Debug)]
struct Head {
    /// 0 if there is no message.
    sequence: u64,
    note: Option<Note>,
}

impl Head {
    fn epoch(&self) -> u64 {
        self.note.as_ref().map_or(0, |note| note.epoch)
    }

    fn last(&self) -> u64 {
        self.note.as_ref().map_or(0, |note| note.last)
    }
}

/// The result of sending a message.
enum Put {
    /// It was appended with this sequence.
    Done(u64),
    /// Another message is the last one of its subject.
    Late,
    NoStream,
}

/// The names of a stream.
#[derive(Clone, Debug)]
struct Stream {
    /// Its name in the bridge.
    shown: String,
    /// Its name in JetStream.
    name: String,
    /// The prefix of its subjects.
    prefix: String,
}

impl Stream {
    fn subject(&self, origin: &str) -> String {
        format!("{}.{origin}", self.prefix)
    }

    fn of(&self, origin: &str) -> String {
        self.subject(&escape(origin))
    }

    /// The origin of the subject.
    fn origin(&self, subject: &str) -> Option<String> {
        unescape(subject.strip_prefix(&self.prefix)?.strip_prefix('.')?).filter(|name| !name.is_empty())
    }

    /// None: there is no such stream.
    async fn info(&self, live: &Live) -> Result<Option<Info>> {
        match live.api::<Info>(&format!("STREAM.INFO.{}", self.name), &Value::Null).await? {
            Ok(info) => Ok(Some(info)),
            Err(refusal) if refusal.is_no_stream() => Ok(None),
            Err(refusal) => Err(refusal.failure(&self.shown)),
        }
    }

    async fn create(&self, live: &Live) -> Result<()> {
        let config = json!({
            "name": self.name, "subjects": [self.subject("*")], "retention": "limits", "storage": "file", "discard": "new",
            "max_msgs": -1, "max_bytes": -1, "max_age": 0, "max_msgs_per_subject": -1, "max_msg_size": -1, "max_consumers": -1,
            "num_replicas": live.settings.replicas, "description": format!("{} of pubsub-bridge", self.shown),
        });
        match live.api::<Info>(&format!("STREAM.CREATE.{}", self.name), &config).await? {
            Err(refusal) if !refusal.is_there() => Err(refusal.failure(&self.shown)),
            _ => Ok(()),
        }
    }

    /// The settings that would break a promise.
    fn wrong_settings(&self, config: &Config) -> Option<String> {
        let name = &self.name;
        let says = |what: &str| Some(format!("stream {name} of JetStream {what}"));
        let wanted = self.subject("*");
        if !config.subjects.iter().any(|subject| *subject == wanted || *subject == self.subject(">")) {
            return says(&format!(
                "does not take the subjects {wanted}; nats stream edit {name} --subjects='{wanted}'"
            ));
        }
        if config.retention != RetentionPolicy::Limits {
            return says("drops what was read; it must have the retention limits: remove it, and it is created well");
        }
        if config.discard != DiscardPolicy::New && (config.max_messages > 0 || config.max_bytes > 0) {
            return says(&format!(
                "drops old messages, with what it knows of origins; nats stream edit {name} --discard=new"
            ));
        }
        if config.max_messages_per_subject > 0 {
            return says(&format!(
                "keeps few messages of an origin; nats stream edit {name} --max-msgs-per-subject=-1"
            ));
        }
        if !config.max_age.is_zero() {
            return says(&format!(
                "drops messages by age, with what it knows of origins; nats stream edit {name} --max-age=0, and give keep-age"
            ));
        }
        if config.no_ack {
            return says(&format!("does not acknowledge; nats stream edit {name} --ack"));
        }
        if config.sealed || config.deny_purge {
            return says("is sealed or denies purges; remove it, and it is created well");
        }
        None
    }
}

/// When a stream was created, in microseconds since 1970.
fn era(info: &Info) -> u64 {
    (info.created.unix_timestamp_nanos() / 1000).max(1) as u64
}

fn now() -> u64 {
    crate::direction::since_1970().as_millis() as u64
}

#[derive(Deserialize)]
struct Acknowledged {
    seq: u64,
}

#[derive(Deserialize)]
struct Got {
    message: RawMessage,
}

impl Nats {
    /// Starts to connect in the background, with retries.
    pub fn new(settings: Settings) -> Nats {
        Nats { keeper: Arc::new(Keeper::start(settings)), heads: Arc::default(), appended: Arc::default() }
    }

    fn stream(&self, name: &str) -> Result<Stream> {
        let escaped = escape(name);
        if escaped.len() > 250 {
            return Err(Failure::Hopeless(format!(
                "stream '{name}' is too long a name for JetStream; give a shorter one"
            )));
        }
        let prefix = format!("{}.{escaped}", self.keeper.settings().subject);
        Ok(Stream { shown: name.to_owned(), name: escaped, prefix })
    }

    fn slot(&self, stream: &str, origin: &str) -> Slot {
        let mut heads = lock(&self.heads);
        Arc::clone(heads.entry((stream.to_owned(), origin.to_owned())).or_default())
    }

    /// The last message of an origin's subject.
    async fn head(live: &Live, stream: &Stream, origin: &str) -> Result<Head> {
        let subject = stream.of(origin);
        let Some(got) = Nats::message(live, stream, &json!({"last_by_subj": subject})).await? else {
            return Ok(Head { sequence: 0, note: None });
        };
        let sequence = got.sequence;
        let message: std::result::Result<async_nats::jetstream::message::StreamMessage, _> = got.try_into();
        let note = message.ok().and_then(|message| Note::parse(message.headers.get(HEADER)?.as_str()));
        let note = note.ok_or_else(|| {
            Failure::Refused(format!(
                "message {sequence} of {subject} is not of a bridge; nats stream rmm {} {sequence}",
                stream.name
            ))
        })?;
        Ok(Head { sequence, note: Some(note) })
    }

    /// Appends a message to an origin's subject, if this head is still its last one.
    async fn put(live: &Live, stream: &Stream, origin: &str, head: &Head, note: &Note, body: Vec<u8>) -> Result<Put> {
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Expected-Last-Subject-Sequence", head.sequence.to_string().as_str());
        headers.insert("Nats-Expected-Stream", stream.name.as_str());
        headers.insert(HEADER, note.text().as_str());
        match live.ask(&stream.of(origin), Some(headers), body).await? {
            Reply::NoResponders => Ok(Put::NoStream),
            Reply::Came(message) => match live.parse::<Acknowledged>(&message.payload)? {
                Ok(acknowledged) => Ok(Put::Done(acknowledged.seq)),
                Err(refusal) if refusal.is_wrong_last() => Ok(Put::Late),
                Err(refusal) => Err(refusal.failure(&stream.shown)),
            },
        }
    }

    /// Appends a marker with the state of a head.
    async fn put_marker(live: &Live, stream: &Stream, origin: &str, head: &Head, seen: u64) -> Result<Put> {
        let Some(note) = head.note.clone() else { return Ok(Put::Late) };
        let marker = Note { first: note.last + 1, entries: 0, seen, ..note };
        Nats::put(live, stream, origin, head, &marker, Vec::new()).await
    }

    /// The stream, which is created if necessary. `was_there` means that if it does not exist now, it was just removed.
    async fn ensure(live: &Live, stream: &Stream, was_there: bool) -> Result<()> {
        let is_there = async || match stream.info(live).await? {
            Some(info) => stream.wrong_settings(&info.config).map_or(Ok(true), |why| Err(Failure::Hopeless(why))),
            None => Ok(false),
        };
        if is_there().await? {
            return Ok(());
        }
        if was_there {
            tokio::time::sleep(REMOVAL).await;
            if is_there().await? {
                return Ok(());
            }
        }
        stream.create(live).await?;
        is_there().await.map(drop)
    }

    /// Whether this process has appended to it.
    fn has_sent_to(&self, stream: &Stream) -> bool {
        lock(&self.appended).contains_key(&stream.shown)
    }

    /// A message, if it exists, from the leader of the stream.
    async fn message(live: &Live, stream: &Stream, ask: &Value) -> Result<Option<RawMessage>> {
        match live.api::<Got>(&format!("STREAM.MSG.GET.{}", stream.name), ask).await? {
            Ok(got) => Ok(Some(got.message)),
            Err(refusal) if refusal.is_no_message() || refusal.is_no_stream() => Ok(None),
            Err(refusal) => Err(refusal.failure(&stream.shown)),
        }
    }

    /// The messages that a consumer has when it starts, up to a sequence that the stream has reached. In a cluster, the
    /// consumer's server may lag behind; then it is repeated.
    async fn brought(live: &Arc<Live>, stream: &Stream, from: &From, last: u64) -> Result<Vec<Brought>> {
        let is_range = matches!(from, From::Sequence(_));
        for attempt in 0..BEHIND {
            let mut consumer = Consumer::new(live, stream, from, true).await?;
            let (mut found, mut left, mut has_all) = (Vec::new(), consumer.pending, false);
            while left > 0 {
                let Some(brought) = consumer.next_if_any().await? else { break };
                has_all |= brought.sequence >= last;
                left = if is_range && has_all { 0 } else { brought.pending };
                if !is_range || brought.sequence <= last {
                    found.push(brought);
                }
            }
            if has_all || Nats::message(live, stream, &json!({"seq": last})).await?.is_none() {
                return Ok(found);
            }
            tokio::time::sleep(Duration::from_millis(10 << attempt)).await;
        }
        Err(Failure::Away(format!(
            "{}: stream {}: a server of the cluster is behind",
            live.settings.name, stream.shown
        )))
    }

    /// The headers of the messages in a range of sequences.
    async fn headings(live: &Arc<Live>, stream: &Stream, first: u64, last: u64) -> Result<Vec<Brought>> {
        Nats::brought(live, stream, &From::Sequence(first), last).await
    }

    /// The last message of each origin, in order, of a stream that has reached this sequence.
    async fn all_heads(live: &Arc<Live>, stream: &Stream, last: u64) -> Result<Vec<Brought>> {
        let mut found = Nats::brought(live, stream, &From::Last, last).await?;
        found.sort_by_key(|brought| brought.sequence);
        Ok(found)
    }

    /// The oldest and the newest entry that are held, and when they were stored.
    async fn entries(live: &Arc<Live>, stream: &Stream, info: &Info) -> Result<Option<[(Place, OffsetDateTime); 2]>> {
        let (first, last) = (info.state.first_sequence, info.state.last_sequence);
        if info.state.messages == 0 {
            return Ok(None);
        }
        let era = era(info);
        // Messages of other programs have places, too.
        let count = |brought: &Brought| brought.note.as_ref().map_or(1, |note| note.entries);
        let at = |brought: &Brought, index: u64| (Place(era, (brought.sequence << INDEX_BITS) + index), brought.time);
        let mut width = 4;
        let mut end = last;
        let newest = loop {
            let from = end.saturating_sub(width - 1).max(first);
            let found = Nats::headings(live, stream, from, end).await?;
            if let Some(brought) = found.iter().rev().find(|brought| count(brought) > 0) {
                break at(brought, count(brought) - 1);
            }
            if from <= first {
                return Ok(None);
            }
            (end, width) = (from - 1, width * 4);
        };
        let (mut begin, mut width) = (first, 4);
        loop {
            let found = Nats::headings(live, stream, begin, begin + width - 1).await?;
            if let Some(brought) = found.iter().find(|brought| count(brought) > 0) {
                return Ok(Some([at(brought, 0), newest]));
            }
            (begin, width) = (begin + width, width * 4);
            if begin > last {
                return Ok(None);
            }
        }
    }

    /// The ends of a stream whose info is given.
    async fn ends_of(live: &Arc<Live>, stream: &Stream, info: &Info, place: Place) -> Result<Ends> {
        let era = era(info);
        let sequence = info.state.last_sequence;
        let found = Nats::entries(live, stream, info).await?;
        let [first, newest] = [0, 1].map(|index| found.map(|found| found[index].0));
        // The place is after all messages that were trimmed.
        let gone =
            if sequence == 0 { Place::START } else { Place(era, (sequence << INDEX_BITS) | ((1 << INDEX_BITS) - 1)) };
        let last = newest.unwrap_or(gone);
        let is_before = place == Place::START || place.0 == era && first.is_none_or(|first| place < first);
        let mut at = None;
        let mut is_there = false;
        let mut time = found.map(|[(_, time), _]| time);
        if place.0 == era && !is_before && place <= last {
            let brought =
                Nats::headings(live, stream, place.1 >> INDEX_BITS, place.1 >> INDEX_BITS).await?.into_iter().next();
            let index = place.1 & ((1 << INDEX_BITS) - 1);
            // A message that was removed from between others may have been there.
            let entries = |brought: &Brought| brought.note.as_ref().map_or(1, |note| note.entries.max(1));
            is_there = brought.as_ref().is_none_or(|brought| index < entries(brought));
            time = brought.as_ref().map(|brought| brought.time).or(time);
            let stamp = brought.as_ref().map_or(0, Brought::stamp);
            let sent =
                brought.and_then(|brought| brought.origin.zip(brought.note)).filter(|(_, note)| note.entries > 0);
            at = sent.map(|(origin, note)| Sent { origin, epoch: note.epoch, first: note.first, stamp });
        }
        let behind =
            time.zip(found).map(|(time, [_, (_, newest)])| Duration::try_from(newest - time).unwrap_or_default());
        let continues = place <= last && (is_before || is_there);
        Ok(Ends { first, newest, last, continues, at, behind })
    }

    async fn purge(live: &Live, stream: &Stream, ask: &Value) -> Result<()> {
        match live.api::<Value>(&format!("STREAM.PURGE.{}", stream.name), ask).await? {
            Err(refusal) if !refusal.is_no_stream() => Err(refusal.failure(&stream.shown)),
            _ => Ok(()),
        }
    }

    /// The first sequence to keep.
    async fn cut(&self, live: &Arc<Live>, stream: &Stream, info: &Info, limits: &Limits, each: f64) -> Result<u64> {
        let state = &info.state;
        let mut cut = state.first_sequence;
        if let Some(messages) = limits.messages {
            let (entries, batches) = {
                let appended = lock(&self.appended);
                appended.get(&stream.shown).copied().unwrap_or((1, 1))
            };
            let per_message = (entries as f64 / batches.max(1) as f64).max(1.0);
            let keep = (messages as f64 / each / per_message).ceil() as u64;
            // They include markers of idle origins, at most one of each.
            let origins = state.subjects_count;
            if state.messages > keep + keep / 8 + 2 * origins {
                cut = cut.max((state.last_sequence + 1).saturating_sub(keep + origins));
            }
        }
        if let Some(age) = limits.age {
            let since = now().saturating_sub(age.as_millis() as u64).saturating_sub(era(info) / 1000);
            if since > 0 {
                let then = info.created + Duration::from_millis(since);
                let mut consumer = Consumer::new(live, stream, &From::Time(then), true).await?;
                let first = if consumer.pending > 0 { consumer.next_if_any().await? } else { None };
                match first {
                    Some(brought) => cut = cut.max(brought.sequence),
                    // All are older, unless a server of a cluster lags behind.
                    None => {
                        let newest = Nats::message(live, stream, &json!({"seq": state.last_sequence})).await?;
                        if newest.is_none_or(|newest| newest.time < then) {
                            cut = state.last_sequence;
                        }
                    }
                }
            }
        }
        if let Some(bytes) = limits.bytes.filter(|bytes| state.bytes > *bytes) {
            let surplus = state.messages as f64 * (1.0 - bytes as f64 / state.bytes as f64);
            cut = cut.max(state.first_sequence + surplus.ceil() as u64);
        }
        Ok(cut.min(state.last_sequence))
    }
}

impl Backend for Nats {
    type Reader = NatsReader;

    async fn connected(&self) {
        self.keeper.connected().await;
    }

    fn health(&self) -> Health {
        self.keeper.health()
    }

    fn window(&self) -> usize {
        1
    }

    fn batch_bytes(&self) -> usize {
        // The rest is for the lines before the entries: some 30 bytes each, even if the entry is a single byte.
        let of = |most: usize| if most < BATCH_BYTES { most / 32 } else { most / 2 };
        self.keeper.max_payload().map_or(BATCH_BYTES, of)
    }

    async fn begin(&self, stream: &str, origin: &str, claim: &Claim) -> Result<Begun> {
        let live = self.keeper.live()?;
        let (slot, stream) = (self.slot(stream, origin), self.stream(stream)?);
        let mut known = slot.lock().await;
        *known = None;
        Nats::ensure(&live, &stream, self.has_sent_to(&stream)).await?;
        for _ in 0..ATTEMPTS {
            let head = Nats::head(&live, &stream, origin).await?;
            let (number, position) = match &head.note {
                Some(note) => (note.last, note.position.clone()),
                None => (claim.number, claim.position.clone()),
            };
            let epoch = head.epoch().max(claim.epoch) + 1;
            let note =
                Note { epoch, first: number + 1, last: number, entries: 0, seen: now(), position: position.clone() };
            match Nats::put(&live, &stream, origin, &head, &note, Vec::new()).await? {
                Put::Done(sequence) => {
                    *known = Some(Head { sequence, note: Some(note) });
                    return Ok(Begun { epoch, number, position, known: head.note.is_some() });
                }
                Put::Late => {}
                Put::NoStream => Nats::ensure(&live, &stream, true).await?,
            }
        }
        Err(Failure::Refused(format!("stream {}: others begin as {origin} all the time", stream.shown)))
    }

    async fn append(&self, sender: &Sender, batch: &Batch, acknowledged: u64) -> Result<()> {
        let live = self.keeper.live()?;
        let (slot, stream) = (self.slot(&sender.stream, &sender.origin), self.stream(&sender.stream)?);
        if batch.entries.len() >> INDEX_BITS > 0 {
            return Err(Failure::Refused(format!("a batch of {} entries is too long", batch.entries.len())));
        }
        let mut known = slot.lock().await;
        // Removed until the result of the message is known.
        let mut head = known.take();
        for _ in 0..ATTEMPTS {
            // The head is kept for the next batch; for other results it is requested again.
            let is_next = |head: &Head| {
                sender.epoch >= head.epoch()
                    && batch.first <= head.last().max(acknowledged) + 1
                    && batch.last() > head.last()
            };
            let current = match head.take().filter(is_next) {
                Some(head) => head,
                None => {
                    let head = Nats::head(&live, &stream, &sender.origin).await?;
                    *known = Some(head.clone());
                    if sender.epoch < head.epoch() {
                        return Err(Failure::Fenced);
                    }
                    if batch.first > head.last().max(acknowledged) + 1 {
                        return Err(Failure::Hole);
                    }
                    if batch.last() <= head.last() {
                        return Ok(());
                    }
                    *known = None;
                    head
                }
            };
            let last = current.last();
            let (body, entries) = format::body(batch, last);
            let note = Note {
                epoch: sender.epoch,
                first: batch.first.max(last + 1),
                last: batch.last(),
                entries,
                seen: now(),
                position: batch.position.clone(),
            };
            match Nats::put(&live, &stream, &sender.origin, &current, &note, body).await? {
                Put::Done(sequence) => {
                    *known = Some(Head { sequence, note: Some(note) });
                    let mut appended = lock(&self.appended);
                    let (all, messages) = appended.entry(stream.shown.clone()).or_default();
                    // Halved from time to time, so that recent values have more weight.
                    if *messages > 1000 {
                        (*all, *messages) = (*all / 2, *messages / 2);
                    }
                    (*all, *messages) = (*all + entries, *messages + 1);
                    return Ok(());
                }
                Put::Late => {}
                Put::NoStream => Nats::ensure(&live, &stream, true).await?,
            }
        }
        Err(Failure::Refused(format!("stream {}: others send as {} all the time", stream.shown, sender.origin)))
    }

    async fn read(&self, stream: &str, after: Place) -> Result<NatsReader> {
        Ok(reading::start(self.keeper.live()?, self.stream(stream)?, after))
    }

    async fn ends(&self, stream: &str, place: Place) -> Result<Ends> {
        let (live, stream) = (self.keeper.live()?, self.stream(stream)?);
        match stream.info(&live).await? {
            Some(info) => Nats::ends_of(&live, &stream, &info, place).await,
            None => Ok(Ends {
                first: None,
                newest: None,
                last: Place::START,
                continues: place == Place::START,
                at: None,
                behind: None,
            }),
        }
    }

    async fn origins(&self, stream: &str) -> Result<Origins> {
        let (live, stream) = (self.keeper.live()?, self.stream(stream)?);
        let Some(info) = stream.info(&live).await? else { return Ok(Origins::default()) };
        let ends = Nats::ends_of(&live, &stream, &info, Place::START).await?;
        if info.state.messages == 0 {
            return Ok(Origins { newest: ends.newest, last: ends.last, numbers: Vec::new() });
        }
        let mut numbers = HashMap::new();
        let instant = info.state.last_sequence;
        let heads = Nats::all_heads(&live, &stream, instant).await?;
        let newest = heads.last().map_or(instant, |head| head.sequence);
        for brought in heads {
            if let (Some(origin), Some(note)) = (brought.origin, brought.note) {
                numbers.insert(origin, (note.epoch, note.last));
            }
        }
        if newest > instant {
            // The first message of an origin after that time has the state of that time.
            let mut behind = Nats::headings(&live, &stream, instant + 1, newest).await?;
            behind.reverse();
            for brought in behind {
                if let (Some(origin), Some(note)) = (brought.origin, brought.note) {
                    numbers.insert(origin, (note.epoch, note.first - 1));
                }
            }
        }
        let numbers = numbers.into_iter().map(|(origin, (epoch, last))| (origin, epoch, last)).collect();
        Ok(Origins { newest: ends.newest, last: ends.last, numbers })
    }

    async fn trim(&self, stream: &str, limits: &Limits, messages_per_entry: f64) -> Result<()> {
        let (live, stream) = (self.keeper.live()?, self.stream(stream)?);
        let Some(info) = stream.info(&live).await? else { return Ok(()) };
        if info.state.messages == 0 {
            return Ok(());
        }
        let cut = self.cut(&live, &stream, &info, limits, messages_per_entry).await?;
        if cut <= info.state.first_sequence {
            return Ok(());
        }
        let heads = Nats::all_heads(&live, &stream, info.state.last_sequence).await?;
        let (silent, others): (Vec<_>, Vec<_>) = heads.iter().partition(|brought| brought.sequence < cut);
        for brought in silent {
            let (Some(origin), Some(note)) = (&brought.origin, &brought.note) else { continue };
            let head = Head { sequence: brought.sequence, note: Some(note.clone()) };
            match Nats::put_marker(&live, &stream, origin, &head, note.seen).await {
                Ok(_) => {}
                Err(full @ Failure::Full(_)) => {
                    // Frees space without the last messages of origins; the rest follows when there is space.
                    for other in others {
                        if let Some(origin) = &other.origin {
                            let ask = json!({"filter": stream.of(origin), "seq": cut});
                            Nats::purge(&live, &stream, &ask).await?;
                        }
                    }
                    let first = brought.sequence;
                    Nats::purge(&live, &stream, &json!({"seq": first})).await?;
                    return Err(full);
                }
                Err(other) => return Err(other),
            }
        }
        Nats::purge(&live, &stream, &json!({"seq": cut})).await
    }

    async fn tend(&self, sender: &Sender, idle: Duration) -> Result<u64> {
        let (slot, stream) = (self.slot(&sender.stream, &sender.origin), self.stream(&sender.stream)?);
        let live = self.keeper.live()?;
        {
            let mut known = slot.lock().await;
            *known = None;
            let head = Nats::head(&live, &stream, &sender.origin).await?;
            if head.epoch() == sender.epoch {
                Nats::put_marker(&live, &stream, &sender.origin, &head, now()).await?;
            }
        }
        let Some(info) = stream.info(&live).await? else { return Ok(0) };
        let mut forgotten = 0;
        for brought in Nats::all_heads(&live, &stream, info.state.last_sequence).await? {
            let (Some(origin), Some(note)) = (brought.origin, brought.note) else { continue };
            let is_idle = note.entries == 0 && note.seen.saturating_add(idle.as_millis() as u64) < now();
            if !is_idle {
                continue;
            }
            // Only if the marker is the last message.
            let subject = stream.of(&origin);
            let ask = json!({"seq": info.state.first_sequence, "next_by_subj": subject});
            let first = Nats::message(&live, &stream, &ask).await?;
            if first.is_some_and(|message| message.sequence == brought.sequence) {
                Nats::purge(&live, &stream, &json!({"filter": subject, "seq": brought.sequence + 1})).await?;
                forgotten += 1;
            }
        }
        Ok(forgotten)
    }
}
