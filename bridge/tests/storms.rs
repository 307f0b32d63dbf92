//! The program under faults: three hosts, one stream, and a server, Redis or NATS, that is killed, stopped, cut off, full and made to
//! forget; bridges that are killed at every moment. Whatever happens, all hosts receive one order, nothing comes twice, and what did not come was
//! counted, message for message, for its true cause. `XT_SECONDS` is the length of each storm.

mod common;

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::server::{Server, Which};
use common::*;
use data_pubsub_shared::Variant;
use pubsub_bridge::direction::Lost;
use pubsub_bridge::report::Report;

/// A host: two rings, a configuration, a process.
struct Host {
    folder: PathBuf,
    publisher: Publisher,
    receiver: Receiver,
    child: Option<Child>,
}

/// What a storm is like.
#[derive(Clone)]
struct Kind {
    variant: Variant,
    out: u64,
    /// Lines for each bridge.
    options: &'static str,
    timeout: &'static str,
    /// Reasons for which messages may be lost.
    allowed: &'static [&'static str],
    /// Messages that each host publishes in a turn, at most.
    rate: u64,
}

impl Default for Kind {
    fn default() -> Kind {
        Kind { variant: Variant::Int, out: 1 << 16, options: "", timeout: "10s", allowed: &[], rate: 60 }
    }
}

struct Hosts {
    hosts: Vec<Host>,
    server: Server,
    random: Random,
    kind: Kind,
    // Last, since all the others are in it.
    _folder: Folder,
}

