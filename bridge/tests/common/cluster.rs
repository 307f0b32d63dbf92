//! A cluster of Redis of a test's own: three masters, of which the first has a replica.

use std::time::{Duration, Instant};

use pubsub_bridge::backend::redis::{Address, Settings};
use redis::Value;

use super::certificates::Certificates;
use super::redis_server::RedisServer;
use super::{Folder, WATCHDOG, free_port, text_of};

/// How many of the nodes are masters at the start.
pub const MASTERS: usize = 3;
const SLOTS: usize = 16_384;

pub struct Cluster {
    /// The masters, and the replica of the first one.
    pub nodes: Vec<RedisServer>,
    pub ports: Vec<u16>,
    ids: Vec<String>,
    has_tls: bool,
}

fn wait(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + WATCHDOG;
    while !is_so() {
        assert!(Instant::now() < end, "it never came to this: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

impl Cluster {
    pub fn start(folder: &Folder) -> Cluster {
        Cluster::start_with(folder, None)
    }

    /// All speak TLS, with these certificates, if there are any.
    pub fn start_with(folder: &Folder, tls: Option<&Certificates>) -> Cluster {
        let mut secure: Vec<String> = tls.map(Certificates::of_redis).unwrap_or_default();
        if tls.is_some() {
            secure.extend(["--tls-replication", "yes", "--tls-cluster", "yes"].map(str::to_owned));
        }
        let ports: Vec<u16> = (0..=MASTERS).map(|_| free_port()).collect();
        let node = |(index, port): (usize, &u16)| {
            let port = port.to_string();
            let mut arguments = vec![
                if tls.is_some() { "--tls-port" } else { "--port" },
                &port,
                "--cluster-enabled",
                "yes",
                "--cluster-node-timeout",
                "500",
                "--cluster-require-full-coverage",
                "no",
                "--cluster-replica-validity-factor",
                "0",
                "--repl-diskless-sync-delay",
                "0",
            ];
            arguments.extend(secure.iter().map(String::as_str));
            RedisServer::named(folder, &format!("node{index}"), &arguments)
        };
        let nodes: Vec<RedisServer> = ports.iter().enumerate().map(node).collect();
        let ids = nodes.iter().map(|node| text_of(node.ask(&["CLUSTER", "MYID"]))).collect();
        let cluster = Cluster { nodes, ports, ids, has_tls: tls.is_some() };
        for index in 0..MASTERS {
            let slots = (index * SLOTS / MASTERS)..((index + 1) * SLOTS / MASTERS);
            let words: Vec<String> = ["CLUSTER", "ADDSLOTS"]
                .into_iter()
                .map(str::to_owned)
                .chain(slots.map(|slot| slot.to_string()))
                .collect();
            cluster.ask(index, &words);
            cluster.ask(index, &["CLUSTER", "SET-CONFIG-EPOCH", &(index + 1).to_string()]);
        }
        for port in &cluster.ports[1..] {
            cluster.ask(0, &["CLUSTER", "MEET", "127.0.0.1", &port.to_string()]);
        }
        let replica = &cluster.nodes[MASTERS];
        wait("the replica knows its master", || replica.try_ask(&["CLUSTER", "REPLICATE", &cluster.ids[0]]).is_ok());
        cluster.until_well();
        cluster
    }

    /// Waits until all nodes say that all is well, and the replica has a copy.
    pub fn until_well(&self) {
        for node in &self.nodes {
            wait("the cluster is well", || {
                let info = node.try_ask(&["CLUSTER", "INFO"]).map(text_of).unwrap_or_default();
                info.contains("cluster_state:ok") && info.contains(&format!("cluster_known_nodes:{}", self.nodes.len()))
            });
        }
        wait("the replica has a copy", || {
            self.nodes.iter().any(|node| {
                node.try_ask(&["INFO", "replication"])
                    .map(text_of)
                    .is_ok_and(|info| info.contains("master_link_status:up"))
            })
        });
    }

    pub fn ask<S: AsRef<str>>(&self, node: usize, words: &[S]) -> Value {
        self.nodes[node].ask(&words.iter().map(AsRef::as_ref).collect::<Vec<_>>())
    }

    pub fn addresses(&self) -> String {
        let of = |port: &u16| format!("127.0.0.1:{port}");
        self.ports.iter().map(of).collect::<Vec<_>>().join(",")
    }

    pub fn url(&self) -> String {
        format!("{}://{}", if self.has_tls { "clusters" } else { "cluster" }, self.addresses())
    }

    pub fn settings(&self) -> Settings {
        let nodes = self.ports.iter().map(|port| ("127.0.0.1".to_owned(), *port)).collect();
        Settings { address: Address::Cluster(nodes), name: self.url(), ..self.nodes[0].settings() }
    }

    pub fn slot(&self, key: &str) -> usize {
        match self.ask(0, &["CLUSTER", "KEYSLOT", key]) {
            Value::Int(slot) => slot as usize,
            other => panic!("{other:?}"),
        }
    }

    /// The master that has had a key since the start.
    pub fn master_of(&self, key: &str) -> usize {
        let slot = self.slot(key);
        (0..MASTERS).find(|index| slot < (index + 1) * SLOTS / MASTERS).expect("a master")
    }

    /// A name of a stream of this master.
    pub fn stream_of(&self, master: usize) -> String {
        let names = (0..).map(|number| format!("stream-{number}"));
        names.into_iter().find(|name| self.master_of(name) == master).expect("a name")
    }

    /// Moves the slot of a key to another master, with the keys in it, one after the other; `between` is done before and after each.
    pub fn migrate(&self, key: &str, keys: &[&str], from: usize, to: usize, mut between: impl FnMut()) {
        let slot = self.slot(key).to_string();
        self.ask(to, &["CLUSTER", "SETSLOT", &slot, "IMPORTING", &self.ids[from]]);
        self.ask(from, &["CLUSTER", "SETSLOT", &slot, "MIGRATING", &self.ids[to]]);
        between();
        let port = self.ports[to].to_string();
        for key in keys {
            self.ask(from, &["MIGRATE", "127.0.0.1", &port, key, "0", "5000"]);
            between();
        }
        for node in [to, from] {
            self.ask(node, &["CLUSTER", "SETSLOT", &slot, "NODE", &self.ids[to]]);
            between();
        }
    }
}
