//! The configuration file: what can be said, what it must look like, and what it means.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::time::Duration;

use data_pubsub_shared::Variant;
use serde::{Deserialize, Deserializer};

use crate::backend::Limits;
use crate::backend::redis::{Address, Tls};
use crate::backend::server::Settings;
use crate::backend::{nats, redis};
use crate::ring::RingFile;
use crate::{down, file, up};

/// What is wrong, with the name of the file.
pub type Result<T> = std::result::Result<T, String>;

/// The file as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct File {
    host: Option<String>,
    state: Option<PathBuf>,
    status: Option<PathBuf>,
    metrics: Option<String>,
    metrics_file: Option<PathBuf>,
    threads: Option<Count>,
    server: Option<Server>,
    #[serde(default)]
    servers: BTreeMap<String, Server>,
    #[serde(default)]
    defaults: Bridge,
    #[serde(default)]
    bridge: BTreeMap<String, Bridge>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", expecting = "a section, as [server] or [servers.NAME]")]
struct Server {
    url: String,
    username: Option<String>,
    password_file: Option<PathBuf>,
    sentinel_username: Option<String>,
    sentinel_password_file: Option<PathBuf>,
    ca_file: Option<PathBuf>,
    cert_file: Option<PathBuf>,
    key_file: Option<PathBuf>,
    token_file: Option<PathBuf>,
    nkey_file: Option<PathBuf>,
    creds_file: Option<PathBuf>,
    subject: Option<String>,
    replicas: Option<Count>,
    timeout: Option<Span>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", expecting = "a section, as [bridge.NAME] or [defaults]")]
struct Bridge {
    server: Option<String>,
    stream: Option<String>,
    streams: Option<Vec<String>>,
    out: Option<PathBuf>,
    r#in: Option<PathBuf>,
    variant: Option<Name>,
    capacity: Option<Count>,
    msg_size: Option<Count>,
    mode: Option<Mode>,
    lossless: Option<bool>,
    from: Option<String>,
    out_from: Option<String>,
    pack: Option<Count>,
    batch: Option<Count>,
    keep_messages: Option<Count>,
    keep_age: Option<Span>,
    keep_bytes: Option<Count>,
    out_prefix: Option<Vec<String>>,
    in_prefix: Option<Vec<String>>,
    skip_own: Option<bool>,
    gaps: Option<PathBuf>,
    pace: Option<Count>,
    forget_after: Option<Span>,
}

macro_rules! either {
    ($one:expr, $other:expr, $($field:ident)*) => { Bridge { $($field: $one.$field.or_else(|| $other.$field.clone()),)* } };
}

impl Bridge {
    /// What this one says, and otherwise the other one.
    fn or(self, other: &Bridge) -> Bridge {
        either!(self, other, server stream streams out r#in variant capacity msg_size mode lossless from out_from pack batch keep_messages keep_age
            keep_bytes out_prefix in_prefix skip_own gaps pace forget_after)
    }
}

/// A number: of slots, bytes or messages. As text it may end in k, M or G, which are powers of 1024.
#[derive(Clone, Copy, Debug)]
struct Count(u64);

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

/// A time: seconds, or a text with s, m, h or d behind the number.
#[derive(Clone, Copy, Debug)]
struct Span(Duration);

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
struct Name(Variant);

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
struct Mode(u32);

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

/// The whole configuration, complete and checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Where the status is written each second.
    pub status: Option<PathBuf>,
    /// Where metrics are served.
    pub metrics: Option<String>,
    /// Where metrics are written each second.
    pub metrics_file: Option<PathBuf>,
    /// Threads that do the work.
    pub threads: usize,
    /// The servers, by name.
    pub servers: BTreeMap<String, Settings>,
    /// The bridges, by name.
    pub bridges: BTreeMap<String, Directions>,
}

/// A bridge: one direction or both.
#[derive(Clone, Debug, PartialEq)]
pub struct Directions {
    /// The name of its server.
    pub server: String,
    /// What is sent.
    pub up: Option<up::Options>,
    /// What is received.
    pub down: Option<down::Options>,
}

/// The server of a file that has only one.
const DEFAULT_SERVER: &str = "server";

impl Config {
    /// Reads a file.
    ///
    /// # Errors
    /// What is wrong with it, with its name and, where it can be told, the line.
    pub fn read(path: &Path) -> Result<Config> {
        let shown = path.display();
        let text = file::read_text(path).map_err(|error| format!("{shown}: {}", file::plain(&error)))?;
        Config::parse(&text).map_err(|error| format!("{shown}: {error}"))
    }

