//! The connections to a server: makes them, checks them, makes them again, and finds out why one cannot be made.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::cluster::ClusterClientBuilder;
use redis::cluster_async::ClusterConnection;
use redis::cluster_routing::{MultipleNodeRoutingInfo, ResponsePolicy, RoutingInfo};
use redis::sentinel::{SentinelClientBuilder, SentinelServerType};
use redis::{
    AsyncConnectionConfig, Client, ClientTlsConfig, Cmd, ConnectionAddr, ConnectionInfo, ErrorKind, IntoConnectionInfo,
    RedisConnectionInfo, RedisError, RedisFuture, RedisResult, TlsCertificates, TlsMode, Value,
};
use tokio::sync::watch;

use super::errors::{is_answer, is_elsewhere, refusal, with_remedy, words};
use super::reading::{RedisReader, Requests};
use super::{Failure, Place, Result};
use crate::backend::keeper::{Endpoint, Keeper};
use crate::backend::tls;

/// The address of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// One server.
    Node(String, u16),
    /// One server, at a Unix socket.
    Socket(PathBuf),
    /// The master that Sentinels know under a name.
    Sentinel(Vec<(String, u16)>, String),
    /// A cluster, by the addresses of some of its nodes.
    Cluster(Vec<(String, u16)>),
}

/// The TLS configuration, as PEM.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Tls {
    /// Trusted certificate authorities; those of the system, if `None`.
    pub ca: Option<Vec<u8>>,
    /// The client certificate and its key.
    pub client: Option<(Vec<u8>, Vec<u8>)>,
}

/// How to connect to a server.
#[derive(Clone, PartialEq, Eq)]
pub struct Settings {
    /// Its address.
    pub address: Address,
    /// Its address as a text for people.
    pub name: String,
    /// The user; the default user, if `None`.
    pub username: Option<String>,
    /// Its password.
    pub password: Option<String>,
    /// The user for Sentinels, which have users of their own.
    pub sentinel_username: Option<String>,
    /// Its password.
    pub sentinel_password: Option<String>,
    /// `None`: without TLS.
    pub tls: Option<Tls>,
    /// The timeout for connections and answers.
    pub timeout: Duration,
}

impl std::fmt::Debug for Settings {
    /// Without secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settings").field("name", &self.name).finish_non_exhaustive()
    }
}

/// After this time without an answer, Sentinels are asked whether there is another master.
const OWED: Duration = Duration::from_secs(2);
/// How long an XREAD waits.
pub(super) const BLOCK: Duration = Duration::from_millis(100);

/// A connection for requests.
#[derive(Clone)]
pub(super) enum Link {
    One(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl ConnectionLike for Link {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        match self {
            Link::One(link) => link.req_packed_command(command),
            Link::Cluster(link) => link.req_packed_command(command),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a redis::Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match self {
            Link::One(link) => link.req_packed_commands(pipeline, offset, count),
            Link::Cluster(link) => link.req_packed_commands(pipeline, offset, count),
        }
    }

    fn get_db(&self) -> i64 {
        0
    }
}

/// Connections that are believed to work.
pub(in crate::backend) struct Live {
    link: Link,
    /// The address of the server that Sentinels have named.
    master: Option<ConnectionAddr>,
    requests: Requests,
    /// Tells that one of them is broken, and why.
    broken: Arc<Broken>,
}

impl std::fmt::Debug for Live {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Live").finish_non_exhaustive()
    }
}

/// Tells all users of a connection that it is broken.
#[derive(Debug, Default)]
pub(super) struct Broken(watch::Sender<Option<String>>);

impl Broken {
    pub(super) fn tell(&self, why: String) {
        self.0.send_if_modified(|broken| {
            let is_news = broken.is_none();
            broken.get_or_insert(why);
            is_news
        });
    }

    pub(super) async fn wait(&self) -> String {
        let mut broken = self.0.subscribe();
        // The sender lives as long as this.
        let _ = broken.wait_for(Option::is_some).await;
        broken.borrow().clone().unwrap_or_default()
    }

    /// Waits for an answer as long as the connection works. A broken one may not answer for a long time.
    pub(super) async fn or<T>(&self, answer: impl Future<Output = RedisResult<T>>) -> RedisResult<T> {
        tokio::select! {
            biased;
            answer = answer => answer,
            why = self.wait() => Err(RedisError::from(std::io::Error::other(why))),
        }
    }
}

impl Live {
    pub(super) async fn query(&self, command: &Cmd) -> RedisResult<Value> {
        self.broken.or(command.query_async(&mut self.link.clone())).await
    }

    pub(super) fn read(&self, stream: &str, after: Place) -> Result<RedisReader> {
        self.requests.read(stream, after)
    }
}

impl Endpoint for Settings {
    type Live = Live;

