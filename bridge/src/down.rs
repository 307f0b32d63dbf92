//! The direction down: from streams to a ring.
//!
//! Each chunk of messages is logged before it is published: a step in the state file has the place in the stream where the chunk
//! ends, the next numbers of origins, and the position in the ring where its first message will be. After a restart, the next
//! process searches the ring for the messages of the last step ([`recovery`](crate::recovery)), so none is lost or duplicated.
//!
//! The numbers of an origin show losses and duplicates. Several streams may go into one ring, chunk by
//! chunk.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{FutureExt, select_all};
use tokio::time::Instant;
use tracing::{info, warn};

use crate::backend::{Backend, Place, Reader, Result};
use crate::direction::{Control, Losses, Ticks, Trouble};
use crate::entry::Unpacker;
use crate::recovery::{Chunk, Found, Last, Recovery};
use crate::ring::{Open, RingFile};
use crate::state::StateFile;

mod audit;
mod entries;
mod memory;
mod publishing;

use memory::{Memory, Record, Step};

/// Where to start a stream that was never read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// At its oldest entry.
    Start,
    /// At the next entry that is appended.
    Now,
    /// After this entry.
    Place(Place),
}

/// The configuration of a direction down.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// The ring.
    pub ring: RingFile,
    /// The streams, one or more.
    pub streams: Vec<String>,
    /// The server, as a text for people.
    pub server: String,
    /// The state file.
    pub state: PathBuf,
    /// Where to start.
    pub from: From,
    /// Only messages that begin with one of these prefixes are published; all, if it is empty.
    pub prefixes: Vec<Vec<u8>>,
    /// Messages of origins whose names begin with this are skipped.
    pub skip: Option<String>,
    /// A string ring in which a note about each gap is published.
    pub gaps: Option<RingFile>,
    /// The maximum number of messages per second.
    pub pace: Option<u64>,
    /// After this time without a message, an origin may be removed.
    pub idle: Duration,
}

/// How a session ended without a failure.
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
    /// Whether the last step is not followed by another record.
    is_open: bool,
    open: Open,
    /// Whether the ring is lossless.
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
    /// When the last entries were read, by stream.
    quiet: HashMap<String, Instant>,
    /// The place up to which the numbers of all origins were audited, by stream.
    accounted: HashMap<String, Place>,
    has_begun: bool,
    /// When the next chunk may be published.
    pace: Instant,
    lag_seconds: Option<f64>,
}

/// Receives until it is to end.
///
/// # Errors
/// A problem with its ring or its state file, without which it cannot work. It may be called again after a pause.
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

    /// Recovers the messages that the last process has published in IN.
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

    /// Runs until it is told to end, or the ring was removed. Failures of the server are logged, and requests are repeated.
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

    /// Waits for the connection. Returns false if it is to end while the server is down.
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

    /// Runs as long as one connection lasts.
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
        // Entries of the stream with this index that are left because the ring was full.
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

    // --- Periodic work

    /// Is called each second. Returns whether the ring's file was removed or replaced.
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
