//! The models. Each asserts the account of every subscriber: delivered + lost + void = positions passed.

mod lossless;

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::Arc;

use loom::thread;

use super::atomic::{make_shadows, put_fences, Fences};
use super::futex::Way;
use super::member::become_member;
use super::{armed, futex};
use crate::{Bytes, Member, Options, Ring, Set, Subscriber, Variant, Wait, NEVER, NO_READERS};

mod selection;

/// Explores `model` with either way of SeqCst, and says how many executions there were. The environment variable
/// `LOOM_MAX_PREEMPTIONS` bounds how often one execution takes the processor from a thread that could go on.
fn explore(name: &str, model: impl Fn() + Copy + Send + Sync + 'static) {
    explore_with(0, name, model);
}

/// The same for a small model: with one more preemption.
fn explore_deeper(name: &str, model: impl Fn() + Copy + Send + Sync + 'static) {
    explore_with(1, name, model);
}

/// The same for a large one: with one less.
fn explore_less(name: &str, model: impl Fn() + Copy + Send + Sync + 'static) {
    explore_with(-1, name, model);
}

fn explore_with(more: isize, name: &str, model: impl Fn() + Copy + Send + Sync + 'static) {
    for fences in [Fences::Before, Fences::After] {
        put_fences(fences);
        let executions = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&executions);
        let mut builder = loom::model::Builder::new();
        builder.max_branches = 10_000;
        builder.preemption_bound = builder.preemption_bound.map(|n| (n as isize + more).max(1) as usize);
        let start = std::time::Instant::now();
        builder.check(move || {
            counter.fetch_add(1, Relaxed);
            make_shadows();
            futex::boot();
            model();
        });
        let bound = builder.preemption_bound.map_or("any".to_owned(), |n| format!("<= {}", n));
        let (executions, seconds) = (executions.load(Relaxed), start.elapsed().as_secs_f64());
        println!(
            "model: {}; fences {:?}, preemptions {}: {} executions, {:.1} s",
            name, fences, bound, executions, seconds
        );
    }
}

fn ring(variant: Variant, capacity: u64, msg_size: u64) -> Arc<Ring> {
    let wanted = Options { capacity, msg_size, publishers: 2, readers: NO_READERS, ..Options::default() };
    Arc::new(wanted.anonymous(variant).unwrap())
}

/// A subscriber and what it got.
struct Reader {
    sub: Subscriber,
    got: Vec<i64>,
    /// Where it began.
    start: u64,
}

impl Reader {
    fn new(ring: &Ring, all: bool) -> Self {
        let sub = ring.subscribe(all);
        let start = sub.cursor();
        Reader { sub, got: Vec::new(), start }
    }

    fn poll(&mut self) {
        if let Some(value) = self.sub.poll_int().unwrap() {
            self.got.push(value);
        }
    }

    /// Everything that is there. Two looks at a claim end patience, so three in vain mean that there is nothing.
    fn drain(&mut self) {
        let mut in_vain = 0;
        while in_vain < 3 {
            let before = self.sub.cursor();
            self.poll();
            in_vain = if self.sub.cursor() == before { in_vain + 1 } else { 0 };
        }
    }

    /// With all publishers gone, reads what is left and settles the account: what it passed, it got, lost, or found void.
    fn settle(&mut self, ring: &Ring) {
        self.drain();
        let stats = ring.stats();
        assert_eq!(self.sub.cursor(), stats.write_pos, "stuck");
        let accounted = self.got.len() as u64 + self.sub.overflow_count();
        let passed = self.sub.cursor() - self.start;
        // A void position that was overwritten before this reader came to it is counted as lost.
        assert!(accounted <= passed && passed <= accounted + stats.abandoned, "{:?}", self.sub);
        if self.sub.overflow_count() == 0 {
            assert_eq!(accounted + stats.abandoned, passed, "each void position was passed by this reader");
        }
    }

