use super::*;

/// After a set was handed over to a thread, the queue of the thread that drove it has the bell armed, too.
#[test]
fn the_bell_wakes_every_queue_that_has_it_armed() {
    let watcher = Watcher::driven_here();
    let mut drivers: Vec<_> = (0..3).filter_map(|_| MultiWait::queue()).map(Driver::new).collect();
    for driver in &mut drivers {
        let turn = watcher.turn(driver).unwrap();
        watcher.sleep(driver, turn, turn.now + 1);
        assert!(!driver.words.has_woken());
    }
    std::thread::scope(|scope| {
        scope.spawn(|| watcher.ring(|_| ()));
    });
    assert!(drivers.iter().all(|driver| driver.words.has_woken()));
}
