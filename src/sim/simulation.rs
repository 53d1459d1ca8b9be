//! A run: a network of servents, what the plan wants done to it, and where every copy of a
//! descriptor is in the end.

use super::node::ServentNode;
use super::report::{QueryReport, Report};
use super::shares::Shares;
use super::watcher::Watcher;
use crate::config::{Config, Limits, Scope};
use crate::library::Library;
use crate::net::{LinkParams, Net, State};
use crate::plan::Plan;
use crate::plan::fault_schedule::FaultSchedule;
use crate::plan::topology::Graph;
use crate::rng::Rng;
use crate::rules::{Ledger, Violation, check_bound};
use crate::servent::Servent;
use crate::stats::DropReason;
use crate::time::Instant;
use crate::wire::ServentId;
use std::collections::BTreeMap;
use std::hash::Hasher;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::time::Duration;

/// Where node 0 listens; the others follow.
const FIRST_ADDR: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 1), 6346);

/// Latency of a link where the plan names none.
const USUAL_LATENCY: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(100));

/// Where nothing fails, a search that has not died down by then is left alone.
pub(super) const SETTLE_TIMEOUT: Duration = Duration::from_secs(3_600);

/// Makes a node of a servent.
pub(super) type MakeNode<'a, N> = &'a mut dyn FnMut(usize, Servent) -> N;

/// See the module documentation.
pub(super) struct Simulation<'a, N: ServentNode> {
    pub(super) net: Net<N, Watcher<'a>>,
    config: Arc<Config>,
    make_node: MakeNode<'a, N>,
    /// What each node shares.
    pub(super) libraries: Vec<Arc<Library>>,
    pub(super) retired: RetiredStats,
}

/// Counters of nodes that crashed.
#[derive(Default)]
pub(super) struct RetiredStats {
    queued_ever: u64,
    sent: u64,
    received: u64,
    queued: u64,
    drops: [u64; DropReason::ALL.len()],
}

impl RetiredStats {
    /// A node crashes.
    pub(super) fn add(&mut self, core: &Servent) {
        self.queued_ever += queued_ever(core);
        self.sent += core.stats().sent;
        self.received += core.stats().received.total();
        self.queued += core.copies_queued();
        for reason in DropReason::ALL {
            self.drops[reason as usize] += core.stats().dropped(reason);
        }
    }
}

