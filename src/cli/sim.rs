//! `servent sim`: searches in a network of virtual servents.

use super::args::SimArgs;
use super::exit::Failure;
use super::{output, plan};
use crate::plan::Plan;
use crate::plan::topology::Graph;
use crate::sim::{RunOptions, simulate_with};
use crate::testnet;
use clap::ArgMatches;
use indicatif::{ProgressBar, ProgressStyle};
use std::io::{self, IsTerminal};
use std::time::Instant;

pub(super) fn run(args: SimArgs, given: &ArgMatches) -> Result<(), Failure> {
    let (mut plan, graph) = plan::load(args.plan.as_deref(), given, Plan::default())?;
    list_folders(&mut plan)?;
    if args.check {
        return output::line(&plan::summary(&plan, &graph));
    }
    args.drawing.check(&graph)?;
    let before = testnet::memory(std::process::id(), "VmRSS");
    let bar = bar(plan.queries);
    let started = Instant::now();
    let traced = args.trace || args.drawing.is_asked();
    let options = RunOptions { traced, oracles: !args.no_oracles, cores: args.cores() };
    let (mut linked, mut searched) = (started, started);
    let mut progress = |done| {
        bar.set_position(done as u64);
        searched = Instant::now();
        if done == 0 {
            linked = searched;
        }
    };
    let simulated = simulate_with(&plan, &graph, &mut progress, options);
    bar.finish_and_clear();
    let mut report = simulated.map_err(|violation| {
        Failure::failed(format!("a rule of the protocol did not hold: {violation}; {plan:?}"))
    })?;
    report.real_seconds = started.elapsed().as_secs_f64();
    report.search_seconds = searched.duration_since(linked).as_secs_f64();
    report.bytes_per_node = taken_since(before).and_then(|bytes| per_node(bytes, &graph));
    if let Some(trace) = &report.trace {
        args.drawing.draw(&graph, trace, || Ok(report.files.clone()))?;
        if args.trace && !args.json {
            output::line(&output::shown_lines(&trace.tree()))?;
        }
    }
    if !args.trace {
        report.trace = None;
    }
    if args.json { output::json(&report) } else { output::line(&report.to_string()) }
}

/// Growth of this process's peak memory since `before`.
fn taken_since(before: Option<u64>) -> Option<u64> {
    testnet::memory(std::process::id(), "VmHWM")?.checked_sub(before?)
}

/// Bytes per node; `None` for small networks, whose memory is mostly shared by all nodes.
fn per_node(bytes: u64, graph: &Graph) -> Option<u64> {
    /// From this many nodes on the figure varies by less than a tenth with their number.
    const ENOUGH: usize = 1_000;
    let nodes = graph.names.len();
    (nodes >= ENOUGH).then(|| bytes / nodes as u64)
}

/// Lists the folders that the plan names: a simulation knows files by name and size only.
pub(super) fn list_folders(plan: &mut Plan) -> Result<(), Failure> {
    for (name, place) in &mut plan.places {
        if !place.command.is_empty() {
            return Err(Failure::usage(format!(
                "node \"{name}\" is another program, which only a network of real processes can \
                 have: servent testnet up"
            )));
        }
        place.files = testnet::files_in(&place.folders)
            .map_err(|error| Failure::disk(format!("node \"{name}\": {error}")))?;
    }
    Ok(())
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
