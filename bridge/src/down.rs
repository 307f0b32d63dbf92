//! From streams into a ring.
//!
//! Each chunk of messages is written ahead: a step in the state file says where in the stream it ends, which numbers come next, and
//! at which position of the ring its first message will be; then it is published. A process that comes after one that was killed
//! looks into the ring for what of it is there ([`recovery`](crate::recovery)): nothing is lost, and nothing comes twice.
//!
//! The numbers of an origin tell what is missing and what comes twice. Several streams may go into one ring, one chunk after the
//! other.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use data_pubsub_shared::Wait;
use futures_util::future::{FutureExt, select_all};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use tracing::{info, warn};

use crate::backend::{Backend, Ends, Entry, Failure, Place, Read, Reader, Result, Sent};
use crate::direction::{Control, Losses, Lost, Ticks, Trouble, since_1970};
use crate::entry::{Held, Unpacker};
use crate::load::Load;
use crate::recovery::{Chunk, Fate, Found, Last, Recovery};
use crate::ring::{Open, RingFile};
use crate::state::StateFile;

/// Where a stream is begun that was never read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// With its oldest entry.
    Start,
    /// With the next one that comes.
    Now,
    /// Behind this entry.
    Place(Place),
}

/// What to do.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// The ring that is filled.
    pub ring: RingFile,
    /// The streams, one or more.
    pub streams: Vec<String>,
    /// The server, for people.
    pub server: String,
    /// The state file.
    pub state: PathBuf,
    /// Where to begin.
    pub from: From,
    /// Only messages that begin with one of these are published; all, if there are none.
    pub prefixes: Vec<Vec<u8>>,
    /// Messages of origins that begin with this are left out.
    pub skip: Option<String>,
    /// A ring of strings into which each gap is published, too.
    pub gaps: Option<RingFile>,
    /// Messages a second at most.
    pub pace: Option<u64>,
    /// After so long without a message an origin may be forgotten.
    pub idle: Duration,
}

/// Messages that are published at once.
const CHUNK: u64 = 8192;
/// Between two looks whether a lossless ring has room.
const ROOM_EACH: Duration = Duration::from_millis(2);
/// Between two looks at what a stream has become.
const AUDIT_EACH: Duration = Duration::from_secs(2);
/// Between two looks for origins that can be forgotten.
const FORGET_EACH: Duration = Duration::from_secs(3600);
const DAY: u64 = 86_400;

/// What is known of an origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Known {
    epoch: u64,
    /// The number that its next message has.
    next: u64,
    /// Its last entry.
    place: Place,
    /// The day on which that was read, since 1970.
    day: u64,
    /// That of the entry there; 0 where none is known.
    #[serde(default, skip_serializing_if = "is_zero")]
    stamp: u64,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// What is known of a stream.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Stream {
    place: Place,
    /// What unknown origins sent before is not missed.
    blind: bool,
    origins: HashMap<String, Known>,
}

/// All that must be remembered.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Memory {
    streams: BTreeMap<String, Stream>,
    /// The identity of IN, and the position from which on IN may hold what this does not know.
    ring: String,
    at: u64,
    lost: Lost,
    duplicates: u64,
    /// Notes about gaps so far.
    noted: u64,
}

/// A chunk that is about to be published, and all that is true behind it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Step {
    stream: String,
    place: Place,
    #[serde(default, skip_serializing_if = "HashMap::is_empty")]
    origins: HashMap<String, Known>,
    at: u64,
    count: u64,
    sum: u64,
    #[serde(default, skip_serializing_if = "Lost::is_empty")]
    lost: Lost,
    #[serde(default)]
    duplicates: u64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    notes: Vec<String>,
    #[serde(default)]
    noted: u64,
}

/// A line of the state file. A step was done if anything follows it, unless that is a whole memory.
#[derive(Debug, Serialize, Deserialize)]
enum Record {
    Whole(Memory),
    Step(Step),
    Done,
}

impl Memory {
    fn apply(&mut self, step: Step) {
        let stream = self.streams.entry(step.stream).or_default();
        stream.place = step.place;
        stream.origins.extend(step.origins);
        self.at = step.at + step.count;
        self.lost.extend(step.lost);
        self.duplicates = step.duplicates;
        self.noted = step.noted;
    }
}

