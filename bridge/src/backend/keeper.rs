//! The connection to a server: makes it, checks it, makes it again, and finds out why it cannot be made.

use std::fmt::Debug;
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tracing::{info, warn};

use super::{Failure, Health, Result};
use crate::direction::{Backoff, Said};

/// How often a server is pinged, and how long it may take to answer before that is reported.
const BEAT: Duration = Duration::from_secs(1);

/// How to connect to a server.
pub(super) trait Endpoint: Clone + Debug + Send + Sync + 'static {
    /// A connection that is believed to work.
    type Live: Debug + Send + Sync + 'static;

    /// Its address as a text for people.
    fn name(&self) -> &str;

    /// Connects, or returns why that failed.
    fn connect(&self) -> impl Future<Output = std::result::Result<Self::Live, String>> + Send;

    /// Resolves to the reason once a user of the connection has found it broken.
    fn broken(&self, live: &Self::Live) -> impl Future<Output = String> + Send;

    /// Pings the server; a refusal is an answer, too. An error is the reason why the connection is broken.
    fn ask(&self, live: &Self::Live) -> impl Future<Output = std::result::Result<(), String>> + Send;

    /// Closes the connection, even if it is still used.
    fn given_up(&self, _live: &Self::Live, _why: &str) {}
}

#[derive(Debug)]
pub(super) struct Keeper<S: Endpoint> {
    shared: Arc<Shared<S>>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared<S: Endpoint> {
    settings: S,
    live: watch::Sender<Option<Arc<S::Live>>>,
    health: Mutex<Health>,
}

impl<S: Endpoint> Drop for Keeper<S> {
    fn drop(&mut self) {
        self.task.abort();
        self.shared.live.send_replace(None);
    }
}

/// Locks a mutex, even if a thread has panicked with it.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

impl<S: Endpoint> Keeper<S> {
    pub(super) fn start(settings: S) -> Keeper<S> {
        let health = Health { error: Some(format!("not connected to {} yet", settings.name())), ..Health::default() };
        let shared = Arc::new(Shared { settings, live: watch::Sender::new(None), health: Mutex::new(health) });
        let task = tokio::spawn(keep(Arc::downgrade(&shared)));
        Keeper { shared, task }
    }

    pub(super) fn settings(&self) -> &S {
        &self.shared.settings
    }

    pub(super) fn live(&self) -> Result<Arc<S::Live>> {
        let live = self.shared.live.borrow().clone();
        live.ok_or_else(|| Failure::Lost(format!("not connected to {}", self.shared.settings.name())))
    }

    pub(super) async fn connected(&self) {
        // The sender lives as long as this.
        let _ = self.shared.live.subscribe().wait_for(Option::is_some).await;
    }

    pub(super) fn health(&self) -> Health {
        lock(&self.shared.health).clone()
    }
}

fn set_health(health: &Mutex<Health>, connected: bool, error: Option<String>) {
    let mut health = lock(health);
    health.connected = connected;
    health.error = error;
}

/// Connects, checks the connection, and reconnects.
async fn keep<S: Endpoint>(shared: Weak<Shared<S>>) {
    let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(5));
    let mut said = Said::default();
    let mut was_connected = false;
    loop {
        let Some(settings) = shared.upgrade().map(|shared| shared.settings.clone()) else { return };
        let why = match settings.connect().await {
            Ok(live) => {
                let live = Arc::new(live);
                let Some(shared) = shared.upgrade() else { return };
                set_health(&shared.health, true, None);
                shared.live.send_replace(Some(Arc::clone(&live)));
                let again = if std::mem::replace(&mut was_connected, true) { "reconnected" } else { "connected" };
                info!("{again} to {}", settings.name());
                backoff.reset();
                said.clear();
                let why = tokio::select! {
                    why = settings.broken(&live) => why,
                    why = beat(&settings, &live, &shared.health) => why,
                };
                settings.given_up(&live, &why);
                shared.live.send_replace(None);
                set_health(&shared.health, false, Some(why.clone()));
                lock(&shared.health).lost += 1;
                why
            }
            Err(why) => {
                let Some(shared) = shared.upgrade() else { return };
                set_health(&shared.health, false, Some(why.clone()));
                why
            }
        };
        if said.is_news(&why) {
            warn!("{why}; trying again");
        }
        tokio::time::sleep(backoff.pause()).await;
    }
}

/// Pings the server each second, and reports late answers. Returns why the connection is broken.
async fn beat<S: Endpoint>(settings: &S, live: &S::Live, health: &Mutex<Health>) -> String {
    loop {
        tokio::time::sleep(BEAT).await;
        let mut answer = Box::pin(settings.ask(live));
        let begun = Instant::now();
        let answer = loop {
            match tokio::time::timeout(BEAT, &mut answer).await {
                Ok(answer) => break answer,
                Err(_) => {
                    let error = format!("no answer from {} for {} s", settings.name(), begun.elapsed().as_secs());
                    set_health(health, false, Some(error));
                }
            }
        };
        if let Err(why) = answer {
            return why;
        }
        set_health(health, true, None);
    }
}
