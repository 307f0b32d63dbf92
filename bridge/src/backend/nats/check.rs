//! Checks a server: missing permissions, and persistence settings.

use std::collections::BTreeMap;

use async_nats::jetstream::stream::{Info, StorageType};
use serde::Deserialize;
use serde_json::{Value, json};

use super::connecting::Live;
use super::{Backend, Failure, Head, Nats, Note, Place, Result, Stream};
use crate::check::{Findings, too_old};

/// The earliest version that a bridge can use.
const LEAST: &str = "2.9";

/// The limits of the account for JetStream.
#[derive(Deserialize)]
struct Account {
    storage: i64,
    limits: AccountLimits,
}

#[derive(Deserialize)]
struct AccountLimits {
    max_storage: i64,
}

impl Account {
    fn problem(&self) -> Option<&'static str> {
        (self.limits.max_storage == 0)
            .then_some("this account has no room on disk; raise its max_file (nats account info)")
    }

    fn advice(&self) -> Option<String> {
        let (used, most) = (self.storage, self.limits.max_storage);
        is_nearly_full(used, most)
            .then(|| format!("this account uses {used} of {most} bytes on disk; raise its max_file, or keep less"))
    }
}

/// Why this version of the server will not do.
/// Whether more than nine tenths of a limit are used; a limit of 0 or less is none.
fn is_nearly_full(used: i64, most: i64) -> bool {
    most > 0 && used > most / 10 * 9
}

impl Nats {
    /// Checks the streams, each with its name and whether a bridge sends to it. Creates nothing.
    pub(crate) async fn check(&self, findings: &mut Findings, streams: &BTreeMap<&str, bool>) {
        let Ok(live) = self.keeper.live() else { return };
        let name = &live.settings.name;
        let version = live.client.server_info().version;
        if let Some(why) = too_old(&version, LEAST) {
            return findings.problems.push(format!("{name}: {why}"));
        }
        findings.good.push(format!("{name}: version {version}"));
        match live.api::<Account>("INFO", &Value::Null).await {
            Ok(Ok(account)) => {
                findings.problems.extend(account.problem().map(|why| format!("{name}: {why}")));
                findings.advice.extend(account.advice().map(|what| format!("{name}: {what}")));
            }
            Ok(Err(refusal)) => {
                return findings.problems.push(refusal.failure("-").to_string().replacen("stream -", name, 1));
            }
            Err(failure) => {
                findings.problems.push(failure.to_string());
                if !matches!(failure, Failure::Denied(_)) {
                    return;
                }
            }
        }
        let mut denied = false;
        for (stream, sends) in streams {
            match self.stream(stream) {
                Ok(stream) => denied |= self.check_stream(&live, findings, &stream, *sends).await,
                Err(failure) => findings.problems.push(format!("{name}: {failure}")),
            }
        }
        if denied {
            findings.advice.push(self.permissions(&live, streams));
        }
    }

    /// Returns whether a permission was missing.
    async fn check_stream(&self, live: &Live, findings: &mut Findings, stream: &Stream, sends: bool) -> bool {
        let name = &live.settings.name;
        let about = |what: &String| {
            let what = what.strip_prefix(&format!("{name}: ")).unwrap_or(what);
            format!("{name}: stream {}: {what}", stream.shown)
        };
        match self.look_at(live, stream, sends).await {
            Ok(found) => {
                findings.good.extend(found.good.iter().map(about));
                findings.advice.extend(found.advice.iter().map(about));
                findings.problems.extend(found.problems.iter().map(about));
                false
            }
            Err(failure) => {
                findings.problems.push(about(&failure.to_string()));
                matches!(failure, Failure::Denied(_))
            }
        }
    }

    /// The findings for a stream, without its name. A failure says why there are no more.
    async fn look_at(&self, live: &Live, stream: &Stream, sends: bool) -> Result<Findings> {
        let mut found = Findings::default();
        let Some(info) = stream.info(live).await? else {
            Nats::probe(live, stream, sends).await?;
            let what = if sends { "will be created" } else { "is not there yet: a bridge that sends to it creates it" };
            found.good.push(what.to_owned());
            return Ok(found);
        };
        if let Some(why) = stream.wrong_settings(&info.config) {
            found.problems.push(why);
            return Ok(found);
        }
        Nats::probe(live, stream, sends).await?;
        self.ends(&stream.shown, Place::START).await?;
        self.origins(&stream.shown).await?;
        found.good.push("can be read".to_owned());
        found.advice = advice(&info, sends);
        Ok(found)
    }

    /// Sends the requests of a bridge in forms that change nothing: for a subject without an origin, with a last message that it
    /// cannot have.
    async fn probe(live: &Live, stream: &Stream, sends: bool) -> Result<()> {
        let origin = "check";
        Nats::head(live, stream, origin).await?;
        if sends {
            let head = Head { sequence: u64::MAX >> 1, note: None };
            let note = Note { epoch: 1, first: 1, last: 0, entries: 0, seen: 0, position: String::new() };
            Nats::put(live, stream, origin, &head, &note, Vec::new()).await?;
            Nats::purge(live, stream, &json!({"filter": stream.of(origin)})).await?;
        }
        Ok(())
    }

