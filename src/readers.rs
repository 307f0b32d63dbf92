//! The table of readers: the subscribers of a ring, their positions, and their losses.
//!
//! A subscriber takes an entry if one is free, and from then on only that subscriber writes it: its position as it moves (not with
//! each message, see [`crate::subscriber`]) and its losses. Other processes only read the entry, to list readers or, in a lossless
//! ring ([`crate::lossless`]), to see which messages may be overwritten.
//!
//! ```text
//!   FREE     --- take: compare-exchange --->  JOINING   no position yet: until it has one, publishers do not raise the limit
//!   JOINING  --- name, position         --->  HERE      NAMED is set after the whole name was written
//!   HERE     --- a seek backwards       --->  JOINING
//!   HERE     --- the subscriber leaves  --->  FREE, or AWAY if it has a name
//!   AWAY     --- subscribe by that name --->  JOINING   continues at the entry's position
//! ```
//!
//! A killed process leaves its entries as they are. The owner word holds the process's member number: the number of a lock that
//! the kernel releases when the process exits (see [`crate::member`]). Without such locks, pid, pid namespace and start time in the
//! entry identify the process. A process that needs an entry, lists the table or waits for an entry's reader releases the entries
//! of processes that have surely exited. Every take-over is a compare-exchange of the owner word, which contains a generation, so
//! exactly one process succeeds. (LMDB's table of readers is of the same kind.)
//!
//! Two subscribers that want the same name at the same time each write it into an entry of their own and then search all other
//! entries for it. At least one of them sees the other and leaves; if both do, they try again.

use std::ptr::NonNull;

use crate::error::{Error, ErrorKind, Result};
use crate::fault::fault_point;
use crate::layout::Header;
use crate::member::{generation, Inheritance, Members};
use crate::process::{self, Process};
use crate::sync::Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst};
use crate::sync::{fence, AtomicU64, Line};
use crate::time::{nap, wall_ns};

/// An entry. Only its owner writes it, except `owner` and `left`.
#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct Entry {
    /// `generation << 32 | member << 8 | flags | state`.
    owner: AtomicU64,
    /// The next position that the reader will read; [`NOWHERE`] until it has one.
    position: AtomicU64,
    lost: AtomicU64,
    delivered: AtomicU64,
    /// Lower bits of the owner's generation `<< 33`, whether it sleeps `<< 32`, and its pid. Written after the next two fields.
    pid: AtomicU64,
    started: AtomicU64,
    namespace: AtomicU64,
    /// The process's number for the thread that reads; 0 if it is not known.
    thread: AtomicU64,
    /// When it subscribed, in nanoseconds since 1970.
    since: AtomicU64,
    /// When it left, in nanoseconds since 1970.
    left: AtomicU64,
    /// UTF-8, padded with at least one zero byte. Valid only if NAMED is set in the owner word.
    name: [AtomicU64; NAME_WORDS],
}

const _: () = assert!(std::mem::size_of::<Entry>() == 128);

impl Entry {
    /// Returns the corruption found in the entry, a state that no reader leaves it in, or `None`. `end` is the write position or a
    /// later one.
    pub(crate) fn problem(&self, end: u64, lossless: bool) -> Option<String> {
        self.problem_of(self.owner.load(Acquire), end, lossless)
    }

    fn problem_of(&self, word: u64, end: u64, lossless: bool) -> Option<String> {
        let is = |what: &str| Some(what.to_owned());
        let (state, name) = (state(word), Name::of(self));
        let is_unknown = member(word) == 0;
        let position = self.position.load(Acquire);
        match state {
            FREE if word != freed(word) => is("is free, and names an owner"),
            FREE => None,
            _ if word & UNUSED != 0 => Some(format!("has the owner {:#x}", word)),
            AWAY if word & NAMED == 0 => is("is away, and has no name"),
            _ if word & NAMED != 0 && !name.is_text() => is("has a name that is not 1 to 47 bytes of UTF-8"),
            HERE | JOINING if is_unknown && lossless && word & LOSSY == 0 => {
                is("has no lock, so publishers could not tell whether it is alive")
            }
            JOINING if !is_unknown => None,
            // A process that exited before it wrote its pid may have left an AWAY entry.
            HERE | JOINING if pid_of(self, word).is_none() => is("has the pid of an earlier reader"),
            // A reader may wait for a later position, but not for one that is never reached.
            HERE | AWAY if position >= 1 << 63 && position > end => {
                Some(format!("is at position {}, and the write position is {}", position, end))
            }
            _ => None,
        }
    }
}