/// A note about a gap, for programs.
#[derive(Serialize)]
struct Note<'a> {
    number: u64,
    time: f64,
    stream: &'a str,
    origin: &'a str,
    reason: &'a str,
    count: u64,
}

/// A chunk that is being gathered.
struct Gathered {
    load: Load,
    place: Place,
    origins: HashMap<String, Known>,
    lost: Vec<(String, String, u64)>,
    duplicates: u64,
    /// On which it was begun, as [`Known::day`].
    day: u64,
}

/// How a session ended that did not fail.
enum End {
    Stopped,
    Gone,
}

struct Down<'a, B: Backend> {
    backend: &'a Arc<B>,
    options: &'a Options,
    control: &'a Control,
    state: StateFile,
    memory: Memory,
    /// The last step is not followed by anything.
    is_open: bool,
    open: Open,
    /// Its publishers wait for its readers.
    is_lossless: bool,
    gaps: Option<Open>,
    found: Found,
    recoveries: HashMap<String, Recovery>,
    unpacker: Unpacker,
    losses: Losses,
    malformed: u64,
    filtered: u64,
    trouble: Trouble,
    ticks: Ticks,
    audited: Instant,
    forgot: Instant,
    /// Since when nothing has come, by stream.
    quiet: HashMap<String, Instant>,
    /// Up to which place the numbers of all origins were looked at, by stream.
    accounted: HashMap<String, Place>,
    has_begun: bool,
    /// When the next chunk may be published.
    pace: Instant,
    lag_seconds: Option<f64>,
}

/// Receives until it is to end.
///
/// # Errors
/// What keeps it from working at all: its ring, or its state file. To be called again after a pause.
pub async fn run<B: Backend>(
    backend: &Arc<B>,
    options: &Options,
    control: &Control,
) -> std::result::Result<(), String> {
    loop {
        let mut down = Down::new(backend, options, control)?;
        control.status().running = true;
        match down.live().await {
            End::Stopped => return Ok(()),
            End::Gone => {
                let path = options.ring.path.display();
                warn!("{path}: was removed or replaced");
                drop(down);
                options.ring.after_removal()?;
            }
        }
    }
}

impl<'a, B: Backend> Down<'a, B> {
    fn new(backend: &'a Arc<B>, options: &'a Options, control: &'a Control) -> std::result::Result<Self, String> {
        let (mut memory, mut last) = (Memory::default(), None::<Step>);
        let opened = StateFile::open(&options.state, |record: Record| match record {
            Record::Whole(whole) => (memory, last) = (whole, None),
            Record::Step(step) => {
                if let Some(done) = last.replace(step) {
                    memory.apply(done);
                }
            }
            Record::Done => {
                if let Some(done) = last.take() {
                    memory.apply(done);
                }
            }
        });
        let state = opened.map_err(|error| error.to_string())?;
        if state.damaged() > 0 {
            warn!(
                "{}: {} damaged lines are left out; what they said is looked for in the ring, and numbers that they had may show \
                 as lost",
                options.state.display(),
                state.damaged()
            );
        }
        let mut open = options.ring.open()?;
        open.claim(&options.ring.path, None)?;
        let gaps = options.gaps.as_ref().map(RingFile::open).transpose()?;
        let now = Instant::now();
        let mut down = Down {
            is_lossless: open.ring.stats().lossless,
            losses: Losses::from(memory.lost.clone()),
            is_open: false,
            found: Found::default(),
            recoveries: HashMap::new(),
            unpacker: Unpacker::default(),
            malformed: 0,
            filtered: 0,
            trouble: Trouble::default(),
            ticks: Ticks::new(),
            audited: now,
            forgot: now,
            quiet: HashMap::new(),
            accounted: HashMap::new(),
            has_begun: false,
            pace: now,
            lag_seconds: None,
            backend,
            options,
            control,
            state,
            memory,
            open,
            gaps,
        };
        down.recover(last)?;
        Ok(down)
    }

