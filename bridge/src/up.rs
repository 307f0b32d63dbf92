//! From a ring into the stream.
//!
//! The ring is the buffer. A batch is taken out of it only when few enough are on their way, and stays here until the server has
//! acknowledged it; what is not acknowledged when the connection is lost, or the server refuses a batch, goes out again with the
//! same numbers. The server drops what it has, and takes nothing beyond a hole that a refused batch has left. With each batch it
//! stores up to where the ring was read, so the next process, whatever became of this one, goes on exactly there, in a new epoch in
//! which nothing of this one is accepted any more.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use data_pubsub_shared::{Subscriber, Variant};
use futures_util::stream::{FuturesOrdered, StreamExt};
use serde::{Deserialize, Serialize};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;
use tracing::{info, warn};

use crate::backend::{Backend, Batch, Claim, Failure, Limits, Result, Sender};
use crate::direction::{Control, Losses, Lost, Ticks, Trouble, since_1970};
use crate::entry::Packer;
use crate::ring::{Bell, Open, RingFile};
use crate::state::StateFile;

/// What to do.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// The ring that is read.
    pub ring: RingFile,
    /// The stream.
    pub stream: String,
    /// The server, for the lock that keeps two bridges from sending one ring twice.
    pub server: String,
    /// This host, for a new origin.
    pub host: String,
    /// The state file.
    pub state: PathBuf,
    /// A new origin begins with what is published from now on, not with what the ring holds.
    pub from_now: bool,
    /// Messages in an entry at most.
    pub pack: u64,
    /// Entries in a batch at most.
    pub batch: usize,
    /// Only messages that begin with one of these are sent; all, if there are none.
    pub prefixes: Vec<Vec<u8>>,
    /// How much the stream keeps.
    pub limits: Limits,
    /// After so long without a message an origin may be forgotten.
    pub idle: Duration,
}

/// Bytes of a batch, unless one message is longer.
const BATCH_BYTES: usize = 256 << 10;
/// Bytes of an entry after which it gets no further message.
const ENTRY_BYTES: usize = 64 << 10;
/// Messages of a batch.
const BATCH_MESSAGES: u64 = 8192;
/// Identities of rings that are remembered as ours.
const RINGS: usize = 8;
/// Between two times at which a silent origin says that it is alive, and the stream is tended.
const TEND_EACH: Duration = Duration::from_secs(3600);
/// Between two times at which a silent origin has the stream trimmed.
const TRIM_EACH: Duration = Duration::from_secs(10);

/// What is in the state file: the last line counts.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Record {
    origin: String,
    epoch: u64,
    /// The last number that was acknowledged, and the position behind it.
    number: u64,
    position: String,
    lost: Lost,
    /// The identities of the last rings that had this state file, the present one last.
    rings: Vec<String>,
    /// The identity of a ring that was removed, and was read to its end.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    drained: String,
    /// When the server last heard of the origin, in seconds since 1970.
    #[serde(default)]
    seen: u64,
}

/// A batch without an answer.
struct Pending {
    batch: Arc<Batch>,
    messages: u64,
    /// As they were behind it.
    lost: Lost,
    _permit: Option<OwnedSemaphorePermit>,
}

type Answer = Pin<Box<dyn Future<Output = Result<()>> + Send>>;

/// How a session ended that did not fail.
enum End {
    /// It was told to.
    Stopped,
    /// The ring's file is gone, or is another one.
    Gone,
}

struct Up<'a, B: Backend> {
    backend: &'a Arc<B>,
    options: &'a Options,
    control: &'a Control,
    state: StateFile,
    record: Record,
    open: Open,
    sub: Subscriber,
    bell: Bell,
    sender: Sender,
    has_begun: bool,
    /// The number of the last message that was taken out of the ring.
    number: u64,
    pending: VecDeque<Pending>,
    losses: Losses,
    /// Losses of the subscriber that are in an entry already.
    overflow: u64,
    /// Why messages are lost that are lost now.
    reason: &'static str,
    /// A gap that goes before the next message.
    owed: Option<&'static str>,
    filtered: u64,
    scratch: Vec<u8>,
    trouble: Trouble,
    ticks: Ticks,
    farewell: Option<Instant>,
    entries: u64,
    messages: u64,
    trimmed: Instant,
    /// Something was appended since.
    is_untrimmed: bool,
    tended: Instant,
}

