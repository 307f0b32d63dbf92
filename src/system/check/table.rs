//! Checks the table of readers.

use super::{Report, View, MOMENT};
use crate::error::Result;
use crate::inspect::Excerpt;
use crate::layout::HEADER_LEN;
use crate::readers::Entry;
use crate::sync::Line;
use crate::sync::Ordering::{Acquire, Relaxed};

/// How many entries are read at a time.
const CHUNK: u64 = 1024;

impl View<'_> {
    pub(super) fn readers(&self, report: &mut Report) -> Result<()> {
        let count = self.geometry.readers;
        let header = self.now()?;
        let (used, word) = (header.header().limit.used.load(Relaxed), header.header().limit.word.load(Relaxed));
        if u64::from(used) > count {
            report.problems.push(format!("{} readers were in a table of {}", used, count));
        }
        if word != 0 && !self.geometry.lossless {
            report.problems.push(format!("the limit of publishers is {:#x}, and the ring is not lossless", word));
        }
        for from in (0..count).step_by(CHUNK as usize) {
            let some = CHUNK.min(count - from);
            let first = self.entries(from, some)?;
            if first.is_empty() {
                continue;
            }
            std::thread::sleep(MOMENT);
            let again = self.entries(from, some)?;
            report.problems.extend(first.into_iter().filter(|problem| again.contains(problem)));
        }
        Ok(())
    }

    /// The problems of these entries, unless they are changing.
    fn entries(&self, from: u64, count: u64) -> Result<Vec<String>> {
        let each = std::mem::size_of::<Line<Entry>>() as u64;
        let copy = Excerpt::whole(self.file, HEADER_LEN + from * each, (count * each) as usize)?;
        let end = self.now()?.header().write_pos.load(Acquire);
        let entries = copy.all::<Line<Entry>>();
        let problem = |(i, entry): (u64, &Line<Entry>)| {
            entry.problem(end, self.geometry.lossless).map(|what| format!("reader {} {}", i, what))
        };
        Ok((from..).zip(entries).filter_map(problem).collect())
    }
}
