//! Plans of networks, from a TOML file and flags to one checked [`Plan`].

use super::exit::Failure;
use super::plan_args::{LinkEntry, NodeEntry, NodeKind, NodeName, PlanArgs};
use super::settings::{over, plain_reason};
use crate::plan::roles::{LinkPlan, Speaks};
use crate::plan::topology::{Graph, Topology};
use crate::plan::{Faults, Place, Plan};
use clap::ArgMatches;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The plan of the flags `given` and the file at `path`, with defaults from `usual`, and its graph.
pub(super) fn load(
    path: Option<&Path>,
    given: &ArgMatches,
    usual: Plan,
) -> Result<(Plan, Graph), Failure> {
    let file = path.map(read).transpose()?.unwrap_or_default();
    let split = file.split;
    let mut written = over(file, given)?;
    // A flag that is not given says nothing.
    written.split |= split;
    with_graph(plan(written, usual)?)
}

/// The plan in a file alone, and its graph.
pub(super) fn load_file(path: &Path, usual: Plan) -> Result<(Plan, Graph), Failure> {
    with_graph(plan(read(path)?, usual)?)
}

/// Reads the edge list that a plan names, if it does.
pub(super) fn with_graph(plan: Plan) -> Result<(Plan, Graph), Failure> {
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

/// The line that `--check` prints for a valid plan.
pub(super) fn summary(plan: &Plan, graph: &Graph) -> String {
    let degree = graph.degrees().into_iter().max().unwrap_or(0);
    format!(
        "the plan is valid: {} nodes, {} links, at most {degree} at one node, {} searches",
        graph.names.len(),
        graph.edges.len(),
        plan.queries
    )
}

/// Reads a plan. Paths in it are relative to its folder.
fn read(path: &Path) -> Result<PlanArgs, Failure> {
    let text = fs::read_to_string(path).map_err(|error| {
        Failure::disk(format!("cannot read the plan {}: {error}", path.display()))
    })?;
    let mut plan: PlanArgs = toml::from_str(&text).map_err(|error| {
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
        let place = Place {
            folders: entry.share,
            files: Vec::new(),
            command: entry.command,
            role: entry.role,
            speaks: entry.dialect.map(|dialect| dialect.only().map_or(Speaks::Auto, Speaks::Only)),
        };
        places.insert(name, place);
    }
    Ok(places)
}

fn links(entries: Vec<LinkEntry>) -> Result<Vec<LinkPlan>, Failure> {
    let link = |entry: LinkEntry| {
        let (NodeName(a), NodeName(b)) = entry.between;
        let Some(dialect) = entry.dialect.only() else {
            return Err(Failure::usage(format!(
                "the plan: the link of \"{a}\" and \"{b}\" speaks \"0.4\" or \"0.6\""
            )));
        };
        Ok(LinkPlan { between: (a, b), dialect })
    };
    entries.into_iter().map(link).collect()
}

fn plan(written: PlanArgs, usual: Plan) -> Result<Plan, Failure> {
    let window = written.window.map(|bytes| usize::try_from(bytes.0).unwrap_or(usize::MAX));
    Ok(Plan {
        nodes: written.nodes.unwrap_or(usual.nodes),
        topology: written.topology.unwrap_or(usual.topology),
        seed: written.seed.unwrap_or(usual.seed),
        queries: written.queries.unwrap_or(usual.queries),
        ttl: written.ttl.map_or(usual.ttl, |ttl| ttl.0),
        from: written.from,
        files: written.files.unwrap_or(usual.files),
        latency: written.latency.map(|it| it.0),
        bandwidth: written.bandwidth.map(|it| it.0),
        window,
        split: written.split,
        interval: written.interval.map(|it| it.0),
        faults: Faults {
            reset: written.reset.unwrap_or_default().0,
            refuse: written.refuse.unwrap_or_default().0,
            silent: written.silent.unwrap_or_default().0,
            crash: written.crash.unwrap_or_default().0,
            stall: written.stall.unwrap_or_default().0,
            partition: written.partition.map(|it| it.0),
            partition_for: written.partition_for.map(|it| it.0),
            session: written.session.map(|it| it.0),
            absence: written.absence.map(|it| it.0),
        },
        places: places(written.node)?,
        links: links(written.link)?,
    })
}
