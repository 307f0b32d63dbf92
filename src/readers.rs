//! The table of readers: who follows a ring, where each stands, and what it lost.
//!
//! A subscriber takes an entry when there is one, and is the only one who writes it from then on: its position as it moves
//! (not with each message, see [`crate::subscriber`]), its losses. Others only read the entry, to list readers or, in a
//! lossless ring ([`crate::lossless`]), to see what may be overwritten.
//!
//! ```text
//!   FREE     --- take: compare-exchange --->  JOINING   it has no position yet: publishers claim nothing further meanwhile
//!   JOINING  --- name, position         --->  HERE      before the name is whole, NAMED is not set
//!   HERE     --- a seek backwards       --->  JOINING
//!   HERE     --- the subscriber goes    --->  FREE, or AWAY where it has a name
//!   AWAY     --- subscribe by that name --->  JOINING   and goes on at the entry's position
//! ```
//!
//! A killed process leaves its entries as they are. The owner word names it by the number of a lock that the kernel gives
//! up at its death (see [`crate::member`]); where there are no such locks, the entry tells pid, namespace and start. Whoever needs
//! room, lists the table or waits for an entry's reader does the last step for one that is surely dead. Every take-over is a
//! compare-exchange of the owner word as it was seen, which has a generation, so it succeeds once. (LMDB's table of readers
//! is of the same kind.)
//!
//! Two that want the same name at once write it into entries of their own and then look for it in all others: one of them at
//! least sees the other and leaves; where both do, they try again.

use std::ptr::NonNull;

use crate::error::{Error, ErrorKind, Result};
use crate::fault::fault_point;
use crate::layout::Header;
use crate::member::{generation, Inheritance, Members};
use crate::process::{self, Process};
use crate::sync::Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst};
use crate::sync::{fence, AtomicU64, Line};
use crate::time::{nap, wall_ns};

/// An entry. Its owner alone writes it, but for `owner` and `left`.
#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct Entry {
    /// Generation << 32 | member << 8 | flags | state.
    owner: AtomicU64,
    /// The next position that the reader will read; [`NOWHERE`] before it has one.
    position: AtomicU64,
    lost: AtomicU64,
    delivered: AtomicU64,
    /// Lower bits of the owner's generation << 33 | whether it sleeps << 32 | pid. Written after the next two.
    pid: AtomicU64,
    started: AtomicU64,
    namespace: AtomicU64,
    /// The thread that reads, as its process numbers them; 0: not known.
    thread: AtomicU64,
    /// When it subscribed, in nanoseconds since 1970.
    since: AtomicU64,
    /// When it went away, likewise.
    left: AtomicU64,
    /// UTF-8, filled up with zeros, one at least; means nothing unless the owner word says NAMED.
    name: [AtomicU64; NAME_WORDS],
}

const _: () = assert!(std::mem::size_of::<Entry>() == 128);

impl Entry {
    /// What is wrong with the entry: no reader leaves it so. `end`: the write position, or a later one.
    pub(crate) fn problem(&self, end: u64, lossless: bool) -> Option<String> {
        self.problem_of(self.owner.load(Acquire), end, lossless)
    }

