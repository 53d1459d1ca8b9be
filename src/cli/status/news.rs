//! What has happened lately, in lines: links, searches with what came of them, drops, transfers.
//!
//! All copies of a descriptor share one line, and so do drops of one kind for one reason: a flood is
//! one line, not thirty.

use super::paint::{BAD, FAINT, GOOD, WARN, plain, styled};
use crate::cli::output::{count, shown};
use ratatui::style::Style;
use ratatui::text::Line;
use serde_json::Value;
use std::collections::VecDeque;

/// Lines kept; more than a screen has.
const MAX_LINES: usize = 300;
/// Lines among which one that is to be added to is looked for.
const MAX_BACK: usize = 100;

/// The latest lines, the oldest first.
#[derive(Debug, Default)]
pub(in crate::cli) struct News {
    lines: VecDeque<Entry>,
}

#[derive(Debug)]
struct Entry {
    /// Seconds of the day, UTC.
    time: u64,
    what: What,
}

#[derive(Debug)]
enum What {
    /// A descriptor of a search, or of its answer.
    Descriptor {
        guid: String,
        kind: String,
        /// The link it came on; `None` is our own.
        from: Option<String>,
        hops: u64,
        copies: u64,
        /// The text of the Query and the number of results, if it was answered.
        answer: Option<(String, u64)>,
    },
    /// Descriptors of one kind that went no further for one reason.
    Drops { refused: bool, kind: String, reason: String, peer: String, count: u64 },
    /// Anything else.
    Text(String, Style),
}

impl News {
    /// Takes a notification in; `now` is Unix time in seconds.
    pub(super) fn note(&mut self, method: &str, params: &Value, now: u64) {
        let time = params["time"].as_u64().map_or(now, |micros| micros / 1_000_000);
        match method {
            "event" => self.note_event(time, params),
            "transfer" => {
                let (way, state) = (text(params, "direction"), text(params, "state"));
                let way = if way == "up" { "upload" } else { "download" };
                let name = text(params, "name");
                let style = match state.as_str() {
                    "done" => GOOD,
                    "failed" => BAD,
                    _ => Style::new(),
                };
                self.text(time, format!("{way} {} \"{name}\": {state}", params["id"]), style);
            }
            "missed" => {
                let missed = params["missed"].as_u64().unwrap_or(0);
                let text = format!("{} too many to show", count(missed, "record", "records"));
                self.text(time, text, WARN);
            }
            _ => {}
        }
    }

    fn note_event(&mut self, time: u64, event: &Value) {
        let peer = text(event, "peer");
        let (kind, guid) = (text(event, "kind"), text(event, "guid"));
        let of_search = ["query", "query_hit", "push"].contains(&kind.as_str());
        match event["event"].as_str().unwrap_or_default() {
            "link_up" => {
                let way = if event["outbound"] == true { "joined" } else { "was joined by" };
                let (role, dialect) = (text(event, "role"), text(event, "dialect"));
                self.text(time, format!("{way} {peer} ({role}, {dialect})"), GOOD);
            }
            "link_down" => {
                self.text(time, format!("lost {peer}: {}", text(event, "reason")), WARN);
            }
            "received" if of_search => {
                let hops = event["hops"].as_u64().unwrap_or(0);
                self.descriptor(time, guid, kind, Some(peer), hops);
            }
            "forwarded" | "originated" if of_search => match self.find(&guid, &kind) {
                Some((copies, _)) => *copies += 1,
                None => {
                    self.descriptor(time, guid.clone(), kind.clone(), None, 0);
                    if let Some((copies, _)) = self.find(&guid, &kind) {
                        *copies = 1;
                    }
                }
            },
            "answered" => {
                let found = event["results"].as_u64().unwrap_or(0);
                if let Some((_, answer)) = self.find(&guid, "query") {
                    *answer = Some((text(event, "criteria"), found));
                }
            }
            name @ ("dropped" | "refused") => {
                self.drop(time, name == "refused", kind, text(event, "reason"), peer);
            }
            _ => {}
        }
    }

    fn descriptor(
        &mut self,
        time: u64,
        guid: String,
        kind: String,
        from: Option<String>,
        hops: u64,
    ) {
        let what = What::Descriptor { guid, kind, from, hops, copies: 0, answer: None };
        self.push(time, what);
    }

    /// Copies and answer of a descriptor that was noted lately.
    fn find(&mut self, of: &str, what: &str) -> Option<(&mut u64, &mut Option<(String, u64)>)> {
        self.lines.iter_mut().rev().take(MAX_BACK).find_map(|entry| match &mut entry.what {
            What::Descriptor { guid, kind, copies, answer, .. } if guid == of && kind == what => {
                Some((copies, answer))
            }
            _ => None,
        })
    }

