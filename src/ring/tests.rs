use super::*;
use crate::testfile::TestRing;

#[test]
fn no_more_is_put_than_was_claimed() {
    let ring = Ring::anonymous(Variant::Int, 8, 0).unwrap();
    let mut sub = ring.subscribe(true);
    let mut batch = ring.claim(2).unwrap();
    ring.put(&mut batch, &[1, 2, 3, 4]).unwrap();
    ring.put(&mut batch, &[5]).unwrap();
    assert_eq!((batch.remaining(), ring.write_pos()), (0, 2));
    ring.publish_int(6).unwrap();
    let got: Vec<_> = std::iter::from_fn(|| sub.poll_int().unwrap()).collect();
    assert_eq!(got, [1, 2, 6]);
}

#[test]
fn a_ring_for_reading_only_claims_nothing() {
    let (ring, file) = TestRing::new(Variant::Int, 8);
    let reader = Ring::open_read_only(Variant::Int, file.path()).unwrap();
    assert_eq!(reader.claim(1).unwrap_err().kind(), ErrorKind::Argument);
    assert_eq!(reader.publish_ints(&[1]).unwrap_err().kind(), ErrorKind::Argument);
    assert_eq!(ring.write_pos(), 0);
}

/// A batch recovers what members that have exited had reserved, and counts anew.
fn recovers(is_alive: bool) {
    let (ring, _file) = TestRing::new(Variant::Int, 1024);
    ring.publish_ints(&[1; 4]).unwrap();
    let own = ring.mapping.members.number().unwrap();
    let dead = if own == 7 { 8 } else { 7 };
    let header = ring.ring.header();
    // A publisher that was stopped in its batch, or killed.
    ring.claim(4).unwrap();
    header.segments.at(0).reserve(0, 4, 7, if is_alive { own } else { dead }).unwrap();
    let mut sub = ring.subscribe(true);
    while sub.cursor() < 8 {
        let _ = sub.wait(NEVER);
        while sub.poll_int().unwrap().is_some() {}
    }
    // As if processes had been killed between an exchange of a word and its count.
    header.events.revoked.store(3, SeqCst);
    ring.looked_at.store(0, SeqCst);
    ring.publish_ints(&[2; 20]).unwrap();
    assert_eq!(header.events.revoked.load(SeqCst), u64::from(is_alive));
    assert_eq!(header.segments.at(0).load().is_revoked(), is_alive);
}

#[test]
fn a_batch_recovers_what_the_dead_have_reserved() {
    recovers(false);
    recovers(true);
}

#[test]
fn batches_reserve_nothing_while_many_segments_are_revoked() {
    let (ring, _file) = TestRing::new(Variant::Int, 1024);
    ring.publish_int(1).unwrap();
    assert!(ring.owner(1).is_none() && ring.owner(10).is_some());
    let own = ring.mapping.members.number().unwrap();
    let header = ring.ring.header();
    for revoked in 0..4 {
        header.events.revoked.store(revoked, SeqCst);
        ring.looked_at.store(0, SeqCst);
        // A thread of this process that was stopped in a batch, and was revoked, in each of so many segments.
        (0..revoked as usize).for_each(|at| header.segments.at(at).scribble(2 << 1 | 9 << 11 | u64::from(own) << 19));
        assert_eq!(ring.owner(10).is_some(), revoked <= 2, "{} of 16 segments", revoked);
    }
}
