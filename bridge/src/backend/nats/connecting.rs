//! Keeps the connection to a server or a cluster of them: makes it, watches it, makes it again, and says why there is none.

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

/// Who we are.
#[derive(Clone, PartialEq, Eq)]
pub enum Login {
    /// Nobody.
    None,
    /// A user, and the password.
    User(String, String),
    /// A token.
    Token(String),
    /// The seed of an nkey.
    Nkey(String),
    /// The content of a credentials file: a JWT and its seed.
    Creds(String),
}

/// What TLS needs: files of PEM.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Tls {
    /// Whose signature is believed; the system's authorities, if none.
    pub ca: Option<PathBuf>,
    /// Our own certificate and its key.
    pub client: Option<(PathBuf, PathBuf)>,
}

/// How to reach a server.
#[derive(Clone, PartialEq, Eq)]
pub struct Settings {
    /// Hosts and ports of one server or more of a cluster.
    pub servers: Vec<(String, u16)>,
    /// The same for people.
    pub name: String,
    /// Who we are.
    pub login: Login,
    /// None: without, unless the server wants it.
    pub tls: Option<Tls>,
    /// How long the server may take to accept a connection, and to answer.
    pub timeout: Duration,
    /// What the subjects begin with.
    pub subject: String,
    /// Replicas of a stream that is created here, 1 to 5.
    pub replicas: usize,
}

impl std::fmt::Debug for Settings {
    /// Without secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settings").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Within this a server says that nobody takes a message, if it says anything.
const ALIVE: Duration = Duration::from_secs(1);

/// A connection that works, as far as is known.
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

/// What a connection says beside the answers.
struct Signals {
    /// Why it is no good any more.
    broken: watch::Sender<Option<String>>,
    /// What the server does not allow to publish: it gives no answer to that, and says it of each message.
    denied: broadcast::Sender<String>,
    /// That it does not allow to subscribe to answers, which it says once: none comes over this connection.
    deaf: watch::Sender<Option<String>>,
}

impl Signals {
    fn new() -> Signals {
        Signals { broken: watch::Sender::new(None), denied: broadcast::Sender::new(16), deaf: watch::Sender::new(None) }
    }

    /// Of all that is said beside the answers.
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

/// Hears what the server does not allow, from now on.
pub(super) struct Denials {
    denied: broadcast::Receiver<String>,
    deaf: watch::Receiver<Option<String>>,
}

impl Denials {
    /// Once it is said of a subject, or of all answers.
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

/// What became of a request.
pub(super) enum Reply {
    Came(Message),
    /// Nobody takes what has this subject: there is no such stream, or no JetStream.
    Nobody,
}

impl Live {
    pub(super) fn tell_broken(&self, why: &str) {
        self.signals.broken.send_if_modified(|broken| {
            let is_news = broken.is_none();
            broken.get_or_insert_with(|| why.to_owned());
            is_news
        });
    }

    /// Once the connection is no good any more.
    pub(super) async fn broken(&self) -> Failure {
        let mut broken = self.signals.broken.subscribe();
        let why = broken.wait_for(Option::is_some).await.ok().and_then(|why| (*why).clone());
        match why {
            Some(why) => Failure::Lost(why),
            // The sender lives as long as this.
            None => std::future::pending().await,
        }
    }

    /// What the library does with a connection by itself, as long as that is good and for no longer than an answer may take.
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

    /// Asks, and waits for the answer.
    pub(super) async fn ask(&self, subject: &str, headers: Option<HeaderMap>, payload: Vec<u8>) -> Result<Reply> {
        match self.ask_within(subject, headers, payload, self.settings.timeout).await? {
            Some(reply) => Ok(reply),
            None => Err(self.owes_an_answer().await),
        }
    }

    /// The same; none: no answer came in time.
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
            RequestErrorKind::NoResponders => Ok(Some(Reply::Nobody)),
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

    /// No answer came in time: the server of this connection is away, or those of a cluster that have the stream.
    pub(super) async fn owes_an_answer(&self) -> Failure {
        let why =
            format!("no answer from {} within {} s (timeout)", self.settings.name, self.settings.timeout.as_secs());
        // The server itself says at once that nobody takes this, or that it is not allowed.
        match self.ask_within("pubsub-bridge.alive", None, Vec::new(), ALIVE).await {
            Ok(None) => {
                self.tell_broken(&why);
                Failure::Lost(why)
            }
            Err(lost @ Failure::Lost(_)) => lost,
            _ => Failure::Away(format!("{why}, whose connection is good: JetStream or the stream has no leader")),
        }
    }

    /// Asks JetStream.
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

    /// The same; none: no answer came in time.
    pub(super) async fn api_within<T: DeserializeOwned>(
        &self,
        what: &str,
        ask: &Value,
        time: Duration,
    ) -> Result<Option<std::result::Result<T, Refusal>>> {
        let payload = if ask.is_null() { Vec::new() } else { ask.to_string().into_bytes() };
        match self.ask_within(&format!("$JS.API.{what}"), None, payload, time).await? {
            Some(Reply::Came(message)) => self.parse(&message.payload).map(Some),
            Some(Reply::Nobody) => Err(Failure::Refused(format!(
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
    /// The most bytes of a message.
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
            // Each once, and no more: a client that is given up would go on connecting for ever, beside the one that follows it.
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

    /// Why there is no connection, with the remedy: the library says the same for several causes, so this looks again.
    async fn why_not(&self, kind: ConnectErrorKind, error: &(dyn std::error::Error + Send + Sync)) -> String {
        let name = &self.name;
        let full = error.to_string().replace('\n', " ");
        let text = full.split(" (os error").next().unwrap_or_default();
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
