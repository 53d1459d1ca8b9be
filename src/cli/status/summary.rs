//! One screen about a servent: its address, links, rates, searches, share, transfers and limits.

use super::paint::{BAD, FAINT, GOOD, TITLE, WARN, bar, columns, plain, styled};
use super::transfers;
use crate::cli::output::{count, shown};
use crate::control::results::{LimitRow, Reachable, Status, TransferRow, TransferState};
use indicatif::{HumanBytes, HumanCount};
use ratatui::text::{Line, Span};
use std::collections::BTreeMap;
use std::time::Duration;

/// Columns of the words on the left.
const LABEL: usize = 13;
/// Columns of the bar of a limit.
const BAR: usize = 12;
/// Share of a limit from which on it is shown, in percent.
const NEAR_PERCENT: u128 = 80;
/// Columns of text where stdout is no terminal.
const USUAL_WIDTH: usize = 100;
/// Transfers shown; `transfers` lists all.
const MAX_TRANSFERS: usize = 8;

/// Changes per second, between two answers.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Rates {
    /// Bytes read.
    pub(super) bytes_in: u64,
    /// Bytes written.
    pub(super) bytes_out: u64,
    /// Descriptors received.
    pub(super) received: f64,
    /// Queries received.
    pub(super) queries: f64,
}

impl Rates {
    /// Of two answers so far apart.
    pub(super) fn between(old: &Status, new: &Status, apart: Duration) -> Rates {
        let received = |status: &Status| status.descriptors.received.values().sum::<u64>();
        let queries =
            |status: &Status| status.descriptors.received.get("query").copied().unwrap_or(0);
        Rates {
            bytes_in: bytes_per_second(new.bytes_in.saturating_sub(old.bytes_in), apart),
            bytes_out: bytes_per_second(new.bytes_out.saturating_sub(old.bytes_out), apart),
            received: per_second(received(new).saturating_sub(received(old)), apart),
            queries: per_second(queries(new).saturating_sub(queries(old)), apart),
        }
    }
}

fn bytes_per_second(bytes: u64, apart: Duration) -> u64 {
    let rate = u128::from(bytes) * 1000 / apart.as_millis().max(1);
    u64::try_from(rate).unwrap_or(u64::MAX)
}

/// So many within that time, each second.
pub(super) fn per_second(count: u64, apart: Duration) -> f64 {
    count as f64 / apart.as_secs_f64().max(0.001)
}

/// What the screen shows.
#[derive(Clone, Debug, Default)]
pub(super) struct Snapshot {
    pub(super) status: Status,
    pub(super) transfers: Vec<TransferRow>,
    pub(super) limits: Vec<LimitRow>,
}

/// The whole screen.
pub(super) fn screen(now: &Snapshot, rates: &Rates, width: Option<usize>) -> Vec<Line<'static>> {
    let mut lines = head(&now.status, rates, width.unwrap_or(USUAL_WIDTH));
    lines.extend(of_transfers(&now.status, &now.transfers));
    lines.extend(near_limits(&now.limits));
    lines
}

/// All but transfers and limits.
pub(super) fn head(status: &Status, rates: &Rates, width: usize) -> Vec<Line<'static>> {
    let up = age(status.uptime_s);
    let mut lines = vec![Line::from(vec![
        styled(status.listen.clone(), TITLE),
        plain(format!("  servent {}, {}, up {up}", status.version, status.role)),
    ])];
    lines.extend(reachability(status.advertise.as_deref(), &status.reachable, width));
    let links = &status.links;
    let leaves = match links.leaves {
        0 => String::new(),
        leaves => format!(", {}", count(leaves as u64, "leaf", "leaves")),
    };
    let text = format!("{} in, {} out, of {}{leaves}", links.inbound, links.out, links.max);
    let none = links.inbound + links.out + links.leaves == 0;
    let style = if none { WARN } else { ratatui::style::Style::new() };
    lines.push(row("links", vec![styled(text, style)]));
    lines.push(traffic(status, rates));
    lines.push(descriptors(status, rates));
    lines.push(row(
        "searches",
        vec![
            plain(format!("{} answered", HumanCount(status.searches_answered))),
            styled(format!(", {:.1} received per second", rates.queries), FAINT),
        ],
    ));
    lines.push(row("hosts", vec![plain(format!("{} known", HumanCount(status.hosts as u64)))]));
    let share = &status.share;
    let (files, bytes) = (count(share.files, "file", "files"), HumanBytes(share.bytes));
    let served = count(status.files_served, "file", "files");
    let mut spans = vec![plain(format!("{files}, {bytes}"))];
    spans.push(styled(format!(", {served} sent in full"), FAINT));
    lines.push(row("share", spans));
    lines.extend(
        status.http.as_ref().map(|http| row("page", vec![plain(format!("http://{http}/"))])),
    );
    lines
}