    /// Looks what the last process has left in IN.
    fn recover(&mut self, last: Option<Step>) -> std::result::Result<(), String> {
        let at = last.as_ref().map_or(self.memory.at, |step| step.at);
        if self.memory.ring == self.open.identity && at <= self.open.absolute(|ring| ring.write_pos()) {
            self.found = Found::read(&self.open, at);
            self.memory.at = at;
            if let Some(step) = last {
                let chunk = Chunk { count: step.count, sum: step.sum };
                let how = self.found.last(chunk);
                if how != Last::Cut {
                    let count = step.count;
                    self.publish_notes(&step.notes);
                    self.memory.apply(step);
                    self.losses = Losses::from(self.memory.lost.clone());
                    if how == Last::Unclear {
                        self.losses.count("indeterminate", count);
                    }
                    if self.found.surplus() > 0 {
                        warn!(
                            "{}: holds {} messages more than the state file knows, which is an older copy or was damaged; what the \
                             stream brings again of them is passed over",
                            self.options.ring.path.display(),
                            self.found.surplus()
                        );
                    }
                }
            }
            if !self.found.is_empty() {
                self.recoveries =
                    self.options.streams.iter().map(|stream| (stream.clone(), Recovery::default())).collect();
            }
        } else {
            self.memory.at = self.open.absolute(|ring| ring.write_pos());
        }
        self.memory.ring.clone_from(&self.open.identity);
        self.remember_all().map_err(|error| error.to_string())
    }

    fn remember_all(&mut self) -> std::io::Result<()> {
        self.memory.lost.clone_from(&self.losses.total);
        self.state.replace(&Record::Whole(self.memory.clone()))?;
        self.is_open = false;
        Ok(())
    }

    /// Until it is told to end, or the ring is gone. What goes wrong with the server is said, and tried again.
    async fn live(&mut self) -> End {
        let end = loop {
            self.say_how_it_is();
            if !self.wait_for_server().await {
                break End::Stopped;
            }
            match self.session().await {
                Ok(end) => break end,
                Err(failure) => {
                    let pause = self.trouble.with_server(&failure);
                    self.say_how_it_is();
                    self.control.pause(pause).await;
                    if self.control.is_stopping() {
                        break End::Stopped;
                    }
                }
            }
        };
        self.settle();
        self.state.sync();
        self.losses.say();
        self.say_how_it_is();
        end
    }

    /// False: it is to end, and the server is away.
    async fn wait_for_server(&mut self) -> bool {
        loop {
            tokio::select! {
                biased;
                () = self.control.stopping() => return false,
                () = self.backend.connected() => return true,
                () = self.ticks.tick() => {
                    self.settle();
                    self.say_how_it_is();
                }
            }
        }
    }

    /// One life of the connection.
    async fn session(&mut self) -> Result<End> {
        let mut readers = Vec::new();
        for name in &self.options.streams {
            self.open_stream(name).await?;
            readers.push(self.backend.read(name, self.memory.streams[name].place).await?);
        }
        self.trouble.is_over();
        if !std::mem::replace(&mut self.has_begun, true) {
            let streams = self.options.streams.join(", ");
            info!("connected: stream {streams} at {}, ring {}", self.options.server, self.options.ring.path.display());
        }
        self.say_how_it_is();
        // Of the stream with this index; what is left of them, where the ring takes its time.
        let (mut index, mut reads) = (0, Vec::new().into_iter());
        loop {
            if let Some(rewound) = self.audit(reads.len() == 0).await? {
                readers[rewound] = self.backend.read(&self.options.streams[rewound], Place::START).await?;
                if rewound == index {
                    reads = Vec::new().into_iter();
                }
            }
            if reads.len() == 0 {
                let reading = select_all(readers.iter_mut().map(|reader| reader.next().boxed()));
                tokio::select! {
                    biased;
                    () = self.control.stopping() => return Ok(End::Stopped),
                    () = self.ticks.tick() => {
                        if self.tick() {
                            return Ok(End::Gone);
                        }
                    }
                    (came, which, _) = reading => {
                        (index, reads) = (which, came?.into_iter());
                        self.trouble.is_over();
                    }
                }
            } else if let Some(end) = self.take(index, &mut reads).await? {
                return Ok(end);
            }
        }
    }

    /// Before a stream is read: for the first time, or again.
    async fn open_stream(&mut self, name: &str) -> Result<()> {
        self.quiet.insert(name.to_owned(), Instant::now());
        if !self.memory.streams.contains_key(name) {
            let stream = self.begin(name).await?;
            self.memory.streams.insert(name.to_owned(), stream);
            return self.remember_all().map_err(|error| Failure::Refused(error.to_string()));
        }
        let place = self.memory.streams[name].place;
        let ends = self.backend.ends(name, place).await?;
        if !self.continues(name, &ends) {
            self.rewind(name);
        }
        Ok(())
    }

