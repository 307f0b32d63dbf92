//! Readers of a selection: delivered + lost + filtered + skipped + abandoned = positions passed.

use super::*;

/// The number of positions that a reader has passed and counted, without abandoned ones.
fn accounted(sub: &Subscriber, got: usize) -> u64 {
    got as u64 + sub.overflow_count() + sub.filtered() + sub.skipped()
}

/// Reads the newest integer into `got`; each is newer than the one before.
fn take_newest(sub: &mut Subscriber, got: &mut Vec<i64>) {
    sub.skip_to_newest();
    if let Some(value) = sub.poll_int().unwrap() {
        let (before, now) = (got.last(), sub.position());
        assert!(
            before.map_or(true, |before| before / 10 != value / 10 || *before < value),
            "{} after {:?}",
            value,
            before
        );
        assert_eq!(now, Some(sub.cursor() - 1), "its position");
        got.push(value);
    }
}

fn newest_beside(capacity: u64, publishers: &'static [&'static [i64]]) {
    let ring = ring(Variant::Int32, capacity, 0);
    let mut sub = ring.subscribe(false);
    let threads: Vec<_> = publishers
        .iter()
        .map(|values| {
            let ring = Arc::clone(&ring);
            thread::spawn(move || values.iter().for_each(|value| ring.publish_int(*value).unwrap()))
        })
        .collect();
    let mut got = Vec::new();
    take_newest(&mut sub, &mut got);
    take_newest(&mut sub, &mut got);
    threads.into_iter().for_each(|publisher| publisher.join().unwrap());
    // The claim timeout passes at the second check.
    while sub.cursor() < ring.write_pos() {
        take_newest(&mut sub, &mut got);
    }
    let (accounted, abandoned) = (accounted(&sub, got.len()), ring.stats().abandoned);
    assert!(accounted <= sub.cursor() && sub.cursor() <= accounted + abandoned, "{:?} {:?}", got, sub);
    assert!(got.last().copied() == held(&ring).last().copied(), "the newest of all is delivered: {:?}", got);
}

#[test]
fn the_newest_is_delivered_and_the_others_are_skipped() {
    explore("the newest, beside a publisher that laps its reader on 2 slots", || newest_beside(2, &[&[10, 11, 12]]));
    explore("the newest, beside two publishers on 4 slots", || newest_beside(4, &[&[10, 11], &[20]]));
}

/// A ring of strings, and a subscriber to the strings that begin with one of the bytes `wanted`.
fn wanting(capacity: u64, wanted: &[u8]) -> (Arc<Ring>, Subscriber) {
    let options = Options { capacity, msg_size: 8, publishers: 2, ..Options::default() };
    let ring = Arc::new(options.anonymous(Variant::Str).unwrap());
    let mut sub = ring.subscribe(false);
    let prefixes: Vec<Bytes> = wanted.chunks(1).map(Bytes::new).collect();
    // SAFETY: the arrays are borrowed for the whole call.
    unsafe { sub.set_prefixes(&prefixes) }.unwrap();
    (ring, sub)
}

/// The messages in `before` are published before the publishers begin.
fn wanted_beside(capacity: u64, before: &'static [u8], publishers: &'static [&'static [u8]], wanted: &'static [u8]) {
    let (ring, mut sub) = wanting(capacity, wanted);
    before.iter().for_each(|value| publish_as(1, &ring, *value));
    let threads: Vec<_> = publishers
        .iter()
        .zip(1..)
        .map(|(values, member)| {
            let ring = Arc::clone(&ring);
            thread::spawn(move || values.iter().for_each(|value| publish_as(member, &ring, *value)))
        })
        .collect();
    let mut got = Vec::new();
    poll_whole(&mut sub, &mut got);
    threads.into_iter().for_each(|publisher| publisher.join().unwrap());
    while sub.cursor() < ring.write_pos() {
        poll_whole(&mut sub, &mut got);
    }
    let (accounted, abandoned) = (accounted(&sub, got.len()), ring.stats().abandoned);
    assert!(accounted <= sub.cursor() && sub.cursor() <= accounted + abandoned, "{:?} {:?}", got, sub);
    let all: Vec<u8> = [before, &publishers.concat()].concat();
    let unwanted = all.iter().filter(|value| !wanted.contains(value)).count() as u64;
    assert!(got.iter().all(|value| wanted.contains(value)) && sub.filtered() <= unwanted, "{:?} {:?}", got, sub);
    if sub.overflow_count() == 0 {
        assert_eq!((sub.filtered(), got.len()), (unwanted, all.len() - unwanted as usize));
    }
}

#[test]
fn what_is_wanted_is_delivered_or_lost_and_the_rest_is_counted() {
    explore("wanted strings, beside a publisher that laps its reader", || {
        wanted_beside(2, &[], &[&[1, 2, 3]], &[1, 3])
    });
    explore("wanted strings of two publishers on 4 slots", || wanted_beside(4, &[], &[&[1, 2], &[3]], &[2, 3]));
    explore("one wanted string, which is overwritten by one that is not", || {
        wanted_beside(2, &[1, 2], &[&[4, 5, 6]], &[2])
    });
}

#[test]
fn a_sleeper_wakes_for_what_it_wants() {
    explore("a sleeper that wants one of two strings", || {
        let (ring, mut sub) = wanting(4, &[2]);
        let sleeper = thread::spawn(move || {
            while sub.wait(NEVER) != Wait::Ready {}
            (sub.poll_str().unwrap().map(|(bytes, _)| bytes), sub.filtered())
        });
        publish_as(1, &ring, 1);
        publish_as(1, &ring, 2);
        assert_eq!(sleeper.join().unwrap(), (Some(vec![2; 8]), 1));
    });
}

#[test]
fn a_sleeper_has_said_what_it_passed() {
    explore_less("a sleeper, and a publisher that waits until it has passed a message that it does not want", || {
        become_member(1);
        let wanted =
            Options { capacity: 8, msg_size: 8, publishers: 1, readers: 1, lossless: true, ..Options::default() };
        let ring = wanted.anonymous(Variant::Str).unwrap();
        let mut sub = ring.subscribe(false);
        // SAFETY: the array is borrowed for the whole call.
        unsafe { sub.set_prefixes(&[Bytes::new(&[2])]) }.unwrap();
        publish_as(1, &ring, 1);
        let publisher = thread::spawn(move || {
            become_member(2);
            assert_eq!(ring.wait_for_readers(NEVER, || false).unwrap(), Wait::Ready);
            publish_as(2, &ring, 2);
        });
        while sub.wait(NEVER) != Wait::Ready {}
        assert_eq!(sub.poll_str().unwrap().map(|(bytes, _)| bytes), Some(vec![2; 8]));
        publisher.join().unwrap();
        assert_eq!((sub.filtered(), sub.overflow_count()), (1, 0));
    });
}
