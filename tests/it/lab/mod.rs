//! The lookup lab: what theory says of each system, equal tables for equal seeds, and the output.

mod pictures;
mod routed;

use crate::process::{Home, assert_code};
use serde_json::Value;
use servent::lab::report::{Row, growth, logarithmic_growth};
use servent::lab::{Cell, Failure, Options, SystemKind, Workload, run};
use servent::plan::topology::Graph;
use servent::rng::Rng;
use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

/// A row with 5,000 lookups.
fn row(system: SystemKind, nodes: usize, failure: Failure) -> Row {
    row_of(system, nodes, failure, 5_000)
}

fn row_of(system: SystemKind, nodes: usize, failure: Failure, queries: usize) -> Row {
    let mut rng = Rng::new(3);
    let topology = "scale-free:2".parse().unwrap();
    let graph = Graph::generate(&topology, nodes, &mut rng).unwrap();
    let options = Options::default();
    let workload = Workload::new(nodes, &options, &mut rng);
    let (graph, workload) = (&graph, &workload);
    run(&Cell { system, failure, graph, workload, queries, ttl: 15, seed: 3, options }).unwrap()
}

/// Success by whole name and by words.
fn success(row: &Row) -> [f64; 2] {
    [row.exact_success.unwrap(), row.keyword_success.unwrap()]
}

#[test]
fn the_directory_answers_in_two_messages_and_holds_every_name() {
    let row = row(SystemKind::Central, 200, Failure::None);
    assert!(success(&row).iter().all(|&share| share >= 0.99), "{row:?}");
    assert_eq!((row.messages_p95, row.messages_max), (Some(2.0), Some(2.0)));
    assert_eq!((row.exact_recall, row.keyword_recall), (Some(1.0), Some(1.0)));
    let mut rng = Rng::new(3);
    Graph::generate(&"scale-free:2".parse().unwrap(), 200, &mut rng).unwrap();
    let workload = Workload::new(200, &Options::default(), &mut rng);
    let pairs: usize = workload.files.iter().map(|files| files.len()).sum();
    assert_eq!(row.state_entries_max, Some(pairs as f64 + 1.0), "and its own address");
    assert!(row.busiest_share > 0.99, "{row:?}");
}

#[test]
fn without_its_directory_nothing_is_found_and_without_any_other_node_everything() {
    let central = row_of(SystemKind::Central, 100, Failure::Index, 100);
    assert_eq!((success(&central), central.recovery_seconds), ([0.0, 0.0], None));
    for system in [SystemKind::Flood, SystemKind::SuperPeers] {
        let row = row_of(system, 100, Failure::Index, 100);
        assert!(success(&row).iter().all(|&share| share > 0.7), "{row:?}");
    }
}

#[test]
fn top_takes_the_best_connected_nodes() {
    let mut rng = Rng::new(3);
    let graph = Graph::generate(&"star".parse().unwrap(), 40, &mut rng).unwrap();
    let options = Options::default();
    let workload = Workload::new(40, &options, &mut rng);
    let (graph, workload, failure) = (&graph, &workload, Failure::Top(0.05));
    for system in [SystemKind::Flood, SystemKind::Walk, SystemKind::Central] {
        let cell =
            Cell { system, failure, graph, workload, queries: 60, ttl: 15, seed: 3, options };
        let row = run(&cell).unwrap();
        assert_eq!(success(&row), [0.0, 0.0], "without its middle nothing is left: {row:?}");
    }
}

/// Links of leaves are dropped after two Pings without an answer, 60 to 90 s.
#[test]
fn superpeers_are_back_soon_after_losing_half_of_them() {
    let row = row_of(SystemKind::SuperPeers, 300, Failure::Top(0.05), 600);
    assert!(success(&row).iter().all(|&share| share < 0.7), "{row:?}");
    let back = row.recovery_seconds.unwrap();
    assert!((30.0..=240.0).contains(&back) && back % 5.0 == 0.0, "{row:?}");
}

