//! Conversion of messages to entries of a stream, and back. `docs/stream-format.md` describes the kinds of entries.

use crate::backend::Content;

/// A message of a ring.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Of a ring of integers.
    Int(i64),
    /// Of a ring of strings: the bytes, and whether they are characters (valid UTF-8 with the flag).
    Str(Vec<u8>, bool),
}

/// Puts messages into entries, up to `pack` messages in each. All must be of one ring.
#[derive(Debug)]
pub struct Packer {
    /// The maximum number of messages in an entry.
    pack: u64,
    /// The size in bytes after which an entry is full.
    full: usize,
    done: Vec<Content>,
    /// The entry that is being filled; its `takes` is 0 if there is none.
    open: Content,
    bytes: usize,
}

impl Packer {
    /// A packer with at most `pack` messages in an entry, and no more after `full` bytes.
    pub fn new(pack: u64, full: usize) -> Packer {
        let open = Content { kind: 0, takes: 0, payload: Vec::new() };
        Packer { pack, full, done: Vec::new(), open, bytes: 0 }
    }

    /// The size of all entries so far, in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes + self.open.payload.len()
    }

    /// The number of entries so far.
    pub fn entries(&self) -> usize {
        self.done.len() + usize::from(self.open.takes > 0)
    }

    /// The entry for the next message of a kind; `single` and `many` are the letters of the kind.
    fn entry(&mut self, many: u8) -> &mut Content {
        if self.open.takes > 0
            && (self.open.kind != many || self.open.takes >= self.pack || self.open.payload.len() >= self.full)
        {
            self.close();
        }
        self.open.kind = many;
        self.open.takes += 1;
        &mut self.open
    }

    /// Adds an integer.
    pub fn int(&mut self, value: i64) {
        use std::io::Write;
        let entry = self.entry(b'I');
        if !entry.payload.is_empty() {
            entry.payload.push(b' ');
        }
        let _ = write!(entry.payload, "{value}");
    }

    /// Adds a string. If it has the flag of characters but is not valid UTF-8, it is sent as bytes.
    pub fn str(&mut self, bytes: &[u8], utf8: bool) {
        let is_text = utf8 && std::str::from_utf8(bytes).is_ok();
        let entry = self.entry(if is_text { b'U' } else { b'M' });
        entry.payload.extend_from_slice(&(bytes.len() as u32).to_be_bytes());
        entry.payload.extend_from_slice(bytes);
    }

    /// Adds a gap. A gap of unknown length, 0, takes one number.
    pub fn gap(&mut self, reason: &str, count: u64) {
        self.close();
        let payload = format!("{reason} {count}").into_bytes();
        self.bytes += payload.len();
        self.done.push(Content { kind: b'g', takes: count.max(1), payload });
    }

    fn close(&mut self) {
        if self.open.takes == 0 {
            return;
        }
        let empty = Content { kind: 0, takes: 0, payload: Vec::new() };
        let mut entry = std::mem::replace(&mut self.open, empty);
        if self.pack == 1 {
            // A single string has no length in front: that is easier to read for people and in other languages.
            entry.kind = entry.kind.to_ascii_lowercase();
            if entry.kind != b'i' {
                entry.payload.drain(..4);
            }
        }
        self.bytes += entry.payload.len();
        self.done.push(entry);
    }

    /// Returns the entries, and starts over.
    pub fn take(&mut self) -> Vec<Content> {
        self.close();
        self.bytes = 0;
        std::mem::take(&mut self.done)
    }
}

/// The content of an entry.
#[derive(Debug, PartialEq, Eq)]
pub enum Held {
    /// One or more integers, in [`Unpacker::ints`].
    Ints,
    /// One or more strings, whose places in the payload are in [`Unpacker::spans`]; and whether they are characters.
    Strs(bool),
    /// A gap: the reason, and how many messages were lost; 0 if that is unknown.
    Gap(String, u64),
}

/// Reads the content of entries, one after the other.
#[derive(Debug, Default)]
pub struct Unpacker {
    /// The integers of the last entry.
    pub ints: Vec<i64>,
    /// The places of the strings of the last entry.
    pub spans: Vec<(usize, usize)>,
}

impl Unpacker {
    /// Reads an entry's content.
    ///
    /// # Errors
    /// A text that says what is wrong with it.
    pub fn unpack(&mut self, kind: u8, payload: &[u8]) -> Result<Held, String> {
        self.ints.clear();
        self.spans.clear();
        let held = match kind {
            b'i' => {
                self.ints.push(integer(payload)?);
                Held::Ints
            }
            b'I' => {
                for text in payload.split(|byte| *byte == b' ').filter(|text| !text.is_empty()) {
                    self.ints.push(integer(text)?);
                }
                Held::Ints
            }
            b'm' | b'u' => {
                self.spans.push((0, payload.len()));
                Held::Strs(kind == b'u')
            }
            b'M' | b'U' => {
                self.parts(payload)?;
                Held::Strs(kind == b'U')
            }
            b'g' => return gap(payload),
            _ => return Err(format!("an entry of unknown kind '{}'", kind.escape_ascii())),
        };
        if self.ints.is_empty() && self.spans.is_empty() {
            return Err(format!("an entry of kind '{}' that holds no message", char::from(kind)));
        }
        Ok(held)
    }

    /// The strings of a pack. A truncated pack is an error, so that half a message is not taken for a whole one.
    fn parts(&mut self, payload: &[u8]) -> Result<(), String> {
        let mut rest = payload;
        while let Some((length, behind)) = rest.split_first_chunk::<4>() {
            let length = u32::from_be_bytes(*length) as usize;
            if length > behind.len() {
                break;
            }
            let start = payload.len() - behind.len();
            self.spans.push((start, start + length));
            rest = &behind[length..];
        }
        if rest.is_empty() { Ok(()) } else { Err("a pack that ends in the middle of a message".to_owned()) }
    }