const FREE: u64 = 0;
const JOINING: u64 = 1;
const HERE: u64 = 2;
const AWAY: u64 = 3;
const STATE: u64 = 3;
/// Bits of the owner word that are always 0.
const UNUSED: u64 = 0xf0 | 0xff << 24 | 1 << 63;
/// Publishers do not wait for this reader.
const LOSSY: u64 = 4;
/// The entry has a name, which it keeps after the reader has left.
const NAMED: u64 = 8;
const MEMBER_AT: u32 = 8;
const GENERATION_AT: u32 = 32;
const SLEEPS: u64 = 1 << 32;
const STAMP_AT: u32 = 33;
/// The position of a reader that does not have one yet.
const NOWHERE: u64 = u64::MAX;

const NAME_WORDS: usize = 6;
/// Maximum length of a reader's name in bytes.
pub(crate) const MAX_NAME: usize = NAME_WORDS * 8 - 1;
/// A table with at most this number of used entries is scanned quickly.
const FEW: u32 = 64;
/// Maximum number of attempts to take a name while other subscribers want it at the same time.
const TRIES: u32 = 1000;

fn state(word: u64) -> u64 {
    word & STATE
}

fn member(word: u64) -> u32 {
    (word >> MEMBER_AT) as u32 & 0xffff
}

/// The owner word of the entry after it is released.
fn freed(word: u64) -> u64 {
    word >> GENERATION_AT << GENERATION_AT | FREE
}

/// The stamp stored beside the owner's pid. It shows that the pid is not that of an earlier owner.
fn stamp(word: u64) -> u64 {
    word >> GENERATION_AT << STAMP_AT
}

/// The pid of the owner with this word; `None` if the owner has not written it yet.
fn pid_of(entry: &Entry, word: u64) -> Option<u32> {
    // Acquire: `started` and `namespace` were written before. Meets the Release in `seize`.
    let pid = entry.pid.load(Acquire);
    let is_its = word >> 63 == 0 && pid >> STAMP_AT << STAMP_AT == stamp(word);
    Some(pid as u32).filter(|process| *process != 0 && is_its)
}

fn process_of(entry: &Entry, word: u64) -> Option<Process> {
    pid_of(entry, word).map(|pid| Process {
        pid,
        started: entry.started.load(Relaxed),
        namespace: entry.namespace.load(Relaxed),
    })
}

/// A reader's name, as it is stored in its entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Name([u64; NAME_WORDS]);

impl Name {
    pub(crate) fn new(text: &str) -> Result<Name> {
        let refused = |why: String| Err(Error::new(ErrorKind::Argument, why));
        if text.is_empty() || text.len() > MAX_NAME {
            return refused(format!("name must be 1 to {} bytes of UTF-8, not {}", MAX_NAME, text.len()));
        }
        if text.bytes().any(|byte| byte == 0) {
            return refused("name contains a NUL byte".to_owned());
        }
        let mut words = [[0; 8]; NAME_WORDS];
        words.iter_mut().flatten().zip(text.bytes()).for_each(|(to, from)| *to = from);
        Ok(Name(words.map(u64::from_ne_bytes)))
    }

    pub(crate) fn text(self) -> Option<String> {
        let bytes = self.0.map(u64::to_ne_bytes).concat();
        let len = bytes.iter().position(|byte| *byte == 0).unwrap_or(MAX_NAME);
        match len {
            0 => None,
            _ => Some(String::from_utf8_lossy(&bytes[..len]).into_owned()),
        }
    }

    fn is_text(self) -> bool {
        let bytes = self.0.map(u64::to_ne_bytes).concat();
        let len = bytes.iter().position(|byte| *byte == 0).unwrap_or(0);
        len != 0 && bytes[len..].iter().all(|byte| *byte == 0) && std::str::from_utf8(&bytes[..len]).is_ok()
    }

    fn of(entry: &Entry) -> Name {
        let mut words = [0; NAME_WORDS];
        words.iter_mut().zip(&entry.name).for_each(|(to, from)| *to = from.load(Relaxed));
        Name(words)
    }

