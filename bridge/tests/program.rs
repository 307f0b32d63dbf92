//! The program as operators meet it: what it says about servers that do not work, what `check` and `status` find, how it takes a changed
//! configuration, and that one bad ring keeps no other bridge from working.

mod common;

use std::process::Command;
use std::time::Duration;

use common::program::*;
use common::redis_server::{RedisServer, is_installed};
use common::*;
use data_pubsub_shared::Variant;

#[test]
fn servers_that_do_not_work_are_told_apart() {
    if !is_installed() {
        return;
    }
    let folder = Folder::new("causes");
    let port = free_port();
    let redis = RedisServer::start(&folder, &["--port", &port.to_string(), "--requirepass", "right"]);
    std::fs::write(folder.0.join("password"), "wrong\n").expect("write");
    std::fs::set_permissions(folder.0.join("password"), std::os::unix::fs::PermissionsExt::from_mode(0o600))
        .expect("chmod");
    let closed = free_port();
    let socket = redis.socket().display().to_string();
    let bridge = format!("{RINGS}[bridge.a]\nout = \"@/a\"\n");
    for (server, why) in [
        (format!("url = \"redis://127.0.0.1:{closed}\""), "Connection refused; no server listens there"),
        ("url = \"redis://no-such-host.invalid\"".to_owned(), "cannot find the address of 'no-such-host.invalid'"),
        (format!("url = \"unix://{socket}.not\""), "no server at socket"),
        (format!("url = \"redis://127.0.0.1:{port}\""), "give username and password-file"),
        (format!("url = \"unix://{socket}\"\npassword-file = \"@/password\""), "see username and password-file"),
        (format!("url = \"rediss://127.0.0.1:{port}\""), "cannot begin TLS"),
    ] {
        configure(&folder, &format!("[server]\ntimeout = 2\n{server}\n{bridge}"));
        let found = ask(&folder, &["check"]);
        assert!(!found.status.success() && all_of(&found).contains(why), "{server}: {}", all_of(&found));
    }
}

#[test]
fn one_bad_ring_keeps_no_other_bridge_from_working() {
    if !is_installed() {
        return;
    }
    let folder = Folder::new("bad-ring");
    let redis = RedisServer::start(&folder, &[]);
    std::fs::write(folder.0.join("bad"), "no ring").expect("write");
    redis.ask(&["SET", "wrong", "a string"]);
    let text = format!(
        "{}[bridge.good]\nout = \"@/out\"\nin = \"@/in\"\n[bridge.bad]\nout = \"@/bad\"\n[bridge.wrong]\nout = \"@/o3\"\nin = \"@/i3\"\n",
        server(&redis)
    );
    configure(&folder, &text);
    let found = all_of(&ask(&folder, &["check"]));
    assert!(found.contains("key 'wrong' exists but is not a stream") && found.contains("bad up: "), "{found}");
    let mut publisher = Publisher::new(&folder.ring("out", Variant::Int, 1024), 1);
    let mut receiver = Receiver::new(&folder.ring("in", Variant::Int, 1024));
    let program = run(&folder, &text);
    publisher.publish(10);
    wait_for("the good one works", || (receiver.read() == 10).then_some(()));
    program.until_said("key 'wrong' exists but is not a stream");
    wait_for("the status says it", || {
        let report = program.report();
        let bad = report.bridges.get("bad")?.get("up")?;
        (!bad.running && bad.error.is_some()).then_some(())
    });
    let found = ask(&folder, &["status"]);
    assert!(!found.status.success(), "something is wrong: {}", all_of(&found));
    // Put right, it works without a restart.
    std::fs::remove_file(folder.0.join("bad")).expect("remove");
    redis.ask(&["DEL", "wrong"]);
    program.until_connected(4);
    wait_for("all is well", || ask(&folder, &["status"]).status.success().then_some(()));
    program.end();
    assert!(!ask(&folder, &["status"]).status.success(), "it is stopped");
}

#[test]
fn a_changed_configuration_is_taken_without_loss() {
    if !is_installed() {
        return;
    }
    let folder = Folder::new("reload");
    let redis = RedisServer::start(&folder, &[]);
    let first = format!("{}[bridge.a]\nout = \"@/a.out\"\nin = \"@/a.in\"\n", server(&redis));
    let mut publishers = vec![Publisher::new(&folder.ring("a.out", Variant::Int, 4096), 1)];
    let mut receiver = Receiver::new(&folder.ring("a.in", Variant::Int, 1 << 16));
    let program = run(&folder, &first);
    program.until_connected(2);
    let mut texts = Vec::new();
    for round in 0..6 {
        let pack = round % 3 + 1;
        texts.push(format!("{first}pack = {pack}\n[bridge.b]\nstream = \"a\"\nout = \"@/b.out\"\n"));
        publishers.iter_mut().for_each(|publisher| publisher.publish(100));
        configure(&folder, texts.last().expect("one"));
        program.signal("-HUP");
        publishers.iter_mut().for_each(|publisher| publisher.publish(100));
        program.until_connected(3);
        if publishers.len() == 1 {
            publishers.push(Publisher::new(&folder.ring("b.out", Variant::Int, 4096), 2));
        }
    }
    configure(&folder, "nonsense");
    program.signal("-HUP");
    program.until_said("the configuration stays as it was");
    publishers.iter_mut().for_each(|publisher| publisher.publish(100));
    let published: u64 = publishers.iter().map(|publisher| publisher.published).sum();
    wait_for("all is received", || (receiver.read() as u64 == published).then_some(()));
    let by_ring: Vec<u64> = receiver.by_ring().into_values().collect();
    assert_eq!(by_ring, publishers.iter().map(|publisher| publisher.published).collect::<Vec<_>>());
    program.end();
}

