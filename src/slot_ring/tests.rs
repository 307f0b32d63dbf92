use super::*;
use crate::heap;
use crate::slot::WideSlot;
use crate::sync::AtomicU64;

mod batches;

fn publish_all<S: Slot>(ring: &SlotRing<S>, values: &[u64]) {
    let mut batch = ring.claim(values.len() as u64).unwrap();
    ring.put_all(&mut batch, values.len(), Some(1), |i| values[i]);
}

fn read<S: Slot>(ring: &SlotRing<S>, cursor: &mut Cursor) -> Option<u64> {
    loop {
        match ring.read(cursor) {
            Next::Ready(value) => return Some(value),
            Next::Empty | Next::Claimed(_) => return None,
            Next::More => {}
        }
    }
}

fn read_all<S: Slot>(ring: &SlotRing<S>, cursor: &mut Cursor) -> Vec<u64> {
    std::iter::from_fn(|| read(ring, cursor)).collect()
}

#[test]
fn what_became_of_a_position_is_told_as_long_as_tags_tell_it() {
    let ring = heap::slot_ring::<NarrowSlot>(4, 0);
    let slot = |at| ring.slot(at).load();
    let mut batch = ring.claim(3).unwrap();
    ring.put(&mut batch, 7);
    ring.abandon(1);
    let fates = || [0, 1, 2].map(|position| ring.fate(position));
    assert_eq!(fates(), [Fate::Committed, Fate::Open, Fate::Open]);
    assert_eq!(Fate::of::<NarrowSlot>(NarrowSlot::tag(0), slot(1).tag), Fate::Open, "void");
    publish_all(&ring, &[3, 4]);
    assert_eq!(ring.fate(0), Fate::Unknown, "overwritten");
    // After so many laps the tags come round, and the slot looks unchanged.
    ring.header().write_pos.store((MAX_LAPS_LATE << 2) + 2, SeqCst);
    assert_eq!(fates(), [Fate::Unknown; 3]);
}

fn wait_until(when: u64) {
    while monotonic_ns() < when {
        std::hint::spin_loop();
    }
}

/// Reads, and waits until claims have timed out.
fn read_patiently<S: Slot>(ring: &SlotRing<S>, cursor: &mut Cursor) -> Vec<u64> {
    let mut all = read_all(ring, cursor);
    while let Next::Claimed(when) = ring.look(cursor) {
        wait_until(when);
        all.extend(read_all(ring, cursor));
    }
    all
}

fn values_arrive_in_order_across_laps<S: Slot + Default>(start: u64) {
    for (capacity, scale) in [(2, 1), (8, 1), (1024, 97)] {
        let ring = heap::slot_ring::<S>(capacity, start / capacity * capacity);
        // As if there had been a lap before: otherwise, if a tag wraps to 0, a slot that was never written looks written.
        for position in ring.header().base() - ring.header().base().min(capacity)..ring.header().base() {
            assert!(ring.commit(position, 77, |_| ()).is_some());
        }
        let mut cursor = Cursor::at(ring.header().base());
        let mut next = 0;
        for n in [1, 2, 1, 1, 2, 2, 1].iter().cycle().take(70) {
            let n = n * scale;
            let values: Vec<u64> = (next..next + n).collect();
            publish_all(&ring, &values);
            assert_eq!(read_all(&ring, &mut cursor), values, "capacity {}, start {}", capacity, start);
            next += n;
        }
        assert_eq!(cursor.lost(), 0);
    }
}

#[test]
fn values_arrive_in_order_even_where_tags_wrap() {
    for lap in [0, (1 << 30) - 4, (1 << 31) - 4, (1 << 32) - 4, (1 << 33) - 4, (1 << 52) - 4] {
        for capacity in [2, 8, 1024] {
            values_arrive_in_order_across_laps::<WideSlot>(lap * capacity);
            values_arrive_in_order_across_laps::<NarrowSlot>(lap * capacity);
        }
    }
}

fn a_lapped_reader_counts_its_loss<S: Slot + Default>() {
    let ring = heap::slot_ring::<S>(4, 0);
    let mut cursor = Cursor::at(0);
    publish_all(&ring, &(0..11).collect::<Vec<u64>>());
    assert_eq!(read_all(&ring, &mut cursor), [7, 8, 9, 10]);
    assert_eq!((cursor.next(), cursor.lost()), (11, 7));
    ring.header().clear();
    publish_all(&ring, &[5]);
    assert_eq!((read_all(&ring, &mut cursor), cursor.lost()), (vec![5], 7));
}

#[test]
fn lapped_readers_count_their_loss() {
    a_lapped_reader_counts_its_loss::<WideSlot>();
    a_lapped_reader_counts_its_loss::<NarrowSlot>();
}

