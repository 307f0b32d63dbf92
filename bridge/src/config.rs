//! The configuration file: its format, its checks, and its meaning.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::time::Duration;

use data_pubsub_shared::Variant;
use serde::Deserialize;

use crate::backend::Limits;
use crate::backend::redis::{self, Address};
use crate::backend::server::Settings;
use crate::ring::RingFile;
use crate::{down, file, up};

mod servers;
mod values;

use servers::{Server, host_and_port, settings};
use values::{Count, Mode, Name, Span};

/// An error, with the name of the file.
pub type Result<T> = std::result::Result<T, String>;

/// The sections and keys of the file.
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
    /// The value of this section, or else of the other one.
    fn or(self, other: &Bridge) -> Bridge {
        either!(self, other, server stream streams out r#in variant capacity msg_size mode lossless from out_from pack batch keep_messages keep_age
            keep_bytes out_prefix in_prefix skip_own gaps pace forget_after)
    }
}

/// The whole configuration, complete and checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The file to which the status is written each second.
    pub status: Option<PathBuf>,
    /// The address at which metrics are served.
    pub metrics: Option<String>,
    /// The file to which metrics are written each second.
    pub metrics_file: Option<PathBuf>,
    /// The number of worker threads.
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
    /// The direction up, if any.
    pub up: Option<up::Options>,
    /// The direction down, if any.
    pub down: Option<down::Options>,
}

/// The name of the server in a file that has only one.
const DEFAULT_SERVER: &str = "server";

impl Config {
    /// Reads a file.
    ///
    /// # Errors
    /// A text that says what is wrong, with its name and, if it is known, the line.
    pub fn read(path: &Path) -> Result<Config> {
        let shown = path.display();
        let text = file::read_text(path).map_err(|error| format!("{shown}: {}", file::plain(&error)))?;
        Config::parse(&text).map_err(|error| format!("{shown}: {error}"))
    }