impl<'a, N: ServentNode> Simulation<'a, N> {
    /// All links stand, and the plan's faults are about to happen. `changing` says that nodes and
    /// links may come and go.
    pub(super) fn start(
        plan: &'a Plan,
        graph: &'a Graph,
        changing: bool,
        oracles: bool,
        make_node: MakeNode<'a, N>,
    ) -> Result<Simulation<'a, N>, Violation> {
        let rng = Rng::new(plan.seed);
        // A generator of its own, so that the schedule does not depend on what the network draws.
        let schedule = FaultSchedule::new(plan.faults.clone(), Rng::new(!plan.seed));
        let watcher = Watcher::new(graph, &plan.faults, schedule, oracles);
        let nodes = graph.names.len();
        let degrees = (0..nodes).map(|node| watcher.neighbours.degree(node));
        let config = Arc::new(config(changing, degrees.max().unwrap_or(0)));
        let shares = Shares::new(plan);
        let params = LinkParams {
            latency: plan.latency.map_or(USUAL_LATENCY, |latency| (latency, latency)),
            bandwidth: plan.bandwidth,
            window: plan.window_bytes(),
            split: plan.split,
            loss: 0.0,
        };
        let mut simulation = Simulation {
            net: Net::new(FIRST_ADDR, params, rng, watcher),
            config,
            make_node,
            libraries: Vec::with_capacity(nodes),
            retired: RetiredStats::default(),
        };
        simulation.net.reserve(nodes, graph.edges.len());
        for (node, name) in graph.names.iter().enumerate() {
            let mut rng = simulation.net.rng.fork();
            simulation.libraries.push(shares.library(name, &mut rng));
            let identity = ServentId::from_random(rng.bytes16());
            let made = simulation.make(node, identity, rng.next_u64());
            simulation.net.add(made);
        }
        simulation.link_up(changing)?;
        Ok(simulation)
    }

    fn link_up(&mut self, changing: bool) -> Result<(), Violation> {
        for node in 0..self.libraries.len() {
            self.keep_links(node);
        }
        let now = self.net.now();
        self.run(now, now + SETTLE_TIMEOUT)?;
        if changing {
            let (now, nodes, wires) = (self.net.now(), self.libraries.len(), self.net.wires());
            self.net.observer.arm(now, nodes, wires);
        }
        Ok(())
    }

    /// A servent as it starts.
    pub(super) fn make(&mut self, node: usize, identity: ServentId, seed: u64) -> N {
        let (config, library) = (Arc::clone(&self.config), Arc::clone(&self.libraries[node]));
        (self.make_node)(node, Servent::new(config, library, identity, seed, self.net.now()))
    }

    /// Has a node dial its links: each link is kept by its lower node.
    pub(super) fn keep_links(&mut self, node: usize) {
        let now = self.net.now();
        let others: Vec<usize> = self.net.observer.neighbours.kept_by(node).collect();
        for other in others {
            let addr = self.net.addr_of(other);
            self.net.node_mut(node).servent_mut().add_static_peer(now, addr);
        }
        self.net.node_mut(node).handle_timeout(now);
        self.net.turn(node);
    }

    /// Runs until `min`, and then on until nothing is under way, or `max`, through all faults.
    pub(super) fn run(&mut self, min: Instant, max: Instant) -> Result<(), Violation> {
        while self.net.run(min, max) {
            if let Some(violation) = self.net.observer.violation.take() {
                return Err(violation);
            }
            let now = self.net.now();
            while let Some((_, fault)) = self.net.observer.schedule.next_due(now) {
                self.fault(fault);
            }
        }
        Ok(())
    }

    /// How long nodes remember the GUID of a Query at least.
    pub(super) fn query_route_age(&self) -> Duration {
        self.config.limits.query_route_age
    }

    /// The violation, noticed now.
    pub(super) fn now_broken(&self, violation: Violation) -> Violation {
        violation.at(self.net.now())
    }

    fn up(&self) -> impl Iterator<Item = &Servent> {
        self.net.up().map(ServentNode::servent)
    }

    /// Checks the bounds of nodes that did something since this was done last.
    pub(super) fn check_busy(&mut self) -> Result<(), Violation> {
        let busy = self.net.take_busy();
        busy.into_iter().try_for_each(|node| self.check_bounds(node as usize))
    }

    fn check_bounds(&self, node: usize) -> Result<(), Violation> {
        if !self.net.observer.oracles || self.net.state(node) != State::Up {
            return Ok(());
        }
        let (limits, core) = (&self.config.limits, self.net.node(node).servent());
        let most =
            limits.ping_routes + limits.query_routes + limits.push_routes + limits.servent_routes;
        check_bound("routes", core.routes_held(), most)
            .and_then(|()| check_bound("links", core.neighbours().count(), self.config.max_links))
            .map_err(|violation| self.now_broken(violation.by(format_args!("node {node}"))))
    }

    /// The names of the files of each node.
    pub(super) fn file_names(&self) -> Vec<Vec<String>> {
        let names =
            |library: &Arc<Library>| library.entries().map(|entry| entry.name.to_owned()).collect();
        self.libraries.iter().map(names).collect()
    }

    /// Ends the run: looks where every copy is, and says what the run showed.
    pub(super) fn report(
        mut self,
        plan: &Plan,
        queries: Vec<QueryReport>,
    ) -> Result<Report, Violation> {
        (0..self.libraries.len()).try_for_each(|node| self.check_bounds(node))?;
        let in_flight = self.net.count_in_flight();
        let mut drops = BTreeMap::new();
        for reason in DropReason::ALL {
            let standing: u64 = self.up().map(|core| core.stats().dropped(reason)).sum();
            let count = standing + self.retired.drops[reason as usize];
            if count > 0 {
                drops.insert(reason.name(), count);
            }
        }
        let watcher = &self.net.observer;
        let lost = self.net.lost() + watcher.untaken;
        let ledger = Ledger {
            queued: self.retired.queued_ever + self.up().map(queued_ever).sum::<u64>(),
            sent: self.retired.sent + self.up().map(|core| core.stats().sent).sum::<u64>(),
            received: self.retired.received
                + self.up().map(|core| core.stats().received.total()).sum::<u64>(),
            seen: watcher.descriptors - watcher.untaken,
            link_ended: drops.get(DropReason::LinkEnded.name()).copied().unwrap_or(0),
            waiting: self.up().map(Servent::copies_queued).sum(),
            crashed: self.retired.queued,
            lost,
            in_flight,
        };
        if watcher.oracles {
            ledger.check().map_err(|violation| self.now_broken(violation))?;
        }
        Ok(Report {
            checked: watcher.oracles,
            seed: plan.seed,
            trace_hash: format!("{:016x}", watcher.trace.finish()),
            nodes: watcher.graph.names.len(),
            links: watcher.graph.edges.len(),
            queries,
            bytes: watcher.bytes,
            descriptors: watcher.descriptors,
            drops,
            routes_held: self.up().map(Servent::routes_held).sum(),
            faults: watcher.injected.clone(),
            copies_lost: lost,
            trace: None,
            files: Vec::new(),
            virtual_seconds: self.net.now().since(Instant::ZERO).as_secs_f64(),
            real_seconds: 0.0,
            search_seconds: 0.0,
            bytes_per_node: None,
        })
    }
}

/// Copies of descriptors put into send queues.
fn queued_ever(core: &Servent) -> u64 {
    core.stats().forwarded.total() + core.stats().originated.total()
}

fn config(changing: bool, max_degree: usize) -> Config {
    let limits = Limits { max_connections: 65_535, ..Limits::default() };
    let usual = Config {
        links: 0,
        max_links: max_degree,
        scope: Scope::Private,
        background_pings: false,
        advertise_port: FIRST_ADDR.port(),
        ttl: 15,
        limits,
        ..Config::default()
    };
    if !changing {
        // Keepalives would only blur the counts; links do not die silently here.
        let limits = Limits {
            keepalive_after: Duration::from_secs(1 << 30),
            link_timeout: Duration::from_secs(1 << 31),
            stall_timeout: Duration::from_secs(1 << 31),
            ..usual.limits
        };
        return Config { limits, ..usual };
    }
    // Links that one side still holds for standing take room for a while.
    Config { max_links: 2 * max_degree + 8, ..usual }
}