    fn name(&self) -> &str {
        &self.name
    }

    async fn connect(&self) -> std::result::Result<Live, String> {
        let broken = Arc::<Broken>::default();
        let all = async {
            if let Address::Cluster(nodes) = &self.address {
                let link = Link::Cluster(self.cluster(nodes).await?);
                let requests = Requests::asking(link.clone(), self.clone(), Arc::clone(&broken));
                return Ok::<_, RedisError>(Live { link, master: None, requests, broken: Arc::clone(&broken) });
            }
            let client = self.find().await?;
            let link = client.get_multiplexed_async_connection_with_config(&self.config(Duration::ZERO)).await?;
            let reading = client.get_multiplexed_async_connection_with_config(&self.config(BLOCK)).await?;
            // A user without permission for this request may have all that are needed.
            match redis::cmd("PING").query_async::<Value>(&mut link.clone()).await {
                Err(error) if error.code() != Some("NOPERM") => return Err(error),
                _ => {}
            }
            let requests = Requests::waiting(reading, self.clone(), Arc::clone(&broken));
            let is_found = matches!(self.address, Address::Sentinel(..));
            let master = is_found.then(|| client.get_connection_info().addr().clone());
            Ok(Live { link: Link::One(link), master, requests, broken: Arc::clone(&broken) })
        };
        match tokio::time::timeout(self.timeout * 2, all).await {
            Ok(Ok(live)) => Ok(live),
            Ok(Err(error)) => Err(self.why_not(&error).await),
            Err(_) => Err(self.too_late()),
        }
    }

    async fn broken(&self, live: &Live) -> String {
        live.broken.wait().await
    }

    fn given_up(&self, live: &Live, why: &str) {
        live.broken.tell(why.to_owned());
    }

    async fn ask(&self, live: &Live) -> std::result::Result<(), String> {
        let answer = match (&live.link, &live.master) {
            (Link::Cluster(link), _) => {
                // A cluster is up as long as one of its nodes is.
                let any = (MultipleNodeRoutingInfo::AllMasters, Some(ResponsePolicy::OneSucceeded));
                link.clone().route_command(redis::cmd("PING"), RoutingInfo::MultiNode(any)).await
            }
            (_, Some(master)) => return self.ask_master(live, master).await,
            _ => live.query(&redis::cmd("PING")).await,
        };
        match answer {
            Err(error) if !is_answer(&error) => Err(self.lost(&error)),
            _ => Ok(()),
        }
    }
}

impl Keeper<Settings> {
    /// Converts an error. If it means that the connection is broken, a new one is made.
    pub(super) fn failure(&self, live: &Live, stream: &str, error: &RedisError) -> Failure {
        let settings = self.settings();
        if let Some(failure) = settings.partial(stream, error) {
            return failure;
        }
        let why = settings.lost(error);
        live.broken.tell(why.clone());
        Failure::Lost(why)
    }
}

impl Settings {
    /// Settings without credentials and TLS, for tests.
    #[cfg(test)]
    pub(crate) fn plain(name: &str, address: Address) -> Settings {
        Settings {
            address,
            name: name.to_owned(),
            username: None,
            password: None,
            sentinel_username: None,
            sentinel_password: None,
            tls: None,
            timeout: Duration::from_secs(1),
        }
    }

    /// Converts an error of a working connection; `None` if the connection is broken.
    pub(super) fn partial(&self, stream: &str, error: &RedisError) -> Option<Failure> {
        let is_good = is_answer(error) && !(matches!(self.address, Address::Sentinel(..)) && is_elsewhere(error));
        if is_good {
            return Some(refusal(stream, error));
        }
        // If the cluster elects another node, it is found without a new connection.
        let is_cluster = matches!(self.address, Address::Cluster(_));
        is_cluster.then(|| Failure::Away(format!("the node of stream {stream}: {}", self.lost(error))))
    }

    /// Whether the server that Sentinels have named is still the master. It may have been replaced if it does not answer.
    async fn ask_master(&self, live: &Live, master: &ConnectionAddr) -> std::result::Result<(), String> {
        let ask = redis::cmd("ROLE");
        let mut role = std::pin::pin!(live.query(&ask));
        loop {
            match tokio::time::timeout(OWED, &mut role).await {
                Ok(Err(error)) if !is_answer(&error) => return Err(self.lost(&error)),
                Ok(Ok(Value::Array(parts)))
                    if parts.first().is_some_and(|role| *role != Value::BulkString(b"master".to_vec())) =>
                {
                    return Err(format!("{}: {master} is not the master any more", self.name));
                }
                Ok(_) => return Ok(()),
                Err(_) => {
                    let found = self.find().await.map(|client| client.get_connection_info().addr().clone());
                    if let Ok(other) = found
                        && other != *master
                    {
                        return Err(format!("{}: {other} is the master now, not {master}", self.name));
                    }
                }
            }
        }
    }

