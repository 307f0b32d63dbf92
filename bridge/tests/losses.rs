//! What does not come through a bridge is counted, for its cause, and what comes twice is dropped.

mod common;

use std::sync::Arc;

use common::program::*;
use common::redis_server::{RedisServer, is_installed};
use common::*;
use data_pubsub_shared::{Options, Subscriber, Variant};
use pubsub_bridge::backend::Place;
use pubsub_bridge::backend::memory::{Faults, Memory};
use pubsub_bridge::direction::Lost;
use pubsub_bridge::down::From;
use pubsub_bridge::report::Report;
use serde_json::{Value, json};

/// What was published to a ring of notes since the last time, without the times.
fn notes(sub: &mut Subscriber) -> Vec<Value> {
    std::iter::from_fn(|| sub.poll_str().expect("strings"))
        .map(|(note, _)| {
            let mut note: Value = serde_json::from_slice(&note).expect("JSON");
            assert!(note.as_object_mut().expect("an object").remove("time").is_some_and(|time| time.is_f64()));
            note
        })
        .collect()
}

fn lost<const N: usize>(reasons: [(&str, u64); N]) -> Lost {
    reasons.into_iter().map(|(reason, count)| (reason.to_owned(), count)).collect()
}

/// Waits until so many messages were received, no more.
async fn received(receiver: &mut Receiver, count: u64) {
    until(&format!("{count} messages"), || receiver.read() as u64 >= count).await;
    assert_eq!(receiver.read() as u64, count);
}

/// Entries as another program might append them: the fields, and the messages that are news. A pack has its lengths before the
/// messages.
const STRANGE: &[(&[&str], &[&str])] = &[
    (&["o", "x/a#1", "s", "1", "m", "one"], &["one"]),
    (&["o", "x/a#1", "s", "1", "m", "one"], &[]),
    (&["o", "x/a#1", "s", "2", "m", "two"], &["two"]),
    (&["o", "x/a#1", "s", "1", "m", "one"], &[]),
    (&["o", "x/b#1", "s", "1", "m", "other"], &["other"]),
    (&["o", "x/a#1", "s", "1", "M", "\0\0\0\x03one\0\0\0\x03two\0\0\0\x05three\0\0\0\x04four"], &["three", "four"]),
    (&["s", "5", "m", "five", "o", "x/a#1"], &["five"]),
    (&["o", "x/a#1", "s", "5", "m", "five"], &[]),
    (&["o", "x/a#1", "s", "3", "m", "three"], &[]),
    (&["also", "this", "s", "6", "o", "x/a#1", "u", "☺"], &["☺"]),
    (&["o", "x/a#1", "s", "6", "u", "again"], &[]),
    (&["o", "x/a#1", "s", "7", "I", "10 20 30"], &["10", "20", "30"]),
    (&["o", "x/a#1", "s", "8", "I", "20 30 40"], &["40"]),
    // Missing numbers, and a gap with its reason.
    (&["o", "x/a#1", "s", "14", "m", "fourteen"], &["fourteen"]),
    (&["o", "x/a#1", "s", "15", "g", "overrun 5"], &[]),
    (&["o", "x/a#1", "s", "15", "g", "overrun 5"], &[]),
    (&["o", "x/a#1", "s", "17", "g", "overrun 5"], &[]),
    (&["o", "x/a#1", "s", "22", "m", "twenty-two"], &["twenty-two"]),
    (&["o", "x/a#1", "s", "15", "m", "fifteen"], &[]),
    // A later epoch goes on, and ends the one before.
    (&["o", "x/a#3", "s", "23", "m", "a new epoch"], &["a new epoch"]),
    (&["o", "x/a#2", "s", "24", "m", "late"], &[]),
    (&["o", "x/a#1", "s", "24", "m", "later"], &[]),
    (&["o", "x/a#3", "s", "24", "m", "goes on"], &["goes on"]),
    // An origin whose beginning was not seen; one with an odd name.
    (&["o", "x/c#1", "s", "4", "m", "from the middle"], &["from the middle"]),
    (&["o", "we ird#7/x#12", "s", "1", "m", "odd"], &["odd"]),
];

/// Entries that are not from a bridge.
const MALFORMED: &[&[&str]] = &[
    &["some", "thing"],
    &["o", "x/a#3", "m", "no number"],
    &["o", "x/a#3", "s", "25"],
    &["o", "x/a#3", "s", "25", "long", "name"],
    &["long", "name", "o", "x/a#3", "s", "25"],
    &["o", "x/a#3", "s", "0", "m", "x"],
    &["o", "x/a#3", "s", "-1", "m", "x"],
    &["o", "x/a#3", "s", "abc", "m", "x"],
    &["o", "x/a#3", "s", "25 ", "m", "x"],
    &["o", "x/a", "s", "25", "m", "x"],
    &["o", "", "s", "25", "m", "x"],
    &["o", "x/a#b", "s", "25", "m", "x"],
    &["o", "x/a#3", "s", "25", "z", "x"],
    &["o", "x/a#3", "s", "25", "M", "\0\0\0\x05abc"],
    &["o", "x/a#3", "s", "25", "I", ""],
    &["o", "x/a#3", "s", "25", "g", "many"],
];