/// Sends until it is to end. Returns true if all was acknowledged that had been taken out.
///
/// # Errors
/// What keeps it from working at all: its ring, or its state file. To be called again after a pause.
pub async fn run<B: Backend>(
    backend: &Arc<B>,
    options: &Options,
    control: &Control,
) -> std::result::Result<bool, String> {
    loop {
        let mut up = Up::new(backend, options, control)?;
        control.status().running = true;
        match up.live().await {
            End::Stopped => return Ok(up.pending.is_empty()),
            End::Gone => {
                let path = options.ring.path.display();
                if !control.is_stopping() {
                    warn!("{path}: was removed or replaced; what it held is sent");
                }
                drop(up);
                options.ring.after_removal()?;
            }
        }
    }
}

impl<'a, B: Backend> Up<'a, B> {
    fn new(backend: &'a Arc<B>, options: &'a Options, control: &'a Control) -> std::result::Result<Self, String> {
        let mut record = None;
        let opened = StateFile::open(&options.state, |last: Record| record = Some(last));
        let mut state = opened.map_err(|error| error.to_string())?;
        if state.damaged() > 0 {
            warn!(
                "{}: {} damaged lines are left out; the server knows better",
                options.state.display(),
                state.damaged()
            );
        }
        let mut open = options.ring.open()?;
        open.claim(&options.ring.path, Some(&format!("{} at {}", options.stream, options.server)))?;
        let mut record = record.unwrap_or_else(|| Record { origin: new_origin(options), ..Record::default() });
        if record.rings.last() != Some(&open.identity) {
            record.rings.push(open.identity.clone());
            let surplus = record.rings.len().saturating_sub(RINGS);
            record.rings.drain(..surplus);
        }
        // Before the server hears the name: a process that began again under another one would send everything twice.
        state.put(&record).map_err(|error| error.to_string())?;
        let is_new = record.number == 0 && record.position.is_empty();
        let sub = open.ring.subscribe(!(is_new && options.from_now));
        let now = Instant::now();
        Ok(Up {
            bell: Bell::new(&open)?,
            sender: Sender { stream: options.stream.clone(), origin: record.origin.clone(), epoch: record.epoch },
            has_begun: false,
            number: record.number,
            pending: VecDeque::new(),
            losses: Losses::from(record.lost.clone()),
            overflow: 0,
            reason: "restart",
            owed: None,
            filtered: 0,
            scratch: Vec::new(),
            trouble: Trouble::default(),
            ticks: Ticks::new(),
            farewell: None,
            entries: 0,
            messages: 0,
            trimmed: now,
            is_untrimmed: false,
            tended: now,
            backend,
            options,
            control,
            state,
            record,
            open,
            sub,
        })
    }

    /// Until it is told to end, or the ring is gone. What goes wrong with the server is said, and tried again.
    async fn live(&mut self) -> End {
        loop {
            self.say_how_it_is();
            if !self.wait_for_server().await {
                return self.leave();
            }
            match self.session().await {
                Ok(end) => {
                    self.state.sync();
                    self.losses.say();
                    self.say_how_it_is();
                    return end;
                }
                Err(failure) => {
                    if let Failure::Full(_) = failure {
                        // What goes wrong here will go wrong again in a second.
                        let _ = self.trim().await;
                    }
                    let pause = self.failed(&failure);
                    if !self.control.is_stopping() {
                        self.control.pause(pause).await;
                    } else if self.backend.health().connected && Instant::now() < self.farewell() {
                        tokio::time::sleep(pause.min(Duration::from_millis(100))).await;
                    } else {
                        return self.leave();
                    }
                }
            }
        }
    }

    /// Until when it may go on once it is to end.
    fn farewell(&mut self) -> Instant {
        *self.farewell.get_or_insert_with(|| Instant::now() + self.control.farewell)
    }

