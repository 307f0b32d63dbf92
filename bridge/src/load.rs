//! Messages to publish in a ring, as places in the payloads of entries, without copies.

use data_pubsub_shared::{Bytes, ErrorKind, Ring, Variant};
use xxhash_rust::xxh3::xxh3_64;

use crate::entry::{Held, Message, Unpacker};

/// Messages for one ring, in order.
#[derive(Debug)]
pub struct Load {
    variant: Variant,
    msg_size: u64,
    ints: Vec<i64>,
    /// The payloads that the spans point to.
    bytes: Vec<u8>,
    spans: Vec<Span>,
}

#[derive(Clone, Copy, Debug)]
struct Span {
    start: usize,
    len: u32,
    utf8: bool,
}

/// How many messages of an entry were not added.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Added {
    /// The ring cannot hold them.
    pub rejected: u64,
    /// The filter rejects them.
    pub filtered: u64,
}

/// The range of numbers that an integer ring can hold.
fn range(variant: Variant) -> (i64, i64) {
    match variant {
        Variant::Int32 => (i32::MIN.into(), i32::MAX.into()),
        Variant::Int16 => (i16::MIN.into(), i16::MAX.into()),
        _ => (i64::MIN, i64::MAX),
    }
}

impl Load {
    /// An empty load for a ring.
    pub fn new(variant: Variant, msg_size: u64) -> Load {
        Load { variant, msg_size, ints: Vec::new(), bytes: Vec::new(), spans: Vec::new() }
    }

    /// The number of messages.
    pub fn len(&self) -> usize {
        if self.variant == Variant::Str { self.spans.len() } else { self.ints.len() }
    }

    /// Whether it is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds the messages `from .. to` of the entry that was unpacked last. Messages that the ring cannot hold unchanged are
    /// rejected.
    pub fn add(
        &mut self,
        unpacked: &Unpacker,
        held: &Held,
        payload: &[u8],
        (from, to): (usize, usize),
        prefixes: &[Vec<u8>],
    ) -> Added {
        let mut added = Added::default();
        match held {
            Held::Ints => {
                for value in &unpacked.ints[from..to] {
                    let is_in = if self.variant == Variant::Str {
                        let text = value.to_string().into_bytes();
                        self.add_str(&text, false)
                    } else {
                        self.add_int(*value)
                    };
                    added.rejected += u64::from(!is_in);
                }
            }
            Held::Strs(is_text) => self.add_strs(&unpacked.spans[from..to], *is_text, payload, prefixes, &mut added),
            Held::Gap(..) => {}
        }
        added
    }

    fn add_int(&mut self, value: i64) -> bool {
        let (least, greatest) = range(self.variant);
        let fits = (least..=greatest).contains(&value);
        if fits {
            self.ints.push(value);
        }
        fits
    }

    fn add_str(&mut self, text: &[u8], utf8: bool) -> bool {
        let fits = text.len() as u64 <= self.msg_size;
        if fits {
            self.spans.push(Span { start: self.bytes.len(), len: text.len() as u32, utf8 });
            self.bytes.extend_from_slice(text);
        }
        fits
    }

    fn add_strs(
        &mut self,
        spans: &[(usize, usize)],
        is_text: bool,
        payload: &[u8],
        prefixes: &[Vec<u8>],
        added: &mut Added,
    ) {
        let base = self.bytes.len();
        let before = self.len();
        for &(start, end) in spans {
            let bytes = &payload[start..end];
            if !prefixes.is_empty() && !prefixes.iter().any(|prefix| bytes.starts_with(prefix)) {
                added.filtered += 1;
                continue;
            }
            if self.variant != Variant::Str {
                // A number that was sent as text.
                let number = std::str::from_utf8(bytes)
                    .ok()
                    .and_then(|text| text.parse::<i64>().ok().filter(|n| n.to_string() == text));
                added.rejected += u64::from(!number.is_some_and(|number| self.add_int(number)));
                continue;
            }
            let len = bytes.len() as u64;
            if len > self.msg_size {
                added.rejected += 1;
                continue;
            }
            // Invalid UTF-8 stays bytes.
            let utf8 = is_text && std::str::from_utf8(bytes).is_ok();
            self.spans.push(Span { start: base + start, len: len as u32, utf8 });
        }
        if self.len() > before && self.variant == Variant::Str {
            self.bytes.extend_from_slice(payload);
        }
    }

    fn bytes_of(&self, span: &Span) -> &[u8] {
        &self.bytes[span.start..][..span.len as usize]
    }

    /// One of the messages.
    pub fn message(&self, index: usize) -> Message {
        match self.variant {
            Variant::Str => Message::Str(self.bytes_of(&self.spans[index]).to_vec(), self.spans[index].utf8),
            _ => Message::Int(self.ints[index]),
        }
    }

    /// Keeps the messages for which `keep` returns true; it is called once for each, in order.
    pub fn retain(&mut self, mut keep: impl FnMut(&Message) -> bool) {
        let kept: Vec<bool> = (0..self.len()).map(|index| keep(&self.message(index))).collect();
        let mut each = kept.iter();
        self.spans.retain(|_| *each.next().expect("as many"));
        let mut each = kept.iter();
        self.ints.retain(|_| *each.next().expect("as many"));
    }

    /// A checksum of all messages.
    pub fn sum(&self) -> u64 {
        match self.variant {
            Variant::Str => self.spans.iter().fold(0, |sum, span| folded(sum, self.bytes_of(span))),
            _ => self.ints.iter().fold(0, |sum, value| folded(sum, &value.to_le_bytes())),
        }
    }

