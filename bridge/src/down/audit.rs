//! Audits streams: where to start them, whether they are still the same, and what was trimmed before it was read.

use std::collections::HashSet;
use std::time::Duration;

use tokio::time::Instant;
use tracing::warn;

use super::memory::{DAY, Known, Stream, today};
use super::{Down, From};
use crate::backend::{Backend, Ends, Failure, Place, Result, Sent};

/// The interval of audits of a stream.
const AUDIT_EACH: Duration = Duration::from_secs(2);
/// The interval of checks for origins that can be removed.
const FORGET_EACH: Duration = Duration::from_secs(3600);

impl<B: Backend> Down<'_, B> {
    /// Is called before a stream is read, for the first time or again.
    pub(super) async fn open_stream(&mut self, name: &str) -> Result<()> {
        self.quiet.insert(name.to_owned(), Instant::now());
        if !self.memory.streams.contains_key(name) {
            let stream = self.begin(name).await?;
            self.memory.streams.insert(name.to_owned(), stream);
            return self.remember_all().map_err(|error| Failure::Refused(error.to_string()));
        }
        let place = self.memory.streams[name].place;
        let ends = self.backend.ends(name, place).await?;
        if !self.continues(name, &ends) {
            self.rewind(name);
        }
        Ok(())
    }

    /// Whether the entry that was read last is still at its place. A server that was restored from a copy may have another entry
    /// there.
    pub(super) fn continues(&self, name: &str, ends: &Ends) -> bool {
        let stream = &self.memory.streams[name];
        let is_same = |at: &Sent| match stream.origins.get(&at.origin) {
            Some(known) if known.place == stream.place => {
                let is_its = known.stamp == 0 || at.stamp == 0 || at.stamp == known.stamp;
                is_its && (at.epoch < known.epoch || at.epoch == known.epoch && at.first < known.next)
            }
            _ => stream.origins.values().all(|known| known.place != stream.place),
        };
        ends.continues && ends.at.as_ref().is_none_or(is_same)
    }

    /// Starts a stream for the first time. Entries before `now` are not losses; entries before a place are unknown.
    pub(super) async fn begin(&self, name: &str) -> Result<Stream> {
        match self.options.from {
            From::Start => Ok(Stream::default()),
            From::Place(place) => Ok(Stream { place, blind: true, ..Stream::default() }),
            From::Now => {
                let origins = self.backend.origins(name).await?;
                let (place, day) = (origins.last, today());
                let known = |(origin, epoch, last)| (origin, Known { epoch, next: last + 1, place, day, stamp: 0 });
                Ok(Stream { place, blind: false, origins: origins.numbers.into_iter().map(known).collect() })
            }
        }
    }

    /// The place is none of this stream any more: the server has lost its data, or was restored from an older copy. From the
    /// beginning on; numbers and epochs tell what was there before.
    pub(super) fn rewind(&mut self, name: &str) {
        let stream = self.memory.streams.get_mut(name).expect("an open stream");
        warn!(
            "stream {name} was removed or restored: nothing is at {} any more; reading from its beginning",
            stream.place
        );
        stream.place = Place::START;
    }

    pub(super) fn is_audit_due(&self) -> bool {
        self.audited.elapsed() >= AUDIT_EACH
    }

    /// Looks now and then what has become of the streams. Some: the one at this index is to be read from its beginning.
    /// `is_idle`: all that was read is in the ring.
    pub(super) async fn audit(&mut self, is_idle: bool) -> Result<Option<usize>> {
        if !self.is_audit_due() {
            return Ok(None);
        }
        self.audited = Instant::now();
        let mut greatest = None;
        for (index, name) in self.options.streams.iter().enumerate() {
            let place = self.memory.streams[name].place;
            let ends = self.backend.ends(name, place).await?;
            if !self.continues(name, &ends) {
                self.rewind(name);
                return Ok(Some(index));
            }
            let is_read = ends.newest.is_none_or(|newest| newest <= place);
            let behind = if is_read { Some(0.0) } else { ends.behind.map(|behind| behind.as_secs_f64()) };
            if let Some(behind) = behind {
                greatest = Some(greatest.unwrap_or(0.0_f64).max(behind));
            }
            let accounted = self.accounted.get(name).copied().unwrap_or(Place::START);
            let may_lack = ends.last > place || ends.first.is_some_and(|first| first > accounted) && accounted < place;
            if is_read && is_idle && may_lack {
                self.account(index).await?;
            }
        }
        self.lag_seconds = greatest;
        self.say_how_it_is();
        self.forget().await?;
        Ok(None)
    }

    /// Entries were trimmed, and origins may have no later ones. The server's state of all origins tells how
    /// many messages are missing.
    pub(super) async fn account(&mut self, index: usize) -> Result<()> {
        let name = &self.options.streams[index];
        let origins = self.backend.origins(name).await?;
        let stream = &self.memory.streams[name];
        // New entries were appended meanwhile, and are read first.
        if origins.newest.is_some_and(|newest| newest > stream.place) {
            return Ok(());
        }
        let mut chunk = self.gather(name);
        chunk.place = origins.last.max(chunk.place);
        let mut gone = Vec::new();
        for (origin, epoch, last) in origins.numbers {
            let known = self.known(&self.memory.streams[name], &chunk, &origin);
            if let Some(known) = known.filter(|known| last >= known.next) {
                gone.push((origin.clone(), last + 1 - known.next));
                chunk
                    .origins
                    .insert(origin, Known { epoch, next: last + 1, place: chunk.place, day: today(), stamp: 0 });
            }
        }
        self.accounted.insert(name.clone(), chunk.place);
        gone.sort();
        for (origin, count) in gone {
            self.missing(name, &origin, "trimmed", count, &mut chunk);
        }
        self.publish(index, chunk).await.map(drop)
    }

    /// Removes origins that were idle for a long time, and that the server has removed, too.
    pub(super) async fn forget(&mut self) -> Result<()> {
        if self.forgot.elapsed() < FORGET_EACH {
            return Ok(());
        }
        self.forgot = Instant::now();
        let (today, days) = (today(), self.options.idle.as_secs() / DAY + 1);
        let is_old = |known: &Known| known.day + days < today;
        for name in &self.options.streams {
            if !self.memory.streams[name].origins.values().any(is_old) {
                continue;
            }
            let there: HashSet<String> =
                self.backend.origins(name).await?.numbers.into_iter().map(|(origin, ..)| origin).collect();
            let stream = self.memory.streams.get_mut(name).expect("an open stream");
            stream.origins.retain(|origin, known| !is_old(known) || there.contains(origin));
            let whole = self.remember_all();
            self.say_state(whole);
        }
        Ok(())
    }
}
