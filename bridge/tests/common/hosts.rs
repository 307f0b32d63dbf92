//! Three hosts, each with two rings and a bridge of its own, that publish and read while something is done to them; and the account of what
//! became of each message.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use data_pubsub_shared::Variant;
use pubsub_bridge::direction::Lost;
use pubsub_bridge::report::Report;

use super::process::launched;
use super::{Folder, Publisher, Random, Receiver, WATCHDOG, assert_one_order, lost_for};

/// A host: two rings, a configuration, a process.
pub struct Host {
    pub folder: PathBuf,
    pub publisher: Publisher,
    pub receiver: Receiver,
    pub child: Option<Child>,
    launcher: Vec<String>,
}

/// What a storm is like.
#[derive(Clone)]
pub struct Kind {
    pub variant: Variant,
    pub out: u64,
    /// Lines for each bridge.
    pub options: &'static str,
    pub timeout: &'static str,
    /// Reasons for which messages may be lost.
    pub allowed: &'static [&'static str],
    /// Messages that each host publishes in a turn, at most.
    pub rate: u64,
    /// Words before the program's.
    pub launcher: Vec<String>,
}

impl Default for Kind {
    fn default() -> Kind {
        Kind {
            variant: Variant::Int,
            out: 1 << 16,
            options: "",
            timeout: "10s",
            allowed: &[],
            rate: 60,
            launcher: Vec::new(),
        }
    }
}

/// Three of them, and their server.
pub struct Hosts<S> {
    pub hosts: Vec<Host>,
    pub server: S,
    pub random: Random,
    kind: Kind,
    // Last, since all the others are in it.
    _folder: Folder,
}

impl Host {
    pub fn start(&mut self) {
        let log = std::fs::File::options().append(true).create(true).open(self.folder.join("log")).expect("a log");
        let mut command = launched(&self.launcher, env!("CARGO_BIN_EXE_pubsub-bridge"));
        let child = command
            .arg("run")
            .arg(self.folder.join("bridge.toml"))
            .stdin(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("the program");
        self.child = Some(child);
    }

    pub fn signal(&self, name: &str) {
        let pid = self.child.as_ref().expect("it runs").id().to_string();
        assert!(Command::new("kill").args([name, &pid]).status().expect("kill").success());
    }

    pub fn kill(&mut self) {
        let mut child = self.child.take().expect("it runs");
        child.kill().expect("kill");
        child.wait().expect("wait");
    }

    /// Asks it to end, and waits.
    pub fn end(&mut self) {
        self.signal("-TERM");
        let status = self.child.take().expect("it runs").wait().expect("wait");
        assert!(status.success(), "it ends well:\n{}", self.log());
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    pub fn report(&self) -> Report {
        let text = std::fs::read_to_string(self.folder.join("status.json")).unwrap_or_default();
        serde_json::from_str(&text).unwrap_or_default()
    }

    pub fn is_connected(&self) -> bool {
        let report = self.report();
        report.bridges.values().flat_map(|both| both.values()).filter(|status| status.connected).count() == 2
    }

    /// What its way down has lost, as its status says.
    pub fn lost(&self) -> Lost {
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

impl<S> Hosts<S> {
    /// In a directory, with a server that runs there, at a URL.
    pub fn start(folder: Folder, server: S, url: &str, kind: Kind) -> Hosts<S> {
        let mut hosts = Vec::new();
        for number in 0..3 {
            let own = folder.0.join(format!("host{number}"));
            std::fs::create_dir(&own).expect("a directory");
            let out = folder.ring(&format!("host{number}/out"), kind.variant, kind.out);
            let inner = folder.ring(&format!("host{number}/in"), kind.variant, 1 << 18);
            let config = format!(
                "host = \"host{number}\"\nstate = \"{own}/state\"\nstatus = \"{own}/status.json\"\nthreads = 1\n[server]\nurl = \
                 \"{}\"\ntimeout = \"{}\"\n[bridge.storm]\nout = \"{own}/out\"\nin = \"{own}/in\"\nfrom = \"start\"\n{}\n",
                url,
                kind.timeout,
                kind.options,
                own = own.display(),
            );
            std::fs::write(own.join("bridge.toml"), config).expect("write");
            let (publisher, receiver) = (Publisher::new(&out, number + 1), Receiver::new(&inner));
            let launcher = kind.launcher.clone();
            hosts.push(Host { folder: own, publisher, receiver, child: None, launcher });
        }
        hosts.iter_mut().for_each(Host::start);
        let seed = std::env::var("XT_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(42);
        Hosts { hosts, server, random: Random(seed), kind, _folder: folder }
    }

    /// Publishes and reads for so long.
    pub fn work(&mut self, duration: Duration) {
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

    pub fn pause(&mut self, most_ms: u64) {
        let duration = Duration::from_millis(self.random.below(most_ms + 1));
        self.work(duration);
    }

    /// Until each host has received something that was published from now on.
    pub fn until_progress(&mut self) {
        let before: Vec<usize> = self.hosts.iter_mut().map(|host| host.receiver.read()).collect();
        let end = Instant::now() + WATCHDOG;
        while self.hosts.iter_mut().zip(&before).any(|(host, before)| host.receiver.read() <= *before) {
            assert!(Instant::now() < end, "no progress:\n{}", self.logs());
            self.work(Duration::from_millis(2));
        }
    }

    pub fn logs(&self) -> String {
        let status = |host: &Host| std::fs::read_to_string(host.folder.join("status.json")).unwrap_or_default();
        self.hosts.iter().map(|host| format!("--- {}\n{}{}", host.folder.display(), host.log(), status(host))).collect()
    }

    pub fn again(&mut self, index: usize) {
        self.hosts[index].kill();
        self.hosts[index].start();
    }

    /// Publishes nothing, until each host has received what all have published last.
    pub fn until_even(&mut self) {
        let last: Vec<u64> = self.hosts.iter().map(|host| host.publisher.last()).collect();
        let end = Instant::now() + WATCHDOG;
        let has_all = |host: &mut Host| {
            host.receiver.read();
            last.iter().all(|value| host.receiver.received.iter().rev().take(1 << 16).any(|received| received == value))
        };
        while !self.hosts.iter_mut().all(has_all) {
            assert!(Instant::now() < end, "what was sent last does not come:\n{}", self.logs());
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Each message is accounted for, on each host.
    pub fn account(mut self, name: &str, faults: u32, begun: Instant) {
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
            host.end();
        }
    }
}

/// How long a storm lasts.
pub fn seconds() -> Duration {
    Duration::from_secs_f64(std::env::var("XT_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(2.0))
}

/// Faults until the time is up, then the account.
pub fn storm<S>(name: &str, begin: impl FnOnce() -> Hosts<S>, mut fault: impl FnMut(&mut Hosts<S>, u32)) {
    let begun = Instant::now();
    let mut hosts = begin();
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
    hosts.account(name, faults, begun);
}
