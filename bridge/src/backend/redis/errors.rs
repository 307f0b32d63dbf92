//! Converts errors of a server to failures, each with its remedy in one line.

use redis::{ErrorKind, RedisError};

use super::{Failure, origins_key};

/// The server's own words. Before version 7, the error of a script is preceded by other words.
pub(super) fn words(error: &RedisError) -> String {
    match (error.code(), error.detail()) {
        (Some(code), Some(detail)) => format!("{code} {detail}"),
        (Some(code), None) => code.to_owned(),
        // The library does not return the server's words for these.
        _ if error.kind() == ErrorKind::AuthenticationFailed => "WRONGPASS password authentication failed".to_owned(),
        _ => crate::file::plain(error),
    }
}

pub(super) fn is_no_script(error: &RedisError) -> bool {
    words(error).contains("NOSCRIPT")
}

/// Whether the error is from the server; otherwise the connection is broken.
pub(super) fn is_answer(error: &RedisError) -> bool {
    let is_server =
        matches!(error.kind(), ErrorKind::Server(_) | ErrorKind::Extension | ErrorKind::AuthenticationFailed);
    is_server && error.code().is_some()
}

/// Errors of a server that does not accept writes any more. Then the connection is made again, to find the new master.
pub(super) fn is_elsewhere(error: &RedisError) -> bool {
    let words = words(error);
    ["READONLY", "MASTERDOWN", "UNBLOCKED"].iter().any(|word| words.contains(word))
}

/// Known refusals by a word in them, each with its remedy.
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

/// Whether the error is about a permission that this user does not have; version 6 has other words for scripts.
pub(crate) fn is_denial(words: &str) -> bool {
    words.contains("NOPERM") || words.contains("can't run this command")
}

/// The server's words, with a remedy.
pub(super) fn with_remedy(words: &str) -> String {
    match REMEDIES.iter().find(|(word, _)| words.contains(word)) {
        Some((_, remedy)) => format!("{words}; {remedy}"),
        None => words.to_owned(),
    }
}

/// Converts the error of a call for a stream.
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
