//! Whether a ring's file is sound, looked at from outside as in [`crate::inspect`].
//!
//! A problem is what no sequence of calls, deaths and restarts leaves behind; a note is what one may want to know. The ring
//! may be in use. So the write position is read after the slots (whatever stands in them was claimed before), what looks wrong
//! counts only if it looks the same a moment later, and where blocks are is judged only if nobody published meanwhile.

use std::collections::HashSet;
use std::fs::File;
use std::path::Path;
use std::ptr::NonNull;
use std::time::Duration;

use crate::error::Result;
use crate::file_lock::Bytes;
use crate::inspect::{Excerpt, Inspection, Opened, Shared};
use crate::slot_ring::Fate;
use crate::layout::{Geometry, Header, Variant, HEADER_LEN};
use crate::slot::{NarrowSlot, Slot, Stamped, WideSlot, VOID};
use crate::spare::{Ledger, Bits, Content, Spare, Spares};
use crate::str_ring::{len_of, named};
use crate::sync::{
    AtomicU64, Line,
    Ordering::{Acquire, Relaxed},
};

/// Slots read at a time.
const CHUNK: u64 = 4096;
/// As many chunks are looked at where nobody asks for all.
const MAX_CHUNKS: u64 = 256;
/// Problems that are told.
const MAX_PROBLEMS: usize = 20;
/// No Linux has more threads.
const MAX_THREADS: u32 = 1 << 22;
/// What looks wrong must look the same after this time.
const MOMENT: Duration = Duration::from_millis(10);
/// How often to look for a moment in which nobody publishes.
const TRIES: u32 = 5;

/// What was found.
#[derive(Clone, Debug)]
pub struct Report {
    /// The file.
    pub inspection: Inspection,
    /// Slots that were looked at; None where there is no ring to look at.
    pub checked: Option<u64>,
    /// What is wrong.
    pub problems: Vec<String>,
    /// What one may want to know.
    pub notes: Vec<String>,
}

/// Looks at the file at `path` and its slots: a part of them where there are more than a million, unless `all` says otherwise.
///
/// # Errors
/// As [`inspect`](crate::inspect); and where the file is truncated meanwhile.
pub fn check(path: &Path, all: bool) -> Result<Report> {
    let opened = Opened::new(path)?;
    let mut report = Report {
        problems: opened.inspection.reason.iter().cloned().collect(),
        notes: Vec::new(),
        checked: None,
        inspection: opened.inspection,
    };
    if let Some(geometry) = &opened.geometry {
        let view = View { file: &opened.file, geometry };
        view.header(&opened.page, &mut report)?;
        disk_space(&mut report);
        if report.inspection.end < 1 << 63 {
            let chunks = chunks(geometry, report.inspection.end, all);
            report.checked = Some(chunks.iter().map(|chunk| view.chunk_len(*chunk)).sum());
            match geometry.variant {
                Variant::Int => view.slots::<WideSlot>(&chunks, &mut report)?,
                Variant::Int32 | Variant::Int16 => view.slots::<NarrowSlot>(&chunks, &mut report)?,
                Variant::Str => {
                    view.slots::<NarrowSlot>(&chunks, &mut report)?;
                    view.blocks(&chunks, &mut report)?;
                    view.the_dead(&mut report)?;
                }
            }
        }
    }
    if report.problems.len() > MAX_PROBLEMS {
        report.problems.truncate(MAX_PROBLEMS);
        report.problems.push("... and more".to_owned());
    }
    Ok(report)
}

/// Chunks of slots to look at, in order.
fn chunks(geometry: &Geometry, end: u64, all: bool) -> Vec<u64> {
    let last = (geometry.capacity - 1) / CHUNK;
    if all || last < MAX_CHUNKS {
        return (0..=last).collect();
    }
    // Where things happen now, and others evenly spread.
    let here = end % geometry.capacity / CHUNK;
    let before = here.checked_sub(1).unwrap_or(last);
    let spread = MAX_CHUNKS - 3;
    let mut some: Vec<u64> = (0..=spread).map(|i| i * last / spread).chain([here, before]).collect();
    some.sort_unstable();
    some.dedup();
    some
}

