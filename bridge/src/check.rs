//! Checks whether a configuration would work: its rings and directories, and the permissions and persistence settings of its
//! servers.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

use redis::Value;

use crate::backend::redis::{Address, Redis, Settings, is_denial, origins_key, text_of};
use crate::backend::server::{self, Server};
use crate::backend::{Backend, Failure, Place};
use crate::config::Config;
use crate::ring::RingFile;
use crate::{file, state};

/// The findings, one line each.
#[derive(Debug, Default)]
pub struct Findings {
    /// Things that are good.
    pub good: Vec<String>,
    /// Things to consider.
    pub advice: Vec<String>,
    /// Things that would prevent a bridge from working.
    pub problems: Vec<String>,
}

/// Streams by name, and whether a bridge sends to them.
type Streams<'a> = BTreeMap<&'a str, bool>;

/// Checks everything, and creates nothing.
pub async fn check(config: &Config, ask_servers: bool) -> Findings {
    let mut findings = Findings::default();
    let mut streams = BTreeMap::<&str, Streams<'_>>::new();
    for (name, bridge) in &config.bridges {
        let its = streams.entry(&bridge.server).or_default();
        if let Some(up) = &bridge.up {
            findings.ring(name, "up", &up.ring, &up.stream, &up.server);
            findings.state(name, "up", &up.state);
            its.insert(&up.stream, true);
        }
        if let Some(down) = &bridge.down {
            findings.ring(name, "down", &down.ring, &down.streams.join(", "), &down.server);
            findings.state(name, "down", &down.state);
            if let Some(gaps) = &down.gaps {
                findings.problems.extend(wrong_with(gaps).map(|why| format!("{name} down: {why}")));
            }
            for stream in &down.streams {
                its.entry(stream).or_insert(false);
            }
        }
    }
    for (what, path) in [("status", &config.status), ("metrics-file", &config.metrics_file)] {
        findings.problems.extend(path.as_deref().and_then(file::cannot_be_made).map(|why| format!("{what} {why}")));
    }
    if ask_servers {
        for (name, streams) in streams {
            findings.server(&config.servers[name], &streams).await;
        }
    }
    findings
}

/// The problems of a ring, or of the directory in which it would be created.
fn wrong_with(ring: &RingFile) -> Option<String> {
    match ring.existing() {
        Err(why) => Some(why),
        Ok(Some(_)) => None,
        Ok(None) => file::cannot_be_made(&ring.path).or_else(|| ring.check_new().err()),
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

    /// Checks a state file, or the directory for it, which may not exist yet.
    fn state(&mut self, name: &str, direction: &str, state: &Path) {
        let mut say = |why: String| self.problems.push(format!("{name} {direction}: state {why}"));
        match state::look(state) {
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {}
            Err(error) => return say(error.to_string()),
            Ok(()) => return,
        }
        let there = state.ancestors().skip(1).map(file::or_here).find(|directory| directory.exists());
        let why = there.and_then(|there| match there.is_dir() {
            true => file::unwritable(there),
            false => Some(format!("{} is not a directory", there.display())),
        });
        why.into_iter().for_each(|why| say(format!("{}: {why}", state.display())));
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
            Ok(Err(why)) => {
                if let server::Settings::Redis(settings) = settings
                    && is_denial(&why)
                {
                    self.advice.push(rule(settings, streams));
                }
                return self.problems.push(why);
            }
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
            let its = denied_commands(backend, stream, *sends).await;
            if !its.is_empty() {
                denied = true;
                self.problems.push(format!("{server}: stream {stream}: this user may not use {}", its.join(", ")));
                continue;
            }
            match backend.ends(stream, Place::START).await.and(backend.origins(stream).await.map(drop)) {
                Ok(()) => self.good.push(format!("{server}: stream {stream} can be read")),
                Err(why) => {
                    denied |= matches!(why, Failure::Denied(_));
                    self.problems.push(format!("{server}: stream {stream}: {why}"));
                }
            }
        }
        if denied {
            self.advice.push(rule(settings, streams));
        }
        let Some((stream, _)) = streams.first_key_value() else { return };
        match backend.call(stream, redis::cmd("INFO").arg("everything")).await {
            // One answer for each node of a cluster, or for the single server.
            Ok(Value::Map(nodes)) => {
                for (node, info) in nodes {
                    let node = text_of(node).map_or_else(|| server.clone(), |node| format!("{server}, node {node}"));
                    self.settings_of(&node, settings, &text_of_info(info));
                }
            }
            Ok(info) => self.settings_of(server, settings, &text_of_info(info)),
            Err(_) => self.advice.push(format!("{server}: this user may not use INFO: how it saves is not known")),
        }
    }

    /// Checks how a server saves its data, and what it evicts.
    fn settings_of(&mut self, server: &str, settings: &Settings, info: &str) {
        let value =
            |name: &str| info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim);
        let is_bad = |name: &str| value(name).is_some_and(|status| status != "ok");
        if value("aof_enabled") == Some("0") {
            self.advice.push(format!("{server}: appendonly is no: what it has acknowledged does not survive its restart; CONFIG SET appendonly yes"));
        }
        if is_bad("aof_last_write_status") || is_bad("rdb_last_bgsave_status") {
            self.problems.push(format!("{server}: cannot save to its disk: see its log"));
        }
        let has_others = matches!(settings.address, Address::Sentinel(..) | Address::Cluster(_));
        let needs_replicas = value("min_slaves_good_slaves").is_some();
        if has_others && value("role") == Some("master") && !needs_replicas {
            self.advice.push(format!(
                "{server}: min-replicas-to-write is 0: what it has acknowledged may be lost when a replica takes over; CONFIG SET \
                 min-replicas-to-write 1"
            ));
        }
        if has_others && value("connected_slaves") == Some("0") {
            self.advice.push(format!("{server}: has no replica that could take over"));
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
        // Valkey also reports the version of Redis that it is compatible with.
        let Some(version) = value("redis_version") else { return };
        if let Some(why) = too_old(version, "6.2") {
            return self.problems.push(format!("{server}: {why}"));
        }
        let valkey = value("valkey_version").map(|version| format!("Valkey {version}"));
        self.good.push(format!("{server}: {}", valkey.unwrap_or_else(|| format!("Redis {version}"))));
    }
}

