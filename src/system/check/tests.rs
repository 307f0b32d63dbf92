use super::*;
use crate::file_lock::{Bytes, Kind};
use crate::inspect::Facts;
use crate::layout::HEADER_LEN;
use crate::member::Group;
use crate::options::Options;
use crate::stats::Stats;

/// Behind a table of 64 readers.
const SPARES_AT: u64 = HEADER_LEN + 64 * 128;

use crate::ring::Ring;
use crate::testfile::TestRing;

fn is_fine(file: &TestRing, notes: &[&str], name: &str) {
    let mut report = check(file.path(), false).unwrap();
    assert_eq!(report.problems, Vec::<String>::new(), "{}", name);
    // A file system may give space late.
    report.notes.retain(|note| !note.contains("no disk space"));
    assert_eq!(report.notes.len(), notes.len(), "{}: {:?}", name, report.notes);
    for (note, expected) in report.notes.iter().zip(notes) {
        assert!(note.starts_with(expected), "{}: {}", name, note);
    }
}

fn is_damaged(file: &TestRing, problem: &str) {
    let report = check(file.path(), false).unwrap();
    assert!(report.problems.first().map_or(false, |first| first.contains(problem)), "{}: {:?}", problem, report);
}

fn places(ring: &Ring, variant: Variant) -> Geometry {
    let stats = ring.stats();
    let Stats { capacity, msg_size, publishers, .. } = stats;
    Options { capacity, msg_size, publishers, ..Options::default() }.geometry(variant).unwrap()
}

/// The number of a spare that has the block that it had in the beginning.
fn unused_spare(file: &TestRing) -> u64 {
    (0..).find(|i| file.read(SPARES_AT + i * 128) == 0 && file.read(SPARES_AT + i * 128 + 4) == 0).unwrap()
}

/// Tag and value as a slot has them in memory.
fn stamped(variant: Variant, tag: u64, value: u64) -> Vec<u8> {
    if matches!(variant, Variant::Int | Variant::Num) {
        return [tag.to_ne_bytes(), value.to_ne_bytes()].concat();
    }
    [(tag as u32).to_ne_bytes(), (value as u32).to_ne_bytes()].concat()
}

#[test]
fn rings_are_sound_whatever_was_published_and_cleared() {
    for variant in Variant::ALL {
        let (ring, file) = TestRing::new(variant, 8);
        is_fine(&file, &[], "new");
        for count in [1, 6, 1, 1, 30] {
            file.publish(&ring, count);
            is_fine(&file, &[], "published");
        }
        ring.clear().unwrap();
        is_fine(&file, &[], "cleared");
        assert_eq!(check(file.path(), true).unwrap().checked, Some(8));
    }
}

#[test]
fn scribbled_slots_are_noticed() {
    for variant in Variant::ALL {
        let (ring, file) = TestRing::new(variant, 8);
        file.publish(&ring, 11);
        let each = stamped(variant, 0, 0).len() as u64;
        let at = |slot: u64| places(&ring, variant).slots_at + slot * each;
        let with = |slot: u64, tag: u64| file.damaged(&[(at(slot), &stamped(variant, tag, 0))]);
        is_damaged(&with(2, 6), "slot 2 is of a lap that has not begun");
        is_damaged(&with(3, 4), "slot 3 is of a lap that has not begun");
        is_damaged(&with(3, 1), "slot 3 is of no lap");
        let gone = check(with(2, 5).path(), false).unwrap();
        assert!(variant == Variant::Str || gone.problems.is_empty(), "given up: {:?}", gone);
        if variant != Variant::Str {
            is_fine(&with(2, 2), &["claimed, but not filled: 1 of"], "a dead claim");
            let ahead = file.damaged(&[(128, &13u64.to_ne_bytes())]);
            is_fine(&ahead, &["claimed, but not filled: 2 of"], "claims of the dead");
        }
        let (_ring, empty) = TestRing::new(variant, 8);
        empty.write(&[(at(5), &stamped(variant, 1, 0))]);
        is_damaged(&empty, "slot 5 is of a lap that has not begun");
    }
    let (ring, file) = TestRing::new(Variant::Int16, 8);
    file.publish(&ring, 1);
    let at = places(&ring, Variant::Int16).slots_at;
    is_damaged(&file.damaged(&[(at, &stamped(Variant::Int16, 2, 0x8000))]), "slot 0 value 32768 has more than 16 bits");
    is_fine(&file.damaged(&[(at, &stamped(Variant::Int16, 2, 0xffff_8000))]), &[], "the least");
}

