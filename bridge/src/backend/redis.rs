//! The backend for Redis and Valkey Streams: one server, one that Sentinel finds, or a cluster.
//!
//! Beside the stream NAME is a hash `{NAME}:origins`, which has `EPOCH LAST TIME POSITION` for each origin. One script appends a
//! batch and updates the hash, so the two are always consistent. A server executes scripts atomically. If it refuses a script
//! because of memory or replicas, it does so before the first write.
//!
//! All senders share one connection with pipelined requests. All readers share another one, with one XREAD for all streams
//! (`reading`). In a cluster there is one connection to each node, and readers poll, because one request cannot wait for streams of
//! different slots; if a node is down, only its streams are affected. `connecting` maintains the connections, and finds out why one
//! cannot be made.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use redis::{Cmd, Value};

use super::keeper::Keeper;
use super::{Backend, Batch, Begun, Claim, Ends, Failure, Health, Limits, Origins, Place, Result, Sender, Sent};

mod connecting;
mod errors;
mod reading;

pub use connecting::{Address, Settings, Tls};
pub(crate) use errors::is_denial;
pub use reading::RedisReader;

/// How many batches of one sender may be in flight.
const WINDOW: usize = 8;
/// The maximum size of a batch in bytes, far below a server's limit for an argument (`proto-max-bulk-len`).
const BATCH_BYTES: usize = 64 << 20;

/// A script, which is called by its hash, and loaded if the server does not have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Script {
    Append,
    Begin,
    Ends,
    Tend,
}

impl Script {
    const ALL: [Script; 4] = [Script::Append, Script::Begin, Script::Ends, Script::Tend];

    fn source(self) -> &'static str {
        match self {
            Script::Append => include_str!("redis/append.lua"),
            Script::Begin => include_str!("redis/begin.lua"),
            Script::Ends => include_str!("redis/ends.lua"),
            Script::Tend => include_str!("redis/tend.lua"),
        }
    }

    fn hash(self) -> &'static str {
        static HASHES: LazyLock<[String; 4]> =
            LazyLock::new(|| Script::ALL.map(|script| redis::Script::new(script.source()).get_hash().to_owned()));
        &HASHES[self as usize]
    }
}

/// A server; clones share its connections, which are closed with the last one.
#[derive(Clone, Debug)]
pub struct Redis {
    keeper: Arc<Keeper<Settings>>,
}

/// The part of a key that determines its slot in a cluster: the text between its first braces, if it is not empty, or the whole
/// key.
fn slot_tag(key: &str) -> &str {
    let tag = key.split_once('{').and_then(|(_, behind)| behind.split_once('}')).map(|(tag, _)| tag);
    tag.filter(|tag| !tag.is_empty()).unwrap_or(key)
}

/// The key of the hash beside a stream. It is in the same slot of a cluster if [`has_one_slot`].
pub fn origins_key(stream: &str) -> String {
    if slot_tag(stream) == stream { format!("{{{stream}}}:origins") } else { format!("{stream}:origins") }
}

/// Whether both keys of a stream are in one slot of a cluster. They cannot be if the name has a `}`, and no text between braces.
pub fn has_one_slot(stream: &str) -> bool {
    slot_tag(&origins_key(stream)) == slot_tag(stream)
}

impl Redis {
    /// Starts to connect in the background, with retries.
    pub fn new(settings: Settings) -> Redis {
        // If another call was first, it has chosen the same.
        let _ = rustls::crypto::ring::default_provider().install_default();
        Redis { keeper: Arc::new(Keeper::start(settings)) }
    }

    /// Sends a request about a stream.
    pub(crate) async fn call(&self, stream: &str, command: &Cmd) -> Result<Value> {
        let live = self.keeper.live()?;
        live.query(command).await.map_err(|error| self.keeper.failure(&live, stream, &error))
    }

