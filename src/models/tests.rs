//! The models. Each asserts for every subscriber: delivered + lost + abandoned = positions passed.

mod batches;
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

/// Explores `model` with both placements of SeqCst fences, and prints the number of executions. The environment variable
/// `LOOM_MAX_PREEMPTIONS` limits how often one execution preempts a thread.
fn explore(name: &str, model: impl Fn() + Copy + Send + Sync + 'static) {
    explore_with(0, name, model);
}

/// Like [`explore`], for a small model: with one more preemption.
fn explore_deeper(name: &str, model: impl Fn() + Copy + Send + Sync + 'static) {
    explore_with(1, name, model);
}

/// Like [`explore`], for a large model: with one preemption less.
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

/// A subscriber and the values that it read.
struct Reader {
    sub: Subscriber,
    got: Vec<i64>,
    /// Its first position.
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

    /// Reads all messages in the ring. The claim timeout passes at the second check, so after three polls without progress there is
    /// no message.
    fn drain(&mut self) {
        let mut in_vain = 0;
        while in_vain < 3 {
            let before = self.sub.cursor();
            self.poll();
            in_vain = if self.sub.cursor() == before { in_vain + 1 } else { 0 };
        }
    }

    /// After all publishers have ended, reads the rest and checks that every position was delivered, lost or abandoned.
    fn settle(&mut self, ring: &Ring) {
        self.drain();
        let stats = ring.stats();
        assert_eq!(self.sub.cursor(), stats.write_pos, "stuck");
        let accounted = self.got.len() as u64 + self.sub.overflow_count();
        let passed = self.sub.cursor() - self.start;
        // An abandoned position that was overwritten before this reader reached it counts as lost.
        assert!(accounted <= passed && passed <= accounted + stats.abandoned, "{:?}", self.sub);
        if self.sub.overflow_count() == 0 {
            assert_eq!(accounted + stats.abandoned, passed, "this reader passed each abandoned position");
        }
    }

    /// A value's tens are its publisher's number, its ones count the publisher's messages: none is twice or out of order.
    fn check_order(&self) {
        for (i, a) in self.got.iter().enumerate() {
            assert!(self.got[..i].iter().all(|b| b / 10 != a / 10 || b < a), "{:?}", self.got);
        }
    }
}

