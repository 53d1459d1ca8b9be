//! `servent sim`: a network of virtual servents, and what a search does in it.

use super::args::SimArgs;
use super::exit::Failure;
use super::{output, plan, show};
use crate::driver::{Filter, ShareRoot, Shares, list_shared};
use crate::library::{Entry, MAX_FILES};
use crate::plan::catalogue::SharedFile;
use crate::plan::{Plan, picture};
use crate::sim::{Attention, simulate_with};
use crate::testnet;
use indicatif::{ProgressBar, ProgressStyle};
use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::time::Instant;

pub(super) fn run(args: SimArgs) -> Result<(), Failure> {
    let (mut plan, graph) = plan::load(args.plan.as_deref(), &args.settings, Plan::default())?;
    look_at_folders(&mut plan)?;
    if args.check {
        return output::line(&plan::summary(&plan, &graph));
    }
    let bar = bar(plan.queries);
    let started = Instant::now();
    let traced = args.trace || args.drawing.is_asked();
    let attention = Attention { traced, oracles: !args.no_oracles };
    let (mut linked, mut searched) = (started, started);
    let mut progress = |done| {
        bar.set_position(done as u64);
        searched = Instant::now();
        if done == 0 {
            linked = searched;
        }
    };
    let simulated = simulate_with(&plan, &graph, &mut progress, attention);
    bar.finish_and_clear();
    let mut report = simulated.map_err(|violation| {
        Failure::failed(format!("a rule of the protocol did not hold: {violation}; {plan:?}"))
    })?;
    report.real_seconds = started.elapsed().as_secs_f64();
    report.search_seconds = searched.duration_since(linked).as_secs_f64();
    report.bytes_per_node =
        testnet::memory(std::process::id(), "VmHWM").map(|bytes| bytes / graph.names.len() as u64);
    if let Some(trace) = &report.trace {
        show::draw(&args.drawing, || trace.dot(), || picture::svg(&graph, trace))?;
        if args.trace && !args.json {
            output::line(&output::shown_lines(&trace.tree()))?;
        }
    }
    if !args.trace {
        report.trace = None;
    }
    if args.json { output::json(&report) } else { output::line(&report.to_string()) }
}

/// The simulation knows shared files by name and size only.
fn look_at_folders(plan: &mut Plan) -> Result<(), Failure> {
    for (name, place) in &mut plan.places {
        if !place.command.is_empty() {
            return Err(Failure::usage(format!(
                "node \"{name}\" is another program, which only a network of real processes can \
                 have: servent testnet up"
            )));
        }
        let roots = place.folders.iter().map(|path| ShareRoot::open(path).map(Arc::new));
        let roots = roots
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| Failure::disk(format!("node \"{name}\": {error}")))?;
        let shares = Shares { roots, filter: Filter::default(), max_files: MAX_FILES };
        let library = list_shared(shares);
        let file = |entry: Entry<'_>| SharedFile { name: entry.name.to_owned(), size: entry.size };
        place.files = library.entries().map(file).collect();
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
