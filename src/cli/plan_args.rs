//! The options of networks, simulated and real: each can also stand in a plan.

use super::settings::read_bytes;
use clap::Args;
use std::time::Duration;

/// Everything here may also stand in a plan.
#[derive(Debug, Default, PartialEq, Args)]
pub(super) struct PlanArgs {
    /// Servents; trees and edge lists bring their own number [default: 100, in a
    /// testnet 8]
    #[arg(long, value_name = "N")]
    pub(super) nodes: Option<usize>,
    /// line, ring, star, tree:BRANCHING,DEPTH, regular:DEGREE, random:PROBABILITY,
    /// scale-free:LINKS or file:EDGELIST [default: regular:4, in a testnet
    /// ring]
    #[arg(long, value_name = "SHAPE")]
    pub(super) topology: Option<String>,
    /// Searches, one after the other [default: 10]
    #[arg(long, value_name = "N")]
    pub(super) queries: Option<usize>,
    /// Links a search may cross, 1 to 15 [default: 7]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=15))]
    pub(super) ttl: Option<u8>,
    /// All randomness comes from this number: same plan, same seed, same run [default: 1]
    #[arg(long, value_name = "N")]
    pub(super) seed: Option<u64>,
    /// The node all searches start from, by its name in the edge list or its number [default: a
    /// random one for each]
    #[arg(long, value_name = "NODE")]
    pub(super) from: Option<String>,
    /// Files each servent shares [default: 4]
    #[arg(long, value_name = "N")]
    pub(super) files: Option<usize>,
    /// One-way delay of every link, such as 50ms or 0.2s [default: 10 to 100 ms, drawn
    /// for each; in a testnet none]
    #[arg(long, value_name = "TIME", value_parser = delay)]
    pub(super) latency: Option<Duration>,
    /// Bytes per second of every link, each way, such as 500k
    #[arg(long, value_name = "RATE", value_parser = read_bytes)]
    pub(super) bandwidth: Option<u64>,
    /// Bytes under way or unread on a link before its writer waits [default: 64 KiB with
    /// --bandwidth or faults]
    #[arg(long, value_name = "BYTES", value_parser = read_bytes)]
    pub(super) window: Option<u64>,
    /// Have what is written arrive in pieces, cut at random
    #[arg(long)]
    pub(super) split: bool,
    /// Time from the start of one search to the next, in a simulation [default: 10s with faults, else 1s or more]
    #[arg(long, value_name = "TIME", value_parser = delay)]
    pub(super) interval: Option<Duration>,
    /// Probability per link and second that it is reset
    #[arg(long, value_name = "P", value_parser = probability)]
    pub(super) reset: Option<f64>,
    /// Probability that a dial is refused
    #[arg(long, value_name = "P", value_parser = probability)]
    pub(super) refuse: Option<f64>,
    /// Probability that a dial is never answered
    #[arg(long, value_name = "P", value_parser = probability)]
    pub(super) silent: Option<f64>,
    /// Probability per node and second that it crashes, to be back within 30 s
    #[arg(long, value_name = "P", value_parser = probability)]
    pub(super) crash: Option<f64>,
    /// Probability per node and second that it stops reading, for up to two minutes
    #[arg(long, value_name = "P", value_parser = probability)]
    pub(super) stall: Option<f64>,
    /// When the network falls apart in two
    #[arg(long, value_name = "TIME", value_parser = delay)]
    pub(super) partition: Option<Duration>,
    /// For how long it does [default: 60s]
    #[arg(long, value_name = "TIME", value_parser = delay)]
    pub(super) partition_for: Option<Duration>,
    /// Mean time nodes stay before they leave; most stay for less, few for much longer
    #[arg(long, value_name = "TIME", value_parser = delay)]
    pub(super) session: Option<Duration>,
    /// Mean time until they are back [default: 60s]
    #[arg(long, value_name = "TIME", value_parser = delay)]
    pub(super) absence: Option<Duration>,
}

/// A number from 0 to 1.
pub(super) fn probability(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(probability) if (0.0..=1.0).contains(&probability) => Ok(probability),
        _ => Err(format!("{text} is not a probability from 0 to 1")),
    }
}

/// A time in `ms`, `s` or `m`.
pub(super) fn delay(text: &str) -> Result<Duration, String> {
    const DAY: f64 = 86_400.0;
    let units = [("ms", 1e-3), ("s", 1.0), ("m", 60.0)];
    let found = units.iter().find_map(|(unit, scale)| Some((text.strip_suffix(unit)?, scale)));
    let seconds = found.and_then(|(number, scale)| Some(number.parse::<f64>().ok()? * scale));
    match seconds {
        Some(seconds) if (0.0..=DAY).contains(&seconds) => Ok(Duration::from_secs_f64(seconds)),
        _ => Err("give a time such as 50ms, 0.2s or 10m, at most a day".to_owned()),
    }
}
