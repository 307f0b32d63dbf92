//! Runs all bridges of a configuration file in one process: starts, restarts, reports, changes and stops them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use tracing::{Instrument, error, error_span, info, warn};

use crate::backend::server::{Server as AnyServer, Settings};
use crate::backend::{Backend, Health};
use crate::config::{Config, Directions};
use crate::direction::{Backoff, Control, Said, Status};
use crate::report::{Report, ServerStatus, line, unix_time};
use crate::{down, file, up};

/// How many batches all senders to a server may have in memory, of at most a quarter of a megabyte each.
const BATCHES: usize = 256;
/// The interval of status lines in the log.
const TICK: Duration = Duration::from_secs(1);
/// How many requests for metrics are answered at once; more wait.
const ANSWERS: usize = 16;
/// The timeout for reading the configuration again.
const READING: Duration = Duration::from_secs(5);
/// After this time, a shutdown does not wait any more.
const PATIENCE: Duration = Duration::from_secs(15);

/// A server that bridges use.
#[derive(Clone)]
struct Server {
    settings: Settings,
    backend: Arc<AnyServer>,
    batches: Arc<Semaphore>,
}

impl Server {
    fn start(settings: &Settings) -> Server {
        let backend = Arc::new(AnyServer::new(settings.clone()));
        Server { settings: settings.clone(), backend, batches: Arc::new(Semaphore::new(BATCHES)) }
    }

    fn status(&self) -> ServerStatus {
        let Health { connected, error, lost } = self.backend.health();
        ServerStatus { address: self.settings.name().to_owned(), connected, error, lost_connections: lost }
    }
}

/// The configuration of a direction.
#[derive(Clone, Debug, PartialEq)]
enum Work {
    Up(up::Options),
    Down(down::Options),
}

impl Work {
    fn direction(&self) -> &'static str {
        match self {
            Work::Up(_) => "up",
            Work::Down(_) => "down",
        }
    }

    fn status(&self) -> Status {
        let (ring, stream, server) = match self {
            Work::Up(up) => (&up.ring, up.stream.clone(), &up.server),
            Work::Down(down) => (&down.ring, down.streams.join(","), &down.server),
        };
        Status {
            direction: self.direction().to_owned(),
            ring: ring.path.display().to_string(),
            stream,
            server: server.clone(),
            ..Status::default()
        }
    }
}

/// A running direction.
struct Running {
    work: Work,
    server: String,
    control: Control,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
    /// The time of the last tick, and the number of messages then.
    forwarded: u64,
}

impl Running {
    fn start(name: &str, work: Work, server_name: &str, server: &Server) -> Running {
        let (stop, stopping) = watch::channel(false);
        let control = Control::new(stopping, work.status(), Arc::clone(&server.batches));
        let who = format!("{} {name}", work.direction());
        let supervised = supervise(work.clone(), Arc::clone(&server.backend), control.clone());
        let task = tokio::spawn(supervised.instrument(error_span!("direction", who = %who)));
        Running { work, server: server_name.to_owned(), control, stop, task, forwarded: 0 }
    }

    async fn end(self) {
        self.stop.send_replace(true);
        let mut task = self.task;
        if tokio::time::timeout(PATIENCE, &mut task).await.is_err() {
            task.abort();
        }
    }
}

/// Runs a direction, and restarts it if it fails because of its ring or state file, or because of a bug.
async fn supervise(work: Work, backend: Arc<AnyServer>, control: Control) {
    let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(10));
    let mut said = Said::default();
    loop {
        let its = control.clone();
        let (task_work, task_backend) = (work.clone(), Arc::clone(&backend));
        let task = async move {
            match &task_work {
                Work::Up(options) => up::run(&task_backend, options, &its).await.map(drop),
                Work::Down(options) => down::run(&task_backend, options, &its).await,
            }
        };
        let ended = tokio::spawn(task.in_current_span()).await;
        let why = match ended {
            Ok(Ok(())) => return,
            Ok(Err(why)) => why,
            Err(panic) => format!("internal error: {panic}"),
        };
        {
            let mut status = control.status();
            (status.running, status.connected, status.error) = (false, false, Some(why.clone()));
            status.restarts += 1;
        }
        if control.is_stopping() {
            return;
        }
        if said.is_news(&why) {
            error!("{why}; trying again");
        }
        control.pause(backoff.pause()).await;
        if control.is_stopping() {
            return;
        }
    }
}

