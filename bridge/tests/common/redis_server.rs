//! A redis-server of a test's own, with an append-only file: it can be killed, stopped and started again. `PUBSUB_REDIS_SERVER` names
//! another program in its place, of another version or kind.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use pubsub_bridge::backend::redis::{Address, Redis, Settings};
use redis::Value;

use super::process::Process;
use super::{Folder, WATCHDOG};

pub struct RedisServer {
    pub folder: PathBuf,
    arguments: Vec<String>,
    pub process: Process,
}

/// The program.
pub fn program() -> String {
    std::env::var("PUBSUB_REDIS_SERVER").unwrap_or_else(|_| "redis-server".to_owned())
}

/// Whether there can be one; a test that needs it returns at once where there is none.
pub fn is_installed() -> bool {
    let found =
        Command::new(program()).arg("--version").stdout(Stdio::null()).status().is_ok_and(|status| status.success());
    if !found {
        println!("skipped: redis-server is not installed");
    }
    found
}

/// Whether it was built with TLS; otherwise it does not know the setting, and says so before anything else.
pub fn has_tls() -> bool {
    let found = Command::new(program()).args(["--tls-port", "0", "--port", "none"]).output();
    let is_known = found.is_ok_and(|found| !format!("{found:?}").contains("tls-port"));
    if !is_known {
        println!("skipped: redis-server has no TLS");
    }
    is_known
}

/// Has the server at a socket do something, over a connection of the test's own.
pub fn ask_at(socket: &Path, words: &[&str]) -> redis::RedisResult<Value> {
    let client = redis::Client::open(format!("unix://{}", socket.display()))?;
    let mut command = redis::cmd(words[0]);
    words[1..].iter().for_each(|word| {
        command.arg(*word);
    });
    command.query(&mut client.get_connection()?)
}

impl RedisServer {
    /// At a socket in the directory, with these arguments besides.
    pub fn start(folder: &Folder, arguments: &[&str]) -> RedisServer {
        RedisServer::named(folder, "redis", arguments)
    }

    /// One of several, in a directory of its own.
    pub fn named(folder: &Folder, name: &str, arguments: &[&str]) -> RedisServer {
        let folder = folder.0.join(name);
        std::fs::create_dir_all(&folder).expect("a directory");
        let arguments = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        let mut server = RedisServer { folder, arguments, process: Process::default() };
        server.run();
        server
    }

    pub fn socket(&self) -> PathBuf {
        self.folder.join("socket")
    }

    pub fn run(&mut self) {
        let mut command = Command::new(program());
        command
            .args(["--port", "0", "--daemonize", "no", "--save", "", "--appendonly", "yes", "--appendfsync", "always"])
            .arg("--dir")
            .arg(&self.folder)
            .arg("--unixsocket")
            .arg(self.socket())
            .args(&self.arguments);
        self.process.run(&mut command, &self.folder);
        let end = std::time::Instant::now() + WATCHDOG;
        let is_there = |answer: redis::RedisResult<Value>| match answer {
            Ok(_) => true,
            // One that wants a password has answered.
            Err(error) => error.code().is_some_and(|code| code != "LOADING"),
        };
        while !is_there(self.try_ask(&["PING"])) {
            self.process.is_awaited(&self.folder, end);
        }
    }

    pub fn try_ask(&self, words: &[&str]) -> redis::RedisResult<Value> {
        ask_at(&self.socket(), words)
    }

    /// Has it do something, over a connection of the test's own.
    pub fn ask(&self, words: &[&str]) -> Value {
        self.try_ask(words).unwrap_or_else(|error| panic!("{words:?}: {error}"))
    }

    pub fn cut_clients(&self) {
        self.ask(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
    }

    pub fn settings(&self) -> Settings {
        Settings {
            address: Address::Socket(self.socket()),
            name: self.socket().display().to_string(),
            username: None,
            password: None,
            sentinel_username: None,
            sentinel_password: None,
            tls: None,
            timeout: Duration::from_secs(10),
        }
    }

    pub fn backend(&self) -> Redis {
        Redis::new(self.settings())
    }
}
