//! A page that replays a search: one file with its data, style and program, which loads nothing.

use super::canvas::{HIT, HOPS, PAPER, UNREACHED, escaped, printable};
use super::layout::{self, layout};
use super::rings::Rings;
use super::search::title;
use crate::plan::topology::Graph;
use crate::plan::trace::{Step, Trace};
use std::collections::BTreeMap;
use std::fmt::Write;

/// Largest network that can be replayed: a browser draws each node and copy.
pub const MAX_REPLAYED: usize = 20_000;

/// Names of files that the page shows of a node; it counts the others.
const MAX_SHOWN_FILES: usize = 24;

/// The page, with the names of data between `@@`.
const TEMPLATE: &str = include_str!("page.html");

/// The page that replays `trace` over `graph`; `files` has the names of the files of each node.
pub fn page(graph: &Graph, trace: &Trace, files: &[Vec<String>]) -> String {
    let mut out = String::new();
    for (number, part) in TEMPLATE.split("@@").enumerate() {
        match (number % 2 == 1, part) {
            (true, "title") => out.push_str(&escaped(&title(trace))),
            (true, "data") => data(&mut out, graph, trace, files),
            _ => out.push_str(part),
        }
    }
    out
}

/// The replayed search as JSON.
fn data(out: &mut String, graph: &Graph, trace: &Trace, files: &[Vec<String>]) {
    let (places, size, radius) = if graph.names.len() > layout::MAX_SINGLE {
        (Rings::new(graph, trace).places, Rings::SIZE, 2.0)
    } else {
        let layout = layout(graph);
        (layout.places, layout.size, layout.radius)
    };
    let _ = write!(
        out,
        "{{\"width\":{:.1},\"height\":{:.1},\"radius\":{radius:.1},\"unreached\":\"{UNREACHED}\",\
         \"hit\":\"{HIT}\",\"paper\":\"{PAPER}\",\"hops\":[",
        size.0, size.1
    );
    list(out, HOPS, string);
    out.push_str("],\n\"nodes\":[");
    list(out, graph.names.iter().enumerate(), |out, (node, name)| {
        out.push_str("\n[");
        string(out, name);
        let files = files.get(node).map_or(&[][..], Vec::as_slice);
        let _ = write!(out, ",{:.1},{:.1},{},[", places[node].0, places[node].1, files.len());
        list(out, files.iter().take(MAX_SHOWN_FILES), |out, file| string(out, file));
        out.push_str("]]");
    });
    out.push_str("],\n\"edges\":[");
    list(out, &graph.edges, |out, (a, b)| {
        let _ = write!(out, "[{a},{b}]");
    });
    let numbers = graph.numbers();
    let _ = write!(
        out,
        "],\n\"origin\":{},\n\"steps\":[",
        numbers.get(trace.from.as_str()).copied().unwrap_or(0)
    );
    list(out, moves(trace), |out, Move { kind, sent, step }| {
        let [from, to] =
            [&step.from, &step.to].map(|name| numbers.get(name.as_str()).copied().unwrap_or(0));
        let (arrived, ttl, hop) = (step.micros, step.ttl, step.hop());
        let _ = write!(out, "\n[{},{from},{to},{sent},{arrived},{ttl},{hop}]", kind as u8);
    });
    out.push_str("]}");
}

/// What a step of the replay shows; its number is in the page's data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    First = 0,
    Duplicate = 1,
    Hit = 2,
}

/// A step and when it began, in microseconds since the search.
struct Move<'a> {
    kind: Kind,
    sent: u64,
    step: &'a Step,
}

/// All steps by arrival. A descriptor is sent when its sender had received what made it do so.
fn moves(trace: &Trace) -> Vec<Move<'_>> {
    let mut query_at = BTreeMap::from([(trace.from.as_str(), 0)]);
    for step in trace.copies.iter().filter(|step| !step.duplicate) {
        query_at.entry(step.to.as_str()).or_insert(step.micros);
    }
    let mut moves = Vec::new();
    for step in &trace.copies {
        let sent = query_at.get(step.from.as_str()).copied().unwrap_or(0).min(step.micros);
        let kind = if step.duplicate { Kind::Duplicate } else { Kind::First };
        moves.push(Move { kind, sent, step });
    }
    // Arrivals of hits by node and hops: a hit is passed on with one hop more.
    let mut hit_at: BTreeMap<(&str, u8), u64> = BTreeMap::new();
    for step in &trace.hits {
        let before = step
            .hops
            .checked_sub(1)
            .and_then(|hops| hit_at.get(&(step.from.as_str(), hops)).copied());
        let own = query_at.get(step.from.as_str()).copied();
        let sent = before.or(own).unwrap_or(0).min(step.micros);
        hit_at.insert((step.to.as_str(), step.hops), step.micros);
        moves.push(Move { kind: Kind::Hit, sent, step });
    }
    moves.sort_by_key(|it| (it.step.micros, it.step.hops));
    moves
}

/// Writes `items` with commas between them.
fn list<T>(
    out: &mut String,
    items: impl IntoIterator<Item = T>,
    mut write: impl FnMut(&mut String, T),
) {
    for (number, item) in items.into_iter().enumerate() {
        if number > 0 {
            out.push(',');
        }
        write(out, item);
    }
}

/// Writes a JSON string that cannot end the element it is in.
fn string(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars().map(printable) {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '<' => out.push_str("\\u003c"),
            c => out.push(c),
        }
    }
    out.push('"');
}
