//! The program under faults: three hosts, one stream, and a server, Redis or NATS, that is killed, stopped, cut off, full and made to
//! forget; bridges that are killed at every moment. Whatever happens, all hosts receive one order, nothing comes twice, and what did not come was
//! counted, message for message, for its true cause. `XT_SECONDS` is the length of each storm.

mod common;

use std::time::Duration;

use common::Folder;
use common::hosts::{Hosts, Kind};
use common::server::{Server, Which};
use data_pubsub_shared::Variant;

/// Over a server of this kind.
fn storm(which: Which, name: &str, kind: Kind, fault: impl FnMut(&mut Hosts<Server>, u32)) {
    if !which.is_installed() {
        return;
    }
    let name = format!("{which:?} {name}");
    let begin = || {
        let folder = Folder::new(&name.replace(' ', "-"));
        let server = Server::start(which, &folder);
        let url = server.url();
        Hosts::start(folder, server, &url, kind)
    };
    common::hosts::storm(&name, begin, fault);
}

fn a_server_is_killed_and_starts_again(which: Which) {
    storm(which, "server-killed", Kind::default(), |hosts, _| {
        hosts.pause(100);
        hosts.server.kill();
        hosts.pause(200);
        hosts.server.run();
        hosts.until_progress();
    });
}

fn a_server_is_stopped(which: Which) {
    let kind = Kind { variant: Variant::Str, options: "pack = 20", timeout: "1s", ..Kind::default() };
    storm(which, "server-stopped", kind, |hosts, number| {
        hosts.server.stop();
        // Longer than the bridges wait for an answer, or not.
        let most = if number % 2 == 0 { 1300 } else { 400 };
        hosts.work(Duration::from_millis(most));
        hosts.server.cont();
        hosts.until_progress();
    });
}

fn a_server_refuses_for_an_instant(which: Which) {
    storm(which, "refuses", Kind { options: "batch = 3\npack = 1", ..Kind::default() }, |hosts, number| {
        hosts.server.refuse(true, number % 2 == 1);
        hosts.pause(3);
        hosts.server.refuse(false, number % 2 == 1);
        hosts.pause(50);
    });
}

fn connections_are_cut(which: Which) {
    storm(which, "cut", Kind { options: "batch = 3\npack = 2", ..Kind::default() }, |hosts, _| {
        hosts.pause(100);
        hosts.server.cut_clients();
    });
}

fn rings_are_overrun_while_a_server_is_stopped(which: Which) {
    let kind = Kind { out: 128, options: "batch = 10\npack = 3", allowed: &["overrun"], ..Kind::default() };
    storm(which, "overrun", kind, |hosts, _| {
        hosts.server.stop();
        hosts.work(Duration::from_millis(100));
        hosts.server.cont();
        hosts.until_progress();
    });
}

fn bridges_are_killed(which: Which) {
    storm(which, "killed", Kind { options: "pack = 5\nbatch = 20", ..Kind::default() }, |hosts, _| {
        let victim = hosts.random.below(3) as usize;
        hosts.pause(20);
        hosts.again(victim);
    });
}

fn bridges_are_killed_and_their_rings_overrun(which: Which) {
    let kind = Kind {
        variant: Variant::Str,
        out: 64,
        options: "pack = 5",
        allowed: &["overrun", "restart"],
        ..Kind::default()
    };
    storm(which, "killed-overrun", kind, |hosts, _| {
        let victim = hosts.random.below(3) as usize;
        hosts.pause(100);
        hosts.again(victim);
    });
}

fn a_stream_is_trimmed_while_readers_are_away(which: Which) {
    let kind = Kind { options: "pack = 3\nkeep-messages = 200", allowed: &["trimmed"], ..Kind::default() };
    storm(which, "trimmed", kind, |hosts, number| {
        let away = hosts.random.below(3) as usize;
        if number % 2 == 0 {
            hosts.hosts[away].signal("-STOP");
            hosts.work(Duration::from_millis(1200));
            hosts.hosts[away].signal("-CONT");
        } else {
            hosts.hosts[away].kill();
            hosts.work(Duration::from_millis(1200));
            hosts.hosts[away].start();
        }
        hosts.until_progress();
    });
}

fn a_server_forgets_everything(which: Which) {
    let kind = Kind { options: "pack = 3", allowed: &["trimmed", "backend"], ..Kind::default() };
    storm(which, "flushall", kind, |hosts, _| {
        hosts.pause(100);
        hosts.server.forget();
        hosts.until_progress();
    });
}

