use super::*;
use crate::heap;
use crate::member::Group;
use crate::slot::NarrowSlot;
use crate::slot_ring::SlotRing;

struct Ring {
    slots: SlotRing<NarrowSlot>,
    readers: Readers,
}

impl std::ops::Deref for Ring {
    type Target = SlotRing<NarrowSlot>;

    fn deref(&self) -> &Self::Target {
        &self.slots
    }
}

fn lossless(capacity: u64, count: u64, keep_ms: u32) -> (Ring, Members) {
    let (slots, readers) = heap::lossless_ring(capacity, count, keep_ms);
    (Ring { slots, readers }, Members::new(Group::Readers, None))
}

fn named(name: &str) -> Wanted {
    Wanted { name: Some(Name::new(name).unwrap()), ..Wanted::default() }
}

/// Joins at the write position.
fn join(ring: &Ring, members: &Members, wanted: Wanted) -> Seat {
    let (mut seat, stopped_at) = ring.readers.take(wanted, members).unwrap();
    ring.readers.arrive(&mut seat, |_| stopped_at.unwrap_or(ring.header().write_pos.load(SeqCst)));
    seat
}

/// Publishes as many as there is room for.
fn fill(ring: &Ring) -> u64 {
    (0..).take_while(|value| ring.publish(*value)).count() as u64
}

fn positions(ring: &Ring, members: &Members) -> Vec<(Option<String>, u64, Option<bool>)> {
    ring.readers.list(members, false).into_iter().map(|r| (r.name, r.position, r.alive)).collect()
}

#[test]
fn names_are_short_text() {
    for bad in ["", "a\0b", &"x".repeat(MAX_NAME + 1), &"ü".repeat(24)] {
        assert!(Name::new(bad).is_err(), "{:?}", bad);
    }
    for good in ["a", "größe", &"x".repeat(MAX_NAME), "with a space"] {
        assert_eq!(Name::new(good).unwrap().text().as_deref(), Some(good));
    }
    assert_eq!(Name::default().text(), None);
}

#[test]
fn publishers_go_as_far_as_the_slowest_reader_that_counts() {
    let (ring, members) = lossless(8, 4, 0);
    assert_eq!((0..100).filter(|value| ring.publish(*value)).count(), 100, "without readers there is room");
    let slow = join(&ring, &members, Wanted::default());
    let fast = join(&ring, &members, Wanted::default());
    let lossy = join(&ring, &members, Wanted { lossy: true, ..Wanted::default() });
    assert_eq!(fill(&ring), 8);
    assert!(ring.readers.report(&fast, 108, 0, 8));
    assert_eq!(fill(&ring), 0, "one is not enough");
    assert!(ring.readers.report(&slow, 103, 0, 3));
    assert_eq!(fill(&ring), 3);
    ring.readers.leave(&slow);
    assert_eq!(fill(&ring), 5, "up to the other");
    ring.header().clear();
    assert_eq!(fill(&ring), 8, "what a clear discarded nobody needs");
    ring.readers.leave(&fast);
    ring.readers.leave(&lossy);
    assert_eq!((0..100).filter(|value| ring.publish(*value)).count(), 100);
    assert!(positions(&ring, &members).is_empty());
}

#[test]
fn a_batch_needs_room_for_all_of_it() {
    let (ring, members) = lossless(8, 1, 0);
    let reader = join(&ring, &members, Wanted::default());
    assert!(ring.claim(9).is_none() && ring.claim(5).is_some() && ring.claim(4).is_none() && ring.claim(3).is_some());
    ring.readers.report(&reader, 4, 0, 4);
    assert!(ring.claim(5).is_none() && ring.claim(4).is_some());
}

#[test]
fn who_joins_where_messages_are_surely_kept_loses_none() {
    let (ring, members) = lossless(8, 4, 0);
    let first = join(&ring, &members, Wanted::default());
    assert_eq!(fill(&ring), 8);
    ring.readers.report(&first, 3, 0, 3);
    assert_eq!(fill(&ring), 3);
    let (mut seat, _) = ring.readers.take(Wanted::default(), &members).unwrap();
    ring.readers.report(&first, 11, 0, 11);
    assert_eq!(fill(&ring), 0, "nobody knows yet where it will stand");
    assert_eq!(ring.readers.arrive(&mut seat, |floor| floor), 3, "what publishers might already overwrite is not kept");
    assert_eq!(fill(&ring), 0);
    ring.readers.report(&seat, 5, 0, 2);
    assert_eq!(fill(&ring), 2);
}