    fn put(self, entry: &Entry) {
        entry.name.iter().zip(self.0).for_each(|(to, from)| to.store(from, Relaxed));
    }
}

/// A reader of a ring, as the table of readers lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reader {
    /// The reader's name, if it has one.
    pub name: Option<String>,
    /// The pid of its process, in that process's pid namespace. For a named reader that is away, the pid of its last process.
    pub pid: u32,
    /// The next position that it will read, counted from the last clear. A reader reports its position when it has found the ring
    /// empty, before it sleeps, and after an eighth of the capacity; a named reader, or one of a lossless ring, with each call.
    pub position: u64,
    /// Number of messages published after the position that it last reported.
    pub lag: u64,
    /// Number of messages that were overwritten before it read them, including those since its last report.
    pub lost: u64,
    /// Number of messages delivered to it.
    pub delivered: u64,
    /// Whether it sleeps until a message arrives.
    pub waits: bool,
    /// Whether publishers of a lossless ring may overwrite messages that it has not read.
    pub lossy: bool,
    /// Whether its process is alive and reads; false for a named reader that is away; `None` if that cannot be known.
    pub alive: Option<bool>,
    /// When it subscribed, in nanoseconds since 1970.
    pub since: u64,
}

/// A subscriber's request for an entry.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Wanted {
    pub(crate) name: Option<Name>,
    pub(crate) lossy: bool,
    /// The thread that will read, as [`process::thread`] numbers it; 0 if it is not known yet.
    pub(crate) thread: u64,
}

/// A subscriber's entry.
#[derive(Debug)]
pub(crate) struct Seat {
    index: u32,
    /// The owner word while the entry is HERE.
    owner: u64,
    /// The generation of the process that took the entry; a forked child has another one.
    generation: u32,
    /// The counts of lost and delivered messages of earlier readers with this name.
    before: [u64; 2],
    /// Publishers keep messages from this position on. The reader may be before it, after a seek backwards.
    kept_from: u64,
    pub(crate) wanted: Wanted,
}

impl Seat {
    /// Whether the calling process took the entry, and not a process that it was forked from.
    #[inline(always)]
    pub(crate) fn is_ours(&self) -> bool {
        self.generation == generation()
    }

    /// The owner word while the entry is JOINING.
    fn joining(&self) -> u64 {
        self.owner & !STATE | JOINING
    }
}

/// Why a subscriber gets no entry.
#[derive(Debug)]
pub(crate) enum Refused {
    /// The table has no free entry.
    Full,
    /// A reader with this name is alive, or may be; its pid.
    Held(u32),
    /// Publishers of this lossless ring could not tell whether the reader is alive.
    Unknowable,
}

/// The table of one ring. Copying copies the pointers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Readers {
    header: NonNull<Header>,
    entries: NonNull<Line<Entry>>,
    count: u32,
    pub(crate) capacity: u64,
    /// How long publishers wait for a named reader that is away, in nanoseconds.
    keep_ns: u64,
    pub(crate) lossless: bool,
}

// SAFETY: the pointers lead to atomic words only.
unsafe impl Send for Readers {}
// SAFETY: as above.
unsafe impl Sync for Readers {}

impl Readers {
    /// # Safety
    /// `header`, and `count` entries at `entries`, must stay valid for as long as any copy of the result is used.
    pub(crate) unsafe fn new(
        header: NonNull<Header>,
        entries: NonNull<Line<Entry>>,
        geometry: &crate::layout::Geometry,
    ) -> Self {
        let crate::layout::Geometry { readers, capacity, lossless, keep_ms, .. } = *geometry;
        Readers { header, entries, count: readers as u32, capacity, keep_ns: u64::from(keep_ms) * 1_000_000, lossless }
    }

    #[inline(always)]
    pub(crate) fn header(&self) -> &Header {
        // SAFETY: valid by the contract of `new`.
        unsafe { self.header.as_ref() }
    }

    fn entry(&self, index: u32) -> &Entry {
        debug_assert!(index < self.count);
        // SAFETY: callers pass an index below the count; valid by the contract of `new`.
        unsafe { &(*self.entries.as_ptr().add(index as usize)).0 }
    }

    /// Whether a scan of the table is quick.
    pub(crate) fn are_few(&self) -> bool {
        // Relaxed: a hint.
        self.header().limit.used.load(Relaxed) <= FEW
    }

