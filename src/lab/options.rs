//! What the user may choose, apart from nodes, failures and lookups. Each choice favours some systems,
//! so each has a default that is named in the output.

use std::time::Duration;

/// Latencies of links where none is chosen, as in the simulator.
const LATENCIES: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(100));

/// See the module documentation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Options {
    /// Files a node shares, drawn by popularity. At most.
    pub files: u16,
    /// Exponent of Zipf's law for the popularity of files: rank k comes up in proportion to 1 / k^s.
    /// 0 makes all files equally popular.
    pub zipf: f64,
    /// One-way latency between any two nodes; `None` draws each from 10 to 100 ms.
    pub latency: Option<Duration>,
    /// Random walkers of a lookup; 16 as in the first experiments of Lv et al. (2002).
    pub walkers: u16,
    /// Links a random walker crosses between two checks with the searcher; 4 as in Lv et al.
    pub check_interval: u8,
    /// One node in this many is a superpeer.
    pub superpeer_every: u16,
    /// Nodes of a hash table that keep each key, its owner included.
    pub replicas: u8,
    /// Names a Freenet node keeps beside its own; 50 as in Clarke et al. (2000).
    pub cache: u32,
    /// Dimensions of CAN's torus.
    pub dimensions: u8,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            files: 4,
            zipf: 1.0,
            latency: None,
            walkers: 16,
            check_interval: 4,
            superpeer_every: 10,
            replicas: 3,
            cache: 50,
            dimensions: 4,
        }
    }
}

impl Options {
    /// The least and the greatest latency.
    pub(super) fn latencies(&self) -> (Duration, Duration) {
        self.latency.map_or(LATENCIES, |latency| (latency, latency))
    }

    /// How long a ring waits for each link of its way there and back: more than twice the time it takes.
    pub(super) fn ring_time_per_link(&self) -> Duration {
        self.latencies().1 * 5 / 2
    }
}
