use super::*;
use crate::heap;
use crate::slot::ABANDONED;

/// The message at `position` of a test. Its bytes depend on the position and their index.
fn message(position: u64, len: usize) -> Vec<u8> {
    (0..len as u64).map(|i| (position.wrapping_mul(31) + i * 7) as u8).collect()
}

fn members() -> Members {
    let members = Members::new(crate::member::Group::Publishers, None);
    members.join(|_| ()).unwrap();
    members
}

fn publish(ring: &StrRing, messages: &[Vec<u8>]) {
    let messages: Vec<Bytes> = messages.iter().map(|m| Bytes::new(m)).collect();
    // SAFETY: borrowed vectors.
    unsafe { ring.publish(&messages, &members(), &AtomicU32::new(0)) }.unwrap();
}

/// All messages from `cursor` on.
fn read_all(ring: &StrRing, cursor: &mut Cursor) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    loop {
        match ring.look(cursor) {
            Next::Ready(found) => {
                let mut bytes = vec![0u8; round_up_8(found.len() as u64) as usize];
                // SAFETY: just found, and there is room.
                if unsafe { ring.copy(cursor, &found, bytes.as_mut_ptr()) } {
                    bytes.truncate(found.len());
                    all.push(bytes);
                }
            }
            Next::Claimed(when) => {
                while crate::wait::monotonic_ns() < when {
                    std::hint::spin_loop();
                }
            }
            Next::More => {}
            Next::Empty => return all,
        }
    }
}

#[test]
fn the_last_messages_survive_whatever_their_sizes() {
    for (capacity, msg_size) in [(2, 1), (2, 8), (2, 64), (2, 61), (4, 24), (8, 9), (16, 100)] {
        let ring = heap::str_ring(capacity, msg_size, 3);
        let mut random = 0x9e37_79b9_7f4a_7c15u64;
        let mut lens = Vec::new();
        let mut position = 0;
        while position < 4000u64 {
            let mut batch = Vec::new();
            for _ in 0..random % 5 % capacity + 1 {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                let len = (random >> 16) % (msg_size + 1);
                batch.push(message(position, len as usize));
                lens.push(len as usize);
                position += 1;
            }
            publish(&ring, &batch);
            let oldest = position.saturating_sub(capacity);
            let expected: Vec<Vec<u8>> = (oldest..position).map(|p| message(p, lens[p as usize])).collect();
            let context = format!("{} x {}, {}", capacity, msg_size, position);
            assert_eq!(read_all(&ring, &mut Cursor::at(oldest)), expected, "{}", context);
        }
        ring.check_blocks();
    }
}

#[test]
fn a_reader_that_is_lapped_counts_what_it_lost() {
    let ring = heap::str_ring(4, 16, 2);
    let mut cursor = Cursor::at(0);
    let all: Vec<Vec<u8>> = (0..10).map(|p| message(p, 16)).collect();
    publish(&ring, &all);
    assert_eq!(read_all(&ring, &mut cursor), all[6..]);
    assert_eq!((cursor.next(), cursor.lost()), (10, 6));
}

/// Publishes `messages` as member 7, which is killed after so many steps.
fn die_publishing(ring: &StrRing, messages: &[Vec<u8>], steps: u32) {
    let left = std::cell::Cell::new(steps);
    let step = || left.replace(left.get().saturating_sub(1)) == 0;
    let mut taken = ring.spares.take(0, 7).unwrap();
    if step() {
        return;
    }
    let mut batch = ring.ring.claim(messages.len() as u64).unwrap();
    for bytes in messages {
        // SAFETY: a borrowed vector.
        unsafe { ring.write(taken.block, &Bytes::new(bytes)) };
        if step() {
            return;
        }
        let block = taken.block;
        let intend = |position: u64, old: u64| taken.intend(position, named(old, ring.ring.slot_index(position)));
        if left.get() == 0 {
            return intend(batch.next(), ring.ring.value_at(batch.next()));
        }
        let displaced = ring.ring.exchange(&mut batch, |index| block ^ index, intend);
        step();
        if step() {
            return;
        }
        taken.exchanged(named(displaced.unwrap(), ring.ring.slot_index(batch.committed())));
    }
    panic!("it was to die");
}