    fn drop(&mut self, time: u64, refused: bool, kind: String, reason: String, peer: String) {
        let same = |entry: &&mut Entry| match &entry.what {
            What::Drops { refused: it, kind: of, reason: why, .. } => {
                (*it, of, why) == (refused, &kind, &reason)
            }
            _ => false,
        };
        match self.lines.iter_mut().rev().take(MAX_BACK).find(same) {
            Some(Entry { what: What::Drops { count, peer: latest, .. }, .. }) => {
                *count += 1;
                *latest = peer;
            }
            _ => self.push(time, What::Drops { refused, kind, reason, peer, count: 1 }),
        }
    }

    /// Adds a line of its own.
    pub(in crate::cli) fn text(&mut self, time: u64, text: String, style: Style) {
        self.push(time, What::Text(text, style));
    }

    fn push(&mut self, time: u64, what: What) {
        if self.lines.len() == MAX_LINES {
            self.lines.pop_front();
        }
        self.lines.push_back(Entry { time: time % 86_400, what });
    }

    /// The latest lines, at most so many.
    pub(in crate::cli) fn latest(&self, most: usize) -> Vec<Line<'static>> {
        let first = self.lines.len().saturating_sub(most);
        self.lines.iter().skip(first).map(Entry::line).collect()
    }
}

impl Entry {
    fn line(&self) -> Line<'static> {
        let (hour, minute, second) = (self.time / 3_600, self.time / 60 % 60, self.time % 60);
        let time = styled(format!("{hour:02}:{minute:02}:{second:02}  "), FAINT);
        let rest = match &self.what {
            What::Text(text, style) => vec![styled(text.clone(), *style)],
            What::Drops { refused, kind, reason, peer, count } => {
                let (what, peer) = match refused {
                    true => ("not sent", format!("to {peer}")),
                    false => ("dropped", format!("from {peer}")),
                };
                let times = if *count > 1 { format!("{count} × ") } else { String::new() };
                let text = format!(
                    "{what} {times}{} {peer}: {}",
                    kind.replace('_', " "),
                    reason.replace('_', " ")
                );
                vec![styled(text, WARN)]
            }
            What::Descriptor { kind, from, hops, copies, answer, .. } => {
                let kind = kind.replace('_', " ");
                let from = match from {
                    Some(peer) => format!("from {peer}, {}", count(*hops, "hop", "hops")),
                    None => "of our own".to_owned(),
                };
                let mut spans = vec![plain(format!("{kind} {from}"))];
                if *copies > 0 {
                    let links = count(*copies, "link", "links");
                    spans.push(styled(format!(" → {links}"), FAINT));
                }
                if let Some((criteria, results)) = answer {
                    let results = count(*results, "result", "results");
                    spans.push(styled(format!("  \"{criteria}\": {results} from here"), GOOD));
                }
                spans
            }
        };
        Line::from(std::iter::once(time).chain(rest).collect::<Vec<_>>())
    }
}

/// A field as text, escaped for a terminal.
fn text(of: &Value, name: &str) -> String {
    of[name].as_str().map(shown).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_flood_is_one_line_and_so_are_drops_for_one_reason() {
        let mut news = News::default();
        let mut event = |name: &str, peer: &str, rest: Value| {
            let mut event = json!({"event": name, "peer": peer, "guid": "ab", "kind": "query",
                "time": 3_723_000_000u64, "hops": 2});
            for (key, value) in rest.as_object().unwrap() {
                event[key] = value.clone();
            }
            news.note("event", &event, 0);
        };
        event("received", "1.2.3.4:5", json!({}));
        event("received", "1.2.3.4:5", json!({"kind": "ping"}));
        for peer in ["1.2.3.5:5", "1.2.3.6:5"] {
            event("forwarded", peer, json!({}));
            event("dropped", peer, json!({"reason": "duplicate"}));
        }
        event("answered", "", json!({"criteria": "ze\u{1b}bra", "results": 1}));
        event("link_down", "1.2.3.5:5", json!({"reason": "silent"}));
        news.note("missed", &json!({"missed": 3}), 0);
        let lines: Vec<String> = news.latest(9).iter().map(ToString::to_string).collect();
        assert_eq!(
            lines,
            [
                "01:02:03  query from 1.2.3.4:5, 2 hops → 2 links  \"ze\\u{1b}bra\": 1 result from here",
                "01:02:03  dropped 2 × query from 1.2.3.6:5: duplicate",
                "01:02:03  lost 1.2.3.5:5: silent",
                "00:00:00  3 records too many to show",
            ]
        );
        assert_eq!(news.latest(1).len(), 1);
        for _ in 0..2 * MAX_LINES {
            news.text(0, String::new(), WARN);
        }
        assert_eq!(news.lines.len(), MAX_LINES);
    }
}