    /// The same, of a text.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Config> {
        let file: File = toml::from_str(text).map_err(|error| in_one_line(text, &error))?;
        let host = match file.host {
            Some(host) => valid_host(host)?,
            None => host_name(),
        };
        let state = file.state.unwrap_or_else(state_directory);
        if file.bridge.is_empty() {
            return Err("has no [bridge.NAME], and so no bridge".to_owned());
        }
        let mut servers = BTreeMap::new();
        let defaults = file.server.into_iter().map(|server| (DEFAULT_SERVER.to_owned(), server));
        for (name, server) in defaults.chain(file.servers) {
            let settings = settings(&server).map_err(|error| format!("server '{name}': {error}"))?;
            servers.insert(name, settings);
        }
        let mut bridges = BTreeMap::new();
        for (name, bridge) in file.bridge {
            let about = |error| format!("[bridge.{name}]: {error}");
            let bridge = bridge.or(&file.defaults);
            let directions = directions(&name, &bridge, &host, &state, &servers).map_err(about)?;
            bridges.insert(name, directions);
        }
        check_together(&bridges)?;
        let processors = || std::thread::available_parallelism().map_or(1, |n| n.get().min(4));
        let threads = file.threads.map_or_else(processors, |count| count.0 as usize);
        if threads > 64 {
            return Err(format!("threads must be 1 to 64, not {threads}"));
        }
        if let Some(address) = &file.metrics {
            let has_port = address.rsplit(':').next().is_some_and(|port| port.parse::<u16>().is_ok());
            if host_and_port(address, 9469).is_err() || !has_port {
                return Err(format!(
                    "metrics must be HOST:PORT, as 127.0.0.1:9469, or [::1]:9469 with an IPv6 address, not '{address}'"
                ));
            }
        }
        let (status, metrics, metrics_file) = (file.status, file.metrics, file.metrics_file);
        Ok(Config { status, metrics, metrics_file, threads, servers, bridges })
    }
}

/// What is wrong with a text, with the line where that is.
fn in_one_line(text: &str, error: &toml::de::Error) -> String {
    let why = error.message().trim_end().replace('\n', ", ");
    let Some(before) = error.span().and_then(|span| text.get(..span.start)) else { return why };
    let number = before.matches('\n').count();
    let line = text.lines().nth(number).unwrap_or_default().trim();
    format!("line {}, {line}: {why}", number + 1)
}

/// Where a file is, by whatever way its directory is named.
fn real(path: &Path) -> PathBuf {
    let directory = file::folder_of(path).canonicalize().ok();
    directory.zip(path.file_name()).map_or_else(|| path.to_owned(), |(directory, name)| directory.join(name))
}

/// Two bridges of a file must not get in each other's way.
fn check_together(bridges: &BTreeMap<String, Directions>) -> Result<()> {
    let mut outs = HashMap::new();
    let mut ins = HashMap::new();
    for (name, bridge) in bridges {
        if let Some(up) = &bridge.up {
            let key = (real(&up.ring.path), &up.stream, &bridge.server);
            if let Some(other) = outs.insert(key, name) {
                return Err(format!("[bridge.{other}] and [bridge.{name}] send the same ring into the same stream"));
            }
        }
        if let Some(down) = &bridge.down
            && let Some(other) = ins.insert(real(&down.ring.path), name)
        {
            return Err(format!(
                "[bridge.{other}] and [bridge.{name}] have the same in, {}; one bridge can receive several streams",
                down.ring.path.display()
            ));
        }
    }
    for (path, _, _) in outs.keys() {
        if ins.contains_key(path.as_path()) {
            return Err(format!(
                "{} is both out and in: each message would return forever; publish to one ring and read another",
                path.display()
            ));
        }
    }
    Ok(())
}

fn valid_host(host: String) -> Result<String> {
    let is_good =
        (1..=100).contains(&host.len()) && !host.contains(|c: char| c.is_whitespace() || c == '#' || c == '/');
    if is_good { Ok(host) } else { Err(format!("host must be a name without space, # and /, not '{host}'")) }
}

fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name: String =
        name.trim().chars().map(|c| if c.is_whitespace() || c == '#' || c == '/' { '-' } else { c }).collect();
    if name.is_empty() { "localhost".to_owned() } else { name }
}

/// Where states are kept if the file does not say it.
fn state_directory() -> PathBuf {
    if let Some(directory) = std::env::var_os("STATE_DIRECTORY") {
        return directory.into();
    }
    let is_root = std::fs::metadata("/proc/self").is_ok_and(|meta| std::os::unix::fs::MetadataExt::uid(&meta) == 0);
    if is_root {
        return "/var/lib/pubsub-bridge".into();
    }
    let home = || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".local/state");
    std::env::var_os("XDG_STATE_HOME").map_or_else(home, PathBuf::from).join("pubsub-bridge")
}

