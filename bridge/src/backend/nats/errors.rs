//! Converts errors of a server to failures, each with its remedy in one line.

use serde::Deserialize;

use super::Failure;

/// An error of JetStream.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Refusal {
    #[serde(default)]
    pub err_code: u32,
    #[serde(default)]
    pub description: String,
}

/// An answer of JetStream.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Answer<T> {
    Err { error: Refusal },
    Ok(T),
}

const NO_MESSAGE: u32 = 10_037;
const NAME_IN_USE: u32 = 10_058;
const NO_STREAM: u32 = 10_059;
const WRONG_LAST: u32 = 10_071;

impl Refusal {
    pub fn is_no_stream(&self) -> bool {
        self.err_code == NO_STREAM
    }

    pub fn is_no_message(&self) -> bool {
        self.err_code == NO_MESSAGE
    }

    /// Whether the stream was created by another process, perhaps with other settings.
    pub fn is_there(&self) -> bool {
        self.err_code == NAME_IN_USE
    }

    /// Whether it is the fence: another message is the last one of the subject.
    pub fn is_wrong_last(&self) -> bool {
        self.err_code == WRONG_LAST
    }

    /// Converts it for a call for a stream.
    pub fn failure(&self, stream: &str) -> Failure {
        let words = format!("stream {stream}: {}", self.description);
        let is_full = [
            "maximum messages exceeded",
            "maximum bytes exceeded",
            "maximum messages per subject exceeded",
            "resource limits exceeded",
            "insufficient resources",
            "insufficient storage",
            "insufficient memory",
            "no space left",
        ];
        let lower = words.to_lowercase();
        if is_full.iter().any(|text| lower.contains(text)) {
            return Failure::Full(format!(
                "{words}; raise the limits of the stream or of JetStream, or keep less (keep-messages, keep-age, keep-bytes)"
            ));
        }
        match REMEDIES.iter().find(|(text, _)| lower.contains(text)) {
            Some((_, remedy)) => Failure::Refused(format!("{words}; {remedy}")),
            None => Failure::Refused(words),
        }
    }
}

/// Known refusals by words in them, each with its remedy.
const REMEDIES: [(&str, &str); 9] = [
    ("not enabled for account", "give the account of this user JetStream in the server's configuration"),
    ("not enabled", "start the server with JetStream (jetstream {} in its configuration, or -js)"),
    ("message size exceeds", "raise max_msg_size of the stream"),
    ("maximum number of streams", "raise the account's limit for streams"),
    ("maximum consumers", "raise max_consumers of the stream or of the account"),
    ("subjects overlap", "another stream has these subjects: give another subject for this server"),
    ("temporarily unavailable", "the cluster has no leader for the stream: see its servers"),
    ("msg block file", "the server has lost files of the stream: remove it (nats stream rm), and it is created again"),
    ("sealed", "the stream is sealed: give another one"),
];

/// The text of a denial, with the permission to grant.
pub(super) fn denial(name: &str, words: &str) -> Failure {
    Failure::Denied(format!("{name}: {words}; allow it: `pubsub-bridge check` prints the permissions for this user"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_have_their_kind_and_remedy() {
        let failure = |text: &str| Refusal { err_code: 1, description: text.to_owned() }.failure("s");
        assert!(matches!(failure("maximum bytes exceeded"), Failure::Full(text) if text.contains("keep-bytes")));
        assert!(matches!(failure("insufficient storage resources available"), Failure::Full(_)));
        let Failure::Refused(text) = failure("JetStream not enabled for account") else { panic!("refused") };
        assert_eq!(
            text,
            "stream s: JetStream not enabled for account; give the account of this user JetStream in the server's configuration"
        );
        assert!(matches!(failure("something else"), Failure::Refused(text) if text == "stream s: something else"));
    }
}
