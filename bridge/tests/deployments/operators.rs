//! What operators watch and change: the status, metrics, systemd, a configuration that is read again, filters and paces.

use std::os::unix::net::UnixDatagram;
use std::process::Command;

use data_pubsub_shared::{Options, Variant};

use crate::common::program::*;
use crate::common::redis_server::{RedisServer, is_installed};
use crate::common::server::{Server, Which};
use crate::common::*;

const BOTH: &str = "[bridge.a]\nout = \"@/out\"\nin = \"@/in\"\n";

/// What systemd hears.
struct Systemd {
    socket: UnixDatagram,
    path: std::path::PathBuf,
}

impl Systemd {
    fn new(folder: &Folder) -> Systemd {
        let path = folder.0.join("notify");
        let socket = UnixDatagram::bind(&path).expect("a socket");
        socket.set_read_timeout(Some(WATCHDOG)).expect("a time-out");
        Systemd { socket, path }
    }

    fn next(&self) -> String {
        let mut text = [0; 1024];
        let length = loop {
            match self.socket.recv(&mut text) {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                received => break received.expect("a notification"),
            }
        };
        String::from_utf8_lossy(&text[..length]).trim_end().to_owned()
    }

    /// How often it hears that all is well before this.
    fn until(&self, wanted: &str) -> usize {
        (0..).find(|_| self.next().lines().any(|line| line.starts_with(wanted))).expect("it comes")
    }
}

#[test]
fn systemd_is_told_how_things_are() {
    if !is_installed() {
        return;
    }
    let folder = Folder::new("systemd");
    let redis = RedisServer::start(&folder, &[]);
    let systemd = Systemd::new(&folder);
    let text = format!("{}{BOTH}", server(&redis).replace("[server]\n", "[server]\ntimeout = 6\n"));
    configure(&folder, &text);
    let program = run_as(&folder, Command::new(PROGRAM).env("NOTIFY_SOCKET", &systemd.path));
    assert_eq!(systemd.next(), "READY=1");
    systemd.until("WATCHDOG=1");
    program.until_connected(2);
    program.signal("-HUP");
    let reloading = loop {
        let text = systemd.next();
        if text != "WATCHDOG=1" {
            break text;
        }
    };
    let time = reloading.lines().find_map(|line| line.strip_prefix("MONOTONIC_USEC=")).map(str::parse::<u64>);
    assert!(reloading.starts_with("RELOADING=1\n") && time.is_some_and(|time| time.is_ok()), "{reloading}");
    systemd.until("READY=1");
    // A direction that has to end waits for a server that hangs, longer than a watchdog may have patience.
    redis.process.stop();
    Publisher::new(&folder.ring("out", Variant::Int, 1024), 1).publish(10);
    wait_for("the server is missed", || program.report().bridges["a"]["up"].error.clone());
    configure(&folder, &format!("{text}pack = 3\n"));
    program.signal("-HUP");
    systemd.until("RELOADING=1");
    let watched = systemd.until("READY=1");
    assert!(watched >= 1, "it says that it is alive while it is reading the configuration again: {watched}");
    redis.process.cont();
    let mut receiver = Receiver::new(&folder.ring("in", Variant::Int, 1024));
    wait_for("all is received", || (receiver.read() == 10).then_some(()));
    program.signal("-TERM");
    systemd.until("STOPPING=1");
}

