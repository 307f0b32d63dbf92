//! Models of the table of readers and of lossless rings: no reader loses a message that publishers must keep for it while readers
//! join, go back, leave or are killed, and no publisher sleeps while there is room.
//!
//! Each thread is a process, identified by its number. In models with one publisher, each message is its position in the ring.

use std::sync::Arc;

use loom::cell::UnsafeCell;
use loom::thread;

use super::super::armed::killed_at;
use super::super::member::become_member;
use super::{explore, explore_deeper, explore_less};
use crate::readers::Wanted;
use crate::{ErrorKind, Options, Ring, SubscribeOptions, Subscriber, Variant};

/// A lossless ring of 32-bit integers for two readers. The main thread is process 1.
fn lossless(capacity: u64) -> Arc<Ring> {
    become_member(1);
    let wanted = Options { capacity, readers: 2, lossless: true, ..Options::default() };
    Arc::new(wanted.anonymous(Variant::Int32).unwrap())
}

fn publish(ring: &Ring, values: std::ops::Range<i64>) {
    values.for_each(|value| assert!(ring.try_publish_int(value).unwrap()));
}

/// Publishes values until there is no more room. Returns how many were published.
fn publish_some(ring: &Ring, values: std::ops::Range<i64>) -> usize {
    values.take_while(|value| ring.try_publish_int(*value).unwrap()).count()
}

/// Reads at most `most` messages; each is its position.
fn read(sub: &mut Subscriber, most: usize) {
    for _ in 0..most {
        let position = sub.cursor();
        match sub.poll_int().unwrap() {
            Some(value) => assert_eq!((value as u64, sub.overflow_count()), (position, 0)),
            None => break,
        }
    }
}

/// After all publishers have ended: reads the rest, and checks that no message was lost.
fn read_all(ring: &Ring, sub: &mut Subscriber) {
    while sub.cursor() < ring.write_pos() {
        read(sub, 1);
    }
    assert_eq!((sub.overflow_count(), sub.cursor()), (0, ring.write_pos()));
}

fn named(name: &str) -> SubscribeOptions<'_> {
    SubscribeOptions { name: Some(name), ..SubscribeOptions::default() }
}

/// A full ring whose only reader has read all, so that the next publisher that scans the table finds room.
fn with_room() -> (Arc<Ring>, Subscriber) {
    let ring = lossless(2);
    let mut sub = ring.subscribe(false);
    publish(&ring, 0..2);
    read(&mut sub, 2);
    (ring, sub)
}

fn joins(all: bool) {
    let (ring, mut first) = with_room();
    let other = Arc::clone(&ring);
    let publisher = thread::spawn(move || {
        become_member(2);
        publish_some(&other, 2..4)
    });
    let mut sub = ring.subscribe(all);
    read(&mut sub, 1);
    publisher.join().unwrap();
    read_all(&ring, &mut sub);
    read_all(&ring, &mut first);
}

/// Another thread raises the limit and publishes nothing.
fn joins_beside_a_raise(all: bool) {
    let (ring, _first) = with_room();
    let other = Arc::clone(&ring);
    let publisher = thread::spawn(move || {
        become_member(2);
        publish_some(&other, 2..3)
    });
    let other = Arc::clone(&ring);
    let raises = thread::spawn(move || other.mapping.readers.raise_limit(1));
    let mut sub = ring.subscribe(all);
    publisher.join().unwrap();
    raises.join().unwrap();
    read_all(&ring, &mut sub);
}

#[test]
fn who_joins_loses_nothing() {
    for (all, place) in [(false, "end"), (true, "oldest")] {
        explore(&format!("a reader that joins at the {}, beside a publisher", place), move || joins(all));
        explore_less(&format!("a reader that joins at the {}, beside claim and raise", place), move || {
            joins_beside_a_raise(all)
        });
    }
}

/// In loom a load never returns a value that is stored later, so no outcome shows whether a message was read before its slot was
/// claimed. Therefore a cell that is not atomic represents the slot: loom reports a race if nothing orders the two accesses.
#[test]
fn what_is_claimed_was_read() {
    explore("a reader reports, another thread raises the limit, and a third claims", || {
        let ring = lossless(2);
        let readers = *ring.mapping.readers;
        let (mut seat, _) = readers.take(Wanted::default(), &ring.mapping.reading).unwrap();
        readers.arrive(&mut seat, |_| 0);
        publish(&ring, 0..2);
        let slot = Arc::new(UnsafeCell::new(()));
        let read = Arc::clone(&slot);
        let reader = thread::spawn(move || {
            read.with(|_| ());
            readers.report(&seat, 1, 0, 1);
        });
        let raises = thread::spawn(move || readers.raise_limit(1));
        if readers.has_room(2, 1) {
            slot.with_mut(|_| ());
        }
        reader.join().unwrap();
        raises.join().unwrap();
        readers.raise_limit(1);
        assert!(readers.has_room(2, 1) && !readers.has_room(2, 2));
    });
}

