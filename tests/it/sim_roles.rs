//! Simulated networks of ultrapeers and leaves, of both dialects, and with faults: the rules hold, and a
//! run can be had again.

use crate::process::{Home, assert_code, lines, stderr};
use servent::plan::roles::{NodeRole, Speaks};
use servent::plan::topology::Graph;
use servent::plan::{Faults, Place, Plan};
use servent::rng::Rng;
use servent::sim::report::Report;
use servent::sim::{RunOptions, simulate, simulate_with};
use servent::wire::Dialect;
use std::time::Duration;

const EQUAL: Option<Duration> = Some(Duration::from_millis(50));

fn run(plan: &Plan, graph: &Graph) -> Report {
    simulate(plan, graph, &mut |_| ()).unwrap_or_else(|violation| panic!("{violation} in {plan:?}"))
}

fn ultrapeers(count: usize, leaves: usize) -> Plan {
    let topology = format!("ultrapeers:{count},{leaves}").parse().unwrap();
    Plan { topology, ..Plan::default() }
}

/// A part of 0.4 and one of ultrapeers with leaves, joined by `bridges` nodes that speak both.
fn mixed(plain: usize, count: usize, leaves: usize, bridges: usize) -> (Plan, Graph) {
    let (seed, mut plan) = (5, Plan::default());
    let of = |shape: &str, nodes: usize| {
        Graph::generate(&shape.parse().unwrap(), nodes, &mut Rng::new(seed)).unwrap()
    };
    let (old, new) = (of("regular:4", plain), of(&format!("ultrapeers:{count},{leaves}"), 0));
    let mut list = String::new();
    for (prefix, graph) in [('p', &old), ('m', &new)] {
        for (a, b) in &graph.edges {
            list.push_str(&format!("{prefix}{a} {prefix}{b}\n"));
        }
    }
    for bridge in 0..bridges {
        list.push_str(&format!("p{bridge} b{bridge}\nm{bridge} b{bridge}\n"));
        let place = Place { speaks: Some(Speaks::Auto), ..Place::default() };
        plan.places.insert(format!("b{bridge}"), place);
    }
    for node in 0..count + leaves {
        let role = Some(if node < count { NodeRole::Ultrapeer } else { NodeRole::Leaf });
        plan.places.insert(format!("m{node}"), Place { role, ..Place::default() });
    }
    (plan, Graph::from_edge_list(&list).unwrap())
}

/// What can go wrong, all at once.
fn faults() -> Faults {
    Faults {
        reset: 0.002,
        refuse: 0.1,
        silent: 0.02,
        crash: 0.002,
        stall: 0.002,
        session: Some(Duration::from_secs(600)),
        absence: Some(Duration::from_secs(20)),
        ..Faults::default()
    }
}

/// Who relays, who gets what, and who must be reached is checked by the run itself.
#[test]
fn the_rules_hold_among_ultrapeers_and_leaves_and_across_a_bridge() {
    for seed in 0..6 {
        for latency in [EQUAL, None] {
            for (count, leaves) in [(1, 3), (2, 6), (6, 40), (20, 200)] {
                let plan = Plan { seed, latency, queries: 3, ..ultrapeers(count, leaves) };
                run(&plan, &plan.graph(None).unwrap());
            }
            let (plan, graph) = mixed(30, 6, 40, 2);
            run(&Plan { seed, latency, queries: 4, ..plan }, &graph);
        }
    }
}

#[test]
fn the_rules_hold_with_roles_whatever_fails() {
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..4 {
        let (partition, session) = (Duration::from_secs(25), Duration::from_secs(120));
        let all = Faults { partition: Some(partition), session: Some(session), ..faults() };
        let (plan, graph) = mixed(20, 6, 30, 2);
        let plan = Plan { seed, queries: 8, faults: all, ..plan };
        seen.extend(run(&plan, &graph).faults.into_keys());
        let plan = Plan { split: true, bandwidth: Some(5_000), ..plan };
        seen.extend(run(&plan, &graph).faults.into_keys());
    }
    for kind in ["reset", "refused dial", "crash", "leave", "return", "stall", "partition", "heal"]
    {
        assert!(seen.contains(kind), "{kind} was never seen: {seen:?}");
    }
}

#[test]
#[ignore = "takes a minute"]
fn the_rules_hold_in_networks_of_ten_thousand_with_faults() {
    let plan = Plan { queries: 4, faults: faults(), ..ultrapeers(400, 9_600) };
    run(&plan, &plan.graph(None).unwrap());
    let (plan, graph) = mixed(4_999, 200, 4_797, 4);
    assert_eq!(graph.names.len(), 10_000);
    run(&Plan { queries: 4, faults: faults(), ..plan }, &graph);
}

