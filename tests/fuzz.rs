//! Random calls beside a model of what they must do; and random damage, at rest and in use: an error or a ring that
//! works, never a panic, a crash or a hang, and afterwards the model holds again.
//!
//! `FUZZ_SECONDS` says how long each test runs (1); `FUZZ_SEED` repeats one, which prints its seed where it fails.

use std::fs::OpenOptions;
use std::io::Write;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime};

use data_pubsub_shared::{monotonic_ns, Bytes, ErrorKind, Options, Ring, SubscribeOptions, Subscriber, Variant, Wait};

const VARIANTS: [Variant; 5] = Variant::ALL;
/// Of the rings that are damaged.
const CAPACITY: u64 = 16;
const MSG_SIZE: u64 = 24;
/// What the header's page has in use, behind its identity.
const IN_USE: Range<usize> = 128..784;
const SLOTS: usize = 4096;

/// G. Marsaglia's xorshift64.
struct Random(u64);

impl Random {
    /// From the environment, or new; `stream` keeps the tests apart.
    fn new(stream: u64) -> Random {
        let seed = seed();
        eprintln!("FUZZ_SEED={}", seed);
        Random((seed ^ stream.wrapping_mul(0x9e37_79b9_7f4a_7c15)).max(1))
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, n: u64) -> u64 {
        (self.next() >> 11) % n
    }

    fn once_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next() as u8).collect()
    }

    /// Numbers that arithmetic stumbles over, and others.
    fn edge(&mut self) -> u64 {
        let bit = 1u64 << self.below(64);
        match self.below(6) {
            0 => self.below(20),
            1 => bit.wrapping_add(self.below(5)).wrapping_sub(2),
            2 => u64::MAX - (self.below(5000) >> self.below(13)),
            3 => 4090 + self.below(12),
            4 => self.below(1 << 20),
            _ => self.next(),
        }
    }
}

/// Of all tests here.
fn seed() -> u64 {
    static SEED: Mutex<Option<u64>> = Mutex::new(None);
    let now = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos() as u64;
    let new = || std::env::var("FUZZ_SEED").map_or_else(|_| now(), |text| text.parse().expect("FUZZ_SEED"));
    *SEED.lock().unwrap().get_or_insert_with(new)
}

/// How long this test goes on; and the end of the process if one hangs.
fn until_tired() -> impl Fn() -> bool {
    let seconds = std::env::var("FUZZ_SECONDS").map_or(1.0, |text| text.parse().expect("FUZZ_SECONDS"));
    let start = Instant::now();
    std::thread::spawn(move || {
        // Longer than all tests in a row.
        std::thread::sleep(Duration::from_secs_f64(3.0 * seconds + 120.0));
        // Not what libtest keeps until the test ends.
        let _ = writeln!(std::io::stderr(), "a test hangs; FUZZ_SEED={}", seed());
        std::process::abort();
    });
    move || start.elapsed() < Duration::from_secs_f64(seconds)
}

/// A path of a test's own; the file goes with it.
struct Temporary(PathBuf);

