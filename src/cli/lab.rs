//! `servent lab`: ways to look files up, measured side by side.

use super::exit::Failure;
use super::output;
use super::values::{Delay, Ttl};
use crate::lab::report::{Row, growth, table};
use crate::lab::{self, Cell, SystemKind, Workload};
use crate::plan::topology::{Graph, Topology};
use crate::rng::Rng;
use clap::Args;
use std::fs;
use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// Sizes without failures, and the size for failures, unless given.
const SIZES: [usize; 3] = [100, 1_000, 10_000];
const FAILURE_SIZE: usize = 1_000;

/// Most nodes. Each has an address in 10.0.0.0/8, and they must fit into memory.
const MAX_NODES: usize = 1_000_000;

/// Ends the long help of `lab`.
pub(super) const LAB_NOTES: &str = "\
Without --nodes and --failures: 100, 1000 and 10000 nodes without failures, and every failure at 1000 \
nodes. --failures given applies to every size, --nodes given to every failure.

Columns: exact and words are the shares of lookups by whole name and by words that found a live copy; \
recall is the share of the live copies found by whole name; messages and bytes are those of a lookup, \
answers included; hops and ms lead to the first copy; state is entries a node keeps of others; join \
is messages a node, upkeep messages a node and minute; busiest is the share of all messages that the \
busiest node sends or receives. After a failure all figures of lookups are those of the minute after \
it. Messages between nodes without a standing link are datagrams: latency and no set-up.

Failures: index kills the directory, or the node that handled most messages where there is none; \
random:0.3 kills 30 % of the nodes at random; top:0.05 kills the best connected 5 %, which are the nodes \
with most links in flood, ring and walk, and those that keep most entries of state in the others; with \
churn nodes stay for 10 minutes and are gone for one on average (Pareto). Back after is 0 s if the \
minute after the failure has at least 95 % of the success of the minute before; otherwise the time \
until success is back there for a window of 30 s, windows beginning every 5 s from the failure on; - \
if it is not within 5 minutes.";

#[derive(Debug, Args)]
#[command(after_long_help = LAB_NOTES)]
pub(super) struct LabArgs {
    /// Numbers of nodes, with commas between them [default: 100,1000,10000]
    #[arg(long, value_name = "N,…", value_delimiter = ',')]
    nodes: Vec<usize>,
    /// Systems, with commas between them [default: all]
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    systems: Vec<SystemKind>,
    /// Failures, with commas between them: none, index, random:SHARE, top:SHARE, churn [default:
    /// none,index,random:0.3,top:0.05,churn]
    #[arg(long, value_name = "FAILURE,…", value_delimiter = ',')]
    failures: Vec<lab::Failure>,
    /// Lookups, spread over a minute; the same for all systems
    #[arg(long, value_name = "N", default_value = "200",
        value_parser = clap::value_parser!(u32).range(1..=60_000))]
    queries: u32,
    /// Links a flood may cross, 1 to 15
    #[arg(long, value_name = "N", default_value = "15")]
    ttl: Ttl,
    /// Seed of all randomness: same seed, same table, whatever the number of cores
    #[arg(long, value_name = "N", default_value = "1")]
    seed: u64,
    /// Links between nodes, for systems that have them: line, ring, star, tree:BRANCHING,DEPTH,
    /// regular:DEGREE, random:PROBABILITY, scale-free:LINKS or file:EDGELIST
    #[arg(long, value_name = "SHAPE", default_value = "scale-free:2")]
    topology: Topology,
    /// One JSON object a line for each system, size and failure, instead of a table
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    choices: Choices,
}