/// All bridges.
struct Service {
    path: PathBuf,
    config: Config,
    servers: BTreeMap<String, Server>,
    running: BTreeMap<(String, &'static str), Running>,
    started_at: f64,
    report: Arc<Mutex<Report>>,
    said: Said,
}

fn works(directions: &Directions) -> Vec<Work> {
    let up = directions.up.clone().map(Work::Up);
    up.into_iter().chain(directions.down.clone().map(Work::Down)).collect()
}

impl Service {
    /// Starts directions that are new in the configuration, and stops those that are not in it any more or have changed.
    async fn apply(&mut self) {
        let mut wanted = BTreeMap::new();
        for (name, directions) in &self.config.bridges {
            for work in works(directions) {
                wanted.insert((name.clone(), work.direction()), (work, directions.server.clone()));
            }
        }
        let is_same_server = |name: &String| {
            self.servers.get(name).is_some_and(|server| self.config.servers.get(name) == Some(&server.settings))
        };
        let stays = |key: &(String, &'static str), running: &Running| {
            is_same_server(&running.server)
                && wanted.get(key).is_some_and(|(work, server)| *work == running.work && *server == running.server)
        };
        let leaving: Vec<_> =
            self.running.iter().filter(|(key, running)| !stays(key, running)).map(|(key, _)| key.clone()).collect();
        let ended: Vec<_> = leaving.iter().filter_map(|key| self.running.remove(key)).map(Running::end).collect();
        while_watched(join_all(ended)).await;
        let used: Vec<&String> = self.config.bridges.values().map(|bridge| &bridge.server).collect();
        let config = &self.config;
        self.servers.retain(|name, server| used.contains(&name) && config.servers.get(name) == Some(&server.settings));
        for (key, (work, server_name)) in wanted {
            if self.running.contains_key(&key) {
                continue;
            }
            let settings = &self.config.servers[&server_name];
            let server = self.servers.entry(server_name.clone()).or_insert_with(|| Server::start(settings));
            let running = Running::start(&key.0, work, &server_name, server);
            self.running.insert(key, running);
        }
    }

    /// Reads the configuration again. One that is wrong changes nothing, nor does one that does not come: of a pipe, or a server
    /// for files.
    async fn reload(&mut self) {
        let path = self.path.clone();
        let reading = tokio::task::spawn_blocking(move || Config::read(&path));
        let read = match while_watched(tokio::time::timeout(READING, reading)).await {
            Ok(Ok(read)) => read,
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!("{}: nothing came within {} s", self.path.display(), READING.as_secs())),
        };
        match read {
            Ok(config) => {
                let fixed = |config: &Config| (config.threads, config.metrics.clone());
                if fixed(&config) != fixed(&self.config) {
                    warn!("threads and metrics are read at the start only");
                }
                self.config = config;
                self.apply().await;
                info!("the configuration was read again: {} directions", self.running.len());
            }
            Err(why) => error!("the configuration stays as it was: {why}"),
        }
    }

    /// Is called each second.
    fn tick(&mut self) {
        let mut report = Report {
            pid: std::process::id(),
            time: unix_time(),
            started_at: self.started_at,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ..Report::default()
        };
        for ((name, direction), running) in &mut self.running {
            let status = {
                let mut status = running.control.status();
                status.rate = status.forwarded - running.forwarded.min(status.forwarded);
                running.forwarded = status.forwarded;
                status.clone()
            };
            report.bridges.entry(name.clone()).or_default().insert((*direction).to_owned(), status);
        }
        report.servers = self.servers.iter().map(|(name, server)| (name.clone(), server.status())).collect();
        let mut wrong = Vec::new();
        if let Some(path) = &self.config.status {
            wrong.extend(file::replace(path, &report.json()).err().map(|why| format!("status {why}")));
        }
        if let Some(path) = &self.config.metrics_file {
            wrong.extend(file::replace(path, &report.metrics()).err().map(|why| format!("metrics-file {why}")));
        }
        // As one text, or each of them would always be new after the other.
        if wrong.is_empty() {
            self.said.clear();
        } else if self.said.is_news(&wrong.join("; ")) {
            wrong.iter().for_each(|why| warn!("{why}; trying again"));
        }
        *self.report.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = report;
    }

    fn say(&mut self) {
        self.tick();
        let report = self.report.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clone();
        for (name, both) in &report.bridges {
            for (direction, status) in both {
                info!("{direction} {name}: {}", line(status));
            }
        }
    }
}

