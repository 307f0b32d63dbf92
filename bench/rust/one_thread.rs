//! What a call costs: a thread sends a window of messages, and then each receiver takes them. One of the two is timed.

use std::time::{Duration, Instant};

use pubsub_bench::{How, Library, Receiver, Sender};

use crate::Group;

/// Less than the capacity of any of the queues, so that nothing is lost and no sender waits.
const WINDOW: u64 = 256;

#[derive(Clone, Copy)]
pub struct Job {
    pub name: &'static str,
    /// Of the time that all the sending took, and that all the receiving did.
    timed: fn(Duration, Duration) -> Duration,
}

/// "poll" is a message taken by all receivers.
pub const JOBS: [Job; 2] =
    [Job { name: "publish", timed: |sending, _| sending }, Job { name: "poll", timed: |_, receiving| receiving }];

pub fn measure<L: Library>(group: &mut Group<'_>, job: Job, receivers: usize) {
    let (mut sender, mut receivers) = L::new(How::Spinning, receivers);
    group.bench_function(L::NAME, |bencher| {
        bencher.iter_custom(|messages| {
            let (mut sending, mut receiving) = (Duration::ZERO, Duration::ZERO);
            let windows = messages.div_ceil(WINDOW);
            for _ in 0..windows {
                let start = Instant::now();
                (0..WINDOW).for_each(|number| sender.send(number));
                let sent = Instant::now();
                for receiver in &mut receivers {
                    (0..WINDOW).for_each(|number| assert_eq!(receiver.try_receive(), Some(number)));
                }
                sending += sent - start;
                receiving += sent.elapsed();
            }
            (job.timed)(sending, receiving).mul_f64(messages as f64 / (windows * WINDOW) as f64)
        })
    });
}