    fn problem_of(&self, word: u64, end: u64, lossless: bool) -> Option<String> {
        let is = |what: &str| Some(what.to_owned());
        let (state, name) = (state(word), Name::of(self));
        let is_unknown = member(word) == 0;
        let position = self.position.load(Acquire);
        match state {
            FREE if word != freed(word) => is("is nobody's, and says whose it is"),
            FREE => None,
            _ if word & UNUSED != 0 => Some(format!("has the owner {:#x}", word)),
            AWAY if word & NAMED == 0 => is("is away, and has no name"),
            _ if word & NAMED != 0 && !name.is_text() => is("has a name that is not 1 to 47 bytes of UTF-8"),
            HERE | JOINING if is_unknown && lossless && word & LOSSY == 0 => {
                is("is one that publishers could not tell dead")
            }
            JOINING if !is_unknown => None,
            // Who died before it said who it is may be AWAY.
            HERE | JOINING if pid_of(self, word).is_none() => is("has the pid of an earlier one"),
            // A reader may wait for a message ahead, but not for one that never comes.
            HERE | AWAY if position >= 1 << 63 && position > end => {
                Some(format!("stands at {}, and the write position is {}", position, end))
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
/// The entry has a name, which stays when the reader goes.
const NAMED: u64 = 8;
const MEMBER_AT: u32 = 8;
const GENERATION_AT: u32 = 32;
const SLEEPS: u64 = 1 << 32;
const STAMP_AT: u32 = 33;
/// The position of a reader that has none yet.
const NOWHERE: u64 = u64::MAX;

const NAME_WORDS: usize = 6;
/// The longest name of a reader in bytes.
pub(crate) const MAX_NAME: usize = NAME_WORDS * 8 - 1;
/// Entries that are soon looked through.
const FEW: u32 = 64;
/// Times that somebody else may want a name in the same moment.
const TRIES: u32 = 1000;

fn state(word: u64) -> u64 {
    word & STATE
}

fn member(word: u64) -> u32 {
    (word >> MEMBER_AT) as u32 & 0xffff
}

/// The owner word of an entry that is nobody's any more.
fn freed(word: u64) -> u64 {
    word >> GENERATION_AT << GENERATION_AT | FREE
}

/// What stands beside the pid of the owner with this word, so that it is not taken for that of the one before.
fn stamp(word: u64) -> u64 {
    word >> GENERATION_AT << STAMP_AT
}

/// The pid of the owner with this word; None: it has not said so yet.
fn pid_of(entry: &Entry, word: u64) -> Option<u32> {
    // Acquire: what else there is about the process was written before.
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

/// A reader's name, as it is in its entry.
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

/// A reader of a ring, as its table knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reader {
    /// Its name, where it has one.
    pub name: Option<String>,
    /// Its process, or that of the last one with this name, as its own pid namespace numbers them.
    pub pid: u32,
    /// The next position that it will read, counted from the last clear. A reader says so when it has found the ring empty,
    /// before it sleeps, and after an eighth of the capacity; named ones and those of lossless rings with each call.
    pub position: u64,
    /// Messages published and, as far as it has said, not yet read.
    pub lag: u64,
    /// Messages that were overwritten before it read them, those since it last said where it stands included.
    pub lost: u64,
    /// Messages that it got.
    pub delivered: u64,
    /// Whether it sleeps until a message comes.
    pub waits: bool,
    /// Whether publishers of a lossless ring overwrite what it has not read.
    pub lossy: bool,
    /// Whether its process lives and reads; false for a named one that is away; None where nobody can know.
    pub alive: Option<bool>,
    /// When it subscribed, in nanoseconds since 1970.
    pub since: u64,
}

/// What a subscriber wants of the table.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Wanted {
    pub(crate) name: Option<Name>,
    pub(crate) lossy: bool,
    /// The thread that will read, as [`process::thread`] says; 0: not known yet.
    pub(crate) thread: u64,
}

/// An entry that is a subscriber's.
#[derive(Debug)]
pub(crate) struct Seat {
    index: u32,
    /// The owner word while it is HERE.
    owner: u64,
    /// Of the process; a forked child has another one.
    generation: u32,
    /// What the entry's earlier readers of this name had lost and got.
    before: [u64; 2],
    /// Publishers keep messages from this position on: the reader may have gone back behind it.
    kept_from: u64,
    pub(crate) wanted: Wanted,
}

impl Seat {
    /// Whether the calling process took it, and not the one that it was forked from.
    #[inline(always)]
    pub(crate) fn is_ours(&self) -> bool {
        self.generation == generation()
    }

    /// The owner word while it is JOINING.
    fn joining(&self) -> u64 {
        self.owner & !STATE | JOINING
    }
}

/// Why there is no entry.
#[derive(Debug)]
pub(crate) enum Refused {
    /// The table has no room.
    Full,
    /// A reader with this name lives, or may live: its pid.
    Held(u32),
    /// Publishers of this lossless ring could not tell whether the reader lives.
    Unknowable,
}

/// The table of one ring. Copying copies the pointers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Readers {
    header: NonNull<Header>,
    entries: NonNull<Line<Entry>>,
    count: u32,
    pub(crate) capacity: u64,
    /// For how long publishers wait for a named reader that is away.
    keep_ns: u64,
    pub(crate) lossless: bool,
}

// SAFETY: all that the pointers lead to is atomic.
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
        // SAFETY: below the count (the callers see to that), valid by the contract of `new`.
        unsafe { &(*self.entries.as_ptr().add(index as usize)).0 }
    }

