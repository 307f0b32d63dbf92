//! Redis with Sentinel: a bridge finds the master, and follows when another server takes over.

use data_pubsub_shared::Variant;

use crate::common::certificates::{Certificates, can_be_made};
use crate::common::program::*;
use crate::common::redis_server::{has_tls, is_installed};
use crate::common::sentinel::{Kind, MASTER, Sentinels, info};
use crate::common::*;

/// A host that sends and receives, and one that only receives.
struct Hosts {
    folders: [Folder; 2],
    programs: [Option<Program>; 2],
    publisher: Publisher,
    receivers: [Receiver; 2],
    server: String,
}

const BRIDGE: &str = "[bridge.a]\nin = \"@/in\"\npack = 5\nbatch = 10\n";

impl Hosts {
    fn start(folder: &Folder, server: &str) -> Hosts {
        let folders = ["sends", "receives"].map(|name| {
            let own = Folder(folder.0.join(name));
            std::fs::create_dir(&own.0).expect("a directory");
            own
        });
        let publisher = Publisher::new(&folders[0].ring("out", Variant::Int, 1 << 16), 1);
        let receivers = [0, 1].map(|index: usize| Receiver::new(&folders[index].ring("in", Variant::Int, 1 << 18)));
        let mut hosts = Hosts { folders, programs: [None, None], publisher, receivers, server: server.to_owned() };
        hosts.run(0);
        hosts.run(1);
        hosts.programs[0].as_ref().expect("it runs").until_connected(2);
        hosts.programs[1].as_ref().expect("it runs").until_connected(1);
        hosts
    }

    fn run(&mut self, index: usize) {
        let out = if index == 0 { "out = \"@/out\"\n" } else { "" };
        let text = format!("[server]\n{}timeout = 20\n{RINGS}{BRIDGE}{out}", self.server);
        self.programs[index] = Some(run(&self.folders[index], &text));
    }

    fn end(&mut self, index: usize) {
        self.programs[index].take().expect("it runs").end();
    }

    /// Publishes until both have received something that was published from now on.
    fn until_progress(&mut self, which: &[usize]) {
        let first = self.publisher.published;
        wait_for(&format!("progress:\n{}", self.logs()), || {
            self.publisher.publish(3);
            std::thread::sleep(std::time::Duration::from_millis(1));
            which
                .iter()
                .all(|index| {
                    self.receivers[*index].read();
                    self.receivers[*index].received.last().is_some_and(|last| last % 1_000_000_000 > first)
                })
                .then_some(())
        });
    }

    fn logs(&self) -> String {
        self.programs.iter().flatten().map(Program::log).collect()
    }

    fn lost(&self, index: usize) -> pubsub_bridge::direction::Lost {
        let report = self.programs[index].as_ref().expect("it runs").report();
        report.bridges.get("a").and_then(|both| both.get("down")).map(|status| status.lost.clone()).unwrap_or_default()
    }

    /// Each message is accounted for, on both: what each has lost.
    fn account(&mut self) -> [u64; 2] {
        let published = self.publisher.published;
        let lost = [0, 1].map(|index| {
            wait_for(&format!("the account of {index}"), || {
                let lost = self.lost(index);
                let accounted = self.receivers[index].read() as u64 + lost.values().sum::<u64>();
                assert!(accounted <= published, "{accounted} of {published}: {lost:?}\n{}", self.logs());
                assert_eq!(lost_for(&lost, &["backend"]), lost.values().sum::<u64>(), "{lost:?}\n{}", self.logs());
                (accounted == published).then(|| lost.values().sum())
            })
        });
        self.receivers.iter().for_each(|receiver| drop(receiver.by_ring()));
        assert_one_order(&self.receivers[0].received, &self.receivers[1].received);
        lost
    }
}

#[test]
fn a_bridge_follows_when_a_replica_takes_over() {
    if !is_installed() {
        return;
    }
    let folder = Folder::new("sentinel");
    let mut sentinel = Sentinels::start(&folder, Kind::default());
    sentinel.until_ready();
    // One of the Sentinels does not run.
    let url = sentinel.url().replace("sentinel://", &format!("sentinel://127.0.0.1:{},", free_port()));
    let mut hosts = Hosts::start(&folder, &format!("url = \"{url}\"\n"));
    hosts.until_progress(&[0, 1]);
    // The replica lags, and one host is away: what only the master has is lost with it, for that host alone.
    hosts.account();
    hosts.end(1);
    sentinel.servers[1].process.stop();
    sentinel.servers[0].ask(&["CLIENT", "KILL", "TYPE", "replica"]);
    let before = hosts.receivers[0].received.len();
    hosts.publisher.publish(100);
    wait_for("the other host has it", || (hosts.receivers[0].read() == before + 100).then_some(()));
    sentinel.servers[0].process.kill();
    sentinel.servers[1].process.cont();
    hosts.publisher.publish(100);
    sentinel.until_master(1);
    hosts.until_progress(&[0]);
    hosts.run(1);
    hosts.until_progress(&[0, 1]);
    assert_eq!(hosts.account(), [0, 100], "{}", hosts.logs());
    if is_quick() {
        return;
    }
    // The old master comes back as a replica, and the new one hangs: nothing says so but its silence.
    sentinel.servers[0].run();
    sentinel.rejoin(0);
    sentinel.servers[1].process.stop();
    hosts.publisher.publish(100);
    sentinel.until_master(0);
    hosts.until_progress(&[0, 1]);
    sentinel.servers[1].process.cont();
    hosts.until_progress(&[0, 1]);
    sentinel.rejoin(1);
    // By an operator's command, while messages flow.
    sentinel.until(&["SENTINEL", "FAILOVER", MASTER], Some);
    sentinel.until_master(1);
    wait_for("the other one is told", || {
        hosts.publisher.publish(3);
        info(&sentinel.servers[0]).contains("role:slave").then_some(())
    });
    hosts.until_progress(&[0, 1]);
    let lost = hosts.account();
    println!("lost {lost:?}");
}