fn a_dead_claim_is_given_up_and_a_late_one_published_again<S: Slot + Default>() {
    let ring = heap::slot_ring::<S>(8, 0);
    let mut cursor = Cursor::at(0);
    publish_all(&ring, &[1]);
    let mut late = ring.claim(3).unwrap();
    ring.put(&mut late, 10);
    publish_all(&ring, &[2]);
    assert_eq!(read_all(&ring, &mut cursor), [1, 10], "the claim has not timed out");
    assert_eq!(read_patiently(&ring, &mut cursor), [2]);
    assert_eq!(ring.header().events.abandoned.load(SeqCst), 2);
    ring.put(&mut late, 11);
    ring.put(&mut late, 12);
    assert_eq!(read_all(&ring, &mut cursor), [11, 12], "once, in order, at the end");
    assert_eq!(cursor.lost(), 0);
}

#[test]
fn dead_claims_are_given_up_and_late_ones_published_again() {
    a_dead_claim_is_given_up_and_a_late_one_published_again::<WideSlot>();
    a_dead_claim_is_given_up_and_a_late_one_published_again::<NarrowSlot>();
}

/// A reader abandons the first position of a batch, and is stopped before the next.
fn a_batch_that_moves_leaves_no_claim_behind<S: Slot + Default>() {
    let ring = heap::slot_ring::<S>(8, 0);
    let mut batch = ring.claim(3).unwrap();
    ring.abandon(0);
    ring.put_all(&mut batch, 3, Some(1), |i| 10 + i as u64);
    let mut cursor = Cursor::at(0);
    assert_eq!(read_all(&ring, &mut cursor), [10, 11, 12], "without a wait");
    assert_eq!((cursor.next(), cursor.lost()), (6, 0));
}

#[test]
fn batches_that_move_leave_no_claim_behind() {
    a_batch_that_moves_leaves_no_claim_behind::<WideSlot>();
    a_batch_that_moves_leaves_no_claim_behind::<NarrowSlot>();
}

#[test]
fn neither_of_a_pair_is_committed_over_a_void() {
    for void in [0, 1] {
        let ring = heap::slot_ring::<NarrowSlot>(8, 0);
        let mut batch = ring.claim(2).unwrap();
        ring.abandon(void);
        ring.put_all(&mut batch, 2, Some(1), |i| 10 + i as u64);
        let mut cursor = Cursor::at(0);
        assert_eq!(read_all(&ring, &mut cursor), [10, 11]);
        assert_eq!(ring.slot(void).load().tag, ring.tag(void) | ABANDONED, "it stays abandoned");
    }
}

#[test]
fn a_young_claim_is_not_given_up_with_an_old_one() {
    let ring = heap::slot_ring::<WideSlot>(8, 0);
    let mut cursor = Cursor::at(0);
    ring.claim(1).unwrap();
    let when = match ring.look(&mut cursor) {
        Next::Claimed(when) => when,
        other => panic!("{:?}", other),
    };
    wait_until(when);
    let mut young = ring.claim(1).unwrap();
    assert!(matches!(ring.look(&mut cursor), Next::Claimed(_)));
    assert_eq!((cursor.next(), ring.slot(1).load().tag), (1, 0));
    ring.put(&mut young, 7);
    assert_eq!(read_all(&ring, &mut cursor), [7]);
}

/// Many dead claims, with a message among them and one after them.
fn dead_claims_are_passed_in_pieces<S: Slot + Default>(read_only: bool) {
    let many = 3 * PIECE + 7;
    let ring = heap::slot_ring::<S>(4 * PIECE, 0);
    ring.claim(2 * PIECE + 1).unwrap();
    ring.publish(5);
    ring.claim(many - 2 * PIECE - 2).unwrap();
    let mut cursor = Cursor::of_ring(0, read_only);
    let (mut young, mut waits_for_young) = (None, false);
    let mut got = Vec::new();
    let mut pieces = 0;
    while cursor.next() < many {
        let before = cursor.next();
        match ring.read(&mut cursor) {
            Next::Ready(value) => got.push(value),
            Next::More => pieces += 1,
            Next::Claimed(_) if young.is_some() => {
                assert_eq!(cursor.next(), many, "all as old end with the first");
                waits_for_young = true;
            }
            Next::Claimed(when) => {
                young = Some(ring.claim(1).unwrap());
                wait_until(when);
            }
            Next::Empty => unreachable!("the last claim is not committed"),
        }
        assert!(cursor.next() - before <= PIECE, "{} at once", cursor.next() - before);
    }
    assert!((3..=4).contains(&pieces), "{} pieces", pieces);
    assert_eq!(got, [5]);
    // Once a wait has begun, another look may find that it has timed out.
    assert!(waits_for_young || matches!(ring.look(&mut cursor), Next::Claimed(_)), "this one is not as old");
    assert_eq!(ring.slot(many).load().tag, 0);
    ring.put(&mut young.unwrap(), 6);
    assert_eq!(read(&ring, &mut cursor), Some(6));
    let dead = many - 1;
    let abandoned = ring.header().events.abandoned.load(SeqCst);
    assert_eq!((abandoned, cursor.lost()), if read_only { (0, dead) } else { (dead, 0) });
    // Positions that are abandoned already.
    let mut second = Cursor::at(0);
    if !read_only {
        assert_eq!(ring.look(&mut second), Next::More);
        assert_eq!((second.next(), read_all(&ring, &mut second)), (PIECE, vec![5, 6]));
    }
}

