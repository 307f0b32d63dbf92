//! What befalls hosts and servers: copies that are restored, clones, full disks, clocks that are set back, thousands of origins, hundreds
//! of rings.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use data_pubsub_shared::Variant;
use futures_util::StreamExt;
use pubsub_bridge::backend::server::Server as AnyServer;
use pubsub_bridge::backend::{Backend, Claim};
use pubsub_bridge::report::Report;

use crate::common::program::*;
use crate::common::server::{Server, Which};
use crate::common::*;

/// Each over both servers.
macro_rules! over_both {
    ($($test:ident)*) => {
        mod redis {
            $(#[test]
            fn $test() {
                super::$test(super::Which::Redis);
            })*
        }
        mod nats {
            $(#[test]
            fn $test() {
                super::$test(super::Which::Nats);
            })*
        }
    };
}

over_both! {
    a_restored_server_gives_places_again
    a_cloned_host_is_another_origin
    a_full_disk_of_the_state_loses_nothing
    a_full_disk_of_the_server_loses_nothing
    clocks_are_set_back
    thousands_of_origins
    hundreds_of_rings
}

fn config(server: &Server, more: &str) -> String {
    format!("[server]\nurl = \"{}\"\n{RINGS}{more}", server.url())
}

fn a_restored_server_gives_places_again(which: Which) {
    if !which.is_installed() {
        return;
    }
    let folder = Folder::new(&format!("places-{which:?}"));
    let mut server = Server::start(which, &folder);
    // Each message is at a place of its own.
    let text = config(
        &server,
        "[bridge.a]\nout = \"@/out\"\npack = 1\nbatch = 1\n[bridge.b]\nstream = \"a\"\nin = \"@/in\"\n",
    );
    let (out, inner) = (folder.ring("out", Variant::Int, 4096), folder.ring("in", Variant::Int, 4096));
    let (mut publisher, mut receiver) = (Publisher::new(&out, 1), Receiver::new(&inner));
    let program = run(&folder, &text);
    program.until_connected(2);
    publisher.publish(50);
    wait_for("the first are received", || (receiver.read() == 50).then_some(()));
    server.back_up("copy");
    publisher.publish(50);
    wait_for("the next are received", || (receiver.read() == 100).then_some(()));
    // The reader is away while the server goes on from the copy, farther than it was before.
    let without_reader = text.replace("[bridge.b]\nstream = \"a\"\nin = \"@/in\"\n", "");
    configure(&folder, &without_reader);
    program.signal("-HUP");
    wait_for("it is away", || (!program.report().bridges.contains_key("b")).then_some(()));
    server.restore("copy");
    publisher.publish(200);
    wait_for("all are sent", || (program.report().bridges["a"]["up"].number == Some(300)).then_some(()));
    configure(&folder, &text);
    program.signal("-HUP");
    wait_for("all are received", || (receiver.read() == 300).then_some(()));
    assert_eq!(receiver.by_ring(), [(1, 300)].into());
    let lost = wait_for("its status", || Some(program.report().bridges.get("b")?.get("down")?.lost.clone()));
    assert_eq!(lost, [].into());
    program.end();
}

fn a_cloned_host_is_another_origin(which: Which) {
    if !which.is_installed() {
        return;
    }
    let folder = Folder::new(&format!("clone-{which:?}"));
    let server = Server::start(which, &folder);
    let hosts = ["one", "two"].map(|name| {
        let own = Folder(folder.0.join(name));
        std::fs::create_dir(&own.0).expect("a directory");
        own
    });
    let text = config(&server, "[bridge.a]\nout = \"@/out\"\nin = \"@/in\"\n");
    let rings = |host: &Folder, number: u64| {
        let publisher = Publisher::new(&host.ring("out", Variant::Int, 4096), number);
        (publisher, Receiver::new(&host.ring("in", Variant::Int, 1 << 14)))
    };
    let (mut first, mut here) = rings(&hosts[0], 1);
    let one = run(&hosts[0], &text);
    first.publish(100);
    wait_for("its own are received", || (here.read() == 100).then_some(()));
    // The image of the host, with its state, and without /dev/shm.
    let copied = Command::new("cp").arg("-a").arg(hosts[0].0.join("state")).arg(&hosts[1].0).status().expect("cp");
    assert!(copied.success());
    let (mut second, mut there) = rings(&hosts[1], 2);
    let other = run(&hosts[1], &text);
    // The clone goes on in the name of the first one, as if its ring had been replaced; that one sees what has happened.
    wait_for("one of them says so", || {
        first.publish(1);
        [&one, &other].iter().any(|program| program.log().contains("was copied; this one is '")).then_some(())
    });
    for _ in 0..20 {
        first.publish(10);
        second.publish(10);
        std::thread::sleep(Duration::from_millis(5));
    }
    let published = (first.published, second.published);
    wait_for("all is received", || (here.read() as u64 == published.0 + published.1).then_some(()));
    assert_eq!(here.by_ring(), [(1, published.0), (2, published.1)].into(), "each once");
    let received = there.read() as u64;
    assert!(received >= published.1, "what came since it began: {received}");
    one.end();
    other.end();
}

