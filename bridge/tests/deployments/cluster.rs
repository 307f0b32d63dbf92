//! A cluster of Redis: streams in several slots, slots that move, nodes that die.

use pubsub_bridge::backend::Backend;
use pubsub_bridge::backend::conformance::{Rig, check};
use pubsub_bridge::backend::redis::{Redis, origins_key};

use crate::common::certificates::{Certificates, can_be_made};
use crate::common::cluster::{Cluster, MASTERS};
use crate::common::program::*;
use crate::common::redis_server::{has_tls, is_installed};
use crate::common::*;
use data_pubsub_shared::Variant;

struct Server(Cluster);

impl Rig for Server {
    type Backend = Redis;

    async fn backend(&self) -> Redis {
        let backend = Redis::new(self.0.settings());
        backend.connected().await;
        backend
    }

    async fn lose(&self, stream: &str) {
        self.0.ask(self.0.master_of(stream), &["DEL", stream, &origins_key(stream)]);
    }

    async fn refuse(&self, refuse: bool) {
        for node in 0..MASTERS {
            self.0.ask(node, &["CONFIG", "SET", "maxmemory", if refuse { "1" } else { "0" }]);
        }
    }

    async fn cut(&self) {
        self.0.nodes.iter().for_each(|node| node.cut_clients());
    }

