//! What went wrong with bridges before, over the backend in memory: copied and old state files, damaged ones, servers that were restored
//! from a copy, thousands of origins, backlogs, rings that are removed.

mod common;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use common::*;
use data_pubsub_shared::{Options, Variant};
use pubsub_bridge::backend::memory::{Faults, Memory};
use pubsub_bridge::backend::{Backend, Claim};
use pubsub_bridge::entry::{Held, Unpacker};

/// Waits until so many messages were received.
async fn received(receiver: &mut Receiver, count: u64) {
    until(&format!("{count} messages"), || receiver.read() as u64 >= count).await;
    assert_eq!(receiver.read() as u64, count);
}

/// Messages of a stream, by origin.
fn messages_in(server: &Memory, stream: &str) -> Vec<(String, u64)> {
    let mut found = std::collections::BTreeMap::<String, u64>::new();
    for entry in server.entries(stream).into_iter().flatten() {
        let mut unpacker = Unpacker::default();
        let held = unpacker.unpack(entry.kind, &entry.payload).expect("well-formed");
        if !matches!(held, Held::Gap(..)) {
            *found.entry(entry.origin).or_default() += unpacker.takes(&held);
        }
    }
    found.into_iter().collect()
}

#[tokio::test]
async fn a_copied_state_file_gets_a_new_origin() {
    let folder = Folder::new("copied");
    let server = Arc::new(Memory::new(1));
    let (a, b) = (folder.ring("a", Variant::Int, 1024), folder.ring("b", Variant::Int, 1024));
    let (mut on_a, mut on_b) = (Publisher::new(&a, 1), Publisher::new(&b, 2));
    let options = up_options(&folder, a, "s", "a");
    on_a.publish(10);
    let up = start_up(&server, &options);
    until("all is sent", || up.status().forwarded == 10).await;
    up.stop().await.expect("it ends well");
    // The host's image is copied: its state, but not its rings.
    let clone = up_options(&folder, b, "s", "b");
    std::fs::copy(&options.state, &clone.state).expect("copy");
    on_b.publish(7);
    let (one, other) = (start_up(&server, &options), start_up(&server, &clone));
    for _ in 0..20 {
        on_a.publish(3);
        on_b.publish(2);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    until("both have sent all", || one.status().lag == Some(0) && other.status().lag == Some(0)).await;
    assert_eq!((one.stop().await, other.stop().await), (Ok(true), Ok(true)));
    let found = messages_in(&server, "s");
    let total: u64 = found.iter().map(|(_, count)| count).sum();
    assert_eq!(total, on_a.published + on_b.published, "each once: {found:?}");
    let inner = folder.ring("in", Variant::Int, 1024);
    let mut receiver = Receiver::new(&inner);
    let down = start_down(&server, &down_options(&folder, inner, &["s"], "in"));
    received(&mut receiver, total).await;
    assert_eq!(receiver.by_ring(), [(1, on_a.published), (2, on_b.published)].into());
    down.stop().await.expect("it ends well");
}

#[tokio::test]
async fn an_old_or_damaged_state_of_down_costs_no_doubles() {
    let folder = Folder::new("old-state");
    let server = Arc::new(Memory::new(1));
    let (out, inner) = (folder.ring("out", Variant::Int, 4096), folder.ring("in", Variant::Int, 4096));
    let mut publisher = Publisher::new(&out, 1);
    let mut receiver = Receiver::new(&inner);
    let mut options = up_options(&folder, out, "s", "up");
    options.pack = 4;
    let up = start_up(&server, &options);
    let down_options = down_options(&folder, inner, &["s"], "in");
    let copy = folder.0.join("copy");
    for round in 0..6u64 {
        let down = start_down(&server, &down_options);
        publisher.publish(100);
        received(&mut receiver, publisher.published).await;
        if round == 1 {
            std::fs::copy(&down_options.state, &copy).expect("copy");
        }
        publisher.publish(50);
        received(&mut receiver, publisher.published).await;
        down.kill().await;
        match round {
            2 => drop(std::fs::copy(&copy, &down_options.state).expect("an older copy")),
            3 => flip_a_bit(&down_options.state, 1),
            4 => flip_a_bit(&down_options.state, 3),
            _ => {}
        }
    }
    let down = start_down(&server, &down_options);
    publisher.publish(10);
    received(&mut receiver, publisher.published).await;
    assert_eq!(receiver.by_ring(), [(1, publisher.published)].into(), "each once, in order");
    assert_eq!(down.lost(), [].into());
    down.stop().await.expect("it ends well");
    up.stop().await.expect("it ends well");
}

/// In the line that is so many before the end.
fn flip_a_bit(path: &Path, from_end: usize) {
    let mut log = std::fs::read(path).expect("read");
    let ends: Vec<usize> = (0..log.len()).filter(|at| log[*at] == b'\n').collect();
    let at = ends[ends.len() - from_end] - 5;
    log[at] ^= 4;
    std::fs::write(path, log).expect("write");
}

#[tokio::test]
async fn a_server_that_was_restored_with_its_clock_behind_is_read_on() {
    let folder = Folder::new("restored");
    let server = Arc::new(Memory::new(1));
    server.set_clock(1_000_000);
    let (out, inner) = (folder.ring("out", Variant::Int, 4096), folder.ring("in", Variant::Int, 4096));
    let mut publisher = Publisher::new(&out, 1);
    let mut receiver = Receiver::new(&inner);
    let up = start_up(&server, &up_options(&folder, out, "s", "up"));
    let down = start_down(&server, &down_options(&folder, inner, &["s"], "in"));
    publisher.publish(100);
    received(&mut receiver, 100).await;
    let copy = server.copy();
    server.set_clock(2_000_000);
    publisher.publish(100);
    received(&mut receiver, 200).await;
    // Back to the copy; what comes now has places that were passed already.
    server.set_clock(1_500_000);
    server.restore(copy);
    for _ in 0..8 {
        publisher.publish(50);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    received(&mut receiver, 600).await;
    assert_eq!(receiver.by_ring(), [(1, 600)].into());
    assert_eq!(down.lost(), [].into(), "what was acknowledged and lost had been read");
    up.stop().await.expect("it ends well");
    down.stop().await.expect("it ends well");
}

#[tokio::test]
async fn thousands_of_origins_cost_a_batch_nothing() {
    let folder = Folder::new("origins");
    let server = Arc::new(Memory::new(1));
    for number in 0..10_000 {
        let claim = Claim { epoch: 0, number: 1, position: String::new() };
        server.begin("s", &format!("container-{number}/ring-00000000"), &claim).await.expect("begin");
    }
    let (out, inner) = (folder.ring("out", Variant::Int, 4096), folder.ring("in", Variant::Int, 4096));
    let mut publisher = Publisher::new(&out, 1);
    let mut receiver = Receiver::new(&inner);
    let up = start_up(&server, &up_options(&folder, out, "s", "up"));
    let mut options = down_options(&folder, inner, &["s"], "in");
    options.from = pubsub_bridge::down::From::Now;
    let down = start_down(&server, &options);
    until("it knows them", || down.status().origins.is_some_and(|count| count >= 10_000)).await;
    let before = std::fs::metadata(&options.state).expect("a file").len();
    for round in 1..=100 {
        publisher.publish(1);
        received(&mut receiver, round).await;
    }
    let grown = std::fs::metadata(&options.state).expect("a file").len() - before;
    assert!(grown < 100 * 600, "{grown} bytes for 100 batches");
    up.stop().await.expect("it ends well");
    down.stop().await.expect("it ends well");
}

#[tokio::test]
async fn a_backlog_that_is_packed_needs_little_state() {
    let folder = Folder::new("backlog");
    let server = Arc::new(Memory::new(1));
    let (out, inner) = (folder.ring("out", Variant::Int, 1 << 17), folder.ring("in", Variant::Int, 1024));
    let mut publisher = Publisher::new(&out, 1);
    publisher.publish(100_000);
    let mut options = up_options(&folder, out, "s", "up");
    options.pack = 8000;
    let up = start_up(&server, &options);
    until("all is sent", || up.status().forwarded == 100_000).await;
    up.stop().await.expect("it ends well");
    let options = down_options(&folder, inner, &["s"], "in");
    let down = start_down(&server, &options);
    until("all is received", || down.status().forwarded == 100_000).await;
    down.stop().await.expect("it ends well");
    let size = std::fs::metadata(&options.state).expect("a file").len();
    assert!(size < 100_000, "{size} bytes for 100,000 messages in entries that are larger than the ring");
}

#[tokio::test]
async fn the_last_messages_of_an_origin_are_missed_though_it_sends_no_more() {
    let folder = Folder::new("last-trimmed");
    let server = Arc::new(Memory::new(1));
    let (a, b) = (folder.ring("a", Variant::Int, 1024), folder.ring("b", Variant::Int, 1024));
    let (mut on_a, mut on_b) = (Publisher::new(&a, 1), Publisher::new(&b, 2));
    let ups = [("a", a), ("b", b)].map(|(name, ring)| start_up(&server, &up_options(&folder, ring, "s", name)));
    let inner = folder.ring("in", Variant::Int, 1024);
    let mut receiver = Receiver::new(&inner);
    let options = down_options(&folder, inner, &["s"], "in");
    on_a.publish(3);
    let down = start_down(&server, &options);
    received(&mut receiver, 3).await;
    down.stop().await.expect("it ends well");
    on_a.publish(5);
    until("all of a is sent", || ups[0].status().forwarded == 8).await;
    on_b.publish(2);
    until("all of b is sent", || ups[1].status().forwarded == 2).await;
    server.drop_oldest("s", 1);
    let left: u64 = messages_in(&server, "s").iter().map(|(_, count)| count).sum();
    let down = start_down(&server, &options);
    received(&mut receiver, 3 + left).await;
    until("what was dropped is missed", || down.status().lost.values().sum::<u64>() + left == 7).await;
    assert_eq!(lost_for(&down.status().lost, &["trimmed"]), 7 - left);
    // And once.
    on_a.publish(1);
    received(&mut receiver, 3 + left + 1).await;
    assert_eq!(lost_for(&down.status().lost, &["trimmed"]), 7 - left);
    down.stop().await.expect("it ends well");
    for up in ups {
        up.stop().await.expect("it ends well");
    }
}

#[tokio::test]
async fn rings_that_are_removed_are_made_again() {
    let folder = Folder::new("removed");
    let server = Arc::new(Memory::new(1));
    let (out, inner) = (folder.ring("out", Variant::Int, 1024), folder.ring("in", Variant::Int, 1024));
    let mut publisher = Publisher::new(&out, 1);
    let mut receiver = Receiver::new(&inner);
    let up = start_up(&server, &up_options(&folder, out.clone(), "s", "up"));
    let down = start_down(&server, &down_options(&folder, inner.clone(), &["s"], "in"));
    publisher.publish(10);
    received(&mut receiver, 10).await;
    publisher.publish(5);
    std::fs::remove_file(&out.path).expect("remove");
    received(&mut receiver, 15).await;
    until("OUT is made again", || out.path.exists()).await;
    let mut publisher = Publisher::new(&out, 2);
    publisher.publish(10);
    received(&mut receiver, 25).await;
    assert_eq!(up.lost(), [].into(), "the old one was read to its end");
    std::fs::remove_file(&inner.path).expect("remove");
    until("IN is made again", || inner.path.exists()).await;
    let mut receiver = Receiver::new(&inner);
    publisher.publish(10);
    received(&mut receiver, 10).await;
    up.stop().await.expect("it ends well");
    down.stop().await.expect("it ends well");
}

#[tokio::test]
async fn a_ring_is_sent_once_and_filled_once() {
    let folder = Folder::new("roles");
    let server = Arc::new(Memory::new(1));
    let ring = folder.ring("ring", Variant::Int, 1024);
    let up = start_up(&server, &up_options(&folder, ring.clone(), "s", "a"));
    until("it has its ring", || up.status().running).await;
    let again = start_up(&server, &up_options(&folder, ring.clone(), "s", "b")).stop().await;
    assert!(
        again.as_ref().is_err_and(|why| why.contains("another process sends this ring into stream s")),
        "{again:?}"
    );
    let elsewhere = start_up(&server, &up_options(&folder, ring.clone(), "t", "c"));
    until("another stream is fine", || elsewhere.status().running).await;
    let opposed = start_down(&server, &down_options(&folder, ring.clone(), &["s"], "d")).stop().await;
    assert!(opposed.as_ref().is_err_and(|why| why.contains("both sent and received into")), "{opposed:?}");
    up.stop().await.expect("it ends well");
    elsewhere.stop().await.expect("it ends well");
    let wrong = pubsub_bridge::ring::RingFile { variant: Some(Variant::Str), ..ring.clone() };
    let error = start_up(&server, &up_options(&folder, wrong, "s", "e")).stop().await;
    assert!(error.as_ref().is_err_and(|why| why.contains("holds an Int ring, opened as Str")), "{error:?}");
    std::fs::write(folder.0.join("text"), "no ring at all").expect("write");
    let error = start_up(&server, &up_options(&folder, folder.ring("text", Variant::Int, 4), "s", "f")).stop().await;
    assert!(error.is_err(), "{error:?}");
}

#[tokio::test]
async fn several_streams_go_into_one_ring_and_filters_filter() {
    let folder = Folder::new("several");
    let server = Arc::new(Memory::new(1));
    let rings = ["a", "b"].map(|name| folder.ring(name, Variant::Str, 1024));
    let inner = folder.ring("in", Variant::Str, 4096);
    let mut publishers = [1, 2].map(|number| Publisher::new(&rings[number as usize - 1], number));
    let mut receiver = Receiver::new(&inner);
    let mut options = down_options(&folder, inner, &["x", "y"], "in");
    options.prefixes = vec![b"1".to_vec(), b"20".to_vec()];
    let mut of_b = up_options(&folder, rings[1].clone(), "y", "b");
    of_b.prefixes = vec![b"200000000".to_vec()];
    let ups = [start_up(&server, &up_options(&folder, rings[0].clone(), "x", "a")), start_up(&server, &of_b)];
    let mut down = start_down(&server, &options);
    for round in 0..20 {
        publishers.iter_mut().for_each(|publisher| publisher.publish(20));
        tokio::time::sleep(Duration::from_millis(3)).await;
        if round % 5 == 4 {
            down.kill().await;
            down = start_down(&server, &options);
        }
    }
    until("all of b was looked at", || ups[1].status().lag == Some(0)).await;
    let passed =
        (1..=400u64).filter(|number| (2_000_000_000 + number).to_string().starts_with("200000000")).count() as u64;
    received(&mut receiver, 400 + passed).await;
    assert_eq!(receiver.by_ring(), [(1, 400), (2, passed)].into());
    until("it says how many", || ups[1].status().filtered == 400 - passed).await;
    for up in ups {
        up.stop().await.expect("it ends well");
    }
    down.stop().await.expect("it ends well");
}

#[tokio::test]
async fn own_messages_can_be_left_out_and_a_pace_kept() {
    let folder = Folder::new("own");
    let server = Arc::new(Memory::new(1));
    let (out, inner) = (folder.ring("out", Variant::Int, 1024), folder.ring("in", Variant::Int, 1024));
    let (other, all) = (folder.ring("other", Variant::Int, 1024), folder.ring("all", Variant::Int, 1024));
    let (mut ours, mut theirs) = (Publisher::new(&out, 1), Publisher::new(&other, 2));
    let (mut receiver, mut whole) = (Receiver::new(&inner), Receiver::new(&all));
    let mut of_others = up_options(&folder, other, "s", "other");
    of_others.host = "neighbour".to_owned();
    let ups = [start_up(&server, &up_options(&folder, out, "s", "up")), start_up(&server, &of_others)];
    let mut options = down_options(&folder, inner, &["s"], "in");
    options.skip = Some("host/".to_owned());
    let down = start_down(&server, &options);
    let mut paced = down_options(&folder, all, &["s"], "all");
    paced.pace = Some(400);
    let slow = start_down(&server, &paced);
    ours.publish(100);
    theirs.publish(100);
    received(&mut receiver, 100).await;
    assert_eq!(receiver.by_ring(), [(2, 100)].into());
    let begun = std::time::Instant::now();
    received(&mut whole, 200).await;
    assert!(begun.elapsed() > Duration::from_millis(100), "200 messages at 400 a second");
    for up in ups {
        up.stop().await.expect("it ends well");
    }
    assert_eq!(down.lost(), [].into());
    down.stop().await.expect("it ends well");
    slow.stop().await.expect("it ends well");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lossless_rings_wait_for_their_readers() {
    for variant in [Variant::Int, Variant::Str] {
        let folder = Folder::new(&format!("lossless-{variant:?}"));
        let server = Arc::new(Memory::new(1));
        let lossless = |name: &str| pubsub_bridge::ring::RingFile { lossless: true, ..folder.ring(name, variant, 64) };
        let (out, inner) = (lossless("out"), lossless("in"));
        let mut receiver = Receiver::new(&inner);
        let up = start_up(&server, &up_options(&folder, out.clone(), "s", "up"));
        let down = start_down(&server, &down_options(&folder, inner, &["s"], "in"));
        until("both have their rings", || up.status().connected && down.status().connected).await;
        let publishing = tokio::task::spawn_blocking(move || Publisher::new(&out, 1).publish(5000));
        received(&mut receiver, 5000).await;
        publishing.await.expect("all is published");
        assert_eq!(receiver.by_ring(), [(1, 5000)].into());
        up.stop().await.expect("it ends well");
        down.stop().await.expect("it ends well");
    }
}

#[tokio::test]
async fn what_does_not_fit_is_counted_and_noted() {
    let folder = Folder::new("gaps");
    let server = Arc::new(Memory::new(1));
    let (out, inner) = (folder.ring("out", Variant::Int, 1024), folder.ring("in", Variant::Int16, 1024));
    let out_ring = out.open().expect("a ring").ring;
    let mut receiver = Receiver::new(&inner);
    let up = start_up(&server, &up_options(&folder, out, "s", "up"));
    let mut options = down_options(&folder, inner, &["s"], "in");
    let gaps = pubsub_bridge::ring::RingFile { msg_size: 512, mode: 0o660, ..folder.ring("gaps", Variant::Str, 1024) };
    options.gaps = Some(gaps.clone());
    let down = start_down(&server, &options);
    out_ring.publish_ints(&[1, 70_000, 2, -70_000]).expect("publish");
    server.append_malformed("s", "scribbled");
    received(&mut receiver, 2).await;
    until("it says so", || down.lost() == [("rejected".to_owned(), 2)].into()).await;
    until("malformed entries are counted", || down.status().malformed == Some(1)).await;
    let notes = Options::default().open(Variant::Str, &gaps.path).expect("a ring");
    let (note, _) = notes.subscribe(true).poll_str().expect("strings").expect("a note");
    let note: serde_json::Value = serde_json::from_slice(&note).expect("JSON");
    assert_eq!(
        (note["reason"].as_str(), note["count"].as_u64(), note["number"].as_u64()),
        (Some("rejected"), Some(2), Some(1))
    );
    let mode = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(&gaps.path).expect("a file"));
    assert_eq!(mode & 0o777, 0o660, "as configured");
    up.stop().await.expect("it ends well");
    down.stop().await.expect("it ends well");
}

#[tokio::test]
async fn clears_of_both_rings_lose_nothing_that_was_sent() {
    let folder = Folder::new("clears");
    let server = Arc::new(Memory::new(1));
    let (out, inner) = (folder.ring("out", Variant::Int, 1024), folder.ring("in", Variant::Int, 1024));
    let mut publisher = Publisher::new(&out, 1);
    let mut receiver = Receiver::new(&inner);
    let options = down_options(&folder, inner, &["s"], "in");
    let up_options = up_options(&folder, out, "s", "up");
    let mut up = start_up(&server, &up_options);
    let mut down = start_down(&server, &options);
    for round in 1..=6 {
        publisher.publish(100);
        received(&mut receiver, 100 * round).await;
        publisher.ring().clear().expect("clear");
        receiver.ring().clear().expect("clear");
        if round % 2 == 0 {
            down.kill().await;
            down = start_down(&server, &options);
            up.stop().await.expect("it ends well");
            up = start_up(&server, &up_options);
        }
    }
    publisher.publish(1000);
    up.stop().await.expect("it ends well");
    received(&mut receiver, 1600).await;
    assert_eq!(receiver.by_ring(), [(1, 1600)].into());
    assert_eq!(down.lost(), [].into());
    down.stop().await.expect("it ends well");
}

#[tokio::test]
async fn a_state_file_that_cannot_be_written_delays_and_loses_nothing() {
    let folder = Folder::new("unwritable");
    let server = Arc::new(Memory::new(1));
    let (out, inner) = (folder.ring("out", Variant::Int, 1024), folder.ring("in", Variant::Int, 1024));
    let mut publisher = Publisher::new(&out, 1);
    let mut receiver = Receiver::new(&inner);
    let mut options = down_options(&folder, inner, &["s"], "in");
    options.state = folder.0.join("not/there");
    std::fs::write(folder.0.join("not"), "a file where a directory should be").expect("write");
    publisher.publish(10);
    let error = start_down(&server, &options).stop().await;
    assert!(error.as_ref().is_err_and(|why| why.contains("cannot create directory")), "{error:?}");
    std::fs::remove_file(folder.0.join("not")).expect("remove");
    server.set_faults(Faults { full: 900, ..Faults::default() });
    let up = start_up(&server, &up_options(&folder, out, "s", "up"));
    let down = start_down(&server, &options);
    tokio::time::sleep(Duration::from_millis(100)).await;
    server.set_faults(Faults::default());
    received(&mut receiver, 10).await;
    up.stop().await.expect("it ends well");
    down.stop().await.expect("it ends well");
}