    /// Whether what was read last is still where it was. A server that was restored from a copy may have put something else there since.
    fn continues(&self, name: &str, ends: &Ends) -> bool {
        let stream = &self.memory.streams[name];
        let is_same = |at: &Sent| match stream.origins.get(&at.origin) {
            Some(known) if known.place == stream.place => {
                let is_its = known.stamp == 0 || at.stamp == 0 || at.stamp == known.stamp;
                is_its && (at.epoch < known.epoch || at.epoch == known.epoch && at.first < known.next)
            }
            _ => stream.origins.values().all(|known| known.place != stream.place),
        };
        ends.continues && ends.at.as_ref().is_none_or(is_same)
    }

    /// For the first time. What came before `now` is no loss; what came before a place is not known.
    async fn begin(&self, name: &str) -> Result<Stream> {
        match self.options.from {
            From::Start => Ok(Stream::default()),
            From::Place(place) => Ok(Stream { place, blind: true, ..Stream::default() }),
            From::Now => {
                let origins = self.backend.origins(name).await?;
                let (place, day) = (origins.last, today());
                let known = |(origin, epoch, last)| (origin, Known { epoch, next: last + 1, place, day, stamp: 0 });
                Ok(Stream { place, blind: false, origins: origins.numbers.into_iter().map(known).collect() })
            }
        }
    }

    /// The place is none of this stream any more: the server has lost its data, or was restored from an older copy. From the
    /// beginning on; numbers and epochs tell what was there before.
    fn rewind(&mut self, name: &str) {
        let stream = self.memory.streams.get_mut(name).expect("an open stream");
        warn!(
            "stream {name} was removed or restored: nothing is at {} any more; reading from its beginning",
            stream.place
        );
        stream.place = Place::START;
    }

    // --- Entries

    /// Entries into the ring: what is no duplicate, in the stream's order. Leaves some where they take long, and an audit is due.
    async fn take(&mut self, index: usize, reads: &mut std::vec::IntoIter<Read>) -> Result<Option<End>> {
        let name = &self.options.streams[index];
        self.quiet.insert(name.clone(), Instant::now());
        let mut first = None;
        let mut chunk = self.gather(name);
        let begun = self.memory.at;
        for read in reads.by_ref() {
            let entry = match read {
                Ok(entry) => entry,
                Err(malformed) => {
                    self.leave_out(malformed.place, &malformed.why);
                    chunk.place = malformed.place;
                    continue;
                }
            };
            let held = match self.unpacker.unpack(entry.kind, &entry.payload) {
                Ok(held) => held,
                Err(why) => {
                    self.leave_out(entry.place, &why);
                    chunk.place = entry.place;
                    continue;
                }
            };
            let takes = self.unpacker.takes(&held);
            let stream = &self.memory.streams[name];
            let known = self.known(stream, &chunk, &entry.origin);
            let numbers = Numbers::of(&entry, takes, known);
            if numbers.missing > 0 && first.is_none() {
                // Only the backend knows why.
                first = Some(self.backend.ends(name, entry.place).await?.first);
            }
            if numbers.missing > 0 {
                let behind = known.map_or(Place::START, |known| known.place);
                let is_trimmed = first.flatten().is_none_or(|first| first > behind);
                let reason = if is_trimmed { "trimmed" } else { "backend" };
                self.missing(name, &entry.origin, reason, numbers.missing, &mut chunk);
            }
            // The rest of an entry of which a part was published is not there twice.
            if known.is_none_or(|known| known.place != entry.place) {
                chunk.duplicates += numbers.duplicates;
            }
            if numbers.duplicates == takes {
                chunk.place = entry.place;
                continue;
            }
            if let Held::Gap(reason, count) = &held {
                let rest = count.saturating_sub(numbers.duplicates);
                chunk.lost.push((entry.origin.clone(), reason.clone(), rest));
                self.note(&mut chunk, &entry, entry.number + takes);
                continue;
            }
            let is_skipped = self.options.skip.as_ref().is_some_and(|host| entry.origin.starts_with(host));
            if is_skipped {
                self.note(&mut chunk, &entry, entry.number + takes);
                continue;
            }
            if let Some(end) = self.add(index, &entry, &held, numbers.duplicates, takes, &mut chunk).await? {
                return Ok(Some(end));
            }
            if self.memory.at != begun && self.is_audit_due() {
                break;
            }
        }
        self.publish(index, chunk).await
    }