fn a_server_is_restored_from_a_copy(which: Which) {
    let kind = Kind { options: "pack = 5", allowed: &["backend"], rate: 20, ..Kind::default() };
    storm(which, "restored", kind, |hosts, number| {
        let copy = format!("copy{number}");
        hosts.pause(100);
        hosts.server.back_up(&copy);
        hosts.until_progress();
        hosts.pause(200);
        // What a server has lost that had no acknowledgement comes again, where others have come meanwhile.
        hosts.until_even();
        // One host is away until others have sent more than was lost with the restored server.
        let away = hosts.random.below(3) as usize;
        if number % 2 == 0 {
            hosts.hosts[away].end();
        }
        hosts.server.restore(&copy);
        hosts.work(Duration::from_millis(400));
        if number % 2 == 0 {
            hosts.hosts[away].start();
        }
        hosts.until_progress();
    });
}

fn bridges_end_while_a_server_comes_and_goes(which: Which) {
    storm(which, "ended", Kind { options: "pack = 5", timeout: "1s", ..Kind::default() }, |hosts, _| {
        let victim = hosts.random.below(3) as usize;
        let what = hosts.random.below(3);
        hosts.pause(50);
        match what {
            0 => hosts.server.cut_clients(),
            1 => hosts.server.stop(),
            _ => hosts.server.kill(),
        }
        hosts.pause(20);
        let host = &mut hosts.hosts[victim];
        host.signal("-TERM");
        let status = host.child.take().expect("it runs").wait().expect("wait");
        // One that has only just been started ends by the signal itself.
        use std::os::unix::process::ExitStatusExt;
        assert!(status.success() || status.signal() == Some(15), "{status}:\n{}", host.log());
        host.start();
        match what {
            0 => {}
            1 => hosts.server.cont(),
            _ => hosts.server.run(),
        }
        hosts.until_progress();
    });
}

fn everything_at_once(which: Which) {
    let kind = Kind {
        out: 512,
        options: "pack = 3\nbatch = 50\nkeep-messages = 600",
        timeout: "1s",
        allowed: &["overrun", "restart", "trimmed"],
        ..Kind::default()
    };
    storm(which, "everything", kind, |hosts, _| {
        let what = hosts.random.below(10);
        hosts.pause(100);
        match what {
            0 | 1 => {
                hosts.server.kill();
                hosts.pause(300);
                hosts.server.run();
            }
            2 | 3 => {
                hosts.server.stop();
                hosts.pause(600);
                hosts.server.cont();
            }
            4 | 5 => hosts.server.cut_clients(),
            6 => {
                hosts.server.refuse(true, false);
                hosts.pause(30);
                hosts.server.refuse(false, false);
            }
            _ => {
                let victim = hosts.random.below(3) as usize;
                hosts.again(victim);
            }
        }
        if hosts.random.below(3) == 0 {
            hosts.until_progress();
        }
    });
}

/// The quick form is for one server: each storm over both takes a minute more.
fn is_due(which: Which) -> bool {
    let quick = std::env::var("XT_SECONDS").is_ok_and(|seconds| seconds == "1");
    if quick && matches!(which, Which::Nats) {
        eprintln!("skipped: XT_SECONDS is 1, and 2 or more run the storms over NATS, too");
        return false;
    }
    true
}

/// Each storm over each server.
macro_rules! over {
    ($module:ident $which:ident: $($storm:ident)*) => {
        mod $module {
            $(#[test]
            fn $storm() {
                if super::is_due(super::Which::$which) {
                    super::$storm(super::Which::$which);
                }
            })*
        }
    };
}

macro_rules! over_both {
    ($($storm:ident)*) => {
        over!(redis Redis: $($storm)*);
        over!(nats Nats: $($storm)*);
    };
}

over_both! {
    a_server_is_killed_and_starts_again
    a_server_is_stopped
    a_server_refuses_for_an_instant
    connections_are_cut
    rings_are_overrun_while_a_server_is_stopped
    bridges_are_killed
    bridges_are_killed_and_their_rings_overrun
    a_stream_is_trimmed_while_readers_are_away
    a_server_forgets_everything
    a_server_is_restored_from_a_copy
    bridges_end_while_a_server_comes_and_goes
    everything_at_once
}
