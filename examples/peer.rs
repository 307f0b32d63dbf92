//! One of several programs in different languages that share a ring: `peer publish RING ID COUNT`, `peer read RING`.
//!
//! `publish` publishes numbers from ID * 2^32 on, as numbers or as text, and writes each number when it is published. `read`
//! writes `ready`, then each message with its position, and each loss at its position, until it gets the message -1 or `-1`; and
//! then how many messages it got and lost.

use std::io::Write;
use std::path::Path;

use data_pubsub_shared::typed::{AsMessage, Message, RecvError, Ring, Subscriber};
use data_pubsub_shared::Variant;

fn text(number: i64) -> String {
    format!("{} {}", number, "x".repeat((number % 50) as usize))
}

fn publish<T: Message + ?Sized, M: AsMessage<T>>(ring: &Ring<T>, first: i64, count: i64, message: impl Fn(i64) -> M) {
    let publisher = ring.publisher().unwrap();
    let mut out = std::io::stdout();
    for number in first..first + count {
        publisher.publish(message(number)).unwrap();
        out.write_all(format!("{}\n", number).as_bytes()).unwrap();
    }
}

fn read<T: Message + ?Sized>(mut subscriber: Subscriber<T>, show: impl Fn(&T::Owned) -> String) {
    let mut out = std::io::stdout();
    out.write_all(b"ready\n").unwrap();
    let mut received = 0;
    loop {
        let line = match subscriber.recv() {
            Ok(message) => {
                let shown = show(&message);
                if shown == "-1" {
                    break;
                }
                received += 1;
                format!("P {} {}\n", subscriber.erased().last_position(), shown)
            }
            Err(RecvError::Lagged(count)) => format!("L {}\n", count),
            Err(error) => panic!("{}", error),
        };
        out.write_all(line.as_bytes()).unwrap();
    }
    out.write_all(format!("A {} {}\n", received, subscriber.lost()).as_bytes()).unwrap();
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let ring = data_pubsub_shared::Ring::attach(Path::new(args.get(1).expect("peer publish|read RING"))).unwrap();
    let is_text = ring.variant() == Variant::Str;
    match args[..] {
        ["publish", _, id, count] => {
            let (first, count) = (id.parse::<i64>().unwrap() << 32, count.parse().unwrap());
            if is_text {
                publish(&Ring::<str>::from_erased(ring).unwrap(), first, count, text);
            } else {
                publish(&Ring::<i64>::from_erased(ring).unwrap(), first, count, |number| number);
            }
        }
        ["read", _] if is_text => read(Ring::<str>::from_erased(ring).unwrap().subscribe_oldest(), String::clone),
        ["read", _] => read(Ring::<i64>::from_erased(ring).unwrap().subscribe_oldest(), i64::to_string),
        _ => panic!("usage: peer publish RING ID COUNT | peer read RING"),
    }
}