    fn gather(&self, name: &str) -> Gathered {
        Gathered {
            load: Load::new(self.open.variant, self.open.ring.msg_size()),
            place: self.memory.streams[name].place,
            origins: HashMap::new(),
            lost: Vec::new(),
            duplicates: 0,
            day: today(),
        }
    }

    /// One that was not met begins at 1; one that was met where what came before is not known, anywhere.
    fn known(&self, stream: &Stream, chunk: &Gathered, origin: &str) -> Option<Known> {
        let known = chunk.origins.get(origin).or_else(|| stream.origins.get(origin)).copied();
        known.or_else(|| (!stream.blind).then_some(Known { epoch: 0, next: 1, place: Place::START, day: 0, stamp: 0 }))
    }

    /// Behind an entry, or a part of it.
    fn note(&self, chunk: &mut Gathered, entry: &Entry, next: u64) {
        let known = Known { epoch: entry.epoch, next, place: entry.place, day: chunk.day, stamp: entry.stamp };
        match chunk.origins.get_mut(&entry.origin) {
            Some(place) => *place = known,
            None => drop(chunk.origins.insert(entry.origin.clone(), known)),
        }
        chunk.place = entry.place;
    }

    /// Numbers that never came.
    fn missing(&mut self, name: &str, origin: &str, reason: &str, count: u64, chunk: &mut Gathered) {
        let is_recovering = self.recoveries.get(name).is_some_and(|recovery| !recovery.is_over());
        let there = if is_recovering { self.found.take_trimmed(count) } else { 0 };
        if count > there {
            chunk.lost.push((origin.to_owned(), reason.to_owned(), count - there));
        }
    }

    fn leave_out(&mut self, place: Place, why: &str) {
        self.malformed += 1;
        if self.trouble.is_news(why) {
            warn!("entry {place} is left out: {why}");
        }
    }

    /// The messages of an entry, whose first ones are duplicates. A chunk that is full is published on the way.
    async fn add(
        &mut self,
        index: usize,
        entry: &Entry,
        held: &Held,
        duplicates: u64,
        takes: u64,
        chunk: &mut Gathered,
    ) -> Result<Option<End>> {
        let most = self.chunk_size();
        let mut from = duplicates as usize;
        while from < takes as usize {
            let room = most.saturating_sub(chunk.load.len());
            if room == 0 {
                let full = std::mem::replace(chunk, self.gather(&self.options.streams[index]));
                let unpacker = std::mem::take(&mut self.unpacker);
                let end = self.publish(index, full).await;
                self.unpacker = unpacker;
                if let Some(end) = end? {
                    return Ok(Some(end));
                }
                chunk.place = self.memory.streams[&self.options.streams[index]].place;
                continue;
            }
            let to = (from + room).min(takes as usize);
            let added = chunk.load.add(&self.unpacker, held, &entry.payload, (from, to), &self.options.prefixes);
            self.filtered += added.filtered;
            if added.rejected > 0 {
                chunk.lost.push((String::new(), "rejected".to_owned(), added.rejected));
            }
            let before = chunk.place;
            self.note(chunk, entry, entry.number + to as u64);
            if to < takes as usize {
                // Read again from here, its first part is what the numbers say that is known.
                chunk.place = before;
            }
            from = to;
        }
        Ok(None)
    }

    fn chunk_size(&self) -> usize {
        let paced = self.options.pace.map_or(CHUNK, |pace| (pace / 20).max(1));
        CHUNK.min(self.open.ring.capacity()).min(paced) as usize
    }

    // --- Into the ring

    async fn publish(&mut self, index: usize, mut chunk: Gathered) -> Result<Option<End>> {
        let name = &self.options.streams[index];
        self.pass_over(name, &mut chunk);
        let nothing_new =
            chunk.place == self.memory.streams[name].place && chunk.origins.is_empty() && chunk.lost.is_empty();
        if nothing_new && chunk.load.is_empty() && chunk.duplicates == 0 {
            return Ok(None);
        }
        if let Some(end) = self.wait_for_turn(&chunk.load).await {
            return Ok(Some(end));
        }
        let step = self.step(name, &chunk);
        if let Some(end) = self.write_ahead(&step).await {
            return Ok(Some(end));
        }
        let put = self.put(&chunk.load).await;
        if !matches!(put, Ok(None)) {
            self.take_back();
            return put;
        }
        chunk.lost.iter().for_each(|(_, reason, count)| self.losses.count(reason, *count));
        self.publish_notes(&step.notes);
        self.control.status().forwarded += chunk.load.len() as u64;
        self.memory.apply(step);
        if self.state.has_grown() {
            let whole = self.remember_all();
            self.say_state(whole);
        }
        Ok(None)
    }

