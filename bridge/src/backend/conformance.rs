//! Checks that a backend keeps the promises of [`backend`](super). A test of a backend makes a [`Rig`] and calls [`check`], which
//! panics if a promise is broken.

use std::collections::HashMap;
use std::time::Duration;

use futures_util::stream::{FuturesOrdered, StreamExt};

use super::{Backend, Batch, Begun, Claim, Content, Entry, Failure, Limits, Place, Reader, Sender};

/// A server for tests, and faults that are injected without the backend.
pub trait Rig: Sync {
    /// The backend.
    type Backend: Backend + Clone;

    /// A connected backend to the server.
    fn backend(&self) -> impl std::future::Future<Output = Self::Backend> + Send;

    /// The server loses the stream and the state of its origins, as in a restart without persistence.
    fn lose(&self, stream: &str) -> impl std::future::Future<Output = ()> + Send;

    /// From now on the server refuses appends, or accepts them again. Reads are not affected.
    fn refuse(&self, refuse: bool) -> impl std::future::Future<Output = ()> + Send;

    /// Breaks all connections of the backend.
    fn cut(&self) -> impl std::future::Future<Output = ()> + Send;

    /// Adds something to the stream that a bridge would not.
    fn scribble(&self, stream: &str) -> impl std::future::Future<Output = ()> + Send;
}

/// A timeout for calls that hang.
const WATCHDOG: Duration = Duration::from_secs(60);

/// All promises.
pub async fn check<R: Rig>(rig: &R) {
    let all = async {
        begins(rig).await;
        fences(rig).await;
        appends_once(rig).await;
        refuses_holes(rig).await;
        goes_on_after_a_loss(rig).await;
        reads_in_order(rig).await;
        waits_for_entries(rig).await;
        gives_all_to_each_reader(rig).await;
        tells_what_is_malformed(rig).await;
        tells_what_was_trimmed(rig).await;
        notices_another_stream(rig).await;
        tells_of_origins(rig).await;
        survives_cuts(rig).await;
        survives_refusals(rig).await;
        tends(rig).await;
    };
    tokio::time::timeout(WATCHDOG, all).await.expect("no call hangs");
}

fn none() -> Claim {
    Claim { epoch: 0, number: 0, position: String::new() }
}

/// Begins an epoch as a new origin of a stream.
async fn sender<B: Backend>(backend: &B, stream: &str, origin: &str) -> Sender {
    let begun = backend.begin(stream, origin, &none()).await.expect("begin");
    Sender { stream: stream.to_owned(), origin: origin.to_owned(), epoch: begun.epoch }
}

/// The messages `first` to `last`, one per entry, whose texts are their numbers.
fn batch(first: u64, last: u64) -> Batch {
    let entry = |number: u64| Content { kind: b'm', takes: 1, payload: number.to_string().into_bytes() };
    Batch { first, entries: (first..=last).map(entry).collect(), position: format!("ring {last}") }
}

/// Reads until this number of entries was read.
async fn entries<B: Backend>(backend: &B, stream: &str, after: Place, count: usize) -> Vec<Entry> {
    let mut found = Vec::new();
    let mut reader = backend.read(stream, after).await.expect("read");
    while found.len() < count {
        let read = reader.next().await.expect("next");
        found.extend(read.into_iter().map(|read| read.expect("an entry")));
    }
    assert_eq!(found.len(), count, "and no more: {found:?}");
    found
}

fn texts(entries: &[Entry]) -> Vec<String> {
    entries.iter().map(|entry| String::from_utf8_lossy(&entry.payload).into_owned()).collect()
}

async fn begins<R: Rig>(rig: &R) {
    let backend = rig.backend().await;
    let claim = Claim { epoch: 7, number: 5, position: "ring: 5 °".to_owned() };
    let first = backend.begin("begin", "host/a", &claim).await.expect("begin");
    assert_eq!(first, Begun { epoch: first.epoch, number: 5, position: claim.position.clone(), known: false });
    assert!(first.epoch > 7, "an epoch above that of the claim, not {}", first.epoch);
    let other = Claim { epoch: 0, number: 99, position: "elsewhere".to_owned() };
    let second = backend.begin("begin", "host/a", &other).await.expect("begin again");
    assert_eq!(
        (second.number, second.position.as_str(), second.known),
        (5, "ring: 5 °", true),
        "what the server knows"
    );
    assert!(second.epoch > first.epoch, "a later epoch");
    let third =
        backend.begin("begin", "host/a", &Claim { epoch: second.epoch + 5, ..none() }).await.expect("and again");
    assert!(third.epoch > second.epoch + 5, "above the claim's, also where the server knows the origin");
    assert!(!backend.begin("begin", "host/b", &none()).await.expect("another").known, "origins are their own");
    assert!(!backend.begin("begin 2", "host/a", &none()).await.expect("another").known, "streams are their own");
}

