//! Types of values in the configuration.

use std::time::Duration;

use data_pubsub_shared::Variant;
use serde::{Deserialize, Deserializer};

/// A number of slots, bytes or messages. A text may end in k, M or G, which are powers of 1024.
#[derive(Clone, Copy, Debug)]
pub(super) struct Count(pub u64);

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(from: D) -> std::result::Result<Count, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Given {
            Number(u64),
            Text(String),
        }
        let wrong =
            || serde::de::Error::custom("must be a number of 1 or more, or a text of one with k, M or G behind it");
        let number = match Given::deserialize(from).map_err(|_| wrong())? {
            Given::Number(number) => number,
            Given::Text(text) => {
                let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
                let power = match &text[split..] {
                    "" => 0,
                    "k" | "K" => 10,
                    "m" | "M" => 20,
                    "g" | "G" => 30,
                    _ => return Err(wrong()),
                };
                text[..split].parse::<u64>().ok().and_then(|number| number.checked_mul(1 << power)).ok_or_else(wrong)?
            }
        };
        if number == 0 { Err(wrong()) } else { Ok(Count(number)) }
    }
}

/// A duration: seconds, or a text of a number followed by s, m, h or d.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span(pub Duration);

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(from: D) -> std::result::Result<Span, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Given {
            Seconds(u64),
            Text(String),
        }
        let wrong = || {
            serde::de::Error::custom(
                "must be a number of seconds of 1 or more, or a text such as \"90s\", \"5m\", \"12h\", \"7d\"",
            )
        };
        let seconds = match Given::deserialize(from).map_err(|_| wrong())? {
            Given::Seconds(seconds) => seconds,
            Given::Text(text) => {
                let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
                let each = match &text[split..] {
                    "" | "s" => 1,
                    "m" => 60,
                    "h" => 3600,
                    "d" => 86_400,
                    _ => return Err(wrong()),
                };
                text[..split].parse::<u64>().ok().and_then(|number| number.checked_mul(each)).ok_or_else(wrong)?
            }
        };
        if seconds == 0 || seconds > 100 * 365 * 86_400 { Err(wrong()) } else { Ok(Span(Duration::from_secs(seconds))) }
    }
}

/// A variant.
#[derive(Clone, Copy, Debug)]
pub(super) struct Name(pub Variant);

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(from: D) -> std::result::Result<Name, D::Error> {
        let text = String::deserialize(from)?;
        let known = [Variant::Int, Variant::Int32, Variant::Int16, Variant::Str];
        let found = known.into_iter().find(|variant| format!("{variant:?}").eq_ignore_ascii_case(&text));
        found.map(Name).ok_or_else(|| serde::de::Error::custom("must be Int, Int32, Int16 or Str"))
    }
}

/// Permission bits, in octal digits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mode(pub u32);

impl<'de> Deserialize<'de> for Mode {
    fn deserialize<D: Deserializer<'de>>(from: D) -> std::result::Result<Mode, D::Error> {
        let wrong = || {
            serde::de::Error::custom(
                "must be octal digits in quotes, such as \"660\", which let the owner read and write",
            )
        };
        let text = String::deserialize(from).map_err(|_| wrong())?;
        let bits = u32::from_str_radix(&text, 8).ok().filter(|bits| *bits <= 0o7777 && bits & 0o600 == 0o600);
        bits.map(Mode).ok_or_else(wrong)
    }
}