    /// Until the pace allows it, and the ring has room. Some: an end.
    async fn wait_for_turn(&mut self, load: &Load) -> Option<End> {
        if let Some(pace) = self.options.pace {
            if let Some(end) = self.wait_until(self.pace).await {
                return Some(end);
            }
            let takes = Duration::from_secs_f64(load.len() as f64 / pace as f64);
            self.pace = self.pace.max(Instant::now() - Duration::from_millis(100)) + takes;
        }
        loop {
            // Nothing is published where nobody can read it any more.
            if self.open.ring.is_gone() {
                return Some(End::Gone);
            }
            if self.has_room(load) {
                return None;
            }
            if let Some(end) = self.wait_until(Instant::now() + ROOM_EACH).await {
                return Some(end);
            }
        }
    }

    /// Remembers a step before it is done; again where it cannot be written. Some: an end.
    async fn write_ahead(&mut self, step: &Step) -> Option<End> {
        loop {
            let put = self.remember(step);
            let is_put = put.is_ok();
            self.say_state(put);
            if is_put {
                return None;
            }
            let pause = self.trouble.pause();
            self.control.pause(pause).await;
            if self.control.is_stopping() {
                return Some(End::Stopped);
            }
        }
    }

    /// Messages into the ring: all of them, unless there is an end or a failure.
    async fn put(&self, load: &Load) -> Result<Option<End>> {
        loop {
            let ring = &self.open.ring;
            let publish = || load.try_publish(ring);
            // What is left of a batch that was held up in the middle waits for room.
            match if self.is_lossless { tokio::task::block_in_place(publish) } else { publish() } {
                Ok(true) => return Ok(None),
                // A reader has come while the step was written, or another publisher has taken the room.
                Ok(false) => self.control.pause(ROOM_EACH).await,
                Err(why) => {
                    return Err(Failure::Hopeless(format!("{}: {why}", self.options.ring.path.display())));
                }
            }
            if self.control.is_stopping() {
                return Ok(Some(End::Stopped));
            }
            if self.open.ring.is_gone() {
                return Ok(Some(End::Gone));
            }
        }
    }

    /// Whether a chunk can be published at once: a lossless ring has room when its readers have read.
    fn has_room(&self, load: &Load) -> bool {
        let room = self.open.ring.wait_for_room(load.len() as u64, 0, || false);
        // What is wrong with the ring is said by the publish.
        room.map_or(true, |how| how == Wait::Ready)
    }

    /// Waits, and looks each second how things are. Some: an end.
    async fn wait_until(&mut self, until: Instant) -> Option<End> {
        loop {
            tokio::select! {
                biased;
                () = self.control.stopping() => return Some(End::Stopped),
                () = self.ticks.tick() => {
                    if self.tick() {
                        return Some(End::Gone);
                    }
                }
                () = tokio::time::sleep_until(until) => return None,
            }
        }
    }

    /// The step that was written was not done.
    fn take_back(&mut self) {
        // Where that cannot be written nothing must follow the step, and the next process looks into the ring.
        self.is_open = false;
        let whole = self.remember_all();
        self.say_state(whole);
    }

    fn remember(&mut self, step: &Step) -> std::io::Result<()> {
        // A clone, since the file wants a record of its own.
        self.state.put(&Record::Step(step.clone()))?;
        self.is_open = true;
        Ok(())
    }

    fn step(&mut self, name: &str, chunk: &Gathered) -> Step {
        let mut noted = self.memory.noted;
        let mut notes = Vec::new();
        let mut lost = Lost::new();
        for (origin, reason, count) in &chunk.lost {
            let total =
                lost.entry(reason.clone()).or_insert_with(|| self.losses.total.get(reason).copied().unwrap_or(0));
            *total += count;
            noted += 1;
            if self.gaps.is_some() {
                let time = crate::report::unix_time();
                let note = Note { number: noted, time, stream: name, origin, reason, count: *count };
                notes.extend(serde_json::to_string(&note).ok());
            }
        }
        Step {
            stream: name.to_owned(),
            place: chunk.place,
            origins: chunk.origins.clone(),
            at: self.open.absolute(|ring| ring.write_pos()),
            count: chunk.load.len() as u64,
            sum: chunk.load.sum(),
            lost,
            duplicates: self.memory.duplicates + chunk.duplicates,
            notes,
            noted,
        }
    }

