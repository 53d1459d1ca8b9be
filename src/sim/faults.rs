//! What goes wrong in the network, by the plan's chances or by command, and how it gets better.
//!
//! Nothing here mends a link: nodes dial again whom they keep links with, as they would outside.

use super::link::End;
use super::network::{Network, State, What};
use super::oracle::{Violation, index};
use super::report::Report;
use crate::plan::chance::{pareto, seconds_until, unit};
use crate::plan::topology::Graph;
use crate::plan::{MAX_DOWN_SECS, MAX_STALL_SECS, Plan};
use crate::servent::IoFailure;
use crate::time::Instant;
use std::time::Duration;

/// A fault that is scheduled. Those of a node count only in the life they were drawn for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fault {
    Reset { wire: u32 },
    Crash { node: u32, life: u32 },
    Leave { node: u32, life: u32 },
    Return { node: u32 },
    Stall { node: u32, life: u32 },
    Resume { node: u32, life: u32 },
    Part,
    Heal,
}

/// Something to do to a network by hand, for [`play`]. Numbers beyond what there is wrap around.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// A node searches; the search before is over.
    Search {
        /// Which node.
        from: usize,
        /// TTL of the Query, 1 to 15.
        ttl: u8,
        /// Which file of the catalogue.
        file: usize,
    },
    /// Virtual time passes.
    Wait(Duration),
    /// A node is gone.
    Crash {
        /// Which.
        node: usize,
        /// Nobody is told: the machine is gone too.
        dark: bool,
    },
    /// A node that is gone is back.
    Return {
        /// Which.
        node: usize,
    },
    /// A node stops reading.
    Stall {
        /// Which.
        node: usize,
    },
    /// It reads again.
    Resume {
        /// Which.
        node: usize,
    },
    /// A connection, present or past, is reset.
    Reset {
        /// Which, in the order they were made.
        wire: usize,
        /// Not now, but within the next bytes that arrive on it.
        cut: bool,
    },
    /// The network is parted.
    Part {
        /// The side of each node, a bit for each.
        sides: u64,
    },
    /// It is whole again.
    Heal,
}

/// Starts a network and does all that to it under the eyes of the oracles.
///
/// # Errors
/// The first rule of the protocol that did not hold.
pub fn play(plan: &Plan, graph: &Graph, operations: &[Operation]) -> Result<Report, Violation> {
    let mut network = Network::start(plan, graph, true)?;
    let (nodes, mut searching, mut queries) = (graph.names.len(), None, Vec::new());
    for &operation in operations {
        match operation {
            Operation::Search { from, ttl, file } => {
                if let Some(origin) = searching.replace(from % nodes) {
                    queries.push(network.end_search(origin, plan)?);
                }
                network.begin_search(from % nodes, ttl.clamp(1, 15), file);
            }
            Operation::Wait(time) => {
                let until = network.now + time;
                network.run(until, until)?;
            }
            Operation::Crash { node, dark } => network.crash(node % nodes, dark, "crash"),
            Operation::Return { node } => network.come_back(node % nodes),
            Operation::Stall { node } => network.stall(node % nodes),
            Operation::Resume { node } => network.resume(node % nodes)?,
            Operation::Reset { wire, cut } if !network.wires.is_empty() => {
                let wire = wire % network.wires.len();
                network.wires[wire].cuts_next |= cut;
                if !cut {
                    network.reset(wire);
                }
            }
            Operation::Reset { .. } => {}
            Operation::Part { sides } => {
                network.part((0..nodes).map(|node| sides >> (node % 64) & 1 == 1).collect())?;
            }
            Operation::Heal => network.heal()?,
        }
    }
    if let Some(origin) = searching {
        queries.push(network.end_search(origin, plan)?);
    }
    network.report(plan, queries)
}