/// A small disk; none where this user may not have one.
struct Disk<'a>(&'a Path);

impl<'a> Disk<'a> {
    fn mount(path: &'a Path, size: &str) -> Option<Disk<'a>> {
        std::fs::create_dir_all(path).expect("a directory");
        let options = format!("size={size}");
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(path).output().expect("mount");
        if !mounted.status.success() {
            println!("skipped: this user may not mount a disk");
            return None;
        }
        Some(Disk(path))
    }

    /// Leaves no room, or makes some again.
    fn fill(&self, is_full: bool) {
        let filler = self.0.join("filler");
        if is_full {
            // Until there is no more room.
            let _ = std::fs::write(&filler, vec![0; 64 << 20]);
        } else {
            std::fs::remove_file(&filler).expect("remove");
        }
    }
}

impl Drop for Disk<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0).status();
    }
}

const NO_SPACE: &str = "No space left on device";

fn a_full_disk_of_the_state_loses_nothing(which: Which) {
    if !which.is_installed() {
        return;
    }
    let folder = Folder::new(&format!("full-state-{which:?}"));
    let state = folder.0.join("state");
    let Some(disk) = Disk::mount(&state, "1m") else { return };
    let server = Server::start(which, &folder);
    let text = config(&server, "[bridge.a]\nout = \"@/out\"\nin = \"@/in\"\n");
    let mut publisher = Publisher::new(&folder.ring("out", Variant::Int, 4096), 1);
    let mut receiver = Receiver::new(&folder.ring("in", Variant::Int, 1 << 14));
    // At the start, at work, and at the end.
    disk.fill(true);
    publisher.publish(10);
    let mut program = run(&folder, &text);
    program.until_said(NO_SPACE);
    disk.fill(false);
    wait_for("what waited is received", || (receiver.read() == 10).then_some(()));
    for round in 0..3 {
        disk.fill(true);
        let most = publisher.published + 3000;
        wait_for("both say so, and the status", || {
            // There may be room in a page that the file has already.
            if publisher.published < most {
                publisher.publish(5);
            }
            let report = program.report();
            let has_said = |direction: &str| {
                report.bridges["a"][direction].error.as_ref().is_some_and(|error| error.contains(NO_SPACE))
            };
            (has_said("up") && has_said("down") && !ask(&folder, &["status"]).status.success()).then_some(())
        });
        publisher.publish(50);
        if round == 1 {
            // Killed in the middle, and started where there is no room; or where there is some.
            drop(program);
            program = run(&folder, &text);
            wait_for("it cannot begin", || {
                let status = program.report().bridges.get("a")?.get("down").cloned()?;
                (!status.running && status.error?.contains(NO_SPACE)).then_some(())
            });
        }
        disk.fill(false);
        if round == 2 {
            drop(program);
            program = run(&folder, &text);
        }
        wait_for("when there is room, all comes", || (receiver.read() as u64 == publisher.published).then_some(()));
    }
    let published = publisher.published;
    disk.fill(true);
    publisher.publish(100);
    program.end();
    disk.fill(false);
    let program = run(&folder, &text);
    publisher.publish(10);
    wait_for("all is received", || (receiver.read() as u64 == published + 110).then_some(()));
    assert_eq!(receiver.by_ring(), [(1, published + 110)].into());
    let report = program.report();
    assert!(report.bridges["a"].values().all(|status| status.lost.is_empty()), "{report:?}");
    program.end();
}

