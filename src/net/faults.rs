//! Faults, by command: programs and machines that die, stall and come back, wires that are cut, and
//! a network that is parted. When they happen is for the caller to decide. They need the whole network
//! in one place: nothing of this is for shards.
//!
//! Nothing here mends a link: nodes dial again, as they would outside.

use super::hosts::State;
use super::network::{Event, Net};
use super::node::{Failure, Node, Observer};
use super::wires::{End, Holder};
use crate::time::Instant;

impl<N: Node, O: Observer<N>> Net<N, O> {
    /// Resets a wire: what is on it is lost, and both ends are told. False if no end is open.
    pub fn reset(&mut self, wire: usize) -> bool {
        let it = &mut self.wires[wire];
        if it.dead || it.conns.iter().all(Option::is_none) {
            return false;
        }
        self.lost += it.kill(&mut self.segments);
        let at = self.now + it.latency();
        for side in 0..2 {
            if self.wires[wire].conns[side].is_some() {
                self.travel(
                    at,
                    Holder::Nobody,
                    Event::Closed(End::new(wire, side), Failure::Reset),
                );
            }
        }
        true
    }

    /// Resets a wire within the next bytes that are read from it.
    pub fn cut(&mut self, wire: usize) {
        self.wires[wire].cuts_next = true;
    }

    /// A node's program ends, and what it had on its links is lost with it, as when a process ends
    /// that has not read everything. If it is `dark`, its machine is gone too: no peer is told.
    pub fn crash(&mut self, node: usize, dark: bool) {
        let host = &mut self.hosts[node];
        host.state = if dark { State::Dark } else { State::Down };
        host.stalled = false;
        for (_, end) in std::mem::take(&mut host.sockets).into_iter().flatten() {
            let wire = &mut self.wires[end.wire()];
            wire.conns[end.side()] = None;
            self.lost += wire.kill(&mut self.segments);
            let at = self.now + wire.latency();
            if !dark && wire.conns[end.other().side()].is_some() {
                self.travel(at, Holder::Node(node), Event::Closed(end.other(), Failure::Reset));
            }
        }
    }

    /// A node starts anew as `node`. It gets its first turn with [`Net::turn`].
    pub fn revive(&mut self, number: usize, node: N) {
        let host = &mut self.hosts[number];
        host.node = node;
        host.wakes_at = Instant::FAR_FUTURE;
        host.state = State::Up;
    }

    /// A node's program is stopped for good: its connections stand, and it does nothing any more.
    pub fn freeze(&mut self, node: usize) {
        self.hosts[node].state = State::Frozen;
    }

    /// A node stops reading. False if it did already, or is not up.
    pub fn stall(&mut self, node: usize) -> bool {
        let host = &mut self.hosts[node];
        host.state == State::Up && !std::mem::replace(&mut host.stalled, true)
    }

    /// Whether a node has stopped reading.
    pub fn is_stalled(&self, node: usize) -> bool {
        self.hosts[node].stalled
    }

    /// A stalled node reads again.
    pub fn resume(&mut self, node: usize) {
        if std::mem::take(&mut self.hosts[node].stalled) {
            let sockets: Vec<_> = self.hosts[node].sockets.iter().flatten().copied().collect();
            for (_, end) in sockets {
                self.read(end);
            }
        }
    }

    /// Parts the network: what crosses from one side to the other waits, and dials that do get no
    /// answer.
    pub fn part(&mut self, sides: Vec<bool>) {
        self.sides = Some(sides);
    }

    /// Whether the network is parted.
    pub fn is_parted(&self) -> bool {
        self.sides.is_some()
    }

    /// The network is whole again.
    pub fn heal(&mut self) {
        if self.sides.take().is_some() {
            for wire in 0..self.wires.len() {
                self.read(End::new(wire, 0));
                self.read(End::new(wire, 1));
            }
        }
    }

    /// Whether a wire leads from one side of a parted network to the other.
    pub(super) fn is_cut_off(&self, wire: usize) -> bool {
        let Some(sides) = &self.sides else { return false };
        let ends = [0, 1].map(|side| self.wires[wire].node(side).map(|node| sides[node]));
        matches!(ends, [Some(a), Some(b)] if a != b)
    }
}