/// On a full disk, publishing into a hole is SIGBUS.
fn disk_space(report: &mut Report) {
    let file = &report.inspection.file;
    // Memory without a name has none until it is used, and needs none before.
    if file.allocated < file.size && !file.by_descriptor {
        report.notes.push(format!(
            "{} of {} bytes have no disk space (holes, or compressed); opening the ring for publishing reserves what is missing",
            file.size - file.allocated,
            file.size
        ));
    }
}

/// Something about a slot, which must look the same twice.
#[derive(PartialEq, Eq, Hash)]
struct Finding {
    slot: u64,
    tag: u64,
    value: u64,
    lap: u64,
    /// None: claimed, and not filled.
    problem: Option<String>,
}

struct View<'a> {
    file: &'a File,
    geometry: &'a Geometry,
}

impl View<'_> {
    // --- The header

    fn header(&self, page: &Excerpt, report: &mut Report) -> Result<()> {
        let header = page.header();
        let mut rest = page.bytes().to_vec();
        header.used().iter().for_each(|(at, len)| rest[*at..at + len].fill(0));
        let mut problem = |text: String| report.problems.push(text);
        if let Some(at) = rest.iter().position(|byte| *byte != 0) {
            problem(format!("byte {} of the header is unused, and is not 0", at));
        }
        let end = header.write_pos.load(Acquire);
        if end >= 1 << 63 {
            problem(format!("the write position is {}, more than can have been published", end));
        }
        // The header was read front to back: a clear meanwhile makes neither of these two true.
        let base = header.clear.base.load(Acquire);
        if base > end && base > self.end()? {
            problem(format!("the position of the last clear is {}, beyond the write position {}", base, end));
        }
        // Relaxed: statistics, of which the later ones were read later.
        let (gone, gone_then) = (header.events.abandoned.load(Relaxed), header.clear.abandoned.load(Relaxed));
        if gone_then > gone {
            problem(format!("{} positions were abandoned, and {} at the last clear", gone, gone_then));
        }
        let sleepers = header.wake.sleepers();
        if sleepers > MAX_THREADS {
            problem(format!("{} subscribers sleep, more than a host can have threads", sleepers));
        }
        let [recoveries, leaked, unregistered] =
            [&header.events.recoveries, &header.events.leaked, &header.events.unregistered].map(|n| n.load(Relaxed));
        if self.geometry.variant != Variant::Str && (recoveries, leaked, unregistered) != (0, 0, 0) {
            problem("counters of blocks are not 0, and rings of integers have no blocks".to_owned());
        }
        if unregistered > 1 {
            problem(format!("the mark of unregistered publishers is {}", unregistered));
        }
        if self.geometry.variant == Variant::Str && leaked > 0 {
            let text = "spare blocks that leaked, until a process publishes while no other has the ring open for it";
            report.notes.push(format!("{}: {}", text, leaked));
        }
        Ok(())
    }

    /// The header now.
    fn now(&self) -> Result<Excerpt> {
        Excerpt::whole(self.file, 0, std::mem::size_of::<Header>())
    }

    /// The write position now.
    fn end(&self) -> Result<u64> {
        Ok(self.now()?.header().write_pos.load(Acquire))
    }

    // --- The slots

    fn chunk_len(&self, chunk: u64) -> u64 {
        CHUNK.min(self.geometry.capacity - chunk * CHUNK)
    }

    fn read_slots<S>(&self, from: u64, count: u64) -> Result<Excerpt> {
        let each = std::mem::size_of::<S>() as u64;
        Excerpt::whole(self.file, self.geometry.slots_at + from * each, (count * each) as usize)
    }

    fn slots<S: Slot + Shared>(&self, chunks: &[u64], report: &mut Report) -> Result<()> {
        let mut unfilled = 0;
        for chunk in chunks {
            let first = self.chunk::<S>(*chunk)?;
            if first.is_empty() {
                continue;
            }
            std::thread::sleep(MOMENT);
            let again: HashSet<Finding> = self.chunk::<S>(*chunk)?.into_iter().collect();
            for finding in first.into_iter().filter(|finding| again.contains(finding)) {
                match finding.problem {
                    Some(text) => report.problems.push(format!("slot {} {}", finding.slot, text)),
                    None => unfilled += 1,
                }
            }
            if report.problems.len() > MAX_PROBLEMS {
                break;
            }
        }
        if unfilled > 0 {
            report.notes.push(format!("claimed, but not filled: {} of the positions held", unfilled));
        }
        Ok(())
    }

    fn chunk<S: Slot + Shared>(&self, chunk: u64) -> Result<Vec<Finding>> {
        let (from, capacity) = (chunk * CHUNK, self.geometry.capacity);
        let copy = self.read_slots::<S>(from, self.chunk_len(chunk))?;
        let end = self.end()?;
        let mut found = Vec::new();
        for (slot, Stamped { tag, value }) in (from..).zip(copy.all::<S>().iter().map(Slot::load)) {
            // Slots below the end's were claimed in this lap, the others in the lap before: - 1 where there was none.
            let lap = (end / capacity).wrapping_sub(u64::from(slot >= end % capacity));
            let mut add = |problem| found.push(Finding { slot, tag, value, lap, problem });
            if let Some(problem) = self.value_problem(slot, value)? {
                add(Some(problem));
            }
            let newest = S::tag(lap);
            match S::compare(newest, tag) {
                0 => {}
                // Given up; but not in a lap that there was not.
                -1 if lap != u64::MAX => {}
                age if age < 0 || lap == u64::MAX => add(Some("is of a lap that has not begun".to_owned())),
                // After 2^30 laps or more, a narrow tag has been everything.
                _ if tag == VOID && lap < 1 << 30 => add(Some("is of no lap".to_owned())),
                _ => add(None),
            }
        }
        Ok(found)
    }

    /// Why no slot of this index can have the value.
    fn value_problem(&self, slot: u64, value: u64) -> Result<Option<String>> {
        match self.geometry.variant {
            Variant::Int16 if value as u32 as i32 != (value as u16 as i16).into() => {
                Ok(Some(format!("value {} has more than 16 bits", value)))
            }
            Variant::Str => {
                let block = named(value, slot);
                if block >= self.block_count() {
                    return Ok(Some(format!("names block {}, and there are {}", block, self.block_count())));
                }
                let at = self.geometry.arena_at + block * self.geometry.block_len();
                let first = Excerpt::whole(self.file, at, 8)?.all::<AtomicU64>()[0].load(Relaxed);
                if len_of(first) > self.geometry.msg_size {
                    return Ok(Some(format!("has a message of {} bytes in block {}", len_of(first), block)));
                }
                Ok(None)
            }
            _ => Ok(None),
        }
    }

    // --- Blocks of strings

    fn block_count(&self) -> u64 {
        self.geometry.capacity + self.geometry.publishers
    }

    fn read_spares(&self) -> Result<Excerpt> {
        let len = self.geometry.publishers as usize * std::mem::size_of::<Line<Spare>>();
        Excerpt::whole(self.file, HEADER_LEN, len)
    }

    /// `spares`, as the rings see them.
    fn with_spares<T>(&self, copy: &Excerpt, use_of: impl FnOnce(&Spares) -> T) -> T {
        let entries = copy.all::<Line<Spare>>();
        // SAFETY: as many entries as are borrowed for the call; `Spares` is not kept, and only looked at.
        use_of(&unsafe { Spares::new(NonNull::from(&entries[0]), entries.len() as u32, self.geometry.capacity) })
    }

    /// Each block is named by one slot or by one spare, but for those that leaked.
    fn blocks(&self, chunks: &[u64], report: &mut Report) -> Result<()> {
        for _ in 0..TRIES {
            let before = self.moment()?;
            let mut seen = Seen { bits: Bits::new(self.block_count()), count: 0, problems: Vec::new() };
            for chunk in chunks {
                let from = chunk * CHUNK;
                let copy = self.read_slots::<NarrowSlot>(from, self.chunk_len(*chunk))?;
                for (slot, stamped) in (from..).zip(copy.all::<NarrowSlot>().iter().map(Slot::load)) {
                    let block = named(stamped.value, slot);
                    if block < self.block_count() {
                        seen.name(block, "slot", slot);
                    }
                }
            }
            let whole = report.checked == Some(self.geometry.capacity) && report.problems.is_empty();
            self.name_spares(&before, &mut seen, whole);
            // Whoever published has claimed a position meanwhile, has changed its entry, or has exchanged its slot.
            if self.moment()? == before {
                report.problems.append(&mut seen.problems);
                return Ok(());
            }
            std::thread::sleep(MOMENT);
        }
        Ok(())
    }

    fn moment(&self) -> Result<Moment> {
        let (page, spares) = (self.now()?, self.read_spares()?);
        // Relaxed: of a copy.
        let (end, leaked) = (page.header().write_pos.load(Acquire), page.header().events.leaked.load(Relaxed));
        let contents = self.with_spares(&spares, |spares| {
            (0..spares.count()).map(|index| spares.content(index, self)).collect()
        });
        Ok(Moment { end, leaked, spares, contents })
    }

    /// The same for the blocks of spares; `whole`: all slots were looked at, and are sound.
    fn name_spares(&self, moment: &Moment, seen: &mut Seen, whole: bool) {
        let mut unknown = moment.leaked;
        for (index, content) in (0..).zip(&moment.contents) {
            match *content {
                Content::Idle(block) | Content::Busy { left: Some(block), .. } if block < self.block_count() => {
                    seen.name(block, "spare", index);
                }
                Content::Idle(block) | Content::Busy { left: Some(block), .. } => {
                    let text = format!("spare {} names block {}, and there are {}", index, block, self.block_count());
                    seen.problems.push(text);
                }
                Content::Busy { left: None, .. } => unknown += 1,
                Content::Leaked => {}
                Content::Scribbled => seen.problems.push(format!("spare {} is neither idle nor busy", index)),
            }
        }
        let missing = self.block_count() - seen.count;
        if whole && seen.problems.is_empty() && missing > unknown {
            let text = format!("blocks that no slot and no spare names: {}, of which {} leaked", missing, unknown);
            seen.problems.push(text);
        }
    }

    /// Publishers that died in the middle.
    fn the_dead(&self, report: &mut Report) -> Result<()> {
        let dead = |copy: &Excerpt| {
            self.with_spares(copy, |spares| {
                let is_dead = |member| Bytes::of_members(member, 1).is_locked(self.file) == Ok(false);
                (0..spares.count())
                    .filter_map(|index| spares.holder(index).map(|member| (index, member)))
                    .filter(|(_, member)| is_dead(*member))
                    .collect::<HashSet<_>>()
            })
        };
        let first = dead(&self.read_spares()?);
        if first.is_empty() {
            return Ok(());
        }
        // Only a living member takes an entry: who has the same one still did not die after it was read.
        let again = dead(&self.read_spares()?);
        match first.intersection(&again).map(|(_, member)| member).collect::<HashSet<_>>().len() {
            0 => {}
            1 => report.notes.push("a publisher died in the middle of a publish; the next one takes over".to_owned()),
            n => {
                report.notes.push(format!("{} publishers died in the middle of a publish; the next one takes over", n))
            }
        }
        Ok(())
    }
}

