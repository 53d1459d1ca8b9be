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
                let sides = self.net.whole().observer.schedule.sides(self.libraries.len());
                self.part(sides);
            }
            Fault::Heal => self.heal(),
        }
    }

    fn note(&mut self, kind: &'static str, subject: usize) {
        let now = self.net.now();
        self.net.whole().observer.note_fault(now, kind, subject);
    }

    /// A wire is reset: now, or within the next bytes that arrive on it.
    pub(super) fn reset(&mut self, wire: usize, cut: bool) {
        if cut {
            self.net.whole().cut(wire);
        } else if self.net.whole().reset(wire) {
            self.note("reset", wire);
        }
    }

    /// A node ends and loses its memory.
    pub(super) fn crash(&mut self, node: usize, dark: bool, kind: &'static str) {
        if self.net.whole().state(node) != State::Up {
            return;
        }
        self.retired.add(self.net.whole().node(node).servent());
        self.net.whole().crash(node, dark);
        self.follow();
        if let Some((_, flood)) = &mut self.follower.search {
            flood.forget(node);
        }
        self.note(kind, node);
    }

    /// A node that ended starts again. It has its identity and its static peers, and nothing else.
    pub(super) fn come_back(&mut self, node: usize) {
        if self.net.whole().state(node) == State::Up {
            return;
        }
        self.note("return", node);
        let seed = self.rng.next_u64();
        let identity = self.net.whole().node(node).servent().identity();
        let revived = self.make(node, identity, seed);
        self.net.whole().revive(node, revived);
        self.keep_links(node);
    }

    pub(super) fn stall(&mut self, node: usize) {
        if self.net.whole().stall(node) {
            self.note("stall", node);
        }
    }

    pub(super) fn resume(&mut self, node: usize) {
        if self.net.whole().is_stalled(node) {
            self.note("resume", node);
            self.net.whole().resume(node);
        }
    }

    pub(super) fn part(&mut self, sides: Vec<bool>) {
        self.heal();
        self.note("partition", sides.iter().filter(|&&side| side).count());
        self.net.whole().part(sides);
    }

    pub(super) fn heal(&mut self) {
        if self.net.whole().is_parted() {
            self.note("heal", 0);
            self.net.whole().heal();
        }
    }
}
