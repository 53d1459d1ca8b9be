//! Faults and recoveries, by the plan's schedule and by command.

use super::node::ServentNode;
use super::simulation::Simulation;
use crate::net::State;
use crate::plan::fault_schedule::Fault;

impl<N: ServentNode> Simulation<'_, N> {
    /// A fault of the schedule happens.
    pub(super) fn fault(&mut self, fault: Fault) {
        match fault {
            Fault::Reset { link, mid_stream } => self.reset(link, mid_stream),
            Fault::Crash { node, silent } => self.crash(node, silent, "crash"),
            Fault::Leave { node } => self.crash(node, false, "leave"),
            Fault::Return { node } => self.come_back(node),
            Fault::Stall { node } => self.stall(node),
            Fault::Resume { node } => self.resume(node),
            Fault::Partition => {
                let sides = self.net.observer.schedule.sides(self.libraries.len());
                self.part(sides);
            }
            Fault::Heal => self.heal(),
        }
    }

    fn note(&mut self, kind: &'static str, subject: usize) {
        let now = self.net.now();
        self.net.observer.note_fault(now, kind, subject);
    }

    /// A wire is reset: now, or within the next bytes that arrive on it.
    pub(super) fn reset(&mut self, wire: usize, cut: bool) {
        if cut {
            self.net.cut(wire);
        } else if self.net.reset(wire) {
            self.note("reset", wire);
        }
    }

    /// A node ends and loses its memory.
    pub(super) fn crash(&mut self, node: usize, dark: bool, kind: &'static str) {
        if self.net.state(node) != State::Up {
            return;
        }
        self.retired.add(self.net.node(node).servent());
        self.net.crash(node, dark);
        if let Some((_, flood)) = &mut self.net.observer.search {
            flood.forget(node);
        }
        self.note(kind, node);
    }

    /// A node that ended starts again. It has its identity and its static peers, and nothing else.
    pub(super) fn come_back(&mut self, node: usize) {
        if self.net.state(node) == State::Up {
            return;
        }
        self.note("return", node);
        let seed = self.net.rng.next_u64();
        let identity = self.net.node(node).servent().identity();
        let revived = self.make(node, identity, seed);
        self.net.revive(node, revived);
        self.keep_links(node);
    }

    pub(super) fn stall(&mut self, node: usize) {
        if self.net.stall(node) {
            self.note("stall", node);
        }
    }

    pub(super) fn resume(&mut self, node: usize) {
        if self.net.is_stalled(node) {
            self.note("resume", node);
            self.net.resume(node);
        }
    }

    pub(super) fn part(&mut self, sides: Vec<bool>) {
        self.heal();
        self.note("partition", sides.iter().filter(|&&side| side).count());
        self.net.part(sides);
    }

    pub(super) fn heal(&mut self) {
        if self.net.is_parted() {
            self.note("heal", 0);
            self.net.heal();
        }
    }
}
