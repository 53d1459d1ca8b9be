//! The lookup lab: ways to find a file in a network, on the same nodes, files, lookups and failures.
//!
//! | file | holds |
//! |---|---|
//! | `host` | [`System`]: what a way to look up implements; [`Host`] makes it a node |
//! | `message` | messages: a descriptor header, then fields |
//! | `directory` | names and holders, found by words |
//! | `options` | what the user may choose |
//! | `workload` | files and lookups |
//! | `meter` | the observer that counts |
//! | `judge` | the rules of a system |
//! | `measure` | one cell of the table, phase by phase |
//! | `report` | rows, the table, growth with the number of nodes |
//! | `pictures`, `chart` | the table as pictures: which, and how one is drawn |
//! | `flood`, `flood_rules` | `flood` and `ring`: the real core, and the protocol's rules |
//! | `central` | one directory node |
//! | `walk` | random walkers |
//! | `superpeers` | superpeers that index leaves |
//! | `identifier` | identifiers of hash tables, and nodes by them |
//! | `keys` | the part of a hash table that one node keeps |
//! | `relay` | messages routed from node to node, acknowledged on each link |
//! | `chord`, `chord_task` | a hash table on a circle |
//! | `pastry`, `pastry_tables` | a hash table routed by prefix |
//! | `can`, `can_zones` | a hash table on a torus |
//! | `freenet`, `freenet_store` | search by the closeness of keys, with copies on the way |
//!
//! # How a system is added
//!
//! A system is one file with one type that implements [`System`]. Its events are `join`, `look_up`,
//! `message` and `timeout`; each hands in an [`Io`] with the clock, the node's randomness, its own
//! address, `send`, `found` and `wake_after`. `state` says what it keeps of other nodes. It publishes
//! its files when it has its place, and again from time to time if others may forget them.
//!
//! Each message names its [`message::Purpose`] and carries the GUID of its lookup, or zeros; by these
//! the meter counts all systems alike, the real core included, whose Queries and QueryHits share a
//! GUID. Nothing else is needed but a name in [`SystemKind`] and an arm in [`run`], which makes a node
//! and says which addresses a newcomer is told and which rules hold: a `judge::Judge`, such as
//! `Settled` with a look at all nodes once the network has settled, or `()`. Systems must not learn anything but by messages.
//!
//! Messages between nodes without a standing link are datagrams: latency and loss, no set-up. That
//! favours every system but the real core, whose handshakes count as messages of joining.

mod can;
mod can_zones;
mod central;
mod chart;
mod chord;
mod chord_task;
mod directory;
mod flood;
mod flood_rules;
mod freenet;
mod freenet_store;
pub mod host;
mod identifier;
mod judge;
mod keys;
mod measure;
pub mod message;
mod meter;
mod options;
mod pastry;
mod pastry_tables;
mod pictures;
mod relay;
pub mod report;
mod superpeers;
mod walk;
mod workload;

pub use host::{Host, Io, System};
pub use options::Options;
pub use pictures::pictures;
pub use workload::Workload;

use crate::config::{Config, Limits, Scope};
use crate::plan::topology::Graph;
use crate::rng::Rng;
use can::Can;
use central::Central;
use chord::Chord;
use flood::Flooder;
use flood_rules::FloodRules;
use freenet::Freenet;
use judge::Settled;
use measure::{FIRST_ADDR, Known, measure};
use pastry::Pastry;
use report::Row;
use std::fmt;
use std::net::SocketAddrV4;
use std::str::FromStr;
use std::sync::Arc;
use superpeers::SuperPeers;
use walk::{Walk, WalkRules};

/// Names the systems once: their variant, name and limits. These have three parts, with semicolons
/// between them: what is found, whether one node can stop it, who learns what is searched.
macro_rules! systems {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, $limits:literal;)*) => {
        /// A way to look things up.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum SystemKind { $($(#[$doc])* $variant,)* }

        impl SystemKind {
            /// All that there are.
            pub const ALL: &[SystemKind] = &[$(SystemKind::$variant),*];

            /// Its name.
            pub fn name(self) -> &'static str {
                match self { $(SystemKind::$variant => $name,)* }
            }

            /// What it finds, whether one node can stop it, and who learns what is searched.
            pub fn limits(self) -> &'static str {
                match self { $(SystemKind::$variant => $limits,)* }
            }
        }
    };
}

