//! A nats-server of a test's own, with JetStream in its directory: it can be killed, stopped and started again, and its connections
//! go through a relay of the test's, which can cut them. `PUBSUB_NATS_SERVER` names another program in its place, of another version.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pubsub_bridge::backend::nats::{Login, Nats, Settings};
use serde_json::{Value, json};

use super::process::Process;
use super::{Folder, WATCHDOG, free_port};

pub struct NatsServer {
    pub folder: PathBuf,
    port: u16,
    relay: Relay,
    has_jetstream: bool,
    configuration: String,
    pub process: Process,
}

/// The program.
pub fn program() -> String {
    let debian = "/usr/sbin/nats-server";
    let found = if std::path::Path::new(debian).exists() { debian } else { "nats-server" };
    std::env::var("PUBSUB_NATS_SERVER").unwrap_or_else(|_| found.to_owned())
}

/// Whether there can be one; a test that needs it returns at once where there is none.
pub fn is_installed() -> bool {
    let found =
        Command::new(program()).arg("--version").stdout(Stdio::null()).status().is_ok_and(|status| status.success());
    if !found {
        println!("skipped: nats-server is not installed");
    }
    found
}

impl NatsServer {
    /// With these lines in its configuration besides.
    pub fn start(folder: &Folder, configuration: &str) -> NatsServer {
        NatsServer::named(folder, "nats", configuration)
    }

    /// One of several, in a directory of its own.
    pub fn named(folder: &Folder, name: &str, configuration: &str) -> NatsServer {
        NatsServer::new(folder, name, configuration, true)
    }

    /// One that is only NATS.
    pub fn without_jetstream(folder: &Folder, name: &str) -> NatsServer {
        NatsServer::new(folder, name, "", false)
    }

    fn new(folder: &Folder, name: &str, configuration: &str, has_jetstream: bool) -> NatsServer {
        let folder = folder.0.join(name);
        std::fs::create_dir_all(&folder).expect("a directory");
        let port = free_port();
        let relay = Relay::start(port);
        let mut server = NatsServer {
            folder,
            port,
            relay,
            has_jetstream,
            configuration: configuration.to_owned(),
            process: Process::default(),
        };
        server.run();
        server
    }

    /// With other lines in its configuration, from its next start on.
    pub fn configure(&mut self, configuration: &str) {
        configuration.clone_into(&mut self.configuration);
    }

