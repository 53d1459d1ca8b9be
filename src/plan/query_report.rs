//! Reach and cost of one search.

use super::trace::Trace;
use serde::Serialize;
use std::fmt::Write;

/// The figures of one search.
#[derive(Clone, Debug, Default, Serialize)]
pub struct QueryReport {
    /// Name of the node that searched.
    pub from: String,
    /// Its TTL.
    pub ttl: u8,
    /// Number of other nodes it reached.
    pub reached: u64,
    /// Copies that crossed a link.
    pub query_descriptors: u64,
    /// Copies that reached a node which had it before.
    pub duplicates: u64,
    /// Results that arrived at the searching node.
    pub hits: u64,
    /// Descriptors that crossed links for it, copies and hits; 0 if that was not counted.
    pub descriptors: u64,
    /// Bytes of these.
    pub bytes: u64,
    /// Nodes reached, by number of links crossed from 1 on.
    pub reach_per_hop: Vec<u64>,
}

impl QueryReport {
    /// The figures of a traced search with this TTL and number of results.
    pub fn of(trace: &Trace, ttl: u8, hits: u64) -> QueryReport {
        let copies = trace.copies.len() as u64;
        let duplicates = trace.copies.iter().filter(|step| step.duplicate).count() as u64;
        let mut reach_per_hop = Vec::new();
        for step in trace.copies.iter().filter(|step| !step.duplicate) {
            let hop = usize::from(step.hops);
            reach_per_hop.resize(reach_per_hop.len().max(hop + 1), 0);
            reach_per_hop[hop] += 1;
        }
        QueryReport {
            from: trace.from.clone(),
            ttl,
            reached: copies - duplicates,
            query_descriptors: copies,
            duplicates,
            hits,
            reach_per_hop,
            ..QueryReport::default()
        }
    }
}

/// A table of searches.
pub fn table(queries: &[QueryReport]) -> String {
    let mut out = format!(
        "{:>8} {:>4} {:>9} {:>9} {:>9} {:>6}  reached per hop",
        "FROM", "TTL", "REACHED", "COPIES", "DUPLICATE", "HITS"
    );
    for query in queries {
        let per_hop: Vec<String> = query.reach_per_hop.iter().map(u64::to_string).collect();
        let _ = write!(
            out,
            "\n{:>8} {:>4} {:>9} {:>9} {:>9} {:>6}  {}",
            query.from,
            query.ttl,
            query.reached,
            query.query_descriptors,
            query.duplicates,
            query.hits,
            per_hop.join(" ")
        );
    }
    out
}
