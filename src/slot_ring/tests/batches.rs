//! Batches that are stopped while they write the slots that they have reserved. What happens meanwhile is called from the function
//! that returns their values.

use super::*;
use crate::segment::{Place, Word};
use std::cell::Cell;

const CAPACITY: u64 = 1024;
const OWNER: u32 = 7;

/// Publishes `count` values, the first of them `first`. Before the value of the index `at` is stored for the first time, calls
/// `meanwhile`.
fn stopped_at<S: Slot>(ring: &SlotRing<S>, first: u64, count: usize, at: usize, meanwhile: impl Fn()) {
    let mut batch = ring.claim(count as u64).unwrap();
    let stops = Cell::new(true);
    let put = ring.put_all(&mut batch, count, Some(OWNER), |i| {
        if i == at && stops.replace(false) {
            meanwhile();
        }
        first + i as u64
    });
    assert_eq!(put, count);
}

fn word<S: Slot>(ring: &SlotRing<S>, position: u64) -> Word {
    ring.segment(position).unwrap().1.load()
}

fn abandoned<S: Slot>(ring: &SlotRing<S>) -> u64 {
    ring.header().events.abandoned.load(SeqCst)
}

fn revoked<S: Slot>(ring: &SlotRing<S>) -> u64 {
    ring.header().events.revoked.load(SeqCst)
}

fn values(first: u64, count: u64) -> Vec<u64> {
    (first..first + count).collect()
}

fn a_batch_that_is_written_is_not_visible<S: Slot + Default>() {
    let ring = heap::slot_ring::<S>(CAPACITY, 0);
    publish_all(&ring, &[1, 2]);
    let cursor = Cell::new(Some(Cursor::at(0)));
    stopped_at(&ring, 10, 20, 9, || {
        ring.publish(3);
        let mut reader = cursor.take().unwrap();
        assert_eq!(read_all(&ring, &mut reader), [1, 2]);
        assert!(matches!(ring.look(&mut reader), Next::Claimed(_)));
        // One that starts in the middle of the batch, too, and one behind it.
        let mut middle = Cursor::at(5);
        assert_eq!((read(&ring, &mut middle), middle.next()), (None, 5));
        assert_eq!(read(&ring, &mut Cursor::at(22)), Some(3));
        let mut newest = Cursor::at(0);
        ring.skip_to_newest(&mut newest, |_, _| true);
        assert_eq!(newest.next(), 22);
        ring.skip_to_newest(&mut middle, |position, _| position < 22);
        assert_eq!(middle.next(), 5);
        cursor.set(Some(reader));
    });
    let mut reader = cursor.take().unwrap();
    assert_eq!(read_all(&ring, &mut reader), [values(10, 20), vec![3]].concat());
    assert_eq!((abandoned(&ring), revoked(&ring), reader.lost()), (0, 0, 0));
}

#[test]
fn a_batch_becomes_visible_when_it_is_complete() {
    a_batch_that_is_written_is_not_visible::<WideSlot>();
    a_batch_that_is_written_is_not_visible::<NarrowSlot>();
}

fn readers_revoke_a_batch_once<S: Slot + Default>() {
    let ring = heap::slot_ring::<S>(CAPACITY, 0);
    let cursor = Cell::new(Some(Cursor::at(0)));
    stopped_at(&ring, 10, 100, 70, || {
        ring.publish(3);
        let mut reader = cursor.take().unwrap();
        assert_eq!(read_patiently(&ring, &mut reader), [values(10, 64), vec![3]].concat());
        assert_eq!((abandoned(&ring), revoked(&ring)), (36, 1));
        assert_eq!(read_all(&ring, &mut Cursor::at(66)), [3], "others need not wait");
        cursor.set(Some(reader));
    });
    let mut reader = cursor.take().unwrap();
    assert_eq!(read_all(&ring, &mut reader), values(74, 36), "once, in order, at the end");
    assert_eq!(read_all(&ring, &mut Cursor::at(0)), [values(10, 64), vec![3], values(74, 36)].concat());
    assert_eq!((abandoned(&ring), revoked(&ring), reader.lost()), (36, 0, 0));
    assert!(!word(&ring, 64).is_reserved());
}

#[test]
fn a_batch_that_is_slow_is_published_again_as_far_as_it_was_not_visible() {
    readers_revoke_a_batch_once::<WideSlot>();
    readers_revoke_a_batch_once::<NarrowSlot>();
}