    /// Why a connection was lost.
    pub(super) fn lost(&self, error: &RedisError) -> String {
        if error.is_timeout() {
            return format!("no answer from {} within {} s (timeout)", self.name, self.timeout.as_secs());
        }
        if is_answer(error) {
            return format!("{}: {}", self.name, with_remedy(&words(error)));
        }
        let text = words(error);
        let is_closed =
            error.is_connection_dropped() || text.contains("unexpected end of file") || text.contains("driver");
        if is_closed { format!("{} closed the connection", self.name) } else { format!("{}: {text}", self.name) }
    }

    fn redis(username: Option<&str>, password: Option<&str>) -> RedisConnectionInfo {
        let mut info = RedisConnectionInfo::default().set_skip_set_lib_name();
        if let Some(username) = username {
            info = info.set_username(username);
        }
        if let Some(password) = password {
            info = info.set_password(password);
        }
        info
    }

    fn certificates(&self) -> Option<TlsCertificates> {
        let tls = self.tls.as_ref()?;
        let client =
            |(cert, key): &(Vec<u8>, Vec<u8>)| ClientTlsConfig { client_cert: cert.clone(), client_key: key.clone() };
        Some(TlsCertificates { client_tls: tls.client.as_ref().map(client), root_cert: tls.ca.clone() })
    }

    fn addr(&self, host: &str, port: u16) -> ConnectionAddr {
        match self.tls {
            None => ConnectionAddr::Tcp(host.to_owned(), port),
            Some(_) => ConnectionAddr::TcpTls { host: host.to_owned(), port, insecure: false, tls_params: None },
        }
    }

    fn client(&self, addr: ConnectionAddr) -> RedisResult<Client> {
        self.client_as(addr, Settings::redis(self.username.as_deref(), self.password.as_deref()))
    }

    fn client_as(&self, addr: ConnectionAddr, who: RedisConnectionInfo) -> RedisResult<Client> {
        let info: ConnectionInfo = addr.into_connection_info()?.set_redis_settings(who);
        match self.certificates() {
            Some(certificates) => Client::build_with_tls(info, certificates),
            None => Client::open(info),
        }
    }

    fn config(&self, more: Duration) -> AsyncConnectionConfig {
        let config = AsyncConnectionConfig::new().set_connection_timeout(Some(self.timeout));
        config.set_response_timeout(Some(self.timeout + more))
    }

    /// Connects to one server, and returns which one if Sentinels have named it.
    async fn find(&self) -> RedisResult<Client> {
        match &self.address {
            Address::Node(host, port) => self.client(self.addr(host, *port)),
            Address::Socket(path) => self.client(ConnectionAddr::Unix(path.clone())),
            Address::Sentinel(sentinels, service) => {
                let addrs: Vec<_> = sentinels.iter().map(|(host, port)| self.addr(host, *port)).collect();
                let mut builder = SentinelClientBuilder::new(addrs, service, SentinelServerType::Master)?;
                if let Some(username) = &self.username {
                    builder = builder.set_client_to_redis_username(username);
                }
                if let Some(password) = &self.password {
                    builder = builder.set_client_to_redis_password(password);
                }
                if let Some(username) = &self.sentinel_username {
                    builder = builder.set_client_to_sentinel_username(username);
                }
                if let Some(password) = &self.sentinel_password {
                    builder = builder.set_client_to_sentinel_password(password);
                }
                if let Some(certificates) = self.certificates() {
                    builder = builder
                        .set_client_to_redis_tls_mode(TlsMode::Secure)
                        .set_client_to_sentinel_tls_mode(TlsMode::Secure)
                        .set_client_to_redis_certificates(certificates.clone())
                        .set_client_to_sentinel_certificates(certificates);
                }
                builder.build()?.async_get_client().await
            }
            Address::Cluster(_) => unreachable!("a cluster is many servers"),
        }
    }

    async fn cluster(&self, nodes: &[(String, u16)]) -> RedisResult<ClusterConnection> {
        let nodes = nodes.iter().map(|(host, port)| self.addr(host, *port));
        let mut builder = ClusterClientBuilder::new(nodes)
            .connection_timeout(self.timeout)
            .response_timeout(self.timeout)
            .overall_response_timeout(Some(self.timeout));
        if let Some(username) = &self.username {
            builder = builder.username(username);
        }
        if let Some(password) = &self.password {
            builder = builder.password(password);
        }
        if let Some(certificates) = self.certificates() {
            builder = builder.tls(TlsMode::Secure).certs(certificates);
        }
        builder.build()?.get_async_connection().await
    }

