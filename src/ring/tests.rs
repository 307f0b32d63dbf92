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