/// The master dies, and with it one of the three Sentinels: the two that are left agree on the other server.
fn a_master_and_a_sentinel_die(folder: &Folder, kind: Kind, more: &str) {
    let mut sentinels = Sentinels::start(folder, Kind { sentinels: 3, ..kind });
    sentinels.until_ready();
    let mut hosts = Hosts::start(folder, &format!("url = \"{}\"\n{more}", sentinels.url()));
    hosts.until_progress(&[0, 1]);
    sentinels.processes[0].kill();
    sentinels.servers[0].process.kill();
    hosts.publisher.publish(100);
    sentinels.until_master(1);
    hosts.until_progress(&[0, 1]);
    println!("lost {:?}", hosts.account());
    hosts.end(0);
    hosts.end(1);
}

#[test]
fn two_of_three_sentinels_are_enough() {
    if is_installed() {
        a_master_and_a_sentinel_die(&Folder::new("sentinel-quorum"), Kind::default(), "");
    }
}

#[test]
fn sentinels_over_tls() {
    if !is_installed() || !has_tls() || !can_be_made() {
        return;
    }
    let folder = Folder::new("sentinel-tls");
    let made = Certificates::make(&folder);
    let ca = format!("ca-file = \"{}\"\n", made.name("ca.pem"));
    a_master_and_a_sentinel_die(&folder, Kind { tls: Some(&made), ..Kind::default() }, &ca);
    let folder = Folder::new("sentinel-tls-causes");
    let sentinels = Sentinels::start(&folder, Kind { tls: Some(&made), ..Kind::default() });
    let url = format!("url = \"{}\"\n", sentinels.url());
    assert_says(&folder, &url, "see ca-file");
    assert_says(&folder, &format!("{url}ca-file = \"{}\"\n", made.name("other.pem")), "see ca-file");
    assert_says(&folder, &url.replace("sentinels://", "sentinel://"), "give a URL with sentinels://");
}

#[test]
fn what_is_wrong_with_sentinels_is_said() {
    if !is_installed() {
        return;
    }
    let folder = Folder::new("sentinel-causes");
    let sentinel = Sentinels::start(&folder, Kind { configuration: "requirepass secret", ..Kind::default() });
    sentinel.servers[0].ask(&["ACL", "SETUSER", "bridge", "on", ">right", "~*", "+@all"]);
    secret(&folder.0.join("secret"), "secret");
    secret(&folder.0.join("wrong"), "wrong");
    let good = format!("url = \"{}\"\nsentinel-password-file = \"@/secret\"\n", sentinel.url());
    let user = "username = \"bridge\"\npassword-file = \"@/wrong\"\n";
    for (server, why) in [
        (format!("url = \"sentinel://127.0.0.1:{}/main\"\n", free_port()), "no server listens there"),
        (
            format!("url = \"{}\"\n", sentinel.url()),
            "NOAUTH Authentication required.; see sentinel-username and sentinel-password-file",
        ),
        (
            format!("url = \"{}\"\nsentinel-password-file = \"@/wrong\"\n", sentinel.url()),
            "see sentinel-username and sentinel-password-file",
        ),
        (good.replace("/main", "/other"), "no Sentinel knows the master 'other'; see url"),
        (format!("{good}{user}"), "see username and password-file"),
    ] {
        configure(&folder, &format!("[server]\ntimeout = 2\n{server}{RINGS}[bridge.a]\nout = \"@/out\"\n"));
        let found = ask(&folder, &["check"]);
        let said = all_of(&found);
        println!("{said}");
        assert!(!found.status.success() && said.contains(why), "{server}: {said}");
    }
    configure(&folder, &format!("[server]\n{good}{RINGS}[bridge.a]\nout = \"@/out\"\n"));
    let said = all_of(&ask(&folder, &["check"]));
    assert!(said.contains("min-replicas-to-write is 0: what it has acknowledged may be lost"), "{said}");
}