    /// Tens say who published, ones how many that one had published before: nothing twice, nothing out of order.
    fn check_order(&self) {
        for (i, a) in self.got.iter().enumerate() {
            assert!(self.got[..i].iter().all(|b| b / 10 != a / 10 || b < a), "{:?}", self.got);
        }
    }
}

/// What stands in the ring for someone who comes now.
fn held(ring: &Ring) -> Vec<i64> {
    let mut reader = Reader::new(ring, true);
    reader.drain();
    reader.check_order();
    reader.got
}

fn two_publishers_and_a_reader_on(capacity: u64) {
    let ring = ring(Variant::Int32, capacity, 0);
    let mut reader = Reader::new(&ring, false);
    let other = Arc::clone(&ring);
    let a = thread::spawn(move || {
        other.publish_int(10).unwrap();
        other.publish_int(11).unwrap();
    });
    let other = Arc::clone(&ring);
    let b = thread::spawn(move || other.publish_int(20).unwrap());
    reader.poll();
    reader.poll();
    a.join().unwrap();
    b.join().unwrap();
    reader.settle(&ring);
    reader.check_order();
    let stats = ring.stats();
    assert_eq!(stats.publish_ok, 3, "{:?}", stats);
    if reader.sub.overflow_count() == 0 {
        assert_eq!(reader.got.len(), 3, "each publish that returned is there once");
    }
    let held = held(&ring);
    assert!(reader.got.ends_with(&held), "{:?} but {:?} are held", reader.got, held);
}

#[test]
fn two_publishers_and_a_reader() {
    explore("two publishers and a reader on 2 slots", || two_publishers_and_a_reader_on(2));
    explore("two publishers and a reader on 4 slots", || two_publishers_and_a_reader_on(4));
}

#[test]
fn a_batch_against_a_void_and_a_late_commit() {
    explore_deeper("a batch against a reader that loses patience", || {
        let ring = ring(Variant::Int32, 4, 0);
        let mut reader = Reader::new(&ring, false);
        let mut witness = Reader::new(&ring, false);
        let other = Arc::clone(&ring);
        let a = thread::spawn(move || other.publish_ints(&[10, 11]).unwrap());
        for _ in 0..3 {
            reader.poll();
        }
        a.join().unwrap();
        reader.settle(&ring);
        assert_eq!(reader.got, [10, 11], "once, in order, however late");
        assert_eq!(ring.stats().publish_ok, 2);
        witness.settle(&ring);
        assert_eq!(witness.got, reader.got, "readers agree on each position");
    });
}

#[test]
fn a_batch_that_is_lapped() {
    explore_deeper("a batch on 2 slots against one that laps it", || {
        let ring = ring(Variant::Int32, 2, 0);
        let mut reader = Reader::new(&ring, false);
        let other = Arc::clone(&ring);
        let a = thread::spawn(move || other.publish_ints(&[10, 11]).unwrap());
        ring.publish_ints(&[20, 21]).unwrap();
        reader.poll();
        a.join().unwrap();
        reader.settle(&ring);
        reader.check_order();
        assert_eq!(ring.stats().publish_ok, 4);
        let held = held(&ring);
        assert!(reader.got.ends_with(&held), "{:?} but {:?} are held", reader.got, held);
    });
}

#[test]
fn a_publisher_killed_after_its_claim() {
    explore_deeper("a publisher killed after its claim", || {
        let ring = ring(Variant::Int32, 4, 0);
        let mut reader = Reader::new(&ring, false);
        let other = Arc::clone(&ring);
        let a = thread::spawn(move || {
            assert!(armed::killed_at("after-claim", || {
                let _ = other.publish_int(10);
            }));
        });
        ring.publish_int(20).unwrap();
        reader.poll();
        a.join().unwrap();
        reader.settle(&ring);
        assert_eq!(reader.got, [20]);
        let stats = ring.stats();
        assert_eq!(stats.publish_ok, 1, "{:?}", stats);
    });
}