impl Temporary {
    fn new(name: &str) -> Temporary {
        Temporary(std::env::temp_dir().join(format!("pubsub-fuzz-{}-{}", std::process::id(), name)))
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// The bytes (of an integer as it comes back), and whether they are characters.
type Message = (Vec<u8>, bool);

fn messages(variant: Variant, random: &mut Random, msg_size: u64, count: u64) -> Vec<Message> {
    let one = |_| match variant {
        Variant::Int32 => number((random.next() as i32).into()),
        Variant::Int16 => number((random.next() as i16).into()),
        Variant::Str => {
            let len = if random.once_in(3) { msg_size } else { random.below(msg_size + 1) };
            (random.bytes(len as usize), random.once_in(2))
        }
        // Any bits are a double: NaNs, too.
        _ => number(random.next() as i64),
    };
    (0..count).map(one).collect()
}

fn number(value: i64) -> Message {
    (value.to_ne_bytes().to_vec(), false)
}

/// False: the ring is too damaged, or a lossless one that is full.
fn publish(ring: &Ring, variant: Variant, messages: &[Message]) -> bool {
    if variant != Variant::Str {
        let width = width(variant);
        let packed: Vec<u8> = messages.iter().flat_map(|m| packed(m, width)).collect();
        let published = if variant == Variant::Num || messages.len() % 2 == 0 {
            ring.publish_packed(&packed)
        } else {
            let all: Vec<i64> = messages.iter().map(|m| i64::from_ne_bytes(m.0[..].try_into().unwrap())).collect();
            ring.publish_ints(&all)
        };
        match published {
            Ok(count) => assert_eq!(count, messages.len()),
            // Somebody may have made it a lossless one.
            Err(error) => {
                assert!(ring.stats().lossless && error.kind() != ErrorKind::Full, "{}", error);
                return false;
            }
        }
        return true;
    }
    let all: Vec<Bytes> = messages.iter().map(|m| Bytes { utf8: m.1, ..Bytes::new(&m.0) }).collect();
    // SAFETY: borrowed vectors.
    while let Err(error) = unsafe { ring.publish_strs(&all) } {
        // Each few milliseconds of a wait for a spare block; and somebody may have scribbled on all of them.
        if error.kind() == ErrorKind::Incompatible {
            return false;
        }
        if ring.stats().lossless {
            return false;
        }
        assert_eq!(error.kind(), ErrorKind::Interrupted, "{}", error);
    }
    true
}

/// Bytes of a packed number.
fn width(variant: Variant) -> usize {
    match variant {
        Variant::Int32 => 4,
        Variant::Int16 => 2,
        _ => 8,
    }
}

/// A number in so many bytes.
fn packed(message: &Message, width: usize) -> Vec<u8> {
    let at = if cfg!(target_endian = "little") { 0 } else { 8 - width };
    message.0[at..at + width].to_vec()
}

/// A number from so many bytes.
fn unpacked(bytes: &[u8]) -> Message {
    match bytes.len() {
        2 => number(i16::from_ne_bytes(bytes.try_into().unwrap()).into()),
        4 => number(i32::from_ne_bytes(bytes.try_into().unwrap()).into()),
        _ => number(i64::from_ne_bytes(bytes.try_into().unwrap())),
    }
}

/// Up to `most` messages, in one of the ways to get them.
fn read(sub: &mut Subscriber, variant: Variant, random: &mut Random, most: u64) -> Vec<Message> {
    let (one_by_one, end, most) = (random.once_in(2), sub.end(), most as usize);
    match variant {
        Variant::Str if one_by_one => std::iter::from_fn(|| sub.poll_str().unwrap()).take(most).collect(),
        Variant::Str => std::iter::from_fn(|| find_and_copy(sub, end)).take(most).collect(),
        Variant::Num if one_by_one => {
            std::iter::from_fn(|| sub.poll_num().unwrap()).take(most).map(|n| number(n.to_bits() as i64)).collect()
        }
        _ if variant == Variant::Num || random.once_in(2) => {
            let width = width(variant);
            let mut bytes = vec![0; most * width];
            let count = sub.poll_packed(&mut bytes, end).unwrap();
            bytes.chunks_exact(width).take(count).map(unpacked).collect()
        }
        _ if one_by_one => std::iter::from_fn(|| sub.poll_int().unwrap()).take(most).map(number).collect(),
        _ => {
            let mut values = vec![0; most];
            let count = sub.poll_ints(&mut values, end).unwrap();
            values.into_iter().take(count).map(number).collect()
        }
    }
}

fn find_and_copy(sub: &mut Subscriber, end: u64) -> Option<Message> {
    loop {
        let found = sub.find(end).unwrap()?;
        let mut bytes = vec![0; (found.len() + 7) & !7];
        // SAFETY: just found, and the room is there.
        if unsafe { sub.copy(&found, bytes.as_mut_ptr()) } {
            bytes.truncate(found.len());
            return Some((bytes, found.utf8()));
        }
    }
}

/// What must be true of a subscriber.
struct Expected {
    next: u64,
    lost: u64,
    skipped: u64,
    /// Of the message that was delivered last.
    position: Option<u64>,
    /// Sought beyond the end, when the base stood there.
    ahead: Option<u64>,
}

impl Expected {
    /// Goes where clears send it: from behind to the base, and from a wait for a message ahead, too. (A clear with
    /// nothing to discard does not end that.)
    fn settle(&mut self, base: u64, end: u64) {
        if self.ahead.map_or(false, |at| at != base) {
            self.next = base;
        }
        self.next = self.next.max(base);
        if self.next <= end {
            self.ahead = None;
        }
    }

    fn lose_up_to(&mut self, oldest: u64) {
        self.lost += oldest.saturating_sub(self.next);
        self.next = self.next.max(oldest);
    }
}

/// `calls` to a ring in which nothing was published since the last clear. The model counts positions from there on, and
/// keeps every message.
fn random_calls(ring: &Ring, variant: Variant, random: &mut Random, calls: usize) {
    let (capacity, msg_size) = (ring.capacity(), ring.msg_size());
    let (mut all, mut base): (Vec<Message>, u64) = (Vec::new(), 0);
    let mut subs: Vec<(Subscriber, Expected)> = Vec::new();
    for _ in 0..calls {
        let end = all.len() as u64;
        let oldest = end.saturating_sub(capacity).max(base);
        let chosen = random.below(4) as usize;
        match (random.below(12), subs.get_mut(chosen)) {
            (0..=4, _) => {
                let most = if random.once_in(4) { 3 * capacity } else { 3 };
                let count = random.below(most + 1);
                let batch = messages(variant, random, msg_size, count);
                assert!(publish(ring, variant, &batch));
                all.extend(batch);
            }
            (5, _) if random.once_in(4) => {
                ring.clear().unwrap();
                base = end;
            }
            (_, None) => {
                let from_oldest = random.once_in(2);
                let next = if from_oldest { oldest } else { end };
                subs.push((
                    ring.subscribe(from_oldest),
                    Expected { next, lost: 0, skipped: 0, position: None, ahead: None },
                ));
            }
            (5, Some((sub, expected))) => {
                let position = random.below(end - base + 2 * capacity);
                sub.seek(position);
                expected.next = base + position;
                expected.ahead = if expected.next > end { Some(base) } else { None };
            }
            (6, Some((sub, expected))) => {
                let to_end = random.once_in(2);
                if to_end {
                    sub.reset();
                } else {
                    sub.reset_oldest();
                }
                *expected = Expected { next: if to_end { end } else { oldest }, ahead: None, ..*expected };
            }
            (7, Some((sub, expected))) if random.once_in(3) => {
                sub.skip_to_newest();
                if expected.next < end {
                    expected.skipped += end - 1 - expected.next;
                    expected.next = end - 1;
                    expected.ahead = None;
                }
            }
            (7, Some((sub, expected))) => {
                expected.lose_up_to(oldest);
                assert_eq!(sub.wait(1) == Wait::Ready, expected.next < end);
            }
            (_, Some((sub, expected))) => {
                expected.lose_up_to(oldest);
                let most = 1 + random.below(2 * capacity);
                let to = end.min(expected.next + most).max(expected.next);
                let right = all.get(expected.next as usize..to as usize).unwrap_or(&[]);
                assert_eq!(read(sub, variant, random, most), right, "from {} on", expected.next);
                if expected.next < to {
                    expected.position = Some(to - 1);
                }
                expected.next = to;
            }
        }
        let end = all.len() as u64;
        assert_eq!((ring.write_pos(), ring.stats().publish_ok), (end - base, end - base));
        for (sub, expected) in &mut subs {
            expected.settle(base, end);
            let lag = end.saturating_sub(expected.next);
            assert_eq!((sub.cursor(), sub.lag()), (expected.next - base, lag));
            assert_eq!((sub.overflow_count(), sub.has_overflow()), (expected.lost, lag > capacity));
            let position = expected.position.and_then(|position| position.checked_sub(base));
            assert_eq!((sub.skipped(), sub.position()), (expected.skipped, position));
        }
    }
}

#[test]
fn random_calls_do_what_the_model_says() {
    let mut random = Random::new(1);
    let goes_on = until_tired();
    while goes_on() {
        for variant in VARIANTS {
            let (capacity, msg_size) = (2 << random.below(6), 1 + random.below(40));
            let stamped = variant == Variant::Str && random.once_in(2);
            let mut options = Options::new(capacity);
            (options.msg_size, options.stamped) = (msg_size, stamped);
            let ring = options.anonymous(variant).unwrap();
            random_calls(&ring, variant, &mut random, 300);
        }
    }
}

/// A call to a damaged ring, of which nobody knows what comes. `rings` have it mapped, the first for writing.
fn any_call(rings: [&Ring; 2], sub: &mut Subscriber, variant: Variant, random: &mut Random) {
    match random.below(12) {
        0..=2 => {
            let count = random.below(2 * CAPACITY + 10);
            let _ = publish(rings[0], variant, &messages(variant, random, rings[0].msg_size(), count));
        }
        3 => rings[0].clear().unwrap(),
        4 => sub.seek(random.edge() >> 1),
        5 if random.once_in(2) => sub.skip_to_newest(),
        5 => sub.reset(),
        6 => sub.reset_oldest(),
        7 if random.once_in(9) => {
            *sub = rings[random.below(2) as usize].subscribe(random.once_in(2));
            // Somebody may have made it a lossless ring: its publishers are to know that they wait for this very thread.
            drop(read(sub, variant, random, 1));
        }
        8 => drop((sub.cursor(), sub.lag(), sub.has_overflow(), sub.overflow_count(), rings[0].stats())),
        9 => drop(sub.wait(monotonic_ns() + random.below(200_000))),
        _ => drop(read(sub, variant, random, 2 * CAPACITY)),
    }
}

/// The damage has ended: what is published from now on arrives.
fn assert_works(ring: &Ring, variant: Variant, random: &mut Random) {
    // A lossless one waits, or would, for the subscribers here.
    if ring.stats().lossless {
        return;
    }
    let mut some = |count| messages(variant, random, ring.msg_size(), count);
    // The write position stays where it was set. No cursor follows it across 2^64, where nothing else brings it.
    while ring.subscribe(false).end() > u64::MAX - 10_000 {
        assert!(publish(ring, variant, &some(100)));
    }
    // A base above the write position is none, until that comes there; clear sets it right.
    ring.clear().unwrap();
    let mut sub = ring.subscribe(false);
    // Each slot is mended when it is written; until then it may look as if it had been.
    for message in some(2 * CAPACITY) {
        assert!(publish(ring, variant, std::slice::from_ref(&message)));
        assert_eq!(read(&mut sub, variant, &mut Random(1), 1), [message]);
    }
    // Positions that were void by damage are not known as abandoned; those before a clear do not count.
    ring.clear().unwrap();
    random_calls(ring, variant, random, 100);
}

/// The bytes of a ring of each variant, with some messages in it.
fn good_files(file: &Temporary) -> [(Variant, Vec<u8>); 5] {
    VARIANTS.map(|variant| {
        let _ = std::fs::remove_file(&file.0);
        let ring = Ring::open(variant, &file.0, CAPACITY, MSG_SIZE, 0o600).unwrap();
        assert!(publish(&ring, variant, &messages(variant, &mut Random(99), MSG_SIZE, 30)));
        (variant, std::fs::read(&file.0).unwrap())
    })
}

fn spoil(bytes: &mut [u8], random: &mut Random) {
    for _ in 0..1 + random.below(4) {
        let words = if random.once_in(3) { bytes.len() } else { IN_USE.end } as u64 / 8;
        let word = 8 * random.below(words) as usize;
        match random.below(4) {
            0 => bytes[word] ^= 1 << random.below(8),
            1 => bytes[word..word + 8].copy_from_slice(&random.edge().to_ne_bytes()),
            2 => bytes[word..word + 4].copy_from_slice(&(random.edge() as u32).to_ne_bytes()),
            _ => {
                let noise = random.bytes(128.min(bytes.len() - word));
                bytes[word..word + noise.len()].copy_from_slice(&noise);
            }
        }
    }
}

#[test]
fn random_headers_are_refused_or_work() {
    let mut random = Random::new(2);
    let goes_on = until_tired();
    let file = Temporary::new("headers");
    let good = good_files(&file);
    let (mut opened, mut refused) = (0, 0);
    for (variant, good) in good.iter().cycle().take_while(|_| goes_on()) {
        let (variant, mut bytes) = (*variant, good.clone());
        let len = if random.once_in(3) { bytes.len() } else { SLOTS };
        spoil(&mut bytes[..len], &mut random);
        std::fs::write(&file.0, &bytes).unwrap();
        let rings = [Ring::open_read_only(variant, &file.0), Ring::open(variant, &file.0, CAPACITY, MSG_SIZE, 0o600)];
        if let [Ok(looks), Ok(ring)] = &rings {
            let mut sub = looks.subscribe(true);
            for _ in 0..50 {
                any_call([ring, looks], &mut sub, variant, &mut random);
            }
            drop((sub, rings));
            // A ring of strings is put in order when a process opens it and publishes alone.
            let ring = Ring::open(variant, &file.0, CAPACITY, MSG_SIZE, 0o600).unwrap();
            assert_works(&ring, variant, &mut random);
            opened += 1;
            continue;
        }
        for ring in rings {
            let error = ring.expect_err("both are refused");
            assert_eq!(error.kind(), ErrorKind::Incompatible, "{}", error);
        }
        assert!(std::fs::read(&file.0).unwrap() == bytes, "what is refused is left as it was");
        refused += 1;
    }
    eprintln!("{} opened, {} refused", opened, refused);
}

#[test]
fn rings_that_are_damaged_in_use_go_on() {
    let mut random = Random::new(3);
    let goes_on = until_tired();
    let file = Temporary::new("in-use");
    let good = good_files(&file);
    let mut rounds = 0;
    for (variant, good) in good.iter().cycle().take_while(|_| goes_on()) {
        let (variant, len) = (*variant, good.len());
        std::fs::write(&file.0, good).unwrap();
        let ring = Ring::open(variant, &file.0, CAPACITY, MSG_SIZE, 0o600).unwrap();
        let looks = Ring::open_read_only(variant, &file.0).unwrap();
        let damage = OpenOptions::new().write(true).open(&file.0).unwrap();
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                let (rings, stop, mut random) = ([&ring, &looks], &stop, Random(random.next()));
                scope.spawn(move || {
                    let mut sub = rings[0].subscribe(true);
                    while !stop.load(SeqCst) {
                        any_call(rings, &mut sub, variant, &mut random);
                    }
                });
            }
            for _ in 0..1000 {
                let at = IN_USE.start + 8 * random.below((IN_USE.len() + len - SLOTS) as u64 / 8) as usize;
                let at = if at < IN_USE.end { at } else { at - IN_USE.end + SLOTS };
                damage.write_all_at(&random.edge().to_ne_bytes(), at as u64).unwrap();
            }
            stop.store(true, SeqCst);
        });
        // A ring of strings is put in order when a process opens it and publishes alone.
        drop(ring);
        let ring = Ring::open(variant, &file.0, CAPACITY, MSG_SIZE, 0o600).unwrap();
        assert_works(&ring, variant, &mut random);
        rounds += 1;
    }
    eprintln!("{} rounds", rounds);
}

