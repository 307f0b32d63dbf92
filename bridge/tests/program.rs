//! The program as operators meet it: what it says about servers that do not work, what `check` and `status` find, how it takes a
//! changed configuration, and that one bad ring keeps no other bridge from working.

mod common;

use std::process::Command;
use std::time::Duration;

use common::program::*;
use common::redis_server::{RedisServer, is_installed};
use common::*;
use data_pubsub_shared::Variant;
use pubsub_bridge::report::Report;

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

// --- Files

const NO_SERVER: &str = "[server]\nurl = \"unix:///no/server\"\n";

#[test]
fn files_without_end_are_refused() {
    let folder = Folder::new("endless");
    let says = |arguments: &[&str]| {
        let found = Command::new(PROGRAM).args(arguments).output().expect("the program");
        (found.status.code(), all_of(&found))
    };
    let refused = |about: &str| (Some(1), format!("pubsub-bridge: {about}: is larger than 16 MiB, the limit\n"));
    std::os::unix::fs::symlink("/dev/zero", folder.0.join("zero.json")).expect("a link");
    let status = folder.0.join("zero.json").display().to_string();
    for arguments in [&["run", "/dev/zero"][..], &["check", "/dev/zero"], &["status", "/dev/zero"]] {
        assert_eq!(says(arguments), refused("/dev/zero"), "{arguments:?}");
    }
    assert_eq!(says(&["status", &status]), refused(&status));
    let huge = folder.0.join("huge").display().to_string();
    secret(&folder.0.join("huge"), "");
    std::fs::File::options().write(true).open(&huge).and_then(|file| file.set_len(1 << 40)).expect("a hole");
    for (key, url, path) in [
        ("password-file", "redis://db", huge.as_str()),
        ("token-file", "nats://db", &huge),
        ("ca-file", "rediss://db", "/dev/zero"),
        ("ca-file", "tls://db", "/dev/zero"),
    ] {
        let path_of = configure(
            &folder,
            &format!("[server]\nurl = \"{url}\"\n{key} = \"{path}\"\n{RINGS}[bridge.a]\nin = \"@/in\"\n"),
        );
        let about = format!("{}: server 'server': {key} {path}", path_of.display());
        assert_eq!(says(&["check", &path_of.display().to_string()]), refused(&about));
    }
}

#[test]
fn a_configuration_that_does_not_come_changes_nothing() {
    let folder = Folder::new("silent-pipe");
    let program = run(&folder, &format!("{NO_SERVER}{RINGS}[bridge.a]\nout = \"@/out\"\n"));
    let time = wait_for("it runs", || Some(program.report().time).filter(|time| *time > 0.0));
    let path = folder.0.join("bridge.toml");
    std::fs::remove_file(&path).expect("remove");
    assert!(Command::new("mkfifo").arg(&path).status().expect("mkfifo").success());
    program.signal("-HUP");
    program.until_said("stays as it was: ");
    assert!(program.log().contains("bridge.toml: nothing came within "), "{}", program.log());
    wait_for("it goes on", || (program.report().time > time + 2.0).then_some(()));
    program.end();
}

#[test]
fn what_cannot_be_written_is_said_once_and_found_before() {
    let folder = Folder::new("unwritten");
    let metrics = format!("127.0.0.1:{}", free_port());
    let path = folder.0.join("bridge.toml");
    let (own, socket) = (folder.0.display().to_string(), folder.0.join("socket"));
    let bridge = "[bridge.a]\nout = \"@/out\"\n";
    let text = format!(
        "status = \"@/later/status.json\"\nmetrics = \"{metrics}\"\nmetrics-file = \"@/socket\"\n{NO_SERVER}{RINGS}{bridge}"
    );
    std::fs::write(&path, format!("state = \"{own}/state\"\n{text}").replace('@', &own)).expect("write");
    let listener = std::os::unix::net::UnixListener::bind(&socket).expect("a socket");
    let found = all_of(&ask(&folder, &["check", "--offline"]));
    for line in [
        format!("pubsub-bridge: status {own}/later/status.json: no directory {own}/later"),
        format!("pubsub-bridge: metrics-file {own}/socket: is not a regular file"),
    ] {
        assert!(found.lines().any(|said| said == line), "{line}\nnot in\n{found}");
    }
    let program = run_as(&folder, &mut Command::new(PROGRAM));
    let warnings = [
        format!("status {own}/later/status.json: No such file or directory; trying again\n"),
        format!("metrics-file {own}/socket: is not a regular file; trying again\n"),
    ];
    let seconds = |count: f64| {
        let time = || {
            let report = get(&metrics, "/status");
            let report: Report = serde_json::from_str(report.split_once("\r\n\r\n")?.1).ok()?;
            Some(report.time)
        };
        let begun = wait_for("it runs", time);
        wait_for("some seconds pass", || (time()? > begun + count).then_some(()));
    };
    warnings.iter().for_each(|warning| program.until_said(warning));
    seconds(2.5);
    let said = |warning: &String| program.log().matches(warning.as_str()).count();
    assert_eq!(warnings.each_ref().map(said), [1, 1], "once: {}", program.log());
    // After a repair both are written, and later problems are reported again.
    drop(listener);
    std::fs::remove_file(&socket).expect("remove");
    std::fs::create_dir(folder.0.join("later")).expect("a directory");
    let status = folder.0.join("later/status.json");
    wait_for("both are written", || (socket.is_file() && status.is_file()).then_some(()));
    std::fs::remove_dir_all(folder.0.join("later")).expect("remove");
    wait_for("it is said again", || (said(&warnings[0]) == 2).then_some(()));
    assert_eq!(said(&warnings[1]), 1);
    program.signal("-KILL");
}