#[test]
fn a_server_that_was_full_is_trimmed_and_goes_on() {
    if !is_installed() {
        return;
    }
    let folder = Folder::new("full");
    let redis = RedisServer::start(&folder, &["--maxmemory-policy", "noeviction"]);
    let text =
        format!("{}[bridge.a]\nout = \"@/out\"\nin = \"@/in\"\npack = 10\nkeep-messages = 2000\n", server(&redis));
    let mut publisher = Publisher::new(&folder.ring("out", Variant::Int, 4096), 1);
    let mut receiver = Receiver::new(&folder.ring("in", Variant::Int, 1 << 16));
    let program = run(&folder, &text);
    program.until_connected(2);
    // Another client fills it.
    let filler = "x".repeat(1 << 20);
    redis.ask(&["SET", "filler", &filler]);
    redis.ask(&["CONFIG", "SET", "maxmemory", "2000000"]);
    for _ in 0..20 {
        publisher.publish(100);
        std::thread::sleep(Duration::from_millis(5));
    }
    redis.ask(&["DEL", "filler"]);
    wait_for("all is received", || (receiver.read() as u64 == publisher.published).then_some(()));
    for _ in 0..60 {
        publisher.publish(1000);
        let published = publisher.published;
        wait_for("all is received", || (receiver.read() as u64 == published).then_some(()));
    }
    assert!(program.report().bridges["a"]["down"].lost.is_empty());
    program.end();
}

#[test]
fn the_status_says_within_seconds_that_a_server_is_dead() {
    if !is_installed() {
        return;
    }
    let folder = Folder::new("dead");
    let mut redis = RedisServer::start(&folder, &[]);
    let metrics = format!("127.0.0.1:{}", free_port());
    let text = format!("metrics = \"{metrics}\"\n{}[bridge.a]\nout = \"@/out\"\nin = \"@/in\"\n", server(&redis));
    let program = run(&folder, &text);
    program.until_connected(2);
    assert!(get(&metrics, "/metrics").contains("pubsub_bridge_connected{bridge=\"a\",direction=\"up\"} 1"));
    redis.process.stop();
    let is_said = |text: &str| {
        let report = program.report();
        let status = report.bridges.get("a").and_then(|both| both.get("up"));
        status.is_some_and(|status| !status.connected && status.error.as_deref().unwrap_or_default().contains(text))
    };
    wait_for("a stopped server is noticed", || is_said("no answer from").then_some(()));
    redis.process.cont();
    program.until_connected(2);
    redis.process.kill();
    wait_for("a dead server is noticed", || is_said("").then_some(()));
    Publisher::new(&folder.ring("out", Variant::Int, 1024), 1).publish(5);
    wait_for("metrics, too", || {
        get(&metrics, "/metrics").contains("pubsub_bridge_server_connected{server=\"server\"} 0").then_some(())
    });
    assert!(get(&metrics, "/else").contains("404 Not Found"));
    let log = program.end();
    assert!(log.contains("5 messages stay in the ring"), "{log}");
}

#[test]
fn the_command_line_explains_itself() {
    let output = |arguments: &[&str]| Command::new(PROGRAM).args(arguments).output().expect("the program");
    for (arguments, text) in [(&["--help"][..], "Usage: pubsub-bridge"), (&["completion", "bash"], "complete -F")] {
        let found = output(arguments);
        assert!(found.status.success() && all_of(&found).contains(text), "{arguments:?}: {}", all_of(&found));
    }
    let folder = Folder::new("pages");
    assert!(output(&["man", &folder.0.display().to_string()]).status.success());
    let page = std::fs::read_to_string(folder.0.join("pubsub-bridge-run.1")).expect("a page");
    assert!(page.contains(".TH pubsub-bridge-run 1") && page.contains("HUP reads the file again"), "{page}");
    let found = output(&["man", "/no/such/folder"]);
    assert_eq!(
        (found.status.code(), all_of(&found).trim()),
        (Some(1), "pubsub-bridge: /no/such/folder: No such file or directory")
    );
    for arguments in [&[][..], &["fly"], &["run"], &["run", "a", "b"], &["man"]] {
        assert_eq!(output(arguments).status.code(), Some(2), "{arguments:?}");
    }
    let found = output(&["run", "/no/such/file"]);
    assert_eq!(
        (found.status.code(), all_of(&found).trim()),
        (Some(1), "pubsub-bridge: /no/such/file: No such file or directory")
    );
}