fn row(label: &str, mut spans: Vec<Span<'static>>) -> Line<'static> {
    spans.insert(0, styled(format!("{label:<LABEL$}"), FAINT));
    Line::from(spans)
}

fn reachability(advertise: Option<&str>, seen: &Reachable, width: usize) -> Vec<Line<'static>> {
    let (word, style) = match seen.inbound_seen {
        true => ("reachable", GOOD),
        false => ("not reached", WARN),
    };
    let mut spans = vec![styled(format!("{word:<LABEL$}"), style)];
    let mut reason = wrapped(&shown(&seen.reason), width.saturating_sub(LABEL).max(20)).into_iter();
    spans.extend(reason.next().map(plain));
    let mut lines = vec![Line::from(spans)];
    lines.extend(reason.map(|text| row("", vec![plain(text)])));
    if let Some(addr) = advertise {
        let others: Vec<String> = seen
            .seen_as
            .iter()
            .filter(|it| !addr.starts_with(it.as_str()))
            .map(|it| shown(it))
            .collect();
        let mut spans = vec![plain(shown(addr))];
        if !others.is_empty() {
            spans.push(styled(format!("; neighbours see {}", others.join(", ")), WARN));
        }
        lines.push(row("advertised", spans));
    }
    lines
}

fn traffic(status: &Status, rates: &Rates) -> Line<'static> {
    let rate = HumanBytes;
    let (bytes_in, bytes_out) = (HumanBytes(status.bytes_in), HumanBytes(status.bytes_out));
    row(
        "traffic",
        vec![
            plain(format!("{}/s in, {}/s out", rate(rates.bytes_in), rate(rates.bytes_out))),
            styled(format!(", {bytes_in} and {bytes_out} in all"), FAINT),
        ],
    )
}

fn descriptors(status: &Status, rates: &Rates) -> Line<'static> {
    let sum = |counts: &BTreeMap<String, u64>| counts.values().sum::<u64>();
    let (received, dropped) = (sum(&status.descriptors.received), sum(&status.descriptors.dropped));
    let mut spans = vec![
        plain(format!("{} received", HumanCount(received))),
        styled(format!(", {:.1} per second", rates.received), FAINT),
        plain(format!("; {} dropped", HumanCount(dropped))),
    ];
    let most = status.descriptors.dropped.iter().max_by_key(|(_, count)| **count);
    if let Some((reason, count)) = most.filter(|(_, count)| **count > 0) {
        let reason = shown(&reason.replace('_', " "));
        spans.push(styled(format!(", most: {reason} ({})", HumanCount(*count)), FAINT));
    }
    row("descriptors", spans)
}

/// Transfers that are not over, with bars.
pub(super) fn of_transfers(status: &Status, rows: &[TransferRow]) -> Vec<Line<'static>> {
    let counts = &status.transfers;
    let text = format!("{} up, {} down, {} queued", counts.up, counts.down, counts.queued);
    let mut lines = vec![row("transfers", vec![plain(text)])];
    let open = |row: &&TransferRow| row.state != TransferState::Done;
    let more = rows.iter().filter(open).count().saturating_sub(MAX_TRANSFERS);
    lines.extend(rows.iter().filter(open).take(MAX_TRANSFERS).flat_map(transfers::lines_of));
    if more > 0 {
        lines.push(row("", vec![styled(format!("and {more} more"), FAINT)]));
    }
    lines
}