#[test]
fn numbers_that_come_again_or_never() {
    if !is_installed() {
        return;
    }
    let folder = Folder::new("numbers");
    let redis = RedisServer::start(&folder, &[]);
    let inner = folder.ring("in", Variant::Str, 256).open().expect("a ring").ring;
    let gaps = pubsub_bridge::ring::RingFile { msg_size: 512, ..folder.ring("gaps", Variant::Str, 256) };
    let gaps = gaps.open().expect("a ring").ring;
    let (mut sub, mut noted) = (inner.subscribe(false), gaps.subscribe(false));
    let text = format!(
        "[server]\nurl = \"unix://{}\"\n[bridge.s]\nin = \"@/in\"\ngaps = \"@/gaps\"\nfrom = \"start\"\n",
        redis.socket().display()
    );
    let append = |fields: &[&str]| {
        redis.ask(&[&["XADD", "s", "*"], fields].concat());
    };
    let mut next = || wait_for("a message", || sub.poll_str().expect("strings")).0;
    let program = run(&folder, &text);
    for (fields, _) in STRANGE {
        append(fields);
    }
    for message in STRANGE.iter().flat_map(|(_, messages)| *messages) {
        assert_eq!(String::from_utf8_lossy(&next()), *message);
    }
    for fields in MALFORMED {
        append(fields);
    }
    program.until_said("is left out: ");
    append(&["o", "x/a#3", "s", "26", "m", "twenty-six"]);
    assert_eq!(next(), b"twenty-six", "then it goes on");
    program.signal("-TERM");
    // Not what was written at the start, when it did not run yet.
    let is_stopped = |report: &Report| report.bridges["s"]["down"].error.as_deref() == Some("stopped");
    let report = wait_for("the end", || Some(program.report()).filter(is_stopped));
    drop(program);
    let status = &report.bridges["s"]["down"];
    assert_eq!((status.duplicates, status.malformed), (Some(20), Some(MALFORMED.len() as u64)));
    assert_eq!(status.lost, lost([("backend", 4), ("overrun", 7), ("trimmed", 3)]));
    let note = |number: u64, origin: &str, reason: &str, count: u64| json!({"number": number, "stream": "s", "origin": origin, "reason": reason, "count": count});
    let expected = [
        note(1, "x/a", "backend", 3),
        note(2, "x/a", "overrun", 5),
        note(3, "x/a", "overrun", 2),
        note(4, "x/c", "trimmed", 3),
        note(5, "x/a", "backend", 1),
    ];
    assert_eq!(notes(&mut noted), expected);

    // The next process has nothing to say, and knows what it had.
    let program = run(&folder, &text);
    append(&["o", "x/a#3", "s", "26", "m", "twenty-six"]);
    append(&["o", "x/a#3", "s", "27", "m", "twenty-seven"]);
    assert_eq!(next(), b"twenty-seven");
    wait_for("it goes on counting", || (program.report().bridges["s"]["down"].duplicates? == 21).then_some(()));
    program.end();
    assert_eq!(notes(&mut noted), Vec::<Value>::new(), "no note comes twice");
}

#[tokio::test]
async fn overruns_are_told_apart_and_noted() {
    let folder = Folder::new("overrun");
    let server = Arc::new(Memory::new(1));
    let (out, inner) = (folder.ring("out", Variant::Int, 16), folder.ring("in", Variant::Int, 256));
    let (mut publisher, mut receiver) = (Publisher::new(&out, 1), Receiver::new(&inner));
    let gaps = pubsub_bridge::ring::RingFile { msg_size: 512, ..folder.ring("gaps", Variant::Str, 64) };
    let mut noted = gaps.open().expect("a ring").ring.subscribe(false);
    let up_options = up_options(&folder, out, "s", "up");
    let mut options = down_options(&folder, inner, &["s"], "in");
    options.gaps = Some(gaps);
    let (up, down) = (start_up(&server, &up_options), start_down(&server, &options));
    publisher.publish(1);
    received(&mut receiver, 1).await;
    let origin = up.status().origin.expect("a name");
    up.stop().await.expect("it ends well");
    publisher.publish(40);
    let up = start_up(&server, &up_options);
    received(&mut receiver, 17).await;
    until("it says what was lost while no bridge was there", || up.lost() == lost([("restart", 24)])).await;
    server.set_away(true);
    publisher.publish(100);
    server.set_away(false);
    until("the end comes through", || {
        receiver.read();
        receiver.received.last() == Some(&1_000_000_141)
    })
    .await;
    let overrun = 141 - 24 - receiver.received.len() as u64;
    assert!(overrun >= 84 - 16, "a batch may have been on its way");
    let all = lost([("overrun", overrun), ("restart", 24)]);
    until("it says what was lost while it could not send", || up.lost() == all).await;
    until("receivers count it, too", || down.lost() == all).await;
    let notes = notes(&mut noted);
    assert_eq!(notes[0], json!({"number": 1, "stream": "s", "origin": origin, "reason": "restart", "count": 24}));
    let sum: u64 = notes[1..].iter().map(|note| note["count"].as_u64().expect("a number")).sum();
    assert_eq!(sum, overrun);
    up.stop().await.expect("it ends well");
    down.stop().await.expect("it ends well");
}