#[test]
fn what_a_dead_publisher_had_is_taken_over_wherever_it_died() {
    for (steps, laps) in (0..10).flat_map(|steps| (0..3).map(move |laps| (steps, laps))) {
        let ring = heap::str_ring(4, 16, 2);
        publish(&ring, &(0..6).map(|p| message(p, 16)).collect::<Vec<_>>());
        die_publishing(&ring, &[vec![0xdd; 16], vec![0xee; 16], vec![0xff; 16]], steps);
        let mut cursor = Cursor::at(6);
        // Other publishers go on with the other spare, and may lap it before it is recovered.
        for position in 0..laps * 4 {
            publish_as(&ring, 8, 1, &[message(position, 16)]);
        }
        let events = &ring.header().events;
        assert!(ring.recover(7) && !ring.recover(7), "also where its last slot was overwritten");
        assert_eq!((events.recoveries.load(Relaxed), events.leaked.load(Relaxed)), (1, 0));
        ring.check_blocks();
        for bytes in read_all(&ring, &mut cursor) {
            assert!(bytes.iter().all(|b| *b == bytes[0] && *b >= 0xdd) || (0..12).any(|p| bytes == message(p, 16)));
        }
    }
}

#[test]
fn who_dies_with_a_spare_that_was_taken_over_leaves_it_decidable() {
    let ring = heap::str_ring(4, 16, 2);
    die_publishing(&ring, &[vec![0xdd; 16]], 2);
    assert!(ring.recover(7));
    // The block that the first publisher was about to displace is held by another meanwhile, and its slot has a later lap.
    let mut busy = ring.spares.take(1, 8).unwrap();
    let mut batch = ring.ring.claim(4).unwrap();
    assert!((1..5).all(|_| ring.commit(&mut batch, &mut busy)));
    assert_eq!(busy.block, 0);
    let _ = ring.spares.take(0, 9).unwrap();
    assert!(ring.recover(9), "nothing has to be found");
    busy.give_back();
    ring.check_blocks();
}

fn publish_as(ring: &StrRing, member: u32, index: u32, messages: &[Vec<u8>]) {
    let mut taken = ring.spares.take(index, member).unwrap();
    let mut batch = ring.ring.claim(messages.len() as u64).unwrap();
    for bytes in messages {
        // SAFETY: a borrowed vector.
        unsafe { ring.write(taken.block, &Bytes::new(bytes)) };
        ring.commit(&mut batch, &mut taken);
    }
    taken.give_back();
}

#[test]
fn a_publisher_that_was_stopped_commits_the_same_block_later() {
    let ring = heap::str_ring(2, 16, 2);
    let mut stopped = ring.spares.take(0, 7).unwrap();
    // SAFETY: a borrowed vector.
    unsafe { ring.write(stopped.block, &Bytes::new(b"late")) };
    let mut batch = ring.ring.claim(1).unwrap();
    let others: Vec<_> = (1..8).map(|p| message(p, 16)).collect();
    others.iter().for_each(|m| publish_as(&ring, 8, 1, std::slice::from_ref(m)));
    ring.commit(&mut batch, &mut stopped);
    stopped.give_back();
    assert_eq!(read_all(&ring, &mut Cursor::at(7)), [others[6].clone(), b"late".to_vec()]);
    ring.check_blocks();
}

#[test]
fn all_spares_busy_with_the_living_is_an_interruption() {
    let ring = heap::str_ring(2, 16, 2);
    let (one, two) = (ring.spares.take(0, 7).unwrap(), ring.spares.take(1, 0).unwrap());
    // SAFETY: a borrowed slice.
    let publish = || unsafe { ring.publish(&[Bytes::new(b"x")], &members(), &AtomicU32::new(0)) };
    assert!(publish().is_err());
    assert_eq!(ring.header().write_pos.load(Relaxed), 0, "nothing was claimed");
    two.give_back();
    publish().unwrap();
    one.give_back();
    ring.check_blocks();
}

/// A publisher that publishes some messages during a copy, and some between two copies.
#[test]
fn a_reader_that_is_lapped_in_mid_copy_goes_on_ahead_of_the_writer() {
    for (capacity, in_copy, between) in
        [(2, 1, 0), (4, 1, 0), (4, 2, 0), (64, 1, 0), (64, 17, 0), (4, 1, 1), (64, 3, 5)]
    {
        let ring = heap::str_ring(capacity, 16, 1);
        let publish_some = |n: u64| (0..n).for_each(|i| publish(&ring, &[message(i, 16)]));
        publish_some(capacity);
        let mut cursor = Cursor::at(0);
        let mut tries = Vec::new();
        let got = loop {
            let found = match ring.look(&mut cursor) {
                Next::Ready(found) => found,
                other => panic!("{:?}", other),
            };
            tries.push(found.position);
            publish_some(in_copy);
            // SAFETY: just found, and there is room.
            if unsafe { ring.copy(&mut cursor, &found, [0u8; 16].as_mut_ptr()) } || tries.len() == 9 {
                break found.position;
            }
            publish_some(between);
        };
        let middle = 2 * in_copy + between + capacity / 2;
        // First at the message itself, then at the oldest, then in the middle: with two slots that is the newest.
        assert_eq!(tries, [0, in_copy + between, middle], "capacity {}", capacity);
        assert_eq!((got, cursor.next(), cursor.lost()), (middle, middle + 1, middle), "capacity {}", capacity);
        // After a complete copy, the next torn one counts as the first.
        publish_some(capacity);
        cursor.pass_to(ring.header().write_pos.load(Relaxed) - capacity);
        if let Next::Ready(found) = ring.look(&mut cursor) {
            publish_some(1);
            // SAFETY: as above.
            assert!(!unsafe { ring.copy(&mut cursor, &found, [0u8; 16].as_mut_ptr()) });
            assert_eq!(cursor.next(), found.position + 1, "the oldest");
        }
    }
}

