//! Keeps the connections to a server: makes them, watches them, makes them again, and says why there are none.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::cluster::ClusterClientBuilder;
use redis::cluster_async::ClusterConnection;
use redis::sentinel::{SentinelClientBuilder, SentinelServerType};
use redis::{
    AsyncConnectionConfig, Client, ClientTlsConfig, Cmd, ConnectionAddr, ConnectionInfo, IntoConnectionInfo,
    RedisConnectionInfo, RedisError, RedisFuture, RedisResult, TlsCertificates, TlsMode, Value,
};
use tokio::sync::Notify;

use super::errors::{is_answer, is_elsewhere, refusal, with_remedy, words};
use super::reading::{self, RedisReader, Requests};
use super::{Failure, Place, Result, Script, text_of};
use crate::backend::keeper::{Endpoint, Keeper, lock};

/// Where the server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// One server.
    Node(String, u16),
    /// One server, at a Unix socket.
    Socket(PathBuf),
    /// The master that Sentinels know under a name.
    Sentinel(Vec<(String, u16)>, String),
    /// A cluster, by some of its nodes.
    Cluster(Vec<(String, u16)>),
}

/// What TLS needs, as PEM.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Tls {
    /// Whose signature is believed; the system's authorities, if none.
    pub ca: Option<Vec<u8>>,
    /// Our own certificate and its key.
    pub client: Option<(Vec<u8>, Vec<u8>)>,
}

/// How to reach a server.
#[derive(Clone, PartialEq, Eq)]
pub struct Settings {
    /// Where it is.
    pub address: Address,
    /// The same for people.
    pub name: String,
    /// Who we are; the default user, if none.
    pub username: Option<String>,
    /// And the proof.
    pub password: Option<String>,
    /// None: without.
    pub tls: Option<Tls>,
    /// How long the server may take to accept a connection, and to answer.
    pub timeout: Duration,
}

impl std::fmt::Debug for Settings {
    /// Without secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settings").field("name", &self.name).finish_non_exhaustive()
    }
}

/// How long an XREAD waits.
pub(super) const BLOCK: Duration = Duration::from_millis(100);

/// A connection for questions.
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

/// Connections that work, as far as is known.
pub(in crate::backend) struct Live {
    link: Link,
    /// Of the scripts, in their order.
    hashes: Vec<String>,
    requests: Requests,
    /// Says that one of them broke, and why.
    broken: Arc<Broken>,
}

impl std::fmt::Debug for Live {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Live").finish_non_exhaustive()
    }
}

/// Tells the keeper that a connection broke.
#[derive(Debug, Default)]
pub(super) struct Broken {
    why: Mutex<Option<String>>,
    told: Notify,
}

impl Broken {
    pub(super) fn tell(&self, why: String) {
        lock(&self.why).get_or_insert(why);
        self.told.notify_one();
    }

    async fn wait(&self) -> String {
        loop {
            if let Some(why) = lock(&self.why).clone() {
                return why;
            }
            self.told.notified().await;
        }
    }
}

impl Live {
    pub(super) async fn query(&self, command: &Cmd) -> RedisResult<Value> {
        command.query_async(&mut self.link.clone()).await
    }

