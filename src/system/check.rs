//! Checks a ring's file for corruption, from outside as [`crate::inspect()`].
//!
//! A problem is a state that no sequence of calls, kills and restarts can cause. A note is useful information. The ring may be in
//! use, so the write position is read after the slots (their content was claimed before), a finding counts only if it is the same a
//! moment later, and the names of blocks are judged only if there was no publish meanwhile.

mod blocks;
mod table;

use std::collections::HashSet;
use std::fs::File;
use std::path::Path;
use std::time::Duration;

use crate::error::Result;
use crate::inspect::{Excerpt, Inspection, Opened, Shared};
use crate::layout::{Geometry, Header, Variant};
use crate::segment::{Word, COUNT};
use crate::slot::{NarrowSlot, Slot, Stamped, WideSlot, ABANDONED};
use crate::str_ring::{len_of, named};
use crate::sync::{
    AtomicU64,
    Ordering::{Acquire, Relaxed},
};

/// How many slots are read at a time.
const CHUNK: u64 = 4096;
/// How many chunks are checked at most, unless all are to be.
const MAX_CHUNKS: u64 = 256;
/// The most problems that are reported.
const MAX_PROBLEMS: usize = 20;
/// The most threads that Linux can have.
const MAX_THREADS: u32 = 1 << 22;
/// After this time a finding must be the same.
const MOMENT: Duration = Duration::from_millis(10);
/// How often to try to find a moment without a publish.
const TRIES: u32 = 5;

/// The result of [`check`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Report {
    /// The file.
    pub inspection: Inspection,
    /// The number of slots that were checked; `None` if the file is not a ring.
    pub checked: Option<u64>,
    /// What is corrupt, a sentence each.
    pub problems: Vec<String>,
    /// Other information, a sentence each.
    pub notes: Vec<String>,
}

