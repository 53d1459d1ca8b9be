//! `servent sim`: a network of virtual servents, and what a search does in it.

use super::args::SimArgs;
use super::exit::Failure;
use super::output;
use crate::sim::plan::Plan;
use crate::sim::simulate;
use crate::sim::topology::Topology;
use indicatif::{ProgressBar, ProgressStyle};
use std::fs;
use std::io::{self, IsTerminal};
use std::time::Instant;

pub(super) fn run(args: SimArgs) -> Result<(), Failure> {
    let topology: Topology =
        args.topology.parse().map_err(|error| Failure::usage(format!("--topology: {error}")))?;
    let edge_list = match &topology {
        Topology::File { path } => Some(fs::read_to_string(path).map_err(|error| {
            Failure::disk(format!("cannot read the edge list {path}: {error}"))
        })?),
        _ => None,
    };
    let plan = Plan {
        nodes: args.nodes,
        topology,
        seed: args.seed,
        queries: args.queries,
        ttl: args.ttl,
        from: args.from,
        files: args.files,
        latency: args.latency,
    };
    let graph =
        plan.graph(edge_list.as_deref()).map_err(|error| Failure::usage(error.to_string()))?;
    let bar = bar(plan.queries);
    let started = Instant::now();
    let simulated = simulate(&plan, &graph, &mut |done| bar.set_position(done as u64));
    bar.finish_and_clear();
    let mut report = simulated.map_err(|violation| {
        Failure::failed(format!("a rule of the protocol did not hold: {violation}; {plan:?}"))
    })?;
    report.real_seconds = started.elapsed().as_secs_f64();
    if args.json { output::json(&report) } else { output::line(&report.to_string()) }
}

fn bar(queries: usize) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(queries as u64);
    if let Ok(style) = ProgressStyle::with_template("{wide_bar} {pos}/{len} searches, {eta} left") {
        bar.set_style(style);
    }
    bar
}