    pub(super) fn hash(&self, script: Script) -> &str {
        &self.hashes[script as usize]
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
        let broken = Arc::new(Broken::default());
        let all = async {
            let (link, reading) = match &self.address {
                Address::Cluster(nodes) => (Link::Cluster(self.cluster(nodes).await?), None),
                _ => {
                    let client = self.find().await?;
                    let link =
                        client.get_multiplexed_async_connection_with_config(&self.config(Duration::ZERO)).await?;
                    let reading = client.get_multiplexed_async_connection_with_config(&self.config(BLOCK)).await?;
                    (Link::One(link), Some(reading))
                }
            };
            let mut hashes = Vec::new();
            for script in Script::ALL {
                let load: Value =
                    redis::cmd("SCRIPT").arg("LOAD").arg(script.source()).query_async(&mut link.clone()).await?;
                hashes.push(text_of(load).unwrap_or_default());
            }
            let requests = match reading {
                Some(reading) => reading::start(reading, self.clone(), Arc::clone(&broken)),
                None => reading::start_asking(link.clone(), self.clone(), Arc::clone(&broken)),
            };
            Ok::<_, RedisError>(Live { link, hashes, requests, broken: Arc::clone(&broken) })
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

    async fn ask(&self, live: &Live) -> std::result::Result<(), String> {
        match live.query(&redis::cmd("PING")).await {
            Err(error) if !is_answer(&error) => Err(self.lost(&error)),
            _ => Ok(()),
        }
    }
}

impl Keeper<Settings> {
    /// What an error means; one that says that the connection is no good any more has it made again.
    pub(super) fn failure(&self, live: &Live, stream: &str, error: &RedisError) -> Failure {
        let has_others = matches!(self.settings().address, Address::Sentinel(..) | Address::Cluster(_));
        if is_answer(error) && !(has_others && is_elsewhere(error)) {
            return refusal(stream, error);
        }
        let why = self.settings().lost(error);
        live.broken.tell(why.clone());
        Failure::Lost(why)
    }
}

impl Settings {
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

    fn redis(&self) -> RedisConnectionInfo {
        let mut info = RedisConnectionInfo::default().set_skip_set_lib_name();
        if let Some(username) = &self.username {
            info = info.set_username(username);
        }
        if let Some(password) = &self.password {
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
        let info: ConnectionInfo = addr.into_connection_info()?.set_redis_settings(self.redis());
        match self.certificates() {
            Some(certificates) => Client::build_with_tls(info, certificates),
            None => Client::open(info),
        }
    }

    fn config(&self, more: Duration) -> AsyncConnectionConfig {
        let config = AsyncConnectionConfig::new().set_connection_timeout(Some(self.timeout));
        config.set_response_timeout(Some(self.timeout + more))
    }

    /// One server: which one, where Sentinels say that.
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

    /// Why there is no connection: the library says the same for several causes, so this looks again.
    async fn why_not(&self, error: &RedisError) -> String {
        let text = words(error);
        let name = &self.name;
        if is_answer(error) || ["NOAUTH", "WRONGPASS", "invalid password"].iter().any(|word| text.contains(word)) {
            return format!("{name}: {}", with_remedy(&text));
        }
        if text.contains("Password authentication failed") {
            return format!("{name}: WRONGPASS {text}; see username and password-file");
        }
        match &self.address {
            Address::Socket(path) => match tokio::net::UnixStream::connect(path).await {
                Err(error) => format!("no server at socket {}: {}", path.display(), crate::state::plain(&error)),
                Ok(_) => format!("{name}: {text}"),
            },
            Address::Node(host, port) => self.why_not_there(host, *port, &text).await,
            Address::Sentinel(_, service) if text.contains("aster name") => {
                format!("{name}: no Sentinel knows the master '{service}'")
            }
            Address::Sentinel(..) => format!("{name}: {text}"),
            Address::Cluster(_) if text.contains("cluster support disabled") => {
                format!("{name}: {text}; this server is no cluster: give redis:// in place of cluster://")
            }
            Address::Cluster(nodes) => match nodes.first() {
                Some((host, port)) => self.why_not_there(host, *port, &text).await,
                None => format!("{name}: {text}"),
            },
        }
    }

    async fn why_not_there(&self, host: &str, port: u16, text: &str) -> String {
        let name = &self.name;
        let lookup = async { tokio::net::lookup_host((host, port)).await.map(drop) };
        match tokio::time::timeout(self.timeout, lookup).await {
            Err(_) => return self.too_late(),
            Ok(Err(error)) => {
                let full = crate::state::plain(&error);
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
                return format!("cannot connect to {name}: {}{remedy}", crate::state::plain(&error));
            }
            Ok(Ok(_)) => {}
        }
        if self.tls.is_none() {
            return format!("{name} gave no Redis answer ({text}); if it expects TLS, give a URL with rediss://");
        }
        let remedy = if text.contains("certificate") { "see ca-file" } else { "does it expect TLS at this port?" };
        format!("cannot begin TLS with {name}: {text}; {remedy}")
    }
}
