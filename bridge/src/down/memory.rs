//! The durable state of streams and origins, and the meaning of an entry's numbers.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use crate::backend::{Entry, Place};
use crate::direction::{Lost, since_1970};

pub(super) const DAY: u64 = 86_400;

/// The state of an origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Known {
    pub epoch: u64,
    /// The number of its next message.
    pub next: u64,
    /// Its last entry.
    pub place: Place,
    /// When that was read, in days since 1970.
    pub day: u64,
    /// That of the entry there; 0 where none is known.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub stamp: u64,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// The state of a stream.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Stream {
    pub place: Place,
    /// Earlier messages of unknown origins are not counted as missing.
    pub blind: bool,
    pub origins: HashMap<String, Known>,
}

/// The whole durable state.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Memory {
    pub streams: BTreeMap<String, Stream>,
    /// The identity of IN, and the position from which on IN may hold messages that are not in this state.
    pub ring: String,
    pub at: u64,
    pub lost: Lost,
    pub duplicates: u64,
    /// The number of notes about gaps.
    pub noted: u64,
}

/// A chunk that is about to be published, and the state after it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Step {
    pub stream: String,
    pub place: Place,
    #[serde(default, skip_serializing_if = "HashMap::is_empty")]
    pub origins: HashMap<String, Known>,
    pub at: u64,
    pub count: u64,
    pub sum: u64,
    #[serde(default, skip_serializing_if = "Lost::is_empty")]
    pub lost: Lost,
    #[serde(default)]
    pub duplicates: u64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    #[serde(default)]
    pub noted: u64,
}

/// A record of the state file. A step was done if another record follows it that is not a whole memory.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Record {
    Whole(Memory),
    Step(Step),
    Done,
}

impl Memory {
    pub(super) fn apply(&mut self, step: Step) {
        let stream = self.streams.entry(step.stream).or_default();
        stream.place = step.place;
        stream.origins.extend(step.origins);
        self.at = step.at + step.count;
        self.lost.extend(step.lost);
        self.duplicates = step.duplicates;
        self.noted = step.noted;
    }
}

pub(super) fn today() -> u64 {
    since_1970().as_secs() / DAY
}

/// The meaning of an entry's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Numbers {
    /// How many of its first messages are duplicates.
    pub duplicates: u64,
    /// How many messages before it are missing.
    pub missing: u64,
}

impl Numbers {
    /// In one epoch numbers only grow. A new epoch starts at the end of the previous one as the server knew it, which may be
    /// earlier if the server had lost data.
    pub(super) fn of(entry: &Entry, takes: u64, known: Option<Known>) -> Numbers {
        let Some(known) = known else { return Numbers { duplicates: 0, missing: 0 } };
        let duplicates = match entry.epoch.cmp(&known.epoch) {
            std::cmp::Ordering::Less => takes,
            std::cmp::Ordering::Equal => known.next.saturating_sub(entry.number).min(takes),
            std::cmp::Ordering::Greater => 0,
        };
        let is_news = duplicates < takes;
        Numbers { duplicates, missing: if is_news { entry.number.saturating_sub(known.next) } else { 0 } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_tell_what_is_missing_and_what_comes_twice() {
        let entry = |epoch, number| Entry {
            place: Place(1, 0),
            origin: String::new(),
            epoch,
            number,
            kind: b'M',
            payload: Vec::new(),
            stamp: 0,
        };
        let known = Some(Known { epoch: 5, next: 11, place: Place::START, day: 0, stamp: 0 });
        let of = |epoch, number| {
            let numbers = Numbers::of(&entry(epoch, number), 4, known);
            (numbers.duplicates, numbers.missing)
        };
        assert_eq!([of(5, 11), of(5, 13), of(5, 9), of(5, 7), of(5, 1)], [(0, 0), (0, 2), (2, 0), (4, 0), (4, 0)]);
        assert_eq!([of(4, 11), of(4, 50)], [(4, 0), (4, 0)], "an old epoch");
        assert_eq!([of(6, 11), of(6, 3), of(6, 20)], [(0, 0), (0, 0), (0, 9)], "a new one may go back");
        assert_eq!(
            Numbers::of(&entry(1, 99), 4, None),
            Numbers { duplicates: 0, missing: 0 },
            "where nothing is known"
        );
    }
}
