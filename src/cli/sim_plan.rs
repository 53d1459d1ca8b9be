//! Plans of simulated networks: from a TOML file and flags to one checked [`Plan`].

use super::args::{SimArgs, SimPlanArgs, delay, probability};
use super::exit::Failure;
use super::settings::read_bytes;
use crate::sim::plan::{Faults, Plan};
use crate::sim::topology::{Graph, Topology};
use serde::de::Error;
use serde::{Deserialize, Deserializer};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The same settings as [`SimPlanArgs`], from the file.
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
}

/// A plan and the graph it makes.
pub(super) fn load(args: &SimArgs) -> Result<(Plan, Graph), Failure> {
    let file = args.plan.as_deref().map(read).transpose()?.unwrap_or_default();
    let plan = merge(&args.settings, file)?;
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

/// A file it names lies next to it.
fn read(path: &Path) -> Result<PlanFile, Failure> {
    let text = fs::read_to_string(path).map_err(|error| {
        Failure::disk(format!("cannot read the plan {}: {error}", path.display()))
    })?;
    let mut plan: PlanFile = toml::from_str(&text)
        .map_err(|error| Failure::usage(format!("the plan {}: {error}", path.display())))?;
    if let Some(Topology::File { path: list }) = &mut plan.topology {
        let beside = path.parent().map_or_else(PathBuf::new, Path::to_path_buf).join(&*list);
        *list = beside.to_string_lossy().into_owned();
    }
    Ok(plan)
}

fn merge(args: &SimPlanArgs, file: PlanFile) -> Result<Plan, Failure> {
    let usual = Plan::default();
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
        ttl => Err(D::Error::custom(format!("expected a TTL from 1 to 15, {ttl} was given"))),
    }
}

/// A number of bytes: plain, or text as on the command line.
fn bytes<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
    let text = NumberOrText::deserialize(from)?.text();
    read_bytes(&text).map(Some).map_err(D::Error::custom)
}

/// The name of a node, which in edge lists often is a number.
fn node_name<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    Ok(Some(NumberOrText::deserialize(from)?.text()))
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
