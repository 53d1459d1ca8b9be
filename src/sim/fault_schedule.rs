//! When what fails, by the plan's chances.

use crate::net::{Dial, DialFate};
use crate::plan::Faults;
use crate::plan::chance::{pareto, seconds_until, unit};
use crate::rng::Rng;
use crate::time::Instant;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

/// A fault that is scheduled. Those of a node count only in the life they were drawn for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fault {
    Reset { wire: usize },
    Crash { node: usize, life: u32 },
    Leave { node: usize, life: u32 },
    Return { node: usize },
    Stall { node: usize, life: u32 },
    Resume { node: usize, life: u32 },
    Part,
    Heal,
}

/// The faults to come. None are drawn until [`FaultSchedule::arm`].
pub(super) struct FaultSchedule<'a> {
    pub(super) faults: &'a Faults,
    armed: bool,
    /// In order of time, and at one time in order of scheduling.
    due: BinaryHeap<Reverse<(Instant, u64, Fault)>>,
    sequence: u64,
}

impl<'a> FaultSchedule<'a> {
    pub(super) fn new(faults: &'a Faults) -> FaultSchedule<'a> {
        FaultSchedule { faults, armed: false, due: BinaryHeap::new(), sequence: 0 }
    }

    /// Whether faults may happen.
    pub(super) fn is_armed(&self) -> bool {
        self.armed
    }

    /// All links stand: draws the first of every fault.
    pub(super) fn arm(&mut self, now: Instant, nodes: usize, wires: usize, rng: &mut Rng) {
        self.armed = true;
        for node in 0..nodes {
            self.plan_life(now, node, 0, rng);
        }
        for wire in 0..wires {
            self.plan_reset(now, wire, rng);
        }
        if let Some(after) = self.faults.partition {
            self.schedule(now + after, Fault::Part);
        }
    }

    /// A node has started.
    pub(super) fn plan_life(&mut self, now: Instant, node: usize, life: u32, rng: &mut Rng) {
        self.draw(now, self.faults.crash, Fault::Crash { node, life }, rng);
        self.plan_stall(now, node, life, rng);
        if let Some(mean) = self.faults.session {
            self.schedule(now + pareto(mean, rng), Fault::Leave { node, life });
        }
    }

    pub(super) fn plan_stall(&mut self, now: Instant, node: usize, life: u32, rng: &mut Rng) {
        self.draw(now, self.faults.stall, Fault::Stall { node, life }, rng);
    }

    fn plan_reset(&mut self, now: Instant, wire: usize, rng: &mut Rng) {
        self.draw(now, self.faults.reset, Fault::Reset { wire }, rng);
    }

    /// Schedules a fault that has this chance in each second.
    fn draw(&mut self, now: Instant, probability: f64, fault: Fault, rng: &mut Rng) {
        if let Some(seconds) = seconds_until(probability, rng) {
            let within = Duration::from_micros(rng.next_u64() % 1_000_000);
            self.schedule(now + Duration::from_secs(seconds) + within, fault);
        }
    }

    pub(super) fn schedule(&mut self, at: Instant, fault: Fault) {
        self.sequence += 1;
        self.due.push(Reverse((at, self.sequence, fault)));
    }

    /// When the next fault is due.
    pub(super) fn next_at(&self) -> Option<Instant> {
        self.due.peek().map(|Reverse((at, ..))| *at)
    }

    /// The next fault.
    pub(super) fn pop(&mut self) -> Option<Fault> {
        self.due.pop().map(|Reverse((.., fault))| fault)
    }

    /// What becomes of a dial, by the plan's chances.
    pub(super) fn dialled(&mut self, dial: &Dial, rng: &mut Rng) -> DialFate {
        if !self.armed {
            return DialFate::Arrives;
        }
        self.plan_reset(dial.at, dial.wire, rng);
        let mut happens = |chance: f64| chance > 0.0 && unit(rng) < chance;
        match () {
            () if happens(self.faults.refuse) => DialFate::Refused,
            () if happens(self.faults.silent) => DialFate::Swallowed,
            () => DialFate::Arrives,
        }
    }
}
