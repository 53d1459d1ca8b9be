//! Plans of networks, simulated or of real processes, and the records and pictures of a search. Knows
//! neither engine.
//!
//! A [`Plan`] determines a simulated run completely; real processes also depend on real time.

pub mod catalogue;
pub(crate) mod chance;
pub mod fault_schedule;
pub mod hit_record;
pub mod picture;
pub mod query_report;
pub mod roles;
pub mod topology;
pub mod trace;

use crate::rng::Rng;
use catalogue::SharedFile;
use roles::{LinkPlan, NodeRole, Roles, Speaks};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;
use topology::{Graph, Topology, TopologyError};

/// A network and the searches in it.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Number of nodes; trees and edge lists bring their own.
    pub nodes: usize,
    /// The shape of the network.
    pub topology: Topology,
    /// Seed of all randomness.
    pub seed: u64,
    /// Number of searches, one after the other.
    pub queries: usize,
    /// TTL of the searches.
    pub ttl: u8,
    /// Name of the node all searches start from; `None` draws one for each.
    pub from: Option<String>,
    /// Files each node shares, picked by popularity from a common catalogue.
    pub files: usize,
    /// One-way delay of every link; `None` draws each from 10 to 100 ms.
    pub latency: Option<Duration>,
    /// Bytes per second of every link, each way; `None` is no limit.
    pub bandwidth: Option<u64>,
    /// Bytes in flight or unread on a link before the writer waits; `None` is 64 KiB with a bandwidth
    /// limit or faults, and otherwise no limit.
    pub window: Option<usize>,
    /// Whether bytes arrive in pieces, cut at random.
    pub split: bool,
    /// Virtual time from the start of one search to the next; `None` is 30 s in networks with roles, 10 s
    /// with faults, otherwise 1 s or until the search has ended.
    pub interval: Option<Duration>,
    /// Faults.
    pub faults: Faults,
    /// Nodes that differ from the others, by name.
    pub places: BTreeMap<String, Place>,
    /// Links that differ from what their ends say.
    pub links: Vec<LinkPlan>,
}

/// The settings in which one node differs from the others.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Place {
    /// Folders it shares instead of generated files.
    pub folders: Vec<PathBuf>,
    /// The files in these folders, for a simulation, which reads none.
    pub files: Vec<SharedFile>,
    /// Command of a foreign servent that takes the node's place, with real processes only; empty is
    /// none.
    pub command: Vec<String>,
    /// Its role; `None` is a plain servent, or what the topology says.
    pub role: Option<NodeRole>,
    /// What it speaks; `None` is 0.4 for a plain servent and 0.6 for one with a role.
    pub speaks: Option<Speaks>,
}

/// Fault injection, from the moment all links stand. The default has no faults.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Faults {
    /// Probability per link and second that it is reset, often in the middle of a descriptor.
    pub reset: f64,
    /// Probability that a dial is refused.
    pub refuse: f64,
    /// Probability that a dial gets no answer.
    pub silent: f64,
    /// Probability per node and second that it crashes. It returns after 1 to 30 seconds with only its
    /// identity.
    pub crash: f64,
    /// Probability per node and second that it stops reading, for 1 to 120 seconds.
    pub stall: f64,
    /// Time at which the network is partitioned in two.
    pub partition: Option<Duration>,
    /// Duration of the partition; `None` is a minute.
    pub partition_for: Option<Duration>,
    /// Mean time until a node leaves, heavy-tailed (Pareto).
    pub session: Option<Duration>,
    /// Mean time until it returns, also heavy-tailed; `None` is a minute.
    pub absence: Option<Duration>,
}

/// Duration of a partition, and mean absence of a node, unless the plan has them.
const DEFAULT_ABSENCE: Duration = Duration::from_secs(60);

impl Faults {
    /// Duration of the partition.
    pub(crate) fn parted_for(&self) -> Duration {
        self.partition_for.unwrap_or(DEFAULT_ABSENCE)
    }

    /// Mean time until a node that left returns.
    pub(crate) fn mean_absence(&self) -> Duration {
        self.absence.unwrap_or(DEFAULT_ABSENCE)
    }

    /// Whether there are none.
    pub fn is_none(&self) -> bool {
        *self == Faults::default()
    }
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
            bandwidth: None,
            window: None,
            split: false,
            interval: None,
            faults: Faults::default(),
            places: BTreeMap::new(),
            links: Vec::new(),
        }
    }
}