systems! {
    /// One directory node.
    Central = "central", "keywords; single point of failure; the directory learns every search";
    /// The real core: a flood of full TTL.
    Flood = "flood", "keywords and their beginnings; no single point; every node reached learns the search";
    /// The real core: an expanding ring.
    Ring = "ring", "keywords and their beginnings; no single point; every node reached learns the search";
    /// Random walkers.
    Walk = "walk", "keywords; no single point; the nodes walked over learn the search";
    /// Superpeers that index leaves.
    SuperPeers = "superpeers", "keywords; no single point; the superpeers learn every search";
    /// Steepest ascent by the closeness of keys.
    Freenet = "freenet", "whole names only; no single point; nobody can tell who searches";
    /// A distributed hash table on a circle.
    Chord = "chord", "whole names only; no single point; the owner of a key learns who searches it";
    /// A distributed hash table routed by prefix.
    Pastry = "pastry", "whole names only; no single point; the nodes on the way learn who searches";
    /// A distributed hash table on a torus.
    Can = "can", "whole names only; no single point; the nodes on the way learn who searches";
}

impl SystemKind {
    /// Whether its nodes have the links of the topology.
    fn has_links(self) -> bool {
        matches!(self, SystemKind::Flood | SystemKind::Ring | SystemKind::Walk)
    }
}

impl FromStr for SystemKind {
    type Err = String;

    fn from_str(text: &str) -> Result<SystemKind, String> {
        let found = SystemKind::ALL.iter().copied().find(|system| system.name() == text);
        found.ok_or_else(|| {
            let names: Vec<&str> = SystemKind::ALL.iter().map(|system| system.name()).collect();
            format!("\"{text}\" is not a system: give some of {}", names.join(","))
        })
    }
}

/// What fails in the middle of a cell.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Failure {
    /// Nothing.
    None,
    /// The directory dies, where there is one, or the node that handled most messages so far.
    Index,
    /// This share of all nodes dies at once.
    Random(f64),
    /// This share of all nodes dies at once, the best connected first: those with most links, where
    /// links are those of the topology, or else those that keep most entries of state.
    Top(f64),
    /// Nodes leave and return, with Pareto sessions of 10 min and absences of 1 min on average.
    Churn,
}

impl FromStr for Failure {
    type Err = String;

    fn from_str(text: &str) -> Result<Failure, String> {
        let share = |share: &str| share.parse().ok().filter(|share| (0.0..1.0).contains(share));
        let failure = match text.split_once(':') {
            None if text == "none" => Some(Failure::None),
            None if text == "index" => Some(Failure::Index),
            None if text == "churn" => Some(Failure::Churn),
            Some(("random", text)) => share(text).map(Failure::Random),
            Some(("top", text)) => share(text).map(Failure::Top),
            _ => None,
        };
        failure.ok_or_else(|| {
            format!(
                "\"{text}\" is not a failure: give none, index, random:SHARE, top:SHARE or churn, \
                 with a share from 0 to below 1"
            )
        })
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::None => f.write_str("none"),
            Failure::Index => f.write_str("index"),
            Failure::Random(share) => write!(f, "random:{share}"),
            Failure::Top(share) => write!(f, "top:{share}"),
            Failure::Churn => f.write_str("churn"),
        }
    }
}

/// One cell of the table.
#[derive(Clone, Copy, Debug)]
pub struct Cell<'a> {
    /// The system.
    pub system: SystemKind,
    /// What fails.
    pub failure: Failure,
    /// The links of systems that have a topology.
    pub graph: &'a Graph,
    /// Nodes and files; as many nodes as the graph has.
    pub workload: &'a Workload,
    /// Lookups in a minute.
    pub queries: usize,
    /// TTL of floods.
    pub ttl: u8,
    /// Seed of all randomness.
    pub seed: u64,
    /// What else may be chosen.
    pub options: Options,
}

