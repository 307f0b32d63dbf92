//! Reads all streams of a server over one connection. One XREAD waits for all of them, and its entries go to the readers of the
//! streams. A reader without room is left out until it has room again. In a cluster, one request cannot wait for streams of
//! different slots, so each stream is polled, with a backoff while it is idle. So a stream does not have to wait for one whose
//! node is down.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::select_all;
use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::{Cmd, RedisError, RedisResult, Value};
use tokio::sync::mpsc;

use super::connecting::{BLOCK, Broken, Link, Settings};
use super::errors::is_answer;
use super::{Failure, Place, Result};
use crate::backend::{Entry, Malformed, Read, Reader};

/// The target size of an answer in bytes, for all streams together.
const ANSWER_BYTES: usize = 2 << 20;
/// The maximum number of entries of one stream in an answer.
const MOST: usize = 1000;
/// How long an XREAD waits if it leaves out a stream.
const SHORT: Duration = Duration::from_millis(2);
/// The longest pause between two polls in a cluster.
const LONGEST_PAUSE: Duration = Duration::from_millis(20);

/// Reads one stream.
#[derive(Debug)]
pub struct RedisReader {
    answers: mpsc::Receiver<Result<Vec<Read>>>,
}

impl Reader for RedisReader {
    async fn next(&mut self) -> Result<Vec<Read>> {
        let gone = || Err(Failure::Lost("the connection was closed".to_owned()));
        self.answers.recv().await.unwrap_or_else(gone)
    }
}

pub(super) struct Request {
    stream: String,
    place: Place,
    answers: mpsc::Sender<Result<Vec<Read>>>,
}

/// Takes new readers.
#[derive(Clone)]
pub(super) enum Requests {
    /// One connection for all readers.
    Waiting(mpsc::UnboundedSender<Request>),
    /// Each reader polls for itself.
    Asking(Link, Box<Settings>, Arc<Broken>),
}

impl Requests {
    /// Reads over a connection of its own.
    pub(super) fn waiting(link: MultiplexedConnection, settings: Settings, broken: Arc<Broken>) -> Requests {
        let (requests, receiver) = mpsc::unbounded_channel();
        tokio::spawn(Hub::new(receiver, settings, broken).wait_for_all(link));
        Requests::Waiting(requests)
    }

    /// Reads over the connections to a cluster.
    pub(super) fn asking(link: Link, settings: Settings, broken: Arc<Broken>) -> Requests {
        Requests::Asking(link, Box::new(settings), broken)
    }

    pub(super) fn read(&self, stream: &str, after: Place) -> Result<RedisReader> {
        // One answer in use, and one that waits, so that only slow readers are left out.
        let (answers, receiver) = mpsc::channel(2);
        let request = Request { stream: stream.to_owned(), place: after, answers };
        match self {
            Requests::Waiting(requests) => {
                requests.send(request).map_err(|_| Failure::Lost("the connection was closed".to_owned()))?;
            }
            Requests::Asking(link, settings, broken) => {
                let mut hub = Hub::new(mpsc::unbounded_channel().1, Settings::clone(settings), Arc::clone(broken));
                hub.readers.push(request);
                tokio::spawn(hub.ask(link.clone()));
            }
        }
        Ok(RedisReader { answers: receiver })
    }
}

struct Hub {
    requests: mpsc::UnboundedReceiver<Request>,
    readers: Vec<Request>,
    settings: Settings,
    broken: Arc<Broken>,
    /// The size of recent entries in bytes.
    entry_bytes: usize,
    /// How many entries of each stream to request.
    count: usize,
    turn: bool,
}

impl Hub {
    fn new(requests: mpsc::UnboundedReceiver<Request>, settings: Settings, broken: Arc<Broken>) -> Hub {
        Hub { requests, readers: Vec::new(), settings, broken, entry_bytes: 1024, count: 10, turn: false }
    }

    /// Waits until a reader has room. Returns false if there will be no more readers.
    async fn gather(&mut self) -> bool {
        loop {
            while let Ok(request) = self.requests.try_recv() {
                self.readers.push(request);
            }
            self.readers.retain(|reader| !reader.answers.is_closed());
            if self.readers.iter().any(|reader| reader.answers.capacity() > 0) {
                return true;
            }
            if self.readers.is_empty() {
                match self.requests.recv().await {
                    Some(request) => self.readers.push(request),
                    None => return false,
                }
                continue;
            }
            let room = select_all(self.readers.iter().map(|reader| reader.answers.reserve().boxed()));
            let request = tokio::select! {
                _ = room => continue,
                request = self.requests.recv(), if !self.requests.is_closed() => request,
            };
            self.readers.extend(request);
        }
    }

