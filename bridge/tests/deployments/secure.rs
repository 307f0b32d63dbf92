//! Servers with TLS and users: what works, and the one line for each thing that does not.

use std::process::Command;

use data_pubsub_shared::Variant;

use crate::common::certificates::{Certificates, can_be_made};
use crate::common::nats_server::{self, NatsServer};
use crate::common::program::*;
use crate::common::redis_server::{self, RedisServer};
use crate::common::*;

#[test]
fn redis_over_tls() {
    if !redis_server::is_installed() || !redis_server::has_tls() || !can_be_made() {
        return;
    }
    let folder = Folder::new("redis-tls");
    let made = Certificates::make(&folder);
    let (plain, tls) = (free_port(), free_port());
    let file = |name: &str| made.name(name);
    let mut arguments = vec!["--port".to_owned(), plain.to_string(), "--tls-port".to_owned(), tls.to_string()];
    arguments.extend(made.of_redis());
    let redis = RedisServer::start(&folder, &arguments.iter().map(String::as_str).collect::<Vec<_>>());
    let url = format!("url = \"rediss://127.0.0.1:{tls}\"\n");
    let with_ca = format!("{url}ca-file = \"{}\"\n", file("ca.pem"));
    let client = |name: &str| {
        format!(
            "{with_ca}cert-file = \"{}\"\nkey-file = \"{}\"\n",
            file(&format!("{name}.pem")),
            file(&format!("{name}.key"))
        )
    };
    assert_works(&folder, &with_ca);
    assert_says(&folder, &url, "see ca-file");
    assert_says(&folder, &format!("{url}ca-file = \"{}\"\n", file("other.pem")), "see ca-file");
    assert_says(&folder, &format!("url = \"redis://127.0.0.1:{tls}\"\n"), "give a URL with rediss://");
    assert_says(&folder, &format!("url = \"rediss://127.0.0.1:{plain}\"\n"), "give a URL with redis://");
    redis.ask(&["CONFIG", "SET", "tls-cert-file", &file("expired.pem")]);
    assert_says(&folder, &with_ca, "see this host's clock");
    redis.ask(&["CONFIG", "SET", "tls-cert-file", &file("elsewhere.pem")]);
    assert_says(&folder, &with_ca, "elsewhere.example");
    redis.ask(&["CONFIG", "SET", "tls-cert-file", &file("server.pem")]);
    redis.ask(&["CONFIG", "SET", "tls-auth-clients", "yes"]);
    assert_says(&folder, &with_ca, "cert-file");
    assert_says(&folder, &client("stranger"), "cert-file");
    assert_works(&folder, &client("client"));
}

#[test]
fn nats_over_tls() {
    if !nats_server::is_installed() || !can_be_made() {
        return;
    }
    let folder = Folder::new("nats-tls");
    let made = Certificates::make(&folder);
    let file = |name: &str| made.name(name);
    let start = |name: &str, certificate: &str, more: &str| {
        let key = file("server.key");
        let tls = format!(
            "tls {{ cert_file: \"{}\", key_file: \"{key}\", ca_file: \"{}\"{more} }}",
            file(certificate),
            file("ca.pem")
        );
        NatsServer::named(&folder, name, &tls)
    };
    let with_ca = |server: &NatsServer| {
        format!("url = \"{}\"\nca-file = \"{}\"\n", server.url().replace("nats://", "tls://"), file("ca.pem"))
    };
    let good = start("good", "server.pem", "");
    let url = format!("url = \"{}\"\n", good.url().replace("nats://", "tls://"));
    assert_works(&folder, &with_ca(&good));
    assert_says(&folder, &url, "see ca-file");
    assert_says(&folder, &format!("{url}ca-file = \"{}\"\n", file("other.pem")), "see ca-file");
    assert_says(&folder, &format!("url = \"{}\"\n", good.url()), "give a URL with tls://");
    let plain = NatsServer::named(&folder, "plain", "");
    assert_says(&folder, &with_ca(&plain), "give a URL with nats://");
    assert_says(&folder, &with_ca(&start("expired", "expired.pem", "")), "see this host's clock");
    assert_says(&folder, &with_ca(&start("elsewhere", "elsewhere.pem", "")), "elsewhere.example");
    let strict = start("strict", "server.pem", ", verify: true");
    let client = |name: &str| {
        let (cert, key) = (file(&format!("{name}.pem")), file(&format!("{name}.key")));
        format!("{}cert-file = \"{cert}\"\nkey-file = \"{key}\"\n", with_ca(&strict))
    };
    assert_says(&folder, &with_ca(&strict), "cert-file");
    assert_says(&folder, &client("stranger"), "cert-file");
    assert_works(&folder, &client("client"));
}

/// What `check` prints for an operator to copy, with the password.
fn advised(said: &str) -> Vec<String> {
    let rule =
        said.lines().find_map(|line| line.split_once("ACL SETUSER ")).unwrap_or_else(|| panic!("a rule in {said}")).1;
    ["ACL", "SETUSER"].into_iter().chain(rule.split(' ')).map(|word| word.replace(">PASSWORD", ">secret")).collect()
}

