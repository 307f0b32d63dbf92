//! What tests of the two directions need: rings in a directory of their own, directions that run as tasks and are killed, and the
//! account of what became of each message.

#![allow(dead_code)]

pub mod certificates;
pub mod cluster;
pub mod hosts;
pub mod nats_server;
pub mod process;
pub mod program;
pub mod redis_server;
pub mod sentinel;
pub mod server;

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use data_pubsub_shared::{Ring, Subscriber, Variant};
use pubsub_bridge::backend::{Backend, Limits};
use pubsub_bridge::direction::{Control, Lost, Status};
use pubsub_bridge::ring::RingFile;
use pubsub_bridge::{down, up};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;

/// Longer than anything takes that does not hang.
pub const WATCHDOG: Duration = Duration::from_secs(60);

/// A runtime for tests that are not tasks themselves.
pub fn runtime(threads: usize) -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build().expect("threads")
}

/// A directory that goes with its value.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new(name: &str) -> Folder {
        let base = if Path::new("/dev/shm").is_dir() { PathBuf::from("/dev/shm") } else { std::env::temp_dir() };
        let folder = base.join(format!("pubsub-bridge-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).expect("a directory");
        Folder(folder)
    }

    pub fn ring(&self, name: &str, variant: Variant, capacity: u64) -> RingFile {
        let path = self.0.join(name);
        RingFile { path, variant: Some(variant), capacity: Some(capacity), msg_size: 64, mode: 0o600, lossless: false }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Numbers as tests want them: the same for the same seed (splitmix64 by S. Vigna).
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, most: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % most
    }
}

/// A direction that runs.
pub struct Running {
    stop: watch::Sender<bool>,
    pub control: Control,
    task: JoinHandle<Result<bool, String>>,
}

impl Running {
    /// Ends it at whatever it waits for, as a kill would.
    pub async fn kill(self) {
        self.task.abort();
        let _ = self.task.await;
    }

    /// Asks it to end, and waits.
    pub async fn stop(self) -> Result<bool, String> {
        self.stop.send_replace(true);
        tokio::time::timeout(WATCHDOG, self.task).await.expect("it ends").expect("it does not panic")
    }

    pub fn status(&self) -> Status {
        self.control.status().clone()
    }

    pub fn lost(&self) -> Lost {
        self.status().lost
    }
}

fn controlled() -> (watch::Sender<bool>, Control) {
    let (stop, stopping) = watch::channel(false);
    let mut control = Control::new(stopping, Status::default(), Arc::new(Semaphore::new(64)));
    control.farewell = Duration::from_secs(60);
    (stop, control)
}

/// Runs it; again where the state file is still locked, by a process that another test has just forked and that has not begun its
/// program yet.
async fn unless_inherited<T, F: Future<Output = Result<T, String>>>(run: impl Fn() -> F) -> Result<T, String> {
    loop {
        match run().await {
            Err(why) if why.contains("another process uses this state file") => tokio::task::yield_now().await,
            other => return other,
        }
    }
}

pub fn start_up<B: Backend>(backend: &Arc<B>, options: &up::Options) -> Running {
    let (stop, control) = controlled();
    let (backend, options, its) = (Arc::clone(backend), options.clone(), control.clone());
    let task = tokio::spawn(async move { unless_inherited(|| up::run(&backend, &options, &its)).await });
    Running { stop, control, task }
}

pub fn start_down<B: Backend>(backend: &Arc<B>, options: &down::Options) -> Running {
    let (stop, control) = controlled();
    let (backend, options, its) = (Arc::clone(backend), options.clone(), control.clone());
    let task =
        tokio::spawn(async move { unless_inherited(|| down::run(&backend, &options, &its)).await.map(|()| true) });
    Running { stop, control, task }
}

pub fn up_options(folder: &Folder, ring: RingFile, stream: &str, name: &str) -> up::Options {
    up::Options {
        ring,
        stream: stream.to_owned(),
        server: "test".to_owned(),
        host: "host".to_owned(),
        state: folder.0.join(format!("{name}.up")),
        from_now: false,
        pack: 50,
        batch: 1000,
        prefixes: Vec::new(),
        limits: Limits::default(),
        idle: Duration::from_secs(30 * 86_400),
    }
}

pub fn down_options(folder: &Folder, ring: RingFile, streams: &[&str], name: &str) -> down::Options {
    down::Options {
        ring,
        streams: streams.iter().map(|stream| (*stream).to_owned()).collect(),
        server: "test".to_owned(),
        state: folder.0.join(format!("{name}.down")),
        from: down::From::Start,
        prefixes: Vec::new(),
        skip: None,
        gaps: None,
        pace: None,
        idle: Duration::from_secs(30 * 86_400),
    }
}