/// The values that a new subscriber finds in the ring.
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
        assert_eq!(reader.got.len(), 3, "each publish that returned is in the ring once");
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
fn a_batch_against_an_abandoned_position_and_a_late_commit() {
    explore_deeper("a batch against a reader whose claim timeout passes", || {
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
        // Positions count from the clear: 0 if the publish came before it, 1 if after it, and abandoned positions.
        let stats = ring.stats();
        assert!(stats.write_pos <= 1 + stats.abandoned, "{:?}", stats);
        assert!(held(&ring).iter().all(|value| reader.got.contains(value)), "the messages held were delivered");
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

/// Waits for `count` integers and reads them. A lost wake-up leaves it asleep: a deadlock.
fn take(mut reader: Reader, count: usize) -> Reader {
    while reader.got.len() < count {
        match reader.sub.wait(NEVER) {
            Wait::Ready => reader.poll(),
            how => assert_eq!(how, Wait::Interrupted, "after a piece of positions without messages"),
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

/// A waker is killed; the wake-up of the next publisher wakes all sleepers.
fn a_waker_killed(point: &'static str) {
    let ring = ring(Variant::Int32, 4, 0);
    let reader = Reader::new(&ring, false);
    let a = thread::spawn(move || take(reader, 2));
    let killed = Arc::clone(&ring);
    // If the reader does not sleep yet, the waker does not reach the point and is not killed.
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

/// Two wakers make at most one system call each for one announcement, however slow they are.
#[test]
fn wake_ups_beget_no_wake_ups() {
    use crate::layout::WakeLine;

    explore_deeper("two publishers after one announcement", || {
        let line = Arc::new(WakeLine::default());
        line.prepare_wait();
        let other = Arc::clone(&line);
        let publish = |line: &WakeLine| (0..3).for_each(|_| line.wake_sleepers());
        let a = thread::spawn(move || publish(&other));
        publish(&line);
        a.join().unwrap();
        assert!((1..=2).contains(&futex::wakes()), "{} wake-ups", futex::wakes());
        line.wake_sleepers();
        assert!(futex::wakes() <= 2, "a waker left a wake-up to others");
    });
}

fn message(value: u8) -> [u8; 16] {
    [value; 16]
}

/// Reads a message if there is one; it must be whole.
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
    assert!(total <= accounted && accounted <= total + abandoned, "a lapped abandoned position counts as lost");
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
    explore("a batch of strings whose second message is written to the block that a reader copies", || {
        let ring = str_ring(1);
        let mut sub = ring.subscribe(false);
        // From now on the publisher's spare is the block that it took out of a slot before.
        for value in 1..=2 {
            publish_as(1, &ring, value);
        }
        let other = Arc::clone(&ring);
        let a = thread::spawn(move || {
            become_member(1);
            // No operation between the two messages orders them: wake-ups come after both.
            // SAFETY: the arrays are borrowed for the whole call.
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
    explore("a block that a reader copies, that one publisher takes out and the next one writes", || {
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
    explore("a block that a reader copies, that a killed publisher took out, and that its successor writes", || {
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

/// Publishes as `member`, which is killed at `point`.
fn die_publishing(member: u32, point: &'static str, ring: &Ring, value: u8) {
    become_member(member);
    assert!(armed::killed_at(point, || ring.publish_str(&[value; 8]).unwrap()), "it reaches {}", point);
    ring.inner().0.dies(member);
}

/// Reads a message if there is one: messages are whole, and each comes once.
fn poll_whole(sub: &mut Subscriber, got: &mut Vec<u8>) {
    if let Some((bytes, _)) = sub.poll_str().unwrap() {
        assert_eq!(bytes, [bytes[0]; 8], "torn");
        assert!(!got.contains(&bytes[0]), "{} after {:?}", bytes[0], got);
        got.push(bytes[0]);
    }
}

/// After all publishers have ended: checks the counts, and that no block is named twice.
fn settle_whole(ring: &Ring, sub: &mut Subscriber, got: &mut Vec<u8>) {
    let passed = sub.cursor() - sub.overflow_count() - got.len() as u64;
    // The claim timeout passes at the second check.
    while sub.cursor() < ring.write_pos() {
        poll_whole(sub, got);
    }
    let (stats, accounted) = (ring.stats(), got.len() as u64 + sub.overflow_count());
    // `passed`: abandoned positions, and the positions before a subscriber's first one.
    assert!(accounted + passed + stats.abandoned >= sub.cursor(), "{:?} {:?}", got, stats);
    assert!(accounted <= sub.cursor());
    ring.inner().1.check_blocks();
}

/// The points at which a publisher of strings can be killed, and whether its message is in the ring then.
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
        explore(&format!("two publishers that take over from a killed one: {}", point), move || {
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
fn a_take_over_while_others_lap_the_killed_publisher() {
    for (point, _) in DEATHS {
        explore(&format!("a take-over from a killed publisher, beside one that laps: {}", point), move || {
            let ring = str_ring(2);
            die_publishing(1, point, &ring, 1);
            let other = Arc::clone(&ring);
            let a = thread::spawn(move || {
                publish_as(2, &other, 2);
                publish_as(2, &other, 3);
                publish_as(2, &other, 4);
            });
            let (members, inner) = ring.inner();
            let held = members.hold(1).expect("member 1 has exited");
            // The block that it has lost may not be found, because it moves from slot to slot.
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
    explore("a spare that is taken over, and whose next owner is killed at once", || {
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
fn a_publisher_that_takes_over_may_be_killed_too() {
    for (point, _) in DEATHS {
        explore(&format!("a take-over from a killed publisher that is killed too: {}", point), move || {
            let ring = str_ring(1);
            die_publishing(1, point, &ring, 1);
            {
                let (members, inner) = ring.inner();
                let _held = members.hold(1).expect("member 1 has exited");
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
        explore(&format!("a sweep while a publisher without a number begins, after a kill: {}", dies), move || {
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

/// Waits by way of the watcher until it has read `count` messages. Futexes of a model never time out, so a message that the watcher
/// does not see, or does not report, is a deadlock.
fn take_watched(sub: &mut Subscriber, set: &mut Set, count: usize) -> Vec<i64> {
    let mut got = Vec::new();
    while got.len() < count {
        // Interrupted: after a piece of positions without messages.
        assert!(matches!(set.wait_watched(NEVER, || false), Wait::Ready | Wait::Interrupted));
        got.extend(sub.poll_int().unwrap());
    }
    got
}

/// The watcher: the waiting thread itself, or a thread of its own, which sleeps in this way.
#[derive(Clone, Copy, Debug)]
enum By {
    Caller,
    Thread(Way),
}

const ALL: [By; 4] = [By::Caller, By::Thread(Way::Queue), By::Thread(Way::Vector), By::Thread(Way::Single)];

/// A set with this subscriber.
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
    // The watching thread ends, too, at whatever point it is.
    drop(sub);
    publisher.join().unwrap();
}

#[test]
fn a_watched_ring_s_message_is_told() {
    for by in ALL {
        explore(&format!("a watched ring: {:?}", by), move || a_watched_ring(by, 1));
    }
}

/// The second message may arrive while the first is unread, when the thread does not watch the ring until it is told; the third at
/// the moment when it is told.
#[test]
fn a_watched_ring_s_next_messages_are_told() {
    for by in ALL {
        explore(&format!("a watched ring, three messages: {:?}", by), move || a_watched_ring(by, 3));
    }
}

/// The watcher sleeps on two rings. If it is a thread, the second ring may be added while it sleeps.
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

/// Without watching threads.
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