#[test]
fn scribbled_headers_are_noticed() {
    let sevens = u64::from_ne_bytes([7; 8]); // begins with a 7, whichever end comes first in memory
    for variant in Variant::ALL {
        let (ring, file) = TestRing::new(variant, 8);
        file.publish(&ring, 3);
        for (at, bytes, problem) in [
            (100, sevens, "byte 100 of the header"),
            (4088, sevens, "byte 4088 of the header"),
            (128, u64::MAX, "write position"),
            (256, 4, "the position of the last clear is 4, beyond the write position 3"),
            (264, 1, "0 positions were abandoned, and 1 at the last clear"),
            (384, u64::MAX, "subscribers sleep"),
            (536, 2, "unregistered"),
            (896, 1, "segment 0 has the impossible word 0x1"),
        ] {
            is_damaged(&file.damaged(&[(at, &u64::to_ne_bytes(bytes))]), problem);
        }
        if variant != Variant::Str {
            is_damaged(&file.damaged(&[(512, &1u64.to_ne_bytes())]), "rings of integers");
        }
    }
}

#[test]
fn words_of_segments_are_checked() {
    let (ring, file) = TestRing::new(Variant::Int32, 1024);
    (0..20).for_each(|_| file.publish(&ring, 100));
    let word = |lap: u64, last: u64, first: u64, state: u64| lap << 35 | last << 11 | first << 3 | state << 1;
    // 2,000 messages end in segment 15 of lap 1.
    for (segment, bits) in [
        (15, word(2, 0, 0, 0)),
        (16, word(0, 0, 0, 1)),
        (3, word(1, 4, 5, 1)),
        (3, word(1, 64, 5, 1)),
        (3, 1 << 11),
        (0, 1 << 40),
    ] {
        let copy = file.damaged(&[(896 + 8 * segment, &bits.to_ne_bytes())]);
        is_damaged(&copy, &format!("segment {} has the impossible word {:#x}", segment, bits));
    }
    let fine = |bits: u64| file.damaged(&[(896 + 8 * 3, &bits.to_ne_bytes())]);
    is_fine(&fine(word(1, 9, 5, 1)), &[], "reserved");
    is_fine(&fine(word(1, 9, 5, 3)), &[], "void");
    is_fine(&fine(word(1, 9, 5, 2)), &["slots that publishers have reserved"], "revoked");
    is_fine(&fine(word(0, 9, 9, 2)), &["slots that publishers have reserved"], "revoked a lap ago");
}