    /// False: it is to end, and the server is away.
    async fn wait_for_server(&mut self) -> bool {
        loop {
            tokio::select! {
                biased;
                () = self.backend.connected() => return true,
                () = self.control.stopping() => return false,
                () = self.ticks.tick() => self.say_how_it_is(),
            }
        }
    }

    /// Ends without the server.
    fn leave(&mut self) -> End {
        let unsent = self.sub.lag() + self.pending.iter().map(|pending| pending.messages).sum::<u64>();
        let why = if self.has_begun { "" } else { "the server was never reached; " };
        info!("{why}{unsent} messages stay in the ring");
        self.state.sync();
        End::Stopped
    }

    /// What went wrong, for the status and for people; and how long to wait before the next attempt.
    fn failed(&mut self, failure: &Failure) -> Duration {
        if matches!(failure, Failure::Hole) {
            // It shows another failure, which was said.
            return Duration::from_millis(1);
        }
        let mut pause = self.trouble.with_server(failure);
        if matches!(failure, Failure::Fenced) {
            // The next session begins a new epoch, and so would shut that instance out in turn.
            self.has_begun = false;
            pause = pause.max(Duration::from_secs(1));
        }
        self.say_how_it_is();
        pause
    }

    /// One life of the connection.
    async fn session(&mut self) -> Result<End> {
        if !self.has_begun {
            self.begin().await?;
        }
        let mut answers: FuturesOrdered<Answer> = FuturesOrdered::new();
        // What was taken out and has no answer, again; as many at once as before.
        for pending in &self.pending {
            answers.push_back(self.dispatch(Arc::clone(&pending.batch)));
        }
        let mut permit = None;
        let mut ending: Option<Ending> = None;
        loop {
            if ending.is_none() && self.control.is_stopping() {
                let until = self.farewell();
                ending = Some(Ending::new(End::Stopped, &self.open, until));
            }
            let is_read = ending.as_ref().is_some_and(|ending| ending.is_reached(&self.sub));
            if is_read && self.pending.is_empty() {
                let Some(Ending { how, .. }) = ending else { unreachable!("it is reached") };
                if matches!(how, End::Gone) {
                    self.record.drained.clone_from(&self.open.identity);
                    self.remember();
                }
                return Ok(how);
            }
            let has_room = self.pending.len() < self.backend.window() && !is_read;
            if permit.is_none() && has_room {
                permit = Arc::clone(&self.control.batches).try_acquire_owned().ok();
            }
            let mut looked = Looked::NotNow;
            if has_room && permit.is_some() {
                looked = self.fill(&mut permit, &mut answers);
            }
            let batches = Arc::clone(&self.control.batches);
            let until = ending.as_ref().map_or_else(Instant::now, |ending| ending.until);
            tokio::select! {
                biased;
                // Also sends what was just added.
                Some(answer) = answers.next(), if !answers.is_empty() => self.answered(answer, &mut answers)?,
                () = tokio::task::yield_now(), if looked == Looked::MayBeMore => {}
                Ok(next) = batches.acquire_owned(), if permit.is_none() && has_room => permit = Some(next),
                _ = self.bell.rung(), if looked == Looked::Empty => {}
                () = self.ticks.tick() => {
                    if self.tick().await? && ending.is_none() {
                        ending = Some(Ending::new(End::Gone, &self.open, Instant::now() + TEND_EACH));
                    }
                }
                () = self.control.stopping(), if ending.is_none() => {}
                () = tokio::time::sleep_until(until), if ending.is_some() && !is_read => {}
            }
        }
    }

    /// Takes a batch out of the ring, if there is one, and has it sent.
    fn fill(&mut self, permit: &mut Option<OwnedSemaphorePermit>, answers: &mut FuturesOrdered<Answer>) -> Looked {
        let mut is_armed = false;
        loop {
            let (batch, is_empty) = self.take_batch();
            if let Some((batch, messages)) = batch {
                let batch = Arc::new(batch);
                answers.push_back(self.dispatch(Arc::clone(&batch)));
                let lost = self.losses.total.clone();
                self.pending.push_back(Pending { batch, messages, lost, _permit: permit.take() });
                return Looked::MayBeMore;
            }
            if !is_empty {
                return Looked::MayBeMore;
            }
            // From here on nothing is lost because nobody was there.
            self.reason = "overrun";
            if is_armed {
                return Looked::Empty;
            }
            self.bell.arm(&self.sub);
            is_armed = true;
        }
    }