#[test]
fn a_clear_among_publishers_and_a_reader() {
    explore_deeper("a clear among a publisher and a reader", || {
        let ring = ring(Variant::Int32, 2, 0);
        ring.publish_int(10).unwrap();
        let mut reader = Reader::new(&ring, true);
        let other = Arc::clone(&ring);
        let a = thread::spawn(move || other.publish_int(20).unwrap());
        let other = Arc::clone(&ring);
        let b = thread::spawn(move || other.clear().unwrap());
        reader.poll();
        a.join().unwrap();
        b.join().unwrap();
        reader.drain();
        reader.check_order();
        assert_eq!(reader.sub.lag(), 0);
        assert_eq!(reader.sub.overflow_count(), 0);
        // Positions count from the clear: 0 or 1, as the publish came before or after, and voids.
        let stats = ring.stats();
        assert!(stats.write_pos <= 1 + stats.abandoned, "{:?}", stats);
        assert!(held(&ring).iter().all(|value| reader.got.contains(value)), "what is held was delivered");
        assert!(!held(&ring).contains(&10));
    });
}

#[test]
fn two_clears_at_once() {
    explore_deeper("two clears at once", || {
        let ring = ring(Variant::Int32, 2, 0);
        ring.publish_int(10).unwrap();
        let other = Arc::clone(&ring);
        let a = thread::spawn(move || other.clear().unwrap());
        ring.publish_int(20).unwrap();
        ring.clear().unwrap();
        a.join().unwrap();
        assert_eq!((ring.write_pos(), held(&ring)), (0, vec![]), "the later clear counts");
    });
}

#[test]
fn positions_beside_a_clear() {
    explore_deeper("positions beside a publisher that clears", || {
        let ring = ring(Variant::Int32, 2, 0);
        ring.publish_int(10).unwrap();
        ring.clear().unwrap();
        let sub = ring.subscribe(true);
        let other = Arc::clone(&ring);
        let a = thread::spawn(move || {
            other.publish_int(20).unwrap();
            other.clear().unwrap();
        });
        // One message at most since any clear.
        let (published, lag) = (ring.write_pos(), sub.lag());
        assert!(published <= 1 && lag <= 1, "{} and {}", published, lag);
        a.join().unwrap();
        assert_eq!((ring.write_pos(), sub.lag()), (0, 0));
    });
}

/// Waits for and takes `count` integers. A wake-up that is lost leaves it asleep for good: a deadlock.
fn take(mut reader: Reader, count: usize) -> Reader {
    while reader.got.len() < count {
        match reader.sub.wait(NEVER) {
            Wait::Ready => reader.poll(),
            how => assert_eq!(how, Wait::Interrupted, "after a piece of what holds nothing"),
        }
    }
    reader
}

#[test]
fn two_sleepers_and_a_publisher() {
    explore("two sleepers and a publisher", || {
        let ring = ring(Variant::Int32, 2, 0);
        let (one, two) = (Reader::new(&ring, false), Reader::new(&ring, false));
        let a = thread::spawn(move || take(one, 1));
        let b = thread::spawn(move || take(two, 1));
        ring.publish_int(10).unwrap();
        assert_eq!(a.join().unwrap().got, [10]);
        assert_eq!(b.join().unwrap().got, [10]);
    });
}

#[test]
fn a_sleeper_and_two_publishers() {
    explore("a sleeper and two publishers", || {
        let ring = ring(Variant::Int32, 4, 0);
        let reader = Reader::new(&ring, false);
        let a = thread::spawn(move || take(reader, 2));
        let other = Arc::clone(&ring);
        let b = thread::spawn(move || other.publish_int(10).unwrap());
        ring.publish_int(20).unwrap();
        b.join().unwrap();
        let mut reader = a.join().unwrap();
        reader.settle(&ring);
        reader.got.sort_unstable();
        assert_eq!(reader.got, [10, 20]);
    });
}