#[test]
fn unstructured_lookups_succeed_as_often_as_they_should() {
    let least = [
        (SystemKind::Flood, 0.98),
        (SystemKind::Ring, 0.9),
        (SystemKind::SuperPeers, 0.98),
        (SystemKind::Walk, 0.7),
    ];
    for (system, least) in least {
        let row = row(system, 200, Failure::None);
        assert!(success(&row).iter().all(|&share| share >= least), "{row:?}");
        assert_eq!(row.lookups, 5_000, "{row:?}");
    }
}

/// With drawn latencies a copy with less TTL may come first.
#[test]
fn at_equal_latencies_a_flood_costs_each_link_twice_less_those_of_a_tree() {
    let nodes = 60;
    let latency = Some(Duration::from_millis(50));
    let options = Options { files: 1, zipf: 0.0, latency, ..Options::default() };
    // The first network in which each lookup has one answer.
    let network = |seed| {
        let mut rng = Rng::new(seed);
        let graph = Graph::generate(&"scale-free:2".parse().unwrap(), nodes, &mut rng).unwrap();
        let workload = Workload::new(nodes, &options, &mut rng);
        let names = workload.files.iter().flat_map(|files| files.iter());
        let words: BTreeSet<&str> = names.map(|name| name.rsplit_once(' ').unwrap().0).collect();
        (words.len() == nodes).then_some((seed, graph, workload))
    };
    let (seed, graph, workload) = (0..).find_map(network).unwrap();
    let row = run(&Cell {
        system: SystemKind::Flood,
        failure: Failure::None,
        graph: &graph,
        workload: &workload,
        queries: 5_000,
        ttl: 15,
        seed,
        options,
    })
    .unwrap();
    // The one hit goes back over as many links as the copy came over.
    let cost = 2 * graph.edges.len() - (nodes - 1);
    let copies = row.messages_mean.unwrap() - row.hops_mean.unwrap();
    assert!((copies - cost as f64).abs() < 1e-6, "{copies} copies, {cost} expected: {row:?}");
    assert_eq!(row.exact_recall, Some(1.0), "{row:?}");
}

#[test]
fn messages_grow_with_the_network_as_theory_says() {
    let rows = |system, sizes: [usize; 3], queries| {
        sizes.map(|nodes| row_of(system, nodes, Failure::None, queries))
    };
    let central = growth(&rows(SystemKind::Central, [100, 300, 900], 5_000), "central").unwrap();
    assert!(central.abs() < 0.02, "{central}");
    // A flood is 5,000 lookups over the three sizes together.
    let flood = rows(SystemKind::Flood, [50, 100, 200], 1_700);
    let (power, logarithm) = (growth(&flood, "flood"), logarithmic_growth(&flood, "flood"));
    assert!((0.95..1.05).contains(&power.unwrap()), "{power:?}");
    assert!(!logarithm.unwrap().1, "{logarithm:?}");
    // Each circle of identifiers has paths of its own length, by some percent: over a small range of
    // sizes no curve can be told from another.
    let chord = rows(SystemKind::Chord, [30, 250, 2_000], 5_000);
    let (step, fits_better) = logarithmic_growth(&chord, "chord").unwrap();
    // Half a node more to ask, and its answer: 1. Paths of 30 nodes are shorter than half the logarithm,
    // so from there the slope is steeper.
    let messages: Vec<_> = chord.iter().map(|row| row.messages_mean).collect();
    assert!(fits_better, "{messages:?}");
    assert!((0.9..1.2).contains(&step), "{step}: {messages:?}");
}

/// The keys of a row, in order.
const KEYS: &str = "system nodes failure lookups exact_success exact_recall keyword_success \
    keyword_recall messages_mean messages_p95 messages_max bytes_mean hops_mean hops_p95 \
    first_answer_ms_mean state_entries_mean state_entries_max state_bytes_mean state_bytes_max \
    join_messages_mean upkeep_messages_per_node_minute busiest_share recovery_seconds";