/// Others lap a batch, by single messages or by batches, while a reader keeps up.
fn who_laps_a_batch_loses_nothing<S: Slot + Default>(each: u64, laps: u64, at: usize) {
    let ring = heap::slot_ring::<S>(CAPACITY, 0);
    let cursor = Cell::new(Some((Cursor::at(0), Vec::new())));
    let others = laps * CAPACITY / each * each;
    stopped_at(&ring, 0, 20, at, || {
        let (mut reader, mut got) = cursor.take().unwrap();
        for first in (0..others).step_by(each as usize) {
            publish_all(&ring, &values(100 + first, each));
            got.extend(read_patiently(&ring, &mut reader));
        }
        assert_eq!(got, values(100, others));
        assert_eq!(abandoned(&ring) % 20, 0);
        assert!(revoked(&ring) == 1 && word(&ring, 0).is_revoked());
        cursor.set(Some((reader, got)));
    });
    let (mut reader, _) = cursor.take().unwrap();
    assert_eq!(read_all(&ring, &mut reader), values(0, 20));
    let void = abandoned(&ring);
    assert_eq!((reader.lost(), reader.next()), (0, others + 20 + void), "each void position counts once");
    assert_eq!(revoked(&ring), 0);
    // The slots are used again.
    for first in [5000, 6000] {
        publish_all(&ring, &values(first, 1000));
        assert_eq!(read_all(&ring, &mut reader), values(first, 1000));
    }
    assert_eq!((abandoned(&ring), reader.lost()), (void, 0));
}

#[test]
fn a_stopped_batch_that_is_lapped_stops_nobody_and_overwrites_nothing() {
    for laps in [1, 2, 5] {
        for each in [1, 3, 64, 100, 1000] {
            who_laps_a_batch_loses_nothing::<WideSlot>(each, laps, 7);
            who_laps_a_batch_loses_nothing::<NarrowSlot>(each, laps, 19);
        }
    }
}

/// The batch is lapped before it has stored its first value, and claims were late.
#[test]
fn a_batch_that_was_lapped_before_it_reserves_uses_new_positions() {
    let ring = heap::slot_ring::<WideSlot>(CAPACITY, 0);
    let mut late = ring.claim(20).unwrap();
    publish_all(&ring, &values(100, CAPACITY));
    assert_eq!(ring.put_all(&mut late, 20, Some(OWNER), |i| i as u64), 20);
    let mut reader = Cursor::at(0);
    assert_eq!(read_all(&ring, &mut reader), [values(120, CAPACITY - 20), values(0, 20)].concat());
    assert_eq!(revoked(&ring), 0);
}

/// A reader abandons a position whose batch has not reserved it yet.
#[test]
fn nothing_is_reserved_in_a_lap_after_a_position_was_abandoned() {
    let ring = heap::slot_ring::<WideSlot>(CAPACITY, 0);
    let (mut first, mut second) = (ring.claim(10).unwrap(), ring.claim(10).unwrap());
    ring.abandon(12);
    assert_eq!(ring.put_all(&mut second, 10, Some(OWNER), |i| 20 + i as u64), 10);
    assert_eq!(abandoned(&ring), 8, "the rest of the batch moves");
    assert_eq!(ring.put_all(&mut first, 10, Some(OWNER), |i| i as u64), 10, "by exchanges");
    assert!(word(&ring, 0).is_sound(ring.grid.unwrap()) && !word(&ring, 0).is_reserved());
    assert_eq!(read_all(&ring, &mut Cursor::at(0)), [values(0, 10), vec![20, 21], values(22, 8)].concat());
    publish_all(&ring, &values(0, CAPACITY));
    assert_eq!(word(&ring, 0), word(&heap_after_a_lap(), 0), "the next lap is open");
}

fn heap_after_a_lap() -> SlotRing<WideSlot> {
    let ring = heap::slot_ring::<WideSlot>(CAPACITY, 0);
    ring.claim(28).unwrap();
    publish_all(&ring, &values(0, CAPACITY));
    ring
}

/// A position is abandoned while a batch beside it is written, and that batch is revoked, or not.
#[test]
fn a_segment_that_was_closed_stays_closed_for_the_lap() {
    for revoke in [false, true] {
        let ring = heap::slot_ring::<WideSlot>(CAPACITY, 0);
        let mut late = ring.claim(10).unwrap();
        stopped_at(&ring, 10, 10, 5, || {
            ring.abandon(3);
            if revoke {
                ring.abandon(12);
            }
        });
        assert_eq!(abandoned(&ring), if revoke { 11 } else { 1 });
        let before = word(&ring, 0);
        assert_eq!(ring.put_all(&mut late, 10, Some(OWNER), |i| i as u64), 10);
        assert_eq!(word(&ring, 0), before, "nothing was reserved");
        let others = values(10, 10);
        let (whole, moved) = (values(0, 3), values(3, 7));
        let got = read_all(&ring, &mut Cursor::at(0));
        assert_eq!(got, [whole, others, moved].concat(), "revoked: {}", revoke);
    }
}

