//! Memory of a large network is fetched ahead of time: each event happens at another node, none of
//! which is in the cache, and one that waits for one thing after the other is slow.

use super::link::End;
use super::network::{Network, Node, What};
use crate::stats::DropReason;
use crate::wire::Kind;

/// Events looked at together: what they wait for comes at one time.
const AHEAD: usize = 16;

impl Network<'_> {
    /// Has what the next events need brought into the cache, and says how many events that were.
    /// Changes nothing.
    pub(super) fn fetch_ahead(&self) -> usize {
        let (mut count, mut nodes, mut ends) = (0, [0; AHEAD], [None; AHEAD]);
        for what in self.queue.ahead(AHEAD) {
            if let What::Arrive(at) = *what {
                ends[count] = Some(at);
                count += 1;
            }
        }
        let ends = &ends[..count];
        // Loads do not wait for each other as long as nobody needs what they bring.
        let mut touched = 0;
        for (node, &at) in nodes.iter_mut().zip(ends.iter().flatten()) {
            *node = self.wires[at.wire()].node(at.end());
            touched ^= self.weight_of_parcel(at);
        }
        for &node in &nodes[..count] {
            touched ^= self.nodes[node].weight();
        }
        for (&node, &at) in nodes.iter().zip(ends.iter().flatten()) {
            touched ^= self.weight_of_arrival(node, at);
        }
        for &node in &nodes[..count] {
            touched ^= self.weight_of_links(node);
        }
        std::hint::black_box(touched);
        AHEAD
    }

    /// Reads what arrives, and what the oracle knows of both nodes.
    fn weight_of_parcel(&self, at: End) -> u64 {
        let wire = &self.wires[at.wire()];
        let lane = &wire.lanes[1 - at.end()];
        let known = self.watch.as_ref().map_or(0, |(_, watch)| {
            watch.weight(wire.node(at.end())) ^ watch.weight(wire.node(1 - at.end()))
        });
        known ^ lane.weight(&self.parcels) ^ wire.weight()
    }

    /// Reads what a node looks at to know whether it has seen what arrives.
    fn weight_of_arrival(&self, node: usize, at: End) -> u64 {
        let wire = &self.wires[at.wire()];
        let guid = wire.lanes[1 - at.end()].next_guid(&self.parcels);
        let (Some(conn), Some(guid)) = (wire.conns[at.end()], guid) else { return 0 };
        self.nodes[node].core.fetch(conn, guid)
    }

    /// Reads what a node needs to pass something on, unless it has what is going round: most of
    /// what arrives are duplicates.
    fn weight_of_links(&self, node: usize) -> u64 {
        if self.watch.as_ref().is_some_and(|(_, watch)| watch.has(node)) {
            return 0;
        }
        let it = &self.nodes[node];
        let sockets = it.sockets.iter().flatten();
        let wires = sockets.map(|(_, at)| self.wires[at.wire()].weight()).sum::<u64>();
        let remotes = it.core.neighbours().map(|link| u64::from(link.addr.port())).sum::<u64>();
        it.core.copies_queued() ^ wires ^ remotes
    }
}

impl Node {
    /// Reads what an arrival needs of the node itself.
    fn weight(&self) -> u64 {
        let stats = self.core.stats();
        stats.received.get(Kind::Query)
            ^ stats.forwarded.get(Kind::Query)
            ^ stats.delivered.get(Kind::Query)
            ^ stats.dropped(DropReason::Duplicate)
            ^ stats.bytes_out
            ^ self.core.routes_held() as u64
            ^ self.core.library().len() as u64
            ^ self.core.poll_timeout().map_or(0, |(at, _)| at.as_micros())
            ^ self.sockets.first().copied().flatten().map_or(0, |(conn, _)| conn.index() as u64)
    }
}