/// Runs a cell.
///
/// # Errors
/// The first rule of the system that did not hold, or the first answer that was not true, in words.
pub fn run<'a>(cell: &'a Cell<'a>) -> Result<Row, String> {
    let files = |node: usize| Arc::clone(&cell.workload.files[node]);
    match cell.system {
        SystemKind::Central => {
            let rule = Settled(|live: &[(usize, &Host<Central>)]| {
                central::rule(&cell.workload.files, live)
            });
            let make = |node, _, rng| Host::new(Central::new(files(node)), addr_of(node), rng);
            measure(cell, Known::Directory, &make, rule)
        }
        SystemKind::Walk => {
            let known = Known::Neighbours(neighbours(cell.graph));
            let make =
                |node, _, rng| Host::new(Walk::new(files(node), &cell.options), addr_of(node), rng);
            measure(cell, known, &make, WalkRules::new(&cell.options))
        }
        SystemKind::SuperPeers => {
            let every = cell.options.superpeer_every.into();
            let told = superpeers::introductions(cell.workload.files.len(), every, cell.seed);
            let make = |node: usize, _, rng| {
                let system = SuperPeers::new(files(node), node.is_multiple_of(every));
                Host::new(system, addr_of(node), rng)
            };
            measure(cell, Known::Neighbours(told), &make, Settled(superpeers::rule))
        }
        SystemKind::Chord => {
            let make = |node, _, rng| {
                let (files, addr) = (files(node), addr_of(node));
                Host::new(Chord::new(files, addr, cell.options.replicas.into()), addr, rng)
            };
            measure(cell, Known::Anyone, &make, Settled(chord::rule))
        }
        SystemKind::Pastry => {
            let make = |node, _, rng| {
                let (files, addr) = (files(node), addr_of(node));
                Host::new(Pastry::new(files, addr, cell.options.replicas.into()), addr, rng)
            };
            measure(cell, Known::Anyone, &make, Settled(pastry::rule))
        }
        SystemKind::Can => {
            let options = &cell.options;
            let make = |node, _, rng| {
                let can = Can::new(files(node), options.dimensions.into(), options.replicas.into());
                Host::new(can, addr_of(node), rng)
            };
            measure(cell, Known::Anyone, &make, Settled(can::rule))
        }
        SystemKind::Freenet => {
            let make = |node, _, rng| {
                let cache = usize::try_from(cell.options.cache).unwrap_or(usize::MAX);
                Host::new(Freenet::new(files(node), cache), addr_of(node), rng)
            };
            measure(cell, Known::Anyone, &make, Settled(freenet::rule))
        }
        SystemKind::Flood | SystemKind::Ring => {
            let config = Arc::new(config(cell));
            let is_ring = cell.system == SystemKind::Ring;
            let time_per_link = cell.options.ring_time_per_link();
            let make = |node: usize, now, mut rng: Rng| {
                let library = flood::library(&cell.workload.files[node]);
                let seeds = (rng.bytes16(), rng.next_u64());
                Flooder::new(&config, library, seeds, is_ring, time_per_link, now)
            };
            // Each link is kept by its later node, so that two nodes never have two.
            let mut kept = neighbours(cell.graph);
            (0..).zip(&mut kept).for_each(|(node, others)| others.retain(|&other| other < node));
            measure(cell, Known::Neighbours(kept), &make, FloodRules::new(cell))
        }
    }
}

fn addr_of(node: usize) -> SocketAddrV4 {
    let ip = u32::from(*FIRST_ADDR.ip()) + u32::try_from(node).unwrap_or(0);
    SocketAddrV4::new(ip.into(), FIRST_ADDR.port())
}

fn neighbours(graph: &Graph) -> Vec<Vec<usize>> {
    let mut neighbours = vec![Vec::new(); graph.names.len()];
    for &(a, b) in &graph.edges {
        neighbours[a].push(b);
        neighbours[b].push(a);
    }
    neighbours
}

/// Settings of servents: the links of the graph, all of them, and no others.
fn config(cell: &Cell<'_>) -> Config {
    let most = cell.graph.degrees().into_iter().max().unwrap_or(0);
    Config {
        dialect: Some(crate::wire::Dialect::V0_4),
        compress: false,
        links: 0,
        // Links that one side still holds for standing take room for a while.
        max_links: 2 * most + 8,
        scope: Scope::Private,
        background_pings: false,
        advertise_port: FIRST_ADDR.port(),
        ttl: cell.ttl,
        limits: Limits { max_connections: 65_535, ..Limits::default() },
        ..Config::default()
    }
}
