//! NATS deployments: logins, permissions of accounts, streams that others have created, several servers.

use data_encoding::BASE64URL_NOPAD;
use data_pubsub_shared::Variant;
use nkeys::KeyPair;
use pubsub_bridge::backend::nats::{Login, Nats, Settings};
use pubsub_bridge::backend::{Backend, Failure, Place};
use serde_json::{Value, json};

use crate::common::nats_server::{NatsServer, is_installed};
use crate::common::program::*;
use crate::common::*;

/// A JWT of NATS.
fn signed(by: &KeyPair, subject: &str, kind: &str, nats: &Value) -> String {
    let mut nats = nats.clone();
    (nats["type"], nats["version"]) = (kind.into(), 2.into());
    let claims = json!({"jti": kind, "iat": 1, "iss": by.public_key(), "sub": subject, "name": kind, "nats": nats});
    let encode = |value: &Value| BASE64URL_NOPAD.encode(value.to_string().as_bytes());
    let text = format!("{}.{}", encode(&json!({"typ": "JWT", "alg": "ed25519-nkey"})), encode(&claims));
    let signature = by.sign(text.as_bytes()).expect("a signature");
    format!("{text}.{}", BASE64URL_NOPAD.encode(&signature))
}

#[test]
fn logins_of_each_kind() {
    if !is_installed() {
        return;
    }
    let folder = Folder::new("nats-logins");
    let (user, stranger) = (KeyPair::new_user(), KeyPair::new_user());
    let (operator, account, system) = (KeyPair::new_operator(), KeyPair::new_account(), KeyPair::new_account());
    let limits = json!({
        "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true, "conn": -1, "leaf": -1,
        "mem_storage": -1, "disk_storage": -1, "streams": -1, "consumer": -1,
    });
    let file = |name: &str, text: &str| {
        secret(&folder.0.join(name), text);
        format!("@/{name}")
    };
    let creds = |by: &KeyPair, who: &KeyPair| {
        let jwt = signed(by, &who.public_key(), "user", &json!({"subs": -1, "data": -1, "payload": -1}));
        let seed = who.seed().expect("a seed");
        format!(
            "-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n-----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY \
             SEED------\n"
        )
    };
    let accounts = {
        let of =
            |key: &KeyPair, limits: &Value| signed(&operator, &key.public_key(), "account", &json!({"limits": limits}));
        let mut no_jetstream = limits.clone();
        (no_jetstream["mem_storage"], no_jetstream["disk_storage"]) = (0.into(), 0.into());
        format!(
            "operator: {}\nresolver: MEMORY\nsystem_account: {}\nresolver_preload: {{ {}: {}, {}: {} }}",
            signed(&operator, &operator.public_key(), "operator", &json!({})),
            system.public_key(),
            account.public_key(),
            of(&account, &limits),
            system.public_key(),
            of(&system, &no_jetstream),
        )
    };
    let password = |file: &str| format!("username = \"bridge\"\npassword-file = \"{file}\"\n");
    let (right, wrong) = (file("right", "right"), file("wrong", "wrong"));
    let key = |pair: &KeyPair| pair.seed().expect("a seed");
    let cases = [
        (
            "authorization { user: bridge, password: right }".to_owned(),
            password(&right),
            password(&wrong),
            "see username and password-file",
        ),
        (
            "authorization { token: right }".to_owned(),
            format!("token-file = \"{right}\"\n"),
            format!("token-file = \"{wrong}\"\n"),
            "see token-file",
        ),
        (
            format!("authorization {{ users: [ {{ nkey: {} }} ] }}", user.public_key()),
            format!("nkey-file = \"{}\"\n", file("user", &key(&user))),
            format!("nkey-file = \"{}\"\n", file("stranger", &key(&stranger))),
            "see nkey-file",
        ),
        (
            accounts,
            format!("creds-file = \"{}\"\n", file("creds", &creds(&account, &user))),
            format!("creds-file = \"{}\"\n", file("other-creds", &creds(&KeyPair::new_account(), &user))),
            "see creds-file",
        ),
    ];
    for (number, (configuration, good, bad, why)) in cases.iter().enumerate() {
        let server = NatsServer::named(&folder, &format!("server{number}"), configuration);
        let url = format!("url = \"{}\"\n", server.url());
        assert_works(&folder, &format!("{url}{good}"));
        assert_says(&folder, &format!("{url}{bad}"), why);
        assert_says(&folder, &url, "give username and password-file, token-file, nkey-file or creds-file");
        let garbled = file("garbled", "no such thing");
        if good.starts_with("nkey") || good.starts_with("creds") {
            let what = good.split(' ').next().expect("a key");
            assert_says(&folder, &format!("{url}{what} = \"{garbled}\"\n"), what);
        }
    }
}

/// What `check` prints for an operator to copy.
fn advised(said: &str) -> String {
    let rule = said.lines().find_map(|line| line.split_once(": permissions ")).unwrap_or_else(|| panic!("in {said}"));
    rule.1.to_owned()
}