#[test]
fn metrics_are_the_same_over_http_and_in_a_file() {
    if !is_installed() {
        return;
    }
    let folder = Folder::new("metrics");
    let redis = RedisServer::start(&folder, &[]);
    let address = format!("127.0.0.1:{}", free_port());
    let text = format!(
        "metrics = \"{address}\"\nmetrics-file = \"@/metrics.prom\"\n{}{BOTH}skip-own = true\nin-prefix = [\"x\"]\n[bridge.late]\nstream = \
         \"a\"\nin = \"@/late\"\nmsg-size = 4\n",
        server(&redis).replace("\"Int\"", "\"Str\"")
    );
    let out = folder.ring("out", Variant::Str, 64);
    let mut publisher = Publisher::new(&out, 1);
    publisher.publish(64);
    let program = run(&folder, &text);
    program.until_connected(3);
    wait_for("what does not fit is reported", || {
        let report = program.report();
        let down = report.bridges.get("late")?.get("down")?;
        (down.lost.get("rejected") == Some(&64) && down.lag_seconds == Some(0.0)).then_some(())
    });
    let body = wait_for("both say the same", || {
        let answer = get(&address, "/metrics");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        assert!(head.contains("Content-Type: text/plain; version=0.0.4"), "{head}");
        let file = std::fs::read_to_string(folder.0.join("metrics.prom")).unwrap_or_default();
        (file == body).then(|| body.to_owned())
    });
    let labels = |name: &str, direction: &str| format!("{{bridge=\"{name}\",direction=\"{direction}\"}}");
    for line in [
        format!("pubsub_bridge_forwarded_messages_total{} 64", labels("a", "up")),
        format!("pubsub_bridge_forwarded_messages_total{} 0", labels("late", "down")),
        "pubsub_bridge_lost_messages_total{bridge=\"late\",direction=\"down\",reason=\"rejected\"} 64".to_owned(),
        format!("pubsub_bridge_lag_messages{} 0", labels("a", "up")),
        format!("pubsub_bridge_lag_seconds{} 0", labels("late", "down")),
        format!("pubsub_bridge_in_flight_batches{} 0", labels("a", "up")),
        "pubsub_bridge_server_connected{server=\"server\"} 1".to_owned(),
        "pubsub_bridge_server_lost_connections_total{server=\"server\"} 0".to_owned(),
    ] {
        assert!(body.lines().any(|found| found == line), "{line} in\n{body}");
    }
    // Each family is told once, with its help, before its samples.
    let mut family = String::new();
    let mut families = std::collections::HashSet::new();
    for line in body.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            family = rest.split(' ').next().expect("a name").to_owned();
            assert!(families.insert(family.clone()), "{line}");
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let is_counter = rest == format!("{family} counter");
            assert_eq!(is_counter, family.ends_with("_total"), "{line}");
        } else {
            let (sample, value) = line.rsplit_once(' ').expect("a value");
            assert!(sample.starts_with(&format!("{family}{{")) && value.parse::<f64>().is_ok(), "{line}");
        }
    }
    let status: serde_json::Value =
        serde_json::from_str(get(&address, "/status").split_once("\r\n\r\n").expect("a head").1).expect("JSON");
    assert_eq!(status["bridges"]["a"]["up"]["forwarded"], 64);
    program.end();
}

#[test]
fn the_status_has_the_last_word() {
    if !is_installed() {
        return;
    }
    let folder = Folder::new("status");
    let redis = RedisServer::start(&folder, &[]);
    let text = format!("{}{BOTH}", server(&redis));
    configure(&folder, &text);
    let code = || ask(&folder, &["status"]).status.code();
    assert_eq!(code(), Some(1), "the status was not written");
    let program = run(&folder, &text);
    program.until_connected(2);
    wait_for("all is well", || (code() == Some(0)).then_some(()));
    let json = ask(&folder, &["status", "--json"]);
    let parsed: serde_json::Value = serde_json::from_slice(&json.stdout).expect("JSON");
    assert!(json.status.success() && parsed["bridges"]["a"]["up"]["connected"] == true, "{parsed}");
    // What a bridge is refused, and what it has no ring for.
    redis.ask(&["CONFIG", "SET", "min-replicas-to-write", "1"]);
    let mut publisher = Publisher::new(&folder.ring("out", Variant::Int, 1024), 1);
    publisher.publish(1);
    let said = wait_for("a refusal is told", || {
        let found = ask(&folder, &["status"]);
        (found.status.code() == Some(1)).then(|| all_of(&found))
    });
    assert!(said.contains("NOREPLICAS") && said.contains("see min-replicas-to-write of the server"), "{said}");
    redis.ask(&["CONFIG", "SET", "min-replicas-to-write", "0"]);
    wait_for("all is well", || (code() == Some(0)).then_some(()));
    // A process that was killed says nothing any more.
    let Program { child, .. } = &program;
    let pid = child.id().to_string();
    assert!(Command::new("kill").args(["-KILL", &pid]).status().expect("kill").success());
    wait_for("the status is not written any more", || (code() == Some(1)).then_some(()));
    std::fs::write(folder.0.join("status.json"), "{").expect("write");
    assert_eq!(code(), Some(1), "half a file");
}

