//! `servent lab`: ways to look files up, measured side by side.

use super::exit::Failure;
use super::sim::list_folders;
use super::values::{Delay, Ttl};
use super::{output, plan, show};
use crate::lab::report::{Row, limits, table};
use crate::lab::{self, Cell, SystemKind, Workload};
use crate::plan::Plan;
use crate::plan::topology::{Graph, Topology};
use crate::rng::Rng;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use std::cmp::Reverse;
use std::fs;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Sizes without failures, and the size for failures, unless given.
const SIZES: [usize; 3] = [100, 1_000, 10_000];
const FAILURE_SIZE: usize = 1_000;

/// Most nodes. Each has an address in 10.0.0.0/8, and they must fit into memory.
const MAX_NODES: usize = 1_000_000;

/// Nodes take others for dead that do not answer within half a second.
const MAX_LATENCY: Duration = Duration::from_millis(200);

/// Ends the long help of `lab`.
pub(super) const LAB_NOTES: &str = "\
Without --nodes and --failures: 100, 1000 and 10000 nodes without failures, and every failure at 1000 \
nodes. --failures given applies to every size, --nodes given to every failure.

Columns: names and words are the shares of lookups by whole name and by words that found a live copy, \
each followed by recall, the share of the live copies found; messages (mean, p95) and bytes are those of \
a lookup, answers included; hops and ms lead to the first copy: hops of chord count the nodes asked \
before the owner, of pastry and can the links to the owner, of the others the links to the copy; state \
is entries a node keeps of others (mean, most); join is messages a node, upkeep messages a node and \
minute; busiest is the share of all messages that the busiest node sends or receives. After a failure \
all figures of lookups are those of the minute after it. Messages between nodes without a standing link \
are datagrams: latency and no set-up. A lookup that grows with the logarithm of the number N of nodes \
takes so many messages more for each doubling of N; one that grows as N^1 takes twice as many.

Failures: index kills the directory, or the node that handled most messages where there is none; \
random:0.3 kills 30 % of the nodes at random, perhaps the directory among them; top:0.05 kills the best connected 5 %, which are the nodes \
with most links in flood, ring and walk, and those that keep most entries of state in the others; with \
churn nodes stay for 10 minutes and are gone for one on average (Pareto). Back after is 0 s if the \
minute after the failure has at least 95 % of the success of the minute before; otherwise the time \
until success is back there for a window of 30 s, windows beginning every 5 s from the failure on; - \
if it is not within 5 minutes.";

#[derive(Debug, Args)]
#[command(after_long_help = LAB_NOTES)]
pub(super) struct LabArgs {
    /// A plan, in TOML: its nodes, links, files and folders, latency, TTL, seed and number of lookups
    #[arg(long, value_name = "FILE", conflicts_with_all = ["nodes", "topology"])]
    plan: Option<PathBuf>,
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
    /// Lookups, spread over a minute; the same for all systems [default: 200]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=60_000))]
    queries: Option<u32>,
    /// Links a flood may cross, 1 to 15 [default: 15]
    #[arg(long, value_name = "N")]
    ttl: Option<Ttl>,
    /// Seed of all randomness: same seed, same table, whatever the number of cores [default: 1]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Links between nodes, for systems that have them: line, ring, star, tree:BRANCHING,DEPTH,
    /// regular:DEGREE, random:PROBABILITY, scale-free:LINKS or file:EDGELIST [default: scale-free:2]
    #[arg(long, value_name = "SHAPE")]
    topology: Option<Topology>,
    /// One JSON object a line for each system, size and failure, instead of a table
    #[arg(long)]
    json: bool,
    /// Write pictures into a folder, one for each measure, and overview.svg; created if missing
    #[arg(long, value_name = "DIR")]
    svg: Option<PathBuf>,
    #[command(flatten)]
    choices: Choices,
}

