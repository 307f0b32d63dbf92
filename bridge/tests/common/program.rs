//! The program of a test's own, with a configuration and rings in the test's directory.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use data_pubsub_shared::Variant;
use pubsub_bridge::report::Report;

use super::redis_server::RedisServer;
use super::{Folder, Publisher, Receiver, WATCHDOG};

pub const PROGRAM: &str = env!("CARGO_BIN_EXE_pubsub-bridge");

/// A program that runs.
pub struct Program {
    pub child: Child,
    pub folder: PathBuf,
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Writes a configuration.
pub fn configure(folder: &Folder, text: &str) -> PathBuf {
    let path = folder.0.join("bridge.toml");
    let own = folder.0.display();
    let text =
        format!("state = \"{own}/state\"\nstatus = \"{own}/status.json\"\n{}", text.replace("@", &own.to_string()));
    std::fs::write(&path, text).expect("write");
    path
}

pub fn run(folder: &Folder, text: &str) -> Program {
    configure(folder, text);
    run_as(folder, &mut Command::new(PROGRAM))
}

/// With what the command has in its environment, or the program behind others; the configuration is there.
pub fn run_as(folder: &Folder, command: &mut Command) -> Program {
    let log = std::fs::File::options().append(true).create(true).open(folder.0.join("log")).expect("a log");
    let child = command.arg("run").arg(folder.0.join("bridge.toml")).stdin(Stdio::null()).stderr(log).spawn();
    Program { child: child.expect("the program"), folder: folder.0.clone() }
}

/// A file that only its owner may read.
pub fn secret(path: &Path, text: &str) {
    std::fs::write(path, text).expect("write");
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("chmod");
}

pub fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + WATCHDOG;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "it never came to this: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

impl Program {
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    pub fn until_said(&self, text: &str) {
        wait_for(&format!("'{text}' in:\n{}", self.log()), || self.log().contains(text).then_some(()));
    }

    pub fn report(&self) -> Report {
        let text = std::fs::read_to_string(self.folder.join("status.json")).unwrap_or_default();
        serde_json::from_str(&text).unwrap_or_default()
    }

    pub fn until_connected(&self, directions: usize) {
        wait_for("all are connected", || {
            let connected =
                self.report().bridges.values().flat_map(|both| both.values()).filter(|status| status.connected).count();
            (connected >= directions).then_some(())
        });
    }

    pub fn signal(&self, name: &str) {
        assert!(Command::new("kill").args([name, &self.child.id().to_string()]).status().expect("kill").success());
    }

    /// Asks it to end: what it said.
    pub fn end(mut self) -> String {
        self.signal("-TERM");
        let status = self.child.wait().expect("wait");
        assert!(status.success(), "{status}:\n{}", self.log());
        self.log()
    }
}

pub fn ask(folder: &Folder, arguments: &[&str]) -> Output {
    Command::new(PROGRAM).args(arguments).arg(folder.0.join("bridge.toml")).output().expect("the program")
}

pub fn all_of(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

pub const RINGS: &str = "[defaults]\nvariant = \"Int\"\ncapacity = 1024\nfrom = \"start\"\n";

pub fn server(redis: &RedisServer) -> String {
    format!("[server]\nurl = \"unix://{}\"\n{RINGS}", redis.socket().display())
}

/// What a server of HTTP answers.
pub fn get(address: &str, path: &str) -> String {
    let mut stream = std::net::TcpStream::connect(address).expect("connect");
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").expect("write");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("read");
    text
}

/// What `check` says with such a server, in one line.
pub fn checked(folder: &Folder, server: &str) -> (bool, String) {
    configure(folder, &format!("[server]\ntimeout = 2\n{server}\n{RINGS}[bridge.a]\nout = \"@/out\"\nin = \"@/in\"\n"));
    let found = ask(folder, &["check"]);
    (found.status.success(), all_of(&found))
}

/// A bridge of this server passes messages on.
pub fn assert_works(folder: &Folder, server: &str) {
    let (is_well, said) = checked(folder, server);
    assert!(is_well, "{server}: {said}");
    // Each time with rings and a stream of its own.
    let round = (0..).find(|round| !folder.0.join(format!("out{round}")).exists()).expect("a number");
    let bridge = format!("[bridge.b{round}]\nout = \"@/out{round}\"\nin = \"@/in{round}\"\n");
    let program = run(folder, &format!("[server]\n{server}\n{RINGS}{bridge}"));
    let mut receiver = Receiver::new(&folder.ring(&format!("in{round}"), Variant::Int, 1024));
    Publisher::new(&folder.ring(&format!("out{round}"), Variant::Int, 1024), 1).publish(10);
    wait_for("all is received", || (receiver.read() == 10).then_some(()));
    program.end();
}

/// `check` reports the problem of this server in one line, which has these words.
pub fn assert_says(folder: &Folder, server: &str, why: &str) {
    let (is_well, said) = checked(folder, server);
    println!("{server}{said}");
    let lines: Vec<_> = said.lines().filter(|line| line.starts_with("pubsub-bridge: ")).collect();
    assert!(!is_well && lines.len() == 1 && lines[0].contains(why), "{server}: '{why}' in one line of:\n{said}");
}
