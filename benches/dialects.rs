//! What a search costs in a flat network of 0.4, among ultrapeers with leaves, and in both joined by one
//! bridge: the same 10,000 hosts with the same files, and searches for the same files from the same hosts.
#![allow(clippy::unwrap_used, reason = "a bench that cannot go on stops")]
#![allow(clippy::cast_precision_loss, reason = "figures are far below")]

mod support;

use servent::plan::roles::{NodeRole, Speaks};
use servent::plan::topology::Graph;
use servent::plan::{Place, Plan};
use servent::rng::Rng;
use servent::sim::report::Report;
use servent::sim::simulate;
use support::{heading, row};

const HOSTS: usize = 10_000;
/// 24 leaves for each ultrapeer, at 3 of them: 72 at each.
const LEAVES_EACH: usize = 24;
const SEARCHES: usize = 100;
const SEED: u64 = 7;

fn main() {
    heading(&format!("{HOSTS} hosts with 4 files each, {SEARCHES} searches of TTL 7"));
    let flat = generated("regular:4", HOSTS);
    let ultrapeers = HOSTS / (1 + LEAVES_EACH);
    let leaves = HOSTS - ultrapeers;
    let modern = generated(&format!("ultrapeers:{ultrapeers},{leaves}"), HOSTS);
    let networks = [
        ("flat, 0.4", Plan::default(), flat),
        ("ultrapeers with leaves, 0.6", roles(0, ultrapeers), modern),
        ("half of each, one bridge", roles(HOSTS / 2, ultrapeers / 2), joined(ultrapeers / 2)),
    ];
    for (name, plan, graph) in networks {
        assert_eq!(graph.names.len(), HOSTS);
        let plan = Plan { seed: SEED, queries: SEARCHES, ..plan };
        show(name, &simulate(&plan, &graph, &mut |_| ()).unwrap());
    }
}

fn generated(shape: &str, nodes: usize) -> Graph {
    Graph::generate(&shape.parse().unwrap(), nodes, &mut Rng::new(SEED)).unwrap()
}

/// Hosts from `plain` on have roles, ultrapeers first. If there are plain ones, the last of them is a
/// bridge.
fn roles(plain: usize, ultrapeers: usize) -> Plan {
    let mut plan = Plan::default();
    for host in plain..HOSTS {
        let is_ultrapeer = host < plain + ultrapeers;
        let role = Some(if is_ultrapeer { NodeRole::Ultrapeer } else { NodeRole::Leaf });
        plan.places.insert(host.to_string(), Place { role, ..Place::default() });
    }
    if plain > 0 {
        let place = Place { speaks: Some(Speaks::Auto), ..Place::default() };
        plan.places.insert((plain - 1).to_string(), place);
    }
    plan
}

/// The hosts in order: those of 0.4, ultrapeers, leaves. The last of 0.4 is linked with an ultrapeer.
fn joined(ultrapeers: usize) -> Graph {
    let plain = HOSTS / 2;
    let modern = generated(&format!("ultrapeers:{ultrapeers},{}", plain - ultrapeers), 0);
    let mut graph = generated("regular:4", plain);
    graph.names.extend((plain..HOSTS).map(|host| host.to_string()));
    graph.edges.extend(modern.edges.iter().map(|(a, b)| (a + plain, b + plain)));
    graph.edges.push((plain - 1, plain));
    graph.edges.sort_unstable();
    graph
}

fn show(name: &str, report: &Report) {
    let mean = |of: &dyn Fn(&servent::sim::report::QueryReport) -> u64| {
        report.queries.iter().map(of).sum::<u64>() as f64 / report.queries.len() as f64
    };
    let asked: f64 = mean(&|query| query.reached);
    let (descriptors, bytes) = (mean(&|query| query.descriptors), mean(&|query| query.bytes));
    let (copies, hits) = (mean(&|query| query.query_descriptors), mean(&|query| query.hits));
    row(
        name,
        &format!(
            "{descriptors:.0} descriptors ({copies:.0} Queries), {:.1} kB, {asked:.0} hosts asked, \
             {hits:.1} results, {:.1} descriptors for each",
            bytes / 1e3,
            descriptors / hits.max(f64::MIN_POSITIVE)
        ),
    );
}