    async fn scribble(&self, stream: &str) {
        self.0.ask(self.0.master_of(stream), &["XADD", stream, "*", "colour", "blue"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_keeps_the_promises_of_a_backend() {
    if !is_installed() {
        return;
    }
    let folder = Folder::new("cluster-conformance");
    check(&Server(Cluster::start(&folder))).await;
}

/// A ring at both ends of a stream.
struct Line {
    publisher: Publisher,
    receiver: Receiver,
    stream: String,
}

impl Line {
    fn new(folder: &Folder, number: usize, stream: &str) -> Line {
        let ring = |name: &str| folder.ring(&format!("{name}{number}"), Variant::Int, 1 << 16);
        let publisher = Publisher::new(&ring("out"), 1);
        Line { publisher, receiver: Receiver::new(&ring("in")), stream: stream.to_owned() }
    }

    fn is_even(&mut self) -> bool {
        let published = self.publisher.published;
        let received = self.receiver.read() as u64;
        assert!(received <= published);
        received == published
    }
}

fn until_progress(lines: &mut [Line], which: &[usize], program: &Program) {
    for index in which {
        let line = &mut lines[*index];
        line.publisher.publish(1);
        let last = 1_000_000_000 + line.publisher.published;
        wait_for(&format!("progress of {}:\n{}", line.stream, program.log()), || {
            line.publisher.publish(2);
            line.receiver.read();
            std::thread::sleep(std::time::Duration::from_millis(1));
            line.receiver.received.last().is_some_and(|value| *value >= last).then_some(())
        });
    }
}

/// A bridge with a stream at each node; all of them pass messages on.
fn run_lines(folder: &Folder, cluster: &Cluster, server: &str) -> (Program, Vec<Line>) {
    let mut text = format!("[server]\n{server}{RINGS}");
    let mut lines = Vec::new();
    for number in 0..MASTERS {
        let line = Line::new(folder, number, &cluster.stream_of(number));
        text += &format!(
            "[bridge.b{number}]\nstream = \"{}\"\nout = \"@/out{number}\"\nin = \"@/in{number}\"\npack = 2\nbatch = 5\n",
            line.stream
        );
        lines.push(line);
    }
    let program = run(folder, &text);
    program.until_connected(2 * MASTERS);
    until_progress(&mut lines, &[0, 1, 2], &program);
    (program, lines)
}

#[test]
fn a_cluster_over_tls() {
    if !is_installed() || !has_tls() || !can_be_made() {
        return;
    }
    let folder = Folder::new("cluster-tls");
    let made = Certificates::make(&folder);
    let mut cluster = Cluster::start_with(&folder, Some(&made));
    let url = format!("url = \"{}\"\n", cluster.url());
    assert_says(&folder, &url, "see ca-file");
    assert_says(&folder, &format!("{url}ca-file = \"{}\"\n", made.name("other.pem")), "see ca-file");
    assert_says(&folder, &url.replace("clusters://", "cluster://"), "give a URL with clusters://");
    let server = format!("{url}ca-file = \"{}\"\ntimeout = 1\n", made.name("ca.pem"));
    let (program, mut lines) = run_lines(&folder, &cluster, &server);
    // The replica of the first node takes over.
    cluster.nodes[0].process.kill();
    until_progress(&mut lines, &[0, 1, 2], &program);
    program.until_connected(2 * MASTERS);
    program.end();
}

#[test]
fn streams_of_a_cluster_move_and_its_nodes_die() {
    if !is_installed() {
        return;
    }
    let folder = Folder::new("cluster");
    let mut cluster = Cluster::start(&folder);
    // One of the nodes that are given does not run.
    let server = format!("url = \"{},127.0.0.1:{}\"\ntimeout = 1\n", cluster.url(), free_port());
    let (program, mut lines) = run_lines(&folder, &cluster, &server);
    let streams: Vec<String> = lines.iter().map(|line| line.stream.clone()).collect();
    let found = ask(&folder, &["check"]);
    assert!(found.status.success() && all_of(&found).contains(", node 127.0.0.1:"), "{}", all_of(&found));

    // The slot of the second stream moves to the third node and back, while messages flow.
    let origins = origins_key(&streams[1]);
    for (from, to) in [(1, 2), (2, 1)] {
        let mut keys = [streams[1].as_str(), origins.as_str()];
        if from == 2 {
            keys.reverse();
        }
        cluster.migrate(&streams[1], &keys, from, to, || {
            for _ in 0..20 {
                lines[1].publisher.publish(5);
                lines[1].receiver.read();
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
        });
        until_progress(&mut lines, &[0, 1, 2], &program);
        assert_eq!(cluster.ask(to, &["EXISTS", &streams[1]]), redis::Value::Int(1));
    }
    let lost = |name: &str| program.report().bridges[name]["down"].lost.clone();
    for (number, line) in lines.iter_mut().enumerate() {
        wait_for("all is received", || line.is_even().then_some(()));
        assert_eq!(
            (line.receiver.by_ring(), lost(&format!("b{number}"))),
            ([(1, line.publisher.published)].into(), [].into())
        );
    }

    // A node without a replica takes its stream with it, and no other.
    cluster.nodes[2].process.kill();
    lines[2].publisher.publish(100);
    until_progress(&mut lines, &[0, 1], &program);
    wait_for("the status says so", || {
        let report = program.report();
        let of = |name: &str| report.bridges.get(name).map(|both| (both["up"].connected, both["up"].error.clone()));
        let away = of("b2")?;
        let is_said = !away.0 && away.1?.contains(&streams[2]);
        (is_said && of("b0")?.0 && of("b1")?.0).then_some(())
    });
    assert!(!ask(&folder, &["status"]).status.success());
    cluster.nodes[2].run();
    until_progress(&mut lines, &[0, 1, 2], &program);

    // The replica of the first node takes over.
    cluster.until_well();
    cluster.nodes[0].process.kill();
    lines[0].publisher.publish(100);
    until_progress(&mut lines, &[0, 1, 2], &program);
    program.until_connected(2 * MASTERS);
    wait_for("all is well", || ask(&folder, &["status"]).status.success().then_some(()));
    for (number, line) in lines.iter_mut().enumerate() {
        wait_for("the account", || {
            let lost = lost(&format!("b{number}"));
            assert_eq!(lost_for(&lost, &["backend"]), lost.values().sum::<u64>(), "{lost:?}");
            (line.receiver.read() as u64 + lost.values().sum::<u64>() == line.publisher.published).then_some(())
        });
        line.receiver.by_ring();
    }
    println!("{}", program.end());
}