    /// Runs a script on a stream; `fill` adds the arguments after the keys.
    async fn run(&self, script: Script, stream: &str, fill: impl Fn(&mut Cmd) + Send + Sync) -> Result<Value> {
        let live = self.keeper.live()?;
        let command = |name: &str, what: &str| {
            let mut command = redis::cmd(name);
            command.arg(what);
            match script {
                Script::Append | Script::Ends => command.arg(2).arg(stream).arg(origins_key(stream)),
                Script::Begin | Script::Tend => command.arg(1).arg(origins_key(stream)),
            };
            fill(&mut command);
            command
        };
        let mut answer = live.query(&command("EVALSHA", script.hash())).await;
        if answer.as_ref().is_err_and(errors::is_no_script) {
            // The server has not seen the script yet, or its scripts were flushed, or this is another node.
            answer = live.query(&command("EVAL", script.source())).await;
        }
        answer.map_err(|error| self.keeper.failure(&live, stream, &error))
    }

    async fn ask_ends(&self, stream: &str, place: Place, with_origins: bool) -> Result<(Ends, Value)> {
        let answer = self
            .run(Script::Ends, stream, |command| {
                command.arg(place.to_string()).arg(u8::from(with_origins));
            })
            .await?;
        let mut parts = answer.into_sequence().map_err(|_| strange())?.into_iter();
        let mut id = || {
            let text = parts.next().and_then(text_of).ok_or_else(strange)?;
            if text.is_empty() { Ok(None) } else { text.parse::<Place>().map(Some).map_err(|_| strange()) }
        };
        let (first, newest, last, there) = (id()?, id()?, id()?.unwrap_or_default(), id()?);
        let (producer, number) = (parts.next().and_then(text_of), parts.next().and_then(text_of));
        let at = there.zip(producer).and_then(|(_, producer)| {
            let (origin, epoch) = producer.rsplit_once('#')?;
            Some(Sent { origin: origin.to_owned(), epoch: epoch.parse().ok()?, first: number?.parse().ok()?, stamp: 0 })
        });
        let oldest = first.map_or(place, |first| place.max(first));
        let behind = newest.map(|newest| Duration::from_millis(newest.0.saturating_sub(oldest.0)));
        let continues = place <= last && (there.is_some() || first.is_none_or(|first| place < first));
        Ok((Ends { first, newest, last, continues, at, behind }, parts.next().unwrap_or(Value::Nil)))
    }
}

/// The error for an unexpected answer.
fn strange() -> Failure {
    Failure::Refused("the server gave an answer that is none of Redis".to_owned())
}

/// The text of an answer, if it is one.
pub(crate) fn text_of(value: Value) -> Option<String> {
    match value {
        Value::BulkString(bytes) => String::from_utf8(bytes).ok(),
        Value::SimpleString(text) => Some(text),
        Value::Int(number) => Some(number.to_string()),
        Value::Okay => Some("OK".to_owned()),
        _ => None,
    }
}

fn pairs(value: Value) -> Vec<(Value, Value)> {
    match value {
        Value::Map(pairs) => pairs,
        other => {
            let mut each = other.into_sequence().unwrap_or_default().into_iter();
            std::iter::from_fn(|| Some((each.next()?, each.next()?))).collect()
        }
    }
}

/// The streams of an answer to XREAD: a list of pairs, a map, or nothing.
pub(crate) fn pairs_of_streams(value: Value) -> Vec<(Value, Value)> {
    match value {
        Value::Map(pairs) => pairs,
        other => {
            let pair = |value: Value| {
                let mut parts = value.into_sequence().ok()?.into_iter();
                Some((parts.next()?, parts.next()?))
            };
            other.into_sequence().unwrap_or_default().into_iter().filter_map(pair).collect()
        }
    }
}

impl Backend for Redis {
    type Reader = RedisReader;

    async fn connected(&self) {
        self.keeper.connected().await;
    }

    fn health(&self) -> Health {
        self.keeper.health()
    }

    fn window(&self) -> usize {
        WINDOW
    }

    fn batch_bytes(&self) -> usize {
        BATCH_BYTES
    }

    async fn begin(&self, stream: &str, origin: &str, claim: &Claim) -> Result<Begun> {
        let answer = self
            .run(Script::Begin, stream, |command| {
                command.arg(origin).arg(claim.epoch).arg(claim.number).arg(&claim.position);
            })
            .await?;
        let mut parts = answer.into_sequence().map_err(|_| strange())?.into_iter().map_while(text_of);
        let mut next = || parts.next().ok_or_else(strange);
        let (epoch, number, position, known) = (next()?, next()?, next()?, next()?);
        let number_of = |text: String| text.parse().map_err(|_| strange());
        Ok(Begun { epoch: number_of(epoch)?, number: number_of(number)?, position, known: known == "1" })
    }

