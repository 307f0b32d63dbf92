//! The report of a running bridge: as JSON for programs, as lines for people, and as metrics in Prometheus' format.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use crate::direction::{Status, since_1970};

mod metrics;

/// The report.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The directions `up` and `down`, by the name of the bridge.
    pub bridges: BTreeMap<String, BTreeMap<String, Status>>,
    /// The servers, by name.
    pub servers: BTreeMap<String, ServerStatus>,
    /// The process's id.
    pub pid: u32,
    /// When this was written, in seconds since 1970.
    pub time: f64,
    /// When the process started.
    pub started_at: f64,
    /// The program's version.
    pub version: String,
}

/// A server.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ServerStatus {
    /// Its address.
    pub address: String,
    /// Whether it is connected.
    pub connected: bool,
    /// Why it is not.
    pub error: Option<String>,
    /// How many connections were lost so far.
    pub lost_connections: u64,
}

/// After this number of seconds, a report that was not written again is of a process that has exited.
const STALE: f64 = 5.0;

/// Seconds since 1970, rounded to milliseconds.
pub fn unix_time() -> f64 {
    (since_1970().as_secs_f64() * 1000.0).round() / 1000.0
}

impl Report {
    /// The report as JSON with line breaks.
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

    /// One line for each direction, and whether there are no problems.
    pub fn lines(&self, now: f64) -> (String, bool) {
        let mut text = String::new();
        let mut is_well = true;
        if (now - self.time).abs() > STALE {
            is_well = false;
            let _ = writeln!(text, "the status is {:.0} s old: no bridge is running that writes it", now - self.time);
        }
        for (name, direction, status) in self.directions() {
            is_well &= status.running && status.connected && status.error.is_none();
            let _ = writeln!(text, "{}", printable(&format!("{name} {direction}: {}", line(status))));
        }
        (text, is_well)
    }
}

/// A text for a terminal or a log: one line without control characters, whatever a server or a name contains.
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// The status of a direction, for people.
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
pub(crate) mod tests {
    use super::*;

    pub fn report(running: bool, error: Option<&str>) -> Report {
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
        let (text, _) = report(true, Some("no\r\n\u{1b}[31mserver\u{9b}1m")).lines(101.0);
        assert!(text.ends_with(", no   [31mserver 1m\n") && text.lines().count() == 1, "{text:?}");
        let (text, is_well) = report(true, None).lines(200.0);
        assert!(text.starts_with("the status is 100 s old") && !is_well);
    }

    #[test]
    fn a_report_is_read_again() {
        let given = report(true, Some("x"));
        assert_eq!(serde_json::from_str::<Report>(&given.json()).expect("JSON"), given);
    }
}
