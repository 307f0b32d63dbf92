//! Broadcasts of numbers, each library's behind the same traits.

mod bus;
mod channels;
mod iox;
mod ours;
mod tokio;

use std::time::{Duration, Instant};

pub use self::bus::Bus;
pub use self::channels::Channels;
pub use self::iox::Iceoryx2;
pub use self::ours::{temporary, Ours};
pub use self::tokio::Tokio;

/// What each queue is made for.
pub const CAPACITY: usize = 1024;

/// How a receiver waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    Asleep,
    Spinning,
}

/// A sender, and receivers that each get all of its numbers.
pub trait Library {
    const NAME: &'static str;
    type Sender: Sender;
    type Receiver: Receiver;

    fn new(how: How, receivers: usize) -> (Self::Sender, Vec<Self::Receiver>);
}

/// A library whose two sides find each other by a name, from any process.
pub trait BetweenProcesses: Library {
    fn sender(name: &str, how: How) -> Self::Sender;
    fn receiver(name: &str, how: How) -> Self::Receiver;
}

pub trait Sender {
    fn send(&mut self, number: u64);
}

pub trait Receiver {
    /// Returns None if there is no message.
    fn try_receive(&mut self) -> Option<u64>;

    /// Waits asleep.
    fn receive(&mut self) -> u64;

    /// Waits awake, and lets others run every few microseconds, however many looks that are: there may be fewer CPUs than
    /// threads.
    fn spin(&mut self) -> u64 {
        let mut yielded = Instant::now();
        loop {
            for _ in 0..64 {
                if let Some(number) = self.try_receive() {
                    return number;
                }
                std::hint::spin_loop();
            }
            if yielded.elapsed() > Duration::from_micros(5) {
                std::thread::yield_now();
                yielded = Instant::now();
            }
        }
    }

    fn wait(&mut self, how: How) -> u64 {
        match how {
            How::Asleep => self.receive(),
            How::Spinning => self.spin(),
        }
    }
}
