//! Plans of networks: from a TOML file and flags to one checked [`Plan`].

use super::exit::Failure;
use super::plan_args::{PlanArgs, delay, probability};
use super::settings::{plain_reason, read_bytes};
use crate::plan::topology::{Graph, Topology};
use crate::plan::{Faults, Place, Plan};
use serde::de::Error;
use serde::{Deserialize, Deserializer};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The same settings as [`PlanArgs`], from the file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
struct PlanFile {
    nodes: Option<usize>,
    #[serde(deserialize_with = "topology")]
    topology: Option<Topology>,
    queries: Option<usize>,
    #[serde(deserialize_with = "ttl")]
    ttl: Option<u8>,
    seed: Option<u64>,
    #[serde(deserialize_with = "node_name")]
    from: Option<String>,
    files: Option<usize>,
    #[serde(deserialize_with = "time")]
    latency: Option<Duration>,
    #[serde(deserialize_with = "bytes")]
    bandwidth: Option<u64>,
    #[serde(deserialize_with = "bytes")]
    window: Option<u64>,
    split: Option<bool>,
    #[serde(deserialize_with = "time")]
    interval: Option<Duration>,
    #[serde(deserialize_with = "chance")]
    reset: Option<f64>,
    #[serde(deserialize_with = "chance")]
    refuse: Option<f64>,
    #[serde(deserialize_with = "chance")]
    silent: Option<f64>,
    #[serde(deserialize_with = "chance")]
    crash: Option<f64>,
    #[serde(deserialize_with = "chance")]
    stall: Option<f64>,
    #[serde(deserialize_with = "time")]
    partition: Option<Duration>,
    #[serde(deserialize_with = "time")]
    partition_for: Option<Duration>,
    #[serde(deserialize_with = "time")]
    session: Option<Duration>,
    #[serde(deserialize_with = "time")]
    absence: Option<Duration>,
    node: Vec<NodeEntry>,
}

/// What a plan says of one node.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct NodeEntry {
    #[serde(deserialize_with = "a_name")]
    name: String,
    #[serde(default)]
    kind: NodeKind,
    #[serde(default)]
    share: Vec<PathBuf>,
    #[serde(default)]
    command: Vec<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum NodeKind {
    /// A servent of ours.
    #[default]
    Servent,
    /// Whatever its command starts.
    Exec,
}

/// A plan and the graph it makes; `usual` is what is neither in the file nor in the flags.
pub(super) fn load(
    path: Option<&Path>,
    args: &PlanArgs,
    usual: Plan,
) -> Result<(Plan, Graph), Failure> {
    let file = path.map(read).transpose()?.unwrap_or_default();
    let plan = merge(args, file, usual)?;
    let edge_list = match &plan.topology {
        Topology::File { path } => Some(fs::read_to_string(path).map_err(|error| {
            Failure::disk(format!("cannot read the edge list {path}: {error}"))
        })?),
        _ => None,
    };
    let graph =
        plan.graph(edge_list.as_deref()).map_err(|error| Failure::usage(error.to_string()))?;
    Ok((plan, graph))
}

/// A plan that makes sense, in a line.
pub(super) fn summary(plan: &Plan, graph: &Graph) -> String {
    let degree = graph.degrees().into_iter().max().unwrap_or(0);
    format!(
        "the plan makes sense: {} nodes, {} links, at most {degree} at one node, {} searches",
        graph.names.len(),
        graph.edges.len(),
        plan.queries
    )
}

/// Files and folders it names lie next to it.
fn read(path: &Path) -> Result<PlanFile, Failure> {
    let text = fs::read_to_string(path).map_err(|error| {
        Failure::disk(format!("cannot read the plan {}: {error}", path.display()))
    })?;
    let mut plan: PlanFile = toml::from_str(&text).map_err(|error| {
        Failure::usage(format!("the plan {}: {}", path.display(), plain_reason(&error)))
    })?;
    let beside =
        |other: &Path| path.parent().map_or_else(PathBuf::new, Path::to_path_buf).join(other);
    if let Some(Topology::File { path: list }) = &mut plan.topology {
        *list = beside(Path::new(list)).to_string_lossy().into_owned();
    }
    for folder in plan.node.iter_mut().flat_map(|node| &mut node.share) {
        *folder = beside(folder);
    }
    Ok(plan)
}