    fn dispatch(&self, batch: Arc<Batch>) -> Answer {
        let (backend, sender, acknowledged) = (Arc::clone(self.backend), self.sender.clone(), self.record.number);
        Box::pin(async move { backend.append(&sender, &batch, acknowledged).await })
    }

    /// Answers come in the order of the batches. After the first that is no, the others count for nothing: all are sent again.
    fn answered(&mut self, answer: Result<()>, answers: &mut FuturesOrdered<Answer>) -> Result<()> {
        let mut next = Some(answer);
        let mut last = None;
        while let Some(answer) = next {
            if let Err(failure) = answer {
                if let Some(done) = last {
                    self.acknowledged(done);
                }
                return Err(failure);
            }
            let done = self.pending.pop_front().expect("an answer for each batch");
            self.messages += done.messages;
            self.entries += done.batch.entries.len() as u64;
            self.is_untrimmed = true;
            self.control.status().forwarded += done.messages;
            self.record.number = done.batch.last();
            last = Some(done);
            // Those that are there already: one record for all.
            next = match futures_util::FutureExt::now_or_never(answers.next()) {
                Some(Some(answer)) => Some(answer),
                _ => None,
            };
        }
        if let Some(done) = last {
            self.acknowledged(done);
        }
        Ok(())
    }

    fn acknowledged(&mut self, done: Pending) {
        self.all_is_well();
        self.record.position.clone_from(&done.batch.position);
        self.record.lost = done.lost;
        self.remember();
    }

    fn all_is_well(&mut self) {
        self.trouble.is_over();
        self.record.seen = since_1970().as_secs();
    }

    /// What fails here costs no message as long as the server keeps what it has: it is said, and the next record has it all.
    fn remember(&mut self) {
        self.record.epoch = self.sender.epoch;
        let put = if self.state.has_grown() { self.state.replace(&self.record) } else { self.state.put(&self.record) };
        self.trouble.with_state(put);
    }

    fn position(&self) -> String {
        format!("{} {}", self.open.identity, self.open.absolute(|_| self.sub.cursor()))
    }

    /// Once in a life: says who we are, and hears where the last one was.
    async fn begin(&mut self) -> Result<()> {
        let claim =
            |record: &Record| Claim { epoch: record.epoch, number: record.number, position: record.position.clone() };
        let stream = &self.options.stream;
        let mut begun = self.backend.begin(stream, &self.record.origin, &claim(&self.record)).await?;
        let ring_of = |position: &str| position.split(' ').next().unwrap_or_default().to_owned();
        let other = ring_of(&begun.position);
        // A ring that never had this state file sends in our name: the file was copied, with a host's image for instance. The two
        // would shut each other out, and each would send all of its ring each time. So we go on where we were, in a new name.
        let is_copied = begun.known && !other.is_empty() && !self.record.rings.contains(&other);
        // The server has forgotten a silent origin, and so have readers: in a new name they count nothing as lost.
        let is_forgotten = !begun.known
            && self.record.number > 0
            && since_1970().as_secs().saturating_sub(self.record.seen) > self.options.idle.as_secs() / 2;
        if is_copied || is_forgotten {
            let new = new_origin(self.options);
            if is_copied {
                warn!(
                    "another ring ({other}) sends as '{}': the state file {} was copied; this one is '{new}' from now on",
                    self.record.origin,
                    self.options.state.display()
                );
            } else {
                info!(
                    "the server has forgotten '{}', which was silent; this one is '{new}' from now on",
                    self.record.origin
                );
            }
            let record = Record {
                origin: new,
                epoch: 0,
                number: 0,
                rings: vec![self.open.identity.clone()],
                ..self.record.clone()
            };
            // First, since it may fail: then all this comes again.
            self.state.put(&record).map_err(|error| Failure::Refused(error.to_string()))?;
            self.record = record;
            begun = self.backend.begin(stream, &self.record.origin, &claim(&self.record)).await?;
        }
        // Numbers are not used twice, and what was answered was answered.
        if begun.number < self.record.number {
            warn!(
                "the server has lost the last {} messages that it had acknowledged",
                self.record.number - begun.number
            );
            begun.number = self.record.number;
            begun.position.clone_from(&self.record.position);
        } else if !begun.known && self.record.number > 0 {
            warn!("the server does not remember us");
        }
        self.sender.origin.clone_from(&self.record.origin);
        self.sender.epoch = begun.epoch;
        self.record.number = begun.number;
        self.record.position.clone_from(&begun.position);
        self.number = begun.number;
        self.pending.clear();
        // What was lost in batches without an answer will be found lost again.
        self.losses.total.clone_from(&self.record.lost);
        self.reason = "restart";
        self.seek(&begun.position);
        self.overflow = self.sub.overflow_count();
        self.has_begun = true;
        self.all_is_well();
        info!("connected: ring {}, stream {} at {}", self.options.ring.path.display(), stream, self.options.server);
        self.remember();
        self.say_how_it_is();
        Ok(())
    }