#[test]
fn check_says_how_a_server_keeps_what_it_is_given() {
    if !is_installed() {
        return;
    }
    let folder = Folder::new("keeps");
    let redis = RedisServer::start(&folder, &["--appendonly", "no", "--maxmemory-policy", "allkeys-lru"]);
    let url = format!("url = \"unix://{}\"\n", redis.socket().display());
    let says = |words: &[&str]| {
        let (is_well, said) = checked(&folder, &url);
        assert!(words.iter().all(|word| said.contains(word)), "{words:?} in {said}");
        is_well
    };
    assert!(says(&["appendonly is no: ", "maxmemory-policy is allkeys-lru: "]), "advice is no problem");
    // A dump that cannot be put where it should be.
    std::fs::create_dir(redis.folder.join("dump.rdb")).expect("a directory");
    redis.ask(&["BGSAVE"]);
    wait_for("it fails", || text_of(redis.ask(&["INFO", "persistence"])).contains("bgsave_status:err").then_some(()));
    assert!(!says(&["cannot save to its disk: see its log"]));
    redis.ask(&["ACL", "SETUSER", "default", "-info"]);
    assert!(says(&["this user may not use INFO: how it saves is not known"]));
    redis.ask(&["ACL", "SETUSER", "default", "+info"]);
    redis.ask(&["REPLICAOF", "127.0.0.1", "1"]);
    assert!(!says(&["is a replica, and takes no messages; give its master, or sentinel://"]));
}

#[test]
fn bridges_come_and_go_with_the_configuration() {
    if !is_installed() {
        return;
    }
    let folder = Folder::new("come-and-go");
    let redis = RedisServer::start(&folder, &[]);
    let base = format!("metrics-file = \"@/one.prom\"\n{}[bridge.a]\nout = \"@/out\"\nin = \"@/in\"\n", server(&redis));
    let other = "[bridge.b]\nstream = \"a\"\nout = \"@/other\"\n";
    let rings = ["out", "other"].map(|name| folder.ring(name, Variant::Int, 4096));
    let mut publishers = [Publisher::new(&rings[0], 1), Publisher::new(&rings[1], 2)];
    let mut receiver = Receiver::new(&folder.ring("in", Variant::Int, 1 << 16));
    let program = run(&folder, &format!("{base}{other}"));
    program.until_connected(3);
    for round in 0..4 {
        publishers.iter_mut().for_each(|publisher| publisher.publish(100));
        // The bridge is removed, but not its ring: messages that are published meanwhile are sent when it is added again.
        let others = if round % 2 == 0 { "" } else { "[bridge.c]\nstream = \"c\"\nin = \"@/c\"\n" };
        configure(&folder, &format!("{base}{others}"));
        program.signal("-HUP");
        wait_for("it is gone", || (!program.report().bridges.contains_key("b")).then_some(()));
        publishers.iter_mut().for_each(|publisher| publisher.publish(100));
        let base = base.replace("one.prom", "two.prom");
        configure(&folder, &format!("{base}{other}"));
        program.signal("-HUP");
        wait_for("it is back", || {
            let report = program.report();
            let up = report.bridges.get("b")?.get("up")?;
            (up.connected && !report.bridges.contains_key("c")).then_some(())
        });
    }
    let published: u64 = publishers.iter().map(|publisher| publisher.published).sum();
    wait_for("all is received", || (receiver.read() as u64 == published).then_some(()));
    assert_eq!(receiver.by_ring(), [(1, 800), (2, 800)].into());
    assert!(program.report().bridges.values().flat_map(|both| both.values()).all(|status| status.lost.is_empty()));
    assert!(folder.0.join("two.prom").exists(), "the periodic files are changed, too");
    program.end();
}

