//! The random schedule of a plan's faults, for virtual networks and real processes.
//!
//! Everything is drawn from one seed, in the order in which links and nodes start, so the same plan
//! has the same faults. The schedule says what happens; how a node crashes or a link is cut is the
//! business of the engine that asks.
//!
//! ```text
//! node   start ─┬─ Crash ── 1 to 30 s ─────── Return ─ start of its next life …
//!               ├─ Leave ── Pareto(absence) ─ Return ─ start of its next life …
//!               └─ Stall ── 1 to 120 s ────── Resume ─ Stall …
//! link   made ──── Reset
//! network armed ── Partition ─ partition_for ─ Heal
//! ```

use super::Faults;
use super::chance::{pareto, seconds_until, unit};
use crate::rng::Rng;
use crate::time::Instant;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fmt;
use std::time::Duration;

/// Longest time until a node that crashed returns, in seconds.
const MAX_DOWN_SECS: usize = 30;
/// Longest time until a stalled node resumes, in seconds: some resume only after their neighbours
/// have closed their links.
const MAX_STALL_SECS: usize = 120;

/// One fault, or the recovery from one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// A link is reset.
    Reset {
        /// Its number.
        link: usize,
        /// In the middle of the next bytes that cross it rather than at once.
        mid_stream: bool,
    },
    /// A node ends without shutting down, and loses all but its identity.
    Crash {
        /// Its number.
        node: usize,
        /// Its neighbours get no FIN or RST: the machine is gone too.
        silent: bool,
    },
    /// A node shuts down.
    Leave {
        /// Its number.
        node: usize,
    },
    /// A node that crashed or left starts again.
    Return {
        /// Its number.
        node: usize,
    },
    /// A node stops doing anything.
    Stall {
        /// Its number.
        node: usize,
    },
    /// A stalled node goes on.
    Resume {
        /// Its number.
        node: usize,
    },
    /// The network falls apart in two; see [`FaultSchedule::sides`].
    Partition,
    /// The network is whole again.
    Heal,
}

/// The outcome of a dial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DialOutcome {
    /// It gets through.
    Connects,
    /// It is refused.
    Refused,
    /// It gets no answer.
    Silent,
}

/// The faults to come, by time. Nothing is scheduled until [`FaultSchedule::arm`].
#[derive(Clone, Debug)]
pub struct FaultSchedule {
    faults: Faults,
    rng: Rng,
    due: BinaryHeap<Reverse<Due>>,
    /// Number of times each node has ended. A fault counts only in the life it was drawn for.
    lives: Vec<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Due {
    at: Instant,
    fault: Fault,
    /// Of the node, where the fault is one of a node.
    life: u32,
}

impl FaultSchedule {
    /// The faults of a plan, drawn from `rng`.
    pub fn new(faults: Faults, rng: Rng) -> FaultSchedule {
        FaultSchedule { faults, rng, due: BinaryHeap::new(), lives: Vec::new() }
    }

    /// All links of the network stand: draws the first of every fault. Does nothing the second time.
    pub fn arm(&mut self, now: Instant, nodes: usize, links: usize) {
        if !self.lives.is_empty() {
            return;
        }
        self.lives = vec![0; nodes];
        for node in 0..nodes {
            self.node_started(now, node);
        }
        for link in 0..links {
            self.link_made(now, link);
        }
        if let Some(after) = self.faults.partition {
            self.push(now + after, Fault::Partition, 0);
        }
    }

    /// A link was made since then, or made again after its reset.
    pub fn link_made(&mut self, now: Instant, link: usize) {
        if let Some(at) = self.draw(now, self.faults.reset) {
            let mid_stream = self.coin();
            self.push(at, Fault::Reset { link, mid_stream }, 0);
        }
    }