#[test]
fn a_look_at_many_dead_claims_ends_after_a_piece() {
    dead_claims_are_passed_in_pieces::<WideSlot>(false);
    dead_claims_are_passed_in_pieces::<NarrowSlot>(false);
    dead_claims_are_passed_in_pieces::<NarrowSlot>(true);
}

#[test]
fn a_publisher_that_was_lapped_does_not_put_back_what_is_older() {
    let ring = heap::slot_ring::<WideSlot>(2, 0);
    let mut stopped = ring.claim(2).unwrap();
    for value in 100..110 {
        ring.publish(value);
    }
    ring.put(&mut stopped, 1);
    ring.put(&mut stopped, 2);
    let mut cursor = Cursor::at(10);
    assert_eq!(read_all(&ring, &mut cursor), [1, 2]);
}

/// A ring of two slots whose publisher of position 0 was stopped while others published for `laps`, without executing all of them.
fn after_laps<S: Slot + Default>(ring: &SlotRing<S>, laps: u64) {
    for position in [2 * laps - 2, 2 * laps - 1] {
        let slot = ring.slot(position);
        slot.exchange(slot.load(), Stamped { tag: ring.tag(position), value: position }).unwrap();
    }
    ring.header().write_pos.store(2 * laps, SeqCst);
}

fn late_ones_put_back_nothing<S: Slot + Default>() {
    for laps in [2, 1 << 20, (1 << 29) + 5, (1 << 30) - 1, 1 << 30, (1 << 30) + 1, 3 << 29, (1 << 31) - 7] {
        let newest = [2 * laps - 2, 2 * laps - 1];
        let ring = heap::slot_ring::<S>(2, 0);
        let (mut one, mut batch) = (ring.claim(1).unwrap(), ring.claim(1).unwrap());
        after_laps(&ring, laps);
        ring.put(&mut one, 7);
        let mut cursor = Cursor::at(newest[0]);
        assert_eq!(read_all(&ring, &mut cursor), [newest[0], newest[1], 7][1..], "{} laps: published anew", laps);
        assert_eq!(cursor.lost(), 1, "{} laps", laps);
        ring.put_all(&mut batch, 1, Some(1), |_| 8);
        assert_eq!(read_all(&ring, &mut cursor), [8], "{} laps", laps);
        assert_eq!(ring.header().events.abandoned.load(SeqCst), 0, "{} laps: their overwriters counted them", laps);

        let ring = heap::slot_ring::<S>(2, 0);
        let mut batch = ring.claim(2).unwrap();
        after_laps(&ring, laps);
        let held = [ring.slot(0).load(), ring.slot(1).load()];
        ring.abandon(1);
        assert_eq!([ring.slot(0).load(), ring.slot(1).load()], held, "{} laps: nothing is abandoned", laps);
        ring.put_all(&mut batch, 2, Some(1), |i| 20 + i as u64);
        assert_eq!(read_all(&ring, &mut Cursor::at(newest[0])), [20, 21], "{} laps", laps);
    }
}

#[test]
fn who_was_stopped_for_half_of_all_narrow_tags_puts_back_nothing() {
    late_ones_put_back_nothing::<NarrowSlot>();
    late_ones_put_back_nothing::<WideSlot>();
}

#[test]
fn a_seek_far_ahead_waits_and_does_not_take_an_old_lap_for_the_awaited_one() {
    let ring = heap::slot_ring::<NarrowSlot>(2, 0);
    publish_all(&ring, &[1, 2]);
    let mut cursor = Cursor::at(0);
    cursor.seek(ring.header(), 2 << 31);
    assert_eq!(read(&ring, &mut cursor), None);
    assert_eq!((cursor.next(), cursor.lost()), (2 << 31, 0));
    cursor.seek(ring.header(), 3);
    publish_all(&ring, &[3]);
    assert_eq!(read(&ring, &mut cursor), None);
    publish_all(&ring, &[4]);
    assert_eq!(read(&ring, &mut cursor), Some(4));
}

