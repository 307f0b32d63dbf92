//! Whether a configuration would work: the rings, the directories, and the servers with what they allow and how they save.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use redis::Value;

use crate::backend::redis::{Redis, Settings, origins_key, text_of};
use crate::backend::server::{self, Server};
use crate::backend::{Backend, Failure, Place};
use crate::config::Config;
use crate::ring::RingFile;

/// What was found: a line each.
#[derive(Debug, Default)]
pub struct Findings {
    /// What is good.
    pub good: Vec<String>,
    /// What is to be thought about.
    pub advice: Vec<String>,
    /// What would keep a bridge from working.
    pub problems: Vec<String>,
}

/// By name, and whether a bridge sends to it.
type Streams<'a> = BTreeMap<&'a str, bool>;

/// Looks at everything, and creates nothing.
pub async fn check(config: &Config, ask_servers: bool) -> Findings {
    let mut findings = Findings::default();
    let mut streams = BTreeMap::<&str, Streams<'_>>::new();
    for (name, bridge) in &config.bridges {
        let its = streams.entry(&bridge.server).or_default();
        if let Some(up) = &bridge.up {
            findings.ring(name, "up", &up.ring, &up.stream, &up.server);
            findings.directory(name, "up", &up.state);
            its.insert(&up.stream, true);
        }
        if let Some(down) = &bridge.down {
            findings.ring(name, "down", &down.ring, &down.streams.join(", "), &down.server);
            findings.directory(name, "down", &down.state);
            if let Some(gaps) = &down.gaps {
                findings.problems.extend(wrong_with(gaps).map(|why| format!("{name} down: {why}")));
            }
            for stream in &down.streams {
                its.entry(stream).or_insert(false);
            }
        }
    }
    if ask_servers {
        for (name, streams) in streams {
            findings.server(&config.servers[name], &streams).await;
        }
    }
    findings
}

/// What is wrong with a ring, or with the directory in which it would be made.
fn wrong_with(ring: &RingFile) -> Option<String> {
    match ring.existing() {
        Err(why) => Some(why),
        Ok(Some(_)) => None,
        Ok(None) if ring.variant.is_none() || ring.capacity.is_none() => {
            Some(format!("{}: no such ring; to create it, give variant and capacity", ring.path.display()))
        }
        Ok(None) => {
            let directory =
                ring.path.parent().filter(|directory| !directory.as_os_str().is_empty()).unwrap_or(Path::new("."));
            (!directory.is_dir()).then(|| format!("{}: no directory {}", ring.path.display(), directory.display()))
        }
    }
}

impl Findings {
    fn ring(&mut self, name: &str, direction: &str, ring: &RingFile, stream: &str, server: &str) {
        if let Some(why) = wrong_with(ring) {
            self.problems.push(format!("{name} {direction}: {why}"));
            return;
        }
        let what = match ring.existing() {
            Ok(Some((variant, capacity))) => format!("{variant:?}, {capacity} slots"),
            _ => "will be created".to_owned(),
        };
        self.good
            .push(format!("{name} {direction}: ring {} ({what}), stream {stream} at {server}", ring.path.display()));
    }

    /// The directory of a state file is made, wherever it can be.
    fn directory(&mut self, name: &str, direction: &str, state: &Path) {
        let there = state.ancestors().skip(1).find(|directory| directory.exists());
        if let Some(file) = there.filter(|there| !there.is_dir()) {
            self.problems.push(format!(
                "{name} {direction}: state {}: {} is not a directory",
                state.display(),
                file.display()
            ));
        }
    }

    async fn server(&mut self, settings: &server::Settings, streams: &Streams<'_>) {
        let server = settings.name();
        let backend = Server::new(settings.clone());
        let connected = tokio::time::timeout(settings.timeout() * 2 + Duration::from_secs(1), async {
            loop {
                tokio::select! {
                    () = backend.connected() => return Ok(()),
                    () = tokio::time::sleep(Duration::from_millis(20)) => {}
                }
                if let Some(why) = backend.health().error.filter(|why| !why.starts_with("not connected")) {
                    return Err(why);
                }
            }
        });
        match connected.await {
            Ok(Ok(())) => {}
            Ok(Err(why)) => return self.problems.push(why),
            Err(_) => {
                return self
                    .problems
                    .push(format!("no connection to {server} within {} s", settings.timeout().as_secs()));
            }
        }
        match (settings, &backend) {
            (server::Settings::Redis(settings), Server::Redis(backend)) => self.redis(settings, backend, streams).await,
            (_, Server::Nats(backend)) => backend.check(self, streams).await,
            _ => unreachable!("a server is of its settings' kind"),
        }
    }