/// The options of [`lab::Options`].
#[derive(Debug, Args)]
#[command(next_help_heading = "Choices that favour some systems")]
struct Choices {
    /// Files each node shares, drawn by popularity from a catalogue of 5,000 [default: 4]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=100))]
    files: Option<u16>,
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
    #[arg(long, value_name = "N", default_value = "3",
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
    /// These, those of a plan where they are not given.
    fn over(&self, plan: &Plan) -> lab::Options {
        lab::Options {
            files: self.files.unwrap_or(u16::try_from(plan.files).unwrap_or(u16::MAX)),
            zipf: self.zipf,
            latency: self.latency.map(|latency| latency.0).or(plan.latency),
            walkers: self.walkers,
            check_interval: self.check_interval,
            superpeer_every: self.superpeer_every,
            replicas: self.replicas,
            cache: self.cache,
            dimensions: self.dimensions,
        }
    }
}

fn latency(text: &str) -> Result<Delay, String> {
    let latency = text.parse().ok().filter(|latency: &Delay| latency.0 <= MAX_LATENCY);
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

/// What is the same for all cells.
struct Setting {
    sizes: Vec<Size>,
    systems: Vec<SystemKind>,
    options: lab::Options,
    queries: usize,
    ttl: u8,
    seed: u64,
}

pub(super) fn run(args: &LabArgs) -> Result<(), Failure> {
    let setting = setting(args)?;
    let sizes = &setting.sizes;
    let mut cells = Vec::new();
    for (number, size) in sizes.iter().enumerate() {
        for failure in failures(args, size.graph.names.len(), sizes.len() == 1 || number == 1) {
            cells.extend(setting.systems.iter().map(|&system| Cell {
                system,
                failure,
                graph: &size.graph,
                workload: &size.workload,
                queries: setting.queries,
                ttl: setting.ttl,
                seed: setting.seed,
                options: setting.options,
            }));
        }
    }
    // A folder that cannot be written is told before the work, not after it.
    if let Some(folder) = &args.svg {
        fs::create_dir_all(folder).map_err(|error| {
            Failure::disk(format!("cannot create {}: {error}", folder.display()))
        })?;
    }
    let rows = run_all(&cells)?;
    if let Some(folder) = &args.svg {
        for (name, svg) in lab::pictures(&rows) {
            show::write(&folder.join(name), &svg)?;
        }
    }
    if args.json {
        return rows.iter().try_for_each(output::json);
    }
    output::line(&text(&setting, &rows))
}

/// Each once, in the order they were given.
fn once<T: PartialEq + Clone>(given: &[T]) -> Vec<T> {
    let is_first = |(at, it): &(usize, &T)| !given[..*at].contains(it);
    given.iter().enumerate().filter(is_first).map(|(_, it)| it.clone()).collect()
}

/// Arguments and plan to what is to be measured.
fn setting(args: &LabArgs) -> Result<Setting, Failure> {
    let usual = Plan {
        nodes: 0,
        topology: Topology::ScaleFree { links: 2 },
        queries: 200,
        ttl: 15,
        ..Plan::default()
    };
    let (plan, sizes) = match &args.plan {
        None => {
            let topology = args.topology.clone().unwrap_or(usual.topology.clone());
            let seed = args.seed.unwrap_or(usual.seed);
            let plan = Plan { topology, seed, ..usual };
            let sizes = sizes(args, &plan)?;
            (plan, sizes)
        }
        Some(path) => {
            let (mut plan, graph) = plan::load_file(path, Plan { nodes: 100, ..usual })?;
            list_folders(&mut plan)?;
            check(&plan)?;
            plan.seed = args.seed.unwrap_or(plan.seed);
            let size = size_of(graph, &plan, &args.choices.over(&plan))?;
            (plan, vec![size])
        }
    };
    Ok(Setting {
        sizes,
        systems: match args.systems[..] {
            [] => SystemKind::ALL.to_vec(),
            _ => once(&args.systems),
        },
        options: args.choices.over(&plan),
        queries: args.queries.map_or(plan.queries, |queries| queries as usize),
        ttl: args.ttl.map_or(plan.ttl, |ttl| ttl.0),
        seed: plan.seed,
    })
}

/// Refuses what the lab cannot do with a plan, and says what it leaves out.
fn check(plan: &Plan) -> Result<(), Failure> {
    let refuse = |what: &str| Err(Failure::usage(format!("the lab cannot run the plan: {what}")));
    if plan.files > 100 {
        return refuse("nodes share at most 100 generated files each");
    }
    if plan.latency.is_some_and(|latency| latency > MAX_LATENCY) {
        return refuse("its latency is above 200 ms, within which nodes must answer");
    }
    if !(1..=60_000).contains(&plan.queries) {
        return refuse("queries must be from 1 to 60000");
    }
    let unused = [
        ("from", plan.from.is_some()),
        ("bandwidth", plan.bandwidth.is_some()),
        ("window", plan.window.is_some()),
        ("split", plan.split),
        ("interval", plan.interval.is_some()),
        ("faults (see --failures)", !plan.faults.is_none()),
        ("roles and dialects", plan.has_roles()),
    ];
    let unused: Vec<&str> = unused.iter().filter(|(_, is)| *is).map(|(name, _)| *name).collect();
    if !unused.is_empty() {
        log::warn!("the lab leaves out of the plan: {}", unused.join(", "));
    }
    Ok(())
}

/// The networks asked for.
fn sizes(args: &LabArgs, plan: &Plan) -> Result<Vec<Size>, Failure> {
    let own_size = matches!(
        plan.topology,
        Topology::Tree { .. } | Topology::Ultrapeers { .. } | Topology::File { .. }
    );
    if own_size && !args.nodes.is_empty() {
        return Err(Failure::usage("this topology has its own number of nodes: leave out --nodes"));
    }
    let counts = match (own_size, args.nodes.is_empty()) {
        (true, _) => vec![0],
        (false, true) => SIZES.to_vec(),
        (false, false) => once(&args.nodes),
    };
    let mut sizes = Vec::new();
    for nodes in counts {
        check_count(nodes)?;
        let (plan, graph) = plan::with_graph(Plan { nodes, ..plan.clone() })?;
        sizes.push(size_of(graph, &plan, &args.choices.over(&plan))?);
    }
    Ok(sizes)
}

fn check_count(nodes: usize) -> Result<(), Failure> {
    if nodes <= MAX_NODES {
        return Ok(());
    }
    Err(Failure::usage(format!(
        "at most {MAX_NODES} nodes can be measured, {nodes} were asked for"
    )))
}

/// A network with files: those that the plan names for a node, or as many as it says.
fn size_of(graph: Graph, plan: &Plan, options: &lab::Options) -> Result<Size, Failure> {
    check_count(graph.names.len())?;
    let named = graph.names.iter().map(|name| {
        let place = plan.places.get(name).filter(|place| !place.folders.is_empty())?;
        Some(place.files.iter().map(|file| file.name.clone()).collect())
    });
    let mut rng = Rng::new(plan.seed);
    // The graph has been drawn from the fork.
    let _ = rng.fork();
    let workload = Workload::with_files(named.collect(), options, &mut rng);
    Ok(Size { graph, workload })
}

/// The failures of one size.
fn failures(args: &LabArgs, nodes: usize, is_usual: bool) -> Vec<lab::Failure> {
    use lab::Failure::{Churn, Index, None, Random, Top};
    let all = || vec![None, Index, Random(0.3), Top(0.05), Churn];
    match (args.failures.is_empty(), args.nodes.is_empty()) {
        (false, _) => once(&args.failures),
        (true, false) => all(),
        (true, true) if is_usual || nodes == FAILURE_SIZE => all(),
        (true, true) => vec![None],
    }
}

/// Runs cells on all cores. Each is a network of its own, so the order does not matter.
fn run_all(cells: &[Cell<'_>]) -> Result<Vec<Row>, Failure> {
    let mut order: Vec<usize> = (0..cells.len()).collect();
    // The largest first, so that no core is left with one of them in the end.
    order.sort_by_key(|&cell| Reverse(cells[cell].workload.files.len()));
    let (next, done) = (AtomicUsize::new(0), Mutex::new(vec![None; cells.len()]));
    let progress = Progress::new(cells.len());
    let work = || {
        while let Some(&number) = order.get(next.fetch_add(1, Ordering::Relaxed)) {
            let row = lab::run(&cells[number]);
            let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
            let has_failed = row.is_err();
            done[number] = Some(row);
            progress.tell(&cells[number], done.iter().flatten().count());
            if has_failed {
                // There will be no table.
                next.store(order.len(), Ordering::Relaxed);
            }
        }
    };
    let threads = thread::available_parallelism().map_or(1, usize::from).min(cells.len());
    thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(work))));
    progress.bar.finish_and_clear();
    let done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    // A row is missing only where another has failed.
    let rows = done.into_iter().zip(cells).filter_map(|(row, cell)| Some((row?, cell)));
    let rows = rows.map(|(row, cell)| {
        row.map_err(|wrong| {
            let (name, nodes) = (cell.system.name(), cell.workload.files.len());
            Failure::failed(format!(
                "a rule of {name} did not hold with {nodes} nodes, failure {}, seed {}: {wrong}",
                cell.failure, cell.seed
            ))
        })
    });
    rows.collect()
}