/// A wake-up dies with its waker; the next publisher's goes to everybody.
fn a_waker_killed(point: &'static str) {
    let ring = ring(Variant::Int32, 4, 0);
    let reader = Reader::new(&ring, false);
    let a = thread::spawn(move || take(reader, 2));
    let killed = Arc::clone(&ring);
    // Where nobody sleeps yet, there is nobody to wake: then it comes through alive.
    thread::spawn(move || armed::killed_at(point, || killed.publish_int(10).unwrap())).join().unwrap();
    ring.publish_int(20).unwrap();
    assert_eq!(a.join().unwrap().got, [10, 20]);
}

#[test]
fn wakers_killed_at_any_point() {
    explore("a waker killed before its wake-up", || a_waker_killed("before-wake"));
    explore("a waker killed between mark and wake-up", || a_waker_killed("wake-marked"));
    explore("a waker killed after its wake-up", || a_waker_killed("wake-sent"));
}

/// Two wakers and what they cost: one call each at most for one announcement, however slow either is.
#[test]
fn wake_ups_beget_no_wake_ups() {
    use crate::layout::WakeLine;

    explore_deeper("two publishers in a row after one announcement", || {
        let line = Arc::new(WakeLine::default());
        line.prepare_wait();
        let other = Arc::clone(&line);
        let publish = |line: &WakeLine| (0..3).for_each(|_| line.wake_sleepers());
        let a = thread::spawn(move || publish(&other));
        publish(&line);
        a.join().unwrap();
        assert!((1..=2).contains(&futex::wakes()), "{} wake-ups", futex::wakes());
        line.wake_sleepers();
        assert!(futex::wakes() <= 2, "somebody left work behind");
    });
}

fn message(value: u8) -> [u8; 16] {
    [value; 16]
}

/// Takes what is there; every message must be whole.
fn poll_str(sub: &mut Subscriber, got: &mut Vec<u8>) {
    if let Some((bytes, utf8)) = sub.poll_str().unwrap() {
        assert!(!utf8 && bytes == message(bytes[0]), "torn: {:?}", bytes);
        assert!(got.last().map_or(true, |last| *last < bytes[0]), "{:?} and then {}", got, bytes[0]);
        got.push(bytes[0]);
    }
}

fn settle_strs(ring: &Ring, sub: &mut Subscriber, got: &mut Vec<u8>, total: u64) {
    while sub.cursor() < ring.write_pos() {
        poll_str(sub, got);
    }
    let (accounted, abandoned) = (got.len() as u64 + sub.overflow_count(), ring.stats().abandoned);
    assert_eq!(sub.cursor(), total + abandoned);
    assert!(total <= accounted && accounted <= total + abandoned, "a lapped void counts as lost");
}

#[test]
fn whole_strings_or_none() {
    explore("a string publisher that laps its reader on 2 slots", || {
        let ring = ring(Variant::Str, 2, 16);
        let mut sub = ring.subscribe(false);
        let other = Arc::clone(&ring);
        let a = thread::spawn(move || {
            for value in 1..=3 {
                other.publish_str(&message(value)).unwrap();
            }
        });
        let mut got = Vec::new();
        poll_str(&mut sub, &mut got);
        a.join().unwrap();
        settle_strs(&ring, &mut sub, &mut got, 3);
    });
}

#[test]
fn a_batch_that_overwrites_what_is_copied() {
    explore("a batch of strings whose second message goes to where a reader copies from", || {
        let ring = str_ring(1);
        let mut sub = ring.subscribe(false);
        // From now on the publisher has the block that it took out of the slot before.
        for value in 1..=2 {
            publish_as(1, &ring, value);
        }
        let other = Arc::clone(&ring);
        let a = thread::spawn(move || {
            become_member(1);
            // Nothing is between the two that would order them: wake-ups come after both.
            // SAFETY: borrowed arrays.
            unsafe { other.publish_strs(&[Bytes::new(&[3; 8]), Bytes::new(&[4; 8])]) }.unwrap();
        });
        let mut got = Vec::new();
        poll_whole(&mut sub, &mut got);
        a.join().unwrap();
        settle_whole(&ring, &mut sub, &mut got);
    });
}