fn a_full_disk_of_the_server_loses_nothing(which: Which) {
    if !which.is_installed() {
        return;
    }
    let folder = Folder::new(&format!("full-server-{which:?}"));
    let disk_path = folder.0.join(if which == Which::Redis { "redis" } else { "nats" });
    let Some(disk) = Disk::mount(&disk_path, "8m") else { return };
    let mut server = Server::start(which, &folder);
    let text = config(&server, "[bridge.a]\nout = \"@/out\"\nin = \"@/in\"\npack = 5\nkeep-messages = 2000\n");
    let mut publisher = Publisher::new(&folder.ring("out", Variant::Int, 1 << 16), 1);
    let mut receiver = Receiver::new(&folder.ring("in", Variant::Int, 1 << 16));
    let program = run(&folder, &text);
    for _ in 0..3 {
        publisher.publish(100);
        let published = publisher.published;
        wait_for("all is received", || (receiver.read() as u64 == published).then_some(()));
        disk.fill(true);
        wait_for("the server has no room", || {
            // The stream takes some that are not on the disk yet.
            publisher.publish(20);
            receiver.read();
            match &mut server {
                Server::Redis(redis) => redis.process.has_ended().then_some(()),
                Server::Nats(_) => (!ask(&folder, &["status"]).status.success()).then_some(()),
            }
        });
        disk.fill(false);
        // Both give up when a file cannot be written, and have to be started again.
        server.kill();
        server.run();
    }
    let published = publisher.published;
    wait_for(&format!("all is received:\n{}", program.log()), || (receiver.read() as u64 == published).then_some(()));
    assert_eq!(receiver.by_ring(), [(1, published)].into());
    program.end();
}

/// libfaketime, which takes the clock of a program from a file.
fn faketime() -> Option<PathBuf> {
    let libraries = std::fs::read_dir("/usr/lib").into_iter().flatten().flatten();
    let found = libraries.map(|entry| entry.path().join("faketime/libfaketime.so.1")).find(|path| path.exists());
    if found.is_none() {
        println!("skipped: libfaketime is not installed");
    }
    found
}

fn clocks_are_set_back(which: Which) {
    let (true, Some(library)) = (which.is_installed(), faketime()) else { return };
    let folder = Folder::new(&format!("clocks-{which:?}"));
    let server = Server::start(which, &folder);
    let clock = folder.0.join("clock");
    let set = |offset: &str| std::fs::write(&clock, offset).expect("write");
    set("+0");
    let text = config(&server, "[bridge.a]\nout = \"@/out\"\nin = \"@/in\"\nkeep-age = \"1d\"\n");
    configure(&folder, &text);
    let (mut publisher, mut receiver) = (
        Publisher::new(&folder.ring("out", Variant::Int, 4096), 1),
        Receiver::new(&folder.ring("in", Variant::Int, 1 << 14)),
    );
    let mut command = Command::new(PROGRAM);
    command
        .env("LD_PRELOAD", library)
        .env("FAKETIME_TIMESTAMP_FILE", &clock)
        .env("FAKETIME_NO_CACHE", "1")
        // Clocks that are set change no file's date.
        .env("NO_FAKE_STAT", "1")
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    let program = run_as(&folder, &mut command);
    program.until_connected(2);
    for offset in ["-3600", "+86400", "-864000"] {
        set(offset);
        publisher.publish(100);
        let published = publisher.published;
        wait_for("published messages are received", || (receiver.read() as u64 == published).then_some(()));
        let before = program.report().time;
        wait_for("the status goes on", || {
            let time = program.report().time;
            (time != before).then_some(())
        });
        // Also what has to wait after a failure.
        match &server {
            Server::Redis(redis) => redis.cut_clients(),
            Server::Nats(nats) => nats.cut_clients(),
        }
        publisher.publish(10);
        wait_for("it goes on after a cut", || (receiver.read() as u64 == published + 10).then_some(()));
    }
    assert_eq!(receiver.by_ring(), [(1, 330)].into());
    assert!(program.report().bridges["a"].values().all(|status| status.lost.is_empty()));
    program.end();
}

/// Resident kilobytes and descriptors of a program.
fn resources(program: &Program) -> (u64, usize) {
    let process = format!("/proc/{}", program.child.id());
    let text = std::fs::read_to_string(format!("{process}/status")).expect("its status");
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its memory");
    let memory = line.trim().trim_end_matches(" kB").parse().expect("a number");
    (memory, std::fs::read_dir(format!("{process}/fd")).expect("its descriptors").count())
}

