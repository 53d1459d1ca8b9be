//! The simulator with the full core and its oracles: deliveries a second and what a node costs.
#![allow(clippy::unwrap_used, reason = "a bench that cannot go on stops")]
#![allow(clippy::cast_possible_truncation, reason = "figures are far below")]

mod support;

use serde_json::Value;
use support::{Spread, heading, repetitions, row};

fn main() {
    for (nodes, queries) in [("10000", "100"), ("100000", "10")] {
        heading(&format!("{nodes} nodes of 4 links, {queries} searches of TTL 7, oracles on"));
        let plans: [(&str, &[&str]); 2] = [
            ("without files, all idle", &["--files", "0", "--queries", "0"]),
            ("4 files each", &["--queries", queries]),
        ];
        for (what, args) in plans {
            let runs: Vec<Value> = (0..repetitions(3))
                .map(|_| {
                    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_servent"));
                    command.args(["sim", "--json", "--topology", "regular:4", "--seed", "7"]);
                    let done = command.args(["--nodes", nodes]).args(args).output().unwrap();
                    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
                    serde_json::from_slice(&done.stdout).unwrap()
                })
                .collect();
            let each = |of: &dyn Fn(&Value) -> f64| Spread::new(runs.iter().map(of).collect());
            let number = |run: &Value, name: &str| run[name].as_f64().unwrap();
            if queries != "0" && number(&runs[0], "descriptors") > 0.0 {
                let rate = each(&|run| number(run, "descriptors") / number(run, "real_seconds"));
                row(&format!("{what}: descriptors delivered"), &rate.show("/s"));
            }
            row(
                &format!("{what}: memory a node"),
                &each(&|run| number(run, "bytes_per_node")).show("B"),
            );
        }
    }
}