fn places(entries: Vec<NodeEntry>) -> Result<BTreeMap<String, Place>, Failure> {
    let mut places = BTreeMap::new();
    for entry in entries {
        let name = entry.name;
        let wrong = match (entry.kind, entry.command.is_empty()) {
            (NodeKind::Exec, true) => Some("is of the kind \"exec\" and needs a command"),
            (NodeKind::Servent, false) => Some("has a command and needs kind = \"exec\""),
            _ if places.contains_key(&name) => Some("stands there twice"),
            _ => None,
        };
        if let Some(wrong) = wrong {
            return Err(Failure::usage(format!("the plan: node \"{name}\" {wrong}")));
        }
        let place = Place { folders: entry.share, files: Vec::new(), command: entry.command };
        places.insert(name, place);
    }
    Ok(places)
}

fn merge(args: &PlanArgs, file: PlanFile, usual: Plan) -> Result<Plan, Failure> {
    let topology = match &args.topology {
        Some(text) => {
            Some(text.parse().map_err(|error| Failure::usage(format!("--topology: {error}")))?)
        }
        None => file.topology,
    };
    let window = args.window.or(file.window);
    Ok(Plan {
        nodes: args.nodes.or(file.nodes).unwrap_or(usual.nodes),
        topology: topology.unwrap_or(usual.topology),
        seed: args.seed.or(file.seed).unwrap_or(usual.seed),
        queries: args.queries.or(file.queries).unwrap_or(usual.queries),
        ttl: args.ttl.or(file.ttl).unwrap_or(usual.ttl),
        from: args.from.clone().or(file.from),
        files: args.files.or(file.files).unwrap_or(usual.files),
        latency: args.latency.or(file.latency),
        bandwidth: args.bandwidth.or(file.bandwidth),
        window: window.map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX)),
        split: args.split || file.split.unwrap_or(false),
        interval: args.interval.or(file.interval),
        faults: Faults {
            reset: args.reset.or(file.reset).unwrap_or_default(),
            refuse: args.refuse.or(file.refuse).unwrap_or_default(),
            silent: args.silent.or(file.silent).unwrap_or_default(),
            crash: args.crash.or(file.crash).unwrap_or_default(),
            stall: args.stall.or(file.stall).unwrap_or_default(),
            partition: args.partition.or(file.partition),
            partition_for: args.partition_for.or(file.partition_for),
            session: args.session.or(file.session),
            absence: args.absence.or(file.absence),
        },
        places: places(file.node)?,
    })
}

fn topology<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Topology>, D::Error> {
    String::deserialize(from)?.parse().map(Some).map_err(D::Error::custom)
}

fn time<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
    delay(&String::deserialize(from)?).map(Some).map_err(D::Error::custom)
}

fn chance<'de, D: Deserializer<'de>>(from: D) -> Result<Option<f64>, D::Error> {
    probability(&f64::deserialize(from)?.to_string()).map(Some).map_err(D::Error::custom)
}

fn ttl<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u8>, D::Error> {
    match u8::deserialize(from)? {
        ttl @ 1..=15 => Ok(Some(ttl)),
        ttl => Err(D::Error::custom(format!("{ttl} is not a TTL from 1 to 15"))),
    }
}

/// A number of bytes: plain, or text as on the command line.
fn bytes<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
    let text = NumberOrText::deserialize(from)?.text();
    read_bytes(&text).map(Some).map_err(D::Error::custom)
}

/// The name of a node, which in edge lists often is a number.
fn node_name<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    a_name(from).map(Some)
}

fn a_name<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    Ok(NumberOrText::deserialize(from)?.text())
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a number or text")]
enum NumberOrText {
    Number(u64),
    Text(String),
}

impl NumberOrText {
    fn text(self) -> String {
        match self {
            NumberOrText::Number(number) => number.to_string(),
            NumberOrText::Text(text) => text,
        }
    }
}
