//! The receiving end of a wire: what arrives is read, shown to the observer and handed over.

use super::hosts::State;
use super::network::{Event, Net};
use super::node::{Crossing, Failure, Node, Observer};
use super::segments::Segment;
use super::wires::{End, Holder};

impl<N: Node, O: Observer<N>> Net<N, O> {
    /// Reads all that has arrived at an end, unless its holder does not read.
    pub(super) fn read(&mut self, end: End) {
        let (wire, side, writer) = (end.wire(), end.side(), end.other().side());
        if !self.reads(end) || self.is_cut_off(wire) {
            return;
        }
        while let Some(segment) = self.wires[wire].directions[writer].read(&mut self.segments) {
            match segment {
                Segment::Bytes(bytes) if self.wires[wire].cuts_next => {
                    let at = self.rng.below(bytes.len() + 1);
                    self.deliver(end, &bytes[..at]);
                    self.lost += self.wires[wire].count(writer, &bytes[at..]);
                    if self.reset(wire) {
                        self.observer.cut(self.now, wire);
                    }
                }
                Segment::Bytes(bytes) => self.deliver(end, &bytes),
                Segment::End => {
                    self.wires[wire].heard_end[side] = true;
                    self.ended(end, Failure::Eof);
                }
                Segment::Reset => {
                    self.lost += self.wires[wire].kill(&mut self.segments);
                    self.ended(end, Failure::Reset);
                }
            }
        }
        if self.wires[wire].unblocks(writer) {
            let (at, by) = (self.now + self.wires[wire].latency(), self.wires[wire].holder(side));
            self.travel(at, by, Event::Writable(end.other()));
        }
    }

    fn reads(&self, end: End) -> bool {
        match self.wires[end.wire()].holder(end.side()) {
            Holder::Node(node) => {
                let host = &self.hosts[node];
                !host.stalled && host.state != State::Frozen
            }
            Holder::Peer(peer) => self.scripts[peer.0].reads,
            Holder::Nobody => true,
        }
    }

    fn deliver(&mut self, end: End, bytes: &[u8]) {
        let (wire, side) = (end.wire(), end.side());
        let holder = self.wires[wire].holder(side);
        match (holder, self.wires[wire].conns[side]) {
            (Holder::Node(node), Some(conn)) => {
                self.observer.delivering(&self.hosts[node].node, bytes.len());
                self.show(end, bytes);
                self.hosts[node].node.handle_bytes(self.now, conn, bytes);
                self.turn(node);
                let open = self.wires[wire].conns[side].is_some();
                self.observer.delivered(&self.hosts[node].node, open);
            }
            (Holder::Peer(peer), _) => {
                self.show(end, bytes);
                self.scripts[peer.0].received.extend_from_slice(bytes);
            }
            _ => self.lost += self.wires[wire].count(end.other().side(), bytes),
        }
    }

    /// Shows the descriptors in what an end reads to the observer.
    fn show(&mut self, end: End, bytes: &[u8]) {
        let wire = &mut self.wires[end.wire()];
        let (from, to) = (wire.holder(end.other().side()), wire.holder(end.side()));
        let (at, order, observer) = (self.now, self.event_key, &mut self.observer);
        let number = wire.number();
        wire.cut(end.other().side(), bytes, |raw| {
            observer.crossed(&Crossing { at, order, from, to, wire: number, raw });
        });
    }

    /// The stream towards an end is over.
    pub(super) fn ended(&mut self, end: End, failure: Failure) {
        let wire = &mut self.wires[end.wire()];
        let conn = match failure {
            Failure::Eof => wire.conns[end.side()],
            _ => wire.conns[end.side()].take(),
        };
        if let (Some(node), Some(conn)) = (wire.node(end.side()), conn) {
            self.hosts[node].node.handle_closed(self.now, conn, failure);
            self.turn(node);
        }
    }
}