#[test]
fn one_overwrites_where_another_took_a_block_from_a_reader() {
    explore("a block that is copied from, taken out by one publisher and written to by the next", || {
        let ring = str_ring(1);
        let mut sub = ring.subscribe(false);
        for value in 1..=2 {
            publish_as(1, &ring, value);
        }
        let publishers = [3, 4].map(|value| {
            let ring = Arc::clone(&ring);
            thread::spawn(move || publish_as(u32::from(value), &ring, value))
        });
        let mut got = Vec::new();
        poll_whole(&mut sub, &mut got);
        publishers.into_iter().for_each(|publisher| publisher.join().unwrap());
        settle_whole(&ring, &mut sub, &mut got);
    });
}

#[test]
fn one_overwrites_where_a_dead_one_took_a_block_from_a_reader() {
    explore("a block that is copied from, taken out by one who dies, taken over, and written to by the next", || {
        let ring = str_ring(1);
        let mut sub = ring.subscribe(false);
        for value in 1..=2 {
            publish_as(1, &ring, value);
        }
        let (dying, next) = (Arc::clone(&ring), Arc::clone(&ring));
        let a = thread::spawn(move || {
            die_publishing(3, "exchanged", &dying, 3);
            let (members, inner) = dying.inner();
            if let Some(_held) = members.hold(3) {
                inner.recover(3);
            }
        });
        let b = thread::spawn(move || publish_as(4, &next, 4));
        let mut got = Vec::new();
        poll_whole(&mut sub, &mut got);
        a.join().unwrap();
        b.join().unwrap();
        settle_whole(&ring, &mut sub, &mut got);
    });
}

#[test]
fn strings_that_are_not_overwritten_are_not_lost() {
    explore_deeper("a string publisher and a reader on 4 slots", || {
        let ring = ring(Variant::Str, 4, 16);
        let mut sub = ring.subscribe(false);
        let other = Arc::clone(&ring);
        let a = thread::spawn(move || {
            other.publish_str(&message(1)).unwrap();
            other.publish_str(&message(2)).unwrap();
        });
        let mut got = Vec::new();
        poll_str(&mut sub, &mut got);
        poll_str(&mut sub, &mut got);
        assert_eq!(sub.overflow_count(), 0);
        a.join().unwrap();
        settle_strs(&ring, &mut sub, &mut got, 2);
        assert_eq!(got, [1, 2]);
    });
}

/// A ring of strings of up to 8 bytes on 2 slots with `publishers` spares.
fn str_ring(publishers: u64) -> Arc<Ring> {
    let wanted = Options { capacity: 2, msg_size: 8, publishers, readers: NO_READERS, ..Options::default() };
    Arc::new(wanted.anonymous(Variant::Str).unwrap())
}

fn publish_as(member: u32, ring: &Ring, value: u8) {
    become_member(member);
    ring.publish_str(&[value; 8]).unwrap();
}

/// Publishes as `member`, which dies at `point`.
fn die_publishing(member: u32, point: &'static str, ring: &Ring, value: u8) {
    become_member(member);
    assert!(armed::killed_at(point, || ring.publish_str(&[value; 8]).unwrap()), "it comes to {}", point);
    ring.inner().0.dies(member);
}

/// Takes what is there: whole messages, each once.
fn poll_whole(sub: &mut Subscriber, got: &mut Vec<u8>) {
    if let Some((bytes, _)) = sub.poll_str().unwrap() {
        assert_eq!(bytes, [bytes[0]; 8], "torn");
        assert!(!got.contains(&bytes[0]), "{} after {:?}", bytes[0], got);
        got.push(bytes[0]);
    }
}

