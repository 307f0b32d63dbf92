//! Both directions over the backend in memory, under each failure that the contract leaves open: refusals, lost answers, a server
//! that goes away, loses its data or is restored from a copy, and directions that are killed at whatever they wait for.

mod common;

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::program::wait_for;
use common::*;
use data_pubsub_shared::Variant;
use pubsub_bridge::backend::memory::{Faults, Memory};
use pubsub_bridge::ring::RingFile;

fn seconds() -> Duration {
    Duration::from_secs_f64(std::env::var("XT_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(1.0))
}

/// What a storm is like.
#[derive(Clone, Copy, Default)]
struct Storm {
    variant: Option<Variant>,
    out: Option<u64>,
    pack: u64,
    batch: usize,
    faults: Faults,
    away: bool,
    kills: bool,
    trims: Option<usize>,
    /// Reasons for which messages may be lost.
    allowed: &'static [&'static str],
}

/// Three rings into one stream and that into three others, for a while; then each message is accounted for.
async fn storm(name: &str, storm: Storm) {
    let seed = std::env::var("XT_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(4711);
    let mut random = Random(seed);
    let folder = Folder::new(name);
    let server = Arc::new(Memory::new(seed));
    let variant = storm.variant.unwrap_or(Variant::Int);
    let capacity = storm.out.unwrap_or(1 << 16);
    let mut publishers = Vec::new();
    let mut receivers = Vec::new();
    let mut options = (Vec::new(), Vec::new());
    for number in 0..3 {
        let out = folder.ring(&format!("out{number}"), variant, capacity);
        publishers.push(Publisher::new(&out, number + 1));
        let mut up = up_options(&folder, out, "s", &number.to_string());
        (up.pack, up.batch) = (storm.pack.max(1), storm.batch.max(1));
        options.0.push(up);
        let inner = folder.ring(&format!("in{number}"), variant, 1 << 17);
        receivers.push(Receiver::new(&inner));
        options.1.push(down_options(&folder, inner, &["s"], &number.to_string()));
    }
    let mut ups: Vec<_> = options.0.iter().map(|options| Some(start_up(&server, options))).collect();
    let mut downs: Vec<_> = options.1.iter().map(|options| Some(start_down(&server, options))).collect();
    server.set_faults(storm.faults);
    let end = Instant::now() + seconds();
    while Instant::now() < end {
        for publisher in &mut publishers {
            publisher.publish(random.below(40));
        }
        tokio::time::sleep(Duration::from_micros(random.below(2000))).await;
        if storm.away && random.below(40) == 0 {
            server.set_away(true);
            tokio::time::sleep(Duration::from_millis(random.below(30))).await;
            server.set_away(false);
        }
        if storm.kills && random.below(20) == 0 {
            let index = random.below(3) as usize;
            if random.below(2) == 0 {
                ups[index].take().expect("one").kill().await;
                ups[index] = Some(start_up(&server, &options.0[index]));
            } else {
                downs[index].take().expect("one").kill().await;
                downs[index] = Some(start_down(&server, &options.1[index]));
            }
        }
        if let Some(keep) = storm.trims.filter(|_| random.below(10) == 0) {
            server.drop_oldest("s", keep);
        }
        for receiver in &mut receivers {
            receiver.read();
        }
    }
    server.set_faults(Faults::default());
    for up in &mut ups {
        assert_eq!(up.take().expect("one").stop().await, Ok(true), "all is sent");
    }
    let published: u64 = publishers.iter().map(|publisher| publisher.published).sum();
    for (index, receiver) in receivers.iter_mut().enumerate() {
        let status = downs[index].as_ref().expect("one").control.clone();
        let mut accounted = 0;
        until("all is received or lost", || {
            let lost: u64 = status.status().lost.values().sum();
            accounted = receiver.read() as u64 + lost;
            accounted >= published
        })
        .await;
        assert_eq!(accounted, published, "delivered + lost = published: {:?}", status.status().lost);
        let _ = receiver.by_ring();
        let lost = status.status().lost.clone();
        let allowed = lost_for(&lost, storm.allowed);
        assert_eq!(allowed, lost.values().sum::<u64>(), "for no other reason than {:?}: {lost:?}", storm.allowed);
    }
    for receiver in &receivers[1..] {
        assert_one_order(&receivers[0].received, &receiver.received);
    }
    for down in downs.into_iter().flatten() {
        down.stop().await.expect("it ends well");
    }
    println!("{name}: {published} published, {} received", receivers[0].received.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusals_lose_nothing() {
    let faults = Faults { full: 100, ..Faults::default() };
    storm("refusals", Storm { pack: 1, batch: 3, faults, ..Storm::default() }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_answers_lose_nothing() {
    let faults = Faults { lost_before: 30, lost_after: 30, ..Faults::default() };
    storm("answers", Storm { pack: 7, batch: 3, faults, variant: Some(Variant::Str), ..Storm::default() }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_comes_and_goes_loses_nothing() {
    storm("away", Storm { pack: 50, batch: 100, away: true, ..Storm::default() }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_lose_nothing() {
    storm("kills", Storm { pack: 5, batch: 5, kills: true, ..Storm::default() }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn overruns_are_counted() {
    let storm_of =
        Storm { pack: 5, batch: 5, out: Some(64), kills: true, variant: Some(Variant::Str), ..Storm::default() };
    storm("overruns", Storm { allowed: &["overrun", "restart"], away: true, ..storm_of }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_trimmed_is_counted() {
    let storm_of = Storm { pack: 3, batch: 3, kills: true, trims: Some(20), ..Storm::default() };
    storm("trims", Storm { allowed: &["trimmed"], ..storm_of }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_at_once_is_accounted_for() {
    let faults = Faults { full: 30, lost_before: 10, lost_after: 10 };
    let storm_of = Storm {
        pack: 3,
        batch: 3,
        kills: true,
        away: true,
        trims: Some(50),
        out: Some(256),
        faults,
        ..Storm::default()
    };
    storm("everything", Storm { allowed: &["trimmed", "overrun", "restart"], ..storm_of }).await;
}

/// A lossless ring waits for its readers, and the bridge with it, where it can be told to end; no other task does. Also where another
/// publisher has taken the room that the bridge had found, which comes and goes here much oftener than the bridge looks. Not a test
/// of tokio's, whose clock would stop together with its only thread.
#[test]
fn a_full_lossless_ring_holds_up_no_other_task() {
    let folder = Folder::new("holds-up");
    let runtime = runtime(1);
    let _inside = runtime.enter();
    let server = Arc::new(Memory::new(1));
    let inner = RingFile { lossless: true, ..folder.ring("in", Variant::Int, 16) };
    let ring = inner.open().expect("a ring").ring;
    let beats = Arc::new(Mutex::new(0_u64));
    let beating = Arc::clone(&beats);
    runtime.spawn(async move {
        loop {
            *beating.lock().expect("beats") += 1;
            tokio::time::sleep(Duration::from_micros(100)).await;
        }
    });
    let count = || *beats.lock().expect("beats");
    let mut reader = ring.subscribe(true);
    let fill = || while ring.try_publish_int(0).expect("an integer") {};
    let mut random = Random(4711);
    for round in 0..30 {
        let (out, name) = (folder.ring(&format!("out{round}"), Variant::Int, 64), format!("s{round}"));
        let mut publisher = Publisher::new(&out, 1);
        let up = start_up(&server, &up_options(&folder, out, &name, &name));
        let down = start_down(&server, &down_options(&folder, inner.clone(), &[&name], &name));
        // What the last one has left.
        while reader.poll_int().expect("an integer").is_some() {}
        // One message at a time, for which there is room half of the time; until some came, and for an instant more.
        let begun = Instant::now();
        let (mut received, mut end) = (0, None);
        while end.is_none_or(|end| Instant::now() < end) {
            if received >= publisher.published {
                publisher.publish(1);
            }
            while let Some(value) = reader.poll_int().expect("an integer") {
                received += u64::from(value != 0);
            }
            if received > 3 && end.is_none() {
                end = Some(Instant::now() + Duration::from_micros(random.below(4000)));
            }
            let until = Instant::now() + Duration::from_nanos(random.below(4000));
            while Instant::now() < until {}
            fill();
            assert!(begun.elapsed() < WATCHDOG, "it publishes");
        }
        // It is full, the next one waits or is about to, and there are no reads.
        let before = count();
        wait_for("other tasks go on", || (count() > before + 2).then_some(()));
        assert_eq!(runtime.block_on(down.stop()), Ok(true), "it ends, though the reader does not read");
        assert_eq!(runtime.block_on(up.stop()), Ok(true));
    }
}