#[test]
fn who_goes_back_loses_nothing_that_was_kept() {
    explore("a reader that goes back beside a publisher", || {
        let (ring, mut sub) = with_room();
        let other = Arc::clone(&ring);
        let publisher = thread::spawn(move || {
            become_member(2);
            publish_some(&other, 2..4)
        });
        sub.reset_oldest();
        let (from, kept_from) = (sub.cursor(), ring.mapping.readers.smallest_needed(0, u64::MAX));
        assert!(from <= kept_from);
        let value = sub.poll_int().unwrap().expect("one of the last two messages");
        assert_eq!(value as u64 + 1, sub.cursor());
        publisher.join().unwrap();
        while sub.cursor() < ring.write_pos() {
            assert!(sub.poll_int().unwrap().is_some());
        }
        assert!(sub.overflow_count() <= kept_from - from, "{} of {}", sub.overflow_count(), kept_from - from);
    });
}

/// A publisher that waits for room; process 2.
fn waiting_publisher(ring: &Arc<Ring>, value: i64) -> thread::JoinHandle<()> {
    let ring = Arc::clone(ring);
    thread::spawn(move || {
        become_member(2);
        ring.publish_int(value).unwrap();
    })
}

#[test]
fn who_leaves_lets_publishers_go_on() {
    for name in [None, Some("audit")] {
        explore_deeper(&format!("a reader ({}) leaves beside a waiting publisher", name.unwrap_or("-")), move || {
            let ring = lossless(2);
            let sub = ring.subscribe_with(&SubscribeOptions { name, ..SubscribeOptions::default() }).unwrap();
            publish(&ring, 0..2);
            let publisher = waiting_publisher(&ring, 2);
            drop(sub);
            publisher.join().unwrap();
            assert_eq!(ring.write_pos(), 3);
        });
    }
}

#[test]
fn who_reads_wakes_publishers() {
    explore_deeper("a reader reads a message beside a publisher that waits", || {
        let ring = lossless(2);
        let mut sub = ring.subscribe(false);
        publish(&ring, 0..2);
        let publisher = waiting_publisher(&ring, 2);
        read(&mut sub, 1);
        publisher.join().unwrap();
        read_all(&ring, &mut sub);
    });
    explore_less("two publishers wait for one reader", || {
        let ring = lossless(2);
        let mut sub = ring.subscribe(false);
        publish(&ring, 0..2);
        let publishers = [waiting_publisher(&ring, 2), waiting_publisher(&ring, 2)];
        assert_eq!((sub.poll_int().unwrap(), sub.poll_int().unwrap()), (Some(0), Some(1)));
        publishers.into_iter().for_each(|publisher| publisher.join().unwrap());
        assert_eq!((sub.poll_int().unwrap(), sub.poll_int().unwrap()), (Some(2), Some(2)));
    });
}

#[test]
fn who_finds_its_room_taken_looks_again() {
    explore_deeper("two publishers with room for both", || {
        let (ring, _sub) = with_room();
        let other = Arc::clone(&ring);
        let a = thread::spawn(move || {
            become_member(2);
            publish(&other, 2..3);
        });
        publish(&ring, 3..4);
        a.join().unwrap();
    });
}

#[test]
fn readers_killed_as_they_wake_publishers() {
    for point in ["before-wake", "wake-marked", "wake-sent"] {
        explore(&format!("a reader that is killed as it wakes publishers: {}", point), move || {
            let ring = lossless(2);
            let (mut dying, mut sub) = (ring.subscribe(false), ring.subscribe(false));
            publish(&ring, 0..2);
            let publisher = waiting_publisher(&ring, 2);
            let a = thread::spawn(move || {
                // If no publisher waits yet, the reader does not reach the point.
                killed_at(point, || read(&mut dying, 1));
                dying
            });
            let dying = a.join().unwrap();
            read(&mut sub, 1);
            publisher.join().unwrap();
            read_all(&ring, &mut sub);
            drop(dying);
        });
    }
}