/// The options of [`lab::Options`].
#[derive(Debug, Args)]
#[command(next_help_heading = "Choices that favour some systems")]
struct Choices {
    /// Files each node shares, drawn by popularity from a catalogue of 5,000
    #[arg(long, value_name = "N", default_value = "4",
        value_parser = clap::value_parser!(u16).range(1..=100))]
    files: u16,
    /// Zipf exponent of the popularity of files, 0 to 3; with 0 all are equally popular
    #[arg(long, value_name = "S", default_value = "1", value_parser = exponent)]
    zipf: f64,
    /// One-way latency between any two nodes, up to 200ms [default: 10 to 100 ms, drawn for each pair]
    #[arg(long, value_name = "TIME", value_parser = latency)]
    latency: Option<Delay>,
    /// walk: random walkers of a lookup, 1 to 1000
    #[arg(long, value_name = "K", default_value = "16",
        value_parser = clap::value_parser!(u16).range(1..=1_000))]
    walkers: u16,
    /// walk: links a walker crosses between two checks with the searcher, 1 to 128
    #[arg(long, value_name = "LINKS", default_value = "4",
        value_parser = clap::value_parser!(u8).range(1..=128))]
    check_interval: u8,
    /// superpeers: one node in so many is a superpeer
    #[arg(long, value_name = "N", default_value = "10",
        value_parser = clap::value_parser!(u16).range(1..))]
    superpeer_every: u16,
    /// Hash tables: nodes that keep each key, its owner included, 1 to 8
    #[arg(long, value_name = "N", default_value = "1",
        value_parser = clap::value_parser!(u8).range(1..=8))]
    replicas: u8,
    /// freenet: names a node keeps beside its own
    #[arg(long, value_name = "N", default_value = "50",
        value_parser = clap::value_parser!(u32).range(..=100_000))]
    cache: u32,
    /// can: dimensions of the torus, 1 to 10
    #[arg(long, value_name = "D", default_value = "4",
        value_parser = clap::value_parser!(u8).range(1..=10))]
    dimensions: u8,
}

impl Choices {
    fn options(&self) -> lab::Options {
        lab::Options {
            files: self.files,
            zipf: self.zipf,
            latency: self.latency.map(|latency| latency.0),
            walkers: self.walkers,
            check_interval: self.check_interval,
            superpeer_every: self.superpeer_every,
            replicas: self.replicas,
            cache: self.cache,
            dimensions: self.dimensions,
        }
    }
}

/// Nodes take others for dead that do not answer within a second or so.
fn latency(text: &str) -> Result<Delay, String> {
    let latency =
        text.parse().ok().filter(|latency: &Delay| latency.0 <= Duration::from_millis(200));
    latency.ok_or_else(|| "give a time such as 50ms, at most 200ms".to_owned())
}

fn exponent(text: &str) -> Result<f64, String> {
    let exponent = text.parse().ok().filter(|exponent| (0.0..=3.0).contains(exponent));
    exponent.ok_or_else(|| "give a number from 0 to 3".to_owned())
}

/// A network of one size.
struct Size {
    graph: Graph,
    workload: Workload,
}

pub(super) fn run(args: &LabArgs) -> Result<(), Failure> {
    let sizes = sizes(args)?;
    let systems = if args.systems.is_empty() { SystemKind::ALL } else { &args.systems };
    let mut cells = Vec::new();
    for (number, size) in sizes.iter().enumerate() {
        for failure in failures(args, size.graph.names.len(), sizes.len() == 1 || number == 1) {
            cells.extend(systems.iter().map(|&system| Cell {
                system,
                failure,
                graph: &size.graph,
                workload: &size.workload,
                queries: args.queries as usize,
                ttl: args.ttl.0,
                seed: args.seed,
                options: args.choices.options(),
            }));
        }
    }
    let rows = run_all(&cells)?;
    if args.json {
        return rows.iter().try_for_each(output::json);
    }
    output::line(&text(args, &rows, systems))
}

/// The networks asked for.
fn sizes(args: &LabArgs) -> Result<Vec<Size>, Failure> {
    let own_size = matches!(args.topology, Topology::Tree { .. } | Topology::File { .. });
    if own_size && !args.nodes.is_empty() {
        return Err(Failure::usage("this topology has its own number of nodes: leave out --nodes"));
    }
    let counts = match (own_size, args.nodes.is_empty()) {
        (true, _) => vec![0],
        (false, true) => SIZES.to_vec(),
        (false, false) => args.nodes.clone(),
    };
    counts.into_iter().map(|count| size(args, count)).collect()
}