    /// To where the ring was read by the last process.
    fn seek(&mut self, position: &str) {
        let Some((ring, absolute)) = position.split_once(' ') else { return };
        let absolute: Option<u64> = absolute.parse().ok();
        match absolute {
            Some(absolute) if ring == self.open.identity && absolute <= self.open.absolute(|ring| ring.write_pos()) => {
                self.open.seek(&mut self.sub, absolute);
            }
            _ => {
                self.sub.reset_oldest();
                // One that was removed may have been read to its end.
                if ring != self.record.drained {
                    self.losses.count("replaced", 0);
                    self.owed = Some("replaced");
                }
            }
        }
    }

    /// The next messages of the ring, with their numbers, and how many they are, if there are any; and whether the ring has no
    /// more.
    fn take_batch(&mut self) -> (Option<(Batch, u64)>, bool) {
        let greatest = self.backend.batch_bytes();
        let mut packer = Packer::new(self.options.pack, ENTRY_BYTES.min(greatest / 4));
        if let Some(reason) = self.owed.take() {
            packer.gap(reason, 0);
        }
        let most = (self.options.batch as u64 * self.options.pack).min(BATCH_MESSAGES);
        let bytes = BATCH_BYTES.min(greatest);
        let before = self.filtered;
        let mut messages = 0;
        let mut is_empty = false;
        // Those that a filter leaves out are bounded, too, so that other tasks have their turn.
        while messages < most && packer.bytes() < bytes && self.filtered - before < most {
            let taken = if self.open.variant == Variant::Str {
                self.take_str(&mut packer, greatest)
            } else {
                self.take_int(&mut packer)
            };
            match taken {
                Taken::Message => messages += 1,
                Taken::Nothing => {}
                Taken::Full => break,
                Taken::Empty => {
                    is_empty = true;
                    break;
                }
            }
            self.reason = "overrun";
        }
        self.note_gap(&mut packer);
        let entries = packer.take();
        if entries.is_empty() {
            return (None, is_empty);
        }
        let batch = Batch { first: self.number + 1, entries, position: self.position() };
        self.number = batch.last();
        (Some((batch, messages)), is_empty)
    }

    /// What the subscriber has lost since the last look lies before what it found now.
    fn note_gap(&mut self, packer: &mut Packer) {
        let lost = self.sub.overflow_count() - self.overflow;
        if lost > 0 {
            packer.gap(self.reason, lost);
            self.losses.count(self.reason, lost);
            self.overflow += lost;
        }
    }

    fn take_int(&mut self, packer: &mut Packer) -> Taken {
        let value = self.sub.poll_int().ok().flatten();
        self.note_gap(packer);
        match value {
            Some(value) => {
                packer.int(value);
                Taken::Message
            }
            None => Taken::Empty,
        }
    }

