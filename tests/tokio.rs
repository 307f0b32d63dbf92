//! Subscribers in a tokio runtime, beside publishers in threads and in another process.
#![cfg(feature = "tokio")]

use std::future::poll_fn;
use std::pin::Pin;
use std::time::Duration;

use data_pubsub_shared::typed::{AsyncSubscriber, RecvError, Ring, Subscriber, TryRecvError};
use futures_core::Stream;
use tokio::io::unix::AsyncFd;
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// Longer than anything here takes.
const FOREVER: Duration = Duration::from_secs(120);

fn ring(capacity: u64) -> Ring<i64> {
    Ring::builder().capacity(capacity).anonymous().unwrap()
}

fn watched(subscriber: Subscriber<i64>) -> AsyncSubscriber<i64> {
    AsyncSubscriber::new(subscriber).unwrap()
}

/// Publishes 1 ..= count, each when the last was answered: so that the subscriber sleeps again and again.
async fn answers(subscriber: &mut AsyncSubscriber<i64>, ring: &Ring<i64>, count: i64) {
    let (asks, answers) = (ring.publisher().unwrap(), self::ring(2));
    let answer = answers.publisher().unwrap();
    let mut answered = answers.subscribe();
    let asking = std::thread::spawn(move || {
        for i in 1..=count {
            asks.publish(i).unwrap();
            assert_eq!(answered.recv(), Ok(i));
        }
    });
    for i in 1..=count {
        assert_eq!(timeout(FOREVER, subscriber.recv()).await.unwrap(), Ok(i));
        answer.publish(i).unwrap();
    }
    asking.join().unwrap();
}

#[test]
fn each_message_wakes_its_task() {
    runtime().block_on(async {
        let ring = ring(16);
        answers(&mut watched(ring.subscribe()), &ring, 2_000).await;
    });
}

#[test]
fn several_tasks_get_every_message_and_every_gap() {
    const COUNT: i64 = 20_000;
    runtime().block_on(async {
        let ring = ring(64);
        let tasks: Vec<_> = (0..3)
            .map(|_| {
                let mut subscriber = watched(ring.subscribe());
                tokio::spawn(async move {
                    let mut next = 1;
                    while next <= COUNT {
                        match timeout(FOREVER, subscriber.recv()).await.unwrap() {
                            Ok(value) => {
                                assert_eq!(value, next);
                                next += 1;
                            }
                            Err(RecvError::Lagged(count)) => next += count as i64,
                            Err(error) => panic!("{}", error),
                        }
                    }
                    next
                })
            })
            .collect();
        let publisher = ring.publisher().unwrap();
        let publishing = std::thread::spawn(move || (1..=COUNT).for_each(|i| publisher.publish(i).unwrap()));
        for task in tasks {
            assert_eq!(task.await.unwrap(), COUNT + 1);
        }
        publishing.join().unwrap();
    });
}

#[test]
fn a_dropped_future_loses_nothing() {
    runtime().block_on(async {
        let ring = ring(16);
        let (publisher, mut subscriber) = (ring.publisher().unwrap(), watched(ring.subscribe()));
        for i in 0..100 {
            assert!(timeout(Duration::from_micros(100), subscriber.recv()).await.is_err());
            publisher.publish(i).unwrap();
            assert_eq!(timeout(FOREVER, subscriber.recv()).await.unwrap(), Ok(i));
        }
        let mut inner = subscriber.into_inner();
        publisher.publish(7).unwrap();
        assert_eq!(inner.try_recv(), Ok(7));
        answers(&mut watched(inner), &ring, 10).await;
    });
}

#[test]
fn a_stream_ends_when_its_ring_is_gone_and_read() {
    let path = std::env::temp_dir().join(format!("pubsub-tokio-{}", std::process::id()));
    runtime().block_on(async {
        let ring = Ring::<str>::builder().capacity(16).open(&path).unwrap();
        let mut stream = AsyncSubscriber::new(ring.subscribe()).unwrap();
        ring.publisher().unwrap().publish_all(&["a", "b"]).unwrap();
        ring.unlink().unwrap();
        let mut all = Vec::new();
        while let Some(message) =
            timeout(FOREVER, poll_fn(|context| Pin::new(&mut stream).poll_next(context))).await.unwrap()
        {
            all.push(message.unwrap());
        }
        assert_eq!(all, ["a", "b"]);
        assert!(stream.get_ref().is_gone());
    });
}

#[test]
fn a_watched_subscriber_is_what_an_async_fd_takes() {
    runtime().block_on(async {
        let ring = ring(16);
        let mut fd = AsyncFd::new(ring.subscribe().watched().unwrap()).unwrap();
        let publisher = ring.publisher().unwrap();
        std::thread::spawn(move || (0..1000).for_each(|i| publisher.publish(i).unwrap()));
        let mut next = 0;
        while next < 1000 {
            let mut ready = timeout(FOREVER, fd.readable_mut()).await.unwrap().unwrap();
            match ready.get_inner_mut().try_recv() {
                Ok(value) => {
                    assert_eq!(value, next);
                    next += 1;
                }
                Err(TryRecvError::Empty) => ready.clear_ready(),
                Err(TryRecvError::Lagged(count)) => next += count as i64,
                Err(error) => panic!("{}", error),
            }
        }
    });
}
