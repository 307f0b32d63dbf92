//! A backend in this process, for tests: it keeps the promises, and fails on demand in every way that they allow.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::watch;

use super::{
    Backend, Batch, Begun, Claim, Ends, Entry, Failure, Health, Limits, Malformed, Origins, Place, Read, Reader,
    Result, Sender, Sent,
};

/// The server; clones share it.
#[derive(Clone, Debug)]
pub struct Memory {
    state: Arc<Mutex<State>>,
    /// Counts changes, to wake readers and tasks that wait for the connection.
    changes: Arc<watch::Sender<u64>>,
}

/// The probabilities of faults, per thousand calls.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// An append is refused because the server is full.
    pub full: u32,
    /// A call is not executed, and its answer is lost.
    pub lost_before: u32,
    /// A call is executed, and its answer is lost.
    pub lost_after: u32,
}

/// The server's data, which [`Memory::copy`] copies.
pub type Data = HashMap<String, Stream>;

/// A stream.
#[derive(Clone, Debug, Default)]
pub struct Stream {
    entries: VecDeque<Read>,
    last: Place,
    /// Epoch, last number, position.
    origins: HashMap<String, (u64, u64, String)>,
}

#[derive(Debug)]
struct State {
    data: Data,
    clock: u64,
    away: bool,
    lost: u64,
    faults: Faults,
    random: u64,
}

impl State {
    /// A number below 1000 (xorshift by G. Marsaglia).
    fn random(&mut self) -> u32 {
        for (left, by) in [(true, 13), (false, 7), (true, 17)] {
            self.random ^= if left { self.random << by } else { self.random >> by };
        }
        (self.random >> 20) as u32 % 1000
    }
}

fn place_of(read: &Read) -> Place {
    match read {
        Ok(entry) => entry.place,
        Err(malformed) => malformed.place,
    }
}

impl Memory {
    /// An empty server. The same seed causes the same faults.
    pub fn new(seed: u64) -> Memory {
        let state = State {
            data: Data::new(),
            clock: 1,
            away: false,
            lost: 0,
            faults: Faults::default(),
            random: seed.wrapping_mul(2).wrapping_add(1),
        };
        Memory { state: Arc::new(Mutex::new(state)), changes: Arc::new(watch::Sender::new(0)) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no test panics with it")
    }

    fn changed(&self) {
        self.changes.send_modify(|count| *count += 1);
    }

    /// Sets the faults from now on.
    pub fn set_faults(&self, faults: Faults) {
        self.state().faults = faults;
    }

    /// Takes the server down, or up again; all readers fail.
    pub fn set_away(&self, away: bool) {
        let mut state = self.state();
        state.lost += u64::from(away && !state.away);
        state.away = away;
        drop(state);
        self.changed();
    }

    /// The first number of the next entries' places.
    pub fn set_clock(&self, clock: u64) {
        self.state().clock = clock;
    }

    /// A copy of all data.
    pub fn copy(&self) -> Data {
        self.state().data.clone()
    }

    /// Continues with such a copy, or without data.
    pub fn restore(&self, data: Data) {
        self.state().data = data;
        self.set_away(true);
        self.set_away(false);
    }

    /// Trims a stream to `keep` entries.
    pub fn drop_oldest(&self, stream: &str, keep: usize) {
        if let Some(stream) = self.state().data.get_mut(stream) {
            let surplus = stream.entries.len().saturating_sub(keep);
            stream.entries.drain(..surplus);
        }
    }

    /// Adds something to a stream that is not an entry.
    pub fn append_malformed(&self, stream: &str, why: &str) {
        let state = &mut *self.state();
        let stream = state.data.entry(stream.to_owned()).or_default();
        stream.last = next_place(stream.last, state.clock);
        stream.entries.push_back(Err(Malformed { place: stream.last, why: why.to_owned() }));
        self.changed();
    }

    /// The content of a stream.
    pub fn entries(&self, stream: &str) -> Vec<Read> {
        self.state().data.get(stream).map(|stream| stream.entries.iter().cloned().collect()).unwrap_or_default()
    }

    /// Executes a call, or fails because of a fault.
    fn call<T>(&self, is_append: bool, body: impl FnOnce(&mut State) -> Result<T>) -> Result<T> {
        let state = &mut *self.state();
        let lost = |when| Failure::Lost(format!("the connection broke {when}"));
        if state.away {
            return Err(Failure::Lost("the server is away".to_owned()));
        }
        if state.random() < state.faults.lost_before {
            return Err(lost("before the call"));
        }
        if is_append && state.random() < state.faults.full {
            return Err(Failure::Full("no room".to_owned()));
        }
        let result = body(state);
        if state.random() < state.faults.lost_after {
            return Err(lost("behind the call"));
        }
        result
    }
}

fn next_place(last: Place, clock: u64) -> Place {
    if clock > last.0 { Place(clock, 0) } else { Place(last.0, last.1 + 1) }
}

impl Backend for Memory {
    type Reader = MemoryReader;

