//! Can the rules fail? Ten ways to spoil what a servent sends, each caught by the rule it breaks: in
//! the simulator, and by `testnet check` in a network of real processes.

mod live;
mod spoiler;

use crate::process::eventually;
use crate::testnet::Net;
use servent::plan::Plan;
use servent::plan::topology::Graph;
use servent::rules::Violation;
use servent::sim::report::Report;
use servent::sim::{RunOptions, simulate_nodes};
use spoiler::{Spoil, Spoiler};
use std::time::Duration;

/// A tree whose inner nodes have three neighbours: 0 and 1 in the middle.
const TREE: &str = "0 1\n0 2\n0 3\n1 4\n1 5";

/// Searches in a small network, where node 1 is spoiled.
fn simulate(spoil: Spoil) -> Result<Report, Violation> {
    let graph = Graph::from_edge_list(TREE).unwrap();
    let latency = Some(Duration::from_millis(50));
    let plan = Plan { latency, queries: 30, files: 200, ..Plan::default() };
    let make_node =
        |node, servent| Spoiler::new(servent, if node == 1 { spoil } else { Spoil::Nothing });
    simulate_nodes(&plan, &graph, &mut |_| (), RunOptions::default(), &make_node)
}

#[test]
fn the_simulator_catches_each_of_ten_ways_to_break_the_rules() {
    let honest = simulate(Spoil::Nothing).unwrap();
    assert!(honest.queries.iter().any(|query| query.hits > 0), "{honest}");
    for (spoil, rule) in Spoil::ALL {
        match simulate(spoil) {
            Ok(report) => panic!("{spoil:?} was not caught: {report}"),
            Err(violation) => assert_eq!(violation.rule, rule, "{spoil:?}: {violation}"),
        }
    }
}

/// Searches among four ultrapeers and twelve leaves, all of them spoiled.
fn simulate_roles(spoil: Spoil) -> Result<Report, Violation> {
    let latency = Some(Duration::from_millis(50));
    let topology = "ultrapeers:4,12".parse().unwrap();
    let plan = Plan { topology, latency, queries: 30, files: 60, ..Plan::default() };
    let graph = plan.graph(None).unwrap();
    let make_node = |_, servent| Spoiler::new(servent, spoil);
    simulate_nodes(&plan, &graph, &mut |_| (), RunOptions::default(), &make_node)
}

#[test]
fn the_simulator_catches_leaves_that_relay_and_ultrapeers_that_flood_them() {
    let honest = simulate_roles(Spoil::Nothing).unwrap();
    assert!(honest.queries.iter().any(|query| query.hits > 0), "{honest}");
    for (spoil, rule) in Spoil::OF_ROLES {
        match simulate_roles(spoil) {
            Ok(report) => panic!("{spoil:?} was not caught: {report}"),
            Err(violation) => assert_eq!(violation.rule, rule, "{spoil:?}: {violation}"),
        }
    }
}

/// Three servents around another program, which is this test with `SPOIL` in its environment.
fn network_around(spoil: Spoil) -> Net {
    let net = Net::new();
    let plan = format!(
        "nodes = 4\ntopology = \"star\"\nfiles = 0\n\
         [[node]]\nname = \"3\"\nshare = [\"{}\"]\n\
         [[node]]\nname = \"0\"\nkind = \"exec\"\n\
         command = [\"env\", \"SPOIL={spoil:?}\", \"LISTEN={{ip}}:{{port}}\", \"{}\", \"--exact\", \
         \"spoilers::takes_a_place_in_a_network_if_it_is_told_to\", \"--nocapture\"]\n",
        net.share("shared", &[("Zebra crossing.ogg", b"black and white")]).display(),
        std::env::current_exe().unwrap().display(),
    );
    net.write("plan.toml", &plan);
    net.up(&["plan.toml"]);
    net
}

/// The program above. Without its orders it is a test that passes.
#[test]
fn takes_a_place_in_a_network_if_it_is_told_to() {
    if let (Ok(spoil), Ok(listen)) = (std::env::var("SPOIL"), std::env::var("LISTEN")) {
        live::run(Spoil::named(&spoil), listen.parse().unwrap());
    }
}

/// What `check` finds wrong with the program in the middle, by rule.
fn wrong(net: &Net) -> Vec<String> {
    let findings = net.findings();
    let wrong = findings.iter().filter(|finding| finding["wrong"] != serde_json::json!([]));
    wrong.map(|finding| finding["rule"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_check_catches_each_of_them_in_a_live_network() {
    let honest = network_around(Spoil::Nothing);
    honest.run(&["trace", "1", "zebra", "--wait", "1"]);
    assert_eq!(wrong(&honest), [""; 0]);
    for (spoil, rule) in Spoil::ALL {
        let net = network_around(spoil);
        net.run(&["trace", "1", "zebra", "--wait", "1"]);
        let found = eventually(&format!("{spoil:?} is found"), || {
            let found = wrong(&net);
            (!found.is_empty()).then_some(found)
        });
        assert!(found.contains(&rule.statement().to_owned()), "{spoil:?}: {found:?}");
    }
}
