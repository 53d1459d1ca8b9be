//! `/metrics`: everything that is counted, in the text format 0.0.4 of Prometheus or in OpenMetrics 1.0.
//!
//! Both formats are written from one description of each metric. Every kind and every reason is there
//! from the start, with 0, so that a rate over them misses no first increase. Labels have no text of
//! the network: their values are as few as this program names.

use super::views::{KINDS, snake};
use crate::control::results::{LimitRow, LinkCounts};
use crate::driver::TurnTimes;
use crate::http::Counts;
use crate::servent::Servent;
use crate::stats::{DropReason, PerKind};
use std::fmt::{Display, Write};

/// What the metrics tell of.
pub(super) struct Measured<'a> {
    pub(super) core: &'a Servent,
    pub(super) turns: &'a TurnTimes,
    pub(super) links: LinkCounts,
    pub(super) limits: &'a [LimitRow],
    /// Transfers by direction and state.
    pub(super) transfers: &'a [(&'static str, &'static str, usize)],
    pub(super) http: Counts,
    /// Unix time of the start, in seconds.
    pub(super) started: f64,
}

/// The kind of a metric; a counter never shrinks.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Counter,
    Gauge,
}

/// Writes metrics in one of the two formats.
struct Text {
    out: String,
    open: bool,
}

impl Text {
    /// The lines before the samples of a metric. `name` is without `_total`.
    fn about(&mut self, name: &str, kind: &str, unit: Option<&str>, help: &str) {
        // 0.0.4 describes the samples, OpenMetrics the family they belong to.
        let suffix = if kind == "counter" && !self.open { "_total" } else { "" };
        self.line(format_args!("# HELP {name}{suffix} {help}"));
        self.line(format_args!("# TYPE {name}{suffix} {kind}"));
        if let Some(unit) = unit.filter(|_| self.open) {
            self.line(format_args!("# UNIT {name} {unit}"));
        }
    }

    /// A metric with samples that differ in one label, or in several: `labels` is as it is written.
    fn family<L: Display, V: Display>(
        &mut self,
        (name, kind): (&str, Kind),
        help: &str,
        samples: impl IntoIterator<Item = (L, V)>,
    ) {
        let unit = ["bytes", "seconds"].into_iter().find(|unit| name.ends_with(unit));
        let (word, suffix) = match kind {
            Kind::Counter => ("counter", "_total"),
            Kind::Gauge => ("gauge", ""),
        };
        self.about(name, word, unit, help);
        for (labels, value) in samples {
            self.line(format_args!("{name}{suffix}{labels} {value}"));
        }
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.family((name, Kind::Counter), help, [("", value)]);
    }

    fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.family((name, Kind::Gauge), help, [("", value)]);
    }

    fn by_kind(&mut self, name: &str, help: &str, counts: &PerKind) {
        let samples = KINDS.map(|(kind, code)| (label("kind", kind), counts.get(code)));
        self.family((name, Kind::Counter), help, samples);
    }

    fn turns(&mut self, turns: &TurnTimes) {
        let name = "servent_turn_seconds";
        let help =
            "Time of a turn of the event loop, from the end of the wait to the end of the turn.";
        self.about(name, "histogram", Some("seconds"), help);
        for (micros, count) in turns.cumulative() {
            // Shortest decimal form: 0.00001, 0.3, 1.0.
            let bound = format!("{:?}", micros as f64 / 1e6);
            let bound =
                if bound.contains('e') { format!("{:.5}", micros as f64 / 1e6) } else { bound };
            self.line(format_args!("{name}_bucket{{le=\"{bound}\"}} {count}"));
        }
        let (count, sum) = (turns.count(), turns.sum().as_secs_f64());
        self.line(format_args!("{name}_bucket{{le=\"+Inf\"}} {count}"));
        self.line(format_args!("{name}_sum {sum}"));
        self.line(format_args!("{name}_count {count}"));
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        // Writing to a string does not fail.
        let _ = writeln!(self.out, "{line}");
    }
}

fn label(name: &str, value: &str) -> String {
    format!("{{{name}=\"{value}\"}}")
}

/// All metrics, in OpenMetrics or in text format 0.0.4.
pub(super) fn text(measured: &Measured<'_>, open: bool) -> String {
    let mut text = Text { out: String::with_capacity(16 * 1024), open };
    let version = label("version", env!("CARGO_PKG_VERSION"));
    text.family(
        ("servent_build_info", Kind::Gauge),
        "The version of this servent; always 1.",
        [(version, 1)],
    );
    let help = "Start of the process, in seconds of Unix time.";
    text.gauge("process_start_time_seconds", help, measured.started);
    descriptors(&mut text, measured.core);
    network(&mut text, measured);
    let by_limit = |value: fn(&LimitRow) -> u64| {
        measured.limits.iter().map(move |row| (label("name", &row.name), value(row)))
    };
    let help = "What is used of each limited table and queue.";
    text.family(("servent_limit_used", Kind::Gauge), help, by_limit(|row| row.used));
    let help = "How much each limited table and queue may hold.";
    text.family(("servent_limit", Kind::Gauge), help, by_limit(|row| row.limit));
    text.turns(measured.turns);
    let Counts { requests, refused, missed, clients } = measured.http;
    text.counter("servent_http_requests", "Requests to the page and the metrics.", requests);
    let help = "Connections to the page and the metrics turned away for lack of room.";
    text.counter("servent_http_refused", help, refused);
    let help = "Records that listeners of /events did not get because they did not keep up.";
    text.counter("servent_http_records_missed", help, missed);
    text.gauge("servent_http_clients", "Connections to the page and the metrics.", clients);
    if open {
        text.out.push_str("# EOF\n");
    }
    text.out
}

