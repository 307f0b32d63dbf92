//! The crate bus.

use std::sync::mpsc::TryRecvError;

use crate::{How, Library, Receiver, Sender, CAPACITY};

pub struct Bus;

impl Library for Bus {
    const NAME: &'static str = "bus";
    type Sender = bus::Bus<u64>;
    type Receiver = bus::BusReader<u64>;

    fn new(_: How, receivers: usize) -> (Self::Sender, Vec<Self::Receiver>) {
        let mut sender = bus::Bus::new(CAPACITY);
        let receivers = (0..receivers).map(|_| sender.add_rx()).collect();
        (sender, receivers)
    }
}

impl Sender for bus::Bus<u64> {
    fn send(&mut self, number: u64) {
        self.broadcast(number);
    }
}

impl Receiver for bus::BusReader<u64> {
    fn try_receive(&mut self) -> Option<u64> {
        match self.try_recv() {
            Ok(number) => Some(number),
            Err(TryRecvError::Empty) => None,
            Err(error) => panic!("{error}"),
        }
    }

    fn receive(&mut self) -> u64 {
        self.recv().unwrap()
    }
}