/// Publishes one, or gives up soon: somebody may have made a reader that lives of an entry.
fn try_publish(ring: &Ring, variant: Variant, random: &mut Random) {
    let message = &messages(variant, random, MSG_SIZE, 1)[0];
    let bits = || i64::from_ne_bytes(message.0[..].try_into().unwrap());
    for _ in 0..2 {
        let published = match variant {
            // SAFETY: a borrowed vector.
            Variant::Str => match unsafe { ring.publish_strs(&[Bytes::new(&message.0)]) } {
                Ok(()) => true,
                Err(error) if error.kind() == ErrorKind::Full => false,
                Err(error) => return assert!(matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::Incompatible)),
            },
            Variant::Num => ring.try_publish_num(f64::from_bits(bits() as u64)).unwrap(),
            _ => ring.try_publish_int(bits()).unwrap(),
        };
        if published {
            return;
        }
        ring.wait_for_room(1, monotonic_ns() + random.below(2_000_000), || false).unwrap();
    }
}

fn any_call_of_readers(ring: &Ring, sub: &mut Option<Subscriber>, variant: Variant, random: &mut Random) {
    let name = ["one", "two", "three"][random.below(3) as usize];
    match random.below(16) {
        0..=6 => try_publish(ring, variant, random),
        7 if random.once_in(4) => {
            *sub = None;
            let name = Some(name).filter(|_| random.once_in(2));
            let mut options = SubscribeOptions::default();
            (options.name, options.all, options.lossy) = (name, random.once_in(2), random.once_in(3));
            match ring.subscribe_with(&options) {
                Ok(new) => *sub = Some(new),
                Err(error) => assert_eq!(error.kind(), ErrorKind::Busy, "{}", error),
            }
        }
        8 => drop((ring.readers(), ring.waiting_for())),
        9 if random.once_in(4) => drop(ring.forget(name)),
        10 if random.once_in(9) => ring.clear().unwrap(),
        11 => drop(ring.wait_for_readers(monotonic_ns() + random.below(200_000), || false)),
        _ => {
            if let Some(sub) = sub {
                match random.below(9) {
                    0 => sub.seek(random.edge() >> 1),
                    1 => sub.reset_oldest(),
                    2 => sub.release(),
                    _ => drop(read(sub, variant, random, 2 * CAPACITY)),
                }
            }
        }
    }
}