impl Network<'_> {
    /// All links have stood once: draws the first of every fault.
    pub(super) fn arm(&mut self) {
        self.armed = true;
        for node in 0..self.nodes.len() {
            self.plan_life(node);
        }
        for wire in 0..self.wires.len() {
            self.plan_reset(wire);
        }
        if let Some(after) = self.faults.partition {
            self.queue.schedule(self.now + after, What::Fault(Fault::Part));
        }
    }

    fn plan_life(&mut self, node: usize) {
        let (faults, life) = (self.faults, self.nodes[node].life);
        let node = index(node);
        if let Some(at) = self.draw(faults.crash) {
            self.queue.schedule(at, What::Fault(Fault::Crash { node, life }));
        }
        if let Some(at) = self.draw(faults.stall) {
            self.queue.schedule(at, What::Fault(Fault::Stall { node, life }));
        }
        if let Some(mean) = faults.session {
            let at = self.now + pareto(mean, &mut self.rng);
            self.queue.schedule(at, What::Fault(Fault::Leave { node, life }));
        }
    }

    fn plan_reset(&mut self, wire: usize) {
        if let Some(at) = self.draw(self.faults.reset) {
            self.queue.schedule(at, What::Fault(Fault::Reset { wire: index(wire) }));
        }
    }

    /// When something happens that has this chance in each second.
    fn draw(&mut self, probability: f64) -> Option<Instant> {
        let seconds = seconds_until(probability, &mut self.rng)?;
        let within = Duration::from_micros(self.rng.next_u64() % 1_000_000);
        Some(self.now + Duration::from_secs(seconds) + within)
    }

    fn some_seconds(&mut self, most: usize) -> Duration {
        Duration::from_secs(1 + self.rng.below(most) as u64)
    }

    pub(super) fn fault(&mut self, fault: Fault) -> Result<(), Violation> {
        let lives = |network: &Network<'_>, node: u32, life: u32| {
            let it = &network.nodes[node as usize];
            it.life == life && it.state == State::Up
        };
        match fault {
            Fault::Reset { wire } => {
                let wire = wire as usize;
                // Half of them wait for something to cut.
                let cut = self.rng.below(2) == 0;
                self.wires[wire].cuts_next |= cut;
                if !cut {
                    self.reset(wire);
                }
            }
            Fault::Crash { node, life } if lives(self, node, life) => {
                let dark = self.rng.below(2) == 0;
                self.crash(node as usize, dark, "crash");
                let at = self.now + self.some_seconds(MAX_DOWN_SECS);
                self.queue.schedule(at, What::Fault(Fault::Return { node }));
            }
            Fault::Leave { node, life } if lives(self, node, life) => {
                self.crash(node as usize, false, "leave");
                let mean = self.faults.mean_absence();
                let at = self.now + pareto(mean, &mut self.rng);
                self.queue.schedule(at, What::Fault(Fault::Return { node }));
            }
            Fault::Return { node } => self.come_back(node as usize),
            Fault::Stall { node, life } if lives(self, node, life) => {
                self.stall(node as usize);
                let at = self.now + self.some_seconds(MAX_STALL_SECS);
                self.queue.schedule(at, What::Fault(Fault::Resume { node, life }));
            }
            Fault::Resume { node, life } if lives(self, node, life) => {
                self.resume(node as usize)?;
                if let Some(at) = self.draw(self.faults.stall) {
                    self.queue.schedule(at, What::Fault(Fault::Stall { node, life }));
                }
            }
            Fault::Part => {
                let sides = (0..self.nodes.len()).map(|_| self.rng.below(2) == 0).collect();
                self.part(sides)?;
                let at = self.now + self.faults.parted_for();
                self.queue.schedule(at, What::Fault(Fault::Heal));
            }
            Fault::Heal => self.heal()?,
            _ => {}
        }
        Ok(())
    }

    /// Whether a dial gets through; if not, what comes of it is under way.
    pub(super) fn dial_succeeds(&mut self, wire: usize) -> bool {
        self.plan_reset(wire);
        let faults = self.faults;
        if faults.refuse > 0.0 && unit(&mut self.rng) < faults.refuse {
            self.note_fault("refused dial", wire);
            let at = self.now + self.wires[wire].latency() * 2;
            self.travel(at, What::Closed(End::new(wire, 0), IoFailure::Refused));
            return false;
        }
        let silent = faults.silent > 0.0 && unit(&mut self.rng) < faults.silent;
        if silent {
            self.note_fault("silent dial", wire);
        }
        !silent
    }

    /// The wire is gone, with what was on it; both ends are told.
    pub(super) fn reset(&mut self, wire: usize) {
        let it = &mut self.wires[wire];
        if it.dead || it.conns == [None, None] {
            return;
        }
        self.lost += it.kill(&mut self.parcels);
        let at = self.now + it.latency();
        for end in 0..2 {
            if self.wires[wire].conns[end].is_some() {
                self.travel(at, What::Closed(End::new(wire, end), IoFailure::Reset));
            }
        }
        self.note_fault("reset", wire);
    }

    /// A node is gone with all it knew. What it had on its links is lost with it, as it is when
    /// a process ends that has not read everything.
    pub(super) fn crash(&mut self, node: usize, dark: bool, kind: &'static str) {
        if self.nodes[node].state != State::Up {
            return;
        }
        self.retire(node);
        self.nodes[node].state = if dark { State::Dark } else { State::Down };
        self.nodes[node].stalled = false;
        for (_, at) in std::mem::take(&mut self.nodes[node].sockets).into_iter().flatten() {
            let (wire, end) = (at.wire(), at.end());
            let it = &mut self.wires[wire];
            it.conns[end] = None;
            self.lost += it.kill(&mut self.parcels);
            let at = self.now + it.latency();
            if !dark && it.conns[1 - end].is_some() {
                self.travel(at, What::Closed(End::new(wire, 1 - end), IoFailure::Reset));
            }
        }
        if let Some((_, watch)) = &mut self.watch {
            watch.forget(node);
        }
        self.note_fault(kind, node);
    }

    pub(super) fn come_back(&mut self, node: usize) {
        if self.nodes[node].state != State::Up {
            self.note_fault("return", node);
            self.revive(node);
            self.plan_life(node);
        }
    }

    pub(super) fn stall(&mut self, node: usize) {
        if self.nodes[node].state == State::Up && !self.nodes[node].stalled {
            self.nodes[node].stalled = true;
            self.note_fault("stall", node);
        }
    }

    pub(super) fn resume(&mut self, node: usize) -> Result<(), Violation> {
        if !std::mem::take(&mut self.nodes[node].stalled) {
            return Ok(());
        }
        self.note_fault("resume", node);
        let sockets: Vec<_> = self.nodes[node].sockets.iter().flatten().copied().collect();
        for (_, at) in sockets {
            self.read(at.wire(), at.end())?;
        }
        Ok(())
    }

    /// What crosses from one side to the other waits; dials that do get no answer.
    pub(super) fn part(&mut self, sides: Vec<bool>) -> Result<(), Violation> {
        self.heal()?;
        self.note_fault("partition", sides.iter().filter(|&&side| side).count());
        self.sides = Some(sides);
        Ok(())
    }

    pub(super) fn heal(&mut self) -> Result<(), Violation> {
        if self.sides.take().is_none() {
            return Ok(());
        }
        self.note_fault("heal", 0);
        for wire in 0..self.wires.len() {
            self.read(wire, 0)?;
            self.read(wire, 1)?;
        }
        Ok(())
    }

    /// Whether a wire leads from one side of a parted network to the other.
    pub(super) fn crosses(&self, wire: usize) -> bool {
        let across = |sides: &Vec<bool>| {
            let it = &self.wires[wire];
            sides[it.node(0)] != sides[it.node(1)]
        };
        self.sides.as_ref().is_some_and(across)
    }
}