    fn take_str(&mut self, packer: &mut Packer, greatest: usize) -> Taken {
        let Some(found) = self.sub.find(u64::MAX).ok().flatten() else { return Taken::Empty };
        self.note_gap(packer);
        let (len, utf8) = (found.len(), found.utf8());
        if packer.entries() > 0 && packer.bytes() + len + 4 > greatest {
            return Taken::Full;
        }
        self.scratch.clear();
        self.scratch.reserve(len + 8);
        // SAFETY: just found, and there is room for the length rounded up to 8; a copy that was whole has written `len` bytes.
        unsafe {
            if !self.sub.copy(&found, self.scratch.as_mut_ptr()) {
                return Taken::Nothing;
            }
            self.scratch.set_len(len);
        }
        if !self.options.prefixes.is_empty()
            && !self.options.prefixes.iter().any(|prefix| self.scratch.starts_with(prefix))
        {
            self.filtered += 1;
            return Taken::Nothing;
        }
        if len + 4 > greatest {
            packer.gap("rejected", 1);
            self.losses.count("rejected", 1);
            return Taken::Nothing;
        }
        packer.str(&self.scratch, utf8);
        Taken::Message
    }

    /// Each second. True: the ring's file is gone, or is another one.
    async fn tick(&mut self) -> Result<bool> {
        self.losses.say();
        self.say_how_it_is();
        if let Some(file) = self.state.due() {
            tokio::task::spawn_blocking(move || file.sync_data());
        }
        let is_ageing = self.options.limits.age.is_some() && self.trimmed.elapsed() >= TRIM_EACH;
        if is_ageing || self.is_untrimmed {
            self.trim().await?;
        }
        if self.tended.elapsed() >= TEND_EACH {
            self.tended = Instant::now();
            let forgotten = self.backend.tend(&self.sender, self.options.idle).await?;
            if forgotten > 0 {
                info!("{forgotten} origins were forgotten that had been silent for long");
            }
            self.record.seen = since_1970().as_secs();
            self.remember();
        }
        Ok(self.trouble.is_ring_gone(&self.open, &self.options.ring))
    }

    async fn trim(&mut self) -> Result<()> {
        self.trimmed = Instant::now();
        self.is_untrimmed = false;
        let each = if self.entries > 0 { self.messages as f64 / self.entries as f64 } else { 1.0 };
        if self.options.limits == Limits::default() {
            return Ok(());
        }
        self.backend.trim(&self.options.stream, &self.options.limits, each.max(1.0)).await
    }

    fn say_how_it_is(&mut self) {
        let mut status = self.control.status();
        self.trouble.show(&mut status, self.backend.health(), self.has_begun);
        status.lost.clone_from(&self.losses.total);
        status.filtered = self.filtered;
        status.lag = Some(self.sub.lag());
        status.in_flight = Some(self.pending.len() as u64);
        status.origin = Some(self.record.origin.clone());
        status.epoch = Some(self.sender.epoch);
        status.number = Some(self.record.number);
    }
}

/// What became of one look into the ring.
enum Taken {
    Message,
    /// One that is not sent, or was overwritten.
    Nothing,
    /// It is for the next batch.
    Full,
    Empty,
}

/// What became of an attempt to fill the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Looked {
    /// It is full, or there is no room in memory.
    NotNow,
    MayBeMore,
    /// The bell will ring.
    Empty,
}

/// An end that is on its way: up to where the ring is read.
struct Ending {
    how: End,
    position: u64,
    until: Instant,
}

impl Ending {
    /// At what the ring holds now, but no later than that.
    fn new(how: End, open: &Open, until: Instant) -> Ending {
        Ending { how, position: open.ring.write_pos(), until }
    }

    fn is_reached(&self, sub: &Subscriber) -> bool {
        sub.cursor() >= self.position || Instant::now() > self.until
    }
}

fn new_origin(options: &Options) -> String {
    let name = options.ring.path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let name: String = name.chars().filter(|c| !c.is_whitespace() && !matches!(c, '#' | '/')).take(64).collect();
    let random = (crate::direction::random_fraction() * f64::from(u32::MAX)) as u32;
    format!("{}/{name}-{random:08x}", options.host)
}
