//! A server that is restored from an older copy: which messages it had acknowledged, which it had not, and which receivers had them.

use std::ops::RangeInclusive;

use pubsub_bridge::backend::server::Server as AnyServer;
use pubsub_bridge::backend::{Backend, Batch, Claim, Content, Failure, Place, Sender};

use crate::common::program::*;
use crate::common::redis_server::RedisServer;
use crate::common::server::{Server, Which};
use crate::common::*;
use data_pubsub_shared::Variant;

/// What a sender has: its ring's number is in each message.
struct Origin {
    ring: u64,
    sender: Sender,
}

impl Origin {
    async fn begin(backend: &AnyServer, ring: u64) -> Origin {
        let origin = format!("host/ring-{ring}");
        let claim = Claim { epoch: 0, number: 0, position: String::new() };
        let epoch = backend.begin("a", &origin, &claim).await.expect("begin").epoch;
        Origin { ring, sender: Sender { stream: "a".to_owned(), origin, epoch } }
    }

    /// As the up direction does: again while the connection is away.
    async fn append(
        &self,
        backend: &AnyServer,
        numbers: RangeInclusive<u64>,
        acknowledged: u64,
    ) -> Result<(), Failure> {
        let entry = |number: u64| Content {
            kind: b'i',
            takes: 1,
            payload: (self.ring * 1_000_000_000 + number).to_string().into_bytes(),
        };
        let (first, position) = (*numbers.start(), format!("ring {}", numbers.end()));
        let batch = Batch { first, entries: numbers.map(entry).collect(), position };
        loop {
            backend.connected().await;
            match backend.append(&self.sender, &batch, acknowledged).await {
                Err(Failure::Lost(_)) => tokio::task::yield_now().await,
                other => return other,
            }
        }
    }
}

/// Ten messages of one ring are acknowledged, of which the copy has five, and five more are appended without an answer that arrives. One host
/// has received them all, and another one those of the copy. Behind the restored ones come three of another ring, and then those five again.
fn what_had_no_acknowledgement_comes_again(mut server: Server, folder: &Folder) {
    let reader = |name: &str| format!("[bridge.{name}]\nstream = \"a\"\nin = \"@/{name}\"\n");
    let base = format!("[server]\nurl = \"{}\"\n{RINGS}{}", server.url(), reader("here"));
    let both = format!("{base}{}", reader("away"));
    let receiver = |name: &str| Receiver::new(&folder.ring(name, Variant::Int, 1024));
    let (mut here, mut away) = (receiver("here"), receiver("away"));
    let runtime = runtime(2);
    let _inside = runtime.enter();
    let backend = AnyServer::new(server.settings());
    let origins = runtime.block_on(async {
        backend.connected().await;
        [Origin::begin(&backend, 1).await, Origin::begin(&backend, 2).await]
    });
    let append =
        |origin: &Origin, numbers, acknowledged| runtime.block_on(origin.append(&backend, numbers, acknowledged));
    let program = run(folder, &both);
    assert_eq!(append(&origins[0], 1..=5, 0), Ok(()));
    wait_for("both have the first", || (here.read() == 5 && away.read() == 5).then_some(()));
    configure(folder, &base);
    program.signal("-HUP");
    wait_for("one is away", || (!program.report().bridges.contains_key("away")).then_some(()));
    server.back_up("copy");
    assert_eq!([append(&origins[0], 6..=10, 5), append(&origins[0], 11..=15, 10)], [Ok(()), Ok(())]);
    wait_for("the other one has all", || (here.read() == 15).then_some(()));
    server.restore("copy");
    for number in 1..=3 {
        assert_eq!(append(&origins[1], number..=number, number - 1), Ok(()));
    }
    assert_eq!(append(&origins[0], 16..=16, 10), Err(Failure::Hole), "they come first");
    assert_eq!(append(&origins[0], 11..=15, 10), Ok(()));
    assert_eq!(append(&origins[0], 16..=16, 15), Ok(()));
    configure(folder, &both);
    program.signal("-HUP");
    wait_for("all is received", || (here.read() == 19 && away.read() == 14).then_some(()));
    // Delivered + lost = published, each ring's in its order, and none twice.
    assert_eq!([here.by_ring(), away.by_ring()], [[(1, 16), (2, 3)].into(), [(1, 11), (2, 3)].into()]);
    let lost = |name: &str| program.report().bridges.get(name).map(|both| both["down"].lost.clone());
    wait_for("what was acknowledged and lost is counted", || {
        (lost("away") == Some([("backend".to_owned(), 5)].into())).then_some(())
    });
    assert_eq!(lost("here"), Some([].into()), "a receiver that has them misses nothing");
    // One order of all that the server has acknowledged and kept; what it had not acknowledged is where each has received it.
    let again = 1_000_000_011..=1_000_000_015;
    let kept = |receiver: &Receiver| -> Vec<u64> {
        receiver.received.iter().copied().filter(|value| !again.contains(value)).collect()
    };
    assert_one_order(&kept(&here), &kept(&away));
    let place = |receiver: &Receiver, value: u64| receiver.received.iter().position(|found| *found == value);
    let is_before = |receiver: &Receiver| place(receiver, 1_000_000_011) < place(receiver, 2_000_000_001);
    assert_eq!((is_before(&here), is_before(&away)), (true, false));
    program.end();
}