    /// The entries that may be in use.
    fn used(&self) -> impl Iterator<Item = (u32, &Entry)> {
        // Acquire: an entry is counted in `used` before its reader joins.
        let used = self.header().limit.used.load(Acquire).min(self.count);
        (0..used).map(move |index| (index, self.entry(index)))
    }

    /// The calling process's member number among the ring's readers. It gets one now if it has none; 0 if none is available.
    fn number(&self, members: &Members) -> u32 {
        loop {
            if let Some(number) = members.number() {
                return number;
            }
            // Earlier owners of this number, or of all numbers, have exited.
            let clear_up = |what| match what {
                Inheritance::Of(number) => self.release_all(|word, _| member(word) == number),
                Inheritance::All { .. } => self.release_all(|word, _| member(word) != 0),
                Inheritance::Unregistered => {}
            };
            if let Ok(number) = members.join(clear_up) {
                return number;
            }
        }
    }

    /// Takes an entry, and returns it with the position at which an earlier reader of this name stopped. The entry is JOINING; the
    /// caller must call [`arrive`](Self::arrive) next.
    pub(crate) fn take(&self, wanted: Wanted, members: &Members) -> std::result::Result<(Seat, Option<u64>), Refused> {
        if self.count == 0 {
            return Err(Refused::Full);
        }
        let number = self.number(members);
        if number == 0 && self.lossless && !wanted.lossy {
            return Err(Refused::Unknowable);
        }
        let name = match wanted.name {
            None => return self.take_free(wanted, number, members).map(|seat| (seat, None)),
            Some(name) => name,
        };
        let mut naps = 0;
        for _ in 0..TRIES {
            if let Some((index, word)) = self.find(name, self.count) {
                let entry = self.entry(index);
                if state(word) != AWAY && self.is_alive(entry, word, members) != Some(false) {
                    return Err(Refused::Held(entry.pid.load(Relaxed) as u32));
                }
                if let Some(seat) = self.seize(index, word, wanted, number) {
                    let position = Some(entry.position.load(Acquire)).filter(|position| *position != NOWHERE);
                    let before = [&entry.lost, &entry.delivered].map(|count| count.load(Relaxed));
                    return Ok((Seat { before, ..seat }, position));
                }
                continue;
            }
            let seat = self.take_free(wanted, number, members)?;
            fault_point!("named");
            // SeqCst: meets the same fence of another subscriber that wants this name. At least one of the two sees the other's
            // entry.
            fence(SeqCst);
            if self.find(name, seat.index).is_none() {
                return Ok((seat, None));
            }
            self.release(self.entry(seat.index), seat.joining());
            nap(&mut naps, u64::MAX);
        }
        Err(Refused::Held(0))
    }

    /// Finds the entry with this name, except the entry with index `but`. Returns its index and owner word.
    fn find(&self, name: Name, but: u32) -> Option<(u32, u64)> {
        let in_use = |(index, entry): (u32, &Entry)| loop {
            let word = entry.owner.load(Acquire);
            if index == but || state(word) == FREE || word & NAMED == 0 || Name::of(entry) != name {
                return None;
            }
            // Acquire: before the second load of the owner word, which shows that the name was this owner's.
            fence(Acquire);
            if entry.owner.load(Relaxed) == word {
                return Some((index, word));
            }
        };
        self.used().find_map(in_use)
    }

    fn take_free(&self, wanted: Wanted, number: u32, members: &Members) -> std::result::Result<Seat, Refused> {
        for _ in 0..2 {
            for index in 0..self.count {
                let entry = self.entry(index);
                let word = entry.owner.load(Relaxed);
                if state(word) != FREE {
                    continue;
                }
                if let Some(mut seat) = self.seize(index, word, wanted, number) {
                    [&entry.lost, &entry.delivered].iter().for_each(|count| count.store(0, Relaxed));
                    entry.position.store(NOWHERE, Relaxed);
                    // Before the reader joins, so that publishers that look for room scan this entry too.
                    self.header().limit.used.fetch_max(index + 1, AcqRel);
                    if let Some(name) = wanted.name {
                        name.put(entry);
                        fault_point!("name-written");
                        let nameless = seat.joining();
                        seat.owner |= NAMED;
                        // Release: after the name.
                        if entry.owner.compare_exchange(nameless, seat.joining(), Release, Relaxed).is_err() {
                            continue; // another process corrupted the owner word
                        }
                    }
                    return Ok(seat);
                }
            }
            // No entry is free: release those of exited processes, and try once more.
            self.header().limit.used.fetch_max(self.count, AcqRel);
            self.release_dead(members);
        }
        Err(Refused::Full)
    }

