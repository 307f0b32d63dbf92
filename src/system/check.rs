//! Whether a ring's file is sound, looked at from outside as in [`crate::inspect()`].
//!
//! A problem is what no sequence of calls, deaths and restarts leaves behind; a note is what one may want to know. The ring
//! may be in use. So the write position is read after the slots (whatever stands in them was claimed before), what looks wrong
//! counts only if it looks the same a moment later, and where blocks are is judged only if nobody published meanwhile.

mod blocks;
mod table;

use std::collections::HashSet;
use std::fs::File;
use std::path::Path;
use std::time::Duration;

use crate::error::Result;
use crate::inspect::{Excerpt, Inspection, Opened, Shared};
use crate::layout::{Geometry, Header, Variant};
use crate::slot::{NarrowSlot, Slot, Stamped, WideSlot, ABANDONED};
use crate::str_ring::{len_of, named};
use crate::sync::{
    AtomicU64,
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
#[non_exhaustive]
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
/// As [`inspect`](crate::inspect()); and where the file is truncated meanwhile.
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
        if unregistered != 0 && !header.events.has_unregistered() {
            problem(format!("the mark of unregistered publishers is {:#x}", unregistered));
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
                _ if tag == ABANDONED && lap < 1 << 30 => add(Some("is of no lap".to_owned())),
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
}

#[cfg(test)]
mod tests;
