//! The direction up: from a ring to the stream.
//!
//! The ring is the buffer. A batch is read from it only if few enough are in flight, and is kept until the server has
//! acknowledged it. If the connection is lost, or the server refuses a batch, all batches without an acknowledgement are sent
//! again with the same numbers. The server skips messages that it already has, and refuses batches after a hole that a refused
//! batch has left. With each batch it stores the position up to which the ring was read. So the next process continues exactly
//! there, in a new epoch in which batches of this process are not accepted any more.

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

/// The configuration of a direction up.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// The ring.
    pub ring: RingFile,
    /// The stream.
    pub stream: String,
    /// The server, for the lock that prevents two bridges from sending one ring twice.
    pub server: String,
    /// The name of this host, for a new origin.
    pub host: String,
    /// The state file.
    pub state: PathBuf,
    /// Whether a new origin starts with messages that are published from now on, and not with those that the ring holds.
    pub from_now: bool,
    /// The maximum number of messages in an entry.
    pub pack: u64,
    /// The maximum number of entries in a batch.
    pub batch: usize,
    /// Only messages that begin with one of these prefixes are sent; all, if it is empty.
    pub prefixes: Vec<Vec<u8>>,
    /// How much the stream keeps.
    pub limits: Limits,
    /// After this time without a message, an origin may be removed from the server.
    pub idle: Duration,
}

/// The maximum size of a batch in bytes, unless one message is longer.
const BATCH_BYTES: usize = 256 << 10;
/// The size of an entry in bytes after which no message is added.
const ENTRY_BYTES: usize = 64 << 10;
/// The maximum number of messages in a batch.
const BATCH_MESSAGES: u64 = 8192;
/// How many identities of earlier rings are kept in the state file.
const RINGS: usize = 8;
/// The interval in which an idle origin reports that it is alive, and the stream is maintained.
const TEND_EACH: Duration = Duration::from_secs(3600);
/// The interval in which an idle origin trims the stream.
const TRIM_EACH: Duration = Duration::from_secs(10);

/// A record of the state file, of which the last one counts.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Record {
    origin: String,
    epoch: u64,
    /// The last number that was acknowledged, and the position after it.
    number: u64,
    position: String,
    lost: Lost,
    /// The identities of the last rings with this state file; the present one is the last.
    rings: Vec<String>,
    /// The identity of a removed ring that was read to its end.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    drained: String,
    /// When the server last heard of the origin, in seconds since 1970.
    #[serde(default)]
    seen: u64,
}

/// A batch in flight.
struct Pending {
    batch: Arc<Batch>,
    messages: u64,
    /// The counts after it.
    lost: Lost,
    _permit: Option<OwnedSemaphorePermit>,
}

type Answer = Pin<Box<dyn Future<Output = Result<()>> + Send>>;

/// How a session ended without a failure.
enum End {
    /// It was told to end.
    Stopped,
    /// The ring's file was removed or replaced.
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
    /// The number of the last message that was read from the ring.
    number: u64,
    pending: VecDeque<Pending>,
    losses: Losses,
    /// The subscriber's losses that are already in an entry.
    overflow: u64,
    /// The reason for losses from now on.
    reason: &'static str,
    /// A gap to send before the next message.
    owed: Option<&'static str>,
    filtered: u64,
    scratch: Vec<u8>,
    trouble: Trouble,
    ticks: Ticks,
    farewell: Option<Instant>,
    entries: u64,
    messages: u64,
    trimmed: Instant,
    /// Whether something was appended since.
    is_untrimmed: bool,
    tended: Instant,
}