/// Limits near their end.
pub(super) fn near_limits(limits: &[LimitRow]) -> Vec<Line<'static>> {
    let percent = |it: &LimitRow| u128::from(it.used) * 100 / u128::from(it.limit.max(1));
    let mut near: Vec<&LimitRow> =
        limits.iter().filter(|it| it.limit > 0 && percent(it) >= NEAR_PERCENT).collect();
    near.sort_by_key(|it| std::cmp::Reverse(percent(it)));
    let line = |(at, it): (usize, &LimitRow)| {
        let style = if it.used >= it.limit { BAD } else { WARN };
        let (used, limit) = (HumanCount(it.used), HumanCount(it.limit));
        row(
            if at == 0 { "near limits" } else { "" },
            vec![
                styled(bar(it.used, it.limit, BAR), style),
                plain(format!(" {}: {used} of {limit}", shown(&it.name.replace('_', " ")))),
            ],
        )
    };
    near.into_iter().enumerate().map(line).collect()
}

/// A time such as `2 h 14 min`.
pub(super) fn age(seconds: f64) -> String {
    let seconds = Duration::try_from_secs_f64(seconds).unwrap_or_default().as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    match (minutes, hours, days) {
        (0, ..) => format!("{seconds} s"),
        (_, 0, _) => format!("{minutes} min"),
        (_, _, 0) => format!("{hours} h {} min", minutes % 60),
        _ => format!("{days} d {} h", hours % 24),
    }
}

/// Words in lines of at most `width` columns; a longer word has a line of its own.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if columns(line) + 1 + columns(word) <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(lines: &[Line<'_>]) -> String {
        lines.iter().map(|line| line.to_string() + "\n").collect()
    }

    #[test]
    fn the_screen_has_what_a_user_asks_for() {
        let mut now = Snapshot::default();
        now.status.listen = "127.0.0.1:6346".into();
        now.status.uptime_s = 7_260.0;
        now.status.links.inbound = 3;
        now.status.reachable.reason =
            "nobody has connected \u{1b}[2Jyet: ".to_owned() + &"x ".repeat(80);
        now.status.descriptors.dropped.insert("duplicate".into(), 12_345);
        let limit = |name: &str, used, limit| LimitRow { name: name.into(), used, limit };
        now.limits = vec![limit("far", 1, 10), limit("near_it", 9, 10), limit("off", 0, 0)];
        now.transfers = vec![TransferRow {
            id: 7,
            direction: "down".into(),
            name: "a\u{202e}b".into(),
            size: Some(200),
            done: 100,
            state: TransferState::Waiting,
            error: Some("the source is busy".into()),
            next_try_s: Some(2.5),
            ..TransferRow::default()
        }];
        let shown = text(&screen(&now, &Rates::default(), Some(80)));
        for part in [
            "127.0.0.1:6346",
            "up 2 h 1 min",
            "not reached",
            "3 in, 0 out",
            "duplicate (12,345)",
            "near it: 9 of 10",
            "██████░░░░░░ 50 %",
            "the source is busy; next try in 3 s",
        ] {
            assert!(shown.contains(part), "{part} is missing:\n{shown}");
        }
        assert!(!shown.contains("far") && !shown.contains("off"), "{shown}");
        assert!(shown.chars().all(|c| c == '\n' || !c.is_control() && c != '\u{202e}'), "{shown}");
        let reason = reachability(None, &now.status.reachable, 80);
        assert!(reason.len() > 2 && reason.iter().all(|line| line.width() <= 80), "{reason:?}");
    }

    #[test]
    fn rates_are_differences_over_time() {
        let old = Status { bytes_in: 100, ..Status::default() };
        let mut new = Status { bytes_in: 300, ..Status::default() };
        new.descriptors.received.insert("query".into(), 4);
        let rates = Rates::between(&old, &new, Duration::from_secs(2));
        assert_eq!((rates.bytes_in, rates.queries, rates.bytes_out), (100, 2.0, 0));
    }
}
