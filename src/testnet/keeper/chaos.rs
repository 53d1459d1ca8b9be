//! Faults by the plan's chances, on real processes: the counterpart of those of the simulator.

use crate::plan::chance::{pareto, seconds_until};
use crate::plan::{Faults, MAX_DOWN_SECS, MAX_STALL_SECS};
use crate::rng::Rng;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

/// Something to be done to the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fault {
    Reset {
        link: usize,
    },
    /// Killed without a word.
    Crash {
        node: usize,
    },
    /// Asked to stop.
    Leave {
        node: usize,
    },
    Return {
        node: usize,
    },
    /// Stopped in its tracks.
    Stall {
        node: usize,
    },
    Resume {
        node: usize,
    },
    Part,
    Heal,
}

/// When what goes wrong.
pub(super) struct Chaos {
    faults: Faults,
    rng: Rng,
    due: BinaryHeap<Reverse<(Instant, Fault)>>,
}

impl Chaos {
    /// Nothing goes wrong until [`Chaos::arm`].
    pub(super) fn new(faults: Faults, rng: Rng) -> Chaos {
        Chaos { faults, rng, due: BinaryHeap::new() }
    }

    /// All links have stood: draws the first of every fault.
    pub(super) fn arm(&mut self, now: Instant, nodes: usize, links: usize) {
        if !self.due.is_empty() {
            return;
        }
        for link in 0..links {
            self.draw(now, self.faults.reset, Fault::Reset { link });
        }
        for node in 0..nodes {
            self.plan_life(now, node);
        }
        if let Some(after) = self.faults.partition {
            self.due.push(Reverse((now + after, Fault::Part)));
        }
    }

    /// A node has just started.
    fn plan_life(&mut self, now: Instant, node: usize) {
        self.draw(now, self.faults.crash, Fault::Crash { node });
        self.draw(now, self.faults.stall, Fault::Stall { node });
        if let Some(mean) = self.faults.session {
            let at = now + pareto(mean, &mut self.rng);
            self.due.push(Reverse((at, Fault::Leave { node })));
        }
    }

    fn draw(&mut self, now: Instant, probability: f64, fault: Fault) {
        if let Some(seconds) = seconds_until(probability, &mut self.rng) {
            let within = Duration::from_micros(self.rng.next_u64() % 1_000_000);
            self.due.push(Reverse((now + Duration::from_secs(seconds) + within, fault)));
        }
    }

    /// When the next fault is due.
    pub(super) fn next_at(&self) -> Option<Instant> {
        self.due.peek().map(|Reverse((at, _))| *at)
    }

    /// What is due, with what follows from it already planned.
    pub(super) fn next(&mut self, now: Instant) -> Option<Fault> {
        self.due.peek().filter(|Reverse((at, _))| *at <= now)?;
        let Reverse((_, fault)) = self.due.pop()?;
        let (follows, after) = match fault {
            Fault::Reset { .. } => {
                self.draw(now, self.faults.reset, fault);
                return Some(fault);
            }
            Fault::Crash { node } => (Fault::Return { node }, self.some_seconds(MAX_DOWN_SECS)),
            Fault::Leave { node } => {
                let mean = self.faults.mean_absence();
                (Fault::Return { node }, pareto(mean, &mut self.rng))
            }
            Fault::Stall { node } => (Fault::Resume { node }, self.some_seconds(MAX_STALL_SECS)),
            Fault::Return { node } => {
                // What was drawn for its life before is void.
                self.due.retain(|Reverse((_, fault))| !fault.is_of(node));
                self.plan_life(now, node);
                return Some(fault);
            }
            Fault::Resume { node } => {
                self.draw(now, self.faults.stall, Fault::Stall { node });
                return Some(fault);
            }
            Fault::Part => (Fault::Heal, self.faults.parted_for()),
            Fault::Heal => return Some(fault),
        };
        self.due.push(Reverse((now + after, follows)));
        Some(fault)
    }

    /// A side for each node.
    pub(super) fn sides(&mut self, nodes: usize) -> Vec<bool> {
        (0..nodes).map(|_| self.rng.below(2) == 0).collect()
    }

    fn some_seconds(&mut self, most: usize) -> Duration {
        Duration::from_secs(1 + self.rng.below(most) as u64)
    }
}

impl Fault {
    fn is_of(self, which: usize) -> bool {
        match self {
            Fault::Crash { node }
            | Fault::Leave { node }
            | Fault::Return { node }
            | Fault::Stall { node }
            | Fault::Resume { node } => node == which,
            Fault::Reset { .. } | Fault::Part | Fault::Heal => false,
        }
    }
}