/// The name of a file for a bridge of any name.
fn file_name(bridge: &str) -> String {
    let odd = |c: char| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'));
    bridge
        .chars()
        .map(
            |c| if odd(c) { c.to_string().bytes().map(|byte| format!("%{byte:02x}")).collect() } else { c.to_string() },
        )
        .collect()
}

fn directions(
    name: &str,
    bridge: &Bridge,
    host: &str,
    state: &Path,
    servers: &BTreeMap<String, Settings>,
) -> Result<Directions> {
    let server = bridge.server.clone().unwrap_or_else(|| DEFAULT_SERVER.to_owned());
    let settings = servers.get(&server).ok_or_else(|| match server.as_str() {
        DEFAULT_SERVER => "there is no [server]".to_owned(),
        other => format!("there is no [servers.{other}]"),
    })?;
    if bridge.out.is_none() && bridge.r#in.is_none() {
        return Err("out or in is required, the ring to send from or the one to receive into".to_owned());
    }
    let stream = valid_stream(bridge.stream.clone().unwrap_or_else(|| name.to_owned()))?;
    let streams = match &bridge.streams {
        None => vec![stream.clone()],
        Some(streams) if streams.is_empty() => return Err("streams must have one name at least".to_owned()),
        Some(streams) => streams.iter().cloned().map(valid_stream).collect::<Result<_>>()?,
    };
    if let Settings::Redis(redis::Settings { address: Address::Cluster(_), .. }) = settings
        && let Some(stream) = [&stream].into_iter().chain(&streams).find(|stream| !redis::has_one_slot(stream))
    {
        return Err(format!(
            "stream '{stream}' would have its two keys in different slots of the cluster: leave out the }}, or give a part in braces, as \
             in {{NAME}}"
        ));
    }
    let ring = |path: &PathBuf| {
        let file = RingFile {
            path: path.clone(),
            variant: bridge.variant.map(|name| name.0),
            capacity: bridge.capacity.map(|count| count.0),
            msg_size: bridge.msg_size.map_or(256, |count| count.0),
            mode: bridge.mode.map_or(0o600, |mode| mode.0),
            lossless: bridge.lossless.unwrap_or(false),
        };
        file.check_sizes().map(|()| file)
    };
    let prefixes = |given: &Option<Vec<String>>| -> Vec<Vec<u8>> {
        given.iter().flatten().map(|prefix| prefix.clone().into_bytes()).collect()
    };
    let idle = bridge.forget_after.map_or(Duration::from_secs(30 * 86_400), |span| span.0);
    let state_of = |suffix: &str| state.join(format!("{}.{suffix}", file_name(name)));
    let up = match &bridge.out {
        None => None,
        Some(out) => Some(up::Options {
            ring: ring(out)?,
            stream: stream.clone(),
            server: settings.name().to_owned(),
            host: host.to_owned(),
            state: state_of("up"),
            from_now: match bridge.out_from.as_deref() {
                None | Some("start") => false,
                Some("now") => true,
                Some(other) => return Err(format!("out-from must be start or now, not '{other}'")),
            },
            pack: within("pack", bridge.pack, 8000)?.unwrap_or(50),
            batch: within("batch", bridge.batch, 8000)?.unwrap_or(1000) as usize,
            prefixes: prefixes(&bridge.out_prefix),
            limits: limits(bridge)?,
            idle,
        }),
    };
    let down = match &bridge.r#in {
        None => None,
        Some(inner) => Some(down::Options {
            ring: ring(inner)?,
            streams,
            server: settings.name().to_owned(),
            state: state_of("down"),
            from: match bridge.from.as_deref() {
                None | Some("now") => down::From::Now,
                Some("start") => down::From::Start,
                Some(place) => down::From::Place(
                    place
                        .parse()
                        .map_err(|_| format!("from must be start, now or the identifier of an entry, not '{place}'"))?,
                ),
            },
            prefixes: prefixes(&bridge.in_prefix),
            skip: bridge.skip_own.unwrap_or(false).then(|| format!("{host}/")),
            gaps: match &bridge.gaps {
                None => None,
                Some(path) => {
                    Some(RingFile { variant: Some(Variant::Str), capacity: Some(1024), msg_size: 512, ..ring(path)? })
                }
            },
            pace: bridge.pace.map(|count| count.0),
            idle,
        }),
    };
    Ok(Directions { server, up, down })
}

