//! Redis keeps the promises of a backend.

mod common;

use common::redis_server::{RedisServer, is_installed};
use common::*;
use pubsub_bridge::backend::Backend;
use pubsub_bridge::backend::conformance::{Rig, check};
use pubsub_bridge::backend::redis::{Redis, origins_key};

struct Server(RedisServer);

impl Rig for Server {
    type Backend = Redis;

    async fn backend(&self) -> Redis {
        let backend = self.0.backend();
        backend.connected().await;
        backend
    }

    async fn lose(&self, stream: &str) {
        self.0.ask(&["DEL", stream, &origins_key(stream)]);
    }

    async fn refuse(&self, refuse: bool) {
        self.0.ask(&["CONFIG", "SET", "maxmemory", if refuse { "1" } else { "0" }]);
    }

    async fn cut(&self) {
        self.0.cut_clients();
    }

    async fn scribble(&self, stream: &str) {
        self.0.ask(&["XADD", stream, "*", "colour", "blue"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keeps_the_promises_of_a_backend() {
    if !is_installed() {
        return;
    }
    let folder = Folder::new("conformance");
    check(&Server(RedisServer::start(&folder, &[]))).await;
}