    fn node_started(&mut self, now: Instant, node: usize) {
        let life = self.lives[node];
        if let Some(at) = self.draw(now, self.faults.crash) {
            let silent = self.coin();
            self.push(at, Fault::Crash { node, silent }, life);
        }
        self.plan_stall(now, node);
        if let Some(mean) = self.faults.session {
            let at = now + pareto(mean, &mut self.rng);
            self.push(at, Fault::Leave { node }, life);
        }
    }

    fn plan_stall(&mut self, now: Instant, node: usize) {
        if let Some(at) = self.draw(now, self.faults.stall) {
            self.push(at, Fault::Stall { node }, self.lives[node]);
        }
    }

    /// Time of the next fault, which may turn out to be void.
    pub fn next_at(&self) -> Option<Instant> {
        self.due.peek().map(|Reverse(due)| due.at)
    }

    /// The next fault that is due at `now`, and when it was; what follows from it is scheduled.
    pub fn next_due(&mut self, now: Instant) -> Option<(Instant, Fault)> {
        while self.next_at().is_some_and(|at| at <= now) {
            let Reverse(Due { at, fault, life }) = self.due.pop()?;
            if fault.node().is_none_or(|node| self.lives[node] == life) {
                self.plan_next(at, fault);
                return Some((at, fault));
            }
        }
        None
    }

    fn plan_next(&mut self, at: Instant, fault: Fault) {
        match fault {
            Fault::Crash { node, .. } => {
                let down = self.some_seconds(MAX_DOWN_SECS);
                self.end_life(at + down, node);
            }
            Fault::Leave { node } => {
                let absence = pareto(self.faults.mean_absence(), &mut self.rng);
                self.end_life(at + absence, node);
            }
            Fault::Return { node } => self.node_started(at, node),
            Fault::Stall { node } => {
                let stalled = self.some_seconds(MAX_STALL_SECS);
                self.push(at + stalled, Fault::Resume { node }, self.lives[node]);
            }
            Fault::Resume { node } => self.plan_stall(at, node),
            Fault::Partition => self.push(at + self.faults.parted_for(), Fault::Heal, 0),
            Fault::Reset { .. } | Fault::Heal => {}
        }
    }

    fn end_life(&mut self, back_at: Instant, node: usize) {
        self.lives[node] += 1;
        self.push(back_at, Fault::Return { node }, self.lives[node]);
    }

    /// The side of each node in a partition.
    pub fn sides(&mut self, nodes: usize) -> Vec<bool> {
        (0..nodes).map(|_| self.coin()).collect()
    }

    fn push(&mut self, at: Instant, fault: Fault, life: u32) {
        self.due.push(Reverse(Due { at, fault, life }));
    }

    /// Draws the time of an event that has this probability in each second.
    fn draw(&mut self, now: Instant, probability: f64) -> Option<Instant> {
        let seconds = seconds_until(probability, &mut self.rng)?;
        let within = Duration::from_micros(self.rng.next_u64() % 1_000_000);
        Some(now + Duration::from_secs(seconds) + within)
    }

    fn some_seconds(&mut self, most: usize) -> Duration {
        Duration::from_secs(1 + self.rng.below(most) as u64)
    }

