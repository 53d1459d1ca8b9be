//! The simulator with the full core: descriptors delivered per second, with and without oracles and on
//! one core, memory per node, time to build a network, and a million servents.
#![allow(clippy::unwrap_used, reason = "a bench that cannot go on stops")]
#![allow(clippy::cast_possible_truncation, reason = "figures are far below")]

mod support;

use serde_json::Value;
use support::{Spread, heading, repetitions, row};

/// Nodes, searches of TTL 7 and floods of the whole network.
const SIZES: [[&str; 3]; 2] = [["10000", "200", "30"], ["100000", "50", "4"]];

fn main() {
    let repetitions = repetitions(3);
    for [nodes, searches, floods] in SIZES {
        heading(&format!("{nodes} nodes of 4 links"));
        let idle = ["--files", "0", "--queries", "0"];
        let [one, all] = [&["--cores", "1"][..], &[]].map(|cores| [&idle, cores].concat());
        let idle = runs(repetitions, nodes, &[&one, &all]);
        row("without files, all idle: memory per node, on one core", &memory(&idle[0]));
        row("  on all cores", &memory(&idle[1]));
        row("  building it and taking it down", &rest(&idle[1]));
        for (what, ttl, queries) in
            [("searches of TTL 7", "7", searches), ("floods of TTL 15", "15", floods)]
        {
            let on = ["--ttl", ttl, "--queries", queries];
            let off = [&on[..], &["--no-oracles"]].concat();
            let alone = [&off[..], &["--cores", "1"]].concat();
            let both = runs(repetitions, nodes, &[&on, &off, &alone]);
            for (oracles, runs) in ["on", "off", "off, on one core"].into_iter().zip(&both) {
                assert!(runs.iter().all(|run| run["checked"] == (oracles == "on")));
                let rate =
                    spread(runs, |run| number(run, "descriptors") / number(run, "search_seconds"));
                row(&format!("{queries} {what}, oracles {oracles}"), &rate.show("/s"));
            }
            let hashes = both.iter().flatten().map(|run| run["trace_hash"].as_str().unwrap());
            let mut hashes: Vec<&str> = hashes.collect();
            hashes.dedup();
            assert_eq!(hashes.len(), 1, "the same plan gives the same trace");
            row("  memory per node, with 4 files", &memory(&both[0]));
            row("  building it and taking it down", &rest(&both[0]));
        }
    }
    heading("a million nodes of 4 links, without files, one search of TTL 7, oracles on");
    let on = ["--files", "0", "--queries", "1", "--ttl", "7"];
    let million = runs(1, "1000000", &[&on]).remove(0);
    row("time in all", &spread(&million, |run| number(run, "real_seconds")).show("s"));
    row("peak memory", &spread(&million, |run| number(run, "bytes_per_node")).show("MB"));
}

/// Time outside searches.
fn rest(runs: &[Value]) -> String {
    spread(runs, |run| number(run, "real_seconds") - number(run, "search_seconds")).show("s")
}

/// Repeats all plans in turn, so that other load on the machine affects all of them.
fn runs(repetitions: usize, nodes: &str, plans: &[&[&str]]) -> Vec<Vec<Value>> {
    let mut all = vec![Vec::new(); plans.len()];
    for _ in 0..repetitions {
        for (runs, args) in all.iter_mut().zip(plans) {
            let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_servent"));
            command.args(["sim", "--json", "--topology", "regular:4", "--seed", "7"]);
            let done = command.args(["--nodes", nodes]).args(*args).output().unwrap();
            assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
            runs.push(serde_json::from_slice(&done.stdout).unwrap());
        }
    }
    all
}

fn number(run: &Value, name: &str) -> f64 {
    run[name].as_f64().unwrap()
}

fn spread(runs: &[Value], of: impl Fn(&Value) -> f64) -> Spread {
    Spread::new(runs.iter().map(of).collect())
}

fn memory(runs: &[Value]) -> String {
    spread(runs, |run| number(run, "bytes_per_node")).show("B")
}