#[test]
fn a_redis_user_is_told_each_permission_that_it_lacks() {
    if !redis_server::is_installed() {
        return;
    }
    let folder = Folder::new("redis-users");
    let redis = RedisServer::start(&folder, &[]);
    let say = |words: &[String]| drop(redis.ask(&words.iter().map(String::as_str).collect::<Vec<_>>()));
    secret(&folder.0.join("password"), "secret\n");
    let server = format!(
        "url = \"unix://{}\"\nusername = \"bridge\"\npassword-file = \"@/password\"\n",
        redis.socket().display()
    );
    assert_says(&folder, &server, "see username and password-file");
    say(&"ACL SETUSER bridge on >secret".split(' ').map(str::to_owned).collect::<Vec<_>>());
    let (_, said) = checked(&folder, &server);
    let rule = advised(&said);
    say(&rule);
    let (is_well, said) = checked(&folder, &server);
    assert!(is_well, "the rule is enough: {said}");
    let program = run(&folder, &format!("[server]\n{server}\n{RINGS}[bridge.a]\nout = \"@/out\"\nin = \"@/in\"\n"));
    let mut receiver = Receiver::new(&folder.ring("in", Variant::Int, 1 << 16));
    let mut publisher = Publisher::new(&folder.ring("out", Variant::Int, 1 << 16), 1);
    program.until_connected(2);
    publisher.publish(10);
    wait_for("all is received", || (receiver.read() == 10).then_some(()));
    // Periodic work, too.
    wait_for("the stream is trimmed", || {
        text_of(redis.ask(&["INFO", "commandstats"])).contains("cmdstat_xtrim").then_some(())
    });
    assert!(!program.log().contains("NOPERM") && !program.log().contains("can't run"), "{}", program.log());
    // Each by itself is found, and taken away from a bridge at work it delays and loses nothing.
    for lacks in [
        "-eval -evalsha",
        "-xadd",
        "-hset",
        "-hget",
        "-xread",
        "-xrange",
        "-xrevrange",
        "-xinfo",
        "-hgetall",
        "-xtrim",
        "resetkeys ~{a}:origins",
        "resetkeys ~a",
    ] {
        say(&["ACL", "SETUSER", "bridge"].into_iter().chain(lacks.split(' ')).map(str::to_owned).collect::<Vec<_>>());
        let (is_well, said) = checked(&folder, &server);
        let name = lacks.trim_start_matches('-').split(' ').next().expect("one");
        let is_named = lacks.starts_with("reset") || said.contains(&format!("this user may not use {name}"));
        assert!(!is_well && is_named, "without {lacks}: {said}");
        publisher.publish(20);
        assert_eq!(advised(&said), rule);
        say(&rule);
        let published = publisher.published;
        wait_for("all is received", || (receiver.read() as u64 == published).then_some(()));
    }
    say(&"ACL SETUSER bridge -eval -evalsha".split(' ').map(str::to_owned).collect::<Vec<_>>());
    publisher.publish(20);
    program.until_said("allow it: `pubsub-bridge check` prints the rule for this user; trying again");
    wait_for("the status says so", || (!ask(&folder, &["status"]).status.success()).then_some(()));
    say(&rule);
    wait_for("all is received", || (receiver.read() as u64 == publisher.published).then_some(()));
    assert!(program.report().bridges["a"]["down"].lost.is_empty());
    program.end();
}

#[test]
fn passwords_come_from_files_credentials_and_the_environment() {
    if !redis_server::is_installed() {
        return;
    }
    let folder = Folder::new("passwords");
    let redis = RedisServer::start(&folder, &[]);
    redis.ask(&["ACL", "SETUSER", "bridge", "on", ">right", "~*", "+@all"]);
    redis.ask(&["ACL", "SETUSER", "default", "-@all", "+acl", "+ping"]);
    let url = format!("[server]\nurl = \"unix://{}\"\n", redis.socket().display());
    let bridge = format!("{RINGS}[bridge.a]\nout = \"@/out\"\n");
    let check = |server: &str, environment: &[(&str, &str)]| {
        configure(&folder, &format!("{url}{server}{bridge}"));
        let mut command = Command::new(PROGRAM);
        command.arg("check").arg(folder.0.join("bridge.toml")).envs(environment.iter().copied());
        let found = command.output().expect("the program");
        (found.status.success(), all_of(&found))
    };
    let credentials = folder.0.join("credentials");
    std::fs::create_dir(&credentials).expect("a directory");
    secret(&credentials.join("redis"), "right\n");
    secret(&folder.0.join("right"), "right");
    secret(&folder.0.join("wrong"), "wrong");
    let directory = credentials.display().to_string();
    let user = "username = \"bridge\"\n";
    let of = |file: &str| format!("{user}password-file = \"{file}\"\n");
    assert!(check(&of("@/right"), &[]).0, "a file");
    assert!(check(&of("redis"), &[("CREDENTIALS_DIRECTORY", &directory)]).0, "a credential of systemd");
    assert!(check("", &[("PUBSUB_BRIDGE_USERNAME", "bridge"), ("PUBSUB_BRIDGE_PASSWORD", "right")]).0);
    std::fs::write(folder.0.join("open"), "right").expect("write");
    for (server, environment, why) in [
        (of("@/wrong"), &[][..], "WRONGPASS"),
        (of("@/open"), &[], "others may read it; please chmod 600"),
        (of("redis"), &[], "password-file redis: No such file"),
        (of("other"), &[("CREDENTIALS_DIRECTORY", directory.as_str())], "/credentials/other: No such file"),
        (String::new(), &[], "this user may not use"),
        (user.to_owned(), &[("PUBSUB_BRIDGE_PASSWORD", "wrong")], "WRONGPASS"),
    ] {
        let (is_well, said) = check(&server, environment);
        assert!(!is_well && said.contains(why), "{server} {environment:?}: {said}");
    }
}