    /// Leaves out what the last process has published.
    fn pass_over(&mut self, name: &str, chunk: &mut Gathered) {
        let Some(recovery) = self.recoveries.get_mut(name) else { return };
        let found = &mut self.found;
        let mut unclear = 0;
        chunk.load.retain(|message| match recovery.fate(found, message) {
            Fate::New => true,
            Fate::There => false,
            Fate::Unclear => {
                unclear += 1;
                false
            }
        });
        if unclear > 0 {
            chunk.lost.push((String::new(), "indeterminate".to_owned(), unclear));
        }
        if recovery.is_over() {
            self.recoveries.remove(name);
        }
        if self.recoveries.is_empty() {
            self.found = Found::default();
        }
    }

    fn publish_notes(&mut self, notes: &[String]) {
        let Some(gaps) = &self.gaps else { return };
        for note in notes {
            // One that is too long for a ring of somebody else's making is nowhere else, either.
            let _ = gaps.ring.publish_str(note.as_bytes());
        }
    }

    /// What was published is published: the next process need not look.
    fn settle(&mut self) {
        if self.is_open && self.state.put(&Record::Done).is_ok() {
            self.is_open = false;
        }
    }

    fn say_state(&mut self, written: std::io::Result<()>) {
        if self.trouble.with_state(written) {
            self.say_how_it_is();
        }
    }

    // --- Now and then

    /// Each second. True: the ring's file is gone, or is another one.
    fn tick(&mut self) -> bool {
        self.losses.say();
        let is_quiet = self.quiet.values().all(|since| since.elapsed() > Duration::from_millis(500));
        if is_quiet {
            self.settle();
        }
        self.say_how_it_is();
        if let Some(file) = self.state.due() {
            tokio::task::spawn_blocking(move || file.sync_data());
        }
        self.trouble.is_ring_gone(&self.open, &self.options.ring)
    }

    fn is_audit_due(&self) -> bool {
        self.audited.elapsed() >= AUDIT_EACH
    }

    /// Looks now and then what has become of the streams. Some: the one at this index is to be read from its beginning. `is_idle`: all
    /// that was read is in the ring.
    async fn audit(&mut self, is_idle: bool) -> Result<Option<usize>> {
        if !self.is_audit_due() {
            return Ok(None);
        }
        self.audited = Instant::now();
        let mut greatest = None;
        for (index, name) in self.options.streams.iter().enumerate() {
            let place = self.memory.streams[name].place;
            let ends = self.backend.ends(name, place).await?;
            if !self.continues(name, &ends) {
                self.rewind(name);
                return Ok(Some(index));
            }
            let is_read = ends.newest.is_none_or(|newest| newest <= place);
            let behind = if is_read { Some(0.0) } else { ends.behind.map(|behind| behind.as_secs_f64()) };
            if let Some(behind) = behind {
                greatest = Some(greatest.unwrap_or(0.0_f64).max(behind));
            }
            let accounted = self.accounted.get(name).copied().unwrap_or(Place::START);
            let may_lack = ends.last > place || ends.first.is_some_and(|first| first > accounted) && accounted < place;
            if is_read && is_idle && may_lack {
                self.account(index).await?;
            }
        }
        self.lag_seconds = greatest;
        self.say_how_it_is();
        self.forget().await?;
        Ok(None)
    }