    /// Sends one XREAD for all streams.
    async fn wait_for_all(mut self, mut link: MultiplexedConnection) {
        while self.gather().await {
            let ready = self.ready();
            let block = if self.is_for_all(&ready) { BLOCK } else { SHORT };
            let command = self.command(&ready, Some(block));
            let answer = self.broken.or(link.req_packed_command(&command)).await.and_then(refused);
            match answer {
                Ok(answer) => self.deliver(&ready, answer),
                Err(error) if is_answer(&error) && ready.len() > 1 => self.find_out(&mut link, &ready).await,
                Err(error) => {
                    if !self.fail(&ready, &error) {
                        return;
                    }
                    self.forget_failed();
                }
            }
        }
    }

    /// The places from which to read the streams that have readers with room. If a stream has several readers, the one that is
    /// furthest behind and the one that is furthest ahead take turns.
    fn ready(&mut self) -> Vec<(String, Place)> {
        self.turn = !self.turn;
        let mut places = BTreeMap::<&str, Place>::new();
        for reader in self.readers.iter().filter(|reader| reader.answers.capacity() > 0) {
            let place = places.entry(&reader.stream).or_insert(reader.place);
            *place = if self.turn { reader.place.min(*place) } else { reader.place.max(*place) };
        }
        places.into_iter().map(|(stream, place)| (stream.to_owned(), place)).collect()
    }

    /// Whether the request serves all readers: each has room, and none is behind.
    fn is_for_all(&self, ready: &[(String, Place)]) -> bool {
        let asked =
            |reader: &Request| ready.iter().any(|(stream, place)| *stream == reader.stream && *place == reader.place);
        self.readers.iter().all(|reader| reader.answers.capacity() > 0 && asked(reader))
    }

    /// Finds out which of several streams was refused.
    async fn find_out(&mut self, link: &mut MultiplexedConnection, ready: &[(String, Place)]) {
        for stream in ready {
            let one = std::slice::from_ref(stream);
            match link.req_packed_command(&self.command(one, None)).await.and_then(refused) {
                Ok(answer) => self.deliver(one, answer),
                Err(error) => drop(self.fail(one, &error)),
            }
        }
        self.forget_failed();
    }

    /// Reads in a loop.
    async fn ask(mut self, mut link: Link) {
        let mut pause = Duration::ZERO;
        while self.gather().await {
            let ready = self.ready();
            let command = self.command(&ready, None);
            let answer = self.broken.or(link.req_packed_command(&command)).await.and_then(refused);
            pause = match answer {
                Ok(Value::Nil) => (pause * 2).clamp(Duration::from_millis(1), LONGEST_PAUSE),
                Ok(answer) => {
                    self.deliver(&ready, answer);
                    Duration::ZERO
                }
                Err(error) => {
                    self.fail(&ready, &error);
                    return;
                }
            };
            tokio::time::sleep(pause).await;
        }
    }

    fn command(&self, ready: &[(String, Place)], block: Option<Duration>) -> Cmd {
        let mut command = redis::cmd("XREAD");
        command.arg("COUNT").arg(self.count);
        if let Some(block) = block {
            command.arg("BLOCK").arg(block.as_millis() as u64);
        }
        command.arg("STREAMS");
        for (stream, _) in ready {
            command.arg(stream);
        }
        for (_, place) in ready {
            command.arg(place.to_string());
        }
        command
    }

