//! JetStream keeps the promises of a backend.

mod common;

use common::nats_server::{NatsServer, is_installed};
use common::*;
use pubsub_bridge::backend::Backend;
use pubsub_bridge::backend::conformance::{Rig, check};
use std::sync::Arc;
use std::time::Duration;

use pubsub_bridge::backend::nats::{Login, Nats, Settings};
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

/// A client of the library's that was given up does not go on connecting, beside those that follow.
#[tokio::test]
async fn no_client_goes_on_that_was_given_up() {
    use std::io::{BufRead, BufReader, Write};
    use std::sync::atomic::{AtomicUsize, Ordering};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let made = Arc::new(AtomicUsize::new(0));
    let all = Arc::clone(&made);
    // It greets the first one, which it closes then, and closes the others at once.
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            if all.fetch_add(1, Ordering::SeqCst) == 0 {
                let greeting =
                    br#"INFO {"server_id":"x","version":"2.10.0","max_payload":1048576,"proto":1,"headers":true}"#;
                let _ = stream.write_all(greeting).and_then(|()| stream.write_all(b"\r\n"));
                let mut lines = BufReader::new(stream.try_clone().expect("a stream")).lines();
                while let Some(Ok(line)) = lines.next() {
                    if line.starts_with("PING") {
                        let _ = stream.write_all(b"PONG\r\n");
                        break;
                    }
                }
            }
        }
    });
    let backend = Nats::new(Settings {
        servers: vec![(address.ip().to_string(), address.port())],
        name: address.to_string(),
        login: Login::None,
        tls: None,
        timeout: Duration::from_secs(5),
        subject: "pubsub".to_owned(),
        replicas: 1,
    });
    until("it connects again", || made.load(Ordering::SeqCst) >= 2).await;
    drop(backend);
    let (mut at, mut quiet) = (made.load(Ordering::SeqCst), 0);
    let before = at;
    while quiet < 100 {
        tokio::time::sleep(Duration::from_millis(10)).await;
        let now = made.load(Ordering::SeqCst);
        (quiet, at) = if now == at { (quiet + 1, at) } else { (0, now) };
    }
    // The one attempt that it has, and one that was under way.
    assert!(at - before <= 2, "{before}, and {at} later");
}