async fn fences<R: Rig>(rig: &R) {
    let backend = rig.backend().await;
    let old = sender(&backend, "fence", "host/a").await;
    assert_eq!(backend.append(&old, &batch(1, 2), 0).await, Ok(()));
    let new = sender(&backend, "fence", "host/a").await;
    assert_eq!(backend.append(&old, &batch(3, 3), 2).await, Err(Failure::Fenced), "the next batch of an old epoch");
    assert_eq!(backend.append(&old, &batch(9, 9), 2).await, Err(Failure::Fenced), "and one beyond a hole");
    assert_eq!(backend.append(&new, &batch(3, 4), 2).await, Ok(()));
    assert_eq!(backend.append(&old, &batch(5, 5), 4).await, Err(Failure::Fenced), "also later");
    let found = entries(&backend, "fence", Place::START, 4).await;
    assert_eq!(texts(&found), ["1", "2", "3", "4"]);
    let epochs: Vec<u64> = found.iter().map(|entry| entry.epoch).collect();
    assert_eq!(epochs, [old.epoch, old.epoch, new.epoch, new.epoch]);
}

async fn appends_once<R: Rig>(rig: &R) {
    let backend = rig.backend().await;
    let a = sender(&backend, "once", "host/a").await;
    for (first, last) in [(1, 3), (1, 3), (2, 5), (1, 4), (6, 6)] {
        assert_eq!(backend.append(&a, &batch(first, last), 0).await, Ok(()), "{first} to {last}");
    }
    let found = entries(&backend, "once", Place::START, 6).await;
    assert_eq!(texts(&found), ["1", "2", "3", "4", "5", "6"]);
    assert!(
        found.iter().all(|entry| entry.payload == entry.number.to_string().into_bytes()),
        "their numbers: {found:?}"
    );
    let begun = backend.begin("once", "host/a", &none()).await.expect("begin");
    assert_eq!((begun.number, begun.position.as_str()), (6, "ring 6"), "the last batch that brought anything");
}

async fn refuses_holes<R: Rig>(rig: &R) {
    let backend = rig.backend().await;
    let a = sender(&backend, "hole", "host/a").await;
    assert_eq!(backend.append(&a, &batch(2, 2), 0).await, Err(Failure::Hole), "the first message is number 1");
    assert_eq!(backend.append(&a, &batch(1, 2), 0).await, Ok(()));
    assert_eq!(backend.append(&a, &batch(4, 5), 2).await, Err(Failure::Hole));
    assert_eq!(backend.append(&a, &batch(6, 6), 2).await, Err(Failure::Hole), "and all that follow");
    assert_eq!(backend.append(&a, &batch(3, 3), 2).await, Ok(()), "the one that was missing");
    assert_eq!(backend.append(&a, &batch(4, 5), 3).await, Ok(()), "and those behind it, again");
    assert_eq!(texts(&entries(&backend, "hole", Place::START, 5).await), ["1", "2", "3", "4", "5"]);
}

async fn goes_on_after_a_loss<R: Rig>(rig: &R) {
    let backend = rig.backend().await;
    let a = sender(&backend, "loss", "host/a").await;
    assert_eq!(backend.append(&a, &batch(1, 4), 0).await, Ok(()));
    rig.lose("loss").await;
    backend.connected().await;
    // 4 messages are acknowledged; 5 and 6, and 7 are in flight.
    assert_eq!(backend.append(&a, &batch(7, 7), 4).await, Err(Failure::Hole));
    assert_eq!(backend.append(&a, &batch(5, 6), 4).await, Ok(()), "what was acknowledged is not sent again");
    assert_eq!(backend.append(&a, &batch(7, 7), 6).await, Ok(()));
    let found = entries(&backend, "loss", Place::START, 3).await;
    assert_eq!(found.iter().map(|entry| entry.number).collect::<Vec<_>>(), [5, 6, 7]);
    let begun = backend.begin("loss", "host/a", &Claim { epoch: a.epoch, ..none() }).await.expect("begin");
    assert_eq!((begun.number, begun.known), (7, true));
}