    /// Entries were dropped, and nothing may be left behind the last ones of an origin: what the server knows of all origins says how
    /// many messages are missing.
    async fn account(&mut self, index: usize) -> Result<()> {
        let name = &self.options.streams[index];
        let origins = self.backend.origins(name).await?;
        let stream = &self.memory.streams[name];
        // Something came meanwhile, which will be read first.
        if origins.newest.is_some_and(|newest| newest > stream.place) {
            return Ok(());
        }
        let mut chunk = self.gather(name);
        chunk.place = origins.last.max(chunk.place);
        let mut gone = Vec::new();
        for (origin, epoch, last) in origins.numbers {
            let known = self.known(&self.memory.streams[name], &chunk, &origin);
            if let Some(known) = known.filter(|known| last >= known.next) {
                gone.push((origin.clone(), last + 1 - known.next));
                chunk
                    .origins
                    .insert(origin, Known { epoch, next: last + 1, place: chunk.place, day: today(), stamp: 0 });
            }
        }
        self.accounted.insert(name.clone(), chunk.place);
        gone.sort();
        for (origin, count) in gone {
            self.missing(name, &origin, "trimmed", count, &mut chunk);
        }
        self.publish(index, chunk).await.map(drop)
    }

    /// Forgets origins that were silent for long, and that the server has forgotten, too.
    async fn forget(&mut self) -> Result<()> {
        if self.forgot.elapsed() < FORGET_EACH {
            return Ok(());
        }
        self.forgot = Instant::now();
        let (today, days) = (today(), self.options.idle.as_secs() / DAY + 1);
        let is_old = |known: &Known| known.day + days < today;
        for name in &self.options.streams {
            if !self.memory.streams[name].origins.values().any(is_old) {
                continue;
            }
            let there: std::collections::HashSet<String> =
                self.backend.origins(name).await?.numbers.into_iter().map(|(origin, ..)| origin).collect();
            let stream = self.memory.streams.get_mut(name).expect("an open stream");
            stream.origins.retain(|origin, known| !is_old(known) || there.contains(origin));
            let whole = self.remember_all();
            self.say_state(whole);
        }
        Ok(())
    }

    fn say_how_it_is(&mut self) {
        let mut status = self.control.status();
        self.trouble.show(&mut status, self.backend.health(), self.has_begun);
        status.lost.clone_from(&self.losses.total);
        status.filtered = self.filtered;
        status.lag_seconds = self.lag_seconds;
        status.places =
            Some(self.memory.streams.iter().map(|(name, stream)| (name.clone(), stream.place.to_string())).collect());
        status.origins = Some(self.memory.streams.values().map(|stream| stream.origins.len() as u64).sum());
        status.duplicates = Some(self.memory.duplicates);
        status.malformed = Some(self.malformed);
    }
}

fn today() -> u64 {
    since_1970().as_secs() / DAY
}

/// What an entry's numbers say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Numbers {
    /// So many of its messages, the first ones, came before.
    duplicates: u64,
    /// So many before it never came.
    missing: u64,
}

impl Numbers {
    /// Within one epoch numbers only grow. A new epoch begins where the server knew the one before to end, which may be further
    /// back if it had lost something.
    fn of(entry: &Entry, takes: u64, known: Option<Known>) -> Numbers {
        let Some(known) = known else { return Numbers { duplicates: 0, missing: 0 } };
        let duplicates = match entry.epoch.cmp(&known.epoch) {
            std::cmp::Ordering::Less => takes,
            std::cmp::Ordering::Equal => known.next.saturating_sub(entry.number).min(takes),
            std::cmp::Ordering::Greater => 0,
        };
        let is_news = duplicates < takes;
        Numbers { duplicates, missing: if is_news { entry.number.saturating_sub(known.next) } else { 0 } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_tell_what_is_missing_and_what_comes_twice() {
        let entry = |epoch, number| Entry {
            place: Place(1, 0),
            origin: String::new(),
            epoch,
            number,
            kind: b'M',
            payload: Vec::new(),
            stamp: 0,
        };
        let known = Some(Known { epoch: 5, next: 11, place: Place::START, day: 0, stamp: 0 });
        let of = |epoch, number| {
            let numbers = Numbers::of(&entry(epoch, number), 4, known);
            (numbers.duplicates, numbers.missing)
        };
        assert_eq!([of(5, 11), of(5, 13), of(5, 9), of(5, 7), of(5, 1)], [(0, 0), (0, 2), (2, 0), (4, 0), (4, 0)]);
        assert_eq!([of(4, 11), of(4, 50)], [(4, 0), (4, 0)], "an old epoch");
        assert_eq!([of(6, 11), of(6, 3), of(6, 20)], [(0, 0), (0, 0), (0, 9)], "a new one may go back");
        assert_eq!(
            Numbers::of(&entry(1, 99), 4, None),
            Numbers { duplicates: 0, missing: 0 },
            "where nothing is known"
        );
    }
}