fn within(name: &str, count: Option<Count>, most: u64) -> Result<Option<u64>> {
    match count {
        Some(Count(count)) if count > most => Err(format!("{name} must be 1 to {most}, not {count}")),
        count => Ok(count.map(|count| count.0)),
    }
}

fn limits(bridge: &Bridge) -> Result<Limits> {
    // What can be counted with, and what servers take.
    const MOST: u64 = 1 << 50;
    let limits = Limits {
        messages: within("keep-messages", bridge.keep_messages, MOST)?,
        age: bridge.keep_age.map(|span| span.0),
        bytes: within("keep-bytes", bridge.keep_bytes, MOST)?,
    };
    // A stream without any limit fills its server.
    Ok(if limits == Limits::default() { Limits { messages: Some(1_000_000), ..limits } } else { limits })
}

fn valid_stream(stream: String) -> Result<String> {
    let is_good = (1..=200).contains(&stream.len()) && !stream.contains(|c: char| c.is_whitespace() || c == '\0');
    if is_good { Ok(stream) } else { Err(format!("stream must be a name without spaces, not '{stream}'")) }
}

/// A file that only we may read; in the directory of systemd's credentials, where it has no directory of its own.
fn secret(what: &str, path: &Path) -> Result<String> {
    let path = match std::env::var_os("CREDENTIALS_DIRECTORY") {
        Some(directory) if path.components().count() == 1 => Path::new(&directory).join(path),
        _ => path.to_owned(),
    };
    let shown = path.display();
    let failed = |error: std::io::Error| format!("{what} {shown}: {}", file::plain(&error));
    let meta = std::fs::metadata(&path).map_err(failed)?;
    if meta.is_dir() {
        return Err(format!("{what} {shown}: Is a directory"));
    }
    if std::os::unix::fs::MetadataExt::mode(&meta) & 0o007 != 0 {
        return Err(format!("{what} {shown}: others may read it; please chmod 600"));
    }
    let text = file::read_text(&path).map_err(failed)?;
    match text.trim_end_matches(['\r', '\n']) {
        "" => Err(format!("{what} {shown}: is empty")),
        text => Ok(text.to_owned()),
    }
}

fn settings(server: &Server) -> Result<Settings> {
    match server.url.split_once("://") {
        Some(("nats" | "tls", _)) => nats_settings(server).map(Settings::Nats),
        _ => redis_settings(server).map(Settings::Redis),
    }
}