#[test]
fn a_clear_while_a_message_is_copied_and_overwritten_is_no_loss() {
    let ring = heap::str_ring(2, 16, 1);
    publish(&ring, &[message(0, 16)]);
    let mut cursor = Cursor::at(0);
    let found = match ring.look(&mut cursor) {
        Next::Ready(found) => found,
        other => panic!("{:?}", other),
    };
    ring.header().clear();
    publish(&ring, &[message(1, 16), message(2, 16)]);
    // SAFETY: just found, and there is room.
    assert!(!unsafe { ring.copy(&mut cursor, &found, [0u8; 16].as_mut_ptr()) });
    assert_eq!((cursor.next(), cursor.lost()), (1, 0));
    assert_eq!(read_all(&ring, &mut cursor), [message(1, 16), message(2, 16)]);
}

#[test]
fn a_clear_ends_the_wait_for_a_message_ahead() {
    let ring = heap::str_ring(16, 8, 1);
    let mut cursor = Cursor::at(0);
    cursor.seek(ring.header(), 9);
    publish(&ring, &[message(0, 8), message(1, 8), message(2, 8)]);
    ring.header().clear();
    let all: Vec<_> = (3..13).map(|p| message(p, 8)).collect();
    publish(&ring, &all);
    assert_eq!(cursor.room(ring.header(), 13), 10, "as a drain counts");
    assert_eq!(read_all(&ring, &mut cursor), all, "though the awaited one has come, too");
    assert_eq!((cursor.next(), cursor.lost()), (13, 0));
}

#[test]
fn a_slot_that_somebody_scribbled_over_is_a_loss_and_no_more() {
    let ring = heap::str_ring(4, 16, 3);
    publish(&ring, &[message(0, 16), message(1, 16)]);
    ring.ring.corrupt(0, 0xffff_ffff);
    let mut cursor = Cursor::at(0);
    assert_eq!(read_all(&ring, &mut cursor), [message(1, 16)]);
    assert_eq!(cursor.lost(), 1);
    // A batch that displaces it continues with another spare.
    let all: Vec<_> = (2..8).map(|p| message(p, 16)).collect();
    publish(&ring, &all);
    assert_eq!(read_all(&ring, &mut cursor), all[2..]);
    assert_eq!(ring.header().events.leaked.load(Relaxed), 1);
    ring.sweep(false);
    ring.check_blocks();
}

#[test]
fn a_length_that_no_message_can_have_is_a_loss() {
    let ring = heap::str_ring(4, 16, 1);
    for length in [17, 1 << 33, u64::MAX] {
        let mut cursor = Cursor::at(ring.header().write_pos.load(Relaxed));
        publish(&ring, &[message(0, 16), message(1, 16)]);
        let index = ring.ring.slot_index(cursor.next());
        ring.block(named(ring.ring.value_at(index), index), 0).0.store(length, Relaxed);
        assert_eq!(read_all(&ring, &mut cursor), [message(1, 16)], "{:x}", length);
        assert_eq!(cursor.lost(), 1);
    }
}

#[test]
fn spares_that_somebody_scribbled_over_are_not_used() {
    let ring = heap::str_ring(4, 16, 4);
    let spoilt = [0, 1, 2].map(|i| ring.spares.take(i, 9).unwrap());
    spoilt.into_iter().enumerate().for_each(|(i, taken)| taken.corrupt([u64::MAX, 2, 0xff << 40][i]));
    let all: Vec<_> = (0..9).map(|p| message(p, 16)).collect();
    all.iter().for_each(|one| publish(&ring, std::slice::from_ref(one)));
    assert_eq!(read_all(&ring, &mut Cursor::at(5)), all[5..]);
    publish(&ring, &all);
    assert_eq!(read_all(&ring, &mut Cursor::at(14)), all[5..]);
    ring.sweep(false);
    ring.check_blocks();
}