#[test]
fn searches_cross_a_bridge_both_ways_and_leaves_get_what_they_match() {
    let (plan, graph) = mixed(30, 6, 40, 1);
    let plan = Plan { latency: EQUAL, queries: 1, ttl: 15, files: 40, ..plan };
    for from in ["p7", "m2", "m40"] {
        let mut found = 0;
        for seed in 0..6 {
            let from = Some(from.to_owned());
            let report = run(&Plan { seed, from, ..plan.clone() }, &graph);
            let query = &report.queries[0];
            // A leaf's search may have enough before it has reached all who route.
            let (least, most) = if query.from == "m40" { (3, 76) } else { (36, 76) };
            assert!((least..=most).contains(&query.reached), "{query:?}");
            found += query.hits;
            assert!(query.descriptors >= query.query_descriptors + query.hits.min(1), "{query:?}");
        }
        assert!(found > 0, "{from} found nothing");
    }
}

#[test]
fn cores_and_oracles_make_no_difference_with_roles() {
    let plan = Plan { queries: 3, latency: EQUAL, ..ultrapeers(100, 3_000) };
    let graph = plan.graph(None).unwrap();
    let run = |cores, oracles| {
        let options = RunOptions { traced: false, oracles, cores };
        simulate_with(&plan, &graph, &mut |_| (), options).unwrap()
    };
    let alone = run(1, true);
    assert!(alone.queries.iter().all(|query| query.reached > 50), "{alone}");
    for (cores, oracles) in [(3, true), (2, false)] {
        assert_eq!(run(cores, oracles).trace_hash, alone.trace_hash, "{cores} cores");
    }
}

#[test]
fn a_link_that_says_so_speaks_0_6_between_plain_nodes() {
    let graph = Graph::from_edge_list("a b\nb c").unwrap();
    let between = ("a".to_owned(), "b".to_owned());
    let link = servent::plan::roles::LinkPlan { between, dialect: Dialect::V0_6 };
    let place = Place { speaks: Some(Speaks::Auto), ..Place::default() };
    let places = [("b".to_owned(), place)].into();
    let from = Some("c".to_owned());
    let plan =
        Plan { latency: EQUAL, queries: 1, from, links: vec![link], places, ..Plan::default() };
    assert_eq!(run(&plan, &graph).queries[0].reached, 2);
}

#[test]
fn a_plan_in_a_file_names_roles_and_dialects_and_mistakes_are_named() {
    let home = Home::new();
    let check = |text: &str| {
        std::fs::write(home.path("plan"), format!("topology = \"line\"\nnodes = 3\n{text}"))
            .unwrap();
        home.run(&["sim", "plan", "--queries", "1"])
    };
    let node = |name: u8, rest: &str| format!("[[node]]\nname = {name}\n{rest}\n");
    let fine = check(
        &[
            node(1, "role = \"ultrapeer\"\ndialect = \"auto\""),
            node(2, "role = \"leaf\""),
            "[[link]]\nbetween = [0, \"1\"]\ndialect = \"0.4\"\n".to_owned(),
        ]
        .concat(),
    );
    assert_code(&fine, 0);
    assert!(lines(&fine)[0].contains("3 nodes, 2 links"), "{:?}", lines(&fine));
    for (text, expected) in [
        (node(2, "role = \"king\""), "ultrapeer"),
        (node(2, "dialect = \"0.5\""), "0.4"),
        (node(2, "role = \"leaf\""), "make one of them a bridge"),
        (node(2, "role = \"leaf\"\ndialect = \"0.4\""), "leaves speak 0.6"),
        ([node(0, "role = \"leaf\""), node(1, "role = \"leaf\"")].concat(), "with ultrapeers only"),
        ("[[link]]\nbetween = [0, 2]\ndialect = \"0.6\"".to_owned(), "no link between"),
        ("[[link]]\nbetween = [0, 1]\ndialect = \"auto\"".to_owned(), "speaks \"0.4\" or \"0.6\""),
        ("[[link]]\nbetween = [0, 9]\ndialect = \"0.4\"".to_owned(), "no node called \"9\""),
    ] {
        let refused = check(&text);
        assert_code(&refused, 2);
        assert!(stderr(&refused).contains(expected), "{text}: {}", stderr(&refused));
    }
}