    /// Takes the entry from its last owner, if its owner word is still `word`.
    fn seize(&self, index: u32, word: u64, wanted: Wanted, number: u32) -> Option<Seat> {
        // 31 bits, the number that fits beside the pid.
        let generation_of_entry = (word >> GENERATION_AT).wrapping_add(1) << STAMP_AT >> 1;
        let named = if state(word) == FREE { 0 } else { word & NAMED };
        let flags = named | if wanted.lossy { LOSSY } else { 0 };
        let owner = generation_of_entry | u64::from(number) << MEMBER_AT | flags;
        let entry = self.entry(index);
        // AcqRel: after the last owner's writes, and before ours.
        entry.owner.compare_exchange(word, owner | JOINING, AcqRel, Relaxed).ok()?;
        fault_point!("seat-taken");
        let process = process::this();
        entry.started.store(process.started, Relaxed);
        entry.namespace.store(process.namespace, Relaxed);
        entry.pid.store(stamp(owner) | u64::from(process.pid), Release);
        entry.thread.store(wanted.thread, Relaxed);
        entry.since.store(wall_ns(), Relaxed);
        Some(Seat { index, owner: owner | HERE, generation: generation(), before: [0; 2], kept_from: 0, wanted })
    }

    /// Gives the entry its position: the result of `start`, called with the smallest position that publishers surely keep. Returns
    /// that position.
    pub(crate) fn arrive(&self, seat: &mut Seat, start: impl FnOnce(u64) -> u64) -> u64 {
        let entry = self.entry(seat.index);
        // From here on no publisher raises the limit without this entry: see `lossless`.
        let floor = if self.lossless { self.enter() } else { 0 };
        fault_point!("joining");
        let position = start(floor);
        // The position is written after the limit was read: a publisher that still takes the entry for HERE, with this position,
        // finds that the limit's epoch has changed.
        seat.kept_from = floor;
        entry.position.store(position.max(floor), Release);
        // Release: after the position and all other fields. It fails if another process released the entry or corrupted it: the
        // first report notices that.
        let _ = entry.owner.compare_exchange(seat.joining(), seat.owner, Release, Relaxed);
        position
    }

    /// Moves the reader back to `position`, as if it joined again.
    pub(crate) fn go_back(&self, seat: &mut Seat, position: u64) {
        let joins = |owner: &AtomicU64| owner.compare_exchange(seat.owner, seat.joining(), SeqCst, Relaxed).is_ok();
        if self.lossless && joins(&self.entry(seat.index).owner) {
            self.arrive(seat, |_| position);
        }
    }

    #[inline(always)]
    pub(crate) fn is_owned(&self, seat: &Seat) -> bool {
        self.entry(seat.index).owner.load(Relaxed) == seat.owner
    }

    /// Reports the reader's position and counts. Returns false if another process corrupted the entry, or released it as that of an
    /// exited process.
    #[inline]
    pub(crate) fn report(&self, seat: &Seat, position: u64, lost: u64, delivered: u64) -> bool {
        if !self.is_owned(seat) {
            return false;
        }
        let entry = self.entry(seat.index);
        entry.lost.store(seat.before[0].wrapping_add(lost), Relaxed);
        entry.delivered.store(seat.before[1].wrapping_add(delivered), Relaxed);
        // Release: the messages before the position were read before publishers may overwrite them.
        entry.position.store(position.max(seat.kept_from), Release);
        true
    }

    /// Stores whether the reader sleeps and, unless `thread` is 0, the thread in which it reads.
    pub(crate) fn say(&self, seat: &Seat, sleeps: bool, thread: u64) {
        let entry = self.entry(seat.index);
        let pid = entry.pid.load(Relaxed) & !SLEEPS;
        entry.pid.store(pid | if sleeps { SLEEPS } else { 0 }, Relaxed);
        if thread != 0 {
            entry.thread.store(thread, Relaxed);
        }
    }