#[test]
fn json_has_these_keys_one_object_a_line_and_is_the_same_again() {
    let args = ["lab", "--nodes", "30,60", "--queries", "30", "--failures", "none,churn", "--json"];
    let home = Home::new();
    let [once, again] = [(); 2].map(|()| home.run(&args));
    assert_code(&once, 0);
    assert_eq!(once.stdout, again.stdout);
    let text = String::from_utf8(once.stdout).unwrap();
    assert_eq!(text.lines().count(), 2 * 2 * SystemKind::ALL.len());
    for line in text.lines() {
        let row: Value = serde_json::from_str(line).unwrap();
        for key in KEYS.split_whitespace() {
            assert!(row.get(key).is_some(), "{key} in {line}");
        }
        assert_eq!(row.as_object().unwrap().len(), KEYS.split_whitespace().count());
        assert_eq!(row["recovery_seconds"].is_null(), row["failure"] == "none", "{line}");
    }
}

#[test]
fn the_table_says_what_it_was_made_with() {
    let args = ["lab", "--nodes", "30", "--failures", "none", "--systems", "central,chord"];
    let output = Home::new().run(&args);
    assert_code(&output, 0);
    let text = String::from_utf8(output.stdout).unwrap();
    for part in
        ["system", "whole names only", "single point of failure", "Zipf, exponent 1", "seed 1"]
    {
        assert!(text.contains(part), "{part} in {text}");
    }
}

#[test]
fn a_plan_gives_nodes_links_and_the_files_of_folders() {
    let home = Home::new();
    let write = |name: &str, text: &str| {
        let path = home.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    write("edges.txt", "a b\nb c\nc d\nd a\n");
    for name in ["Blue_Train-01.ogg", "Red Train.flac", "noise.wav"] {
        write(&format!("music/{name}"), "x");
    }
    let node = "[[node]]\nname = \"c\"\nshare = [\"music\"]\n";
    let plan = format!("topology = \"file:edges.txt\"\nfiles = 0\nseed = 5\nqueries = 40\n{node}");
    write("plan.toml", &plan);
    let file = home.path("plan.toml");
    let args = ["lab", "--plan", file.to_str().unwrap(), "--failures", "none", "--json"];
    let output = home.run(&args);
    assert_code(&output, 0);
    for line in String::from_utf8(output.stdout).unwrap().lines() {
        let row: Value = serde_json::from_str(line).unwrap();
        assert_eq!((&row["nodes"], &row["lookups"]), (&4.into(), &40.into()), "{line}");
        assert_eq!(row["exact_success"], 1.0, "{line}");
        let system: SystemKind = row["system"].as_str().unwrap().parse().unwrap();
        let has_words = system.limits().starts_with("keywords");
        assert_eq!(row["keyword_success"], f64::from(u8::from(has_words)), "{line}");
    }
    let clash = home.run(&["lab", "--plan", "plan.toml", "--nodes", "9"]);
    assert_code(&clash, 2);
    write("exec.toml", "[[node]]\nname = \"1\"\nkind = \"exec\"\ncommand = [\"x\"]\n");
    write("slow.toml", "latency = \"1s\"\n");
    for (name, words) in [("exec", "is another program"), ("slow", "latency is above 200 ms")] {
        let path = home.path(&format!("{name}.toml"));
        let output = home.run(&["lab", "--plan", path.to_str().unwrap()]);
        assert_code(&output, 2);
        assert!(String::from_utf8(output.stderr).unwrap().contains(words), "{words}");
    }
}

#[test]
fn wrong_arguments_are_refused_in_plain_words() {
    let wrong: [(&[&str], &str); 9] = [
        (&["--zipf", "4"], "give a number from 0 to 3"),
        (&["--walkers", "0"], "0 is not in 1..=1000"),
        (&["--check-interval", "129"], "129 is not in 1..=128"),
        (&["--superpeer-every", "0"], "0 is not in 1.."),
        (&["--systems", "napster"], "is not a system: give some of central,"),
        (&["--failures", "random:2"], "is not a failure: give none, index,"),
        (&["--topology", "tree:2,3", "--nodes", "9"], "has its own number of nodes"),
        (&["--nodes", "1"], "at least 2 nodes"),
        (&["--nodes", "2000000"], "at most 1000000 nodes"),
    ];
    for (args, words) in wrong {
        let output = Home::new().run(&[&["lab"], args].concat());
        assert_code(&output, 2);
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(text.contains(words), "{args:?}: {text}");
    }
}
