//! Every receiving call reports gaps at their place.

use std::time::Duration;

use super::*;

fn ring(capacity: u64) -> (Publisher<i64>, Subscriber<i64>) {
    let ring = Ring::<i64>::builder().capacity(capacity).anonymous().unwrap();
    (ring.publisher().unwrap(), ring.subscribe())
}

#[test]
fn each_call_reports_a_gap_before_the_message_after_it() {
    let timeout = Duration::from_secs(60);
    type Call = fn(&mut Subscriber<i64>) -> Result<i64, u64>;
    let calls: [Call; 6] = [
        |sub| sub.try_recv().map_err(|e| if let TryRecvError::Lagged(n) = e { n } else { panic!("{}", e) }),
        |sub| sub.recv().map_err(|e| if let RecvError::Lagged(n) = e { n } else { panic!("{}", e) }),
        |sub| {
            let timeout = Duration::from_secs(60);
            sub.recv_timeout(timeout).map_err(|e| if let RecvTimeoutError::Lagged(n) = e { n } else { panic!("{}", e) })
        },
        |sub| sub.iter().next().unwrap().map_err(|e| if let RecvError::Lagged(n) = e { n } else { panic!("{}", e) }),
        |sub| {
            sub.try_iter().next().unwrap().map_err(|e| if let RecvError::Lagged(n) = e { n } else { panic!("{}", e) })
        },
        |sub| {
            let mut out = [0];
            match sub.try_recv_slice(&mut out) {
                Ok(1) => Ok(out[0]),
                Err(TryRecvError::Lagged(n)) => Err(n),
                other => panic!("{:?}", other),
            }
        },
    ];
    for call in calls {
        let (publisher, mut sub) = ring(4);
        publisher.publish_all(&[1, 2, 3]).unwrap();
        assert_eq!(call(&mut sub), Ok(1));
        publisher.publish_all(&[4, 5, 6, 7]).unwrap();
        assert_eq!(call(&mut sub), Err(2));
        assert_eq!((call(&mut sub), call(&mut sub)), (Ok(4), Ok(5)));
        // Losses during a wait are reported too, and losses between the report and the next read.
        publisher.publish_all(&[8, 9, 10, 11]).unwrap();
        assert!(sub.erased().advance());
        assert_eq!(call(&mut sub), Err(2));
        publisher.publish_all(&[12, 13]).unwrap();
        assert_eq!((call(&mut sub), call(&mut sub)), (Err(2), Ok(10)));
        assert_eq!((sub.lost(), sub.recv_timeout(timeout)), (6, Ok(11)));
    }
}

#[test]
fn batches_stop_at_gaps_and_lose_no_error() {
    let (publisher, mut sub) = ring(4);
    publisher.publish_all(&[1, 2, 3, 4]).unwrap();
    let (mut some, mut slice) = (vec![0], [0; 3]);
    assert_eq!(sub.try_recv_many(&mut some, 2), Ok(2));
    assert_eq!((sub.try_recv_many(&mut some, 0), &some[..]), (Ok(0), &[0, 1, 2][..]));
    publisher.publish_all(&[5, 6, 7, 8, 9, 10, 11]).unwrap();
    assert_eq!(sub.try_recv_many(&mut some, 100), Err(TryRecvError::Lagged(5)));
    assert_eq!(sub.try_recv_slice(&mut slice), Ok(3));
    assert_eq!((slice, sub.try_recv_slice(&mut [])), ([8, 9, 10], Ok(0)));
    assert_eq!(sub.try_recv_many(&mut some, 100), Ok(1));
    assert_eq!(sub.try_recv_many(&mut some, 100), Err(TryRecvError::Empty));

    // A message that is not UTF-8 in the middle of a batch.
    let words = Ring::<[u8]>::builder().capacity(8).anonymous().unwrap();
    let mut strs = Subscriber::<str>::from_erased(words.erased().subscribe(false)).unwrap();
    words.publisher().unwrap().publish_all(&[&b"a"[..], b"\xff", b"b"]).unwrap();
    let mut texts = Vec::new();
    assert_eq!(strs.try_recv_many(&mut texts, 100), Ok(1));
    let bytes = match strs.try_recv_many(&mut texts, 100) {
        Err(TryRecvError::InvalidUtf8(error)) => error.into_bytes(),
        other => panic!("{:?}", other),
    };
    assert_eq!((bytes, strs.try_recv_many(&mut texts, 100)), (vec![0xff], Ok(1)));
    assert_eq!(texts, ["a", "b"]);
}