/// With all publishers gone: the account, and that no block is named twice.
fn settle_whole(ring: &Ring, sub: &mut Subscriber, got: &mut Vec<u8>) {
    let passed = sub.cursor() - sub.overflow_count() - got.len() as u64;
    // Two looks at a claim end patience.
    while sub.cursor() < ring.write_pos() {
        poll_whole(sub, got);
    }
    let (stats, accounted) = (ring.stats(), got.len() as u64 + sub.overflow_count());
    // `passed`: voids, and for who came later what it did not see.
    assert!(accounted + passed + stats.abandoned >= sub.cursor(), "{:?} {:?}", got, stats);
    assert!(accounted <= sub.cursor());
    ring.inner().1.check_blocks();
}

/// Where a publisher of strings can die, and whether its message is in the ring then.
const DEATHS: [(&str, bool); 6] = [
    ("spare-taken", false),
    ("written", false),
    ("after-claim", false),
    ("before-exchange", false),
    ("exchanged", true),
    ("before-return", true),
];

#[test]
fn a_dead_publisher_s_spare_is_taken_over() {
    for (point, there) in DEATHS {
        explore(&format!("the only spare, of a publisher killed: {}", point), move || {
            let ring = str_ring(1);
            let mut sub = ring.subscribe(false);
            let other = Arc::clone(&ring);
            let a = thread::spawn(move || die_publishing(1, point, &other, 1));
            publish_as(2, &ring, 2);
            let mut got = Vec::new();
            poll_whole(&mut sub, &mut got);
            a.join().unwrap();
            publish_as(2, &ring, 3);
            settle_whole(&ring, &mut sub, &mut got);
            assert_eq!(ring.stats().recoveries, 1);
            assert!(got.contains(&3) && (there || !got.contains(&1)));
        });
    }
}

#[test]
fn two_take_over_at_once() {
    for (point, _) in DEATHS {
        explore(&format!("two that take over from one killed: {}", point), move || {
            let ring = str_ring(1);
            die_publishing(1, point, &ring, 1);
            let other = Arc::clone(&ring);
            let a = thread::spawn(move || publish_as(2, &other, 2));
            publish_as(3, &ring, 3);
            a.join().unwrap();
            let (mut sub, mut got) = (ring.subscribe(true), Vec::new());
            settle_whole(&ring, &mut sub, &mut got);
            assert_eq!(ring.stats().recoveries, 1);
        });
    }
}

#[test]
fn a_take_over_while_others_lap_the_dead() {
    for (point, _) in DEATHS {
        explore(&format!("a take-over beside one that laps, from one killed: {}", point), move || {
            let ring = str_ring(2);
            die_publishing(1, point, &ring, 1);
            let other = Arc::clone(&ring);
            let a = thread::spawn(move || {
                publish_as(2, &other, 2);
                publish_as(2, &other, 3);
                publish_as(2, &other, 4);
            });
            let (members, inner) = ring.inner();
            let held = members.hold(1).expect("it is dead");
            // Where the block that it does not have moves about, it may not be found.
            inner.recover(1);
            drop(held);
            a.join().unwrap();
            inner.sweep(false);
            let (mut sub, mut got) = (ring.subscribe(true), Vec::new());
            settle_whole(&ring, &mut sub, &mut got);
            assert_eq!(ring.stats().leaked, 0);
        });
    }
}

#[test]
fn one_takes_what_is_taken_over_and_dies() {
    explore("a spare that is taken over, and whose next holder dies at once", || {
        let ring = str_ring(1);
        die_publishing(1, "before-exchange", &ring, 1);
        let other = Arc::clone(&ring);
        let a = thread::spawn(move || die_publishing(3, "exchanged", &other, 3));
        let (members, inner) = ring.inner();
        if let Some(_held) = members.hold(1) {
            inner.recover(1);
        }
        a.join().unwrap();
        publish_as(2, &ring, 2);
        let (mut sub, mut got) = (ring.subscribe(true), Vec::new());
        settle_whole(&ring, &mut sub, &mut got);
        assert!(got.contains(&3) && got.contains(&2));
    });
}

