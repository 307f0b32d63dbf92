//! The names and messages of the bridge in JetStream.
//!
//! The entries of a batch are one message. A message of the same subject without entries is a *marker*, which only has the state
//! of an origin. The header `Pubsub` has six words: the epoch, the number of the first message, the number of the last one, the
//! number of entries, when the origin was last alive (milliseconds since 1970), and the position. The body has a line `KIND
//! NUMBER BYTES` for each entry, followed by that many bytes.

use crate::backend::{Batch, Entry};

/// The header of each message of a bridge.
pub(super) const HEADER: &str = "Pubsub";
/// How many bits of a place's second number are the entry's index in its message.
pub(super) const INDEX_BITS: u32 = 16;

/// Escapes a name for subjects and stream names: characters that these may not have become `%XX`.
pub(super) fn escape(name: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    name.bytes()
        .map(|byte| if is_plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02x}") })
        .collect()
}

/// Reverses the escape.
pub(super) fn unescape(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, behind)) = rest.split_first() {
        if *byte == b'%' {
            let digits = std::str::from_utf8(behind.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &behind[2..];
        } else {
            bytes.push(*byte);
            rest = behind;
        }
    }
    String::from_utf8(bytes).ok()
}

/// The content of the header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Note {
    pub epoch: u64,
    /// The number of its first message; in a marker, of the next one.
    pub first: u64,
    /// L: the number of the last message.
    pub last: u64,
    /// The number of entries in the body; 0 in a marker.
    pub entries: u64,
    /// When the origin was last alive, in milliseconds since 1970.
    pub seen: u64,
    /// P: the position after the last message.
    pub position: String,
}

impl Note {
    pub fn text(&self) -> String {
        let Note { epoch, first, last, entries, seen, position } = self;
        format!("{epoch} {first} {last} {entries} {seen} {}", escape(position))
    }

    pub fn parse(text: &str) -> Option<Note> {
        let mut words = text.split(' ');
        let mut number = || {
            let word = words.next()?;
            word.bytes().all(|byte| byte.is_ascii_digit()).then(|| word.parse::<u64>().ok()).flatten()
        };
        let (epoch, first, last, entries, seen) = (number()?, number()?, number()?, number()?, number()?);
        // Trailing space of a header is not kept.
        let position = unescape(words.next().unwrap_or_default())?;
        let is_good = first > 0 && epoch > 0 && words.next().is_none() && entries >> INDEX_BITS == 0;
        is_good.then_some(Note { epoch, first, last, entries, seen, position })
    }
}

/// The body for the entries of a batch after a number, and how many they are.
pub(super) fn body(batch: &Batch, last: u64) -> (Vec<u8>, u64) {
    let mut bytes = Vec::with_capacity(batch.bytes() + 16 * batch.entries.len());
    let (mut number, mut count) = (batch.first, 0);
    for entry in &batch.entries {
        if number > last {
            bytes
                .extend_from_slice(format!("{} {number} {}\n", char::from(entry.kind), entry.payload.len()).as_bytes());
            bytes.extend_from_slice(&entry.payload);
            count += 1;
        }
        number += entry.takes;
    }
    (bytes, count)
}

/// The kind, number and payload of each entry in a body.
fn parts(body: &[u8]) -> Option<Vec<(u8, u64, &[u8])>> {
    let mut found = Vec::new();
    let mut rest = body;
    while !rest.is_empty() {
        let end = rest.iter().take(48).position(|byte| *byte == b'\n')?;
        let mut words = std::str::from_utf8(&rest[..end]).ok()?.split(' ');
        let (kind, number, len) = (words.next()?, words.next()?.parse().ok()?, words.next()?.parse::<usize>().ok()?);
        let [kind] = kind.as_bytes() else { return None };
        let payload = rest[end + 1..].get(..len)?;
        if number == 0 || words.next().is_some() {
            return None;
        }
        found.push((*kind, number, payload));
        rest = &rest[end + 1 + len..];
    }
    Some(found)
}

/// The entries of a message; `place` is the place of the first one.
pub(super) fn entries(
    place: crate::backend::Place,
    origin: &str,
    note: &Note,
    stamp: u64,
    body: &[u8],
) -> Result<Vec<Entry>, &'static str> {
    let parts = parts(body).ok_or("a body that is not made of entries")?;
    if parts.len() as u64 != note.entries {
        return Err("a body with more or less entries than its header says");
    }
    let entry = |(index, (kind, number, payload)): (usize, (u8, u64, &[u8]))| Entry {
        place: crate::backend::Place(place.0, place.1 + index as u64),
        origin: origin.to_owned(),
        epoch: note.epoch,
        number,
        kind,
        payload: payload.to_vec(),
        stamp,
    };
    Ok(parts.into_iter().enumerate().map(entry).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::{Content, Place};

    #[test]
    fn names_return() {
        for name in ["host/ring-0a", "a.b*c>d e", "höst", "100%", ""] {
            let text = escape(name);
            assert!(text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-%".contains(&byte)), "{text}");
            assert_eq!(unescape(&text).as_deref(), Some(name));
        }
        assert!(["%", "%4", "%zz", "%ff"].iter().all(|text| unescape(text).is_none()));
    }

    #[test]
    fn notes_return() {
        let note = Note { epoch: 7, first: 3, last: 9, entries: 2, seen: 5, position: "ring: 5 °".to_owned() };
        assert_eq!(Note::parse(&note.text()), Some(note.clone()));
        let none = Note { position: String::new(), ..note };
        assert_eq!(Note::parse(none.text().trim_end()), Some(none));
        let bad = ["", "1 1 1 1", "0 1 1 1 1 x", "1 0 1 1 1 x", "1 1 1 70000 1 x", "1 1 1 1 1 x y", "+1 1 1 1 1 x"];
        assert!(bad.iter().all(|text| Note::parse(text).is_none()));
    }

    #[test]
    fn entries_return() {
        let content = |kind, takes, payload: &[u8]| Content { kind, takes, payload: payload.to_vec() };
        let all_bytes: Vec<u8> = (0..=255).collect();
        let entries_of = vec![content(b'm', 1, &all_bytes), content(b'I', 3, b"1 2 3"), content(b'u', 1, b"")];
        let batch = Batch { first: 5, entries: entries_of, position: String::new() };
        let (bytes, count) = body(&batch, 5);
        assert_eq!(count, 2, "the first one is there already");
        let mut note = Note { epoch: 7, first: 6, last: 9, entries: count, seen: 5, position: String::new() };
        let found = entries(Place(1, 2 << INDEX_BITS), "o", &note, 7, &bytes).expect("well-formed");
        let brief: Vec<_> = found.iter().map(|entry| (entry.kind, entry.number, entry.payload.as_slice())).collect();
        assert_eq!(brief, [(b'I', 6, b"1 2 3".as_slice()), (b'u', 9, b"")]);
        assert_eq!(found[1].place, Place(1, (2 << INDEX_BITS) + 1));
        assert!(entries(Place::START, "o", &note, 7, &bytes[..bytes.len() - 1]).is_err(), "cut");
        note.entries = 3;
        assert!(entries(Place::START, "o", &note, 7, &bytes).is_err(), "too few");
        for bad in ["m 1 5\nx", "mm 1 1\nx", "m 0 1\nx", "m 1 1 1\nx", "m 1 99999999999999999999999\nx", "m"] {
            assert!(parts(bad.as_bytes()).is_none(), "{bad}");
        }
    }
}