/// Why a plan is invalid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PlanError {
    /// The topology makes no graph.
    Topology(TopologyError),
    /// A node is named that does not exist.
    UnknownNode(String),
    /// More nodes than have addresses.
    TooManyNodes(usize),
    /// More files in all than [`MAX_FILES`].
    TooManyFiles(usize),
    /// Handshakes would time out.
    LatencyTooLong(Duration),
    /// Roles or dialects contradict each other.
    Roles(String),
}

impl fmt::Display for PlanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PlanError::Topology(error) => error.fmt(f),
            PlanError::Roles(text) => f.write_str(text),
            PlanError::UnknownNode(name) => write!(f, "there is no node called \"{name}\""),
            PlanError::LatencyTooLong(latency) => {
                let (most, given) = (MAX_LATENCY.as_secs(), latency.as_secs_f64());
                write!(
                    f,
                    "links take at most {most} s one way, or handshakes time out; {given} s were \
                     asked for"
                )
            }
            PlanError::TooManyFiles(count) => write!(
                f,
                "all nodes together can share at most {MAX_FILES} files, {count} each are too many"
            ),
            PlanError::TooManyNodes(count) => {
                write!(f, "at most {MAX_NODES} nodes can be simulated, {count} were asked for")
            }
        }
    }
}

impl std::error::Error for PlanError {}

/// Files of all nodes together; bounds their memory to some gigabytes.
pub const MAX_FILES: usize = 20_000_000;

/// A dial and its handshake cross a link four times and may take 20 s.
const MAX_LATENCY: Duration = Duration::from_secs(4);

/// Default window of links with a bandwidth limit or faults.
const WINDOW_BYTES: usize = 65_536;

/// A search of a leaf is sent on in steps, the first of them 15.7 s after it began.
const DYNAMIC_QUERY_SECONDS: u64 = 30;

/// Each node has an address in 10.0.0.0/8.
pub const MAX_NODES: usize = 10_000_000;

impl Plan {
    /// Whether copies sent at the same time arrive at the same time.
    pub fn is_even(&self) -> bool {
        let free = self.bandwidth.is_none() && self.window.is_none();
        self.latency.is_some() && free && self.faults.is_none()
    }

    /// Bytes in flight or unread on a link; `None` is no limit.
    pub fn window_bytes(&self) -> Option<usize> {
        let limited = self.bandwidth.is_some() || !self.faults.is_none();
        self.window.or(limited.then_some(WINDOW_BYTES))
    }

    /// Virtual time from the start of one search to the next.
    pub fn pause(&self) -> Duration {
        let usual = match (self.has_roles(), self.faults.is_none()) {
            (true, _) => DYNAMIC_QUERY_SECONDS,
            (false, true) => 1,
            (false, false) => 10,
        };
        self.interval.unwrap_or(Duration::from_secs(usual))
    }

    /// Whether a node or link differs from a plain one of 0.4.
    pub fn has_roles(&self) -> bool {
        let differs = |place: &Place| place.role.is_some() || place.speaks.is_some();
        matches!(self.topology, Topology::Ultrapeers { .. })
            || !self.links.is_empty()
            || self.places.values().any(differs)
    }

    /// The graph of the plan. `edge_list` is the text of the file that the topology names, if it does.
    ///
    /// # Errors
    /// When the plan is invalid.
    pub fn graph(&self, edge_list: Option<&str>) -> Result<Graph, PlanError> {
        if self.nodes > MAX_NODES {
            return Err(PlanError::TooManyNodes(self.nodes));
        }
        if self.nodes.max(1).saturating_mul(self.files) > MAX_FILES {
            return Err(PlanError::TooManyFiles(self.files));
        }
        if let Some(latency) = self.latency.filter(|&latency| latency > MAX_LATENCY) {
            return Err(PlanError::LatencyTooLong(latency));
        }
        let mut rng = Rng::new(self.seed).fork();
        let graph = match edge_list {
            Some(text) => Graph::from_edge_list(text),
            None => Graph::generate(&self.topology, self.nodes, &mut rng),
        }
        .map_err(PlanError::Topology)?;
        let mut named = self.from.iter().chain(self.places.keys());
        match named.find(|name| !graph.names.contains(name)) {
            Some(name) => Err(PlanError::UnknownNode(name.clone())),
            None => Roles::new(self, &graph).map(|_| graph),
        }
    }
}
