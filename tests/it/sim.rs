//! The simulator: what its oracles hold over many networks, and that a run can be had again.

use crate::process::{Home, assert_code, lines, stderr};
use servent::plan::picture;
use servent::plan::topology::Graph;
use servent::plan::{Faults, Plan};
use servent::sim::report::Report;
use servent::sim::{RunOptions, simulate, simulate_with};
use std::time::Duration;

const TRACED: RunOptions = RunOptions { traced: true, oracles: true, cores: 1 };
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

/// Hosts at most two links from the first in a crawl of the real network.
#[test]
fn a_real_network_is_a_plan_like_any_other() {
    let edges = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/crawl-2002-excerpt.txt");
    let topology = format!("file:{edges}");
    for (ttl, reached) in [("1", 10), ("2", 327), ("7", 327)] {
        let args = ["sim", "--topology", &topology, "--from", "1", "--latency", "50ms", "--json"];
        let output = Home::new().run(&[&args[..], &["--queries", "1", "--ttl", ttl]].concat());
        assert_code(&output, 0);
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!((&report["nodes"], &report["links"]), (&328.into(), &1742.into()));
        let query = &report["queries"][0];
        assert_eq!(query["reached"], reached, "TTL {ttl}");
        if ttl == "7" {
            assert_eq!(query["query_descriptors"], 2 * 1742 - 327);
            assert_eq!(query["duplicates"], 2 * (1742 - 328 + 1));
        }
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
fn the_number_of_cores_makes_no_difference() {
    // With equal latencies most of what happens does so at the same time.
    for latency in [None, Some(Duration::from_millis(20))] {
        let plan = Plan { nodes: 7_000, queries: 3, ttl: 9, files: 4, latency, ..Plan::default() };
        let plan = Plan { topology: "regular:3".parse().unwrap(), ..plan };
        let graph = plan.graph(None).unwrap();
        let run = |cores, oracles| {
            let options = RunOptions { traced: true, oracles, cores };
            simulate_with(&plan, &graph, &mut |_| (), options).unwrap()
        };
        let alone = run(1, true);
        assert!(alone.queries.iter().all(|query| query.reached > 500), "{alone}");
        for (cores, oracles) in [(2, true), (3, true), (7, false)] {
            let together = run(cores, oracles);
            let unchecked = Report { checked: true, ..together.clone() };
            assert_eq!(unchecked.to_string(), alone.to_string(), "{cores} cores");
            assert_eq!(together.trace_hash, alone.trace_hash, "{cores} cores");
            let [alone, together] = [&alone, &together].map(|it| it.trace.as_ref().unwrap().tree());
            assert_eq!(together, alone, "{cores} cores");
        }
    }
}

#[test]
fn without_oracles_the_same_happens_and_the_report_says_that_nothing_was_checked() {
    for plan in mixes() {
        let plan = Plan { queries: 5, ..plan };
        let graph = plan.graph(None).unwrap();
        let watched = run(&plan);
        let attention = RunOptions { traced: false, oracles: false, cores: 1 };
        let alone = simulate_with(&plan, &graph, &mut |_| (), attention).unwrap();
        assert!(watched.checked && !watched.to_string().contains("nothing was checked"));
        assert!(!alone.checked && alone.to_string().contains("oracles off: nothing was checked"));
        assert_eq!(Report { checked: true, ..alone.clone() }.to_string(), watched.to_string());
        assert_eq!(alone.trace_hash, watched.trace_hash);
    }
    let output = Home::new().run(&["sim", "--no-oracles", "--nodes", "20", "--json"]);
    assert_code(&output, 0);
    let report: serde_json::Value = serde_json::from_str(&lines(&output)[0]).unwrap();
    assert_eq!(report["checked"], false);
}

/// What can go wrong, alone and all at once.
fn mixes() -> [Plan; 7] {
    let with = |faults| Plan { faults, ..Plan::default() };
    let all = Faults {
        reset: 0.01,
        refuse: 0.2,
        silent: 0.1,
        crash: 0.004,
        stall: 0.01,
        partition: Some(Duration::from_secs(25)),
        partition_for: Some(Duration::from_secs(100)),
        session: Some(Duration::from_secs(90)),
        absence: Some(Duration::from_secs(10)),
    };
    [
        Plan { split: true, bandwidth: Some(2_000), ..Plan::default() },
        with(Faults { reset: 0.02, ..Faults::default() }),
        with(Faults { crash: 0.01, refuse: 0.5, silent: 0.2, ..Faults::default() }),
        with(Faults { stall: 0.03, ..Faults::default() }),
        with(Faults { partition: Some(Duration::from_secs(15)), ..Faults::default() }),
        with(Faults { session: all.session, ..Faults::default() }),
        Plan { split: true, bandwidth: Some(300), window: Some(100), ..with(all) },
    ]
}

/// The number of seeds can be raised by SERVENT_SIM_SEEDS.
#[test]
fn the_oracles_hold_whatever_fails() {
    let seeds = std::env::var("SERVENT_SIM_SEEDS").map_or(20, |seeds| seeds.parse().unwrap());
    let shapes = ["line", "ring", "star", "tree:3,2", "regular:3", "random:0.3", "scale-free:2"];
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..seeds {
        for (shape, mix) in shapes.iter().flat_map(|shape| mixes().map(|mix| (shape, mix))) {
            let topology = shape.parse().unwrap();
            let nodes = 8 + 2 * usize::try_from(seed % 10).unwrap();
            let (queries, latency) = (15, EQUAL.filter(|_| seed % 2 == 0));
            let report = run(&Plan { nodes, topology, seed, queries, latency, ..mix });
            seen.extend(report.faults.into_keys().chain(report.drops.into_keys()));
            if report.copies_lost > 0 {
                seen.insert("lost");
            }
        }
    }
    for kind in [
        "reset",
        "refused dial",
        "silent dial",
        "crash",
        "leave",
        "return",
        "stall",
        "resume",
        "partition",
        "heal",
        "lost",
        "duplicate",
        "link gone",
        "link ended",
    ] {
        assert!(seen.contains(kind), "{kind} was never seen: {seen:?}");
    }
}

#[test]
fn a_slow_link_fills_the_send_queue_and_refuses_what_does_not_fit() {
    // With a fault that hardly ever happens, searches start without waiting for each other.
    let faults = Faults { silent: 1e-9, ..Faults::default() };
    let plan = Plan {
        nodes: 120,
        topology: "star".parse().unwrap(),
        files: 300,
        queries: 60,
        interval: Some(Duration::from_millis(100)),
        bandwidth: Some(5_000),
        from: Some("1".to_owned()),
        faults,
        ..Plan::default()
    };
    let slow = run(&plan);
    assert!(slow.drops.get("queue full") > Some(&0), "{slow}");
    let fast = run(&Plan { bandwidth: Some(50_000_000), ..plan });
    assert!(!fast.drops.contains_key("queue full"), "{fast}");
}

#[test]
fn a_parted_network_is_searched_across_again_once_it_heals() {
    let faults = Faults {
        partition: Some(Duration::from_secs(15)),
        partition_for: Some(Duration::from_secs(200)),
        ..Faults::default()
    };
    let plan = Plan { nodes: 40, queries: 40, ttl: 10, latency: EQUAL, faults, ..Plan::default() };
    let reached: Vec<u64> = run(&plan).queries.iter().map(|query| query.reached).collect();
    assert_eq!(reached[0], 39, "before: {reached:?}");
    assert!(reached[2..20].iter().all(|&reached| reached < 35), "parted: {reached:?}");
    assert!(reached[30..].iter().all(|&reached| reached == 39), "healed: {reached:?}");
}

#[test]
fn faults_can_be_had_again_and_cost_what_they_destroy() {
    let plan = Plan { queries: 20, ..mixes()[6].clone() };
    let first = run(&plan);
    assert_eq!(first.trace_hash, run(&plan).trace_hash);
    assert!(first.copies_lost > 0, "{first}");
    assert_ne!(first.trace_hash, run(&Plan { seed: 2, ..plan }).trace_hash);
}

#[test]
fn the_command_prints_one_object_that_another_process_repeats() {
    let home = Home::new();
    std::fs::write(home.path("edges"), "# a triangle with a tail\nx y\ny z\nz x\nz end\n").unwrap();
    let args = ["sim", "--topology", "file:edges", "--from", "end", "--latency", "50ms", "--json"];
    let args = [&args[..], &["--queries", "1", "--ttl", "2"]].concat();
    let (first, second) = (home.run(&args), home.run(&args));
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
#[cfg(target_os = "linux")]
fn memory_per_node_is_told_of_large_networks() {
    let home = Home::new();
    let args = ["sim", "--nodes", "2000", "--queries", "1", "--ttl", "1", "--files", "0", "--json"];
    let output = home.run(&args);
    assert_code(&output, 0);
    let report: serde_json::Value = serde_json::from_str(&lines(&output)[0]).unwrap();
    let per_node = report["bytes_per_node"].as_u64().unwrap();
    assert!((500..20_000).contains(&per_node), "{per_node}");
}

#[test]
fn a_plan_says_all_that_flags_do_and_flags_win() {
    let home = Home::new();
    home.share("plans", &[("edges", b"a b\nb c\nc a\n"), ("run.toml", PLAN.as_bytes())]);
    let parse = |output| -> serde_json::Value { serde_json::from_str(&lines(output)[0]).unwrap() };
    let (first, second) = (
        home.run(&["sim", "plans/run.toml", "--seed", "7", "--json"]),
        home.run(&["sim", "--json", "--seed", "7", "plans/run.toml"]),
    );
    assert_code(&first, 0);
    let (first, second) = (parse(&first), parse(&second));
    assert_eq!(first["trace_hash"], second["trace_hash"], "with faults, in two processes");
    assert_eq!((&first["seed"], &first["nodes"]), (&7.into(), &3.into()));
    assert!(first["faults"]["reset"].as_u64() > Some(0) && first["copies_lost"].is_u64());
    assert_eq!(first["queries"].as_array().map(Vec::len), Some(30));
    assert!(first["bytes_per_node"].is_null(), "the memory of three nodes is that of the process");

    let checked =
        home.run(&["sim", "plans/run.toml", "--check", "--topology", "ring", "--from", "1"]);
    assert_code(&checked, 0);
    assert!(lines(&checked)[0].contains("100 nodes, 100 links"), "{:?}", lines(&checked));
}

const PLAN: &str = r#"
topology = "file:edges"
seed = 1
queries = 30
from = "a"
latency = "20ms"
bandwidth = "10k"
window = 500
split = true
reset = 0.05
crash = 0.01
session = "5m"
"#;

#[test]
fn mistakes_in_a_plan_are_named_with_their_line() {
    let home = Home::new();
    for (text, expected) in [
        ("nodes = 5\ntopolgy = \"ring\"", "unknown field `topolgy`"),
        ("nodes = 5\ntopology = \"circle\"", "give line, ring"),
        ("nodes = 5\nttl = 16", "from 1 to 15"),
        ("nodes = 5\nreset = 1.5", "from 0 to 1"),
        ("nodes = 5\nlatency = \"fast\"", "50ms"),
        ("nodes = 5\nbandwidth = 0", "number of bytes"),
    ] {
        std::fs::write(home.path("plan"), text).unwrap();
        let output = home.run(&["sim", "plan", "--check"]);
        assert_code(&output, 2);
        let said = stderr(&output);
        assert!(said.contains(expected) && said.contains("line 2"), "{text}: {said}");
    }
    assert_code(&home.run(&["sim", "no-such-plan"]), 8);
}

#[test]
fn a_plan_that_makes_no_sense_is_refused() {
    let home = Home::new();
    let cases: [(&[&str], i32, &str); 6] = [
        (&["--files", "9999999999"], 2, "at most 20000000 files"),
        (&["--topology", "circle"], 2, "give line, ring"),
        (&["--nodes", "5", "--topology", "regular:3"], 2, "regular"),
        (&["--from", "nobody"], 2, "nobody"),
        (&["--latency", "5s"], 2, "at most 4 s"),
        (&["--topology", "file:no-such-file"], 8, "no-such-file"),
    ];
    for (args, code, expected) in cases {
        let output = home.run(&[&["sim"], args].concat());
        assert_code(&output, code);
        let said = stderr(&output);
        assert!(
            said.contains(expected) || said.contains("nodes × degree must be even"),
            "{args:?}: {said}"
        );
    }
}

/// A square with a tail: the copies that meet at the far corner are duplicates.
#[test]
fn a_trace_tells_first_copies_from_duplicates_and_the_way_of_each_hit() {
    let graph = Graph::from_edge_list("a b\nb c\nc d\na d\nc e").unwrap();
    let run = |seed| {
        let from = Some("a".into());
        let plan = Plan { seed, from, latency: EQUAL, queries: 1, files: 400, ..Plan::default() };
        simulate_with(&plan, &graph, &mut |_| (), TRACED).unwrap()
    };
    // Not every search finds something.
    let report = (1..20).map(run).find(|report| report.queries[0].hits > 0).unwrap();
    let (query, trace) = (&report.queries[0], report.trace.as_ref().unwrap());
    let doubles = trace.copies.iter().filter(|step| step.duplicate).count();
    assert_eq!(trace.copies.len() as u64, query.query_descriptors);
    assert_eq!(doubles as u64, query.duplicates);
    assert_eq!(trace.copies[0].micros, 50_000);
    for way in &trace.hit_paths() {
        assert_eq!(way.last(), Some(&"a"), "{way:?}");
    }
    assert_eq!(trace.tree().lines().filter(|line| line.contains("TTL")).count(), 4);
    assert_eq!(trace.dot().matches("style=dotted").count(), doubles);
    // Hops count from 1, in words and in drawings.
    assert!(trace.tree().contains("TTL 7, 1 hop"), "{}", trace.tree());
    assert!(trace.dot().contains("7/1") && !trace.dot().contains("/0\""), "{}", trace.dot());
    let svg = picture::svg(&graph, trace);
    assert_eq!(svg.matches("<g class=\"node\">").count(), 5);
    assert!(svg.contains(&format!("duplicates: {doubles}")) && svg.ends_with("</svg>\n"));
    let page = picture::page(&graph, trace, &report.files);
    assert!(report.files.iter().all(|files| !files.is_empty()));
    for file in report.files.iter().map(|files| &files[0]) {
        assert!(page.contains(&format!("\"{file}\"")), "{file}");
    }
}

#[test]
fn a_replay_is_written_and_refused_for_networks_too_large_for_a_browser() {
    let home = Home::new();
    let replay = |nodes: &str| {
        home.run(&["sim", "--nodes", nodes, "--files", "0", "--queries", "1", "--html", "a.html"])
    };
    assert_code(&replay("20"), 0);
    let page = std::fs::read_to_string(home.path("a.html")).unwrap();
    assert!(page.starts_with("<!DOCTYPE html>") && page.contains("searches for"), "{page}");
    let refused = replay("20001");
    assert_code(&refused, 2);
    assert!(stderr(&refused).contains("at most 20000 nodes"), "{}", stderr(&refused));
}

#[test]
fn names_in_an_edge_list_cannot_break_out_of_a_picture() {
    let graph = Graph::from_edge_list("<b>\"& x").unwrap();
    let plan = Plan { queries: 1, ..Plan::default() };
    let report = simulate_with(&plan, &graph, &mut |_| (), TRACED).unwrap();
    let trace = report.trace.unwrap();
    let svg = picture::svg(&graph, &trace);
    assert!(svg.contains("&lt;b&gt;&quot;&amp;") && !svg.contains("<b>"));
    assert!(trace.dot().contains("\"<b>\\\"&\""), "{}", trace.dot());
}
