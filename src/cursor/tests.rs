use super::*;
use crate::layout::Header;
use crate::sync::Ordering::SeqCst;

/// A header with these positions.
fn header(write_pos: u64, base: u64) -> Header {
    let header = Header::default();
    header.write_pos.store(write_pos, SeqCst);
    header.clear.base.store(base, SeqCst);
    header
}

#[test]
fn lag_and_room_count_from_the_next_position() {
    let header = header(10, 0);
    let cursor = Cursor::at(7);
    assert_eq!((cursor.lag(&header), cursor.room(&header, 9), cursor.room(&header, 7)), (3, 2, 0));
    assert_eq!(cursor.room(&header, 5), 0, "an end behind it");
    assert_eq!(Cursor::at(12).lag(&header), 0, "ahead of what was published");
}

#[test]
fn a_loss_is_what_is_skipped() {
    let mut cursor = Cursor::at(3);
    cursor.skip_lost(8);
    cursor.skip_lost(9);
    assert_eq!((cursor.next, cursor.lost), (9, 6));
    cursor.lost = u64::MAX - 1;
    cursor.skip_lost(20);
    assert_eq!((cursor.next, cursor.lost), (20, u64::MAX), "and has a bound");
}

#[test]
fn a_skip_moves_the_place_of_resumption_that_it_begins_at() {
    let mut cursor = Cursor::at(3);
    cursor.resumed = 3;
    cursor.skip_lost(8);
    assert_eq!(cursor.resumed, 8);
    cursor.resumed = 5;
    cursor.skip_lost(9);
    assert_eq!(cursor.resumed, 5);
}

#[test]
fn what_a_clear_discarded_is_passed_and_not_lost() {
    let header = header(10, 6);
    let mut cursor = Cursor::at(2);
    assert_eq!((cursor.position(&header), cursor.lag(&header)), (6, 4));
    assert_eq!(cursor.pass_clear(&header), 6);
    assert_eq!((cursor.next, cursor.lost), (6, 0));
    cursor.next = 8;
    assert_eq!((cursor.pass_clear(&header), cursor.next), (6, 8), "only what lies before it");
}

#[test]
fn a_seek_counts_nothing_and_keeps_the_account() {
    let header = header(10, 0);
    let mut cursor = Cursor { lost: 5, read_only: true, ..Cursor::at(2) };
    cursor.claim = Some(Claim { position: 2, seen_end: 4, expires_at: 1 });
    cursor.seek(&header, 9);
    assert_eq!((cursor.next, cursor.lost, cursor.read_only), (9, 5, true));
    assert!(cursor.claim.is_none() && cursor.horizon == OPEN);
    cursor.seek(&header, 0);
    assert_eq!((cursor.next, cursor.lost), (0, 5), "back, too");
}

#[test]
fn a_clear_ends_a_wait_beyond_the_write_position() {
    let header = header(10, 0);
    let mut cursor = Cursor::at(10);
    cursor.seek(&header, 50);
    assert_eq!((cursor.horizon, cursor.position(&header), cursor.room(&header, 12)), (0, 50, 0));
    header.clear.base.store(10, SeqCst);
    assert_eq!((cursor.position(&header), cursor.room(&header, 12)), (10, 2));
    cursor.pass_clear(&header);
    assert_eq!((cursor.next, cursor.horizon, cursor.seek_base), (10, OPEN, 10));
}

#[test]
fn next_maps_messages_alone() {
    assert_eq!(Next::Ready(2).map(|n| n + 1), Next::Ready(3));
    for other in [Next::Empty, Next::Claimed(7), Next::More] {
        assert_eq!(other.map(|n: i32| n + 1), other);
    }
}
