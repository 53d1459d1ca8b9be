//! A run: a network of servents, what the plan wants done to it, and where every copy of a
//! descriptor is in the end.

use super::configs::{Configs, PORT};
use super::follower::Follower;
use super::leaf_tables::LeafTables;
use super::node::ServentNode;
use super::report::{QueryReport, Report};
use super::shards::{Shards, ranges};
use super::shares::Shares;
use super::watcher::{Seen, Watcher};
use crate::library::Library;
use crate::net::{LinkParams, Net, State};
use crate::plan::Plan;
use crate::plan::fault_schedule::FaultSchedule;
use crate::plan::roles::Roles;
use crate::plan::topology::Graph;
use crate::rng::Rng;
use crate::rules::{Ledger, Violation, check_bound};
use crate::servent::Servent;
use crate::stats::DropReason;
use crate::time::Instant;
use crate::wire::ServentId;
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

/// Where node 0 listens; the others follow.
const FIRST_ADDR: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 1), PORT);

/// Latency of a link where the plan names none.
const USUAL_LATENCY: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(100));

/// Where nothing fails, a search that has not died down by then is left alone.
pub(super) const SETTLE_TIMEOUT: Duration = Duration::from_secs(3_600);

/// Within this time route tables have gone through the network: they are merged once a minute.
const TABLES_TIMEOUT: Duration = Duration::from_secs(150);

/// A smaller latency makes windows too short to be worth it.
const MIN_WINDOW: Duration = Duration::from_millis(1);

/// With fewer nodes for each, more cores are of no use.
const MIN_NODES_OF_SHARD: usize = 1_000;

/// Nodes that dial at one time: the handshakes of more would take the room of a good part of the nodes.
const NODES_OF_ROUND: usize = 20_000;

/// Makes a node of a servent.
pub(super) type MakeNode<'a, N> = &'a (dyn Fn(usize, Servent) -> N + Sync);