#[test]
fn lossless_rings_whose_tables_are_damaged_in_use_go_on() {
    let mut random = Random::new(4);
    let goes_on = until_tired();
    let file = Temporary::new("table");
    let mut rounds = 0;
    for variant in VARIANTS.iter().copied().cycle().take_while(|_| goes_on()) {
        let _ = std::fs::remove_file(&file.0);
        let mut options = Options::new(CAPACITY);
        (options.msg_size, options.readers, options.lossless) = (MSG_SIZE, 8, true);
        let ring = options.open(variant, &file.0).unwrap();
        let damage = OpenOptions::new().write(true).open(&file.0).unwrap();
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                let (ring, stop, mut random) = (&ring, &stop, Random(random.next()));
                scope.spawn(move || {
                    let mut sub = None;
                    while !stop.load(SeqCst) {
                        any_call_of_readers(ring, &mut sub, variant, &mut random);
                    }
                });
            }
            for _ in 0..1000 {
                let table = SLOTS as u64 + 8 * random.below(8 * 128 / 8);
                let at = [table, table, table & !127, 640, 648, 768][random.below(6) as usize];
                damage.write_all_at(&random.edge().to_ne_bytes(), at).unwrap();
                if random.once_in(3) {
                    std::thread::yield_now();
                }
            }
            stop.store(true, SeqCst);
        });
        // Who seemed to read is dead now, or nobody.
        drop(ring);
        let ring = options.open(variant, &file.0).unwrap();
        for _ in 0..3 * CAPACITY {
            assert!(publish(&ring, variant, &messages(variant, &mut random, MSG_SIZE, 1)));
        }
        // Names, whoever made them up.
        ring.readers().iter().filter_map(|reader| reader.name.as_deref()).for_each(|name| drop(ring.forget(name)));
        let mut sub = ring
            .subscribe_with(&SubscribeOptions::default())
            .unwrap_or_else(|error| panic!("{} {:?}", error, ring.readers()));
        let sent = messages(variant, &mut random, MSG_SIZE, CAPACITY);
        assert!(publish(&ring, variant, &sent));
        assert_eq!(read(&mut sub, variant, &mut Random(1), CAPACITY), sent);
        assert_eq!(sub.overflow_count(), 0);
        rounds += 1;
    }
    eprintln!("{} rounds", rounds);
}
