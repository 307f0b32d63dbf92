//! A report as metrics in Prometheus' text format. Each row of the tables is a family.

use std::fmt::Write as _;

use super::{Report, ServerStatus};
use crate::direction::{Lost, ONLY_DOWN, REASONS, Status};

/// The name, whether it is a counter, the help, and the value, if there is one.
type Family<T> = (&'static str, &'static str, &'static str, fn(&T) -> Option<f64>);

fn is(state: bool) -> Option<f64> {
    Some(f64::from(u8::from(state)))
}

fn count(number: u64) -> Option<f64> {
    Some(number as f64)
}

const OF_DIRECTIONS: [Family<Status>; 11] = [
    ("running", "gauge", "Whether the direction has its ring and its state file.", |s| is(s.running)),
    ("connected", "gauge", "Whether the server is reachable, and carries out its requests.", |s| is(s.connected)),
    ("forwarded_messages_total", "counter", "Messages acknowledged (up) or published (down).", |s| count(s.forwarded)),
    ("lag_messages", "gauge", "Messages in OUT that the bridge has not read yet.", |s| s.lag.and_then(count)),
    ("lag_seconds", "gauge", "Age difference between the entry read last and the newest one, in seconds.", |s| {
        s.lag_seconds
    }),
    ("in_flight_batches", "gauge", "Batches sent to the server and not acknowledged yet.", |s| {
        s.in_flight.and_then(count)
    }),
    ("duplicate_messages_total", "counter", "Messages dropped because they had been received before.", |s| {
        s.duplicates.and_then(count)
    }),
    ("malformed_entries_total", "counter", "Entries dropped because they are malformed.", |s| {
        s.malformed.and_then(count)
    }),
    ("filtered_messages_total", "counter", "Messages dropped by a filter.", |s| count(s.filtered)),
    ("origins", "gauge", "Origins known: rings that have sent to the stream.", |s| s.origins.and_then(count)),
    ("restarts_total", "counter", "Restarts of the direction after an error.", |s| count(s.restarts)),
];

const OF_SERVERS: [Family<ServerStatus>; 2] = [
    ("server_connected", "gauge", "Whether the server is reachable.", |s| is(s.connected)),
    ("server_lost_connections_total", "counter", "Lost connections to the server.", |s| count(s.lost_connections)),
];

impl Report {
    /// The report in Prometheus' text format.
    pub fn metrics(&self) -> String {
        let mut text = String::new();
        for (name, kind, help, value) in OF_DIRECTIONS {
            let row = |(name, direction, status)| Some((of_direction(name, direction), value(status)?));
            family(&mut text, name, kind, help, self.directions().filter_map(row));
        }
        let help = "Messages lost, by reason, since the state file was begun.";
        family(&mut text, "lost_messages_total", "counter", help, self.directions().flat_map(losses));
        for (name, kind, help, value) in OF_SERVERS {
            let row = |(name, server): (&String, _)| Some((format!("server=\"{}\"", escaped(name)), value(server)?));
            family(&mut text, name, kind, help, self.servers.iter().filter_map(row));
        }
        let start = (format!("version=\"{}\"", self.version), self.started_at);
        let help = "Start time of the process, in seconds since 1970.";
        family(&mut text, "start_time_seconds", "gauge", help, [start]);
        text
    }
}

/// Adds a family: its help and its rows of labels and values; nothing, if there are no rows.
fn family(text: &mut String, name: &str, kind: &str, help: &str, rows: impl IntoIterator<Item = (String, f64)>) {
    let mut rows = rows.into_iter().peekable();
    if rows.peek().is_some() {
        let _ = writeln!(text, "# HELP pubsub_bridge_{name} {help}\n# TYPE pubsub_bridge_{name} {kind}");
    }
    for (labels, value) in rows {
        let _ = writeln!(text, "pubsub_bridge_{name}{{{labels}}} {value}");
    }
}

fn of_direction(name: &str, direction: &str) -> String {
    format!("bridge=\"{}\",direction=\"{direction}\"", escaped(name))
}

/// Losses by reason, including those that are 0, so that the first loss is an increase.
fn losses((name, direction, status): (&str, &str, &Status)) -> Vec<(String, f64)> {
    let mut lost: Lost = reasons_of(direction).map(|reason| (reason.to_owned(), 0)).collect();
    lost.extend(status.lost.clone());
    let labels = of_direction(name, direction);
    let row = |(reason, count): (String, u64)| (format!("{labels},reason=\"{}\"", escaped(&reason)), count as f64);
    lost.into_iter().map(row).collect()
}

/// The reasons for losses of a direction. Down also counts the losses of up.
fn reasons_of(direction: &str) -> impl Iterator<Item = &'static str> {
    let is_up = direction == "up";
    REASONS.iter().map(|(reason, _)| *reason).filter(move |reason| !is_up || !ONLY_DOWN.contains(reason))
}

fn escaped(label: &str) -> String {
    label.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use crate::report::tests::report;

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
}
