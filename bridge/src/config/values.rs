//! Types of values in the configuration.

use std::time::Duration;

use data_pubsub_shared::Variant;
use serde::{Deserialize, Deserializer};

/// Reads a number of 1 or more: a number, or a text of digits followed by a unit, whose value `unit` returns. `wrong` is the error.
fn scaled<'de, D: Deserializer<'de>>(
    from: D,
    unit: impl Fn(&str) -> Option<u64>,
    wrong: &str,
) -> std::result::Result<u64, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Given {
        Number(u64),
        Text(String),
    }
    let number = match Given::deserialize(from) {
        Ok(Given::Number(number)) => Some(number),
        Ok(Given::Text(text)) => {
            let (digits, rest) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
            unit(rest).and_then(|each| digits.parse::<u64>().ok()?.checked_mul(each))
        }
        Err(_) => None,
    };
    number.filter(|number| *number > 0).ok_or_else(|| serde::de::Error::custom(wrong))
}

/// A number of slots, bytes or messages. A text may end in k, M or G, which are powers of 1024.
#[derive(Clone, Copy, Debug)]
pub(super) struct Count(pub u64);

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(from: D) -> std::result::Result<Count, D::Error> {
        let unit = |unit: &str| match unit {
            "" => Some(1),
            "k" | "K" => Some(1 << 10),
            "m" | "M" => Some(1 << 20),
            "g" | "G" => Some(1 << 30),
            _ => None,
        };
        scaled(from, unit, "must be a number of 1 or more, or a text of one with k, M or G behind it").map(Count)
    }
}

/// The longest duration: 100 years, in seconds.
const MAX_SPAN: u64 = 100 * 365 * 86_400;

/// A duration: seconds, or a text of a number followed by s, m, h or d.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span(pub Duration);

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(from: D) -> std::result::Result<Span, D::Error> {
        let unit = |unit: &str| match unit {
            "" | "s" => Some(1),
            "m" => Some(60),
            "h" => Some(3600),
            "d" => Some(86_400),
            _ => None,
        };
        let wrong = "must be a number of seconds of 1 or more, or a text such as \"90s\", \"5m\", \"12h\", \"7d\"";
        let seconds = scaled(from, unit, wrong)?;
        if seconds > MAX_SPAN { Err(serde::de::Error::custom(wrong)) } else { Ok(Span(Duration::from_secs(seconds))) }
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