/// Leaves a batch of 20 of the member `owner` as if that was killed.
fn killed<S: Slot>(ring: &SlotRing<S>, owner: u32) {
    let batch = ring.claim(20).unwrap();
    let Place { lap, unit } = ring.seat(ring.grid.unwrap(), batch.next);
    ring.segment(batch.next).unwrap().1.reserve(lap, unit, unit + 19, owner).unwrap();
    for position in batch.next..batch.next + 9 {
        ring.slot(position).put(Stamped { tag: ring.tag(position), value: 666 });
    }
}

fn segments_of_the_dead_are_opened<S: Slot + Default>(laps: u64, read: bool) {
    let ring = heap::slot_ring::<S>(CAPACITY, 0);
    let mut reader = Cursor::at(0);
    killed(&ring, OWNER);
    if read {
        assert_eq!(read_patiently(&ring, &mut reader), []);
    }
    let mut got = Vec::new();
    for first in 0..laps * CAPACITY {
        ring.publish(first);
        got.extend(read_patiently(&ring, &mut reader));
    }
    assert_eq!((got, reader.lost()), (values(0, laps * CAPACITY), 0));
    ring.recover(|word| Some(()).filter(|()| word.owner() == OWNER + 1));
    assert!(word(&ring, 0).is_reserved(), "of another member");
    ring.recover(|word| Some(()).filter(|()| word.owner() == OWNER));
    assert_eq!((word(&ring, 0).is_reserved(), revoked(&ring)), (false, 0));
    publish_all(&ring, &values(0, 2 * CAPACITY));
    assert_eq!(read_all(&ring, &mut Cursor::at(0)), values(CAPACITY, CAPACITY), "all slots are used");
    let end = ring.header().write_pos.load(SeqCst);
    assert_eq!(end - abandoned(&ring), (laps + 2) * CAPACITY);
}

#[test]
fn what_killed_batches_reserved_is_recovered() {
    for laps in [0, 1, 3] {
        for read in [false, true] {
            segments_of_the_dead_are_opened::<WideSlot>(laps, read);
            segments_of_the_dead_are_opened::<NarrowSlot>(laps, read);
        }
    }
}

#[test]
fn a_lossless_ring_has_no_segments() {
    assert!(heap::lossless_ring::<WideSlot>(CAPACITY, 1, 0).0.grid.is_none());
    assert!(heap::slot_ring::<WideSlot>(CAPACITY / 2, 0).grid.is_none());
    assert!(heap::slot_ring::<WideSlot>(CAPACITY, 0).grid.is_some());
}

/// Even if batches were stopped in all segments.
#[test]
fn some_slots_can_always_be_used() {
    let ring = heap::slot_ring::<WideSlot>(CAPACITY, 0);
    while ring.header().write_pos.load(SeqCst) < CAPACITY {
        let batch = ring.claim(64).unwrap();
        let Place { lap, unit } = ring.seat(ring.grid.unwrap(), batch.next);
        let run = ring.grid.unwrap().run(batch.next, 64);
        ring.segment(batch.next).unwrap().1.reserve(lap, unit, unit + run - 1, OWNER).unwrap();
    }
    let mut reader = Cursor::at(CAPACITY);
    for value in 0..40 {
        assert!(ring.publish(value));
        assert_eq!(read_patiently(&ring, &mut reader), [value]);
    }
    publish_all(&ring, &values(100, 12));
    assert_eq!(read_patiently(&ring, &mut reader), values(100, 12));
}

/// A drain in segments that are used in a later lap, or beside a batch.
fn drains_take_what_is_committed<S: Slot + Default>() {
    let ring = heap::slot_ring::<S>(CAPACITY, 0);
    publish_all(&ring, &values(0, CAPACITY + 10));
    let mut out = [0; 100];
    let mut reader = Cursor::at(10);
    assert_eq!(ring.take_all(&mut reader, &mut out, |value| value), 100);
    assert_eq!((out.to_vec(), reader.next()), (values(10, 100), 110));
    publish_all(&ring, &values(0, 10));
    let at = ring.header().write_pos.load(SeqCst);
    killed(&ring, OWNER);
    let mut reader = Cursor::at(at - 10);
    assert_eq!(ring.take_all(&mut reader, &mut out, |value| value), 10);
    assert_eq!(ring.take_all(&mut reader, &mut out, |value| value), 0);
    assert_eq!((read_patiently(&ring, &mut reader), reader.next()), (vec![], at + 20));
}

