//! The program in its surroundings: what it says to operators, cables that are pulled, names that are not ASCII, and the example
//! of a reader in Python. Cables are between namespaces of the test's own, which takes root; otherwise these tests say so.

mod common;

use std::io::{BufRead, BufReader};
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use common::hosts::{Hosts, Kind, seconds, storm};
use common::process::{Process, launched};
use common::program::*;
use common::redis_server::{self, RedisServer, is_installed};
use common::server::Which;
use common::*;
use data_pubsub_shared::{Bytes, Variant};
use pubsub_bridge::direction::{Lost, Status};
use serde_json::{Value, json};

fn status(program: &Program, direction: &str) -> Status {
    program.report().bridges.get("s").and_then(|both| both.get(direction)).cloned().unwrap_or_default()
}

// --- What it says

#[test]
fn it_says_what_happens_and_no_more() {
    if !is_installed() {
        return;
    }
    let folder = Folder::new("says");
    let redis = RedisServer::start(&folder, &[]);
    let text = format!("host = \"h\"\n{}[bridge.s]\nout = \"@/out\"\nin = \"@/in\"\n", server(&redis));
    let mut publisher = Publisher::new(&folder.ring("out", Variant::Int, 1024), 1);
    let mut receiver = Receiver::new(&folder.ring("in", Variant::Int, 1024));
    let program = run(&folder, &text);
    publisher.publish(5);
    wait_for("it works", || (receiver.read() == 5).then_some(()));
    for _ in 0..20 {
        program.signal("-USR1");
        publisher.publish(10);
    }
    wait_for("signals disturb nothing", || (receiver.read() == 205).then_some(()));
    program.until_said("pubsub-bridge: down s: connected, ");
    wait_for("the status says it", || {
        let numbers = (status(&program, "up").number?, status(&program, "down").forwarded);
        (numbers == (205, 205)).then_some(())
    });
    let (up, down) = (status(&program, "up"), status(&program, "down"));
    let origin = up.origin.as_deref().expect("a name");
    assert!(origin.starts_with("h/out-") && origin.len() == "h/out-12345678".len(), "{origin}");
    assert_eq!((up.number, up.lag, up.in_flight, up.restarts), (Some(205), Some(0), Some(0), 0));
    assert_eq!((down.origins, down.duplicates, down.malformed), (Some(1), Some(0), Some(0)));
    let files =
        |folder: &Path| std::fs::read_dir(folder).expect("a folder").map(|file| file.expect("a file").file_name());
    assert!(!files(&folder.0).any(|name| name.to_string_lossy().ends_with(".new")), "no status is half-written");
    let log = program.end();
    let first = format!(
        "pubsub-bridge up s: connected: ring {0}/out, stream s at {1}\n",
        folder.0.display(),
        redis.socket().display()
    );
    assert!(log.contains(&first) && log.ends_with("pubsub-bridge: stopped\n"), "{log}");
    assert!(!log.contains("lost") && !log.contains("again"), "{log}");

    // Less, where that is wanted; and a status that cannot be written is no reason to stop.
    std::fs::remove_file(folder.0.join("log")).expect("remove");
    let log = std::fs::File::create(folder.0.join("log")).expect("a log");
    let path = configure(&folder, &text.replace("host", "metrics-file = \"@/not/there\"\nhost"));
    let child = Command::new(PROGRAM).args(["run", "--quiet"]).arg(path).stderr(log).spawn().expect("the program");
    let program = Program { child, folder: folder.0.clone() };
    publisher.publish(1);
    wait_for("it works", || (receiver.read() == 206).then_some(()));
    program.until_said("/not/there: No such file or directory");
    program.signal("-INT");
    let log = wait_for("INT ends it, too", || (!status(&program, "up").running).then(|| program.log()));
    assert_eq!(log.lines().count(), 1, "it says so once: {log}");
}

#[test]
fn a_wrong_password_is_said_once_and_none_is_shown() {
    if !is_installed() {
        return;
    }
    let folder = Folder::new("password");
    let redis = RedisServer::start(&folder, &["--requirepass", "open, please #1"]);
    let text = format!("{}[bridge.s]\nout = \"@/out\"\n", server(&redis));
    let path = configure(&folder, &text);
    let start = |password: &str| {
        let log = std::fs::File::options().append(true).create(true).open(folder.0.join("log")).expect("a log");
        let mut command = Command::new(PROGRAM);
        command.args(["run", "-q"]).arg(&path).env("PUBSUB_BRIDGE_PASSWORD", password).stderr(log);
        Program { child: command.spawn().expect("the program"), folder: folder.0.clone() }
    };
    let program = start("nonsense");
    wait_for("several attempts", || {
        (program.log().contains("password-file") && program.report().time > 0.0).then_some(())
    });
    let begun = program.report().time;
    wait_for("several attempts", || (program.report().time > begun + 2.0).then_some(()));
    let said = program.end();
    assert_eq!(said.matches("password-file").count(), 1, "{said}");
    let program = start("open, please #1");
    wait_for("the right one works", || status(&program, "up").connected.then_some(()));
    let line = std::fs::read_to_string(format!("/proc/{}/cmdline", program.child.id())).expect("its command line");
    let said = program.end();
    assert!(!format!("{line}{said}").contains("open, please") && !said.contains("nonsense"), "{said}");
}