#[test]
fn the_account_is_exact_beside_publishers() {
    const COUNT: i64 = 20_000;
    let (publisher, mut sub) = ring(16);
    let publishing = std::thread::spawn(move || (1..=COUNT).for_each(|i| publisher.publish(i).unwrap()));
    let (mut next, mut lost) = (1, 0);
    while next <= COUNT {
        match sub.recv() {
            Ok(value) => {
                assert_eq!(value, next);
                next += 1;
            }
            Err(RecvError::Lagged(count)) => {
                lost += count;
                next += count as i64;
            }
            Err(error) => panic!("{}", error),
        }
    }
    publishing.join().unwrap();
    assert_eq!((next, lost), (COUNT + 1, sub.lost()));
}

#[test]
fn strings_beside_publishers_are_whole_and_accounted_for() {
    const COUNT: usize = 5_000;
    let ring = Ring::<str>::builder().capacity(4).message_size(200).anonymous().unwrap();
    let (publisher, mut sub) = (ring.publisher().unwrap(), ring.subscribe());
    let text = |i: usize| format!("{} {}", i, "x".repeat(i % 150));
    let publishing = std::thread::spawn(move || (0..COUNT).for_each(|i| publisher.publish(text(i)).unwrap()));
    let (mut next, mut message) = (0, String::new());
    while next < COUNT {
        match sub.try_recv_into(&mut message) {
            Ok(()) => {
                assert_eq!(message, text(next));
                next += 1;
            }
            Err(TryRecvError::Lagged(count)) => next += count as usize,
            Err(TryRecvError::Empty) => std::thread::yield_now(),
            Err(error) => panic!("{}", error),
        }
    }
    publishing.join().unwrap();
    assert_eq!(next, COUNT);
}

#[test]
fn numbers_of_each_type_are_received_unchanged() {
    fn round_trip<T: Number>(numbers: &[T]) {
        let ring = Ring::<T>::builder().capacity(8).anonymous().unwrap();
        let (publisher, mut sub) = (ring.publisher().unwrap(), ring.subscribe());
        publisher.publish(numbers[0]).unwrap();
        publisher.publish_all(&numbers[1..]).unwrap();
        let mut out = vec![numbers[0]; 5];
        assert_eq!(sub.try_recv().unwrap(), numbers[0]);
        assert_eq!(sub.try_recv_slice(&mut out[1..]), Ok(numbers.len() - 1));
        assert_eq!(out[..numbers.len()], *numbers);
        assert_eq!(sub.try_recv_slice(&mut out), Err(TryRecvError::Empty));
    }
    round_trip(&[i64::MIN, i64::MAX, -1]);
    round_trip(&[i32::MIN, i32::MAX, -1]);
    round_trip(&[i16::MIN, i16::MAX, -1]);
    round_trip(&[f64::MIN, f64::INFINITY, 0.1]);
}