#[test]
fn a_ring_that_cannot_be_made_is_told_alike_by_all() {
    let folder = Folder::new("impossible");
    let own = folder.0.display();
    let with =
        |lines: &str| configure(&folder, &format!("{NO_SERVER}[bridge.a]\nin = \"@/in\"\nvariant = \"Str\"\n{lines}"));
    // What can be of no ring is refused with the configuration.
    let path = with("capacity = \"3G\"\n").display().to_string();
    let why = format!(
        "pubsub-bridge: {path}: [bridge.a]: {own}/in: capacity must be an integer from 1 to 2147483648, not 3221225472\n"
    );
    for arguments in [&["check"][..], &["run"], &["status"]] {
        let found = ask(&folder, arguments);
        assert_eq!((found.status.code(), all_of(&found)), (Some(1), why.clone()), "{arguments:?}");
    }
    // What there is no room for, with the ring.
    with("capacity = \"2G\"\nmsg-size = \"1G\"\n");
    let found = all_of(&ask(&folder, &["check", "--offline"]));
    let needs = format!("{own}/in: the ring needs ");
    let why = found.lines().find_map(|line| line.strip_prefix("pubsub-bridge: a down: ")).unwrap_or_default();
    assert!(why.starts_with(&needs) && why.ends_with(" are free: No space left on device"), "{found}");
    let program = run_as(&folder, &mut Command::new(PROGRAM));
    let error = wait_for("it says why", || program.report().bridges.get("a")?.get("down")?.error.clone());
    let needed = |text: &str| text.split(", and ").next().map(str::to_owned);
    assert_eq!((needed(&error), error.ends_with(" are free: No space left on device")), (needed(why), true));
    program.end();
    assert!(!folder.0.join("in").exists());
}

/// If a user has no write permission, `check` reports it when that user runs it.
#[test]
fn what_may_not_be_made_is_found_before() {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::process::CommandExt;
    let folder = Folder::new("permissions");
    let own = folder.0.display();
    configure(&folder, &format!("{NO_SERVER}{RINGS}[bridge.a]\nout = \"@/out\"\n"));
    std::fs::set_permissions(&folder.0, PermissionsExt::from_mode(0o555)).expect("chmod");
    // Root may write everywhere.
    let is_root = std::fs::metadata("/proc/self").is_ok_and(|meta| std::os::unix::fs::MetadataExt::uid(&meta) == 0);
    let mut command = Command::new(PROGRAM);
    command.args(["check", "--offline"]).arg(folder.0.join("bridge.toml"));
    if is_root {
        command.uid(65_534).gid(65_534);
    }
    match command.output() {
        Ok(found) => {
            let said = all_of(&found);
            for line in [
                format!("a up: {own}/out: directory {own}: Permission denied"),
                format!("a up: state {own}/state/a.up: directory {own}: Permission denied"),
                format!("status {own}/status.json: directory {own}: Permission denied"),
            ] {
                assert!(said.lines().any(|found| found == format!("pubsub-bridge: {line}")), "{line}\nnot in\n{said}");
            }
        }
        Err(error) => println!("skipped: another user cannot run the program: {error}"),
    }
    std::fs::set_permissions(&folder.0, PermissionsExt::from_mode(0o755)).expect("chmod");
}

