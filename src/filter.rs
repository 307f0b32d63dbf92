//! Filters of string subscribers: a message is accepted if it begins with one of the prefixes.
//!
//! A string consists of bytes, or of characters in UTF-8 if it has the flag. As in perl, strings are equal if their characters are,
//! and a byte is the character with its number. So each prefix is kept in two forms, for the two kinds of messages.

/// The prefixes of a subscriber.
#[derive(Debug)]
pub(crate) struct Filter {
    /// For messages of bytes.
    bytes: Vec<Box<[u8]>>,
    /// For messages of characters.
    characters: Vec<Box<[u8]>>,
}

impl Filter {
    /// A filter of these prefixes, each with its flag.
    pub(crate) fn new<'a>(prefixes: impl Iterator<Item = (&'a [u8], bool)>) -> Filter {
        let (mut bytes, mut characters) = (Vec::new(), Vec::new());
        for (prefix, utf8) in prefixes {
            if utf8 {
                characters.push(prefix.into());
                bytes.extend(narrowed(prefix));
            } else {
                characters.push(prefix.iter().copied().map(char::from).collect::<String>().into_bytes().into());
                bytes.push(prefix.into());
            }
        }
        Filter { bytes, characters }
    }

    /// Whether a message is accepted. `begins` says whether it begins with some bytes.
    #[inline]
    pub(crate) fn wants(&self, utf8: bool, begins: impl Fn(&[u8]) -> bool) -> bool {
        let prefixes = if utf8 { &self.characters } else { &self.bytes };
        prefixes.iter().any(|prefix| begins(prefix))
    }
}

/// Characters as bytes, one each; `None` if one of them is above 255.
fn narrowed(utf8: &[u8]) -> Option<Box<[u8]>> {
    let text = std::str::from_utf8(utf8).ok()?;
    text.chars().map(|character| u8::try_from(u32::from(character)).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wants(prefix: (&[u8], bool), message: (&[u8], bool)) -> bool {
        Filter::new([prefix].iter().copied()).wants(message.1, |start| message.0.starts_with(start))
    }

    #[test]
    fn strings_are_compared_by_their_characters() {
        for prefix in [(&b"a"[..], false), (b"a", true)] {
            for message in [(&b"abc"[..], false), (b"abc", true), (b"a", false)] {
                assert!(wants(prefix, message));
            }
            assert!(!wants(prefix, (b"b", false)) && !wants(prefix, (b"", true)));
        }
        let (latin, utf8) = ((&b"\xe9"[..], false), ("\u{e9}".as_bytes(), true));
        for prefix in [latin, utf8] {
            assert!(wants(prefix, latin) && wants(prefix, utf8));
            assert!(!wants(prefix, ("\u{e9}".as_bytes(), false)), "two bytes are two characters");
        }
        let wide = ("\u{263a}".as_bytes(), true);
        assert!(wants(wide, wide) && !wants(wide, (wide.0, false)));
        assert!(wants((b"\xff", true), (b"\xff", true)), "perl has characters that are none");
        assert!(wants((b"", false), wide) && wants((b"", true), latin));
    }

    #[test]
    fn one_of_several_is_enough_and_one_of_none_is_not() {
        let filter = Filter::new([(&b"a"[..], false), (b"b", false)].iter().copied());
        let wants = |message: &[u8]| filter.wants(false, |start| message.starts_with(start));
        assert!(wants(b"apple") && wants(b"bear") && !wants(b"cat"));
        assert!(!Filter::new(std::iter::empty()).wants(false, |_| true));
    }
}