/// Why a server of this version cannot be used, if so. `least` is the earliest one that can.
pub(crate) fn too_old(version: &str, least: &str) -> Option<String> {
    let numbers = |version: &str| -> Vec<u32> {
        version.split(['.', '-']).take(3).filter_map(|part| part.parse().ok()).collect()
    };
    (numbers(version) < numbers(least)).then(|| format!("is version {version}; {least} or later is needed"))
}

fn text_of_info(answer: Value) -> String {
    match answer {
        Value::VerbatimString { text, .. } => text,
        other => text_of(other).unwrap_or_default(),
    }
}

/// The commands that a bridge needs, of its scripts, too, and whether only sending needs them. The server looks at the permission
/// before anything else, so each is given in a form that changes nothing: no entry can have the identifier 0-0, and so on.
const NEEDS: [(&str, bool); 15] = [
    ("EVAL return 2 {stream} {origins}", false),
    ("EVALSHA 0000000000000000000000000000000000000000 2 {stream} {origins}", false),
    ("XREAD COUNT 1 STREAMS {stream} 0", false),
    ("XRANGE {stream} - + COUNT 1", false),
    ("XREVRANGE {stream} + - COUNT 1", false),
    ("XINFO STREAM {stream}", false),
    ("HGETALL {origins}", false),
    ("XADD {stream} 0-0 o x", true),
    ("XTRIM {stream} MAXLEN none", true),
    ("XLEN {stream}", true),
    ("HGET {origins} x", true),
    ("HSET {origins} field value field-without-value", true),
    ("HDEL {origins} #", true),
    ("MEMORY USAGE {stream}", true),
    ("TIME", true),
];

/// The name of the command of such a line in ACL rules.
fn name_of(line: &str) -> String {
    let mut words = line.split(' ');
    let first = words.next().unwrap_or_default().to_lowercase();
    match (first.as_str(), words.next()) {
        ("xinfo" | "memory", Some(second)) => format!("{first}|{}", second.to_lowercase()),
        _ => first,
    }
}