    /// Publishes all messages at consecutive positions. Returns false, and publishes none, if there is no room for them now.
    ///
    /// # Errors
    /// An error of the ring. Then no message was published.
    pub fn try_publish(&self, ring: &Ring) -> Result<bool, String> {
        if self.variant != Variant::Str {
            return ring.try_publish_ints(&self.ints).map_err(|error| error.to_string());
        }
        let all: Vec<Bytes> =
            self.spans.iter().map(|span| Bytes { utf8: span.utf8, ..Bytes::new(self.bytes_of(span)) }).collect();
        // SAFETY: they point to the payloads, which are borrowed.
        match unsafe { ring.publish_strs(&all) } {
            Err(error) if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::Full) => Ok(false),
            other => other.map(|()| true).map_err(|error| error.to_string()),
        }
    }
}

fn folded(sum: u64, bytes: &[u8]) -> u64 {
    (sum ^ xxh3_64(bytes)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// As [`Load::sum`], of separate messages.
pub fn sum_of(messages: &[Message]) -> u64 {
    messages.iter().fold(0, |sum, message| match message {
        Message::Int(value) => folded(sum, &value.to_le_bytes()),
        Message::Str(bytes, _) => folded(sum, bytes),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(load: &mut Load, kind: u8, payload: &[u8], prefixes: &[Vec<u8>]) -> Added {
        let mut unpacker = Unpacker::default();
        let held = unpacker.unpack(kind, payload).expect("well-formed");
        let count = unpacker.takes(&held) as usize;
        load.add(&unpacker, &held, payload, (0, count), prefixes)
    }

    fn all(load: &Load) -> Vec<Message> {
        (0..load.len()).map(|index| load.message(index)).collect()
    }

    #[test]
    fn what_does_not_fit_is_rejected() {
        let mut load = Load::new(Variant::Int16, 0);
        assert_eq!(add(&mut load, b'I', b"1 32767 32768 -32769 -32768", &[]), Added { rejected: 2, filtered: 0 });
        assert_eq!(add(&mut load, b'm', b"77", &[]), Added::default(), "a number as a text");
        assert_eq!(add(&mut load, b'm', b"077", &[]), Added { rejected: 1, filtered: 0 });
        assert_eq!(all(&load), [1, 32767, -32768, 77].map(Message::Int));
        let mut load = Load::new(Variant::Str, 3);
        assert_eq!(
            add(&mut load, b'M', b"\0\0\0\x03abc\0\0\0\x04abcd\0\0\0\0", &[]),
            Added { rejected: 1, filtered: 0 }
        );
        assert_eq!(add(&mut load, b'I', b"5 -123", &[]), Added { rejected: 1, filtered: 0 });
        assert_eq!(all(&load), ["abc", "", "5"].map(|text| Message::Str(text.into(), false)));
    }

    #[test]
    fn prefixes_filter() {
        let mut load = Load::new(Variant::Str, 9);
        let prefixes = [b"a.".to_vec(), b"b".to_vec()];
        let payload = b"\0\0\0\x03a.1\0\0\0\x02ab\0\0\0\x02b2\0\0\0\0";
        assert_eq!(add(&mut load, b'U', payload, &prefixes), Added { rejected: 0, filtered: 2 });
        assert_eq!(all(&load), ["a.1", "b2"].map(|text| Message::Str(text.into(), true)));
    }

    #[test]
    fn the_rest_is_published_and_summed() {
        for (variant, kind, payload) in
            [(Variant::Int, b'I', b"1 2 3".as_slice()), (Variant::Str, b'M', b"\0\0\0\x011\0\0\0\x012\0\0\0\x013")]
        {
            let mut load = Load::new(variant, 8);
            add(&mut load, kind, payload, &[]);
            add(&mut load, kind, payload, &[]);
            assert_eq!(load.sum(), sum_of(&all(&load)));
            let mut count = 0;
            load.retain(|_| {
                count += 1;
                count % 2 == 0
            });
            let expected = all(&load);
            assert_eq!((expected.len(), load.sum()), (3, sum_of(&expected)));
            let ring = Ring::anonymous(variant, 16, 8).expect("a ring");
            assert!(load.try_publish(&ring).expect("publish"));
            let mut sub = ring.subscribe(true);
            let read = || -> Option<Message> {
                if variant == Variant::Int {
                    return sub.poll_int().expect("integers").map(Message::Int);
                }
                sub.poll_str().expect("strings").map(|(bytes, utf8)| Message::Str(bytes, utf8))
            };
            assert_eq!(std::iter::from_fn(read).collect::<Vec<_>>(), expected);
        }
    }

    #[test]
    fn what_has_no_room_is_not_published() {
        for (variant, kind, payload) in
            [(Variant::Int, b'I', b"1 2 3".as_slice()), (Variant::Str, b'M', b"\0\0\0\x011\0\0\0\x012\0\0\0\x013")]
        {
            let mut options = data_pubsub_shared::Options::new(4);
            (options.msg_size, options.lossless) = (8, true);
            let ring = options.anonymous(variant).expect("a ring");
            let mut sub = ring.subscribe(false);
            let mut load = Load::new(variant, 8);
            add(&mut load, kind, payload, &[]);
            let publish = || (load.try_publish(&ring), ring.write_pos());
            assert_eq!([publish(), publish()], [(Ok(true), 3), (Ok(false), 3)], "all or nothing, and without waiting");
            sub.reset();
            assert_eq!(publish(), (Ok(true), 6));
        }
    }
}