#[tokio::test]
async fn a_stream_of_which_nothing_is_left_is_accounted_for() {
    let folder = Folder::new("emptied");
    let server = Arc::new(Memory::new(1));
    let (out, inner) = (folder.ring("out", Variant::Int, 64), folder.ring("in", Variant::Int, 64));
    let (mut publisher, mut receiver) = (Publisher::new(&out, 1), Receiver::new(&inner));
    let options = down_options(&folder, inner, &["s"], "in");
    let (up, down) = (start_up(&server, &up_options(&folder, out, "s", "up")), start_down(&server, &options));
    publisher.publish(3);
    received(&mut receiver, 3).await;
    down.stop().await.expect("it ends well");
    publisher.publish(5);
    until("all is sent", || up.status().forwarded == 8).await;
    server.drop_oldest("s", 0);
    // There are no senders any more.
    let down = start_down(&server, &options);
    until("they are counted", || down.lost() == lost([("trimmed", 5)])).await;
    publisher.publish(1);
    received(&mut receiver, 4).await;
    up.stop().await.expect("it ends well");
    assert_eq!(down.lost(), lost([("trimmed", 5)]), "once");
    down.stop().await.expect("it ends well");
}

#[tokio::test]
async fn what_a_server_has_lost_is_counted_where_it_was_not_read() {
    let folder = Folder::new("backend");
    let server = Arc::new(Memory::new(1));
    let out = folder.ring("out", Variant::Int, 256);
    let (inner, here) = (folder.ring("in", Variant::Int, 256), folder.ring("here", Variant::Int, 256));
    let mut publisher = Publisher::new(&out, 1);
    let (mut away, mut present) = (Receiver::new(&inner), Receiver::new(&here));
    let up_options = up_options(&folder, out, "s", "up");
    let options = down_options(&folder, inner, &["s"], "in");
    let up = start_up(&server, &up_options);
    let (down, live) =
        (start_down(&server, &options), start_down(&server, &down_options(&folder, here, &["s"], "here")));
    publisher.publish(10);
    received(&mut away, 10).await;
    down.stop().await.expect("it ends well");
    let copy = server.copy();
    publisher.publish(10);
    received(&mut present, 20).await;
    until("all is acknowledged", || up.status().number == Some(20)).await;
    server.restore(copy);
    server.set_clock(2);
    let down = start_down(&server, &options);
    publisher.publish(5);
    received(&mut away, 15).await;
    received(&mut present, 25).await;
    // Another process knows what was acknowledged, too.
    up.kill().await;
    let up = start_up(&server, &up_options);
    publisher.publish(1);
    received(&mut away, 16).await;
    received(&mut present, 26).await;
    until("it is counted", || down.lost() == lost([("backend", 10)])).await;
    assert_eq!(live.lost(), lost([]), "a receiver that has read it misses nothing");
    for running in [up, down, live] {
        running.stop().await.expect("it ends well");
    }
}