/// The commands that this user may not use.
async fn denied_commands(backend: &Redis, stream: &str, sends: bool) -> Vec<String> {
    let origins = origins_key(stream);
    let mut denied = Vec::new();
    for (line, _) in NEEDS.iter().filter(|(_, is_for_sending)| sends || !is_for_sending) {
        let mut words = line.split(' ');
        let mut command = redis::cmd(words.next().unwrap_or_default());
        for word in words {
            command.arg(match word {
                "{stream}" => stream,
                "{origins}" => &origins,
                other => other,
            });
        }
        if let Err(Failure::Denied(_)) = backend.call(stream, &command).await {
            denied.push(name_of(line));
        }
    }
    denied
}

/// The command with which an operator may grant it.
fn rule(settings: &Settings, streams: &Streams<'_>) -> String {
    let user = settings.username.as_deref().unwrap_or("bridge");
    let pattern = |key: &str| {
        let escaped: String =
            key.chars().flat_map(|c| "*?[]\\".contains(c).then_some('\\').into_iter().chain([c])).collect();
        format!("~{escaped}")
    };
    let keys: Vec<String> =
        streams.keys().flat_map(|stream| [pattern(stream), pattern(&origins_key(stream))]).collect();
    let mut commands = vec!["+ping", "+info"];
    match settings.address {
        Address::Sentinel(..) => commands.push("+role"),
        Address::Cluster(_) => commands.push("+cluster|slots"),
        Address::Node(..) | Address::Socket(_) => {}
    }
    let sends = streams.values().any(|sends| *sends);
    let needs = NEEDS.iter().filter(|(_, is_for_sending)| sends || !is_for_sending);
    let names: Vec<String> = needs.map(|(line, _)| format!("+{}", name_of(line))).collect();
    let (keys, commands, names) = (keys.join(" "), commands.join(" "), names.join(" "));
    format!("{}: ACL SETUSER {user} on >PASSWORD {keys} -@all {commands} {names}", settings.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The findings in the answer to INFO of a server at this address: good, advice, problems.
    fn found(address: Address, info: &str) -> [Vec<String>; 3] {
        let settings = Settings::plain("db", address);
        let mut findings = Findings::default();
        findings.settings_of("db", &settings, &format!("# Server\r\n{}\r\n", info.replace(' ', "\r\n")));
        [findings.good, findings.advice, findings.problems]
    }

    fn one() -> Address {
        Address::Node("db".to_owned(), 6379)
    }

    #[test]
    fn how_a_server_saves_and_what_it_drops_is_told() {
        let none: [Vec<String>; 3] = Default::default();
        assert_eq!(found(one(), "aof_enabled:1 aof_last_write_status:ok rdb_last_bgsave_status:ok role:master"), none);
        let many = || Address::Cluster(vec![("db".to_owned(), 6379)]);
        let watched = || Address::Sentinel(vec![("db".to_owned(), 26379)], "main".to_owned());
        let (advice, problem) = (1, 2);
        for (address, info, kind, line) in [
            (one(), "aof_enabled:0", advice, "db: appendonly is no: "),
            (one(), "aof_last_write_status:err", problem, "db: cannot save to its disk: see its log"),
            (one(), "rdb_last_bgsave_status:err", problem, "db: cannot save to its disk: see its log"),
            (many(), "role:master", advice, "db: min-replicas-to-write is 0: "),
            (watched(), "role:master", advice, "db: min-replicas-to-write is 0: "),
            (many(), "min_slaves_good_slaves:0 connected_slaves:0", advice, "db: has no replica that could take over"),
            (one(), "maxmemory_policy:allkeys-lru", advice, "db: maxmemory-policy is allkeys-lru: "),
            (one(), "role:slave", problem, "db: is a replica, and takes no messages; give its master, or sentinel://"),
            (one(), "redis_version:6.0.16", problem, "db: is version 6.0.16; 6.2 or later is needed"),
            (one(), "redis_version:6.2.0", 0, "db: Redis 6.2.0"),
            (one(), "redis_version:7.2.4 valkey_version:9.1.0", 0, "db: Valkey 9.1.0"),
        ] {
            let all = found(address, info);
            let lines: Vec<_> = all.iter().flatten().collect();
            assert!(lines.len() == 1 && all[kind].len() == 1 && lines[0].starts_with(line), "{info}: {all:?}");
        }
        for fine in ["maxmemory_policy:noeviction", "maxmemory_policy:volatile-lru", "connected_slaves:0"] {
            assert_eq!(found(one(), fine), none, "{fine}");
        }
    }
}
