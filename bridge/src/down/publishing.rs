//! Publishes chunks in the ring: logs a step, skips messages that the last process has published, and publishes the rest.

use std::time::Duration;

use data_pubsub_shared::Wait;
use serde::Serialize;
use tokio::time::Instant;

use super::entries::Gathered;
use super::memory::{Record, Step};
use super::{Down, End};
use crate::backend::{Backend, Failure, Result};
use crate::direction::Lost;
use crate::load::Load;
use crate::recovery::{Fate, Found};

/// The interval of checks whether a lossless ring has room.
const ROOM_EACH: Duration = Duration::from_millis(2);

/// A note about a gap, for programs.
#[derive(Serialize)]
struct Note<'a> {
    number: u64,
    time: f64,
    stream: &'a str,
    origin: &'a str,
    reason: &'a str,
    count: u64,
}

impl<B: Backend> Down<'_, B> {
    pub(super) async fn publish(&mut self, index: usize, mut chunk: Gathered) -> Result<Option<End>> {
        let name = &self.options.streams[index];
        self.pass_over(name, &mut chunk);
        let nothing_new =
            chunk.place == self.memory.streams[name].place && chunk.origins.is_empty() && chunk.lost.is_empty();
        if nothing_new && chunk.load.is_empty() && chunk.duplicates == 0 {
            return Ok(None);
        }
        if let Some(end) = self.wait_for_turn(&chunk.load).await {
            return Ok(Some(end));
        }
        let step = self.step(name, &chunk);
        if let Some(end) = self.write_ahead(&step).await {
            return Ok(Some(end));
        }
        let put = self.put(&chunk.load).await;
        if !matches!(put, Ok(None)) {
            self.take_back();
            return put;
        }
        chunk.lost.iter().for_each(|(_, reason, count)| self.losses.count(reason, *count));
        self.publish_notes(&step.notes);
        self.control.status().forwarded += chunk.load.len() as u64;
        self.memory.apply(step);
        if self.state.has_grown() {
            let whole = self.remember_all();
            self.say_state(whole);
        }
        Ok(None)
    }

    /// Waits until the pace allows it, and the ring has room. Returns an end, if there is one.
    pub(super) async fn wait_for_turn(&mut self, load: &Load) -> Option<End> {
        if let Some(pace) = self.options.pace {
            if let Some(end) = self.wait_until(self.pace).await {
                return Some(end);
            }
            let takes = Duration::from_secs_f64(load.len() as f64 / pace as f64);
            self.pace = self.pace.max(Instant::now() - Duration::from_millis(100)) + takes;
        }
        loop {
            // Nothing is published in a ring that was removed.
            if self.open.ring.is_gone() {
                return Some(End::Gone);
            }
            if self.has_room(load) {
                return None;
            }
            if let Some(end) = self.wait_until(Instant::now() + ROOM_EACH).await {
                return Some(end);
            }
        }
    }

    /// Logs a step before it is done, with retries if it cannot be written. Returns an end, if there is one.
    pub(super) async fn write_ahead(&mut self, step: &Step) -> Option<End> {
        loop {
            let put = self.remember(step);
            let is_put = put.is_ok();
            self.say_state(put);
            if is_put {
                return None;
            }
            let pause = self.trouble.pause();
            self.control.pause(pause).await;
            if self.control.is_stopping() {
                return Some(End::Stopped);
            }
        }
    }

    /// Publishes all messages, unless there is an end or a failure.
    pub(super) async fn put(&self, load: &Load) -> Result<Option<End>> {
        loop {
            let ring = &self.open.ring;
            let publish = || load.try_publish(ring);
            // The rest of an interrupted batch waits for room.
            match if self.is_lossless { tokio::task::block_in_place(publish) } else { publish() } {
                Ok(true) => return Ok(None),
                // A reader has joined while the step was written, or another publisher has taken the room.
                Ok(false) => self.control.pause(ROOM_EACH).await,
                Err(why) => {
                    return Err(Failure::Hopeless(format!("{}: {why}", self.options.ring.path.display())));
                }
            }
            if self.control.is_stopping() {
                return Ok(Some(End::Stopped));
            }
            if self.open.ring.is_gone() {
                return Ok(Some(End::Gone));
            }
        }
    }

    /// Whether a chunk can be published at once: a lossless ring has room once its readers have read.
    pub(super) fn has_room(&self, load: &Load) -> bool {
        let room = self.open.ring.wait_for_room(load.len() as u64, 0, || false);
        // The publish reports problems of the ring.
        room.map_or(true, |how| how == Wait::Ready)
    }

    /// Waits, with a check each second. Returns an end, if there is one.
    pub(super) async fn wait_until(&mut self, until: Instant) -> Option<End> {
        loop {
            tokio::select! {
                biased;
                () = self.control.stopping() => return Some(End::Stopped),
                () = self.ticks.tick() => {
                    if self.tick() {
                        return Some(End::Gone);
                    }
                }
                () = tokio::time::sleep_until(until) => return None,
            }
        }
    }

    /// The step that was written was not done.
    pub(super) fn take_back(&mut self) {
        // If this cannot be written, no record may follow the step, so that the next process searches the ring.
        self.is_open = false;
        let whole = self.remember_all();
        self.say_state(whole);
    }

    pub(super) fn remember(&mut self, step: &Step) -> std::io::Result<()> {
        // A clone, because the file takes ownership of a record.
        self.state.put(&Record::Step(step.clone()))?;
        self.is_open = true;
        Ok(())
    }

    pub(super) fn step(&mut self, name: &str, chunk: &Gathered) -> Step {
        let mut noted = self.memory.noted;
        let mut notes = Vec::new();
        let mut lost = Lost::new();
        for (origin, reason, count) in &chunk.lost {
            let total =
                lost.entry(reason.clone()).or_insert_with(|| self.losses.total.get(reason).copied().unwrap_or(0));
            *total += count;
            noted += 1;
            if self.gaps.is_some() {
                let time = crate::report::unix_time();
                let note = Note { number: noted, time, stream: name, origin, reason, count: *count };
                notes.extend(serde_json::to_string(&note).ok());
            }
        }
        Step {
            stream: name.to_owned(),
            place: chunk.place,
            origins: chunk.origins.clone(),
            at: self.open.absolute(|ring| ring.write_pos()),
            count: chunk.load.len() as u64,
            sum: chunk.load.sum(),
            lost,
            duplicates: self.memory.duplicates + chunk.duplicates,
            notes,
            noted,
        }
    }

    /// Skips messages that the last process has published.
    pub(super) fn pass_over(&mut self, name: &str, chunk: &mut Gathered) {
        let Some(recovery) = self.recoveries.get_mut(name) else { return };
        let found = &mut self.found;
        let mut unclear = 0;
        chunk.load.retain(|message| match recovery.fate(found, message) {
            Fate::New => true,
            Fate::There => false,
            Fate::Unclear => {
                unclear += 1;
                false
            }
        });
        if unclear > 0 {
            chunk.lost.push((String::new(), "indeterminate".to_owned(), unclear));
        }
        if recovery.is_over() {
            self.recoveries.remove(name);
        }
        if self.recoveries.is_empty() {
            self.found = Found::default();
        }
    }

    pub(super) fn publish_notes(&mut self, notes: &[String]) {
        let Some(gaps) = &self.gaps else { return };
        for note in notes {
            // A message that is too long for a ring that others have created is not counted elsewhere.
            let _ = gaps.ring.publish_str(note.as_bytes());
        }
    }

    /// Notes that the step was done, so that the next process need not search the ring.
    pub(super) fn settle(&mut self) {
        if self.is_open && self.state.put(&Record::Done).is_ok() {
            self.is_open = false;
        }
    }

    pub(super) fn say_state(&mut self, written: std::io::Result<()>) {
        if self.trouble.with_state(written) {
            self.say_how_it_is();
        }
    }
}
