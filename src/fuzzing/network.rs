//! Fuzz target for whole networks: a small plan, faults and operations are decoded from bytes and run
//! in the simulator, with all rules checked.

use crate::plan::roles::{LinkPlan, NodeRole, Roles, Speaks};
use crate::plan::topology::Graph;
use crate::plan::{Faults, Place, Plan};
use crate::sim::{Operation, play};
use crate::wire::Dialect;
use std::time::Duration;

/// Upper bound on the operations of one run; more only take longer.
const MAX_OPERATIONS: usize = 64;

/// No sequence of faults in a network of 3 to 6 nodes breaks a rule of [`crate::rules`]: Queries and
/// hits keep to their paths, and every copy is received, dropped, lost with a link or in flight.
///
/// `data`: how many nodes and which roles, two bytes of links between them (one bit for each pair, on top of a
/// line), a seed, links (latency, bandwidth, window, splitting), chances of faults, then
/// operations of two bytes.
pub fn network(data: &[u8]) {
    let mut bytes = data.iter().copied();
    let mut next = || bytes.next().unwrap_or(0);
    let (size, links) = (next(), u16::from_le_bytes([next(), next()]));
    let (nodes, roles) = (3 + usize::from(size % 4), size / 4);
    let mut graph = graph(nodes, links);
    let mut plan = plan(&mut next);
    if roles > 0 {
        mix(&mut plan, &mut graph, roles);
    }
    let mut operations = Vec::new();
    while let (Some(what), Some(number)) = (bytes.next(), bytes.next()) {
        if operations.len() == MAX_OPERATIONS {
            break;
        }
        operations.push(operation(what, number));
    }
    if let Err(violation) = play(&plan, &graph, &operations) {
        panic!("{violation}; {plan:?} over {graph:?} with {operations:?}");
    }
}

/// A line, so that the graph is connected, and more links.
fn graph(nodes: usize, more: u16) -> Graph {
    let mut edges = Vec::new();
    let mut pair = 0;
    for a in 0..nodes {
        for b in a + 1..nodes {
            if b == a + 1 || more >> pair & 1 == 1 {
                edges.push((a, b));
            }
            pair += 1;
        }
    }
    Graph { names: (0..nodes).map(|node| node.to_string()).collect(), edges }
}

/// One or two nodes become leaves, the others bridges; the bits of `roles` say which links between those
/// speak 0.6.
fn mix(plan: &mut Plan, graph: &mut Graph, roles: u8) {
    let first_leaf = graph.names.len() - 1 - usize::from(roles & 1);
    graph.edges.retain(|&(a, _)| a < first_leaf);
    for (node, name) in graph.names.iter().enumerate() {
        let (role, speaks) = match node >= first_leaf {
            true => (Some(NodeRole::Leaf), None),
            false => (Some(NodeRole::Ultrapeer), Some(Speaks::Auto)),
        };
        plan.places.insert(name.clone(), Place { role, speaks, ..Place::default() });
    }
    let of_first = graph.edges.iter().filter(|&&(a, b)| a == 0 && b < first_leaf);
    for (at, &(a, b)) in (1..).zip(of_first) {
        if roles >> (at % 6) & 1 == 1 {
            let between = (graph.names[a].clone(), graph.names[b].clone());
            plan.links.push(LinkPlan { between, dialect: Dialect::V0_6 });
        }
    }
    if Roles::new(plan, graph).is_err() {
        // A bridge would have to dial both.
        plan.links.clear();
    }
}

fn plan(next: &mut impl FnMut() -> u8) -> Plan {
    let seed = u64::from(next());
    let latency = match next() {
        0 => None,
        millis => Some(Duration::from_millis(u64::from(millis))),
    };
    // From 10 bytes a second to 25 kB.
    let bandwidth = Some(u64::from(next())).filter(|&rate| rate > 0).map(|rate| 10 + rate * 100);
    let window = Some(usize::from(next())).filter(|&bytes| bytes > 0);
    let switches = next();
    let mut chance = |full: f64| f64::from(next()) / 255.0 * full;
    let faults = Faults {
        reset: chance(0.2),
        refuse: chance(0.9),
        silent: chance(0.9),
        crash: chance(0.1),
        stall: chance(0.1),
        session: (switches & 2 != 0).then_some(Duration::from_secs(20)),
        partition: (switches & 4 != 0).then_some(Duration::from_secs(5)),
        ..Faults::default()
    };
    let (split, files) = (switches & 1 != 0, usize::from(switches >> 3));
    Plan { seed, latency, bandwidth, window, split, files, faults, ..Plan::default() }
}

fn operation(what: u8, number: u8) -> Operation {
    let (node, time) = (usize::from(number & 7), u64::from(number));
    match what % 12 {
        0 | 1 => Operation::Search { from: node, ttl: 1 + (number >> 3) % 15, file: 0 },
        2 => Operation::Search { from: node, ttl: 7, file: usize::from(number >> 3) },
        3 => Operation::Wait(Duration::from_millis(time)),
        4 => Operation::Wait(Duration::from_secs(time)),
        5 => Operation::Crash { node, dark: number & 8 != 0 },
        6 => Operation::Return { node },
        7 => Operation::Stall { node },
        8 => Operation::Resume { node },
        9 => Operation::Reset { wire: usize::from(number >> 1), cut: number & 1 != 0 },
        10 => Operation::Part { sides: time },
        _ => Operation::Heal,
    }
}
