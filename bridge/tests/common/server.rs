//! A server of either kind, as tests of faults want it: named, and hurt in the same ways.

use std::path::{Path, PathBuf};
use std::process::Command;

use pubsub_bridge::backend::server::Settings;

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

fn copy_all(from: &Path, to: &Path) {
    let done = Command::new("cp").arg("-a").arg(from).arg(to).status().expect("cp");
    assert!(done.success(), "cp -a {} {}", from.display(), to.display());
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

    /// For a backend of the test's own.
    pub fn settings(&self) -> Settings {
        match self {
            Server::Redis(server) => Settings::Redis(server.settings()),
            Server::Nats(server) => Settings::Nats(server.settings()),
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

    /// Ends it, keeps a copy of all that it has under this name, and starts it again.
    pub fn back_up(&mut self, name: &str) {
        if let Server::Redis(server) = self {
            // For one without an append-only file; others do not read this.
            server.ask(&["SAVE"]);
        }
        self.kill();
        for (files, copy) in self.files(name) {
            copy_all(&files, &copy);
        }
        self.run();
    }

    /// Ends it, and starts it again with such a copy.
    pub fn restore(&mut self, name: &str) {
        self.kill();
        for (files, copy) in self.files(name) {
            let removed = if files.is_dir() { std::fs::remove_dir_all(&files) } else { std::fs::remove_file(&files) };
            removed.expect("remove");
            copy_all(&copy, &files);
        }
        self.run();
    }

    /// Where it has its files, and where their copies are.
    fn files(&self, name: &str) -> Vec<(PathBuf, PathBuf)> {
        let (folder, names) = match self {
            // Before version 7 it is one file.
            Server::Redis(server) => (&server.folder, ["appendonlydir", "appendonly.aof", "dump.rdb"].as_slice()),
            Server::Nats(server) => (&server.folder, ["store"].as_slice()),
        };
        let there = names.iter().filter(|file| folder.join(file).exists());
        there.map(|file| (folder.join(file), folder.join(format!("{name}-{file}")))).collect()
    }
}
