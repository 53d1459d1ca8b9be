//! The ways to run a simulation: a whole plan, or operation by operation.

use super::node::ServentNode;
use super::report::Report;
use super::simulation::Simulation;
use crate::plan::Plan;
use crate::plan::topology::Graph;
use crate::plan::trace::Trace;
use crate::rules::Violation;
use crate::servent::Servent;
use std::time::Duration;

/// What is recorded of a run. The run itself is the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunOptions {
    /// The path of every copy of the first search is recorded.
    pub traced: bool,
    /// The rules of the protocol are checked.
    pub oracles: bool,
    /// Most threads to use.
    pub cores: usize,
}

impl Default for RunOptions {
    fn default() -> RunOptions {
        RunOptions { traced: false, oracles: true, cores: 1 }
    }
}

/// Runs a plan over its graph. `progress` is told how many searches are done: 0 when all links
/// stand, then after each.
///
/// # Errors
/// The first rule of the protocol that did not hold.
pub fn simulate(
    plan: &Plan,
    graph: &Graph,
    progress: &mut dyn FnMut(usize),
) -> Result<Report, Violation> {
    simulate_with(plan, graph, progress, RunOptions::default())
}

/// Like [`simulate`], with other options.
///
/// # Errors
/// See [`simulate`]. There are none without oracles.
pub fn simulate_with(
    plan: &Plan,
    graph: &Graph,
    progress: &mut dyn FnMut(usize),
    options: RunOptions,
) -> Result<Report, Violation> {
    simulate_nodes(plan, graph, progress, options, &|_, servent| servent)
}

/// Like [`simulate_with`], with nodes that `make_node` makes of servents, by number.
///
/// # Errors
/// See [`simulate`].
pub fn simulate_nodes<N: ServentNode>(
    plan: &Plan,
    graph: &Graph,
    progress: &mut dyn FnMut(usize),
    RunOptions { traced, oracles, cores }: RunOptions,
    make_node: &(dyn Fn(usize, Servent) -> N + Sync),
) -> Result<Report, Violation> {
    let changing = !plan.faults.is_none();
    let mut simulation = Simulation::start(plan, graph, changing, oracles, cores, make_node)?;
    simulation.check_busy()?;
    progress(0);
    let (mut queries, mut trace) = (Vec::new(), None);
    for done in 0..plan.queries {
        if traced && done == 0 {
            simulation.follower.written = Some((simulation.net.now(), Trace::default()));
        }
        queries.push(simulation.search(plan)?);
        trace = trace.or(simulation.follower.written.take().map(|(_, trace)| trace));
        progress(done + 1);
    }
    let files = if traced { simulation.file_names() } else { Vec::new() };
    simulation.report(plan, queries).map(|report| Report { trace, files, ..report })
}

/// Something to do to a network by hand, for [`play`]. Numbers beyond what there is wrap around.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// A node searches; the search before is over.
    Search {
        /// Which node.
        from: usize,
        /// TTL of the Query, 1 to 15.
        ttl: u8,
        /// Which file of the catalogue.
        file: usize,
    },
    /// Virtual time passes.
    Wait(Duration),
    /// A node crashes.
    Crash {
        /// Which node.
        node: usize,
        /// Its machine is gone too: its neighbours are not told.
        dark: bool,
    },
    /// A node that crashed is back.
    Return {
        /// Which node.
        node: usize,
    },
    /// A node stops reading.
    Stall {
        /// Which node.
        node: usize,
    },
    /// It reads again.
    Resume {
        /// Which node.
        node: usize,
    },
    /// A connection, present or past, is reset.
    Reset {
        /// Which, in the order they were made.
        wire: usize,
        /// Not now, but within the next bytes that arrive on it.
        cut: bool,
    },
    /// The network is parted.
    Part {
        /// The side of each node, a bit for each.
        sides: u64,
    },
    /// It is whole again.
    Heal,
}

/// Starts a network and runs these operations on it, with all rules checked.
///
/// # Errors
/// The first rule of the protocol that did not hold.
pub fn play(plan: &Plan, graph: &Graph, operations: &[Operation]) -> Result<Report, Violation> {
    let make_node = |_, servent| servent;
    let mut simulation: Simulation<'_, Servent> =
        Simulation::start(plan, graph, true, true, 1, &make_node)?;
    let (nodes, mut searching, mut queries) = (graph.names.len(), None, Vec::new());
    for &operation in operations {
        match operation {
            Operation::Search { from, ttl, file } => {
                if let Some(origin) = searching.replace(from % nodes) {
                    queries.push(simulation.end_search(origin, plan)?);
                }
                simulation.begin_search(from % nodes, ttl.clamp(1, 15), file);
            }
            Operation::Wait(time) => {
                let until = simulation.net.now() + time;
                simulation.run(until, until)?;
            }
            Operation::Crash { node, dark } => simulation.crash(node % nodes, dark, "crash"),
            Operation::Return { node } => simulation.come_back(node % nodes),
            Operation::Stall { node } => simulation.stall(node % nodes),
            Operation::Resume { node } => simulation.resume(node % nodes),
            Operation::Reset { wire, cut } => {
                let wires = simulation.net.whole().wires();
                if wires > 0 {
                    simulation.reset(wire % wires, cut);
                }
            }
            Operation::Part { sides } => {
                simulation.part((0..nodes).map(|node| sides >> (node % 64) & 1 == 1).collect());
            }
            Operation::Heal => simulation.heal(),
        }
    }
    if let Some(origin) = searching {
        queries.push(simulation.end_search(origin, plan)?);
    }
    simulation.report(plan, queries)
}
