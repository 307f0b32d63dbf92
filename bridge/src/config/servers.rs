//! The section of a server: its address and our credentials.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use super::Result;
use super::values::{Count, Span};
use crate::backend::redis::{Address, Tls};
use crate::backend::server::Settings;
use crate::backend::{nats, redis};
use crate::file;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", expecting = "a section, as [server] or [servers.NAME]")]
pub(super) struct Server {
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

/// Reads a secret from a file that only this user may read. A name without a directory is in systemd's directory of credentials.
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

pub(super) fn settings(server: &Server) -> Result<Settings> {
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

    /// The certificate and the key, if given.
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
    // Checked now, so that errors are reported at once.
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
                // The library ignores a last line without a line end.
                _ => nats::Login::Creds(text + "\n"),
            })
        }
        _ => Err("give only one of token-file, nkey-file and creds-file".to_owned()),
    }
}

const SECRET_IN_URL: &str =
    "url must not have a password in it, which all users could see: give username and password-file";

/// The address of a URL, whether it uses TLS, and its text for people.
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
pub(super) fn host_and_port(text: &str, default: u16) -> Result<(String, u16)> {
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
            match settings(&toml::from_str(lines).expect("a section"))? {
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