#[test]
fn a_publisher_killed_as_it_waits_keeps_no_other_asleep() {
    explore_less("a publisher is killed as it waits, and another goes on waiting", || {
        let ring = lossless(2);
        let mut sub = ring.subscribe(false);
        publish(&ring, 0..2);
        let other = Arc::clone(&ring);
        let a = thread::spawn(move || {
            become_member(3);
            killed_at("room-announced", || other.publish_int(9).unwrap())
        });
        let publisher = waiting_publisher(&ring, 2);
        // Room for both: the killed publisher may not have had to wait.
        assert_eq!((sub.poll_int().unwrap(), sub.poll_int().unwrap()), (Some(0), Some(1)));
        publisher.join().unwrap();
        let killed = a.join().unwrap();
        assert_eq!(ring.write_pos(), if killed { 3 } else { 4 });
    });
}

#[test]
fn a_name_is_held_by_one() {
    explore("two subscribers that want one name", || {
        let ring = lossless(2);
        let other = Arc::clone(&ring);
        let a = thread::spawn(move || {
            become_member(2);
            other.subscribe_with(&named("a"))
        });
        let here = ring.subscribe_with(&named("a"));
        let both = [here, a.join().unwrap()];
        assert_eq!(both.iter().filter(|sub| sub.is_ok()).count(), 1);
        for refused in both.iter().filter_map(|sub| sub.as_ref().err()) {
            assert_eq!(refused.kind(), ErrorKind::Busy);
        }
        assert_eq!(ring.readers().len(), 1);
    });
}

/// A reader with a name that was killed with both messages of a full ring unread.
fn with_a_dead_reader() -> Arc<Ring> {
    let ring = lossless(2);
    become_member(3);
    let dead = ring.subscribe_with(&named("a")).unwrap();
    publish(&ring, 0..2);
    become_member(1);
    ring.mapping.reading.dies(3);
    std::mem::forget(dead);
    ring
}

#[test]
fn a_killed_reader_is_passed_or_succeeded() {
    explore("two subscribers that succeed a killed reader", || {
        let ring = with_a_dead_reader();
        let other = Arc::clone(&ring);
        let a = thread::spawn(move || {
            become_member(2);
            other.subscribe_with(&named("a"))
        });
        let here = ring.subscribe_with(&named("a"));
        let there = a.join().unwrap();
        assert!(here.is_ok() != there.is_ok());
        let mut sub = here.or(there).unwrap();
        assert_eq!(sub.cursor(), 0);
        read_all(&ring, &mut sub);
    });
    explore("two publishers that pass a killed reader", || {
        let ring = with_a_dead_reader();
        let publisher = waiting_publisher(&ring, 2);
        ring.publish_int(2).unwrap();
        publisher.join().unwrap();
        assert_eq!((ring.write_pos(), ring.readers()[0].alive), (4, Some(false)));
    });
    explore_less("a publisher that passes a killed reader, and a subscriber that succeeds it", || {
        let ring = with_a_dead_reader();
        let publisher = waiting_publisher(&ring, 2);
        let mut sub = ring.subscribe_with(&named("a")).unwrap();
        // Either publishers had passed the reader before, or its unread messages are kept.
        while let Some(value) = sub.poll_int().unwrap() {
            assert_eq!(value as u64 + 1, sub.cursor());
        }
        publisher.join().unwrap();
        while sub.cursor() < ring.write_pos() {
            assert!(sub.poll_int().unwrap().is_some());
        }
        assert!(sub.overflow_count() <= 1);
    });
}

#[test]
fn a_batch_whose_positions_are_gone_waits_for_room() {
    explore("a batch whose positions readers abandoned, and no room for it elsewhere", || {
        let ring = lossless(2);
        let (mut fast, mut slow) = (ring.subscribe(false), ring.subscribe(false));
        let mut batch = ring.claim(2).unwrap();
        // The claim timeout passes at the second check.
        assert_eq!((fast.poll_int().unwrap(), fast.poll_int().unwrap()), (None, None));
        let other = Arc::clone(&ring);
        let publisher = thread::spawn(move || {
            become_member(2);
            other.put(&mut batch, &[10, 11]).unwrap();
            other.wake();
        });
        // When it passes the abandoned positions it makes room, and may already read the messages published there.
        let seen = slow.poll_int().unwrap();
        publisher.join().unwrap();
        for (sub, seen) in [(&mut fast, None), (&mut slow, seen)] {
            let mut got: Vec<_> = seen.into_iter().collect();
            while sub.cursor() < ring.write_pos() {
                got.extend(sub.poll_int().unwrap());
            }
            assert_eq!((got, sub.overflow_count()), (vec![10, 11], 0));
        }
    });
}
