//! Fault injection as the environment variable `PUBSUB_FAULT` says; see [`crate::fault`].

use crate::sync::{AtomicU64, Ordering::Relaxed};
use std::sync::Once;

enum Deed {
    Signal(i32),
    Delay(u64),
}

struct Plan {
    point: String,
    deed: Deed,
    passage: u64,
}

static READ: Once = Once::new();
static mut PLAN: Option<Plan> = None;
static PASSED: AtomicU64 = AtomicU64::new(0);

fn parse(text: &str) -> Option<Plan> {
    let (point, rest) = text.split_once('=')?;
    let (deed, passage) = match rest.split_once('@') {
        Some((deed, n)) => (deed, n.parse().ok()?),
        None => (rest, 0),
    };
    let deed = match deed.split_once(':') {
        None if deed == "kill" => Deed::Signal(libc::SIGKILL),
        None if deed == "stop" => Deed::Signal(libc::SIGSTOP),
        Some(("delay", micros)) => Deed::Delay(micros.parse().ok()?),
        _ => return None,
    };
    Some(Plan { point: point.to_owned(), deed, passage })
}

/// Executes the action of the environment variable at the point `name`.
pub(crate) fn pass(name: &str) {
    READ.call_once(|| {
        let plan = std::env::var("PUBSUB_FAULT").ok().and_then(|text| parse(&text));
        // SAFETY: call_once runs this once, before it is read below.
        unsafe { PLAN = plan };
    });
    // SAFETY: written once, above; call_once orders that write before this read.
    let plan = match unsafe { &*std::ptr::addr_of!(PLAN) } {
        Some(plan) if plan.point == name => plan,
        _ => return,
    };
    let passage = PASSED.fetch_add(1, Relaxed) + 1;
    if plan.passage != 0 && plan.passage != passage {
        return;
    }
    match plan.deed {
        // SAFETY: kill and getpid do not access our memory.
        Deed::Signal(signal) => unsafe {
            libc::kill(libc::getpid(), signal);
        },
        Deed::Delay(micros) => std::thread::sleep(std::time::Duration::from_micros(micros)),
    }
}
