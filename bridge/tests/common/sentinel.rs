//! Sentinels of a test's own, one or more, that watch a master of Redis and its replica.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use redis::Value;

use super::certificates::Certificates;
use super::process::Process;
use super::redis_server::{RedisServer, ask_at, program};
use super::{Folder, WATCHDOG, free_port};

/// The name of the master.
pub const MASTER: &str = "main";

/// What there is to be.
#[derive(Clone, Copy)]
pub struct Kind<'a> {
    /// How many; most of them must agree that a master is down.
    pub sentinels: usize,
    /// Lines for the configuration of each.
    pub configuration: &'a str,
    /// All speak TLS, with these.
    pub tls: Option<&'a Certificates>,
}

impl Default for Kind<'_> {
    fn default() -> Self {
        Kind { sentinels: 1, configuration: "", tls: None }
    }
}

pub struct Sentinels {
    pub ports: Vec<u16>,
    pub processes: Vec<Process>,
    pub servers: [RedisServer; 2],
    server_ports: [u16; 2],
    folder: PathBuf,
    has_tls: bool,
}

/// What a server says of its part; nothing while it changes, and closes connections.
pub fn info(server: &RedisServer) -> String {
    server.try_ask(&["INFO", "replication"]).map(super::text_of).unwrap_or_default()
}

impl Sentinels {
    /// The first server is the master.
    pub fn start(folder: &Folder, kind: Kind) -> Sentinels {
        let mut secure: Vec<String> = kind.tls.map(Certificates::of_redis).unwrap_or_default();
        if kind.tls.is_some() {
            secure.extend(["--tls-replication", "yes"].map(str::to_owned));
        }
        let port_name = if kind.tls.is_some() { "tls-port" } else { "port" };
        let server_ports = [free_port(), free_port()];
        let server = |name: &str, port: u16| {
            let own = [format!("--{port_name}"), port.to_string(), "--repl-diskless-sync-delay".into(), "0".into()];
            let all: Vec<&str> = own.iter().chain(&secure).map(String::as_str).collect();
            RedisServer::named(folder, name, &all)
        };
        let (one, other) = (server("one", server_ports[0]), server("two", server_ports[1]));
        let master = server_ports[0];
        other.ask(&["REPLICAOF", "127.0.0.1", &master.to_string()]);
        let quorum = kind.sentinels / 2 + 1;
        let lines: String =
            secure.chunks(2).map(|two| format!("{} {}\n", two[0].trim_start_matches("--"), two[1])).collect();
        let mut sentinels = Sentinels {
            ports: (0..kind.sentinels).map(|_| free_port()).collect(),
            processes: Vec::new(),
            servers: [one, other],
            server_ports,
            folder: folder.0.clone(),
            has_tls: kind.tls.is_some(),
        };
        for (index, port) in sentinels.ports.iter().enumerate() {
            let own = sentinels.folder_of(index);
            std::fs::create_dir_all(&own).expect("a directory");
            let file = own.join("sentinel.conf");
            let text = format!(
                "port 0\n{port_name} {port}\nunixsocket {}\ndir {}\n{lines}sentinel monitor {MASTER} 127.0.0.1 {master} \
                 {quorum}\nsentinel down-after-milliseconds {MASTER} 300\nsentinel failover-timeout {MASTER} 1000\n{}\n",
                own.join("socket").display(),
                own.display(),
                kind.configuration
            );
            std::fs::write(&file, text).expect("write");
            let mut process = Process::default();
            process.run(Command::new(program()).arg(&file).arg("--sentinel"), &own);
            sentinels.processes.push(process);
        }
        for port in &sentinels.ports {
            let end = Instant::now() + WATCHDOG;
            while std::net::TcpStream::connect(("127.0.0.1", *port)).is_err() {
                assert!(Instant::now() < end, "no Sentinel: see {}", folder.0.display());
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        sentinels
    }

    fn folder_of(&self, index: usize) -> PathBuf {
        self.folder.join(format!("sentinel{index}"))
    }

    pub fn url(&self) -> String {
        let scheme = if self.has_tls { "sentinels" } else { "sentinel" };
        let addresses: Vec<String> = self.ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
        format!("{scheme}://{}/{MASTER}", addresses.join(","))
    }

    /// Asks the last Sentinel until the answer is the expected one.
    pub fn until<T>(&self, words: &[&str], wanted: impl Fn(Value) -> Option<T>) -> T {
        self.until_of(self.ports.len() - 1, words, wanted)
    }

    fn until_of<T>(&self, index: usize, words: &[&str], wanted: impl Fn(Value) -> Option<T>) -> T {
        let end = Instant::now() + WATCHDOG;
        let socket: &Path = &self.folder_of(index).join("socket");
        loop {
            let answer = ask_at(socket, words);
            if let Some(found) = answer.as_ref().ok().and_then(|value| wanted(value.clone())) {
                return found;
            }
            assert!(Instant::now() < end, "{words:?} of Sentinel: {answer:?}; see {}", socket.display());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until the other server is known and could take over, and the Sentinels know each other.
    pub fn until_ready(&self) {
        for index in 0..self.ports.len() {
            self.until_of(index, &["SENTINEL", "REPLICAS", MASTER], |answer| {
                let text = format!("{answer:?}");
                let port = self.server_ports[1 - self.master()].to_string();
                (text.contains(&port) && text.contains("master-link-status")).then_some(())
            });
            self.until_of(index, &["SENTINEL", "MASTER", MASTER], |answer| {
                let words: Vec<String> = answer.into_sequence().ok()?.into_iter().map(super::text_of).collect();
                let known = words.iter().position(|word| word == "num-other-sentinels")?;
                (words[known + 1] == (self.ports.len() - 1).to_string()).then_some(())
            });
        }
        let replica = &self.servers[1 - self.master()];
        let end = Instant::now() + WATCHDOG;
        while !info(replica).contains("master_link_status:up") {
            assert!(Instant::now() < end, "the replica has no link to its master");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// One that was the master is told at once that it is not any more, as Sentinel would do later, and copies from the other.
    pub fn rejoin(&self, index: usize) {
        self.servers[index].ask(&["REPLICAOF", "127.0.0.1", &self.server_ports[1 - index].to_string()]);
        self.until_ready();
    }

    /// Which server is the master, as the last Sentinel says.
    pub fn master(&self) -> usize {
        self.until(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", MASTER], |answer| {
            let text = format!("{answer:?}");
            self.server_ports.iter().position(|port| text.contains(&port.to_string()))
        })
    }

    /// Waits until this one is the master.
    pub fn until_master(&self, index: usize) {
        let end = Instant::now() + WATCHDOG;
        while self.master() != index {
            assert!(Instant::now() < end, "no other master; see {}", self.folder.display());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}
