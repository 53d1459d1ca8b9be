//! Faults, by the plan's chances and by command.

use super::fault_schedule::Fault;
use super::node::ServentNode;
use super::simulation::Simulation;
use crate::net::State;
use crate::plan::chance::pareto;
use crate::plan::{MAX_DOWN_SECS, MAX_STALL_SECS};
use std::time::Duration;

impl<N: ServentNode> Simulation<'_, N> {
    fn some_seconds(&mut self, most: usize) -> Duration {
        Duration::from_secs(1 + self.net.rng.below(most) as u64)
    }

    fn schedule(&mut self, after: Duration, fault: Fault) {
        let at = self.net.now() + after;
        self.net.observer.faults.schedule(at, fault);
    }

    /// A scheduled fault happens, and what follows from it is scheduled.
    pub(super) fn fault(&mut self, fault: Fault) {
        let lives = |it: &Self, node: usize, life: u32| {
            it.lives[node] == life && it.net.state(node) == State::Up
        };
        match fault {
            Fault::Reset { wire } => {
                let cut = self.net.rng.below(2) == 0;
                self.reset(wire, cut);
            }
            Fault::Crash { node, life } if lives(self, node, life) => {
                let dark = self.net.rng.below(2) == 0;
                self.crash(node, dark, "crash");
                let after = self.some_seconds(MAX_DOWN_SECS);
                self.schedule(after, Fault::Return { node });
            }
            Fault::Leave { node, life } if lives(self, node, life) => {
                self.crash(node, false, "leave");
                let mean = self.net.observer.faults.faults.mean_absence();
                let after = pareto(mean, &mut self.net.rng);
                self.schedule(after, Fault::Return { node });
            }
            Fault::Return { node } => self.come_back(node),
            Fault::Stall { node, life } if lives(self, node, life) => {
                self.stall(node);
                let after = self.some_seconds(MAX_STALL_SECS);
                self.schedule(after, Fault::Resume { node, life });
            }
            Fault::Resume { node, life } if lives(self, node, life) => {
                self.resume(node);
                let (now, faults) = (self.net.now(), &mut self.net.observer.faults);
                faults.plan_stall(now, node, life, &mut self.net.rng);
            }
            Fault::Part => {
                let sides = (0..self.lives.len()).map(|_| self.net.rng.below(2) == 0).collect();
                self.part(sides);
                let after = self.net.observer.faults.faults.parted_for();
                self.schedule(after, Fault::Heal);
            }
            Fault::Heal => self.heal(),
            _ => {}
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

    /// A node is gone with all it knew.
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

    /// A node that is gone is back. It knows who it is and whom to dial, and nothing else.
    pub(super) fn come_back(&mut self, node: usize) {
        if self.net.state(node) == State::Up {
            return;
        }
        self.note("return", node);
        let seed = self.net.rng.next_u64();
        let identity = self.net.node(node).servent().identity();
        let revived = self.make(node, identity, seed);
        self.net.revive(node, revived);
        self.lives[node] += 1;
        self.keep_links(node);
        let (now, life) = (self.net.now(), self.lives[node]);
        self.net.observer.faults.plan_life(now, node, life, &mut self.net.rng);
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