/// Checks the file at `path` and its slots. If there are more than a million slots, only some of them are checked unless `all` is
/// true.
///
/// # Errors
/// As [`inspect`](crate::inspect()), and if the file is truncated meanwhile.
///
/// ```
/// # use data_pubsub_shared::{check, Ring, Variant};
/// let path = std::env::temp_dir().join(format!("checked-{}.ring", std::process::id()));
/// let ring = Ring::open(Variant::Int, &path, 8, 0, 0o600)?;
/// ring.publish_int(1)?;
/// let report = check(&path, true)?;
/// assert_eq!((report.checked, report.problems.len()), (Some(8), 0));
/// ring.unlink()?;
/// # Ok::<(), data_pubsub_shared::Error>(())
/// ```
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
        view.readers(&mut report)?;
        disk_space(&mut report);
        if report.inspection.end < 1 << 63 {
            let chunks = chunks(geometry, report.inspection.end, all);
            report.checked = Some(chunks.iter().map(|chunk| view.chunk_len(*chunk)).sum());
            match geometry.variant {
                Variant::Int | Variant::Num => view.slots::<WideSlot>(&chunks, &mut report)?,
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

/// The chunks of slots to check, in order.
fn chunks(geometry: &Geometry, end: u64, all: bool) -> Vec<u64> {
    let last = (geometry.capacity - 1) / CHUNK;
    if all || last < MAX_CHUNKS {
        return (0..=last).collect();
    }
    // Those around the write position, and others evenly spread.
    let here = end % geometry.capacity / CHUNK;
    let before = here.checked_sub(1).unwrap_or(last);
    let spread = MAX_CHUNKS - 3;
    let mut some: Vec<u64> = (0..=spread).map(|i| i * last / spread).chain([here, before]).collect();
    some.sort_unstable();
    some.dedup();
    some
}

/// Notes holes in the file: on a full disk, a write to a hole raises SIGBUS.
fn disk_space(report: &mut Report) {
    let file = &report.inspection.file;
    // A memfd does not reserve its pages, and need not.
    if file.allocated < file.size && !file.by_descriptor {
        report.notes.push(format!(
            "{} of {} bytes have no disk space (holes, or compressed); opening the ring for publishing reserves what is missing",
            file.size - file.allocated,
            file.size
        ));
    }
}

/// A finding about a slot, which must be the same twice.
#[derive(PartialEq, Eq, Hash)]
struct Finding {
    slot: u64,
    tag: u64,
    value: u64,
    lap: u64,
    /// `None` if its position is claimed and not committed.
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
        // The header was read front to back, so a clear meanwhile does not make either of these two conditions true.
        let base = header.clear.base.load(Acquire);
        if base > end && base > self.end()? {
            problem(format!("the position of the last clear is {}, beyond the write position {}", base, end));
        }
        // Relaxed: statistics, which were read in order.
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
        if self.geometry.variant != Variant::Str && (recoveries, leaked) != (0, 0) {
            problem("counters of blocks are not 0, and rings of integers have no blocks".to_owned());
        }
        if unregistered != 0 && !header.events.has_unregistered() {
            problem(format!("the mark of unregistered publishers is {:#x}", unregistered));
        }
        if self.geometry.variant == Variant::Str && leaked > 0 {
            let text = "spare blocks that leaked, until a process publishes while no other has the ring open for it";
            report.notes.push(format!("{}: {}", text, leaked));
        }
        self.segments(header, report)
    }

    fn segments(&self, header: &Header, report: &mut Report) -> Result<()> {
        let (capacity, grid) = (self.geometry.capacity, self.geometry.grid());
        let end = self.end()?;
        let mut withheld = 0;
        for (index, word) in (0..COUNT).map(|index| (index, header.segments.at(index).load())) {
            let is_possible = grid.map_or(word == Word::default(), |grid| {
                let (lap, first) = (end / capacity, index as u64 * grid.slots());
                let begins = lap.wrapping_add(word.later_by(lap) as u64).wrapping_mul(capacity).wrapping_add(first);
                word == Word::default() || first < capacity && word.is_sound(grid) && begins < end
            });
            if !is_possible {
                report.problems.push(format!("segment {} has the impossible word {:#x}", index, word.bits()));
            } else if word.is_revoked() {
                withheld += grid.map_or(0, |grid| grid.slots_of(word.count()));
            }
        }
        if withheld > 0 {
            let text = "slots that publishers have reserved and did not fill, until these go on, or have exited and another batch comes";
            report.notes.push(format!("{}: {}", text, withheld));
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
        let has_segments = self.geometry.grid().is_some();
        let copy = self.read_slots::<S>(from, self.chunk_len(chunk))?;
        let end = self.end()?;
        let mut found = Vec::new();
        for (slot, Stamped { tag, value }) in (from..).zip(copy.all::<S>().iter().map(Slot::load)) {
            // Slots before the write position's were claimed in this lap, the others in the lap before; -1 if there was none.
            let lap = (end / capacity).wrapping_sub(u64::from(slot >= end % capacity));
            let mut add = |problem| found.push(Finding { slot, tag, value, lap, problem });
            if let Some(problem) = self.value_problem(slot, value)? {
                add(Some(problem));
            }
            let newest = S::tag(lap);
            match S::compare(newest, tag) {
                0 => {}
                // Abandoned in this lap, if there was one.
                -1 if lap != u64::MAX => {}
                // Abandoned in the next lap, in advance, when a batch was revoked.
                -3 if has_segments => {}
                age if age < 0 || lap == u64::MAX => add(Some("is of a lap that has not begun".to_owned())),
                // After 2^30 laps or more, a narrow tag may have any value.
                _ if tag == ABANDONED && lap < 1 << 30 && !has_segments => add(Some("is of no lap".to_owned())),
                _ => add(None),
            }
        }
        Ok(found)
    }

    /// Why the slot of this index cannot have the value, if so.
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
}

#[cfg(test)]
mod tests;