async fn reads_in_order<R: Rig>(rig: &R) {
    let backend = rig.backend().await;
    let (a, b) = (sender(&backend, "order", "host/a").await, sender(&backend, "order", "höst/ring-b").await);
    let all_bytes: Vec<u8> = (0..=255).collect();
    let large = vec![b'x'; (backend.batch_bytes() / 2).min(1 << 20)];
    let content = |kind, takes, payload: &[u8]| Content { kind, takes, payload: payload.to_vec() };
    let given = [
        content(b'm', 1, &all_bytes),
        content(b'I', 3, b"1 -2 3"),
        content(b'u', 1, b""),
        content(b'g', 40, b"overrun 40"),
        content(b'M', 2, &large),
    ];
    let mixed = Batch { first: 1, entries: given.to_vec(), position: "p".to_owned() };
    assert_eq!(mixed.last(), 47);
    assert_eq!(backend.append(&a, &mixed, 0).await, Ok(()));
    assert_eq!(backend.append(&b, &batch(1, 2), 0).await, Ok(()));
    assert_eq!(backend.append(&a, &batch(48, 48), 47).await, Ok(()));
    let found = entries(&backend, "order", Place::START, 8).await;
    assert!(found.windows(2).all(|two| two[0].place < two[1].place), "places grow: {:?}", found[0].place);
    assert!(found[0].place > Place::START);
    for (entry, given) in found.iter().zip(&given) {
        assert_eq!((entry.kind, &entry.payload, &entry.origin), (given.kind, &given.payload, &a.origin));
    }
    let numbers: Vec<(&str, u64)> = found.iter().map(|entry| (entry.origin.as_str(), entry.number)).collect();
    let b_origin = b.origin.as_str();
    assert_eq!(numbers[..5].iter().map(|each| each.1).collect::<Vec<_>>(), [1, 2, 5, 6, 46]);
    assert_eq!(numbers[5..], [(b_origin, 1), (b_origin, 2), ("host/a", 48)]);
    assert_eq!(entries(&backend, "order", found[4].place, 3).await, found[5..], "from any place on");
    assert_eq!(entries(&backend, "order", Place::START, 8).await, found, "as often as wanted");
}

async fn waits_for_entries<R: Rig>(rig: &R) {
    let backend = rig.backend().await;
    let mut reader = backend.read("wait", Place::START).await.expect("a stream that is not there yet");
    // Futures are dropped while they wait.
    for _ in 0..20 {
        let waited = tokio::time::timeout(Duration::from_millis(2), reader.next()).await;
        assert!(!matches!(waited, Ok(Ok(ref found)) if !found.is_empty()), "nothing is there: {waited:?}");
    }
    let a = sender(&backend, "wait", "host/a").await;
    let mut found = Vec::new();
    for number in 1..=50 {
        assert_eq!(backend.append(&a, &batch(number, number), number - 1).await, Ok(()));
        let patience = Duration::from_micros(number * 40);
        if let Ok(read) = tokio::time::timeout(patience, reader.next()).await {
            found.extend(read.expect("next").into_iter().map(|read| read.expect("an entry").number));
        }
    }
    while found.len() < 50 {
        found.extend(numbers_of(&mut reader).await);
    }
    assert_eq!(found, (1..=50).collect::<Vec<u64>>(), "each once");
}

/// One reader has read everything and waits for new entries; another one starts at the beginning, and is slow.
async fn gives_all_to_each_reader<R: Rig>(rig: &R) {
    let backend = rig.backend().await;
    let a = sender(&backend, "readers", "host/a").await;
    assert_eq!(backend.append(&a, &batch(1, 300), 0).await, Ok(()));
    let mut readers = Vec::new();
    for _ in 0..2 {
        readers.push((backend.read("readers", Place::START).await.expect("read"), Vec::new()));
    }
    let [ahead, behind] = readers.as_mut_slice() else { unreachable!("two") };
    for number in 301..=400 {
        assert_eq!(backend.append(&a, &batch(number, number), number - 1).await, Ok(()));
        while ahead.1.last() != Some(&number) {
            ahead.1.extend(numbers_of(&mut ahead.0).await);
        }
        if number % 3 == 0 {
            behind.1.extend(numbers_of(&mut behind.0).await);
        }
    }
    while behind.1.last() != Some(&400) {
        behind.1.extend(numbers_of(&mut behind.0).await);
    }
    for (_, numbers) in readers {
        assert_eq!(numbers, (1..=400).collect::<Vec<u64>>(), "each once, and none is left out");
    }
}