    /// The subscriber leaves. The entry of a named one keeps its position.
    pub(crate) fn leave(&self, seat: &Seat) {
        if self.is_owned(seat) {
            self.release(self.entry(seat.index), seat.owner);
        }
        self.wake_publishers();
    }

    /// Releases an entry that is HERE or JOINING with this owner word: it becomes AWAY if it is named, and FREE otherwise. Returns
    /// false if the owner word has changed.
    fn release(&self, entry: &Entry, word: u64) -> bool {
        // A named entry that never had a position becomes FREE.
        let keeps_place = word & NAMED != 0 && entry.position.load(Relaxed) != NOWHERE;
        let to = if keeps_place { word & !STATE | AWAY } else { freed(word) };
        entry.left.store(wall_ns(), Relaxed);
        fault_point!("leaving");
        // Release: before the writes of the next owner. Meets the Acquire in `seize`.
        entry.owner.compare_exchange(word, to, AcqRel, Relaxed).is_ok()
    }

    /// Frees this process's own entry after another process corrupted its owner word, if the generation is still its own:
    /// otherwise the entry would stay in use, and its position would never move.
    pub(crate) fn give_up(&self, seat: &Seat) {
        let owner = &self.entry(seat.index).owner;
        let word = owner.load(Relaxed);
        if word != seat.owner && word >> GENERATION_AT == seat.owner >> GENERATION_AT {
            let _ = owner.compare_exchange(word, freed(word), AcqRel, Relaxed);
        }
    }

    /// Releases the entries for which `is_gone` returns true.
    fn release_all(&self, is_gone: impl Fn(u64, &Entry) -> bool) {
        let mut any = false;
        for (_, entry) in self.used() {
            let word = entry.owner.load(Acquire);
            if matches!(state(word), HERE | JOINING) && is_gone(word, entry) {
                any |= self.release(entry, word);
            }
        }
        if any {
            self.wake_publishers();
        }
    }

    /// Releases the entries of processes that have surely exited, and corrupt entries.
    pub(crate) fn release_dead(&self, members: &Members) {
        self.release_all(|word, entry| self.is_alive(entry, word, members) == Some(false));
        let end = self.header().write_pos.load(SeqCst);
        for (_, entry) in self.used() {
            let word = entry.owner.load(Acquire);
            if state(word) != FREE && entry.problem_of(word, end, self.lossless).is_some() {
                // Its owner, if there is one, notices at its next report.
                let _ = entry.owner.compare_exchange(word, freed(word), AcqRel, Relaxed);
            }
        }
    }

    #[inline]
    pub(crate) fn wake_publishers(&self) {
        if self.lossless {
            // SeqCst: after the store of the position or the owner word; meets `prepare_wait`.
            fence(SeqCst);
            self.header().room.wake_sleepers();
        }
    }

    /// Whether the process of an entry that is HERE or JOINING is alive; `None` if that cannot be known.
    fn is_alive(&self, entry: &Entry, word: u64, members: &Members) -> Option<bool> {
        if member(word) != 0 {
            if let Some(alive) = members.is_alive(member(word)) {
                return Some(alive);
            }
        }
        process::is_alive(&process_of(entry, word)?)
    }

    /// The position from which on publishers must keep messages for this entry; `None` if they do not wait for it. No valid
    /// position is below `floor`.
    fn needs(&self, entry: &Entry, floor: u64, now: &mut Option<u64>) -> Option<u64> {
        let word = entry.owner.load(Acquire);
        match state(word) {
            _ if word & LOSSY != 0 => return None,
            // Corruption: in a lossless ring every reader that publishers wait for has a member number, and in any ring a reader
            // writes its pid before it is HERE.
            HERE | JOINING if member(word) == 0 && self.lossless => return None,
            HERE if pid_of(entry, word).is_none() => return None,
            HERE => {}
            JOINING => return Some(floor),
            AWAY if self.keep_ns != 0 => {
                let now = *now.get_or_insert_with(wall_ns);
                let left = entry.left.load(Relaxed);
                if left > now {
                    // The clock was set back: the time starts now.
                    let _ = entry.left.compare_exchange(left, now, Relaxed, Relaxed);
                }
                if now.saturating_sub(left) >= self.keep_ns {
                    return None;
                }
            }
            _ => return None,
        }
        // A position below the floor is corruption.
        Some(entry.position.load(Acquire).max(self.header().base())).filter(|position| *position >= floor)
    }

