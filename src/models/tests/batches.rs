//! Models of batches of numbers, which write slots that they have reserved with plain stores: on 4 slots, which are one segment; three of them can be reserved.

use std::sync::Arc;

use loom::thread;

use super::super::armed::killed_at;
use super::super::member::become_member;
use super::{explore, explore_deeper, held, ring, take, Reader};
use crate::{Ring, Variant};

/// Publishes a batch as the member `number`: others may reserve nothing.
fn batch(number: u32, ring: &Ring, values: &[i64]) {
    become_member(number);
    assert_eq!(ring.publish_ints(values).unwrap(), values.len());
}

fn checked(ring: &Ring, reader: &mut Reader, total: u64) {
    reader.settle(ring);
    reader.check_order();
    let held = held(ring);
    assert!(reader.got.ends_with(&held), "{:?} but {:?} are held", reader.got, held);
    if reader.sub.overflow_count() == 0 {
        assert_eq!(reader.got.len() as u64, total);
    }
}

/// What `late` publishes is lapped by what `others` publish, `total` messages in all.
fn is_lapped(late: fn(&Ring), others: fn(&Ring), total: u64) {
    let ring = ring(Variant::Int32, 4, 0);
    let mut reader = Reader::new(&ring, false);
    let other = Arc::clone(&ring);
    let a = thread::spawn(move || late(&other));
    others(&ring);
    reader.poll();
    a.join().unwrap();
    checked(&ring, &mut reader, total);
}

#[test]
fn batches_that_are_lapped_and_that_lap() {
    let late: fn(&Ring) = |ring| batch(1, ring, &[10, 11]);
    let long: fn(&Ring) = |ring| batch(2, ring, &[20, 21, 22, 23, 24, 25]);
    explore_deeper("a batch on 4 slots against messages that lap it", move || {
        is_lapped(late, |ring| (20..25).for_each(|value| ring.publish_int(value).unwrap()), 7)
    });
    explore_deeper("a batch on 4 slots against a longer one that laps it", move || is_lapped(late, long, 8));
    explore("a message on 4 slots against a batch that laps it", move || {
        is_lapped(|ring| ring.publish_int(10).unwrap(), long, 7)
    });
}

#[test]
fn two_readers_of_a_batch_that_one_of_them_revokes() {
    explore("a batch and two readers whose claim timeouts pass", || {
        let ring = ring(Variant::Int32, 4, 0);
        let (mut reader, mut witness) = (Reader::new(&ring, false), Reader::new(&ring, false));
        let other = Arc::clone(&ring);
        let a = thread::spawn(move || batch(1, &other, &[10, 11, 12]));
        let b = thread::spawn(move || {
            (0..3).for_each(|_| witness.poll());
            witness
        });
        (0..3).for_each(|_| reader.poll());
        a.join().unwrap();
        let mut witness = b.join().unwrap();
        checked(&ring, &mut reader, 3);
        witness.settle(&ring);
        assert_eq!((&reader.got, &witness.got), (&vec![10, 11, 12], &vec![10, 11, 12]));
    });
}

#[test]
fn a_sleeper_and_a_batch() {
    explore("a sleeper and a batch", || {
        let ring = ring(Variant::Int32, 4, 0);
        let reader = Reader::new(&ring, false);
        let a = thread::spawn(move || take(reader, 2));
        batch(1, &ring, &[10, 11]);
        assert_eq!(a.join().unwrap().got, [10, 11]);
    });
}

/// Others go on after a publisher was killed in a batch, and the next batch of another process uses its slots again.
fn a_batch_killed(point: &'static str) {
    let ring = ring(Variant::Int32, 4, 0);
    let mut reader = Reader::new(&ring, false);
    let other = Arc::clone(&ring);
    let a = thread::spawn(move || {
        become_member(1);
        // It is not killed if it comes after the other batch, and has too few slots left to reserve some.
        let is_killed = killed_at(point, || assert_eq!(other.publish_ints(&[10, 11]).unwrap(), 2));
        other.mapping.members.dies(1);
        is_killed
    });
    become_member(2);
    ring.publish_ints(&[20, 21]).unwrap();
    reader.poll();
    let is_killed = a.join().unwrap();
    (22..27).for_each(|value| ring.publish_int(value).unwrap());
    // Its first two messages may still have void positions.
    ring.publish_ints(&[27, 28, 29, 30]).unwrap();
    ring.publish_ints(&[31, 32, 33, 34]).unwrap();
    assert_eq!(held(&ring), [31, 32, 33, 34], "all slots are used");
    reader.settle(&ring);
    reader.check_order();
    assert!(!is_killed || !reader.got.contains(&10) && !reader.got.contains(&11));
    assert_eq!(ring.stats().publish_ok, if is_killed { 15 } else { 17 });
}

#[test]
fn batches_killed_at_any_point() {
    for point in ["reserved", "stored", "between-slots"] {
        explore_deeper(&format!("a batch killed: {}", point), move || a_batch_killed(point));
    }
}