async fn numbers_of(reader: &mut impl Reader) -> Vec<u64> {
    reader.next().await.expect("next").into_iter().map(|read| read.expect("an entry").number).collect()
}

async fn tells_what_is_malformed<R: Rig>(rig: &R) {
    let backend = rig.backend().await;
    let a = sender(&backend, "scribble", "host/a").await;
    assert_eq!(backend.append(&a, &batch(1, 1), 0).await, Ok(()));
    rig.scribble("scribble").await;
    assert_eq!(backend.append(&a, &batch(2, 2), 1).await, Ok(()));
    let mut reader = backend.read("scribble", Place::START).await.expect("read");
    let mut found = Vec::new();
    while found.len() < 3 {
        found.extend(reader.next().await.expect("next"));
    }
    assert!(found[0].is_ok() && found[1].is_err() && found[2].is_ok(), "in its place: {found:?}");
    assert!(!found[1].as_ref().expect_err("malformed").why.is_empty());
}

async fn tells_what_was_trimmed<R: Rig>(rig: &R) {
    let backend = rig.backend().await;
    let empty = backend.ends("trim", Place::START).await.expect("ends");
    assert_eq!((empty.first, empty.newest, empty.last, empty.continues), (None, None, Place::START, true));
    let a = sender(&backend, "trim", "host/a").await;
    for number in 1..=400 {
        assert_eq!(backend.append(&a, &batch(number, number), number - 1).await, Ok(()));
    }
    let all = entries(&backend, "trim", Place::START, 400).await;
    let ends = backend.ends("trim", all[9].place).await.expect("ends");
    let (oldest, newest) = (Some(all[0].place), Some(all[399].place));
    assert_eq!((ends.first, ends.newest, ends.last, ends.continues), (oldest, newest, all[399].place, true));
    let limits = Limits { messages: Some(100), ..Limits::default() };
    backend.trim("trim", &limits, 1.0).await.expect("trim");
    let ends = backend.ends("trim", all[9].place).await.expect("ends");
    let first = ends.first.expect("some are left");
    assert!(first > all[9].place && first <= all[300].place, "some were dropped, not too many: {first}");
    assert_eq!(
        (ends.last, ends.continues),
        (all[399].place, true),
        "a place that was trimmed may be one of this stream"
    );
    let kept = all.iter().filter(|entry| entry.place >= first).count();
    assert_eq!(entries(&backend, "trim", all[9].place, kept).await[0].place, first, "reading goes on behind the gap");
}

async fn notices_another_stream<R: Rig>(rig: &R) {
    let backend = rig.backend().await;
    let a = sender(&backend, "other", "host/a").await;
    assert_eq!(backend.append(&a, &batch(1, 3), 0).await, Ok(()));
    let found = entries(&backend, "other", Place::START, 3).await;
    let ends = backend.ends("other", found[2].place).await.expect("ends");
    let at = ends.at.expect("an entry at the place");
    assert!(ends.continues && at.origin == "host/a" && at.epoch == a.epoch && (1..=3).contains(&at.first), "{at:?}");
    assert_eq!(at.stamp, found[2].stamp, "what tells it from another one there");
    let ahead = Place(found[2].place.0 + 1_000_000, 0);
    assert!(!backend.ends("other", ahead).await.expect("ends").continues, "behind the last entry of all");
    rig.lose("other").await;
    backend.connected().await;
    let ends = backend.ends("other", found[2].place).await.expect("ends");
    assert_eq!((ends.first, ends.continues), (None, false), "nothing is there");
}

async fn tells_of_origins<R: Rig>(rig: &R) {
    let backend = rig.backend().await;
    assert_eq!(backend.origins("origins").await.expect("origins"), super::Origins::default());
    let (a, b) = (sender(&backend, "origins", "host/a").await, sender(&backend, "origins", "host/b").await);
    assert_eq!(backend.append(&a, &batch(1, 3), 0).await, Ok(()));
    assert_eq!(backend.append(&b, &batch(1, 1), 0).await, Ok(()));
    let mut origins = backend.origins("origins").await.expect("origins");
    origins.numbers.sort();
    assert_eq!(origins.numbers, [("host/a".to_owned(), a.epoch, 3), ("host/b".to_owned(), b.epoch, 1)]);
    assert_eq!(origins.newest, Some(origins.last));
    assert_eq!(origins.newest, entries(&backend, "origins", Place::START, 4).await.last().map(|entry| entry.place));
}