fn descriptors(text: &mut Text, core: &Servent) {
    let stats = core.stats();
    let by_kind: [(&str, &str, &PerKind); 4] = [
        ("received", "Descriptors that arrived.", &stats.received),
        ("forwarded", "Copies queued to a neighbour on behalf of others.", &stats.forwarded),
        (
            "originated",
            "Copies of this servent's own making queued to a neighbour.",
            &stats.originated,
        ),
        (
            "delivered",
            "Descriptors for this servent: Queries looked up, replies to its own requests.",
            &stats.delivered,
        ),
    ];
    for (what, help, counts) in by_kind {
        text.by_kind(&format!("servent_descriptors_{what}"), help, counts);
    }
    let help = "Queued copies that left their send queue.";
    text.counter("servent_descriptors_sent", help, stats.sent);
    let dropped = DropReason::ALL.map(|why| (label("reason", &snake(why)), stats.dropped(why)));
    let help = "Copies that were dropped.";
    text.family(("servent_descriptors_dropped", Kind::Counter), help, dropped);
    let help = "Copies that are queued and not sent to their last byte.";
    text.gauge("servent_descriptors_queued", help, core.copies_queued());
    let help = "Queries of others answered with at least one result.";
    text.counter("servent_queries_answered", help, stats.queries_answered);
    let help = "Work that descriptors of neighbours caused, in units of about 80 instructions.";
    text.counter("servent_work", help, stats.work);
}

fn network(text: &mut Text, measured: &Measured<'_>) {
    let (core, stats) = (measured.core, measured.core.stats());
    let LinkCounts { inbound, out, leaves, .. } = measured.links;
    text.family(
        ("servent_links", Kind::Gauge),
        "Links that stand; leaves are counted apart.",
        [("in", inbound), ("out", out), ("leaf", leaves)]
            .map(|(direction, count)| (label("direction", direction), count)),
    );
    text.family(
        ("servent_network_bytes", Kind::Counter),
        "Bytes read from and written to all sockets of the network.",
        [("in", stats.bytes_in), ("out", stats.bytes_out)]
            .map(|(direction, count)| (label("direction", direction), count)),
    );
    text.counter("servent_network_writes", "Writes to these sockets.", stats.writes);
    let queued: usize = core.neighbours().map(|link| core.unsent_bytes(link.conn)).sum();
    text.gauge("servent_queued_bytes", "Bytes that wait to be sent on links.", queued);
    text.gauge("servent_timers", "Deadlines waited for.", core.timers_held());
    text.gauge("servent_hosts", "Hosts that may be dialled.", core.hosts().len());
    let library = core.library();
    text.gauge("servent_shared_files", "Files that are shared.", library.len());
    text.gauge("servent_shared_bytes", "Bytes of these files.", library.total_bytes());
    text.counter("servent_files_served", "Files sent in full.", stats.files_served);
    let transfers = measured.transfers.iter().map(|(direction, state, count)| {
        (format!("{{direction=\"{direction}\",state=\"{state}\"}}"), *count)
    });
    let help = "Uploads, and downloads of the list.";
    text.family(("servent_transfers", Kind::Gauge), help, transfers);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::library::Library;
    use crate::time::Instant;
    use crate::wire::ServentId;
    use std::sync::Arc;

    fn sample(open: bool) -> String {
        let (config, library) = (Arc::new(Config::default()), Arc::new(Library::empty()));
        let core = Servent::new(config, library, ServentId([1; 16]), 1, Instant::ZERO);
        let row = LimitRow { name: "links".into(), used: 3, limit: 32 };
        let measured = Measured {
            core: &core,
            turns: &TurnTimes::default(),
            links: LinkCounts { inbound: 2, out: 1, leaves: 0, max: 32 },
            limits: &[row],
            transfers: &[("up", "active", 1)],
            http: Counts { requests: 4, ..Counts::default() },
            started: 1_700_000_000.25,
        };
        text(&measured, open)
    }

    #[test]
    fn both_formats_have_the_same_samples() {
        let (old, new) = (sample(false), sample(true));
        let samples = |text: &str| -> Vec<String> {
            text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect()
        };
        assert_eq!(samples(&old), samples(&new));
        assert!(new.ends_with("# EOF\n") && !old.contains("EOF") && !old.contains("# UNIT"));
        for line in [
            "# TYPE servent_descriptors_received_total counter",
            "servent_descriptors_received_total{kind=\"query_hit\"} 0",
            "servent_descriptors_received_total{kind=\"other\"} 0",
            "servent_descriptors_dropped_total{reason=\"ttl_spent\"} 0",
            "servent_links{direction=\"in\"} 2",
            "servent_links{direction=\"leaf\"} 0",
            "servent_limit_used{name=\"links\"} 3",
            "servent_limit{name=\"links\"} 32",
            "servent_turn_seconds_bucket{le=\"0.00001\"} 0",
            "servent_turn_seconds_bucket{le=\"0.3\"} 0",
            "servent_turn_seconds_bucket{le=\"+Inf\"} 0",
            "process_start_time_seconds 1700000000.25",
            concat!("servent_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1"),
        ] {
            assert!(old.lines().any(|it| it == line), "{line} is not in\n{old}");
        }
        for line in [
            "# TYPE servent_descriptors_received counter",
            "# TYPE servent_turn_seconds histogram",
            "# UNIT servent_turn_seconds seconds",
            "# UNIT servent_network_bytes bytes",
        ] {
            assert!(new.lines().any(|it| it == line), "{line} is not in\n{new}");
        }
        for reason in DropReason::ALL {
            let line =
                format!("servent_descriptors_dropped_total{{reason=\"{}\"}} 0", snake(reason));
            assert!(old.lines().any(|it| it == line), "{line}");
        }
    }
}