    /// Passes the entries after the requested places to all readers for which they are the next ones. A reader that is further
    /// behind does not get them: it was not its turn, or it got room meanwhile.
    fn deliver(&mut self, ready: &[(String, Place)], answer: Value) {
        let (mut entries, mut bytes, mut full) = (0, 0, 0);
        for (name, found) in super::pairs_of_streams(answer) {
            let Some(name) = super::text_of(name) else { continue };
            let reads: Vec<Read> = found.into_sequence().unwrap_or_default().into_iter().filter_map(read_of).collect();
            let Some(last) = reads.last().map(place_of) else { continue };
            let Some((_, asked)) = ready.iter().find(|(stream, _)| *stream == name) else { continue };
            entries += reads.len();
            full += usize::from(reads.len() >= self.count);
            bytes += reads.iter().map(|read| read.as_ref().map_or(0, |entry| entry.payload.len() + 64)).sum::<usize>();
            let mut takers: Vec<&mut Request> = self
                .readers
                .iter_mut()
                .filter(|reader| {
                    reader.stream == name && (*asked..last).contains(&reader.place) && reader.answers.capacity() > 0
                })
                .collect();
            // The last reader gets them without a copy.
            let Some(taker) = takers.pop() else { continue };
            for other in takers {
                let (place, answers) = (std::mem::replace(&mut other.place, last), &other.answers);
                let _ = answers.try_send(Ok(reads.iter().filter(|read| place_of(read) > place).cloned().collect()));
            }
            let place = std::mem::replace(&mut taker.place, last);
            let behind = reads.iter().position(|read| place_of(read) > place).unwrap_or(0);
            let _ =
                taker.answers.try_send(Ok(if behind == 0 { reads } else { reads.into_iter().skip(behind).collect() }));
        }
        if let Some(average) = bytes.checked_div(entries) {
            // The estimate grows at once, and shrinks slowly.
            self.entry_bytes = average.max((self.entry_bytes * 3 + average) / 4);
            let most = (ANSWER_BYTES / self.entry_bytes / full.max(1)).clamp(1, MOST);
            self.count = most.min(self.count * 2);
        }
    }

    /// Handles an error. Returns true if the server has refused these streams, false if the connection is broken.
    fn fail(&mut self, ready: &[(String, Place)], error: &RedisError) -> bool {
        let mut is_good = true;
        for reader in self.readers.iter_mut().filter(|reader| ready.iter().any(|(stream, _)| *stream == reader.stream))
        {
            let failure = self.settings.partial(&reader.stream, error).unwrap_or_else(|| {
                is_good = false;
                Failure::Lost(self.settings.lost(error))
            });
            let _ = reader.answers.try_send(Err(failure));
            // Nothing more comes.
            reader.answers = mpsc::channel(1).0;
        }
        if !is_good {
            self.broken.tell(self.settings.lost(error));
        }
        is_good
    }

    fn forget_failed(&mut self) {
        self.readers.retain(|reader| !reader.answers.is_closed());
    }
}

/// Returns the error if the answer is one. Answers of XREAD do not contain errors, and a search would take as long as reading all
/// entries.
fn refused(answer: Value) -> RedisResult<Value> {
    match answer {
        Value::ServerError(error) => Err(error.into()),
        answer => Ok(answer),
    }
}

fn place_of(read: &Read) -> Place {
    match read {
        Ok(entry) => entry.place,
        Err(malformed) => malformed.place,
    }
}

/// An entry of an answer: its id, and its fields as a flat list.
fn read_of(value: Value) -> Option<Read> {
    let mut parts = value.into_sequence().ok()?.into_iter();
    let place: Place = super::text_of(parts.next()?)?.parse().ok()?;
    let fields = parts.next().and_then(|fields| fields.into_sequence().ok()).unwrap_or_default();
    Some(entry_of(place, fields).map_err(|why| Malformed { place, why: why.to_owned() }))
}