#[test]
fn a_file_that_saw_the_machine_go_down_is_made_whole() {
    let ring = heap::str_ring(4, 16, 3);
    let all: Vec<_> = (0..7).map(|p| message(p, 16)).collect();
    publish(&ring, &all);
    // Slots from different times: two name the block of a third, and one does not name a block.
    for (slot, block) in [(1, 0), (2, 0), (3, 1 << 20)] {
        let third = named(ring.ring.value_at(0), 0);
        ring.ring.corrupt(slot, if block == 0 { third ^ slot } else { block });
    }
    ring.sweep(true);
    ring.check_blocks();
    let mut cursor = Cursor::at(3);
    assert_eq!(read_all(&ring, &mut cursor), [all[4].clone()], "what cannot be told apart is gone");
    publish(&ring, &all);
    assert_eq!(read_all(&ring, &mut cursor), all[3..]);
    ring.check_blocks();
}

#[test]
fn a_ring_without_spares_says_so() {
    let ring = heap::str_ring(4, 16, 4);
    let spoilt = [0, 1, 2, 3].map(|i| ring.spares.take(i, 9).unwrap());
    // Entries without a block, with an invalid state, busy with an invalid member, and busy without a block.
    let words = [2, u64::MAX, 70_000 << 2 | 1, 1 << 60 | 9 << 2 | 1];
    spoilt.into_iter().zip(words).for_each(|(taken, word)| taken.corrupt(word));
    let (members, home) = (Members::new(crate::member::Group::Publishers, None), AtomicU32::new(0));
    members.join(|_| ()).unwrap();
    // SAFETY: a borrowed slice.
    let publish = || unsafe { ring.publish(&[Bytes::new(b"x")], &members, &home) };
    assert_eq!(publish(), Err(NoSpare::Damaged));
    ring.sweep(true);
    assert_eq!(publish(), Ok(1));
    ring.check_blocks();
}

#[test]
fn nobody_sweeps_where_somebody_unknown_may_publish() {
    let ring = heap::str_ring(4, 16, 2);
    ring.header().events.say_unregistered();
    let _taken = ring.spares.take(0, 0).unwrap();
    ring.sweep(false);
    assert!(ring.spares.take(0, 1).is_none(), "it may be in the middle of a publish");
}

#[test]
fn a_given_up_position_keeps_its_block() {
    let ring = heap::str_ring(2, 16, 2);
    die_publishing(&ring, &[vec![1; 16], vec![2; 16]], 1);
    assert!(read_all(&ring, &mut Cursor::at(0)).is_empty());
    assert_eq!(ring.ring.tag_at(0), NarrowSlot::tag(0) | ABANDONED);
    assert!(ring.recover(7));
    ring.check_blocks();
}

#[test]
fn readers_see_whole_messages_beside_writers_in_a_hurry() {
    let ring = heap::str_ring(2, 64, 2);
    let each = 100_000u64;
    struct Shared(StrRing);
    // SAFETY: leaked, atomic.
    unsafe impl Sync for Shared {}
    let shared = &Shared(ring);
    let members = members();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(move || {
                let (ring, mut cursor, mut delivered) = (shared.0, Cursor::at(0), 0);
                while cursor.next() < 2 * each {
                    if let Next::Ready(found) = ring.look(&mut cursor) {
                        let mut bytes = [0u8; 64];
                        // SAFETY: just found, and there is room.
                        if unsafe { ring.copy(&mut cursor, &found, bytes.as_mut_ptr()) } {
                            delivered += 1;
                            let id = u64::from_ne_bytes(bytes[..8].try_into().unwrap());
                            assert_eq!(bytes[8..found.len()], message(id, id as usize % 57)[..]);
                        }
                    }
                }
                let voids = ring.header().events.abandoned.load(Relaxed);
                let passed = delivered + cursor.lost();
                assert!(passed <= cursor.next() && cursor.next() <= passed + voids);
            });
        }
        for who in 0..2 {
            let (home, members) = (AtomicU32::new(who), &members);
            scope.spawn(move || {
                for id in 0..each {
                    let bytes: Vec<u8> = [&id.to_ne_bytes()[..], &message(id, id as usize % 57)].concat();
                    // SAFETY: a borrowed vector.
                    while unsafe { shared.0.publish(&[Bytes::new(&bytes)], members, &home) }.is_err() {}
                }
            });
        }
    });
    shared.0.check_blocks();
}
