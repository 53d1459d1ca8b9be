//! The results of a run, for people and as JSON.

pub use crate::plan::query_report::QueryReport;

use crate::plan::query_report::table;
use crate::plan::trace::Trace;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;

/// The results of a run. Scripts rely on the field names.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Every rule of the protocol was checked, and held. False when the checks were off.
    pub checked: bool,
    /// The seed of the plan.
    pub seed: u64,
    /// A hash of everything that crossed a link or failed, the same on every machine.
    pub trace_hash: String,
    /// Nodes.
    pub nodes: usize,
    /// Links between them.
    pub links: usize,
    /// Each search.
    pub queries: Vec<QueryReport>,
    /// Bytes that crossed links.
    pub bytes: u64,
    /// Descriptors that crossed links.
    pub descriptors: u64,
    /// Descriptors the nodes dropped, by reason.
    pub drops: BTreeMap<&'static str, u64>,
    /// Faults and what mended them, by kind.
    pub faults: BTreeMap<&'static str, u64>,
    /// Copies that were on links when those were reset.
    pub copies_lost: u64,
    /// GUIDs and servent ids held for routing, in all nodes.
    pub routes_held: usize,
    /// Virtual time that passed.
    pub virtual_seconds: f64,
    /// The path of every copy of the first search, if the run was traced.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace: Option<Trace>,
    /// The names of the files of each node, if the run was traced.
    #[serde(skip)]
    pub files: Vec<Vec<String>>,
    /// Real time that passed; filled in by the caller.
    pub real_seconds: f64,
    /// The part of it that searches took; the rest is building the network and taking it down.
    pub search_seconds: f64,
    /// Peak resident memory of the run per node; filled in by the caller, where the system tells it
    /// and there are enough nodes for a meaningful figure.
    pub bytes_per_node: Option<u64>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} nodes, {} links, seed {}: {} {}",
            self.nodes,
            self.links,
            self.seed,
            self.queries.len(),
            if self.queries.len() == 1 { "search" } else { "searches" }
        )?;
        if !self.checked {
            writeln!(f, "oracles off: nothing was checked")?;
        }
        writeln!(f, "{}", table(&self.queries))?;
        writeln!(f, "dropped: {}", listed(&self.drops))?;
        if !self.faults.is_empty() {
            writeln!(
                f,
                "faults: {}; {} copies lost with their link",
                listed(&self.faults),
                self.copies_lost
            )?;
        }
        if let Some(bytes) = self.bytes_per_node {
            writeln!(f, "{bytes} bytes of memory for each node")?;
        }
        writeln!(
            f,
            "{} descriptors, {} bytes, {} routes held",
            self.descriptors, self.bytes, self.routes_held
        )?;
        write!(
            f,
            "{:.1} s of virtual time in {:.2} s, {:.2} of them for searches; trace {}",
            self.virtual_seconds, self.real_seconds, self.search_seconds, self.trace_hash
        )
    }
}

fn listed(counts: &BTreeMap<&'static str, u64>) -> String {
    let each: Vec<String> = counts.iter().map(|(name, count)| format!("{count} {name}")).collect();
    if each.is_empty() { "none".to_owned() } else { each.join(", ") }
}