#[test]
fn what_an_account_lacks_is_said() {
    if !is_installed() {
        return;
    }
    let folder = Folder::new("nats-accounts");
    let plain = NatsServer::without_jetstream(&folder, "plain");
    assert_says(&folder, &format!("url = \"{}\"\n", plain.url()), "start the server with JetStream");
    secret(&folder.0.join("password"), "right");
    let login = "username = \"bridge\"\npassword-file = \"@/password\"\n";
    let account = |more: &str| format!("accounts {{ A {{ {more}, users: [ {{ user: bridge, password: right }} ] }} }}");
    let none = NatsServer::named(&folder, "none", &account("jetstream: disabled"));
    assert_says(&folder, &format!("url = \"{}\"\n{login}", none.url()), "give the account of this user JetStream");
    let small = NatsServer::named(&folder, "small", &account("jetstream: { max_mem: 1M, max_file: 0 }"));
    assert_says(&folder, &format!("url = \"{}\"\n{login}", small.url()), "has no room on disk");
    // The printed permissions are enough to send and to receive, and for periodic work.
    let with = |permissions: &str| {
        format!(
            "authorization {{ users: [ {{ user: all, password: all }}, {{ user: bridge, password: right, permissions: {permissions} }} ] }}"
        )
    };
    let mut strict = NatsServer::named(&folder, "strict", &with("{ publish: [\"other\"], subscribe: [\"_INBOX.>\"] }"));
    let server = format!("[server]\nurl = \"{}\"\n{login}{RINGS}[bridge.a]\n", strict.url());
    let bridge = "out = \"@/out\"\nin = \"@/in\"\nkeep-messages = 100\npack = 1\n";
    configure(&folder, &format!("{server}{bridge}"));
    let found = all_of(&ask(&folder, &["check"]));
    assert!(found.contains("Permissions Violation for Publish"), "{found}");
    let mut receiver = Receiver::new(&folder.ring("in", Variant::Int, 1 << 16));
    let mut publisher = Publisher::new(&folder.ring("out", Variant::Int, 1 << 16), 1);
    let program = run(&folder, &format!("{server}{bridge}"));
    program.until_said("allow it: `pubsub-bridge check` prints the permissions for this user");
    // Also where only sending is not allowed, or only trimming.
    let rule = advised(&found);
    for subject in ["pubsub.a.*", "$JS.API.STREAM.PURGE.a", "$JS.API.STREAM.MSG.GET.a"] {
        strict.process.kill();
        strict.configure(&with(&rule.replace(subject, "other")));
        strict.run();
        let found = all_of(&ask(&folder, &["check"]));
        assert!(
            found.contains(&format!("to \"{}", subject.trim_end_matches('*'))) && advised(&found) == rule,
            "{found}"
        );
    }
    strict.process.kill();
    strict.configure(&with(&rule));
    strict.run();
    let found = ask(&folder, &["check"]);
    assert!(found.status.success(), "{}", all_of(&found));
    publisher.publish(1000);
    wait_for("it goes on by itself", || (receiver.read() == 1000).then_some(()));
    let begun = program.end().len();
    // A process that has met no others says nothing of permissions.
    let program = run(&folder, &format!("{server}{bridge}"));
    publisher.publish(1000);
    wait_for("all is received", || (receiver.read() == 2000).then_some(()));
    wait_for("it is trimmed", || {
        publisher.publish(1);
        receiver.read();
        std::thread::sleep(std::time::Duration::from_millis(10));
        let first = strict.ask_as("all", "STREAM.INFO.a", &Value::Null)["state"]["first_seq"].as_u64();
        first.is_some_and(|first| first > 1).then_some(())
    });
    let log = program.end();
    assert!(!log[begun..].contains("Permissions Violation"), "{log}");
}

/// The server says once that this user may not subscribe to answers, and nothing to all that is asked later.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_may_not_hear_answers_is_told_so_each_time() {
    if !is_installed() {
        return;
    }
    let folder = Folder::new("nats-deaf");
    let user = "{ user: bridge, password: right, permissions: { publish: [\">\"], subscribe: [\"other\"] } }";
    let server = NatsServer::named(&folder, "deaf", &format!("authorization {{ users: [ {user} ] }}"));
    let login = Login::User("bridge".to_owned(), "right".to_owned());
    let backend = Nats::new(Settings { login, ..server.settings() });
    backend.connected().await;
    for round in 0..3 {
        let Err(Failure::Denied(why)) = backend.ends("a", Place::START).await else { panic!("denied, round {round}") };
        assert!(why.contains("Permissions Violation for Subscription to \"_INBOX."), "{why}");
    }
}