/// Tells on stderr which cells are done: as a bar on a terminal, or else line by line.
struct Progress {
    bar: ProgressBar,
    cells: usize,
    started: Instant,
}

impl Progress {
    fn new(cells: usize) -> Progress {
        let bar = match io::stderr().is_terminal() {
            true => ProgressBar::new(cells as u64),
            false => ProgressBar::hidden(),
        };
        let template = "{bar:24} {pos}/{len} cells of the table, {elapsed}; done: {wide_msg}";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_message("none");
        bar.enable_steady_tick(Duration::from_secs(1));
        Progress { bar, cells, started: Instant::now() }
    }

    /// A cell is done, the `count`th.
    fn tell(&self, cell: &Cell<'_>, count: usize) {
        let nodes = cell.workload.files.len();
        let what = format!("{}, {nodes} nodes, {}", cell.system.name(), cell.failure);
        if self.bar.is_hidden() {
            let (cells, seconds) = (self.cells, self.started.elapsed().as_secs());
            let _ = writeln!(io::stderr(), "{count} of {cells} done after {seconds} s: {what}");
        }
        self.bar.set_position(count as u64);
        self.bar.set_message(what);
    }
}

/// The table, what it does not show, and what it was made with.
fn text(setting: &Setting, rows: &[Row]) -> String {
    let mut out = table(rows);
    out.push('\n');
    out.push_str(&limits(rows, &setting.systems));
    let latency = match setting.options.latency {
        None => "10 to 100 ms".to_owned(),
        Some(latency) => format!("{latency:?}"),
    };
    out.push_str(&format!(
        "\n{} a minute, half by whole name, half by two words; datagrams without set-up, {latency}; \
         seed {}\n{}",
        output::count(setting.queries as u64, "lookup", "lookups"),
        setting.seed,
        chosen(&setting.options, &setting.systems)
    ));
    out
}