#[test]
fn nothing_ends_because_nobody_listens() {
    let folder = Folder::new("deaf");
    let text = "[server]\nurl = \"unix:///no/server\"\n[bridge.s]\nout = \"@/out\"\nvariant = \"Int\"\ncapacity = 64\n";
    let path = configure(&folder, text);
    let full = || std::fs::File::options().write(true).open("/dev/full").expect("/dev/full");
    let deaf = || std::io::pipe().expect("a pipe").1;
    for arguments in [&["check", "--offline"][..], &["completion", "bash"]] {
        let mut command = Command::new(PROGRAM);
        command.args(arguments).args((arguments[0] == "check").then_some(&path));
        let found = command.stdout(full()).output().expect("the program");
        assert_eq!(
            (found.status.code(), all_of(&found).as_str()),
            (Some(1), "pubsub-bridge: write: No space left on device\n"),
            "{arguments:?}"
        );
        let found = command.stdout(deaf()).output().expect("the program");
        assert_eq!((found.status.code(), all_of(&found).as_str()), (Some(1), "pubsub-bridge: write: Broken pipe\n"));
        assert!(command.stdout(full()).stderr(full()).status().expect("the program").code() == Some(1));
    }
    for stderr in [Stdio::from(full()), Stdio::from(deaf())] {
        let child = Command::new(PROGRAM).arg("run").arg(&path).stderr(stderr).spawn().expect("the program");
        let program = Program { child, folder: folder.0.clone() };
        wait_for("it works on", || {
            let is_its = program.report().pid == program.child.id();
            (is_its && status(&program, "up").error?.contains("no server")).then_some(())
        });
        program.signal("-USR1");
        program.end();
    }
}

#[test]
fn names_may_be_in_any_language() {
    if !is_installed() {
        return;
    }
    let folder = Folder::new("names");
    let redis = RedisServer::start(&folder, &[]);
    let text = format!(
        "host = \"grüezi-☺\"\n{}[bridge.\"zürich☺\"]\nout = \"@/ö.out\"\nin = \"@/ö.in\"\ngaps = \"@/gaps\"\n",
        server(&redis)
    );
    let mut receiver = Receiver::new(&folder.ring("ö.in", Variant::Int, 64));
    let program = run(&folder, &text);
    program.until_connected(2);
    Publisher::new(&folder.ring("ö.out", Variant::Int, 64), 1).publish(1);
    wait_for("it works", || (receiver.read() == 1).then_some(()));
    assert_eq!(redis.ask(&["XLEN", "zürich☺"]), redis::Value::Int(1), "the key has that name");
    let up = program.report().bridges["zürich☺"]["up"].clone();
    assert!(up.ring.ends_with("/ö.out") && up.origin.is_some_and(|origin| origin.starts_with("grüezi-☺/ö.out-")));
    let mut notes = folder.ring("gaps", Variant::Str, 64).open().expect("a ring").ring.subscribe(true);
    redis.ask(&["XADD", "zürich☺", "*", "o", "ß/☺#1", "s", "3", "i", "7"]);
    let (note, _) = wait_for("a note", || notes.poll_str().expect("strings"));
    let note: Value = serde_json::from_slice(&note).expect("JSON");
    assert_eq!([&note["stream"], &note["origin"]], [&json!("zürich☺"), &json!("ß/☺")]);
    program.end();
}