fn thousands_of_origins(which: Which) {
    if !which.is_installed() {
        return;
    }
    const ORIGINS: usize = 10_000;
    let folder = Folder::new(&format!("origins-{which:?}"));
    let server = Server::start(which, &folder);
    let runtime = runtime(2);
    runtime.block_on(async {
        let backend = Arc::new(AnyServer::new(server.settings()));
        backend.connected().await;
        let claim = Claim { epoch: 0, number: 5, position: "ring 5".to_owned() };
        let begin = |number: usize| {
            let (backend, claim) = (Arc::clone(&backend), claim.clone());
            async move {
                let origin = format!("container-{number}/ring-00000000");
                backend.begin("a", &origin, &claim).await.expect("begin");
            }
        };
        futures_util::stream::iter((0..ORIGINS).map(begin)).buffer_unordered(100).collect::<Vec<()>>().await;
    });
    let text = config(&server, "[bridge.a]\nout = \"@/out\"\nin = \"@/in\"\n").replace("from = \"start\"\n", "");
    let mut publisher = Publisher::new(&folder.ring("out", Variant::Int, 4096), 1);
    let mut receiver = Receiver::new(&folder.ring("in", Variant::Int, 1 << 14));
    let program = run(&folder, &text);
    program.until_connected(2);
    wait_for("it knows them", || (program.report().bridges["a"]["down"].origins >= Some(ORIGINS as u64)).then_some(()));
    let size = || {
        ["up", "down"].map(|name| std::fs::metadata(folder.0.join(format!("state/a.{name}"))).expect("a file").len())
    };
    let before = (size(), resources(&program));
    for _ in 0..100 {
        publisher.publish(10);
        let published = publisher.published;
        wait_for("published messages are received", || (receiver.read() as u64 == published).then_some(()));
    }
    let after = (size(), resources(&program));
    println!("{which:?}: states {:?} {:?} bytes, {:?} kB and descriptors", before.0, after.0, (before.1, after.1));
    let grown = |index: usize| after.0[index].saturating_sub(before.0[index]);
    assert!(
        grown(0) < 100 * 1200 && grown(1) < 100 * 1200,
        "a batch costs nothing for the origins: {before:?} {after:?}"
    );
    assert!(after.1.0 < before.1.0 + 8192, "nor memory: {before:?} {after:?}");
    program.end();
}

fn hundreds_of_rings(which: Which) {
    if !which.is_installed() {
        return;
    }
    const RINGS_THERE: usize = 200;
    let folder = Folder::new(&format!("rings-{which:?}"));
    let server = Server::start(which, &folder);
    let mut text = config(&server, "").replace("capacity = 1024", "capacity = 256");
    for number in 0..RINGS_THERE {
        text += &format!("[bridge.b{number}]\nout = \"@/out{number}\"\nin = \"@/in{number}\"\n");
    }
    let ring = |name: &str, number: usize| folder.ring(&format!("{name}{number}"), Variant::Int, 256);
    let mut lines: Vec<(Publisher, Receiver)> = (0..RINGS_THERE)
        .map(|number| (Publisher::new(&ring("out", number), 1), Receiver::new(&ring("in", number))))
        .collect();
    let program = run(&folder, &text);
    program.until_connected(2 * RINGS_THERE);
    let mut round = || {
        lines.iter_mut().for_each(|(publisher, _)| publisher.publish(20));
        wait_for("all are received", || {
            lines.iter_mut().all(|(publisher, receiver)| receiver.read() as u64 == publisher.published).then_some(())
        });
    };
    // Until its threads have the buffers that they keep.
    (0..60).for_each(|_| round());
    let before = resources(&program);
    (0..60).for_each(|_| round());
    let after = resources(&program);
    println!("{which:?}, {RINGS_THERE} rings: {before:?} and later {after:?} kB and descriptors");
    assert!(after.0 < before.0 + 8192 && after.1 <= before.1, "flat: {before:?} {after:?}");
    // Each ring has a descriptor for its bell, its files, and two locks and logs; the server has two connections for all.
    assert!(after.1 < 12 * RINGS_THERE, "{after:?}");
    if let Server::Redis(redis) = &server {
        let clients = text_of(redis.ask(&["CLIENT", "LIST"])).lines().count();
        assert_eq!(clients, 3, "two for 200 rings, and the one that asks");
    }
    let report: Report = program.report();
    assert!(report.bridges.values().flat_map(|both| both.values()).all(|status| status.lost.is_empty()));
    program.end();
}