    /// The permissions for an operator to copy.
    fn permissions(&self, live: &Live, streams: &BTreeMap<&str, bool>) -> String {
        let mut publish = vec!["$JS.API.INFO".to_owned()];
        for (stream, sends) in streams.iter().filter_map(|(stream, sends)| Some((self.stream(stream).ok()?, *sends))) {
            let name = &stream.name;
            publish.extend(["INFO", "MSG.GET"].map(|what| format!("$JS.API.STREAM.{what}.{name}")));
            for what in ["CREATE", "MSG.NEXT", "DELETE"] {
                publish.push(format!("$JS.API.CONSUMER.{what}.{name}.>"));
            }
            if sends {
                publish.extend(["CREATE", "PURGE"].map(|what| format!("$JS.API.STREAM.{what}.{name}")));
                publish.push(stream.subject("*"));
            }
        }
        format!(
            "{}: permissions {{ publish: [\"{}\"], subscribe: [\"_INBOX.>\"] }}",
            live.settings.name,
            publish.join("\", \"")
        )
    }
}

/// Findings that are not errors.
fn advice(info: &Info, sends: bool) -> Vec<String> {
    let config = &info.config;
    let mut found = Vec::new();
    if config.storage == StorageType::Memory {
        found.push(
            "is kept in memory: what it has acknowledged does not survive a restart; remove it, and it is created with \
             storage file"
                .to_owned(),
        );
    }
    if config.num_replicas == 1 && info.cluster.as_ref().is_some_and(|cluster| !cluster.replicas.is_empty()) {
        found.push("has one replica in a cluster".to_owned());
    }
    if config.max_message_size > 0 && sends {
        found.push(format!(
            "takes messages of at most {} bytes (max_msg_size): longer batches are refused again and again",
            config.max_message_size
        ));
    }
    if is_nearly_full(info.state.bytes.try_into().unwrap_or(i64::MAX), config.max_bytes) {
        found.push(format!(
            "has {} of {} bytes (max_bytes): raise it, or keep less",
            info.state.bytes, config.max_bytes
        ));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_that_is_full_or_has_nothing_is_told() {
        let account = |storage, max_storage| Account { storage, limits: AccountLimits { max_storage } };
        assert!(account(0, 0).problem().is_some_and(|why| why.contains("raise its max_file")));
        assert_eq!((account(0, -1).problem(), account(5, 10).problem()), (None, None));
        assert_eq!((account(i64::MAX, -1).advice(), account(900, 1000).advice()), (None, None));
        assert!(account(901, 1000).advice().is_some_and(|what| what.contains("uses 901 of 1000 bytes on disk")));
        assert!(account(i64::MAX, i64::MAX).advice().is_some());
    }

    #[test]
    fn old_versions_are_refused() {
        assert!(["2.9.0", "2.10.7", "2.11.0-beta.1", "3.0.0"].iter().all(|version| too_old(version, LEAST).is_none()));
        assert_eq!(too_old("2.8.4", LEAST).as_deref(), Some("is version 2.8.4; 2.9 or later is needed"));
    }

    #[test]
    fn what_is_to_be_thought_about_is_told() {
        let of = |config: Value, bytes: u64, sends| {
            let mut all = json!({
                "config": {"name": "a", "retention": "limits", "storage": "file", "discard": "new", "num_replicas": 1, "max_consumers": -1,
                    "max_msgs": -1, "max_bytes": -1, "max_age": 0},
                "created": "2026-01-01T00:00:00Z",
                "state": {"messages": 1, "bytes": bytes, "first_seq": 1, "first_ts": "2026-01-01T00:00:00Z", "last_seq": 1,
                    "last_ts": "2026-01-01T00:00:00Z", "consumer_count": 0},
                "cluster": {"name": "C", "leader": "s1", "replicas": [{"name": "s2", "current": true, "active": 1}]},
            });
            for (key, value) in config.as_object().expect("settings") {
                all["config"][key] = value.clone();
            }
            let alone = config["num_replicas"].is_null();
            if alone {
                all["cluster"] = Value::Null;
            }
            advice(&serde_json::from_value::<Info>(all).expect("an answer"), sends)
        };
        assert_eq!(of(json!({}), 1 << 40, true), [""; 0]);
        for (config, bytes, sends, words) in [
            (json!({"storage": "memory"}), 1, false, "is kept in memory"),
            (json!({"num_replicas": 1}), 1, false, "has one replica in a cluster"),
            (json!({"max_msg_size": 1000}), 1, true, "at most 1000 bytes (max_msg_size)"),
            (json!({"max_bytes": 1000}), 901, false, "has 901 of 1000 bytes (max_bytes)"),
        ] {
            let found = of(config.clone(), bytes, sends);
            assert!(found.len() == 1 && found[0].contains(words), "{config}: {found:?}");
        }
        let fine =
            [(json!({"num_replicas": 3}), 1), (json!({"max_msg_size": 1000}), 1), (json!({"max_bytes": 1000}), 900)];
        fine.into_iter().for_each(|(config, bytes)| assert_eq!(of(config, bytes, false), [""; 0]));
    }
}
