use super::*;
use crate::sync::AtomicU32;
use crate::uring::Uring;
use crate::{Member, Ring, Set, Subscriber, Variant, NEVER};

fn rings(count: usize) -> (Vec<Ring>, Vec<Subscriber>) {
    let rings: Vec<_> = (0..count).map(|_| Ring::anonymous(Variant::Int, 8, 0).unwrap()).collect();
    let subs = rings.iter().map(|ring| ring.subscribe(false)).collect();
    (rings, subs)
}

fn members(subs: &mut [Subscriber]) -> Vec<Member<'_>> {
    subs.iter_mut().enumerate().map(|(key, sub)| Member { sub, key }).collect()
}

/// Publishes a message on the last ring while the set waits, or just before.
fn wakes(set: &mut Set, rings: &[Ring], subs: &mut [Subscriber], value: i64) {
    std::thread::scope(|scope| {
        scope.spawn(|| rings[rings.len() - 1].publish_int(value).unwrap());
        while set.wait(&mut members(subs), NEVER).unwrap() != Wait::Ready {}
    });
    assert_eq!(subs[subs.len() - 1].poll_int().unwrap(), Some(value));
}

#[test]
fn a_set_may_go_from_thread_to_thread() {
    let (rings, mut subs) = rings(20);
    let mut set = Set::new();
    // Without a queue, the set is watched by a thread of the process, which may have begun already.
    let is_driven = |set: &mut Set| Uring::is_available() && set.is_watched();
    wakes(&mut set, &rings, &mut subs, 1);
    assert_eq!(is_driven(&mut set), Uring::is_available());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            assert!(!is_driven(&mut set), "not by this thread");
            (2..9).for_each(|value| wakes(&mut set, &rings, &mut subs, value));
            assert_eq!(is_driven(&mut set), Uring::is_available());
        });
    });
    (9..20).for_each(|value| wakes(&mut set, &rings, &mut subs, value));
    // A wait in another thread works without a new `watch_all`, too.
    let mut set = Set::new();
    set.watch_all(&mut members(&mut subs)).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            rings[3].publish_int(1).unwrap();
            while set.wait_watched(NEVER, || false) != Wait::Ready {}
            assert_eq!(set.ready(), [3]);
            assert_eq!(subs[3].poll_int().unwrap(), Some(1));
            // The watcher's new thread arms all words again and again. Old queues, which are closed with their threads, answer
            // once.
            for _ in 0..10 {
                for sub in &subs {
                    while armed_on(&sub.header().wake.word) == 0 {
                        std::thread::yield_now();
                    }
                }
            }
        });
    });
}

#[test]
fn one_that_is_not_read_does_not_hide_others() {
    let (rings, mut subs) = rings(20);
    let mut set = Set::new();
    set.watch_all(&mut members(&mut subs)).unwrap();
    rings[0].publish_int(1).unwrap();
    while set.wait_watched(NEVER, || false) != Wait::Ready {}
    // The kernel answers a publish of this thread at once. If it was not asked, only the look once a second finds the message.
    let enough = if Uring::is_available() { 10 } else { usize::MAX };
    for at in [5, 7] {
        // Each is read, and then armed again without a sleep.
        for value in 1..=2 {
            rings[at].publish_int(value).unwrap();
            let mut wait_finds = || set.wait_watched(NEVER, || false) == Wait::Ready && set.ready().contains(&at);
            assert!((0..enough).any(|_| wait_finds()), "the kernel was not told of ring {at}");
            assert_eq!(subs[at].poll_int().unwrap(), Some(value));
        }
    }
}

/// Wakes all waiters of the word, including armed queues, and returns how many there were.
fn armed_on(word: *const AtomicU32) -> i64 {
    // SAFETY: the kernel only uses the address.
    unsafe { libc::syscall(libc::SYS_futex, word, libc::FUTEX_WAKE, i32::MAX) }
}

#[test]
fn members_come_and_go() {
    let (rings, mut subs) = rings(20);
    let mut set = Set::new();
    set.watch_all(&mut members(&mut subs)).unwrap();
    for round in 0..1_000 {
        let ring = Ring::anonymous(Variant::Int32, 2, 0).unwrap();
        let mut guest = ring.subscribe(false);
        set.add(Member { sub: &mut guest, key: 1_000 + round }).unwrap();
        assert_eq!(set.wait_watched(1, || false), Wait::TimedOut);
        ring.publish_int(1).unwrap();
        if round % 2 == 0 {
            while set.wait_watched(NEVER, || false) != Wait::Ready {}
            assert_eq!(set.ready(), [1_000 + round]);
        }
        let word: *const AtomicU32 = &guest.header().wake.word;
        drop(guest);
        assert_eq!(set.ready(), []);
        // The second wait submits what the first has noticed.
        (0..2).for_each(|_| assert_eq!(set.wait_watched(1, || false), Wait::TimedOut));
        assert!(armed_on(word) == 0 || !Uring::is_available(), "the kernel has nothing of one that left");
    }
    rings[19].publish_int(1).unwrap();
    while set.wait_watched(NEVER, || false) != Wait::Ready {}
    assert_eq!(set.ready(), [19]);
    // Also if more members come and go than a slow thread notices.
    set.hand_over().unwrap();
    for key in 20..1_000 {
        let mut guest = rings[0].subscribe(false);
        set.add(Member { sub: &mut guest, key }).unwrap();
    }
    assert_eq!(subs[19].poll_int().unwrap(), Some(1));
    rings[18].publish_int(1).unwrap();
    while set.wait_watched(NEVER, || false) != Wait::Ready {}
    assert_eq!(set.ready(), [18]);
    subs.clear();
    assert_eq!(set.wait_watched(NEVER, || false), Wait::Gone);
}

#[test]
fn many_sets_of_one_thread() {
    let (rings, mut subs) = rings(200);
    let mut sets: Vec<_> = (0..20).map(|_| Set::new()).collect();
    for round in 0..3 {
        for (i, set) in sets.iter_mut().enumerate() {
            let own = 10 * i..10 * i + 10;
            wakes(set, &rings[own.clone()], &mut subs[own], round);
        }
    }
}