/// See the module documentation.
pub(super) struct Simulation<'a, N: ServentNode> {
    pub(super) net: Shards<N, Watcher<'a>>,
    pub(super) follower: Follower<'a>,
    /// Draws what users do.
    pub(super) rng: Rng,
    configs: Configs,
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
    /// links may come and go; `cores` is the most shards to run in.
    pub(super) fn start(
        plan: &'a Plan,
        graph: &'a Graph,
        changing: bool,
        oracles: bool,
        cores: usize,
        make_node: MakeNode<'a, N>,
    ) -> Result<Simulation<'a, N>, Violation> {
        let mut rng = Rng::new(plan.seed);
        let roles = Roles::new(plan, graph).expect("the graph is that of a valid plan");
        let follower = Follower::new(graph, roles);
        let nodes = graph.names.len();
        let configs = Configs::new(changing, &follower);
        let params = LinkParams {
            latency: plan.latency.map_or(USUAL_LATENCY, |latency| (latency, latency)),
            bandwidth: plan.bandwidth,
            window: plan.window_bytes(),
            split: plan.split,
            loss: 0.0,
        };
        let is_simple = !changing && params.window.is_none() && !params.split;
        let window = Some(params.latency.0).filter(|&least| is_simple && least >= MIN_WINDOW);
        let shards = match window {
            Some(_) => cores.min(nodes / MIN_NODES_OF_SHARD).max(1),
            None => 1,
        };
        let draws = rng.fork();
        let shard = |range: Range<usize>| {
            // A generator of its own, so that the schedule does not depend on what the network draws.
            let schedule = FaultSchedule::new(plan.faults.clone(), Rng::new(!plan.seed));
            let leaves = Arc::clone(&follower.leaves);
            let watcher = Watcher::new(&plan.faults, schedule, oracles, leaves, range.clone());
            let is_here = |&&(a, b): &&(usize, usize)| range.contains(&a) || range.contains(&b);
            let (len, wires) = (range.len(), graph.edges.iter().filter(is_here).count());
            let mut net = match shards {
                1 => Net::new(FIRST_ADDR, params.clone(), draws.clone(), watcher),
                _ => Net::shard(FIRST_ADDR, params.clone(), draws.clone(), watcher, range, nodes),
            };
            net.reserve(len, wires);
            net
        };
        let nets: Vec<_> = ranges(nodes, shards).into_iter().map(shard).collect();
        let mut simulation = Simulation {
            net: Shards::new(nets, nodes, window),
            follower,
            rng,
            configs,
            make_node,
            libraries: Vec::new(),
            retired: RetiredStats::default(),
        };
        simulation.fill(plan);
        simulation.link_up(changing)?;
        Ok(simulation)
    }

    /// Makes the nodes of all shards.
    fn fill(&mut self, plan: &Plan) {
        let (names, shares) = (&self.follower.graph.names, Shares::new(plan));
        let rngs: Vec<Rng> = names.iter().map(|_| self.rng.fork()).collect();
        let (configs, make_node) = (&self.configs, self.make_node);
        let roles = &self.follower.roles;
        let made = self.net.each(|net, nodes| {
            let mut libraries = Vec::with_capacity(nodes.len());
            for node in nodes {
                let mut rng = rngs[node].clone();
                let library = shares.library(&names[node], &mut rng);
                libraries.push(Arc::clone(&library));
                let identity = ServentId::from_random(rng.bytes16());
                let (config, seed) = (configs.of(roles, node), rng.next_u64());
                let servent = Servent::new(config, library, identity, seed, Instant::ZERO);
                net.add(make_node(node, servent));
            }
            libraries
        });
        self.libraries = made.into_iter().flatten().collect();
        let is_leaf = |node: &usize| self.follower.leaves.get(*node).is_some_and(|leaf| *leaf);
        if !self.follower.leaves.is_empty() {
            let libraries = self.libraries.iter().enumerate();
            let of_leaves = libraries.map(|(node, it)| Some(&**it).filter(|_| is_leaf(&node)));
            self.follower.leaf_tables = LeafTables::new(of_leaves);
        }
    }

    fn link_up(&mut self, changing: bool) -> Result<(), Violation> {
        let rounds = self.libraries.len().div_ceil(NODES_OF_ROUND).max(1);
        for round in 0..rounds {
            let follower = &self.follower;
            self.net.each(|net, nodes| {
                let now = nodes.filter(|node| node % rounds == round);
                now.for_each(|node| keep_links(net, follower, node));
            });
            let now = self.net.now();
            self.run(now, now + SETTLE_TIMEOUT)?;
        }
        if !self.follower.roles.are_plain() {
            let until = self.net.now() + TABLES_TIMEOUT;
            self.run(until, until)?;
        }
        if changing {
            let (now, nodes) = (self.net.now(), self.libraries.len());
            let net = self.net.whole();
            let wires = net.wires();
            net.observer.arm(now, nodes, wires);
        }
        Ok(())
    }

    /// A servent as it starts.
    pub(super) fn make(&mut self, node: usize, identity: ServentId, seed: u64) -> N {
        let config = self.configs.of(&self.follower.roles, node);
        let library = Arc::clone(&self.libraries[node]);
        (self.make_node)(node, Servent::new(config, library, identity, seed, self.net.now()))
    }

    /// Has a node dial its links.
    pub(super) fn keep_links(&mut self, node: usize) {
        keep_links(self.net.of_mut(node), &self.follower, node);
    }

    /// Runs until `min`, and then on until nothing is under way, or `max`, through all faults.
    pub(super) fn run(&mut self, min: Instant, max: Instant) -> Result<(), Violation> {
        loop {
            let follower = &mut self.follower;
            let is_over = !self.net.run(min, max, &mut |nets| follow(follower, nets));
            let watchers = self.net.all_mut().iter_mut();
            let mut broken = watchers.filter_map(|net| net.observer.violation.take());
            if let Some(violation) = self.follower.violation.take().or_else(|| broken.next()) {
                return Err(violation);
            }
            if is_over {
                return Ok(());
            }
            let now = self.net.now();
            while let Some((_, fault)) = self.net.whole().observer.schedule.next_due(now) {
                self.fault(fault);
            }
        }
    }

    /// Follows what was seen so far.
    pub(super) fn follow(&mut self) {
        follow(&mut self.follower, &mut self.net.all_mut().iter_mut().collect::<Vec<_>>());
    }

    /// How long nodes remember the GUID of a Query at least.
    pub(super) fn query_route_age(&self) -> Duration {
        self.configs.router.limits.query_route_age
    }

    /// The violation, noticed now.
    pub(super) fn now_broken(&self, violation: Violation) -> Violation {
        violation.at(self.net.now())
    }

    fn up(&self) -> impl Iterator<Item = &Servent> {
        self.net.all().iter().flat_map(Net::up).map(ServentNode::servent)
    }

    /// Checks the bounds of nodes that did something since this was done last.
    pub(super) fn check_busy(&mut self) -> Result<(), Violation> {
        let nets = self.net.all_mut().iter_mut();
        let busy: Vec<u32> = nets.flat_map(Net::take_busy).collect();
        busy.into_iter().try_for_each(|node| self.check_bounds(node as usize))
    }

    fn check_bounds(&self, node: usize) -> Result<(), Violation> {
        let net = self.net.of(node);
        if !net.observer.oracles || net.state(node) != State::Up {
            return Ok(());
        }
        let core = net.node(node).servent();
        let (config, limits) = (core.config(), &core.config().limits);
        let most_links = config.max_links + config.max_leaves;
        let most =
            limits.ping_routes + limits.query_routes + limits.push_routes + limits.servent_routes;
        check_bound("routes", core.routes_held(), most)
            .and_then(|()| check_bound("links", core.neighbours().count(), most_links))
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
        let in_flight = self.net.all_mut().iter_mut().map(Net::count_in_flight).sum();
        let mut drops = BTreeMap::new();
        for reason in DropReason::ALL {
            let standing: u64 = self.up().map(|core| core.stats().dropped(reason)).sum();
            let count = standing + self.retired.drops[reason as usize];
            if count > 0 {
                drops.insert(reason.name(), count);
            }
        }
        let watchers = || self.net.all().iter().map(|net| &net.observer);
        let sum = |of: fn(&Watcher<'_>) -> u64| watchers().map(of).sum::<u64>();
        let (oracles, untaken) = (self.net.observer().oracles, sum(|watcher| watcher.untaken));
        let lost = self.net.all().iter().map(Net::lost).sum::<u64>() + untaken;
        let ledger = Ledger {
            queued: self.retired.queued_ever + self.up().map(queued_ever).sum::<u64>(),
            sent: self.retired.sent + self.up().map(|core| core.stats().sent).sum::<u64>(),
            received: self.retired.received
                + self.up().map(|core| core.stats().received.total()).sum::<u64>(),
            seen: sum(|watcher| watcher.descriptors) - untaken,
            link_ended: drops.get(DropReason::LinkEnded.name()).copied().unwrap_or(0),
            waiting: self.up().map(Servent::copies_queued).sum(),
            crashed: self.retired.queued,
            lost,
            in_flight,
        };
        if oracles {
            ledger.check().map_err(|violation| self.now_broken(violation))?;
        }
        let report = Report {
            checked: oracles,
            seed: plan.seed,
            trace_hash: format!(
                "{:016x}",
                watchers().fold(0, |sum: u64, it| sum.wrapping_add(it.trace))
            ),
            nodes: self.follower.graph.names.len(),
            links: self.follower.graph.edges.len(),
            queries,
            bytes: sum(|watcher| watcher.bytes),
            descriptors: sum(|watcher| watcher.descriptors),
            drops,
            routes_held: self.up().map(Servent::routes_held).sum(),
            faults: self.net.observer().injected.clone(),
            copies_lost: lost,
            trace: None,
            files: Vec::new(),
            virtual_seconds: self.net.now().since(Instant::ZERO).as_secs_f64(),
            real_seconds: 0.0,
            search_seconds: 0.0,
            bytes_per_node: None,
        };
        self.net.end();
        Ok(report)
    }
}

