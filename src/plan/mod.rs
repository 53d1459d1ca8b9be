//! What both engines run and show: plans of networks, simulated or of real processes, and records
//! and pictures of what a search did in one.
//!
//! A [`Plan`] decides a simulated run completely; with real processes, time is real too.

pub mod catalogue;
pub(crate) mod chance;
pub mod fault_schedule;
pub mod hit_record;
pub mod picture;
pub mod query_report;
pub mod topology;
pub mod trace;

use crate::rng::Rng;
use catalogue::SharedFile;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;
use topology::{Graph, Topology, TopologyError};

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
    /// Bytes per second of every link, each way; `None` is no limit.
    pub bandwidth: Option<u64>,
    /// Bytes under way or unread on a link before the writer has to wait; `None` is 64 KiB where
    /// links are slow or something may fail, and no limit elsewhere.
    pub window: Option<usize>,
    /// Whether what is written arrives in pieces, cut at random.
    pub split: bool,
    /// Virtual time from the start of one search to the next; `None` is 10 s where something may
    /// fail, and elsewhere 1 s, or until the search has died down.
    pub interval: Option<Duration>,
    /// What goes wrong.
    pub faults: Faults,
    /// Nodes that differ from the others, by name.
    pub places: BTreeMap<String, Place>,
}

/// How one node differs from the others.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Place {
    /// It shares what lies in these folders instead of generated files.
    pub folders: Vec<PathBuf>,
    /// What lies there, for a simulation, which reads no folders.
    pub files: Vec<SharedFile>,
    /// Another program takes the place of a servent of ours; only with real processes. Empty is
    /// none.
    pub command: Vec<String>,
}

/// What goes wrong once all links stand; nothing, unless asked.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Faults {
    /// Probability per link and second that it is reset, often in the middle of a descriptor.
    pub reset: f64,
    /// Probability that a dial is refused.
    pub refuse: f64,
    /// Probability that a dial gets no answer.
    pub silent: f64,
    /// Probability per node and second that it crashes. It forgets all but who it is, and is back
    /// after 1 to 30 seconds.
    pub crash: f64,
    /// Probability per node and second that it stops reading, for 1 to 120 seconds.
    pub stall: f64,
    /// When the network is parted in two.
    pub partition: Option<Duration>,
    /// For how long; `None` is a minute.
    pub partition_for: Option<Duration>,
    /// Mean of the heavy-tailed (Pareto) time nodes stay before they leave.
    pub session: Option<Duration>,
    /// Mean of the likewise heavy-tailed time until they are back; `None` is a minute.
    pub absence: Option<Duration>,
}

/// How long the network stays parted, and nodes stay away, unless the plan says so.
const MINUTE: Duration = Duration::from_secs(60);
/// Longest time until a node that crashed returns, in seconds.
pub(crate) const MAX_DOWN_SECS: usize = 30;
/// Longest time until a stalled node resumes, in seconds: some resume only after their neighbours
/// have closed their links.
pub(crate) const MAX_STALL_SECS: usize = 120;

impl Faults {
    /// For how long the network is parted.
    pub(crate) fn parted_for(&self) -> Duration {
        self.partition_for.unwrap_or(MINUTE)
    }

    /// The mean time nodes stay away.
    pub(crate) fn mean_absence(&self) -> Duration {
        self.absence.unwrap_or(MINUTE)
    }

    /// Whether nodes and links stay as they are.
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
    /// More files in all than a machine holds.
    TooManyFiles(usize),
    /// No handshake is answered in time.
    LatencyTooLong(Duration),
}

impl fmt::Display for PlanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PlanError::Topology(error) => error.fmt(f),
            PlanError::UnknownNode(name) => write!(f, "there is no node called \"{name}\""),
            PlanError::LatencyTooLong(latency) => {
                let (most, given) = (MAX_LATENCY.as_secs(), latency.as_secs_f64());
                write!(
                    f,
                    "links take at most {most} s one way, or handshakes time out; {given} s \
                    were asked for"
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

/// What a link holds unread where the plan has a reason to limit it.
const WINDOW_BYTES: usize = 65_536;

/// Each node has an address in 10.0.0.0/8.
pub const MAX_NODES: usize = 10_000_000;

impl Plan {
    /// Whether at equal latency all copies sent at one moment arrive at one moment.
    pub fn is_even(&self) -> bool {
        let free = self.bandwidth.is_none() && self.window.is_none();
        self.latency.is_some() && free && self.faults.is_none()
    }

    /// The limit on what a link holds unread.
    pub fn window_bytes(&self) -> Option<usize> {
        let limited = self.bandwidth.is_some() || !self.faults.is_none();
        self.window.or(limited.then_some(WINDOW_BYTES))
    }

    /// Virtual time from the start of one search to the next.
    pub fn pause(&self) -> Duration {
        let usual = if self.faults.is_none() { 1 } else { 10 };
        self.interval.unwrap_or(Duration::from_secs(usual))
    }

    /// The graph of a plan; `edge_list` is the text of the file it names, if it names one.
    ///
    /// # Errors
    /// When topology, node count and names do not go together.
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
            None => Ok(graph),
        }
    }
}