fn from_environment(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

impl Server {
    fn username(&self) -> Option<String> {
        self.username.clone().or_else(|| from_environment("PUBSUB_BRIDGE_USERNAME"))
    }

    fn password(&self) -> Result<Option<String>> {
        let password = self.password_file.as_deref().map(|path| secret("password-file", path)).transpose()?;
        Ok(password.or_else(|| from_environment("PUBSUB_BRIDGE_PASSWORD")))
    }

    /// Certificate and key, if given.
    fn client(&self) -> Result<Option<(&Path, &Path)>> {
        match (&self.cert_file, &self.key_file) {
            (Some(cert), Some(key)) => Ok(Some((cert, key))),
            (None, None) => Ok(None),
            _ => Err("cert-file and key-file belong together".to_owned()),
        }
    }

    fn timeout(&self) -> Duration {
        self.timeout.map_or(Duration::from_secs(10), |span| span.0)
    }
}

/// Reads a file of PEM.
fn pem(what: &str, path: &Path) -> Result<Vec<u8>> {
    file::read(path).map_err(|error| format!("{what} {}: {}", path.display(), file::plain(&error)))
}

fn redis_settings(server: &Server) -> Result<redis::Settings> {
    let (address, has_tls, name) = address(&server.url)?;
    let others = [
        ("token-file", server.token_file.is_some()),
        ("nkey-file", server.nkey_file.is_some()),
        ("creds-file", server.creds_file.is_some()),
        ("subject", server.subject.is_some()),
        ("replicas", server.replicas.is_some()),
    ];
    if let Some((what, _)) = others.iter().find(|(_, is_given)| *is_given) {
        return Err(format!("{what} is for NATS: give a URL with nats:// or tls://"));
    }
    let client = match server.client()? {
        Some((cert, key)) => Some((pem("cert-file", cert)?, pem("key-file", key)?)),
        None => None,
    };
    let ca = server.ca_file.as_ref().map(|path| pem("ca-file", path)).transpose()?;
    let sentinel_password =
        server.sentinel_password_file.as_deref().map(|path| secret("sentinel-password-file", path)).transpose()?;
    let has_sentinel_login = server.sentinel_username.is_some() || sentinel_password.is_some();
    if has_sentinel_login && !matches!(address, Address::Sentinel(..)) {
        return Err("sentinel-username and sentinel-password-file are for a URL with sentinel://".to_owned());
    }
    if !has_tls && (ca.is_some() || client.is_some()) {
        return Err("ca-file, cert-file and key-file are for TLS: give a URL with rediss://".to_owned());
    }
    Ok(redis::Settings {
        address,
        name,
        username: server.username(),
        password: server.password()?,
        sentinel_username: server.sentinel_username.clone(),
        sentinel_password,
        tls: has_tls.then_some(Tls { ca, client }),
        timeout: server.timeout(),
    })
}

fn nats_settings(server: &Server) -> Result<nats::Settings> {
    let (scheme, list) = server.url.split_once("://").unwrap_or_default();
    let has_tls = scheme == "tls";
    if list.contains('@') {
        return Err(SECRET_IN_URL.to_owned());
    }
    let servers = list.split(',').map(|text| host_and_port(text, 4222)).collect::<Result<Vec<_>>>()?;
    let client = server.client()?;
    if !has_tls && (server.ca_file.is_some() || client.is_some()) {
        return Err("ca-file, cert-file and key-file are for TLS: give a URL with tls://".to_owned());
    }
    // Looked at now, so that what is wrong with them is said at once.
    if let Some((cert, key)) = client {
        pem("cert-file", cert).and(pem("key-file", key))?;
    }
    server.ca_file.as_deref().map(|path| pem("ca-file", path)).transpose()?;
    let subject = server.subject.clone().unwrap_or_else(|| "pubsub".to_owned());
    let is_token = |token: &str| !token.is_empty() && !token.contains(|c: char| c.is_whitespace() || "*>$".contains(c));
    if !subject.split('.').all(is_token) {
        return Err(format!("subject must be words with . between them, without space, *, > and $, not '{subject}'"));
    }
    let replicas = server.replicas.map_or(1, |count| count.0);
    if replicas > 5 {
        return Err(format!("replicas must be 1 to 5, not {replicas}"));
    }
    Ok(nats::Settings {
        servers,
        name: list.trim_end_matches('/').to_owned(),
        login: nats_login(server)?,
        tls: has_tls.then(|| nats::Tls {
            ca: server.ca_file.clone(),
            client: client.map(|(cert, key)| (cert.to_owned(), key.to_owned())),
        }),
        timeout: server.timeout(),
        subject,
        replicas: replicas as usize,
    })
}

fn nats_login(server: &Server) -> Result<nats::Login> {
    let files =
        [("token-file", &server.token_file), ("nkey-file", &server.nkey_file), ("creds-file", &server.creds_file)];
    let given: Vec<_> = files.iter().filter_map(|(what, path)| Some((*what, path.as_deref()?))).collect();
    let has_user = server.username.is_some() || server.password_file.is_some();
    match given.as_slice() {
        [] => match (server.username(), server.password()?) {
            (Some(user), Some(password)) => Ok(nats::Login::User(user, password)),
            (Some(_), None) => Err("username needs password-file".to_owned()),
            (None, Some(_)) => Err("password-file needs username; a token goes into token-file".to_owned()),
            (None, None) => Ok(nats::Login::None),
        },
        [_] if has_user => {
            Err("give username and password-file, or one of token-file, nkey-file and creds-file".to_owned())
        }
        [(what, path)] => {
            let text = secret(what, path)?;
            Ok(match *what {
                "token-file" => nats::Login::Token(text),
                "nkey-file" => nats::Login::Nkey(text.trim().to_owned()),
                // The last line has an end, too, or is none for the library.
                _ => nats::Login::Creds(text + "\n"),
            })
        }
        _ => Err("give only one of token-file, nkey-file and creds-file".to_owned()),
    }
}

const SECRET_IN_URL: &str =
    "url must not have a password in it, which all users could see: give username and password-file";

/// Where a URL leads, whether with TLS, and how it is shown.
fn address(url: &str) -> Result<(Address, bool, String)> {
    let Some((scheme, rest)) = url.split_once("://") else {
        return Err(format!(
            "url '{url}' must begin with redis://, rediss://, unix://, sentinel://, sentinels://, cluster://, clusters://, nats:// or tls://"
        ));
    };
    if rest.contains('@') {
        return Err(SECRET_IN_URL.to_owned());
    }
    let nodes = |list: &str| list.split(',').map(redis_port).collect::<Result<Vec<_>>>();
    let (address, has_tls) = match scheme {
        "redis" | "rediss" => {
            let (host, port) = redis_port(rest)?;
            (Address::Node(host, port), scheme == "rediss")
        }
        "unix" if rest.starts_with('/') => (Address::Socket(rest.into()), false),
        "unix" => return Err(format!("url '{url}' needs an absolute path: unix:///path")),
        "sentinel" | "sentinels" => {
            let (list, service) = rest.rsplit_once('/').unwrap_or((rest, ""));
            if service.is_empty() {
                return Err(format!("url '{url}' needs the name of the master: sentinel://HOST:PORT,HOST:PORT/NAME"));
            }
            (Address::Sentinel(nodes(list)?, service.to_owned()), scheme == "sentinels")
        }
        "cluster" | "clusters" => (Address::Cluster(nodes(rest)?), scheme == "clusters"),
        other => return Err(format!("url '{url}': {other}:// is not known")),
    };
    let name = match scheme {
        "redis" | "rediss" | "unix" => rest.to_owned(),
        _ => url.to_owned(),
    };
    Ok((address, has_tls, name))
}

fn redis_port(text: &str) -> Result<(String, u16)> {
    host_and_port(text, 6379)
}

/// `HOST:PORT` or `[IPV6]:PORT`.
fn host_and_port(text: &str, default: u16) -> Result<(String, u16)> {
    let text = text.trim_end_matches('/');
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, rest)) => (host, rest.strip_prefix(':')),
        None if text.matches(':').count() > 1 => {
            return Err(format!("'{text}' is ambiguous: an IPv6 address needs brackets, as in [::1]:{default}"));
        }
        None => text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
    };
    let port = match port {
        None => default,
        Some(port) => {
            port.parse().ok().filter(|port| *port > 0).ok_or_else(|| format!("'{text}': ports are 1 to 65535"))?
        }
    };
    if host.is_empty() || host.contains(|c: char| c.is_whitespace() || c == '/') {
        return Err(format!("'{text}' must be HOST:PORT or [IPV6]:PORT"));
    }
    Ok((host.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVER: &str = "[server]\nurl = \"redis://db:6380\"\n";

    fn parse(text: &str) -> Result<Config> {
        Config::parse(&format!("state = \"/s\"\nhost = \"h\"\n{text}"))
    }

    #[test]
    fn a_bridge_has_its_defaults() {
        let config = parse(&format!("{SERVER}[bridge.news]\nout = \"/o\"\nin = \"/i\"\n")).expect("good");
        let bridge = &config.bridges["news"];
        let (up, down) = (bridge.up.as_ref().expect("up"), bridge.down.as_ref().expect("down"));
        assert_eq!((up.pack, up.batch, up.stream.as_str(), up.server.as_str()), (50, 1000, "news", "db:6380"));
        assert_eq!(up.limits, Limits { messages: Some(1_000_000), ..Limits::default() });
        assert_eq!((up.state.as_path(), down.state.as_path()), (Path::new("/s/news.up"), Path::new("/s/news.down")));
        assert_eq!((down.from, down.streams.as_slice()), (down::From::Now, ["news".to_owned()].as_slice()));
        let Settings::Redis(server) = &config.servers["server"] else { panic!("Redis") };
        assert_eq!(server.address, Address::Node("db".to_owned(), 6380));
    }

    #[test]
    fn the_example_is_right() {
        let config = Config::parse(include_str!("../pubsub-bridge.toml")).expect("good");
        assert_eq!(config.bridges.keys().collect::<Vec<_>>(), ["health", "news", "ticks"]);
    }

    #[test]
    fn defaults_are_for_all_and_a_bridge_may_differ() {
        let text = format!(
            "{SERVER}[defaults]\nvariant = \"Str\"\ncapacity = \"64k\"\nmode = \"660\"\nkeep-age = \"7d\"\n\
             [bridge.a]\nout = \"/a\"\n[bridge.\"b ü\"]\nstream = \"b\"\nin = \"/b\"\nvariant = \"int\"\nskip-own = true\nfrom = \"5-6\"\n"
        );
        let config = parse(&text).expect("good");
        let up = config.bridges["a"].up.as_ref().expect("up");
        assert_eq!((up.ring.variant, up.ring.capacity, up.ring.mode), (Some(Variant::Str), Some(65_536), 0o660));
        assert_eq!(up.limits, Limits { age: Some(Duration::from_secs(604_800)), ..Limits::default() });
        let down = config.bridges["b ü"].down.as_ref().expect("down");
        assert_eq!((down.ring.variant, down.skip.as_deref()), (Some(Variant::Int), Some("h/")));
        assert_eq!(
            (down.from, down.state.as_path()),
            (down::From::Place(crate::backend::Place(5, 6)), Path::new("/s/b%20%c3%bc.down"))
        );
    }

    #[test]
    fn servers_are_many() {
        let of = |url: &str| address(url).map(|(address, tls, _)| (address, tls));
        let node = |host: &str, port| (host.to_owned(), port);
        assert_eq!(of("redis://[::1]:7"), Ok((Address::Node("::1".to_owned(), 7), false)));
        assert_eq!(of("rediss://db"), Ok((Address::Node("db".to_owned(), 6379), true)));
        assert_eq!(of("unix:///run/redis"), Ok((Address::Socket("/run/redis".into()), false)));
        assert_eq!(
            of("sentinel://a:1,b/main"),
            Ok((Address::Sentinel(vec![node("a", 1), node("b", 6379)], "main".to_owned()), false))
        );
        assert_eq!(of("clusters://a:1,b:2"), Ok((Address::Cluster(vec![node("a", 1), node("b", 2)]), true)));
        for (url, why) in [
            ("db:6379", "must begin with"),
            ("redis://::1:6379", "needs brackets"),
            ("redis://db:99999", "ports are 1 to 65535"),
            ("redis://db:0", "ports are 1 to 65535"),
            ("redis://", "must be HOST:PORT"),
            ("redis://u:p@db", "password-file"),
            ("sentinel://a:1", "needs the name of the master"),
            ("http://db", "is not known"),
            ("unix://db", "absolute path"),
        ] {
            let error = of(url).expect_err(url);
            assert!(error.contains(why), "{url}: {error}");
        }
    }

    #[test]
    fn nats_is_one_server_or_a_cluster() {
        let of = |lines: &str| -> Result<nats::Settings> {
            let config = parse(&format!("[server]\n{lines}\n[bridge.a]\nin = \"/i\"\n"))?;
            match config.servers["server"].clone() {
                Settings::Nats(settings) => Ok(settings),
                Settings::Redis(_) => panic!("NATS"),
            }
        };
        let settings = of("url = \"nats://a,[::1]:7/\"").expect("good");
        assert_eq!(settings.servers, [("a".to_owned(), 4222), ("::1".to_owned(), 7)]);
        assert_eq!((settings.subject.as_str(), settings.replicas, &settings.tls), ("pubsub", 1, &None));
        let settings = of("url = \"tls://a\"\nsubject = \"x.y\"\nreplicas = 3").expect("good");
        assert_eq!((settings.subject.as_str(), settings.replicas), ("x.y", 3));
        assert_eq!(settings.tls, Some(nats::Tls::default()));
        for (lines, why) in [
            ("url = \"nats://u:p@a\"", "password-file"),
            ("url = \"nats://a\"\nca-file = \"/x\"", "give a URL with tls://"),
            ("url = \"tls://a\"\nca-file = \"/not/there\"", "ca-file /not/there: No such file"),
            ("url = \"tls://a\"\ncert-file = \"/x\"", "belong together"),
            ("url = \"nats://a\"\nsubject = \"x.*\"", "subject must be words"),
            ("url = \"nats://a\"\nreplicas = 6", "replicas must be 1 to 5, not 6"),
            ("url = \"nats://a\"\nusername = \"u\"", "username needs password-file"),
            ("url = \"nats://a\"\ntoken-file = \"/x\"\nnkey-file = \"/y\"", "only one of"),
            ("url = \"nats://a\"\nusername = \"u\"\ncreds-file = \"/y\"", "or one of"),
            ("url = \"nats://a\"\ncreds-file = \"/not/there\"", "creds-file /not/there: No such file"),
            ("url = \"redis://a\"\ntoken-file = \"/x\"", "token-file is for NATS"),
        ] {
            let error = of(lines).expect_err(lines);
            assert!(error.contains(why), "{lines}: {error}");
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        let ring = "out = \"/o\"\n";
        for (text, why) in [
            (String::new(), "no bridge"),
            (format!("[bridge.a]\n{ring}"), "there is no [server]"),
            (format!("{SERVER}[bridge.a]\nserver = \"x\"\n{ring}"), "there is no [servers.x]"),
            (format!("{SERVER}[bridge.a]\n"), "out or in is required"),
            (format!("{SERVER}[bridge.a]\n{ring}foo = 1\n"), "unknown field `foo`"),
            (format!("{SERVER}[bridge.a]\n{ring}pack = 0\n"), "must be a number of 1 or more"),
            (format!("{SERVER}[bridge.a]\n{ring}pack = 9000\n"), "pack must be 1 to 8000, not 9000"),
            (format!("{SERVER}[bridge.a]\n{ring}capacity = \"4x\"\n"), "must be a number of 1 or more"),
            (
                format!("{SERVER}[bridge.a]\n{ring}keep-messages = \"9999999G\"\n"),
                "keep-messages must be 1 to 1125899906842624, not 10737417166258176",
            ),
            (format!("{SERVER}[bridge.a]\n{ring}keep-bytes = \"9999999G\"\n"), "keep-bytes must be 1 to 1125"),
            (
                format!("{SERVER}[bridge.a]\n{ring}variant = \"Int\"\ncapacity = \"4G\"\n"),
                "[bridge.a]: /o: capacity must be an integer from 1 to 2147483648, not 4294967296",
            ),
            (
                format!("{SERVER}[bridge.a]\nin = \"/i\"\nvariant = \"Str\"\ncapacity = 1\nmsg-size = \"2G\"\n"),
                "[bridge.a]: /i: msg_size must be an integer from 1 to 2147483647, not 2147483648",
            ),
            (format!("{SERVER}[bridge.a]\n{ring}mode = \"899\"\n"), "must be octal"),
            (format!("{SERVER}[bridge.a]\n{ring}mode = \"060\"\n"), "must be octal"),
            (format!("{SERVER}[bridge.a]\n{ring}variant = \"Text\"\n"), "must be Int, Int32, Int16 or Str"),
            (format!("{SERVER}[bridge.a]\n{ring}keep-age = \"1w\"\n"), "must be a number of seconds"),
            (
                format!("{SERVER}[bridge.a]\nin = \"/i\"\nfrom = \"yesterday\"\n"),
                "from must be start, now or the identifier",
            ),
            (format!("{SERVER}[bridge.\"a b\"]\n{ring}"), "stream must be a name without spaces"),
            (format!("{SERVER}[bridge.a]\n{ring}in = \"/o\"\n"), "both out and in"),
            (format!("{SERVER}[bridge.a]\nin = \"/i\"\n[bridge.b]\nin = \"/i\"\n"), "have the same in"),
            (
                format!("{SERVER}[bridge.a]\n{ring}[bridge.b]\nstream = \"a\"\n{ring}"),
                "send the same ring into the same stream",
            ),
            ("host = \"x\"\n".to_owned(), "line 3, host = \"x\": duplicate key"),
            (format!("{SERVER}[bridge.a]\n{ring}[bridge.a]\n"), "line 7, [bridge.a]: duplicate key"),
            (format!("{SERVER}[bridge.a]\nout = 5\n"), "line 6, out = 5: invalid type: integer `5`"),
            ("server = \"redis://a\"\n".to_owned(), "expected a section, as [server] or [servers.NAME]"),
            (format!("{SERVER}[bridge]\na = 1\n"), "expected a section, as [bridge.NAME] or [defaults]"),
            (format!("threads = 65\n{SERVER}[bridge.a]\n{ring}"), "threads must be 1 to 64, not 65"),
            (format!("metrics = \"::1:9469\"\n{SERVER}[bridge.a]\n{ring}"), "or [::1]:9469 with an IPv6 address"),
            (format!("metrics = \"localhost\"\n{SERVER}[bridge.a]\n{ring}"), "metrics must be HOST:PORT"),
            (format!("{SERVER}[bridge.a]\nout = \"/tmp/o\"\nin = \"/tmp/../tmp/o\"\n"), "both out and in"),
            (format!("{SERVER}[bridge.a]\nout = \"o\"\nin = \"./o\"\n"), "both out and in"),
            (
                format!("[server]\nurl = \"cluster://a\"\n[bridge.\"a}}b\"]\n{ring}"),
                "stream 'a}b' would have its two keys in different slots",
            ),
        ] {
            let error = parse(&text).expect_err(&text);
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn passwords_are_not_for_everybody() {
        use std::os::unix::fs::PermissionsExt;
        let path = std::env::temp_dir().join(format!("pubsub-bridge-secret-{}", std::process::id()));
        std::fs::write(&path, "geheim \n").expect("write");
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o644)).expect("chmod");
        assert!(secret("password-file", &path).expect_err("open to all").contains("chmod 600"));
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).expect("chmod");
        assert_eq!(secret("password-file", &path).as_deref(), Ok("geheim "));
        for (bytes, why) in [(b"".as_slice(), "is empty"), (b"\n", "is empty"), (b"\xff", "is not UTF-8")] {
            std::fs::write(&path, bytes).expect("write");
            assert!(secret("password-file", &path).expect_err(why).ends_with(why));
        }
        std::fs::remove_file(&path).expect("remove");
        assert!(secret("password-file", &path).expect_err("not there").contains("No such file"));
        assert!(secret("password-file", Path::new("/proc")).expect_err("no file").contains("Is a directory"));
    }
}