/// Follows what the shards have seen, in the order it happened. True if a rule did not hold.
fn follow<N: ServentNode>(
    follower: &mut Follower<'_>,
    nets: &mut [&mut Net<N, Watcher<'_>>],
) -> bool {
    if let [net] = nets {
        follower.follow(net.observer.seen.drain(..));
    } else {
        let mut seen: Vec<Seen> = Vec::new();
        nets.iter_mut().for_each(|net| seen.append(&mut net.observer.seen));
        // Each shard's own are in order, and what happens in one event is seen by one shard.
        seen.sort_by_key(|seen| (seen.at, seen.order));
        follower.follow(seen.into_iter());
    }
    follower.violation.is_some() || nets.iter().any(|net| net.observer.violation.is_some())
}

/// Has a node dial its links.
fn keep_links<N: ServentNode>(net: &mut Net<N, Watcher<'_>>, follower: &Follower<'_>, node: usize) {
    let now = net.now();
    for (other, dialect) in follower.kept_by(node) {
        let addr = net.addr_of(other);
        net.node_mut(node).servent_mut().add_static_peer_speaking(now, addr, dialect);
    }
    net.node_mut(node).handle_timeout(now);
    net.turn(node);
}

/// Copies of descriptors put into send queues.
fn queued_ever(core: &Servent) -> u64 {
    core.stats().forwarded.total() + core.stats().originated.total()
}