async fn survives_cuts<R: Rig>(rig: &R) {
    let backend = rig.backend().await;
    let a = sender(&backend, "cut", "host/a").await;
    let mut reader = backend.read("cut", Place::START).await.expect("read");
    let mut acknowledged = 0;
    for round in 1..=5 {
        rig.cut().await;
        let next = batch(acknowledged + 1, acknowledged + 2);
        loop {
            backend.connected().await;
            match backend.append(&a, &next, acknowledged).await {
                Ok(()) => break,
                Err(Failure::Lost(_)) => tokio::time::sleep(Duration::from_millis(1)).await,
                other => panic!("round {round}: {other:?}"),
            }
        }
        acknowledged = next.last();
    }
    // The reader's connection was cut, too: it returns a failure, or continues without a loss.
    let mut found = Vec::new();
    let mut place = Place::START;
    while found.len() < 10 {
        match reader.next().await {
            Ok(read) => {
                for entry in read.into_iter().map(|read| read.expect("an entry")) {
                    place = entry.place;
                    found.push(entry.number);
                }
            }
            Err(Failure::Lost(_)) => {
                backend.connected().await;
                match backend.read("cut", place).await {
                    Ok(again) => reader = again,
                    Err(Failure::Lost(_)) => tokio::time::sleep(Duration::from_millis(1)).await,
                    Err(other) => panic!("read: {other}"),
                }
            }
            Err(other) => panic!("next: {other}"),
        }
    }
    assert_eq!(found, (1..=10).collect::<Vec<u64>>());
    assert!(backend.health().connected);
}

/// Two senders, each with a window of batches, and a server that refuses some of them.
async fn survives_refusals<R: Rig>(rig: &R) {
    const BATCHES: u64 = 120;
    let backend = rig.backend().await;
    let (a, b) = (sender(&backend, "refuse", "host/a").await, sender(&backend, "refuse", "host/b").await);
    let sends = |me: Sender| {
        let backend = backend.clone();
        async move {
            let (mut acknowledged, mut refused) = (0, 0u32);
            while acknowledged < BATCHES * 3 {
                let mut window = FuturesOrdered::new();
                for k in 0..backend.window() as u64 {
                    let first = acknowledged + 1 + 3 * k;
                    if first <= BATCHES * 3 {
                        let next = batch(first, first + 2);
                        let (backend, me) = (backend.clone(), me.clone());
                        window.push_back(async move { (next.last(), backend.append(&me, &next, acknowledged).await) });
                    }
                }
                let mut failed = false;
                while let Some((last, result)) = window.next().await {
                    match result {
                        Ok(()) if !failed => acknowledged = last,
                        Ok(()) => {}
                        Err(Failure::Full(_) | Failure::Refused(_) | Failure::Hole) => {
                            failed = true;
                            refused += 1;
                        }
                        Err(other) => panic!("{other}"),
                    }
                }
                if failed {
                    tokio::time::sleep(Duration::from_micros(300)).await;
                }
            }
            refused
        }
    };
    let toggles = async {
        loop {
            rig.refuse(true).await;
            tokio::time::sleep(Duration::from_micros(700)).await;
            rig.refuse(false).await;
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::select! {
        _ = async { tokio::join!(sends(a), sends(b)) } => {}
        () = toggles => {}
    }
    rig.refuse(false).await;
    let mut numbers = HashMap::<String, Vec<u64>>::new();
    for entry in entries(&backend, "refuse", Place::START, 2 * 3 * BATCHES as usize).await {
        numbers.entry(entry.origin).or_default().push(entry.number);
    }
    for origin in ["host/a", "host/b"] {
        assert_eq!(numbers[origin], (1..=BATCHES * 3).collect::<Vec<_>>(), "{origin}: each once, and in order");
    }
}

async fn tends<R: Rig>(rig: &R) {
    let backend = rig.backend().await;
    let a = sender(&backend, "tend", "host/a").await;
    assert_eq!(backend.append(&a, &batch(1, 1), 0).await, Ok(()));
    assert_eq!(backend.tend(&a, Duration::from_secs(3600)).await, Ok(0), "none is that old");
    assert_eq!(backend.begin("tend", "host/a", &none()).await.expect("begin").number, 1);
}