    fn too_late(&self) -> String {
        let tls = if self.tls.is_some() { "; does it expect TLS at this port?" } else { "" };
        format!("no connection to {} within {} s (timeout){tls}", self.name, self.timeout.as_secs())
    }

    /// Finds out why there is no connection: the library has the same error for several causes.
    async fn why_not(&self, error: &RedisError) -> String {
        let text = words(error);
        let name = &self.name;
        if let Address::Sentinel(sentinels, service) = &self.address {
            return self.why_not_found(sentinels, service, &text).await;
        }
        if is_answer(error) || text.starts_with("WRONGPASS") {
            return format!("{name}: {}", with_remedy(&text));
        }
        match &self.address {
            Address::Socket(path) => match tokio::net::UnixStream::connect(path).await {
                Err(error) => format!("no server at socket {}: {}", path.display(), crate::file::plain(&error)),
                Ok(_) => format!("{name}: {text}"),
            },
            Address::Node(host, port) => self.why_not_there(name, host, *port, &text).await,
            Address::Sentinel(..) => unreachable!("above"),
            Address::Cluster(nodes) => match nodes.first() {
                Some((host, port)) => self.why_not_there(&format!("{host}:{port}"), host, *port, &text).await,
                None => format!("{name}: {text}"),
            },
        }
    }

    /// Finds out whether the Sentinels or the master are the cause.
    async fn why_not_found(&self, sentinels: &[(String, u16)], service: &str, text: &str) -> String {
        let name = &self.name;
        let mut why = String::new();
        let mut ask = redis::cmd("SENTINEL");
        ask.arg("GET-MASTER-ADDR-BY-NAME").arg(service);
        for (host, port) in sentinels {
            let who = Settings::redis(self.sentinel_username.as_deref(), self.sentinel_password.as_deref());
            let answer = async {
                let client = self.client_as(self.addr(host, *port), who)?;
                let mut link =
                    client.get_multiplexed_async_connection_with_config(&self.config(Duration::ZERO)).await?;
                ask.query_async::<Option<Vec<String>>>(&mut link).await
            };
            why = match answer.await {
                Ok(Some(master)) => {
                    let master = master.join(":");
                    return match text.contains("aster with given name") {
                        true => format!(
                            "{name}: the master '{service}' ({master}) does not answer the Sentinels; a replica has to take over"
                        ),
                        false => format!("{name}: the master '{service}' ({master}): {}", with_remedy(text)),
                    };
                }
                Ok(None) => format!("{name}: no Sentinel knows the master '{service}'; see url"),
                Err(error) if words(&error).contains("unknown command") => {
                    format!("{host}:{port} is not a Sentinel: give the port of one, or redis:// for this server")
                }
                Err(error) if is_answer(&error) || error.kind() == ErrorKind::AuthenticationFailed => {
                    let words = words(&error);
                    format!("Sentinel {host}:{port}: {words}; see sentinel-username and sentinel-password-file")
                }
                Err(error) => self.why_not_there(&format!("Sentinel {host}:{port}"), host, *port, &words(&error)).await,
            };
        }
        why
    }

    /// The beginnings of URLs of such servers, without TLS and with it.
    fn schemes(&self) -> [&'static str; 2] {
        match self.address {
            Address::Node(..) | Address::Socket(_) => ["redis://", "rediss://"],
            Address::Sentinel(..) => ["sentinel://", "sentinels://"],
            Address::Cluster(_) => ["cluster://", "clusters://"],
        }
    }

    /// Why there is no connection to a server at a port, which is called `name`.
    async fn why_not_there(&self, name: &str, host: &str, port: u16, text: &str) -> String {
        let [plain, secure] = self.schemes();
        let lookup = async { tokio::net::lookup_host((host, port)).await.map(drop) };
        match tokio::time::timeout(self.timeout, lookup).await {
            Err(_) => return self.too_late(),
            Ok(Err(error)) => {
                let full = crate::file::plain(&error);
                let why = full.strip_prefix("failed to lookup address information: ").unwrap_or(&full);
                return format!("cannot find the address of '{host}': {why}; see url");
            }
            Ok(Ok(())) => {}
        }
        match tokio::time::timeout(self.timeout, tokio::net::TcpStream::connect((host, port))).await {
            Err(_) => return self.too_late(),
            Ok(Err(error)) => {
                let remedy = if error.kind() == std::io::ErrorKind::ConnectionRefused {
                    "; no server listens there"
                } else {
                    ""
                };
                return format!("cannot connect to {name}: {}{remedy}", crate::file::plain(&error));
            }
            Ok(Ok(_)) => {}
        }
        if self.tls.is_none() {
            return format!("{name} gave no Redis answer ({text}); if it expects TLS, give a URL with {secure}");
        }
        tls::why_not(name, text, plain)
    }
}