#[test]
fn who_goes_back_keeps_what_is_there() {
    let (ring, members) = lossless(8, 1, 0);
    let mut reader = join(&ring, &members, Wanted::default());
    assert_eq!(fill(&ring), 8);
    ring.readers.report(&reader, 6, 0, 6);
    ring.readers.go_back(&mut reader, 2);
    assert_eq!(fill(&ring), 2, "nobody had asked for room meanwhile");
    ring.readers.report(&reader, 6, 0, 6);
    assert_eq!(fill(&ring), 4);
    ring.readers.go_back(&mut reader, 2);
    ring.readers.report(&reader, 2, 0, 6);
    assert_eq!(positions(&ring, &members)[0].1, 6, "what is overwritten cannot be kept any more");
    assert_eq!(fill(&ring), 0);
}

#[test]
fn a_name_goes_on_where_it_stopped_and_is_held_once() {
    let (ring, members) = lossless(8, 2, 0);
    let audit = join(&ring, &members, named("audit"));
    assert!(
        matches!(ring.readers.take(named("audit"), &members), Err(Refused::Held(pid)) if pid == std::process::id())
    );
    let other = join(&ring, &members, named("other"));
    assert!(matches!(ring.readers.take(Wanted::default(), &members), Err(Refused::Full)));
    ring.publish(1);
    ring.readers.report(&audit, 1, 7, 9);
    ring.readers.leave(&audit);
    assert!(!ring.readers.report(&audit, 2, 7, 9), "it has left");
    let mut seen = positions(&ring, &members);
    seen.sort();
    assert_eq!(seen, [(Some("audit".into()), 1, Some(false)), (Some("other".into()), 0, Some(true))]);
    assert!(matches!(ring.readers.take(named("third"), &members), Err(Refused::Full)), "its place is kept");
    let (seat, stopped_at) = ring.readers.take(named("audit"), &members).unwrap();
    assert_eq!((stopped_at, seat.before), (Some(1), [7, 9]));
    let name = |name: &str| Name::new(name).unwrap();
    assert!(matches!(ring.readers.forget(name("other"), &members), Err(Refused::Held(_))));
    ring.readers.leave(&other);
    assert!(ring.readers.forget(name("other"), &members).unwrap());
    assert!(!ring.readers.forget(name("other"), &members).unwrap());
    assert!(ring.readers.take(named("third"), &members).is_ok());
}

#[test]
fn who_is_away_is_waited_for_as_long_as_it_is_kept() {
    let (ring, members) = lossless(8, 2, 3_600_000);
    let audit = join(&ring, &members, named("audit"));
    ring.readers.leave(&audit);
    assert_eq!(fill(&ring), 8);
    let long_ago = wall_ns() - 3_600_000_000_000;
    ring.readers.entry(audit.index).left.store(long_ago, Relaxed);
    assert_eq!((0..100).filter(|value| ring.publish(*value)).count(), 100);
    let (ring, members) = lossless(8, 2, 0);
    let audit = join(&ring, &members, named("audit"));
    ring.readers.leave(&audit);
    assert_eq!((0..100).filter(|value| ring.publish(*value)).count(), 100, "without keep not at all");
}

#[test]
fn a_scribbled_table_stops_nobody() {
    let (ring, members) = lossless(8, 4, 50);
    let reader = join(&ring, &members, Wanted::default());
    for _ in 0..100 {
        fill(&ring);
        ring.readers.report(&reader, ring.header().write_pos.load(SeqCst), 0, 0);
    }
    let words = |index: u32| {
        let entry: *const Entry = ring.readers.entry(index);
        // SAFETY: the entry is 16 atomic words.
        unsafe { std::slice::from_raw_parts(entry.cast::<AtomicU64>(), 16) }
    };
    let mut noise = 1u64;
    for round in 0..20_000u64 {
        noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(round | 1);
        words((noise >> 60) as u32 & 3)[(noise >> 40) as usize & 15]
            .store(noise.rotate_left(17) >> (noise & 63), Relaxed);
        ring.readers.list(&members, true);
        ring.readers.raise_limit();
        if let Ok((mut seat, _)) = ring.readers.take(Wanted::default(), &members) {
            ring.readers.arrive(&mut seat, |floor| floor);
            ring.readers.leave(&seat);
        }
    }
    // Whatever it says: the dead are released, and nobody else lives here.
    for index in 0..4 {
        ring.readers.entry(index).owner.store(FREE, Relaxed);
    }
    assert!((0..100).all(|value| ring.publish(value)));
    ring.header().limit.word.store(noise, Relaxed);
    assert!((0..100).all(|value| ring.publish(value)), "nor a scribbled limit");
}