    fn coin(&mut self) -> bool {
        self.rng.below(2) == 0
    }
}

impl Faults {
    /// Draws the outcome of a dial.
    pub fn dial(&self, rng: &mut Rng) -> DialOutcome {
        match unit(rng) {
            drawn if drawn < self.refuse => DialOutcome::Refused,
            drawn if drawn < self.refuse + self.silent => DialOutcome::Silent,
            _ => DialOutcome::Connects,
        }
    }
}

impl Fault {
    /// The node it happens to.
    fn node(self) -> Option<usize> {
        match self {
            Fault::Crash { node, .. }
            | Fault::Leave { node }
            | Fault::Return { node }
            | Fault::Stall { node }
            | Fault::Resume { node } => Some(node),
            Fault::Reset { .. } | Fault::Partition | Fault::Heal => None,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Reset { link, .. } => write!(f, "link {link} is reset"),
            Fault::Crash { node, .. } => write!(f, "node {node} crashes"),
            Fault::Leave { node } => write!(f, "node {node} leaves"),
            Fault::Return { node } => write!(f, "node {node} returns"),
            Fault::Stall { node } => write!(f, "node {node} stalls"),
            Fault::Resume { node } => write!(f, "node {node} resumes"),
            Fault::Partition => f.write_str("the network is partitioned"),
            Fault::Heal => f.write_str("the partition is healed"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);

    /// All faults of an hour in a network of ten nodes and links.
    fn an_hour(faults: Faults, seed: u64) -> Vec<(Instant, Fault)> {
        let mut schedule = FaultSchedule::new(faults, Rng::new(seed));
        let mut all = Vec::new();
        schedule.arm(Instant::ZERO, 10, 10);
        schedule.arm(Instant::ZERO, 10, 10);
        while let Some((at, fault)) = schedule.next_due(Instant::ZERO + HOUR) {
            if let Fault::Reset { link, .. } = fault {
                schedule.link_made(at, link);
            }
            all.push((at, fault));
        }
        all
    }

    #[test]
    fn the_same_seed_has_the_same_faults_and_no_plan_has_none() {
        let faults = Faults { reset: 0.01, crash: 0.01, stall: 0.01, ..Faults::default() };
        let first = an_hour(faults.clone(), 1);
        assert_eq!(first, an_hour(faults.clone(), 1));
        assert_ne!(first, an_hour(faults, 2));
        assert_eq!(an_hour(Faults::default(), 1), []);
    }

    #[test]
    fn faults_come_at_their_rate_and_each_is_recovered_from() {
        let faults = Faults {
            reset: 0.01,
            crash: 0.001,
            stall: 0.001,
            session: Some(Duration::from_secs(600)),
            partition: Some(Duration::from_secs(5)),
            ..Faults::default()
        };
        let all = an_hour(faults, 3);
        assert!(all.is_sorted_by_key(|(at, _)| *at));
        let count = |of: fn(&Fault) -> bool| all.iter().filter(|(_, fault)| of(fault)).count();
        // Ten links, 0.01 a second, an hour.
        let resets = count(|fault| matches!(fault, Fault::Reset { .. }));
        assert!((290..430).contains(&resets), "{resets}");
        for node in 0..10 {
            let (mut up, mut stalled) = (true, false);
            for (_, fault) in all.iter().filter(|(_, fault)| fault.node() == Some(node)) {
                match fault {
                    Fault::Crash { .. } | Fault::Leave { .. } => {
                        assert!(up, "{fault}");
                        (up, stalled) = (false, false);
                    }
                    Fault::Return { .. } => assert!(!std::mem::replace(&mut up, true), "{fault}"),
                    Fault::Stall { .. } => {
                        assert!(up && !std::mem::replace(&mut stalled, true), "{fault}");
                    }
                    Fault::Resume { .. } => assert!(std::mem::take(&mut stalled), "{fault}"),
                    _ => {}
                }
            }
        }
        let second = |seconds| Instant::ZERO + Duration::from_secs(seconds);
        assert!(all.contains(&(second(5), Fault::Partition)));
        assert!(all.contains(&(second(65), Fault::Heal)), "after a minute unless said otherwise");
    }

    #[test]
    fn dials_fail_at_their_rate() {
        let faults = Faults { refuse: 0.2, silent: 0.3, ..Faults::default() };
        let mut rng = Rng::new(5);
        let drawn: Vec<_> = (0..10_000).map(|_| faults.dial(&mut rng)).collect();
        let count = |outcome| drawn.iter().filter(|one| **one == outcome).count();
        assert!((1_850..2_150).contains(&count(DialOutcome::Refused)));
        assert!((2_850..3_150).contains(&count(DialOutcome::Silent)));
    }
}