    async fn redis(&mut self, settings: &Settings, backend: &Redis, streams: &Streams<'_>) {
        let server = &settings.name;
        let mut denied = false;
        for (stream, sends) in streams {
            match backend.ends(stream, Place::START).await.and(backend.origins(stream).await.map(drop)) {
                Ok(()) => self.good.push(format!("{server}: stream {stream} can be read")),
                Err(why) => {
                    denied |= why.to_string().contains("NOPERM");
                    self.problems.push(format!("{server}: stream {stream}: {why}"));
                }
            }
            for command in denied_commands(backend, stream, *sends).await {
                denied = true;
                self.problems.push(format!("{server}: stream {stream}: this user may not use {command}"));
            }
        }
        if denied {
            self.advice.push(rule(settings, streams));
        }
        self.settings_of(server, backend, streams).await;
    }

    /// How the server saves, and what it throws away.
    async fn settings_of(&mut self, server: &str, backend: &Redis, streams: &Streams<'_>) {
        let Some((stream, _)) = streams.first_key_value() else { return };
        let info = match backend.call(stream, redis::cmd("INFO").arg("everything")).await {
            Ok(answer) => text_of_info(answer),
            Err(_) => {
                return self.advice.push(format!("{server}: this user may not use INFO: how it saves is not known"));
            }
        };
        let value =
            |name: &str| info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim);
        if value("aof_enabled") == Some("0") {
            self.advice.push(format!("{server}: appendonly is no: what it has acknowledged does not survive its restart; CONFIG SET appendonly yes"));
        }
        if let Some(policy) =
            value("maxmemory_policy").filter(|policy| *policy != "noeviction" && !policy.starts_with("volatile"))
        {
            self.advice.push(format!(
                "{server}: maxmemory-policy is {policy}: it may drop a stream to make room; CONFIG SET maxmemory-policy noeviction"
            ));
        }
        if value("role") == Some("slave") {
            self.problems
                .push(format!("{server}: is a replica, and takes no messages; give its master, or sentinel://"));
        }
        if let Some(version) = value("redis_version") {
            let numbers: Vec<u32> = version.split('.').filter_map(|number| number.parse().ok()).collect();
            if numbers < vec![6, 2] {
                self.problems.push(format!("{server}: is version {version}; 6.2 or later is needed"));
            } else {
                self.good.push(format!("{server}: version {version}"));
            }
        }
    }
}

fn text_of_info(answer: Value) -> String {
    match answer {
        Value::VerbatimString { text, .. } => text,
        Value::Map(nodes) => nodes.into_iter().map(|(_, answer)| text_of_info(answer)).collect(),
        other => text_of(other).unwrap_or_default(),
    }
}

const READS: [&str; 5] = ["XREAD", "XRANGE", "XREVRANGE", "XINFO|STREAM", "HGETALL"];
const SENDS: [&str; 7] = ["XADD", "XTRIM", "XLEN", "HGET", "HSET", "HDEL", "MEMORY|USAGE"];

/// Commands that the server would refuse to this user; it says so from version 7 on.
async fn denied_commands(backend: &Redis, stream: &str, sends: bool) -> Vec<String> {
    const ASK: &str = "local ok, may = pcall(redis.acl_check_cmd, unpack(ARGV)) return (ok and not may) and 1 or 0";
    let origins = origins_key(stream);
    let arguments: [&[&str]; 6] = [
        &["XADD", stream, "*", "o", "x"],
        &["XTRIM", stream, "MAXLEN", "~", "1"],
        &["XLEN", stream],
        &["HGET", &origins, "x"],
        &["HSET", &origins, "x", "x"],
        &["HDEL", &origins, "x"],
    ];
    let reads: [&[&str]; 1] = [&["XREAD", "STREAMS", stream, "0"]];
    let mut denied = Vec::new();
    for words in reads.iter().chain(arguments.iter().filter(|_| sends)) {
        let mut command = redis::cmd("EVAL");
        command.arg(ASK).arg(2).arg(stream).arg(&origins);
        for word in *words {
            command.arg(*word);
        }
        match backend.call(stream, &command).await {
            Ok(Value::Int(1)) => denied.push(words[0].to_owned()),
            Ok(_) => {}
            Err(Failure::Refused(why)) if why.contains("NOPERM") => {
                denied.push("EVAL".to_owned());
                break;
            }
            Err(_) => break,
        }
    }
    denied
}

/// What an operator may type to allow it.
fn rule(settings: &Settings, streams: &Streams<'_>) -> String {
    let user = settings.username.as_deref().unwrap_or("bridge");
    let keys: Vec<String> =
        streams.keys().flat_map(|stream| [format!("~{stream}"), format!("~{}", origins_key(stream))]).collect();
    let sends = streams.values().any(|sends| *sends);
    let commands =
        READS.iter().chain(SENDS.iter().filter(|_| sends)).map(|command| format!("+{}", command.to_lowercase()));
    let commands: Vec<String> = commands.collect();
    format!(
        "{}: ACL SETUSER {user} on >PASSWORD {} -@all +ping +time +info +script|load +evalsha +eval {}",
        settings.name,
        keys.join(" "),
        commands.join(" ")
    )
}