    /// Reads a configuration from a text.
    ///
    /// # Errors
    /// A text that says what is wrong.
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
        check_replaced(&bridges, file.status.as_deref(), file.metrics_file.as_deref())?;
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

/// The error of a text, with its line.
fn in_one_line(text: &str, error: &toml::de::Error) -> String {
    let why = error.message().trim_end().replace('\n', ", ");
    let Some(before) = error.span().and_then(|span| text.get(..span.start)) else { return why };
    let number = before.matches('\n').count();
    let line = text.lines().nth(number).unwrap_or_default().trim();
    format!("line {}, {line}: {why}", number + 1)
}

/// The canonical path of a file, which need not exist.
fn real(path: &Path) -> PathBuf {
    let directory = file::folder_of(path).canonicalize().ok();
    directory.zip(path.file_name()).map_or_else(|| path.to_owned(), |(directory, name)| directory.join(name))
}

/// Checks that the bridges of a file do not conflict.
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
    for (name, bridge) in bridges {
        let gaps = bridge.down.as_ref().and_then(|down| down.gaps.as_ref());
        if let Some(other) = gaps.and_then(|gaps| ins.get(&real(&gaps.path))) {
            return Err(format!("[bridge.{name}]: gaps is the in of [bridge.{other}]; give a ring of its own"));
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

/// Checks that files that are replaced each second are not used for anything else.
fn check_replaced(bridges: &BTreeMap<String, Directions>, status: Option<&Path>, metrics: Option<&Path>) -> Result<()> {
    let mut replaced = HashMap::new();
    for (what, path) in [("status", status), ("metrics-file", metrics)] {
        let Some(path) = path else { continue };
        if let Some(other) = replaced.insert(real(path), what) {
            return Err(format!("{other} and {what} are the same file, {}", path.display()));
        }
    }
    for (name, bridge) in bridges {
        let up = bridge.up.iter().flat_map(|up| [&up.ring.path, &up.state]);
        let gaps = bridge.down.iter().filter_map(|down| Some(&down.gaps.as_ref()?.path));
        let down = bridge.down.iter().flat_map(|down| [&down.ring.path, &down.state]);
        for path in up.chain(down).chain(gaps) {
            if let Some(what) = replaced.get(&real(path)) {
                return Err(format!("[bridge.{name}]: {} would be replaced: it is {what}, too", path.display()));
            }
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

/// The default directory of state files.
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

/// A file name for a bridge of any name.
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
    let state_of = |suffix: &str| state.join(format!("{}.{suffix}", file_name(name)));
    let up = bridge.up(host, settings, stream, state_of("up"))?;
    let down = bridge.down(host, settings, streams, state_of("down"))?;
    Ok(Directions { server, up, down })
}

impl Bridge {
    fn ring(&self, path: &Path) -> Result<RingFile> {
        let file = RingFile {
            path: path.to_owned(),
            variant: self.variant.map(|name| name.0),
            capacity: self.capacity.map(|count| count.0),
            msg_size: self.msg_size.map_or(256, |count| count.0),
            mode: self.mode.map_or(0o600, |mode| mode.0),
            lossless: self.lossless.unwrap_or(false),
        };
        file.check_sizes().map(|()| file)
    }

    /// The ring for notes about gaps.
    fn gaps(&self, path: &Path) -> Result<RingFile> {
        Ok(RingFile { variant: Some(Variant::Str), capacity: Some(1024), msg_size: 512, ..self.ring(path)? })
    }

    fn idle(&self) -> Duration {
        self.forget_after.map_or(Duration::from_secs(30 * 86_400), |span| span.0)
    }

    fn up(&self, host: &str, server: &Settings, stream: String, state: PathBuf) -> Result<Option<up::Options>> {
        let Some(out) = &self.out else { return Ok(None) };
        Ok(Some(up::Options {
            ring: self.ring(out)?,
            stream,
            server: server.name().to_owned(),
            host: host.to_owned(),
            state,
            from_now: match self.out_from.as_deref() {
                None | Some("start") => false,
                Some("now") => true,
                Some(other) => return Err(format!("out-from must be start or now, not '{other}'")),
            },
            pack: within("pack", self.pack, 8000)?.unwrap_or(50),
            batch: within("batch", self.batch, 8000)?.unwrap_or(1000) as usize,
            prefixes: prefixes(&self.out_prefix),
            limits: limits(self)?,
            idle: self.idle(),
        }))
    }

    fn down(
        &self,
        host: &str,
        server: &Settings,
        streams: Vec<String>,
        state: PathBuf,
    ) -> Result<Option<down::Options>> {
        let Some(inner) = &self.r#in else { return Ok(None) };
        let wrong = |text: &str| format!("from must be start, now or the identifier of an entry, not '{text}'");
        Ok(Some(down::Options {
            ring: self.ring(inner)?,
            streams,
            server: server.name().to_owned(),
            state,
            from: match self.from.as_deref() {
                None | Some("now") => down::From::Now,
                Some("start") => down::From::Start,
                Some(text) => down::From::Place(text.parse().map_err(|_| wrong(text))?),
            },
            prefixes: prefixes(&self.in_prefix),
            skip: self.skip_own.unwrap_or(false).then(|| format!("{host}/")),
            gaps: self.gaps.as_deref().map(|path| self.gaps(path)).transpose()?,
            pace: self.pace.map(|count| count.0),
            idle: self.idle(),
        }))
    }
}

fn prefixes(given: &Option<Vec<String>>) -> Vec<Vec<u8>> {
    given.iter().flatten().map(|prefix| prefix.clone().into_bytes()).collect()
}

fn within(name: &str, count: Option<Count>, most: u64) -> Result<Option<u64>> {
    match count {
        Some(Count(count)) if count > most => Err(format!("{name} must be 1 to {most}, not {count}")),
        count => Ok(count.map(|count| count.0)),
    }
}

fn limits(bridge: &Bridge) -> Result<Limits> {
    // Limits of arithmetic, and of servers.
    const MOST: u64 = 1 << 50;
    let limits = Limits {
        messages: within("keep-messages", bridge.keep_messages, MOST)?,
        age: bridge.keep_age.map(|span| span.0),
        bytes: within("keep-bytes", bridge.keep_bytes, MOST)?,
    };
    // A stream without a limit fills its server.
    Ok(if limits == Limits::default() { Limits { messages: Some(1_000_000), ..limits } } else { limits })
}

fn valid_stream(stream: String) -> Result<String> {
    let is_good = (1..=200).contains(&stream.len()) && !stream.contains(|c: char| c.is_whitespace() || c == '\0');
    if is_good { Ok(stream) } else { Err(format!("stream must be a name without spaces, not '{stream}'")) }
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
            (
                format!("status = \"/tmp/../o\"\n{SERVER}[bridge.a]\n{ring}"),
                "[bridge.a]: /o would be replaced: it is status, too",
            ),
            (
                format!("metrics-file = \"/g\"\n{SERVER}[bridge.a]\nin = \"/i\"\ngaps = \"/g\"\n"),
                "[bridge.a]: /g would be replaced: it is metrics-file, too",
            ),
            (
                format!("status = \"/tmp/x\"\nmetrics-file = \"/tmp/./x\"\n{SERVER}[bridge.a]\n{ring}"),
                "status and metrics-file are the same file, /tmp/./x",
            ),
            (
                format!("{SERVER}[bridge.a]\nin = \"/i\"\ngaps = \"/i\"\n"),
                "[bridge.a]: gaps is the in of [bridge.a]; give a ring of its own",
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
}
