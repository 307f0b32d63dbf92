//! JetStream keeps the promises of a backend.

mod common;

use common::nats_server::{NatsServer, is_installed};
use common::*;
use pubsub_bridge::backend::Backend;
use pubsub_bridge::backend::conformance::{Rig, check};
use pubsub_bridge::backend::nats::Nats;
use serde_json::Value;

struct Server(NatsServer);

impl Rig for Server {
    type Backend = Nats;

    async fn backend(&self) -> Nats {
        let backend = self.0.backend();
        backend.connected().await;
        backend
    }

    async fn lose(&self, stream: &str) {
        let answer = self.0.ask(&format!("STREAM.DELETE.{stream}"), &Value::Null);
        assert_eq!(answer["success"], true, "{answer}");
    }

    async fn refuse(&self, refuse: bool) {
        self.0.refuse(refuse);
    }

    async fn cut(&self) {
        self.0.cut_clients();
    }

    async fn scribble(&self, stream: &str) {
        self.0.publish(&format!("pubsub.{stream}.colour"), "blue");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keeps_the_promises_of_a_backend() {
    if !is_installed() {
        return;
    }
    let folder = Folder::new("nats-conformance");
    check(&Server(NatsServer::start(&folder, ""))).await;
}
