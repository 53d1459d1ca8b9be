//! The trace of one Query: every copy of it and every hit, by time, shown as a tree or for Graphviz.

use super::topology::Graph;
use crate::wire::{Header, Kind};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::time::Duration;

/// The copies and hits of one Query in a network.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Trace {
    /// The name of the node that searched.
    pub from: String,
    /// The search text.
    pub criteria: String,
    /// Copies of the Query, in order of arrival.
    pub copies: Vec<Step>,
    /// QueryHits on the reverse path, in order of arrival.
    pub hits: Vec<Step>,
}

/// A descriptor that crossed a link.
#[derive(Clone, Debug, Serialize)]
pub struct Step {
    /// Arrival in microseconds since the search.
    pub micros: u64,
    /// Name of the sending node.
    pub from: String,
    /// Name of the receiving node.
    pub to: String,
    /// TTL on the link.
    pub ttl: u8,
    /// Hops in the header on the link: links crossed before this one. Text and pictures show
    /// [`Step::hop`].
    pub hops: u8,
    /// The node had received it before, or originated it.
    pub duplicate: bool,
}

impl Step {
    /// Links crossed, this one included.
    pub fn hop(&self) -> u8 {
        self.hops.saturating_add(1)
    }
}

/// The first copy at a node, and the nodes whose first copy came from it.
struct Branch<'a> {
    step: &'a Step,
    children: Vec<&'a str>,
}

impl Trace {
    /// Adds a Query or QueryHit that crossed a link; `first` says whether a Query was new to the receiver.
    pub(crate) fn note(
        &mut self,
        after: Duration,
        from: &str,
        to: &str,
        header: &Header,
        first: bool,
    ) {
        let steps = match header.kind {
            Kind::Query => &mut self.copies,
            Kind::QueryHit => &mut self.hits,
            _ => return,
        };
        steps.push(Step {
            micros: u64::try_from(after.as_micros()).unwrap_or(u64::MAX),
            from: from.to_owned(),
            to: to.to_owned(),
            ttl: header.ttl,
            hops: header.hops,
            duplicate: header.kind == Kind::Query && !first,
        });
    }

    /// One line for the first copy at each node, indented by its path, with arrival, TTL and hops.
    pub fn tree(&self) -> String {
        let mut out = format!("node {} searches for \"{}\"\n", self.from, self.criteria);
        let branches = self.branches();
        let mut stack: Vec<(&str, usize)> = Vec::new();
        let children = |name: &str| -> Vec<&str> {
            branches.get(name).map(|b| b.children.clone()).unwrap_or_default()
        };
        stack.extend(self.roots().into_iter().rev().map(|name| (name, 1)));
        while let Some((name, depth)) = stack.pop() {
            let Some(branch) = branches.get(name) else { continue };
            let Step { micros, ttl, .. } = branch.step;
            let mut notes = String::new();
            let doubles = self.doubles_from(name);
            if doubles > 0 {
                let were = if doubles == 1 { "was a duplicate" } else { "were duplicates" };
                let _ = write!(notes, ", {doubles} of the copies it sent {were}");
            }
            if self.answers_of(name) > 0 {
                notes.push_str(", answers");
            }
            if *ttl == 1 {
                notes.push_str(", the TTL ends here");
            }
            let (indent, at) = ("  ".repeat(depth), in_words(*micros));
            let hops = branch.step.hop();
            let unit = if hops == 1 { "hop" } else { "hops" };
            let _ = writeln!(out, "{indent}{name}  {at}, TTL {ttl}, {hops} {unit}{notes}");
            stack.extend(children(name).into_iter().rev().map(|child| (child, depth + 1)));
        }
        for way in self.hit_paths() {
            let _ = writeln!(out, "hit: {}", way.join(" → "));
        }
        out
    }

    /// For Graphviz: the flood solid, duplicates dotted, hits bold; labels are TTL and hop.
    pub fn dot(&self) -> String {
        let mut out = String::from("digraph search {\n  node [shape=circle];\n");
        let _ = writeln!(out, "  {} [style=filled, fillcolor=gold];", quoted(&self.from));
        for step in &self.copies {
            let style = if step.duplicate { "style=dotted, color=gray" } else { "color=steelblue" };
            let label = format!("label=\"{}/{}\"", step.ttl, step.hop());
            let (from, to) = (quoted(&step.from), quoted(&step.to));
            let _ = writeln!(out, "  {from} -> {to} [{style}, {label}];");
        }
        for step in &self.hits {
            let (from, to) = (quoted(&step.from), quoted(&step.to));
            let _ = writeln!(out, "  {from} -> {to} [style=bold, color=crimson];");
        }
        out.push_str("}\n");
        out
    }

    /// The path of every hit, from the node that answered to the one that searched.
    pub fn hit_paths(&self) -> Vec<Vec<&str>> {
        let first_from: BTreeMap<&str, &str> = self
            .copies
            .iter()
            .filter(|step| !step.duplicate)
            .map(|step| (step.to.as_str(), step.from.as_str()))
            .collect();
        let starts = self.hits.iter().filter(|step| step.hops == 0);
        starts
            .map(|step| {
                let mut way = vec![step.from.as_str()];
                while let Some(&next) = way.last().and_then(|name| first_from.get(name)) {
                    way.push(next);
                }
                way
            })
            .collect()
    }

    /// The nodes that answered.
    pub(crate) fn answering(&self) -> BTreeSet<&str> {
        let starts = self.hits.iter().filter(|step| step.hops == 0);
        starts.map(|step| step.from.as_str()).collect()
    }

    fn branches(&self) -> BTreeMap<&str, Branch<'_>> {
        let firsts = || self.copies.iter().filter(|step| !step.duplicate);
        let mut branches: BTreeMap<&str, Branch<'_>> = firsts()
            .map(|step| (step.to.as_str(), Branch { step, children: Vec::new() }))
            .collect();
        for step in firsts() {
            if let Some(branch) = branches.get_mut(step.from.as_str()) {
                branch.children.push(&step.to);
            }
        }
        branches
    }

    /// The nodes whose first copy came from the origin.
    fn roots(&self) -> Vec<&str> {
        let firsts = self.copies.iter().filter(|step| !step.duplicate && step.from == self.from);
        firsts.map(|step| step.to.as_str()).collect()
    }

    fn doubles_from(&self, name: &str) -> usize {
        self.copies.iter().filter(|step| step.duplicate && step.from == name).count()
    }

    fn answers_of(&self, name: &str) -> usize {
        self.hits.iter().filter(|step| step.hops == 0 && step.from == name).count()
    }

    /// Hops at which each node of `graph` was reached; `None` if it was not.
    pub(crate) fn reached_at(&self, graph: &Graph) -> Vec<Option<u8>> {
        let at: BTreeMap<&str, u8> = self
            .copies
            .iter()
            .filter(|step| !step.duplicate)
            .map(|step| (step.to.as_str(), step.hop()))
            .collect();
        graph
            .names
            .iter()
            .map(|name| if *name == self.from { Some(0) } else { at.get(name.as_str()).copied() })
            .collect()
    }
}

/// A time with its unit and two or three significant digits.
fn in_words(micros: u64) -> String {
    match micros {
        0..1_000 => format!("{micros} µs"),
        1_000..10_000 => format!("{:.1} ms", micros as f64 / 1e3),
        10_000..1_000_000 => format!("{} ms", micros / 1_000),
        _ => format!("{:.1} s", micros as f64 / 1e6),
    }
}

/// A name quoted for Graphviz.
pub(crate) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\""))
}