#[test]
fn blocks_belong_to_one_slot_or_spare() {
    let (ring, file) = TestRing::new(Variant::Str, 8);
    file.publish(&ring, 11);
    let at = places(&ring, Variant::Str);
    let slot = |i: u64| at.slots_at + i * 8;
    let value = |i: u64| u64::from(file.read(slot(i) + 4));
    let tag = |i: u64| u64::from(file.read(slot(i)));
    let naming = |i: u64, block: u64| file.damaged(&[(slot(i), &stamped(Variant::Str, tag(i), block ^ i))]);
    is_damaged(&naming(3, at.capacity + at.publishers), "slot 3 names block");
    is_damaged(&naming(3, value(5) ^ 5), "names block");
    let block = value(3) ^ 3;
    let first = at.arena_at + block * at.block_len();
    is_damaged(&file.damaged(&[(first, &17u64.to_ne_bytes())]), "slot 3 has a message of 17 bytes in block");
    // Spares.
    let free = unused_spare(&file);
    let spare = SPARES_AT + free * 128;
    is_damaged(&file.damaged(&[(spare, &3u64.to_ne_bytes())]), &format!("spare {} is neither idle nor busy", free));
    is_damaged(
        &file.damaged(&[(spare, &(9u64 << 2).to_ne_bytes())]),
        &format!("spare {} is neither idle nor busy", free),
    );
    is_damaged(&file.damaged(&[(spare, &(0xffff_u64 << 32).to_ne_bytes())]), &format!("spare {} names block", free));
    is_damaged(&file.damaged(&[(spare, &(3u64 << 32).to_ne_bytes())]), "names block");
    is_damaged(
        &file.damaged(&[(spare, &2u64.to_ne_bytes())]),
        "blocks that no slot and no spare names: 1, of which 0 leaked",
    );
    let leaked = file.damaged(&[(spare, &2u64.to_ne_bytes()), (528, &1u64.to_ne_bytes())]);
    is_fine(&leaked, &["spare blocks that leaked"], "a leak");
}

#[test]
fn a_publisher_that_died_is_no_damage_wherever_that_was() {
    let (ring, file) = TestRing::new(Variant::Str, 8);
    file.publish(&ring, 11);
    drop(ring);
    let at = Options { capacity: 8, msg_size: 16, ..Options::default() }.geometry(Variant::Str).unwrap();
    let free = unused_spare(&file);
    let (spare, slot) = (SPARES_AT + free * 128, at.slots_at + 3 * 8);
    let word = |n: u64| n.to_ne_bytes();
    let (mine, old) = (at.capacity + free, u64::from(file.read(slot + 4)) ^ 3);
    let busy = word(7 << 2 | 1);
    let note = "a publisher died in the middle of a publish";
    is_fine(&file.damaged(&[(spare, &busy)]), &[note], "before its claim");
    let intent = [(spare, &busy[..]), (spare + 8, &word(12)), (spare + 16, &word(old)), (128, &word(12))];
    is_fine(&file.damaged(&intent), &["claimed", note], "before its exchange");
    let committed = stamped(Variant::Str, 4, mine ^ 3);
    is_fine(&file.damaged(&[&intent[..], &[(slot, &committed[..])]].concat()), &[note], "after it");
    let lapped = [(slot, &stamped(Variant::Str, 6, old ^ 3)[..]), (128, &word(20)[..])];
    let lapped = file.damaged(&[&intent[..], &lapped[..]].concat());
    assert_eq!(check(lapped.path(), false).unwrap().problems, Vec::<String>::new(), "overtaken");
}

#[test]
fn a_living_publisher_is_not_taken_for_a_dead_one() {
    let (ring, file) = TestRing::new(Variant::Str, 8);
    file.publish(&ring, 1);
    let lock = std::fs::OpenOptions::new().read(true).write(true).open(file.path()).unwrap();
    let member = (1..).find(|n| Bytes::of_members(Group::Publishers, *n, 1).is_locked(&lock) == Ok(false)).unwrap();
    file.write(&[(SPARES_AT + unused_spare(&file) * 128, &u64::from(member << 2 | 1).to_ne_bytes())]);
    is_fine(&file, &["a publisher died"], "a number without a member");
    Bytes::of_members(Group::Publishers, member, 1).lock(&lock, Kind::Exclusive).unwrap();
    is_fine(&file, &[], "a living one");
}

#[test]
fn rings_in_use_are_sound() {
    for (variant, capacity) in Variant::ALL.iter().flat_map(|v| [2, 5000].map(|n| (*v, n))) {
        let (ring, file) = TestRing::new(variant, capacity);
        let stop = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while !stop.load(Relaxed) {
                        file.publish(&ring, 100);
                    }
                });
            }
            for _ in 0..20 {
                let report = check(file.path(), true).unwrap();
                if !report.problems.is_empty() {
                    stop.store(true, Relaxed);
                    panic!("{:?}", report);
                }
            }
            stop.store(true, Relaxed);
        });
        is_fine(&file, &[], "quiet again");
    }
}

