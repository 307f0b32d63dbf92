//! Converts entries to chunks for the ring: skips duplicates, keeps the stream's order, and counts missing messages.

use std::collections::HashMap;

use tokio::time::Instant;
use tracing::warn;

use super::memory::{Known, Numbers, Stream, today};
use super::{Down, End};
use crate::backend::{Backend, Entry, Place, Read, Result};
use crate::entry::Held;
use crate::load::Load;

/// How many messages are published at once.
const CHUNK: u64 = 8192;

/// A chunk that is being filled.
pub(super) struct Gathered {
    pub load: Load,
    pub place: Place,
    pub origins: HashMap<String, Known>,
    pub lost: Vec<(String, String, u64)>,
    pub duplicates: u64,
    /// The day on which it was started, as [`Known::day`].
    pub day: u64,
}

impl<B: Backend> Down<'_, B> {
    /// Adds entries to chunks in the stream's order, without duplicates. Leaves some if it takes long and an audit is due.
    pub(super) async fn take(&mut self, index: usize, reads: &mut std::vec::IntoIter<Read>) -> Result<Option<End>> {
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
                // Only the backend knows the reason.
                first = Some(self.backend.ends(name, entry.place).await?.first);
            }
            if numbers.missing > 0 {
                let behind = known.map_or(Place::START, |known| known.place);
                let is_trimmed = first.flatten().is_none_or(|first| first > behind);
                let reason = if is_trimmed { "trimmed" } else { "backend" };
                self.missing(name, &entry.origin, reason, numbers.missing, &mut chunk);
            }
            // The rest of an entry that was published in part is not a duplicate.
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

    pub(super) fn gather(&self, name: &str) -> Gathered {
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
    pub(super) fn known(&self, stream: &Stream, chunk: &Gathered, origin: &str) -> Option<Known> {
        let known = chunk.origins.get(origin).or_else(|| stream.origins.get(origin)).copied();
        known.or_else(|| (!stream.blind).then_some(Known { epoch: 0, next: 1, place: Place::START, day: 0, stamp: 0 }))
    }

    /// The state after an entry, or a part of it.
    pub(super) fn note(&self, chunk: &mut Gathered, entry: &Entry, next: u64) {
        let known = Known { epoch: entry.epoch, next, place: entry.place, day: chunk.day, stamp: entry.stamp };
        match chunk.origins.get_mut(&entry.origin) {
            Some(place) => *place = known,
            None => drop(chunk.origins.insert(entry.origin.clone(), known)),
        }
        chunk.place = entry.place;
    }

    /// Counts numbers that are missing.
    pub(super) fn missing(&mut self, name: &str, origin: &str, reason: &str, count: u64, chunk: &mut Gathered) {
        let is_recovering = self.recoveries.get(name).is_some_and(|recovery| !recovery.is_over());
        let there = if is_recovering { self.found.take_trimmed(count) } else { 0 };
        if count > there {
            chunk.lost.push((origin.to_owned(), reason.to_owned(), count - there));
        }
    }

    pub(super) fn leave_out(&mut self, place: Place, why: &str) {
        self.malformed += 1;
        if self.trouble.is_news(why) {
            warn!("entry {place} is left out: {why}");
        }
    }

    /// Adds the messages of an entry after its duplicates. A chunk is published when it is full.
    pub(super) async fn add(
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

    pub(super) fn chunk_size(&self) -> usize {
        let paced = self.options.pace.map_or(CHUNK, |pace| (pace / 20).max(1));
        CHUNK.min(self.open.ring.capacity()).min(paced) as usize
    }
}