/// Messages without an acknowledgement that a server has lost are sent again. A receiver that already had them gets them twice only if the
/// sender is another process, which does not know that they were sent.
#[tokio::test]
async fn what_was_neither_acknowledged_nor_kept_comes_again() {
    for is_killed in [false, true] {
        let folder = Folder::new(&format!("again-{is_killed}"));
        let server = Arc::new(Memory::new(1));
        let (out, inner) = (folder.ring("out", Variant::Int, 256), folder.ring("in", Variant::Int, 256));
        let (mut publisher, mut receiver) = (Publisher::new(&out, 1), Receiver::new(&inner));
        let options = up_options(&folder, out, "s", "up");
        let mut up = Some(start_up(&server, &options));
        let down = start_down(&server, &down_options(&folder, inner, &["s"], "in"));
        publisher.publish(10);
        received(&mut receiver, 10).await;
        until("all is acknowledged", || up.as_ref().expect("one").status().number == Some(10)).await;
        let copy = server.copy();
        server.set_faults(Faults { lost_after: 1000, ..Faults::default() });
        publisher.publish(5);
        received(&mut receiver, 15).await;
        if is_killed {
            up.take().expect("one").kill().await;
        }
        server.restore(copy);
        server.set_clock(2);
        server.set_faults(Faults::default());
        let up = up.unwrap_or_else(|| start_up(&server, &options));
        publisher.publish(5);
        received(&mut receiver, if is_killed { 25 } else { 20 }).await;
        assert_eq!(
            receiver.received[receiver.received.len() - 10..],
            (11..=20).map(|n| 1_000_000_000 + n).collect::<Vec<u64>>()
        );
        assert_eq!((up.lost(), down.lost()), (lost([]), lost([])));
        up.stop().await.expect("it ends well");
        down.stop().await.expect("it ends well");
    }
}

#[tokio::test]
async fn a_beginning_is_no_loss() {
    let folder = Folder::new("beginning");
    let server = Arc::new(Memory::new(1));
    let out = folder.ring("out", Variant::Int, 256);
    let mut publisher = Publisher::new(&out, 1);
    let mut options = up_options(&folder, out.clone(), "s", "up");
    options.pack = 1;
    let up = start_up(&server, &options);
    publisher.publish(10);
    until("all is sent", || up.status().forwarded == 10).await;
    let seventh: Place = server.entries("s")[6].as_ref().expect("an entry").place;
    let mut all = Vec::new();
    for (name, from, first) in [("now", From::Now, 11), ("start", From::Start, 1), ("place", From::Place(seventh), 8)] {
        let inner = folder.ring(name, Variant::Int, 256);
        let receiver = Receiver::new(&inner);
        let options = pubsub_bridge::down::Options { from, ..down_options(&folder, inner, &["s"], name) };
        let down = start_down(&server, &options);
        until("it has begun", || down.status().connected).await;
        all.push((receiver, down, first));
    }
    publisher.publish(3);
    for (mut receiver, down, first) in all {
        received(&mut receiver, 14 - first).await;
        assert_eq!(receiver.received[0], 1_000_000_000 + first);
        assert_eq!(down.lost(), lost([]));
        down.stop().await.expect("it ends well");
    }
    // The same ring into another stream, from now on; and later from where it was.
    let mut options = up_options(&folder, out, "t", "now");
    options.from_now = true;
    for round in 1..=2 {
        let late = start_up(&server, &options);
        until("it has begun", || late.status().connected).await;
        publisher.publish(1);
        until("it is sent", || late.status().number == Some(2 * round - 1)).await;
        late.stop().await.expect("it ends well");
        publisher.publish(1);
    }
    let late = start_up(&server, &options);
    until("the last is sent", || late.status().number == Some(4)).await;
    assert_eq!(late.lost(), lost([]));
    late.stop().await.expect("it ends well");
    up.stop().await.expect("it ends well");
}

#[tokio::test]
async fn a_ring_that_is_made_anew_keeps_its_name() {
    let folder = Folder::new("anew");
    let server = Arc::new(Memory::new(1));
    let out = folder.ring("out", Variant::Int, 256);
    let options = up_options(&folder, out.clone(), "s", "up");
    let mut name = None;
    for round in 1..=12 {
        let mut publisher = Publisher::new(&out, round);
        publisher.publish(1);
        let up = start_up(&server, &options);
        until("it is sent", || up.status().forwarded == 1).await;
        let status = up.status();
        assert_eq!(*name.get_or_insert_with(|| status.origin.clone()), status.origin);
        // How many the one before still held is not known.
        assert_eq!(status.lost, if round == 1 { lost([]) } else { lost([("replaced", 0)]) });
        if round % 2 == 0 {
            up.kill().await;
        } else {
            up.stop().await.expect("it ends well");
        }
        std::fs::remove_file(&out.path).expect("remove");
    }
}

#[tokio::test]
async fn what_no_bridge_can_carry_is_refused() {
    let folder = Folder::new("num");
    let server = Arc::new(Memory::new(1));
    drop(Options::new(16).open(Variant::Num, &folder.0.join("num")).expect("a ring"));
    let ring = pubsub_bridge::ring::RingFile { variant: None, ..folder.ring("num", Variant::Int, 16) };
    for error in [
        start_up(&server, &up_options(&folder, ring.clone(), "s", "up")).stop().await,
        start_down(&server, &down_options(&folder, ring, &["s"], "down")).stop().await,
    ] {
        assert!(
            error
                .as_ref()
                .is_err_and(|why| why.ends_with("/num: holds a Num ring; a bridge carries Int, Int32, Int16 and Str")),
            "{error:?}"
        );
    }
}