/// The fields may be in any order. Fields with names longer than a letter are ignored, for later versions.
fn entry_of(place: Place, fields: Vec<Value>) -> std::result::Result<Entry, &'static str> {
    let (mut producer, mut number, mut content) = (None, None, None);
    let mut each = fields.into_iter();
    while let (Some(Value::BulkString(name)), Some(Value::BulkString(value))) = (each.next(), each.next()) {
        match name.as_slice() {
            b"o" => producer = Some(value),
            b"s" => number = Some(value),
            [kind] => content = Some((*kind, value)),
            _ => {}
        }
    }
    let digits = |text: &str, most: usize| {
        let are_digits = !text.is_empty() && text.len() <= most && text.bytes().all(|byte| byte.is_ascii_digit());
        are_digits.then(|| text.parse::<u64>().ok()).flatten()
    };
    let mut producer = String::from_utf8(producer.ok_or("no origin")?).map_err(|_| "an origin that is not UTF-8")?;
    let (origin, epoch) = producer.rsplit_once('#').ok_or("no origin")?;
    let length = origin.len();
    let epoch = digits(epoch, 15).filter(|_| !origin.is_empty()).ok_or("no origin")?;
    producer.truncate(length);
    let number = String::from_utf8(number.ok_or("no number")?).ok().and_then(|text| digits(&text, 16));
    let number = number.filter(|number| *number > 0).ok_or("no number")?;
    let (kind, payload) = content.ok_or("no content")?;
    Ok(Entry { place, origin: producer, epoch, number, kind, payload, stamp: 0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(fields: &[(&str, &str)]) -> std::result::Result<Entry, &'static str> {
        let values = fields
            .iter()
            .flat_map(|(name, value)| [name, value])
            .map(|text| Value::BulkString(text.as_bytes().to_vec()));
        entry_of(Place(1, 2), values.collect())
    }

    #[test]
    fn fields_come_in_any_order_and_others_are_ignored() {
        let expected = Entry {
            place: Place(1, 2),
            origin: "h/r#1".to_owned(),
            epoch: 7,
            number: 9,
            kind: b'm',
            payload: b"x".to_vec(),
            stamp: 0,
        };
        assert_eq!(entry(&[("o", "h/r#1#7"), ("s", "9"), ("m", "x")]), Ok(expected.clone()));
        assert_eq!(entry(&[("m", "x"), ("trace", "1"), ("s", "9"), ("o", "h/r#1#7")]), Ok(expected));
    }

    /// An answer of XREAD with these entries of a stream.
    fn answer(stream: &str, minors: std::ops::RangeInclusive<u64>) -> Value {
        let text = |text: &str| Value::BulkString(text.as_bytes().to_vec());
        let fields = || Value::Array(["o", "h/r#1", "s", "1", "m", "x"].map(text).into());
        let entries = minors.map(|minor| Value::Array(vec![text(&Place(1, minor).to_string()), fields()]));
        Value::Array(vec![Value::Array(vec![text(stream), Value::Array(entries.collect())])])
    }

    #[test]
    fn a_reader_gets_no_entries_beyond_the_next_ones() {
        let settings = Settings::plain("", super::super::Address::Cluster(Vec::new()));
        let mut hub = Hub::new(mpsc::unbounded_channel().1, settings, Arc::default());
        let mut readers = Vec::new();
        for minor in [0, 10] {
            let (answers, receiver) = mpsc::channel(2);
            hub.readers.push(Request { stream: "s".to_owned(), place: Place(1, minor), answers });
            readers.push(receiver);
        }
        // They take turns, and the reader that is furthest ahead does not get entries before the other one does.
        let questions = [hub.ready(), hub.ready()];
        assert_eq!(questions, [0, 10].map(|minor| vec![("s".to_owned(), Place(1, minor))]));
        assert!(questions.iter().all(|question| !hub.is_for_all(question)));
        let mut come = |hub: &mut Hub, question: usize, minors| {
            hub.deliver(&questions[question], answer("s", minors));
            let mut taken = |index: usize| -> Vec<u64> {
                let reads = readers[index].try_recv().map_or(Vec::new(), |reads| reads.expect("entries"));
                reads.iter().map(|read| place_of(read).1).collect()
            };
            [taken(0), taken(1)]
        };
        assert_eq!(come(&mut hub, 1, 11..=12), [vec![], vec![11, 12]], "not for a reader that lacks earlier entries");
        assert_eq!(come(&mut hub, 0, 1..=3), [vec![1, 2, 3], vec![]]);
        assert_eq!(
            come(&mut hub, 0, 1..=14),
            [(4..=14).collect::<Vec<_>>(), vec![13, 14]],
            "each reader gets its new entries"
        );
        let question = hub.ready();
        assert!(hub.is_for_all(&question));
    }

    #[test]
    fn what_is_malformed_is_told() {
        let bad: [&[(&str, &str)]; 9] = [
            &[],
            &[("s", "1"), ("m", "x")],
            &[("o", "h#1"), ("m", "x")],
            &[("o", "h#1"), ("s", "1")],
            &[("o", "h"), ("s", "1"), ("m", "x")],
            &[("o", "#1"), ("s", "1"), ("m", "x")],
            &[("o", "h#-1"), ("s", "1"), ("m", "x")],
            &[("o", "h#1"), ("s", "0"), ("m", "x")],
            &[("o", "h#1"), ("s", "99999999999999999"), ("m", "x")],
        ];
        assert!(bad.iter().all(|fields| entry(fields).is_err()));
    }
}
