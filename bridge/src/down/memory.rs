//! What must be remembered of streams and of their origins, and what the numbers of an entry say.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use crate::backend::{Entry, Place};
use crate::direction::{Lost, since_1970};

pub(super) const DAY: u64 = 86_400;

/// What is known of an origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Known {
    pub epoch: u64,
    /// The number that its next message has.
    pub next: u64,
    /// Its last entry.
    pub place: Place,
    /// The day on which that was read, since 1970.
    pub day: u64,
    /// That of the entry there; 0 where none is known.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub stamp: u64,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// What is known of a stream.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Stream {
    pub place: Place,
    /// What unknown origins sent before is not missed.
    pub blind: bool,
    pub origins: HashMap<String, Known>,
}

/// All that must be remembered.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Memory {
    pub streams: BTreeMap<String, Stream>,
    /// The identity of IN, and the position from which on IN may hold what this does not know.
    pub ring: String,
    pub at: u64,
    pub lost: Lost,
    pub duplicates: u64,
    /// Notes about gaps so far.
    pub noted: u64,
}

/// A chunk that is about to be published, and all that is true behind it.
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

/// A line of the state file. A step was done if anything follows it, unless that is a whole memory.
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

/// What an entry's numbers say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Numbers {
    /// So many of its messages, the first ones, came before.
    pub duplicates: u64,
    /// So many before it never came.
    pub missing: u64,
}

impl Numbers {
    /// Within one epoch numbers only grow. A new epoch begins where the server knew the one before to end, which may be further
    /// back if it had lost something.
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
