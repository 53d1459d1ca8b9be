//! What to simulate: one value that decides a run completely.

use super::topology::{Graph, Topology, TopologyError};
use crate::rng::Rng;
use std::fmt;
use std::time::Duration;

/// A run. The same plan gives the same run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Number of nodes; trees and edge lists bring their own.
    pub nodes: usize,
    /// Who is linked with whom.
    pub topology: Topology,
    /// Where all randomness comes from.
    pub seed: u64,
    /// Searches, one after the other.
    pub queries: usize,
    /// TTL of each.
    pub ttl: u8,
    /// The node all searches start from, by name; otherwise each starts at a random one.
    pub from: Option<String>,
    /// Files each node shares, picked by popularity from a common catalogue.
    pub files: usize,
    /// One-way delay of every link; `None` draws each from 10 to 100 ms.
    pub latency: Option<Duration>,
}

impl Default for Plan {
    fn default() -> Plan {
        Plan {
            nodes: 100,
            topology: Topology::Regular { degree: 4 },
            seed: 1,
            queries: 10,
            ttl: 7,
            from: None,
            files: 4,
            latency: None,
        }
    }
}

/// Why a plan cannot be run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PlanError {
    /// The graph.
    Topology(TopologyError),
    /// A node is named that there is not.
    UnknownNode(String),
    /// More nodes than have addresses.
    TooManyNodes(usize),
}

impl fmt::Display for PlanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PlanError::Topology(error) => error.fmt(f),
            PlanError::UnknownNode(name) => write!(f, "there is no node called \"{name}\""),
            PlanError::TooManyNodes(count) => {
                write!(f, "at most {MAX_NODES} nodes can be simulated, {count} were asked for")
            }
        }
    }
}

impl std::error::Error for PlanError {}

/// Each node has an address in 10.0.0.0/8.
pub const MAX_NODES: usize = 10_000_000;

impl Plan {
    /// The graph of a plan; `edge_list` is the text of the file it names, if it names one.
    ///
    /// # Errors
    /// When topology, node count and names do not go together.
    pub fn graph(&self, edge_list: Option<&str>) -> Result<Graph, PlanError> {
        if self.nodes > MAX_NODES {
            return Err(PlanError::TooManyNodes(self.nodes));
        }
        let mut rng = Rng::new(self.seed).fork();
        let graph = match edge_list {
            Some(text) => Graph::from_edge_list(text),
            None => Graph::generate(&self.topology, self.nodes, &mut rng),
        }
        .map_err(PlanError::Topology)?;
        match &self.from {
            Some(name) if !graph.names.contains(name) => Err(PlanError::UnknownNode(name.clone())),
            _ => Ok(graph),
        }
    }
}