#[test]
fn a_clear_ends_the_wait_for_a_message_ahead() {
    // A clear at the position that is waited for, and one before it.
    for ahead in [3, 9] {
        let ring = heap::slot_ring::<NarrowSlot>(16, 0);
        let mut cursor = Cursor::at(0);
        cursor.seek(ring.header(), ahead);
        publish_all(&ring, &[1, 2, 3]);
        ring.header().clear();
        let values: Vec<u64> = (10..20).collect();
        publish_all(&ring, &values);
        assert_eq!(cursor.room(ring.header(), 13), 10, "as a drain counts");
        assert_eq!(read_all(&ring, &mut cursor), values, "sought {}", ahead);
        assert_eq!((cursor.next(), cursor.lost()), (13, 0));
    }
}

#[test]
fn scribbled_tags_and_positions_are_passed_or_mended() {
    let ring = heap::slot_ring::<WideSlot>(4, 0);
    publish_all(&ring, &[1, 2]);
    let garbage = Stamped { tag: 1 << 40, value: 7 };
    ring.slot(0).exchange(ring.slot(0).load(), garbage).unwrap();
    let mut cursor = Cursor::at(0);
    assert_eq!((read_patiently(&ring, &mut cursor), cursor.lost()), (vec![2], 0), "as if it had never been committed");
    ring.slot(2).exchange(ring.slot(2).load(), garbage).unwrap();
    publish_all(&ring, &[3]);
    assert_eq!(read_all(&ring, &mut cursor), [3], "a publisher mends the slot");
    ring.header().write_pos.store(1 << 62, SeqCst);
    read_patiently(&ring, &mut cursor);
    assert_eq!(cursor.next(), 1 << 62);
}

#[test]
fn nothing_overflows_where_a_scribbled_position_comes_round() {
    let ring = heap::slot_ring::<WideSlot>(4, u64::MAX - 1);
    let mut cursor = Cursor::at(0);
    cursor.skip_lost(u64::MAX - 1);
    ring.claim(1).unwrap();
    assert_eq!(read_patiently(&ring, &mut cursor), [], "what was claimed is given up");
    for value in 0..6 {
        publish_all(&ring, &[value]);
        assert_eq!(read(&ring, &mut cursor), Some(value));
    }
    publish_all(&ring, &[6; 9]);
    assert_eq!(read_all(&ring, &mut cursor), [6; 4]);
    assert_eq!((cursor.next(), cursor.lost()), (14, u64::MAX));
}

/// Each value has its publisher, and how many that publisher had published before.
fn nothing_is_lost_or_doubled_between_threads<S: Slot + Default + Send + Sync + 'static>(capacity: u64, batch: u64) {
    const EACH: u64 = 60_000;
    struct Shared<S>(SlotRing<S>);
    // SAFETY: leaked, atomic.
    unsafe impl<S> Sync for Shared<S> {}
    let shared = &Shared(heap::slot_ring::<S>(capacity, 0));
    let ended = &AtomicU64::new(0);
    std::thread::scope(|scope| {
        for publisher in 0..2 {
            scope.spawn(move || {
                for first in (0..EACH).step_by(batch as usize) {
                    publish_all(&shared.0, &(first..first + batch).map(|n| n << 1 | publisher).collect::<Vec<u64>>());
                }
                ended.fetch_add(1, SeqCst);
            });
        }
        for _ in 0..2 {
            scope.spawn(move || {
                let (ring, mut cursor, mut delivered, mut last) = (shared.0, Cursor::at(0), 0, [0; 2]);
                while ended.load(SeqCst) < 2 || cursor.next() < ring.header().write_pos.load(SeqCst) {
                    if let Some(value) = read(&ring, &mut cursor) {
                        let (publisher, n) = ((value & 1) as usize, (value >> 1) + 1);
                        assert!(n > last[publisher], "publisher {}: {} after {}", publisher, n, last[publisher]);
                        last[publisher] = n;
                        delivered += 1;
                    }
                }
                let void = ring.header().events.abandoned.load(SeqCst);
                assert!(delivered + cursor.lost() <= cursor.next());
                // In a ring with segments, a late publisher's void positions may not be counted.
                assert!(ring.grid.is_some() || delivered + cursor.lost() + void >= cursor.next());
            });
        }
    });
}

#[test]
fn nothing_is_lost_or_doubled() {
    for (capacity, batch) in [(64, 3), (1024, 3), (1024, 100), (1024, 3000)] {
        nothing_is_lost_or_doubled_between_threads::<WideSlot>(capacity, batch);
        nothing_is_lost_or_doubled_between_threads::<NarrowSlot>(capacity, batch);
    }
}