/// Waits until it is so.
pub async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let waiting = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    assert!(tokio::time::timeout(WATCHDOG, waiting).await.is_ok(), "it never came to this: {what}");
}

/// Publishes to a ring: its own number, and the number of the message. Integers and strings.
pub struct Publisher {
    ring: Ring,
    variant: Variant,
    number: u64,
    pub published: u64,
}

const EACH: u64 = 1_000_000_000;

impl Publisher {
    pub fn new(file: &RingFile, number: u64) -> Publisher {
        let open = file.open().expect("a ring");
        Publisher { ring: open.ring, variant: open.variant, number, published: 0 }
    }

    pub fn publish(&mut self, count: u64) {
        for _ in 0..count {
            self.published += 1;
            let value = self.number * EACH + self.published;
            match self.variant {
                Variant::Str => self.ring.publish_str(value.to_string().as_bytes()).expect("publish"),
                _ => self.ring.publish_int(value as i64).expect("publish"),
            }
        }
    }

    /// What it has published last.
    pub fn last(&self) -> u64 {
        self.number * EACH + self.published
    }

    pub fn ring(&self) -> &Ring {
        &self.ring
    }
}

/// Reads all that comes out of a ring.
pub struct Receiver {
    ring: Ring,
    variant: Variant,
    sub: Subscriber,
    pub received: Vec<u64>,
}

impl Receiver {
    pub fn new(file: &RingFile) -> Receiver {
        let open = file.open().expect("a ring");
        let sub = open.ring.subscribe(true);
        Receiver { ring: open.ring, variant: open.variant, sub, received: Vec::new() }
    }

    pub fn read(&mut self) -> usize {
        loop {
            let value = match self.variant {
                Variant::Str => self
                    .sub
                    .poll_str()
                    .expect("strings")
                    .map(|(bytes, _)| String::from_utf8(bytes).expect("text").parse().expect("a number")),
                _ => self.sub.poll_int().expect("integers").map(|value| value as u64),
            };
            match value {
                Some(value) => self.received.push(value),
                None => break,
            }
        }
        assert_eq!(self.sub.overflow_count(), 0, "the test's own reader keeps up");
        self.received.len()
    }

    pub fn ring(&self) -> &Ring {
        &self.ring
    }

    /// How many of each ring came; each ring's in their order, and none twice.
    pub fn by_ring(&self) -> BTreeMap<u64, u64> {
        let mut last = HashMap::<u64, u64>::new();
        let mut count = BTreeMap::new();
        for value in &self.received {
            let (ring, number) = (value / EACH, value % EACH);
            let before = last.insert(ring, number).unwrap_or(0);
            assert!(number > before, "ring {ring}: message {number} behind message {before}");
            *count.entry(ring).or_default() += 1;
        }
        count
    }
}

/// Whether two sequences have what both have in one order.
pub fn assert_one_order(one: &[u64], other: &[u64]) {
    let places: HashMap<u64, usize> = one.iter().enumerate().map(|(place, value)| (*value, place)).collect();
    let common: Vec<usize> = other.iter().filter_map(|value| places.get(value).copied()).collect();
    assert!(common.windows(2).all(|two| two[0] < two[1]), "one order for all");
}

/// The sum of some reasons.
pub fn lost_for(lost: &Lost, reasons: &[&str]) -> u64 {
    lost.iter().filter(|(reason, _)| reasons.contains(&reason.as_str())).map(|(_, count)| count).sum()
}

/// The text of an answer of Redis.
pub fn text_of(value: redis::Value) -> String {
    match value {
        redis::Value::BulkString(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        redis::Value::SimpleString(text) | redis::Value::VerbatimString { text, .. } => text,
        other => format!("{other:?}"),
    }
}

/// Whether only quick tests are to run.
pub fn is_quick() -> bool {
    std::env::var("XT_SECONDS").is_ok_and(|seconds| seconds == "1")
}

/// A port of the loopback interface that nobody uses, as is the one 10,000 above it, which a node of a cluster of Redis uses, too.
/// Below those that the kernel gives to connections, which come and go; each call has another one.
pub fn free_port() -> u16 {
    static LAST: LazyLock<Mutex<u64>> = LazyLock::new(|| Mutex::new(RandomState::new().hash_one(0)));
    let is_free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
    let mut last = LAST.lock().expect("a number");
    loop {
        *last = last.wrapping_add(1);
        let port = 11_000 + (*last % 10_000) as u16;
        if is_free(port) && is_free(port + 10_000) {
            return port;
        }
    }
}