fn size(args: &LabArgs, count: usize) -> Result<Size, Failure> {
    if count > MAX_NODES {
        return Err(Failure::usage(format!(
            "at most {MAX_NODES} nodes can be measured, {count} were asked for"
        )));
    }
    let mut rng = Rng::new(args.seed);
    let graph = match &args.topology {
        Topology::File { path } => {
            let text = fs::read_to_string(path).map_err(|error| {
                Failure::disk(format!("cannot read the edge list {path}: {error}"))
            })?;
            Graph::from_edge_list(&text)
        }
        topology => Graph::generate(topology, count, &mut rng.fork()),
    };
    let graph = graph.map_err(|error| Failure::usage(error.to_string()))?;
    let workload = Workload::new(graph.names.len(), &args.choices.options(), &mut rng);
    Ok(Size { graph, workload })
}

/// The failures of one size.
fn failures(args: &LabArgs, nodes: usize, is_usual: bool) -> Vec<lab::Failure> {
    use lab::Failure::{Churn, Index, None, Random, Top};
    let all = || vec![None, Index, Random(0.3), Top(0.05), Churn];
    match (args.failures.is_empty(), args.nodes.is_empty()) {
        (false, _) => args.failures.clone(),
        (true, false) => all(),
        (true, true) if is_usual || nodes == FAILURE_SIZE => all(),
        (true, true) => vec![None],
    }
}

/// Runs cells on all cores. Each is a network of its own, so the order does not matter.
fn run_all(cells: &[Cell<'_>]) -> Result<Vec<Row>, Failure> {
    let mut order: Vec<usize> = (0..cells.len()).collect();
    // The largest first, so that no core is left with one of them in the end.
    order.sort_by_key(|&cell| std::cmp::Reverse(cells[cell].workload.files.len()));
    let (next, done) = (AtomicUsize::new(0), Mutex::new(vec![None; cells.len()]));
    let work = || {
        while let Some(&number) = order.get(next.fetch_add(1, Ordering::Relaxed)) {
            let cell = &cells[number];
            let row = lab::run(cell);
            let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
            done[number] = Some(row);
            let count = done.iter().flatten().count();
            let (name, nodes) = (cell.system.name(), cell.workload.files.len());
            let _ = writeln!(
                std::io::stderr(),
                "{count} of {}: {name}, {nodes} nodes, failure {}",
                cells.len(),
                cell.failure
            );
        }
    };
    let threads = thread::available_parallelism().map_or(1, usize::from).min(cells.len());
    thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(work))));
    let done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    let rows = done.into_iter().flatten().zip(cells).map(|(row, cell)| {
        row.map_err(|wrong| {
            Failure::failed(format!("a rule of {} did not hold: {wrong}", cell.system.name()))
        })
    });
    rows.collect()
}

/// The table, what it does not show, and what it was made with.
fn text(args: &LabArgs, rows: &[Row], systems: &[SystemKind]) -> String {
    let mut out = table(rows);
    out.push('\n');
    for &system in systems {
        let (name, limits) = (system.name(), system.limits());
        let grown = growth(rows, name).map_or(String::new(), |exponent| {
            format!("; messages of a lookup grow as N^{exponent:.2}")
        });
        out.push_str(&format!("{name}: {limits}{grown}\n"));
    }
    out.push_str(&format!(
        "\n{} lookups a minute, half by whole name, half by two words; datagrams without set-up, {}; \
         seed {}\n{}",
        args.queries,
        args.choices.latency.map_or("10 to 100 ms".to_owned(), |latency| format!("{:?}", latency.0)),
        args.seed,
        chosen(&args.choices.options(), systems)
    ));
    out
}

/// The values of the options that matter to these systems.
fn chosen(options: &lab::Options, systems: &[SystemKind]) -> String {
    let lab::Options { files, zipf, walkers, check_interval, superpeer_every, .. } = options;
    let mut chosen = vec![format!("{files} files a node from 5000 (Zipf, exponent {zipf})")];
    for system in systems {
        match system {
            SystemKind::Walk => {
                chosen.push(format!("{walkers} walkers, a check every {check_interval} links"));
            }
            SystemKind::SuperPeers => {
                chosen.push(format!("one node in {superpeer_every} a superpeer"));
            }
            SystemKind::Chord => {
                let nodes = output::count(options.replicas.into(), "node", "nodes");
                chosen.push(format!("each key kept by {nodes}"));
            }
            SystemKind::Central | SystemKind::Flood | SystemKind::Ring => {}
        }
    }
    chosen.join("; ")
}
