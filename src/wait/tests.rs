use super::*;
use crate::layout::Header;
use std::sync::Barrier;

#[test]
fn nobody_announced_means_no_write() {
    let header = Header::default();
    header.wake.wake_sleepers();
    assert_eq!((header.wake.word.load(SeqCst), header.wake.sleepers()), (0, 0));
}

#[test]
fn a_wake_up_after_the_announcement_ends_the_sleep_before_it_begins() {
    let header = Header::default();
    let word = header.wake.prepare_wait();
    header.wake.wake_sleepers();
    assert_eq!(header.wake.word.load(SeqCst), EPOCH, "a new epoch, with neither W nor K");
    assert_eq!(header.wake.sleep(word, MAX_SLEEP_NS), Sleep::Woken);
    header.wake.wake_sleepers();
    assert_eq!(header.wake.word.load(SeqCst), EPOCH, "one wake-up for an announcement");
}

#[test]
fn announcements_share_a_word_and_an_epoch() {
    let header = Header::default();
    assert_eq!((header.wake.prepare_wait(), header.wake.prepare_wait()), (W, W));
}

#[test]
fn a_sleep_that_nobody_ends_times_out_and_is_not_counted_afterwards() {
    let header = Header::default();
    let word = header.wake.prepare_wait();
    assert_eq!(header.wake.sleep(word, 0), Sleep::TimedOut);
    assert_eq!(header.wake.sleepers(), 0);
    assert_eq!(header.wake.word.load(SeqCst), W, "the next publisher pays for it once");
}

#[test]
fn the_next_publisher_finishes_the_job_of_a_waker_that_died() {
    let header = Header::default();
    header.wake.word.store(EPOCH | K, SeqCst);
    header.wake.wake_sleepers();
    assert_eq!(header.wake.word.load(SeqCst), EPOCH, "in the same epoch");
}

#[test]
fn all_sleepers_are_woken_at_once() {
    const SLEEPERS: usize = 4;
    let header = Header::default();
    let announced = Barrier::new(SLEEPERS + 1);
    std::thread::scope(|scope| {
        for _ in 0..SLEEPERS {
            scope.spawn(|| {
                let word = header.wake.prepare_wait();
                announced.wait();
                // It may return spuriously, but must not miss a wake-up.
                while header.wake.word.load(SeqCst) == word {
                    assert_ne!(header.wake.sleep(word, NEVER / 2), Sleep::TimedOut);
                }
            });
        }
        announced.wait();
        header.wake.wake_sleepers();
    });
    assert_eq!(header.wake.word.load(SeqCst), EPOCH);
}

#[test]
fn looking_goes_on_for_as_many_rounds_as_pay() {
    let mut spin = Spin::new();
    if cpus() < 2 {
        assert!(!spin.until(|| true), "with one CPU, spinning would keep the publisher from running");
        return;
    }
    for expected in [16, 8, 4, 2, 1, 1] {
        assert!(!spin.until(|| false));
        assert_eq!((spin.rounds, spin.paid), (expected, false));
    }
    assert!(spin.until(|| true));
    assert_eq!((spin.rounds, spin.paid), (2, true));
    let mut looks = 0;
    spin = Spin { waits: EXPLORE - 1, rounds: 1, ..spin };
    spin.paid = false;
    assert!(!spin.until(|| {
        looks += 1;
        false
    }));
    assert_eq!(looks, MAX_ROUNDS * LOOKS, "now and then for long");
}
