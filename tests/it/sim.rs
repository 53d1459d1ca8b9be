//! The simulator: what its oracles hold over many networks, and that a run can be had again.

use crate::process::{Place, assert_code, lines, told};
use servent::sim::plan::Plan;
use servent::sim::report::Report;
use servent::sim::topology::Graph;
use servent::sim::{picture, simulate, simulate_traced};
use std::time::Duration;

const EQUAL: Option<Duration> = Some(Duration::from_millis(50));

fn run(plan: &Plan) -> Report {
    let graph = plan.graph(None).unwrap();
    simulate(plan, &graph, &mut |_| ())
        .unwrap_or_else(|violation| panic!("{violation} in {plan:?}"))
}

/// Reach, cost, reverse paths and counts are checked by the run itself.
#[test]
fn the_oracles_hold_over_many_networks() {
    let shapes = ["line", "ring", "star", "tree:3,3", "regular:3", "random:0.2", "scale-free:2"];
    for seed in 0..30 {
        for (shape, latency) in shapes.iter().flat_map(|shape| [(shape, EQUAL), (shape, None)]) {
            let nodes = 8 + 2 * usize::try_from(seed).unwrap();
            let ttl = 1 + u8::try_from(seed % 9).unwrap();
            let topology = shape.parse().unwrap();
            run(&Plan { nodes, topology, seed, queries: 2, ttl, latency, ..Plan::default() });
        }
    }
}

#[test]
fn a_flood_with_ttl_to_spare_costs_what_theory_says() {
    let topology = "regular:4".parse().unwrap();
    let plan = Plan { nodes: 100, topology, ttl: 15, latency: EQUAL, ..Plan::default() };
    for query in run(&plan).queries {
        assert_eq!((query.reached, query.query_descriptors), (99, 2 * 200 - 99));
        assert_eq!(query.duplicates, 2 * (200 - 100 + 1));
    }
}

#[test]
fn the_same_plan_gives_the_same_trace() {
    let plan = Plan { seed: 5, ..Plan::default() };
    let first = run(&plan);
    assert_eq!(first.trace_hash, run(&plan).trace_hash);
    assert_ne!(first.trace_hash, run(&Plan { seed: 6, ..plan }).trace_hash);
}

#[test]
fn the_command_prints_one_object_that_another_process_repeats() {
    let place = Place::new();
    std::fs::write(place.path("edges"), "# a triangle with a tail\nx y\ny z\nz x\nz end\n")
        .unwrap();
    let args = ["sim", "--topology", "file:edges", "--from", "end", "--latency", "50ms", "--json"];
    let args = [&args[..], &["--queries", "1", "--ttl", "2"]].concat();
    let (first, second) = (place.run(&args), place.run(&args));
    assert_code(&first, 0);
    let parse = |output| -> serde_json::Value { serde_json::from_str(&lines(output)[0]).unwrap() };
    let (first, second) = (parse(&first), parse(&second));
    assert_eq!(first["trace_hash"], second["trace_hash"]);
    assert_eq!((&first["nodes"], &first["links"]), (&4.into(), &4.into()));
    let query = &first["queries"][0];
    assert_eq!((&query["from"], &query["ttl"]), (&"end".into(), &2.into()));
    assert_eq!((&query["reached"], &query["query_descriptors"]), (&3.into(), &3.into()));
    assert_eq!(query["reach_per_hop"], serde_json::json!([1, 2]));
    assert!(query["hits"].is_u64() && query["duplicates"] == 0);
}

#[test]
fn a_plan_that_makes_no_sense_is_refused() {
    let place = Place::new();
    let cases: [(&[&str], i32, &str); 4] = [
        (&["--topology", "circle"], 2, "expected line, ring"),
        (&["--nodes", "5", "--topology", "regular:3"], 2, "regular"),
        (&["--from", "nobody"], 2, "nobody"),
        (&["--topology", "file:no-such-file"], 8, "no-such-file"),
    ];
    for (args, code, expected) in cases {
        let output = place.run(&[&["sim"], args].concat());
        assert_code(&output, code);
        let said = told(&output);
        assert!(said.contains(expected) || said.contains("no graph"), "{args:?}: {said}");
    }
}

/// A square with a tail: the copies that meet at the far corner are duplicates.
#[test]
fn a_trace_tells_first_copies_from_duplicates_and_the_way_of_each_hit() {
    let graph = Graph::from_edge_list("a b\nb c\nc d\na d\nc e").unwrap();
    let run = |seed| {
        let from = Some("a".into());
        let plan = Plan { seed, from, latency: EQUAL, queries: 1, files: 400, ..Plan::default() };
        simulate_traced(&plan, &graph, &mut |_| (), true).unwrap()
    };
    // Not every search finds something.
    let report = (1..20).map(run).find(|report| report.queries[0].hits > 0).unwrap();
    let (query, trace) = (&report.queries[0], report.trace.as_ref().unwrap());
    let doubles = trace.copies.iter().filter(|step| step.duplicate).count();
    assert_eq!(trace.copies.len() as u64, query.query_descriptors);
    assert_eq!(doubles as u64, query.duplicates);
    assert_eq!(trace.copies[0].micros, 50_000);
    for way in &trace.ways_home() {
        assert_eq!(way.last(), Some(&"a"), "{way:?}");
    }
    assert_eq!(trace.tree().lines().filter(|line| line.contains("TTL")).count(), 4);
    assert_eq!(trace.dot().matches("style=dotted").count(), doubles);
    let svg = picture::svg(&graph, trace);
    assert_eq!(svg.matches("<circle").count(), 5 + 1 + 3, "nodes and legend");
    assert!(svg.contains(&format!("duplicates: {doubles}")) && svg.ends_with("</svg>\n"));
}

#[test]
fn names_in_an_edge_list_cannot_break_out_of_a_picture() {
    let graph = Graph::from_edge_list("<b>\"& x").unwrap();
    let plan = Plan { queries: 1, ..Plan::default() };
    let report = simulate_traced(&plan, &graph, &mut |_| (), true).unwrap();
    let trace = report.trace.unwrap();
    let svg = picture::svg(&graph, &trace);
    assert!(svg.contains("&lt;b&gt;&quot;&amp;") && !svg.contains("<b>"));
    assert!(trace.dot().contains("\"<b>\\\"&\""), "{}", trace.dot());
}
