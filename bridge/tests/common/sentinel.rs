//! A Sentinel of a test's own, that watches a master of Redis and its replica.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use redis::Value;

use super::process::Process;
use super::redis_server::{RedisServer, program};
use super::{Folder, WATCHDOG, free_port};

/// The name of the master.
pub const MASTER: &str = "main";

pub struct Sentinel {
    pub port: u16,
    pub servers: [RedisServer; 2],
    ports: [u16; 2],
    folder: PathBuf,
    process: Process,
}

/// What a server says of its part; nothing while it changes, and closes connections.
pub fn info(server: &RedisServer) -> String {
    server.try_ask(&["INFO", "replication"]).map(super::text_of).unwrap_or_default()
}

impl Sentinel {
    /// With these lines in its configuration besides. The first server is the master.
    pub fn start(folder: &Folder, configuration: &str) -> Sentinel {
        let ports = [free_port(), free_port()];
        let server = |name: &str, port: u16| {
            RedisServer::named(folder, name, &["--port", &port.to_string(), "--repl-diskless-sync-delay", "0"])
        };
        let (one, other) = (server("one", ports[0]), server("two", ports[1]));
        let master = ports[0].to_string();
        other.ask(&["REPLICAOF", "127.0.0.1", &master]);
        let port = free_port();
        let folder = folder.0.join("sentinel");
        std::fs::create_dir_all(&folder).expect("a directory");
        let file = folder.join("sentinel.conf");
        let text = format!(
            "port {port}\ndir {}\nsentinel monitor {MASTER} 127.0.0.1 {master} 1\nsentinel down-after-milliseconds {MASTER} \
             300\nsentinel failover-timeout {MASTER} 1000\n{configuration}\n",
            folder.display()
        );
        std::fs::write(&file, text).expect("write");
        let mut sentinel = Sentinel { port, servers: [one, other], ports, folder, process: Process::default() };
        let mut command = Command::new(program());
        command.arg(&file).arg("--sentinel");
        sentinel.process.run(&mut command, &sentinel.folder);
        let end = Instant::now() + WATCHDOG;
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < end, "no Sentinel: see {}", sentinel.folder.display());
            std::thread::sleep(Duration::from_millis(5));
        }
        sentinel
    }

    pub fn url(&self) -> String {
        format!("sentinel://127.0.0.1:{}/{MASTER}", self.port)
    }

    /// Asks the Sentinel, again and again, until the answer is what is wanted.
    pub fn until<T>(&self, words: &[&str], wanted: impl Fn(Value) -> Option<T>) -> T {
        let end = Instant::now() + WATCHDOG;
        loop {
            let answer = redis::Client::open(format!("redis://127.0.0.1:{}", self.port)).and_then(|client| {
                let mut command = redis::cmd(words[0]);
                words[1..].iter().for_each(|word| {
                    command.arg(*word);
                });
                command.query::<Value>(&mut client.get_connection()?)
            });
            if let Some(found) = answer.as_ref().ok().and_then(|value| wanted(value.clone())) {
                return found;
            }
            assert!(Instant::now() < end, "{words:?} of Sentinel: {answer:?}; see {}", self.folder.display());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until the other server is known, and could take over.
    pub fn until_ready(&self) {
        self.until(&["SENTINEL", "REPLICAS", MASTER], |answer| {
            let text = format!("{answer:?}");
            (text.contains(&self.ports[1 - self.master()].to_string()) && text.contains("master-link-status"))
                .then_some(())
        });
        let replica = &self.servers[1 - self.master()];
        let end = Instant::now() + WATCHDOG;
        while !info(replica).contains("master_link_status:up") {
            assert!(Instant::now() < end, "the replica has no link to its master");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// One that was the master is told at once that it is not any more, as Sentinel would do later, and copies from the other.
    pub fn rejoin(&self, index: usize) {
        self.servers[index].ask(&["REPLICAOF", "127.0.0.1", &self.ports[1 - index].to_string()]);
        self.until_ready();
    }

    /// Which server is the master, as Sentinel says.
    pub fn master(&self) -> usize {
        self.until(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", MASTER], |answer| {
            let text = format!("{answer:?}");
            self.ports.iter().position(|port| text.contains(&port.to_string()))
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
