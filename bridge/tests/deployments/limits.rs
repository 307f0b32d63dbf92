//! What a stream keeps: by messages, bytes and age. What a reader misses of it is counted as trimmed, each message.

use std::sync::Arc;
use std::time::Duration;

use data_pubsub_shared::Variant;
use pubsub_bridge::backend::server::{Server as AnyServer, Settings};
use pubsub_bridge::backend::{Backend, Limits, Place};

use crate::common::server::{Server, Which};
use crate::common::*;

fn backend(server: &Server) -> Arc<AnyServer> {
    Arc::new(AnyServer::new(match server {
        Server::Redis(redis) => Settings::Redis(redis.settings()),
        Server::Nats(nats) => Settings::Nats(nats.settings()),
    }))
}

async fn is_kept(which: Which, name: &str, limits: Limits, most: u64) {
    let folder = Folder::new(&format!("limits-{which:?}-{name}"));
    let server = Server::start(which, &folder);
    let backend = backend(&server);
    let (out, inner) = (folder.ring("out", Variant::Int, 1 << 15), folder.ring("in", Variant::Int, 1 << 15));
    let (mut publisher, mut receiver) = (Publisher::new(&out, 1), Receiver::new(&inner));
    let mut options = up_options(&folder, out, "s", "up");
    (options.pack, options.batch, options.limits) = (4, 10, limits);
    let up = start_up(&backend, &options);
    let of_down = down_options(&folder, inner, &["s"], "in");
    let down = start_down(&backend, &of_down);
    publisher.publish(100);
    until("the first are received", || receiver.read() == 100).await;
    down.stop().await.expect("it ends well");
    publisher.publish(3000);
    until("the first part is sent", || up.status().number == Some(3100)).await;
    let place = backend.ends("s", Place::START).await.expect("ends").newest.expect("an entry");
    publisher.publish(7000);
    until("all are sent", || up.status().number == Some(10_100)).await;
    // The last one is not older than the limit.
    tokio::time::sleep(limits.age.unwrap_or_default()).await;
    publisher.publish(1);
    let trimmed = async {
        // The first part is gone, and some more or less of the other.
        while backend.ends("s", Place::START).await.expect("ends").first.is_none_or(|first| first <= place) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(WATCHDOG, trimmed).await.expect("it is trimmed");
    up.stop().await.expect("it ends well");
    let down = start_down(&backend, &of_down);
    until("each is received or lost", || receiver.read() as u64 + lost_for(&down.lost(), &["trimmed"]) == 10_101).await;
    let received = receiver.read() as u64 - 100;
    assert!((1..=most).contains(&received), "{which:?} {name}: {received}");
    assert_eq!(down.lost(), [("trimmed".to_owned(), 10_101 - 100 - received)].into());
    receiver.by_ring();
    down.stop().await.expect("it ends well");
}

async fn are_kept(which: Which) {
    if !which.is_installed() {
        return;
    }
    let none = Limits::default();
    tokio::join!(
        is_kept(which, "messages", Limits { messages: Some(1000), ..none }, 2500),
        is_kept(which, "bytes", Limits { bytes: Some(30_000), ..none }, 6000),
        is_kept(which, "age", Limits { age: Some(Duration::from_secs(1)), ..none }, 7001),
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_of_redis() {
    are_kept(Which::Redis).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_of_nats() {
    are_kept(Which::Nats).await;
}
