//! The connection to a server or a cluster: makes it, checks it, makes it again, and finds out why it cannot be made.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_nats::{
    Client, ConnectErrorKind, ConnectOptions, Event, HeaderMap, Message, Request, RequestErrorKind, ServerError,
};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::{broadcast, watch};

use super::errors::{Answer, Refusal, denial};
use super::{Failure, Result};
use crate::backend::keeper::{Endpoint, Keeper};
use crate::backend::tls;

/// The credentials.
#[derive(Clone, PartialEq, Eq)]
pub enum Login {
    /// None.
    None,
    /// A user and the password.
    User(String, String),
    /// A token.
    Token(String),
    /// The seed of an nkey.
    Nkey(String),
    /// The content of a credentials file: a JWT and its seed.
    Creds(String),
}

/// The TLS configuration: files of PEM.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Tls {
    /// Trusted certificate authorities; those of the system, if `None`.
    pub ca: Option<PathBuf>,
    /// The client certificate and its key.
    pub client: Option<(PathBuf, PathBuf)>,
}

/// How to connect to a server.
#[derive(Clone, PartialEq, Eq)]
pub struct Settings {
    /// The host and port of one or more servers of a cluster.
    pub servers: Vec<(String, u16)>,
    /// Its address as a text for people.
    pub name: String,
    /// The credentials.
    pub login: Login,
    /// `None`: without TLS, unless the server requires it.
    pub tls: Option<Tls>,
    /// The timeout for connections and answers.
    pub timeout: Duration,
    /// The prefix of subjects.
    pub subject: String,
    /// The number of replicas of streams that are created, 1 to 5.
    pub replicas: usize,
}

impl std::fmt::Debug for Settings {
    /// Without secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settings").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Within this time a server reports that a message has no responders, if it does so.
const ALIVE: Duration = Duration::from_secs(1);

/// A connection that is believed to work.
pub(in crate::backend) struct Live {
    pub client: Client,
    pub settings: Settings,
    signals: Arc<Signals>,
}

impl std::fmt::Debug for Live {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Live").finish_non_exhaustive()
    }
}

/// Events of a connection besides answers.
struct Signals {
    /// Why the connection is broken.
    broken: watch::Sender<Option<String>>,
    /// A subject that this user may not publish to: the server reports it for each message instead of an answer.
    denied: broadcast::Sender<String>,
    /// This user may not subscribe to answers, which the server reports once: there are none on this connection.
    deaf: watch::Sender<Option<String>>,
}

impl Signals {
    fn new() -> Signals {
        Signals { broken: watch::Sender::new(None), denied: broadcast::Sender::new(16), deaf: watch::Sender::new(None) }
    }

    /// The events of the connection.
    fn hear(&self, event: Event, name: &str) {
        match event {
            Event::Disconnected | Event::Closed | Event::LameDuckMode => {
                self.broken.send_if_modified(|broken| {
                    broken.get_or_insert_with(|| format!("{name} closed the connection"));
                    true
                });
            }
            Event::ServerError(ServerError::Other(words)) => {
                let lower = words.to_lowercase();
                if lower.contains("permissions violation for subscription") {
                    self.deaf.send_replace(Some(words));
                } else if lower.contains("permissions violation") {
                    let _ = self.denied.send(words);
                }
            }
            _ => {}
        }
    }
}

/// Subscribes to denials from now on.
pub(super) struct Denials {
    denied: broadcast::Receiver<String>,
    deaf: watch::Receiver<Option<String>>,
}

impl Denials {
    /// Resolves once a subject, or all answers, are denied.
    pub async fn of(&mut self, subject: &str) -> String {
        let quoted = format!("\"{subject}\"");
        loop {
            let denied = tokio::select! {
                denied = self.denied.recv() => denied,
                Ok(words) = self.deaf.wait_for(Option::is_some) => return words.clone().unwrap_or_default(),
            };
            match denied {
                Ok(words) if words.contains(&quoted) => return words,
                Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
            }
        }
    }
}

/// The result of a request.
pub(super) enum Reply {
    Came(Message),
    /// There are no responders for this subject: there is no such stream, or no JetStream.
    NoResponders,
}

impl Live {
    pub(super) fn tell_broken(&self, why: &str) {
        self.signals.broken.send_if_modified(|broken| {
            let is_news = broken.is_none();
            broken.get_or_insert_with(|| why.to_owned());
            is_news
        });
    }

    /// Resolves once the connection is broken.
    pub(super) async fn broken(&self) -> Failure {
        let mut broken = self.signals.broken.subscribe();
        let why = broken.wait_for(Option::is_some).await.ok().and_then(|why| (*why).clone());
        match why {
            Some(why) => Failure::Lost(why),
            // The sender lives as long as this.
            None => std::future::pending().await,
        }
    }

