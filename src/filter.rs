//! Which strings a subscriber wants: those that begin with one of its prefixes.
//!
//! A string is bytes, or characters in UTF-8, as its flag says; two strings are equal when their characters are, a byte
//! being the character of its number (as perl compares them). So a prefix has two forms, one for messages of either kind.

/// The prefixes; a message that begins with one of them is wanted.
#[derive(Debug)]
pub(crate) struct Filter {
    /// As messages of bytes begin.
    bytes: Vec<Box<[u8]>>,
    /// As messages of characters begin.
    characters: Vec<Box<[u8]>>,
}

impl Filter {
    /// Of prefixes, each with its flag.
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

    /// Whether a message is wanted that `begins` with what is asked.
    #[inline]
    pub(crate) fn wants(&self, utf8: bool, begins: impl Fn(&[u8]) -> bool) -> bool {
        let prefixes = if utf8 { &self.characters } else { &self.bytes };
        prefixes.iter().any(|prefix| begins(prefix))
    }
}

/// Characters as bytes, one each; None where there is one that is none.
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