fn filters_paces_and_several_streams(which: Which) {
    if !which.is_installed() {
        return;
    }
    let folder = Folder::new(&format!("ways-{which:?}"));
    let server = Server::start(which, &folder);
    let text = format!(
        "host = \"here\"\n[server]\nurl = \"{}\"\n[defaults]\nvariant = \"Str\"\nmsg-size = 64\ncapacity = 4096\nfrom = \"start\"\n\
         [bridge.red]\nout = \"@/red\"\nout-prefix = [\"red\", \"dark red\"]\n[bridge.blue]\nout = \"@/blue\"\n\
         [bridge.all]\nstreams = [\"red\", \"blue\"]\nin = \"@/all\"\nlossless = true\npace = 2000\ncapacity = 16\nvariant = \"Str\"\n\
         [bridge.some]\nstreams = [\"blue\", \"red\"]\nin = \"@/some\"\nin-prefix = [\"blue 1\", \"red 2\"]\n\
         [bridge.slow]\nout = \"@/out\"\nin = \"@/slow\"\nvariant = \"Int\"\npace = 100\n[bridge.others]\nstream = \"red\"\nin = \"@/others\"\nskip-own = true\n",
        server.url()
    );
    let ring = |name: &str| Options::default().open(Variant::Str, &folder.0.join(name)).expect("a ring");
    let program = run(&folder, &text);
    program.until_connected(7);
    let (red, blue) = (ring("red"), ring("blue"));
    let (mut all, mut some) = (ring("all").subscribe(true), ring("some").subscribe(true));
    let mut took = Vec::new();
    for number in 0..300 {
        for text in [format!("red {number}"), format!("dark red {number}"), format!("green {number}")] {
            red.publish_str(text.as_bytes()).expect("publish");
        }
        blue.publish_str(format!("blue {number}").as_bytes()).expect("publish");
        // This reader is slow: what does not fit into its ring waits in the stream.
        took.extend(all.poll_str().expect("strings").map(|(bytes, _)| String::from_utf8(bytes).expect("text")));
    }
    wait_for("all are received", || {
        took.extend(all.poll_str().expect("strings").map(|(bytes, _)| String::from_utf8(bytes).expect("text")));
        (took.len() == 900).then_some(())
    });
    assert_eq!(all.overflow_count(), 0, "a lossless ring waits for its readers");
    for (name, colour) in [("red", "red "), ("dark red", "dark red "), ("blue", "blue ")] {
        let of: Vec<&String> = took.iter().filter(|text| text.starts_with(colour)).collect();
        let wanted: Vec<String> = (0..300).map(|number| format!("{name} {number}")).collect();
        assert!(of.into_iter().eq(wanted.iter()), "{name}: each once, in order");
    }
    let mut found = Vec::new();
    let wanted = (0..300).filter(|number| number.to_string().starts_with('1')).count()
        + (0..300).filter(|number| number.to_string().starts_with('2')).count();
    wait_for("what begins so is received", || {
        found.extend(some.poll_str().expect("strings").map(|(bytes, _)| String::from_utf8(bytes).expect("text")));
        (found.len() == wanted).then_some(())
    });
    assert!(found.iter().all(|text| text.starts_with("blue 1") || text.starts_with("red 2")), "{found:?}");
    // More than the pace lets through in seconds, all at once, and then one by one, so that the newest is younger.
    let mut out = Publisher::new(&folder.ring("out", Variant::Int, 4096), 1);
    out.publish(1000);
    let forwarded = wait_for("how far it is behind is told in seconds", || {
        out.publish(1);
        let report = program.report();
        let slow = &report.bridges["slow"]["down"];
        (slow.lag_seconds? > 0.5).then_some(slow.forwarded)
    });
    assert!(forwarded < 500, "it is told while a batch is on its way into the ring, not behind all {forwarded}");
    wait_for("it says what was left out", || {
        let report = program.report();
        let status = |name: &str, direction: &str| report.bridges[name][direction].filtered;
        (status("red", "up") == 300 && status("some", "down") == 900 - wanted as u64).then_some(())
    });
    let report = program.report();
    assert_eq!(report.bridges["others"]["down"].forwarded, 0, "its own host has sent all");
    assert!(report.bridges.values().flat_map(|both| both.values()).all(|status| status.lost.is_empty()));
    program.end();
}

#[test]
fn filters_paces_and_several_streams_of_redis() {
    filters_paces_and_several_streams(Which::Redis);
}

#[test]
fn filters_paces_and_several_streams_of_nats() {
    filters_paces_and_several_streams(Which::Nats);
}