#[test]
fn one_who_takes_over_may_die_too() {
    for (point, _) in DEATHS {
        explore(&format!("a take-over that dies, from one killed: {}", point), move || {
            let ring = str_ring(1);
            die_publishing(1, point, &ring, 1);
            {
                let (members, inner) = ring.inner();
                let _held = members.hold(1).expect("it is dead");
                assert!(armed::killed_at("recovering", || {
                    inner.recover(1);
                }));
            }
            let other = Arc::clone(&ring);
            let a = thread::spawn(move || publish_as(2, &other, 2));
            publish_as(3, &ring, 3);
            a.join().unwrap();
            let (mut sub, mut got) = (ring.subscribe(true), Vec::new());
            settle_whole(&ring, &mut sub, &mut got);
        });
    }
}

#[test]
fn a_sweep_beside_one_without_a_number() {
    for dies in [false, true] {
        explore(&format!("a sweep while one without a number begins, after a death: {}", dies), move || {
            let ring = str_ring(2);
            if dies {
                die_publishing(1, "exchanged", &ring, 1);
            }
            let other = Arc::clone(&ring);
            let a = thread::spawn(move || {
                other.inner().1.header().events.say_unregistered();
                publish_as(0, &other, 2);
            });
            ring.inner().1.sweep(true);
            a.join().unwrap();
            let (members, inner) = ring.inner();
            members.hold(1).map(|_held| inner.recover(1));
            let (mut sub, mut got) = (ring.subscribe(true), Vec::new());
            settle_whole(&ring, &mut sub, &mut got);
            assert!(got.contains(&2));
        });
    }
}

#[test]
fn a_block_goes_from_publisher_to_publisher() {
    explore("two string publishers with one spare, and a reader", || {
        let ring = str_ring(1);
        let mut sub = ring.subscribe(false);
        let other = Arc::clone(&ring);
        let a = thread::spawn(move || {
            publish_as(1, &other, 1);
            publish_as(1, &other, 2);
        });
        let mut got = Vec::new();
        publish_as(2, &ring, 3);
        poll_whole(&mut sub, &mut got);
        a.join().unwrap();
        settle_whole(&ring, &mut sub, &mut got);
        assert_eq!(ring.stats().publish_ok, 3);
    });
}

#[test]
fn a_sleeper_on_strings_is_woken() {
    explore_deeper("a sleeper on strings", || {
        let ring = ring(Variant::Str, 2, 8);
        let mut sub = ring.subscribe(false);
        let a = thread::spawn(move || {
            assert_eq!(sub.wait(NEVER), Wait::Ready);
            assert_eq!(sub.poll_str().unwrap().unwrap().0, [7]);
        });
        ring.publish_str(&[7]).unwrap();
        a.join().unwrap();
    });
}

#[test]
fn two_string_publishers_and_a_reader() {
    explore_deeper("two string publishers and a reader", || {
        let ring = ring(Variant::Str, 2, 8);
        let mut sub = ring.subscribe(false);
        let other = Arc::clone(&ring);
        let a = thread::spawn(move || other.publish_str(&[1]).unwrap());
        ring.publish_str(&[2]).unwrap();
        let mut got = Vec::new();
        got.extend(sub.poll_str().unwrap().map(|message| message.0[0]));
        a.join().unwrap();
        got.extend(sub.poll_str().unwrap().map(|message| message.0[0]));
        got.extend(sub.poll_str().unwrap().map(|message| message.0[0]));
        got.sort_unstable();
        assert_eq!((got, sub.overflow_count()), (vec![1, 2], 0));
    });
}

/// Waits through a thread that watches, whatever the kernel can do, until the ring had `count` messages. Futexes of a model never
/// time out, so a message that the watching thread does not see, or that nobody is told of, is a deadlock.
fn take_watched(sub: &mut Subscriber, set: &mut Set, count: usize) -> Vec<i64> {
    let mut got = Vec::new();
    while got.len() < count {
        // Interrupted: where a piece of positions that hold nothing was passed.
        assert!(matches!(set.wait_watched(NEVER, || false), Wait::Ready | Wait::Interrupted));
        got.extend(sub.poll_int().unwrap());
    }
    got
}