/// Sends until it is to end. Returns whether all messages that were read from the ring were acknowledged.
///
/// # Errors
/// A problem with its ring or its state file, without which it cannot work. It may be called again after a pause.
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
        // Before the server gets the name: a process that restarted with another name would send everything twice.
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

    /// Runs until it is told to end, or the ring was removed. Failures of the server are logged, and requests are repeated.
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
                        // If it fails, it is tried again in a second.
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

    /// The deadline for sending the last messages, once it is to end.
    fn farewell(&mut self) -> Instant {
        *self.farewell.get_or_insert_with(|| Instant::now() + self.control.farewell)
    }

    /// Waits for the connection. Returns false if it is to end while the server is down.
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

    /// Ends while the server is down.
    fn leave(&mut self) -> End {
        let unsent = self.sub.lag() + self.pending.iter().map(|pending| pending.messages).sum::<u64>();
        let why = if self.has_begun { "" } else { "the server was never reached; " };
        info!("{why}{unsent} messages stay in the ring");
        self.state.sync();
        End::Stopped
    }

    /// Notes a failure in status and log. Returns how long to wait before the next attempt.
    fn failed(&mut self, failure: &Failure) -> Duration {
        if matches!(failure, Failure::Hole) {
            // It is a consequence of another failure, which was logged.
            return Duration::from_millis(1);
        }
        let mut pause = self.trouble.with_server(failure);
        if matches!(failure, Failure::Fenced) {
            // The next session begins a new epoch, and so would fence that instance in turn.
            self.has_begun = false;
            pause = pause.max(Duration::from_secs(1));
        }
        self.say_how_it_is();
        pause
    }

    /// Runs as long as one connection lasts.
    async fn session(&mut self) -> Result<End> {
        if !self.has_begun {
            self.begin().await?;
        }
        let mut answers: FuturesOrdered<Answer> = FuturesOrdered::new();
        // Sends batches without an answer again, as many at once as before.
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
                // Also polls futures that were just added, which sends them.
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

    /// Reads a batch from the ring, if there is one, and sends it.
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
            // From now on, losses are not due to an absent bridge.
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

    /// Handles an answer. Answers arrive in the order of the batches. After a refusal the later answers are ignored, and all
    /// batches are sent again.
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
            // Answers that have arrived already share one record.
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

    /// Writes the state file. If that fails, it is logged, and the next record contains everything. No message is lost as long as
    /// the server keeps its data.
    fn remember(&mut self) {
        self.record.epoch = self.sender.epoch;
        let put = if self.state.has_grown() { self.state.replace(&self.record) } else { self.state.put(&self.record) };
        self.trouble.with_state(put);
    }

    fn position(&self) -> String {
        format!("{} {}", self.open.identity, self.open.absolute(|_| self.sub.cursor()))
    }

    /// Begins an epoch, once in a session, and learns up to where the last sender came.
    async fn begin(&mut self) -> Result<()> {
        let claim =
            |record: &Record| Claim { epoch: record.epoch, number: record.number, position: record.position.clone() };
        let stream = &self.options.stream;
        let mut begun = self.backend.begin(stream, &self.record.origin, &claim(&self.record)).await?;
        let ring_of = |position: &str| position.split(' ').next().unwrap_or_default().to_owned();
        let other = ring_of(&begun.position);
        // A ring that never had this state file has sent in our name: the file was copied, for instance with a host's image. The
        // two would fence each other, and each would send its whole ring each time. So this one continues with a new name.
        let is_copied = begun.known && !other.is_empty() && !self.record.rings.contains(&other);
        // The server has removed an idle origin, and so have readers. With a new name, they do not count losses.
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
            // This comes first, because if it fails all of this is repeated.
            self.state.put(&record).map_err(|error| Failure::Refused(error.to_string()))?;
            self.record = record;
            begun = self.backend.begin(stream, &self.record.origin, &claim(&self.record)).await?;
        }
        // Numbers are not reused, and acknowledged messages stay acknowledged.
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
        // Losses in batches without an answer will be found again.
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

    /// Moves to the position up to which the last process read the ring.
    fn seek(&mut self, position: &str) {
        let Some((ring, absolute)) = position.split_once(' ') else { return };
        let absolute: Option<u64> = absolute.parse().ok();
        match absolute {
            Some(absolute) if ring == self.open.identity && absolute <= self.open.absolute(|ring| ring.write_pos()) => {
                self.open.seek(&mut self.sub, absolute);
            }
            _ => {
                self.sub.reset_oldest();
                // A removed ring may have been read to its end.
                if ring != self.record.drained {
                    self.losses.count("replaced", 0);
                    self.owed = Some("replaced");
                }
            }
        }
    }

    /// Reads the next messages of the ring. Returns them as a batch with their number, if there are any, and whether the ring has
    /// no more.
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
        // The number of rejected messages is limited, too, so that other tasks can run.
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

    /// Losses of the subscriber since the last look come before the message that it has found now.
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
        // SAFETY: just found, and there is room for the length rounded up to 8; a successful copy has written `len` bytes.
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

    /// Is called each second. Returns whether the ring's file was removed or replaced.
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

/// The result of one look into the ring.
enum Taken {
    Message,
    /// The message is not sent, or was overwritten.
    Nothing,
    /// It belongs to the next batch.
    Full,
    Empty,
}

/// The result of an attempt to fill the window of batches in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Looked {
    /// It is full, or the limit for memory is reached.
    NotNow,
    MayBeMore,
    /// The ring has no messages; the bell will ring.
    Empty,
}

/// A shutdown in progress: the position up to which the ring is read.
struct Ending {
    how: End,
    position: u64,
    until: Instant,
}

impl Ending {
    /// After the messages that the ring holds now, and at this deadline at the latest.
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