fn notify(states: &[sd_notify::NotifyState<'_>]) {
    // Without systemd this has no effect.
    let _ = sd_notify::notify(states);
}

/// Notifies the watchdog from a worker thread, so that it is only notified if one of them is free.
async fn say_alive() {
    if tokio::time::timeout(Duration::from_secs(1), tokio::spawn(async {})).await.is_ok() {
        notify(&[sd_notify::NotifyState::Watchdog]);
    }
}

/// Waits for something that may take longer than the watchdog's timeout.
async fn while_watched<T>(what: impl Future<Output = T>) -> T {
    let mut what = std::pin::pin!(what);
    loop {
        match tokio::time::timeout(TICK, &mut what).await {
            Ok(done) => return done,
            Err(_) => say_alive().await,
        }
    }
}

/// Runs until TERM or INT. HUP reads the configuration again; USR1 logs the status.
///
/// # Errors
/// A text that says why it cannot start.
pub async fn run(path: PathBuf, config: Config) -> Result<(), String> {
    let handler = |kind: SignalKind| signal(kind).map_err(|error| error.to_string());
    let (mut term, mut int) = (handler(SignalKind::terminate())?, handler(SignalKind::interrupt())?);
    let (mut hup, mut usr1) = (handler(SignalKind::hangup())?, handler(SignalKind::user_defined1())?);
    let report = Arc::new(Mutex::new(Report::default()));
    if let Some(address) = &config.metrics {
        let listener = TcpListener::bind(address).await.map_err(|error| {
            format!("metrics {address}: {}; give an address of this host, and a port that is free", file::plain(&error))
        })?;
        tokio::spawn(serve(listener, Arc::clone(&report)));
    }
    let mut service = Service {
        path,
        config,
        servers: BTreeMap::new(),
        running: BTreeMap::new(),
        started_at: unix_time(),
        report,
        said: Said::default(),
    };
    service.apply().await;
    service.tick();
    notify(&[sd_notify::NotifyState::Ready]);
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = term.recv() => break,
            _ = int.recv() => break,
            _ = hup.recv() => {
                if let Ok(reloading) = sd_notify::NotifyState::monotonic_usec_now() {
                    notify(&[sd_notify::NotifyState::Reloading, reloading]);
                }
                service.reload().await;
                notify(&[sd_notify::NotifyState::Ready]);
            }
            _ = usr1.recv() => service.say(),
            _ = ticks.tick() => {
                service.tick();
                say_alive().await;
            }
        }
    }
    notify(&[sd_notify::NotifyState::Stopping]);
    for running in service.running.values() {
        running.stop.send_replace(true);
    }
    let running: Vec<_> =
        service.running.iter_mut().map(|(_, running)| tokio::time::timeout(PATIENCE, &mut running.task)).collect();
    while_watched(join_all(running)).await;
    for running in service.running.values() {
        let mut status = running.control.status();
        (status.running, status.connected) = (false, false);
        status.error.get_or_insert_with(|| "stopped".to_owned());
    }
    service.tick();
    info!("stopped");
    Ok(())
}

/// Answers requests for metrics and the status.
async fn serve(listener: TcpListener, report: Arc<Mutex<Report>>) {
    // Limited, so that idle clients do not use up the descriptors that bridges need.
    let answers = Arc::new(Semaphore::new(ANSWERS));
    while let Ok(permit) = Arc::clone(&answers).acquire_owned().await {
        match listener.accept().await {
            Ok((stream, _)) => {
                let report = report.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clone();
                tokio::spawn(async move {
                    let _permit = permit;
                    tokio::time::timeout(Duration::from_secs(5), answer(stream, report)).await
                });
            }
            // Probably there are no free descriptors.
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

/// Answers one request: a GET of /metrics or /status.
async fn answer(mut stream: TcpStream, report: Report) -> std::io::Result<()> {
    const LONGEST: usize = 8192;
    let mut request = Vec::new();
    while !request.windows(4).any(|four| four == b"\r\n\r\n") && request.len() < LONGEST {
        if stream.read_buf(&mut request).await? == 0 {
            return Ok(());
        }
    }
    let line = request.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let mut words = line.split(|byte| *byte == b' ');
    let (status, kind, body) = match (words.next(), words.next()) {
        (Some(b"GET"), Some(b"/metrics")) => ("200 OK", "text/plain; version=0.0.4; charset=utf-8", report.metrics()),
        (Some(b"GET"), Some(b"/status")) => ("200 OK", "application/json", report.json()),
        (Some(b"GET"), _) => ("404 Not Found", "text/plain", "see /metrics and /status\n".to_owned()),
        _ => ("405 Method Not Allowed", "text/plain", "only GET is answered\n".to_owned()),
    };
    let length = body.len();
    let head =
        format!("HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body.as_bytes()).await?;
    stream.shutdown().await
}