    async fn connected(&self) {
        let mut changes = self.changes.subscribe();
        while self.state().away {
            let _ = changes.changed().await;
        }
    }

    fn health(&self) -> Health {
        let state = self.state();
        let error = state.away.then(|| "the server is away".to_owned());
        Health { connected: !state.away, error, lost: state.lost }
    }

    fn window(&self) -> usize {
        4
    }

    fn batch_bytes(&self) -> usize {
        1 << 20
    }

    async fn begin(&self, stream: &str, origin: &str, claim: &Claim) -> Result<Begun> {
        self.call(false, |state| {
            let origins = &mut state.data.entry(stream.to_owned()).or_default().origins;
            let found = origins.get(origin).cloned();
            let known = found.is_some();
            let (epoch, number, position) = found.unwrap_or((0, claim.number, claim.position.clone()));
            let epoch = epoch.max(claim.epoch) + 1;
            origins.insert(origin.to_owned(), (epoch, number, position.clone()));
            Ok(Begun { epoch, number, position, known })
        })
    }

    async fn append(&self, sender: &Sender, batch: &Batch, acknowledged: u64) -> Result<()> {
        tokio::task::yield_now().await;
        let result = self.call(true, |state| {
            let stream = state.data.entry(sender.stream.clone()).or_default();
            let (epoch, last) = stream.origins.get(&sender.origin).map_or((0, 0), |known| (known.0, known.1));
            if sender.epoch < epoch {
                return Err(Failure::Fenced);
            }
            if batch.first > last.max(acknowledged) + 1 {
                return Err(Failure::Hole);
            }
            let mut number = batch.first;
            for content in &batch.entries {
                if number > last {
                    stream.last = next_place(stream.last, state.clock);
                    stream.entries.push_back(Ok(Entry {
                        place: stream.last,
                        origin: sender.origin.clone(),
                        epoch: sender.epoch,
                        number,
                        kind: content.kind,
                        payload: content.payload.clone(),
                        stamp: 0,
                    }));
                }
                number += content.takes;
            }
            if number - 1 > last {
                stream.origins.insert(sender.origin.clone(), (sender.epoch, number - 1, batch.position.clone()));
            }
            Ok(())
        });
        self.changed();
        result
    }

    async fn read(&self, stream: &str, after: Place) -> Result<MemoryReader> {
        self.call(false, |state| {
            let lost = state.lost;
            Ok(MemoryReader { server: self.clone(), stream: stream.to_owned(), place: after, lost })
        })
    }

    async fn ends(&self, stream: &str, place: Place) -> Result<Ends> {
        self.call(false, |state| {
            let stream = state.data.entry(stream.to_owned()).or_default();
            let first = stream.entries.front().map(place_of);
            let is_there = || stream.entries.iter().any(|read| place_of(read) == place);
            let continues = place <= stream.last && (first.is_none_or(|first| place < first) || is_there());
            let at = stream.entries.iter().find(|read| place_of(read) == place).and_then(|read| read.as_ref().ok());
            let at = at.map(|entry| Sent {
                origin: entry.origin.clone(),
                epoch: entry.epoch,
                first: entry.number,
                stamp: entry.stamp,
            });
            let newest = stream.entries.back().map(place_of);
            Ok(Ends { first, newest, last: stream.last, continues, at, behind: None })
        })
    }

    async fn origins(&self, stream: &str) -> Result<Origins> {
        self.call(false, |state| {
            let stream = state.data.entry(stream.to_owned()).or_default();
            let numbers = stream.origins.iter().map(|(name, known)| (name.clone(), known.0, known.1)).collect();
            Ok(Origins { newest: stream.entries.back().map(place_of), last: stream.last, numbers })
        })
    }

    async fn trim(&self, stream: &str, limits: &Limits, messages_per_entry: f64) -> Result<()> {
        if let Some(messages) = limits.messages {
            self.drop_oldest(stream, (messages as f64 / messages_per_entry).ceil() as usize);
        }
        Ok(())
    }

    async fn tend(&self, _sender: &Sender, _idle: Duration) -> Result<u64> {
        Ok(0)
    }
}

/// Reads one stream.
#[derive(Debug)]
pub struct MemoryReader {
    server: Memory,
    stream: String,
    place: Place,
    lost: u64,
}

impl Reader for MemoryReader {
    async fn next(&mut self) -> Result<Vec<Read>> {
        const MOST: usize = 100;
        let mut changes = self.server.changes.subscribe();
        loop {
            {
                let state = self.server.state();
                if state.away || state.lost != self.lost {
                    return Err(Failure::Lost("the server went away".to_owned()));
                }
                let entries = state.data.get(&self.stream).map(|stream| &stream.entries);
                let behind = entries.into_iter().flatten().filter(|read| place_of(read) > self.place);
                let found: Vec<Read> = behind.take(MOST).cloned().collect();
                if let Some(last) = found.last() {
                    self.place = place_of(last);
                    return Ok(found);
                }
            }
            let _ = changes.changed().await;
        }
    }
}