    /// The smallest position that publishers must keep, at most `most`.
    pub(crate) fn smallest_needed(&self, floor: u64, most: u64) -> u64 {
        let mut now = None;
        self.used().filter_map(|(_, entry)| self.needs(entry, floor, &mut now)).fold(most, u64::min)
    }

    /// Calls `visit` for each reader that publishers wait for and whose position is below `least`.
    pub(crate) fn hold_up(&self, floor: u64, least: u64, mut visit: impl FnMut(Held<'_>)) {
        let mut now = None;
        for (index, entry) in self.used() {
            let word = entry.owner.load(Acquire);
            if self.needs(entry, floor, &mut now).map_or(false, |position| position < least) {
                visit(Held { readers: self, index, entry, word });
            }
        }
    }

    /// Lists the readers, in no particular order. Entries of exited processes are released, unless the handle is read-only.
    pub(crate) fn list(&self, members: &Members, read_only: bool) -> Vec<Reader> {
        if !read_only {
            self.release_dead(members);
        }
        self.used().filter_map(|(index, _)| self.describe(index, members)).collect()
    }

    /// Describes the reader of an entry; `None` if the entry is not in use.
    fn describe(&self, index: u32, members: &Members) -> Option<Reader> {
        let entry = self.entry(index);
        let header = self.header();
        loop {
            let word = entry.owner.load(Acquire);
            let pid = pid_of(entry, word);
            if state(word) == FREE || state(word) == JOINING && pid.is_none() {
                return None;
            }
            let alive = if state(word) == AWAY { Some(false) } else { self.is_alive(entry, word, members) };
            let sleeps = entry.pid.load(Relaxed) & SLEEPS != 0;
            let end = header.write_pos.load(Acquire);
            let position = match entry.position.load(Relaxed) {
                NOWHERE => end,
                position => position.max(header.base()),
            };
            // Lost messages that the reader has not noticed yet.
            let missed = header.oldest(end, self.capacity).saturating_sub(position);
            let reader = Reader {
                name: if word & NAMED == 0 { None } else { Name::of(entry).text() },
                pid: pid.unwrap_or(0),
                position: position.saturating_sub(header.base()),
                lag: end.saturating_sub(position),
                lost: entry.lost.load(Relaxed).saturating_add(missed),
                delivered: entry.delivered.load(Relaxed),
                waits: sleeps && alive != Some(false),
                lossy: word & LOSSY != 0,
                alive,
                since: entry.since.load(Relaxed),
            };
            // Acquire: before the second load of the owner word.
            fence(Acquire);
            if entry.owner.load(Relaxed) == word {
                return Some(reader);
            }
        }
    }

    /// Removes the entry with this name. Its reader must be away or have exited. Returns whether there was such an entry.
    pub(crate) fn forget(&self, name: Name, members: &Members) -> std::result::Result<bool, Refused> {
        while let Some((index, word)) = self.find(name, self.count) {
            let entry = self.entry(index);
            if state(word) != AWAY && self.is_alive(entry, word, members) != Some(false) {
                return Err(Refused::Held(entry.pid.load(Relaxed) as u32));
            }
            if entry.owner.compare_exchange(word, freed(word), AcqRel, Relaxed).is_ok() {
                self.wake_publishers();
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// A reader that publishers wait for.
pub(crate) struct Held<'a> {
    readers: &'a Readers,
    index: u32,
    entry: &'a Entry,
    word: u64,
}

impl Held<'_> {
    /// Whether the calling thread is the thread that must read.
    pub(crate) fn is_this_thread(&self) -> bool {
        state(self.word) == HERE
            && self.entry.thread.load(Relaxed) == process::thread()
            && process_of(self.entry, self.word) == Some(process::this())
    }

    /// Whether the reader's process has exited; `unknown` is the answer if that cannot be known.
    pub(crate) fn is_dead(&self, members: &Members, unknown: bool) -> bool {
        matches!(state(self.word), HERE | JOINING)
            && !self.readers.is_alive(self.entry, self.word, members).unwrap_or(!unknown)
    }

    pub(crate) fn release(&self) {
        self.readers.release(self.entry, self.word);
    }

    pub(crate) fn describe(&self, members: &Members) -> Option<Reader> {
        self.readers.describe(self.index, members)
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