/// The values of the options that matter to these systems.
fn chosen(options: &lab::Options, systems: &[SystemKind]) -> String {
    let lab::Options { files, zipf, walkers, check_interval, superpeer_every, .. } = options;
    let mut chosen = vec![format!("{files} files a node from 5000 (Zipf, exponent {zipf})")];
    let tables = [SystemKind::Chord, SystemKind::Pastry, SystemKind::Can];
    if systems.iter().any(|system| tables.contains(system)) {
        let nodes = output::count(options.replicas.into(), "node", "nodes");
        chosen.push(format!("each key of a hash table kept by {nodes}"));
    }
    for system in systems {
        match system {
            SystemKind::Walk => {
                chosen.push(format!("{walkers} walkers, a check every {check_interval} links"));
            }
            SystemKind::SuperPeers => {
                chosen.push(format!("one node in {superpeer_every} a superpeer"));
            }
            SystemKind::Can => chosen.push(format!("CAN of {} dimensions", options.dimensions)),
            SystemKind::Freenet => {
                chosen.push(format!("Freenet keeps up to {} names of others", options.cache));
            }
            SystemKind::Central
            | SystemKind::Flood
            | SystemKind::Ring
            | SystemKind::Chord
            | SystemKind::Pastry => {}
        }
    }
    chosen.join("; ")
}