    pub fn run(&mut self) {
        let file = self.folder.join("nats.conf");
        let store = self.folder.join("store");
        let mut text = format!("listen: 127.0.0.1:{}\n{}\n", self.port, self.configuration);
        if self.has_jetstream {
            text += &format!("jetstream {{ store_dir: \"{}\", max_mem: 64M, max_file: 1G }}\n", store.display());
        }
        std::fs::write(&file, text).expect("write");
        let mut command = Command::new(program());
        command.arg("-c").arg(&file);
        self.process.run(&mut command, &self.folder);
        let end = std::time::Instant::now() + WATCHDOG;
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            self.process.is_awaited(&self.folder, end);
        }
    }

    /// Where bridges connect.
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.relay.port)
    }

    /// Asks JetStream, over a connection of the test's own, and again while it only starts.
    pub fn ask(&self, what: &str, ask: &Value) -> Value {
        self.ask_as("", what, ask)
    }

    /// The same as a user whose password is the same as the name.
    pub fn ask_as(&self, user: &str, what: &str, ask: &Value) -> Value {
        let end = std::time::Instant::now() + WATCHDOG;
        let text = if ask.is_null() { String::new() } else { ask.to_string() };
        loop {
            let answer = self.try_request(user, &format!("$JS.API.{what}"), &text);
            match answer.as_ref().map(|answer| serde_json::from_slice::<Value>(answer)) {
                Ok(Ok(answer)) if answer["error"]["code"] != 503 => return answer,
                other => assert!(std::time::Instant::now() < end, "{what}: {other:?}"),
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Publishes, and waits until the stream has it.
    pub fn publish(&self, subject: &str, text: &str) {
        self.try_request("", subject, text).expect("an acknowledgement");
    }

    /// One request of the text protocol.
    fn try_request(&self, user: &str, subject: &str, text: &str) -> std::io::Result<Vec<u8>> {
        let mut link = TcpStream::connect(("127.0.0.1", self.port))?;
        link.set_read_timeout(Some(Duration::from_secs(5)))?;
        let mut options = json!({"verbose": false, "headers": true, "no_responders": true});
        if !user.is_empty() {
            (options["user"], options["pass"]) = (user.into(), user.into());
        }
        write!(link, "CONNECT {options}\r\nSUB answer 1\r\nPUB {subject} answer {}\r\n{text}\r\n", text.len())?;
        let mut got = Vec::new();
        let mut part = [0; 65_536];
        loop {
            let count = link.read(&mut part)?;
            if count == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            got.extend_from_slice(&part[..count]);
            let all = String::from_utf8_lossy(&got);
            if all.contains("HMSG answer") {
                return Err(std::io::Error::other("no answer"));
            }
            if let Some(at) = all.find("MSG answer 1 ") {
                let rest = &got[at + "MSG answer 1 ".len()..];
                let Some(end) = rest.iter().position(|byte| *byte == b'\r') else { continue };
                // Behind a subject for an answer, perhaps.
                let words = String::from_utf8_lossy(&rest[..end]).into_owned();
                let len: usize = words.split(' ').next_back().and_then(|word| word.parse().ok()).expect("a length");
                if rest.len() >= end + 2 + len {
                    return Ok(rest[end + 2..end + 2 + len].to_vec());
                }
            }
        }
    }

    /// All streams that there are.
    pub fn streams(&self) -> Vec<String> {
        let names = self.ask("STREAM.NAMES", &json!({}));
        names["streams"].as_array().into_iter().flatten().filter_map(|name| name.as_str().map(str::to_owned)).collect()
    }

    /// Removes all streams.
    pub fn forget(&self) {
        for name in self.streams() {
            self.ask(&format!("STREAM.DELETE.{name}"), &Value::Null);
        }
    }

    /// From now on streams take no message, or do so again.
    pub fn refuse(&self, refuse: bool) {
        for name in self.streams() {
            self.edit(&name, &json!({"max_msg_size": if refuse { 1 } else { -1 }}));
        }
    }

    /// Changes settings of a stream.
    pub fn edit(&self, name: &str, changes: &Value) {
        let mut config = self.ask(&format!("STREAM.INFO.{name}"), &Value::Null)["config"].take();
        for (key, value) in changes.as_object().expect("settings") {
            config[key] = value.clone();
        }
        let answer = self.ask(&format!("STREAM.UPDATE.{name}"), &config);
        assert!(answer["error"].is_null(), "{changes}: {answer}");
    }

    pub fn cut_clients(&self) {
        self.relay.cut();
    }

    pub fn settings(&self) -> Settings {
        Settings {
            servers: vec![("127.0.0.1".to_owned(), self.relay.port)],
            name: format!("127.0.0.1:{}", self.relay.port),
            login: Login::None,
            tls: None,
            timeout: Duration::from_secs(10),
            subject: "pubsub".to_owned(),
            replicas: 1,
        }
    }

    pub fn backend(&self) -> Nats {
        Nats::new(self.settings())
    }
}

/// Passes connections on to another port.
struct Relay {
    port: u16,
    links: Arc<Mutex<Vec<TcpStream>>>,
}

impl Relay {
    fn start(to: u16) -> Relay {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let links = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&links);
        // As long as the test's process.
        std::thread::spawn(move || {
            for incoming in listener.incoming().flatten() {
                let Ok(outgoing) = TcpStream::connect(("127.0.0.1", to)) else { continue };
                for link in [&incoming, &outgoing] {
                    let _ = link.set_nodelay(true);
                    kept.lock().expect("links").extend(link.try_clone());
                }
                let pairs = [(incoming.try_clone(), outgoing.try_clone()), (Ok(outgoing), Ok(incoming))];
                for (from, to) in pairs {
                    let (Ok(mut from), Ok(mut to)) = (from, to) else { continue };
                    std::thread::spawn(move || {
                        let _ = std::io::copy(&mut from, &mut to);
                        let _ = from.shutdown(Shutdown::Both);
                        let _ = to.shutdown(Shutdown::Both);
                    });
                }
            }
        });
        Relay { port, links }
    }

    fn cut(&self) {
        for link in self.links.lock().expect("links").drain(..) {
            let _ = link.shutdown(Shutdown::Both);
        }
    }
}