impl Host {
    fn start(&mut self) {
        let log = std::fs::File::options().append(true).create(true).open(self.folder.join("log")).expect("a log");
        let child = Command::new(env!("CARGO_BIN_EXE_pubsub-bridge"))
            .arg("run")
            .arg(self.folder.join("bridge.toml"))
            .stdin(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("the program");
        self.child = Some(child);
    }

    fn signal(&self, name: &str) {
        let pid = self.child.as_ref().expect("it runs").id().to_string();
        assert!(Command::new("kill").args([name, &pid]).status().expect("kill").success());
    }

    fn kill(&mut self) {
        let mut child = self.child.take().expect("it runs");
        child.kill().expect("kill");
        child.wait().expect("wait");
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    fn report(&self) -> Report {
        let text = std::fs::read_to_string(self.folder.join("status.json")).unwrap_or_default();
        serde_json::from_str(&text).unwrap_or_default()
    }

    fn is_connected(&self) -> bool {
        let report = self.report();
        report.bridges.values().flat_map(|both| both.values()).filter(|status| status.connected).count() == 2
    }

    /// What its way down has lost, as its status says.
    fn lost(&self) -> Lost {
        let report = self.report();
        report
            .bridges
            .get("storm")
            .and_then(|both| both.get("down"))
            .map(|status| status.lost.clone())
            .unwrap_or_default()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Hosts {
    fn start(which: Which, name: &str, kind: Kind) -> Hosts {
        let folder = Folder::new(&format!("{which:?}-{name}"));
        let server = Server::start(which, &folder);
        let mut hosts = Vec::new();
        for number in 0..3 {
            let own = folder.0.join(format!("host{number}"));
            std::fs::create_dir(&own).expect("a directory");
            let out = folder.ring(&format!("host{number}/out"), kind.variant, kind.out);
            let inner = folder.ring(&format!("host{number}/in"), kind.variant, 1 << 18);
            let config = format!(
                "host = \"host{number}\"\nstate = \"{own}/state\"\nstatus = \"{own}/status.json\"\nthreads = 1\n[server]\nurl = \
                 \"{}\"\ntimeout = \"{}\"\n[bridge.storm]\nout = \"{own}/out\"\nin = \"{own}/in\"\nfrom = \"start\"\n{}\n",
                server.url(),
                kind.timeout,
                kind.options,
                own = own.display(),
            );
            std::fs::write(own.join("bridge.toml"), config).expect("write");
            let (publisher, receiver) = (Publisher::new(&out, number + 1), Receiver::new(&inner));
            hosts.push(Host { folder: own, publisher, receiver, child: None });
        }
        hosts.iter_mut().for_each(Host::start);
        let seed = std::env::var("XT_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(42);
        Hosts { hosts, server, random: Random(seed), kind, _folder: folder }
    }

    /// Publishes and reads for so long.
    fn work(&mut self, duration: Duration) {
        let end = Instant::now() + duration;
        loop {
            for host in &mut self.hosts {
                host.publisher.publish(self.random.below(self.kind.rate));
                host.receiver.read();
            }
            std::thread::sleep(Duration::from_micros(self.random.below(2000)));
            if Instant::now() >= end {
                return;
            }
        }
    }

    fn pause(&mut self, most_ms: u64) {
        let duration = Duration::from_millis(self.random.below(most_ms + 1));
        self.work(duration);
    }

    /// Until each host has received something that was published from now on.
    fn until_progress(&mut self) {
        let before: Vec<usize> = self.hosts.iter_mut().map(|host| host.receiver.read()).collect();
        let end = Instant::now() + WATCHDOG;
        while self.hosts.iter_mut().zip(&before).any(|(host, before)| host.receiver.read() <= *before) {
            assert!(Instant::now() < end, "no progress:\n{}", self.logs());
            self.work(Duration::from_millis(2));
        }
    }

    fn logs(&self) -> String {
        let status = |host: &Host| std::fs::read_to_string(host.folder.join("status.json")).unwrap_or_default();
        self.hosts.iter().map(|host| format!("--- {}\n{}{}", host.folder.display(), host.log(), status(host))).collect()
    }

    fn again(&mut self, index: usize) {
        self.hosts[index].kill();
        self.hosts[index].start();
    }

    /// Each message is accounted for, on each host.
    fn account(mut self, name: &str, faults: u32, begun: Instant) {
        self.until_progress();
        let published: u64 = self.hosts.iter().map(|host| host.publisher.published).sum();
        let end = Instant::now() + WATCHDOG;
        let mut losses = Vec::new();
        for index in 0..self.hosts.len() {
            loop {
                let host = &mut self.hosts[index];
                let lost = host.lost();
                let accounted = host.receiver.read() as u64 + lost.values().sum::<u64>();
                assert!(accounted <= published, "{accounted} of {published}: {lost:?}\n{}", self.logs());
                if accounted == published {
                    let allowed = lost_for(&lost, self.kind.allowed);
                    assert_eq!(
                        allowed,
                        lost.values().sum::<u64>(),
                        "only for {:?}: {lost:?}\n{}",
                        self.kind.allowed,
                        self.logs()
                    );
                    losses.push(lost);
                    break;
                }
                assert!(
                    Instant::now() < end,
                    "delivered + lost = {accounted} of {published}: {lost:?}\n{}",
                    self.logs()
                );
                std::thread::sleep(Duration::from_millis(5));
                // What the others receive meanwhile must not be overwritten.
                for host in &mut self.hosts {
                    host.receiver.read();
                }
            }
            let _ = self.hosts[index].receiver.by_ring();
        }
        for index in 1..self.hosts.len() {
            assert_one_order(&self.hosts[0].receiver.received, &self.hosts[index].receiver.received);
        }
        let received = self.hosts[0].receiver.received.len();
        println!(
            "{name:40} {faults:5} faults {:6.1} s {published:8} sent {received:8} received, lost {losses:?}",
            begun.elapsed().as_secs_f64()
        );
        for host in &mut self.hosts {
            host.signal("-TERM");
            let status = host.child.take().expect("it runs").wait().expect("wait");
            assert!(status.success(), "it ends well:\n{}", host.log());
        }
    }
}

fn seconds() -> Duration {
    Duration::from_secs_f64(std::env::var("XT_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(2.0))
}

/// Faults until the time is up, then the account.
fn storm(which: Which, name: &str, kind: Kind, mut fault: impl FnMut(&mut Hosts, u32)) {
    if !which.is_installed() {
        return;
    }
    let begun = Instant::now();
    let mut hosts = Hosts::start(which, name, kind);
    // What a ring has forgotten before its bridge has ever looked at it is not the bridge's loss.
    let patience = Instant::now() + WATCHDOG;
    while !hosts.hosts.iter().all(Host::is_connected) {
        assert!(Instant::now() < patience, "they do not connect:\n{}", hosts.logs());
        std::thread::sleep(Duration::from_millis(10));
    }
    hosts.until_progress();
    let end = Instant::now() + seconds();
    let mut faults = 0;
    while Instant::now() < end {
        faults += 1;
        fault(&mut hosts, faults);
    }
    hosts.account(&format!("{which:?} {name}"), faults, begun);
}

fn a_server_is_killed_and_starts_again(which: Which) {
    storm(which, "server-killed", Kind::default(), |hosts, _| {
        hosts.pause(100);
        hosts.server.kill();
        hosts.pause(200);
        hosts.server.run();
        hosts.until_progress();
    });
}

fn a_server_is_stopped(which: Which) {
    let kind = Kind { variant: Variant::Str, options: "pack = 20", timeout: "1s", ..Kind::default() };
    storm(which, "server-stopped", kind, |hosts, number| {
        hosts.server.stop();
        // Longer than the bridges wait for an answer, or not.
        let most = if number % 2 == 0 { 1300 } else { 400 };
        hosts.work(Duration::from_millis(most));
        hosts.server.cont();
        hosts.until_progress();
    });
}

fn a_server_refuses_for_an_instant(which: Which) {
    storm(which, "refuses", Kind { options: "batch = 3\npack = 1", ..Kind::default() }, |hosts, number| {
        hosts.server.refuse(true, number % 2 == 1);
        hosts.pause(3);
        hosts.server.refuse(false, number % 2 == 1);
        hosts.pause(50);
    });
}

fn connections_are_cut(which: Which) {
    storm(which, "cut", Kind { options: "batch = 3\npack = 2", ..Kind::default() }, |hosts, _| {
        hosts.pause(100);
        hosts.server.cut_clients();
    });
}

fn rings_are_overrun_while_a_server_is_stopped(which: Which) {
    let kind = Kind { out: 128, options: "batch = 10\npack = 3", allowed: &["overrun"], ..Kind::default() };
    storm(which, "overrun", kind, |hosts, _| {
        hosts.server.stop();
        hosts.work(Duration::from_millis(100));
        hosts.server.cont();
        hosts.until_progress();
    });
}

fn bridges_are_killed(which: Which) {
    storm(which, "killed", Kind { options: "pack = 5\nbatch = 20", ..Kind::default() }, |hosts, _| {
        let victim = hosts.random.below(3) as usize;
        hosts.pause(20);
        hosts.again(victim);
    });
}

fn bridges_are_killed_and_their_rings_overrun(which: Which) {
    let kind = Kind {
        variant: Variant::Str,
        out: 64,
        options: "pack = 5",
        allowed: &["overrun", "restart"],
        ..Kind::default()
    };
    storm(which, "killed-overrun", kind, |hosts, _| {
        let victim = hosts.random.below(3) as usize;
        hosts.pause(100);
        hosts.again(victim);
    });
}

fn a_stream_is_trimmed_while_readers_are_away(which: Which) {
    let kind = Kind { options: "pack = 3\nkeep-messages = 200", allowed: &["trimmed"], ..Kind::default() };
    storm(which, "trimmed", kind, |hosts, number| {
        let away = hosts.random.below(3) as usize;
        if number % 2 == 0 {
            hosts.hosts[away].signal("-STOP");
            hosts.work(Duration::from_millis(1200));
            hosts.hosts[away].signal("-CONT");
        } else {
            hosts.hosts[away].kill();
            hosts.work(Duration::from_millis(1200));
            hosts.hosts[away].start();
        }
        hosts.until_progress();
    });
}

fn a_server_forgets_everything(which: Which) {
    let kind = Kind { options: "pack = 3", allowed: &["trimmed", "backend"], ..Kind::default() };
    storm(which, "flushall", kind, |hosts, _| {
        hosts.pause(100);
        hosts.server.forget();
        hosts.until_progress();
    });
}

fn bridges_end_while_a_server_comes_and_goes(which: Which) {
    storm(which, "ended", Kind { options: "pack = 5", timeout: "1s", ..Kind::default() }, |hosts, _| {
        let victim = hosts.random.below(3) as usize;
        let what = hosts.random.below(3);
        hosts.pause(50);
        match what {
            0 => hosts.server.cut_clients(),
            1 => hosts.server.stop(),
            _ => hosts.server.kill(),
        }
        hosts.pause(20);
        let host = &mut hosts.hosts[victim];
        host.signal("-TERM");
        let status = host.child.take().expect("it runs").wait().expect("wait");
        // One that has only just been started ends by the signal itself.
        use std::os::unix::process::ExitStatusExt;
        assert!(status.success() || status.signal() == Some(15), "{status}:\n{}", host.log());
        host.start();
        match what {
            0 => {}
            1 => hosts.server.cont(),
            _ => hosts.server.run(),
        }
        hosts.until_progress();
    });
}

fn everything_at_once(which: Which) {
    let kind = Kind {
        out: 512,
        options: "pack = 3\nbatch = 50\nkeep-messages = 600",
        timeout: "1s",
        allowed: &["overrun", "restart", "trimmed"],
        ..Kind::default()
    };
    storm(which, "everything", kind, |hosts, _| {
        let what = hosts.random.below(10);
        hosts.pause(100);
        match what {
            0 | 1 => {
                hosts.server.kill();
                hosts.pause(300);
                hosts.server.run();
            }
            2 | 3 => {
                hosts.server.stop();
                hosts.pause(600);
                hosts.server.cont();
            }
            4 | 5 => hosts.server.cut_clients(),
            6 => {
                hosts.server.refuse(true, false);
                hosts.pause(30);
                hosts.server.refuse(false, false);
            }
            _ => {
                let victim = hosts.random.below(3) as usize;
                hosts.again(victim);
            }
        }
        if hosts.random.below(3) == 0 {
            hosts.until_progress();
        }
    });
}

/// The quick form is for one server: each storm over both takes a minute more.
fn is_due(which: Which) -> bool {
    let quick = std::env::var("XT_SECONDS").is_ok_and(|seconds| seconds == "1");
    if quick && matches!(which, Which::Nats) {
        eprintln!("skipped: XT_SECONDS is 1, and 2 or more run the storms over NATS, too");
        return false;
    }
    true
}

/// Each storm over each server.
macro_rules! over {
    ($module:ident $which:ident: $($storm:ident)*) => {
        mod $module {
            $(#[test]
            fn $storm() {
                if super::is_due(super::Which::$which) {
                    super::$storm(super::Which::$which);
                }
            })*
        }
    };
}

macro_rules! over_both {
    ($($storm:ident)*) => {
        over!(redis Redis: $($storm)*);
        over!(nats Nats: $($storm)*);
    };
}

over_both! {
    a_server_is_killed_and_starts_again
    a_server_is_stopped
    a_server_refuses_for_an_instant
    connections_are_cut
    rings_are_overrun_while_a_server_is_stopped
    bridges_are_killed
    bridges_are_killed_and_their_rings_overrun
    a_stream_is_trimmed_while_readers_are_away
    a_server_forgets_everything
    bridges_end_while_a_server_comes_and_goes
    everything_at_once
}