#[test]
fn a_state_of_another_version_is_found_before() {
    let folder = Folder::new("versions");
    let own = folder.0.display();
    configure(&folder, &format!("{NO_SERVER}{RINGS}[bridge.a]\nout = \"@/out\"\nin = \"@/in\"\n"));
    std::fs::create_dir(folder.0.join("state")).expect("a directory");
    std::fs::write(folder.0.join("state/a.up"), "pubsub-bridge state 2\nsomething\n").expect("write");
    std::fs::write(folder.0.join("state/a.down"), "pubsub-br").expect("write");
    let found = all_of(&ask(&folder, &["check", "--offline"]));
    let why = format!("{own}/state/a.up: not a state file of this pubsub-bridge");
    let said: Vec<_> = found.lines().filter_map(|line| line.strip_prefix("pubsub-bridge: ")).collect();
    assert_eq!(said, [format!("a up: state {why}")], "one that is torn is none: {found}");
    let program = run_as(&folder, &mut Command::new(PROGRAM));
    let error = |direction: &str| program.report().bridges.get("a")?.get(direction)?.error.clone();
    wait_for("it says why", || (error("up")? == why).then_some(()));
    wait_for("the other one runs", || program.report().bridges["a"]["down"].running.then_some(()));
    let kept = std::fs::read_to_string(folder.0.join("state/a.up")).expect("read");
    assert_eq!(kept, "pubsub-bridge state 2\nsomething\n", "nothing is lost");
    program.end();
}

/// Neither what a server says nor a name makes a second line, or moves a terminal's cursor.
#[test]
fn what_others_say_stays_in_its_line() {
    use std::io::{Read, Write};
    let folder = Folder::new("nonsense");
    for (number, answer) in
        ["*1\r\n*x\r\n", "-ERR \u{1b}[2J\u{7}none\r\n", "HTTP/1.1 400 Bad Request\r\n\r\n"].into_iter().enumerate()
    {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { return };
                let _ = stream.read(&mut [0; 1024]);
                let _ = stream.write_all(answer.repeat(8).as_bytes());
            }
        });
        let bridge = "[bridge.\"a\\u001b[1mb\\nc\"]\nstream = \"s\"\nout = \"@/out\"\n";
        configure(&folder, &format!("[server]\ntimeout = 2\nurl = \"redis://127.0.0.1:{port}\"\n{RINGS}{bridge}"));
        let found = ask(&folder, &["check"]);
        let said = all_of(&found);
        let is_plain = |text: &str| !text.chars().any(|c| c.is_control() && c != '\n');
        assert_eq!(
            (found.status.code(), said.lines().count(), is_plain(&said)),
            (Some(1), 2, true),
            "{answer:?}: {said:?}"
        );
        if number == 0 {
            let program = run_as(&folder, &mut Command::new(PROGRAM));
            program.until_said("gave no Redis answer");
            program.signal("-USR1");
            program.until_said("[1mb c: not connected");
            wait_for("a status", || folder.0.join("status.json").exists().then_some(()));
            let (log, status) = (program.end(), all_of(&ask(&folder, &["status"])));
            assert!(is_plain(&log) && log.lines().all(|line| line.starts_with("pubsub-bridge")), "{log:?}");
            assert!(is_plain(&status) && status.lines().count() == 1, "{status:?}");
        }
    }
}

// --- Descriptors

/// Descriptors that the program has open.
fn descriptors(program: &Program) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", program.child.id())).expect("its descriptors").count()
}

#[test]
fn many_rings_and_idle_clients_find_descriptors() {
    if !is_installed() {
        return;
    }
    let folder = Folder::new("descriptors");
    let redis = RedisServer::start(&folder, &[]);
    let metrics = format!("127.0.0.1:{}", free_port());
    let mut text = format!("metrics = \"{metrics}\"\n{}", server(&redis));
    for number in 0..20 {
        text.push_str(&format!("[bridge.b{number}]\nout = \"@/o{number}\"\nin = \"@/i{number}\"\n"));
    }
    configure(&folder, &text);
    // The usual limit of a shell, for fewer rings.
    let mut shell = Command::new("sh");
    let program = run_as(&folder, shell.args(["-c", "ulimit -Sn 64; exec \"$@\"", "sh", PROGRAM]));
    program.until_connected(40);
    let before = descriptors(&program);
    assert!(before > 64, "{before}");
    // Clients that connect and say nothing.
    let clients: Vec<_> = (0..100).map(|_| std::net::TcpStream::connect(&metrics).expect("connect")).collect();
    let time = program.report().time;
    wait_for("they were all met", || (program.report().time > time + 1.5).then_some(()));
    let now = descriptors(&program);
    assert!(now <= before + 20, "{before}, and {now} with idle clients");
    drop(clients);
    wait_for("metrics are served", || get(&metrics, "/metrics").contains("pubsub_bridge_running").then_some(()));
    program.end();
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