#[test]
fn check_finds_what_is_wrong_and_makes_nothing() {
    let folder = Folder::new("check");
    std::fs::write(folder.0.join("text"), "no ring at all\n").expect("write");
    drop(folder.ring("str", Variant::Str, 64).open().expect("a ring"));
    std::fs::write(folder.0.join("state"), "no directory\n").expect("write");
    let text = "[server]\nurl = \"unix:///no/server\"\n[defaults]\nvariant = \"Int\"\ncapacity = 64\n\
                [bridge.made]\nout = \"@/made\"\n[bridge.none]\nout = \"@/no/folder/ring\"\n[bridge.text]\nout = \"@/text\"\n\
                [bridge.other]\nin = \"@/str\"\n[bridge.gaps]\nin = \"@/in\"\ngaps = \"@/text\"\n";
    configure(&folder, text);
    let found = ask(&folder, &["check", "--offline"]);
    let (said, own) = (all_of(&found), folder.0.display());
    assert_eq!(found.status.code(), Some(1));
    for line in [
        format!("made up: ring {own}/made (will be created), stream made at /no/server"),
        format!("pubsub-bridge: none up: {own}/no/folder/ring: no directory {own}/no/folder"),
        format!("pubsub-bridge: text up: {own}/text: too small for a ring file"),
        format!("pubsub-bridge: other down: {own}/str: holds a Str ring, opened as Int"),
        format!("pubsub-bridge: gaps down: {own}/text: too small for a ring file"),
        format!("pubsub-bridge: made up: state {own}/state/made.up: {own}/state is not a directory"),
    ] {
        assert!(said.lines().any(|found| found.starts_with(&line)), "{line}\nnot in\n{said}");
    }
    let made = ["made", "in", "no"].map(|name| folder.0.join(name)).into_iter().find(|path| path.exists());
    assert_eq!(made, None, "nothing is made");
}

#[test]
fn the_ring_is_the_buffer() {
    if !is_installed() {
        return;
    }
    let folder = Folder::new("buffer");
    let mut redis = RedisServer::start(&folder, &[]);
    let text = format!("{}[bridge.s]\nout = \"@/out\"\nin = \"@/in\"\n", server(&redis));
    let mut publisher = Publisher::new(&folder.ring("out", Variant::Int, 1 << 15), 1);
    let mut receiver = Receiver::new(&folder.ring("in", Variant::Int, 1 << 17));
    let program = run(&folder, &text);
    publisher.publish(1000);
    wait_for("it works", || (receiver.read() == 1000).then_some(()));
    let memory = || -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", program.child.id())).expect("its status");
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("a line");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    };
    let before = memory();
    redis.process.kill();
    for _ in 0..3 {
        publisher.publish(30_000);
        let seen = program.report().time;
        wait_for("it had the time to take too much", || (program.report().time > seen + 0.5).then_some(()));
    }
    assert!(memory() < before + 10_000, "{} kB, and {before} before", memory());
    redis.run();
    let lost = wait_for("all is received or lost", || {
        let lost: u64 = status(&program, "down").lost.values().sum();
        (receiver.read() as u64 + lost == publisher.published).then_some(lost)
    });
    assert_eq!(status(&program, "down").lost, Lost::from([("overrun".to_owned(), lost)]));
    assert!(memory() < before + 10_000, "{} kB, and {before} before", memory());
    program.end();
}

// --- Namespaces

/// A process that holds a network namespace.
struct Namespace(Child, Option<ChildStdin>);