    /// How many numbers the entry takes.
    pub fn takes(&self, held: &Held) -> u64 {
        match held {
            Held::Ints => self.ints.len() as u64,
            Held::Strs(_) => self.spans.len() as u64,
            Held::Gap(_, count) => (*count).max(1),
        }
    }
}

fn integer(digits: &[u8]) -> Result<i64, String> {
    let parsed = std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok());
    parsed.ok_or_else(|| format!("an integer that says '{}'", digits.escape_ascii()))
}

fn gap(payload: &[u8]) -> Result<Held, String> {
    let parse = || {
        let (reason, count) = std::str::from_utf8(payload).ok()?.split_once(' ')?;
        let is_word = (1..=20).contains(&reason.len()) && reason.bytes().all(|byte| byte.is_ascii_lowercase());
        let is_number = (1..=18).contains(&count.len()) && count.bytes().all(|byte| byte.is_ascii_digit());
        (is_word && is_number).then(|| count.parse().ok().map(|count| Held::Gap(reason.to_owned(), count))).flatten()
    };
    parse().ok_or_else(|| format!("a gap that says '{}'", payload.escape_ascii()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unpack(kind: u8, payload: &[u8]) -> Result<Vec<Message>, String> {
        let mut unpacker = Unpacker::default();
        let held = unpacker.unpack(kind, payload)?;
        let is_text = |bytes: &[u8]| held == Held::Strs(true) && std::str::from_utf8(bytes).is_ok();
        let bytes = |&(start, end): &(usize, usize)| payload[start..end].to_vec();
        let strs = unpacker.spans.iter().map(bytes).map(|bytes| Message::Str(bytes.clone(), is_text(&bytes)));
        Ok(unpacker.ints.iter().copied().map(Message::Int).chain(strs).collect())
    }

    #[test]
    fn what_is_packed_comes_out_again() {
        for pack in [1, 2, 3, 50] {
            let mut packer = Packer::new(pack, 1 << 20);
            let given = ["", "a", "\0\n", "0123456789"];
            for round in 0..3 {
                given.iter().for_each(|text| packer.str(text.as_bytes(), round == 1));
            }
            packer.gap("overrun", 7);
            [1, -2, i64::MIN, i64::MAX].iter().for_each(|value| packer.int(*value));
            let entries = packer.take();
            assert!(entries.iter().all(|entry| entry.kind == b'g' || entry.takes <= pack), "{entries:?}");
            let mut found = Vec::new();
            for entry in &entries {
                let messages = unpack(entry.kind, &entry.payload).expect("ours");
                if entry.kind == b'g' {
                    assert_eq!((entry.payload.as_slice(), entry.takes, found.len()), (b"overrun 7".as_slice(), 7, 12));
                } else {
                    assert_eq!(messages.len() as u64, entry.takes);
                }
                found.extend(messages);
            }
            let strings = |utf8| given.iter().map(move |text| Message::Str(text.as_bytes().to_vec(), utf8));
            let mut all: Vec<_> = strings(false).chain(strings(true)).chain(strings(false)).collect();
            all.extend([1, -2, i64::MIN, i64::MAX].map(Message::Int));
            assert_eq!(found, all, "pack {pack}");
        }
    }

    #[test]
    fn single_messages_are_plain() {
        let mut packer = Packer::new(1, 1 << 20);
        packer.str(b"abc", false);
        packer.str("ü".as_bytes(), true);
        packer.str(b"\xff", true);
        packer.int(-5);
        let entries: Vec<_> = packer.take().into_iter().map(|entry| (entry.kind, entry.payload)).collect();
        assert_eq!(entries, [(b'm', b"abc".to_vec()), (b'u', "ü".into()), (b'm', vec![0xff]), (b'i', b"-5".to_vec())]);
    }

    #[test]
    fn a_large_entry_is_closed() {
        let mut packer = Packer::new(50, 10);
        (0..4).for_each(|_| packer.str(b"0123456", false));
        assert_eq!(packer.entries(), 4);
        assert_eq!(packer.bytes(), 44);
        assert_eq!(packer.take().iter().map(|entry| entry.takes).collect::<Vec<_>>(), [1, 1, 1, 1]);
    }

    #[test]
    fn what_is_malformed_is_refused() {
        let bad: [(u8, &[u8]); 14] = [
            (b'i', b""),
            (b'i', b"1.5"),
            (b'i', b"99999999999999999999"),
            (b'I', b""),
            (b'I', b"1 x"),
            (b'M', b""),
            (b'M', b"\0\0\0\x05abc"),
            (b'M', b"\0\0\0\x01a\0"),
            (b'U', b"\xff\xff\xff\xff"),
            (b'g', b"overrun"),
            (b'g', b"overrun -1"),
            (b'g', b"Over 1"),
            (b'z', b"x"),
            (0, b""),
        ];
        for (kind, payload) in bad {
            assert!(unpack(kind, payload).is_err(), "{} {}", kind.escape_ascii(), payload.escape_ascii());
        }
        assert_eq!(unpack(b'u', b"\xff"), Ok(vec![Message::Str(vec![0xff], false)]), "no UTF-8: bytes");
        assert_eq!(Unpacker::default().unpack(b'g', b"replaced 0"), Ok(Held::Gap("replaced".to_owned(), 0)));
    }
}
