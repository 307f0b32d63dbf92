//! tokio's broadcast channel.

use tokio::sync::broadcast::{self, error::TryRecvError};

use crate::{How, Library, Receiver, Sender, CAPACITY};

pub struct Tokio;

impl Library for Tokio {
    const NAME: &'static str = "tokio broadcast";
    type Sender = broadcast::Sender<u64>;
    type Receiver = broadcast::Receiver<u64>;

    fn new(_: How, receivers: usize) -> (Self::Sender, Vec<Self::Receiver>) {
        let sender = broadcast::Sender::new(CAPACITY);
        let receivers = (0..receivers).map(|_| sender.subscribe()).collect();
        (sender, receivers)
    }
}

impl Sender for broadcast::Sender<u64> {
    fn send(&mut self, number: u64) {
        broadcast::Sender::send(self, number).unwrap();
    }
}

impl Receiver for broadcast::Receiver<u64> {
    fn try_receive(&mut self) -> Option<u64> {
        match self.try_recv() {
            Ok(number) => Some(number),
            Err(TryRecvError::Empty) => None,
            Err(error) => panic!("{error}"),
        }
    }

    fn receive(&mut self) -> u64 {
        self.blocking_recv().unwrap()
    }
}
