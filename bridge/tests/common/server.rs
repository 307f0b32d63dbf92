//! A server of either kind, as tests of faults want it: named, and hurt in the same ways.

use super::Folder;
use super::nats_server::{self, NatsServer};
use super::redis_server::{self, RedisServer};

/// Which kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    Redis,
    Nats,
}

impl Which {
    /// Whether there can be one; a test that needs it returns at once where there is none.
    pub fn is_installed(self) -> bool {
        match self {
            Which::Redis => redis_server::is_installed(),
            Which::Nats => nats_server::is_installed(),
        }
    }
}

pub enum Server {
    Redis(RedisServer),
    Nats(NatsServer),
}

macro_rules! either {
    ($self:expr, $server:ident => $call:expr) => {
        match $self {
            Server::Redis($server) => $call,
            Server::Nats($server) => $call,
        }
    };
}

impl Server {
    pub fn start(which: Which, folder: &Folder) -> Server {
        match which {
            Which::Redis => Server::Redis(RedisServer::start(folder, &[])),
            Which::Nats => Server::Nats(NatsServer::start(folder, "")),
        }
    }

    /// For a configuration.
    pub fn url(&self) -> String {
        match self {
            Server::Redis(server) => format!("unix://{}", server.socket().display()),
            Server::Nats(server) => server.url(),
        }
    }

    pub fn run(&mut self) {
        either!(self, server => server.run());
    }

    pub fn kill(&mut self) {
        either!(self, server => server.process.kill());
    }

    pub fn stop(&self) {
        either!(self, server => server.process.stop());
    }

    pub fn cont(&self) {
        either!(self, server => server.process.cont());
    }

    pub fn cut_clients(&self) {
        either!(self, server => server.cut_clients());
    }

    /// From now on appends are refused, or no longer are; `odd` chooses between two reasons, where there are two.
    pub fn refuse(&self, refuse: bool, odd: bool) {
        match self {
            Server::Redis(server) => {
                let setting = if odd { "min-replicas-to-write" } else { "maxmemory" };
                server.ask(&["CONFIG", "SET", setting, if refuse { "1" } else { "0" }]);
            }
            Server::Nats(server) => server.refuse(refuse),
        }
    }

    /// It loses all that it has.
    pub fn forget(&self) {
        match self {
            Server::Redis(server) => drop(server.ask(&["FLUSHALL"])),
            Server::Nats(server) => server.forget(),
        }
    }

    /// The directory of all that it has.
    pub fn files(&self) -> std::path::PathBuf {
        match self {
            Server::Redis(server) => server.folder.join("appendonlydir"),
            Server::Nats(server) => server.folder.join("store"),
        }
    }
}