#[test]
fn drains_take_what_is_committed_in_segments_that_are_not_open() {
    drains_take_what_is_committed::<WideSlot>();
    drains_take_what_is_committed::<NarrowSlot>();
}

#[test]
fn slots_are_recovered_though_their_next_positions_are_not_claimed_yet() {
    let ring = heap::slot_ring::<WideSlot>(CAPACITY, 0);
    publish_all(&ring, &values(0, 20));
    killed(&ring, OWNER);
    (40..CAPACITY + 1).for_each(|value| assert!(ring.publish(value)));
    assert!(word(&ring, 0).is_revoked());
    ring.recover(|word| Some(()).filter(|()| word.owner() == OWNER));
    assert!(!word(&ring, 0).is_revoked());
}

#[test]
fn a_corrupt_word_has_no_effect_on_other_segments() {
    let ring = heap::slot_ring::<WideSlot>(CAPACITY, 0);
    publish_all(&ring, &values(0, 1000));
    // Revoked, units 0 to 255 of 64, owner 7, lap 0.
    ring.segment(0).unwrap().1.scribble(2 << 1 | 255 << 11 | 7 << 19);
    ring.recover(|word| Some(()).filter(|()| word.owner() == OWNER));
    assert_eq!(read_all(&ring, &mut Cursor::at(64)), values(64, 936));
}

/// As if 2^27 laps had passed, three times.
fn after_many_laps(ring: &SlotRing<WideSlot>) -> u64 {
    for step in 1..=3 {
        ring.header().write_pos.store((step << 27) * CAPACITY, SeqCst);
        for position in (step << 27) * CAPACITY - CAPACITY..(step << 27) * CAPACITY {
            let _ = ring.commit(position, 1, |_| ());
        }
        publish_all(ring, &values(100, CAPACITY));
    }
    (3 << 27) * CAPACITY
}

#[test]
fn a_batch_that_is_too_late_to_compare_laps_overwrites_nothing() {
    let ring = heap::slot_ring::<WideSlot>(CAPACITY, 0);
    let mut late = ring.claim(20).unwrap();
    let mut reader = Cursor::at(after_many_laps(&ring));
    assert_eq!(ring.put_all(&mut late, 20, Some(OWNER), |i| i as u64), 20);
    assert_eq!(read_all(&ring, &mut reader), [values(120, CAPACITY - 20), values(0, 20)].concat());
}

#[test]
fn slots_that_are_given_back_after_very_many_laps_are_those_of_the_last_lap() {
    let ring = heap::slot_ring::<WideSlot>(CAPACITY, 0);
    ring.claim(20).unwrap();
    let reservation = ring.segment(0).unwrap().1.reserve(0, 0, 19, OWNER).unwrap();
    let start = after_many_laps(&ring);
    assert!(!ring.segment(0).unwrap().1.complete(reservation));
    assert!(ring.give_back(ring.grid.unwrap(), ring.segment(0).unwrap().1, reservation.units(), 0));
    // The void positions moved the last of these messages into the next lap.
    assert_eq!(ring.slot(0).load().tag, ring.tag(start + CAPACITY) | ABANDONED);
}

#[test]
fn no_word_stops_anybody() {
    let garbage =
        (0..64).map(|bit| 1 << bit).chain([u64::MAX, 2 | 63 << 9, 4 | 63 << 9, 0x7fff_ffff, 0xffff_ffff_8000_7e02]);
    for bits in garbage {
        let ring = heap::slot_ring::<WideSlot>(CAPACITY, 0);
        publish_all(&ring, &values(0, 100));
        ring.segment(0).unwrap().1.scribble(bits);
        ring.segment(64).unwrap().1.scribble(bits ^ 1 << 40);
        let mut reader = Cursor::at(0);
        read_patiently(&ring, &mut reader);
        assert_eq!(reader.next(), 100, "{:#x}", bits);
        for first in (0..3 * CAPACITY).step_by(8) {
            ring.publish(first);
            publish_all(&ring, &values(first + 1, 7));
            let got = read_patiently(&ring, &mut reader);
            assert!(got.is_empty() || got == values(first, 8), "{:#x}: {:?}", bits, got);
        }
        assert_eq!(reader.next(), ring.header().write_pos.load(SeqCst), "{:#x}", bits);
    }
}