#[test]
fn streams_that_others_have_made_are_told_how_to_be() {
    if !is_installed() {
        return;
    }
    let folder = Folder::new("nats-streams");
    let server = NatsServer::start(&folder, "");
    let url = format!("url = \"{}\"\n", server.url());
    let good = json!({
        "name": "a", "subjects": ["pubsub.a.*"], "retention": "limits", "storage": "file", "discard": "new", "max_msgs": -1, "max_bytes": -1,
        "max_age": 0, "max_msgs_per_subject": -1, "max_consumers": -1, "num_replicas": 1,
    });
    let create = |changes: &Value| {
        server.forget();
        let mut config = good.clone();
        for (key, value) in changes.as_object().expect("settings") {
            config[key] = value.clone();
        }
        let answer = server.ask("STREAM.CREATE.a", &config);
        assert!(answer["error"].is_null(), "{changes}: {answer}");
    };
    for (changes, why) in [
        (json!({"subjects": ["elsewhere.*"]}), "nats stream edit a --subjects='pubsub.a.*'"),
        (json!({"retention": "workqueue"}), "it must have the retention limits"),
        (json!({"retention": "interest"}), "it must have the retention limits"),
        (json!({"discard": "old", "max_msgs": 1000}), "nats stream edit a --discard=new"),
        (json!({"discard": "old", "max_bytes": 100_000}), "nats stream edit a --discard=new"),
        (json!({"max_age": 3_600_000_000_000_u64}), "nats stream edit a --max-age=0, and give keep-age"),
        (json!({"max_msgs_per_subject": 10}), "nats stream edit a --max-msgs-per-subject=-1"),
        (json!({"no_ack": true}), "nats stream edit a --ack"),
        (json!({"deny_purge": true}), "is sealed or denies purges"),
    ] {
        create(&changes);
        assert_says(&folder, &url, why);
    }
    // A bridge does not begin with one of these, and begins when it is put right.
    create(&json!({"discard": "old", "max_msgs": 1000}));
    let program = run(&folder, &format!("[server]\n{url}{RINGS}[bridge.a]\nout = \"@/out\"\nin = \"@/in\"\n"));
    program.until_said("nats stream edit a --discard=new; trying again");
    server.edit("a", &json!({"discard": "new"}));
    let mut receiver = Receiver::new(&folder.ring("in", Variant::Int, 1024));
    let mut publisher = Publisher::new(&folder.ring("out", Variant::Int, 1024), 1);
    publisher.publish(100);
    wait_for("all is received", || (receiver.read() == 100).then_some(()));
    program.end();
    // Findings that are not errors.
    for (changes, what) in [
        (json!({"storage": "memory"}), "is kept in memory: what it has acknowledged does not survive a restart"),
        (json!({"max_msg_size": 10_000}), "takes messages of at most 10000 bytes (max_msg_size)"),
    ] {
        create(&changes);
        let (is_well, said) = checked(&folder, &url);
        assert!(is_well && said.contains(what), "{changes}: {said}");
    }
}

#[test]
fn a_bridge_goes_on_with_another_server_of_a_cluster() {
    if !is_installed() {
        return;
    }
    let folder = Folder::new("nats-cluster");
    let ports = [free_port(), free_port(), free_port()];
    let routes = ports.map(|port| format!("nats-route://127.0.0.1:{port}")).join(", ");
    let mut servers: Vec<NatsServer> = (0..ports.len())
        .map(|index| {
            let cluster = format!("cluster {{ name: C, listen: 127.0.0.1:{}, routes: [ {routes} ] }}", ports[index]);
            NatsServer::named(&folder, &format!("s{index}"), &format!("server_name: s{index}\n{cluster}"))
        })
        .collect();
    let urls: Vec<String> = servers.iter().map(|server| server.url().replace("nats://", "")).collect();
    let text = format!(
        "[server]\nurl = \"nats://{}\"\nreplicas = 3\ntimeout = 2\n{RINGS}[bridge.a]\nout = \"@/out\"\nin = \"@/in\"\n",
        urls.join(",")
    );
    let mut receiver = Receiver::new(&folder.ring("in", Variant::Int, 1 << 16));
    let mut publisher = Publisher::new(&folder.ring("out", Variant::Int, 1 << 16), 1);
    let program = run(&folder, &text);
    program.until_connected(2);
    let mut until_progress = |program: &Program| {
        let first = publisher.published;
        wait_for(&format!("progress:\n{}", program.log()), || {
            publisher.publish(2);
            std::thread::sleep(std::time::Duration::from_millis(2));
            receiver.read();
            receiver.received.last().is_some_and(|last| last % 1_000_000_000 > first).then_some(())
        });
    };
    until_progress(&program);
    let info = servers[0].ask("STREAM.INFO.a", &Value::Null);
    assert_eq!(info["config"]["num_replicas"], 3, "{info}");
    let leader: usize =
        info["cluster"]["leader"].as_str().expect("a leader").trim_start_matches('s').parse().expect("a number");
    // The one that has the stream, and the others one after the other.
    let rounds = if is_quick() { 1 } else { ports.len() };
    for index in (0..rounds).map(|round| (leader + round) % ports.len()) {
        servers[index].process.kill();
        until_progress(&program);
        servers[index].run();
        until_progress(&program);
    }
    let published = publisher.published;
    wait_for("all is received", || (receiver.read() as u64 == published).then_some(()));
    assert_eq!(receiver.by_ring(), [(1, published)].into());
    assert_eq!(program.report().bridges["a"]["down"].lost, [].into());
    program.end();
}