    /// Waits for a call of the library as long as the connection works, and for at most the timeout of answers.
    pub(super) async fn bounded<T, E: std::fmt::Display>(
        &self,
        what: impl Future<Output = std::result::Result<T, E>>,
    ) -> Result<T> {
        let name = &self.settings.name;
        let done = tokio::select! {
            done = tokio::time::timeout(self.settings.timeout, what) => done,
            failure = self.broken() => return Err(failure),
        };
        let why = match done {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) => format!("{name}: {error}"),
            Err(_) => format!("nothing could be sent to {name} for {} s (timeout)", self.settings.timeout.as_secs()),
        };
        self.tell_broken(&why);
        Err(Failure::Lost(why))
    }

    pub(super) fn denials(&self) -> Denials {
        Denials { denied: self.signals.denied.subscribe(), deaf: self.signals.deaf.subscribe() }
    }

    pub(super) fn denial(&self, words: &str) -> Failure {
        denial(&self.settings.name, words)
    }

    /// Sends a request, and waits for the answer.
    pub(super) async fn ask(&self, subject: &str, headers: Option<HeaderMap>, payload: Vec<u8>) -> Result<Reply> {
        match self.ask_within(subject, headers, payload, self.settings.timeout).await? {
            Some(reply) => Ok(reply),
            None => Err(self.owes_an_answer().await),
        }
    }

    /// Sends a request; `None` if there was no answer in time.
    async fn ask_within(
        &self,
        subject: &str,
        headers: Option<HeaderMap>,
        payload: Vec<u8>,
        time: Duration,
    ) -> Result<Option<Reply>> {
        let mut request = Request::new().payload(payload.into()).timeout(Some(time));
        if let Some(headers) = headers {
            request = request.headers(headers);
        }
        let mut denials = self.denials();
        let answer = tokio::select! {
            answer = self.client.send_request(subject.to_owned(), request) => answer,
            failure = self.broken() => return Err(failure),
            words = denials.of(subject) => return Err(self.denial(&words)),
        };
        let name = &self.settings.name;
        let error = match answer {
            Ok(message) => return Ok(Some(Reply::Came(message))),
            Err(error) => error,
        };
        match error.kind() {
            RequestErrorKind::NoResponders => Ok(Some(Reply::NoResponders)),
            RequestErrorKind::TimedOut => Ok(None),
            RequestErrorKind::MaxPayloadExceeded | RequestErrorKind::InvalidSubject => {
                Err(Failure::Refused(format!("{name}: {subject}: {error}")))
            }
            _ => {
                let why = format!("{name}: {error}");
                self.tell_broken(&why);
                Err(Failure::Lost(why))
            }
        }
    }

    /// The failure for a missing answer: the server of this connection is down, or those of the cluster that have the stream.
    pub(super) async fn owes_an_answer(&self) -> Failure {
        let why =
            format!("no answer from {} within {} s (timeout)", self.settings.name, self.settings.timeout.as_secs());
        // The server itself would report missing responders and permissions at once.
        match self.ask_within("pubsub-bridge.alive", None, Vec::new(), ALIVE).await {
            Ok(None) => {
                self.tell_broken(&why);
                Failure::Lost(why)
            }
            Err(lost @ Failure::Lost(_)) => lost,
            _ => Failure::Away(format!("{why}, whose connection is good: JetStream or the stream has no leader")),
        }
    }

    /// Sends a request to JetStream.
    pub(super) async fn api<T: DeserializeOwned>(
        &self,
        what: &str,
        ask: &Value,
    ) -> Result<std::result::Result<T, Refusal>> {
        match self.api_within(what, ask, self.settings.timeout).await? {
            Some(answer) => Ok(answer),
            None => Err(self.owes_an_answer().await),
        }
    }

    /// Sends a request; `None` if there was no answer in time.
    pub(super) async fn api_within<T: DeserializeOwned>(
        &self,
        what: &str,
        ask: &Value,
        time: Duration,
    ) -> Result<Option<std::result::Result<T, Refusal>>> {
        let payload = if ask.is_null() { Vec::new() } else { ask.to_string().into_bytes() };
        match self.ask_within(&format!("$JS.API.{what}"), None, payload, time).await? {
            Some(Reply::Came(message)) => self.parse(&message.payload).map(Some),
            Some(Reply::NoResponders) => Err(Failure::Refused(format!(
                "{}: has no JetStream for this user; start the server with JetStream (jetstream {{}} in its configuration, or -js)",
                self.settings.name
            ))),
            None => Ok(None),
        }
    }

    pub(super) fn parse<T: DeserializeOwned>(&self, payload: &[u8]) -> Result<std::result::Result<T, Refusal>> {
        match serde_json::from_slice::<Answer<T>>(payload) {
            Ok(Answer::Ok(value)) => Ok(Ok(value)),
            Ok(Answer::Err { error }) => Ok(Err(error)),
            Err(error) => Err(Failure::Refused(format!(
                "{} gave an answer that is none of JetStream ({error})",
                self.settings.name
            ))),
        }
    }
}

impl Endpoint for Settings {
    type Live = Live;

    fn name(&self) -> &str {
        &self.name
    }