    async fn append(&self, sender: &Sender, batch: &Batch, acknowledged: u64) -> Result<()> {
        let fill = |command: &mut Cmd| {
            command.arg(&sender.origin).arg(sender.epoch).arg(batch.first).arg(&batch.position).arg(acknowledged);
            for run in batch.entries.chunk_by(|one, next| one.kind == next.kind && one.takes == next.takes) {
                command.arg(&[run[0].kind][..]).arg(run[0].takes).arg(run.len());
                for entry in run {
                    command.arg(entry.payload.as_slice());
                }
            }
        };
        self.run(Script::Append, &sender.stream, fill).await.map(drop)
    }

    async fn read(&self, stream: &str, after: Place) -> Result<RedisReader> {
        self.keeper.live()?.read(stream, after)
    }

    async fn ends(&self, stream: &str, place: Place) -> Result<Ends> {
        self.ask_ends(stream, place, false).await.map(|(ends, _)| ends)
    }

    async fn origins(&self, stream: &str) -> Result<Origins> {
        let (ends, origins) = self.ask_ends(stream, Place::START, true).await?;
        let known = |(name, value): (Value, Value)| {
            let (name, value) = (text_of(name)?, text_of(value)?);
            let mut words = value.split(' ');
            Some((name, words.next()?.parse().ok()?, words.next()?.parse().ok()?))
        };
        let numbers = pairs(origins).into_iter().filter_map(known).collect();
        Ok(Origins { newest: ends.newest, last: ends.last, numbers })
    }

    async fn trim(&self, stream: &str, limits: &Limits, messages_per_entry: f64) -> Result<()> {
        let trim = |how: &str, than: u64| {
            let mut command = redis::cmd("XTRIM");
            command.arg(stream).arg(how).arg("~").arg(than);
            command
        };
        if let Some(messages) = limits.messages {
            let entries = (messages as f64 / messages_per_entry).ceil() as u64;
            self.call(stream, &trim("MAXLEN", entries)).await?;
        }
        if let Some(age) = limits.age {
            // By the server's clock, from which ids are made.
            let now = self.call(stream, &redis::cmd("TIME")).await?;
            let seconds: Option<u64> =
                now.into_sequence().ok().and_then(|parts| text_of(parts.into_iter().next()?)?.parse().ok());
            let least = seconds.ok_or_else(strange)?.saturating_sub(age.as_secs());
            self.call(stream, &trim("MINID", least * 1000)).await?;
        }
        if let Some(bytes) = limits.bytes {
            let number = async |command: &Cmd| {
                self.call(stream, command)
                    .await
                    .map(|value| text_of(value).and_then(|text| text.parse::<u64>().ok()).unwrap_or(0))
            };
            let used = number(redis::cmd("MEMORY").arg("USAGE").arg(stream)).await?;
            if used > bytes {
                let entries = number(redis::cmd("XLEN").arg(stream)).await?;
                self.call(stream, &trim("MAXLEN", (entries as f64 * bytes as f64 / used as f64) as u64)).await?;
            }
        }
        Ok(())
    }

    async fn tend(&self, sender: &Sender, idle: Duration) -> Result<u64> {
        let answer = self
            .run(Script::Tend, &sender.stream, |command| {
                command.arg(&sender.origin).arg(sender.epoch).arg(idle.as_millis() as u64);
            })
            .await?;
        text_of(answer).and_then(|text| text.parse().ok()).ok_or_else(strange)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_keys_have_one_slot() {
        assert_eq!(origins_key("news"), "{news}:origins");
        assert_eq!(origins_key("a{b}c"), "a{b}c:origins");
        assert_eq!(origins_key("a{"), "{a{}:origins");
        assert_eq!(["news", "a{b}c", "a{", "{x}", "a{b}{}}"].map(has_one_slot), [true; 5]);
        assert_eq!(["a}b", "a{}c", "}", "a}b{", "{}"].map(has_one_slot), [false; 5]);
    }
}
