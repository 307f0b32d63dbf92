//! What a server's refusals mean, and what can be done about each: one line.

use redis::{ErrorKind, RedisError};

use super::{Failure, origins_key};

/// The server's own words. Servers before version 7 put what a script met behind words of their own.
pub(super) fn words(error: &RedisError) -> String {
    match (error.code(), error.detail()) {
        (Some(code), Some(detail)) => format!("{code} {detail}"),
        (Some(code), None) => code.to_owned(),
        // The library keeps the server's own words to itself.
        _ if error.kind() == ErrorKind::AuthenticationFailed => "WRONGPASS password authentication failed".to_owned(),
        _ => error.to_string().split(" (os error").next().unwrap_or_default().to_owned(),
    }
}

pub(super) fn is_no_script(error: &RedisError) -> bool {
    words(error).contains("NOSCRIPT")
}

/// Whether the server itself has said this; otherwise the connection is no good any more.
pub(super) fn is_answer(error: &RedisError) -> bool {
    let is_server =
        matches!(error.kind(), ErrorKind::Server(_) | ErrorKind::Extension | ErrorKind::AuthenticationFailed);
    is_server && error.code().is_some()
}

/// Errors of a server that is not the one to write to any more: another one is looked for.
pub(super) fn is_elsewhere(error: &RedisError) -> bool {
    let words = words(error);
    ["READONLY", "MASTERDOWN", "UNBLOCKED"].iter().any(|word| words.contains(word))
}

/// A known refusal, by a word in it, and what to do.
const REMEDIES: [(&str, &str); 14] = [
    ("NOAUTH", "give username and password-file"),
    ("WRONGPASS", "see username and password-file"),
    ("invalid password", "see password-file"),
    ("without any password", "the server has no password: leave password-file out"),
    ("NOPERM", "allow it: `pubsub-bridge check` prints the rule for this user"),
    ("can't run this command", "allow it: `pubsub-bridge check` prints the rule for this user"),
    ("NOREPLICAS", "see min-replicas-to-write of the server, and its replicas"),
    ("MISCONF", "the server cannot save to its disk: see its log"),
    ("READONLY", "this is a replica: give its master, or sentinel://"),
    ("LOADING", "the server is starting"),
    ("TRYAGAIN", "the slot of this stream is being moved to another node"),
    ("CLUSTERDOWN", "see CLUSTER INFO of the server"),
    ("cluster support disabled", "this server is not a cluster: give redis://"),
    ("unknown command", "the server must be Redis 6.2 or later, or Valkey"),
];

/// Whether the server's words are about a permission, which this user does not have; version 6 has others for those of a script.
pub(crate) fn is_denial(words: &str) -> bool {
    words.contains("NOPERM") || words.contains("can't run this command")
}

/// The server's words, with the remedy.
pub(super) fn with_remedy(words: &str) -> String {
    match REMEDIES.iter().find(|(word, _)| words.contains(word)) {
        Some((_, remedy)) => format!("{words}; {remedy}"),
        None => words.to_owned(),
    }
}

/// What an answer that is an error means for a call on a stream.
pub(super) fn refusal(stream: &str, error: &RedisError) -> Failure {
    let words = words(error);
    if words.contains("FENCED") {
        return Failure::Fenced;
    }
    if words.contains("HOLE before") {
        return Failure::Hole;
    }
    if words.contains("OOM ") {
        return Failure::Full(format!("{words}; raise maxmemory, or keep less (keep-messages, keep-age, keep-bytes)"));
    }
    if words.contains("WRONGTYPE") {
        return Failure::Hopeless(match words.contains("ORIGINS") {
            true => format!("key '{}' exists but is not a hash", origins_key(stream)),
            false => format!("key '{stream}' exists but is not a stream"),
        });
    }
    if is_denial(&words) {
        return Failure::Denied(with_remedy(&words));
    }
    Failure::Refused(with_remedy(&words))
}
