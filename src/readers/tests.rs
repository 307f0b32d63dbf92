use std::os::unix::io::FromRawFd;

use super::*;
use crate::file::Source;
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
    (Ring { slots, readers }, members())
}

/// A member group with a file for its locks, so that exited processes are recognised.
fn members() -> Members {
    // SAFETY: the name is a NUL-terminated string.
    let fd = unsafe { libc::memfd_create(b"test\0".as_ptr().cast(), libc::MFD_CLOEXEC) };
    // SAFETY: a new descriptor without another owner. It stays open.
    let file = Box::leak(Box::new(unsafe { std::fs::File::from_raw_fd(fd) }));
    Members::new(Group::Readers, Some(Source::descriptor(file).unwrap()))
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

/// Publishes until there is no more room. Returns how many messages were published.
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
    assert_eq!(fill(&ring), 0, "publishers wait for the slower reader");
    assert!(ring.readers.report(&slow, 103, 0, 3));
    assert_eq!(fill(&ring), 3);
    ring.readers.leave(&slow);
    assert_eq!(fill(&ring), 5, "publishers wait for the other reader");
    ring.header().clear();
    assert_eq!(fill(&ring), 8, "no reader needs messages that a clear discarded");
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
fn a_reader_that_joins_at_the_floor_loses_no_message() {
    let (ring, members) = lossless(8, 4, 0);
    let first = join(&ring, &members, Wanted::default());
    assert_eq!(fill(&ring), 8);
    ring.readers.report(&first, 3, 0, 3);
    assert_eq!(fill(&ring), 3);
    let (mut seat, _) = ring.readers.take(Wanted::default(), &members).unwrap();
    ring.readers.report(&first, 11, 0, 11);
    assert_eq!(fill(&ring), 0, "the new reader has no position yet");
    assert_eq!(ring.readers.arrive(&mut seat, |floor| floor), 3, "publishers may already overwrite earlier messages");
    assert_eq!(fill(&ring), 0);
    ring.readers.report(&seat, 5, 0, 2);
    assert_eq!(fill(&ring), 2);
}

#[test]
fn a_reader_that_goes_back_protects_the_messages_that_are_left() {
    let (ring, members) = lossless(8, 1, 0);
    let mut reader = join(&ring, &members, Wanted::default());
    assert_eq!(fill(&ring), 8);
    ring.readers.report(&reader, 6, 0, 6);
    ring.readers.go_back(&mut reader, 2);
    assert_eq!(fill(&ring), 2, "the limit had not been raised before the reader went back");
    ring.readers.report(&reader, 6, 0, 6);
    assert_eq!(fill(&ring), 4);
    ring.readers.go_back(&mut reader, 2);
    ring.readers.report(&reader, 2, 0, 6);
    assert_eq!(positions(&ring, &members)[0].1, 6, "overwritten messages cannot be protected");
    assert_eq!(fill(&ring), 0);
}

#[test]
fn a_name_continues_where_it_stopped_and_has_one_reader() {
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
    assert!(
        matches!(ring.readers.take(named("third"), &members), Err(Refused::Full)),
        "the entry of \"audit\" is kept"
    );
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
fn publishers_wait_for_a_reader_that_is_away_for_keep_ms() {
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
    assert_eq!((0..100).filter(|value| ring.publish(*value)).count(), 100, "with a keep_ms of 0 they do not wait");
}

#[test]
fn a_corrupt_table_stops_no_publisher() {
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
        ring.readers.raise_limit(1);
        if let Ok((mut seat, _)) = ring.readers.take(Wanted::default(), &members) {
            ring.readers.arrive(&mut seat, |floor| floor);
            ring.readers.leave(&seat);
        }
    }
    // Some entries may now name this process, which is alive: free them all.
    for index in 0..4 {
        ring.readers.entry(index).owner.store(FREE, Relaxed);
    }
    assert!((0..100).all(|value| ring.publish(value)));
    ring.header().limit.word.store(noise, Relaxed);
    assert!((0..100).all(|value| ring.publish(value)), "nor does a corrupt limit");
}

#[test]
fn a_reader_that_exits_before_it_has_a_position_leaves_no_name() {
    let (ring, members) = lossless(8, 2, 3_600_000);
    let table = ring.readers;
    // An earlier reader had the entry and was forgotten: its name and its position are still stored there.
    let earlier = join(&ring, &members, named("earlier"));
    table.report(&earlier, 0, 0, 0);
    table.leave(&earlier);
    assert!(table.forget(Name::new("earlier").unwrap(), &members).unwrap());
    for (wanted, dies) in [(Wanted::default(), "as it takes the entry"), (named("never"), "with its name written")] {
        let seat = match wanted.name {
            None => table.seize(0, table.entry(0).owner.load(Relaxed), wanted, 77).unwrap(),
            Some(_) => table.take_free(wanted, 77, &members).unwrap(),
        };
        assert!(table.find(Name::new("earlier").unwrap(), 9).is_none(), "no reader has this name");
        fill(&ring); // the reader may be about to join
        table.release_dead(&members);
        assert_eq!(state(table.entry(seat.index).owner.load(Relaxed)), FREE, "{}", dies);
        assert!(ring.publish(1), "{}", dies);
    }
    // But a named reader that exits while it takes its old entry again keeps its position.
    let audit = join(&ring, &members, named("audit"));
    let place = table.entry(audit.index).position.load(Relaxed);
    table.leave(&audit);
    let word = table.entry(audit.index).owner.load(Relaxed);
    table.seize(audit.index, word, named("audit"), 77).unwrap();
    // As if it had exited before it wrote its pid.
    table.entry(audit.index).pid.store(0, Relaxed);
    table.release_dead(&members);
    table.release_dead(&members);
    assert_eq!(positions(&ring, &members), [(Some("audit".into()), place, Some(false))]);
}

#[test]
fn who_joins_is_not_taken_for_the_dead_one_before_it() {
    let (ring, _) = lossless(8, 1, 0);
    // Without locks no process has a member number, so pids must do.
    let members = Members::new(Group::Readers, None);
    let table = ring.readers;
    let lossy = Wanted { lossy: true, ..Wanted::default() };
    let seat = join(&ring, &members, lossy);
    let entry = table.entry(seat.index);
    let other = entry.pid.load(Relaxed) ^ 0x1000_0000;
    entry.pid.store(other, Relaxed);
    entry.started.store(1, Relaxed);
    let word = entry.owner.load(Relaxed);
    assert_eq!(table.is_alive(entry, word, &members), Some(false));
    let successor = word.wrapping_add(1 << GENERATION_AT) & !STATE | JOINING;
    entry.owner.store(successor, Relaxed);
    assert_eq!(table.is_alive(entry, successor, &members), None, "it has not written its pid yet");
}

#[test]
fn a_lossless_ring_takes_nobody_whose_death_could_not_be_seen() {
    let (ring, _) = lossless(8, 1, 0);
    let members = Members::new(Group::Readers, None);
    assert!(matches!(ring.readers.take(Wanted::default(), &members), Err(Refused::Unknowable)));
    assert!((0..100).all(|value| ring.publish(value)), "publishers go on");
}

#[test]
fn who_comes_late_finds_most_of_what_is_held() {
    let (ring, members) = lossless(64, 1, 0);
    assert!((0..65).all(|value| ring.publish(value)));
    let (mut seat, _) = ring.readers.take(Wanted::default(), &members).unwrap();
    assert_eq!(ring.readers.arrive(&mut seat, |floor| floor), 8, "the limit was 72");
}

#[test]
fn a_clock_that_is_set_back_keeps_nobody_for_long() {
    let (ring, members) = lossless(8, 1, 1000);
    let audit = join(&ring, &members, named("audit"));
    ring.readers.leave(&audit);
    let left = &ring.readers.entry(audit.index).left;
    left.store(wall_ns() + 3_600_000_000_000, Relaxed);
    assert_eq!(fill(&ring), 8);
    assert!(left.load(Relaxed) <= wall_ns());
}

#[test]
fn a_scribbled_owner_word_holds_nobody() {
    let (ring, members) = lossless(8, 2, 0);
    let seat = join(&ring, &members, Wanted::default());
    let owner = &ring.readers.entry(seat.index).owner;
    for bit in 0..64 {
        owner.store(seat.owner, Relaxed);
        assert!(ring.readers.report(&seat, ring.header().write_pos.load(SeqCst), 0, 0));
        assert_eq!(fill(&ring), 8);
        owner.store(seat.owner ^ 1 << bit, Relaxed);
        assert!(!ring.readers.report(&seat, 0, 0, 0), "the reader notices, and takes another entry");
        ring.readers.give_up(&seat);
        // A publisher that waits does this.
        ring.readers.hold_up(0, u64::MAX, |held| {
            if held.is_dead(&members, false) {
                held.release();
            }
        });
        assert!(ring.publish(1), "bit {}", bit);
    }
    owner.store(seat.owner, Relaxed);
    let position = ring.header().write_pos.load(SeqCst);
    ring.readers.report(&seat, position, 0, 0);
    assert_eq!(fill(&ring), 8);
    ring.readers.leave(&seat);
    // Nor does a freed entry that another process changed to JOINING.
    owner.fetch_or(JOINING, Relaxed);
    assert!((0..20).all(|value| ring.publish(value)));
}
