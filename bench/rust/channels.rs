//! A channel of crossbeam-channel for each receiver.

use crossbeam_channel as channel;

use crate::{How, Library, Receiver, Sender, CAPACITY};

pub struct Channels;

pub struct FanOut(Vec<channel::Sender<u64>>);

impl Library for Channels {
    const NAME: &'static str = "crossbeam-channel, one each";
    type Sender = FanOut;
    type Receiver = channel::Receiver<u64>;

    fn new(_: How, receivers: usize) -> (FanOut, Vec<Self::Receiver>) {
        let (senders, receivers) = (0..receivers).map(|_| channel::bounded(CAPACITY)).unzip();
        (FanOut(senders), receivers)
    }
}

impl Sender for FanOut {
    fn send(&mut self, number: u64) {
        self.0.iter().for_each(|channel| channel.send(number).unwrap());
    }
}

impl Receiver for channel::Receiver<u64> {
    fn try_receive(&mut self) -> Option<u64> {
        match self.try_recv() {
            Ok(number) => Some(number),
            Err(channel::TryRecvError::Empty) => None,
            Err(error) => panic!("{error}"),
        }
    }

    fn receive(&mut self) -> u64 {
        self.recv().unwrap()
    }
}