#[test]
fn a_part_of_many_slots_is_looked_at_and_that_where_things_happen() {
    let (ring, file) = TestRing::new(Variant::Int16, 1 << 21);
    (0..10).for_each(|_| file.publish(&ring, 8000));
    let at = places(&ring, Variant::Int16).slots_at;
    assert!(check(file.path(), false).unwrap().checked.unwrap() < 1_100_000);
    file.write(&[(at + 80_000 * 8, &77u32.to_ne_bytes())]);
    is_damaged(&file, "slot 80000 ");
    assert_eq!(check(file.path(), true).unwrap().checked, Some(1 << 21));
}

#[test]
fn holes_are_a_note() {
    let (ring, file) = TestRing::new(Variant::Int, 1 << 14);
    let header: Vec<u8> = (0..128).flat_map(|at| file.read(at * 4).to_ne_bytes()).collect();
    file.set_len(0);
    file.write(&[(0, &header)]);
    file.set_len(ring.stats().mmap_size);
    let report = check(file.path(), true).unwrap();
    assert!(report.problems.is_empty(), "{:?}", report);
    let Facts { size, allocated, .. } = report.inspection.file;
    let noted = report.notes.iter().any(|note| note.contains("of 274432 bytes have no disk space"));
    assert_eq!(noted, allocated < size, "{:?}", report.notes);
}

#[test]
fn a_file_that_shrinks_is_an_error() {
    let (ring, file) = TestRing::new(Variant::Int, 1 << 14);
    let opened = Opened::new(file.path()).unwrap();
    let view = View { file: &opened.file, geometry: opened.geometry.as_ref().unwrap() };
    file.set_len(ring.stats().mmap_size - 1);
    assert!(view.chunk::<WideSlot>(0).is_ok());
    assert!(view.chunk::<WideSlot>(3).is_err());
    drop(ring);
    file.set_len(0);
    assert!(view.chunk::<WideSlot>(0).is_err() && view.end().is_err());
}

#[test]
fn the_table_of_readers_is_looked_at() {
    use crate::SubscribeOptions;

    let (ring, file) = TestRing::new(Variant::Int, 8);
    file.publish(&ring, 3);
    let named = SubscribeOptions { name: Some("größe"), ..SubscribeOptions::default() };
    let (one, mut two) = (ring.subscribe_with(&named).unwrap(), ring.subscribe(false));
    two.seek(1 << 40);
    is_fine(&file, &[], "two readers, one of which waits for a message ahead");
    drop((one, two));
    is_fine(&file, &[], "and gone");
    let _here = ring.subscribe(true);
    let (first, free) = (HEADER_LEN, HEADER_LEN + 256);
    let word =
        |at| u64::from_ne_bytes([file.read(at), file.read(at + 4)].map(u32::to_ne_bytes).concat().try_into().unwrap());
    assert_eq!([first, free].map(|at| word(at) & 0xff), [3 | 8, 0], "the name is away");
    let long = |n: u64| n.to_ne_bytes();
    let flags = |bits| long(word(first) ^ bits);
    let pid = first + 128 + 32;
    for (at, bytes, problem) in [
        (first, &flags(0x80)[..], "reader 0 has the owner"),
        (first, &flags(8), "reader 0 is away, and has no name"),
        (free, &long(1 << 9), "reader 2 is free, and names an owner"),
        (first + 80, b"\xff", "reader 0 has a name"),
        (first + 80 + 47, b"x", "reader 0 has a name"),
        (first + 8, &long(u64::MAX - 3), "reader 0 is at position 18446744073709551612, and the write position is 3"),
        (pid, &long(word(pid) & 0xffff_ffff), "reader 1 has the pid of an earlier reader"),
        (656 - 8, &65u32.to_ne_bytes(), "65 readers were in a table of 64"),
        (640, &long(1 << 24), "the limit of publishers is 0x1000000, and the ring is not lossless"),
    ] {
        is_damaged(&file.damaged(&[(at, bytes)]), problem);
    }
}