    async fn connect(&self) -> std::result::Result<Live, String> {
        let signals = Arc::new(Signals::new());
        let scheme = if self.tls.is_some() { "tls" } else { "nats" };
        let url = |(host, port): &(String, u16)| match host.contains(':') {
            true => format!("{scheme}://[{host}]:{port}"),
            false => format!("{scheme}://{host}:{port}"),
        };
        let urls: Vec<String> = self.servers.iter().map(url).collect();
        let options = self.options(&signals)?;
        match tokio::time::timeout(self.timeout * 2, options.connect(urls)).await {
            Ok(Ok(client)) => Ok(Live { client, settings: self.clone(), signals }),
            Ok(Err(error)) => Err(self.why_not(error.kind(), &error).await),
            Err(_) => Err(self.too_late()),
        }
    }

    async fn broken(&self, live: &Live) -> String {
        live.broken().await.to_string()
    }

    async fn ask(&self, live: &Live) -> std::result::Result<(), String> {
        match live.ask("$JS.API.INFO", None, Vec::new()).await {
            Err(Failure::Lost(why)) => Err(why),
            _ => Ok(()),
        }
    }

    fn given_up(&self, live: &Live, why: &str) {
        live.tell_broken(why);
    }
}

impl Keeper<Settings> {
    /// The maximum size of a message in bytes.
    pub(super) fn max_payload(&self) -> Option<usize> {
        self.live().ok().map(|live| live.client.max_payload())
    }
}

impl Settings {
    fn options(&self, signals: &Arc<Signals>) -> std::result::Result<ConnectOptions, String> {
        let signals = Arc::downgrade(signals);
        let name = self.name.clone();
        let mut options = ConnectOptions::new()
            .name("pubsub-bridge")
            .connection_timeout(self.timeout)
            .request_timeout(Some(self.timeout))
            .require_tls(self.tls.is_some())
            // Each server once, and not again: a client that was dropped would go on connecting forever, beside the next one.
            .max_reconnects(self.servers.len())
            .event_callback(move |event| {
                let (signals, name) = (signals.clone(), name.clone());
                async move {
                    if let Some(signals) = signals.upgrade() {
                        signals.hear(event, &name);
                    }
                }
            });
        options = match &self.login {
            Login::None => options,
            Login::User(user, password) => options.user_and_password(user.clone(), password.clone()),
            Login::Token(token) => options.token(token.clone()),
            Login::Nkey(seed) => options.nkey(seed.clone()),
            Login::Creds(text) => options.credentials(text).map_err(|error| format!("creds-file: {error}"))?,
        };
        if let Some(tls) = &self.tls {
            if let Some(ca) = &tls.ca {
                options = options.add_root_certificates(ca.clone());
            }
            if let Some((cert, key)) = &tls.client {
                options = options.add_client_certificate(cert.clone(), key.clone());
            }
        }
        Ok(options)
    }

    fn too_late(&self) -> String {
        format!(
            "no connection to {} within {} s (timeout); is this the port of a NATS server?",
            self.name,
            self.timeout.as_secs()
        )
    }

    /// Finds out why there is no connection, with a remedy: the library has the same error for several causes.
    async fn why_not(&self, kind: ConnectErrorKind, error: &(dyn std::error::Error + Send + Sync)) -> String {
        let name = &self.name;
        let text = &crate::file::plain(error).replace('\n', " ");
        match kind {
            ConnectErrorKind::AuthorizationViolation => {
                let what = match &self.login {
                    Login::None => "give username and password-file, token-file, nkey-file or creds-file",
                    Login::User(..) => "see username and password-file",
                    Login::Token(_) => "see token-file",
                    Login::Nkey(_) => "see nkey-file",
                    Login::Creds(_) => "see creds-file",
                };
                format!("{name}: authorization violation; {what}")
            }
            ConnectErrorKind::Authentication => {
                format!("{name}: cannot sign what the server has sent: {text}; see nkey-file or creds-file")
            }
            ConnectErrorKind::TimedOut => self.too_late(),
            _ if tls::is_about_tls(text) && self.tls.is_none() => {
                format!("{name} wants TLS ({text}); give a URL with tls://, and see ca-file")
            }
            ConnectErrorKind::Tls => tls::why_not(name, text, "nats://"),
            _ if tls::is_about_tls(text) => tls::why_not(name, text, "nats://"),
            _ => self.why_not_there(text).await,
        }
    }

    async fn why_not_there(&self, text: &str) -> String {
        let name = &self.name;
        let mut why = format!("cannot connect to {name}: {text}");
        for (host, port) in &self.servers {
            let connecting = tokio::net::TcpStream::connect((host.as_str(), *port));
            why = match tokio::time::timeout(self.timeout, connecting).await {
                Err(_) => self.too_late(),
                Ok(Err(error)) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
                    format!("cannot connect to {name}: {}; no server listens there", crate::file::plain(&error))
                }
                Ok(Err(error)) => {
                    let plain = crate::file::plain(&error);
                    match plain.strip_prefix("failed to lookup address information: ") {
                        Some(plain) => format!("cannot find the address of '{host}': {plain}; see url"),
                        None => format!("cannot connect to {name}: {plain}"),
                    }
                }
                Ok(Ok(_)) if self.tls.is_none() => {
                    format!("{name} gave no NATS answer ({text}); if it wants TLS, give a URL with tls://")
                }
                Ok(Ok(_)) => tls::why_not(name, text, "nats://"),
            };
        }
        why
    }
}