impl Namespace {
    /// None: it could not be made.
    fn new() -> Option<Namespace> {
        let mut holder = Command::new("unshare")
            .args(["-n", "sh", "-c", "ip link set lo up && echo ready && cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let mut line = String::new();
        BufReader::new(holder.stdout.take().expect("a pipe")).read_line(&mut line).expect("a line");
        let stdin = holder.stdin.take();
        let namespace = Namespace(holder, stdin);
        (line == "ready\n").then_some(namespace)
    }

    /// Starts programs in it.
    fn launcher(&self) -> Vec<String> {
        ["nsenter", "-t", &self.0.id().to_string(), "-n"].map(str::to_owned).to_vec()
    }

    fn shell(&self, command: &str) -> bool {
        let launcher = self.launcher();
        launched(&launcher, "sh")
            .args(["-c", command])
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // The end of its input ends it.
        self.1.take();
        let _ = self.0.wait();
    }
}

// --- Cables

const HERE: Ipv4Addr = Ipv4Addr::new(10, 111, 47, 1);
const THERE: Ipv4Addr = Ipv4Addr::new(10, 111, 47, 2);

/// Two network namespaces with a cable between them, which is a pair of virtual interfaces.
struct Cable {
    here: Namespace,
    there: Namespace,
    server: Process,
}

impl Cable {
    fn lay() -> Option<Cable> {
        let [here, there] = [(); 2].map(|()| Namespace::new());
        let cable = Cable { here: here?, there: there?, server: Process::default() };
        let end = cable.there.0.id();
        let is_laid = cable.here.shell(&format!("ip link add cable type veth peer name cable netns {end}"))
            && cable.here.shell(&format!("ip addr add {HERE}/24 dev cable && ip link set cable up"))
            && cable.there.shell(&format!("ip addr add {THERE}/24 dev cable && ip link set cable up"));
        is_laid.then_some(cable)
    }

    /// Starts a server at the far end: its URL.
    fn serve(&mut self, which: Which, folder: &Folder) -> String {
        let launcher = self.there.launcher();
        let (mut command, scheme) = match which {
            Which::Redis => {
                let mut command = launched(&launcher, &redis_server::program());
                command.args(["--port", "4222", "--bind", &THERE.to_string(), "--protected-mode", "no", "--save", ""]);
                command.arg("--dir").arg(&folder.0);
                (command, "redis")
            }
            Which::Nats => {
                let mut command = launched(&launcher, &nats_server::program());
                command.args(["-js", "-a", &THERE.to_string(), "-p", "4222", "-sd"]).arg(&folder.0);
                (command, "nats")
            }
        };
        self.server.run(&mut command, &folder.0);
        format!("{scheme}://{THERE}:4222")
    }

    /// Pulls it at one end, for so long.
    fn pull(hosts: &mut Hosts<Cable>, far: bool, duration: Duration) {
        let end = if far { &hosts.server.there } else { &hosts.server.here };
        assert!(end.shell("ip link set cable down"));
        hosts.work(duration);
        let end = if far { &hosts.server.there } else { &hosts.server.here };
        assert!(end.shell("ip link set cable up"));
    }
}

fn over_a_cable(which: Which, name: &str, kind: Kind, fault: impl FnMut(&mut Hosts<Cable>, u32)) {
    if !which.is_installed() {
        return;
    }
    let Some(mut cable) = Cable::lay() else {
        println!("skipped: no network namespaces, or no virtual interfaces, or no iproute2");
        return;
    };
    let name = format!("{which:?} cable {name}");
    let begin = || {
        let folder = Folder::new(&name.replace(' ', "-"));
        let url = cable.serve(which, &folder);
        let launcher = cable.here.launcher();
        Hosts::start(folder, cable, &url, Kind { launcher, timeout: "1s", ..kind })
    };
    storm(&name, begin, fault);
}

fn cables_are_pulled(which: Which) {
    over_a_cable(which, "pulled", Kind::default(), |hosts, number| {
        hosts.pause(200);
        let duration = Duration::from_millis(hosts.random.below(500));
        Cable::pull(hosts, number % 2 == 0, duration);
        hosts.until_progress();
    });
    // So long that rings are overrun, and longer than the bridges wait for an answer.
    let kind = Kind { out: 256, options: "pack = 20", variant: Variant::Str, allowed: &["overrun"], ..Kind::default() };
    over_a_cable(which, "overrun", kind, |hosts, number| {
        let duration = Duration::from_millis(1200 + hosts.random.below(1500));
        Cable::pull(hosts, number % 2 == 0, duration);
        hosts.until_progress();
    });
}

#[test]
fn cables_are_pulled_from_redis() {
    cables_are_pulled(Which::Redis);
}

#[test]
fn cables_are_pulled_from_nats() {
    if seconds() > Duration::from_secs(1) {
        cables_are_pulled(Which::Nats);
    }
}

// --- Another language

/// What the reader in Python prints of the stream from its start to its end, by origin without its random part.
fn seen_by_python(python: &str, redis: &RedisServer) -> std::collections::BTreeMap<String, Vec<Value>> {
    let program = concat!(env!("CARGO_MANIFEST_DIR"), "/../eg/bridge-consumer.py");
    let mut command = Command::new(python);
    command.args(["-B", program, "--stream", "s", "--from", "start", "--stop", "--server"]).arg(redis.socket());
    let output = command.output().expect("python");
    assert!(output.status.success(), "{}", all_of(&output));
    let mut seen = std::collections::BTreeMap::<String, Vec<Value>>::new();
    let mut next = std::collections::BTreeMap::<String, u64>::new();
    for line in String::from_utf8(output.stdout).expect("UTF-8").lines() {
        let mut event: Value = serde_json::from_str(line).expect("JSON");
        let event_of = event.as_object_mut().expect("an object");
        let origin = event_of
            .remove("origin")
            .and_then(|name| Some(name.as_str()?.rsplit_once('-')?.0.to_owned()))
            .expect("an origin");
        if let Some(number) = event_of.remove("number").and_then(|number| number.as_u64()) {
            let next = next.entry(origin.clone()).or_insert(number);
            assert!(number >= *next, "{origin}: {number} after {next}");
            *next = number + 1;
        }
        seen.entry(origin).or_default().push(event);
    }
    seen
}

#[test]
fn the_reader_in_python_reads_what_is_written() {
    let has_redis = |python: &&&str| {
        Command::new(python).args(["-c", "import redis"]).output().is_ok_and(|output| output.status.success())
    };
    let Some(python) = ["python3", "/usr/bin/python3"].iter().find(has_redis) else {
        println!("skipped: python3 with its module redis is not installed");
        return;
    };
    if !is_installed() {
        return;
    }
    let folder = Folder::new("python");
    let redis = RedisServer::start(&folder, &[]);
    let kinds =
        [("text", Variant::Str, 1), ("texts", Variant::Str, 20), ("one", Variant::Int, 1), ("many", Variant::Int, 20)];
    let mut text = format!("host = \"a\"\n{}", server(&redis));
    let mut expected = std::collections::BTreeMap::<String, Vec<Value>>::new();
    let mut rings = Vec::new();
    for (name, variant, pack) in kinds {
        text.push_str(&format!(
            "[bridge.{name}]\nstream = \"s\"\nout = \"@/{name}\"\nvariant = \"{variant:?}\"\npack = {pack}\n"
        ));
        rings.push((
            folder.ring(name, variant, 64).open().expect("a ring").ring,
            variant,
            expected.entry(format!("a/{name}")).or_default().len(),
            name,
        ));
    }
    let program = run(&folder, &text);
    program.until_connected(4);
    let sent = |count: u64| {
        wait_for("all is sent", || {
            let report = program.report();
            let numbers: Vec<_> = report.bridges.values().filter_map(|both| both.get("up")?.number).collect();
            (numbers.len() == 4 && numbers.iter().all(|number| *number == count)).then_some(())
        });
    };
    for (ring, variant, _, name) in &rings {
        let events = expected.get_mut(&format!("a/{name}")).expect("one");
        for (message, is_text) in
            [(&b"gr\xfcezi"[..], false), ("grüezi ☺".as_bytes(), true), (b"", false), (b"\0\n\xff", false), (b"", true)]
        {
            match variant {
                Variant::Str => {
                    if is_text {
                        // SAFETY: it points into a constant.
                        let published = unsafe { ring.publish_strs(&[Bytes { utf8: true, ..Bytes::new(message) }]) };
                        published.expect("publish");
                        events.push(json!({"text": std::str::from_utf8(message).expect("UTF-8")}));
                    } else {
                        ring.publish_str(message).expect("publish");
                        events.push(
                            json!({"bytes": message.iter().map(|byte| format!("{byte:02x}")).collect::<String>()}),
                        );
                    }
                }
                _ => {
                    let value = [0, -1, i64::MAX, i64::MIN, 7][events.len()];
                    ring.publish_int(value).expect("publish");
                    events.push(json!({"integer": value}));
                }
            }
        }
    }
    sent(5);
    // Overrun while it is stopped.
    program.signal("-STOP");
    wait_for("the bridge is stopped", || {
        std::fs::read_to_string(format!("/proc/{}/stat", program.child.id())).ok()?.contains(") T ").then_some(())
    });
    for (ring, variant, _, name) in &rings {
        let events = expected.get_mut(&format!("a/{name}")).expect("one");
        events.push(json!({"gap": 100, "reason": "overrun"}));
        for value in 0..164 {
            match variant {
                Variant::Str => ring.publish_str(format!("{value}").as_bytes()).expect("publish"),
                _ => ring.publish_int(value).expect("publish"),
            };
            if value >= 100 {
                let hex: String = format!("{value}").bytes().map(|byte| format!("{byte:02x}")).collect();
                events.push(if *variant == Variant::Str { json!({"bytes": hex}) } else { json!({"integer": value}) });
            }
        }
    }
    program.signal("-CONT");
    sent(169);
    program.end();
    assert_eq!(seen_by_python(python, &redis), expected);
    // Other programs append duplicates and malformed entries.
    redis.ask(&["XADD", "s", "*", "colour", "blue"]);
    redis.ask(&["XADD", "s", "*", "o", "a/x-0#1", "s", "1", "m", "one"]);
    redis.ask(&["XADD", "s", "*", "o", "a/x-0#1", "s", "1", "m", "one"]);
    redis.ask(&["XADD", "s", "*", "o", "a/x-0#2", "s", "4", "g", "overrun 5"]);
    let one = json!({"bytes": "6f6e65"});
    expected.insert(
        "a/x".to_owned(),
        vec![one, json!({"gap": 2, "reason": "missing"}), json!({"gap": 5, "reason": "overrun"})],
    );
    assert_eq!(seen_by_python(python, &redis), expected);
}