/// Whatever a publisher changes, but for the slots.
#[derive(PartialEq)]
struct Moment {
    end: u64,
    leaked: u64,
    spares: Excerpt,
    contents: Vec<Content>,
}

/// Blocks that have a name.
struct Seen {
    bits: Bits,
    count: u64,
    problems: Vec<String>,
}

impl Ledger for View<'_> {
    fn fate(&self, position: u64) -> Fate {
        let capacity = self.geometry.capacity;
        match self.read_slots::<NarrowSlot>(position % capacity, 1) {
            Ok(copy) => {
                let tag = <NarrowSlot as Slot>::tag(position / capacity);
                Fate::of::<NarrowSlot>(tag, copy.all::<NarrowSlot>()[0].load().tag)
            }
            Err(_) => Fate::Unknown,
        }
    }

    /// What a search would find may move meanwhile, and the ring is not only looked at in quiet moments.
    fn find(&self, _: [u64; 2]) -> Option<u64> {
        None
    }
}

impl Seen {
    fn name(&mut self, block: u64, what: &str, index: u64) {
        if self.bits.set(block) {
            self.problems
                .push(format!("{} {} names block {}, which another slot or spare names, too", what, index, block));
        } else {
            self.count += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ring::Ring;
    use crate::inspect::Facts;
    use crate::testfile::TestRing;

    const ALL: [Variant; 4] = [Variant::Int, Variant::Int32, Variant::Int16, Variant::Str];

    fn is_fine(file: &TestRing, notes: &[&str], name: &str) {
        let mut report = check(file.path(), false).unwrap();
        assert_eq!(report.problems, Vec::<String>::new(), "{}", name);
        // A file system may give space late.
        report.notes.retain(|note| !note.contains("no disk space"));
        assert_eq!(report.notes.len(), notes.len(), "{}: {:?}", name, report.notes);
        for (note, expected) in report.notes.iter().zip(notes) {
            assert!(note.starts_with(expected), "{}: {}", name, note);
        }
    }

    fn is_damaged(file: &TestRing, problem: &str) {
        let report = check(file.path(), false).unwrap();
        assert!(report.problems.first().map_or(false, |first| first.contains(problem)), "{}: {:?}", problem, report);
    }

    fn places(ring: &Ring, variant: Variant) -> Geometry {
        let stats = ring.stats();
        Geometry::new(variant, stats.capacity, stats.msg_size, stats.publishers).unwrap()
    }

    /// The number of a spare that has the block that it had in the beginning.
    fn unused_spare(file: &TestRing) -> u64 {
        (0..).find(|i| file.read(HEADER_LEN + i * 128) == 0 && file.read(HEADER_LEN + i * 128 + 4) == 0).unwrap()
    }

    /// Tag and value as a slot has them in memory.
    fn stamped(variant: Variant, tag: u64, value: u64) -> Vec<u8> {
        if variant == Variant::Int {
            return [tag.to_ne_bytes(), value.to_ne_bytes()].concat();
        }
        [(tag as u32).to_ne_bytes(), (value as u32).to_ne_bytes()].concat()
    }

    #[test]
    fn rings_are_sound_whatever_was_published_and_cleared() {
        for variant in ALL {
            let (ring, file) = TestRing::new(variant, 8);
            is_fine(&file, &[], "new");
            for count in [1, 6, 1, 1, 30] {
                file.publish(&ring, count);
                is_fine(&file, &[], "published");
            }
            ring.clear().unwrap();
            is_fine(&file, &[], "cleared");
            assert_eq!(check(file.path(), true).unwrap().checked, Some(8));
        }
    }

    #[test]
    fn scribbled_slots_are_noticed() {
        for variant in ALL {
            let (ring, file) = TestRing::new(variant, 8);
            file.publish(&ring, 11);
            let each = if variant == Variant::Int { 16 } else { 8 };
            let at = |slot: u64| places(&ring, variant).slots_at + slot * each;
            let with = |slot: u64, tag: u64| file.damaged(&[(at(slot), &stamped(variant, tag, 0))]);
            is_damaged(&with(2, 6), "slot 2 is of a lap that has not begun");
            is_damaged(&with(3, 4), "slot 3 is of a lap that has not begun");
            is_damaged(&with(3, 1), "slot 3 is of no lap");
            let gone = check(with(2, 5).path(), false).unwrap();
            assert!(variant == Variant::Str || gone.problems.is_empty(), "given up: {:?}", gone);
            if variant != Variant::Str {
                is_fine(&with(2, 2), &["claimed, but not filled: 1 of"], "a dead claim");
                let ahead = file.damaged(&[(128, &13u64.to_ne_bytes())]);
                is_fine(&ahead, &["claimed, but not filled: 2 of"], "claims of the dead");
            }
            let (_ring, empty) = TestRing::new(variant, 8);
            empty.write(&[(at(5), &stamped(variant, 1, 0))]);
            is_damaged(&empty, "slot 5 is of a lap that has not begun");
        }
        let (ring, file) = TestRing::new(Variant::Int16, 8);
        file.publish(&ring, 1);
        let at = places(&ring, Variant::Int16).slots_at;
        is_damaged(
            &file.damaged(&[(at, &stamped(Variant::Int16, 2, 0x8000))]),
            "slot 0 value 32768 has more than 16 bits",
        );
        is_fine(&file.damaged(&[(at, &stamped(Variant::Int16, 2, 0xffff_8000))]), &[], "the least");
    }

    #[test]
    fn scribbled_headers_are_noticed() {
        for variant in ALL {
            let (ring, file) = TestRing::new(variant, 8);
            file.publish(&ring, 3);
            for (at, bytes, problem) in [
                (100, 7u64, "byte 100 of the header"),
                (4088, 7, "byte 4088 of the header"),
                (128, u64::MAX, "write position"),
                (256, 4, "the position of the last clear is 4, beyond the write position 3"),
                (264, 1, "0 positions were abandoned, and 1 at the last clear"),
                (384, u64::MAX, "subscribers sleep"),
                (536, 2, if variant == Variant::Str { "unregistered" } else { "rings of integers" }),
            ] {
                let bytes: u64 = bytes;
                is_damaged(&file.damaged(&[(at, &bytes.to_ne_bytes())]), problem);
            }
        }
    }

    #[test]
    fn blocks_belong_to_one_slot_or_spare() {
        let (ring, file) = TestRing::new(Variant::Str, 8);
        file.publish(&ring, 11);
        let at = places(&ring, Variant::Str);
        let slot = |i: u64| at.slots_at + i * 8;
        let value = |i: u64| u64::from(file.read(slot(i) + 4));
        let tag = |i: u64| u64::from(file.read(slot(i)));
        let naming = |i: u64, block: u64| file.damaged(&[(slot(i), &stamped(Variant::Str, tag(i), block ^ i))]);
        is_damaged(&naming(3, at.capacity + at.publishers), "slot 3 names block");
        is_damaged(&naming(3, value(5) ^ 5), "names block");
        let block = value(3) ^ 3;
        let first = at.arena_at + block * at.block_len();
        is_damaged(&file.damaged(&[(first, &17u64.to_ne_bytes())]), "slot 3 has a message of 17 bytes in block");
        // Spares.
        let free = unused_spare(&file);
        let spare = HEADER_LEN + free * 128;
        is_damaged(&file.damaged(&[(spare, &3u64.to_ne_bytes())]), &format!("spare {} is neither idle nor busy", free));
        is_damaged(
            &file.damaged(&[(spare, &(9u64 << 2).to_ne_bytes())]),
            &format!("spare {} is neither idle nor busy", free),
        );
        is_damaged(
            &file.damaged(&[(spare, &(0xffff_u64 << 32).to_ne_bytes())]),
            &format!("spare {} names block", free),
        );
        is_damaged(&file.damaged(&[(spare, &(3u64 << 32).to_ne_bytes())]), "names block");
        is_damaged(
            &file.damaged(&[(spare, &2u64.to_ne_bytes())]),
            "blocks that no slot and no spare names: 1, of which 0 leaked",
        );
        let leaked = file.damaged(&[(spare, &2u64.to_ne_bytes()), (528, &1u64.to_ne_bytes())]);
        is_fine(&leaked, &["spare blocks that leaked"], "a leak");
    }

    #[test]
    fn a_publisher_that_died_is_no_damage_wherever_that_was() {
        let (ring, file) = TestRing::new(Variant::Str, 8);
        file.publish(&ring, 11);
        drop(ring);
        let at = Geometry::new(Variant::Str, 8, 16, 0).unwrap();
        let free = unused_spare(&file);
        let (spare, slot) = (HEADER_LEN + free * 128, at.slots_at + 3 * 8);
        let word = |n: u64| n.to_ne_bytes();
        let (mine, old) = (at.capacity + free, u64::from(file.read(slot + 4)) ^ 3);
        let busy = word(7 << 2 | 1);
        let note = "a publisher died in the middle of a publish";
        is_fine(&file.damaged(&[(spare, &busy)]), &[note], "before its claim");
        let intent = [(spare, &busy[..]), (spare + 8, &word(12)), (spare + 16, &word(old)), (128, &word(12))];
        is_fine(&file.damaged(&intent), &["claimed", note], "before its exchange");
        let committed = stamped(Variant::Str, 4, mine ^ 3);
        is_fine(&file.damaged(&[&intent[..], &[(slot, &committed[..])]].concat()), &[note], "after it");
        let lapped = [(slot, &stamped(Variant::Str, 6, old ^ 3)[..]), (128, &word(20)[..])];
        let lapped = file.damaged(&[&intent[..], &lapped[..]].concat());
        assert_eq!(check(lapped.path(), false).unwrap().problems, Vec::<String>::new(), "overtaken");
    }

    #[test]
    fn a_living_publisher_is_not_taken_for_a_dead_one() {
        let (ring, file) = TestRing::new(Variant::Str, 8);
        file.publish(&ring, 1);
        let lock = std::fs::OpenOptions::new().read(true).write(true).open(file.path()).unwrap();
        let member = (1..).find(|n| Bytes::of_members(*n, 1).is_locked(&lock) == Ok(false)).unwrap();
        file.write(&[(HEADER_LEN + unused_spare(&file) * 128, &u64::from(member << 2 | 1).to_ne_bytes())]);
        is_fine(&file, &["a publisher died"], "a number that nobody has");
        Bytes::of_members(member, 1).lock(&lock, crate::file_lock::Kind::Exclusive).unwrap();
        is_fine(&file, &[], "a living one");
    }

    #[test]
    fn rings_in_use_are_sound() {
        for (variant, capacity) in ALL.iter().flat_map(|v| [2, 5000].map(|n| (*v, n))) {
            let (ring, file) = TestRing::new(variant, capacity);
            let stop = std::sync::atomic::AtomicBool::new(false);
            std::thread::scope(|scope| {
                for _ in 0..2 {
                    scope.spawn(|| {
                        while !stop.load(Relaxed) {
                            file.publish(&ring, 100);
                        }
                    });
                }
                for _ in 0..20 {
                    let report = check(file.path(), true).unwrap();
                    if !report.problems.is_empty() {
                        stop.store(true, Relaxed);
                        panic!("{:?}", report);
                    }
                }
                stop.store(true, Relaxed);
            });
            is_fine(&file, &[], "quiet again");
        }
    }

    #[test]
    fn a_part_of_many_slots_is_looked_at_and_that_where_things_happen() {
        let (ring, file) = TestRing::new(Variant::Int16, 1 << 21);
        (0..10).for_each(|_| file.publish(&ring, 8000));
        let at = places(&ring, Variant::Int16).slots_at;
        assert!(check(file.path(), false).unwrap().checked.unwrap() < 1_100_000);
        file.write(&[(at + 80_000 * 8, &77u32.to_ne_bytes())]);
        is_damaged(&file, "slot 80000 ");
        assert_eq!(check(file.path(), true).unwrap().checked, Some(1 << 21));
    }

    #[test]
    fn holes_are_a_note() {
        let (ring, file) = TestRing::new(Variant::Int, 1 << 14);
        let header: Vec<u8> = (0..128).flat_map(|at| file.read(at * 4).to_ne_bytes()).collect();
        file.set_len(0);
        file.write(&[(0, &header)]);
        file.set_len(ring.stats().mmap_size);
        let report = check(file.path(), true).unwrap();
        assert!(report.problems.is_empty(), "{:?}", report);
        let Facts { size, allocated, .. } = report.inspection.file;
        let noted = report.notes.iter().any(|note| note.contains("of 266240 bytes have no disk space"));
        assert_eq!(noted, allocated < size, "{:?}", report.notes);
    }

    #[test]
    fn a_file_that_shrinks_is_an_error() {
        let (ring, file) = TestRing::new(Variant::Int, 1 << 14);
        let opened = Opened::new(file.path()).unwrap();
        let view = View { file: &opened.file, geometry: opened.geometry.as_ref().unwrap() };
        file.set_len(ring.stats().mmap_size - 1);
        assert!(view.chunk::<WideSlot>(0).is_ok());
        assert!(view.chunk::<WideSlot>(3).is_err());
        drop(ring);
        file.set_len(0);
        assert!(view.chunk::<WideSlot>(0).is_err() && view.end().is_err());
    }
}
