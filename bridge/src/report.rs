//! What a running bridge says about itself: as JSON for programs, as lines for people, as metrics in Prometheus' format.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use crate::direction::{Lost, ONLY_DOWN, REASONS, Status, since_1970};

/// All of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// By the name of the bridge, `up` and `down`.
    pub bridges: BTreeMap<String, BTreeMap<String, Status>>,
    /// By name.
    pub servers: BTreeMap<String, ServerStatus>,
    /// Of the process.
    pub pid: u32,
    /// When this was written, in seconds since 1970.
    pub time: f64,
    /// When the process began.
    pub started_at: f64,
    /// Of the program.
    pub version: String,
}

/// A server.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ServerStatus {
    /// Where it is.
    pub address: String,
    /// Whether it is there.
    pub connected: bool,
    /// Why not.
    pub error: Option<String>,
    /// Connections lost so far.
    pub lost_connections: u64,
}

/// Seconds after which a report that was not written anew is of a process that does not live.
const STALE: f64 = 5.0;

/// Seconds since 1970, in thousandths.
pub fn unix_time() -> f64 {
    (since_1970().as_secs_f64() * 1000.0).round() / 1000.0
}

impl Report {
    /// As JSON, with line ends.
    pub fn json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).unwrap_or_default();
        text.push('\n');
        text
    }

    fn directions(&self) -> impl Iterator<Item = (&str, &str, &Status)> {
        self.bridges.iter().flat_map(|(name, both)| {
            both.iter().map(move |(direction, status)| (name.as_str(), direction.as_str(), status))
        })
    }

    /// A line for each direction; and whether all is well.
    pub fn lines(&self, now: f64) -> (String, bool) {
        let mut text = String::new();
        let mut is_well = true;
        if (now - self.time).abs() > STALE {
            is_well = false;
            let _ = writeln!(text, "the status is {:.0} s old: no bridge is running that writes it", now - self.time);
        }
        for (name, direction, status) in self.directions() {
            is_well &= status.running && status.connected && status.error.is_none();
            let _ = writeln!(text, "{name} {direction}: {}", line(status));
        }
        (text, is_well)
    }

    /// In Prometheus' text format.
    pub fn metrics(&self) -> String {
        let mut text = String::new();
        let each: Vec<_> = self.directions().collect();
        let mut family = |name: &str, kind: &str, help: &str, rows: Vec<(String, f64)>| {
            if rows.is_empty() {
                return;
            }
            let _ = writeln!(text, "# HELP pubsub_bridge_{name} {help}\n# TYPE pubsub_bridge_{name} {kind}");
            for (labels, value) in rows {
                let _ = writeln!(text, "pubsub_bridge_{name}{{{labels}}} {value}");
            }
        };
        let labels = |name: &str, direction: &str| format!("bridge=\"{}\",direction=\"{direction}\"", escaped(name));
        let all = |value: &dyn Fn(&Status) -> Option<f64>| -> Vec<(String, f64)> {
            each.iter()
                .filter_map(|(name, direction, status)| Some((labels(name, direction), value(status)?)))
                .collect()
        };
        let whole = |number: Option<u64>| number.map(|number| number as f64);
        family(
            "running",
            "gauge",
            "Whether the direction has its ring and its state file.",
            all(&|s| Some(f64::from(u8::from(s.running)))),
        );
        family(
            "connected",
            "gauge",
            "Whether the server is reachable, and carries out its requests.",
            all(&|s| Some(f64::from(u8::from(s.connected)))),
        );
        family(
            "forwarded_messages_total",
            "counter",
            "Messages acknowledged (up) or published (down).",
            all(&|s| whole(Some(s.forwarded))),
        );
        let lost = each.iter().flat_map(|(name, direction, status)| {
            // Also those of which there are none, or nobody would see the first.
            let mut lost: Lost = reasons_of(direction).map(|reason| (reason.to_owned(), 0)).collect();
            lost.extend(status.lost.clone());
            let row = move |(reason, count): (String, u64)| {
                (format!("{},reason=\"{}\"", labels(name, direction), escaped(&reason)), count as f64)
            };
            lost.into_iter().map(row)
        });
        let lost = lost.collect();
        family("lost_messages_total", "counter", "Messages lost, by reason, since the state file was begun.", lost);
        family("lag_messages", "gauge", "Messages in OUT that the bridge has not read yet.", all(&|s| whole(s.lag)));
        family(
            "lag_seconds",
            "gauge",
            "Age difference between the entry read last and the newest one, in seconds.",
            all(&|s| s.lag_seconds),
        );
        family(
            "in_flight_batches",
            "gauge",
            "Batches sent to the server and not acknowledged yet.",
            all(&|s| whole(s.in_flight)),
        );
        family(
            "duplicate_messages_total",
            "counter",
            "Messages dropped because they had been received before.",
            all(&|s| whole(s.duplicates)),
        );
        family(
            "malformed_entries_total",
            "counter",
            "Entries dropped because they are malformed.",
            all(&|s| whole(s.malformed)),
        );
        family(
            "filtered_messages_total",
            "counter",
            "Messages dropped by a filter.",
            all(&|s| whole(Some(s.filtered))),
        );
        family("origins", "gauge", "Origins known: rings that have sent to the stream.", all(&|s| whole(s.origins)));
        family(
            "restarts_total",
            "counter",
            "Restarts of the direction after an error.",
            all(&|s| whole(Some(s.restarts))),
        );
        let of_servers = |value: &dyn Fn(&ServerStatus) -> f64| -> Vec<(String, f64)> {
            self.servers.iter().map(|(name, server)| (format!("server=\"{}\"", escaped(name)), value(server))).collect()
        };
        family(
            "server_connected",
            "gauge",
            "Whether the server is reachable.",
            of_servers(&|s| f64::from(u8::from(s.connected))),
        );
        family(
            "server_lost_connections_total",
            "counter",
            "Lost connections to the server.",
            of_servers(&|s| s.lost_connections as f64),
        );
        family(
            "start_time_seconds",
            "gauge",
            "Start time of the process, in seconds since 1970.",
            vec![(format!("version=\"{}\"", self.version), self.started_at)],
        );
        text
    }
}