/// Who watches: the waiting thread itself, or a thread, which sleeps in this way.
#[derive(Clone, Copy, Debug)]
enum By {
    Caller,
    Thread(Way),
}

const ALL: [By; 4] = [By::Caller, By::Thread(Way::Queue), By::Thread(Way::Vector), By::Thread(Way::Single)];

/// A set of this subscriber.
fn watched_set(by: By, sub: &mut Subscriber) -> Set {
    let mut set = Set::new();
    set.watch_all(&mut [Member { sub, key: 1 }]).unwrap();
    if let By::Thread(_) = by {
        set.hand_over().unwrap();
    }
    set
}

impl By {
    fn boot(self) {
        futex::give(match self {
            By::Caller => Way::Queue,
            By::Thread(way) => way,
        });
    }
}

fn a_watched_ring(by: By, messages: i64) {
    by.boot();
    let ring = ring(Variant::Int32, 4, 0);
    let mut sub = ring.subscribe(false);
    let publisher = thread::spawn(move || (0..messages).for_each(|n| ring.publish_int(n).unwrap()));
    let mut set = watched_set(by, &mut sub);
    assert!(take_watched(&mut sub, &mut set, messages as usize).into_iter().eq(0..messages));
    // Also: the thread ends, wherever it is.
    drop(sub);
    publisher.join().unwrap();
}

#[test]
fn a_watched_ring_s_message_is_told() {
    for by in ALL {
        explore(&format!("a watched ring: {:?}", by), move || a_watched_ring(by, 1));
    }
}

/// The second may come while there is the first to read, so that the thread leaves the ring alone until it is told; the third
/// just then.
#[test]
fn a_watched_ring_s_next_messages_are_told() {
    for by in ALL {
        explore(&format!("a watched ring, three messages: {:?}", by), move || a_watched_ring(by, 3));
    }
}

/// It sleeps on two rings, one of which is watched while it does, where a thread watches.
#[test]
fn a_second_ring_is_watched() {
    for by in ALL.into_iter().take(3) {
        explore(&format!("two watched rings: {:?}", by), move || {
            by.boot();
            let (first, second) = (ring(Variant::Int32, 2, 0), ring(Variant::Int32, 2, 0));
            let (mut a, mut b) = (first.subscribe(false), second.subscribe(false));
            let mut set = watched_set(by, &mut a);
            let publisher = thread::spawn(move || second.publish_int(10).unwrap());
            set.watch_all(&mut [Member { sub: &mut b, key: 2 }]).unwrap();
            assert_eq!(take_watched(&mut b, &mut set, 1), [10]);
            publisher.join().unwrap();
        });
    }
}

/// Without threads that watch.
#[test]
fn a_set_sleeps_on_two_rings() {
    explore("a set sleeps on two rings", || {
        futex::give(Way::Vector);
        let (first, second) = (ring(Variant::Int32, 2, 0), ring(Variant::Int32, 2, 0));
        let (mut a, mut b) = (first.subscribe(false), second.subscribe(false));
        let one = thread::spawn(move || first.publish_int(10).unwrap());
        let two = thread::spawn(move || second.publish_int(20).unwrap());
        let (mut set, mut got) = (Set::new(), Vec::new());
        while got.len() < 2 {
            let mut members = [Member { sub: &mut a, key: 1 }, Member { sub: &mut b, key: 2 }];
            let (how, woken) = set.wait_direct(&mut members, NEVER, || false);
            assert!(matches!(how, Wait::Ready | Wait::Interrupted));
            assert!(woken.map_or(true, |at| members[at].sub.is_ready()));
            got.extend(a.poll_int().unwrap().into_iter().chain(b.poll_int().unwrap()));
        }
        got.sort_unstable();
        assert_eq!(got, [10, 20]);
        one.join().unwrap();
        two.join().unwrap();
    });
}
