//! Rings of this crate.

use std::path::PathBuf;

use data_pubsub_shared::typed::{Publisher, Ring, Subscriber, TryRecvError};

use crate::{BetweenProcesses, How, Library, Receiver, Sender, CAPACITY};

pub struct Ours;

impl Library for Ours {
    const NAME: &'static str = "this crate";
    type Sender = Publisher<i64>;
    type Receiver = Subscriber<i64>;

    fn new(_: How, receivers: usize) -> (Publisher<i64>, Vec<Subscriber<i64>>) {
        let ring = Ring::builder().capacity(CAPACITY as u64).anonymous().unwrap();
        (ring.publisher().unwrap(), (0..receivers).map(|_| ring.subscribe()).collect())
    }
}

/// Where rings are in memory, and not on a disk.
pub fn temporary(name: &str) -> PathBuf {
    PathBuf::from("/dev/shm").join(name)
}

fn ring(name: &str) -> Ring<i64> {
    Ring::builder().capacity(CAPACITY as u64).open(temporary(name)).unwrap()
}

impl BetweenProcesses for Ours {
    fn sender(name: &str, _: How) -> Publisher<i64> {
        ring(name).publisher().unwrap()
    }

    fn receiver(name: &str, _: How) -> Subscriber<i64> {
        ring(name).subscribe()
    }
}

impl Sender for Publisher<i64> {
    fn send(&mut self, number: u64) {
        self.publish(number as i64).unwrap();
    }
}

impl Receiver for Subscriber<i64> {
    fn try_receive(&mut self) -> Option<u64> {
        match self.try_recv() {
            Ok(number) => Some(number as u64),
            Err(TryRecvError::Empty) => None,
            Err(error) => panic!("{error}"),
        }
    }

    fn receive(&mut self) -> u64 {
        self.recv().unwrap() as u64
    }
}