/// A batch without an acknowledgement gets its old place again, after as many messages of other senders as before. The message there has
/// the same sender and numbers, and only the server's time shows that it is another one.
#[test]
fn a_place_that_is_given_again_is_noticed() {
    if !Which::Nats.is_installed() {
        return;
    }
    let folder = Folder::new("copies-place");
    let mut server = Server::start(Which::Nats, &folder);
    let base = format!("[server]\nurl = \"{}\"\n{RINGS}", server.url());
    let nobody = format!("{base}[bridge.other]\nin = \"@/other\"\n");
    let mut receiver = Receiver::new(&folder.ring("in", Variant::Int, 1024));
    let runtime = runtime(2);
    let _inside = runtime.enter();
    let backend = AnyServer::new(server.settings());
    let origins = runtime.block_on(async {
        backend.connected().await;
        [Origin::begin(&backend, 1).await, Origin::begin(&backend, 2).await, Origin::begin(&backend, 3).await]
    });
    let append = |ring: usize, numbers, acknowledged| {
        assert_eq!(runtime.block_on(origins[ring - 1].append(&backend, numbers, acknowledged)), Ok(()));
    };
    let last = || runtime.block_on(backend.ends("a", Place::START)).expect("ends").last;
    let program = run(&folder, &format!("{base}[bridge.a]\nin = \"@/in\"\n"));
    append(1, 1..=5, 0);
    wait_for("the first are received", || (receiver.read() == 5).then_some(()));
    server.back_up("copy");
    append(2, 1..=1, 0);
    append(1, 6..=8, 5);
    wait_for("what will be lost is received", || (receiver.read() == 9).then_some(()));
    let place = last();
    configure(&folder, &nobody);
    program.signal("-HUP");
    wait_for("the direction has stopped", || (!program.report().bridges.contains_key("a")).then_some(()));
    server.restore("copy");
    append(3, 1..=1, 0);
    append(1, 6..=8, 5);
    assert_eq!(last(), place, "the same place");
    configure(&folder, &format!("{base}[bridge.a]\nin = \"@/in\"\n"));
    program.signal("-HUP");
    wait_for("what came before it is received", || (receiver.read() == 10).then_some(()));
    append(2, 2..=2, 1);
    append(3, 2..=2, 1);
    append(1, 9..=9, 8);
    wait_for("all is received", || (receiver.read() == 13).then_some(()));
    assert_eq!(receiver.by_ring(), [(1, 9), (2, 2), (3, 2)].into());
    let status = wait_for("the status has them all", || {
        let status = program.report().bridges.get("a")?.get("down")?.clone();
        (status.forwarded == 4).then_some(status)
    });
    assert_eq!(status.lost, [].into(), "nothing is counted as lost");
    assert!(program.log().contains("stream a was removed or restored"), "{}", program.log());
    program.end();
}

#[test]
fn of_redis_with_an_append_only_file() {
    if Which::Redis.is_installed() {
        let folder = Folder::new("copies-aof");
        what_had_no_acknowledgement_comes_again(Server::start(Which::Redis, &folder), &folder);
    }
}

#[test]
fn of_redis_with_a_dump() {
    if Which::Redis.is_installed() {
        let folder = Folder::new("copies-rdb");
        let server = RedisServer::start(&folder, &["--appendonly", "no"]);
        what_had_no_acknowledgement_comes_again(Server::Redis(server), &folder);
    }
}

#[test]
fn of_nats() {
    if Which::Nats.is_installed() {
        let folder = Folder::new("copies-nats");
        what_had_no_acknowledgement_comes_again(Server::start(Which::Nats, &folder), &folder);
    }
}