    /// Whether the table is soon looked through.
    pub(crate) fn are_few(&self) -> bool {
        // Relaxed: a hint.
        self.header().limit.used.load(Relaxed) <= FEW
    }

    /// The entries that may be in use.
    fn used(&self) -> impl Iterator<Item = (u32, &Entry)> {
        // Acquire: an entry counts from before its reader joins.
        let used = self.header().limit.used.load(Acquire).min(self.count);
        (0..used).map(move |index| (index, self.entry(index)))
    }

    /// The number of the calling process among the ring's readers, which it gets now if it has none; 0: none.
    fn number(&self, members: &Members) -> u32 {
        loop {
            if let Some(number) = members.number() {
                return number;
            }
            // Who has had this number before, or any, is dead.
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

    /// Takes an entry. It is JOINING: [`arrive`](Self::arrive) comes next. With it, the position at which an earlier reader of
    /// this name stopped.
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
            // SeqCst: meets that of another that wants this name; one of us sees the other's.
            fence(SeqCst);
            if self.find(name, seat.index).is_none() {
                return Ok((seat, None));
            }
            self.release(self.entry(seat.index), seat.joining());
            nap(&mut naps, u64::MAX);
        }
        Err(Refused::Held(0))
    }

    /// The entry with this name, but for `but`.
    fn find(&self, name: Name, but: u32) -> Option<(u32, u64)> {
        let in_use = |(index, entry): (u32, &Entry)| loop {
            let word = entry.owner.load(Acquire);
            if index == but || state(word) == FREE || word & NAMED == 0 || Name::of(entry) != name {
                return None;
            }
            // Acquire: before the second look, which says that the name was this owner's.
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
                    // Before it joins, so that whoever looks for room looks here, too.
                    self.header().limit.used.fetch_max(index + 1, AcqRel);
                    if let Some(name) = wanted.name {
                        name.put(entry);
                        fault_point!("name-written");
                        let nameless = seat.joining();
                        seat.owner |= NAMED;
                        // Release: the name comes before.
                        if entry.owner.compare_exchange(nameless, seat.joining(), Release, Relaxed).is_err() {
                            continue; // somebody scribbled on it
                        }
                    }
                    return Ok(seat);
                }
            }
            // All are in use; those of the dead are not.
            self.header().limit.used.fetch_max(self.count, AcqRel);
            self.release_dead(members);
        }
        Err(Refused::Full)
    }

    /// Takes the entry from whoever had it, if its owner word is still that one.
    fn seize(&self, index: u32, word: u64, wanted: Wanted, number: u32) -> Option<Seat> {
        // Of 31 bits, as there is room for beside the pid.
        let generation_of_entry = (word >> GENERATION_AT).wrapping_add(1) << STAMP_AT >> 1;
        let named = if state(word) == FREE { 0 } else { word & NAMED };
        let flags = named | if wanted.lossy { LOSSY } else { 0 };
        let owner = generation_of_entry | u64::from(number) << MEMBER_AT | flags;
        let entry = self.entry(index);
        // AcqRel: what the last owner wrote comes before, and what we write after.
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

    /// The reader stands somewhere now: where `start` says, given the smallest position that publishers surely keep.
    pub(crate) fn arrive(&self, seat: &mut Seat, start: impl FnOnce(u64) -> u64) -> u64 {
        let entry = self.entry(seat.index);
        // From here on nobody raises the limit without this entry: see `lossless`.
        let floor = if self.lossless { self.enter() } else { 0 };
        fault_point!("joining");
        let position = start(floor);
        // The position after the limit was read: a publisher that still takes the entry for one that is HERE, and this position
        // for its own, finds the limit's epoch changed.
        seat.kept_from = floor;
        entry.position.store(position.max(floor), Release);
        // Release: the position and all else come first. It fails where somebody took it for dead, or scribbled on it: the first
        // report will see that.
        let _ = entry.owner.compare_exchange(seat.joining(), seat.owner, Release, Relaxed);
        position
    }

    /// The reader goes back to `position`, as if it joined.
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

    /// Says where the reader stands. False: somebody scribbled on the entry, or took it for that of a dead process.
    #[inline]
    pub(crate) fn report(&self, seat: &Seat, position: u64, lost: u64, delivered: u64) -> bool {
        if !self.is_owned(seat) {
            return false;
        }
        let entry = self.entry(seat.index);
        entry.lost.store(seat.before[0].wrapping_add(lost), Relaxed);
        entry.delivered.store(seat.before[1].wrapping_add(delivered), Relaxed);
        // Release: what was read was read before it may be overwritten.
        entry.position.store(position.max(seat.kept_from), Release);
        true
    }

    /// For tools: whether the reader sleeps, and in which thread it reads.
    pub(crate) fn say(&self, seat: &Seat, sleeps: bool, thread: u64) {
        let entry = self.entry(seat.index);
        let pid = entry.pid.load(Relaxed) & !SLEEPS;
        entry.pid.store(pid | if sleeps { SLEEPS } else { 0 }, Relaxed);
        if thread != 0 {
            entry.thread.store(thread, Relaxed);
        }
    }

    /// The subscriber goes; a named one keeps its place.
    pub(crate) fn leave(&self, seat: &Seat) {
        if self.is_owned(seat) {
            self.release(self.entry(seat.index), seat.owner);
        }
        self.wake_publishers();
    }

    /// The reader is gone: of an entry that is HERE or JOINING with this owner word.
    fn release(&self, entry: &Entry, word: u64) -> bool {
        // A name that was never anywhere is as if nobody had wanted it.
        let keeps_place = word & NAMED != 0 && entry.position.load(Relaxed) != NOWHERE;
        let to = if keeps_place { word & !STATE | AWAY } else { freed(word) };
        entry.left.store(wall_ns(), Relaxed);
        fault_point!("leaving");
        // Release: to who takes it next.
        entry.owner.compare_exchange(word, to, AcqRel, Relaxed).is_ok()
    }

    /// Somebody scribbled on the owner word of this seat: what says that it is this process's, which nobody would move any more.
    pub(crate) fn give_up(&self, seat: &Seat) {
        let owner = &self.entry(seat.index).owner;
        let word = owner.load(Relaxed);
        if word != seat.owner && word >> GENERATION_AT == seat.owner >> GENERATION_AT {
            let _ = owner.compare_exchange(word, freed(word), AcqRel, Relaxed);
        }
    }

    /// Releases the entries of readers that are gone.
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

    /// Releases the entries of processes that are surely dead, and those that somebody scribbled on.
    pub(crate) fn release_dead(&self, members: &Members) {
        self.release_all(|word, entry| self.is_alive(entry, word, members) == Some(false));
        let end = self.header().write_pos.load(SeqCst);
        for (_, entry) in self.used() {
            let word = entry.owner.load(Acquire);
            if state(word) != FREE && entry.problem_of(word, end, self.lossless).is_some() {
                // Whose it was, if anybody's, will notice.
                let _ = entry.owner.compare_exchange(word, freed(word), AcqRel, Relaxed);
            }
        }
    }

    #[inline]
    pub(crate) fn wake_publishers(&self) {
        if self.lossless {
            // SeqCst: after the position, or the owner word; meets `prepare_wait`.
            fence(SeqCst);
            self.header().room.wake_sleepers();
        }
    }

    /// Whether the process of an entry that is HERE or JOINING lives.
    fn is_alive(&self, entry: &Entry, word: u64, members: &Members) -> Option<bool> {
        if member(word) != 0 {
            if let Some(alive) = members.is_alive(member(word)) {
                return Some(alive);
            }
        }
        process::is_alive(&process_of(entry, word)?)
    }

    /// The position from which on publishers must keep messages for this entry, if they must. `floor`: where the limit stands,
    /// which nobody's position is below.
    fn needs(&self, entry: &Entry, floor: u64, now: &mut Option<u64>) -> Option<u64> {
        let word = entry.owner.load(Acquire);
        match state(word) {
            _ if word & LOSSY != 0 => return None,
            // Scribbles: in a lossless ring nobody comes without a number, nor in any before it has said who it is.
            HERE | JOINING if member(word) == 0 && self.lossless => return None,
            HERE if pid_of(entry, word).is_none() => return None,
            HERE => {}
            JOINING => return Some(floor),
            AWAY if self.keep_ns != 0 => {
                let now = *now.get_or_insert_with(wall_ns);
                let left = entry.left.load(Relaxed);
                if left > now {
                    // Somebody set the clock back: it is kept from now on.
                    let _ = entry.left.compare_exchange(left, now, Relaxed, Relaxed);
                }
                if now.saturating_sub(left) >= self.keep_ns {
                    return None;
                }
            }
            _ => return None,
        }
        // A position below the floor is none: somebody scribbled on the entry.
        Some(entry.position.load(Acquire).max(self.header().base())).filter(|position| *position >= floor)
    }

    /// The smallest position that publishers must keep; at most `most`.
    pub(crate) fn smallest_needed(&self, floor: u64, most: u64) -> u64 {
        let mut now = None;
        self.used().filter_map(|(_, entry)| self.needs(entry, floor, &mut now)).fold(most, u64::min)
    }

    /// What keeps readers' positions below `least`.
    pub(crate) fn hold_up(&self, floor: u64, least: u64, mut visit: impl FnMut(Held<'_>)) {
        let mut now = None;
        for (index, entry) in self.used() {
            let word = entry.owner.load(Acquire);
            if self.needs(entry, floor, &mut now).map_or(false, |position| position < least) {
                visit(Held { readers: self, index, entry, word });
            }
        }
    }

    /// The readers, in no order. Entries of the dead are released where that can be done.
    pub(crate) fn list(&self, members: &Members, read_only: bool) -> Vec<Reader> {
        if !read_only {
            self.release_dead(members);
        }
        self.used().filter_map(|(index, _)| self.describe(index, members)).collect()
    }

    /// What an entry says, if it is in use.
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
            // What it has not noticed yet, or never will.
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
            // Acquire: before the second look.
            fence(Acquire);
            if entry.owner.load(Relaxed) == word {
                return Some(reader);
            }
        }
    }

    /// Removes the entry with this name, whose reader is away or dead. Whether there was one.
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
    /// Whether the calling thread is the one that must read.
    pub(crate) fn is_this_thread(&self) -> bool {
        state(self.word) == HERE
            && self.entry.thread.load(Relaxed) == process::thread()
            && process_of(self.entry, self.word) == Some(process::this())
    }

    /// Whether it cannot read any more, as far as `unknown` does not decide it.
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
