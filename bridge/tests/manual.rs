//! The manual, the samples and the program say the same: `lib/Data/PubSub/Shared/Bridge.pod` has each key of the configuration, each
//! option, each field of the status, each metric and each reason of a loss, and no other ones.

use std::collections::BTreeSet;
use std::process::Command;

use pubsub_bridge::config::Config;
use pubsub_bridge::direction::{REASONS, Status};
use pubsub_bridge::report::{Report, ServerStatus};

const PROGRAM: &str = env!("CARGO_BIN_EXE_pubsub-bridge");
const MANUAL: &str = include_str!("../../lib/Data/PubSub/Shared/Bridge.pod");

type Names = BTreeSet<String>;

fn names<'a>(all: impl IntoIterator<Item = &'a str>) -> Names {
    all.into_iter().map(str::to_owned).collect()
}

/// The text of a section, without those of the sections in it.
fn section(title: &str) -> &'static str {
    let heading = |line: &str| line.strip_prefix("=head1 ").or(line.strip_prefix("=head2 ")) == Some(title);
    let at = MANUAL.lines().position(heading).unwrap_or_else(|| panic!("no section {title}"));
    let start: usize = MANUAL.lines().take(at + 1).map(|line| line.len() + 1).sum();
    let end = MANUAL[start..].find("\n=head").map_or(MANUAL.len(), |length| start + length);
    &MANUAL[start..end]
}

fn items(title: &str) -> Names {
    let items = section(title).lines().filter_map(|line| line.strip_prefix("=item "));
    names(items.flat_map(|item| item.split(", ")))
}

/// What the program says that it expects where it meets an unknown key.
fn keys(text: &str) -> Names {
    let error = Config::parse(text).expect_err("an unknown key");
    let (_, expected) = error.split_once("expected one of ").unwrap_or_else(|| panic!("{error}"));
    names(expected.split('`').skip(1).step_by(2))
}

#[test]
fn the_manual_has_the_keys_of_the_configuration() {
    assert_eq!(items("The file"), keys("nonsense = 1\n"));
    assert_eq!(items("A server"), keys("[server]\nurl = \"redis://x\"\nnonsense = 1\n"));
    let of_bridges = keys("[bridge.x]\nnonsense = 1\n");
    assert_eq!(items("A bridge"), of_bridges);
    assert_eq!(keys("[defaults]\nnonsense = 1\n"), of_bridges);
}

#[test]
fn the_manual_has_the_options_of_the_commands() {
    let help = |arguments: &[&str]| {
        let output = Command::new(PROGRAM).args(arguments).output().expect("the program");
        String::from_utf8(output.stdout).expect("UTF-8")
    };
    let long = |text: &str| -> Names {
        let words = text.split(|c: char| c.is_whitespace() || ",<>[]()".contains(c));
        words.filter(|word| word.starts_with("--") && word.len() > 2).map(str::to_owned).collect()
    };
    let top = help(&["--help"]);
    let commands: Names = top
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .map(str::to_owned)
        .collect();
    let documented = section("COMMANDS").lines().filter_map(|line| line.strip_prefix("=item pubsub-bridge "));
    let documented: Vec<&str> = documented.collect();
    assert_eq!(names(documented.iter().filter_map(|item| item.split(' ').next())), commands);
    let mut options = long(&top);
    for name in &commands {
        options.extend(long(&help(&[name, "--help"])));
        let usage = help(&[name, "--help"]);
        let wants =
            documented.iter().find(|item| item.split(' ').next() == Some(name)).and_then(|item| item.split(' ').nth(1));
        assert_eq!(usage.contains(&format!("<{}>", wants.unwrap_or("FILE"))), wants.is_some(), "{name}: {usage}");
    }
    let options: Names = options.into_iter().filter(|option| !option.is_empty()).collect();
    let said = section("COMMANDS").replace(['C', '<', '>', '.', ';'], " ");
    assert_eq!(long(&said), options);
}

fn full() -> Status {
    Status {
        error: Some(String::new()),
        lost: [("overrun".to_owned(), 1)].into(),
        lag: Some(1),
        lag_seconds: Some(1.0),
        in_flight: Some(1),
        origin: Some(String::new()),
        epoch: Some(1),
        number: Some(1),
        places: Some([].into()),
        origins: Some(1),
        duplicates: Some(1),
        malformed: Some(1),
        ..Status::default()
    }
}

#[test]
fn the_manual_has_the_status_and_the_metrics() {
    let fields = |value: serde_json::Value| names(value.as_object().expect("an object").keys().map(String::as_str));
    let documented = section("STATUS");
    let with_label = |item: &String| item.starts_with("with the label");
    let of_directions: Names = items("STATUS").into_iter().filter(|item| !with_label(item)).collect();
    assert_eq!(of_directions, fields(serde_json::to_value(full()).expect("JSON")));
    let report = Report {
        bridges: [("b".to_owned(), [("up".to_owned(), full())].into())].into(),
        servers: [("s".to_owned(), ServerStatus::default())].into(),
        ..Report::default()
    };
    let rest = fields(serde_json::to_value(&report).expect("JSON"));
    let of_servers = fields(serde_json::to_value(ServerStatus::default()).expect("JSON"));
    for field in rest.iter().chain(&of_servers) {
        assert!(documented.contains(&format!("C<{field}>")), "{field}");
    }
    let (_, metrics) = documented.split_once("The metrics are").expect("metrics");
    let (_, metrics) = metrics.split_once("=over").expect("a list");
    let code = metrics.split("C<").skip(1).filter_map(|rest| rest.split('>').next()).filter(|name| *name != "reason");
    let families = report.metrics();
    let families = families.lines().filter_map(|line| line.strip_prefix("# TYPE pubsub_bridge_")?.split(' ').next());
    assert_eq!(names(code), names(families));
}

#[test]
fn the_manual_has_the_reasons_of_losses() {
    assert_eq!(items("LOSSES"), names(REASONS.iter().map(|(reason, _)| *reason)));
}

#[test]
fn the_samples_are_right() {
    let (_, synopsis) = section("SYNOPSIS").split_once("\n\n    [server]").expect("a configuration");
    let (synopsis, _) = synopsis.split_once("\n\nIn a shell").expect("an end");
    Config::parse(&format!("[server]{}", synopsis.replace("\n    ", "\n"))).expect("the synopsis");
    let has_systemd =
        Command::new("systemd-analyze").arg("--version").output().is_ok_and(|output| output.status.success());
    if !has_systemd {
        println!("skipped: systemd-analyze is not installed");
        return;
    }
    let unit = include_str!("../pubsub-bridge.service");
    assert!(unit.contains("ExecStart=/usr/bin/pubsub-bridge run /etc/pubsub-bridge.toml\n"));
    let folder = std::env::temp_dir().join(format!("pubsub-bridge-unit-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let copy = folder.join("pubsub-bridge.service");
    std::fs::write(&copy, unit.replace("/usr/bin/pubsub-bridge", PROGRAM)).expect("write");
    let output =
        Command::new("systemd-analyze").args(["--man=no", "verify"]).arg(&copy).output().expect("systemd-analyze");
    std::fs::remove_dir_all(folder).expect("remove");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && !said.contains("pubsub-bridge.service:"), "{said}");
}