/// Why a direction may lose messages. Down counts what up has lost, too.
fn reasons_of(direction: &str) -> impl Iterator<Item = &'static str> {
    let is_up = direction == "up";
    REASONS.iter().map(|(reason, _)| *reason).filter(move |reason| !is_up || !ONLY_DOWN.contains(reason))
}

fn escaped(label: &str) -> String {
    label.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// How a direction is, for people.
pub fn line(status: &Status) -> String {
    let mut parts = vec![match (status.running, status.connected) {
        (false, _) => "not running".to_owned(),
        (true, false) => "not connected".to_owned(),
        (true, true) => "connected".to_owned(),
    }];
    parts.push(format!("{} messages, {}/s", status.forwarded, status.rate));
    parts.extend(status.lag.filter(|lag| *lag > 0).map(|lag| format!("lag {lag} messages")));
    parts.extend(status.lag_seconds.filter(|lag| *lag > 0.0).map(|lag| format!("lag {lag:.1} s")));
    parts.extend(status.lost.iter().map(|(reason, count)| format!("{count} lost ({reason})")));
    parts.extend(status.duplicates.filter(|count| *count > 0).map(|count| format!("{count} duplicates dropped")));
    parts.extend(status.malformed.filter(|count| *count > 0).map(|count| format!("{count} entries malformed")));
    parts.extend(status.error.clone());
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(running: bool, error: Option<&str>) -> Report {
        let up = Status {
            running,
            connected: error.is_none(),
            error: error.map(str::to_owned),
            forwarded: 12,
            lost: [("overrun".to_owned(), 3)].into(),
            lag: Some(4),
            ..Status::default()
        };
        Report {
            bridges: [("a\"b".to_owned(), [("up".to_owned(), up)].into())].into(),
            time: 100.0,
            ..Report::default()
        }
    }

    #[test]
    fn what_is_wrong_is_told() {
        let (text, is_well) = report(true, None).lines(101.0);
        assert_eq!(
            (text.as_str(), is_well),
            ("a\"b up: connected, 12 messages, 0/s, lag 4 messages, 3 lost (overrun)\n", true)
        );
        assert!(!report(true, Some("no server")).lines(101.0).1 && !report(false, None).lines(101.0).1);
        let (text, is_well) = report(true, None).lines(200.0);
        assert!(text.starts_with("the status is 100 s old") && !is_well);
    }

    #[test]
    fn metrics_have_a_family_each() {
        let text = report(true, None).metrics();
        assert!(
            text.contains(
                "pubsub_bridge_lost_messages_total{bridge=\"a\\\"b\",direction=\"up\",reason=\"overrun\"} 3\n"
            ),
            "{text}"
        );
        assert!(text.contains(",reason=\"restart\"} 0\n") && !text.contains("trimmed"), "{text}");
        assert!(text.contains("# TYPE pubsub_bridge_lag_messages gauge\n") && !text.contains("lag_seconds"), "{text}");
        let families: Vec<_> = text.lines().filter(|line| line.starts_with("# TYPE")).collect();
        let distinct: std::collections::HashSet<_> = families.iter().collect();
        assert_eq!(families.len(), distinct.len());
    }

    #[test]
    fn a_report_is_read_again() {
        let given = report(true, Some("x"));
        assert_eq!(serde_json::from_str::<Report>(&given.json()).expect("JSON"), given);
    }
}
