//! What arrives: read, shown to the oracles and the trace, and handed to the core.

use super::link::End;
use super::network::{Network, What};
use super::oracle::Violation;
use super::parcels::Parcel;
use crate::servent::IoFailure;
use crate::wire::{HEADER_BYTES, Header, Kind};
use std::hash::Hasher;

impl Network<'_> {
    /// Hands this end all that has arrived, unless it does not look.
    pub(super) fn read(&mut self, wire: usize, end: usize) -> Result<(), Violation> {
        if self.nodes[self.wires[wire].node(end)].stalled || self.crosses(wire) {
            return Ok(());
        }
        while let Some(parcel) = self.wires[wire].lanes[1 - end].read(&mut self.parcels) {
            match parcel {
                Parcel::Bytes(bytes) if self.wires[wire].cuts_next => {
                    let at = self.rng.below(bytes.len() + 1);
                    self.deliver(wire, end, &bytes[..at])?;
                    self.lost += self.wires[wire].taps[1 - end].count(&bytes[at..]);
                    self.reset(wire);
                }
                Parcel::Bytes(bytes) => self.deliver(wire, end, &bytes)?,
                Parcel::End => self.closed(wire, end, IoFailure::Eof),
            }
        }
        if self.wires[wire].lanes[1 - end].unblocks() {
            let at = self.now + self.wires[wire].latency();
            self.travel(at, What::Writable(End::new(wire, 1 - end)));
        }
        Ok(())
    }

    pub(super) fn closed(&mut self, wire: usize, end: usize, failure: IoFailure) {
        let node = self.wires[wire].node(end);
        if let Some(conn) = self.wires[wire].conns[end].take() {
            self.nodes[node].core.handle_closed(self.now, conn, failure);
            self.drain(node);
        }
    }

    fn deliver(&mut self, wire: usize, end: usize, bytes: &[u8]) -> Result<(), Violation> {
        let node = self.wires[wire].node(end);
        let Some(conn) = self.wires[wire].conns[end] else {
            self.lost += self.wires[wire].taps[1 - end].count(bytes);
            return Ok(());
        };
        self.bytes += bytes.len() as u64;
        let received = |network: &Network<'_>| network.nodes[node].core.stats().received.total();
        let before = (self.descriptors, received(self));
        self.observe(wire, end, bytes)?;
        let now = self.now;
        self.nodes[node].core.handle_bytes(now, conn, bytes);
        self.drain(node);
        let (seen, taken) = (self.descriptors - before.0, received(self) - before.1);
        if self.wires[wire].conns[end].is_none() && taken < seen {
            self.untaken += seen - taken;
            self.lost += seen - taken;
        }
        Ok(())
    }

    /// Cuts what arrives into descriptors, for the trace and the oracle.
    fn observe(&mut self, wire: usize, end: usize, bytes: &[u8]) -> Result<(), Violation> {
        let (from, to) = (self.wires[wire].node(1 - end), self.wires[wire].node(end));
        let mut tap = std::mem::take(&mut self.wires[wire].taps[1 - end]);
        tap.cut(bytes, |header| {
            self.descriptors += 1;
            self.note(from, to, header);
            if let Some((guid, watch)) = &mut self.watch
                && *guid == header.guid
            {
                match header.kind {
                    Kind::Query => {
                        watch.query((from, to), wire, header, self.neighbours.degree(from))?
                    }
                    Kind::QueryHit => watch.hit(from, to)?,
                    _ => {}
                }
                self.write_down(from, to, header);
            }
            Ok(())
        })?;
        self.wires[wire].taps[1 - end] = tap;
        Ok(())
    }

    fn write_down(&mut self, from: usize, to: usize, header: &Header) {
        if let (Some((begun, trace)), Some((_, watch))) = (&mut self.written, &self.watch) {
            let names = &self.graph.names;
            let first = watch.is_first(from, to);
            trace.note(self.now.since(*begun), &names[from], &names[to], header, first);
        }
    }

    fn note(&mut self, from: usize, to: usize, header: &Header) {
        let mut words = [0; 24 + HEADER_BYTES];
        words[..8].copy_from_slice(&self.now.as_micros().to_le_bytes());
        words[8..16].copy_from_slice(&(from as u64).to_le_bytes());
        words[16..24].copy_from_slice(&(to as u64).to_le_bytes());
        words[24..].copy_from_slice(&header.encode());
        self.trace.write(&words);
    }

    /// Counts a fault and puts it into the trace.
    pub(super) fn note_fault(&mut self, kind: &'static str, subject: usize) {
        *self.injected.entry(kind).or_default() += 1;
        for word in [self.now.as_micros(), subject as u64] {
            self.trace.write(&word.to_le_bytes());
        }
        self.trace.write(kind.as_bytes());
    }
}
