//! The options of networks, simulated and real: the flags, and the keys of a plan.

use super::args::DialectArg;
use super::values::{Bytes, Delay, Probability, Ttl, number_or_text};
use crate::plan::roles::NodeRole;
use crate::plan::topology::Topology;
use clap::Args;
use serde::Deserialize;
use std::path::PathBuf;

/// A plan as it is written: the flags of `sim` and `testnet up`, or a TOML file with their long
/// names for keys. Unknown keys are errors.
#[derive(Clone, Debug, Default, PartialEq, Args, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(super) struct PlanArgs {
    /// Servents; trees and edge lists bring their own number [default: 100, in a
    /// testnet 8]
    #[arg(long, value_name = "N")]
    pub(super) nodes: Option<usize>,
    /// line, ring, star, tree:BRANCHING,DEPTH, regular:DEGREE, random:PROBABILITY,
    /// scale-free:LINKS, ultrapeers:COUNT,LEAVES or file:EDGELIST [default: regular:4, in a
    /// testnet ring]
    #[arg(long, value_name = "SHAPE")]
    pub(super) topology: Option<Topology>,
    /// Searches, one after the other [default: 10]
    #[arg(long, value_name = "N")]
    pub(super) queries: Option<usize>,
    /// Links a search may cross, 1 to 15 [default: 7]
    #[arg(long, value_name = "N")]
    pub(super) ttl: Option<Ttl>,
    /// Seed of all randomness: same plan, same seed, same run [default: 1]
    #[arg(long, value_name = "N")]
    pub(super) seed: Option<u64>,
    /// The node all searches start from, by its name in the edge list or its number [default: a
    /// random one for each]
    #[arg(long, value_name = "NODE")]
    #[serde(deserialize_with = "number_or_text")]
    pub(super) from: Option<String>,
    /// Files each servent shares [default: 4]
    #[arg(long, value_name = "N")]
    pub(super) files: Option<usize>,
    /// One-way delay of every link, such as 50ms or 0.2s [default: 10 to 100 ms, drawn
    /// for each; in a testnet none]
    #[arg(long, value_name = "TIME")]
    pub(super) latency: Option<Delay>,
    /// Bytes per second of every link, each way, such as 500k
    #[arg(long, value_name = "RATE")]
    pub(super) bandwidth: Option<Bytes>,
    /// Bytes in flight or unread on a link before its writer waits [default: 64 KiB with
    /// --bandwidth or faults]
    #[arg(long, value_name = "BYTES")]
    pub(super) window: Option<Bytes>,
    /// Deliver what is written in pieces, cut at random
    #[arg(long)]
    pub(super) split: bool,
    /// Time from the start of one search to the next, in a simulation [default: 30s with
    /// leaves or ultrapeers, 10s with faults, else 1s or more]
    #[arg(long, value_name = "TIME")]
    pub(super) interval: Option<Delay>,
    /// Probability per link and second that it is reset
    #[arg(long, value_name = "P")]
    pub(super) reset: Option<Probability>,
    /// Probability that a dial is refused
    #[arg(long, value_name = "P")]
    pub(super) refuse: Option<Probability>,
    /// Probability that a dial is never answered
    #[arg(long, value_name = "P")]
    pub(super) silent: Option<Probability>,
    /// Probability per node and second that it crashes; it returns within 30 s
    #[arg(long, value_name = "P")]
    pub(super) crash: Option<Probability>,
    /// Probability per node and second that it stops reading, for up to two minutes
    #[arg(long, value_name = "P")]
    pub(super) stall: Option<Probability>,
    /// When the network is partitioned in two
    #[arg(long, value_name = "TIME")]
    pub(super) partition: Option<Delay>,
    /// Duration of the partition [default: 60s]
    #[arg(long, value_name = "TIME")]
    pub(super) partition_for: Option<Delay>,
    /// Mean time until a node leaves; most leave earlier, few much later (Pareto)
    #[arg(long, value_name = "TIME")]
    pub(super) session: Option<Delay>,
    /// Mean time until it returns [default: 60s]
    #[arg(long, value_name = "TIME")]
    pub(super) absence: Option<Delay>,
    /// `[[node]]` of a file.
    #[arg(skip)]
    pub(super) node: Vec<NodeEntry>,
    /// `[[link]]` of a file.
    #[arg(skip)]
    pub(super) link: Vec<LinkEntry>,
}

/// The table of one node in a plan.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct NodeEntry {
    /// In edge lists often a number.
    #[serde(deserialize_with = "number_or_text")]
    pub(super) name: String,
    #[serde(default)]
    pub(super) kind: NodeKind,
    #[serde(default)]
    pub(super) share: Vec<PathBuf>,
    #[serde(default)]
    pub(super) command: Vec<String>,
    #[serde(default)]
    pub(super) role: Option<NodeRole>,
    #[serde(default)]
    pub(super) dialect: Option<DialectArg>,
}

/// The table of one link in a plan.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct LinkEntry {
    pub(super) between: (NodeName, NodeName),
    pub(super) dialect: DialectArg,
}

/// The name of a node, in edge lists often a number.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub(super) struct NodeName(#[serde(deserialize_with = "number_or_text")] pub(super) String);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum NodeKind {
    /// A servent of ours.
    #[default]
    Servent,
    /// Any other program, started by its command.
    Exec,
}