#[test]
fn a_lossless_ring_of_any_type_loses_no_message() {
    const COUNT: u64 = 2_000;
    fn all_arrive<T: Message + ?Sized, M: AsMessage<T>>(message: impl Fn(u64) -> M + Send + 'static)
    where
        T::Owned: PartialEq<T::Owned>,
    {
        let ring = Ring::<T>::builder().capacity(8).lossless(true).anonymous().unwrap();
        let (mut sub, reference) = (ring.subscribe(), Ring::<T>::builder().capacity(8).anonymous().unwrap());
        let (publisher, to, mut from) =
            (ring.publisher().unwrap(), reference.publisher().unwrap(), reference.subscribe());
        let publishing = std::thread::spawn(move || {
            (0..COUNT / 2).for_each(|i| publisher.publish(message(i)).unwrap());
            (COUNT / 2..COUNT).step_by(4).for_each(|i| {
                publisher.publish_all(&[message(i), message(i + 1), message(i + 2), message(i + 3)]).unwrap();
            });
            assert!(publisher.wait_for_readers(Duration::from_secs(60)).unwrap());
            message
        });
        let all: Vec<T::Owned> = (0..COUNT).map(|_| sub.recv().unwrap()).collect();
        let _ = sub.try_recv();
        let message = publishing.join().unwrap();
        for (i, received) in all.into_iter().enumerate() {
            to.publish(message(i as u64)).unwrap();
            assert_eq!(received, from.recv().unwrap());
        }
        assert_eq!(sub.lost(), 0);
    }
    all_arrive::<i64, _>(|i| i as i64);
    all_arrive::<f64, _>(|i| i as f64);
    all_arrive::<str, _>(|i| i.to_string());
    all_arrive::<[u8], _>(|i| i.to_string().into_bytes());
}

#[test]
fn errors_tell_their_cause() {
    let ring = Ring::<i64>::builder().capacity(4).anonymous().unwrap();
    let error = Subscriber::<str>::from_erased(ring.erased().subscribe(false)).unwrap_err();
    assert_eq!(error.to_string(), "this ring carries Int, and Str was expected");
    let error = Ring::<i64>::builder().capacity(4).memfd("a\0b").unwrap_err();
    assert_eq!(error.to_string(), "name must not contain NUL");
    let error = Ring::<i64>::builder().open("/nowhere/ring").unwrap_err();
    assert!(std::error::Error::source(&error).is_none(), "{}", error);
    let error = Ring::<i64>::open("/nowhere/ring").unwrap_err();
    assert!(std::error::Error::source(&error).is_some(), "{}", error);
    assert_eq!(Ring::<i64>::open("/").unwrap_err().kind(), crate::ErrorKind::System);
}

#[test]
fn a_set_is_ready_for_a_gap_too() {
    let (publisher, mut sub) = ring(2);
    let (_other, mut idle) = ring(2);
    publisher.publish_all(&[1, 2, 3]).unwrap();
    assert!(sub.erased().advance());
    sub.erased().reset();
    // There is no message, but a loss that no call has reported.
    let mut set = Set::new();
    assert_eq!(set.wait(&mut [&mut idle, &mut sub]).unwrap(), crate::Wait::Ready);
    assert_eq!(sub.try_recv(), Err(TryRecvError::Lagged(1)));
    assert_eq!(set.wait_timeout(&mut [&mut idle, &mut sub], Duration::ZERO).unwrap(), crate::Wait::TimedOut);
}

#[test]
fn a_set_of_more_members_than_a_thread_can_wait_for() {
    let rings: Vec<_> = (0..200).map(|_| Ring::<i64>::builder().capacity(2).anonymous().unwrap()).collect();
    let mut subs: Vec<_> = rings.iter().map(Ring::subscribe).collect();
    let mut set = Set::new();
    for (i, ring) in rings.iter().enumerate().step_by(67) {
        let publisher = ring.publisher().unwrap();
        let publishing = std::thread::spawn(move || publisher.publish(i as i64));
        let mut members: Vec<&mut dyn Member> = subs.iter_mut().map(|sub| sub as &mut dyn Member).collect();
        assert_eq!(set.wait(&mut members).unwrap(), crate::Wait::Ready);
        publishing.join().unwrap().unwrap();
        let got: Vec<_> = subs.iter_mut().filter_map(|sub| sub.try_recv().ok()).collect();
        assert_eq!(got, [i as i64]);
    }
}

#[test]
fn prefixes_are_compared_by_characters_in_str_and_byte_rings() {
    let ring = Ring::<str>::builder().capacity(8).anonymous().unwrap();
    let bytes = Ring::<[u8]>::from_erased(ring.erased().subscribe(false).ring()).unwrap();
    let (mut text, mut raw) = (ring.subscribe(), bytes.subscribe());
    text.set_prefixes(&["\u{e9}"]);
    raw.set_prefixes(&[b"\xe9"]);
    ring.publisher().unwrap().publish_all(&["e", "\u{e9}t\u{e9}"]).unwrap();
    assert_eq!(text.recv().unwrap(), "\u{e9}t\u{e9}");
    assert_eq!(raw.recv().unwrap(), "\u{e9}t\u{e9}".as_bytes());
    assert_eq!((text.filtered(), raw.filtered(), text.lag()), (1, 1, 0));
    text.set_prefixes::<&str>(&[]);
    ring.publisher().unwrap().publish("e").unwrap();
    assert_eq!(text.recv().unwrap(), "e");
}

#[test]
fn what_a_wait_passes_is_known_to_publishers_when_it_ends() {
    let ring = Ring::<str>::builder().capacity(4).lossless(true).anonymous().unwrap();
    let mut sub = ring.subscribe();
    sub.set_prefixes(&["wanted"]);
    ring.publisher().unwrap().publish_all(&["other"; 4]).unwrap();
    assert_ne!(sub.erased().wait(crate::monotonic_ns() + 1_000_000), crate::Wait::Ready);
    // The subscriber need not call again soon.
    assert_eq!((sub.lag(), sub.filtered(), ring.readers()[0].lag), (0, 4, 0));
    assert!(ring.publisher().unwrap().try_publish("other").unwrap());
}
