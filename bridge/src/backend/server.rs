//! A backend of any kind that a configuration may name.

use std::time::Duration;

use super::nats::{self, Nats, NatsReader};
use super::redis::{self, Redis, RedisReader};
use super::{Backend, Batch, Begun, Claim, Ends, Health, Limits, Origins, Place, Read, Reader, Result, Sender};

/// How to connect to a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settings {
    /// Redis or Valkey.
    Redis(redis::Settings),
    /// NATS with JetStream.
    Nats(nats::Settings),
}

impl Settings {
    /// Its address as a text for people.
    pub fn name(&self) -> &str {
        match self {
            Settings::Redis(settings) => &settings.name,
            Settings::Nats(settings) => &settings.name,
        }
    }

    /// The timeout for connections and answers.
    pub fn timeout(&self) -> Duration {
        match self {
            Settings::Redis(settings) => settings.timeout,
            Settings::Nats(settings) => settings.timeout,
        }
    }
}

/// A server.
#[derive(Clone, Debug)]
pub enum Server {
    /// Redis or Valkey.
    Redis(Redis),
    /// NATS with JetStream.
    Nats(Nats),
}

impl Server {
    /// Starts to connect in the background, with retries.
    pub fn new(settings: Settings) -> Server {
        match settings {
            Settings::Redis(settings) => Server::Redis(Redis::new(settings)),
            Settings::Nats(settings) => Server::Nats(Nats::new(settings)),
        }
    }
}

/// Forwards a call to the backend.
macro_rules! either {
    ($server:expr, $backend:ident => $call:expr) => {
        match $server {
            Server::Redis($backend) => $call,
            Server::Nats($backend) => $call,
        }
    };
}

impl Backend for Server {
    type Reader = ServerReader;

    async fn connected(&self) {
        either!(self, backend => backend.connected().await);
    }

    fn health(&self) -> Health {
        either!(self, backend => backend.health())
    }

    fn window(&self) -> usize {
        either!(self, backend => backend.window())
    }

    fn batch_bytes(&self) -> usize {
        either!(self, backend => backend.batch_bytes())
    }

    async fn begin(&self, stream: &str, origin: &str, claim: &Claim) -> Result<Begun> {
        either!(self, backend => backend.begin(stream, origin, claim).await)
    }

    async fn append(&self, sender: &Sender, batch: &Batch, acknowledged: u64) -> Result<()> {
        either!(self, backend => backend.append(sender, batch, acknowledged).await)
    }

    async fn read(&self, stream: &str, after: Place) -> Result<ServerReader> {
        match self {
            Server::Redis(backend) => backend.read(stream, after).await.map(ServerReader::Redis),
            Server::Nats(backend) => backend.read(stream, after).await.map(ServerReader::Nats),
        }
    }

    async fn ends(&self, stream: &str, place: Place) -> Result<Ends> {
        either!(self, backend => backend.ends(stream, place).await)
    }

    async fn origins(&self, stream: &str) -> Result<Origins> {
        either!(self, backend => backend.origins(stream).await)
    }

    async fn trim(&self, stream: &str, limits: &Limits, messages_per_entry: f64) -> Result<()> {
        either!(self, backend => backend.trim(stream, limits, messages_per_entry).await)
    }

    async fn tend(&self, sender: &Sender, idle: Duration) -> Result<u64> {
        either!(self, backend => backend.tend(sender, idle).await)
    }
}

/// Reads one stream of a server.
#[derive(Debug)]
pub enum ServerReader {
    /// Of Redis.
    Redis(RedisReader),
    /// Of NATS.
    Nats(NatsReader),
}

impl Reader for ServerReader {
    async fn next(&mut self) -> Result<Vec<Read>> {
        match self {
            ServerReader::Redis(reader) => reader.next().await,
            ServerReader::Nats(reader) => reader.next().await,
        }
    }
}
