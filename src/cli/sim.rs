//! `servent sim`: a network of virtual servents, and what a search does in it.

use super::args::SimArgs;
use super::exit::Failure;
use super::output;
use crate::sim::plan::Plan;
use crate::sim::topology::Topology;
use crate::sim::{picture, simulate_traced};
use crate::transfer::names::escape_for_terminal;
use indicatif::{ProgressBar, ProgressStyle};
use std::fs;
use std::io::{self, IsTerminal};
use std::path::Path;
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
    let traced = args.trace || args.dot.is_some() || args.svg.is_some();
    let mut progress = |done| bar.set_position(done as u64);
    let simulated = simulate_traced(&plan, &graph, &mut progress, traced);
    bar.finish_and_clear();
    let mut report = simulated.map_err(|violation| {
        Failure::failed(format!("a rule of the protocol did not hold: {violation}; {plan:?}"))
    })?;
    report.real_seconds = started.elapsed().as_secs_f64();
    if let Some(trace) = &report.trace {
        let drawings = [
            args.dot.map(|path| (path, trace.dot())),
            args.svg.map(|path| (path, picture::svg(&graph, trace))),
        ];
        for (path, text) in drawings.into_iter().flatten() {
            write(&path, &text)?;
        }
        if args.trace && !args.json {
            output::line(&escape_lines(&trace.tree()))?;
        }
    }
    if !args.trace {
        report.trace = None;
    }
    if args.json { output::json(&report) } else { output::line(&report.to_string()) }
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    fs::write(path, text)
        .map_err(|error| Failure::disk(format!("cannot write {}: {error}", path.display())))
}

/// Names of nodes come from a file that anybody may have made.
fn escape_lines(text: &str) -> String {
    let lines = text.lines().map(|line| escape_for_terminal(line).to_string());
    lines.collect::<Vec<_>>().join("\n")
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
